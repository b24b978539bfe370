"""The set of rejected logins of this run, without the logins themselves.

A rejected login is never sent again automatically: each repetition is a failed log-on, and
companies lock accounts after three to five. The set contains keyed fingerprints; without the key,
no guess can be tested against a fingerprint.

A rejection is recorded for a place: the URL of an upstream, and each of its addresses. So two
profiles with the same upstream, and two names of the same upstream, share rejections; they never
share a login.
"""

from collections.abc import Iterable

from trayproxy.auth.login import Login

MAX_FINGERPRINTS = 256
"""Maximum number of fingerprints in the set; the oldest are dropped first."""


class RejectedLogins:
    """A set of logins that supports adding, removing and testing, but not reading."""

    def __init__(self, key: bytes) -> None:
        """Create an empty set.

        Args:
            key: The fingerprints' key, 16 to 64 secret octets.
        """
        self._key = key
        self._fingerprints: dict[bytes, None] = {}

    def add(self, places: Iterable[str], login: Login) -> None:
        """Add a login rejected by the upstream at these places."""
        for place in places:
            fingerprint = self.fingerprint(place, login)
            self._fingerprints.pop(fingerprint, None)
            self._fingerprints[fingerprint] = None
        while len(self._fingerprints) > MAX_FINGERPRINTS:
            del self._fingerprints[next(iter(self._fingerprints))]

    def discard(self, places: Iterable[str], login: Login) -> None:
        """Remove a login: the upstream at these places has accepted it after all."""
        if self._fingerprints:  # `fingerprint` loads OpenSSL: not for an empty set.
            for place in places:
                self._fingerprints.pop(self.fingerprint(place, login), None)

    def contains(self, places: Iterable[str], login: Login) -> bool:
        """Return True if the upstream at any of these places rejected exactly this login."""
        if not self._fingerprints:
            return False
        return any(self.fingerprint(place, login) in self._fingerprints for place in places)

    def fingerprint(self, place: str, login: Login) -> bytes:
        """Return the keyed fingerprint of a login at a place."""
        from hashlib import blake2b  # Not at the top: it loads OpenSSL.

        mac = blake2b(key=self._key, digest_size=16)
        for part in (place, login.user, login.password):
            octets = part.encode("utf-8", "surrogatepass")
            mac.update(len(octets).to_bytes(8, "big"))
            mac.update(octets)
        return mac.digest()
