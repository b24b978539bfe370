"""Which icon the tray shows: the decision of ux §3.1, without Qt and without a clock of its own.

`icon_state` is the precedence table: a total function of the facts. `IconTrack` adds time: trouble
is believed after five seconds, does not flicker, and swaps are never closer than 200 ms.
"""

from dataclasses import dataclass
from enum import StrEnum

from trayproxy.control.messages import ListenerState, Status, UpstreamState
from trayproxy.control.status_conditions import cannot_sign_in, has_no_active_profile, needs_sign_in
from trayproxy.profiles.profile import Profile

STARTING_TIMEOUT_S = 3.0
"""How long *starting* is believed: for the service, its listener, and a switch of the profile."""
TROUBLE_AFTER_S = 5.0
"""How long an upstream is unreachable before it is called trouble."""
MIN_STATE_S = 1.0
"""How long *trouble* and *ok* stay before one becomes the other."""
MIN_SWAP_INTERVAL_S = 0.2
"""The least time between two swaps of the icon; each is a message to the desktop."""

_TIMER_RESOLUTION_S = 0.001
"""No timer is finer, and no difference between two times is worth waiting for."""


class IconState(StrEnum):
    """What the icon says, worst first; the values are the names of the drawings."""

    STOPPED = "stopped"
    """Programs cannot use TrayProxy: it does not listen, or no profile is in use."""
    SIGNIN = "signin"
    """A person has something to do."""
    TROUBLE = "trouble"
    """Upstream cannot be reached, or TrayProxy cannot sign in to it."""
    STARTING = "starting"
    """Not yet of use: starting, switching, or no profile was added yet."""
    DIRECT = "direct"
    """Programs connect directly, as the person has chosen."""
    READY = "ready"
    """All is set, nothing has been measured."""
    OK = "ok"
    """The last exchange with upstream succeeded."""


@dataclass(frozen=True, slots=True)
class IconFacts:
    """What the icon is decided from.

    Attributes:
        status: What the service said last; None while it is not there.
        waited_s: Seconds since we wait for the service, its listener or a switch.
        unreachable_s: Seconds since upstream became unreachable.
        worked_before: Whether upstream answered until it became unreachable.
        switching: A switch of the profile was asked for and has not happened yet.
    """

    status: Status | None
    waited_s: float = 0.0
    unreachable_s: float = 0.0
    worked_before: bool = False
    switching: bool = False


def icon_state(facts: IconFacts) -> IconState:
    """Return the worst state that is true of the facts."""
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
    is_set = status.profile is not None or status.direct
    if not is_set or (facts.switching and is_within_timeout):
        return IconState.STARTING
    if status.direct:
        return IconState.DIRECT
    works = status.upstream is UpstreamState.OK or (
        status.upstream is UpstreamState.UNREACHABLE and facts.worked_before
    )
    return IconState.OK if works else IconState.READY


class IconTrack:
    """The icon over time. Its time is any clock that never goes back, in seconds."""

    def __init__(self, now: float) -> None:
        self.shown = IconState.STARTING
        """What the tray shows now."""
        self._status: Status | None = None
        self._waiting_since = now
        self._shown_since = now
        self._unreachable_since = now
        self._worked_before = False
        self._switching = False

    def update(self, status: Status | None, now: float, wall: float) -> None:
        """Take in what the service says, None when it went away.

        Args:
            status: The new status.
            now: The time.
            wall: The time in seconds since the epoch. It is compared with the service's once, when
                upstream becomes unreachable, so that a clock set back hides no trouble.
        """
        before, self._status = self._status, status
        if _is_waiting(status) and not _is_waiting(before):
            self._waiting_since = now
        if status is None:
            self._switching = False
            return
        if before is None or _reachability(before) != _reachability(status):
            self._unreachable_since = now - max(0.0, wall - status.upstream_since)
            self._worked_before = before is not None and _worked_until(before, status)
        if before is not None and _route_choice(before) != _route_choice(status):
            self._switching = False

    def start_switch(self, now: float) -> None:
        """Note that another profile was asked for."""
        self._switching = True
        self._waiting_since = now

    def facts(self, now: float) -> IconFacts:
        """Return what is decided from."""
        return IconFacts(
            self._status,
            waited_s=now - self._waiting_since,
            unreachable_s=now - self._unreachable_since,
            worked_before=self._worked_before,
            switching=self._switching,
        )

    def update_shown(self, now: float) -> float | None:
        """Bring `shown` up to date; return after how many seconds to look again, None: no need."""
        wanted = icon_state(self.facts(now))
        if wanted is not self.shown:
            hold_time = self._hold_time_s(wanted) - (now - self._shown_since)
            if hold_time > _TIMER_RESOLUTION_S:
                return hold_time
            self.shown, self._shown_since = wanted, now
        return self._next_change_s(now)

    def _hold_time_s(self, wanted: IconState) -> float:
        is_flicker = {wanted, self.shown} == {IconState.TROUBLE, IconState.OK}
        return MIN_STATE_S if is_flicker else MIN_SWAP_INTERVAL_S

    def _next_change_s(self, now: float) -> float | None:
        facts = self.facts(now)
        status = facts.status
        if (_is_waiting(status) or facts.switching) and facts.waited_s <= STARTING_TIMEOUT_S:
            return STARTING_TIMEOUT_S - facts.waited_s + _TIMER_RESOLUTION_S
        if status is None or status.upstream is not UpstreamState.UNREACHABLE:
            return None
        left = TROUBLE_AFTER_S - facts.unreachable_s
        return max(left, _TIMER_RESOLUTION_S) if left > 0 else None


def _route_choice(status: Status) -> tuple[Profile | None, bool]:
    return status.profile, status.direct


def _is_waiting(status: Status | None) -> bool:
    return status is None or status.listener is ListenerState.STARTING


def _worked_until(before: Status, status: Status) -> bool:
    return before.profile == status.profile and before.upstream is UpstreamState.OK


def _reachability(status: Status) -> tuple[UpstreamState, float, str]:
    return status.upstream, status.upstream_since, status.profile.id if status.profile else ""
