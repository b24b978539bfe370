"""Each recipe whose program is here: applied, used for a request through a real Squid, and undone.

The programs reach a host name that only Squid resolves, so they get an answer only through
TrayProxy; Squid serves only requests with the login, which only TrayProxy has.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.origin import Origin, make_repository
from tests.support.package_registry import PackageRegistry
from tests.support.processes import Home, home
from tests.support.searchable_secret import SearchableSecret
from tests.support.service import run_command, service
from tests.support.squid import Squid, SquidSetup, squid

pytestmark = pytest.mark.xdist_group("recipes")

TOOLS = Path(sys.prefix) / "tools"
"""The folder of the programs that packaging/test installs for these tests."""
PATH = os.pathsep.join(
    [str(TOOLS / "bin"), str(TOOLS / "node_modules/.bin"), str(Path(sys.prefix) / "bin")]
)


@dataclass(frozen=True, slots=True)
class Network:
    """A computer in a company, with a running TrayProxy."""

    place: Home
    squid: Squid
    user: str
    registry: PackageRegistry
    git: Origin

    def recipe(self, tool_home: "ToolHome", *words: str) -> "subprocess.CompletedProcess[str]":
        """Run ``trayproxy recipe`` in the home of a program."""
        return run_command(self.place, "recipe", *words, environment=tool_home.environ)


@dataclass(frozen=True, slots=True)
class ToolHome:
    """The private home of a program, with its environment and its working folder."""

    root: Path
    environ: dict[str, str]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    account = SearchableSecret()
    with ExitStack() as stack:
        place, repositories = (stack.enter_context(home()) for _ in range(2))
        content = repositories.root / "content"
        content.write_text("demo")
        make_repository(repositories, "demo.git", content)
        proxy = stack.enter_context(squid(SquidSetup(users={account.user: account.password})))
        registry = stack.enter_context(PackageRegistry())
        git = stack.enter_context(Origin(repositories=repositories))
        words = ("--upstream", proxy.url, "--no-prompt")
        stack.enter_context(service(place, *words, login=account.login))
        yield Network(place, proxy, account.user, registry, git)


@pytest.fixture
def tool_home() -> Iterator[ToolHome]:
    with home("tp-tool-") as place:
        environ = place.environment()
        environ["PATH"] = f"{PATH}{os.pathsep}{environ['PATH']}"
        place.path("project")
        yield ToolHome(place.root, environ)


@dataclass(frozen=True, slots=True)
class Case:
    """A program and one request of it.

    Attributes:
        tool: The name of the recipe.
        program: The program that must be installed.
        before: The contents of the file of the program; None if there is no file.
        command: Returns the command for one request.
        target: A part of the target that the program requests.
        files: Files of the project, by name.
    """

    tool: str
    program: str
    before: bytes | None
    command: Callable[[Network], list[str]]
    target: str
    files: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.tool


def curl(network: Network) -> str:
    return f"curl --silent --show-error --fail {network.registry.url('/hello')}"


def view(*command: str) -> Callable[[Network], list[str]]:
    """Return a command of Node.js that reads the version of a package."""
    return lambda network: [*command, "--registry", network.registry.url("/npm/")]


ENVIRONMENT_GENERATOR = (
    "/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator"
)
CASES = [
    Case("bash", "bash", b"# mine\nPS1=x", lambda n: ["bash", "-ic", curl(n)], "/hello"),
    Case("zsh", "zsh", None, lambda n: ["zsh", "-ic", curl(n)], "/hello"),
    Case("fish", "fish", b"# mine\r\n", lambda n: ["fish", "-c", curl(n)], "/hello"),
    Case(
        "environment.d",
        ENVIRONMENT_GENERATOR,
        None,
        lambda n: ["sh", "-c", f'set -a; eval "$({ENVIRONMENT_GENERATOR})"; {curl(n)}'],
        "/hello",
    ),
    Case(
        "curl",
        "curl",
        b"# mine\r\nsilent\r\nproxy = http://old.example:8080",
        lambda n: ["curl", "--fail", n.registry.url("/hello")],
        "/hello",
    ),
    Case(
        "git",
        "git",
        b"[user]\n\tname = J\xc3\xb6rg ; me\n[http]\n    sslVerify = true\n# end",
        lambda n: ["git", "ls-remote", n.git.url("/git/demo.git")],
        "/git/demo.git/info/refs",
    ),
    Case(
        "npm",
        "npm",
        b"; mine\n//registry.example/:_authToken=canary\nfund=false\n",
        view("npm", "view", "demo", "version"),
        "/npm/demo",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_program_uses_trayproxy_until_its_recipe_is_undone(
    case: Case, network: Network, tool_home: ToolHome
) -> None:
    if shutil.which(case.program, path=tool_home.environ["PATH"]) is None:
        pytest.skip(f"needs {case.program}")
    shown = network.recipe(tool_home, case.tool, "--json")
    assert shown.returncode == 0, shown.stderr
    (described,) = json.loads(shown.stdout)["recipes"]
    (path,) = map(Path, described["paths"])
    assert path.is_relative_to(tool_home.root)
    if case.before is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case.before)
    project = tool_home.root / "project"
    for name, text in case.files.items():
        (project / name).write_text(text)
    folder_was_there = path.parent.exists()
    applied = network.recipe(tool_home, case.tool, "--apply")
    assert applied.returncode == 0, applied.stderr

    count = len(network.squid.accesses())
    ran = subprocess.run(
        case.command(network),
        env=tool_home.environ,
        cwd=project,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, (ran.stdout, ran.stderr)
    new = network.squid.accesses()[count:]
    used = {(access.user, access.status) for access in new if case.target in access.target}
    assert (network.user, 200) in used, new

    undone = network.recipe(tool_home, case.tool, "--undo")
    assert undone.returncode == 0, undone.stderr
    assert (path.read_bytes() if path.exists() else None) == case.before
    assert path.parent.exists() == folder_was_there
