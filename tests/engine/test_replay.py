"""Requests with content that must be sent again after a 407 (R-074, RFC 9110, section 15.5.8)."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from enum import Enum, auto
from hashlib import sha256

import pytest

from tests.engine.conftest import Start
from tests.engine.fakes import LOGIN, FakeDesk, office
from tests.engine.running import Running
from tests.engine.wire import Reply, get
from tests.support.exchange import Exchange, Reader
from tests.support.octets import digest, octets
from tests.support.scripted import challenge
from tests.support.server import Server
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.transfer.replay_buffer import MAX_REPLAYABLE
from trayproxy.profiles.profile import SignIn

URL = b"http://origin.test/"
CHALLENGE = challenge('Basic realm="corp"')
TOO_LARGE = MAX_REPLAYABLE + (1 << 20)


class When(Enum):
    """When an upstream refuses a request without a login, and what it does then."""

    AFTER_ALL = auto()
    AFTER_ALL_AND_CONTINUES = auto()
    AT_ONCE = auto()
    AT_ONCE_AND_CLOSES = auto()
    IN_THE_MIDDLE_AND_RESETS = auto()


class Office(Server):
    """An upstream that demands a login and answers with the SHA-256 of the content.

    Attributes:
        heads: Of each request, whether it had a login and whether it expected a 100.
    """

    def __init__(self, when: When) -> None:
        self.heads: list[tuple[bool, bool]] = []
        self._when = when
        super().__init__(self._answer)

    def _answer(self, connection: socket.socket) -> None:
        with Reader(connection) as reader:
            while head := reader.head():
                signed_in = bool(head.value("proxy-authorization"))
                self.heads.append((signed_in, bool(head.value("expect"))))
                exchange = Exchange(connection, head, reader)
                if signed_in:
                    exchange.respond(200, digest_of(exchange.body()))
                elif not self._refuse(exchange):
                    return

    def _refuse(self, exchange: Exchange) -> bool:
        if self._when is When.AFTER_ALL_AND_CONTINUES and exchange.head.value("expect"):
            exchange.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        match self._when:
            case When.AFTER_ALL | When.AFTER_ALL_AND_CONTINUES:
                digest_of(exchange.body())
            case When.IN_THE_MIDDLE_AND_RESETS:
                next(exchange.body())
        exchange.connection.sendall(CHALLENGE)
        if self._when is When.IN_THE_MIDDLE_AND_RESETS:
            # Closing with octets unread is a reset that overtakes nothing that was sent before.
            return False
        reads_all = self._when in (When.AFTER_ALL, When.AFTER_ALL_AND_CONTINUES)
        return reads_all or self._drain(exchange)

    def _drain(self, exchange: Exchange) -> bool:
        if self._when is When.AT_ONCE:
            # Holds the connection, reading nothing, until the engine gives it up.
            exchange.connection.recv(1, socket.MSG_WAITALL | socket.MSG_PEEK)
            while exchange.connection.recv(1 << 16):
                pass
        return False


def digest_of(pieces: Iterable[bytes]) -> bytes:
    found = sha256()
    for piece in pieces:
        found.update(piece)
    return found.hexdigest().encode()


def upload(engine: Running, length: int, *, in_chunks: bool) -> Reply:
    """Send content of that length and return the answer."""
    framing = b"Transfer-Encoding: chunked" if in_chunks else b"Content-Length: %d" % length
    with engine.connect() as client:
        client.try_to_send(get(URL, framing, method=b"POST"))
        client.try_to_send(*(framed(length) if in_chunks else octets(length)))
        return client.reply(b"POST")


def framed(length: int) -> Iterator[bytes]:
    for piece in octets(length):
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("in_chunks", [False, True], ids=["counted", "chunked"])
@pytest.mark.parametrize("length", [1_000, 70_000, (2 << 20) + 7])
def test_content_is_sent_again_whole_r_074(
    start: Start, stack: ExitStack, length: int, in_chunks: bool, when: When
) -> None:
    upstream = stack.enter_context(Office(when))
    engine = start(office(upstream.port), FakeDesk(LOGIN))
    reply = upload(engine, length, in_chunks=in_chunks)
    assert (reply.status, reply.body.decode()) == (200, digest(length))
    assert upstream.heads == [(False, False), (True, False)]


@pytest.mark.parametrize("method", [b"POST", b"PUT"])
@pytest.mark.parametrize("in_chunks", [False, True], ids=["counted", "chunked"])
@pytest.mark.parametrize("is_refused_by", ["the desk", "the profile", "no profile"])
def test_content_of_a_refused_request_is_not_taken_for_the_next_request_r_048(
    start: Start, stack: ExitStack, method: bytes, in_chunks: bool, is_refused_by: str
) -> None:
    """One answer, which says that it is the last one, and the end of the connection."""
    inside = b"GET http://other.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n"
    content = b"%x\r\n%b\r\n0\r\n\r\n" % (len(inside), inside) if in_chunks else inside
    framing = b"Transfer-Encoding: chunked" if in_chunks else b"Content-Length: %d" % len(inside)
    upstream = stack.enter_context(Office(When.AT_ONCE_AND_CLOSES))
    profile = office(upstream.port)
    if is_refused_by == "the profile":
        profile = replace(profile, sign_in=SignIn.NONE)
    engine = start(None if is_refused_by == "no profile" else profile)
    with engine.connect() as client:
        client.send(get(URL, framing, method=method))
        if is_refused_by == "the desk":
            engine.desk.wait_for_turns(1)
            engine.call(engine.desk.refuse_all)
        client.try_to_send(content)
        reply = client.reply(method)
        assert reply.status in (502, 503)
        assert reply.values(b"connection") == [b"close"]
        assert not client.more()
        assert client.octets.count(b"HTTP/1.1 ") == 1


def test_content_is_kept_while_a_person_types(start: Start, stack: ExitStack) -> None:
    upstream = stack.enter_context(Office(When.AFTER_ALL))
    engine = start(office(upstream.port))
    length = 3 << 20
    with engine.connect() as client:
        client.send(get(URL, b"Content-Length: %d" % length, method=b"POST"), *octets(length))
        engine.desk.wait_for_turns(1)
        engine.call(engine.desk.answer_all)
        assert client.reply(b"POST").body.decode() == digest(length)


@pytest.mark.parametrize("when", [When.AT_ONCE, When.AT_ONCE_AND_CLOSES])
def test_what_is_too_large_to_be_kept_asks_before_it_is_sent_r_074(
    start: Start, stack: ExitStack, when: When
) -> None:
    upstream = stack.enter_context(Office(when))
    engine = start(office(upstream.port), FakeDesk(LOGIN))
    reply = upload(engine, TOO_LARGE, in_chunks=False)
    assert (reply.status, reply.body.decode()) == (200, digest(TOO_LARGE))
    # A login that nobody has accepted yet may be refused: it asks once more.
    assert upstream.heads == [(False, True), (True, True)]
    assert reply.interim == ()


def test_what_is_too_large_goes_on_if_nobody_says_continue(start: Start, stack: ExitStack) -> None:
    """Proxies that know no 100 read on; those that want a sign-in refuse at the end."""

    def answer(connection: socket.socket) -> None:
        with Reader(connection) as reader:
            head = reader.head()
            assert head is not None
            length = int(head.value("content-length"))
            found = digest_of(reader.pieces(length))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + found)

    upstream = stack.enter_context(Server(answer))
    limits = EngineLimits(expect_continue_s=0.1)
    engine = start(office(upstream.port), FakeDesk(LOGIN), limits)
    reply = upload(engine, TOO_LARGE, in_chunks=False)
    assert (reply.status, reply.body.decode()) == (200, digest(TOO_LARGE))


def test_what_is_too_large_to_be_sent_again_ends_in_a_503_and_works_once_signed_in(
    start: Start, stack: ExitStack
) -> None:
    upstream = stack.enter_context(Office(When.AFTER_ALL))
    engine = start(office(upstream.port), FakeDesk(LOGIN))
    assert upload(engine, TOO_LARGE, in_chunks=True).status == 503
    assert upload(engine, 0, in_chunks=False).status == 200
    reply = upload(engine, TOO_LARGE, in_chunks=True)
    assert (reply.status, reply.body.decode()) == (200, digest(TOO_LARGE))


@pytest.mark.parametrize("when", [When.AFTER_ALL, When.AFTER_ALL_AND_CONTINUES])
def test_a_first_large_upload_is_signed_in_for_by_an_own_request_r_074(
    start: Start, stack: ExitStack, when: When
) -> None:
    """The proxy reads all of it before its 407, when it cannot be sent again any more."""
    upstream = stack.enter_context(Office(when))
    engine = start(office(upstream.port), FakeDesk(LOGIN), EngineLimits(expect_continue_s=0.2))
    reply = upload(engine, TOO_LARGE, in_chunks=False)
    assert (reply.status, reply.body.decode()) == (200, digest(TOO_LARGE))
    asked, own, signed, sent = upstream.heads
    assert (asked, own, signed, sent[0]) == ((False, True), (False, False), (True, False), True)
    assert reply.interim == ()
    assert len(engine.desk.acceptances) == 1
    assert len(engine.desk.turns) == 1


def test_a_large_upload_that_nobody_signs_in_for_is_not_sent(
    start: Start, stack: ExitStack
) -> None:
    upstream = stack.enter_context(Office(When.AFTER_ALL))
    engine = start(office(upstream.port), limits=EngineLimits(expect_continue_s=0.2))
    with engine.connect() as client:
        client.send(get(URL, b"Content-Length: %d" % TOO_LARGE, method=b"POST"))
        engine.desk.wait_for_turns(1)
        engine.call(engine.desk.refuse_all)
        assert client.reply(b"POST").status == 503
    assert engine.call(lambda: engine.engine.counters.sent) < 10_000


def test_after_an_upload_that_was_too_large_to_be_sent_again_the_login_is_known(
    start: Start, stack: ExitStack
) -> None:
    """How much there is in chunks is known too late; the second try succeeds."""
    upstream = stack.enter_context(Office(When.AFTER_ALL))
    engine = start(office(upstream.port), FakeDesk(LOGIN))
    refused = upload(engine, TOO_LARGE, in_chunks=True)
    assert refused.status == 503
    # Since TrayProxy has signed in by itself, nobody is sent to another page first.
    assert b"start the upload again" in refused.body
    assert b"Open any page" not in refused.body
    assert len(engine.desk.acceptances) == 1
    reply = upload(engine, TOO_LARGE, in_chunks=True)
    assert (reply.status, reply.body.decode()) == (200, digest(TOO_LARGE))


def test_an_upload_that_was_too_large_says_what_to_do_where_nothing_was_found_out(
    start: Start, stack: ExitStack
) -> None:
    def answer(connection: socket.socket) -> None:
        received = connection.recv(1 << 16)
        if not received.startswith(b"POST"):
            return  # The request of TrayProxy's own gets no answer.
        while not received.endswith(b"0\r\n\r\n"):
            received = received[-5:] + connection.recv(1 << 16)
        connection.sendall(CHALLENGE)

    upstream = stack.enter_context(Server(answer))
    engine = start(office(upstream.port), FakeDesk(LOGIN))
    refused = upload(engine, TOO_LARGE, in_chunks=True)
    assert refused.status == 503
    assert b"Open any page with this program first" in refused.body


def test_with_a_known_login_a_large_upload_goes_at_once(start: Start, stack: ExitStack) -> None:
    upstream = stack.enter_context(Office(When.AFTER_ALL))
    engine = start(office(upstream.port), FakeDesk(LOGIN, knows_it=True))
    reply = upload(engine, TOO_LARGE, in_chunks=False)
    assert reply.body.decode() == digest(TOO_LARGE)
    assert upstream.heads == [(True, False)]
