"""Replaces files as a whole: at any time, a file has either the old or the new contents.

The module uses only the standard library, because the watchdog process of the system proxy, which
must stay small, writes its journal with it.
"""

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

PAUSES_S = (0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.4)
"""The pauses between the attempts to replace a file that another program has open, a second in
total."""


class NotAFileError(OSError):
    """A path is not a regular file. Reading it could block forever."""


def read_file(path: Path, limit: int) -> bytes:
    """Return at most `limit` octets of a file without blocking, as opening a FIFO would.

    Raises:
        NotAFileError: The path is a folder, a FIFO or a device.
        OSError: The file cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except PermissionError:
        # On Windows, opening a folder fails.
        if path.is_dir():
            raise NotAFileError(errno.EISDIR, "It is not a file") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotAFileError(errno.EINVAL, "It is not a file")
    with open(descriptor, "rb") as file:
        return file.read(limit)


def replace_file(
    path: Path,
    octets: bytes,
    *,
    is_durable: bool = True,
    keeps_mode: bool = False,
    before_replacing: Callable[[Path], object] = lambda new: None,
) -> None:
    """Replace the contents of a file atomically; mode 0600.

    Windows refuses to replace or delete a file that another program has open without sharing it for
    deletion: MoveFileEx fails with ERROR_ACCESS_DENIED (5) or ERROR_SHARING_VIOLATION (32), which
    Python raises as PermissionError. Virus scanners and indexers open each new file for a moment,
    so both steps are repeated for up to a second. Do not call this function on a thread that must
    not block.

    Args:
        path: The file, or a link to it. A missing folder is created with mode 0700.
        octets: The new contents.
        is_durable: True to wait until the contents are on the disk and survive a power failure.
            Otherwise they survive only a crash of TrayProxy.
        keeps_mode: True to give the new file the mode of the old one, if there is one.
        before_replacing: Called with the new file when it is complete, and has still a temporary
            name. If the function raises an exception, the old file stays, and the exception is
            raised.

    Raises:
        OSError: The contents were not replaced, and the file is unchanged.
    """
    target = _without_links(path)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = temporary_path(target)
    # A killed process may have left the temporary file. O_EXCL excludes writing to a planted file.
    _retry_while_open(lambda: new.unlink(missing_ok=True))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(new, flags, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(octets)
            file.flush()
            if is_durable:
                os.fsync(file.fileno())
        if keeps_mode:
            with contextlib.suppress(FileNotFoundError):
                new.chmod(stat.S_IMODE(target.stat().st_mode))
        before_replacing(new)
        _retry_while_open(lambda: new.replace(target))
    except BaseException:
        with contextlib.suppress(PermissionError):
            new.unlink(missing_ok=True)
        raise
    if is_durable:
        sync_folder(target.parent)


def temporary_path(path: Path) -> Path:
    """Return the path of the temporary file that `replace_file` writes and then renames.

    If the process is killed meanwhile, the temporary file is left.
    """
    return path.with_name(f".{path.name}.trayproxy-new")


def remove_file(path: Path) -> None:
    """Remove a file if it exists, and wait until that is on the disk.

    A file that another program has open is tried again, as by `replace_file`. A link is removed,
    not the file that it leads to.

    Raises:
        OSError: The file was not removed.
    """
    _retry_while_open(lambda: path.unlink(missing_ok=True))
    sync_folder(path.parent)


def set_aside(path: Path) -> Path:
    """Rename a damaged file, so that it is kept and a new one can be written.

    Returns:
        The new path: the path with ``.damaged`` and a number behind it.

    Raises:
        OSError: The file cannot be renamed.
    """
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(aside)
    return aside


def sync_folder(folder: Path) -> None:
    """Wait until the renames in a folder are on the disk; do nothing on Windows, which cannot."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _without_links(path: Path) -> Path:
    target = Path(os.path.realpath(path))
    if target.is_symlink():  # A circle of links.
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target


def _retry_while_open(step: Callable[[], object]) -> None:
    """Call a function, and again after each pause of `PAUSES_S` while it raises PermissionError."""
    for pause_s in PAUSES_S:
        try:
            step()
            return
        except PermissionError:
            time.sleep(pause_s)
    step()
