"""The active profile, and the route of each request."""

from trayproxy.engine.error_pages import NO_PROFILE
from trayproxy.engine.upstream.route import Route, RouteChoice, RouteClient
from trayproxy.http.target import Target
from trayproxy.profiles.profile import Profile
from trayproxy.routing.bypass import Bypass


class Router:
    """Chooses the route of each request for the engine.

    Attributes:
        profile: The active profile, None if there is none.
        is_direct: True if there is no profile because the user chose to connect directly.
    """

    def __init__(self) -> None:
        self.profile: Profile | None = None
        self.is_direct = False
        self._bypass = Bypass()
        self._upstream_route: Route | None = None
        self._direct_route: Route | None = None

    def use(self, profile: Profile | None, *, directly: bool = False) -> None:
        """Switch to a profile, or to none and to direct connections if `directly` is True.

        Running requests keep their route.

        Raises:
            ProfileError: A bypass rule is invalid.
        """
        bypass = Bypass.parse(profile.bypass) if profile is not None else Bypass()
        self.profile, self._bypass = profile, bypass
        self.is_direct = directly and profile is None
        self._direct_route = Route.direct(profile) if profile is not None or directly else None
        self._upstream_route = (
            Route.via_profile(profile) if profile is not None else self._direct_route
        )

    def known(self, target: Target, client: RouteClient) -> Route | None:
        """Return the route of a request; None without a profile. No host name is resolved."""
        authority = target.authority
        if authority is None:
            return None
        is_bypassed = self._bypass.matches(authority.host, authority.port)
        return self._direct_route if is_bypassed else self._upstream_route

    def choose(self, target: Target, client: RouteClient) -> RouteChoice:
        """Return the route of a request, or the page for a service without a profile."""
        return self.known(target, client) or NO_PROFILE
