"""What all parts of the machine look at and write to: the cases, the time, and what to do about it.

`trayproxy.desk.machine.machine` puts the parts together. Each decides about one thing (questions,
logins, verdicts, schemes, the person), and all of them leave their effects here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from trayproxy.auth.login import Login
from trayproxy.control.messages import KeyringState, KeyringStatus, Problem, PromptReason
from trayproxy.desk.machine.events import (
    DenyPermit,
    Effect,
    NotifyPromptChanged,
    RecordFingerprint,
    RefusalReason,
    RefuseRequest,
    ReleaseRequest,
    SaveUserName,
    SignInMethod,
)
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.machine.space_state import ParkedRequest, SpacePhase, SpaceState
from trayproxy.desk.protection_space import ProtectionSpace, UpstreamFingerprint, UpstreamId
from trayproxy.desk.rejected_logins import RejectedLogins
from trayproxy.profiles.profile import Profile

LASTING_REASONS = frozenset(
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
        limits: Times and limits.
        rejected: Logins not to send by themselves.
        fingerprints: What upstreams were when they last accepted a login.
        now: The time of the present event.
        keyring: The password store, as far as it is known.
        spaces: All protection spaces.
        space_of_request: Where each request waits.
        addresses: Of each upstream, as far as they are known.
        active: The active profile.
        profiles: Profiles as they are now, None for one that is gone.
        no_common_scheme: The upstreams whose last 407 offered no scheme that can be used, and what
            requests were told.
        saved: The profiles of which the keyring is known to hold a login.
        can_send_own: Whether requests of our own can be sent.
        screen_locked: Nobody is before the screen.
        effects: What to do, in order; taken by `Machine.handle`.
    """

    def __init__(
        self,
        limits: DeskLimits,
        rejected: RejectedLogins,
        fingerprints: Mapping[UpstreamId, UpstreamFingerprint],
    ) -> None:
        self.limits = limits
        self.rejected = rejected
        self.fingerprints = dict(fingerprints)
        self.now = 0.0
        self.keyring = KeyringStatus(KeyringState.UNKNOWN)
        self.spaces: dict[ProtectionSpace, SpaceState] = {}
        self.space_of_request: dict[int, SpaceState] = {}
        self.addresses: dict[UpstreamId, tuple[str, ...]] = {}
        self.active: Profile | None = None
        self.profiles: dict[str, Profile | None] = {}
        self.no_common_scheme: dict[UpstreamId, Problem] = {}
        self.saved: set[str] = set()
        self.can_send_own = False
        self.screen_locked = False
        self.effects: list[Effect] = []

    # --- Cases -------------------------------------------------------------------------------

    def spaces_of_profile(self, profile_id: str) -> list[SpaceState]:
        """Return the cases of a profile."""
        return [s for s in self.spaces.values() if s.key.upstream_id.profile_id == profile_id]

    def spaces_of_upstream(self, upstream_id: UpstreamId) -> list[SpaceState]:
        """Return the cases of an upstream, one for each realm."""
        return [s for s in self.spaces.values() if s.key.upstream_id == upstream_id]

    def other_realms(self, space: SpaceState) -> list[SpaceState]:
        """Return the other realms of its upstream."""
        return [s for s in self.spaces_of_upstream(space.key.upstream_id) if s is not space]

    def rejection_scopes(self, upstream_id: UpstreamId) -> tuple[str, ...]:
        """Return where rejections by an upstream hold: at its URL, and at its addresses."""
        return (upstream_id.upstream, *self.addresses.get(upstream_id, ()))

    def is_rejected(self, upstream_id: UpstreamId, login: Login) -> bool:
        """Return whether an upstream has rejected a login, to whatever profile."""
        return self.rejected.contains(self.rejection_scopes(upstream_id), login)

    def others_of_upstream(self, space: SpaceState) -> list[SpaceState]:
        """Return the other cases of its upstream, of whatever profile and realm."""
        scopes = set(self.rejection_scopes(space.key.upstream_id))
        return [
            other
            for other in self.spaces.values()
            if other is not space
            and not scopes.isdisjoint(self.rejection_scopes(other.key.upstream_id))
        ]

    def space_of_prompt(self, number: int) -> SpaceState | None:
        """Return the case that a question is about, None if there is none of that number."""
        for space in self.spaces.values():
            if space.prompt and space.prompt.number == number:
                return space
        return None

    def keep_user(self, space: SpaceState, *, replaces: bool) -> None:
        """Suggest the user name of an accepted login from now on, and keep it in the profile.

        A profile has one user name. Where another of its upstreams, or another realm, has accepted
        another user, the profile stays as it is: the other login would be asked about again.

        Args:
            space: With the accepted login.
            replaces: A person has chosen the user name: it also replaces that of the profile.
        """
        if space.login is None:
            return
        space.user = user = space.login.user
        spaces = self.spaces_of_profile(space.profile.id)
        others = [one.login.user for one in spaces if one.login and one.accepted_at is not None]
        is_settled = space.profile.user == user or (space.profile.user != "" and not replaces)
        if is_settled or any(other != user for other in others):
            return
        profile = replace(space.profile, user=user)
        self.profiles[profile.id] = profile
        for one in spaces:
            one.profile = profile
        self.effects.append(SaveUserName(profile.id, user))

    def add_space(
        self, key: ProtectionSpace, profile: Profile, method: SignInMethod
    ) -> SpaceState | None:
        """Return a case for a protection space; None if there are too many that matter."""
        if len(self.spaces) >= self.limits.spaces_max and not self._evict_space():
            return None
        space = SpaceState(key, profile, method, self.now, next_lookup_at=self.now)
        self.spaces[key] = space
        return space

    def _evict_space(self) -> bool:
        """Forget the idle case that was seen longest ago, a trusted one last."""
        idle = [
            s
            for s in self.spaces.values()
            if s.is_idle
            and s.phase is not SpacePhase.CHECKING
            and not (s.own_request or s.permit_queue)
        ]
        if not idle:
            return False
        oldest = min(idle, key=lambda space: (space.phase is SpacePhase.TRUSTED, space.seen_at))
        del self.spaces[oldest.key]
        return True

    def clear_no_common_scheme(self, profile_id: str) -> None:
        """Forget that the upstreams of a profile offered no scheme that can be used."""
        for upstream_id in [one for one in self.no_common_scheme if one.profile_id == profile_id]:
            del self.no_common_scheme[upstream_id]

    # --- Requests ----------------------------------------------------------------------------

    def park(self, space: SpaceState, request: ParkedRequest) -> None:
        """Let a request wait."""
        space.parked[request.request_id] = request
        self.space_of_request[request.request_id] = space
        self.prompt_changed(space)

    def unpark(self, request_id: int) -> None:
        """Take a request out of where it waits, if it does."""
        space = self.space_of_request.pop(request_id, None)
        if space:
            del space.parked[request_id]
            self.prompt_changed(space)

    def unpark_all(self, space: SpaceState) -> list[ParkedRequest]:
        """Take all requests out of a case, the oldest first."""
        requests = list(space.parked.values())
        for request in requests:
            del self.space_of_request[request.request_id]
        space.parked.clear()
        return requests

    def refuse(self, request_id: int, reason: RefusalReason, text: str = "") -> None:
        """Give a request a reason in place of a login."""
        self.effects.append(RefuseRequest(request_id, reason, text))

    def refuse_all(self, space: SpaceState, reason: RefusalReason, text: str = "") -> None:
        """Give all requests of a case a reason."""
        for request in self.unpark_all(space):
            self.refuse(request.request_id, reason, text)

    def release(self, request_id: int, space: SpaceState, scheme: str) -> None:
        """Give a request the present login."""
        self.effects.append(ReleaseRequest(request_id, space.login_id, scheme))

    def deny_permits(self, space: SpaceState) -> None:
        """Let no request that waits for its turn carry the login of a case."""
        self.effects += map(DenyPermit, space.permit_queue)
        space.permit_queue.clear()

    # --- Pins --------------------------------------------------------------------------------

    def set_fingerprint(
        self, upstream_id: UpstreamId, fingerprint: UpstreamFingerprint | None
    ) -> None:
        """Remember what an upstream is; None: forget it."""
        if self.fingerprints.get(upstream_id) == fingerprint:
            return
        if fingerprint is None:
            del self.fingerprints[upstream_id]
        else:
            self.fingerprints[upstream_id] = fingerprint
        self.effects.append(RecordFingerprint(upstream_id, fingerprint))

    # --- Telling -----------------------------------------------------------------------------

    def prompt_changed(self, space: SpaceState) -> None:
        """Take note that a question may read differently."""
        if space.prompt:
            self.effects.append(NotifyPromptChanged(space.prompt.number))

    def prompted_spaces(self) -> Iterator[SpaceState]:
        """Yield the cases that a question is open about."""
        return (space for space in self.spaces.values() if space.prompt)
