"""The real tray as a person starts it, with the service that it starts itself."""

import os
import select
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from time import monotonic

import psutil

from tests.support.display import Desktop
from tests.support.ports import free_port
from tests.support.process_output import PATIENCE
from tests.support.processes import SOURCES, Process, ProgramResult
from trayproxy.control.client import DisconnectedError, NoReplyError, connect
from trayproxy.control.messages import GetStatus, ListenerState, Status
from trayproxy.control.transport import NotRunningError
from trayproxy.paths import locate


class Tray:
    """A TrayProxy of one's own on a desktop: its settings, its trays, its service.

    Attributes:
        desktop: Where it is seen.
        paths: Where its files lie.
        address: Where programs connect, ``127.0.0.1:14123``.
    """

    def __init__(self, desktop: Desktop, more: Mapping[str, str]) -> None:
        """Settle down; nothing runs yet.

        Args:
            desktop: Where it is seen.
            more: What its programs find in their environment beyond the desktop.
        """
        self.desktop = desktop
        home = {"TRAYPROXY_HOME": str(desktop.place.path("trayproxy")), "PYTHONPATH": str(SOURCES)}
        self._environment = {**desktop.environment(), **home, **more}
        self._processes: list[Process] = []
        self.paths = locate(self._environment)
        self.paths.prepare()
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self.paths.config_file.write_text(f"[listen]\nport = {port}\n")

    @property
    def url(self) -> str:
        """What programs are told as their proxy."""
        return f"http://{self.address}"

    def start(self, *arguments: str) -> Process:
        """Start ``trayproxy``, which is the tray, or another verb."""
        argv = [sys.executable, "-m", "trayproxy", *arguments]
        process = Process(argv, env=self._environment, cwd=self.desktop.place.path("cwd"))
        self._processes.append(process)
        return process

    def run(self, *arguments: str, stdin: bytes = b"") -> ProgramResult:
        """Run a verb of the command line to its end, which is to be a good one."""
        argv = [sys.executable, "-m", "trayproxy", *arguments]
        started = monotonic()
        env, cwd = self._environment, self.desktop.place.path("cwd")
        process = Process(argv, env=env, cwd=cwd, stdin=stdin)
        self._processes.append(process)
        code = process.wait()
        process.end()
        result = ProgramResult(code, process.out.text, process.err.text, monotonic() - started)
        assert code == 0, result
        return result

    def status(self) -> Status | None:
        """Ask the service for its status; None if there is no service."""
        try:
            with connect(self.paths) as client:
                client.hello("cli", can_prompt=False)
                status = client.request(GetStatus())
        except (NotRunningError, DisconnectedError, NoReplyError, OSError):
            return None
        assert isinstance(status, Status), status
        return status

    def wait_for_service(self, *, instead_of: int = 0, timeout: float = PATIENCE) -> Status:
        """Wait until programs can connect; return the status of the service.

        Args:
            instead_of: The process id of one that has ended.
            timeout: In seconds.
        """
        deadline = monotonic() + timeout
        while monotonic() < deadline:
            status = self.status()
            if status and status.pid != instead_of and status.listener is ListenerState.UP:
                return status
            # Whoever waits for the service waits for the tray, too, which is to start it.
            assert not self._processes[-1].ended_within(0.05), self.describe()
        raise AssertionError(f"no service after {timeout} s:\n{self.describe()}")

    def describe(self) -> str:
        """Return all that its programs wrote, for the report of a failed test."""
        said = [
            text for process in self._processes for text in (process.out.text, process.err.text)
        ]
        files = sorted(self.paths.log.glob("*"))
        return "\n".join([*said, *(path.read_text("utf-8", "replace") for path in files)])

    def close(self) -> None:
        """End everything of it that still runs."""
        services: set[int] = set()
        for process in self._processes:
            with suppress(psutil.NoSuchProcess):
                services |= {child.pid for child in psutil.Process(process.pid).children()}
            process.end()
        if status := self.status():
            services.add(status.pid)
        for pid in services:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def tray_on(desktop: Desktop, more: Mapping[str, str]) -> Iterator[Tray]:
    """Have a TrayProxy on a desktop for as long as the test needs it."""
    tray = Tray(desktop, more)
    try:
        yield tray
    finally:
        tray.close()


@contextmanager
def ending(pid: int, timeout: float = PATIENCE) -> Iterator[None]:
    """Wait, when the block is left, for the end of a process that is no child of ours."""
    descriptor = os.pidfd_open(pid)
    try:
        yield
        # It becomes readable also when nobody has asked yet how the process ended.
        ready, _, _ = select.select([descriptor], [], [], timeout)
        assert ready, f"process {pid} still runs after {timeout} s"
    finally:
        os.close(descriptor)
