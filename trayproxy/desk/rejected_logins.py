"""Which logins an upstream has rejected, without keeping any of them.

A rejected login is never sent again by itself: each repetition is a failed log-on, and companies
lock accounts after three to five. What is remembered is a keyed fingerprint. Whoever reads it
without the key can not even test a guess.

A rejection holds at a place: the URL of an upstream, and each address of it. Two profiles with the
same upstream, and two names of one upstream, so share what was rejected; they never share a login.
"""

from collections.abc import Iterable

from trayproxy.auth.login import Login

MAX_FINGERPRINTS = 256
"""Fingerprints kept; the oldest go first."""


class RejectedLogins:
    """A set of logins that one can add to and ask about, but not read."""

    def __init__(self, key: bytes) -> None:
        """Create the set.

        Args:
            key: 16 to 64 secret octets. Fingerprints mean nothing under another key.
        """
        self._key = key
        self._fingerprints: dict[bytes, None] = {}

    def add(self, places: Iterable[str], login: Login) -> None:
        """Remember that the upstream at these places rejected this login."""
        for place in places:
            fingerprint = self.fingerprint(place, login)
            self._fingerprints.pop(fingerprint, None)
            self._fingerprints[fingerprint] = None
        while len(self._fingerprints) > MAX_FINGERPRINTS:
            del self._fingerprints[next(iter(self._fingerprints))]

    def discard(self, places: Iterable[str], login: Login) -> None:
        """Forget a rejection: the upstream at these places has accepted the login after all."""
        if self._fingerprints:  # Else OpenSSL is not loaded for nothing: see `fingerprint`.
            for place in places:
                self._fingerprints.pop(self.fingerprint(place, login), None)

    def contains(self, places: Iterable[str], login: Login) -> bool:
        """Return whether the upstream at one of these places rejected exactly this login."""
        if not self._fingerprints:
            return False
        return any(self.fingerprint(place, login) in self._fingerprints for place in places)

    def fingerprint(self, place: str, login: Login) -> bytes:
        """Return what stands for this login at this place, and tells nothing about it."""
        from hashlib import blake2b  # Not at the top: it loads OpenSSL.

        mac = blake2b(key=self._key, digest_size=16)
        for part in (place, login.user, login.password):
            octets = part.encode("utf-8", "surrogatepass")
            mac.update(len(octets).to_bytes(8, "big"))
            mac.update(octets)
        return mac.digest()
