"""One request and its answer: dial, send, sign in when asked, relay."""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from trayproxy.desk.answer import Answer, Waiter
from trayproxy.desk.problems import Refusal
from trayproxy.engine.dial import SignInWantedError, UnreachableError
from trayproxy.engine.hop import Hop
from trayproxy.engine.memory import Plan
from trayproxy.engine.pages import (
    CUT_SHORT,
    NO_PROFILE,
    SITE_WANTS_SIGN_IN,
    TOO_LARGE_TO_REPEAT,
    Page,
    RefusedError,
    refused_request,
    sign_in_not_set,
)
from trayproxy.engine.relay import BadBodyError, BrokenError, Relay
from trayproxy.engine.sender import KEPT_AT_MOST, Kept, Sender
from trayproxy.engine.strand import Wait
from trayproxy.engine.upstream import Connection
from trayproxy.engine.way import Way
from trayproxy.http.challenges import Challenge, parse_challenges
from trayproxy.http.errors import MessageError
from trayproxy.http.framing import Length, NoBody
from trayproxy.http.request import Request, request_target, write_request
from trayproxy.http.response import Response
from trayproxy.profiles.profile import Profile

if TYPE_CHECKING:
    from trayproxy.engine.client import ClientWork

logger = logging.getLogger(__name__)

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
"""Methods that may be sent again after a reused connection failed (RFC 9110, section 9.2.2)."""
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
"""What opens a tunnel that needs no upstream (RFC 9110, section 9.3.6)."""


def refusal_page(refusal: Refusal) -> Page:
    """Return the page for a request that is not signed in: 503, never the 407 itself."""
    problem = refusal.problem
    return Page(
        503,
        problem.title,
        problem.body,
        "proxy_configuration_error",
        problem.id,
        refusal.retry_after,
        details=refusal.details,
    )


class Exchange:
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

    def __init__(self, link: "ClientWork", plan: Plan, sent: Connection | None = None) -> None:
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
        self._relay = Relay(link, plan)
        self._waiter: Waiter | None = None
        self._sent = sent
        self._dead: tuple[Way, ...] = ()
        self._failure: UnreachableError | None = None

    async def run(self) -> bool:
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
        if way.others and self._sent is None:
            way = self._engine.failover.choose(way) or way
        self._hop = Hop(self._link, self._request, preferred, way)
        kept: Kept | None = None
        try:
            framing = self._request.framing
            too_large = isinstance(framing, Length) and framing.octets > KEPT_AT_MOST
            comes_back = any(one.signs_requests for one in (way, *preferred.others))
            kept = Kept(comes_back and not too_large)
            return await self._converse(Sender(self._client, framing, kept))
        except RefusedError as refused:
            return await self._refuse(refused.page)
        except BadBodyError as error:
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

    async def _refuse(self, page: Page) -> bool:
        keep_alive = self._request.keep_alive and self._request.framing == NoBody()
        return await self._link.answer(page, self._request, keep_alive=keep_alive)

    # --- the conversation with the next hop ---

    async def _converse(self, sender: Sender) -> bool:
        """Send the request, with a login when one is asked for, until there is an answer to
        relay. Return whether the client's connection goes on."""
        answer = self._known() if self._sent is None else self._sent.answer
        while True:
            try:
                outcome = await self._try(sender, answer)
            except UnreachableError as error:
                self._take_another_way(error, sender)
                answer = self._known()
                continue
            if outcome is None:
                return await self._open_directly()
            if isinstance(outcome, Response):
                return await self._relay.pass_on(sender, outcome)
            if not self._hop.way.signs_in:
                raise RefusedError(sign_in_not_set(self._profile.name))
            answer = await self._ask(outcome, answer)
            if sender.body_started and not sender.kept.whole:
                self._engine.desk.inconclusive(answer, "the request could not be repeated")
                raise RefusedError(TOO_LARGE_TO_REPEAT)

    def _known(self) -> Answer | None:
        """Return the login to send before anybody asks for it."""
        way = self._hop.way
        return self._engine.desk.known(way.space) if way.signs_in and way.space else None

    @property
    def _profile(self) -> Profile:
        assert self._hop.way.profile is not None  # A next hop with a login belongs to one.
        return self._hop.way.profile

    async def _try(
        self, sender: Sender, answer: Answer | None
    ) -> Response | tuple[Challenge, ...] | None:
        """Send the request with this login.

        Returns:
            The answer to relay; the challenges of a next hop that wants a login, or another one;
            None if the target itself is connected and was asked for a tunnel.

        Raises:
            UnreachableError: The next hop of this way is dead.
            RefusedError: There is no answer.
        """
        desk, way = self._engine.desk, self._hop.way
        try:
            if way.ends_at_target and self._request.method == b"CONNECT":
                await self._hop.connected(answer, fresh=True)
                return None
            response = await self._attempt(sender, answer)
        except SignInWantedError as wanted:
            return wanted.challenges
        except BaseException as error:
            if answer is not None:
                desk.inconclusive(answer, type(error).__name__)
            raise
        if response.status != 407:
            if answer is not None and way.signs_requests and not answer.verified:
                desk.accepted(answer)
            return response
        self._link.drop_upstream()
        if way.ends_at_target:
            raise RefusedError(SITE_WANTS_SIGN_IN)
        return parse_challenges(response.fields.get_all(b"proxy-authenticate"))

    def _take_another_way(self, error: UnreachableError, sender: Sender) -> None:
        """Go on by another upstream of the profile, since this one cannot be reached.

        Raises:
            UnreachableError: There is no other; that of the preferred one, if it was tried.
        """
        way, preferred, failover = self._hop.way, self._hop.preferred, self._engine.failover
        self._failure = self._failure or error
        other = None
        if preferred.others and way.upstream is not None:
            failover.died(way.upstream)
            self._dead = (*self._dead, way)
            other = failover.choose(preferred, self._dead)
        if other is None or (sender.body_started and not sender.kept.whole):
            self._engine.observer.failed(way, self._failure.page)
            raise self._failure
        logger.info("%s: going on by %s", error.page.title, other.upstream)
        self._hop.way = other

    async def _open_directly(self) -> bool:
        """Let a tunnel to the target itself begin. It is connected, and is sent no CONNECT."""
        upstream = self._link.upstream
        assert upstream is not None
        self._engine.observer.reached(self._hop.way)
        await self._link.deliver(ESTABLISHED)
        return self._relay.become_tunnel(upstream.stream)

    async def _ask(self, challenges: tuple[Challenge, ...], tried: Answer | None) -> Answer:
        """Wait at the sign-in desk.

        Raises:
            RefusedError: The person declined, or there is no common way to sign in.
            ClientGoneError: The client did not wait.
        """
        assert self._hop.way.space is not None
        if self._waiter is None:
            client = self._client.socket
            ends = (client.getsockname()[:2], client.getpeername()[:2])
            self._waiter = Waiter(str(self._request.target.authority), connection=ends)
        future = self._engine.desk.challenged(
            self._hop.way.space, self._profile, challenges, self._waiter, tried
        )
        self._hop.is_parked = True
        self._link.deadline = None
        try:
            while not future.done():
                await self._hop.pause(Wait({}, future=future))
        finally:
            self._hop.is_parked = False
            future.cancel()
        result = future.result()
        if isinstance(result, Refusal):
            raise RefusedError(refusal_page(result))
        return result

    async def _attempt(self, sender: Sender, answer: Answer | None) -> Response:
        """Send the request once and return the head of its final answer.

        A connection that was kept may have been closed by the other side just now; then the request
        is sent once more, on a new one, if that can do no harm (RFC 9112, section 9.3.1).

        Raises:
            RefusedError: There is no answer.
        """
        fresh = False
        while True:
            if self._sent is not None:
                upstream, self._sent = self._sent, None
                sender.go_on(upstream.stream)
                if self._link.is_late:
                    self._link.is_late = False
                    raise self._hop.gave_up()
            else:
                upstream = await self._hop.connected(answer, fresh=fresh)
                sender.aim(upstream.stream, self._write_head(sender, answer))
            try:
                response = await self._relay.await_head(sender, upstream)
            except BrokenError as error:
                reused = upstream.used > 0
                self._link.drop_upstream()
                if reused and self._may_repeat(sender):
                    fresh = True
                    continue
                if not reused:
                    self._hop.was_silent()
                self._engine.observer.failed(self._hop.way, CUT_SHORT)
                raise RefusedError(CUT_SHORT) from error
            except BadBodyError:
                raise
            except MessageError as error:
                raise self._relay.misunderstood(str(error)) from error
            except TimeoutError as error:
                if sender.hungry:
                    raise BadBodyError(408, "its content did not come in time") from error
                raise self._hop.gave_up() from error
            self._hop.answered(upstream)
            return response

    def _write_head(self, sender: Sender, answer: Answer | None) -> bytes:
        """Return the head that goes to the next hop."""
        request = self._request
        sender.holding = (
            self._hop.way.signs_requests
            and answer is None
            and not sender.kept.whole
            and not request.expects_continue
        )
        if sender.holding:
            # Too large to be kept: learn of a 407 before the body, as RFC 9110, 10.1.1 provides.
            request = replace(request, expects_continue=True)
        return self._wire(request, answer)

    def _wire(self, request: Request, answer: Answer | None) -> bytes:
        plan = self._plan
        upstream = self._link.upstream
        key = upstream.key if upstream is not None else None
        if request is plan.request and plan.suits(self._hop.way, answer, key):
            return plan.wire
        credentials = None
        if answer is not None and self._hop.way.signs_requests:
            credentials = answer.credentials(request.method, request_target(request))
        direct = self._hop.way.ends_at_target
        wire = write_request(request, via=self._engine.via, credentials=credentials, direct=direct)
        if request is plan.request and key is not None:
            plan.was_written(wire, self._hop.way, answer, key)
        return wire

    def _may_repeat(self, sender: Sender) -> bool:
        """Whether the request may be sent again after a kept connection failed."""
        if sender.body_started and not sender.kept.whole:
            return False
        return self._request.method in IDEMPOTENT or not sender.started
