"""How fast traffic flows, from the totals in each `Status`."""

from collections import deque

SPAN_S = 2.0
"""A rate is the average over about this time."""
STALE_S = 6.0
"""Totals older than this tell nothing about now."""


class TrafficRate:
    """Octets per second, from totals. Its time never goes back, in seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def update(self, total: int, now: float) -> None:
        """Take in a total; a smaller one than before means that the service was restarted."""
        if self._seen and total < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((now, total))
        while len(self._seen) > 2 and now - self._seen[1][0] >= SPAN_S:
            self._seen.popleft()

    def rate(self, now: float) -> float | None:
        """Return the octets per second, None while they are not known."""
        if len(self._seen) < 2 or now - self._seen[-1][0] > STALE_S:
            return None
        (start, first), (end, last) = self._seen[0], self._seen[-1]
        return (last - first) / (end - start) if SPAN_S / 4 <= end - start <= STALE_S else None
