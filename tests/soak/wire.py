"""An HTTP/1.1 connection on asyncio, which distinguishes complete from incomplete responses."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

OWN_PAGE = b"This page comes from TrayProxy"


@dataclass(frozen=True, slots=True)
class SoakResponse:
    """The response to a request, possibly incomplete.

    Attributes:
        status: The status code; 0 without a complete head.
        fields: The value of each field by its name in lower case.
        is_complete: True if the response was received completely.
    """

    status: int = 0
    reason: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    content: bytes = field(default=b"", repr=False)
    is_complete: bool = False

    @property
    def is_error_page(self) -> bool:
        """True if the response is an error page of TrayProxy."""
        return self.is_complete and 400 <= self.status < 600 and OWN_PAGE in self.content

    def __str__(self) -> str:
        end = "complete" if self.is_complete else "incomplete"
        return f"{self.status} {self.reason} with {len(self.content)} octets, {end}"


class Wire:
    """A connection of a program to the proxy, or of the proxy to the upstream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> "Wire":
        """Connect to a port of 127.0.0.1."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 17))

    async def send(self, *pieces: bytes) -> None:
        """Send octets until the connection fails.

        The failure is ignored, because the response is read in any case.
        """
        with suppress(OSError):
            for piece in pieces:
                self.writer.write(piece)
                await self.writer.drain()

    async def exchange(self, head: bytes, body: Iterable[bytes] = ()) -> SoakResponse:
        """Send a request and read its response at the same time."""
        sending = asyncio.create_task(self.send(head, *body))
        try:
            return await self.response(head)
        finally:
            sending.cancel()
            await asyncio.wait([sending])

    async def response(self, request: bytes = b"GET") -> SoakResponse:
        """Read the final response to a request, or a 101 response."""
        status, reason, fields = 100, "", dict[str, str]()
        content = bytearray()
        try:
            while 100 <= status < 200 and status != 101:
                first, fields = await self.head()
                _, code, reason = first.split(" ", 2)
                status = int(code)
        except (OSError, asyncio.IncompleteReadError):
            return SoakResponse()
        if request.startswith(b"CONNECT") and status == 200:
            return SoakResponse(status, reason, fields, is_complete=True)
        try:
            await self._read_content(status, fields, content)
        except (OSError, asyncio.IncompleteReadError):
            return SoakResponse(status, reason, fields, bytes(content))
        return SoakResponse(status, reason, fields, bytes(content), is_complete=True)

    async def head(self) -> tuple[str, dict[str, str]]:
        """Read a head; return its first line, and the fields by their names in lower case."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        found = dict(line.split(":", 1) for line in lines)
        return first, {name.lower(): value.strip() for name, value in found.items()}

    async def content(self, fields: Mapping[str, str]) -> AsyncIterator[bytes]:
        """Yield the content of a message with a length or in chunks (RFC 9112, section 6.3)."""
        if fields.get("transfer-encoding") == "chunked":
            while size := int((await self.reader.readuntil(b"\r\n")).partition(b";")[0], 16):
                yield (await self.reader.readexactly(size + 2))[:-2]
            while await self.reader.readuntil(b"\r\n") != b"\r\n":
                pass
        else:
            left = int(fields.get("content-length", 0))
            while left:
                piece = await self.reader.read(min(left, 1 << 16))
                if not piece:
                    raise asyncio.IncompleteReadError(b"", left)
                yield piece
                left -= len(piece)

    async def _read_content(
        self, status: int, fields: Mapping[str, str], content: bytearray
    ) -> None:
        """Read the content of a response."""
        if status in (101, 204, 304):
            return
        if fields.keys() & {"transfer-encoding", "content-length"}:
            async for piece in self.content(fields):
                content += piece
        else:
            while piece := await self.reader.read(1 << 16):
                content += piece

    async def close(self) -> None:
        """Close the connection."""
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()
