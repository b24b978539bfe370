"""Choose the targets of the system proxy for this operating system and desktop."""

import sys
from collections.abc import Callable
from types import ModuleType

from trayproxy.desktop.system_proxy.base import ProxyTarget, ProxyTargets
from trayproxy.system_settings.entries import TargetError


def proxy_targets(starts_at_log_in: Callable[[], bool]) -> ProxyTargets:
    """Return the targets of this desktop.

    Args:
        starts_at_log_in: Returns True if TrayProxy starts when the user logs in.

    Raises:
        TargetError: The system has no system proxy that TrayProxy can set.
    """
    targets: ProxyTargets = _system_module().proxy_targets(starts_at_log_in)
    return targets


def find_target(name: str) -> ProxyTarget:
    """Return the target with a name from the journal.

    The target need not belong to this desktop: another session of the user may have changed it.

    Raises:
        TargetError: This system has no target with this name.
    """
    target: ProxyTarget = _system_module().find_target(name)
    return target


def import_targets() -> None:
    """Import the modules of this system's targets, so that `find_target` needs no file later."""
    _system_module()


def _system_module() -> ModuleType:
    if sys.platform == "win32":
        import trayproxy.desktop.system_proxy.windows as module
    elif sys.platform == "darwin":
        import trayproxy.desktop.system_proxy.macos as module
    elif sys.platform == "linux":
        import trayproxy.desktop.system_proxy.linux as module
    else:
        raise TargetError(f"TrayProxy does not know the system proxy of {sys.platform}")
    return module
