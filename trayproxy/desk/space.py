"""What a login belongs to.

A login is bound to the pinned identity of an upstream, exactly as configured, and within it to the
realm and the family of methods that asked for it: a proxy that suddenly calls itself something
else, or asks in another way, is a stranger who gets nothing without a question.
"""

from dataclasses import dataclass
from typing import NamedTuple

from trayproxy.profiles.profile import Profile


class Space(NamedTuple):
    """Where credentials may go: one upstream of one profile.

    A tuple because `trayproxy.desk.desk.Desk.known` hashes it for every request, which takes a
    dataclass four times as long.

    Attributes:
        profile_id: Two profiles never share a login, not even for the same upstream.
        upstream: Its URL as configured, ``http://proxy.corp.example:8080``.
    """

    profile_id: str
    upstream: str

    @classmethod
    def of(cls, profile: Profile) -> "Space":
        """Return the space of a profile's preferred upstream."""
        return cls(profile.id, str(profile.upstream))

    @classmethod
    def all_of(cls, profile: Profile) -> "tuple[Space, ...]":
        """Return the spaces of a profile's upstreams: a login for one is none for the others."""
        return tuple(cls(profile.id, str(upstream)) for upstream in profile.upstreams)


@dataclass(frozen=True, slots=True)
class Key:
    """A protection space (RFC 9110, section 11.5): what one question is about.

    Attributes:
        space: The upstream of a profile.
        realm: What the upstream calls itself. Untrusted.
        family: The methods that share a login; empty for the blank key.
    """

    space: Space
    realm: str
    family: str

    @classmethod
    def blank(cls, space: Space) -> "Key":
        """Return the key for an upstream that has not asked yet."""
        return cls(space, "", "")


@dataclass(frozen=True, slots=True)
class Mark:
    """Names one login of one protection space, and nothing secret about it.

    Attributes:
        key: The protection space.
        generation: Grows with every new login of that space.
    """

    key: Key
    generation: int
