"""The active profile, and the way that each request takes while it is active."""

from trayproxy.desk.space import Space
from trayproxy.engine.way import Way
from trayproxy.http.target import Authority
from trayproxy.profiles.profile import Profile
from trayproxy.routing.route import Direct, Routes


class Roads:
    """Answers the engine's question where a request goes.

    Attributes:
        profile: The active profile, None while there is none.
    """

    def __init__(self) -> None:
        self.profile: Profile | None = None
        self._routes: Routes | None = None
        self._through: Way | None = None
        self._direct: Way | None = None

    def use(self, profile: Profile | None) -> None:
        """Send new requests this way; those that run keep theirs.

        Raises:
            ProfileError: A bypass rule cannot be read.
        """
        routes = Routes.of(profile) if profile is not None else None
        self.profile, self._routes = profile, routes
        self._through = self._direct = None
        if profile is not None:
            space = Space(profile.id, str(profile.upstream))
            self._through = Way(profile, profile.upstream, space)
            self._direct = Way(profile, None, None)

    def way(self, target: Authority) -> Way | None:
        """Return the way to a target; None while there is no profile."""
        if self._routes is None or not self._routes.bypass.rules:
            return self._through
        route = self._routes.choose(target.host, target.port)
        return self._direct if isinstance(route, Direct) else self._through
