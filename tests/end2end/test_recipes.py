"""Each recipe whose program is here: applied, used for a request through a real Squid, and undone.

The programs reach a host name that only Squid resolves, so they get an answer only through
TrayProxy; Squid serves only requests with the login, which only TrayProxy has.

packaging/test installs the smaller programs. cargo, Go, Maven and Java take hundreds of megabytes
and are used where they are installed; conda, Gradle, sbt, .NET, containers and editors are not.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.namespaces import skip_without_namespaces
from tests.support.origin import Origin, make_repository
from tests.support.package_registry import PackageRegistry
from tests.support.processes import Home, home
from tests.support.searchable_secret import SearchableSecret
from tests.support.service import run_command, service
from tests.support.squid import AccessLogEntry, Squid, SquidSetup, squid

pytestmark = pytest.mark.xdist_group("recipes")

TOOLS = Path(sys.prefix) / "tools"
"""The folder of the programs that packaging/test installs for these tests."""


@dataclass(frozen=True, slots=True)
class Network:
    """A computer in a company, with a running TrayProxy."""

    place: Home
    squid: Squid
    user: str
    registry: PackageRegistry
    git: Origin

    def recipe(self, tool_home: "ToolHome", *words: str) -> str:
        """Run ``trayproxy recipe`` in the home of a program; return the output."""
        ran = run_command(self.place, "recipe", *words, environment=tool_home.environ)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout


@dataclass(frozen=True, slots=True)
class ToolHome:
    """The private home of a program, with its environment, and its working folder."""

    root: Path
    project: Path
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
def tool_home(network: Network) -> Iterator[ToolHome]:
    with home("tp-tool-") as place:
        # OpenSSH runs TrayProxy, which must find its service.
        environ = network.place.trayproxy_environment(place.environment())
        folders = [TOOLS / "bin", TOOLS / "node_modules/.bin", Path(sys.prefix) / "bin"]
        names = [*(case.program for case in LARGE), *(entry[1] for entry in COPIED)]
        folders += [Path(program).parent for program in map(shutil.which, names) if program]
        environ["PATH"] = os.pathsep.join([*map(str, folders), environ["PATH"]])
        yield ToolHome(place.root, place.path("project"), environ)


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
        return self.tool if self.tool in self.program else f"{self.tool}-{Path(self.program).name}"


def curl(network: Network) -> str:
    return f"curl --silent --show-error --fail {network.registry.url('/hello')}"


def view(*command: str) -> Callable[[Network], list[str]]:
    """Return a command of Node.js that reads the version of a package."""
    return lambda network: [*command, "--registry", network.registry.url("/npm/")]


def yarn(network: Network) -> list[str]:
    registry = f"YARN_NPM_REGISTRY_SERVER={network.registry.url('/npm')}"
    command = ("node", YARN, "npm", "info", "demo", "--fields", "version")
    return ["env", registry, "YARN_ENABLE_TELEMETRY=0", *command]


def pip(network: Network) -> list[str]:
    options = ("--no-deps", "--no-cache-dir", "--trusted-host", network.registry.name)
    index = network.registry.url("/simple/")
    return [sys.executable, "-m", "pip", "download", "demo", *options, "--index-url", index]


def uv(network: Network) -> list[str]:
    options = ("--no-cache", "--no-python-downloads", "--python", sys.executable)
    index = network.registry.url("/simple/")
    return ["uv", "pip", "compile", *options, "requirements.in", "--index-url", index]


def cargo(network: Network) -> list[str]:
    index = f"sparse+{network.registry.url('/cargo/')}"
    # rustup finds the toolchain of the user.
    rustup = f"RUSTUP_HOME={os.environ.get('RUSTUP_HOME', Path.home() / '.rustup')}"
    registry = f"CARGO_REGISTRIES_STUB_INDEX={index}"
    return ["env", rustup, registry, "cargo", "generate-lockfile", "--quiet"]


def maven(network: Network) -> list[str]:
    # Java ignores $HOME.
    options = f'-Duser.home="$HOME" -Drepository={network.registry.url("/maven")}'
    return ["sh", "-c", f"mvn --quiet --batch-mode {options} validate"]


def ssh(network: Network) -> list[str]:
    # OpenSSH ignores $HOME. The command ends with 255 because the registry is no SSH server.
    port = network.registry.port
    options = f'-F "$HOME/.ssh/config" -o HostName={network.registry.name} -p {port}'
    return ["sh", "-c", f"ssh -o BatchMode=yes {options} github.com; test $? = 255"]


ENVIRONMENT_GENERATOR = (
    "/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator"
)
YARN = str(TOOLS / "node_modules/@yarnpkg/cli-dist/bin/yarn.js")
YARN_1 = str(TOOLS / "node_modules/yarn/bin/yarn.js")
CARGO_PROJECT = {
    "Cargo.toml": """\
[package]
name = "project"
version = "1.0.0"
[dependencies]
demo = { version = "1", registry = "stub" }
""",
    "src/lib.rs": "",
}
MAVEN_PROJECT = {
    "pom.xml": """\
<project>
  <modelVersion>4.0.0</modelVersion>
  <parent><groupId>demo</groupId><artifactId>parent</artifactId><version>1</version></parent>
  <artifactId>project</artifactId>
  <packaging>pom</packaging>
</project>
"""
}
# Maven refuses plain http, except for a mirror that the user has configured.
MAVEN_SETTINGS = b"""\
<?xml version="1.0"?>
<settings>
\t<!-- mine -->
\t<mirrors>
\t\t<mirror><id>stub</id><mirrorOf>*</mirrorOf><url>${repository}</url></mirror>
\t</mirrors>
</settings>
"""

TUNNEL = f"{PackageRegistry.name}:"
"""The target of a CONNECT, which some programs use for http, too."""

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
        "wget",
        "wget",
        b"# mine\ntries = 1\n",
        lambda n: ["wget", "--quiet", "--output-document=-", n.registry.url("/hello")],
        "/hello",
    ),
    Case(
        "git",
        "git",
        b"[user]\n\tname = J\xc3\xb6rg ; me\n[http]\n    sslVerify = true\n# end",
        lambda n: ["git", "ls-remote", n.git.url("/git/demo.git")],
        "/git/demo.git/info/refs",
    ),
    Case("ssh", "ssh", b"Host *\n  ServerAliveInterval 60\n", ssh, TUNNEL),
    Case(
        "npm",
        "npm",
        b"; mine\n//registry.example/:_authToken=canary\nfund=false\n",
        view("npm", "view", "demo", "version"),
        "/npm/demo",
    ),
    Case("pnpm", "pnpm", None, view("pnpm", "view", "demo", "version"), TUNNEL),
    Case(
        "yarn",
        YARN,
        b"# mine\nunsafeHttpWhitelist:\n  - 'www.test.lan'\n",
        yarn,
        TUNNEL,
        {"package.json": "{}", "yarn.lock": ""},
    ),
    Case("yarn", YARN_1, None, view("node", YARN_1, "info", "demo", "version"), "/npm/demo"),
    Case("pip", "pip", b"[global]\ntimeout = 30\n", pip, "/simple/demo/"),
    Case("uv", "uv", b"# mine\n", uv, "/simple/demo/", {"requirements.in": "demo\n"}),
]
# Too large to be installed for these tests.
LARGE = [
    Case("cargo", "cargo", b"[net] # mine\nretry = 0\n", cargo, "/cargo/de/mo/demo", CARGO_PROJECT),
    Case("maven", "mvn", MAVEN_SETTINGS, maven, "/parent-1.pom", MAVEN_PROJECT),
]
CASES += [case for case in LARGE if shutil.which(case.program)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_program_uses_trayproxy_until_its_recipe_is_undone(
    case: Case, network: Network, tool_home: ToolHome
) -> None:
    if shutil.which(case.program, path=tool_home.environ["PATH"]) is None:
        pytest.skip(f"needs {case.program}")
    paths = described_paths(network, tool_home, case.tool)
    if case.before is not None:
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        paths[0].write_bytes(case.before)
    for name, text in case.files.items():
        file = tool_home.project / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    were_there = [path.parent.exists() for path in paths]
    network.recipe(tool_home, case.tool, "--apply")
    assert all(path.exists() for path in paths)

    new = run_program(network, tool_home, case.command(network))
    used = {(access.user, access.status) for access in new if case.target in access.target}
    assert (network.user, 200) in used, new

    network.recipe(tool_home, case.tool, "--undo")
    present = [path.read_bytes() if path.exists() else None for path in paths]
    assert present == [case.before, *[None] * (len(paths) - 1)]
    assert [path.parent.exists() for path in paths] == were_there


def described_paths(network: Network, tool_home: ToolHome, tool: str) -> list[Path]:
    """Return the files of a recipe, all in the home of the program."""
    (described,) = json.loads(network.recipe(tool_home, tool, "--json"))["recipes"]
    paths = [Path(path) for path in described["paths"]]
    assert all(path.is_relative_to(tool_home.root) for path in paths)
    return paths


def run_program(
    network: Network, tool_home: ToolHome, command: Sequence[str]
) -> Sequence[AccessLogEntry]:
    """Run a program; return the requests that Squid has received meanwhile."""
    count = len(network.squid.accesses())
    ran = subprocess.run(
        command,
        env=tool_home.environ,
        cwd=tool_home.project,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, (ran.stdout, ran.stderr)
    return network.squid.accesses()[count:]


COPIED = [
    ("go", "go", "go list -m example.com/demo@v1.0.0", "/go/example.com/demo/@v/v1.0.0.info"),
    ("java", "java", "java Fetch.java", "/hello"),
]
FETCH_JAVA = """\
import java.net.URI;
class Fetch {
    public static void main(String[] arguments) throws Exception {
        URI.create(System.getenv("PAGE")).toURL().openStream().readAllBytes();
    }
}
"""


@pytest.mark.parametrize(
    ("tool", "program", "command", "target"),
    [entry for entry in COPIED if shutil.which(entry[1])],
)
def test_the_printed_lines_make_a_program_use_trayproxy(
    tool: str, program: str, command: str, target: str, network: Network, tool_home: ToolHome
) -> None:
    (described,) = json.loads(network.recipe(tool_home, tool, "--json"))["recipes"]
    (tool_home.project / "Fetch.java").write_text(FETCH_JAVA)
    tool_home.environ["GOPROXY"] = network.registry.url("/go")
    tool_home.environ["GONOSUMDB"] = "*"
    tool_home.environ["PAGE"] = network.registry.url("/hello")
    lines = ["env | sort > before", *described["set"], command, *described["undo"]]
    script = "\n".join(["set -e", *lines, "env | sort > after; cmp before after"])
    new = run_program(network, tool_home, ["sh", "-c", script])
    assert (network.user, 200) in {(a.user, a.status) for a in new if target in a.target}


def test_apt_uses_trayproxy_until_the_recipe_is_undone(
    network: Network, tool_home: ToolHome
) -> None:
    """The real folder of apt is hidden by an empty one in a mount namespace."""
    skip_without_namespaces()
    recipe = f"{sys.executable} -m trayproxy recipe apt"
    options = "-o APT::Sandbox::User=root"
    lines = [
        "set -e",
        "mkdir hidden",
        "mount --bind hidden /etc/apt/apt.conf.d",
        f"{recipe} --apply",
        f"/usr/lib/apt/apt-helper {options} download-file {network.registry.url('/hello')} file",
        "test -s /etc/apt/apt.conf.d/95trayproxy",
        f"{recipe} --undo",
        'test -z "$(ls -A hidden)"',
    ]
    new = run_program(network, tool_home, ["unshare", "-rm", "sh", "-c", "\n".join(lines)])
    assert [(access.user, access.status) for access in new] == [(network.user, 200)]
    assert (tool_home.project / "file").read_text() == "hello\n"
