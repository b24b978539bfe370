"""The protocol of a watch for the lock of the screen, and the code shared by its implementations.

TrayProxy shows no prompt while the screen is locked (ux §2c, *Screen locked*). Linux and Windows
notify the watch of changes; only on macOS the watch polls. If a system does not report the lock,
the screen counts as unlocked: a prompt behind the lock closes by itself, but without any prompt,
every request that needs a login would fail.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

OnLockChange = Callable[[bool], None]
"""A callback: called in the thread of the watch with True when the screen is locked, and with False
when it is unlocked."""

STOP_S = 2.0
"""Seconds to wait for the thread of a watch to end; connecting to a bus takes less."""


class ScreenLockWatch(Protocol):
    """A watch for the lock of the screen on one operating system."""

    def start(self) -> None:
        """Start the watch. An unlocked screen at the start is not reported."""

    def stop(self) -> None:
        """Stop the watch; its callback is not called after this. It cannot be started again."""


class ThreadedScreenLockWatch(ABC):
    """A watch in a thread of its own."""

    def __init__(self, on_change: OnLockChange) -> None:
        self._on_change = on_change
        self._is_locked = False
        self._thread = threading.Thread(target=self._run, name="screen", daemon=True)

    def start(self) -> None:
        """Start the thread that watches the lock of the screen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and wait until it has ended."""
        self._interrupt()
        if self._thread.ident is not None:
            self._thread.join(STOP_S)

    def _update(self, is_locked: bool) -> None:
        """Set the lock state, and call the callback if the state has changed."""
        if is_locked != self._is_locked:
            self._is_locked = is_locked
            self._on_change(is_locked)

    @abstractmethod
    def _run(self) -> None:
        """Watch the lock of the screen until `_interrupt` is called."""

    @abstractmethod
    def _interrupt(self) -> None:
        """Let `_run` return, whether the thread has been started or not."""
