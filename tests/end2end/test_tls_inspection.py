"""A company that inspects TLS: the test of a profile, and programs that trust only their own list.

The upstream is a program of the tests that shows every https site with a certificate of the
company's authority. Squid can do that only as another package, which conflicts with the one that
all other tests use.
"""

import subprocess
from collections.abc import Iterator

import pytest

from tests.end2end.scenario import AttachFrontEnd, StartService
from tests.support.inspecting_proxy import InspectingProxy
from tests.support.processes import Home
from tests.support.service import run_command
from tests.support.tls import CertificateAuthority
from trayproxy.control.messages import SaveProfile, UseProfile
from trayproxy.profiles.profile import Profile, SignIn, Upstream

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
    fetch = ("exec", "--", "curl", "--silent", "--show-error", URL)
    assert "unable to get local issuer certificate" in run_command(place, *fetch).stderr

    tested = run_command(place, "test")
    assert tested.returncode == 0, tested.stderr
    assert "TLS inspection" in tested.stdout
    assert "TLS is inspected by “TrayProxy test authority”" in tested.stdout
    fetched = run_command(place, *fetch)
    assert (fetched.returncode, fetched.stdout, fetched.stderr) == (0, "ok\n", "")
    assert service.paths.ca_file.read_text().endswith(authority.pem.read_text())

    environment = place.environment()
    assert run_command(place, "recipe", "curl", "--apply", environment=environment).returncode == 0
    ran = subprocess.run(fetch[2:], env=environment, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "ok\n", "")
    assert run_command(place, "recipe", "curl", "--undo", environment=environment).returncode == 0
    assert not (place.root / ".curlrc").exists()
