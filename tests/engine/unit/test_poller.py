"""Readiness events reported by `EpollPoller` and by `LoopPoller`."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.engine.running import NewLoop
from trayproxy.engine.net.fd_task import READ, WRITE
from trayproxy.engine.net.poller import LoopPoller, Poller, open_poller


class PollerRecorder:
    """Records the events reported by a poller."""

    def __init__(self, loop: asyncio.AbstractEventLoop, poller: Poller, stack: ExitStack) -> None:
        self.loop = loop
        self.poller = poller
        self.events: list[tuple[int, int]] = []
        self._stack = stack

    def pair(self) -> tuple[socket.socket, socket.socket]:
        near, far = socket.socketpair()
        near.setblocking(False)
        return self._stack.enter_context(near), self._stack.enter_context(far)

    def record(self, descriptor: int, mask: int) -> None:
        self.events.append((descriptor, mask))

    def run_turns(self) -> None:
        """Run the event loop long enough for all ready descriptors to be reported."""
        self.events.clear()
        for _ in range(3):
            self.loop.run_until_complete(asyncio.sleep(0))


@pytest.fixture(params=[open_poller, LoopPoller], ids=["best", "loop"])
def recorder(new_loop: NewLoop, request: pytest.FixtureRequest) -> Iterator[PollerRecorder]:
    loop = new_loop()
    make: Callable[[asyncio.AbstractEventLoop], Poller] = request.param
    poller = make(loop)
    with ExitStack() as stack:
        yield PollerRecorder(loop, poller, stack)
        poller.close()
    loop.close()


def test_a_readable_descriptor_is_reported_until_it_was_read(recorder: PollerRecorder) -> None:
    near, far = recorder.pair()
    recorder.poller.register(near.fileno(), READ, recorder.record)
    recorder.run_turns()
    assert not recorder.events
    far.send(b"x")
    recorder.run_turns()
    assert set(recorder.events) == {(near.fileno(), READ)}
    near.recv(10)
    recorder.run_turns()
    assert not recorder.events


def test_both_directions_are_reported(recorder: PollerRecorder) -> None:
    near, far = recorder.pair()
    recorder.poller.register(near.fileno(), READ | WRITE, recorder.record)
    recorder.run_turns()
    assert set(recorder.events) == {(near.fileno(), WRITE)}
    far.send(b"x")
    recorder.run_turns()
    masks = 0
    for _, mask in recorder.events:
        masks |= mask
    assert masks == READ | WRITE


def test_a_new_mask_replaces_the_former_mask(recorder: PollerRecorder) -> None:
    near, far = recorder.pair()
    far.send(b"x")
    recorder.poller.register(near.fileno(), READ, recorder.record)
    recorder.poller.register(near.fileno(), WRITE, recorder.record)
    recorder.run_turns()
    assert set(recorder.events) == {(near.fileno(), WRITE)}
    recorder.poller.register(near.fileno(), READ, recorder.record)
    recorder.run_turns()
    assert set(recorder.events) == {(near.fileno(), READ)}


def test_a_new_handler_replaces_the_former_handler(recorder: PollerRecorder) -> None:
    near, far = recorder.pair()
    others: list[int] = []
    recorder.poller.register(near.fileno(), READ, recorder.record)
    recorder.poller.register(near.fileno(), READ, lambda descriptor, mask: others.append(mask))
    far.send(b"x")
    recorder.run_turns()
    assert not recorder.events
    assert set(others) == {READ}


def test_an_end_is_not_reported_for_an_empty_mask(recorder: PollerRecorder) -> None:
    near, far = recorder.pair()
    recorder.poller.register(near.fileno(), READ, recorder.record)
    recorder.poller.register(near.fileno(), 0, recorder.record)
    far.close()
    recorder.run_turns()
    assert not recorder.events
    recorder.poller.register(near.fileno(), READ, recorder.record)
    recorder.run_turns()
    assert recorder.events


@pytest.mark.parametrize("how", ["unregister", "discard"])
def test_an_unregistered_descriptor_is_not_reported(recorder: PollerRecorder, how: str) -> None:
    near, far = recorder.pair()
    far.send(b"x")
    recorder.poller.register(near.fileno(), READ, recorder.record)
    getattr(recorder.poller, how)(near.fileno())
    if how == "discard":
        near.close()
    recorder.run_turns()
    assert not recorder.events
    getattr(recorder.poller, how)(4711)


@pytest.mark.unix
def test_no_stale_event_is_reported_for_a_descriptor_reused_in_the_same_turn(
    recorder: PollerRecorder,
) -> None:
    """Two descriptors are ready at once. The handler of the first closes the second socket, whose
    number is reused by a new socket without any event."""
    pairs = [recorder.pair(), recorder.pair()]
    new: list[socket.socket] = []

    def close_the_other(descriptor: int, mask: int) -> None:
        recorder.record(descriptor, mask)
        if new:
            return
        other = next(near for near, _ in pairs if near.fileno() not in (descriptor, -1))
        number = other.fileno()
        recorder.poller.discard(number)
        other.close()
        new.extend(recorder.pair())
        recorder.poller.register(new[0].fileno(), READ, recorder.record)
        numbers.append((number, new[0].fileno()))

    numbers: list[tuple[int, int]] = []
    for near, far in pairs:
        far.send(b"x")
        recorder.poller.register(near.fileno(), READ, close_the_other)
    recorder.run_turns()
    assert numbers[0][0] == numbers[0][1]
    assert numbers[0][1] not in [descriptor for descriptor, _ in recorder.events]


@pytest.mark.unix
def test_a_rejected_registration_is_not_recorded(recorder: PollerRecorder, tmp_path: Path) -> None:
    """The kernel may reject a registration, for lack of memory or because of a limit. A later call
    must neither wait for its events nor remove it. Here epoll_ctl(2) rejects a regular file."""
    with (tmp_path / "file").open("wb") as file:
        for _ in range(2):
            with pytest.raises(OSError, match="not permitted"):
                recorder.poller.register(file.fileno(), READ, recorder.record)
        recorder.poller.unregister(file.fileno())
        recorder.poller.register(file.fileno(), 0, recorder.record)


@pytest.mark.unix
def test_a_failing_handler_does_not_block_other_handlers(
    new_loop: NewLoop, stack: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise the handler would fail again in every turn, before all later handlers."""
    loop = new_loop()
    stack.callback(loop.close)
    poller = open_poller(loop)
    stack.callback(poller.close)
    recorder = PollerRecorder(loop, poller, stack)

    def fail(descriptor: int, mask: int) -> None:
        recorder.record(descriptor, mask)
        raise RuntimeError("a mistake of ours")

    pairs = [recorder.pair() for _ in range(3)]
    for (near, far), handler in zip(pairs, (recorder.record, fail, recorder.record), strict=True):
        recorder.poller.register(near.fileno(), READ, handler)
        far.send(b"x")
    recorder.run_turns()
    events = [descriptor for descriptor, _ in recorder.events]
    assert set(events) == {near.fileno() for near, _ in pairs}
    assert events.count(pairs[1][0].fileno()) == 1
    assert caplog.messages == ["the handler of a ready descriptor failed"]


def test_may_be_ready_reports_events_not_handled_yet(recorder: PollerRecorder) -> None:
    """While a handler runs, later events of the same turn can be queried."""
    pairs = [recorder.pair(), recorder.pair()]
    seen: list[tuple[bool, bool]] = []

    def look(descriptor: int, mask: int) -> None:
        other = next(near for near, _ in pairs if near.fileno() != descriptor)
        may_have_news = recorder.poller.may_be_ready
        seen.append((may_have_news(descriptor), may_have_news(other.fileno())))
        near = next(near for near, _ in pairs if near.fileno() == descriptor)
        near.recv(10)

    for near, far in pairs:
        far.send(b"x")
        recorder.poller.register(near.fileno(), READ, look)
    recorder.run_turns()
    assert seen[0][1]
    # The event loop does not expose its events, so the result is always True.
    is_blind = isinstance(recorder.poller, LoopPoller)
    assert recorder.poller.may_be_ready(pairs[0][0].fileno()) is is_blind
