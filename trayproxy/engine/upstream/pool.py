"""Connections to the next hop: keeping and reusing them."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from trayproxy.desk.credentials import Credentials
from trayproxy.desk.protection_space import LoginId
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.fd_task import READ
from trayproxy.engine.net.poller import Poller
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.transfer.leftover_content import LeftoverContent
from trayproxy.engine.upstream.route import Route

MAX_IDLE_PER_KEY = 64
RECENT_USE_S = 0.05
"""A connection used so short a time ago is in the middle of its work: the sweep, once a second,
finds the one computer that fell asleep just then."""


class PoolKey(NamedTuple):
    """What an upstream connection may be used for again.

    Attributes:
        url: URL of the next hop.
        profile_id: The profile whose login it carries, empty if none does.
        generation: Of that login: a connection does not outlive a changed password.
        epoch: Of the pool: nor a switch, nor a sleep.
        authenticated_as: The login that the connection is signed in with: requests go on it as they
            are. None if it is not.
    """

    url: str
    profile_id: str = ""
    generation: int = 0
    epoch: int = 0
    authenticated_as: LoginId | None = None


class UpstreamConnection:
    """A connection to the next hop.

    Attributes:
        stream: Its socket.
        key: What it may be used for.
        response_count: How many answers have come over it.
        route: The way that the last request on it took.
        credentials: What the last request on it carried, if the next one may carry it in the same
            way.
        leftover: Skips content that may come in front of the next head.
        responses_before: How many answers the next hop had given when the last request began.
    """

    __slots__ = (
        "credentials",
        "key",
        "leftover",
        "response_count",
        "responses_before",
        "route",
        "stream",
    )

    def __init__(self, stream: SocketStream, key: PoolKey) -> None:
        self.stream = stream
        self.key = key
        self.response_count = 0
        self.route: Route | None = None
        self.credentials: Credentials | None = None
        self.leftover: LeftoverContent | None = None
        self.responses_before = 0

    @property
    def is_authenticated(self) -> bool:
        """Whether requests go on it as they are."""
        return self.key.authenticated_as is not None

    @property
    def is_upstream_silent(self) -> bool:
        """Whether the next hop has answered nothing at all since the last request began."""
        return self.route is not None and self.route.activity.responses == self.responses_before

    def is_quiet(self) -> bool:
        """Whether it is open and nothing unasked has come (RFC 9112, section 9.2)."""
        if self.leftover is not None:
            self.skip_leftover()
        return self.stream.is_quiet()

    def skip_leftover(self) -> None:
        """Drop content that came in front of the next head."""
        if self.leftover is not None and not self.leftover.skip(self.stream):
            self.leftover = None


class Pool:
    """Idle upstream connections, by what they may be used for.

    Attributes:
        epoch: Grows when the profile, a login or the network changes: connections that were made
            before are used no more, also those that were in use then and become idle later.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: EngineLimits,
        poller: Poller,
        check_for_suspend: Callable[[], None] = lambda: None,
    ) -> None:
        """Make an empty one.

        Args:
            loop: Its clock counts.
            limits: How long to keep them.
            poller: Tells when an idle connection ends, or says something.
            check_for_suspend: Called before a connection from earlier is used; calls `clear` if the
                computer has slept since.
        """
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
        """Whether connections with this key are from the time after the last change."""
        # As `check_for_suspend`, which is not called for every request.
        if self._loop.time() - self._checked_at > RECENT_USE_S:
            self.check_for_suspend()
        return key.epoch == self.epoch

    def check_for_suspend(self) -> None:
        """Notice that the computer has slept."""
        now = self._loop.time()
        # The clock that counts sleep is too slow to be read for every request of a busy client.
        if now - self._checked_at > RECENT_USE_S:
            self._checked_at = now
            self._check_for_suspend()

    def is_quiet(self, connection: UpstreamConnection) -> bool:
        """Whether a connection is open and nothing unasked has come.

        What has come is told to whoever watches it, but it may be that nobody has got round to it.
        """
        stream = connection.stream
        if self._poller.may_be_ready(stream.descriptor):
            return stream.is_quiet()
        return not (stream.inbox or stream.ended)

    def take(self, key: PoolKey) -> UpstreamConnection | None:
        """Return an idle connection, the one used last; None if there is none.

        It is watched still, and who takes it watches it next.
        """
        idle = self._idle.get(key)
        while idle:
            connection, since = idle.pop()
            self._by_descriptor.pop(connection.stream.descriptor)
            # An upstream that has had enough says so before it closes, and the answer to nobody's
            # request must not become that of the next. Just after use there is none.
            is_fresh = self._loop.time() - since < RECENT_USE_S
            if self.is_quiet(connection) if is_fresh else connection.is_quiet():
                return connection
            self.drop(connection)
        return None

    def has_idle(self, key: PoolKey) -> bool:
        """Whether there is an idle connection, as far as is known."""
        return bool(self._idle.get(key))

    def put(self, connection: UpstreamConnection) -> None:
        """Keep a connection whose last answer is complete, or close it if it is from earlier, not
        quiet, or one of many."""
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
            self.drop(connection)  # The system is out of something (epoll_ctl(2)).
            return
        idle.append((connection, self._loop.time()))
        self._by_descriptor[descriptor] = connection
        if self._timer is None:
            self._timer = self._loop.call_later(self._limits.idle_upstream_s, self._close_expired)

    def _on_event(self, descriptor: int, mask: int) -> None:
        """Close a connection that has ended, or that said something unasked."""
        connection = self._by_descriptor.get(descriptor)
        if connection is None:
            # It was taken, and who has it waits for something else first, such as a ticket: he is
            # told when he asks.
            self._poller.unregister(descriptor)
            return
        if connection.is_quiet():
            return  # A ticket or new keys, inside the encryption.
        idle = self._idle[connection.key]
        self._idle[connection.key] = deque(entry for entry in idle if entry[0] is not connection)
        self._close_idle(connection)

    def _close_idle(self, connection: UpstreamConnection) -> None:
        """Close a connection that is kept."""
        del self._by_descriptor[connection.stream.descriptor]
        self.drop(connection)

    def drop(self, connection: UpstreamConnection) -> None:
        """Close a connection that is kept no more."""
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
        """Close all: the profile, the login or the network has changed."""
        self.epoch += 1
        for idle in self._idle.values():
            for connection, _ in idle:
                self._close_idle(connection)
        self._idle.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
