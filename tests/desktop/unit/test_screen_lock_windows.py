"""Tests for trayproxy.desktop.screen_lock.windows."""

import ctypes
import queue
from types import SimpleNamespace
from typing import Any

import pytest

from tests.desktop.lock_reports import LockReports
from tests.support.process_output import PATIENCE
from trayproxy.desktop.screen_lock.windows import (
    WM_CLOSE,
    WM_DESTROY,
    WM_WTSSESSION_CHANGE,
    WTS_SESSION_LOCK,
    WTS_SESSION_UNLOCK,
    SessionLibraries,
    WindowsScreenLock,
)


@pytest.fixture
def reports() -> LockReports:
    return LockReports()


class FakeUser32:
    """The functions of user32 for windows, with one window and a queue of messages."""

    def __init__(self) -> None:
        self.procedure: Any = None
        self.posted: queue.Queue[tuple[int, int] | None] = queue.Queue()
        self.creates_windows = True
        self.classes: list[str] = []

    def register_class(self, kind: Any) -> int:
        self.procedure = kind._obj.procedure
        self.classes.append(kind._obj.class_name)
        return 1

    def unregister_class(self, name: str, _: int) -> int:
        self.classes.remove(name)
        return 1

    def create_window_ex(self, *_: object) -> int:
        return 77 if self.creates_windows else 0

    def destroy_window(self, _: int) -> None:
        self.procedure(77, WM_DESTROY, 0, 0)

    def def_window_proc(self, window: int, message: int, *_: int) -> int:
        if message == WM_CLOSE:
            self.destroy_window(window)
        return 0

    def post_message(self, _: int, message: int, first: int, second: int) -> None:
        self.posted.put((message, first))

    def post_quit_message(self, _: int) -> None:
        self.posted.put(None)

    def get_message(self, buffer: Any, *_: object) -> int:
        self._next = self.posted.get(timeout=PATIENCE)
        return 0 if self._next is None else 1

    def dispatch_message(self, _: Any) -> None:
        assert self._next is not None
        self.procedure(77, self._next[0], self._next[1], 0)

    @property
    def functions(self) -> SimpleNamespace:
        return SimpleNamespace(
            RegisterClassW=self.register_class,
            UnregisterClassW=self.unregister_class,
            CreateWindowExW=self.create_window_ex,
            DestroyWindow=self.destroy_window,
            DefWindowProcW=self.def_window_proc,
            PostMessageW=self.post_message,
            PostQuitMessage=self.post_quit_message,
            GetMessageW=self.get_message,
            DispatchMessageW=self.dispatch_message,
        )


class FakeWtsapi32:
    """The functions of wtsapi32 for sessions."""

    def __init__(self) -> None:
        self.registered: list[int] = []
        self.registers = True

    def wts_register_session_notification(self, window: int, flags: int) -> int:
        assert flags == 0
        self.registered.append(window)
        return int(self.registers)

    def wts_un_register_session_notification(self, window: int) -> int:
        self.registered.remove(window)
        return 1

    @property
    def functions(self) -> SimpleNamespace:
        return SimpleNamespace(
            WTSRegisterSessionNotification=self.wts_register_session_notification,
            WTSUnRegisterSessionNotification=self.wts_un_register_session_notification,
        )


class FakeKernel32:
    """The functions of kernel32 for modules."""

    def get_module_handle(self, _: None) -> int:
        return 5

    @property
    def functions(self) -> SimpleNamespace:
        return SimpleNamespace(
            GetModuleHandleW=self.get_module_handle,
        )


def test_windows_reports_lock_and_unlock(reports: LockReports) -> None:
    user32, wtsapi32 = FakeUser32(), FakeWtsapi32()
    watch = WindowsScreenLock(
        reports.add,
        SessionLibraries(user32.functions, FakeKernel32().functions, wtsapi32.functions),
    )
    watch.start()
    for event in (1, WTS_SESSION_LOCK, WTS_SESSION_LOCK, WTS_SESSION_UNLOCK):
        user32.post_message(77, WM_WTSSESSION_CHANGE, event, 0)
    assert (reports.next(), reports.next()) == (True, False)
    watch.stop()
    assert reports.is_empty
    assert (wtsapi32.registered, user32.classes) == ([], [])


def test_a_failed_registration_on_windows_reports_no_lock(reports: LockReports) -> None:
    for lacking in ("window", "session"):
        user32, wtsapi32 = FakeUser32(), FakeWtsapi32()
        user32.creates_windows, wtsapi32.registers = lacking != "window", lacking != "session"
        watch = WindowsScreenLock(
            reports.add,
            SessionLibraries(user32.functions, FakeKernel32().functions, wtsapi32.functions),
        )
        watch.start()
        watch.stop()
        assert reports.is_empty


def test_the_window_class_has_the_size_of_wndclassw() -> None:
    from trayproxy.desktop.screen_lock.windows import WindowClass

    # Three fields of four octets and seven pointers of eight, with the padding of a 64-bit system.
    assert ctypes.sizeof(WindowClass) == 72
