"""``trayproxy login`` and ``logout`` while no service runs, with the real keyring."""

import subprocess
import sys

import pytest

from tests.cli.home import ROOT
from tests.support.keyring_session import KeyringSession, State, keyring_session
from tests.support.processes import Home

SECRET = "canary-a07b"


def trayproxy(
    session: KeyringSession, *arguments: str, stdin: str = ""
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "trayproxy", *arguments],
        cwd=ROOT,
        env={**session.environment, "TRAYPROXY_HOME": str(session.home / "tp")},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_saved_password_lies_in_the_keyring_and_nowhere_else(place: Home) -> None:
    with keyring_session(place) as session:
        trayproxy(session, "profiles", "add", "Office", "proxy.example:8080", "--user", "jdoe")
        saved = trayproxy(session, "login", "--stdin", stdin=f"{SECRET}\n")
        assert (saved.returncode, saved.stdout) == (0, "")
        (entry,) = session.entries()
        assert (entry.secret, entry.attributes["username"]) == (SECRET, "jdoe")
        assert "Office" in entry.label
        for file in (session.home / "tp").rglob("*"):
            assert not file.is_file() or SECRET.encode() not in file.read_bytes()
        assert trayproxy(session, "logout", "office").returncode == 0
        assert session.entries() == []


def test_a_removed_profile_takes_its_password_along(place: Home) -> None:
    with keyring_session(place) as session:
        for name in ("Office", "Lab"):
            trayproxy(session, "profiles", "add", name, "proxy.example:8080", "--user", "jdoe")
            trayproxy(session, "login", name, "--stdin", stdin=f"{SECRET}\n")
        assert len(session.entries()) == 2
        removed = trayproxy(session, "profiles", "remove", "Lab")
        assert removed.returncode == 0
        assert ["Office" in entry.label for entry in session.entries()] == [True]


@pytest.mark.parametrize("state", [State.LOCKED, State.ABSENT])
def test_a_keyring_that_cannot_be_used_is_told(place: Home, state: State) -> None:
    with keyring_session(place, state) as session:
        trayproxy(session, "profiles", "add", "Office", "proxy.example:8080", "--user", "jdoe")
        saved = trayproxy(session, "login", "--stdin", stdin=f"{SECRET}\n")
    assert saved.returncode == 6
    assert "(TP-40" in saved.stderr
    assert SECRET not in saved.stderr
    assert "Traceback" not in saved.stderr
