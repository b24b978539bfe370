"""The single-instance lock: the operating system releases it when the process ends in any way.

The lock is on an open file. The process id in the file is for display only: it may be stale or
reused (security.md F20). The file is never removed; otherwise two processes could each lock a
different file of the same name.
"""

import os
from contextlib import suppress
from pathlib import Path
from types import ModuleType

_PID_SIZE = 32
"""The octets reserved for the process id; a lock of one octet is behind them."""


class AlreadyRunningError(Exception):
    """Another service holds the lock.

    Attributes:
        pid: The process id written by the other service, 0 if unknown. For display only.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(f"TrayProxy is already running (PID {pid})" if pid else "already running")
        self.pid = pid


class InstanceLock:
    """The single-instance lock, held from `acquire` to `release` or to the end of the process."""

    def __init__(self, path: Path, *, is_inherited: bool = False) -> None:
        """Set the path of the lock file, in an existing folder private to this user.

        Args:
            path: The lock file.
            is_inherited: True if child processes that inherit descriptors hold the lock as well,
                until they end. Windows cannot do that.
        """
        self._path = path
        self._is_inherited = is_inherited
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Acquire the lock without waiting.

        Raises:
            AlreadyRunningError: Another process holds the lock.
            OSError: The lock file cannot be created.
        """
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(self._path, flags, 0o600)
        try:
            _lock(descriptor)
        except OSError:
            pid = _read_pid(descriptor)
            os.close(descriptor)
            raise AlreadyRunningError(pid) from None
        with suppress(OSError):  # A full disk: the process id is for display only.
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, b"%d\n" % os.getpid())
        os.set_inheritable(descriptor, self._is_inherited)
        self._descriptor = descriptor

    def release(self) -> None:
        """Release the lock, if this process holds it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _read_pid(descriptor: int) -> int:
    os.lseek(descriptor, 0, os.SEEK_SET)
    text = os.read(descriptor, _PID_SIZE).strip()
    return int(text) if text.isdigit() else 0


def _lock(descriptor: int) -> None:
    """Lock an open file without waiting, with flock() or on Windows with msvcrt.locking()."""
    try:
        import fcntl
    except ImportError:
        _lock_with_msvcrt(descriptor)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock_with_msvcrt(descriptor: int) -> None:
    # Windows locks are mandatory. The locked octet is behind the pid, which stays readable.
    import msvcrt as module

    msvcrt: ModuleType = module
    os.lseek(descriptor, _PID_SIZE, os.SEEK_SET)
    msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
