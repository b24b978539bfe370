"""Connections to https upstreams: a `SocketStream` inside TLS, and whom it trusts.

TLS runs between two memory buffers, not on the socket: a socket of Python's can only end both
directions at once, and discards what still comes; tunnels need the half-close (RFC 8446, section
6.1).
"""

import asyncio
import contextlib
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from trayproxy.engine.net.channel_binding import tls_server_end_point
from trayproxy.engine.net.handshake_error import HandshakeError
from trayproxy.engine.net.resource_shortage import is_shortage
from trayproxy.engine.net.socket_stream import CHUNK, SocketStream
from trayproxy.profiles.store import read_file

MAX_RECORD = 16_384
"""The most that travels encrypted in one piece, in octets (RFC 8446, section 5.1)."""
MAX_CA_FILE = 4 << 20
"""Octets. All authorities of the world need a quarter of a mebibyte."""


@dataclass(frozen=True, slots=True)
class _LoadedFile:
    octets: bytes
    context: ssl.SSLContext


class TrustStore:
    """Whose certificates are believed: contexts, made off the loop and kept.

    A context is made anew when its file has changed and has been forgotten in between, as it is
    whenever a certificate was not believed: a person who has just added the authority tries again.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._fresh: dict[str, ssl.SSLContext] = {}
        self._loaded: dict[str, _LoadedFile] = {}

    def loaded_context(self, ca_file: str) -> ssl.SSLContext | None:
        """Return the context for a file, or with an empty name for the system's own store; None if
        it has to be loaded."""
        return self._fresh.get(ca_file)

    def load(self, ca_file: str) -> "asyncio.Future[ssl.SSLContext]":
        """Return the context when it is loaded; it reads files and takes some 50 ms.

        The future raises `HandshakeError` if the file cannot be used.
        """
        loading = asyncio.ensure_future(self._load(ca_file), loop=self._loop)
        # Whoever wanted it may have left: then nobody looks at what went wrong.
        loading.add_done_callback(lambda done: done.cancelled() or done.exception())
        return loading

    async def _load(self, ca_file: str) -> ssl.SSLContext:
        before = self._loaded.get(ca_file)
        loaded = await self._loop.run_in_executor(None, _load, ca_file, before)
        self._loaded[ca_file] = loaded
        self._fresh[ca_file] = loaded.context
        return loaded.context

    def expire(self) -> None:
        """Look at the files again before the next connection."""
        self._fresh.clear()


def _load(ca_file: str, before: _LoadedFile | None) -> _LoadedFile:
    if not ca_file:
        return _LoadedFile(b"", system_context())
    try:
        octets = read_file(Path(ca_file), MAX_CA_FILE + 1)
    except OSError as error:
        if is_shortage(error):
            raise
        raise HandshakeError(
            f"The file with the company's certificate cannot be read ({error.strerror or error})."
        ) from None
    if before is not None and before.octets == octets:
        return before
    return _LoadedFile(octets, private_ca_context(octets))


def private_ca_context(octets: bytes) -> ssl.SSLContext:
    """Return what believes these authorities (PEM, or one in DER) and no others.

    Raises:
        HandshakeError: There is no certificate in it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The authority that the person names is enough, also if another one has signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        if len(octets) > MAX_CA_FILE:
            raise ValueError("too large")
        is_text = b"-----BEGIN " in octets
        # Between the certificates stand remarks in whatever language.
        context.load_verify_locations(
            cadata=octets.decode("ascii", "ignore") if is_text else octets
        )
    except (ssl.SSLError, ValueError):
        raise HandshakeError("The file with the company's certificate has none in it.") from None
    return _harden(context)


def system_context() -> ssl.SSLContext:
    """Return what believes whom the system believes, as truststore finds that out.

    Where OpenSSL itself verifies, truststore reads all the authorities again for each connection,
    which takes 50 ms of the loop's time. The context inside has them after the first time, and
    serves as well: what it makes is still truststore's, with truststore's checks.
    """
    import truststore  # Not at the top: only profiles with an https upstream need it.

    context = _harden(truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    inside = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost").context
    verifies = inside.verify_mode is ssl.CERT_REQUIRED and inside.check_hostname
    return inside if verifies and inside.cert_store_stats()["x509_ca"] else context


def _harden(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    # Python 3.11.2, Debian 12's, sets this option: a truncated answer would look complete.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.set_alpn_protocols(["http/1.1"])
    return context


class TlsStream(SocketStream):
    """A connection inside TLS.

    Octets count as sent when the kernel has taken them encrypted: whoever gets 0 from `send` waits
    until the socket can be written and calls it again with the same octets.

    Attributes:
        tls: The state of TLS.
    """

    __slots__ = (
        "_ciphertext",
        "_incoming",
        "_outgoing",
        "_sent_close_notify",
        "_unreported",
        "tls",
    )

    plain = False

    def __init__(self, connection: socket.SocketType, context: ssl.SSLContext, host: str) -> None:
        """Begin; nothing is sent before `do_handshake`.

        Args:
            connection: A connected socket.
            context: Whom to believe.
            host: Whose certificate is expected: a name, or an IP literal without brackets.
        """
        super().__init__(connection)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=host.rstrip(".") or host
        )
        self._ciphertext = b""
        self._unreported = 0
        self._sent_close_notify = False

    # --- the handshake ---

    def do_handshake(self) -> bool:
        """Go on with the handshake as far as possible now. Return whether it is complete.

        Until then wait for the socket: to read, and while `is_blocked` to write.

        Raises:
            HandshakeError: It failed. The alert that says so was sent, and nothing else.
        """
        try:
            self._flush()
            return self._receive_raw() is not False and self._step_handshake()
        except OSError as error:
            raise _connection_lost() from error

    def start_handshake(self) -> None:
        """Send the first message of the handshake.

        Raises:
            HandshakeError: The connection is gone already.
        """
        try:
            self._step_handshake()
        except OSError as error:
            raise _connection_lost() from error

    def _step_handshake(self) -> bool:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self._collect_ciphertext()
            self._flush()
            return False
        except (ssl.SSLError, ValueError) as error:
            self._collect_ciphertext()
            with contextlib.suppress(OSError):
                self._flush()
            raise handshake_error(error) from error
        self._collect_ciphertext()
        # Whether the last message has gone does not matter: it goes before anything else does.
        self._flush()
        return True

    @property
    def is_blocked(self) -> bool:
        """Whether something waits for the kernel to take it."""
        return bool(self._ciphertext)

    # --- octets ---

    def receive(self, limit: int = CHUNK) -> bytes | None:
        """Return what has come; `ended` may be set together with the last octets.

        Everything that has come is returned: the loop does not know of octets that lie in here.

        Raises:
            OSError: The connection was reset, or what came is not what was sent.
        """
        if self.ended:
            return b""
        try:
            self._receive_raw(limit)
            data = self._decrypt()
        except ssl.SSLError as error:
            raise ConnectionResetError("the encryption was broken") from error
        self._collect_ciphertext()
        with contextlib.suppress(OSError):  # It takes nothing any more; what it sent is here.
            self._flush()
        return data or (b"" if self.ended else None)

    def _receive_raw(self, limit: int = CHUNK) -> bool | None:
        """Take encrypted octets from the socket. Return False if there are none, None at the
        end."""
        try:
            # Part of a record may lie here already: both together must not be more than asked for.
            data = self.socket.recv(max(1, limit - self._incoming.pending))
        except (BlockingIOError, InterruptedError):
            return False
        if not data:
            self._incoming.write_eof()
            return None
        self._incoming.write(data)
        return True

    def _decrypt(self) -> bytes:
        pieces: list[bytes] = []
        while not self.ended:
            try:
                piece = self.tls.read(CHUNK)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                piece = b""
            except ssl.SSLError as error:
                if not _is_truncation(error):
                    raise
                self.ended = self.truncated = True
                break
            if piece:
                pieces.append(piece)
            else:
                self.ended = True
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def send(self, data: bytes | memoryview) -> int:
        """Send what the kernel takes now; return how many octets that was.

        Raises:
            OSError: The connection is gone.
        """
        if not self._flush():
            return 0
        if self._unreported:
            owed, self._unreported = self._unreported, 0
            return owed
        view = memoryview(data)[:CHUNK]
        try:
            for start in range(0, len(view), MAX_RECORD):
                self.tls.write(view[start : start + MAX_RECORD])
        except ssl.SSLError as error:
            raise BrokenPipeError("the encryption was broken") from error
        self._collect_ciphertext()
        if self._flush():
            return len(view)
        self._unreported = len(view)
        return 0

    def _collect_ciphertext(self) -> None:
        if self._outgoing.pending:
            self._ciphertext += self._outgoing.read()

    def _flush(self) -> bool:
        """Send what is encrypted already. Return whether all of it has gone."""
        while self._ciphertext:
            try:
                sent = self.socket.send(self._ciphertext)
            except (BlockingIOError, InterruptedError):
                return False
            self._ciphertext = self._ciphertext[sent:]
        return True

    # --- the end ---

    def is_quiet(self) -> bool:
        """Whether it is open and nothing unasked has come; tickets and new keys are no message."""
        if self.inbox or self.ended:
            return False
        try:
            data = self.receive()
        except OSError:
            return False
        if data:
            self.inbox += data
        return data is None

    def shutdown_write(self) -> None:
        """Say inside the encryption that nothing more will be sent, and outside; reading goes on.

        If the kernel has no room for the former, the latter must do.
        """
        self._send_close_notify()
        super().shutdown_write()

    def close(self) -> None:
        """Close the socket; what the kernel has taken is still delivered."""
        self._send_close_notify()
        super().close()

    def reset_on_close(self) -> None:
        """Let the peer see a reset when the socket is closed, and no proper end before it."""
        self._sent_close_notify = True
        super().reset_on_close()

    def _send_close_notify(self) -> None:
        if self._sent_close_notify:
            return
        self._sent_close_notify = True
        # It answers that the other side has not said so yet: that may come later, or never.
        with contextlib.suppress(ssl.SSLError, OSError, ValueError):
            self.tls.unwrap()
        with contextlib.suppress(OSError):
            self._collect_ciphertext()
            self._flush()

    # --- what a person may want to know ---

    @property
    def version(self) -> str:
        """The version of the protocol, ``TLS 1.3``."""
        return (self.tls.version() or "").replace("TLSv", "TLS ")

    @property
    def end_point(self) -> bytes:
        """What stands for the other side in a sign-in that is bound to this connection (RFC 5929,
        section 4.1); empty if that is not defined for its certificate."""
        return tls_server_end_point(self.tls.getpeercert(binary_form=True) or b"")

    @property
    def issuer(self) -> str:
        """Who has signed the other side's certificate, as that says; empty if it cannot be told.

        Untrusted, like every text from the network.
        """
        parts: Any = (self.tls.getpeercert() or {}).get("issuer", ())
        names: dict[str, str] = dict(pair for part in parts for pair in part)
        return names.get("organizationName") or names.get("commonName") or ""

    @classmethod
    def start(cls, connection: socket.SocketType, context: ssl.SSLContext, host: str) -> Self:
        """Return a stream that has sent the first message of the handshake.

        Raises:
            HandshakeError: The connection is gone already, or this cannot be a host.
        """
        try:
            stream = cls(connection, context, host)
        except ValueError:
            raise HandshakeError("Its name cannot stand in a certificate.") from None
        stream.start_handshake()
        return stream


def _is_truncation(error: ssl.SSLError) -> bool:
    """Return whether the connection ended without TLS's own end (close_notify).

    Python 3.11.2 on OpenSSL 3 raises no `ssl.SSLEOFError` for it; only the reason tells.
    """
    return isinstance(error, ssl.SSLEOFError) or error.reason == "UNEXPECTED_EOF_WHILE_READING"


def _connection_lost() -> HandshakeError:
    return HandshakeError("It closed the connection.", is_gone=True)


_VERIFY_REASONS = {
    9: "It is not valid yet. Is the clock of this computer right?",
    10: "It has expired.",
    18: "The proxy has signed it itself.",
    19: "It is signed by an authority that this computer does not know.",
    20: "It is signed by an authority that this computer does not know.",
    21: "It is signed by an authority that this computer does not know.",
    23: "It was revoked.",
    62: "It was issued for another name.",
    64: "It was issued for another address.",
}
"""By OpenSSL's number of the verification error (x509_vfy.h)."""
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"})
"""OpenSSL's reasons when what came is no TLS at all."""


def handshake_error(error: Exception) -> HandshakeError:
    """Return the reason why a handshake failed, for a person."""
    if isinstance(error, ssl.SSLCertVerificationError):
        # truststore raises it without the number where the system verifies.
        code = getattr(error, "verify_code", 0)
        reason = _VERIFY_REASONS.get(code, "This computer does not trust it.")
        return HandshakeError(reason, is_about_certificate=True)
    if isinstance(error, ssl.SSLError) and _is_truncation(error):
        return _connection_lost()
    reason = getattr(error, "reason", None) or ""
    if reason in _NOT_TLS or reason.startswith("RECORD_LAYER"):
        return HandshakeError("It answered without encryption.")
    if "VERSION" in reason or "PROTOCOL" in reason:
        return HandshakeError("It only speaks a version of TLS that is not safe any more.")
    return HandshakeError("It did not agree on an encryption.")
