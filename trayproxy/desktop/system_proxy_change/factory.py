"""Choose the watch for changes of the system proxy of this operating system."""

import asyncio
import logging
import sys
from collections.abc import Callable

from trayproxy.desktop.system_proxy_change.base import NullSystemProxyWatch, SystemProxyWatch

logger = logging.getLogger(__name__)


def watch_system_proxy(on_change: Callable[[], None]) -> SystemProxyWatch:
    """Call a function after each change of the system proxy, on the running event loop.

    Returns:
        The watch; close it before the loop is closed. If the system does not report changes, a
        `NullSystemProxyWatch`.
    """
    try:
        return _system_watch(asyncio.get_running_loop(), on_change)
    except (OSError, NotImplementedError) as error:
        logger.info("changes of the system proxy are not reported: %s", error)
        return NullSystemProxyWatch()


def _system_watch(
    loop: asyncio.AbstractEventLoop, on_change: Callable[[], None]
) -> SystemProxyWatch:
    if sys.platform == "win32":
        from trayproxy.desktop.system_proxy_change.windows import WindowsSystemProxyWatch

        return WindowsSystemProxyWatch(loop, on_change)
    elif sys.platform == "darwin":
        from trayproxy.desktop.system_proxy_change.macos import MacSystemProxyWatch

        return MacSystemProxyWatch(loop, on_change)
    elif sys.platform == "linux":
        from trayproxy.desktop.system_proxy_change.linux import LinuxSystemProxyWatch

        return LinuxSystemProxyWatch(loop, on_change)
    else:
        raise NotImplementedError(sys.platform)
