"""The set of rejected logins of this run, without the logins themselves.

A rejected login is never sent again automatically: each repetition is a failed log-on, and
companies lock accounts after three to five. The set contains keyed fingerprints; without the key,
no guess can be tested against a fingerprint.

A rejection is recorded for each location of an upstream: its URL and each of its network addresses.
So two profiles with the same upstream, and two names of the same upstream, share rejections; they
never share a login.
"""

from collections.abc import Iterable

from trayproxy.auth.login import Login

MAX_FINGERPRINTS = 256
"""Maximum number of fingerprints in the set; the oldest are dropped first."""


class RejectedLogins:
    """A set of logins that supports adding, removing and testing, but not reading."""

    def __init__(self, key: bytes) -> None:
        """Create an empty set; the key of the fingerprints is 16 to 64 secret octets."""
        self._key = key
        self._fingerprints: dict[bytes, None] = {}

    def add(self, locations: Iterable[str], login: Login) -> None:
        """Add a login rejected by an upstream with these locations."""
        for location in locations:
            fingerprint = self.fingerprint(location, login)
            self._fingerprints.pop(fingerprint, None)
            self._fingerprints[fingerprint] = None
        while len(self._fingerprints) > MAX_FINGERPRINTS:
            del self._fingerprints[next(iter(self._fingerprints))]

    def discard(self, locations: Iterable[str], login: Login) -> None:
        """Remove a login, because the upstream with these locations has accepted the login."""
        if self._fingerprints:  # `fingerprint` loads OpenSSL: not for an empty set.
            for location in locations:
                self._fingerprints.pop(self.fingerprint(location, login), None)

    def contains(self, locations: Iterable[str], login: Login) -> bool:
        """Return True if an upstream with any of these locations rejected exactly this login."""
        if not self._fingerprints:
            return False
        return any(
            self.fingerprint(location, login) in self._fingerprints for location in locations
        )

    def fingerprint(self, location: str, login: Login) -> bytes:
        """Return the keyed fingerprint of a login and a location of its upstream."""
        from hashlib import blake2b  # Not at the top: it loads OpenSSL.

        mac = blake2b(key=self._key, digest_size=16)
        for part in (location, login.user, login.password):
            octets = part.encode("utf-8", "surrogatepass")
            mac.update(len(octets).to_bytes(8, "big"))
            mac.update(octets)
        return mac.digest()
