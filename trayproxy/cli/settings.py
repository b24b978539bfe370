"""The settings, wherever they are changed: by the running service, or here while none runs."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from trayproxy.auth.login import Login
from trayproxy.cli.output import CommandError, exit_code_for, printable_line
from trayproxy.cli.service_client import connect_if_running, fetch_status, request
from trayproxy.control.client import Client
from trayproxy.control.lock import AlreadyRunningError, InstanceLock
from trayproxy.control.messages import (
    DeleteProfile,
    ForgetLogin,
    KeptInMemory,
    Problem,
    SaveLogin,
    SaveProfile,
    UseProfile,
)
from trayproxy.exit_codes import ExitCode
from trayproxy.paths import Paths
from trayproxy.profiles.config import Config
from trayproxy.profiles.profile import DIRECT_ID, Profile, ProfileError
from trayproxy.profiles.store import SettingsError, SettingsStore

_LOCK_TIMEOUT_S = 5.0
_KEYRING_TIMEOUT_S = 60.0
"""A person may have to unlock it; the vault itself gives up on one that is silent."""
_LOGIN_TIMEOUT_S = 150.0
"""The login is tried first, and the proxy may take its time."""


@dataclass(frozen=True, slots=True)
class ProfileList:
    """The profiles as they are now.

    Attributes:
        all: In menu order.
        active: The one in use, None if none is.
        direct: Programs connect directly.
    """

    all: tuple[Profile, ...]
    active: Profile | None
    direct: bool = False

    def find(self, name: str | None) -> Profile:
        """Return the profile that a person means, the active one without a name.

        Raises:
            CommandError: There is none.
        """
        if name is None:
            if self.active is None:
                raise CommandError(
                    "No profile is in use. Name one, or choose: trayproxy profiles use."
                )
            return self.active
        found = Config(profiles=self.all).find(name)
        if found is None:
            raise CommandError(f"There is no profile “{printable_line(name)}”. {self._available()}")
        return found

    def means_direct(self, name: str) -> bool:
        """Return whether a person means *Connect directly*."""
        return Config(profiles=self.all).names_direct(name)

    def _available(self) -> str:
        if not self.all:
            return "There are none yet; add one: trayproxy profiles add."
        return f"There are: {', '.join(printable_line(profile.name) for profile in self.all)}."


class PasswordStore(Protocol):
    """The keyring, as far as it is needed here (`trayproxy.desk.keyring_store`)."""

    def forget(self, profile: Profile) -> "Future[Problem | None]":
        """Remove the login of a profile."""
        ...


SaveLoginOffline = Callable[[Paths, Config, Profile, Login, bool], Problem | None]
"""Tries a login of one of the profiles, typed just now or not, and keeps it; returns why it was not
kept."""


class Settings(Protocol):
    """The settings, and the passwords that belong to the profiles.

    Every method raises `CommandError` if it cannot do what it says.
    """

    def profiles(self) -> ProfileList:
        """Return the profiles."""
        ...

    def save(self, profile: Profile) -> None:
        """Add a profile, or change the one with its id."""
        ...

    def delete(self, profile: Profile, *, forget: bool) -> None:
        """Delete a profile, with its saved password if `forget`."""
        ...

    def use(self, profile: Profile) -> None:
        """Make a profile the active one."""
        ...

    def connect_directly(self) -> None:
        """Let programs connect directly in place of a profile."""
        ...

    def save_login(self, profile: Profile, login: Login, *, is_typed: bool) -> Problem | None:
        """Keep a login in the keyring once the proxy has accepted it.

        Args:
            profile: Whose login.
            login: The login.
            is_typed: A person has just typed it.

        Returns:
            Why the running service keeps the accepted login in memory only; None if the keyring
            keeps it.
        """
        ...

    def forget_login(self, profile: Profile) -> None:
        """Remove a profile's login from the keyring."""
        ...


@contextmanager
def open_settings(
    paths: Paths, open_vault: Callable[[], PasswordStore] | None = None
) -> Iterator[Settings]:
    """Yield the settings of the running service, or those at rest.

    Args:
        paths: Whose settings.
        open_vault: Makes the keyring for settings at rest; None: this user's.

    Raises:
        CommandError: They cannot be had.
    """
    client = connect_if_running(paths)
    if client is not None:
        with client:
            yield ServiceSettings(client)
        return
    with _edit_lock(paths):
        yield OfflineSettings(paths, open_vault or _open_vault)


class ServiceSettings:
    """The settings of the running service."""

    def __init__(self, client: Client) -> None:
        """Use a connection that has said hello."""
        self._client = client

    def profiles(self) -> ProfileList:
        """Return the profiles."""
        status = fetch_status(self._client)
        return ProfileList(status.profiles, status.profile, status.direct)

    def save(self, profile: Profile) -> None:
        """Add a profile, or change the one with its id."""
        request(self._client, SaveProfile(profile))

    def delete(self, profile: Profile, *, forget: bool) -> None:
        """Delete a profile, with its saved password if `forget`."""
        request(self._client, DeleteProfile(profile.id, forget), _KEYRING_TIMEOUT_S)

    def use(self, profile: Profile) -> None:
        """Make a profile the active one."""
        request(self._client, UseProfile(profile.id))

    def connect_directly(self) -> None:
        """Let programs connect directly in place of a profile."""
        request(self._client, UseProfile(DIRECT_ID))

    def save_login(self, profile: Profile, login: Login, *, is_typed: bool) -> Problem | None:
        """Keep a login in the keyring, else in the memory of the service, once it was accepted."""
        reply = request(self._client, SaveLogin(profile.id, login, is_typed), _LOGIN_TIMEOUT_S)
        return reply.problem if isinstance(reply, KeptInMemory) else None

    def forget_login(self, profile: Profile) -> None:
        """Remove a profile's login from the keyring."""
        request(self._client, ForgetLogin(profile.id), _KEYRING_TIMEOUT_S)


class OfflineSettings:
    """The settings file and the keyring, while no service runs."""

    def __init__(
        self,
        paths: Paths,
        open_vault: Callable[[], PasswordStore],
        save: SaveLoginOffline | None = None,
    ) -> None:
        """Name the file; the keyring is opened when it is needed.

        Args:
            paths: Where the settings are.
            open_vault: Makes the keyring.
            save: Tries a login and keeps it; None: at its proxy, in this user's keyring.
        """
        self._paths = paths
        self._store = SettingsStore(paths.config_file)
        self._open_vault = open_vault
        self._save = save or _save_login_offline

    def profiles(self) -> ProfileList:
        """Return the profiles."""
        config = self._load()
        return ProfileList(config.profiles, config.profile, config.is_direct)

    def save(self, profile: Profile) -> None:
        """Add a profile, or change the one with its id."""
        self._change(lambda config: config.with_profile(profile))

    def delete(self, profile: Profile, *, forget: bool) -> None:
        """Delete a profile, with its saved password if `forget`."""
        self._change(lambda config: config.without_profile(profile.id))
        if not forget:
            return
        try:
            self.forget_login(profile)
        except CommandError as error:
            words = f"“{printable_line(profile.name)}” is removed, but its password may be left. "
            raise CommandError(words + error.message, error.exit_code) from None

    def use(self, profile: Profile) -> None:
        """Make a profile the active one."""
        self._change(lambda config: config.with_active(profile.id))

    def connect_directly(self) -> None:
        """Let programs connect directly in place of a profile."""
        self._change(lambda config: config.with_active(DIRECT_ID))

    def save_login(self, profile: Profile, login: Login, *, is_typed: bool) -> None:
        """Keep a login in the keyring once the proxy has accepted it."""
        problem = self._save(self._paths, self._load(), profile, login, is_typed)
        if problem is not None:
            raise CommandError.from_problem(problem, exit_code_for(problem))
        if profile.user != login.user:
            self._change(lambda config: config.with_profile(replace(profile, user=login.user)))

    def forget_login(self, profile: Profile) -> None:
        """Remove a profile's logins from the keyring: each of its upstreams may have one."""
        vault = self._open_vault()
        for upstream in profile.upstreams:
            _wait_for_keyring(vault.forget(profile.with_only(str(upstream))))

    def _load(self) -> Config:
        try:
            return self._store.load()
        except SettingsError as error:
            raise _settings_error(error) from None

    def _change(self, change: Callable[[Config], Config]) -> None:
        try:
            self._store.save(change(self._load()))
        except SettingsError as error:
            raise _settings_error(error) from None
        except ProfileError as error:
            raise CommandError(f"The profile was not saved. {error}") from None


def _save_login_offline(
    paths: Paths, config: Config, profile: Profile, login: Login, is_typed: bool
) -> Problem | None:
    # It brings what talks to proxies, which only this verb pays for.
    from trayproxy.desk.keyring_store import KeyringStore as Keyring
    from trayproxy.service.own_requests.save_login import keep_login_at_rest

    return keep_login_at_rest(
        paths, Keyring(), profile, login, is_typed=is_typed, name_of=config.name_of
    )


def _open_vault() -> PasswordStore:
    # It brings the keyring's libraries, which only these two verbs pay for.
    from trayproxy.desk.keyring_store import KeyringStore as Keyring

    return Keyring()


def _wait_for_keyring(outcome: "Future[Problem | None]") -> None:
    try:
        problem = outcome.result(_KEYRING_TIMEOUT_S)
    except TimeoutError:
        raise CommandError("The keyring does not answer. (TP-403)", ExitCode.KEYRING) from None
    if problem is not None:
        raise CommandError.from_problem(problem, ExitCode.KEYRING)


def _settings_error(error: SettingsError) -> CommandError:
    return CommandError.from_problem(Problem(error.id, error.title, error.body))


@contextmanager
def _edit_lock(paths: Paths) -> Iterator[None]:
    """Let no two commands change the file at once; a service would be asked instead."""
    try:
        paths.prepare()
        lock = InstanceLock(paths.runtime / "edit.lock")
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        while True:
            try:
                lock.acquire()
                break
            except AlreadyRunningError:
                if time.monotonic() > deadline:
                    raise CommandError(
                        "Another trayproxy command is changing the settings."
                    ) from None
                time.sleep(0.02)
    except OSError as error:
        raise CommandError(f"TrayProxy's folders cannot be used: {error}.") from None
    try:
        yield
    finally:
        lock.release()
