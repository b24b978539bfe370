"""The outcomes of requests with a login: accepted, rejected, forbidden or no verdict (ux §3.4,
T14).

A login is right once a response proves it: a 2xx, a 304 or an opened tunnel. A response possible
from a proxy with a wrong login (403, 502, a redirect to another host) proves nothing, and neither
does a response given by sites only (404): the login stays on trial, and the next canary goes to
another host.

A 407 to a previously accepted login may be about the host: a company may forbid a host by sending
407 again and again, always or after a quota is used up. The login is then in doubt, and is sent
once more to another host; only that request gives a verdict. It costs another failed log-on if the
password was changed. A login is never in doubt where no host was named yet (SOCKS). Each login is
rejected once: it is never sent again automatically.
"""

from dataclasses import replace

from trayproxy.auth.login import Login
from trayproxy.auth.scheme import Verdict, VerdictKind, is_password_unchecked
from trayproxy.desk.machine.current_login import Doubt, LoginSource
from trayproxy.desk.machine.events import (
    ClearRejection,
    LoginAccepted,
    RecordRejection,
    RequestChallenged,
    SaveLoginToKeyring,
    TriedLogin,
)
from trayproxy.desk.machine.prompt_state import UPSTREAM_CHANGED
from trayproxy.desk.machine.prompts import Prompts
from trayproxy.desk.machine.scheme_policy import NO_TICKETS, back_off
from trayproxy.desk.machine.space_state import SpacePhase, SpaceState
from trayproxy.desk.machine.state import DeskState
from trayproxy.desk.protection_space import ProtectionSpace, UpstreamFingerprint, host_of
from trayproxy.domain.signin import Ending, PromptReason, RefusalReason

_NOT_ABOUT_REQUEST = NO_TICKETS | {VerdictKind.SERVER_UNREACHABLE}
"""The verdicts that any request would get on this computer, independently of its target."""
_REASONS = {
    VerdictKind.UNCLEAR: PromptReason.UNCLEAR,
    VerdictKind.EXPIRED: PromptReason.EXPIRED,
    VerdictKind.LOCKED: PromptReason.LOCKED,
}
_REJECTED_BEFORE = {
    LoginSource.SAVED: PromptReason.SAVED_REJECTED,
    LoginSource.TYPED: PromptReason.REPEATED,
}
_REALMS_MAX = 8


class Acceptances:
    """Updates protection spaces with the acceptances of logins."""

    def __init__(self, state: DeskState, prompts: Prompts) -> None:
        self._state = state
        self._prompts = prompts

    def record(self, event: LoginAccepted) -> None:
        """Record the acceptance of a login and release the parked requests."""
        login_id = event.login_id
        space = self._state.spaces.get(login_id.space)
        if space is None:
            return
        replaced_login = space.current.pending_verdicts.get(login_id.generation)
        space.current = space.current.without_pending(login_id.generation)
        if space.login_id != login_id and (replaced_login is None or replaced_login != space.login):
            return
        if not space.current.exists or space.phase in (
            SpacePhase.NO_LOGIN,
            SpacePhase.LOOKING_UP,
            SpacePhase.SNOOZED,
        ):
            return
        in_flight = space.doubt.in_flight.get(event.permit)
        if in_flight is None and space.current.was_accepted and not self._is_without_doubt(space):
            return  # The request was released before the login came into doubt.
        target = ""
        if space.login_id == login_id:
            canary_target = space.trial.canary_target if space.phase is SpacePhase.CHECKING else ""
            if target := event.target or canary_target:
                space.forbidden_hosts.pop(host_of(target), None)
        now = space.seen_at = self._state.now
        space.current = space.current.accepted(
            now, event.scheme, event.label, target, self._state.limits
        )
        space.doubt = Doubt()
        space.prompt = replace(space.prompt, weaker_refusal=None)
        is_prompting = space.phase is SpacePhase.PROMPTING
        upstream_changed = is_prompting and space.prompt.reason in UPSTREAM_CHANGED
        if space.phase is not SpacePhase.TRUSTED and not upstream_changed:
            self._trust_login(space, event.label)

    @staticmethod
    def _is_without_doubt(space: SpaceState) -> bool:
        doubt = space.doubt
        return space.phase is SpacePhase.TRUSTED and (not doubt.unanswered or doubt.is_overdue)

    def _trust_login(self, space: SpaceState, label: str) -> None:
        state = self._state
        if space.login:
            state.rejected.discard(state.rejection_scopes(space.key.upstream_id), space.login)
            state.effects.append(ClearRejection(space.key.upstream_id, space.login))
        space.move_to(SpacePhase.TRUSTED)
        space.trial = space.trial.accepted()
        space.prompt = space.prompt.without_rejections()
        space.backoffs.pop(space.current.scheme, None)
        self._update_fingerprint(space, label)
        replaces_user = space.current.source is LoginSource.TYPED
        if space.current.remember and space.login:
            space.current = replace(space.current, remember=False, source=LoginSource.SAVED)
            # Before the user name changes: the keyring removes the entry of the old user name.
            state.effects.append(SaveLoginToKeyring(space.upstream_profile, space.login))
        state.keep_user(space, replaces=replaces_user)
        self._prompts.close(space, Ending.ACCEPTED)
        self._release_all(space)

    def _release_all(self, space: SpaceState) -> None:
        for request in list(space.parked.values()):
            if request.was_refused:
                # The request was refused with this right login, so its host is forbidden.
                self._forbid(space, request.target)
                self._state.refuse(request.request_id, RefusalReason.FORBIDDEN)
            elif any(
                offer.scheme == space.current.scheme
                for offer in request.untried_offers(space.login_id)
            ):
                self._state.release(request.request_id, space, space.current.scheme)

    def _forbid(self, space: SpaceState, target: str) -> None:
        """Record the host of a target as forbidden; its refusals no longer cast doubt on the
        login."""
        host = host_of(target)
        space.forbidden_hosts.pop(host, None)
        space.forbidden_hosts[host] = self._state.now
        if len(space.forbidden_hosts) > self._state.limits.forbidden_max:
            del space.forbidden_hosts[next(iter(space.forbidden_hosts))]

    def _update_fingerprint(self, space: SpaceState, label: str) -> None:
        """Update the fingerprint of the upstream after it has accepted a login."""
        state, upstream_id = self._state, space.key.upstream_id
        old = state.fingerprints.get(upstream_id)
        realms = old.realms if old else ()
        if space.current.remember and space.login:
            # The keyring entry is valid for the realms with this trusted login.
            realms = tuple(
                s.key.realm
                for s in state.other_realms(space)
                if s.login == space.login and s.phase is SpacePhase.TRUSTED
            )
        if space.current.remember or space.current.source is LoginSource.SAVED or not old:
            others = [realm for realm in realms if realm != space.key.realm]
            realms = (space.key.realm, *others)[:_REALMS_MAX]
        state.set_fingerprint(upstream_id, UpstreamFingerprint(label, realms))


class Outcomes:
    """Updates protection spaces with refusals of logins and with requests without a verdict."""

    def __init__(self, state: DeskState, prompts: Prompts) -> None:
        self._state = state
        self._prompts = prompts

    # --- Refused ---------------------------------------------------------------------------------

    def record_late_rejection(self, tried: TriedLogin) -> None:
        """Record the rejection of a login after the login was replaced."""
        space = self._state.spaces.get(tried.login_id.space)
        if space is None:
            return
        login = space.current.pending_verdicts.get(tried.login_id.generation)
        space.current = space.current.without_pending(tried.login_id.generation)
        if login and not is_password_unchecked(tried.verdict):
            self._remember_rejection(space, login)

    def handle_other_realm(self, tried: TriedLogin, challenged: ProtectionSpace) -> None:
        """Handle a refusal in which the upstream names another realm: it is no verdict on the
        login.

        A login on trial may have cost a failed log-on all the same, so the user is prompted about
        it; the request is parked in the challenged protection space.
        """
        space = self._state.space_of_login(tried.login_id)
        if space is None or space.key.upstream_id != challenged.upstream_id:
            return
        if space.phase not in (SpacePhase.CHECKING, SpacePhase.UNVERIFIED):
            return
        if space.current.was_accepted and tried.permit not in space.doubt.in_flight:
            return
        may_have_cost = not is_password_unchecked(tried.verdict)
        if may_have_cost and space.current.was_accepted:
            space.doubt = replace(space.doubt, refusals=space.doubt.refusals + 1)
        is_tolerated = space.doubt.refusals < self._state.limits.refusals_max
        if (space.current.was_accepted and is_tolerated) or not may_have_cost:
            if space.phase is SpacePhase.CHECKING:
                self.keep_unverified(space, sent=False)
            if not space.current.was_accepted and not space.has_clients:
                # The other realm opens its own prompt.
                self._prompts.close(space, Ending.ABANDONED)
        elif space.login and (space.current.was_accepted or self._prompts.can_ask):
            space.doubt = replace(space.doubt, refusals=0)
            if not space.has_clients:
                self._prompts.close(space, Ending.ABANDONED)
            self._prompts.ask(space, PromptReason.UNCHECKED)
        elif space.phase is SpacePhase.CHECKING:
            self.keep_unverified(space, sent=True, limit=self._state.limits.unproved_max)

    def handle_other_scheme(self, space: SpaceState, tried: TriedLogin, *, is_trial: bool) -> None:
        """Keep a login after a challenge for another scheme, which is no verdict on the login.

        A login on trial may have cost a failed log-on all the same.
        """
        if space.phase is SpacePhase.CHECKING and is_trial:
            is_costless = is_password_unchecked(tried.verdict) or space.current.was_accepted
            self.keep_unverified(space, sent=not is_costless, limit=self._state.limits.unproved_max)

    def handle_refusal(
        self, space: SpaceState, event: RequestChallenged, tried: TriedLogin, *, is_trial: bool
    ) -> bool:
        """Handle a 407 to a request with the current login; `is_trial` is True if the request was
        released after the login came into doubt.

        Returns:
            True if the request is parked with the others; False if the request is forbidden and no
            request in flight can tell more.
        """
        if space.phase is SpacePhase.PROMPTING and space.prompt.reason is PromptReason.UNCHECKED:
            self.reject(space, tried.verdict)  # A late verdict, after the canary was given up.
        if space.phase not in (SpacePhase.TRUSTED, SpacePhase.CHECKING, SpacePhase.UNVERIFIED):
            return True
        state = self._state
        was_canary = space.phase is SpacePhase.CHECKING and is_trial
        is_known_forbidden = space.is_forbidden(event.target, state.now, state.limits)
        if is_known_forbidden and not tried.is_final and not was_canary:
            return False
        if is_known_forbidden and not tried.is_final and not space.current.was_accepted:
            # The host refuses right logins: its refusal is no verdict on this login.
            self.keep_unverified(space, sent=True, limit=state.limits.unproved_max)
            return False
        is_proof = tried.is_final or (was_canary and self._proves_rejection(space, event))
        if is_proof or not self._may_be_right(space):
            space.trial = space.trial.rejected(event.target)
            self.reject(space, tried.verdict)
            return True
        if was_canary or not space.doubt.refusals:
            space.doubt = replace(space.doubt, refusals=space.doubt.refusals + 1)
        if space.doubt.refusals >= state.limits.refusals_max:
            self.reject(space, tried.verdict)
            return True
        # If the password was changed just now, each further attempt is a failed log-on, so
        # requests carry the login one at a time from here.
        space.doubt = space.doubt.refused(event.target, state.now)
        if space.phase is SpacePhase.CHECKING and not was_canary:
            return False
        space.doubt = replace(space.doubt, in_flight={})
        space.trial = space.trial.canary_ended()
        if space.phase is not SpacePhase.UNVERIFIED:
            space.move_to(SpacePhase.UNVERIFIED)
        return False

    @staticmethod
    def _proves_rejection(space: SpaceState, event: RequestChallenged) -> bool:
        """Return whether this refusal of a canary is about the login, and not about its host.

        It is about the login if another host has refused the login since its last acceptance, and
        this host is no more likely to be forbidden than others: the login was accepted for it, or
        TrayProxy has chosen it for an own request.
        """
        if event.is_own:
            return True
        host = host_of(event.target)
        is_refused_elsewhere = any(other != host for other in space.doubt.refused_hosts)
        return is_refused_elsewhere and space.current.was_accepted_for(event.target)

    def _may_be_right(self, space: SpaceState) -> bool:
        """Return whether the host may be refused, and not the login.

        This is possible for an accepted login as long as an own request can verify it; otherwise
        only for some time after the acceptance.
        """
        if not space.current.was_accepted:
            return False
        if space.doubt.refusals or self.can_verify(space):
            return True
        return self._state.now - space.current.accepted_at <= self._state.limits.refusal_window

    def can_verify(self, space: SpaceState) -> bool:
        """Return whether an own request can verify a previously accepted login."""
        return bool(space.current.accepted_targets) and self._state.can_send_own

    def handle_unusable_scheme(
        self,
        space: SpaceState,
        tried: TriedLogin,
        verdict: Verdict,
        *,
        is_offered: bool,
        is_trial: bool,
    ) -> bool:
        """Handle the failure of a scheme without a verdict on the login.

        `is_offered` is True if the upstream still offers the scheme, as far as is known;
        `is_trial` as in `handle_refusal`.

        Returns:
            True if the scheme is backed off now. A scheme may fail a few times first if it works
            for other requests.
        """
        state, scheme = self._state, tried.scheme
        if space.login is None and space.profile.get_ticket and verdict.kind in NO_TICKETS:
            self._request_password(space)
            return True
        is_general = verdict.kind in _NOT_ABOUT_REQUEST or not is_offered
        if space.phase is SpacePhase.TRUSTED and not is_general:
            # A failure caused by the content of a request does not affect other requests.
            failures = space.doubt.scheme_failures + (not verdict.lacks_content)
            space.doubt = replace(space.doubt, scheme_failures=failures)
            if space.doubt.scheme_failures < state.limits.scheme_failures_max:
                return False
        back_off(state, space, scheme, verdict)
        if space.current.scheme == scheme:
            space.current = replace(space.current, scheme="")
        if space.phase is SpacePhase.TRUSTED or (space.phase is SpacePhase.CHECKING and is_trial):
            space.trial = space.trial.canary_ended()
            space.move_to(SpacePhase.UNVERIFIED)
            state.prompt_changed(space)
        return True

    def _request_password(self, space: SpaceState) -> None:
        """Leave the own sign-in: a ticket is requested with the password, which is looked up for
        the next parked request."""
        state = self._state
        until = state.now + state.limits.ticket_interval
        space.trial = space.trial.canary_ended()
        space.renew()
        space.lookup = replace(space.lookup, no_ticket_until=until)
        if space.phase is not SpacePhase.NO_LOGIN:
            space.move_to(SpacePhase.NO_LOGIN)
        state.prompt_changed(space)

    def reject(self, space: SpaceState, verdict: Verdict | None = None) -> None:
        """Reject the current login and prompt the user."""
        kind = verdict.kind if verdict else VerdictKind.REJECTED
        if space.login is None:
            return self._reject_sso(space, verdict or Verdict(kind))
        self._remember_rejection(space, space.login)
        space.prompt = space.prompt.rejected(
            space.login.user, self._state.now, is_account_locked=kind is VerdictKind.LOCKED
        )
        space.doubt = space.doubt.rejected()
        is_saved = space.current.source is LoginSource.SAVED
        reason = PromptReason.SAVED_REJECTED if is_saved else PromptReason.TYPED_REJECTED
        return self._prompts.ask(space, _REASONS.get(kind, reason))

    def ask_for_another_login(self, space: SpaceState) -> None:
        """Prompt for another login instead of sending a login rejected before."""
        assert space.login is not None
        reason = _REJECTED_BEFORE.get(space.current.source, PromptReason.TYPED_REJECTED)
        space.current = replace(space.current, is_unsent=True)
        space.prompt = space.prompt.rejected_before(space.login.user, reason)
        self._prompts.ask(space, reason)

    def _remember_rejection(self, space: SpaceState, login: Login) -> None:
        """Record a rejection; the login is never sent again automatically, not even in later
        runs."""
        state = self._state
        if not state.is_rejected(space.key.upstream_id, login):
            state.effects.append(RecordRejection(space.key.upstream_id, login))
        state.rejected.add(state.rejection_scopes(space.key.upstream_id), login)

    def _reject_sso(self, space: SpaceState, verdict: Verdict) -> None:
        """Back off the scheme of the own sign-in: there is no other login to prompt for."""
        back_off(self._state, space, space.trial.canary_scheme or space.current.scheme, verdict)
        space.doubt = replace(space.doubt, refusals=0)
        space.current = replace(space.current, scheme="")
        space.trial = space.trial.canary_ended()
        if space.phase is not SpacePhase.UNVERIFIED:
            space.move_to(SpacePhase.UNVERIFIED)

    # --- No verdict ------------------------------------------------------------------------------

    def keep_unverified(self, space: SpaceState, *, sent: bool, limit: int | None = None) -> None:
        """Keep a login after its canary ended without a verdict.

        The login may have cost a failed log-on all the same, so after some of these the user is
        prompted. A previously accepted login is sent once more, on an own request.

        Args:
            space: The protection space.
            sent: True if the canary may have cost a failed log-on.
            limit: The number of these after which the user is prompted about a new login;
                `DeskLimits.unanswered_max` if None.
        """
        state = self._state
        space.trial = space.trial.canary_ended()
        space.doubt = replace(space.doubt, unanswered=space.doubt.unanswered + sent)
        limit = limit or state.limits.unanswered_max
        if not space.current.was_accepted:
            space.prompt = replace(space.prompt, reason=PromptReason.UNCHECKED)
        else:
            limit = state.limits.unanswered_max + 1
        too_many = space.doubt.unanswered - limit
        if space.login and too_many >= 0:
            is_new = space.current.source is LoginSource.SAVED and not space.current.was_accepted
            holds = state.limits.saved_login_holds if is_new else state.limits.login_holds
            return self.hold_login(space, holds[min(too_many, len(holds) - 1)])
        space.move_to(SpacePhase.UNVERIFIED)
        return state.prompt_changed(space)

    def hold_login(self, space: SpaceState, seconds: float) -> None:
        """Prompt the user, and do not send the current login automatically for some time."""
        now = self._state.now
        next_at = now + self._state.limits.locked_lookup_ttl
        space.lookup = replace(space.lookup, hold_until=now + seconds, next_at=next_at)
        self._prompts.ask(space, PromptReason.UNCHECKED)
