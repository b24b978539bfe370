"""Finding out whether a login is right: on one request, the canary.

Only its verdict moves the others. A canary that takes long is told to the person, but is not
overtaken: each further request with a wrong login is a failed log-on, and companies lock accounts
after a few.

A login that was right before and is in doubt, because it was refused or was not answered, is tried
on TrayProxy's own request, at another address than the one that refused it. The upstream is asked
without the login first: if it does not even ask for one, the login is not the reason.

If no client is there to try it on, because it gave up while the person typed, a request of our own
takes its place. So it does where those of the clients cannot tell: they go to hosts that have
answered vaguely (see `trayproxy.desk.machine.outcomes`), or that refuse logins that are right.
"""

from collections.abc import Iterator
from math import inf

from trayproxy.control.messages import Ending, PromptReason
from trayproxy.desk.machine.events import (
    CancelTrial,
    LoginUnproved,
    NoResponse,
    OfferedScheme,
    OwnRequestEnded,
    RecordTrial,
    RefusalReason,
    SendOwnRequest,
    TrialRecorded,
)
from trayproxy.desk.machine.outcomes import Outcomes
from trayproxy.desk.machine.prompts import Prompts
from trayproxy.desk.machine.scheme_policy import current_backoff, objection, pick, weaker_text
from trayproxy.desk.machine.space_state import (
    LoginInFlight,
    LoginSource,
    ParkedRequest,
    SpacePhase,
    SpaceState,
)
from trayproxy.desk.machine.state import DeskState
from trayproxy.desk.protection_space import host_of

NO_TARGET = ""
"""No particular target, as in `SendOwnRequest`."""
CHECK_PAGES = ("detectportal.firefox.com:80", "www.msftconnecttest.com:80")
"""Where a request of our own goes next if a proxy blocks the page that stands for no particular
target. Every Firefox and every Windows asks these hosts for a small page (see
`trayproxy.service.own_requests.trial`), so that few proxies block all of them, and asking tells
nobody anything."""


class Verification:
    """Sends the canaries."""

    def __init__(self, state: DeskState, prompts: Prompts, outcomes: Outcomes) -> None:
        self._state = state
        self._prompts = prompts
        self._outcomes = outcomes
        self._own_requests = 0
        self._records = 0

    def sweep(self) -> None:
        """Send what can be sent."""
        for space in self._state.spaces.values():
            if space.is_record_overdue:
                self._state.refuse_all(space, RefusalReason.UNRECORDED)
            elif space.phase is SpacePhase.TRUSTED:
                for request in list(space.parked.values()):
                    self._release_trusted(space, request)
            elif space.phase is SpacePhase.UNVERIFIED and space.parked:
                self._verify(space)
            elif space.phase is SpacePhase.UNVERIFIED:
                self._verify_without_clients(space)

    def deadlines(self, space: SpaceState) -> Iterator[float]:
        """Yield when something becomes due for a case."""
        yield space.canary_overdue_at
        yield space.canary_lost_at
        yield space.own_deadline
        yield space.record_deadline

    def expire(self, space: SpaceState) -> None:
        """Do what has become due for a case."""
        now = self._state.now
        if now >= space.own_deadline:
            space.own_deadline = inf
            self._clear_silence(space)
        if now >= space.record_deadline:
            self._report_overdue_record(space)
        if now >= space.canary_overdue_at:
            self._report_overdue_canary(space)
        if now >= space.canary_lost_at:
            # It should have come back long ago. The next try is the person's decision.
            space.unanswered = max(space.unanswered, self._state.limits.unanswered_max - 1)
            self._outcomes.keep_unverified(space, sent=True)

    # --- Without an answer ---------------------------------------------------------------------

    def handle_no_response(self, event: NoResponse) -> None:
        """Take note that a request came back without an answer.

        It changes nothing if the request never carried the login in question.
        """
        space = self._state.spaces.get(event.login_id.space)
        if space is None:
            return
        space.pending_verdicts.pop(event.login_id.generation, None)
        if space.login_id != event.login_id:
            return
        in_flight = space.in_flight.pop(event.permit, None)
        if (
            not event.was_sent
            and in_flight is not None
            and space.login
            and space.accepted_at is None
        ):
            self._state.effects.append(CancelTrial(space.key.upstream_id, space.login))
        if space.phase is SpacePhase.CHECKING and in_flight is not None:
            self._outcomes.keep_unverified(space, sent=event.was_sent)
        elif (
            space.phase is SpacePhase.TRUSTED
            and event.was_sent
            and (in_flight or not space.unanswered)
        ):
            # Others that left at the same time as the first one say no more than the first one.
            space.unanswered += 1
            space.is_overdue = False
            if in_flight is not None:
                space.inconclusive_hosts.add(host_of(in_flight.target))
            if space.unanswered >= self._state.limits.unanswered_max:
                self.verify_after_silence(space)

    def handle_unproved(self, event: LoginUnproved) -> None:
        """Keep a login on trial whose request got a response that proves nothing.

        The next canary goes to another host. A login that was right before was not refused, and
        the upstream does answer: there is no reason to ask anybody.
        """
        space = self._state.spaces.get(event.login_id.space)
        if space is None:
            return
        space.pending_verdicts.pop(event.login_id.generation, None)
        in_flight = space.in_flight.pop(event.permit, None)  # Of the present login alone.
        if space.phase is not SpacePhase.CHECKING or in_flight is None:
            return
        if space.accepted_at is None:
            space.inconclusive_hosts.add(host_of(event.target))
            limit = self._state.limits.unproved_max
            self._outcomes.keep_unverified(space, sent=event.is_doubtful, limit=limit)
            return
        space.unanswered = min(space.unanswered, 1)
        self._outcomes.keep_unverified(space, sent=False)
        if not space.refusals:
            space.move_to(SpacePhase.TRUSTED)

    def verify_after_silence(self, space: SpaceState) -> None:
        """Find out whether the login is the reason why requests get no answer."""
        if space.login is None or not self._state.can_send_own:
            return
        space.unanswered = max(space.unanswered, self._state.limits.unanswered_max)
        space.is_overdue = False
        space.inconclusive_hosts.update(
            host_of(in_flight.target) for in_flight in space.in_flight.values()
        )
        space.move_to(SpacePhase.UNVERIFIED)
        self.send_own_request(space)

    def _clear_silence(self, space: SpaceState) -> None:
        """Go on with a login if the upstream does not ask for one, or does not answer at all."""
        is_asked_about = space.phase is SpacePhase.UNVERIFIED and space.accepted_at is not None
        if is_asked_about and space.unanswered and not space.refusals and not space.own_challenged:
            space.unanswered = 1
            space.own_requests_sent = 0
            space.move_to(SpacePhase.TRUSTED)

    def _report_overdue_canary(self, space: SpaceState) -> None:
        space.canary_overdue_at = inf
        if space.accepted_at is not None:
            self._outcomes.keep_unverified(space, sent=True)
            return
        space.reason = PromptReason.UNCHECKED
        self._state.prompt_changed(space)

    def _release_trusted(self, space: SpaceState, request: ParkedRequest) -> None:
        """Give a login that is right to a request."""
        state = self._state
        offers = request.untried_offers(space.login_id)
        offer = pick(space, offers, state.now)
        if not offers:
            state.unpark(request.request_id)
            state.refuse(request.request_id, RefusalReason.FORBIDDEN)
        elif offer is None:
            self._refuse_without_scheme(space, request.request_id)
        elif reason := objection(state, space, offer, request.offers):
            self._hold_for_consent(space, request, offer, reason)
        else:
            state.unpark(request.request_id)
            state.release(request.request_id, space, offer.scheme)

    def _hold_for_consent(
        self, space: SpaceState, request: ParkedRequest, offer: OfferedScheme, reason: PromptReason
    ) -> None:
        """Let one request wait for the person, while the others go on with the present login.

        Without anybody to ask, or who wants to be asked, the request is refused.
        """
        state, now = self._state, self._state.now
        is_askable = self._prompts.can_ask and now >= space.weaker_snoozed_until
        if space.source is LoginSource.SSO or request.is_own or not is_askable:
            state.unpark(request.request_id)
            state.refuse(
                request.request_id, RefusalReason.WEAKER, weaker_text(state, space, offer, reason)
            )
        else:
            self._prompts.ask_for_request(space, request, reason, offer.method)

    # --- On a request of a program -----------------------------------------------------------

    def _verify(self, space: SpaceState) -> None:
        """Send the present login on a request, unless its verdict is on its way already.

        One try per login and upstream, not one per realm: the account is the same.
        """
        assert space.has_login
        was_blocked, space.is_blocked = space.is_blocked, self._is_being_verified(space)
        if space.is_blocked:
            return
        if (
            space.login
            and not space.retry_rejected
            and self._state.is_rejected(space.key.upstream_id, space.login)
        ):
            if was_blocked:
                self._outcomes.reject(space)  # It has been sent once, and this is the verdict.
            else:
                self._outcomes.ask_for_another_login(space)
        elif space.retry_rejected and self._needs_other_target(space):
            self.send_own_request(space, NO_TARGET)
        elif not self._verifies_by_own_request(space):
            if space.is_in_doubt() and self._may_send_own(space):
                self.send_own_request(space)
            # Being written down takes a moment, in which hundreds of requests may come. What
            # becomes of them is decided once, when that is done (`handle_recorded`).
            if not space.record_number:
                self._send_canary(space)

    def _may_send_own(self, space: SpaceState) -> bool:
        """Return whether one more request of our own may tell about a login in doubt."""
        return (
            self._state.can_send_own
            and space.own_requests_sent < self._state.limits.own_requests_max
        )

    def _needs_other_target(self, space: SpaceState) -> bool:
        """Return whether a rejected login would only be sent where it was rejected.

        If a forbidden address was taken for a wrong password, the person is right to insist; but
        only another address can show it. A request of our own goes there, once.
        """
        was_elsewhere = any(
            request.target != space.rejecting_target for request in space.parked.values()
        )
        if was_elsewhere or not space.rejecting_target or not self._state.can_send_own:
            return False
        return space.own_request > 0 or space.own_generation != space.generation

    def _verifies_by_own_request(self, space: SpaceState) -> bool:
        """Return whether TrayProxy's own request is to find out about a login on trial, or does so.

        So it is where no waiting request can tell, since each goes to a host that answers vaguely,
        and in place of the last try before the person is asked: the hosts that programs ask for
        first may all be blocked, as those that browsers call by themselves often are.
        """
        limits, now = self._state.limits, self._state.now
        if space.accepted_at is not None or not (space.inconclusive_hosts or space.forbidden_hosts):
            return False  # Any request can tell.
        targets = [request.target for request in space.parked.values() if not request.is_own]
        if len(targets) < len(space.parked):
            return False
        is_last = bool(space.inconclusive_hosts) and space.unanswered >= limits.unproved_max - 1
        if not is_last and not all(
            space.is_inconclusive(target, now, limits) for target in targets
        ):
            return False
        is_neutral = is_last and NO_TARGET not in space.own_targets
        target = NO_TARGET if is_neutral else self._own_target(space)
        if target is not None:
            self.send_own_request(space, target)
        return space.own_request > 0 and space.own_deadline < inf

    def _own_target(self, space: SpaceState) -> str | None:
        """Return where a request of our own can tell more, None if we know of no such place.

        Where the login was right; while nothing is known of it, where a program wanted to go; or
        wherever.
        """
        limits, now = self._state.limits, self._state.now
        wanted = [space.last_target] if space.accepted_at is None and space.last_target else []
        for target in (*reversed(space.accepted_targets), *wanted, NO_TARGET, *CHECK_PAGES):
            is_spent = target in space.own_targets and (
                space.accepted_at is None or (space.own_requests_sent > 0 and target != NO_TARGET)
            )
            is_vain = bool(target) and (
                space.is_inconclusive(target, now, limits)
                or space.was_refused_lately(target, now, limits)
            )
            if not is_spent and not is_vain:
                return target
        return None

    def _is_being_verified(self, space: SpaceState) -> bool:
        """Return whether the very same login is on a canary, of another realm or typed before."""
        if space.login is None:
            return False
        others = self._state.others_of_upstream(space)
        if any(space.login in one.pending_verdicts.values() for one in (space, *others)):
            return True
        return any(s.phase is SpacePhase.CHECKING and s.login == space.login for s in others)

    def _send_canary(self, space: SpaceState) -> None:
        """Send the present login on one request that can tell whether it is right."""
        state = self._state
        first_objection: tuple[OfferedScheme, PromptReason] | None = None
        for request in self._canary_candidates(space):
            if (
                space.was_refused_lately(request.target, state.now, state.limits)
                and not request.is_own
            ):
                if space.own_request or self._may_send_own(space):
                    continue
                state.unpark(request.request_id)
                state.refuse(request.request_id, RefusalReason.FORBIDDEN)
                continue
            offers = request.untried_offers(space.login_id)
            if not offers:
                # The upstream has refused this login in every way that it offers.
                return self._outcomes.reject(space)
            offer = pick(space, offers, state.now)
            if offer is None:
                self._refuse_without_scheme(space, request.request_id)
                continue
            if reason := objection(state, space, offer, request.offers):
                first_objection = first_objection or (offer, reason)
                continue
            if space.login and space.accepted_at is None and not space.is_recorded:
                return self._record_trial(space, retry_rejected=space.retry_rejected)
            space.is_recorded = False
            state.unpark(request.request_id)
            space.move_to(SpacePhase.CHECKING)
            space.in_flight[request.request_id] = LoginInFlight(state.now, request.target)
            space.canary_overdue_at = state.now + state.limits.canary_overdue
            space.canary_lost_at = state.now + state.limits.canary_timeout
            space.canary_target, space.canary_offer = request.target, offer
            state.prompt_changed(space)
            state.release(request.request_id, space, offer.scheme)
            return None
        if first_objection:
            self._handle_objection(space, *first_objection)
        return None

    # --- On record -----------------------------------------------------------------------------

    def _record_trial(self, space: SpaceState, *, retry_rejected: bool) -> None:
        """Have it written down that a login is about to be sent that was never accepted.

        A run that ends before the verdict must not leave the login to be sent once more.
        """
        if space.record_number or space.login is None:
            return
        self._records += 1
        space.record_number = self._records
        space.record_deadline = self._state.now + self._state.limits.record_timeout
        is_saved = space.source is LoginSource.SAVED
        order = RecordTrial(
            space.record_number, space.key.upstream_id, space.login, retry_rejected, is_saved
        )
        self._state.effects.append(order)
        self._state.prompt_changed(space)

    def _report_overdue_record(self, space: SpaceState) -> None:
        """Tell requests and person that the login cannot be put on record, and so is not sent."""
        space.record_deadline, space.is_record_overdue = inf, True
        space.reason = PromptReason.UNRECORDED
        self._state.prompt_changed(space)

    def handle_recorded(self, event: TrialRecorded) -> None:
        """Send the login now that its trial is on record, or ask if an earlier run tried it."""
        state = self._state
        space = next((s for s in state.spaces.values() if s.record_number == event.number), None)
        is_on_record = not event.is_rejected and event.hold_s <= 0
        if space is None:
            if is_on_record:
                state.effects.append(CancelTrial(event.upstream_id, event.login))
            return
        if space.is_record_overdue:
            space.own_generation = 0  # What was refused meanwhile is tried once more.
            space.reason = PromptReason.NEEDED
        space.clear_record()
        if is_on_record:
            space.is_recorded = True
        elif event.is_rejected:
            state.rejected.add(state.rejection_scopes(space.key.upstream_id), event.login)
            self._outcomes.ask_for_another_login(space)
        elif space.source is LoginSource.TYPED:
            self._record_trial(space, retry_rejected=True)  # The person has just decided.
        else:
            space.unanswered = max(space.unanswered, state.limits.unanswered_max)
            space.hold_until = state.now + event.hold_s
            space.next_lookup_at = state.now + state.limits.locked_lookup_ttl
            self._prompts.ask(space, PromptReason.UNCHECKED)

    def _canary_candidates(self, space: SpaceState) -> list[ParkedRequest]:
        """Return the requests that a canary may be, the one that tells most first.

        After a refusal that may be about the address alone, only one where the login was right
        before can tell: ours, if it is on its way, or one that goes there.
        """
        requests = list(space.parked.values())
        if space.is_in_doubt() and space.own_request and space.own_deadline < inf:
            return [request for request in requests if request.is_own]
        return sorted(
            requests,
            key=lambda r: (
                not r.is_own,
                r.was_refused,
                space.is_inconclusive(r.target, self._state.now, self._state.limits),
                r.target == space.rejecting_target,
                not space.was_accepted_for(r.target),
            ),
        )

    def _refuse_without_scheme(self, space: SpaceState, request_id: int) -> None:
        """Tell a request why there is no scheme for it."""
        state = self._state
        state.unpark(request_id)
        space.needs_user = True
        found = current_backoff(space, state.now)
        assert found is not None, "an offer that is not picked is left alone for a reason"
        state.refuse(request_id, found.reason, found.text)

    def _handle_objection(
        self, space: SpaceState, offer: OfferedScheme, reason: PromptReason
    ) -> None:
        """Do not send a login to an upstream that is not as it was, but ask.

        One's own sign-in leaves nothing to ask about: it is not sent.
        """
        if space.source is LoginSource.SSO:
            space.needs_user = True
            found = current_backoff(space, self._state.now)
            if found:
                self._state.refuse_all(space, found.reason, found.text)
            else:
                text = weaker_text(self._state, space, offer, reason)
                self._state.refuse_all(space, RefusalReason.WEAKER, text)
        else:
            space.method = offer.method
            self._prompts.ask(space, reason)

    # --- On a request of our own -------------------------------------------------------------

    def _verify_without_clients(self, space: SpaceState) -> None:
        """Try what the person has typed, although the clients that needed it have gone.

        Or never came: a login from the command line is saved only if it is right.
        """
        is_answer = (
            space.source is LoginSource.TYPED
            and space.prompt is not None
            and space.prompt.is_touched
        )
        is_to_be_saved = space.source is LoginSource.COMMAND_LINE and space.remember
        if (is_answer or is_to_be_saved) and space.own_generation != space.generation:
            self.send_own_request(space)
        elif space.inconclusive_hosts and space.accepted_at is None and not space.own_request:
            target = self._own_target(space)
            if target is not None:
                self.send_own_request(space, target)

    def send_own_request(self, space: SpaceState, target: str | None = None) -> None:
        """Send a request of our own; without the means for it, the next one of a program tells.

        Args:
            space: With the login of which protection space.
            target: Where to; None: wherever that tells most.
        """
        state = self._state
        if space.own_request or not state.can_send_own:
            return
        self._own_requests += 1
        space.own_request, space.own_generation = self._own_requests, space.generation
        space.own_deadline = state.now + state.limits.canary_overdue
        space.own_challenged = False
        if target is None:
            target = self._own_target(space) or NO_TARGET
        space.own_targets.add(target)
        space.own_requests_sent += 1
        state.effects.append(SendOwnRequest(space.own_request, space.upstream_profile, target))
        state.prompt_changed(space)

    def handle_own_ended(self, event: OwnRequestEnded) -> None:
        """Take note that our request is back; if there was a verdict, it is known already."""
        spaces = self._state.spaces.values()
        space = next((space for space in spaces if space.own_request == event.number), None)
        if space is None:
            return
        space.own_request, space.own_deadline = 0, inf
        self._clear_silence(space)
        if space.phase is SpacePhase.UNVERIFIED and not space.parked and space.accepted_at is None:
            if space.is_record_overdue:
                pass  # The person has been told why it is not sent.
            elif event.was_challenged:
                space.reason = PromptReason.UNCHECKED
            else:
                self._prompts.close(space, Ending.ABANDONED)
        self._state.prompt_changed(space)
