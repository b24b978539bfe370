"""Tests of the demonstration as the user starts it: real processes, no fakes."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from trayproxy.demo.origin import PAGE
from trayproxy.demo.program import FetchedPage, fetch

COMMAND = [sys.executable, "-m", "trayproxy", "demo"]
ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60.0
SESSION = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM", "DBUS_SESSION_BUS_ADDRESS")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Return an environment without a display; temporary files are in the test's folder."""
    kept = {name: value for name, value in os.environ.items() if name not in SESSION}
    # A short path, because the path of the control socket has a limit.
    return kept | {"TMPDIR": tempfile.mkdtemp(prefix="tp-"), "HOME": str(tmp_path)}


@pytest.fixture(autouse=True)
def no_leftovers(env: dict[str, str], tmp_path: Path) -> Iterator[None]:
    """Check that the demonstration leaves no file and no process."""
    yield
    assert os.listdir(env["TMPDIR"]) == []
    os.rmdir(env["TMPDIR"])
    assert [path for path in tmp_path.rglob("*") if "trayproxy" in path.name] == []
    assert leftover_processes(env["TMPDIR"]) == []


def leftover_processes(folder: str) -> list[psutil.Process]:
    def is_ours(process: psutil.Process) -> bool:
        try:
            return bool(process.environ().get("TMPDIR") == folder)
        except psutil.Error:
            return False

    return [process for process in psutil.process_iter() if is_ours(process)]


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
        "No keyring was used,",
        "TrayProxy ends when ",
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


@dataclass
class DemoTerminal:
    """The terminal in which the demonstration runs."""

    process: subprocess.Popen[bytes]
    descriptor: int
    shown: str = field(default="")

    def wait_for(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + TIMEOUT_S
        while (found := re.search(pattern, self.shown)) is None:
            ready, _, _ = select.select([self.descriptor], [], [], deadline - time.monotonic())
            assert ready, f"no {pattern!r} in:\n{self.shown}"
            self.shown += os.read(self.descriptor, 4096).decode(errors="replace")
        return found

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())


@pytest.fixture
def open_terminal(env: dict[str, str]) -> Iterator[Callable[..., DemoTerminal]]:
    """Start the demonstration in a new terminal."""
    opened: list[DemoTerminal] = []

    def open_terminal(**variables: str) -> DemoTerminal:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            # A controlling terminal, so that Ctrl+C reaches the foreground processes.
            [sys.executable, "-c", IN_TERMINAL, *COMMAND],
            env=env | variables,
            cwd=ROOT,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        opened.append(DemoTerminal(process, ours))
        return opened[-1]

    yield open_terminal
    for terminal in opened:
        end(terminal.process)
        os.close(terminal.descriptor)


IN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.argv[1], sys.argv[1:])"
)


def test_without_a_display_the_terminal_shows_the_prompt(
    open_terminal: Callable[..., DemoTerminal],
) -> None:
    terminal = open_terminal()
    password = terminal.wait_for(r"password +(\w+)")[1]
    port = int(terminal.wait_for(r"TrayProxy +http://127\.0\.0\.1:(\d+), it asks in this")[1])
    terminal.wait_for("Ctrl\\+C ends")
    with ThreadPoolExecutor() as programs:
        page = programs.submit(fetch, port)
        terminal.wait_for("User name")
        terminal.type("demo\n")
        terminal.wait_for("Password")
        terminal.type(f"{password}\n")
        assert page.result(TIMEOUT_S) == FetchedPage(200, PAGE)
    terminal.wait_for("Office: passed")
    terminal.type("\x03")
    assert terminal.process.wait(TIMEOUT_S) == 0
    # The password was printed once, in the instructions, and never echoed.
    assert terminal.shown.count(password) == 1


@pytest.fixture
def display(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the display of an X server with a window manager that hosts tray icons."""
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1024x768x24", "-nolisten", "tcp"],
        pass_fds=(writing,),
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with open(reading, encoding="ascii") as numbers:
        name = f":{numbers.readline().strip()}"
    home = tmp_path_factory.mktemp("fluxbox")
    manager = subprocess.Popen(
        ["fluxbox"],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "DISPLAY": name},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield name
    for process in (manager, server):
        process.kill()
        process.wait()


def xdotool(display: str, *command: str) -> str:
    """Run an xdotool command on the display."""
    return subprocess.run(
        ["xdotool", *command],
        env={"PATH": os.environ["PATH"], "DISPLAY": display},
        timeout=TIMEOUT_S,
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout


def test_with_a_display_the_tray_shows_the_dialog(
    open_terminal: Callable[..., DemoTerminal], display: str
) -> None:
    # An unused address: without an address, libdbus would start a bus that outlives the test.
    terminal = open_terminal(DISPLAY=display, DBUS_SESSION_BUS_ADDRESS="unix:path=/nowhere")
    password = terminal.wait_for(r"password +(\w+)")[1]
    port = int(terminal.wait_for(r"TrayProxy +http://127\.0\.0\.1:(\d+), its icon is")[1])
    terminal.wait_for("Ctrl\\+C ends")
    with ThreadPoolExecutor() as programs:
        page = programs.submit(fetch, port)
        dialog = xdotool(
            display, "search", "--sync", "--onlyvisible", "--name", "^Sign in to"
        ).split()[0]
        xdotool(display, "windowactivate", "--sync", dialog)
        xdotool(display, "type", password)
        xdotool(display, "key", "Return")
        assert page.result(TIMEOUT_S) == FetchedPage(200, PAGE)
    terminal.wait_for("TrayProxy: signed in")
    terminal.type("\x03")
    assert terminal.process.wait(TIMEOUT_S) == 0
