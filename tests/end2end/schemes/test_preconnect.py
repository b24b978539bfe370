"""Preconnects through a real Squid: the number of messages and log-ons of each tunnel.

Squid logs a CONNECT at the end of its tunnel, so the log entries of preconnects are checked
separately.
"""

import pytest

from tests.end2end.scenario import StartWithProfile, UserSession
from tests.support.concurrent_connects import ConcurrentConnects
from tests.support.counterparts import Counterpart
from tests.support.recording_relay import RecordingRelay
from tests.support.searchable_secret import SearchableSecret
from tests.support.squid import AccessLogEntry, MessageKind, Squid, SquidSetup, squid
from trayproxy.auth.login import Login
from trayproxy.profiles.profile import Upstream

TUNNELS = 5
NOT_CACHED = 504
"""The status code of Squid's response to a preconnect."""


def open_tunnel(user: UserSession) -> None:
    with ConcurrentConnects(user.service.address, user.origin.authority, 1) as connects:
        assert connects.statuses() == [200]


def sign_in(user: UserSession, login: Login) -> None:
    """Open the first tunnel, and answer its prompt."""
    with ConcurrentConnects(user.service.address, user.origin.authority, 1) as connects:
        user.front_end.answer(user.front_end.wait_for_prompt(), login)
        assert connects.statuses() == [200]


def requests(proxy: Squid, method: str) -> list[AccessLogEntry]:
    return [access for access in proxy.accesses() if access.method == method]


ntlm = pytest.mark.parametrize(
    "proxy", ["squid-ntlm", "squid-ntlm-closing", "squid-spnego-ntlm"], indirect=True
)


@ntlm
def test_from_the_second_tunnel_on_each_tunnel_takes_one_round_trip(
    proxy: Counterpart, user: UserSession
) -> None:
    assert proxy.squid
    sign_in(user, proxy.right)
    for count in range(1, TUNNELS):
        proxy.squid.wait_for_answers("HEAD", NOT_CACHED, count)
        open_tunnel(user)
    proxy.squid.wait_for_answers("HEAD", NOT_CACHED, TUNNELS)
    proxy.squid.wait_for_answers("CONNECT", 200, TUNNELS)
    connects = requests(proxy.squid, "CONNECT")
    bare = [access for access in connects if access.status == 200 and not access.scheme]
    assert len(bare) == TUNNELS - 1
    assert [access.status for access in connects[-len(bare) :]] == [200] * len(bare)
    # The number of log-ons is the number of connections, including the ready connection.
    scheme = "ntlm" if proxy.method == "NTLM" else "negotiate"
    assert proxy.squid.verdicts(scheme).count("yes") == TUNNELS + 1
    assert proxy.squid.failed_logons() == 0
    assert user.origin.received == ()
    assert user.service.status().active == 0


@pytest.mark.parametrize("proxy", ["squid-kerberos"], indirect=True)
def test_with_a_ticket_each_tunnel_takes_one_round_trip_and_there_are_no_preconnects(
    proxy: Counterpart, user: UserSession
) -> None:
    assert proxy.squid
    sign_in(user, proxy.right)
    for _ in range(1, TUNNELS):
        open_tunnel(user)
    proxy.squid.wait_for_answers("CONNECT", 200, TUNNELS)
    connects = requests(proxy.squid, "CONNECT")
    assert [access.status for access in connects] == [407] + [200] * TUNNELS
    assert requests(proxy.squid, "HEAD") == []
    assert proxy.squid.verdicts("negotiate") == ["yes"] * TUNNELS


def test_a_refused_preconnect_is_neither_repeated_nor_followed_by_a_prompt(
    start_with_profile: StartWithProfile, account: SearchableSecret
) -> None:
    """A rule that ends in ``proxy_auth`` lets Squid answer 407 to a right password."""
    rules = ("acl boss proxy_auth boss", "acl heads method HEAD", "http_access deny heads !boss")
    setup = SquidSetup({account.user: account.password}, ("ntlm",), rules=rules)
    with squid(setup) as proxy:
        user = start_with_profile(Upstream(proxy.host, proxy.port), account.user)
        sign_in(user, account.login)
        proxy.wait_for_answers("HEAD", 407, 2)
        for _ in range(TUNNELS):
            open_tunnel(user)
        heads = requests(proxy, "HEAD")
        preconnects = [head for head in heads if head.kind is MessageKind.CREDENTIALS]
        assert [access.status for access in preconnects] == [407]
        assert proxy.failed_logons() == 0
        assert len(user.front_end.prompts) == 1


def test_a_changed_password_costs_no_more_log_ons_than_without_preconnects(
    start_with_profile: StartWithProfile, account: SearchableSecret
) -> None:
    """A refused request is followed by the service's own request to another address, which shows
    that the password is wrong, and the address not forbidden."""
    changed = SearchableSecret(account.user)
    with (
        squid(SquidSetup({account.user: account.password}, ("ntlm",))) as before,
        squid(SquidSetup({changed.user: changed.password}, ("ntlm",))) as after,
        RecordingRelay(before.port) as relay,
    ):
        user = start_with_profile(Upstream(relay.host, relay.port), account.user)
        sign_in(user, account.login)
        before.wait_for_answers("HEAD", NOT_CACHED, 1)
        relay.relay_to(after.port)
        with ConcurrentConnects(user.service.address, user.origin.authority, 1) as connects:
            question = user.front_end.wait_for_prompt(lambda question: question.rejections == 1)
            assert after.failed_logons() == 2
            user.front_end.answer(question, changed.login)
            assert connects.statuses() == [200]
        after.wait_for_answers("HEAD", NOT_CACHED, 1)
        assert after.failed_logons() == 2
