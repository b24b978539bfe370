"""Requests with content which is sent again after a 407 (R-074, RFC 9110, section 15.5.8)."""

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from enum import Enum, auto
from hashlib import sha256

import pytest

from tests.engine.conftest import Start
from tests.engine.fakes import LOGIN, FakeBroker, office
from tests.engine.running import Running
from tests.engine.wire import Reply, get
from tests.support.exchange import Exchange, Reader
from tests.support.octets import digest, octets
from tests.support.scripted_upstream import challenge
from tests.support.server import LoopbackServer
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.transfer.replay_buffer import MAX_REPLAYABLE
from trayproxy.profiles.profile import SignIn

URL = b"http://origin.test/"
CHALLENGE = challenge('Basic realm="corp"')
TOO_LARGE = MAX_REPLAYABLE + (1 << 20)


class RefusalTiming(Enum):
    """When an upstream refuses a request without a login, and how it continues."""

    AFTER_CONTENT = auto()
    AFTER_100_AND_CONTENT = auto()
    IMMEDIATELY = auto()
    IMMEDIATELY_AND_CLOSES = auto()
    IN_THE_MIDDLE_AND_RESETS = auto()


class HashingUpstream(LoopbackServer):
    """An upstream which requires a login and responds with the SHA-256 of the content.

    Attributes:
        heads: Two booleans per request: it had a login, and it expected a 100.
        head_status: The status of responses to HEAD with a login.
    """

    def __init__(self, timing: RefusalTiming, head_status: int) -> None:
        self.head_status = head_status
        self.heads: list[tuple[bool, bool]] = []
        self._timing = timing
        super().__init__(self._answer)

    def _answer(self, connection: socket.socket) -> None:
        with Reader(connection) as reader:
            while head := reader.head():
                signed_in = bool(head.value("proxy-authorization"))
                self.heads.append((signed_in, bool(head.value("expect"))))
                exchange = Exchange(connection, head, reader)
                if signed_in:
                    status = self.head_status if head.method == "HEAD" else 200
                    exchange.respond(status, digest_of(exchange.body()))
                elif not self._refuse(exchange):
                    return

    def _refuse(self, exchange: Exchange) -> bool:
        if self._timing is RefusalTiming.AFTER_100_AND_CONTENT and exchange.head.value("expect"):
            exchange.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        match self._timing:
            case RefusalTiming.AFTER_CONTENT | RefusalTiming.AFTER_100_AND_CONTENT:
                digest_of(exchange.body())
            case RefusalTiming.IN_THE_MIDDLE_AND_RESETS:
                next(exchange.body())
        exchange.connection.sendall(CHALLENGE)
        if self._timing is RefusalTiming.IN_THE_MIDDLE_AND_RESETS:
            # Closing with unread octets sends a reset after the response.
            return False
        reads_all = self._timing in (
            RefusalTiming.AFTER_CONTENT,
            RefusalTiming.AFTER_100_AND_CONTENT,
        )
        return reads_all or self._drain(exchange)

    def _drain(self, exchange: Exchange) -> bool:
        if self._timing is RefusalTiming.IMMEDIATELY:
            # Keeps the connection open without reading until the engine closes it.
            exchange.connection.recv(1, socket.MSG_WAITALL | socket.MSG_PEEK)
            while exchange.connection.recv(1 << 16):
                pass
        return False


StartHashing = Callable[..., tuple[Running, HashingUpstream]]


@pytest.fixture
def start_hashing(start: Start, stack: ExitStack) -> StartHashing:
    """Start an engine with a login in front of a `HashingUpstream`."""

    def start_hashing(
        timing: RefusalTiming,
        desk: FakeBroker | None = None,
        limits: EngineLimits | None = None,
        head_status: int = 200,
    ) -> tuple[Running, HashingUpstream]:
        upstream = stack.enter_context(HashingUpstream(timing, head_status))
        return start(office(upstream.port), desk or FakeBroker(LOGIN), limits), upstream

    return start_hashing


def digest_of(pieces: Iterable[bytes]) -> bytes:
    found = sha256()
    for piece in pieces:
        found.update(piece)
    return found.hexdigest().encode()


def upload(engine: Running, length: int, *, in_chunks: bool) -> Reply:
    """Send content of this length and return the response."""
    framing = b"Transfer-Encoding: chunked" if in_chunks else b"Content-Length: %d" % length
    with engine.connect() as client:
        client.try_to_send(get(URL, framing, method=b"POST"))
        client.try_to_send(*(framed(length) if in_chunks else octets(length)))
        return client.reply(b"POST")


def framed(length: int) -> Iterator[bytes]:
    for piece in octets(length):
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


@pytest.mark.parametrize("timing", RefusalTiming)
@pytest.mark.parametrize("in_chunks", [False, True], ids=["counted", "chunked"])
@pytest.mark.parametrize("length", [1_000, 70_000, (2 << 20) + 7])
def test_the_whole_content_is_sent_again_r_074(
    start_hashing: StartHashing, length: int, in_chunks: bool, timing: RefusalTiming
) -> None:
    engine, upstream = start_hashing(timing)
    reply = upload(engine, length, in_chunks=in_chunks)
    assert (reply.status, reply.body.decode()) == (200, digest(length))
    assert upstream.heads == [(False, False), (True, False)]


@pytest.mark.parametrize("method", [b"POST", b"PUT"])
@pytest.mark.parametrize("in_chunks", [False, True], ids=["counted", "chunked"])
@pytest.mark.parametrize("is_refused_by", ["the desk", "the profile", "no profile"])
def test_content_of_a_refused_request_is_not_parsed_as_the_next_request_r_048(
    start: Start, stack: ExitStack, method: bytes, in_chunks: bool, is_refused_by: str
) -> None:
    """There is one response with `Connection: close`, and then the end of the connection."""
    inside = b"GET http://other.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n"
    content = b"%x\r\n%b\r\n0\r\n\r\n" % (len(inside), inside) if in_chunks else inside
    framing = b"Transfer-Encoding: chunked" if in_chunks else b"Content-Length: %d" % len(inside)
    upstream = stack.enter_context(HashingUpstream(RefusalTiming.IMMEDIATELY_AND_CLOSES, 200))
    profile = office(upstream.port)
    if is_refused_by == "the profile":
        profile = replace(profile, sign_in=SignIn.NONE)
    engine = start(None if is_refused_by == "no profile" else profile)
    with engine.connect() as client:
        client.send(get(URL, framing, method=method))
        if is_refused_by == "the desk":
            engine.desk.wait_for_challenged(1)
            engine.call(engine.desk.refuse_all)
        client.try_to_send(content)
        reply = client.reply(method)
        assert reply.status in (502, 503)
        assert reply.values(b"connection") == [b"close"]
        assert not client.more()
        assert client.octets.count(b"HTTP/1.1 ") == 1


def test_content_is_kept_while_the_user_types_a_login(start_hashing: StartHashing) -> None:
    engine, _ = start_hashing(RefusalTiming.AFTER_CONTENT, FakeBroker())
    length = 3 << 20
    with engine.connect() as client:
        client.send(get(URL, b"Content-Length: %d" % length, method=b"POST"), *octets(length))
        engine.desk.wait_for_challenged(1)
        engine.call(engine.desk.release_all)
        assert client.reply(b"POST").body.decode() == digest(length)


@pytest.mark.parametrize(
    "timing", [RefusalTiming.IMMEDIATELY, RefusalTiming.IMMEDIATELY_AND_CLOSES]
)
def test_content_too_large_to_keep_waits_for_a_100_r_074(
    start_hashing: StartHashing, timing: RefusalTiming
) -> None:
    engine, upstream = start_hashing(timing)
    reply = upload(engine, TOO_LARGE, in_chunks=False)
    assert (reply.status, reply.body.decode()) == (200, digest(TOO_LARGE))
    # A login on trial may be refused, so the second upload expects a 100 as well.
    assert upstream.heads == [(False, True), (True, True)]
    assert reply.interim == ()


def test_content_too_large_to_keep_is_sent_after_a_timeout_without_a_100(
    start: Start, stack: ExitStack
) -> None:
    """Proxies without support for 100 read the content; those requiring a sign-in send a 407
    afterwards."""

    def answer(connection: socket.socket) -> None:
        with Reader(connection) as reader:
            head = reader.head()
            assert head is not None
            length = int(head.value("content-length"))
            found = digest_of(reader.pieces(length))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + found)

    upstream = stack.enter_context(LoopbackServer(answer))
    limits = EngineLimits(expect_continue_s=0.1)
    engine = start(office(upstream.port), FakeBroker(LOGIN), limits)
    reply = upload(engine, TOO_LARGE, in_chunks=False)
    assert (reply.status, reply.body.decode()) == (200, digest(TOO_LARGE))


def test_an_unrepeatable_upload_gets_a_503_and_succeeds_after_the_sign_in(
    start_hashing: StartHashing,
) -> None:
    engine, _ = start_hashing(RefusalTiming.AFTER_CONTENT)
    assert upload(engine, TOO_LARGE, in_chunks=True).status == 503
    assert upload(engine, 0, in_chunks=False).status == 200
    reply = upload(engine, TOO_LARGE, in_chunks=True)
    assert (reply.status, reply.body.decode()) == (200, digest(TOO_LARGE))


@pytest.mark.parametrize(
    "timing", [RefusalTiming.AFTER_CONTENT, RefusalTiming.AFTER_100_AND_CONTENT]
)
@pytest.mark.parametrize("head_status", [200, 404])
def test_an_own_request_signs_in_before_a_large_upload_r_074(
    start_hashing: StartHashing, timing: RefusalTiming, head_status: int
) -> None:
    """The proxy reads the whole content before its 407, and the content cannot be sent again
    then."""
    limits = EngineLimits(expect_continue_s=0.2)
    engine, upstream = start_hashing(timing, limits=limits, head_status=head_status)
    reply = upload(engine, TOO_LARGE, in_chunks=False)
    assert (reply.status, reply.body.decode()) == (200, digest(TOO_LARGE))
    asked, own, signed, sent = upstream.heads
    assert (asked, own, signed, sent[0]) == ((False, True), (False, False), (True, False), True)
    assert reply.interim == ()
    assert len(engine.desk.accepted) == 1
    # If the own request proves nothing, the upload carries the login on trial.
    assert len(engine.desk.unproved) == (head_status != 200)
    assert len(engine.desk.challenged_requests) == (1 if head_status == 200 else 2)


def test_a_large_upload_is_not_sent_if_the_sign_in_is_refused(start_hashing: StartHashing) -> None:
    engine, _ = start_hashing(
        RefusalTiming.AFTER_CONTENT, FakeBroker(), EngineLimits(expect_continue_s=0.2)
    )
    with engine.connect() as client:
        client.send(get(URL, b"Content-Length: %d" % TOO_LARGE, method=b"POST"))
        engine.desk.wait_for_challenged(1)
        engine.call(engine.desk.refuse_all)
        assert client.reply(b"POST").status == 503
    assert engine.call(lambda: engine.engine.context.counters.sent) < 10_000


def test_the_login_is_known_after_an_unrepeatable_upload(start_hashing: StartHashing) -> None:
    """The length of chunked content is known too late; the second try succeeds."""
    engine, _ = start_hashing(RefusalTiming.AFTER_CONTENT)
    refused = upload(engine, TOO_LARGE, in_chunks=True)
    assert refused.status == 503
    # TrayProxy has signed in with an own request, so the page does not ask to open another page.
    assert b"start the upload again" in refused.body
    assert b"Open any page" not in refused.body
    assert len(engine.desk.accepted) == 1
    reply = upload(engine, TOO_LARGE, in_chunks=True)
    assert (reply.status, reply.body.decode()) == (200, digest(TOO_LARGE))


def test_the_page_of_an_unrepeatable_upload_gives_advice_if_the_own_request_fails(
    start: Start, stack: ExitStack
) -> None:
    def answer(connection: socket.socket) -> None:
        received = connection.recv(1 << 16)
        if not received.startswith(b"POST"):
            return  # The own request gets no response.
        while not received.endswith(b"0\r\n\r\n"):
            received = received[-5:] + connection.recv(1 << 16)
        connection.sendall(CHALLENGE)

    upstream = stack.enter_context(LoopbackServer(answer))
    engine = start(office(upstream.port), FakeBroker(LOGIN))
    refused = upload(engine, TOO_LARGE, in_chunks=True)
    assert refused.status == 503
    assert b"Open any page with this program first" in refused.body


def test_a_large_upload_with_a_known_login_is_sent_immediately(start_hashing: StartHashing) -> None:
    engine, upstream = start_hashing(RefusalTiming.AFTER_CONTENT, FakeBroker(LOGIN, is_known=True))
    reply = upload(engine, TOO_LARGE, in_chunks=False)
    assert reply.body.decode() == digest(TOO_LARGE)
    assert upstream.heads == [(True, False)]
