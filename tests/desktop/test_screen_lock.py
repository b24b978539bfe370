"""Tests for trayproxy.desktop.screen_lock on Linux."""

import threading
from collections.abc import Iterator

import pytest

from tests.desktop.lock_reports import LockReports, Start
from tests.support.bus import session_bus
from tests.support.processes import Home
from tests.support.screen_lock_services import Logind, ScreenSaver
from trayproxy.desktop.screen_lock.factory import watch_screen_lock
from trayproxy.desktop.screen_lock.linux import SAVERS, LinuxScreenLock
from trayproxy.desktop.screen_lock.macos import MacScreenLock
from trayproxy.desktop.screen_lock.windows import WindowsScreenLock

NO_BUS = "unix:path=/no-such-folder/bus"


@pytest.fixture
def bus(place: Home) -> Iterator[str]:
    with session_bus(place) as address:
        yield address


@pytest.mark.parametrize("name", SAVERS)
def test_an_active_screen_saver_locks_the_screen(
    name: str, bus: str, reports: LockReports, started: Start
) -> None:
    with ScreenSaver(bus, name) as saver:
        started(LinuxScreenLock(reports.add, bus, NO_BUS))
        saver.wait_until(lambda: saver.asked)
        saver.set(active=True)
        assert reports.next() is True
        saver.set(active=False)
        assert reports.next() is False


def test_a_screen_saver_active_at_the_start_is_reported(
    bus: str, reports: LockReports, started: Start
) -> None:
    with ScreenSaver(bus, "org.gnome.ScreenSaver", active=True):
        started(LinuxScreenLock(reports.add, bus, NO_BUS))
        assert reports.next() is True
    # The screen saver has left the bus.
    assert reports.next() is False


def test_a_screen_saver_that_starts_later_is_reported(
    bus: str, reports: LockReports, started: Start
) -> None:
    with ScreenSaver(bus, "org.gnome.ScreenSaver") as early:
        started(LinuxScreenLock(reports.add, bus, NO_BUS))
        early.wait_until(lambda: early.asked)
        with ScreenSaver(bus, "org.freedesktop.ScreenSaver", active=True):
            assert reports.next() is True
        assert reports.next() is False


def test_the_hint_of_logind_is_reported_and_its_lock_signal_is_not(
    bus: str, reports: LockReports, started: Start
) -> None:
    with Logind(bus) as logind:
        started(LinuxScreenLock(reports.add, NO_BUS, bus))
        logind.wait_until(lambda: logind.asked)
        logind.ask_to_lock()
        logind.set(locked=True)
        assert reports.next() is True
        logind.set(locked=False)
        assert reports.next() is False
    assert reports.is_empty


def test_a_session_locked_at_the_start_is_reported(
    bus: str, reports: LockReports, started: Start
) -> None:
    with Logind(bus, locked=True):
        started(LinuxScreenLock(reports.add, NO_BUS, bus))
        assert reports.next() is True


def test_the_screen_is_locked_while_either_source_reports_it(
    bus: str, reports: LockReports, started: Start
) -> None:
    # Both sources use the same bus here: signals are distinguished by their sender.
    with Logind(bus) as logind, ScreenSaver(bus, "org.gnome.ScreenSaver") as saver:
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


def test_a_disconnected_bus_unlocks_the_screen(
    place: Home, reports: LockReports, started: Start
) -> None:
    with session_bus(place) as address:
        saver = ScreenSaver(address, "org.gnome.ScreenSaver", active=True)
        started(LinuxScreenLock(reports.add, address, NO_BUS))
        assert reports.next() is True
    assert reports.next() is False
    saver.close()


def test_without_a_bus_the_thread_ends_without_a_report(
    reports: LockReports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    watch = LinuxScreenLock(reports.add, "SESSION", NO_BUS)
    watch.start()
    watch.stop()
    assert reports.is_empty
    assert not [thread for thread in threading.enumerate() if thread.name == "screen"]


def test_a_watch_can_be_stopped_before_its_start(reports: LockReports) -> None:
    watch_screen_lock(reports.add).stop()
    MacScreenLock(reports.add).stop()
    WindowsScreenLock(reports.add).stop()
    assert reports.is_empty
