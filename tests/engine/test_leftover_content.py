"""Content behind the head of an answer to HEAD, which some proxies send with their 407."""

import socket
from collections.abc import Iterator

import pytest

from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.transfer.leftover_content import LeftoverContent
from trayproxy.http.response import parse_response

AT_MOST = 1000
NEXT = b"HTTP/1.1 200 OK\r\n\r\n"
LENGTH_5 = (b"Content-Length: 5",)
CHUNKED = (b"Transfer-Encoding: chunked",)


def leftover(
    *lines: bytes, method: bytes = b"HEAD", at_most: int = AT_MOST
) -> LeftoverContent | None:
    """Return what skips the content behind a 407 with these lines."""
    head = b"\r\n".join((b"HTTP/1.1 407 Proxy Authentication Required", *lines, b"", b""))
    return LeftoverContent.of(parse_response(head, method), method, at_most)


class Wire:
    """A connection of which a test is the far end."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.stream, self.far = SocketStream(near), far

    def skip(self, left: LeftoverContent, octets: bytes) -> bool:
        """Send octets, and return whether more of the content may come."""
        self.far.sendall(octets)
        if self.stream.inbox:
            self.stream.fill()  # As whoever waits for the next head does.
        return left.skip(self.stream)

    @property
    def rest(self) -> bytes:
        """What comes behind the content."""
        self.stream.fill()
        return bytes(self.stream.inbox)


@pytest.fixture
def wire() -> Iterator[Wire]:
    near, far = socket.socketpair()
    with near, far:
        yield Wire(near, far)


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (b"Content-Length: 0",),
        (b"Content-Length: %d" % (AT_MOST + 1),),
        (b"Content-Length: 5", b"Content-Length: 6"),
    ],
    ids=["until the end", "empty", "too long", "two lengths"],
)
def test_only_content_of_a_known_and_small_length_is_skipped(lines: tuple[bytes, ...]) -> None:
    assert leftover(*lines) is None


@pytest.mark.parametrize("lines", [LENGTH_5, (b"Content-Length: %d" % AT_MOST,), CHUNKED])
def test_only_an_answer_to_head_has_content_that_may_be_missing(lines: tuple[bytes, ...]) -> None:
    assert leftover(*lines) is not None
    assert leftover(*lines, method=b"GET") is None


@pytest.mark.parametrize(
    ("lines", "content"),
    [(LENGTH_5, b"12345"), (LENGTH_5, b"HTTPS"), (CHUNKED, b"5\r\n12345\r\n0\r\n\r\n")],
    ids=["length", "like a head", "chunks"],
)
def test_content_is_skipped_and_what_follows_is_left(
    wire: Wire, lines: tuple[bytes, ...], content: bytes
) -> None:
    left = leftover(*lines)
    assert left is not None
    assert not wire.skip(left, content + NEXT)
    assert wire.rest == NEXT


def test_content_may_come_octet_by_octet(wire: Wire) -> None:
    left = leftover(*LENGTH_5)
    assert left is not None
    assert [wire.skip(left, bytes((octet,))) for octet in b"HTTP1"] == [True] * 4 + [False]
    assert wire.rest == b""


def test_the_next_head_may_come_at_once(wire: Wire) -> None:
    left = leftover(*LENGTH_5)
    assert left is not None
    assert wire.skip(left, b"")
    assert [wire.skip(left, bytes((octet,))) for octet in b"HTTP/"] == [True] * 4 + [False]
    assert wire.rest == b"HTTP/"


def test_a_head_within_the_content_is_content(wire: Wire) -> None:
    left = leftover(b"Content-Length: %d" % (1 + len(NEXT)))
    assert left is not None
    assert wire.skip(left, b"x")
    assert not wire.skip(left, NEXT + NEXT)
    assert wire.rest == NEXT


def test_malformed_content_is_not_waited_for(wire: Wire) -> None:
    left = leftover(*CHUNKED)
    assert left is not None
    assert not wire.skip(left, b"no chunk\r\n")


def test_a_connection_that_broke_is_not_asked_for_more(wire: Wire) -> None:
    left = leftover(*LENGTH_5)
    assert left is not None
    wire.far.sendall(b"12")
    wire.stream.socket.close()
    assert left.skip(wire.stream)  # Its next reader finds out that it is closed.
