"""One client connection, as proxy.py's `Work`: request after request, until a tunnel or the end.

It is at rest, or somebody has it in hand:

- at rest it waits for the next request, which the shortcut looks at first (`shortcut`);
- a request on the short way waits for an answer as usual;
- whatever is not as usual is told as a story, one coroutine from top to bottom (`story`);
- a tunnel moves octets, and nothing follows (`tunnel`).
"""

import argparse
import logging
import socket
from collections.abc import Callable
from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from proxy.core.work import Work

from trayproxy.desk.credentials import Credentials
from trayproxy.desktop.socket_owner.base import Endpoint
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
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.transfer.tunnel import Tunnel
from trayproxy.engine.upstream.pool import UpstreamConnection
from trayproxy.http.request import Request

if TYPE_CHECKING:
    from trayproxy.engine.engine import Engine

logger = logging.getLogger(__name__)


class AcceptedConnection(NamedTuple):
    """What a listener accepted.

    Attributes:
        connection: The connection.
        peer: The address of its other end, as the socket module has it.
        local: That of ours, if the listener has just this one; None: the socket knows.
    """

    connection: socket.SocketType
    peer: tuple[Any, ...]
    local: Endpoint | None = None


class NotRegistered(Enum):
    """What a connection waits beside that waits for something else."""

    NOT_REGISTERED = auto()


NOT_REGISTERED: Final = NotRegistered.NOT_REGISTERED


class ClientConnection(Work[AcceptedConnection]):
    """A client connection.

    Attributes:
        client: The client's socket.
        upstream: The connection that answered its last request, kept as its own while both live;
            connection-bound schemes need that.
        tunnel: The tunnel that this connection has become, if it has.
        deadline: Loop time after which it has waited for too long, noticed at most a second late;
            None for no limit.
        cached_request: The request that is on its way by the shortcut, None if none is.
        connecting: A connection to the next hop that the shortcut began and that takes its time.
        undelivered: What the client has not taken yet of an answer from the shortcut.
        has_timed_out: The answer to what was sent on the short way has not come in time.
        is_over_limit: There were as many clients as we serve before it.
        is_between_requests: It is between two requests.
        pending_credentials: The login that a request of the story carries and that has no answer
            yet.
    """

    def __init__(self, work: AcceptedConnection, flags: argparse.Namespace, **kwargs: Any) -> None:
        super().__init__(work, flags, **kwargs)
        self.engine: Engine = flags.engine
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
        """Return the work of proxy.py's contract: the accepted socket and its peer."""
        return AcceptedConnection(*args)

    def initialize(self) -> None:
        """Let the connection in, and begin with what has come with it."""
        engine = self.engine
        engine.counters.active += 1
        if not engine.access_control.admits(*self.work):
            engine.refused_connections.answer_then_close(
                self.client.socket, engine.access_control.inquiry
            )
            self.reset_on_close()
            self._finish()
            return
        self.is_over_limit = engine.counters.active > engine.limits.max_clients
        if self.is_over_limit:
            self._apply(SLOW_PATH)
            return
        self._on_event(self.client.descriptor, READ)
        if self._idle_upstream is None and self.is_between_requests:
            self.set_deadline(engine.limits.first_octet_s)  # Nothing has come with it.

    # --- events ---

    def _on_event(self, descriptor: int, mask: int) -> None:
        """Go on after a descriptor has become ready. This is where all traffic passes."""
        tunnel = self.tunnel
        if tunnel is not None:
            try:
                if tunnel.handle_event(descriptor, mask):
                    return
            except OSError:
                self._finish()  # It is not over: both sides see that it was cut.
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
            result = END  # The client has gone.
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
            self._fd_task = FdTask(self._request_loop.run(), self.engine.loop, self._resume)
            self._run_step(self._fd_task.start)
        else:
            self._finish()

    def _resume(self, woken_by: int) -> None:
        """Go on with the story."""
        fd_task = self._fd_task
        if fd_task is not None:
            self._run_step(lambda: fd_task.step(woken_by))

    def _run_step(self, step: Callable[[], bool]) -> None:
        """Take a step of the story; one that fails ends this connection alone."""
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
        """Let octets pass both ways from now on."""
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
        """Wait for what the tunnel waits for now, or end with it."""
        if tunnel.is_over:
            self._finish()
            return
        if self.deadline is None and (tunnel.up.is_over or tunnel.down.is_over):
            # One side has ended its sending: the other may not be silent for ever.
            self.set_deadline(self.engine.limits.half_closed_s)
        self._register(tunnel.events)

    def _register_idle(self, upstream: UpstreamConnection | None) -> None:
        """Wait for what either side says, as long as they are a pair."""
        events = {self.client.descriptor: READ}
        if upstream is not None:
            events[upstream.stream.descriptor] = READ
        self._register(events)
        self._idle_upstream = upstream

    def _register(self, events: dict[int, int]) -> None:
        """Wait for these from now on, and for nothing else."""
        self._idle_upstream = NOT_REGISTERED
        registered, poller = self._registered, self.engine.poller
        self._registered = events
        for descriptor in registered:
            if descriptor not in events:
                poller.unregister(descriptor)
        try:
            for descriptor, mask in events.items():
                if registered.get(descriptor) != mask:
                    poller.register(descriptor, mask, self._on_event)
        except OSError as error:
            # The system is out of memory, or of what it grants a user (epoll_ctl(2)).
            logger.warning("connection %s cannot go on: %s", self.uid, error.strerror)
            self._finish()

    def _finish(self) -> None:
        self.engine.executor.finish(self.client.descriptor)

    # --- time ---

    def is_inactive(self) -> bool:
        """Whether it has waited for too long. The executor's sweep asks once a second."""
        tunnel = self.tunnel
        if tunnel is not None:
            if not tunnel.has_keepalive:
                tunnel.enable_keepalive()
            if self.deadline is not None and tunnel.has_moved():
                self.set_deadline(self.engine.limits.half_closed_s)
        elif self.upstream is not None and not self.is_between_requests:
            if not self.upstream.stream.has_keepalive:
                self.upstream.stream.enable_keepalive()  # Its answer may take minutes.
            self._report_overdue_response(self.upstream)
        return self.deadline is not None and self.engine.loop.time() >= self.deadline

    def _report_overdue_response(self, upstream: UpstreamConnection) -> None:
        """Tell the desk if a login is on its way and the next hop answers no request at all."""
        carried = self.unanswered_credentials
        if carried is None or upstream.route is None:
            self._last_response = None
            return
        now, answers = self.engine.loop.time(), upstream.route.activity.responses
        if self._last_response is None or self._last_response[1] != answers:
            self._last_response = (now, answers)
        elif now - self._last_response[0] >= self.engine.limits.silent_upstream_s:
            self._last_response = (inf, answers)
            self.engine.desk.upstream_silent(carried, self.engine.count_unanswered(carried))

    @property
    def unanswered_credentials(self) -> Credentials | None:
        """The login that the present request carries and that has no answer yet, None if none."""
        upstream = self.upstream
        if (
            self.pending_credentials is None
            and self.cached_request is not None
            and upstream is not None
        ):
            return None if upstream.is_authenticated else upstream.credentials
        return self.pending_credentials

    def time_out(self) -> None:
        """Do something about that."""
        fd_task = self._fd_task
        self.deadline = None
        if fd_task is not None:
            self._run_step(fd_task.time_out)
        elif self.cached_request is not None:
            # The story takes over at the end of its patience with the next hop.
            self.has_timed_out = True
            self._apply(SLOW_PATH)
        else:
            self._finish()

    def set_deadline(self, seconds: float) -> None:
        """Limit how long it may wait from now on."""
        self.deadline = self.engine.loop.time() + seconds

    # --- the end ---

    def shutdown(self) -> None:
        """Close what this connection holds; an idle upstream connection is kept for others."""
        engine = self.engine
        if self._fd_task is not None:
            if not self.is_between_requests:
                self.reset_on_close()  # What has come of its answer may end with the connection.
            self._fd_task.close()
            self._fd_task = self._request_loop = None
        self.drop_connecting()
        if self.tunnel is not None:
            if not self.tunnel.is_over:
                self._abort()
            engine.counters.count_tunnel(self.tunnel)
            self.tunnel.close()
        upstream, self.upstream = self.upstream, None
        for descriptor in self._registered:
            if upstream is None or descriptor != upstream.stream.descriptor:
                engine.poller.discard(descriptor)
        self._registered = NO_EVENTS
        if upstream is not None:
            # What is still to come on it may answer a request of this client.
            if self.tunnel is None and self.cached_request is None:
                engine.pool.put(upstream)
            else:
                engine.poller.discard(upstream.stream.descriptor)
                upstream.stream.close()
        self.client.close()
        engine.counters.active -= 1
        # proxy.py's own only publishes an event, which nobody asked for.

    def _abort(self) -> None:
        """Let both sides see that the tunnel was cut, not ended."""
        self.client.reset_on_close()
        if self.upstream is not None:
            self.upstream.stream.reset_on_close()

    @property
    def is_idle(self) -> bool:
        """Whether it is between two requests."""
        return self.is_between_requests and not self.client.inbox

    def reset_on_close(self) -> None:
        """Let the client see a reset when the connection closes."""
        self.client.reset_on_close()

    # --- what stories and exchanges use ---

    def events(
        self, client_mask: int, upstream: SocketStream | None, upstream_mask: int
    ) -> dict[int, int]:
        """Return what to wait for."""
        events = {self.client.descriptor: client_mask} if client_mask else {}
        if upstream is not None and upstream_mask:
            events[upstream.descriptor] = upstream_mask
        return events

    def release(self, descriptor: int) -> None:
        """Say that a descriptor is about to be closed or given away."""
        # Also one that the pool has registered until now: what is still thought to be registered when its
        # number comes back is not asked for again, and the next owner hears nothing for ever.
        self.engine.poller.unregister(descriptor)
        if descriptor in self._registered:
            rest = dict(self._registered)
            del rest[descriptor]
            self._registered = rest
            self._idle_upstream = NOT_REGISTERED

    def drop_upstream(self) -> None:
        """Close the upstream connection."""
        if self.upstream is not None:
            self.release(self.upstream.stream.descriptor)
            self.upstream.stream.close()
            self.upstream = None

    def drop_connecting(self) -> None:
        """Close the connection that the shortcut began and nobody took."""
        if self.connecting is not None:
            self.connecting.close()
            self.connecting = None

    async def deliver(self, data: bytes) -> None:
        """Send octets to the client, as quickly as it takes them.

        Raises:
            OSError: It has gone.
            TimeoutError: It takes nothing for too long.
        """
        rest = memoryview(data)
        while True:
            rest = rest[self.client.send(rest) :]
            if not rest:
                return
            self.set_deadline(self.engine.limits.body_s)
            await IoWait(self.events(WRITE, None, 0))

    async def send_page(
        self, page: ErrorPage, request: Request | None, *, keep_alive: bool
    ) -> bool:
        """Answer with a page of ours. Return whether the connection goes on."""
        target = request.target.authority if request is not None else None
        octets = write_page(
            page,
            address=self.engine.address,
            host=target.host if target else "",
            keep_alive=keep_alive,
            with_body=request is None or request.method != b"HEAD",
        )
        await self.deliver(octets)
        if not keep_alive:
            await self.linger()
        return keep_alive

    async def linger(self) -> None:
        """Read what the client still sends, so that our answer is not lost to a reset (9112,
        9.6)."""
        self.client.shutdown_write()
        self.client.inbox.clear()
        end = self.engine.loop.time() + self.engine.limits.linger_s
        left = self.engine.limits.max_drain_octets
        while left > 0 and not self.client.ended:
            data = self.client.receive()
            if data is None:
                rest = end - self.engine.loop.time()
                if rest <= 0:
                    return
                await IoWait(self.events(READ, None, 0), timeout=rest)
            else:
                left -= len(data)
