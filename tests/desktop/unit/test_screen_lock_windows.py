"""Tests for trayproxy.desktop.screen_lock.windows."""

import ctypes
import queue
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
    WindowClass,
    WindowsScreenLock,
)


class FakeSessionLibraries:
    """The called functions of user32, kernel32 and wtsapi32, with a window and its messages."""

    def __init__(self, *, creates_windows: bool = True, registers: bool = True) -> None:
        self.procedure: Any = None
        self.posted: queue.Queue[tuple[int, int] | None] = queue.Queue()
        self.registers = registers
        self.classes: list[str] = []
        self.registered: list[int] = []
        self.GetModuleHandleW = lambda _: 5
        self.CreateWindowExW = lambda *_: 77 if creates_windows else 0
        self.PostQuitMessage = lambda _: self.posted.put(None)

    def watch(self, reports: LockReports) -> WindowsScreenLock:
        return WindowsScreenLock(reports.add, SessionLibraries(self, self, self))

    def RegisterClassW(self, kind: Any) -> int:  # noqa: N802  # its own name
        self.procedure = kind._obj.procedure
        self.classes.append(kind._obj.class_name)
        return 1

    def UnregisterClassW(self, name: str, _: int) -> int:  # noqa: N802
        self.classes.remove(name)
        return 1

    def DestroyWindow(self, _: int) -> None:  # noqa: N802
        self.procedure(77, WM_DESTROY, 0, 0)

    def DefWindowProcW(self, window: int, message: int, *_: int) -> int:  # noqa: N802
        if message == WM_CLOSE:
            self.DestroyWindow(window)
        return 0

    def PostMessageW(self, _: int, message: int, first: int, second: int) -> None:  # noqa: N802
        self.posted.put((message, first))

    def GetMessageW(self, buffer: Any, *_: object) -> int:  # noqa: N802
        self._next = self.posted.get(timeout=PATIENCE)
        return 0 if self._next is None else 1

    def DispatchMessageW(self, _: Any) -> None:  # noqa: N802
        assert self._next is not None
        self.procedure(77, self._next[0], self._next[1], 0)

    def WTSRegisterSessionNotification(self, window: int, flags: int) -> int:  # noqa: N802
        assert flags == 0
        self.registered.append(window)
        return int(self.registers)

    def WTSUnRegisterSessionNotification(self, window: int) -> int:  # noqa: N802
        self.registered.remove(window)
        return 1


def test_windows_reports_lock_and_unlock(reports: LockReports) -> None:
    windows = FakeSessionLibraries()
    watch = windows.watch(reports)
    watch.start()
    for event in (1, WTS_SESSION_LOCK, WTS_SESSION_LOCK, WTS_SESSION_UNLOCK):
        windows.PostMessageW(77, WM_WTSSESSION_CHANGE, event, 0)
    assert (reports.next(), reports.next()) == (True, False)
    watch.stop()
    assert reports.is_empty
    assert (windows.registered, windows.classes) == ([], [])


@pytest.mark.parametrize("lacking", ["creates_windows", "registers"])
def test_a_failed_registration_on_windows_reports_no_lock(
    reports: LockReports, lacking: str
) -> None:
    watch = FakeSessionLibraries(**{lacking: False}).watch(reports)
    watch.start()
    watch.stop()
    assert reports.is_empty


def test_the_window_class_has_the_size_of_wndclassw() -> None:
    # Three fields of four octets and seven pointers of eight, with the padding of a 64-bit system.
    assert ctypes.sizeof(WindowClass) == 72
