"""The client's side of HTTP/1.1 on asyncio, which tells whole answers from cut ones."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

OURS = b"This page comes from TrayProxy"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came for a request.

    Attributes:
        status: 0 if not even a head came.
        reason: The phrase behind it.
        fields: By name in lower case.
        body: As much of it as came.
        whole: Whether it came to its end.
    """

    status: int = 0
    reason: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    whole: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether TrayProxy says so itself, with its reason."""
        return self.whole and 400 <= self.status < 600 and OURS in self.body

    def __str__(self) -> str:
        end = "whole" if self.whole else "cut"
        return f"{self.status} {self.reason} with {len(self.body)} octets, {end}"


class Wire:
    """A connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> "Wire":
        """Connect to a port of 127.0.0.1."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 17))

    async def send(self, *pieces: bytes) -> None:
        """Send, as far as the other side takes it: what it says to it matters, and is read."""
        with suppress(OSError):
            for piece in pieces:
                self.writer.write(piece)
                await self.writer.drain()

    async def exchange(self, head: bytes, body: Iterable[bytes] = ()) -> Answer:
        """Send a request while its answer is read."""
        sending = asyncio.create_task(self.send(head, *body))
        try:
            return await self.answer(head)
        finally:
            sending.cancel()
            await asyncio.wait([sending])

    async def answer(self, request: bytes = b"GET") -> Answer:
        """Read a final answer to a request, or 101."""
        status, reason, fields = 100, "", dict[str, str]()
        body = bytearray()
        try:
            while 100 <= status < 200 and status != 101:
                head = await self.reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")[:-2]
                _, code, reason = first.split(" ", 2)
                status = int(code)
                found = dict(line.split(":", 1) for line in lines)
                fields = {name.lower(): value.strip() for name, value in found.items()}
        except (OSError, asyncio.IncompleteReadError):
            return Answer()
        if request.startswith(b"CONNECT") and status == 200:
            return Answer(status, reason, fields, whole=True)
        try:
            await self._read_body(status, fields, body)
        except (OSError, asyncio.IncompleteReadError):
            return Answer(status, reason, fields, bytes(body))
        return Answer(status, reason, fields, bytes(body), whole=True)

    async def _read_body(self, status: int, fields: dict[str, str], body: bytearray) -> None:
        """Read a body as RFC 9112, section 6.3, says."""
        if status in (101, 204, 304):
            return
        if fields.get("transfer-encoding") == "chunked":
            while size := int((await self.reader.readuntil(b"\r\n")).partition(b";")[0], 16):
                body += (await self.reader.readexactly(size + 2))[:-2]
            while await self.reader.readuntil(b"\r\n") != b"\r\n":
                pass
        elif "content-length" in fields:
            left = int(fields["content-length"])
            while left:
                piece = await self.reader.read(min(left, 1 << 16))
                if not piece:
                    raise asyncio.IncompleteReadError(b"", left)
                body += piece
                left -= len(piece)
        else:
            while piece := await self.reader.read(1 << 16):
                body += piece

    async def close(self) -> None:
        """Close it."""
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()
