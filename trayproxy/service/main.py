"""The composition root: creates the parts of the service, starts them and stops them in order."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from trayproxy.auth.login import Login
from trayproxy.control.lock import AlreadyRunningError
from trayproxy.control.messages import (
    Quitting,
)
from trayproxy.control.server import Server
from trayproxy.desk.credential_store import CertificatePasswordStore, NullCredentialStore
from trayproxy.desk.desk import Desk
from trayproxy.desk.history import History, HistoryFile
from trayproxy.desktop.hardening import raise_descriptor_limit
from trayproxy.desktop.kerberos import disable_name_canonicalization
from trayproxy.desktop.optional_dependencies import is_installed
from trayproxy.desktop.socket_owner.base import OwnerUnknownError
from trayproxy.domain.problem import ExitCode, Problem
from trayproxy.engine.engine import Engine, EngineParts
from trayproxy.engine.error_pages import Document
from trayproxy.engine.limits import LIMITS, EngineLimits
from trayproxy.engine.server.access_control import AccessControl
from trayproxy.options import RunOptions
from trayproxy.paths import PathError, Paths
from trayproxy.profiles.config import Config
from trayproxy.profiles.profile import Profile, ProfileError
from trayproxy.profiles.store import SettingsError, SettingsStore
from trayproxy.service.access_policy import OWNERS_UNKNOWN, apply_allowed_users, make_access_control
from trayproxy.service.front_ends import DeskChanges, FrontEnds
from trayproxy.service.keyring_inventory import KeyringInventory
from trayproxy.service.local_port import FurtherSettings, LocalPort
from trayproxy.service.other_loopback import OtherLoopback
from trayproxy.service.presence import Presence
from trayproxy.service.process_names import ProcessNames
from trayproxy.service.profile_changes import ProfileChanges, first_profile, starts_directly
from trayproxy.service.refused_clients import RefusedClientReporter
from trayproxy.service.request_handler import RequestHandler
from trayproxy.service.routing_access import RoutingAccess
from trayproxy.service.schemes import service_schemes
from trayproxy.service.settings_changes import SettingsChanges
from trayproxy.service.status_publisher import StatusPublisher, StatusSources
from trayproxy.service.system_proxy_access import SystemProxyAccess
from trayproxy.service.upstream_status import UpstreamStatus

if TYPE_CHECKING:
    from trayproxy.desk.keyring_store import KeyringStore
    from trayproxy.engine.proxy_auth.own_auth_port import OwnRequestTools
    from trayproxy.service.certificate_passwords import CertificateOutcome, CertificatePasswords
    from trayproxy.service.company_ca_file import CompanyCaFile
    from trayproxy.service.further_listeners import FurtherListeners
    from trayproxy.service.network_profiles import NetworkProfiles
    from trayproxy.service.own_requests.profile_check import ProfileCheck
    from trayproxy.service.own_requests.save_login import SaveOutcome

logger = logging.getLogger(__name__)

OWN_DESCRIPTORS = 40
"""Descriptors that are reserved for the service itself (22 without clients, as measured), for front
ends, and for clients that receive a 503."""


def run(options: RunOptions, paths: Paths, on_ready: Callable[[str], None]) -> int:
    """Run the service until a signal or a front end ends it.

    Args:
        options: The command line's options.
        paths: The locations of the service's files.
        on_ready: Called with the local address once programs can connect.

    Returns:
        The exit code. A failure has been reported on standard error.
    """
    disable_name_canonicalization()
    limits = limits_for(raise_descriptor_limit())
    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        return runner.run(serve(options, paths, on_ready, limits))


def limits_for(descriptors: int) -> EngineLimits:
    """Return the engine's limits for a process with this many descriptors.

    Each client needs two descriptors. A tenth of all descriptors, and at least `OWN_DESCRIPTORS`,
    is reserved for other uses.
    """
    for_clients = min(descriptors * 9 // 20, (descriptors - OWN_DESCRIPTORS) // 2)
    return replace(LIMITS, max_clients=max(1, min(LIMITS.max_clients, for_clients)))


def fastest_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return the fastest loop factory for this system: uvloop, winloop or asyncio's own.

    asyncio's proactor loop, the default on Windows, cannot watch descriptors, which the engine
    needs; its selector loop can watch up to 512.
    """
    with suppress(ImportError):
        from uvloop import new_event_loop

        return new_event_loop
    with suppress(ImportError):
        from winloop import new_event_loop as new_windows_loop

        loop_factory: Callable[[], asyncio.AbstractEventLoop] = new_windows_loop
        return loop_factory
    return asyncio.SelectorEventLoop


async def serve(
    options: RunOptions, paths: Paths, on_ready: Callable[[str], None], limits: EngineLimits
) -> int:
    """Run the service until a signal or a front end ends it; return the exit code."""
    try:
        service = Service(asyncio.get_running_loop(), options, paths, on_ready, limits)
    except OwnerUnknownError:
        return report_failure(OWNERS_UNKNOWN, ExitCode.FAILED)
    return await service.run()


@dataclass(frozen=True, slots=True)
class DeskParts:
    """The sign-in desk, the keyring and the history of rejected logins.

    `certificate_passwords` is the keyring, too.
    """

    desk: Desk
    keyring: KeyringInventory
    history: History
    certificate_passwords: CertificatePasswordStore


def make_password_store() -> "KeyringStore":
    """Return the keyring. It is imported here, because `run --upstream` uses none."""
    from trayproxy.desk.keyring_store import KeyringStore

    return KeyringStore()


def make_desk(
    loop: asyncio.AbstractEventLoop,
    paths: Paths,
    listener: DeskChanges,
    names: ProcessNames,
    *,
    saves_passwords: bool,
) -> DeskParts:
    """Return a new sign-in desk with its keyring and its history.

    With `saves_passwords`, the keyring keeps passwords and the history keeps their fingerprints.
    """
    store = make_password_store() if saves_passwords else NullCredentialStore()
    keyring = KeyringInventory(store, partial(_call_on_loop, loop, listener.facts_changed))
    # Rejected logins are recorded in any case: a restart must not send them again.
    history = HistoryFile(paths.sign_in_file, keeps_fingerprints=saves_passwords)
    desk = Desk(
        store=keyring,
        listener=listener,
        loop=loop,
        schemes=service_schemes(),
        is_installed=is_installed,
        identify_program=names.program_of,
        history=history,
    )
    return DeskParts(desk, keyring, history, store)


@dataclass(frozen=True, slots=True)
class UserParts:
    """The connected front ends, and whether a user is present."""

    front_ends: FrontEnds
    presence: Presence


@dataclass(frozen=True, slots=True)
class ClientParts:
    """The names of connecting programs, the reports of refused ones and the access control."""

    names: ProcessNames
    refused: RefusedClientReporter
    access_control: AccessControl


def make_certificate_passwords(store: CertificatePasswordStore) -> "CertificatePasswords":
    """Return the passwords of client certificates. Few profiles have one."""
    from trayproxy.service.certificate_passwords import CertificatePasswords

    return CertificatePasswords(store)


def make_company_ca_file(paths: Paths, *, is_kept: bool) -> "CompanyCaFile":
    """Return a new `CompanyCaFile`; its module is imported on first use."""
    from trayproxy.service.company_ca_file import CompanyCaFile

    return CompanyCaFile(paths, is_kept=is_kept)


@dataclass(frozen=True, slots=True)
class OwnRequestStarter:
    """Starts TrayProxy's own requests; imports their modules on first use: many runs need none.

    Attributes:
        logins: The desk, the keyring and the history, which provide and record logins.
        engine: Has the connector to the upstreams.
        store: Has the names of the profiles.
        upstream: Receives the sign-in page of the network.
        company_ca: Returns the object that records the certificates that tests have seen.
        certificates: Returns the passwords of client certificates.
    """

    logins: DeskParts
    engine: Engine
    store: SettingsStore
    upstream: UpstreamStatus
    company_ca: "Callable[[], CompanyCaFile]"
    certificates: "Callable[[], CertificatePasswords]"

    def check(self, profile: Profile, url: str) -> "ProfileCheck":
        """Return a test of a profile, which fetches the URL; see `ProfileCheck`."""
        from trayproxy.service.own_requests.profile_check import ProfileCheck

        return ProfileCheck(profile, url, self._tools(), self.company_ca().record)

    async def verify(self, profile: Profile, target: str) -> bool:
        """Verify the desk's login for a profile; see `trial.verify_login`."""
        from trayproxy.service.own_requests.trial import verify_login

        return await verify_login(self._tools(), profile, target)

    async def verify_and_save(
        self, profile: Profile, login: Login, is_typed: bool
    ) -> "SaveOutcome":
        """Save a login once its proxy has accepted it; see `save_login.verify_and_save`."""
        from trayproxy.service.own_requests.save_login import SaveTools, verify_and_save

        context, name_of = self.engine.context, self.store.config.name_of
        is_own = context.own_address.is_among
        tools = SaveTools(
            self.logins.keyring,
            self.logins.history,
            context.limits,
            name_of,
            is_own,
            certificate_password=context.connector.certificate_password,
        )
        return await verify_and_save(tools, profile, login, is_typed=is_typed)

    async def save_certificate_password(
        self, profile: Profile, password: str
    ) -> "CertificateOutcome":
        """Save a password once it has opened the file; see `CertificatePasswords.save`."""
        return await self.certificates().save(profile, password)

    def _tools(self) -> "OwnRequestTools":
        from trayproxy.engine.proxy_auth.own_auth_port import OwnRequestTools

        context = self.engine.context
        return OwnRequestTools(
            self.logins.desk.broker,
            context.connector,
            self.engine.auth.handshake_threads,
            context.limits,
            context.own_address.via,
            asyncio.get_running_loop().time,
            self.upstream.captive_portal_found,
        )


def make_further_listeners(
    loop: asyncio.AbstractEventLoop,
    engine: Engine,
    publisher: StatusPublisher,
    names: ProcessNames,
    keyring: KeyringInventory,
) -> "FurtherListeners":
    """Return the listeners of the settings beside the local address."""
    # Here, because most settings have no further listeners.
    from trayproxy.service.further_listeners import FurtherListeners, ListenerParts

    return FurtherListeners(
        loop,
        ListenerParts(
            engine.listeners,
            lambda: engine.context.own_address.port,
            engine.access_control,
            engine.routes,
            keyring,
            names,
            publisher.set_listeners,
            publisher.set_refused_devices,
            engine.close_clients,
            engine.context.connector.forget,
        ),
    )


def serve_own_pac(engine: Engine, path: str, text: str) -> None:
    """Serve the PAC file of the system proxy at a path of the local address."""
    document = Document("application/x-ns-proxy-autoconfig", text.encode("ascii"))
    engine.context.own_address.documents[path.encode()] = document


class StopRequest:
    """The request to end the service, from a signal or a front end.

    Attributes:
        event: Set once the service is to end.
        session_ends: True if the user logs out or the computer shuts down.
    """

    def __init__(self, quit_mark: Path) -> None:
        """Create an instance; see `trayproxy.control.quit_mark` for the file."""
        self.event = asyncio.Event()
        self.session_ends = False
        self._quit_mark = quit_mark

    def listen_to_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        """Handle SIGTERM and SIGINT from now on."""
        try:
            loop.add_signal_handler(signal.SIGTERM, self._end_with_session)
            loop.add_signal_handler(signal.SIGINT, self.event.set)
        except NotImplementedError:
            # Windows: the handler runs in the main thread, between two iterations of the loop.
            signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(self.event.set))

    def quit(self) -> None:
        """Quit, because a front end asks for it."""
        # Here, because programs do not wait for the import at the end.
        from trayproxy.control.quit_mark import leave_quit_mark

        leave_quit_mark(self._quit_mark)
        self.event.set()

    def _end_with_session(self) -> None:
        """Quit, because the user logs out or the computer shuts down (SIGTERM)."""
        self.session_ends = True
        self.event.set()


class Service:
    """Connects the parts of the service, and starts and stops them in order."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: RunOptions,
        paths: Paths,
        on_ready: Callable[[str], None],
        limits: EngineLimits,
    ) -> None:
        """Load the settings and create the parts; `run` starts them.

        See the function `run` for the arguments, and `make_access_control` for `OwnerUnknownError`.
        """
        self._options = options
        self._stop = StopRequest(paths.quit_mark)
        store = SettingsStore(paths.config_file, paths.state / "last-good.toml")
        self._settings = SettingsChanges(store)
        problem = load_settings(store)
        front_ends = FrontEnds()
        self._users = UserParts(front_ends, Presence(loop, self._screen_locked))
        self._publisher = StatusPublisher(loop, front_ends.send_status, front_ends.has_subscribers)
        self._clients = self._make_clients(loop)
        logins = make_desk(
            loop,
            paths,
            DeskChanges(front_ends, self._publisher.publish_soon),
            self._clients.names,
            # With an upstream for this run only, neither settings nor passwords are written.
            saves_passwords=options.upstream is None,
        )
        self._desk = logins.desk
        self._routing = RoutingAccess(loop, paths, logins.desk, self._clients.names.name_at)
        self._engine = self._make_engine(loop, limits)
        self._publisher.attach(
            StatusSources(logins.desk, self._engine.context.counters, logins.keyring),
            self._engine.address,
        )
        self._apply_access_settings(problem)
        self._port = self._make_port(loop, on_ready, logins.keyring)
        self._profiles = self._make_profile_changes()
        self._system_proxy = self._make_system_proxy(paths)
        self._company_ca_file = cache(
            partial(make_company_ca_file, paths, is_kept=options.upstream is None)
        )
        self._server = Server(paths, self._make_request_handler(logins))

    def _make_clients(self, loop: asyncio.AbstractEventLoop) -> ClientParts:
        names = ProcessNames(loop)
        refused = RefusedClientReporter(loop, names, self._publisher.set_refused_clients)
        allowed = self._settings.store.config.listen.allow_users
        return ClientParts(names, refused, make_access_control(allowed, refused.record))

    def _make_engine(self, loop: asyncio.AbstractEventLoop, limits: EngineLimits) -> Engine:
        configured = self._settings.store.config.listen
        host, port = self._options.listen or (configured.local_host, configured.port)
        parts = EngineParts(
            self._desk.broker,
            self._routing.router,
            self._publisher.upstream,
            limits,
            access_control=self._clients.access_control,
            on_network_changed=self._network_left,
        )
        return Engine(loop, parts, host, port)

    def _make_profile_changes(self) -> ProfileChanges:
        """Return the changes of the profiles, and connect the routing to its parts."""
        engine, publisher, routing = self._engine, self._publisher, self._routing
        changes = ProfileChanges(
            self._desk, self._settings, routing.router, publisher, engine.forget_connections
        )
        routing.attach(engine, changes.get, publisher.upstream)
        changes.on_profiles_changed = routing.profiles_changed
        return changes

    def _make_port(
        self,
        loop: asyncio.AbstractEventLoop,
        on_ready: Callable[[str], None],
        keyring: KeyringInventory,
    ) -> LocalPort:
        engine, publisher, names = self._engine, self._publisher, self._clients.names
        make_further = partial(make_further_listeners, loop, engine, publisher, names, keyring)
        other_loopback = OtherLoopback(loop, engine, names, publisher.set_other_loopback)

        def on_listening(address: str) -> None:
            on_ready(address)
            self._system_proxy.start(address)

        return LocalPort(
            engine,
            publisher,
            names,
            other_loopback,
            on_listening,
            lambda: self._system_proxy.not_listening(),
            self._stop.event,
            # With an upstream for this run only, the settings do not apply.
            FurtherSettings(
                lambda: Config() if self._options.upstream else self._settings.store.config,
                make_further,
            ),
            waits=self._options.wait_for_port,
        )

    def _make_system_proxy(self, paths: Paths) -> SystemProxyAccess:
        """Return the access to the system proxy.

        With an upstream for this run only, the settings neither apply nor change.
        """
        serve_pac = partial(serve_own_pac, self._engine)
        access = SystemProxyAccess(paths, self._publisher.set_system_proxy, serve_pac)
        self._profiles.on_bypass_changed = access.bypass_changed
        if self._options.upstream is None:
            access.settings = lambda: self._settings.store.config.system_proxy
            access.save_settings = self._settings.save_system_proxy
        return access

    def _make_request_handler(self, logins: DeskParts) -> RequestHandler:
        """Return the handler of the front ends' requests, and connect the desk to its parts."""
        desk, engine = logins.desk, self._engine
        certificates = cache(partial(make_certificate_passwords, logins.certificate_passwords))
        connector = engine.context.connector
        connector.certificate_password = lambda profile: certificates().find(profile)
        own_requests = OwnRequestStarter(
            logins,
            engine,
            self._settings.store,
            self._publisher.upstream,
            self._company_ca_file,
            certificates,
        )
        desk.send_own_request = own_requests.verify
        desk.broker.addresses_of = connector.addresses_of
        desk.on_user_name = self._profiles.save_user_name
        return RequestHandler(
            desk,
            self._profiles,
            self._settings,
            self._publisher,
            self._users.front_ends,
            self._port,
            self._system_proxy,
            self._users.presence,
            own_requests.check,
            self._routing,
            own_requests.verify_and_save,
            own_requests.save_certificate_password,
            forget_connections=engine.forget_connections,
            quit_now=self._stop.quit,
            no_prompt=self._options.no_prompt,
        )

    async def run(self) -> int:
        """Run until a signal or a front end ends the service; return the exit code."""
        try:
            await self._server.start()
        except AlreadyRunningError as error:
            problem = Problem("TP-104", str(error), "Use it, or end it with: trayproxy quit")
            return report_failure(problem, ExitCode.FAILED)
        except (PathError, OSError) as error:
            problem = Problem("TP-105", "TrayProxy cannot start", f"{error}.")
            return report_failure(problem, ExitCode.FAILED)
        if self._options.ready_descriptor is not None:
            report_ready(self._options.ready_descriptor)
        try:
            return await self._run_with_front_ends()
        finally:
            await self._server.close()

    async def _run_with_front_ends(self) -> int:
        options, config = self._options, self._settings.store.config
        try:
            profile = first_profile(options, config)
            self._profiles.start(profile, directly=starts_directly(options, config))
        except ProfileError as error:
            problem = Problem("TP-806", "The profile cannot be used", str(error))
            return await self._fail(problem, ExitCode.FAILED)
        unusable = self._preload(profile)
        if unusable is not None:
            return await self._fail(unusable, ExitCode.FAILED)
        loop = asyncio.get_running_loop()
        self._stop.listen_to_signals(loop)
        if hasattr(signal, "SIGHUP"):
            loop.add_signal_handler(signal.SIGHUP, self._reload)
        not_listening = await self._port.listen()
        if not_listening is not None:
            return await self._fail(not_listening, ExitCode.PORT)
        if self._stop.event.is_set():
            await self._close()
            return ExitCode.DONE
        # Here, because programs can connect already and need not wait for the import.
        from trayproxy.desktop.network_change.factory import watch_network

        # Before the address is reported, so no change of the network is missed after that.
        watch = watch_network(loop, self._network_changed)
        networks = self._start_network_rules(loop)
        self._port.report_listening()
        self._company_ca_file().start()
        await self._stop.event.wait()
        logger.info("quitting")
        watch.close()
        networks.close()
        await self._close()
        return ExitCode.DONE

    async def _fail(self, problem: Problem, code: ExitCode) -> int:
        """Report why the service cannot run; return its exit code.

        What an earlier run has left in the settings of the system is restored.
        """
        exit_code = report_failure(problem, code)
        await self._system_proxy.not_listening()
        return exit_code

    def _preload(self, profile: Profile | None) -> Problem | None:
        """Use the password from standard input; return why it cannot be used, None if it can.

        For an automatic profile, the password is for the first proxy that its script names, and is
        used once the script is loaded.
        """
        options = self._options
        if profile is None or options.password is None:
            return None
        login = Login(options.user or profile.user, options.password)
        if profile.pac is not None:
            self._routing.preload_later(profile, login)
            return None
        return self._desk.preload(profile, login)

    def _screen_locked(self, is_locked: bool) -> None:
        self._desk.screen_locked(is_locked)
        self._publisher.set_screen_locked(is_locked)

    def _start_network_rules(self, loop: asyncio.AbstractEventLoop) -> "NetworkProfiles":
        """Use profiles by the network from now on."""
        # Here, because programs can connect already and need not wait for the import.
        from trayproxy.service.network_profiles import NetworkProfiles, answers

        upstream = self._publisher.upstream
        reach = partial(answers, self._routing.upstreams_soon, self._engine.context.connector)
        rules = NetworkProfiles(loop, self._profiles, reach, upstream.network_portal)
        self._profiles.network_rules = rules
        upstream.on_unreachable = rules.upstream_unreachable
        rules.start(is_by_hand=self._options.profile_name is not None)
        return rules

    def _network_changed(self) -> None:
        logger.info("the network has changed")
        self._engine.network_changed()
        self._port.network_changed()
        self._system_proxy.network_changed()

    def _network_left(self) -> None:
        """Forget the old network; also called after a suspend."""
        self._desk.network_changed()
        self._routing.network_changed()
        self._profiles.network_rules.network_changed()

    def _reload(self) -> None:
        """Load the settings again (SIGHUP)."""
        try:
            self._profiles.reload()
        except (SettingsError, ProfileError) as error:
            logger.error("the settings were not reloaded: %s", error)
            if isinstance(error, SettingsError):
                self._apply_access_settings(Problem(error.id, error.title, error.body))
        else:
            self._apply_access_settings(None)
            self._system_proxy.settings_changed()
            self._port.settings_changed()
        self._publisher.publish_soon()

    def _apply_access_settings(self, problem: Problem | None) -> None:
        """Apply the settings for access control; publish their problems and the problem of the
        settings file itself.
        """
        about_users = apply_allowed_users(
            self._clients.access_control, self._settings.store.config.listen.allow_users
        )
        self._publisher.notices = (*((problem,) if problem else ()), *about_users)

    async def _close(self) -> None:
        """Stop the parts in the order of their dependencies."""
        self._users.front_ends.broadcast(Quitting())
        # First, because a session that ends may kill this process soon.
        await self._system_proxy.close(session_ends=self._stop.session_ends)
        if self._company_ca_file.cache_info().currsize:
            self._company_ca_file().close()
        self._users.presence.close()
        self._desk.close()
        self._port.close()
        self._routing.close()  # Before the engine, as requests may wait for a script.
        await self._engine.close()
        self._publisher.close()
        self._clients.refused.close()
        self._clients.names.close()


def _call_on_loop(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Call a function on the event loop, from another thread. The loop may be closed already."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(callback)


def load_settings(store: SettingsStore) -> Problem | None:
    """Load the settings; if this fails, load the last good settings and return the problem."""
    try:
        store.load()
    except SettingsError as error:
        logger.error("%s: %s", error.title, error.body)
        store.load_last_good()
        return Problem(error.id, error.title, error.body)
    return None


def report_ready(descriptor: int) -> None:
    """Write an octet to an inherited pipe, and close it; its reader may have ended."""
    with suppress(OSError):
        try:
            os.write(descriptor, b"\n")
        finally:
            os.close(descriptor)


def report_failure(problem: Problem, exit_code: ExitCode) -> int:
    """Write a problem to standard error, which may be full or closed; return the exit code."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{problem.title}\n{problem.body} ({problem.id})\n")
        sys.stderr.flush()
    return exit_code
