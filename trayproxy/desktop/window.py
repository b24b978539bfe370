"""Window functions of the operating system that Qt does not offer."""

import sys

_WDA_EXCLUDEFROMCAPTURE = 0x11
"""SetWindowDisplayAffinity accepts this value on Windows 10 version 2004 and newer. Older versions
return an error, and nothing changes."""
_ASFW_ANY = -1


def exclude_from_capture(window: int) -> None:
    """Exclude a window, by its native handle (``HWND``), from screenshots and screen recordings.

    Only Windows supports this.
    """
    if sys.platform == "win32":
        import ctypes

        ctypes.windll.user32.SetWindowDisplayAffinity(window, _WDA_EXCLUDEFROMCAPTURE)


def allow_foreground() -> None:
    """Allow another process to bring its window to the foreground.

    Windows grants this right only to the program most recently started by the user; this program
    may pass the right on (AllowSetForegroundWindow). On Linux, an activation token has this effect.
    """
    if sys.platform == "win32":
        import ctypes

        ctypes.windll.user32.AllowSetForegroundWindow(_ASFW_ANY)


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


def hide_from_dock() -> None:
    """Remove the icon of this process from the Dock. Call this after the `QApplication` is created.

    Qt gives a program without an application bundle an icon in the Dock and a menu bar.
    """
    if sys.platform == "darwin":
        from trayproxy.desktop.dock_macos import become_accessory

        become_accessory()
