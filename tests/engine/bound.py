"""An upstream that signs in connections, as strict as the strictest of them."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition
from time import monotonic

from tests.support.exchange import Exchange, Head, Reader
from tests.support.lines import PATIENCE
from tests.support.server import Server

REFUSAL = b"HTTP/1.%d 407 Proxy Authentication Required\r\n%bContent-Length: %d\r\n\r\n%b"


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came.

    Attributes:
        connection: On which connection, from 1.
        message: What it carried: ``type 1``, ``type 3``, ``none`` or the credentials themselves.
        method: ``GET``.
        body: Its content.
        expects: It waited for a 100.
        length: Its Content-Length.
    """

    connection: int
    message: str
    method: str
    body: bytes
    expects: bool
    length: str


@dataclass
class Manner:
    """How an upstream behaves beyond the rules.

    Attributes:
        rejects: It accepts no type 3.
        lets_through: Tells whether a request needs no sign-in.
        body: Of its refusals.
        bodies_to_head: Its refusals of HEAD bring their body, too.
        line: A field line of its answers to type 1.
        minor: Of its version.
        cuts_after: Closes the connection without an answer to such a message.
        forgets_after: It takes a connection for signed in for so many requests.
        rejects_to: Tells whether it accepts no type 3 with a request.
        holds: Called before the answer to a request, with its message.
        status: Of its answers to HEAD.
        last_words: Field lines of its answers to HEAD, after which it closes the connection.
    """

    rejects: bool = False
    rejects_to: Callable[[Head], bool] = lambda head: False
    holds: Callable[[Head, str], object] = lambda head, message: None
    status: int = 200
    last_words: tuple[tuple[str, str], ...] = ()
    lets_through: Callable[[Head], bool] = lambda head: False
    body: bytes = b"denied"
    bodies_to_head: bool = False
    line: bytes = b""
    minor: int = 1
    cuts_after: str = ""
    forgets_after: int = 1 << 30


MESSAGES = {"": "none", "NTLM b25l": "type 1", "NTLM dGhyZWU=": "type 3"}


class Bound(Server):
    """An upstream that runs; it wants ``b25l`` and then ``dGhyZWU=`` on one connection."""

    def __init__(self, manner: Manner | None = None) -> None:
        self.manner = manner or Manner()
        self._changed = Condition()
        self._requests: list[Request] = []
        self._count = 0
        super().__init__(self._serve)

    @property
    def requests(self) -> list[Request]:
        """The requests up to now."""
        with self._changed:
            return list(self._requests)

    @property
    def told(self) -> list[tuple[int, str, str]]:
        """Connection, method and message of each."""
        return [(one.connection, one.method, one.message) for one in self.requests]

    def wait_for(self, count: int) -> None:
        """Wait until that many requests have come."""
        end = monotonic() + PATIENCE
        with self._changed:
            while len(self._requests) < count:
                assert self._changed.wait(end - monotonic()), self._requests

    def _serve(self, connection: socket.socket) -> None:
        with self._changed:
            self._count += 1
            number = self._count
        with Reader(connection) as reader:
            _Session(self, connection, reader, number).run()

    def add(self, request: Request) -> None:
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()


@dataclass
class _Session:
    owner: Bound
    connection: socket.socket
    reader: Reader
    number: int
    left: int = 0
    is_begun: bool = False

    def run(self) -> None:
        manner = self.owner.manner
        while head := self.reader.head():
            credentials = head.value("proxy-authorization")
            message = MESSAGES.get(credentials, credentials)
            exchange = Exchange(self.connection, head, self.reader)
            body = b"".join(exchange.body())
            self.owner.add(
                Request(
                    self.number,
                    message,
                    head.method,
                    body,
                    bool(head.value("expect")),
                    head.value("content-length"),
                )
            )
            if message == manner.cuts_after:
                return
            manner.holds(head, message)
            if not self._answer(exchange, head, message):
                return

    def _answer(self, exchange: Exchange, head: Head, message: str) -> bool:
        """Answer. Return whether the connection goes on as HTTP."""
        manner = self.owner.manner
        rejects = manner.rejects or manner.rejects_to(head)
        if message == "type 3" and self.is_begun and not rejects:
            self.left = manner.forgets_after
        self.is_begun, was_begun = message == "type 1", self.is_begun
        if self.left > 0 or manner.lets_through(head):
            self.left -= 1
            if head.method == "CONNECT":
                exchange.connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while octets := exchange.connection.recv(1 << 16):
                    exchange.connection.sendall(octets)
                return False
            if head.method == "HEAD":
                exchange.respond(manner.status, fields=manner.last_words)
                return not manner.last_words
            exchange.respond(200, b"ok")
            return True
        self.left = 0
        lines = b"Proxy-Authenticate: NTLM\r\n"
        if message == "type 1" and not was_begun:
            lines = b"Proxy-Authenticate: NTLM dHdv\r\n" + manner.line
        is_bare = head.method == "HEAD" and not manner.bodies_to_head
        body = b"" if is_bare else manner.body
        self.connection.sendall(REFUSAL % (manner.minor, lines, len(manner.body), body))
        return not (message == "type 1" and b"close" in manner.line)
