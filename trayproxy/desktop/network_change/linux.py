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

from trayproxy.desktop.network_change.base import Debounce, SocketWatch, identifies_network

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

_RECEIVE_SIZE = 1 << 16
_INTERFACES_FOLDER = Path("/sys/class/net")

Network = frozenset[tuple[int, bytes]]
"""What counts: our addresses, and the gateways of default routes, each with the index of its
interface."""
_Message = tuple[int, bytes]
"""Its type, and what is behind its header."""


class LinuxNetworkWatch:
    """Listens to the kernel on one netlink socket, and looks on another when it may matter."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_change: Callable[[], None]) -> None:
        """Listen; see `trayproxy.desktop.network_change.base.watch_network`.

        Raises:
            OSError: The kernel does not tell.
        """
        self._on_change = on_change
        notifications = _open(_GROUPS)
        try:
            self._network = read_network()
        except OSError:
            notifications.close()
            raise
        self._watch = SocketWatch(
            loop, notifications, _any_is_relevant, Debounce(loop, self._compare)
        )

    def close(self) -> None:
        """Hear no more."""
        self._watch.close()

    def _compare(self) -> None:
        with contextlib.suppress(OSError):
            before, self._network = self._network, read_network()
            if self._network != before:
                self._on_change()


def _any_is_relevant(octets: bytes) -> bool:
    return any(is_relevant(kind, body) for kind, body in parse_messages(octets))


def is_relevant(kind: int, body: bytes) -> bool:
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
                gateways.update(_default_gateway(body))
        for kind, body in _dump(connection, _GET_ADDRESS):
            if kind == _NEW_ADDRESS:
                addresses.update(_usable_address(body))
    routed = {index for index, _ in gateways}
    internal = {index for index, _ in addresses if index not in routed and _is_bridge(index)}
    return frozenset(gateways | {address for address in addresses if address[0] not in internal})


def parse_messages(octets: bytes) -> Iterator[_Message]:
    """Take apart what was received at once."""
    offset = 0
    while offset + _HEADER.size <= len(octets):
        length, kind, *_ = _HEADER.unpack_from(octets, offset)
        if length < _HEADER.size:
            return
        yield kind, octets[offset + _HEADER.size : offset + length]
        offset += _aligned(length)


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


def _dump(connection: socket.socket, request_type: int) -> Iterator[_Message]:
    """Ask for all that there is of something.

    The kernel has the next part ready when the last one was received: this never waits.
    """
    request = _ROUTE.pack(*(0,) * 9)
    length = _HEADER.size + len(request)
    connection.send(_HEADER.pack(length, request_type, _NLM_F_REQUEST_DUMP, 1, 0) + request)
    while True:
        for kind, body in parse_messages(connection.recv(_RECEIVE_SIZE)):
            if kind == _NLMSG_DONE:
                return
            if kind == _NLMSG_ERROR:
                raise OSError(-_LINK.unpack_from(body.ljust(_LINK.size, b"\0"))[2], "rtnetlink")
            yield kind, body


def _default_gateway(body: bytes) -> Iterator[tuple[int, bytes]]:
    _, length, *_, kind, _ = _ROUTE.unpack_from(body)
    if length == 0 and kind == _RTN_UNICAST:
        attributes = _attributes(body[_ROUTE.size :])
        interface = _INDEX.unpack(attributes.get(_RTA_OIF, bytes(_INDEX.size)))[0]
        if interface != _LOOPBACK:
            yield interface, attributes.get(_RTA_GATEWAY, b"")


def _usable_address(body: bytes) -> Iterator[tuple[int, bytes]]:
    _, _, flags, _, interface = _ADDRESS.unpack_from(body)
    attributes = _attributes(body[_ADDRESS.size :])
    # Of a point-to-point link IFA_ADDRESS is the other end.
    address = attributes.get(_IFA_LOCAL, attributes.get(_IFA_ADDRESS, bytes(4)))
    # One that is tentative cannot be used yet (RFC 4862, section 5.4); the kernel tells when it is.
    if interface != _LOOPBACK and not flags & _IFA_F_TENTATIVE and identifies_network(address):
        yield interface, address


def _attributes(octets: bytes) -> dict[int, bytes]:
    attributes: dict[int, bytes] = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(octets):
        length, kind = _ATTRIBUTE.unpack_from(octets, offset)
        if length < _ATTRIBUTE.size:
            break
        attributes[kind] = octets[offset + _ATTRIBUTE.size : offset + length]
        offset += _aligned(length)
    return attributes


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _is_bridge(interface: int) -> bool:
    """Whether it joins others inside this computer, as those of containers and guests do."""
    with contextlib.suppress(OSError):
        return (_INTERFACES_FOLDER / socket.if_indextoname(interface) / "bridge").is_dir()
    return False
