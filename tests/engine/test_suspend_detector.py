"""After a suspend, connections and findings from before are not used (F12)."""

from contextlib import ExitStack
from threading import Event

import pytest

from tests.engine.conftest import MakeUpstream, Start, StartScripted
from tests.engine.driving import pause
from tests.engine.fakes import LOGIN, FakeBroker, office
from tests.engine.recorder import Recorder
from tests.engine.running import Running
from tests.engine.wire import get
from tests.support.process_output import PATIENCE
from tests.support.scripted_upstream import OK, ScriptedConnection, answering
from trayproxy.desktop.suspend_clock import sleep_clock
from trayproxy.engine.net.fd_task import run_in_task
from trayproxy.engine.net.suspend_detector import SuspendDetector
from trayproxy.engine.upstream.pool import RECENT_USE_S, PoolKey, UpstreamConnection
from trayproxy.http.target import Authority

URL = b"http://origin.test/"
GET = get(URL)


class FakeSuspendClock:
    """A suspend clock set by the test."""

    def __init__(self) -> None:
        self.seconds = 500.0

    def __call__(self) -> float:
        return self.seconds


# --- detection -----------------------------------------------------------------------------------


def test_a_long_suspend_is_reported_once() -> None:
    clock = FakeSuspendClock()
    detector = SuspendDetector(clock, 30.0)
    assert not detector.has_slept()
    clock.seconds += 31
    assert detector.has_slept()
    assert not detector.has_slept()


def test_short_suspends_are_ignored_and_do_not_add_up() -> None:
    clock = FakeSuspendClock()
    detector = SuspendDetector(clock, 30.0)
    for _ in range(5):
        clock.seconds += 29
        assert not detector.has_slept()


def test_a_clock_set_back_is_no_suspend_and_hides_none() -> None:
    clock = FakeSuspendClock()
    detector = SuspendDetector(clock, 30.0)
    clock.seconds -= 3600
    assert not detector.has_slept()
    clock.seconds += 31
    assert detector.has_slept()


def test_the_real_clock_stands_still_while_the_computer_is_awake() -> None:
    clock = sleep_clock()
    assert abs(clock() - clock()) < 0.01


def suspend(engine: Running, clock: FakeSuspendClock) -> None:
    """Simulate a suspend of one hour after a moment without traffic."""
    last = engine.loop.time()
    engine.until(lambda: engine.loop.time() - last > RECENT_USE_S, "some quiet")
    clock.seconds += 3600


# --- consequences --------------------------------------------------------------------------------


def test_an_idle_connection_from_before_a_suspend_is_not_used(
    start: Start, recorder: Recorder
) -> None:
    clock = FakeSuspendClock()
    engine = start(office(recorder.port), FakeBroker(LOGIN, is_known=True), sleep_clock=clock)
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    engine.until_clients_left()
    suspend(engine, clock)
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    assert [request.connection for request in recorder.requests] == [1, 2]


def test_the_connection_of_a_suspended_client_is_not_used(
    start: Start, script: MakeUpstream
) -> None:
    clock = FakeSuspendClock()
    # The upstream has dropped the first connection during the suspend, without a visible event.
    upstream = script(answering(OK, b""), answering(OK))
    desk = FakeBroker()
    engine = start(office(upstream.port), desk, sleep_clock=clock)
    with engine.connect() as client:
        assert client.ask(GET).status == 200
        suspend(engine, clock)
        assert client.ask(GET).status == 200
    assert len(upstream.peers) == 2
    assert desk.network_changes == 1


def test_a_suspend_is_noticed_without_requests(
    start: Start, recorder: Recorder, stack: ExitStack
) -> None:
    clock = FakeSuspendClock()
    desk = FakeBroker()
    engine = start(office(recorder.port), desk, sleep_clock=clock)
    stack.enter_context(engine.connect())
    engine.until(lambda: bool(engine.engine.executor.works), "the connection")
    clock.seconds += 3600
    engine.until(lambda: desk.network_changes == 1, "the notice of the desk")


def test_a_suspend_clears_cached_names_and_dead_upstreams(start: Start, recorder: Recorder) -> None:
    clock = FakeSuspendClock()
    engine = start(office(recorder.port), sleep_clock=clock)
    failover, resolver = engine.engine.context.failover, engine.engine.context.connector.resolver
    route = engine.routes.to(Authority("origin.test", 80))
    assert route is not None
    upstream = route.upstream
    assert upstream is not None
    engine.call(lambda: failover.mark_dead(upstream))
    engine.wait(run_in_task(resolver.look_up("localhost", 1, pause, PATIENCE)))
    assert failover.is_dead(route)
    assert engine.call(lambda: resolver.known("localhost", 1))
    clock.seconds += 3600
    engine.call(engine.engine.check_for_suspend)
    assert not failover.is_dead(route)
    assert not engine.call(lambda: resolver.known("localhost", 1))


# --- switches ------------------------------------------------------------------------------------


def test_a_connection_busy_at_a_profile_switch_is_not_pooled(
    start: Start, recorder: Recorder
) -> None:
    """It becomes idle after the switch, when the idle connections are closed already."""
    engine = start(office(recorder.port), FakeBroker(LOGIN, is_known=True))
    with engine.connect() as client:
        assert client.ask(GET).status == 200
        engine.call(engine.engine.forget_connections)
    engine.until_clients_left()
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    assert [request.connection for request in recorder.requests] == [1, 2]


def test_a_connection_from_before_a_switch_is_not_used_for_the_next_request_of_its_client(
    start: Start, recorder: Recorder
) -> None:
    engine = start(office(recorder.port), FakeBroker(LOGIN, is_known=True))
    with engine.connect() as client:
        for _ in range(2):
            assert client.ask(GET).status == 200
        engine.call(engine.engine.forget_connections)
        assert client.ask(GET).status == 200
    assert [request.connection for request in recorder.requests] == [1, 1, 2]


@pytest.mark.parametrize("same", [True, False], ids=["its client", "another client"])
def test_a_connection_with_a_response_after_a_switch_is_not_reused(
    start_scripted: StartScripted, same: bool
) -> None:
    """A request was on its way at the switch, so the connection could not be closed then."""
    asked, go_on = Event(), Event()

    def slow(peer: ScriptedConnection) -> None:
        peer.read_head()
        asked.set()
        assert go_on.wait(PATIENCE)
        peer.send(OK)
        answering(OK)(peer)

    engine, upstream = start_scripted(slow, answering(OK), desk=FakeBroker(LOGIN, is_known=True))
    with engine.connect() as client:
        client.send(GET)
        assert asked.wait(PATIENCE)
        engine.call(engine.engine.forget_connections)
        go_on.set()
        assert client.reply().status == 200
        if same:
            assert client.ask(GET).status == 200
    engine.until_clients_left()
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    assert len(upstream.peers) == 2
    assert upstream.peers[0].received.count(b"GET ") == 1


@pytest.mark.parametrize("key", [PoolKey("http://a:1"), PoolKey("http://a:1", "office", 2)])
def test_a_connection_of_another_login_or_generation_is_not_taken(
    start: Start, recorder: Recorder, key: PoolKey, stack: ExitStack
) -> None:
    engine = start(office(recorder.port))

    def try_it() -> UpstreamConnection | None:
        pool = engine.engine.context.pool
        return pool.take(key) or pool.take(PoolKey(key.url, key.profile_id, key.generation + 1))

    assert engine.call(try_it) is None
