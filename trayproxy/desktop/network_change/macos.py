"""macOS: changes of the network, by a routing socket (route(4) there).

The kernel sends a message to every open one when an address comes or goes. Their layout is that of
net/if.h (``struct ifa_msghdr``) and net/route.h; each address behind it takes a multiple of four
octets, and at least four.

Written from these headers and tested with messages made after them; it was not run on macOS.
"""

import asyncio
import socket
import struct
from collections.abc import Callable

from trayproxy.desktop.network_change.base import Debounce, SocketWatch, is_of_interest

_PF_ROUTE = 17
_RTM_NEWADDR, _RTM_DELADDR = 0xC, 0xD
_HEADER = struct.Struct("=HBBii")
"""Length, version, type, which addresses follow, flags."""
_HEADER_LENGTH = 20
"""With the index of the interface and its metric."""
_RTA_IFA = 0x20
"""The address of the interface; those of lower bits stand before it."""
_WHERE = {2: slice(4, 8), 30: slice(8, 24)}
"""Where the address is, by family (AF_INET, AF_INET6), in ``struct sockaddr_in`` and ``_in6``."""


def listen(loop: asyncio.AbstractEventLoop, changed: Callable[[], None]) -> SocketWatch:
    """Listen; see `trayproxy.desktop.network_change.base.watch_network`.

    Raises:
        OSError: The kernel does not tell.
    """
    told_on = socket.socket(_PF_ROUTE, socket.SOCK_RAW, 0)
    told_on.setblocking(False)
    return SocketWatch(loop, told_on, may_matter, Debounce(loop, changed))


def may_matter(message: bytes) -> bool:
    """Whether a message tells of an address that comes or goes and means another network."""
    if len(message) < _HEADER_LENGTH:
        return False
    _, _, kind, present, _ = _HEADER.unpack_from(message)
    if kind not in (_RTM_NEWADDR, _RTM_DELADDR) or not present & _RTA_IFA:
        return False
    at = _HEADER_LENGTH
    for _ in range((present & (_RTA_IFA - 1)).bit_count()):
        if at >= len(message):
            return False
        at += max(4, (message[at] + 3) & ~3)
    address = message[at : at + 28]
    where = _WHERE.get(address[1]) if len(address) > 1 else None
    found = address[where] if where is not None else b""
    return len(found) in (4, 16) and is_of_interest(found)
