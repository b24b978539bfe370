"""Which way a request goes, decided when its head is complete and not changed afterwards."""

from collections.abc import Callable
from dataclasses import dataclass

from trayproxy.desk.space import Space
from trayproxy.http.target import Authority
from trayproxy.profiles.profile import Profile, SignIn, Upstream


@dataclass(frozen=True, slots=True)
class Way:
    """The snapshot of the active profile that a request keeps to its end, whatever is switched
    meanwhile.

    Attributes:
        profile: The active profile.
        upstream: The next hop; None: straight to the target, because a bypass rule says so.
        space: Whose login may be sent there; None on a direct way.
    """

    profile: Profile
    upstream: Upstream | None
    space: Space | None

    @property
    def signs_in(self) -> bool:
        """Whether a 407 on this way is answered with a login."""
        return self.space is not None and self.profile.sign_in is not SignIn.NONE


Signpost = Callable[[Authority], "Way | None"]
"""Returns the way to a target; None while there is no profile."""
