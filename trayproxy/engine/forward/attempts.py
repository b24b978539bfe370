"""The attempts to send a request: the login of the first, and of the next after a challenge."""

from trayproxy.desk.credentials import Credentials, PendingRequest, Refusal
from trayproxy.engine.downstream import ClientDownstream
from trayproxy.engine.error_pages import ErrorPage, RequestRefusedError
from trayproxy.engine.proxy_auth.auth_port import Attempt, AuthChallenge
from trayproxy.engine.proxy_auth.request_broker import wait_for_desk
from trayproxy.engine.proxy_auth.upstream_lease import UpstreamLease
from trayproxy.engine.transfer.replay_buffer import MAX_IN_MEMORY
from trayproxy.http.framing import Length, NoBody
from trayproxy.http.request import Request


def refusal_page(refusal: Refusal) -> ErrorPage:
    """Return the error page for a refusal of the desk: a 503, never the 407 of the upstream."""
    problem = refusal.problem
    return ErrorPage(
        503,
        problem.title,
        problem.body,
        "proxy_configuration_error",
        problem.id,
        refusal.retry_after,
        details=refusal.details,
    )


class Attempts:
    """Chooses the attempts of one request, with the credentials of the desk. The route of the lease
    is the route of the next attempt."""

    def __init__(
        self, downstream: ClientDownstream, request: Request, lease: UpstreamLease
    ) -> None:
        self._downstream = downstream
        self._broker = downstream.context.broker
        self._request = request
        self._lease = lease
        self._pending_request: PendingRequest | None = None

    def known_credentials(self) -> Credentials | None:
        """Return the credentials to send without a challenge; None for none."""
        route = self._lease.route
        return (
            self._broker.known(route.upstream_id)
            if route.may_sign_in and route.upstream_id
            else None
        )

    def unchallenged(self) -> Attempt:
        """Return the attempt before any challenge of the next hop.

        It carries the known login, unless the site is exempt (R-086). Content which could not be
        repeated after a 407 is always sent with the known login.
        """
        known, route, request = self.known_credentials(), self._lease.route, self._request
        framing, site = request.framing, request.target.authority
        if known is None or not route.authenticates_requests:
            return Attempt(known)
        is_repeatable = isinstance(framing, NoBody) or (
            isinstance(framing, Length) and framing.octets <= MAX_IN_MEMORY
        )
        if is_repeatable and self._lease.auth.exempt_sites.has(route.upstream_id, site):
            return Attempt(None, withheld=known)
        return Attempt(known)

    async def after_challenge(self, wanted: AuthChallenge, tried: Credentials | None) -> Attempt:
        """Report a challenge and the credentials tried to the desk, and return the next attempt.

        Raises:
            RequestRefusedError: The user declined, or no authentication scheme is supported by both
                sides.
            ClientGoneError: The client closed its connection.
        """
        route = self._lease.route
        assert route.upstream_id is not None
        assert route.profile is not None  # Routes with a login have a profile.
        if self._pending_request is None:
            client = self._downstream.client.socket
            self._pending_request = PendingRequest(
                str(self._request.target.authority),
                connection=(client.getsockname()[:2], client.getpeername()[:2]),
            )
        future = self._broker.challenged(
            route.upstream_id,
            route.profile,
            wanted.challenges,
            self._pending_request,
            tried,
            wanted.verdict,
        )
        self._downstream.clear_deadline()
        result = await wait_for_desk(self._downstream, self._lease, future)
        if isinstance(result, Refusal):
            raise RequestRefusedError(refusal_page(result))
        if result is None:
            return Attempt(None, needs_new_connection=True)
        known = self._broker.known(result.upstream_id)
        is_trusted = known is not None and known.login_id == result.login_id
        return Attempt(result, is_on_trial=not is_trusted, is_from_desk=True)
