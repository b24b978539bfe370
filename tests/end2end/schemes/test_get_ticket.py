"""The own sign-in that requests a Kerberos ticket with a saved password (`Profile.get_ticket`)."""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from tests.end2end.scenario import HELLO, StartWithProfile, UserSession
from tests.support.concurrent_connects import ConcurrentConnects
from tests.support.counterparts import Counterpart
from tests.support.kerberos import Kdc, kdc
from tests.support.process_output import PATIENCE
from tests.support.processes import Home
from trayproxy.auth.scheme import VerdictKind
from trayproxy.auth.spnego import KerberosTickets
from trayproxy.auth.windows import TokenError
from trayproxy.control.messages import Done, Failed, KeptInMemory, SaveLogin
from trayproxy.domain.signin import PromptReason
from trayproxy.profiles.profile import SignIn

pytestmark = pytest.mark.parametrize("proxy", ["squid-kerberos"], indirect=True)


@pytest.fixture(scope="module")
def directory() -> Iterator[Kdc]:
    """A directory without a clock skew, so that tickets end on time."""
    with kdc(skew_s=1) as running:
        yield running


@pytest.fixture
def cache(place: Home) -> Path:
    """The file with the Kerberos ticket of the logged-on user."""
    return place.root / "ticket"


@pytest.fixture
def user(proxy: Counterpart, cache: Path, start_with_profile: StartWithProfile) -> UserSession:
    environment = {**proxy.environment, "KRB5CCNAME": f"FILE:{cache}"}
    return start_with_profile(
        proxy.upstream, proxy.right.user, environment, sign_in=SignIn.SSO, get_ticket=True
    )


def tunnel(user: UserSession) -> str:
    """Open a tunnel, which needs a new connection; return the status of the CONNECT."""
    url = user.origin.url("/hello")
    return user.get(url, "--proxytunnel", "-o", "/dev/null", "-w", "%{http_connect}")


def test_without_a_ticket_the_password_gets_one(
    proxy: Counterpart, directory: Kdc, cache: Path, user: UserSession
) -> None:
    assert user.sign_in(proxy.right) == HELLO
    assert [tunnel(user) for _ in range(3)] == ["200"] * 3
    assert directory.logons(proxy.right.user) == 1
    assert proxy.failed_logons() == 0
    assert len(user.front_end.prompts) == 1
    assert not cache.exists()  # No other program gets the ticket.


def test_with_a_ticket_neither_a_prompt_nor_a_log_on_is_needed(
    proxy: Counterpart, directory: Kdc, cache: Path, user: UserSession
) -> None:
    directory.ticket(proxy.right.user, proxy.right.password, cache)
    before = directory.logons(proxy.right.user)
    assert user.fetch() == HELLO
    assert tunnel(user) == "200"
    assert directory.logons(proxy.right.user) == before
    assert user.front_end.prompts == []


@pytest.mark.parametrize("count", [1, 50])
def test_a_wrong_password_costs_one_failed_log_on(
    proxy: Counterpart, user: UserSession, count: int
) -> None:
    front_end = user.front_end
    with ConcurrentConnects(user.service.address, user.origin.authority, count) as connects:
        front_end.answer(front_end.wait_for_prompt(lambda q: q.waiting == count), proxy.wrong)
        again = front_end.wait_for_prompt(lambda q: q.rejections == 1 and not q.checking)
        assert proxy.failed_logons() == 1
        front_end.answer(again, proxy.right)
        assert connects.statuses() == [200] * count
    assert proxy.failed_logons() == 1


@pytest.mark.parametrize("renews", [True, False])
def test_a_wrong_password_is_not_sent_to_the_primary_server_once_more(
    proxy: Counterpart, directory: Kdc, monkeypatch: pytest.MonkeyPatch, renews: bool
) -> None:
    for name, value in directory.as_replica().items():
        monkeypatch.setenv(name, value)
    tickets = KerberosTickets(proxy.wrong, "localhost", renews=renews)
    with pytest.raises(TokenError) as caught:
        tickets.token(b"")
    assert caught.value.verdict.kind is VerdictKind.REJECTED
    assert proxy.failed_logons() == 1


def test_a_password_of_the_command_line_is_checked_by_the_sign_in_server(
    proxy: Counterpart, user: UserSession
) -> None:
    reply = user.front_end.request(SaveLogin("office", proxy.wrong))
    assert isinstance(reply, Failed)
    assert reply.problem.id == "TP-302"
    assert proxy.failed_logons() == 1
    again = user.front_end.request(SaveLogin("office", proxy.wrong, is_typed=False))
    assert isinstance(again, Failed)
    assert proxy.failed_logons() == 1
    assert isinstance(user.front_end.request(SaveLogin("office", proxy.right)), Done | KeptInMemory)
    assert user.fetch() == HELLO
    assert proxy.failed_logons() == 1
    assert user.front_end.prompts == []


def test_a_password_of_the_command_line_that_was_changed_is_sent_once(
    proxy: Counterpart, directory: Kdc, user: UserSession
) -> None:
    directory.limit_tickets(proxy.right.user, "2 seconds")
    user.front_end.request(SaveLogin("office", proxy.right))
    assert user.fetch() == HELLO
    directory.set_password(proxy.right.user, "changed since then")
    until = monotonic() + PATIENCE
    while not user.front_end.prompts:
        user.get(user.origin.url("/hello"), "--proxytunnel", "--max-time", "0.5")
        assert monotonic() < until
    assert proxy.failed_logons() == 1
    user.get(user.origin.url("/hello"), "--proxytunnel", "--max-time", "0.5")
    assert proxy.failed_logons() == 1


def test_a_ticket_that_ends_is_replaced_without_a_failed_request(
    proxy: Counterpart, directory: Kdc, cache: Path, user: UserSession
) -> None:
    directory.ticket(proxy.right.user, proxy.right.password, cache, "-l", "2s")
    assert user.fetch() == HELLO
    user.front_end.request(SaveLogin("office", proxy.right))
    before = directory.logons(proxy.right.user)
    until = monotonic() + PATIENCE
    while directory.logons(proxy.right.user) == before:
        assert tunnel(user) == "200"
        assert monotonic() < until
    assert not directory.is_valid(cache)
    assert proxy.failed_logons() == 0
    assert user.front_end.prompts == []


def test_an_expired_password_is_told(proxy: Counterpart, directory: Kdc, user: UserSession) -> None:
    directory.expire(proxy.right.user)
    waiting = user.visit()
    user.front_end.answer(user.front_end.wait_for_prompt(), proxy.right)
    user.front_end.wait_for_prompt(lambda q: q.reason is PromptReason.EXPIRED)
    waiting.process.end()


def test_an_unreachable_sign_in_server_is_no_verdict(
    proxy: Counterpart, directory: Kdc, user: UserSession
) -> None:
    directory.stop()
    try:
        waiting = user.visit()
        user.front_end.answer(user.front_end.wait_for_prompt(), proxy.right)
        assert "The sign-in server cannot be reached" in waiting.result().out
    finally:
        directory.start_again()
    until = monotonic() + PATIENCE
    while "cannot be reached" in (said := user.fetch()):
        assert monotonic() < until
    assert said == HELLO
    assert len(user.front_end.prompts) == 1


def test_the_ticket_is_renewed_before_it_ends(
    proxy: Counterpart, directory: Kdc, user: UserSession
) -> None:
    directory.limit_tickets(proxy.right.user, "3 seconds")
    assert user.sign_in(proxy.right) == HELLO
    until = monotonic() + PATIENCE
    while directory.logons(proxy.right.user) < 2:
        assert tunnel(user) == "200"
        assert monotonic() < until
    assert len(user.front_end.prompts) == 1
    assert proxy.failed_logons() == 0
