"""Whether somebody can see a question: the screen, and which faces ask where."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

from trayproxy.desktop.screen_lock.base import OnLockChange, ScreenLockWatch
from trayproxy.desktop.screen_lock.factory import watch_screen_lock

TERMINAL = "terminal"
"""The face that asks elsewhere than on the screen (`trayproxy.cli.terminal_prompts`)."""


class Presence:
    """Tells when questions would open behind a lock, and when they no longer would.

    The system is asked from the first window that asks on: a service without one needs no watch.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tell: Callable[[bool], None],
        make_watch: Callable[[OnLockChange], ScreenLockWatch] = watch_screen_lock,
    ) -> None:
        """Begin with a screen that somebody sees.

        Args:
            loop: Where `tell` is called.
            tell: Told of each change.
            make_watch: Makes the system's watch.
        """
        self._loop = loop
        self._tell = tell
        self._make_watch = make_watch
        self._watch: ScreenLockWatch | None = None
        self._front_ends: frozenset[str] = frozenset()
        self._is_locked = False
        self._is_unlocked_by_use = False
        self._was_behind_lock = False

    def set_front_ends(self, names: Iterable[str]) -> None:
        """Take note of which faces ask, by what they call themselves."""
        self._front_ends = frozenset(names)
        if self._watch is None and self._front_ends - {TERMINAL}:
            self._watch = self._make_watch(self._on_lock_change)
            self._watch.start()
        self._update()

    def user_active(self) -> None:
        """Somebody has just used a window: whatever the system says, the screen is not locked.

        So that a locker that forgets to say that it has gone silences nobody for long.
        """
        self._is_unlocked_by_use = True
        self._update()

    def close(self) -> None:
        """Watch no more."""
        if self._watch is not None:
            self._watch.stop()

    def _on_lock_change(self, is_locked: bool) -> None:
        # By the thread of the watch. A loop that was closed has nobody to tell.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._set_locked, is_locked)

    def _set_locked(self, is_locked: bool) -> None:
        self._is_locked, self._is_unlocked_by_use = is_locked, False
        self._update()

    def _update(self) -> None:
        behind_lock = (
            self._is_locked and not self._is_unlocked_by_use and TERMINAL not in self._front_ends
        )
        if behind_lock != self._was_behind_lock:
            self._was_behind_lock = behind_lock
            self._tell(behind_lock)
