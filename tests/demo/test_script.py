"""Tests of the demonstration as the user starts it: real processes, no fakes."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.cli.terminal_screen import TerminalScreen
from tests.support.display import Desktop, x_server
from tests.support.processes import Home
from tests.support.window_manager import fluxbox
from trayproxy.demo.origin import PAGE
from trayproxy.demo.program import FetchedPage, fetch

COMMAND = [sys.executable, "-m", "trayproxy", "demo"]
ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60.0
KIOSLAVERC = "[Proxy Settings]\nProxyType=1\nhttpProxy=http://proxy.example 8080\n"
SESSION = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM", "DBUS_SESSION_BUS_ADDRESS")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Return an environment without a display; temporary files are in the test's folder."""
    kept = {name: value for name, value in os.environ.items() if name not in SESSION}
    own = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    # A short path, because the path of the control socket has a limit.
    return kept | {"TMPDIR": tempfile.mkdtemp(prefix="tp-"), **own}


@pytest.fixture(autouse=True)
def no_leftovers(env: dict[str, str], tmp_path: Path) -> Iterator[None]:
    """Check that the demonstration leaves no file and no process, and the user's system proxy."""
    own = tmp_path / "kioslaverc"
    own.write_text(KIOSLAVERC, "utf-8")
    yield
    assert own.read_text("utf-8") == KIOSLAVERC
    assert os.listdir(env["TMPDIR"]) == []
    os.rmdir(env["TMPDIR"])
    assert [path for path in tmp_path.rglob("*") if "trayproxy" in path.name] == []
    # The environment of another user's process is None.
    environments = [process.info["environ"] or {} for process in psutil.process_iter(["environ"])]
    assert not [found for found in environments if found.get("TMPDIR") == env["TMPDIR"]]


@pytest.fixture
def demonstration(env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Start the demonstration without a terminal."""
    process = subprocess.Popen(
        COMMAND,
        env=env,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout is not None
    with process.stdout:
        yield process
    end(process)


def end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """End a demonstration that a failed test has left, so that it ends what it has started."""
    process.terminate()
    process.wait(TIMEOUT_S)


def test_without_a_terminal_all_steps_run(demonstration: subprocess.Popen[str]) -> None:
    output, _ = demonstration.communicate(timeout=TIMEOUT_S)
    assert demonstration.returncode == 0, output
    steps = re.findall(r"^  ok      (.*)\.$", output, re.MULTILINE)
    assert [step[:20] for step in steps] == [
        "Without TrayProxy, a",
        "TrayProxy listens on",
        "Two programs use Tra",
        "A wrong password is ",
        "The right password: ",
        "The next requests pa",
        "After a switch to th",
        "System proxy on, in ",
        "System proxy off: th",
        "No keyring was used,",
        "TrayProxy ends when ",
        "Your own system prox",
    ]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_demonstration_and_its_processes(
    demonstration: subprocess.Popen[str], number: signal.Signals, code: int
) -> None:
    assert demonstration.stdout is not None
    while "TrayProxy listens on" not in (line := demonstration.stdout.readline()):
        assert line, "the demonstration ended too early"
    demonstration.send_signal(number)
    demonstration.stdout.read()
    assert demonstration.wait(TIMEOUT_S) == code


@pytest.fixture
def open_terminal(env: dict[str, str]) -> Iterator[Callable[..., TerminalScreen]]:
    """Start the demonstration in a new terminal."""
    opened: list[TerminalScreen] = []

    def open_terminal(**variables: str) -> TerminalScreen:
        environ = env | variables
        opened.append(TerminalScreen("trayproxy", "demo", environ=environ, limit_s=TIMEOUT_S))
        return opened[-1]

    yield open_terminal
    for terminal in opened:
        end(terminal.process)
        terminal.close()


def password_and_port(terminal: TerminalScreen, place: str) -> tuple[str, int]:
    """Return the values in the instructions, which tell the place of the prompts."""
    password = terminal.wait_for(r"password +\w+").split()[-1]
    address = terminal.wait_for(rf"TrayProxy +http://127\.0\.0\.1:\d+, {place}")
    terminal.wait_for("Ctrl\\+C ends")
    return password, int(address.partition(",")[0].rpartition(":")[2])


def test_without_a_display_the_terminal_shows_the_prompt(
    open_terminal: Callable[..., TerminalScreen],
) -> None:
    terminal = open_terminal()
    password, port = password_and_port(terminal, "it asks in this")
    with ThreadPoolExecutor() as programs:
        page = programs.submit(fetch, port)
        terminal.answer("User name", "demo\n")
        terminal.answer("Password", f"{password}\n")
        assert page.result(TIMEOUT_S) == FetchedPage(200, PAGE)
    terminal.answer("Office: passed", "\x03")
    assert terminal.end() == 0
    # The password was printed once, in the instructions, and never echoed.
    assert terminal.shown.count(password) == 1


@pytest.fixture
def desktop(place: Home) -> Iterator[Desktop]:
    """Run an X server with a window manager that hosts tray icons."""
    with x_server(place) as display:
        # An unused address: without an address, libdbus would start a bus that outlives the test.
        desktop = Desktop(place, display, "unix:path=/nowhere")
        with fluxbox(desktop):
            yield desktop


def test_with_a_display_the_tray_shows_the_dialog(
    open_terminal: Callable[..., TerminalScreen], desktop: Desktop
) -> None:
    terminal = open_terminal(DISPLAY=desktop.display, DBUS_SESSION_BUS_ADDRESS=desktop.bus)
    password, port = password_and_port(terminal, "its icon is")
    with ThreadPoolExecutor() as programs:
        page = programs.submit(fetch, port)
        dialog = desktop.wait_for_window("^Sign in to", TIMEOUT_S)
        desktop.run("xdotool", "windowactivate", "--sync", dialog)
        desktop.type(password)
        desktop.press("Return")
        assert page.result(TIMEOUT_S) == FetchedPage(200, PAGE)
    terminal.answer("TrayProxy: signed in", "\x03")
    assert terminal.end() == 0
