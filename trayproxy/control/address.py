"""Where the service is reached, and how each side proves that it is the same user's.

Where the system has Unix sockets, one in the private runtime folder, and the kernel names the user
at the other end. Elsewhere (Windows) a loopback connection: a private file tells the port and a
random key, and both sides prove that they know the key without sending it. A process of another
user that took the port of a service that has died thus learns nothing, and is not believed.
"""

import contextlib
import os
import socket
import struct
from pathlib import Path
from typing import Protocol

from trayproxy.paths import Paths

BACKLOG = 64
"""Connections that may wait to be accepted."""

_LOCAL_PEERCRED = 1
"""macOS and the BSDs, <sys/un.h>: at level 0 it yields a `struct xucred` (unix(4))."""


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

    def keep(self) -> float | None:
        """Put the address back if somebody has taken it away; the caller holds the instance lock.

        Returns:
            After how many seconds to call this again, None if it need not be.
        """
        ...

    def guard(self, connection: socket.socket) -> PeerCheck | None:
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


def address(paths: Paths) -> ControlAddress:
    """Return the address of this user's service, by what this system offers."""
    if hasattr(socket, "AF_UNIX"):
        return UnixAddress(paths.socket)
    # Not at the top: its cryptography takes a tenth of the time of `trayproxy status`.
    from trayproxy.control.loopback import LoopbackAddress

    return LoopbackAddress(paths.socket)


class UnixAddress:
    """A Unix socket whose ends are checked by the kernel's word for their user."""

    def __init__(self, path: Path) -> None:
        """Name it.

        Args:
            path: The socket, in a private folder, shorter than `paths.SOCKET_PATH_LIMIT`.
        """
        self._path = path

    def listen(self) -> socket.socket:
        """Make the socket, mode 0600, in place of the one that a dead service left."""
        self.remove()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(self._path))
            self._path.chmod(0o600)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
        return listener

    def keep(self) -> None:
        """Do nothing: the runtime folder of a log-in session lasts as long as the session.

        The address cannot be put back either: a new socket would be needed.
        """

    def guard(self, connection: socket.socket) -> PeerCheck | None:
        """Ask the kernel whose the other end is; then nothing is left to prove."""
        check_peer(peer_uid(connection))
        return None

    def connect(self, timeout_s: float) -> socket.socket:
        """Connect, and ask the kernel whose the service is."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout_s)
            connection.connect(str(self._path))
            check_peer(peer_uid(connection))
        except OSError as error:
            connection.close()
            raise NotRunningError(error.strerror or str(error)) from None
        except UntrustedPeerError:
            connection.close()
            raise
        return connection

    def remove(self) -> None:
        """Remove the socket from its folder."""
        self._path.unlink(missing_ok=True)


def check_peer(uid: int | None) -> None:
    """Let this user in and nobody else, root neither: its TrayProxy has its own address.

    Args:
        uid: Whose the other end is; None if the kernel did not say.

    Raises:
        UntrustedPeerError: It is someone else's, or nobody knows.
    """
    if uid is None:
        raise UntrustedPeerError("the system does not tell whose the other end is")
    if uid != os.geteuid():
        raise UntrustedPeerError(f"the other end belongs to another user (uid {uid})")


def peer_uid(connection: socket.socket) -> int | None:
    """Return the user at the other end of a Unix socket, None if this system cannot tell."""
    if (option := getattr(socket, "SO_PEERCRED", None)) is not None:
        # Linux: struct ucred, pid uid gid, as when the end connected or listened (unix(7)).
        size = struct.calcsize("3i")
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, option, size))
        return int(uid)
    with contextlib.suppress(OSError, struct.error):
        # struct xucred begins with its version (0) and the user id.
        octets = connection.getsockopt(0, _LOCAL_PEERCRED, 76)
        version, uid = struct.unpack_from("=II", octets)
        return int(uid) if version == 0 else None
    return None
