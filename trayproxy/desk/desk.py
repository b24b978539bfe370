"""The sign-in desk on an event loop.

`Desk` turns what happens into events for `trayproxy.desk.machine.machine`, and does what that wants
done: it completes futures, reads the keyring in the thread of the vault, wakes up when time has
passed and lets faces know. It decides nothing.

All methods belong to the thread of the loop.
"""

from asyncio import AbstractEventLoop, Future, TimerHandle, ensure_future
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future as ThreadFuture
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from logging import getLogger
from math import inf
from os import urandom
from time import time
from typing import TypeVar
from urllib.parse import urlsplit

from trayproxy.auth.basic import Basic
from trayproxy.auth.login import Login, LoginError
from trayproxy.auth.scheme import Offer, Scheme, Verdict, VerdictKind
from trayproxy.control.messages import KeyringStatus, Problem, Program, Prompt, Snooze
from trayproxy.desk.challenge_reader import (
    ChallengeReader,
    is_repeated,
    name_of,
    offered,
    tried_with,
)
from trayproxy.desk.change_feed import ChangeFeed, ChangeListener
from trayproxy.desk.credential_store import CredentialStore, LookupResult
from trayproxy.desk.credentials import (
    AcceptanceRecord,
    Credentials,
    CredentialsFuture,
    Outcome,
    PendingRequest,
)
from trayproxy.desk.history import History, HistoryRecord, NullHistory
from trayproxy.desk.machine.events import (
    AllowDeparture,
    CancelTrial,
    ClearHistory,
    ClearRejection,
    ClientLeft,
    Effect,
    Event,
    FrontEndsChanged,
    KeepUserName,
    KeyringSurveyed,
    LoginAccepted,
    LoginDeparting,
    LoginGiven,
    LoginInconclusive,
    LoginSaved,
    LoginsForgotten,
    LoginUnproved,
    LookupFinished,
    LookUpLogin,
    NetworkChanged,
    NoCommonScheme,
    NotifyPromptChanged,
    NotifyPromptClosed,
    OwnRequestEnded,
    ProfileDeleted,
    ProfileEdited,
    ProfileSwitched,
    ProgramIdentified,
    PromptAnswered,
    PromptDeclined,
    PromptTouched,
    RecallLogin,
    RecordFingerprint,
    RecordRejection,
    RecordTrial,
    RefuseRequest,
    ReleaseRequest,
    RequestChallenged,
    SaveLoginToKeyring,
    ScreenLocked,
    SendOwnRequest,
    SendWithoutLogin,
    SignInRequested,
    SurveyKeyring,
    TimePassed,
    TrialRecorded,
    TriedLogin,
    UpstreamOverdue,
)
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.machine.machine import Machine
from trayproxy.desk.machine.outcomes import is_costless
from trayproxy.desk.machine.queries import ProfileFacts, TrialState
from trayproxy.desk.problems import (
    kept_in_memory,
    no_common_scheme,
    nobody_asks,
    not_accepted,
    not_checked,
    not_signing_in,
    problem_of,
    question_gone,
    refusal,
    rejected_before,
    signs_in_itself,
    store_silent,
    unrecorded,
)
from trayproxy.desk.protection_space import LoginId, ProtectionSpace, UpstreamId
from trayproxy.desk.rejected_logins import RejectedLogins
from trayproxy.http.challenges import Challenge
from trayproxy.profiles.profile import Profile, SignIn

_log = getLogger(__name__)

T = TypeVar("T")

STRAYS_MOST = 4
"""How often a request may meet another realm than it was meant for before its login was sent."""

Identify = Callable[[PendingRequest], Awaitable[Program | None]]
"""Finds the program that sent a request; called only for requests that a question names."""

TryLogin = Callable[[Profile, str], Coroutine[None, None, bool]]
"""Sends a request of our own to the one upstream of a profile, to find out about a login.

It is sent like that of any program, without a login at first, and goes to the target that is named,
``github.com:443``, or wherever if none is. Its `PendingRequest` is our own (`PendingRequest.own`).
False if the upstream let it through without asking for a login.
"""


@dataclass(slots=True)
class _Parked:
    """A request that waits, as the shell sees it."""

    seat: CredentialsFuture
    waiter: PendingRequest
    profile: Profile
    offers: tuple[Offer, ...]
    tried: Credentials | None
    strays: bool
    is_identified: bool = False


class Desk:
    """The logins of this run, and the questions about them.

    Attributes:
        identify: Finds out who waits; None while nothing can.
        rejected: The logins never to send by themselves.
        addresses_of: Returns the addresses that a URL of an upstream leads to, as far as known.
        on_user: Keeps the user name of an accepted login in its profile: the profile's id and the
            user name; None if user names are not kept.
    """

    def __init__(
        self,
        *,
        vault: CredentialStore,
        listener: ChangeListener,
        loop: AbstractEventLoop,
        clock: Callable[[], float] | None = None,
        schemes: Sequence[Scheme] = (Basic(),),
        rules: DeskLimits | None = None,
        rejected: RejectedLogins | None = None,
        identify: Identify | None = None,
        memory: History | None = None,
        is_installed: Callable[[str], bool] = lambda family: True,
    ) -> None:
        """Open the desk.

        Args:
            vault: Where logins are kept.
            listener: Who hears of changes.
            loop: The loop whose thread calls us.
            clock: Seconds on a monotonic clock; the loop's if None.
            schemes: Ours, the strongest first.
            rules: Times and limits.
            rejected: Logins that were rejected.
            identify: Finds out who waits.
            is_installed: Whether what a family of schemes needs is installed.
            memory: What earlier runs have left; None: nothing, and this one leaves nothing either.
        """
        self.identify = identify
        self.rejected = rejected or RejectedLogins(urandom(32))
        self._vault = vault
        self._loop = loop
        self._clock = clock or loop.time
        self._offers = ChallengeReader(schemes, is_installed)
        self._rules = rules or DeskLimits()
        self._memory = memory or NullHistory()
        self._machine = Machine(self._rules, self.rejected, self._memory.pins)
        self._on_try: TryLogin | None = None
        self.on_user: Callable[[str, str], None] | None = None
        self._news = ChangeFeed(self._machine, listener, loop, self._find_out_who_waits)
        self.addresses_of: Callable[[str], tuple[str, ...]] = lambda upstream: ()
        self._events: list[Event] = []
        self._parked: dict[int, _Parked] = {}
        self._departing: dict[int, tuple[CredentialsFuture, Credentials]] = {}
        self._waiters = 0
        self._answers: dict[tuple[ProtectionSpace, tuple[str, str]], Credentials] = {}
        self._known: dict[UpstreamId, Credentials] = {}
        self._notices: tuple[Problem, ...] = ()
        self._askers = 0
        self._alarm: TimerHandle | None = None
        self._alarm_at = inf
        self._snooze = (0.0, 0.0)
        self._findings: set[Future[Program | None]] = set()
        self._tries: set[Future[bool]] = set()
        self._savings: dict[UpstreamId, tuple[int, Future[Problem | None]]] = {}
        vault.watch(self._threadsafe(self._surveyed))

    # --- For the engine ----------------------------------------------------------------------

    def known(self, space: UpstreamId) -> Credentials | None:
        """Return the answer to send before this upstream asks, None if there is none.

        Called for every request.
        """
        return self._known.get(space)

    def is_sure_of(self, answer: Credentials) -> bool:
        """Whether a request that no program waits for may carry this answer.

        It was accepted moments ago and is what this upstream is sent unasked, nothing is asked or
        in doubt about it, and the screen is not locked.
        """
        known = self.known(answer.upstream_id)
        return (
            answer.verified
            and known is not None
            and (known.login_id, known.scheme) == (answer.login_id, answer.scheme)
            and self._machine.is_settled(answer.upstream_id)
        )

    def challenged(
        self,
        space: UpstreamId,
        profile: Profile,
        challenges: Sequence[Challenge],
        waiter: PendingRequest,
        tried: Credentials | None,
        verdict: Verdict | None = None,
    ) -> Future[Outcome]:
        """Take a request that got a 407.

        Args:
            space: The upstream that refused it.
            profile: The profile of the request, as it was when the request began.
            challenges: All that the last response offered; none if there was none, or if what it
                said was no challenge.
            waiter: Where the request wants to go, and who sent it.
            tried: What the refused request carried, None if nothing.
            verdict: How its handshake ended, if that is known.

        Returns:
            What to send the request with, or what to tell its client; None to send it without
            anything, to hear once more what is offered. Cancel it when the client leaves. With an
            answer, the request must come back: by `accepted`, `inconclusive`, or here again.
        """
        self._waiters += 1
        number = self._waiters
        seat = CredentialsFuture(self._loop, partial(self._left, number))
        profile = self._machine.profile(profile)
        offers = self._offers.read(challenges, space, profile)
        is_other_way = tried is not None and not is_repeated(tried, challenges)
        if not offers and tried and tried.upstream_id == space and not is_other_way:
            # What is said besides a verdict may be about that alone (a 401, the end of a
            # handshake): then the offer is the one that was tried.
            offers = () if verdict and is_costless(verdict) else tried.offers
        elif not offers:
            if tried:
                self.inconclusive(tried, "the proxy asks in a way that cannot be used", sent=False)
            tried = None
        if profile.sign_in is SignIn.NONE:
            seat.set_result(not_signing_in(profile))
        elif not offers and not tried:
            usable = self._offers.usable(space, profile)
            told = no_common_scheme(challenges, usable)
            self._handle(NoCommonScheme(space, told.problem))
            seat.set_result(told)
        else:
            key = self._offers.key(challenges, space, profile, tried)
            strays = tried is not None and tried.login_id.space != key
            waiter.strays += strays
            # A scheme that came to nothing has sent no login; where another one is wanted in its
            # place, it is not to come back to it.
            if tried and (not is_costless(verdict) or (is_other_way and not strays)):
                waiter.spent |= {(tried.login_id, f"{name_of(tried.scheme)} {tried.label}")}
            # Once, if that may have cost a log-on; behind a balancer it may take some more tries
            # until a connection leads to the proxy that has asked.
            strays = strays and (not is_costless(verdict) or waiter.strays >= STRAYS_MOST)
            self._parked[number] = _Parked(seat, waiter, profile, offers, tried, strays)
            self._handle(
                RequestChallenged(
                    number,
                    key,
                    profile,
                    offered(offers, space),
                    waiter.target,
                    tried_with(tried, verdict, challenges) if tried else None,
                    waiter.program,
                    waiter.own,
                    waiter.spent,
                    self._locate(space),
                )
            )
        return seat

    def _locate(self, space: UpstreamId) -> tuple[str, ...]:
        """Return the addresses of an upstream; the memory hears of them first."""
        addresses = self.addresses_of(space.upstream)
        if addresses:
            self._memory.found_at(space, addresses)
        return addresses

    def departing(self, answer: Credentials, target: str) -> Future[Outcome]:
        """Take a request that is about to carry a login that was not proved lately.

        Args:
            answer: What it is about to carry, as `known` returned it.
            target: Where it wants to go, ``github.com:443``.

        Returns:
            What the request may carry now; None if it may not carry this login any more. Cancel it
            when the client leaves. With an answer, the request must report that one: by `accepted`,
            `unproved`, `inconclusive` or `challenged`.
        """
        self._waiters += 1
        number = self._waiters
        seat = CredentialsFuture(self._loop, partial(self._left, number))
        self._departing[number] = (seat, answer)
        self._handle(LoginDeparting(number, answer.login_id, target))
        return seat

    def give_up(self, seat: Future[Outcome]) -> None:
        """Withdraw a request that does not wait any longer, as when its client has left.

        The desk may have served the request a moment ago. Then the login in the answer was not
        sent, and the desk is told so: it would wait for the verdict otherwise.

        Args:
            seat: What `challenged` or `departing` returned for the request.
        """
        if seat.cancel() or seat.cancelled():
            return
        if isinstance(answer := seat.result(), Credentials):
            self.inconclusive(answer, "nobody waits for it", sent=False)

    def accepted(self, answer: Credentials, target: str = "") -> None:
        """Record that the response to a request proves that its login was accepted.

        Need not be called while `Credentials.verified`; it is so for longer if it is.

        Args:
            answer: What the request carried.
            target: Where it went, ``github.com:443``; empty if no target was named yet.
        """
        name = name_of(answer.scheme)
        self._handle(LoginAccepted(answer.login_id, name, answer.label, target, answer.flight))
        if self._machine.is_proved(answer.login_id):
            answer.acceptance.refresh(self._loop, self._rules.fresh)

    def unproved(self, answer: Credentials, target: str, *, is_doubtful: bool) -> None:
        """Record that the response to a request does not tell whether its login is right.

        Args:
            answer: What the request carried.
            target: Where it went, ``github.com:443``.
            is_doubtful: A proxy may give this response to a wrong login as well.
        """
        if not answer.verified:
            _log.info(
                "profile %s: a sign-in could not be checked yet", answer.upstream_id.profile_id
            )
            self._handle(LoginUnproved(answer.login_id, target, is_doubtful, answer.flight))

    def inconclusive(self, answer: Credentials, why: str, *, sent: bool = True) -> None:
        """Take note that a request with this answer got no response at all.

        One that never carried the login need not be reported, unless the desk has let it go
        (`Credentials.flight`).

        Args:
            answer: What it carried.
            why: For the log: a network error, a time-out, a client that left.
            sent: Whether the login may have arrived, and have cost a log-on.
        """
        if sent or not answer.verified:
            _log.info(
                "profile %s: a sign-in was not checked: %s", answer.upstream_id.profile_id, why
            )
            self._handle(LoginInconclusive(answer.login_id, sent, answer.flight))

    def overdue(self, answer: Credentials, count: int) -> None:
        """Record that an upstream has answered no request at all for a moment.

        The login is not taken for proved any more: from here one request at a time carries it.

        Args:
            answer: What a request carries that waits for its answer.
            count: How many requests with this login wait.
        """
        if answer.login is not None and not answer.flight:
            self._handle(UpstreamOverdue(answer.login_id, count))

    # --- For faces ---------------------------------------------------------------------------

    def questions(self) -> tuple[Prompt, ...]:
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
        problem = self._offers.check(login, question.upstream, question.method)
        if problem is None:
            self._handle(PromptAnswered(number, login, remember))
        return problem

    def decline(self, number: int, quiet: Snooze) -> None:
        """Take a person's *Cancel* or *Not now*."""
        self._handle(PromptDeclined(number, quiet))

    def typing(self, number: int) -> None:
        """Take note that a person has begun to answer: the question does not close by itself."""
        self._handle(PromptTouched(number))

    def sign_in_now(self, profile: Profile) -> Problem | None:
        """Open the question of a profile although nothing waits.

        Returns:
            Why it cannot be opened, None if it is open.
        """
        if profile.sign_in is SignIn.NONE:
            return not_signing_in(profile).problem
        if not self._askers and profile.sign_in is SignIn.PASSWORD:
            return nobody_asks(profile)
        self._handle(SignInRequested(profile, self._offers.guess(profile)))
        return None

    def preload(self, profile: Profile, login: Login, *, is_proved: bool = False) -> Problem | None:
        """Take a login that nobody was asked for; it is used at the first 407 and not kept.

        Args:
            profile: Whose login.
            login: The login.
            is_proved: The upstream has just accepted it, on a request of another desk: the profile
                takes its user name.

        Returns:
            Why it cannot be used, None if it will be.
        """
        return self._give(profile, login, remember=False, is_proved=is_proved)

    def _give(
        self,
        profile: Profile,
        login: Login,
        *,
        remember: bool,
        insists: bool = False,
        is_proved: bool = False,
    ) -> Problem | None:
        if profile.sign_in is SignIn.SSO:
            return signs_in_itself(profile)
        problem = self._offers.check(login, str(profile.upstream))
        if problem is None:
            way = self._offers.guess(profile)
            self._handle(LoginGiven(profile, way, login, remember, insists, is_proved))
        return problem

    def save_login(
        self, profile: Profile, login: Login, *, is_typed: bool = False
    ) -> Future[Problem | None]:
        """Keep a login in the keyring, and use it for the next request.

        It is kept once the upstream has accepted it, which is found out at once. If that cannot be
        (`on_try` is None), it is kept unchecked.

        Args:
            profile: Whose login.
            login: The login.
            is_typed: A person has just typed it: it is sent whatever is known about it.

        Returns:
            Why it was not kept, None if it was. One that could not be checked is kept once a
            request is accepted with it.
        """
        remember = self._on_try is not None
        problem = self._give(profile, login, remember=remember, insists=is_typed)
        if problem is None and self._on_try is None:
            return self._saved(profile, login)
        told: Future[Problem | None] = self._loop.create_future()
        if problem:
            told.set_result(problem)
        else:
            space = UpstreamId.of(profile)
            self._savings[space] = (self._machine.generation(space), told)
            self._tell_savings()
        return told

    def _tell_savings(self) -> None:
        """Tell who waits for a login to be kept, as soon as it will not be."""
        for space, (generation, told) in list(self._savings.items()):
            match self._machine.trial(space, generation):
                case TrialState.UNDER_WAY | TrialState.RIGHT:
                    continue  # A right one is being saved.
                case TrialState.WRONG:
                    problem = not_accepted()
                case TrialState.UNSENT:
                    problem = rejected_before()
                case TrialState.OPEN:
                    problem = not_checked()
                case TrialState.UNRECORDED:
                    problem = unrecorded()
            del self._savings[space]
            if not told.done():
                told.set_result(problem)

    def forget(self, profile: Profile) -> Future[Problem | None]:
        """Remove a profile's saved logins, and forget what is in memory.

        Returns:
            Why one could not be removed, None if all were.
        """
        self._handle(LoginsForgotten(profile.id))
        each = (profile.with_only(str(upstream)) for upstream in profile.upstreams)
        return self._written(*map(self._vault.forget, each))

    def set_askers(self, count: int) -> None:
        """Take note of how many faces can put a question to a person.

        Without any, requests are told at once that a sign-in is needed, when the keyring had
        nothing to offer; if the last face has just gone, only some time later.
        """
        self._askers = count
        self._handle(FrontEndsChanged(count))

    def facts(self, profile_id: str) -> ProfileFacts:
        """Return what is known about the sign-in of a profile.

        `ProfileFacts.snoozed_until` is in seconds since the epoch here; None also if the quiet time
        ends only when the person acts.
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
    def keyring(self) -> KeyringStatus:
        """The password store, as far as it is known."""
        return self._machine.keyring

    @property
    def notices(self) -> tuple[Problem, ...]:
        """What else a person should know.

        That the last login could not be saved; why one's own sign-in cannot be used.
        """
        troubles = self._machine.troubles()
        return (
            *self._notices,
            *self._machine.no_common_scheme(),
            *(problem_of(t.reason, t.profile, t.text) for t in troubles),
        )

    # --- For the service ---------------------------------------------------------------------

    def profile_switched(self, profile: Profile | None) -> None:
        """Take note of the active profile; only its saved login is ever read."""
        self._handle(ProfileSwitched(profile))

    def profile_changed(self, profile: Profile) -> None:
        """Take note of a profile that was added or edited.

        Who waits for an upstream that is the profile's no longer is told to try again.
        """
        self._handle(ProfileEdited(profile))

    def profile_deleted(self, profile_id: str) -> None:
        """Take note of a profile that is gone."""
        self._handle(ProfileDeleted(profile_id))

    def network_changed(self) -> None:
        """Take note of another network, or of a wake-up: *Not now* ends."""
        self._handle(NetworkChanged())

    def screen_locked(self, locked: bool) -> None:
        """Take note of the screen: while it is locked, no question opens."""
        self._handle(ScreenLocked(locked))

    @property
    def on_try(self) -> TryLogin | None:
        """How to send a request of our own; None if nothing can."""
        return self._on_try

    @on_try.setter
    def on_try(self, on_try: TryLogin | None) -> None:
        self._on_try = on_try
        self._machine.board.tries_itself = on_try is not None

    def close(self) -> None:
        """Withdraw all questions and refuse all requests; the service quits."""
        for profile_id in self._machine.profiles():
            self._handle(ProfileDeleted(profile_id, for_good=False))
        for finding in self._findings:
            finding.cancel()
        for attempt in self._tries:
            attempt.cancel()
        self._news.close()
        self._memory.close()
        if self._alarm:
            self._alarm.cancel()

    # --- Events ------------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        self._events.append(event)
        if len(self._events) > 1:
            return  # What is being done has led to it, and is done first.
        while self._events:
            for effect in self._machine.handle(self._clock(), self._events[0]):
                self._carry_out(effect)
            del self._events[0]
        self._refresh_known()
        self._set_alarm()
        self._tell_savings()
        self._news.tell_soon(self.notices)

    def _left(self, number: int) -> None:
        if self._parked.pop(number, None) or self._departing.pop(number, None):
            self._handle(ClientLeft(number))

    def _surveyed(self, keyring: KeyringStatus) -> None:
        self._handle(KeyringSurveyed(keyring))

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
        self._handle(TimePassed())

    # --- Effects -----------------------------------------------------------------------------

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case ReleaseRequest(number, mark, scheme):
                self._release(number, mark, scheme)
            case AllowDeparture(number, flight):
                seat, answer = self._departing.pop(number)
                seat.set_result(replace(answer, flight=flight) if flight else answer)
            case RecallLogin(number):
                self._departing.pop(number)[0].set_result(None)
            case SendWithoutLogin(number):
                self._parked.pop(number).seat.set_result(None)
            case RefuseRequest(number, reason, text):
                parked = self._parked.pop(number)
                parked.seat.set_result(refusal(reason, parked.profile, text))
            case SendOwnRequest():
                self._try_own(effect)
            case RecordTrial():
                self._put_on_trial(effect)
            case NotifyPromptChanged(number):
                self._news.changed(number)
            case NotifyPromptClosed(number, ending):
                self._news.closed(number, ending)
            case KeepUserName(profile_id, user):
                if self.on_user is not None:
                    self.on_user(profile_id, user)
            case LookUpLogin() | SurveyKeyring() | SaveLoginToKeyring():
                self._use_vault(effect)
            case (
                RecordRejection()
                | ClearRejection()
                | CancelTrial()
                | RecordFingerprint()
                | ClearHistory()
            ):
                self._remember(effect)

    def _use_vault(self, effect: LookUpLogin | SurveyKeyring | SaveLoginToKeyring) -> None:
        match effect:
            case LookUpLogin(lookup, profile, user):
                finding = self._vault.find(profile, user)
                self._on_result(finding, partial(self._found, lookup, UpstreamId.of(profile)))
            case SurveyKeyring():
                self._on_result(self._vault.survey(), self._surveyed)
            case SaveLoginToKeyring(profile, login):
                self._tell_saved(self._saved(profile, login), profile)

    def _remember(
        self,
        effect: RecordRejection | ClearRejection | CancelTrial | RecordFingerprint | ClearHistory,
    ) -> None:
        match effect:
            case RecordRejection(space, login):
                self._memory.rejected(space, login)
            case ClearRejection(space, login):
                self._memory.accepted(space, login)
            case CancelTrial(space, login):
                self._memory.spare(space, login)
            case RecordFingerprint(space, pin):
                self._memory.pin(space, pin)
            case ClearHistory(profile_id):
                self._memory.forget(profile_id)

    def _put_on_trial(self, effect: RecordTrial) -> None:
        number, space, login = effect.number, effect.space, effect.login

        def tell(record: HistoryRecord) -> None:
            self._handle(TrialRecorded(number, space, login, record.is_rejected, record.hold_s))

        recorded = self._memory.try_out(
            space, login, insists=effect.insists, is_saved=effect.is_saved
        )
        if recorded.done():
            tell(recorded.result())
        else:
            self._on_result(recorded, tell)

    def _tell_saved(self, saved: Future[Problem | None], profile: Profile) -> None:
        """Tell who waits for this login to be kept."""
        _, told = self._savings.pop(UpstreamId.of(profile), (0, None))

        def tell(done: Future[Problem | None]) -> None:
            if told and not told.done():
                told.set_result(done.result())

        saved.add_done_callback(tell)

    def _release(self, number: int, mark: LoginId, scheme: str) -> None:
        """Give a request its answer; a scheme that cannot make one is one that cannot be used."""
        parked = self._parked[number]
        found = next(offer for offer in parked.offers if name_of(offer.scheme) == scheme)
        offer = self._offers.as_of(self._machine.profile(parked.profile), found)
        try:
            answer = self._answer(offer, mark, parked.offers)
        except LoginError as error:
            self._loop.call_soon(self._not_released, number, mark, offer, str(error))
            return
        del self._parked[number]
        if not self._machine.is_trusted(mark):
            answer = replace(answer, flight=number)
        parked.seat.set_result(replace(answer, strayed=True) if parked.strays else answer)

    def _not_released(self, number: int, mark: LoginId, offer: Offer, reason: str) -> None:
        parked = self._parked.get(number)
        verdict = Verdict(VerdictKind.UNUSABLE, reason)
        if parked is None:
            self._handle(LoginInconclusive(mark, sent=False, flight=number))
            return
        self._handle(
            RequestChallenged(
                number,
                mark.space,
                parked.profile,
                offered(parked.offers, mark.space.upstream_id),
                parked.waiter.target,
                TriedLogin(mark, name_of(offer.scheme), verdict, flight=number),
                parked.waiter.program,
                parked.waiter.own,
                parked.waiter.spent,
            )
        )

    def _answer(self, offer: Offer, mark: LoginId, offers: tuple[Offer, ...]) -> Credentials:
        """Return the one answer for a login and a way, so that requests share what it counts."""
        way = (name_of(offer.scheme), offer.label)
        answer = self._answers.get((mark.space, way))
        if answer is None or answer.login_id != mark or answer.scheme is not offer.scheme:
            login = self._machine.login(mark)
            host = urlsplit(mark.space.upstream_id.upstream).hostname or ""
            signer = offer.scheme.signer(offer.challenge, login, host)
            answer = Credentials(
                mark, login, offer.scheme, offer.challenge, signer, AcceptanceRecord(), offers
            )
            self._answers[mark.space, way] = answer
        return answer

    def _refresh_known(self) -> None:
        for key, answer in list(self._answers.items()):
            if not self._machine.is_proved(answer.login_id):
                answer.acceptance.is_recent = False
            if not self._machine.is_present(answer.login_id):
                del self._answers[key]
        trusted = self._machine.trusted()
        answers = (
            (space, self._answers.get((mark.space, self._machine.way(mark))))
            for space, mark in trusted.items()
        )
        self._known = {space: answer for space, answer in answers if answer}

    # --- Requests of our own -----------------------------------------------------------------

    def _try_own(self, effect: SendOwnRequest) -> None:
        assert self._on_try is not None
        attempt = ensure_future(self._on_try(effect.profile, effect.target), loop=self._loop)
        self._tries.add(attempt)
        attempt.add_done_callback(partial(self._tried_own, effect))

    def _tried_own(self, effect: SendOwnRequest, attempt: Future[bool]) -> None:
        self._tries.discard(attempt)
        if attempt.cancelled():
            return
        error = attempt.exception()
        if error:
            _log.info(
                "profile %s: a request of our own failed: %s",
                effect.profile.id,
                type(error).__name__,
            )
        self._handle(OwnRequestEnded(effect.number, asked=error is not None or attempt.result()))

    # --- The keyring -------------------------------------------------------------------------

    def _found(self, lookup: int, space: UpstreamId, finding: LookupResult) -> None:
        login = finding.login
        if login is None or self._offers.check(login, space.upstream) is not None:
            self._handle(LookupFinished(lookup, None, finding.keyring))
            return

        self._handle(LookupFinished(lookup, login, finding.keyring))

    def _saved(self, profile: Profile, login: Login) -> Future[Problem | None]:
        """As `_written`; what cannot be saved stays in memory, and the person is told so."""
        saved: ThreadFuture[Problem | None] = ThreadFuture()

        def tell(done: ThreadFuture[Problem | None]) -> None:
            problem = done.result()
            saved.set_result(kept_in_memory(problem) if problem else None)

        self._vault.save(profile, login).add_done_callback(tell)
        written = self._written(saved)
        written.add_done_callback(partial(self._note_saved, profile.id))
        return written

    def _note_saved(self, profile_id: str, written: Future[Problem | None]) -> None:
        if not written.cancelled() and written.result() is None:
            self._handle(LoginSaved(profile_id))

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
            self._news.tell_soon(self.notices)
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
            self._handle(ProgramIdentified(waiter, program))
