"""The state of the tray icon (ux §3.1), computed without Qt and without reading a clock.

`icon_state` is a pure function and implements the precedence table. `IconTrack` adds the
time-dependent rules: an unreachable upstream is shown as trouble after five seconds, *trouble* and
*ok* do not flicker, and two icon changes are at least 200 ms apart.
"""

from dataclasses import dataclass
from enum import StrEnum

from trayproxy.control.messages import ListenerState, Status, UpstreamState
from trayproxy.control.status_conditions import cannot_sign_in, has_no_active_profile, needs_sign_in
from trayproxy.profiles.profile import Profile

STARTING_TIMEOUT_S = 3.0
"""Seconds for which *starting* is shown: for the service, its listener and a profile switch."""
TROUBLE_AFTER_S = 5.0
"""Seconds for which an upstream is unreachable before the icon shows *trouble*."""
MIN_STATE_S = 1.0
"""Minimum seconds for which *trouble* or *ok* is shown before it is replaced by the other state."""
MIN_SWAP_INTERVAL_S = 0.2
"""Minimum seconds between two icon changes; each change is a D-Bus message to the desktop."""

_TIMER_RESOLUTION_S = 0.001
"""Seconds; the resolution of timers. A shorter remaining time is not waited for."""


class IconState(StrEnum):
    """The states of the icon, worst first; the values are the base names of the icon files."""

    STOPPED = "stopped"
    """Programs cannot use TrayProxy: it does not listen, or no profile is in use."""
    SIGNIN = "signin"
    """The user has to sign in."""
    TROUBLE = "trouble"
    """The upstream cannot be reached, or TrayProxy cannot sign in to it."""
    STARTING = "starting"
    """Not usable yet: starting, switching profiles, or no profile exists."""
    DIRECT = "direct"
    """Programs connect directly, as the user has chosen."""
    READY = "ready"
    """A profile is in use; no request has been sent to its upstream yet."""
    OK = "ok"
    """The last exchange with the upstream succeeded."""


@dataclass(frozen=True, slots=True)
class IconFacts:
    """The input of `icon_state`.

    Attributes:
        status: The last status of the service; None while the service is not connected.
        waited_s: Seconds since the tray began to wait for the service, its listener or a profile
            switch.
        unreachable_s: Seconds since the upstream became unreachable.
        responded_before: True if the upstream responded until it became unreachable.
        switching: True if a profile switch was requested and the status does not show it yet.
    """

    status: Status | None
    waited_s: float = 0.0
    unreachable_s: float = 0.0
    responded_before: bool = False
    switching: bool = False


def icon_state(facts: IconFacts) -> IconState:
    """Return the worst applicable icon state."""
    status = facts.status
    is_within_timeout = facts.waited_s <= STARTING_TIMEOUT_S
    if status is None or status.listener is ListenerState.STARTING:
        return IconState.STARTING if is_within_timeout else IconState.STOPPED
    if status.listener is ListenerState.FAILED:
        return IconState.STOPPED
    if needs_sign_in(status):
        return IconState.SIGNIN
    if cannot_sign_in(status):
        return IconState.TROUBLE
    if status.upstream is UpstreamState.UNREACHABLE and facts.unreachable_s >= TROUBLE_AFTER_S:
        return IconState.TROUBLE
    if has_no_active_profile(status) and not (facts.switching and is_within_timeout):
        return IconState.STOPPED
    has_route = status.profile is not None or status.direct
    if not has_route or (facts.switching and is_within_timeout):
        return IconState.STARTING
    if status.direct:
        return IconState.DIRECT
    is_ok = status.upstream is UpstreamState.OK or (
        status.upstream is UpstreamState.UNREACHABLE and facts.responded_before
    )
    return IconState.OK if is_ok else IconState.READY


class IconTrack:
    """The icon state over time.

    All times are seconds of a monotonic clock, which the caller passes in.
    """

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

        Args:
            status: The new status.
            now: The time of the monotonic clock.
            wall: Seconds since the epoch. This time is compared with the status only when the
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
            self._responded_before = before is not None and _responded_until(before, status)
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
        """Update `shown`.

        Returns:
            The seconds until `shown` may change without a new status, None if it will not.
        """
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


def _responded_until(before: Status, status: Status) -> bool:
    return before.profile == status.profile and before.upstream is UpstreamState.OK


def _reachability(status: Status) -> tuple[UpstreamState, float, str]:
    return status.upstream, status.upstream_since, status.profile.id if status.profile else ""
