"""The state of a protection space.

The phases of a protection space and the transitions between them::

    NO_LOGIN ─► LOOKING_UP ─► UNVERIFIED ─► CHECKING ─► TRUSTED    login found in the keyring
                     │          ▲             │           │
                     ▼          │             ▼           ▼
                 PROMPTING ─────┘         PROMPTING ◄── (rejected by a 407)
                     │
                     ▼
                  SNOOZED                                          prompt declined

The own sign-in (SSO) needs neither the keyring nor a prompt: it goes from NO_LOGIN directly to
UNVERIFIED, and returns to UNVERIFIED while it cannot be used.

A `SpaceState` consists of frozen parts. The modules beside `trayproxy.desk.machine.machine` decide
about the changes and assign the new parts.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from math import inf

from trayproxy.auth.login import Login
from trayproxy.desk.machine.current_login import CurrentLogin, Doubt, LoginSource, Trial
from trayproxy.desk.machine.events import OfferedScheme
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.machine.prompt_state import REJECTION_REASONS, PromptState
from trayproxy.desk.protection_space import LoginId, ProtectionSpace, host_of
from trayproxy.domain.signin import Program, PromptReason, RefusalReason, SignInState
from trayproxy.profiles.profile import Profile


class SpacePhase(Enum):
    """The phase of the sign-in to a protection space."""

    NO_LOGIN = auto()
    """There is no login, and no request has needed one yet."""
    LOOKING_UP = auto()
    """The keyring is being read."""
    PROMPTING = auto()
    """The user must provide a login. The prompt may be open, queued or abandoned."""
    UNVERIFIED = auto()
    """There is a login, but it is not known to be right; the next request is its canary."""
    CHECKING = auto()
    """The canary has been sent with the login, and its verdict is outstanding."""
    TRUSTED = auto()
    """The login was accepted; all requests carry it."""
    SNOOZED = auto()
    """The user has declined the prompt; there is no prompt until the snooze ends."""


_P = SpacePhase
TRANSITIONS: Mapping[SpacePhase, Set[SpacePhase]] = {
    _P.NO_LOGIN: {_P.LOOKING_UP, _P.PROMPTING, _P.UNVERIFIED},
    _P.LOOKING_UP: {_P.NO_LOGIN, _P.PROMPTING, _P.UNVERIFIED, _P.SNOOZED},
    _P.PROMPTING: {_P.NO_LOGIN, _P.LOOKING_UP, _P.UNVERIFIED, _P.TRUSTED, _P.SNOOZED},
    _P.UNVERIFIED: {_P.NO_LOGIN, _P.PROMPTING, _P.CHECKING, _P.TRUSTED, _P.SNOOZED},
    _P.CHECKING: {_P.NO_LOGIN, _P.PROMPTING, _P.UNVERIFIED, _P.TRUSTED, _P.SNOOZED},
    _P.TRUSTED: {_P.NO_LOGIN, _P.PROMPTING, _P.UNVERIFIED},
    _P.SNOOZED: {_P.NO_LOGIN, _P.PROMPTING, _P.UNVERIFIED},
}
"""The permitted transitions: from each phase to its successors. Any other transition is a bug."""


@dataclass(frozen=True, slots=True)
class ParkedRequest:
    """A request waiting for a login; the other attributes are as in `RequestChallenged`.

    Attributes:
        parked_at: Time when it was parked.
        was_refused: True if the request has been refused with the current login.
        objection: Why the request waits for the user although the current login was accepted: the
            upstream demands a weaker scheme for this request (threat T5). None if it does not wait
            for the user.
    """

    request_id: int
    parked_at: float
    target: str
    program: Program | None
    offers: tuple[OfferedScheme, ...] = ()
    is_own: bool = False
    was_refused: bool = False
    refused_with: frozenset[tuple[LoginId, str]] = frozenset()
    objection: PromptReason | None = None

    def untried_offers(self, login_id: LoginId) -> tuple[OfferedScheme, ...]:
        """Return the offers with which this login has not been refused for this request."""
        return tuple(
            offer for offer in self.offers if (login_id, offer.name) not in self.refused_with
        )


@dataclass(frozen=True, slots=True)
class SchemeBackoff:
    """The back-off of a failed scheme.

    Attributes:
        until: Time when the scheme may be used again.
        failures: Number of failures in a row.
        reason: Refusal reason for requests.
        text: The failure in full sentences for the user, or empty.
    """

    until: float
    failures: int
    reason: RefusalReason
    text: str = ""


@dataclass(frozen=True, slots=True)
class Lookup:
    """When the keyring is read for a protection space, and when a login found is sent.

    Attributes:
        next_at: Time from which the keyring may be read again.
        number: Number of the outstanding keyring look-up, which may be overdue; None if there is
            none.
        deadline: Time when the keyring look-up times out.
        next_survey_at: Time of the next check whether the keyring has been unlocked.
        hold_until: Time until which the current login is not sent automatically, because too many
            requests with it got no response.
        no_ticket_until: Time until which the user is taken to have no Kerberos ticket, so that a
            profile with `Profile.get_ticket` looks for a password.
        ticket_login: A login from the command line for that time; None to read the keyring.
    """

    next_at: float
    number: int | None = None
    deadline: float = inf
    next_survey_at: float = 0.0
    hold_until: float = 0.0
    no_ticket_until: float = 0.0
    ticket_login: Login | None = None

    def started(self, number: int, deadline: float = inf) -> "Lookup":
        """Return the state after a keyring look-up was started."""
        return replace(self, number=number, deadline=deadline)

    def cancelled(self) -> "Lookup":
        """Return the state without an outstanding look-up; a late result is ignored."""
        return replace(self, number=None, deadline=inf)

    def finished(self, next_at: float) -> "Lookup":
        """Return the state after the result of the outstanding look-up."""
        return replace(self, number=None, deadline=inf, next_at=next_at)

    def timed_out(self, next_at: float) -> "Lookup":
        """Return the state after the deadline of the outstanding look-up; a late result is used."""
        return replace(self, deadline=inf, next_at=next_at)

    def surveyed(self, now: float, limits: DeskLimits) -> "Lookup":
        """Return the state after a check whether the keyring has been unlocked."""
        return replace(self, next_survey_at=now + limits.survey_interval)


@dataclass(slots=True, eq=False)
class SpaceState:
    """The state of a protection space.

    Attributes:
        key: The protection space: profile, upstream and realm.
        profile: The profile of the protection space, as currently configured.
        offers: The schemes offered by the last 407, strongest first.
        seen_at: Time of the last 407 or acceptance.
        prompt: The prompt, and the rejections that it reports.
        lookup: The keyring look-ups.
        current: The current login.
        doubt: The doubt about the current login since the last acceptance of the login.
        trial: The trial of the current login.
        phase: The current phase; set by `move_to`.
        forbidden_hosts: Hosts forbidden to this user by the upstream, with the time of the finding.
            They are kept when the login changes: the next trial uses another host.
        permit_queue: Targets of the requests waiting for a send permit, by request number.
        backoffs: Back-offs of failed schemes, by scheme.
        parked: The parked requests by number, oldest first.
    """

    key: ProtectionSpace
    profile: Profile
    seen_at: float
    prompt: PromptState
    lookup: Lookup
    current: CurrentLogin = field(default_factory=CurrentLogin)
    doubt: Doubt = field(default_factory=Doubt)
    trial: Trial = field(default_factory=Trial)
    offers: tuple[OfferedScheme, ...] = ()
    phase: SpacePhase = SpacePhase.NO_LOGIN
    forbidden_hosts: dict[str, float] = field(default_factory=dict)
    permit_queue: dict[int, str] = field(default_factory=dict)
    backoffs: dict[str, SchemeBackoff] = field(default_factory=dict)
    parked: dict[int, ParkedRequest] = field(default_factory=dict)

    def move_to(self, phase: SpacePhase) -> None:
        """Enter another phase, which must be a permitted transition."""
        assert phase in TRANSITIONS[self.phase], f"{self.phase} to {phase}"
        self.phase = phase
        if phase is SpacePhase.PROMPTING:
            self.prompt = replace(self.prompt, needs_user=True)
        elif phase in (SpacePhase.TRUSTED, SpacePhase.NO_LOGIN):
            self.prompt = self.prompt.settled()

    def renew(
        self,
        login: Login | None = None,
        source: LoginSource = LoginSource.SAVED,
        *,
        retry_rejected: bool = False,
    ) -> None:
        """Replace the current login; nothing known about the replaced login counts any more."""
        is_checking = self.phase is SpacePhase.CHECKING
        self.current = self.current.replaced(
            login, source, is_in_flight=is_checking, retry_rejected=retry_rejected
        )
        self.doubt, self.trial = Doubt(), self.trial.renewed()
        self.lookup = self.lookup.cancelled()
        for number, request in self.parked.items():
            if request.was_refused or request.objection:
                self.parked[number] = replace(request, was_refused=False, objection=None)

    @property
    def login(self) -> Login | None:
        """The current login, None if there is none."""
        return self.current.login

    @property
    def login_id(self) -> LoginId:
        """The identifier of the current login."""
        return LoginId(self.key, self.current.generation)

    @property
    def upstream_profile(self) -> Profile:
        """The profile with this upstream only: the keyring has an entry for each upstream."""
        return self.profile.with_only(self.key.upstream_id.upstream)

    @property
    def parked_since(self) -> float:
        """Time when the oldest parked request was parked; infinite if there is none."""
        return next(iter(self.parked.values())).parked_at if self.parked else inf

    @property
    def has_clients(self) -> bool:
        """True if a request of a program is parked, not only an own request."""
        return any(not request.is_own for request in self.parked.values())

    @property
    def clients(self) -> list[ParkedRequest]:
        """The parked requests of programs, oldest first."""
        return [request for request in self.parked.values() if not request.is_own]

    @property
    def is_user_waiting(self) -> bool:
        """True if the user waits for the verdict on the login.

        False for an accepted login in doubt: the user has not typed the login just now.
        """
        is_reported = self.prompt.reason in (PromptReason.UNCHECKED, PromptReason.UNRECORDED)
        if is_reported or self.current.was_accepted:
            return False
        is_pending = self.phase is SpacePhase.UNVERIFIED and self.trial.is_pending
        return self.phase is SpacePhase.CHECKING or is_pending

    @property
    def objected_requests(self) -> list[ParkedRequest]:
        """The requests waiting for the user although the current login was accepted."""
        return [request for request in self.clients if request.objection is not None]

    def is_proved(self, now: float, limits: DeskLimits) -> bool:
        """Return whether the login was accepted recently and every request since then got a
        response."""
        is_trusted = self.phase is SpacePhase.TRUSTED and not self.doubt.unanswered
        return is_trusted and now < self.current.accepted_at + limits.proof_ttl

    def is_in_doubt(self) -> bool:
        """Return whether an accepted login was refused, or got no response, since its last
        acceptance."""
        return self.current.was_accepted and self.doubt.exists

    def is_forbidden(self, target: str, now: float, limits: DeskLimits) -> bool:
        """Return whether the host of this target is known to be forbidden even with a right
        login."""
        refused_at = self.forbidden_hosts.get(host_of(target))
        return refused_at is not None and now - refused_at <= limits.forbidden_ttl

    def is_inconclusive(self, target: str, now: float, limits: DeskLimits) -> bool:
        """Return whether a request to this target cannot verify the current login.

        The host of the target has given inconclusive responses, or is forbidden to right logins,
        too.
        """
        is_inconclusive = host_of(target) in self.doubt.inconclusive_hosts
        return is_inconclusive or self.is_forbidden(target, now, limits)

    @property
    def sign_in(self) -> SignInState:
        """The sign-in state for front ends (ux §3.1)."""
        if self.phase is SpacePhase.TRUSTED:
            return SignInState.OK if self.prompt.weaker_refusal is None else SignInState.NEEDED
        if self.current.was_accepted and self.doubt.refusals:
            return SignInState.OK
        if self.phase is SpacePhase.SNOOZED:
            return SignInState.SNOOZED
        if not self.prompt.needs_user:
            return SignInState.UNTESTED
        is_rejected = self.prompt.reason in REJECTION_REASONS
        return SignInState.REJECTED if is_rejected else SignInState.NEEDED
