"""Tests for tests.support.squid, with curl straight through it."""

from collections.abc import Iterator

import pytest

from tests.support.clients import Clients
from tests.support.origin import Origin
from tests.support.squid import AccessLogEntry, Squid, SquidSetup, squid
from tests.support.tls import CertificateAuthority

UGLY = "pa55 w:rd%ü\"'\\~^[]{}|`<>#&+/=?@!$*(),;"


@pytest.fixture
def proxy() -> Iterator[Squid]:
    with squid(SquidSetup(users={"alice": "secret", "bob": UGLY})) as running:
        yield running


@pytest.mark.parametrize("login", ["alice:secret", f"bob:{UGLY}"])
def test_it_lets_those_pass_who_sign_in(
    proxy: Squid, origin: Origin, clients: Clients, login: str
) -> None:
    got = clients.curl("-x", proxy.url, "-U", login, origin.url("/hello")).result()
    assert (got.code, got.out) == (0, "hello")


def test_it_counts_failed_log_ons_and_nothing_else(
    proxy: Squid, origin: Origin, clients: Clients
) -> None:
    url = origin.url("/hello")
    for login in (None, "alice:wrong", "alice:wrong", "mallory:secret", "alice:secret"):
        user = ("-U", login) if login else ()
        clients.curl("-x", proxy.url, *user, url).result()
    assert proxy.failed_logons() == 3
    assert proxy.accesses() == [
        AccessLogEntry(407, "GET", url, "", False),
        AccessLogEntry(407, "GET", url, "alice", True),
        AccessLogEntry(407, "GET", url, "alice", True),
        AccessLogEntry(407, "GET", url, "mallory", True),
        AccessLogEntry(200, "GET", url, "alice", True),
    ]


def test_parallel_failed_log_ons_are_counted_one_by_one(proxy: Squid, clients: Clients) -> None:
    arguments = ("-x", proxy.url, "-U", "alice:wrong", "http://www.test.lan:1/")
    jobs = [clients.curl(*arguments) for _ in range(10)]
    for job in jobs:
        job.result()
    assert proxy.failed_logons() == 10


def test_a_changed_password_counts_at_once(proxy: Squid, origin: Origin, clients: Clients) -> None:
    proxy.set_password("alice", "new")
    url = origin.url("/hello")
    clients.curl("-x", proxy.url, "-U", "alice:secret", url).result()
    clients.curl("-x", proxy.url, "-U", "alice:new", url).result()
    assert [access.status for access in proxy.accesses()] == [407, 200]


def test_a_tunnel_goes_through_it(
    proxy: Squid, secure_origin: Origin, clients: Clients, authority: CertificateAuthority
) -> None:
    trust = ("--cacert", str(authority.pem))
    got = clients.curl(
        "-x", proxy.url, "-U", "alice:secret", *trust, secure_origin.url("/hello")
    ).result()
    assert got.out == "hello"
    assert proxy.accesses()[-1].method == "CONNECT"


def test_it_speaks_tls_to_clients(
    origin: Origin, clients: Clients, authority: CertificateAuthority
) -> None:
    pem = authority.issue("127.0.0.1").pem
    with squid(SquidSetup(users={"alice": "secret"}, pem=pem)) as proxy:
        trust = ("--proxy-cacert", str(authority.pem))
        got = clients.curl(
            "-x", proxy.url, "-U", "alice:secret", *trust, origin.url("/hello")
        ).result()
        assert (got.code, got.out) == (0, "hello")
        assert [access.status for access in proxy.accesses()] == [200]


def test_the_world_is_forbidden_at_once_to_those_who_signed_in(
    proxy: Squid, clients: Clients
) -> None:
    url = "http://www.example.com/"
    for login in ("alice:wrong", "alice:secret"):
        clients.curl("-x", proxy.url, "-U", login, url).result()
    assert [access.status for access in proxy.accesses()] == [407, 403]


def test_rules_come_before_the_rule_that_allows_everyone(origin: Origin, clients: Clients) -> None:
    rules = ("acl boss proxy_auth boss", "http_access deny !boss")
    with squid(SquidSetup(users={"alice": "secret"}, rules=rules)) as proxy:
        clients.curl("-x", proxy.url, "-U", "alice:secret", origin.url("/hello")).result()
        assert [access.failed_logon for access in proxy.accesses()] == [True]


def test_two_run_side_by_side() -> None:
    with squid(SquidSetup()) as first, squid(SquidSetup()) as second:
        assert first.port != second.port
        assert first.accesses() == second.accesses() == []
