"""Windows: the lock of the session, by messages to a hidden window.

After ``WTSRegisterSessionNotification``, Windows sends ``WM_WTSSESSION_CHANGE`` to a window
(learn.microsoft.com, wtsapi32.h and "WM_WTSSESSION_CHANGE message"). The watch creates a hidden
window in a thread, and runs its message loop there. The lock state at the start is not
queried: the flags of ``WTSINFOEX_LEVEL1`` have the opposite meaning on some versions of Windows
(same source), and the session is unlocked when its user starts a program.

Written from this documentation and tested with replacements of the functions; it was not run on
Windows. The window was run under Wine with messages from a test, since Wine locks no session.
"""

import ctypes
import logging
import threading
from dataclasses import dataclass
from typing import Any

from trayproxy.desktop.screen_lock.base import STOP_S, OnLockChange, ThreadedScreenLockWatch
from trayproxy.desktop.windows_library import load_library

logger = logging.getLogger(__name__)

WM_CLOSE = 0x0010
WM_DESTROY = 0x0002
WM_WTSSESSION_CHANGE = 0x02B1
WTS_SESSION_LOCK, WTS_SESSION_UNLOCK = 0x7, 0x8
_NOTIFY_FOR_THIS_SESSION = 0
_CLASS_NAME = "TrayProxyScreen"

# On other systems, only tests call these functions, with the one calling convention of C.
_FUNCTION_TYPE: Any = getattr(ctypes, "WINFUNCTYPE", ctypes.CFUNCTYPE)
WindowProcedure = _FUNCTION_TYPE(
    ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_uint, ctypes.c_size_t, ctypes.c_ssize_t
)
"""``WNDPROC``: window, message, and the two parameters of the message."""


class WindowClass(ctypes.Structure):
    """The structure ``WNDCLASSW`` (winuser.h), which describes a window class."""

    _fields_ = (
        ("style", ctypes.c_uint),
        ("procedure", WindowProcedure),
        ("class_extra", ctypes.c_int),
        ("window_extra", ctypes.c_int),
        ("instance", ctypes.c_void_p),
        ("icon", ctypes.c_void_p),
        ("cursor", ctypes.c_void_p),
        ("background", ctypes.c_void_p),
        ("menu_name", ctypes.c_wchar_p),
        ("class_name", ctypes.c_wchar_p),
    )


@dataclass(frozen=True, slots=True)
class SessionLibraries:
    """The libraries of Windows called by this module; tests replace them."""

    user32: Any
    kernel32: Any
    wtsapi32: Any


class WindowsScreenLock(ThreadedScreenLockWatch):
    """A watch with a hidden window, whose message loop runs in the thread.

    Attributes:
        window_created: Set once the window exists, or could not be created.
    """

    def __init__(self, on_change: OnLockChange, libraries: SessionLibraries | None = None) -> None:
        super().__init__(on_change)
        self._libraries = libraries
        self._window: int | None = None
        self.window_created = threading.Event()
        # Windows holds no reference to this object.
        self._procedure = WindowProcedure(self._on_message)

    def _interrupt(self) -> None:
        if self._thread.ident is not None:
            self.window_created.wait(STOP_S)
        if self._window and self._libraries:
            self._libraries.user32.PostMessageW(self._window, WM_CLOSE, 0, 0)

    def _run(self) -> None:
        try:
            self._libraries = self._libraries or _load()
            self._window = self._create_window(self._libraries)
        except (OSError, AttributeError) as error:
            logger.info("the lock of the screen is not reported: %s", error)
        finally:
            self.window_created.set()
        if self._window and self._libraries:
            self._run_message_loop(self._libraries)

    def _create_window(self, libraries: SessionLibraries) -> int | None:
        instance = libraries.kernel32.GetModuleHandleW(None)
        kind = WindowClass(procedure=self._procedure, instance=instance, class_name=_CLASS_NAME)
        libraries.user32.RegisterClassW(ctypes.byref(kind))
        window = libraries.user32.CreateWindowExW(
            0, _CLASS_NAME, None, 0, 0, 0, 0, 0, None, None, instance, None
        )
        if not window:
            raise OSError("the window cannot be created")
        if not libraries.wtsapi32.WTSRegisterSessionNotification(window, _NOTIFY_FOR_THIS_SESSION):
            libraries.user32.DestroyWindow(window)
            raise OSError("the window cannot be registered for session changes")
        return int(window)

    def _run_message_loop(self, libraries: SessionLibraries) -> None:
        # GetMessageW calls the window procedure while it waits. MSG has at most 48 octets.
        message = ctypes.create_string_buffer(64)
        while libraries.user32.GetMessageW(message, None, 0, 0) > 0:
            libraries.user32.DispatchMessageW(message)
        libraries.user32.UnregisterClassW(_CLASS_NAME, libraries.kernel32.GetModuleHandleW(None))

    def _on_message(self, window: int, message: int, first: int, second: int) -> int:
        assert self._libraries is not None
        user32 = self._libraries.user32
        if message == WM_WTSSESSION_CHANGE:
            if first in (WTS_SESSION_LOCK, WTS_SESSION_UNLOCK):
                self._update(first == WTS_SESSION_LOCK)
            return 0
        if message == WM_DESTROY:
            self._libraries.wtsapi32.WTSUnRegisterSessionNotification(window)
            user32.PostQuitMessage(0)
            return 0
        # For WM_CLOSE it calls DestroyWindow, which only the thread of the window may call.
        return int(user32.DefWindowProcW(window, message, first, second))


def _load() -> SessionLibraries:
    """Load the libraries of the system, and declare the types of their functions where needed.

    Raises:
        OSError: The libraries cannot be loaded, or this is not Windows.
        AttributeError: A library lacks a function.
    """
    user32, kernel32, wtsapi32 = map(load_library, ("user32", "kernel32", "wtsapi32"))
    handle, text = ctypes.c_void_p, ctypes.c_wchar_p
    kernel32.GetModuleHandleW.restype = handle
    kernel32.GetModuleHandleW.argtypes = [text]
    user32.RegisterClassW.argtypes = [ctypes.POINTER(WindowClass)]
    user32.UnregisterClassW.argtypes = [text, handle]
    user32.CreateWindowExW.restype = handle
    user32.CreateWindowExW.argtypes = [
        ctypes.c_ulong,
        text,
        text,
        ctypes.c_ulong,
        *[ctypes.c_int] * 4,
        *[handle] * 4,
    ]
    user32.DestroyWindow.argtypes = [handle]
    user32.GetMessageW.argtypes = [handle, handle, ctypes.c_uint, ctypes.c_uint]
    user32.DispatchMessageW.restype = ctypes.c_ssize_t
    user32.DispatchMessageW.argtypes = [handle]
    parameters = [handle, ctypes.c_uint, ctypes.c_size_t, ctypes.c_ssize_t]
    user32.PostMessageW.argtypes = parameters
    user32.DefWindowProcW.restype = ctypes.c_ssize_t
    user32.DefWindowProcW.argtypes = parameters
    wtsapi32.WTSRegisterSessionNotification.argtypes = [handle, ctypes.c_ulong]
    wtsapi32.WTSUnRegisterSessionNotification.argtypes = [handle]
    return SessionLibraries(user32, kernel32, wtsapi32)
