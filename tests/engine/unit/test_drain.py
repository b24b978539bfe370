"""Tests for UpstreamConnection.drain: the content of a refusal before the next message (R-084)."""

import asyncio
from itertools import count
from typing import Any

import pytest

from trayproxy.engine.net.fd_task import TIMED_OUT, IoWait
from trayproxy.engine.upstream.pool import PoolKey, UpstreamConnection
from trayproxy.http.response import parse_response

DESCRIPTOR = 7
MAX_OCTETS = 8
MAX_S = 2.0
PAUSE = None
"""A pause of the upstream between two pieces of content."""


class PiecewiseStream:
    """A stream that receives content piece by piece, then the end of the connection."""

    descriptor = DESCRIPTOR

    def __init__(self, *pieces: bytes | None) -> None:
        self.inbox = bytearray()
        self._pieces = list(pieces)

    @property
    def ended(self) -> bool:
        return not self._pieces

    def fill(self) -> bool:
        piece = self._pieces.pop(0) if self._pieces else None
        self.inbox += piece or b""
        return bool(piece)

    def take_inbox(self) -> bytes:
        octets = bytes(self.inbox)
        self.inbox.clear()
        return octets


def drain(
    stream: PiecewiseStream, head: bytes, *, woken_by: int = DESCRIPTOR, tick_s: float = 0.0
) -> bool:
    """Return whether the connection can carry the next message after this response."""
    used: Any = stream
    connection = UpstreamConnection(used, PoolKey("http://proxy.test:3128"))
    ticks = count()

    async def pause(wait: IoWait) -> int:
        return woken_by

    response = parse_response(head, b"GET")
    draining = connection.drain(
        response, b"GET", pause, lambda: next(ticks) * tick_s, MAX_OCTETS, MAX_S, in_handshake=False
    )
    return asyncio.run(draining)


def refusal(length: int) -> bytes:
    return b"HTTP/1.1 407 Auth\r\nContent-Length: %d\r\n\r\n" % length


def test_content_in_several_pieces_is_read_to_its_end() -> None:
    stream = PiecewiseStream(b"ab", PAUSE, b"c", PAUSE, PAUSE, b"de", b"later")
    assert drain(stream, refusal(5))


@pytest.mark.parametrize(
    ("pieces", "length"),
    [
        ((b"ab", PAUSE), 5),
        ((b"abcdef", b"later"), 5),
        ((b"abcde", b"fghij", b"klmno", b"later"), 15),
        ((b"abcde",), 5),
    ],
    ids=["ends early", "octets after the content", "too long", "ends after the content"],
)
def test_no_message_follows_incomplete_or_unexpected_content(
    pieces: tuple[bytes | None, ...], length: int
) -> None:
    assert not drain(PiecewiseStream(*pieces), refusal(length))


@pytest.mark.parametrize(("woken_by", "tick_s"), [(TIMED_OUT, 0.0), (DESCRIPTOR, MAX_S)])
def test_no_message_follows_slow_content(woken_by: int, tick_s: float) -> None:
    stream = PiecewiseStream(b"ab", PAUSE, b"cde", b"later")
    assert not drain(stream, refusal(5), woken_by=woken_by, tick_s=tick_s)
