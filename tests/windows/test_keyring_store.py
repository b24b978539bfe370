"""Passwords in the Credential Manager."""

from collections.abc import Iterator

import pytest

from trayproxy.auth.login import Login
from trayproxy.desk.keyring_store import KeyringStore
from trayproxy.domain.signin import KeyringState
from trayproxy.profiles.profile import Profile, Upstream

OFFICE = Profile("office", "Office", Upstream("proxy.corp.example", 8080))
PATIENCE = 20
MAX_UNITS = 1280
"""UTF-16 units of a secret: CRED_MAX_CREDENTIAL_BLOB_SIZE is 5 * 512 octets (wincred.h)."""


@pytest.fixture
def store() -> Iterator[KeyringStore]:
    store = KeyringStore()
    yield store
    store.forget(OFFICE).result(PATIENCE)


@pytest.mark.parametrize("password", ["hunter2", "pässwörd €", "\U0001f511 key", "x" * MAX_UNITS])
def test_a_saved_password_is_found_unchanged(store: KeyringStore, password: str) -> None:
    assert store.save(OFFICE, Login("CORP\\jdoe", password)).result(PATIENCE) is None
    found = KeyringStore().find(OFFICE).result(PATIENCE)
    assert found.login == Login("CORP\\jdoe", password)
    assert found.keyring.state is KeyringState.OK


def test_a_password_that_is_too_long_is_a_problem_of_the_keyring(store: KeyringStore) -> None:
    problem = store.save(OFFICE, Login("jdoe", "x" * (MAX_UNITS + 1))).result(PATIENCE)
    assert problem is not None
    assert problem.id.startswith("TP-4")
    assert store.find(OFFICE).result(PATIENCE).login is None


def test_a_forgotten_password_is_not_found(store: KeyringStore) -> None:
    store.save(OFFICE, Login("jdoe", "hunter2")).result(PATIENCE)
    assert store.forget(OFFICE).result(PATIENCE) is None
    assert store.find(OFFICE).result(PATIENCE).login is None


def test_another_upstream_of_the_profile_has_no_password(store: KeyringStore) -> None:
    store.save(OFFICE, Login("jdoe", "hunter2")).result(PATIENCE)
    elsewhere = Profile("office", "Office", Upstream("proxy.evil.example", 8080))
    assert store.find(elsewhere).result(PATIENCE).login is None
