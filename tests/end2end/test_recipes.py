"""Each recipe whose program is here: applied, used for a request through a real Squid, and undone.

The programs reach a host name that only Squid resolves, so they get an answer only through
TrayProxy; Squid serves only requests with the login, which only TrayProxy has. The certificates of
the https servers are by an authority that only the recipes name to the programs.

packaging/test installs the smaller programs. Cargo, Go, Gradle and most AI assistants take hundreds
of megabytes: they are used where they are installed. resources/docs/recipes.md lists the programs
that were used by hand, and those that were not used.
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
from tests.support.processes import Home, home, running
from tests.support.searchable_secret import SearchableSecret
from tests.support.service import run_command, service
from tests.support.squid import AccessLogEntry, Squid, SquidSetup, squid
from tests.support.tls import Certificate, CertificateAuthority
from trayproxy.desktop.company_ca import store_upstream
from trayproxy.paths import locate

pytestmark = pytest.mark.xdist_group("recipes")

TOOLS = Path(sys.prefix) / "tools"
"""The folder of the programs that packaging/test installs for these tests."""


@dataclass(frozen=True, slots=True)
class Site:
    """The servers of the tests, all with TLS or all without."""

    registry: PackageRegistry
    git: Origin


@dataclass(frozen=True, slots=True)
class Network:
    """A computer in a company that inspects TLS, with a running TrayProxy.

    Attributes:
        place: The home of TrayProxy.
        squid: The proxy of the company.
        user: The user name that the proxy accepts.
        plain: The servers without TLS.
        secure: The servers with TLS, whose certificates are by the authority of the company.
    """

    place: Home
    squid: Squid
    user: str
    plain: Site
    secure: Site

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
def network(authority: CertificateAuthority, certificate: Certificate) -> Iterator[Network]:
    account = SearchableSecret()
    with ExitStack() as stack:
        place, repositories = (stack.enter_context(home()) for _ in range(2))
        content = repositories.root / "content"
        content.write_text("demo")
        make_repository(repositories, "demo.git", content)
        proxy = stack.enter_context(squid(SquidSetup(users={account.user: account.password})))
        plain, secure = (
            Site(
                stack.enter_context(PackageRegistry(each)),
                stack.enter_context(Origin(certificate=each, repositories=repositories)),
            )
            for each in (None, certificate)
        )
        paths = locate(place.trayproxy_environment())
        paths.prepare()
        # As a test of the profile would leave it.
        store_upstream(paths, proxy.url, "TrayProxy test authority")
        shutil.copyfile(authority.pem, paths.ca_file)
        words = ("--upstream", proxy.url, "--no-prompt")
        stack.enter_context(service(place, *words, login=account.login))
        yield Network(place, proxy, account.user, plain, secure)


@pytest.fixture
def tool_home(network: Network) -> Iterator[ToolHome]:
    with home("tp-tool-") as place:
        # OpenSSH runs TrayProxy, which must find its service.
        environ = network.place.trayproxy_environment(place.environment())
        folders = [TOOLS / "bin", TOOLS / "node_modules/.bin", Path(sys.prefix) / "bin"]
        names = [*(case.program for case in LARGE), *(entry[1] for entry in LARGE_COPIED)]
        names += (assistant.program for assistant in LARGE_ASSISTANTS)
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
        has_ca: True if the recipe also makes the program trust the authority of the company.
    """

    tool: str
    program: str
    before: bytes | None
    command: Callable[[Site], list[str]]
    target: str
    files: Mapping[str, str] = field(default_factory=dict)
    has_ca: bool = True

    def __str__(self) -> str:
        return self.tool if self.tool in self.program else f"{self.tool}-{Path(self.program).name}"


def curl(site: Site) -> str:
    return f"curl --silent --show-error --fail {site.registry.url('/hello')}"


def view(*command: str) -> Callable[[Site], list[str]]:
    """Return a command of Node.js that reads the version of a package."""
    return lambda site: [*command, "--registry", site.registry.url("/npm/")]


def yarn(site: Site) -> list[str]:
    registry = f"YARN_NPM_REGISTRY_SERVER={site.registry.url('/npm')}"
    command = ("node", YARN, "npm", "info", "demo", "--fields", "version")
    return ["env", registry, "YARN_ENABLE_TELEMETRY=0", *command]


def pip(site: Site) -> list[str]:
    options = ["--no-deps", "--no-cache-dir"]
    if site.registry.scheme == "http":
        options += ("--trusted-host", site.registry.name)
    index = site.registry.url("/simple/")
    return [sys.executable, "-m", "pip", "download", "demo", *options, "--index-url", index]


def uv(site: Site) -> list[str]:
    options = ("--no-cache", "--no-python-downloads", "--python", sys.executable)
    index = site.registry.url("/simple/")
    return ["uv", "pip", "compile", *options, "requirements.in", "--index-url", index]


def cargo(site: Site) -> list[str]:
    index = f"sparse+{site.registry.url('/cargo/')}"
    # rustup finds the toolchain of the user.
    rustup = f"RUSTUP_HOME={os.environ.get('RUSTUP_HOME', Path.home() / '.rustup')}"
    registry = f"CARGO_REGISTRIES_STUB_INDEX={index}"
    return ["env", rustup, registry, "cargo", "generate-lockfile", "--quiet"]


def maven(site: Site) -> list[str]:
    # Java ignores $HOME.
    options = f'-Duser.home="$HOME" -Drepository={site.registry.url("/maven")}'
    return ["sh", "-c", f"mvn --quiet --batch-mode {options} validate"]


def ssh(site: Site) -> list[str]:
    # OpenSSH ignores $HOME. The command ends with 255 because the registry is no SSH server.
    port = site.registry.port
    options = f'-F "$HOME/.ssh/config" -o HostName={site.registry.name} -p {port}'
    return ["sh", "-c", f"ssh -o BatchMode=yes {options} github.com; test $? = 255"]


def podman(site: Site) -> list[str]:
    # Podman reads the file of the user only if it does not run as root. A user without subordinate
    # user ids needs no newuidmap.
    user = ["unshare", "--user", "--map-user=12345", "--map-group=12345"]
    storage = ["--root", "store", "--runroot", "run", "--storage-driver", "vfs"]
    image = f"{site.registry.name}:{site.registry.port}/demo:1"
    return [*user, "podman", *storage, "pull", "--quiet", "--tls-verify=false", image]


def gradle(site: Site) -> list[str]:
    # Java ignores $HOME.
    options = '--quiet --no-daemon --gradle-user-home "$HOME/.gradle"'
    return ["sh", "-c", f"repository={site.registry.url('/maven')} gradle {options} fetch"]


ENVIRONMENT_GENERATOR = (
    "/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator"
)
NUSHELL = str(TOOLS / "node_modules/@nushell/linux-x64/bin/nu")
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

GRADLE_PROJECT = {
    "build.gradle": """\
repositories { maven { url System.getenv('repository') } }
configurations { demo }
dependencies { demo 'demo:parent:1@pom' }
task fetch { doLast { configurations.demo.files } }
"""
}

TUNNEL = f"{PackageRegistry.name}:"
"""The target of a CONNECT, which some programs use for http, too."""

CASES = [
    Case("bash", "bash", b"# mine\nPS1=x", lambda site: ["bash", "-ic", curl(site)], "/hello"),
    Case("zsh", "zsh", None, lambda site: ["zsh", "-ic", curl(site)], "/hello"),
    Case("fish", "fish", b"# mine\r\n", lambda site: ["fish", "-c", curl(site)], "/hello"),
    Case(
        "nushell",
        NUSHELL,
        b"# mine\n$env.config.show_banner = false",
        lambda site: [NUSHELL, "--login", "-c", curl(site)],
        "/hello",
    ),
    Case(
        "environment.d",
        ENVIRONMENT_GENERATOR,
        None,
        lambda site: ["sh", "-c", f'set -a; eval "$({ENVIRONMENT_GENERATOR})"; {curl(site)}'],
        "/hello",
    ),
    Case(
        "curl",
        "curl",
        b"# mine\r\nproxy = http://old.example:8080",
        lambda site: ["curl", "--fail", site.registry.url("/hello")],
        "/hello",
    ),
    Case(
        "wget",
        "wget",
        b"# mine\ntries = 1\n",
        lambda site: ["wget", "--quiet", "--output-document=-", site.registry.url("/hello")],
        "/hello",
    ),
    Case(
        "git",
        "git",
        b"[user]\n\tname = J\xc3\xb6rg ; me\n[http]\n    sslVerify = true\n# end",
        lambda site: ["git", "ls-remote", site.git.url("/git/demo.git")],
        "/git/demo.git/info/refs",
    ),
    Case("ssh", "ssh", b"Host *\n  ServerAliveInterval 60\n", ssh, TUNNEL, has_ca=False),
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
    Case("maven", "mvn", MAVEN_SETTINGS, maven, "/parent-1.pom", MAVEN_PROJECT, has_ca=False),
    Case("podman", "podman", b"[engine] # mine\n", podman, "/v2/demo/manifests/1", has_ca=False),
    Case("uv", "uv", b"# mine\n", uv, "/simple/demo/", {"requirements.in": "demo\n"}, has_ca=False),
]
# Too large to be installed for these tests.
LARGE = [
    Case("cargo", "cargo", b"[net] # mine\nretry = 0\n", cargo, "/cargo/de/mo/demo", CARGO_PROJECT),
    Case(
        "gradle",
        "gradle",
        b"# mine\norg.gradle.daemon: false\n",
        gradle,
        "/parent-1.pom",
        GRADLE_PROJECT,
        has_ca=False,
    ),
]
CASES += [case for case in LARGE if shutil.which(case.program)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_program_uses_trayproxy_until_its_recipe_is_undone(
    case: Case, network: Network, tool_home: ToolHome
) -> None:
    skip_without(case.program, tool_home)
    if case.command is podman:
        skip_without_namespaces()
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

    new = run_program(network, tool_home, case.command(network.plain))
    used = {(access.user, access.status) for access in new if case.target in access.target}
    assert (network.user, 200) in used, new
    if case.has_ca:
        command = case.command(network.secure)
        new = run_program(network, tool_home, command, opens_tunnel=True)
        assert ("CONNECT", network.user, 200) in {(a.method, a.user, a.status) for a in new}, new

    network.recipe(tool_home, case.tool, "--undo")
    present = [path.read_bytes() if path.exists() else None for path in paths]
    assert present == [case.before, *[None] * (len(paths) - 1)]
    assert [path.parent.exists() for path in paths] == were_there


def skip_without(program: str, tool_home: ToolHome) -> None:
    """Skip the test if a program is not installed."""
    if shutil.which(program, path=tool_home.environ["PATH"]) is None:
        pytest.skip(f"needs {program}")


def described_paths(network: Network, tool_home: ToolHome, tool: str) -> list[Path]:
    """Return the files of a recipe, all in the home of the program."""
    (described,) = json.loads(network.recipe(tool_home, tool, "--json"))["recipes"]
    paths = [Path(path) for path in described["paths"]]
    assert all(path.is_relative_to(tool_home.root) for path in paths)
    return paths


def run_program(
    network: Network, tool_home: ToolHome, command: Sequence[str], *, opens_tunnel: bool = False
) -> Sequence[AccessLogEntry]:
    """Run a program; return the requests that Squid has received meanwhile."""
    before = network.squid.accesses()
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
    if opens_tunnel:
        # Squid logs a tunnel when it is closed, which may be after the end of the program.
        tunnels = sum((a.method, a.status) == ("CONNECT", 200) for a in before)
        network.squid.wait_for_answers("CONNECT", 200, tunnels + 1)
    return network.squid.accesses()[len(before) :]


COPIED = [
    ("java", "java", "java Fetch.java", "/hello"),
    ("poetry", "poetry", "poetry lock --quiet", TUNNEL),
]
LARGE_COPIED = [("go", "go", "go list -m example.com/demo@v1.0.0", TUNNEL)]
COPIED += [entry for entry in LARGE_COPIED if shutil.which(entry[1])]
POETRY_PROJECT = """\
[project]
name = "project"
version = "1"
requires-python = ">=3.11"
dependencies = ["demo"]
[[tool.poetry.source]]
name = "stub"
url = "%s"
"""
FETCH_JAVA = """\
import java.net.URI;
class Fetch {
    public static void main(String[] arguments) throws Exception {
        URI.create(System.getenv("PAGE")).toURL().openStream().readAllBytes();
    }
}
"""


@pytest.mark.parametrize(("tool", "program", "command", "target"), COPIED)
def test_the_printed_lines_make_a_program_use_trayproxy(
    tool: str, program: str, command: str, target: str, network: Network, tool_home: ToolHome
) -> None:
    skip_without(program, tool_home)
    (described,) = json.loads(network.recipe(tool_home, tool, "--json"))["recipes"]
    registry = network.plain.registry if tool == "java" else network.secure.registry
    index = registry.url("/simple/")
    (tool_home.project / "Fetch.java").write_text(FETCH_JAVA)
    (tool_home.project / "pyproject.toml").write_text(POETRY_PROJECT % index)
    tool_home.environ["GOPROXY"] = registry.url("/go")
    tool_home.environ["GONOSUMDB"] = "*"
    tool_home.environ["PAGE"] = registry.url("/hello")
    lines = ["env | sort > before", *described["set"], command, *described["undo"]]
    script = "\n".join(["set -e", *lines, "env | sort > after; cmp before after"])
    new = run_program(network, tool_home, ["sh", "-c", script], opens_tunnel=tool != "java")
    assert (network.user, 200) in {(a.user, a.status) for a in new if target in a.target}


@dataclass(frozen=True, slots=True)
class Assistant:
    """An AI assistant that is asked something with a key that its server does not know.

    Attributes:
        tool: The name of the recipe.
        command: The command that asks.
        environment: Further variables.
        target: The server of the assistant, which Squid refuses to reach.
        before: The contents of the file of the program.
    """

    tool: str
    command: str
    environment: Mapping[str, str]
    target: str
    before: bytes = b""

    @property
    def program(self) -> str:
        """The program that must be installed."""
        return self.command.partition(" ")[0]

    def __str__(self) -> str:
        return self.tool


ASSISTANTS = [
    Assistant(
        "gemini",
        "gemini --prompt hello",
        {
            "GEMINI_API_KEY": "canary",
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
            # Without a second process, which takes twice as long.
            "GEMINI_CLI_NO_RELAUNCH": "true",
        },
        "generativelanguage.googleapis.com:443",
        b"# mine\nEDITOR=vi",
    ),
]
LARGE_ASSISTANTS = [
    Assistant(
        "claude-code",
        "claude --print hello",
        {"ANTHROPIC_API_KEY": "canary", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"},
        "api.anthropic.com:443",
        b'{\n\t"includeCoAuthoredBy": false\n}',
    ),
    Assistant(
        "codex",
        "codex exec --skip-git-repo-check hello",
        {"CODEX_API_KEY": "canary"},
        "api.openai.com:443",
    ),
    Assistant(
        "copilot",
        "copilot --prompt hello",
        {"COPILOT_GITHUB_TOKEN": "github_pat_canary", "COPILOT_AUTO_UPDATE": "false"},
        "api.github.com:443",
        b"{}",
    ),
]
ASSISTANTS += [each for each in LARGE_ASSISTANTS if shutil.which(each.program)]


@pytest.mark.parametrize("assistant", ASSISTANTS, ids=str)
def test_an_assistant_uses_trayproxy_until_its_recipe_is_undone(
    assistant: Assistant, network: Network, tool_home: ToolHome
) -> None:
    skip_without(assistant.program, tool_home)
    tool_home.environ.update(assistant.environment)
    (described,) = json.loads(network.recipe(tool_home, assistant.tool, "--json"))["recipes"]
    paths = [Path(path) for path in described["paths"]]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_bytes(assistant.before)
    lines = [f"exec {assistant.command}"]
    if paths:
        network.recipe(tool_home, assistant.tool, "--apply")
    else:
        lines = [*described["set"], *lines]
    command = ["sh", "-c", "\n".join(lines)]
    with running(command, env=tool_home.environ, cwd=tool_home.project):
        network.squid.wait_for(403, assistant.target)
    assert {a.user for a in network.squid.accesses() if a.target == assistant.target} == {
        network.user
    }
    if paths:
        network.recipe(tool_home, assistant.tool, "--undo")
    assert [path.read_bytes() for path in paths] == [assistant.before for _ in paths]


@dataclass(frozen=True, slots=True)
class SystemCase:
    """A program whose file belongs to the system, and one request of it.

    Attributes:
        tool: The name of the recipe, and of the program.
        folder: The folder of the file.
        name: The name of the file.
        before: The contents of the file; empty if there is no file.
        command: A command of the shell for one request, without the URL.
        path: The path of its URL.
        target: The path of a page that the program requests.
    """

    tool: str
    folder: str
    name: str
    before: str
    command: str
    path: str
    target: str

    def __str__(self) -> str:
        return self.tool


SYSTEM_CASES = [
    SystemCase(
        "apt",
        "/etc/apt/apt.conf.d",
        "95trayproxy",
        "",
        "/usr/lib/apt/apt-helper -o APT::Sandbox::User=root download-file $0 file",
        "/hello",
        "/hello",
    ),
    SystemCase(
        "dnf",
        "/etc/dnf",
        "dnf.conf",
        "# mine\n[main]\ngpgcheck=True",
        "dnf --quiet --installroot=$PWD/root --setopt=cachedir=$PWD/cache --releasever=1"
        " --repofrompath=demo,$0 --repo=demo makecache",
        "/dnf",
        "/dnf/repodata/repomd.xml",
    ),
]


@pytest.mark.parametrize("case", SYSTEM_CASES, ids=str)
def test_a_program_of_the_system_uses_trayproxy_until_its_recipe_is_undone(
    case: SystemCase, network: Network, tool_home: ToolHome
) -> None:
    """The real folder of the program is hidden by another one in a mount namespace."""
    skip_without_namespaces()
    skip_without(case.tool, tool_home)
    for name in ("hidden", "before"):
        (tool_home.project / name).mkdir()
        if case.before:
            (tool_home.project / name / case.name).write_text(case.before)
    recipe = f"{sys.executable} -m trayproxy recipe {case.tool}"
    lines = [
        "set -e",
        f"mount --bind hidden {case.folder}",
        f"{recipe} --apply",
        case.command,
        f"test -s {case.folder}/{case.name}",
        f"{recipe} --undo",
        # DNF adds an empty folder of its own.
        "diff -r --exclude=aliases.d before hidden",
    ]
    url = network.plain.registry.url(case.path)
    new = run_program(network, tool_home, ["unshare", "-rm", "sh", "-c", "\n".join(lines), url])
    requests = [access for access in new if access.target.endswith(case.target)]
    assert [(access.user, access.status) for access in requests] == [(network.user, 200)]
