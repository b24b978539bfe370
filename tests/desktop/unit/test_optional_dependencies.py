"""Tests for trayproxy.desktop.optional_dependencies."""

import sys

import pytest

from trayproxy.desktop.optional_dependencies import is_installed


@pytest.fixture(autouse=True)
def _clear_cache() -> None:
    is_installed.cache_clear()


@pytest.mark.parametrize("family", ["basic", "digest", "socks5/password"])
def test_a_family_without_dependencies_is_always_installed(family: str) -> None:
    assert is_installed(family)


def test_families_of_a_missing_module_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    # None makes a module unimportable, as if it were not installed.
    monkeypatch.setitem(sys.modules, "spnego", None)
    assert not is_installed("ntlm")
    assert not is_installed("negotiate")


def test_ntlm_does_not_need_the_modules_of_kerberos(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("spnego")
    for module in ("gssapi", "krb5", "sspilib"):
        monkeypatch.setitem(sys.modules, module, None)
    assert is_installed("ntlm")
    assert not is_installed("negotiate")


def test_the_check_imports_no_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "spnego", raising=False)
    is_installed("ntlm")
    assert "spnego" not in sys.modules
