"""Linux: changes of the network, by rtnetlink(7).

The kernel sends every change of links, addresses and routes to whoever asks for it; no privilege is
needed. These messages only say *when* to look: what the network is now is then read in one go, and
compared with what it was. That is more than they say (a link that goes down takes its IPv4 routes
along without a word), and less: lifetimes are renewed with every router advertisement, and the
bridges of containers change nothing for us.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from trayproxy.desktop.network_change.base import Debounce, SocketWatch, is_of_interest

_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE (linux/rtnetlink.h)."""
_NLM_F_REQUEST_DUMP = 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NEW_LINK, _DEL_LINK = 16, 17
_NEW_ADDRESS, _DEL_ADDRESS, _GET_ADDRESS = 20, 21, 22
_NEW_ROUTE, _DEL_ROUTE, _GET_ROUTE = 24, 25, 26

_HEADER = struct.Struct("=IHHII")
# struct ifinfomsg: family, type, index, flags, which flags have changed.
_LINK = struct.Struct("=BxHiII")
# struct ifaddrmsg: family, length of the prefix, flags, scope, index.
_ADDRESS = struct.Struct("=BBBBI")
# struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags.
_ROUTE = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_INDEX = struct.Struct("=I")
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_OIF, _RTA_GATEWAY = 4, 5
_RTN_UNICAST = 1
_IFF_UP = 1
_IFA_F_TENTATIVE = 0x40
_LOOPBACK = 1
"""The index of ``lo`` in every network namespace (LOOPBACK_IFINDEX of the kernel)."""

_READ_AT_ONCE = 1 << 16
_INTERFACES = Path("/sys/class/net")

Network = frozenset[tuple[int, bytes]]
"""What counts: our addresses, and the gateways of default routes, each with the index of its
interface."""
_Message = tuple[int, bytes]
"""Its type, and what is behind its header."""


class LinuxNetworkWatch:
    """Listens to the kernel on one netlink socket, and looks on another when it may matter."""

    def __init__(self, loop: asyncio.AbstractEventLoop, changed: Callable[[], None]) -> None:
        """Listen; see `trayproxy.desktop.network_change.base.watch_network`.

        Raises:
            OSError: The kernel does not tell.
        """
        self._changed = changed
        told_on = _open(_GROUPS)
        try:
            self._network = read_network()
        except OSError:
            told_on.close()
            raise
        self._listening = SocketWatch(loop, told_on, _any_may_matter, Debounce(loop, self._look))

    def close(self) -> None:
        """Hear no more."""
        self._listening.close()

    def _look(self) -> None:
        with contextlib.suppress(OSError):
            before, self._network = self._network, read_network()
            if self._network != before:
                self._changed()


def _any_may_matter(octets: bytes) -> bool:
    return any(may_matter(kind, body) for kind, body in messages(octets))


def may_matter(kind: int, body: bytes) -> bool:
    """Whether what the kernel says may mean another network; this is cheap, looking is not."""
    if kind in (_NEW_ROUTE, _DEL_ROUTE):
        length: int = _ROUTE.unpack_from(body)[1]
        return length == 0
    if kind in (_NEW_ADDRESS, _DEL_ADDRESS):
        index: int = _ADDRESS.unpack_from(body)[4]
        return index != _LOOPBACK
    if kind == _NEW_LINK:
        # A radio that searches, a cable that is counted: the link is what it was.
        _, _, index, _, changed = _LINK.unpack_from(body)
        return index != _LOOPBACK and bool(changed & _IFF_UP)
    return kind == _DEL_LINK


def read_network() -> Network:
    """Return what the network is now.

    Raises:
        OSError: The kernel does not tell.
    """
    addresses: set[tuple[int, bytes]] = set()
    gateways: set[tuple[int, bytes]] = set()
    with _open(groups=0) as connection:
        for kind, body in _dump(connection, _GET_ROUTE):
            if kind == _NEW_ROUTE:
                gateways.update(_gateway(body))
        for kind, body in _dump(connection, _GET_ADDRESS):
            if kind == _NEW_ADDRESS:
                addresses.update(_address(body))
    routed = {index for index, _ in gateways}
    inner = {index for index, _ in addresses if index not in routed and _is_bridge(index)}
    return frozenset(gateways | {one for one in addresses if one[0] not in inner})


def messages(octets: bytes) -> Iterator[_Message]:
    """Take apart what was received at once."""
    at = 0
    while at + _HEADER.size <= len(octets):
        length, kind, *_ = _HEADER.unpack_from(octets, at)
        if length < _HEADER.size:
            return
        yield kind, octets[at + _HEADER.size : at + length]
        at += _aligned(length)


def _open(groups: int) -> socket.socket:
    connection = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    )
    try:
        connection.bind((0, groups))
        # To the kernel, so that it alone is heard (netlink(7)).
        connection.connect((0, 0))
    except OSError:
        connection.close()
        raise
    return connection


def _dump(connection: socket.socket, what: int) -> Iterator[_Message]:
    """Ask for all that there is of something.

    The kernel has the next part ready when the last one was received: this never waits.
    """
    everything = _ROUTE.pack(*(0,) * 9)
    length = _HEADER.size + len(everything)
    connection.send(_HEADER.pack(length, what, _NLM_F_REQUEST_DUMP, 1, 0) + everything)
    while True:
        for kind, body in messages(connection.recv(_READ_AT_ONCE)):
            if kind == _NLMSG_DONE:
                return
            if kind == _NLMSG_ERROR:
                raise OSError(-_LINK.unpack_from(body.ljust(_LINK.size, b"\0"))[2], "rtnetlink")
            yield kind, body


def _gateway(body: bytes) -> Iterator[tuple[int, bytes]]:
    _, length, *_, kind, _ = _ROUTE.unpack_from(body)
    if length == 0 and kind == _RTN_UNICAST:
        found = _attributes(body[_ROUTE.size :])
        interface = _INDEX.unpack(found.get(_RTA_OIF, bytes(_INDEX.size)))[0]
        if interface != _LOOPBACK:
            yield interface, found.get(_RTA_GATEWAY, b"")


def _address(body: bytes) -> Iterator[tuple[int, bytes]]:
    _, _, flags, _, interface = _ADDRESS.unpack_from(body)
    found = _attributes(body[_ADDRESS.size :])
    # Of a point-to-point link IFA_ADDRESS is the other end.
    address = found.get(_IFA_LOCAL, found.get(_IFA_ADDRESS, bytes(4)))
    # One that is tentative cannot be used yet (RFC 4862, section 5.4); the kernel tells when it is.
    if interface != _LOOPBACK and not flags & _IFA_F_TENTATIVE and is_of_interest(address):
        yield interface, address


def _attributes(octets: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(octets):
        length, kind = _ATTRIBUTE.unpack_from(octets, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = octets[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)
    return found


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _is_bridge(interface: int) -> bool:
    """Whether it joins others inside this computer, as those of containers and guests do."""
    with contextlib.suppress(OSError):
        return (_INTERFACES / socket.if_indextoname(interface) / "bridge").is_dir()
    return False
