"""A computer that slept: what was found out before is not relied on (F12)."""

from collections.abc import Callable
from contextlib import ExitStack
from threading import Event

import pytest

from tests.engine.conftest import Start
from tests.engine.fakes import LOGIN, FakeDesk, office
from tests.engine.recorder import Recorder
from tests.engine.running import Running
from tests.engine.wire import get
from tests.support.lines import PATIENCE
from tests.support.scripted import OK, Peer, Scripted, answering
from trayproxy.desktop.suspend_clock import sleep_clock
from trayproxy.engine.net.suspend_detector import SuspendDetector
from trayproxy.engine.upstream.pool import RECENT_USE_S, PoolKey, UpstreamConnection

URL = b"http://origin.test/"
GET = get(URL)

Play = Callable[..., Scripted]


class Sleep:
    """A clock that goes on when the test says so."""

    def __init__(self) -> None:
        self.slept = 500.0

    def __call__(self) -> float:
        return self.slept


# --- noticing ------------------------------------------------------------------------------------


def test_a_long_sleep_is_noticed_once() -> None:
    clock = Sleep()
    naps = SuspendDetector(clock, 30.0)
    assert not naps.has_slept()
    clock.slept += 31
    assert naps.has_slept()
    assert not naps.has_slept()


def test_short_sleeps_are_none_and_do_not_add_up() -> None:
    clock = Sleep()
    naps = SuspendDetector(clock, 30.0)
    for _ in range(5):
        clock.slept += 29
        assert not naps.has_slept()


def test_a_clock_that_is_set_back_is_no_sleep_and_hides_none() -> None:
    clock = Sleep()
    naps = SuspendDetector(clock, 30.0)
    clock.slept -= 3600
    assert not naps.has_slept()
    clock.slept += 31
    assert naps.has_slept()


def test_the_real_clock_stands_still_while_the_computer_is_awake() -> None:
    clock = sleep_clock()
    assert abs(clock() - clock()) < 0.01


def fall_asleep(engine: Running, sleep: Sleep) -> None:
    """Let the computer sleep for an hour, after a moment without traffic."""
    last = engine.loop.time()
    engine.until(lambda: engine.loop.time() - last > RECENT_USE_S, "some quiet")
    sleep.slept += 3600


# --- what follows --------------------------------------------------------------------------------


def test_an_idle_connection_from_before_is_not_used(start: Start, recorder: Recorder) -> None:
    sleep = Sleep()
    engine = start(office(recorder.port), FakeDesk(LOGIN, knows_it=True), sleep_clock=sleep)
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    engine.until(lambda: not engine.engine.executor.works, "the end of the client")
    fall_asleep(engine, sleep)
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    assert [request.connection for request in recorder.requests] == [1, 2]


def test_nor_is_the_connection_of_a_client_that_slept_too(start: Start, script: Play) -> None:
    sleep = Sleep()
    # Asleep, the upstream has forgotten the first connection without being able to say so.
    upstream = script(answering(OK, b""), answering(OK))
    desk = FakeDesk()
    engine = start(office(upstream.port), desk, sleep_clock=sleep)
    with engine.connect() as client:
        assert client.ask(GET).status == 200
        fall_asleep(engine, sleep)
        assert client.ask(GET).status == 200
    assert len(upstream.peers) == 2
    assert desk.network_changes == 1


def test_it_is_noticed_also_while_nobody_asks_for_anything(
    start: Start, recorder: Recorder, stack: ExitStack
) -> None:
    sleep = Sleep()
    desk = FakeDesk()
    engine = start(office(recorder.port), desk, sleep_clock=sleep)
    stack.enter_context(engine.connect())
    engine.until(lambda: bool(engine.engine.executor.works), "the connection")
    sleep.slept += 3600
    engine.until(lambda: desk.network_changes == 1, "the notice of the desk")


def test_names_and_deaths_are_found_out_anew(start: Start, recorder: Recorder) -> None:
    sleep = Sleep()
    engine = start(office(recorder.port), sleep_clock=sleep)
    upstream = office(1).upstream
    engine.call(lambda: engine.engine.failover.mark_dead(upstream))
    engine.call(lambda: engine.engine.connector.resolver.known("127.0.0.1", 1))
    sleep.slept += 3600
    engine.call(engine.engine.check_for_suspend)
    assert not engine.call(lambda: dict(engine.engine.failover._dead))
    assert not engine.call(lambda: dict(engine.engine.connector.resolver._known))


# --- switches ------------------------------------------------------------------------------------


def test_a_connection_that_was_busy_at_a_switch_is_not_kept(
    start: Start, recorder: Recorder
) -> None:
    """It becomes idle after the switch, when the idle ones are closed already."""
    engine = start(office(recorder.port), FakeDesk(LOGIN, knows_it=True))
    with engine.connect() as client:
        assert client.ask(GET).status == 200
        engine.call(engine.engine.forget_connections)
    engine.until(lambda: not engine.engine.executor.works, "the end of the client")
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    assert [request.connection for request in recorder.requests] == [1, 2]


def test_nor_is_it_used_for_the_next_request_of_its_client(
    start: Start, recorder: Recorder
) -> None:
    engine = start(office(recorder.port), FakeDesk(LOGIN, knows_it=True))
    with engine.connect() as client:
        for _ in range(2):
            assert client.ask(GET).status == 200
        engine.call(engine.engine.forget_connections)
        assert client.ask(GET).status == 200
    assert [request.connection for request in recorder.requests] == [1, 1, 2]


@pytest.mark.parametrize("same", [True, False], ids=["its client", "another client"])
def test_a_connection_whose_answer_comes_after_a_switch_is_not_used_again(
    start: Start, script: Callable[..., Scripted], same: bool
) -> None:
    """Its request was on its way at the switch, so that it could not be closed."""
    asked, go_on = Event(), Event()

    def slow(peer: Peer) -> None:
        peer.read_head()
        asked.set()
        assert go_on.wait(PATIENCE)
        peer.send(OK)
        answering(OK)(peer)

    upstream = script(slow, answering(OK))
    engine = start(office(upstream.port), FakeDesk(LOGIN, knows_it=True))
    with engine.connect() as client:
        client.send(GET)
        assert asked.wait(PATIENCE)
        engine.call(engine.engine.forget_connections)
        go_on.set()
        assert client.reply().status == 200
        if same:
            assert client.ask(GET).status == 200
    engine.until(lambda: not engine.engine.executor.works, "the end of the client")
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
        pool = engine.engine.pool
        return pool.take(key) or pool.take(PoolKey(key.url, key.profile_id, key.generation + 1))

    assert engine.call(try_it) is None
