"""Reads and replaces small settings files of other programs."""

from pathlib import Path

from trayproxy.file_replacement import remove_file, replace_file
from trayproxy.system_settings.entries import TargetError

MAX_SIZE = 1 << 18
"""The largest file that is read or written, in octets."""


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
    octets = text.encode("utf-8", "surrogateescape")
    if len(octets) > MAX_SIZE:
        raise TargetError(f"{path.name} would become too large")
    try:
        replace_file(path, octets, keeps_mode=True)
    except OSError as error:
        raise TargetError(f"{path.name} cannot be written: {error.strerror or error}") from None


def remove(path: Path) -> None:
    """Remove a file if it exists.

    Raises:
        TargetError: The file was not removed.
    """
    try:
        remove_file(path)
    except OSError as error:
        raise TargetError(f"{path.name} cannot be removed: {error.strerror or error}") from None
