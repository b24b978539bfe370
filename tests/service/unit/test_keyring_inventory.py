"""Tests for trayproxy.service.keyring_inventory."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TypeVar

import pytest

from tests.support.values import OFFICE
from trayproxy.auth.login import Login
from trayproxy.desk.credential_store import LookupResult
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import KeyringState, KeyringStatus
from trayproxy.profiles.profile import Profile, Upstream
from trayproxy.service.keyring_inventory import KeyringInventory

T = TypeVar("T")
LOGIN = Login("jdoe", "canary-77d2")
FULL = Problem("TP-404", "The password could not be saved", "It is full.")


def done(result: T) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(result)
    return future


class StubCredentialStore:
    """A keyring with given results."""

    def __init__(self) -> None:
        self.finding = LookupResult(None, KeyringStatus(KeyringState.OK))
        self.problem: Problem | None = None

    def find(self, profile: Profile, user: str = "") -> Future[LookupResult]:
        return done(self.finding)

    def save(self, profile: Profile, login: Login) -> Future[Problem | None]:
        return done(self.problem)

    def forget(self, profile: Profile) -> Future[Problem | None]:
        return self.save(profile, LOGIN)

    def survey(self) -> Future[KeyringStatus]:
        raise AssertionError("the keyring was surveyed")

    def watch(self, on_change: Callable[[KeyringStatus], None]) -> None:
        raise AssertionError("the keyring was watched")


@pytest.mark.parametrize(
    ("finding", "holds"),
    [
        (LookupResult(LOGIN, KeyringStatus(KeyringState.OK)), True),
        (LookupResult(None, KeyringStatus(KeyringState.OK)), False),
        (LookupResult(None, KeyringStatus(KeyringState.LOCKED)), None),
        (LookupResult(None, KeyringStatus(KeyringState.SILENT)), None),
    ],
)
def test_the_result_of_a_lookup_is_recorded(finding: LookupResult, holds: bool | None) -> None:
    keyring, changes = StubCredentialStore(), [0]
    keyring.finding = finding
    inventory = KeyringInventory(keyring, lambda: changes.append(1))
    assert inventory.has_password(OFFICE) is None
    for _ in range(2):
        assert inventory.find(OFFICE).result() == finding
    assert inventory.has_password(OFFICE) is holds
    assert len(changes) == (1 if holds is None else 2)
    assert inventory.has_password(replace(OFFICE, upstream=Upstream("other.example", 1))) is None


def test_successful_saving_and_forgetting_is_recorded() -> None:
    keyring = StubCredentialStore()
    inventory = KeyringInventory(keyring, lambda: None)
    inventory.save(OFFICE, LOGIN)
    assert inventory.has_password(OFFICE) is True
    keyring.problem = FULL
    assert inventory.forget(OFFICE).result() == FULL
    assert inventory.has_password(OFFICE) is True
    keyring.problem = None
    inventory.forget(OFFICE)
    assert inventory.has_password(OFFICE) is False
