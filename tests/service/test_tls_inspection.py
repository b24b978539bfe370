"""The step *TLS inspection* of the test of a profile."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.fakes import LOGIN, FakeBroker, office
from tests.support.inspecting_proxy import InspectingProxy
from tests.support.tls import CertificateAuthority
from trayproxy.control.messages import Step, StepState
from trayproxy.engine.limits import LIMITS
from trayproxy.engine.net.tls import private_ca_context
from trayproxy.engine.proxy_auth.handshake_threads import HandshakeThreads
from trayproxy.engine.proxy_auth.own_auth_port import OwnRequestTools
from trayproxy.engine.upstream.connector import Connector
from trayproxy.profiles.profile import Upstream
from trayproxy.service.own_requests.certificate_finding import CertificateFinding, IssuerKind
from trayproxy.service.own_requests.profile_check import DEFAULT_PAGE, ProfileCheck
from trayproxy.service.own_requests.tls_inspection import TrustedAuthorities

NAME = "TrayProxy test authority"
OTHER_PAGE = "https://www.test.lan/path?query"


@pytest.fixture
def company(tmp_path: Path) -> CertificateAuthority:
    folder = tmp_path / "company"
    folder.mkdir()
    return CertificateAuthority(folder)


@pytest.fixture
def upstream(company: CertificateAuthority) -> Iterator[InspectingProxy]:
    with InspectingProxy(company) as running:
        yield running


Findings = list[tuple[Upstream, CertificateFinding]]


def check(
    upstream: InspectingProxy,
    public: CertificateAuthority | None,
    *trusted: CertificateAuthority,
    url: str = DEFAULT_PAGE,
) -> tuple[dict[str, Step], Findings]:
    """Test a profile on a computer that trusts these authorities; return the steps."""
    findings: Findings = []

    async def note(upstream: Upstream, finding: CertificateFinding) -> None:
        findings.append((upstream, finding))

    def context_of(*authorities: CertificateAuthority) -> ssl.SSLContext:
        return private_ca_context(b"".join(each.pem.read_bytes() for each in authorities))

    authorities = TrustedAuthorities(
        lambda: None if public is None else context_of(public), lambda: context_of(*trusted)
    )

    async def run() -> tuple[Step, ...]:
        loop, broker = asyncio.get_running_loop(), FakeBroker(LOGIN)
        connector = Connector(loop, LIMITS, broker, lambda addresses: False)
        tools = OwnRequestTools(broker, connector, HandshakeThreads(loop), LIMITS, b"v", loop.time)
        return await ProfileCheck(office(upstream.port), url, tools, note, authorities).run()

    return {step.name: step for step in asyncio.run(run())}, findings


def test_a_public_certificate_takes_one_tunnel(
    upstream: InspectingProxy, company: CertificateAuthority
) -> None:
    steps, findings = check(upstream, company)
    assert steps["tls"].state is StepState.OK
    assert steps["tls"].detail == f"none, certificate by “{NAME}”"
    assert [finding.kind for _, finding in findings] == [IssuerKind.PUBLIC]
    assert [head.split(" ", 2)[:2] for head in upstream.heads[-1:]] == [
        ["CONNECT", "example.com:443"]
    ]
    assert sum(head.startswith("CONNECT") for head in upstream.heads) == 1


def test_an_authority_known_to_this_computer_only_is_the_companys(
    upstream: InspectingProxy, authority: CertificateAuthority, company: CertificateAuthority
) -> None:
    steps, findings = check(upstream, authority, authority, company)
    assert steps["tls"].state is StepState.OK
    assert steps["tls"].detail == f"TLS is inspected by “{NAME}”"
    expected = CertificateFinding(IssuerKind.COMPANY, NAME, is_of_public_site=True)
    assert findings == [(office(upstream.port).upstream, expected)]


def test_an_unknown_authority_is_a_problem_that_names_it(
    upstream: InspectingProxy, authority: CertificateAuthority
) -> None:
    steps, findings = check(upstream, authority, authority)
    assert steps["fetch"].state is StepState.OK
    assert steps["tls"].state is StepState.FAILED
    problem = steps["tls"].problem
    assert problem is not None
    assert problem.id == "TP-210"
    assert f"of example.com is issued by “{NAME}”. It is signed by an authority " in problem.body
    assert [finding.kind for _, finding in findings] == [IssuerKind.UNTRUSTED]


def test_an_expired_certificate_is_not_taken_for_inspection(
    upstream: InspectingProxy, company: CertificateAuthority
) -> None:
    upstream.certificates["example.com"] = company.issue("example.com", ended=True)
    steps, findings = check(upstream, company, company)
    assert steps["tls"].problem is not None
    assert "It has expired." in steps["tls"].problem.body
    assert [finding.kind for _, finding in findings] == [IssuerKind.UNTRUSTED]


def test_without_a_list_of_public_authorities_nothing_is_claimed(
    upstream: InspectingProxy, company: CertificateAuthority
) -> None:
    steps, findings = check(upstream, None, company)
    assert steps["tls"].detail == f"certificate by “{NAME}”"
    assert [finding.kind for _, finding in findings] == [IssuerKind.TRUSTED]


def test_a_refused_tunnel_is_no_failure(
    upstream: InspectingProxy, company: CertificateAuthority
) -> None:
    upstream.refused.add("example.com")
    steps, findings = check(upstream, company, company)
    assert steps["tls"].state is StepState.NOT_NEEDED
    assert steps["tls"].detail == "not known: 403 Forbidden"
    assert not findings


def test_another_http_page_contacts_no_https_site(
    upstream: InspectingProxy, company: CertificateAuthority
) -> None:
    steps, _ = check(upstream, company, company, url="http://www.test.lan/")
    assert "tls" not in steps
    assert not any(head.startswith("CONNECT") for head in upstream.heads)


def test_an_https_page_is_fetched_inside_tls(
    upstream: InspectingProxy, company: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(company.pem))
    steps, findings = check(upstream, None, company, url=OTHER_PAGE)
    assert (steps["fetch"].state, steps["fetch"].detail) == (StepState.OK, "200 OK")
    assert upstream.heads[-1].startswith("GET /path?query HTTP/1.1\r\nHost: www.test.lan\r\n")
    assert [finding.is_of_public_site for _, finding in findings] == [False]


def test_an_https_page_that_the_proxy_refuses_is_a_problem(
    upstream: InspectingProxy, company: CertificateAuthority
) -> None:
    upstream.refused.add("www.test.lan")
    steps, _ = check(upstream, company, company, url=OTHER_PAGE)
    assert steps["tls"].detail == "not known: 403 Forbidden"
    assert steps["fetch"].problem is not None
    assert steps["fetch"].problem.id == "TP-306"


def test_a_site_of_the_company_is_not_called_inspected(
    upstream: InspectingProxy,
    authority: CertificateAuthority,
    company: CertificateAuthority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(company.pem))
    steps, _ = check(upstream, authority, company, url=OTHER_PAGE)
    assert steps["tls"].detail == f"certificate by “{NAME}”, which is not public"
