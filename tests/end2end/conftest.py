"""Fixtures of the end-to-end tests: real Squid, GNOME Keyring, service and client programs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack

import pytest

from tests.end2end.scenario import AttachFrontEnd, Scenario, StartService
from tests.support.clients import Clients
from tests.support.front_end import FrontEnd, Reaction
from tests.support.keyring_session import KeyringSession, keyring_session
from tests.support.octets import write
from tests.support.origin import Origin, make_repository
from tests.support.processes import Home, home
from tests.support.reports import Reports
from tests.support.searchable_secret import SearchableSecret
from tests.support.service import ServiceProcess, service
from tests.support.squid import Squid, SquidSetup, squid
from tests.support.tls import Certificate, CertificateAuthority
from trayproxy.auth.login import Login


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
def keyring() -> Iterator[KeyringSession]:
    """An unlocked keyring and its session."""
    with home() as place, keyring_session(place) as session:
        yield session


@pytest.fixture
def run(place: Home, reports: Reports) -> Iterator[StartService]:
    with ExitStack() as stack:

        def start(
            *arguments: str,
            session: KeyringSession | None = None,
            environment: Mapping[str, str] | None = None,
            login: Login | None = None,
            program: Sequence[str] = ("trayproxy",),
        ) -> ServiceProcess:
            found = session.environment if session else environment
            running = service(place, *arguments, environment=found, login=login, program=program)
            started = stack.enter_context(running)
            reports["service"] = started.log
            return started

        yield start


@pytest.fixture
def attach(reports: Reports) -> Iterator[AttachFrontEnd]:
    with ExitStack() as stack:

        def make(to: ServiceProcess, reactions: Iterable[Reaction] = ()) -> FrontEnd:
            front_end = stack.enter_context(FrontEnd(to.paths, reactions))
            reports["front end"] = front_end.describe
            return front_end

        yield make


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
