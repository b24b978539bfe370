"""The transport of the control protocol: its errors, and the interfaces of a control address.

`trayproxy.control.unix_socket` and `trayproxy.control.loopback` implement `ControlAddress`;
`trayproxy.control.address` chooses between them.
"""

import socket
from typing import Protocol

BACKLOG = 64
"""Connections that may wait to be accepted."""


class NotRunningError(Exception):
    """No service answers at this address."""


class UntrustedPeerError(Exception):
    """The other end is not this user's; nothing was sent to it."""


class PeerCheck(Protocol):
    """Decides, as octets come in, whether a connection is this user's. One for each connection."""

    def receive(self, octets: bytes) -> tuple[bytes, bytes | None]:
        """Take octets until the other end has proven itself.

        Returns:
            What to send back; and None while more is needed, else what of the octets is already
            protocol.

        Raises:
            UntrustedPeerError: The proof is wrong.
        """
        ...


class ControlAddress(Protocol):
    """A way for the faces of one user to reach that user's service."""

    def listen(self) -> socket.socket:
        """Make the listening socket; the caller holds the instance lock.

        Raises:
            OSError: It cannot be made.
        """
        ...

    def maintain(self) -> float | None:
        """Put the address back if somebody has taken it away; the caller holds the instance lock.

        Returns:
            After how many seconds to call this again, None if it need not be.
        """
        ...

    def check_peer(self, connection: socket.socket) -> PeerCheck | None:
        """Return what must be proven on an accepted connection, None if nothing more is.

        Raises:
            UntrustedPeerError: The connection is another user's.
        """
        ...

    def connect(self, timeout_s: float) -> socket.socket:
        """Return a connection to the service, proven to be this user's.

        Raises:
            NotRunningError: Nobody listens.
            UntrustedPeerError: Somebody else does.
        """
        ...

    def remove(self) -> None:
        """Take the address away; the caller holds the instance lock."""
        ...
