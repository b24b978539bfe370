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
from collections.abc import Callable, Iterator
from pathlib import Path

from trayproxy.desktop.network_change.base import Debounce, SocketWatch, identifies_network
from trayproxy.desktop.rtnetlink import (
    ADDRESS,
    DEL_ADDRESS,
    DEL_LINK,
    DEL_ROUTE,
    GET_ADDRESS,
    GET_ROUTE,
    IFF_UP,
    LINK,
    LOOPBACK,
    NEW_ADDRESS,
    NEW_LINK,
    NEW_ROUTE,
    ROUTE,
    attributes,
    default_gateway,
    dump,
    open_netlink,
    parse_messages,
)

_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE (linux/rtnetlink.h)."""
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_TENTATIVE = 0x40

_INTERFACES_FOLDER = Path("/sys/class/net")

Network = frozenset[tuple[int, bytes]]
"""The compared state: the addresses of this computer, and the gateways of its default
routes, each with the index of its interface."""


class LinuxNetworkWatch:
    """A watch that compares the network after each relevant notification on a netlink socket."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_change: Callable[[], None]) -> None:
        """Start the watch, and read the present network.

        Raises:
            OSError: The kernel refuses the socket or the request.
        """
        self._on_change = on_change
        notifications = open_netlink(_GROUPS)
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
    if kind in (NEW_ROUTE, DEL_ROUTE):
        length: int = ROUTE.unpack_from(body)[1]
        return length == 0
    if kind in (NEW_ADDRESS, DEL_ADDRESS):
        index: int = ADDRESS.unpack_from(body)[4]
        return index != LOOPBACK
    if kind == NEW_LINK:
        # Wireless scans and statistics are reported too, without a change of IFF_UP.
        _, _, index, _, changed = LINK.unpack_from(body)
        return index != LOOPBACK and bool(changed & IFF_UP)
    return kind == DEL_LINK


def read_network() -> Network:
    """Return the present addresses and default gateways of this computer.

    Addresses of bridges without a default route are left out: they belong to containers and
    virtual machines.

    Raises:
        OSError: The kernel refuses the request.
    """
    addresses: set[tuple[int, bytes]] = set()
    gateways: set[tuple[int, bytes]] = set()
    with open_netlink() as connection:
        for kind, body in dump(connection, GET_ROUTE):
            if kind == NEW_ROUTE:
                gateways.update(default_gateway(body))
        for kind, body in dump(connection, GET_ADDRESS):
            if kind == NEW_ADDRESS:
                addresses.update(_usable_address(body))
    routed = {index for index, _ in gateways}
    internal = {index for index, _ in addresses if index not in routed and _is_bridge(index)}
    return frozenset(gateways | {address for address in addresses if address[0] not in internal})


def _usable_address(body: bytes) -> Iterator[tuple[int, bytes]]:
    _, _, flags, _, interface = ADDRESS.unpack_from(body)
    found = attributes(body[ADDRESS.size :])
    # On a point-to-point link, IFA_ADDRESS is the address of the other end.
    address = found.get(_IFA_LOCAL, found.get(_IFA_ADDRESS, bytes(4)))
    # A tentative address cannot be used yet (RFC 4862, section 5.4); the kernel sends another
    # notification when the address has become usable.
    if interface != LOOPBACK and not flags & _IFA_F_TENTATIVE and identifies_network(address):
        yield interface, address


def _is_bridge(interface: int) -> bool:
    """Return True if an interface is a bridge, as containers and virtual machines use it."""
    with contextlib.suppress(OSError):
        return (_INTERFACES_FOLDER / socket.if_indextoname(interface) / "bridge").is_dir()
    return False
