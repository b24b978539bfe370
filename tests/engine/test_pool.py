import asyncio
import errno
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.engine.running import LOOPS, NewLoop
from tests.support.namespaces import ALONE, skip_without_namespaces
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.fd_task import READ, TIMED_OUT, WRITE, FdTask, IoWait, run_in_task
from trayproxy.engine.net.poller import Poller, open_poller
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.upstream import pool as pool_module
from trayproxy.engine.upstream.pool import (
    BUSY_S,
    KEPT_PER_KEY,
    NAMES_KEPT,
    NAMES_KEPT_S,
    Address,
    Pool,
    PoolKey,
    Resolver,
    UpstreamConnection,
    connect,
    literal_address,
)

T = TypeVar("T")

LIMITS = EngineLimits(next_address_s=0.05, connect_s=0.3, connect_total_s=1.0)
KEY = PoolKey("http://proxy.test:3128")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def loop(new_loop: NewLoop) -> Iterator[asyncio.AbstractEventLoop]:
    loop = new_loop()
    yield loop
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


async def pause(wait: IoWait) -> int:
    return await wait


def drive(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[IoWait, int, T]) -> T:
    """Do for a coroutine what the executor and a client connection do for theirs.

    Raises:
        OSError: What the coroutine raises.
    """
    outcome: asyncio.Future[T] = loop.create_future()

    async def story() -> None:
        try:
            outcome.set_result(await coroutine)
        except OSError as error:
            outcome.set_exception(error)

    watched: set[int] = set()

    def watch() -> None:
        for descriptor in watched:
            loop.remove_writer(descriptor)
        watched.clear()
        for descriptor, mask in strand.events.items():
            assert mask == WRITE
            loop.add_writer(descriptor, step, descriptor)
            watched.add(descriptor)

    def step(woken_by: int) -> None:
        if not strand.step(woken_by):
            watch()
        else:
            watched_now = list(watched)
            watched.clear()
            for descriptor in watched_now:
                loop.remove_writer(descriptor)

    strand = FdTask(story(), loop, step)
    if not strand.start():
        watch()
    return loop.run_until_complete(asyncio.wait_for(outcome, 20))


# --- names ---


class Names:
    """A loop whose name server is ours.

    Attributes:
        asked: The names that were looked up.
        now: What its clock says.
    """

    def __init__(self, *answers: list[Address] | OSError | None) -> None:
        self.asked: list[tuple[bytes, int]] = []
        self.now = 0.0
        self._answers = list(answers)

    def time(self) -> float:
        return self.now

    def create_task(self, coroutine: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        return self._loop.create_task(coroutine)

    async def getaddrinfo(self, host: bytes, port: int, *, type: int) -> list[Any]:
        self.asked.append((host, port))
        answer = self._answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        if answer is None:
            await self._loop.create_future()
        return [(family, type, 0, "", address) for family, address in answer or ()]

    def on(self, loop: asyncio.AbstractEventLoop) -> "Names":
        self._loop = loop
        return self


V4: list[Address] = [(socket.AF_INET, (f"192.0.2.{n}", 80)) for n in (1, 2, 3)]
V6: list[Address] = [(socket.AF_INET6, (f"2001:db8::{n}", 80, 0, 0)) for n in (1, 2)]


def resolver(names: Names, loop: asyncio.AbstractEventLoop) -> Resolver:
    return Resolver(names.on(loop))  # type: ignore[arg-type]  # It uses these methods only.


@pytest.mark.parametrize(
    ("host", "family"),
    [
        ("127.0.0.1", socket.AF_INET),
        ("::1", socket.AF_INET6),
        ("::ffff:127.0.0.1", socket.AF_INET6),
    ],
)
def test_an_ip_literal_needs_no_name_server(host: str, family: socket.AddressFamily) -> None:
    ((found, address),) = literal_address(host, 80)
    assert (found, address[:2]) == (family, (host, 80))


def test_an_ipv6_literal_may_have_a_zone() -> None:
    index = socket.if_nametoindex("lo")
    for zone in ("lo", str(index)):
        ((family, address),) = literal_address(f"fe80::1%{zone}", 80)
        assert (family, address) == (socket.AF_INET6, ("fe80::1", 80, 0, index))
    ((_, address),) = literal_address("fe80::1%no-such-interface", 80)
    assert address[3] not in {number for number, _ in socket.if_nameindex()} | {0}
    assert literal_address("127.0.0.1%lo", 80) == ()


def test_a_proxy_at_an_address_with_a_zone_is_reached() -> None:
    """On each loop: uvloop's resolver drops the zone."""
    skip_without_namespaces()
    result = subprocess.run(
        [*ALONE, sys.executable, "-m", "tests.engine.zones"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
    )
    zones = {"%near": 200, "%25near": 200, "%NUMBER": 200, "%nowhere": 502}
    expected = [f"{name} {zone} {code}" for name in LOOPS for zone, code in zones.items()]
    assert result.stdout.splitlines() == expected, result.stderr


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1", "localhost", "127.0.0.1.", ""])
def test_what_only_looks_like_a_literal_is_a_name(host: str) -> None:
    assert literal_address(host, 80) == ()


def test_families_take_turns(loop: asyncio.AbstractEventLoop) -> None:
    """RFC 8305, section 4."""
    names = Names([*V6, *V4])
    found = drive(loop, resolver(names, loop).look_up("a.test", 80, pause, 5.0))
    assert found == (V6[0], V4[0], V6[1], V4[1], V4[2])


def test_names_are_remembered_for_some_seconds(loop: asyncio.AbstractEventLoop) -> None:
    names = Names(V4, V4[:1])
    resolves = resolver(names, loop)
    for now in (0.0, NAMES_KEPT_S / 2, NAMES_KEPT_S + 1):
        names.now = now
        found = drive(loop, resolves.look_up("a.test", 80, pause, 5.0))
    assert len(names.asked) == 2
    assert found == (V4[0],)


def test_only_so_many_names_are_remembered(loop: asyncio.AbstractEventLoop) -> None:
    found = resolver(Names(), loop)
    for number in range(NAMES_KEPT + 1):
        assert len(found._known) <= NAMES_KEPT
        assert found.known(f"127.0.{number // 256}.{number % 256}", 80)
    assert len(found._known) == 1  # All were forgotten, and the last one is remembered.


def test_forgetting_asks_again(loop: asyncio.AbstractEventLoop) -> None:
    names = Names(V4, V4)
    resolves = resolver(names, loop)
    for _ in range(2):
        drive(loop, resolves.look_up("a.test", 80, pause, 5.0))
        resolves.forget()
    assert len(names.asked) == 2


def test_a_name_server_that_says_nothing_is_given_up(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(socket.gaierror):
        drive(loop, resolver(Names(None), loop).look_up("a.test", 80, pause, 0.05))


def test_a_name_that_many_wait_for_is_asked_for_once(loop: asyncio.AbstractEventLoop) -> None:
    """Each would take one of the few threads that the system asks in."""
    names = Names(V4)
    resolves = resolver(names, loop)

    async def crowd() -> list[tuple[Address, ...]]:
        look_ups = (resolves.look_up("a.test", 80, pause, 5.0) for _ in range(50))
        return await asyncio.gather(*map(run_in_task, look_ups))

    assert loop.run_until_complete(crowd()) == [tuple(V4)] * 50
    assert len(names.asked) == 1


def test_a_failure_is_the_failure_of_all_who_wait(loop: asyncio.AbstractEventLoop) -> None:
    names = Names(socket.gaierror(socket.EAI_NONAME, "unknown"))
    resolves = resolver(names, loop)

    async def crowd() -> list[object]:
        look_ups = (resolves.look_up("a.test", 80, pause, 5.0) for _ in range(3))
        return await asyncio.gather(*map(run_in_task, look_ups), return_exceptions=True)

    assert [type(each) for each in loop.run_until_complete(crowd())] == [socket.gaierror] * 3
    assert len(names.asked) == 1


def test_one_that_leaves_does_not_take_the_answer_from_the_others(
    loop: asyncio.AbstractEventLoop,
) -> None:
    names = Names(None)
    resolves = resolver(names, loop)

    async def three() -> list[object]:
        limits = (0.02, 5.0, 0.02)
        look_ups = (resolves.look_up("a.test", 80, pause, limit) for limit in limits)
        tasks = [asyncio.ensure_future(run_in_task(look_up)) for look_up in look_ups]
        await asyncio.wait((tasks[0], tasks[2]))
        assert not tasks[1].done()
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    kinds = [type(each) for each in loop.run_until_complete(three())]
    assert kinds == [socket.gaierror, asyncio.CancelledError, socket.gaierror]
    assert len(names.asked) == 1


def test_after_a_silence_the_name_server_is_asked_anew(loop: asyncio.AbstractEventLoop) -> None:
    names = Names(None, V4)
    resolves = resolver(names, loop)

    async def one_after_the_other() -> tuple[Address, ...]:
        patient = asyncio.ensure_future(run_in_task(resolves.look_up("a.test", 80, pause, 5.0)))
        with pytest.raises(socket.gaierror):
            await run_in_task(resolves.look_up("a.test", 80, pause, 0.02))
        found = await run_in_task(resolves.look_up("a.test", 80, pause, 5.0))
        patient.cancel()
        await asyncio.wait((patient,))
        return found

    assert loop.run_until_complete(one_after_the_other()) == tuple(V4)
    assert len(names.asked) == 2


def test_a_name_that_nobody_knows_is_not_remembered(loop: asyncio.AbstractEventLoop) -> None:
    names = Names(socket.gaierror(socket.EAI_NONAME, "unknown"), V4)
    resolves = resolver(names, loop)
    with pytest.raises(socket.gaierror):
        drive(loop, resolves.look_up("a.test", 80, pause, 5.0))
    assert drive(loop, resolves.look_up("a.test", 80, pause, 5.0))


def test_the_systems_own_names_are_found(loop: asyncio.AbstractEventLoop) -> None:
    found = drive(loop, Resolver(loop).look_up("localhost", 80, pause, 5.0))
    assert {address[0] for _, address in found} <= {"127.0.0.1", "::1"}


# --- dialling ---


@pytest.fixture
def listening(stack: ExitStack) -> Address:
    """An address that accepts."""
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    return (socket.AF_INET, listener.getsockname())


@pytest.fixture
def refusing() -> Address:
    """An address that refuses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return (socket.AF_INET, listener.getsockname())


@pytest.fixture
def silent(stack: ExitStack) -> Address:
    """An address that does not answer: its queue is full."""
    listener = stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    address = listener.getsockname()
    while True:
        waiting = stack.enter_context(socket.socket())
        waiting.settimeout(0.2)
        try:
            waiting.connect(address)
        except TimeoutError:
            return (socket.AF_INET, address)


UNROUTABLE: Address = (socket.AF_INET, ("255.255.255.255", 80))
"""An address to which connecting fails at once, as without a route."""
NO_SUCH_FAMILY: Address = (socket.AddressFamily.AF_PACKET, ("lo", 0))
"""An address of a family in which one cannot connect, as of IPv6 on a system without."""


def dial(
    loop: asyncio.AbstractEventLoop, *addresses: Address
) -> tuple[socket.SocketType, list[int]]:
    """Connect; return the connection and the descriptors that were released."""
    released: list[int] = []
    made = drive(loop, connect(addresses, pause, released.append, LIMITS, loop.time))
    return made, released


def test_the_first_address_that_answers_is_taken(
    loop: asyncio.AbstractEventLoop, listening: Address
) -> None:
    made, _ = dial(loop, listening)
    with closing(made):
        assert made.getpeername() == listening[1]


def test_an_address_that_refuses_gives_way_to_the_next(
    loop: asyncio.AbstractEventLoop, refusing: Address, listening: Address
) -> None:
    made, _ = dial(loop, refusing, refusing, listening)
    with closing(made):
        assert made.getpeername() == listening[1]


def test_a_family_that_the_system_lacks_gives_way_to_the_next(
    loop: asyncio.AbstractEventLoop, listening: Address
) -> None:
    made, _ = dial(loop, NO_SUCH_FAMILY, listening)
    with closing(made):
        assert made.getpeername() == listening[1]


def test_a_slow_address_is_overtaken_by_the_next_and_let_go(
    loop: asyncio.AbstractEventLoop, silent: Address, listening: Address
) -> None:
    before = loop.time()
    made, released = dial(loop, silent, listening)
    with closing(made):
        assert made.getpeername() == listening[1]
        assert loop.time() - before < LIMITS.connect_s
        assert made.fileno() not in released[:-1]
        assert len(released) == 1


def test_an_address_that_fails_at_once_gives_way_to_the_next(
    loop: asyncio.AbstractEventLoop, listening: Address
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    made, _ = dial(loop, UNROUTABLE, UNROUTABLE, listening)
    with closing(made):
        assert made.getpeername() == listening[1]
        assert len(os.listdir("/proc/self/fd")) == before + 1


def test_nobody_who_answers_is_the_error_that_says_most(
    loop: asyncio.AbstractEventLoop, refusing: Address, silent: Address
) -> None:
    """A family without a route says least: most names have an address of each."""
    for addresses in ([NO_SUCH_FAMILY, refusing], [refusing, NO_SUCH_FAMILY], [silent, refusing]):
        with pytest.raises(ConnectionRefusedError):
            dial(loop, *addresses)
    for addresses in ([UNROUTABLE, silent], [silent, UNROUTABLE]):
        with pytest.raises(TimeoutError):
            dial(loop, *addresses)
    with pytest.raises(OSError, match=r"unreachable|denied") as raised:
        dial(loop, UNROUTABLE)
    assert not isinstance(raised.value, TimeoutError)


def test_what_this_computer_lacks_is_told_before_what_others_do(
    loop: asyncio.AbstractEventLoop, refusing: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(address: Address) -> socket.SocketType:
        if address == NO_SUCH_FAMILY:
            raise OSError(errno.EMFILE, "Too many open files")
        return begun(address)

    begun = pool_module.begin
    monkeypatch.setattr(pool_module, "begin", begin)
    for addresses in ([NO_SUCH_FAMILY, refusing], [refusing, NO_SUCH_FAMILY]):
        with pytest.raises(OSError, match="Too many open files"):
            dial(loop, *addresses)


def test_addresses_that_do_not_answer_end_in_a_timeout(
    loop: asyncio.AbstractEventLoop, silent: Address
) -> None:
    before = loop.time()
    with pytest.raises(TimeoutError):
        dial(loop, silent, silent)
    assert LIMITS.connect_s <= loop.time() - before <= LIMITS.connect_total_s + 1


class Clock:
    """A clock that goes only while somebody waits, and nothing ever happens."""

    def __init__(self) -> None:
        self.time = 0.0
        self.waits: list[int] = []

    def now(self) -> float:
        return self.time

    async def pause(self, wait: IoWait) -> int:
        assert wait.timeout is not None
        self.waits.append(len(wait.events))
        self.time += wait.timeout
        return TIMED_OUT


def test_many_silent_addresses_have_one_limit_together(
    loop: asyncio.AbstractEventLoop, silent: Address
) -> None:
    clock, limits, released = Clock(), EngineLimits(), list[int]()
    dialling = connect((silent,) * 1000, clock.pause, released.append, limits, clock.now)
    with pytest.raises(TimeoutError):
        drive(loop, dialling)
    assert clock.time == pytest.approx(limits.connect_total_s)
    # One begins each quarter of a second, and each has ten: no more than forty at once.
    at_once = limits.connect_s / limits.next_address_s
    assert max(clock.waits) == at_once
    assert len(released) == pytest.approx(limits.connect_total_s / limits.next_address_s)


def test_each_address_has_a_limit_of_its_own(
    loop: asyncio.AbstractEventLoop, silent: Address
) -> None:
    clock, limits = Clock(), EngineLimits()
    with pytest.raises(TimeoutError):
        drive(loop, connect((silent,), clock.pause, lambda _: None, limits, clock.now))
    assert clock.time == pytest.approx(limits.connect_s)


def test_no_address_is_a_timeout_of_its_own(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(TimeoutError):
        dial(loop)


def test_whoever_stops_dialling_lets_all_go(
    loop: asyncio.AbstractEventLoop, silent: Address
) -> None:
    released: list[int] = []

    class LeftError(OSError):
        pass

    async def leave(wait: IoWait) -> int:
        woken = await wait
        if woken == TIMED_OUT:
            raise LeftError(errno.ECONNABORTED, "gone")
        return woken

    with pytest.raises(LeftError):
        drive(loop, connect((silent, silent), leave, released.append, LIMITS, loop.time))
    assert len(released) == 1


# --- keeping ---


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
    pool = Pool(loop, EngineLimits(kept_s=0.05), descriptors)
    yield pool
    pool.clear()


def turn(loop: asyncio.AbstractEventLoop, holds: Callable[[], bool]) -> None:
    """Let the loop run until something holds."""

    deadline = loop.time() + 20
    while not holds():
        assert loop.time() < deadline
        loop.run_until_complete(asyncio.sleep(0.005))


def test_the_connection_used_last_is_taken_first(pool: Pool, stack: ExitStack) -> None:
    first, second = Pair(stack), Pair(stack)
    pool.keep(first.connection)
    pool.keep(second.connection)
    assert pool.take(KEY) is second.connection
    assert pool.take(KEY) is first.connection
    assert pool.take(KEY) is None


@pytest.mark.parametrize(
    "other",
    [PoolKey("http://other.test:3128"), PoolKey(KEY.hop, "office"), PoolKey(KEY.hop, "", 2)],
    ids=["hop", "owner", "generation"],
)
def test_a_connection_is_used_for_nothing_but_its_key(
    pool: Pool, stack: ExitStack, other: PoolKey
) -> None:
    pool.keep(Pair(stack).connection)
    assert pool.take(other) is None


@pytest.mark.parametrize("says", [b"unasked", b""], ids=["speaks", "ends"])
def test_a_connection_that_is_not_quiet_is_dropped(
    pool: Pool, stack: ExitStack, loop: asyncio.AbstractEventLoop, says: bytes
) -> None:
    pair = Pair(stack)
    pool.keep(pair.connection)
    if says:
        pair.far.send(says)
    else:
        pair.far.close()
    turn(loop, lambda: pair.is_closed)
    assert pool.take(KEY) is None


@pytest.mark.parametrize("says", [b"unasked", b""], ids=["speaks", "ends"])
def test_a_connection_that_is_not_quiet_is_not_kept_at_all(
    pool: Pool, stack: ExitStack, says: bytes
) -> None:
    pair = Pair(stack)
    if says:
        pair.connection.stream.inbox += says
    else:
        pair.connection.stream.ended = True
    pool.keep(pair.connection)
    assert pair.is_closed
    assert not pool.has(KEY)


def test_a_connection_of_an_earlier_epoch_is_not_kept(pool: Pool, stack: ExitStack) -> None:
    """Nobody may use it, so it would only take a descriptor."""
    pool.clear()
    old, new = Pair(stack, KEY), Pair(stack, KEY._replace(epoch=pool.epoch))
    for pair in (old, new):
        pool.keep(pair.connection)
    assert (old.is_closed, new.is_closed) == (True, False)
    assert not pool.is_current(KEY)
    assert pool.is_current(new.connection.key)


def test_what_came_just_now_is_noticed_when_taking(
    pool: Pool, stack: ExitStack, loop: asyncio.AbstractEventLoop
) -> None:
    """Of a connection that was idle, without anybody having been told yet."""
    pair = Pair(stack)
    pool.keep(pair.connection)
    idle_until = loop.time() + BUSY_S
    while loop.time() <= idle_until:
        select.select([], [], [], BUSY_S)
    pair.far.send(b"unasked")
    assert pool.take(KEY) is None
    assert pair.is_closed


def test_connections_are_not_kept_for_ever(
    pool: Pool, stack: ExitStack, loop: asyncio.AbstractEventLoop
) -> None:
    pair = Pair(stack)
    pool.keep(pair.connection)
    turn(loop, lambda: pair.is_closed)


def test_those_that_were_kept_later_end_later(
    loop: asyncio.AbstractEventLoop, stack: ExitStack, descriptors: Poller
) -> None:
    """The second time that old connections are looked for, too."""
    pool = Pool(loop, EngineLimits(kept_s=0.2), descriptors)
    first, second = Pair(stack), Pair(stack)
    pool.keep(first.connection)
    later = loop.time() + 0.1
    turn(loop, lambda: loop.time() >= later)
    pool.keep(second.connection)
    turn(loop, lambda: first.is_closed)
    turn(loop, lambda: second.is_closed)
    assert pool._timer is None


def test_only_so_many_are_kept(pool: Pool, stack: ExitStack) -> None:
    pairs = [Pair(stack) for _ in range(KEPT_PER_KEY + 1)]
    for pair in pairs:
        pool.keep(pair.connection)
    assert [pair.is_closed for pair in pairs] == [False] * KEPT_PER_KEY + [True]


def test_clearing_closes_all(pool: Pool, stack: ExitStack) -> None:
    pairs = [Pair(stack), Pair(stack, PoolKey("http://other.test:1"))]
    for pair in pairs:
        pool.keep(pair.connection)
    pool.clear()
    assert all(pair.is_closed for pair in pairs)


def test_a_connection_is_watched_by_whom_it_was_taken(
    descriptors: Poller, pool: Pool, stack: ExitStack, loop: asyncio.AbstractEventLoop
) -> None:
    pair = Pair(stack)
    pool.keep(pair.connection)
    pool.take(KEY)
    told: list[int] = []
    descriptor = pair.connection.stream.descriptor
    descriptors.watch(descriptor, READ, lambda *told_of: told.extend(told_of))
    pair.far.send(b"an answer")
    turn(loop, lambda: bool(told))
    assert not pair.is_closed


@pytest.mark.parametrize("says", [b"unasked", b""], ids=["speaks", "ends"])
def test_one_that_was_taken_is_nobodys_news_until_somebody_watches_it(
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
    pool.keep(pair.connection)
    assert pool.take(KEY) is pair.connection
    pool.keep(other.connection)
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
    descriptors.watch(descriptor, READ, lambda *told_of: told.extend(told_of))
    turn(loop, lambda: bool(told))
    descriptors.drop(descriptor)


def test_octets_that_were_read_already_are_no_quiet(stack: ExitStack) -> None:
    pair = Pair(stack)
    assert pair.connection.is_quiet()
    pair.connection.stream.inbox += b"x"
    assert not pair.connection.is_quiet()
