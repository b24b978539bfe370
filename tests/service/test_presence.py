"""Tests for trayproxy.service.presence."""

import asyncio
from collections.abc import Iterator

import pytest

from trayproxy.desktop.screen_lock.base import OnLockChange
from trayproxy.service.presence import Presence


class Watch:
    """A system that says what the test says."""

    def __init__(self) -> None:
        self.told: OnLockChange | None = None
        self.is_started = self.is_stopped = False

    def make(self, told: OnLockChange) -> "Watch":
        self.told = told
        return self

    def start(self) -> None:
        self.is_started = True

    def stop(self) -> None:
        self.is_stopped = True


class Place:
    """A screen, its system, and what was told of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.watch = Watch()
        self.told: list[bool] = []
        self.screen = Presence(loop, self.told.append, self.watch.make)

    def lock(self, is_locked: bool) -> None:
        assert self.watch.told is not None
        self.watch.told(is_locked)
        self._loop.run_until_complete(asyncio.sleep(0))


@pytest.fixture
def place() -> Iterator[Place]:
    loop = asyncio.new_event_loop()
    yield Place(loop)
    loop.close()


def test_a_locked_screen_is_told_once_and_so_is_its_end(place: Place) -> None:
    place.screen.set_front_ends(["tray"])
    assert place.watch.is_started
    for is_locked in (True, True, False):
        place.lock(is_locked)
    assert place.told == [True, False]
    place.screen.close()
    assert place.watch.is_stopped


def test_a_service_without_a_window_asks_no_system(place: Place) -> None:
    place.screen.set_front_ends([])
    place.screen.set_front_ends(["terminal"])
    assert not place.watch.is_started
    place.screen.close()
    assert not place.watch.is_stopped


def test_a_terminal_asks_whatever_the_screen_is(place: Place) -> None:
    place.screen.set_front_ends(["tray"])
    place.lock(True)
    place.screen.set_front_ends(["tray", "terminal"])
    place.screen.set_front_ends(["tray"])
    assert place.told == [True, False, True]


def test_who_uses_a_window_sees_it(place: Place) -> None:
    place.screen.set_front_ends(["tray"])
    place.lock(True)
    place.screen.user_active()
    assert place.told == [True, False]
    place.lock(True)
    assert place.told == [True, False, True]


def test_what_is_heard_after_the_end_is_nobody_s_business(place: Place) -> None:
    place.screen.set_front_ends(["tray"])
    place._loop.close()
    assert place.watch.told is not None
    place.watch.told(True)
    assert place.told == []
