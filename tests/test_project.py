"""Checks the project's import contracts, lock files, wheel and README."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from pathlib import Path

import pytest

import trayproxy

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "trayproxy"
LOCKS = sorted((ROOT / "packaging" / "locked").glob("*.txt"))
MAINTAINED_PYTHONS = ("3.11", "3.12", "3.13", "3.14")

LINT = (
    "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
)


def contracts(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LINT], cwd=root, capture_output=True, encoding="utf-8", check=False
    )


def output(*command: str) -> str:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    ).stdout


def project_table() -> dict[str, object]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert isinstance(project, dict)
    return project


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copytree(PACKAGE, folder / "trayproxy", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_the_import_contracts_are_kept() -> None:
    linted = contracts(ROOT)
    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("http/fields.py", "import socket"),
        ("http/fields.py", "from time import monotonic"),
        ("http/fields.py", "from trayproxy import paths"),
        ("auth/basic.py", "import asyncio.events"),
        ("auth/basic.py", "from trayproxy.profiles import profile"),
        ("auth/login.py", "def f() -> None:\n    import logging"),
        ("engine/__init__.py", "from trayproxy.ui import icons"),
        ("engine/net/tls.py", "from trayproxy.engine.upstream import pool"),
        ("engine/upstream/route.py", "from trayproxy.engine.proxy_auth import attempt"),
        ("engine/limits.py", "from trayproxy.desk import desk"),
        ("engine/limits.py", "from trayproxy.engine import engine"),
        ("desk/machine/machine.py", "import keyring"),
        ("desk/machine/machine.py", "from trayproxy.engine import tunnel"),
        ("desk/machine/machine.py", "from time import monotonic"),
        ("desk/machine/machine.py", "from trayproxy.desk import history"),
        ("desk/machine/state.py", "from trayproxy.desk.machine import machine"),
        ("profiles/host_pattern.py", "import proxy"),
        ("engine/server/executor.py", "from proxy.core.work import Work"),
        ("service/__init__.py", "from PySide6.QtCore import QObject"),
        ("service/__init__.py", "from trayproxy.cli import main"),
        ("control/client.py", "from trayproxy.desk import desk"),
        ("desk/problems.py", "from trayproxy.control import messages"),
        ("desk/credentials.py", "from trayproxy.desk import desk_broker"),
        ("domain/signin.py", "from trayproxy.control import messages"),
        ("domain/signin.py", "from trayproxy import paths"),
        ("profiles/profile.py", "from trayproxy.control import messages"),
        ("ui/icons.py", "from trayproxy.desk import keyring_store"),
        ("ui/icons.py", "from trayproxy import service"),
        ("cli/main.py", "from trayproxy.engine import tunnel"),
        ("desktop/screen_lock/base.py", "from trayproxy.desktop.screen_lock import factory"),
        ("desktop/screen_lock/linux.py", "from trayproxy.desktop.screen_lock import windows"),
        ("desktop/users.py", "def f() -> None:\n    from trayproxy.desktop import socket_owner"),
        ("stranger.py", "import dataclasses"),
    ],
)
def test_a_forbidden_import_breaks_a_contract(copy: Path, module: str, statement: str) -> None:
    path = copy / "trayproxy" / module
    before = path.read_text("utf-8") if path.exists() else None
    path.write_text(f"{before or ''}\n{statement}\n", "utf-8")
    try:
        assert contracts(copy).returncode == 1
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before, "utf-8")


SYSTEM_QUESTIONS = {"sys.platform", "sys.getwindowsversion", "os.name", "platform.system"}


def asked_for(node: ast.AST) -> set[str]:
    """Return the names that a node uses from other modules."""
    if isinstance(node, ast.Attribute):
        return {ast.unparse(node)}
    if isinstance(node, ast.ImportFrom):
        return {f"{node.module}.{name.name}" for name in node.names}
    return set()


def asks_for_the_system(tree: ast.Module) -> bool:
    return any(asked_for(node) & SYSTEM_QUESTIONS for node in ast.walk(tree))


def test_only_desktop_depends_on_the_operating_system() -> None:
    asking = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if asks_for_the_system(ast.parse(path.read_text("utf-8")))
    }
    assert {path for path in asking if not path.startswith("desktop/")} == set()


def module_file(module: str) -> Path:
    folder = ROOT.joinpath(*module.split("."))
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")


@cache
def top_level_names(path: Path) -> set[str]:
    """Return the names that a module defines or imports, on any operating system."""
    found = {child.stem for child in path.parent.iterdir()} if path.stem == "__init__" else set()
    pending = list(ast.parse(path.read_text("utf-8")).body)
    while pending:
        node = pending.pop()
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                found.add(node.name)
            case ast.Import() | ast.ImportFrom():
                found |= {alias.asname or alias.name for alias in node.names}
            case ast.Assign() | ast.AnnAssign():
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = (name for target in targets for name in ast.walk(target))
                found |= {name.id for name in names if isinstance(name, ast.Name)}
            case _:
                children = ast.iter_child_nodes(node)
                pending += [child for child in children if isinstance(child, ast.stmt)]
    return found


def test_every_imported_name_exists_on_each_operating_system() -> None:
    """The type checker skips the branches of other operating systems."""
    missing = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.module}.{alias.name}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trayproxy")
        for alias in node.names
        if alias.name not in top_level_names(module_file(node.module or ""))
    ]
    assert missing == []


def notifier_connections(tree: ast.Module) -> list[str]:
    """Return the calls that connect a `QSocketNotifier`, as text."""
    return [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and "notifier.activated.connect" in ast.unparse(node.func)
    ]


def test_no_socket_notifier_has_a_queued_connection() -> None:
    # Qt's dispatcher on Windows would report the socket endlessly and deliver no queued call.
    made, connected = 0, []
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        made += sum(
            isinstance(node, ast.Call) and ast.unparse(node.func).endswith("QSocketNotifier")
            for node in ast.walk(tree)
        )
        connected += notifier_connections(tree)
    assert len(connected) == made > 0
    assert [call for call in connected if "QueuedConnection" in call] == []


SHARED_CLASS_NAMES = frozenset({"WindowsError"})
"""Names that two classes may have: fake exceptions have the names of the real exceptions."""


def test_a_class_name_has_one_meaning() -> None:
    places: dict[str, list[str]] = {}
    for path in (*sorted(PACKAGE.rglob("*.py")), *sorted((ROOT / "tests").rglob("*.py"))):
        tree = ast.parse(path.read_text("utf-8"))
        # A class in a function of a test has a local name.
        for node in ast.walk(tree) if path.is_relative_to(PACKAGE) else tree.body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    shared = {name: found for name, found in places.items() if len(found) > 1}
    assert {name: found for name, found in shared.items() if name not in SHARED_CLASS_NAMES} == {}


OF_OTHERS = {"_exit", "_fields", "_obj", "_replace"}
"""Documented names with an underscore: of os, of named tuples and of ctypes references."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in OF_OTHERS


def private_names(node: ast.AST) -> list[str]:
    """Return the private names of other classes and of the program that a node uses."""
    match node:
        case ast.Attribute(ast.Name("self" | "cls")):
            names = []
        case ast.Attribute(attr=name):
            names = [name]
        case ast.ImportFrom(str(module)) if module.split(".")[0] == "trayproxy":
            names = [name.name for name in node.names]
        case ast.Call(ast.Name("getattr" | "setattr") | ast.Attribute(attr="setattr" | "delattr")):
            texts = (text.value for text in node.args[:2] if isinstance(text, ast.Constant))
            names = [text.rpartition(".")[2] for text in texts if isinstance(text, str)]
        case _:
            names = []
    return [name for name in names if is_private(name)]


def test_no_test_uses_a_private_name_of_the_program() -> None:
    used = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for name in private_names(node)
    }
    assert used == set()


@pytest.mark.parametrize(
    "code",
    [
        "pool._idle",
        "self._pool._idle",
        "from trayproxy.cli.main import _parser",
        'monkeypatch.setattr(Relay, "_next_part", part)',
        'monkeypatch.setattr("trayproxy.x._PAUSE_S", 0)',
        'getattr(pool, "_idle")',
    ],
)
def test_the_use_of_a_private_name_is_noticed(code: str) -> None:
    [name] = [name for node in ast.walk(ast.parse(code)) for name in private_names(node)]
    assert name in code


def test_each_package_has_a_docstring() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), path


def test_the_architecture_names_each_package() -> None:
    text = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))) or ""
    rooms = {path.stem for path in PACKAGE.iterdir() if not path.name.startswith("_")}
    assert {"http", "demo", "logs"} <= rooms
    assert {room for room in rooms if not re.search(rf"\b{room}\b", text)} == set()


def locked(path: Path) -> dict[tuple[str, str], str]:
    """Return the version of each package, by its name and its marker."""
    pattern = re.compile(r"^([a-z0-9-]+)==(\S+)(?: ; (.*?))? \\$", re.MULTILINE)
    found = pattern.findall(path.read_text("utf-8"))
    return {(name, marker): version for name, version, marker in found}


def normalised(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def test_the_lock_files_contain_each_dependency() -> None:
    project = project_table()
    run, test = (ROOT / "packaging" / "locked" / name for name in ("run.txt", "test.txt"))
    dependencies = project["dependencies"]
    extras = project["optional-dependencies"]
    assert isinstance(dependencies, list)
    assert isinstance(extras, dict)
    assert {normalised(d) for d in dependencies} <= {name for name, _ in locked(run)}
    assert {normalised(d) for d in extras["test"]} <= {name for name, _ in locked(test)}
    assert locked(run).items() <= locked(test).items()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_lock_file_has_hashes_and_no_urls(lock: Path) -> None:
    text = lock.read_text("utf-8")
    packages = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]
    assert packages
    assert all("--hash=sha256:" in package for package in packages)
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_python_3_11_never_gets_the_aborting_pyside(lock: Path) -> None:
    for (name, marker), version in locked(lock).items():
        if name in ("pyside6-essentials", "shiboken6") and version == "6.12.0":
            assert marker == "python_full_version >= '3.12'"


def test_keyrings_with_plain_text_are_not_dependencies() -> None:
    for lock in LOCKS:
        assert "keyrings-alt" not in {name for name, _ in locked(lock)}


def test_the_python_versions_are_stated_once() -> None:
    assert project_table()["requires-python"] == ">=3.11,<3.15"
    setup = (ROOT / "packaging" / "setup.sh").read_text("utf-8")
    assert "(3, 11) <= sys.version_info < (3, 15)" in setup
    assert all(f"python{version}" in setup for version in MAINTAINED_PYTHONS)


def test_the_wheel_has_the_package_the_icons_and_the_commands(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run([*build, "--directory", tmp_path], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"trayproxy-{trayproxy.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as files:
        names = set(files.namelist())
        commands = next(name for name in names if name.endswith("entry_points.txt"))
        points = files.read(commands).decode()
    files_of_ours = (p for p in PACKAGE.rglob("*") if p.suffix in (".py", ".conf", ".toml"))
    sources = {p.relative_to(ROOT).as_posix() for p in files_of_ours}
    assert "trayproxy/desktop/krb5.conf" in sources
    icons = {p.relative_to(ROOT).as_posix() for p in (ROOT / "resources/icons").rglob("*.svg")}
    assert sources <= names
    assert icons
    assert {f"trayproxy/{icon}" for icon in icons} <= names
    assert not {name for name in names if name.startswith(("tests/", "resources/"))}
    assert "[gui_scripts]\ntrayproxyw = trayproxy.cli.main:main" in points
    assert "[console_scripts]\ntrayproxy = trayproxy.cli.main:main" in points


def readme() -> str:
    return (ROOT / "README.md").read_text("utf-8")


def test_the_readme_names_existing_files() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", readme())
    commands = re.findall(r"packaging/[a-z./-]*[a-z]", readme())
    assert {"LICENSE", "CHANGELOG.md", "resources/screenshots/sign-in.png"} <= set(links)
    assert {"packaging/demo", "packaging/test"} <= set(commands)
    for name in {*links, *commands, ".ci/run"}:
        assert (ROOT / name).exists(), name


def test_the_verbs_of_the_readme_exist() -> None:
    helped = output(sys.executable, "-m", "trayproxy", "--help")
    table = re.findall(r"^\| (`.*?) \|", readme(), re.MULTILINE)
    verbs = set(re.findall(r"`trayproxy ([a-z]+)", " ".join(table)))
    assert verbs
    for verb in verbs:
        assert re.search(rf"\b{verb}\b", helped), verb


def test_exactly_the_existing_problems_are_explained() -> None:
    sources = "".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
    problems = (ROOT / "resources" / "problems.md").read_text("utf-8")
    explained = re.findall(r"^\| (TP-\d{3}) ", problems, re.MULTILINE)
    assert sorted(set(explained)) == explained
    assert set(re.findall(r"TP-\d{3}", sources)) == set(explained)


def test_the_version_is_printed() -> None:
    told = output(sys.executable, "-m", "trayproxy", "--version")
    assert told == f"trayproxy {trayproxy.__version__}\n"


def test_the_changelog_starts_with_unreleased_changes() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"


def test_the_top_folder_contains_only_known_files() -> None:
    assert set(output("git", "ls-tree", "--name-only", "HEAD").split()) <= {
        ".ci",
        ".github",
        ".gitignore",
        ".pre-commit-config.yaml",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "README.md",
        "SECURITY.md",
        "packaging",
        "pyproject.toml",
        "resources",
        "tests",
        "trayproxy",
    }


def test_no_enum_has_the_empty_tuple_as_a_value() -> None:
    """Python 3.11.2 (Debian 12) turns the value into an ``object()``."""
    found = [
        f"{path.relative_to(ROOT)}:{line.lineno}"
        for folder in ("trayproxy", "tests")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
        and any("Enum" in ast.unparse(base) or "Flag" in ast.unparse(base) for base in node.bases)
        for line in node.body
        if isinstance(line, ast.Assign) and ast.unparse(line.value) == "()"
    ]
    assert not found
