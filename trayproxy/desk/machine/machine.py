"""The sign-in flow as a pure state machine (ux §3.4).

It is told what happened and when, and says what to do; it does no I/O, keeps no clock and starts no
timer, so every path through it can be played by a test. What it guarantees:

- A login is tried on one request, the canary. Only its success releases the others and saves it.
- A login that was right and was not proved lately goes out one request at a time (`turns`).
- Only a request that carried the login can change its trial, and only if it left after whatever
  put the login in doubt.
- A login that was rejected is never sent again by itself: not to the next request, not to another
  realm of the upstream, and if the person types it once more, only when they insist.
- Nothing is sent by itself to an upstream that offers less than before or calls itself something
  else.
- There is at most one question per protection space, and one before the person at a time.
- A request that waits gets an answer or a reason, within five minutes.

A rejection has no event of its own. It is a request that comes back with a 407 and says which login
it carried (`RequestChallenged.tried`); how that compares with the present generation is the
verdict.

`Machine` itself places requests, follows the profiles and keeps the time. The rest is decided in
`questions`, `logins`, `verdicts`, `trials`, `choice` and `person`, which share a `board`.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import inf

from msgspec import structs

from trayproxy.control.messages import Ending, KeyringState, KeyringStatus, Program, PromptReason
from trayproxy.desk.machine.credential_lookup import CredentialLookup
from trayproxy.desk.machine.events import (
    ClientLeft,
    Effect,
    Event,
    FrontEndsChanged,
    KeyringSurveyed,
    LoginAccepted,
    LoginDeparting,
    LoginGiven,
    LoginInconclusive,
    LoginSaved,
    LoginsForgotten,
    LoginUnproved,
    LookupFinished,
    NetworkChanged,
    NoCommonScheme,
    OwnRequestEnded,
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
    UpstreamOverdue,
)
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.machine.outcomes import Outcomes, is_costless
from trayproxy.desk.machine.pacing import Pacing
from trayproxy.desk.machine.prompts import Prompts
from trayproxy.desk.machine.queries import Queries
from trayproxy.desk.machine.scheme_policy import objection, pick
from trayproxy.desk.machine.space_state import LoginInFlight, ParkedRequest, SpacePhase, SpaceState
from trayproxy.desk.machine.state import DeskState
from trayproxy.desk.machine.user_actions import UserActions
from trayproxy.desk.machine.verification import Verification
from trayproxy.desk.protection_space import ProtectionSpace, UpstreamFingerprint, UpstreamId
from trayproxy.desk.rejected_logins import RejectedLogins
from trayproxy.profiles.profile import Profile, SignIn

_BY_METHOD = frozenset({PromptReason.DOWNGRADE, PromptReason.FALLBACK})
_WITH_LOGIN = frozenset({SpacePhase.HELD, SpacePhase.CHECKING, SpacePhase.TRUSTED})


class Machine(Queries):
    """All protection spaces, and the questions about them."""

    def __init__(
        self,
        rules: DeskLimits,
        rejected: RejectedLogins,
        pins: Mapping[UpstreamId, UpstreamFingerprint],
    ) -> None:
        """Create a machine that knows nothing of this run.

        Args:
            rules: Times and limits.
            rejected: Logins not to send by themselves; it is added to.
            pins: What upstreams were when they last accepted a login.
        """
        super().__init__(DeskState(rules, rejected, pins))
        self._questions = Prompts(self.board)
        self._logins = CredentialLookup(self.board, self._questions)
        self._verdicts = Outcomes(self.board, self._questions)
        self._trials = Verification(self.board, self._questions, self._verdicts)
        self._turns = Pacing(self.board, self._trials)
        self._person = UserActions(self.board, self._questions, self._logins, self._trials)

    # --- What it is told ---------------------------------------------------------------------

    def handle(self, now: float, event: Event) -> list[Effect]:
        """Take an event and return what to do about it, in order.

        Args:
            now: Seconds on a monotonic clock, never less than last time.
            event: What happened.
        """
        board = self.board
        board.now = now
        # What is overdue first, so that an event meets the state that it should; but nothing is
        # released before the event is known, which may bring a better login.
        for case in board.cases.values():
            self._expire(case)
        self._dispatch(event)
        for case in board.cases.values():
            self._expire(case)
        self._trials.sweep()
        self._turns.sweep()
        self._questions.sweep()
        effects, board.effects = board.effects, []
        return effects

    def _dispatch(self, event: Event) -> None:
        match event:
            case RequestChallenged():
                self._challenged(event)
            case NoCommonScheme(space, problem):
                self.board.unusable[space] = problem
            case LoginAccepted():
                self.board.unusable.pop(event.mark.space.upstream_id, None)
                self._verdicts.accepted(event)
            case LoginUnproved():
                self._trials.unproved(event)
            case LoginInconclusive():
                self._trials.inconclusive(event)
            case LoginDeparting():
                self._turns.departing(event)
            case UpstreamOverdue():
                self._turns.overdue(event)
            case OwnRequestEnded():
                self._trials.own_ended(event)
            case ClientLeft(waiter):
                self.board.leave(waiter)
                self._turns.left(waiter)
            case ProgramIdentified(waiter, program):
                self._identified(waiter, program)
            case LookupFinished():
                self._logins.found(event)
            case TrialRecorded():
                self._trials.on_trial(event)
            case LoginSaved(profile_id):
                self.board.saved.add(profile_id)
            case KeyringSurveyed(keyring):
                self._surveyed(keyring)
            case TimePassed():
                pass
            case NetworkChanged():
                self._network_changed()
            case ScreenLocked(locked):
                self._questions.lock_screen(locked)
            case FrontEndsChanged(count):
                self._questions.set_askers(count)
            case _:
                self._dispatch_wish(event)

    def _dispatch_wish(
        self,
        event: PromptAnswered
        | PromptDeclined
        | PromptTouched
        | SignInRequested
        | LoginGiven
        | LoginsForgotten
        | ProfileEdited
        | ProfileDeleted
        | ProfileSwitched,
    ) -> None:
        match event:
            case PromptAnswered():
                self._person.typed(event)
            case PromptDeclined(number, quiet):
                self._person.declined(number, quiet)
            case PromptTouched(number):
                self._person.touched(number)
            case SignInRequested(profile, way):
                self._person.wanted(profile, way)
            case LoginGiven():
                self._person.given(event)
            case LoginsForgotten(profile_id):
                self._person.forgotten(profile_id)
            case ProfileEdited(profile):
                self._edited(profile)
            case ProfileDeleted(profile_id, for_good):
                self._deleted(profile_id, for_good=for_good)
            case ProfileSwitched(profile):
                self._switched(profile)

    # --- Time, and profiles as they are ---------------------------------------------------------

    def deadline(self) -> float:
        """Return when to send a `TimePassed` at the latest; infinite if time changes nothing."""
        times = [time for case in self.board.cases.values() for time in self._times(case)]
        return min((*times, *self._questions.times()), default=inf)

    def profile(self, profile: Profile) -> Profile:
        """Return a profile as it is now; as it was given if it is not known, or gone."""
        return self.board.profiles.get(profile.id) or profile

    # --- Requests ----------------------------------------------------------------------------

    def _challenged(self, event: RequestChallenged) -> None:
        board, tried = self.board, event.tried
        event = structs.replace(event, key=self._home(event.key))
        if not self._is_current(event.key.upstream_id, event.profile):
            return board.refuse(event.waiter, RefusalReason.WITHDRAWN)
        if event.addresses:
            board.addresses[event.key.upstream_id] = event.addresses
        strayed = tried is not None and tried.mark.space != event.key
        if tried:
            self._verdicts.settle_late(tried)
        if tried and strayed:
            self._verdicts.settle_stray(tried, event.key)
        if event.key not in board.cases and not event.offers:
            board.effects.append(SendWithoutLogin(event.waiter))
            return None
        case = self._case_for(event)
        if case is None:
            return board.refuse(event.waiter, RefusalReason.CROWDED)
        if event.offers:
            board.unusable.pop(event.key.upstream_id, None)
        self._hear(case, event)
        flight = case.flights.pop(tried.flight, None) if tried else None
        if tried and strayed and tried.strayed:
            return board.refuse(event.waiter, RefusalReason.FORBIDDEN)
        request = ParkedRequest(
            event.waiter,
            board.now,
            event.target,
            event.program,
            event.offers,
            event.own,
            spent=event.spent,
        )
        if tried and tried.mark == case.login_id:
            return self._come_back(case, request, event, tried, flight)
        return self._place(case, request)

    def _hear(self, case: SpaceState, event: RequestChallenged) -> None:
        """Take note of how an upstream asks."""
        case.seen = self.board.now
        if event.own:
            case.own_asked = True
        else:
            case.target = event.target
        if event.offers:
            case.offers = event.offers
            offer = pick(case, event.offers, self.board.now)
            case.way = (offer or event.offers[0]).way

    def _come_back(
        self,
        case: SpaceState,
        request: ParkedRequest,
        event: RequestChallenged,
        tried: TriedLogin,
        flight: LoginInFlight | None,
    ) -> None:
        """Place a request that was refused with the present login."""
        board = self.board
        is_trial = flight is not None or event.own or case.accepted is None
        if event.offers and not tried.is_repeated and not tried.is_final:
            self._verdicts.asked_otherwise(case, tried, is_trial=is_trial)
            return self._place(case, request)
        if tried.verdict and is_costless(tried.verdict):
            is_offered = not event.offers or any(o.scheme == tried.scheme for o in event.offers)
            if not self._verdicts.unusable(
                case, tried, tried.verdict, is_offered=is_offered, is_trial=is_trial
            ):
                return board.refuse(event.waiter, RefusalReason.UNUSABLE, tried.verdict.text)
            if pick(case, event.offers, board.now) is None:
                # What else it offers was perhaps not said in the middle of a handshake, and is
                # not to be taken from an earlier answer.
                board.effects.append(SendWithoutLogin(event.waiter))
                return None
            return self._place(case, request)
        if self._verdicts.refused(case, event, tried, is_trial=is_trial):
            return self._place(case, request)
        if case.phase is SpacePhase.TRUSTED or event.own or not self._verdicts.can_find_out(case):
            return board.refuse(event.waiter, RefusalReason.FORBIDDEN)
        request.refused = True
        self._place(case, request)
        return self._trials.try_ourselves(case)

    def _is_current(self, space: UpstreamId, profile: Profile) -> bool:
        """Return whether a request belongs to its profile as that is now."""
        now = self.board.profiles.get(profile.id, profile)
        return now is not None and _belongs(space, now)

    def _home(self, key: ProtectionSpace) -> ProtectionSpace:
        """Return the protection space that a 407 is about.

        One that names no realm, as NTLM and Negotiate do not, is about the realm of its upstream
        that is known: the latest one, if there are several.
        """
        if key.realm or key in self.board.cases:
            return key
        known = [c for c in self.board.cases_at(key.upstream_id) if c.key.family == key.family]
        latest = max(known, key=lambda c: (c.phase is SpacePhase.TRUSTED, c.seen), default=None)
        return latest.key if latest else key

    def _case_for(self, event: RequestChallenged) -> SpaceState | None:
        """Return the case of a challenge; a blank one is filled in by the first challenge."""
        board = self.board
        if case := board.cases.get(event.key):
            return case
        blank = board.cases.pop(ProtectionSpace.blank(event.key.upstream_id), None)
        if blank:
            blank.key = event.key
            board.cases[event.key] = blank
            return blank
        return board.new_case(event.key, event.profile, event.offers[0].way)

    def _place(self, case: SpaceState, request: ParkedRequest) -> None:
        """Refuse a request, or let it wait; `Verification` releases it, at once if nothing is
        open."""
        board = self.board
        if case.phase is SpacePhase.QUIET:
            return board.refuse(request.waiter, RefusalReason.DECLINED)
        if len(case.parked) >= board.rules.parked_most and case.phase is not SpacePhase.TRUSTED:
            return board.refuse(request.waiter, RefusalReason.CROWDED)
        if request.own and case.phase not in _WITH_LOGIN:
            return board.refuse(request.waiter, RefusalReason.WITHDRAWN)
        if case.why is PromptReason.ASKED_FOR:
            case.why = PromptReason.NEEDED
        is_first = not case.parked
        board.park(case, request)
        if case.phase is SpacePhase.EMPTY:
            return self._logins.begin(case)
        if case.phase is SpacePhase.ASKING and self._is_itself_again(case, request):
            return self._trust_again(case)
        if case.phase is SpacePhase.ASKING and is_first and case.asked is None:
            return self._logins.begin(case)
        return None

    def _is_itself_again(self, case: SpaceState, request: ParkedRequest) -> bool:
        """Return whether an upstream that had become another is what it was once more."""
        if case.why not in _BY_METHOD or case.accepted is None:
            return False
        offer = pick(case, request.offers, self.board.now)
        return offer is not None and objection(self.board, case, offer, request.offers) is None

    def _trust_again(self, case: SpaceState) -> None:
        """Go on with an upstream that is what it was, but for the requests that it was not for."""
        for request in list(case.parked.values()):
            if not self._is_itself_again(case, request):
                self.board.leave(request.waiter)
                self.board.refuse(request.waiter, RefusalReason.WEAKER)
        case.move(SpacePhase.HELD)

    def _identified(self, waiter: int, program: Program) -> None:
        case = self.board.homes.get(waiter)
        if case:
            case.parked[waiter].program = program
            self.board.changed(case)

    # --- Profiles ----------------------------------------------------------------------------

    def _surveyed(self, keyring: KeyringStatus) -> None:
        before = self.board.keyring.state
        self._logins.surveyed(keyring)
        if keyring.state is KeyringState.OK and before is not KeyringState.OK:
            self._logins.unlocked()

    def _switched(self, profile: Profile | None) -> None:
        self.board.active = profile
        if profile:
            self.board.profiles[profile.id] = profile
        self._person.end_quiet(self.board.cases.values())

    def _network_changed(self) -> None:
        self.board.unusable.clear()
        cases = self.board.cases.values()
        self._person.end_quiet(c for c in cases if c.quiet_lifts_with_network)
        for case in cases:
            case.setbacks.clear()
            case.unanswered = 0

    def _edited(self, profile: Profile) -> None:
        board = self.board
        board.profiles[profile.id] = profile
        board.usable_again(profile.id)
        cases = board.cases_of(profile.id)
        gone = [
            c for c in cases if not _belongs(c.key.upstream_id, profile) or not _fits(c, profile)
        ]
        self._withdraw(gone)
        for case in cases:
            if case not in gone:
                self._follow(case, profile)

    def _follow(self, case: SpaceState, profile: Profile) -> None:
        """Go on with a case whose profile was edited."""
        user_changed = profile.user not in ("", case.profile.user)
        way_changed = (profile.method, profile.encoding) != (
            case.profile.method,
            case.profile.encoding,
        )
        case.profile = profile
        self.board.changed(case)
        if way_changed:
            case.setbacks.clear()
            case.scheme, case.consent = "", None
            if case.phase is SpacePhase.TRUSTED:
                # The login is right; the next request tells whether it is in the new way, too.
                case.move(SpacePhase.HELD)
        if user_changed and (case.login is None or case.login.user != profile.user):
            self._person.reset(case)

    def _deleted(self, profile_id: str, *, for_good: bool) -> None:
        self.board.profiles[profile_id] = None
        self.board.usable_again(profile_id)
        self._withdraw(self.board.cases_of(profile_id))
        if for_good:
            self._person.unremember(profile_id)

    def _withdraw(self, cases: Iterable[SpaceState]) -> None:
        for case in cases:
            self._questions.close(case, Ending.WITHDRAWN)
            self.board.refuse_all(case, RefusalReason.WITHDRAWN)
            self.board.recall(case)
            del self.board.cases[case.key]

    # --- Time --------------------------------------------------------------------------------

    def _expire(self, case: SpaceState) -> None:
        board = self.board
        for request in list(case.parked.values()):
            if board.now < request.since + board.rules.parked:
                break
            board.leave(request.waiter)
            board.refuse(request.waiter, RefusalReason.TIMED_OUT)
        self._trials.expire(case)
        if case.phase is SpacePhase.LOOKING and board.now >= case.lookup_until:
            self._logins.give_up_waiting(case)
        self._logins.look_for_unlocking(case)
        if case.phase is SpacePhase.QUIET and board.now >= case.quiet_until:
            case.move(SpacePhase.ASKING)

    def _times(self, case: SpaceState) -> Iterator[float]:
        """Yield when something becomes due for this case."""
        yield case.waits_since + self.board.rules.parked
        yield from self._trials.times(case)
        yield from self._logins.times(case)
        yield from self._turns.times(case)
        if case.phase is SpacePhase.LOOKING:
            yield case.lookup_until
        if case.phase is SpacePhase.QUIET:
            yield case.quiet_until


def _belongs(space: UpstreamId, profile: Profile) -> bool:
    """Return whether a profile, as it is now, signs in to this upstream."""
    return space in UpstreamId.all_of(profile) and profile.sign_in is not SignIn.NONE


def _fits(case: SpaceState, profile: Profile) -> bool:
    """Return whether a profile, as it is now, signs in in the way of this case."""
    return case.profile.sign_in is profile.sign_in
