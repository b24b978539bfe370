"""Records which profiles have a password in the keyring, from the results of the keyring's calls.

The keyring is never read for this purpose alone: macOS would prompt the user each time.
"""

from collections.abc import Callable
from concurrent.futures import Future

from trayproxy.auth.login import Login
from trayproxy.desk.credential_store import CredentialStore, LookupResult
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import KeyringState, KeyringStatus
from trayproxy.profiles.profile import Profile


class KeyringInventory:
    """A credential store in front of a keyring: it forwards all calls and records the results."""

    def __init__(self, keyring: CredentialStore, on_change: Callable[[], None]) -> None:
        """Create an empty inventory; `on_change` is called on any thread when it changes."""
        self._keyring = keyring
        self._on_change = on_change
        self._has_password: dict[UpstreamId, bool] = {}
        self.survey = keyring.survey
        self.watch: Callable[[Callable[[KeyringStatus], None]], None] = keyring.watch

    def has_password(self, profile: Profile) -> bool | None:
        """Return whether the profile's preferred upstream has a password, or any upstream of an
        automatic profile; None if not known."""
        if profile.upstream is not None:
            return self._has_password.get(UpstreamId.of(profile))
        known = [has for key, has in self._has_password.items() if key.profile_id == profile.id]
        return any(known) if known else None

    def find(self, profile: Profile, user: str = "") -> Future[LookupResult]:
        """Read a profile's login for its upstream; see `CredentialStore.find`."""

        def record(done: "Future[LookupResult]") -> None:
            lookup = done.result()
            # A keyring that is locked or silent was not read.
            if lookup.login is not None or lookup.keyring.state is KeyringState.OK:
                self._record(profile, lookup.login is not None)

        lookup = self._keyring.find(profile, user)
        lookup.add_done_callback(record)
        return lookup

    def save(self, profile: Profile, login: Login) -> Future[Problem | None]:
        """Save a profile's login, replacing any other."""
        return self._record_when_done(self._keyring.save(profile, login), profile, holds=True)

    def forget(self, profile: Profile) -> Future[Problem | None]:
        """Remove a profile's logins for its upstream."""
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
        key = UpstreamId.of(profile)
        if self._has_password.get(key) is not holds:
            self._has_password[key] = holds
            self._on_change()
