"""The switch of the system proxy: on, off, and adapted when TrayProxy or the system changes."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from functools import partial

from msgspec import structs

from trayproxy.control.messages import LeftoverChoice, SystemProxyState, SystemProxyStatus
from trayproxy.desktop.system_proxy.base import (
    READ_AT_LOG_IN,
    ProxySetting,
    endpoint,
)
from trayproxy.desktop.system_proxy.repair import RestorePolicy
from trayproxy.domain.problem import Problem
from trayproxy.profiles.config import SystemProxyMode, SystemProxySettings
from trayproxy.service.system_proxy.bypass_rules import bypass_rules
from trayproxy.service.system_proxy.pac_file import pac_file
from trayproxy.service.system_proxy.problems import (
    ERRORS,
    NOT_LISTENING,
    NOT_RESTORED_ID,
    damaged,
    held,
    not_restored,
    problem_of,
)
from trayproxy.service.system_proxy.status import PublishedStatus, refreshed, status_after
from trayproxy.service.system_proxy.tools import SystemProxyTools, Watching
from trayproxy.system_settings.entries import TargetError

logger = logging.getLogger(__name__)

_POLICIES = {
    LeftoverChoice.ASK: RestorePolicy.RETRY,
    LeftoverChoice.KEEP: RestorePolicy.FORCE,
    LeftoverChoice.FORGET: RestorePolicy.FORGET,
}

CLOSE_TIMEOUT_S = 3.0
"""Seconds that the end of the service waits for the restoration; then the watchdog restores."""


class SystemProxySwitch:
    """Sets the system proxy while the user wants it and programs can connect.

    All changes run one after the other, each in a thread.
    """

    def __init__(
        self,
        tools: SystemProxyTools,
        publish: Callable[[SystemProxyStatus], None],
        settings: SystemProxySettings,
        address: str,
        bypass: tuple[str, ...] = (),
        pac_path: str = "",
    ) -> None:
        """Create the switch; `start` reads the journal of an earlier run.

        Args:
            tools: The system.
            publish: Called with the status of the system proxy when it changes.
            settings: The user's settings.
            address: The local address; empty if programs cannot connect.
            bypass: The bypass rules of the active profile.
            pac_path: The path of the PAC file at the local address.
        """
        self._tools = tools
        self._settings = settings
        self._bypass = bypass
        self._address = _split(address)
        self._pac_path = pac_path
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watching = Watching(tools.watch, lambda: self._schedule(self._refresh_alone()))
        self._is_closing = False
        self._is_set = False
        """True if the journal says so, as last read."""
        self._published = PublishedStatus(publish, SystemProxyStatus(mode=settings.mode))

    @property
    def status(self) -> SystemProxyStatus:
        """The status, as last published."""
        return self._published.status

    @property
    def settings(self) -> SystemProxySettings:
        """The user's settings, as last used."""
        return self._settings

    # --- requests of front ends ---

    async def read(self) -> SystemProxyStatus:
        """Read the system proxy, publish its status and return it."""
        async with self._lock:
            await self._refresh()
        return self._published.status

    async def turn_on(
        self, mode: SystemProxyMode, leftovers: LeftoverChoice = LeftoverChoice.ASK
    ) -> Problem | None:
        """Set the system proxy, and keep it set; return why that failed, None if it did not.

        Args:
            mode: How the system proxy points at TrayProxy.
            leftovers: The choice about an earlier system proxy at which no program listens.
        """
        async with self._lock:
            before = self._settings
            self._settings = replace(before, use=True, mode=mode)
            problem = await self._apply(leftovers)
            if problem is not None:
                self._settings = before
            return problem

    async def turn_off(
        self, leftovers: LeftoverChoice = LeftoverChoice.ASK, *, everything: bool = False
    ) -> Problem | None:
        """Restore the system proxy; return why that failed, None if it did not.

        Args:
            leftovers: The choice about an earlier system proxy at which no program listens.
            everything: True to restore also the values that other programs have changed.
        """
        async with self._lock:
            self._settings = replace(self._settings, use=False)
            problem = await self._take_back(_POLICIES[leftovers], everything=everything)
            if problem is None and self._published.status.holder:
                return held(self._published.status.holder)
            return problem

    # --- events of the service and of the system ---

    def start_soon(self) -> None:
        """Call `start` in a task of its own."""
        self._schedule(self.start())

    async def start(self) -> None:
        """Set the system proxy as the user's settings say, or restore it after a crash.

        It is also restored if programs cannot connect.
        """
        async with self._lock:
            if self._is_closing:
                return
            has_journal = await asyncio.to_thread(self._tools.files.journal.path.exists)
            if not self._settings.use or self._address is None:
                if has_journal:
                    await self._take_back(is_repair=True)
            elif not (has_journal and await self._is_left_to_another_program()):
                problem = await self._apply(LeftoverChoice.ASK)
                if problem is not None and has_journal:
                    # Programs must not keep the address of the earlier run.
                    await self._take_back()
                if problem is not None:
                    self._published.set(problem=problem)

    def address_changed(self, address: str) -> None:
        """Let the system proxy follow the local address.

        Args:
            address: The new address; empty if programs cannot connect any more.
        """
        self._address = _split(address)
        # Also after a failed restoration: the system proxy still has an address of TrayProxy.
        if self._settings.use or self._published.status.state is SystemProxyState.ON:
            self._schedule(self._apply_or_take_back())

    def bypass_changed(self, bypass: tuple[str, ...]) -> None:
        """Let the exceptions of the system proxy follow the bypass rules of the active profile."""
        if bypass != self._bypass:
            self._bypass = bypass
            if self._settings.use:
                self._schedule(self._apply_or_take_back())

    def network_changed(self) -> None:
        """Restore or set the parts that were missing: a network connection may be there again."""
        status = self._published.status
        has_failed = status.problem is not None and status.problem.id == NOT_RESTORED_ID
        if status.waiting or has_failed or (self._settings.use and status.skipped):
            self._schedule(self._apply_or_take_back())

    def settings_changed(self, settings: SystemProxySettings) -> None:
        """Follow the settings after they were changed outside."""
        if settings != self._settings:
            self._settings = settings
            self._schedule(self._apply_or_take_back())

    async def close(self, *, session_ends: bool = False) -> None:
        """Restore the system proxy unless the settings say that it stays; end the watchdog.

        Args:
            session_ends: True if the service ends with the user's session. The settings
                that programs read at log-in stay then, if TrayProxy starts at log-in as well.
        """
        # A change that has begun is not cancelled: its thread would go on, and could set the system
        # proxy after it was restored here. Changes that wait for the lock do nothing any more.
        self._is_closing = True
        keep = self._settings.use and not self._settings.restore_on_quit
        stays = READ_AT_LOG_IN if session_ends and self._settings.use else frozenset()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S), self._lock:
                if not keep:
                    await self._take_back(stays=stays)
        # If the restoration takes longer, the watchdog waits for it, and completes it if necessary.
        await asyncio.to_thread(partial(self._tools.watchdog.stop, keep=keep))
        for task in tuple(self._tasks):
            task.cancel()
        self._watching.end()

    # --- changes; the lock is held ---

    async def _apply_or_take_back(self) -> None:
        async with self._lock:
            if self._is_closing:
                return
            if self._settings.use and await self._is_left_to_another_program():
                return
            wanted = self._settings.use and self._address is not None
            problem = await (self._apply(None) if wanted else self._take_back())
            if problem is not None and wanted:
                # Programs must not keep an address at which TrayProxy does not listen any more.
                await self._take_back()
            if problem is not None:
                logger.warning("%s: %s", problem.title, problem.body)
                self._published.set(problem=problem)

    async def _is_left_to_another_program(self) -> bool:
        """Read the system proxy; return whether another program has changed it.

        Only the user's own *on* takes the system proxy back from another program.
        """
        await self._refresh()
        if self._address is None or self._published.status.state is not SystemProxyState.CHANGED:
            return False
        self._watching.begin()
        return True

    async def _apply(self, leftovers: LeftoverChoice | None) -> Problem | None:
        if self._address is None or self._is_closing:
            return NOT_LISTENING
        host, port = self._address
        setting = _setting(host, port, self._settings.mode, self._pac_path, self._bypass)
        self._tools.serve_pac(self._pac_path, pac_file(host, port, setting.bypass))
        try:
            result = await asyncio.to_thread(self._tools.turn_on, setting, leftovers)
        except ERRORS as error:
            problem = problem_of(error, endpoint(host, port))
            await self._refresh()
            return problem
        # Before the read, so that no later change by another program is missed.
        self._watching.begin()
        await self._refresh()
        self._published.set(
            problem=damaged(result.damaged) if result.damaged is not None else None,
            mode=self._settings.mode,
            inexpressible=result.inexpressible,
            skipped=result.skipped,
        )
        return None

    async def _take_back(
        self,
        policy: RestorePolicy = RestorePolicy.KEEP,
        *,
        everything: bool = False,
        is_repair: bool = False,
        stays: frozenset[str] = frozenset(),
    ) -> Problem | None:
        """Restore the system proxy; return why that failed, None if it did not.

        Args:
            policy: The treatment of settings that cannot be restored.
            everything: True to restore also the values that other programs have changed.
            is_repair: True if an earlier run of the service has left the settings.
            stays: The names of the targets that are not restored, as far as they are in use now.
        """
        try:
            result = await asyncio.to_thread(self._tools.restore, policy, everything, stays)
        except ERRORS as error:
            return await self._not_restored(problem_of(error, ""))
        if result.restored.failures:
            return await self._not_restored(not_restored(result.restored.failures))
        self._is_set = False
        self._watching.end()
        status = status_after(result, self._settings.mode, is_repair=is_repair)
        if not (result.restored.rest or result.is_unwanted):
            self._published.replace(status)
        else:
            await self._refresh(status)
        return status.problem

    async def _not_restored(self, problem: Problem) -> Problem:
        await self._refresh()
        self._published.set(problem=problem)
        return problem

    async def _refresh(self, status: SystemProxyStatus | None = None) -> None:
        """Read the system proxy, and publish its state.

        Args:
            status: The status with the other values; None for the present status.
        """
        known = self._published.status if status is None else status
        try:
            found = await asyncio.to_thread(self._tools.read)
        except TargetError as error:
            hints = (f"{error}",)
            self._published.replace(
                structs.replace(known, state=SystemProxyState.UNAVAILABLE, hints=hints)
            )
            return
        except ERRORS as error:
            self._published.replace(structs.replace(known, problem=problem_of(error, "")))
            return
        if self._is_set and not found.pid:
            await self._restored_by_another_process()
        self._is_set = found.pid != 0
        self._published.replace(refreshed(known, found))

    async def _restored_by_another_process(self) -> None:
        """Keep the system proxy off: “trayproxy system-proxy restore” or another TrayProxy of the
        user has restored it.
        """
        logger.warning("another process has restored the system proxy; it stays off")
        self._settings = replace(self._settings, use=False)
        self._watching.end()
        await asyncio.to_thread(self._tools.watchdog.stop)

    async def _refresh_alone(self) -> None:
        async with self._lock:
            if not self._is_closing:
                await self._refresh()

    def _schedule(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _setting(
    host: str, port: int, mode: SystemProxyMode, pac_path: str, bypass: tuple[str, ...]
) -> ProxySetting:
    return ProxySetting(
        host,
        port,
        f"http://{endpoint(host, port)}{pac_path}",
        uses_pac=mode is SystemProxyMode.PAC,
        bypass=bypass_rules(bypass),
    )


def _split(address: str) -> tuple[str, int] | None:
    """Return the host without brackets and the port of a local address, None for an empty text."""
    if not address:
        return None
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
