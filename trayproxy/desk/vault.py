"""The operating system's keyring, and the only module that knows the keyring library.

Its calls may show a dialog and block without limit (a locked keyring, secretstorage#33; a stopped
daemon), so all of them run in one thread that the program never waits for at its end. A store that
would
write passwords unprotected is not used, whoever chose it: with ``keyrings.alt`` installed the
library picks a plain-text file in silence when nothing better answers.

What is kept: service ``io.github.trayproxy.TrayProxy:PROFILE:UPSTREAM``, account = user name. The
upstream
is part of the name because a password belongs to it: a profile that is pointed elsewhere finds
nothing.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from os import environ
from queue import SimpleQueue
from typing import Any, TypeVar

from trayproxy.auth.login import Login
from trayproxy.control.messages import Keyring, KeyringState, Problem
from trayproxy.desk.store import Finding
from trayproxy.identity import APP_ID, APP_NAME
from trayproxy.profiles.profile import Profile

_log = logging.getLogger(__name__)

LIMIT_S = 8.0
"""How long a caller waits for writing; reading has its limit in the desk, which uses late
results."""

SAFE = {
    ("keyring.backends.Windows", "WinVaultKeyring"): "Windows Credential Manager",
    ("keyring.backends.macOS", "Keyring"): "macOS Keychain",
    ("keyring.backends.SecretService", "Keyring"): "GNOME Keyring",
    ("keyring.backends.libsecret", "Keyring"): "GNOME Keyring",
    ("keyring.backends.kwallet", "DBusKeyring"): "KWallet",
    ("keyring.backends.kwallet", "DBusKeyringKWallet4"): "KWallet",
}
"""The stores that encrypt what they keep, best first, and what people call them."""

NONE = {"keyring.backends.fail", "keyring.backends.null"}
"""Stores that keep nothing."""

WINDOWS_LIMIT = 1280
"""UTF-16 units that ``CredWrite`` takes: CRED_MAX_CREDENTIAL_BLOB_SIZE is 2,560 octets
(wincred.h)."""

KWALLET_NAMES = ("org.kde.kwalletd6", "org.kde.kwalletd5")

T = TypeVar("T")


class UnusableError(Exception):
    """There is no store to use.

    Attributes:
        keyring: Which one there is instead.
    """

    def __init__(self, keyring: Keyring) -> None:
        super().__init__(keyring.state.value)
        self.keyring = keyring


class FailedError(Exception):
    """The store failed. It does not carry the store's own text: that may hold a part of a password.

    Attributes:
        state: What this shows the keyring to be.
        reason: Why, for a person.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(type(error).__name__)
        self.state = _state_shown_by(error)
        self.reason = _reason(error)


class NotSavedError(Exception):
    """The store does not take this login; the text says why."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A store of the keyring library, and what people call it."""

    ring: Any
    name: str
    module: str


def open_backend() -> Backend:
    """Return the store to use: the one chosen by the library's own settings, else the best.

    Raises:
        UnusableError: There is none, or the one that was chosen is not safe.
    """
    from keyring import core

    chosen = environ.get("PYTHON_KEYRING_BACKEND")
    if chosen is not None:
        module, _, kind = chosen.rpartition(".")
        return _load(module, kind, explicit=True)
    configured = core.load_config()
    if configured is not None:
        return _load(type(configured).__module__, type(configured).__name__, explicit=True)
    for module, kind in SAFE:
        with suppress(UnusableError):
            return _load(module, kind, explicit=False)
    raise UnusableError(Keyring(KeyringState.MISSING))


def _load(module: str, kind: str, *, explicit: bool) -> Backend:
    if module in NONE:
        raise UnusableError(Keyring(KeyringState.MISSING))
    if (module, kind) not in SAFE:
        raise UnusableError(Keyring(KeyringState.UNSAFE, kind))

    def make() -> Any:
        ring_class = getattr(import_module(module), kind)
        # `viable` is whether asking for the priority fails: that is where the library looks whether
        # the store is there.
        return ring_class() if explicit or ring_class.viable else None

    try:
        ring = attempt(make)
    except FailedError as error:
        _log.info("%s cannot be used: %s", module, error)
        ring = None
    if ring is None:
        raise UnusableError(Keyring(KeyringState.MISSING))
    return Backend(ring, SAFE[module, kind], module)


def attempt(action: Callable[[], T]) -> T:
    """Do something with the store, which may raise whatever its libraries raise.

    Raises:
        FailedError: It failed.
    """
    try:
        return action()
    except Exception as error:  # noqa: BLE001  # D-Bus, Windows and Qt errors share no other base
        raise FailedError(error) from None


class Vault:
    """Reads and writes logins (`trayproxy.desk.store.Store`)."""

    def __init__(
        self, open_ring: Callable[[], Backend] = open_backend, limit_s: float = LIMIT_S
    ) -> None:
        """Make a vault; nothing is opened before it is needed.

        Args:
            open_ring: Finds the store. Called in the vault's thread.
            limit_s: How long a caller waits for writing.
        """
        self._open_ring = open_ring
        self._limit_s = limit_s
        self._backend: Backend | None = None
        self._keyring = Keyring(KeyringState.UNKNOWN)
        self._tell: Callable[[Keyring], None] | None = None
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    # --- what the desk calls ---

    def find(self, profile: Profile, user: str = "") -> Future[Finding]:
        """Read the login of a profile for its upstream; of whatever user if none is named."""
        return self._do(lambda: self._find(profile, user))

    def save(self, profile: Profile, login: Login) -> Future[Problem | None]:
        """Keep the login of a profile, in the place of any other."""
        return self._limited(self._do(lambda: self._save(profile, login)), self._silent_problem)

    def forget(self, profile: Profile) -> Future[Problem | None]:
        """Remove the logins of a profile for its upstream."""
        return self._limited(self._do(lambda: self._forget(profile)), self._silent_problem)

    def survey(self) -> Future[Keyring]:
        """Find out which keyring there is, without reading anything or asking anyone."""
        return self._limited(self._do(self._survey), self._silent_keyring)

    def watch(self, tell: Callable[[Keyring], None]) -> None:
        """Call this, from any thread, when the keyring turns out to be in another state."""
        self._tell = tell

    # --- the thread ---

    def _do(self, action: Callable[[], T]) -> Future[T]:
        """Do this after what was asked for before, in the vault's own thread."""
        result: Future[T] = Future()

        def run() -> None:
            # Every action turns what a store may do into a value.
            result.set_result(action())

        self._work.put(run)
        if self._thread is None:
            # A daemon: a call that never returns must not keep the program from ending.
            self._thread = threading.Thread(target=self._run, name="vault", daemon=True)
            self._thread.start()
        return result

    def _run(self) -> None:
        while True:
            self._work.get()()

    def _limited(self, result: Future[T], late: Callable[[], T]) -> Future[T]:
        """Return a future that is done in time, with `late()` if the store does not answer."""
        limited: Future[T] = Future()

        def finish(value: Callable[[], T]) -> None:
            timer.cancel()
            with suppress(InvalidStateError):  # The other one was first.
                limited.set_result(value())

        timer = threading.Timer(self._limit_s, finish, (late,))
        timer.daemon = True
        timer.start()
        result.add_done_callback(lambda done: finish(done.result))
        return limited

    # --- in the thread ---

    def _ring(self) -> Backend:
        """Return the store, looked for again each time as long as there is none.

        Raises:
            UnusableError: There is none.
        """
        if self._backend is None:
            self._backend = self._open_ring()
        return self._backend

    def _survey(self) -> Keyring:
        try:
            backend = self._ring()
            locked = attempt(lambda: _is_locked(backend))
        except UnusableError as error:
            return self._now(error.keyring)
        except FailedError as error:
            return self._failed(error)
        state = KeyringState.LOCKED if locked else KeyringState.OK
        return self._now(Keyring(state, _people_call_it(backend)))

    def _find(self, profile: Profile, user: str) -> Finding:
        keyring = self._survey()
        if keyring.state not in (KeyringState.OK, KeyringState.LOCKED):
            return Finding(None, keyring)
        ring = self._ring().ring
        try:
            # A locked keyring shows its own dialog now, and this waits for it.
            found = attempt(lambda: ring.get_credential(service_name(profile), user or None))
        except FailedError as error:
            return Finding(None, self._failed(error))
        keyring = self._now(replace(keyring, state=KeyringState.OK))
        # KWallet gives an empty secret for an entry that it had no time to write to its disk.
        if found is None or not found.password:
            return Finding(None, keyring)
        return Finding(Login(found.username or user, found.password), keyring)

    def _save(self, profile: Profile, login: Login) -> Problem | None:
        try:
            backend = self._ring()
            _check_size(backend, login)
            attempt(lambda: _write(backend, profile, login))
        except UnusableError as error:
            return no_store(self._now(error.keyring))
        except NotSavedError as error:
            return self._not_saved(str(error))
        except FailedError as error:
            self._failed(error)
            return self._not_saved(error.reason)
        self._now(Keyring(KeyringState.OK, _people_call_it(backend)))
        return None

    def _forget(self, profile: Profile) -> Problem | None:
        try:
            backend = self._ring()
            attempt(lambda: _remove(backend, profile))
        except UnusableError:
            return None  # Nothing was kept, so there is nothing to forget.
        except FailedError as error:
            store = self._failed(error).name or "The keyring"
            title = "The password could not be forgotten"
            return Problem("TP-405", title, f"{store} said: {error.reason}.")
        return None

    # --- states and texts ---

    def _now(self, keyring: Keyring) -> Keyring:
        """Take note of the state, and tell when it is another one."""
        if keyring != self._keyring:
            self._keyring = keyring
            _log.info("keyring: %s %s", keyring.state.value, keyring.name)
            if self._tell is not None:
                self._tell(keyring)
        return keyring

    def _failed(self, error: FailedError) -> Keyring:
        """Take note of the state that a failure shows."""
        _log.info("the keyring failed: %s", error)
        if error.state is not KeyringState.LOCKED:
            # The daemon has gone, or is another than we know: the next call looks for it again.
            self._backend = None
        return self._now(replace(self._keyring, state=error.state))

    def _silent_keyring(self) -> Keyring:
        return self._now(replace(self._keyring, state=KeyringState.SILENT))

    def _silent_problem(self) -> Problem:
        store = self._silent_keyring().name or "The keyring"
        body = "It may be waiting for you in another window."
        return Problem("TP-403", f"{store} does not answer", body)

    def _not_saved(self, reason: str) -> Problem:
        store = self._keyring.name or "The keyring"
        body = f"{store} said: {reason}. It stays in memory until {APP_NAME} quits."
        return Problem("TP-404", "The password could not be saved", body)


def service_name(profile: Profile) -> str:
    """Return the name of a profile's entry.

    No name is the beginning of another one, since ids have no colon and URLs end in their port and
    a
    semicolon: macOS finds entries by parts of their names (keyring#644).
    """
    return f"{APP_ID}:{profile.id}:{profile.upstream};"


def no_store(keyring: Keyring) -> Problem:
    """Return what a person is told whose passwords cannot be kept (ux §5.2, §5.3)."""
    if keyring.state is KeyringState.UNSAFE:
        body = f"{keyring.name} would store the password unprotected. It stays in memory."
    else:
        body = "This system offers no keyring. TrayProxy keeps passwords in memory until it quits."
    return Problem("TP-402", "No safe place for passwords", body)


def _check_size(backend: Backend, login: Login) -> None:
    """Refuse what Windows does not take.

    Raises:
        NotSavedError: It is too long.
    """
    units = len(login.password.encode("utf-16-le", "surrogatepass")) // 2
    if backend.module == "keyring.backends.Windows" and units > WINDOWS_LIMIT:
        raise NotSavedError(f"it takes at most {WINDOWS_LIMIT} characters")


def _state_shown_by(error: Exception) -> KeyringState:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "KeyringLocked" in kinds or ("InitError" in kinds and "dismissed" in str(error)):
        return KeyringState.LOCKED
    if "NoKeyringError" in kinds:
        return KeyringState.MISSING
    return KeyringState.SILENT


def _reason(error: Exception) -> str:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "KeyringLocked" in kinds:
        return "it is locked"
    if "UnicodeError" in kinds:
        return "it cannot keep one of the characters"
    return f"it failed ({type(error).__name__})"


def _write(backend: Backend, profile: Profile, login: Login) -> None:
    """Write an entry, in the place of another user's."""
    service = service_name(profile)
    before = backend.ring.get_credential(service, None)
    backend.ring.set_password(service, login.user, login.password)
    if before is not None and before.username not in (None, login.user):
        backend.ring.delete_password(service, before.username)
    with suppress(FailedError):  # It is kept, whatever it is called.
        attempt(lambda: _label(backend, service, profile, login))


def _remove(backend: Backend, profile: Profile) -> None:
    """Remove every entry of a profile."""
    service = service_name(profile)
    while (found := backend.ring.get_credential(service, None)) is not None:
        backend.ring.delete_password(service, found.username)


def _people_call_it(backend: Backend) -> str:
    """Return the store's name; KWallet offers the Secret Service too."""
    if backend.module == "keyring.backends.SecretService":
        with suppress(FailedError):
            return "KWallet" if attempt(_is_kwallet) else backend.name
    return backend.name


def _is_kwallet() -> bool:
    """Whether the Secret Service is KWallet's: whether one program owns both names."""
    import secretstorage
    from jeepney import DBusAddress, new_method_call

    bus = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
    with closing(secretstorage.dbus_init()) as connection:

        def owner(name: str) -> str:
            question = new_method_call(bus, "GetNameOwner", "s", (name,))
            return str(connection.send_and_get_reply(question).body[0])

        service = owner("org.freedesktop.secrets")
        return any(owner(name) == service for name in KWALLET_NAMES)


def _is_locked(backend: Backend) -> bool:
    """Whether using the store would ask the person to unlock it. Asks nobody."""
    if backend.module != "keyring.backends.SecretService":
        return False
    import secretstorage
    from secretstorage.collection import get_collection_by_alias

    with closing(secretstorage.dbus_init()) as connection:
        try:
            return bool(get_collection_by_alias(connection, "default").is_locked())
        except secretstorage.exceptions.ItemNotFoundException:
            return False  # There is no keyring yet; the first password makes one.


def _label(backend: Backend, service: str, profile: Profile, login: Login) -> None:
    """Give the entry a name that people recognise in their password manager, where it has names."""
    if backend.module != "keyring.backends.SecretService":
        return
    collection = backend.ring.get_preferred_collection()
    with closing(collection.connection):
        for item in collection.search_items({"service": service, "username": login.user}):
            item.set_label(f"{APP_NAME} — {profile.name} ({login.user})")
