"""Linux: messages of the kernel about links, addresses, routes and neighbours (rtnetlink(7)).

Reading needs no privilege. The kernel prepares the next part of a response while `recv` returns the
previous part, so these functions never wait.
"""

import socket
import struct
from collections.abc import Iterator

NEW_LINK, DEL_LINK, GET_LINK = 16, 17, 18
NEW_ADDRESS, DEL_ADDRESS, GET_ADDRESS = 20, 21, 22
NEW_ROUTE, DEL_ROUTE, GET_ROUTE = 24, 25, 26
NEW_NEIGHBOUR, GET_NEIGHBOUR = 28, 30

# struct ifinfomsg: family, type, index, flags, mask of the changed flags.
LINK = struct.Struct("=BxHiII")
# struct ifaddrmsg: family, prefix length, flags, scope, index.
ADDRESS = struct.Struct("=BBBBI")
# struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags.
ROUTE = struct.Struct("=BBBBBBBBI")
# struct ndmsg: family, index, state, flags, type.
NEIGHBOUR = struct.Struct("=BxxxiHBB")

LOOPBACK = 1
"""The index of ``lo`` in every network namespace (LOOPBACK_IFINDEX of the kernel)."""
IFF_UP = 1

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_INDEX = struct.Struct("=I")
_TYPE_MASK = 0x3FFF
"""The type in the type field of an attribute, without NLA_F_… flags (netlink(7))."""
_NLM_F_REQUEST_DUMP = 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTA_OIF, _RTA_GATEWAY = 4, 5
_RTN_UNICAST = 1
_RECEIVE_SIZE = 1 << 16

Message = tuple[int, bytes]
"""The type of a netlink message, and the octets after its header."""


def open_netlink(groups: int = 0, protocol: int = 0) -> socket.socket:
    """Return a non-blocking netlink socket with a subscription to these multicast groups.

    Args:
        groups: A bit mask of RTMGRP_… constants (linux/rtnetlink.h).
        protocol: NETLINK_ROUTE or another protocol of netlink(7).

    Raises:
        OSError: The kernel refuses the socket.
    """
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
    connection = socket.socket(socket.AF_NETLINK, kind, protocol)
    try:
        connection.bind((0, groups))
        # Connected to the kernel, the socket receives messages from no other sender (netlink(7)).
        connection.connect((0, 0))
    except OSError:
        connection.close()
        raise
    return connection


def parse_messages(octets: bytes) -> Iterator[Message]:
    """Return the netlink messages in the octets of one `recv`; stop at a malformed message."""
    offset = 0
    while offset + _HEADER.size <= len(octets):
        length, kind, *_ = _HEADER.unpack_from(octets, offset)
        if length < _HEADER.size:
            return
        yield kind, octets[offset + _HEADER.size : offset + length]
        offset += _aligned(length)


def dump(
    connection: socket.socket, kind: int, body: bytes = bytes(ROUTE.size)
) -> Iterator[Message]:
    """Request all objects of a kind, such as `GET_ROUTE`, and return the messages of the response.

    Raises:
        OSError: The kernel refuses the request.
    """
    header = _HEADER.pack(_HEADER.size + len(body), kind, _NLM_F_REQUEST_DUMP, 1, 0)
    connection.send(header + body)
    while True:
        for received, content in parse_messages(connection.recv(_RECEIVE_SIZE)):
            if received == _NLMSG_DONE:
                return
            if received == _NLMSG_ERROR:
                raise OSError(-LINK.unpack_from(content.ljust(LINK.size, b"\0"))[2], "netlink")
            yield received, content


def attributes(octets: bytes) -> dict[int, bytes]:
    """Return the attributes of a message or of a nested attribute, by their types."""
    found: dict[int, bytes] = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(octets):
        length, kind = _ATTRIBUTE.unpack_from(octets, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE_MASK] = octets[offset + _ATTRIBUTE.size : offset + length]
        offset += _aligned(length)
    return found


def default_gateway(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Return the interface and the gateway of a `NEW_ROUTE` message, if it is a default route.

    The gateway has 4 or 16 octets; it is empty on a point-to-point link.
    """
    _, length, *_, kind, _ = ROUTE.unpack_from(body)
    if length == 0 and kind == _RTN_UNICAST:
        found = attributes(body[ROUTE.size :])
        interface = _INDEX.unpack(found.get(_RTA_OIF, bytes(_INDEX.size)))[0]
        if interface != LOOPBACK:
            yield interface, found.get(_RTA_GATEWAY, b"")


def _aligned(length: int) -> int:
    return (length + 3) & ~3
