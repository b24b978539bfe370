"""An upstream that plays a company's proxy and the sites behind it, with the requested behaviour.

The first part of a request's path, or of the host of a CONNECT, names the `Act`; the second part of
a path is a number of octets. The password changes while requests are in progress.
"""

import asyncio
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from random import Random

from tests.soak.wire import Wire
from tests.support.octets import octets
from tests.support.server import reset_on_close

MAX_CONTENT = 3 << 20
"""Maximum length of content, in octets."""
USER = "soak"
HANG_S = 0.3
"""Seconds for which the upstream hangs before it closes the connection."""
OWN_ERROR = b"the upstream's own error"


class Act(StrEnum):
    """The behaviour of the upstream for a request: correct responses first, then faults."""

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

    CUT_BODY = "cut-content"
    RESET_BODY = "reset-content"
    HANG_BODY = "hang-content"
    CUT_CHUNK = "cut-chunk"
    RESET_UNTIL_CLOSE = "reset-until-close"

    RESET_TUNNEL = "reset-tunnel"
    CLOSE_TUNNEL = "close-tunnel"


BEFORE_THE_RESPONSE = (
    Act.RESET_BEFORE,
    Act.CLOSE_BEFORE,
    Act.HANG_BEFORE,
    Act.CUT_HEAD,
    Act.GARBAGE,
)
"""Faults before the response, which TrayProxy can report with an error page."""
IN_THE_RESPONSE = (
    Act.CUT_BODY,
    Act.RESET_BODY,
    Act.HANG_BODY,
    Act.CUT_CHUNK,
    Act.RESET_UNTIL_CLOSE,
)
"""Faults within a response, which the client must recognize as incomplete."""


class Content:
    """The octets with which all content begins."""

    def __init__(self) -> None:
        self._octets = b"".join(octets(MAX_CONTENT))

    def first(self, length: int) -> bytes:
        """Return the first octets."""
        return self._octets[:length]


@dataclass(frozen=True, slots=True)
class SoakRequest:
    """The head of a request.

    Attributes:
        method: The method, ``GET``.
        fields: The value of each field by its name in lower case.
    """

    method: str
    act: Act
    size: int
    fields: dict[str, str] = field(repr=False)

    @classmethod
    def of(cls, line: str, fields: dict[str, str]) -> "SoakRequest":
        """Return the request with a request line and fields."""
        method, target, _ = line.split(" ")
        if method == "CONNECT":
            return cls(method, Act(target.partition(".")[0]), 0, fields)
        act, _, size = target.removeprefix("http://soak.test/").partition("/")
        if act not in set(Act):
            # TrayProxy's own request, which checks a password after the clients have disconnected.
            return cls(method, Act.EMPTY, 0, fields)
        return cls(method, Act(act), int(size or 0), fields)


class SoakUpstream:
    """The upstream.

    Attributes:
        port: The port on 127.0.0.1.
        passwords: The number of passwords up to now.
        denied: The number of 407 responses.
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
        """Stop listening, and close all connections."""
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def change_password(self) -> None:
        """Accept only a new password from now on."""
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
            while await self._answer(Wire(reader, writer)):
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # The client has disconnected, or `cut` closed the connection.
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, wire: Wire) -> bool:
        """Answer a request. Return whether the connection stays open."""
        head = SoakRequest.of(*await wire.head())
        if not self._is_authenticated(head):
            self.denied += 1
            return await self._deny(head, wire)
        if "expect" in head.fields:
            wire.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        acts = {
            Act.UPGRADE: self._upgrade,
            Act.ECHO: self._tunnel,
            Act.RESET_TUNNEL: self._tunnel,
            Act.CLOSE_TUNNEL: self._tunnel,
            Act.RESET_UPLOAD: self._reset_upload,
            Act.HANG_BEFORE: self._hang,
            Act.HANG_BODY: self._hang,
        }
        act = acts.get(head.act, self._respond)
        return await act(head, wire)

    def _is_authenticated(self, head: SoakRequest) -> bool:
        credentials = b64encode(f"{USER}:{self.password}".encode()).decode()
        return head.fields.get("proxy-authorization") == f"Basic {credentials}"

    async def _deny(self, head: SoakRequest, wire: Wire) -> bool:
        """Respond with 407, and sometimes close the connection afterwards, as some proxies do."""
        if "expect" not in head.fields:
            await _digest(head, wire)
        closes = "expect" in head.fields or self._random.random() < 0.3
        end = b"Connection: close\r\n\r\n" if closes else b"\r\n"
        wire.writer.write(
            b"HTTP/1.1 407 Proxy Authentication Required\r\n"
            b'Proxy-Authenticate: Basic realm="soak"\r\nContent-Length: 0\r\n' + end
        )
        return not closes

    # --- acts

    async def _respond(self, head: SoakRequest, wire: Wire) -> bool:
        """Read the content of the request, and send the response of the act."""
        digest = await _digest(head, wire)
        content = self._content.first(head.size)
        half = content[: len(content) // 2]
        plain = {
            Act.LENGTH: _with_length(content),
            Act.DIGEST: _with_length(digest),
            Act.EMPTY: b"HTTP/1.1 204 No Content\r\n\r\n",
            Act.OWN_502: _with_length(OWN_ERROR, b"502 Bad Gateway"),
            Act.CHUNKED: _chunked(content, self._random) + b"0\r\nX-Trailer: t\r\n\r\n",
        }
        if head.act in plain:
            wire.writer.write(plain[head.act])
            return True
        last = {
            Act.UNTIL_CLOSE: b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + content,
            Act.RESET_UNTIL_CLOSE: b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + half,
            Act.CUT_HEAD: b"HTTP/1.1 200 OK\r\nContent-Ty",
            Act.GARBAGE: b"220 mail.soak.test ESMTP\r\n\r\n",
            Act.CUT_BODY: _with_length(content)[: -len(content) + len(half)],
            Act.RESET_BODY: _with_length(content)[: -len(content) + len(half)],
            Act.CUT_CHUNK: _chunked(half, self._random),
        }
        wire.writer.write(last.get(head.act, b""))
        await wire.writer.drain()
        if head.act in (Act.RESET_BEFORE, Act.RESET_BODY, Act.RESET_UNTIL_CLOSE):
            reset(wire.writer)
        return False

    async def _hang(self, head: SoakRequest, wire: Wire) -> bool:
        await _digest(head, wire)
        if head.act is Act.HANG_BODY:
            content = self._content.first(head.size)
            wire.writer.write(_with_length(content)[: -(len(content) // 2)])
        await wire.writer.drain()
        await asyncio.sleep(HANG_S)
        return False

    async def _reset_upload(self, head: SoakRequest, wire: Wire) -> bool:
        """Read the beginning of the content, and reset the connection with unread octets."""
        await wire.reader.read(1000)
        reset(wire.writer)
        return False

    async def _upgrade(self, head: SoakRequest, wire: Wire) -> bool:
        wire.writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
        )
        return await self._echo(wire)

    async def _tunnel(self, head: SoakRequest, wire: Wire) -> bool:
        wire.writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        if head.act is Act.ECHO:
            return await self._echo(wire)
        await wire.reader.read(1)
        if head.act is Act.RESET_TUNNEL:
            reset(wire.writer)
        return False

    async def _echo(self, wire: Wire) -> bool:
        while piece := await wire.reader.read(1 << 16):
            wire.writer.write(piece)
            await wire.writer.drain()
        wire.writer.write_eof()
        return False


async def _digest(head: SoakRequest, wire: Wire) -> bytes:
    """Read the content of a request; return its digest."""
    found = sha256()
    async for piece in wire.content(head.fields):
        found.update(piece)
    return found.hexdigest().encode()


def _with_length(content: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(content), content)


def _chunked(content: bytes, random: Random) -> bytes:
    """Return a head and chunks without the last chunk."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(chunks(content, random))


def chunks(content: bytes, random: Random) -> Iterator[bytes]:
    """Return content in chunks of random lengths."""
    while content:
        size = min(len(content), random.choice((1, 100, 10_000, 100_000)))
        yield b"%x\r\n%b\r\n" % (size, content[:size])
        content = content[size:]


def reset(writer: asyncio.StreamWriter) -> None:
    """Reset a connection (RFC 9293, section 3.5.2)."""
    connection = writer.get_extra_info("socket")
    with suppress(OSError):
        reset_on_close(connection)
    writer.transport.abort()
