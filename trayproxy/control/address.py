"""Where the service is reached, and how each side proves that it is the same user's.

Where the system has Unix sockets, one in the private runtime folder, and the kernel names the user
at the other end. Elsewhere (Windows) a loopback connection: a private file tells the port and a
random key, and both sides prove that they know the key without sending it. A process of another
user that took the port of a service that has died thus learns nothing, and is not believed.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
import socket
import struct
from pathlib import Path
from typing import Protocol

from trayproxy.paths import Paths

_KEY_SIZE = 32
_NONCE_SIZE = 16
_PROOF_SIZE = hashlib.sha256().digest_size
_BACKLOG = 64

_LOCAL_PEERCRED = 1
"""macOS and the BSDs, <sys/un.h>: at level 0 it yields a `struct xucred` (unix(4))."""


class NotRunningError(Exception):
    """No service answers at this address."""


class StrangerError(Exception):
    """The other end is not this user's; nothing was sent to it."""


class Guard(Protocol):
    """Decides, as octets come in, whether a connection is this user's. One for each connection."""

    def receive(self, octets: bytes) -> tuple[bytes, bytes | None]:
        """Take octets until the other end has proven itself.

        Returns:
            What to send back; and None while more is needed, else what of the octets is already
            protocol.

        Raises:
            StrangerError: The proof is wrong.
        """
        ...


class Address(Protocol):
    """A way for the faces of one user to reach that user's service."""

    def listen(self) -> socket.socket:
        """Make the listening socket; the caller holds the instance lock.

        Raises:
            OSError: It cannot be made.
        """
        ...

    def guard(self, connection: socket.socket) -> Guard | None:
        """Return what must be proven on an accepted connection, None if nothing more is.

        Raises:
            StrangerError: The connection is another user's.
        """
        ...

    def connect(self, timeout_s: float) -> socket.socket:
        """Return a connection to the service, proven to be this user's.

        Raises:
            NotRunningError: Nobody listens.
            StrangerError: Somebody else does.
        """
        ...

    def remove(self) -> None:
        """Take the address away; the caller holds the instance lock."""
        ...


def address(paths: Paths) -> Address:
    """Return the address of this user's service, by what this system offers."""
    if hasattr(socket, "AF_UNIX"):
        return UnixAddress(paths.socket)
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
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        return listener

    def guard(self, connection: socket.socket) -> Guard | None:
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
        except StrangerError:
            connection.close()
            raise
        return connection

    def remove(self) -> None:
        """Remove the socket from its folder."""
        self._path.unlink(missing_ok=True)


class LoopbackAddress:
    """A loopback port and a key, both in a private file.

    The proof, with nonces so that none serves twice::

        client → nonce C
        service → nonce S, HMAC-SHA256(key, "service" C S)
        client → HMAC-SHA256(key, "client" C S)
    """

    def __init__(self, path: Path) -> None:
        """Name the file.

        Args:
            path: In a private folder.
        """
        self._path = path
        self._key = b""

    def listen(self) -> socket.socket:
        """Take a free port, and write it down with a new key."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            # Without it another process on Windows may bind the very same port.
            if exclusive := getattr(socket, "SO_EXCLUSIVEADDRUSE", None):
                listener.setsockopt(socket.SOL_SOCKET, exclusive, 1)
            listener.bind(("127.0.0.1", 0))
            listener.listen(_BACKLOG)
            self._key = secrets.token_bytes(_KEY_SIZE)
            self._write(f"{listener.getsockname()[1]} {self._key.hex()}\n")
        except OSError:
            listener.close()
            raise
        return listener

    def guard(self, connection: socket.socket) -> Guard:
        """Demand a proof of the key; whoever can read the file is this user."""
        return _ServiceProof(self._key)

    def connect(self, timeout_s: float) -> socket.socket:
        """Connect to the port that the file tells, and exchange the proofs."""
        try:
            port, key = self._path.read_text("ascii").split()
            connection = socket.create_connection(("127.0.0.1", int(port)), timeout_s)
        except (OSError, ValueError) as error:
            raise NotRunningError(getattr(error, "strerror", "") or "no address") from None
        try:
            _prove(connection, bytes.fromhex(key))
        except StrangerError:
            connection.close()
            raise
        except (OSError, ValueError) as error:
            connection.close()
            raise NotRunningError(str(error)) from None
        return connection

    def remove(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)

    def _write(self, text: str) -> None:
        # Renamed into place: a face never reads half of it.
        new = self._path.with_suffix(".new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(text)
        new.replace(self._path)


class _ServiceProof:
    """The service's side of `LoopbackAddress`."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._received = b""
        self._nonces = b""

    def receive(self, octets: bytes) -> tuple[bytes, bytes | None]:
        self._received += octets
        reply = b""
        if not self._nonces and len(self._received) >= _NONCE_SIZE:
            own = secrets.token_bytes(_NONCE_SIZE)
            self._nonces = self._received[:_NONCE_SIZE] + own
            self._received = self._received[_NONCE_SIZE:]
            reply = own + _proof(self._key, b"service", self._nonces)
        if not self._nonces or len(self._received) < _PROOF_SIZE:
            return reply, None
        _believe(self._received[:_PROOF_SIZE], _proof(self._key, b"client", self._nonces))
        return reply, self._received[_PROOF_SIZE:]


def _prove(connection: socket.socket, key: bytes) -> None:
    """The client's side of `LoopbackAddress`."""
    nonces = secrets.token_bytes(_NONCE_SIZE)
    connection.sendall(nonces)
    nonces += _receive(connection, _NONCE_SIZE)
    _believe(_receive(connection, _PROOF_SIZE), _proof(key, b"service", nonces))
    connection.sendall(_proof(key, b"client", nonces))


def _receive(connection: socket.socket, size: int) -> bytes:
    octets = b""
    while len(octets) < size:
        more = connection.recv(size - len(octets))
        if not more:
            raise ConnectionResetError("it hung up")
        octets += more
    return octets


def _proof(key: bytes, side: bytes, nonces: bytes) -> bytes:
    return hmac.digest(key, side + nonces, "sha256")


def _believe(given: bytes, right: bytes) -> None:
    if not hmac.compare_digest(given, right):
        raise StrangerError("the other end does not know the key")


def check_peer(uid: int | None) -> None:
    """Let this user in and nobody else, root neither: its TrayProxy has its own address.

    Args:
        uid: Whose the other end is; None if the kernel did not say.

    Raises:
        StrangerError: It is someone else's, or nobody knows.
    """
    if uid is None:
        raise StrangerError("the system does not tell whose the other end is")
    if uid != os.geteuid():
        raise StrangerError(f"the other end belongs to another user (uid {uid})")


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
