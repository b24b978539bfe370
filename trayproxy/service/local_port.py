"""Listens on the local port, waits while the port is taken, and changes the port for this run."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from trayproxy.domain.problem import Problem
from trayproxy.profiles.config import Config
from trayproxy.service.other_loopback import LoopbackListener, OtherLoopback
from trayproxy.service.process_names import ProcessNames
from trayproxy.service.status_publisher import StatusPublisher

if TYPE_CHECKING:
    from trayproxy.service.further_listeners import FurtherListeners

logger = logging.getLogger(__name__)

LISTEN_RETRY_S = 5.0
"""Seconds between attempts to listen while another program uses the port."""


class ListeningEngine(LoopbackListener, Protocol):
    """The part of `trayproxy.engine.engine.Engine` that listens."""

    def listen(self, port: int | None = None) -> None:
        """Listen on the configured port, or on another port."""

    def move(self, port: int) -> None:
        """Listen on another port instead of the present port."""


@dataclass(frozen=True, slots=True)
class FurtherSettings:
    """The settings of the listeners beside the local address.

    Attributes:
        config: Returns the settings.
        make: Creates the listeners, which are not needed in most runs.
    """

    config: Callable[[], Config]
    make: "Callable[[], FurtherListeners]"


class LocalPort:
    """The port on which TrayProxy accepts connections, and the listeners that depend on it.

    Attributes:
        further: The listeners beside the local address; None before they are needed.
    """

    def __init__(
        self,
        engine: ListeningEngine,
        publisher: StatusPublisher,
        names: ProcessNames,
        other_loopback: OtherLoopback,
        on_ready: Callable[[str], None],
        on_waiting: Callable[[], Awaitable[None]],
        stop: asyncio.Event,
        further: FurtherSettings,
        *,
        waits: bool,
    ) -> None:
        """Create an instance; `listen` opens the port.

        `on_ready` is called with the local address once programs can connect. A port that is in use
        is an error unless `waits` is True; the service waits for the port until `stop` is set, and
        calls `on_waiting` after each attempt.
        """
        self._engine = engine
        self._publisher = publisher
        self._names = names
        self._other_loopback = other_loopback
        self._on_ready = on_ready
        self._on_waiting = on_waiting
        self._stop = stop
        self._further_settings = further
        self.further: FurtherListeners | None = None
        self._waits = waits
        self._port: int | None = None
        self._wanted_port = 0
        """The port in the settings while this run uses another port, else 0."""
        self._port_changed = asyncio.Event()

    async def listen(self) -> Problem | None:
        """Accept connections; return why this failed, unless the service waits for the port.

        A service that waits can report the reason to its tray.
        """
        while not self._stop.is_set():
            try:
                self._engine.listen(self._port)
            except OSError as error:
                problem, free_port = self._start_problem(error)
                if not self._waits:
                    return problem
                if problem != self._publisher.own_values.problem:
                    logger.error("%s: %s", problem.title, problem.body)
                self._publisher.set_listen_failed(problem, free_port)
                await self._on_waiting()
            else:
                break
            await self._wait_to_listen_again()
        return None

    async def _wait_to_listen_again(self) -> None:
        """Wait for `LISTEN_RETRY_S`, or until the service is to quit or to use another port."""
        tasks = [asyncio.create_task(event.wait()) for event in (self._stop, self._port_changed)]
        await asyncio.wait(tasks, timeout=LISTEN_RETRY_S, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        self._port_changed.clear()

    def report_listening(self) -> None:
        """Report the address at which programs can connect."""
        self._publisher.set_listening(self._engine.address, self._wanted_port)
        self._other_loopback.try_now()
        logger.info("listening on %s", self._engine.address)
        self._on_ready(self._engine.address)
        self.settings_changed()

    def settings_changed(self) -> None:
        """Listen at the further addresses of the settings, and no longer at others."""
        config = self._further_settings.config()
        listen = config.listen
        self._publisher.set_devices(listen.devices, containers=listen.containers)
        if config.forwards or listen.devices or listen.containers:
            self.use_further().apply(config)
        elif self.further is not None:
            self.further.apply(config)

    def use_further(self) -> "FurtherListeners":
        """Return the listeners beside the local address, which are created at the first use."""
        if self.further is None:
            self.further = self._further_settings.make()
        return self.further

    def use(self, port: int) -> None:
        """Listen on another port than the configured port, in this run only."""
        self._wanted_port = self._wanted_port or _port_of(self._engine.address)
        self._port = port
        self._port_changed.set()

    def return_to_configured(self) -> Problem | None:
        """Listen on the configured port again; return why this failed, None if it did not."""
        if not self._publisher.own_values.wanted_port:
            return None
        host, _, _ = self._engine.address.rpartition(":")
        try:
            self._engine.move(self._wanted_port)
        except OSError as error:
            from trayproxy.service.listen_problems import listen_problem

            address = f"{host}:{self._wanted_port}"
            hint = f"TrayProxy stays at {self._engine.address}."
            return listen_problem(error, address, self._names.listener_at, hint)
        self._wanted_port = 0
        self.report_listening()
        return None

    def network_changed(self) -> None:
        """Try again to listen on the other address of ``localhost``, and follow the addresses of
        network adapters."""
        self._other_loopback.try_now()
        if self.further is not None:
            self.further.update()

    def close(self) -> None:
        """Stop trying to listen at other addresses."""
        self._other_loopback.close()
        if self.further is not None:
            self.further.close()

    def _start_problem(self, error: OSError) -> tuple[Problem, int]:
        """Return why listening has failed, and a free port, 0 if the port is not taken."""
        # Here, since most runs listen at the first attempt.
        from trayproxy.service.listen_problems import find_free_port, listen_problem

        address = self._engine.address
        free_port = find_free_port(error, address)
        hint = (
            "TrayProxy starts by itself once the port is free."
            if self._waits
            else f"Choose another port, such as --listen {address.rpartition(':')[0]}:{free_port}."
        )
        return listen_problem(error, address, self._names.listener_at, hint), free_port


def _port_of(address: str) -> int:
    return int(address.rpartition(":")[2])
