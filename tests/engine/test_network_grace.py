"""Tests for trayproxy.engine.upstream.network_grace: retries after a network change (F12)."""

import asyncio
import socket
from threading import Event
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from tests.engine.conftest import MakeUpstream, Start
from tests.engine.fakes import LOGIN, FakeBroker, office
from tests.engine.recorder import Recorder
from tests.engine.running import Running
from tests.engine.wire import connect, get
from tests.support.process_output import PATIENCE
from tests.support.scripted_upstream import OK, ScriptedConnection, answering
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.fd_task import Pause
from trayproxy.engine.net.resolver import Address, Resolver
from trayproxy.engine.upstream.network_grace import NetworkGrace
from trayproxy.profiles.profile import Profile, ProxyScheme, Upstream

NAME = "proxy.office.test"
GET = get(b"http://origin.test/")
CONTENT = b"\r\nContent-Length: 3\r\n\r\nabc"


class FakeResolver(Resolver):
    """A resolver with fixed results.

    Attributes:
        ports: Where the name leads to, the first first; none while the network is not there.
        asked: How often it was asked.
    """

    def __init__(self, *ports: int) -> None:
        self.ports = ports
        self.asked = 0

    async def look_up(
        self, host: str, port: int, pause: Pause, limit_s: float
    ) -> tuple[Address, ...]:
        self.asked += 1
        if not self.ports:
            raise socket.gaierror(socket.EAI_AGAIN, "no name server")
        return tuple((socket.AF_INET, ("127.0.0.1", port)) for port in self.ports)

    def was_called(self, times: int) -> bool:
        return self.asked >= times

    def forget(self) -> None: ...


def use_resolver(engine: Running, *ports: int) -> FakeResolver:
    """Replace the resolver of an engine."""
    resolver = FakeResolver(*ports)
    engine.engine.context.connector.resolver = resolver
    return resolver


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
def test_after_a_change_a_request_waits_for_the_network(
    start: Start, recorder: Recorder, method: str
) -> None:
    engine = start(office(3128, host=NAME), FakeBroker(LOGIN, is_known=True))
    resolver = use_resolver(engine)
    engine.call(engine.engine.network_changed)
    with engine.connect() as client:
        client.send(GET if method == "GET" else connect(b"origin.test:443"))
        engine.until(lambda: resolver.asked > 1, "another look-up")
        resolver.ports = (recorder.port,)
        assert client.reply(method.encode()).status == 200
    assert not engine.observer.failures


def test_a_request_is_retried_immediately_at_the_next_network_change(
    start: Start, recorder: Recorder
) -> None:
    engine = start(office(3128, host=NAME))
    resolver = use_resolver(engine)
    engine.call(engine.engine.network_changed)
    with engine.connect() as client:
        client.send(GET)
        engine.until(lambda: resolver.asked > 0, "the look-up")

        def arrive() -> None:
            resolver.ports = (recorder.port,)
            engine.engine.network_changed()

        engine.call(arrive)
        assert client.reply().status == 200


def test_an_unusable_network_is_reported_after_the_grace_period(start: Start) -> None:
    limits = EngineLimits(network_grace_s=0.4)
    engine = start(office(3128, host=NAME), limits=limits)
    use_resolver(engine)
    engine.call(engine.engine.network_changed)
    before = monotonic()
    with engine.connect() as client:
        assert client.ask(GET).status == 502
        assert monotonic() - before > 0.4
        before = monotonic()
        assert client.ask(GET).status == 502
        assert monotonic() - before < 0.4


def test_the_grace_period_is_five_seconds() -> None:
    assert EngineLimits().network_grace_s == 5.0


def test_a_connection_attempt_is_restarted_after_a_network_change(
    start: Start, recorder: Recorder, nowhere: int
) -> None:
    engine = start(office(3128, host=NAME), FakeBroker(LOGIN, is_known=True))
    resolver = use_resolver(engine, nowhere)
    with engine.connect() as client:
        client.send(GET)
        engine.until(lambda: resolver.asked == 1, "the attempt")
        resolver.ports = (recorder.port,)
        before = monotonic()
        engine.call(engine.engine.network_changed)
        assert client.reply().status == 200
        assert monotonic() - before < EngineLimits().connect_s
    assert resolver.asked == 2


@pytest.mark.parametrize("depends_on_network", [True, False])
def test_a_route_that_depends_on_the_network_is_chosen_again_after_a_change(
    start: Start, recorder: Recorder, nowhere: int, *, depends_on_network: bool
) -> None:
    """A PAC script names the proxy of the new network, which may be none."""
    engine = start(office(nowhere), limits=EngineLimits(connect_total_s=0.5, network_grace_s=0.1))
    engine.routes.depend_on_network = depends_on_network
    with engine.connect() as client:
        client.send(GET)
        engine.until(lambda: engine.routes.asked == ["origin.test"], "the attempt")
        engine.routes.profile = office(recorder.port)
        engine.call(engine.engine.network_changed)
        assert client.reply().status == (200 if depends_on_network else 504)


@pytest.mark.parametrize(
    ("depends_on_network", "request_octets", "connections"),
    [
        (True, GET, (1, 1)),
        (False, GET, (2, 0)),
        # The content was read by then.
        (True, GET.replace(b"GET", b"PUT").replace(b"\r\n\r\n", CONTENT), (2, 0)),
    ],
)
def test_after_the_loss_of_a_kept_connection_too(
    start: Start,
    script: MakeUpstream,
    *,
    depends_on_network: bool,
    request_octets: bytes,
    connections: tuple[int, int],
) -> None:
    has_moved = Event()

    def lose_second(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(OK)
        peer.read_head()
        assert has_moved.wait(PATIENCE)

    old, new = script(lose_second, answering(OK)), script(answering(OK))
    engine = start(office(old.port))
    engine.routes.depend_on_network = depends_on_network
    with engine.connect() as client:
        assert client.ask(GET).status == 200
        client.send(request_octets)
        old.peer(1).wait_for(b"\r\n\r\n" + request_octets[:4])
        engine.routes.profile = office(new.port)
        engine.call(engine.engine.network_changed)
        has_moved.set()
        assert client.reply().status == 200
    assert (len(old.peers), len(new.peers)) == connections


def test_a_sent_login_is_not_repeated_after_a_network_change(
    start: Start, script: MakeUpstream
) -> None:
    """The server may count the login as failed although its response never arrives."""

    def read_login(peer: ScriptedConnection) -> None:
        peer.read(4)
        peer.send(b"\x05\x02")
        peer.read_all()

    upstream = script(read_login)
    profile = Profile("socks", "Socks", Upstream("127.0.0.1", upstream.port, ProxyScheme.SOCKS5))
    engine = start(profile, FakeBroker(LOGIN, is_known=True), limits=EngineLimits(handshake_s=0.5))
    with engine.connect() as client:
        client.send(GET)
        peer = upstream.peer(1)
        peer.wait_for(LOGIN.password.encode())
        engine.call(engine.engine.network_changed)
        assert client.reply().status == 504
    assert len(upstream.peers) == 1


def test_the_grace_period_begins_at_a_change_and_completes_its_future() -> None:
    loop = asyncio.new_event_loop()
    now, futures = 0.0, [loop.create_future() for _ in range(2)]
    left = list(futures)
    clock: Any = SimpleNamespace(time=lambda: now, create_future=lambda: left.pop(0))
    grace = NetworkGrace(clock, 5.0)
    assert not grace.is_active
    now = 10.0
    grace.start()
    assert [future.done() for future in futures] == [True, False]
    assert grace.change is futures[1]
    for now, is_active in ((10.0, True), (14.9, True), (15.0, False)):  # noqa: B007  # by `time`
        assert grace.is_active is is_active
    loop.close()
