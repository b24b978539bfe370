"""Read-only access to the state of the machine, for the desk and front ends."""

from dataclasses import dataclass
from enum import Enum, auto

from trayproxy.auth.login import Login
from trayproxy.desk.machine.prompt_state import UPSTREAM_CHANGED
from trayproxy.desk.machine.scheme_policy import current_backoff, objection, pick, weaker_text
from trayproxy.desk.machine.space_state import SpacePhase, SpaceState
from trayproxy.desk.machine.state import DeskState
from trayproxy.desk.machine.user_actions import preferred_space
from trayproxy.desk.protection_space import LoginId, UpstreamId
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import KeyringStatus, Program, Prompt, RefusalReason, SignInState
from trayproxy.profiles.profile import Profile

REALM_CHARS_MAX = 1024
"""Maximum number of characters of a realm that front ends receive; front ends display fewer."""

_WORST_FIRST = (
    SignInState.REJECTED,
    SignInState.NEEDED,
    SignInState.SNOOZED,
    SignInState.UNUSABLE,
    SignInState.OK,
    SignInState.UNTESTED,
)


class TrialState(Enum):
    """The result of verifying a login, as far as it is known."""

    UNDER_WAY = auto()
    ACCEPTED = auto()
    REJECTED = auto()
    UNSENT = auto()
    """The login had been rejected before and was not sent again."""
    UNKNOWN = auto()
    UNRECORDED = auto()
    """The login is not sent because its trial cannot be written to disk."""


@dataclass(frozen=True, slots=True)
class SignInTrouble:
    """A reason why no login can be sent to an upstream at present.

    Attributes:
        profile: The profile.
        reason: The refusal reason of its requests.
        text: Further information for the user in full sentences, or empty.
    """

    profile: Profile
    reason: RefusalReason
    text: str


@dataclass(frozen=True, slots=True)
class ProfileFacts:
    """The sign-in state of a profile for front ends.

    Attributes:
        sign_in: The worst state of its protection spaces.
        user: The user name accepted last, empty if there is none.
        snoozed_until: End of the snooze on the machine's clock; infinite if only the user ends it;
            None if there is no snooze.
        waiting: Number of parked requests of programs.
    """

    sign_in: SignInState = SignInState.UNTESTED
    user: str = ""
    snoozed_until: float | None = None
    waiting: int = 0


class Queries:
    """Read-only queries of the shared state, which only the parts of the machine and their tests
    use."""

    def __init__(self, state: DeskState) -> None:
        self.state = state

    @property
    def keyring(self) -> KeyringStatus:
        """The status of the keyring, as far as it is known."""
        return self.state.keyring

    def login(self, login_id: LoginId) -> Login | None:
        """Return the login with this identifier, or None if it is not the current login."""
        space = self.state.space_of_login(login_id)
        return space.login if space else None

    def login_scheme(self, login_id: LoginId) -> tuple[str, str]:
        """Return the scheme with which a login is sent without a 407, and its strength label.

        Both are as in `OfferedScheme`, and empty if they are unknown.
        """
        space = self.state.space_of_login(login_id)
        return (space.current.scheme, space.current.label) if space else ("", "")

    def is_current(self, login_id: LoginId) -> bool:
        """Return whether this identifier names the current login or the own sign-in."""
        return self.state.space_of_login(login_id) is not None

    def is_trusted(self, login_id: LoginId) -> bool:
        """Return whether this identifier names the current login and the login was accepted."""
        space = self.state.space_of_login(login_id)
        return space is not None and space.phase is SpacePhase.TRUSTED

    def is_proved(self, login_id: LoginId) -> bool:
        """Return whether this identifier names a trusted login and its requests got responses."""
        space = self.state.space_of_login(login_id)
        return (
            space is not None and space.phase is SpacePhase.TRUSTED and not space.doubt.unanswered
        )

    def is_settled(self, upstream_id: UpstreamId) -> bool:
        """Return whether an upstream has no open prompt, no snooze and no login in doubt.

        The result is False while the screen is locked.
        """
        spaces = self.state.spaces_of_upstream(upstream_id)
        is_open = any(
            s.prompt.open or s.doubt.exists or s.phase is SpacePhase.SNOOZED for s in spaces
        )
        return not (is_open or self.state.screen_locked)

    def known_upstreams(self, profile_id: str) -> set[str]:
        """Return the upstreams (`UpstreamId.upstream`) of a profile that have demanded a login in
        this run, or accepted one in any run."""
        spaces = {space.key.upstream_id for space in self.state.spaces_of_profile(profile_id)}
        known = spaces | self.state.fingerprints.keys()
        return {key.upstream for key in known if key.profile_id == profile_id}

    def generation(self, upstream_id: UpstreamId) -> int:
        """Return the generation of the login for the next request to an upstream."""
        spaces = self.state.spaces_of_upstream(upstream_id)
        return preferred_space(spaces).current.generation if spaces else 0

    def trial_state(self, upstream_id: UpstreamId, generation: int) -> TrialState:
        """Return the result of verifying a login of an upstream, in any realm."""
        for space in self.state.spaces.values():
            if space.key.upstream_id == upstream_id and space.current.generation == generation:
                return _trial_state(space)
        return TrialState.UNKNOWN

    def trusted_logins(self) -> dict[UpstreamId, LoginId]:
        """Return the logins sent without a 407, by upstream.

        An upstream with several realms in use has no such login: only a 407 tells which realm a
        request belongs to, and a login sent to the wrong realm is a failed log-on.
        """
        by_upstream: dict[UpstreamId, list[SpaceState]] = {}
        for space in self.state.spaces.values():
            by_upstream.setdefault(space.key.upstream_id, []).append(space)
        current = map(self._only_current_realm, by_upstream.values())
        trusted = (space for space in current if space and space.phase is SpacePhase.TRUSTED)
        return {space.key.upstream_id: space.login_id for space in trusted}

    def _only_current_realm(self, spaces: list[SpaceState]) -> SpaceState | None:
        """Return the only realm in use among the realms of an upstream, or None if several are in
        use."""
        if len(spaces) > 1:
            since = self.state.now - self.state.limits.realm_ttl
            spaces = [space for space in spaces if space.seen_at >= since]
        return spaces[0] if len(spaces) == 1 else None

    def unidentified_requests(self, number: int) -> tuple[int, ...]:
        """Return the requests of unknown programs named in a prompt."""
        space = self.state.space_of_prompt(number)
        requests = space.clients[: self.state.limits.programs_max] if space else []
        return tuple(request.request_id for request in requests if request.program is None)

    def profile_ids(self) -> frozenset[str]:
        """Return the ids of all profiles with protection spaces or sign-in problems."""
        spaces = frozenset(key.upstream_id.profile_id for key in self.state.spaces)
        return spaces | {upstream_id.profile_id for upstream_id in self.state.no_common_scheme}

    def prompt_numbers(self) -> tuple[int, ...]:
        """Return the numbers of the open prompts, oldest first."""
        return tuple(
            sorted(s.prompt.open.number for s in self.state.prompted_spaces() if s.prompt.open)
        )

    def prompt(self, number: int) -> Prompt | None:
        """Return an open prompt for front ends, or None if no prompt has this number."""
        space = self.state.space_of_prompt(number)
        if space is None:
            return None
        programs = [request.program or Program("", 0, request.target) for request in space.clients]
        return Prompt(
            number=number,
            profile_id=space.profile.id,
            profile=space.profile.name,
            upstream=space.key.upstream_id.upstream,
            realm=space.key.realm[:REALM_CHARS_MAX],
            method=space.prompt.method.title,
            transport=space.prompt.method.transport,
            user=space.prompt.user or space.profile.user,
            reason=space.prompt.reason,
            programs=tuple(programs[: self.state.limits.programs_max]),
            waiting=len(programs),
            rejections=len(space.prompt.rejection_times),
            confirm_retry=space.prompt.needs_confirmation(self.state.now, self.state.limits),
            checking=space.is_user_waiting,
            keyring=self.state.keyring,
            before=space.prompt.previous_name[:REALM_CHARS_MAX]
            if space.prompt.reason in UPSTREAM_CHANGED
            else "",
        )

    def facts(self, profile_id: str) -> ProfileFacts:
        """Return the sign-in state of a profile."""
        spaces = self.state.spaces_of_profile(profile_id)
        states = {space.sign_in for space in spaces}
        if self.no_common_scheme(profile_id):
            states.add(SignInState.UNUSABLE)
        snooze = [s.prompt.snoozed_until for s in spaces if s.phase is SpacePhase.SNOOZED]
        trusted = [(s, s.login) for s in spaces if s.phase is SpacePhase.TRUSTED and s.login]
        latest = max(trusted, key=lambda each: each[0].seen_at, default=None)
        return ProfileFacts(
            next((state for state in _WORST_FIRST if state in states), SignInState.UNTESTED),
            latest[1].user if latest else "",
            max(snooze, default=None),
            sum(len(space.clients) for space in spaces),
        )

    def no_common_scheme(self, profile_id: str = "") -> tuple[Problem, ...]:
        """Return the problems of a profile's upstreams without a usable scheme; of all profiles if
        empty."""
        found = self.state.no_common_scheme.items()
        return tuple(
            problem for upstream_id, problem in found if profile_id in ("", upstream_id.profile_id)
        )

    def troubles(self, *, is_unattended: bool = False) -> tuple[SignInTrouble, ...]:
        """Return the reasons why no login can be sent, per upstream concerned.

        Without a front end (`is_unattended`), no prompt shows that an upstream does not match its
        fingerprint, so this is a reason, too.
        """
        spaces = self.state.spaces.values()
        found = [self._trouble(space) for space in spaces]
        if is_unattended:
            found += [self._changed_upstream(space) for space in spaces]
        return tuple(dict.fromkeys(filter(None, found)))

    def changed_upstream(self, upstream_id: UpstreamId) -> SignInTrouble | None:
        """Return why a login is not sent to an upstream that does not match its fingerprint.

        None if the upstream matches its fingerprint or has none.
        """
        found = map(self._changed_upstream, self.state.spaces_of_upstream(upstream_id))
        return next(filter(None, found), None)

    def _changed_upstream(self, space: SpaceState) -> SignInTrouble | None:
        if space.phase is not SpacePhase.PROMPTING or space.prompt.reason not in UPSTREAM_CHANGED:
            return None
        offer = pick(space, space.offers, self.state.now)
        text = weaker_text(self.state, space, offer, space.prompt.reason) if offer else ""
        return SignInTrouble(space.profile, RefusalReason.WEAKER, text)

    def _trouble(self, space: SpaceState) -> SignInTrouble | None:
        if space.trial.is_record_overdue:
            return SignInTrouble(space.profile, RefusalReason.UNRECORDED, "")
        if space.phase is SpacePhase.TRUSTED and space.prompt.weaker_refusal is not None:
            return SignInTrouble(space.profile, RefusalReason.WEAKER, space.prompt.weaker_refusal)
        needs_user = space.phase is SpacePhase.UNVERIFIED and space.prompt.needs_user
        if not needs_user or not space.offers:
            return None
        offer = pick(space, space.offers, self.state.now)
        if offer and objection(self.state, space, offer, space.offers) is None:
            return None
        found = current_backoff(space, self.state.now)
        return SignInTrouble(space.profile, found.reason, found.text) if found else None


def _trial_state(space: SpaceState) -> TrialState:
    if space.phase is SpacePhase.TRUSTED:
        return TrialState.ACCEPTED
    if space.trial.is_record_overdue:
        return TrialState.UNRECORDED
    is_pending = space.trial.is_pending
    if space.phase is SpacePhase.CHECKING or (space.phase is SpacePhase.UNVERIFIED and is_pending):
        return TrialState.UNDER_WAY
    if space.current.is_unsent:
        return TrialState.UNSENT
    return TrialState.REJECTED if space.sign_in is SignInState.REJECTED else TrialState.UNKNOWN
