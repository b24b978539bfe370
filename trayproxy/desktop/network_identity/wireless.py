"""Linux: the names of the connected wireless networks, from the kernel (linux/nl80211.h).

The kernel knows them whichever program has connected: NetworkManager, iwd or wpa_supplicant. Asking
needs no privilege. nl80211 is a family of generic netlink (linux/genetlink.h), whose number differs
from computer to computer.
"""

import socket
import struct
import sys
from collections.abc import Iterable, Iterator

from trayproxy.desktop.network_identity.base import ssid_text
from trayproxy.desktop.rtnetlink import Message, attributes, dump, open_netlink

NETLINK_GENERIC = 16
_CONTROL = 16
"""GENL_ID_CTRL, the family that knows the numbers of the other families."""
_GENERIC = struct.Struct("=BBxx")
"""struct genlmsghdr: command, version."""
_GET_FAMILY = 3
_FAMILY_ID, _FAMILY_NAME = 1, 2
_GET_INTERFACE = 5
_SSID = 52


def wireless_networks() -> Iterator[str]:
    """Return the SSIDs of all connected wireless interfaces.

    Without a wireless interface, the kernel usually does not know nl80211.

    Raises:
        OSError: The kernel refuses the socket or a request.
    """
    with open_netlink(protocol=NETLINK_GENERIC) as connection:
        family = family_number(connection, "nl80211")
        if family:
            yield from ssids(family, dump(connection, family, _GENERIC.pack(_GET_INTERFACE, 0)))


def family_number(connection: socket.socket, name: str) -> int:
    """Return the number of a family of generic netlink; 0 if the kernel does not know it."""
    for _, body in dump(connection, _CONTROL, _GENERIC.pack(_GET_FAMILY, 1)):
        found = attributes(body[_GENERIC.size :])
        if found.get(_FAMILY_NAME) == name.encode() + b"\0":
            return int.from_bytes(found.get(_FAMILY_ID, b"")[:2], sys.byteorder)
    return 0


def ssids(family: int, messages: Iterable[Message]) -> Iterator[str]:
    """Return the SSIDs in messages about interfaces; only connected interfaces have one."""
    for kind, body in messages:
        ssid = attributes(body[_GENERIC.size :]).get(_SSID, b"")
        if kind == family and ssid:
            yield ssid_text(ssid)
