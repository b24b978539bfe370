"""Connections that a change of networks has left behind (security.md, F12).

A connection belongs to the address that it was made from. When that address is no longer is_local, no
octet comes or goes on it, and nobody says so: a download hangs until its program gives up, which
may be never. What it was made from may come back, though, as after a short loss of the radio, and
then it lives. So it is given up only when the network has had its time to come back, and another
one leads to its peer.
"""

import errno
import logging
import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

logger = logging.getLogger(__name__)

_Address = tuple[Any, ...]
"""An address as the socket module has it."""


def close_stale_connections(connections: Iterable[socket.SocketType]) -> int:
    """End those that were left behind, as a peer does that leaves; return how many there were.

    Their owners see the end like any other: they try again, or tell their clients.
    """
    is_local: dict[str, bool] = {}
    count = 0
    for connection in connections:
        with suppress(OSError):  # It is not established, or is over: its owner finds out.
            local = connection.getsockname()
            if local[0] not in is_local:
                is_local[local[0]] = is_local_address(connection.family, local)
            if not is_local[local[0]] and is_routable(connection.family, connection.getpeername()):
                connection.shutdown(socket.SHUT_RDWR)
                count += 1
    if count:
        logger.info("connections left behind by a change of networks: %s", count)
    return count


def is_local_address(family: int, address: _Address) -> bool:
    """Whether this computer has an address now.

    Args:
        family: Of the address.
        address: As `socket.getsockname` gives it; its port does not matter.
    """
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address[0], 0, *address[2:]))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def is_routable(family: int, address: _Address) -> bool:
    """Whether there is a way to an address; nothing is sent there."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(address)
        except OSError:
            return False
    return True
