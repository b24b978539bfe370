"""The lease of an upstream connection by one request."""

from collections.abc import Callable

from trayproxy.desk.credentials import Credentials
from trayproxy.engine.downstream import Downstream, wait_for_event
from trayproxy.engine.error_pages import ErrorPage
from trayproxy.engine.net.fd_task import IoWait
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.proxy_auth.auth_context import AuthContext
from trayproxy.engine.proxy_auth.auth_port import Reuse
from trayproxy.engine.proxy_auth.preconnect_policy import PreconnectOrder
from trayproxy.engine.upstream.connector import ConnectRequest, UnusableError
from trayproxy.engine.upstream.pool import PoolKey, UpstreamConnection
from trayproxy.engine.upstream.route import Route
from trayproxy.http.request import Request


class UpstreamLease:
    """The use of a connection to the next hop by one request.

    Attributes:
        preferred_route: The route the request would take if no upstream were down.
        unanswered_stream: The connection to a SOCKS server without a reply to a login, although the
            client has disconnected; None without such a connection.
    """

    def __init__(
        self,
        downstream: Downstream,
        auth: AuthContext,
        request: Request,
        preferred_route: Route,
        route: Route,
        network: int | None = None,
    ) -> None:
        """Create a lease without a connection.

        Args:
            downstream: The connection of the client.
            auth: The means of signing in.
            request: The request.
            preferred_route: See the class.
            route: The route of the request.
            network: `NetworkGrace.changes` at the time when the route was chosen, if it can be
                chosen again (`RouteOutdatedError`).
        """
        self.auth = auth
        self.route = route
        self.preferred_route = preferred_route
        self.unanswered_stream: SocketStream | None = None
        self._downstream = downstream
        self._context = downstream.context
        self._request = request
        self._network = network
        self._responses_before: tuple[Route, int] | None = None
        self._demand_key: PoolKey | None = None
        self._preconnect_key: PoolKey | None = None

    async def obtain_connection(
        self, credentials: Credentials | None, reuse: Reuse, before_login: Callable[[], None]
    ) -> UpstreamConnection:
        """Return a connection to the next hop for a request; see `AuthPort.acquire`.

        Behind a load balancer, an idle connection leads to the proxy with the challenge for this
        request. `before_login` is called before a login is sent while connecting.
        """
        downstream, pool = self._downstream, self._context.pool
        pool.check_for_suspend()
        key = self._pool_key(credentials)
        current = downstream.upstream
        if (
            current is not None
            and reuse != "none"
            and self._may_carry(current, key, credentials)
            and current.is_quiet()
        ):
            return self._mark_in_use(current, key, credentials)
        self.release_connection()
        pooled = None
        if reuse in ("idle", "idle for challenge"):
            even_for_tunnel = reuse == "idle for challenge"
            pooled = self._take_from_pool(key, credentials, even_for_tunnel=even_for_tunnel)
        if pooled is not None:
            downstream.drop_connecting()  # Otherwise that attempt would be open, but not watched.
        connection = pooled
        if connection is None:
            stream = await self._connect(credentials, before_login)
            changes = self._context.connector.network_grace.changes
            connection = UpstreamConnection(stream, key, changes)
        downstream.use_upstream(connection)
        return self._mark_in_use(connection, key, credentials)

    def keep_route(self) -> None:
        """Use the route in any network from now on: it cannot be chosen again."""
        self._network = None

    def release_connection(self) -> None:
        """Return the connection to the pool, or close it if it is not idle."""
        downstream = self._downstream
        current = downstream.take_upstream()
        if current is None:
            return
        downstream.release(current.stream.descriptor)
        if current.is_quiet():
            self._context.pool.put(current)
        else:
            current.stream.close()

    def _pool_key(self, credentials: Credentials | None) -> PoolKey:
        """Return the key of the unauthenticated connections for requests with these credentials."""
        epoch = self._context.pool.epoch
        name = self.route.connection_name(self._request.target.authority)
        if self._downstream.is_remote and self.route.upstream is None:
            name += " for other computers"  # They may not reach the services of this computer.
        if credentials is None:
            return PoolKey(name, epoch=epoch)
        return PoolKey(name, credentials.upstream_id.profile_id, credentials.generation, epoch)

    def _authenticated_key(self, credentials: Credentials) -> PoolKey:
        """Return the key of the connections authenticated with this login."""
        return self._pool_key(credentials)._replace(authenticated_as=credentials.login_id)

    def _may_carry(
        self, connection: UpstreamConnection, key: PoolKey, credentials: Credentials | None
    ) -> bool:
        """Return True if a connection may carry a request with these credentials."""
        if connection.key == key:
            return True
        if credentials is None or not self.route.authenticates_requests:
            return False
        # The connection is not authenticated yet: this request may carry the first login on it.
        authenticated_key = key._replace(authenticated_as=credentials.login_id)
        return connection.key in (authenticated_key, self._pool_key(None))

    def _take_from_pool(
        self, key: PoolKey, credentials: Credentials | None, *, even_for_tunnel: bool = False
    ) -> UpstreamConnection | None:
        """Return an idle connection for a request with these credentials; None if the pool has
        none."""
        pool, is_connect = self._context.pool, self._request.method == b"CONNECT"
        login = credentials if self.route.authenticates_requests else None
        if login is not None and login.scheme.binds_connection:
            pooled = pool.take(key._replace(authenticated_as=login.login_id))
            if pooled is not None:
                self._preconnect_key = pooled.key
                return pooled
        if is_connect and not even_for_tunnel:
            return None  # The tunnel would consume it, and the next request would have to connect.
        return pool.take(key) or (pool.take(self._pool_key(None)) if login is not None else None)

    async def await_preconnect(self, credentials: Credentials) -> bool:
        """Demand an authenticated connection, and wait for a preconnect; see `RequestBroker`."""
        key, current = self._authenticated_key(credentials), self._downstream.upstream
        if self._demand_key is None and (current is None or current.key != key):
            self._demand_key = key
            self.auth.preconnects.demand_started(key)
        if self._demand_key is None:
            return False
        preconnect = self.auth.preconnects.in_progress(self._demand_key)
        if preconnect is None:
            return False
        done, wait_s = preconnect
        self._downstream.clear_deadline()
        await self.wait(IoWait({}, future=done, timeout=wait_s), is_parked=True)
        return True

    def deregister_demand(self) -> None:
        """Deregister this request's demand for an authenticated connection."""
        if self._demand_key is not None:
            demand_key, self._demand_key = self._demand_key, None
            self.auth.preconnects.demand_ended(demand_key)

    def end_authentication(self) -> None:
        """Report that this request is authenticated or has failed, so that the next connection can
        be authenticated ahead of need."""
        self.deregister_demand()
        if self._preconnect_key is not None:
            key, self._preconnect_key = self._preconnect_key, None
            self.auth.preconnects.preconnect_used(key)

    def record_handshake(self, credentials: Credentials) -> None:
        """Record that this request needed several messages to authenticate its connection."""
        target = self._request.target.authority
        assert target is not None
        key = self._authenticated_key(credentials)
        self.auth.preconnects.handshake_done(key, PreconnectOrder(self.route, credentials, target))

    def _mark_in_use(
        self, connection: UpstreamConnection, key: PoolKey, credentials: Credentials | None
    ) -> UpstreamConnection:
        """Store in the connection the route and the credentials of its current request."""
        connection.route = self.route
        if self._responses_before is None or self._responses_before[0] is not self.route:
            self._responses_before = (self.route, self.route.activity.responses)
        connection.responses_before = self._responses_before[1]
        if not connection.is_authenticated:
            connection.key = key
        is_reusable = (
            credentials is None or credentials.is_constant or not self.route.authenticates_requests
        )
        connection.credentials = credentials if is_reusable or connection.is_authenticated else None
        return connection

    async def _connect(
        self, credentials: Credentials | None, before_login: Callable[[], None]
    ) -> SocketStream:
        """Return a new connection to the next hop; see `Connector.open`."""
        target = self._request.target.authority
        assert target is not None
        downstream = self._downstream
        connect_request = ConnectRequest(
            self.route,
            target,
            credentials,
            self.wait,
            downstream.release,
            downstream.connecting,
            before_login,
            self._keep_unanswered_stream,
            self._network if self.route.depends_on_network else None,
            downstream.is_remote,
        )
        try:
            stream = await self._context.connector.open(connect_request)
        except BaseException as error:
            downstream.drop_connecting()
            if isinstance(error, UnusableError):
                self.report_failure(error.page)
            raise
        downstream.forget_connecting()
        return stream

    def _keep_unanswered_stream(self, stream: SocketStream) -> bool:
        """Keep the connection for `LateVerdicts`; see `ConnectRequest.hand_over`."""
        self.unanswered_stream = stream
        return True

    def report_failure(self, page: ErrorPage) -> None:
        """Report a failure of the route to the observer."""
        self._context.observer.failed(self.route, page)

    def report_captive_portal(self, url: str) -> None:
        """Report the URL of the network's sign-in page to the observer."""
        self._context.observer.captive_portal_found(self.route, url)

    def record_response(self, upstream: UpstreamConnection) -> None:
        """Count a response of the next hop on this connection."""
        if (
            not upstream.response_count
            and self.preferred_route.fallbacks
            and self.route.upstream is not None
        ):
            self._context.failover.mark_alive(self.route.upstream)
        upstream.response_count += 1
        self.route.activity.responses += 1
        self._context.observer.reached(self.route)

    def record_silence(self) -> None:
        """Count an unanswered request, so later requests use a fallback if the upstream stays
        silent."""
        if self.preferred_route.fallbacks and self.route.upstream is not None:
            self._context.failover.mark_silent(self.route.upstream)

    async def wait(self, io_wait: IoWait, *, is_parked: bool = False) -> int:
        """Wait for an event, and watch the client meanwhile; see `wait_for_event`."""
        return await wait_for_event(self._downstream, io_wait, is_parked=is_parked)
