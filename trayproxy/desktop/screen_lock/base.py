"""Whether the screen is locked: nobody is to be asked then (ux §2c, *Screen locked*).

What a system says of its screen comes by itself; nothing is asked again and again but on macOS. A
system that says nothing has a screen that is never locked: a question that nobody sees closes by
itself, one that is never asked would cost everybody their requests.
"""

from collections.abc import Callable
from typing import Protocol

OnLockChange = Callable[[bool], None]
"""Called when the screen is locked, and when it no longer is; by the thread of the watch."""


class ScreenLockWatch(Protocol):
    """One system's way to tell."""

    def start(self) -> None:
        """Watch from now on. A screen that is not locked now is not told."""
        ...

    def stop(self) -> None:
        """Watch no more; nothing is told after this. Once stopped it stays so."""
        ...


class ChangeFilter:
    """Tells what is new, and nothing twice."""

    def __init__(self, on_change: OnLockChange) -> None:
        """Begin with a screen that is not locked."""
        self._on_change = on_change
        self._is_locked = False

    def update(self, is_locked: bool) -> None:
        """Take note of what the screen is."""
        if is_locked != self._is_locked:
            self._is_locked = is_locked
            self._on_change(is_locked)
