"""The active profile, and the way that each request takes while it is active."""

from trayproxy.engine.upstream.route import Route
from trayproxy.http.target import Authority
from trayproxy.profiles.profile import Profile
from trayproxy.routing.bypass import Bypass


class Router:
    """Answers the engine's question where a request goes.

    Attributes:
        profile: The active profile, None while there is none.
        is_direct: There is none because programs connect directly: the person has chosen that.
    """

    def __init__(self) -> None:
        self.profile: Profile | None = None
        self.is_direct = False
        self._bypass = Bypass()
        self._upstream_route: Route | None = None
        self._direct_route: Route | None = None

    def use(self, profile: Profile | None, *, directly: bool = False) -> None:
        """Send new requests this way; those that run keep theirs.

        Args:
            profile: The profile to use.
            directly: Use none, and send requests to the targets themselves.

        Raises:
            ProfileError: A bypass rule cannot be read.
        """
        bypass = Bypass.parse(profile.bypass) if profile is not None else Bypass()
        self.profile, self._bypass = profile, bypass
        self.is_direct = directly and profile is None
        self._direct_route = Route.direct(profile) if profile is not None or directly else None
        self._upstream_route = (
            Route.via_profile(profile) if profile is not None else self._direct_route
        )

    def route(self, target: Authority) -> Route | None:
        """Return the way to a target; None while there is no profile. Nothing is looked up."""
        is_bypassed = self._bypass.matches(target.host, target.port)
        return self._direct_route if is_bypassed else self._upstream_route
