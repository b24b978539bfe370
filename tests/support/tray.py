"""Runs the real tray, which starts its service, on a desktop."""

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
from tests.support.processes import Job, Process, ProgramResult
from tests.support.service import status_of
from trayproxy.control.client import DisconnectedError, NoReplyError
from trayproxy.control.messages import ListenerState, Status
from trayproxy.control.transport import NotRunningError
from trayproxy.paths import locate


class TrayProcesses:
    """A TrayProxy on a desktop: its settings, trays, service and address, ``127.0.0.1:14123``."""

    def __init__(self, desktop: Desktop, more: Mapping[str, str]) -> None:
        """Write the settings; no program is started yet.

        `more` are environment variables in addition to those of the desktop.
        """
        self.desktop = desktop
        home = desktop.place
        self._environment = {**home.trayproxy_environment(desktop.environment()), **more}
        self._processes: list[Process] = []
        self.paths = locate(self._environment)
        self.paths.prepare()
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self.paths.config_file.write_text(f"[listen]\nport = {port}\n")

    @property
    def url(self) -> str:
        """The URL of the proxy for programs."""
        return f"http://{self.address}"

    def run(self, *arguments: str, stdin: bytes = b"") -> ProgramResult:
        """Run a verb of the command line, and assert its success."""
        result = Job(self.start(*arguments, stdin=stdin)).result()
        assert result.code == 0, result
        return result

    def start(self, *arguments: str, stdin: bytes = b"") -> Process:
        """Start ``trayproxy``, which is the tray, or another verb."""
        argv = [sys.executable, "-m", "trayproxy", *arguments]
        cwd = self.desktop.place.path("cwd")
        process = Process(argv, env=self._environment, cwd=cwd, stdin=stdin)
        self._processes.append(process)
        return process

    def status(self) -> Status | None:
        """Return the status of the service; None if no service is running."""
        try:
            return status_of(self.paths)
        except (NotRunningError, DisconnectedError, NoReplyError, OSError):
            return None

    def wait_for_service(self, *, instead_of: int = 0) -> Status:
        """Wait until programs can connect; return the status of the service.

        `instead_of` is the process id of the previous service.
        """
        deadline = monotonic() + PATIENCE
        while monotonic() < deadline:
            status = self.status()
            if status and status.pid != instead_of and status.listener is ListenerState.UP:
                return status
            # The tray starts the service: without a tray there is no service to wait for.
            assert not self._processes[-1].ended_within(0.05), self.describe()
        raise AssertionError(f"no service after {PATIENCE} s:\n{self.describe()}")

    def describe(self) -> str:
        """Return the output of all programs for the report of a failed test."""
        said = [
            text for process in self._processes for text in (process.out.text, process.err.text)
        ]
        files = sorted(self.paths.log.glob("*"))
        return "\n".join([*said, *(path.read_text("utf-8", "replace") for path in files)])

    def close(self) -> None:
        """End all running programs and services."""
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
def tray_on(desktop: Desktop, more: Mapping[str, str]) -> Iterator[TrayProcesses]:
    """Provide a TrayProxy on a desktop until the end of the block."""
    tray = TrayProcesses(desktop, more)
    try:
        yield tray
    finally:
        tray.close()


@contextmanager
def ending(pid: int) -> Iterator[None]:
    """Wait, at the end of the block, for the end of a process other than a child process."""
    descriptor = os.pidfd_open(pid)
    try:
        yield
        # The descriptor becomes readable even if the parent has not collected the exit code yet.
        ready, _, _ = select.select([descriptor], [], [], PATIENCE)
        assert ready, f"process {pid} still runs after {PATIENCE} s"
    finally:
        os.close(descriptor)
