"""Ports for programs that cannot pick one themselves."""

import socket
from random import SystemRandom

# Below the range from which Linux takes the ports of outgoing connections (32768 and up), so that
# no connection of another test takes a port between our look and the program's bind.
_FIRST, _LAST = 12000, 31999


def free_port() -> int:
    """Return a port that nobody listens on now.

    Another test may take it before the program does: start the program again with another one.
    """
    draw = SystemRandom()
    while True:
        port = draw.randint(_FIRST, _LAST)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def free_ports(count: int) -> list[int]:
    """Return that many, no two of them the same."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)
