"""The port of the authentication exchange: its values, and the interface to connections, messages
and the desk.

The exchange (`trayproxy.engine.proxy_auth.auth_exchange`) uses no socket, no clock and no event
loop. A driver implements `AuthPort`: `trayproxy.engine.proxy_auth.stream_auth_port` for the
requests of clients and for preconnects, `trayproxy.engine.proxy_auth.own_auth_port` for the
requests of TrayProxy itself.
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

from trayproxy.auth.scheme import Handshake, Leg, Verdict, VerdictKind
from trayproxy.desk.credentials import Credentials
from trayproxy.engine.error_pages import TOO_LARGE_TO_REPEAT, RequestRefusedError
from trayproxy.engine.proxy_auth.challenge_detection import ChallengeDetector
from trayproxy.engine.upstream.route import Route
from trayproxy.http.challenges import Challenge
from trayproxy.http.request import Request, request_target, write_request
from trayproxy.http.response import Response

SERVER_SILENT = Verdict(
    VerdictKind.UNUSABLE, "The company's sign-in server does not answer.", is_transient=True
)

Reuse = Literal["none", "current", "idle", "idle for challenge"]
"""Which connection a message may use besides a new one: none; the connection in use; also an idle
connection. An idle connection may be dead, so it carries no login on trial, which is sent only
once, unless a new challenge is obtained on it before. It is then used even for a tunnel."""


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


class ConnectionFacts(NamedTuple):
    """The state of the connection in use.

    Attributes:
        number: The number of the connection in this exchange. A connection gets a new number each
            time it is obtained.
        is_authenticated: See `UpstreamConnection.is_authenticated`.
        was_used: True if a response has arrived on the connection.
    """

    number: int
    is_authenticated: bool = False
    was_used: bool = False


class ConnectionLostError(Exception):
    """The connection ended before the response to a message; see `ResponseBrokenError`."""

    def __init__(self, connection: ConnectionFacts, *, request_was_unread: bool = False) -> None:
        super().__init__("the connection is lost")
        self.connection = connection
        self.request_was_unread = request_was_unread


class Progress(NamedTuple):
    """How much of the request was read from the client and sent.

    Attributes:
        was_sent: True if octets of the message were sent on the current connection.
        is_sent: True if the kernel has accepted the whole message.
        content_was_read: True if octets of the content were read from the client.
        content_is_read: True if the client has sent the whole content.
        is_repeatable: True if all the content read so far is held, so that it can be sent again.
    """

    was_sent: bool = False
    is_sent: bool = False
    content_was_read: bool = False
    content_is_read: bool = True
    is_repeatable: bool = True

    @property
    def is_whole(self) -> bool:
        """True if the request can be sent again from its first octet."""
        return self.is_repeatable or not self.content_was_read


class Message(NamedTuple):
    """One message to the next hop: the request of the exchange, or a part of a handshake.

    Attributes:
        credentials: The credentials of the message, in its head or by its connection; None for
            none.
        carried: The credentials in the head, which the next hop may refuse; None without
            credentials, or with a leg which costs no log-on.
        leg: The value of ``Proxy-Authorization`` for a leg of a handshake; None for the constant
            value of `carried`.
        withheld: See `Attempt`.
        has_content: True if the content of the client's request follows the head.
        holds_content: True if the content waits for a 100 response of the next hop. TrayProxy adds
            the Expect field.
        keeps_connection: True if the connection must stay open after the response.
        is_own: True for a HEAD request of TrayProxy's own in place of the client's request.
    """

    request: Request
    credentials: Credentials | None = None
    carried: Credentials | None = None
    leg: bytes | None = None
    withheld: Credentials | None = None
    has_content: bool = True
    holds_content: bool = False
    keeps_connection: bool = False
    is_own: bool = False

    def write_head(self, via: bytes, *, direct: bool) -> bytes:
        """Return the octets of the head, in the form for the target itself if `direct`."""
        request, value = self.request, self.leg or None
        if self.holds_content:
            request = replace(request, expects_continue=True)
        if self.carried is not None and self.leg is None:
            value = self.carried.header_value(request.method, request_target(request))
        return write_request(
            request,
            via=via,
            credentials=value,
            direct=direct,
            request_keep_alive=self.keeps_connection,
        )


class Attempt(NamedTuple):
    """The parameters of the next attempt to send a request.

    Attributes:
        is_on_trial: True if no upstream has ever accepted the login. The login is then sent only
            once, whatever happens.
        is_from_desk: True if the desk gave the credentials to this request and expects an outcome.
        needs_new_connection: True if the attempt must not reuse a connection.
        withheld: The known credentials which are not sent because the site is exempt. The request
            may use a connection authenticated with them, as other requests do.
    """

    credentials: Credentials | None
    is_on_trial: bool = False
    is_from_desk: bool = False
    needs_new_connection: bool = False
    withheld: Credentials | None = None

    def shared_login(self, method: bytes) -> Credentials | None:
        """Return the login whose authenticated connections a request without a login may use; None
        if it may not use them.

        With shared connections, a program needs only one connection for exempt and other sites. A
        tunnel may not use an authenticated connection, because it would consume it.
        """
        withheld = self.withheld
        if withheld is None or (method == b"CONNECT" and withheld.scheme.binds_connection):
            return None
        return withheld


class PendingLogin(NamedTuple):
    """The login of an attempt which was ended by an exception.

    Attributes:
        is_on_trial: See `Attempt`.
        handshake: The handshake that classifies a refusal; None if every refusal rejects the login.
        is_other_connection: True if the credentials left on another connection than their
            challenge.
        was_sent: True if the login was sent and may have cost a log-on.
    """

    credentials: Credentials
    is_on_trial: bool
    handshake: Handshake | None = None
    is_other_connection: bool = False
    was_sent: bool = False


@dataclass(frozen=True, slots=True)
class AuthChallenge:
    """The refusal of a request by a next hop, with the verdict on the login in the request; None if
    the request carried no login."""

    challenges: tuple[Challenge, ...]
    verdict: Verdict | None = None


class AuthOutcome(NamedTuple):
    """The outcome of one attempt to send a request, or of a part of it. A CONNECT on a direct route
    has neither a response nor a challenge: the target is connected.

    Attributes:
        credentials: The credentials of the attempt, with the permit of the desk.
        login_was_accepted: True if the response answers a request with the login, or the last leg
            of a handshake.
    """

    response: Response | None = None
    challenge: AuthChallenge | None = None
    credentials: Credentials | None = None
    login_was_accepted: bool = False


class RequestBroker:
    """The desk (`trayproxy.desk.broker.CredentialBroker`) and the preconnector, as the exchange of
    one request sees them.

    This base class is for requests of TrayProxy's own. `OwnRequest` obtains the permit before each
    attempt, and reports the outcome after it; it uses no connection authenticated ahead of need.
    Each coroutine raises `ClientGoneError` if the client disconnects meanwhile.
    """

    def is_superseded(self, credentials: Credentials) -> bool:
        """Return True if the desk no longer hands out this login: it was refused to another request
        or replaced."""
        return False

    async def request_permit(self, credentials: Credentials) -> tuple[Credentials | None, bool]:
        """Request the desk's permit to carry a login not accepted recently. A wait returns the
        connection in use to the pool.

        Returns:
            The credentials with the send permit, None if the login must not be sent; and True if
            the decision took time.
        """
        return credentials, False

    def report_lost(self, credentials: Credentials) -> None:
        """Report a login that was sent on a lost connection. The request may carry it again with
        another permit."""

    def report_interrupted(self, login: PendingLogin, error: BaseException) -> None:
        """Report the login of an attempt which ends with an exception."""

    def report_outcome(self, attempt: Attempt, outcome: AuthOutcome) -> None:
        """Report the outcome of an attempt."""

    async def await_preconnect(self, credentials: Credentials) -> bool:
        """Register the demand for an authenticated connection, and wait for the end of a preconnect
        that is in progress, which may be a refusal of the login. Return False if there is none."""
        return False

    def end_attempt(self) -> None:
        """Record that this request is authenticated or has failed."""

    def handshake_done(self, credentials: Credentials) -> None:
        """Record that this request needed several messages to authenticate its connection."""


class AuthPort(Protocol):
    """The connections and messages of the exchange of one request.

    At most one connection is in use at a time. Each coroutine raises `ClientGoneError` if the
    client disconnects meanwhile.

    Attributes:
        login_was_sent: True if the login of the attempt was sent and may have cost a log-on. Set by
            the driver, also if a wait raises an exception. Cleared by the exchange.
        is_sent: True if the request was sent before the exchange, and its response is still to be
            read.
    """

    login_was_sent: bool
    detector: ChallengeDetector
    is_sent: bool

    @property
    def route(self) -> Route:
        """The route of the request."""

    @property
    def progress(self) -> Progress:
        """How much of the request was read and sent."""

    @property
    def content(self) -> bytes | None:
        """The whole content of the request; None if it was not read completely, or is not in
        memory."""

    @property
    def end_point(self) -> bytes:
        """The channel binding ``tls-server-end-point`` of the connection obtained last; empty
        without TLS."""

    # --- connections ---

    async def acquire(self, credentials: Credentials | None, reuse: Reuse) -> ConnectionFacts:
        """Return the connection for a message with these credentials.

        Raises:
            UnreachableError: No connection to the next hop can be opened.
            AuthRequiredError: The upstream requires a login while connecting.
            RequestRefusedError: No connection can be opened.
        """

    def open_connection(self) -> ConnectionFacts | None:
        """Return the connection in use; None if there is none. A connection that the next hop has
        closed, or on which it has sent unsolicited octets, is closed first."""

    def drop(self) -> None:
        """Close the connection in use."""

    def mark_authenticated(self, credentials: Credentials) -> None:
        """Mark the connection in use as authenticated with these credentials."""

    def report_closed(self, *, was_unused: bool) -> RequestRefusedError:
        """Report that the next hop closed the connection instead of responding, and return the
        error to raise. No response had ever arrived on the connection if it `was_unused`."""

    # --- messages ---

    async def send(self, message: Message) -> Response:
        """Send a message on the connection in use and return the head of its final response.

        Raises:
            ConnectionLostError: The connection ended before the response.
            ContentNotRepeatableError: The content would have to be sent again, but is not held.
            RequestRefusedError: There is no response.
        """

    def challenges_in(
        self, response: Response, method: bytes, carried: Credentials | None
    ) -> tuple[Challenge, ...] | None:
        """Return the challenges of a refusal; None if the response is not a refusal. Raise
        `RequestRefusedError` if the response comes from a site, which may not require a proxy
        login."""

    def note_served(self, response: Response) -> None:
        """Record a response other than a refusal to a request without a login."""

    async def drain(self, response: Response, method: bytes, *, in_handshake: bool) -> bool:
        """Read and discard the content of a response, if this is quick. Return True if the
        connection can carry the next message; see `UpstreamConnection.drain`."""

    async def send_continue(self) -> None:
        """Send the client a 100 response to ask for its content."""

    async def read_content(self) -> None:
        """Read the content of the request until it is complete or too large for `content`. A
        connection that the next hop has closed meanwhile is closed.

        Raises:
            RequestBodyError: The content is malformed, or does not arrive in time.
            OSError: The client's connection failed.
        """

    async def run_step(
        self, credentials: Credentials, handshake: Handshake, challenges: tuple[Challenge, ...]
    ) -> Leg | Verdict:
        """Return the next step of a handshake. A blocking step runs in a thread."""
