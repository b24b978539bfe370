"""The credentials for a request, and the future on which a request waits for them."""

from asyncio import AbstractEventLoop, Future, TimerHandle
from collections.abc import Callable
from dataclasses import dataclass, field

from trayproxy.auth.login import Login
from trayproxy.auth.scheme import Authenticator, Leg, Offer, RequestToAuthenticate, Scheme
from trayproxy.desk.protection_space import LoginId, UpstreamId
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import Program, RefusalReason
from trayproxy.http.challenges import Challenge


@dataclass(slots=True)
class PendingRequest:
    """A request that received a 407. The same object is used each time the request comes back.

    Attributes:
        target: The request's target, ``github.com:443``. Untrusted.
        program: The client program of the request, None while it is not known. The desk sets it.
        connection: Data for the service to identify the program; the desk does not read it.
        is_own: True if TrayProxy sent the request itself, to verify a login. No prompt names it.
        refused_with: The logins, each with the name of the scheme
            (`trayproxy.desk.machine.events.OfferedScheme.name`), with which the request was
            refused. The desk maintains this attribute and `realm_mismatches`.
        realm_mismatches: How often a 407 named another realm than the login was meant for.
    """

    target: str
    program: Program | None = None
    connection: object = field(default=None, repr=False)
    is_own: bool = False
    refused_with: frozenset[tuple[LoginId, str]] = frozenset()
    realm_mismatches: int = 0


@dataclass(slots=True)
class AcceptanceRecord:
    """Records whether a login was accepted recently.

    Attributes:
        is_recent: True if a new acceptance need not be reported, as the login was accepted
            recently.
    """

    is_recent: bool = False
    _timer: TimerHandle | None = field(default=None, repr=False)

    def refresh(self, loop: AbstractEventLoop, seconds: float) -> None:
        """Record an acceptance of the login, which counts as recent for some seconds."""
        if self._timer is not None:
            self._timer.cancel()
        self.is_recent = True
        self._timer = loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        self.is_recent, self._timer = False, None


@dataclass(frozen=True, slots=True, eq=False)
class Credentials:
    """The credentials of a request. Instances are compared by identity.

    Attributes:
        login_id: The protection space and the generation of the login.
        login: The login; None for the own sign-in (a Kerberos ticket or the log-on to Windows).
        scheme: The authentication scheme.
        challenge: The challenge for the credentials.
        authenticator: Computes the credentials of a request.
        acceptance: When the login was last accepted; shared by all credentials with this login.
        offers: All offers from which the scheme was chosen.
        has_changed_realm: True if the request has already been moved to another realm.
        permit: The number of the send permit, if the desk permits exactly one request to carry
            these credentials; 0 if the login is proved and any request may carry it.
    """

    login_id: LoginId
    login: Login | None
    scheme: Scheme
    challenge: Challenge
    authenticator: Authenticator = field(repr=False)
    acceptance: AcceptanceRecord = field(repr=False)
    offers: tuple[Offer, ...] = field(default=(), repr=False)
    has_changed_realm: bool = False
    permit: int = 0

    @property
    def upstream_id(self) -> UpstreamId:
        """The only upstream to which the credentials may be sent."""
        return self.login_id.space.upstream_id

    @property
    def generation(self) -> int:
        """The generation of the login; it grows with every new login of the protection space."""
        return self.login_id.generation

    @property
    def is_recently_accepted(self) -> bool:
        """True if the desk does not need a report of another acceptance.

        It becomes False some seconds after the last reported acceptance, because the desk must
        know, when a login is suddenly refused, whether it was accepted moments ago.
        """
        return self.acceptance.is_recent

    @property
    def is_constant(self) -> bool:
        """True if the credentials of a request may be cached together with its head."""
        return self.authenticator.is_constant

    @property
    def label(self) -> str:
        """The strength of the scheme, as in `trayproxy.auth.scheme.Offer`."""
        return Offer(self.scheme, self.challenge).label

    def header_value(self, method: bytes, target: bytes) -> bytes:
        """Return the value of ``Proxy-Authorization`` for a method and a request-target as sent.

        The scheme must have a single leg.
        """
        leg = self.authenticator.begin(RequestToAuthenticate(method, target)).step(())
        assert isinstance(leg, Leg), "this scheme has more than one leg"
        return leg.credentials


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a client gets a 503. It never gets a 407, to which a browser would react with a prompt.

    Attributes:
        problem: The text of the error page. It contains no text from the network.
        retry_after: Seconds for ``Retry-After``; None if a retry cannot succeed.
        reason: Why the sign-in desk refuses the request; None if another part refuses it.
        details: The ``details`` of ``Proxy-Status`` (RFC 9209, section 2.1.2).
    """

    problem: Problem
    retry_after: int | None
    details: str
    reason: RefusalReason | None = None

    @property
    def is_declined(self) -> bool:
        """True if the user has closed the prompt with *Cancel* or *Not now*."""
        return self.reason is RefusalReason.DECLINED


Outcome = Credentials | Refusal | None
"""The result for a waiting request: credentials to send, a refusal for the client, or None: send
the request without a login, to get new challenges.
"""


class CredentialsFuture(Future[Outcome]):
    """The future on which a request waits for credentials.

    Cancelling the future notifies the desk synchronously. A done-callback would run later: in
    between, the desk could spend the only trial of a login on a client that has left.
    """

    def __init__(self, loop: AbstractEventLoop, on_cancel: Callable[[], None]) -> None:
        """Create the future; `on_cancel` is called when it is cancelled before it has a result."""
        super().__init__(loop=loop)
        self._on_cancel = on_cancel

    def cancel(self, msg: object = None) -> bool:
        """Cancel the future; return False if it already has a result."""
        was_waiting = super().cancel(msg)
        if was_waiting:
            self._on_cancel()
        return was_waiting
