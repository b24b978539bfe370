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
    only_by_proxy,
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
from trayproxy.engine.transfer.replay_buffer import KEPT_AT_MOST, KEPT_IN_MEMORY, ReplayBuffer
from trayproxy.engine.transfer.request_writer import ClientGoneError, RequestWriter
from trayproxy.engine.transfer.response_reader import (
    AskFirstError,
    RequestBodyError,
    ResponseReader,
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


UNANSWERED_AT_MOST = 2
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
        answer: The login to go with, None for none.
        is_on_trial: Nobody has ever accepted it.
        is_asked_for: The desk has handed it out for this request, and wants to hear of it.
        is_fresh: It needs a new connection.
        withheld: The login that is known and not sent, since the site is exempt.
    """

    answer: Credentials | None
    is_on_trial: bool = False
    is_asked_for: bool = False
    is_fresh: bool = False
    withheld: Credentials | None = None


def report_evidence(
    desk: Desk, answer: Credentials, request: Request, response: Response, *, on_trial: bool
) -> None:
    """Tell the desk what the answer to a request says about the login that the request carried.

    A login that was accepted before stays accepted, whatever the answer; but an answer that a proxy
    may give to a wrong login does not confirm it.

    Args:
        desk: Who is told.
        answer: The login.
        request: The request.
        response: Its final answer, no refusal.
        on_trial: The desk has handed the login out for this request alone.
    """
    if answer.is_recently_accepted:
        return
    found, target = evidence(response, request), str(request.target.authority)
    if found is Evidence.PROOF or (found is Evidence.FROM_SITE and not on_trial):
        desk.accepted(answer, target)
    elif on_trial or answer.permit:
        desk.unproved(answer, target, is_doubtful=found is Evidence.NONE)


async def send_with_login(
    signing: AuthExchange, hop: UpstreamLease, request: Request, attempt: Attempt
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
    answer, way, desk = attempt.answer, hop.route, hop.desk
    try:
        if way.is_direct and request.method == b"CONNECT":
            await signing.connect(answer, on_trial=attempt.is_on_trial)
            return None
        outcome = await signing.attempt(
            answer,
            withheld=attempt.withheld,
            on_trial=attempt.is_on_trial,
            fresh=attempt.is_fresh,
        )
    except AuthRequiredError as wanted:
        rejected = Verdict(VerdictKind.REJECTED) if answer is not None else None
        return AuthChallenge(wanted.challenges, rejected)
    except (ClientGoneError, OSError, GeneratorExit, CancelledError) as error:
        carried = signing.permitted or (answer if attempt.is_asked_for else None)
        if carried is not None and not signing.hand_over_response(carried):
            # That a client has left says nothing about a login that others go on with.
            is_counted = signing.was_login_sent and attempt.is_on_trial
            desk.inconclusive(carried, type(error).__name__, sent=is_counted)
        raise
    except BaseException as error:
        carried = signing.permitted or (answer if attempt.is_asked_for else None)
        if carried is not None:
            desk.inconclusive(carried, type(error).__name__, sent=signing.was_login_sent)
        raise
    if answer is not None and way.signs_requests and isinstance(outcome, Response):
        carried = signing.permitted or answer
        if not signing.is_proved:
            if attempt.is_asked_for or carried.permit:
                desk.inconclusive(carried, "the proxy did not ask for it", sent=False)
        else:
            report_evidence(desk, carried, request, outcome, on_trial=attempt.is_on_trial)
    if isinstance(outcome, Response) and not way.is_direct:
        url = captive_portal_url(outcome, request)
        if url:
            hop.report_captive_portal(url)
    return outcome


class Forwarder:
    """One request on its way.

    Everything that it depends on is taken once, at its start: a profile that is switched meanwhile
    changes nothing for it.
    """

    __slots__ = (
        "_client",
        "_dead",
        "_engine",
        "_failure",
        "_hop",
        "_link",
        "_plan",
        "_relay",
        "_request",
        "_sent",
        "_waiter",
    )

    def __init__(
        self, link: "ClientConnection", plan: CachedRequest, sent: UpstreamConnection | None = None
    ) -> None:
        """Begin with a request.

        Args:
            link: Its client.
            plan: Its head, and what follows from it.
            sent: Where it has been sent already, on the short way.
        """
        self._link = link
        self._engine = link.engine
        self._client = link.client
        self._plan = plan
        self._request = plan.request
        self._relay = ResponseRelay(link, plan)
        self._waiter: PendingRequest | None = None
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
        way = self._sent.way if self._sent is not None else self._engine.signpost(authority)
        if way is None:
            return await self._refuse(NO_PROFILE)
        preferred = way
        if way.fallbacks and self._sent is None:
            way = self._engine.failover.choose(way) or way
        self._hop = UpstreamLease(self._link, self._request, preferred, way)
        kept: ReplayBuffer | None = None
        try:
            framing = self._request.framing
            too_large = isinstance(framing, Length) and framing.octets > KEPT_AT_MOST
            comes_back = any(one.signs_requests for one in (way, *preferred.fallbacks))
            kept = ReplayBuffer(comes_back and not too_large)
            return await self._converse(RequestWriter(self._client, framing, kept))
        except RequestRefusedError as refused:
            return await self._refuse(refused.page)
        except RequestBodyError as error:
            self._link.drop_upstream()
            page = refused_request(error.status, str(error))
            return await self._link.answer(page, self._request, keep_alive=False)
        except BaseException:
            # The client left, or nothing moved any more. What may still come on the upstream
            # connection answers this request: nobody else may get it.
            self._link.drop_upstream()
            raise
        finally:
            if kept is not None:
                kept.close()

    async def _refuse(self, page: ErrorPage) -> bool:
        keep_alive = self._request.keep_alive and self._request.framing == NoBody()
        return await self._link.answer(page, self._request, keep_alive=keep_alive)

    # --- the conversation with the next hop ---

    async def _converse(self, sender: RequestWriter) -> bool:
        """Send the request, with a login when one is asked for, until there is an answer to
        relay. Return whether the client's connection goes on."""
        sent, hop = self._sent, self._hop
        signing = AuthExchange(self._link, self._plan, hop, self._relay, sender, sent)
        attempt = self._unasked() if sent is None else Attempt(sent.answer)
        unanswered = 0
        framing = self._request.framing
        may_ask = isinstance(framing, Length) and framing.octets > KEPT_AT_MOST
        while True:
            if hop.route.is_direct and not self._request.can_be_sent_directly:
                target = self._request.target
                host = target.authority.host if target.authority else ""
                raise RequestRefusedError(only_by_proxy(target.scheme.decode("ascii"), host))
            sender.asks_first = may_ask and attempt.answer is None and hop.route.signs_requests
            try:
                outcome = await send_with_login(signing, hop, self._request, attempt)
            except AskFirstError:
                self._link.drop_upstream()
                may_ask = False
                attempt = await self._ask_first()
                continue
            except ContentNotRepeatableError:
                # It is refused; but when it is sent again, the login is known to be right.
                await self._ask_first()
                if self._known() is not None:
                    raise RequestRefusedError(TOO_LARGE_BUT_SIGNED_IN) from None
                raise
            except UnreachableError as error:
                self._take_another_way(error, sender)
                attempt = self._unasked()
                continue
            except LoginSupersededError:
                attempt = self._unasked()
                continue
            except UnansweredError:
                # If the login is the reason, the request waits for the verdict of a person.
                unanswered += 1
                if unanswered > UNANSWERED_AT_MOST:
                    raise
                attempt = Attempt(None, is_fresh=True)
                continue
            if outcome is None:
                return await self._open_directly()
            if isinstance(outcome, Response):
                return await self._relay.pass_on(sender, outcome)
            if not hop.route.signs_in:
                page = sign_in_not_set(self._profile.name)
                self._engine.observer.sign_in_not_set(hop.route, page)
                raise RequestRefusedError(page)
            turn = self._turn_at_desk(outcome, signing.permitted or attempt.answer)
            attempt = await self._wait_at_desk(turn)

    async def _ask_first(self) -> Attempt:
        """Find out by an own request whether the next hop wants a login, and sign in with it
        (R-074). Return what to send the upload with.

        Raises:
            RequestRefusedError: The person declined, or there is no common way to sign in.
        """
        link, way = self._link, self._hop.route
        authority = self._request.target.authority
        assert authority is not None
        plan = CachedRequest(head_request_to(authority), None)
        hop = UpstreamLease(link, plan.request, self._hop.preferred_route, way)
        sender = RequestWriter(self._client, NoBody(), ReplayBuffer(wanted=False))
        signing = AuthExchange(link, plan, hop, ResponseReader(link, plan), sender, None)
        attempt, wanted = Attempt(self._known(), is_fresh=True), None
        while True:
            try:
                outcome = await send_with_login(signing, hop, plan.request, attempt)
            except LoginSupersededError:
                attempt = Attempt(self._known())
                continue
            except RequestRefusedError as error:
                logger.debug("nothing was found out before an upload: %s", error)
                link.drop_upstream()
                return Attempt(self._known())
            if not isinstance(outcome, AuthChallenge):
                break
            wanted = outcome
            turn = self._turn_at_desk(outcome, signing.permitted or attempt.answer)
            attempt = await self._wait_at_desk(turn)
        # Content that can be sent only once goes on no connection that may be about to be closed.
        link.drop_upstream()
        known = self._known()
        if known is not None or wanted is None or attempt.answer is None:
            return Attempt(known, is_fresh=True)
        # The answer of the site proves nothing: the upload carries the login on trial.
        turn = self._turn_at_desk(AuthChallenge(wanted.challenges), None)
        return await self._wait_at_desk(turn)

    def _known(self) -> Credentials | None:
        """Return the login to send before anybody asks for it."""
        way = self._hop.route
        return (
            self._engine.desk.known(way.upstream_id) if way.signs_in and way.upstream_id else None
        )

    def _unasked(self) -> Attempt:
        """Return how the request goes before the next hop asks it for a login: with the login that
        is known, or without it if the site is exempt (R-086).

        Content that may not be there any more when a 407 comes after all goes with the login.
        """
        known, way, request = self._known(), self._hop.route, self._request
        framing, site = request.framing, request.target.authority
        if known is None or way.upstream_id is None or site is None or not way.signs_requests:
            return Attempt(known)
        if isinstance(framing, NoBody):
            is_repeatable = True
        else:
            is_repeatable = isinstance(framing, Length) and framing.octets <= KEPT_IN_MEMORY
        if is_repeatable and self._engine.exempt_sites.has(way.upstream_id, site):
            return Attempt(None, withheld=known)
        return Attempt(known)

    @property
    def _profile(self) -> Profile:
        assert self._hop.route.profile is not None  # A next hop with a login belongs to one.
        return self._hop.route.profile

    def _take_another_way(self, error: UnreachableError, sender: RequestWriter) -> None:
        """Go on by another upstream of the profile, since this one cannot be reached.

        Raises:
            UnreachableError: There is no other; that of the preferred one, if it was tried.
        """
        way, preferred, failover = self._hop.route, self._hop.preferred_route, self._engine.failover
        self._failure = self._failure or error
        other = None
        if preferred.fallbacks and way.upstream is not None:
            failover.mark_dead(way.upstream)
            self._dead = (*self._dead, way)
            other = failover.choose(preferred, self._dead)
        if other is None or (sender.body_started and not sender.kept.whole):
            self._hop.report_failure(self._failure.page)
            raise self._failure
        logger.info("%s: going on by %s", error.page.title, other.upstream)
        self._hop.route = other

    async def _open_directly(self) -> bool:
        """Let a tunnel to the target itself begin. It is connected, and is sent no CONNECT."""
        upstream = self._link.upstream
        assert upstream is not None
        self._engine.observer.reached(self._hop.route)
        await self._link.deliver(ESTABLISHED)
        return self._relay.become_tunnel(upstream.stream)

    def _turn_at_desk(self, wanted: AuthChallenge, tried: Credentials | None) -> "Future[Outcome]":
        """Take a turn at the sign-in desk, which hears what has become of the login."""
        space = self._hop.route.upstream_id
        assert space is not None
        if self._waiter is None:
            client = self._client.socket
            ends = (client.getsockname()[:2], client.getpeername()[:2])
            self._waiter = PendingRequest(
                str(self._request.target.authority),
                connection=ends,
            )
        return self._engine.desk.challenged(
            space, self._profile, wanted.challenges, self._waiter, tried, wanted.verdict
        )

    async def _wait_at_desk(self, turn: "Future[Outcome]") -> Attempt:
        """Wait for what to try next.

        Raises:
            RequestRefusedError: The person declined, or there is no common way to sign in.
            ClientGoneError: The client did not wait.
        """
        self._link.deadline = None
        result = await self._hop.wait_for_desk(turn)
        if isinstance(result, Refusal):
            raise RequestRefusedError(refusal_page(result))
        if result is None:
            return Attempt(None, is_fresh=True)
        known = self._engine.desk.known(result.upstream_id)
        is_trusted = known is not None and known.login_id == result.login_id
        return Attempt(result, is_on_trial=not is_trusted, is_asked_for=True)
