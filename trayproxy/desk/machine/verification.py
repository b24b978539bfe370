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
    LoginInconclusive,
    LoginUnproved,
    OfferedScheme,
    OwnRequestEnded,
    RecordTrial,
    RefusalReason,
    SendOwnRequest,
    TrialRecorded,
)
from trayproxy.desk.machine.outcomes import Outcomes
from trayproxy.desk.machine.prompts import Prompts
from trayproxy.desk.machine.scheme_policy import objection, pick, trouble, weaker_text
from trayproxy.desk.machine.space_state import (
    LoginInFlight,
    LoginSource,
    ParkedRequest,
    SpacePhase,
    SpaceState,
)
from trayproxy.desk.machine.state import DeskState
from trayproxy.desk.protection_space import host_of

ANYWHERE = ""
"""No particular target, as in `SendOwnRequest`."""
CHECK_PAGES = ("detectportal.firefox.com:80", "www.msftconnecttest.com:80")
"""Where a request of our own goes next if a proxy blocks the page that stands for no particular
target. Every Firefox and every Windows asks these hosts for a small page (see
`trayproxy.service.own_requests.trial`), so that few proxies block all of them, and asking tells
nobody anything."""


class Verification:
    """Sends the canaries."""

    def __init__(self, board: DeskState, questions: Prompts, verdicts: Outcomes) -> None:
        self._board = board
        self._questions = questions
        self._verdicts = verdicts
        self._tries = 0
        self._records = 0

    def sweep(self) -> None:
        """Send what can be sent."""
        for case in self._board.cases.values():
            if case.is_record_late:
                self._board.refuse_all(case, RefusalReason.UNRECORDED)
            elif case.phase is SpacePhase.TRUSTED:
                for request in list(case.parked.values()):
                    self._serve(case, request)
            elif case.phase is SpacePhase.HELD and case.parked:
                self._try(case)
            elif case.phase is SpacePhase.HELD:
                self._try_without_clients(case)

    def times(self, case: SpaceState) -> Iterator[float]:
        """Yield when something becomes due for a case."""
        yield case.canary_until
        yield case.canary_lost
        yield case.own_until
        yield case.record_until

    def expire(self, case: SpaceState) -> None:
        """Do what has become due for a case."""
        now = self._board.now
        if now >= case.own_until:
            case.own_until = inf
            self._acquit(case)
        if now >= case.record_until:
            self._lack_record(case)
        if now >= case.canary_until:
            self._take_long(case)
        if now >= case.canary_lost:
            # It should have come back long ago. The next try is the person's decision.
            case.unanswered = max(case.unanswered, self._board.rules.unanswered - 1)
            self._verdicts.leave_open(case, sent=True)

    # --- Without an answer ---------------------------------------------------------------------

    def inconclusive(self, event: LoginInconclusive) -> None:
        """Take note that a request came back without an answer.

        It changes nothing if the request never carried the login in question.
        """
        case = self._board.cases.get(event.mark.space)
        if case is None:
            return
        case.untold.pop(event.mark.generation, None)
        if case.login_id != event.mark:
            return
        flight = case.flights.pop(event.flight, None)
        if not event.sent and flight is not None and case.login and case.accepted is None:
            self._board.effects.append(CancelTrial(case.key.upstream_id, case.login))
        if case.phase is SpacePhase.CHECKING and flight is not None:
            self._verdicts.leave_open(case, sent=event.sent)
        elif case.phase is SpacePhase.TRUSTED and event.sent and (flight or not case.unanswered):
            # Others that left at the same time as the first one say no more than the first one.
            case.unanswered += 1
            case.is_overdue = False
            if flight is not None:
                case.vague.add(host_of(flight.target))
            if case.unanswered >= self._board.rules.unanswered:
                self.doubt_silence(case)

    def unproved(self, event: LoginUnproved) -> None:
        """Keep a login on trial whose request got a response that proves nothing.

        The next canary goes to another host. A login that was right before was not refused, and
        the upstream does answer: there is no reason to ask anybody.
        """
        case = self._board.cases.get(event.mark.space)
        if case is None:
            return
        case.untold.pop(event.mark.generation, None)
        flight = case.flights.pop(event.flight, None)  # Of the present login alone.
        if case.phase is not SpacePhase.CHECKING or flight is None:
            return
        if case.accepted is None:
            case.vague.add(host_of(event.target))
            most = self._board.rules.unproved
            self._verdicts.leave_open(case, sent=event.is_doubtful, most=most)
            return
        case.unanswered = min(case.unanswered, 1)
        self._verdicts.leave_open(case, sent=False)
        if not case.doubts:
            case.move(SpacePhase.TRUSTED)

    def doubt_silence(self, case: SpaceState) -> None:
        """Find out whether the login is the reason why requests get no answer."""
        if case.login is None or not self._board.tries_itself:
            return
        case.unanswered = max(case.unanswered, self._board.rules.unanswered)
        case.is_overdue = False
        case.vague.update(host_of(flight.target) for flight in case.flights.values())
        case.move(SpacePhase.HELD)
        self.try_ourselves(case)

    def _acquit(self, case: SpaceState) -> None:
        """Go on with a login if the upstream does not ask for one, or does not answer at all."""
        is_asked_about = case.phase is SpacePhase.HELD and case.accepted is not None
        if is_asked_about and case.unanswered and not case.doubts and not case.own_asked:
            case.unanswered = 1
            case.own_tries = 0
            case.move(SpacePhase.TRUSTED)

    def _take_long(self, case: SpaceState) -> None:
        case.canary_until = inf
        if case.accepted is not None:
            self._verdicts.leave_open(case, sent=True)
            return
        case.why = PromptReason.UNCHECKED
        self._board.changed(case)

    def _serve(self, case: SpaceState, request: ParkedRequest) -> None:
        """Give a login that is right to a request."""
        board = self._board
        offers = request.unspent(case.login_id)
        offer = pick(case, offers, board.now)
        if not offers:
            board.leave(request.waiter)
            board.refuse(request.waiter, RefusalReason.FORBIDDEN)
        elif offer is None:
            self._refuse_for_trouble(case, request.waiter)
        elif why := objection(board, case, offer, request.offers):
            self._object_to(case, request, offer, why)
        else:
            board.leave(request.waiter)
            board.release(request.waiter, case, offer.scheme)

    def _object_to(
        self, case: SpaceState, request: ParkedRequest, offer: OfferedScheme, why: PromptReason
    ) -> None:
        """Let one request wait for the person, while the others go on with the present login.

        Without anybody to ask, or who wants to be asked, the request is refused.
        """
        board, now = self._board, self._board.now
        is_askable = self._questions.is_attended and now >= case.strict_until
        if case.source is LoginSource.OWN or request.own or not is_askable:
            board.leave(request.waiter)
            board.refuse(request.waiter, RefusalReason.WEAKER, weaker_text(board, case, offer, why))
        else:
            self._questions.ask_about(case, request, why, offer.way)

    # --- On a request of a program -----------------------------------------------------------

    def _try(self, case: SpaceState) -> None:
        """Send the present login on a request, unless its verdict is on its way already.

        One try per login and upstream, not one per realm: the account is the same.
        """
        assert case.has_login
        was_blocked, case.blocked = case.blocked, self._is_under_way(case)
        if case.blocked:
            return
        if (
            case.login
            and not case.insisted
            and self._board.is_rejected(case.key.upstream_id, case.login)
        ):
            if was_blocked:
                self._verdicts.reject(case)  # It has been sent once, and this is the verdict.
            else:
                self._verdicts.known_wrong(case)
        elif case.insisted and self._tells_nothing(case):
            self.try_ourselves(case, ANYWHERE)
        elif not self._seeks_proof(case):
            if case.is_in_doubt() and self._has_means(case):
                self.try_ourselves(case)
            # Being written down takes a moment, in which hundreds of requests may come. What
            # becomes of them is decided once, when that is done (`on_trial`).
            if not case.recording:
                self._try_next(case)

    def _has_means(self, case: SpaceState) -> bool:
        """Return whether one more request of our own may tell about a login in doubt."""
        return self._board.tries_itself and case.own_tries < self._board.rules.own_most

    def _tells_nothing(self, case: SpaceState) -> bool:
        """Return whether a rejected login would only be sent where it was rejected.

        If a forbidden address was taken for a wrong password, the person is right to insist; but
        only another address can show it. A request of our own goes there, once.
        """
        was_elsewhere = any(request.target != case.blamed for request in case.parked.values())
        if was_elsewhere or not case.blamed or not self._board.tries_itself:
            return False
        return case.own > 0 or case.own_generation != case.generation

    def _seeks_proof(self, case: SpaceState) -> bool:
        """Return whether TrayProxy's own request is to find out about a login on trial, or does so.

        So it is where no waiting request can tell, since each goes to a host that answers vaguely,
        and in place of the last try before the person is asked: the hosts that programs ask for
        first may all be blocked, as those that browsers call by themselves often are.
        """
        rules, now = self._board.rules, self._board.now
        if case.accepted is not None or not (case.vague or case.forbidden):
            return False  # Any request can tell.
        targets = [request.target for request in case.parked.values() if not request.own]
        if len(targets) < len(case.parked):
            return False
        is_last = bool(case.vague) and case.unanswered >= rules.unproved - 1
        if not is_last and not all(case.tells_nothing(target, now, rules) for target in targets):
            return False
        is_neutral = is_last and ANYWHERE not in case.own_targets
        target = ANYWHERE if is_neutral else self._elsewhere(case)
        if target is not None:
            self.try_ourselves(case, target)
        return case.own > 0 and case.own_until < inf

    def _elsewhere(self, case: SpaceState) -> str | None:
        """Return where a request of our own can tell more, None if we know of no such place.

        Where the login was right; while nothing is known of it, where a program wanted to go; or
        wherever.
        """
        rules, now = self._board.rules, self._board.now
        wanted = [case.target] if case.accepted is None and case.target else []
        for target in (*reversed(case.goods), *wanted, ANYWHERE, *CHECK_PAGES):
            is_spent = target in case.own_targets and (
                case.accepted is None or (case.own_tries > 0 and target != ANYWHERE)
            )
            is_vain = bool(target) and (
                case.tells_nothing(target, now, rules) or case.is_suspect(target, now, rules)
            )
            if not is_spent and not is_vain:
                return target
        return None

    def _is_under_way(self, case: SpaceState) -> bool:
        """Return whether the very same login is on a canary, of another realm or typed before."""
        if case.login is None:
            return False
        others = self._board.neighbours(case)
        if any(case.login in one.untold.values() for one in (case, *others)):
            return True
        return any(c.phase is SpacePhase.CHECKING and c.login == case.login for c in others)

    def _try_next(self, case: SpaceState) -> None:
        """Send the present login on one request that can tell whether it is right."""
        board = self._board
        objected: tuple[OfferedScheme, PromptReason] | None = None
        for request in self._in_order(case):
            if case.is_suspect(request.target, board.now, board.rules) and not request.own:
                if case.own or self._has_means(case):
                    continue
                board.leave(request.waiter)
                board.refuse(request.waiter, RefusalReason.FORBIDDEN)
                continue
            offers = request.unspent(case.login_id)
            if not offers:
                # The upstream has refused this login in every way that it offers.
                return self._verdicts.reject(case)
            offer = pick(case, offers, board.now)
            if offer is None:
                self._refuse_for_trouble(case, request.waiter)
                continue
            if why := objection(board, case, offer, request.offers):
                objected = objected or (offer, why)
                continue
            if case.login and case.accepted is None and not case.on_record:
                return self._put_on_trial(case, insists=case.insisted)
            case.on_record = False
            board.leave(request.waiter)
            case.move(SpacePhase.CHECKING)
            case.flights[request.waiter] = LoginInFlight(board.now, request.target)
            case.canary_until = board.now + board.rules.canary
            case.canary_lost = board.now + board.rules.lost
            case.canary, case.trial = request.target, offer
            board.changed(case)
            board.release(request.waiter, case, offer.scheme)
            return None
        if objected:
            self._object(case, *objected)
        return None

    # --- On record -----------------------------------------------------------------------------

    def _put_on_trial(self, case: SpaceState, *, insists: bool) -> None:
        """Have it written down that a login is about to be sent that was never accepted.

        A run that ends before the verdict must not leave the login to be sent once more.
        """
        if case.recording or case.login is None:
            return
        self._records += 1
        case.recording = self._records
        case.record_until = self._board.now + self._board.rules.record
        is_saved = case.source is LoginSource.SAVED
        order = RecordTrial(case.recording, case.key.upstream_id, case.login, insists, is_saved)
        self._board.effects.append(order)
        self._board.changed(case)

    def _lack_record(self, case: SpaceState) -> None:
        """Tell requests and person that the login cannot be put on record, and so is not sent."""
        case.record_until, case.is_record_late = inf, True
        case.why = PromptReason.UNRECORDED
        self._board.changed(case)

    def on_trial(self, event: TrialRecorded) -> None:
        """Send the login now that its trial is on record, or ask if an earlier run tried it."""
        board = self._board
        case = next((c for c in board.cases.values() if c.recording == event.number), None)
        is_on_record = not event.is_rejected and event.hold_s <= 0
        if case is None:
            if is_on_record:
                board.effects.append(CancelTrial(event.space, event.login))
            return
        if case.is_record_late:
            case.own_generation = 0  # What was refused meanwhile is tried once more.
            case.why = PromptReason.NEEDED
        case.end_record()
        if is_on_record:
            case.on_record = True
        elif event.is_rejected:
            board.rejected.add(board.places(case.key.upstream_id), event.login)
            self._verdicts.known_wrong(case)
        elif case.source is LoginSource.TYPED:
            self._put_on_trial(case, insists=True)  # The person has just decided.
        else:
            case.unanswered = max(case.unanswered, board.rules.unanswered)
            case.silent_until = board.now + event.hold_s
            case.relook_at = board.now + board.rules.relook_locked
            self._questions.ask(case, PromptReason.UNCHECKED)

    def _in_order(self, case: SpaceState) -> list[ParkedRequest]:
        """Return the requests that a canary may be, the one that tells most first.

        After a refusal that may be about the address alone, only one where the login was right
        before can tell: ours, if it is on its way, or one that goes there.
        """
        requests = list(case.parked.values())
        if case.is_in_doubt() and case.own and case.own_until < inf:
            return [request for request in requests if request.own]
        return sorted(
            requests,
            key=lambda r: (
                not r.own,
                r.refused,
                case.tells_nothing(r.target, self._board.now, self._board.rules),
                r.target == case.blamed,
                not case.is_good(r.target),
            ),
        )

    def _refuse_for_trouble(self, case: SpaceState, waiter: int) -> None:
        """Tell a request why there is no scheme for it."""
        board = self._board
        board.leave(waiter)
        case.needed = True
        found = trouble(case, board.now)
        assert found is not None, "an offer that is not picked is left alone for a reason"
        board.refuse(waiter, found.reason, found.text)

    def _object(self, case: SpaceState, offer: OfferedScheme, why: PromptReason) -> None:
        """Do not send a login to an upstream that is not as it was, but ask.

        One's own sign-in leaves nothing to ask about: it is not sent.
        """
        if case.source is LoginSource.OWN:
            case.needed = True
            found = trouble(case, self._board.now)
            if found:
                self._board.refuse_all(case, found.reason, found.text)
            else:
                text = weaker_text(self._board, case, offer, why)
                self._board.refuse_all(case, RefusalReason.WEAKER, text)
        else:
            case.way = offer.way
            self._questions.ask(case, why)

    # --- On a request of our own -------------------------------------------------------------

    def _try_without_clients(self, case: SpaceState) -> None:
        """Try what the person has typed, although the clients that needed it have gone.

        Or never came: a login from the command line is saved only if it is right.
        """
        is_answer = (
            case.source is LoginSource.TYPED and case.asked is not None and case.asked.touched
        )
        is_to_be_saved = case.source is LoginSource.GIVEN and case.remember
        if (is_answer or is_to_be_saved) and case.own_generation != case.generation:
            self.try_ourselves(case)
        elif case.vague and case.accepted is None and not case.own:
            target = self._elsewhere(case)
            if target is not None:
                self.try_ourselves(case, target)

    def try_ourselves(self, case: SpaceState, target: str | None = None) -> None:
        """Send a request of our own; without the means for it, the next one of a program tells.

        Args:
            case: With the login of which protection space.
            target: Where to; None: wherever that tells most.
        """
        board = self._board
        if case.own or not board.tries_itself:
            return
        self._tries += 1
        case.own, case.own_generation = self._tries, case.generation
        case.own_until = board.now + board.rules.canary
        case.own_asked = False
        if target is None:
            target = self._elsewhere(case) or ANYWHERE
        case.own_targets.add(target)
        case.own_tries += 1
        board.effects.append(SendOwnRequest(case.own, case.kept_for, target))
        board.changed(case)

    def own_ended(self, event: OwnRequestEnded) -> None:
        """Take note that our request is back; if there was a verdict, it is known already."""
        cases = self._board.cases.values()
        case = next((case for case in cases if case.own == event.number), None)
        if case is None:
            return
        case.own, case.own_until = 0, inf
        self._acquit(case)
        if case.phase is SpacePhase.HELD and not case.parked and case.accepted is None:
            if case.is_record_late:
                pass  # The person has been told why it is not sent.
            elif event.asked:
                case.why = PromptReason.UNCHECKED
            else:
                self._questions.close(case, Ending.ABANDONED)
        self._board.changed(case)
