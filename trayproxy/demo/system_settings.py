"""The system proxy of the demonstration, in a private store, and a check of the user's own.

On Linux, the settings of a desktop are files and a database below folders that environment
variables name. With other folders, the service of the demonstration uses the file of a KDE desktop
in the temporary folder, and finds no GNOME settings. Windows and macOS have one store for each
user: the demonstration does not use the system proxy there.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from trayproxy.demo.wire import LOOPBACK
from trayproxy.desktop.system_proxy.base import ProxyKind, ProxyTarget
from trayproxy.desktop.system_proxy.factory import find_target, proxy_targets
from trayproxy.system_settings.entries import TargetError, Values

HAS_PRIVATE_STORE = sys.platform == "linux"
"""True if the system proxy of the demonstration is not that of the user."""

_STORES_OF_LINUX = ("gsettings", "kioslaverc", "environment.d")
"""All stores, also those of desktops that the user does not use now."""


def private_store(home: Path) -> dict[str, str]:
    """Return the environment variables with which TrayProxy finds only the settings in a folder.

    Args:
        home: The temporary folder.
    """
    if not HAS_PRIVATE_STORE:
        return {}
    nothing = str(home / "nothing")
    return {
        "XDG_CURRENT_DESKTOP": "KDE",
        "XDG_CONFIG_HOME": str(settings_file(home).parent),
        "XDG_CONFIG_DIRS": nothing,
        # Without the schemas in these folders, gsettings refuses to read and to write.
        "XDG_DATA_DIRS": nothing,
        "XDG_DATA_HOME": nothing,
        "GSETTINGS_SCHEMA_DIR": nothing,
    }


def settings_file(home: Path) -> Path:
    """Return the file with the proxy of the private desktop."""
    return home / "desktop" / "kioslaverc"


def use_proxy(home: Path, port: int) -> None:
    """Set the proxy of the private desktop, like a user before TrayProxy was installed.

    Args:
        home: The temporary folder.
        port: The port of the proxy on `LOOPBACK`.
    """
    address = f"http://{LOOPBACK} {port}"
    file = settings_file(home)
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"[Proxy Settings]\nProxyType=1\nhttpProxy={address}\n", "utf-8")


def proxy_port(home: Path) -> int:
    """Return the port of the proxy that programs of the private desktop use.

    Raises:
        TargetError: The settings cannot be read, or programs connect directly.
    """
    from trayproxy.desktop.system_proxy.linux import find_target as find_in

    target = find_in("kioslaverc", private_store(home))
    view = target.describe(target.read())
    port = view.address.rpartition(":")[2]
    if view.kind is not ProxyKind.MANUAL or not port.isdecimal():
        raise TargetError(f"programs have no proxy: {view.kind}")
    return int(port)


OwnSettings = Mapping[str, Values]
"""The values of the user's own stores, by the titles of the stores."""


def own_settings() -> OwnSettings:
    """Return the system proxy of the user; stores that cannot be read are left out."""
    found: dict[str, Values] = {}
    for target in _own_targets():
        with suppress(TargetError):
            found[target.title] = target.read()
    return found


def changed_stores(before: OwnSettings, after: OwnSettings) -> str:
    """Return the titles of the stores that differ, separated by commas; empty if none does."""
    titles = dict.fromkeys((*before, *after))
    return ", ".join(title for title in titles if before.get(title) != after.get(title))


def unchanged_text(settings: OwnSettings) -> str:
    """Return a sentence about settings that are the same as before, without its full stop."""
    if not settings:
        return "This computer has no system proxy of yours that could be read"
    stores = ", ".join(settings)
    return f"Your own system proxy is as before: it was read before and after ({stores})"


def _own_targets() -> Sequence[ProxyTarget]:
    if HAS_PRIVATE_STORE:
        return [find_target(name) for name in _STORES_OF_LINUX]
    try:
        targets = proxy_targets()
    except TargetError:
        return ()
    return (*targets.required, *targets.optional)
