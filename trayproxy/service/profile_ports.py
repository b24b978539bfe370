"""Further local addresses, each for the programs that use one profile, active or not.

`trayproxy exec --profile` starts a program with such an address. The address stays until the
service ends, because programs may leave processes behind that still use it.
"""

from asyncio import Future
from collections.abc import Callable
from contextlib import suppress

from trayproxy.desk.desk import Desk
from trayproxy.engine.context import format_address
from trayproxy.engine.engine import Engine
from trayproxy.engine.error_pages import NO_PROFILE
from trayproxy.engine.server.listener_use import ListenerUse
from trayproxy.engine.upstream.route import Route, RouteChoice, RouteClient
from trayproxy.http.target import Target
from trayproxy.profiles.profile import Profile
from trayproxy.service.profile_changes import UnknownProfileError
from trayproxy.service.router import Router


class ProfileRoutes:
    """The routes of a profile as it is saved at each request; none once the profile is deleted."""

    def __init__(self, profile_now: Callable[[], Profile], router: Router) -> None:
        """Create the routes. `profile_now` returns the profile, or raises `UnknownProfileError`."""
        self._profile_now = profile_now
        self._router = router

    def update(self) -> None:
        """Use the profile as it is saved now."""
        profile = None
        with suppress(UnknownProfileError):
            profile = self._profile_now()
        if profile is not self._router.profile:
            self._router.use(profile)

    def known(self, target: Target, client: RouteClient) -> Route | None:
        """Return the route of a request if it is known at once; see `RouteSource`."""
        self.update()
        return self._router.known(target, client)

    def choose(self, target: Target, client: RouteClient) -> RouteChoice | Future[RouteChoice]:
        """Return the route of a request, or a future for it; see `RouteSource`."""
        self.update()
        return self._router.choose(target, client) if self._router.profile else NO_PROFILE


class ProfilePorts:
    """Opens the local address of each profile that a program uses alone."""

    def __init__(
        self,
        engine: Engine,
        desk: Desk,
        get_profile: Callable[[str], Profile],
        new_router: Callable[[], Router],
    ) -> None:
        """Create an instance without addresses.

        Args:
            engine: Gets the listeners.
            desk: May use the logins of the profiles from then on.
            get_profile: Returns the profile with an id, or raises `UnknownProfileError`.
            new_router: Returns a router without a profile.
        """
        self._engine = engine
        self._desk = desk
        self._get_profile = get_profile
        self._new_router = new_router
        self._addresses: dict[str, str] = {}
        self._routes: list[ProfileRoutes] = []

    def update(self) -> None:
        """Use the profiles as they are saved now, also for requests that wait for a script."""
        for routes in self._routes:
            routes.update()

    def open(self, profile_id: str) -> str:
        """Return the address ``127.0.0.1:40123`` of a profile; listen at it if necessary.

        Raises:
            UnknownProfileError: There is no such profile.
            OSError: The system has no port or no memory left.
        """
        profile = self._get_profile(profile_id)
        address = self._addresses.get(profile_id)
        if address is None:
            routes = ProfileRoutes(lambda: self._get_profile(profile_id), self._new_router())
            use = ListenerUse(routes, self._engine.access_control)
            host, port = self._engine.listeners.add(self._engine.context.own_address.host, 0, use)
            address = self._addresses[profile_id] = format_address(host, port)
            self._routes.append(routes)
        self._desk.profile_lent(profile)
        return address
