"""Verifying a login: it is sent on a single request, the canary.

Only the verdict on the canary decides about the other requests. If the verdict takes long, the
prompt reports it, but no second request is sent: each further request with a wrong login is a
failed log-on, and companies lock accounts after a few.

A previously accepted login in doubt, because it was refused or got no response, is verified by an
own request, not sent to the refusing host. The own request is first sent without the login: if the
upstream does not respond with a 407, the login is not the reason for the doubt.

An own request is also the canary if no client is left because all clients disconnected while the
user typed, and if the clients' requests cannot verify the login because their hosts have given
inconclusive responses (see `trayproxy.desk.machine.outcomes`) or refuse right logins.
"""

from dataclasses import replace

from trayproxy.auth.login import Login
from trayproxy.desk.machine.current_login import LoginSource
from trayproxy.desk.machine.events import (
    CancelTrial,
    LoginUnproved,
    NoResponse,
    OfferedScheme,
    OwnRequestEnded,
    RecordTrial,
    SendOwnRequest,
    TrialRecorded,
)
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.machine.outcomes import Outcomes
from trayproxy.desk.machine.prompts import Prompts
from trayproxy.desk.machine.scheme_policy import current_backoff, objection, pick, weaker_text
from trayproxy.desk.machine.space_state import ParkedRequest, SpacePhase, SpaceState
from trayproxy.desk.machine.state import DeskState
from trayproxy.domain.signin import Ending, PromptReason, RefusalReason

NO_TARGET = ""
"""No particular target, as in `SendOwnRequest`."""
CHECK_PAGES = ("detectportal.firefox.com:80", "www.msftconnecttest.com:80")
"""The targets of further own requests if a proxy blocks the page that stands for no particular
target. Every Firefox and every Windows requests a small page from these hosts (see
`trayproxy.service.own_requests.trial`), so that few proxies block both, and the requests reveal
nothing about the user."""


class OwnRequests:
    """Sends own requests to verify logins, and handles the ends of own requests."""

    def __init__(self, state: DeskState, prompts: Prompts) -> None:
        self._state = state
        self._prompts = prompts
        self._count = 0

    def send(self, space: SpaceState, target: str | None = None) -> None:
        """Send an own request, unless own requests cannot be sent or one is outstanding.

        A target of None stands for the target that `_own_target` chooses.
        """
        state = self._state
        if space.trial.own_request or not state.can_send_own:
            return
        self._count += 1
        space.trial = space.trial.own_request_sent(
            self._count, state.now + state.limits.canary_overdue
        )
        if target is None:
            target = _own_target(space, state.now, state.limits) or NO_TARGET
        space.doubt = space.doubt.own_request_sent(target)
        state.effects.append(SendOwnRequest(self._count, space.upstream_profile, target))
        state.prompt_changed(space)

    def handle_ended(self, event: OwnRequestEnded) -> None:
        """Handle the end of an own request; its verdict, if any, was handled before."""
        spaces = self._state.spaces.values()
        space = next((space for space in spaces if space.trial.own_request == event.number), None)
        if space is None:
            return
        space.trial = space.trial.own_request_ended()
        self._clear_silence(space)
        is_new = space.phase is SpacePhase.UNVERIFIED and not space.current.was_accepted
        if is_new and not space.parked:
            if space.trial.is_record_overdue:
                pass  # The prompt already says why the login is not sent.
            elif event.was_challenged:
                space.prompt = replace(space.prompt, reason=PromptReason.UNCHECKED)
            else:
                self._prompts.close(space, Ending.ABANDONED)
        self._state.prompt_changed(space)

    def expire(self, space: SpaceState) -> None:
        """Stop the waiting of other requests for an own request after its deadline."""
        if self._state.now >= space.trial.own_deadline:
            space.trial = space.trial.own_request_overdue()
            self._clear_silence(space)

    def verify_after_silence(self, space: SpaceState) -> None:
        """Send an own request to find out whether the login is the reason for missing responses."""
        if space.login is None or not self._state.can_send_own:
            return
        space.doubt = space.doubt.after_silence(self._state.limits)
        space.move_to(SpacePhase.UNVERIFIED)
        self.send(space)

    def _clear_silence(self, space: SpaceState) -> None:
        """Trust a login again if the own request got no 407: the login is not the reason for the
        silence."""
        is_awaiting_own = space.phase is SpacePhase.UNVERIFIED and space.current.was_accepted
        is_silent = space.doubt.unanswered and not space.doubt.refusals
        if is_awaiting_own and is_silent and not space.trial.own_challenged:
            space.doubt = space.doubt.without_silence()
            space.move_to(SpacePhase.TRUSTED)

    def may_send(self, space: SpaceState) -> bool:
        """Return whether another own request may be sent for a login in doubt."""
        return (
            self._state.can_send_own
            and space.doubt.own_requests_sent < self._state.limits.own_requests_max
        )

    def needs_other_target(self, space: SpaceState) -> bool:
        """Return whether every parked request goes to the target of the last rejection.

        If a forbidden host was taken for a wrong password, the user is right to insist on the
        login; but only another host can prove the login. A single own request goes there.
        """
        has_other_target = any(
            request.target != space.trial.rejecting_target for request in space.parked.values()
        )
        if has_other_target or not space.trial.rejecting_target or not self._state.can_send_own:
            return False
        return space.trial.own_request > 0 or not space.trial.was_own_sent

    def verifies(self, space: SpaceState) -> bool:
        """Return whether an own request verifies the login on trial; send the own request if it is
        due.

        An own request is used if all hosts of the parked requests give inconclusive responses, and
        for the last attempt before the prompt: the first hosts of programs may all be blocked, as
        the hosts contacted by browsers in the background often are.
        """
        limits, now, doubt = self._state.limits, self._state.now, space.doubt
        if space.current.was_accepted or not (doubt.inconclusive_hosts or space.forbidden_hosts):
            return False  # Any request can verify the login.
        targets = [request.target for request in space.parked.values() if not request.is_own]
        if len(targets) < len(space.parked):
            return False
        is_last = bool(doubt.inconclusive_hosts) and doubt.unanswered >= limits.unproved_max - 1
        if not is_last and not all(space.is_inconclusive(each, now, limits) for each in targets):
            return False
        use_no_target = is_last and NO_TARGET not in doubt.own_targets
        target = NO_TARGET if use_no_target else _own_target(space, now, limits)
        if target is not None:
            self.send(space, target)
        return space.trial.awaits_own_request

    def verify_without_clients(self, space: SpaceState) -> None:
        """Verify a typed login by an own request although no client is parked any more.

        A login from the command line is verified in the same way if it is to be saved.
        """
        current, prompt = space.current, space.prompt.open
        is_typed = current.source is LoginSource.TYPED and prompt is not None and prompt.is_touched
        will_be_saved = current.source is LoginSource.COMMAND_LINE and current.remember
        is_inconclusive = space.doubt.inconclusive_hosts and not current.was_accepted
        if (is_typed or will_be_saved) and not space.trial.was_own_sent:
            self.send(space)
        elif is_inconclusive:
            target = _own_target(space, self._state.now, self._state.limits)
            if target is not None:
                self.send(space, target)


class Verification:
    """Records the trials of logins, and sends canaries."""

    def __init__(
        self, state: DeskState, prompts: Prompts, outcomes: Outcomes, own_requests: OwnRequests
    ) -> None:
        self._state = state
        self._prompts = prompts
        self._outcomes = outcomes
        self._own = own_requests
        self._records = 0

    def sweep(self) -> None:
        """Release or refuse parked requests where possible, and send the due canaries."""
        for space in self._state.spaces.values():
            if space.trial.is_record_overdue:
                self._state.refuse_all(space, RefusalReason.UNRECORDED)
            elif space.phase is SpacePhase.TRUSTED:
                for request in list(space.parked.values()):
                    self._release_trusted(space, request)
            elif space.phase is SpacePhase.UNVERIFIED and space.parked:
                self._verify(space)
            elif space.phase is SpacePhase.UNVERIFIED:
                self._own.verify_without_clients(space)

    def expire(self, space: SpaceState) -> None:
        """Handle the passed deadlines of a protection space."""
        now = self._state.now
        self._own.expire(space)
        if now >= space.trial.record_deadline:
            self._report_overdue_record(space)
        if now >= space.trial.canary_overdue_at:
            self._report_overdue_canary(space)
        if now >= space.trial.canary_lost_at:
            # The canary is lost. The user decides about the next attempt.
            space.doubt = space.doubt.at_least_unanswered(self._state.limits.unanswered_max - 1)
            self._outcomes.keep_unverified(space, sent=True)

    # --- No response, or an inconclusive response ------------------------------------------------

    def handle_no_response(self, event: NoResponse) -> None:
        """Handle a request that carried a login and ended without a response.

        Nothing changes if the request never carried the current login.
        """
        space = self._state.spaces.get(event.login_id.space)
        if space is None:
            return
        space.current = space.current.without_pending(event.login_id.generation)
        if space.login_id != event.login_id:
            return
        target = space.doubt.in_flight.get(event.permit)
        space.doubt = space.doubt.returned(event.permit)
        is_untried = not event.was_sent and not space.current.was_accepted
        if space.login and target is not None and is_untried:
            self._state.effects.append(CancelTrial(space.key.upstream_id, space.login))
        if space.phase is SpacePhase.CHECKING and target is not None:
            self._outcomes.keep_unverified(space, sent=event.was_sent)
            return
        # Requests released at the same time count as one: they may have one common cause.
        counts = event.was_sent and (target is not None or not space.doubt.unanswered)
        if space.phase is SpacePhase.TRUSTED and counts:
            space.doubt = space.doubt.lost(target)
            if space.doubt.unanswered >= self._state.limits.unanswered_max:
                self._own.verify_after_silence(space)

    def handle_unproved(self, event: LoginUnproved) -> None:
        """Keep a login on trial after an inconclusive response to its canary.

        The next canary goes to another host. A previously accepted login was not refused, and the
        upstream does respond, so there is no reason for a prompt.
        """
        space = self._state.spaces.get(event.login_id.space)
        if space is None:
            return
        space.current = space.current.without_pending(event.login_id.generation)
        in_flight = event.permit in space.doubt.in_flight  # Requests with the current login only.
        space.doubt = space.doubt.returned(event.permit)
        if space.phase is not SpacePhase.CHECKING or not in_flight:
            return
        if not space.current.was_accepted:
            space.doubt = space.doubt.inconclusive(event.target)
            limit = self._state.limits.unproved_max
            self._outcomes.keep_unverified(space, sent=event.is_doubtful, limit=limit)
            return
        space.doubt = replace(space.doubt, unanswered=min(space.doubt.unanswered, 1))
        self._outcomes.keep_unverified(space, sent=False)
        if not space.doubt.refusals:
            space.move_to(SpacePhase.TRUSTED)

    def _report_overdue_canary(self, space: SpaceState) -> None:
        space.trial = space.trial.canary_overdue()
        if space.current.was_accepted:
            self._outcomes.keep_unverified(space, sent=True)
            return
        space.prompt = replace(space.prompt, reason=PromptReason.UNCHECKED)
        self._state.prompt_changed(space)

    def _release_trusted(self, space: SpaceState, request: ParkedRequest) -> None:
        """Release a parked request with the trusted login, or refuse it."""
        state = self._state
        offers = request.untried_offers(space.login_id)
        offer = pick(space, offers, state.now)
        if not offers:
            state.refuse(request.request_id, RefusalReason.FORBIDDEN)
        elif offer is None:
            self._refuse_without_scheme(space, request.request_id)
        elif reason := objection(state, space, offer, request.offers):
            self._hold_for_consent(space, request, offer, reason)
        else:
            state.release(request.request_id, space, offer.scheme)

    def _hold_for_consent(
        self, space: SpaceState, request: ParkedRequest, offer: OfferedScheme, reason: PromptReason
    ) -> None:
        """Keep a request parked for the user while other requests use the current login.

        The request is refused if there is no front end, or if the user has snoozed such prompts.
        """
        state, now = self._state, self._state.now
        can_prompt = self._prompts.can_ask and now >= space.current.weaker_snoozed_until
        if space.current.source is LoginSource.SSO or request.is_own or not can_prompt:
            text = weaker_text(state, space, offer, reason)
            state.refuse(request.request_id, RefusalReason.WEAKER, text)
            if not request.is_own and now >= space.current.weaker_snoozed_until:
                space.prompt = replace(space.prompt, weaker_refusal=text)
        else:
            self._prompts.ask_for_request(space, request, reason, offer.method)

    # --- Canaries --------------------------------------------------------------------------------

    def _verify(self, space: SpaceState) -> None:
        """Send the current login on a canary, unless its verdict is outstanding already.

        There is a single canary per login and upstream, not per realm: the account is the same.
        """
        assert space.current.exists
        was_blocked = space.trial.is_blocked
        space.trial = replace(space.trial, is_blocked=self._is_being_verified(space))
        if space.trial.is_blocked:
            return
        if (
            space.login
            and not space.current.retry_rejected
            and self._state.is_rejected(space.key.upstream_id, space.login)
        ):
            if was_blocked:
                self._outcomes.reject(space)  # The verdict of the awaited canary.
            else:
                self._outcomes.ask_for_another_login(space)
        elif space.current.retry_rejected and self._own.needs_other_target(space):
            self._own.send(space, NO_TARGET)
        elif not self._own.verifies(space):
            if space.is_in_doubt() and self._own.may_send(space):
                self._own.send(space)
            # Recording a trial takes a moment, in which hundreds of requests may arrive. They
            # are handled together once the trial is recorded (`handle_recorded`).
            if not space.trial.record_number:
                self._send_canary(space)

    def _is_being_verified(self, space: SpaceState) -> bool:
        """Return whether the same login is on trial in another realm, or was replaced and typed
        again."""
        if space.login is None:
            return False
        others = self._state.others_of_upstream(space)
        if any(
            space.login in other.current.pending_verdicts.values() for other in (space, *others)
        ):
            return True
        return any(s.phase is SpacePhase.CHECKING and s.login == space.login for s in others)

    def _send_canary(self, space: SpaceState) -> None:
        """Release the parked request best suited to verify the current login."""
        state = self._state
        first_objection: tuple[OfferedScheme, PromptReason] | None = None
        for request in _canary_candidates(space, state.now, state.limits):
            was_refused = space.doubt.was_refused_lately(request.target, state.now, state.limits)
            if was_refused and not request.is_own:
                if space.trial.own_request or self._own.may_send(space):
                    continue
                state.refuse(request.request_id, RefusalReason.FORBIDDEN)
                continue
            offers = request.untried_offers(space.login_id)
            if not offers:
                # The upstream has refused this login with every offered scheme.
                return self._outcomes.reject(space)
            offer = pick(space, offers, state.now)
            if offer is None:
                self._refuse_without_scheme(space, request.request_id)
                continue
            if reason := objection(state, space, offer, request.offers):
                first_objection = first_objection or (offer, reason)
                continue
            if space.login and not space.current.was_accepted and not space.trial.is_recorded:
                return self._record_trial(
                    space, space.login, retry_rejected=space.current.retry_rejected
                )
            space.move_to(SpacePhase.CHECKING)
            space.doubt = space.doubt.sent(request.request_id, request.target)
            space.trial = space.trial.canary_sent(
                request.target, offer.scheme, state.now, state.limits
            )
            state.prompt_changed(space)
            state.release(request.request_id, space, offer.scheme)
            return None
        if first_objection:
            self._handle_objection(space, *first_objection)
        return None

    # --- Recording trials ------------------------------------------------------------------------

    def _record_trial(self, space: SpaceState, login: Login, *, retry_rejected: bool) -> None:
        """Request a record on disk of the trial of the current, unverified login.

        If this run ends before the verdict, the next run must not send the login once more.
        """
        self._records += 1
        space.trial = space.trial.recording(
            self._records, self._state.now + self._state.limits.record_timeout
        )
        is_automatic = space.current.source in (LoginSource.SAVED, LoginSource.COMMAND_LINE)
        self._state.effects.append(
            RecordTrial(self._records, space.key.upstream_id, login, retry_rejected, is_automatic)
        )
        self._state.prompt_changed(space)

    def _report_overdue_record(self, space: SpaceState) -> None:
        """Report the missing record of the trial, without which the login is not sent."""
        space.trial = space.trial.with_overdue_record()
        space.prompt = replace(space.prompt, reason=PromptReason.UNRECORDED)
        self._state.prompt_changed(space)

    def handle_recorded(self, event: TrialRecorded) -> None:
        """Send the login after its trial was recorded, or prompt if an earlier run has tried the
        login."""
        state = self._state
        space = next(
            (s for s in state.spaces.values() if s.trial.record_number == event.number), None
        )
        may_send = not event.is_rejected and event.hold_s <= 0
        if space is None:
            if may_send:
                state.effects.append(CancelTrial(event.upstream_id, event.login))
            return
        if space.trial.is_record_overdue:
            space.prompt = replace(space.prompt, reason=PromptReason.NEEDED)
        space.trial = space.trial.recorded(may_send=may_send)
        if may_send:
            return
        if event.is_rejected:
            state.rejected.add(state.rejection_scopes(space.key.upstream_id), event.login)
            self._outcomes.ask_for_another_login(space)
        elif space.current.source is LoginSource.TYPED:
            self._record_trial(space, event.login, retry_rejected=True)  # Just typed by the user.
        else:
            space.doubt = space.doubt.at_least_unanswered(state.limits.unanswered_max)
            self._outcomes.hold_login(space, event.hold_s)

    def _refuse_without_scheme(self, space: SpaceState, request_id: int) -> None:
        """Refuse a request because no offered scheme can be used at present."""
        state = self._state
        space.prompt = replace(space.prompt, needs_user=True)
        found = current_backoff(space, state.now)
        assert found is not None, "an offer that is not picked is left alone for a reason"
        state.refuse(request_id, found.reason, found.text)

    def _handle_objection(
        self, space: SpaceState, offer: OfferedScheme, reason: PromptReason
    ) -> None:
        """Prompt instead of sending a login to a changed upstream.

        The own sign-in has no prompt: the parked requests are refused.
        """
        if space.current.source is LoginSource.SSO:
            space.prompt = replace(space.prompt, needs_user=True)
            found = current_backoff(space, self._state.now)
            if found:
                self._state.refuse_all(space, found.reason, found.text)
            else:
                text = weaker_text(self._state, space, offer, reason)
                self._state.refuse_all(space, RefusalReason.WEAKER, text)
        else:
            space.prompt = replace(space.prompt, method=offer.method)
            self._prompts.ask(space, reason)


def _own_target(space: SpaceState, now: float, limits: DeskLimits) -> str | None:
    """Return the target of the next own request, or None if no target can tell more.

    Targets for which the login was accepted come first; for an unverified login, the target of
    the last program; then no particular target and the check pages.
    """
    doubt, is_new = space.doubt, not space.current.was_accepted
    programs = [space.trial.last_target] if is_new and space.trial.last_target else []
    for target in (*reversed(space.current.accepted_targets), *programs, NO_TARGET, *CHECK_PAGES):
        is_used_up = target in doubt.own_targets and (
            is_new or (doubt.own_requests_sent > 0 and target != NO_TARGET)
        )
        is_useless = bool(target) and (
            space.is_inconclusive(target, now, limits)
            or doubt.was_refused_lately(target, now, limits)
        )
        if not is_used_up and not is_useless:
            return target
    return None


def _canary_candidates(space: SpaceState, now: float, limits: DeskLimits) -> list[ParkedRequest]:
    """Return the parked requests suited as the canary, best first.

    If the login is in doubt, only a request to a target with an earlier acceptance can verify
    it: the own request, if it is outstanding, or a request to such a target.
    """
    requests = list(space.parked.values())
    if space.is_in_doubt() and space.trial.awaits_own_request:
        return [request for request in requests if request.is_own]
    return sorted(
        requests,
        key=lambda request: (
            not request.is_own,
            request.was_refused,
            space.is_inconclusive(request.target, now, limits),
            request.target == space.trial.rejecting_target,
            not space.current.was_accepted_for(request.target),
        ),
    )
