"""Finds free local ports, and classifies the errors of listening."""

import errno
import socket
import sys
from contextlib import suppress

PORTS_TRIED, HIGHEST_PORT = 2_000, 65535
"""Windows reserves ports in blocks of 100, and several blocks may be adjacent: so many ports are
tried."""


def is_taken(error: OSError) -> bool:
    """Return True if listening has failed because the port is in use or reserved.

    Windows reports WSAEACCES for a port in exclusive use by another program
    (SO_EXCLUSIVEADDRUSE), and for a port reserved by the system (``netsh interface ipv4 show
    excludedportrange tcp``). On other systems, EACCES is reported for ports below 1024, which only
    root may use.
    """
    if error.errno == errno.EADDRINUSE:
        return True
    return sys.platform == "win32" and error.errno == errno.EACCES


def free_port_after(port: int, host: str) -> int:
    """Return the next free port at an address; 0 if none of the next `PORTS_TRIED` ports is free.

    The host is a loopback IP literal without brackets.
    """
    for candidate in range(port + 1, min(port + PORTS_TRIED, HIGHEST_PORT) + 1):
        with suppress(OSError):
            _try_to_bind(candidate, host)
            return candidate
    return 0


def is_in_use(port: int, host: str) -> bool:
    """Return True if another program uses a port at an address, see `free_port_after`."""
    try:
        _try_to_bind(port, host)
    except OSError as error:
        return is_taken(error)
    return False


def _try_to_bind(port: int, host: str) -> None:
    """Bind a socket to an address as the engine does, and close the socket.

    Raises:
        OSError: The socket cannot be bound.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # On Windows, SO_REUSEADDR would permit binding to a port that is in use.
        exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
        probe.setsockopt(socket.SOL_SOCKET, exclusive, 1)
        probe.bind((host, port))
