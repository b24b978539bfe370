"""The sign-in desk on an event loop.

`Desk` turns what happens into events for `trayproxy.desk.machine`, and does what that wants done:
it completes futures, reads the keyring in the thread of the vault, wakes up when time has passed
and lets faces know. It decides nothing.

All methods belong to the thread of the loop.
"""

from asyncio import AbstractEventLoop, Future, TimerHandle, ensure_future
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future as ThreadFuture
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from logging import getLogger
from math import inf
from secrets import token_bytes
from time import time
from typing import TypeVar
from urllib.parse import urlsplit

from trayproxy.auth.basic import Basic
from trayproxy.auth.login import Login, LoginError
from trayproxy.auth.scheme import Offer, Scheme, choose
from trayproxy.auth.socks import SocksPassword
from trayproxy.control.messages import Keyring, Problem, Program, Question, Quiet, Transport
from trayproxy.desk.answer import Answer, Seat, Standing, Waiter
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
from trayproxy.desk.machine import Facts, Machine
from trayproxy.desk.news import Listener, News
from trayproxy.desk.problems import (
    Refusal,
    kept_in_memory,
    no_common_scheme,
    nobody_asks,
    not_signing_in,
    question_gone,
    refusal,
    store_silent,
    unusable_login,
)
from trayproxy.desk.rejected import RejectedLogins
from trayproxy.desk.rules import Rules
from trayproxy.desk.space import Key, Mark, Space
from trayproxy.desk.store import Finding, Store
from trayproxy.http.challenges import Challenge
from trayproxy.profiles.profile import Profile, SignIn

_log = getLogger(__name__)

T = TypeVar("T")

SOCKS_SCHEMES: tuple[Scheme, ...] = (SocksPassword(),)
"""How one signs in to a SOCKS proxy; none of HTTP's schemes means anything there."""

Identify = Callable[[Waiter], Awaitable[Program | None]]
"""Finds the program that sent a request; called only for requests that a question names."""


@dataclass(slots=True)
class _Parked:
    """A request that waits, as the shell sees it."""

    seat: Seat
    waiter: Waiter
    profile: Profile
    offer: Offer
    strays: bool
    is_identified: bool = False


class Desk:
    """The logins of this run, and the questions about them.

    Attributes:
        identify: Finds out who waits; None while nothing can.
        rejected: The logins never to send by themselves.
    """

    def __init__(
        self,
        *,
        vault: Store,
        listener: Listener,
        loop: AbstractEventLoop,
        clock: Callable[[], float] | None = None,
        schemes: Sequence[Scheme] = (Basic(),),
        rules: Rules | None = None,
        rejected: RejectedLogins | None = None,
        identify: Identify | None = None,
    ) -> None:
        """Open the desk.

        Args:
            vault: Where logins are kept.
            listener: Who hears of changes.
            loop: The loop whose thread calls us.
            clock: Seconds on a monotonic clock; the loop's if None.
            schemes: Ours, the strongest first.
            rules: Times and limits.
            rejected: Logins that were rejected in earlier runs.
            identify: Finds out who waits.
        """
        self.identify = identify
        self.rejected = rejected or RejectedLogins(token_bytes(32))
        self._vault = vault
        self._loop = loop
        self._clock = clock or loop.time
        self._schemes = tuple(schemes)
        self._rules = rules or Rules()
        self._machine = Machine(self._rules, self.rejected)
        self._news = News(self._machine, listener, loop, self._find_out_who_waits)
        self._parked: dict[int, _Parked] = {}
        self._waiters = 0
        self._answers: dict[Key, Answer] = {}
        self._known: dict[Space, Answer] = {}
        self._notices: tuple[Problem, ...] = ()
        self._askers = 0
        self._alarm: TimerHandle | None = None
        self._alarm_at = inf
        self._snooze = (0.0, 0.0)
        self._findings: set[Future[Program | None]] = set()
        vault.watch(self._threadsafe(self._surveyed))

    # --- For the engine ----------------------------------------------------------------------

    def known(self, space: Space) -> Answer | None:
        """Return the answer to send before this upstream asks, None if there is none.

        Called for every request.
        """
        return self._known.get(space)

    def challenged(
        self,
        space: Space,
        profile: Profile,
        challenges: Sequence[Challenge],
        waiter: Waiter,
        tried: Answer | None,
    ) -> Future[Answer | Refusal]:
        """Take a request that got a 407.

        Args:
            space: The upstream that refused it.
            profile: The profile of the request, as it was when the request began.
            challenges: All that the response offered.
            waiter: Where the request wants to go, and who sent it.
            tried: What the refused request carried, None if nothing.

        Returns:
            What to send the request with, or what to tell its client. Cancel it when the client
            leaves. With a result, the request must come back: by `accepted`, `inconclusive`, or
            here again.
        """
        self._waiters += 1
        number = self._waiters
        seat = Seat(self._loop, partial(self._left, number))
        schemes = self._schemes_at(space.upstream)
        offer = choose(challenges, schemes)
        if profile.sign_in is SignIn.NONE:
            seat.set_result(not_signing_in(profile))
        elif offer is None:
            seat.set_result(no_common_scheme(challenges, schemes))
        else:
            key = Key(space, offer.challenge.realm, offer.scheme.family)
            strays = tried is not None and tried.mark.key != key
            self._parked[number] = _Parked(seat, waiter, profile, offer, strays)
            self._handle(
                Challenged(
                    number,
                    key,
                    profile,
                    _way(offer.scheme, space.upstream),
                    waiter.target,
                    tried.mark if tried else None,
                    tried.strayed if tried else False,
                    waiter.program,
                )
            )
        return seat

    def accepted(self, answer: Answer) -> None:
        """Take note that a request with this answer got a final response other than 407.

        Need not be called while `Answer.verified`.
        """
        if answer.verified:
            return
        self._handle(Accepted(answer.mark))
        if self._machine.is_trusted(answer.mark):
            answer.standing.fresh = True
            self._loop.call_later(self._rules.fresh, setattr, answer.standing, "fresh", False)

    def inconclusive(self, answer: Answer, why: str) -> None:
        """Take note that a request with this answer got no response at all.

        Args:
            answer: What it carried.
            why: For the log: a network error, a time-out, a client that left.
        """
        if not answer.verified:
            _log.info("profile %s: a sign-in was not checked: %s", answer.space.profile_id, why)
            self._handle(Inconclusive(answer.mark))

    # --- For faces ---------------------------------------------------------------------------

    def questions(self) -> tuple[Question, ...]:
        """Return the open questions, the oldest first."""
        found = map(self._machine.question, self._machine.numbers())
        return tuple(question for question in found if question)

    def answer(self, number: int, login: Login, remember: bool) -> Problem | None:
        """Take what a person typed.

        Args:
            number: Of the question.
            login: The user name and the password.
            remember: Keep it in the keyring once it was accepted.

        Returns:
            Why it cannot be taken; None if it is being tried, or will be by the next request.
        """
        question = self._machine.question(number)
        if question is None:
            return question_gone()
        problem = self._check(login, question.upstream)
        if problem is None:
            self._handle(Typed(number, login, remember))
        return problem

    def decline(self, number: int, quiet: Quiet) -> None:
        """Take a person's *Cancel* or *Not now*."""
        self._handle(Declined(number, quiet))

    def typing(self, number: int) -> None:
        """Take note that a person has begun to answer: the question does not close by itself."""
        self._handle(Touched(number))

    def sign_in_now(self, profile: Profile) -> Problem | None:
        """Open the question of a profile although nothing waits.

        Returns:
            Why it cannot be opened, None if it is open.
        """
        if profile.sign_in is SignIn.NONE:
            return not_signing_in(profile).problem
        if not self._askers:
            return nobody_asks(profile)
        self._handle(Wanted(profile, self._guess(profile)))
        return None

    def preload(self, profile: Profile, login: Login) -> Problem | None:
        """Take a login that nobody was asked for; it is used at the first 407 and not kept.

        Returns:
            Why it cannot be used, None if it will be.
        """
        problem = self._check(login, str(profile.upstream))
        if problem is None:
            self._handle(Given(profile, self._guess(profile), login))
        return problem

    def save_login(self, profile: Profile, login: Login) -> Future[Problem | None]:
        """Keep a login in the keyring, and use it for the next request.

        Returns:
            Why it could not be kept or used, None if it was.
        """
        problem = self.preload(profile, login)
        if problem is None:
            return self._saved(self._vault.save(profile, login))
        refused: Future[Problem | None] = self._loop.create_future()
        refused.set_result(problem)
        return refused

    def forget(self, profile: Profile) -> Future[Problem | None]:
        """Remove a profile's saved logins, and forget what is in memory.

        Returns:
            Why one could not be removed, None if all were.
        """
        self._handle(Forgotten(profile.id))
        each = (profile.at(str(upstream)) for upstream in profile.upstreams)
        return self._written(*map(self._vault.forget, each))

    def set_askers(self, count: int) -> None:
        """Take note of how many faces can put a question to a person.

        Without any, requests are told at once that a sign-in is needed, when the keyring had
        nothing to offer; if the last face has just gone, only some time later.
        """
        self._askers = count
        self._handle(AskersChanged(count))

    def facts(self, profile_id: str) -> Facts:
        """Return what is known about the sign-in of a profile.

        `Facts.snoozed_until` is in seconds since the epoch here; None also if the quiet time ends
        only when the person acts.
        """
        facts = self._machine.facts(profile_id)
        if facts.snoozed_until is None:
            return facts
        return replace(facts, snoozed_until=self._epoch(facts.snoozed_until))

    def _epoch(self, until: float) -> float | None:
        """Convert the end of a quiet time, once: the clocks drift, and faces would see changes."""
        if until == inf:
            return None
        if self._snooze[0] != until:
            self._snooze = (until, time() + until - self._clock())
        return self._snooze[1]

    @property
    def keyring(self) -> Keyring:
        """The password store, as far as it is known."""
        return self._machine.keyring

    @property
    def notices(self) -> tuple[Problem, ...]:
        """What else a person should know: that the last login could not be saved."""
        return self._notices

    # --- For the service ---------------------------------------------------------------------

    def profile_switched(self, profile: Profile | None) -> None:
        """Take note of the active profile; only its saved login is ever read."""
        self._handle(Switched(profile))

    def profile_changed(self, profile: Profile) -> None:
        """Take note of a profile that was added or edited.

        Who waits for an upstream that is the profile's no longer is told to try again.
        """
        self._handle(Edited(profile))

    def profile_deleted(self, profile_id: str) -> None:
        """Take note of a profile that is gone."""
        self._handle(Deleted(profile_id))

    def network_changed(self) -> None:
        """Take note of another network, or of a wake-up: *Not now* ends."""
        self._handle(NetworkChanged())

    def close(self) -> None:
        """Withdraw all questions and refuse all requests; the service quits."""
        for profile_id in self._machine.profiles():
            self._handle(Deleted(profile_id))
        for finding in self._findings:
            finding.cancel()
        self._news.close()
        if self._alarm:
            self._alarm.cancel()

    # --- Events ------------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        for effect in self._machine.handle(self._clock(), event):
            self._carry_out(effect)
        self._refresh_known()
        self._set_alarm()
        self._news.tell_soon(self._notices)

    def _left(self, number: int) -> None:
        if self._parked.pop(number, None):
            self._handle(Left(number))

    def _surveyed(self, keyring: Keyring) -> None:
        self._handle(Surveyed(keyring))

    def _set_alarm(self) -> None:
        """Wake up at the machine's deadline; an alarm that is set too early costs one tick."""
        deadline = self._machine.deadline()
        if deadline >= self._alarm_at:
            return
        if self._alarm:
            self._alarm.cancel()
        self._alarm_at = deadline
        self._alarm = self._loop.call_later(max(0.0, deadline - self._clock()), self._ring)

    def _ring(self) -> None:
        self._alarm, self._alarm_at = None, inf
        self._handle(Tick())

    # --- Effects -----------------------------------------------------------------------------

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Release(number, mark):
                self._release(self._parked.pop(number), mark)
            case Refuse(number, reason):
                self._refuse(self._parked.pop(number), reason)
            case LookUp(lookup, profile, user):
                finding = self._vault.find(profile, user)
                upstream = str(profile.upstream)
                self._on_result(finding, partial(self._found, lookup, upstream))
            case Survey():
                self._on_result(self._vault.survey(), self._surveyed)
            case Save(profile, login):
                self._saved(self._vault.save(profile, login))
            case QuestionChanged(number):
                self._news.changed(number)
            case QuestionClosed(number, ending):
                self._news.closed(number, ending)

    def _release(self, parked: _Parked, mark: Mark) -> None:
        answer = self._answer(parked.offer, mark)
        parked.seat.set_result(replace(answer, strayed=True) if parked.strays else answer)

    def _refuse(self, parked: _Parked, reason: Reason) -> None:
        parked.seat.set_result(refusal(reason, parked.profile))

    def _answer(self, offer: Offer, mark: Mark) -> Answer:
        """Return the one answer for a login, so that requests share what it counts."""
        answer = self._answers.get(mark.key)
        if answer is None or answer.mark != mark:
            login = self._machine.login(mark)
            assert login is not None
            host = urlsplit(mark.key.space.upstream).hostname or ""
            signer = offer.scheme.signer(offer.challenge, login, host)
            answer = Answer(mark, login, offer.scheme, offer.challenge, signer, Standing())
            self._answers[mark.key] = answer
        return answer

    def _refresh_known(self) -> None:
        for key, answer in list(self._answers.items()):
            if not self._machine.is_trusted(answer.mark):
                answer.standing.fresh = False
            if self._machine.login(answer.mark) is None:
                del self._answers[key]
        trusted = self._machine.trusted()
        self._known = {space: self._answers[mark.key] for space, mark in trusted.items()}

    # --- The keyring -------------------------------------------------------------------------

    def _found(self, lookup: int, upstream: str, finding: Finding) -> None:
        login = finding.login
        usable = login is not None and self._check(login, upstream) is None
        self._handle(Found(lookup, login if usable else None, finding.keyring))

    def _saved(self, writing: ThreadFuture[Problem | None]) -> Future[Problem | None]:
        """As `_written`; what cannot be saved stays in memory, and the person is told so."""
        saved: ThreadFuture[Problem | None] = ThreadFuture()

        def tell(done: ThreadFuture[Problem | None]) -> None:
            problem = done.result()
            saved.set_result(kept_in_memory(problem) if problem else None)

        writing.add_done_callback(tell)
        return self._written(saved)

    def _written(self, *writings: ThreadFuture[Problem | None]) -> Future[Problem | None]:
        """Return when the keyring has been written to, and keep what went wrong as a notice.

        A keyring that does not answer is a problem after a while, until it does.
        """
        written: Future[Problem | None] = self._loop.create_future()
        results: list[Problem | None] = []

        def done(result: Problem | None) -> None:
            results.append(result)
            if len(results) < len(writings):
                return
            silence.cancel()
            tell(next(filter(None, results), None))

        def tell(problem: Problem | None) -> None:
            self._notices = (problem,) if problem else ()
            self._news.tell_soon(self._notices)
            if not written.done():
                written.set_result(problem)

        silent = store_silent(self.keyring.name)
        silence = self._loop.call_later(self._rules.patience, tell, silent)
        for writing in writings:
            self._on_result(writing, done)
        return written

    def _on_result(self, result: ThreadFuture[T], use: Callable[[T], None]) -> None:
        """Use the result of another thread in ours, when it is there."""
        use_in_loop = self._threadsafe(use)
        result.add_done_callback(lambda done: use_in_loop(done.result()))

    def _threadsafe(self, use: Callable[[T], None]) -> Callable[[T], None]:
        def from_any_thread(value: T) -> None:
            with suppress(RuntimeError):  # The loop is closed: nobody needs it any more.
                self._loop.call_soon_threadsafe(use, value)

        return from_any_thread

    # --- Who waits ---------------------------------------------------------------------------

    def _find_out_who_waits(self, number: int) -> None:
        for waiter in self._machine.strangers(number):
            parked = self._parked[waiter]
            if self.identify is None or parked.is_identified or parked.waiter.program:
                continue
            parked.is_identified = True
            finding = ensure_future(self.identify(parked.waiter), loop=self._loop)
            self._findings.add(finding)
            finding.add_done_callback(partial(self._identified, waiter))

    def _identified(self, waiter: int, finding: Future[Program | None]) -> None:
        self._findings.discard(finding)
        if finding.cancelled():
            return
        if error := finding.exception():
            _log.debug("cannot tell which program waits: %s", type(error).__name__)
        elif program := finding.result():
            if parked := self._parked.get(waiter):
                parked.waiter.program = program
            self._handle(Identified(waiter, program))

    # --- Schemes -----------------------------------------------------------------------------

    def _schemes_at(self, upstream: str) -> tuple[Scheme, ...]:
        """Return our schemes for an upstream, the strongest first."""
        return SOCKS_SCHEMES if upstream.startswith("socks5:") else self._schemes

    def _check(self, login: Login, upstream: str) -> Problem | None:
        try:
            for scheme in self._schemes_at(upstream):
                scheme.check(login)
        except LoginError as error:
            return unusable_login(str(error))
        return None

    def _guess(self, profile: Profile) -> Way:
        """Return how an upstream will ask that has not asked yet: in the least safe way."""
        upstream = str(profile.upstream)
        return _way(self._schemes_at(upstream)[-1], upstream)


def _way(scheme: Scheme, upstream: str) -> Way:
    """Return how a scheme signs in over the connection to an upstream (ux §3.5)."""
    if upstream.startswith("https:"):
        return Way(scheme.title, Transport.ENCRYPTED)
    return Way(scheme.title, Transport.READABLE if scheme.readable else Transport.SCRAMBLED)
