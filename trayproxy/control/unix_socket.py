"""The control address as a Unix socket; the kernel reports the user id of each peer."""

import contextlib
import os
import socket
import struct
from pathlib import Path

from trayproxy.control.transport import BACKLOG, NotRunningError, PeerCheck, UntrustedPeerError

_LOCAL_PEERCRED = 1
"""The socket option of macOS and the BSDs (<sys/un.h>) that returns a `struct xucred` at level 0
(unix(4))."""


class UnixAddress:
    """A Unix socket whose peers are checked by their user id, as reported by the kernel."""

    def __init__(self, path: Path) -> None:
        """Set the path of the socket.

        Args:
            path: The socket, in a private folder, shorter than `paths.SOCKET_PATH_LIMIT`.
        """
        self._path = path

    def listen(self) -> socket.socket:
        """Return a new listening socket of mode 0600; replace the socket file of a dead service."""
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

    def maintain(self) -> None:
        """Do nothing: the runtime folder exists as long as the log-in session.

        A removed socket file could not be restored: a new listening socket would be needed.
        """

    def check_peer(self, connection: socket.socket) -> PeerCheck | None:
        """Check the user id of the peer; return None because no further check is needed."""
        require_own_uid(peer_uid(connection))
        return None

    def connect(self, timeout_s: float) -> socket.socket:
        """Connect to the socket and check the user id of the service."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout_s)
            connection.connect(str(self._path))
            require_own_uid(peer_uid(connection))
        except OSError as error:
            connection.close()
            raise NotRunningError(error.strerror or str(error)) from None
        except UntrustedPeerError:
            connection.close()
            raise
        return connection

    def remove(self) -> None:
        """Remove the socket file."""
        self._path.unlink(missing_ok=True)


def require_own_uid(uid: int | None) -> None:
    """Raise unless a user id is this user's; root's is rejected too: root has its own TrayProxy.

    Args:
        uid: The user id of the peer; None if unknown.

    Raises:
        UntrustedPeerError: The user id is unknown or another user's.
    """
    if uid is None:
        raise UntrustedPeerError("the system does not report the user id of the other end")
    if uid != os.geteuid():
        raise UntrustedPeerError(f"the other end belongs to another user (uid {uid})")


def peer_uid(connection: socket.socket) -> int | None:
    """Return the user id of the peer of a Unix socket, None if this system does not report it."""
    if (option := getattr(socket, "SO_PEERCRED", None)) is not None:
        # Linux: struct ucred (pid, uid, gid) at the time of connect() or listen() (unix(7)).
        size = struct.calcsize("3i")
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, option, size))
        return int(uid)
    with contextlib.suppress(OSError, struct.error):
        # struct xucred begins with the version (0) and the user id.
        octets = connection.getsockopt(0, _LOCAL_PEERCRED, 76)
        version, uid = struct.unpack_from("=II", octets)
        return int(uid) if version == 0 else None
    return None
