"""Which local ports are free, as this system tells."""

import socket
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
            # As the engine binds: on Windows the other option would find taken ports free.
            exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
            probe.setsockopt(socket.SOL_SOCKET, exclusive, 1)
            probe.bind((host, other))
            return other
    return 0
