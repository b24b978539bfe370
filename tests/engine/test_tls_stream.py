"""Tests for trayproxy.engine.net.tls: one end of TLS against Python's own."""

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

from tests.support.lines import PATIENCE
from tests.support.octets import octets
from tests.support.tls import Authority
from trayproxy.engine.net.handshake_error import HandshakeError
from trayproxy.engine.net.socket_stream import CHUNK
from trayproxy.engine.net.tls import (
    MAX_CA_FILE,
    TlsStream,
    TrustStore,
    handshake_error,
    private_ca_context,
    system_context,
)

HOST = "proxy.test.lan"


class Pair:
    """Both ends of a connection: ours, and a blocking one of Python's.

    Attributes:
        ours: Has shaken hands.
        theirs: The other end.
    """

    def __init__(self, authority: Authority, version: ssl.TLSVersion) -> None:
        near, far = socket.socketpair()
        far.settimeout(PATIENCE)
        context = authority.issue(HOST).context()
        context.maximum_version = version
        self.ours = TlsStream.start(near, private_ca_context(authority.pem.read_bytes()), HOST)
        shaking = Thread(target=lambda: self._shake(context, far))
        shaking.start()
        shake_hands(self.ours)
        shaking.join(PATIENCE)

    def _shake(self, context: ssl.SSLContext, far: socket.socket) -> None:
        self.theirs = context.wrap_socket(far, server_side=True, suppress_ragged_eofs=False)

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()

    def receive(self) -> bytes:
        """Return what comes next at our end; empty at the end."""
        while True:
            data = self.ours.receive()
            if data is not None:
                return data
            assert select.select([self.ours.socket], [], [], PATIENCE)[0], "nothing came"

    def receive_all(self) -> bytes:
        """Return what comes at our end until it has ended."""
        pieces = []
        while not self.ours.ended:
            pieces.append(self.receive())
        return b"".join(pieces)


def shake_hands(stream: TlsStream) -> None:
    while not stream.do_handshake():
        writing = [stream.socket] if stream.is_blocked else []
        assert any(select.select([stream.socket], writing, [], PATIENCE)), "nothing came"


@pytest.fixture(
    params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: str(version.name)
)
def pair(authority: Authority, request: pytest.FixtureRequest) -> Iterator[Pair]:
    made = Pair(authority, request.param)
    yield made
    made.close()


def test_octets_pass_both_ways(pair: Pair) -> None:
    assert pair.ours.send(b"question") == 8
    assert pair.theirs.recv(100) == b"question"
    pair.theirs.sendall(b"answer")
    assert pair.receive() == b"answer"
    assert pair.ours.receive() is None


def test_all_that_has_come_is_returned_at_once(pair: Pair) -> None:
    """The loop watches the socket: octets that lie inside would never be noticed."""
    for piece in octets(CHUNK // 2):
        pair.theirs.sendall(piece)
    got = b""
    while True:
        select.select([pair.ours.socket], [], [], 0)
        data = pair.ours.receive()
        if data is None:
            break
        assert len(data) <= CHUNK
        got += data
    assert got == b"".join(octets(CHUNK // 2))


def test_a_bulk_passes_although_the_kernel_takes_it_in_parts(pair: Pair) -> None:
    length = 3_000_000
    taken: list[bytes] = []
    is_full = Event()
    # Less than the bulk: the kernel refuses, since nobody reads before it has.
    pair.ours.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    pair.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)

    def read() -> None:
        assert is_full.wait(PATIENCE)
        left = length
        while left:
            data = pair.theirs.recv(1 << 16)
            taken.append(data)
            left -= len(data)

    reading = Thread(target=read)
    reading.start()
    refusals = 0
    for block in octets(length):
        rest = memoryview(block)
        while rest:
            sent = pair.ours.send(rest)
            rest = rest[sent:]
            if not sent:
                refusals += 1
                is_full.set()
                assert select.select([], [pair.ours.socket], [], PATIENCE)[1], "it does not drain"
    reading.join(PATIENCE)
    assert b"".join(taken) == b"".join(octets(length))
    assert refusals


def test_nothing_counts_as_sent_before_the_kernel_has_it(pair: Pair) -> None:
    """Whoever believes that all is sent waits for no writing, and the rest would stay here."""
    block = b"x" * CHUNK
    accepted = 0
    while sent := pair.ours.send(block):
        accepted += sent
    assert pair.ours.is_blocked
    got = 0
    while got < accepted + CHUNK:
        got += len(pair.theirs.recv(1 << 16))
        if not sent:
            sent = pair.ours.send(block)
    assert sent == CHUNK
    assert not pair.ours.is_blocked


def test_a_half_close_ends_one_direction_only(pair: Pair) -> None:
    pair.ours.send(b"all")
    pair.ours.shutdown_write()
    assert pair.theirs.recv(100) == b"all"
    assert pair.theirs.recv(100) == b""  # A proper end: a ragged one raises here.
    pair.theirs.sendall(b"the answer")
    assert pair.receive() == b"the answer"


def test_their_half_close_is_an_end_and_ours_goes_on(pair: Pair) -> None:
    pair.theirs.sendall(b"last")
    pair.theirs.settimeout(0.0)
    with suppress(ssl.SSLWantReadError):
        pair.theirs.unwrap()  # Says goodbye, and cannot wait for ours.
    pair.theirs.settimeout(PATIENCE)
    assert pair.receive_all() == b"last"
    assert not pair.ours.truncated
    assert pair.ours.send(b"more") == 4


def test_an_end_without_goodbye_is_known_as_such(pair: Pair) -> None:
    pair.theirs.sendall(b"half of")
    socket.socket.shutdown(pair.theirs, socket.SHUT_RDWR)
    assert pair.receive_all() == b"half of"
    assert pair.ours.truncated


def new_context_of_debian_12(protocol: int) -> ssl.SSLContext:
    """Return a context as Python 3.11.2 makes it: OpenSSL takes a truncation for a proper end."""
    context = ssl.SSLContext(protocol)
    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    return context


def test_an_end_without_goodbye_is_known_although_python_ignores_it(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = SimpleNamespace(**{**vars(ssl), "SSLContext": new_context_of_debian_12})
    monkeypatch.setattr("trayproxy.engine.net.tls.ssl", module)
    pair = Pair(authority, ssl.TLSVersion.TLSv1_3)
    pair.theirs.sendall(b"half of")
    socket.socket.shutdown(pair.theirs, socket.SHUT_RDWR)
    assert pair.receive_all() == b"half of"
    assert pair.ours.truncated
    pair.close()


def test_the_systems_authorities_do_not_ignore_it_either(monkeypatch: pytest.MonkeyPatch) -> None:
    import truststore

    def make(protocol: int) -> truststore.SSLContext:
        context = truststore.SSLContext(protocol)
        context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
        return context

    module = SimpleNamespace(SSLContext=make)
    monkeypatch.setitem(sys.modules, "truststore", module)
    assert not system_context().options & ssl.OP_IGNORE_UNEXPECTED_EOF


def unexpected_end() -> ssl.SSLError:
    """Return what Python 3.11.2 raises on OpenSSL 3 in place of an `ssl.SSLEOFError`."""
    error = ssl.SSLError(1, "[SSL: UNEXPECTED_EOF_WHILE_READING] unexpected eof while reading")
    error.reason = "UNEXPECTED_EOF_WHILE_READING"
    return error


def test_an_end_without_goodbye_is_known_by_its_reason(pair: Pair) -> None:
    def read(length: int) -> bytes:
        raise unexpected_end()

    pair.ours.tls = cast(ssl.SSLObject, SimpleNamespace(read=read, unwrap=unexpected_end))
    pair.theirs.sendall(b"a record")
    assert pair.receive_all() == b""
    assert pair.ours.truncated


def test_a_handshake_that_ends_so_is_told_as_a_connection_that_was_closed() -> None:
    assert handshake_error(unexpected_end()).is_connection_lost


def test_closing_says_goodbye(pair: Pair) -> None:
    pair.ours.close()
    assert pair.theirs.recv(100) == b""


def test_cutting_says_none(pair: Pair) -> None:
    pair.ours.reset_on_close()
    pair.ours.close()
    # OpenSSL 3.5 sends an alert after such an end, which this closed socket refuses.
    with pytest.raises(OSError, match=r"EOF|reset|Broken pipe"):
        pair.theirs.recv(100)


def test_a_ticket_leaves_the_connection_quiet_and_a_word_does_not(pair: Pair) -> None:
    if pair.theirs.version() == "TLSv1.3":
        assert select.select([pair.ours.socket], [], [], PATIENCE)[0], "no ticket came"
    assert pair.ours.is_quiet()
    assert not select.select([pair.ours.socket], [], [], 0)[0]
    pair.theirs.sendall(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert select.select([pair.ours.socket], [], [], PATIENCE)[0]
    assert not pair.ours.is_quiet()
    assert pair.ours.take_inbox() == b"HTTP/1.1 408 Request Timeout\r\n\r\n"


def test_what_was_changed_on_the_way_is_an_error(pair: Pair) -> None:
    raw = socket.socket(fileno=pair.theirs.detach())
    raw.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    pair.theirs = raw  # type: ignore[assignment]  # Only closed from here on.
    with pytest.raises(ConnectionResetError):
        pair.receive()


def test_it_tells_who_it_talks_to(pair: Pair) -> None:
    assert pair.ours.version == (pair.ours.tls.version() or "").replace("TLSv", "TLS ")
    assert pair.ours.issuer == "TrayProxy test authority"


# --- whom it does not talk to --------------------------------------------------------------------


def plain_answer(far: socket.socket) -> None:
    far.recv(1 << 16)
    far.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    far.recv(1 << 16)


def closing(far: socket.socket) -> None:
    far.recv(1 << 16)


@pytest.mark.parametrize(
    ("peer", "reason", "is_gone"),
    [(plain_answer, "without encryption", False), (closing, "closed the connection", True)],
    ids=["a plain answer", "no answer"],
)
def test_no_handshake_has_a_reason(
    authority: Authority, peer: Callable[[socket.socket], None], reason: str, is_gone: bool
) -> None:
    near, far = socket.socketpair()

    def play() -> None:
        with far:
            peer(far)

    stream = TlsStream.start(near, private_ca_context(authority.pem.read_bytes()), HOST)
    playing = Thread(target=play)
    playing.start()
    with pytest.raises(HandshakeError, match=reason) as failed:
        shake_hands(stream)
    stream.close()
    playing.join(PATIENCE)
    assert failed.value.is_connection_lost is is_gone
    assert not failed.value.is_certificate_error


def test_a_peer_that_is_gone_already_has_a_reason_too(authority: Authority) -> None:
    near, far = socket.socketpair()
    far.close()
    with near, pytest.raises(HandshakeError, match="closed") as failed:
        TlsStream.start(near, private_ca_context(authority.pem.read_bytes()), HOST)
    assert failed.value.is_connection_lost


@pytest.mark.parametrize("octets", [b"", b"no certificate", b"\xff\x00", b"x" * (4 << 20) + b"y"])
def test_a_file_without_certificates_is_of_no_use(octets: bytes) -> None:
    with pytest.raises(HandshakeError, match="has none in it"):
        private_ca_context(octets)


@pytest.mark.parametrize("form", ["PEM", "PEM with remarks", "DER"])
def test_an_authority_is_read_in_the_forms_that_companies_give_out(
    authority: Authority, form: str
) -> None:
    text = authority.pem.read_bytes()
    octets = {
        "PEM": text,
        "PEM with remarks": "Zertifikat für München\r\n".encode() + text,
        "DER": ssl.PEM_cert_to_DER_cert(text.decode()),
    }[form]
    assert private_ca_context(octets).cert_store_stats()["x509_ca"] == 1


def test_old_versions_of_tls_are_not_spoken(authority: Authority) -> None:
    context = private_ca_context(authority.pem.read_bytes())
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_file_of_certificates_has_a_largest_size(
    authority: Authority, tmp_path: Path, beyond: int
) -> None:
    """What is behind the limit could be anything, so it is not read as if it ended there."""
    octets = authority.pem.read_bytes().ljust(MAX_CA_FILE + beyond, b"\n")
    path = tmp_path / "authorities.pem"
    path.write_bytes(octets)
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        reading = TrustStore(loop).load(str(path))
        if beyond:
            with pytest.raises(HandshakeError):
                loop.run_until_complete(reading)
        else:
            assert loop.run_until_complete(reading).cert_store_stats()["x509_ca"] == 1
