"""The authentication exchange: the messages with an upstream about one request.

Basic and Digest authenticate each request. NTLM and Negotiate authenticate the connection: all legs
of a handshake go over one connection, and later requests on that connection carry no credentials
(MS-NTHT, section 3.1; RFC 4559, section 6).

The rules, most important first: a log-on is never spent twice, no request reaches a site in another
form than its client has sent, and no request is repeated if it may already have had an effect.

An authenticated connection goes back to the pool for the next client. Where that saves round trips,
another connection is authenticated ahead of need (see `preconnect`). Every handshake is completed:
a proxy reserves a helper process for each handshake, and Squid with four helpers does not answer a
fifth client while four handshakes are incomplete.
"""

from dataclasses import dataclass, replace

from trayproxy.auth.scheme import Handshake, Leg, RequestToSign, Verdict, VerdictKind
from trayproxy.desk.credentials import Credentials
from trayproxy.engine.downstream import Downstream
from trayproxy.engine.error_pages import (
    CONNECTION_CLOSED,
    SITE_WANTS_SIGN_IN,
    TOO_LARGE_TO_REPEAT,
    RequestRefusedError,
)
from trayproxy.engine.net.fd_task import READ, TIMED_OUT, IoWait
from trayproxy.engine.proxy_auth.challenge_detection import has_reached_site
from trayproxy.engine.proxy_auth.unanswered import (
    UnansweredRequest,
    UnansweredSocksLogin,
    verdict_for_connection,
)
from trayproxy.engine.proxy_auth.upstream_lease import UpstreamLease
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.transfer.replay_buffer import MAX_IN_MEMORY
from trayproxy.engine.transfer.request_writer import RequestWriter
from trayproxy.engine.transfer.response_reader import (
    RequestBodyError,
    ResponseBrokenError,
    ResponseReader,
)
from trayproxy.engine.upstream.leftover_content import LeftoverContent
from trayproxy.engine.upstream.pool import UpstreamConnection
from trayproxy.http.body import response_body_reader
from trayproxy.http.challenges import Challenge
from trayproxy.http.errors import MessageError
from trayproxy.http.framing import Length, NoBody, UntilClose
from trayproxy.http.hop_by_hop import connection_options
from trayproxy.http.request import Request, parse_request, request_target, write_request
from trayproxy.http.response import Response
from trayproxy.http.target import Authority

RESENDABLE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"CONNECT"})
"""Methods of requests to send again after a reused connection failed: the idempotent methods (RFC
9110, section 9.2.2), and CONNECT, because no data has gone through an unopened tunnel."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""The interim response to ask a client for content to be covered by the credentials (RFC 9110,
section 10.1.1)."""
MAX_LOST_CONNECTIONS = 1
"""The most lost connections after which an attempt starts again."""
MAX_LEGS = 8
"""The most legs of one handshake. Digest needs four if its nonces become stale, Kerberos two."""
ENDLESS_HANDSHAKE = Verdict(VerdictKind.UNUSABLE, "The proxy's sign-in comes to no end.")
SERVER_SILENT = Verdict(
    VerdictKind.UNUSABLE, "The company's sign-in server does not answer.", is_transient=True
)
SPORADIC_CHALLENGE = Verdict(
    VerdictKind.UNUSABLE, "The proxy asks for a sign-in only now and then."
)


class LoginSupersededError(Exception):
    """The login was refused to another request or replaced before this request carried it."""


class ContentNotRepeatableError(RequestRefusedError):
    """The content of the request is no longer held, so it cannot be repeated with a login."""

    def __init__(self) -> None:
        super().__init__(TOO_LARGE_TO_REPEAT)


class UnansweredError(RequestRefusedError):
    """The upstream closed the connection instead of responding to a request with a login.

    Some upstreams do so if the login is wrong. The request may be sent again without the login.
    """


class ConnectionLostError(Exception):
    """The connection was closed, so the current step cannot be completed on it.

    Attributes:
        is_counted: True if the loss counts towards `MAX_LOST_CONNECTIONS`.
        may_retry: True if the step may be repeated on another connection.
        was_unused: True if no response had ever arrived on the connection.
    """

    def __init__(
        self, *, is_counted: bool = True, may_retry: bool = True, was_unused: bool = False
    ):
        super().__init__("the connection is lost")
        self.is_counted = is_counted
        self.may_retry = may_retry
        self.was_unused = was_unused


@dataclass(frozen=True, slots=True)
class AuthChallenge:
    """The refusal of a request by a next hop.

    Attributes:
        challenges: The challenges in the refusal.
        verdict: The verdict on the login in the request; None if the request carried no login.
    """

    challenges: tuple[Challenge, ...]
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class AuthOutcome:
    """The outcome of one attempt to send a request. A CONNECT on a direct route has neither a
    response nor a challenge: the target is connected.

    Attributes:
        response: The response to relay; None without a response.
        challenge: The refusal of the request; None without a refusal.
        credentials: The credentials of the attempt, with the permit of the desk; None without a
            login.
        login_was_sent: True if the login was sent and may have cost a log-on.
        login_was_accepted: True if the response answers a request with the login, or the last leg
            of a handshake.
    """

    response: Response | None = None
    challenge: AuthChallenge | None = None
    credentials: Credentials | None = None
    login_was_sent: bool = False
    login_was_accepted: bool = False


def head_request_to(target: Authority) -> Request:
    """Return a HEAD request of TrayProxy's own. HEAD changes nothing at the target (RFC 9110,
    section 9.2.1).

    Raises:
        MessageError: The target is invalid.
    """
    head = (
        f"HEAD http://{target}/ HTTP/1.1\r\nHost: {target}\r\n"
        "User-Agent: TrayProxy\r\nContent-Length: 0\r\n\r\n"
    )
    return parse_request(head.encode("ascii"))


class AuthExchange:
    """Sends one request, with or without a login, until there is a response or a verdict.

    Attributes:
        is_proved: True if the response answers a request with the login, or the last leg of a
            handshake.
        was_login_sent: True if the login was sent and may have cost a log-on.
        permitted: The credentials this request may carry, as permitted by the desk; None before the
            permit.
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
        downstream: Downstream,
        cached_request: CachedRequest,
        lease: UpstreamLease,
        reader: ResponseReader,
        writer: RequestWriter,
        sent_on: UpstreamConnection | None,
    ) -> None:
        """Prepare the exchange for one request.

        Args:
            downstream: The client's side of the request.
            cached_request: The head of the request and the values derived from it.
            lease: The lease of the upstream connection.
            reader: Reads the responses.
            writer: Sends the request.
            sent_on: The connection on which the fast path has already sent the request; None if it
                was not sent.
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
        self._wants_continue = (
            self._has_content
            and lease.auth.challenge_detector.take_upload_cut_off(lease.route.upstream_id)
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
        """Send the request with these credentials until there is a response or a refusal.

        Args:
            credentials: The credentials; None to send the request without a login.
            withheld: Credentials that are known but not sent, because the site is exempt. The
                request may use a connection authenticated with them, as other requests do.
            on_trial: True if no upstream has ever accepted the login. The login is then sent only
                once, whatever happens.
            fresh: True to open a new connection.

        Raises:
            UnreachableError: No connection to the next hop can be opened.
            AuthRequiredError: The upstream requires a login while connecting.
            LoginSupersededError: The login was refused to another request in the meantime.
            RequestRefusedError: There is no response.
        """
        self._reset(on_trial=on_trial)
        self._withheld = withheld
        if self._route is not self._lease.route:
            # The challenges came from another upstream.
            self._route, self._challenges, self._is_challenged = self._lease.route, (), False
        try:
            return await self._attempt(credentials, fresh=fresh)
        finally:
            self._lease.end_authentication()

    async def _attempt(
        self, credentials: Credentials | None, *, fresh: bool
    ) -> Response | AuthChallenge:
        """Send the request until there is a response or a refusal, at most twice on lost
        connections."""
        is_bound = credentials is not None and credentials.scheme.binds_connection
        losses = 0
        while True:
            if credentials is not None and is_bound and self._lease.route.authenticates_requests:
                self._lease.register_demand(credentials)
                if await self._lease.wait_for_preconnect() and self._is_superseded(credentials):
                    raise LoginSupersededError
            upstream = await self._obtain_connection(credentials, fresh=fresh)
            if upstream.is_authenticated:
                self._lease.deregister_demand()
            carries = self._lease.route.authenticates_requests and not upstream.is_authenticated
            challenge_first = (
                carries and credentials is not None and self._is_challenge_needed_first(credentials)
            )
            if (
                not challenge_first
                and carries
                and credentials is not None
                and await self._waited_for_permit(credentials)
            ):
                continue
            try:
                if challenge_first:
                    outcome = await self._send_without_login(upstream, None)
                else:
                    outcome = await self._attempt_on(
                        upstream, self.permitted if carries else credentials
                    )
            except ConnectionLostError as lost:
                self._downstream.drop_upstream()
                # A connection lost after a 407 shows: this next hop closes connections after a
                # 407. The loss of an idle connection before the request does not show that.
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
        """Connect to the next hop of a tunnel, which needs no HTTP request.

        Args:
            credentials: The credentials to send if the upstream requires them while connecting;
                None if none are known.
            on_trial: True if no upstream has ever accepted the login.

        Raises:
            UnreachableError: No connection to the next hop can be opened.
            AuthRequiredError: The upstream requires a login, or another login.
            LoginSupersededError: The login was refused to another request in the meantime.
            RequestRefusedError: The next hop does not connect to the target.
        """
        self._reset(on_trial=on_trial)
        await self._obtain_connection(credentials, fresh=True)

    def _reset(self, *, on_trial: bool) -> None:
        """Clear the results of the last attempt."""
        self.is_proved = self.was_login_sent = self._lease.was_login_sent = False
        self.permitted = None
        self._handshake = None
        self._is_on_trial = on_trial
        self._was_challenged_again = self._is_probing_idle = False

    async def _waited_for_permit(self, credentials: Credentials) -> bool:
        """Obtain the desk's permit to carry the login, and set `permitted`. Return True if the
        permit took time; a connection must then be obtained again.

        Raises:
            LoginSupersededError: The login may not be sent any more.
        """
        if self.permitted is None and not self._needs_permit(credentials):
            self.permitted = credentials
        if self.permitted is not None:
            if self._sent_on is None and self._is_superseded(credentials):
                raise LoginSupersededError
            return False
        target = str(self._request.target.authority)
        permit = self._downstream.context.desk.request_permit(credentials, target)
        has_waited = not permit.done()
        permitted = await self._lease.wait_for_desk(permit)
        if not isinstance(permitted, Credentials):
            raise LoginSupersededError
        self.permitted = permitted
        if has_waited:
            # The challenge may have expired, or the route may lead to another upstream now.
            self._challenges, self._is_challenged, self._challenged_on = (), False, None
        return has_waited

    def _needs_permit(self, credentials: Credentials) -> bool:
        """Return True if sending these credentials may cost a log-on and so needs a permit of the
        desk."""
        is_password = credentials.login is not None
        is_new = self._sent_on is None and not self._is_on_trial
        return is_password and is_new and not credentials.is_recently_accepted

    def _is_challenge_needed_first(self, credentials: Credentials) -> bool:
        """Return True if the request must first be sent without the login, to obtain a new
        challenge.

        The challenge of an earlier request (a Digest nonce) may be too old, and not every upstream
        marks it as stale. A refusal would then require a second try with a new nonce, and the
        upstream would count two failed log-ons. A request without a login needs no permit.
        """
        is_old = not (
            self._is_challenged or credentials.scheme.binds_connection or credentials.is_constant
        )
        return is_old and self.permitted is None and self._needs_permit(credentials)

    def _report_no_verdict(self) -> None:
        """Report to the desk a login sent without a verdict. The request needs another permit
        before it carries the login again."""
        carried = self.permitted
        if carried is not None and self.was_login_sent and not self._is_on_trial:
            self.permitted, self.was_login_sent = None, False
            self._downstream.context.desk.no_response(carried, "the connection was lost", sent=True)

    def _may_resend_without_login(self) -> bool:
        """Return True if the request may be sent again without the login, to obtain a challenge."""
        writer = self._writer
        is_whole = not writer.body_started or writer.replay_buffer.is_complete
        return self._request.method in RESENDABLE_METHODS and is_whole

    def hand_over_response(self, credentials: Credentials) -> bool:
        """Hand over the response to this request to the `UnansweredReader` after the client has
        disconnected.

        Returns:
            False if the login was not sent, or if no response can arrive.
        """
        downstream, lease = self._downstream, self._lease
        if lease.unanswered_stream is not None:
            stream, lease.unanswered_stream = lease.unanswered_stream, None
            target = str(self._request.target.authority)
            unanswered_login = UnansweredSocksLogin(
                stream, lease.route, credentials, target, self._is_on_trial
            )
            if lease.auth.unanswered.read_socks_reply(unanswered_login):
                return True
            stream.close()
            return False
        if (
            not (self.was_login_sent and lease.route.authenticates_requests)
            or downstream.upstream is None
        ):
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
        if not lease.auth.unanswered.read_response(unanswered):
            return False
        downstream.release(connection.stream.descriptor)
        downstream.upstream = None
        return True

    def _is_superseded(self, credentials: Credentials) -> bool:
        """Return True if the desk no longer hands out this login: it was refused to another request
        or replaced. A login on trial cannot be superseded, because the desk does not hand it out to
        other requests."""
        if self._is_on_trial:
            return False
        known = self._downstream.context.desk.known(credentials.upstream_id)
        return known is None or known.login_id != credentials.login_id

    async def _obtain_connection(
        self, credentials: Credentials | None, *, fresh: bool
    ) -> UpstreamConnection:
        """Return the connection to send the request on."""
        if self._sent_on is not None:
            return self._sent_on
        if self._lease.route.authenticates_requests or credentials is None:
            before = self._downstream.upstream
            upstream = await self._lease.obtain_connection(
                credentials or self._shared_login(),
                fresh=fresh,
                on_trial=self._is_on_trial,
                challenge_first=self._reuses_challenged_connection(credentials),
            )
            if upstream is not before:
                self._challenged_on = None  # It may have been closed while idle.
            return upstream
        # The login is sent while connecting, and its verdict is known once that succeeds or fails.
        while await self._waited_for_permit(credentials):
            pass
        try:
            return await self._lease.obtain_connection(
                self.permitted, fresh=fresh, on_trial=self._is_on_trial
            )
        finally:
            self.was_login_sent = self._lease.was_login_sent

    def _shared_login(self) -> Credentials | None:
        """Return the login whose authenticated connections a request without a login may use; None
        if it may not use them.

        With shared connections, a program needs only one connection for exempt and other sites. A
        tunnel may not use an authenticated connection, because it would consume it.
        """
        withheld = self._withheld
        is_tunnel = self._request.method == b"CONNECT"
        if withheld is None or (is_tunnel and withheld.scheme.binds_connection):
            return None
        return withheld

    def _connection_lost_error(self, lost: ConnectionLostError) -> RequestRefusedError:
        """Record the next hop's failure to respond, and return the error to raise."""
        if self.was_login_sent and self._may_resend_without_login():
            self._downstream.drop_upstream()
            return UnansweredError(CONNECTION_CLOSED)
        if lost.was_unused:
            self._lease.record_silence()
        self._lease.report_failure(CONNECTION_CLOSED)
        return RequestRefusedError(CONNECTION_CLOSED)

    async def _attempt_on(
        self, upstream: UpstreamConnection, credentials: Credentials | None
    ) -> Response | AuthChallenge | None:
        """Send the request on this connection. Return None if it must be sent again with the
        challenges now known."""
        is_authenticated = upstream.is_authenticated
        carried = (
            credentials
            if self._lease.route.authenticates_requests and not is_authenticated
            else None
        )
        if carried is not None and not carried.is_constant:
            if self._sent_on is None and not self._is_challenge_needed_here(upstream, carried):
                return await self._run_handshake(upstream, carried)
            self._is_probing_idle = self._was_challenged_again and upstream.response_count > 0
            if self._probes_by_head(carried) and await self._probe_by_head(upstream):
                outcome = None
            else:
                upstream = await self._obtain_connection(carried, fresh=False)
                outcome = await self._send_without_login(upstream, None)
            self._is_probing_idle = False
            return outcome
        is_settled = is_authenticated or (carried is not None and not self._is_on_trial)
        used_credentials = (credentials or self._withheld) if is_authenticated else carried
        head = self._write_head(upstream, used_credentials, carried, is_settled=is_settled)
        response = await self._send(upstream, head, carried=carried)
        if not self._is_challenge(response, carried):
            self.is_proved = carried is not None
            if carried is None and not is_authenticated:
                self._note_site_served(upstream, response)
            return response
        if is_authenticated:
            raise ConnectionLostError(is_counted=False)
        await self.discard_response(upstream, response)
        return AuthChallenge(self._challenges, Verdict(VerdictKind.REJECTED) if carried else None)

    def _reuses_challenged_connection(self, credentials: Credentials | None) -> bool:
        """Return True if the login may go over an idle connection after a new challenge was
        obtained on it; a dead connection then costs no log-on.

        Behind a load balancer, the challenge of another connection may name another realm, if the
        proxies have different names. A new connection for each try would then never match.
        """
        if credentials is None or credentials.is_constant or credentials.scheme.binds_connection:
            return False
        may_probe = not self._is_sent_once or self._probes_by_head(credentials)
        return self._is_on_trial and may_probe and not self._was_challenged_again

    def _is_challenge_needed_here(
        self, upstream: UpstreamConnection, credentials: Credentials
    ) -> bool:
        """Return True if a new challenge must be obtained on this connection before the login is
        sent.

        Behind a load balancer, each connection may lead to another proxy, which accepts only its
        own challenges. A login on trial or not proved recently therefore answers a challenge of its
        own connection, because a refusal would count. This is done once per attempt: a next hop may
        close the connection after each 407.
        """
        if credentials.scheme.binds_connection or not (self._is_on_trial or credentials.permit):
            return False
        if self._challenged_on is upstream or self._was_challenged_again:
            return False
        self._was_challenged_again = True
        return True

    def _probes_by_head(self, credentials: Credentials) -> bool:
        """Return True if a HEAD request of TrayProxy's own obtains the challenge in place of this
        request.

        After the 407 of a request to be sent only once, the connection is not reused (see
        `discard_response`). After the 407 of a HEAD request, the connection is reused, so the login
        answers a challenge of its own connection and a refusal is conclusive.
        """
        is_bound = credentials.scheme.binds_connection or credentials.is_constant
        return self._is_sent_once and not is_bound

    async def _probe_by_head(self, upstream: UpstreamConnection) -> bool:
        """Obtain a challenge on this connection with a HEAD request (R-074).

        Some proxies announce an open connection after a 407, and close it. A request to be sent
        only once would be lost there. So HEAD is sent twice to an upstream for the first time: the
        second 407 proves the connection to be open.

        Returns:
            True if the next hop requires a login.

        Raises:
            ConnectionLostError: The connection was closed before the response.
            RequestRefusedError: There is no response.
        """
        detector = self._lease.auth.challenge_detector
        upstream_id = self._lease.route.upstream_id
        is_refused = await self._is_head_challenged(upstream)
        if (
            not is_refused
            or self._downstream.upstream is None
            or detector.was_kept_open(upstream_id)
        ):
            return is_refused
        try:
            if await self._is_head_challenged(upstream) and self._downstream.upstream is not None:
                detector.note_kept_open(upstream_id)
        except ConnectionLostError:
            self._downstream.drop_upstream()
        return True

    async def _is_head_challenged(self, upstream: UpstreamConnection) -> bool:
        """Send a HEAD request. Return True if the next hop requires a login for it."""
        authority = self._request.target.authority
        assert authority is not None  # A request to an upstream always names a target.
        cached_request = CachedRequest(head_request_to(authority), None)
        head = self._write(cached_request.request, None)
        response_reader = ResponseReader(self._downstream, cached_request)
        response = await self._send(
            upstream, head, with_content=False, response_reader=response_reader
        )
        if not self._is_challenge(response, None):
            self._downstream.drop_upstream()
            return False
        await self.discard_response(upstream, response, method=cached_request.request.method)
        return True

    def _may_be_unknown_nonce(self, credentials: Credentials) -> bool:
        """Return True if the last 407 may mean that the proxy does not know the nonce, rather than
        that the nonce is stale, and if a HEAD request can obtain a new nonce."""
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
        """Send the legs of a handshake, the first leg on this connection, until there is a response
        or a verdict. Return None if the request must be sent again."""
        handshake, step = await self._begin_handshake(upstream, credentials)
        is_premature = isinstance(step, Verdict) or (self._has_content and not step.with_content)
        if is_premature and not self._is_challenged:
            return await self._send_without_login(upstream, step)
        connection = self._downstream.upstream
        is_borrowed = not self._is_challenged  # The challenge is from another request's 407.
        legs = 0
        while isinstance(step, Leg):
            legs += 1
            if connection is not None and not connection.is_quiet():
                # The connection was closed after the last 407.
                self._downstream.drop_upstream()
                connection = None
            if connection is None and not step.same_connection:
                connection = await self._lease.obtain_connection(
                    credentials, fresh=False, on_trial=self._is_on_trial
                )
            if connection is None:
                raise ConnectionLostError
            if (step.same_connection or step.with_content) and self._is_superseded(credentials):
                # The login was refused to another request since the first leg: this leg would cost
                # a second log-on.
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
            # The handshake is incomplete: Squid accepts no other handshake on this connection.
            self._downstream.drop_upstream()
        return AuthChallenge(self._challenges, step)

    async def _begin_handshake(
        self, upstream: UpstreamConnection, credentials: Credentials
    ) -> tuple[Handshake, Leg | Verdict]:
        """Return a new handshake and its first step. Read the content of the request first if the
        credentials have to cover it."""
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
        """Read the content to be covered by the credentials. Return True if all of it was read just
        now.

        The connection to the next hop is closed if the next hop has closed or used it in the
        meantime.

        Raises:
            RequestBodyError: The content is malformed, or does not arrive in time.
            ClientGoneError: The client disconnected before the content was complete.
            OSError: The client's connection failed.
        """
        writer, downstream, framing = self._writer, self._downstream, self._request.framing
        is_too_large = isinstance(framing, Length) and framing.octets > MAX_IN_MEMORY
        if writer.body_done or is_too_large:
            return False
        if self._request.expects_continue and not writer.body_started:
            # The next hop sends no 100 before it has the credentials, so TrayProxy sends one.
            await downstream.deliver(CONTINUE)
            self._request = replace(self._request, expects_continue=False)
        await self._wait_for_content()
        if downstream.upstream is not None and not downstream.upstream.is_quiet():
            downstream.drop_upstream()
        return writer.whole_content() is not None

    async def _wait_for_content(self) -> None:
        """Read content until it is complete or too large. A client also times out if it sends only
        single octets now and then."""
        writer, downstream, limits = self._writer, self._downstream, self._downstream.context.limits
        due_at = 0
        while not writer.body_done and writer.may_have_whole_content:
            try:
                if writer.read_ahead():
                    continue
            except MessageError as error:
                raise RequestBodyError(error.status, str(error)) from None
            if writer.octets_read >= due_at:
                due_at = writer.octets_read + limits.min_body_octets
                downstream.set_deadline(limits.body_s)
            try:
                await IoWait(downstream.events(READ, None, 0))
            except TimeoutError as error:
                raise RequestBodyError(408, "its content did not come in time") from error
        downstream.deadline = None

    def _handshake_request(self, upstream: UpstreamConnection) -> RequestToSign:
        """Return the description of the request for a handshake."""
        stream = upstream.stream
        target = request_target(self._request)
        return RequestToSign(
            self._request.method, target, self._writer.whole_content(), stream.end_point
        )

    async def _next_step(
        self, credentials: Credentials, handshake: Handshake, challenges: tuple[Challenge, ...]
    ) -> Leg | Verdict:
        """Return the next step of a handshake. A blocking step runs in a thread, and the client may
        disconnect meanwhile."""
        if not (credentials.scheme.blocks and credentials.signer.blocks):
            return handshake.step(challenges)
        future = self._lease.auth.handshake_threads.run(handshake, challenges)
        self._downstream.deadline = None
        auth_step_s = self._downstream.context.limits.auth_step_s
        wait = IoWait({}, future=future, timeout=auth_step_s)
        try:
            with self._lease.parked():
                woken = await self._lease.wait(wait)
        finally:
            future.cancel()
        return SERVER_SILENT if woken == TIMED_OUT else future.result()

    async def _send_without_login(
        self, upstream: UpstreamConnection, step: Leg | Verdict | None
    ) -> Response | AuthChallenge | None:
        """Send the request without a login, to find out whether the next hop requires a login.
        Return None if the next hop requires a login and there is no verdict yet.

        Without this request, the first leg of a handshake would reach the site without its content
        if the next hop requires no login. A verdict also needs the challenges, from which the desk
        chooses the next scheme.

        Args:
            upstream: The connection.
            step: The first step of a handshake; a verdict is returned with the challenges.
        """
        head = self._write_head(upstream, None, None, is_settled=False)
        response = await self._send(upstream, head)
        if not self._is_challenge(response, None):
            self._note_site_served(upstream, response)
            return response
        await self.discard_response(upstream, response)
        return AuthChallenge(self._challenges, step) if isinstance(step, Verdict) else None

    async def _send_leg(
        self, upstream: UpstreamConnection, credentials: Credentials, leg: Leg
    ) -> Response:
        """Send the request with the credentials of a leg, without content if the leg has none."""
        request, header_value = self._request, leg.credentials or None
        is_bound = credentials.scheme.binds_connection
        if not leg.with_content and self._has_content:
            empty = replace(request, framing=Length(0), expects_continue=False)
            head = self._write(empty, header_value, persists=is_bound)
            return await self._send(upstream, head, with_content=False)
        is_last = is_bound and leg.with_content
        request = self._hold_content_back(request, is_settled=is_last and not self._is_on_trial)
        head = self._write(request, header_value, persists=is_bound)
        carried = credentials if leg.with_content and header_value is not None else None
        return await self._send(upstream, head, carried=carried)

    async def _accepted_response(
        self, upstream: UpstreamConnection, credentials: Credentials, leg: Leg, response: Response
    ) -> Response | AuthChallenge:
        """Return the response to an accepted leg, or the response to the complete request."""
        if leg.with_content and leg.credentials:
            self.is_proved = True
            if credentials.scheme.binds_connection:
                upstream.key = upstream.key._replace(authenticated_as=credentials.login_id)
                upstream.credentials = credentials
            return response
        if leg.with_content or not self._has_content:
            return response
        # This is a response to a request without content, which the client has not sent. The next
        # hop has sent a 407 before and is inconsistent: it gets the complete request.
        self._downstream.drop_upstream()
        upstream = await self._lease.obtain_connection(None, fresh=True)
        head = self._write_head(upstream, None, None, is_settled=False)
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
        with_content: bool = True,
        carried: Credentials | None = None,
        response_reader: ResponseReader | None = None,
    ) -> Response:
        """Send the request once and return the head of its final response.

        Args:
            upstream: The connection to send the request on.
            head: The head of the request.
            with_content: True if the content of the request follows the head.
            carried: The credentials in the head, which the next hop may refuse; None without
                credentials.
            response_reader: Reads the response; None to use the reader of the client's request.

        Raises:
            ConnectionLostError: The connection was closed before the response.
            RequestRefusedError: There is no response.
        """
        writer, stream = self._writer, upstream.stream
        if self._sent_on is not None:
            self._sent_on = None
            writer.adopt_sent_request(stream)
            if self._downstream.has_timed_out:
                self._downstream.has_timed_out = False
                raise self._lease.time_out()
        elif not with_content:
            writer.start_without_content(stream, head)
        elif writer.body_started and not writer.replay_buffer.is_complete:
            raise ContentNotRepeatableError
        else:
            writer.start(stream, head)
        self._downstream.pending_credentials = carried
        try:
            response = await (response_reader or self._reader).read_head(writer, upstream)
        except ResponseBrokenError as error:
            may_retry = not with_content or self._may_resend(upstream, carried, error)
            raise ConnectionLostError(
                may_retry=may_retry, was_unused=upstream.response_count == 0
            ) from error
        except RequestBodyError:
            raise
        except MessageError as error:
            raise self._reader.reject_response(error) from error
        except TimeoutError as error:
            if writer.waits_for_client:
                raise RequestBodyError(408, "its content did not come in time") from error
            raise self._lease.time_out() from error
        finally:
            self._downstream.pending_credentials = None
            self.was_login_sent = self.was_login_sent or (carried is not None and writer.started)
        self._lease.record_response(upstream)
        if response.status == 417 and b"expect" in head.lower() and not self._omits_expectation:
            self._retry_without_expectation()
        return response

    def _retry_without_expectation(self) -> None:
        """Start the attempt again without an Expect field if TrayProxy has added the field, because
        the next hop does not support it.

        Raises:
            ConnectionLostError: The attempt must start again.
        """
        if self._request.expects_continue:
            return
        self._omits_expectation = True
        raise ConnectionLostError(is_counted=False)

    def _may_resend(
        self, upstream: UpstreamConnection, carried: Credentials | None, error: ResponseBrokenError
    ) -> bool:
        """Return True if the whole request may be sent again after its connection failed.

        The next hop may have closed an idle connection just as the request was sent. Sending the
        request again is then harmless if its method is idempotent or none of it was sent (RFC 9112,
        section 9.3.1; RFC 9110, section 9.2.2).
        """
        writer, is_repeatable = self._writer, self._request.method in RESENDABLE_METHODS
        if writer.body_started and not writer.replay_buffer.is_complete:
            return False
        if carried is not None and self._is_on_trial and _may_cost_failed_logon(carried):
            if not writer.started:
                return True
            # A proxy may close the connection instead of answering a wrong password. But a proxy
            # closing the connection after its 407 has not read the later request.
            is_unread = error.request_was_unread and not writer.body_started
            is_first = not carried.scheme.binds_connection
            return is_repeatable and upstream.response_count > 0 and is_unread and is_first
        is_without_login = (
            carried is None
            and not upstream.is_authenticated
            and self._lease.route.authenticates_requests
        )
        if is_without_login and writer.body_started and not writer.done:
            # A proxy refusing an upload may reset the connection, so its 407 is lost: expect a 100
            # before the content next time. A method that is not idempotent may have had an effect.
            if is_repeatable or not writer.started:
                self._wants_continue = True
                return True
            self._lease.auth.challenge_detector.note_upload_cut_off(self._lease.route.upstream_id)
            return False
        return upstream.response_count > 0 and (is_repeatable or not writer.started)

    def _write_head(
        self,
        upstream: UpstreamConnection,
        credentials: Credentials | None,
        carried: Credentials | None,
        *,
        is_settled: bool,
    ) -> bytes:
        """Return the head to send to the next hop; it is the same each time for the same
        credentials.

        Args:
            upstream: The connection to send the head on.
            credentials: The credentials of the request.
            carried: The same credentials if the head itself contains them; None if the connection
                is authenticated with them.
            is_settled: True if the next hop will not require other credentials.
        """
        cached_request, route = self._cached_request, self._lease.route
        request = self._hold_content_back(self._request, is_settled=is_settled)
        is_cacheable = request is cached_request.request
        withheld = self._withheld if credentials is None else None
        if is_cacheable and cached_request.was_sent_with(
            route, credentials, upstream.key, withheld
        ):
            return cached_request.wire
        header_value = None
        if carried is not None:
            header_value = carried.header_value(request.method, request_target(request))
        wire = self._write(request, header_value, persists=upstream.is_authenticated)
        if is_cacheable:
            cached_request.store_sent(wire, route, credentials, upstream.key, withheld)
        return wire

    def _hold_content_back(self, request: Request, *, is_settled: bool) -> Request:
        """Hold back unrepeatable content if the next hop may first require a login. Return the
        request, with an Expect field in that case (RFC 9110, section 10.1.1)."""
        writer = self._writer
        writer.holds_content = (
            self._lease.route.authenticates_requests
            and not is_settled
            and self._has_content
            and not self._omits_expectation
            and (self._wants_continue or not writer.replay_buffer.is_complete)
            and not request.expects_continue
        )
        return replace(request, expects_continue=True) if writer.holds_content else request

    def _write(
        self, request: Request, header_value: bytes | None, *, persists: bool = False
    ) -> bytes:
        """Return the serialized head of a request."""
        direct = self._lease.route.is_direct
        via = self._downstream.context.own_address.via
        return write_request(
            request, via=via, credentials=header_value, direct=direct, request_keep_alive=persists
        )

    # --- refusals ---

    def _is_challenge(self, response: Response, carried: Credentials | None) -> bool:
        """Return True if a response refuses the request for lack of a login or of the right login.
        Store its challenges.

        Raises:
            RequestRefusedError: The response comes from a site, which may not require a proxy
                login.
        """
        route = self._lease.route
        if response.status == 407 and route.is_direct:
            self._downstream.drop_upstream()
            raise RequestRefusedError(SITE_WANTS_SIGN_IN)
        challenges = self._lease.auth.challenge_detector.challenges_in(
            response, self._request.method, route.upstream_id, carried
        )
        if challenges is None:
            return False
        self._challenges, self._is_challenged = challenges, True
        self._challenged_on = self._downstream.upstream
        self._note_site_challenged()
        return True

    def _note_site_served(self, upstream: UpstreamConnection, response: Response) -> None:
        """Record the site as exempt if a request without a login has reached it."""
        context, upstream_id = self._downstream.context, self._lease.route.upstream_id
        site = self._request.target.authority
        is_current = upstream.key.epoch == context.pool.epoch
        if (
            upstream_id is None
            or site is None
            or not self._lease.route.authenticates_requests
            or not is_current
        ):
            return
        if has_reached_site(response, self._request):
            self._lease.auth.exempt_sites.note_served(upstream_id, site)

    def _note_site_challenged(self) -> None:
        """Record the site as requiring a login."""
        context, upstream_id = self._downstream.context, self._lease.route.upstream_id
        site = self._request.target.authority
        if (
            upstream_id is not None
            and site is not None
            and self._lease.auth.exempt_sites.note_challenged(upstream_id, site)
        ):
            # Drop the cached requests without a login, so the fast path does not repeat them.
            context.caches.requests.clear()

    async def discard_response(
        self,
        upstream: UpstreamConnection,
        response: Response,
        *,
        in_handshake: bool = False,
        method: bytes | None = None,
    ) -> bool:
        """Read and discard the rest of a response instead of relaying it, if this is quick (R-084).

        Args:
            upstream: The connection of the response.
            response: The head of the response.
            in_handshake: True if the next leg must go over the same connection. HTTP/1.0 proxies
                expect this without announcing a persistent connection (R-120).
            method: The method of the answered request; None for the client's request.

        Returns:
            True if the connection can carry the next request. Otherwise the connection is closed.
        """
        persists = response.keep_alive or (
            in_handshake
            and b"close" not in connection_options(response.fields)
            and not isinstance(response.framing, UntilClose)
        )
        # Squid announces keep-alive but does not read content after refusing it. Other proxies
        # announce keep-alive and close: a request to be sent only once needs a new connection.
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
        """Read the content of a refusal. Return True if the content was complete and no octets
        followed it."""
        context, stream = self._downstream.context, upstream.stream
        max_octets = context.limits.max_drain_octets
        upstream.leftover = LeftoverContent.of(response, method, max_octets)
        body = response_body_reader(response.framing)
        octets_left = max_octets
        deadline = context.loop.time() + context.limits.drain_407_s
        self._downstream.deadline = None
        try:
            while not body.done:
                if stream.inbox or stream.fill():
                    data = stream.take_inbox()
                    octets_left -= len(data)
                    _, used = body.feed(data)
                    if used < len(data):
                        return False
                    if octets_left < 0:
                        return body.done
                elif stream.ended:
                    return False
                else:
                    remaining_s = deadline - context.loop.time()
                    wait = IoWait({stream.descriptor: READ}, timeout=max(0.0, remaining_s))
                    if remaining_s <= 0 or await self._lease.wait(wait) == TIMED_OUT:
                        return False
        except (OSError, MessageError):
            return False
        upstream.skip_leftover()
        return not stream.inbox and not stream.ended and (body.is_unambiguous or in_handshake)


def _may_cost_failed_logon(credentials: Credentials) -> bool:
    """Return True if the upstream may count a refusal of these credentials as a failed log-on. A
    Kerberos ticket contains no password."""
    return credentials.login is not None and credentials.scheme.family != "negotiate"
