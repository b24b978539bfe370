"""The ends of connections for tests of socket owner look-ups."""

import socket

from trayproxy.desktop.socket_owner.base import Endpoint

ENDS: dict[str, tuple[Endpoint, Endpoint, int]] = {
    "IPv4": (("127.0.0.1", 3128), ("127.0.0.1", 50_000), socket.AF_INET),
    "IPv6": (("::1", 3128), ("::1", 50_000), socket.AF_INET6),
}
"""The local end, the peer and the address family of a connection."""
