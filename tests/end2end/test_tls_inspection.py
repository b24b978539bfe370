"""A company that inspects TLS: the test of a profile, and programs that trust only their own list.

The upstream is a program of the tests that shows every https site with a certificate of the
company's authority. Squid can do that only as another package, which conflicts with the one that
all other tests use.
"""

import json
import sys
from collections.abc import Iterator

import pytest

from tests.end2end.scenario import AttachFrontEnd, StartService
from tests.support.inspecting_proxy import InspectingProxy
from tests.support.processes import Home
from tests.support.service import run_command
from tests.support.tls import CertificateAuthority
from trayproxy.control.messages import SaveProfile, UseProfile
from trayproxy.profiles.profile import Profile, SignIn, Upstream

FETCH = "import sys, requests; print(requests.get(sys.argv[1], timeout=60).text, end='')"
URL = "https://www.test.lan/"


@pytest.fixture
def gateway(authority: CertificateAuthority) -> Iterator[InspectingProxy]:
    with InspectingProxy(authority) as running:
        yield running


def test_programs_trust_the_company_after_a_test_of_the_profile_has_seen_it(
    gateway: InspectingProxy,
    authority: CertificateAuthority,
    run: StartService,
    attach: AttachFrontEnd,
    place: Home,
) -> None:
    # The system of this test trusts the authority of the company only.
    service = run(environment=place.environment(SSL_CERT_FILE=str(authority.pem)))
    front_end = attach(service)
    profile = Profile("office", "Office", Upstream("127.0.0.1", gateway.port), SignIn.NONE)
    front_end.request_done(SaveProfile(profile))
    front_end.request_done(UseProfile("office"))
    fetch = ("exec", "--", sys.executable, "-c", FETCH, URL)
    refused = run_command(place, *fetch)
    assert "CERTIFICATE_VERIFY_FAILED" in refused.stderr

    tested = run_command(place, "test")
    assert tested.returncode == 0, tested.stderr
    assert "TLS inspection" in tested.stdout
    assert "TLS is inspected by “TrayProxy test authority”" in tested.stdout
    steps = json.loads(run_command(place, "test", "--json", "--url", URL).stdout)["steps"]
    assert [step["state"] for step in steps if step["name"] in ("tls", "fetch")] == ["ok"] * 2

    fetched = run_command(place, *fetch)
    assert (fetched.returncode, fetched.stdout, fetched.stderr) == (0, "ok\n", "")
    file = service.paths.ca_file
    assert file.read_text() == authority.pem.read_text()
    assert f"NODE_EXTRA_CA_CERTS={file}" in run_command(place, "env", "--shell", "bash").stdout
    with_own = place.environment(CURL_CA_BUNDLE="/mine.pem", SSL_CERT_FILE=str(file))
    shown = run_command(place, "env", "--shell", "bash", environment=with_own).stdout
    assert "CURL_CA_BUNDLE" not in shown
    assert f"SSL_CERT_FILE={file}" in shown
    unset = run_command(place, "env", "--shell", "bash", "--unset", environment=with_own).stdout
    assert unset.rstrip().endswith("NO_PROXY SSL_CERT_FILE")
