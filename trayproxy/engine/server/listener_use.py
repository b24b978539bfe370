"""How the connections of a listener are served."""

from dataclasses import dataclass

from trayproxy.engine.server.access_control import AccessControl
from trayproxy.engine.upstream.route import RouteSource


@dataclass(frozen=True, slots=True)
class ListenerUse:
    """How the connections of a listener are served.

    Attributes:
        routes: Chooses the routes of the requests.
        access_control: Decides which connections are served.
    """

    routes: RouteSource
    access_control: AccessControl
