"""Tests for tests.support.kerberos, with kinit."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.support.kerberos import Kdc, kdc
from tests.support.processes import Home


@pytest.fixture
def directory() -> Iterator[Kdc]:
    with kdc() as running:
        running.add_user("alice", "se cret ü+&/")
        yield running


def kinit(directory: Kdc, place: Home, user: str, password: str) -> str:
    """Return the output of kinit about a log-on."""
    done = subprocess.run(
        ["kinit", user],
        env=place.environment(**directory.environment),
        input=f"{password}\n",
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


def test_a_right_password_gets_a_ticket(directory: Kdc, place: Home) -> None:
    environment = directory.ticket("alice", "se cret ü+&/", place.root / "ticket")
    listed = subprocess.run(
        ["klist"], env=place.environment(**environment), capture_output=True, text=True
    )
    assert "krbtgt/TEST.LAN@TEST.LAN" in listed.stdout
    assert (directory.logons("alice"), directory.failed_logons("alice")) == (1, 0)


def test_wrong_passwords_are_counted_by_user(directory: Kdc, place: Home) -> None:
    directory.add_user("bob", "secret")
    for user in ("alice", "bob", "bob", "mallory"):
        kinit(directory, place, user, "wrong")
    counted = [directory.failed_logons(user) for user in ("alice", "bob", "mallory")]
    assert counted == [1, 2, 0]


def test_an_expired_password_is_reported(directory: Kdc, place: Home) -> None:
    directory.add_user("carol", "secret", "-pwexpire", '"1 hour ago"')
    assert "Password expired" in kinit(directory, place, "carol", "secret\n\n")


def test_a_changed_password_counts_at_once(directory: Kdc, place: Home) -> None:
    directory.set_password("alice", "new")
    assert "incorrect" in kinit(directory, place, "alice", "se cret ü+&/")
    directory.ticket("alice", "new", place.root / "ticket")


def test_the_keys_of_a_proxy_can_be_made_twice(directory: Kdc) -> None:
    first, second = directory.keytab("localhost"), directory.keytab("localhost", "127.0.0.1")
    assert first != second
    assert second.stat().st_size > first.stat().st_size
