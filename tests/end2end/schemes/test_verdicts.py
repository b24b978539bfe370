"""What upstreams and directories say besides yes and no, and what becomes of it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.end2end.stage import Stand
from tests.support.clients import Clients
from tests.support.counterparts import Counterpart
from tests.support.doors import Door, Doors, Negotiate, Setup, doors
from tests.support.face import Face
from tests.support.kerberos import Kdc
from tests.support.origin import Origin
from tests.support.processes import Home
from tests.support.reports import Reports
from tests.support.secrets import Canary
from tests.support.service import Service
from tests.support.tls import Authority
from trayproxy.control.messages import Ending, Why
from trayproxy.profiles.profile import Method, Profile, Scheme, Upstream

STATUS = ("-w", "\n%{http_code}")
HELLO = "hello\n\n200"


@pytest.fixture
def setup(canary: Canary, directory: Kdc) -> Setup:
    """All schemes, and one password for each of them."""
    return Setup(
        {canary.user: canary.password},
        canary.password,
        Negotiate.KERBEROS,
        directory.keytab("localhost", "127.0.0.1"),
        directory.environment,
    )


Open = Callable[[Setup], Doors]


@pytest.fixture
def squid(reports: Reports) -> Iterator[Open]:
    """Runs a Squid."""
    with ExitStack() as stack:

        def start(setup: Setup) -> Doors:
            running = stack.enter_context(doors(setup))
            reports["squid"] = running.describe
            return running

        yield start


def profile_at(proxy: Doors, door: Door, canary: Canary) -> Profile:
    scheme = Scheme.HTTPS if door is Door.SECURE else Scheme.HTTP
    upstream = Upstream(proxy.host, proxy.port(door), scheme)
    return Profile("office", "Office", upstream, user=canary.user)


# --- The directory -------------------------------------------------------------------------------


@pytest.mark.parametrize("proxy", ["squid-kerberos"], indirect=True)
@pytest.mark.parametrize("why", [Why.EXPIRED, Why.LOCKED])
def test_what_the_directory_says_of_an_account_is_told(
    proxy: Counterpart,
    directory: Kdc,
    running: Service,
    face: Face,
    clients: Clients,
    origin: Origin,
    why: Why,
) -> None:
    if why is Why.LOCKED:
        directory.disable(proxy.right.user)
    else:
        directory.expire(proxy.right.user)
    clients.curl("-x", running.url, origin.url("/hello"))
    face.answer(face.wait_for_question(), proxy.right)
    face.wait_for_question(lambda question: question.why is why)
    assert proxy.failed_logons() == 0


def test_a_directory_that_cannot_be_reached_leaves_the_other_schemes(
    setup: Setup,
    squid: Open,
    stand: Stand,
    canary: Canary,
    clients: Clients,
    origin: Origin,
    place: Home,
) -> None:
    """Kerberos is the strongest on offer; its failure says nothing about the password."""
    configuration = place.root / "krb5.conf"
    # Nobody listens on the port of "discard".
    configuration.write_text(
        "[libdefaults]\ndefault_realm = TEST.LAN\ndns_lookup_kdc = false\n"
        "[realms]\nTEST.LAN = { kdc = 127.0.0.1:9 }\n"
    )
    proxy = squid(setup)
    profile = profile_at(proxy, Door.ALL, canary)
    running, face = stand(profile, {"KRB5_CONFIG": str(configuration)})
    waiting = clients.curl(*STATUS, "-x", running.url, origin.url("/hello"))
    question = face.wait_for_question()
    face.answer(question, canary.login)
    assert waiting.result().out == HELLO
    assert face.wait_for_ending(question) is Ending.ACCEPTED
    assert len(face.questions) == 1
    assert proxy.verdicts("ntlm") == ["yes"]
    assert proxy.failed_logons() == 0


# --- The address ---------------------------------------------------------------------------------


@pytest.mark.parametrize("door", [Door.BASIC, Door.DIGEST, Door.NTLM])
def test_an_address_that_is_refused_is_told_once_and_not_blamed_on_the_password(
    setup: Setup,
    squid: Open,
    stand: Stand,
    canary: Canary,
    clients: Clients,
    origin: Origin,
    door: Door,
) -> None:
    """A rule that ends in ``proxy_auth`` lets Squid answer 407 to a right password."""
    rules = (
        "acl boss proxy_auth boss",
        "acl secret urlpath_regex ^/status",
        "http_access deny secret !boss",
    )
    proxy = squid(replace(setup, rules=rules))
    running, face = stand(profile_at(proxy, door, canary), {})
    allowed = clients.curl(*STATUS, "-x", running.url, origin.url("/hello"))
    face.answer(face.wait_for_question(), canary.login)
    assert allowed.result().out == HELLO
    for _ in range(3):
        refused = clients.curl(*STATUS, "-x", running.url, origin.url("/status/200")).result()
        assert "TP-306" in refused.out
    assert clients.curl(*STATUS, "-x", running.url, origin.url("/hello")).result().out == HELLO
    assert len(face.questions) == 1


# --- The connection ------------------------------------------------------------------------------


def test_a_sign_in_by_ntlm_inside_tls_is_accepted(
    setup: Setup,
    squid: Open,
    stand: Stand,
    canary: Canary,
    clients: Clients,
    origin: Origin,
    authority: Authority,
) -> None:
    pem = authority.issue("127.0.0.1").pem
    proxy = squid(replace(setup, pem=pem))
    profile = profile_at(proxy, Door.SECURE, canary)
    sure = replace(profile, ca_file=str(authority.pem), method=Method.NTLM)
    running, face = stand(sure, {})
    waiting = clients.curl(*STATUS, "-x", running.url, origin.url("/hello"))
    face.answer(face.wait_for_question(), canary.login)
    assert waiting.result().out == HELLO
    assert proxy.verdicts("ntlm") == ["yes"]


def test_nonces_that_are_used_up_are_renewed_without_a_word(
    setup: Setup, squid: Open, stand: Stand, canary: Canary, clients: Clients, origin: Origin
) -> None:
    options = (
        "auth_param digest nonce_max_count 5",
        "auth_param digest nonce_strictness on",
        "auth_param digest check_nonce_count on",
    )
    proxy = squid(replace(setup, options=options))
    running, face = stand(profile_at(proxy, Door.DIGEST, canary), {})
    first = clients.curl(*STATUS, "-x", running.url, origin.url("/hello"))
    face.answer(face.wait_for_question(), canary.login)
    assert first.result().out == HELLO
    urls = [origin.url("/hello")] * 60
    got = clients.curl("--parallel", "--parallel-max", "20", "-x", running.url, *urls).result()
    assert got.out.split() == ["hello"] * 60
    assert len(face.questions) == 1
    assert proxy.failed_logons() == 0
