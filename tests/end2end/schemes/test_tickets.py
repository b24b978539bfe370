"""One's own sign-in: a ticket of the desktop, no password, and nobody is asked."""

from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

from tests.end2end.stage import Stand
from tests.support.clients import Clients
from tests.support.counterparts import Counterpart
from tests.support.face import Face
from tests.support.kerberos import Kdc, kdc
from tests.support.lines import PATIENCE
from tests.support.origin import Origin
from tests.support.processes import Home
from tests.support.service import Service
from trayproxy.control.messages import Status
from trayproxy.profiles.profile import Profile, SignIn

pytestmark = pytest.mark.parametrize("proxy", ["squid-kerberos"], indirect=True)


@pytest.fixture(scope="module")
def directory() -> Iterator[Kdc]:
    """A directory that forgives clocks a few seconds, and not the usual five minutes."""
    with kdc(skew_s=4) as running:
        yield running


@pytest.fixture
def cache(place: Home) -> Path:
    """Where the desktop keeps the ticket of whoever is logged on."""
    return place.root / "ticket"


@pytest.fixture
def at_work(proxy: Counterpart, cache: Path, stand: Stand) -> tuple[Service, Face]:
    profile = Profile("office", "Office", proxy.upstream, sign_in=SignIn.SSO)
    return stand(profile, {**proxy.environment, "KRB5CCNAME": f"FILE:{cache}"})


@pytest.fixture
def running(at_work: tuple[Service, Face]) -> Service:
    return at_work[0]


@pytest.fixture
def face(at_work: tuple[Service, Face]) -> Face:
    return at_work[1]


Fetch = Callable[[], str]


def is_told(status: Status) -> bool:
    return "TP-305" in [notice.id for notice in status.notices]


@pytest.fixture
def fetch(running: Service, face: Face, clients: Clients, origin: Origin) -> Fetch:
    def get() -> str:
        told = ("-x", running.url, "-w", "\n%{http_code}")
        return clients.curl(*told, origin.url("/hello")).result().out

    return get


def test_a_ticket_signs_in_and_nobody_is_asked(
    proxy: Counterpart, directory: Kdc, cache: Path, face: Face, fetch: Fetch
) -> None:
    directory.ticket(proxy.right.user, proxy.right.password, cache)
    assert fetch() == fetch() == "hello\n\n200"
    assert face.questions == []
    assert proxy.doors
    assert proxy.doors.verdicts("negotiate") == ["yes"]


def test_without_a_ticket_that_is_told_and_nobody_is_asked(
    proxy: Counterpart, face: Face, fetch: Fetch
) -> None:
    said = fetch()
    assert said.endswith("503")
    assert "TP-305" in said
    face.wait_for_status(is_told)
    assert face.questions == []
    assert proxy.doors
    assert proxy.doors.verdicts("negotiate") == []


def test_as_soon_as_there_is_a_ticket_it_works_again_by_itself(
    proxy: Counterpart, directory: Kdc, cache: Path, face: Face, fetch: Fetch
) -> None:
    assert "TP-305" in fetch()
    directory.ticket(proxy.right.user, proxy.right.password, cache)
    until = monotonic() + PATIENCE
    # It looks again every few seconds at most, when a program asks for something.
    while "TP-305" in (said := fetch()):
        assert monotonic() < until
    assert said == "hello\n\n200"
    face.wait_for_status(lambda status: not is_told(status))
    assert face.questions == []


def test_a_ticket_that_has_ended_is_told_as_such(
    proxy: Counterpart,
    directory: Kdc,
    cache: Path,
    running: Service,
    face: Face,
    clients: Clients,
    origin: Origin,
) -> None:
    directory.ticket(proxy.right.user, proxy.right.password, cache, "-l", "1s")
    told = ("-x", running.url, "--proxytunnel", "-o", "/dev/null", "-w", "%{http_connect}")
    statuses = []
    until = monotonic() + PATIENCE
    # Each tunnel is a connection of its own, which is signed in anew. For some seconds the
    # directory forgives a clock that is late.
    while "503" not in statuses:
        assert monotonic() < until
        statuses.append(clients.curl(*told, origin.url("/hello")).result().out)
    assert statuses[0] == "200"
    assert not directory.is_valid(cache)
    face.wait_for_status(is_told)
    assert face.questions == []
