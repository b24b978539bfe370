"""An upstream that authenticates connections with NTLM-like handshakes, as strictly as Squid."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition
from time import monotonic

from tests.support.exchange import Exchange, Reader, ReceivedHead
from tests.support.process_output import PATIENCE
from tests.support.server import LoopbackServer

REFUSAL = b"HTTP/1.%d 407 Proxy Authentication Required\r\n%bContent-Length: %d\r\n\r\n%b"


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request received by an upstream.

    Attributes:
        connection: The number of its connection, from 1.
        message: The message in its credentials: ``type 1``, ``type 3``, ``none``, or the
            credentials themselves.
        method: The method, such as ``GET``.
        body: The content.
        expects_continue: True if it has an Expect field.
        length: The Content-Length field.
    """

    connection: int
    message: str
    method: str
    body: bytes
    expects_continue: bool
    length: str


@dataclass
class NtlmBehaviour:
    """The configurable behaviour of an upstream.

    Attributes:
        rejects_all: True to reject every type 3.
        rejects_request: Returns True if a type 3 with this request is rejected.
        before_response: Called with the request and its message before each response.
        head_status: The status of responses to HEAD.
        head_fields: Field lines of responses to HEAD; if there are any, the connection is closed
            after the response.
        needs_no_login: Returns True if this request is served without a login.
        refusal_body: The content of refusals.
        sends_body_to_head: True to send content even with a refusal of HEAD.
        type_2_field: A field line of responses to type 1.
        minor_version: The minor HTTP version of refusals.
        closes_after: A message after which the connection is closed without a response.
        authenticated_requests: The number of requests served on an authenticated connection.
    """

    rejects_all: bool = False
    rejects_request: Callable[[ReceivedHead], bool] = lambda head: False
    before_response: Callable[[ReceivedHead, str], object] = lambda head, message: None
    head_status: int = 200
    head_fields: tuple[tuple[str, str], ...] = ()
    needs_no_login: Callable[[ReceivedHead], bool] = lambda head: False
    refusal_body: bytes = b"denied"
    sends_body_to_head: bool = False
    type_2_field: bytes = b""
    minor_version: int = 1
    closes_after: str = ""
    authenticated_requests: int = 1 << 30


MESSAGES = {"": "none", "NTLM b25l": "type 1", "NTLM dGhyZWU=": "type 3"}


class NtlmUpstream(LoopbackServer):
    """A running upstream that requires ``b25l`` and then ``dGhyZWU=`` on one connection."""

    def __init__(self, manner: NtlmBehaviour | None = None) -> None:
        self.behaviour = manner or NtlmBehaviour()
        self._changed = Condition()
        self._requests: list[ReceivedRequest] = []
        self._count = 0
        super().__init__(self._serve)

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The requests received so far."""
        with self._changed:
            return list(self._requests)

    @property
    def messages(self) -> list[tuple[int, str, str]]:
        """The connection, method and message of each request."""
        return [(one.connection, one.method, one.message) for one in self.requests]

    def wait_for(self, count: int) -> None:
        """Wait until this number of requests has been received."""
        end = monotonic() + PATIENCE
        with self._changed:
            while len(self._requests) < count:
                assert self._changed.wait(end - monotonic()), self._requests

    def _serve(self, connection: socket.socket) -> None:
        with self._changed:
            self._count += 1
            number = self._count
        with Reader(connection) as reader:
            _NtlmConnection(self, connection, reader, number).run()

    def add(self, request: ReceivedRequest) -> None:
        """Record a request."""
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()


@dataclass
class _NtlmConnection:
    """One connection to the upstream."""

    owner: NtlmUpstream
    connection: socket.socket
    reader: Reader
    number: int
    left: int = 0
    is_begun: bool = False

    def run(self) -> None:
        manner = self.owner.behaviour
        while head := self.reader.head():
            credentials = head.value("proxy-authorization")
            message = MESSAGES.get(credentials, credentials)
            exchange = Exchange(self.connection, head, self.reader)
            body = b"".join(exchange.body())
            self.owner.add(
                ReceivedRequest(
                    self.number,
                    message,
                    head.method,
                    body,
                    bool(head.value("expect")),
                    head.value("content-length"),
                )
            )
            if message == manner.closes_after:
                return
            manner.before_response(head, message)
            if not self._answer(exchange, head, message):
                return

    def _answer(self, exchange: Exchange, head: ReceivedHead, message: str) -> bool:
        """Respond to a request. Return True if the connection stays an HTTP connection."""
        manner = self.owner.behaviour
        rejects = manner.rejects_all or manner.rejects_request(head)
        if message == "type 3" and self.is_begun and not rejects:
            self.left = manner.authenticated_requests
        self.is_begun, was_begun = message == "type 1", self.is_begun
        if self.left > 0 or manner.needs_no_login(head):
            self.left -= 1
            if head.method == "CONNECT":
                exchange.connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while octets := exchange.connection.recv(1 << 16):
                    exchange.connection.sendall(octets)
                return False
            if head.method == "HEAD":
                exchange.respond(manner.head_status, fields=manner.head_fields)
                return not manner.head_fields
            exchange.respond(200, b"ok")
            return True
        self.left = 0
        lines = b"Proxy-Authenticate: NTLM\r\n"
        if message == "type 1" and not was_begun:
            lines = b"Proxy-Authenticate: NTLM dHdv\r\n" + manner.type_2_field
        is_bare = head.method == "HEAD" and not manner.sends_body_to_head
        body = b"" if is_bare else manner.refusal_body
        self.connection.sendall(
            REFUSAL % (manner.minor_version, lines, len(manner.refusal_body), body)
        )
        return not (message == "type 1" and b"close" in manner.type_2_field)
