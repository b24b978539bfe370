"""Tests for tests.support.keyring_session, with keyring in a process of its own."""

import os
import signal
import sys
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import secretstorage
from jeepney import message_bus
from jeepney.io.blocking import DBusConnection, Proxy

from tests.support.keyring_session import SECRETS, DaemonState, KeyringSession, keyring_session
from tests.support.processes import Home, Job, Process, ProgramResult, home, running

_SET = """\
import keyring, sys
from keyring.errors import KeyringError
try:
    keyring.set_password("service", "jdoe", "s\u00fcß")
    print(keyring.get_password("service", "jdoe").encode().hex())
except (KeyringError, RuntimeError) as error:
    print(type(error).__name__)
"""


def keep(session: KeyringSession, place: Home) -> ProgramResult:
    """Save a password in the keyring of the session, with the library of TrayProxy."""
    argv = [sys.executable, "-c", _SET]
    return Job(Process(argv, env=session.environment, cwd=place.root)).result()


def test_a_saved_password_is_in_the_keyring(place: Home) -> None:
    with keyring_session(place) as session:
        assert session.entries() == []
        assert keep(session, place).out == "süß".encode().hex()
        (entry,) = session.entries()
    assert entry.secret == "süß"
    assert entry.attributes["username"] == "jdoe"


def test_a_test_can_wait_for_an_entry(place: Home) -> None:
    with keyring_session(place) as session:
        argv = [sys.executable, "-c", _SET]
        with running(argv, env=session.environment, cwd=place.root):
            assert [entry.secret for entry in session.wait_for_entries(1)] == ["süß"]
        assert len(session.wait_for_entries(1)) == 1


@pytest.mark.parametrize("method", ["__init__", "get_label"])
def test_an_entry_removed_during_the_reading_is_left_out(
    place: Home, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    call = getattr(secretstorage.Item, method)

    def remove_and_call(item: secretstorage.Item, *arguments: object) -> object:
        if method == "__init__":
            call(item, *arguments)
        item.delete()
        return call(item, *arguments)

    with keyring_session(place) as session:
        keep(session, place)
        monkeypatch.setattr(secretstorage.Item, method, remove_and_call)
        assert session.entries() == []


def test_a_saved_password_is_in_the_next_session(place: Home) -> None:
    with keyring_session(place) as session:
        keep(session, place)
    with keyring_session(place) as session:
        assert [entry.secret for entry in session.entries()] == ["süß"]


@pytest.mark.parametrize(
    ("state", "error"),
    [(DaemonState.LOCKED, "KeyringLocked"), (DaemonState.ABSENT, "NoKeyringError")],
)
def test_saving_in_an_unusable_keyring_raises_an_error(
    place: Home, state: DaemonState, error: str
) -> None:
    with keyring_session(place, state) as session:
        assert keep(session, place).out == error


@pytest.mark.parametrize("method", ["get_default_collection", "Collection.lock"])
def test_a_daemon_ending_during_the_set_up_is_started_again(
    place: Home, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    call = attrgetter(method)(secretstorage)
    killed: list[int] = []

    def kill_once_and_call(of: Any) -> object:
        if not killed:
            connection = of if isinstance(of, DBusConnection) else of.connection
            pid = Proxy(message_bus, connection).GetConnectionUnixProcessID(SECRETS)[0]
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)
        return call(of)

    monkeypatch.setattr(f"secretstorage.{method}", kill_once_and_call)
    with keyring_session(place, DaemonState.LOCKED) as session:
        assert killed
        assert keep(session, place).out == "KeyringLocked"


def test_a_daemon_ending_each_time_is_started_three_times(
    place: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = secretstorage.get_default_collection
    killed = []

    def kill_and_call(connection: DBusConnection) -> object:
        killed.append(Proxy(message_bus, connection).GetConnectionUnixProcessID(SECRETS)[0])
        os.kill(killed[-1], signal.SIGKILL)
        return call(connection)

    monkeypatch.setattr(secretstorage, "get_default_collection", kill_and_call)
    with pytest.raises(AssertionError, match="ended 3 times"), keyring_session(place):
        pass
    assert len(set(killed)) == 3


def test_a_frozen_keyring_answers_when_thawed(place: Home) -> None:
    with keyring_session(place) as session:
        session.freeze()
        job = Job(Process([sys.executable, "-c", _SET], env=session.environment, cwd=place.root))
        assert not job.process.ended_within(1)
        session.thaw()
        assert job.result().out == "süß".encode().hex()


def test_two_sessions_know_nothing_of_each_other(place: Home) -> None:
    with home() as other, keyring_session(place) as first, keyring_session(other) as second:
        keep(first, place)
        assert second.entries() == []


def test_the_files_of_a_keyring_do_not_contain_the_password(place: Home) -> None:
    with keyring_session(place) as session:
        keep(session, place)
    files = [path for path in place.root.rglob("*") if path.is_file()]
    assert any(path.suffix == ".keyring" for path in files)
    assert not [path for path in files if "süß".encode() in Path(path).read_bytes()]
