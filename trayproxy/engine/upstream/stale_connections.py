"""Closes connections made unusable by a network change (security.md, F12).

A connection is bound to its local address. When the computer has lost the address, no octets
are transferred and no error occurs: a download hangs until its program gives up. The address may
come back, for example after a short loss of the wireless network, and then the connection works
again. So a connection is closed only after the grace period, and only if its peer is reachable from
another local address.
"""

import errno
import logging
import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

logger = logging.getLogger(__name__)

_Address = tuple[Any, ...]
"""A socket address in the form of the socket module."""


def close_stale_connections(connections: Iterable[socket.SocketType]) -> int:
    """Shut down the connections with a lost local address; return the number of them.

    The users of these connections see an end of file, and retry or report an error.
    """
    is_local: dict[str, bool] = {}
    count = 0
    for connection in connections:
        with suppress(OSError):  # The connection is not established or is closed.
            local = connection.getsockname()
            if local[0] not in is_local:
                is_local[local[0]] = is_local_address(connection.family, local)
            if not is_local[local[0]] and is_routable(connection.family, connection.getpeername()):
                connection.shutdown(socket.SHUT_RDWR)
                count += 1
    if count:
        logger.info("connections closed after a network change: %s", count)
    return count


def is_local_address(family: int, address: _Address) -> bool:
    """Return whether this computer has an address in the form of `socket.getsockname`, whose port
    is ignored."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address[0], 0, *address[2:]))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def is_routable(family: int, address: _Address) -> bool:
    """Return whether the computer has a route to an address. No packet is sent."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(address)
        except OSError:
            return False
    return True
