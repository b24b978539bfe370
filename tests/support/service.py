"""The real TrayProxy, as ``trayproxy run`` in a process and a home of its own."""

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from tests.support.memory import Memory, memory_of, reset_peak
from tests.support.process_output import PATIENCE
from tests.support.processes import SOURCES, Home, Process, running
from trayproxy.control.client import connect
from trayproxy.control.messages import GetStatus, Status
from trayproxy.paths import Paths, locate


class Service:
    """A service that runs and accepts connections.

    Attributes:
        process: The program.
        paths: Where its files lie.
        address: Where programs connect, ``127.0.0.1:40123``.
    """

    def __init__(self, process: Process, paths: Paths) -> None:
        self.process = process
        self.paths = paths
        self.address = _wait_for_address(process)

    @property
    def url(self) -> str:
        """What programs are told as their proxy."""
        return f"http://{self.address}"

    @property
    def port(self) -> int:
        """The port that programs connect to."""
        return int(self.address.rpartition(":")[2])

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def status(self) -> Status:
        """Ask it for its status."""
        with connect(self.paths) as client:
            client.hello("cli", can_prompt=False)
            status = client.request(GetStatus())
        assert isinstance(status, Status), status
        return status

    def memory(self) -> Memory:
        """Return how much memory it uses now."""
        return memory_of(self.pid)

    def reset_peak(self) -> None:
        """Let the peak of its memory begin anew."""
        reset_peak(self.pid)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = PATIENCE) -> int:
        """Ask it to end, as the system does at log-out; return its exit code."""
        self.process.signal(number)
        return self.process.wait(timeout)

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.signal(signal.SIGKILL)
        self.process.wait()

    def log(self) -> str:
        """Return all that it wrote: standard output, standard error, and its log files."""
        files = sorted(self.paths.log.glob("*")) if self.paths.log.exists() else []
        texts = [path.read_text("utf-8", "replace") for path in files]
        return "\n".join([self.process.out.text, self.process.err.text, *texts])


def _wait_for_address(process: Process) -> str:
    """Wait until it accepts connections; return where.

    Raises:
        AssertionError: It has ended instead, or said nothing; with what it wrote.
    """
    try:
        return process.out.wait_for("^listening on (.+)$")[1]
    except AssertionError as error:
        process.end()
        said = f"{error}\nexit code {process.wait()}, standard error:\n{process.err.text}"
        raise AssertionError(said) from None


@contextmanager
def service(
    place: Home,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    program: Sequence[str] = ("trayproxy",),
) -> Iterator[Service]:
    """Run a service on a free port; it accepts connections when the block begins.

    Args:
        place: Where it keeps its files; a second run there finds those of the first.
        arguments: What to say after ``trayproxy run``.
        environment: The session it belongs to; without one it has no session bus and no display.
        stdin: What it reads from its standard input.
        program: The module to run, and arguments that come before those of TrayProxy.
    """
    environ = {
        **(place.environment() if environment is None else environment),
        "TRAYPROXY_HOME": str(place.path("trayproxy")),
        "PYTHONPATH": str(SOURCES),
    }
    argv = [sys.executable, "-m", *program, "run", "--listen", "127.0.0.1:0", *arguments]
    # A directory of its own: a file that is written where it was started shows up below the home.
    with running(argv, env=environ, cwd=place.path("cwd"), stdin=stdin) as process:
        yield Service(process, locate(environ))
