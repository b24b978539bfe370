"""The system proxy of the demonstration, in private settings, and a check of the user's own."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from trayproxy.demo.wire import LOOPBACK
from trayproxy.desktop.system_proxy.base import ProxyKind
from trayproxy.desktop.system_proxy.linux import find_target
from trayproxy.desktop.system_proxy.private_store import own_targets, private_store
from trayproxy.system_settings.entries import TargetError, Values

OwnSettings = Mapping[str, Values]
"""The values of the user's own stores, by the titles of the stores."""


def desktop_folder(home: Path) -> Path:
    """Return the folder with the settings of the private desktop.

    Args:
        home: The temporary folder of the demonstration.
    """
    return home / "desktop"


def settings_file(home: Path) -> Path:
    """Return the file with the system proxy of the private desktop."""
    return desktop_folder(home) / "kioslaverc"


def use_proxy(home: Path, port: int) -> None:
    """Set the proxy of the private desktop, like a user before TrayProxy was installed.

    Args:
        home: The temporary folder.
        port: The port of the proxy on `LOOPBACK`.
    """
    file = settings_file(home)
    file.parent.mkdir(exist_ok=True)
    address = f"http://{LOOPBACK} {port}"
    file.write_text(f"[Proxy Settings]\nProxyType=1\nhttpProxy={address}\n", "utf-8")


def proxy_port(home: Path) -> int:
    """Return the port of the proxy that programs of the private desktop use.

    Raises:
        TargetError: The settings cannot be read, or programs connect directly.
    """
    target = find_target("kioslaverc", private_store(desktop_folder(home)))
    view = target.describe(target.read())
    port = view.address.rpartition(":")[2]
    if view.kind is not ProxyKind.MANUAL or not port.isdecimal():
        raise TargetError(f"programs have no proxy: {view.kind}")
    return int(port)


def own_settings() -> OwnSettings:
    """Return the system proxy of the user; stores that cannot be read are left out."""
    found: dict[str, Values] = {}
    for target in own_targets():
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
