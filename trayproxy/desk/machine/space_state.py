"""What the desk knows about one protection space.

The phases of a login and the moves between them::

    EMPTY ──► LOOKING ──► HELD ──► CHECKING ──► TRUSTED    the keyring had it
                 │         ▲          │           │
                 ▼         │          ▼           ▼
              ASKING ──────┘        ASKING ◄── (a 407 after all)
                 │
                 ▼
               QUIET                                       the person said no

One's own sign-in needs neither keyring nor person: it goes from EMPTY to HELD at once, and back to
it for as long as it cannot be used.

A case is only data and what can be read off it; `trayproxy.desk.machine.machine` moves it.
"""

from dataclasses import dataclass, field
from enum import Enum
from math import inf

from trayproxy.auth.login import Login
from trayproxy.control.messages import Program, PromptReason, SignInState
from trayproxy.desk.machine.events import OfferedScheme, RefusalReason, SignInMethod
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.protection_space import LoginId, ProtectionSpace, host_of
from trayproxy.profiles.profile import Profile


class SpacePhase(Enum):
    """How far a protection space has come."""

    NO_LOGIN = "empty"
    """No login, and none was needed yet."""
    LOOKING_UP = "looking"
    """The keyring is being read."""
    PROMPTING = "asking"
    """Only the person can help. The question may be open, in the queue, or given up."""
    UNVERIFIED = "held"
    """There is a login of which nobody knows whether it is right; the next request tries it."""
    CHECKING = "checking"
    """One request, the canary, is on its way with it."""
    TRUSTED = "trusted"
    """It was accepted; all requests carry it."""
    SNOOZED = "quiet"
    """The person does not want to be asked for a while."""


TRANSITIONS: dict[SpacePhase, frozenset[SpacePhase]] = {
    SpacePhase.NO_LOGIN: frozenset(
        {SpacePhase.LOOKING_UP, SpacePhase.PROMPTING, SpacePhase.UNVERIFIED}
    ),
    SpacePhase.LOOKING_UP: frozenset(
        {SpacePhase.NO_LOGIN, SpacePhase.PROMPTING, SpacePhase.UNVERIFIED, SpacePhase.SNOOZED}
    ),
    SpacePhase.PROMPTING: frozenset(
        {
            SpacePhase.NO_LOGIN,
            SpacePhase.LOOKING_UP,
            SpacePhase.UNVERIFIED,
            SpacePhase.TRUSTED,
            SpacePhase.SNOOZED,
        }
    ),
    SpacePhase.UNVERIFIED: frozenset(
        {
            SpacePhase.NO_LOGIN,
            SpacePhase.PROMPTING,
            SpacePhase.CHECKING,
            SpacePhase.TRUSTED,
            SpacePhase.SNOOZED,
        }
    ),
    SpacePhase.CHECKING: frozenset(
        {
            SpacePhase.NO_LOGIN,
            SpacePhase.PROMPTING,
            SpacePhase.UNVERIFIED,
            SpacePhase.TRUSTED,
            SpacePhase.SNOOZED,
        }
    ),
    SpacePhase.TRUSTED: frozenset(
        {SpacePhase.NO_LOGIN, SpacePhase.PROMPTING, SpacePhase.UNVERIFIED}
    ),
    SpacePhase.SNOOZED: frozenset(
        {SpacePhase.NO_LOGIN, SpacePhase.PROMPTING, SpacePhase.UNVERIFIED}
    ),
}
"""From each phase, where one may go. A move that is not listed is a mistake of ours."""

REJECTION_REASONS = frozenset(
    {
        PromptReason.SAVED_REJECTED,
        PromptReason.TYPED_REJECTED,
        PromptReason.REPEATED,
        PromptReason.EXPIRED,
        PromptReason.LOCKED,
    }
)
"""The reasons to ask that follow a rejection."""


class LoginSource(Enum):
    """Where a login came from."""

    SAVED = "saved"
    """The keyring."""
    TYPED = "typed"
    """A question."""
    COMMAND_LINE = "given"
    """The command line."""
    SSO = "own"
    """Nowhere: one signs in as whoever is signed in to this computer."""


@dataclass(slots=True)
class ParkedRequest:
    """A request that waits.

    Attributes:
        request_id: Which.
        parked_at: When it was parked.
        last_target: Where it wants to go. Untrusted.
        program: Who sent it; None while that is not known.
        offers: What its 407 offered, the strongest first.
        is_own: It is ours.
        was_refused: It has been sent with the present login.
        refused_with: With which logins, and in which ways (`OfferedScheme.name`), it has been
            refused.
        objection: Why it waits for the person although the present login was accepted: this
            upstream wants the login of this request in a weaker way (threat T5).
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
        """Return the offers by which this login has not been sent with this request."""
        return tuple(one for one in self.offers if (login_id, one.name) not in self.refused_with)


@dataclass(frozen=True, slots=True)
class SchemeBackoff:
    """Why a scheme is left alone for a while.

    Attributes:
        until: When it may be used again.
        failures: How often in a row this has happened.
        reason: What to tell requests.
        text: The same for people, whole sentences of ours.
    """

    until: float
    failures: int
    reason: RefusalReason
    text: str = ""


@dataclass(frozen=True, slots=True)
class LoginInFlight:
    """A request on its way with a login that is not proved.

    Attributes:
        parked_at: When it was let go.
        last_target: Where it wants to go. Untrusted.
    """

    released_at: float
    target: str


@dataclass(slots=True)
class OpenPrompt:
    """An open question.

    Attributes:
        number: Its name for faces.
        touched_at: When the person last did something about it; the opening if they asked for it.
        is_touched: The person has begun to answer: it does not close by itself.
    """

    number: int
    touched_at: float = -inf
    is_touched: bool = False


@dataclass(slots=True)
class SpaceState:
    """One protection space.

    Attributes:
        key: Which.
        profile: The profile it belongs to, as it is now.
        method: How the upstream wants one to sign in.
        offers: All ways that it offered last, the strongest first.
        touched_at: When the upstream last asked or accepted.
        phase: How far it has come; set by `move_to`.
        login: The login of the present generation. It stays after a rejection, in case that
            turns out to be wrong; only `SpacePhase.TRUSTED` sends it unasked.
        source: Where the login came from.
        remember: Save it once it was accepted.
        generation: Grows with every new login.
        accepted_at: When this generation was last accepted, None if never.
        refusals: Refusals of this generation since then.
        refused_hosts: The hosts whose requests were refused since then, and when.
        forbidden_hosts: The hosts that the upstream forbids to this user, and when that was found
            out. They outlive the present login: a trial of the next one goes elsewhere.
        in_flight: The requests that carry the present login while it is not proved, by number. Only
            their verdicts count for a login in doubt: whatever else carried it left before the
            doubt.
        permit_queue: The targets of the requests that wait for their turn with a login that was not
            proved lately, by number.
        last_permit_at: When the last of these was let go.
        is_recorded: It is written down that the present login is about to be sent for the first
            time.
        record_number: The number of the order to write that down, 0 if none is open.
        record_deadline: When that order has taken too long.
        is_record_overdue: It has: until it is carried out, the login is not sent and requests are
            refused.
        canary_overdue_at: When the canary has taken too long.
        canary_lost_at: When it will not come back any more.
        canary_target: Where the canary wants to go.
        rejecting_target: Where a login was rejected last, which may be a forbidden address after
            all.
        accepted_targets: The targets for which the present login was accepted, the latest last.
        inconclusive_hosts: The hosts whose responses have not told whether the present login is
            right.
        canary_offer: What the canary signs in with.
        scheme: The strongest scheme that the present login was accepted with, as in
            `OfferedScheme`.
        accepted_labels: How strong the ways are that it was accepted in, as in `OfferedScheme`, and
            their schemes.
        consent: What the person was told of how the present login, which they typed, will travel.
        backoffs: Schemes that cannot be used now.
        scheme_failures: How often in a row the scheme that was accepted could not be used after
            all.
        unanswered: How often in a row the present login was sent and got no answer.
        is_overdue: That count is of requests whose answers may still come: their upstream has only
            been silent for a moment.
        hold_until: How long it is not sent by itself because of that.
        is_own: The number of the request of our own that is on its way, 0 if none is.
        own_deadline: How long the others wait for that while a login that was right is in doubt.
        own_challenged: The upstream has asked that request for a login.
        own_requests_sent: How many such requests were sent since the login was right.
        own_generation: Of the login that such a request was sent for last.
        own_targets: Where requests of our own went with the present login.
        last_target: Where the last program wanted to go.
        is_account_locked: The upstream says that the account is locked.
        previous_name: What the upstream was before it became another.
        pending_verdicts: Of logins that are no longer the present one and whose canary has not come
            back: generation and login.
        is_blocked: The present login is one of these.
        parked: Who waits, the oldest first.
        prompt_due_at: When the question may open.
        prompt: The open question.
        reason: Why the person is asked.
        needs_user: Only the person can help, or could until a login came that is not verified yet.
        user: The user name to suggest.
        rejection_times: When logins were rejected, in a row.
        is_repeated: The person typed a login that had been rejected already.
        is_unsent: The present login had been rejected, and was not sent again.
        retry_rejected: The present login had been rejected, and the person wants it tried all the
            same.
        may_retry_rejected: The person may send a rejected login once more.
        snoozed_until: The end of the quiet time; infinite: until the person acts.
        snooze_ends_with_network: It also ends when the network changes.
        weaker_snoozed_until: How long the person does not want to be asked about weaker ways.
        lookup: The outstanding question to the keyring, which may be a late one.
        lookup_deadline: When the keyring has taken too long.
        next_lookup_at: When the keyring may be read again.
        next_survey_at: When to look next whether it has been unlocked.
    """

    key: ProtectionSpace
    profile: Profile
    method: SignInMethod
    seen_at: float
    offers: tuple[OfferedScheme, ...] = ()
    phase: SpacePhase = SpacePhase.NO_LOGIN
    login: Login | None = None
    source: LoginSource = LoginSource.SAVED
    remember: bool = False
    generation: int = 0
    accepted_at: float | None = None
    refusals: int = 0
    refused_hosts: dict[str, float] = field(default_factory=dict)
    forbidden_hosts: dict[str, float] = field(default_factory=dict)
    in_flight: dict[int, LoginInFlight] = field(default_factory=dict)
    permit_queue: dict[int, str] = field(default_factory=dict)
    last_permit_at: float = -inf
    is_recorded: bool = False
    record_number: int = 0
    record_deadline: float = inf
    is_record_overdue: bool = False
    canary_overdue_at: float = inf
    canary_lost_at: float = inf
    canary_target: str = ""
    rejecting_target: str = ""
    accepted_targets: dict[str, None] = field(default_factory=dict)
    inconclusive_hosts: set[str] = field(default_factory=set)
    canary_offer: OfferedScheme | None = None
    scheme: str = ""
    accepted_labels: dict[str, str] = field(default_factory=dict)
    consent: OfferedScheme | None = None
    backoffs: dict[str, SchemeBackoff] = field(default_factory=dict)
    scheme_failures: int = 0
    unanswered: int = 0
    is_overdue: bool = False
    hold_until: float = 0.0
    own_request: int = 0
    own_deadline: float = inf
    own_challenged: bool = False
    own_requests_sent: int = 0
    own_generation: int = 0
    own_targets: set[str] = field(default_factory=set)
    last_target: str = ""
    is_account_locked: bool = False
    previous_name: str = ""
    pending_verdicts: dict[int, Login] = field(default_factory=dict)
    is_blocked: bool = False
    parked: dict[int, ParkedRequest] = field(default_factory=dict)
    prompt_due_at: float = 0.0
    prompt: OpenPrompt | None = None
    reason: PromptReason = PromptReason.NEEDED
    needs_user: bool = False
    user: str = ""
    rejection_times: list[float] = field(default_factory=list)
    is_repeated: bool = False
    is_unsent: bool = False
    retry_rejected: bool = False
    may_retry_rejected: bool = False
    snoozed_until: float = 0.0
    snooze_ends_with_network: bool = False
    weaker_snoozed_until: float = 0.0
    lookup: int | None = None
    lookup_deadline: float = inf
    next_lookup_at: float = 0.0
    next_survey_at: float = 0.0

    def move_to(self, phase: SpacePhase) -> None:
        """Enter another phase."""
        assert phase in TRANSITIONS[self.phase], f"{self.phase} to {phase}"
        self.phase = phase
        if phase is SpacePhase.PROMPTING:
            self.needs_user = True
        elif phase in (SpacePhase.TRUSTED, SpacePhase.NO_LOGIN):
            self.needs_user = False

    @property
    def login_id(self) -> LoginId:
        """The name of the present login."""
        return LoginId(self.key, self.generation)

    @property
    def upstream_profile(self) -> Profile:
        """The profile with this upstream alone: each has an entry of its own in the keyring."""
        return self.profile.with_only(self.key.upstream_id.upstream)

    @property
    def parked_since(self) -> float:
        """When the oldest request was parked; infinite if none waits."""
        return next(iter(self.parked.values())).parked_at if self.parked else inf

    @property
    def has_clients(self) -> bool:
        """Whether a request of a program waits, not only one of our own."""
        return any(not request.is_own for request in self.parked.values())

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is asked."""
        return not self.parked and self.prompt is None

    @property
    def has_login(self) -> bool:
        """Whether there is something to sign in with; one's own sign-in needs no login."""
        return self.login is not None or self.source is LoginSource.SSO

    @property
    def clients(self) -> list[ParkedRequest]:
        """The requests of programs that wait, the oldest first."""
        return [request for request in self.parked.values() if not request.is_own]

    @property
    def is_user_waiting(self) -> bool:
        """Whether the person waits for the verdict on the login.

        Not on one that was right and is in doubt: they have not typed that just now.
        """
        if (
            self.reason in (PromptReason.UNCHECKED, PromptReason.UNRECORDED)
            or self.accepted_at is not None
        ):
            return False
        is_under_way = self.phase is SpacePhase.UNVERIFIED and (
            self.own_request > 0 or self.is_blocked or self.record_number > 0
        )
        return self.phase is SpacePhase.CHECKING or is_under_way

    @property
    def objected_requests(self) -> list[ParkedRequest]:
        """The requests that wait for the person although the present login was accepted."""
        return [request for request in self.clients if request.objection is not None]

    def clear_record(self) -> None:
        """Wait no longer for the present login to be put on record."""
        self.record_number, self.record_deadline, self.is_record_overdue = 0, inf, False

    def clear_canary_deadlines(self) -> None:
        """Take note that the canary is back, or is waited for no longer."""
        self.canary_overdue_at = self.canary_lost_at = inf

    def is_proved(self, now: float, limits: DeskLimits) -> bool:
        """Return whether the login was accepted lately, and every request since was answered."""
        if self.phase is not SpacePhase.TRUSTED or self.accepted_at is None or self.unanswered:
            return False
        return now < self.accepted_at + limits.proof_ttl

    def is_in_doubt(self) -> bool:
        """Return whether the login was right, and has been refused or not answered since."""
        return self.accepted_at is not None and (self.refusals > 0 or self.unanswered > 0)

    def needs_confirmation(self, now: float, limits: DeskLimits) -> bool:
        """Return whether the next try needs the person's *Try anyway*."""
        return self.is_repeated or self.is_account_locked or self.may_lock_account(now, limits)

    def may_lock_account(self, now: float, limits: DeskLimits) -> bool:
        """Return whether so many logins were rejected lately that the account may get locked."""
        recent = sum(
            1 for refused_at in self.rejection_times if now - refused_at <= limits.rejection_window
        )
        return recent >= limits.rejections_max

    def was_refused_lately(self, target: str, now: float, limits: DeskLimits) -> bool:
        """Return whether this login was refused for the host of this target moments ago."""
        refused_at = self.refused_hosts.get(host_of(target))
        return refused_at is not None and now - refused_at <= limits.refusal_window

    def is_forbidden(self, target: str, now: float, limits: DeskLimits) -> bool:
        """Return whether the host of this target was found to be forbidden to a right login."""
        refused_at = self.forbidden_hosts.get(host_of(target))
        return refused_at is not None and now - refused_at <= limits.forbidden_ttl

    def was_accepted_for(self, target: str) -> bool:
        """Return whether the present login was accepted for the host of this target."""
        host = host_of(target)
        return any(host == host_of(good) for good in self.accepted_targets)

    def is_inconclusive(self, target: str, now: float, limits: DeskLimits) -> bool:
        """Return whether a request to this target would not tell if the present login is right:
        its host answers vaguely, or refuses right logins, too."""
        return host_of(target) in self.inconclusive_hosts or self.is_forbidden(target, now, limits)

    @property
    def sign_in(self) -> SignInState:
        """The phase as a fact for faces (ux §3.1)."""
        if self.phase is SpacePhase.TRUSTED or (self.accepted_at is not None and self.refusals):
            return SignInState.OK
        if self.phase is SpacePhase.SNOOZED:
            return SignInState.SNOOZED
        if not self.needs_user:
            return SignInState.UNTESTED
        return SignInState.REJECTED if self.reason in REJECTION_REASONS else SignInState.NEEDED
