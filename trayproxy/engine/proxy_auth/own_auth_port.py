"""The driver of authentication exchanges for requests of TrayProxy's own, in an asyncio task."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from trayproxy.auth.scheme import Handshake, Leg, Verdict
from trayproxy.desk.broker import CredentialBroker
from trayproxy.desk.credentials import Credentials
from trayproxy.engine.error_pages import RequestRefusedError, no_response
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.fd_task import READ, WRITE, IoWait, wait_in_task
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.proxy_auth.auth_port import (
    SERVER_SILENT,
    ConnectionFacts,
    ConnectionLostError,
    Message,
    Progress,
    Reuse,
)
from trayproxy.engine.proxy_auth.challenge_detection import ChallengeDetector
from trayproxy.engine.proxy_auth.handshake_threads import HandshakeThreads
from trayproxy.engine.transfer.head_cache import NO_KEY
from trayproxy.engine.upstream.connector import Connector, ConnectRequest, late_handshake_failure
from trayproxy.engine.upstream.pool import UpstreamConnection
from trayproxy.engine.upstream.route import Route
from trayproxy.http.challenges import Challenge
from trayproxy.http.errors import MessageError
from trayproxy.http.heads import find_response_head
from trayproxy.http.request import Request
from trayproxy.http.response import Response, parse_response


@dataclass(frozen=True, slots=True)
class OwnRequestTools:
    """The parts of the service and the engine for requests of TrayProxy's own.

    Attributes:
        via: The pseudonym in ``Via``.
        on_portal: Called with the route and the URL of the network's sign-in page.
    """

    broker: CredentialBroker
    connector: Connector
    handshake_threads: HandshakeThreads
    limits: EngineLimits
    via: bytes
    clock: Callable[[], float]
    on_portal: Callable[[Route, str], None] = lambda route, url: None


class OwnAuthPort:
    """The connections and messages of an own request without content; see `AuthPort`. A connection
    is kept until `drop`."""

    def __init__(self, route: Route, request: Request, tools: OwnRequestTools) -> None:
        self.login_was_sent = False
        self.detector = ChallengeDetector()
        self.is_sent = False
        self.route = route
        self._request = request
        self._tools = tools
        self._connection: UpstreamConnection | None = None
        self._number = 0
        self._was_sent = False
        self._end_point = b""

    @property
    def progress(self) -> Progress:
        """How much of the request was read and sent; see `AuthPort`."""
        return Progress(self._was_sent, is_sent=self._was_sent)

    @property
    def content(self) -> bytes | None:
        """The content of the request: none."""
        return b""

    @property
    def end_point(self) -> bytes:
        """The channel binding ``tls-server-end-point`` of the connection obtained last."""
        return self._end_point

    def connect_request(self, route: Route, credentials: Credentials | None) -> ConnectRequest:
        """Return the parameters for a connection to the request's target by this route."""
        target = self._request.target.authority
        assert target is not None
        # A task waits for one descriptor at a time, so no other wait has to be released.
        return ConnectRequest(
            route,
            target,
            credentials,
            wait_in_task,
            lambda descriptor: None,
            before_login=self._note_login_sent,
        )

    def _note_login_sent(self) -> None:
        self.login_was_sent = True

    async def acquire(self, credentials: Credentials | None, reuse: Reuse) -> ConnectionFacts:
        """Return the connection for a message with these credentials; see `AuthPort`."""
        current = None if reuse == "none" else self.open_connection()
        if current is not None:
            return current
        self.drop()
        stream = await self._tools.connector.open(self.connect_request(self.route, credentials))
        self._connection = UpstreamConnection(stream, NO_KEY)
        self._number += 1
        self._was_sent = False
        self._end_point = stream.end_point
        return self._facts(self._connection)

    def open_connection(self) -> ConnectionFacts | None:
        """Return the connection in use; see `AuthPort`."""
        if self._connection is not None and self._connection.is_quiet():
            return self._facts(self._connection)
        self.drop()
        return None

    def _facts(self, connection: UpstreamConnection) -> ConnectionFacts:
        return ConnectionFacts(self._number, was_used=connection.response_count > 0)

    def drop(self) -> None:
        """Close the connection in use; see `AuthPort`."""
        if self._connection is not None:
            self._connection.stream.close()
            self._connection = None

    def take_stream(self) -> SocketStream | None:
        """Return the connection for other uses than messages, if there is one; the caller closes
        it."""
        connection, self._connection = self._connection, None
        return connection.stream if connection is not None else None

    def mark_authenticated(self, credentials: Credentials) -> None:
        """Do nothing: the connection is closed after the response."""

    def report_closed(self, *, was_unused: bool) -> RequestRefusedError:
        """Return the error for a connection closed without a response; report no failure."""
        return self._no_response()

    async def send(self, message: Message) -> Response:
        """Send a message on the connection in use and return the head of its final response."""
        connection = self._connection
        assert connection is not None
        head = message.write_head(self._tools.via, direct=self.route.is_direct)
        self._was_sent = False
        try:
            async with asyncio.timeout(self._tools.limits.connect_response_head_s):
                await self._send_all(connection.stream, head)
                response = await final_head(connection, message.request.method)
        except (TimeoutError, MessageError):
            raise self._no_response() from None
        except (OSError, EOFError) as error:
            stream = connection.stream
            upstream = self.route.upstream
            refused = late_handshake_failure(upstream.host if upstream else "", error)
            if refused is not None:
                self._was_sent = False  # The next hop reads no request.
                raise refused from error
            is_unread = isinstance(error, OSError) or stream.last_data_was_unread
            raise ConnectionLostError(
                self._facts(connection), request_was_unread=is_unread and not stream.inbox
            ) from error
        finally:
            if message.carried is not None and self._was_sent:
                self.login_was_sent = True
        connection.response_count += 1
        return response

    async def _send_all(self, stream: SocketStream, octets: bytes) -> None:
        """Send octets, and wait until the kernel has accepted all of them."""
        rest = memoryview(octets)
        while rest:
            sent = stream.send(rest)
            self._was_sent = self._was_sent or sent > 0
            rest = rest[sent:]
            if rest:
                await wait_in_task(IoWait({stream.descriptor: WRITE}))

    def challenges_in(
        self, response: Response, method: bytes, carried: Credentials | None
    ) -> tuple[Challenge, ...] | None:
        """Return the challenges of a refusal; see `AuthPort`."""
        if self.route.is_direct:
            return None
        return self.detector.challenges_in(response, method, self.route.upstream_id, carried)

    def note_served(self, response: Response) -> None:
        """Do nothing: the requests of clients find out which sites are exempt."""

    async def drain(self, response: Response, method: bytes, *, in_handshake: bool) -> bool:
        """Read and discard the content of a response, if this is quick; see `AuthPort`."""
        tools = self._tools
        assert self._connection is not None
        return await self._connection.drain(
            response,
            method,
            wait_in_task,
            tools.clock,
            tools.limits.max_drain_octets,
            tools.limits.linger_s,
            in_handshake=in_handshake,
        )

    async def send_continue(self) -> None:
        """Do nothing: the request has no content."""

    async def read_content(self) -> None:
        """Do nothing: the request has no content."""

    async def run_step(
        self, credentials: Credentials, handshake: Handshake, challenges: tuple[Challenge, ...]
    ) -> Leg | Verdict:
        """Return the next step of a handshake. A blocking step runs in a thread; see `AuthPort`."""
        if not (credentials.scheme.blocks and credentials.authenticator.blocks):
            return handshake.step(challenges)
        try:
            async with asyncio.timeout(self._tools.limits.auth_step_s):
                return await self._tools.handshake_threads.run(handshake, challenges)
        except TimeoutError:
            return SERVER_SILENT

    def _no_response(self) -> RequestRefusedError:
        upstream, limits = self.route.upstream, self._tools.limits
        assert upstream is not None
        limit = limits.connect_response_head_s
        return RequestRefusedError(no_response(upstream.host, limit, through_upstream=True))


async def final_head(connection: UpstreamConnection, method: bytes) -> Response:
    """Return the head of the final response on a connection. Raise `EOFError` if the connection
    ended before."""
    stream = connection.stream
    while True:
        connection.skip_leftover()
        end = find_response_head(stream.inbox) if stream.inbox else None
        if end is not None:
            response = parse_response(bytes(stream.inbox[:end]), method)
            del stream.inbox[:end]
            connection.leftover = None
            if not response.is_interim:
                return response
        elif stream.ended:
            raise EOFError
        elif not stream.fill() and not stream.ended:
            await wait_in_task(IoWait({stream.descriptor: READ}))
