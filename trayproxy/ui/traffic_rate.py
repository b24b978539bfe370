"""Computes the traffic rate from the totals in each `Status`."""

from collections import deque

AVERAGING_WINDOW_S = 2.0
"""Approximate seconds over which the rate is averaged."""
MAX_SAMPLE_AGE_S = 6.0
"""Maximum age of a total, in seconds; older totals are ignored."""


class TrafficRate:
    """The current traffic rate; all times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def update(self, total: int, now: float) -> None:
        """Add a total; a smaller total than before means that the service was restarted."""
        if self._samples and total < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((now, total))
        while len(self._samples) > 2 and now - self._samples[1][0] >= AVERAGING_WINDOW_S:
            self._samples.popleft()

    def rate(self, now: float) -> float | None:
        """Return the octets per second, None while the rate is unknown."""
        if len(self._samples) < 2 or now - self._samples[-1][0] > MAX_SAMPLE_AGE_S:
            return None
        (start, first), (end, last) = self._samples[0], self._samples[-1]
        is_valid = AVERAGING_WINDOW_S / 4 <= end - start <= MAX_SAMPLE_AGE_S
        return (last - first) / (end - start) if is_valid else None
