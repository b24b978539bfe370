"""Tests for trayproxy.cli.env."""

import shutil
import socket
import subprocess

import psutil
import pytest
from msgspec.structs import replace

from tests.cli.conftest import Cli
from tests.cli.fake_service import FakeServiceHandler
from trayproxy.cli import local_address
from trayproxy.cli.env import set_commands, unset_commands
from trayproxy.control.messages import ListenerState
from trayproxy.desktop.company_ca import CA_VARIABLES, store_upstream
from trayproxy.desktop.shell import SHELLS, guess_shell, known_shell
from trayproxy.domain.problem import Problem
from trayproxy.paths import Paths

NAMES = ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"]
SHOW = "; ".join(f'echo "{name}=${name}"' for name in NAMES)


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "zsh", "fish"])
def test_a_real_shell_accepts_the_set_and_unset_commands(shell: str) -> None:
    program = shutil.which(shell)
    assert program is not None, "packaging/test installs it"
    kind = known_shell(shell)
    assert kind is not None
    commands = [set_commands(kind, "127.0.0.1:3128"), SHOW, unset_commands(kind), SHOW]
    run = subprocess.run(
        [program, "-c", "\n".join(commands)], capture_output=True, text=True, env={}, check=True
    )
    url = "http://127.0.0.1:3128"
    values = [url, url, "localhost,127.0.0.1,::1"] * 2
    assert run.stdout.splitlines() == [
        *(f"{name}={value}" for name, value in zip(NAMES, values, strict=True)),
        *(f"{name}=" for name in NAMES),
    ]


def test_each_shell_has_its_own_syntax() -> None:
    assert set_commands("bash", "[::1]:1").startswith("export http_proxy='http://[::1]:1' ")
    nu = 'load-env {http_proxy: "http://127.0.0.1:1", '
    assert set_commands("nu", "127.0.0.1:1").startswith(nu)
    assert "$env:HTTPS_PROXY = 'http://127.0.0.1:1'" in set_commands("powershell", "127.0.0.1:1")
    assert 'set "HTTP_PROXY=http://127.0.0.1:1"' in set_commands("cmd", "127.0.0.1:1")
    assert unset_commands("cmd").splitlines()[0] == 'set "HTTP_PROXY="'
    assert unset_commands("powershell").startswith("Remove-Item Env:http_proxy,Env:https_proxy,")
    assert unset_commands("nu").startswith("hide-env -i http_proxy ")


@pytest.mark.parametrize("shell", SHELLS)
def test_an_address_cannot_inject_a_command(shell: str) -> None:
    # The address is quoted even though it comes from this user's service.
    text = set_commands(shell, "x';`id`")
    if shell not in ("cmd", "nu"):
        assert "'x';" not in text.replace("'\"'\"'", "").replace("''", "").replace("\\'", "")


@pytest.mark.parametrize("is_running", [True, False])
def test_nothing_is_printed_while_the_port_is_in_use(
    cli: Cli, paths: Paths, is_running: bool, request: pytest.FixtureRequest
) -> None:
    paths.prepare()
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        paths.config_file.write_text(f"[listen]\nport = {other.getsockname()[1]}\n")
        if is_running:
            service: FakeServiceHandler = request.getfixturevalue("service")
            problem = Problem("TP-101", "Port 3128 is taken", f"squid already uses {address}.")
            failed = ListenerState.FAILED
            service.status = replace(service.status, listener=failed, problem=problem)
        code, out, err = cli("env", "--shell", "bash")
        assert (code, out) == (7, "")
        assert f"already uses {address}. (TP-101)" in err
        assert cli("env", "--shell", "bash", "--unset")[0] == 0
    if not is_running:
        assert address in cli("env", "--shell", "bash")[1]


def test_the_address_of_the_running_service_is_used(cli: Cli, service: FakeServiceHandler) -> None:
    code, out, _ = cli("env", "--shell", "bash")
    assert code == 0
    assert "http_proxy=http://127.0.0.1:4128 " in out


@pytest.mark.usefixtures("service")
def test_where_a_company_inspects_tls_programs_get_its_certificates(
    cli: Cli, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.prepare()
    store_upstream(paths, "http://proxy.corp.example:8080", "Corp CA")
    paths.ca_file.write_text("certificates")
    for name in CA_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    shown = cli("env", "--shell", "bash")[1].split()
    assert {f"{name}={paths.ca_file}" for name in CA_VARIABLES} <= set(shown)
    monkeypatch.setenv("CURL_CA_BUNDLE", "/mine.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(paths.ca_file))
    assert "CURL_CA_BUNDLE" not in cli("env", "--shell", "fish")[1]
    assert f'set "SSL_CERT_FILE={paths.ca_file}"' in cli("env", "--shell", "cmd")[1]
    unset = cli("env", "--shell", "bash", "--unset")[1]
    assert unset.rstrip().endswith("NO_PROXY SSL_CERT_FILE")


def test_without_a_service_the_configured_address_is_used(
    cli: Cli, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The result must not depend on programs that listen on this computer.
    monkeypatch.setattr(local_address, "is_in_use", lambda port, host: False)
    assert "=http://127.0.0.1:3128 " in cli("env", "--shell", "zsh")[1]
    paths.prepare()
    paths.config_file.write_text("[listen]\nport = 8888\n")
    assert "=http://127.0.0.1:8888 " in cli("env", "--shell", "zsh")[1]
    paths.config_file.write_text("[listen]\nport = 0\n")
    assert cli("env", "--shell", "zsh")[0] == 3
    assert cli("env", "--shell", "zsh", "--unset")[0] == 0


@pytest.mark.parametrize(
    ("program", "shell"),
    [
        ("-bash", "bash"),
        ("/usr/bin/zsh", "zsh"),
        ("C:\\Windows\\System32\\cmd.exe", "cmd"),
        ("pwsh", "powershell"),
        ("PowerShell.EXE", "powershell"),
        ("dash", "bash"),
        ("python3", None),
        ("", None),
    ],
)
def test_a_shell_is_recognised(program: str, shell: str | None) -> None:
    assert known_shell(program) == shell


class Ancestor:
    """A fake `psutil.Process`; only the names of its ancestors are defined."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def name(self) -> str:
        if not self._names[0]:
            raise psutil.AccessDenied(1)
        return self._names[0]

    def parents(self) -> list["Ancestor"]:
        return [Ancestor(self._names[i:]) for i in range(1, len(self._names))]


@pytest.mark.parametrize(
    ("names", "shell"),
    [
        (("python.exe", "trayproxy.exe", "cmd.exe", "explorer.exe"), "cmd"),
        (("python.exe", "python.exe", "trayproxy.exe", "pwsh.exe", "cmd.exe"), "powershell"),
        (("python3.13.exe", "py.exe", "CMD.EXE"), "cmd"),
        (("trayproxy", "zsh"), "zsh"),
        (("trayproxy", "bash", "fish"), "bash"),
        (("trayproxy", "make", "zsh"), "fish"),
        (("python.exe", "trayproxyw.exe", "explorer.exe"), "fish"),
        (("python.exe", "trayproxy.exe"), "fish"),
        (("python.exe", "trayproxy.exe", "", "cmd.exe"), "fish"),
    ],
)
def test_the_shell_is_found_among_the_ancestor_processes(
    names: tuple[str, ...], shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "Process", lambda: Ancestor(names))
    assert guess_shell({"SHELL": "/usr/bin/fish"}) == shell


def test_the_log_in_shell_is_the_fallback() -> None:
    # The guess is a supported shell, whichever program has started the tests.
    assert guess_shell({"SHELL": "/usr/bin/fish"}) in SHELLS
    assert guess_shell({}) in SHELLS
