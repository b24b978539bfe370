"""Which way a request goes, decided when its head is complete and not changed afterwards."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from trayproxy.desk.protection_space import UpstreamId
from trayproxy.http.target import Authority
from trayproxy.profiles.profile import Profile, ProxyScheme, SignIn, Upstream


class UpstreamActivity:
    """Whether a next hop is alive.

    Attributes:
        responses: How many answers it has given to requests on this way.
    """

    __slots__ = ("responses",)

    def __init__(self) -> None:
        """Begin with none."""
        self.responses = 0


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """The snapshot of the active profile that a request keeps to its end, whatever is switched
    meanwhile.

    Two ways are the same if they are one object: the engine asks that for every request.

    Attributes:
        profile: The active profile; None: programs connect directly.
        upstream: The next hop; None: straight to the target, because there is no profile or one of
            its bypass rules says so.
        upstream_id: Whose login may be sent there; None on a direct way.
        fallbacks: What to take instead while the next hop is dead, in the order of preference.
        may_sign_in: Whether the next hop may ask for a login.
        is_socks: Whether the next hop only makes connections, and signs in before there is any
            HTTP.
        is_direct: Whether what is sent reaches the target itself: in origin-form, and never
            signed.
        authenticates_requests: Whether requests carry the login themselves, and may come back with
            a 407.
        activity: What has been heard of the next hop.
    """

    profile: Profile | None
    upstream: Upstream | None
    upstream_id: UpstreamId | None
    fallbacks: tuple["Route", ...] = ()
    may_sign_in: bool = field(init=False)
    is_socks: bool = field(init=False)
    is_direct: bool = field(init=False)
    authenticates_requests: bool = field(init=False)
    activity: UpstreamActivity = field(init=False, default_factory=UpstreamActivity)

    def __post_init__(self) -> None:
        """Work out once what is asked for every request."""
        profile, upstream = self.profile, self.upstream
        may_sign_in = (
            self.upstream_id is not None
            and profile is not None
            and profile.sign_in is not SignIn.NONE
        )
        is_by_socks = upstream is not None and upstream.scheme is ProxyScheme.SOCKS5
        for name, value in (
            ("may_sign_in", may_sign_in),
            ("is_socks", is_by_socks),
            ("is_direct", upstream is None or is_by_socks),
            ("authenticates_requests", may_sign_in and not is_by_socks),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def via_profile(cls, profile: Profile) -> "Route":
        """Return the way through the upstreams of a profile."""
        first, *others = (
            cls(profile, upstream, UpstreamId(profile.id, str(upstream)))
            for upstream in profile.upstreams
        )
        return replace(first, fallbacks=tuple(others))

    @classmethod
    def direct(cls, profile: Profile | None = None) -> "Route":
        """Return the way to the targets themselves. No login ever goes there."""
        return cls(profile, None, None)


RouteFor = Callable[[Authority], "Route | None"]
"""Returns the way to a target; None while there is no profile."""
