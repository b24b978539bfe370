"""Tests for tests.support.clients: each signs in to a squid by itself, as far as it can."""

from collections.abc import Iterator

import pytest

from tests.support.clients import Clients
from tests.support.concurrent_connects import ConcurrentConnects
from tests.support.octets import write
from tests.support.origin import Origin, make_repository
from tests.support.processes import Home
from tests.support.scripted_upstream import ScriptedUpstream, echoing, hanging, silent
from tests.support.squid import Squid, SquidSetup, squid
from tests.support.tls import CertificateAuthority


@pytest.fixture
def proxy() -> Iterator[Squid]:
    # A rule that lets everyone pass: chromium has no way to be told a password.
    with squid(SquidSetup(users={"alice": "secret"}, rules=("http_access allow all",))) as running:
        yield running


def test_requests_uses_the_proxy(proxy: Squid, origin: Origin, clients: Clients) -> None:
    got = clients.requests(origin.url("/hello"), proxy.url).result()
    assert (got.code, got.out) == (0, "200\nhello")
    assert [access.method for access in proxy.accesses()] == ["GET"]


def test_requests_uses_a_tunnel(
    proxy: Squid, secure_origin: Origin, clients: Clients, authority: CertificateAuthority
) -> None:
    url = secure_origin.url("/hello")
    got = clients.requests(url, proxy.url, trust=authority.pem).result()
    assert (got.code, got.out) == (0, "200\nhello")
    assert [access.method for access in proxy.accesses()] == ["CONNECT"]


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tunnel"])
def test_git_uses_the_proxy(
    proxy: Squid, clients: Clients, place: Home, authority: CertificateAuthority, is_secure: bool
) -> None:
    make_repository(place, "demo.git", write(place.root / "content", 1000))
    certificate = authority.issue("www.test.lan") if is_secure else None
    with Origin(repositories=place, certificate=certificate) as origin:
        url = origin.url("/git/demo.git")
        got = clients.git(proxy.url, "ls-remote", url, trust=authority.pem).result()
    assert got.out.endswith("refs/heads/main")
    assert {access.status for access in proxy.accesses()} == {200}
    assert ({access.method for access in proxy.accesses()} == {"CONNECT"}) is is_secure


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tunnel"])
def test_chromium_uses_the_proxy(
    proxy: Squid, clients: Clients, authority: CertificateAuthority, is_secure: bool
) -> None:
    certificate = authority.issue("www.test.lan")
    with Origin(certificate=certificate if is_secure else None) as origin:
        got = clients.chromium(origin.url("/page"), proxy.url, pin=certificate.pin).result()
        assert '<p id="said">hello browser</p>' in got.out, got
        proxy.wait_for(200, origin.authority if is_secure else origin.url("/page"))


def test_many_tunnels_are_opened_at_once() -> None:
    with ScriptedUpstream(echoing) as upstream:
        address = f"{upstream.host}:{upstream.port}"
        with ConcurrentConnects(address, "www.test.lan:443", 50) as connects:
            assert connects.statuses() == [200] * 50


@pytest.mark.parametrize("script", [silent, hanging])
def test_requests_without_a_response_wait(script: object) -> None:
    assert callable(script)
    with ScriptedUpstream(script) as upstream:
        address = f"{upstream.host}:{upstream.port}"
        with ConcurrentConnects(address, "www.test.lan:443", 5) as connects:
            upstream.peer(5)
            assert connects.waiting == 5
            upstream.__exit__(None, None, None)
            assert connects.statuses() == [0] * 5
