"""Authenticates connections ahead of need, so the next tunnel does not have to wait for a
handshake.

NTLM authenticates a connection, and a tunnel consumes the connection: each new tunnel would cost
two more round trips. Where `preconnect_policy` decides so, one more connection is authenticated
after a request has needed a handshake, and is put into the pool like any other idle connection.

The handshake of a preconnect is completed or not begun. A proxy reserves a helper process for each
handshake, so an incomplete handshake would block a helper. The legs are therefore carried by a
whole request without effect: ``HEAD`` with ``Cache-Control: only-if-cached``. A cache responds
itself, with a 504 if it has no stored response (RFC 9111, section 5.2.1.7). A proxy without a cache
forwards the HEAD request to the site, where it has no effect (RFC 9110, section 9.2.1). ``OPTIONS``
with ``Max-Forwards: 0``, which no proxy may forward, would be the standard choice; but Squid
responds with a 501 before it requires a login, and closes. The target is taken from a recent
request for which the proxy required a login, because the proxy may not require a login for other
targets. Nothing but the host is taken from the request.

A preconnect uses the same code and rules as the request of a program: the login must be proved, the
desk receives a refusal as if the program had disconnected, and requests arriving meanwhile wait for
the result, so a refused login is sent only once. A preconnect is not counted as a client, and its
failure is not reported as a problem of the next hop, because the next client will meet and report
the same failure.
"""

import asyncio
import logging
from dataclasses import dataclass
from functools import partial

from trayproxy.auth.scheme import is_password_unchecked
from trayproxy.desk.broker import Accepted
from trayproxy.desk.credentials import Credentials
from trayproxy.engine.context import EngineContext
from trayproxy.engine.downstream import NullDownstream
from trayproxy.engine.error_pages import ErrorPage, RequestRefusedError
from trayproxy.engine.net.fd_task import IoWait, run_in_task
from trayproxy.engine.proxy_auth.auth_context import AuthContext, PreconnectDemand
from trayproxy.engine.proxy_auth.auth_port import Attempt, AuthOutcome, LoginSupersededError
from trayproxy.engine.proxy_auth.head_probe import head_request_to
from trayproxy.engine.proxy_auth.late_verdicts import report_rejection
from trayproxy.engine.proxy_auth.preconnect_policy import (
    MAX_KEYS,
    BurstDetector,
    PreconnectOrder,
    PreconnectPolicy,
    PreconnectResult,
)
from trayproxy.engine.proxy_auth.stream_auth_port import stream_exchange
from trayproxy.engine.proxy_auth.upstream_lease import UpstreamLease
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.upstream.pool import PoolKey, UpstreamConnection
from trayproxy.http.request import Request
from trayproxy.http.target import Authority

logger = logging.getLogger(__name__)

MAX_WAIT_S = 2.0
"""The most seconds that requests wait for a preconnect in progress."""


def preconnect_request(target: Authority) -> Request:
    """Return the HEAD request of a preconnect, which has no effect at the target."""
    return head_request_to(target, "Cache-Control: only-if-cached")


class PreconnectLease(UpstreamLease):
    """The lease of an upstream connection by a preconnect."""

    async def wait(self, io_wait: IoWait, *, is_parked: bool = False) -> int:
        """Wait for an event. There is no client to watch."""
        return await io_wait

    def _take_from_pool(
        self, key: PoolKey, credentials: Credentials | None, *, even_for_tunnel: bool = False
    ) -> UpstreamConnection | None:
        """Return None: idle connections are left to the requests of programs."""
        return None

    def report_failure(self, page: ErrorPage) -> None:
        """Do nothing: clients report failures."""

    def record_silence(self) -> None:
        """Do nothing: clients find out whether the next hop is alive."""


@dataclass(frozen=True, slots=True)
class ReadyConnection:
    """An authenticated connection in the pool, ready for the next request.

    Attributes:
        use_count: The number of requests on the connection when it was put into the pool.
        pooled_at: Loop time when the connection was put into the pool.
    """

    connection: UpstreamConnection
    use_count: int
    pooled_at: float

    def was_lost(self, now: float, idle_upstream_s: float) -> bool:
        """Return True if the next hop closed the connection unused, before its time in the pool was
        over."""
        is_closed = self.connection.stream.socket.fileno() < 0
        is_unused = self.connection.response_count == self.use_count
        return is_closed and is_unused and now - self.pooled_at < idle_upstream_s


class Preconnect:
    """One connection being authenticated ahead of need. `ready` is the connection in the pool; None
    unless the preconnect has succeeded."""

    def __init__(self, context: EngineContext, auth: AuthContext, order: PreconnectOrder) -> None:
        self._context = context
        self._auth = auth
        self._order = order
        self._downstream = NullDownstream(context)
        self.ready: ReadyConnection | None = None

    async def authenticate(self) -> PreconnectResult:
        """Open and authenticate the connection, and put it into the pool.

        Raises:
            RequestRefusedError: There is no connection, or no response on it.
            LoginSupersededError: The login was refused to the request of a program in the meantime.
        """
        downstream, order = self._downstream, self._order
        # The same login, but without the permit of the request behind the order.
        credentials = self._context.broker.known(order.credentials.upstream_id) or order.credentials
        cached_request = CachedRequest(preconnect_request(order.target), None)
        lease = PreconnectLease(
            downstream, self._auth, cached_request.request, order.route, order.route
        )
        exchange = stream_exchange(downstream, cached_request, lease)
        outcome = await exchange.send(Attempt(credentials, needs_new_connection=True))
        if outcome.response is None:
            self._report(outcome)
            return PreconnectResult.FAILED_FOR_GOOD
        # A response to the first leg authenticates nothing: the upstream has required no login.
        connection = downstream.upstream
        assert connection is not None  # The connection of the response.
        if not outcome.login_was_accepted:
            return PreconnectResult.FAILED_FOR_GOOD
        # The login was accepted before, but the next preconnect needs a recent acceptance.
        self._context.broker.report(credentials, Accepted())
        if not await exchange.discard(outcome.response):
            return PreconnectResult.FAILED_FOR_GOOD
        downstream.take_upstream()
        now = self._context.loop.time()
        self.ready = ReadyConnection(connection, connection.response_count, now)
        self._context.pool.put(connection)
        return PreconnectResult.POOLED

    def _report(self, outcome: AuthOutcome) -> None:
        """Report a refused login to the desk, as for a request whose client has disconnected.

        The desk then finds out whether the login is wrong or the next hop merely refuses this
        request. An unsent login has no verdict and is not reported.
        """
        challenge, credentials = outcome.challenge, outcome.credentials
        assert challenge is not None  # There is no response.
        assert credentials is not None
        if challenge.verdict is None or is_password_unchecked(challenge.verdict):
            return
        # The target is omitted: the proxy may refuse the HEAD method, which is no reason to treat
        # the host as forbidden.
        broker, route = self._context.broker, self._order.route
        report_rejection(broker, route, "", credentials, challenge.challenges, challenge.verdict)

    def drop(self) -> None:
        """Close the connection unless it was put into the pool."""
        self._downstream.drop_upstream()


class Preconnector(PreconnectDemand):
    """Runs preconnects, at most one preconnect at a time per pool key."""

    def __init__(self, context: EngineContext, auth: AuthContext) -> None:
        self._context = context
        self._auth = auth
        self._policy = PreconnectPolicy()
        self._in_progress: dict[PoolKey, tuple[asyncio.Future[None], float]] = {}
        self._ready: dict[PoolKey, ReadyConnection] = {}
        self._bursts = BurstDetector()
        self._timers: dict[PoolKey, asyncio.Handle] = {}
        self._tasks: set[asyncio.Task[PreconnectResult]] = set()

    def demand_started(self, key: PoolKey) -> None:
        """Register a request in need of an authenticated connection; see `PreconnectDemand`."""
        self._bursts.request_arrived(key, self._context.loop.time())
        self._cancel(key)
        self._policy.demand_started(key)

    def demand_ended(self, key: PoolKey) -> None:
        """Deregister a request's demand for an authenticated connection; see `PreconnectDemand`."""
        self._policy.demand_ended(key)
        self._bursts.request_ended(key, self._context.loop.time())
        self._schedule_check(key)

    def handshake_done(self, key: PoolKey, order: PreconnectOrder) -> None:
        """Record that a request needed several messages to authenticate its own connection."""
        self._policy.handshake_done(key, order)
        ready, now = self._ready.pop(key, None), self._context.loop.time()
        if ready is not None and ready.was_lost(now, self._context.limits.idle_upstream_s):
            self._policy.preconnect_lost(key, now)
        self._schedule_check(key)

    def preconnect_used(self, key: PoolKey) -> None:
        """Record that a request has taken a ready connection from the pool."""
        self._policy.preconnect_used(key)
        self._schedule_check(key)

    def in_progress(self, key: PoolKey) -> "tuple[asyncio.Future[None], float] | None":
        """Return a future for the end of the preconnect in progress; see `PreconnectDemand`."""
        done, wait_until = self._in_progress.get(key, (None, 0.0))
        wait_s = wait_until - self._context.loop.time()
        return (done, wait_s) if done is not None and wait_s > 0 else None

    @property
    def is_idle(self) -> bool:
        """True if no preconnect is in progress or scheduled."""
        return not self._tasks and not self._timers

    @property
    def waiting(self) -> int:
        """The number of requests in need of an authenticated connection."""
        return self._policy.waiting

    def forget(self) -> None:
        """Cancel the preconnects in progress and drop all records, because the profile, a login or
        the network has changed."""
        self._policy.forget()
        self._bursts.forget()
        self._ready.clear()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """Cancel all preconnects and wait for their end."""
        self.forget()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _schedule_check(self, key: PoolKey) -> None:
        """Schedule a check whether a preconnect is due. The check runs only after the client of the
        last request has received its response."""
        if self._policy.is_wanted(key):
            self._cancel(key)
            delay_s = self._bursts.delay_s(key)
            if delay_s is not None:
                self._timers[key] = self._context.loop.call_later(delay_s, self._check, key)

    def _cancel(self, key: PoolKey) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def _check(self, key: PoolKey) -> None:
        """Start a preconnect if the policy orders one."""
        context = self._context
        self._timers.pop(key, None)
        if context.closing or not context.pool.is_current(key):
            return
        order = self._policy.next_order(
            key,
            context.loop.time(),
            is_ready=context.pool.has_idle(key),
            may_carry=context.broker.may_preconnect,
        )
        if order is None:
            return
        wait_until = context.loop.time() + MAX_WAIT_S
        self._in_progress.setdefault(key, (context.loop.create_future(), wait_until))
        preconnect = Preconnect(context, self._auth, order)
        task = context.loop.create_task(self._authenticate(preconnect))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, key, preconnect))

    async def _authenticate(self, preconnect: Preconnect) -> PreconnectResult:
        """Run a preconnect with a timeout, and return its result."""
        try:
            async with asyncio.timeout(self._context.limits.preconnect_s):
                return await run_in_task(preconnect.authenticate())
        except TimeoutError:
            # A silent upstream stays silent, and requests would wait for each new preconnect.
            logger.debug("preconnect failed: no response in time")
            return PreconnectResult.FAILED_FOR_GOOD
        except (RequestRefusedError, LoginSupersededError) as error:
            logger.debug("preconnect failed: %s", error)
            return PreconnectResult.FAILED
        except Exception:
            logger.exception("preconnect failed")
            return PreconnectResult.FAILED_FOR_GOOD
        finally:
            preconnect.drop()

    def _ended(
        self, key: PoolKey, preconnect: Preconnect, task: asyncio.Task[PreconnectResult]
    ) -> None:
        """Record the result of a preconnect and wake the waiting requests.

        A task cancelled before its start also ends here.
        """
        self._tasks.discard(task)
        if preconnect.ready is not None and key.epoch == self._context.pool.epoch:
            if len(self._ready) >= MAX_KEYS:
                self._ready.clear()
            self._ready[key] = preconnect.ready
        result = PreconnectResult.FAILED if task.cancelled() else task.result()
        self._policy.preconnect_ended(key, result, self._context.loop.time())
        done, _ = self._in_progress.pop(key, (None, 0.0))
        if done is not None and not done.done():
            done.set_result(None)
        self._schedule_check(key)
