"""Tests for trayproxy.service.keyring_inventory."""

from dataclasses import replace

import pytest

from tests.desk.test_desk import FakeCredentialStore
from tests.support.values import OFFICE
from trayproxy.auth.login import Login
from trayproxy.desk.credential_store import LookupResult
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import KeyringState, KeyringStatus
from trayproxy.profiles.profile import Upstream
from trayproxy.service.keyring_inventory import KeyringInventory

LOGIN = Login("jdoe", "canary-77d2")
FULL = Problem("TP-404", "The password could not be saved", "It is full.")


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
    keyring = FakeCredentialStore(finding.login, finding.keyring)
    changes = [0]
    inventory = KeyringInventory(keyring, lambda: changes.append(1))
    assert inventory.has_password(OFFICE) is None
    for _ in range(2):
        assert inventory.find(OFFICE).result() == finding
    assert inventory.has_password(OFFICE) is holds
    assert len(changes) == (1 if holds is None else 2)
    assert keyring.lookups == [("office", "")] * 2
    assert inventory.has_password(replace(OFFICE, upstream=Upstream("other.example", 1))) is None


def test_successful_saving_and_forgetting_is_recorded() -> None:
    keyring = FakeCredentialStore()
    inventory = KeyringInventory(keyring, lambda: None)
    inventory.save(OFFICE, LOGIN)
    assert inventory.has_password(OFFICE) is True
    keyring.problem = FULL
    assert inventory.forget(OFFICE).result() == FULL
    assert inventory.has_password(OFFICE) is True
    keyring.problem = None
    inventory.forget(OFFICE)
    assert inventory.has_password(OFFICE) is False
