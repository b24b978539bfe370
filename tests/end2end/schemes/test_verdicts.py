"""Verdicts of upstreams and directories other than accepted and rejected, and their effects."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import pytest

from tests.end2end.scenario import HELLO, StartWithProfile, UserSession
from tests.support.counterparts import Counterpart
from tests.support.digest_proxy import Demands, DigestProxy
from tests.support.kerberos import Kdc
from tests.support.octets import write
from tests.support.origin import Origin
from tests.support.processes import Job
from tests.support.reports import Reports
from tests.support.searchable_secret import SearchableSecret
from tests.support.squid import ALL_SCHEMES, NegotiateHelper, Squid, SquidSetup, squid
from tests.support.tls import CertificateAuthority
from trayproxy.auth.login import Login
from trayproxy.domain.signin import Ending, Prompt, PromptReason
from trayproxy.profiles.profile import Method, ProxyScheme, Upstream

STATUS = ("-w", "\n%{http_code}")


@pytest.fixture
def setup(account: SearchableSecret, directory: Kdc) -> SquidSetup:
    """A Squid with all schemes, and a user with the same password for each scheme."""
    return SquidSetup(
        {account.user: account.password},
        ALL_SCHEMES,
        negotiate=NegotiateHelper.KERBEROS,
        keytab=directory.keytab("localhost", "127.0.0.1"),
        environment=directory.environment,
    )


@dataclass(frozen=True, slots=True)
class StartBehindSquid:
    """Runs a Squid, and starts a service for it (`StartWithProfile`)."""

    start: StartWithProfile
    user: str
    stack: ExitStack
    reports: Reports

    def __call__(
        self, setup: SquidSetup, environment: Mapping[str, str] = MappingProxyType({}), **more: Any
    ) -> tuple[Squid, UserSession]:
        running = self.stack.enter_context(squid(setup))
        self.reports["squid"] = running.describe
        scheme = ProxyScheme.HTTPS if setup.pem else ProxyScheme.HTTP
        upstream = Upstream(running.host, running.port, scheme)
        return running, self.start(upstream, self.user, environment, **more)


@pytest.fixture
def start_behind(
    reports: Reports, start_with_profile: StartWithProfile, account: SearchableSecret
) -> Iterator[StartBehindSquid]:
    with ExitStack() as stack:
        yield StartBehindSquid(start_with_profile, account.user, stack, reports)


# --- The directory -------------------------------------------------------------------------------


@pytest.mark.parametrize("proxy", ["squid-kerberos"], indirect=True)
@pytest.mark.parametrize("why", [PromptReason.EXPIRED, PromptReason.LOCKED])
def test_the_directorys_reason_for_a_rejection_is_reported(
    proxy: Counterpart, directory: Kdc, user: UserSession, why: PromptReason
) -> None:
    if why is PromptReason.LOCKED:
        directory.disable(proxy.right.user)
    else:
        directory.expire(proxy.right.user)
    user.visit()
    user.front_end.answer(user.front_end.wait_for_prompt(), proxy.right)
    user.front_end.wait_for_prompt(lambda question: question.reason is why)
    assert proxy.failed_logons() == 0


def test_an_unreachable_directory_leaves_the_other_schemes(
    setup: SquidSetup, start_behind: StartBehindSquid, account: SearchableSecret, directory: Kdc
) -> None:
    """Kerberos is the strongest on offer; its failure says nothing about the password."""
    proxy, user = start_behind(setup, directory.elsewhere())
    assert user.sign_in(account.login) == HELLO
    assert user.front_end.wait_for_ending(user.front_end.prompts[0]) is Ending.ACCEPTED
    assert len(user.front_end.prompts) == 1
    assert set(proxy.verdicts("ntlm")) == {"yes"}
    assert proxy.failed_logons() == 0


@pytest.fixture
def silence() -> Iterator[int]:
    """A port of TCP and UDP on which all octets are received and none is answered."""
    with socket.socket() as stream:
        stream.bind(("127.0.0.1", 0))
        stream.listen()
        port: int = stream.getsockname()[1]
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            datagrams.bind(("127.0.0.1", port))
            yield port


Silenced = tuple[Squid, UserSession, str]


@pytest.fixture
def silenced(
    setup: SquidSetup, start_behind: StartBehindSquid, directory: Kdc, origin: Origin, silence: int
) -> Silenced:
    """A Squid, a user whose service gets no answer of the KDC, and a URL of a direct route."""
    direct = f"localhost:{origin.port}"
    setup = replace(setup, schemes=("negotiate",))
    proxy, user = start_behind(setup, directory.elsewhere(silence), bypass=(direct,))
    return proxy, user, f"http://{direct}/hello"


def test_a_silent_directory_delays_neither_other_requests_nor_the_end_of_the_service(
    silenced: Silenced, account: SearchableSecret
) -> None:
    """libkrb5 waits for half a minute, and cannot be interrupted."""
    _, user, direct = silenced
    waiting = user.visit()
    user.front_end.answer(user.front_end.wait_for_prompt(), account.login)
    user.front_end.wait_for_prompt(lambda question: question.checking)
    assert user.curl(*STATUS, direct).result().out == HELLO
    assert waiting.process.running
    assert user.service.stop() == 0


def test_a_silent_directory_is_reported_and_the_password_is_not_called_wrong(
    silenced: Silenced, account: SearchableSecret
) -> None:
    """libkrb5 gives up after half a minute, once for all waiting requests."""
    proxy, user, direct = silenced
    waiting = [user.visit() for _ in range(3)]
    user.front_end.answer(user.front_end.wait_for_prompt(lambda q: q.waiting == 3), account.login)
    user.front_end.wait_for_prompt(lambda q: q.checking)
    assert user.curl(*STATUS, direct).result().out == HELLO
    for job in waiting:
        page = job.result().out
        assert page.endswith("503")
        assert "The sign-in server cannot be reached" in page
        assert "TP-303" in page
    status = user.front_end.wait_for_status(lambda status: bool(status.notices))
    assert [notice.id for notice in status.notices] == ["TP-303"]
    assert {(q.number, q.rejections) for q in user.front_end.prompts} == {(1, 0)}
    assert proxy.failed_logons() == 0


# --- The address ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ALL_SCHEMES)
def test_a_forbidden_address_is_reported_and_the_password_is_not_called_wrong(
    setup: SquidSetup,
    start_behind: StartBehindSquid,
    account: SearchableSecret,
    directory: Kdc,
    scheme: str,
) -> None:
    """A rule that ends in ``proxy_auth`` lets Squid answer 407 to a right password."""
    rules = (
        "acl boss proxy_auth boss",
        "acl secret urlpath_regex ^/status",
        "http_access deny secret !boss",
    )
    if scheme == "negotiate":
        directory.add_user(account.user, account.password)
    setup = replace(setup, schemes=(scheme,), rules=rules)
    _, user = start_behind(setup, directory.environment)
    assert user.sign_in(account.login) == HELLO
    for _ in range(3):
        assert "TP-306" in user.curl(user.origin.url("/status/200")).result().out
    assert user.fetch() == HELLO
    assert len(user.front_end.prompts) == 1


# --- The connection ------------------------------------------------------------------------------


def test_a_sign_in_by_ntlm_inside_tls_is_accepted(
    setup: SquidSetup,
    start_behind: StartBehindSquid,
    account: SearchableSecret,
    authority: CertificateAuthority,
) -> None:
    setup = replace(setup, pem=authority.issue("127.0.0.1").pem)
    proxy, user = start_behind(setup, ca_file=str(authority.pem), method=Method.NTLM)
    assert user.sign_in(account.login) == HELLO
    # A preconnect is bound to the certificate in the same way. A tunnel consumes its connection;
    # the connection of a request without a tunnel would be ready for the next request.
    tunnel = ("--proxytunnel", user.origin.url("/hello"))
    assert user.curl(*STATUS, *tunnel).result().out == HELLO
    proxy.wait_for_answers("HEAD", 504, 1)
    assert set(proxy.verdicts("ntlm")) == {"yes"}


def test_exhausted_nonces_are_renewed_without_a_prompt(
    setup: SquidSetup, start_behind: StartBehindSquid, account: SearchableSecret
) -> None:
    options = (
        "auth_param digest nonce_max_count 5",
        "auth_param digest nonce_strictness on",
        "auth_param digest check_nonce_count on",
    )
    proxy, user = start_behind(replace(setup, schemes=("digest",), options=options))
    assert user.sign_in(account.login) == HELLO
    urls = [user.origin.url("/hello")] * 60
    got = user.curl("--parallel", "--parallel-max", "20", *urls).result()
    assert got.out.split() == ["hello"] * 60
    assert len(user.front_end.prompts) == 1
    assert proxy.failed_logons() == 0


# --- Digest at a proxy of the tests --------------------------------------------------------------


def post(user: UserSession, size: int) -> Job:
    """Start an upload, with its content sent at once."""
    body = write(user.clients.home.root / "body", size)
    data = ("--data-binary", f"@{body}", "-H", "Expect:")
    return user.curl(*STATUS, *data, user.origin.url("/sha256"))


def test_content_too_large_to_be_signed_is_refused_by_the_service(
    start_with_profile: StartWithProfile, account: SearchableSecret
) -> None:
    """``qop=auth-int`` alone: without the content of the request, the login cannot be tried."""
    with DigestProxy(account.login, Demands(qop="auth-int")) as proxy:
        user = start_with_profile(Upstream(proxy.host, proxy.port), account.user)
        assert user.sign_in(account.login) == HELLO
        assert "TP-303" in post(user, 5_000_000).result().out
        tunnel = ("--proxytunnel", user.origin.url("/hello"))
        assert user.curl(*STATUS, *tunnel).result().out == HELLO
        assert len(user.front_end.prompts) == 1
        assert proxy.failed_logons() == 0


def wait_for_doubt(user: UserSession) -> Prompt:
    """Wait until the verdict on the login of the prompt is unclear."""
    return user.front_end.wait_for_prompt(
        lambda prompt: prompt.reason is PromptReason.UNCLEAR and not prompt.checking
    )


def test_no_password_is_called_wrong_when_a_farm_refuses_its_own_nonces(
    start_with_profile: StartWithProfile, account: SearchableSecret
) -> None:
    """Two proxies share a name. Each closes the connection after its 407, so the other proxy gets
    the credentials, and refuses the nonce without ``stale``."""
    with DigestProxy(account.login, Demands(closes=True, machines=2)) as farm:
        user = start_with_profile(Upstream(farm.host, farm.port), account.user)
        waiting = user.visit()
        user.front_end.answer(user.front_end.wait_for_prompt(), account.login)
        again = wait_for_doubt(user)
        another = user.visit()
        user.front_end.wait_for_prompt(lambda q: q.waiting == 2)
        assert farm.failed_logons() == 1
        user.front_end.decline(again)
        assert [job.result().out.split()[-1] for job in (waiting, another)] == ["503", "503"]
        assert [verdict.fault for verdict in farm.verdicts] == ["an unknown nonce"]


def test_a_proxy_that_closes_with_each_407_accepts_the_right_password_at_once(
    start_with_profile: StartWithProfile, account: SearchableSecret
) -> None:
    with DigestProxy(account.login, Demands(closes=True)) as proxy:
        user = start_with_profile(Upstream(proxy.host, proxy.port), account.user)
        waiting = user.visit()
        wrong = Login(account.user, f"{account.password}-")
        user.front_end.answer(user.front_end.wait_for_prompt(), wrong)
        again = wait_for_doubt(user)
        assert proxy.failed_logons() == 1
        user.front_end.answer(again, account.login)
        assert waiting.result().out == HELLO
        assert proxy.failed_logons() == 1


def test_a_farm_with_persistent_connections_accepts_the_right_password_of_an_upload(
    start_with_profile: StartWithProfile, account: SearchableSecret
) -> None:
    """Each proxy answers the 407 of an upload on a connection that is not used again."""
    with DigestProxy(account.login, Demands(machines=2)) as farm:
        user = start_with_profile(Upstream(farm.host, farm.port), account.user)
        waiting = post(user, 1_000)
        first = user.front_end.wait_for_prompt()
        user.front_end.answer(first, Login(account.user, f"{account.password}-"))
        again = user.front_end.wait_for_prompt(lambda q: q.rejections == 1 and not q.checking)
        assert again.reason is PromptReason.TYPED_REJECTED
        assert farm.failed_logons() == 1
        user.front_end.answer(again, account.login)
        assert waiting.result().out.endswith("200")
        for _ in range(4):
            assert post(user, 1_000).result().out.endswith("200")
        assert len(user.front_end.prompts) == 1
