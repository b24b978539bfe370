"""Switching takes effect for new requests at once; running transfers finish where they began."""

from collections.abc import Iterator

import pytest

from tests.end2end.stage import HELLO, Office, Sitting
from tests.support.octets import digest, digest_of
from tests.support.secrets import Canary
from tests.support.squid import Setup, Squid, squid
from trayproxy.control.messages import UseProfile

SIZE = 4_000_000


@pytest.fixture
def lab_canary() -> Canary:
    return Canary()


@pytest.fixture
def lab(lab_canary: Canary) -> Iterator[Squid]:
    """Another company's upstream, with another password for the same user."""
    users = {lab_canary.user: lab_canary.password}
    with squid(Setup(users=users, realm="Laboratory", name="lab.test.lan")) as running:
        yield running


@pytest.fixture
def here(office: Office, lab_canary: Canary) -> Sitting:
    """A person who uses the office's upstream, and is asked for that of the laboratory after it."""
    return office.begin(office.run(), office.login, lab_canary.login)


def test_a_transfer_finishes_on_its_upstream_while_new_requests_go_to_the_new_one(
    office: Office, here: Sitting, lab: Squid
) -> None:
    path = office.clients.home.root / "got"
    slow, quick = office.origin.url(f"/gate/one/{SIZE}"), office.origin.url("/hello")
    transfer = here.curl("-o", str(path), slow)
    gate = office.origin.gate("one")
    assert gate.reached.wait(20)
    office.use(here.front_end, lab, "Lab")
    assert here.fetch() == HELLO
    assert transfer.process.running
    gate.opened.set()
    assert transfer.result().code == 0
    assert digest_of(path) == digest(SIZE)
    assert {at.target for at in office.proxy.accesses()} == {slow}
    assert {at.target for at in lab.accesses()} == {quick}


def test_a_tunnel_stays_open_on_its_upstream(office: Office, here: Sitting, lab: Squid) -> None:
    path = office.clients.home.root / "got"
    slow = office.origin.url(f"/gate/one/{SIZE}")
    transfer = here.curl("--proxytunnel", "-o", str(path), slow)
    gate = office.origin.gate("one")
    assert gate.reached.wait(20)
    office.use(here.front_end, lab, "Lab")
    gate.opened.set()
    assert transfer.result().code == 0
    assert digest_of(path) == digest(SIZE)


def test_each_upstream_gets_its_own_password_and_no_other(
    office: Office, here: Sitting, lab: Squid
) -> None:
    assert here.fetch() == HELLO
    other = office.use(here.front_end, lab, "Lab")
    assert here.fetch() == HELLO
    for profile in (office.profile, other, office.profile):
        here.front_end.request_done(UseProfile(profile.id))
        assert here.fetch() == HELLO
    assert len(here.front_end.prompts) == 2
    assert office.proxy.failed_logons() == lab.failed_logons() == 0


def test_a_connection_kept_alive_follows_the_switch(
    office: Office, here: Sitting, lab: Squid
) -> None:
    # One curl, one connection to us: the switch happens while its first response is under way.
    slow, quick = office.origin.url(f"/gate/one/{SIZE}"), office.origin.url("/hello")
    outputs = ("-o", "/dev/null", slow, "-o", "/dev/null", quick)
    transfer = here.curl("-w", "%{num_connects} ", *outputs)
    gate = office.origin.gate("one")
    assert gate.reached.wait(20)
    office.use(here.front_end, lab, "Lab")
    gate.opened.set()
    assert transfer.result().out.split() == ["1", "0"]
    assert {at.target for at in lab.accesses()} == {quick}


def test_the_active_profile_is_remembered(office: Office, here: Sitting, lab: Squid) -> None:
    other = office.use(here.front_end, lab, "Lab")
    assert here.service.stop() == 0
    status = office.run().status()
    assert status.profile == other
    assert [profile.name for profile in status.profiles] == ["Office", "Lab"]
