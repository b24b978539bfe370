"""When to start the service again, decided without Qt and without a clock of its own.

A service that dies is brought back after 1, 2, 4 … 60 seconds, at most five times in five minutes:
one that crashes at once must not keep the computer busy, one that crashed once must not be missed.
"""

from collections import deque

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 60.0
STARTS = 5
"""How many starts there may be within `WINDOW_S`."""
WINDOW_S = 300.0
STEADY_S = 60.0
"""A service that has lived so long starts the back-off anew."""


class RestartPolicy:
    """Counts starts and says how long to wait before the next."""

    def __init__(self) -> None:
        self._starts: deque[float] = deque(maxlen=STARTS)
        self._delay_s = FIRST_DELAY_S

    def started(self, now: float) -> None:
        """Note a start."""
        self._starts.append(now)

    def died(self, now: float, lived_s: float) -> float:
        """Return the seconds to wait before the next start.

        Args:
            now: The time, in seconds of any clock that never goes back.
            lived_s: How long the service had answered, 0 if it never did.
        """
        if lived_s >= STEADY_S:
            self._delay_s = FIRST_DELAY_S
        delay = max(self._delay_s, self._until_room(now))
        self._delay_s = min(2 * self._delay_s, LONGEST_DELAY_S)
        return delay

    def reset(self) -> None:
        """Forget what was: a person asked for another try."""
        self._starts.clear()
        self._delay_s = FIRST_DELAY_S

    def _until_room(self, now: float) -> float:
        full = len(self._starts) == STARTS
        return self._starts[0] + WINDOW_S - now if full else 0.0
