"""Chooses among the upstreams of a profile: the first upstream not known to be dead.

An unreachable upstream is not used for a while; the time doubles at each further failure. After
that time a single request tries the upstream again, and other requests use the fallbacks until the
upstream has answered. A rejected login and a response of any status prove that the upstream is
alive. An untrusted certificate does not cause a failover: it is reported to the user, because an
attacker could otherwise force the use of a fallback.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.upstream.route import Route
from trayproxy.profiles.profile import Upstream

MAX_SILENT_CONNECTIONS = 2
"""Number of consecutive connections without any response after which an upstream is dead. A single
failure may be caused by the request."""


@dataclass(slots=True)
class _DeadUpstream:
    """The state of an unreachable upstream.

    Attributes:
        pause: How long the upstream is not used, in seconds.
        until: When to try the upstream again.
        is_probed: True if a request is trying the upstream again.
    """

    pause: float
    until: float
    is_probed: bool = False


class Failover:
    """The unreachable upstreams, and the choice of a route. `now` is a monotonic clock."""

    def __init__(self, now: Callable[[], float], limits: EngineLimits) -> None:
        self._now = now
        self._limits = limits
        self._dead: dict[Upstream, _DeadUpstream] = {}
        self._silent_counts: dict[Upstream, int] = {}

    def choose(self, route: Route, tried: Collection[Route] = ()) -> Route | None:
        """Return the route to use among the preferred route and its fallbacks; None if all of them
        were tried for this request. If all upstreams are dead, each of them is tried."""
        untried = [other for other in (route, *route.fallbacks) if other not in tried]
        return next(filter(self._may_be_tried, untried), untried[0] if untried else None)

    def usable(self, route: Route) -> Route | None:
        """Return the first of a route and its fallbacks that is not known to be dead, without
        trying a dead one again; None if all are dead."""
        return next((each for each in (route, *route.fallbacks) if not self.is_dead(each)), None)

    def is_dead(self, route: Route) -> bool:
        """Return whether the upstream of a route was unreachable and has not answered since."""
        return route.upstream in self._dead

    def _may_be_tried(self, route: Route) -> bool:
        dead = self._dead.get(route.upstream) if route.upstream else None
        if dead is None:
            return True
        if self._now() < dead.until:
            return False
        dead.is_probed = True
        dead.until = self._now() + self._limits.connect_total_s
        return True

    def mark_dead(self, upstream: Upstream) -> None:
        """Record a failure to reach an upstream.

        Simultaneous failures of several requests count as one failure.
        """
        dead, now = self._dead.get(upstream), self._now()
        self._silent_counts.pop(upstream, None)
        if dead is None:
            pause = self._limits.dead_upstream_s
        elif dead.is_probed or now >= dead.until:
            pause = min(2 * dead.pause, self._limits.dead_upstream_max_s)
        else:
            return
        self._dead[upstream] = _DeadUpstream(pause, now + pause)

    def mark_silent(self, upstream: Upstream) -> None:
        """Record a new connection to an upstream which ended without any response."""
        strikes = self._silent_counts.get(upstream, 0) + 1
        self._silent_counts[upstream] = strikes
        if strikes >= MAX_SILENT_CONNECTIONS:
            self.mark_dead(upstream)

    def mark_alive(self, upstream: Upstream) -> None:
        """Record a response of an upstream."""
        self._dead.pop(upstream, None)
        self._silent_counts.pop(upstream, None)

    def forget(self) -> None:
        """Discard all state, after a network change."""
        self._dead.clear()
        self._silent_counts.clear()
