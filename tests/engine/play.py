"""Plays of authentication exchanges: values in place of sockets, connections and clocks.

A `Play` serves the requests of one client like the forwarder does, with a real `AuthExchange`, the
desk of the tests, and an upstream that is a function from a message to the octets of its response.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from tests.engine.fakes import FakeBroker
from trayproxy.auth.scheme import Handshake, Leg, Verdict
from trayproxy.desk.credentials import Credentials, PendingRequest, Refusal
from trayproxy.desk.protection_space import LoginId
from trayproxy.engine.downstream import Downstream
from trayproxy.engine.error_pages import CONNECTION_CLOSED, RequestRefusedError
from trayproxy.engine.net.fd_task import IoWait
from trayproxy.engine.proxy_auth.auth_exchange import AuthExchange
from trayproxy.engine.proxy_auth.auth_port import (
    Attempt,
    ConnectionFacts,
    ConnectionLostError,
    LoginSupersededError,
    Message,
    Progress,
    Reuse,
    UnansweredError,
)
from trayproxy.engine.proxy_auth.challenge_detection import ChallengeDetector
from trayproxy.engine.proxy_auth.request_broker import StreamRequestBroker
from trayproxy.engine.proxy_auth.upstream_lease import UpstreamLease
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.upstream.route import Route
from trayproxy.http.challenges import Challenge
from trayproxy.http.heads import find_head, find_response_head
from trayproxy.http.request import Request, parse_request
from trayproxy.http.response import Response, parse_response
from trayproxy.profiles.profile import Profile, Upstream

T = TypeVar("T")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
OFFICE = Profile("office", "Office", Upstream("proxy.test", 3128))
MAX_UNANSWERED = 2
"""How often a request without a response to its login waits for credentials again, as in the
forwarder."""


class ConnectionClosedError(Exception):
    """The upstream closes the connection instead of responding.

    Attributes:
        is_unread: True if the upstream has not read the message.
    """

    def __init__(self, *, is_unread: bool = False) -> None:
        super().__init__("the connection is cut")
        self.is_unread = is_unread


@dataclass(frozen=True, slots=True)
class Received:
    """A message received by the upstream.

    Attributes:
        connection: The number of its connection, from 1.
        head: The octets of its head.
        content: Its content.
    """

    connection: int
    head: bytes
    content: bytes = b""

    @property
    def method(self) -> bytes:
        """The method."""
        return self.head.partition(b" ")[0]

    def value(self, name: bytes) -> bytes:
        """Return the value of a field; empty without the field."""
        for line in self.head.split(b"\r\n")[1:]:
            found, _, value = line.partition(b": ")
            if found.lower() == name:
                return value
        return b""

    @property
    def credentials(self) -> bytes:
        """The value of ``Proxy-Authorization``; empty without credentials."""
        return self.value(b"proxy-authorization")


@dataclass(frozen=True, slots=True)
class ClosingResponse:
    """A response after which the upstream closes the connection without announcing it.

    Attributes:
        octets: The response.
        is_late: True if the end arrives only after the next message was sent.
    """

    octets: bytes
    is_late: bool = False


PlayUpstream = Callable[[Received], bytes | ClosingResponse]
"""Returns the response to a message. May raise `ConnectionClosedError`."""


def in_turn(*answers: bytes | ClosingResponse) -> PlayUpstream:
    """Return an upstream with these responses, the last for all further messages."""
    left = list(answers)
    return lambda message: left.pop(0) if len(left) > 1 else left[0]


def by_connection(*upstreams: PlayUpstream) -> PlayUpstream:
    """Return an upstream for each connection, the last for all further connections."""

    def answer(message: Received) -> bytes | ClosingResponse:
        return upstreams[min(message.connection, len(upstreams)) - 1](message)

    return answer


@dataclass(eq=False)
class PlayConnection:
    """A connection to the upstream, from the side of TrayProxy."""

    number: int
    authenticated_as: LoginId | None = None
    response_count: int = 0
    is_closed: bool = False
    is_unread: bool = False


@dataclass
class Connections:
    """The connections of a client, and the messages sent on them.

    Attributes:
        upstream: Answers the messages.
        route: The route of the requests.
        received: All messages, in order.
        current: The connection in use; None without one.
        idle: The connection in the pool; None without one.
        before_open: Called before each new connection.
        lost_unused: For each request refused after a lost connection, True if no response had
            arrived on the connection.
    """

    upstream: PlayUpstream
    route: Route = field(default_factory=lambda: Route.via_profile(OFFICE))
    received: list[Received] = field(default_factory=list)
    current: PlayConnection | None = None
    idle: PlayConnection | None = None
    count: int = 0
    before_open: Callable[[], object] = lambda: None
    lost_unused: list[bool] = field(default_factory=list)

    def release(self) -> None:
        """Return the connection in use to the pool."""
        if self.current is not None and not self.current.is_closed:
            self.idle = self.current
        self.current = None

    def drop(self) -> None:
        """Close the connection in use."""
        self.current = None

    def open(self) -> PlayConnection:
        """Open a connection."""
        self.before_open()
        self.count += 1
        return PlayConnection(self.count)


class PlayPort:
    """The port of one request; see `trayproxy.engine.proxy_auth.auth_port.AuthPort`."""

    def __init__(
        self,
        request: Request,
        content: bytes,
        connections: Connections,
        detector: ChallengeDetector,
        *,
        is_repeatable: bool,
    ) -> None:
        self.login_was_sent = False
        self.detector = detector
        self.is_sent = False
        self.continues = 0
        self._request = request
        self._content = content
        self._connections = connections
        self._number = 0
        self._is_repeatable = is_repeatable
        self._was_sent = self._content_was_read = False

    @property
    def route(self) -> Route:
        return self._connections.route

    @property
    def progress(self) -> Progress:
        is_repeatable = self._is_repeatable or not self._content
        return Progress(
            self._was_sent,
            self._was_sent,
            self._content_was_read,
            self._content_was_read or not self._content,
            is_repeatable,
        )

    @property
    def content(self) -> bytes | None:
        return self._content if self._content_was_read or not self._content else None

    @property
    def end_point(self) -> bytes:
        return b""

    async def acquire(self, credentials: Credentials | None, reuse: Reuse) -> ConnectionFacts:
        connections = self._connections
        login_id = credentials.login_id if credentials is not None else None
        current = connections.current
        if (
            current is not None
            and reuse != "none"
            and not current.is_closed
            and current.authenticated_as in (None, login_id)
        ):
            return self._facts(current)
        connections.release()
        is_tunnel = self._request.method == b"CONNECT"
        is_allowed = reuse == "idle for challenge" or (reuse == "idle" and not is_tunnel)
        connections.current = self._take_idle(login_id, is_allowed=is_allowed)
        if connections.current is None:
            connections.current = connections.open()
        self._number += 1
        self._was_sent = False
        return self._facts(connections.current)

    def _take_idle(self, login_id: LoginId | None, *, is_allowed: bool) -> PlayConnection | None:
        idle = self._connections.idle
        if not is_allowed or idle is None or idle.authenticated_as not in (None, login_id):
            return None
        self._connections.idle = None
        return idle

    def _facts(self, connection: PlayConnection) -> ConnectionFacts:
        is_authenticated = connection.authenticated_as is not None
        return ConnectionFacts(self._number, is_authenticated, connection.response_count > 0)

    def open_connection(self) -> ConnectionFacts | None:
        current = self._connections.current
        if current is None or current.is_closed:
            self._connections.drop()
            return None
        return self._facts(current)

    def drop(self) -> None:
        self._connections.drop()

    def mark_authenticated(self, credentials: Credentials) -> None:
        assert self._connections.current is not None
        self._connections.current.authenticated_as = credentials.login_id

    def report_closed(self, *, was_unused: bool) -> RequestRefusedError:
        self._connections.lost_unused.append(was_unused)
        return RequestRefusedError(CONNECTION_CLOSED)

    async def send(self, message: Message) -> Response:
        connection, request = self._connections.current, message.request
        assert connection is not None
        head = message.write_head(b"play", direct=False)
        self._was_sent = True
        self.login_was_sent = self.login_was_sent or message.carried is not None
        try:
            if connection.is_unread:
                raise ConnectionClosedError(is_unread=True)
            octets = self._exchange(connection, head, message)
        except ConnectionClosedError as cut:
            facts = self._facts(connection)
            raise ConnectionLostError(facts, request_was_unread=cut.is_unread) from cut
        end = find_response_head(octets)
        assert end is not None
        connection.response_count += 1
        return parse_response(octets[:end], request.method)

    def _exchange(self, connection: PlayConnection, head: bytes, message: Message) -> bytes:
        """Return the octets of the response to a message."""
        content = self._content if message.has_content else b""
        answer: bytes | ClosingResponse = CONTINUE
        if message.holds_content:
            answer = self._answer(Received(connection.number, head))
        if answer == CONTINUE:
            self._content_was_read = self._content_was_read or bool(content)
            answer = self._answer(Received(connection.number, head, content))
        if isinstance(answer, ClosingResponse):
            connection.is_closed, connection.is_unread = not answer.is_late, answer.is_late
            return answer.octets
        return answer

    def _answer(self, message: Received) -> bytes | ClosingResponse:
        self._connections.received.append(message)
        return self._connections.upstream(message)

    def challenges_in(
        self, response: Response, method: bytes, carried: Credentials | None
    ) -> tuple[Challenge, ...] | None:
        return self.detector.challenges_in(response, method, self.route.upstream_id, carried)

    def note_served(self, response: Response) -> None:
        pass

    async def drain(self, response: Response, method: bytes, *, in_handshake: bool) -> bool:
        return True

    async def send_continue(self) -> None:
        self.continues += 1

    async def read_content(self) -> None:
        self._content_was_read = True

    async def run_step(
        self, credentials: Credentials, handshake: Handshake, challenges: tuple[Challenge, ...]
    ) -> Leg | Verdict:
        return handshake.step(challenges)


class _PlayLease:
    """The parts of an `UpstreamLease` that a `StreamRequestBroker` uses."""

    unanswered_stream = None

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    @property
    def route(self) -> Route:
        return self._connections.route

    async def await_preconnect(self, credentials: Credentials) -> bool:
        return False

    def end_authentication(self) -> None:
        pass

    def record_handshake(self, credentials: Credentials) -> None:
        pass

    def report_captive_portal(self, url: str) -> None:
        pass

    def release_connection(self) -> None:
        self._connections.release()

    async def wait(self, io_wait: IoWait, *, is_parked: bool = False) -> int:
        assert io_wait.future is not None
        await asyncio.wait([io_wait.future])
        return -1


class Play:
    """The requests of one client through one upstream.

    Attributes:
        desk: The desk.
        connections: The connections and the messages received by the upstream.
        when_parked: Called when a request waits at the desk.
    """

    def __init__(
        self,
        upstream: PlayUpstream,
        desk: FakeBroker,
        *,
        when_parked: Callable[[FakeBroker], object] = FakeBroker.release_all,
        is_repeatable: bool = True,
    ) -> None:
        self.desk = desk
        self.connections = Connections(upstream)
        self.when_parked = when_parked
        self._detector = ChallengeDetector()
        self._is_repeatable = is_repeatable

    @property
    def received(self) -> list[Received]:
        """The messages received by the upstream."""
        return self.connections.received

    @property
    def logins(self) -> list[Received]:
        """The messages with credentials."""
        return [message for message in self.received if message.credentials]

    def forget_connections(self) -> None:
        """Close all connections, as after a change of the network."""
        self.connections.current = self.connections.idle = None

    def switch(self, route: Route) -> None:
        """Move the current request and all further requests to another route."""
        self.forget_connections()
        self.connections.route = route

    def ask(self, *requests: bytes) -> list[int]:
        """Send requests, one after the other; return the statuses of their responses."""

        async def ask_all() -> list[int]:
            return [await self._ask(octets) for octets in requests]

        return self.run(ask_all())

    @staticmethod
    def run(awaitable: Awaitable[T]) -> T:
        """Run a coroutine on an event loop of its own."""

        async def run() -> T:
            return await awaitable

        return asyncio.run(run())

    async def _ask(self, octets: bytes) -> int:
        end = find_head(octets)
        assert end is not None
        request = parse_request(octets[:end])
        try:
            return await self._send(request, octets[end:])
        except RequestRefusedError as refused:
            self.connections.drop()
            return refused.page.status

    async def _send(self, request: Request, content: bytes) -> int:
        """Send a request until there is a response, as the forwarder does."""
        exchange = self._exchange(request, content)
        pending = PendingRequest(str(request.target.authority))
        attempt, unanswered = self._unchallenged(), 0
        while True:
            try:
                outcome = await exchange.send(attempt)
            except LoginSupersededError:
                attempt = self._unchallenged()
                continue
            except UnansweredError:
                unanswered += 1
                if unanswered > MAX_UNANSWERED:
                    raise
                attempt = Attempt(None, needs_new_connection=True)
                continue
            if outcome.response is not None:
                if request.method == b"CONNECT":
                    self.connections.current = None  # The tunnel uses it.
                elif not outcome.response.keep_alive:
                    self.connections.drop()
                return outcome.response.status
            assert outcome.challenge is not None
            space = self.connections.route.upstream_id
            assert space is not None
            future = self.desk.challenged(
                space,
                OFFICE,
                outcome.challenge.challenges,
                pending,
                outcome.credentials,
                outcome.challenge.verdict,
            )
            if not future.done():
                self.connections.release()
                self.when_parked(self.desk)
            result = await future
            if isinstance(result, Refusal):
                return 503
            if result is None:
                attempt = Attempt(None, needs_new_connection=True)
                continue
            known = self.desk.known(result.upstream_id)
            is_trusted = known is not None and known.login_id == result.login_id
            attempt = Attempt(result, is_on_trial=not is_trusted, is_from_desk=True)

    def _exchange(self, request: Request, content: bytes) -> AuthExchange:
        """Return the exchange of a request."""
        port = PlayPort(
            request, content, self.connections, self._detector, is_repeatable=self._is_repeatable
        )
        downstream: Any = SimpleNamespace(
            context=SimpleNamespace(broker=self.desk), clear_deadline=lambda: None, upstream=None
        )
        lease = cast("UpstreamLease", _PlayLease(self.connections))
        cached = CachedRequest(request, None)
        broker = StreamRequestBroker(cast("Downstream", downstream), cached, lease)
        return AuthExchange(port, broker, request)

    def _unchallenged(self) -> Attempt:
        """Return the attempt before any challenge."""
        assert self.connections.route.upstream_id is not None
        return Attempt(self.desk.known(self.connections.route.upstream_id))
