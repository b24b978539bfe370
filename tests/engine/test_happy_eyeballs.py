import asyncio
import errno
import os
import socket
from contextlib import ExitStack, closing

import pytest

from tests.engine.driving import drive, pause
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net import happy_eyeballs
from trayproxy.engine.net.fd_task import TIMED_OUT, IoWait
from trayproxy.engine.net.happy_eyeballs import connect
from trayproxy.engine.net.resolver import Address

LIMITS = EngineLimits(connection_attempt_delay_s=0.05, connect_s=0.3, connect_total_s=1.0)


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


def test_connect_returns_a_connection_to_the_address(
    loop: asyncio.AbstractEventLoop, listening: Address
) -> None:
    made, _ = dial(loop, listening)
    with closing(made):
        assert made.getpeername() == listening[1]


def test_after_a_refusal_the_next_address_is_tried(
    loop: asyncio.AbstractEventLoop, refusing: Address, listening: Address
) -> None:
    made, _ = dial(loop, refusing, refusing, listening)
    with closing(made):
        assert made.getpeername() == listening[1]


def test_after_an_unsupported_family_the_next_address_is_tried(
    loop: asyncio.AbstractEventLoop, listening: Address
) -> None:
    made, _ = dial(loop, NO_SUCH_FAMILY, listening)
    with closing(made):
        assert made.getpeername() == listening[1]


def test_a_slow_address_is_overtaken_and_closed(
    loop: asyncio.AbstractEventLoop, silent: Address, listening: Address
) -> None:
    before = loop.time()
    made, released = dial(loop, silent, listening)
    with closing(made):
        assert made.getpeername() == listening[1]
        assert loop.time() - before < LIMITS.connect_s
        assert made.fileno() not in released[:-1]
        assert len(released) == 1


def test_after_an_immediate_error_the_next_address_is_tried(
    loop: asyncio.AbstractEventLoop, listening: Address
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    made, _ = dial(loop, UNROUTABLE, UNROUTABLE, listening)
    with closing(made):
        assert made.getpeername() == listening[1]
        assert len(os.listdir("/proc/self/fd")) == before + 1


def test_if_all_addresses_fail_the_most_informative_error_is_raised(
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


def test_a_resource_shortage_ranks_above_a_refusal(
    loop: asyncio.AbstractEventLoop, refusing: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(address: Address) -> socket.SocketType:
        if address == NO_SUCH_FAMILY:
            raise OSError(errno.EMFILE, "Too many open files")
        return begun(address)

    begun = happy_eyeballs.start_connect
    monkeypatch.setattr(happy_eyeballs, "start_connect", begin)
    for addresses in ([NO_SUCH_FAMILY, refusing], [refusing, NO_SUCH_FAMILY]):
        with pytest.raises(OSError, match="Too many open files"):
            dial(loop, *addresses)


def test_silent_addresses_end_in_a_timeout(
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


def test_all_addresses_share_a_total_limit(
    loop: asyncio.AbstractEventLoop, silent: Address
) -> None:
    clock, limits, released = Clock(), EngineLimits(), list[int]()
    dialling = connect((silent,) * 1000, clock.pause, released.append, limits, clock.now)
    with pytest.raises(TimeoutError):
        drive(loop, dialling)
    assert clock.time == pytest.approx(limits.connect_total_s)
    # One begins each quarter of a second, and each has ten: no more than forty at once.
    at_once = limits.connect_s / limits.connection_attempt_delay_s
    assert max(clock.waits) == at_once
    assert len(released) == pytest.approx(
        limits.connect_total_s / limits.connection_attempt_delay_s
    )


def test_each_address_has_its_own_limit(loop: asyncio.AbstractEventLoop, silent: Address) -> None:
    clock, limits = Clock(), EngineLimits()
    with pytest.raises(TimeoutError):
        drive(loop, connect((silent,), clock.pause, lambda _: None, limits, clock.now))
    assert clock.time == pytest.approx(limits.connect_s)


def test_no_address_is_a_timeout(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(TimeoutError):
        dial(loop)


def test_an_abandoned_connect_releases_all_descriptors(
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
