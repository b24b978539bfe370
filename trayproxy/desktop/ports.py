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
    for candidate in range(port + 1, min(port + PORTS_TRIED, HIGHEST_PORT) + 1):
        with suppress(OSError):
            _try_to_bind(candidate, host)
            return candidate
    return 0


def is_in_use(port: int, host: str) -> bool:
    """Return whether another program listens on this address.

    Args:
        port: Which.
        host: A loopback IP literal without brackets.
    """
    try:
        _try_to_bind(port, host)
    except OSError as error:
        return is_taken(error)
    return False


def _try_to_bind(port: int, host: str) -> None:
    """Bind to an address as the engine does, and let go of it again.

    Raises:
        OSError: That cannot be done.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # On Windows the other option would find taken ports free.
        exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
        probe.setsockopt(socket.SOL_SOCKET, exclusive, 1)
        probe.bind((host, port))
