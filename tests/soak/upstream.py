"""A company's proxy and the sites behind it, which do what is asked for, also what is wrong.

The first part of a request's path, or of a CONNECT's host, names an `Act`; the second part of a
path is a number of octets. The password changes while requests are on their way.
"""

import asyncio
import socket
import struct
from base64 import b64encode
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from random import Random
from typing import Any

from tests.support.octets import octets

MOST = 3 << 20
"""The longest body, in octets."""
USER = "soak"
HANG_S = 0.3
"""How long what hangs does so before it is cut."""
OWN_ERROR = b"the upstream's own error"


class Act(StrEnum):
    """What the upstream does about a request; the first are right, the others are faults."""

    LENGTH = "length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until-close"
    DIGEST = "digest"
    EMPTY = "empty"
    UPGRADE = "upgrade"
    ECHO = "echo"
    OWN_502 = "own-502"

    RESET_BEFORE = "reset-before"
    CLOSE_BEFORE = "close-before"
    HANG_BEFORE = "hang-before"
    CUT_HEAD = "cut-head"
    GARBAGE = "garbage"
    RESET_UPLOAD = "reset-upload"

    CUT_BODY = "cut-body"
    RESET_BODY = "reset-body"
    HANG_BODY = "hang-body"
    CUT_CHUNK = "cut-chunk"
    RESET_UNTIL_CLOSE = "reset-until-close"

    RESET_TUNNEL = "reset-tunnel"
    CLOSE_TUNNEL = "close-tunnel"


BEFORE_THE_ANSWER = (
    Act.RESET_BEFORE,
    Act.CLOSE_BEFORE,
    Act.HANG_BEFORE,
    Act.CUT_HEAD,
    Act.GARBAGE,
)
"""Faults that leave room to tell the client."""
IN_THE_ANSWER = (
    Act.CUT_BODY,
    Act.RESET_BODY,
    Act.HANG_BODY,
    Act.CUT_CHUNK,
    Act.RESET_UNTIL_CLOSE,
)
"""Faults of which the client must see that what it got is not the whole."""


class Content:
    """What all bodies are the beginning of."""

    def __init__(self) -> None:
        self._octets = b"".join(octets(MOST))

    def first(self, length: int) -> bytes:
        """Return the first octets of it."""
        return self._octets[:length]


@dataclass(frozen=True, slots=True)
class Head:
    """A request's head.

    Attributes:
        method: ``GET``.
        act: What is asked for.
        size: Of how many octets.
        fields: By name in lower case.
    """

    method: str
    act: Act
    size: int
    fields: dict[str, str] = field(repr=False)

    @classmethod
    def read(cls, octets: bytes) -> "Head":
        """Read what ends with an empty line."""
        first, *lines = octets.decode("latin-1").split("\r\n")[:-2]
        method, target, _ = first.split(" ")
        found = dict(line.split(":", 1) for line in lines)
        fields = {name.lower(): value.strip() for name, value in found.items()}
        if method == "CONNECT":
            return cls(method, Act(target.partition(".")[0]), 0, fields)
        act, _, size = target.removeprefix("http://soak.test/").partition("/")
        if act not in set(Act):
            # A request of TrayProxy's own, by which it tries a password for clients that have left.
            return cls(method, Act.EMPTY, 0, fields)
        return cls(method, Act(act), int(size or 0), fields)


class Upstream:
    """The upstream, while its server runs.

    Attributes:
        port: Where it listens on 127.0.0.1.
        password: What it accepts now.
        passwords: How many there were.
        denied: How many requests it answered 407.
    """

    def __init__(self, content: Content, random: Random) -> None:
        self._content = content
        self._random = random
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.password = "password 1"
        self.passwords = 1
        self.denied = 0

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 17)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more, and cut what is open."""
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def change_password(self) -> None:
        """Accept another password from now on, and no other."""
        self.passwords += 1
        self.password = f"password {self.passwords}"

    def cut(self) -> None:
        """Close all connections."""
        for writer in self._writers:
            writer.close()

    # --- connections

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._answer(reader, writer):
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # They left, or we cut it.
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request. Return whether another may follow."""
        head = Head.read(await reader.readuntil(b"\r\n\r\n"))
        if not self._is_signed(head):
            self.denied += 1
            return await self._deny(head, reader, writer)
        if "expect" in head.fields:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        acts: dict[Act, Callable[..., Coroutine[Any, Any, bool]]] = {
            Act.UPGRADE: self._upgrade,
            Act.ECHO: self._tunnel,
            Act.RESET_TUNNEL: self._tunnel,
            Act.CLOSE_TUNNEL: self._tunnel,
            Act.RESET_UPLOAD: self._reset_upload,
            Act.HANG_BEFORE: self._hang,
            Act.HANG_BODY: self._hang,
        }
        act = acts.get(head.act, self._speak)
        return await act(head, reader, writer)

    def _is_signed(self, head: Head) -> bool:
        credentials = b64encode(f"{USER}:{self.password}".encode()).decode()
        return head.fields.get("proxy-authorization") == f"Basic {credentials}"

    async def _deny(
        self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer 407, and now and then close after it, as proxies do."""
        if "expect" not in head.fields:
            await _digest(head, reader)
        closes = "expect" in head.fields or self._random.random() < 0.3
        end = b"Connection: close\r\n\r\n" if closes else b"\r\n"
        writer.write(
            b"HTTP/1.1 407 Proxy Authentication Required\r\n"
            b'Proxy-Authenticate: Basic realm="soak"\r\nContent-Length: 0\r\n' + end
        )
        return not closes

    # --- acts

    async def _speak(
        self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Read the body, say what the act says, and end it as the act does."""
        digest = await _digest(head, reader)
        body = self._content.first(head.size)
        half = body[: len(body) // 2]
        plain = {
            Act.LENGTH: _with_length(body),
            Act.DIGEST: _with_length(digest),
            Act.EMPTY: b"HTTP/1.1 204 No Content\r\n\r\n",
            Act.OWN_502: _with_length(OWN_ERROR, b"502 Bad Gateway"),
            Act.CHUNKED: _chunked(body, self._random) + b"0\r\nX-Trailer: t\r\n\r\n",
        }
        if head.act in plain:
            writer.write(plain[head.act])
            return True
        last = {
            Act.UNTIL_CLOSE: b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body,
            Act.RESET_UNTIL_CLOSE: b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + half,
            Act.CUT_HEAD: b"HTTP/1.1 200 OK\r\nContent-Ty",
            Act.GARBAGE: b"220 mail.soak.test ESMTP\r\n\r\n",
            Act.CUT_BODY: _with_length(body)[: -len(body) + len(half)],
            Act.RESET_BODY: _with_length(body)[: -len(body) + len(half)],
            Act.CUT_CHUNK: _chunked(half, self._random),
        }
        writer.write(last.get(head.act, b""))
        await writer.drain()
        if head.act in (Act.RESET_BEFORE, Act.RESET_BODY, Act.RESET_UNTIL_CLOSE):
            reset(writer)
        return False

    async def _hang(
        self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        await _digest(head, reader)
        if head.act is Act.HANG_BODY:
            body = self._content.first(head.size)
            writer.write(_with_length(body)[: -(len(body) // 2)])
        await writer.drain()
        await asyncio.sleep(HANG_S)
        return False

    async def _reset_upload(
        self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Read the beginning of a body, which is the only thing that a reset leaves unread."""
        await reader.read(1000)
        reset(writer)
        return False

    async def _upgrade(
        self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
        )
        return await self._echo(reader, writer)

    async def _tunnel(
        self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        if head.act is Act.ECHO:
            return await self._echo(reader, writer)
        await reader.read(1)
        if head.act is Act.RESET_TUNNEL:
            reset(writer)
        return False

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
        return False


async def _digest(head: Head, reader: asyncio.StreamReader) -> bytes:
    """Read a request's body; return its digest."""
    found = sha256()
    if head.fields.get("transfer-encoding") == "chunked":
        while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            found.update((await reader.readexactly(size + 2))[:-2])
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass
    else:
        left = int(head.fields.get("content-length", 0))
        while left:
            piece = await reader.readexactly(min(left, 1 << 16))
            found.update(piece)
            left -= len(piece)
    return found.hexdigest().encode()


def _with_length(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def _chunked(body: bytes, random: Random) -> bytes:
    """Return a head and chunks, without what ends them."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(chunks(body, random))


def chunks(body: bytes, random: Random) -> Iterator[bytes]:
    """Return a body in chunks of any length."""
    while body:
        size = min(len(body), random.choice((1, 100, 10_000, 100_000)))
        yield b"%x\r\n%b\r\n" % (size, body[:size])
        body = body[size:]


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by a reset (RFC 9293, section 3.5.2)."""
    connection = writer.get_extra_info("socket")
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
