"""Tests for trayproxy.desk.credential_store: the store of a run that leaves nothing on disk."""

from tests.desk.machine_driver import OFFICE
from tests.support.values import RIGHT
from trayproxy.desk.credential_store import LookupResult, NullCredentialStore
from trayproxy.domain.signin import KeyringState, KeyringStatus


def test_a_null_store_completes_its_futures_at_once() -> None:
    store, off = NullCredentialStore(), KeyringStatus(KeyringState.OFF)
    assert store.find(OFFICE, "jdoe").result(0) == LookupResult(None, off)
    assert store.survey().result(0) == off
    assert store.save(OFFICE, RIGHT).result(0) is not None
    assert store.forget(OFFICE).result(0) is None
