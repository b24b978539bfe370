"""Choose the watch for the lock of the screen of this operating system."""

import sys

from trayproxy.desktop.screen_lock.base import OnLockChange, ScreenLockWatch


def watch_screen_lock(told: OnLockChange) -> ScreenLockWatch:
    """Return this system's watch, not started.

    Args:
        told: Told of each change.
    """
    if sys.platform == "win32":
        from trayproxy.desktop.screen_lock.windows import WindowsScreenLock

        return WindowsScreenLock(told)
    elif sys.platform == "darwin":
        from trayproxy.desktop.screen_lock.macos import MacScreenLock

        return MacScreenLock(told)
    else:
        from trayproxy.desktop.screen_lock.linux import LinuxScreenLock

        return LinuxScreenLock(told)
