"""Reads small settings files, and replaces them as a whole."""

import contextlib
import stat
from pathlib import Path

from trayproxy.system_settings.durable_file import write_new
from trayproxy.system_settings.entries import TargetError

MAX_SIZE = 1 << 18
"""The largest file that is read, in octets."""


def read_text(path: Path) -> str | None:
    """Return the text of a file; None if there is none.

    Line ends stay as they are; octets that are not UTF-8 become surrogates (PEP 383).

    Raises:
        TargetError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_SIZE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise TargetError(f"{path.name} cannot be read: {error.strerror or error}") from None
    if len(octets) > MAX_SIZE:
        raise TargetError(f"{path.name} is too large")
    return octets.decode("utf-8", "surrogateescape")


def replace_text(path: Path, text: str) -> None:
    """Replace a file, so that other programs see either the old or the new text, and sync it.

    The new file has the mode of the old one; a new file has the mode 0600. Missing folders are
    created. If the path is a symbolic link, the file that it leads to is replaced.

    Raises:
        TargetError: The file was not replaced.
    """
    try:
        path = path.resolve()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.trayproxy-new")
        try:
            write_new(new, text.encode("utf-8", "surrogateescape"), 0o600)
            with contextlib.suppress(FileNotFoundError):
                new.chmod(stat.S_IMODE(path.stat().st_mode))
            new.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise
    except (OSError, RuntimeError) as error:
        # Path.resolve raises RuntimeError for a circle of links.
        raise TargetError(f"{path.name} cannot be written: {_reason(error)}") from None


def remove(path: Path) -> None:
    """Remove a file if it exists.

    Raises:
        TargetError: The file was not removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise TargetError(f"{path.name} cannot be removed: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
