"""A client which sends raw octets and parses responses with h11."""

import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

import h11

from tests.support.closeable import Closeable
from tests.support.process_output import PATIENCE

_HEADS_AT_MOST = 1 << 18


class CutError(Exception):
    """The connection ended before the response was complete.

    Attributes:
        octets: The octets received of the response.
    """

    def __init__(self, octets: bytes) -> None:
        super().__init__(f"{len(octets)} octets: {octets[:200]!r}")
        self.octets = octets


@dataclass(frozen=True, slots=True)
class Reply:
    """A response received by a client.

    Attributes:
        status: The status code.
        reason: The reason phrase.
        fields: The fields, with names in lower case.
        body: The content, without framing.
        interim: The status codes of preceding 1xx responses.
        head: The octets of the head, up to the empty line.
    """

    status: int
    reason: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    interim: tuple[int, ...]
    head: bytes

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a field. The name is in lower case."""
        return [value for found, value in self.fields if found == name]

    @property
    def is_forwarded(self) -> bool:
        """True if the response came from the next hop: TrayProxy's own responses have no Via."""
        return bool(self.values(b"via"))

    @property
    def closes(self) -> bool:
        return any(b"close" in value.lower() for value in self.values(b"connection"))


class ProxyClient(Closeable):
    """A blocking connection to the engine.

    Attributes:
        socket: The socket.
        octets: All octets received.
        was_reset: True if the connection ended with a reset.
    """

    def __init__(self, port: int, host: str = "127.0.0.1", timeout: float = PATIENCE) -> None:
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.octets = bytearray()
        self.was_reset = False
        self._used = 0

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Close the connection with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        """Send all octets, each part with its own call."""
        for part in parts:
            self.socket.sendall(part)

    def try_to_send(self, *parts: bytes) -> None:
        """Send octets to a peer which may have closed the connection."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.send(*parts)

    def finish(self) -> None:
        """Send the end of the stream (half-close)."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    @property
    def unread(self) -> bytes:
        """The octets received and not taken yet."""
        return bytes(self.octets[self._used :])

    def more(self) -> bool:
        """Receive once. Return False at the end of the connection."""
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            self.was_reset = True
            return False
        self.octets += data
        return bool(data)

    def take(self, length: int) -> bytes:
        """Return exactly this number of octets."""
        while len(self.octets) - self._used < length:
            if not self.more():
                raise CutError(self.unread)
        self._used += length
        return bytes(self.octets[self._used - length : self._used])

    def take_all(self) -> bytes:
        """Return all octets until the end of the connection."""
        while self.more():
            pass
        rest = self.unread
        self._used = len(self.octets)
        return rest

    def reply(self, method: bytes = b"GET", *, upgrade: bool = False) -> Reply:
        """Return the next response.

        Raises:
            CutError: The connection ended before the response was complete.
            h11.RemoteProtocolError: The response is malformed.
        """
        reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEADS_AT_MOST)
        fields = [(b"Host", b"a")]
        if upgrade:
            fields += [(b"Connection", b"upgrade"), (b"Upgrade", b"websocket")]
        reader.send(h11.Request(method=method, target=b"a:1", headers=fields))
        reader.send(h11.EndOfMessage())
        start = self._used
        if self.unread:
            reader.receive_data(self.unread)
        self._used = len(self.octets)
        interim: list[int] = []
        final: h11.Response | None = None
        body = b""
        switches = False
        while True:
            event = reader.next_event()
            if event is h11.NEED_DATA:
                self._feed(reader, final, start)
            elif isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    return self._made(reader, event, b"", interim, start)
                interim.append(event.status_code)
            elif isinstance(event, h11.Response):
                final = event
                switches = method == b"CONNECT" and 200 <= event.status_code < 300
                if switches:
                    return self._made(reader, event, b"", interim, start)
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert final is not None
                return self._made(reader, final, body, interim, start)
            else:
                raise CutError(bytes(self.octets[start:]))

    def _feed(self, reader: h11.Connection, final: h11.Response | None, start: int) -> None:
        before = len(self.octets)
        goes_on = self.more()
        self._used = len(self.octets)
        if goes_on:
            reader.receive_data(bytes(self.octets[before:]))
            return
        if self.was_reset or final is None:
            raise CutError(bytes(self.octets[start:]))
        try:
            reader.receive_data(b"")
            if reader.their_state is h11.ERROR:
                raise CutError(bytes(self.octets[start:]))
        except h11.RemoteProtocolError as error:
            raise CutError(bytes(self.octets[start:])) from error

    def _made(
        self,
        reader: h11.Connection,
        event: h11.Response | h11.InformationalResponse,
        body: bytes,
        interim: list[int],
        start: int,
    ) -> Reply:
        left, _ = reader.trailing_data
        self._used -= len(left)
        taken = bytes(self.octets[start : self._used])
        head = taken.split(b"\r\n\r\n")[len(interim)]
        fields = tuple((bytes(name), bytes(value)) for name, value in event.headers)
        return Reply(event.status_code, bytes(event.reason), fields, body, tuple(interim), head)

    def ask(self, octets: bytes, method: bytes = b"GET") -> Reply:
        """Send a request and return its response."""
        self.send(octets)
        return self.reply(method)

    def open_tunnel(self, octets: bytes) -> None:
        """Send a CONNECT request, and octets through its tunnel to an upstream that echoes them."""
        assert self.ask(octets, b"CONNECT").status == 200
        self.send(b"through?")
        assert self.take(8) == b"through?"

    def seconds_until_end(self) -> float:
        """Return the seconds until the peer ends the connection."""
        start = monotonic()
        self.take_all()
        return monotonic() - start


def get(url: bytes, *lines: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    """Return a request without content.

    Args:
        url: The URL in absolute-form, with a path.
        lines: Further field lines.
        method: The method.
        version: The HTTP version.
    """
    host = url.partition(b"://")[2].partition(b"/")[0]
    start = b"%b %b HTTP/%b" % (method, url, version)
    return b"\r\n".join((start, b"Host: " + host, *lines)) + b"\r\n\r\n"


def connect(authority: bytes, *lines: bytes) -> bytes:
    """Return a CONNECT request."""
    start = b"CONNECT %b HTTP/1.1" % authority
    return b"\r\n".join((start, b"Host: " + authority, *lines)) + b"\r\n\r\n"


def post(url: bytes, body: bytes, *lines: bytes) -> bytes:
    """Return a request with content and a Content-Length."""
    return get(url, b"Content-Length: %d" % len(body), *lines, method=b"POST") + body


def chunked(url: bytes, *pieces: bytes) -> bytes:
    """Return a request with chunked content."""
    head = get(url, b"Transfer-Encoding: chunked", method=b"POST")
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
