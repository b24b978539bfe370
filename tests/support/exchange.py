"""A minimal blocking HTTP/1.1 server side, sufficient for tests."""

import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedReader

from tests.support.closeable import Closeable

_BLOCK = 1 << 18


@dataclass(frozen=True, slots=True)
class ReceivedHead:
    """The head of a received request.

    Attributes:
        method: ``GET``.
        target: The target as received, ``/path?query``.
        fields: The names in lower case and the values, in order.
    """

    method: str
    target: str
    fields: tuple[tuple[str, str], ...]

    @property
    def path(self) -> str:
        """The target without the query."""
        return self.target.partition("?")[0]

    def values(self, name: str) -> list[str]:
        """Return all values of a field; its name is given in lower case."""
        return [value for found, value in self.fields if found == name]

    def value(self, name: str) -> str:
        """Return the first value of a field, empty if there is none."""
        return next(iter(self.values(name)), "")


class Exchange:
    """One request on a connection, and its response."""

    def __init__(self, connection: socket.socket, head: ReceivedHead, reader: "Reader") -> None:
        self.head = head
        self.connection = connection
        self.reader = reader
        self._left = self._body()

    def body(self) -> Iterator[bytes]:
        """Return the unread rest of the content; the first read sends a 100 if it is expected."""
        return self._left

    def _body(self) -> Iterator[bytes]:
        if self.head.value("expect").lower() == "100-continue":
            self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.head.value("transfer-encoding").lower() == "chunked":
            yield from self.reader.chunks()
        else:
            yield from self.reader.pieces(int(self.head.value("content-length") or 0))

    def respond(
        self, status: int, body: bytes = b"", fields: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Send a response with content; none for 1xx, 204, 304 and responses to HEAD."""
        bare = status < 200 or status in (204, 304)
        length = () if bare else (("Content-Length", str(len(body))),)
        self.begin(status, (*fields, *length))
        if not bare and self.head.method != "HEAD":
            self.connection.sendall(body)

    def begin(self, status: int, fields: Iterable[tuple[str, str]] = ()) -> None:
        """Send the head of a response."""
        lines = [f"HTTP/1.1 {status} Test", *(f"{name}: {value}" for name, value in fields)]
        self.connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def stream(self, pieces: Iterable[bytes]) -> None:
        """Send the content of a response in pieces."""
        if self.head.method != "HEAD":
            for piece in pieces:
                self.connection.sendall(piece)

    def stream_chunked(self, pieces: Iterable[bytes], trailer: str) -> None:
        """Send chunked content, one chunk for each piece, and a trailer section."""
        coded = (b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        self.stream(coded)
        self.stream([f"0\r\n{trailer}\r\n\r\n".encode("latin-1")])


class Reader(Closeable):
    """Reads requests from a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._stream = BufferedReader(connection.makefile("rb", buffering=0), _BLOCK)

    def close(self) -> None:
        """Stop reading."""
        self._stream.close()

    def head(self) -> ReceivedHead | None:
        """Read the next head; return None at the end of the connection."""
        line = self._line()
        if line is None or line.count(" ") != 2:
            return None
        method, target, version = line.split(" ")
        if not version.startswith("HTTP/"):
            # A browser tries whether the server speaks TLS.
            return None
        fields = []
        while line := self._line():
            name, _, value = line.partition(":")
            fields.append((name.lower(), value.strip()))
        return ReceivedHead(method, target, tuple(fields))

    def pieces(self, length: int) -> Iterator[bytes]:
        """Yield this number of octets in pieces."""
        while length:
            piece = self._stream.read1(min(length, _BLOCK))
            if not piece:
                raise ConnectionError("the body ended early")
            length -= len(piece)
            yield piece

    def chunks(self) -> Iterator[bytes]:
        """Yield chunked content, and read its trailer section."""
        while size := int((self._line() or "").partition(";")[0], 16):
            yield from self.pieces(size)
            self._line()
        while self._line():
            pass

    def exactly(self, length: int) -> bytes:
        """Read exactly this number of octets."""
        return b"".join(self.pieces(length))

    def _line(self) -> str | None:
        line = self._stream.readline(65536)
        return line.rstrip(b"\r\n").decode("latin-1") if line.endswith(b"\n") else None
