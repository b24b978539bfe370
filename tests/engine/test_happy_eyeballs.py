import errno
import os
import socket
from asyncio import AbstractEventLoop
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
    """An address that accepts connections."""
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    return (socket.AF_INET, listener.getsockname())


@pytest.fixture
def refusing() -> Address:
    """An address that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return (socket.AF_INET, listener.getsockname())


@pytest.fixture
def silent(nowhere: int) -> Address:
    """An address that does not respond."""
    return (socket.AF_INET, ("127.0.0.1", nowhere))


UNROUTABLE: Address = (socket.AF_INET, ("255.255.255.255", 80))
"""An address for which connecting fails immediately, as without a route."""
NO_SUCH_FAMILY: Address = (socket.AddressFamily.AF_PACKET, ("lo", 0))
"""An address of an unsupported family, like IPv6 on a system without IPv6."""


def connect_to(loop: AbstractEventLoop, *addresses: Address) -> tuple[socket.SocketType, list[int]]:
    """Connect, and return the connection and the released descriptors."""
    released: list[int] = []
    connection = drive(loop, connect(addresses, pause, released.append, LIMITS, loop.time))
    return connection, released


def test_connect_returns_a_connection_to_the_address(
    loop: AbstractEventLoop, listening: Address
) -> None:
    connection, _ = connect_to(loop, listening)
    with closing(connection):
        assert connection.getpeername() == listening[1]


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_socket_that_is_already_connecting_is_used_unless_it_was_closed(
    loop: AbstractEventLoop, listening: Address, is_closed: bool
) -> None:
    """An attempt that is repeated has closed it."""
    started, released = happy_eyeballs.start_connect(listening), list[int]()
    if is_closed:
        started.close()
    attempt = connect((listening,), pause, released.append, LIMITS, loop.time, started)
    with closing(drive(loop, attempt)) as connection:
        assert connection.getpeername() == listening[1]
        assert (connection is started) is not is_closed


def test_after_a_refusal_the_next_address_is_tried(
    loop: AbstractEventLoop, refusing: Address, listening: Address
) -> None:
    connection, _ = connect_to(loop, refusing, refusing, listening)
    with closing(connection):
        assert connection.getpeername() == listening[1]


def test_after_an_unsupported_family_the_next_address_is_tried(
    loop: AbstractEventLoop, listening: Address
) -> None:
    connection, _ = connect_to(loop, NO_SUCH_FAMILY, listening)
    with closing(connection):
        assert connection.getpeername() == listening[1]


def test_a_slow_address_is_overtaken_and_closed(
    loop: AbstractEventLoop, silent: Address, listening: Address
) -> None:
    before = loop.time()
    connection, released = connect_to(loop, silent, listening)
    with closing(connection):
        assert connection.getpeername() == listening[1]
        assert loop.time() - before < LIMITS.connect_s
        assert connection.fileno() not in released[:-1]
        assert len(released) == 1


def test_after_an_immediate_error_the_next_address_is_tried(
    loop: AbstractEventLoop, listening: Address
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    connection, _ = connect_to(loop, UNROUTABLE, UNROUTABLE, listening)
    with closing(connection):
        assert connection.getpeername() == listening[1]
        assert len(os.listdir("/proc/self/fd")) == before + 1


def test_if_all_addresses_fail_the_most_informative_error_is_raised(
    loop: AbstractEventLoop, refusing: Address, silent: Address
) -> None:
    """A missing route is the least informative error, as most names have IPv6 addresses."""
    for addresses in ([NO_SUCH_FAMILY, refusing], [refusing, NO_SUCH_FAMILY], [silent, refusing]):
        with pytest.raises(ConnectionRefusedError):
            connect_to(loop, *addresses)
    for addresses in ([UNROUTABLE, silent], [silent, UNROUTABLE]):
        with pytest.raises(TimeoutError):
            connect_to(loop, *addresses)
    with pytest.raises(OSError, match=r"unreachable|denied") as raised:
        connect_to(loop, UNROUTABLE)
    assert not isinstance(raised.value, TimeoutError)


def test_a_resource_shortage_ranks_above_a_refusal(
    loop: AbstractEventLoop, refusing: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_or_connect(address: Address) -> socket.SocketType:
        if address == NO_SUCH_FAMILY:
            raise OSError(errno.EMFILE, "Too many open files")
        return start_connect(address)

    start_connect = happy_eyeballs.start_connect
    monkeypatch.setattr(happy_eyeballs, "start_connect", fail_or_connect)
    for addresses in ([NO_SUCH_FAMILY, refusing], [refusing, NO_SUCH_FAMILY]):
        with pytest.raises(OSError, match="Too many open files"):
            connect_to(loop, *addresses)


def test_silent_addresses_end_in_a_timeout(loop: AbstractEventLoop, silent: Address) -> None:
    before = loop.time()
    with pytest.raises(TimeoutError):
        connect_to(loop, silent, silent)
    assert LIMITS.connect_s <= loop.time() - before <= LIMITS.connect_total_s + 1


class WaitingClock:
    """A clock that advances only while `pause` waits; every wait times out."""

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


def test_all_addresses_share_a_total_limit(loop: AbstractEventLoop, silent: Address) -> None:
    clock, limits, released = WaitingClock(), EngineLimits(), list[int]()
    connecting = connect((silent,) * 1000, clock.pause, released.append, limits, clock.now)
    with pytest.raises(TimeoutError):
        drive(loop, connecting)
    assert clock.time == pytest.approx(limits.connect_total_s)
    # An attempt starts every 0.25 s and lasts 10 s, so at most 40 run at the same time.
    at_once = limits.connect_s / limits.connection_attempt_delay_s
    assert max(clock.waits) == at_once
    assert len(released) == pytest.approx(
        limits.connect_total_s / limits.connection_attempt_delay_s
    )


def test_each_address_has_its_own_limit(loop: AbstractEventLoop, silent: Address) -> None:
    clock, limits = WaitingClock(), EngineLimits()
    with pytest.raises(TimeoutError):
        drive(loop, connect((silent,), clock.pause, lambda _: None, limits, clock.now))
    assert clock.time == pytest.approx(limits.connect_s)


def test_no_address_is_a_timeout(loop: AbstractEventLoop) -> None:
    with pytest.raises(TimeoutError):
        connect_to(loop)


def test_an_abandoned_connect_releases_all_descriptors(
    loop: AbstractEventLoop, silent: Address
) -> None:
    released: list[int] = []

    class AbandonedError(OSError):
        pass

    async def abandon(wait: IoWait) -> int:
        woken = await wait
        if woken == TIMED_OUT:
            raise AbandonedError(errno.ECONNABORTED, "gone")
        return woken

    with pytest.raises(AbandonedError):
        drive(loop, connect((silent, silent), abandon, released.append, LIMITS, loop.time))
    assert len(released) == 1
