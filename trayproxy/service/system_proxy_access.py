"""The service's access to the system proxy, which creates its parts only when they are needed."""

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from trayproxy.control.messages import (
    Failed,
    GetSystemProxy,
    Reply,
    SystemProxyStatus,
    UseSystemProxy,
)
from trayproxy.paths import Paths
from trayproxy.profiles.config import SystemProxySettings

if TYPE_CHECKING:
    from trayproxy.service.system_proxy.switch import SystemProxySwitch


class SystemProxyAccess:
    """Passes requests and events to the switch of the system proxy.

    Most runs leave the system proxy alone: they neither import nor create the switch.

    Attributes:
        settings: Returns the settings of the system proxy; by default, the defaults.
        save_settings: Saves them, and raises `SettingsError` if that fails; by default, nothing is
            saved.
    """

    def __init__(
        self,
        paths: Paths,
        publish: Callable[[SystemProxyStatus], None],
        serve_pac: Callable[[str, str], None],
    ) -> None:
        """Create the access; `start` restores or sets the system proxy.

        Args:
            paths: The folders of TrayProxy.
            publish: Called with the status of the system proxy when it changes.
            serve_pac: Serves a PAC file with a path and a text at the local address.
        """
        self.settings: Callable[[], SystemProxySettings] = SystemProxySettings
        self.save_settings: Callable[[SystemProxySettings], Awaitable[None]] = _save_nothing
        self._paths = paths
        self._publish = publish
        self._serve_pac = serve_pac
        self._address = ""
        self._bypass: tuple[str, ...] = ()
        self._switch: SystemProxySwitch | None = None

    def start(self, address: str) -> None:
        """Record that programs can connect, and set or restore the system proxy if necessary.

        Args:
            address: The local address.
        """
        self._address = address
        if self._switch is not None:
            self._switch.address_changed(address)
        elif self.settings().use or self._has_journal():
            self._create().start_soon()

    async def not_listening(self) -> None:
        """Restore what an earlier run has left: programs cannot connect at the local address."""
        if self._switch is None and self._has_journal():
            await self._create().start()

    def bypass_changed(self, bypass: tuple[str, ...]) -> None:
        """Let the exceptions of the system proxy follow the bypass rules of the active profile."""
        self._bypass = bypass
        if self._switch is not None:
            self._switch.bypass_changed(bypass)

    def network_changed(self) -> None:
        """Restore or set the parts that were missing: a network connection may be there again."""
        if self._switch is not None:
            self._switch.network_changed()

    def settings_changed(self) -> None:
        """Follow the settings after they were changed outside."""
        if self._switch is not None:
            self._switch.settings_changed(self.settings())
        elif self.settings().use and self._address:
            self._create().start_soon()

    async def handle(self, request: GetSystemProxy | UseSystemProxy) -> Reply:
        """Carry out a request of a front end.

        Raises:
            SettingsError: The choice was not saved; the system proxy has changed nevertheless.
        """
        switch = self._switch or self._create()
        if isinstance(request, GetSystemProxy):
            return self._with_setting(await switch.read())
        before = switch.settings
        if request.use:
            problem = await switch.turn_on(request.mode or before.mode, request.leftover)
        else:
            problem = await switch.turn_off(request.leftover, everything=request.everything)
        if switch.settings != before:
            await self.save_settings(switch.settings)
        if problem is not None:
            return Failed(problem)
        return self._with_setting(switch.status)

    async def close(self, *, session_ends: bool) -> None:
        """Restore the system proxy, unless the settings say that it stays.

        Args:
            session_ends: True if the service ends with the user's session.
        """
        if self._switch is not None:
            await self._switch.close(session_ends=session_ends)

    def _has_journal(self) -> bool:
        return os.path.exists(self._paths.system_proxy_file)

    def _with_setting(self, status: SystemProxyStatus) -> SystemProxyStatus:
        return replace(status, restore_on_quit=self.settings().restore_on_quit)

    def _create(self) -> "SystemProxySwitch":
        from trayproxy.service.system_proxy.factory import make_switch

        self._switch = make_switch(
            self._paths,
            lambda status: self._publish(self._with_setting(status)),
            self._serve_pac,
            self.settings(),
            self._address,
            self._bypass,
        )
        return self._switch


async def _save_nothing(settings: SystemProxySettings) -> None:
    pass
