"""Checks the documents for contributors: the guide's commands and examples, the hooks, the
workflows."""

import re
import tomllib
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.tiers import Tier
from trayproxy.auth.login import Login, LoginError
from trayproxy.auth.scheme import Leg, RequestToAuthenticate, choose
from trayproxy.desktop.system_name import SystemName
from trayproxy.http.challenges import Challenge
from trayproxy.recipes.catalogue import parse
from trayproxy.recipes.placeholders import PlaceholderValues
from trayproxy.recipes.plan import edited
from trayproxy.recipes.targets import Computer, targets

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")
OLDEST, NEWEST = "3.11", "3.14"

IN_REPOSITORY = re.compile(r"(?<![\w./-])(?:\.ci|packaging|tests|trayproxy)/[\w./-]*\w")
"""A path in a command or a text."""


def guide() -> str:
    return (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    found = read(path)["jobs"]
    assert isinstance(found, dict)
    return found


def commands(path: Path) -> Iterator[str]:
    for job in jobs(path).values():
        for step in job["steps"]:
            yield step.get("run", "")


def example(name: str) -> Any:
    """Return a class from an example of the guide."""
    (code,) = (
        block
        for block in re.findall(r"^```python\n(.*?)^```", guide(), re.MULTILINE | re.DOTALL)
        if f"class {name}:" in block
    )
    # A dataclass looks up its module in sys.modules.
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(code, "CONTRIBUTING.md", "exec"), names)
    return names[name]


# --- the guide -----------------------------------------------------------------------------------


def test_the_paths_in_the_guide_exist() -> None:
    paths = set(IN_REPOSITORY.findall(guide())) - {"packaging/fresh-pipx"}
    assert {"packaging/test", "tests/http", "trayproxy/auth/schemes.py"} <= paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_the_scheme_of_the_guide_answers_a_challenge() -> None:
    scheme = example("Bearer")()
    offer = choose((Challenge("bearer", (), ""),), (scheme,))
    assert offer is not None
    authenticator = offer.scheme.authenticator(
        offer.challenge, Login("jdoe", "abc.DEF=="), "proxy.example"
    )
    leg = authenticator.begin(RequestToAuthenticate(b"CONNECT", b"www.example:443")).step(())
    assert isinstance(leg, Leg)
    assert leg.credentials == b"Bearer abc.DEF=="


def test_the_scheme_of_the_guide_rejects_an_invalid_token() -> None:
    with pytest.raises(LoginError):
        example("Bearer")().check(Login("jdoe", "two words"))


def test_the_recipe_of_the_guide_follows_the_schema() -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```", guide(), re.MULTILINE | re.DOTALL)
    recipe = parse(text.encode())
    computer = Computer(SystemName.LINUX, {}, "/home/jdoe", lambda path: False)
    (target,) = targets(recipe, computer, PlaceholderValues("127.0.0.1:3128", ca="/ca.pem"))
    assert target.path == "/home/jdoe/.config/example.ini"
    written = edited(target, b"; mine\n").decode()
    assert written.startswith("; mine\n[network]\nproxy = http://127.0.0.1:3128\n")


def test_the_screen_of_the_guide_reports_each_change_once() -> None:
    reported: list[bool] = []
    screen = example("PollingScreen")(reported.append)
    screen.start()
    for is_locked in (False, True, True, False):
        screen.poll(is_locked)
    screen.stop()
    assert reported == [True, False]


# --- the hooks -----------------------------------------------------------------------------------


def test_the_hooks_run_the_locked_versions() -> None:
    lock = (ROOT / "packaging" / "locked" / "test.txt").read_text("utf-8")
    locked = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    package = {"ruff": "ruff", "mypy": "mypy", "lint-imports": "import-linter"}
    hooks = [
        hook for repo in read(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]
    ]
    programs = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in hooks}
    assert programs == package.keys()
    assert set(package.values()) <= locked
    assert {hook["language"] for hook in hooks} == {"system"}


# --- the workflow --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_paths_in_a_workflow_exist(path: Path) -> None:
    parts = [part for job in jobs(path).values() for part in str(job["strategy"]).split("'")]
    paths = {found for text in (*commands(path), *parts) for found in IN_REPOSITORY.findall(text)}
    assert {".ci/run", "packaging/locked/test.txt", "packaging/test", "tests/windows"} <= paths
    # A failing test creates it.
    assert [name for name in sorted(paths) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read_and_ends_in_time(path: Path) -> None:
    assert read(path)["permissions"] == {"contents": "read"}
    for job in jobs(path).values():
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/checkout@v4"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_marks_in_a_workflow_are_known(path: Path) -> None:
    known = {
        mark.partition(":")[0] for mark in project()["tool"]["pytest"]["ini_options"]["markers"]
    } | set(Tier)
    selected = re.findall(r'-m "([^"]*)"', "\n".join(commands(path)))
    assert selected
    assert set(re.findall(r"\w+", " ".join(selected))) <= known | {"and", "not", "or"}


def test_each_system_is_tested_with_the_oldest_and_the_newest_python() -> None:
    assert project()["project"]["requires-python"] == ">=3.11,<3.15"
    (path,) = WORKFLOWS
    matrix = jobs(path)["unit"]["strategy"]["matrix"]
    systems = ("ubuntu-latest", "windows-latest", "macos-latest")
    assert set(product(matrix["os"], matrix["python"])) == set(product(systems, (OLDEST, NEWEST)))
    desktop = jobs(path)["desktop"]["strategy"]["matrix"]
    assert set(desktop["python"]) == {OLDEST, NEWEST}
    images = jobs(path)["whole"]["strategy"]["matrix"]["image"]
    assert any(image.startswith(f"python:{NEWEST}-") for image in images)
    assert "debian:12" in images  # Its Python is 3.11.


# --- the forms -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_has_input_fields(path: Path) -> None:
    form = read(path)
    assert form["name"]
    assert form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    ids = [field["id"] for field in fields]
    assert len(ids) == len(set(ids))
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_vulnerabilities_are_reported_in_private() -> None:
    assert "SECURITY.md" in (GITHUB / "ISSUE_TEMPLATE" / "bug.yml").read_text("utf-8")
    assert read(GITHUB / "ISSUE_TEMPLATE" / "config.yml") == {"blank_issues_enabled": False}
