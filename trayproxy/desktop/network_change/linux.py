"""Linux: changes of the network, by rtnetlink(7).

The kernel sends every change of links, addresses and routes to the subscribed sockets; subscribing
needs no privilege. The notifications only decide *when* to compare: the watch then reads all
addresses and default routes and compares them with its previous state. The comparison finds
changes without a notification (when a link goes down, its IPv4 routes disappear silently), and
ignores notifications without a change (every router advertisement renews lifetimes; bridges of
containers are internal to this computer).
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
# struct ifinfomsg: family, type, index, flags, mask of the changed flags.
_LINK = struct.Struct("=BxHiII")
# struct ifaddrmsg: family, prefix length, flags, scope, index.
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
"""The compared state: the addresses of this computer, and the gateways of its default
routes, each with the index of its interface."""
_Message = tuple[int, bytes]
"""The type of a netlink message, and the octets after its header."""


class LinuxNetworkWatch:
    """A watch that compares the network after each relevant notification on a netlink socket."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_change: Callable[[], None]) -> None:
        """Start the watch, and read the present network.

        Raises:
            OSError: The kernel refuses the socket or the request.
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
        """Stop the watch."""
        self._watch.close()

    def _compare(self) -> None:
        with contextlib.suppress(OSError):
            before, self._network = self._network, read_network()
            if self._network != before:
                self._on_change()


def _any_is_relevant(octets: bytes) -> bool:
    return any(is_relevant(kind, body) for kind, body in parse_messages(octets))


def is_relevant(kind: int, body: bytes) -> bool:
    """Return True if a notification of this type may mean a change of the network.

    This check is cheap; reading the network is not.
    """
    if kind in (_NEW_ROUTE, _DEL_ROUTE):
        length: int = _ROUTE.unpack_from(body)[1]
        return length == 0
    if kind in (_NEW_ADDRESS, _DEL_ADDRESS):
        index: int = _ADDRESS.unpack_from(body)[4]
        return index != _LOOPBACK
    if kind == _NEW_LINK:
        # Wireless scans and statistics are reported too, without a change of IFF_UP.
        _, _, index, _, changed = _LINK.unpack_from(body)
        return index != _LOOPBACK and bool(changed & _IFF_UP)
    return kind == _DEL_LINK


def read_network() -> Network:
    """Return the present addresses and default gateways of this computer.

    Addresses of bridges without a default route are left out: they belong to containers and
    virtual machines.

    Raises:
        OSError: The kernel refuses the request.
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
    """Return the netlink messages in the octets of one `recv`; stop at a malformed message."""
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
        # Connected to the kernel, the socket receives messages from no other sender (netlink(7)).
        connection.connect((0, 0))
    except OSError:
        connection.close()
        raise
    return connection


def _dump(connection: socket.socket, request_type: int) -> Iterator[_Message]:
    """Request all routes or addresses, and return the messages of the response.

    The kernel prepares the next part of the response while `recv` returns the previous part, so
    this function never waits.
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
    # On a point-to-point link, IFA_ADDRESS is the address of the other end.
    address = attributes.get(_IFA_LOCAL, attributes.get(_IFA_ADDRESS, bytes(4)))
    # A tentative address cannot be used yet (RFC 4862, section 5.4); the kernel sends another
    # notification when the address has become usable.
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
    """Return True if an interface is a bridge, as containers and virtual machines use it."""
    with contextlib.suppress(OSError):
        return (_INTERFACES_FOLDER / socket.if_indextoname(interface) / "bridge").is_dir()
    return False
