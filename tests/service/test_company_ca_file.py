"""Tests for trayproxy.service.company_ca_file."""

import asyncio
import os
from pathlib import Path

import pytest

from trayproxy.desktop.company_ca import MAX_AGE_S, inspecting_upstreams
from trayproxy.desktop.trust_store.base import to_pem
from trayproxy.paths import Paths, locate
from trayproxy.profiles.profile import Upstream
from trayproxy.service.company_ca_file import CompanyCaFile
from trayproxy.service.own_requests.certificate_finding import CertificateFinding, IssuerKind

UPSTREAM = Upstream("proxy.corp.example", 8080)
COMPANY = CertificateFinding(IssuerKind.COMPANY, "Corp CA", is_of_public_site=True)
PUBLIC = CertificateFinding(IssuerKind.PUBLIC, "Public CA", is_of_public_site=True)
PUBLIC_BANK = CertificateFinding(IssuerKind.PUBLIC, "Public CA")


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(to_pem([b"company" * 9]))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    return locate({"TRAYPROXY_HOME": str(tmp_path / "home")})


def noted(paths: Paths, *findings: CertificateFinding, is_kept: bool = True) -> dict[str, str]:
    async def note() -> None:
        file = CompanyCaFile(paths, is_kept=is_kept)
        for finding in findings:
            await file.record(UPSTREAM, finding)

    asyncio.run(note())
    return inspecting_upstreams(paths)


def test_a_company_is_remembered_until_a_public_site_has_a_public_certificate(paths: Paths) -> None:
    assert noted(paths, COMPANY) == {str(UPSTREAM): "Corp CA"}
    assert paths.ca_file.read_text().endswith(to_pem([b"company" * 9]))
    # Banks are often exempt from inspection.
    untrusted = CertificateFinding(IssuerKind.UNTRUSTED, "X", is_of_public_site=True)
    assert noted(paths, PUBLIC_BANK, untrusted) == {str(UPSTREAM): "Corp CA"}
    assert noted(paths, PUBLIC) == {}
    # The settings of programs may still name the file.
    assert paths.ca_file.exists()


def test_a_run_without_settings_writes_nothing(paths: Paths) -> None:
    assert noted(paths, COMPANY, is_kept=False) == {}
    assert not paths.state.exists()


def test_a_failure_to_write_is_no_failure_of_the_test(paths: Paths) -> None:
    paths.state.parent.mkdir()
    paths.state.touch()
    assert noted(paths, COMPANY) == {}


@pytest.mark.parametrize("is_there", [True, False])
async def test_the_start_brings_an_old_file_up_to_date(paths: Paths, is_there: bool) -> None:
    if is_there:
        paths.state.mkdir(parents=True)
        paths.ca_file.write_text("old")
        os.utime(paths.ca_file, (1, MAX_AGE_S))
    file = CompanyCaFile(paths, is_kept=True)
    file.start()
    await asyncio.get_running_loop().shutdown_default_executor()
    file.close()
    assert paths.ca_file.exists() == is_there
    assert not is_there or paths.ca_file.read_text().endswith(to_pem([b"company" * 9]))
