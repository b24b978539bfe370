"""Upstreams of every kind, a directory behind them, and a person at a service in front."""

from collections.abc import Iterator, Mapping

import pytest

from tests.end2end.scenario import AttachFrontEnd, StartService, StartWithProfile, UserSession
from tests.support.clients import Clients
from tests.support.counterparts import Counterpart, counterpart
from tests.support.front_end import FrontEnd
from tests.support.kerberos import Kdc, kdc
from tests.support.origin import Origin
from tests.support.processes import Home
from tests.support.reports import Reports
from tests.support.service import ServiceProcess
from trayproxy.control.messages import SaveProfile, UseProfile
from trayproxy.profiles.profile import Profile


@pytest.fixture(scope="module")
def directory() -> Iterator[Kdc]:
    """Whom Kerberos knows."""
    with kdc() as running:
        yield running


@pytest.fixture
def origin() -> Iterator[Origin]:
    """An origin that all upstreams find, whatever names they know."""
    with Origin("127.0.0.1") as server:
        yield server


@pytest.fixture
def proxy(
    request: pytest.FixtureRequest, directory: Kdc, reports: Reports
) -> Iterator[Counterpart]:
    """The upstream with the name in the test's parameter."""
    with counterpart(request.param, directory) as running:
        reports[request.param] = running.describe
        yield running


@pytest.fixture
def start_with_profile(
    run: StartService, attach: AttachFrontEnd, place: Home, clients: Clients, origin: Origin
) -> StartWithProfile:
    def begin(profile: Profile, environment: Mapping[str, str]) -> UserSession:
        started = run(environment=place.environment(**environment))
        front_end = attach(started)
        front_end.request_done(SaveProfile(profile))
        front_end.request_done(UseProfile(profile.id))
        return UserSession(started, front_end, clients, origin)

    return begin


@pytest.fixture
def running(run: StartService, place: Home, proxy: Counterpart) -> ServiceProcess:
    """A service that finds the directory, and has no ticket and no profile."""
    return run(environment=place.environment(**proxy.environment))


@pytest.fixture
def front_end(running: ServiceProcess, proxy: Counterpart, attach: AttachFrontEnd) -> FrontEnd:
    """A person at that service, who has made a profile for the upstream and answers nothing yet."""
    made = attach(running)
    made.request_done(
        SaveProfile(Profile("office", "Office", proxy.upstream, user=proxy.right.user))
    )
    made.request_done(UseProfile("office"))
    return made
