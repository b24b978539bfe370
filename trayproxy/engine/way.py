"""Which way a request goes, decided when its head is complete and not changed afterwards."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from trayproxy.desk.space import Space
from trayproxy.http.target import Authority
from trayproxy.profiles.profile import Profile, Scheme, SignIn, Upstream


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
    """

    profile: Profile | None
    upstream: Upstream | None
    space: Space | None
    others: tuple["Way", ...] = ()

    @classmethod
    def through(cls, profile: Profile) -> "Way":
        """Return the way through the upstreams of a profile."""
        first, *others = (
            cls(profile, upstream, Space(profile.id, str(upstream)))
            for upstream in profile.upstreams
        )
        return replace(first, others=tuple(others))

    @classmethod
    def directly(cls, profile: Profile | None = None) -> "Way":
        """Return the way to the targets themselves. No login ever goes there."""
        return cls(profile, None, None)

    @property
    def signs_in(self) -> bool:
        """Whether the next hop may ask for a login."""
        return (
            self.space is not None
            and self.profile is not None
            and self.profile.sign_in is not SignIn.NONE
        )

    @property
    def is_by_socks(self) -> bool:
        """Whether the next hop only makes connections, and signs in before there is any HTTP."""
        return self.upstream is not None and self.upstream.scheme is Scheme.SOCKS5

    @property
    def ends_at_target(self) -> bool:
        """Whether what is sent reaches the target itself: in origin-form, and never signed."""
        return self.upstream is None or self.is_by_socks

    @property
    def signs_requests(self) -> bool:
        """Whether requests carry the login themselves, and may come back with a 407."""
        return self.signs_in and not self.is_by_socks


Signpost = Callable[[Authority], "Way | None"]
"""Returns the way to a target; None while there is no profile."""
