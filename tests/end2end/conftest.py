"""Fixtures of the end-to-end tests: real Squid, GNOME Keyring, service and client programs."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.end2end.scenario import AttachFrontEnd, Scenario, StartService, StartUser
from tests.support.clients import Clients
from tests.support.keyring_session import KeyringSession, keyring_session
from tests.support.octets import write
from tests.support.origin import Origin, make_repository
from tests.support.processes import Home, home
from tests.support.reports import Reports
from tests.support.searchable_secret import SearchableSecret
from tests.support.squid import Squid, SquidSetup, squid
from tests.support.tls import Certificate, CertificateAuthority


@pytest.fixture
def account() -> SearchableSecret:
    """The login accepted by the upstream."""
    return SearchableSecret()


@pytest.fixture
def proxy(account: SearchableSecret, reports: Reports) -> Iterator[Squid]:
    """The upstream."""
    with squid(SquidSetup(users={account.user: account.password})) as running:
        reports["squid"] = running.describe
        yield running


@pytest.fixture
def second_account() -> SearchableSecret:
    return SearchableSecret()


@pytest.fixture
def second(second_account: SearchableSecret) -> Iterator[Squid]:
    """Another upstream, with another account."""
    users = {second_account.user: second_account.password}
    with squid(SquidSetup(users=users)) as running:
        yield running


@pytest.fixture
def keyring() -> Iterator[KeyringSession]:
    """An unlocked keyring and its session."""
    with home() as place, keyring_session(place) as session:
        yield session


@pytest.fixture
def run(place: Home, reports: Reports) -> Iterator[StartService]:
    with ExitStack() as stack:
        yield StartService(place, stack, reports)


@pytest.fixture
def attach(reports: Reports) -> Iterator[AttachFrontEnd]:
    with ExitStack() as stack:
        yield AttachFrontEnd(stack, reports)


@pytest.fixture
def scenario(
    run: StartService,
    attach: AttachFrontEnd,
    keyring: KeyringSession,
    proxy: Squid,
    account: SearchableSecret,
    clients: Clients,
    origin: Origin,
) -> Scenario:
    return Scenario(run, attach, keyring, proxy, account, clients, origin)


@pytest.fixture
def start_user(
    run: StartService,
    attach: AttachFrontEnd,
    keyring: KeyringSession,
    clients: Clients,
    origin: Origin,
) -> StartUser:
    return StartUser(run, attach, keyring, clients, origin)


@pytest.fixture(scope="session")
def certificate(authority: CertificateAuthority) -> Certificate:
    return authority.issue("www.test.lan")


@pytest.fixture(scope="session")
def repositories() -> Iterator[Home]:
    """The folder of ``demo.git``, which contains 3 MB."""
    with home() as place:
        make_repository(place, "demo.git", write(place.root / "content", 3_000_000))
        yield place


@pytest.fixture
def origin(repositories: Home) -> Iterator[Origin]:
    with Origin(repositories=repositories) as server:
        yield server


@pytest.fixture
def secure_origin(repositories: Home, certificate: Certificate) -> Iterator[Origin]:
    with Origin(certificate=certificate, repositories=repositories) as server:
        yield server
