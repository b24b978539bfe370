"""Connections that are signed in ahead of need, so that the next tunnel need not wait for it.

NTLM signs in a connection, and a tunnel uses it up: each new one would cost two round trips more.
So where it is wanted (`spares` decides), one more connection is signed in after the client that
needed the last one was answered, and put into the pool like any other that is idle.

It is signed in wholly or not at all. A proxy reserves a helper for each sign-in that has begun, and
one that is left half-way would take it from somebody else. So a whole request carries the legs, and
it is one that leads nowhere: ``HEAD`` with ``Cache-Control: only-if-cached``, which a cache answers
itself, with a 504 if it has nothing (RFC 9111, section 5.2.1.7). A proxy without a cache asks the
site for a head, which has no effect there (RFC 9110, section 9.2.1). ``OPTIONS`` with
``Max-Forwards: 0``, which no proxy may pass on, would be right by the book; Squid answers it with a
501 before it asks for a login, and closes. The request goes where one of a program has just been
asked for a login: elsewhere the proxy may not ask. Its host is all that it has of that.

What goes out is what would go out for a program, by the same code and the same rules: the desk must
be sure of the login, it hears of a refusal as of that of any request whose program has left, and
whoever comes meanwhile waits to learn what becomes of it, so that a refused login is sent once.
Nobody else hears of it: it is no client, and what it meets is no problem of the next hop, since the
next client will meet it and tell.
"""

import asyncio
import logging
import socket
from functools import partial
from typing import TYPE_CHECKING

from trayproxy.desk.credentials import Credentials, PendingRequest
from trayproxy.desk.machine.outcomes import is_password_unchecked
from trayproxy.engine.error_pages import ErrorPage, RequestRefusedError
from trayproxy.engine.forward.forwarder import Attempt, send_with_login
from trayproxy.engine.net.fd_task import IoWait, run_in_task
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.proxy_auth.auth_exchange import (
    AuthChallenge,
    AuthExchange,
    LoginSupersededError,
)
from trayproxy.engine.proxy_auth.preconnect_policy import (
    MAX_KEYS,
    BurstDetector,
    PreconnectOrder,
    PreconnectPolicy,
    PreconnectResult,
)
from trayproxy.engine.proxy_auth.single_flight import SingleFlight
from trayproxy.engine.proxy_auth.upstream_lease import UpstreamLease
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.transfer.replay_buffer import ReplayBuffer
from trayproxy.engine.transfer.request_writer import RequestWriter
from trayproxy.engine.transfer.response_reader import ResponseReader
from trayproxy.engine.upstream.pool import PoolKey, UpstreamConnection
from trayproxy.http.framing import NoBody
from trayproxy.http.request import Request, parse_request
from trayproxy.http.response import Response
from trayproxy.http.target import Authority

if TYPE_CHECKING:
    from trayproxy.engine.engine import Engine

logger = logging.getLogger(__name__)


def preconnect_request(target: Authority) -> Request:
    """Return a request that leads nowhere, see the module.

    Raises:
        MessageError: The target is none.
    """
    head = (
        f"HEAD http://{target}/ HTTP/1.1\r\nHost: {target}\r\n"
        "User-Agent: TrayProxy\r\nCache-Control: only-if-cached\r\n\r\n"
    )
    return parse_request(head.encode("ascii"))


class NullStream(SocketStream):
    """The socket of a client that does not exist: it has sent all, and takes nothing."""

    __slots__ = ()

    def __init__(self) -> None:
        self.descriptor = -1
        self.inbox = bytearray()
        self.ended = True
        self.truncated = False


class NullDownstream:
    """Stands where a client would be; see `trayproxy.engine.downstream.Downstream`."""

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self.client: SocketStream = NullStream()
        self.upstream: UpstreamConnection | None = None
        self.begun: socket.SocketType | None = None
        self.deadline: float | None = None
        self.is_late = False
        self.carried: Credentials | None = None

    def deadline_in(self, seconds: float) -> None:
        """Leave the limit as it is: there is one for the whole."""

    def events(
        self, client_mask: int, upstream: SocketStream | None, upstream_mask: int
    ) -> dict[int, int]:
        """Return what to wait for: the next hop alone."""
        return {upstream.descriptor: upstream_mask} if upstream is not None else {}

    def release(self, descriptor: int) -> None:
        """Stop watching. A task that waits leaves nothing behind, and what the pool watches is not
        taken from it."""
        self.engine.descriptors.forget(descriptor)

    def drop_upstream(self) -> None:
        """Close the connection to the next hop."""
        if self.upstream is not None:
            self.engine.pool.drop(self.upstream)
            self.upstream = None

    def drop_begun(self) -> None:
        """Close nothing: the shortcut begins connections for clients only."""

    async def deliver(self, data: bytes) -> None:
        """Let what is said on the way pass: nobody listens."""


class PreconnectLease(UpstreamLease):
    """The next hop of a request that nobody waits for."""

    __slots__ = ()

    async def wait(self, io_wait: IoWait) -> int:
        """Wait; there is no client to look after."""
        return await io_wait

    def _take_from_pool(
        self, key: PoolKey, credentials: Credentials | None, *, even_for_tunnel: bool = False
    ) -> UpstreamConnection | None:
        """Take nothing: what is there is for programs."""
        return None

    def report_failure(self, page: ErrorPage) -> None:
        """Tell nobody."""

    def record_silence(self) -> None:
        """Count nothing: clients find out whether it is dead."""

    def register_demand(self, credentials: Credentials) -> None:
        """Let those go first who wait for a connection."""

    def record_handshake(self, credentials: Credentials) -> None:
        """Want no other one for it."""


class ReadyConnection:
    """A connection that was put into the pool.

    Attributes:
        connection: The connection.
        used: How often it had been when it was put there.
        since: Loop time of that.
    """

    __slots__ = ("connection", "pooled_at", "use_count")

    def __init__(self, connection: UpstreamConnection, pooled_at: float) -> None:
        self.connection = connection
        self.use_count = connection.used
        self.pooled_at = pooled_at

    def was_lost(self, now: float, kept_s: float) -> bool:
        """Whether its next hop closed it before anybody used it, and before we would have."""
        is_closed = self.connection.stream.socket.fileno() < 0
        is_unused = self.connection.used == self.use_count
        return is_closed and is_unused and now - self.pooled_at < kept_s


class Preconnect:
    """One connection on its way into the pool.

    Attributes:
        ready: What there is in the end.
    """

    def __init__(self, engine: "Engine", order: PreconnectOrder) -> None:
        self._engine = engine
        self._order = order
        self._downstream = NullDownstream(engine)
        self.ready: ReadyConnection | None = None

    async def authenticate(self) -> PreconnectResult:
        """Sign it in and put it into the pool.

        Raises:
            RequestRefusedError: There is no connection, or no answer on it.
            LoginSupersededError: The login was refused to a request of a program meanwhile.
        """
        downstream, order = self._downstream, self._order
        # The same login, but not as it was let go for the one request that the order came from.
        credentials = self._engine.desk.known(order.credentials.upstream_id) or order.credentials
        cached_request = CachedRequest(preconnect_request(order.target), None)
        lease = PreconnectLease(downstream, cached_request.request, order.route, order.route)
        writer = RequestWriter(downstream.client, NoBody(), ReplayBuffer(enabled=False))
        exchange = AuthExchange(
            downstream,
            cached_request,
            lease,
            ResponseReader(downstream, cached_request),
            writer,
            None,
        )
        outcome = await send_with_login(
            exchange, lease, cached_request.request, Attempt(credentials, needs_new_connection=True)
        )
        if not isinstance(outcome, Response):
            self._report(outcome, exchange.permitted or credentials)
            return PreconnectResult.FAILED_FOR_GOOD
        # An answer to the first leg means that nobody has asked: it is not signed in.
        connection = downstream.upstream
        if connection is None or not exchange.is_proved:
            return PreconnectResult.FAILED_FOR_GOOD
        # Anew, though that was known: what was accepted lately may go out ahead once more.
        self._engine.desk.accepted(credentials)
        if not await exchange.discard_response(connection, outcome):
            return PreconnectResult.FAILED_FOR_GOOD
        downstream.upstream = None
        self.ready = ReadyConnection(connection, self._engine.loop.time())
        self._engine.pool.keep(connection)
        return PreconnectResult.POOLED

    def _report(self, outcome: AuthChallenge | None, credentials: Credentials) -> None:
        """Tell the desk that the login was refused, to a request that is not there any more.

        So the desk finds out by itself whether it is the login, or this request that the next hop
        does not allow. If the login was not sent at all, that says nothing.
        """
        if outcome is None or outcome.verdict is None or is_password_unchecked(outcome.verdict):
            return
        desk, profile = self._engine.desk, self._order.route.profile
        assert profile is not None  # A next hop with a login belongs to one.
        # Without the target: the proxy may refuse the method HEAD, which no program has used there,
        # and the host must not be taken for forbidden over that.
        pending_request = PendingRequest("")
        future = desk.challenged(
            credentials.upstream_id,
            profile,
            outcome.challenges,
            pending_request,
            credentials,
            outcome.verdict,
        )
        desk.withdraw(future)

    def drop(self) -> None:
        """Close it, unless it was put into the pool."""
        self._downstream.drop_upstream()


class Preconnector:
    """Has connections signed in ahead, one at a time of each kind."""

    def __init__(self, engine: "Engine") -> None:
        """Begin nothing."""
        self._engine = engine
        self._policy = PreconnectPolicy()
        self._in_progress: SingleFlight[PoolKey] = SingleFlight(engine.loop)
        self._ready: dict[PoolKey, ReadyConnection] = {}
        self._bursts = BurstDetector()
        self._timers: dict[PoolKey, asyncio.Handle] = {}
        self._tasks: set[asyncio.Task[PreconnectResult]] = set()

    # --- what requests of programs say; the key is that of a connection that is signed in ---

    def demand_started(self, key: PoolKey) -> None:
        """A request needs such a connection."""
        self._bursts.request_arrived(key, self._engine.loop.time())
        self._cancel(key)
        self._policy.demand_started(key)

    def demand_ended(self, key: PoolKey) -> None:
        """It has one, or needs none any more."""
        self._policy.demand_ended(key)
        self._bursts.request_ended(key, self._engine.loop.time())
        self._schedule_check(key)

    def handshake_done(self, key: PoolKey, order: PreconnectOrder) -> None:
        """It had to sign one in, by more than one message."""
        self._policy.handshake_done(key, order)
        ready, now = self._ready.pop(key, None), self._engine.loop.time()
        if ready is not None and ready.was_lost(now, self._engine.limits.kept_s):
            self._policy.preconnect_lost(key, now)
        self._schedule_check(key)

    def preconnect_used(self, key: PoolKey) -> None:
        """It has taken one that was ready."""
        self._policy.preconnect_used(key)
        self._schedule_check(key)

    def in_progress(self, key: PoolKey) -> "tuple[asyncio.Future[None], float] | None":
        """Return the end of the one that is being signed in, and for how many seconds to wait for
        it; None: there is nothing to wait for."""
        return self._in_progress.wait_for(key)

    # --- what the engine says ---

    def forget(self) -> None:
        """Give up what is under way, and what is known: the profile, a login or the network has
        changed."""
        self._policy.forget()
        self._bursts.forget()
        self._ready.clear()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """Give up for good."""
        self.forget()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # --- doing it ---

    def _schedule_check(self, key: PoolKey) -> None:
        """Look some time later if one is due; never before the client that needed the last one was
        told what came of its request."""
        if self._policy.is_wanted(key):
            self._cancel(key)
            delay_s = self._bursts.delay_s(key)
            if delay_s is not None:
                self._timers[key] = self._engine.loop.call_later(delay_s, self._check, key)

    def _cancel(self, key: PoolKey) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def _check(self, key: PoolKey) -> None:
        """Begin one if that is due."""
        engine = self._engine
        self._timers.pop(key, None)
        if engine.closing or not engine.pool.is_current(key):
            return
        order = self._policy.next_order(
            key,
            engine.loop.time(),
            is_ready=engine.pool.has(key),
            may_carry=engine.desk.is_sure_of,
        )
        if order is None:
            return
        self._in_progress.claim(key)
        preconnect = Preconnect(engine, order)
        task = engine.loop.create_task(self._authenticate(preconnect))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, key, preconnect))

    async def _authenticate(self, preconnect: Preconnect) -> PreconnectResult:
        try:
            async with asyncio.timeout(self._engine.limits.spare_s):
                return await run_in_task(preconnect.authenticate())
        except TimeoutError:
            # Silence stays, and would be waited for by whoever comes meanwhile.
            logger.debug("no connection was signed in ahead: no answer in time")
            return PreconnectResult.FAILED_FOR_GOOD
        except (RequestRefusedError, LoginSupersededError) as error:
            logger.debug("no connection was signed in ahead: %s", error)
            return PreconnectResult.FAILED
        except Exception:
            logger.exception("signing in a connection ahead failed")
            return PreconnectResult.FAILED_FOR_GOOD
        finally:
            preconnect.drop()

    def _ended(
        self, key: PoolKey, preconnect: Preconnect, task: asyncio.Task[PreconnectResult]
    ) -> None:
        # Also of one that was given up before it began.
        self._tasks.discard(task)
        if preconnect.ready is not None and key.epoch == self._engine.pool.epoch:
            if len(self._ready) >= MAX_KEYS:
                self._ready.clear()
            self._ready[key] = preconnect.ready
        result = PreconnectResult.FAILED if task.cancelled() else task.result()
        self._policy.preconnect_ended(key, result, self._engine.loop.time())
        self._in_progress.release(key)
        self._schedule_check(key)
