"""Which profiles have a password in the keyring, by what the keyring says while it is used.

It is never asked for that alone: macOS would ask the person each time.
"""

from collections.abc import Callable
from concurrent.futures import Future

from trayproxy.auth.login import Login
from trayproxy.control.messages import KeyringState, KeyringStatus, Problem
from trayproxy.desk.credential_store import CredentialStore, LookupResult
from trayproxy.profiles.profile import Profile

Place = tuple[str, str]
"""A profile's id and the upstream whose password it is."""


class KeyringInventory:
    """A keyring that takes notes of what is in it."""

    def __init__(self, vault: CredentialStore, changed: Callable[[], None]) -> None:
        """Stand before a keyring; nothing is known of what is in it.

        Args:
            vault: The keyring.
            changed: Called, by any thread, when something else is known.
        """
        self._vault = vault
        self._changed = changed
        self._held: dict[Place, bool] = {}
        self.survey = vault.survey
        self.watch: Callable[[Callable[[KeyringStatus], None]], None] = vault.watch

    def holds(self, profile: Profile) -> bool | None:
        """Return whether it has one for the preferred upstream of a profile; None: not known."""
        return self._held.get(_place(profile))

    def find(self, profile: Profile, user: str = "") -> Future[LookupResult]:
        """Read the login of a profile for its upstream; of whatever user if none is named."""

        def note(found: "Future[LookupResult]") -> None:
            finding = found.result()
            # A keyring that is locked or silent has not been looked into.
            if finding.login is not None or finding.keyring.state is KeyringState.OK:
                self._note(profile, finding.login is not None)

        finding = self._vault.find(profile, user)
        finding.add_done_callback(note)
        return finding

    def save(self, profile: Profile, login: Login) -> Future[Problem | None]:
        """Keep the login of a profile, in the place of any other."""
        return self._noting(self._vault.save(profile, login), profile, holds=True)

    def forget(self, profile: Profile) -> Future[Problem | None]:
        """Remove the logins of a profile for its upstream."""
        return self._noting(self._vault.forget(profile), profile, holds=False)

    def _noting(
        self, done: "Future[Problem | None]", profile: Profile, *, holds: bool
    ) -> "Future[Problem | None]":
        def note(done: "Future[Problem | None]") -> None:
            if done.result() is None:
                self._note(profile, holds)

        done.add_done_callback(note)
        return done

    def _note(self, profile: Profile, holds: bool) -> None:
        place = _place(profile)
        if self._held.get(place) is not holds:
            self._held[place] = holds
            self._changed()


def _place(profile: Profile) -> Place:
    return profile.id, str(profile.upstream)
