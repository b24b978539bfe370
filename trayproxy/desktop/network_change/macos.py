"""macOS: changes of the network, by a routing socket (route(4) of macOS).

The kernel sends a message to every open routing socket when an address is added or removed. The
layout of the message is in net/if.h (``struct ifa_msghdr``) and net/route.h; each socket address
after the header is padded to a multiple of four octets, and takes at least four.

Written from these headers and tested with messages built from them; it was not run on macOS.
"""

import asyncio
import socket
import struct
from collections.abc import Callable

from trayproxy.desktop.network_change.base import Debounce, SocketWatch, identifies_network

_PF_ROUTE = 17
_RTM_NEWADDR, _RTM_DELADDR = 0xC, 0xD
_HEADER = struct.Struct("=HBBii")
"""The first fields of a message: its length, version and type, a bit mask of the socket addresses
that follow, and flags."""
_HEADER_LENGTH = 20
"""Octets of the header, including the index of the interface and its metric."""
_RTA_IFA = 0x20
"""The bit of the interface's address; the addresses of lower bits precede it."""
_ADDRESS_SLICES = {2: slice(4, 8), 30: slice(8, 24)}
"""The octets of the IP address in ``struct sockaddr_in`` and ``sockaddr_in6``, by family (AF_INET,
AF_INET6)."""


def watch_routing_socket(
    loop: asyncio.AbstractEventLoop, on_change: Callable[[], None]
) -> SocketWatch:
    """Return a watch with a routing socket for notifications.

    Raises:
        OSError: The kernel refuses the socket.
    """
    notifications = socket.socket(_PF_ROUTE, socket.SOCK_RAW, 0)
    notifications.setblocking(False)
    return SocketWatch(loop, notifications, is_relevant, Debounce(loop, on_change))


def is_relevant(message: bytes) -> bool:
    """Return True if a message reports an added or removed address that identifies a network."""
    if len(message) < _HEADER_LENGTH:
        return False
    _, _, kind, present, _ = _HEADER.unpack_from(message)
    if kind not in (_RTM_NEWADDR, _RTM_DELADDR) or not present & _RTA_IFA:
        return False
    offset = _HEADER_LENGTH
    for _ in range((present & (_RTA_IFA - 1)).bit_count()):
        if offset >= len(message):
            return False
        offset += max(4, (message[offset] + 3) & ~3)
    sockaddr = message[offset : offset + 28]
    address_slice = _ADDRESS_SLICES.get(sockaddr[1]) if len(sockaddr) > 1 else None
    address = sockaddr[address_slice] if address_slice is not None else b""
    return len(address) in (4, 16) and identifies_network(address)
