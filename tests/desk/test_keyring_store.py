"""Tests for trayproxy.desk.keyring_store: with doubles of a back-end."""

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

from tests.desk.machine_driver import LAB, OFFICE, RIGHT
from tests.support.processes import RunPython
from trayproxy.auth.login import Login
from trayproxy.control.messages import KeyringState, KeyringStatus
from trayproxy.desk import secret_service
from trayproxy.desk.credential_store import LookupResult
from trayproxy.desk.keyring_errors import KeyringUnusableError, reason_of, state_after
from trayproxy.desk.keyring_store import KeyringStore, OpenKeyring, service_name
from trayproxy.profiles.profile import Upstream

SECRET = "Zx9-hidden"
OK = KeyringStatus(KeyringState.OK, "Test Keyring")
SOON = 5.0


@dataclass
class Entry:
    username: str
    password: str


@dataclass
class Memory:
    """A back-end in memory."""

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


class Raising(Memory):
    """A back-end that raises the same error whatever one does."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def get_credential(self, service: str, username: str | None) -> NoReturn:
        raise self.error

    def set_password(self, service: str, username: str, password: str) -> NoReturn:
        raise self.error


class Hanging(Memory):
    """A back-end that hangs until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = Event()
        self.released = Event()

    def get_credential(self, service: str, username: str | None) -> Entry | None:
        self.reached.set()
        assert self.released.wait(SOON)
        return super().get_credential(service, username)


class Named(Memory):
    """A back-end that finds an entry by its user name alone, as the macOS Keychain does."""

    def get_credential(self, service: str, username: str | None) -> Entry | None:
        return super().get_credential(service, username) if username else None


class WinVaultKeyring(Memory):
    """A double of the Windows back-end: known by its module."""

    __module__ = "keyring.backends.Windows"


class SecretServiceKeyring(Hanging):
    """A double of the back-end for the Secret Service: known by its module."""

    __module__ = "keyring.backends.SecretService"


def vault_on(ring: Memory, clock: Callable[[], float] = lambda: 0.0) -> KeyringStore:
    return KeyringStore(open_keyring=lambda: OpenKeyring(ring, "Test Keyring"), clock=clock)


# --- Entries --------------------------------------------------------------------------------------


def test_what_is_saved_is_found_again() -> None:
    vault = vault_on(Memory())
    assert vault.save(OFFICE, RIGHT).result(SOON) is None
    assert vault.find(OFFICE, "jdoe").result(SOON) == LookupResult(RIGHT, OK)


def test_a_profile_without_a_user_name_finds_its_entry() -> None:
    vault = vault_on(Memory())
    vault.save(OFFICE, RIGHT)
    assert vault.find(OFFICE).result(SOON).login == RIGHT


def test_the_entry_of_another_user_is_not_found() -> None:
    vault = vault_on(Memory())
    vault.save(OFFICE, RIGHT)
    assert vault.find(OFFICE, "bob").result(SOON).login is None


def test_every_profile_has_its_own_entry() -> None:
    vault = vault_on(Memory())
    vault.save(OFFICE, RIGHT)
    assert vault.find(LAB).result(SOON).login is None


def test_no_service_name_is_the_beginning_of_another() -> None:
    profiles = [replace(OFFICE, id=profile_id) for profile_id in ("lab", "lab-2", "la", "b")]
    names = [service_name(profile) for profile in profiles]
    assert not any(a.startswith(b) for a, b in permutations(names, 2))


def test_a_profile_that_is_pointed_elsewhere_finds_nothing() -> None:
    vault = vault_on(Memory())
    vault.save(OFFICE, RIGHT)
    moved = replace(OFFICE, upstream=Upstream("elsewhere.example", 8080))
    assert vault.find(moved).result(SOON).login is None


def test_a_new_login_takes_the_place_of_the_old_one() -> None:
    ring = Memory()
    vault = vault_on(ring)
    vault.save(OFFICE, Login("bob", "old"))
    vault.save(OFFICE, RIGHT).result(SOON)
    assert ring.entries == {(service_name(OFFICE), "jdoe"): "right"}


def test_another_user_takes_the_place_where_entries_are_found_by_name_alone() -> None:
    ring = Named({(service_name(OFFICE), OFFICE.user): "old"})
    assert vault_on(ring).save(OFFICE, Login("bob", "new")).result(SOON) is None
    assert ring.entries == {(service_name(OFFICE), "bob"): "new"}


def test_forgetting_removes_all_of_a_profile_and_nothing_else() -> None:
    ring = Memory({(service_name(OFFICE), "bob"): "x", (service_name(OFFICE), "al"): "y"})
    vault = vault_on(ring)
    vault.save(LAB, RIGHT)
    assert vault.forget(OFFICE).result(SOON) is None
    assert ring.entries == {(service_name(LAB), "jdoe"): "right"}


def test_forgetting_what_is_not_there_is_no_problem() -> None:
    assert vault_on(Memory()).forget(OFFICE).result(SOON) is None


def test_an_empty_secret_is_none() -> None:
    # KWallet gives back as empty what it had no time to write.
    ring = Memory({(service_name(OFFICE), "jdoe"): ""})
    assert vault_on(ring).find(OFFICE).result(SOON) == LookupResult(None, OK)


@pytest.mark.parametrize(
    ("login", "reason"),
    [(Login("", SECRET), "needs a user name"), (Login("jdoe", ""), "empty password")],
)
def test_what_could_not_be_found_again_is_not_saved(login: Login, reason: str) -> None:
    ring = Memory()
    problem = vault_on(ring).save(OFFICE, login).result(SOON)
    assert problem
    assert problem.id == "TP-404"
    assert reason in problem.body
    assert ring.entries == {}


@pytest.mark.parametrize("password", ["x" * 1281, "😀" * 641])
def test_a_password_too_long_for_windows_is_told_before_windows_is_asked(password: str) -> None:
    ring = WinVaultKeyring()
    problem = vault_on(ring).save(OFFICE, Login("jdoe", password)).result(SOON)
    assert problem
    assert "at most 1280 characters" in problem.body
    assert ring.entries == {}


def test_the_longest_password_for_windows_is_saved() -> None:
    assert vault_on(WinVaultKeyring()).save(OFFICE, Login("jdoe", "x" * 1280)).result(SOON) is None


@pytest.mark.parametrize("password", ["päss€", "😀", "a\0b", " lead", "x" * 100_000])
def test_any_text_is_kept_as_it_is(password: str) -> None:
    vault = vault_on(Memory())
    vault.save(OFFICE, Login("jörg", password))
    assert vault.find(OFFICE).result(SOON).login == Login("jörg", password)


# --- States ---------------------------------------------------------------------------------------


class DBusError(Exception):
    """As jeepney raises it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


DBusError.__name__ = "DBusErrorResponse"


class WindowsError(Exception):
    """As pywintypes raises it."""

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
def test_every_error_is_a_state(raised: Exception, state: KeyringState) -> None:
    assert state_after(raised) is state
    vault = vault_on(Raising(raised))
    finding = vault.find(OFFICE, "jdoe").result(SOON)
    assert finding == LookupResult(None, KeyringStatus(state, "Test Keyring")) or isinstance(
        raised, UnicodeError
    )
    problem = vault.save(OFFICE, Login("jdoe", SECRET)).result(SOON)
    assert problem
    assert SECRET not in f"{problem}{finding}"


def test_an_error_of_a_keyring_with_a_text_of_the_system_says_that_one() -> None:
    class RefusedError(KeyringError):
        strerror = "The stub received bad data."

    assert reason_of(RefusedError("(1783, 'CredWrite')")) == "The stub received bad data"


@pytest.mark.parametrize("name", ["LockedException", "PromptDismissedException"])
def test_what_secretstorage_says_of_a_closed_keyring_is_that_it_is_locked(name: str) -> None:
    assert state_after(type(name, (Exception,), {})()) is KeyringState.LOCKED


@pytest.mark.parametrize("name", ["NoReply", "Timeout", "TimedOut"])
def test_each_way_of_a_bus_to_say_nothing_is_silence(name: str) -> None:
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
def test_a_reason_is_short_and_holds_no_secret(raised: Exception, reason: str) -> None:
    assert reason_of(raised) == reason


def test_a_keyring_that_failed_once_is_looked_for_again() -> None:
    rings = iter([Raising(KeyringLocked("x")), Memory({(service_name(OFFICE), "jdoe"): "right"})])
    vault = KeyringStore(open_keyring=lambda: OpenKeyring(next(rings), "Test Keyring"))
    assert vault.find(OFFICE).result(SOON).login is None
    assert vault.find(OFFICE).result(SOON) == LookupResult(RIGHT, OK)


@pytest.mark.parametrize("state", [KeyringState.MISSING, KeyringState.UNSAFE])
def test_without_a_safe_keyring_nothing_is_kept_and_that_is_told(state: KeyringState) -> None:
    def no_ring() -> OpenKeyring:
        raise KeyringUnusableError(state)

    vault = KeyringStore(open_keyring=no_ring)
    assert vault.survey().result(SOON) == KeyringStatus(state)
    assert vault.find(OFFICE).result(SOON) == LookupResult(None, KeyringStatus(state))
    problem = vault.save(OFFICE, RIGHT).result(SOON)
    assert problem
    assert problem.id == "TP-402"
    assert vault.forget(OFFICE).result(SOON) is None


def test_nothing_is_looked_at_before_something_is_wanted() -> None:
    vault = KeyringStore(open_keyring=lambda: pytest.fail("the keyring was opened"))
    assert vault.keyring == KeyringStatus(KeyringState.UNKNOWN)


def test_a_change_of_state_is_told() -> None:
    told: list[KeyringStatus] = []
    vault = vault_on(Raising(KeyringLocked("x")))
    vault.watch(told.append)
    vault.find(OFFICE).result(SOON)
    assert told == [OK, structs.replace(OK, state=KeyringState.LOCKED)]


def test_a_keyring_that_takes_longer_than_the_limit_is_silent_and_its_late_answer_counts() -> None:
    now = [0.0]
    ring = Hanging()
    ring.set_password(service_name(OFFICE), "jdoe", "right")
    vault = vault_on(ring, clock=lambda: now[0])
    finding = vault.find(OFFICE)
    assert ring.reached.wait(SOON)
    now[0] = 7.9
    assert vault.keyring == OK
    now[0] = 8.0
    assert vault.keyring == structs.replace(OK, state=KeyringState.SILENT)
    ring.released.set()
    assert finding.result(SOON) == LookupResult(RIGHT, OK)


def test_a_keyring_that_another_program_has_unlocked_is_seen_while_its_prompt_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_locked = Event()
    is_locked.set()
    monkeypatch.setattr(secret_service, "is_locked", is_locked.is_set)
    monkeypatch.setattr(secret_service, "has_entries", lambda service: True)
    monkeypatch.setattr(secret_service, "unlock", lambda: True)
    ring = SecretServiceKeyring()
    vault = vault_on(ring)
    finding = vault.find(OFFICE)
    assert ring.reached.wait(SOON)
    locked = structs.replace(OK, state=KeyringState.LOCKED)
    assert vault.survey().result(SOON) == locked
    is_locked.clear()
    assert vault.survey().result(SOON) == OK
    assert not finding.done()
    ring.released.set()
    assert finding.result(SOON) == LookupResult(None, OK)


def test_a_keyring_that_hangs_for_ever_does_not_keep_the_program_from_ending(
    run_python: RunPython,
) -> None:
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


def test_importing_the_vault_does_not_import_the_keyring_library(run_python: RunPython) -> None:
    program = "import sys, trayproxy.desk.keyring_store; sys.exit('keyring' in sys.modules)"
    assert run_python(program).returncode == 0


def test_no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for raised in (UnicodeEncodeError("utf-8", SECRET, 0, 1, SECRET), RuntimeError(SECRET)):
        vault = vault_on(Raising(raised))
        vault.save(OFFICE, Login("jdoe", SECRET)).result(SOON)
        vault.find(OFFICE).result(SOON)
    assert "the keyring failed" in caplog.text
    assert SECRET not in caplog.text
