"""Where logins are kept, as the desk sees it. `trayproxy.desk.vault` is the real one."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from trayproxy.auth.login import Login
from trayproxy.control.messages import Keyring, Problem
from trayproxy.profiles.profile import Profile


@dataclass(frozen=True, slots=True)
class Finding:
    """What the keyring holds for a profile.

    Attributes:
        login: None if there is nothing that can be used.
        keyring: The state it is in.
    """

    login: Login | None
    keyring: Keyring


class Store(Protocol):
    """Keeps logins. Nothing here blocks or raises; what went wrong is part of the result."""

    def find(self, profile: Profile, user: str = "") -> Future[Finding]:
        """Read the login of a profile for its upstream; of whatever user if none is named."""

    def save(self, profile: Profile, login: Login) -> Future[Problem | None]:
        """Keep the login of a profile, in the place of any other."""

    def forget(self, profile: Profile) -> Future[Problem | None]:
        """Remove the logins of a profile for its upstream."""

    def survey(self) -> Future[Keyring]:
        """Find out which keyring there is, without reading anything."""

    def watch(self, tell: Callable[[Keyring], None]) -> None:
        """Call this, from any thread, when the keyring turns out to be in another state."""
