"""Noticing that the computer was asleep: connections from before are dead without knowing it."""

from collections.abc import Callable


class SuspendDetector:
    """Compares how long the computer has slept now and when it was looked at last."""

    def __init__(self, clock: Callable[[], float], limit_s: float) -> None:
        """Begin awake.

        Args:
            clock: Goes on only while the computer sleeps, in seconds.
            limit_s: Shorter sleeps do not count: connections survive them.
        """
        self._clock = clock
        self._limit_s = limit_s
        self._slept = clock()

    def has_slept(self) -> bool:
        """Whether the computer has slept since this was asked last, for longer than the limit."""
        slept = self._clock()
        if slept - self._slept > self._limit_s:
            self._slept = slept
            return True
        # Short sleeps do not add up, and a clock that somebody sets back is followed.
        self._slept = slept
        return False
