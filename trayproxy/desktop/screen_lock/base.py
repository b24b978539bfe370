"""The protocol of a watch for the lock of the screen, and the code shared by its implementations.

TrayProxy shows no prompt while the screen is locked (ux §2c, *Screen locked*). Linux and Windows
notify the watch of changes; only on macOS the watch polls. If a system does not report the lock,
the screen counts as unlocked: a prompt behind the lock closes by itself, but without any prompt,
every request that needs a login would fail.
"""

from collections.abc import Callable
from typing import Protocol

OnLockChange = Callable[[bool], None]
"""A callback: called in the thread of the watch with True when the screen is locked, and with False
when it is unlocked."""


class ScreenLockWatch(Protocol):
    """A watch for the lock of the screen on one operating system."""

    def start(self) -> None:
        """Start the watch. An unlocked screen at the start is not reported."""

    def stop(self) -> None:
        """Stop the watch; its callback is not called after this. It cannot be started again."""


class ChangeFilter:
    """Calls a callback when the lock state differs from the last reported state."""

    def __init__(self, on_change: OnLockChange) -> None:
        """Create a filter; an unlocked screen counts as already reported."""
        self._on_change = on_change
        self._is_locked = False

    def update(self, is_locked: bool) -> None:
        """Set the lock state, and call the callback if the state has changed."""
        if is_locked != self._is_locked:
            self._is_locked = is_locked
            self._on_change(is_locked)
