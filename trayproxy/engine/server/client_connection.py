"""A client connection, as a `Work` of proxy.py.

The connection is in one of these states:

- idle: it waits for the next request, which the fast path handles first
  (`trayproxy.engine.forward.fast_path`);
- a request of the fast path waits for its response;
- the request loop runs, a coroutine for every request outside the fast path
  (`trayproxy.engine.forward.request_loop`);
- tunnel: it moves octets until it is closed (`trayproxy.engine.transfer.tunnel`).
"""

import argparse
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from typing import Any, Final, NamedTuple

from proxy.core.work.work import Work

from trayproxy.desk.broker import SilentUpstream
from trayproxy.desk.credentials import Credentials
from trayproxy.desktop.socket_owner.base import Endpoint
from trayproxy.engine.context import EngineContext
from trayproxy.engine.error_pages import ErrorPage, write_page
from trayproxy.engine.forward.fast_path import (
    END,
    SLOW_PATH,
    TUNNEL,
    WAIT,
    FastPathResult,
    on_client_ready,
    on_upstream_ready,
)
from trayproxy.engine.forward.request_loop import RequestLoop
from trayproxy.engine.net.fd_task import NO_EVENTS, READ, WRITE, FdTask, IoWait
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.proxy_auth.auth_context import AuthContext
from trayproxy.engine.server.access_control import AccessControl
from trayproxy.engine.server.refused_connections import RefusedConnections
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.transfer.tunnel import Tunnel
from trayproxy.engine.upstream.pool import UpstreamConnection
from trayproxy.http.request import Request

logger = logging.getLogger(__name__)


class AcceptedConnection(NamedTuple):
    """An accepted connection.

    Attributes:
        connection: The socket.
        peer: The address of the client, in the form of the socket module.
        local: The address of the listener; None if it listens on all addresses, in which case
            the socket must be asked.
    """

    connection: socket.SocketType
    peer: tuple[Any, ...]
    local: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class ConnectionServices:
    """The objects shared by the client connections of an engine.

    Attributes:
        context: The objects shared by all requests.
        auth: The objects shared by all authentication exchanges.
        access_control: Decides which connections are served.
        refused_connections: Answers connections refused by access control.
        finish: Shuts the connection with this client descriptor down.
        count_unanswered: Returns the number of requests with this login waiting at a silent next
            hop.
    """

    context: EngineContext
    auth: AuthContext
    access_control: AccessControl
    refused_connections: RefusedConnections
    finish: Callable[[int], None]
    count_unanswered: Callable[[Credentials], int]


class NotRegistered(Enum):
    """Type of the sentinel `NOT_REGISTERED`."""

    NOT_REGISTERED = auto()


NOT_REGISTERED: Final = NotRegistered.NOT_REGISTERED
"""The connection is not registered for idle events."""


class ClientConnection(Work[AcceptedConnection]):
    """A client connection: serves one request after another until a tunnel or the end.

    Attributes:
        context: The objects shared by all requests.
        auth: The objects shared by all authentication exchanges.
        client: The stream to the client.
        upstream: The upstream connection of the last request. It is reserved for this client while
            both connections are open, as connection-bound schemes require.
        tunnel: The tunnel of this connection, after a successful CONNECT; None before.
        deadline: When the current wait times out, in the event loop's time, noticed at most a
            second late; None for no limit.
        cached_request: The pending request of the fast path, None without one.
        connecting: A socket that the fast path has created and whose connection to the next hop is
            still being established; None without one.
        undelivered: The unsent octets of a response of the fast path.
        has_timed_out: True if the request of the fast path got no response before the deadline.
        is_over_limit: True if the maximum number of clients was connected before this client.
        is_between_requests: True if the connection is between two requests.
        pending_credentials: The credentials in the current request of the request loop while the
            request has no response; None if there is no such request.
    """

    def __init__(self, work: AcceptedConnection, flags: argparse.Namespace, **kwargs: Any) -> None:
        super().__init__(work, flags, **kwargs)
        self._services: ConnectionServices = flags.services
        self.context: EngineContext = self._services.context
        self.auth: AuthContext = self._services.auth
        self.client = SocketStream(work.connection, has_no_delay=True)
        self.upstream: UpstreamConnection | None = None
        self.tunnel: Tunnel | None = None
        self.deadline: float | None = None
        self.cached_request: CachedRequest | None = None
        self.connecting: socket.SocketType | None = None
        self.undelivered = b""
        self.has_timed_out = False
        self.is_over_limit = False
        self.is_between_requests = True
        self.pending_credentials: Credentials | None = None
        self._last_response: tuple[float, int] | None = None
        self._request_loop: RequestLoop | None = None
        self._fd_task: FdTask | None = None
        self._registered = NO_EVENTS
        self._idle_upstream: UpstreamConnection | NotRegistered | None = NOT_REGISTERED

    @staticmethod
    def create(*args: Any) -> AcceptedConnection:
        """Return the argument `work` of the constructor: the accepted connection."""
        return AcceptedConnection(*args)

    def initialize(self) -> None:
        """Ask access control, and handle the octets received so far."""
        context, access_control = self.context, self._services.access_control
        context.counters.active += 1
        if not access_control.admits(*self.work):
            self._services.refused_connections.answer_then_close(
                self.client.socket, access_control.inquiry
            )
            self.reset_on_close()
            self._finish()
            return
        self.is_over_limit = context.counters.active > context.limits.max_clients
        if self.is_over_limit:
            self._apply(SLOW_PATH)
            return
        self._on_event(self.client.descriptor, READ)
        if self._idle_upstream is None and self.is_between_requests:
            self.set_deadline(context.limits.first_octet_s)  # No octets have arrived yet.

    # --- events ---

    def _on_event(self, descriptor: int, mask: int) -> None:
        """Handle a ready descriptor. All traffic passes through this method."""
        tunnel = self.tunnel
        if tunnel is not None:
            try:
                if tunnel.handle_event(descriptor, mask):
                    return
            except OSError:
                self._finish()  # `shutdown` resets both connections, as the tunnel is incomplete.
                return
            except Exception:
                logger.exception("connection %s failed", self.uid)
                self._finish()
                return
            self._update_tunnel(tunnel)
            return
        if self._fd_task is not None:
            self._resume(descriptor)
            return
        try:
            if descriptor == self.client.descriptor:
                result = on_client_ready(self)
            else:
                result = on_upstream_ready(self)
        except OSError:
            result = END  # The client has disconnected.
        except Exception:
            logger.exception("connection %s failed", self.uid)
            result = END
        if result is not WAIT or self._idle_upstream is not self.upstream:
            self._apply(result)

    def _apply(self, result: FastPathResult) -> None:
        if result is WAIT:
            if self._idle_upstream is not self.upstream:
                self._register_idle(self.upstream)
        elif result is TUNNEL:
            self._start_tunnel()
        elif result is SLOW_PATH:
            self._request_loop = RequestLoop(self)
            self._fd_task = FdTask(self._request_loop.run(), self.context.loop, self._resume)
            self._run_step(self._fd_task.start)
        else:
            self._finish()

    def _resume(self, woken_by: int) -> None:
        """Resume the request loop."""
        fd_task = self._fd_task
        if fd_task is not None:
            self._run_step(lambda: fd_task.step(woken_by))

    def _run_step(self, step: Callable[[], bool]) -> None:
        """Run a step of the request loop. An unexpected error closes only this connection."""
        assert self._fd_task is not None
        try:
            is_over = step()
        except Exception:
            logger.exception("connection %s failed", self.uid)
            self._finish()
            return
        if not is_over:
            self._register(self._fd_task.events)
            return
        request_loop, self._request_loop, self._fd_task = self._request_loop, None, None
        self.drop_connecting()
        if self.tunnel is not None:
            self._start_tunnel()
        elif request_loop is not None and request_loop.is_idle:
            self._apply(WAIT)
        else:
            self._finish()

    def _start_tunnel(self) -> None:
        """Start to move octets in both directions."""
        tunnel = self.tunnel
        assert tunnel is not None
        self.deadline = None
        if not tunnel.may_have_data:
            if self._idle_upstream is not self.upstream:
                self._register(tunnel.events)
            return
        try:
            tunnel.start()
        except OSError:
            self._finish()
            return
        self._update_tunnel(tunnel)

    def _update_tunnel(self, tunnel: Tunnel) -> None:
        """Register for the events of the tunnel, or close the connection if the tunnel is over."""
        if tunnel.is_over:
            self._finish()
            return
        if self.deadline is None and (tunnel.up.is_over or tunnel.down.is_over):
            # One side has finished sending; limit how long the other side may be silent.
            self.set_deadline(self.context.limits.half_closed_s)
        self._register(tunnel.events)

    def _register_idle(self, upstream: UpstreamConnection | None) -> None:
        """Register for data from the client and from its reserved upstream connection, if any."""
        events = {self.client.descriptor: READ}
        if upstream is not None:
            events[upstream.stream.descriptor] = READ
        self._register(events)
        self._idle_upstream = upstream

    def _register(self, events: dict[int, int]) -> None:
        """Register for exactly these events."""
        self._idle_upstream = NOT_REGISTERED
        registered, poller = self._registered, self.context.poller
        self._registered = events
        for descriptor in registered:
            if descriptor not in events:
                poller.unregister(descriptor)
        try:
            for descriptor, mask in events.items():
                if registered.get(descriptor) != mask:
                    poller.register(descriptor, mask, self._on_event)
        except OSError as error:
            # The system is out of memory, or the limit of a user is exhausted (epoll_ctl(2)).
            logger.warning(
                "connection %s closed, its descriptors cannot be registered: %s",
                self.uid,
                error.strerror,
            )
            self._finish()

    def _finish(self) -> None:
        self._services.finish(self.client.descriptor)

    # --- time ---

    def is_inactive(self) -> bool:
        """Return whether the deadline has passed. The executor calls this once a second."""
        tunnel = self.tunnel
        if tunnel is not None:
            if not tunnel.has_keepalive:
                tunnel.enable_keepalive()
            if self.deadline is not None and tunnel.has_moved():
                self.set_deadline(self.context.limits.half_closed_s)
        elif self.upstream is not None and not self.is_between_requests:
            if not self.upstream.stream.has_keepalive:
                self.upstream.stream.enable_keepalive()  # The response may take minutes.
            self._report_overdue_response(self.upstream)
        return self.deadline is not None and self.context.loop.time() >= self.deadline

    def _report_overdue_response(self, upstream: UpstreamConnection) -> None:
        """Report to the desk if a login is pending and the next hop sends no responses at all."""
        credentials = self.unanswered_credentials
        if credentials is None or upstream.route is None:
            self._last_response = None
            return
        now, responses = self.context.loop.time(), upstream.route.activity.responses
        if self._last_response is None or self._last_response[1] != responses:
            self._last_response = (now, responses)
        elif now - self._last_response[0] >= self.context.limits.silent_upstream_s:
            self._last_response = (inf, responses)
            self.context.desk.report(
                credentials, SilentUpstream(self._services.count_unanswered(credentials))
            )

    @property
    def unanswered_credentials(self) -> Credentials | None:
        """The credentials in the current request if the request has no response yet; otherwise
        None."""
        upstream = self.upstream
        if (
            self.pending_credentials is None
            and self.cached_request is not None
            and upstream is not None
        ):
            return None if upstream.is_authenticated else upstream.credentials
        return self.pending_credentials

    def time_out(self) -> None:
        """Handle a passed deadline: run the request loop, or close an idle connection."""
        fd_task = self._fd_task
        self.deadline = None
        if fd_task is not None:
            self._run_step(fd_task.time_out)
        elif self.cached_request is not None:
            # The request loop answers the client.
            self.has_timed_out = True
            self._apply(SLOW_PATH)
        else:
            self._finish()

    def set_deadline(self, seconds: float) -> None:
        """Set the deadline to `seconds` from now."""
        self.deadline = self.context.loop.time() + seconds

    # --- the end ---

    def shutdown(self) -> None:
        """Release all resources of this connection. An idle upstream connection goes into the
        pool."""
        context = self.context
        if self._fd_task is not None:
            if not self.is_between_requests:
                self.reset_on_close()  # A response delimited by close must not look complete.
            self._fd_task.close()
            self._fd_task = self._request_loop = None
        self.drop_connecting()
        if self.tunnel is not None:
            if not self.tunnel.is_over:
                self._abort()
            context.counters.count_tunnel(self.tunnel)
            self.tunnel.close()
        upstream, self.upstream = self.upstream, None
        for descriptor in self._registered:
            if upstream is None or descriptor != upstream.stream.descriptor:
                context.poller.discard(descriptor)
        self._registered = NO_EVENTS
        if upstream is not None:
            # The rest of a pending response must not reach another client.
            if self.tunnel is None and self.cached_request is None:
                context.pool.put(upstream)
            else:
                context.poller.discard(upstream.stream.descriptor)
                upstream.stream.close()
        self.client.close()
        context.counters.active -= 1
        # The method of proxy.py only publishes an unused event.

    def _abort(self) -> None:
        """Reset both connections on close, so that both sides detect an incomplete tunnel."""
        self.client.reset_on_close()
        if self.upstream is not None:
            self.upstream.stream.reset_on_close()

    @property
    def is_idle(self) -> bool:
        """True if the connection is between two requests and has no unread data."""
        return self.is_between_requests and not self.client.inbox

    def reset_on_close(self) -> None:
        """Close the client connection by a reset (RST)."""
        self.client.reset_on_close()

    # --- used by the request loop and the authentication exchange ---

    def events(
        self, client_mask: int, upstream: SocketStream | None, upstream_mask: int
    ) -> dict[int, int]:
        """Return the descriptors and event masks to wait for."""
        events = {self.client.descriptor: client_mask} if client_mask else {}
        if upstream is not None and upstream_mask:
            events[upstream.descriptor] = upstream_mask
        return events

    def release(self, descriptor: int) -> None:
        """Deregister a descriptor before it is closed or handed over."""
        # This includes a descriptor that the pool registered. If a stale registration remained, a
        # new socket with the same number would not be registered and would get no events.
        self.context.poller.unregister(descriptor)
        if descriptor in self._registered:
            rest = dict(self._registered)
            del rest[descriptor]
            self._registered = rest
            self._idle_upstream = NOT_REGISTERED

    def is_client_held(self) -> bool | None:
        """Return whether a process still holds the client's end of the connection; None if the
        operating system does not report it."""
        return self._services.access_control.is_held(self.client.socket)

    def drop_upstream(self) -> None:
        """Close the upstream connection, if any."""
        if self.upstream is not None:
            self.release(self.upstream.stream.descriptor)
            self.upstream.stream.close()
            self.upstream = None

    def drop_connecting(self) -> None:
        """Close the socket `connecting`, if any."""
        if self.connecting is not None:
            self.connecting.close()
            self.connecting = None

    async def deliver(self, data: bytes) -> None:
        """Send octets to the client, and wait until all of them are sent.

        Raises:
            OSError: The client has disconnected.
            TimeoutError: The client has read nothing for too long.
        """
        rest = memoryview(data)
        while True:
            rest = rest[self.client.send(rest) :]
            if not rest:
                return
            self.set_deadline(self.context.limits.body_s)
            await IoWait(self.events(WRITE, None, 0))

    async def send_page(
        self, page: ErrorPage, request: Request | None, *, keep_alive: bool
    ) -> bool:
        """Send an error page to the client.

        Args:
            page: The error page.
            request: The request, if its head was parsed.
            keep_alive: True if the connection stays open.

        Returns:
            `keep_alive`.
        """
        target = request.target.authority if request is not None else None
        octets = write_page(
            page,
            address=str(self.context.own_address),
            host=target.host if target else "",
            keep_alive=keep_alive,
            with_body=request is None or request.method != b"HEAD",
        )
        await self.deliver(octets)
        if not keep_alive:
            await self.linger()
        return keep_alive

    async def linger(self) -> None:
        """Read and discard the data that the client still sends, so that no reset destroys the
        response (RFC 9112, section 9.6)."""
        self.client.shutdown_write()
        self.client.inbox.clear()
        end = self.context.loop.time() + self.context.limits.linger_s
        left = self.context.limits.max_drain_octets
        while left > 0 and not self.client.ended:
            data = self.client.receive()
            if data is None:
                rest = end - self.context.loop.time()
                if rest <= 0:
                    return
                await IoWait(self.events(READ, None, 0), timeout=rest)
            else:
                left -= len(data)
