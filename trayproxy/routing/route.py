"""The way of one request."""

from collections.abc import Iterable
from dataclasses import dataclass

from trayproxy.profiles.profile import Profile, Upstream
from trayproxy.routing.bypass import Address, Bypass


@dataclass(frozen=True, slots=True)
class ViaUpstream:
    """Through this upstream proxy, with the credentials that belong to it."""

    upstream: Upstream


@dataclass(frozen=True, slots=True)
class Direct:
    """To the host itself. Credentials never go this way."""


Route = ViaUpstream | Direct


@dataclass(frozen=True, slots=True)
class Routes:
    """All ways of one profile. Made once, when the profile becomes the active one.

    Nothing is special about loopback: a request for it that reaches TrayProxy was sent to a proxy
    on purpose, and goes where the rules of the profile say. Keeping such requests away is up to the
    system's proxy settings, which say ``localhost, 127.0.0.1, ::1`` by default.

    Attributes:
        via: The way of every request that no rule names.
        bypass: The rules.
    """

    via: ViaUpstream
    bypass: Bypass

    @classmethod
    def of(cls, profile: Profile) -> "Routes":
        """Read the rules of a profile.

        Raises:
            ProfileError: One of its rules cannot be read; the text names it.
        """
        return cls(ViaUpstream(profile.upstream), Bypass.parse(profile.bypass))

    def choose(self, host: str, port: int, addresses: Iterable[Address] = ()) -> Route:
        """Return the way of a request.

        Args:
            host: Where it goes, as in its target: a name, or an address.
            port: And to which port.
            addresses: What the name stands for, if the caller knows. Nothing is looked up.
        """
        return Direct() if self.bypass.matches(host, port, addresses) else self.via
