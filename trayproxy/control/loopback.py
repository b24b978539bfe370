"""The control address of systems without Unix sockets: a loopback port and a key.

Both sides prove that they know the key, which only this user can read; neither side sends it.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
import socket
from pathlib import Path

from trayproxy.control.transport import BACKLOG, NotRunningError, PeerCheck, UntrustedPeerError
from trayproxy.paths import make_private

CHECK_INTERVAL_S = 5.0
"""The interval at which the service checks its address file; shorter than the time for which a
front end waits for a service it has started."""
_RETRY_INTERVAL_S = 0.25
"""The interval of the checks while the address file cannot be written."""

_CONNECT_TIMEOUT_S = 0.5
"""The timeout for connecting to a loopback port. The system accepts at once if a program listens;
Windows retries a closed port three times, which takes two seconds."""

_KEY_SIZE = 32
_NONCE_SIZE = 16
_PROOF_SIZE = hashlib.sha256().digest_size


class LoopbackAddress:
    """A loopback port and a key, both in a private file.

    The proof, with nonces against a replay::

        client → nonce C
        service → nonce S, HMAC-SHA256(key, "service" C S)
        client → HMAC-SHA256(key, "client" C S)
    """

    def __init__(self, path: Path) -> None:
        """Set the path of the address file, in a private folder."""
        self._path = path
        self._key = b""
        self._content = ""

    def listen(self) -> socket.socket:
        """Listen on a free port and write the port and a new key to the address file."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            # Without this option, another process on Windows could bind the same port.
            if exclusive := getattr(socket, "SO_EXCLUSIVEADDRUSE", None):
                listener.setsockopt(socket.SOL_SOCKET, exclusive, 1)
            listener.bind(("127.0.0.1", 0))
            listener.listen(BACKLOG)
            self._key = secrets.token_bytes(_KEY_SIZE)
            self._content = f"{listener.getsockname()[1]} {self._key.hex()}\n"
            # If another program holds the file open, `maintain` writes it later.
            with contextlib.suppress(PermissionError):
                self._write()
        except OSError:
            listener.close()
            raise
        return listener

    def maintain(self) -> float:
        """Write the address file again, with its folder, if another program has removed or changed
        it."""
        try:
            if self._path.read_text("ascii") == self._content:
                return CHECK_INTERVAL_S
        except (OSError, ValueError):
            pass
        try:
            make_private(self._path.parent)
            self._write()
        except OSError:
            return _RETRY_INTERVAL_S
        return CHECK_INTERVAL_S

    def check_peer(self, connection: socket.socket) -> PeerCheck:
        """Return a check that requires a proof of the key: only this user can read the address
        file."""
        return _ServiceHandshake(self._key)

    def connect(self, timeout_s: float) -> socket.socket:
        """Connect to the port in the address file and exchange the proofs."""
        try:
            port, key = self._path.read_text("ascii").split()
            limit_s = min(timeout_s, _CONNECT_TIMEOUT_S)
            connection = socket.create_connection(("127.0.0.1", int(port)), limit_s)
            connection.settimeout(timeout_s)
        except (OSError, ValueError) as error:
            raise NotRunningError(getattr(error, "strerror", "") or "no address") from None
        try:
            # The messages are small; Nagle's algorithm would delay each one by 40 ms.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _prove_key(connection, bytes.fromhex(key))
        except UntrustedPeerError:
            connection.close()
            raise
        except (OSError, ValueError) as error:
            connection.close()
            raise NotRunningError(str(error)) from None
        return connection

    def remove(self) -> None:
        """Remove the address file; if another program has it open, the file stays but is
        useless."""
        with contextlib.suppress(PermissionError):
            self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        # Renamed into place, so that a front end never reads an incomplete file.
        new = self._path.with_suffix(".new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(self._content)
        new.replace(self._path)


class _ServiceHandshake:
    """The service's side of the proof (`LoopbackAddress`)."""

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
        _verify_proof(self._received[:_PROOF_SIZE], _proof(self._key, b"client", self._nonces))
        return reply, self._received[_PROOF_SIZE:]


def _prove_key(connection: socket.socket, key: bytes) -> None:
    """Run the client's side of the proof (`LoopbackAddress`)."""
    nonces = secrets.token_bytes(_NONCE_SIZE)
    connection.sendall(nonces)
    nonces += _receive_exactly(connection, _NONCE_SIZE)
    _verify_proof(_receive_exactly(connection, _PROOF_SIZE), _proof(key, b"service", nonces))
    connection.sendall(_proof(key, b"client", nonces))


def _receive_exactly(connection: socket.socket, size: int) -> bytes:
    octets = b""
    while len(octets) < size:
        chunk = connection.recv(size - len(octets))
        if not chunk:
            raise ConnectionResetError("the other end closed the connection")
        octets += chunk
    return octets


def _proof(key: bytes, side: bytes, nonces: bytes) -> bytes:
    return hmac.digest(key, side + nonces, "sha256")


def _verify_proof(received: bytes, expected: bytes) -> None:
    if not hmac.compare_digest(received, expected):
        raise UntrustedPeerError("the other end does not know the key")
