"""Whose end of a connection it is: for deciding who may connect (security.md, T1).

Not to be mixed up with `peers`, which finds a name for a person to read and may take its time. This
is asked once for every accepted connection, before an octet of it is read.

What decides is whether a process still holds the socket. A program may send a request and be gone
before we look; the kernel then keeps the connection on nobody's behalf, and Linux and macOS both
say "user 0" of it. Believing that would let everyone in as root.

What is looked up are two addresses, and another program may have them by then: a client that resets
its connection before it is accepted gives its port free, with the octets that it has sent still to
be read from our end. So `require_peer` is called after every look-up. As long as our end is
connected its peer keeps these addresses, and what was looked up before was about that peer.
"""

import contextlib
import socket
import sys
from dataclasses import dataclass
from typing import Protocol

from trayproxy.desktop.users import User

Endpoint = tuple[str, int]
"""An IP address and a port: the first two items of what `socket.getsockname` gives."""


@dataclass(frozen=True, slots=True)
class SocketOwner:
    """Who made a socket.

    Attributes:
        user: Whose it is; means nothing once it is not open.
        is_open: Whether a process holds it and it is connected. A half-closed one still is.
    """

    user: User
    is_open: bool


class OwnerLookup(Protocol):
    """One system's way to tell. To be used by one thread."""

    def owner_of(self, local: Endpoint, peer: Endpoint, family: int) -> SocketOwner | None:
        """Return who is at the other end of a connection to us.

        The answer is about this connection only if `require_peer` finds it connected afterwards.

        Args:
            local: Our end.
            peer: The other end, on this computer.
            family: Of our socket, ``AF_INET`` or ``AF_INET6``.

        Returns:
            None if the system knows of no such connection: it was reset, or never was ours.

        Raises:
            OSError: The system does not tell.
        """
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


def require_peer(connection: socket.SocketType) -> None:
    """Raise an error if the other end of a connection has left it by a reset.

    Args:
        connection: Ours, and non-blocking.

    Raises:
        OSError: The connection is over, and its addresses may be those of another one.
    """
    # ENOTCONN once it was reset (EINVAL on macOS), also while there are octets to read.
    connection.getpeername()
    if sys.platform == "win32":
        # Windows remembers the address until the socket is closed; reading tells of the reset.
        with contextlib.suppress(BlockingIOError):
            connection.recv(1, socket.MSG_PEEK)


class OwnerUnknownError(OSError):
    """No way of this system to tell whose a connection is works here."""


class NullOwnerLookup:
    """The way of a system that does not tell."""

    def owner_of(self, local: Endpoint, peer: Endpoint, family: int) -> SocketOwner | None:
        """Tell nothing.

        Raises:
            NotToldError: Always.
        """
        raise OwnerUnknownError("this system does not tell whose connections it makes")

    def close(self) -> None:
        """Nothing is held."""
