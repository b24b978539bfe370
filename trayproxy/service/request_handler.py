"""Carry out the requests of front ends: a method for each request, and the attached sessions."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from time import time

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
    Problem,
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
from trayproxy.exit_codes import ExitCode
from trayproxy.http.errors import MessageError
from trayproxy.profiles.config import Config
from trayproxy.profiles.profile import DIRECT_ID, Profile, ProfileError
from trayproxy.profiles.store import SettingsError, SettingsStore
from trayproxy.profiles.validate import check_port, check_profile
from trayproxy.routing.bypass import Bypass
from trayproxy.service.own_requests.probe import OwnRequestTools
from trayproxy.service.own_requests.profile_check import ProfileCheck
from trayproxy.service.own_requests.save_login import SaveOutcome
from trayproxy.service.presence import Presence
from trayproxy.service.router import Router
from trayproxy.service.status_publisher import StatusPublisher

logger = logging.getLogger(__name__)

LOGIN_CODES = {
    "TP-302": ExitCode.SIGN_IN,
    "TP-303": ExitCode.SIGN_IN,
    "TP-307": ExitCode.UPSTREAM,
    "TP-311": ExitCode.FAILED,
}
"""Exit codes for a login that was not saved, by the problem; else it is about the keyring."""

NO_SUCH_PROFILE = Problem(
    "TP-805", "There is no such profile any more", "It was deleted meanwhile. Choose another one."
)
LISTENS_ALREADY = Problem(
    "TP-103",
    "TrayProxy listens already",
    "Programs can connect. Change the port in the settings file, then start TrayProxy again.",
)
NO_WINDOW = Problem(
    "TP-703", "There is no window to show", "TrayProxy runs without its tray. Start trayproxy."
)


DETOUR_MOST_S = 3600
"""Seconds for which programs connect directly before the profile is used again, at most."""
KeepLogin = Callable[[Profile, Login, bool], Awaitable[SaveOutcome]]
"""Tries a login of a profile, typed just now or not, and keeps it if it is right."""


class RequestHandler:
    """Carries out the requests of front ends (`trayproxy.control.server.Handler`)."""

    def __init__(
        self,
        *,
        desk: Desk,
        store: SettingsStore,
        roads: Router,
        facts: StatusPublisher,
        tools: OwnRequestTools,
        screen: Presence,
        forget_connections: Callable[[], None],
        quit_now: Callable[[], None],
        listen_at: Callable[[int], None],
        listen_as_set: Callable[[], Problem | None],
        keep_login: KeepLogin,
        no_prompt: bool,
    ) -> None:
        """Open the reception.

        Args:
            desk: Signs in.
            store: The settings.
            roads: Where requests go.
            facts: Publishes the status to the front ends.
            tools: For trying a profile.
            screen: Receives the names of the front ends with prompts, and the user's activity.
            forget_connections: Closes idle upstream connections.
            quit_now: Ends the service.
            listen_at: Tries this port instead of the one that is taken.
            listen_as_set: Listens at the port of the settings again; returns why that cannot be.
            keep_login: Tries a login, and keeps it in the keyring if it is right.
            no_prompt: Whether nobody may be asked.
        """
        self._desk = desk
        self._store = store
        self._roads = roads
        self._facts = facts
        self._tools = tools
        self._screen = screen
        self._forget_connections = forget_connections
        self._quit_now = quit_now
        self._listen_at = listen_at
        self._listen_as_set = listen_as_set
        self._keep_login = keep_login
        self._no_prompt = no_prompt
        self._sessions: set[Session] = set()
        self._checks: dict[Session, set[asyncio.Task[tuple[Step, ...]]]] = {}
        self._saving = asyncio.Lock()
        self._keeping: set[asyncio.Task[None]] = set()
        self._temporary: Profile | None = None
        self._way_back: asyncio.TimerHandle | None = None
        """While programs connect directly for a while only."""

    # --- who is here ---

    @property
    def has_subscribers(self) -> bool:
        """True if a front end has subscribed to events."""
        return any(session.subscribed for session in self._sessions)

    def attached(self, session: Session) -> None:
        """Register the session of a front end after its `Hello`."""
        self._sessions.add(session)
        self._update_front_ends()

    def detached(self, session: Session) -> None:
        """Remove the session of a front end and cancel its profile tests; open prompts stay open
        for the next front end."""
        self._sessions.discard(session)
        for check in self._checks.pop(session, ()):
            check.cancel()
        self._update_front_ends()

    def _update_front_ends(self) -> None:
        asking = [s.front_end for s in self._sessions if s.can_prompt and not self._no_prompt]
        self._screen.set_front_ends(asking)
        self._desk.set_front_end_count(len(asking))

    def tell(self, event: Event) -> None:
        """Send an event to each front end that has subscribed."""
        for session in tuple(self._sessions):
            session.send_event(event)

    # --- what they want ---

    async def handle(self, session: Session, request: Request) -> Reply:
        """Do what is asked."""
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
                return self._facts.status()
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
            case DeclinePrompt(number, quiet):
                self._desk.decline_prompt(number, quiet)
                return Done()
            case KeepPromptOpen(number):
                self._desk.keep_prompt_open(number)
                return Done()
            case SaveLogin():
                return await self._save_login(request)
            case ForgetLogin(profile_id):
                wanted = self._profile(profile_id)
                if wanted is None:
                    return Failed(NO_SUCH_PROFILE)
                self._forget_connections()
                return _reply(await self._desk.forget(wanted), ExitCode.KEYRING)
            case ShowWindow(token):
                return self._show(token)
            case Quit():
                self.tell(Quitting())
                self._quit_now()
                return Done()

    async def _save_login(self, request: SaveLogin) -> Reply:
        profile, login = self._profile(request.profile_id), request.login
        if profile is None:
            return Failed(NO_SUCH_PROFILE)
        kept = await self._keep_login(profile, login, request.is_typed)
        if kept.is_right:
            # What is in memory may be older.
            self._desk.preload(profile, login, is_proved=True)
            await asyncio.gather(*self._keeping)  # The next command finds the user name.
            return KeptInMemory(kept.problem) if kept.problem else Done()
        assert kept.problem is not None  # A login that is not right was not kept.
        return Failed(kept.problem, LOGIN_CODES.get(kept.problem.id, ExitCode.KEYRING))

    def _subscribe(self, session: Session) -> Reply:
        for question in self._desk.prompts():
            session.send_event(PromptChanged(question))
        self._facts.watch_traffic()
        return self._facts.status()

    def _show(self, token: str) -> Reply:
        if not any(session.front_end == "tray" for session in self._sessions):
            return Failed(NO_WINDOW, ExitCode.NOT_RUNNING)
        self._screen.user_active()
        self.tell(ShowRequested(token))
        return Done()

    def _sign_in_now(self, profile_id: str) -> Reply:
        profile = self._profile(profile_id)
        if profile is None:
            return Failed(NO_SUCH_PROFILE)
        self._screen.user_active()
        return _reply(self._desk.sign_in_now(profile), ExitCode.SIGN_IN)

    async def _check_profile(self, session: Session, profile: Profile, url: str) -> Reply:
        checked = check_profile(profile)
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

    def start_with(self, profile: Profile | None, *, directly: bool = False) -> None:
        """Begin with this profile; one that the settings do not have is for this run only.

        Args:
            profile: To begin with.
            directly: With none, and programs connect directly.

        Raises:
            ProfileError: One of its bypass rules cannot be read.
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
        active = self._roads.profile
        if self._temporary is not None and profile.id == self._temporary.id:
            self._temporary = None  # It is being kept: no longer for this run only.
        await self._save(lambda config: config.with_profile(profile))
        self._desk.profile_changed(profile)
        chosen = active is not None or self._roads.is_direct
        if chosen and (active is None or active.id != profile.id):
            self._use(active, directly=self._roads.is_direct)
        else:
            self._use(profile, directly=False)
        return Done()

    def keep_user(self, profile_id: str, user: str) -> None:
        """Keep the user name of an accepted login in its profile (ux §3.3), so that a locked or
        emptied keyring asks for the password only."""
        task = asyncio.create_task(self._keep_user(profile_id, user))
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def _keep_user(self, profile_id: str, user: str) -> None:
        if self._temporary is not None and self._temporary.id == profile_id:
            return  # The desk suggests the name until this run ends.

        def with_user(config: Config) -> Config:
            profile = config.by_id(profile_id)
            return config.with_profile(replace(profile, user=user)) if profile else config

        try:
            await self._save(with_user)
        except (SettingsError, ProfileError) as error:
            logger.warning("the user name was not kept in its profile: %s", error)
            return
        active = self._roads.profile
        profile = self._store.config.by_id(profile_id)
        if active is not None and active.id == profile_id and profile is not None:
            # Requests go where they went before: connections and questions stay as they are.
            self._roads.use(profile)
            active = profile
        self._facts.rename(active, self._shown_profiles())

    async def _delete_profile(self, profile_id: str, *, forget: bool) -> Reply:
        profile = self._store.config.by_id(profile_id)
        if profile is None:
            return Failed(NO_SUCH_PROFILE)
        problem = await self._desk.forget(profile) if forget else None
        await self._save(lambda config: config.without_profile(profile_id))
        self._desk.profile_deleted(profile_id)
        active = self._roads.profile
        is_gone = active is not None and active.id == profile_id
        self._use(None if is_gone else active, directly=self._roads.is_direct)
        return _reply(problem, ExitCode.KEYRING)

    async def _use_profile(self, profile_id: str, for_s: int) -> Reply:
        directly = profile_id == DIRECT_ID
        if directly and for_s > 0 and self._roads.profile is not None:
            self._detour(self._roads.profile, min(for_s, DETOUR_MOST_S))
            return Done()
        self._end_detour()
        profile = None if directly else self._profile(profile_id)
        if profile is None and not directly:
            return Failed(NO_SUCH_PROFILE)
        self._use(profile, directly=directly)
        if profile is None or profile is not self._temporary:
            await self._save(lambda config: config.with_active(profile_id))
        return Done()

    def _detour(self, back: Profile, for_s: int) -> None:
        """Connect directly for a while, and use this profile again after that."""
        self._end_detour()
        self._way_back = asyncio.get_running_loop().call_later(for_s, self._go_back, back.id)
        self._facts.direct_until = time() + for_s
        self._use(None, directly=True)

    def _go_back(self, profile_id: str) -> None:
        self._end_detour()
        # It may have been changed or deleted meanwhile.
        self._use(self._profile(profile_id), directly=False)

    def _end_detour(self) -> None:
        """Stay on the present way, whatever was used before."""
        if self._way_back is not None:
            self._way_back.cancel()
        self._way_back = self._facts.direct_until = None

    def _use_port(self, port: int) -> Reply:
        if port == 0:
            problem = self._listen_as_set()
            return Done() if problem is None else Failed(problem, ExitCode.PORT)
        if self._facts.listener is not ListenerState.FAILED:
            return Failed(LISTENS_ALREADY, ExitCode.FAILED)
        self._listen_at(check_port(port))
        return Done()

    def reload(self) -> None:
        """Read the settings again after they were changed outside (SIGHUP).

        Raises:
            SettingsError: They have a mistake; nothing has changed.
            ProfileError: A bypass rule cannot be read.
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
        """Send new requests this way; those that run finish where they began."""
        if profile is not None or not directly:
            self._end_detour()
        before = (self._roads.profile, self._roads.is_direct)
        self._roads.use(profile, directly=directly)
        if before != (profile, directly):
            self._forget_connections()
        self._facts.use(profile, self._shown_profiles(), direct=directly)
        self._desk.profile_switched(profile)

    def _shown_profiles(self) -> tuple[Profile, ...]:
        profiles = self._store.config.profiles
        return profiles if self._temporary is None else (self._temporary, *profiles)

    async def _save(self, change: Callable[[Config], Config]) -> None:
        """Change the settings file, off the loop: it waits for the disk.

        A file that was changed outside is read first, so that nobody's change is lost.

        Raises:
            SettingsError: It was not done.
            ProfileError: The change cannot be made.
        """
        async with self._saving:
            if await asyncio.to_thread(self._store.is_changed_on_disk):
                await asyncio.to_thread(self._store.load)
            config = change(self._store.config)
            await asyncio.to_thread(self._store.save, config)


def _reply(problem: Problem | None, exit_code: int) -> Reply:
    return Done() if problem is None else Failed(problem, exit_code)
