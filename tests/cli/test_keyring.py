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


Result = subprocess.CompletedProcess[str]


def trayproxy(session: KeyringSession, *arguments: str, stdin: str = "") -> Result:
    return subprocess.run(
        [sys.executable, "-m", "trayproxy", *arguments],
        cwd=ROOT,
        env={**session.environment, "TRAYPROXY_HOME": str(session.home / "tp")},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


def add_profile(session: KeyringSession, address: str, name: str = "Office") -> None:
    trayproxy(session, "profiles", "add", name, address, "--user", "jdoe")


def log_in(session: KeyringSession, password: str, *arguments: str) -> Result:
    return trayproxy(session, "login", *arguments, "--stdin", stdin=f"{password}\n")


@pytest.fixture(scope="module")
def proxy() -> Iterator[Squid]:
    """A proxy that accepts the password."""
    with squid(SquidSetup(users={"jdoe": SECRET})) as running:
        yield running


def test_a_saved_password_is_stored_only_in_the_keyring(place: Home, proxy: Squid) -> None:
    with keyring_session(place) as session:
        add_profile(session, proxy.address)
        saved = log_in(session, SECRET)
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
            add_profile(session, proxy.address, name)
            log_in(session, SECRET, name)
        assert len(session.entries()) == 2
        removed = trayproxy(session, "profiles", "remove", "Lab")
        assert removed.returncode == 0
        assert ["Office" in entry.label for entry in session.entries()] == [True]


@pytest.mark.parametrize("state", [DaemonState.LOCKED, DaemonState.ABSENT])
def test_an_unusable_keyring_is_reported(place: Home, state: DaemonState, proxy: Squid) -> None:
    with keyring_session(place, state) as session:
        add_profile(session, proxy.address)
        saved = log_in(session, SECRET)
    assert saved.returncode == 6
    assert "(TP-40" in saved.stderr
    assert "stays in memory" not in saved.stderr
    assert SECRET not in saved.stderr
    assert "Traceback" not in saved.stderr


def test_a_wrong_password_causes_one_failed_log_on_and_keeps_the_saved_password(
    place: Home,
) -> None:
    with keyring_session(place) as session, squid(SquidSetup(users={"jdoe": SECRET})) as proxy:
        add_profile(session, proxy.address)
        assert log_in(session, SECRET).returncode == 0
        for _ in range(3):
            wrong = log_in(session, "wrong")
            assert (wrong.returncode, wrong.stdout) == (4, "")
            assert "did not accept this password" in wrong.stderr
            assert "(TP-302)" in wrong.stderr
        assert "This is the same password; it was not sent again" in wrong.stderr
        assert proxy.failed_logons() == 1
        (entry,) = session.entries()
        assert entry.secret == SECRET


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["same name", "another name"])
def test_a_password_rejected_for_another_profile_is_not_sent_again(place: Home, host: str) -> None:
    with keyring_session(place) as session, squid(SquidSetup(users={"jdoe": SECRET})) as proxy:
        for name, at in (("Office", "127.0.0.1"), ("Lab", host)):
            add_profile(session, f"{at}:{proxy.port}", name)
        assert log_in(session, "wrong", "Office").returncode == 4
        again = log_in(session, "wrong", "Lab")
        assert again.returncode == 4
        assert "did not accept this password for “Office”" in again.stderr
        assert "This is the same password; it was not sent again" in again.stderr
        assert "(TP-302)" in again.stderr
        assert proxy.failed_logons() == 1


def test_an_accepted_login_changes_the_user_name_of_the_profile(place: Home) -> None:
    users = {"jdoe": SECRET, "asmith": "another"}
    with keyring_session(place) as session, squid(SquidSetup(users=users)) as proxy:
        add_profile(session, proxy.address)
        log_in(session, SECRET)
        assert log_in(session, "another", "--user", "asmith").returncode == 0
        (entry,) = session.entries()
        assert (entry.secret, entry.attributes["username"]) == ("another", "asmith")
        assert "asmith" in (session.home / "tp" / "config" / "config.toml").read_text()


def test_an_unverified_password_is_not_saved(place: Home) -> None:
    with keyring_session(place) as session:
        add_profile(session, f"127.0.0.1:{free_port()}")
        saved = log_in(session, SECRET)
        assert saved.returncode == 5
        assert "Nothing was saved. (TP-307)" in saved.stderr
        assert session.entries() == []
