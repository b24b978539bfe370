"""Runs programs in a home directory, and ends them with their process group."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from tests.support.process_output import PATIENCE, LineReader
from trayproxy.paths import Paths, locate

SOURCES = Path(__file__).parents[2]
"""The parent folder of the package `trayproxy`."""

RunPython = Callable[..., "subprocess.CompletedProcess[str]"]
"""Runs a program in a new Python. Takes the program and its arguments, converted to text."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Home:
    """A home directory, and an environment with this home.

    The path is short, since Unix sockets are created there.
    """

    root: Path

    def environment(self, **more: str) -> dict[str, str]:
        """Return an environment independent of the user of the tests.

        It has no display, session bus, proxy or keyring.
        """
        return {
            "PATH": _PATH,
            "LANG": "C.UTF-8",
            "HOME": str(self.root),
            "TMPDIR": str(self.path("tmp")),
            "XDG_CONFIG_HOME": str(self.path("config")),
            "XDG_DATA_HOME": str(self.path("data")),
            "XDG_STATE_HOME": str(self.path("state")),
            "XDG_CACHE_HOME": str(self.path("cache")),
            "XDG_RUNTIME_DIR": str(self.path("run")),
            **more,
        }

    def trayproxy_environment(self, session: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return an environment with which TrayProxy has its files in this home.

        Without the environment of a session, it has neither session bus nor display.
        """
        return {
            **(self.environment() if session is None else session),
            "TRAYPROXY_HOME": str(self.path("trayproxy")),
            "PYTHONPATH": str(SOURCES),
        }

    def trayproxy_paths(self, session: Mapping[str, str] | None = None) -> Paths:
        """Return the paths of TrayProxy in this home, in the session of a user."""
        environment = self.trayproxy_environment(session)
        shared = Path(environment["XDG_STATE_HOME"], "trayproxy")
        return replace(locate(environment), shared=shared)

    def path(self, name: str) -> Path:
        """Return a directory in the home, created if missing, accessible by its owner only."""
        path = self.root / name
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path


@contextmanager
def home(prefix: str = "tp-") -> Iterator[Home]:
    """Create a home, and remove it at the end of the block."""
    # Programs that are being killed may still write: files that they leave do not fail a test.
    with TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as directory:
        yield Home(Path(directory))


class Process:
    """A running program with its output."""

    def __init__(
        self, argv: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path, stdin: bytes = b""
    ) -> None:
        """Start a program in a process group of its own."""
        self.name = Path(argv[0]).name
        self._popen = subprocess.Popen(
            [str(word) for word in argv],
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._popen.stdin
        assert self._popen.stdout
        assert self._popen.stderr
        self.out = LineReader(self._popen.stdout, f"{self.name}, standard output")
        self.err = LineReader(self._popen.stderr, f"{self.name}, standard error")
        with suppress(BrokenPipeError), self._popen.stdin as pipe:
            pipe.write(stdin)

    @property
    def pid(self) -> int:
        """The process id, also the id of its process group."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """True if the program has not ended."""
        return self._popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program, not to its children."""
        self._popen.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for the end of the program; return its exit code, negative for a signal."""
        return self._popen.wait(timeout)

    def ended_within(self, seconds: float) -> bool:
        """Wait for the end of the program for a time; return True if it has ended."""
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self) -> None:
        """Kill the program with its children, and read the rest of their output."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()
        self.out.join()
        self.err.join()


@contextmanager
def running(
    argv: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path, stdin: bytes = b""
) -> Iterator[Process]:
    """Run a program until the end of the block."""
    process = Process(argv, env=env, cwd=cwd, stdin=stdin)
    try:
        yield process
    finally:
        process.end()


def wait_until_accepting(process: Process, port: int, timeout: float = PATIENCE) -> None:
    """Wait until a program accepts connections on a port of 127.0.0.1.

    Raises:
        AssertionError: The program has ended, or the timeout has passed.
    """
    deadline = monotonic() + timeout
    while monotonic() < deadline:
        with suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout).close()
            return
        if process.ended_within(0.01):
            break
    raise AssertionError(f"{process.name} does not accept on {port}: {process.err.text}")


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """The result of a program; the exit code is negative for a signal."""

    code: int
    out: str
    err: str
    seconds: float


class Job:
    """A program in the background with a result."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._started = monotonic()

    def result(self, timeout: float = 60.0) -> ProgramResult:
        """Wait for the end of the program; return its result.

        After the timeout in seconds, the program is killed and the test fails.
        """
        process = self.process
        ended = process.ended_within(timeout)
        seconds = monotonic() - self._started
        process.end()
        result = ProgramResult(process.wait(), process.out.text, process.err.text, seconds)
        assert ended, f"{process.name} still ran after {timeout} s: {result}"
        return result
