"""Preconnects through a real Squid: the number of messages and log-ons of each tunnel.

Squid logs a CONNECT at the end of its tunnel, so the log entries of preconnects are checked
separately.
"""

import pytest

from tests.end2end.scenario import StartWithProfile
from tests.support.concurrent_connects import ConcurrentConnects
from tests.support.counterparts import Counterpart
from tests.support.front_end import FrontEnd
from tests.support.multi_scheme_squid import (
    MessageKind,
    MultiSchemeSetup,
    MultiSchemeSquid,
    SchemeLogEntry,
    SchemePort,
    multi_scheme_squid,
)
from tests.support.origin import Origin
from tests.support.recording_relay import RecordingRelay
from tests.support.searchable_secret import SearchableSecret
from tests.support.service import ServiceProcess
from trayproxy.auth.login import Login
from trayproxy.profiles.profile import Profile, Upstream

TUNNELS = 5
NOT_CACHED = 504
"""The status code of Squid's response to a preconnect."""


def open_tunnel(service: ServiceProcess, origin: Origin) -> None:
    with ConcurrentConnects(service.address, origin.authority, 1) as connects:
        assert connects.statuses() == [200]


def sign_in(service: ServiceProcess, front_end: FrontEnd, origin: Origin, login: Login) -> None:
    """Open the first tunnel, and answer its prompt."""
    with ConcurrentConnects(service.address, origin.authority, 1) as connects:
        front_end.answer(front_end.wait_for_prompt(), login)
        assert connects.statuses() == [200]


def asked_by(proxy: MultiSchemeSquid, method: str) -> list[SchemeLogEntry]:
    return [access for access in proxy.accesses() if access.method == method]


def preconnects(proxy: MultiSchemeSquid) -> list[SchemeLogEntry]:
    """Return the log entries of preconnects."""
    return [a for a in asked_by(proxy, "HEAD") if a.kind is MessageKind.CREDENTIALS]


ntlm = pytest.mark.parametrize(
    "proxy", ["squid-ntlm", "squid-ntlm-closing", "squid-spnego-ntlm"], indirect=True
)


@ntlm
def test_from_the_second_tunnel_on_each_takes_one_round_trip(
    proxy: Counterpart, running: ServiceProcess, front_end: FrontEnd, origin: Origin
) -> None:
    assert proxy.squid
    squid = proxy.squid
    sign_in(running, front_end, origin, proxy.right)
    for count in range(1, TUNNELS):
        squid.wait_for_answers("HEAD", NOT_CACHED, count)
        open_tunnel(running, origin)
    squid.wait_for_answers("HEAD", NOT_CACHED, TUNNELS)
    squid.wait_for_answers("CONNECT", 200, TUNNELS)
    connects = asked_by(squid, "CONNECT")
    bare = [access for access in connects if access.status == 200 and not access.scheme]
    assert len(bare) == TUNNELS - 1
    assert [access.status for access in connects[-len(bare) :]] == [200] * len(bare)
    # The number of log-ons is the number of connections, including the ready connection.
    scheme = "ntlm" if proxy.method == "NTLM" else "negotiate"
    assert squid.verdicts(scheme).count("yes") == TUNNELS + 1
    assert squid.failed_logons() == 0
    assert origin.received == ()
    assert running.status().active == 0


@pytest.mark.parametrize("proxy", ["squid-kerberos"], indirect=True)
def test_with_a_ticket_each_tunnel_takes_one_round_trip_and_nothing_is_sent_ahead(
    proxy: Counterpart, running: ServiceProcess, front_end: FrontEnd, origin: Origin
) -> None:
    assert proxy.squid
    squid = proxy.squid
    sign_in(running, front_end, origin, proxy.right)
    for _ in range(1, TUNNELS):
        open_tunnel(running, origin)
    squid.wait_for_answers("CONNECT", 200, TUNNELS)
    assert [access.status for access in asked_by(squid, "CONNECT")] == [407] + [200] * TUNNELS
    assert asked_by(squid, "HEAD") == []
    assert squid.verdicts("negotiate") == ["yes"] * TUNNELS


def test_a_proxy_that_does_not_allow_it_is_not_asked_again_and_the_person_is_not_either(
    start_with_profile: StartWithProfile, account: SearchableSecret, origin: Origin
) -> None:
    """A rule that ends in ``proxy_auth`` lets Squid answer 407 to a right password."""
    rules = ("acl boss proxy_auth boss", "acl heads method HEAD", "http_access deny heads !boss")
    with multi_scheme_squid(MultiSchemeSetup(password=account.password, rules=rules)) as proxy:
        upstream = Upstream(proxy.host, proxy.port(SchemePort.NTLM))
        user = start_with_profile(Profile("office", "Office", upstream, user=account.user), {})
        running, front_end = user.service, user.front_end
        sign_in(running, front_end, origin, account.login)
        proxy.wait_for_answers("HEAD", 407, 2)
        for _ in range(TUNNELS):
            open_tunnel(running, origin)
        assert [access.status for access in preconnects(proxy)] == [407]
        assert proxy.failed_logons() == 0
        assert len(front_end.prompts) == 1


def test_a_changed_password_costs_no_log_on_more_than_without(
    start_with_profile: StartWithProfile, account: SearchableSecret, origin: Origin
) -> None:
    """A refused request is followed by TrayProxy's own request to another address, which shows that
    the password is wrong, and the address not forbidden."""
    changed = SearchableSecret(account.user)
    with (
        multi_scheme_squid(MultiSchemeSetup(password=account.password)) as before,
        multi_scheme_squid(MultiSchemeSetup(password=changed.password)) as after,
        RecordingRelay(before.port(SchemePort.NTLM)) as tap,
    ):
        upstream = Upstream(tap.host, tap.port)
        user = start_with_profile(Profile("office", "Office", upstream, user=account.user), {})
        running, front_end = user.service, user.front_end
        sign_in(running, front_end, origin, account.login)
        before.wait_for_answers("HEAD", NOT_CACHED, 1)
        tap.relay_to(after.port(SchemePort.NTLM))
        with ConcurrentConnects(running.address, origin.authority, 1) as connects:
            question = front_end.wait_for_prompt(lambda question: question.rejections == 1)
            assert after.failed_logons() == 2
            front_end.answer(question, changed.login)
            assert connects.statuses() == [200]
        after.wait_for_answers("HEAD", NOT_CACHED, 1)
        assert after.failed_logons() == 2
