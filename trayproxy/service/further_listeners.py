"""Listens at further addresses: fixed forwards, other devices, and containers (security.md, T3).

The addresses follow the settings and the network. An address that cannot be listened on is reported
and tried again; the other listeners are not affected.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec import structs

from trayproxy.auth.login import Login
from trayproxy.control.messages import FurtherListener, RefusedDevices
from trayproxy.desktop.network_change.base import NetworkWatch, NullNetworkWatch
from trayproxy.desktop.socket_owner.base import Endpoint
from trayproxy.desktop.virtual_adapters.base import AdapterAddress, adapter_addresses
from trayproxy.desktop.virtual_adapters.factory import container_addresses, watch_addresses
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import KeyringStatus
from trayproxy.engine.forward.client_password import ClientPassword
from trayproxy.engine.server.access_control import ConnectionAccess
from trayproxy.engine.server.listener_use import ListenerUse
from trayproxy.engine.server.network_access import IpNetwork, NetworkAccess
from trayproxy.engine.upstream.route import RouteSource
from trayproxy.http.target import Authority
from trayproxy.profiles.config import Config
from trayproxy.service.device_password import PasswordKeyring, find_password, save_password
from trayproxy.service.listen_problems import listen_problem
from trayproxy.service.listener_plan import PlannedListener, plan_listeners
from trayproxy.service.process_names import ListeningProgram
from trayproxy.service.refused_devices import RefusedDeviceCounter

logger = logging.getLogger(__name__)

RETRY_INTERVAL_S = 5.0
"""Seconds between attempts to listen at an address that another program uses or that is missing."""

PATIENCE_S = 5.0
"""Seconds for which `FurtherListeners.wait` waits at most."""

NO_PASSWORD = Problem(
    "TP-114",
    "Other devices cannot connect: there is no password",
    "The settings say that other devices must send a password, and the keyring has none or does "
    "not give it. Unlock the keyring, or set a password: trayproxy devices password.",
)


class EngineListeners(Protocol):
    """The part of `trayproxy.engine.server.listener.Listeners` that is used here."""

    def add(self, host: str, port: int, use: ListenerUse) -> Endpoint:
        """Listen on an address; raise `OSError` if that is not possible."""

    def remove(self, address: Endpoint) -> None:
        """Close a listener."""


class WatchedKeyring(PasswordKeyring, Protocol):
    """A keyring that reports changes of its state."""

    @property
    def watch(self) -> Callable[[Callable[[KeyringStatus], None]], None]:
        """Register a callback; any thread may call it."""


class ListenerNames(Protocol):
    """The part of `trayproxy.service.process_names.ProcessNames` that is used here."""

    async def find_listener(self, address: str) -> ListeningProgram:
        """Return the program that listens at an address."""


@dataclass(frozen=True, slots=True)
class ListenerParts:
    """The collaborators of `FurtherListeners`.

    Attributes:
        listeners: The listeners of the engine.
        own_port: Returns the port of the local address.
        access: Decides which programs of this computer are served.
        routes: Chooses the routes of the requests.
        keyring: Has the password for other devices.
        names: Finds the program at an address that is taken.
        publish: Called with the listeners after each change.
        publish_refused: Called with the totals after each refused device.
        close_clients: Closes the connections of a listener, except those whose peer address is
            kept.
        on_changed: Called after addresses were added or removed.
        read_addresses: Returns the addresses of this computer; may block.
        watch_addresses: Watches changes of these addresses.
    """

    listeners: EngineListeners
    own_port: Callable[[], int]
    access: ConnectionAccess
    routes: RouteSource
    keyring: WatchedKeyring
    names: ListenerNames
    publish: Callable[[tuple[FurtherListener, ...]], None]
    publish_refused: Callable[[RefusedDevices], None]
    close_clients: Callable[[ListenerUse, Callable[[tuple[Any, ...]], bool]], None]
    on_changed: Callable[[], None]
    read_addresses: Callable[[], tuple[AdapterAddress, ...]] = adapter_addresses
    watch_addresses: Callable[[asyncio.AbstractEventLoop, Callable[[], None]], NetworkWatch] = (
        watch_addresses
    )


class FurtherListeners:
    """The listeners beside the local address."""

    def __init__(self, loop: asyncio.AbstractEventLoop, parts: ListenerParts) -> None:
        """Create an instance without listeners; `apply` opens them."""
        self._loop = loop
        self._parts = parts
        self._config = Config()
        self._open: dict[PlannedListener, tuple[Endpoint, ListenerUse]] = {}
        self._problems: dict[PlannedListener, Problem] = {}
        self._password: ClientPassword | None = None
        self._refused = RefusedDeviceCounter(loop.time, parts.publish_refused)
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_watching_keyring = False
        self._watch: NetworkWatch = NullNetworkWatch()

    def apply(self, config: Config) -> None:
        """Listen at the addresses of these settings."""
        self._config = config
        self._password = None
        self._watch.close()
        is_dynamic = bool(config.listen.devices or config.listen.containers)
        self._watch = (
            self._parts.watch_addresses(self._loop, self.update)
            if is_dynamic
            else NullNetworkWatch()
        )
        self.update()

    def update(self) -> None:
        """Compare the listeners with the settings and the addresses of this computer, soon."""
        self._stop()
        self._task = self._loop.create_task(self._update())

    async def wait(self) -> None:
        """Wait until the addresses have been compared, but not for a user who has to unlock the
        keyring."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=PATIENCE_S)

    def close(self) -> None:
        """Compare no addresses any more. The engine closes the listeners."""
        self._watch.close()
        self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def save_password(self, login: Login | None) -> Problem | None:
        """Save or delete the password for other devices; return why this failed."""
        problem = await save_password(self._parts.keyring, login)
        if problem is None:
            self._password = None
            self.update()
        return problem

    async def _update(self) -> None:
        planned = await self._plan()
        await self._read_password()
        problems = {one: self._problems[one] for one in planned if one in self._problems}
        has_changed = self._close_all_but(planned)
        errors: dict[PlannedListener, OSError] = {}
        for one in planned:
            if one in self._open:
                self._allow(self._open[one][1], one.networks)
                continue
            if one.needs_password and self._password is None:
                problems[one] = NO_PASSWORD
                continue
            use = self._use(one)
            try:
                self._open[one] = self._parts.listeners.add(one.host, one.port, use), use
            except OSError as failure:
                errors[one] = failure
            else:
                has_changed = True
                problems.pop(one, None)
                logger.info("listening on %s for %s: %s", one.address, one.kind, one.to)
        if has_changed:
            self._parts.on_changed()
        for one, error in errors.items():
            if problems.get(one) in (None, NO_PASSWORD):
                problems[one] = await self._problem(one, error)
                logger.warning("%s: %s", problems[one].title, problems[one].body)
        self._problems = problems
        self._publish(planned)
        if errors:
            self._timer = self._loop.call_later(RETRY_INTERVAL_S, self.update)

    async def _plan(self) -> tuple[PlannedListener, ...]:
        listen = self._config.listen
        addresses: tuple[AdapterAddress, ...] = ()
        if listen.devices or listen.containers:
            try:
                addresses = await asyncio.to_thread(self._parts.read_addresses)
            except OSError as error:
                logger.warning("the addresses of this computer are not known: %s", error)
        of_containers = container_addresses(addresses)
        return plan_listeners(self._config, self._parts.own_port(), addresses, of_containers)

    async def _read_password(self) -> None:
        """Read the password if it is needed and not known. A locked keyring is read again when its
        state changes."""
        listen, keyring = self._config.listen, self._parts.keyring
        if not (listen.devices and listen.devices_password) or self._password is not None:
            return
        password = await find_password(keyring)
        if password:
            self._password = ClientPassword(password)
        elif not self._is_watching_keyring:
            self._is_watching_keyring = True
            keyring.watch(self._keyring_status_changed)

    def _keyring_status_changed(self, _: KeyringStatus) -> None:
        with suppress(RuntimeError):  # The loop may be closed already.
            self._loop.call_soon_threadsafe(self._keyring_changed)

    def _keyring_changed(self) -> None:
        if NO_PASSWORD in self._problems.values() and self._task is not None and self._task.done():
            self.update()

    def _close_all_but(self, planned: tuple[PlannedListener, ...]) -> bool:
        """Close the other listeners, but no tunnel of a forward; return whether there were any."""
        gone = [one for one in self._open if one not in planned]
        for one in gone:
            address, use = self._open.pop(one)
            self._parts.listeners.remove(address)
            self._allow(use, ())
            logger.info("no longer listening on %s", one.address)
        return bool(gone)

    def _allow(self, use: ListenerUse, networks: tuple[IpNetwork, ...]) -> None:
        """Change the containers and other devices that may use a listener. The connections of those
        that may not any more are closed: each could send further requests."""
        access = use.access_control
        if isinstance(access, NetworkAccess) and access.networks != networks:
            access.networks = networks
            self._parts.close_clients(use, access.keeps)

    def _use(self, planned: PlannedListener) -> ListenerUse:
        parts, access = self._parts, self._parts.access
        if planned.networks:
            access = NetworkAccess(planned.networks, access, self._refused.record)
        target = None if planned.target is None else Authority(*planned.target)
        use = ListenerUse(parts.routes, access, target)
        return use.with_password(self._verify) if planned.needs_password else use

    def _verify(self, user: bytes, password: bytes) -> bool:
        """Return whether a device sent the present password, which may change while it is
        connected."""
        return self._password is not None and self._password(user, password)

    async def _problem(self, planned: PlannedListener, error: OSError) -> Problem:
        owner = await self._parts.names.find_listener(planned.address)
        hint = "TrayProxy listens there, too, as soon as it can."
        problem = listen_problem(error, planned.address, lambda _: owner, hint)
        return structs.replace(problem, id="TP-113")

    def _publish(self, planned: tuple[PlannedListener, ...]) -> None:
        self._parts.publish(
            tuple(
                FurtherListener(one.kind, one.address, one.to, self._problems.get(one))
                for one in planned
            )
        )
