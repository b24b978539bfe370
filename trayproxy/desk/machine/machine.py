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

`Machine` dispatches events and handles deadlines. The decisions are in `Challenges`, `Prompts`,
`CredentialLookup`, `Acceptances`, `Outcomes`, `OwnRequests`, `Verification`, `Pacing`,
`UserActions` and `scheme_policy`, which share a `DeskState`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import inf

from trayproxy.desk.machine import events
from trayproxy.desk.machine.challenges import Challenges
from trayproxy.desk.machine.credential_lookup import CredentialLookup
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.machine.outcomes import Acceptances, Outcomes
from trayproxy.desk.machine.pacing import Pacing
from trayproxy.desk.machine.prompts import Prompts
from trayproxy.desk.machine.queries import Queries
from trayproxy.desk.machine.space_state import SpacePhase, SpaceState
from trayproxy.desk.machine.state import DeskState
from trayproxy.desk.machine.user_actions import UserActions
from trayproxy.desk.machine.verification import OwnRequests, Verification
from trayproxy.desk.protection_space import UpstreamFingerprint, UpstreamId
from trayproxy.desk.rejected_logins import RejectedLogins
from trayproxy.domain.signin import KeyringState, KeyringStatus, RefusalReason
from trayproxy.profiles.profile import Profile


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
        self._acceptances = Acceptances(self.state, self._prompts)
        self._outcomes = Outcomes(self.state, self._prompts)
        self._own_requests = OwnRequests(self.state, self._prompts)
        self._verification = Verification(
            self.state, self._prompts, self._outcomes, self._own_requests
        )
        self._challenges = Challenges(self.state, self._lookup, self._outcomes, self._own_requests)
        self._pacing = Pacing(self.state, self._own_requests)
        self._user_actions = UserActions(
            self.state, self._prompts, self._lookup, self._own_requests
        )

    # --- Events ----------------------------------------------------------------------------------

    def handle(self, now: float, event: events.Event) -> list[events.Effect]:
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

    def _dispatch(self, event: events.Event) -> None:
        match event:
            case events.RequestChallenged():
                self._challenges.handle(event)
            case events.NoCommonScheme(upstream_id, problem):
                self.state.no_common_scheme[upstream_id] = problem
            case events.LoginAccepted():
                self.state.no_common_scheme.pop(event.login_id.space.upstream_id, None)
                self._acceptances.record(event)
            case events.LoginUnproved():
                self._verification.handle_unproved(event)
            case events.NoResponse():
                self._verification.handle_no_response(event)
            case events.PermitRequested():
                self._pacing.request_permit(event)
            case events.UpstreamSilent():
                self._pacing.handle_overdue(event)
            case events.OwnRequestEnded():
                self._own_requests.handle_ended(event)
            case events.ClientLeft(request_id):
                self.state.unpark(request_id)
                self._pacing.remove(request_id)
            case events.ProgramIdentified(request_id, program):
                self._challenges.set_program(request_id, program)
            case events.LookupFinished():
                self._lookup.handle_found(event)
            case events.TrialRecorded():
                self._verification.handle_recorded(event)
            case events.KeyringSurveyed(keyring):
                self._set_keyring(keyring)
            case events.TimePassed():
                pass
            case events.NetworkChanged():
                self._handle_network_change()
            case events.ScreenLocked(locked):
                self.state.screen_locked = locked
            case events.FrontEndsChanged(count):
                self._prompts.set_front_ends(count)
            case _:
                self._dispatch_user_action(event)

    def _dispatch_user_action(self, event: events.Event) -> None:
        match event:
            case events.PromptAnswered():
                self._user_actions.handle_answer(event)
            case events.PromptDeclined(number, snooze):
                self._user_actions.handle_decline(number, snooze)
            case events.PromptTouched(number):
                self._user_actions.handle_touch(number)
            case events.SignInRequested(profile, method):
                self._user_actions.open_prompt(profile, method)
            case events.LoginProvided():
                self._user_actions.use_login(event)
            case events.LoginsForgotten(profile_id):
                self._user_actions.forget_logins(profile_id)
            case events.ProfileEdited(profile):
                self._user_actions.edit_profile(profile)
            case events.ProfileDeleted(profile_id, for_good):
                self._user_actions.delete_profile(profile_id, for_good=for_good)
            case events.ProfileLent(profile):
                self._user_actions.lend_profile(profile)
            case events.ProfileSwitched(profile):
                self._user_actions.switch_profile(profile)

    # --- Queries ---------------------------------------------------------------------------------

    def deadline(self) -> float:
        """Return the time of the next deadline, at which a `TimePassed` is due; infinite if there
        is none."""
        times = [time for space in self.state.spaces.values() for time in self._deadlines(space)]
        return min((*times, *self._prompts.deadlines()), default=inf)

    def profile(self, profile: Profile) -> Profile:
        """Return a profile as currently configured; return the argument if it is unknown or
        deleted. An automatic profile keeps the upstream of the argument."""
        now = self.state.profiles.get(profile.id) or profile
        if now.pac is not None and profile.upstream is not None:
            return now.via(profile.upstream)
        return now

    # --- System --------------------------------------------------------------------------------

    def _set_keyring(self, keyring: KeyringStatus) -> None:
        before = self.state.keyring.state
        self._lookup.set_keyring(keyring)
        if keyring.state is KeyringState.OK and before is not KeyringState.OK:
            self._lookup.handle_unlocked()

    def _handle_network_change(self) -> None:
        self.state.no_common_scheme.clear()
        spaces = self.state.spaces.values()
        self._user_actions.end_snooze(s for s in spaces if s.prompt.snooze_ends_with_network)
        for space in spaces:
            space.backoffs.clear()
            space.doubt = replace(space.doubt, unanswered=0)

    # --- Deadlines -------------------------------------------------------------------------------

    def _expire(self, space: SpaceState) -> None:
        state = self.state
        for request in list(space.parked.values()):
            if state.now < request.parked_at + state.limits.parked_timeout:
                break
            state.refuse(request.request_id, RefusalReason.TIMED_OUT)
        self._verification.expire(space)
        if state.now >= space.lookup.deadline:
            self._lookup.handle_timeout(space)
        self._lookup.poll_locked_keyring(space)
        if space.phase is SpacePhase.SNOOZED and state.now >= space.prompt.snoozed_until:
            space.move_to(SpacePhase.PROMPTING)

    def _deadlines(self, space: SpaceState) -> Iterator[float]:
        """Yield the deadlines of a protection space."""
        yield space.parked_since + self.state.limits.parked_timeout
        yield space.trial.deadline
        yield space.lookup.deadline
        yield from self._lookup.deadlines(space)
        yield from self._pacing.deadlines(space)
        if space.phase is SpacePhase.SNOOZED:
            yield space.prompt.snoozed_until
