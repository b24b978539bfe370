"""A request of TrayProxy's own through a profile, signed in like a client's request.

Each leg of a sign-in uses a connection of its own, except the legs of a handshake. No connection or
response is kept afterwards.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from trayproxy.auth.scheme import Handshake, Leg, RequestToSign, Verdict, VerdictKind
from trayproxy.desk.broker import CredentialBroker, NoVerdict
from trayproxy.desk.credentials import Credentials, PendingRequest, Refusal
from trayproxy.engine.error_pages import ErrorPage, RequestRefusedError, no_response
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.fd_task import READ, WRITE, IoWait, wait_in_task
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.proxy_auth.auth_port import SERVER_SILENT
from trayproxy.engine.proxy_auth.challenge_detection import (
    ChallengeDetector,
    Evidence,
    captive_portal_url,
    evidence,
    redirect_url,
    redirects_to_other_host,
    report_evidence,
)
from trayproxy.engine.proxy_auth.handshake_threads import HandshakeThreads
from trayproxy.engine.upstream.connector import (
    AuthRequiredError,
    Connector,
    ConnectRequest,
    TargetRefusedError,
)
from trayproxy.engine.upstream.leftover_content import LeftoverContent
from trayproxy.engine.upstream.route import Route
from trayproxy.http.body import response_body_reader
from trayproxy.http.challenges import Challenge
from trayproxy.http.errors import MessageError
from trayproxy.http.heads import find_response_head
from trayproxy.http.request import Request, parse_request, request_target, write_request
from trayproxy.http.response import Response, parse_response
from trayproxy.profiles.profile import Profile


class NotSignedInError(Exception):
    """The desk refuses the request: it has no credentials for it.

    Attributes:
        refusal: Why.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.problem.title)
        self.refusal = refusal


class RequestUnreadError(RequestRefusedError):
    """The connection ended before the upstream can have read the last request."""


@dataclass(frozen=True, slots=True)
class OwnRequestTools:
    """The parts of the service and the engine for own requests.

    Attributes:
        desk: The sign-in desk.
        connector: Connects to upstreams.
        handshake_threads: Runs blocking steps of a handshake.
        limits: The engine's limits.
        via: The pseudonym in ``Via``.
        clock: The event loop's clock.
        on_portal: Called with the route and the URL of the network's sign-in page.
    """

    desk: CredentialBroker
    connector: Connector
    handshake_threads: HandshakeThreads
    limits: EngineLimits
    via: bytes
    clock: Callable[[], float]
    on_portal: Callable[[Route, str], None] = lambda route, url: None


@dataclass(frozen=True, slots=True)
class ProbeChallenge:
    """The result of a request for which the upstream demands a sign-in.

    Attributes:
        challenges: The challenges of the upstream.
        verdict: The verdict on the credentials of the request; None if it carried none.
    """

    challenges: tuple[Challenge, ...]
    verdict: Verdict | None = None


class Probe:
    """One request, which may be sent several times.

    Attributes:
        route: The route of the request.
        is_unproved: True if the last response does not tell whether the login on trial is right.
    """

    def __init__(
        self,
        profile: Profile,
        request: Request,
        tools: OwnRequestTools,
        *,
        is_trial: bool = False,
        is_check_page: bool = False,
    ) -> None:
        """Create a probe.

        Args:
            profile: The profile; its preferred upstream is used.
            request: The request, without content.
            tools: The tools for own requests.
            is_trial: True if the request verifies a login: no prompt names it.
            is_check_page: True if the request is for a page that always exists and never redirects
                to another host.
        """
        self.route = Route.via_profile(profile)
        self._profile = profile
        self._request = request
        self._tools = tools
        self.is_unproved = False
        self._is_check_page = is_check_page
        self._login_was_sent = False
        self._login_was_answered = False
        self._idle_stream: SocketStream | None = None
        self._leftover: LeftoverContent | None = None
        self._challenges: tuple[Challenge, ...] = ()
        self._detector = ChallengeDetector()
        self._pending = PendingRequest(str(request.target.authority), is_own=is_trial)

    def connect_request(self, route: Route, credentials: Credentials | None) -> ConnectRequest:
        """Return the parameters for a connection to the request's target by this route."""
        target = self._request.target.authority
        assert target is not None
        # A task waits for one descriptor at a time, so no other wait has to be released.
        return ConnectRequest(
            route,
            target,
            credentials,
            wait_in_task,
            lambda descriptor: None,
            before_login=self._mark_login_sent,
        )

    def _mark_login_sent(self) -> None:
        self._login_was_sent = True

    def close(self) -> None:
        """Close the idle connection, if any."""
        if self._idle_stream is not None:
            self._idle_stream.close()
            self._idle_stream = None

    async def send(self, credentials: Credentials | None) -> Response | ProbeChallenge | None:
        """Send the request, with or without credentials, and return the result.

        Returns:
            The response; a `ProbeChallenge` if the upstream demands a sign-in; None after a CONNECT
            over a direct or SOCKS route, where the connection itself is the result.

        Raises:
            RequestRefusedError: There is no connection, or no response.
            TargetRefusedError: A SOCKS upstream has accepted the login, but cannot reach the
                target.
        """
        try:
            if credentials is None or not self.route.authenticates_requests:
                return await self._send_once(credentials)
            return await self._run_handshake(credentials)
        except AuthRequiredError as challenge:
            rejected = Verdict(VerdictKind.REJECTED) if credentials is not None else None
            return ProbeChallenge(challenge.challenges, rejected)

    def report_portal(self, response: Response) -> None:
        """Report the network's sign-in page if the response names it or redirects to it."""
        url = captive_portal_url(response, self._request)
        if not url and self._is_check_page and redirects_to_other_host(response, self._request):
            url = redirect_url(response)  # Only a portal redirects requests for a check page.
        if url:
            self._tools.on_portal(self.route, url)

    async def sign_in(
        self, challenge: ProbeChallenge, credentials: Credentials | None = None
    ) -> Credentials | None:
        """Send the request until its login is accepted. The desk chooses and follows each login.

        Args:
            challenge: The challenge of the upstream.
            credentials: The credentials to begin with; None for the desk's choice.

        Returns:
            The accepted credentials; None if the request needed none after all.

        Raises:
            NotSignedInError: The desk has no credentials.
            RequestRefusedError: There is no response.
        """
        tried: Credentials | None = None
        while True:
            if credentials is None or credentials is tried:
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
            if not isinstance(outcome, ProbeChallenge):
                return credentials
            challenge, tried = outcome, credentials

    async def _request_credentials(
        self, challenge: ProbeChallenge, tried: Credentials | None
    ) -> Credentials | None:
        """Return the desk's credentials; None: send without a login to get new challenges."""
        space = self.route.upstream_id
        assert space is not None
        result = await self._tools.desk.challenged(
            space, self._profile, challenge.challenges, self._pending, tried, challenge.verdict
        )
        if isinstance(result, Refusal):
            raise NotSignedInError(result)
        return result

    async def _request_permit(self, credentials: Credentials) -> Credentials | None:
        """Return the credentials with the desk's send permit; None: the login must not be sent."""
        if credentials.permit:
            return credentials
        permitted = await self._tools.desk.request_permit(credentials, self._pending.target)
        return permitted if isinstance(permitted, Credentials) else None

    async def _send_with_login(self, credentials: Credentials) -> Response | ProbeChallenge | None:
        """Send the request with credentials, and report the result to the desk."""
        desk = self._tools.desk
        is_on_trial = desk.known(credentials.upstream_id) is not credentials
        try:
            outcome = await self.send(credentials)
        except TargetRefusedError:
            return None  # The connector has reported the login's acceptance to the desk.
        except BaseException as error:
            desk.report(credentials, NoVerdict(type(error).__name__, was_sent=self._login_was_sent))
            raise
        if isinstance(outcome, Response):
            self.report_portal(outcome)
        if (
            isinstance(outcome, Response)
            and self.route.authenticates_requests
            and not self._login_was_answered
        ):
            self.is_unproved = is_on_trial
            desk.report(credentials, NoVerdict("the proxy did not ask for it", was_sent=False))
        elif isinstance(outcome, Response) and self.route.authenticates_requests:
            evidence_found = evidence(outcome, self._request)
            self.is_unproved = is_on_trial and evidence_found is not Evidence.PROOF
            report_evidence(desk, credentials, self._request, outcome, on_trial=is_on_trial)
        return outcome

    # --- legs ---

    async def _send_once(self, credentials: Credentials | None) -> Response | ProbeChallenge | None:
        # The connector sends the login of a SOCKS server.
        self._login_was_sent = False
        self.close()
        self._leftover = None
        stream = await self._tools.connector.open(self.connect_request(self.route, credentials))
        try:
            if self.route.is_direct and self._request.method == b"CONNECT":
                return None
            response = await self._exchange(stream, None)
            carried = credentials if self.route.authenticates_requests else None
            challenges = self._challenges_in(response, carried)
            self._challenges = challenges or ()
            if challenges and carried is None and await self._is_reusable(stream, response):
                self._idle_stream = stream
        finally:
            if self._idle_stream is not stream:
                stream.close()
        return response if challenges is None else ProbeChallenge(challenges)

    async def _is_reusable(self, stream: SocketStream, response: Response) -> bool:
        """Return whether the connection of a 407 can carry the request once more."""
        if not response.keep_alive:
            return False
        try:
            return await self._drain(stream, response)
        except RequestRefusedError:
            return False

    def _take_idle_stream(self) -> SocketStream | None:
        """Return the connection of the last 407, None if it has ended or does not exist."""
        stream, self._idle_stream = self._idle_stream, None
        if stream is None:
            return None
        try:
            is_quiet = not (stream.inbox or stream.fill() or stream.ended)
        except OSError:
            is_quiet = False
        if is_quiet:
            return stream
        stream.close()
        return None

    async def _run_handshake(self, credentials: Credentials) -> Response | ProbeChallenge:
        self._login_was_sent = self._login_was_answered = False
        # The challenges of this very request: a nonce of an earlier response may have expired.
        challenges, self._challenges = self._challenges, ()
        # Behind a load balancer, a nonce is known only to the proxy that created it. A nonce from
        # another connection may be another proxy's.
        is_local = not credentials.scheme.binds_connection and not credentials.is_constant
        reused = self._take_idle_stream() if is_local else None
        self.close()
        stream = reused or await self._tools.connector.open(
            self.connect_request(self.route, credentials)
        )
        if reused is None:
            self._leftover = None
        is_open = True
        try:
            if is_local and reused is None:
                response = await self._exchange(stream, None)
                challenge = self._challenges_in(response, None)
                if challenge is None:
                    return response
                challenges = challenge
                is_open = await self._drain(stream, response)
            handshake = credentials.signer.begin(self._to_sign(stream))
            asked_on, is_elsewhere = (stream if is_local else None), False
            has_moved = False
            while True:
                leg = await self._run_step(credentials, handshake, challenges)
                if isinstance(leg, Verdict):
                    verdict = leg.on_other_connection() if is_elsewhere else leg
                    return ProbeChallenge(challenges or (credentials.challenge,), verdict)
                if not leg.same_connection and not is_open:
                    stream = await self._reconnect(stream, credentials)
                self._login_was_sent = self._login_was_sent or (
                    leg.with_content and leg.credentials != b""
                )
                is_bound = credentials.scheme.binds_connection
                is_elsewhere = asked_on is not stream
                try:
                    response = await self._exchange(stream, leg, is_bound=is_bound)
                except RequestUnreadError:
                    # Some proxies close the connection after a 407 without announcing it.
                    if is_elsewhere or leg.same_connection or has_moved:
                        raise
                    has_moved = True
                    stream = await self._reconnect(stream, credentials)
                    is_elsewhere = True
                    response = await self._exchange(stream, leg, is_bound=is_bound)
                challenge = self._challenges_in(response, credentials if leg.credentials else None)
                if challenge is None:
                    self._login_was_answered = leg.with_content and leg.credentials != b""
                    handshake.finish(response.fields)
                    return response
                challenges, asked_on = challenge, stream
                is_open = await self._drain(stream, response)
        finally:
            stream.close()

    async def _reconnect(self, stream: SocketStream, credentials: Credentials) -> SocketStream:
        """Close a connection, and return a new connection for the same request."""
        stream.close()
        self._leftover = None
        return await self._tools.connector.open(self.connect_request(self.route, credentials))

    def _to_sign(self, stream: SocketStream) -> RequestToSign:
        request = self._request
        return RequestToSign(request.method, request_target(request), b"", stream.end_point)

    async def _run_step(
        self, credentials: Credentials, handshake: Handshake, challenges: tuple[Challenge, ...]
    ) -> Leg | Verdict:
        if not (credentials.scheme.blocks and credentials.signer.blocks):
            return handshake.step(challenges)
        try:
            async with asyncio.timeout(self._tools.limits.auth_step_s):
                return await self._tools.handshake_threads.run(handshake, challenges)
        except TimeoutError:
            return SERVER_SILENT

    def _challenges_in(
        self, response: Response, carried: Credentials | None
    ) -> tuple[Challenge, ...] | None:
        """Return the challenges of a response, None if it does not demand a sign-in."""
        if self.route.is_direct:
            return None
        return self._detector.challenges_in(
            response, self._request.method, self.route.upstream_id, carried
        )

    # --- octets ---

    async def _exchange(
        self, stream: SocketStream, leg: Leg | None, *, is_bound: bool = False
    ) -> Response:
        """Send the request on this connection and return the head of the final response.

        Raises:
            RequestRefusedError: There is no response.
            RequestUnreadError: There is no response, and the upstream has not read the request.
        """
        head = write_request(
            self._request,
            via=self._tools.via,
            credentials=leg.credentials or None if leg else None,
            direct=self.route.is_direct,
            request_keep_alive=is_bound,
        )
        try:
            async with asyncio.timeout(self._tools.limits.connect_response_head_s):
                await _send_all(stream, head)
                leftover, self._leftover = self._leftover, None
                return await _final_head(stream, self._request.method, leftover)
        except (OSError, EOFError, MessageError) as error:
            kind = RequestUnreadError if _is_unread(stream, error) else RequestRefusedError
            raise kind(self._silent()) from None

    async def _drain(self, stream: SocketStream, response: Response) -> bool:
        """Read the content of a response with challenges, so the connection can carry the next leg.

        Returns:
            True if the connection stays open.

        Raises:
            RequestRefusedError: The content does not end.
        """
        limits = self._tools.limits
        self._leftover = LeftoverContent.of(response, self._request.method, limits.max_drain_octets)
        body = response_body_reader(response.framing)
        left = limits.max_drain_octets
        try:
            async with asyncio.timeout(limits.linger_s):
                while True:
                    _, taken = body.feed(bytes(stream.inbox))
                    del stream.inbox[:taken]
                    left -= taken
                    if body.done or left < 0 or stream.ended:
                        return response.keep_alive and body.done and not stream.ended
                    if not stream.fill() and not stream.ended:
                        await wait_in_task(IoWait({stream.descriptor: READ}))
        except (OSError, MessageError):
            raise RequestRefusedError(self._silent()) from None

    def _silent(self) -> ErrorPage:
        host = self._profile.upstream.host
        return no_response(host, self._tools.limits.connect_response_head_s, through_upstream=True)


def request_for(url: str) -> Request:
    """Return a GET request for a URL.

    Raises:
        MessageError: The URL is not a plain http URL.
    """
    host = url.removeprefix("http://").partition("/")[0]
    head = f"GET {url} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: TrayProxy\r\nAccept: */*\r\n\r\n"
    return parse_request(head.encode("ascii", "replace"))


def _is_unread(stream: SocketStream, error: Exception) -> bool:
    """Return True if the connection failed before the upstream read the last request."""
    if stream.inbox or isinstance(error, (TimeoutError, MessageError)):
        return False
    return isinstance(error, OSError) or stream.last_data_was_unread


async def _send_all(stream: SocketStream, octets: bytes) -> None:
    rest = memoryview(octets)
    while rest := rest[stream.send(rest) :]:
        await wait_in_task(IoWait({stream.descriptor: WRITE}))


async def _final_head(
    stream: SocketStream, method: bytes, leftover: LeftoverContent | None
) -> Response:
    while True:
        if leftover is not None and not leftover.skip(stream):
            leftover = None
        end = find_response_head(stream.inbox) if stream.inbox else None
        if end is not None:
            response = parse_response(bytes(stream.inbox[:end]), method)
            del stream.inbox[:end]
            if not response.is_interim:
                return response
        elif stream.ended:
            raise EOFError
        elif not stream.fill() and not stream.ended:
            await wait_in_task(IoWait({stream.descriptor: READ}))
