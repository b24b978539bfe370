"""Verdicts of upstreams and directories other than accepted and rejected, and their effects."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.end2end.scenario import HELLO, StartWithProfile
from tests.support.clients import Clients
from tests.support.counterparts import Counterpart
from tests.support.digest_proxy import Demands, DigestProxy
from tests.support.front_end import FrontEnd
from tests.support.kerberos import Kdc
from tests.support.multi_scheme_squid import (
    MultiSchemeSetup,
    MultiSchemeSquid,
    NegotiateHelper,
    SchemePort,
    multi_scheme_squid,
)
from tests.support.octets import write
from tests.support.origin import Origin
from tests.support.reports import Reports
from tests.support.searchable_secret import SearchableSecret
from tests.support.service import ServiceProcess
from tests.support.tls import CertificateAuthority
from trayproxy.auth.login import Login
from trayproxy.domain.signin import Ending, PromptReason
from trayproxy.profiles.profile import Method, Profile, ProxyScheme, Upstream

STATUS = ("-w", "\n%{http_code}")


@pytest.fixture
def setup(account: SearchableSecret, directory: Kdc) -> MultiSchemeSetup:
    """A user with all schemes, and the same password for each scheme."""
    return MultiSchemeSetup(
        {account.user: account.password},
        account.password,
        NegotiateHelper.KERBEROS,
        directory.keytab("localhost", "127.0.0.1"),
        directory.environment,
    )


Open = Callable[[MultiSchemeSetup], MultiSchemeSquid]


@pytest.fixture
def squid(reports: Reports) -> Iterator[Open]:
    """Runs a Squid."""
    with ExitStack() as stack:

        def start(setup: MultiSchemeSetup) -> MultiSchemeSquid:
            running = stack.enter_context(multi_scheme_squid(setup))
            reports["squid"] = running.describe
            return running

        yield start


def profile_at(
    proxy: MultiSchemeSquid, scheme_port: SchemePort, account: SearchableSecret
) -> Profile:
    scheme = ProxyScheme.HTTPS if scheme_port is SchemePort.SECURE else ProxyScheme.HTTP
    upstream = Upstream(proxy.host, proxy.port(scheme_port), scheme)
    return Profile("office", "Office", upstream, user=account.user)


# --- The directory -------------------------------------------------------------------------------


@pytest.mark.parametrize("proxy", ["squid-kerberos"], indirect=True)
@pytest.mark.parametrize("why", [PromptReason.EXPIRED, PromptReason.LOCKED])
def test_what_the_directory_says_of_an_account_is_told(
    proxy: Counterpart,
    directory: Kdc,
    running: ServiceProcess,
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
    setup: MultiSchemeSetup,
    squid: Open,
    start_with_profile: StartWithProfile,
    account: SearchableSecret,
    directory: Kdc,
) -> None:
    """Kerberos is the strongest on offer; its failure says nothing about the password."""
    proxy = squid(setup)
    profile = profile_at(proxy, SchemePort.ALL, account)
    user = start_with_profile(profile, directory.elsewhere())
    assert user.sign_in(account.login) == HELLO
    assert user.front_end.wait_for_ending(user.front_end.prompts[0]) is Ending.ACCEPTED
    assert len(user.front_end.prompts) == 1
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
    setup: MultiSchemeSetup,
    squid: Open,
    start_with_profile: StartWithProfile,
    account: SearchableSecret,
    origin: Origin,
    directory: Kdc,
    silence: int,
) -> None:
    """Its library waits for half a minute, and cannot be told to stop."""
    proxy = squid(setup)
    bypass = (f"localhost:{origin.port}",)
    profile = replace(profile_at(proxy, SchemePort.NEGOTIATE, account), bypass=bypass)
    user = start_with_profile(profile, directory.elsewhere(silence))
    waiting = user.visit()
    user.front_end.answer(user.front_end.wait_for_prompt(), account.login)
    user.front_end.wait_for_prompt(lambda question: question.checking)
    assert user.curl(*STATUS, f"http://localhost:{origin.port}/hello").result().out == HELLO
    assert waiting.process.running
    assert user.service.stop() == 0


def test_a_directory_that_drops_all_packets_is_told_and_not_blamed_on_the_password(
    setup: MultiSchemeSetup,
    squid: Open,
    start_with_profile: StartWithProfile,
    account: SearchableSecret,
    origin: Origin,
    directory: Kdc,
    silence: int,
) -> None:
    """libkrb5 gives up after half a minute, once for all requests that wait."""
    proxy = squid(setup)
    bypass = (f"localhost:{origin.port}",)
    profile = replace(profile_at(proxy, SchemePort.NEGOTIATE, account), bypass=bypass)
    user = start_with_profile(profile, directory.elsewhere(silence))
    waiting = [user.visit() for _ in range(3)]
    user.front_end.answer(user.front_end.wait_for_prompt(lambda q: q.waiting == 3), account.login)
    user.front_end.wait_for_prompt(lambda q: q.checking)
    assert user.curl(*STATUS, f"http://localhost:{origin.port}/hello").result().out == HELLO
    for job in waiting:
        said = job.result().out
        assert said.endswith("503")
        assert "The sign-in server cannot be reached" in said
        assert "TP-303" in said
    told = user.front_end.wait_for_status(lambda status: bool(status.notices))
    assert [notice.id for notice in told.notices] == ["TP-303"]
    assert {(q.number, q.rejections) for q in user.front_end.prompts} == {(1, 0)}
    assert proxy.failed_logons() == 0


# --- The address ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scheme_port", [SchemePort.BASIC, SchemePort.DIGEST, SchemePort.NTLM, SchemePort.NEGOTIATE]
)
def test_an_address_that_is_refused_is_told_once_and_not_blamed_on_the_password(
    setup: MultiSchemeSetup,
    squid: Open,
    start_with_profile: StartWithProfile,
    account: SearchableSecret,
    origin: Origin,
    directory: Kdc,
    scheme_port: SchemePort,
) -> None:
    """A rule that ends in ``proxy_auth`` lets Squid answer 407 to a right password."""
    rules = (
        "acl boss proxy_auth boss",
        "acl secret urlpath_regex ^/status",
        "http_access deny secret !boss",
    )
    proxy = squid(replace(setup, rules=rules))
    if scheme_port is SchemePort.NEGOTIATE:
        directory.add_user(account.user, account.password)
    user = start_with_profile(profile_at(proxy, scheme_port, account), directory.environment)
    assert user.sign_in(account.login) == HELLO
    for _ in range(3):
        assert "TP-306" in user.curl(origin.url("/status/200")).result().out
    assert user.fetch() == HELLO
    assert len(user.front_end.prompts) == 1


# --- The connection ------------------------------------------------------------------------------


def test_a_sign_in_by_ntlm_inside_tls_is_accepted(
    setup: MultiSchemeSetup,
    squid: Open,
    start_with_profile: StartWithProfile,
    account: SearchableSecret,
    authority: CertificateAuthority,
    origin: Origin,
) -> None:
    pem = authority.issue("127.0.0.1").pem
    proxy = squid(replace(setup, pem=pem))
    profile = profile_at(proxy, SchemePort.SECURE, account)
    sure = replace(profile, ca_file=str(authority.pem), method=Method.NTLM)
    user = start_with_profile(sure, {})
    assert user.sign_in(account.login) == HELLO
    # A preconnect is bound to the certificate in the same way. A tunnel consumes its connection;
    # the connection of a request without a tunnel would be ready for the next request.
    tunnel = ("--proxytunnel", origin.url("/hello"))
    assert user.curl(*STATUS, *tunnel).result().out == HELLO
    proxy.wait_for_answers("HEAD", 504, 1)
    assert set(proxy.verdicts("ntlm")) == {"yes"}


def test_nonces_that_are_used_up_are_renewed_without_a_word(
    setup: MultiSchemeSetup,
    squid: Open,
    start_with_profile: StartWithProfile,
    account: SearchableSecret,
    origin: Origin,
) -> None:
    options = (
        "auth_param digest nonce_max_count 5",
        "auth_param digest nonce_strictness on",
        "auth_param digest check_nonce_count on",
    )
    proxy = squid(replace(setup, options=options))
    user = start_with_profile(profile_at(proxy, SchemePort.DIGEST, account), {})
    assert user.sign_in(account.login) == HELLO
    urls = [origin.url("/hello")] * 60
    got = user.curl("--parallel", "--parallel-max", "20", *urls).result()
    assert got.out.split() == ["hello"] * 60
    assert len(user.front_end.prompts) == 1
    assert proxy.failed_logons() == 0


def test_where_all_content_is_signed_what_is_too_much_for_that_is_refused_by_us(
    start_with_profile: StartWithProfile,
    account: SearchableSecret,
    clients: Clients,
    origin: Origin,
) -> None:
    """``qop=auth-int`` alone: without the content of the request, the login cannot be tried."""
    with DigestProxy(account.login, Demands(qop="auth-int")) as proxy:
        profile = Profile("office", "Office", Upstream(proxy.host, proxy.port), user=account.user)
        user = start_with_profile(profile, {})
        assert user.sign_in(account.login) == HELLO
        body = write(clients.home.root / "body", 5_000_000)
        post = ("--data-binary", f"@{body}", "-H", "Expect:")
        assert "TP-303" in user.curl(*post, origin.url("/sha256")).result().out
        tunnel = ("--proxytunnel", origin.url("/hello"))
        assert user.curl(*STATUS, *tunnel).result().out == HELLO
        assert len(user.front_end.prompts) == 1
        assert proxy.failed_logons() == 0


# --- Digest at a proxy that closes with each 407 --------------------------------------------------


def test_a_farm_that_does_not_know_its_own_nonces_calls_no_password_wrong(
    start_with_profile: StartWithProfile, account: SearchableSecret
) -> None:
    """Two proxies share a name. Each closes the connection after its 407, so the other proxy gets
    the credentials, and refuses the nonce without ``stale``."""
    with DigestProxy(account.login, Demands(closes=True, machines=2)) as farm:
        profile = Profile("office", "Office", Upstream(farm.host, farm.port), user=account.user)
        user = start_with_profile(profile, {})
        waiting = user.visit()
        first = user.front_end.wait_for_prompt()
        user.front_end.answer(first, account.login)
        again = user.front_end.wait_for_prompt(
            lambda q: q.reason is PromptReason.UNCLEAR and not q.checking
        )
        another = user.visit()
        user.front_end.wait_for_prompt(lambda q: q.waiting == 2)
        assert farm.failed_logons() == 1
        user.front_end.decline(again)
        assert [job.result().out.split()[-1] for job in (waiting, another)] == ["503", "503"]
        assert [verdict.fault for verdict in farm.verdicts] == ["an unknown nonce"]


def test_one_proxy_that_closes_with_each_407_takes_the_right_password_at_once(
    start_with_profile: StartWithProfile, account: SearchableSecret
) -> None:
    with DigestProxy(account.login, Demands(closes=True)) as proxy:
        profile = Profile("office", "Office", Upstream(proxy.host, proxy.port), user=account.user)
        user = start_with_profile(profile, {})
        wrong = Login(account.user, f"{account.password}-")
        waiting = user.visit()
        user.front_end.answer(user.front_end.wait_for_prompt(), wrong)
        again = user.front_end.wait_for_prompt(
            lambda q: q.reason is PromptReason.UNCLEAR and not q.checking
        )
        assert proxy.failed_logons() == 1
        user.front_end.answer(again, account.login)
        assert waiting.result().out == HELLO
        assert proxy.failed_logons() == 1


def test_a_farm_whose_proxies_keep_connections_open_calls_a_right_password_of_an_upload_right(
    start_with_profile: StartWithProfile,
    account: SearchableSecret,
    clients: Clients,
    origin: Origin,
) -> None:
    """Each proxy answers the 407 of an upload on a connection that is not used again."""
    with DigestProxy(account.login, Demands(machines=2)) as farm:
        profile = Profile("office", "Office", Upstream(farm.host, farm.port), user=account.user)
        user = start_with_profile(profile, {})
        body = write(clients.home.root / "body", 1_000)
        post = ("--data-binary", f"@{body}", "-H", "Expect:", origin.url("/sha256"))
        waiting = user.curl(*STATUS, *post)
        first = user.front_end.wait_for_prompt()
        user.front_end.answer(first, Login(account.user, f"{account.password}-"))
        again = user.front_end.wait_for_prompt(lambda q: q.rejections == 1 and not q.checking)
        assert again.reason is PromptReason.TYPED_REJECTED
        assert farm.failed_logons() == 1
        user.front_end.answer(again, account.login)
        assert waiting.result().out.endswith("200")
        for _ in range(4):
            assert user.curl(*STATUS, *post).result().out.endswith("200")
        assert len(user.front_end.prompts) == 1
