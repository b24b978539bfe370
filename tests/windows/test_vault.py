"""Passwords in the Credential Manager."""

from collections.abc import Iterator

import pytest

from trayproxy.auth.login import Login
from trayproxy.control.messages import KeyringState
from trayproxy.desk.keyring_store import KeyringStore
from trayproxy.profiles.profile import Profile, Upstream

OFFICE = Profile("office", "Office", Upstream("proxy.corp.example", 8080))
PATIENCE = 20
MOST = 1280
"""UTF-16 units of a secret: CRED_MAX_CREDENTIAL_BLOB_SIZE is 5 * 512 octets (wincred.h)."""


@pytest.fixture
def vault() -> Iterator[KeyringStore]:
    vault = KeyringStore()
    yield vault
    vault.forget(OFFICE).result(PATIENCE)


@pytest.mark.parametrize("password", ["hunter2", "pässwörd €", "\U0001f511 key", "x" * MOST])
def test_a_password_comes_back_as_it_was(vault: KeyringStore, password: str) -> None:
    assert vault.save(OFFICE, Login("CORP\\jdoe", password)).result(PATIENCE) is None
    found = KeyringStore().find(OFFICE).result(PATIENCE)
    assert found.login == Login("CORP\\jdoe", password)
    assert found.keyring.state is KeyringState.OK


def test_a_password_that_is_too_long_is_refused_in_words(vault: KeyringStore) -> None:
    problem = vault.save(OFFICE, Login("jdoe", "x" * (MOST + 1))).result(PATIENCE)
    assert problem is not None
    assert problem.id.startswith("TP-4")
    assert vault.find(OFFICE).result(PATIENCE).login is None


def test_a_forgotten_password_is_gone(vault: KeyringStore) -> None:
    vault.save(OFFICE, Login("jdoe", "hunter2")).result(PATIENCE)
    assert vault.forget(OFFICE).result(PATIENCE) is None
    assert vault.find(OFFICE).result(PATIENCE).login is None


def test_another_upstream_of_the_profile_has_no_password(vault: KeyringStore) -> None:
    vault.save(OFFICE, Login("jdoe", "hunter2")).result(PATIENCE)
    elsewhere = Profile("office", "Office", Upstream("proxy.evil.example", 8080))
    assert vault.find(elsewhere).result(PATIENCE).login is None
