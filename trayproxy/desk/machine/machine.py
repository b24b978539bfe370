"""The sign-in flow as a pure state machine (ux §3.4).

The machine receives events with their times and returns effects. It does no I/O and has neither a
clock nor timers: tests can play any sequence of events. It guarantees:

- An unverified login is sent on one request, the canary. Only an acceptance of the canary releases
  the other requests and saves the login.
- An accepted login without recent proof is sent on single requests, at intervals (`Pacing`).
- Only a request with the login can end the trial of the login, and only if the request was released
  after the login came into doubt.
- A rejected login is never sent again automatically: neither on the next request nor to another
  realm of the upstream. If the user types it again, it is sent only after *Try anyway*.
- No login is sent automatically to an upstream with weaker schemes than before or with another
  realm.
- There is at most one prompt per protection space, and prompts do not open simultaneously.
- A parked request is released or refused within five minutes.

There is no event for a rejection. A rejected request is challenged again, and the event names the
login of the request (`RequestChallenged.tried`); the machine compares the login with the current
generation.

`Machine` dispatches events, parks requests, follows changes of profiles and handles deadlines. The
other decisions are in `Prompts`, `CredentialLookup`, `Outcomes`, `Verification`, `Pacing`,
`UserActions` and `scheme_policy`, which share a `DeskState`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from math import inf

from msgspec import structs

from trayproxy.auth.scheme import is_password_unchecked
from trayproxy.desk.machine.credential_lookup import CredentialLookup
from trayproxy.desk.machine.events import (
    ClientLeft,
    Effect,
    Event,
    FrontEndsChanged,
    KeyringSurveyed,
    LoginAccepted,
    LoginProvided,
    LoginSaved,
    LoginsForgotten,
    LoginUnproved,
    LookupFinished,
    NetworkChanged,
    NoCommonScheme,
    NoResponse,
    OwnRequestEnded,
    PermitRequested,
    ProfileDeleted,
    ProfileEdited,
    ProfileSwitched,
    ProgramIdentified,
    PromptAnswered,
    PromptDeclined,
    PromptTouched,
    RefusalReason,
    RequestChallenged,
    ScreenLocked,
    SendWithoutLogin,
    SignInRequested,
    TimePassed,
    TrialRecorded,
    TriedLogin,
    UpstreamSilent,
)
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.machine.outcomes import Outcomes
from trayproxy.desk.machine.pacing import Pacing
from trayproxy.desk.machine.prompts import Prompts
from trayproxy.desk.machine.queries import Queries
from trayproxy.desk.machine.scheme_policy import objection, pick
from trayproxy.desk.machine.space_state import ParkedRequest, SpacePhase, SpaceState
from trayproxy.desk.machine.state import DeskState
from trayproxy.desk.machine.user_actions import UserActions
from trayproxy.desk.machine.verification import OwnRequests, Verification
from trayproxy.desk.protection_space import ProtectionSpace, UpstreamFingerprint, UpstreamId
from trayproxy.desk.rejected_logins import RejectedLogins
from trayproxy.domain.signin import Ending, KeyringState, KeyringStatus, Program, PromptReason
from trayproxy.profiles.profile import Profile, SignIn

_WEAKER_SCHEME = frozenset({PromptReason.DOWNGRADE, PromptReason.FALLBACK})
_WITH_LOGIN = frozenset({SpacePhase.UNVERIFIED, SpacePhase.CHECKING, SpacePhase.TRUSTED})


class Machine(Queries):
    """The state machine of all protection spaces and their prompts."""

    def __init__(
        self,
        limits: DeskLimits,
        rejected: RejectedLogins,
        fingerprints: Mapping[UpstreamId, UpstreamFingerprint],
    ) -> None:
        """Create a machine without protection spaces.

        Args:
            limits: Timeouts and limits.
            rejected: Rejected logins, which are not sent automatically; the machine adds to them.
            fingerprints: The fingerprint of each upstream at its last acceptance of a login.
        """
        super().__init__(DeskState(limits, rejected, fingerprints))
        self._prompts = Prompts(self.state)
        self._lookup = CredentialLookup(self.state, self._prompts)
        self._outcomes = Outcomes(self.state, self._prompts)
        self._own_requests = OwnRequests(self.state, self._prompts)
        self._verification = Verification(
            self.state, self._prompts, self._outcomes, self._own_requests
        )
        self._pacing = Pacing(self.state, self._own_requests)
        self._user_actions = UserActions(
            self.state, self._prompts, self._lookup, self._own_requests
        )

    # --- Events ----------------------------------------------------------------------------------

    def handle(self, now: float, event: Event) -> list[Effect]:
        """Handle an event and return the effects in order.

        Args:
            now: Time of the event in seconds of a monotonic clock; not less than at the last call.
            event: The event.
        """
        state = self.state
        state.now = now
        # Deadlines first, so the event is handled in the state of its time. Requests are released
        # only after the event, which may provide a better login.
        for space in state.spaces.values():
            self._expire(space)
        self._dispatch(event)
        for space in state.spaces.values():
            self._expire(space)
        self._verification.sweep()
        self._pacing.sweep()
        self._prompts.sweep()
        effects, state.effects = state.effects, []
        return effects

    def _dispatch(self, event: Event) -> None:
        match event:
            case RequestChallenged():
                self._handle_challenge(event)
            case NoCommonScheme(upstream_id, problem):
                self.state.no_common_scheme[upstream_id] = problem
            case LoginAccepted():
                self.state.no_common_scheme.pop(event.login_id.space.upstream_id, None)
                self._outcomes.record_acceptance(event)
            case LoginUnproved():
                self._verification.handle_unproved(event)
            case NoResponse():
                self._verification.handle_no_response(event)
            case PermitRequested():
                self._pacing.request_permit(event)
            case UpstreamSilent():
                self._pacing.handle_overdue(event)
            case OwnRequestEnded():
                self._own_requests.handle_ended(event)
            case ClientLeft(request_id):
                self.state.unpark(request_id)
                self._pacing.remove(request_id)
            case ProgramIdentified(request_id, program):
                self._set_program(request_id, program)
            case LookupFinished():
                self._lookup.handle_found(event)
            case TrialRecorded():
                self._verification.handle_recorded(event)
            case LoginSaved(profile_id):
                self.state.saved.add(profile_id)
            case KeyringSurveyed(keyring):
                self._set_keyring(keyring)
            case TimePassed():
                pass
            case NetworkChanged():
                self._handle_network_change()
            case ScreenLocked(locked):
                self._prompts.set_screen_locked(locked)
            case FrontEndsChanged(count):
                self._prompts.set_front_ends(count)
            case _:
                self._dispatch_user_event(event)

    def _dispatch_user_event(
        self,
        event: PromptAnswered
        | PromptDeclined
        | PromptTouched
        | SignInRequested
        | LoginProvided
        | LoginsForgotten
        | ProfileEdited
        | ProfileDeleted
        | ProfileSwitched,
    ) -> None:
        match event:
            case PromptAnswered():
                self._user_actions.handle_answer(event)
            case PromptDeclined(number, snooze):
                self._user_actions.handle_decline(number, snooze)
            case PromptTouched(number):
                self._user_actions.handle_touch(number)
            case SignInRequested(profile, method):
                self._user_actions.open_prompt(profile, method)
            case LoginProvided():
                self._user_actions.use_login(event)
            case LoginsForgotten(profile_id):
                self._user_actions.forget_logins(profile_id)
            case ProfileEdited(profile):
                self._edit_profile(profile)
            case ProfileDeleted(profile_id, for_good):
                self._delete_profile(profile_id, for_good=for_good)
            case ProfileSwitched(profile):
                self._switch_profile(profile)

    # --- Queries ---------------------------------------------------------------------------------

    def deadline(self) -> float:
        """Return the time of the next deadline, at which a `TimePassed` is due; infinite if there
        is none."""
        times = [time for space in self.state.spaces.values() for time in self._deadlines(space)]
        return min((*times, *self._prompts.deadlines()), default=inf)

    def profile(self, profile: Profile) -> Profile:
        """Return a profile as currently configured; return the argument if it is unknown or
        deleted."""
        return self.state.profiles.get(profile.id) or profile

    # --- Requests --------------------------------------------------------------------------------

    def _handle_challenge(self, event: RequestChallenged) -> None:
        state, tried = self.state, event.tried
        event = structs.replace(event, space=self._resolve_space(event.space))
        if not self._is_current(event.space.upstream_id, event.profile):
            return state.refuse(event.request_id, RefusalReason.WITHDRAWN)
        if event.addresses:
            state.addresses[event.space.upstream_id] = event.addresses
        changed_realm = tried is not None and tried.login_id.space != event.space
        if tried:
            self._outcomes.record_late_rejection(tried)
        if tried and changed_realm:
            self._outcomes.handle_other_realm(tried, event.space)
        if event.space not in state.spaces and not event.offers:
            state.effects.append(SendWithoutLogin(event.request_id))
            return None
        space = self._space_for(event)
        if space is None:
            return state.refuse(event.request_id, RefusalReason.CROWDED)
        if event.offers:
            state.no_common_scheme.pop(event.space.upstream_id, None)
        self._record_challenge(space, event)
        in_flight = tried is not None and tried.permit in space.doubt.in_flight
        if tried:
            space.doubt = space.doubt.returned(tried.permit)
        if tried and changed_realm and tried.has_changed_realm:
            return state.refuse(event.request_id, RefusalReason.FORBIDDEN)
        request = ParkedRequest(
            event.request_id,
            state.now,
            event.target,
            event.program,
            event.offers,
            event.is_own,
            refused_with=event.refused_with,
        )
        if tried and tried.login_id == space.login_id:
            return self._handle_refused_request(space, request, event, tried, in_flight)
        return self._park_or_refuse(space, request)

    def _record_challenge(self, space: SpaceState, event: RequestChallenged) -> None:
        """Update a protection space with the schemes and the target of a challenged request."""
        space.seen_at = self.state.now
        space.trial = space.trial.challenged(event.target, is_own=event.is_own)
        if event.offers:
            space.offers = event.offers
            offer = pick(space, event.offers, self.state.now)
            space.prompt = replace(space.prompt, method=(offer or event.offers[0]).method)

    def _handle_refused_request(
        self,
        space: SpaceState,
        request: ParkedRequest,
        event: RequestChallenged,
        tried: TriedLogin,
        in_flight: bool,
    ) -> None:
        """Handle a request that was refused with the current login: park it again or refuse it."""
        state = self.state
        is_trial = in_flight or event.is_own or not space.current.was_accepted
        if event.offers and not tried.is_offered_again and not tried.is_final:
            self._outcomes.handle_other_scheme(space, tried, is_trial=is_trial)
            return self._park_or_refuse(space, request)
        if tried.verdict and is_password_unchecked(tried.verdict):
            is_offered = not event.offers or any(
                offer.scheme == tried.scheme for offer in event.offers
            )
            if not self._outcomes.handle_unusable_scheme(
                space, tried, tried.verdict, is_offered=is_offered, is_trial=is_trial
            ):
                return state.refuse(event.request_id, RefusalReason.UNUSABLE, tried.verdict.text)
            if pick(space, event.offers, state.now) is None:
                # A 407 within a handshake may omit other schemes of the upstream, and the offers of
                # an earlier 407 may be outdated.
                state.effects.append(SendWithoutLogin(event.request_id))
                return None
            return self._park_or_refuse(space, request)
        if self._outcomes.handle_refusal(space, event, tried, is_trial=is_trial):
            return self._park_or_refuse(space, request)
        if (
            space.phase is SpacePhase.TRUSTED
            or event.is_own
            or not self._outcomes.can_verify(space)
        ):
            return state.refuse(event.request_id, RefusalReason.FORBIDDEN)
        self._park_or_refuse(space, replace(request, was_refused=True))
        return self._own_requests.send(space)

    def _is_current(self, upstream_id: UpstreamId, profile: Profile) -> bool:
        """Return whether the current configuration of a profile includes this upstream."""
        now = self.state.profiles.get(profile.id, profile)
        return now is not None and _belongs(upstream_id, now)

    def _resolve_space(self, key: ProtectionSpace) -> ProtectionSpace:
        """Return the protection space of a 407.

        A 407 without a realm, as with NTLM and Negotiate, is about the known realm of the upstream;
        if several realms are known, about the trusted realm seen last.
        """
        if key.realm or key in self.state.spaces:
            return key
        known = [
            s for s in self.state.spaces_of_upstream(key.upstream_id) if s.key.family == key.family
        ]
        latest = max(known, key=lambda s: (s.phase is SpacePhase.TRUSTED, s.seen_at), default=None)
        return latest.key if latest else key

    def _space_for(self, event: RequestChallenged) -> SpaceState | None:
        """Return the state of the challenged protection space.

        The first challenge of an upstream fills in the blank state created for a login without a
        challenge.
        """
        state = self.state
        if space := state.spaces.get(event.space):
            return space
        blank_space = state.spaces.pop(ProtectionSpace.blank(event.space.upstream_id), None)
        if blank_space:
            blank_space.key = event.space
            state.spaces[event.space] = blank_space
            return blank_space
        return state.add_space(event.space, event.profile, event.offers[0].method)

    def _park_or_refuse(self, space: SpaceState, request: ParkedRequest) -> None:
        """Park a request, and start a keyring look-up if no other request is parked; or refuse it.

        `Verification` releases parked requests after each event.
        """
        state = self.state
        if space.phase is SpacePhase.SNOOZED:
            return state.refuse(request.request_id, RefusalReason.DECLINED)
        if len(space.parked) >= state.limits.parked_max and space.phase is not SpacePhase.TRUSTED:
            return state.refuse(request.request_id, RefusalReason.CROWDED)
        if request.is_own and space.phase not in _WITH_LOGIN:
            return state.refuse(request.request_id, RefusalReason.WITHDRAWN)
        if space.prompt.reason is PromptReason.ASKED_FOR:
            space.prompt = replace(space.prompt, reason=PromptReason.NEEDED)
        is_first = not space.parked
        state.park(space, request)
        if space.phase is SpacePhase.NO_LOGIN:
            return self._lookup.start(space)
        if space.phase is SpacePhase.PROMPTING and self._matches_again(space, request):
            return self._resume_after_match(space)
        if space.phase is SpacePhase.PROMPTING and is_first and space.prompt.open is None:
            return self._lookup.start(space)
        return None

    def _matches_again(self, space: SpaceState, request: ParkedRequest) -> bool:
        """Return whether a changed upstream matches its fingerprint again."""
        if space.prompt.reason not in _WEAKER_SCHEME or not space.current.was_accepted:
            return False
        offer = pick(space, request.offers, self.state.now)
        return offer is not None and objection(self.state, space, offer, request.offers) is None

    def _resume_after_match(self, space: SpaceState) -> None:
        """Use the login again now that the upstream matches its fingerprint.

        Parked requests are refused if their own 407 does not match the fingerprint.
        """
        for request in list(space.parked.values()):
            if not self._matches_again(space, request):
                self.state.refuse(request.request_id, RefusalReason.WEAKER)
        space.move_to(SpacePhase.UNVERIFIED)

    def _set_program(self, request_id: int, program: Program) -> None:
        space = self.state.space_of_request(request_id)
        if space:
            space.parked[request_id] = replace(space.parked[request_id], program=program)
            self.state.prompt_changed(space)

    # --- Profiles --------------------------------------------------------------------------------

    def _set_keyring(self, keyring: KeyringStatus) -> None:
        before = self.state.keyring.state
        self._lookup.set_keyring(keyring)
        if keyring.state is KeyringState.OK and before is not KeyringState.OK:
            self._lookup.handle_unlocked()

    def _switch_profile(self, profile: Profile | None) -> None:
        self.state.active = profile
        if profile:
            self.state.profiles[profile.id] = profile
        self._user_actions.end_snooze(self.state.spaces.values())

    def _handle_network_change(self) -> None:
        self.state.no_common_scheme.clear()
        spaces = self.state.spaces.values()
        self._user_actions.end_snooze(s for s in spaces if s.prompt.snooze_ends_with_network)
        for space in spaces:
            space.backoffs.clear()
            space.doubt = replace(space.doubt, unanswered=0)

    def _edit_profile(self, profile: Profile) -> None:
        state = self.state
        state.profiles[profile.id] = profile
        state.clear_no_common_scheme(profile.id)
        spaces = state.spaces_of_profile(profile.id)
        removed = [
            s for s in spaces if not _belongs(s.key.upstream_id, profile) or not _fits(s, profile)
        ]
        self._remove_spaces(removed)
        for space in spaces:
            if space not in removed:
                self._apply_profile(space, profile)

    def _apply_profile(self, space: SpaceState, profile: Profile) -> None:
        """Apply an edited profile to a remaining protection space."""
        user_changed = profile.user not in ("", space.profile.user)
        method_changed = (profile.method, profile.encoding) != (
            space.profile.method,
            space.profile.encoding,
        )
        space.profile = profile
        self.state.prompt_changed(space)
        if method_changed:
            space.backoffs.clear()
            space.current = replace(space.current, scheme="", consent=None)
            if space.phase is SpacePhase.TRUSTED:
                # The login is right; the next request verifies it with the new method.
                space.move_to(SpacePhase.UNVERIFIED)
        if user_changed and (space.login is None or space.login.user != profile.user):
            self._user_actions.reset_space(space)

    def _delete_profile(self, profile_id: str, *, for_good: bool) -> None:
        self.state.profiles[profile_id] = None
        self.state.clear_no_common_scheme(profile_id)
        self._remove_spaces(self.state.spaces_of_profile(profile_id))
        if for_good:
            self._user_actions.clear_history(profile_id)

    def _remove_spaces(self, spaces: Iterable[SpaceState]) -> None:
        for space in spaces:
            self._prompts.close(space, Ending.WITHDRAWN)
            self.state.refuse_all(space, RefusalReason.WITHDRAWN)
            self.state.deny_permits(space)
            del self.state.spaces[space.key]

    # --- Deadlines -------------------------------------------------------------------------------

    def _expire(self, space: SpaceState) -> None:
        state = self.state
        for request in list(space.parked.values()):
            if state.now < request.parked_at + state.limits.parked_timeout:
                break
            state.refuse(request.request_id, RefusalReason.TIMED_OUT)
        self._verification.expire(space)
        if space.phase is SpacePhase.LOOKING_UP and state.now >= space.lookup.deadline:
            self._lookup.handle_timeout(space)
        self._lookup.poll_locked_keyring(space)
        if space.phase is SpacePhase.SNOOZED and state.now >= space.prompt.snoozed_until:
            space.move_to(SpacePhase.PROMPTING)

    def _deadlines(self, space: SpaceState) -> Iterator[float]:
        """Yield the deadlines of a protection space."""
        yield space.parked_since + self.state.limits.parked_timeout
        yield from self._verification.deadlines(space)
        yield from self._lookup.deadlines(space)
        yield from self._pacing.deadlines(space)
        if space.phase is SpacePhase.LOOKING_UP:
            yield space.lookup.deadline
        if space.phase is SpacePhase.SNOOZED:
            yield space.prompt.snoozed_until


def _belongs(upstream_id: UpstreamId, profile: Profile) -> bool:
    """Return whether a profile, as currently configured, signs in to this upstream."""
    return upstream_id in UpstreamId.all_of(profile) and profile.sign_in is not SignIn.NONE


def _fits(space: SpaceState, profile: Profile) -> bool:
    """Return whether a profile, as currently configured, has the same kind of sign-in as before."""
    return space.profile.sign_in is profile.sign_in
