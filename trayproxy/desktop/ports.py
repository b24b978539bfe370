"""Which local ports are free, as this system tells."""

import socket
import sys
from contextlib import suppress

PORTS_TRIED, HIGHEST_PORT = 20, 65535


def free_port_after(port: int, host: str) -> int:
    """Return the next port that nobody listens on at this address; 0 if none of the next is free.

    Args:
        port: The one that is taken.
        host: A loopback IP literal without brackets.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for other in range(port + 1, min(port + PORTS_TRIED, HIGHEST_PORT) + 1):
        with socket.socket(family) as probe, suppress(OSError):
            if sys.platform != "win32":
                # As the engine binds; on Windows it would find taken ports free.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, other))
            return other
    return 0
