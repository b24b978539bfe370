"""The sign-in flow as a pure state machine (ux §3.4).

It is told what happened and when, and says what to do; it does no I/O, keeps no clock and starts no
timer, so every path through it can be played by a test. What it guarantees:

- A login is tried on one request, the canary. Only its success releases the others and saves it.
- A login that was rejected is never sent again by itself: not to the next request, not to another
  realm of the upstream, and if the person types it once more, only when they insist.
- There is at most one question per protection space, and one before the person at a time.
- A request that waits gets an answer or a reason, within five minutes.

A rejection has no event of its own. It is a request that comes back with a 407 and says which login
it carried (`Challenged.tried`); how that compares with the present generation is the verdict.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import inf

from trayproxy.auth.login import Login
from trayproxy.control.messages import (
    Ending,
    Keyring,
    KeyringState,
    Program,
    Question,
    Quiet,
    SignInState,
    Why,
)
from trayproxy.desk.case import REJECTED, Asked, Case, Parked, Phase, Source
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
    LookUp,
    NetworkChanged,
    QuestionChanged,
    QuestionClosed,
    Reason,
    Refuse,
    Release,
    Save,
    Survey,
    Surveyed,
    Switched,
    Tick,
    Touched,
    Typed,
    Wanted,
    Way,
)
from trayproxy.desk.rejected import RejectedLogins
from trayproxy.desk.rules import Rules
from trayproxy.desk.space import Key, Mark, Space
from trayproxy.profiles.profile import Profile, SignIn

_UNTOLD_MOST = 8

REALM_MOST = 1024
"""Characters of a realm that faces are sent; they show fewer."""

_LASTING = REJECTED | {Why.KEYRING_LOCKED, Why.KEYRING_SILENT}
"""The reasons to ask that still hold when a question is asked again later."""

_WORST_FIRST = (
    SignInState.REJECTED,
    SignInState.NEEDED,
    SignInState.SNOOZED,
    SignInState.OK,
    SignInState.UNTESTED,
)


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
    """All protection spaces, and the questions about them."""

    def __init__(self, rules: Rules, rejected: RejectedLogins) -> None:
        """Create a machine that knows nothing.

        Args:
            rules: Times and limits.
            rejected: Logins not to send by themselves; it is added to.
        """
        self.keyring = Keyring(KeyringState.UNKNOWN)
        self._rules = rules
        self._rejected = rejected
        self._now = 0.0
        self._cases: dict[Key, Case] = {}
        self._homes: dict[int, Case] = {}
        self._active: Profile | None = None
        self._profiles: dict[str, Profile | None] = {}
        self._askers = 0
        self._askers_gone = -inf
        self._numbers = 0
        self._lookups = 0
        self._effects: list[Effect] = []

    # --- What it is told ---------------------------------------------------------------------

    def handle(self, now: float, event: Event) -> list[Effect]:
        """Take an event and return what to do about it, in order.

        Args:
            now: Seconds on a monotonic clock, never less than last time.
            event: What happened.
        """
        self._now = now
        # What is overdue first, so that an event meets the state that it should; but nothing is
        # released before the event is known, which may bring a better login.
        for case in self._cases.values():
            self._expire(case)
        self._dispatch(event)
        self._sweep()
        effects, self._effects = self._effects, []
        return effects

    def _dispatch(self, event: Event) -> None:
        match event:
            case Challenged():
                self._challenged(event)
            case Accepted(mark):
                self._accepted(mark)
            case Inconclusive(mark):
                self._inconclusive(mark)
            case Left(waiter):
                self._left(waiter)
            case Identified(waiter, program):
                self._identified(waiter, program)
            case Typed():
                self._typed(event)
            case Declined(number, quiet):
                self._declined(number, quiet)
            case Touched(number):
                self._touched(number)
            case Wanted(profile, way):
                self._wanted(profile, way)
            case Given(profile, way, login):
                self._take(self._case_at(profile, way), login, Source.GIVEN)
            case Forgotten(profile_id):
                self._forgotten(profile_id)
            case Edited(profile):
                self._edited(profile)
            case Deleted(profile_id):
                self._profiles[profile_id] = None
                self._withdraw(self._cases_of(profile_id))
            case Switched(profile):
                self._switched(profile)
            case Found():
                self._found(event)
            case Surveyed(keyring):
                self._surveyed(keyring)
            case NetworkChanged():
                self._end_quiet(c for c in self._cases.values() if c.quiet_lifts_with_network)
            case AskersChanged(count):
                self._askers_changed(count)
            case Tick():
                pass

    # --- What one can see --------------------------------------------------------------------

    def deadline(self) -> float:
        """Return when to send a `Tick` at the latest; infinite if time changes nothing."""
        times = [self._askers_gone + self._rules.grace] if self._is_in_grace else []
        times += [time for case in self._cases.values() for time in self._times(case)]
        return min(times, default=inf)

    def login(self, mark: Mark) -> Login | None:
        """Return the login that a mark names, None if it is the present one no longer."""
        case = self._cases.get(mark.key)
        return case.login if case and case.generation == mark.generation else None

    def is_trusted(self, mark: Mark) -> bool:
        """Return whether a mark names a present login that was found to be right."""
        case = self._cases.get(mark.key)
        return case is not None and case.mark == mark and case.phase is Phase.TRUSTED

    def trusted(self) -> dict[Space, Mark]:
        """Return the logins to send to upstreams before they ask.

        None for an upstream that goes by several realms: which one a request is for only its 407
        tells, and a login sent to the wrong one is a failed log-on.
        """
        spaces: dict[Space, list[Case]] = {}
        for case in self._cases.values():
            spaces.setdefault(case.key.space, []).append(case)
        present = {space: self._present(cases) for space, cases in spaces.items()}
        return {s: c.mark for s, c in present.items() if c and c.phase is Phase.TRUSTED}

    def _present(self, cases: list[Case]) -> Case | None:
        """Return the realm that an upstream goes by, None if by several."""
        if len(cases) > 1:
            since = self._now - self._rules.realms
            cases = [case for case in cases if case.seen >= since] or cases
        return cases[0] if len(cases) == 1 else None

    def strangers(self, number: int) -> tuple[int, ...]:
        """Return the requests named in a question of which nobody knows who sent them."""
        case = self._asked(number)
        named = list(case.parked.values())[: self._rules.programs_most] if case else []
        return tuple(request.waiter for request in named if request.program is None)

    def profiles(self) -> frozenset[str]:
        """Return the profiles of which anything is known."""
        return frozenset(key.space.profile_id for key in self._cases)

    def numbers(self) -> tuple[int, ...]:
        """Return the numbers of the open questions, the oldest first."""
        return tuple(sorted(c.asked.number for c in self._cases.values() if c.asked))

    def question(self, number: int) -> Question | None:
        """Return an open question, whole; None if there is none of that number."""
        case = self._asked(number)
        if case is None:
            return None
        programs = [p.program or Program("", 0, p.target) for p in case.parked.values()]
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
            programs=tuple(programs[: self._rules.programs_most]),
            waiting=len(programs),
            rejections=len(case.rejections),
            hurried=case.is_hurried(self._now, self._rules),
            checking=case.is_checking,
            keyring=self.keyring,
        )

    def facts(self, profile_id: str) -> Facts:
        """Return what is known about the sign-in of a profile."""
        cases = self._cases_of(profile_id)
        states = {case.sign_in for case in cases}
        quiet = [c.quiet_until for c in cases if c.phase is Phase.QUIET]
        trusted = [c for c in cases if c.phase is Phase.TRUSTED and c.login]
        latest = max(trusted, key=lambda case: case.seen, default=None)
        return Facts(
            next((state for state in _WORST_FIRST if state in states), SignInState.UNTESTED),
            latest.login.user if latest and latest.login else "",
            max(quiet, default=None),
            sum(len(case.parked) for case in cases),
        )

    # --- Requests ----------------------------------------------------------------------------

    def _challenged(self, event: Challenged) -> None:
        if not self._is_current(event.key.space, event.profile):
            return self._refuse(event.waiter, Reason.WITHDRAWN)
        tried, strayed = event.tried, event.tried is not None and event.tried.key != event.key
        if tried:
            self._settle_late(tried)
        if tried and strayed:
            self._settle_stray(tried, event.key)
        case = self._case_for(event)
        if case is None:
            return self._refuse(event.waiter, Reason.CROWDED)
        case.seen, case.way = self._now, event.way
        if strayed and event.strayed:
            return self._refuse(event.waiter, Reason.FORBIDDEN)
        if tried == case.mark and self._is_forbidden(case, event.target):
            return self._refuse(event.waiter, Reason.FORBIDDEN)
        self._place(case, Parked(event.waiter, self._now, event.target, event.program))
        return None

    def _is_current(self, space: Space, profile: Profile) -> bool:
        """Return whether a request belongs to its profile as that is now."""
        now = self._profiles.get(profile.id, profile)
        return now is not None and _belongs(space, now)

    def _case_for(self, event: Challenged) -> Case | None:
        """Return the case of a challenge; a blank one is filled in by the first challenge."""
        if case := self._cases.get(event.key):
            return case
        blank = self._cases.pop(Key.blank(event.key.space), None)
        if blank:
            blank.key = event.key
            self._cases[event.key] = blank
            return blank
        return self._new_case(event.key, event.profile, event.way)

    def _new_case(self, key: Key, profile: Profile, way: Way) -> Case | None:
        if len(self._cases) >= self._rules.cases_most and not self._drop_a_case():
            return None
        case = Case(key, profile, way, self._now, relook_at=self._now)
        self._cases[key] = case
        return case

    def _drop_a_case(self) -> bool:
        """Forget the idle case that was seen longest ago, a trusted one last."""
        idle = [c for c in self._cases.values() if c.is_idle and c.phase is not Phase.CHECKING]
        if not idle:
            return False
        oldest = min(idle, key=lambda case: (case.phase is Phase.TRUSTED, case.seen))
        del self._cases[oldest.key]
        return True

    def _settle_late(self, tried: Mark) -> None:
        """Learn that a login was rejected that was given up before its verdict came."""
        case = self._cases.get(tried.key)
        fingerprint = case.untold.pop(tried.generation, None) if case else None
        if fingerprint:
            self._rejected.add_fingerprint(fingerprint)

    def _settle_stray(self, tried: Mark, asks: Key) -> None:
        """Take the verdict on a login when the refusal comes in the name of another realm."""
        case = self._cases.get(tried.key)
        if case is None or case.key.space != asks.space or case.mark != tried:
            return
        if case.phase not in (Phase.CHECKING, Phase.HELD):
            return
        case.doubts += 1
        if case.accepted is None or case.doubts >= self._rules.doubts:
            self._reject(case)
        elif case.phase is Phase.CHECKING:
            self._leave_open(case)

    def _is_forbidden(self, case: Case, target: str) -> bool:
        """Take the verdict on the present login; return whether only this request is refused."""
        if case.phase not in (Phase.TRUSTED, Phase.CHECKING, Phase.HELD):
            return False
        moments_ago = case.accepted is not None and (
            case.doubts > 0 or self._now - case.accepted <= self._rules.moments
        )
        case.doubts += 1
        if not moments_ago or case.doubts >= self._rules.doubts:
            self._reject(case)
            return False
        # Accepted elsewhere moments ago: most likely a forbidden address. But if the password was
        # changed just now, each further try is a failed log-on: they go one at a time from here.
        case.suspects[target] = self._now
        case.canary_until = inf
        if case.phase is not Phase.HELD:
            case.move(Phase.HELD)
        return True

    def _place(self, case: Case, request: Parked) -> None:
        """Release a request, refuse it, or let it wait."""
        if case.phase is Phase.QUIET:
            return self._refuse(request.waiter, Reason.DECLINED)
        if len(case.parked) >= self._rules.parked_most:
            return self._refuse(request.waiter, Reason.CROWDED)
        if case.phase is Phase.TRUSTED:
            self._effects.append(Release(request.waiter, case.mark))
            return None
        if case.why is Why.ASKED_FOR:
            case.why = Why.NEEDED
        is_first = not case.parked
        case.parked[request.waiter] = request
        self._homes[request.waiter] = case
        self._changed(case)
        if case.phase is Phase.EMPTY or (
            case.phase is Phase.ASKING and is_first and case.asked is None
        ):
            self._begin(case)
        return None

    def _begin(self, case: Case) -> None:
        """Find a login for the first request that waits: in the keyring, or from the person."""
        if self._now < case.relook_at or not self._may_look_up(case):
            return self._ask(case, case.why if case.why in _LASTING else Why.NEEDED)
        self._lookups += 1
        case.lookup = self._lookups
        case.lookup_until = self._now + self._rules.patience
        case.move(Phase.LOOKING)
        self._effects.append(LookUp(case.lookup, case.kept_for, case.profile.user))
        return None

    def _may_look_up(self, case: Case) -> bool:
        """Return whether a saved login may be used without a question.

        Not of a profile that is no longer active. Not after three rejections in a row. Not for
        another realm of an upstream whose realm we know: the password is pinned to that one
        (threat T4).
        """
        if self._active and self._active.id != case.profile.id:
            return False
        if case.is_at_risk(self._now, self._rules):
            return False
        others = (
            c for c in self._cases.values() if c.key.space == case.key.space and c is not case
        )
        return not any(c.accepted is not None or c.rejections for c in others)

    def _left(self, waiter: int) -> None:
        case = self._homes.pop(waiter, None)
        if case:
            del case.parked[waiter]
            self._changed(case)

    def _identified(self, waiter: int, program: Program) -> None:
        case = self._homes.get(waiter)
        if case:
            case.parked[waiter].program = program
            self._changed(case)

    # --- Verdicts ----------------------------------------------------------------------------

    def _accepted(self, mark: Mark) -> None:
        case = self._cases.get(mark.key)
        if case is None:
            return
        case.untold.pop(mark.generation, None)
        if case.mark != mark or case.login is None:
            return
        if case.phase in (Phase.EMPTY, Phase.LOOKING, Phase.QUIET):
            return
        case.accepted = case.seen = self._now
        case.doubts = 0
        case.suspects.clear()
        if case.phase is not Phase.TRUSTED:
            self._trust(case, case.login)

    def _trust(self, case: Case, login: Login) -> None:
        self._rejected.discard(case.key.space, login)
        case.move(Phase.TRUSTED)
        case.canary_until = inf
        case.rejections.clear()
        case.repeated = case.lifted = False
        case.why = Why.NEEDED
        if case.remember:
            case.remember, case.source = False, Source.SAVED
            self._effects.append(Save(case.kept_for, login))
        self._close(case, Ending.ACCEPTED)
        for request in self._empty(case):
            self._effects.append(Release(request.waiter, case.mark))

    def _reject(self, case: Case) -> None:
        """Set the present login aside and ask the person."""
        assert case.login is not None
        self._rejected.add(case.key.space, case.login)
        case.rejections.append(self._now)
        case.user = case.login.user
        case.repeated = case.lifted = False
        case.doubts = 0
        case.suspects.clear()
        self._ask(case, _rejected_why(case.source))

    def _inconclusive(self, mark: Mark) -> None:
        case = self._cases.get(mark.key)
        if case and case.mark == mark and case.phase is Phase.CHECKING:
            self._leave_open(case)

    def _leave_open(self, case: Case) -> None:
        """Keep a login of which the canary has not told whether it is right."""
        case.move(Phase.HELD)
        case.canary_until = inf
        if case.accepted is None:
            case.why = Why.UNCHECKED
        self._changed(case)

    def _take(self, case: Case | None, login: Login, source: Source) -> None:
        """Make this the login of a case, to be tried on the next request."""
        if case is None:
            return
        if case.phase is Phase.CHECKING:
            case.move(Phase.HELD)
        self._renew(case)
        case.login, case.source, case.user = login, source, login.user
        case.insisted = self._rejected.has(case.key.space, login)
        if case.phase is not Phase.HELD:
            case.move(Phase.HELD)
        if case.why is Why.UNCHECKED:
            case.why = Why.NEEDED
        self._changed(case)

    def _renew(self, case: Case) -> None:
        """Begin a new generation, without a login; the last one is not accepted any more."""
        if case.login and case.accepted is None and case.phase in (Phase.CHECKING, Phase.HELD):
            case.untold[case.generation] = self._rejected.fingerprint(case.key.space, case.login)
            if len(case.untold) > _UNTOLD_MOST:
                del case.untold[min(case.untold)]
        case.generation += 1
        case.login, case.remember = None, False
        case.accepted, case.doubts = None, 0
        case.suspects.clear()
        case.canary_until = case.lookup_until = inf
        case.lookup = None

    # --- The keyring -------------------------------------------------------------------------

    def _found(self, event: Found) -> None:
        self._surveyed(event.keyring)
        case = next((c for c in self._cases.values() if c.lookup == event.lookup), None)
        if case is None:
            return
        case.lookup, case.lookup_until = None, inf
        blocked = event.keyring.state in (KeyringState.LOCKED, KeyringState.SILENT)
        wait = self._rules.relook_locked if blocked else self._rules.relook
        case.relook_at = self._now + wait
        if case.phase not in (Phase.LOOKING, Phase.ASKING):
            return
        if event.login is None:
            self._ask(case, self._why_without(case))
        elif self._rejected.has(case.key.space, event.login):
            case.user = event.login.user
            self._ask(case, Why.SAVED_REJECTED)
        else:
            self._take(case, event.login, Source.SAVED)

    def _why_without(self, case: Case) -> Why:
        """Return why to ask when the keyring has nothing to offer."""
        if self.keyring.state is KeyringState.LOCKED:
            return Why.KEYRING_LOCKED
        if self.keyring.state is KeyringState.SILENT:
            return Why.KEYRING_SILENT
        return Why.TYPED_REJECTED if case.rejections else Why.NEEDED

    def _surveyed(self, keyring: Keyring) -> None:
        if keyring == self.keyring:
            return
        self.keyring = keyring
        for case in self._cases.values():
            self._changed(case)

    # --- The person --------------------------------------------------------------------------

    def _ask(self, case: Case, why: Why) -> None:
        case.why = why
        case.canary_until = inf
        if case.phase is not Phase.ASKING:
            case.move(Phase.ASKING)
        case.gather_until = self._now + self._rules.gather
        self._changed(case)

    def _typed(self, event: Typed) -> None:
        case = self._asked(event.number)
        if case is None or case.asked is None or case.is_checking:
            return
        self._touch(case.asked)
        if self._is_known_wrong(case, event.login):
            return self._repeat(case, event.login)
        if self._is_on_trial(case, event.login):
            self._wait_for_verdict(case)
        else:
            self._take(case, event.login, Source.TYPED)
        case.remember = event.remember
        if not case.parked:
            # Nobody waits any more: the next request tries it, and is not asked about.
            self._close(case, Ending.ABANDONED)
        return None

    @staticmethod
    def _is_on_trial(case: Case, login: Login) -> bool:
        """Whether this very login is on its way already, or about to be: once is enough."""
        is_open = case.phase in (Phase.CHECKING, Phase.HELD) and case.accepted is None
        return is_open and case.source is Source.TYPED and case.login == login

    def _wait_for_verdict(self, case: Case) -> None:
        """Go on with the trial of a login that was typed again before its verdict came."""
        case.why = Why.NEEDED
        self._changed(case)

    def _is_known_wrong(self, case: Case, login: Login) -> bool:
        if case.lifted or case.is_hurried(self._now, self._rules):
            return False
        if case.accepted is not None and login == case.login:
            return False  # It was right until now, and may be right still.
        return self._rejected.has(case.key.space, login)

    def _repeat(self, case: Case, login: Login) -> None:
        """Say what the upstream would say to this very login, and spare a failed log-on."""
        case.rejections.append(self._now)
        case.repeated = True
        case.user = login.user
        case.why = Why.TYPED_REJECTED
        self._changed(case)

    def _declined(self, number: int, quiet: Quiet) -> None:
        case = self._asked(number)
        if case is None:
            return
        self._close(case, Ending.DECLINED)
        if case.phase is Phase.TRUSTED or (
            case.phase is Phase.HELD and case.source is not Source.TYPED
        ):
            return
        self._renew(case)
        case.quiet_until = self._now + self._quiet_time(quiet)
        case.quiet_lifts_with_network = quiet is not Quiet.A_MINUTE
        case.needed = True
        case.move(Phase.QUIET)
        for request in self._empty(case):
            self._refuse(request.waiter, Reason.DECLINED)

    def _quiet_time(self, quiet: Quiet) -> float:
        match quiet:
            case Quiet.A_MINUTE:
                return self._rules.quiet
            case Quiet.A_WHILE:
                return self._rules.not_now
            case Quiet.UNTIL_CHOSEN:
                return inf

    def _end_quiet(self, cases: Iterable[Case]) -> None:
        for case in cases:
            if case.phase is Phase.QUIET:
                case.move(Phase.ASKING)

    def _touched(self, number: int) -> None:
        case = self._asked(number)
        if case and case.asked:
            self._touch(case.asked)

    def _touch(self, asked: Asked) -> None:
        asked.touched, asked.seen = True, self._now

    def _wanted(self, profile: Profile, way: Way) -> None:
        cases = self._cases_of(profile.id)
        case = _most_wanted(cases) if cases else self._case_at(profile, way)
        if case is None:
            return
        case.lifted, case.relook_at = True, self._now
        if case.phase in (Phase.EMPTY, Phase.QUIET):
            case.move(Phase.ASKING)
        if case.why not in REJECTED and not case.parked:
            case.why = Why.ASKED_FOR
        if case.asked is None:
            self._open(case)
        if case.asked:
            self._touch(case.asked)
        if self.keyring.state is KeyringState.UNKNOWN:
            self._effects.append(Survey())

    def _case_at(self, profile: Profile, way: Way) -> Case | None:
        """Return the case of a profile's preferred upstream that a person means."""
        space = Space.of(profile)
        cases = [c for c in self._cases.values() if c.key.space == space]
        return _most_wanted(cases) if cases else self._new_case(Key.blank(space), profile, way)

    # --- Profiles ----------------------------------------------------------------------------

    def _cases_of(self, profile_id: str) -> list[Case]:
        return [c for c in self._cases.values() if c.key.space.profile_id == profile_id]

    def _forgotten(self, profile_id: str) -> None:
        for case in self._cases_of(profile_id):
            if case.login:
                self._rejected.discard(case.key.space, case.login)
            self._reset(case)

    def _reset(self, case: Case) -> None:
        """Forget the login of a case; who waits is asked about as if for the first time."""
        self._renew(case)
        case.rejections.clear()
        case.repeated = case.lifted = False
        case.why, case.user, case.relook_at = Why.NEEDED, "", self._now
        if case.phase is Phase.QUIET:
            return
        if case.parked or case.asked:
            return self._ask(case, Why.NEEDED)
        if case.phase is not Phase.EMPTY:
            case.move(Phase.EMPTY)
        return None

    def _switched(self, profile: Profile | None) -> None:
        self._active = profile
        if profile:
            self._profiles[profile.id] = profile
        self._end_quiet(self._cases.values())

    def _edited(self, profile: Profile) -> None:
        self._profiles[profile.id] = profile
        cases = self._cases_of(profile.id)
        gone = [c for c in cases if not _belongs(c.key.space, profile)]
        self._withdraw(gone)
        for case in cases:
            if case in gone:
                continue
            user_changed = profile.user not in ("", case.profile.user)
            case.profile = profile
            self._changed(case)
            if user_changed and (case.login is None or case.login.user != profile.user):
                self._reset(case)

    def _withdraw(self, cases: list[Case]) -> None:
        for case in cases:
            self._close(case, Ending.WITHDRAWN)
            for request in self._empty(case):
                self._refuse(request.waiter, Reason.WITHDRAWN)
            del self._cases[case.key]

    def _askers_changed(self, count: int) -> None:
        if self._askers and not count:
            self._askers_gone = self._now
        self._askers = count

    # --- Time --------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Do what has become due, and open the next question if none is before the person."""
        for case in self._cases.values():
            self._expire(case)
            if case.phase is Phase.HELD and case.parked:
                self._try(case)
            self._close_if_abandoned(case)
        if not self._is_attended:
            self._refuse_unattended()
        self._open_next()

    def _expire(self, case: Case) -> None:
        for request in list(case.parked.values()):
            if self._now < request.since + self._rules.parked:
                break
            self._left(request.waiter)
            self._refuse(request.waiter, Reason.TIMED_OUT)
        if self._now >= case.canary_until:
            self._leave_open(case)
        if case.phase is Phase.LOOKING and self._now >= case.lookup_until:
            self._give_up_waiting(case)
        if case.phase is Phase.QUIET and self._now >= case.quiet_until:
            case.move(Phase.ASKING)

    def _give_up_waiting(self, case: Case) -> None:
        """Ask without the keyring; what it says later is used if it still fits."""
        case.lookup_until = inf
        case.relook_at = self._now + self._rules.relook_locked
        if self.keyring.state is not KeyringState.LOCKED:
            self._surveyed(replace(self.keyring, state=KeyringState.SILENT))
        self._ask(case, self._why_without(case))

    def _try(self, case: Case) -> None:
        """Send the present login on a request, unless its verdict comes from another realm.

        One try per login and upstream, not one per realm: the account is the same.
        """
        assert case.login is not None
        others = (
            c for c in self._cases.values() if c.key.space == case.key.space and c is not case
        )
        if any(c.phase is Phase.CHECKING and c.login == case.login for c in others):
            return
        if not case.insisted and self._rejected.has(case.key.space, case.login):
            self._reject(case)
        else:
            self._try_next(case)

    def _try_next(self, case: Case) -> None:
        """Send the present login on one request: the oldest that it was not just refused for."""
        for request in list(case.parked.values()):
            self._left(request.waiter)
            if case.is_suspect(request.target, self._now, self._rules):
                self._refuse(request.waiter, Reason.FORBIDDEN)
                continue
            case.move(Phase.CHECKING)
            case.canary_until = self._now + self._rules.canary
            self._changed(case)
            self._effects.append(Release(request.waiter, case.mark))
            return

    def _close_if_abandoned(self, case: Case) -> None:
        if case.asked is None or case.asked.touched or case.parked:
            return
        if case.phase in (Phase.ASKING, Phase.HELD):
            self._close(case, Ending.ABANDONED)

    @property
    def _is_in_grace(self) -> bool:
        return not self._askers and self._now < self._askers_gone + self._rules.grace

    @property
    def _is_attended(self) -> bool:
        return self._askers > 0 or self._is_in_grace

    def _refuse_unattended(self) -> None:
        for case in self._cases.values():
            if case.phase is Phase.ASKING:
                self._close(case, Ending.ABANDONED)
                for request in self._empty(case):
                    self._refuse(request.waiter, Reason.UNATTENDED)

    def _open_next(self) -> None:
        """Open the question whose request has waited longest, one at a time."""
        if any(self._holds_the_floor(case) for case in self._cases.values()):
            return
        due = [case for case in self._queued() if case.gather_until <= self._now]
        if due:
            self._open(min(due, key=lambda case: case.waits_since))

    def _queued(self) -> Iterator[Case]:
        for case in self._cases.values():
            if case.phase is Phase.ASKING and case.parked and case.asked is None:
                yield case

    def _holds_the_floor(self, case: Case) -> bool:
        """Return whether the person is busy with this question."""
        if case.asked is None:
            return False
        is_watched = self._now < case.asked.seen + self._rules.attention
        return bool(case.parked) or case.phase is Phase.CHECKING or is_watched

    def _times(self, case: Case) -> Iterator[float]:
        """Yield when something becomes due for this case."""
        yield case.waits_since + self._rules.parked
        yield case.canary_until
        if case.phase is Phase.LOOKING:
            yield case.lookup_until
        if case.phase is Phase.QUIET:
            yield case.quiet_until
        if case.gather_until > self._now:
            yield case.gather_until
        if case.asked and case.asked.seen + self._rules.attention > self._now:
            yield case.asked.seen + self._rules.attention

    # --- Effects -----------------------------------------------------------------------------

    def _open(self, case: Case) -> None:
        self._numbers += 1
        case.asked = Asked(self._numbers)
        self._changed(case)

    def _close(self, case: Case, ending: Ending) -> None:
        if case.asked:
            self._effects.append(QuestionClosed(case.asked.number, ending))
            case.asked = None

    def _changed(self, case: Case) -> None:
        if case.asked:
            self._effects.append(QuestionChanged(case.asked.number))

    def _refuse(self, waiter: int, reason: Reason) -> None:
        self._effects.append(Refuse(waiter, reason))

    def _empty(self, case: Case) -> list[Parked]:
        """Take all requests out of a case, the oldest first."""
        requests = list(case.parked.values())
        for request in requests:
            del self._homes[request.waiter]
        case.parked.clear()
        return requests

    def _asked(self, number: int) -> Case | None:
        for case in self._cases.values():
            if case.asked and case.asked.number == number:
                return case
        return None


def _rejected_why(source: Source) -> Why:
    return Why.SAVED_REJECTED if source is Source.SAVED else Why.TYPED_REJECTED


def _most_wanted(cases: Iterable[Case]) -> Case:
    """Return the case that a person means who does not say which."""
    return max(cases, key=lambda c: (c.asked is not None, c.needed, c.seen))


def _belongs(space: Space, profile: Profile) -> bool:
    """Return whether a profile, as it is now, signs in to this upstream."""
    return space in Space.all_of(profile) and profile.sign_in is SignIn.PASSWORD
