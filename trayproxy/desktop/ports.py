"""Which local ports are free, as this system tells."""

import errno
import socket
import sys
from contextlib import suppress

PORTS_TRIED, HIGHEST_PORT = 2_000, 65535
"""Windows sets ports aside in blocks of 100, of which several may follow each other."""


def is_taken(error: OSError) -> bool:
    """Return whether listening has failed because the port is somebody else's.

    Windows refuses access (WSAEACCES) to a port that another program uses alone
    (SO_EXCLUSIVEADDRUSE), or that the system has set aside (``netsh interface ipv4 show
    excludedportrange tcp``). Elsewhere that means a port below 1024, which only root may use.
    """
    if error.errno == errno.EADDRINUSE:
        return True
    return sys.platform == "win32" and error.errno == errno.EACCES


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
