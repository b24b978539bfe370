"""Which profiles have a password in the keyring, by what the keyring says while it is used.

It is never asked for that alone: macOS would ask the person each time.
"""

from collections.abc import Callable
from concurrent.futures import Future

from trayproxy.auth.login import Login
from trayproxy.control.messages import KeyringState, KeyringStatus, Problem
from trayproxy.desk.credential_store import CredentialStore, LookupResult
from trayproxy.profiles.profile import Profile

ProfileUpstream = tuple[str, str]
"""A profile's id and the upstream whose password it is."""


class KeyringInventory:
    """A keyring that takes notes of what is in it."""

    def __init__(self, keyring: CredentialStore, on_change: Callable[[], None]) -> None:
        """Stand before a keyring; nothing is known of what is in it.

        Args:
            vault: The keyring.
            changed: Called, by any thread, when something else is known.
        """
        self._keyring = keyring
        self._on_change = on_change
        self._has_password: dict[ProfileUpstream, bool] = {}
        self.survey = keyring.survey
        self.watch: Callable[[Callable[[KeyringStatus], None]], None] = keyring.watch

    def has_password(self, profile: Profile) -> bool | None:
        """Return whether it has one for the preferred upstream of a profile; None: not known."""
        return self._has_password.get(_profile_upstream(profile))

    def find(self, profile: Profile, user: str = "") -> Future[LookupResult]:
        """Read the login of a profile for its upstream; of whatever user if none is named."""

        def record(done: "Future[LookupResult]") -> None:
            lookup = done.result()
            # A keyring that is locked or silent has not been looked into.
            if lookup.login is not None or lookup.keyring.state is KeyringState.OK:
                self._record(profile, lookup.login is not None)

        lookup = self._keyring.find(profile, user)
        lookup.add_done_callback(record)
        return lookup

    def save(self, profile: Profile, login: Login) -> Future[Problem | None]:
        """Keep the login of a profile, in the place of any other."""
        return self._record_when_done(self._keyring.save(profile, login), profile, holds=True)

    def forget(self, profile: Profile) -> Future[Problem | None]:
        """Remove the logins of a profile for its upstream."""
        return self._record_when_done(self._keyring.forget(profile), profile, holds=False)

    def _record_when_done(
        self, done: "Future[Problem | None]", profile: Profile, *, holds: bool
    ) -> "Future[Problem | None]":
        def record(done: "Future[Problem | None]") -> None:
            if done.result() is None:
                self._record(profile, holds)

        done.add_done_callback(record)
        return done

    def _record(self, profile: Profile, holds: bool) -> None:
        key = _profile_upstream(profile)
        if self._has_password.get(key) is not holds:
            self._has_password[key] = holds
            self._on_change()


def _profile_upstream(profile: Profile) -> ProfileUpstream:
    return profile.id, str(profile.upstream)
