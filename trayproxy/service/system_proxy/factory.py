"""Creates the switch of the system proxy for this system."""

import errno
import secrets
import socket
from collections.abc import Callable

from trayproxy.control.messages import SystemProxyStatus
from trayproxy.desktop.system_proxy.factory import proxy_targets
from trayproxy.desktop.system_proxy_change.factory import watch_system_proxy
from trayproxy.paths import Paths
from trayproxy.profiles.config import SystemProxySettings
from trayproxy.service.system_proxy.operations import SystemProxyFiles
from trayproxy.service.system_proxy.switch import SystemProxySwitch, SystemProxyTools
from trayproxy.service.system_proxy.watchdog_process import WatchdogProcess

PROBE_TIMEOUT_S = 1.0
"""Seconds to wait for a program on this computer to accept a connection."""


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
        SystemProxyFiles(paths.system_proxy_file, paths.system_proxy_lock),
        proxy_targets,
        WatchdogProcess(paths),
        watch_system_proxy,
        is_dead,
        serve_pac,
    )
    path = f"/{secrets.token_hex(16)}.pac"
    return SystemProxySwitch(tools, publish, settings, address, bypass, path)


def is_dead(host: str, port: int) -> bool:
    """Return True if no program listens at an address of this computer."""
    try:
        with socket.create_connection((host, port), PROBE_TIMEOUT_S):
            return False
    except ConnectionRefusedError:
        return True
    except OSError as error:
        # Not a local address any more, or no IPv6. Anything else is no proof.
        return error.errno in (errno.EADDRNOTAVAIL, errno.ENETUNREACH)
