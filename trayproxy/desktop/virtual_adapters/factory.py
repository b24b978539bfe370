"""Choose the addresses on virtual adapters by the rules of this operating system."""

import asyncio
import logging
import sys
from collections.abc import Callable

from trayproxy.desktop.network_change.base import NetworkWatch, NullNetworkWatch
from trayproxy.desktop.virtual_adapters.base import AdapterAddress

logger = logging.getLogger(__name__)


def container_addresses(addresses: tuple[AdapterAddress, ...]) -> tuple[AdapterAddress, ...]:
    """Return the addresses at which containers and WSL on this computer reach it."""
    is_container_adapter = _rule()
    return tuple(found for found in addresses if is_container_adapter(found.adapter))


def _rule() -> Callable[[str], bool]:
    if sys.platform == "win32":
        from trayproxy.desktop.virtual_adapters import windows

        return windows.is_container_adapter
    elif sys.platform == "darwin":
        from trayproxy.desktop.virtual_adapters import macos

        return macos.is_container_adapter
    elif sys.platform == "linux":
        from trayproxy.desktop.virtual_adapters import linux

        return linux.is_container_adapter
    else:
        return lambda adapter: False


def watch_addresses(loop: asyncio.AbstractEventLoop, on_change: Callable[[], None]) -> NetworkWatch:
    """Call a function after changes of this computer's addresses that are no change of the network:
    those of container engines.

    On Windows and macOS, the watch for network changes reports these addresses, too.
    """
    if sys.platform == "linux":
        from trayproxy.desktop.virtual_adapters import linux

        try:
            return linux.watch_addresses(loop, on_change)
        except OSError as error:
            logger.info("changes of addresses are not reported: %s", error)
    return NullNetworkWatch()
