"""The interface of a store for logins, and a store for runs without one.

`trayproxy.desk.keyring_store` implements the interface with a keyring.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, TypeVar

from trayproxy.auth.login import Login
from trayproxy.desk.problems import PASSWORDS_NOT_KEPT
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import KeyringState, KeyringStatus
from trayproxy.profiles.profile import Profile

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LookupResult:
    """The result of looking up a profile's login.

    Attributes:
        login: The login; None if the store has no usable login.
        keyring: The state of the keyring.
    """

    login: Login | None
    keyring: KeyringStatus


class CredentialStore(Protocol):
    """Stores logins. No method blocks or raises; a failure is part of the result."""

    def find(self, profile: Profile, user: str = "") -> Future[LookupResult]:
        """Read a profile's login for its upstream; of any user if the user is empty."""

    def save(self, profile: Profile, login: Login) -> Future[Problem | None]:
        """Save a profile's login, replacing any other; return why not, None if it was saved."""

    def forget(self, profile: Profile) -> Future[Problem | None]:
        """Remove a profile's logins for its upstream, and the password of its client certificate;
        return why not, None if they were removed."""

    def survey(self) -> Future[KeyringStatus]:
        """Return the keyring's state without reading an entry."""

    def watch(self, on_change: Callable[[KeyringStatus], None]) -> None:
        """Register a callback for changes of the keyring's state; any thread may call it."""


class CertificatePasswordStore(Protocol):
    """Stores the passwords of client certificates. No method blocks or raises."""

    def find_certificate_password(self, profile: Profile) -> Future[str]:
        """Read the password of a profile's client certificate, empty if there is none."""

    def save_certificate_password(self, profile: Profile, password: str) -> Future[Problem | None]:
        """Save the password of a profile's client certificate; return why not, None if saved."""


class NullCredentialStore:
    """A store that stores nothing, for a run that must leave nothing on disk."""

    _NONE = KeyringStatus(KeyringState.OFF)

    def find(self, profile: Profile, user: str = "") -> Future[LookupResult]:
        """Return a result without a login."""
        return _done(LookupResult(None, self._NONE))

    def save(self, profile: Profile, login: Login) -> Future[Problem | None]:
        """Return a problem: this run does not store passwords."""
        return _done(PASSWORDS_NOT_KEPT)

    def find_certificate_password(self, profile: Profile) -> Future[str]:
        """Return an empty password."""
        return _done("")

    def save_certificate_password(self, profile: Profile, password: str) -> Future[Problem | None]:
        """Return a problem: this run does not store passwords."""
        return _done(PASSWORDS_NOT_KEPT)

    def forget(self, profile: Profile) -> Future[Problem | None]:
        """Return None: there is no login to remove."""
        return _done(None)

    def survey(self) -> Future[KeyringStatus]:
        """Return the state `KeyringState.OFF`."""
        return _done(self._NONE)

    def watch(self, on_change: Callable[[KeyringStatus], None]) -> None:
        """Do nothing: the state never changes."""


def _done(value: T) -> Future[T]:
    done: Future[T] = Future()
    done.set_result(value)
    return done
