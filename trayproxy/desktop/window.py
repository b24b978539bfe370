"""Window functions of the operating system that Qt does not offer."""

import sys

_WDA_EXCLUDEFROMCAPTURE = 0x11
"""SetWindowDisplayAffinity accepts this value on Windows 10 version 2004 and newer. Older versions
return an error, and nothing changes."""
_ASFW_ANY = -1


def exclude_from_capture(window: int) -> bool:
    """Exclude a window, by its native handle (``HWND``), from screenshots and screen recordings.

    Return True if the window is excluded; only Windows supports this.
    """
    if sys.platform == "win32":
        import ctypes

        return bool(ctypes.windll.user32.SetWindowDisplayAffinity(window, _WDA_EXCLUDEFROMCAPTURE))
    return False


def allow_foreground() -> bool:
    """Allow another process to bring its window to the foreground.

    Windows grants this right only to the program most recently started by the user; this program
    may pass the right on (AllowSetForegroundWindow). On Linux, an activation token has this effect.

    Return True if the right was passed on; always False on other systems.
    """
    if sys.platform == "win32":
        import ctypes

        return bool(ctypes.windll.user32.AllowSetForegroundWindow(_ASFW_ANY))
    return False


def set_application_id(app_id: str) -> bool:
    """Set the AppUserModelID of this process: at most 128 characters, no blanks.

    Call this before the first window is created. Windows groups the buttons of the taskbar by this
    id, and shows its application as the sender of notifications. Without this call, the application
    would be Python (learn.microsoft.com, SetCurrentProcessExplicitAppUserModelID).

    Return True if the id was set; always False on other systems.
    """
    if sys.platform == "win32":
        import ctypes

        name = ctypes.windll.shell32.SetCurrentProcessExplicitAppUserModelID
        name.argtypes = [ctypes.c_wchar_p]
        # An HRESULT: 0 is success.
        return bool(name(app_id) == 0)
    return False


def hide_from_dock() -> bool:
    """Remove the icon of this process from the Dock. Call this after the `QApplication` is created.

    Qt gives a program without an application bundle an icon in the Dock and a menu bar. Return True
    if the icon was removed; always False on other systems.
    """
    if sys.platform == "darwin":
        from trayproxy.desktop.dock_macos import become_accessory

        return become_accessory()
    return False
