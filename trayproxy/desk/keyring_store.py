"""Stores logins in the operating system's keyring; the only module to import the keyring library.

All calls run in a daemon thread, for four reasons. Importing the library takes 0.1 s or much more.
A keyring may wait for the user without a limit, and the library has no timeouts. A keyring serves
parallel calls sequentially anyway. And a hanging thread must not keep the process from exiting,
which rules out a thread pool.

Only back-ends with encryption are used. By default the library uses any installed back-end: with
keyrings.alt, a file of plain text.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from logging import getLogger
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import Protocol, TypeVar, cast

from trayproxy.auth.login import Login
from trayproxy.desk import secret_service
from trayproxy.desk.credential_store import LookupResult
from trayproxy.desk.keyring_errors import (
    KeyringUnusableError,
    is_entry_gone,
    reason_of,
    state_after,
)
from trayproxy.desk.problems import NO_KEYRING, not_removed, not_saved
from trayproxy.domain.problem import Problem, utf16_units
from trayproxy.domain.signin import KeyringState, KeyringStatus
from trayproxy.identity import APP_ID, APP_NAME
from trayproxy.profiles.profile import Profile

SILENT_AFTER_S = 8.0
"""Seconds after which a keyring counts as silent. It most likely waits for the user in a window."""

WINDOWS_MAX_UNITS = 1280
"""Maximum number of UTF-16 units of a secret in the Windows Credential Manager (2,560 octets,
wincred.h). The library passes longer secrets on, and gets "The stub received bad data".
"""

_MAX_ENTRIES = 16
_MAX_RETRIES = 3

_SERVICE_MODULE = "keyring.backends.SecretService"
_WINDOWS_MODULE = "keyring.backends.Windows"

SAFE_BACKENDS = {
    (_WINDOWS_MODULE, "WinVaultKeyring"): "Windows Credential Manager",
    ("keyring.backends.macOS", "Keyring"): "macOS Keychain",
    (_SERVICE_MODULE, "Keyring"): "",
    ("keyring.backends.libsecret", "Keyring"): "",
    ("keyring.backends.kwallet", "DBusKeyring"): "KWallet",
}
"""The back-ends that encrypt, by module and class, and their display names. Several programs
provide the Secret Service; `secret_service.display_name` finds the name of the program.
"""

DEFAULT_NAME = "the keyring of this system"
"""The display name of a Secret Service whose program is not known."""

T = TypeVar("T")
_log = getLogger(__name__)


class BackendCredential(Protocol):
    """An entry as the keyring library returns it."""

    @property
    def username(self) -> str | None:
        """The user name; None if the back-end does not return it."""

    @property
    def password(self) -> str:
        """The password."""


class KeyringBackend(Protocol):
    """The methods used here of the keyring library's back-ends."""

    def get_credential(self, service: str, username: str | None) -> BackendCredential | None:
        """Return an entry; without a user name, any user's entry if the back-end supports this."""

    def set_password(self, service: str, username: str, password: str) -> None:
        """Write an entry."""

    def delete_password(self, service: str, username: str) -> None:
        """Delete an entry."""


@dataclass(frozen=True, slots=True)
class OpenKeyring:
    """A safe back-end.

    Attributes:
        backend: The back-end of the keyring library.
        name: The display name; empty for a Secret Service; the bus tells its name.
    """

    backend: KeyringBackend
    name: str

    @property
    def module(self) -> str:
        """The name of the back-end's module."""
        return type(self.backend).__module__


def service_name(profile: Profile) -> str:
    """Return the service name of a profile's keyring entry.

    The name contains the upstream, because a password belongs to the upstream for which it was
    typed: a profile with a changed upstream finds no entry (security.md T4). The name ends with a
    bracket, so no name is a prefix of another: the macOS Keychain matches prefixes (keyring #644).
    """
    assert profile.upstream is not None, "the upstream of an automatic profile is not known"
    return f"{APP_ID} [{profile.id} {profile.login_key(profile.upstream)}]"


CERTIFICATE_USER = "certificate"
"""The user name of the entries of client certificates, which have none."""


def certificate_service_name(profile: Profile) -> str:
    """Return the service name of the entry with the password of a profile's client certificate.

    The password belongs to the profile and the path of the certificate. See `service_name` for the
    bracket.
    """
    return f"{APP_ID} certificate [{profile.id} {profile.client_certificate}]"


class KeyringStore:
    """Reads and writes logins in the keyring, and reports the keyring's state.

    No method blocks, and no future has an exception.
    """

    def __init__(
        self,
        *,
        limit: float = SILENT_AFTER_S,
        open_keyring: Callable[[], OpenKeyring] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Create the store. The keyring is not opened before the first call.

        Args:
            limit: As `SILENT_AFTER_S`.
            open_keyring: Opens the back-end; raises `KeyringUnusableError`.
            clock: Returns seconds on a monotonic clock.
        """
        self._limit = limit
        self._open_keyring = open_keyring or open_safe_backend
        self._clock = clock
        self._status = KeyringStatus(KeyringState.UNKNOWN)
        self._watchers: list[Callable[[KeyringStatus], None]] = []
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread: Thread | None = None
        self._opened: OpenKeyring | None = None
        self._busy_since: float | None = None

    @property
    def keyring(self) -> KeyringStatus:
        """The keyring's name and state as known at this moment."""
        since, keyring = self._busy_since, self._status
        is_late = since is not None and self._clock() - since >= self._limit
        if is_late and keyring.state is not KeyringState.LOCKED:
            return KeyringStatus(KeyringState.SILENT, keyring.name)
        return keyring

    def watch(self, on_change: Callable[[KeyringStatus], None]) -> None:
        """Register a callback for changes of the keyring's state; the store's thread calls it."""
        self._watchers.append(on_change)

    def find(self, profile: Profile, user: str = "") -> Future[LookupResult]:
        """Read a profile's login for its upstream; see `CredentialStore`.

        The macOS Keychain cannot find a login without a user name.
        """
        return self.find_entry(service_name(profile), user)

    def find_entry(self, service: str, user: str) -> Future[LookupResult]:
        """Read an entry of the keyring, which may be another program's.

        Args:
            service: The service name of the entry.
            user: The user name; empty for any user.
        """

        def job(opened: OpenKeyring) -> LookupResult:
            login = _find(opened, service, user)
            # If the keyring has no entry of TrayProxy, it was not unlocked.
            self._set_state(_state_of(opened))
            return LookupResult(login, self._status)

        return self._submit(job, lambda error: LookupResult(None, self._status))

    def save(self, profile: Profile, login: Login) -> Future[Problem | None]:
        """Save a profile's login, replacing any other; return why not, None if it was saved."""

        def job(opened: OpenKeyring) -> Problem | None:
            reason = _reason_not_savable(opened, login)
            if reason:
                return not_saved(self._status.name, reason)
            label = f"{profile.name} ({login.user})"
            _save(opened, service_name(profile), login, label, profile.user)
            return None

        return self._submit(job, lambda error: self._explain(error, not_saved))

    def find_certificate_password(self, profile: Profile) -> Future[str]:
        """Read the password of a profile's client certificate, empty if there is none."""

        def job(opened: OpenKeyring) -> str:
            login = _find(opened, certificate_service_name(profile), CERTIFICATE_USER)
            return login.password if login else ""

        return self._submit(job, lambda error: "")

    def save_certificate_password(self, profile: Profile, password: str) -> Future[Problem | None]:
        """Save the password of a profile's client certificate; see `CertificatePasswordStore`."""
        login = Login(CERTIFICATE_USER, password)

        def job(opened: OpenKeyring) -> Problem | None:
            if reason := _reason_not_savable(opened, login):
                return not_saved(self._status.name, reason)
            _save(opened, certificate_service_name(profile), login, f"{profile.name} (certificate)")
            return None

        return self._submit(job, lambda error: self._explain(error, not_saved))

    def forget(self, profile: Profile) -> Future[Problem | None]:
        """Remove a profile's logins for its upstream; a missing login is not a problem.

        The profile's user name is used where the back-end cannot find the entry of any user.
        """

        def job(opened: OpenKeyring) -> Problem | None:
            if profile.upstream is not None:
                _forget(opened, service_name(profile), profile.user)
            if profile.client_certificate:
                _forget(opened, certificate_service_name(profile), CERTIFICATE_USER)
            return None

        def explain(error: Exception) -> Problem | None:
            is_missing = self._status.state in (KeyringState.MISSING, KeyringState.UNSAFE)
            return None if is_missing else self._explain(error, not_removed)

        return self._submit(job, explain)

    def survey(self) -> Future[KeyringStatus]:
        """Return the keyring's state without reading an entry.

        The known state is returned at once if the store's thread waits for the user to unlock the
        keyring. If another program has unlocked the keyring meanwhile, a new thread takes over the
        waiting calls.
        """
        opened = self._opened
        if self._busy_since is None or opened is None or opened.module != _SERVICE_MODULE:
            return self._submit(lambda opened: self._status, lambda error: self._status)
        future: Future[KeyringStatus] = Future()

        def check() -> None:
            # The bus or the keyring may have ended: the keyring is not unlocked then.
            with suppress(Exception):
                if _state_of(opened) is KeyringState.OK:
                    self._replace_thread()
                    self._set_state(KeyringState.OK)
            future.set_result(self._status)

        Thread(target=check, name="keyring-survey", daemon=True).start()
        return future

    def _replace_thread(self) -> None:
        """Run the queued jobs in another thread: the present thread waits for the user."""
        jobs, self._jobs = self._jobs, SimpleQueue()
        self._thread, self._busy_since = None, None
        with suppress(Empty):
            while True:
                self._jobs.put(jobs.get_nowait())

    # --- In the store's thread ---------------------------------------------------------------

    def _submit(
        self, job: Callable[[OpenKeyring], T], on_error: Callable[[Exception], T]
    ) -> Future[T]:
        future: Future[T] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                future.set_result(self._run_job(job, on_error))

        self._jobs.put(run)
        if self._thread is None:
            self._thread = Thread(
                target=self._run_jobs, args=(self._jobs,), name="keyring", daemon=True
            )
            self._thread.start()
        return future

    def _run_jobs(self, jobs: "SimpleQueue[Callable[[], None]]") -> None:
        while jobs is self._jobs:
            job = jobs.get()
            self._busy_since = self._clock()
            job()
            if jobs is self._jobs:
                self._busy_since = None
            del job  # The job may hold a login, and the next job may come much later.

    def _run_job(self, job: Callable[[OpenKeyring], T], on_error: Callable[[Exception], T]) -> T:
        """Run a job; translate any exception into a state of the keyring."""
        try:
            opened = self._opened = self._opened or self._open_keyring()
            self._set_state(_state_of(opened), opened.name or self._bus_name())
            result = _run_with_retries(job, opened)
            self._set_state(_state_of(opened), opened.name or self._bus_name())
        # Back-ends raise exceptions of their own, of D-Bus, of Windows and of Python. None of
        # them may end this thread, and none may be logged: the text of a UnicodeEncodeError
        # contains a part of the password.
        except Exception as error:  # noqa: BLE001
            _log.info("the keyring failed: %s", type(error).__name__)
            self._opened = None
            self._set_state(state_after(error))
            return on_error(error)
        else:
            return result

    def _bus_name(self) -> str:
        if self._status.name not in ("", DEFAULT_NAME):
            return self._status.name
        return secret_service.display_name() or DEFAULT_NAME

    def _set_state(self, state: KeyringState, name: str | None = None) -> None:
        keyring = KeyringStatus(state, self._status.name if name is None else name)
        if keyring == self._status:
            return
        self._status = keyring
        for on_change in self._watchers:
            on_change(keyring)

    def _explain(self, error: Exception, problem: Callable[[str, str], Problem]) -> Problem:
        if self._status.state in (KeyringState.MISSING, KeyringState.UNSAFE):
            return NO_KEYRING
        return problem(self._status.name, reason_of(error))


# --- Entries -----------------------------------------------------------------------------------


def _run_with_retries(job: Callable[[OpenKeyring], T], opened: OpenKeyring) -> T:
    """Run a job, and repeat it if another program removed an entry between the job's calls.

    A call to a Secret Service first finds an entry and then reads or deletes it. Every job can be
    repeated safely.
    """
    for _ in range(_MAX_RETRIES):
        try:
            return job(opened)
        except Exception as error:
            if opened.module != _SERVICE_MODULE or not is_entry_gone(error):
                raise
    return job(opened)


def _find(opened: OpenKeyring, service: str, user: str) -> Login | None:
    if not _has_entries(opened, service):
        return None
    _unlock(opened)
    try:
        credential = opened.backend.get_credential(service, user or None)
    except UnicodeError:
        return None  # Not an entry of TrayProxy, whose entries are text.
    # KWallet returns entries that it has not written yet as empty.
    if credential is None or not credential.password:
        return None
    return Login(str(credential.username or user), str(credential.password))


def _save(
    opened: OpenKeyring, service: str, login: Login, label: str, known_user: str = ""
) -> None:
    _unlock(opened)
    before = {_user_of_entry(opened, service, user) for user in (None, known_user)}
    opened.backend.set_password(service, login.user, login.password)
    for user in before - {"", login.user}:
        opened.backend.delete_password(service, user)
    if opened.module == _SERVICE_MODULE:
        secret_service.set_label(service, login.user, f"{APP_NAME} — {label}")


def _user_of_entry(opened: OpenKeyring, service: str, user: str | None) -> str:
    """Return the user name of an entry, empty if the entry does not exist; if None, of the entry of
    any user, where the back-end supports this."""
    entry = opened.backend.get_credential(service, user) if user != "" else None
    return (entry.username or user or "") if entry else ""


def _forget(opened: OpenKeyring, service: str, user: str) -> None:
    if not _has_entries(opened, service):
        return
    _unlock(opened)
    for _ in range(_MAX_ENTRIES):
        credential = opened.backend.get_credential(service, None)
        if credential is None or credential.username is None:
            break
        opened.backend.delete_password(service, credential.username)
    if user and opened.backend.get_credential(service, user):
        opened.backend.delete_password(service, user)


def _has_entries(opened: OpenKeyring, service: str) -> bool:
    """Return False if no entry exists. Reading could then prompt the user to unlock in vain."""
    return opened.module != _SERVICE_MODULE or secret_service.has_entries(service)


def _unlock(opened: OpenKeyring) -> None:
    if opened.module == _SERVICE_MODULE and not secret_service.unlock():
        raise KeyringUnusableError(KeyringState.LOCKED)


def _state_of(opened: OpenKeyring) -> KeyringState:
    is_locked = opened.module == _SERVICE_MODULE and secret_service.is_locked()
    return KeyringState.LOCKED if is_locked else KeyringState.OK


def _reason_not_savable(opened: OpenKeyring, login: Login) -> str:
    """Return why this back-end cannot save a login, empty if it can."""
    if not login.user:
        return "a password needs a user name"
    if not login.password:
        return "it cannot distinguish an empty password from none"
    if opened.module == _WINDOWS_MODULE and utf16_units(login.password) > WINDOWS_MAX_UNITS:
        return f"a password has at most {WINDOWS_MAX_UNITS} characters here"
    return ""


# --- Back-ends ---------------------------------------------------------------------------------


def open_safe_backend() -> OpenKeyring:
    """Return the user's configured back-end, or else the best back-end, if it is safe.

    Raises:
        KeyringUnusableError: There is no back-end, or only back-ends without encryption.
    """
    from keyring import backend, core

    configured = core.load_env() or core.load_config()
    if configured is not None:
        return _first_safe(_chained_backends(configured))
    backends = list(_viable_safe_backends())
    return _first_safe(backends or backend.get_all_keyring())


def _chained_backends(backend: KeyringBackend) -> list[KeyringBackend]:
    """Return the back-ends of a chainer, or the back-end itself."""
    if type(backend).__module__ == "keyring.backends.chainer":
        return list(cast("_Chainer", backend).backends)
    return [backend]


class _Chainer(Protocol):
    backends: Iterable[KeyringBackend]


def _viable_safe_backends() -> Iterator[KeyringBackend]:
    """Yield the viable safe back-ends, the best first.

    The library's own list is not used: it is cached, and a keyring may start after TrayProxy.
    """
    classes = [getattr(import_module(module), name) for module, name in SAFE_BACKENDS]
    viable = [backend_class for backend_class in classes if backend_class.viable]
    for backend_class in sorted(
        viable, key=lambda each: cast("float", each.priority), reverse=True
    ):
        yield backend_class()


def _first_safe(backends: Iterable[KeyringBackend]) -> OpenKeyring:
    backends = list(backends)
    for backend in backends:
        kind = (type(backend).__module__, type(backend).__qualname__)
        if kind in SAFE_BACKENDS:
            return OpenKeyring(_with_app_id(backend), SAFE_BACKENDS[kind])
    is_unsafe = any(not _stores_nothing(backend) for backend in backends)
    raise KeyringUnusableError(KeyringState.UNSAFE if is_unsafe else KeyringState.MISSING)


def _stores_nothing(backend: KeyringBackend) -> bool:
    """Return True for the back-ends `fail` and `null`, and for a chainer without members."""
    return type(backend).__module__ in {
        f"keyring.backends.{n}" for n in ("fail", "null", "chainer")
    }


class _HasAppId(Protocol):
    appid: str

    def with_properties(self, **properties: str) -> KeyringBackend: ...


def _with_app_id(backend: KeyringBackend) -> KeyringBackend:
    """Return the back-end with TrayProxy's name as its application id, if it supports this."""
    if hasattr(backend, "appid"):
        return cast("_HasAppId", backend).with_properties(appid=APP_NAME)
    return backend
