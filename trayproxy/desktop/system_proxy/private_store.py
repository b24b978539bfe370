"""Settings in a folder of their own instead of those of the user, for the demonstration.

On Linux, the settings of a desktop are files and a database below folders that environment
variables name. With other folders, TrayProxy finds the file of a KDE desktop in the given folder,
and no settings of GNOME. Windows and macOS have one store for each user.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from trayproxy.desktop.system_proxy.base import ProxyTarget
from trayproxy.desktop.system_proxy.factory import find_target, proxy_targets
from trayproxy.system_settings.entries import TargetError

HAS_PRIVATE_STORE = sys.platform == "linux"
"""True if this system can have settings in a folder."""


def private_store(folder: Path) -> dict[str, str]:
    """Return the environment variables with which TrayProxy finds only the settings in a folder.

    Args:
        folder: The folder, whose ``kioslaverc`` is the system proxy. It may be missing.
    """
    if not HAS_PRIVATE_STORE:
        return {}
    nothing = str(folder / "nothing")
    return {
        "XDG_CURRENT_DESKTOP": "KDE",
        "XDG_CONFIG_HOME": str(folder),
        "XDG_CONFIG_DIRS": nothing,
        # The journal of these settings.
        "XDG_STATE_HOME": str(folder / "state"),
        # Without the schemas in these folders, gsettings refuses to read and to write.
        "XDG_DATA_DIRS": nothing,
        "XDG_DATA_HOME": nothing,
        "GSETTINGS_SCHEMA_DIR": nothing,
    }


def own_targets() -> Sequence[ProxyTarget]:
    """Return all targets of the user, on Linux also those of desktops not in use now."""
    if HAS_PRIVATE_STORE:
        return [find_target(name) for name in ("gsettings", "kioslaverc", "environment.d")]
    try:
        targets = proxy_targets(lambda: False)
    except TargetError:
        return ()
    return (*targets.required, *targets.optional)
