"""Writes small files so that they survive a crash and a power failure, or are unchanged."""

import contextlib
import os
from pathlib import Path


def write_durably(path: Path, octets: bytes) -> None:
    """Write or replace a file, mode 0600, and wait until it is on the disk.

    Raises:
        OSError: The file was not written; an older file is unchanged.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        write_new(new, octets, 0o600)
        new.replace(path)
        sync_folder(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise


def write_new(path: Path, octets: bytes, mode: int) -> None:
    """Create a temporary file, and wait until it is on the disk.

    A file of this name that a killed process has left is removed.

    Args:
        path: The temporary file.
        octets: Its contents.
        mode: Its mode, as far as the umask permits.

    Raises:
        OSError: The file is not complete.
    """
    path.unlink(missing_ok=True)
    # O_EXCL excludes a planted file.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags, mode), "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Sync a rename to the disk, if the system can open folders for this (not on Windows)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
