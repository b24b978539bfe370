"""Runs the real service, ``trayproxy run``, in a separate process and home."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from tests.support.memory import Memory, memory_of, reset_peak
from tests.support.processes import Home, Process, running
from trayproxy.auth.login import Login
from trayproxy.control.client import connect
from trayproxy.control.messages import GetStatus, Status
from trayproxy.paths import Paths, locate


def status_of(paths: Paths) -> Status:
    """Return the status of the service with these files."""
    with connect(paths) as client:
        client.hello("cli", can_prompt=False)
        status = client.request(GetStatus())
    assert isinstance(status, Status), status
    return status


def run_command(
    place: Home, *arguments: str, stdin: str = "", environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run the command line of TrayProxy with the files of a home.

    Args:
        place: The home.
        arguments: The arguments after ``trayproxy``.
        stdin: The standard input.
        environment: The environment of a session; None for neither session bus nor display.
    """
    return subprocess.run(
        [sys.executable, "-m", "trayproxy", *arguments],
        env=place.trayproxy_environment(environment),
        cwd=place.root,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


class ServiceProcess:
    """A running service that accepts connections at its address, ``127.0.0.1:40123``."""

    def __init__(self, process: Process, paths: Paths) -> None:
        self.process = process
        self.paths = paths
        self.address = _wait_for_address(process)

    @property
    def url(self) -> str:
        """The URL of the proxy for programs."""
        return f"http://{self.address}"

    @property
    def port(self) -> int:
        """The port of the proxy for programs."""
        return int(self.address.rpartition(":")[2])

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def status(self) -> Status:
        """Return the status of the service."""
        return status_of(self.paths)

    def memory(self) -> Memory:
        """Return the present memory of the service."""
        return memory_of(self.pid)

    def reset_peak(self) -> None:
        """Reset the peak of the memory."""
        reset_peak(self.pid)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal to end the service, like the system at log-out; return the exit code."""
        self.process.signal(number)
        return self.process.wait()

    def kill(self) -> None:
        """Kill the service, like a crash."""
        self.process.signal(signal.SIGKILL)
        self.process.wait()

    def log(self) -> str:
        """Return its standard output, standard error and log files."""
        files = sorted(self.paths.log.glob("*")) if self.paths.log.exists() else []
        texts = [path.read_text("utf-8", "replace") for path in files]
        return "\n".join([self.process.out.text, self.process.err.text, *texts])


def _wait_for_address(process: Process) -> str:
    """Wait until the service accepts connections; return its address.

    Raises:
        AssertionError: The service has ended, or reports no address; with its output.
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
    login: Login | None = None,
    program: Sequence[str] = ("trayproxy",),
) -> Iterator[ServiceProcess]:
    """Run a service on a free port; it accepts connections when the block begins.

    Args:
        place: The home of the service; a later run finds the files of earlier runs.
        arguments: The arguments after ``trayproxy run``.
        environment: The environment of a session; None for neither session bus nor display.
        login: The login given with ``--password-stdin``.
        program: The module to run, and arguments before those of TrayProxy.
    """
    environ = place.trayproxy_environment(environment)
    argv = [sys.executable, "-m", *program, "run", "--listen", "127.0.0.1:0", *arguments]
    if login:
        argv += ["--user", login.user, "--password-stdin"]
    stdin = f"{login.password}\n".encode() if login else b""
    # The working directory is in the home: files written there are found by searches of the home.
    with running(argv, env=environ, cwd=place.path("cwd"), stdin=stdin) as process:
        yield ServiceProcess(process, locate(environ))
