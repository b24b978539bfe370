"""Changes of the settings file by the service, one after another."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from trayproxy.control.messages import ChangeListeners
from trayproxy.profiles.config import Config, SystemProxySettings
from trayproxy.profiles.store import SettingsStore


class SettingsChanges:
    """Changes the settings file.

    The methods raise `ProfileError` for an invalid setting, and `SettingsError` if the settings
    file was not written.

    Attributes:
        store: The settings.
    """

    def __init__(self, store: SettingsStore) -> None:
        """Create an instance for a settings file."""
        self.store = store
        self._lock = asyncio.Lock()

    async def save(self, change: Callable[[Config], Config]) -> None:
        """Change the settings file in a thread, because writing waits for the disk.

        If the file was changed outside, it is loaded first, so no change is lost.
        """
        async with self._lock:
            if await asyncio.to_thread(self.store.is_changed_on_disk):
                await asyncio.to_thread(self.store.load)
            config = change(self.store.config)
            await asyncio.to_thread(self.store.save, config)

    async def save_system_proxy(self, settings: SystemProxySettings) -> None:
        """Save the settings of the system proxy."""
        await self.save(lambda config: replace(config, system_proxy=settings))

    async def change_listeners(self, request: ChangeListeners) -> None:
        """Save the settings of the listeners beside the local address."""
        # Here, because they are rarely changed.
        from trayproxy.profiles.listener_checks import changed_listeners

        await self.save(
            lambda config: changed_listeners(
                config,
                request.forwards,
                request.devices,
                devices_password=request.devices_password,
                containers=request.containers,
            )
        )
