"""proxy.py's `Work` contract, as the executor on our loop keeps it."""

import argparse
import asyncio
import errno
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from proxy.core.work import Work

from tests.engine.running import NewLoop
from trayproxy.engine.engine import work_flags
from trayproxy.engine.executor import ACCEPT_PAUSE_S, SWEEP_S, LoopExecutor, run_now
from trayproxy.engine.strand import READ, WRITE


class EchoWork(Work[socket.socket]):
    """A work that is nothing but the contract: it echoes, and keeps what it was called with.

    Attributes:
        calls: The names of the contract's methods, in the order in which they were called.
        asked: How often it was asked for its events.
    """

    def __init__(self, work: socket.socket, flags: argparse.Namespace, **kwargs: Any) -> None:
        super().__init__(work, flags, **kwargs)
        self.calls: list[str] = []
        self.asked = 0
        self.wanted = {work.fileno(): READ}
        self.inactive = False
        self.is_idle = True
        self.other: socket.socket | None = None
        flags.made.append(self)

    @staticmethod
    def create(*args: Any) -> socket.socket:
        connection: socket.socket = args[0]
        return connection

    def initialize(self) -> None:
        self.calls.append("initialize")
        if self.flags.fails_at == "initialize":
            raise RuntimeError("initialize")

    async def get_events(self) -> dict[int, int]:
        self.asked += 1
        return self.wanted

    async def handle_events(self, readables: list[int], writables: list[int]) -> bool:
        self.calls.append("handle_events")
        if self.work.fileno() not in readables:
            return False
        data = self.work.recv(100)
        if data == b"fail":
            raise RuntimeError("handle_events")
        if data == b"wait":
            await asyncio.sleep(0)
        self.work.send(data)
        return not data

    def is_inactive(self) -> bool:
        return self.inactive

    def time_out(self) -> bool:
        self.calls.append("time_out")
        return True

    def shutdown(self) -> None:
        self.calls.append("shutdown")
        self.work.close()
        super().shutdown()


class Scene:
    """An executor with echoing works, and clients that are the far ends of their sockets."""

    def __init__(self, stack: ExitStack, loop: asyncio.AbstractEventLoop) -> None:
        self._stack = stack
        self.loop = loop
        self.flags = work_flags(EchoWork, "127.0.0.1", 0)  # type: ignore[arg-type]
        self.flags.made = []
        self.flags.fails_at = ""
        self.executor = LoopExecutor(loop, self.flags)
        stack.callback(self.executor.close)

    @property
    def made(self) -> list[EchoWork]:
        works: list[EchoWork] = self.flags.made
        return works

    def client(self) -> socket.socket:
        """Begin a work; return the far end of its socket."""
        near, far = socket.socketpair()
        near.setblocking(False)
        self._stack.enter_context(far).settimeout(20)
        self.executor.work(near.fileno(), None, near)
        return far

    def run(self, until: Callable[[], bool], patience_s: float = 20.0) -> None:
        deadline = self.loop.time() + patience_s
        while not until():
            assert self.loop.time() < deadline
            self.loop.run_until_complete(asyncio.sleep(0.001))

    def echo(self, client: socket.socket, data: bytes) -> bytes:
        client.send(data)
        client.setblocking(False)
        got = bytearray()

        def came() -> bool:
            try:
                got.extend(client.recv(100))
            except BlockingIOError:
                return False
            return True

        self.run(came)
        return bytes(got)


@pytest.fixture
def scene(new_loop: NewLoop) -> Iterator[Scene]:
    loop = new_loop()
    with ExitStack() as stack:
        yield Scene(stack, loop)
    loop.close()


# --- the contract ---


def test_a_work_is_initialised_and_handled_at_once(scene: Scene) -> None:
    scene.client()
    assert scene.made[0].calls == ["initialize", "handle_events"]


def test_a_work_is_called_for_its_events_only(scene: Scene) -> None:
    clients = [scene.client() for _ in range(3)]
    assert scene.echo(clients[1], b"hello") == b"hello"
    assert [len(work.calls) for work in scene.made] == [2, 3, 2]


def test_a_thousand_idle_works_are_not_asked_when_one_is_busy(scene: Scene) -> None:
    """The stock executor asks all of them on every turn of its loop."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(1000, (soft if soft > 0 else hard) // 3)
    clients = [scene.client() for _ in range(count)]
    before = [work.asked for work in scene.made]
    for _ in range(20):
        scene.echo(clients[0], b"busy")
    assert [work.asked for work in scene.made[1:]] == before[1:]


def test_the_same_events_are_not_registered_again(scene: Scene) -> None:
    client = scene.client()
    asked = scene.made[0].asked
    for _ in range(5):
        scene.echo(client, b"x")
    assert scene.made[0].asked == asked


def test_other_events_are_registered_as_soon_as_they_are_wanted(scene: Scene) -> None:
    client = scene.client()
    work = scene.made[0]
    work.wanted = {work.work.fileno(): READ | WRITE}
    scene.echo(client, b"x")
    scene.run(lambda: len(work.calls) > 5)
    work.wanted = {work.work.fileno(): READ}
    scene.echo(client, b"x")
    calls = len(work.calls)
    scene.loop.run_until_complete(asyncio.sleep(0.01))
    assert len(work.calls) == calls


def test_a_work_that_returns_true_is_shut_down_and_forgotten(scene: Scene) -> None:
    scene.client().close()
    scene.run(lambda: not scene.executor.works)
    assert scene.made[0].calls[-1] == "shutdown"
    assert not scene.executor.registered_events_by_work_ids


@pytest.mark.parametrize("says", [b"fail", b"wait"])
def test_a_work_that_fails_ends_alone(
    scene: Scene, says: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = scene.client(), scene.client()
    first.send(says)
    scene.run(lambda: len(scene.executor.works) == 1)
    assert scene.made[0].calls[-1] == "shutdown"
    assert scene.echo(second, b"alive") == b"alive"
    assert "failed" in caplog.text


def test_a_work_that_cannot_be_initialised_is_shut_down(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.flags.fails_at = "initialize"
    scene.client()
    assert scene.made[0].calls == ["initialize", "shutdown"]
    assert not scene.executor.works


def test_a_work_that_has_waited_for_too_long_is_told(scene: Scene) -> None:
    scene.client()
    scene.made[0].inactive = True
    scene.run(lambda: not scene.executor.works, SWEEP_S + 5)
    assert scene.made[0].calls[-2:] == ["time_out", "shutdown"]


def test_nothing_is_swept_while_there_is_nothing(scene: Scene) -> None:
    assert scene.executor._sweeper is None
    scene.client().close()
    scene.run(lambda: scene.executor._sweeper is None, SWEEP_S + 5)


def test_a_descriptor_that_is_released_is_watched_no_more(scene: Scene) -> None:
    scene.client()
    work = scene.made[0]
    near, far = socket.socketpair()
    with near, far:
        work.wanted = {work.work.fileno(): READ, near.fileno(): READ}
        scene.executor.resume(work.work.fileno(), lambda: False)
        calls = len(work.calls)
        scene.executor.release(work.work.fileno(), near.fileno())
        far.send(b"x")
        scene.loop.run_until_complete(asyncio.sleep(0.01))
        assert len(work.calls) == calls
        assert not scene.loop.remove_reader(near.fileno())


def test_a_work_goes_on_for_a_reason_of_its_own(scene: Scene) -> None:
    scene.client()
    scene.executor.resume(scene.made[0].work.fileno(), lambda: True)
    assert scene.made[0].calls[-1] == "shutdown"


def test_resuming_a_work_that_has_ended_does_nothing(scene: Scene) -> None:
    scene.executor.resume(4711, lambda: pytest.fail("called"))


def test_idle_works_end_when_told_and_others_do_not(scene: Scene) -> None:
    scene.client(), scene.client()
    scene.made[0].is_idle = False
    scene.executor.end_idle()
    assert [work.calls[-1] for work in scene.made] == ["handle_events", "shutdown"]


def test_waiting_for_the_last_work_ends_with_it(scene: Scene) -> None:
    client = scene.client()
    waiting = scene.loop.create_task(scene.executor.until_empty())
    scene.echo(client, b"x")
    assert not waiting.done()
    client.close()
    scene.loop.run_until_complete(asyncio.wait_for(waiting, 20))


def test_closing_shuts_all_down(scene: Scene) -> None:
    scene.client(), scene.client()
    scene.executor.close()
    assert [work.calls[-1] for work in scene.made] == ["shutdown", "shutdown"]


def test_a_coroutine_of_the_contract_may_not_wait() -> None:
    async def waits() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="get_events"):
        run_now(waits())


# --- accepting ---


class Crowded(socket.socket):
    """A listener of a system that is out of something, for as long as `trouble` says so."""

    trouble: int | None = None
    refusals = 0

    def accept(self) -> tuple[socket.socket, Any]:
        if self.trouble is not None:
            self.refusals += 1
            raise OSError(self.trouble, "no more")
        return super().accept()


@pytest.fixture
def listener(scene: Scene) -> Iterator[Crowded]:
    with Crowded() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        listener.setblocking(False)
        scene.executor.serve(listener)
        yield listener
        scene.executor.stop_accepting()


def test_connections_are_accepted(scene: Scene, listener: Crowded) -> None:
    with socket.create_connection(listener.getsockname()) as client:
        scene.run(lambda: len(scene.executor.works) == 1)
        assert scene.echo(client, b"x") == b"x"


def test_accepting_stops_when_told(scene: Scene, listener: Crowded) -> None:
    scene.executor.stop_accepting()
    with socket.create_connection(listener.getsockname()):
        scene.loop.run_until_complete(asyncio.sleep(0.01))
    assert not scene.executor.works


@pytest.mark.parametrize("trouble", [errno.EMFILE, errno.ENOMEM])
def test_without_resources_accepting_pauses_and_recovers(
    scene: Scene, listener: Crowded, trouble: int, caplog: pytest.LogCaptureFixture
) -> None:
    listener.trouble = trouble
    with socket.create_connection(listener.getsockname()) as client:
        scene.run(lambda: listener.refusals == 1)
        # Trying again at once would spin, and log each time.
        scene.loop.run_until_complete(asyncio.sleep(0.05))
        assert listener.refusals == 1
        listener.trouble = None
        scene.run(lambda: len(scene.executor.works) == 1, ACCEPT_PAUSE_S + 5)
        assert scene.echo(client, b"x") == b"x"
    assert caplog.text.count("cannot accept") == 1


def test_stopping_during_a_pause_ends_the_pause(scene: Scene, listener: Crowded) -> None:
    listener.trouble = errno.EMFILE
    with socket.create_connection(listener.getsockname()):
        scene.run(lambda: listener.refusals == 1)
    scene.executor.stop_accepting()
    assert scene.executor._paused is None


def test_a_connection_that_is_gone_before_it_is_accepted_is_skipped(
    scene: Scene, listener: Crowded
) -> None:
    listener.trouble = errno.ECONNABORTED
    with socket.create_connection(listener.getsockname()) as client:
        scene.run(lambda: listener.refusals > 0)
        listener.trouble = None
        scene.run(lambda: len(scene.executor.works) == 1)
        assert scene.echo(client, b"x") == b"x"
