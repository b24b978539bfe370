"""How fast traffic flows, from the totals in each `Status`."""

from collections import deque

AVERAGING_WINDOW_S = 2.0
"""A rate is the average over about this time."""
MAX_SAMPLE_AGE_S = 6.0
"""Totals older than this tell nothing about now."""


class TrafficRate:
    """Octets per second, from totals. Its time never goes back, in seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def update(self, total: int, now: float) -> None:
        """Take in a total; a smaller one than before means that the service was restarted."""
        if self._samples and total < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((now, total))
        while len(self._samples) > 2 and now - self._samples[1][0] >= AVERAGING_WINDOW_S:
            self._samples.popleft()

    def rate(self, now: float) -> float | None:
        """Return the octets per second, None while they are not known."""
        if len(self._samples) < 2 or now - self._samples[-1][0] > MAX_SAMPLE_AGE_S:
            return None
        (start, first), (end, last) = self._samples[0], self._samples[-1]
        return (
            (last - first) / (end - start)
            if AVERAGING_WINDOW_S / 4 <= end - start <= MAX_SAMPLE_AGE_S
            else None
        )
