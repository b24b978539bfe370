"""Change the settings through the running service, or in the settings file while no service
runs."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from trayproxy.auth.login import Login
from trayproxy.cli.output import CommandError, printable_line
from trayproxy.cli.service_client import connect_if_running, fetch_status, request
from trayproxy.control.client import Client
from trayproxy.control.lock import AlreadyRunningError, InstanceLock
from trayproxy.control.messages import (
    ChangeListeners,
    DeleteProfile,
    EvaluatePac,
    ForgetLogin,
    KeptInMemory,
    PacAnswer,
    Resume,
    SaveDevicesPassword,
    SaveLogin,
    SaveProfile,
    Status,
    UseProfile,
)
from trayproxy.domain.problem import ExitCode, Problem, exit_code_for
from trayproxy.paths import Paths
from trayproxy.profiles.config import Config
from trayproxy.profiles.profile import DIRECT_ID, Profile, ProfileError
from trayproxy.profiles.store import SettingsError, SettingsStore

_LOCK_TIMEOUT_S = 5.0
_KEYRING_TIMEOUT_S = 60.0
"""The timeout of keyring operations: the user may have to unlock the keyring. The keyring code has
its own shorter timeout for an unresponsive keyring."""
_SCRIPT_TIMEOUT_S = 40.0
"""The timeout of `EvaluatePac`: the script may have to be loaded, and names to be resolved."""
_LOGIN_TIMEOUT_S = 150.0
"""The timeout of `SaveLogin`: the login is verified at the proxy, which may be slow."""

SIGN_IN_URL = "http://example.com/"
"""The URL whose proxies a sign-in without a request is for, as in the service
(`trayproxy.service.routing_access`)."""


def config_of(status: Status) -> Config:
    """Return the settings of the running service, without the local address."""
    active = DIRECT_ID if status.direct else status.profile.id if status.profile else ""
    return Config(active=active, profiles=status.profiles)


def profile_id_of(client: Client, name: str | None) -> str:
    """Return the id of a profile of the running service by its name; an empty text for None, which
    means the active profile."""
    return "" if name is None else find_profile(config_of(fetch_status(client)), name).id


def find_profile(config: Config, name: str | None) -> Profile:
    """Return the profile with a name or id; without a name, the active profile."""
    found = config.profile if name is None else config.find(name)
    if found is not None:
        return found
    if name is None:
        raise CommandError("No profile is in use. Name one, or choose: trayproxy profiles use.")
    names = ", ".join(printable_line(profile.name) for profile in config.profiles)
    known = f"are: {names}" if names else "are none yet; add one: trayproxy profiles add"
    raise CommandError(f"There is no profile “{printable_line(name)}”. There {known}.")


class PasswordStore(Protocol):
    """The part of a `CredentialStore` that is needed without a service."""

    def forget(self, profile: Profile) -> "Future[Problem | None]":
        """Delete the login of a profile."""

    def save(self, profile: Profile, login: Login) -> "Future[Problem | None]":
        """Save the login of a profile."""


SaveLoginOffline = Callable[[Paths, Config, Profile, Login, bool], Problem | None]
"""Verifies a login of a profile, which was just typed or not, and saves it; returns the problem if
the login was not saved."""


class ServiceSettings:
    """The settings of the running service."""

    def __init__(self, client: Client) -> None:
        """Use a connection after its `Hello`."""
        self._client = client

    def load(self) -> Config:
        """Return the settings; the local address is the default."""
        return config_of(fetch_status(self._client))

    def save(self, profile: Profile) -> None:
        """Add a profile, or replace the profile with the same id."""
        request(self._client, SaveProfile(profile))

    def delete(self, profile: Profile, *, forget: bool) -> None:
        """Delete a profile, and its saved password if `forget` is True."""
        request(self._client, DeleteProfile(profile.id, forget), _KEYRING_TIMEOUT_S)

    def use(self, profile_id: str) -> None:
        """Activate a profile, or *Connect directly* for `DIRECT_ID`."""
        request(self._client, UseProfile(profile_id))

    def resume(self) -> None:
        """End *Connect directly*: activate the profile that was active before."""
        request(self._client, Resume())

    def upstream_of(self, profile: Profile) -> str:
        """Return the URL of the upstream to which `save_login` sends a login; empty if the PAC
        script of an automatic profile names none."""
        if profile.upstream is not None:
            return str(profile.upstream)
        answer = request(self._client, EvaluatePac(SIGN_IN_URL, profile.id), _SCRIPT_TIMEOUT_S)
        proxies = answer.proxies if isinstance(answer, PacAnswer) else ()
        return next((proxy for proxy in proxies if proxy != "direct"), "")

    def save_login(
        self, profile: Profile, login: Login, *, is_typed: bool, typed_for: str = ""
    ) -> Problem | None:
        """Save a login, just typed or not, in the keyring after the proxy has accepted it.

        See `SaveLogin` for `typed_for`.

        Returns:
            The reason for which the running service keeps the accepted login in memory only; None
            if the keyring keeps it.
        """
        save = SaveLogin(profile.id, login, is_typed, typed_for=typed_for)
        reply = request(self._client, save, _LOGIN_TIMEOUT_S)
        return reply.problem if isinstance(reply, KeptInMemory) else None

    def save_certificate_password(self, profile: Profile, password: str) -> Problem | None:
        """Save the password of a profile's client certificate once it has opened the file; return
        as `save_login`."""
        save = SaveLogin(profile.id, Login("", password), is_certificate=True)
        reply = request(self._client, save, _KEYRING_TIMEOUT_S)
        return reply.problem if isinstance(reply, KeptInMemory) else None

    def forget_login(self, profile: Profile) -> None:
        """Delete a profile's login from the keyring."""
        request(self._client, ForgetLogin(profile.id), _KEYRING_TIMEOUT_S)

    def change_listeners(self, change: ChangeListeners) -> None:
        """Change the settings of further listeners, and apply them."""
        request(self._client, change)

    def save_devices_password(self, login: Login | None) -> None:
        """Save the password for other devices in the keyring; None to delete it."""
        request(self._client, SaveDevicesPassword(login), _KEYRING_TIMEOUT_S)


class OfflineSettings:
    """The settings file and the keyring, while no service runs."""

    def __init__(
        self,
        paths: Paths,
        open_keyring: Callable[[], PasswordStore],
        save: SaveLoginOffline | None = None,
    ) -> None:
        """Set the path of the settings file; `open_keyring` is called on demand.

        Without `save`, a login is verified at the proxy and saved in this user's keyring.
        """
        self._paths = paths
        self._store = SettingsStore(paths.config_file)
        self._open_keyring = open_keyring
        self._save = save or _save_login_offline

    def load(self) -> Config:
        """Return the settings of the settings file."""
        try:
            return self._store.load()
        except SettingsError as error:
            raise _settings_error(error) from None

    def save(self, profile: Profile) -> None:
        """Add a profile, or replace the profile with the same id."""
        self._change(lambda config: config.with_profile(profile))

    def delete(self, profile: Profile, *, forget: bool) -> None:
        """Delete a profile, and its saved password if `forget` is True."""
        self._change(lambda config: config.without_profile(profile.id))
        if not forget:
            return
        try:
            self.forget_login(profile)
        except CommandError as error:
            text = f"“{printable_line(profile.name)}” is removed, but its password may be left. "
            raise CommandError(text + error.message, error.exit_code) from None

    def use(self, profile_id: str) -> None:
        """Activate a profile, or *Connect directly* for `DIRECT_ID`."""
        self._change(lambda config: config.with_active(profile_id))

    def resume(self) -> None:
        """End *Connect directly*: activate the profile that was active before."""
        try:
            previous = self.load().previous_profile()
        except ProfileError as error:
            raise CommandError(str(error)) from None
        self.use(previous.id)

    def upstream_of(self, profile: Profile) -> str:
        """Return the URL of the upstream to which `save_login` sends a login."""
        if profile.upstream is None:
            raise CommandError(
                f"The PAC script of “{printable_line(profile.name)}” names its proxies, and only "
                "the running TrayProxy asks the script. Start TrayProxy first.",
                ExitCode.NOT_RUNNING,
            )
        return str(profile.upstream)

    def save_login(
        self, profile: Profile, login: Login, *, is_typed: bool, typed_for: str = ""
    ) -> None:
        """Save a login in the keyring after the proxy has accepted it."""
        problem = self._save(self._paths, self.load(), profile, login, is_typed)
        if problem is not None:
            raise CommandError.from_problem(problem, exit_code_for(problem))
        if profile.user != login.user:
            self._change(lambda config: config.with_profile(replace(profile, user=login.user)))

    def save_certificate_password(self, profile: Profile, password: str) -> None:
        """Save the password of a profile's client certificate once it has opened the file."""
        try:
            problem = _save_certificate_password_offline(profile, password)
        except TimeoutError:
            raise CommandError("The keyring does not answer. (TP-403)", ExitCode.KEYRING) from None
        if problem is not None:
            raise CommandError.from_problem(problem, exit_code_for(problem))

    def forget_login(self, profile: Profile) -> None:
        """Delete a profile's logins from the keyring: each of its upstreams may have a login."""
        keyring = self._open_keyring()
        for key in sorted(self._login_keys(profile)):
            _wait_for_keyring(keyring.forget(profile.with_only(key)))

    def _login_keys(self, profile: Profile) -> set[str]:
        """Return the keys of the logins of a profile (`Profile.login_key`), as far as they are
        known."""
        keys = {profile.login_key(upstream) for upstream in profile.upstreams}
        if profile.pac is not None:
            from trayproxy.desk.history import accepted_upstreams

            keys |= accepted_upstreams(self._paths.sign_in_file, profile.id)
        return keys

    def change_listeners(self, change: ChangeListeners) -> None:
        """Change the settings of further listeners."""
        # Here, as in the next method, because few commands need it.
        from trayproxy.profiles.listener_checks import changed_listeners

        self._change(
            lambda config: changed_listeners(
                config,
                change.forwards,
                change.devices,
                devices_password=change.devices_password,
                containers=change.containers,
            )
        )

    def save_devices_password(self, login: Login | None) -> None:
        """Save the password for other devices in the keyring; None to delete it."""
        from trayproxy.service.device_password import DEVICES, entry_for

        keyring = self._open_keyring()
        if login is None:
            _wait_for_keyring(keyring.forget(DEVICES))
        else:
            _wait_for_keyring(keyring.save(DEVICES, entry_for(login)))

    def _change(self, change: Callable[[Config], Config]) -> None:
        try:
            self._store.save(change(self.load()))
        except SettingsError as error:
            raise _settings_error(error) from None
        except ProfileError as error:
            raise CommandError(f"The settings were not saved. {error}") from None


Settings = ServiceSettings | OfflineSettings
"""The settings and the passwords of the profiles. Each method raises `CommandError` if it fails."""


@contextmanager
def open_settings(paths: Paths) -> Iterator[Settings]:
    """Yield the settings of the running service; without a service, those of the settings file."""
    client = connect_if_running(paths)
    if client is not None:
        with client:
            yield ServiceSettings(client)
        return
    with _edit_lock(paths):
        yield OfflineSettings(paths, _open_keyring)


def _save_login_offline(
    paths: Paths, config: Config, profile: Profile, login: Login, is_typed: bool
) -> Problem | None:
    # Imported here: only this verb needs the modules for connections to proxies.
    from trayproxy.desk.keyring_store import KeyringStore
    from trayproxy.service.certificate_passwords import CertificatePasswords
    from trayproxy.service.own_requests.save_login import verify_and_save_offline

    keyring = KeyringStore()
    return verify_and_save_offline(
        paths,
        keyring,
        profile,
        login,
        is_typed=is_typed,
        name_of=config.name_of,
        certificate_password=CertificatePasswords(keyring).find,
    )


def _save_certificate_password_offline(profile: Profile, password: str) -> Problem | None:
    # Imported here: only this verb needs the modules.
    from trayproxy.desk.keyring_store import KeyringStore
    from trayproxy.service.certificate_passwords import check_password

    problem = check_password(profile, password)
    if problem is not None:
        return problem
    return KeyringStore().save_certificate_password(profile, password).result(_KEYRING_TIMEOUT_S)


def _open_keyring() -> PasswordStore:
    # Imported here: only two verbs need the keyring's libraries.
    from trayproxy.desk.keyring_store import KeyringStore

    return KeyringStore()


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
    """Hold the lock of the settings file, so that no other command changes the file meanwhile."""
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
