"""What a program with windows asks of the system beside what Qt offers."""

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


def set_application_id(app_id: str) -> bool:
    """Tell the system which application this process is, before its first window.

    Windows groups the buttons of the task bar, and names who sends a notification, by the process's
    AppUserModelID; without one ours would be Python's
    (learn.microsoft.com, SetCurrentProcessExplicitAppUserModelID).

    Args:
        app_id: At most 128 characters without blanks.

    Returns:
        Whether it was told; elsewhere than on Windows nothing happens.
    """
    if sys.platform == "win32":
        import ctypes

        name = ctypes.windll.shell32.SetCurrentProcessExplicitAppUserModelID
        name.argtypes = [ctypes.c_wchar_p]
        # An HRESULT, 0 if it was done.
        return bool(name(app_id) == 0)
    return False


def hide_from_dock() -> bool:
    """Show no icon in the Dock of macOS; call it when the `QApplication` is there.

    Qt makes a program that does not come in a bundle an ordinary one, with an icon in the Dock and
    a menu bar.

    Returns:
        Whether that was done; elsewhere than on macOS nothing happens.
    """
    if sys.platform == "darwin":
        from trayproxy.desktop.dock_macos import become_accessory

        return become_accessory()
    return False
