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
from trayproxy.engine.proxy_auth.challenge_detection import has_reached_site
from trayproxy.engine.proxy_auth.upstream_lease import UpstreamLease
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.transfer.leftover_content import LeftoverContent
from trayproxy.engine.transfer.replay_buffer import MAX_IN_MEMORY
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

RESENDABLE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"CONNECT"})
"""Methods that may be sent again after a reused connection failed: the idempotent ones (RFC 9110,
section 9.2.2), and CONNECT, since through a tunnel that was never opened nothing went."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""Asks a client for content that is to be signed before it is sent (RFC 9110, section 10.1.1)."""
MAX_LOST_CONNECTIONS = 1
"""How often an attempt begins anew because its connection was lost."""
MAX_LEGS = 8
"""Of one handshake: Digest needs four if its nonces grow stale, Kerberos two."""
ENDLESS_HANDSHAKE = Verdict(VerdictKind.UNUSABLE, "The proxy's sign-in comes to no end.")
SERVER_SILENT = Verdict(
    VerdictKind.UNUSABLE, "The company's sign-in server does not answer.", is_transient=True
)
SPORADIC_CHALLENGE = Verdict(
    VerdictKind.UNUSABLE, "The proxy asks for a sign-in only now and then."
)


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
        is_counted: It was lost, and not only its sign-in.
        may_retry: The same may be tried on another connection.
        was_unused: Nothing had ever been answered on it.
    """

    def __init__(
        self, *, is_counted: bool = True, may_retry: bool = True, was_unused: bool = False
    ):
        super().__init__("the connection is lost")
        self.is_counted = is_counted
        self.may_retry = may_retry
        self.was_unused = was_unused


@dataclass(frozen=True, slots=True)
class UnansweredRequest:
    """A request that carried a login, and whose client has left before the answer.

    Attributes:
        connection: Where the answer comes.
        cached_request: The request.
        route: Its next hop.
        credentials: The login.
        is_on_trial: Nobody has ever accepted the login.
        handshake: Judges a refusal; None if each refusal is one of the login.
        is_other_connection: The request left on another connection than its challenge.
    """

    connection: UpstreamConnection
    cached_request: CachedRequest
    route: Route
    credentials: Credentials
    is_on_trial: bool
    handshake: Handshake | None = None
    is_other_connection: bool = False

    def verdict(self, challenges: tuple[Challenge, ...]) -> Verdict | None:
        """Return what a refusal with these challenges says about the login, as for a request whose
        client is there; None if only the nonce was refused."""
        if self.handshake is None:
            return Verdict(VerdictKind.REJECTED)
        step = self.handshake.step(challenges)
        return (
            verdict_for_connection(step, is_other_connection=self.is_other_connection)
            if isinstance(step, Verdict)
            else None
        )


@dataclass(frozen=True, slots=True)
class UnansweredSocksLogin:
    """A login that was sent to a SOCKS server for a client that has left before the answer.

    Attributes:
        stream: Where the answer comes: two octets (RFC 1929, section 2).
        route: The server.
        credentials: The login.
        target: Where the client wanted to go, ``github.com:443``.
        is_on_trial: The login was never accepted.
    """

    stream: SocketStream
    route: Route
    credentials: Credentials
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


def head_request_to(target: Authority) -> Request:
    """Return an own request that changes nothing at the target (RFC 9110, section 9.2.1).

    Raises:
        MessageError: The target is none.
    """
    head = (
        f"HEAD http://{target}/ HTTP/1.1\r\nHost: {target}\r\n"
        "User-Agent: TrayProxy\r\nContent-Length: 0\r\n\r\n"
    )
    return parse_request(head.encode("ascii"))


def verdict_for_connection(verdict: Verdict, *, is_other_connection: bool) -> Verdict:
    """Return the verdict on credentials that left on the connection of their challenge, or not."""
    return verdict.on_other_connection() if is_other_connection else verdict


class AuthExchange:
    """Sends one request, with a login or without, until there is an answer or a verdict.

    Attributes:
        is_proved: The answer came to a request, or the last leg of one, that carried the login.
        was_login_sent: The login may have cost a log-on.
        permitted: The login as the desk has let this request carry it; None if the request has not
            come so far.
    """

    __slots__ = (
        "_cached_request",
        "_challenged_on",
        "_challenges",
        "_downstream",
        "_handshake",
        "_has_content",
        "_is_challenged",
        "_is_on_trial",
        "_is_other_connection",
        "_is_probing_idle",
        "_is_sent_once",
        "_lease",
        "_omits_expectation",
        "_reader",
        "_request",
        "_route",
        "_sent_on",
        "_wants_continue",
        "_was_challenged_again",
        "_withheld",
        "_writer",
        "is_proved",
        "permitted",
        "was_login_sent",
    )

    def __init__(
        self,
        downstream: "Downstream",
        cached_request: CachedRequest,
        lease: UpstreamLease,
        reader: ResponseReader,
        writer: RequestWriter,
        sent_on: UpstreamConnection | None,
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
        self._downstream = downstream
        self._cached_request = cached_request
        self._request = cached_request.request
        self._lease = lease
        self._reader = reader
        self._writer = writer
        self._sent_on = sent_on
        self._has_content = cached_request.request.framing not in (NoBody(), Length(0))
        self._is_sent_once = (
            self._has_content or cached_request.request.method not in RESENDABLE_METHODS
        )
        self._wants_continue = self._has_content and downstream.engine.refusals.take_upload_cut_off(
            lease.route.upstream_id
        )
        self._challenges: tuple[Challenge, ...] = ()
        self._challenged_on: UpstreamConnection | None = None
        self._is_probing_idle = False
        self._was_challenged_again = False
        self._handshake: Handshake | None = None
        self._is_challenged = False
        self._is_other_connection = False
        self._is_on_trial = False
        self._omits_expectation = False
        self._route = lease.route
        self._withheld: Credentials | None = None
        self.permitted: Credentials | None = None
        self.is_proved = False
        self.was_login_sent = False

    async def attempt(
        self,
        credentials: Credentials | None,
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
        self._reset(on_trial=on_trial)
        self._withheld = withheld
        if self._route is not self._lease.route:
            # Another upstream has said nothing yet.
            self._route, self._challenges, self._is_challenged = self._lease.route, (), False
        try:
            return await self._attempt(credentials, fresh=fresh)
        finally:
            self._lease.end_authentication()

    async def _attempt(
        self, credentials: Credentials | None, *, fresh: bool
    ) -> Response | AuthChallenge:
        is_bound = credentials is not None and credentials.scheme.binds_connection
        losses = 0
        while True:
            if credentials is not None and is_bound and self._lease.route.signs_requests:
                self._lease.register_demand(credentials)
                if await self._lease.wait_for_preconnect() and self._is_superseded(credentials):
                    raise LoginSupersededError
            upstream = await self._obtain_connection(credentials, fresh=fresh)
            if upstream.is_signed_in:
                self._lease.deregister_demand()
            carries = self._lease.route.signs_requests and not upstream.is_signed_in
            asks_first = (
                carries and credentials is not None and self._is_challenge_needed_first(credentials)
            )
            if (
                not asks_first
                and carries
                and credentials is not None
                and await self._waited_for_permit(credentials)
            ):
                continue
            try:
                if asks_first:
                    outcome = await self._send_without_login(upstream, None)
                else:
                    outcome = await self._attempt_on(
                        upstream, self.permitted if carries else credentials
                    )
            except ConnectionLostError as lost:
                self._downstream.drop_upstream()
                # This next hop keeps no connection behind its 407; that one of earlier had ended
                # before it was asked once more does not show that.
                self._was_challenged_again, self._is_probing_idle = not self._is_probing_idle, False
                losses += lost.is_counted
                if losses > MAX_LOST_CONNECTIONS or not lost.may_retry:
                    raise self._connection_lost_error(lost) from lost
                self._report_no_verdict()
                fresh = True
                continue
            if outcome is not None:
                return outcome
            fresh = False

    async def connect(self, credentials: Credentials | None, *, on_trial: bool = False) -> None:
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
        self._reset(on_trial=on_trial)
        await self._obtain_connection(credentials, fresh=True)

    def _reset(self, *, on_trial: bool) -> None:
        self.is_proved = self.was_login_sent = self._lease.was_login_sent = False
        self.permitted = None
        self._handshake = None
        self._is_on_trial = on_trial
        self._was_challenged_again = self._is_probing_idle = False

    async def _waited_for_permit(self, credentials: Credentials) -> bool:
        """Let the desk say that this request may carry a login, and set `permitted`. Return whether
        that took some time, so that a connection has to be looked for again.

        Raises:
            LoginSupersededError: The login is not to be sent any more.
        """
        if self.permitted is None and not self._needs_permit(credentials):
            self.permitted = credentials
        if self.permitted is not None:
            if self._sent_on is None and self._is_superseded(credentials):
                raise LoginSupersededError
            return False
        target = str(self._request.target.authority)
        permit = self._downstream.engine.desk.departing(credentials, target)
        has_waited = not permit.done()
        permitted = await self._lease.wait_for_desk(permit)
        if not isinstance(permitted, Credentials):
            raise LoginSupersededError
        self.permitted = permitted
        if has_waited:
            # The next hop may have forgotten its challenge, or another one may be reached now.
            self._challenges, self._is_challenged, self._challenged_on = (), False, None
        return has_waited

    def _needs_permit(self, credentials: Credentials) -> bool:
        """Whether to send this may cost a log-on that nobody expects."""
        is_password = credentials.login is not None
        is_new = self._sent_on is None and not self._is_on_trial
        return is_password and is_new and not credentials.is_recently_accepted

    def _is_challenge_needed_first(self, credentials: Credentials) -> bool:
        """Return whether the request goes without the login at first, and needs no turn for that.

        A challenge of an earlier request (a nonce of Digest) may be too old, and not every next hop
        says so: a refusal would have to be tried once more with a new one, and be counted twice.
        """
        is_old = not (
            self._is_challenged or credentials.scheme.binds_connection or credentials.is_constant
        )
        return is_old and self.permitted is None and self._needs_permit(credentials)

    def _report_no_verdict(self) -> None:
        """Tell the desk that the login was sent in vain, before it is sent once more: that needs
        another turn."""
        carried = self.permitted
        if carried is not None and self.was_login_sent and not self._is_on_trial:
            self.permitted, self.was_login_sent = None, False
            self._downstream.engine.desk.inconclusive(carried, "the connection was lost", sent=True)

    def _may_resend_without_login(self) -> bool:
        """Whether the request may be sent once more without the login, to be asked for it."""
        writer = self._writer
        is_whole = not writer.body_started or writer.replay_buffer.is_complete
        return self._request.method in RESENDABLE_METHODS and is_whole

    def hand_over_response(self, credentials: Credentials) -> bool:
        """Have the answer to a request read although its client has left. Return False if the
        login was not sent, or no answer can come."""
        downstream, lease = self._downstream, self._lease
        if lease.unanswered_stream is not None:
            stream, lease.unanswered_stream = lease.unanswered_stream, None
            target = str(self._request.target.authority)
            left_login = UnansweredSocksLogin(
                stream, lease.route, credentials, target, self._is_on_trial
            )
            if downstream.engine.late_verdicts.read_socks_reply(left_login):
                return True
            stream.close()
            return False
        if not (self.was_login_sent and lease.route.signs_requests) or downstream.upstream is None:
            return False
        connection = downstream.upstream
        unanswered = UnansweredRequest(
            connection,
            self._cached_request,
            lease.route,
            credentials,
            self._is_on_trial,
            self._handshake,
            self._is_other_connection,
        )
        if not downstream.engine.late_verdicts.read_response(unanswered):
            return False
        downstream.release(connection.stream.descriptor)
        downstream.upstream = None
        return True

    def _is_superseded(self, credentials: Credentials) -> bool:
        """Whether the desk hands a login out no more that it trusted: another request has come back
        with it, or it was changed. One on trial was not trusted in the first connection."""
        if self._is_on_trial:
            return False
        known = self._downstream.engine.desk.known(credentials.upstream_id)
        return known is None or known.login_id != credentials.login_id

    async def _obtain_connection(
        self, credentials: Credentials | None, *, fresh: bool
    ) -> UpstreamConnection:
        if self._sent_on is not None:
            return self._sent_on
        if self._lease.route.signs_requests or credentials is None:
            before = self._downstream.upstream
            upstream = await self._lease.obtain_connection(
                credentials or self._shared_login(),
                fresh=fresh,
                on_trial=self._is_on_trial,
                asks_first=self._reuses_challenged_connection(credentials),
            )
            if upstream is not before:
                self._challenged_on = None  # It may have ended while it lay idle.
            return upstream
        # The login goes out while connecting, and what became of it is known with the connection.
        while await self._waited_for_permit(credentials):
            pass
        try:
            return await self._lease.obtain_connection(
                self.permitted, fresh=fresh, on_trial=self._is_on_trial
            )
        finally:
            self.was_login_sent = self._lease.was_login_sent

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

    def _connection_lost_error(self, lost: ConnectionLostError) -> RequestRefusedError:
        if self.was_login_sent and self._may_resend_without_login():
            self._downstream.drop_upstream()
            return UnansweredError(CUT_SHORT)
        if lost.was_unused:
            self._lease.record_silence()
        self._lease.report_failure(CUT_SHORT)
        return RequestRefusedError(CUT_SHORT)

    async def _attempt_on(
        self, upstream: UpstreamConnection, credentials: Credentials | None
    ) -> Response | AuthChallenge | None:
        """Send the request on this connection; None: once more, knowing more than before."""
        is_signed_in = upstream.is_signed_in
        carried = credentials if self._lease.route.signs_requests and not is_signed_in else None
        if carried is not None and not carried.is_constant:
            if self._sent_on is None and not self._is_challenge_needed_here(upstream, carried):
                return await self._run_handshake(upstream, carried)
            self._is_probing_idle = self._was_challenged_again and upstream.used > 0
            if self._probes_by_head(carried) and await self._probe_by_head(upstream):
                outcome = None
            else:
                upstream = await self._obtain_connection(carried, fresh=False)
                outcome = await self._send_without_login(upstream, None)
            self._is_probing_idle = False
            return outcome
        is_sure = is_signed_in or (carried is not None and not self._is_on_trial)
        used = (credentials or self._withheld) if is_signed_in else carried
        head = self._write_head(upstream, used, carried, is_sure=is_sure)
        response = await self._send(upstream, head, carried=carried)
        if not self._is_challenge(response, carried):
            self.is_proved = carried is not None
            if carried is None and not is_signed_in:
                self._note_site_served(upstream, response)
            return response
        if is_signed_in:
            raise ConnectionLostError(is_counted=False)
        await self.discard_response(upstream, response)
        return AuthChallenge(self._challenges, Verdict(VerdictKind.REJECTED) if carried else None)

    def _reuses_challenged_connection(self, credentials: Credentials | None) -> bool:
        """Return whether the login goes on a connection of earlier, if there is one, after the next
        hop was asked on it once more: a dead connection then costs no log-on.

        The challenge of another connection may be in the name of another realm, behind a balancer
        whose proxies call themselves differently; with a new one for each try none would fit.
        """
        if credentials is None or credentials.is_constant or credentials.scheme.binds_connection:
            return False
        may_probe = not self._is_sent_once or self._probes_by_head(credentials)
        return self._is_on_trial and may_probe and not self._was_challenged_again

    def _is_challenge_needed_here(
        self, upstream: UpstreamConnection, credentials: Credentials
    ) -> bool:
        """Return whether the next hop must be asked once more for a challenge, on this connection.

        Behind a balancer each connection may lead to another proxy, which knows only the challenges
        that it has given out itself. So a login on trial, or not proved lately, for which a refusal
        counts, answers one of this connection; once, since a next hop may close the connection with
        each 407.
        """
        if credentials.scheme.binds_connection or not (self._is_on_trial or credentials.permit):
            return False
        if self._challenged_on is upstream or self._was_challenged_again:
            return False
        self._was_challenged_again = True
        return True

    def _probes_by_head(self, credentials: Credentials) -> bool:
        """Return whether an own request, in connection of this one, asks for the challenge.

        A connection does not go on behind the 407 of a request that may be sent only once (see
        `discard_response`). Behind the 407 of a HEAD it does: the login is then sent there,
        and a refusal of it is clear.
        """
        is_bound = credentials.scheme.binds_connection or credentials.is_constant
        return self._is_sent_once and not is_bound

    async def _probe_by_head(self, upstream: UpstreamConnection) -> bool:
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
        refusals, upstream_id = self._downstream.engine.refusals, self._lease.route.upstream_id
        is_refused = await self._is_head_challenged(upstream)
        if (
            not is_refused
            or self._downstream.upstream is None
            or refusals.was_kept_open(upstream_id)
        ):
            return is_refused
        try:
            if await self._is_head_challenged(upstream) and self._downstream.upstream is not None:
                refusals.note_kept_open(upstream_id)
        except ConnectionLostError:
            self._downstream.drop_upstream()
        return True

    async def _is_head_challenged(self, upstream: UpstreamConnection) -> bool:
        authority = self._request.target.authority
        assert authority is not None  # A request to a next hop that signs requests names its host.
        cached_request = CachedRequest(head_request_to(authority), None)
        head, heads = (
            self._write(cached_request.request, None),
            ResponseReader(self._downstream, cached_request),
        )
        response = await self._send(upstream, head, whole=False, heads=heads)
        if not self._is_challenge(response, None):
            self._downstream.drop_upstream()
            return False
        await self.discard_response(upstream, response, method=cached_request.request.method)
        return True

    def _may_be_unknown_nonce(self, credentials: Credentials) -> bool:
        """Return whether the last 407 may mean that the next hop does not know the nonce, rather
        than that the nonce is too old, and an own request asks for one where it is then used."""
        is_stale = any(
            (challenge.param("stale") or "").lower() == "true"
            for challenge in self._challenges
            if challenge.scheme == "digest"
        )
        return not is_stale and self._probes_by_head(credentials)

    # --- handshakes ---

    async def _run_handshake(
        self, upstream: UpstreamConnection, credentials: Credentials
    ) -> Response | AuthChallenge | None:
        """Send the legs of a handshake, the first one on this connection."""
        handshake, step = await self._begin_handshake(upstream, credentials)
        is_premature = isinstance(step, Verdict) or (self._has_content and not step.with_content)
        if is_premature and not self._is_challenged:
            return await self._send_without_login(upstream, step)
        connection = self._downstream.upstream
        is_borrowed = not self._is_challenged  # The challenge came with another request's 407.
        legs = 0
        while isinstance(step, Leg):
            legs += 1
            if connection is not None and not connection.is_quiet():
                # Closed since its last 407.
                self._downstream.drop_upstream()
                connection = None
            if connection is None and not step.same_connection:
                connection = await self._lease.obtain_connection(
                    credentials, fresh=False, on_trial=self._is_on_trial
                )
            if connection is None:
                raise ConnectionLostError
            if (step.same_connection or step.with_content) and self._is_superseded(credentials):
                # Refused to another request since the first leg: here it would be once more.
                self._downstream.drop_upstream()
                raise LoginSupersededError
            self._handshake = None if credentials.scheme.binds_connection else handshake
            self._is_other_connection = is_other_connection = self._challenged_on is not connection
            response = await self._send_leg(connection, credentials, step)
            if not self._is_challenge(response, credentials if step.credentials else None):
                handshake.finish(response.fields)
                outcome = await self._accepted_response(connection, credentials, step, response)
                if self.is_proved and legs > 1:
                    self._lease.record_handshake(credentials)
                return outcome
            continues = credentials.scheme.binds_connection and step.credentials != b""
            if not await self.discard_response(connection, response, in_handshake=continues):
                connection = None
            is_last = legs == MAX_LEGS
            step = (
                ENDLESS_HANDSHAKE
                if is_last
                else await self._next_step(credentials, handshake, self._challenges)
            )
            if (
                isinstance(step, Leg)
                and is_borrowed
                and connection is None
                and self._may_be_unknown_nonce(credentials)
            ):
                is_borrowed = False
                upstream = await self._lease.obtain_connection(credentials, fresh=True)
                if await self._probe_by_head(upstream):
                    handshake, step = await self._begin_handshake(upstream, credentials)
                connection = self._downstream.upstream
            if isinstance(step, Verdict):
                step = verdict_for_connection(step, is_other_connection=is_other_connection)
            if isinstance(step, Verdict) and step.lacks_content:
                handshake, step = await self._begin_handshake(upstream, credentials)
                connection = self._downstream.upstream
        if credentials.scheme.binds_connection:
            # It is in the middle of something: squid never lets anybody in on it any more.
            self._downstream.drop_upstream()
        return AuthChallenge(self._challenges, step)

    async def _begin_handshake(
        self, upstream: UpstreamConnection, credentials: Credentials
    ) -> tuple[Handshake, Leg | Verdict]:
        """Return a handshake and its first step, for which all content may have to be here."""
        while True:
            handshake = credentials.signer.begin(self._handshake_request(upstream))
            step = await self._next_step(credentials, handshake, self._challenges)
            if (
                isinstance(step, Leg)
                or not step.lacks_content
                or not await self._read_content_ahead()
            ):
                return handshake, step

    async def _read_content_ahead(self) -> bool:
        """Wait for the content that is to be signed. Return whether it has come just now.

        The connection is closed if the next hop has not waited for it, too.

        Raises:
            RequestBodyError: It is malformed, or does not come in time.
            ClientGoneError: The client left in the middle of it.
            OSError: The client's connection broke.
        """
        writer, downstream, framing = self._writer, self._downstream, self._request.framing
        is_much = isinstance(framing, Length) and framing.octets > MAX_IN_MEMORY
        if writer.body_done or is_much:
            return False
        if self._request.expects_continue and not writer.body_started:
            # The next hop does not ask for content before it was signed: we do.
            await downstream.deliver(CONTINUE)
            self._request = replace(self._request, expects_continue=False)
        await self._wait_for_content()
        if downstream.upstream is not None and not downstream.upstream.is_quiet():
            downstream.drop_upstream()
        return writer.whole_content() is not None

    async def _wait_for_content(self) -> None:
        """Take content until it is here, or is too much; a client that makes no progress is late,
        even if it sends an octet now and then."""
        writer, downstream, limits = self._writer, self._downstream, self._downstream.engine.limits
        due_at = 0
        while not writer.body_done and writer.may_have_whole_content:
            try:
                if writer.read_ahead():
                    continue
            except MessageError as error:
                raise RequestBodyError(error.status, str(error)) from None
            if writer.octets_read >= due_at:
                due_at = writer.octets_read + limits.body_least
                downstream.deadline_in(limits.body_s)
            try:
                await IoWait(downstream.events(READ, None, 0))
            except TimeoutError as error:
                raise RequestBodyError(408, "its content did not come in time") from error
        downstream.deadline = None

    def _handshake_request(self, upstream: UpstreamConnection) -> RequestToSign:
        stream = upstream.stream
        target = request_target(self._request)
        return RequestToSign(
            self._request.method, target, self._writer.whole_content(), stream.end_point
        )

    async def _next_step(
        self, credentials: Credentials, handshake: Handshake, challenges: tuple[Challenge, ...]
    ) -> Leg | Verdict:
        """Return the next step of a handshake; the client may leave meanwhile."""
        if not (credentials.scheme.blocks and credentials.signer.blocks):
            return handshake.step(challenges)
        engine = self._downstream.engine
        future = engine.steps.run(handshake, challenges)
        self._downstream.deadline = None
        wait = IoWait({}, future=future, timeout=engine.limits.step_s)
        try:
            with self._lease.parked():
                woken = await self._lease.wait(wait)
        finally:
            future.cancel()
        return SERVER_SILENT if woken == TIMED_OUT else future.result()

    async def _send_without_login(
        self, upstream: UpstreamConnection, step: Leg | Verdict | None
    ) -> Response | AuthChallenge | None:
        """Send the request as it is, to see whether the next hop wants a sign-in for it at all.

        If it does not, the first leg of a handshake would take a request to its site that has lost
        its content. And a verdict needs the challenges that the next choice is made from.
        """
        head = self._write_head(upstream, None, None, is_sure=False)
        response = await self._send(upstream, head)
        if not self._is_challenge(response, None):
            self._note_site_served(upstream, response)
            return response
        await self.discard_response(upstream, response)
        return AuthChallenge(self._challenges, step) if isinstance(step, Verdict) else None

    async def _send_leg(
        self, upstream: UpstreamConnection, credentials: Credentials, leg: Leg
    ) -> Response:
        request, header_value = self._request, leg.credentials or None
        is_bound = credentials.scheme.binds_connection
        if not leg.with_content and self._has_content:
            empty = replace(request, framing=Length(0), expects_continue=False)
            head = self._write(empty, header_value, persists=is_bound)
            return await self._send(upstream, head, whole=False)
        is_last = is_bound and leg.with_content
        request = self._hold_content_back(request, is_sure=is_last and not self._is_on_trial)
        head = self._write(request, header_value, persists=is_bound)
        carried = credentials if leg.with_content and header_value is not None else None
        return await self._send(upstream, head, carried=carried)

    async def _accepted_response(
        self, upstream: UpstreamConnection, credentials: Credentials, leg: Leg, response: Response
    ) -> Response | AuthChallenge:
        """Return the answer to the request that a leg went with."""
        if leg.with_content and leg.credentials:
            self.is_proved = True
            if credentials.scheme.binds_connection:
                upstream.key = upstream.key._replace(signed_in=credentials.login_id)
                upstream.answer = credentials
            return response
        if leg.with_content or not self._has_content:
            return response
        # It answers a request without content, which nobody has sent. There was a 407 before, so
        # this next hop does not know what it wants, and gets what the client has sent.
        self._downstream.drop_upstream()
        upstream = await self._lease.obtain_connection(None, fresh=True)
        head = self._write_head(upstream, None, None, is_sure=False)
        response = await self._send(upstream, head)
        if not self._is_challenge(response, None):
            return response
        self._downstream.drop_upstream()
        return AuthChallenge(self._challenges, SPORADIC_CHALLENGE)

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
        writer, stream = self._writer, upstream.stream
        if self._sent_on is not None:
            self._sent_on = None
            writer.adopt_sent_request(stream)
            if self._downstream.is_late:
                self._downstream.is_late = False
                raise self._lease.time_out()
        elif not whole:
            writer.start_without_content(stream, head)
        elif writer.body_started and not writer.replay_buffer.is_complete:
            raise ContentNotRepeatableError
        else:
            writer.start(stream, head)
        self._downstream.carried = carried
        try:
            response = await (heads or self._reader).read_head(writer, upstream)
        except ResponseBrokenError as error:
            may_retry = not whole or self._may_resend(upstream, carried, error)
            raise ConnectionLostError(may_retry=may_retry, was_unused=upstream.used == 0) from error
        except RequestBodyError:
            raise
        except MessageError as error:
            raise self._reader.reject_response(error) from error
        except TimeoutError as error:
            if writer.waits_for_client:
                raise RequestBodyError(408, "its content did not come in time") from error
            raise self._lease.time_out() from error
        finally:
            self._downstream.carried = None
            self.was_login_sent = self.was_login_sent or (carried is not None and writer.started)
        self._lease.record_response(upstream)
        if response.status == 417 and b"expect" in head.lower() and not self._omits_expectation:
            self._retry_without_expectation()
        return response

    def _retry_without_expectation(self) -> None:
        """Begin anew without an expectation, if it was ours: the next hop knows none.

        Raises:
            ConnectionLostError: Begin anew.
        """
        if self._request.expects_continue:
            return
        self._omits_expectation = True
        raise ConnectionLostError(is_counted=False)

    def _may_resend(
        self, upstream: UpstreamConnection, carried: Credentials | None, error: ResponseBrokenError
    ) -> bool:
        """Whether the whole request may be sent again after its connection failed.

        One that was kept may have been closed by the other side just now; then sending it once
        more can do no harm, if its method is idempotent or nothing of it has left (RFC 9112,
        section 9.3.1; RFC 9110, section 9.2.2).
        """
        writer, is_repeatable = self._writer, self._request.method in RESENDABLE_METHODS
        if writer.body_started and not writer.replay_buffer.is_complete:
            return False
        if carried is not None and self._is_on_trial and _may_cost_failed_logon(carried):
            if not writer.started:
                return True
            # A proxy may hang up on a wrong password instead of answering. But one that closes the
            # connection behind its 407 has not read what came later.
            is_unread = error.request_was_unread and not writer.body_started
            is_first = not carried.scheme.binds_connection
            return is_repeatable and upstream.used > 0 and is_unread and is_first
        is_without_login = (
            carried is None and not upstream.is_signed_in and self._lease.route.signs_requests
        )
        if is_without_login and writer.body_started and not writer.done:
            # Proxies that refuse an upload may close so rudely that their 407 is lost: ask before
            # the content next time. A method that is not idempotent may have had an effect.
            if is_repeatable or not writer.started:
                self._wants_continue = True
                return True
            self._downstream.engine.refusals.note_upload_cut_off(self._lease.route.upstream_id)
            return False
        return upstream.used > 0 and (is_repeatable or not writer.started)

    def _write_head(
        self,
        upstream: UpstreamConnection,
        credentials: Credentials | None,
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
        cached_request, route = self._cached_request, self._lease.route
        request = self._hold_content_back(self._request, is_sure=is_sure)
        is_cacheable = request is cached_request.request
        withheld = self._withheld if credentials is None else None
        if is_cacheable and cached_request.was_sent_with(
            route, credentials, upstream.key, withheld
        ):
            return cached_request.wire
        header_value = None
        if carried is not None:
            header_value = carried.header_value(request.method, request_target(request))
        wire = self._write(request, header_value, persists=upstream.is_signed_in)
        if is_cacheable:
            cached_request.store_sent(wire, route, credentials, upstream.key, withheld)
        return wire

    def _hold_content_back(self, request: Request, *, is_sure: bool) -> Request:
        """Hold content back that could not be sent again, if the next hop may want a login first:
        RFC 9110, section 10.1.1 provides for that."""
        writer = self._writer
        writer.holds_content = (
            self._lease.route.signs_requests
            and not is_sure
            and self._has_content
            and not self._omits_expectation
            and (self._wants_continue or not writer.replay_buffer.is_complete)
            and not request.expects_continue
        )
        return replace(request, expects_continue=True) if writer.holds_content else request

    def _write(
        self, request: Request, header_value: bytes | None, *, persists: bool = False
    ) -> bytes:
        direct = self._lease.route.is_direct
        via = self._downstream.engine.via
        return write_request(
            request, via=via, credentials=header_value, direct=direct, request_keep_alive=persists
        )

    # --- refusals ---

    def _is_challenge(self, response: Response, carried: Credentials | None) -> bool:
        """Whether the next hop wants a login, or another one; remember what it offers.

        Raises:
            RequestRefusedError: It is no next hop that may ask.
        """
        route = self._lease.route
        if response.status == 407 and route.is_direct:
            self._downstream.drop_upstream()
            raise RequestRefusedError(SITE_WANTS_SIGN_IN)
        refusals = self._downstream.engine.refusals
        wanted = refusals.challenges_in(response, self._request.method, route.upstream_id, carried)
        if wanted is None:
            return False
        self._challenges, self._is_challenged = wanted, True
        self._challenged_on = self._downstream.upstream
        self._note_site_challenged()
        return True

    def _note_site_served(self, upstream: UpstreamConnection, response: Response) -> None:
        """Remember that a request without a login was let through to its site, if it was."""
        engine, upstream_id = self._downstream.engine, self._lease.route.upstream_id
        site = self._request.target.authority
        is_current = upstream.key.epoch == engine.pool.epoch
        if (
            upstream_id is None
            or site is None
            or not self._lease.route.signs_requests
            or not is_current
        ):
            return
        if has_reached_site(response, self._request):
            engine.exempt_sites.note_served(upstream_id, site)

    def _note_site_challenged(self) -> None:
        """Remember that the next hop asks for a login for this site."""
        engine, upstream_id = self._downstream.engine, self._lease.route.upstream_id
        site = self._request.target.authority
        if (
            upstream_id is not None
            and site is not None
            and engine.exempt_sites.note_challenged(upstream_id, site)
        ):
            # Requests that were sent without a login before are not sent so again.
            engine.plans.clear()

    async def discard_response(
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
        is_read = not self._is_sent_once or self._writer.is_without_content or in_handshake
        if (
            persists
            and is_read
            and self._writer.done
            and await self._drain_content(
                upstream, response, method or self._request.method, in_handshake=in_handshake
            )
        ):
            return True
        self._downstream.drop_upstream()
        return False

    async def _drain_content(
        self, upstream: UpstreamConnection, response: Response, method: bytes, *, in_handshake: bool
    ) -> bool:
        """Read the content of a refusal. Return whether all of it came, and nothing behind it."""
        engine, stream = self._downstream.engine, upstream.stream
        at_most = engine.limits.drain_octets
        upstream.leftover = LeftoverContent.of(response, method, at_most)
        body = response_body_reader(response.framing)
        octets_left, end = engine.limits.drain_octets, engine.loop.time() + engine.limits.refusal_s
        self._downstream.deadline = None
        try:
            while not body.done:
                if stream.inbox or stream.fill():
                    data = stream.take()
                    octets_left -= len(data)
                    _, used = body.feed(data)
                    if used < len(data):
                        return False
                    if octets_left < 0:
                        return body.done
                elif stream.ended:
                    return False
                else:
                    remaining_s = end - engine.loop.time()
                    wait = IoWait({stream.descriptor: READ}, timeout=max(0.0, remaining_s))
                    if remaining_s <= 0 or await self._lease.wait(wait) == TIMED_OUT:
                        return False
        except (OSError, MessageError):
            return False
        upstream.skip_leftover()
        return not stream.inbox and not stream.ended and (body.is_unambiguous or in_handshake)


def _may_cost_failed_logon(credentials: Credentials) -> bool:
    """Whether sending it may count as a failed log-on: a ticket is no password."""
    return credentials.login is not None and credentials.scheme.family != "negotiate"
