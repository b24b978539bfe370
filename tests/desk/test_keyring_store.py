"""Tests for trayproxy.desk.keyring_store with fake back-ends."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import permutations
from threading import Event
from typing import NoReturn

import pytest
from keyring.errors import (
    InitError,
    KeyringError,
    KeyringLocked,
    NoKeyringError,
    PasswordDeleteError,
    PasswordSetError,
)
from msgspec import structs

from tests.desk.machine_driver import OFFICE
from tests.support.processes import RunPython
from tests.support.values import LAB, RIGHT
from trayproxy.auth.login import Login
from trayproxy.desk import secret_service
from trayproxy.desk.credential_store import LookupResult
from trayproxy.desk.keyring_errors import KeyringUnusableError, reason_of, state_after
from trayproxy.desk.keyring_store import KeyringStore, OpenKeyring, service_name
from trayproxy.domain.signin import KeyringState, KeyringStatus
from trayproxy.profiles.profile import Upstream

SECRET = "Zx9-hidden"
OK = KeyringStatus(KeyringState.OK, "Test Keyring")
SOON = 5.0


@dataclass
class Entry:
    username: str
    password: str


@dataclass
class InMemoryBackend:
    """A back-end that stores entries in memory."""

    entries: dict[tuple[str, str], str] = field(default_factory=dict)

    def get_credential(self, service: str, username: str | None) -> Entry | None:
        for (where, user), password in self.entries.items():
            if where == service and username in (None, user):
                return Entry(user, password)
        return None

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.entries[service, username]


class RaisingBackend(InMemoryBackend):
    """A back-end that raises the same exception in every method."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def get_credential(self, service: str, username: str | None) -> NoReturn:
        raise self.error

    def set_password(self, service: str, username: str, password: str) -> NoReturn:
        raise self.error


class HangingBackend(InMemoryBackend):
    """A back-end that blocks until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = Event()
        self.released = Event()

    def get_credential(self, service: str, username: str | None) -> Entry | None:
        self.reached.set()
        assert self.released.wait(SOON)
        return super().get_credential(service, username)


class NameOnlyBackend(InMemoryBackend):
    """A back-end that finds entries by user name only, as the macOS Keychain does."""

    def get_credential(self, service: str, username: str | None) -> Entry | None:
        return super().get_credential(service, username) if username else None


class WinVaultKeyring(InMemoryBackend):
    """A fake of the Windows back-end, which is recognized by its module."""

    __module__ = "keyring.backends.Windows"


class SecretServiceKeyring(HangingBackend):
    """A fake of the Secret Service back-end, which is recognized by its module."""

    __module__ = "keyring.backends.SecretService"


def store_on(backend: InMemoryBackend, clock: Callable[[], float] = lambda: 0.0) -> KeyringStore:
    return KeyringStore(open_keyring=lambda: OpenKeyring(backend, "Test Keyring"), clock=clock)


# --- Entries --------------------------------------------------------------------------------------


def test_a_saved_login_is_found_again() -> None:
    store = store_on(InMemoryBackend())
    assert store.save(OFFICE, RIGHT).result(SOON) is None
    assert store.find(OFFICE, "jdoe").result(SOON) == LookupResult(RIGHT, OK)


def test_a_profile_without_a_user_name_finds_its_entry() -> None:
    store = store_on(InMemoryBackend())
    store.save(OFFICE, RIGHT)
    assert store.find(OFFICE).result(SOON).login == RIGHT


def test_the_entry_of_another_user_is_not_found() -> None:
    store = store_on(InMemoryBackend())
    store.save(OFFICE, RIGHT)
    assert store.find(OFFICE, "bob").result(SOON).login is None


def test_every_profile_has_its_own_entry() -> None:
    store = store_on(InMemoryBackend())
    store.save(OFFICE, RIGHT)
    assert store.find(LAB).result(SOON).login is None


def test_no_service_name_is_a_prefix_of_another() -> None:
    profiles = [replace(OFFICE, id=profile_id) for profile_id in ("lab", "lab-2", "la", "b")]
    names = [service_name(profile) for profile in profiles]
    assert not any(a.startswith(b) for a, b in permutations(names, 2))


def test_the_password_of_a_certificate_has_an_entry_of_its_own() -> None:
    backend = InMemoryBackend()
    store = store_on(backend)
    profile = replace(OFFICE, client_certificate="/home/jd/jd.p12")
    assert store.find_certificate_password(profile).result(SOON) == ""
    store.save(profile, RIGHT)
    assert store.save_certificate_password(profile, "of the file").result(SOON) is None
    assert store.find_certificate_password(profile).result(SOON) == "of the file"
    assert store.find(profile).result(SOON).login == RIGHT
    other_file = replace(profile, client_certificate="/home/jd/other.p12")
    assert store.find_certificate_password(other_file).result(SOON) == ""
    names = {service for service, _ in backend.entries}
    assert len(names) == 2
    assert not any(a.startswith(b) for a, b in permutations(names, 2))
    store.forget(profile).result(SOON)
    assert backend.entries == {}


def test_an_empty_password_of_a_certificate_is_not_saved() -> None:
    store = store_on(InMemoryBackend())
    problem = store.save_certificate_password(replace(OFFICE, client_certificate="/c.p12"), "")
    assert problem.result(SOON) is not None


def test_a_profile_with_a_changed_upstream_finds_no_entry() -> None:
    store = store_on(InMemoryBackend())
    store.save(OFFICE, RIGHT)
    moved = replace(OFFICE, upstream=Upstream("elsewhere.example", 8080))
    assert store.find(moved).result(SOON).login is None


def test_a_new_login_replaces_the_old_login() -> None:
    backend = InMemoryBackend()
    store = store_on(backend)
    store.save(OFFICE, Login("bob", "old"))
    store.save(OFFICE, RIGHT).result(SOON)
    assert backend.entries == {(service_name(OFFICE), "jdoe"): "right"}


def test_another_user_replaces_the_entry_of_a_name_only_backend() -> None:
    backend = NameOnlyBackend({(service_name(OFFICE), OFFICE.user): "old"})
    assert store_on(backend).save(OFFICE, Login("bob", "new")).result(SOON) is None
    assert backend.entries == {(service_name(OFFICE), "bob"): "new"}


def test_no_entry_is_looked_up_for_an_empty_user_name(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, users = InMemoryBackend(), list[str | None]()

    def record(service: str, username: str | None) -> None:
        users.append(username)

    monkeypatch.setattr(backend, "get_credential", record)
    assert store_on(backend).save(replace(OFFICE, user=""), RIGHT).result(SOON) is None
    assert users == [None]


def test_forgetting_removes_only_the_entries_of_the_profile() -> None:
    backend = InMemoryBackend(
        {(service_name(OFFICE), "bob"): "x", (service_name(OFFICE), "al"): "y"}
    )
    store = store_on(backend)
    store.save(LAB, RIGHT)
    assert store.forget(OFFICE).result(SOON) is None
    assert backend.entries == {(service_name(LAB), "jdoe"): "right"}


def test_forgetting_a_missing_login_is_no_problem() -> None:
    assert store_on(InMemoryBackend()).forget(OFFICE).result(SOON) is None


def test_an_entry_with_an_empty_secret_is_not_found() -> None:
    # KWallet returns entries that it has not written yet as empty.
    backend = InMemoryBackend({(service_name(OFFICE), "jdoe"): ""})
    assert store_on(backend).find(OFFICE).result(SOON) == LookupResult(None, OK)


@pytest.mark.parametrize(
    ("login", "reason"),
    [(Login("", SECRET), "needs a user name"), (Login("jdoe", ""), "empty password")],
)
def test_a_login_that_could_not_be_found_again_is_not_saved(login: Login, reason: str) -> None:
    backend = InMemoryBackend()
    problem = store_on(backend).save(OFFICE, login).result(SOON)
    assert problem
    assert problem.id == "TP-404"
    assert reason in problem.body
    assert backend.entries == {}


@pytest.mark.parametrize("password", ["x" * 1281, "😀" * 641])
def test_a_password_too_long_for_windows_is_reported_without_a_call(password: str) -> None:
    backend = WinVaultKeyring()
    problem = store_on(backend).save(OFFICE, Login("jdoe", password)).result(SOON)
    assert problem
    assert "at most 1280 characters" in problem.body
    assert backend.entries == {}


def test_the_longest_password_for_windows_is_saved() -> None:
    assert store_on(WinVaultKeyring()).save(OFFICE, Login("jdoe", "x" * 1280)).result(SOON) is None


@pytest.mark.parametrize("password", ["päss€", "😀", "a\0b", " lead", "x" * 100_000])
def test_any_text_is_saved_unchanged(password: str) -> None:
    store = store_on(InMemoryBackend())
    store.save(OFFICE, Login("jörg", password))
    assert store.find(OFFICE).result(SOON).login == Login("jörg", password)


# --- States ---------------------------------------------------------------------------------------


class DBusError(Exception):
    """An exception like jeepney's."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


DBusError.__name__ = "DBusErrorResponse"


class WindowsError(Exception):
    """An exception like pywintypes'."""

    def __init__(self) -> None:
        super().__init__(1783, "CredWrite", "The stub received bad data")
        self.winerror, self.funcname, self.strerror = self.args


@pytest.mark.parametrize(
    ("raised", "state"),
    [
        (KeyringLocked("Failed to unlock the collection!"), KeyringState.LOCKED),
        (InitError("Failed to create the collection: Prompt dismissed."), KeyringState.LOCKED),
        (NoKeyringError("No recommended backend"), KeyringState.MISSING),
        (RuntimeError("No bus"), KeyringState.MISSING),
        (ConnectionResetError(), KeyringState.MISSING),
        (DBusError("org.freedesktop.DBus.Error.NoReply"), KeyringState.SILENT),
        (DBusError("org.freedesktop.Secret.Error.IsLocked"), KeyringState.LOCKED),
        (DBusError("org.freedesktop.DBus.Error.ServiceUnknown"), KeyringState.MISSING),
        (UnicodeEncodeError("utf-8", SECRET, 0, 1, "no"), KeyringState.OK),
        (PasswordSetError("no"), KeyringState.OK),
        (PasswordDeleteError("no"), KeyringState.OK),
        (WindowsError(), KeyringState.MISSING),
        (KeyringUnusableError(KeyringState.UNSAFE), KeyringState.UNSAFE),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_every_exception_maps_to_a_state(raised: Exception, state: KeyringState) -> None:
    assert state_after(raised) is state
    store = store_on(RaisingBackend(raised))
    result = store.find(OFFICE, "jdoe").result(SOON)
    assert result == LookupResult(None, KeyringStatus(state, "Test Keyring")) or isinstance(
        raised, UnicodeError
    )
    problem = store.save(OFFICE, Login("jdoe", SECRET)).result(SOON)
    assert problem
    assert SECRET not in f"{problem}{result}"


def test_the_reason_is_the_text_of_the_system_if_it_gives_a_text() -> None:
    class RefusedError(KeyringError):
        strerror = "The stub received bad data."

    assert reason_of(RefusedError("(1783, 'CredWrite')")) == "The stub received bad data"


@pytest.mark.parametrize("name", ["LockedException", "PromptDismissedException"])
def test_secretstorage_errors_of_a_locked_keyring_mean_locked(name: str) -> None:
    assert state_after(type(name, (Exception,), {})()) is KeyringState.LOCKED


@pytest.mark.parametrize("name", ["NoReply", "Timeout", "TimedOut"])
def test_bus_timeouts_mean_a_silent_keyring(name: str) -> None:
    error = DBusError(f"org.freedesktop.DBus.Error.{name}")
    assert state_after(error) is KeyringState.SILENT


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (KeyringLocked("Failed to unlock the collection!"), "Failed to unlock the collection"),
        (WindowsError(), "The stub received bad data"),
        (RuntimeError(SECRET), "RuntimeError"),
        (UnicodeEncodeError("utf-8", SECRET, 0, 1, "no"), "it cannot keep these characters"),
        (KeyringLocked("line\nline " + "x" * 500), "line line " + "x" * 110),
    ],
)
def test_a_reason_is_short_and_contains_no_secret(raised: Exception, reason: str) -> None:
    assert reason_of(raised) == reason


def test_a_keyring_is_opened_again_after_a_failure() -> None:
    backends = iter(
        [
            RaisingBackend(KeyringLocked("x")),
            InMemoryBackend({(service_name(OFFICE), "jdoe"): "right"}),
        ]
    )
    store = KeyringStore(open_keyring=lambda: OpenKeyring(next(backends), "Test Keyring"))
    assert store.find(OFFICE).result(SOON).login is None
    assert store.find(OFFICE).result(SOON) == LookupResult(RIGHT, OK)


@pytest.mark.parametrize("state", [KeyringState.MISSING, KeyringState.UNSAFE])
def test_without_a_safe_keyring_nothing_is_saved_and_the_problem_reported(
    state: KeyringState,
) -> None:
    def no_backend() -> OpenKeyring:
        raise KeyringUnusableError(state)

    store = KeyringStore(open_keyring=no_backend)
    assert store.survey().result(SOON) == KeyringStatus(state)
    assert store.find(OFFICE).result(SOON) == LookupResult(None, KeyringStatus(state))
    problem = store.save(OFFICE, RIGHT).result(SOON)
    assert problem
    assert problem.id == "TP-402"
    assert store.forget(OFFICE).result(SOON) is None


def test_the_keyring_is_not_opened_before_the_first_call() -> None:
    store = KeyringStore(open_keyring=lambda: pytest.fail("the keyring was opened"))
    assert store.keyring == KeyringStatus(KeyringState.UNKNOWN)


def test_a_change_of_state_is_reported() -> None:
    told: list[KeyringStatus] = []
    store = store_on(RaisingBackend(KeyringLocked("x")))
    store.watch(told.append)
    store.find(OFFICE).result(SOON)
    assert told == [OK, structs.replace(OK, state=KeyringState.LOCKED)]


def test_a_slow_keyring_is_silent_and_its_late_answer_is_used() -> None:
    now = [0.0]
    backend = HangingBackend()
    backend.set_password(service_name(OFFICE), "jdoe", "right")
    store = store_on(backend, clock=lambda: now[0])
    result = store.find(OFFICE)
    assert backend.reached.wait(SOON)
    now[0] = 7.9
    assert store.keyring == OK
    now[0] = 8.0
    assert store.keyring == structs.replace(OK, state=KeyringState.SILENT)
    backend.released.set()
    assert result.result(SOON) == LookupResult(RIGHT, OK)


def test_an_unlock_by_another_program_is_noticed_while_the_prompt_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_locked = Event()
    is_locked.set()
    monkeypatch.setattr(secret_service, "is_locked", is_locked.is_set)
    monkeypatch.setattr(secret_service, "has_entries", lambda service: True)
    monkeypatch.setattr(secret_service, "unlock", lambda: True)
    backend = SecretServiceKeyring()
    store = store_on(backend)
    result = store.find(OFFICE)
    assert backend.reached.wait(SOON)
    locked = structs.replace(OK, state=KeyringState.LOCKED)
    assert store.survey().result(SOON) == locked
    is_locked.clear()
    assert store.survey().result(SOON) == OK
    assert not result.done()
    backend.released.set()
    assert result.result(SOON) == LookupResult(None, OK)


def secret_service_store(
    monkeypatch: pytest.MonkeyPatch, *, has_entries: bool
) -> tuple[KeyringStore, SecretServiceKeyring, list[str]]:
    """Return a store on a locked Secret Service, its back-end, and the unlock prompts."""
    prompts: list[str] = []

    def unlock() -> bool:
        prompts.append("unlock")
        return True

    monkeypatch.setattr(secret_service, "is_locked", lambda: not prompts)
    monkeypatch.setattr(secret_service, "has_entries", lambda service: has_entries)
    monkeypatch.setattr(secret_service, "unlock", unlock)
    monkeypatch.setattr(secret_service, "set_label", lambda service, user, label: None)
    backend = SecretServiceKeyring()
    backend.released.set()
    return store_on(backend), backend, prompts


def test_a_locked_keyring_without_an_entry_is_not_unlocked(monkeypatch: pytest.MonkeyPatch) -> None:
    store, _, prompts = secret_service_store(monkeypatch, has_entries=False)
    locked = structs.replace(OK, state=KeyringState.LOCKED)
    assert store.find(OFFICE).result(SOON) == LookupResult(None, locked)
    assert store.forget(OFFICE).result(SOON) is None
    assert prompts == []
    store.save(OFFICE, RIGHT).result(SOON)
    assert prompts == ["unlock"]
    assert store.keyring == OK


@pytest.mark.parametrize("failures", [1, 2])
@pytest.mark.parametrize("name", ["ItemNotFoundException", "PasswordDeleteError"])
def test_an_entry_removed_by_another_program_meanwhile_is_no_problem(
    monkeypatch: pytest.MonkeyPatch, name: str, failures: int
) -> None:
    store, backend, _ = secret_service_store(monkeypatch, has_entries=True)
    backend.set_password(service_name(OFFICE), "jdoe", "right")
    gone = type(name, (Exception,), {})
    left = [gone()] * failures

    def remove(service: str, username: str) -> None:
        if left:
            raise left.pop()
        InMemoryBackend.delete_password(backend, service, username)

    monkeypatch.setattr(backend, "delete_password", remove)
    assert store.forget(OFFICE).result(SOON) is None
    assert backend.entries == {}


@pytest.mark.parametrize(
    ("is_secret_service", "error"),
    [(True, KeyringLocked("x")), (False, PasswordDeleteError("x"))],
    ids=["another error", "another back-end"],
)
def test_a_failed_call_is_not_repeated_unless_an_entry_was_removed_meanwhile(
    monkeypatch: pytest.MonkeyPatch, is_secret_service: bool, error: KeyringError
) -> None:
    backend: InMemoryBackend
    if is_secret_service:
        store, backend, _ = secret_service_store(monkeypatch, has_entries=True)
    else:
        backend = InMemoryBackend()
        store = store_on(backend)
    calls: list[str] = []

    def fail(service: str, username: str, password: str) -> NoReturn:
        calls.append(username)
        raise error

    monkeypatch.setattr(backend, "set_password", fail)
    assert store.save(OFFICE, RIGHT).result(SOON)
    assert calls == ["jdoe"]


def test_a_hanging_keyring_does_not_keep_the_process_from_exiting(run_python: RunPython) -> None:
    program = """
from threading import Event
from trayproxy.desk.keyring_store import KeyringStore
from trayproxy.profiles.profile import Profile, Upstream
reached = Event()
def hang():
    reached.set()
    Event().wait()
KeyringStore(open_keyring=hang).find(Profile("office", "Office", Upstream("proxy", 8080)))
reached.wait()
"""
    assert run_python(program).returncode == 0


def test_importing_the_store_does_not_import_the_keyring_library(run_python: RunPython) -> None:
    program = "import sys, trayproxy.desk.keyring_store; sys.exit('keyring' in sys.modules)"
    assert run_python(program).returncode == 0


def test_no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for raised in (UnicodeEncodeError("utf-8", SECRET, 0, 1, SECRET), RuntimeError(SECRET)):
        store = store_on(RaisingBackend(raised))
        store.save(OFFICE, Login("jdoe", SECRET)).result(SOON)
        store.find(OFFICE).result(SOON)
    assert "the keyring failed" in caplog.text
    assert SECRET not in caplog.text
