import asyncio
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.fd_task import READ
from trayproxy.engine.net.poller import Poller, open_poller
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.upstream.pool import (
    MAX_IDLE_PER_KEY,
    RECENT_USE_S,
    Pool,
    PoolKey,
    UpstreamConnection,
)

KEY = PoolKey("http://proxy.test:3128")


class Pair:
    """A connection as the pool keeps it, and its far end."""

    def __init__(self, stack: ExitStack, key: PoolKey = KEY) -> None:
        near, far = socket.socketpair()
        self.far = stack.enter_context(far)
        stack.enter_context(near)
        self.connection = UpstreamConnection(SocketStream(near), key)

    @property
    def is_closed(self) -> bool:
        return self.connection.stream.socket.fileno() < 0


@pytest.fixture
def descriptors(loop: asyncio.AbstractEventLoop) -> Iterator[Poller]:
    descriptors = open_poller(loop)
    yield descriptors
    descriptors.close()


@pytest.fixture
def pool(loop: asyncio.AbstractEventLoop, descriptors: Poller) -> Iterator[Pool]:
    pool = Pool(loop, EngineLimits(idle_upstream_s=0.05), descriptors)
    yield pool
    pool.clear()


def turn(loop: asyncio.AbstractEventLoop, holds: Callable[[], bool]) -> None:
    """Let the loop run until something holds."""

    deadline = loop.time() + 20
    while not holds():
        assert loop.time() < deadline
        loop.run_until_complete(asyncio.sleep(0.005))


def test_take_returns_the_most_recently_used_connection(pool: Pool, stack: ExitStack) -> None:
    first, second = Pair(stack), Pair(stack)
    pool.put(first.connection)
    pool.put(second.connection)
    assert pool.take(KEY) is second.connection
    assert pool.take(KEY) is first.connection
    assert pool.take(KEY) is None


@pytest.mark.parametrize(
    "other",
    [PoolKey("http://other.test:3128"), PoolKey(KEY.url, "office"), PoolKey(KEY.url, "", 2)],
    ids=["hop", "owner", "generation"],
)
def test_take_returns_no_connection_of_another_key(
    pool: Pool, stack: ExitStack, other: PoolKey
) -> None:
    pool.put(Pair(stack).connection)
    assert pool.take(other) is None


@pytest.mark.parametrize("says", [b"unasked", b""], ids=["speaks", "ends"])
def test_an_idle_connection_with_data_or_eof_is_closed(
    pool: Pool, stack: ExitStack, loop: asyncio.AbstractEventLoop, says: bytes
) -> None:
    pair = Pair(stack)
    pool.put(pair.connection)
    if says:
        pair.far.send(says)
    else:
        pair.far.close()
    turn(loop, lambda: pair.is_closed)
    assert pool.take(KEY) is None


@pytest.mark.parametrize("says", [b"unasked", b""], ids=["speaks", "ends"])
def test_put_closes_a_connection_with_data_or_eof(
    pool: Pool, stack: ExitStack, says: bytes
) -> None:
    pair = Pair(stack)
    if says:
        pair.connection.stream.inbox += says
    else:
        pair.connection.stream.ended = True
    pool.put(pair.connection)
    assert pair.is_closed
    assert not pool.has_idle(KEY)


def test_put_closes_a_connection_of_an_earlier_epoch(pool: Pool, stack: ExitStack) -> None:
    """Nobody may use it, so it would only take a descriptor."""
    pool.clear()
    old, new = Pair(stack, KEY), Pair(stack, KEY._replace(epoch=pool.epoch))
    for pair in (old, new):
        pool.put(pair.connection)
    assert (old.is_closed, new.is_closed) == (True, False)
    assert not pool.is_current(KEY)
    assert pool.is_current(new.connection.key)


def test_take_detects_data_without_an_event(
    pool: Pool, stack: ExitStack, loop: asyncio.AbstractEventLoop
) -> None:
    """Of a connection that was idle, without anybody having been told yet."""
    pair = Pair(stack)
    pool.put(pair.connection)
    idle_until = loop.time() + RECENT_USE_S
    while loop.time() <= idle_until:
        select.select([], [], [], RECENT_USE_S)
    pair.far.send(b"unasked")
    assert pool.take(KEY) is None
    assert pair.is_closed


def test_an_idle_connection_expires(
    pool: Pool, stack: ExitStack, loop: asyncio.AbstractEventLoop
) -> None:
    pair = Pair(stack)
    pool.put(pair.connection)
    turn(loop, lambda: pair.is_closed)


def test_each_idle_connection_has_its_own_expiry(
    loop: asyncio.AbstractEventLoop, stack: ExitStack, descriptors: Poller
) -> None:
    """The second time that old connections are looked for, too."""
    pool = Pool(loop, EngineLimits(idle_upstream_s=0.2), descriptors)
    first, second = Pair(stack), Pair(stack)
    pool.put(first.connection)
    later = loop.time() + 0.1
    turn(loop, lambda: loop.time() >= later)
    pool.put(second.connection)
    turn(loop, lambda: first.is_closed)
    turn(loop, lambda: second.is_closed)
    assert pool._timer is None


def test_put_closes_a_connection_above_the_limit_per_key(pool: Pool, stack: ExitStack) -> None:
    pairs = [Pair(stack) for _ in range(MAX_IDLE_PER_KEY + 1)]
    for pair in pairs:
        pool.put(pair.connection)
    assert [pair.is_closed for pair in pairs] == [False] * MAX_IDLE_PER_KEY + [True]


def test_clear_closes_all_connections(pool: Pool, stack: ExitStack) -> None:
    pairs = [Pair(stack), Pair(stack, PoolKey("http://other.test:1"))]
    for pair in pairs:
        pool.put(pair.connection)
    pool.clear()
    assert all(pair.is_closed for pair in pairs)


def test_a_taken_connection_can_be_registered_again(
    descriptors: Poller, pool: Pool, stack: ExitStack, loop: asyncio.AbstractEventLoop
) -> None:
    pair = Pair(stack)
    pool.put(pair.connection)
    pool.take(KEY)
    told: list[int] = []
    descriptor = pair.connection.stream.descriptor
    descriptors.register(descriptor, READ, lambda *told_of: told.extend(told_of))
    pair.far.send(b"an answer")
    turn(loop, lambda: bool(told))
    assert not pair.is_closed


@pytest.mark.parametrize("says", [b"unasked", b""], ids=["speaks", "ends"])
def test_events_of_a_taken_connection_wait_for_its_registration(
    descriptors: Poller,
    pool: Pool,
    stack: ExitStack,
    loop: asyncio.AbstractEventLoop,
    says: bytes,
) -> None:
    """A request may have to wait for something else first: a ticket, or content to be signed."""
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    pair, other = Pair(stack), Pair(stack)
    pool.put(pair.connection)
    assert pool.take(KEY) is pair.connection
    pool.put(other.connection)
    if says:
        pair.far.send(says)
    else:
        pair.far.close()
    other.far.close()
    turn(loop, lambda: other.is_closed)
    assert complaints == []
    assert not pair.is_closed
    told: list[int] = []
    descriptor = pair.connection.stream.descriptor
    descriptors.register(descriptor, READ, lambda *told_of: told.extend(told_of))
    turn(loop, lambda: bool(told))
    descriptors.discard(descriptor)


def test_a_connection_with_octets_in_its_inbox_is_not_quiet(stack: ExitStack) -> None:
    pair = Pair(stack)
    assert pair.connection.is_quiet()
    pair.connection.stream.inbox += b"x"
    assert not pair.connection.is_quiet()
