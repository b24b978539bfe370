"""Detect a suspend of the computer.

Connections opened before a suspend are usually dead, but the system reports no event for them.
"""

from collections.abc import Callable


class SuspendDetector:
    """Compares the total suspend time with its value at the previous call."""

    def __init__(self, clock: Callable[[], float], limit_s: float) -> None:
        """Store the current suspend time.

        Args:
            clock: Returns the total suspend time, in seconds: it advances only during a suspend.
            limit_s: The longest suspend to ignore, in seconds: connections survive a short suspend.
        """
        self._clock = clock
        self._limit_s = limit_s
        self._slept = clock()

    def has_slept(self) -> bool:
        """Return True if there was a suspend longer than the limit since the previous call."""
        slept = self._clock()
        if slept - self._slept > self._limit_s:
            self._slept = slept
            return True
        # Short suspends do not add up, and a clock that was set back is followed.
        self._slept = slept
        return False
