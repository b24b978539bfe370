"""The sign-in desk on an event loop.

`Desk` translates calls into events for `trayproxy.desk.machine.machine`, and carries out the
machine's effects: it completes futures, calls the keyring store, sets timers and publishes changes
to the front ends. All decisions are the machine's.

All methods must be called from the event loop's thread.
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
from trayproxy.auth.scheme import Offer, Scheme, Verdict, VerdictKind, is_password_unchecked
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
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import KeyringStatus, Program, Prompt, Snooze
from trayproxy.http.challenges import Challenge
from trayproxy.profiles.profile import Profile, SignIn

_log = getLogger(__name__)

T = TypeVar("T")

MAX_REALM_MISMATCHES = 4
"""The number of 407s of another realm after which a request's login is moved to that realm."""

IdentifyProgram = Callable[[PendingRequest], Awaitable[Program | None]]
"""Identifies the program that sent a request; called only for requests that a prompt names."""

SendOwnRequestFunction = Callable[[Profile, str], Coroutine[None, None, bool]]
"""Sends a request of TrayProxy's own to the only upstream of a profile, to verify a login.

The request is sent like a program's, first without a login, to the named target
(``github.com:443``), or to a target of the function's choice if the name is empty.
`PendingRequest.is_own` is True. Returns False if the upstream forwarded the request without asking
for a login.
"""


@dataclass(slots=True)
class _Parked:
    """A request that is parked: it waits for credentials."""

    future: CredentialsFuture
    pending: PendingRequest
    profile: Profile
    offers: tuple[Offer, ...]
    tried: Credentials | None
    changes_realm: bool
    is_identified: bool = False


class Desk:
    """The logins of this run, and the prompts for them.

    Attributes:
        identify_program: Identifies the program of a waiting request; None if this is not possible.
        rejected: Logins that must never be sent automatically.
        addresses_of: Returns the addresses of an upstream's URL, as far as they are known.
        on_user_name: Called with the profile's id and the user name of an accepted login, which the
            profile keeps; None if user names are not kept.
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
        """Create the desk.

        Args:
            store: Where logins are saved.
            listener: Receives changes of prompts and facts.
            loop: The event loop; only its thread calls the desk.
            clock: Returns seconds on a monotonic clock; the loop's clock if None.
            schemes: The HTTP authentication schemes, the strongest first.
            limits: Times and limits.
            rejected: Logins rejected before.
            identify_program: Identifies the program of a waiting request.
            history: The records of earlier runs; None: there are none, and this run writes none.
            is_installed: Returns True if the library for a family of schemes is installed.
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
        self._permit_requests: dict[int, tuple[CredentialsFuture, Credentials]] = {}
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

    # --- trayproxy.desk.broker.CredentialBroker ----------------------------------------------

    def known(self, upstream_id: UpstreamId) -> Credentials | None:
        """Return the credentials to send before this upstream asks, None if there are none.

        See `CredentialBroker.known`.
        """
        return self._known.get(upstream_id)

    def may_preconnect(self, credentials: Credentials) -> bool:
        """Return whether these credentials may be sent without a client's request.

        See `CredentialBroker.may_preconnect`.
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
        """Park a request after a 407. See `CredentialBroker.challenged`."""
        self._last_number += 1
        number = self._last_number
        future = CredentialsFuture(self._loop, partial(self._client_left, number))
        profile = self._machine.profile(profile)
        offers = self._reader.read_offers(challenges, upstream_id, profile)
        is_another_method = tried is not None and not is_offered_again(tried, challenges)
        if not offers and tried and tried.upstream_id == upstream_id and not is_another_method:
            # A response with a verdict may contain nothing else (a 401, the last leg of a
            # handshake): the offers are those of the credentials then.
            offers = () if verdict and is_password_unchecked(verdict) else tried.offers
        elif not offers:
            if tried:
                self.no_response(tried, "the proxy offers no usable scheme", sent=False)
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
            # A scheme that failed before it sent a login may be tried again, unless the upstream
            # now wants another scheme instead.
            if tried and (
                not is_password_unchecked(verdict) or (is_another_method and not changes_realm)
            ):
                pending.refused_with |= {
                    (tried.login_id, f"{scheme_id(tried.scheme)} {tried.label}")
                }
            # The login is moved to the other realm at once if the attempt may have cost a log-on.
            # Otherwise several attempts may be needed: behind a load balancer, a connection may
            # lead to another proxy than the one that sent the challenge.
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
        """Return the addresses of an upstream, after storing them in the history."""
        addresses = self.addresses_of(upstream_id.upstream)
        if addresses:
            self._history.set_addresses(upstream_id, addresses)
        return addresses

    def request_permit(self, credentials: Credentials, target: str) -> Future[Outcome]:
        """Request a send permit for a login that is not proved.

        See `CredentialBroker.request_permit`.
        """
        self._last_number += 1
        number = self._last_number
        future = CredentialsFuture(self._loop, partial(self._client_left, number))
        self._permit_requests[number] = (future, credentials)
        self._handle(PermitRequested(number, credentials.login_id, target))
        return future

    def withdraw(self, future: Future[Outcome]) -> None:
        """Withdraw a waiting request, for example because its client has left.

        See `CredentialBroker.withdraw`.
        """
        if future.cancel() or future.cancelled():
            return
        if isinstance(credentials := future.result(), Credentials):
            self.no_response(credentials, "the request was withdrawn", sent=False)

    def accepted(self, credentials: Credentials, target: str = "") -> None:
        """Record that a request's login was accepted, as its response proves.

        See `CredentialBroker.accepted`.
        """
        name = scheme_id(credentials.scheme)
        self._handle(
            LoginAccepted(credentials.login_id, name, credentials.label, target, credentials.permit)
        )
        if self._machine.is_proved(credentials.login_id):
            credentials.acceptance.refresh(self._loop, self._limits.proof_ttl)

    def unproved(self, credentials: Credentials, target: str, *, is_doubtful: bool) -> None:
        """Record a response that does not tell whether the request's login is right.

        See `CredentialBroker.unproved`.
        """
        if not credentials.is_recently_accepted:
            _log.info(
                "profile %s: a sign-in could not be checked yet", credentials.upstream_id.profile_id
            )
            self._handle(
                LoginUnproved(credentials.login_id, target, is_doubtful, credentials.permit)
            )

    def no_response(self, credentials: Credentials, reason: str, *, sent: bool = True) -> None:
        """Record that a request with these credentials received no response.

        See `CredentialBroker.no_response`.
        """
        if sent or not credentials.is_recently_accepted:
            _log.info(
                "profile %s: a sign-in was not checked: %s",
                credentials.upstream_id.profile_id,
                reason,
            )
            self._handle(NoResponse(credentials.login_id, sent, credentials.permit))

    def upstream_silent(self, credentials: Credentials, count: int) -> None:
        """Record an upstream's silence: it has answered no request for a moment.

        See `CredentialBroker.upstream_silent`.
        """
        if credentials.login is not None and not credentials.permit:
            self._handle(UpstreamSilent(credentials.login_id, count))

    # --- For the front ends ------------------------------------------------------------------

    def prompts(self) -> tuple[Prompt, ...]:
        """Return the open prompts, the oldest first."""
        found = map(self._machine.prompt, self._machine.prompt_numbers())
        return tuple(prompt for prompt in found if prompt)

    def answer_prompt(self, number: int, login: Login, remember: bool) -> Problem | None:
        """Try a login typed in a prompt.

        Args:
            number: The number of the prompt.
            login: The user name and the password.
            remember: True to save the login in the keyring once it was accepted.

        Returns:
            Why the login cannot be used; None if it is being tried, or will be by the next request.
        """
        prompt = self._machine.prompt(number)
        if prompt is None:
            return prompt_gone()
        problem = self._reader.check_login(login, prompt.upstream, prompt.method)
        if problem is None:
            self._handle(PromptAnswered(number, login, remember))
        return problem

    def decline_prompt(self, number: int, snooze: Snooze) -> None:
        """Close a prompt after *Cancel* or *Not now*."""
        self._handle(PromptDeclined(number, snooze))

    def keep_prompt_open(self, number: int) -> None:
        """Keep a prompt open, because the user has begun to type."""
        self._handle(PromptTouched(number))

    def sign_in_now(self, profile: Profile) -> Problem | None:
        """Open the prompt of a profile although no request waits.

        Returns:
            Why the prompt cannot be opened, None if it is open.
        """
        if profile.sign_in is SignIn.NONE:
            return sign_in_disabled(profile).problem
        if not self._front_ends and profile.sign_in is SignIn.PASSWORD:
            return no_front_end(profile)
        self._handle(SignInRequested(profile, self._reader.guess_method(profile)))
        return None

    def preload(self, profile: Profile, login: Login, *, is_proved: bool = False) -> Problem | None:
        """Set a login without a prompt. It is used for the next 407 and not saved.

        Args:
            profile: The profile of the login.
            login: The login.
            is_proved: True if the upstream has just accepted the login on a request of another
                desk; the profile then keeps the user name.

        Returns:
            Why the login cannot be used, None if it will be.
        """
        return self._use_login(profile, login, remember=False, is_proved=is_proved)

    def _use_login(
        self,
        profile: Profile,
        login: Login,
        *,
        remember: bool,
        retry_rejected: bool = False,
        is_proved: bool = False,
    ) -> Problem | None:
        if profile.sign_in is SignIn.SSO:
            return password_not_used(profile)
        problem = self._reader.check_login(login, str(profile.upstream))
        if problem is None:
            method = self._reader.guess_method(profile)
            self._handle(LoginProvided(profile, method, login, remember, retry_rejected, is_proved))
        return problem

    def save_login(
        self, profile: Profile, login: Login, *, is_typed: bool = False
    ) -> Future[Problem | None]:
        """Save a login in the keyring, and use it for the next request.

        The login is saved once the upstream has accepted it, which is verified at once. If it
        cannot be verified (`send_own_request` is None), it is saved unverified.

        Args:
            profile: The profile of the login.
            login: The login.
            is_typed: True if a user has just typed the login: it is sent regardless of any record.

        Returns:
            Why the login was not saved, None if it was. An unverified login is saved once a request
            with it is accepted.
        """
        remember = self._send_own_request is not None
        problem = self._use_login(profile, login, remember=remember, retry_rejected=is_typed)
        if problem is None and self._send_own_request is None:
            return self._save(profile, login)
        future: Future[Problem | None] = self._loop.create_future()
        if problem:
            future.set_result(problem)
        else:
            upstream_id = UpstreamId.of(profile)
            self._saves[upstream_id] = (self._machine.generation(upstream_id), future)
            self._report_unsaved()
        return future

    def _report_unsaved(self) -> None:
        """Complete the futures of `save_login` for logins that will not be saved."""
        for upstream_id, (generation, future) in list(self._saves.items()):
            match self._machine.trial_state(upstream_id, generation):
                case TrialState.UNDER_WAY | TrialState.ACCEPTED:
                    continue  # A right login is being saved.
                case TrialState.REJECTED:
                    problem = not_accepted()
                case TrialState.UNSENT:
                    problem = rejected_before()
                case TrialState.UNKNOWN:
                    changed = self._machine.changed_upstream(upstream_id)
                    problem = (
                        problem_of(changed.reason, changed.profile, changed.text)
                        if changed
                        else not_checked()
                    )
                case TrialState.UNRECORDED:
                    problem = unrecorded()
            del self._saves[upstream_id]
            if not future.done():
                future.set_result(problem)

    def forget(self, profile: Profile) -> Future[Problem | None]:
        """Remove a profile's logins from the keyring and from memory.

        Returns:
            Why a login could not be removed, None if all were.
        """
        self._handle(LoginsForgotten(profile.id))
        each = (profile.with_only(str(upstream)) for upstream in profile.upstreams)
        return self._when_written(*map(self._store.forget, each))

    def set_front_end_count(self, count: int) -> None:
        """Set how many front ends can prompt the user.

        Without a front end, a request is refused as soon as the keyring has no login for it; if the
        last front end has just disconnected, only some time later.
        """
        self._front_ends = count
        self._handle(FrontEndsChanged(count))

    def facts(self, profile_id: str) -> ProfileFacts:
        """Return the sign-in state of a profile.

        `ProfileFacts.snoozed_until` is in seconds since the epoch here; None also if the snooze
        ends only when the user acts.
        """
        facts = self._machine.facts(profile_id)
        if facts.snoozed_until is None:
            return facts
        return replace(facts, snoozed_until=self._to_epoch(facts.snoozed_until))

    def _to_epoch(self, until: float) -> float | None:
        """Convert the end of a snooze to seconds since the epoch.

        Each end is converted once: the clocks drift, and repeated conversions would look like
        changes.
        """
        if until == inf:
            return None
        if self._snooze[0] != until:
            self._snooze = (until, time() + until - self._clock())
        return self._snooze[1]

    @property
    def keyring(self) -> KeyringStatus:
        """The keyring's name and state, as far as they are known."""
        return self._machine.keyring

    @property
    def notices(self) -> tuple[Problem, ...]:
        """Problems for the user: a login was not saved, or the own sign-in cannot be used."""
        troubles = self._machine.troubles(is_unattended=self._front_ends == 0)
        return (
            *self._notices,
            *self._machine.no_common_scheme(),
            *(problem_of(t.reason, t.profile, t.text) for t in troubles),
        )

    # --- For the service ---------------------------------------------------------------------

    def profile_switched(self, profile: Profile | None) -> None:
        """Set the active profile. Only the saved login of the active profile is read."""
        self._handle(ProfileSwitched(profile))

    def profile_changed(self, profile: Profile) -> None:
        """Update a new or edited profile.

        If the profile has lost an upstream, its waiting requests are refused with a request to
        retry.
        """
        self._handle(ProfileEdited(profile))

    def profile_deleted(self, profile_id: str) -> None:
        """Remove a deleted profile."""
        self._handle(ProfileDeleted(profile_id))

    def network_changed(self) -> None:
        """End all snoozes of *Not now* after a change of the network or a wake-up."""
        self._handle(NetworkChanged())

    def screen_locked(self, is_locked: bool) -> None:
        """Record whether the screen is locked: no prompt opens while it is."""
        self._handle(ScreenLocked(is_locked))

    @property
    def send_own_request(self) -> SendOwnRequestFunction | None:
        """Sends a request of TrayProxy's own; None if this is not possible."""
        return self._send_own_request

    @send_own_request.setter
    def send_own_request(self, send: SendOwnRequestFunction | None) -> None:
        self._send_own_request = send
        self._machine.state.can_send_own = send is not None

    def close(self) -> None:
        """Withdraw all prompts and refuse all waiting requests; the service quits."""
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
            return  # An effect that is being carried out has caused the event: finish it first.
        while self._events:
            for effect in self._machine.handle(self._clock(), self._events[0]):
                self._carry_out(effect)
            del self._events[0]
        self._refresh_known()
        self._set_alarm()
        self._report_unsaved()
        self._feed.publish_soon(self.notices)

    def _client_left(self, number: int) -> None:
        if self._parked.pop(number, None) or self._permit_requests.pop(number, None):
            self._handle(ClientLeft(number))

    def _keyring_surveyed(self, keyring: KeyringStatus) -> None:
        self._handle(KeyringSurveyed(keyring))

    def _set_alarm(self) -> None:
        """Set a timer for the machine's deadline; firing too early costs a single tick."""
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
                future, credentials = self._permit_requests.pop(number)
                future.set_result(replace(credentials, permit=permit) if permit else credentials)
            case DenyPermit(number):
                self._permit_requests.pop(number)[0].set_result(None)
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
            upstream_id,
            login,
            retry_rejected=effect.retry_rejected,
            is_automatic=effect.is_automatic,
        )
        if recorded.done():
            report(recorded.result())
        else:
            self._on_result(recorded, report)

    def _report_saved(self, saved: Future[Problem | None], profile: Profile) -> None:
        """Complete the future of `save_login` once the login is saved."""
        _, future = self._saves.pop(UpstreamId.of(profile), (0, None))

        def report(done: Future[Problem | None]) -> None:
            if future and not future.done():
                future.set_result(done.result())

        saved.add_done_callback(report)

    def _release(self, number: int, login_id: LoginId, scheme: str) -> None:
        """Release a request with credentials, or report an error of the scheme."""
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
        """Return the credentials for a login and a scheme.

        Requests with the same login and scheme share the object, and with it the signer's counters.
        """
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
        candidates = (
            (
                upstream_id,
                self._credentials.get((login_id.space, self._machine.login_scheme(login_id))),
            )
            for upstream_id, login_id in trusted.items()
        )
        self._known = {
            upstream_id: credentials for upstream_id, credentials in candidates if credentials
        }

    # --- Own requests ------------------------------------------------------------------------

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
                "profile %s: an own request failed: %s",
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
        """Save a login. If it cannot be saved, it stays in memory, and the problem says so."""
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
        """Return a future of the keyring's writes; keep the first failure as a notice.

        A late keyring is a problem until it answers.
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
        """Call a function in the event loop with the result of another thread."""
        in_loop = self._threadsafe(callback)
        result.add_done_callback(lambda done: in_loop(done.result()))

    def _threadsafe(self, callback: Callable[[T], None]) -> Callable[[T], None]:
        def from_any_thread(value: T) -> None:
            with suppress(RuntimeError):  # The loop is closed: the result is not needed.
                self._loop.call_soon_threadsafe(callback, value)

        return from_any_thread

    # --- Programs of waiting requests --------------------------------------------------------

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
            _log.debug("cannot identify the waiting program: %s", type(error).__name__)
        elif program := lookup.result():
            if parked := self._parked.get(pending):
                parked.pending.program = program
            self._handle(ProgramIdentified(pending, program))
