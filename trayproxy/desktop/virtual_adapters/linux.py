"""The adapters of container engines on Linux: bridges with well-known names.

docker0 and br-ID (Docker), podman0 and cni-podman0 (Podman), nerdctl0 and br-ID (nerdctl), lxcbr0
(LXC), lxdbr0 (LXD) and incusbr0 (Incus); see the documentation of each engine. Rootless engines
have no adapter: their containers reach the computer as programs of its user.
"""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

from trayproxy.desktop.network_change.base import Debounce, NetworkWatch, SocketWatch
from trayproxy.desktop.rtnetlink import open_netlink

_NAMES = re.compile(
    r"docker\d+|br-[0-9a-f]{12}|(?:cni-)?podman\d+|nerdctl\d+|lxcbr\d+|lxdbr\d+|incusbr\d+"
)
_ADDRESS_GROUPS = 0x10 | 0x100
"""RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR (linux/rtnetlink.h)."""
_SYS_CLASS_NET = Path("/sys/class/net")


def is_container_adapter(adapter: str, folder: Path = _SYS_CLASS_NET) -> bool:
    """Return whether an adapter is the bridge of a container engine, and of containers only.

    A bridge that also has an adapter of this computer as a member (``bridge.external_interfaces``
    of LXD and Incus) reaches other computers: these are other devices.

    Args:
        adapter: The name of the adapter.
        folder: The folder in which the kernel describes the adapters (sysfs-class-net). A bridge
            has a folder ``bridge``, and in ``brif`` the names of its members.
    """
    if _NAMES.fullmatch(adapter) is None or not (folder / adapter / "bridge").is_dir():
        return False
    members = (folder / each.name for each in (folder / adapter / "brif").glob("*"))
    return not any(map(_leads_outside, members))


def _leads_outside(adapter: Path) -> bool:
    """Return whether an adapter, given by its folder, is hardware, or is on top of another adapter
    like a VLAN or a bond. Those of containers and virtual machines are neither."""
    return (adapter / "device").exists() or any(adapter.glob("lower_*"))


def watch_addresses(loop: asyncio.AbstractEventLoop, on_change: Callable[[], None]) -> NetworkWatch:
    """Call a function in the loop after changes of addresses, also of bridges, which
    `trayproxy.desktop.network_change` ignores. Raise `OSError` if the kernel refuses the socket."""
    notifications = open_netlink(_ADDRESS_GROUPS)
    return SocketWatch(loop, notifications, lambda octets: True, Debounce(loop, on_change))
