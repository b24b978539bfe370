"""Upstreams of every kind, all real: Squid inside TLS, SOCKS5, several, and none at all."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.end2end.scenario import AttachFrontEnd, StartService
from tests.support.clients import Clients
from tests.support.front_end import FrontEnd
from tests.support.keyring_session import KeyringSession
from tests.support.origin import Origin
from tests.support.searchable_secret import SearchableSecret
from tests.support.service import ServiceProcess
from tests.support.socks_proxy import socks_proxy
from tests.support.squid import Squid, SquidSetup, squid
from tests.support.tls import CertificateAuthority
from trayproxy.auth.login import Login
from trayproxy.control.messages import CheckProfile, CheckResult, SaveProfile, StepState, UseProfile
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
    """An upstream that speaks SOCKS5."""
    with socks_proxy({socks_login.user: socks_login.password}, "www.test.lan") as port:
        yield Upstream("127.0.0.1", port, ProxyScheme.SOCKS5)


@pytest.fixture
def nobody() -> Iterator[Upstream]:
    """An upstream that is not there."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield Upstream("127.0.0.1", bound.getsockname()[1])


def at(proxy: Squid, scheme: ProxyScheme = ProxyScheme.HTTP) -> Upstream:
    return Upstream(proxy.host, proxy.port, scheme)


def use(front_end: FrontEnd, profile: Profile) -> None:
    front_end.request_done(SaveProfile(profile))
    front_end.request_done(UseProfile(profile.id))


Fetch = Callable[..., str]


@pytest.fixture
def fetch(clients: Clients) -> Fetch:
    """Return the response that curl gets through a service."""

    def run(service: ServiceProcess, url: str, *arguments: str) -> str:
        return clients.curl("-x", service.url, *arguments, url).result().out

    return run


def status_of(fetch: Fetch, service: ServiceProcess, url: str) -> str:
    return fetch(service, url, "-o", "/dev/null", "-w", "%{http_code}")


# --- https ---------------------------------------------------------------------------------------


def test_a_sign_in_to_an_https_proxy_is_asked_for_as_encrypted_and_kept(
    run: StartService,
    attach: AttachFrontEnd,
    keyring: KeyringSession,
    secure_proxy: Squid,
    authority: CertificateAuthority,
    account: SearchableSecret,
    fetch: Fetch,
    origin: Origin,
    secure_origin: Origin,
) -> None:
    service = run(session=keyring)
    front_end = attach(service, [account.login])
    upstream = at(secure_proxy, ProxyScheme.HTTPS)
    use(front_end, Profile("office", "Office", upstream, ca_file=str(authority.pem)))
    assert fetch(service, origin.url("/hello")) == "hello"
    tunnel = fetch(service, secure_origin.url("/hello"), "--cacert", str(authority.pem))
    assert tunnel == "hello"
    (question,) = front_end.prompts
    assert question.upstream == secure_proxy.url
    assert question.transport is Transport.ENCRYPTED
    (entry,) = keyring.wait_for_entries(1)
    assert entry.secret == account.password
    assert secure_proxy.failed_logons() == 0


def test_a_certificate_that_is_not_believed_stops_everything(
    run: StartService,
    attach: AttachFrontEnd,
    secure_proxy: Squid,
    account: SearchableSecret,
    fetch: Fetch,
    origin: Origin,
    tmp_path: Path,
) -> None:
    service = run()
    front_end = attach(service, [account.login])
    other = CertificateAuthority(tmp_path)
    upstream = at(secure_proxy, ProxyScheme.HTTPS)
    use(front_end, Profile("office", "Office", upstream, ca_file=str(other.pem)))
    page = fetch(service, origin.url("/hello"))
    assert "an authority that this computer does not know" in page
    assert "TP-204" in page
    assert not front_end.prompts
    assert not secure_proxy.accesses()
    problem = front_end.wait_for_status(lambda status: status.problem is not None).problem
    assert problem is not None
    assert problem.id == "TP-204"


# --- SOCKS5 --------------------------------------------------------------------------------------


def test_a_sign_in_to_a_socks_proxy_is_asked_for_and_kept(
    run: StartService,
    attach: AttachFrontEnd,
    keyring: KeyringSession,
    socks: Upstream,
    socks_login: Login,
    fetch: Fetch,
    origin: Origin,
    secure_origin: Origin,
    authority: CertificateAuthority,
) -> None:
    service = run(session=keyring)
    front_end = attach(service, [Login(socks_login.user, "wrong"), socks_login])
    use(front_end, Profile("socks", "Socks", socks))
    assert fetch(service, origin.url("/hello")) == "hello"
    tunnel = fetch(service, secure_origin.url("/hello"), "--cacert", str(authority.pem))
    assert tunnel == "hello"
    (question,) = front_end.prompts
    assert (question.method, question.upstream) == ("SOCKS5", str(socks))
    assert (question.reason, question.rejections) == (PromptReason.TYPED_REJECTED, 1)
    assert question.transport is Transport.READABLE
    (entry,) = keyring.wait_for_entries(1)
    assert entry.secret == socks_login.password
    assert all(not head.values("proxy-authorization") for head in origin.received)


def test_a_saved_socks_password_is_used_after_a_restart(
    run: StartService,
    attach: AttachFrontEnd,
    keyring: KeyringSession,
    socks: Upstream,
    socks_login: Login,
    fetch: Fetch,
    origin: Origin,
) -> None:
    service = run(session=keyring)
    use(attach(service, [socks_login]), Profile("socks", "Socks", socks))
    assert fetch(service, origin.url("/hello")) == "hello"
    keyring.wait_for_entries(1)
    service.stop()
    again = run(session=keyring)
    front_end = attach(again)
    assert fetch(again, origin.url("/hello")) == "hello"
    assert not front_end.prompts


# --- several -------------------------------------------------------------------------------------


def test_a_dead_first_upstream_costs_nobody_an_answer(
    run: StartService,
    attach: AttachFrontEnd,
    keyring: KeyringSession,
    nobody: Upstream,
    proxy: Squid,
    account: SearchableSecret,
    fetch: Fetch,
    origin: Origin,
) -> None:
    service = run(session=keyring)
    front_end = attach(service, [account.login])
    use(front_end, Profile("office", "Office", nobody, fallbacks=(at(proxy),)))
    assert fetch(service, origin.url("/hello")) == "hello"
    (question,) = front_end.prompts
    assert question.upstream == proxy.url
    keyring.wait_for_entries(1)
    notices = front_end.wait_for_status(lambda status: bool(status.notices)).notices
    assert [notice.id for notice in notices] == ["TP-206"]
    assert str(at(proxy)) in notices[0].body
    service.stop()
    again = run(session=keyring)
    assert fetch(again, origin.url("/hello")) == "hello"
    assert proxy.failed_logons() == 0


def test_a_password_for_one_upstream_is_never_sent_to_another(
    run: StartService,
    attach: AttachFrontEnd,
    keyring: KeyringSession,
    proxy: Squid,
    account: SearchableSecret,
    clients: Clients,
    origin: Origin,
) -> None:
    """The same realm below the same name is not the same proxy: the person is asked by its name."""
    with squid(SquidSetup(users={account.user: "another password"})) as other:
        service = run(session=keyring)
        front_end = attach(service, [account.login])
        use(front_end, Profile("office", "Office", at(proxy), fallbacks=(at(other),)))
        assert clients.curl("-x", service.url, origin.url("/hello")).result().out == "hello"
        keyring.wait_for_entries(1)
        proxy.process.end()
        waiting = clients.curl("-x", service.url, origin.url("/hello"))
        question = front_end.wait_for_prompt(lambda question: question.upstream == other.url)
        assert question.reason is PromptReason.NEEDED
        front_end.answer(question, Login(account.user, "another password"))
        assert waiting.result().out == "hello"
        assert other.failed_logons() == 0
        secrets = {entry.secret for entry in keyring.wait_for_entries(2)}
        assert secrets == {account.password, "another password"}


# --- directly ------------------------------------------------------------------------------------


def test_connecting_directly_is_chosen_and_kept_like_a_profile(
    run: StartService,
    attach: AttachFrontEnd,
    proxy: Squid,
    account: SearchableSecret,
    fetch: Fetch,
    origin: Origin,
) -> None:
    service = run()
    front_end = attach(service, [account.login])
    use(front_end, Profile("office", "Office", at(proxy)))
    front_end.request_done(UseProfile(DIRECT_ID))
    status = front_end.wait_for_status(lambda status: status.direct)
    assert status.profile is None
    user = f"http://127.0.0.1:{origin.port}/hello"
    assert fetch(service, user) == "hello"
    assert fetch(service, user, "--proxytunnel") == "hello"
    service.stop()
    again = run()
    assert again.status().direct
    assert fetch(again, user) == "hello"
    assert not proxy.accesses()
    other_front_end = attach(again, [account.login])
    other_front_end.request_done(UseProfile("office"))
    assert fetch(again, origin.url("/hello")) == "hello"
    assert not again.status().direct


def test_a_bypassed_request_never_carries_the_login(
    run: StartService,
    attach: AttachFrontEnd,
    proxy: Squid,
    account: SearchableSecret,
    fetch: Fetch,
    origin: Origin,
) -> None:
    service = run()
    front_end = attach(service, [account.login])
    rules = ("127.0.0.0/8", f"localhost:{origin.port}")
    use(front_end, Profile("office", "Office", at(proxy), bypass=rules))
    assert fetch(service, origin.url("/hello")) == "hello"  # By its name: through the proxy.
    for host in ("127.0.0.1", "localhost"):
        assert fetch(service, f"http://{host}:{origin.port}/hello") == "hello"
    refused = fetch(service, f"http://127.0.0.1:{origin.port}/status/407", "-w", "%{http_code}")
    assert refused.endswith("502")
    assert all(not head.values("proxy-authorization") for head in origin.received)
    assert {access.target for access in proxy.accesses()} == {origin.url("/hello")}
    assert len(front_end.prompts) == 1


# --- trying a profile ----------------------------------------------------------------------------


def check(front_end: FrontEnd, profile: Profile, url: str) -> dict[str, tuple[StepState, str]]:
    reply = front_end.request(CheckProfile(profile, url))
    assert isinstance(reply, CheckResult), reply
    return {
        step.name: (step.state, step.problem.id if step.problem else step.detail)
        for step in reply.steps
    }


def test_a_check_tells_how_the_connection_is_encrypted_and_who_stands_in(
    run: StartService,
    attach: AttachFrontEnd,
    secure_proxy: Squid,
    proxy: Squid,
    authority: CertificateAuthority,
    account: SearchableSecret,
    origin: Origin,
) -> None:
    service = run()
    front_end = attach(service)
    attach(
        service, [account.login]
    )  # A front end that waits for a check answers nothing meanwhile.
    profile = Profile(
        "office",
        "Office",
        at(secure_proxy, ProxyScheme.HTTPS),
        fallbacks=(at(proxy),),
        ca_file=str(authority.pem),
    )
    steps = check(front_end, profile, origin.url("/hello"))
    assert {state for state, _ in steps.values()} == {StepState.OK}
    assert steps["encryption"][1].startswith("TLS 1.3, certificate by TrayProxy test authority")
    assert steps["sign-in"][1] == f"as {account.user} (Basic)"
    assert steps["fetch"][1] == "200 OK"
    assert steps["fallback"][1] == str(at(proxy))
    assert secure_proxy.failed_logons() == 0


def test_a_check_says_why_a_certificate_is_not_believed_and_sends_nothing(
    run: StartService, attach: AttachFrontEnd, secure_proxy: Squid, origin: Origin, tmp_path: Path
) -> None:
    front_end = attach(run())
    profile = Profile(
        "office",
        "Office",
        at(secure_proxy, ProxyScheme.HTTPS),
        ca_file=str(CertificateAuthority(tmp_path).pem),
    )
    steps = check(front_end, profile, origin.url("/hello"))
    assert steps["connect"][0] is StepState.OK
    assert steps["encryption"] == (StepState.FAILED, "TP-204")
    assert steps["challenge"][0] is StepState.NOT_TRIED
    assert not secure_proxy.accesses()


def test_a_check_of_a_socks_proxy_signs_in_and_fetches(
    run: StartService,
    attach: AttachFrontEnd,
    socks: Upstream,
    socks_login: Login,
    origin: Origin,
    nobody: Upstream,
) -> None:
    service = run()
    front_end = attach(service)
    attach(service, [socks_login])
    profile = Profile("socks", "Socks", socks, fallbacks=(nobody,))
    steps = check(front_end, profile, origin.url("/hello"))
    assert steps["encryption"] == (StepState.NOT_NEEDED, "none (socks5 proxy)")
    assert steps["challenge"][0] is StepState.OK
    assert steps["sign-in"] == (StepState.OK, f"as {socks_login.user} (SOCKS5)")
    assert steps["fetch"] == (StepState.OK, "200 Test")
    assert steps["fallback"] == (StepState.FAILED, "TP-202")


def test_a_check_of_a_socks_proxy_without_sign_in_needs_none(
    run: StartService, attach: AttachFrontEnd, origin: Origin
) -> None:
    with socks_proxy({}, "www.test.lan") as port:
        upstream = Upstream("127.0.0.1", port, ProxyScheme.SOCKS5)
        front_end = attach(run())
        steps = check(front_end, Profile("s", "S", upstream), origin.url("/hello"))
        assert steps["challenge"] == (StepState.NOT_NEEDED, "the proxy does not ask")
        assert steps["fetch"][0] is StepState.OK
        none = replace(Profile("s", "S", upstream), sign_in=SignIn.NONE)
        assert check(front_end, none, origin.url("/hello"))["fetch"][0] is StepState.OK
