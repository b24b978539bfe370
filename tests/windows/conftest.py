"""Runs TrayProxy in processes of this Windows Python."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.process_output import PATIENCE, LineReader
from tests.windows.upstream import WindowsUpstream
from trayproxy.control.client import Client, connect
from trayproxy.paths import HOME_VARIABLE, Paths, locate

SETTINGS = 'schema = 1\n\n[listen]\nallow_users = ["*"]\n'
"""Wine does not report the process at the other end of a connection, so every user is allowed."""

LONG = 8 * PATIENCE
"""Seconds. Python takes two to start under Wine, and many times as long on a busy machine."""


class WindowsProgram:
    """A process of TrayProxy; `out` has the lines of its standard output and standard error."""

    def __init__(self, home: Path, arguments: tuple[str, ...]) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "trayproxy", *arguments],
            env={**os.environ, HOME_VARIABLE: str(home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._popen.stdout
        self.out = LineReader(self._popen.stdout, " ".join(arguments) or "the tray")
        self.pid = self._popen.pid

    def wait(self) -> int:
        """Wait until the process has ended; return its exit code."""
        return self._popen.wait(LONG)

    def end(self) -> None:
        """Kill the process, unless it has ended."""
        with suppress(OSError):
            self._popen.kill()
        self._popen.wait(LONG)
        self.out.join()


@contextmanager
def program(home: Path, *arguments: str) -> Iterator[WindowsProgram]:
    """Run ``trayproxy`` with these arguments and this home during a ``with`` block."""
    started = WindowsProgram(home, arguments)
    try:
        yield started
    finally:
        started.end()


def trayproxy(home: Path, *arguments: str) -> tuple[int, str]:
    """Run ``trayproxy`` until it ends; return its exit code and its output."""
    with program(home, *arguments) as started:
        code = started.wait()
        started.out.join()
        return code, started.out.text


class WindowsService:
    """A running ``trayproxy run``; `port` is its port on 127.0.0.1."""

    def __init__(self, program: WindowsProgram, paths: Paths) -> None:
        self.program = program
        self.paths = paths
        self.port = int(program.out.wait_for(r"^listening on 127\.0\.0\.1:(\d+)", LONG)[1])

    def client(self) -> Client:
        """Return a connection to the control address."""
        client = connect(self.paths)
        client.hello("cli", can_prompt=False)
        return client


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the service, with settings."""
    home = tmp_path_factory.mktemp("home")
    (home / "config").mkdir()
    (home / "config" / "config.toml").write_text(SETTINGS, "utf-8")
    return home


@pytest.fixture(scope="module")
def upstream() -> Iterator[WindowsUpstream]:
    """An upstream that requires no sign-in."""
    with WindowsUpstream() as started:
        yield started


@pytest.fixture(scope="module")
def service(home: Path, upstream: WindowsUpstream) -> Iterator[WindowsService]:
    """A service that uses the upstream."""
    address = f"http://127.0.0.1:{upstream.port}"
    arguments = ("run", "--listen", "127.0.0.1:0", "--upstream", address, "--no-prompt")
    with program(home, *arguments) as started:
        yield WindowsService(started, locate({HOME_VARIABLE: str(home)}))
