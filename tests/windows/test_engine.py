"""The engine over winloop: requests, tunnels, many connections at a time, and resets."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from hashlib import sha256
from typing import ParamSpec

import pytest

from tests.windows.conftest import LONG, WindowsService
from tests.windows.upstream import ESTABLISHED, LAST_WORDS, body

GET = b"GET http://www.test.lan/bytes/%d HTTP/1.1\r\nHost: www.test.lan\r\n\r\n"
POST = b"POST http://www.test.lan/ HTTP/1.1\r\nHost: www.test.lan\r\nContent-Length: %d\r\n\r\n"
CONNECT = b"CONNECT www.test.lan:443 HTTP/1.1\r\nHost: www.test.lan:443\r\n\r\n"
P = ParamSpec("P")
RESET_ON_CLOSE = struct.pack("hh", 1, 0)
"""`struct linger` on Windows: linger for zero seconds."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A client's connection to the service."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def to(cls, service: WindowsService) -> "Connection":
        """Connect to the service."""
        return cls(*await asyncio.open_connection("127.0.0.1", service.port))

    async def request(self, octets: bytes) -> tuple[bytes, bytes]:
        """Send a request; return the status line and the body."""
        self.writer.write(octets)
        head = await self.reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        return head.partition(b"\r\n")[0], await self.reader.readexactly(size)

    async def tunnel(self) -> None:
        self.writer.write(CONNECT)
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(ESTABLISHED[:12])

    def reset(self) -> None:
        """Reset the connection, as when a program is killed."""
        end: socket.socket = self.writer.get_extra_info("socket")
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.writer.transport.abort()


def conversation(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run an asynchronous test in an event loop, for at most `LONG` seconds."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def limited() -> None:
            await asyncio.wait_for(test(*args, **kwargs), LONG)

        asyncio.run(limited())

    return run


@conversation
async def test_several_requests_on_a_connection_are_answered(service: WindowsService) -> None:
    connection = await Connection.to(service)
    for size in (0, 10, 1_000_000):
        status, answer = await connection.request(GET % size)
        assert status == b"HTTP/1.1 200 OK"
        assert answer == body(size)
    upload = body(3_000_000)
    status, answer = await connection.request(POST % len(upload) + upload)
    assert status == b"HTTP/1.1 200 OK"
    assert answer.decode() == sha256(upload).hexdigest()
    connection.writer.close()


@conversation
async def test_a_tunnel_passes_octets_both_ways_and_can_be_half_closed(
    service: WindowsService,
) -> None:
    connection = await Connection.to(service)
    await connection.tunnel()
    for size in (1, 100_000, 1_000_000):
        connection.writer.write(body(size))
        assert await connection.reader.readexactly(size) == body(size)
    connection.writer.write_eof()
    assert await connection.reader.read() == LAST_WORDS
    connection.writer.close()


@conversation
async def test_300_requests_at_a_time_are_answered(service: WindowsService) -> None:
    async def request(number: int) -> None:
        connection = await Connection.to(service)
        assert await connection.request(GET % number) == (b"HTTP/1.1 200 OK", body(number))
        connection.writer.close()

    await asyncio.gather(*map(request, range(300)))


@pytest.mark.parametrize("when", ["at once", "asked", "answered", "in a tunnel"])
@conversation
async def test_reset_connections_do_not_disturb_other_connections(
    service: WindowsService, when: str
) -> None:
    async def reset() -> None:
        connection = await Connection.to(service)
        match when:
            case "asked":
                connection.writer.write(GET % 1_000_000)
            case "answered":
                connection.writer.write(GET % 10_000_000)
                await connection.reader.readexactly(1000)
            case "in a tunnel":
                await connection.tunnel()
                connection.writer.write(body(1000))
                await connection.reader.readexactly(1)
        connection.reset()

    tunnel = await Connection.to(service)
    await tunnel.tunnel()
    for _ in range(5):
        await asyncio.gather(*(reset() for _ in range(10)))
        connection = await Connection.to(service)
        assert await connection.request(GET % 10) == (b"HTTP/1.1 200 OK", body(10))
        connection.writer.close()
        tunnel.writer.write(b"still there?")
        assert await tunnel.reader.readexactly(12) == b"still there?"
    tunnel.writer.close()
