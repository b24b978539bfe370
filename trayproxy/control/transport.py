"""The transport of the control protocol: its errors, and the interfaces of a control address.

`trayproxy.control.unix_socket` and `trayproxy.control.loopback` implement `ControlAddress`;
`trayproxy.control.address` chooses between them.
"""

import socket
from typing import Protocol

BACKLOG = 64
"""The maximum number of connections waiting for accept()."""


class ControlError(Exception):
    """The service cannot be reached, or does not reply. The base class of these errors."""


class NotRunningError(ControlError):
    """No service accepts connections at this address."""


class UntrustedPeerError(ControlError):
    """The peer is not a process of this user; no message was sent to it."""


class PeerCheck(Protocol):
    """The check that the peer of one accepted connection is a process of this user."""

    def receive(self, octets: bytes) -> tuple[bytes, bytes | None]:
        """Process octets of the peer's proof.

        Returns:
            The octets to send to the peer; and None while the proof is incomplete, else the octets
            after the proof, which belong to the protocol.

        Raises:
            UntrustedPeerError: The proof is wrong.
        """


class ControlAddress(Protocol):
    """The address at which front ends reach the service of the same user."""

    def listen(self) -> socket.socket:
        """Return a new listening socket; the caller must hold the instance lock.

        Raises:
            OSError: The socket or its file cannot be created.
        """

    def maintain(self) -> float | None:
        """Restore the address if another program has removed it; the caller must hold the lock.

        Returns:
            The seconds until the next call; None if no further call is needed.
        """

    def check_peer(self, connection: socket.socket) -> PeerCheck | None:
        """Return the remaining check of an accepted connection; None if it has passed.

        Raises:
            UntrustedPeerError: The connection belongs to another user.
        """

    def connect(self, timeout_s: float) -> socket.socket:
        """Return a connection to the service, after the check that this user owns the service.

        Args:
            timeout_s: The timeout of each socket operation, in seconds.

        Raises:
            NotRunningError: No program accepts connections at this address.
            UntrustedPeerError: A process of another user accepts connections at this address.
        """

    def remove(self) -> None:
        """Remove the address; the caller must hold the instance lock."""
