"""Switching takes effect for new requests at once; running transfers finish where they began."""

from collections.abc import Iterator

import pytest

from tests.end2end.stage import Attach, Run, Use
from tests.support.clients import Clients
from tests.support.octets import digest, digest_of
from tests.support.origin import Origin
from tests.support.secrets import Canary
from tests.support.squid import Setup, Squid, squid
from trayproxy.control.messages import UseProfile

SIZE = 4_000_000


@pytest.fixture
def other_canary() -> Canary:
    return Canary()


@pytest.fixture
def other_proxy(other_canary: Canary) -> Iterator[Squid]:
    """Another company's upstream, with another password for the same user."""
    users = {other_canary.user: other_canary.password}
    with squid(Setup(users=users, realm="Laboratory", name="lab.test.lan")) as running:
        yield running


def test_a_transfer_finishes_on_its_upstream_while_new_requests_go_to_the_new_one(
    run: Run,
    attach: Attach,
    use: Use,
    proxy: Squid,
    other_proxy: Squid,
    canary: Canary,
    other_canary: Canary,
    clients: Clients,
    origin: Origin,
) -> None:
    service = run()
    face = attach(service, [canary.login, other_canary.login])
    use(face, proxy, "Office")
    path = clients.home.root / "got"
    slow = origin.url(f"/gate/one/{SIZE}")
    transfer = clients.curl("-x", service.url, "-o", str(path), slow)
    gate = origin.gate("one")
    assert gate.reached.wait(20)
    use(face, other_proxy, "Lab")
    quick = origin.url("/hello")
    assert clients.curl("-x", service.url, quick).result().out == "hello"
    assert transfer.process.running
    gate.opened.set()
    assert transfer.result().code == 0
    assert digest_of(path) == digest(SIZE)
    assert {at.target for at in proxy.accesses()} == {slow}
    assert {at.target for at in other_proxy.accesses()} == {quick}


def test_a_tunnel_stays_open_on_its_upstream(
    run: Run,
    attach: Attach,
    use: Use,
    proxy: Squid,
    other_proxy: Squid,
    canary: Canary,
    clients: Clients,
    origin: Origin,
) -> None:
    service = run()
    face = attach(service, [canary.login])
    use(face, proxy, "Office")
    path = clients.home.root / "got"
    tunnel = ("-x", service.url, "--proxytunnel", "-o", str(path))
    transfer = clients.curl(*tunnel, origin.url(f"/gate/one/{SIZE}"))
    gate = origin.gate("one")
    assert gate.reached.wait(20)
    use(face, other_proxy, "Lab")
    gate.opened.set()
    assert transfer.result().code == 0
    assert digest_of(path) == digest(SIZE)


def test_each_upstream_gets_its_own_password_and_no_other(
    run: Run,
    attach: Attach,
    use: Use,
    proxy: Squid,
    other_proxy: Squid,
    canary: Canary,
    other_canary: Canary,
    clients: Clients,
    origin: Origin,
) -> None:
    service = run()
    face = attach(service, [canary.login, other_canary.login])
    office = use(face, proxy, "Office")
    url = origin.url("/hello")
    fetch = ("-x", service.url, url)
    assert clients.curl(*fetch).result().out == "hello"
    lab = use(face, other_proxy, "Lab")
    assert clients.curl(*fetch).result().out == "hello"
    for profile in (office, lab, office):
        face.must(UseProfile(profile.id))
        assert clients.curl(*fetch).result().out == "hello"
    assert len(face.questions) == 2
    assert proxy.failed_logons() == other_proxy.failed_logons() == 0


def test_a_connection_kept_alive_follows_the_switch(
    run: Run,
    attach: Attach,
    use: Use,
    proxy: Squid,
    other_proxy: Squid,
    canary: Canary,
    other_canary: Canary,
    clients: Clients,
    origin: Origin,
) -> None:
    service = run()
    face = attach(service, [canary.login, other_canary.login])
    use(face, proxy, "Office")
    # One curl, one connection to us: the switch happens while its first response is under way.
    slow, quick = origin.url(f"/gate/one/{SIZE}"), origin.url("/hello")
    outputs = ("-o", "/dev/null", slow, "-o", "/dev/null", quick)
    transfer = clients.curl("-x", service.url, "-w", "%{num_connects} ", *outputs)
    gate = origin.gate("one")
    assert gate.reached.wait(20)
    use(face, other_proxy, "Lab")
    gate.opened.set()
    assert transfer.result().out.split() == ["1", "0"]
    assert {at.target for at in other_proxy.accesses()} == {quick}


def test_the_active_profile_is_remembered(
    run: Run, attach: Attach, use: Use, proxy: Squid, other_proxy: Squid
) -> None:
    service = run()
    face = attach(service)
    use(face, proxy, "Office")
    lab = use(face, other_proxy, "Lab")
    assert service.stop() == 0
    status = run().status()
    assert status.profile == lab
    assert [profile.name for profile in status.profiles] == ["Office", "Lab"]
