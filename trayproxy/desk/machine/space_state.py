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

    EMPTY = "empty"
    """No login, and none was needed yet."""
    LOOKING = "looking"
    """The keyring is being read."""
    ASKING = "asking"
    """Only the person can help. The question may be open, in the queue, or given up."""
    HELD = "held"
    """There is a login of which nobody knows whether it is right; the next request tries it."""
    CHECKING = "checking"
    """One request, the canary, is on its way with it."""
    TRUSTED = "trusted"
    """It was accepted; all requests carry it."""
    QUIET = "quiet"
    """The person does not want to be asked for a while."""


MOVES: dict[SpacePhase, frozenset[SpacePhase]] = {
    SpacePhase.EMPTY: frozenset({SpacePhase.LOOKING, SpacePhase.ASKING, SpacePhase.HELD}),
    SpacePhase.LOOKING: frozenset(
        {SpacePhase.EMPTY, SpacePhase.ASKING, SpacePhase.HELD, SpacePhase.QUIET}
    ),
    SpacePhase.ASKING: frozenset(
        {
            SpacePhase.EMPTY,
            SpacePhase.LOOKING,
            SpacePhase.HELD,
            SpacePhase.TRUSTED,
            SpacePhase.QUIET,
        }
    ),
    SpacePhase.HELD: frozenset(
        {
            SpacePhase.EMPTY,
            SpacePhase.ASKING,
            SpacePhase.CHECKING,
            SpacePhase.TRUSTED,
            SpacePhase.QUIET,
        }
    ),
    SpacePhase.CHECKING: frozenset(
        {SpacePhase.EMPTY, SpacePhase.ASKING, SpacePhase.HELD, SpacePhase.TRUSTED, SpacePhase.QUIET}
    ),
    SpacePhase.TRUSTED: frozenset({SpacePhase.EMPTY, SpacePhase.ASKING, SpacePhase.HELD}),
    SpacePhase.QUIET: frozenset({SpacePhase.EMPTY, SpacePhase.ASKING, SpacePhase.HELD}),
}
"""From each phase, where one may go. A move that is not listed is a mistake of ours."""

REJECTED = frozenset(
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
    GIVEN = "given"
    """The command line."""
    OWN = "own"
    """Nowhere: one signs in as whoever is signed in to this computer."""


@dataclass(slots=True)
class ParkedRequest:
    """A request that waits.

    Attributes:
        waiter: Which.
        since: When it was parked.
        target: Where it wants to go. Untrusted.
        program: Who sent it; None while that is not known.
        offers: What its 407 offered, the strongest first.
        own: It is ours.
        refused: It has been sent with the present login.
        spent: With which logins, and in which ways (`OfferedScheme.name`), it has been refused.
        objection: Why it waits for the person although the present login was accepted: this
            upstream wants the login of this request in a weaker way (threat T5).
    """

    waiter: int
    since: float
    target: str
    program: Program | None
    offers: tuple[OfferedScheme, ...] = ()
    own: bool = False
    refused: bool = False
    spent: frozenset[tuple[LoginId, str]] = frozenset()
    objection: PromptReason | None = None

    def unspent(self, mark: LoginId) -> tuple[OfferedScheme, ...]:
        """Return the offers by which this login has not been sent with this request."""
        return tuple(one for one in self.offers if (mark, one.name) not in self.spent)


@dataclass(frozen=True, slots=True)
class SchemeSetback:
    """Why a scheme is left alone for a while.

    Attributes:
        until: When it may be used again.
        count: How often in a row this has happened.
        reason: What to tell requests.
        text: The same for people, whole sentences of ours.
    """

    until: float
    count: int
    reason: RefusalReason
    text: str = ""


@dataclass(frozen=True, slots=True)
class LoginInFlight:
    """A request on its way with a login that is not proved.

    Attributes:
        since: When it was let go.
        target: Where it wants to go. Untrusted.
    """

    since: float
    target: str


@dataclass(slots=True)
class OpenPrompt:
    """An open question.

    Attributes:
        number: Its name for faces.
        seen: When the person last did something about it; the opening if they asked for it.
        touched: The person has begun to answer: it does not close by itself.
    """

    number: int
    seen: float = -inf
    touched: bool = False


@dataclass(slots=True)
class SpaceState:
    """One protection space.

    Attributes:
        key: Which.
        profile: The profile it belongs to, as it is now.
        way: How the upstream wants one to sign in.
        offers: All ways that it offered last, the strongest first.
        seen: When the upstream last asked or accepted.
        phase: How far it has come; set by `move`.
        login: The login of the present generation. It stays after a rejection, in case that
            turns out to be wrong; only `SpacePhase.TRUSTED` sends it unasked.
        source: Where the login came from.
        remember: Save it once it was accepted.
        generation: Grows with every new login.
        accepted: When this generation was last accepted, None if never.
        doubts: Refusals of this generation since then.
        suspects: The hosts whose requests were refused since then, and when.
        forbidden: The hosts that the upstream forbids to this user, and when that was found out.
            They outlive the present login: a trial of the next one goes elsewhere.
        flights: The requests that carry the present login while it is not proved, by number. Only
            their verdicts count for a login in doubt: whatever else carried it left before the
            doubt.
        queue: The targets of the requests that wait for their turn with a login that was not proved
            lately, by number.
        left_at: When the last of these was let go.
        on_record: It is written down that the present login is about to be sent for the first time.
        recording: The number of the order to write that down, 0 if none is open.
        record_until: When that order has taken too long.
        is_record_late: It has: until it is carried out, the login is not sent and requests are
            refused.
        canary_until: When the canary has taken too long.
        canary_lost: When it will not come back any more.
        canary: Where the canary wants to go.
        blamed: Where a login was rejected last, which may be a forbidden address after all.
        goods: The targets for which the present login was accepted, the latest last.
        vague: The hosts whose responses have not told whether the present login is right.
        trial: What the canary signs in with.
        scheme: The strongest scheme that the present login was accepted with, as in
            `OfferedScheme`.
        labels: How strong the ways are that it was accepted in, as in `OfferedScheme`, and their
            schemes.
        consent: What the person was told of how the present login, which they typed, will travel.
        setbacks: Schemes that cannot be used now.
        stumbles: How often in a row the scheme that was accepted could not be used after all.
        unanswered: How often in a row the present login was sent and got no answer.
        is_overdue: That count is of requests whose answers may still come: their upstream has only
            been silent for a moment.
        silent_until: How long it is not sent by itself because of that.
        own: The number of the request of our own that is on its way, 0 if none is.
        own_until: How long the others wait for that while a login that was right is in doubt.
        own_asked: The upstream has asked that request for a login.
        own_tries: How many such requests were sent since the login was right.
        own_generation: Of the login that such a request was sent for last.
        own_targets: Where requests of our own went with the present login.
        target: Where the last program wanted to go.
        locked: The upstream says that the account is locked.
        before: What the upstream was before it became another.
        untold: Of logins that are no longer the present one and whose canary has not come back:
            generation and login.
        blocked: The present login is one of these.
        parked: Who waits, the oldest first.
        gather_until: When the question may open.
        asked: The open question.
        why: Why the person is asked.
        needed: Only the person can help, or could until a login came that is not verified yet.
        user: The user name to suggest.
        rejections: When logins were rejected, in a row.
        repeated: The person typed a login that had been rejected already.
        unsent: The present login had been rejected, and was not sent again.
        insisted: The present login had been rejected, and the person wants it tried all the same.
        lifted: The person may send a rejected login once more.
        quiet_until: The end of the quiet time; infinite: until the person acts.
        quiet_lifts_with_network: It also ends when the network changes.
        strict_until: How long the person does not want to be asked about weaker ways.
        lookup: The outstanding question to the keyring, which may be a late one.
        lookup_until: When the keyring has taken too long.
        relook_at: When the keyring may be read again.
        survey_at: When to look next whether it has been unlocked.
    """

    key: ProtectionSpace
    profile: Profile
    way: SignInMethod
    seen: float
    offers: tuple[OfferedScheme, ...] = ()
    phase: SpacePhase = SpacePhase.EMPTY
    login: Login | None = None
    source: LoginSource = LoginSource.SAVED
    remember: bool = False
    generation: int = 0
    accepted: float | None = None
    doubts: int = 0
    suspects: dict[str, float] = field(default_factory=dict)
    forbidden: dict[str, float] = field(default_factory=dict)
    flights: dict[int, LoginInFlight] = field(default_factory=dict)
    queue: dict[int, str] = field(default_factory=dict)
    left_at: float = -inf
    on_record: bool = False
    recording: int = 0
    record_until: float = inf
    is_record_late: bool = False
    canary_until: float = inf
    canary_lost: float = inf
    canary: str = ""
    blamed: str = ""
    goods: dict[str, None] = field(default_factory=dict)
    vague: set[str] = field(default_factory=set)
    trial: OfferedScheme | None = None
    scheme: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    consent: OfferedScheme | None = None
    setbacks: dict[str, SchemeSetback] = field(default_factory=dict)
    stumbles: int = 0
    unanswered: int = 0
    is_overdue: bool = False
    silent_until: float = 0.0
    own: int = 0
    own_until: float = inf
    own_asked: bool = False
    own_tries: int = 0
    own_generation: int = 0
    own_targets: set[str] = field(default_factory=set)
    target: str = ""
    locked: bool = False
    before: str = ""
    untold: dict[int, Login] = field(default_factory=dict)
    blocked: bool = False
    parked: dict[int, ParkedRequest] = field(default_factory=dict)
    gather_until: float = 0.0
    asked: OpenPrompt | None = None
    why: PromptReason = PromptReason.NEEDED
    needed: bool = False
    user: str = ""
    rejections: list[float] = field(default_factory=list)
    repeated: bool = False
    unsent: bool = False
    insisted: bool = False
    lifted: bool = False
    quiet_until: float = 0.0
    quiet_lifts_with_network: bool = False
    strict_until: float = 0.0
    lookup: int | None = None
    lookup_until: float = inf
    relook_at: float = 0.0
    survey_at: float = 0.0

    def move(self, phase: SpacePhase) -> None:
        """Enter another phase."""
        assert phase in MOVES[self.phase], f"{self.phase} to {phase}"
        self.phase = phase
        if phase is SpacePhase.ASKING:
            self.needed = True
        elif phase in (SpacePhase.TRUSTED, SpacePhase.EMPTY):
            self.needed = False

    @property
    def login_id(self) -> LoginId:
        """The name of the present login."""
        return LoginId(self.key, self.generation)

    @property
    def kept_for(self) -> Profile:
        """The profile with this upstream alone: each has an entry of its own in the keyring."""
        return self.profile.with_only(self.key.upstream_id.upstream)

    @property
    def waits_since(self) -> float:
        """When the oldest request was parked; infinite if none waits."""
        return next(iter(self.parked.values())).since if self.parked else inf

    @property
    def has_clients(self) -> bool:
        """Whether a request of a program waits, not only one of our own."""
        return any(not request.own for request in self.parked.values())

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is asked."""
        return not self.parked and self.asked is None

    @property
    def has_login(self) -> bool:
        """Whether there is something to sign in with; one's own sign-in needs no login."""
        return self.login is not None or self.source is LoginSource.OWN

    @property
    def clients(self) -> list[ParkedRequest]:
        """The requests of programs that wait, the oldest first."""
        return [request for request in self.parked.values() if not request.own]

    @property
    def is_checking(self) -> bool:
        """Whether the person waits for the verdict on the login.

        Not on one that was right and is in doubt: they have not typed that just now.
        """
        if (
            self.why in (PromptReason.UNCHECKED, PromptReason.UNRECORDED)
            or self.accepted is not None
        ):
            return False
        is_under_way = self.phase is SpacePhase.HELD and (
            self.own > 0 or self.blocked or self.recording > 0
        )
        return self.phase is SpacePhase.CHECKING or is_under_way

    @property
    def objected(self) -> list[ParkedRequest]:
        """The requests that wait for the person although the present login was accepted."""
        return [request for request in self.clients if request.objection is not None]

    def end_record(self) -> None:
        """Wait no longer for the present login to be put on record."""
        self.recording, self.record_until, self.is_record_late = 0, inf, False

    def stop_trial(self) -> None:
        """Take note that the canary is back, or is waited for no longer."""
        self.canary_until = self.canary_lost = inf

    def is_proved(self, now: float, rules: DeskLimits) -> bool:
        """Return whether the login was accepted lately, and every request since was answered."""
        if self.phase is not SpacePhase.TRUSTED or self.accepted is None or self.unanswered:
            return False
        return now < self.accepted + rules.fresh

    def is_in_doubt(self) -> bool:
        """Return whether the login was right, and has been refused or not answered since."""
        return self.accepted is not None and (self.doubts > 0 or self.unanswered > 0)

    def is_hurried(self, now: float, rules: DeskLimits) -> bool:
        """Return whether the next try needs the person's *Try anyway*."""
        return self.repeated or self.locked or self.is_at_risk(now, rules)

    def is_at_risk(self, now: float, rules: DeskLimits) -> bool:
        """Return whether so many logins were rejected lately that the account may get locked."""
        recent = sum(1 for at in self.rejections if now - at <= rules.hurry)
        return recent >= rules.rejections

    def is_suspect(self, target: str, now: float, rules: DeskLimits) -> bool:
        """Return whether this login was refused for the host of this target moments ago."""
        at = self.suspects.get(host_of(target))
        return at is not None and now - at <= rules.moments

    def is_forbidden(self, target: str, now: float, rules: DeskLimits) -> bool:
        """Return whether the host of this target was found to be forbidden to a right login."""
        at = self.forbidden.get(host_of(target))
        return at is not None and now - at <= rules.forbidden

    def is_good(self, target: str) -> bool:
        """Return whether the present login was accepted for the host of this target."""
        host = host_of(target)
        return any(host == host_of(good) for good in self.goods)

    def tells_nothing(self, target: str, now: float, rules: DeskLimits) -> bool:
        """Return whether a request to this target would not tell if the present login is right:
        its host answers vaguely, or refuses right logins, too."""
        return host_of(target) in self.vague or self.is_forbidden(target, now, rules)

    @property
    def sign_in(self) -> SignInState:
        """The phase as a fact for faces (ux §3.1)."""
        if self.phase is SpacePhase.TRUSTED or (self.accepted is not None and self.doubts):
            return SignInState.OK
        if self.phase is SpacePhase.QUIET:
            return SignInState.SNOOZED
        if not self.needed:
            return SignInState.UNTESTED
        return SignInState.REJECTED if self.why in REJECTED else SignInState.NEEDED
