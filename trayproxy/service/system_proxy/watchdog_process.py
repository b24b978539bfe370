"""Starts and ends the watchdog process."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from trayproxy.desktop.process import command, creation_flags, environment
from trayproxy.desktop.system_proxy.watchdog import KEEP
from trayproxy.paths import Paths

_BLOCKED_SIGNALS = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM")
"""Signals for all processes of a session or a terminal that ends. The watchdog must outlive the
service; it ends by itself right after the service."""

END_TIMEOUT_S = 5.0
"""Seconds to wait for a watchdog that has nothing to restore."""


class WatchdogProcess:
    """The watchdog of this process; at most one runs."""

    def __init__(self, paths: Paths, environ: Mapping[str, str] = os.environ) -> None:
        """Set the paths; `start` starts the process.

        Args:
            paths: The folders of TrayProxy.
            environ: The environment to pass on; with it the watchdog finds the session bus.
        """
        self._paths = paths
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id, 0 if the watchdog does not run."""
        return self._process.pid if self._process is not None and self._is_running() else 0

    def start(self) -> None:
        """Start the watchdog if it does not run.

        Raises:
            OSError: The process cannot be started.
        """
        if self._process is not None and self._is_running():
            return
        self.stop()
        files = (str(self._paths.system_proxy_file), str(self._paths.system_proxy_lock))
        with _blocked_signals():
            self._process = self._popen(files)

    def _popen(self, files: tuple[str, ...]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            command("--watchdog", str(os.getpid()), *files),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=Path.home().anchor,
            env=environment(self._environ),
            # The process outlives the session and the terminal of this process.
            start_new_session=True,
            creationflags=creation_flags(),
        )

    def stop(self, *, keep: bool = False) -> None:
        """End the watchdog, and wait until it has ended.

        Unless the settings are to stay, it restores what is still in the journal.

        Args:
            keep: True to leave the settings of the journal in place.
        """
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None  # Opened with a pipe.
        with suppress(OSError):
            if keep:
                process.stdin.write(KEEP)
            process.stdin.close()
        # A watchdog that is still restoring continues without this process.
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_TIMEOUT_S)

    def _is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None


@contextmanager
def _blocked_signals() -> Iterator[None]:
    """Block signals in this thread for a time: a process started meanwhile blocks them, too."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    numbers = {getattr(signal, name) for name in _BLOCKED_SIGNALS}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
