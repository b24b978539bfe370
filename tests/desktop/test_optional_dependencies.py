"""Tests for trayproxy.desktop.optional_dependencies."""

import sys

import pytest

from trayproxy.desktop.optional_dependencies import is_installed


@pytest.fixture(autouse=True)
def _forget() -> None:
    is_installed.cache_clear()


@pytest.mark.parametrize("family", ["basic", "digest", "socks5/password"])
def test_what_needs_nothing_is_always_there(family: str) -> None:
    assert is_installed(family)


def test_a_library_that_is_not_installed_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    # None says that a module is not to be found, as if it were not installed.
    monkeypatch.setitem(sys.modules, "spnego", None)
    assert not is_installed("ntlm")
    assert not is_installed("negotiate")


def test_ntlm_does_without_what_tickets_need(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("gssapi", "krb5", "sspilib"):
        monkeypatch.setitem(sys.modules, module, None)
    assert is_installed("ntlm")
    assert not is_installed("negotiate")


def test_finding_out_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "spnego", raising=False)
    is_installed("ntlm")
    assert "spnego" not in sys.modules
