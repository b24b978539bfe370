"""The control address as a Unix socket; the kernel reports the user id of each peer.

The path of a Unix socket has a size limit, and the path of the private runtime folder may be
longer. Then the socket is in a new folder in the system's folder for temporary files, and the
runtime folder contains a symbolic link to the socket. The new folder has a random name: another
user cannot create it first to prevent the start. Front ends read the link; only this user can
write it.
"""

import contextlib
import os
import socket
import struct
from pathlib import Path

from trayproxy.control.transport import BACKLOG, NotRunningError, PeerCheck, UntrustedPeerError

SOCKET_PATH_LIMIT = 104
"""The size of ``sockaddr_un.sun_path`` with its NUL, in octets, on the system with the smallest
limit (macOS; Linux has 108)."""

_FOLDER_PREFIX = "trayproxy-run-"
"""The start of the name of a folder for a socket with a path that would be too long."""

_LOCAL_PEERCRED = 1
"""The socket option of macOS and the BSDs (<sys/un.h>) that returns a `struct xucred` at level 0
(unix(4))."""


class UnixAddress:
    """A Unix socket whose peers are checked by their user id, as reported by the kernel."""

    def __init__(self, path: Path) -> None:
        """Set the path of the socket, in a folder private to this user."""
        self._path = path

    def listen(self) -> socket.socket:
        """Return a new listening socket of mode 0600; replace the socket file of a dead service."""
        self.remove()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            place = self._path if _is_short(self._path) else self._link_to_short_path()
            listener.bind(str(place))
            place.chmod(0o600)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            self.remove()
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
            connection.connect(str(self._linked_socket() or self._path))
            require_own_uid(peer_uid(connection))
        except OSError as error:
            connection.close()
            raise NotRunningError(error.strerror or str(error)) from None
        except UntrustedPeerError:
            connection.close()
            raise
        return connection

    def remove(self) -> None:
        """Remove the socket file, and the link and the folder of a socket with a short path."""
        if (place := self._linked_socket()) is not None:
            # Another program may have removed the socket file or its folder.
            with contextlib.suppress(OSError):
                place.unlink(missing_ok=True)
                place.parent.rmdir()
        self._path.unlink(missing_ok=True)

    def _linked_socket(self) -> Path | None:
        """Return the path in the link of `_link_to_short_path`; None if there is no such link."""
        try:
            place = Path(os.readlink(self._path))
        except OSError:
            return None
        return place if place.parent.name.startswith(_FOLDER_PREFIX) else None

    def _link_to_short_path(self) -> Path:
        """Create a private folder with a short path, and a link to the future socket in it."""
        # Imported here: a front end does not need it.
        import tempfile

        for base in (tempfile.gettempdir(), "/tmp"):
            # mkdtemp creates the folder with mode 0700 and a random name.
            place = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=base), self._path.name)
            if _is_short(place):
                self._path.symlink_to(place)
                return place
            place.parent.rmdir()
        raise OSError("the folder for temporary files has a path that is too long for a socket")


def _is_short(path: Path) -> bool:
    return len(os.fsencode(path)) < SOCKET_PATH_LIMIT


def require_own_uid(uid: int | None) -> None:
    """Raise `UntrustedPeerError` unless a peer's user id, None if unknown, is this user's.

    Root's user id is rejected, too: root has its own TrayProxy.
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
