"""Connections to https upstreams: TLS streams and the certificate authorities they trust.

TLS runs between two memory buffers, not on the socket: Python's `ssl.SSLSocket` can only end both
directions at once, and discards octets received afterwards, but tunnels need the half-close (RFC
8446, section 6.1).
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from trayproxy.engine.net.channel_binding import tls_server_end_point
from trayproxy.engine.net.der import issuer
from trayproxy.engine.net.handshake_error import (
    ClientCertificateError,
    ClientCertificateRefusedError,
    HandshakeError,
)
from trayproxy.engine.net.resource_shortage import is_shortage
from trayproxy.engine.net.socket_stream import CHUNK, SocketStream
from trayproxy.file_replacement import read_file

MAX_RECORD = 16_384
"""The largest content of a TLS record, in octets (RFC 8446, section 5.1)."""
MAX_CA_FILE = 4 << 20
"""The largest CA file, in octets. All public authorities together need a quarter of a mebibyte."""


class TlsFiles(NamedTuple):
    """The files of a profile for the connections to its https upstreams; an SSL context is made
    from them.

    Attributes:
        ca_file: The path of the CA file; empty for the system's trust store.
        certificate: The path of the client certificate; empty for none.
        key: The path of its key; empty if the certificate's file contains the key.
    """

    ca_file: str = ""
    certificate: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class _LoadedFile:
    octets: bytes
    context: ssl.SSLContext


class TrustStore:
    """Creates SSL contexts outside the event loop and caches them by their files.

    A context is created again if `expire` was called and the CA file has changed since, or the
    context has a client certificate. `expire` is called whenever a certificate was not trusted: the
    user may have just added the authority.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._fresh: dict[TlsFiles, ssl.SSLContext] = {}
        self._loaded: dict[TlsFiles, _LoadedFile] = {}

    def loaded_context(self, files: TlsFiles) -> ssl.SSLContext | None:
        """Return the cached context for these files; None if the context has to be loaded."""
        return self._fresh.get(files)

    def load(
        self, files: TlsFiles, find_password: Callable[[], str] = lambda: ""
    ) -> "asyncio.Future[ssl.SSLContext]":
        """Load a context in a thread, which reads files and takes about 50 ms. The future raises
        `HandshakeError` if a file cannot be used. `find_password` is called in the thread, for the
        password of the client certificate."""
        loading = asyncio.ensure_future(self._load(files, find_password), loop=self._loop)
        # The caller may be cancelled: reading the exception here prevents asyncio's warning.
        loading.add_done_callback(lambda done: done.cancelled() or done.exception())
        return loading

    async def _load(self, files: TlsFiles, find_password: Callable[[], str]) -> ssl.SSLContext:
        previous = None if files.certificate else self._loaded.get(files)
        loaded = await self._loop.run_in_executor(None, _load, files, previous, find_password)
        self._loaded[files] = loaded
        self._fresh[files] = loaded.context
        return loaded.context

    def expire(self) -> None:
        """Make `loaded_context` return None until the files were checked for changes."""
        self._fresh.clear()


def _load(
    files: TlsFiles, previous: _LoadedFile | None, find_password: Callable[[], str]
) -> _LoadedFile:
    loaded = _load_authorities(files.ca_file, previous)
    if files.certificate:
        # Not at the top: few profiles have a client certificate.
        from trayproxy.engine.net.client_certificate import load_client_certificate

        load_client_certificate(loaded.context, files.certificate, files.key, find_password())
    return loaded


def _load_authorities(ca_file: str, previous: _LoadedFile | None) -> _LoadedFile:
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
    if previous is not None and previous.octets == octets:
        return previous
    return _LoadedFile(octets, private_ca_context(octets))


def private_ca_context(octets: bytes) -> ssl.SSLContext:
    """Return an SSL context trusting only the authorities of a CA file, which contains certificates
    in PEM, or one certificate in DER. Raise `HandshakeError` if the file contains no certificate,
    or is too large."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # An intermediate authority in the file is trusted without the root that has signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        if len(octets) > MAX_CA_FILE:
            raise ValueError("too large")
        is_text = b"-----BEGIN " in octets
        # PEM files may contain remarks between the certificates, in any language.
        context.load_verify_locations(
            cadata=octets.decode("ascii", "ignore") if is_text else octets
        )
    except (ssl.SSLError, ValueError):
        raise HandshakeError(
            "The file with the company's certificate contains no certificate."
        ) from None
    return _harden(context)


def system_context() -> ssl.SSLContext:
    """Return an SSL context using the system's trust store through truststore.

    Where OpenSSL itself verifies, truststore reads all authorities again for each connection, which
    blocks the event loop for 50 ms. The inner context of truststore has loaded them after its first
    use and is returned instead: the objects it creates still perform truststore's checks.
    """
    import truststore  # Not at the top: only profiles with an https upstream need it.

    context = _harden(truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    inner = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost").context
    verifies = inner.verify_mode is ssl.CERT_REQUIRED and inner.check_hostname
    return inner if verifies and inner.cert_store_stats()["x509_ca"] else context


def _harden(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    # Python 3.11.2 (Debian 12) sets this option: a truncated response would look complete.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.set_alpn_protocols(["http/1.1"])
    return context


class TlsStream(SocketStream):
    """A connection inside TLS.

    Octets count as sent when the kernel has accepted them encrypted. If `send` returns 0, the
    caller waits until the socket is writable and calls `send` again with the same octets.
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
        """Prepare the TLS client; `start_handshake` sends the first message. The host is expected
        in the certificate: a host name, or an IP literal without brackets."""
        super().__init__(connection)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=host.rstrip(".")
        )
        self._ciphertext = b""
        self._unreported = 0
        self._sent_close_notify = False

    # --- the handshake ---

    def do_handshake(self) -> bool:
        """Continue the handshake. Return whether the handshake is complete.

        Until then, the caller waits for the socket: to be readable and, while `is_blocked`,
        writable.

        Raises:
            HandshakeError: The handshake failed. Only an alert with the reason was sent.
        """
        try:
            self._flush()
            return self._receive_raw() is not False and self._step_handshake()
        except OSError as error:
            raise _connection_lost() from error

    def start_handshake(self) -> None:
        """Send the first message of the handshake. Raise `HandshakeError` if the connection is
        closed already."""
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
        # If the last message was not sent completely, it precedes all later octets.
        self._flush()
        return True

    @property
    def is_blocked(self) -> bool:
        """True if encrypted octets wait until the kernel accepts them."""
        return bool(self._ciphertext)

    # --- octets ---

    def receive(self, limit: int = CHUNK) -> bytes | None:
        """Return all decrypted octets, since the event loop cannot see octets buffered inside TLS.
        `ended` may be set together with the last octets. Raise `OSError` if the connection was
        reset, or a record failed to decrypt."""
        if self.ended:
            return b""
        try:
            self._receive_raw(limit)
            data = self._decrypt()
        except ssl.SSLError as error:
            if (demand := _CERTIFICATE_ALERTS.get(error.reason or "")) is not None:
                raise ClientCertificateRefusedError(demand) from error
            raise ConnectionResetError("the encryption was broken") from error
        self._collect_ciphertext()
        with contextlib.suppress(OSError):  # The peer reads no more; its octets are returned.
            self._flush()
        return data or (b"" if self.ended else None)

    def _receive_raw(self, limit: int = CHUNK) -> bool | None:
        """Read encrypted octets from the socket. Return True after octets were read, False if there
        are none yet, None at the end of the stream."""
        try:
            # Part of a record may be buffered: both together must not exceed the limit.
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
        """Send the octets that the kernel accepts now; see `SocketStream.send`."""
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
        """Send the encrypted octets. Return whether the kernel has accepted all of them."""
        while self._ciphertext:
            try:
                sent = self.socket.send(self._ciphertext)
            except (BlockingIOError, InterruptedError):
                return False
            self._ciphertext = self._ciphertext[sent:]
        return True

    # --- the end ---

    def is_quiet(self) -> bool:
        """Return True if the connection is open and has no unread octets of the application, which
        session tickets and key updates are not."""
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
        """Send the end of the stream, after close_notify if the kernel can accept it; receiving
        continues."""
        self._send_close_notify()
        super().shutdown_write()

    def close(self) -> None:
        """Send close_notify and close the socket; the kernel delivers all accepted octets."""
        self._send_close_notify()
        super().close()

    def reset_on_close(self) -> None:
        """Make `close` send a reset without close_notify, so the peer sees an incomplete stream."""
        self._sent_close_notify = True
        super().reset_on_close()

    def _send_close_notify(self) -> None:
        if self._sent_close_notify:
            return
        self._sent_close_notify = True
        # unwrap raises if the peer has sent no close_notify yet; it may come later, or never.
        with contextlib.suppress(ssl.SSLError, OSError, ValueError):
            self.tls.unwrap()
        with contextlib.suppress(OSError):
            self._collect_ciphertext()
            self._flush()

    # --- details shown to the user ---

    @property
    def version(self) -> str:
        """The version of the protocol, such as ``TLS 1.3``."""
        version = self.tls.version()
        assert version is not None  # The handshake is complete.
        return version.replace("TLSv", "TLS ")

    @property
    def end_point(self) -> bytes:
        """The channel binding ``tls-server-end-point`` (RFC 5929, section 4.1); empty if it is not
        defined for the signature algorithm of the certificate."""
        certificate = self.tls.getpeercert(binary_form=True)
        assert certificate is not None  # Every accepted peer has sent a certificate.
        return tls_server_end_point(certificate)

    @property
    def issuer(self) -> str:
        """The issuer of the server's certificate, as the certificate names it, which is untrusted;
        empty if unknown."""
        # The dictionary of `getpeercert` is empty where the system verifies the certificate.
        return issuer(self.tls.getpeercert(binary_form=True) or b"")

    @classmethod
    def start(cls, connection: socket.SocketType, context: ssl.SSLContext, host: str) -> Self:
        """Return a stream after sending the first message of the handshake. Raise `HandshakeError`
        if the connection is closed already, or the host is not a valid name."""
        try:
            stream = cls(connection, context, host)
        except ValueError:
            raise HandshakeError("A certificate cannot contain its name.") from None
        stream.start_handshake()
        return stream


def _is_truncation(error: ssl.SSLError) -> bool:
    """Return whether the connection ended without close_notify."""
    # Python 3.11.2 on OpenSSL 3 raises an `ssl.SSLError` with this reason.
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
"""Reasons for the user, by OpenSSL's verification error code (x509_vfy.h)."""
_NO_CERTIFICATE = "It demands a certificate of yours."
_OTHER_CERTIFICATE = "It does not accept your certificate."
_CERTIFICATE_ALERTS = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _NO_CERTIFICATE,
    "SSLV3_ALERT_BAD_CERTIFICATE": _OTHER_CERTIFICATE,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _OTHER_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "It says that your certificate was revoked.",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "It says that your certificate has expired.",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _OTHER_CERTIFICATE,
    "TLSV1_ALERT_UNKNOWN_CA": "It does not know the authority that has issued your certificate.",
    "TLSV1_ALERT_ACCESS_DENIED": "It does not admit the owner of your certificate.",
}
"""The meaning of the alerts of a server about the certificate of its client (RFC 8446, section
6.2), by OpenSSL's reason."""
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"})
"""OpenSSL's reasons if the octets received are not TLS."""


def handshake_error(error: Exception) -> HandshakeError:
    """Return a `HandshakeError` with the reason for the user."""
    if isinstance(error, ssl.SSLCertVerificationError):
        # truststore raises it without the code where the system verifies the certificate.
        code = getattr(error, "verify_code", 0)
        reason = _VERIFY_REASONS.get(code, "This computer does not trust it.")
        return HandshakeError(reason, is_about_certificate=True)
    if isinstance(error, ssl.SSLError) and _is_truncation(error):
        return _connection_lost()
    reason = getattr(error, "reason", None) or ""
    if reason in _CERTIFICATE_ALERTS:
        return ClientCertificateError(_CERTIFICATE_ALERTS[reason], is_refused=True)
    if reason in _NOT_TLS or reason.startswith("RECORD_LAYER"):
        return HandshakeError("It answered without encryption.")
    if "VERSION" in reason or "PROTOCOL" in reason:
        return HandshakeError("It speaks only a version of TLS that is no longer safe.")
    if reason == "SSLV3_ALERT_HANDSHAKE_FAILURE":
        # Before TLS 1.3, a server without a certificate of its client reports it in this way, too.
        return HandshakeError(
            "It did not agree on an encryption, or it demands a certificate of yours."
        )
    return HandshakeError("It did not agree on an encryption.")
