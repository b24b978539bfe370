"""The state of the tray icon over time (ux §3.1), computed without Qt and without reading a clock.

`IconTrack` adds the time-dependent rules to `trayproxy.control.icon_state`: an unreachable upstream
is shown as trouble after five seconds, *trouble* and *ok* do not flicker, and two icon changes are
at least 200 ms apart.
"""

from trayproxy.control.icon_state import (
    STARTING_TIMEOUT_S,
    TROUBLE_AFTER_S,
    IconFacts,
    IconState,
    icon_state,
)
from trayproxy.control.messages import ListenerState, Status, UpstreamState
from trayproxy.profiles.profile import Profile

MIN_STATE_S = 1.0
"""Minimum seconds for which *trouble* or *ok* is shown before it is replaced by the other state."""
MIN_SWAP_INTERVAL_S = 0.2
"""Minimum seconds between two icon changes; each change is a D-Bus message to the desktop."""

_TIMER_RESOLUTION_S = 0.001
"""Seconds; the resolution of timers. A shorter remaining time is not waited for."""


class IconTrack:
    """The icon state over time; all times are seconds of a monotonic clock."""

    def __init__(self, now: float) -> None:
        self.shown = IconState.STARTING
        """The state shown by the tray."""
        self._status: Status | None = None
        self._waiting_since = now
        self._shown_since = now
        self._unreachable_since = now
        self._responded_before = False
        self._switching = False

    def update(self, status: Status | None, now: float, wall: float) -> None:
        """Store a new status, None if the service has disconnected.

        `wall` is in seconds since the epoch. This time is compared with the status only when the
        upstream becomes unreachable, so that a clock set back does not hide trouble.
        """
        before, self._status = self._status, status
        if _is_waiting(status) and not _is_waiting(before):
            self._waiting_since = now
        if status is None:
            self._switching = False
            return
        if before is None or _reachability(before) != _reachability(status):
            self._unreachable_since = now - max(0.0, wall - status.upstream_since)
            self._responded_before = (
                before is not None
                and before.profile == status.profile
                and before.upstream is UpstreamState.OK
            )
        if before is not None and _route_choice(before) != _route_choice(status):
            self._switching = False

    def start_switch(self, now: float) -> None:
        """Record a request to switch the profile."""
        self._switching = True
        self._waiting_since = now

    def facts(self, now: float) -> IconFacts:
        """Return the input of `icon_state` at a time."""
        return IconFacts(
            self._status,
            waited_s=now - self._waiting_since,
            unreachable_s=now - self._unreachable_since,
            responded_before=self._responded_before,
            switching=self._switching,
        )

    def update_shown(self, now: float) -> float | None:
        """Update `shown`; return the seconds until it may change without a new status, or None."""
        new_state = icon_state(self.facts(now))
        if new_state is not self.shown:
            hold_time = self._hold_time_s(new_state) - (now - self._shown_since)
            if hold_time > _TIMER_RESOLUTION_S:
                return hold_time
            self.shown, self._shown_since = new_state, now
        return self._next_change_s(now)

    def _hold_time_s(self, new_state: IconState) -> float:
        is_flicker = {new_state, self.shown} == {IconState.TROUBLE, IconState.OK}
        return MIN_STATE_S if is_flicker else MIN_SWAP_INTERVAL_S

    def _next_change_s(self, now: float) -> float | None:
        facts = self.facts(now)
        status = facts.status
        if (_is_waiting(status) or facts.switching) and facts.waited_s <= STARTING_TIMEOUT_S:
            return STARTING_TIMEOUT_S - facts.waited_s + _TIMER_RESOLUTION_S
        if status is None or status.upstream is not UpstreamState.UNREACHABLE:
            return None
        remaining = TROUBLE_AFTER_S - facts.unreachable_s
        return max(remaining, _TIMER_RESOLUTION_S) if remaining > 0 else None


def _route_choice(status: Status) -> tuple[Profile | None, bool]:
    return status.profile, status.direct


def _is_waiting(status: Status | None) -> bool:
    return status is None or status.listener is ListenerState.STARTING


def _reachability(status: Status) -> tuple[UpstreamState, float, str]:
    return status.upstream, status.upstream_since, status.profile.id if status.profile else ""
