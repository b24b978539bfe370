"""Finding the login of a protection space: in another realm, in the keyring or by a prompt."""

from collections.abc import Iterator
from dataclasses import replace

from msgspec import structs

from trayproxy.auth.login import Login
from trayproxy.auth.scheme import strength
from trayproxy.desk.machine.current_login import LoginSource
from trayproxy.desk.machine.events import CancelTrial, LookupFinished, LookUpLogin, SurveyKeyring
from trayproxy.desk.machine.prompt_state import UPSTREAM_CHANGED
from trayproxy.desk.machine.prompts import Prompts
from trayproxy.desk.machine.scheme_policy import objection, pick
from trayproxy.desk.machine.space_state import SpacePhase, SpaceState
from trayproxy.desk.machine.state import DeskState
from trayproxy.domain.signin import KeyringState, KeyringStatus, PromptReason, Transport
from trayproxy.profiles.profile import SignIn


class CredentialLookup:
    """Looks up logins in the keyring and makes them the current logins of protection spaces."""

    def __init__(self, state: DeskState, prompts: Prompts) -> None:
        self._state = state
        self._prompts = prompts
        self._lookups = 0

    def start(self, space: SpaceState) -> None:
        """Find a login for the first parked request: the own sign-in, another realm, the keyring or
        a prompt."""
        state = self._state
        is_without_ticket = space.profile.get_ticket and state.now < space.lookup.no_ticket_until
        if space.profile.sign_in is SignIn.SSO and not is_without_ticket:
            return self.set_login(space, None, LoginSource.SSO)
        ticket_login = space.lookup.ticket_login if is_without_ticket else None
        if ticket_login and not state.is_rejected(space.key.upstream_id, ticket_login):
            return self.set_login(space, ticket_login, LoginSource.COMMAND_LINE)
        if other_realm := self._reusable_realm(space):
            self.set_login(space, other_realm.login, other_realm.current.source)
            labels = other_realm.current.accepted_labels
            space.current = replace(space.current, accepted_labels=labels)
            return None
        is_unchecked = space.prompt.reason is PromptReason.UNCHECKED
        if is_unchecked and space.current.source is LoginSource.COMMAND_LINE:
            return self._retry_unanswered(space)
        if reason := self._objection(space):
            return self._prompts.ask(space, reason)
        if state.now < space.lookup.next_at or not self._may_look_up(space):
            return self._prompts.ask(space, space.prompt.lasting_reason)
        self._lookups += 1
        space.lookup = space.lookup.started(
            self._lookups, deadline=state.now + state.limits.lookup_timeout
        )
        space.move_to(SpacePhase.LOOKING_UP)
        state.effects.append(LookUpLogin(self._lookups, space.upstream_profile, space.profile.user))
        return None

    def _reusable_realm(self, space: SpaceState) -> SpaceState | None:
        """Return another realm of this upstream with a login usable here without a prompt.

        The login was accepted there with a weaker scheme than the scheme offered here, so the
        upstream learns nothing new about the login (threat T4).

        A login from the command line is also reused with a scheme of the same strength if the
        scheme hides the password and no front end can show a prompt: proxies behind one address may
        each have their own name as the realm, and the user of the command line has named the
        address.
        """
        offer = pick(space, space.offers, self._state.now)
        for other in self._state.other_realms(space):
            is_accepted = other.phase is SpacePhase.TRUSTED and other.login is not None
            if not offer or not is_accepted:
                continue
            weakest = min(map(strength, other.current.accepted_labels))
            hides_password = offer.method.transport is not Transport.READABLE
            is_given = other.current.source is LoginSource.COMMAND_LINE
            is_unattended = is_given and not self._prompts.can_ask
            is_equally_safe = hides_password and is_unattended and weakest == offer.strength
            if weakest < offer.strength or is_equally_safe:
                return other
        return None

    def _retry_unanswered(self, space: SpaceState) -> None:
        """Send an unanswered login from the command line again after its hold has ended.

        The login is in no keyring, and there may be no front end to prompt for it.
        """
        if self._state.now < space.lookup.hold_until:
            self._prompts.ask(space, PromptReason.UNCHECKED)
        else:
            space.move_to(SpacePhase.UNVERIFIED)

    def _objection(self, space: SpaceState) -> PromptReason | None:
        """Return why a saved login must not be sent to this upstream in its present state."""
        offer = pick(space, space.offers, self._state.now)
        space.current = replace(space.current, consent=None)
        return objection(self._state, space, offer, space.offers) if offer else None

    def _may_look_up(self, space: SpaceState) -> bool:
        """Return whether a saved login may be used without a prompt.

        It may not be used for an inactive profile that no program uses, nor after three rejections
        in a row. For another realm of an upstream with a known realm it may only be used if the
        saved login was accepted there: the password is pinned to the realms where it was accepted
        (threat T4).
        """
        state = self._state
        if state.active and space.profile.id not in (state.active.id, *state.lent):
            return False
        if space.prompt.may_lock_account(state.now, state.limits):
            return False
        others = state.other_realms(space)
        if any(s.prompt.rejection_times for s in others):
            return False
        fingerprint = state.fingerprints.get(space.key.upstream_id)
        is_pinned = fingerprint is not None and space.key.realm in fingerprint.realms
        return is_pinned or not any(s.current.was_accepted for s in others)

    # --- The keyring -----------------------------------------------------------------------------

    def handle_found(self, event: LookupFinished) -> None:
        """Use the result of a keyring look-up."""
        state = self._state
        self.set_keyring(event.keyring)
        space = next((s for s in state.spaces.values() if s.lookup.number == event.lookup), None)
        if space is None:
            return
        blocked = event.keyring.state in (KeyringState.LOCKED, KeyringState.SILENT)
        wait = state.limits.locked_lookup_ttl if blocked else state.limits.lookup_ttl
        space.lookup = space.lookup.finished(next_at=state.now + wait)
        if space.phase not in (SpacePhase.LOOKING_UP, SpacePhase.PROMPTING):
            return
        login = event.login
        if login is None:
            self._prompts.ask(space, self._reason_without_login(space))
        elif state.is_rejected(space.key.upstream_id, login):
            space.prompt = replace(space.prompt, user=login.user)
            self._prompts.ask(space, PromptReason.SAVED_REJECTED)
        elif self._is_on_hold(space, login):
            self._prompts.ask(space, PromptReason.UNCHECKED)
        else:
            self.set_login(space, login, LoginSource.SAVED)

    def _is_on_hold(self, space: SpaceState, login: Login) -> bool:
        """Return whether a saved login must wait because too many requests with it got no response.

        Some proxies and SOCKS servers close the connection instead of rejecting a wrong password.
        """
        limits, now = self._state.limits, self._state.now
        is_same = login == space.login and space.doubt.unanswered >= limits.unanswered_max
        return is_same and now < space.lookup.hold_until

    def set_keyring(self, keyring: KeyringStatus) -> None:
        """Set the status of the keyring."""
        state = self._state
        if keyring == state.keyring:
            return
        state.keyring = keyring
        for space in state.spaces.values():
            state.prompt_changed(space)

    def poll_locked_keyring(self, space: SpaceState) -> None:
        """Request a check whether another program has unlocked the keyring, if a prompt waits for
        the unlocking."""
        state = self._state
        if self._waits_for_keyring(space) and state.now >= space.lookup.next_survey_at:
            space.lookup = space.lookup.surveyed(state.now, state.limits)
            state.effects.append(SurveyKeyring())

    def deadlines(self, space: SpaceState) -> Iterator[float]:
        """Yield the time of the next check whether the keyring has been unlocked."""
        if self._waits_for_keyring(space):
            yield space.lookup.next_survey_at

    @staticmethod
    def _waits_for_keyring(space: SpaceState) -> bool:
        return space.phase is SpacePhase.PROMPTING and space.prompt.waits_for_keyring

    def handle_unlocked(self) -> None:
        """Read the keyring for the prompts opened because of the locked keyring."""
        state = self._state
        for space in state.spaces.values():
            if self._waits_for_keyring(space) and self._may_look_up(space):
                self._lookups += 1
                space.lookup = space.lookup.started(self._lookups)
                state.effects.append(
                    LookUpLogin(self._lookups, space.upstream_profile, space.profile.user)
                )

    def handle_timeout(self, space: SpaceState) -> None:
        """Prompt without the keyring; its late result is still used if it fits."""
        state = self._state
        space.lookup = space.lookup.timed_out(state.now + state.limits.locked_lookup_ttl)
        if state.keyring.state is not KeyringState.LOCKED:
            self.set_keyring(structs.replace(state.keyring, state=KeyringState.SILENT))
        self._prompts.ask(space, self._reason_without_login(space))

    def _reason_without_login(self, space: SpaceState) -> PromptReason:
        """Return the prompt reason if the keyring has no usable login."""
        if self._state.keyring.state is KeyringState.LOCKED:
            return PromptReason.KEYRING_LOCKED
        if self._state.keyring.state is KeyringState.SILENT:
            return PromptReason.KEYRING_SILENT
        return PromptReason.TYPED_REJECTED if space.prompt.rejection_times else PromptReason.NEEDED

    # --- The current login -----------------------------------------------------------------------

    def set_login(self, space: SpaceState, login: Login | None, source: LoginSource) -> None:
        """Make a login, or the own sign-in if None, the current login of a protection space; the
        next request is its canary."""
        is_same = login is not None and login == space.login
        unanswered = space.doubt.unanswered if is_same and source is LoginSource.SAVED else 0
        is_rejected = login is not None and self._state.is_rejected(space.key.upstream_id, login)
        self._cancel_trial(space)
        space.renew(login, source, retry_rejected=is_rejected)
        space.doubt = replace(space.doubt, unanswered=unanswered)
        if source is not LoginSource.SAVED and space.prompt.reason not in UPSTREAM_CHANGED:
            space.backoffs.clear()  # The failures may have been specific to the previous user.
        if space.phase is not SpacePhase.UNVERIFIED:
            space.move_to(SpacePhase.UNVERIFIED)
        space.prompt = space.prompt.with_new_login(login)
        self._state.prompt_changed(space)

    def clear_login(self, space: SpaceState) -> None:
        """Start a new generation without a login."""
        self._cancel_trial(space)
        space.renew()

    def _cancel_trial(self, space: SpaceState) -> None:
        """Remove the record of the current login's trial if the login was not sent."""
        if space.trial.is_recorded and space.login:
            self._state.effects.append(CancelTrial(space.key.upstream_id, space.login))
