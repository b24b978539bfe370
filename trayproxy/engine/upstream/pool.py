"""The pool of idle upstream connections."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from trayproxy.desk.credentials import Credentials
from trayproxy.desk.protection_space import LoginId
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.fd_task import READ, TIMED_OUT, IoWait, Pause
from trayproxy.engine.net.poller import Poller
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.upstream.leftover_content import LeftoverContent
from trayproxy.engine.upstream.route import Route
from trayproxy.http.body import response_body_reader
from trayproxy.http.errors import MessageError
from trayproxy.http.response import Response

MAX_IDLE_PER_KEY = 64
"""Maximum number of idle connections per key."""
RECENT_USE_S = 0.05
"""A connection used within this time, in seconds, is reused without a check of its socket or of the
suspend clock. A suspend in this time is detected by the check once a second."""


class PoolKey(NamedTuple):
    """The key of a pooled connection: requests with an equal key may use the connection.

    Attributes:
        url: The URL of the next hop.
        profile_id: The profile of the login on this connection; empty without a login.
        generation: The generation of that login, so that a connection is not reused after a change
            of the password.
        epoch: The epoch of the pool, so that a connection is not reused after a switch of the
            profile, a network change or a suspend.
        authenticated_as: The login of an authenticated connection: requests on
            it carry no login. None for a connection without authentication.
    """

    url: str
    profile_id: str = ""
    generation: int = 0
    epoch: int = 0
    authenticated_as: LoginId | None = None


@dataclass(eq=False, slots=True)
class UpstreamConnection:
    """A connection to the next hop.

    Attributes:
        network: `NetworkGrace.changes` at the time when the connection was opened.
        response_count: Number of responses received on the connection.
        route: The route of the last request on the connection.
        credentials: The credentials in the last request, if the next request may carry the same
            header value; otherwise None.
        leftover: Skips content before the head of the next response.
        responses_before: `UpstreamActivity.responses` at the start of the last request.
        may_be_replaced: True while a request without a response may be sent again on another
            connection.
    """

    stream: SocketStream
    key: PoolKey
    network: int = 0
    response_count: int = 0
    route: Route | None = None
    credentials: Credentials | None = None
    leftover: LeftoverContent | None = None
    responses_before: int = 0
    may_be_replaced: bool = False

    @property
    def is_authenticated(self) -> bool:
        """True if the connection itself is authenticated, so that requests carry no login."""
        return self.key.authenticated_as is not None

    @property
    def is_upstream_silent(self) -> bool:
        """True if the next hop has sent no response on any connection since the start of the last
        request."""
        return self.route is not None and self.route.activity.responses == self.responses_before

    def is_quiet(self) -> bool:
        """Return whether the connection is open and has no unsolicited data (RFC 9112, section
        9.2)."""
        if self.leftover is not None:
            self.skip_leftover()
        return self.stream.is_quiet()

    def skip_leftover(self) -> None:
        """Discard received content before the head of the next response."""
        if self.leftover is not None and not self.leftover.skip(self.stream):
            self.leftover = None

    async def drain(
        self,
        response: Response,
        method: bytes,
        pause: Pause,
        clock: Callable[[], float],
        max_octets: int,
        max_s: float,
        *,
        in_handshake: bool,
    ) -> bool:
        """Read and discard the content of a response, so that the connection can carry the next
        message (R-084). Return True if the content was complete and no octets followed it.

        During a handshake, the next leg must go over the same connection, which is then kept even
        if another reader may see another end of the content.
        """
        stream = self.stream
        self.leftover = LeftoverContent.of(response, method, max_octets)
        body, octets_left = response_body_reader(response.framing), max_octets
        deadline = clock() + max_s
        try:
            while not body.done:
                if stream.inbox or stream.fill():
                    data = stream.take_inbox()
                    octets_left -= len(data)
                    _, used = body.feed(data)
                    if used < len(data):
                        return False
                    if octets_left < 0:
                        return body.done
                elif stream.ended:
                    return False
                else:
                    remaining_s = deadline - clock()
                    wait = IoWait({stream.descriptor: READ}, timeout=max(0.0, remaining_s))
                    if remaining_s <= 0 or await pause(wait) == TIMED_OUT:
                        return False
        except (OSError, MessageError):
            return False
        self.skip_leftover()
        return not stream.inbox and not stream.ended and (body.is_unambiguous or in_handshake)


class Pool:
    """A pool of idle upstream connections, keyed by `PoolKey`.

    Attributes:
        epoch: Incremented when the profile, a login or the network changes. Connections of an
            earlier epoch are not reused, including connections in use at the time of the change.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: EngineLimits,
        poller: Poller,
        check_for_suspend: Callable[[], None] = lambda: None,
    ) -> None:
        """Create an empty pool. `check_for_suspend` is called before an idle connection is used,
        and calls `clear` if the computer was suspended."""
        self.epoch = 0
        self._check_for_suspend = check_for_suspend
        self._checked_at = -RECENT_USE_S
        self._loop = loop
        self._limits = limits
        self._poller = poller
        self._idle: dict[PoolKey, deque[tuple[UpstreamConnection, float]]] = {}
        self._by_descriptor: dict[int, UpstreamConnection] = {}
        self._timer: asyncio.TimerHandle | None = None

    def is_current(self, key: PoolKey) -> bool:
        """Return whether a key belongs to the current epoch."""
        # The condition of `check_for_suspend`, to save the call for most requests.
        if self._loop.time() - self._checked_at > RECENT_USE_S:
            self.check_for_suspend()
        return key.epoch == self.epoch

    def check_for_suspend(self) -> None:
        """Check whether the computer was suspended, unless the last check was less than
        `RECENT_USE_S` ago."""
        now = self._loop.time()
        # Reading the suspend clock for every request of a busy client would be too slow.
        if now - self._checked_at > RECENT_USE_S:
            self._checked_at = now
            self._check_for_suspend()

    def is_quiet(self, connection: UpstreamConnection) -> bool:
        """Return whether a connection is open and has no unsolicited data. The socket is read only
        if the poller may have a pending event."""
        stream = connection.stream
        if self._poller.may_be_ready(stream.descriptor):
            return stream.is_quiet()
        return not (stream.inbox or stream.ended)

    def take(self, key: PoolKey) -> UpstreamConnection | None:
        """Remove the most recently used idle connection from the pool, and return it; None if the
        pool has none with this key.

        The connection stays registered with the poller; the caller must re-register it.
        """
        idle = self._idle.get(key)
        while idle:
            connection, since = idle.pop()
            self._by_descriptor.pop(connection.stream.descriptor)
            # An upstream may send a response, such as a 408, before it closes an idle connection.
            # That response must not be taken for the response to the next request. It does not
            # arrive immediately after the connection was used.
            is_fresh = self._loop.time() - since < RECENT_USE_S
            if self.is_quiet(connection) if is_fresh else connection.is_quiet():
                return connection
            self.drop(connection)
        return None

    def has_idle(self, key: PoolKey) -> bool:
        """Return whether the pool has an idle connection with this key; the upstream may already
        have closed it."""
        return bool(self._idle.get(key))

    def idle_connections(self) -> list[UpstreamConnection]:
        """Return all idle connections; their upstreams may already have closed them."""
        return list(self._by_descriptor.values())

    def put(self, connection: UpstreamConnection) -> None:
        """Put a connection whose last response is complete into the pool.

        The connection is closed instead if it belongs to an earlier epoch, has unsolicited data, or
        exceeds `MAX_IDLE_PER_KEY`.
        """
        if connection.key.epoch != self.epoch or not self.is_quiet(connection):
            self.drop(connection)
            return
        idle = self._idle.get(connection.key)
        if idle is None:
            idle = self._idle[connection.key] = deque()
        if len(idle) >= MAX_IDLE_PER_KEY:
            self.drop(connection)
            return
        descriptor = connection.stream.descriptor
        try:
            self._poller.register(descriptor, READ, self._on_event)
        except OSError:
            self.drop(connection)  # The system is out of memory or watches (epoll_ctl(2)).
            return
        if not connection.stream.has_keepalive:
            connection.stream.enable_keepalive()
        idle.append((connection, self._loop.time()))
        self._by_descriptor[descriptor] = connection
        if self._timer is None:
            self._timer = self._loop.call_later(self._limits.idle_upstream_s, self._close_expired)

    def _on_event(self, descriptor: int, mask: int) -> None:
        """Close an idle connection that has ended or has unsolicited data."""
        connection = self._by_descriptor.get(descriptor)
        if connection is None:
            # A request has taken the connection and is waiting for something else, such as a
            # ticket. The event occurs again when the request registers the descriptor.
            self._poller.unregister(descriptor)
            return
        if connection.is_quiet():
            return  # A TLS session ticket or a key update.
        idle = self._idle[connection.key]
        self._idle[connection.key] = deque(entry for entry in idle if entry[0] is not connection)
        self._close_idle(connection)

    def _close_idle(self, connection: UpstreamConnection) -> None:
        del self._by_descriptor[connection.stream.descriptor]
        self.drop(connection)

    def drop(self, connection: UpstreamConnection) -> None:
        """Close a connection outside the pool."""
        self._poller.discard(connection.stream.descriptor)
        connection.stream.close()

    def _close_expired(self) -> None:
        self._timer = None
        oldest = self._loop.time() - self._limits.idle_upstream_s
        for key, idle in list(self._idle.items()):
            while idle and idle[0][1] <= oldest:
                self._close_idle(idle.popleft()[0])
            if not idle:
                del self._idle[key]
        if self._idle:
            self._timer = self._loop.call_later(self._limits.idle_upstream_s, self._close_expired)

    def clear(self) -> None:
        """Close all idle connections, and start a new epoch."""
        self.epoch += 1
        for idle in self._idle.values():
            for connection, _ in idle:
                self._close_idle(connection)
        self._idle.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
