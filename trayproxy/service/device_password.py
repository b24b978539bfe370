"""The password for other devices, which has its own entry in the keyring."""

from asyncio import wrap_future
from concurrent.futures import Future
from typing import Protocol

from trayproxy.auth.login import Login
from trayproxy.desk.credential_store import LookupResult
from trayproxy.domain.problem import Problem
from trayproxy.profiles.profile import Profile, SignIn, Upstream

USER = "trayproxy"
"""The user name of the entry. Devices may send any user name."""

DEVICES = Profile(
    "Other devices", "Other devices", Upstream("other-devices.invalid", 1), SignIn.PASSWORD, USER
)
"""Names the keyring entry. Its id contains a capital letter and a blank, so it is the id of no
profile of a user."""


class PasswordKeyring(Protocol):
    """The part of a `trayproxy.desk.credential_store.CredentialStore` that is used here."""

    def find(self, profile: Profile, user: str = "") -> Future[LookupResult]:
        """Read the login of an entry; see `CredentialStore`."""

    def save(self, profile: Profile, login: Login) -> Future[Problem | None]:
        """Save the login of an entry; return why not, None if it was saved."""

    def forget(self, profile: Profile) -> Future[Problem | None]:
        """Remove the login of an entry; return why not, None if it was removed."""


async def find_password(keyring: PasswordKeyring) -> str:
    """Return the password for other devices; empty if the keyring does not have or give it."""
    found = await wrap_future(keyring.find(DEVICES, USER))
    return "" if found.login is None else found.login.password


async def save_password(keyring: PasswordKeyring, login: Login | None) -> Problem | None:
    """Save the password for other devices, or delete it; return why this failed."""
    if login is None:
        return await wrap_future(keyring.forget(DEVICES))
    return await wrap_future(keyring.save(DEVICES, entry_for(login)))


def entry_for(login: Login) -> Login:
    """Return the keyring entry for a password."""
    return Login(USER, login.password)
