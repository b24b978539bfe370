"""What a request carries, and where it waits for it."""

from asyncio import AbstractEventLoop, Future, TimerHandle
from collections.abc import Callable
from dataclasses import dataclass, field

from trayproxy.auth.login import Login
from trayproxy.auth.scheme import Leg, Offer, RequestToSign, Scheme, Signer
from trayproxy.control.messages import Program
from trayproxy.desk.problems import Refusal
from trayproxy.desk.protection_space import LoginId, UpstreamId
from trayproxy.http.challenges import Challenge


@dataclass(slots=True)
class PendingRequest:
    """A request that a 407 came for; the same one each time that it comes back with a 407.

    Attributes:
        target: Where it wants to go, ``github.com:443``. Untrusted.
        program: Who sent it, None while that is not known. The desk writes down what it finds out.
        connection: Whatever the service needs to find that out; the desk does not look at it.
        is_own: True if TrayProxy sent the request itself, to verify a login. No prompt names it.
        refused_with: With which logins, and in which ways
            (`trayproxy.desk.machine.events.OfferedScheme.name`), it has been refused. The desk
            keeps this, and `realm_mismatches`.
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
    """What a login has been good for.

    Attributes:
        is_recent: It was accepted so recently that another acceptance is no news.
    """

    is_recent: bool = False
    _timer: TimerHandle | None = field(default=None, repr=False)

    def refresh(self, loop: AbstractEventLoop, seconds: float) -> None:
        """Take note that it was accepted just now.

        Args:
            loop: Its clock counts.
            seconds: For how long that is recent.
        """
        if self._timer is not None:
            self._timer.cancel()
        self.is_recent = True
        self._timer = loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        self.is_recent, self._timer = False, None


@dataclass(frozen=True, slots=True, eq=False)
class Credentials:
    """What a request carries. Two answers are the same if they are one object.

    Attributes:
        login_id: Which login of which protection space.
        login: That login; None for one's own sign-in, a ticket or the log-on to Windows.
        scheme: How it is used.
        challenge: What it answers.
        signer: Signs requests with it.
        acceptance: Shared by all answers with this login.
        offers: All that the scheme was chosen from.
        has_changed_realm: The request has been sent from one realm to another already.
        permit: What the desk calls the one request that carries this; 0 if the login was proved
            lately and any request may carry it.
    """

    login_id: LoginId
    login: Login | None
    scheme: Scheme
    challenge: Challenge
    signer: Signer = field(repr=False)
    acceptance: AcceptanceRecord = field(repr=False)
    offers: tuple[Offer, ...] = field(default=(), repr=False)
    has_changed_realm: bool = False
    permit: int = 0

    @property
    def upstream_id(self) -> UpstreamId:
        """The only upstream that it may be sent to."""
        return self.login_id.space.upstream_id

    @property
    def generation(self) -> int:
        """Grows with every new login of the protection space."""
        return self.login_id.generation

    @property
    def is_recently_accepted(self) -> bool:
        """Whether the desk need not be told that it was accepted once more.

        False again some seconds after the last time: the desk has to know whether a login that is
        refused all of a sudden was accepted moments ago.
        """
        return self.acceptance.is_recent

    @property
    def is_constant(self) -> bool:
        """Whether the credentials of a request may be kept together with its head."""
        return self.signer.is_constant

    @property
    def label(self) -> str:
        """How strong it is, as in `trayproxy.auth.scheme.Offer`."""
        return Offer(self.scheme, self.challenge).label

    def header_value(self, method: bytes, target: bytes) -> bytes:
        """Return the value of ``Proxy-Authorization`` for a request, of a scheme with one leg.

        Args:
            method: Of the request.
            target: Its request-target as sent.
        """
        leg = self.signer.begin(RequestToSign(method, target)).step(())
        assert isinstance(leg, Leg), "this scheme has more to it than one leg"
        return leg.credentials


Outcome = Credentials | Refusal | None
"""What comes of waiting at the desk: something to send, something to tell the client, or None: send
the request without anything, to hear once more what is offered."""


class CredentialsFuture(Future[Outcome]):
    """Where a request waits. Cancelling it tells the desk at once that the client has left.

    At once, because between a cancellation and its callback the desk could spend the one try of a
    login on a client that has gone.
    """

    def __init__(self, loop: AbstractEventLoop, on_cancel: Callable[[], None]) -> None:
        """Take a seat.

        Args:
            loop: The loop of the desk.
            left: Called when the client leaves before it was served.
        """
        super().__init__(loop=loop)
        self._on_cancel = on_cancel

    def cancel(self, msg: object = None) -> bool:
        """Give the seat up; return False if it was served already."""
        was_waiting = super().cancel(msg)
        if was_waiting:
            self._on_cancel()
        return was_waiting
