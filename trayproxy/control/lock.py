"""One service per user: a lock that the operating system drops with its holder, however that ends.

The lock is on an open file, never on the number in it: a process id may be stale or used again
(security.md F20). The file is never removed, or two processes could hold two files of one name.
"""

import os
from pathlib import Path
from types import ModuleType

_PID_SIZE = 32
"""The pid stands in the first octets; the lock, where it is one of octets, lies behind them."""


class AlreadyRunningError(Exception):
    """Another service holds the lock.

    Attributes:
        pid: Its process id as it wrote it, 0 if unknown. Only to be shown.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(f"TrayProxy is already running (PID {pid})" if pid else "already running")
        self.pid = pid


class InstanceLock:
    """The lock, held from `acquire` to `release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        """Name the file; its folder must exist.

        Args:
            path: In a folder that only this user can enter.
        """
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock at once.

        Raises:
            AlreadyRunningError: Someone else has it.
            OSError: The file cannot be made.
        """
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(self._path, flags, 0o600)
        try:
            _lock(descriptor)
        except OSError:
            pid = _read_pid(descriptor)
            os.close(descriptor)
            raise AlreadyRunningError(pid) from None
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, b"%d\n" % os.getpid())
        self._descriptor = descriptor

    def release(self) -> None:
        """Let the next one in; harmless when the lock is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _read_pid(descriptor: int) -> int:
    os.lseek(descriptor, 0, os.SEEK_SET)
    text = os.read(descriptor, _PID_SIZE).strip()
    return int(text) if text.isdigit() else 0


def _lock(descriptor: int) -> None:
    """Lock an open file without waiting, by whichever of the two calls this system has."""
    try:
        import fcntl
    except ImportError:
        _lock_with_msvcrt(descriptor)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock_with_msvcrt(descriptor: int) -> None:
    # Windows locks are mandatory: behind the pid, so that others can still read it.
    import msvcrt as module

    msvcrt: ModuleType = module
    os.lseek(descriptor, _PID_SIZE, os.SEEK_SET)
    msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
