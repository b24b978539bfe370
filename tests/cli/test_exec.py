"""Tests for trayproxy.cli.exec_command, and for starting a service."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.cli.conftest import Cli
from tests.cli.fake_service import ROOT, FakeServiceHandler
from tests.cli.terminal_screen import TerminalScreen
from trayproxy.control.messages import ListenerState, OpenProfilePort
from trayproxy.domain.problem import Problem
from trayproxy.paths import Paths

URL = "http://127.0.0.1:4128"
PROGRAM = ["-m", "trayproxy", "exec"]
SHOW = "import os; print(*(f'{k}={v}' for k, v in os.environ.items()), sep='\\n')"
WAITS = r"""
import os, signal, sys
number = getattr(signal, sys.argv[1])
def ended(*args):
    os.write(1, b"received\n")
    sys.exit(9)
signal.signal(number, ended)
os.write(1, b"waiting\n")
signal.pause()
"""


def environ(paths: Paths) -> dict[str, str]:
    home = str(paths.config.parent)
    return {"PATH": os.environ["PATH"], "TRAYPROXY_HOME": home, "PYTHONPATH": str(ROOT)}


def run(paths: Paths, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *PROGRAM, *arguments],
        env=environ(paths),
        capture_output=True,
        text=True,
        timeout=60,
    )


def start(paths: Paths, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *PROGRAM, *arguments],
        env=environ(paths),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.usefixtures("service")
def test_the_program_gets_the_proxy_variables_and_nothing_else_changes(paths: Paths) -> None:
    result = run(paths, "--", sys.executable, "-c", SHOW)
    shown = dict(line.split("=", 1) for line in result.stdout.splitlines())
    values = {
        **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), URL),
        "no_proxy": "localhost,127.0.0.1,::1",
    }
    variables = {**values, **{name.upper(): value for name, value in values.items()}}
    # Python itself may set LC_CTYPE (PEP 538).
    assert {k: v for k, v in shown.items() if k != "LC_CTYPE"} == environ(paths) | variables
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.usefixtures("service")
def test_other_proxy_variables_are_replaced(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [sys.executable, *PROGRAM, "--", "printenv", "HTTPS_PROXY", "no_proxy"]
    given = environ(paths) | {"HTTPS_PROXY": "http://u:canary@h:1", "no_proxy": "*"}
    shown = subprocess.run(arguments, env=given, capture_output=True, text=True, check=True)
    assert shown.stdout == f"{URL}\nlocalhost,127.0.0.1,::1\n"


@pytest.mark.usefixtures("service")
def test_hosts_that_the_environment_excludes_from_its_proxy_stay_excluded(paths: Paths) -> None:
    arguments = [sys.executable, *PROGRAM, "--", "printenv", "no_proxy", "NO_PROXY"]
    given = environ(paths) | {"no_proxy": ".corp.example, localhost", "NO_PROXY": "10.0.0.0/8 *"}
    shown = subprocess.run(arguments, env=given, capture_output=True, text=True, check=True)
    assert shown.stdout == "localhost,127.0.0.1,::1,.corp.example,10.0.0.0/8\n" * 2


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("separator", [("--",), ()])
def test_the_arguments_of_the_program_are_unchanged(
    paths: Paths, separator: tuple[str, ...]
) -> None:
    words = ["--profile", "--", "-h", "", "a b", "--version", "日本"]
    show = "import sys; print(sys.argv[1:])"
    result = run(paths, *separator, sys.executable, "-c", show, *words)
    assert (result.stdout, result.returncode) == (f"{words}\n", 0)


@pytest.mark.usefixtures("service")
def test_the_program_reads_standard_input(paths: Paths) -> None:
    arguments = [sys.executable, *PROGRAM, "--", "cat"]
    octets = bytes(range(256))
    shown = subprocess.run(arguments, env=environ(paths), input=octets, stdout=subprocess.PIPE)
    assert shown.stdout == octets


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -KILL $$", 137)]
)
def test_a_shell_sees_the_exit_code_of_the_program(paths: Paths, script: str, code: int) -> None:
    words = [sys.executable, *PROGRAM, "--", "sh", "-c", script]
    # The shell must not replace itself by the command: a command after it prevents that.
    shell = ["sh", "-c", '"$@"; echo $?', "sh", *words]
    shown = subprocess.run(shell, env=environ(paths), capture_output=True, text=True)
    assert shown.stdout == f"{code}\n"


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_reaches_the_program(paths: Paths, name: str) -> None:
    with start(paths, "--", sys.executable, "-c", WAITS, name) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(getattr(signal, name))
        assert process.stdout.read() == "received\n"
    assert process.returncode == 9


@pytest.mark.usefixtures("service")
def test_the_end_of_the_program_by_a_signal_is_seen(paths: Paths) -> None:
    with start(paths, "--", "sh", "-c", "echo waiting; read line") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.terminate()
    assert process.returncode == -signal.SIGTERM


@pytest.mark.usefixtures("service")
def test_the_program_has_the_terminal_and_gets_ctrl_c(
    screen: Callable[..., TerminalScreen],
) -> None:
    terminal = screen("trayproxy", "exec", "--", sys.executable, "-c", WAITS, "SIGINT")
    terminal.answer("waiting\n", "\x03")
    terminal.wait_for("received\n")
    assert terminal.end() == 9


@pytest.mark.usefixtures("service")
def test_the_program_ignores_no_signals(paths: Paths) -> None:
    # Python ignores SIGPIPE. A program that inherits that does not end with its reader.
    result = run(paths, "--", "grep", "SigIgn", "/proc/self/status")
    ignored = int(result.stdout.split()[1], 16)
    assert not ignored & (1 << signal.SIGPIPE - 1)
    assert not ignored & (1 << signal.SIGXFSZ - 1)


@pytest.mark.usefixtures("service")
def test_a_script_without_an_interpreter_line_is_run_by_the_shell(
    paths: Paths, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$0" "$@"\n')
    script.chmod(0o755)
    assert run(paths, "--", str(script), "a", "b").stdout == f"{script} a b\n"


def test_a_program_that_cannot_be_run_starts_no_service(paths: Paths, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    for command, code, reason in (
        ("no-such-program", 127, "not found"),
        (str(tmp_path / "none"), 127, "not found"),
        ("", 127, "not found"),
        (str(plain), 126, "it cannot be executed"),
        (str(tmp_path), 126, "it cannot be executed"),
    ):
        result = run(paths, "--", command)
        assert (result.returncode, result.stdout) == (code, "")
        assert result.stderr == f"{command}: {reason}.\n"
    assert not paths.log.exists()


@pytest.mark.usefixtures("service")
def test_a_script_with_a_missing_interpreter_is_not_found(paths: Paths, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/nowhere/interpreter\n")
    script.chmod(0o755)
    result = run(paths, "--", str(script))
    assert (result.returncode, result.stderr) == (127, f"{script}: not found.\n")


@pytest.mark.parametrize("given", [(), ("--",), ("--profile", "Office"), ("--profile",), ("-x",)])
def test_a_missing_program_is_a_usage_error(
    cli: Cli, service: FakeServiceHandler, given: tuple[str, ...]
) -> None:
    code, out, err = cli("exec", *given)
    assert (code, out) == (2, "")
    assert "Try: trayproxy exec --help" in err


@pytest.mark.parametrize("name", ["Lab", "lab", "lAB"])
def test_a_program_gets_the_address_of_its_profile(
    paths: Paths, service: FakeServiceHandler, name: str
) -> None:
    result = run(paths, "--profile", name, "--", "sh", "-c", "echo $http_proxy $HTTPS_PROXY")
    assert result.stdout == "http://127.0.0.1:4321 http://127.0.0.1:4321\n"
    assert service.requests == [OpenProfilePort("lab")]


def test_an_unknown_profile_runs_no_program(paths: Paths, service: FakeServiceHandler) -> None:
    result = run(paths, "--profile", "Home", "--", "echo", "done")
    assert (result.returncode, result.stdout) == (1, "")
    assert "There is no profile “Home”" in result.stderr
    assert service.requests == []


@pytest.mark.usefixtures("service")
def test_a_program_that_connects_directly_needs_no_exec(paths: Paths) -> None:
    result = run(paths, "--profile", "direct", "--", "echo", "done")
    assert (result.returncode, result.stdout) == (1, "")
    assert "run the program without “trayproxy exec”" in result.stderr


def test_a_program_is_not_run_while_another_program_uses_the_port(
    paths: Paths, service: FakeServiceHandler
) -> None:
    problem = Problem("TP-101", "Port 3128 is taken", "squid already uses 127.0.0.1:3128.")
    service.status = replace(service.status, listener=ListenerState.FAILED, problem=problem)
    result = run(paths, "--", "echo", "done")
    assert (result.returncode, result.stdout) == (7, "")
    assert "squid already uses 127.0.0.1:3128. (TP-101)" in result.stderr


def test_a_service_that_cannot_start_is_reported(paths: Paths) -> None:
    paths.config.mkdir(parents=True)
    paths.runtime.write_text("not a folder")
    result = run(paths, "--", "echo", "done")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("TrayProxy could not be started. TrayProxy cannot start. ")
    assert f"{paths.runtime} is not a folder. (TP-105)" in result.stderr


def test_a_service_with_unwritable_output_is_reported(paths: Paths) -> None:
    paths.config.mkdir(parents=True)
    paths.log.write_text("not a folder")
    result = run(paths, "--", "echo", "done")
    assert (result.returncode, result.stdout) == (1, "")
    assert f"TrayProxy cannot be started: {paths.log} is not a folder." in result.stderr


def test_a_taken_port_of_a_started_service_is_reported(paths: Paths, cli: Cli) -> None:
    paths.config.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        paths.config_file.write_text(f"[listen]\nport = {port}\n")
        result = run(paths, "--", "echo", "done")
        assert cli("quit")[0] == 0
    assert (result.returncode, result.stdout) == (7, "")
    assert f"Port {port} is taken" in result.stderr
