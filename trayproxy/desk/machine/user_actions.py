"""The actions of the user: answering and declining prompts, signing in, removing logins."""

from collections.abc import Iterable
from dataclasses import replace
from math import inf

from trayproxy.auth.login import Login
from trayproxy.desk.machine.credential_lookup import CredentialLookup
from trayproxy.desk.machine.current_login import LoginSource
from trayproxy.desk.machine.events import (
    ClearHistory,
    LoginProvided,
    PromptAnswered,
    SignInMethod,
    SurveyKeyring,
)
from trayproxy.desk.machine.prompts import Prompts
from trayproxy.desk.machine.scheme_policy import pick
from trayproxy.desk.machine.space_state import SpacePhase, SpaceState
from trayproxy.desk.machine.state import DeskState
from trayproxy.desk.machine.verification import OwnRequests
from trayproxy.desk.protection_space import ProtectionSpace, UpstreamId
from trayproxy.domain.signin import Ending, KeyringState, PromptReason, RefusalReason, Snooze
from trayproxy.profiles.profile import Profile, SignIn


class UserActions:
    """Carries out the actions of the user."""

    def __init__(
        self,
        state: DeskState,
        prompts: Prompts,
        lookup: CredentialLookup,
        own_requests: OwnRequests,
    ) -> None:
        self._state = state
        self._prompts = prompts
        self._lookup = lookup
        self._own_requests = own_requests

    # --- Prompts ---------------------------------------------------------------------------------

    def handle_answer(self, event: PromptAnswered) -> None:
        """Use the login with which the user has answered a prompt."""
        space = self._state.space_of_prompt(event.number)
        if space is None or space.is_user_waiting:
            return
        self._prompts.touch(space)
        if self._is_rejected(space, event.login):
            return self._ask_again(space, event.login)
        if self._is_on_trial(space, event.login):
            self._wait_for_verdict(space)
        else:
            offers = space.objected_requests[0].offers if space.objected_requests else space.offers
            shown = pick(space, offers, self._state.now) if space.key.family else None
            self._lookup.set_login(space, event.login, LoginSource.TYPED)
            space.current = replace(space.current, consent=shown)
        space.current = space.current.provided(remember=event.remember)
        if not space.parked and not self._state.can_send_own:
            # No request is parked: the next request verifies the login without a prompt.
            self._prompts.close(space, Ending.ABANDONED)
        return None

    @staticmethod
    def _is_on_trial(space: SpaceState, login: Login) -> bool:
        """Return whether the same typed login is on trial already, or about to be; it is sent only
        once."""
        is_open = space.phase in (SpacePhase.CHECKING, SpacePhase.UNVERIFIED)
        is_same = space.current.source is LoginSource.TYPED and space.login == login
        return is_open and is_same and not space.current.was_accepted

    def _wait_for_verdict(self, space: SpaceState) -> None:
        """Continue the trial of a login after the user has typed the same login again."""
        space.prompt = replace(space.prompt, reason=PromptReason.NEEDED)
        is_checking = space.phase is SpacePhase.CHECKING
        overdue_at = self._state.now + self._state.limits.canary_overdue if is_checking else inf
        space.trial = replace(space.trial, canary_overdue_at=overdue_at, was_own_sent=False)
        self._state.prompt_changed(space)

    def _is_rejected(self, space: SpaceState, login: Login) -> bool:
        if space.prompt.may_retry_rejected or space.prompt.needs_confirmation(
            self._state.now, self._state.limits
        ):
            return False
        if space.current.was_accepted and login == space.login:
            return False  # The login was accepted before and may still be right.
        return self._state.is_rejected(space.key.upstream_id, login)

    def _ask_again(self, space: SpaceState, login: Login) -> None:
        """Report a login rejected before: to send the login again would cost a failed log-on."""
        space.prompt = space.prompt.rejected_before(login.user, PromptReason.REPEATED)
        self._state.prompt_changed(space)

    def handle_decline(self, number: int, snooze: Snooze) -> None:
        """Close a declined prompt, start the snooze and refuse the parked requests."""
        space = self._state.space_of_prompt(number)
        if space is None:
            return None
        self._prompts.close(space, Ending.DECLINED)
        if space.phase is SpacePhase.TRUSTED:
            return self._decline_weaker(space, snooze)
        if space.phase is SpacePhase.UNVERIFIED and space.current.source is not LoginSource.TYPED:
            return None
        self._lookup.clear_login(space)
        space.prompt = space.prompt.snoozed(
            self._state.now + self._snooze_time(snooze),
            ends_with_network=snooze is not Snooze.A_MINUTE,
        )
        space.move_to(SpacePhase.SNOOZED)
        return self._state.refuse_all(space, RefusalReason.DECLINED)

    def _decline_weaker(self, space: SpaceState, snooze: Snooze) -> None:
        """Refuse the requests with a demand for a weaker scheme; the login remains in use for the
        others."""
        space.prompt = replace(space.prompt, reason=PromptReason.NEEDED)
        if space.objected_requests:
            until = self._state.now + self._snooze_time(snooze)
            space.current = replace(space.current, weaker_snoozed_until=until)
        for request in space.objected_requests:
            self._state.refuse(request.request_id, RefusalReason.DECLINED)

    def _snooze_time(self, snooze: Snooze) -> float:
        match snooze:
            case Snooze.A_MINUTE:
                return self._state.limits.cancel_snooze
            case Snooze.A_WHILE:
                return self._state.limits.not_now_snooze
            case Snooze.UNTIL_CHOSEN:
                return inf

    def end_snooze(self, spaces: Iterable[SpaceState]) -> None:
        """End the snooze of these protection spaces."""
        for space in spaces:
            if space.phase is SpacePhase.SNOOZED:
                space.move_to(SpacePhase.PROMPTING)

    def handle_touch(self, number: int) -> None:
        """Record the user's first action on a prompt."""
        space = self._state.space_of_prompt(number)
        if space:
            self._prompts.touch(space)

    # --- Actions without a prompt ----------------------------------------------------------------

    def open_prompt(self, profile: Profile, method: SignInMethod) -> None:
        """Open the prompt of a profile although no request is parked.

        For a profile with the own sign-in, the own sign-in is tried again instead, unless its
        ticket has to be requested with a password.
        """
        state = self._state
        spaces = state.spaces_of_profile(profile.id)
        space = preferred_space(spaces) if spaces else self._space_of(profile, method)
        if space is None:
            return
        has_ticket = space.phase is SpacePhase.TRUSTED and space.current.source is LoginSource.SSO
        if profile.sign_in is SignIn.SSO and (has_ticket or not profile.get_ticket):
            return self._retry_sso(space)
        space.prompt = space.prompt.requested(is_waiting=bool(space.parked))
        space.lookup = replace(space.lookup, next_at=state.now)
        if space.phase in (SpacePhase.NO_LOGIN, SpacePhase.SNOOZED):
            space.move_to(SpacePhase.PROMPTING)
        if space.prompt.open is None:
            self._prompts.open(space)
        self._prompts.touch(space)
        if state.keyring.state is KeyringState.UNKNOWN:
            state.effects.append(SurveyKeyring())
        return None

    def _retry_sso(self, space: SpaceState) -> None:
        space.backoffs.clear()
        if space.phase is SpacePhase.NO_LOGIN:
            self._lookup.set_login(space, None, LoginSource.SSO)
        if space.phase is SpacePhase.UNVERIFIED and self._state.can_send_own:
            self._own_requests.send(space)

    def use_login(self, event: LoginProvided) -> None:
        """Use a login provided without a prompt."""
        space = self._space_of(event.profile, event.method)
        if space is None:
            return
        if event.profile.get_ticket:
            space.lookup = replace(space.lookup, ticket_login=event.login)
            if space.phase is SpacePhase.TRUSTED and space.current.source is LoginSource.SSO:
                return  # There is a ticket; the password is for the time without one.
        self._lookup.set_login(space, event.login, LoginSource.COMMAND_LINE)
        space.current = space.current.provided(
            remember=event.remember, retry_rejected=event.retry_rejected
        )
        if event.is_proved:
            self._state.keep_user(space, replaces=True)

    def _space_of(self, profile: Profile, method: SignInMethod) -> SpaceState | None:
        """Return the protection space of a profile's preferred upstream; create it if necessary."""
        upstream_id = UpstreamId.of(profile)
        spaces = self._state.spaces_of_upstream(upstream_id)
        if spaces:
            return preferred_space(spaces)
        return self._state.add_space(ProtectionSpace.blank(upstream_id), profile, method)

    def forget_logins(self, profile_id: str) -> None:
        """Forget the logins of a profile with their rejections and fingerprints."""
        state = self._state
        for space in state.spaces_of_profile(profile_id):
            if space.login:
                state.rejected.discard(state.rejection_scopes(space.key.upstream_id), space.login)
            self.reset_space(space)
        self.clear_history(profile_id)

    def clear_history(self, profile_id: str) -> None:
        """Remove a profile from the history kept between runs."""
        for upstream_id in [s for s in self._state.fingerprints if s.profile_id == profile_id]:
            del self._state.fingerprints[upstream_id]
        self._state.effects.append(ClearHistory(profile_id))

    def reset_space(self, space: SpaceState) -> None:
        """Forget the login of a protection space and prompt anew for the parked requests."""
        self._lookup.clear_login(space)
        space.prompt = replace(space.prompt.without_rejections(), user="")
        space.lookup = replace(space.lookup, next_at=self._state.now, ticket_login=None)
        space.backoffs.clear()
        space.forbidden_hosts.clear()
        if space.phase is SpacePhase.SNOOZED:
            return
        if space.parked or space.prompt.open:
            return self._prompts.ask(space, PromptReason.NEEDED)
        if space.phase is not SpacePhase.NO_LOGIN:
            space.move_to(SpacePhase.NO_LOGIN)
        return None

    # --- Profiles --------------------------------------------------------------------------------

    def switch_profile(self, profile: Profile | None) -> None:
        """Use another profile; snoozes end."""
        self._state.active = profile
        if profile:
            self._state.profiles[profile.id] = profile
        self.end_snooze(self._state.spaces.values())

    def lend_profile(self, profile: Profile) -> None:
        """Let programs use a profile although another one is active."""
        self._state.profiles[profile.id] = profile
        self._state.lent.add(profile.id)

    def edit_profile(self, profile: Profile) -> None:
        """Apply an added or changed profile, and remove the protection spaces that it lacks now."""
        state = self._state
        state.profiles[profile.id] = profile
        state.clear_no_common_scheme(profile.id)
        spaces = state.spaces_of_profile(profile.id)
        kept = [
            space
            for space in spaces
            if state.is_configured(space.key.upstream_id, profile)
            and space.profile.sign_in is profile.sign_in
            and space.profile.get_ticket is profile.get_ticket
        ]
        self._remove_spaces(space for space in spaces if space not in kept)
        for space in kept:
            self._apply_profile(space, profile)

    def _apply_profile(self, space: SpaceState, profile: Profile) -> None:
        """Apply an edited profile to a remaining protection space."""
        user_changed = profile.user not in ("", space.profile.user)
        method_changed = profile.method_options != space.profile.method_options
        if profile.pac is not None and space.profile.upstream is not None:
            profile = profile.via(space.profile.upstream)
        space.profile = profile
        self._state.prompt_changed(space)
        if method_changed:
            space.backoffs.clear()
            space.current = replace(space.current, scheme="", consent=None)
            if space.phase is SpacePhase.TRUSTED:
                # The login is right; the next request verifies it with the new method.
                space.move_to(SpacePhase.UNVERIFIED)
        if user_changed and (space.login is None or space.login.user != profile.user):
            self.reset_space(space)

    def delete_profile(self, profile_id: str, *, for_good: bool) -> None:
        """Remove a profile with its protection spaces, and its history if it is for good."""
        self._state.profiles[profile_id] = None
        self._state.clear_no_common_scheme(profile_id)
        self._remove_spaces(self._state.spaces_of_profile(profile_id))
        if for_good:
            self.clear_history(profile_id)

    def _remove_spaces(self, spaces: Iterable[SpaceState]) -> None:
        for space in spaces:
            self._prompts.close(space, Ending.WITHDRAWN)
            self._state.refuse_all(space, RefusalReason.WITHDRAWN)
            self._state.deny_permits(space)
            del self._state.spaces[space.key]


def preferred_space(spaces: Iterable[SpaceState]) -> SpaceState:
    """Return the protection space most likely meant by the user: prompted, in need of a login,
    recent."""
    return max(spaces, key=lambda s: (s.prompt.open is not None, s.prompt.needs_user, s.seen_at))
