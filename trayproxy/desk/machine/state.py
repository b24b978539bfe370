"""The shared state of the machine: protection spaces, time and pending effects.

`trayproxy.desk.machine.machine` creates the classes that share the state. Each class decides about
a single subject (challenges, prompts, keyring look-ups, outcomes, verification, send permits,
actions of the user) and appends its effects to `DeskState.effects`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from trayproxy.auth.login import Login
from trayproxy.desk.machine.events import (
    DenyPermit,
    Effect,
    NotifyPromptChanged,
    RecordFingerprint,
    RefuseRequest,
    ReleaseRequest,
    SaveUserName,
    SignInMethod,
)
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.machine.prompt_state import PromptState
from trayproxy.desk.machine.space_state import Lookup, ParkedRequest, SpacePhase, SpaceState
from trayproxy.desk.protection_space import (
    LoginId,
    ProtectionSpace,
    UpstreamFingerprint,
    UpstreamId,
)
from trayproxy.desk.rejected_logins import RejectedLogins
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import KeyringState, KeyringStatus, RefusalReason
from trayproxy.profiles.profile import Profile, SignIn

KERBEROS_SERVER = "kerberos:"
"""The key of rejections by the Kerberos server. No URL and no address is equal to it."""


class DeskState:
    """The state of the sign-in desk.

    Attributes:
        limits: Timeouts and limits.
        rejected: Logins rejected by upstreams; they are not sent automatically.
        fingerprints: The fingerprint of each upstream at its last acceptance of a login.
        now: Time of the current event.
        keyring: Status of the keyring, as far as it is known.
        spaces: All protection spaces.
        addresses: The addresses of each upstream, as far as they are known.
        active: The active profile.
        lent: The ids of the profiles that some programs use although another one is active.
        profiles: Profiles as currently configured, by id; None for a deleted profile.
        no_common_scheme: Upstreams whose last 407 offered no usable scheme, with the problem sent
            to clients.
        can_send_own: True if own requests can be sent.
        screen_locked: True if the screen is locked.
        effects: Pending effects in order; `Machine.handle` returns and clears them.
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
        self.addresses: dict[UpstreamId, tuple[str, ...]] = {}
        self.active: Profile | None = None
        self.lent: set[str] = set()
        self.profiles: dict[str, Profile | None] = {}
        self.no_common_scheme: dict[UpstreamId, Problem] = {}
        self.can_send_own = False
        self.screen_locked = False
        self.effects: list[Effect] = []

    # --- Protection spaces -----------------------------------------------------------------------

    def spaces_of_profile(self, profile_id: str) -> list[SpaceState]:
        """Return the protection spaces of a profile."""
        return [s for s in self.spaces.values() if s.key.upstream_id.profile_id == profile_id]

    def spaces_of_upstream(self, upstream_id: UpstreamId) -> list[SpaceState]:
        """Return the protection spaces of an upstream, per realm."""
        return [s for s in self.spaces.values() if s.key.upstream_id == upstream_id]

    def other_realms(self, space: SpaceState) -> list[SpaceState]:
        """Return the other protection spaces of the same upstream and profile."""
        return [s for s in self.spaces_of_upstream(space.key.upstream_id) if s is not space]

    def rejection_scopes(self, upstream_id: UpstreamId) -> tuple[str, ...]:
        """Return the keys under which rejections by an upstream are kept: its URL and its
        addresses, and for a profile whose password is for the Kerberos server, that server, which
        all such profiles share."""
        profile = self.profiles.get(upstream_id.profile_id)
        servers = (KERBEROS_SERVER,) if profile is not None and profile.get_ticket else ()
        return (upstream_id.upstream, *self.addresses.get(upstream_id, ()), *servers)

    def is_rejected(self, upstream_id: UpstreamId, login: Login) -> bool:
        """Return whether an upstream has rejected a login, in any profile."""
        return self.rejected.contains(self.rejection_scopes(upstream_id), login)

    def others_of_upstream(self, space: SpaceState) -> list[SpaceState]:
        """Return the other protection spaces of the same upstream, in any profile and realm."""
        scopes = set(self.rejection_scopes(space.key.upstream_id))
        return [
            other
            for other in self.spaces.values()
            if other is not space
            and not scopes.isdisjoint(self.rejection_scopes(other.key.upstream_id))
        ]

    def space_of_login(self, login_id: LoginId) -> SpaceState | None:
        """Return the protection space with this current login, or None if it was replaced."""
        space = self.spaces.get(login_id.space)
        return space if space and space.login_id == login_id else None

    def space_of_request(self, request_id: int) -> SpaceState | None:
        """Return the protection space in which a request is parked, or None if there is none."""
        return next((s for s in self.spaces.values() if request_id in s.parked), None)

    def space_of_prompt(self, number: int) -> SpaceState | None:
        """Return the protection space of an open prompt, or None if no prompt has this number."""
        for space in self.spaces.values():
            if space.prompt.open and space.prompt.open.number == number:
                return space
        return None

    def keep_user(self, space: SpaceState, *, replaces: bool) -> None:
        """Suggest the user name of an accepted login in future prompts, and save it in the profile.

        A profile has a single user name. If another upstream or realm of the profile has accepted
        another user, the profile is not changed: otherwise the other login would have to be typed
        again. A user name chosen by the user (`replaces`) replaces the user name of the profile.
        """
        if space.login is None:
            return
        user = space.login.user
        space.prompt = replace(space.prompt, user=user)
        spaces = self.spaces_of_profile(space.profile.id)
        users = {each.login.user for each in spaces if each.login and each.current.was_accepted}
        is_kept = space.profile.user != "" and not replaces
        if space.profile.user == user or is_kept or users - {user}:
            return
        profile = self.profiles.get(space.profile.id) or space.profile
        self.profiles[profile.id] = replace(profile, user=user)
        for sibling in spaces:
            sibling.profile = replace(sibling.profile, user=user)
        self.effects.append(SaveUserName(profile.id, user))

    def add_space(
        self, key: ProtectionSpace, profile: Profile, method: SignInMethod
    ) -> SpaceState | None:
        """Add and return a protection space; return None if `DeskLimits.spaces_max` are in use."""
        if len(self.spaces) >= self.limits.spaces_max and not self._evict_space():
            return None
        space = SpaceState(key, profile, self.now, PromptState(method), Lookup(self.now))
        self.spaces[key] = space
        return space

    def _evict_space(self) -> bool:
        """Remove the idle protection space seen longest ago, trusted spaces last.

        Returns:
            False if no protection space is idle.
        """
        idle = [
            s
            for s in self.spaces.values()
            if not (s.parked or s.prompt.open or s.trial.own_request or s.permit_queue)
            and s.phase is not SpacePhase.CHECKING
        ]
        if not idle:
            return False
        oldest = min(idle, key=lambda space: (space.phase is SpacePhase.TRUSTED, space.seen_at))
        del self.spaces[oldest.key]
        return True

    def is_configured(self, upstream_id: UpstreamId, profile: Profile) -> bool:
        """Return whether a profile signs in to an upstream, as currently configured, or as given if
        the profile is unknown."""
        now = self.profiles.get(profile.id, profile)
        if now is None or now.sign_in is SignIn.NONE:
            return False
        # A PAC script may name any upstream.
        return now.pac is not None or upstream_id in UpstreamId.all_of(now)

    def clear_no_common_scheme(self, profile_id: str) -> None:
        """Clear the problems of a profile's upstreams about missing usable schemes."""
        for upstream_id in [key for key in self.no_common_scheme if key.profile_id == profile_id]:
            del self.no_common_scheme[upstream_id]

    # --- Requests --------------------------------------------------------------------------------

    def park(self, space: SpaceState, request: ParkedRequest) -> None:
        """Park a request in a protection space."""
        space.parked[request.request_id] = request
        self.prompt_changed(space)

    def unpark(self, request_id: int) -> None:
        """Remove a request from its protection space, if it is parked."""
        if space := self.space_of_request(request_id):
            del space.parked[request_id]
            self.prompt_changed(space)

    def refuse(self, request_id: int, reason: RefusalReason, text: str = "") -> None:
        """Refuse a request, whether it is parked or not."""
        self.unpark(request_id)
        self.effects.append(RefuseRequest(request_id, reason, text))

    def refuse_all(self, space: SpaceState, reason: RefusalReason, text: str = "") -> None:
        """Refuse all parked requests of a protection space."""
        self.effects += [RefuseRequest(request_id, reason, text) for request_id in space.parked]
        space.parked.clear()

    def release(self, request_id: int, space: SpaceState, scheme: str) -> None:
        """Release a parked request with the current login of a protection space."""
        self.unpark(request_id)
        self.effects.append(ReleaseRequest(request_id, space.login_id, scheme))

    def deny_permits(self, space: SpaceState) -> None:
        """Deny the send permits of all queued requests of a protection space."""
        self.effects += map(DenyPermit, space.permit_queue)
        space.permit_queue.clear()

    # --- Fingerprints ----------------------------------------------------------------------------

    def set_fingerprint(
        self, upstream_id: UpstreamId, fingerprint: UpstreamFingerprint | None
    ) -> None:
        """Set the fingerprint of an upstream, or remove it if None."""
        if self.fingerprints.get(upstream_id) == fingerprint:
            return
        if fingerprint is None:
            del self.fingerprints[upstream_id]
        else:
            self.fingerprints[upstream_id] = fingerprint
        self.effects.append(RecordFingerprint(upstream_id, fingerprint))

    # --- Notifications ---------------------------------------------------------------------------

    def prompt_changed(self, space: SpaceState) -> None:
        """Notify front ends of a possible change in the open prompt of a protection space."""
        if space.prompt.open:
            self.effects.append(NotifyPromptChanged(space.prompt.open.number))

    def prompted_spaces(self) -> Iterator[SpaceState]:
        """Yield the protection spaces with an open prompt."""
        return (space for space in self.spaces.values() if space.prompt.open)
