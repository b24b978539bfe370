"""A server of PAC scripts whose answers a test defines."""

import socket
import ssl
from collections.abc import Callable, Sequence

from tests.support.exchange import Reader, ReceivedHead
from tests.support.server import LoopbackServer
from trayproxy.pac.direct_connection import Address

SCRIPT = 'function FindProxyForURL(url, host) { return "PROXY proxy.example:8080"; }'

Answer = bytes | Callable[[socket.socket], object]


def ok(content: bytes | str = SCRIPT, *fields: str) -> bytes:
    """Return a response with content."""
    octets = content.encode() if isinstance(content, str) else content
    return response("200 OK", *fields, f"Content-Length: {len(octets)}") + octets


def response(status: str, *fields: str) -> bytes:
    """Return a response without content, or its head."""
    return "\r\n".join((f"HTTP/1.1 {status}", *fields, "", "")).encode("latin-1")


class PacServer(LoopbackServer):
    """Answers each request with the next answer; the last one repeats.

    Attributes:
        answers: The answers: octets, or a function that writes to the connection.
        requests: The heads of all requests.
    """

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.answers = list(answers)
        self.requests: list[ReceivedHead] = []
        super().__init__(self._answer, tls)

    def url(self, path: str = "/proxy.pac", scheme: str = "http") -> str:
        """Return a URL at this server."""
        return f"{scheme}://pac.example:{self.port}{path}"

    def look_up(self, host: str, port: int) -> Sequence[Address]:
        """Resolve every name to this server."""
        return [(socket.AF_INET, ("127.0.0.1", self.port))]

    def _answer(self, connection: socket.socket) -> None:
        with Reader(connection) as reader:
            head = reader.head()
            if head is None:
                return
            self.requests.append(head)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(answer, bytes):
                connection.sendall(answer)
            else:
                answer(connection)
