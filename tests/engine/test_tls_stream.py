"""`TlsStream` against Python's `ssl.SSLSocket`."""

import asyncio
import select
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import cast

import pytest

from tests.support.octets import octets
from tests.support.process_output import PATIENCE
from tests.support.tls import CertificateAuthority
from trayproxy.engine.net.handshake_error import HandshakeError
from trayproxy.engine.net.socket_stream import CHUNK
from trayproxy.engine.net.tls import (
    MAX_CA_FILE,
    TlsFiles,
    TlsStream,
    TrustStore,
    handshake_error,
    private_ca_context,
    system_context,
)

HOST = "proxy.test.lan"


class TlsPair:
    """Both ends of a connection: a `TlsStream` and a blocking `ssl.SSLSocket`.

    Attributes:
        client: The `TlsStream`, after the handshake.
        server: The `ssl.SSLSocket`.
    """

    def __init__(self, authority: CertificateAuthority, version: ssl.TLSVersion) -> None:
        near, far = socket.socketpair()
        far.settimeout(PATIENCE)
        context = authority.issue(HOST).context()
        context.maximum_version = version
        self.client = TlsStream.start(near, private_ca_context(authority.pem.read_bytes()), HOST)
        handshaking = Thread(target=lambda: self._shake(context, far))
        handshaking.start()
        do_handshake(self.client)
        handshaking.join(PATIENCE)

    def _shake(self, context: ssl.SSLContext, far: socket.socket) -> None:
        self.server = context.wrap_socket(far, server_side=True, suppress_ragged_eofs=False)

    def close(self) -> None:
        self.client.close()
        self.server.close()

    def receive(self) -> bytes:
        """Return the next octets received by the client; empty at the end of the stream."""
        while True:
            data = self.client.receive()
            if data is not None:
                return data
            assert select.select([self.client.socket], [], [], PATIENCE)[0], "nothing came"

    def receive_all(self) -> bytes:
        """Return all octets received by the client until the end of the stream."""
        pieces = []
        while not self.client.ended:
            pieces.append(self.receive())
        return b"".join(pieces)


def do_handshake(stream: TlsStream) -> None:
    while not stream.do_handshake():
        writing = [stream.socket] if stream.is_blocked else []
        assert any(select.select([stream.socket], writing, [], PATIENCE)), "nothing came"


@pytest.fixture(
    params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: str(version.name)
)
def pair(authority: CertificateAuthority, request: pytest.FixtureRequest) -> Iterator[TlsPair]:
    made = TlsPair(authority, request.param)
    yield made
    made.close()


def test_octets_pass_both_ways(pair: TlsPair) -> None:
    assert pair.client.send(b"question") == 8
    assert pair.server.recv(100) == b"question"
    pair.server.sendall(b"answer")
    assert pair.receive() == b"answer"
    assert pair.client.receive() is None


def test_receive_returns_all_decrypted_octets(pair: TlsPair) -> None:
    """The event loop waits for the socket only: buffered octets would never be noticed."""
    for piece in octets(CHUNK // 2):
        pair.server.sendall(piece)
    got = b""
    while True:
        select.select([pair.client.socket], [], [], 0)
        data = pair.client.receive()
        if data is None:
            break
        assert len(data) <= CHUNK
        got += data
    assert got == b"".join(octets(CHUNK // 2))


def test_bulk_data_passes_although_the_kernel_accepts_it_in_parts(pair: TlsPair) -> None:
    length = 3_000_000
    taken: list[bytes] = []
    is_full = Event()
    # Smaller than the data: the kernel refuses octets, since the reader starts only afterwards.
    pair.client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    pair.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)

    def read() -> None:
        assert is_full.wait(PATIENCE)
        left = length
        while left:
            data = pair.server.recv(1 << 16)
            taken.append(data)
            left -= len(data)

    reading = Thread(target=read)
    reading.start()
    refusals = 0
    for block in octets(length):
        rest = memoryview(block)
        while rest:
            sent = pair.client.send(rest)
            rest = rest[sent:]
            if not sent:
                refusals += 1
                is_full.set()
                assert select.select([], [pair.client.socket], [], PATIENCE)[1], "it does not drain"
    reading.join(PATIENCE)
    assert b"".join(taken) == b"".join(octets(length))
    assert refusals


def test_octets_count_as_sent_only_when_the_kernel_has_accepted_them(pair: TlsPair) -> None:
    """Otherwise the caller would not wait for the socket, and the rest would stay in the buffer."""
    block = b"x" * CHUNK
    accepted = 0
    while sent := pair.client.send(block):
        accepted += sent
    assert pair.client.is_blocked
    got = 0
    while got < accepted + CHUNK:
        got += len(pair.server.recv(1 << 16))
        if not sent:
            sent = pair.client.send(block)
    assert sent == CHUNK
    assert not pair.client.is_blocked


def test_a_half_close_ends_one_direction_only(pair: TlsPair) -> None:
    pair.client.send(b"all")
    pair.client.shutdown_write()
    assert pair.server.recv(100) == b"all"
    assert pair.server.recv(100) == b""  # A proper end: a ragged one raises here.
    pair.server.sendall(b"the answer")
    assert pair.receive() == b"the answer"


def test_a_half_close_of_the_peer_leaves_the_other_direction_open(pair: TlsPair) -> None:
    pair.server.sendall(b"last")
    pair.server.settimeout(0.0)
    with suppress(ssl.SSLWantReadError):
        pair.server.unwrap()  # Sends close_notify without waiting for that of the peer.
    pair.server.settimeout(PATIENCE)
    assert pair.receive_all() == b"last"
    assert not pair.client.truncated
    assert pair.client.send(b"more") == 4
    pair.server.close()  # A reset, because octets are unread: it takes nothing back.
    assert pair.client.receive() == b""


def test_an_end_without_close_notify_is_a_truncation(pair: TlsPair) -> None:
    pair.server.sendall(b"half of")
    socket.socket.shutdown(pair.server, socket.SHUT_RDWR)
    assert pair.receive_all() == b"half of"
    assert pair.client.truncated


def new_context_of_debian_12(protocol: int) -> ssl.SSLContext:
    """Return a context as created by Python 3.11.2, where OpenSSL ignores truncations."""
    context = ssl.SSLContext(protocol)
    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    return context


def test_an_end_without_close_notify_is_a_truncation_where_python_ignores_it(
    authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = SimpleNamespace(**{**vars(ssl), "SSLContext": new_context_of_debian_12})
    monkeypatch.setattr("trayproxy.engine.net.tls.ssl", module)
    pair = TlsPair(authority, ssl.TLSVersion.TLSv1_3)
    pair.server.sendall(b"half of")
    socket.socket.shutdown(pair.server, socket.SHUT_RDWR)
    assert pair.receive_all() == b"half of"
    assert pair.client.truncated
    pair.close()


def test_the_system_context_does_not_ignore_truncations(monkeypatch: pytest.MonkeyPatch) -> None:
    import truststore

    def make(protocol: int) -> truststore.SSLContext:
        context = truststore.SSLContext(protocol)
        context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
        return context

    module = SimpleNamespace(SSLContext=make)
    monkeypatch.setitem(sys.modules, "truststore", module)
    assert not system_context().options & ssl.OP_IGNORE_UNEXPECTED_EOF


@pytest.mark.parametrize(
    ("mode", "checks_host", "count", "is_inner"),
    [
        (ssl.CERT_REQUIRED, True, 150, True),
        # The system itself verifies the certificate, or no authority is loaded yet.
        (ssl.CERT_NONE, True, 150, False),
        (ssl.CERT_REQUIRED, False, 150, False),
        (ssl.CERT_REQUIRED, True, 0, False),
    ],
)
def test_the_inner_context_of_truststore_is_used_where_openssl_verifies(
    monkeypatch: pytest.MonkeyPatch,
    mode: ssl.VerifyMode,
    checks_host: bool,
    count: int,
    is_inner: bool,
) -> None:
    inner = SimpleNamespace(
        verify_mode=mode, check_hostname=checks_host, cert_store_stats=lambda: {"x509_ca": count}
    )
    outer = SimpleNamespace(
        options=0,
        set_alpn_protocols=lambda names: None,
        wrap_bio=lambda *buffers, server_hostname: SimpleNamespace(context=inner),
    )
    module = SimpleNamespace(SSLContext=lambda protocol: outer)
    monkeypatch.setitem(sys.modules, "truststore", module)
    context: object = system_context()
    assert context is (inner if is_inner else outer)


def unexpected_end() -> ssl.SSLError:
    """Return the error raised by Python 3.11.2 on OpenSSL 3 in place of `ssl.SSLEOFError`."""
    error = ssl.SSLError(1, "[SSL: UNEXPECTED_EOF_WHILE_READING] unexpected eof while reading")
    error.reason = "UNEXPECTED_EOF_WHILE_READING"
    return error


def test_a_truncation_is_recognized_by_its_reason(pair: TlsPair) -> None:
    def read(length: int) -> bytes:
        raise unexpected_end()

    pair.client.tls = cast(ssl.SSLObject, SimpleNamespace(read=read, unwrap=unexpected_end))
    pair.server.sendall(b"a record")
    assert pair.receive_all() == b""
    assert pair.client.truncated


def test_a_truncated_handshake_is_a_lost_connection() -> None:
    assert handshake_error(unexpected_end()).is_connection_lost


UNKNOWN = "It is signed by an authority that this computer does not know."
UNENCRYPTED = "It answered without encryption."
OLD = "It speaks only a version of TLS that is no longer safe."
NO_AGREEMENT = "It did not agree on an encryption."


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (9, "It is not valid yet. Is the clock of this computer right?"),
        (10, "It has expired."),
        (18, "The proxy has signed it itself."),
        *((code, UNKNOWN) for code in (19, 20, 21)),
        (23, "It was revoked."),
        (62, "It was issued for another name."),
        (64, "It was issued for another address."),
        (1, "This computer does not trust it."),
        # The system verifies the certificate, and gives no code.
        (None, "This computer does not trust it."),
        *((name, UNENCRYPTED) for name in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST")),
        *((name, UNENCRYPTED) for name in ("PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")),
        *((name, OLD) for name in ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_INTERNAL_VERSION")),
        ("", NO_AGREEMENT),
        (
            "SSLV3_ALERT_HANDSHAKE_FAILURE",
            "It did not agree on an encryption, or it demands a certificate of yours.",
        ),
    ],
)
def test_a_failed_handshake_is_explained_by_the_error_of_openssl(
    cause: int | str | None, expected: str
) -> None:
    is_certificate = not isinstance(cause, str)
    error = ssl.SSLCertVerificationError() if is_certificate else ssl.SSLError()
    if isinstance(cause, int):
        error.verify_code = cause  # type: ignore[attr-defined]
    elif cause is not None:
        error.reason = cause
    failure = handshake_error(error)
    assert (failure.reason, failure.is_certificate_error) == (expected, is_certificate)
    assert not failure.is_connection_lost


def test_an_error_of_another_kind_is_no_agreement() -> None:
    assert handshake_error(ValueError()).reason == NO_AGREEMENT


def test_close_sends_close_notify(pair: TlsPair) -> None:
    pair.client.close()
    assert pair.server.recv(100) == b""


def test_a_reset_sends_no_close_notify(pair: TlsPair) -> None:
    pair.client.reset_on_close()
    pair.client.close()
    # OpenSSL 3.5 sends an alert after such an end, which this closed socket refuses.
    with pytest.raises(OSError, match=r"EOF|reset|Broken pipe"):
        pair.server.recv(100)


def test_session_tickets_leave_the_connection_quiet_and_a_response_does_not(pair: TlsPair) -> None:
    if pair.server.version() == "TLSv1.3":
        assert select.select([pair.client.socket], [], [], PATIENCE)[0], "no ticket came"
    assert pair.client.is_quiet()
    assert not select.select([pair.client.socket], [], [], 0)[0]
    pair.server.sendall(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert select.select([pair.client.socket], [], [], PATIENCE)[0]
    assert not pair.client.is_quiet()
    assert not pair.client.is_quiet()  # The response is unread.
    assert pair.client.take_inbox() == b"HTTP/1.1 408 Request Timeout\r\n\r\n"


def test_a_tampered_record_raises(pair: TlsPair) -> None:
    raw = socket.socket(fileno=pair.server.detach())
    raw.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    pair.server = raw  # type: ignore[assignment]  # Only closed from here on.
    with pytest.raises(ConnectionResetError):
        pair.receive()
    assert not pair.client.is_quiet()


def test_version_and_issuer(pair: TlsPair) -> None:
    assert pair.client.version == (pair.client.tls.version() or "").replace("TLSv", "TLS ")
    assert pair.client.issuer == "TrayProxy test authority"


@pytest.mark.parametrize("host", [HOST, HOST + "."])
def test_a_final_dot_of_the_host_is_not_part_of_its_name_in_tls(
    authority: CertificateAuthority, host: str
) -> None:
    """RFC 6066, section 3."""
    near, far = socket.socketpair()
    with near, far:
        stream = TlsStream(near, private_ca_context(authority.pem.read_bytes()), host)
        assert stream.tls.server_hostname == HOST


# --- failed handshakes ---------------------------------------------------------------------------


def answer_without_tls(far: socket.socket) -> None:
    far.recv(1 << 16)
    far.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    far.recv(1 << 16)


def close_after_hello(far: socket.socket) -> None:
    far.recv(1 << 16)


@pytest.mark.parametrize(
    ("peer", "reason", "is_connection_lost"),
    [
        (answer_without_tls, "without encryption", False),
        (close_after_hello, "closed the connection", True),
    ],
    ids=["a plain answer", "no answer"],
)
def test_a_failed_handshake_has_a_reason(
    authority: CertificateAuthority,
    peer: Callable[[socket.socket], None],
    reason: str,
    is_connection_lost: bool,
) -> None:
    near, far = socket.socketpair()

    def play() -> None:
        with far:
            peer(far)

    stream = TlsStream.start(near, private_ca_context(authority.pem.read_bytes()), HOST)
    playing = Thread(target=play)
    playing.start()
    with pytest.raises(HandshakeError, match=reason) as failed:
        do_handshake(stream)
    stream.close()
    playing.join(PATIENCE)
    assert failed.value.is_connection_lost is is_connection_lost
    assert not failed.value.is_certificate_error


def test_a_handshake_with_a_closed_peer_has_a_reason(authority: CertificateAuthority) -> None:
    near, far = socket.socketpair()
    far.close()
    with near, pytest.raises(HandshakeError, match="closed") as failed:
        TlsStream.start(near, private_ca_context(authority.pem.read_bytes()), HOST)
    assert failed.value.is_connection_lost


@pytest.mark.parametrize("octets", [b"", b"no certificate", b"\xff\x00", b"x" * (4 << 20) + b"y"])
def test_a_ca_file_without_certificates_raises(octets: bytes) -> None:
    with pytest.raises(HandshakeError, match="contains no certificate"):
        private_ca_context(octets)


@pytest.mark.parametrize("form", ["PEM", "PEM with remarks", "DER"])
def test_a_ca_file_may_be_pem_or_der(authority: CertificateAuthority, form: str) -> None:
    text = authority.pem.read_bytes()
    octets = {
        "PEM": text,
        "PEM with remarks": "Zertifikat für München\r\n".encode() + text,
        "DER": ssl.PEM_cert_to_DER_cert(text.decode()),
    }[form]
    assert private_ca_context(octets).cert_store_stats()["x509_ca"] == 1


def test_the_context_requires_tls_1_2_and_verification(authority: CertificateAuthority) -> None:
    context = private_ca_context(authority.pem.read_bytes())
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_ca_file_above_the_limit_is_rejected(
    authority: CertificateAuthority, tmp_path: Path, beyond: int
) -> None:
    """A file is not read in part: the octets after the limit could be anything."""
    octets = authority.pem.read_bytes().ljust(MAX_CA_FILE + beyond, b"\n")
    path = tmp_path / "authorities.pem"
    path.write_bytes(octets)
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        reading = TrustStore(loop).load(TlsFiles(str(path)))
        if beyond:
            with pytest.raises(HandshakeError):
                loop.run_until_complete(reading)
        else:
            assert loop.run_until_complete(reading).cert_store_stats()["x509_ca"] == 1
