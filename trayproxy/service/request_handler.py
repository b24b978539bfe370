"""Carries out the requests of front ends."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trayproxy.auth.login import Login
from trayproxy.control.messages import (
    AnswerPrompt,
    ChangeListeners,
    CheckProfile,
    CheckResult,
    DeclinePrompt,
    DeleteProfile,
    Done,
    EvaluatePac,
    Failed,
    FindRoute,
    ForgetLogin,
    GetStatus,
    GetSystemProxy,
    Hello,
    KeepPromptOpen,
    KeptInMemory,
    ListenerState,
    OpenProfilePort,
    PromptChanged,
    Quit,
    Quitting,
    Reply,
    Request,
    Resume,
    SaveDevicesPassword,
    SaveLogin,
    SaveProfile,
    ShowRequested,
    ShowWindow,
    SignInNow,
    Subscribe,
    UndoNetworkSwitch,
    UsePort,
    UseProfile,
    UseSystemProxy,
)
from trayproxy.control.server import Session
from trayproxy.desk.desk import Desk
from trayproxy.domain.problem import ExitCode, Problem, exit_code_for
from trayproxy.http.errors import MessageError
from trayproxy.profiles.consistency import check_profile
from trayproxy.profiles.profile import Profile, ProfileError
from trayproxy.profiles.store import SettingsError
from trayproxy.profiles.validate import check_port
from trayproxy.service.front_ends import FrontEnds
from trayproxy.service.local_port import LocalPort
from trayproxy.service.presence import Presence
from trayproxy.service.profile_changes import ProfileChanges, UnknownProfileError
from trayproxy.service.routing_access import RoutingAccess
from trayproxy.service.settings_changes import SettingsChanges
from trayproxy.service.status_publisher import StatusPublisher
from trayproxy.service.system_proxy_access import SystemProxyAccess

if TYPE_CHECKING:
    from trayproxy.service.certificate_passwords import CertificateOutcome
    from trayproxy.service.own_requests.profile_check import ProfileCheck
    from trayproxy.service.own_requests.save_login import SaveOutcome

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


@dataclass(eq=False)
class RequestHandler:
    """Carries out the requests of front ends (`trayproxy.control.server.Handler`).

    Attributes:
        desk: Has the prompts and the logins.
        profiles: Changes the profiles.
        settings: Changes the other settings.
        publisher: Has the status.
        front_ends: The connected front ends.
        port: The local port.
        system_proxy: Sets and restores the system proxy.
        presence: Receives the names of the connected front ends, and each use of a window.
        make_check: Returns a test of a profile, which fetches the URL.
        routing: Answers the requests about routes, and finds the upstreams of automatic profiles.
        verify_and_save: Verifies a profile's login, which was just typed or not, and saves it.
        save_certificate_password: Saves the password of a profile's client certificate once it has
            opened the file.
        forget_connections: Closes the idle upstream connections.
        quit_now: Ends the service.
        no_prompt: True if the user must not be prompted.
    """

    desk: Desk
    profiles: ProfileChanges
    settings: SettingsChanges
    publisher: StatusPublisher
    front_ends: FrontEnds
    port: LocalPort
    system_proxy: SystemProxyAccess
    presence: Presence
    make_check: "Callable[[Profile, str], ProfileCheck]"
    routing: RoutingAccess
    verify_and_save: "Callable[[Profile, Login, bool], Awaitable[SaveOutcome]]"
    save_certificate_password: "Callable[[Profile, str], Awaitable[CertificateOutcome]]"
    forget_connections: Callable[[], None]
    quit_now: Callable[[], None]
    no_prompt: bool
    _checks: dict[Session, set[asyncio.Task[CheckResult]]] = field(default_factory=dict, init=False)

    def attached(self, session: Session) -> None:
        """Register the session of a front end."""
        self.front_ends.add(session)
        self._update_front_ends()

    def detached(self, session: Session) -> None:
        """Remove the session of a front end and cancel its profile tests.

        Open prompts stay open for the next front end.
        """
        self.front_ends.remove(session)
        for check in self._checks.pop(session, ()):
            check.cancel()
        self._update_front_ends()

    def _update_front_ends(self) -> None:
        names = [] if self.no_prompt else self.front_ends.names_with_prompts()
        self.presence.set_front_ends(names)
        self.desk.set_front_end_count(len(names))

    async def handle(self, session: Session, request: Request) -> Reply:
        """Handle a request; turn exceptions about settings and profiles into a `Failed` reply."""
        try:
            return await self._handle(session, request)
        except UnknownProfileError:
            return Failed(NO_SUCH_PROFILE)
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
                return self.publisher.status()
            case Subscribe():
                return self._subscribe(session)
            case SaveProfile(profile):
                await self.profiles.save(profile)
                return Done()
            case DeleteProfile(profile_id, forget):
                problem = await self.profiles.delete(profile_id, forget=forget)
                return _reply(problem, ExitCode.KEYRING)
            case UseProfile(profile_id, for_s):
                await self.profiles.use(profile_id, for_s)
                return Done()
            case Resume():
                await self.profiles.resume()
                return Done()
            case UndoNetworkSwitch():
                await self.profiles.undo_network_switch()
                return Done()
            case UsePort(port):
                return self._use_port(port)
            case ChangeListeners() | SaveDevicesPassword():
                return await self._change_listeners(request)
            case GetSystemProxy() | UseSystemProxy():
                return await self.system_proxy.handle(request)
            case CheckProfile(profile, url):
                return await self._check_profile(session, profile, url)
            case FindRoute() | EvaluatePac() | OpenProfilePort():
                return await self.routing.handle(request)
            case SignInNow(profile_id):
                return await self._sign_in_now(profile_id)
            case AnswerPrompt(number, login, remember):
                return _reply(self.desk.answer_prompt(number, login, remember), ExitCode.SIGN_IN)
            case DeclinePrompt(number, snooze):
                self.desk.decline_prompt(number, snooze)
                return Done()
            case KeepPromptOpen(number):
                self.desk.keep_prompt_open(number)
                return Done()
            case SaveLogin():
                return await self._save_login(request)
            case ForgetLogin(profile_id):
                found = self.profiles.get(profile_id)
                self.forget_connections()
                return _reply(await self.desk.forget(found), ExitCode.KEYRING)
            case ShowWindow(token):
                return self._show_window(token)
            case Quit():
                self.front_ends.broadcast(Quitting())
                self.quit_now()
                return Done()

    async def _change_listeners(self, request: ChangeListeners | SaveDevicesPassword) -> Reply:
        if isinstance(request, SaveDevicesPassword):
            problem = await self.port.use_further().save_password(request.login)
            return _reply(problem, ExitCode.KEYRING)
        await self.settings.change_listeners(request)
        self.port.settings_changed()
        if self.port.further is not None:
            await self.port.further.wait()  # The next command must see the listeners.
        return Done()

    async def _save_login(self, request: SaveLogin) -> Reply:
        profile, login = self.profiles.get(request.profile_id), request.login
        if request.is_certificate:
            return await self._save_certificate_password(profile, login.password)
        profile = await self.routing.require_upstreams(profile, request.typed_for)
        outcome = await self.verify_and_save(profile, login, request.is_typed)
        if outcome.is_right:
            # The desk may still have an older login in memory.
            self.desk.preload(profile, login, is_proved=True)
            await self.profiles.wait_for_user_names()  # The next command must see the user name.
            return KeptInMemory(outcome.problem) if outcome.problem else Done()
        assert outcome.problem is not None  # A login that is not right was not saved.
        return Failed(outcome.problem, exit_code_for(outcome.problem))

    async def _save_certificate_password(self, profile: Profile, password: str) -> Reply:
        outcome = await self.save_certificate_password(profile, password)
        self.forget_connections()  # A connection may have failed for lack of the password.
        if not outcome.is_right:
            assert outcome.problem is not None  # It says why the password was not saved.
            return Failed(outcome.problem, exit_code_for(outcome.problem))
        return KeptInMemory(outcome.problem) if outcome.problem else Done()

    def _subscribe(self, session: Session) -> Reply:
        for prompt in self.desk.prompts():
            session.send_event(PromptChanged(prompt))
        self.publisher.watch_traffic()
        return self.publisher.status()

    def _show_window(self, token: str) -> Reply:
        if not self.front_ends.has_tray:
            return Failed(NO_WINDOW, ExitCode.NOT_RUNNING)
        self.presence.user_active()
        self.front_ends.broadcast(ShowRequested(token))
        return Done()

    async def _sign_in_now(self, profile_id: str) -> Reply:
        profile = await self.routing.require_prompt(self.profiles.get(profile_id))
        self.presence.user_active()
        return _reply(self.desk.sign_in_now(profile), ExitCode.SIGN_IN)

    async def _check_profile(self, session: Session, profile: Profile, url: str) -> Reply:
        task = asyncio.create_task(self._run_check(check_profile(profile), url))
        # Cancelled when the front end disconnects: its prompt would otherwise stay open.
        self._checks.setdefault(session, set()).add(task)
        try:
            return await task
        except MessageError as error:
            problem = Problem("TP-807", "This address cannot be fetched", f"{url}: {error}.")
            return Failed(problem, ExitCode.FAILED)
        finally:
            self._checks.get(session, set()).discard(task)

    async def _run_check(self, profile: Profile, url: str) -> CheckResult:
        """Test a profile. An automatic profile is tested with the upstreams of its script.

        Raises:
            MessageError: The URL is not a plain http or https URL.
        """
        found = await self.routing.with_upstreams(profile, url)
        fixed, steps = found.profile, found.steps
        if fixed is None:
            return CheckResult(steps)
        check = self.make_check(fixed, url)
        if found.refusal is not None and fixed.sign_in is not profile.sign_in:
            check.sign_in_not_set = found.refusal
        tested = await check.run()
        return CheckResult((*steps, *tested), fixed if steps else None)

    def _use_port(self, port: int) -> Reply:
        if port == 0:
            problem = self.port.return_to_configured()
            return Done() if problem is None else Failed(problem, ExitCode.PORT)
        if self.publisher.own_values.listener is not ListenerState.FAILED:
            return Failed(ALREADY_LISTENING, ExitCode.FAILED)
        self.port.use(check_port(port))
        return Done()


def _reply(problem: Problem | None, exit_code: int) -> Reply:
    return Done() if problem is None else Failed(problem, exit_code)
