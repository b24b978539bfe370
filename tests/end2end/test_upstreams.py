"""Real upstreams of every kind: Squid inside TLS, SOCKS5, several upstreams, and none."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.end2end.scenario import HELLO, AttachFrontEnd, StartService, UserSession
from tests.support.clients import Clients
from tests.support.keyring_session import KeyringSession
from tests.support.origin import Origin
from tests.support.searchable_secret import SearchableSecret
from tests.support.socks_proxy import socks_proxy
from tests.support.squid import Squid, SquidSetup, squid
from tests.support.tls import CertificateAuthority
from trayproxy.auth.login import Login
from trayproxy.control.messages import CheckProfile, CheckResult, StepState, UseProfile
from trayproxy.domain.signin import PromptReason, Transport
from trayproxy.profiles.profile import DIRECT_ID, Profile, ProxyScheme, SignIn, Upstream


@pytest.fixture
def secure_proxy(account: SearchableSecret, authority: CertificateAuthority) -> Iterator[Squid]:
    """An upstream inside TLS, with a certificate by the company's authority."""
    pem = authority.issue("127.0.0.1").pem
    with squid(SquidSetup(users={account.user: account.password}, pem=pem)) as running:
        yield running


@pytest.fixture
def socks_login() -> Login:
    return Login("alice", "pa55 w:ord ü")


@pytest.fixture
def socks(socks_login: Login) -> Iterator[Upstream]:
    """A SOCKS5 proxy."""
    with socks_proxy({socks_login.user: socks_login.password}, "www.test.lan") as port:
        yield Upstream("127.0.0.1", port, ProxyScheme.SOCKS5)


@pytest.fixture
def unreachable() -> Iterator[Upstream]:
    """An upstream on a closed port."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield Upstream("127.0.0.1", bound.getsockname()[1])


def at(proxy: Squid, scheme: ProxyScheme = ProxyScheme.HTTP) -> Upstream:
    return Upstream(proxy.host, proxy.port, scheme)


Start = Callable[..., UserSession]


@pytest.fixture
def start(
    run: StartService,
    attach: AttachFrontEnd,
    keyring: KeyringSession,
    clients: Clients,
    origin: Origin,
) -> Start:
    """Starts a service, and a user who answers prompts with these logins."""

    def begin(*logins: Login) -> UserSession:
        service = run(session=keyring)
        return UserSession(service, attach(service, logins), clients, origin)

    return begin


def office(upstream: Upstream, **more: Any) -> Profile:
    return Profile("office", "Office", upstream, **more)


# --- https ---------------------------------------------------------------------------------------


def test_a_prompt_of_an_https_proxy_is_marked_as_encrypted_and_its_login_is_saved(
    start: Start,
    keyring: KeyringSession,
    secure_proxy: Squid,
    authority: CertificateAuthority,
    account: SearchableSecret,
    secure_origin: Origin,
) -> None:
    user = start(account.login)
    user.use(office(at(secure_proxy, ProxyScheme.HTTPS), ca_file=str(authority.pem)))
    assert user.fetch() == HELLO
    trust = ("--cacert", str(authority.pem))
    assert user.get(secure_origin.url("/hello"), *trust) == "hello"
    (question,) = user.front_end.prompts
    assert question.upstream == secure_proxy.url
    assert question.transport is Transport.ENCRYPTED
    (entry,) = keyring.wait_for_entries(1)
    assert entry.secret == account.password
    assert secure_proxy.failed_logons() == 0


def test_nothing_is_sent_to_a_proxy_with_an_untrusted_certificate(
    start: Start, secure_proxy: Squid, account: SearchableSecret, tmp_path: Path
) -> None:
    user = start(account.login)
    other = CertificateAuthority(tmp_path)
    user.use(office(at(secure_proxy, ProxyScheme.HTTPS), ca_file=str(other.pem)))
    page = user.fetch()
    assert "an authority that this computer does not know" in page
    assert "TP-204" in page
    assert not user.front_end.prompts
    assert not secure_proxy.accesses()
    problem = user.front_end.wait_for_status(lambda status: status.problem is not None).problem
    assert problem is not None
    assert problem.id == "TP-204"


# --- SOCKS5 --------------------------------------------------------------------------------------


def test_the_login_of_a_socks_proxy_is_prompted_for_and_saved(
    start: Start,
    keyring: KeyringSession,
    socks: Upstream,
    socks_login: Login,
    secure_origin: Origin,
    authority: CertificateAuthority,
) -> None:
    user = start(Login(socks_login.user, "wrong"), socks_login)
    user.use(Profile("socks", "Socks", socks))
    assert user.fetch() == HELLO
    trust = ("--cacert", str(authority.pem))
    assert user.get(secure_origin.url("/hello"), *trust) == "hello"
    (question,) = user.front_end.prompts
    assert (question.method, question.upstream) == ("SOCKS5", str(socks))
    assert (question.reason, question.rejections) == (PromptReason.TYPED_REJECTED, 1)
    assert question.transport is Transport.READABLE
    (entry,) = keyring.wait_for_entries(1)
    assert entry.secret == socks_login.password
    assert all(not head.values("proxy-authorization") for head in user.origin.received)


def test_a_saved_socks_password_is_used_after_a_restart(
    start: Start, keyring: KeyringSession, socks: Upstream, socks_login: Login
) -> None:
    user = start(socks_login)
    user.use(Profile("socks", "Socks", socks))
    assert user.fetch() == HELLO
    keyring.wait_for_entries(1)
    user.end()
    again = start()
    assert again.fetch() == HELLO
    assert not again.front_end.prompts


# --- several -------------------------------------------------------------------------------------


def test_an_unreachable_first_upstream_costs_no_request(
    start: Start,
    keyring: KeyringSession,
    unreachable: Upstream,
    proxy: Squid,
    account: SearchableSecret,
) -> None:
    user = start(account.login)
    user.use(office(unreachable, fallbacks=(at(proxy),)))
    assert user.fetch() == HELLO
    (question,) = user.front_end.prompts
    assert question.upstream == proxy.url
    keyring.wait_for_entries(1)
    notices = user.front_end.wait_for_status(lambda status: bool(status.notices)).notices
    assert [notice.id for notice in notices] == ["TP-206"]
    assert str(at(proxy)) in notices[0].body
    user.end()
    assert start().fetch() == HELLO
    assert proxy.failed_logons() == 0


def test_a_password_for_one_upstream_is_never_sent_to_another(
    start: Start, keyring: KeyringSession, proxy: Squid, account: SearchableSecret
) -> None:
    """Two proxies with the same realm and host name have separate logins: the prompt names the
    proxy."""
    with squid(SquidSetup(users={account.user: "another password"})) as other:
        user = start(account.login)
        user.use(office(at(proxy), fallbacks=(at(other),)))
        assert user.fetch() == HELLO
        keyring.wait_for_entries(1)
        proxy.process.end()
        waiting = user.visit()
        question = user.front_end.wait_for_prompt(lambda question: question.upstream == other.url)
        assert question.reason is PromptReason.NEEDED
        user.front_end.answer(question, Login(account.user, "another password"))
        assert waiting.result().out == HELLO
        assert other.failed_logons() == 0
        secrets = {entry.secret for entry in keyring.wait_for_entries(2)}
        assert secrets == {account.password, "another password"}


# --- directly ------------------------------------------------------------------------------------


def test_direct_connections_are_chosen_and_saved_like_a_profile(
    start: Start, proxy: Squid, account: SearchableSecret, origin: Origin
) -> None:
    user = start(account.login)
    user.use(office(at(proxy)))
    user.front_end.request_done(UseProfile(DIRECT_ID))
    status = user.front_end.wait_for_status(lambda status: status.direct)
    assert status.profile is None
    url = f"http://127.0.0.1:{origin.port}/hello"
    assert user.get(url) == "hello"
    assert user.get(url, "--proxytunnel") == "hello"
    user.end()
    again = start(account.login)
    assert again.service.status().direct
    assert again.get(url) == "hello"
    assert not proxy.accesses()
    again.front_end.request_done(UseProfile("office"))
    assert again.fetch() == HELLO
    assert not again.service.status().direct


def test_a_bypassed_request_never_carries_the_login(
    start: Start, proxy: Squid, account: SearchableSecret, origin: Origin
) -> None:
    user = start(account.login)
    rules = ("127.0.0.0/8", f"localhost:{origin.port}")
    user.use(office(at(proxy), bypass=rules))
    assert user.fetch() == HELLO  # The host name has no bypass rule.
    for host in ("127.0.0.1", "localhost"):
        assert user.get(f"http://{host}:{origin.port}/hello") == "hello"
    refused = user.get(f"http://127.0.0.1:{origin.port}/status/407", "-w", "%{http_code}")
    assert refused.endswith("502")
    assert all(not head.values("proxy-authorization") for head in origin.received)
    assert {access.target for access in proxy.accesses()} == {origin.url("/hello")}
    assert len(user.front_end.prompts) == 1


# --- the check of a profile ----------------------------------------------------------------------

Steps = dict[str, tuple[StepState, str]]
Check = Callable[..., Steps]


@pytest.fixture
def check(run: StartService, attach: AttachFrontEnd, origin: Origin) -> Check:
    """Checks a profile while another front end answers prompts with these logins."""

    def request(profile: Profile, *logins: Login) -> Steps:
        service = run()
        front_end = attach(service)
        # A front end that waits for the result of a check answers no prompts.
        attach(service, logins)
        reply = front_end.request(CheckProfile(profile, origin.url("/hello")))
        assert isinstance(reply, CheckResult), reply
        assert service.stop() == 0
        return {
            step.name: (step.state, step.problem.id if step.problem else step.detail)
            for step in reply.steps
        }

    return request


def test_a_check_reports_the_encryption_and_the_fallback(
    check: Check,
    secure_proxy: Squid,
    proxy: Squid,
    authority: CertificateAuthority,
    account: SearchableSecret,
) -> None:
    upstream = at(secure_proxy, ProxyScheme.HTTPS)
    profile = office(upstream, fallbacks=(at(proxy),), ca_file=str(authority.pem))
    steps = check(profile, account.login)
    assert {state for state, _ in steps.values()} == {StepState.OK}
    assert steps["encryption"][1].startswith("TLS 1.3, certificate by TrayProxy test authority")
    assert steps["sign-in"][1] == f"as {account.user} (Basic)"
    assert steps["fetch"][1] == "200 OK"
    assert steps["fallback"][1] == str(at(proxy))
    assert secure_proxy.failed_logons() == 0


def test_a_check_reports_an_untrusted_certificate_and_sends_nothing(
    check: Check, secure_proxy: Squid, tmp_path: Path
) -> None:
    upstream = at(secure_proxy, ProxyScheme.HTTPS)
    steps = check(office(upstream, ca_file=str(CertificateAuthority(tmp_path).pem)))
    assert steps["connect"][0] is StepState.OK
    assert steps["encryption"] == (StepState.FAILED, "TP-204")
    assert steps["challenge"][0] is StepState.NOT_TRIED
    assert not secure_proxy.accesses()


def test_a_check_of_a_socks_proxy_signs_in_and_fetches(
    check: Check, socks: Upstream, socks_login: Login, unreachable: Upstream
) -> None:
    steps = check(Profile("socks", "Socks", socks, fallbacks=(unreachable,)), socks_login)
    assert steps["encryption"] == (StepState.NOT_NEEDED, "none (socks5 proxy)")
    assert steps["challenge"][0] is StepState.OK
    assert steps["sign-in"] == (StepState.OK, f"as {socks_login.user} (SOCKS5)")
    assert steps["fetch"] == (StepState.OK, "200 Test")
    assert steps["fallback"] == (StepState.FAILED, "TP-202")


def test_a_check_of_a_socks_proxy_without_sign_in_needs_no_login(check: Check) -> None:
    with socks_proxy({}, "www.test.lan") as port:
        profile = Profile("s", "S", Upstream("127.0.0.1", port, ProxyScheme.SOCKS5))
        steps = check(profile)
        assert steps["challenge"] == (StepState.NOT_NEEDED, "the proxy does not ask")
        assert steps["fetch"][0] is StepState.OK
        assert check(replace(profile, sign_in=SignIn.NONE))["fetch"][0] is StepState.OK
