"""Fixtures: upstreams of every kind, a directory of their users, and a user of the service."""

from collections.abc import Iterator

import pytest

from tests.end2end.scenario import AttachFrontEnd, StartService, StartWithProfile, UserSession
from tests.support.clients import Clients
from tests.support.counterparts import Counterpart, counterpart
from tests.support.kerberos import Kdc, kdc
from tests.support.origin import Origin
from tests.support.reports import Reports


@pytest.fixture(scope="module")
def directory() -> Iterator[Kdc]:
    """The directory with the users of Kerberos."""
    with kdc() as running:
        yield running


@pytest.fixture
def origin() -> Iterator[Origin]:
    """An origin by its address, because some upstreams resolve no names."""
    with Origin("127.0.0.1") as server:
        yield server


@pytest.fixture
def proxy(
    request: pytest.FixtureRequest, directory: Kdc, reports: Reports
) -> Iterator[Counterpart]:
    """The upstream with the name in the parameter of the test."""
    with counterpart(request.param, directory) as running:
        reports[request.param] = running.describe
        yield running


@pytest.fixture
def start_with_profile(
    run: StartService, attach: AttachFrontEnd, clients: Clients, origin: Origin
) -> StartWithProfile:
    return StartWithProfile(run, attach, clients, origin)


@pytest.fixture
def user(proxy: Counterpart, start_with_profile: StartWithProfile) -> UserSession:
    """A user with a profile for the upstream, and without a Kerberos ticket."""
    return start_with_profile(proxy.upstream, proxy.right.user, proxy.environment)
