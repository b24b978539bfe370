"""Creates the switch of the system proxy for this system."""

import secrets
from collections.abc import Callable
from functools import partial

from trayproxy.control.messages import SystemProxyStatus
from trayproxy.desktop.autostart.factory import starts_at_log_in
from trayproxy.desktop.system_proxy.dead_proxy import is_dead
from trayproxy.desktop.system_proxy.factory import proxy_targets
from trayproxy.desktop.system_proxy_change.factory import watch_system_proxy
from trayproxy.paths import Paths
from trayproxy.profiles.config import SystemProxySettings
from trayproxy.service.system_proxy.files import files_of
from trayproxy.service.system_proxy.switch import SystemProxySwitch
from trayproxy.service.system_proxy.tools import SystemProxyTools
from trayproxy.service.system_proxy.watchdog_process import WatchdogProcess


def make_switch(
    paths: Paths,
    publish: Callable[[SystemProxyStatus], None],
    serve_pac: Callable[[str, str], None],
    settings: SystemProxySettings,
    address: str,
    bypass: tuple[str, ...],
) -> SystemProxySwitch:
    """Return the switch for this system.

    The path of its PAC file is random, so that no other user and no web page can guess it.

    Args:
        paths: The folders of TrayProxy.
        publish: Called with the status of the system proxy when it changes.
        serve_pac: Serves a PAC file with a path and a text at the local address.
        settings: The user's settings.
        address: The local address; empty if programs cannot connect.
        bypass: The bypass rules of the active profile.
    """
    tools = SystemProxyTools(
        files_of(paths),
        partial(proxy_targets, starts_at_log_in),
        WatchdogProcess(paths),
        watch_system_proxy,
        is_dead,
        serve_pac,
    )
    path = f"/{secrets.token_hex(16)}.pac"
    return SystemProxySwitch(tools, publish, settings, address, bypass, path)
