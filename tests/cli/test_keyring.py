"""``trayproxy login`` and ``logout`` while no service runs, with the real keyring."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.cli.fake_service import ROOT
from tests.support.keyring_session import DaemonState, KeyringSession, keyring_session
from tests.support.ports import free_port
from tests.support.processes import Home
from tests.support.squid import Squid, SquidSetup, squid

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


@pytest.fixture(scope="module")
def proxy() -> Iterator[Squid]:
    """A proxy that accepts the password."""
    with squid(SquidSetup(users={"jdoe": SECRET})) as running:
        yield running


def test_a_saved_password_is_stored_only_in_the_keyring(place: Home, proxy: Squid) -> None:
    with keyring_session(place) as session:
        trayproxy(session, "profiles", "add", "Office", proxy.address, "--user", "jdoe")
        saved = trayproxy(session, "login", "--stdin", stdin=f"{SECRET}\n")
        assert (saved.returncode, saved.stdout) == (0, "")
        (entry,) = session.entries()
        assert (entry.secret, entry.attributes["username"]) == (SECRET, "jdoe")
        assert "Office" in entry.label
        for file in (session.home / "tp").rglob("*"):
            assert not file.is_file() or SECRET.encode() not in file.read_bytes()
        assert trayproxy(session, "logout", "office").returncode == 0
        assert session.entries() == []


def test_removing_a_profile_deletes_its_password(place: Home, proxy: Squid) -> None:
    with keyring_session(place) as session:
        for name in ("Office", "Lab"):
            trayproxy(session, "profiles", "add", name, proxy.address, "--user", "jdoe")
            trayproxy(session, "login", name, "--stdin", stdin=f"{SECRET}\n")
        assert len(session.entries()) == 2
        removed = trayproxy(session, "profiles", "remove", "Lab")
        assert removed.returncode == 0
        assert ["Office" in entry.label for entry in session.entries()] == [True]


@pytest.mark.parametrize("state", [DaemonState.LOCKED, DaemonState.ABSENT])
def test_an_unusable_keyring_is_reported(place: Home, state: DaemonState, proxy: Squid) -> None:
    with keyring_session(place, state) as session:
        trayproxy(session, "profiles", "add", "Office", proxy.address, "--user", "jdoe")
        saved = trayproxy(session, "login", "--stdin", stdin=f"{SECRET}\n")
    assert saved.returncode == 6
    assert "(TP-40" in saved.stderr
    assert "stays in memory" not in saved.stderr
    assert SECRET not in saved.stderr
    assert "Traceback" not in saved.stderr


def test_a_wrong_password_causes_one_failed_log_on_and_keeps_the_saved_one(place: Home) -> None:
    with keyring_session(place) as session, squid(SquidSetup(users={"jdoe": SECRET})) as proxy:
        trayproxy(session, "profiles", "add", "Office", proxy.address, "--user", "jdoe")
        assert trayproxy(session, "login", "--stdin", stdin=f"{SECRET}\n").returncode == 0
        for _ in range(3):
            wrong = trayproxy(session, "login", "--stdin", stdin="wrong\n")
            assert (wrong.returncode, wrong.stdout) == (4, "")
            assert "did not accept this password" in wrong.stderr
            assert "(TP-302)" in wrong.stderr
        assert "This is the same password; it was not sent again" in wrong.stderr
        assert proxy.failed_logons() == 1
        (entry,) = session.entries()
        assert entry.secret == SECRET


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["same name", "another name"])
def test_a_password_that_was_rejected_for_another_profile_is_not_sent_again(
    place: Home, host: str
) -> None:
    """The message does not claim that the proxy has just rejected the password either."""
    with keyring_session(place) as session, squid(SquidSetup(users={"jdoe": SECRET})) as proxy:
        for name, at in (("Office", "127.0.0.1"), ("Lab", host)):
            trayproxy(session, "profiles", "add", name, f"{at}:{proxy.port}", "--user", "jdoe")
        assert trayproxy(session, "login", "Office", "--stdin", stdin="wrong\n").returncode == 4
        again = trayproxy(session, "login", "Lab", "--stdin", stdin="wrong\n")
        assert again.returncode == 4
        assert "did not accept this password for “Office”" in again.stderr
        assert "This is the same password; it was not sent again" in again.stderr
        assert "(TP-302)" in again.stderr
        assert proxy.failed_logons() == 1


def test_an_accepted_login_changes_the_user_name_of_the_profile(place: Home) -> None:
    users = {"jdoe": SECRET, "asmith": "another"}
    with keyring_session(place) as session, squid(SquidSetup(users=users)) as proxy:
        trayproxy(session, "profiles", "add", "Office", proxy.address, "--user", "jdoe")
        trayproxy(session, "login", "--stdin", stdin=f"{SECRET}\n")
        other = ("login", "--user", "asmith", "--stdin")
        assert trayproxy(session, *other, stdin="another\n").returncode == 0
        (entry,) = session.entries()
        assert (entry.secret, entry.attributes["username"]) == ("another", "asmith")
        assert "asmith" in (session.home / "tp" / "config" / "config.toml").read_text()


def test_an_unverified_password_is_not_saved(place: Home) -> None:
    with keyring_session(place) as session:
        address = f"127.0.0.1:{free_port()}"
        trayproxy(session, "profiles", "add", "Office", address, "--user", "jdoe")
        saved = trayproxy(session, "login", "--stdin", stdin=f"{SECRET}\n")
        assert saved.returncode == 5
        assert "Nothing was saved. (TP-307)" in saved.stderr
        assert session.entries() == []
