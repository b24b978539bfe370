"""Keeping a window out of screen shots and screen sharing, where the system has a call for it."""

import sys

_WDA_EXCLUDEFROMCAPTURE = 0x11
"""Windows 10 2004 and newer; older ones refuse it, nothing changes (SetWindowDisplayAffinity)."""


def exclude(window: int) -> bool:
    """Ask the system not to show a window to programs that record the screen.

    Args:
        window: The native handle (``HWND``).

    Returns:
        Whether it will do so. Only Windows has such a call; elsewhere nothing happens.
    """
    if sys.platform == "win32":
        import ctypes

        return bool(ctypes.windll.user32.SetWindowDisplayAffinity(window, _WDA_EXCLUDEFROMCAPTURE))
    return False
