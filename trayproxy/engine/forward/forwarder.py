"""Forward one request: connect, send, authenticate on a 407, and relay the response."""

import logging
from asyncio import Future

from trayproxy.engine import error_pages
from trayproxy.engine.downstream import ClientDownstream, wait_for_event
from trayproxy.engine.error_pages import ErrorPage, RequestRefusedError
from trayproxy.engine.forward.attempts import Attempts
from trayproxy.engine.forward.response_relay import ResponseRelay
from trayproxy.engine.net.fd_task import IoWait
from trayproxy.engine.proxy_auth.auth_context import AuthContext
from trayproxy.engine.proxy_auth.auth_port import (
    Attempt,
    AuthChallenge,
    ContentNotRepeatableError,
    LoginSupersededError,
    UnansweredError,
)
from trayproxy.engine.proxy_auth.head_probe import head_request_to
from trayproxy.engine.proxy_auth.stream_auth_port import stream_exchange
from trayproxy.engine.proxy_auth.upstream_lease import UpstreamLease
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.transfer.replay_buffer import MAX_REPLAYABLE, ReplayBuffer
from trayproxy.engine.transfer.request_writer import RequestWriter
from trayproxy.engine.transfer.response_reader import (
    RequestBodyError,
    SignInFirstError,
)
from trayproxy.engine.transfer.tunnel import Tunnel
from trayproxy.engine.upstream.connector import RouteOutdatedError, UnreachableError
from trayproxy.engine.upstream.pool import UpstreamConnection
from trayproxy.engine.upstream.route import Route, RouteChoice
from trayproxy.http.framing import Length, NoBody

logger = logging.getLogger(__name__)

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
"""The response to CONNECT on a direct route (RFC 9110, section 9.3.6)."""
MAX_UNANSWERED = 2
"""How often a request without a response to its login waits for credentials again."""


class Forwarder:
    """Forwards one request.

    The route and its profile are determined at the start of the request, and again only after a
    change of the network (`RouteOutdatedError`). A profile switch in the meantime does not affect
    the request.
    """

    def __init__(
        self,
        downstream: ClientDownstream,
        auth: AuthContext,
        cached: CachedRequest,
        sent: UpstreamConnection | None = None,
    ) -> None:
        """Prepare to forward a request. `sent` is its upstream connection if the fast path has sent
        it already."""
        self._downstream = downstream
        self._context = downstream.context
        self._auth = auth
        self._cached = cached
        self._request = cached.request
        self._relay = ResponseRelay(downstream, cached)
        self._sent = sent
        self._dead: tuple[Route, ...] = ()
        self._failure: UnreachableError | None = None

    async def forward(self) -> bool | Tunnel:
        """Forward the request and answer the client. Return True if the client's connection is kept
        alive; the tunnel it has become, if any.

        Raises:
            ClientGoneError: The client closed its connection.
            OSError: The client's connection broke.
        """
        authority = self._request.target.authority
        assert authority is not None  # The request loop answers the forms without an authority.
        route = self._sent.route if self._sent is not None else None
        if route is None:
            choice = await self._choose_route()
            if isinstance(choice, ErrorPage):
                return await self._refuse(choice)
            route = choice
        preferred = route
        if route.fallbacks and self._sent is None:
            route = self._context.failover.choose(route) or route
        grace = self._context.connector.network_grace
        network = grace.changes if self._sent is None else self._sent.network
        self._lease = UpstreamLease(
            self._downstream, self._auth, self._request, preferred, route, network
        )
        self._attempts = Attempts(self._downstream, self._request, self._lease)
        framing = self._request.framing
        is_too_large = isinstance(framing, Length) and framing.octets > MAX_REPLAYABLE
        may_be_repeated = route.authenticates_requests or any(
            fallback.authenticates_requests for fallback in preferred.fallbacks
        )
        replay_buffer = ReplayBuffer(may_be_repeated and not is_too_large)
        writer = RequestWriter(self._downstream.client, framing, replay_buffer)
        try:
            return await self._send_until_answered(writer, may_sign_in_first=is_too_large)
        except RouteOutdatedError:
            self._sent, self._dead, self._failure = None, (), None
        except RequestRefusedError as refused:
            return await self._refuse(refused.page)
        except RequestBodyError as error:
            self._downstream.drop_upstream()
            page = error_pages.refused_request(error.status, str(error))
            return await self._downstream.send_page(page, self._request, keep_alive=False)
        except BaseException:
            # The client left, or a deadline passed. The response may still arrive on the upstream
            # connection, and must not be relayed to another client.
            self._downstream.drop_upstream()
            raise
        finally:
            replay_buffer.close()
        return await self.forward()  # By the route for the present network.

    async def _choose_route(self) -> RouteChoice:
        """Return the route of the request, or the error page to answer it with.

        Raises:
            ClientGoneError: The client closed its connection meanwhile.
        """
        downstream = self._downstream
        choice = downstream.routes.choose(self._request.target, downstream)
        if not isinstance(choice, Future):
            return choice
        try:
            while not choice.done():
                downstream.clear_deadline()
                await wait_for_event(downstream, IoWait({}, future=choice), is_parked=True)
            return choice.result()
        finally:
            choice.cancel()

    async def _refuse(self, page: ErrorPage) -> bool:
        keep_alive = self._request.keep_alive and self._request.framing == NoBody()
        return await self._downstream.send_page(page, self._request, keep_alive=keep_alive)

    async def _send_until_answered(
        self, writer: RequestWriter, *, may_sign_in_first: bool
    ) -> bool | Tunnel:
        """Send the request until there is a response, with a login after a 407, and relay the
        response; see `forward`."""
        sent, lease, attempts = self._sent, self._lease, self._attempts
        exchange = stream_exchange(self._downstream, self._cached, lease, self._relay, writer, sent)
        attempt = attempts.unchallenged() if sent is None else Attempt(sent.credentials)
        unanswered = 0
        while True:
            if lease.route.is_direct and not self._request.can_be_sent_directly:
                target = self._request.target
                host = target.authority.host if target.authority else ""
                raise RequestRefusedError(
                    error_pages.needs_http_proxy(target.scheme.decode("ascii"), host)
                )
            writer.needs_sign_in_first = (
                may_sign_in_first
                and attempt.credentials is None
                and lease.route.authenticates_requests
            )
            try:
                outcome = await exchange.send(attempt)
            except SignInFirstError:
                self._downstream.drop_upstream()
                may_sign_in_first = False
                attempt = await self._sign_in_before_upload()
            except ContentNotRepeatableError:
                # This upload is refused, but the login is verified for the client's next try.
                await self._sign_in_before_upload()
                if attempts.known_credentials() is not None:
                    raise RequestRefusedError(error_pages.TOO_LARGE_BUT_SIGNED_IN) from None
                raise
            except RouteOutdatedError:
                if not writer.body_started:
                    raise
                lease.keep_route()
                attempt = attempts.unchallenged()
            except UnreachableError as error:
                self._fail_over(error, writer)
                attempt = attempts.unchallenged()
            except LoginSupersededError:
                attempt = attempts.unchallenged()
            except UnansweredError:
                # The login may be the reason: wait for the desk, which may prompt the user.
                unanswered += 1
                if unanswered > MAX_UNANSWERED:
                    raise
                attempt = Attempt(None, needs_new_connection=True)
            else:
                if outcome.response is not None:
                    return await self._relay.relay(writer, outcome.response)
                if outcome.challenge is None:
                    return await self._open_directly()
                self._require_sign_in(lease.route)
                attempt = await attempts.after_challenge(outcome.challenge, outcome.credentials)

    def _require_sign_in(self, route: Route) -> None:
        """Raise `RequestRefusedError` after a challenge if the profile has no sign-in."""
        if not route.may_sign_in:
            assert route.profile is not None  # A direct route has no challenge.
            page = route.sign_in_refusal or error_pages.sign_in_not_set(route.profile.name)
            self._context.observer.sign_in_not_set(route, page)
            raise RequestRefusedError(page)

    async def _sign_in_before_upload(self) -> Attempt:
        """Send an own request and sign in if the next hop wants a login (R-074). Return the attempt
        for the upload; see `Attempts.after_challenge` for the errors."""
        downstream, attempts = self._downstream, self._attempts
        authority = self._request.target.authority
        assert authority is not None
        cached = CachedRequest(head_request_to(authority), None)
        preferred, route = self._lease.preferred_route, self._lease.route
        lease = UpstreamLease(downstream, self._auth, cached.request, preferred, route)
        exchange = stream_exchange(downstream, cached, lease)
        attempt = Attempt(attempts.known_credentials(), needs_new_connection=True)
        wanted: AuthChallenge | None = None
        while True:
            try:
                outcome = await exchange.send(attempt)
            except LoginSupersededError:
                attempt = Attempt(attempts.known_credentials())
                continue
            except RequestRefusedError as error:
                logger.debug("signing in before an upload failed: %s", error)
                downstream.drop_upstream()
                return Attempt(attempts.known_credentials())
            if outcome.challenge is None:
                break
            wanted = outcome.challenge
            attempt = await attempts.after_challenge(wanted, outcome.credentials)
        # Unrepeatable content needs a new connection: the next hop may be closing an idle one.
        downstream.drop_upstream()
        known = attempts.known_credentials()
        if known is not None or wanted is None or attempt.credentials is None:
            return Attempt(known, needs_new_connection=True)
        # The site's response was no proof: the upload itself carries the login on trial.
        return await attempts.after_challenge(AuthChallenge(wanted.challenges), None)

    def _fail_over(self, error: UnreachableError, writer: RequestWriter) -> None:
        """Switch to another upstream of the profile: the current upstream is unreachable. If no
        other upstream is left, raise the error of the first upstream tried."""
        route, preferred = self._lease.route, self._lease.preferred_route
        failover = self._context.failover
        self._failure = self._failure or error
        fallback = None
        if preferred.fallbacks:
            if route.upstream is not None:
                failover.mark_dead(route.upstream)
            self._dead = (*self._dead, route)
            fallback = failover.choose(preferred, self._dead)
        if fallback is None or (writer.body_started and not writer.replay_buffer.is_complete):
            self._lease.report_failure(self._failure.page)
            raise self._failure
        logger.info("%s: failing over to %s", error.page.title, fallback.name)
        self._lease.route = fallback

    async def _open_directly(self) -> Tunnel:
        """Return the tunnel of a direct route. The target is connected, and gets no CONNECT."""
        upstream = self._downstream.upstream
        assert upstream is not None
        self._context.observer.reached(self._lease.route)
        await self._downstream.confirm_tunnel(ESTABLISHED)
        return self._relay.open_tunnel(upstream.stream)
