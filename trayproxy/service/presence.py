"""Whether a person can see a prompt: the state of the screen lock, and the connected front ends."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trayproxy.desktop.screen_lock.base import OnLockChange, ScreenLockWatch

TERMINAL = "terminal"
"""The front end that shows prompts in a terminal and not on the screen
(`trayproxy.cli.terminal_prompts`)."""


def watch_system_screen_lock(on_change: "OnLockChange") -> "ScreenLockWatch":
    """Return the watch of the system's screen lock. It is not started."""
    # Here, since a service without a front end with windows needs no watch.
    from trayproxy.desktop.screen_lock.factory import watch_screen_lock

    return watch_screen_lock(on_change)


class Presence:
    """Reports when a prompt would open behind a locked screen, and when it no longer would.

    The screen lock is watched from the first front end with windows on: a service without such a
    front end needs no watch.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        report: Callable[[bool], None],
        make_watch: "Callable[[OnLockChange], ScreenLockWatch]" = watch_system_screen_lock,
    ) -> None:
        """Start with an unlocked screen.

        `report` is called on the loop with True when prompts would open behind the lock, and with
        False afterwards.
        """
        self._loop = loop
        self._report = report
        self._make_watch = make_watch
        self._watch: ScreenLockWatch | None = None
        self._front_ends: frozenset[str] = frozenset()
        self._is_locked = False
        self._is_unlocked_by_use = False
        self._was_behind_lock = False

    def set_front_ends(self, names: Iterable[str]) -> None:
        """Set the names of the connected front ends with prompts."""
        self._front_ends = frozenset(names)
        if self._watch is None and self._front_ends - {TERMINAL}:
            self._watch = self._make_watch(self._on_lock_change)
            self._watch.start()
        self._update()

    def user_active(self) -> None:
        """Treat the screen as unlocked, because a window has just been used.

        Thereby a screen locker that fails to report an unlocked screen suppresses prompts only
        until the next use.
        """
        self._is_unlocked_by_use = True
        self._update()

    def close(self) -> None:
        """Stop the watch."""
        if self._watch is not None:
            self._watch.stop()

    def _on_lock_change(self, is_locked: bool) -> None:
        # Called on the watch's thread. The loop may be closed already.
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
            self._report(behind_lock)
