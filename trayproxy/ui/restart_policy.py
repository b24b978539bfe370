"""Decides when to restart the service, without Qt and without reading a clock.

After the service has ended, it is restarted after 1, 2, 4 … 60 seconds, at most five times in five
minutes. The back-off limits the load if the service crashes at each start; after a single crash the
service is available again after one second.
"""

from collections import deque

MIN_DELAY_S = 1.0
MAX_DELAY_S = 60.0
MAX_STARTS = 5
"""Maximum number of starts within `WINDOW_S`."""
WINDOW_S = 300.0
STABLE_UPTIME_S = 60.0
"""Seconds of uptime after which the delay returns to `MIN_DELAY_S`."""


class RestartPolicy:
    """Exponential back-off with a limit on the number of starts."""

    def __init__(self) -> None:
        self._start_times: deque[float] = deque(maxlen=MAX_STARTS)
        self._delay_s = MIN_DELAY_S

    def record_start(self, now: float) -> None:
        """Record that the service is started at a time, for the limit on starts."""
        self._start_times.append(now)

    def next_delay_s(self, now: float, uptime_s: float) -> float:
        """Return the seconds until the next start, and double the delay of the start after that.

        `now` is of a monotonic clock; `uptime_s` is 0 if the service never was connected.
        """
        if uptime_s >= STABLE_UPTIME_S:
            self._delay_s = MIN_DELAY_S
        delay = max(self._delay_s, self._rate_limit_delay_s(now))
        self._delay_s = min(2 * self._delay_s, MAX_DELAY_S)
        return delay

    def reset(self) -> None:
        """Clear the recorded starts and the back-off, because the user has requested a start."""
        self._start_times.clear()
        self._delay_s = MIN_DELAY_S

    def _rate_limit_delay_s(self, now: float) -> float:
        is_full = len(self._start_times) == MAX_STARTS
        return self._start_times[0] + WINDOW_S - now if is_full else 0.0
