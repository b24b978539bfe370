"""Tests for tests.support.squid, with curl as the client."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.clients import Clients
from tests.support.kerberos import Kdc, kdc
from tests.support.origin import Origin
from tests.support.processes import Home, Job
from tests.support.squid import ALL_SCHEMES, MessageKind, NegotiateHelper, Squid, SquidSetup, squid
from tests.support.tls import CertificateAuthority

UGLY = "pa55 w:rd%ü\"'\\~^[]{}|`<>#&+/=?@!$*(),;"
PASSWORD = "pa55 w:rd+&/'$x"
SETUP = SquidSetup({"alice": PASSWORD})
STATUS = ("-o", "/dev/null", "-w", "%{http_code}")


@pytest.fixture(scope="module")
def directory() -> Iterator[Kdc]:
    with kdc() as running:
        running.add_user("alice", PASSWORD)
        yield running


@pytest.fixture
def proxy() -> Iterator[Squid]:
    with squid(SquidSetup(users={"alice": "secret", "bob": UGLY})) as running:
        yield running


def get(clients: Clients, proxy: Squid, login: str, url: str, *options: str) -> Job:
    """Run curl with ``user:password``; empty for no login."""
    user = ("-U", login) if login else ()
    return clients.curl(*options, "-x", proxy.url, *user, url)


# --- Basic ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("login", ["alice:secret", f"bob:{UGLY}"])
def test_a_request_with_a_right_password_is_served(
    proxy: Squid, origin: Origin, clients: Clients, login: str
) -> None:
    got = get(clients, proxy, login, origin.url("/hello")).result()
    assert (got.code, got.out) == (0, "hello")


def test_only_rejected_logins_are_counted(proxy: Squid, origin: Origin, clients: Clients) -> None:
    url = origin.url("/hello")
    for login in ("", "alice:wrong", "alice:wrong", "mallory:secret", "alice:secret"):
        get(clients, proxy, login, url).result()
    assert proxy.failed_logons() == 3
    assert [(at.status, at.method, at.target, at.user, at.scheme) for at in proxy.accesses()] == [
        (407, "GET", url, "", ""),
        (407, "GET", url, "alice", "basic"),
        (407, "GET", url, "alice", "basic"),
        (407, "GET", url, "mallory", "basic"),
        (200, "GET", url, "alice", "basic"),
    ]


def test_each_of_many_parallel_failed_log_ons_is_counted(proxy: Squid, clients: Clients) -> None:
    jobs = [get(clients, proxy, "alice:wrong", "http://www.test.lan:1/") for _ in range(10)]
    for job in jobs:
        job.result()
    assert proxy.failed_logons() == 10


def test_a_changed_password_counts_at_once(proxy: Squid, origin: Origin, clients: Clients) -> None:
    proxy.set_password("alice", "new")
    for login in ("alice:secret", "alice:new"):
        get(clients, proxy, login, origin.url("/hello")).result()
    assert [access.status for access in proxy.accesses()] == [407, 200]


def test_a_tunnel_is_served(
    proxy: Squid, secure_origin: Origin, clients: Clients, authority: CertificateAuthority
) -> None:
    trust = ("--cacert", str(authority.pem))
    got = get(clients, proxy, "alice:secret", secure_origin.url("/hello"), *trust).result()
    assert got.out == "hello"
    assert proxy.accesses()[-1].method == "CONNECT"


def test_other_sites_are_refused_at_once_after_sign_in(proxy: Squid, clients: Clients) -> None:
    for login in ("alice:wrong", "alice:secret"):
        get(clients, proxy, login, "http://www.example.com/").result()
    assert [access.status for access in proxy.accesses()] == [407, 403]


def test_rules_come_before_the_rule_that_allows_every_user(
    origin: Origin, clients: Clients
) -> None:
    rules = ("acl boss proxy_auth boss", "http_access deny !boss")
    with squid(SquidSetup(users={"alice": "secret"}, rules=rules)) as proxy:
        get(clients, proxy, "alice:secret", origin.url("/hello")).result()
        assert [access.refused for access in proxy.accesses()] == [True]


def test_two_run_side_by_side() -> None:
    with squid(SquidSetup()) as first, squid(SquidSetup()) as second:
        assert first.port != second.port
        assert first.accesses() == second.accesses() == []


# --- All schemes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["basic", "digest", "ntlm"])
@pytest.mark.parametrize(
    ("password", "status", "failed"), [(PASSWORD, "200", 0), ("wrong", "407", 1)]
)
def test_a_password_is_checked_and_a_wrong_password_is_counted(
    origin: Origin, clients: Clients, scheme: str, password: str, status: str, failed: int
) -> None:
    with squid(replace(SETUP, schemes=ALL_SCHEMES)) as proxy:
        options = (*STATUS, f"--proxy-{scheme}")
        login = f"alice:{password}"
        assert get(clients, proxy, login, origin.url("/hello"), *options).result().out == status
        assert proxy.failed_logons() == failed
        assert {access.scheme for access in proxy.accesses()} <= {"", scheme}


def test_each_message_of_a_handshake_has_its_kind(origin: Origin, clients: Clients) -> None:
    with squid(replace(SETUP, schemes=("ntlm",))) as proxy:
        get(clients, proxy, f"alice:{PASSWORD}", origin.url("/hello"), "--proxy-ntlm").result()
        seen = [(access.status, access.scheme, access.kind) for access in proxy.accesses()]
        assert seen == [(407, "ntlm", MessageKind.HELLO), (200, "ntlm", MessageKind.CREDENTIALS)]
        assert proxy.verdicts("ntlm") == ["yes"]


def test_a_request_with_a_ticket_is_served(
    directory: Kdc, origin: Origin, clients: Clients, place: Home
) -> None:
    ticket = directory.ticket("alice", PASSWORD, place.root / "ticket")
    login = ("--proxy-negotiate", "-U", ":", origin.url("/hello"))
    setup = replace(
        SETUP,
        schemes=("negotiate",),
        negotiate=NegotiateHelper.KERBEROS,
        keytab=directory.keytab("localhost"),
        environment=directory.environment,
    )
    with squid(setup) as proxy:
        url = f"http://localhost:{proxy.port}"
        assert clients.curl(*STATUS, "-x", url, *login, **ticket).result().out == "200"
        assert clients.curl(*STATUS, "-x", url, *login).result().out == "407"
        assert proxy.verdicts("negotiate") == ["yes"]


def test_all_schemes_are_offered_in_separate_lines(origin: Origin, clients: Clients) -> None:
    with squid(replace(SETUP, schemes=ALL_SCHEMES)) as proxy:
        url = origin.url("/hello")
        head = get(clients, proxy, "", url, "-I").result().out
        offers = [line.split()[1] for line in head.splitlines() if "-Authenticate" in line]
        assert offers == ["Basic", "Digest", "NTLM", "Negotiate"]
        [access] = proxy.accesses()
        assert (access.status, access.method, access.target) == (407, "HEAD", url)
        assert (access.scheme, access.kind, access.stale) == ("", MessageKind.NOTHING, False)
        assert proxy.failed_logons() == 0


def test_a_stale_nonce_is_no_failed_log_on(origin: Origin, clients: Clients) -> None:
    options = ("auth_param digest nonce_strictness on",)
    with squid(replace(SETUP, schemes=("digest",), options=options)) as proxy:
        url = origin.url("/hello")
        told = get(clients, proxy, f"alice:{PASSWORD}", url, "-v", "--proxy-digest").result().err
        lines = told.splitlines()
        again = next(line[2:] for line in lines if line.startswith("> Proxy-Authorization: "))
        for _ in range(3):
            get(clients, proxy, "", url, "--proxy-header", again).result()
        assert proxy.accesses()[-1].stale
        assert proxy.failed_logons() == 0


def test_without_schemes_every_client_is_served(origin: Origin, clients: Clients) -> None:
    with squid(SquidSetup(schemes=())) as proxy:
        assert get(clients, proxy, "", origin.url("/hello")).result().out == "hello"


@pytest.mark.parametrize("scheme", ["basic", "ntlm"])
def test_clients_are_served_inside_tls(
    origin: Origin, clients: Clients, authority: CertificateAuthority, scheme: str
) -> None:
    pem = authority.issue("127.0.0.1").pem
    with squid(replace(SETUP, schemes=(scheme,), pem=pem)) as proxy:
        options = ("--proxy-cacert", str(authority.pem), f"--proxy-{scheme}")
        login = f"alice:{PASSWORD}"
        got = get(clients, proxy, login, origin.url("/hello"), *options).result()
        assert (got.code, got.out) == (0, "hello")
        assert proxy.accesses()[-1].status == 200
