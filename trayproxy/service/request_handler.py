"""Carry out the requests of front ends: a method for each request, and the attached sessions."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from time import time
from typing import TYPE_CHECKING

from trayproxy.auth.login import Login
from trayproxy.control.messages import (
    AnswerPrompt,
    CheckProfile,
    CheckResult,
    DeclinePrompt,
    DeleteProfile,
    Done,
    Event,
    Failed,
    ForgetLogin,
    GetStatus,
    Hello,
    KeepPromptOpen,
    KeptInMemory,
    ListenerState,
    PromptChanged,
    Quit,
    Quitting,
    Reply,
    Request,
    SaveLogin,
    SaveProfile,
    ShowRequested,
    ShowWindow,
    SignInNow,
    Step,
    Subscribe,
    UsePort,
    UseProfile,
)
from trayproxy.control.server import Session
from trayproxy.desk.desk import Desk
from trayproxy.domain.problem import ExitCode, Problem, exit_code_for
from trayproxy.http.errors import MessageError
from trayproxy.profiles.config import Config
from trayproxy.profiles.profile import DIRECT_ID, Profile, ProfileError
from trayproxy.profiles.store import SettingsError, SettingsStore
from trayproxy.profiles.validate import check_port, check_profile
from trayproxy.routing.bypass import Bypass
from trayproxy.service.own_requests.probe import OwnRequestTools
from trayproxy.service.presence import Presence
from trayproxy.service.router import Router
from trayproxy.service.status_publisher import StatusPublisher

if TYPE_CHECKING:
    from trayproxy.service.own_requests.save_login import SaveOutcome

logger = logging.getLogger(__name__)

NO_SUCH_PROFILE = Problem(
    "TP-805", "There is no such profile any more", "It was deleted meanwhile. Choose another one."
)
ALREADY_LISTENING = Problem(
    "TP-103",
    "TrayProxy is already listening",
    "Programs can connect. Change the port in the settings file, then start TrayProxy again.",
)
NO_WINDOW = Problem(
    "TP-703", "There is no window to show", "TrayProxy runs without its tray. Start trayproxy."
)


MAX_DETOUR_S = 3600
"""Maximum number of seconds for which programs connect directly before the profile is used
again.
"""
VerifyAndSave = Callable[[Profile, Login, bool], Awaitable["SaveOutcome"]]
"""Verifies a profile's login and saves it if it is right. The flag is True for a login typed just
now.
"""


class RequestHandler:
    """Carries out the requests of front ends (`trayproxy.control.server.Handler`)."""

    def __init__(
        self,
        *,
        desk: Desk,
        store: SettingsStore,
        router: Router,
        publisher: StatusPublisher,
        tools: OwnRequestTools,
        presence: Presence,
        forget_connections: Callable[[], None],
        quit_now: Callable[[], None],
        use_port: Callable[[int], None],
        return_to_configured_port: Callable[[], Problem | None],
        verify_and_save: VerifyAndSave,
        no_prompt: bool,
    ) -> None:
        """Create a handler.

        Args:
            desk: The sign-in desk.
            store: The settings.
            router: Chooses the route of each request.
            publisher: Publishes the status to the front ends.
            tools: The tools for profile tests.
            presence: Receives the names of the connected front ends, and each use of a window.
            forget_connections: Closes the idle upstream connections.
            quit_now: Ends the service.
            use_port: Listens at this port instead of the configured port, which is taken.
            return_to_configured_port: Listens at the configured port again; returns why this
                failed.
            verify_and_save: Verifies a login, and saves it in the keyring if it is right.
            no_prompt: True if the user must not be prompted.
        """
        self._desk = desk
        self._store = store
        self._router = router
        self._publisher = publisher
        self._tools = tools
        self._presence = presence
        self._forget_connections = forget_connections
        self._quit_now = quit_now
        self._set_port = use_port
        self._return_to_configured_port = return_to_configured_port
        self._verify_and_save = verify_and_save
        self._no_prompt = no_prompt
        self._sessions: set[Session] = set()
        self._checks: dict[Session, set[asyncio.Task[tuple[Step, ...]]]] = {}
        self._save_lock = asyncio.Lock()
        self._user_saves: set[asyncio.Task[None]] = set()
        self._temporary: Profile | None = None
        self._detour_timer: asyncio.TimerHandle | None = None
        """The timer that ends a temporary direct connection, None if there is none."""

    # --- connected front ends ---

    @property
    def has_subscribers(self) -> bool:
        """True if a front end has subscribed to events."""
        return any(session.subscribed for session in self._sessions)

    def attached(self, session: Session) -> None:
        """Register the session of a front end after its `Hello`."""
        self._sessions.add(session)
        self._update_front_ends()

    def detached(self, session: Session) -> None:
        """Remove the session of a front end and cancel its profile tests.

        Open prompts stay open for the next front end.
        """
        self._sessions.discard(session)
        for check in self._checks.pop(session, ()):
            check.cancel()
        self._update_front_ends()

    def _update_front_ends(self) -> None:
        asking = [s.front_end for s in self._sessions if s.can_prompt and not self._no_prompt]
        self._presence.set_front_ends(asking)
        self._desk.set_front_end_count(len(asking))

    def broadcast(self, event: Event) -> None:
        """Send an event to each front end that has subscribed."""
        for session in tuple(self._sessions):
            session.send_event(event)

    # --- requests ---

    async def handle(self, session: Session, request: Request) -> Reply:
        """Handle a request; turn exceptions about settings and profiles into a `Failed` reply."""
        try:
            return await self._handle(session, request)
        except SettingsError as error:
            return Failed(Problem(error.id, error.title, error.body), ExitCode.FAILED)
        except ProfileError as error:
            return Failed(
                Problem("TP-806", "The profile cannot be used", str(error)), ExitCode.FAILED
            )

    async def _handle(self, session: Session, request: Request) -> Reply:
        match request:
            case Hello():
                return Done()
            case GetStatus():
                return self._publisher.status()
            case Subscribe():
                return self._subscribe(session)
            case SaveProfile(profile):
                return await self._save_profile(profile)
            case DeleteProfile(profile_id, forget):
                return await self._delete_profile(profile_id, forget=forget)
            case UseProfile(profile_id, for_s):
                return await self._use_profile(profile_id, for_s)
            case UsePort(port):
                return self._use_port(port)
            case CheckProfile(profile, url):
                return await self._check_profile(session, profile, url)
            case SignInNow(profile_id):
                return self._sign_in_now(profile_id)
            case AnswerPrompt(number, login, remember):
                return _reply(self._desk.answer_prompt(number, login, remember), ExitCode.SIGN_IN)
            case DeclinePrompt(number, snooze):
                self._desk.decline_prompt(number, snooze)
                return Done()
            case KeepPromptOpen(number):
                self._desk.keep_prompt_open(number)
                return Done()
            case SaveLogin():
                return await self._save_login(request)
            case ForgetLogin(profile_id):
                found = self._profile(profile_id)
                if found is None:
                    return Failed(NO_SUCH_PROFILE)
                self._forget_connections()
                return _reply(await self._desk.forget(found), ExitCode.KEYRING)
            case ShowWindow(token):
                return self._show_window(token)
            case Quit():
                self.broadcast(Quitting())
                self._quit_now()
                return Done()

    async def _save_login(self, request: SaveLogin) -> Reply:
        profile, login = self._profile(request.profile_id), request.login
        if profile is None:
            return Failed(NO_SUCH_PROFILE)
        outcome = await self._verify_and_save(profile, login, request.is_typed)
        if outcome.is_right:
            # The desk may still have an older login in memory.
            self._desk.preload(profile, login, is_proved=True)
            await asyncio.gather(*self._user_saves)  # The next command must see the user name.
            return KeptInMemory(outcome.problem) if outcome.problem else Done()
        assert outcome.problem is not None  # A login that is not right was not saved.
        return Failed(outcome.problem, exit_code_for(outcome.problem))

    def _subscribe(self, session: Session) -> Reply:
        for prompt in self._desk.prompts():
            session.send_event(PromptChanged(prompt))
        self._publisher.watch_traffic()
        return self._publisher.status()

    def _show_window(self, token: str) -> Reply:
        if not any(session.front_end == "tray" for session in self._sessions):
            return Failed(NO_WINDOW, ExitCode.NOT_RUNNING)
        self._presence.user_active()
        self.broadcast(ShowRequested(token))
        return Done()

    def _sign_in_now(self, profile_id: str) -> Reply:
        profile = self._profile(profile_id)
        if profile is None:
            return Failed(NO_SUCH_PROFILE)
        self._presence.user_active()
        return _reply(self._desk.sign_in_now(profile), ExitCode.SIGN_IN)

    async def _check_profile(self, session: Session, profile: Profile, url: str) -> Reply:
        checked = check_profile(profile)
        # Here, since few runs test a profile.
        from trayproxy.service.own_requests.profile_check import ProfileCheck

        try:
            check = ProfileCheck(checked, url, self._tools)
        except MessageError as error:
            problem = Problem("TP-807", "This address cannot be fetched", f"{url}: {error}.")
            return Failed(problem, ExitCode.FAILED)
        task = asyncio.create_task(check.run())
        # Cancelled when the front end disconnects: its prompt would otherwise stay open.
        self._checks.setdefault(session, set()).add(task)
        try:
            return CheckResult(await task)
        finally:
            self._checks.get(session, set()).discard(task)

    # --- profiles ---

    def start(self, profile: Profile | None, *, directly: bool = False) -> None:
        """Start with this profile. A profile outside the settings is for this run only.

        Args:
            profile: The profile; None for none.
            directly: True if there is no profile and programs connect directly.

        Raises:
            ProfileError: A bypass rule of the profile is invalid.
        """
        if profile is not None and self._store.config.by_id(profile.id) is None:
            self._temporary = profile
        self._use(profile, directly=directly)

    def _profile(self, profile_id: str) -> Profile | None:
        if self._temporary is not None and self._temporary.id == profile_id:
            return self._temporary
        return self._store.config.by_id(profile_id)

    async def _save_profile(self, profile: Profile) -> Reply:
        profile = check_profile(profile)
        Bypass.parse(profile.bypass)  # Refuses an invalid bypass rule before the profile is saved.
        active = self._router.profile
        if self._temporary is not None and profile.id == self._temporary.id:
            self._temporary = None  # It is saved now, so it is no longer for this run only.
        await self._save(lambda config: config.with_profile(profile))
        self._desk.profile_changed(profile)
        chosen = active is not None or self._router.is_direct
        if chosen and (active is None or active.id != profile.id):
            self._use(active, directly=self._router.is_direct)
        else:
            self._use(profile, directly=False)
        return Done()

    def save_user_name(self, profile_id: str, user: str) -> None:
        """Save the user name of an accepted login in its profile (ux §3.3).

        So with a locked or emptied keyring, the prompt asks for the password only.
        """
        task = asyncio.create_task(self._save_user_name(profile_id, user))
        self._user_saves.add(task)
        task.add_done_callback(self._user_saves.discard)

    async def _save_user_name(self, profile_id: str, user: str) -> None:
        if self._temporary is not None and self._temporary.id == profile_id:
            return  # The desk suggests the name until this run ends.

        def with_user(config: Config) -> Config:
            profile = config.by_id(profile_id)
            return config.with_profile(replace(profile, user=user)) if profile else config

        try:
            await self._save(with_user)
        except (SettingsError, ProfileError) as error:
            logger.warning("the user name was not saved in its profile: %s", error)
            return
        active = self._router.profile
        profile = self._store.config.by_id(profile_id)
        if active is not None and active.id == profile_id and profile is not None:
            # The route does not change, so connections and prompts are kept.
            self._router.use(profile)
            active = profile
        self._publisher.update_profiles(active, self._shown_profiles())

    async def _delete_profile(self, profile_id: str, *, forget: bool) -> Reply:
        profile = self._store.config.by_id(profile_id)
        if profile is None:
            return Failed(NO_SUCH_PROFILE)
        problem = await self._desk.forget(profile) if forget else None
        await self._save(lambda config: config.without_profile(profile_id))
        self._desk.profile_deleted(profile_id)
        active = self._router.profile
        is_gone = active is not None and active.id == profile_id
        self._use(None if is_gone else active, directly=self._router.is_direct)
        return _reply(problem, ExitCode.KEYRING)

    async def _use_profile(self, profile_id: str, for_s: int) -> Reply:
        directly = profile_id == DIRECT_ID
        if directly and for_s > 0 and self._router.profile is not None:
            self._start_detour(self._router.profile, min(for_s, MAX_DETOUR_S))
            return Done()
        self._end_detour()
        profile = None if directly else self._profile(profile_id)
        if profile is None and not directly:
            return Failed(NO_SUCH_PROFILE)
        self._use(profile, directly=directly)
        if profile is None or profile is not self._temporary:
            await self._save(lambda config: config.with_active(profile_id))
        return Done()

    def _start_detour(self, profile: Profile, for_s: int) -> None:
        """Connect directly for some seconds, and use this profile again afterwards."""
        self._end_detour()
        self._detour_timer = asyncio.get_running_loop().call_later(
            for_s, self._detour_ended, profile.id
        )
        self._publisher.direct_until = time() + for_s
        self._use(None, directly=True)

    def _detour_ended(self, profile_id: str) -> None:
        self._end_detour()
        # The profile may have been changed or deleted meanwhile.
        self._use(self._profile(profile_id), directly=False)

    def _end_detour(self) -> None:
        """Cancel the timer: the current route becomes permanent."""
        if self._detour_timer is not None:
            self._detour_timer.cancel()
        self._detour_timer = self._publisher.direct_until = None

    def _use_port(self, port: int) -> Reply:
        if port == 0:
            problem = self._return_to_configured_port()
            return Done() if problem is None else Failed(problem, ExitCode.PORT)
        if self._publisher.listener is not ListenerState.FAILED:
            return Failed(ALREADY_LISTENING, ExitCode.FAILED)
        self._set_port(check_port(port))
        return Done()

    def reload(self) -> None:
        """Load the settings again after they were changed outside (SIGHUP).

        Raises:
            SettingsError: The settings have a mistake; nothing has changed.
            ProfileError: A bypass rule is invalid.
        """
        before = self._store.config
        config = self._store.load()
        for profile in config.profiles:
            if before.by_id(profile.id) != profile:
                self._desk.profile_changed(profile)
        for profile in before.profiles:
            if config.by_id(profile.id) is None:
                self._desk.profile_deleted(profile.id)
        directly = self._temporary is None and config.is_direct
        self._use(self._temporary or config.profile, directly=directly)

    def _use(self, profile: Profile | None, *, directly: bool) -> None:
        """Switch to this profile. New requests use its route; running requests keep theirs."""
        if profile is not None or not directly:
            self._end_detour()
        before = (self._router.profile, self._router.is_direct)
        self._router.use(profile, directly=directly)
        if before != (profile, directly):
            self._forget_connections()
        self._publisher.switch_profile(profile, self._shown_profiles(), direct=directly)
        self._desk.profile_switched(profile)

    def _shown_profiles(self) -> tuple[Profile, ...]:
        profiles = self._store.config.profiles
        return profiles if self._temporary is None else (self._temporary, *profiles)

    async def _save(self, change: Callable[[Config], Config]) -> None:
        """Change the settings file in a thread, because writing waits for the disk.

        If the file was changed outside, it is loaded first, so no change is lost.

        Raises:
            SettingsError: The file was not written.
            ProfileError: The change is invalid.
        """
        async with self._save_lock:
            if await asyncio.to_thread(self._store.is_changed_on_disk):
                await asyncio.to_thread(self._store.load)
            config = change(self._store.config)
            await asyncio.to_thread(self._store.save, config)


def _reply(problem: Problem | None, exit_code: int) -> Reply:
    return Done() if problem is None else Failed(problem, exit_code)
