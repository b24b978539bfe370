"""Tests for tests.support.multi_scheme_squid, with curl straight through it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.clients import Clients
from tests.support.kerberos import Kdc, kdc
from tests.support.multi_scheme_squid import (
    MessageKind,
    MultiSchemeSetup,
    MultiSchemeSquid,
    NegotiateHelper,
    SchemeLogEntry,
    SchemePort,
    multi_scheme_squid,
)
from tests.support.origin import Origin
from tests.support.processes import Home
from tests.support.tls import CertificateAuthority

PASSWORD = "pa55 w:rd+&/'$x"
STATUS = ("-o", "/dev/null", "-w", "%{http_code}")


@pytest.fixture(scope="module")
def directory() -> Iterator[Kdc]:
    with kdc() as running:
        running.add_user("alice", PASSWORD)
        yield running


@pytest.fixture(scope="module")
def setup(directory: Kdc) -> MultiSchemeSetup:
    return MultiSchemeSetup(
        users={"alice": PASSWORD},
        password=PASSWORD,
        negotiate=NegotiateHelper.KERBEROS,
        keytab=directory.keytab("localhost"),
        environment=directory.environment,
    )


@pytest.fixture
def proxy(setup: MultiSchemeSetup) -> Iterator[MultiSchemeSquid]:
    with multi_scheme_squid(setup) as running:
        yield running


@pytest.mark.parametrize("scheme_port", [SchemePort.BASIC, SchemePort.DIGEST, SchemePort.NTLM])
@pytest.mark.parametrize(
    ("password", "status", "failed"), [(PASSWORD, "200", 0), ("wrong", "407", 1)]
)
def test_a_password_is_looked_at_and_a_wrong_one_counted(
    proxy: MultiSchemeSquid,
    origin: Origin,
    clients: Clients,
    scheme_port: SchemePort,
    password: str,
    status: str,
    failed: int,
) -> None:
    how = f"--proxy-{scheme_port.name.lower()}"
    url = origin.url("/hello")
    got = clients.curl(
        *STATUS, "-x", proxy.url(scheme_port), how, "-U", f"alice:{password}", url
    ).result()
    assert got.out == status
    assert proxy.failed_logons() == failed
    assert {access.port for access in proxy.accesses()} == {scheme_port}


def test_each_message_of_a_handshake_is_told_from_the_others(
    proxy: MultiSchemeSquid, origin: Origin, clients: Clients
) -> None:
    url = origin.url("/hello")
    login = ("--proxy-ntlm", "-U", f"alice:{PASSWORD}")
    clients.curl("-x", proxy.url(SchemePort.NTLM), *login, url).result()
    seen = [(access.status, access.scheme, access.kind) for access in proxy.accesses()]
    assert seen == [(407, "ntlm", MessageKind.HELLO), (200, "ntlm", MessageKind.CREDENTIALS)]
    assert (proxy.handshakes("ntlm"), proxy.verdicts("ntlm")) == (1, ["yes"])


@pytest.mark.parametrize("behind", [NegotiateHelper.KERBEROS, NegotiateHelper.WRAPPER])
def test_a_ticket_opens_and_none_does_not(
    setup: MultiSchemeSetup,
    directory: Kdc,
    origin: Origin,
    clients: Clients,
    place: Home,
    behind: NegotiateHelper,
) -> None:
    ticket = directory.ticket("alice", PASSWORD, place.root / "ticket")
    login = ("--proxy-negotiate", "-U", ":", origin.url("/hello"))
    with multi_scheme_squid(replace(setup, negotiate=behind)) as proxy:
        url = proxy.url(SchemePort.NEGOTIATE, "localhost")
        assert clients.curl(*STATUS, "-x", url, *login, **ticket).result().out == "200"
        assert clients.curl(*STATUS, "-x", url, *login).result().out == "407"
        assert proxy.verdicts("negotiate") == ["yes"]


def test_all_schemes_are_offered_in_separate_lines(
    proxy: MultiSchemeSquid, origin: Origin, clients: Clients
) -> None:
    url = origin.url("/hello")
    head = clients.curl("-I", "-x", proxy.url(SchemePort.ALL), url).result().out
    offers = [line.split()[1] for line in head.splitlines() if "-Authenticate" in line]
    assert offers == ["Basic", "Digest", "NTLM", "Negotiate"]
    assert proxy.accesses() == [
        SchemeLogEntry(
            SchemePort.ALL,
            407,
            "HEAD",
            url,
            "",
            MessageKind.NOTHING,
            False,
            proxy.accesses()[0].size,
        )
    ]
    assert proxy.failed_logons() == 0


def test_a_stale_nonce_is_no_failed_log_on(
    setup: MultiSchemeSetup, origin: Origin, clients: Clients
) -> None:
    options = ("auth_param digest nonce_strictness on",)
    login = ("--proxy-digest", "-U", f"alice:{PASSWORD}")
    with multi_scheme_squid(replace(setup, options=options)) as proxy:
        asked = ("-x", proxy.url(SchemePort.DIGEST), origin.url("/hello"))
        said = clients.curl("-v", *login, *asked).result().err.splitlines()
        again = next(line[2:] for line in said if line.startswith("> Proxy-Authorization: "))
        for _ in range(3):
            clients.curl("--proxy-header", again, *asked).result()
        assert proxy.accesses()[-1].stale
        assert proxy.failed_logons() == 0


def test_the_open_port_requires_no_sign_in(
    proxy: MultiSchemeSquid, origin: Origin, clients: Clients
) -> None:
    got = clients.curl("-x", proxy.url(SchemePort.OPEN), origin.url("/hello")).result()
    assert got.out == "hello"


def test_the_secure_port_speaks_tls(
    setup: MultiSchemeSetup, origin: Origin, clients: Clients, authority: CertificateAuthority
) -> None:
    pem = authority.issue("127.0.0.1").pem
    login = ("--proxy-cacert", str(authority.pem), "--proxy-ntlm", "-U", f"alice:{PASSWORD}")
    with multi_scheme_squid(replace(setup, pem=pem)) as proxy:
        got = clients.curl(
            "-x", proxy.url(SchemePort.SECURE), *login, origin.url("/hello")
        ).result()
        assert got.out == "hello", got
