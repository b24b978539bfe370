"""The sign-in flow as a pure state machine (ux §3.4).

It is told what happened and when, and says what to do; it does no I/O, keeps no clock and starts no
timer, so every path through it can be played by a test. What it guarantees:

- A login is tried on one request, the canary. Only its success releases the others and saves it.
- A login that was rejected is never sent again by itself: not to the next request, not to another
  realm of the upstream, and if the person types it once more, only when they insist.
- Nothing is sent by itself to an upstream that offers less than before or calls itself something
  else.
- There is at most one question per protection space, and one before the person at a time.
- A request that waits gets an answer or a reason, within five minutes.

A rejection has no event of its own. It is a request that comes back with a 407 and says which login
it carried (`Challenged.tried`); how that compares with the present generation is the verdict.

`Machine` itself places requests, follows the profiles and keeps the time. The rest is decided in
`questions`, `logins`, `verdicts`, `trials`, `choice` and `person`, which share a `board`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from math import inf

from trayproxy.auth.login import Login
from trayproxy.control.messages import Ending, Keyring, Program, Question, SignInState, Why
from trayproxy.desk.board import Board
from trayproxy.desk.case import Case, Parked, Phase
from trayproxy.desk.choice import objection, pick, trouble
from trayproxy.desk.events import (
    Accepted,
    AskersChanged,
    Challenged,
    Declined,
    Deleted,
    Edited,
    Effect,
    Event,
    Forgotten,
    Found,
    Given,
    Identified,
    Inconclusive,
    Left,
    Listen,
    NetworkChanged,
    OwnEnded,
    Reason,
    ScreenLocked,
    Surveyed,
    Switched,
    Tick,
    Touched,
    Tried,
    Typed,
    Wanted,
)
from trayproxy.desk.logins import Logins
from trayproxy.desk.person import Person, most_wanted
from trayproxy.desk.questions import NAMES_BEFORE, Questions
from trayproxy.desk.rejected import RejectedLogins
from trayproxy.desk.rules import Rules
from trayproxy.desk.space import BY_SSO, Key, Mark, Pin, Space
from trayproxy.desk.trials import Trials
from trayproxy.desk.verdicts import Verdicts, is_costless
from trayproxy.profiles.profile import Profile, SignIn

REALM_MOST = 1024
"""Characters of a realm that faces are sent; they show fewer."""

_WITH_LOGIN = frozenset({Phase.HELD, Phase.CHECKING, Phase.TRUSTED})

_WORST_FIRST = (
    SignInState.REJECTED,
    SignInState.NEEDED,
    SignInState.SNOOZED,
    SignInState.OK,
    SignInState.UNTESTED,
)


class Trial(Enum):
    """What is known of a login."""

    UNDER_WAY = auto()
    RIGHT = auto()
    WRONG = auto()
    OPEN = auto()


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why one's own sign-in cannot be used now.

    Attributes:
        profile: Of which profile.
        reason: What requests are told.
        text: The same for people; empty if the reason says it all.
    """

    profile: Profile
    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What a face is told about the sign-in of a profile.

    Attributes:
        sign_in: The worst state among its protection spaces.
        user: The user name that was accepted last, empty if none was.
        snoozed_until: The end of the quiet time on the machine's clock; infinite until the person
            acts; None if nothing is snoozed.
        waiting: How many requests wait.
    """

    sign_in: SignInState = SignInState.UNTESTED
    user: str = ""
    snoozed_until: float | None = None
    waiting: int = 0


class Machine:
    """All protection spaces, and the questions about them.

    Attributes:
        board: What is known; for the parts of the machine only.
    """

    def __init__(
        self,
        rules: Rules,
        rejected: RejectedLogins,
        pins: Mapping[Space, Pin],
    ) -> None:
        """Create a machine that knows nothing of this run.

        Args:
            rules: Times and limits.
            rejected: Logins not to send by themselves; it is added to.
            pins: What upstreams were when they last accepted a login.
        """
        self.board = Board(rules, rejected, pins)
        self._questions = Questions(self.board)
        self._logins = Logins(self.board, self._questions)
        self._verdicts = Verdicts(self.board, self._questions)
        self._trials = Trials(self.board, self._questions, self._verdicts)
        self._person = Person(self.board, self._questions, self._logins, self._trials)

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
        self._questions.sweep()
        effects, board.effects = board.effects, []
        return effects

    def _dispatch(self, event: Event) -> None:
        match event:
            case Challenged():
                self._challenged(event)
            case Accepted():
                self._verdicts.accepted(event)
            case Inconclusive(mark, sent):
                self._verdicts.inconclusive(mark, sent)
            case OwnEnded():
                self._trials.own_ended(event)
            case Left(waiter):
                self.board.leave(waiter)
            case Identified(waiter, program):
                self._identified(waiter, program)
            case Found():
                self._logins.found(event)
            case Surveyed(keyring):
                self._logins.surveyed(keyring)
            case Tick():
                pass
            case NetworkChanged():
                self._network_changed()
            case ScreenLocked(locked):
                self._questions.lock_screen(locked)
            case AskersChanged(count):
                self._questions.set_askers(count)
            case _:
                self._dispatch_wish(event)

    def _dispatch_wish(
        self,
        event: Typed
        | Declined
        | Touched
        | Wanted
        | Given
        | Forgotten
        | Edited
        | Deleted
        | Switched,
    ) -> None:
        match event:
            case Typed():
                self._person.typed(event)
            case Declined(number, quiet):
                self._person.declined(number, quiet)
            case Touched(number):
                self._person.touched(number)
            case Wanted(profile, way):
                self._person.wanted(profile, way)
            case Given():
                self._person.given(event)
            case Forgotten(profile_id):
                self._person.forgotten(profile_id)
            case Edited(profile):
                self._edited(profile)
            case Deleted(profile_id, for_good):
                self._deleted(profile_id, for_good=for_good)
            case Switched(profile):
                self._switched(profile)

    # --- What one can see --------------------------------------------------------------------

    @property
    def keyring(self) -> Keyring:
        """The password store, as far as it is known."""
        return self.board.keyring

    def deadline(self) -> float:
        """Return when to send a `Tick` at the latest; infinite if time changes nothing."""
        times = [time for case in self.board.cases.values() for time in self._times(case)]
        return min((*times, *self._questions.times()), default=inf)

    def profile(self, profile: Profile) -> Profile:
        """Return a profile as it is now; as it was given if it is not known, or gone."""
        return self.board.profiles.get(profile.id) or profile

    def login(self, mark: Mark) -> Login | None:
        """Return the login that a mark names, None if it is the present one no longer."""
        case = self.board.cases.get(mark.key)
        return case.login if case and case.generation == mark.generation else None

    def is_present(self, mark: Mark) -> bool:
        """Return whether a mark names a present login, or one's own sign-in."""
        case = self.board.cases.get(mark.key)
        return case is not None and case.mark == mark and case.has_login

    def is_trusted(self, mark: Mark) -> bool:
        """Return whether a mark names a present login that was found to be right."""
        case = self.board.cases.get(mark.key)
        return case is not None and case.mark == mark and case.phase is Phase.TRUSTED

    def generation(self, space: Space) -> int:
        """Return the generation of the login that an upstream would be sent now."""
        cases = [c for c in self.board.cases.values() if c.key.space == space]
        return most_wanted(cases).generation if cases else 0

    def trial(self, space: Space, generation: int) -> Trial:
        """Return what is known of a login of an upstream, whatever realm it went to."""
        for case in self.board.cases.values():
            if case.key.space == space and case.generation == generation:
                return _trial(case)
        return Trial.OPEN

    def trusted(self) -> dict[Space, Mark]:
        """Return the logins to send to upstreams before they ask.

        None for an upstream that goes by several realms: which one a request is for only its 407
        tells, and a login sent to the wrong one is a failed log-on.
        """
        spaces: dict[Space, list[Case]] = {}
        for case in self.board.cases.values():
            spaces.setdefault(case.key.space, []).append(case)
        present = {space: self._present(cases) for space, cases in spaces.items()}
        return {s: c.mark for s, c in present.items() if c and c.phase is Phase.TRUSTED}

    def _present(self, cases: list[Case]) -> Case | None:
        """Return the realm that an upstream goes by, None if by several."""
        if len(cases) > 1:
            since = self.board.now - self.board.rules.realms
            cases = [case for case in cases if case.seen >= since] or cases
        return cases[0] if len(cases) == 1 else None

    def strangers(self, number: int) -> tuple[int, ...]:
        """Return the requests named in a question of which nobody knows who sent them."""
        case = self.board.asked(number)
        named = case.clients[: self.board.rules.programs_most] if case else []
        return tuple(request.waiter for request in named if request.program is None)

    def profiles(self) -> frozenset[str]:
        """Return the profiles of which anything is known."""
        return frozenset(key.space.profile_id for key in self.board.cases)

    def numbers(self) -> tuple[int, ...]:
        """Return the numbers of the open questions, the oldest first."""
        return tuple(sorted(c.asked.number for c in self.board.open_questions() if c.asked))

    def question(self, number: int) -> Question | None:
        """Return an open question, whole; None if there is none of that number."""
        case = self.board.asked(number)
        if case is None:
            return None
        programs = [p.program or Program("", 0, p.target) for p in case.clients]
        return Question(
            number=number,
            profile_id=case.profile.id,
            profile=case.profile.name,
            upstream=case.key.space.upstream,
            realm=case.key.realm[:REALM_MOST],
            method=case.way.title,
            transport=case.way.transport,
            user=case.user or case.profile.user,
            why=case.why,
            programs=tuple(programs[: self.board.rules.programs_most]),
            waiting=len(programs),
            rejections=len(case.rejections),
            hurried=case.is_hurried(self.board.now, self.board.rules),
            checking=case.is_checking,
            keyring=self.board.keyring,
            before=case.before[:REALM_MOST] if case.why in NAMES_BEFORE else "",
        )

    def facts(self, profile_id: str) -> Facts:
        """Return what is known about the sign-in of a profile."""
        cases = self.board.cases_of(profile_id)
        states = {case.sign_in for case in cases}
        quiet = [c.quiet_until for c in cases if c.phase is Phase.QUIET]
        trusted = [c for c in cases if c.phase is Phase.TRUSTED and c.login]
        latest = max(trusted, key=lambda case: case.seen, default=None)
        return Facts(
            next((state for state in _WORST_FIRST if state in states), SignInState.UNTESTED),
            latest.login.user if latest and latest.login else "",
            max(quiet, default=None),
            sum(len(case.clients) for case in cases),
        )

    def troubles(self) -> tuple[Trouble, ...]:
        """Return why one's own sign-in cannot be used, for each upstream where that is so."""
        found = map(self._trouble, self.board.cases.values())
        return tuple(dict.fromkeys(filter(None, found)))

    def _trouble(self, case: Case) -> Trouble | None:
        if case.key.family != BY_SSO or case.phase is not Phase.HELD or not case.needed:
            return None
        found = trouble(case, self.board.now)
        return Trouble(case.profile, found.reason, found.text) if found else None

    # --- Requests ----------------------------------------------------------------------------

    def _challenged(self, event: Challenged) -> None:
        board, tried = self.board, event.tried
        if not self._is_current(event.key.space, event.profile):
            return board.refuse(event.waiter, Reason.WITHDRAWN)
        strayed = tried is not None and tried.mark.key != event.key
        if tried:
            self._verdicts.settle_late(tried)
        if tried and strayed:
            self._verdicts.settle_stray(tried, event.key)
        if event.key not in board.cases and not event.offers:
            board.effects.append(Listen(event.waiter))
            return None
        case = self._case_for(event)
        if case is None:
            return board.refuse(event.waiter, Reason.CROWDED)
        self._hear(case, event)
        if tried and strayed and tried.strayed:
            return board.refuse(event.waiter, Reason.FORBIDDEN)
        request = Parked(
            event.waiter, board.now, event.target, event.program, event.offers, event.own
        )
        if tried and tried.mark == case.mark:
            return self._come_back(case, request, event, tried)
        return self._place(case, request)

    def _hear(self, case: Case, event: Challenged) -> None:
        """Take note of how an upstream asks."""
        case.seen = self.board.now
        if not event.own:
            case.target = event.target
        if event.offers:
            case.offers = event.offers
            offer = pick(case, event.offers, self.board.now)
            case.way = (offer or event.offers[0]).way

    def _come_back(self, case: Case, request: Parked, event: Challenged, tried: Tried) -> None:
        """Place a request that was refused with the present login."""
        board = self.board
        if tried.verdict and is_costless(tried.verdict):
            is_offered = not event.offers or any(o.scheme == tried.scheme for o in event.offers)
            if not self._verdicts.unusable(case, tried, tried.verdict, is_offered=is_offered):
                return board.refuse(event.waiter, Reason.UNUSABLE, tried.verdict.text)
            if pick(case, event.offers, board.now) is None:
                # What else it offers was perhaps not said in the middle of a handshake, and is
                # not to be taken from an earlier answer.
                board.effects.append(Listen(event.waiter))
                return None
            return self._place(case, request)
        if self._verdicts.refused(case, event, tried):
            return self._place(case, request)
        if event.own or not self._verdicts.can_find_out(case):
            return board.refuse(event.waiter, Reason.FORBIDDEN)
        request.refused = True
        self._place(case, request)
        return self._trials.try_ourselves(case)

    def _is_current(self, space: Space, profile: Profile) -> bool:
        """Return whether a request belongs to its profile as that is now."""
        now = self.board.profiles.get(profile.id, profile)
        return now is not None and _belongs(space, now)

    def _case_for(self, event: Challenged) -> Case | None:
        """Return the case of a challenge; a blank one is filled in by the first challenge."""
        board = self.board
        if case := board.cases.get(event.key):
            return case
        blank = board.cases.pop(Key.blank(event.key.space), None)
        if blank:
            blank.key = event.key
            board.cases[event.key] = blank
            return blank
        return board.new_case(event.key, event.profile, event.offers[0].way)

    def _place(self, case: Case, request: Parked) -> None:
        """Refuse a request, or let it wait; `Trials` releases it, at once if nothing is open."""
        board = self.board
        if case.phase is Phase.QUIET:
            return board.refuse(request.waiter, Reason.DECLINED)
        if len(case.parked) >= board.rules.parked_most and case.phase is not Phase.TRUSTED:
            return board.refuse(request.waiter, Reason.CROWDED)
        if request.own and case.phase not in _WITH_LOGIN:
            return board.refuse(request.waiter, Reason.WITHDRAWN)
        if case.why is Why.ASKED_FOR:
            case.why = Why.NEEDED
        is_first = not case.parked
        board.park(case, request)
        if case.phase is Phase.EMPTY:
            return self._logins.begin(case)
        if case.phase is Phase.ASKING and self._is_itself_again(case, request):
            return self._trust_again(case)
        if case.phase is Phase.ASKING and is_first and case.asked is None:
            return self._logins.begin(case)
        return None

    def _is_itself_again(self, case: Case, request: Parked) -> bool:
        """Return whether an upstream that had become another is what it was once more."""
        if case.why is not Why.DOWNGRADE or case.accepted is None:
            return False
        offer = pick(case, request.offers, self.board.now)
        return offer is not None and objection(self.board, case, offer) is None

    def _trust_again(self, case: Case) -> None:
        """Go on with an upstream that is what it was, but for the requests that it was not for."""
        for request in list(case.parked.values()):
            if not self._is_itself_again(case, request):
                self.board.leave(request.waiter)
                self.board.refuse(request.waiter, Reason.WEAKER)
        case.move(Phase.HELD)

    def _identified(self, waiter: int, program: Program) -> None:
        case = self.board.homes.get(waiter)
        if case:
            case.parked[waiter].program = program
            self.board.changed(case)

    # --- Profiles ----------------------------------------------------------------------------

    def _switched(self, profile: Profile | None) -> None:
        self.board.active = profile
        if profile:
            self.board.profiles[profile.id] = profile
        self._person.end_quiet(self.board.cases.values())

    def _network_changed(self) -> None:
        cases = self.board.cases.values()
        self._person.end_quiet(c for c in cases if c.quiet_lifts_with_network)
        for case in cases:
            case.setbacks.clear()
            case.unanswered = 0

    def _edited(self, profile: Profile) -> None:
        board = self.board
        board.profiles[profile.id] = profile
        cases = board.cases_of(profile.id)
        gone = [c for c in cases if not _belongs(c.key.space, profile) or not _fits(c, profile)]
        self._withdraw(gone)
        for case in cases:
            if case not in gone:
                self._follow(case, profile)

    def _follow(self, case: Case, profile: Profile) -> None:
        """Go on with a case whose profile was edited."""
        user_changed = profile.user not in ("", case.profile.user)
        method_changed = profile.method is not case.profile.method
        case.profile = profile
        self.board.changed(case)
        if method_changed:
            case.setbacks.clear()
            case.scheme, case.consent = "", None
            if case.phase is Phase.TRUSTED:
                # The login is right; the next request tells whether it is by the new method, too.
                case.move(Phase.HELD)
        if user_changed and (case.login is None or case.login.user != profile.user):
            self._person.reset(case)

    def _deleted(self, profile_id: str, *, for_good: bool) -> None:
        self.board.profiles[profile_id] = None
        self._withdraw(self.board.cases_of(profile_id))
        if for_good:
            self._person.unremember(profile_id)

    def _withdraw(self, cases: Iterable[Case]) -> None:
        for case in cases:
            self._questions.close(case, Ending.WITHDRAWN)
            self.board.refuse_all(case, Reason.WITHDRAWN)
            del self.board.cases[case.key]

    # --- Time --------------------------------------------------------------------------------

    def _expire(self, case: Case) -> None:
        board = self.board
        for request in list(case.parked.values()):
            if board.now < request.since + board.rules.parked:
                break
            board.leave(request.waiter)
            board.refuse(request.waiter, Reason.TIMED_OUT)
        self._trials.expire(case)
        if case.phase is Phase.LOOKING and board.now >= case.lookup_until:
            self._logins.give_up_waiting(case)
        if case.phase is Phase.QUIET and board.now >= case.quiet_until:
            case.move(Phase.ASKING)

    def _times(self, case: Case) -> Iterator[float]:
        """Yield when something becomes due for this case."""
        yield case.waits_since + self.board.rules.parked
        yield from self._trials.times(case)
        if case.phase is Phase.LOOKING:
            yield case.lookup_until
        if case.phase is Phase.QUIET:
            yield case.quiet_until


def _trial(case: Case) -> Trial:
    if case.phase is Phase.TRUSTED:
        return Trial.RIGHT
    if case.phase is Phase.CHECKING or (case.phase is Phase.HELD and (case.own or case.blocked)):
        return Trial.UNDER_WAY
    return Trial.WRONG if case.sign_in is SignInState.REJECTED else Trial.OPEN


def _belongs(space: Space, profile: Profile) -> bool:
    """Return whether a profile, as it is now, signs in to this upstream."""
    return space in Space.all_of(profile) and profile.sign_in is not SignIn.NONE


def _fits(case: Case, profile: Profile) -> bool:
    """Return whether a profile, as it is now, signs in in the way of this case."""
    return case.profile.sign_in is profile.sign_in
