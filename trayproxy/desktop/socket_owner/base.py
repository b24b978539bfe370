"""The values of the look-up of socket owners, and the protocol of its implementations.

Access control looks up the owner of the other end of every accepted connection, before an octet is
read from it (security.md, T1). (`trayproxy.desktop.process_lookup` is slower, and finds the name of
a program for a person to read.)

The owner is valid only while a process holds the socket. A program may send a request and end
before the look-up; the kernel then keeps the connection without a process, and Linux and macOS
report user 0 as its owner. Accepting this answer would admit every user as root.

The look-up is by the two addresses of the connection, which another program may have taken in the
meantime: when a client resets its connection before it is accepted, its port becomes free, while
its octets can still be read at the accepting end. So `require_peer` must be called
after every look-up. While the accepting end is connected, its peer keeps its address, and the owner
found before is the owner of this peer.
"""

import contextlib
import socket
import sys
from dataclasses import dataclass
from typing import Protocol

from trayproxy.desktop.users import User

Endpoint = tuple[str, int]
"""An IP address and a port: the first two items of the result of `socket.getsockname`."""


@dataclass(frozen=True, slots=True)
class SocketOwner:
    """The owner of a socket.

    Attributes:
        user: The user who has opened the socket. Meaningless if `is_open` is False.
        is_open: True if a process holds the socket and the socket is connected; a half-closed
            connection counts as connected.
    """

    user: User
    is_open: bool


class OwnerLookup(Protocol):
    """A look-up of socket owners on one operating system. An instance is for one thread."""

    def owner_of(self, local: Endpoint, peer: Endpoint, family: int) -> SocketOwner | None:
        """Return the owner of the other end of a connection to this process.

        The result applies to this connection only if `require_peer` raises no error afterwards.

        Args:
            local: The end of this process.
            peer: The other end, on this computer.
            family: The family of this process's socket, ``AF_INET`` or ``AF_INET6``.

        Returns:
            None if the system has no such connection, for example after a reset.

        Raises:
            OSError: The system does not report the owner.
        """

    def close(self) -> None:
        """Release the resources of the look-up."""


def require_peer(connection: socket.SocketType) -> None:
    """Raise an error if the peer has reset an accepted, non-blocking connection.

    Raises:
        OSError: The connection was reset, and its addresses may belong to another connection.
    """
    # After a reset this fails with ENOTCONN (EINVAL on macOS), even while octets can be read.
    connection.getpeername()
    if sys.platform == "win32":
        # Windows keeps the address until the socket is closed; a read reports the reset.
        with contextlib.suppress(BlockingIOError):
            connection.recv(1, socket.MSG_PEEK)


class OwnerUnknownError(OSError):
    """No look-up of socket owners works on this system."""


class NullOwnerLookup:
    """The look-up for a system that does not report socket owners."""

    def owner_of(self, local: Endpoint, peer: Endpoint, family: int) -> SocketOwner | None:
        """Raise `OwnerUnknownError`."""
        raise OwnerUnknownError("this system does not report the owners of connections")

    def close(self) -> None:
        """Do nothing."""
