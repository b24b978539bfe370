"""A request and the sign-in it needs: which legs go out, and on which connection.

Basic and Digest sign each request. NTLM and Negotiate sign in the connection: their legs must all
go on one, and afterwards requests go on it as they are (MS-NTHT, section 3.1; RFC 4559, section 6).

What decides here, in this order: a log-on is never spent twice, no request reaches a site in a form
that its client has not given it, and nothing is sent again that may have been carried out.

Connections that are signed in are kept for the next client, and one more is signed in ahead for it
where that saves round trips (see `warming`). No sign-in is begun that is not brought to its end: a
proxy reserves a helper for each, and squid with four of them leaves the fifth client without an
answer.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trayproxy.auth.scheme import Handshake, Leg, RequestToSign, Verdict, VerdictKind
from trayproxy.desk.credentials import Credentials
from trayproxy.engine.error_pages import (
    CUT_SHORT,
    SITE_WANTS_SIGN_IN,
    TOO_LARGE_TO_REPEAT,
    RequestRefusedError,
)
from trayproxy.engine.net.fd_task import READ, TIMED_OUT, IoWait
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.proxy_auth.challenge_detection import was_let_through
from trayproxy.engine.proxy_auth.upstream_lease import UpstreamLease
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.transfer.leftover_content import LeftoverContent
from trayproxy.engine.transfer.replay_buffer import KEPT_IN_MEMORY
from trayproxy.engine.transfer.request_writer import RequestWriter
from trayproxy.engine.transfer.response_reader import (
    RequestBodyError,
    ResponseBrokenError,
    ResponseReader,
)
from trayproxy.engine.upstream.pool import UpstreamConnection
from trayproxy.engine.upstream.route import Route
from trayproxy.http.body import response_body_reader
from trayproxy.http.challenges import Challenge
from trayproxy.http.errors import MessageError
from trayproxy.http.framing import Length, NoBody, UntilClose
from trayproxy.http.hop_by_hop import connection_options
from trayproxy.http.request import Request, parse_request, request_target, write_request
from trayproxy.http.response import Response
from trayproxy.http.target import Authority

if TYPE_CHECKING:
    from trayproxy.engine.downstream import Downstream

REPEATABLE = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"CONNECT"})
"""Methods that may be sent again after a reused connection failed: the idempotent ones (RFC 9110,
section 9.2.2), and CONNECT, since through a tunnel that was never opened nothing went."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""Asks a client for content that is to be signed before it is sent (RFC 9110, section 10.1.1)."""
LOST_AT_MOST = 1
"""How often an attempt begins anew because its connection was lost."""
LEGS_AT_MOST = 8
"""Of one handshake: Digest needs four if its nonces grow stale, Kerberos two."""
ENDLESS = Verdict(VerdictKind.UNUSABLE, "The proxy's sign-in comes to no end.")
SERVER_SILENT = Verdict(
    VerdictKind.UNUSABLE, "The company's sign-in server does not answer.", is_transient=True
)
NOT_ASKED_FOR = Verdict(VerdictKind.UNUSABLE, "The proxy asks for a sign-in only now and then.")


class LoginSupersededError(Exception):
    """The login is not the one to be sent any more."""


class ContentNotRepeatableError(RequestRefusedError):
    """The content of the request cannot be sent once more with the login that is wanted."""

    def __init__(self) -> None:
        super().__init__(TOO_LARGE_TO_REPEAT)


class UnansweredError(RequestRefusedError):
    """The next hop closed the connection instead of answering a request that carried a login.

    Some do so when the login is wrong. The request may be sent again without the login.
    """


class ConnectionLostError(Exception):
    """The connection is no good for what was to be done on it; it is closed.

    Attributes:
        counts: It was lost, and not only its sign-in.
        may_go_on: The same may be tried on another connection.
        was_new: Nothing had ever been answered on it.
    """

    def __init__(self, *, counts: bool = True, may_go_on: bool = True, was_new: bool = False):
        super().__init__("the connection is lost")
        self.counts = counts
        self.may_go_on = may_go_on
        self.was_new = was_new


@dataclass(frozen=True, slots=True)
class UnansweredRequest:
    """A request that carried a login, and whose client has left before the answer.

    Attributes:
        connection: Where the answer comes.
        plan: The request.
        way: Its next hop.
        answer: The login.
        is_on_trial: Nobody has ever accepted the login.
        handshake: Judges a refusal; None if each refusal is one of the login.
        is_elsewhere: The request left on another connection than its challenge.
    """

    connection: UpstreamConnection
    plan: CachedRequest
    way: Route
    answer: Credentials
    is_on_trial: bool
    handshake: Handshake | None = None
    is_elsewhere: bool = False

    def verdict(self, challenges: tuple[Challenge, ...]) -> Verdict | None:
        """Return what a refusal with these challenges says about the login, as for a request whose
        client is there; None if only the nonce was refused."""
        if self.handshake is None:
            return Verdict(VerdictKind.REJECTED)
        step = self.handshake.step(challenges)
        return judged(step, is_elsewhere=self.is_elsewhere) if isinstance(step, Verdict) else None


@dataclass(frozen=True, slots=True)
class UnansweredGreeting:
    """A login that was sent to a SOCKS server for a client that has left before the answer.

    Attributes:
        stream: Where the answer comes: two octets (RFC 1929, section 2).
        way: The server.
        answer: The login.
        target: Where the client wanted to go, ``github.com:443``.
        is_on_trial: The login was never accepted.
    """

    stream: SocketStream
    way: Route
    answer: Credentials
    target: str
    is_on_trial: bool


@dataclass(frozen=True, slots=True)
class AuthChallenge:
    """What a next hop wants that did not let a request through.

    Attributes:
        challenges: What it offers.
        verdict: What it made of the login that was tried, if one was.
    """

    challenges: tuple[Challenge, ...]
    verdict: Verdict | None = None


def head_for(target: Authority) -> Request:
    """Return an own request that changes nothing at the target (RFC 9110, section 9.2.1).

    Raises:
        MessageError: The target is none.
    """
    head = (
        f"HEAD http://{target}/ HTTP/1.1\r\nHost: {target}\r\n"
        "User-Agent: TrayProxy\r\nContent-Length: 0\r\n\r\n"
    )
    return parse_request(head.encode("ascii"))


def judged(verdict: Verdict, *, is_elsewhere: bool) -> Verdict:
    """Return the verdict on credentials that left on the connection of their challenge, or not."""
    return verdict.on_other_connection() if is_elsewhere else verdict


class AuthExchange:
    """Sends one request, with a login or without, until there is an answer or a verdict.

    Attributes:
        is_proved: The answer came to a request, or the last leg of one, that carried the login.
        is_spent: The login may have cost a log-on.
        carried: The login as the desk has let this request carry it; None if the request has not
            come so far.
    """

    __slots__ = (
        "_asked_on",
        "_asks_idle",
        "_challenges",
        "_handshake",
        "_has_asked_again",
        "_has_content",
        "_hop",
        "_is_challenged",
        "_is_elsewhere",
        "_is_on_trial",
        "_is_once",
        "_is_to_hurry",
        "_link",
        "_plan",
        "_relay",
        "_request",
        "_sender",
        "_sent",
        "_wants_continue",
        "_way",
        "_withheld",
        "carried",
        "is_proved",
        "is_spent",
    )

    def __init__(
        self,
        link: "Downstream",
        plan: CachedRequest,
        hop: UpstreamLease,
        relay: ResponseReader,
        sender: RequestWriter,
        sent: UpstreamConnection | None,
    ) -> None:
        """Begin with a request.

        Args:
            link: Its client.
            plan: Its head, and what follows from it.
            hop: Its next hop.
            relay: Takes the answers.
            sender: Sends the request.
            sent: Where it has been sent already, on the short way.
        """
        self._link = link
        self._plan = plan
        self._request = plan.request
        self._hop = hop
        self._relay = relay
        self._sender = sender
        self._sent = sent
        self._has_content = plan.request.framing not in (NoBody(), Length(0))
        self._is_once = self._has_content or plan.request.method not in REPEATABLE
        self._wants_continue = self._has_content and link.engine.refusals.was_cut(
            hop.way.upstream_id
        )
        self._challenges: tuple[Challenge, ...] = ()
        self._asked_on: UpstreamConnection | None = None
        self._asks_idle = False
        self._has_asked_again = False
        self._handshake: Handshake | None = None
        self._is_challenged = False
        self._is_elsewhere = False
        self._is_on_trial = False
        self._is_to_hurry = False
        self._way = hop.way
        self._withheld: Credentials | None = None
        self.carried: Credentials | None = None
        self.is_proved = False
        self.is_spent = False

    async def attempt(
        self,
        answer: Credentials | None,
        *,
        withheld: Credentials | None = None,
        on_trial: bool = False,
        fresh: bool = False,
    ) -> Response | AuthChallenge:
        """Send the request with this login.

        Args:
            answer: The login; None: without any.
            withheld: The login that is known and not sent, since the site is exempt. The request
                may use a connection that is signed in with this login, as others do.
            on_trial: Nobody has ever accepted it: it goes out once, whatever happens.
            fresh: Use a new connection.

        Raises:
            UnreachableError: The next hop is dead.
            AuthRequiredError: It wants a login before there is a connection.
            LoginSupersededError: The login was refused to another request meanwhile.
            RequestRefusedError: There is no answer.
        """
        self._begin_attempt(on_trial=on_trial)
        self._withheld = withheld
        if self._way is not self._hop.way:
            # Another upstream has said nothing yet.
            self._way, self._challenges, self._is_challenged = self._hop.way, (), False
        try:
            return await self._attempt(answer, fresh=fresh)
        finally:
            self._hop.end_sign_in()

    async def _attempt(
        self, answer: Credentials | None, *, fresh: bool
    ) -> Response | AuthChallenge:
        is_bound = answer is not None and answer.scheme.binds_connection
        losses = 0
        while True:
            if answer is not None and is_bound and self._hop.way.signs_requests:
                self._hop.register_demand(answer)
                if await self._hop.waited_for_spare() and self._is_withdrawn(answer):
                    raise LoginSupersededError
            upstream = await self._connected(answer, fresh=fresh)
            if upstream.is_signed_in:
                self._hop.deregister_demand()
            carries = self._hop.way.signs_requests and not upstream.is_signed_in
            asks_first = carries and answer is not None and self._is_to_ask_first(answer)
            if (
                not asks_first
                and carries
                and answer is not None
                and await self._had_to_wait(answer)
            ):
                continue
            try:
                if asks_first:
                    outcome = await self._ask_first(upstream, None)
                else:
                    outcome = await self._try_on(upstream, self.carried if carries else answer)
            except ConnectionLostError as lost:
                self._link.drop_upstream()
                # This next hop keeps no connection behind its 407; that one of earlier had ended
                # before it was asked once more does not show that.
                self._has_asked_again, self._asks_idle = not self._asks_idle, False
                losses += lost.counts
                if losses > LOST_AT_MOST or not lost.may_go_on:
                    raise self._cut_short(lost) from lost
                self._report_unanswered()
                fresh = True
                continue
            if outcome is not None:
                return outcome
            fresh = False

    async def connect(self, answer: Credentials | None, *, on_trial: bool = False) -> None:
        """Connect to the next hop for a tunnel that needs no request.

        Args:
            answer: The login that it may ask for while connecting; None: none is known.
            on_trial: Nobody has ever accepted it.

        Raises:
            UnreachableError: The next hop is dead.
            AuthRequiredError: It wants a login, or another one.
            LoginSupersededError: The login was refused to another request meanwhile.
            RequestRefusedError: It does not connect.
        """
        self._begin_attempt(on_trial=on_trial)
        await self._connected(answer, fresh=True)

    def _begin_attempt(self, *, on_trial: bool) -> None:
        self.is_proved = self.is_spent = self._hop.is_spent = False
        self.carried = None
        self._handshake = None
        self._is_on_trial = on_trial
        self._has_asked_again = self._asks_idle = False

    async def _had_to_wait(self, answer: Credentials) -> bool:
        """Let the desk say that this request may carry a login, and set `carried`. Return whether
        that took some time, so that a connection has to be looked for again.

        Raises:
            LoginSupersededError: The login is not to be sent any more.
        """
        if self.carried is None and not self._needs_turn(answer):
            self.carried = answer
        if self.carried is not None:
            if self._sent is None and self._is_withdrawn(answer):
                raise LoginSupersededError
            return False
        target = str(self._request.target.authority)
        turn = self._link.engine.desk.departing(answer, target)
        has_waited = not turn.done()
        let_go = await self._hop.served(turn)
        if not isinstance(let_go, Credentials):
            raise LoginSupersededError
        self.carried = let_go
        if has_waited:
            # The next hop may have forgotten its challenge, or another one may be reached now.
            self._challenges, self._is_challenged, self._asked_on = (), False, None
        return has_waited

    def _needs_turn(self, answer: Credentials) -> bool:
        """Whether to send this may cost a log-on that nobody expects."""
        is_password = answer.login is not None
        is_new = self._sent is None and not self._is_on_trial
        return is_password and is_new and not answer.verified

    def _is_to_ask_first(self, answer: Credentials) -> bool:
        """Return whether the request goes without the login at first, and needs no turn for that.

        A challenge of an earlier request (a nonce of Digest) may be too old, and not every next hop
        says so: a refusal would have to be tried once more with a new one, and be counted twice.
        """
        is_old = not (self._is_challenged or answer.scheme.binds_connection or answer.repeats)
        return is_old and self.carried is None and self._needs_turn(answer)

    def _report_unanswered(self) -> None:
        """Tell the desk that the login was sent in vain, before it is sent once more: that needs
        another turn."""
        carried = self.carried
        if carried is not None and self.is_spent and not self._is_on_trial:
            self.carried, self.is_spent = None, False
            self._link.engine.desk.inconclusive(carried, "the connection was lost", sent=True)

    def _may_ask_again(self) -> bool:
        """Whether the request may be sent once more without the login, to be asked for it."""
        sender = self._sender
        is_whole = not sender.body_started or sender.kept.whole
        return self._request.method in REPEATABLE and is_whole

    def leave_to_be_read(self, answer: Credentials) -> bool:
        """Have the answer to a request read although its client has left. Return False if the
        login was not sent, or no answer can come."""
        link, hop = self._link, self._hop
        if hop.left_behind is not None:
            stream, hop.left_behind = hop.left_behind, None
            target = str(self._request.target.authority)
            left = UnansweredGreeting(stream, hop.way, answer, target, self._is_on_trial)
            if link.engine.late_verdicts.read_greeting(left):
                return True
            stream.close()
            return False
        if not (self.is_spent and hop.way.signs_requests) or link.upstream is None:
            return False
        connection = link.upstream
        spent = UnansweredRequest(
            connection,
            self._plan,
            hop.way,
            answer,
            self._is_on_trial,
            self._handshake,
            self._is_elsewhere,
        )
        if not link.engine.late_verdicts.read(spent):
            return False
        link.release(connection.stream.descriptor)
        link.upstream = None
        return True

    def _is_withdrawn(self, answer: Credentials) -> bool:
        """Whether the desk hands a login out no more that it trusted: another request has come back
        with it, or it was changed. One on trial was not trusted in the first place."""
        if self._is_on_trial:
            return False
        known = self._link.engine.desk.known(answer.upstream_id)
        return known is None or known.login_id != answer.login_id

    async def _connected(self, answer: Credentials | None, *, fresh: bool) -> UpstreamConnection:
        if self._sent is not None:
            return self._sent
        if self._hop.way.signs_requests or answer is None:
            before = self._link.upstream
            upstream = await self._hop.connected(
                answer or self._shared_login(),
                fresh=fresh,
                on_trial=self._is_on_trial,
                asks_first=self._asks_where_it_was_asked(answer),
            )
            if upstream is not before:
                self._asked_on = None  # It may have ended while it lay idle.
            return upstream
        # The login goes out while connecting, and what became of it is known with the connection.
        while await self._had_to_wait(answer):
            pass
        try:
            return await self._hop.connected(self.carried, fresh=fresh, on_trial=self._is_on_trial)
        finally:
            self.is_spent = self._hop.is_spent

    def _shared_login(self) -> Credentials | None:
        """Return the login whose connections a request without a login may use, None if any.

        So a program that goes to exempt sites and to others keeps one connection for both. A tunnel
        would use up a connection that is signed in.
        """
        withheld = self._withheld
        is_tunnel = self._request.method == b"CONNECT"
        if withheld is None or (is_tunnel and withheld.scheme.binds_connection):
            return None
        return withheld

    def _cut_short(self, lost: ConnectionLostError) -> RequestRefusedError:
        if self.is_spent and self._may_ask_again():
            self._link.drop_upstream()
            return UnansweredError(CUT_SHORT)
        if lost.was_new:
            self._hop.was_silent()
        self._hop.failed(CUT_SHORT)
        return RequestRefusedError(CUT_SHORT)

    async def _try_on(
        self, upstream: UpstreamConnection, answer: Credentials | None
    ) -> Response | AuthChallenge | None:
        """Send the request on this connection; None: once more, knowing more than before."""
        is_signed_in = upstream.is_signed_in
        carried = answer if self._hop.way.signs_requests and not is_signed_in else None
        if carried is not None and not carried.repeats:
            if self._sent is None and not self._is_to_ask_here(upstream, carried):
                return await self._shake_hands(upstream, carried)
            self._asks_idle = self._has_asked_again and upstream.used > 0
            if self._asks_by_head(carried) and await self._asked_by_head(upstream):
                outcome = None
            else:
                upstream = await self._connected(carried, fresh=False)
                outcome = await self._ask_first(upstream, None)
            self._asks_idle = False
            return outcome
        is_sure = is_signed_in or (carried is not None and not self._is_on_trial)
        signer = (answer or self._withheld) if is_signed_in else carried
        head = self._write_head(upstream, signer, carried, is_sure=is_sure)
        response = await self._send(upstream, head, carried=carried)
        if not self._is_refusal(response, carried):
            self.is_proved = carried is not None
            if carried is None and not is_signed_in:
                self._note_served(upstream, response)
            return response
        if is_signed_in:
            raise ConnectionLostError(counts=False)
        await self.clear(upstream, response)
        return AuthChallenge(self._challenges, Verdict(VerdictKind.REJECTED) if carried else None)

    def _asks_where_it_was_asked(self, answer: Credentials | None) -> bool:
        """Return whether the login goes on a connection of earlier, if there is one, after the next
        hop was asked on it once more: a dead connection then costs no log-on.

        The challenge of another connection may be in the name of another realm, behind a balancer
        whose proxies call themselves differently; with a new one for each try none would fit.
        """
        if answer is None or answer.repeats or answer.scheme.binds_connection:
            return False
        is_askable = not self._is_once or self._asks_by_head(answer)
        return self._is_on_trial and is_askable and not self._has_asked_again

    def _is_to_ask_here(self, upstream: UpstreamConnection, answer: Credentials) -> bool:
        """Return whether the next hop must be asked once more for a challenge, on this connection.

        Behind a balancer each connection may lead to another proxy, which knows only the challenges
        that it has given out itself. So a login on trial, or not proved lately, for which a refusal
        counts, answers one of this connection; once, since a next hop may close the connection with
        each 407.
        """
        if answer.scheme.binds_connection or not (self._is_on_trial or answer.flight):
            return False
        if self._asked_on is upstream or self._has_asked_again:
            return False
        self._has_asked_again = True
        return True

    def _asks_by_head(self, answer: Credentials) -> bool:
        """Return whether an own request, in place of this one, asks for the challenge.

        A connection does not go on behind the 407 of a request that may be sent only once (see
        `clear`). Behind the 407 of a HEAD it does: the login is then sent where it was asked for,
        and a refusal of it is clear.
        """
        is_bound = answer.scheme.binds_connection or answer.repeats
        return self._is_once and not is_bound

    async def _asked_by_head(self, upstream: UpstreamConnection) -> bool:
        """Ask the next hop for a challenge by an own request on this connection (R-074), which
        stays open if the next hop keeps it open.

        Some proxies say that they keep a connection open behind a 407, and close it. A request that
        may be sent only once would be lost there. So the first time the next hop is asked twice:
        the second 407 shows that the connection goes on.

        Returns:
            Whether the next hop wants a login.

        Raises:
            ConnectionLostError: The connection ended before the answer.
            RequestRefusedError: There is no answer.
        """
        refusals, space = self._link.engine.refusals, self._hop.way.upstream_id
        is_refused = await self._is_head_refused(upstream)
        if not is_refused or self._link.upstream is None or refusals.was_kept(space):
            return is_refused
        try:
            if await self._is_head_refused(upstream) and self._link.upstream is not None:
                refusals.note_kept(space)
        except ConnectionLostError:
            self._link.drop_upstream()
        return True

    async def _is_head_refused(self, upstream: UpstreamConnection) -> bool:
        authority = self._request.target.authority
        assert authority is not None  # A request to a next hop that signs requests names its host.
        plan = CachedRequest(head_for(authority), None)
        head, heads = self._write(plan.request, None), ResponseReader(self._link, plan)
        response = await self._send(upstream, head, whole=False, heads=heads)
        if not self._is_refusal(response, None):
            self._link.drop_upstream()
            return False
        await self.clear(upstream, response, method=plan.request.method)
        return True

    def _is_unknown(self, answer: Credentials) -> bool:
        """Return whether the last 407 may mean that the next hop does not know the nonce, rather
        than that the nonce is too old, and an own request asks for one where it is then used."""
        is_stale = any(
            (one.param("stale") or "").lower() == "true"
            for one in self._challenges
            if one.scheme == "digest"
        )
        return not is_stale and self._asks_by_head(answer)

    # --- handshakes ---

    async def _shake_hands(
        self, upstream: UpstreamConnection, answer: Credentials
    ) -> Response | AuthChallenge | None:
        """Send the legs of a handshake, the first one on this connection."""
        handshake, step = await self._begin(upstream, answer)
        is_premature = isinstance(step, Verdict) or (self._has_content and not step.with_content)
        if is_premature and not self._is_challenged:
            return await self._ask_first(upstream, step)
        place = self._link.upstream
        is_lent = not self._is_challenged  # The challenge came with another request's 407.
        legs = 0
        while isinstance(step, Leg):
            legs += 1
            if place is not None and not place.is_quiet():
                # Closed since its last 407.
                self._link.drop_upstream()
                place = None
            if place is None and not step.same_connection:
                place = await self._hop.connected(answer, fresh=False, on_trial=self._is_on_trial)
            if place is None:
                raise ConnectionLostError
            if (step.same_connection or step.with_content) and self._is_withdrawn(answer):
                # Refused to another request since the first leg: here it would be once more.
                self._link.drop_upstream()
                raise LoginSupersededError
            self._handshake = None if answer.scheme.binds_connection else handshake
            self._is_elsewhere = is_elsewhere = self._asked_on is not place
            response = await self._send_leg(place, answer, step)
            if not self._is_refusal(response, answer if step.credentials else None):
                handshake.finish(response.fields)
                found = await self._get_through(place, answer, step, response)
                if self.is_proved and legs > 1:
                    self._hop.paid(answer)
                return found
            goes_on = answer.scheme.binds_connection and step.credentials != b""
            if not await self.clear(place, response, in_handshake=goes_on):
                place = None
            is_last = legs == LEGS_AT_MOST
            step = ENDLESS if is_last else await self._step(answer, handshake, self._challenges)
            if isinstance(step, Leg) and is_lent and place is None and self._is_unknown(answer):
                is_lent = False
                upstream = await self._hop.connected(answer, fresh=True)
                if await self._asked_by_head(upstream):
                    handshake, step = await self._begin(upstream, answer)
                place = self._link.upstream
            if isinstance(step, Verdict):
                step = judged(step, is_elsewhere=is_elsewhere)
            if isinstance(step, Verdict) and step.lacks_content:
                handshake, step = await self._begin(upstream, answer)
                place = self._link.upstream
        if answer.scheme.binds_connection:
            # It is in the middle of something: squid never lets anybody in on it any more.
            self._link.drop_upstream()
        return AuthChallenge(self._challenges, step)

    async def _begin(
        self, upstream: UpstreamConnection, answer: Credentials
    ) -> tuple[Handshake, Leg | Verdict]:
        """Return a handshake and its first step, for which all content may have to be here."""
        while True:
            handshake = answer.signer.begin(self._to_sign(upstream))
            step = await self._step(answer, handshake, self._challenges)
            if isinstance(step, Leg) or not step.lacks_content or not await self._take_content():
                return handshake, step

    async def _take_content(self) -> bool:
        """Wait for the content that is to be signed. Return whether it has come just now.

        The connection is closed if the next hop has not waited for it, too.

        Raises:
            RequestBodyError: It is malformed, or does not come in time.
            ClientGoneError: The client left in the middle of it.
            OSError: The client's connection broke.
        """
        sender, link, framing = self._sender, self._link, self._request.framing
        is_much = isinstance(framing, Length) and framing.octets > KEPT_IN_MEMORY
        if sender.body_done or is_much:
            return False
        if self._request.expects_continue and not sender.body_started:
            # The next hop does not ask for content before it was signed: we do.
            await link.deliver(CONTINUE)
            self._request = replace(self._request, expects_continue=False)
        await self._content_is_here()
        if link.upstream is not None and not link.upstream.is_quiet():
            link.drop_upstream()
        return sender.content() is not None

    async def _content_is_here(self) -> None:
        """Take content until it is here, or is too much; a client that makes no progress is late,
        even if it sends an octet now and then."""
        sender, link, limits = self._sender, self._link, self._link.engine.limits
        due_at = 0
        while not sender.body_done and sender.may_be_known:
            try:
                if sender.take_ahead():
                    continue
            except MessageError as error:
                raise RequestBodyError(error.status, str(error)) from None
            if sender.taken >= due_at:
                due_at = sender.taken + limits.body_least
                link.deadline_in(limits.body_s)
            try:
                await IoWait(link.events(READ, None, 0))
            except TimeoutError as error:
                raise RequestBodyError(408, "its content did not come in time") from error
        link.deadline = None

    def _to_sign(self, upstream: UpstreamConnection) -> RequestToSign:
        stream = upstream.stream
        target = request_target(self._request)
        return RequestToSign(self._request.method, target, self._sender.content(), stream.end_point)

    async def _step(
        self, answer: Credentials, handshake: Handshake, challenges: tuple[Challenge, ...]
    ) -> Leg | Verdict:
        """Return the next step of a handshake; the client may leave meanwhile."""
        if not (answer.scheme.blocks and answer.signer.blocks):
            return handshake.step(challenges)
        engine = self._link.engine
        future = engine.steps.run(handshake, challenges)
        self._link.deadline = None
        wait = IoWait({}, future=future, timeout=engine.limits.step_s)
        try:
            with self._hop.parked():
                woken = await self._hop.pause(wait)
        finally:
            future.cancel()
        return SERVER_SILENT if woken == TIMED_OUT else future.result()

    async def _ask_first(
        self, upstream: UpstreamConnection, step: Leg | Verdict | None
    ) -> Response | AuthChallenge | None:
        """Send the request as it is, to see whether the next hop wants a sign-in for it at all.

        If it does not, the first leg of a handshake would take a request to its site that has lost
        its content. And a verdict needs the challenges that the next choice is made from.
        """
        head = self._write_head(upstream, None, None, is_sure=False)
        response = await self._send(upstream, head)
        if not self._is_refusal(response, None):
            self._note_served(upstream, response)
            return response
        await self.clear(upstream, response)
        return AuthChallenge(self._challenges, step) if isinstance(step, Verdict) else None

    async def _send_leg(
        self, upstream: UpstreamConnection, answer: Credentials, leg: Leg
    ) -> Response:
        request, credentials = self._request, leg.credentials or None
        is_bound = answer.scheme.binds_connection
        if not leg.with_content and self._has_content:
            empty = replace(request, framing=Length(0), expects_continue=False)
            head = self._write(empty, credentials, persists=is_bound)
            return await self._send(upstream, head, whole=False)
        is_last = is_bound and leg.with_content
        request = self._held(request, is_sure=is_last and not self._is_on_trial)
        head = self._write(request, credentials, persists=is_bound)
        carried = answer if leg.with_content and credentials is not None else None
        return await self._send(upstream, head, carried=carried)

    async def _get_through(
        self, upstream: UpstreamConnection, answer: Credentials, leg: Leg, response: Response
    ) -> Response | AuthChallenge:
        """Return the answer to the request that a leg went with."""
        if leg.with_content and leg.credentials:
            self.is_proved = True
            if answer.scheme.binds_connection:
                upstream.key = upstream.key._replace(signed_in=answer.login_id)
                upstream.answer = answer
            return response
        if leg.with_content or not self._has_content:
            return response
        # It answers a request without content, which nobody has sent. There was a 407 before, so
        # this next hop does not know what it wants, and gets what the client has sent.
        self._link.drop_upstream()
        upstream = await self._hop.connected(None, fresh=True)
        head = self._write_head(upstream, None, None, is_sure=False)
        response = await self._send(upstream, head)
        if not self._is_refusal(response, None):
            return response
        self._link.drop_upstream()
        return AuthChallenge(self._challenges, NOT_ASKED_FOR)

    # --- one request, one head ---

    async def _send(
        self,
        upstream: UpstreamConnection,
        head: bytes,
        *,
        whole: bool = True,
        carried: Credentials | None = None,
        heads: ResponseReader | None = None,
    ) -> Response:
        """Send the request once and return the head of its final answer.

        Args:
            upstream: Where.
            head: What the request begins with.
            whole: Its content follows.
            carried: The login in it that may be refused; None if there is none.
            heads: Takes the answer; None: `ResponseReader` of the client's request.

        Raises:
            ConnectionLostError: The connection ended before the answer.
            RequestRefusedError: There is no answer.
        """
        sender, stream = self._sender, upstream.stream
        if self._sent is not None:
            self._sent = None
            sender.go_on(stream)
            if self._link.is_late:
                self._link.is_late = False
                raise self._hop.gave_up()
        elif not whole:
            sender.knock(stream, head)
        elif sender.body_started and not sender.kept.whole:
            raise ContentNotRepeatableError
        else:
            sender.aim(stream, head)
        self._link.carried = carried
        try:
            response = await (heads or self._relay).await_head(sender, upstream)
        except ResponseBrokenError as error:
            may_go_on = not whole or self._may_repeat(upstream, carried, error)
            raise ConnectionLostError(may_go_on=may_go_on, was_new=upstream.used == 0) from error
        except RequestBodyError:
            raise
        except MessageError as error:
            raise self._relay.misunderstood(error) from error
        except TimeoutError as error:
            if sender.hungry:
                raise RequestBodyError(408, "its content did not come in time") from error
            raise self._hop.gave_up() from error
        finally:
            self._link.carried = None
            self.is_spent = self.is_spent or (carried is not None and sender.started)
        self._hop.answered(upstream)
        if response.status == 417 and b"expect" in head.lower() and not self._is_to_hurry:
            self._refuse_to_wait()
        return response

    def _refuse_to_wait(self) -> None:
        """Begin anew without an expectation, if it was ours: the next hop knows none.

        Raises:
            ConnectionLostError: Begin anew.
        """
        if self._request.expects_continue:
            return
        self._is_to_hurry = True
        raise ConnectionLostError(counts=False)

    def _may_repeat(
        self, upstream: UpstreamConnection, carried: Credentials | None, error: ResponseBrokenError
    ) -> bool:
        """Whether the whole request may be sent again after its connection failed.

        One that was kept may have been closed by the other side just now; then sending it once
        more can do no harm, if its method is idempotent or nothing of it has left (RFC 9112,
        section 9.3.1; RFC 9110, section 9.2.2).
        """
        sender, is_repeatable = self._sender, self._request.method in REPEATABLE
        if sender.body_started and not sender.kept.whole:
            return False
        if carried is not None and self._is_on_trial and _may_cost_a_log_on(carried):
            if not sender.started:
                return True
            # A proxy may hang up on a wrong password instead of answering. But one that closes the
            # connection behind its 407 has not read what came later.
            is_unread = error.was_closed_first and not sender.body_started
            is_first = not carried.scheme.binds_connection
            return is_repeatable and upstream.used > 0 and is_unread and is_first
        is_bare = carried is None and not upstream.is_signed_in and self._hop.way.signs_requests
        if is_bare and sender.body_started and not sender.done:
            # Proxies that refuse an upload may close so rudely that their 407 is lost: ask before
            # the content next time. A method that is not idempotent may have had an effect.
            if is_repeatable or not sender.started:
                self._wants_continue = True
                return True
            self._link.engine.refusals.note_cut(self._hop.way.upstream_id)
            return False
        return upstream.used > 0 and (is_repeatable or not sender.started)

    def _write_head(
        self,
        upstream: UpstreamConnection,
        answer: Credentials | None,
        carried: Credentials | None,
        *,
        is_sure: bool,
    ) -> bytes:
        """Return the head that goes to the next hop, the same for the same answer each time.

        Args:
            upstream: On this connection.
            answer: The login that the request goes with.
            carried: The same, if the request itself carries it; None if its connection does.
            is_sure: The next hop will not ask for another one.
        """
        plan, way = self._plan, self._hop.way
        request = self._held(self._request, is_sure=is_sure)
        is_planned = request is plan.request
        withheld = self._withheld if answer is None else None
        if is_planned and plan.matches(way, answer, upstream.key, withheld):
            return plan.wire
        credentials = None
        if carried is not None:
            credentials = carried.header_value(request.method, request_target(request))
        wire = self._write(request, credentials, persists=upstream.is_signed_in)
        if is_planned:
            plan.was_written(wire, way, answer, upstream.key, withheld)
        return wire

    def _held(self, request: Request, *, is_sure: bool) -> Request:
        """Hold content back that could not be sent again, if the next hop may want a login first:
        RFC 9110, section 10.1.1 provides for that."""
        sender = self._sender
        sender.holding = (
            self._hop.way.signs_requests
            and not is_sure
            and self._has_content
            and not self._is_to_hurry
            and (self._wants_continue or not sender.kept.whole)
            and not request.expects_continue
        )
        return replace(request, expects_continue=True) if sender.holding else request

    def _write(
        self, request: Request, credentials: bytes | None, *, persists: bool = False
    ) -> bytes:
        direct = self._hop.way.is_direct
        via = self._link.engine.via
        return write_request(
            request, via=via, credentials=credentials, direct=direct, request_keep_alive=persists
        )

    # --- refusals ---

    def _is_refusal(self, response: Response, carried: Credentials | None) -> bool:
        """Whether the next hop wants a login, or another one; remember what it offers.

        Raises:
            RequestRefusedError: It is no next hop that may ask.
        """
        way = self._hop.way
        if response.status == 407 and way.is_direct:
            self._link.drop_upstream()
            raise RequestRefusedError(SITE_WANTS_SIGN_IN)
        refusals = self._link.engine.refusals
        wanted = refusals.challenges_in(response, self._request.method, way.upstream_id, carried)
        if wanted is None:
            return False
        self._challenges, self._is_challenged = wanted, True
        self._asked_on = self._link.upstream
        self._note_asked()
        return True

    def _note_served(self, upstream: UpstreamConnection, response: Response) -> None:
        """Remember that a request without a login was let through to its site, if it was."""
        engine, space = self._link.engine, self._hop.way.upstream_id
        site = self._request.target.authority
        is_current = upstream.key.epoch == engine.pool.epoch
        if space is None or site is None or not self._hop.way.signs_requests or not is_current:
            return
        if was_let_through(response, self._request):
            engine.exempt_sites.note_served(space, site)

    def _note_asked(self) -> None:
        """Remember that the next hop asks for a login for this site."""
        engine, space = self._link.engine, self._hop.way.upstream_id
        site = self._request.target.authority
        if space is not None and site is not None and engine.exempt_sites.note_asked(space, site):
            # Requests that were sent without a login before are not sent so again.
            engine.plans.forget()

    async def clear(
        self,
        upstream: UpstreamConnection,
        response: Response,
        *,
        in_handshake: bool = False,
        method: bytes | None = None,
    ) -> bool:
        """Read the rest of an answer that is not passed on, if that is soon done (R-084). Return
        whether the connection can carry the next request; otherwise it is closed.

        Args:
            upstream: Where the answer came from.
            response: Its head.
            in_handshake: The next leg must go on the same connection, which proxies that count as
                1.0 take for granted (R-120).
            method: Of the request that it answers; None: that of the client's request.
        """
        persists = response.keep_alive or (
            in_handshake
            and b"close" not in connection_options(response.fields)
            and not isinstance(response.framing, UntilClose)
        )
        # Squid says keep-alive and reads no more of content that it has refused. Other proxies say
        # so and close: what may be sent only once goes on a new connection.
        is_read = not self._is_once or self._sender.is_knocking or in_handshake
        if (
            persists
            and is_read
            and self._sender.done
            and await self._drain(
                upstream, response, method or self._request.method, in_handshake=in_handshake
            )
        ):
            return True
        self._link.drop_upstream()
        return False

    async def _drain(
        self, upstream: UpstreamConnection, response: Response, method: bytes, *, in_handshake: bool
    ) -> bool:
        """Read the content of a refusal. Return whether all of it came, and nothing behind it."""
        engine, stream = self._link.engine, upstream.stream
        at_most = engine.limits.drain_octets
        upstream.leftover = LeftoverContent.of(response, method, at_most)
        body = response_body_reader(response.framing)
        left, end = engine.limits.drain_octets, engine.loop.time() + engine.limits.refusal_s
        self._link.deadline = None
        try:
            while not body.done:
                if stream.inbox or stream.fill():
                    data = stream.take()
                    left -= len(data)
                    _, used = body.feed(data)
                    if used < len(data):
                        return False
                    if left < 0:
                        return body.done
                elif stream.ended:
                    return False
                else:
                    rest = end - engine.loop.time()
                    wait = IoWait({stream.descriptor: READ}, timeout=max(0.0, rest))
                    if rest <= 0 or await self._hop.pause(wait) == TIMED_OUT:
                        return False
        except (OSError, MessageError):
            return False
        upstream.skip_leftover()
        return not stream.inbox and not stream.ended and (body.is_unambiguous or in_handshake)


def _may_cost_a_log_on(answer: Credentials) -> bool:
    """Whether sending it may count as a failed log-on: a ticket is no password."""
    return answer.login is not None and answer.scheme.family != "negotiate"
