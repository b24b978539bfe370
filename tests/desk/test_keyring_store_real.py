"""Tests for trayproxy.desk.keyring_store with the keyring library and a real GNOME Keyring."""

import subprocess
import sys
from pathlib import Path

import pytest
import secretstorage

from tests.desk.machine_driver import OFFICE
from tests.support.keyring_session import KeyringSession
from tests.support.values import GNOME, LAB, LOCKED, RIGHT
from trayproxy.auth.login import Login
from trayproxy.desk.credential_store import LookupResult
from trayproxy.desk.keyring_store import KeyringStore, service_name
from trayproxy.domain.signin import KeyringState, KeyringStatus

SOON = 8.0


@pytest.mark.usefixtures("session")
def test_a_login_is_saved_and_the_keyring_has_its_display_name() -> None:
    assert KeyringStore().save(OFFICE, RIGHT).result(SOON) is None
    assert KeyringStore().find(OFFICE).result(SOON) == LookupResult(RIGHT, GNOME)


def test_an_entry_has_a_readable_label(session: KeyringSession) -> None:
    KeyringStore().save(OFFICE, Login("CORP\\jdoe", "right")).result(SOON)
    (entry,) = session.entries()
    assert entry.label == "TrayProxy — Office (CORP\\jdoe)"
    # The library may add attributes of its own.
    assert entry.attributes.items() >= {
        ("application", "TrayProxy"),
        ("service", service_name(OFFICE)),
        ("username", "CORP\\jdoe"),
    }


def test_another_user_of_a_profile_leaves_no_entry_behind(session: KeyringSession) -> None:
    store = KeyringStore()
    store.save(LAB, RIGHT)
    store.save(OFFICE, Login("bob", "old"))
    store.save(OFFICE, RIGHT).result(SOON)
    assert sorted(entry.label for entry in session.entries()) == [
        "TrayProxy — Lab (jdoe)",
        "TrayProxy — Office (jdoe)",
    ]
    store.forget(OFFICE).result(SOON)
    assert [entry.label for entry in session.entries()] == ["TrayProxy — Lab (jdoe)"]


@pytest.mark.usefixtures("session")
def test_any_text_is_read_back_unchanged() -> None:
    store = KeyringStore()
    for password in ("päss€ 😀", "a\0b", ' "q\\', "x" * 100_000):
        store.save(OFFICE, Login("jörg", password))
        assert store.find(OFFICE, "jörg").result(SOON).login == Login("jörg", password)


def remove_entry_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make another program remove the first entry after the library has found it."""
    is_removed = False

    def unlock(backend: object, item: secretstorage.Item) -> None:
        nonlocal is_removed
        if not is_removed:
            is_removed = True
            item.delete()

    monkeypatch.setattr("keyring.backends.SecretService.Keyring.unlock", unlock)


@pytest.mark.usefixtures("session")
def test_an_entry_removed_by_another_program_while_read_is_not_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = KeyringStore()
    store.save(OFFICE, RIGHT).result(SOON)
    remove_entry_before_it_is_read(monkeypatch)
    assert store.find(OFFICE).result(SOON) == LookupResult(None, GNOME)


@pytest.mark.parametrize("saved", [RIGHT, Login("bob", "old")], ids=["the same", "another"])
def test_an_entry_removed_by_another_program_while_saved_is_saved_again(
    saved: Login, session: KeyringSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = KeyringStore()
    store.save(OFFICE, saved).result(SOON)
    remove_entry_before_it_is_read(monkeypatch)
    assert store.save(OFFICE, RIGHT).result(SOON) is None
    assert store.find(OFFICE).result(SOON) == LookupResult(RIGHT, GNOME)
    assert len(session.entries()) == 1


def test_an_entry_removed_by_another_program_while_forgotten_is_forgotten(
    session: KeyringSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = KeyringStore()
    store.save(OFFICE, RIGHT).result(SOON)
    remove_entry_before_it_is_read(monkeypatch)
    states: list[KeyringStatus] = []
    store.watch(states.append)
    assert store.forget(OFFICE).result(SOON) is None
    assert states == []
    assert session.entries() == []


@pytest.mark.usefixtures("session")
def test_a_lone_surrogate_cannot_be_saved_and_is_reported() -> None:
    problem = KeyringStore().save(OFFICE, Login("jdoe", "Zx9\udc80hidden")).result(SOON)
    assert problem
    assert "cannot keep these characters" in problem.body
    assert "hidden" not in repr(problem)


def test_a_locked_keyring_is_reported_without_waiting(session: KeyringSession) -> None:
    store = KeyringStore()
    store.save(OFFICE, RIGHT).result(SOON)
    session.lock()
    assert store.find(OFFICE).result(SOON) == LookupResult(None, LOCKED)
    problem = store.save(OFFICE, RIGHT).result(SOON)
    assert problem
    assert problem.id == "TP-404"


def test_a_locked_keyring_without_an_entry_is_not_unlocked(session: KeyringSession) -> None:
    session.lock()
    assert KeyringStore().find(OFFICE).result(SOON) == LookupResult(None, LOCKED)
    assert KeyringStore().forget(OFFICE).result(SOON) is None


def test_a_stopped_keyring_is_silent_and_used_when_it_continues(session: KeyringSession) -> None:
    store = KeyringStore(limit=0.3)
    store.save(OFFICE, RIGHT).result(SOON)
    with session.frozen():
        result = store.find(OFFICE)
        with pytest.raises(TimeoutError):
            result.result(0.4)
        assert store.keyring == KeyringStatus(KeyringState.SILENT, "GNOME Keyring")
    assert result.result(SOON) == LookupResult(RIGHT, GNOME)
    assert store.keyring == GNOME


def test_a_killed_keyring_is_not_reported_as_ok(session: KeyringSession) -> None:
    store = KeyringStore()
    store.save(OFFICE, RIGHT).result(SOON)
    session.kill()
    result = store.find(OFFICE).result(SOON)
    assert result.login is None
    assert result.keyring.state is not KeyringState.OK


@pytest.mark.usefixtures("no_session")
def test_without_a_session_bus_there_is_no_keyring() -> None:
    assert survey() == "missing"


@pytest.mark.usefixtures("no_session")
def test_a_store_of_plain_text_is_not_used() -> None:
    # As keyrings.alt does when it is installed: it offers itself as the only back-end.
    assert survey(PLAIN_TEXT) == "unsafe"


@pytest.mark.usefixtures("session")
def test_a_store_of_plain_text_is_not_used_even_with_the_highest_priority() -> None:
    assert survey(PLAIN_TEXT) == "ok"


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize(
    ("configured", "state"),
    [
        ("keyring.backends.null.Keyring", "missing"),
        ("keyring.backends.fail.Keyring", "missing"),
        ("keyring.backends.SecretService.Keyring", "ok"),
        ("keyring.backends.chainer.ChainerBackend", "ok"),
        ("__main__.PlainText", "unsafe"),
        ("no.such.module", "missing"),
        ("nonsense", "missing"),
    ],
)
def test_a_configured_backend_is_used_if_it_is_safe(
    configured: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", configured)
    assert survey(PLAIN_TEXT) == state


def test_a_keyring_started_after_trayproxy_is_found(
    session: KeyringSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = KeyringStore()
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert store.survey().result(SOON).state is not KeyringState.OK
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", session.bus)
    assert store.survey().result(SOON) == GNOME


def test_a_process_can_exit_while_the_keyring_hangs(session: KeyringSession) -> None:
    program = """
from trayproxy.desk.keyring_store import KeyringStore
from trayproxy.profiles.profile import Profile, Upstream
try:
    KeyringStore().find(Profile("office", "Office", Upstream("proxy", 8080))).result(1)
except TimeoutError:
    print("it hangs")
"""
    with session.frozen():
        assert run(program) == "it hangs"


def test_service_names_are_readable() -> None:
    assert service_name(OFFICE) == (f"io.github.trayproxy.TrayProxy [office {OFFICE.upstream}]")


PLAIN_TEXT = """
from keyring.backend import KeyringBackend
class PlainText(KeyringBackend):
    priority = 9
    def get_password(self, service, username): return None
    def set_password(self, service, username, password): raise AssertionError
"""


def survey(prelude: str = "") -> str:
    """Return the keyring as a new process finds it: the library caches back-ends per process."""
    return run(
        f"{prelude}\nfrom trayproxy.desk.keyring_store import KeyringStore\n"
        "print(KeyringStore().survey().result(8).state.value)"
    )


def run(program: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=30, capture_output=True, text=True
    )
    return result.stdout.strip()
