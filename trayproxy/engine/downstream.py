"""The client side of a request, as the forwarding code sees it.

The client side is a client connection, or, for preconnects and late responses, a stand-in without a
client.
"""

import logging
import socket
from collections.abc import Callable
from math import inf
from typing import Protocol

from trayproxy.desk.credentials import Credentials
from trayproxy.desktop.socket_owner.base import Endpoint
from trayproxy.engine.context import EngineContext
from trayproxy.engine.error_pages import Document, ErrorPage, write_document, write_page
from trayproxy.engine.net.fd_task import NO_EVENTS, READ, TIMED_OUT, WRITE, IoWait
from trayproxy.engine.net.poller import ReadyHandler
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.transfer.request_writer import ClientGoneError
from trayproxy.engine.upstream.pool import UpstreamConnection
from trayproxy.engine.upstream.route import RouteSource
from trayproxy.http.request import Request

logger = logging.getLogger(__name__)

CLIENT_CHECK_INTERVAL_S = 0.5
"""Seconds between two checks whether a client is still connected while TrayProxy does not read from
it."""


class TunnelReplies(Protocol):
    """Writes the replies to a client that asks for one tunnel without HTTP."""

    @property
    def established(self) -> bytes:
        """The octets to send before the octets of the tunnel."""

    def refused(self, page: ErrorPage) -> bytes:
        """Return the octets to send instead of an error page; empty to reset the connection."""


class Downstream:
    """The client side of a request, and its upstream connection.

    This base class has no client; `ClientDownstream` overrides the methods that need one.

    Attributes:
        connecting: A socket that the fast path has created and whose connection to the next hop is
            still being established; None without one.
        deadline: When the current wait times out, in the event loop's time, noticed at most a
            second late; None for no limit.
        is_remote: True if the client is a program of another computer, such as a container, and has
            chosen the target itself.
        pending_credentials: The credentials in the current request while it has no response; None
            if there is no such request.
    """

    __slots__ = (
        "client",
        "connecting",
        "context",
        "deadline",
        "is_remote",
        "pending_credentials",
        "upstream",
    )

    def __init__(self, context: EngineContext, client: SocketStream) -> None:
        self.context = context
        self.client = client
        self.upstream: UpstreamConnection | None = None
        self.connecting: socket.SocketType | None = None
        self.deadline: float | None = None
        self.is_remote = False
        self.pending_credentials: Credentials | None = None

    def set_deadline(self, seconds: float) -> None:
        """Set the deadline to `seconds` from now. Without a client, the whole exchange has a
        timeout instead."""

    def clear_deadline(self) -> None:
        """Remove the deadline of the present wait: nothing times out any more."""
        self.deadline = None

    def take_timeout(self) -> bool:
        """Return True if the fast path waited for a response until its deadline. The next call
        returns False."""
        return False

    def events(
        self, client_mask: int, upstream: SocketStream | None, upstream_mask: int
    ) -> dict[int, int]:
        """Return the descriptors and event masks to wait for. A mask is 0 for no events."""
        return {upstream.descriptor: upstream_mask} if upstream is not None else {}

    def release(self, descriptor: int) -> None:
        """Deregister a descriptor before it is closed or handed over.

        The descriptor may also be one that the pool has registered: if a stale registration
        remained, a new socket with the same number would not be registered and would get no events.
        """
        self.context.poller.unregister(descriptor)

    def is_client_held(self) -> bool | None:
        """Return whether a process still holds the client's end of its connection; None if the
        operating system does not report it."""
        return True

    async def deliver(self, data: bytes) -> None:
        """Send octets to the client, and wait until all of them are sent.

        Raises:
            OSError: The client has disconnected.
            TimeoutError: The client has read nothing for too long.
        """

    def use_upstream(self, upstream: UpstreamConnection) -> None:
        """Set the upstream connection in use. The caller has taken or dropped the one before."""
        self.upstream = upstream

    def take_upstream(self) -> UpstreamConnection | None:
        """Return the upstream connection in use, which belongs to the caller from now on; None
        without one. Its descriptor stays registered."""
        upstream, self.upstream = self.upstream, None
        return upstream

    def drop_upstream(self) -> None:
        """Close the upstream connection, if any."""
        if self.upstream is not None:
            self.release(self.upstream.stream.descriptor)
            self.upstream.stream.close()
            self.upstream = None

    def forget_connecting(self) -> None:
        """Leave the socket `connecting` to the connection made of it."""
        self.connecting = None

    def drop_connecting(self) -> None:
        """Close the socket `connecting`, if any."""
        if self.connecting is not None:
            self.connecting.close()
            self.connecting = None


class ClientDownstream(Downstream):
    """The client side of the requests on a client connection.

    The upstream connection is reserved for this client while both connections are open, as
    connection-bound schemes require.

    Attributes:
        has_timed_out: True if the request of the fast path got no response before the deadline.
        idle_upstream: The upstream connection if exactly the client and this connection are
            registered, both for reading; otherwise None.
        routes: Chooses the routes of the requests.
        program: See `trayproxy.engine.upstream.route.RouteClient`.
        tunnel_replies: The replies to a client without HTTP; None for a client of HTTP.
    """

    __slots__ = (
        "_is_held",
        "_registered",
        "has_timed_out",
        "idle_upstream",
        "program",
        "routes",
        "tunnel_replies",
    )

    def __init__(
        self,
        context: EngineContext,
        client: SocketStream,
        is_held: Callable[[socket.SocketType], bool | None],
        routes: RouteSource,
    ) -> None:
        """Create the client side of a client connection; for `is_held` see `AccessControl`."""
        super().__init__(context, client)
        self.has_timed_out = False
        self.idle_upstream: UpstreamConnection | None = None
        self.routes = routes
        self.program: str | None = None
        self.tunnel_replies: TunnelReplies | None = None
        self._is_held = is_held
        self._registered = NO_EVENTS

    def ends(self) -> tuple[Endpoint, Endpoint] | None:
        """Return the addresses of TrayProxy and of the client; see `RouteClient`."""
        connection = self.client.socket
        try:
            return connection.getsockname()[:2], connection.getpeername()[:2]
        except OSError:
            return None

    def set_deadline(self, seconds: float) -> None:
        """Set the deadline to `seconds` from now; see `Downstream`."""
        self.deadline = self.context.loop.time() + seconds

    def take_timeout(self) -> bool:
        """Return True if the fast path waited for a response until its deadline."""
        has_timed_out, self.has_timed_out = self.has_timed_out, False
        return has_timed_out

    def note_timeout(self) -> None:
        """Record that the request of the fast path got no response before the deadline."""
        self.has_timed_out = True

    def events(
        self, client_mask: int, upstream: SocketStream | None, upstream_mask: int
    ) -> dict[int, int]:
        """Return the descriptors and event masks to wait for. A mask is 0 for no events."""
        events = {self.client.descriptor: client_mask} if client_mask else {}
        if upstream is not None and upstream_mask:
            events[upstream.descriptor] = upstream_mask
        return events

    def register_idle(self, on_event: ReadyHandler) -> None:
        """Register for data from the client and from the upstream connection, if any. Raise
        `OSError` if the poller cannot register a descriptor."""
        upstream, events = self.upstream, {self.client.descriptor: READ}
        if upstream is not None:
            events[upstream.stream.descriptor] = READ
        self.register(events, on_event)
        self.idle_upstream = upstream

    def register(self, events: dict[int, int], on_event: ReadyHandler) -> None:
        """Register for exactly these events. Raise `OSError` if the poller cannot register a
        descriptor."""
        self.idle_upstream = None
        registered, poller = self._registered, self.context.poller
        self._registered = events
        for descriptor in registered:
            if descriptor not in events:
                poller.unregister(descriptor)
        for descriptor, mask in events.items():
            if registered.get(descriptor) != mask:
                poller.register(descriptor, mask, on_event)

    def try_register(self, events: dict[int, int] | None, on_event: ReadyHandler, uid: str) -> bool:
        """Register for exactly these events, or as `register_idle` if there are none.

        Return False, with a line in the log, if the system is out of memory, or the limit of a user
        is exhausted (epoll_ctl(2)). `uid` is the connection in the log.
        """
        try:
            if events is None:
                self.register_idle(on_event)
            else:
                self.register(events, on_event)
        except OSError as error:
            logger.warning(
                "connection %s closed, its descriptors cannot be registered: %s",
                uid,
                error.strerror,
            )
            return False
        return True

    def release(self, descriptor: int) -> None:
        """Deregister a descriptor before it is closed or handed over; see `Downstream`."""
        self.context.poller.unregister(descriptor)
        if descriptor in self._registered:
            rest = dict(self._registered)
            del rest[descriptor]
            self._registered = rest
            self.idle_upstream = None

    def is_client_held(self) -> bool | None:
        """Return whether a process still holds the client's end of its connection."""
        return self._is_held(self.client.socket)

    async def deliver(self, data: bytes) -> None:
        """Send octets to the client, and wait until all of them are sent; see `Downstream`."""
        rest = memoryview(data)
        while True:
            rest = rest[self.client.send(rest) :]
            if not rest:
                return
            self.set_deadline(self.context.limits.body_s)
            await IoWait(self.events(WRITE, None, 0))

    @property
    def speaks_http(self) -> bool:
        """True if the client gets HTTP responses."""
        return self.tunnel_replies is None

    async def confirm_tunnel(self, head: bytes) -> None:
        """Tell the client that its tunnel is open; `head` is the response for a client of HTTP. See
        `deliver` for the errors."""
        replies = self.tunnel_replies
        await self.deliver(head if replies is None else replies.established)

    async def send_page(
        self, page: ErrorPage, request: Request | None, *, keep_alive: bool
    ) -> bool:
        """Send an error page to the client, whose request is None if its head was not parsed.
        Return True if the connection stays open, which needs `keep_alive`."""
        if self.tunnel_replies is not None:
            await self.refuse_tunnel(self.tunnel_replies.refused(page))
            return False
        target = request.target.authority if request is not None else None
        octets = write_page(
            page,
            address=self.context.own_address.as_seen_by(self.client.socket),
            host=target.host if target else "",
            keep_alive=keep_alive,
            with_body=request is None or request.method != b"HEAD",
        )
        await self.deliver(octets)
        if not keep_alive:
            await self.linger()
        return keep_alive

    async def refuse_tunnel(self, reply: bytes) -> None:
        """Send a reply to a client without HTTP before its connection is closed. Without a reply,
        the close is a reset: an orderly end would look like an empty answer."""
        if reply:
            await self.deliver(reply)
            await self.linger()
        else:
            self.client.reset_on_close()

    async def send_document(self, document: Document, request: Request) -> bool:
        """Send a document of TrayProxy's own to the client; return False: the connection closes."""
        await self.deliver(write_document(document, with_body=request.method != b"HEAD"))
        await self.linger()
        return False

    async def linger(self) -> None:
        """Read and discard the data that the client still sends, so that no reset destroys the
        response (RFC 9112, section 9.6)."""
        context, client = self.context, self.client
        client.shutdown_write()
        client.inbox.clear()
        end = context.loop.time() + context.limits.linger_s
        left = context.limits.max_drain_octets
        while left > 0 and not client.ended:
            data = client.receive()
            if data is None:
                rest = end - context.loop.time()
                if rest <= 0:
                    return
                await IoWait(self.events(READ, None, 0), timeout=rest)
            else:
                left -= len(data)

    def expect_response(self, upstream: UpstreamConnection, *, opens_tunnel: bool) -> None:
        """Set the upstream connection of the current request, and the deadline of its response."""
        limits = self.context.limits
        self.upstream = upstream
        self.deadline = self.context.loop.time() + (
            limits.connect_response_head_s if opens_tunnel else limits.response_head_s
        )

    def check_upstream(self) -> None:
        """Close the upstream connection if it has ended or has sent unsolicited octets."""
        if self.upstream is not None and not self.upstream.is_quiet():
            self.drop_upstream()

    def keep_connecting(self, connecting: socket.SocketType) -> None:
        """Keep a socket still connecting to the next hop, for the next use of a connection."""
        self.connecting = connecting

    def reset_on_close(self) -> None:
        """Close both connections by a reset (RST), so that both sides detect an incomplete
        tunnel."""
        self.client.reset_on_close()
        if self.upstream is not None:
            self.upstream.stream.reset_on_close()

    def close(self, *, keeps_upstream: bool) -> None:
        """Close all connections, or put the upstream connection into the pool instead."""
        upstream, self.upstream = self.upstream, None
        pool, poller = self.context.pool, self.context.poller
        for descriptor in self._registered:
            if upstream is None or descriptor != upstream.stream.descriptor:
                poller.discard(descriptor)
        self._registered = NO_EVENTS
        if upstream is not None:
            if keeps_upstream:
                pool.put(upstream)
            else:
                pool.drop(upstream)
        self.client.close()


async def wait_for_event(
    downstream: Downstream, io_wait: IoWait, *, is_parked: bool = False
) -> int:
    """Wait for an event. Meanwhile, read early data of the client and detect its disconnection.

    A request that waits for the desk, for a sign-in server or for its route is parked. Return the
    ready descriptor, `FUTURE_DONE` or `TIMED_OUT`.

    Raises:
        ClientGoneError: The client has disconnected while the request is parked, or its connection
            has failed.
    """
    client, loop = downstream.client, downstream.context.loop
    max_octets = downstream.context.limits.max_early_octets
    deadline = None if io_wait.timeout is None else loop.time() + io_wait.timeout
    while True:
        is_client_read = not client.ended and len(client.inbox) < max_octets
        events = io_wait.events
        if is_client_read:
            events = {**events, client.descriptor: READ}
        wait_s = None if deadline is None else max(0.0, deadline - loop.time())
        if is_parked and not is_client_read:
            _check_client_present(downstream)
            wait_s = min(CLIENT_CHECK_INTERVAL_S, inf if wait_s is None else wait_s)
        woken = await IoWait(events, io_wait.future, wait_s)
        if woken == TIMED_OUT and (deadline is None or loop.time() < deadline):
            continue
        if woken != client.descriptor:
            return woken
        try:
            client.fill()
        except OSError:
            raise ClientGoneError from None


def _check_client_present(downstream: Downstream) -> None:
    """Raise `ClientGoneError` if a client from which TrayProxy does not read has disconnected.

    The inbox of such a client is full, or the client has closed its sending side, which it may do
    without leaving. Its socket gives no other sign of a disconnection.
    """
    is_open = downstream.is_client_held()
    if is_open is False or (is_open is None and downstream.client.ended):
        raise ClientGoneError


class NullStream(SocketStream):
    """The client stream of a `NullDownstream`: no data, and closed for sending."""

    __slots__ = ()

    def __init__(self) -> None:
        self.descriptor = -1
        self.inbox = bytearray()
        self.ended = True
        self.truncated = False


class NullDownstream(Downstream):
    """The downstream without a client, for preconnects and late responses."""

    __slots__ = ()

    def __init__(self, context: EngineContext) -> None:
        super().__init__(context, NullStream())
