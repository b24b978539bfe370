"""When to start the service again, decided without Qt and without a clock of its own.

A service that dies is brought back after 1, 2, 4 … 60 seconds, at most five times in five minutes:
one that crashes at once must not keep the computer busy, one that crashed once must not be missed.
"""

from collections import deque

MIN_DELAY_S = 1.0
MAX_DELAY_S = 60.0
MAX_STARTS = 5
"""How many starts there may be within `WINDOW_S`."""
WINDOW_S = 300.0
STABLE_UPTIME_S = 60.0
"""A service that has lived so long starts the back-off anew."""


class RestartPolicy:
    """Counts starts and says how long to wait before the next."""

    def __init__(self) -> None:
        self._start_times: deque[float] = deque(maxlen=MAX_STARTS)
        self._delay_s = MIN_DELAY_S

    def record_start(self, now: float) -> None:
        """Note a start."""
        self._start_times.append(now)

    def next_delay_s(self, now: float, uptime_s: float) -> float:
        """Return the seconds to wait before the next start.

        Args:
            now: The time, in seconds of any clock that never goes back.
            lived_s: How long the service had answered, 0 if it never did.
        """
        if uptime_s >= STABLE_UPTIME_S:
            self._delay_s = MIN_DELAY_S
        delay = max(self._delay_s, self._rate_limit_delay_s(now))
        self._delay_s = min(2 * self._delay_s, MAX_DELAY_S)
        return delay

    def reset(self) -> None:
        """Forget what was: a person asked for another try."""
        self._start_times.clear()
        self._delay_s = MIN_DELAY_S

    def _rate_limit_delay_s(self, now: float) -> float:
        is_full = len(self._start_times) == MAX_STARTS
        return self._start_times[0] + WINDOW_S - now if is_full else 0.0
