"""Choose the watch for network changes of this operating system."""

import asyncio
import logging
import sys
from collections.abc import Callable

from trayproxy.desktop.network_change.base import NetworkWatch, NullNetworkWatch

logger = logging.getLogger(__name__)


def watch_network(loop: asyncio.AbstractEventLoop, on_change: Callable[[], None]) -> NetworkWatch:
    """Call a function after each change of the network.

    The running loop calls the function. Changes within `SETTLE_S` seconds are reported by one call.
    Suspending and resuming the computer is not a change if the network is the same afterwards (see
    `trayproxy.desktop.suspend_clock`).

    Returns:
        The watch; close it before the loop is closed. If the system does not report network
        changes, for example in a sandbox, a `NullNetworkWatch`.
    """
    try:
        if sys.platform == "win32":
            from trayproxy.desktop.network_change.windows import WindowsNetworkWatch

            return WindowsNetworkWatch(loop, on_change)
        elif sys.platform == "darwin":
            from trayproxy.desktop.network_change.macos import watch_routing_socket

            return watch_routing_socket(loop, on_change)
        elif sys.platform == "linux":
            from trayproxy.desktop.network_change.linux import LinuxNetworkWatch

            return LinuxNetworkWatch(loop, on_change)
        else:
            raise OSError(f"there is no watch for {sys.platform}")
    except OSError as error:
        logger.info("network changes are not reported: %s", error)
        return NullNetworkWatch()
