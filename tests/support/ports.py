"""Free ports for programs that cannot choose a port themselves."""

import socket
from random import SystemRandom

# Below the range of the local ports of outgoing connections on Linux (32768 and above), so that no
# connection of another test takes a port before the program binds it.
_FIRST, _LAST = 12000, 31999


def free_port() -> int:
    """Return a port on which no program listens at present.

    Another test may bind the port first: then start the program again with another port.
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
    """Return this number of different free ports."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)
