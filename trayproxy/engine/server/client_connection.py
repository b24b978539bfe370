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
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from trayproxy.desk.credentials import Credentials
from trayproxy.desktop.socket_owner.base import Endpoint
from trayproxy.engine.context import EngineContext
from trayproxy.engine.downstream import ClientDownstream
from trayproxy.engine.forward.fast_path import (
    DONE,
    END,
    SLOW_PATH,
    UPSTREAM_BROKEN,
    WAIT,
    FastPathResult,
    PartlyRelayed,
    SentRequest,
    StillConnecting,
    on_client_ready,
    on_upstream_ready,
)
from trayproxy.engine.forward.request_loop import RequestLoop
from trayproxy.engine.net.fd_task import READ
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.proxy_auth.auth_context import AuthContext
from trayproxy.engine.proxy_py import Work
from trayproxy.engine.server.client_protocols import count_if_remote, speaks_socks, tunnel_session
from trayproxy.engine.server.listener_use import ListenerUse
from trayproxy.engine.server.periodic_checks import (
    Silence,
    disconnect_if_stalled,
    keep_connections_alive,
    keep_tunnel_alive,
    limit_half_closed,
    report_overdue_response,
)
from trayproxy.engine.server.refused_connections import RefusedConnections
from trayproxy.engine.transfer.tunnel import Tunnel
from trayproxy.engine.upstream.pool import UpstreamConnection

if TYPE_CHECKING:
    from trayproxy.engine.forward.tunnel_session import TunnelSession

logger = logging.getLogger(__name__)


class AcceptedConnection(NamedTuple):
    """An accepted connection.

    Attributes:
        peer: The address of the client, in the form of the socket module.
        local: The address of the listener; None if it listens on all addresses.
        use: How the connections of the listener are served.
    """

    connection: socket.SocketType
    peer: tuple[Any, ...]
    local: Endpoint | None
    use: ListenerUse


@dataclass(frozen=True, slots=True)
class ConnectionServices:
    """The objects shared by the client connections of an engine.

    Attributes:
        finish: Shuts the connection with this client descriptor down.
        count_unanswered: Returns the number of requests with this login waiting at a silent next
            hop.
    """

    context: EngineContext
    auth: AuthContext
    refused_connections: RefusedConnections
    finish: Callable[[int], None]
    count_unanswered: Callable[[Credentials], int]


class ClientConnection(Work[AcceptedConnection]):
    """A client connection: serves one request after another until a tunnel or the end.

    Attributes:
        tunnel: The tunnel of this connection, after a successful CONNECT; None before.
        sent: The pending request of the fast path; None without one.
    """

    def __init__(self, work: AcceptedConnection, flags: argparse.Namespace, **kwargs: Any) -> None:
        super().__init__(work, flags, **kwargs)
        services: ConnectionServices = flags.services
        self._services = services
        self.downstream = ClientDownstream(
            services.context,
            SocketStream(work.connection, has_no_delay=True),
            work.use.access_control.is_held,
            work.use.routes,
        )
        self.tunnel: Tunnel | None = None
        self.sent: SentRequest | None = None
        self._request_loop: RequestLoop | TunnelSession | None = None
        self._has_sent_request = self._is_remote = False
        self._silence: Silence | None = None

    create = staticmethod(AcceptedConnection)

    def initialize(self) -> None:
        """Ask access control, and handle the octets received so far."""
        downstream, context = self.downstream, self.downstream.context
        connection, peer, local, use = self.work
        access = use.access_control
        context.counters.active += 1
        if not access.admits(connection, peer, local):
            if use.target is None:
                refused = self._services.refused_connections
                refused.answer_then_close(connection, access.inquiry, access.refusal)
            self._reset()
            return
        self._is_remote = count_if_remote(downstream, use, peer)
        is_full = context.counters.is_full(context.limits, is_remote=self._is_remote)
        if use.target is not None:
            self._reset() if is_full else self._start_session()
            return
        if is_full:
            self._start(RequestLoop(downstream, self._services.auth, self._resume, is_refused=True))
            return
        self._on_event(downstream.client.descriptor, READ)
        if self.sent is None and self._request_loop is None:
            downstream.set_deadline(context.limits.first_octet_s)  # No octets have arrived yet.

    @property
    def is_on_slow_path(self) -> bool:
        """True while the request loop serves the connection."""
        return self._request_loop is not None

    # --- events ---

    def _on_event(self, descriptor: int, mask: int) -> None:
        """Handle a ready descriptor. All traffic passes through this method."""
        tunnel = self.tunnel
        if tunnel is not None:
            try:
                if tunnel.handle_event(descriptor, mask):
                    return
            except Exception as error:  # noqa: BLE001  # `_fail` logs it
                # `shutdown` resets both connections, as the tunnel is incomplete.
                self._fail(error)
            else:
                self._update_tunnel(tunnel)
            return
        if self._request_loop is not None:
            self._resume(descriptor)
            return
        downstream, sent = self.downstream, self.sent
        client = downstream.client
        result: FastPathResult | SentRequest | StillConnecting | PartlyRelayed | Tunnel
        try:
            if sent is None:
                if descriptor == client.descriptor:
                    result = on_client_ready(downstream)
                else:
                    downstream.check_upstream()
                    result = WAIT
            elif descriptor != client.descriptor:
                result = on_upstream_ready(downstream.context, client, sent)
            else:
                result = SLOW_PATH  # The client sends another request ahead, or has disconnected.
        except Exception as error:  # noqa: BLE001  # `_fail` logs it
            self._fail(error)
            return
        if result is DONE:
            self.sent = None
            downstream.set_deadline(downstream.context.limits.idle_s)
        elif isinstance(result, tuple):
            self.sent = result
            self._has_sent_request = True
            cached, upstream = result
            downstream.expect_response(upstream, opens_tunnel=cached.opens_tunnel)
            if downstream.idle_upstream is not upstream:
                self._register()
        else:
            self._apply(result)

    def _apply(self, result: FastPathResult | StillConnecting | PartlyRelayed | Tunnel) -> None:
        """Take the next step after a result of the fast path."""
        downstream = self.downstream
        if result is WAIT:
            self._register()
        elif result is END:
            self.sent = None
            self._finish()
        elif isinstance(result, Tunnel):
            self.sent = None
            self._start_tunnel(result)
        else:
            rest = b""
            if isinstance(result, PartlyRelayed):
                rest, self.sent = result.rest, None
                downstream.set_deadline(downstream.context.limits.idle_s)
            elif isinstance(result, StillConnecting):
                downstream.keep_connecting(result.stream.socket)
            elif result is UPSTREAM_BROKEN:
                downstream.drop_upstream()
            if not self._has_sent_request and speaks_socks(downstream):
                self._start_session()
                return
            sent, self.sent = self.sent, None
            auth, verify = self._services.auth, self.work.use.verify_for(self.work.peer)
            loop = RequestLoop(downstream, auth, self._resume, sent, rest, verify=verify)
            self._start(loop)

    def _start_session(self) -> None:
        auth, (_, peer, _, use) = self._services.auth, self.work
        self._start(tunnel_session(self.downstream, auth, use, peer, self._resume))

    def _start(self, request_loop: "RequestLoop | TunnelSession") -> None:
        self._has_sent_request = True
        self._request_loop = request_loop
        self._run_step(request_loop, request_loop.task.start)

    def _resume(self, woken_by: int) -> None:
        request_loop = self._request_loop
        if request_loop is not None:
            self._run_step(request_loop, partial(request_loop.task.step, woken_by))

    def _run_step(
        self, request_loop: "RequestLoop | TunnelSession", step: Callable[[], bool]
    ) -> None:
        """Run a step of the request loop. An unexpected error closes only this connection."""
        try:
            is_over = step()
        except Exception:
            logger.exception("connection %s failed", self.uid)
            self._finish()
            return
        if not is_over:
            self._register(request_loop.task.events)
            return
        self._request_loop = None
        self.downstream.drop_connecting()
        if request_loop.tunnel is not None:
            self._start_tunnel(request_loop.tunnel)
        elif request_loop.is_idle:
            self._apply(WAIT)
        else:
            self._finish()

    def _start_tunnel(self, tunnel: Tunnel) -> None:
        self.tunnel, downstream = tunnel, self.downstream
        downstream.clear_deadline()
        if not tunnel.may_have_data:
            if downstream.idle_upstream is not downstream.upstream:
                self._register(tunnel.events)
            return
        try:
            tunnel.start()
        except OSError as error:
            self._fail(error)
        else:
            self._update_tunnel(tunnel)

    def _update_tunnel(self, tunnel: Tunnel) -> None:
        """Register for the events of the tunnel, or close the connection if the tunnel is over."""
        if tunnel.is_over:
            self._finish()
            return
        limit_half_closed(tunnel, self.downstream)
        self._register(tunnel.events)

    def _register(self, events: dict[int, int] | None = None) -> None:
        """Register for exactly these events; see `ClientDownstream.try_register`."""
        if not self.downstream.try_register(events, self._on_event, self.uid):
            self._finish()

    def _fail(self, error: Exception) -> None:
        """Close the connection after an error. An OSError says that a peer has disconnected."""
        if not isinstance(error, OSError):
            logger.error("connection %s failed", self.uid, exc_info=error)
        self._finish()

    def _reset(self) -> None:
        self.downstream.reset_on_close()
        self._finish()

    def _finish(self) -> None:
        self._services.finish(self.downstream.client.descriptor)

    # --- time ---

    def is_inactive(self) -> bool:
        """Return whether the deadline has passed. The executor calls this once a second."""
        downstream = self.downstream
        upstream = downstream.upstream
        if self.tunnel is not None:
            keep_tunnel_alive(self.tunnel, downstream)
        elif upstream is not None:
            keep_connections_alive(downstream, upstream)
            if not self.is_between_requests:
                self._check_request(upstream)
        return downstream.deadline is not None and (
            downstream.context.loop.time() >= downstream.deadline
        )

    def _check_request(self, upstream: UpstreamConnection) -> None:
        # The fast path sends only requests that may be repeated.
        may_be_replaced = upstream.may_be_replaced or self.sent is not None
        disconnect_if_stalled(upstream, self.uid, may_be_replaced=may_be_replaced)
        self._silence = report_overdue_response(
            self.downstream.context,
            upstream,
            self.unanswered_credentials,
            self._silence,
            self._services.count_unanswered,
        )

    @property
    def unanswered_credentials(self) -> Credentials | None:
        """The credentials in the current request if the request has no response yet; otherwise
        None."""
        pending, sent = self.downstream.pending_credentials, self.sent
        if pending is None and sent is not None:
            upstream = sent[1]
            return None if upstream.is_authenticated else upstream.credentials
        return pending

    def time_out(self) -> None:
        """Handle a passed deadline: run the request loop, or close an idle connection."""
        request_loop, downstream = self._request_loop, self.downstream
        downstream.clear_deadline()
        if request_loop is not None:
            self._run_step(request_loop, request_loop.task.time_out)
        elif self.sent is not None:
            # The request loop answers the client.
            downstream.note_timeout()
            self._apply(SLOW_PATH)
        else:
            self._finish()

    @property
    def is_between_requests(self) -> bool:
        """True if the connection is between two requests."""
        request_loop = self._request_loop
        if request_loop is not None:
            return request_loop.is_between_requests
        return self.sent is None and self.tunnel is None

    def drop_idle_upstream(self) -> None:
        """Close the reserved upstream connection if this connection is idle."""
        if self.is_idle:
            self.downstream.drop_upstream()

    @property
    def is_idle(self) -> bool:
        """True if the connection is between two requests and has no unread data."""
        return self.is_between_requests and not self.downstream.client.inbox

    # --- the end ---

    def shutdown(self) -> None:
        """Release all resources of this connection. An idle upstream connection goes into the
        pool."""
        downstream, tunnel = self.downstream, self.tunnel
        counters = downstream.context.counters
        if self._request_loop is not None:
            if not self.is_between_requests:
                # A response delimited by close must not look complete.
                downstream.client.reset_on_close()
            self._request_loop.task.close()
            self._request_loop = None
        downstream.drop_connecting()
        if tunnel is not None:
            if not tunnel.is_over:
                downstream.reset_on_close()
            counters.count_tunnel(tunnel)
            tunnel.close()
        # The rest of a pending response must not reach another client.
        downstream.close(keeps_upstream=tunnel is None and self.sent is None)
        counters.active -= 1
        counters.remote -= self._is_remote
        # The method of proxy.py only publishes an unused event.
