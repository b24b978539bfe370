"""The next hop of one request: a connection to it, and waiting for what it says."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trayproxy.desk.credentials import Credentials, Outcome
from trayproxy.desk.desk import Desk
from trayproxy.engine.error_pages import (
    ErrorPage,
    RequestRefusedError,
    silent,
    slow_or_silent,
    slow_site,
)
from trayproxy.engine.net.fd_task import READ, TIMED_OUT, IoWait
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.proxy_auth.preconnect_policy import PreconnectOrder
from trayproxy.engine.transfer.request_writer import ClientGoneError
from trayproxy.engine.upstream.connector import ConnectRequest, UnusableError
from trayproxy.engine.upstream.pool import PoolKey, UpstreamConnection
from trayproxy.engine.upstream.route import Route
from trayproxy.http.request import Request

if TYPE_CHECKING:
    from asyncio import Future

    from trayproxy.engine.downstream import Downstream

CLIENT_CHECK_INTERVAL_S = 0.5
"""How often to look whether a client is still there that cannot say so."""


def _authenticated_key(key: PoolKey, credentials: Credentials) -> PoolKey:
    """Return what a connection may be used for that is signed in with this login."""
    return key._replace(signed_in=credentials.login_id)


class UpstreamLease:
    """Where a request goes next.

    Attributes:
        route: The way that it takes.
        preferred_route: The way that it would take if no upstream were dead.
        is_parked: It waits at the sign-in desk: when its client leaves, nobody needs it.
        was_login_sent: A login was sent while connecting, and may have cost a log-on.
        unanswered_stream: The connection to a SOCKS server that has not replied to a login although
            the client has left; None if there is no such connection.
    """

    __slots__ = (
        "_client",
        "_demand_key",
        "_downstream",
        "_engine",
        "_preconnect_key",
        "_request",
        "_responses_before",
        "is_parked",
        "preferred_route",
        "route",
        "unanswered_stream",
        "was_login_sent",
    )

    def __init__(
        self, downstream: "Downstream", request: Request, preferred_route: Route, route: Route
    ) -> None:
        """Connect to nothing yet."""
        self.route = route
        self.preferred_route = preferred_route
        self.is_parked = False
        self.was_login_sent = False
        self.unanswered_stream: SocketStream | None = None
        self._downstream = downstream
        self._engine = downstream.engine
        self._client = downstream.client
        self._request = request
        self._responses_before: tuple[Route, int] | None = None
        self._demand_key: PoolKey | None = None
        self._preconnect_key: PoolKey | None = None

    @property
    def desk(self) -> Desk:
        """Who hears what becomes of logins."""
        return self._engine.desk

    async def obtain_connection(
        self,
        credentials: Credentials | None,
        *,
        fresh: bool,
        on_trial: bool = False,
        asks_first: bool = False,
    ) -> UpstreamConnection:
        """Return a connection to the next hop that may carry this answer.

        Args:
            answer: What the request goes with.
            fresh: A new one.
            on_trial: Not one that has lain idle, and may be dead: the answer goes out only once.
            asks_first: One that has lain idle even so, for a tunnel as well: the next hop is asked
                for a challenge on it before the answer goes out. Behind a balancer it leads to the
                proxy that has asked this request for the login.

        Raises:
            RequestRefusedError: There is none to be had.
        """
        downstream, pool = self._downstream, self._engine.pool
        pool.look_for_sleep()
        key = self._pool_key(credentials)
        current = downstream.upstream
        if (
            current is not None
            and not fresh
            and self._may_carry(current, key, credentials)
            and current.is_quiet()
        ):
            return self._mark_in_use(current, key, credentials)
        self.release_connection()
        if fresh or (on_trial and not asks_first):
            pooled = None
        else:
            pooled = self._take_from_pool(key, credentials, even_for_tunnel=asks_first)
        if pooled is not None:
            downstream.drop_begun()  # Nobody would look after it until it is used, if it ever is.
        downstream.upstream = pooled or UpstreamConnection(await self._connect(credentials), key)
        return self._mark_in_use(downstream.upstream, key, credentials)

    def release_connection(self) -> None:
        """Leave the connection to whoever needs one."""
        downstream = self._downstream
        current, downstream.upstream = downstream.upstream, None
        if current is None:
            return
        downstream.release(current.stream.descriptor)
        if current.is_quiet():
            self._engine.pool.keep(current)
        else:
            current.stream.close()

    def _pool_key(self, credentials: Credentials | None) -> PoolKey:
        """Return what connections have in common that nobody is signed in on, and that requests
        with this answer may take."""
        epoch = self._engine.pool.epoch
        if credentials is None:
            return PoolKey(self._pool_name(), epoch=epoch)
        return PoolKey(
            self._pool_name(), credentials.upstream_id.profile_id, credentials.generation, epoch
        )

    def _may_carry(
        self, connection: UpstreamConnection, key: PoolKey, credentials: Credentials | None
    ) -> bool:
        """Whether a connection may carry this answer."""
        if connection.key == key:
            return True
        if credentials is None or not self.route.signs_requests:
            return False
        # Nobody has a login on it: what comes now may be the first.
        return connection.key in (_authenticated_key(key, credentials), self._pool_key(None))

    def _take_from_pool(
        self, key: PoolKey, credentials: Credentials | None, *, even_for_tunnel: bool = False
    ) -> UpstreamConnection | None:
        pool, is_connect = self._engine.pool, self._request.method == b"CONNECT"
        carries_login = credentials is not None and self.route.signs_requests
        if credentials is not None and carries_login and credentials.scheme.binds_connection:
            pooled = pool.take(_authenticated_key(key, credentials))
            if pooled is not None:
                self._preconnect_key = pooled.key
                return pooled
        if is_connect and not even_for_tunnel:
            return None  # A tunnel would use it up, and the next request would have to connect.
        return pool.take(key) or (pool.take(self._pool_key(None)) if carries_login else None)

    # --- connections that are signed in ahead (see `warming`) ---

    def register_demand(self, credentials: Credentials) -> None:
        """Say that this request needs a connection that is signed in with this login."""
        key = _authenticated_key(self._pool_key(credentials), credentials)
        current = self._downstream.upstream
        if self._demand_key is None and (current is None or current.key != key):
            self._demand_key = key
            self._engine.warming.demand_started(key)

    def deregister_demand(self) -> None:
        """Say that it has one, or needs none any more."""
        if self._demand_key is not None:
            demand_key, self._demand_key = self._demand_key, None
            self._engine.warming.demand_ended(demand_key)

    def end_authentication(self) -> None:
        """Say that the request has its answer, or has come to nothing: another connection may be
        made ready for the next one."""
        self.deregister_demand()
        if self._preconnect_key is not None:
            key, self._preconnect_key = self._preconnect_key, None
            self._engine.warming.preconnect_used(key)

    def record_handshake(self, credentials: Credentials) -> None:
        """Say that it had to sign one in with more than one message."""
        target = self._request.target.authority
        assert target is not None
        key = _authenticated_key(self._pool_key(credentials), credentials)
        self._engine.warming.handshake_done(key, PreconnectOrder(self.route, credentials, target))

    async def wait_for_preconnect(self) -> bool:
        """Wait for a connection that is being signed in ahead, if one is; what becomes of that may
        be the end of the login. Return whether there was one.

        Raises:
            ClientGoneError: The client left meanwhile.
        """
        preconnect = (
            self._engine.warming.in_progress(self._demand_key)
            if self._demand_key is not None
            else None
        )
        if preconnect is None:
            return False
        done, wait_s = preconnect
        self._downstream.deadline = None
        with self.parked():
            await self.wait(IoWait({}, future=done, timeout=wait_s))
        return True

    def _mark_in_use(
        self, connection: UpstreamConnection, key: PoolKey, credentials: Credentials | None
    ) -> UpstreamConnection:
        """Write down what a connection is used for now."""
        connection.way = self.route
        if self._responses_before is None or self._responses_before[0] is not self.route:
            self._responses_before = (self.route, self.route.pulse.answers)
        connection.heard_before = self._responses_before[1]
        if not connection.is_signed_in:
            connection.key = key
        is_reusable = (
            credentials is None or credentials.is_constant or not self.route.signs_requests
        )
        connection.answer = credentials if is_reusable or connection.is_signed_in else None
        return connection

    def _pool_name(self) -> str:
        """Return what connections must have in common that stand for each other."""
        upstream_name = str(self.route.upstream or "direct:")
        return (
            f"{upstream_name} {self._request.target.authority}"
            if self.route.is_direct
            else upstream_name
        )

    async def _connect(self, credentials: Credentials | None) -> SocketStream:
        """Return a new connection to the next hop.

        Raises:
            UnreachableError: It is dead.
            AuthRequiredError: It wants a login, or another one, at once.
            RequestRefusedError: There is none to be had.
        """
        target = self._request.target.authority
        assert target is not None
        downstream = self._downstream
        connect_request = ConnectRequest(
            self.route,
            target,
            credentials,
            self.wait,
            downstream.release,
            downstream.begun,
            self._note_login_sent,
            self._keep_unanswered_stream,
        )
        try:
            stream = await self._engine.dialler.dial(connect_request)
        except BaseException as error:
            downstream.drop_begun()
            if isinstance(error, UnusableError):
                self.report_failure(error.page)
            raise
        downstream.begun = None
        return stream

    def _note_login_sent(self) -> None:
        self.was_login_sent = True

    def _keep_unanswered_stream(self, stream: SocketStream) -> bool:
        self.unanswered_stream = stream
        return True

    # --- what it is like ---

    def report_failure(self, page: ErrorPage) -> None:
        """Tell whoever watches that it does not answer."""
        self._engine.observer.failed(self.route, page)

    def report_captive_portal(self, url: str) -> None:
        """Tell whoever watches that the network wants people to sign in on a page of its own."""
        self._engine.observer.wants_page(self.route, url)

    def record_response(self, upstream: UpstreamConnection) -> None:
        """Take note that it has answered on this connection."""
        if not upstream.used and self.preferred_route.fallbacks and self.route.upstream is not None:
            self._engine.failover.mark_alive(self.route.upstream)
        upstream.used += 1
        self.route.pulse.answers += 1
        self._engine.observer.reached(self.route)

    def record_silence(self) -> None:
        """Let the next requests take another way, if this next hop stays without answers."""
        if self.preferred_route.fallbacks and self.route.upstream is not None:
            self._engine.failover.mark_silent(self.route.upstream)

    def time_out(self) -> RequestRefusedError:
        """Close the connection to a next hop that does not answer; return what to raise.

        A proxy that has answered anything else since the request began is alive: its site is slow.
        One that has not may be silent, or the site is slow; what a site has to do before it answers
        a GET takes longer than what a proxy has to do before it opens a tunnel.
        """
        connection, route, target = (
            self._downstream.upstream,
            self.route,
            self._request.target.authority,
        )
        self._downstream.drop_upstream()
        assert target is not None
        limit = self._engine.limits.answer_s(self._request.method)
        if route.upstream is None or route.is_socks:
            page = silent(target.host, limit, through_upstream=False)
            if route.upstream is None:
                self.report_failure(page)
            return RequestRefusedError(page)
        if connection is not None and route.pulse.answers > connection.heard_before:
            return RequestRefusedError(slow_site(target.host, limit))
        self.record_silence()
        if self._request.method != b"CONNECT":
            return RequestRefusedError(slow_or_silent(target.host, route.upstream.host, limit))
        page = silent(route.upstream.host, limit, through_upstream=True)
        self.report_failure(page)
        return RequestRefusedError(page)

    # --- waiting ---

    @contextmanager
    def parked(self) -> Iterator[None]:
        """Wait for somebody else than the next hop: if the client leaves, nobody needs it."""
        self.is_parked = True
        try:
            yield
        finally:
            self.is_parked = False

    async def wait_for_desk(self, future: "Future[Outcome]") -> Outcome:
        """Wait until the desk serves this request, and return the desk's answer.

        Meanwhile the request holds no connection: a person takes longer than a proxy keeps one.

        Args:
            seat: What `Desk.challenged` or `Desk.departing` returned for this request.

        Raises:
            ClientGoneError: The client left. The desk knows that the request waits no longer.
        """
        if future.done():
            return future.result()
        try:
            self.release_connection()
            self._downstream.deadline = None
            with self.parked():
                while not future.done():
                    await self.wait(IoWait({}, future=future))
        except BaseException:
            # The desk may have served the request in the same moment.
            self.desk.withdraw(future)
            raise
        return future.result()

    async def wait(self, io_wait: IoWait) -> int:
        """Wait, and meanwhile read what the client sends ahead and see whether it leaves.

        Raises:
            ClientGoneError: It left, and nobody else needs the request.
        """
        client, loop = self._client, self._engine.loop
        deadline = None if io_wait.timeout is None else loop.time() + io_wait.timeout
        while True:
            is_client_read = (
                not client.ended and len(client.inbox) < self._engine.limits.early_octets
            )
            events = (
                {**io_wait.events, client.descriptor: READ} if is_client_read else io_wait.events
            )
            wait_s = None if deadline is None else max(0.0, deadline - loop.time())
            if self.is_parked and not is_client_read:
                self._check_client_present()
                wait_s = (
                    CLIENT_CHECK_INTERVAL_S
                    if wait_s is None
                    else min(CLIENT_CHECK_INTERVAL_S, wait_s)
                )
            woken = await IoWait(events, io_wait.future, wait_s)
            if woken == TIMED_OUT and (deadline is None or loop.time() < deadline):
                continue
            if woken != client.descriptor:
                return woken
            try:
                client.fill()
            except OSError:
                raise ClientGoneError from None

    def _check_client_present(self) -> None:
        """Find out whether a client that is not heard any more still waits.

        It has sent all that we take, or has ended its sending, which may mean either: that is the
        only thing that a connection says.

        Raises:
            ClientGoneError: It has left.
        """
        is_open = self._engine.guard.is_held(self._client.socket)
        if is_open is False or (is_open is None and self._client.ended):
            raise ClientGoneError
