"""Which of several upstreams a request takes: the first one that is not known to be dead.

An upstream that cannot be reached is untried alone for a while, which doubles each time it is found
dead again. After that one request finds out; the others go elsewhere until it has. A rejected login
and an answer of any status are signs of life, and certificates that are not trusted are told to the
person: to pass over them in silence would help whoever is in the route.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.upstream.route import Route
from trayproxy.profiles.profile import Upstream

MAX_SILENT_CONNECTIONS = 2
"""Connections in a row that end without any answer make an upstream dead: one may be due to its
request."""


@dataclass(slots=True)
class _DeadUpstream:
    """What is known of an upstream that could not be reached.

    Attributes:
        pause: How long it is untried alone this time.
        until: When to try it again.
        is_probed: A request is finding out.
    """

    pause: float
    until: float
    is_probed: bool = False


class Failover:
    """What is known about upstreams of which there are several."""

    def __init__(self, now: Callable[[], float], limits: EngineLimits) -> None:
        """Begin with all alive.

        Args:
            now: Seconds on a monotonic clock.
            limits: How long to leave the dead alone.
        """
        self._now = now
        self._limits = limits
        self._dead: dict[Upstream, _DeadUpstream] = {}
        self._silent_counts: dict[Upstream, int] = {}

    def choose(self, route: Route, tried: Collection[Route] = ()) -> Route | None:
        """Return the route to take, None if all were tried.

        When all are dead, each is tried: nothing is lost by it.

        Args:
            route: The preferred one, with its alternatives.
            tried: Ways that this request has found dead itself.
        """
        if not self._dead and not tried:
            return route
        untried = [other for other in (route, *route.fallbacks) if other not in tried]
        return next(filter(self._may_be_tried, untried), untried[0] if untried else None)

    def is_dead(self, route: Route) -> bool:
        """Whether the next hop of a route could not be reached, and has not answered since."""
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
        """Take note that an upstream could not be reached.

        Many requests find out at the same time; they count as one.
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
        """Take note that a new connection to an upstream ended without any answer."""
        strikes = self._silent_counts.get(upstream, 0) + 1
        self._silent_counts[upstream] = strikes
        if strikes >= MAX_SILENT_CONNECTIONS:
            self.mark_dead(upstream)

    def mark_alive(self, upstream: Upstream) -> None:
        """Take note that an upstream has answered."""
        self._dead.pop(upstream, None)
        self._silent_counts.pop(upstream, None)

    def forget(self) -> None:
        """Believe that all are alive: the network has changed."""
        self._dead.clear()
        self._silent_counts.clear()
