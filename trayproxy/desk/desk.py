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
    is_offered_again,
    offered_schemes,
    scheme_id,
    tried_login,
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
    CancelTrial,
    ClearHistory,
    ClearRejection,
    ClientLeft,
    DenyPermit,
    Effect,
    Event,
    FrontEndsChanged,
    GrantPermit,
    KeyringSurveyed,
    LoginAccepted,
    LoginProvided,
    LoginSaved,
    LoginsForgotten,
    LoginUnproved,
    LookupFinished,
    LookUpLogin,
    NetworkChanged,
    NoCommonScheme,
    NoResponse,
    NotifyPromptChanged,
    NotifyPromptClosed,
    OwnRequestEnded,
    PermitRequested,
    ProfileDeleted,
    ProfileEdited,
    ProfileSwitched,
    ProgramIdentified,
    PromptAnswered,
    PromptDeclined,
    PromptTouched,
    RecordFingerprint,
    RecordRejection,
    RecordTrial,
    RefuseRequest,
    ReleaseRequest,
    RequestChallenged,
    SaveLoginToKeyring,
    SaveUserName,
    ScreenLocked,
    SendOwnRequest,
    SendWithoutLogin,
    SignInRequested,
    SurveyKeyring,
    TimePassed,
    TrialRecorded,
    TriedLogin,
    UpstreamSilent,
)
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.machine.machine import Machine
from trayproxy.desk.machine.outcomes import is_password_unchecked
from trayproxy.desk.machine.queries import ProfileFacts, TrialState
from trayproxy.desk.problems import (
    kept_in_memory,
    keyring_silent,
    no_common_scheme,
    no_front_end,
    not_accepted,
    not_checked,
    password_not_used,
    problem_of,
    prompt_gone,
    refusal,
    rejected_before,
    sign_in_disabled,
    unrecorded,
)
from trayproxy.desk.protection_space import LoginId, ProtectionSpace, UpstreamId
from trayproxy.desk.rejected_logins import RejectedLogins
from trayproxy.http.challenges import Challenge
from trayproxy.profiles.profile import Profile, SignIn

_log = getLogger(__name__)

T = TypeVar("T")

MAX_REALM_MISMATCHES = 4
"""How often a request may meet another realm than it was meant for before its login was sent."""

IdentifyProgram = Callable[[PendingRequest], Awaitable[Program | None]]
"""Finds the program that sent a request; called only for requests that a question names."""

SendOwnRequestFunction = Callable[[Profile, str], Coroutine[None, None, bool]]
"""Sends a request of our own to the one upstream of a profile, to find out about a login.

It is sent like that of any program, without a login at first, and goes to the target that is named,
``github.com:443``, or wherever if none is. `PendingRequest.is_own` is True.
False if the upstream let it through without asking for a login.
"""


@dataclass(slots=True)
class _Parked:
    """A request that waits, as the shell sees it."""

    future: CredentialsFuture
    pending: PendingRequest
    profile: Profile
    offers: tuple[Offer, ...]
    tried: Credentials | None
    changes_realm: bool
    is_identified: bool = False


class Desk:
    """The logins of this run, and the questions about them.

    Attributes:
        identify_program: Finds out who waits; None while nothing can.
        rejected: The logins never to send by themselves.
        addresses_of: Returns the addresses that a URL of an upstream leads to, as far as known.
        on_user_name: Called with the profile's id and the user name of an accepted login, which
            the profile keeps; None if user names are not kept.
    """

    def __init__(
        self,
        *,
        store: CredentialStore,
        listener: ChangeListener,
        loop: AbstractEventLoop,
        clock: Callable[[], float] | None = None,
        schemes: Sequence[Scheme] = (Basic(),),
        limits: DeskLimits | None = None,
        rejected: RejectedLogins | None = None,
        identify_program: IdentifyProgram | None = None,
        history: History | None = None,
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
        self.identify_program = identify_program
        self.rejected = rejected or RejectedLogins(urandom(32))
        self._store = store
        self._loop = loop
        self._clock = clock or loop.time
        self._reader = ChallengeReader(schemes, is_installed)
        self._limits = limits or DeskLimits()
        self._history = history or NullHistory()
        self._machine = Machine(self._limits, self.rejected, self._history.fingerprints)
        self._send_own_request: SendOwnRequestFunction | None = None
        self.on_user_name: Callable[[str, str], None] | None = None
        self._feed = ChangeFeed(self._machine, listener, loop, self._identify_programs)
        self.addresses_of: Callable[[str], tuple[str, ...]] = lambda upstream: ()
        self._events: list[Event] = []
        self._parked: dict[int, _Parked] = {}
        self._departing: dict[int, tuple[CredentialsFuture, Credentials]] = {}
        self._last_number = 0
        self._credentials: dict[tuple[ProtectionSpace, tuple[str, str]], Credentials] = {}
        self._known: dict[UpstreamId, Credentials] = {}
        self._notices: tuple[Problem, ...] = ()
        self._front_ends = 0
        self._alarm: TimerHandle | None = None
        self._alarm_at = inf
        self._snooze = (0.0, 0.0)
        self._lookups: set[Future[Program | None]] = set()
        self._own_requests: set[Future[bool]] = set()
        self._saves: dict[UpstreamId, tuple[int, Future[Problem | None]]] = {}
        store.watch(self._threadsafe(self._keyring_surveyed))

    # --- For the engine ----------------------------------------------------------------------

    def known(self, upstream_id: UpstreamId) -> Credentials | None:
        """Return the answer to send before this upstream asks, None if there is none.

        Called for every request.
        """
        return self._known.get(upstream_id)

    def is_sure_of(self, credentials: Credentials) -> bool:
        """Whether a request that no program waits for may carry this answer.

        It was accepted moments ago and is what this upstream is sent unasked, nothing is asked or
        in doubt about it, and the screen is not locked.
        """
        known = self.known(credentials.upstream_id)
        return (
            credentials.is_recently_accepted
            and known is not None
            and (known.login_id, known.scheme) == (credentials.login_id, credentials.scheme)
            and self._machine.is_settled(credentials.upstream_id)
        )

    def challenged(
        self,
        upstream_id: UpstreamId,
        profile: Profile,
        challenges: Sequence[Challenge],
        pending: PendingRequest,
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
        self._last_number += 1
        number = self._last_number
        future = CredentialsFuture(self._loop, partial(self._client_left, number))
        profile = self._machine.profile(profile)
        offers = self._reader.read_offers(challenges, upstream_id, profile)
        is_another_method = tried is not None and not is_offered_again(tried, challenges)
        if not offers and tried and tried.upstream_id == upstream_id and not is_another_method:
            # What is said besides a verdict may be about that alone (a 401, the end of a
            # handshake): then the offer is the one that was tried.
            offers = () if verdict and is_password_unchecked(verdict) else tried.offers
        elif not offers:
            if tried:
                self.inconclusive(tried, "the proxy asks in a way that cannot be used", sent=False)
            tried = None
        if profile.sign_in is SignIn.NONE:
            future.set_result(sign_in_disabled(profile))
        elif not offers and not tried:
            usable = self._reader.usable_schemes(upstream_id, profile)
            refusal_to_send = no_common_scheme(challenges, usable)
            self._handle(NoCommonScheme(upstream_id, refusal_to_send.problem))
            future.set_result(refusal_to_send)
        else:
            space = self._reader.protection_space(challenges, upstream_id, profile, tried)
            changes_realm = tried is not None and tried.login_id.space != space
            pending.realm_mismatches += changes_realm
            # A scheme that came to nothing has sent no login; where another one is wanted in its
            # place, it is not to come back to it.
            if tried and (
                not is_password_unchecked(verdict) or (is_another_method and not changes_realm)
            ):
                pending.refused_with |= {
                    (tried.login_id, f"{scheme_id(tried.scheme)} {tried.label}")
                }
            # Once, if that may have cost a log-on; behind a balancer it may take some more tries
            # until a connection leads to the proxy that has asked.
            changes_realm = changes_realm and (
                not is_password_unchecked(verdict)
                or pending.realm_mismatches >= MAX_REALM_MISMATCHES
            )
            self._parked[number] = _Parked(future, pending, profile, offers, tried, changes_realm)
            self._handle(
                RequestChallenged(
                    number,
                    space,
                    profile,
                    offered_schemes(offers, upstream_id),
                    pending.target,
                    tried_login(tried, verdict, challenges) if tried else None,
                    pending.program,
                    pending.is_own,
                    pending.refused_with,
                    self._addresses(upstream_id),
                )
            )
        return future

    def _addresses(self, upstream_id: UpstreamId) -> tuple[str, ...]:
        """Return the addresses of an upstream; the memory hears of them first."""
        addresses = self.addresses_of(upstream_id.upstream)
        if addresses:
            self._history.set_addresses(upstream_id, addresses)
        return addresses

    def departing(self, credentials: Credentials, target: str) -> Future[Outcome]:
        """Take a request that is about to carry a login that was not proved lately.

        Args:
            answer: What it is about to carry, as `known` returned it.
            target: Where it wants to go, ``github.com:443``.

        Returns:
            What the request may carry now; None if it may not carry this login any more. Cancel it
            when the client leaves. With an answer, the request must report that one: by `accepted`,
            `unproved`, `inconclusive` or `challenged`.
        """
        self._last_number += 1
        number = self._last_number
        future = CredentialsFuture(self._loop, partial(self._client_left, number))
        self._departing[number] = (future, credentials)
        self._handle(PermitRequested(number, credentials.login_id, target))
        return future

    def withdraw(self, future: Future[Outcome]) -> None:
        """Withdraw a request that does not wait any longer, as when its client has left.

        The desk may have served the request a moment ago. Then the login in the answer was not
        sent, and the desk is told so: it would wait for the verdict otherwise.

        Args:
            seat: What `challenged` or `departing` returned for the request.
        """
        if future.cancel() or future.cancelled():
            return
        if isinstance(credentials := future.result(), Credentials):
            self.inconclusive(credentials, "nobody waits for it", sent=False)

    def accepted(self, credentials: Credentials, target: str = "") -> None:
        """Record that the response to a request proves that its login was accepted.

        Need not be called while `Credentials.is_recently_accepted`; it is so for longer if it is.

        Args:
            answer: What the request carried.
            target: Where it went, ``github.com:443``; empty if no target was named yet.
        """
        name = scheme_id(credentials.scheme)
        self._handle(
            LoginAccepted(credentials.login_id, name, credentials.label, target, credentials.permit)
        )
        if self._machine.is_proved(credentials.login_id):
            credentials.acceptance.refresh(self._loop, self._limits.proof_ttl)

    def unproved(self, credentials: Credentials, target: str, *, is_doubtful: bool) -> None:
        """Record that the response to a request does not tell whether its login is right.

        Args:
            answer: What the request carried.
            target: Where it went, ``github.com:443``.
            is_doubtful: A proxy may give this response to a wrong login as well.
        """
        if not credentials.is_recently_accepted:
            _log.info(
                "profile %s: a sign-in could not be checked yet", credentials.upstream_id.profile_id
            )
            self._handle(
                LoginUnproved(credentials.login_id, target, is_doubtful, credentials.permit)
            )

    def inconclusive(self, credentials: Credentials, reason: str, *, sent: bool = True) -> None:
        """Take note that a request with this answer got no response at all.

        One that never carried the login need not be reported, unless the desk has let it go
        (`Credentials.permit`).

        Args:
            answer: What it carried.
            why: For the log: a network error, a time-out, a client that left.
            sent: Whether the login may have arrived, and have cost a log-on.
        """
        if sent or not credentials.is_recently_accepted:
            _log.info(
                "profile %s: a sign-in was not checked: %s",
                credentials.upstream_id.profile_id,
                reason,
            )
            self._handle(NoResponse(credentials.login_id, sent, credentials.permit))

    def overdue(self, credentials: Credentials, count: int) -> None:
        """Record that an upstream has answered no request at all for a moment.

        The login is not taken for proved any more: from here one request at a time carries it.

        Args:
            answer: What a request carries that waits for its answer.
            count: How many requests with this login wait.
        """
        if credentials.login is not None and not credentials.permit:
            self._handle(UpstreamSilent(credentials.login_id, count))

    # --- For faces ---------------------------------------------------------------------------

    def prompts(self) -> tuple[Prompt, ...]:
        """Return the open questions, the oldest first."""
        found = map(self._machine.prompt, self._machine.prompt_numbers())
        return tuple(prompt for prompt in found if prompt)

    def answer_prompt(self, number: int, login: Login, remember: bool) -> Problem | None:
        """Take what a person typed.

        Args:
            number: Of the question.
            login: The user name and the password.
            remember: Keep it in the keyring once it was accepted.

        Returns:
            Why it cannot be taken; None if it is being tried, or will be by the next request.
        """
        prompt = self._machine.prompt(number)
        if prompt is None:
            return prompt_gone()
        problem = self._reader.check_login(login, prompt.upstream, prompt.method)
        if problem is None:
            self._handle(PromptAnswered(number, login, remember))
        return problem

    def decline_prompt(self, number: int, snooze: Snooze) -> None:
        """Take a person's *Cancel* or *Not now*."""
        self._handle(PromptDeclined(number, snooze))

    def keep_prompt_open(self, number: int) -> None:
        """Take note that a person has begun to answer: the question does not close by itself."""
        self._handle(PromptTouched(number))

    def sign_in_now(self, profile: Profile) -> Problem | None:
        """Open the question of a profile although nothing waits.

        Returns:
            Why it cannot be opened, None if it is open.
        """
        if profile.sign_in is SignIn.NONE:
            return sign_in_disabled(profile).problem
        if not self._front_ends and profile.sign_in is SignIn.PASSWORD:
            return no_front_end(profile)
        self._handle(SignInRequested(profile, self._reader.guess_method(profile)))
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
        return self._use_login(profile, login, remember=False, is_proved=is_proved)

    def _use_login(
        self,
        profile: Profile,
        login: Login,
        *,
        remember: bool,
        insists: bool = False,
        is_proved: bool = False,
    ) -> Problem | None:
        if profile.sign_in is SignIn.SSO:
            return password_not_used(profile)
        problem = self._reader.check_login(login, str(profile.upstream))
        if problem is None:
            method = self._reader.guess_method(profile)
            self._handle(LoginProvided(profile, method, login, remember, insists, is_proved))
        return problem

    def save_login(
        self, profile: Profile, login: Login, *, is_typed: bool = False
    ) -> Future[Problem | None]:
        """Keep a login in the keyring, and use it for the next request.

        It is kept once the upstream has accepted it, which is found out at once. If that cannot be
        (`send_own_request` is None), it is kept unchecked.

        Args:
            profile: Whose login.
            login: The login.
            is_typed: A person has just typed it: it is sent whatever is known about it.

        Returns:
            Why it was not kept, None if it was. One that could not be checked is kept once a
            request is accepted with it.
        """
        remember = self._send_own_request is not None
        problem = self._use_login(profile, login, remember=remember, insists=is_typed)
        if problem is None and self._send_own_request is None:
            return self._save(profile, login)
        reported: Future[Problem | None] = self._loop.create_future()
        if problem:
            reported.set_result(problem)
        else:
            upstream_id = UpstreamId.of(profile)
            self._saves[upstream_id] = (self._machine.generation(upstream_id), reported)
            self._report_unsaved()
        return reported

    def _report_unsaved(self) -> None:
        """Tell who waits for a login to be kept, as soon as it will not be."""
        for upstream_id, (generation, reported) in list(self._saves.items()):
            match self._machine.trial_state(upstream_id, generation):
                case TrialState.UNDER_WAY | TrialState.ACCEPTED:
                    continue  # A right one is being saved.
                case TrialState.REJECTED:
                    problem = not_accepted()
                case TrialState.UNSENT:
                    problem = rejected_before()
                case TrialState.UNKNOWN:
                    problem = not_checked()
                case TrialState.UNRECORDED:
                    problem = unrecorded()
            del self._saves[upstream_id]
            if not reported.done():
                reported.set_result(problem)

    def forget(self, profile: Profile) -> Future[Problem | None]:
        """Remove a profile's saved logins, and forget what is in memory.

        Returns:
            Why one could not be removed, None if all were.
        """
        self._handle(LoginsForgotten(profile.id))
        each = (profile.with_only(str(upstream)) for upstream in profile.upstreams)
        return self._when_written(*map(self._store.forget, each))

    def set_front_end_count(self, count: int) -> None:
        """Take note of how many faces can put a question to a person.

        Without any, requests are told at once that a sign-in is needed, when the keyring had
        nothing to offer; if the last face has just gone, only some time later.
        """
        self._front_ends = count
        self._handle(FrontEndsChanged(count))

    def facts(self, profile_id: str) -> ProfileFacts:
        """Return what is known about the sign-in of a profile.

        `ProfileFacts.snoozed_until` is in seconds since the epoch here; None also if the quiet time
        ends only when the person acts.
        """
        facts = self._machine.facts(profile_id)
        if facts.snoozed_until is None:
            return facts
        return replace(facts, snoozed_until=self._to_epoch(facts.snoozed_until))

    def _to_epoch(self, until: float) -> float | None:
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

    def screen_locked(self, is_locked: bool) -> None:
        """Take note of the screen: while it is locked, no question opens."""
        self._handle(ScreenLocked(is_locked))

    @property
    def send_own_request(self) -> SendOwnRequestFunction | None:
        """How to send a request of our own; None if nothing can."""
        return self._send_own_request

    @send_own_request.setter
    def send_own_request(self, send: SendOwnRequestFunction | None) -> None:
        self._send_own_request = send
        self._machine.state.can_send_own = send is not None

    def close(self) -> None:
        """Withdraw all questions and refuse all requests; the service quits."""
        for profile_id in self._machine.profile_ids():
            self._handle(ProfileDeleted(profile_id, for_good=False))
        for lookup in self._lookups:
            lookup.cancel()
        for request in self._own_requests:
            request.cancel()
        self._feed.close()
        self._history.close()
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
        self._report_unsaved()
        self._feed.publish_soon(self.notices)

    def _client_left(self, number: int) -> None:
        if self._parked.pop(number, None) or self._departing.pop(number, None):
            self._handle(ClientLeft(number))

    def _keyring_surveyed(self, keyring: KeyringStatus) -> None:
        self._handle(KeyringSurveyed(keyring))

    def _set_alarm(self) -> None:
        """Wake up at the machine's deadline; an alarm that is set too early costs one tick."""
        deadline = self._machine.deadline()
        if deadline >= self._alarm_at:
            return
        if self._alarm:
            self._alarm.cancel()
        self._alarm_at = deadline
        self._alarm = self._loop.call_later(max(0.0, deadline - self._clock()), self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm, self._alarm_at = None, inf
        self._handle(TimePassed())

    # --- Effects -----------------------------------------------------------------------------

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case ReleaseRequest(number, login_id, scheme):
                self._release(number, login_id, scheme)
            case GrantPermit(number, permit):
                future, credentials = self._departing.pop(number)
                future.set_result(replace(credentials, permit=permit) if permit else credentials)
            case DenyPermit(number):
                self._departing.pop(number)[0].set_result(None)
            case SendWithoutLogin(number):
                self._parked.pop(number).future.set_result(None)
            case RefuseRequest(number, reason, text):
                parked = self._parked.pop(number)
                parked.future.set_result(refusal(reason, parked.profile, text))
            case SendOwnRequest():
                self._start_own_request(effect)
            case RecordTrial():
                self._record_trial(effect)
            case NotifyPromptChanged(number):
                self._feed.prompt_changed(number)
            case NotifyPromptClosed(number, ending):
                self._feed.prompt_closed(number, ending)
            case SaveUserName(profile_id, user):
                if self.on_user_name is not None:
                    self.on_user_name(profile_id, user)
            case LookUpLogin() | SurveyKeyring() | SaveLoginToKeyring():
                self._access_keyring(effect)
            case (
                RecordRejection()
                | ClearRejection()
                | CancelTrial()
                | RecordFingerprint()
                | ClearHistory()
            ):
                self._update_history(effect)

    def _access_keyring(self, effect: LookUpLogin | SurveyKeyring | SaveLoginToKeyring) -> None:
        match effect:
            case LookUpLogin(lookup, profile, user):
                result = self._store.find(profile, user)
                self._on_result(
                    result, partial(self._lookup_finished, lookup, UpstreamId.of(profile))
                )
            case SurveyKeyring():
                self._on_result(self._store.survey(), self._keyring_surveyed)
            case SaveLoginToKeyring(profile, login):
                self._report_saved(self._save(profile, login), profile)

    def _update_history(
        self,
        effect: RecordRejection | ClearRejection | CancelTrial | RecordFingerprint | ClearHistory,
    ) -> None:
        match effect:
            case RecordRejection(upstream_id, login):
                self._history.record_rejection(upstream_id, login)
            case ClearRejection(upstream_id, login):
                self._history.record_acceptance(upstream_id, login)
            case CancelTrial(upstream_id, login):
                self._history.cancel_trial(upstream_id, login)
            case RecordFingerprint(upstream_id, fingerprint):
                self._history.set_fingerprint(upstream_id, fingerprint)
            case ClearHistory(profile_id):
                self._history.forget_profile(profile_id)

    def _record_trial(self, effect: RecordTrial) -> None:
        number, upstream_id, login = effect.number, effect.upstream_id, effect.login

        def report(record: HistoryRecord) -> None:
            self._handle(
                TrialRecorded(number, upstream_id, login, record.is_rejected, record.hold_s)
            )

        recorded = self._history.begin_trial(
            upstream_id, login, insists=effect.retry_rejected, is_saved=effect.is_saved
        )
        if recorded.done():
            report(recorded.result())
        else:
            self._on_result(recorded, report)

    def _report_saved(self, saved: Future[Problem | None], profile: Profile) -> None:
        """Tell who waits for this login to be kept."""
        _, reported = self._saves.pop(UpstreamId.of(profile), (0, None))

        def report(done: Future[Problem | None]) -> None:
            if reported and not reported.done():
                reported.set_result(done.result())

        saved.add_done_callback(report)

    def _release(self, number: int, login_id: LoginId, scheme: str) -> None:
        """Give a request its answer; a scheme that cannot make one is one that cannot be used."""
        parked = self._parked[number]
        found = next(offer for offer in parked.offers if scheme_id(offer.scheme) == scheme)
        offer = self._reader.with_current_scheme(self._machine.profile(parked.profile), found)
        try:
            credentials = self._credentials_for(offer, login_id, parked.offers)
        except LoginError as error:
            self._loop.call_soon(self._scheme_failed, number, login_id, offer, str(error))
            return
        del self._parked[number]
        if not self._machine.is_trusted(login_id):
            credentials = replace(credentials, permit=number)
        parked.future.set_result(
            replace(credentials, has_changed_realm=True) if parked.changes_realm else credentials
        )

    def _scheme_failed(self, number: int, login_id: LoginId, offer: Offer, reason: str) -> None:
        parked = self._parked.get(number)
        verdict = Verdict(VerdictKind.UNUSABLE, reason)
        if parked is None:
            self._handle(NoResponse(login_id, was_sent=False, permit=number))
            return
        self._handle(
            RequestChallenged(
                number,
                login_id.space,
                parked.profile,
                offered_schemes(parked.offers, login_id.space.upstream_id),
                parked.pending.target,
                TriedLogin(login_id, scheme_id(offer.scheme), verdict, permit=number),
                parked.pending.program,
                parked.pending.is_own,
                parked.pending.refused_with,
            )
        )

    def _credentials_for(
        self, offer: Offer, login_id: LoginId, offers: tuple[Offer, ...]
    ) -> Credentials:
        """Return the one answer for a login and a way, so that requests share what it counts."""
        method = (scheme_id(offer.scheme), offer.label)
        credentials = self._credentials.get((login_id.space, method))
        if (
            credentials is None
            or credentials.login_id != login_id
            or credentials.scheme is not offer.scheme
        ):
            login = self._machine.login(login_id)
            host = urlsplit(login_id.space.upstream_id.upstream).hostname or ""
            signer = offer.scheme.signer(offer.challenge, login, host)
            credentials = Credentials(
                login_id, login, offer.scheme, offer.challenge, signer, AcceptanceRecord(), offers
            )
            self._credentials[login_id.space, method] = credentials
        return credentials

    def _refresh_known(self) -> None:
        for key, credentials in list(self._credentials.items()):
            if not self._machine.is_proved(credentials.login_id):
                credentials.acceptance.is_recent = False
            if not self._machine.is_current(credentials.login_id):
                del self._credentials[key]
        trusted = self._machine.trusted_logins()
        answers = (
            (
                upstream_id,
                self._credentials.get((login_id.space, self._machine.login_scheme(login_id))),
            )
            for upstream_id, login_id in trusted.items()
        )
        self._known = {
            upstream_id: credentials for upstream_id, credentials in answers if credentials
        }

    # --- Requests of our own -----------------------------------------------------------------

    def _start_own_request(self, effect: SendOwnRequest) -> None:
        assert self._send_own_request is not None
        task = ensure_future(self._send_own_request(effect.profile, effect.target), loop=self._loop)
        self._own_requests.add(task)
        task.add_done_callback(partial(self._own_request_ended, effect))

    def _own_request_ended(self, effect: SendOwnRequest, task: Future[bool]) -> None:
        self._own_requests.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error:
            _log.info(
                "profile %s: a request of our own failed: %s",
                effect.profile.id,
                type(error).__name__,
            )
        self._handle(
            OwnRequestEnded(effect.number, was_challenged=error is not None or task.result())
        )

    # --- The keyring -------------------------------------------------------------------------

    def _lookup_finished(self, lookup: int, upstream_id: UpstreamId, result: LookupResult) -> None:
        login = result.login
        if login is None or self._reader.check_login(login, upstream_id.upstream) is not None:
            self._handle(LookupFinished(lookup, None, result.keyring))
            return

        self._handle(LookupFinished(lookup, login, result.keyring))

    def _save(self, profile: Profile, login: Login) -> Future[Problem | None]:
        """As `_when_written`; what cannot be saved stays in memory, and the person is told so."""
        saved: ThreadFuture[Problem | None] = ThreadFuture()

        def report(done: ThreadFuture[Problem | None]) -> None:
            problem = done.result()
            saved.set_result(kept_in_memory(problem) if problem else None)

        self._store.save(profile, login).add_done_callback(report)
        written = self._when_written(saved)
        written.add_done_callback(partial(self._note_saved, profile.id))
        return written

    def _note_saved(self, profile_id: str, written: Future[Problem | None]) -> None:
        if not written.cancelled() and written.result() is None:
            self._handle(LoginSaved(profile_id))

    def _when_written(self, *writes: ThreadFuture[Problem | None]) -> Future[Problem | None]:
        """Return when the keyring has been written to, and keep what went wrong as a notice.

        A keyring that does not answer is a problem after a while, until it does.
        """
        written: Future[Problem | None] = self._loop.create_future()
        results: list[Problem | None] = []

        def on_result(result: Problem | None) -> None:
            results.append(result)
            if len(results) < len(writes):
                return
            timeout.cancel()
            report(next(filter(None, results), None))

        def report(problem: Problem | None) -> None:
            self._notices = (problem,) if problem else ()
            self._feed.publish_soon(self.notices)
            if not written.done():
                written.set_result(problem)

        not_answering = keyring_silent(self.keyring.name)
        timeout = self._loop.call_later(self._limits.lookup_timeout, report, not_answering)
        for write in writes:
            self._on_result(write, on_result)
        return written

    def _on_result(self, result: ThreadFuture[T], callback: Callable[[T], None]) -> None:
        """Use the result of another thread in ours, when it is there."""
        in_loop = self._threadsafe(callback)
        result.add_done_callback(lambda done: in_loop(done.result()))

    def _threadsafe(self, callback: Callable[[T], None]) -> Callable[[T], None]:
        def from_any_thread(value: T) -> None:
            with suppress(RuntimeError):  # The loop is closed: nobody needs it any more.
                self._loop.call_soon_threadsafe(callback, value)

        return from_any_thread

    # --- Who waits ---------------------------------------------------------------------------

    def _identify_programs(self, number: int) -> None:
        for pending in self._machine.unidentified_requests(number):
            parked = self._parked[pending]
            if self.identify_program is None or parked.is_identified or parked.pending.program:
                continue
            parked.is_identified = True
            lookup = ensure_future(self.identify_program(parked.pending), loop=self._loop)
            self._lookups.add(lookup)
            lookup.add_done_callback(partial(self._program_identified, pending))

    def _program_identified(self, pending: int, lookup: Future[Program | None]) -> None:
        self._lookups.discard(lookup)
        if lookup.cancelled():
            return
        if error := lookup.exception():
            _log.debug("cannot tell which program waits: %s", type(error).__name__)
        elif program := lookup.result():
            if parked := self._parked.get(pending):
                parked.pending.program = program
            self._handle(ProgramIdentified(pending, program))
