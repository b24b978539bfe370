"""A request of TrayProxy's own through a profile, signed in like a client's request.

No connection or response is kept afterwards.
"""

from dataclasses import replace

from trayproxy.desk.broker import NoVerdict
from trayproxy.desk.credentials import Credentials, PendingRequest, Refusal
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.proxy_auth.auth_exchange import AuthExchange
from trayproxy.engine.proxy_auth.auth_port import (
    Attempt,
    AuthChallenge,
    AuthOutcome,
    RequestBroker,
    UnansweredError,
)
from trayproxy.engine.proxy_auth.challenge_detection import (
    Evidence,
    captive_portal_url,
    evidence,
    redirect_url,
    redirects_to_other_host,
    report_evidence,
)
from trayproxy.engine.proxy_auth.own_auth_port import OwnAuthPort, OwnRequestTools
from trayproxy.engine.upstream.connector import ConnectRequest, TargetRefusedError
from trayproxy.engine.upstream.route import Route
from trayproxy.http.request import Request
from trayproxy.http.response import Response
from trayproxy.profiles.profile import Profile


class NotSignedInError(Exception):
    """The desk refuses the request: it has no credentials for it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.problem.title)
        self.refusal = refusal


class OwnRequest:
    """One request, which may be sent several times. It is unproved if the last response does not
    tell whether the login on trial is right."""

    def __init__(
        self,
        profile: Profile,
        request: Request,
        tools: OwnRequestTools,
        *,
        is_trial: bool = False,
        is_check_page: bool = False,
    ) -> None:
        """Create a request without content, through the preferred upstream of a profile.

        Args:
            is_trial: True if the request verifies a login: no prompt names it.
            is_check_page: True if the request is for a page that always exists and never redirects
                to another host.
        """
        self.route = Route.via_profile(profile)
        self.is_unproved = False
        self._profile = profile
        self._request = request
        self._tools = tools
        self._broker = tools.broker
        self._is_check_page = is_check_page
        self._pending = PendingRequest(str(request.target.authority), is_own=is_trial)
        self._port = OwnAuthPort(self.route, request, tools)
        self._exchange = self._new_exchange()

    def _new_exchange(self) -> AuthExchange:
        """Return an exchange that knows no challenges: a nonce of an earlier response may have
        expired."""
        return AuthExchange(self._port, RequestBroker(), self._request)

    @property
    def host(self) -> str:
        """The host of the request's target."""
        assert self._request.target.authority is not None
        return self._request.target.authority.host

    def connect_request(self, route: Route, credentials: Credentials | None) -> ConnectRequest:
        """Return the parameters for a connection to the request's target by this route."""
        return self._port.connect_request(route, credentials)

    def close(self) -> None:
        """Close the connection, if any."""
        self._port.drop()

    async def send(self, credentials: Credentials | None) -> AuthOutcome:
        """Send the request, with or without credentials. A login is sent at most once; see
        `Attempt.is_on_trial`.

        The connection of a 407 to a request without a login is used once more, for credentials that
        answer the challenge of their own connection. All other attempts begin with a new
        connection.

        After a CONNECT over a direct or SOCKS route, the connection itself is the result: the
        outcome has neither a response nor a challenge.

        Raises:
            RequestRefusedError: There is no connection, or no response.
            TargetRefusedError: A SOCKS upstream has accepted the login, but cannot reach the
                target.
        """
        outcome, stream = await self.open_tunnel(credentials)
        if stream is not None:
            stream.close()
        return outcome

    async def open_tunnel(
        self, credentials: Credentials | None
    ) -> tuple[AuthOutcome, SocketStream | None]:
        """Send the request as `send` does. Return the outcome and, if the request is a CONNECT and
        the next hop has connected to the target, the connection, which the caller closes."""
        port = self._port
        tunnel: SocketStream | None = None
        is_local = (
            credentials is not None
            and not credentials.scheme.binds_connection
            and not credentials.is_constant
        )
        if not is_local:
            port.drop()
        keeps_connection = False
        try:
            outcome = await self._exchange.send(Attempt(credentials, is_on_trial=True))
            keeps_connection = credentials is None and outcome.challenge is not None
            if self._request.method == b"CONNECT" and _is_connected(outcome):
                tunnel = port.take_stream()
        except UnansweredError:
            raise port.report_closed(was_unused=False) from None
        finally:
            if not keeps_connection:
                port.drop()
                self._exchange = self._new_exchange()
        challenge = outcome.challenge
        if credentials is not None and challenge is not None and not challenge.challenges:
            # The desk chooses the next scheme from the challenge of these credentials.
            challenge = replace(challenge, challenges=(credentials.challenge,))
            outcome = outcome._replace(challenge=challenge)
        return outcome, tunnel

    def report_portal(self, response: Response) -> None:
        """Report the network's sign-in page if the response names it or redirects to it.

        A ``Location`` redirects only with a status from 300 to 399 (RFC 9110, section 15.4).
        """
        request, is_redirect = self._request, 300 <= response.status < 400
        url = captive_portal_url(response, request)
        if not url and is_redirect and self._is_check_page:
            # Only a portal redirects requests for a check page to another host.
            url = redirect_url(response) if redirects_to_other_host(response, request) else ""
        if url:
            self._tools.on_portal(self.route, url)

    async def sign_in(
        self, challenge: AuthChallenge, credentials: Credentials | None = None
    ) -> Credentials | None:
        """Send the request until its login is accepted. The desk chooses and follows each login.

        Return the accepted credentials; None if the request needed none after all.

        Args:
            credentials: The credentials to begin with; None for the desk's choice.

        Raises:
            NotSignedInError: The desk has no credentials.
            RequestRefusedError: There is no response.
        """
        tried: Credentials | None = None
        while True:
            if credentials is tried:
                credentials = await self._request_credentials(challenge, tried)
            if (
                credentials is not None
                and credentials.login is not None
                and not credentials.is_recently_accepted
            ):
                credentials = await self._request_permit(credentials)
            outcome = await (
                self.send(None) if credentials is None else self._send_with_login(credentials)
            )
            if outcome.challenge is None:
                return credentials
            challenge, tried = outcome.challenge, credentials

    async def _request_credentials(
        self, challenge: AuthChallenge, tried: Credentials | None
    ) -> Credentials | None:
        """Return the desk's credentials; None: send without a login to get new challenges."""
        space = self.route.upstream_id
        assert space is not None
        result = await self._broker.challenged(
            space, self._profile, challenge.challenges, self._pending, tried, challenge.verdict
        )
        if isinstance(result, Refusal):
            raise NotSignedInError(result)
        return result

    async def _request_permit(self, credentials: Credentials) -> Credentials | None:
        """Return the credentials with the desk's send permit; None: the login must not be sent."""
        if credentials.permit:
            return credentials
        permitted = await self._broker.request_permit(credentials, self._pending.target)
        return permitted if isinstance(permitted, Credentials) else None

    async def _send_with_login(self, credentials: Credentials) -> AuthOutcome:
        """Send the request with credentials, and report the result to the desk."""
        broker, is_answered = self._broker, self.route.authenticates_requests
        known = broker.known(credentials.upstream_id)
        is_on_trial = known is None or known.login_id != credentials.login_id
        try:
            outcome = await self.send(credentials)
        except TargetRefusedError:
            return AuthOutcome()  # The connector has reported the login's acceptance to the desk.
        except BaseException as error:
            was_sent = self._port.login_was_sent
            broker.report(credentials, NoVerdict(type(error).__name__, was_sent=was_sent))
            raise
        response = outcome.response
        if response is None:
            return outcome
        self.report_portal(response)
        if is_answered and not outcome.login_was_accepted:
            self.is_unproved = is_on_trial
            broker.report(credentials, NoVerdict("the proxy did not ask for it", was_sent=False))
        elif is_answered:
            evidence_found = evidence(response, self._request)
            self.is_unproved = is_on_trial and evidence_found is not Evidence.PROOF
            report_evidence(broker, credentials, self._request, response, on_trial=is_on_trial)
        return outcome


def _is_connected(outcome: AuthOutcome) -> bool:
    """Return whether the next hop has connected to the target of a CONNECT."""
    response = outcome.response
    return outcome.challenge is None and (response is None or 200 <= response.status < 300)
