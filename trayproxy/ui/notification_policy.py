"""Decides when a notification may be shown (ux §4.1), without Qt and without reading a clock."""

from collections.abc import Hashable

MIN_INTERVAL_S = 60.0
"""Minimum seconds between two notifications of the same category."""


class NotificationPolicy:
    """The limits of a category of notifications: no repetition, and a minimum interval.

    All times are seconds of a monotonic clock.
    """

    def __init__(self) -> None:
        self._last_shown: Hashable = None
        self._last_shown_at: float | None = None

    def delay_s(self, state: Hashable, now: float) -> float | None:
        """Return the seconds until a notification may be shown; 0: now, None: it was shown already.

        `state` is the content of the notification, not None.
        """
        if self._last_shown_at is None:
            return 0.0
        if self._last_shown == state:
            return None
        return max(0.0, self._last_shown_at + MIN_INTERVAL_S - now)

    def mark_shown(self, state: Hashable, now: float) -> None:
        """Record the notification as shown."""
        self._last_shown, self._last_shown_at = state, now

    def mark_withdrawn(self) -> None:
        """Record that the cause has ended; the same notification may then be shown again."""
        self._last_shown = None
