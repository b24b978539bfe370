"""Switching takes effect for new requests at once; running transfers finish where they began."""

from collections.abc import Iterator

import pytest

from tests.end2end.scenario import HELLO, Scenario, UserSession
from tests.support.octets import digest, digest_of
from tests.support.searchable_secret import SearchableSecret
from tests.support.squid import Squid, SquidSetup, squid
from trayproxy.control.messages import UseProfile

SIZE = 4_000_000


@pytest.fixture
def lab_account() -> SearchableSecret:
    return SearchableSecret()


@pytest.fixture
def lab(lab_account: SearchableSecret) -> Iterator[Squid]:
    """Another company's upstream, with another password for the same user."""
    users = {lab_account.user: lab_account.password}
    with squid(SquidSetup(users=users, realm="Laboratory", name="lab.test.lan")) as running:
        yield running


@pytest.fixture
def user(scenario: Scenario, lab_account: SearchableSecret) -> UserSession:
    """A user of the upstream of the office, with the logins of both upstreams."""
    return scenario.begin(scenario.run(), scenario.login, lab_account.login)


def test_a_transfer_stays_on_its_upstream_while_new_requests_use_the_new_upstream(
    scenario: Scenario, user: UserSession, lab: Squid
) -> None:
    path = scenario.clients.home.root / "got"
    slow, quick = scenario.origin.url(f"/gate/one/{SIZE}"), scenario.origin.url("/hello")
    transfer = user.curl("-o", str(path), slow)
    gate = scenario.origin.gate("one")
    assert gate.reached.wait(20)
    scenario.use(user, lab, "Lab")
    assert user.fetch() == HELLO
    assert transfer.process.running
    gate.opened.set()
    assert transfer.result().code == 0
    assert digest_of(path) == digest(SIZE)
    assert {at.target for at in scenario.proxy.accesses()} == {slow}
    assert {at.target for at in lab.accesses()} == {quick}


def test_a_tunnel_stays_open_on_its_upstream(
    scenario: Scenario, user: UserSession, lab: Squid
) -> None:
    path = scenario.clients.home.root / "got"
    slow = scenario.origin.url(f"/gate/one/{SIZE}")
    transfer = user.curl("--proxytunnel", "-o", str(path), slow)
    gate = scenario.origin.gate("one")
    assert gate.reached.wait(20)
    scenario.use(user, lab, "Lab")
    gate.opened.set()
    assert transfer.result().code == 0
    assert digest_of(path) == digest(SIZE)


def test_each_upstream_gets_only_its_own_password(
    scenario: Scenario, user: UserSession, lab: Squid
) -> None:
    assert user.fetch() == HELLO
    other = scenario.use(user, lab, "Lab")
    assert user.fetch() == HELLO
    for profile in (scenario.profile, other, scenario.profile):
        user.front_end.request_done(UseProfile(profile.id))
        assert user.fetch() == HELLO
    assert len(user.front_end.prompts) == 2
    assert scenario.proxy.failed_logons() == lab.failed_logons() == 0


def test_a_connection_kept_alive_follows_the_switch(
    scenario: Scenario, user: UserSession, lab: Squid
) -> None:
    # A single curl uses a single connection; the profile is switched during the first response.
    slow, quick = scenario.origin.url(f"/gate/one/{SIZE}"), scenario.origin.url("/hello")
    outputs = ("-o", "/dev/null", slow, "-o", "/dev/null", quick)
    transfer = user.curl("-w", "%{num_connects} ", *outputs)
    gate = scenario.origin.gate("one")
    assert gate.reached.wait(20)
    scenario.use(user, lab, "Lab")
    gate.opened.set()
    assert transfer.result().out.split() == ["1", "0"]
    assert {at.target for at in lab.accesses()} == {quick}


def test_the_active_profile_is_remembered(
    scenario: Scenario, user: UserSession, lab: Squid
) -> None:
    other = scenario.use(user, lab, "Lab")
    assert user.service.stop() == 0
    status = scenario.run().status()
    assert status.profile == other
    assert [profile.name for profile in status.profiles] == ["Office", "Lab"]
