"""Which logins an upstream has rejected, without keeping any of them.

A rejected login is never sent again by itself: each repetition is a failed log-on, and companies
lock accounts after three to five. What is remembered is a keyed fingerprint. Whoever reads it
without the key can not even test a guess.
"""

from collections.abc import Iterable

from trayproxy.auth.login import Login
from trayproxy.desk.space import Space

MOST = 256
"""Fingerprints kept; the oldest go first."""


class RejectedLogins:
    """A set of logins that one can add to and ask about, but not read."""

    def __init__(self, key: bytes, fingerprints: Iterable[bytes] = ()) -> None:
        """Create the set.

        Args:
            key: 16 to 64 secret octets. Fingerprints mean nothing under another key.
            fingerprints: Of an earlier run with the same key, the oldest first.
        """
        self._key = key
        self._fingerprints = dict.fromkeys(fingerprints)

    def add(self, space: Space, login: Login) -> None:
        """Remember that this upstream rejected this login."""
        fingerprint = self.fingerprint(space, login)
        self._fingerprints.pop(fingerprint, None)
        self._fingerprints[fingerprint] = None
        while len(self._fingerprints) > MOST:
            del self._fingerprints[next(iter(self._fingerprints))]

    def discard(self, space: Space, login: Login) -> None:
        """Forget a rejection: this upstream has accepted the login after all."""
        self._fingerprints.pop(self.fingerprint(space, login), None)

    def has(self, space: Space, login: Login) -> bool:
        """Return whether this upstream rejected exactly this login."""
        return self.fingerprint(space, login) in self._fingerprints

    @property
    def fingerprints(self) -> tuple[bytes, ...]:
        """What to keep for the next run, the oldest first."""
        return tuple(self._fingerprints)

    def fingerprint(self, space: Space, login: Login) -> bytes:
        """Return what stands for this login at this upstream, and tells nothing about it."""
        from hashlib import blake2b  # Not at the top: it loads OpenSSL.

        mac = blake2b(key=self._key, digest_size=16)
        for part in (space.profile_id, space.upstream, login.user, login.password):
            octets = part.encode("utf-8", "surrogatepass")
            mac.update(len(octets).to_bytes(8, "big"))
            mac.update(octets)
        return mac.digest()
