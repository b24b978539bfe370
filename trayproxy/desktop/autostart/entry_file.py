"""Reads a file that TrayProxy may replace later."""

import stat
from pathlib import Path

from trayproxy.desktop.atomic_file import read_text
from trayproxy.system_settings.entries import TargetError


def read_entry(path: Path) -> str | None:
    """Return the text of a file as `read_text` does; None if there is none.

    A link is not followed: the file at its end belongs to something else, such as a collection of
    settings under version control, and TrayProxy would change it or replace the link.

    Raises:
        TargetError: The path leads to something else than a regular file, or cannot be read; the
            text names the path.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise TargetError(f"{path} cannot be read: {error.strerror or error}") from None
    if stat.S_ISLNK(mode):
        raise TargetError(f"{path} is a link to {_target(path)} and was left alone")
    if not stat.S_ISREG(mode):
        raise TargetError(f"{path} is not a file and was left alone")
    return read_text(path)


def _target(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return "another place"
