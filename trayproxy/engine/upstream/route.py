"""The route of a request: through an upstream, or directly.

The route is chosen when the request head is complete, and does not change afterwards, with one
exception: a route that depends on the network is chosen again if the network has changed before a
connection is opened.
"""

from asyncio import Future
from dataclasses import dataclass, field, replace
from typing import Protocol

from trayproxy.desk.protection_space import UpstreamId
from trayproxy.desktop.socket_owner.base import Endpoint
from trayproxy.engine.error_pages import ErrorPage
from trayproxy.http.target import Authority, Target
from trayproxy.profiles.profile import Profile, ProxyScheme, SignIn, Upstream


@dataclass(eq=False, slots=True)
class UpstreamActivity:
    """The number of responses to requests on a route."""

    responses: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """The route of a request: a snapshot of the active profile, which a request keeps until its
    end.

    Routes are compared by identity, because the engine compares routes for every request.

    Attributes:
        profile: The active profile; None if requests go directly to their targets.
        upstream: The next hop; None for a direct connection to the target, because there is no
            profile or a bypass rule matches.
        upstream_id: The upstream for which a login may be sent; None on a direct route.
        fallbacks: The routes to use while the next hop is dead, in order of preference.
        depends_on_network: True if another route may be right in another network, as a PAC script
            has chosen this one.
        sign_in_refusal: The error page for a request whose next hop demands a login although the
            route has no sign-in; None for the usual page.
        name: The URL of the next hop; ``direct:`` on a direct route.
        may_sign_in: True if the next hop may demand a login.
        is_socks: True if the next hop is a SOCKS5 proxy, which authenticates before any HTTP is
            sent.
        is_direct: True if the request reaches the target itself: it is sent in origin-form and
            never carries a login.
        authenticates_requests: Whether requests carry the login themselves, and may come back with
            a 407.
        has_certificate: True if the next hop recognises the user by a client certificate.
        activity: Counts the responses of the next hop.
    """

    profile: Profile | None
    upstream: Upstream | None
    upstream_id: UpstreamId | None
    fallbacks: tuple["Route", ...] = ()
    sign_in_refusal: ErrorPage | None = None
    depends_on_network: bool = False
    name: str = field(init=False)
    may_sign_in: bool = field(init=False)
    is_socks: bool = field(init=False)
    is_direct: bool = field(init=False)
    authenticates_requests: bool = field(init=False)
    has_certificate: bool = field(init=False)
    activity: UpstreamActivity = field(init=False, default_factory=UpstreamActivity)

    def __post_init__(self) -> None:
        """Compute the derived attributes once, as every request reads them."""
        profile, upstream = self.profile, self.upstream
        may_sign_in = (
            self.upstream_id is not None
            and profile is not None
            and profile.sign_in is not SignIn.NONE
        )
        is_socks = upstream is not None and upstream.scheme is ProxyScheme.SOCKS5
        has_certificate = (
            profile is not None
            and upstream is not None
            and upstream.scheme is ProxyScheme.HTTPS
            and bool(profile.client_certificate)
        )
        for name, value in (
            ("name", str(upstream or "direct:")),
            ("may_sign_in", may_sign_in),
            ("is_socks", is_socks),
            ("is_direct", upstream is None or is_socks),
            ("authenticates_requests", may_sign_in and not is_socks),
            ("has_certificate", has_certificate),
        ):
            object.__setattr__(self, name, value)

    def connection_name(self, target: Authority | None) -> str:
        """Return the name shared by all interchangeable connections of the pool to a target."""
        if self.has_certificate and self.profile is not None:
            return f"{self.name} as {self.profile.id}"
        return f"{self.name} {target}" if self.is_direct else self.name

    @classmethod
    def via_profile(cls, profile: Profile) -> "Route":
        """Return the route through the first upstream of a profile, with the others as
        fallbacks."""
        first, *others = (
            cls(profile, upstream, UpstreamId(profile.id, profile.login_key(upstream)))
            for upstream in profile.default_upstreams
        )
        return replace(first, fallbacks=tuple(others))

    @classmethod
    def via_upstream(cls, profile: Profile, upstream: Upstream) -> "Route":
        """Return the route of a profile through an upstream of one of its rules."""
        return cls(profile, upstream, UpstreamId(profile.id, profile.login_key(upstream)))

    @classmethod
    def direct(cls, profile: Profile | None = None) -> "Route":
        """Return the direct route to the targets. It never carries a login."""
        return cls(profile, None, None)


RouteChoice = Route | ErrorPage
"""The route of a request, or the error page for a request that is not forwarded."""


class RouteClient(Protocol):
    """The client of a request, as far as its route depends on the client.

    Attributes:
        program: The name of the client program, for the route source to remember; None until the
            route source has looked it up.
    """

    program: str | None

    def ends(self) -> tuple[Endpoint, Endpoint] | None:
        """Return the addresses of TrayProxy and of the client; None if the client is gone."""


class RouteSource(Protocol):
    """Chooses the route of each request on the connections of a listener."""

    def known(self, target: Target, client: RouteClient) -> Route | None:
        """Return the route of a request if it is known at once; None if `choose` must be called.

        Called for every request, so it must be fast.
        """

    def choose(self, target: Target, client: RouteClient) -> RouteChoice | Future[RouteChoice]:
        """Return the route of a request with an authority, or a future for it: a script or a
        look-up may be needed. The future is cancelled when the client leaves."""
