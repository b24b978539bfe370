"""Identities of upstreams, protection spaces and logins.

A login is bound to an upstream, exactly as configured, and to the realm of the challenge. If a
proxy names another realm, or offers weaker schemes than before (`UpstreamFingerprint`), it gets no
login before the user has been asked.
"""

from dataclasses import dataclass
from typing import NamedTuple

from trayproxy.profiles.profile import Profile

MAX_REALM_LENGTH = 128
"""Maximum length of a realm that is kept unchanged, in characters."""

BY_LOGIN = "login"
"""The family of all HTTP schemes that use a user name and a password."""
BY_SSO = "sso"
"""The family of the own sign-in."""


def host_of(target: str) -> str:
    """Return the host of a target such as ``github.com:443``, in lower case."""
    return target.rpartition(":")[0].lower()


class UpstreamId(NamedTuple):
    """Identifies an upstream of a profile, the only destination of its credentials.

    A tuple because `CredentialBroker.known` hashes it for every request, and hashing a
    dataclass takes four times as long.

    Attributes:
        profile_id: The profile's id. Two profiles never share a login, even for the same upstream.
        upstream: The upstream's URL as configured, ``http://proxy.corp.example:8080``, or the URL
            of a pattern for several upstreams (`Profile.login_key`).
    """

    profile_id: str
    upstream: str

    @classmethod
    def of(cls, profile: Profile) -> "UpstreamId":
        """Return the id of a profile's preferred upstream. An automatic profile has none: see
        `Profile.via`."""
        assert profile.upstream is not None, "the upstream of an automatic profile is not known"
        return cls(profile.id, profile.login_key(profile.upstream))

    @classmethod
    def all_of(cls, profile: Profile) -> "tuple[UpstreamId, ...]":
        """Return the ids of the upstreams of a profile that are known without its PAC script."""
        keys = (profile.login_key(upstream) for upstream in profile.upstreams)
        return tuple(cls(profile.id, key) for key in dict.fromkeys(keys))


@dataclass(frozen=True, slots=True)
class ProtectionSpace:
    """A protection space (RFC 9110, section 11.5): logins and prompts belong to it.

    Attributes:
        upstream_id: The upstream of a profile.
        realm: The upstream's name for the space. Untrusted.
        family: The family of schemes with a shared login: `BY_LOGIN`, `BY_SSO`, or the family of
            SOCKS; empty for the blank space.
    """

    upstream_id: UpstreamId
    realm: str
    family: str

    @classmethod
    def blank(cls, space: UpstreamId) -> "ProtectionSpace":
        """Return the space of an upstream before its first challenge."""
        return cls(space, "", "")


@dataclass(frozen=True, slots=True)
class LoginId:
    """Identifies a login of a protection space, without containing it: the generation grows with
    every new login of the space."""

    space: ProtectionSpace
    generation: int


@dataclass(frozen=True, slots=True)
class UpstreamFingerprint:
    """The scheme and the realms with which an upstream last accepted a login (threats T4 and T5).

    Attributes:
        label: The strongest accepted scheme, or a weaker scheme to which the user agreed; as in
            `trayproxy.auth.scheme.Offer`.
        realms: The realms in which the login in the keyring was accepted; texts name the first.
    """

    label: str
    realms: tuple[str, ...]


def bounded_realm(realm: str) -> str:
    """Return a realm, shortened if it is too long to be kept.

    A long realm is cut and ends with a hash of the whole, so two long realms stay different.
    """
    if len(realm) <= MAX_REALM_LENGTH:
        return realm
    from hashlib import sha256  # Not at the top: it loads OpenSSL.

    digest = sha256(realm.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{realm[: MAX_REALM_LENGTH - 34]}… {digest[:32]}"
