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
from tests.support.lines import PATIENCE
from tests.support.processes import Home
from tests.support.screen import Logind, ScreenSaver
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


class Heard:
    """What a watch has told."""

    def __init__(self) -> None:
        self._told: queue.Queue[bool] = queue.Queue()
        self.tell: Callable[[bool], None] = self._told.put

    def next(self) -> bool:
        return self._told.get(timeout=PATIENCE)

    @property
    def is_all(self) -> bool:
        return self._told.empty()


@pytest.fixture
def heard() -> Heard:
    return Heard()


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
def test_a_screen_saver_that_becomes_active_locks_the_screen(
    name: str, bus: str, place: Home, heard: Heard, started: Start
) -> None:
    saver = ScreenSaver(bus, name)
    try:
        started(LinuxScreenLock(heard.tell, bus, no_bus(place)))
        saver.wait_until(lambda: saver.asked)
        saver.set(active=True)
        assert heard.next() is True
        saver.set(active=False)
        assert heard.next() is False
    finally:
        saver.stop()


def test_a_screen_that_is_locked_already_is_told(
    bus: str, place: Home, heard: Heard, started: Start
) -> None:
    saver = ScreenSaver(bus, "org.gnome.ScreenSaver", active=True)
    try:
        started(LinuxScreenLock(heard.tell, bus, no_bus(place)))
        assert heard.next() is True
    finally:
        saver.stop()
    # It has crashed, and locks nothing any more.
    assert heard.next() is False


def test_a_screen_saver_that_comes_later_is_heard(
    bus: str, place: Home, heard: Heard, started: Start
) -> None:
    early = ScreenSaver(bus, "org.gnome.ScreenSaver")
    late = None
    try:
        started(LinuxScreenLock(heard.tell, bus, no_bus(place)))
        early.wait_until(lambda: early.asked)
        late = ScreenSaver(bus, "org.freedesktop.ScreenSaver", active=True)
        assert heard.next() is True
        late.stop()
        assert heard.next() is False
    finally:
        early.stop()


def test_the_hint_of_logind_locks_the_screen_and_its_request_does_not(
    bus: str, place: Home, heard: Heard, started: Start
) -> None:
    logind = Logind(bus)
    try:
        started(LinuxScreenLock(heard.tell, no_bus(place), bus))
        logind.wait_until(lambda: logind.asked)
        logind.ask_to_lock()
        logind.set(locked=True)
        assert heard.next() is True
        logind.set(locked=False)
        assert heard.next() is False
    finally:
        logind.stop()
    assert heard.is_all


def test_a_session_that_is_locked_already_is_told(
    bus: str, place: Home, heard: Heard, started: Start
) -> None:
    logind = Logind(bus, locked=True)
    try:
        started(LinuxScreenLock(heard.tell, no_bus(place), bus))
        assert heard.next() is True
    finally:
        logind.stop()


def test_a_screen_is_locked_as_long_as_one_of_both_says_so(
    bus: str, heard: Heard, started: Start
) -> None:
    # Both buses are one here: they are told apart by who speaks.
    logind, saver = Logind(bus), ScreenSaver(bus, "org.gnome.ScreenSaver")
    try:
        started(LinuxScreenLock(heard.tell, bus, bus))
        logind.wait_until(lambda: logind.asked)
        saver.wait_until(lambda: saver.asked)
        saver.set(active=True)
        assert heard.next() is True
        logind.set(locked=True)
        saver.set(active=False)
        logind.set(locked=False)
        assert heard.next() is False
        assert heard.is_all
    finally:
        logind.stop()
        saver.stop()


def test_a_bus_that_goes_keeps_nothing_locked(place: Home, heard: Heard, started: Start) -> None:
    with session_bus(place) as address:
        saver = ScreenSaver(address, "org.gnome.ScreenSaver", active=True)
        started(LinuxScreenLock(heard.tell, address, no_bus(place)))
        assert heard.next() is True
    assert heard.next() is False
    saver.stop()


def test_without_a_bus_nothing_is_told_and_nothing_is_waited_for(
    place: Home, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    watch = LinuxScreenLock(heard.tell, "SESSION", no_bus(place))
    watch.start()
    watch.stop()
    assert heard.is_all
    assert not [thread for thread in threading.enumerate() if thread.name == "screen"]


def test_a_watch_that_was_not_started_can_be_stopped(heard: Heard) -> None:
    watch_screen_lock(heard.tell).stop()
    MacScreenLock(heard.tell).stop()
    WindowsScreenLock(heard.tell).stop()
    assert heard.is_all


# --- macOS ---------------------------------------------------------------------------------------


class Session:
    """Both frameworks, as far as they are called; counts what is not given back."""

    def __init__(self) -> None:
        self.entries: dict[bytes, object] | None = {}
        self.held = 0
        self.looks = threading.Semaphore(0)

    def cgsession_copy_current_dictionary(self) -> int | None:
        self.looks.release()
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
        # What it returns for anything else is undefined.
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
    def played(self) -> SimpleNamespace:
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
def test_the_dictionary_of_the_session_says_whether_a_mac_is_locked(
    entries: dict[bytes, object] | None, locked: bool
) -> None:
    session = Session()
    session.entries = entries
    assert is_locked(Frameworks(session.played, session.played)) is locked
    assert session.held == 0


def test_a_mac_tells_when_it_is_locked_and_when_not(heard: Heard, started: Start) -> None:
    session = Session()
    started(MacScreenLock(heard.tell, Frameworks(session.played, session.played), interval_s=0.01))
    session.looks.acquire(timeout=PATIENCE)
    session.entries = {b"CGSSessionScreenIsLocked": True}
    assert heard.next() is True
    session.entries = {}
    assert heard.next() is False


# --- Windows -------------------------------------------------------------------------------------


class User32:
    """The functions of windows, with one window and a queue of messages."""

    def __init__(self) -> None:
        self.procedure: Any = None
        self.posted: queue.Queue[tuple[int, int] | None] = queue.Queue()
        self.is_made = True
        self.classes: list[str] = []

    def register_class(self, kind: Any) -> int:
        self.procedure = kind._obj.procedure
        self.classes.append(kind._obj.class_name)
        return 1

    def unregister_class(self, name: str, _: int) -> int:
        self.classes.remove(name)
        return 1

    def create_window_ex(self, *_: object) -> int:
        return 77 if self.is_made else 0

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
    def played(self) -> SimpleNamespace:
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


class Wtsapi32:
    """The functions of sessions."""

    def __init__(self) -> None:
        self.registered: list[int] = []
        self.tells = True

    def wts_register_session_notification(self, window: int, flags: int) -> int:
        assert flags == 0
        self.registered.append(window)
        return int(self.tells)

    def wts_un_register_session_notification(self, window: int) -> int:
        self.registered.remove(window)
        return 1

    @property
    def played(self) -> SimpleNamespace:
        return SimpleNamespace(
            WTSRegisterSessionNotification=self.wts_register_session_notification,
            WTSUnRegisterSessionNotification=self.wts_un_register_session_notification,
        )


class Kernel32:
    """The functions of modules."""

    def get_module_handle(self, _: None) -> int:
        return 5

    @property
    def played(self) -> SimpleNamespace:
        return SimpleNamespace(
            GetModuleHandleW=self.get_module_handle,
        )


def test_a_window_is_told_of_the_locks_of_its_session(heard: Heard) -> None:
    user32, wtsapi32 = User32(), Wtsapi32()
    watch = WindowsScreenLock(
        heard.tell, SessionLibraries(user32.played, Kernel32().played, wtsapi32.played)
    )
    watch.start()
    for what in (1, WTS_SESSION_LOCK, WTS_SESSION_LOCK, WTS_SESSION_UNLOCK):
        user32.post_message(77, WM_WTSSESSION_CHANGE, what, 0)
    assert (heard.next(), heard.next()) == (True, False)
    watch.stop()
    assert heard.is_all
    assert (wtsapi32.registered, user32.classes) == ([], [])


def test_a_session_that_does_not_tell_has_no_lock(heard: Heard) -> None:
    for lacking in ("window", "session"):
        user32, wtsapi32 = User32(), Wtsapi32()
        user32.is_made, wtsapi32.tells = lacking != "window", lacking != "session"
        watch = WindowsScreenLock(
            heard.tell, SessionLibraries(user32.played, Kernel32().played, wtsapi32.played)
        )
        watch.start()
        watch.stop()
        assert heard.is_all


def test_the_class_of_a_window_is_as_large_as_windows_has_it() -> None:
    from trayproxy.desktop.screen_lock.windows import WindowClass

    # Four octets of style, of each extra, and seven pointers, with the gaps of 64 bits.
    assert ctypes.sizeof(WindowClass) == 72
