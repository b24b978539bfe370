"""Which way a request goes, decided when its head is complete and not changed afterwards."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from trayproxy.desk.protection_space import UpstreamId
from trayproxy.http.target import Authority
from trayproxy.profiles.profile import Profile, ProxyScheme, SignIn, Upstream


class Pulse:
    """Whether a next hop is alive.

    Attributes:
        answers: How many answers it has given to requests on this way.
    """

    __slots__ = ("answers",)

    def __init__(self) -> None:
        """Begin with none."""
        self.answers = 0


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """The snapshot of the active profile that a request keeps to its end, whatever is switched
    meanwhile.

    Two ways are the same if they are one object: the engine asks that for every request.

    Attributes:
        profile: The active profile; None: programs connect directly.
        upstream: The next hop; None: straight to the target, because there is no profile or one of
            its bypass rules says so.
        space: Whose login may be sent there; None on a direct way.
        others: What to take instead while the next hop is dead, in the order of preference.
        signs_in: Whether the next hop may ask for a login.
        is_by_socks: Whether the next hop only makes connections, and signs in before there is any
            HTTP.
        ends_at_target: Whether what is sent reaches the target itself: in origin-form, and never
            signed.
        signs_requests: Whether requests carry the login themselves, and may come back with a 407.
        pulse: What has been heard of the next hop.
    """

    profile: Profile | None
    upstream: Upstream | None
    space: UpstreamId | None
    others: tuple["Way", ...] = ()
    signs_in: bool = field(init=False)
    is_by_socks: bool = field(init=False)
    ends_at_target: bool = field(init=False)
    signs_requests: bool = field(init=False)
    pulse: Pulse = field(init=False, default_factory=Pulse)

    def __post_init__(self) -> None:
        """Work out once what is asked for every request."""
        profile, upstream = self.profile, self.upstream
        signs_in = (
            self.space is not None and profile is not None and profile.sign_in is not SignIn.NONE
        )
        is_by_socks = upstream is not None and upstream.scheme is ProxyScheme.SOCKS5
        for name, value in (
            ("signs_in", signs_in),
            ("is_by_socks", is_by_socks),
            ("ends_at_target", upstream is None or is_by_socks),
            ("signs_requests", signs_in and not is_by_socks),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def through(cls, profile: Profile) -> "Way":
        """Return the way through the upstreams of a profile."""
        first, *others = (
            cls(profile, upstream, UpstreamId(profile.id, str(upstream)))
            for upstream in profile.upstreams
        )
        return replace(first, others=tuple(others))

    @classmethod
    def directly(cls, profile: Profile | None = None) -> "Way":
        """Return the way to the targets themselves. No login ever goes there."""
        return cls(profile, None, None)


Signpost = Callable[[Authority], "Way | None"]
"""Returns the way to a target; None while there is no profile."""
