"""The legs of a handshake: the messages which authenticate one request or one connection.

Every handshake is completed: a proxy reserves a helper process for each handshake, and Squid with
four helpers does not answer a fifth client while four handshakes are incomplete.
"""

from trayproxy.auth.scheme import Handshake, Leg, RequestToAuthenticate, Verdict, VerdictKind
from trayproxy.desk.credentials import Credentials
from trayproxy.engine.proxy_auth.auth_messages import AttemptBrokenError, AuthMessages
from trayproxy.engine.proxy_auth.auth_port import (
    AuthChallenge,
    AuthOutcome,
    AuthPort,
    ConnectionFacts,
    LoginSupersededError,
    PendingLogin,
    RequestBroker,
)
from trayproxy.engine.proxy_auth.head_probe import probe_by_head
from trayproxy.http.request import request_target
from trayproxy.http.response import Response

MAX_LEGS = 8
"""The most legs of one handshake. Digest needs four if its nonces become stale, Kerberos two."""
ENDLESS_HANDSHAKE = Verdict(VerdictKind.UNUSABLE, "The proxy's sign-in comes to no end.")
SPORADIC_CHALLENGE = Verdict(
    VerdictKind.UNUSABLE, "The proxy asks for a sign-in only now and then."
)


class HandshakeLegs:
    """Sends the legs of the handshakes of one attempt. `last_sent` is the login of the last leg
    sent; None before the first leg."""

    def __init__(self, port: AuthPort, broker: RequestBroker, messages: AuthMessages) -> None:
        self._port = port
        self._broker = broker
        self._messages = messages
        self.last_sent: PendingLogin | None = None

    async def run(self, first: ConnectionFacts, credentials: Credentials) -> AuthOutcome | None:
        """Send the legs of a handshake until there is a response or a verdict. Return None if the
        request must be sent again with the challenges now known.

        Raises:
            AttemptBrokenError: The connection was closed, and the handshake is incomplete.
            LoginSupersededError: The login was refused to another request in the meantime.
            RequestRefusedError: There is no response.
        """
        messages, is_bound, legs = self._messages, credentials.scheme.binds_connection, 0
        handshake, step = await self._begin(credentials)
        is_borrowed = messages.challenged_on is None  # The challenge is of another request's 407.
        is_premature = isinstance(step, Verdict) or (messages.has_content and not step.with_content)
        if is_premature and is_borrowed:
            return await messages.send_without_login(first, step)
        while isinstance(step, Leg):
            legs += 1
            connection = await self._connection_for(step, credentials)
            is_other = connection.number != messages.challenged_on
            classifier = None if is_bound else handshake
            self.last_sent = PendingLogin(credentials, messages.is_on_trial, classifier, is_other)
            response = await messages.send_leg(credentials, step)
            carried = credentials if step.credentials else None
            if not messages.is_challenge(connection, response, carried):
                handshake.finish(response.fields)
                return await self._accepted(credentials, step, response, is_first=legs == 1)
            is_open = await messages.discard(
                response,
                in_handshake=is_bound and step.credentials != b"",
                was_whole=step.with_content or not messages.has_content,
            )
            step = ENDLESS_HANDSHAKE
            if legs < MAX_LEGS:
                step = await self._port.run_step(credentials, handshake, messages.challenges)
            may_probe = isinstance(step, Leg) and is_borrowed and not is_open
            if may_probe and self._may_be_unknown_nonce(credentials):
                is_borrowed = False
                if await self._obtained_nonce(credentials):
                    handshake, step = await self._begin(credentials)
            if isinstance(step, Verdict):
                step = step.on_other_connection() if is_other else step
                if step.lacks_content:
                    handshake, step = await self._begin(credentials)
        if is_bound:
            # The handshake is incomplete: Squid accepts no other handshake on this connection.
            self._port.drop()
        return AuthOutcome(challenge=AuthChallenge(messages.challenges, step))

    async def _begin(self, credentials: Credentials) -> tuple[Handshake, Leg | Verdict]:
        """Return a new handshake and its first step. Read the content of the request first if the
        credentials have to cover it."""
        port, messages = self._port, self._messages
        while True:
            request = messages.request
            parts = RequestToAuthenticate(
                request.method, request_target(request), port.content, port.end_point
            )
            handshake = credentials.authenticator.begin(parts)
            step = await port.run_step(credentials, handshake, messages.challenges)
            if (
                isinstance(step, Leg)
                or not step.lacks_content
                or not await messages.read_content_ahead()
            ):
                return handshake, step

    async def _connection_for(self, leg: Leg, credentials: Credentials) -> ConnectionFacts:
        """Return the connection for a leg.

        Raises:
            AttemptBrokenError: The leg needs the connection of the last 407, which is closed.
            LoginSupersededError: The login was refused to another request since the first leg: this
                leg would cost a second log-on.
        """
        port, is_on_trial = self._port, self._messages.is_on_trial
        connection = port.open_connection()
        if connection is None and not leg.same_connection:
            connection = await port.acquire(credentials, "current" if is_on_trial else "idle")
        if connection is None:
            raise AttemptBrokenError
        if leg.with_content and not is_on_trial and self._broker.is_superseded(credentials):
            port.drop()
            raise LoginSupersededError
        return connection

    async def _accepted(
        self, credentials: Credentials, leg: Leg, response: Response, *, is_first: bool
    ) -> AuthOutcome:
        """Return the response to an accepted leg, or the response to the complete request."""
        port, messages = self._port, self._messages
        if leg.with_content and leg.credentials:
            if credentials.scheme.binds_connection:
                port.mark_authenticated(credentials)
            if not is_first:
                self._broker.handshake_done(credentials)
            return AuthOutcome(response, login_was_accepted=True)
        if leg.with_content or not messages.has_content:
            return AuthOutcome(response)
        # This is a response to a request without content, which the client has not sent. The next
        # hop has sent a 407 before and is inconsistent: it gets the complete request.
        port.drop()
        connection = await port.acquire(None, "none")
        response = await messages.send_with(connection, None, None)
        if not messages.is_challenge(connection, response, None):
            return AuthOutcome(response)
        port.drop()
        return AuthOutcome(challenge=AuthChallenge(messages.challenges, SPORADIC_CHALLENGE))

    async def _obtained_nonce(self, credentials: Credentials) -> bool:
        """Return True if a HEAD request on a new connection has obtained a challenge."""
        connection = await self._port.acquire(credentials, "none")
        return await probe_by_head(self._port, self._messages, connection)

    def _may_be_unknown_nonce(self, credentials: Credentials) -> bool:
        """Return True if the last 407 may mean that the proxy does not know the nonce, rather than
        that the nonce is stale, and if a HEAD request can obtain a new nonce."""
        is_stale = any(
            (challenge.param("stale") or "").lower() == "true"
            for challenge in self._messages.challenges
            if challenge.scheme == "digest"
        )
        return not is_stale and self._messages.probes_by_head(credentials)
