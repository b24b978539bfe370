"""The lock that serializes all changes of the computer's settings.

The service, the watchdog process and ``trayproxy system-proxy restore`` may act at the same time.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trayproxy.control.lock import AlreadyRunningError, InstanceLock

PAUSE_S = 0.05
"""Seconds between two attempts to acquire the lock."""


class SettingsBusyError(Exception):
    """Another process changes the settings and does not finish.

    Attributes:
        pid: The process id written by the other process, 0 if unknown. For display only.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(f"process {pid} is changing the settings")
        self.pid = pid


@contextmanager
def changing_settings(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold the lock while the settings are changed.

    On Unix, commands that inherit descriptors (`trayproxy.desktop.commands`) hold it
    as well: if this process is killed, a command that it has started may still change a setting.

    Args:
        path: The lock file. Its folder is created if it is missing.
        timeout_s: The time to wait for another process, in seconds.

    Raises:
        SettingsBusyError: Another process still holds the lock.
        OSError: The lock file or its folder cannot be created.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = InstanceLock(path, is_inherited=True)
    end = time.monotonic() + timeout_s
    while True:
        try:
            lock.acquire()
            break
        except AlreadyRunningError as error:
            if time.monotonic() >= end:
                raise SettingsBusyError(error.pid) from None
        time.sleep(PAUSE_S)
    try:
        yield
    finally:
        lock.release()
