"""300 MB in each direction, plain and through a tunnel, in little memory."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end2end.scenario import StartService
from tests.support.clients import Clients
from tests.support.dumpable_service import DUMPABLE
from tests.support.memory import MIB
from tests.support.octets import digest, digest_of, write
from tests.support.origin import Origin
from tests.support.searchable_secret import SearchableSecret
from tests.support.service import ServiceProcess
from tests.support.squid import Squid
from tests.support.upstreams import UpstreamKind, bare_upstream

SIZE = 300_000_000
GROWTH = 32 * MIB
"""The permitted peak of memory during a transfer. Any bound independent of `SIZE` suffices."""


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("sent") / "octets", SIZE)


@pytest.fixture(scope="module")
def expected() -> str:
    return digest(SIZE)


@pytest.fixture
def origin() -> Iterator[Origin]:
    """An origin by its address: Apache asks the system's name servers for names."""
    with Origin("127.0.0.1") as server:
        yield server


@pytest.fixture
def upstream(
    request: pytest.FixtureRequest, direction: str, way: str, account: SearchableSecret
) -> Iterator[str]:
    """The address of the proxy: Squid, but Apache for plain uploads.

    Squid 5.7, Debian 12's, now and then ends the connection in the middle of a large plain PUT.
    """
    if (direction, way) == ("upload", "plain"):
        with bare_upstream(UpstreamKind.APACHE_BASIC, account.login) as port:
            yield f"http://127.0.0.1:{port}"
    else:
        proxy: Squid = request.getfixturevalue("proxy")
        yield proxy.url


@pytest.fixture
def service(
    run: StartService, upstream: str, account: SearchableSecret, clients: Clients, origin: Origin
) -> ServiceProcess:
    """A service with an accepted login."""
    running = run("--upstream", upstream, login=account.login, program=DUMPABLE)
    got = clients.curl("-x", running.url, origin.url("/hello")).result()
    assert got.out == "hello", got
    running.reset_peak()
    return running


@pytest.mark.parametrize("way", ["plain", "tunnel"])
@pytest.mark.parametrize("direction", ["download", "upload"])
def test_a_big_transfer_arrives_whole_and_in_bounded_memory(
    service: ServiceProcess,
    clients: Clients,
    origin: Origin,
    sent: Path,
    expected: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    way: str,
    direction: str,
) -> None:
    before = service.memory()
    options = ("-x", service.url, *(["--proxytunnel"] if way == "tunnel" else []))
    if direction == "download":
        path = tmp_path / "got"
        job = clients.curl(*options, "-o", str(path), origin.url(f"/bytes/{SIZE}"))
        result = job.result(110)
        assert (result.code, digest_of(path)) == (0, expected)
        path.unlink()
    else:
        job = clients.curl(*options, "-T", str(sent), origin.url("/sha256"))
        result = job.result(110)
        assert result.out == f"{SIZE} {expected}"
    after = service.memory()
    growth = after.peak - before.resident
    record_property("peak MiB", round(after.peak / MIB, 1))
    record_property("growth MiB", round(growth / MIB, 1))
    record_property("seconds", round(result.seconds, 2))
    print(f"{way} {direction}: peak {after.peak / MIB:.1f} MiB, {growth / MIB:+.1f} MiB")
    assert growth < GROWTH
