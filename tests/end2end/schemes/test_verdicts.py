"""What upstreams and directories say besides yes and no, and what becomes of it."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.end2end.stage import HELLO, Stand
from tests.support.clients import Clients
from tests.support.counterparts import Counterpart
from tests.support.digest_proxy import Demands, DigestProxy
from tests.support.doors import Door, Doors, Negotiate, Setup, doors
from tests.support.front_end import FrontEnd
from tests.support.kerberos import Kdc
from tests.support.octets import write
from tests.support.origin import Origin
from tests.support.reports import Reports
from tests.support.secrets import Canary
from tests.support.service import Service
from tests.support.tls import Authority
from trayproxy.auth.login import Login
from trayproxy.domain.signin import Ending, PromptReason
from trayproxy.profiles.profile import Method, Profile, ProxyScheme, Upstream

STATUS = ("-w", "\n%{http_code}")


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
    scheme = ProxyScheme.HTTPS if door is Door.SECURE else ProxyScheme.HTTP
    upstream = Upstream(proxy.host, proxy.port(door), scheme)
    return Profile("office", "Office", upstream, user=canary.user)


# --- The directory -------------------------------------------------------------------------------


@pytest.mark.parametrize("proxy", ["squid-kerberos"], indirect=True)
@pytest.mark.parametrize("why", [PromptReason.EXPIRED, PromptReason.LOCKED])
def test_what_the_directory_says_of_an_account_is_told(
    proxy: Counterpart,
    directory: Kdc,
    running: Service,
    front_end: FrontEnd,
    clients: Clients,
    origin: Origin,
    why: PromptReason,
) -> None:
    if why is PromptReason.LOCKED:
        directory.disable(proxy.right.user)
    else:
        directory.expire(proxy.right.user)
    clients.curl("-x", running.url, origin.url("/hello"))
    front_end.answer(front_end.wait_for_prompt(), proxy.right)
    front_end.wait_for_prompt(lambda question: question.reason is why)
    assert proxy.failed_logons() == 0


def test_a_directory_that_cannot_be_reached_leaves_the_other_schemes(
    setup: Setup, squid: Open, stand: Stand, canary: Canary, directory: Kdc
) -> None:
    """Kerberos is the strongest on offer; its failure says nothing about the password."""
    proxy = squid(setup)
    profile = profile_at(proxy, Door.ALL, canary)
    here = stand(profile, directory.elsewhere())
    assert here.sign_in(canary.login) == HELLO
    assert here.front_end.wait_for_ending(here.front_end.prompts[0]) is Ending.ACCEPTED
    assert len(here.front_end.prompts) == 1
    assert set(proxy.verdicts("ntlm")) == {"yes"}
    assert proxy.failed_logons() == 0


@pytest.fixture
def silence() -> Iterator[int]:
    """A port where everything is taken and nothing answered, whatever the transport."""
    with socket.socket() as stream:
        stream.bind(("127.0.0.1", 0))
        stream.listen()
        port: int = stream.getsockname()[1]
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            datagrams.bind(("127.0.0.1", port))
            yield port


def test_a_directory_that_says_nothing_holds_up_nobody_else_and_no_end(
    setup: Setup,
    squid: Open,
    stand: Stand,
    canary: Canary,
    origin: Origin,
    directory: Kdc,
    silence: int,
) -> None:
    """Its library waits for half a minute, and cannot be told to stop."""
    proxy = squid(setup)
    bypass = (f"localhost:{origin.port}",)
    profile = replace(profile_at(proxy, Door.NEGOTIATE, canary), bypass=bypass)
    here = stand(profile, directory.elsewhere(silence))
    waiting = here.visit()
    here.front_end.answer(here.front_end.wait_for_prompt(), canary.login)
    here.front_end.wait_for_prompt(lambda question: question.checking)
    assert here.curl(*STATUS, f"http://localhost:{origin.port}/hello").result().out == HELLO
    assert waiting.process.running
    assert here.service.stop() == 0


def test_a_directory_that_drops_all_packets_is_told_and_not_blamed_on_the_password(
    setup: Setup,
    squid: Open,
    stand: Stand,
    canary: Canary,
    origin: Origin,
    directory: Kdc,
    silence: int,
) -> None:
    """libkrb5 gives up after half a minute, once for all requests that wait."""
    proxy = squid(setup)
    bypass = (f"localhost:{origin.port}",)
    profile = replace(profile_at(proxy, Door.NEGOTIATE, canary), bypass=bypass)
    here = stand(profile, directory.elsewhere(silence))
    waiting = [here.visit() for _ in range(3)]
    here.front_end.answer(here.front_end.wait_for_prompt(lambda q: q.waiting == 3), canary.login)
    here.front_end.wait_for_prompt(lambda q: q.checking)
    assert here.curl(*STATUS, f"http://localhost:{origin.port}/hello").result().out == HELLO
    for job in waiting:
        said = job.result().out
        assert said.endswith("503")
        assert "The sign-in server cannot be reached" in said
        assert "TP-303" in said
    told = here.front_end.wait_for_status(lambda status: bool(status.notices))
    assert [notice.id for notice in told.notices] == ["TP-303"]
    assert {(q.number, q.rejections) for q in here.front_end.prompts} == {(1, 0)}
    assert proxy.failed_logons() == 0


# --- The address ---------------------------------------------------------------------------------


@pytest.mark.parametrize("door", [Door.BASIC, Door.DIGEST, Door.NTLM, Door.NEGOTIATE])
def test_an_address_that_is_refused_is_told_once_and_not_blamed_on_the_password(
    setup: Setup,
    squid: Open,
    stand: Stand,
    canary: Canary,
    origin: Origin,
    directory: Kdc,
    door: Door,
) -> None:
    """A rule that ends in ``proxy_auth`` lets Squid answer 407 to a right password."""
    rules = (
        "acl boss proxy_auth boss",
        "acl secret urlpath_regex ^/status",
        "http_access deny secret !boss",
    )
    proxy = squid(replace(setup, rules=rules))
    if door is Door.NEGOTIATE:
        directory.add_user(canary.user, canary.password)
    here = stand(profile_at(proxy, door, canary), directory.environment)
    assert here.sign_in(canary.login) == HELLO
    for _ in range(3):
        assert "TP-306" in here.curl(origin.url("/status/200")).result().out
    assert here.fetch() == HELLO
    assert len(here.front_end.prompts) == 1


# --- The connection ------------------------------------------------------------------------------


def test_a_sign_in_by_ntlm_inside_tls_is_accepted(
    setup: Setup,
    squid: Open,
    stand: Stand,
    canary: Canary,
    authority: Authority,
    origin: Origin,
) -> None:
    pem = authority.issue("127.0.0.1").pem
    proxy = squid(replace(setup, pem=pem))
    profile = profile_at(proxy, Door.SECURE, canary)
    sure = replace(profile, ca_file=str(authority.pem), method=Method.NTLM)
    here = stand(sure, {})
    assert here.sign_in(canary.login) == HELLO
    # So is one that is signed in ahead: it is bound to the certificate in the same way. A tunnel
    # uses up the connection; that of a request without a tunnel would be ready for the next one.
    tunnel = ("--proxytunnel", origin.url("/hello"))
    assert here.curl(*STATUS, *tunnel).result().out == HELLO
    proxy.wait_for_answers("HEAD", 504, 1)
    assert set(proxy.verdicts("ntlm")) == {"yes"}


def test_nonces_that_are_used_up_are_renewed_without_a_word(
    setup: Setup, squid: Open, stand: Stand, canary: Canary, origin: Origin
) -> None:
    options = (
        "auth_param digest nonce_max_count 5",
        "auth_param digest nonce_strictness on",
        "auth_param digest check_nonce_count on",
    )
    proxy = squid(replace(setup, options=options))
    here = stand(profile_at(proxy, Door.DIGEST, canary), {})
    assert here.sign_in(canary.login) == HELLO
    urls = [origin.url("/hello")] * 60
    got = here.curl("--parallel", "--parallel-max", "20", *urls).result()
    assert got.out.split() == ["hello"] * 60
    assert len(here.front_end.prompts) == 1
    assert proxy.failed_logons() == 0


def test_where_all_content_is_signed_what_is_too_much_for_that_is_refused_by_us(
    stand: Stand, canary: Canary, clients: Clients, origin: Origin
) -> None:
    """``qop=auth-int`` alone: whoever cannot sign the content has nothing to try."""
    with DigestProxy(canary.login, Demands(qop="auth-int")) as proxy:
        profile = Profile("office", "Office", Upstream(proxy.host, proxy.port), user=canary.user)
        here = stand(profile, {})
        assert here.sign_in(canary.login) == HELLO
        body = write(clients.home.root / "body", 5_000_000)
        post = ("--data-binary", f"@{body}", "-H", "Expect:")
        assert "TP-303" in here.curl(*post, origin.url("/sha256")).result().out
        tunnel = ("--proxytunnel", origin.url("/hello"))
        assert here.curl(*STATUS, *tunnel).result().out == HELLO
        assert len(here.front_end.prompts) == 1
        assert proxy.failed_logons() == 0


# --- Digest at a proxy that closes with each 407 --------------------------------------------------


def test_a_farm_that_does_not_know_its_own_nonces_calls_no_password_wrong(
    stand: Stand, canary: Canary
) -> None:
    """Two proxies share a name. Each closes with its 407, so the credentials reach the other one,
    which refuses the nonce without ``stale``."""
    with DigestProxy(canary.login, Demands(closes=True, machines=2)) as farm:
        profile = Profile("office", "Office", Upstream(farm.host, farm.port), user=canary.user)
        here = stand(profile, {})
        waiting = here.visit()
        first = here.front_end.wait_for_prompt()
        here.front_end.answer(first, canary.login)
        again = here.front_end.wait_for_prompt(
            lambda q: q.reason is PromptReason.UNCLEAR and not q.checking
        )
        another = here.visit()
        here.front_end.wait_for_prompt(lambda q: q.waiting == 2)
        assert farm.failed_logons() == 1
        here.front_end.decline(again)
        assert [job.result().out.split()[-1] for job in (waiting, another)] == ["503", "503"]
        assert [verdict.fault for verdict in farm.verdicts] == ["an unknown nonce"]


def test_one_proxy_that_closes_with_each_407_takes_the_right_password_at_once(
    stand: Stand, canary: Canary
) -> None:
    with DigestProxy(canary.login, Demands(closes=True)) as proxy:
        profile = Profile("office", "Office", Upstream(proxy.host, proxy.port), user=canary.user)
        here = stand(profile, {})
        wrong = Login(canary.user, f"{canary.password}-")
        waiting = here.visit()
        here.front_end.answer(here.front_end.wait_for_prompt(), wrong)
        again = here.front_end.wait_for_prompt(
            lambda q: q.reason is PromptReason.UNCLEAR and not q.checking
        )
        assert proxy.failed_logons() == 1
        here.front_end.answer(again, canary.login)
        assert waiting.result().out == HELLO
        assert proxy.failed_logons() == 1


def test_a_farm_whose_proxies_keep_connections_open_calls_a_right_password_of_an_upload_right(
    stand: Stand, canary: Canary, clients: Clients, origin: Origin
) -> None:
    """Each proxy answers the 407 of an upload on a connection that is not used again."""
    with DigestProxy(canary.login, Demands(machines=2)) as farm:
        profile = Profile("office", "Office", Upstream(farm.host, farm.port), user=canary.user)
        here = stand(profile, {})
        body = write(clients.home.root / "body", 1_000)
        post = ("--data-binary", f"@{body}", "-H", "Expect:", origin.url("/sha256"))
        waiting = here.curl(*STATUS, *post)
        first = here.front_end.wait_for_prompt()
        here.front_end.answer(first, Login(canary.user, f"{canary.password}-"))
        again = here.front_end.wait_for_prompt(lambda q: q.rejections == 1 and not q.checking)
        assert again.reason is PromptReason.TYPED_REJECTED
        assert farm.failed_logons() == 1
        here.front_end.answer(again, canary.login)
        assert waiting.result().out.endswith("200")
        for _ in range(4):
            assert here.curl(*STATUS, *post).result().out.endswith("200")
        assert len(here.front_end.prompts) == 1
