"""Content after the head of a response to HEAD, which some proxies send with their 407."""

import socket
from collections.abc import Iterator

import pytest

from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.upstream.leftover_content import LeftoverContent
from trayproxy.http.response import parse_response

AT_MOST = 1000
NEXT = b"HTTP/1.1 200 OK\r\n\r\n"
LENGTH_5 = (b"Content-Length: 5",)
CHUNKED = (b"Transfer-Encoding: chunked",)


def leftover(
    *lines: bytes, method: bytes = b"HEAD", at_most: int = AT_MOST
) -> LeftoverContent | None:
    """Return the `LeftoverContent` for a 407 with these field lines."""
    head = b"\r\n".join((b"HTTP/1.1 407 Proxy Authentication Required", *lines, b"", b""))
    return LeftoverContent.of(parse_response(head, method), method, at_most)


class HeadConnection:
    """A connection with a stream at one end and the test at the other end."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.stream, self.far = SocketStream(near), far

    def skip(self, leftover_content: LeftoverContent, octets: bytes) -> bool:
        """Send octets to the stream, and return whether more of the content may arrive."""
        self.far.sendall(octets)
        if self.stream.inbox:
            self.stream.fill()  # As `ResponseReader.read_head` does.
        return leftover_content.skip(self.stream)

    @property
    def rest(self) -> bytes:
        """The octets after the content."""
        self.stream.fill()
        return bytes(self.stream.inbox)


@pytest.fixture
def connection() -> Iterator[HeadConnection]:
    near, far = socket.socketpair()
    with near, far:
        yield HeadConnection(near, far)


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
def test_only_a_response_to_head_has_leftover_content(lines: tuple[bytes, ...]) -> None:
    assert leftover(*lines) is not None
    assert leftover(*lines, method=b"GET") is None


@pytest.mark.parametrize(
    ("lines", "content"),
    [(LENGTH_5, b"12345"), (LENGTH_5, b"HTTPS"), (CHUNKED, b"5\r\n12345\r\n0\r\n\r\n")],
    ids=["length", "like a head", "chunks"],
)
def test_content_is_skipped_and_the_next_head_is_left(
    connection: HeadConnection, lines: tuple[bytes, ...], content: bytes
) -> None:
    leftover_content = leftover(*lines)
    assert leftover_content is not None
    assert not connection.skip(leftover_content, content + NEXT)
    assert connection.rest == NEXT


def test_content_may_arrive_octet_by_octet(connection: HeadConnection) -> None:
    leftover_content = leftover(*LENGTH_5)
    assert leftover_content is not None
    assert [connection.skip(leftover_content, bytes((octet,))) for octet in b"HTTP1"] == [
        True
    ] * 4 + [False]
    assert connection.rest == b""


def test_the_next_head_may_arrive_without_content(connection: HeadConnection) -> None:
    leftover_content = leftover(*LENGTH_5)
    assert leftover_content is not None
    assert connection.skip(leftover_content, b"")
    assert [connection.skip(leftover_content, bytes((octet,))) for octet in b"HTTP/"] == [
        True
    ] * 4 + [False]
    assert connection.rest == b"HTTP/"


def test_a_head_within_the_content_is_content(connection: HeadConnection) -> None:
    leftover_content = leftover(b"Content-Length: %d" % (1 + len(NEXT)))
    assert leftover_content is not None
    assert connection.skip(leftover_content, b"x")
    assert not connection.skip(leftover_content, NEXT + NEXT)
    assert connection.rest == NEXT


def test_malformed_content_is_not_waited_for(connection: HeadConnection) -> None:
    leftover_content = leftover(*CHUNKED)
    assert leftover_content is not None
    assert not connection.skip(leftover_content, b"no chunk\r\n")


def test_a_closed_connection_raises_no_error(connection: HeadConnection) -> None:
    leftover_content = leftover(*LENGTH_5)
    assert leftover_content is not None
    connection.far.sendall(b"12")
    connection.stream.socket.close()
    assert leftover_content.skip(connection.stream)  # Its next reader finds out that it is closed.
