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

`SpaceState` contains data and queries only; `trayproxy.desk.machine.machine` and the modules beside
it change it.
"""

from dataclasses import dataclass, field
from enum import Enum
from math import inf

from trayproxy.auth.login import Login
from trayproxy.desk.machine.doubt import Doubt
from trayproxy.desk.machine.events import OfferedScheme, RefusalReason
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.machine.lookup import Lookup
from trayproxy.desk.machine.prompt_state import REJECTION_REASONS, PromptState
from trayproxy.desk.machine.trial import Trial
from trayproxy.desk.protection_space import LoginId, ProtectionSpace, host_of
from trayproxy.domain.signin import Program, PromptReason, SignInState
from trayproxy.profiles.profile import Profile


class SpacePhase(Enum):
    """The phase of the sign-in to a protection space."""

    NO_LOGIN = "no login"
    """There is no login, and no request has needed one yet."""
    LOOKING_UP = "looking up"
    """The keyring is being read."""
    PROMPTING = "prompting"
    """The user must provide a login. The prompt may be open, queued or abandoned."""
    UNVERIFIED = "unverified"
    """There is a login, but it is not known to be right; the next request is its canary."""
    CHECKING = "checking"
    """The canary has been sent with the login, and its verdict is outstanding."""
    TRUSTED = "trusted"
    """The login was accepted; all requests carry it."""
    SNOOZED = "snoozed"
    """The user has declined the prompt; there is no prompt until the snooze ends."""


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
"""The permitted transitions: from each phase to its successors. Any other transition is a bug."""


class LoginSource(Enum):
    """The origin of a login."""

    SAVED = "saved"
    """The keyring."""
    TYPED = "typed"
    """A prompt."""
    COMMAND_LINE = "command line"
    """The command line."""
    SSO = "own sign-in"
    """No login: the own sign-in with a Kerberos ticket or the log-on to Windows."""


@dataclass(slots=True)
class ParkedRequest:
    """A request waiting for a login.

    Attributes:
        request_id: The number of the request.
        parked_at: Time when it was parked.
        target: The target of the request. Untrusted.
        program: The program of the request; None while it is unknown.
        offers: The schemes offered by its 407, strongest first.
        is_own: True if TrayProxy sends the request itself, to verify a login.
        was_refused: True if the request has been refused with the current login.
        refused_with: Logins and schemes (`OfferedScheme.name`) with which the request has been
            refused.
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


@dataclass(slots=True)
class SpaceState:
    """The state of a protection space.

    Attributes:
        key: The protection space: profile, upstream and realm.
        profile: The profile of the protection space, as currently configured.
        offers: The schemes offered by the last 407, strongest first.
        seen_at: Time of the last 407 or acceptance.
        prompt: The prompt, and the rejections that it reports.
        lookup: The keyring look-ups.
        doubt: What speaks against the current login since its last acceptance.
        trial: The trial of the current login.
        phase: The current phase; set by `move_to`.
        login: The login of the current generation. It is kept after a rejection in case the
            rejection turns out to be wrong; requests carry it without a 407 only in
            `SpacePhase.TRUSTED`.
        source: The origin of the login.
        remember: True if the login is saved to the keyring once it is accepted.
        generation: Number of the current login; incremented with each new login.
        accepted_at: Time of the last acceptance of this generation, None if it was never accepted.
        forbidden_hosts: Hosts forbidden to this user by the upstream, with the time of the finding.
            They are kept when the login changes: the next trial uses another host.
        permit_queue: Targets of the requests waiting for a send permit, by request number.
        accepted_targets: Targets for which the current login was accepted, oldest first.
        scheme: The strongest scheme with which the current login was accepted, as in
            `OfferedScheme`.
        accepted_labels: Strength labels with which the current login was accepted, with their
            schemes, as in `OfferedScheme`.
        consent: The scheme shown in the prompt when the user typed the current login, None if the
            login was not typed.
        backoffs: Back-offs of failed schemes, by scheme.
        pending_verdicts: Logins replaced while their canary was in flight, by generation.
        parked: The parked requests by number, oldest first.
        is_unsent: True if the current login had been rejected before and was not sent again.
        retry_rejected: True if the current login is sent even if it has been rejected before, as
            the user wants.
        weaker_snoozed_until: Time until which there is no prompt about weaker schemes.
    """

    key: ProtectionSpace
    profile: Profile
    seen_at: float
    prompt: PromptState
    lookup: Lookup
    doubt: Doubt = field(default_factory=Doubt)
    trial: Trial = field(default_factory=Trial)
    offers: tuple[OfferedScheme, ...] = ()
    phase: SpacePhase = SpacePhase.NO_LOGIN
    login: Login | None = None
    source: LoginSource = LoginSource.SAVED
    remember: bool = False
    generation: int = 0
    accepted_at: float | None = None
    forbidden_hosts: dict[str, float] = field(default_factory=dict)
    permit_queue: dict[int, str] = field(default_factory=dict)
    accepted_targets: dict[str, None] = field(default_factory=dict)
    scheme: str = ""
    accepted_labels: dict[str, str] = field(default_factory=dict)
    consent: OfferedScheme | None = None
    backoffs: dict[str, SchemeBackoff] = field(default_factory=dict)
    pending_verdicts: dict[int, Login] = field(default_factory=dict)
    parked: dict[int, ParkedRequest] = field(default_factory=dict)
    is_unsent: bool = False
    retry_rejected: bool = False
    weaker_snoozed_until: float = 0.0

    def move_to(self, phase: SpacePhase) -> None:
        """Enter another phase, which must be a permitted transition."""
        assert phase in TRANSITIONS[self.phase], f"{self.phase} to {phase}"
        self.phase = phase
        if phase is SpacePhase.PROMPTING:
            self.prompt = self.prompt.needing_user()
        elif phase in (SpacePhase.TRUSTED, SpacePhase.NO_LOGIN):
            self.prompt = self.prompt.settled()

    @property
    def login_id(self) -> LoginId:
        """The identifier of the current login."""
        return LoginId(self.key, self.generation)

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
    def is_idle(self) -> bool:
        """True if there is neither a parked request nor an open prompt."""
        return not self.parked and self.prompt.open is None

    @property
    def has_login(self) -> bool:
        """True if there is a login or the own sign-in to authenticate with."""
        return self.login is not None or self.source is LoginSource.SSO

    @property
    def clients(self) -> list[ParkedRequest]:
        """The parked requests of programs, oldest first."""
        return [request for request in self.parked.values() if not request.is_own]

    @property
    def is_user_waiting(self) -> bool:
        """True if the user waits for the verdict on the login.

        False for an accepted login in doubt: the user has not typed the login just now.
        """
        if (
            self.prompt.reason in (PromptReason.UNCHECKED, PromptReason.UNRECORDED)
            or self.accepted_at is not None
        ):
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
        if (
            self.phase is not SpacePhase.TRUSTED
            or self.accepted_at is None
            or self.doubt.unanswered
        ):
            return False
        return now < self.accepted_at + limits.proof_ttl

    def is_in_doubt(self) -> bool:
        """Return whether an accepted login was refused, or got no response, since its last
        acceptance."""
        return self.accepted_at is not None and self.doubt.exists

    def is_forbidden(self, target: str, now: float, limits: DeskLimits) -> bool:
        """Return whether the host of this target is known to be forbidden even with a right
        login."""
        refused_at = self.forbidden_hosts.get(host_of(target))
        return refused_at is not None and now - refused_at <= limits.forbidden_ttl

    def was_accepted_for(self, target: str) -> bool:
        """Return whether the current login was accepted for the host of this target."""
        host = host_of(target)
        return any(host == host_of(accepted_target) for accepted_target in self.accepted_targets)

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
        if self.accepted_at is not None and self.doubt.refusals:
            return SignInState.OK
        if self.phase is SpacePhase.SNOOZED:
            return SignInState.SNOOZED
        if not self.prompt.needs_user:
            return SignInState.UNTESTED
        is_rejected = self.prompt.reason in REJECTION_REASONS
        return SignInState.REJECTED if is_rejected else SignInState.NEEDED
