"""The authentication exchange: the messages with an upstream about one request.

Basic and Digest authenticate each request. NTLM and Negotiate authenticate the connection: all legs
of a handshake go over one connection, and later requests on that connection carry no credentials
(MS-NTHT, section 3.1; RFC 4559, section 6).

The rules, most important first: a log-on is never spent twice, no request reaches a site in another
form than its client has sent, and no request is repeated if it may already have had an effect.

The exchange decides; `AuthPort` connects, sends, reads and waits.
"""

from typing import TYPE_CHECKING

from trayproxy.auth.scheme import Verdict, VerdictKind
from trayproxy.desk.credentials import Credentials
from trayproxy.engine.error_pages import CONNECTION_CLOSED, RequestRefusedError
from trayproxy.engine.proxy_auth.auth_messages import AttemptBrokenError, AuthMessages
from trayproxy.engine.proxy_auth.auth_port import (
    Attempt,
    AuthChallenge,
    AuthOutcome,
    AuthPort,
    ConnectionFacts,
    LoginSupersededError,
    PendingLogin,
    RequestBroker,
    Reuse,
    UnansweredError,
)
from trayproxy.engine.proxy_auth.head_probe import probe_by_head
from trayproxy.engine.proxy_auth.repeat_rules import may_repeat_without_login
from trayproxy.engine.upstream.connector import AuthRequiredError
from trayproxy.engine.upstream.route import Route
from trayproxy.http.request import Request
from trayproxy.http.response import Response

if TYPE_CHECKING:
    from trayproxy.engine.proxy_auth.handshake_legs import HandshakeLegs

MAX_LOST_CONNECTIONS = 1
"""The most lost connections after which an attempt starts again."""


class AuthExchange:
    """Sends one request, with or without a login, until there is a response or a refusal."""

    def __init__(self, port: AuthPort, broker: RequestBroker, request: Request) -> None:
        self._port = port
        self._broker = broker
        self._messages = AuthMessages(port, request)
        self._route: Route = port.route

    def _start(self, attempt: Attempt) -> None:
        """Start an attempt: clear the results of the last attempt."""
        port, messages = self._port, self._messages
        port.login_was_sent = False
        messages.is_on_trial = attempt.is_on_trial
        self._attempt = attempt
        self._permitted: Credentials | None = None
        self._legs: HandshakeLegs | None = None
        self._was_challenged_again = self._is_probing_idle = False
        if self._route is not port.route:
            self._route = port.route
            messages.forget_challenge()

    async def send(self, attempt: Attempt) -> AuthOutcome:
        """Send the request until there is a response or a refusal, and report the outcome to the
        desk. A CONNECT on a direct route only connects to the target.

        Raises:
            UnreachableError: No connection to the next hop can be opened.
            LoginSupersededError: The login was refused to another request in the meantime.
            RequestRefusedError: There is no response.
        """
        credentials = attempt.credentials
        self._start(attempt)
        try:
            result = await self._send_until_answered(credentials)
        except AuthRequiredError as wanted:
            rejected = Verdict(VerdictKind.REJECTED) if credentials is not None else None
            result = AuthOutcome(challenge=AuthChallenge(wanted.challenges, rejected))
        except BaseException as error:
            self._report_interrupted(error)
            raise
        outcome = AuthOutcome(
            result.response,
            result.challenge,
            self._permitted or credentials,
            result.login_was_accepted,
        )
        self._broker.report_outcome(attempt, outcome)
        return outcome

    async def discard(self, response: Response) -> bool:
        """Read and discard the rest of the final response; see `AuthMessages.discard`."""
        return await self._messages.discard(response)

    async def _send_until_answered(self, credentials: Credentials | None) -> AuthOutcome:
        """Send the request until there is a response or a refusal, at most twice on lost
        connections."""
        port = self._port
        try:
            if self._route.is_direct and self._messages.request.method == b"CONNECT":
                await self._acquire(credentials, fresh=True)
                return AuthOutcome()
            fresh, losses = self._attempt.needs_new_connection, 0
            while True:
                try:
                    result = await self._try(credentials, fresh=fresh)
                except AttemptBrokenError as broken:
                    port.drop()
                    # A connection lost after a 407 shows: this next hop closes connections after a
                    # 407. The loss of an idle connection before the request does not show that.
                    self._was_challenged_again = not self._is_probing_idle
                    self._is_probing_idle = False
                    losses += broken.is_counted
                    if losses > MAX_LOST_CONNECTIONS or not broken.may_retry:
                        raise self._connection_lost_error(broken) from broken
                    self._report_lost()
                    fresh = True
                    continue
                if result is not None:
                    return result
                fresh = False
        finally:
            self._broker.end_attempt()

    async def _try(self, credentials: Credentials | None, *, fresh: bool) -> AuthOutcome | None:
        """Send the request on a connection with the permit of the desk. Return None if the request
        must be sent again with the challenges now known."""
        is_answered = self._route.authenticates_requests
        while True:
            if (
                credentials is not None
                and is_answered
                and credentials.scheme.binds_connection
                and await self._broker.await_preconnect(credentials)
                and self._is_superseded(credentials)
            ):
                raise LoginSupersededError
            connection = await self._acquire(credentials, fresh=fresh)
            if credentials is None or not is_answered or connection.is_authenticated:
                return await self._try_on(connection, credentials)
            if self._is_challenge_needed_first(credentials):
                return await self._messages.send_without_login(connection)
            if not await self._waited_for_permit(credentials):
                return await self._try_on(connection, self._permitted)

    async def _try_on(
        self, connection: ConnectionFacts, credentials: Credentials | None
    ) -> AuthOutcome | None:
        """Send the request on this connection. Return None if the request must be sent again with
        the challenges now known."""
        port, messages = self._port, self._messages
        is_authenticated = connection.is_authenticated
        is_in_head = self._route.authenticates_requests and not is_authenticated
        carried = credentials if is_in_head else None
        if carried is not None and not carried.is_constant:
            if not port.is_sent and not self._is_challenge_needed_here(connection, carried):
                return await self._handshake_legs().run(connection, carried)
            self._is_probing_idle = self._was_challenged_again and connection.was_used
            result = None
            may_probe = messages.probes_by_head(carried)
            if not may_probe or not await probe_by_head(port, messages, connection):
                connection = await self._acquire(carried, fresh=False)
                result = await messages.send_without_login(connection)
            self._is_probing_idle = False
            return result
        withheld = self._attempt.withheld
        used = (credentials or withheld) if is_authenticated else carried
        response = await messages.send_with(connection, used, carried, withheld)
        if not messages.is_challenge(connection, response, carried):
            if carried is None and not is_authenticated:
                port.note_served(response)
            return AuthOutcome(response, login_was_accepted=carried is not None)
        if is_authenticated:
            raise AttemptBrokenError(is_counted=False)
        await messages.discard(response)
        verdict = Verdict(VerdictKind.REJECTED) if carried is not None else None
        return AuthOutcome(challenge=AuthChallenge(messages.challenges, verdict))

    def _handshake_legs(self) -> "HandshakeLegs":
        """Return the handshakes of the attempt. Most requests need none."""
        from trayproxy.engine.proxy_auth.handshake_legs import HandshakeLegs

        if self._legs is None:
            self._legs = HandshakeLegs(self._port, self._broker, self._messages)
        return self._legs

    # --- the connection ---

    async def _acquire(self, credentials: Credentials | None, *, fresh: bool) -> ConnectionFacts:
        port = self._port
        reuse: Reuse = "none" if fresh else "current" if self._attempt.is_on_trial else "idle"
        if credentials is None or self._route.authenticates_requests or port.is_sent:
            if not fresh and self._reuses_challenged_connection(credentials):
                reuse = "idle for challenge"
            method = self._messages.request.method
            return await port.acquire(credentials or self._attempt.shared_login(method), reuse)
        # The login is sent while connecting, and its verdict is known once that succeeds or fails.
        while await self._waited_for_permit(credentials):
            pass
        return await port.acquire(self._permitted, reuse)

    def _reuses_challenged_connection(self, credentials: Credentials | None) -> bool:
        """Return True if the login may go over an idle connection after a new challenge was
        obtained on it; a dead connection then costs no log-on.

        Behind a load balancer, the challenge of another connection may name another realm, if the
        proxies have different names. A new connection for each try would then never match.
        """
        if credentials is None or credentials.is_constant or credentials.scheme.binds_connection:
            return False
        return self._attempt.is_on_trial and not self._was_challenged_again

    def _is_challenge_needed_here(
        self, connection: ConnectionFacts, credentials: Credentials
    ) -> bool:
        """Return True if a new challenge must be obtained on this connection before the login is
        sent.

        Behind a load balancer, each connection may lead to another proxy, which accepts only its
        own challenges. A login on trial or not proved recently therefore answers a challenge of its
        own connection, because a refusal would count. This is done once per attempt: a next hop may
        close the connection after each 407.
        """
        may_count = self._attempt.is_on_trial or credentials.permit
        if credentials.scheme.binds_connection or not may_count:
            return False
        was_challenged_here = self._messages.challenged_on == connection.number
        if was_challenged_here or self._was_challenged_again:
            return False
        self._was_challenged_again = True
        return True

    def _is_challenge_needed_first(self, credentials: Credentials) -> bool:
        """Return True if the request must first be sent without the login, to obtain a new
        challenge.

        The challenge of an earlier request (a Digest nonce) may be too old, and not every upstream
        marks it as stale. A refusal would then require a second try with a new nonce, and the
        upstream would count two failed log-ons. A request without a login needs no permit.
        """
        is_old = (
            self._messages.challenged_on is None
            and not credentials.scheme.binds_connection
            and not credentials.is_constant
        )
        return is_old and self._permitted is None and self._needs_permit(credentials)

    # --- the permit of the desk ---

    def _is_superseded(self, credentials: Credentials) -> bool:
        """Return True if the desk no longer hands out this login. It never hands out a login on
        trial to other requests."""
        return not self._attempt.is_on_trial and self._broker.is_superseded(credentials)

    def _needs_permit(self, credentials: Credentials) -> bool:
        """Return True if sending these credentials may cost a log-on."""
        is_new = not self._attempt.is_on_trial and not self._port.is_sent
        return is_new and credentials.login is not None and not credentials.is_recently_accepted

    async def _waited_for_permit(self, credentials: Credentials) -> bool:
        """Obtain the desk's permit to carry the login. Return True if the permit took time; a
        connection must then be obtained again."""
        port = self._port
        if self._permitted is None and not self._needs_permit(credentials):
            self._permitted = credentials
        if self._permitted is not None:
            if not port.is_sent and self._is_superseded(credentials):
                raise LoginSupersededError
            return False
        self._permitted, has_waited = await self._broker.request_permit(credentials)
        if self._permitted is None:
            raise LoginSupersededError
        if has_waited:
            self._messages.forget_challenge()
        return has_waited

    # --- lost connections ---

    def _connection_lost_error(self, broken: AttemptBrokenError) -> RequestRefusedError:
        """Return the error to raise after the last lost connection."""
        port, messages = self._port, self._messages
        if port.login_was_sent and may_repeat_without_login(messages.request.method, port.progress):
            return UnansweredError(CONNECTION_CLOSED)
        return port.report_closed(was_unused=broken.was_unused)

    def _report_lost(self) -> None:
        """Report to the desk a login sent without a verdict. The request needs another permit
        before it carries the login again."""
        carried, port = self._permitted, self._port
        if carried is not None and port.login_was_sent and not self._attempt.is_on_trial:
            self._permitted, port.login_was_sent = None, False
            self._broker.report_lost(carried)

    def _report_interrupted(self, error: BaseException) -> None:
        """Report to the desk the login of an attempt which ends with this exception."""
        attempt, legs, was_sent = self._attempt, self._legs, self._port.login_was_sent
        carried = self._permitted or (attempt.credentials if attempt.is_from_desk else None)
        if carried is None:
            return
        pending = legs.last_sent if legs is not None else None
        if pending is None:
            pending = PendingLogin(carried, attempt.is_on_trial)
        login = pending._replace(credentials=carried, was_sent=was_sent)
        self._broker.report_interrupted(login, error)
