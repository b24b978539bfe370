"""Tests for trayproxy.service.keyring_inventory."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

import pytest

from trayproxy.auth.login import Login
from trayproxy.control.messages import KeyringState, KeyringStatus, Problem
from trayproxy.desk.credential_store import LookupResult
from trayproxy.profiles.profile import Profile, Upstream
from trayproxy.service.keyring_inventory import KeyringInventory

OFFICE = Profile("office", "Office", Upstream("proxy.example", 8080))
LOGIN = Login("jdoe", "canary-77d2")
FULL = Problem("TP-404", "The password could not be saved", "It is full.")


class Vault:
    """A keyring that says what the test says."""

    def __init__(self) -> None:
        self.finding = LookupResult(None, KeyringStatus(KeyringState.OK))
        self.problem: Problem | None = None

    def find(self, profile: Profile, user: str = "") -> Future[LookupResult]:
        found: Future[LookupResult] = Future()
        found.set_result(self.finding)
        return found

    def save(self, profile: Profile, login: Login) -> Future[Problem | None]:
        done: Future[Problem | None] = Future()
        done.set_result(self.problem)
        return done

    def forget(self, profile: Profile) -> Future[Problem | None]:
        return self.save(profile, LOGIN)

    def survey(self) -> Future[KeyringStatus]:
        raise AssertionError("nobody asks")

    def watch(self, tell: Callable[[KeyringStatus], None]) -> None:
        raise AssertionError("nobody asks")


@pytest.mark.parametrize(
    ("finding", "holds"),
    [
        (LookupResult(LOGIN, KeyringStatus(KeyringState.OK)), True),
        (LookupResult(None, KeyringStatus(KeyringState.OK)), False),
        (LookupResult(None, KeyringStatus(KeyringState.LOCKED)), None),
        (LookupResult(None, KeyringStatus(KeyringState.SILENT)), None),
    ],
)
def test_what_was_found_is_known_from_then_on(finding: LookupResult, holds: bool | None) -> None:
    vault, changes = Vault(), [0]
    vault.finding = finding
    shelf = KeyringInventory(vault, lambda: changes.append(1))
    assert shelf.has_password(OFFICE) is None
    for _ in range(2):
        assert shelf.find(OFFICE).result() == finding
    assert shelf.has_password(OFFICE) is holds
    assert len(changes) == (1 if holds is None else 2)
    assert shelf.has_password(replace(OFFICE, upstream=Upstream("other.example", 1))) is None


def test_saving_and_forgetting_are_known_if_they_were_done() -> None:
    vault = Vault()
    shelf = KeyringInventory(vault, lambda: None)
    shelf.save(OFFICE, LOGIN)
    assert shelf.has_password(OFFICE) is True
    vault.problem = FULL
    assert shelf.forget(OFFICE).result() == FULL
    assert shelf.has_password(OFFICE) is True
    vault.problem = None
    shelf.forget(OFFICE)
    assert shelf.has_password(OFFICE) is False
