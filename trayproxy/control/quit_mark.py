"""A file that tells trays that the service has ended on request, and is not to be started again.

A tray that has just started the service is not connected yet: when the service quits then, the
tray receives no event.
"""

from contextlib import suppress
from pathlib import Path


def leave_quit_mark(path: Path) -> None:
    """Record that the service is told to quit now. Without space on the disk, nothing is recorded.

    Args:
        path: The file, in an existing private folder.
    """
    with suppress(OSError):
        path.touch(mode=0o600)


def has_quit_since(path: Path, since: float) -> bool:
    """Return True if a service was told to quit after a time.

    Args:
        path: The file.
        since: The time, in seconds since the epoch.
    """
    try:
        return path.stat().st_mtime >= since
    except OSError:
        return False
