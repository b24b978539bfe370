"""One request and its answer: dial, send, sign in when asked, relay."""

import logging
from asyncio import CancelledError, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trayproxy.auth.scheme import Verdict, VerdictKind
from trayproxy.desk.credentials import Credentials, Outcome, PendingRequest
from trayproxy.desk.desk import Desk
from trayproxy.desk.problems import Refusal
from trayproxy.engine.error_pages import (
    NO_PROFILE,
    TOO_LARGE_BUT_SIGNED_IN,
    ErrorPage,
    RequestRefusedError,
    needs_http_proxy,
    refused_request,
    sign_in_not_set,
)
from trayproxy.engine.forward.response_relay import ResponseRelay
from trayproxy.engine.proxy_auth.auth_exchange import (
    AuthChallenge,
    AuthExchange,
    ContentNotRepeatableError,
    LoginSupersededError,
    UnansweredError,
    head_request_to,
)
from trayproxy.engine.proxy_auth.challenge_detection import Evidence, captive_portal_url, evidence
from trayproxy.engine.proxy_auth.upstream_lease import UpstreamLease
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.transfer.replay_buffer import MAX_IN_MEMORY, MAX_REPLAYABLE, ReplayBuffer
from trayproxy.engine.transfer.request_writer import ClientGoneError, RequestWriter
from trayproxy.engine.transfer.response_reader import (
    RequestBodyError,
    ResponseReader,
    SignInFirstError,
)
from trayproxy.engine.upstream.connector import AuthRequiredError, UnreachableError
from trayproxy.engine.upstream.pool import UpstreamConnection
from trayproxy.engine.upstream.route import Route
from trayproxy.http.framing import Length, NoBody
from trayproxy.http.request import Request
from trayproxy.http.response import Response
from trayproxy.profiles.profile import Profile

if TYPE_CHECKING:
    from trayproxy.engine.server.client_connection import ClientConnection

logger = logging.getLogger(__name__)

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
"""What opens a tunnel that needs no upstream (RFC 9110, section 9.3.6)."""


MAX_UNANSWERED = 2
"""How often a request waits for a sign-in again after it carried a login and got no answer."""


def refusal_page(refusal: Refusal) -> ErrorPage:
    """Return the page for a request that is not signed in: 503, never the 407 itself."""
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


@dataclass(frozen=True, slots=True)
class Attempt:
    """What to try next.

    Attributes:
        credentials: The login to go with, None for none.
        is_on_trial: Nobody has ever accepted it.
        is_from_desk: The desk has handed it out for this request, and wants to hear of it.
        needs_new_connection: It needs a new connection.
        withheld: The login that is known and not sent, since the site is exempt.
    """

    credentials: Credentials | None
    is_on_trial: bool = False
    is_from_desk: bool = False
    needs_new_connection: bool = False
    withheld: Credentials | None = None


def report_evidence(
    desk: Desk, credentials: Credentials, request: Request, response: Response, *, on_trial: bool
) -> None:
    """Tell the desk what the answer to a request says about the login that the request carried.

    A login that was accepted before stays accepted, whatever the answer; but an answer that a proxy
    may give to a wrong login does not confirm it.

    Args:
        desk: Who is told.
        credentials: The login.
        request: The request.
        response: Its final answer, no refusal.
        on_trial: The desk has handed the login out for this request alone.
    """
    if credentials.is_recently_accepted:
        return
    found, target = evidence(response, request), str(request.target.authority)
    if found is Evidence.PROOF or (found is Evidence.FROM_SITE and not on_trial):
        desk.accepted(credentials, target)
    elif on_trial or credentials.permit:
        desk.unproved(credentials, target, is_doubtful=found is Evidence.NONE)


async def send_with_login(
    exchange: AuthExchange, lease: UpstreamLease, request: Request, attempt: Attempt
) -> Response | AuthChallenge | None:
    """Send a request with a login, and tell the desk what became of that.

    Returns:
        The answer to relay; what a next hop wants that let nothing through; None if the target
        itself is connected and was asked for a tunnel.

    Raises:
        UnreachableError: The next hop of this way is dead.
        LoginSupersededError: The login was refused to another request meanwhile.
        RequestRefusedError: There is no answer.
    """
    credentials, route, desk = attempt.credentials, lease.route, lease.desk
    try:
        if route.is_direct and request.method == b"CONNECT":
            await exchange.connect(credentials, on_trial=attempt.is_on_trial)
            return None
        outcome = await exchange.attempt(
            credentials,
            withheld=attempt.withheld,
            on_trial=attempt.is_on_trial,
            fresh=attempt.needs_new_connection,
        )
    except AuthRequiredError as wanted:
        rejected = Verdict(VerdictKind.REJECTED) if credentials is not None else None
        return AuthChallenge(wanted.challenges, rejected)
    except (ClientGoneError, OSError, GeneratorExit, CancelledError) as error:
        carried = exchange.permitted or (credentials if attempt.is_from_desk else None)
        if carried is not None and not exchange.hand_over_response(carried):
            # That a client has left says nothing about a login that others go on with.
            is_counted = exchange.was_login_sent and attempt.is_on_trial
            desk.inconclusive(carried, type(error).__name__, sent=is_counted)
        raise
    except BaseException as error:
        carried = exchange.permitted or (credentials if attempt.is_from_desk else None)
        if carried is not None:
            desk.inconclusive(carried, type(error).__name__, sent=exchange.was_login_sent)
        raise
    if credentials is not None and route.authenticates_requests and isinstance(outcome, Response):
        carried = exchange.permitted or credentials
        if not exchange.is_proved:
            if attempt.is_from_desk or carried.permit:
                desk.inconclusive(carried, "the proxy did not ask for it", sent=False)
        else:
            report_evidence(desk, carried, request, outcome, on_trial=attempt.is_on_trial)
    if isinstance(outcome, Response) and not route.is_direct:
        url = captive_portal_url(outcome, request)
        if url:
            lease.report_captive_portal(url)
    return outcome


class Forwarder:
    """One request on its way.

    Everything that it depends on is taken once, at its start: a profile that is switched meanwhile
    changes nothing for it.
    """

    __slots__ = (
        "_cached",
        "_client",
        "_connection",
        "_dead",
        "_engine",
        "_failure",
        "_lease",
        "_pending_request",
        "_relay",
        "_request",
        "_sent",
    )

    def __init__(
        self,
        connection: "ClientConnection",
        cached: CachedRequest,
        sent: UpstreamConnection | None = None,
    ) -> None:
        """Begin with a request.

        Args:
            link: Its client.
            plan: Its head, and what follows from it.
            sent: Where it has been sent already, on the short way.
        """
        self._connection = connection
        self._engine = connection.engine
        self._client = connection.client
        self._cached = cached
        self._request = cached.request
        self._relay = ResponseRelay(connection, cached)
        self._pending_request: PendingRequest | None = None
        self._sent = sent
        self._dead: tuple[Route, ...] = ()
        self._failure: UnreachableError | None = None

    async def forward(self) -> bool:
        """Bring the request to its end. Return whether the client's connection goes on.

        Raises:
            ClientGoneError: The client left.
            OSError: The client's connection broke.
        """
        authority = self._request.target.authority
        assert authority is not None  # The forms without one are answered before they come here.
        route = self._sent.route if self._sent is not None else self._engine.route_for(authority)
        if route is None:
            return await self._refuse(NO_PROFILE)
        preferred = route
        if route.fallbacks and self._sent is None:
            route = self._engine.failover.choose(route) or route
        self._lease = UpstreamLease(self._connection, self._request, preferred, route)
        replay_buffer: ReplayBuffer | None = None
        try:
            framing = self._request.framing
            is_too_large = isinstance(framing, Length) and framing.octets > MAX_REPLAYABLE
            may_be_repeated = any(one.authenticates_requests for one in (route, *preferred.fallbacks))
            replay_buffer = ReplayBuffer(may_be_repeated and not is_too_large)
            return await self._send_until_answered(
                RequestWriter(self._client, framing, replay_buffer)
            )
        except RequestRefusedError as refused:
            return await self._refuse(refused.page)
        except RequestBodyError as error:
            self._connection.drop_upstream()
            page = refused_request(error.status, str(error))
            return await self._connection.send_page(page, self._request, keep_alive=False)
        except BaseException:
            # The client left, or nothing moved any more. What may still come on the upstream
            # connection answers this request: nobody else may get it.
            self._connection.drop_upstream()
            raise
        finally:
            if replay_buffer is not None:
                replay_buffer.close()

    async def _refuse(self, page: ErrorPage) -> bool:
        keep_alive = self._request.keep_alive and self._request.framing == NoBody()
        return await self._connection.send_page(page, self._request, keep_alive=keep_alive)

    # --- the conversation with the next hop ---

    async def _send_until_answered(self, writer: RequestWriter) -> bool:
        """Send the request, with a login when one is asked for, until there is an answer to
        relay. Return whether the client's connection goes on."""
        sent, lease = self._sent, self._lease
        exchange = AuthExchange(self._connection, self._cached, lease, self._relay, writer, sent)
        attempt = self._unchallenged_attempt() if sent is None else Attempt(sent.credentials)
        unanswered = 0
        framing = self._request.framing
        may_ask = isinstance(framing, Length) and framing.octets > MAX_REPLAYABLE
        while True:
            if lease.route.is_direct and not self._request.can_be_sent_directly:
                target = self._request.target
                host = target.authority.host if target.authority else ""
                raise RequestRefusedError(needs_http_proxy(target.scheme.decode("ascii"), host))
            writer.needs_sign_in_first = (
                may_ask and attempt.credentials is None and lease.route.authenticates_requests
            )
            try:
                outcome = await send_with_login(exchange, lease, self._request, attempt)
            except SignInFirstError:
                self._connection.drop_upstream()
                may_ask = False
                attempt = await self._sign_in_before_upload()
                continue
            except ContentNotRepeatableError:
                # It is refused; but when it is sent again, the login is known to be right.
                await self._sign_in_before_upload()
                if self._known_credentials() is not None:
                    raise RequestRefusedError(TOO_LARGE_BUT_SIGNED_IN) from None
                raise
            except UnreachableError as error:
                self._fail_over(error, writer)
                attempt = self._unchallenged_attempt()
                continue
            except LoginSupersededError:
                attempt = self._unchallenged_attempt()
                continue
            except UnansweredError:
                # If the login is the reason, the request waits for the verdict of a person.
                unanswered += 1
                if unanswered > MAX_UNANSWERED:
                    raise
                attempt = Attempt(None, needs_new_connection=True)
                continue
            if outcome is None:
                return await self._open_directly()
            if isinstance(outcome, Response):
                return await self._relay.relay(writer, outcome)
            if not lease.route.may_sign_in:
                page = sign_in_not_set(self._profile.name)
                self._engine.observer.sign_in_not_set(lease.route, page)
                raise RequestRefusedError(page)
            future = self._request_credentials(outcome, exchange.permitted or attempt.credentials)
            attempt = await self._await_credentials(future)

    async def _sign_in_before_upload(self) -> Attempt:
        """Find out by an own request whether the next hop wants a login, and sign in with it
        (R-074). Return what to send the upload with.

        Raises:
            RequestRefusedError: The person declined, or there is no common way to sign in.
        """
        connection, route = self._connection, self._lease.route
        authority = self._request.target.authority
        assert authority is not None
        cached = CachedRequest(head_request_to(authority), None)
        lease = UpstreamLease(connection, cached.request, self._lease.preferred_route, route)
        writer = RequestWriter(self._client, NoBody(), ReplayBuffer(enabled=False))
        exchange = AuthExchange(
            connection, cached, lease, ResponseReader(connection, cached), writer, None
        )
        attempt, wanted = Attempt(self._known_credentials(), needs_new_connection=True), None
        while True:
            try:
                outcome = await send_with_login(exchange, lease, cached.request, attempt)
            except LoginSupersededError:
                attempt = Attempt(self._known_credentials())
                continue
            except RequestRefusedError as error:
                logger.debug("signing in before an upload failed: %s", error)
                connection.drop_upstream()
                return Attempt(self._known_credentials())
            if not isinstance(outcome, AuthChallenge):
                break
            wanted = outcome
            future = self._request_credentials(outcome, exchange.permitted or attempt.credentials)
            attempt = await self._await_credentials(future)
        # Content that can be sent only once goes on no connection that may be about to be closed.
        connection.drop_upstream()
        known = self._known_credentials()
        if known is not None or wanted is None or attempt.credentials is None:
            return Attempt(known, needs_new_connection=True)
        # The answer of the site proves nothing: the upload carries the login on trial.
        future = self._request_credentials(AuthChallenge(wanted.challenges), None)
        return await self._await_credentials(future)

    def _known_credentials(self) -> Credentials | None:
        """Return the login to send before anybody asks for it."""
        route = self._lease.route
        return (
            self._engine.desk.known(route.upstream_id)
            if route.may_sign_in and route.upstream_id
            else None
        )

    def _unchallenged_attempt(self) -> Attempt:
        """Return how the request goes before the next hop asks it for a login: with the login that
        is known, or without it if the site is exempt (R-086).

        Content that may not be there any more when a 407 comes after all goes with the login.
        """
        known, route, request = self._known_credentials(), self._lease.route, self._request
        framing, site = request.framing, request.target.authority
        if (
            known is None
            or route.upstream_id is None
            or site is None
            or not route.authenticates_requests
        ):
            return Attempt(known)
        if isinstance(framing, NoBody):
            is_repeatable = True
        else:
            is_repeatable = isinstance(framing, Length) and framing.octets <= MAX_IN_MEMORY
        if is_repeatable and self._engine.exempt_sites.has(route.upstream_id, site):
            return Attempt(None, withheld=known)
        return Attempt(known)

    @property
    def _profile(self) -> Profile:
        assert self._lease.route.profile is not None  # A next hop with a login belongs to one.
        return self._lease.route.profile

    def _fail_over(self, error: UnreachableError, writer: RequestWriter) -> None:
        """Go on by another upstream of the profile, since this one cannot be reached.

        Raises:
            UnreachableError: There is no other; that of the preferred one, if it was tried.
        """
        route, preferred, failover = (
            self._lease.route,
            self._lease.preferred_route,
            self._engine.failover,
        )
        self._failure = self._failure or error
        other = None
        if preferred.fallbacks and route.upstream is not None:
            failover.mark_dead(route.upstream)
            self._dead = (*self._dead, route)
            other = failover.choose(preferred, self._dead)
        if other is None or (writer.body_started and not writer.replay_buffer.is_complete):
            self._lease.report_failure(self._failure.page)
            raise self._failure
        logger.info("%s: failing over to %s", error.page.title, other.upstream)
        self._lease.route = other

    async def _open_directly(self) -> bool:
        """Let a tunnel to the target itself begin. It is connected, and is sent no CONNECT."""
        upstream = self._connection.upstream
        assert upstream is not None
        self._engine.observer.reached(self._lease.route)
        await self._connection.deliver(ESTABLISHED)
        return self._relay.open_tunnel(upstream.stream)

    def _request_credentials(
        self, wanted: AuthChallenge, tried: Credentials | None
    ) -> "Future[Outcome]":
        """Take a turn at the sign-in desk, which hears what has become of the login."""
        space = self._lease.route.upstream_id
        assert space is not None
        if self._pending_request is None:
            client = self._client.socket
            ends = (client.getsockname()[:2], client.getpeername()[:2])
            self._pending_request = PendingRequest(
                str(self._request.target.authority),
                connection=ends,
            )
        return self._engine.desk.challenged(
            space, self._profile, wanted.challenges, self._pending_request, tried, wanted.verdict
        )

    async def _await_credentials(self, future: "Future[Outcome]") -> Attempt:
        """Wait for what to try next.

        Raises:
            RequestRefusedError: The person declined, or there is no common way to sign in.
            ClientGoneError: The client did not wait.
        """
        self._connection.deadline = None
        result = await self._lease.wait_for_desk(future)
        if isinstance(result, Refusal):
            raise RequestRefusedError(refusal_page(result))
        if result is None:
            return Attempt(None, needs_new_connection=True)
        known = self._engine.desk.known(result.upstream_id)
        is_trusted = known is not None and known.login_id == result.login_id
        return Attempt(result, is_on_trial=not is_trusted, is_from_desk=True)
