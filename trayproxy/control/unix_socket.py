"""The control address as a Unix socket, whose peers the kernel identifies by their user id."""

import contextlib
import os
import socket
import struct
from pathlib import Path

from trayproxy.control.transport import BACKLOG, NotRunningError, PeerCheck, UntrustedPeerError

_LOCAL_PEERCRED = 1
"""macOS and the BSDs, <sys/un.h>: at level 0 it yields a `struct xucred` (unix(4))."""


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

    def maintain(self) -> None:
        """Do nothing: the runtime folder of a log-in session lasts as long as the session.

        The address cannot be put back either: a new socket would be needed.
        """

    def check_peer(self, connection: socket.socket) -> PeerCheck | None:
        """Ask the kernel whose the other end is; then nothing is left to prove."""
        require_own_uid(peer_uid(connection))
        return None

    def connect(self, timeout_s: float) -> socket.socket:
        """Connect, and ask the kernel whose the service is."""
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
        """Remove the socket from its folder."""
        self._path.unlink(missing_ok=True)


def require_own_uid(uid: int | None) -> None:
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
