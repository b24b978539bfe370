"""The state of the active profile's upstream, as the engine observes it."""

from collections.abc import Callable
from dataclasses import dataclass
from time import time

from trayproxy.control.messages import UpstreamState
from trayproxy.domain.problem import Problem
from trayproxy.engine.error_pages import ErrorPage
from trayproxy.engine.upstream.route import Route
from trayproxy.profiles.profile import Profile


@dataclass(frozen=True, slots=True)
class ScriptStatus:
    """The state of the PAC script of a profile.

    Attributes:
        profile_id: The id of the profile.
        problem: The problem of the script; None if there is none.
        is_blocking: True if requests cannot be served because of the problem.
    """

    profile_id: str
    problem: Problem | None
    is_blocking: bool


def portal_problem(url: str) -> Problem:
    """Return the problem of a network with a sign-in page of its own (TP-310)."""
    return Problem(
        "TP-310",
        "This network wants you to sign in on its own page",
        f"Open {url} in a browser and sign in there. What fails now works again by itself then.",
        url,
    )


class UpstreamStatus:
    """Records the state of the active profile's upstream.

    The class implements `trayproxy.engine.context.UpstreamObserver`.

    Attributes:
        state: The result of the last exchange with the upstream.
        since: The time at which `state` changed to its present value, in seconds since the epoch.
        problem: Why the upstream cannot be reached, None if it can.
        sign_in_demand: The problem of an upstream that demands a sign-in which the profile does not
            allow; None if there is none.
        on_unreachable: Called when the upstream stops to respond; by default, does nothing.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        """Create the record of an unknown upstream; `on_change` is called after each change."""
        self.state = UpstreamState.UNKNOWN
        self.since = time()
        self.problem: Problem | None = None
        self.sign_in_demand: Problem | None = None
        self.on_unreachable: Callable[[], None] = lambda: None
        self._profile: Profile | None = None
        self._reached_route: Route | None = None
        self._script: ScriptStatus | None = None
        self._portal: Problem | None = None
        self._on_change = on_change

    def use(self, profile: Profile | None, *, is_same: bool) -> None:
        """Set the active profile; forget the state of the upstream unless `is_same`."""
        self._profile = profile
        if not is_same:
            self._reached_route = self.sign_in_demand = None
            script = self._active_script()
            if script is not None and script.is_blocking:
                self._set(UpstreamState.UNREACHABLE, script.problem)
            else:
                self._set(UpstreamState.UNKNOWN, None)

    @property
    def notices(self) -> tuple[Problem, ...]:
        """The notices about a fallback in use, a PAC script, and a captive portal."""
        script = self._active_script()
        of_script = script.problem if script is not None and not script.is_blocking else None
        return tuple(filter(None, (self._fallback_notice(), of_script, self._portal)))

    # --- trayproxy.engine.context.UpstreamObserver ---

    def reached(self, route: Route) -> None:
        """Record a response of the upstream."""
        if (
            route is not self._reached_route
            and route.upstream is not None
            and self._is_active(route)
        ):
            before = self._fallback_notice()
            self._reached_route = route
            # Requests may alternate between the upstreams of rules.
            if self.state is not UpstreamState.OK or self._fallback_notice() != before:
                self._set(UpstreamState.OK, None)
        # A direct response may be one of the portal itself.
        is_direct = route.upstream is None
        if self._portal is not None and not is_direct and self._is_active(route):
            self._portal = None
            self._on_change()

    def captive_portal_found(self, route: Route, url: str) -> None:
        """Record the URL of the network's sign-in page, which is untrusted.

        The request on this route was a program's or TrayProxy's.
        """
        ours, theirs = self._profile, route.profile
        if ours is not None and theirs is not None and ours.id == theirs.id:
            self._portal = portal_problem(url)
            self._on_change()

    def network_portal(self, url: str) -> None:
        """Set the URL of the captive portal that the system has found, which is untrusted.

        An empty URL: there is none, or the network has changed.
        """
        portal = portal_problem(url) if url else None
        if portal != self._portal:
            self._portal = portal
            self._on_change()

    def network_changed(self) -> None:
        """Forget that an upstream of a PAC script cannot be reached: in the new network, the script
        may name another or none, so that no response would tell."""
        is_automatic = self._profile is not None and self._profile.pac is not None
        if is_automatic and self.state is UpstreamState.UNREACHABLE and not self._is_blocked():
            self._set(UpstreamState.UNKNOWN, None)

    def failed(self, route: Route, page: ErrorPage) -> None:
        """Record that the upstream did not respond."""
        if route.upstream is not None and self._is_active(route):
            self._reached_route = None
            if self.state is not UpstreamState.UNREACHABLE:
                self.on_unreachable()
            problem = Problem(page.code, page.title, page.body) if page.code else None
            self._set(UpstreamState.UNREACHABLE, problem)

    def sign_in_not_set(self, route: Route, page: ErrorPage) -> None:
        """Record that the upstream demands a sign-in, which the profile does not allow."""
        if self._is_active(route):
            self.sign_in_demand = Problem(page.code, page.title, page.body)
            self._on_change()

    def _is_active(self, route: Route) -> bool:
        """Return whether a route is of the active profile as it is now."""
        ours, theirs = self._profile, route.profile
        if ours is None or ours.pac is None or theirs is None:
            return theirs is ours
        # The routes of a PAC script have copies of the profile, each with one upstream.
        return theirs.id == ours.id

    def set_script(self, script: "ScriptStatus") -> None:
        """Set the state of a profile's PAC script."""
        was_blocked = self._is_blocked()
        self._script = script
        if self._is_blocked():
            self._reached_route = None
            self._set(UpstreamState.UNREACHABLE, script.problem)
        elif was_blocked:
            self._set(UpstreamState.UNKNOWN, None)
        else:
            self._on_change()

    def _is_blocked(self) -> bool:
        script = self._active_script()
        return script is not None and script.is_blocking

    def _active_script(self) -> "ScriptStatus | None":
        """Return the state of the active profile's PAC script; None if it has no problem."""
        script, profile = self._script, self._profile
        if script is None or profile is None or script.profile_id != profile.id:
            return None
        return script if script.problem is not None else None

    def _set(self, state: UpstreamState, problem: Problem | None) -> None:
        if state is not self.state:
            self.since = time()
        self.state, self.problem = state, problem
        self._on_change()

    def _fallback_notice(self) -> Problem | None:
        profile = self._profile
        upstream = self._reached_route.upstream if self._reached_route else None
        if profile is None or profile.upstream is None or upstream not in profile.fallbacks:
            return None
        body = f"{profile.name} uses {upstream} until {profile.upstream} answers again."
        return Problem("TP-206", f"{profile.upstream.host} cannot be reached", body)
