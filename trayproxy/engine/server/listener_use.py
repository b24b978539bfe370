"""How the connections of a listener are served."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trayproxy.engine.server.access_control import ConnectionAccess
from trayproxy.engine.upstream.route import Route, RouteChoice, RouteClient, RouteSource
from trayproxy.http.target import Authority, Target

if TYPE_CHECKING:
    from asyncio import Future

    from trayproxy.engine.forward.client_password import VerifyLogin


@dataclass(frozen=True, slots=True)
class ListenerUse:
    """How the connections of a listener are served.

    Attributes:
        routes: Chooses the routes of the requests.
        access_control: Decides which connections are served.
        target: The host and port to which every connection is a tunnel; None for a listener of
            HTTP and SOCKS5.
        verify: Verifies the password that each request must carry; None if requests need none. Set
            by `with_password`.
    """

    routes: RouteSource
    access_control: ConnectionAccess
    target: Authority | None = None
    verify: "VerifyLogin | None" = None

    def verify_for(self, peer: tuple[Any, ...]) -> "VerifyLogin | None":
        """Return the check of the password that a client must send; None if it needs none, like
        every program of this computer. `peer` is the address of the client."""
        is_needed = self.verify is not None and not self.access_control.is_local(peer)
        return self.verify if is_needed else None

    def with_password(self, verify: "VerifyLogin") -> "ListenerUse":
        """Return the same use for clients that must send a password."""
        return replace(self, routes=_SlowRoutes(self.routes), verify=verify)


class _SlowRoutes:
    """Routes that are never known at once, so that no request takes the fast path, which verifies
    no password."""

    def __init__(self, routes: RouteSource) -> None:
        self._routes = routes

    def known(self, target: Target, client: RouteClient) -> Route | None:
        """Return None: no route is known at once; see `RouteSource`."""
        return None

    def choose(self, target: Target, client: RouteClient) -> "RouteChoice | Future[RouteChoice]":
        """Return the route of a request, or a future for it; see `RouteSource`."""
        return self._routes.choose(target, client)
