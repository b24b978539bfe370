"""A minimal HTTP/1.1 implementation for the demonstration (RFC 9112), on asyncio streams.

It handles well-formed messages without bodies, as the demonstration sends them. It shares no code
with the proxy: a mistake in one implementation must not hide the same mistake in the other.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"

HEAD_LIMIT = 64 * 1024
"""The maximum size of a head in octets; a larger head closes the connection."""

_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class DemoStream:
    """The two halves of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def close(self) -> None:
        """Close the connection without waiting."""
        self.writer.close()


@dataclass(frozen=True, slots=True)
class DemoRequestHead:
    """The head of a request, as received except for the names of the fields in lower case."""

    method: str
    target: str
    fields: tuple[tuple[str, str], ...]

    def value(self, name: str) -> str:
        """Return the value of the first field with a name (lower case), empty if there is no such
        field."""
        return next((value for field, value in self.fields if field == name), "")

    @property
    def has_body(self) -> bool:
        """True if a body follows the head (RFC 9112, section 6)."""
        return self.value("content-length") not in ("", "0") or bool(
            self.value("transfer-encoding")
        )


async def read_head(reader: asyncio.StreamReader) -> DemoRequestHead | None:
    """Return the head of the next request; None at the end of the stream or if the head is
    malformed."""
    try:
        octets = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        return None
    first, *lines = octets.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    match first.split(" "):
        case [method, target, "HTTP/1.1" | "HTTP/1.0"]:
            return DemoRequestHead(method, target, tuple(_field(line) for line in lines))
        case _:
            return None


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.lower(), value.strip(" \t")


def write_response(
    status: str, body: str = "", fields: Iterable[str] = (), *, head_only: bool = False
) -> bytes:
    """Return a complete response with a status line, a text body and additional field lines.

    `head_only` omits the body, as required in a response to HEAD (RFC 9110, section 9.3.2).
    """
    octets = body.encode()
    lines = [
        f"HTTP/1.1 {status}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(octets)}",
        *fields,
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1") + (b"" if head_only else octets)


async def relay(octets: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    """Relay octets until the end of the stream, then shut down the other stream (RFC 9110, section
    9.3.6)."""
    with contextlib.suppress(ConnectionError):
        while data := await octets.read(_CHUNK):
            to.write(data)
            await to.drain()
        if to.can_write_eof():
            to.write_eof()


@contextlib.asynccontextmanager
async def listening(serve: Callable[[DemoStream], Awaitable[None]]) -> AsyncIterator[int]:
    """Serve connections on a free loopback port until the block ends; yield the port.

    A connection is closed after `serve`, and when the block ends.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def serve_and_close(stream: DemoStream) -> None:
        try:
            await serve(stream)
        finally:
            stream.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve_and_close(DemoStream(reader, writer)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, LOOPBACK, 0, limit=HEAD_LIMIT)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        ending = tuple(tasks)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
