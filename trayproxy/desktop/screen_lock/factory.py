"""Choose the watch for the lock of the screen of this operating system."""

import sys

from trayproxy.desktop.screen_lock.base import OnLockChange, ScreenLockWatch


def watch_screen_lock(on_change: OnLockChange) -> ScreenLockWatch:
    """Return the watch of this operating system. It is not started."""
    if sys.platform == "win32":
        from trayproxy.desktop.screen_lock.windows import WindowsScreenLock

        return WindowsScreenLock(on_change)
    elif sys.platform == "darwin":
        from trayproxy.desktop.screen_lock.macos import MacScreenLock

        return MacScreenLock(on_change)
    else:
        from trayproxy.desktop.screen_lock.linux import LinuxScreenLock

        return LinuxScreenLock(on_change)
