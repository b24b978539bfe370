"""Tests for trayproxy.desktop.screen_lock."""

import ctypes
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.bus import session_bus
from tests.support.process_output import PATIENCE
from tests.support.processes import Home
from tests.support.screen_lock_services import Logind, ScreenSaver
from trayproxy.desktop.screen_lock.base import ScreenLockWatch
from trayproxy.desktop.screen_lock.factory import watch_screen_lock
from trayproxy.desktop.screen_lock.linux import SAVERS, LinuxScreenLock
from trayproxy.desktop.screen_lock.macos import Frameworks, MacScreenLock, is_locked
from trayproxy.desktop.screen_lock.windows import (
    WM_CLOSE,
    WM_DESTROY,
    WM_WTSSESSION_CHANGE,
    WTS_SESSION_LOCK,
    WTS_SESSION_UNLOCK,
    SessionLibraries,
    WindowsScreenLock,
)


class Reports:
    """The lock states that a watch has reported."""

    def __init__(self) -> None:
        self._states: queue.Queue[bool] = queue.Queue()
        self.add: Callable[[bool], None] = self._states.put

    def next(self) -> bool:
        return self._states.get(timeout=PATIENCE)

    @property
    def is_empty(self) -> bool:
        return self._states.empty()


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def started() -> Iterator[Callable[[ScreenLockWatch], ScreenLockWatch]]:
    with ExitStack() as stack:

        def start(watch: ScreenLockWatch) -> ScreenLockWatch:
            watch.start()
            stack.callback(watch.stop)
            return watch

        yield start


Start = Callable[[ScreenLockWatch], ScreenLockWatch]

# --- Linux ---------------------------------------------------------------------------------------


@pytest.fixture
def bus(place: Home) -> Iterator[str]:
    with session_bus(place) as address:
        yield address


def no_bus(place: Home) -> str:
    return f"unix:path={place.root / 'no-bus'}"


@pytest.mark.parametrize("name", SAVERS)
def test_an_active_screen_saver_locks_the_screen(
    name: str, bus: str, place: Home, reports: Reports, started: Start
) -> None:
    saver = ScreenSaver(bus, name)
    try:
        started(LinuxScreenLock(reports.add, bus, no_bus(place)))
        saver.wait_until(lambda: saver.asked)
        saver.set(active=True)
        assert reports.next() is True
        saver.set(active=False)
        assert reports.next() is False
    finally:
        saver.stop()


def test_a_screen_saver_active_at_the_start_is_reported(
    bus: str, place: Home, reports: Reports, started: Start
) -> None:
    saver = ScreenSaver(bus, "org.gnome.ScreenSaver", active=True)
    try:
        started(LinuxScreenLock(reports.add, bus, no_bus(place)))
        assert reports.next() is True
    finally:
        saver.stop()
    # The screen saver has left the bus.
    assert reports.next() is False


def test_a_screen_saver_that_starts_later_is_reported(
    bus: str, place: Home, reports: Reports, started: Start
) -> None:
    early = ScreenSaver(bus, "org.gnome.ScreenSaver")
    late = None
    try:
        started(LinuxScreenLock(reports.add, bus, no_bus(place)))
        early.wait_until(lambda: early.asked)
        late = ScreenSaver(bus, "org.freedesktop.ScreenSaver", active=True)
        assert reports.next() is True
        late.stop()
        assert reports.next() is False
    finally:
        early.stop()


def test_the_hint_of_logind_is_reported_and_its_lock_signal_is_not(
    bus: str, place: Home, reports: Reports, started: Start
) -> None:
    logind = Logind(bus)
    try:
        started(LinuxScreenLock(reports.add, no_bus(place), bus))
        logind.wait_until(lambda: logind.asked)
        logind.ask_to_lock()
        logind.set(locked=True)
        assert reports.next() is True
        logind.set(locked=False)
        assert reports.next() is False
    finally:
        logind.stop()
    assert reports.is_empty


def test_a_session_locked_at_the_start_is_reported(
    bus: str, place: Home, reports: Reports, started: Start
) -> None:
    logind = Logind(bus, locked=True)
    try:
        started(LinuxScreenLock(reports.add, no_bus(place), bus))
        assert reports.next() is True
    finally:
        logind.stop()


def test_the_screen_is_locked_while_either_source_reports_it(
    bus: str, reports: Reports, started: Start
) -> None:
    # Both sources use the same bus here: signals are distinguished by their sender.
    logind, saver = Logind(bus), ScreenSaver(bus, "org.gnome.ScreenSaver")
    try:
        started(LinuxScreenLock(reports.add, bus, bus))
        logind.wait_until(lambda: logind.asked)
        saver.wait_until(lambda: saver.asked)
        saver.set(active=True)
        assert reports.next() is True
        logind.set(locked=True)
        saver.set(active=False)
        logind.set(locked=False)
        assert reports.next() is False
        assert reports.is_empty
    finally:
        logind.stop()
        saver.stop()


def test_a_disconnected_bus_unlocks_the_screen(
    place: Home, reports: Reports, started: Start
) -> None:
    with session_bus(place) as address:
        saver = ScreenSaver(address, "org.gnome.ScreenSaver", active=True)
        started(LinuxScreenLock(reports.add, address, no_bus(place)))
        assert reports.next() is True
    assert reports.next() is False
    saver.stop()


def test_without_a_bus_the_thread_ends_without_a_report(
    place: Home, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    watch = LinuxScreenLock(reports.add, "SESSION", no_bus(place))
    watch.start()
    watch.stop()
    assert reports.is_empty
    assert not [thread for thread in threading.enumerate() if thread.name == "screen"]


def test_a_watch_can_be_stopped_before_its_start(reports: Reports) -> None:
    watch_screen_lock(reports.add).stop()
    MacScreenLock(reports.add).stop()
    WindowsScreenLock(reports.add).stop()
    assert reports.is_empty


# --- macOS ---------------------------------------------------------------------------------------


class FakeFrameworks:
    """The called functions of both frameworks, with a count of the unreleased objects."""

    def __init__(self) -> None:
        self.entries: dict[bytes, object] | None = {}
        self.held = 0
        self.polls = threading.Semaphore(0)

    def cgsession_copy_current_dictionary(self) -> int | None:
        self.polls.release()
        if self.entries is None:
            return None
        self.held += 1
        return 1

    def cf_string_create_with_cstring(self, _: None, text: bytes, encoding: int) -> bytes:
        assert encoding == 0x08000100
        self.held += 1
        return text

    def cf_dictionary_get_value(self, _: int, key: bytes) -> list[object] | None:
        value = (self.entries or {}).get(key)
        return None if value is None else [value]

    def cf_get_type_id(self, value: list[object]) -> type[object]:
        return type(value[0])

    def cf_boolean_get_value(self, value: list[object]) -> int:
        # For other types, the result is undefined.
        assert isinstance(value[0], bool)
        return value[0]

    def cf_number_get_value(self, value: list[object], kind: int, into: Any) -> int:
        assert kind == 9
        assert type(value[0]) is int
        into._obj.value = value[0]
        return 1

    def cf_release(self, _: object) -> None:
        self.held -= 1

    @property
    def functions(self) -> SimpleNamespace:
        return SimpleNamespace(
            CGSessionCopyCurrentDictionary=self.cgsession_copy_current_dictionary,
            CFStringCreateWithCString=self.cf_string_create_with_cstring,
            CFDictionaryGetValue=self.cf_dictionary_get_value,
            CFGetTypeID=self.cf_get_type_id,
            CFBooleanGetTypeID=lambda: bool,
            CFNumberGetTypeID=lambda: int,
            CFBooleanGetValue=self.cf_boolean_get_value,
            CFNumberGetValue=self.cf_number_get_value,
            CFRelease=self.cf_release,
        )


@pytest.mark.parametrize(
    ("entries", "locked"),
    [
        (None, False),
        ({}, False),
        ({b"CGSSessionScreenIsLocked": True}, True),
        ({b"CGSSessionScreenIsLocked": False}, False),
        ({b"CGSSessionScreenIsLocked": 1}, True),
        ({b"CGSSessionScreenIsLocked": 0}, False),
        ({b"CGSSessionScreenIsLocked": "yes"}, False),
    ],
)
def test_macos_reads_the_lock_from_the_session_dictionary(
    entries: dict[bytes, object] | None, locked: bool
) -> None:
    frameworks = FakeFrameworks()
    frameworks.entries = entries
    assert is_locked(Frameworks(frameworks.functions, frameworks.functions)) is locked
    assert frameworks.held == 0


def test_macos_reports_lock_and_unlock(reports: Reports, started: Start) -> None:
    frameworks = FakeFrameworks()
    started(
        MacScreenLock(
            reports.add, Frameworks(frameworks.functions, frameworks.functions), interval_s=0.01
        )
    )
    frameworks.polls.acquire(timeout=PATIENCE)
    frameworks.entries = {b"CGSSessionScreenIsLocked": True}
    assert reports.next() is True
    frameworks.entries = {}
    assert reports.next() is False


# --- Windows -------------------------------------------------------------------------------------


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


def test_windows_reports_lock_and_unlock(reports: Reports) -> None:
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


def test_a_failed_registration_on_windows_reports_no_lock(reports: Reports) -> None:
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
