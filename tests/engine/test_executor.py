"""Tests for trayproxy.engine.server.executor: the `Work` contract of proxy.py, and accepting."""

import argparse
import asyncio
import errno
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from tests.engine.running import NewLoop
from trayproxy.engine.net.fd_task import READ
from trayproxy.engine.net.poller import ReadyHandler, open_poller
from trayproxy.engine.proxy_py import Work, work_flags
from trayproxy.engine.server import executor
from trayproxy.engine.server.executor import ACCEPT_PAUSE_S, SWEEP_S, LoopExecutor


class EchoWork(Work[socket.socket]):
    """A work that echoes received data and records its calls.

    Attributes:
        calls: The names of the contract's methods, in the order in which they were called.
    """

    def __init__(self, work: socket.socket, flags: argparse.Namespace, **kwargs: Any) -> None:
        super().__init__(work, flags, **kwargs)
        self.calls: list[str] = []
        self.inactive = False
        self.is_idle = True
        flags.made.append(self)

    @staticmethod
    def create(*args: Any) -> socket.socket:
        connection: socket.socket = args[0]
        connection.setblocking(False)
        return connection

    def initialize(self) -> None:
        self.calls.append("initialize")
        if self.flags.fails_at == "initialize":
            raise RuntimeError("initialize")
        self.flags.poller.register(self.work.fileno(), READ, self._echo)

    def _echo(self, descriptor: int, mask: int) -> None:
        self.calls.append("echo")
        data = self.work.recv(100)
        if data:
            self.work.send(data)
        else:
            self.flags.executor.finish(descriptor)

    def is_inactive(self) -> bool:
        return self.inactive

    def time_out(self) -> None:
        self.calls.append("time_out")
        self.flags.executor.finish(self.work.fileno())

    def shutdown(self) -> None:
        self.calls.append("shutdown")
        self.flags.poller.discard(self.work.fileno())
        self.work.close()
        super().shutdown()
        if self.flags.fails_at == "shutdown":
            raise RuntimeError("shutdown")


class ExecutorHarness:
    """An executor with echoing works, and the clients of these works."""

    def __init__(self, stack: ExitStack, loop: asyncio.AbstractEventLoop) -> None:
        self._stack = stack
        self.loop = loop
        self.flags = work_flags(EchoWork, "127.0.0.1", 0)
        self.flags.made = []
        self.flags.fails_at = ""
        self.flags.poller = self.poller = open_poller(loop)
        stack.callback(self.poller.close)
        self.sweeps = 0
        self.flags.executor = self.executor = LoopExecutor(
            loop, self.flags, self.poller, self._count_sweep
        )
        stack.callback(self.executor.close)

    @property
    def made(self) -> list[EchoWork]:
        works: list[EchoWork] = self.flags.made
        return works

    def client(self) -> socket.socket:
        """Start a work, and return the socket of its client."""
        near, far = socket.socketpair()
        near.setblocking(False)
        self._stack.enter_context(far).settimeout(20)
        self.executor.work(near.fileno(), None, near)
        return far

    def _count_sweep(self) -> None:
        self.sweeps += 1

    def run_for(self, seconds: float) -> None:
        """Run the event loop for a time."""
        end = self.loop.time() + seconds
        self.run(lambda: self.loop.time() > end)

    def run(self, until: Callable[[], bool], timeout_s: float = 20.0) -> None:
        deadline = self.loop.time() + timeout_s
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
def harness(new_loop: NewLoop) -> Iterator[ExecutorHarness]:
    loop = new_loop()
    with ExitStack() as stack:
        yield ExecutorHarness(stack, loop)
    loop.close()


# --- the contract ---


def test_a_work_is_initialized_immediately(harness: ExecutorHarness) -> None:
    harness.client()
    assert harness.made[0].calls == ["initialize"]


def test_a_work_is_called_only_for_its_own_events(harness: ExecutorHarness) -> None:
    """The executor of proxy.py asks every work for its events in each iteration."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(1000, (soft if soft > 0 else hard) // 3)
    clients = [harness.client() for _ in range(count)]
    for _ in range(20):
        assert harness.echo(clients[0], b"busy") == b"busy"
    assert [len(work.calls) for work in harness.made] == [21] + [1] * (count - 1)


def test_a_finished_work_is_shut_down_and_removed(harness: ExecutorHarness) -> None:
    harness.client().close()
    harness.run(lambda: not harness.executor.works)
    assert harness.made[0].calls[-1] == "shutdown"


def test_an_error_in_shutdown_affects_only_its_work(
    harness: ExecutorHarness, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = harness.client(), harness.client()
    harness.flags.fails_at = "shutdown"
    first.close()
    harness.run(lambda: len(harness.executor.works) == 1)
    harness.flags.fails_at = ""
    assert harness.echo(second, b"alive") == b"alive"
    assert "failed to shut down" in caplog.text


def test_a_work_with_an_error_in_initialize_is_shut_down(
    harness: ExecutorHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.flags.fails_at = "initialize"
    harness.client()
    assert harness.made[0].calls == ["initialize", "shutdown"]
    assert not harness.executor.works


def test_a_work_gets_its_timeout(harness: ExecutorHarness) -> None:
    harness.client()
    harness.made[0].inactive = True
    harness.run(lambda: not harness.executor.works, SWEEP_S + 5)
    assert harness.made[0].calls[-2:] == ["time_out", "shutdown"]


def test_sweeps_run_only_while_there_are_works(harness: ExecutorHarness) -> None:
    timers: list[Callable[[], None]] = []
    sweeps: list[float] = []

    def call_later(delay_s: float, callback: Callable[[], None]) -> object:
        assert delay_s == SWEEP_S
        timers.append(callback)
        return callback

    loop: Any = SimpleNamespace(call_later=call_later)
    harness.flags.executor = harness.executor = LoopExecutor(
        loop, harness.flags, harness.poller, lambda: sweeps.append(SWEEP_S)
    )
    harness.client(), harness.client()
    for count in (1, 2):
        (sweep,) = timers
        timers.clear()
        sweep()
        assert len(sweeps) == count
    harness.executor.end_idle()
    timers.pop()()
    harness.flags.fails_at = "initialize"
    harness.client()
    assert (timers, len(sweeps)) == ([], 3)


def test_end_idle_finishes_only_idle_works(harness: ExecutorHarness) -> None:
    harness.client(), harness.client()
    harness.made[0].is_idle = False
    harness.executor.end_idle()
    assert [work.calls[-1] for work in harness.made] == ["initialize", "shutdown"]


def test_end_oldest_idle_finishes_one_idle_work(harness: ExecutorHarness) -> None:
    for _ in range(3):
        harness.client()
    harness.made[0].is_idle = False
    for ended in ([1], [1, 2], [1, 2]):
        harness.executor.end_oldest_idle()
        calls = [work.calls[-1] for work in harness.made]
        assert [i for i, call in enumerate(calls) if call == "shutdown"] == ended


def test_wait_until_empty_ends_with_the_last_work(harness: ExecutorHarness) -> None:
    client = harness.client()
    waiting = harness.loop.create_task(harness.executor.wait_until_empty())
    harness.echo(client, b"x")
    assert not waiting.done()
    client.close()
    harness.loop.run_until_complete(asyncio.wait_for(waiting, 20))


def test_close_shuts_down_all_works(harness: ExecutorHarness) -> None:
    harness.client(), harness.client()
    harness.executor.close()
    assert [work.calls[-1] for work in harness.made] == ["shutdown", "shutdown"]


# --- accepting ---


class FailingListener(socket.socket):
    """A listener on which accept fails with `error` while `error` is not 0."""

    error: int | None = None
    refusals = 0

    def accept(self) -> tuple[socket.socket, Any]:
        if self.error is not None:
            self.refusals += 1
            raise OSError(self.error, "no more")
        return super().accept()


@pytest.fixture
def listener(harness: ExecutorHarness) -> Iterator[FailingListener]:
    with FailingListener() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        listener.setblocking(False)
        harness.executor.add_listener(listener)
        yield listener
        harness.executor.stop_accepting()


def test_connections_are_accepted(harness: ExecutorHarness, listener: FailingListener) -> None:
    with socket.create_connection(listener.getsockname()) as client:
        harness.run(lambda: len(harness.executor.works) == 1)
        assert harness.echo(client, b"x") == b"x"


def test_an_error_in_create_affects_only_its_connection(
    harness: ExecutorHarness,
    listener: FailingListener,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*args: Any) -> socket.socket:
        raise RuntimeError("a mistake of ours")

    with monkeypatch.context() as patch:
        patch.setattr(EchoWork, "create", fail)
        with socket.create_connection(listener.getsockname()) as client:
            harness.run(lambda: bool(caplog.messages))
            assert client.recv(1) == b""
    assert caplog.messages == ["an accepted connection could not be served"]
    with socket.create_connection(listener.getsockname()) as client:
        harness.run(lambda: len(harness.executor.works) == 1)
        assert harness.echo(client, b"x") == b"x"


def test_stop_accepting(harness: ExecutorHarness, listener: FailingListener) -> None:
    harness.executor.stop_accepting()
    with socket.create_connection(listener.getsockname()):
        harness.loop.run_until_complete(asyncio.sleep(0.01))
    assert not harness.executor.works


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENOMEM, errno.EPERM])
def test_without_resources_accepting_pauses_and_recovers(
    harness: ExecutorHarness,
    listener: FailingListener,
    error: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    listener.error = error
    with socket.create_connection(listener.getsockname()) as client:
        harness.run(lambda: listener.refusals == 1)
        # An immediate retry would spin, and log each attempt.
        harness.loop.run_until_complete(asyncio.sleep(0.05))
        assert listener.refusals == 1
        listener.error = None
        harness.run(lambda: len(harness.executor.works) == 1, ACCEPT_PAUSE_S + 5)
        assert harness.echo(client, b"x") == b"x"
    assert caplog.text.count("accepting connections paused") == 1


def test_a_pause_of_one_listener_pauses_all_listeners(
    harness: ExecutorHarness,
    listener: FailingListener,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Both listeners are ready in the same turn of the event loop."""
    monkeypatch.setattr("trayproxy.engine.server.executor.ACCEPT_PAUSE_S", 60.0)
    with FailingListener() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(64)
        other.setblocking(False)
        harness.executor.add_listener(other)
        listener.error = other.error = errno.EMFILE
        addresses = (listener.getsockname(), other.getsockname())
        first, second = (socket.create_connection(address) for address in addresses)
        with first, second:
            harness.run(lambda: bool(listener.refusals or other.refusals))
            harness.run_for(0.05)
        assert listener.refusals + other.refusals == 1
        assert caplog.text.count("accepting connections paused") == 1
        harness.executor.stop_accepting()


def test_a_pause_lasts_until_registering_succeeds(
    harness: ExecutorHarness, listener: FailingListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resource shortage may persist at the end of the pause."""
    monkeypatch.setattr("trayproxy.engine.server.executor.ACCEPT_PAUSE_S", 0.05)
    watch, failures = harness.poller.register, []

    def fail(descriptor: int, mask: int, handler: ReadyHandler) -> None:
        if mask:
            failures.append(descriptor)
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        watch(descriptor, mask, handler)

    listener.error = errno.ENOMEM
    with socket.create_connection(listener.getsockname()) as client:
        harness.run(lambda: listener.refusals == 1)
        listener.error = None
        with monkeypatch.context() as patch:
            patch.setattr(harness.poller, "register", fail)
            harness.run(lambda: len(failures) == 2)
        harness.run(lambda: len(harness.executor.works) == 1)
        assert harness.echo(client, b"x") == b"x"


def test_stopping_during_a_pause_ends_the_pause(
    harness: ExecutorHarness, listener: FailingListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "ACCEPT_PAUSE_S", 0.05)
    listener.error = errno.EMFILE
    with socket.create_connection(listener.getsockname()):
        harness.run(lambda: listener.refusals > 0)
        harness.executor.stop_accepting()
        # The next pause is neither prevented nor ended by the first.
        monkeypatch.setattr(executor, "ACCEPT_PAUSE_S", 60.0)
        refused = listener.refusals
        harness.executor.add_listener(listener)
        harness.run(lambda: listener.refusals > refused)
        harness.run_for(0.1)
    assert listener.refusals == refused + 1


WINDOWS_RESET = 10_054
"""WSAECONNRESET."""


@pytest.mark.parametrize(
    "error",
    [
        ConnectionAbortedError(errno.ECONNABORTED, "gone"),
        ConnectionResetError(WINDOWS_RESET, "gone"),
        OSError(errno.ENOTCONN, "gone"),
        OSError(errno.EHOSTUNREACH, "gone"),
        OSError(errno.EPROTO, "gone"),
    ],
    ids=lambda error: error.errno,
)
def test_a_client_that_disconnects_before_accept_is_skipped(
    harness: ExecutorHarness,
    error: OSError,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The next connections are accepted in the same iteration, without a pause."""

    class RecoveringListener(FailingListener):
        def accept(self) -> tuple[socket.socket, Any]:
            if self.refusals < 3:
                self.refusals += 1
                raise error
            return super().accept()

    with RecoveringListener() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        listener.setblocking(False)
        handlers: dict[int, ReadyHandler] = {}
        register = harness.poller.register

        def register_and_record(descriptor: int, mask: int, handler: ReadyHandler) -> None:
            register(descriptor, mask, handler)
            handlers[descriptor] = handler

        monkeypatch.setattr(harness.poller, "register", register_and_record)
        harness.executor.add_listener(listener)
        with socket.create_connection(listener.getsockname()) as client:
            handlers[listener.fileno()](listener.fileno(), READ)
            assert len(harness.executor.works) == 1
            assert "accepting connections paused" not in caplog.text
            assert harness.echo(client, b"x") == b"x"
        harness.executor.stop_accepting()
