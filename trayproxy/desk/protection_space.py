"""What a login belongs to.

A login is bound to the pinned identity of an upstream, exactly as configured, and within it to the
realm that asked for it: a proxy that suddenly calls itself something else is a stranger who gets
nothing without a question. So is one that offers less than it used to (`UpstreamFingerprint`).
"""

from dataclasses import dataclass
from typing import NamedTuple

from trayproxy.profiles.profile import Profile

MAX_REALM_LENGTH = 128
"""Characters of a realm that are kept as they are."""

BY_LOGIN = "login"
"""The family of all schemes of HTTP that work with a user name and a password."""
BY_SSO = "sso"
"""The family of one's own sign-in."""


def host_of(target: str) -> str:
    """Return the host of a target such as ``github.com:443``, in lower case."""
    return target.rpartition(":")[0].lower()


class UpstreamId(NamedTuple):
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
    def of(cls, profile: Profile) -> "UpstreamId":
        """Return the space of a profile's preferred upstream."""
        return cls(profile.id, str(profile.upstream))

    @classmethod
    def all_of(cls, profile: Profile) -> "tuple[UpstreamId, ...]":
        """Return the spaces of a profile's upstreams: a login for one is none for the others."""
        return tuple(cls(profile.id, str(upstream)) for upstream in profile.upstreams)


@dataclass(frozen=True, slots=True)
class ProtectionSpace:
    """A protection space (RFC 9110, section 11.5): what one question is about.

    Attributes:
        upstream_id: The upstream of a profile.
        realm: What the upstream calls itself. Untrusted.
        family: What shares a login: `BY_LOGIN`, `BY_SSO`, or that of SOCKS; empty for the blank
            key.
    """

    upstream_id: UpstreamId
    realm: str
    family: str

    @classmethod
    def blank(cls, space: UpstreamId) -> "ProtectionSpace":
        """Return the key for an upstream that has not asked yet."""
        return cls(space, "", "")


@dataclass(frozen=True, slots=True)
class LoginId:
    """Names one login of one protection space, and nothing secret about it.

    Attributes:
        space: The protection space.
        generation: Grows with every new login of that space.
    """

    space: ProtectionSpace
    generation: int


@dataclass(frozen=True, slots=True)
class UpstreamFingerprint:
    """What an upstream was when it last accepted a login (threats T4 and T5).

    Attributes:
        label: What it accepted, the strongest unless a person has agreed to less; as in
            `trayproxy.auth.scheme.Offer`.
        realms: What it called itself where the login was right that the keyring holds; the first is
            the one to name.
    """

    label: str
    realms: tuple[str, ...]


def bounded_realm(realm: str) -> str:
    """Return a realm that is not too long to be remembered: of a long one, its beginning and a hash
    of the whole, so that two long realms stay different."""
    if len(realm) <= MAX_REALM_LENGTH:
        return realm
    from hashlib import sha256  # Not at the top: it loads OpenSSL.

    digest = sha256(realm.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{realm[: MAX_REALM_LENGTH - 34]}… {digest[:32]}"
