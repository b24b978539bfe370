"""What a window may ask of the system beside what Qt offers; Windows alone has calls for these."""

import sys

_WDA_EXCLUDEFROMCAPTURE = 0x11
"""Windows 10 2004 and newer; older ones refuse it, nothing changes (SetWindowDisplayAffinity)."""
_ASFW_ANY = -1


def exclude_from_capture(window: int) -> bool:
    """Ask the system not to show a window to programs that record the screen.

    Args:
        window: The native handle (``HWND``).

    Returns:
        Whether it will do so; elsewhere than on Windows nothing happens.
    """
    if sys.platform == "win32":
        import ctypes

        return bool(ctypes.windll.user32.SetWindowDisplayAffinity(window, _WDA_EXCLUDEFROMCAPTURE))
    return False


def allow_foreground() -> bool:
    """Let the program that we ask to show its window bring it to the front.

    Windows grants that only to the program a person has just started, which is us, and it may be
    handed on (AllowSetForegroundWindow). Elsewhere an activation token does this.
    """
    if sys.platform == "win32":
        import ctypes

        return bool(ctypes.windll.user32.AllowSetForegroundWindow(_ASFW_ANY))
    return False
