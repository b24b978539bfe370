"""Where logins are kept, as the desk sees it. `trayproxy.desk.keyring_store` is the real one."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, TypeVar

from trayproxy.auth.login import Login
from trayproxy.control.messages import KeyringState, KeyringStatus, Problem
from trayproxy.desk.problems import passwords_not_kept
from trayproxy.profiles.profile import Profile

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LookupResult:
    """What the keyring holds for a profile.

    Attributes:
        login: None if there is nothing that can be used.
        keyring: The state it is in.
    """

    login: Login | None
    keyring: KeyringStatus


class CredentialStore(Protocol):
    """Keeps logins. Nothing here blocks or raises; what went wrong is part of the result."""

    def find(self, profile: Profile, user: str = "") -> Future[LookupResult]:
        """Read the login of a profile for its upstream; of whatever user if none is named."""

    def save(self, profile: Profile, login: Login) -> Future[Problem | None]:
        """Keep the login of a profile, in the place of any other."""

    def forget(self, profile: Profile) -> Future[Problem | None]:
        """Remove the logins of a profile for its upstream."""

    def survey(self) -> Future[KeyringStatus]:
        """Find out which keyring there is, without reading anything."""

    def watch(self, tell: Callable[[KeyringStatus], None]) -> None:
        """Call this, from any thread, when the keyring turns out to be in another state."""


class NullCredentialStore:
    """A store that keeps nothing, for a run that must leave nothing behind."""

    _NONE = KeyringStatus(KeyringState.OFF)

    def find(self, profile: Profile, user: str = "") -> Future[LookupResult]:
        """Find nothing."""
        return _done(LookupResult(None, self._NONE))

    def save(self, profile: Profile, login: Login) -> Future[Problem | None]:
        """Say that nothing is kept."""
        return _done(passwords_not_kept())

    def forget(self, profile: Profile) -> Future[Problem | None]:
        """Have nothing to forget."""
        return _done(None)

    def survey(self) -> Future[KeyringStatus]:
        """Return that this run keeps no passwords."""
        return _done(self._NONE)

    def watch(self, tell: Callable[[KeyringStatus], None]) -> None:
        """Have nothing to tell."""


def _done(value: T) -> Future[T]:
    done: Future[T] = Future()
    done.set_result(value)
    return done
