"""The sign-in desk on an event loop.

`Desk` translates calls into events for `trayproxy.desk.machine.machine`, and carries out the
machine's effects: it completes futures, calls the keyring store, sets timers and publishes changes
to the front ends. All decisions are the machine's.

All methods must be called from the event loop's thread.
"""

from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf

from trayproxy.auth.basic import Basic
from trayproxy.auth.login import Login
from trayproxy.auth.scheme import Scheme
from trayproxy.desk.challenge_reader import ChallengeReader
from trayproxy.desk.credential_store import CredentialStore
from trayproxy.desk.desk_broker import DeskBroker, IdentifyProgram, RequestEffect
from trayproxy.desk.history import History, HistoryChange, HistoryRecord, NullHistory
from trayproxy.desk.keyring_io import KeyringEffect, KeyringIo
from trayproxy.desk.machine import events
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.machine.machine import Machine
from trayproxy.desk.machine.queries import ProfileFacts
from trayproxy.desk.machine_loop import MachineLoop
from trayproxy.desk.own_requests import OwnRequestTasks, SendOwnRequestFunction
from trayproxy.desk.problems import PROMPT_CLOSED, password_not_used, problem_of, sign_in_disabled
from trayproxy.desk.prompt_feed import ChangeListener, PromptFeed
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import KeyringStatus, Prompt, RefusalReason, Snooze
from trayproxy.profiles.profile import Profile, SignIn


class Desk:
    """The logins of this run, and the prompts for them.

    Attributes:
        broker: The waiting requests, for the engine.
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
        identify_program: IdentifyProgram | None = None,
        history: History | None = None,
        owns_history: bool = True,
        is_installed: Callable[[str], bool] = lambda family: True,
    ) -> None:
        """Create the desk.

        Args:
            store: Where logins are saved.
            listener: Receives changes of prompts and facts.
            loop: The event loop.
            clock: Returns seconds on a monotonic clock; the loop's clock if None.
            schemes: The HTTP authentication schemes, the strongest first.
            limits: Times and limits.
            identify_program: Identifies the program of a waiting request.
            history: The records of this run and of earlier runs; None: there are none of earlier
                runs, and this run writes none.
            owns_history: True to close the history together with the desk.
            is_installed: Returns True if the library for a family of schemes is installed.
        """
        limits = limits or DeskLimits()
        self.on_user_name: Callable[[str, str], None] | None = None
        self._front_ends = 0
        self._history = history = history or NullHistory()
        self._close_history = history.close if owns_history else lambda: None
        self._machine = Machine(limits, history.rejected, history.fingerprints)
        self._machine_loop = machine_loop = MachineLoop(
            self._machine, loop, clock or loop.time, self._carry_out, self._settle
        )
        self._handle = machine_loop.handle
        self._reader = reader = ChallengeReader(schemes, is_installed)
        self.broker = DeskBroker(loop, machine_loop, reader, history, limits.proof_ttl)
        self.broker.identify_program = identify_program
        self._feed = PromptFeed(self._machine, listener, loop, self.broker.identify_programs)
        self._keyring = KeyringIo(
            store, loop, machine_loop, reader, limits.lookup_timeout, self._feed.publish_soon
        )
        self._own_requests = OwnRequestTasks(loop, machine_loop.handle)

    # --- For the front ends ------------------------------------------------------------------

    def prompts(self) -> tuple[Prompt, ...]:
        """Return the open prompts, the oldest first."""
        found = map(self._machine.prompt, self._machine.prompt_numbers())
        return tuple(prompt for prompt in found if prompt)

    def answer_prompt(self, number: int, login: Login, remember: bool) -> Problem | None:
        """Try a login typed in a prompt, and save it in the keyring after its acceptance if
        `remember` is True.

        Returns:
            Why the login cannot be used; None if it is being tried, or will be by the next request.
        """
        prompt = self._machine.prompt(number)
        if prompt is None:
            return PROMPT_CLOSED
        problem = self._reader.check_login(login, prompt.upstream, prompt.method)
        if problem is None:
            self._handle(events.PromptAnswered(number, login, remember))
        return problem

    def decline_prompt(self, number: int, snooze: Snooze) -> None:
        """Close a prompt after *Cancel* or *Not now*."""
        self._handle(events.PromptDeclined(number, snooze))

    def keep_prompt_open(self, number: int) -> None:
        """Keep a prompt open, because the user has begun to type."""
        self._handle(events.PromptTouched(number))

    def sign_in_now(self, profile: Profile) -> Problem | None:
        """Open the prompt of a profile although no request waits.

        Returns:
            Why the prompt cannot be opened, None if it is open.
        """
        if profile.sign_in is SignIn.NONE:
            return sign_in_disabled(profile).problem
        if not self._front_ends and profile.sign_in is SignIn.PASSWORD:
            return problem_of(RefusalReason.UNATTENDED, profile)
        self._handle(events.SignInRequested(profile, self._reader.guess_method(profile)))
        return None

    def preload(self, profile: Profile, login: Login, *, is_proved: bool = False) -> Problem | None:
        """Set a login without a prompt. It is used for the next 407 and not saved.

        If the upstream has just accepted the login on a request of another desk (`is_proved`), the
        profile keeps the user name.

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
        if profile.sign_in is SignIn.SSO and not profile.get_ticket:
            return password_not_used(profile)
        problem = self._reader.check_login(login, str(profile.upstream))
        if problem is None:
            method = self._reader.guess_method(profile)
            self._handle(
                events.LoginProvided(profile, method, login, remember, retry_rejected, is_proved)
            )
        return problem

    def save_login(
        self, profile: Profile, login: Login, *, is_typed: bool = False
    ) -> Future[Problem | None]:
        """Save a login in the keyring, and use it for the next request.

        The login is saved once the upstream has accepted it, which is verified at once. If it
        cannot be verified (`send_own_request` is None), it is saved unverified. A login that a user
        has just typed is sent regardless of any record.

        Returns:
            Why the login was not saved, None if it was. An unverified login is saved once a request
            with it is accepted.
        """
        can_verify = self.send_own_request is not None
        problem = self._use_login(profile, login, remember=can_verify, retry_rejected=is_typed)
        if problem is None and not can_verify:
            return self._keyring.save(profile, login)
        return self._keyring.expect_save(UpstreamId.of(profile), problem)

    def forget(self, profile: Profile) -> Future[Problem | None]:
        """Remove a profile's logins from the keyring and from memory.

        Returns:
            Why a login could not be removed, None if all were.
        """
        # In this order: the machine knows the upstreams of an automatic profile until then.
        forgotten = self._keyring.forget(profile)
        self._handle(events.LoginsForgotten(profile.id))
        return forgotten

    def set_front_end_count(self, count: int) -> None:
        """Set how many front ends can prompt the user.

        Without a front end, a request is refused as soon as the keyring has no login for it; if the
        last front end has just disconnected, only some time later.
        """
        self._front_ends = count
        self._handle(events.FrontEndsChanged(count))

    def facts(self, profile_id: str) -> ProfileFacts:
        """Return the sign-in state of a profile.

        `ProfileFacts.snoozed_until` is in seconds since the epoch here; None also if the snooze
        ends only when the user acts.
        """
        facts = self._machine.facts(profile_id)
        until = facts.snoozed_until
        if until is None:
            return facts
        epoch = None if until == inf else self._machine_loop.to_epoch(until)
        return replace(facts, snoozed_until=epoch)

    @property
    def keyring(self) -> KeyringStatus:
        """The keyring's name and state, as far as they are known."""
        return self._machine.keyring

    @property
    def notices(self) -> tuple[Problem, ...]:
        """Problems for the user: a login was not saved, or the own sign-in cannot be used."""
        troubles = self._machine.troubles(is_unattended=self._front_ends == 0)
        return (
            *self._keyring.notices,
            *self._machine.no_common_scheme(),
            *(problem_of(t.reason, t.profile, t.text) for t in troubles),
        )

    # --- For the service ---------------------------------------------------------------------

    def profile_switched(self, profile: Profile | None) -> None:
        """Set the active profile. The saved login of another profile is read
        only after `profile_lent`."""
        self._handle(events.ProfileSwitched(profile))

    def profile_lent(self, profile: Profile) -> None:
        """Let programs use a profile, with its saved login, although another one is active."""
        self._handle(events.ProfileLent(profile))

    def profile_changed(self, profile: Profile) -> None:
        """Update a new or edited profile.

        If the profile has lost an upstream, its waiting requests are refused with a request to
        retry.
        """
        self._handle(events.ProfileEdited(profile))

    def profile_deleted(self, profile_id: str) -> None:
        """Remove a deleted profile."""
        self._handle(events.ProfileDeleted(profile_id))

    def network_changed(self) -> None:
        """End all snoozes of *Not now* after a change of the network or a wake-up."""
        self._handle(events.NetworkChanged())

    def screen_locked(self, is_locked: bool) -> None:
        """Record whether the screen is locked: no prompt opens while it is."""
        self._handle(events.ScreenLocked(is_locked))

    @property
    def send_own_request(self) -> SendOwnRequestFunction | None:
        """Sends a request of TrayProxy's own; None if this is not possible."""
        return self._own_requests.send

    @send_own_request.setter
    def send_own_request(self, send: SendOwnRequestFunction | None) -> None:
        self._own_requests.send = send
        self._machine.state.can_send_own = send is not None

    def close(self) -> None:
        """Withdraw all prompts and refuse all waiting requests; the service quits."""
        for profile_id in self._machine.profile_ids():
            self._handle(events.ProfileDeleted(profile_id, for_good=False))
        for part in (self.broker, self._own_requests, self._feed):
            part.close()
        self._close_history()
        self._machine_loop.close()

    # --- Events and effects ------------------------------------------------------------------

    def _settle(self) -> None:
        """Report the changes after the machine has handled an event."""
        self.broker.refresh_known()
        self._keyring.report_unsaved()
        self._feed.publish_soon()

    def _carry_out(self, effect: events.Effect) -> None:
        if isinstance(effect, RequestEffect):
            self.broker.carry_out(effect)
        elif isinstance(effect, KeyringEffect):
            self._keyring.carry_out(effect)
        elif isinstance(effect, HistoryChange):
            self._history.update(effect)
        else:
            match effect:
                case events.SendOwnRequest():
                    self._own_requests.start(effect)
                case events.RecordTrial():
                    self._record_trial(effect)
                case events.NotifyPromptChanged(number):
                    self._feed.prompt_changed(number)
                case events.NotifyPromptClosed(number, ending):
                    self._feed.prompt_closed(number, ending)
                case events.SaveUserName(profile_id, user):
                    if self.on_user_name is not None:
                        self.on_user_name(profile_id, user)

    def _record_trial(self, effect: events.RecordTrial) -> None:
        """Record a trial in the history; the machine learns of the result."""
        identity = effect.number, effect.upstream_id, effect.login

        def report(record: HistoryRecord) -> None:
            self._handle(events.TrialRecorded(*identity, record.is_rejected, record.hold_s))

        recorded = self._history.begin_trial(
            effect.upstream_id,
            effect.login,
            retry_rejected=effect.retry_rejected,
            is_automatic=effect.is_automatic,
        )
        if recorded.done():
            report(recorded.result())
        else:
            self._machine_loop.deliver(recorded, report)
