"""What all parts of the machine look at and write to: the cases, the time, and what to do about it.

`trayproxy.desk.machine.machine` puts the parts together. Each decides about one thing (questions,
logins, verdicts, schemes, the person), and all of them leave their effects here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from trayproxy.auth.login import Login
from trayproxy.control.messages import KeyringState, KeyringStatus, Problem, PromptReason
from trayproxy.desk.machine.events import (
    Effect,
    KeepUserName,
    NotifyPromptChanged,
    RecallLogin,
    RecordFingerprint,
    RefusalReason,
    RefuseRequest,
    ReleaseRequest,
    SignInMethod,
)
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.machine.space_state import ParkedRequest, SpacePhase, SpaceState
from trayproxy.desk.protection_space import ProtectionSpace, UpstreamFingerprint, UpstreamId
from trayproxy.desk.rejected_logins import RejectedLogins
from trayproxy.profiles.profile import Profile

LASTING = frozenset(
    {
        PromptReason.SAVED_REJECTED,
        PromptReason.TYPED_REJECTED,
        PromptReason.REPEATED,
        PromptReason.EXPIRED,
        PromptReason.LOCKED,
        PromptReason.KEYRING_LOCKED,
        PromptReason.KEYRING_SILENT,
        PromptReason.UNCHECKED,
        PromptReason.UNCLEAR,
        PromptReason.UNRECORDED,
    }
)
"""The reasons to ask that still hold when a question is asked again later."""


class DeskState:
    """The state of the desk.

    Attributes:
        rules: Times and limits.
        rejected: Logins not to send by themselves.
        pins: What upstreams were when they last accepted a login.
        now: The time of the present event.
        keyring: The password store, as far as it is known.
        cases: All protection spaces.
        homes: Where each request waits.
        addresses: Of each upstream, as far as they are known.
        active: The active profile.
        profiles: Profiles as they are now, None for one that is gone.
        unusable: The upstreams whose last 407 offered no scheme that can be used, and what requests
            were told.
        saved: The profiles of which the keyring is known to hold a login.
        tries_itself: Whether requests of our own can be sent.
        screen_locked: Nobody is before the screen.
        effects: What to do, in order; taken by `Machine.handle`.
    """

    def __init__(
        self,
        rules: DeskLimits,
        rejected: RejectedLogins,
        pins: Mapping[UpstreamId, UpstreamFingerprint],
    ) -> None:
        self.rules = rules
        self.rejected = rejected
        self.pins = dict(pins)
        self.now = 0.0
        self.keyring = KeyringStatus(KeyringState.UNKNOWN)
        self.cases: dict[ProtectionSpace, SpaceState] = {}
        self.homes: dict[int, SpaceState] = {}
        self.addresses: dict[UpstreamId, tuple[str, ...]] = {}
        self.active: Profile | None = None
        self.profiles: dict[str, Profile | None] = {}
        self.unusable: dict[UpstreamId, Problem] = {}
        self.saved: set[str] = set()
        self.tries_itself = False
        self.screen_locked = False
        self.effects: list[Effect] = []

    # --- Cases -------------------------------------------------------------------------------

    def cases_of(self, profile_id: str) -> list[SpaceState]:
        """Return the cases of a profile."""
        return [c for c in self.cases.values() if c.key.upstream_id.profile_id == profile_id]

    def cases_at(self, space: UpstreamId) -> list[SpaceState]:
        """Return the cases of an upstream, one for each realm."""
        return [c for c in self.cases.values() if c.key.upstream_id == space]

    def siblings(self, case: SpaceState) -> list[SpaceState]:
        """Return the other realms of its upstream."""
        return [c for c in self.cases_at(case.key.upstream_id) if c is not case]

    def places(self, space: UpstreamId) -> tuple[str, ...]:
        """Return where rejections by an upstream hold: at its URL, and at its addresses."""
        return (space.upstream, *self.addresses.get(space, ()))

    def is_rejected(self, space: UpstreamId, login: Login) -> bool:
        """Return whether an upstream has rejected a login, to whatever profile."""
        return self.rejected.contains(self.places(space), login)

    def neighbours(self, case: SpaceState) -> list[SpaceState]:
        """Return the other cases of its upstream, of whatever profile and realm."""
        places = set(self.places(case.key.upstream_id))
        return [
            other
            for other in self.cases.values()
            if other is not case and not places.isdisjoint(self.places(other.key.upstream_id))
        ]

    def asked(self, number: int) -> SpaceState | None:
        """Return the case that a question is about, None if there is none of that number."""
        for case in self.cases.values():
            if case.asked and case.asked.number == number:
                return case
        return None

    def keep_user(self, case: SpaceState, *, replaces: bool) -> None:
        """Suggest the user name of an accepted login from now on, and keep it in the profile.

        A profile has one user name. Where another of its upstreams, or another realm, has accepted
        another user, the profile stays as it is: the other login would be asked about again.

        Args:
            case: With the accepted login.
            replaces: A person has chosen the user name: it also replaces that of the profile.
        """
        if case.login is None:
            return
        case.user = user = case.login.user
        cases = self.cases_of(case.profile.id)
        others = [one.login.user for one in cases if one.login and one.accepted is not None]
        is_settled = case.profile.user == user or (case.profile.user != "" and not replaces)
        if is_settled or any(other != user for other in others):
            return
        profile = replace(case.profile, user=user)
        self.profiles[profile.id] = profile
        for one in cases:
            one.profile = profile
        self.effects.append(KeepUserName(profile.id, user))

    def new_case(
        self, key: ProtectionSpace, profile: Profile, way: SignInMethod
    ) -> SpaceState | None:
        """Return a case for a protection space; None if there are too many that matter."""
        if len(self.cases) >= self.rules.cases_most and not self._drop_a_case():
            return None
        case = SpaceState(key, profile, way, self.now, relook_at=self.now)
        self.cases[key] = case
        return case

    def _drop_a_case(self) -> bool:
        """Forget the idle case that was seen longest ago, a trusted one last."""
        idle = [
            c
            for c in self.cases.values()
            if c.is_idle and c.phase is not SpacePhase.CHECKING and not (c.own or c.queue)
        ]
        if not idle:
            return False
        oldest = min(idle, key=lambda case: (case.phase is SpacePhase.TRUSTED, case.seen))
        del self.cases[oldest.key]
        return True

    def usable_again(self, profile_id: str) -> None:
        """Forget that the upstreams of a profile offered no scheme that can be used."""
        for space in [one for one in self.unusable if one.profile_id == profile_id]:
            del self.unusable[space]

    # --- Requests ----------------------------------------------------------------------------

    def park(self, case: SpaceState, request: ParkedRequest) -> None:
        """Let a request wait."""
        case.parked[request.waiter] = request
        self.homes[request.waiter] = case
        self.changed(case)

    def leave(self, waiter: int) -> None:
        """Take a request out of where it waits, if it does."""
        case = self.homes.pop(waiter, None)
        if case:
            del case.parked[waiter]
            self.changed(case)

    def empty(self, case: SpaceState) -> list[ParkedRequest]:
        """Take all requests out of a case, the oldest first."""
        requests = list(case.parked.values())
        for request in requests:
            del self.homes[request.waiter]
        case.parked.clear()
        return requests

    def refuse(self, waiter: int, reason: RefusalReason, text: str = "") -> None:
        """Give a request a reason in place of a login."""
        self.effects.append(RefuseRequest(waiter, reason, text))

    def refuse_all(self, case: SpaceState, reason: RefusalReason, text: str = "") -> None:
        """Give all requests of a case a reason."""
        for request in self.empty(case):
            self.refuse(request.waiter, reason, text)

    def release(self, waiter: int, case: SpaceState, scheme: str) -> None:
        """Give a request the present login."""
        self.effects.append(ReleaseRequest(waiter, case.login_id, scheme))

    def recall(self, case: SpaceState) -> None:
        """Let no request that waits for its turn carry the login of a case."""
        self.effects += map(RecallLogin, case.queue)
        case.queue.clear()

    # --- Pins --------------------------------------------------------------------------------

    def pin(self, space: UpstreamId, pin: UpstreamFingerprint | None) -> None:
        """Remember what an upstream is; None: forget it."""
        if self.pins.get(space) == pin:
            return
        if pin is None:
            del self.pins[space]
        else:
            self.pins[space] = pin
        self.effects.append(RecordFingerprint(space, pin))

    # --- Telling -----------------------------------------------------------------------------

    def changed(self, case: SpaceState) -> None:
        """Take note that a question may read differently."""
        if case.asked:
            self.effects.append(NotifyPromptChanged(case.asked.number))

    def open_questions(self) -> Iterator[SpaceState]:
        """Yield the cases that a question is open about."""
        return (case for case in self.cases.values() if case.asked)
