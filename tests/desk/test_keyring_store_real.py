"""Tests for trayproxy.desk.keyring_store: with the keyring library and a real GNOME Keyring."""

import subprocess
import sys
from pathlib import Path

import pytest
import secretstorage

from tests.desk.machine_driver import LAB, OFFICE, RIGHT
from tests.support.keyring_session import KeyringSession
from trayproxy.auth.login import Login
from trayproxy.control.messages import KeyringState, KeyringStatus
from trayproxy.desk.credential_store import LookupResult
from trayproxy.desk.keyring_store import KeyringStore, service_name

GNOME = KeyringStatus(KeyringState.OK, "GNOME Keyring")
LOCKED = KeyringStatus(KeyringState.LOCKED, "GNOME Keyring")
SOON = 8.0


@pytest.mark.usefixtures("session")
def test_a_login_is_kept_by_the_name_that_people_know() -> None:
    assert KeyringStore().save(OFFICE, RIGHT).result(SOON) is None
    assert KeyringStore().find(OFFICE).result(SOON) == LookupResult(RIGHT, GNOME)


def test_an_entry_says_whose_it_is(session: KeyringSession) -> None:
    KeyringStore().save(OFFICE, Login("CORP\\jdoe", "right")).result(SOON)
    (entry,) = session.entries()
    assert entry.label == "TrayProxy — Office (CORP\\jdoe)"
    # The library may add some of its own.
    assert entry.attributes.items() >= {
        ("application", "TrayProxy"),
        ("service", service_name(OFFICE)),
        ("username", "CORP\\jdoe"),
    }


def test_another_user_of_a_profile_leaves_no_entry_behind(session: KeyringSession) -> None:
    vault = KeyringStore()
    vault.save(LAB, RIGHT)
    vault.save(OFFICE, Login("bob", "old"))
    vault.save(OFFICE, RIGHT).result(SOON)
    assert sorted(entry.label for entry in session.entries()) == [
        "TrayProxy — Lab (jdoe)",
        "TrayProxy — Office (jdoe)",
    ]
    vault.forget(OFFICE).result(SOON)
    assert [entry.label for entry in session.entries()] == ["TrayProxy — Lab (jdoe)"]


@pytest.mark.usefixtures("session")
def test_any_text_comes_back_as_it_was() -> None:
    vault = KeyringStore()
    for password in ("päss€ 😀", "a\0b", ' "q\\', "x" * 100_000):
        vault.save(OFFICE, Login("jörg", password))
        assert vault.find(OFFICE, "jörg").result(SOON).login == Login("jörg", password)


def remove_entry_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another program remove the first entry that the library has found and not read yet."""
    is_removed = False

    def unlock(ring: object, item: secretstorage.Item) -> None:
        nonlocal is_removed
        if not is_removed:
            is_removed = True
            item.delete()

    monkeypatch.setattr("keyring.backends.SecretService.Keyring.unlock", unlock)


@pytest.mark.usefixtures("session")
def test_an_entry_that_another_program_removes_while_it_is_read_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vault = KeyringStore()
    vault.save(OFFICE, RIGHT).result(SOON)
    remove_entry_before_it_is_read(monkeypatch)
    assert vault.find(OFFICE).result(SOON) == LookupResult(None, GNOME)


@pytest.mark.parametrize("saved", [RIGHT, Login("bob", "old")], ids=["the same", "another"])
def test_an_entry_that_another_program_removes_while_one_is_saved_is_saved_anew(
    saved: Login, session: KeyringSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = KeyringStore()
    vault.save(OFFICE, saved).result(SOON)
    remove_entry_before_it_is_read(monkeypatch)
    assert vault.save(OFFICE, RIGHT).result(SOON) is None
    assert vault.find(OFFICE).result(SOON) == LookupResult(RIGHT, GNOME)
    assert len(session.entries()) == 1


def test_an_entry_that_another_program_removes_while_it_is_forgotten_is_forgotten(
    session: KeyringSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = KeyringStore()
    vault.save(OFFICE, RIGHT).result(SOON)
    remove_entry_before_it_is_read(monkeypatch)
    states: list[KeyringStatus] = []
    vault.watch(states.append)
    assert vault.forget(OFFICE).result(SOON) is None
    assert states == []
    assert session.entries() == []


@pytest.mark.usefixtures("session")
def test_half_a_character_cannot_be_kept_and_is_told() -> None:
    problem = KeyringStore().save(OFFICE, Login("jdoe", "Zx9\udc80hidden")).result(SOON)
    assert problem
    assert "cannot keep these characters" in problem.body
    assert "hidden" not in repr(problem)


def test_a_locked_keyring_is_a_state_and_no_wait(session: KeyringSession) -> None:
    vault = KeyringStore()
    vault.save(OFFICE, RIGHT).result(SOON)
    session.lock()
    assert vault.find(OFFICE).result(SOON) == LookupResult(None, LOCKED)
    problem = vault.save(OFFICE, RIGHT).result(SOON)
    assert problem
    assert problem.id == "TP-404"


def test_a_locked_keyring_without_an_entry_is_not_unlocked_for_nothing(
    session: KeyringSession,
) -> None:
    session.lock()
    assert KeyringStore().find(OFFICE).result(SOON) == LookupResult(None, LOCKED)
    assert KeyringStore().forget(OFFICE).result(SOON) is None


def test_a_stopped_keyring_is_silent_within_the_limit_and_used_when_it_goes_on(
    session: KeyringSession,
) -> None:
    vault = KeyringStore(limit=0.3)
    vault.save(OFFICE, RIGHT).result(SOON)
    with session.frozen():
        finding = vault.find(OFFICE)
        with pytest.raises(TimeoutError):
            finding.result(0.4)
        assert vault.keyring == KeyringStatus(KeyringState.SILENT, "GNOME Keyring")
    assert finding.result(SOON) == LookupResult(RIGHT, GNOME)
    assert vault.keyring == GNOME


def test_a_keyring_that_dies_is_a_state(session: KeyringSession) -> None:
    vault = KeyringStore()
    vault.save(OFFICE, RIGHT).result(SOON)
    session.kill()
    finding = vault.find(OFFICE).result(SOON)
    assert finding.login is None
    assert finding.keyring.state is not KeyringState.OK


@pytest.mark.usefixtures("no_session")
def test_without_a_session_bus_there_is_no_keyring() -> None:
    assert survey() == "missing"


@pytest.mark.usefixtures("no_session")
def test_a_store_of_plain_text_is_not_used() -> None:
    # What keyrings.alt does when it is installed: it offers itself as the only back-end.
    assert survey(PLAIN_TEXT) == "unsafe"


@pytest.mark.usefixtures("session")
def test_a_store_of_plain_text_is_not_used_even_if_it_says_to_be_the_best() -> None:
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
def test_what_the_person_configured_is_obeyed_if_it_is_safe(
    configured: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", configured)
    assert survey(PLAIN_TEXT) == state


def test_a_keyring_that_starts_after_us_is_found(
    session: KeyringSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    vault = KeyringStore()
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert vault.survey().result(SOON).state is not KeyringState.OK
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", session.bus)
    assert vault.survey().result(SOON) == GNOME


def test_a_process_can_end_while_the_keyring_hangs(session: KeyringSession) -> None:
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
    """Return what a fresh process finds; the library remembers back-ends for a whole process."""
    return run(
        f"{prelude}\nfrom trayproxy.desk.keyring_store import KeyringStore\n"
        "print(KeyringStore().survey().result(8).state.value)"
    )


def run(program: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=30, capture_output=True, text=True
    )
    return result.stdout.strip()
