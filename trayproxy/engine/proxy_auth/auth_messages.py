"""The messages of an authentication exchange: which head is sent, with which content, and whether
the response is a refusal."""

from collections.abc import Awaitable
from dataclasses import replace
from enum import Enum, auto

from trayproxy.auth.scheme import Leg, Verdict
from trayproxy.desk.credentials import Credentials
from trayproxy.engine.proxy_auth.auth_port import (
    AuthChallenge,
    AuthOutcome,
    AuthPort,
    ConnectionFacts,
    ConnectionLostError,
    Message,
)
from trayproxy.engine.proxy_auth.repeat_rules import (
    RESENDABLE_METHODS,
    LostRequest,
    Repeat,
    repeat_of,
)
from trayproxy.engine.transfer.replay_buffer import MAX_IN_MEMORY
from trayproxy.http.challenges import Challenge
from trayproxy.http.framing import Length, NoBody, UntilClose
from trayproxy.http.hop_by_hop import connection_options
from trayproxy.http.request import Request
from trayproxy.http.response import Response


class AttemptBrokenError(Exception):
    """The connection was closed, so the current step cannot be completed on it.

    Attributes:
        is_counted: True if the loss counts towards `MAX_LOST_CONNECTIONS`.
        may_retry: True if the step may be repeated on another connection.
        was_unused: True if no response had ever arrived on the connection.
    """

    def __init__(
        self, *, is_counted: bool = True, may_retry: bool = True, was_unused: bool = False
    ) -> None:
        super().__init__("the connection is lost")
        self.is_counted = is_counted
        self.may_retry = may_retry
        self.was_unused = was_unused


class _Expectation(Enum):
    """When TrayProxy adds an Expect field to content that may be refused."""

    IF_UNREPEATABLE = auto()
    ALWAYS = auto()
    NEVER = auto()
    """The next hop does not support the field."""


class AuthMessages:
    """The messages of one exchange. Each is sent on the connection in use.

    Attributes:
        has_content: True if the request has content.
        is_sent_once: True if a connection kept open after a refusal may not carry the request: it
            has content or is not idempotent.
        is_on_trial: True if the login of the attempt may be sent only once.
        challenges: The challenges of the last refusal; empty before the first refusal.
        challenged_on: The number of the connection of the last refusal; None before the first
            refusal.
    """

    def __init__(self, port: AuthPort, request: Request) -> None:
        self._port = port
        self.request = request
        framing = request.framing
        self.has_content = not isinstance(framing, NoBody) and framing != Length(0)
        self.is_sent_once = self.has_content or request.method not in RESENDABLE_METHODS
        self.is_on_trial = False
        self.challenges: tuple[Challenge, ...] = ()
        self.challenged_on: int | None = None
        was_cut_off = self.has_content and port.detector.take_upload_cut_off(port.route.upstream_id)
        self._expectation = _Expectation.ALWAYS if was_cut_off else _Expectation.IF_UNREPEATABLE

    def forget_challenge(self) -> None:
        """Forget the last refusal: another upstream may answer next, or the challenge may have
        expired."""
        self.challenges, self.challenged_on = (), None

    def send_with(
        self,
        connection: ConnectionFacts,
        credentials: Credentials | None,
        carried: Credentials | None,
        withheld: Credentials | None = None,
    ) -> Awaitable[Response]:
        """Send the request with constant credentials, or on an authenticated connection; see
        `Message` for the credentials."""
        # The next hop will not require other credentials.
        is_settled = connection.is_authenticated or (carried is not None and not self.is_on_trial)
        message = Message(
            self.request,
            credentials,
            carried,
            withheld=withheld if credentials is None else None,
            holds_content=self.has_content and self._holds_content(is_settled=is_settled),
            keeps_connection=connection.is_authenticated,
        )
        return self.send(message)

    async def send_without_login(
        self, connection: ConnectionFacts, step: Leg | Verdict | None = None
    ) -> AuthOutcome | None:
        """Send the request without a login, to find out whether the next hop requires a login.

        Without this request, the first leg of a handshake would reach the site without its content
        if the next hop requires no login.

        Return None if the next hop requires a login. If the first step of a handshake is already a
        verdict, it is returned with the challenges, from which the desk chooses the next scheme.
        """
        response = await self.send_with(connection, None, None)
        if not self.is_challenge(connection, response, None):
            self._port.note_served(response)
            return AuthOutcome(response)
        await self.discard(response)
        if isinstance(step, Verdict):
            return AuthOutcome(challenge=AuthChallenge(self.challenges, step))
        return None

    def send_leg(self, credentials: Credentials, leg: Leg) -> Awaitable[Response]:
        """Send the request with the credentials of a leg, without content if the leg has none."""
        is_bound, request = credentials.scheme.binds_connection, self.request
        has_content, holds_content = leg.with_content or not self.has_content, False
        if not has_content:
            request = replace(request, framing=Length(0), expects_continue=False)
        elif self.has_content:
            holds_content = self._holds_content(is_settled=is_bound and not self.is_on_trial)
        message = Message(
            request,
            credentials,
            credentials if leg.with_content and leg.credentials else None,
            leg.credentials,
            has_content=has_content,
            holds_content=holds_content,
            keeps_connection=is_bound,
        )
        return self.send(message)

    def probes_by_head(self, credentials: Credentials) -> bool:
        """Return True if a HEAD request of TrayProxy's own obtains the challenge in place of this
        request.

        After the 407 of a request to be sent only once, the connection is not reused (see
        `discard`). After the 407 of a HEAD request, the connection is reused, so the login answers
        a challenge of its own connection and a refusal is conclusive.
        """
        is_bound = credentials.scheme.binds_connection or credentials.is_constant
        return self.is_sent_once and not is_bound

    async def send(self, message: Message) -> Response:
        """Send a message once and return the head of its final response.

        Raises:
            AttemptBrokenError: The connection was closed before the response, or the attempt must
                start again without an Expect field.
            RequestRefusedError: There is no response.
        """
        try:
            response = await self._port.send(message)
        except ConnectionLostError as lost:
            may_retry = not message.has_content or self._may_resend(message, lost)
            was_unused = not lost.connection.was_used
            raise AttemptBrokenError(may_retry=may_retry, was_unused=was_unused) from lost
        if response.status == 417 and message.holds_content:
            # The next hop does not support the Expect field that TrayProxy has added.
            self._expectation = _Expectation.NEVER
            raise AttemptBrokenError(is_counted=False)
        return response

    def _may_resend(self, message: Message, lost: ConnectionLostError) -> bool:
        """Return True if the whole request may be sent again after its connection was lost."""
        port = self._port
        repeat = repeat_of(
            LostRequest(
                self.request.method,
                port.progress,
                message.carried,
                self.is_on_trial,
                message.carried is None
                and not lost.connection.is_authenticated
                and port.route.authenticates_requests,
                lost.request_was_unread,
                lost.connection.was_used,
            )
        )
        if repeat is Repeat.NEXT_EXPECTING_100:
            port.detector.note_upload_cut_off(port.route.upstream_id)
        elif repeat is Repeat.EXPECTING_100 and self._expectation is not _Expectation.NEVER:
            self._expectation = _Expectation.ALWAYS
        return repeat in (Repeat.YES, Repeat.EXPECTING_100)

    def _holds_content(self, *, is_settled: bool) -> bool:
        """Return True if unrepeatable content waits for a 100 response, because the next hop may
        first require a login, or another login if not `is_settled` (RFC 9110, section 10.1.1)."""
        return (
            not is_settled
            and self._port.route.authenticates_requests
            and self._expectation is not _Expectation.NEVER
            and (self._expectation is _Expectation.ALWAYS or not self._port.progress.is_repeatable)
            and not self.request.expects_continue
        )

    async def read_content_ahead(self) -> bool:
        """Read the content to be covered by the credentials; see `AuthPort.read_content`. Return
        True if all of it was read just now."""
        port, framing = self._port, self.request.framing
        progress = port.progress
        is_too_large = isinstance(framing, Length) and framing.octets > MAX_IN_MEMORY
        if progress.content_is_read or is_too_large:
            return False
        if self.request.expects_continue and not progress.content_was_read:
            # The next hop sends no 100 before it has the credentials, so TrayProxy sends one.
            await port.send_continue()
            self.request = replace(self.request, expects_continue=False)
        await port.read_content()
        return port.content is not None

    def is_challenge(
        self, connection: ConnectionFacts, response: Response, carried: Credentials | None
    ) -> bool:
        """Return True if a response refuses the request for lack of a login or of the right login,
        and store its challenges; see `AuthPort.challenges_in`."""
        challenges = self._port.challenges_in(response, self.request.method, carried)
        if challenges is None:
            return False
        self.challenges, self.challenged_on = challenges, connection.number
        return True

    async def discard(
        self,
        response: Response,
        *,
        in_handshake: bool = False,
        was_whole: bool = True,
        method: bytes | None = None,
    ) -> bool:
        """Read and discard the rest of a response instead of relaying it, if this is quick (R-084).
        Return True if the connection can carry the next request; otherwise it is closed.

        Args:
            in_handshake: True if the next leg must go over the same connection. HTTP/1.0 proxies
                expect this without announcing a persistent connection (R-120).
            was_whole: True if the client's whole request was sent, False for a head without its
                content.
            method: The method of the answered request; None for the client's request.
        """
        persists = response.keep_alive or (
            in_handshake
            and b"close" not in connection_options(response.fields)
            and not isinstance(response.framing, UntilClose)
        )
        # Squid announces keep-alive but does not read content after refusing it. Other proxies
        # announce keep-alive and close: a request to be sent only once needs a new connection.
        is_read = not self.is_sent_once or not was_whole or in_handshake
        if (
            persists
            and is_read
            and self._port.progress.is_sent
            and await self._port.drain(
                response, method or self.request.method, in_handshake=in_handshake
            )
        ):
            return True
        self._port.drop()
        return False
