"""The operating system, for data that has different values on each system."""

import sys
from enum import StrEnum


class SystemName(StrEnum):
    """An operating system that TrayProxy supports."""

    LINUX = "linux"
    MACOS = "macos"
    WINDOWS = "windows"


SYSTEM_TITLES = {
    SystemName.LINUX: "Linux",
    SystemName.MACOS: "macOS",
    SystemName.WINDOWS: "Windows",
}
"""The names of the systems, as their vendors write them."""


def system_name(platform: str = sys.platform) -> SystemName:
    """Return the operating system; other Unix systems count as Linux.

    Args:
        platform: The platform as in `sys.platform`.
    """
    return {"darwin": SystemName.MACOS, "win32": SystemName.WINDOWS}.get(platform, SystemName.LINUX)
