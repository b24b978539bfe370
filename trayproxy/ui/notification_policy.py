"""When a notification may be sent (ux §4.1), decided without Qt and without a clock of its own."""

from collections.abc import Hashable

MIN_INTERVAL_S = 60.0
"""A category of notifications speaks at most once in this time."""


class NotificationPolicy:
    """The place of one category on the screen: what was said there last, and when."""

    def __init__(self) -> None:
        self._last_shown: Hashable = None
        self._last_shown_at: float | None = None

    def delay_s(self, state: Hashable, now: float) -> float | None:
        """Return how long to wait before saying this; 0: say it now, None: it was just said.

        Args:
            state: What would be said, not None; the same state twice is silence.
            now: The time, in seconds of any clock that never goes back.
        """
        if self._last_shown_at is None:
            return 0.0
        if self._last_shown == state:
            return None
        return max(0.0, self._last_shown_at + MIN_INTERVAL_S - now)

    def mark_shown(self, state: Hashable, now: float) -> None:
        """Note that this was said."""
        self._last_shown, self._last_shown_at = state, now

    def mark_withdrawn(self) -> None:
        """Note that the cause is gone: the same may be said again, after its minute."""
        self._last_shown = None
