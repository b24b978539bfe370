"""Tests for trayproxy.desktop.company_ca."""

import os
from pathlib import Path

import pytest

from trayproxy.desktop.company_ca import (
    CA_VARIABLES,
    MAX_AGE_S,
    ca_variables,
    company_ca_file,
    inspecting_upstreams,
    own_ca_variables,
    store_upstream,
    write_ca_file,
)
from trayproxy.desktop.trust_store.base import from_pem, to_pem
from trayproxy.paths import Paths, locate
from trayproxy.system_settings.entries import TargetError

UPSTREAM, OTHER = "http://proxy.corp.example:8080", "socks5://[::1]:1080"
PUBLIC, COMPANY = b"public" * 20, b"company" * 20


class FakeAuthorities:
    def __init__(self, *found: bytes) -> None:
        self.found = found

    def certificates(self) -> tuple[bytes, ...]:
        if not self.found:
            raise TargetError("this system has no file with its certificate authorities")
        return self.found


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return locate({"TRAYPROXY_HOME": str(tmp_path)})


def test_inspecting_upstreams_are_stored_until_a_test_finds_no_inspection(paths: Paths) -> None:
    assert inspecting_upstreams(paths) == {}
    store_upstream(paths, UPSTREAM, None)
    assert not paths.tls_inspection_file.exists()
    store_upstream(paths, UPSTREAM, "Größe AG")
    store_upstream(paths, OTHER, "B")
    store_upstream(paths, UPSTREAM, "C")
    assert inspecting_upstreams(paths) == {UPSTREAM: "C", OTHER: "B"}
    store_upstream(paths, UPSTREAM, None)
    assert inspecting_upstreams(paths) == {OTHER: "B"}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"schema": 2, "upstreams": {"a": "b"}}', '{"schema": 1}']
)
def test_a_damaged_record_counts_as_empty_and_is_replaced(paths: Paths, text: str) -> None:
    paths.state.mkdir()
    paths.tls_inspection_file.write_text(text)
    assert inspecting_upstreams(paths) == {}
    store_upstream(paths, UPSTREAM, "A")
    assert inspecting_upstreams(paths) == {UPSTREAM: "A"}


def test_without_an_inspecting_upstream_there_is_no_file_and_no_variable(paths: Paths) -> None:
    assert company_ca_file(paths, {}) is None
    assert ca_variables(paths, {}) == {}
    assert not paths.ca_file.exists()


@pytest.mark.unix
def test_the_file_follows_the_system_once_a_day(paths: Paths, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    environ = {"SSL_CERT_FILE": str(bundle)}

    def written() -> set[bytes]:
        """Return the certificates of the bundle that are in the file."""
        assert company_ca_file(paths, environ) == paths.ca_file
        return {PUBLIC, COMPANY} & set(from_pem(paths.ca_file.read_text()))

    store_upstream(paths, UPSTREAM, "A")
    bundle.write_text(to_pem([PUBLIC]))
    assert written() == {PUBLIC}
    bundle.write_text(to_pem([PUBLIC, COMPANY]))
    assert written() == {PUBLIC}
    for expected in ([PUBLIC, COMPANY], [PUBLIC]):
        yesterday = paths.ca_file.stat().st_mtime - MAX_AGE_S - 1
        os.utime(paths.ca_file, (yesterday, yesterday))
        bundle.write_text(to_pem(expected))
        assert written() == set(expected)
        assert paths.ca_file.stat().st_mtime > yesterday


def test_unchanged_certificates_are_not_written_again(paths: Paths) -> None:
    write_ca_file(paths.ca_file, FakeAuthorities(PUBLIC))
    os.utime(paths.ca_file, (1, 1))
    before = paths.ca_file.stat()
    write_ca_file(paths.ca_file, FakeAuthorities(PUBLIC))
    after = paths.ca_file.stat()
    assert after.st_ino == before.st_ino
    assert after.st_mtime > before.st_mtime


def test_a_failure_keeps_the_file(paths: Paths) -> None:
    with pytest.raises(TargetError):
        write_ca_file(paths.ca_file, FakeAuthorities())
    write_ca_file(paths.ca_file, FakeAuthorities(COMPANY))
    with pytest.raises(TargetError):
        write_ca_file(paths.ca_file, FakeAuthorities())
    assert paths.ca_file.read_text() == to_pem([COMPANY])
    with pytest.raises(TargetError, match="cannot be written"):
        write_ca_file(paths.ca_file / "x", FakeAuthorities(COMPANY))


def test_a_variable_that_the_user_has_set_stays(paths: Paths) -> None:
    store_upstream(paths, UPSTREAM, "A")
    write_ca_file(paths.ca_file, FakeAuthorities(PUBLIC))
    own = str(paths.ca_file)
    assert ca_variables(paths, {}) == dict.fromkeys(CA_VARIABLES, own)
    # The second shell inside `trayproxy exec` has the variables of the first.
    environ = {"SSL_CERT_FILE": own, "CURL_CA_BUNDLE": "/mine.pem", "PIP_CERT": ""}
    expected = dict.fromkeys(set(CA_VARIABLES) - {"CURL_CA_BUNDLE", "PIP_CERT"}, own)
    assert ca_variables(paths, environ) == expected
    assert own_ca_variables(paths, environ) == ("SSL_CERT_FILE",)
