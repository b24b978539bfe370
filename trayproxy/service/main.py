"""The composition root: creates the parts of the service, starts them and stops them in order."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from trayproxy.auth.login import Login
from trayproxy.control.lock import AlreadyRunningError
from trayproxy.control.messages import PromptChanged, PromptClosed, Quitting, Status, StatusChanged
from trayproxy.control.server import Server
from trayproxy.desk.credential_store import NullCredentialStore
from trayproxy.desk.desk import Desk
from trayproxy.desk.history import History, HistoryFile, HistoryWithoutFingerprints
from trayproxy.desk.keyring_store import KeyringStore
from trayproxy.desktop.hardening import raise_descriptor_limit
from trayproxy.desktop.kerberos import disable_name_canonicalization
from trayproxy.desktop.network_change.factory import watch_network
from trayproxy.desktop.optional_dependencies import is_installed
from trayproxy.desktop.socket_owner.base import OwnerUnknownError
from trayproxy.domain.problem import ExitCode, Problem
from trayproxy.domain.signin import Ending, Prompt
from trayproxy.engine.engine import Engine, EngineParts
from trayproxy.engine.limits import LIMITS, EngineLimits
from trayproxy.options import RunOptions
from trayproxy.paths import PathError, Paths
from trayproxy.profiles.profile import Profile, ProfileError
from trayproxy.profiles.store import SettingsError, SettingsStore
from trayproxy.profiles.validate import check_profile
from trayproxy.service.access_policy import OWNERS_UNKNOWN, apply_allowed_users, make_access_control
from trayproxy.service.keyring_inventory import KeyringInventory
from trayproxy.service.other_loopback import OtherLoopback
from trayproxy.service.own_requests.probe import OwnRequestTools
from trayproxy.service.presence import Presence
from trayproxy.service.process_names import ProcessNames
from trayproxy.service.refused_clients import RefusedClientReporter
from trayproxy.service.request_handler import RequestHandler
from trayproxy.service.router import Router
from trayproxy.service.schemes import service_schemes
from trayproxy.service.status_publisher import StatusPublisher

if TYPE_CHECKING:
    from trayproxy.service.own_requests.save_login import SaveOutcome

logger = logging.getLogger(__name__)

TEMPORARY_ID = "this-run"
OWN_DESCRIPTORS = 40
"""Descriptors that are reserved for the service itself (22 without clients, as measured), for front
ends, and for clients that receive a 503."""
LISTEN_RETRY_S = 5.0
"""Seconds between attempts to listen while another program uses the port."""


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
        return runner.run(Service(options, paths, on_ready, limits).run())


def limits_for(descriptors: int) -> EngineLimits:
    """Return the engine's limits for a process with this many descriptors.

    Each client needs two descriptors. A tenth of all descriptors, and at least `OWN_DESCRIPTORS`,
    is reserved for other uses. A client beyond the limit receives a 503, for which descriptors are
    still free.
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


class Service:
    """All parts of the service, and the order in which they start and stop.

    The class implements `trayproxy.desk.change_feed.ChangeListener`. It only connects the parts.
    """

    def __init__(
        self,
        options: RunOptions,
        paths: Paths,
        on_ready: Callable[[str], None],
        limits: EngineLimits = LIMITS,
    ) -> None:
        self._options = options
        self._paths = paths
        self._on_ready = on_ready
        self._limits = limits
        self._stop = asyncio.Event()
        self._port_changed = asyncio.Event()
        self._port: int | None = None
        self._wanted_port = 0
        """The port in the settings while this run uses another port, else 0."""

    async def run(self) -> int:
        """Run until the service is told to quit; return the exit code."""
        loop = asyncio.get_running_loop()
        try:
            self._build(loop)
        except OwnerUnknownError:
            return report_failure(
                OWNERS_UNKNOWN.id, OWNERS_UNKNOWN.title, OWNERS_UNKNOWN.body, ExitCode.FAILED
            )
        try:
            await self._server.start()
        except AlreadyRunningError as error:
            return report_failure(
                "TP-104", str(error), "Use it, or end it with: trayproxy quit", ExitCode.FAILED
            )
        except (PathError, OSError) as error:
            return report_failure("TP-105", "TrayProxy cannot start", f"{error}.", ExitCode.FAILED)
        try:
            return await self._run_with_front_ends(loop)
        finally:
            await self._server.close()

    def _build(self, loop: asyncio.AbstractEventLoop) -> None:
        self._store = SettingsStore(self._paths.config_file, self._paths.state / "last-good.toml")
        problem = self._load()
        router = Router()
        configured = self._store.config.listen
        host, port = self._options.listen or (configured.host, configured.port)
        self._publisher = StatusPublisher(
            loop, self._send_status, lambda: self._handler.has_subscribers
        )
        self._process_names = ProcessNames(loop)
        # With an upstream for this run only, nothing is written, neither settings nor passwords.
        saves_passwords = self._options.upstream is None
        self._keyring = KeyringInventory(
            KeyringStore() if saves_passwords else NullCredentialStore(),
            partial(self._inventory_changed, loop),
        )
        history = HistoryFile(self._paths.sign_in_file)
        # Rejected logins are recorded in any case: a restart must not send them again.
        self._history: History = history if saves_passwords else HistoryWithoutFingerprints(history)
        self._desk = Desk(
            store=self._keyring,
            listener=self,
            loop=loop,
            schemes=service_schemes(),
            is_installed=is_installed,
            identify_program=self._process_names.program_of,
            history=self._history,
        )
        self._presence = Presence(loop, self._screen_locked)
        self._refused_clients = RefusedClientReporter(
            loop, self._process_names, self._publisher.set_refused_clients
        )
        self._access_control = make_access_control(
            configured.allow_users, self._refused_clients.record
        )
        parts = EngineParts(
            self._desk,
            router.route,
            self._publisher,
            self._limits,
            access_control=self._access_control,
        )
        self._engine = Engine(loop, parts, host, port)
        self._other_loopback = OtherLoopback(
            loop, self._engine, self._process_names, self._publisher.set_other_loopback
        )
        self._publisher.attach(self._desk, self._engine.counters, self._keyring)
        self._publisher.address = self._engine.address
        self._apply_access_settings(problem)
        tools = OwnRequestTools(
            self._desk,
            self._engine.connector,
            self._engine.handshake_threads,
            self._engine.limits,
            self._engine.via,
            loop.time,
            self._publisher.captive_portal_found,
        )

        async def verify_login(profile: Profile, target: str) -> bool:
            # Here, since many runs need no request of their own.
            from trayproxy.service.own_requests import trial

            return await trial.verify_login(tools, profile, target)

        self._desk.send_own_request = verify_login
        self._desk.addresses_of = self._engine.connector.addresses_of
        self._handler = RequestHandler(
            desk=self._desk,
            store=self._store,
            router=router,
            publisher=self._publisher,
            tools=tools,
            presence=self._presence,
            forget_connections=self._engine.forget_connections,
            quit_now=self._stop.set,
            use_port=self._use_port,
            return_to_configured_port=self._return_to_configured_port,
            verify_and_save=self._save_login,
            no_prompt=self._options.no_prompt,
        )
        self._desk.on_user_name = self._handler.save_user_name
        self._server = Server(self._paths, self._handler)

    def _inventory_changed(self, loop: asyncio.AbstractEventLoop) -> None:
        # Called on the keyring's thread. The loop may be closed already.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._publisher.publish_soon)

    def _screen_locked(self, is_locked: bool) -> None:
        self._desk.screen_locked(is_locked)
        self._publisher.screen_locked = is_locked
        self._publisher.publish_soon()

    async def _save_login(self, profile: Profile, login: Login, is_typed: bool) -> "SaveOutcome":
        """Verify a login, and save it in the keyring if it is right."""
        # Here, since few runs save a login by a command.
        from trayproxy.service.own_requests.save_login import SaveTools, verify_and_save

        tools = SaveTools(
            self._keyring,
            self._history,
            self._desk.rejected,
            self._limits,
            self._store.config.name_of,
            self._engine.is_own_address,
        )
        return await verify_and_save(tools, profile, login, is_typed=is_typed)

    def _apply_access_settings(self, problem: Problem | None) -> None:
        """Apply the settings for access control, and publish their problems as notices.

        Args:
            problem: A problem of the settings file itself, None if it has none.
        """
        about_users = apply_allowed_users(
            self._access_control, self._store.config.listen.allow_users
        )
        self._publisher.notices = (*((problem,) if problem else ()), *about_users)

    def _load(self) -> Problem | None:
        """Load the settings; if this fails, load the last good settings and return the problem."""
        try:
            self._store.load()
        except SettingsError as error:
            logger.error("%s: %s", error.title, error.body)
            self._store.load_last_good()
            return Problem(error.id, error.title, error.body)
        return None

    async def _run_with_front_ends(self, loop: asyncio.AbstractEventLoop) -> int:
        try:
            profile = self._first_profile()
            self._handler.start(profile, directly=self._starts_directly())
        except ProfileError as error:
            return report_failure(
                "TP-806", "The profile cannot be used", str(error), ExitCode.FAILED
            )
        problem = self._preload(profile)
        if problem is not None:
            return report_failure(problem.id, problem.title, problem.body, ExitCode.FAILED)
        self._listen_to_signals(loop)
        problem = await self._listen()
        if problem is not None:
            return report_failure(problem.id, problem.title, problem.body, ExitCode.PORT)
        if self._stop.is_set():
            await self._close()
            return ExitCode.DONE
        # Before the address is reported, so no change of the network is missed after that.
        watch = watch_network(loop, self._network_changed)
        self._report_listening()
        await self._stop.wait()
        logger.info("quitting")
        watch.close()
        await self._close()
        return ExitCode.DONE

    def _first_profile(self) -> Profile | None:
        """Return the profile to start with.

        Raises:
            ProfileError: No profile has the given name, or the given profile is invalid.
        """
        options = self._options
        if options.upstream is not None:
            return check_profile(
                Profile(
                    TEMPORARY_ID,
                    str(options.upstream),
                    options.upstream,
                    options.sign_in,
                    options.user,
                    ca_file=options.ca_file,
                    method=options.method,
                )
            )
        if self._starts_directly():
            return None
        if options.profile_name is None:
            return self._store.config.profile
        profile = self._store.config.find(options.profile_name)
        if profile is None:
            raise ProfileError(f"There is no profile “{options.profile_name}”.")
        return profile

    def _starts_directly(self) -> bool:
        """Return whether programs connect directly at the start."""
        options, config = self._options, self._store.config
        if options.upstream is not None:
            return False
        if options.profile_name is None:
            return config.is_direct
        return config.names_direct(options.profile_name)

    def _preload(self, profile: Profile | None) -> Problem | None:
        """Use the password from standard input; return why it cannot be used, None if it can."""
        options = self._options
        if profile is None or options.password is None:
            return None
        return self._desk.preload(profile, Login(options.user or profile.user, options.password))

    async def _listen(self) -> Problem | None:
        """Accept connections; return why this failed, unless the service waits for the port.

        A tray shows the reason while its service waits; a service cannot be asked after it has
        exited.
        """
        while not self._stop.is_set():
            try:
                self._engine.listen(self._port)
            except OSError as error:
                problem, spare = self._start_problem(error)
                if not self._options.wait_for_port:
                    return problem
                if problem != self._publisher.problem:
                    logger.error("%s: %s", problem.title, problem.body)
                self._publisher.set_listen_failed(problem, spare)
            else:
                return None
            await self._wait_to_listen_again()
        return None

    async def _wait_to_listen_again(self) -> None:
        """Wait for `LISTEN_RETRY_S`, or until the service is to quit or to use another port."""
        tasks = [asyncio.create_task(event.wait()) for event in (self._stop, self._port_changed)]
        await asyncio.wait(tasks, timeout=LISTEN_RETRY_S, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        self._port_changed.clear()

    def _report_listening(self) -> None:
        """Report the address at which programs can connect."""
        self._publisher.set_listening(self._engine.address, self._wanted_port)
        self._other_loopback.try_now()
        logger.info("listening on %s", self._engine.address)
        self._on_ready(self._engine.address)

    def _use_port(self, port: int) -> None:
        """Listen at another port than configured, in this run only."""
        self._wanted_port = self._wanted_port or _port_of(self._engine.address)
        self._port = port
        self._port_changed.set()

    def _return_to_configured_port(self) -> Problem | None:
        """Listen at the configured port again; return why this failed, None if it did not."""
        if not self._publisher.wanted_port:
            return None
        host, _, _ = self._engine.address.rpartition(":")
        try:
            self._engine.move(self._wanted_port)
        except OSError as error:
            from trayproxy.service.listen_problems import listen_problem

            address = f"{host}:{self._wanted_port}"
            hint = f"TrayProxy stays at {self._engine.address}."
            return listen_problem(error, address, self._process_names.listener_at, hint)
        self._wanted_port = 0
        self._report_listening()
        return None

    def _start_problem(self, error: OSError) -> tuple[Problem, int]:
        """Return why listening has failed, and a free port, 0 if the port is not taken."""
        from trayproxy.service.listen_problems import find_free_port, listen_problem

        address = self._engine.address
        spare = find_free_port(error, address)
        hint = (
            "TrayProxy starts by itself once the port is free."
            if self._options.wait_for_port
            else f"Choose another port, such as --listen {address.rpartition(':')[0]}:{spare}."
        )
        return listen_problem(error, address, self._process_names.listener_at, hint), spare

    def _network_changed(self) -> None:
        logger.info("the network has changed")
        self._engine.network_changed()
        self._other_loopback.try_now()

    def _listen_to_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.add_signal_handler(signal.SIGTERM, self._stop.set)
            loop.add_signal_handler(signal.SIGINT, self._stop.set)
        except NotImplementedError:
            # Windows: the handler runs in the main thread, between two iterations of the loop.
            signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(self._stop.set))
        if hasattr(signal, "SIGHUP"):
            loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _reload(self) -> None:
        try:
            self._handler.reload()
        except (SettingsError, ProfileError) as error:
            logger.error("the settings were not reloaded: %s", error)
            if isinstance(error, SettingsError):
                self._apply_access_settings(Problem(error.id, error.title, error.body))
        else:
            self._apply_access_settings(None)
        self._publisher.publish_soon()

    async def _close(self) -> None:
        """Stop the parts in the order of their dependencies."""
        self._handler.broadcast(Quitting())
        self._presence.close()
        self._desk.close()
        self._other_loopback.close()
        await self._engine.close()
        self._publisher.close()
        self._refused_clients.close()
        self._process_names.close()

    # --- trayproxy.desk.change_feed.ChangeListener ---

    def prompt_changed(self, prompt: Prompt) -> None:
        """Send a new or changed prompt to the front ends."""
        self._handler.broadcast(PromptChanged(prompt))

    def prompt_closed(self, number: int, ending: Ending) -> None:
        """Tell the front ends about the end of a prompt."""
        self._handler.broadcast(PromptClosed(number, ending))

    def facts_changed(self) -> None:
        """Publish the status, in which the sign-in or the keyring has changed."""
        self._publisher.publish_soon()

    def _send_status(self, status: Status) -> None:
        self._handler.broadcast(StatusChanged(status))


def _port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def report_failure(code: str, title: str, body: str, exit_code: int) -> int:
    """Write a problem to standard error; return the exit code."""
    # Standard error may be full or closed; the exit code is set in any case.
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{title}\n{body} ({code})\n")
        sys.stderr.flush()
    return exit_code
