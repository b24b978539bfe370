"""Choose the watch for network changes of this operating system."""

import asyncio
import logging
import sys
from collections.abc import Callable

from trayproxy.desktop.network_change.base import NetworkWatch, NullNetworkWatch

logger = logging.getLogger(__name__)


def watch_network(loop: asyncio.AbstractEventLoop, on_change: Callable[[], None]) -> NetworkWatch:
    """Call back after each change of networks, once for all that happens together.

    Sleeping and waking up is no change if the network is the same afterwards (`sleep`).

    Args:
        loop: Whose thread this is called in, and `on_change` too.
        on_change: What to do.

    Returns:
        To be closed before the loop is. A system that does not tell is no error: a sandbox may
        forbid it, and what follows is what followed before anybody told.
    """
    try:
        return _system_watch(loop, on_change)
    except (OSError, NotImplementedError) as error:
        logger.info("changes of the network are not told: %s", error)
        return NullNetworkWatch()


def _system_watch(loop: asyncio.AbstractEventLoop, on_change: Callable[[], None]) -> NetworkWatch:
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
        raise NotImplementedError(sys.platform)
