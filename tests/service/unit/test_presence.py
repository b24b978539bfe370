"""Tests for trayproxy.service.presence."""

import asyncio
from collections.abc import Iterator

import pytest

from trayproxy.desktop.screen_lock.base import OnLockChange
from trayproxy.service.presence import Presence


class FakeScreenLockWatch:
    """A screen lock that the test locks and unlocks."""

    def __init__(self) -> None:
        self.on_change: OnLockChange | None = None
        self.is_started = self.is_stopped = False

    def make(self, told: OnLockChange) -> "FakeScreenLockWatch":
        self.on_change = told
        return self

    def start(self) -> None:
        self.is_started = True

    def stop(self) -> None:
        self.is_stopped = True


class PresenceHarness:
    """A `Presence` with a fake screen lock, and its reports."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.watch = FakeScreenLockWatch()
        self.reports: list[bool] = []
        self.presence = Presence(loop, self.reports.append, self.watch.make)

    def lock(self, is_locked: bool) -> None:
        assert self.watch.on_change is not None
        self.watch.on_change(is_locked)
        self.loop.run_until_complete(asyncio.sleep(0))


@pytest.fixture
def harness() -> Iterator[PresenceHarness]:
    loop = asyncio.new_event_loop()
    yield PresenceHarness(loop)
    loop.close()


def test_a_lock_and_an_unlock_are_reported_once(harness: PresenceHarness) -> None:
    harness.presence.set_front_ends(["tray"])
    assert harness.watch.is_started
    for is_locked in (True, True, False):
        harness.lock(is_locked)
    assert harness.reports == [True, False]
    harness.presence.close()
    assert harness.watch.is_stopped


def test_a_service_without_a_window_starts_no_watch(harness: PresenceHarness) -> None:
    harness.presence.set_front_ends([])
    harness.presence.set_front_ends(["terminal"])
    assert not harness.watch.is_started
    harness.presence.close()
    assert not harness.watch.is_stopped


def test_a_terminal_front_end_prompts_despite_a_locked_screen(harness: PresenceHarness) -> None:
    harness.presence.set_front_ends(["tray"])
    harness.lock(True)
    harness.presence.set_front_ends(["tray", "terminal"])
    harness.presence.set_front_ends(["tray"])
    assert harness.reports == [True, False, True]


def test_the_use_of_a_window_counts_as_unlocked(harness: PresenceHarness) -> None:
    harness.presence.set_front_ends(["tray"])
    harness.lock(True)
    harness.presence.user_active()
    assert harness.reports == [True, False]
    harness.lock(True)
    assert harness.reports == [True, False, True]


def test_a_change_after_closing_is_ignored(harness: PresenceHarness) -> None:
    harness.presence.set_front_ends(["tray"])
    harness.loop.close()
    assert harness.watch.on_change is not None
    harness.watch.on_change(True)
    assert harness.reports == []
