import asyncio
import socket
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest

from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.fd_task import READ
from trayproxy.engine.net.poller import Poller, open_poller
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.upstream.leftover_content import LeftoverContent
from trayproxy.engine.upstream.pool import (
    MAX_IDLE_PER_KEY,
    RECENT_USE_S,
    Pool,
    PoolKey,
    UpstreamConnection,
)
from trayproxy.engine.upstream.route import Route
from trayproxy.http.framing import Length

KEY = PoolKey("http://proxy.test:3128")


class ConnectionPair:
    """An upstream connection, and the socket of its peer."""

    def __init__(self, stack: ExitStack, key: PoolKey = KEY) -> None:
        near, far = socket.socketpair()
        self.far = stack.enter_context(far)
        stack.enter_context(near)
        self.connection = UpstreamConnection(SocketStream(near), key)

    @property
    def is_closed(self) -> bool:
        return self.connection.stream.socket.fileno() < 0


@pytest.mark.parametrize(("responses", "is_silent"), [(5, True), (6, False)])
def test_a_next_hop_is_silent_until_its_first_response_to_any_request(
    stack: ExitStack, responses: int, is_silent: bool
) -> None:
    connection = ConnectionPair(stack).connection
    assert not connection.is_upstream_silent  # It has carried no request.
    connection.route, connection.responses_before = Route.direct(), 5
    connection.route.activity.responses = responses
    assert connection.is_upstream_silent is is_silent


@pytest.fixture
def poller(loop: AbstractEventLoop) -> Iterator[Poller]:
    poller = open_poller(loop)
    yield poller
    poller.close()


@pytest.fixture
def pool(loop: AbstractEventLoop, poller: Poller) -> Iterator[Pool]:
    pool = Pool(loop, EngineLimits(idle_upstream_s=0.05), poller)
    yield pool
    pool.clear()


def run_until(loop: AbstractEventLoop, holds: Callable[[], bool]) -> None:
    """Run the loop until the condition is true."""

    deadline = loop.time() + 20
    while not holds():
        assert loop.time() < deadline
        loop.run_until_complete(asyncio.sleep(0.005))


def test_take_returns_the_most_recently_used_connection(pool: Pool, stack: ExitStack) -> None:
    first, second = ConnectionPair(stack), ConnectionPair(stack)
    pool.put(first.connection)
    pool.put(second.connection)
    assert pool.take(KEY) is second.connection
    assert pool.take(KEY) is first.connection
    assert pool.take(KEY) is None


def test_an_idle_connection_has_keep_alive(pool: Pool, stack: ExitStack) -> None:
    pair = ConnectionPair(stack)
    pool.put(pair.connection)
    assert pair.connection.stream.has_keepalive


@pytest.mark.parametrize(
    "other",
    [PoolKey("http://other.test:3128"), PoolKey(KEY.url, "office"), PoolKey(KEY.url, "", 2)],
    ids=["hop", "owner", "generation"],
)
def test_take_returns_no_connection_of_another_key(
    pool: Pool, stack: ExitStack, other: PoolKey
) -> None:
    pool.put(ConnectionPair(stack).connection)
    assert pool.take(other) is None


@pytest.mark.parametrize("data", [b"unasked", b""], ids=["speaks", "ends"])
def test_an_idle_connection_with_data_or_eof_is_closed(
    pool: Pool, stack: ExitStack, loop: AbstractEventLoop, data: bytes
) -> None:
    pair = ConnectionPair(stack)
    pool.put(pair.connection)
    if data:
        pair.far.send(data)
    else:
        pair.far.close()
    run_until(loop, lambda: pair.is_closed)
    assert pool.take(KEY) is None


def test_an_idle_connection_may_receive_the_content_of_a_response_to_head(
    pool: Pool, stack: ExitStack, loop: AbstractEventLoop
) -> None:
    pair = ConnectionPair(stack)
    pair.connection.leftover = LeftoverContent(Length(4))
    pool.put(pair.connection)
    pair.far.send(b"late")
    run_until(loop, lambda: pair.connection.leftover is None)
    assert pool.take(KEY) is pair.connection


@pytest.mark.parametrize("data", [b"unasked", b""], ids=["speaks", "ends"])
def test_put_closes_a_connection_with_data_or_eof(
    pool: Pool, stack: ExitStack, data: bytes
) -> None:
    pair = ConnectionPair(stack)
    if data:
        pair.connection.stream.inbox += data
    else:
        pair.connection.stream.ended = True
    pool.put(pair.connection)
    assert pair.is_closed
    assert not pool.has_idle(KEY)


def test_put_closes_a_connection_of_an_earlier_epoch(pool: Pool, stack: ExitStack) -> None:
    """No request may use the connection, so it would only occupy a descriptor."""
    pool.clear()
    old, new = ConnectionPair(stack, KEY), ConnectionPair(stack, KEY._replace(epoch=pool.epoch))
    for pair in (old, new):
        pool.put(pair.connection)
    assert (old.is_closed, new.is_closed) == (True, False)
    assert not pool.is_current(KEY)
    assert pool.is_current(new.connection.key)


def test_take_detects_data_without_an_event(
    pool: Pool, stack: ExitStack, loop: AbstractEventLoop
) -> None:
    """The loop has not run since the data arrived, so the pool has received no event."""
    pair = ConnectionPair(stack)
    pool.put(pair.connection)
    idle_until = loop.time() + RECENT_USE_S
    while loop.time() <= idle_until:
        Event().wait(RECENT_USE_S)
    pair.far.send(b"unasked")
    assert pool.take(KEY) is None
    assert pair.is_closed


def test_an_idle_connection_expires(pool: Pool, stack: ExitStack, loop: AbstractEventLoop) -> None:
    pair = ConnectionPair(stack)
    pool.put(pair.connection)
    run_until(loop, lambda: pair.is_closed)


def test_each_idle_connection_has_its_own_expiry(
    loop: AbstractEventLoop, stack: ExitStack, poller: Poller
) -> None:
    """The expiry timer is started again for the second connection."""
    timers: list[asyncio.TimerHandle] = []

    class RecordingLoop:
        """The part of an event loop that the pool uses, with a record of the timers."""

        time = loop.time

        def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
            timers.append(loop.call_later(delay_s, callback))
            return timers[-1]

    recording_loop = cast(AbstractEventLoop, RecordingLoop())
    pool = Pool(recording_loop, EngineLimits(idle_upstream_s=0.2), poller)
    first, second = ConnectionPair(stack), ConnectionPair(stack)
    pool.put(first.connection)
    later = loop.time() + 0.1
    run_until(loop, lambda: loop.time() >= later)
    pool.put(second.connection)
    run_until(loop, lambda: first.is_closed)
    run_until(loop, lambda: second.is_closed)
    assert all(timer.when() <= loop.time() for timer in timers)


def test_put_closes_a_connection_above_the_limit_per_key(pool: Pool, stack: ExitStack) -> None:
    pairs = [ConnectionPair(stack) for _ in range(MAX_IDLE_PER_KEY + 1)]
    for pair in pairs:
        pool.put(pair.connection)
    assert [pair.is_closed for pair in pairs] == [False] * MAX_IDLE_PER_KEY + [True]


class FakeLoop:
    """The part of an event loop that the pool uses, with a clock of the test.

    Attributes:
        now: The time.
        timers: The delays and the callbacks of all timers.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> SimpleNamespace:
        self.timers.append((delay_s, callback))
        return SimpleNamespace(cancel=lambda: None)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeLoop:
    """A loop with a clock of the test; a connection counts as recently used for half a second."""
    monkeypatch.setattr("trayproxy.engine.upstream.pool.RECENT_USE_S", 0.5)
    return FakeLoop()


@pytest.mark.parametrize(("pause_s", "checks"), [(0.0, 1), (0.5, 1), (0.75, 2)])
@pytest.mark.parametrize("by", ["is_current", "check_for_suspend"])
def test_a_suspend_is_checked_again_after_a_moment(
    poller: Poller, fake: FakeLoop, pause_s: float, checks: int, by: str
) -> None:
    made: list[float] = []
    loop = cast(AbstractEventLoop, fake)
    pool = Pool(loop, EngineLimits(), poller, lambda: made.append(fake.now))
    pool.check_for_suspend()
    assert pool.is_current(KEY)
    fake.now += pause_s
    for _ in range(2):
        pool.is_current(KEY) if by == "is_current" else pool.check_for_suspend()
    assert made == [1000.0, fake.now][:checks]


@pytest.mark.parametrize(("pause_s", "is_taken"), [(0.25, True), (0.5, False)])
def test_only_a_recently_used_connection_is_taken_without_reading_its_socket(
    stack: ExitStack, fake: FakeLoop, pause_s: float, is_taken: bool
) -> None:
    poller = SimpleNamespace(
        register=lambda *arguments: None,
        discard=lambda descriptor: None,
        may_be_ready=lambda descriptor: False,
    )
    pool = Pool(cast(AbstractEventLoop, fake), EngineLimits(), cast(Poller, poller))
    pair = ConnectionPair(stack)
    pool.put(pair.connection)
    pair.far.send(b"unasked")
    fake.now += pause_s
    assert (pool.take(KEY) is not None) is is_taken


def test_an_idle_connection_is_closed_exactly_at_its_limit(
    poller: Poller, stack: ExitStack, fake: FakeLoop
) -> None:
    pool = Pool(cast(AbstractEventLoop, fake), EngineLimits(), poller)
    first, second = ConnectionPair(stack), ConnectionPair(stack)
    pool.put(first.connection)
    fake.now += 1.0
    pool.put(second.connection)
    [(delay_s, close_expired)] = fake.timers
    assert delay_s == EngineLimits().idle_upstream_s
    fake.now = 1000.0 + delay_s
    close_expired()
    assert (first.is_closed, second.is_closed) == (True, False)
    fake.now += 1.0
    fake.timers[1][1]()
    assert second.is_closed
    assert len(fake.timers) == 2  # An empty pool has no timer.
    pool.put(ConnectionPair(stack).connection)
    assert len(fake.timers) == 3
    pool.clear()
    pool.put(ConnectionPair(stack, KEY._replace(epoch=1)).connection)
    assert len(fake.timers) == 4
    pool.clear()


def test_clear_closes_all_connections(pool: Pool, stack: ExitStack) -> None:
    pairs = [ConnectionPair(stack), ConnectionPair(stack, PoolKey("http://other.test:1"))]
    for pair in pairs:
        pool.put(pair.connection)
    pool.clear()
    assert all(pair.is_closed for pair in pairs)


def test_a_taken_connection_can_be_registered_again(
    poller: Poller, pool: Pool, stack: ExitStack, loop: AbstractEventLoop
) -> None:
    pair = ConnectionPair(stack)
    pool.put(pair.connection)
    pool.take(KEY)
    events: list[int] = []
    descriptor = pair.connection.stream.descriptor
    poller.register(descriptor, READ, lambda *event: events.extend(event))
    pair.far.send(b"an answer")
    run_until(loop, lambda: bool(events))
    assert not pair.is_closed


@pytest.mark.parametrize("data", [b"unasked", b""], ids=["speaks", "ends"])
def test_events_of_a_taken_connection_wait_for_its_registration(
    poller: Poller, pool: Pool, stack: ExitStack, loop: AbstractEventLoop, data: bytes
) -> None:
    """A request may first have to wait for a Kerberos ticket or for its content."""
    loop_errors: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: loop_errors.append(context))
    pair, other = ConnectionPair(stack), ConnectionPair(stack)
    pool.put(pair.connection)
    assert pool.take(KEY) is pair.connection
    pool.put(other.connection)
    if data:
        pair.far.send(data)
    else:
        pair.far.close()
    other.far.close()
    run_until(loop, lambda: other.is_closed)
    assert loop_errors == []
    assert not pair.is_closed
    events: list[int] = []
    descriptor = pair.connection.stream.descriptor
    poller.register(descriptor, READ, lambda *event: events.extend(event))
    run_until(loop, lambda: bool(events))
    poller.discard(descriptor)


def test_a_connection_with_octets_in_its_inbox_is_not_quiet(stack: ExitStack) -> None:
    pair = ConnectionPair(stack)
    assert pair.connection.is_quiet()
    pair.connection.stream.inbox += b"x"
    assert not pair.connection.is_quiet()
