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
from trayproxy.engine.net.fd_task import READ
from trayproxy.engine.net.poller import ReadyHandler, open_poller
from trayproxy.engine.server.executor import ACCEPT_PAUSE_S, SWEEP_S, LoopExecutor


class EchoWork(Work[socket.socket]):
    """A work that is nothing but the contract: it echoes, and keeps what it was called with.

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
        self.flags.descriptors.register(self.work.fileno(), READ, self._echo)

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
        self.flags.descriptors.discard(self.work.fileno())
        self.work.close()
        super().shutdown()
        if self.flags.fails_at == "shutdown":
            raise RuntimeError("shutdown")


class Scene:
    """An executor with echoing works, and clients that are the far ends of their sockets."""

    def __init__(self, stack: ExitStack, loop: asyncio.AbstractEventLoop) -> None:
        self._stack = stack
        self.loop = loop
        self.flags = work_flags(EchoWork, "127.0.0.1", 0)  # type: ignore[arg-type]
        self.flags.made = []
        self.flags.fails_at = ""
        self.flags.descriptors = self.descriptors = open_poller(loop)
        stack.callback(self.descriptors.close)
        self.flags.executor = self.executor = LoopExecutor(loop, self.flags, self.descriptors)
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


def test_a_work_is_initialized_immediately(scene: Scene) -> None:
    scene.client()
    assert scene.made[0].calls == ["initialize"]


def test_a_work_is_called_only_for_its_own_events(scene: Scene) -> None:
    """The stock executor asks all of them for their events on every turn of its loop."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(1000, (soft if soft > 0 else hard) // 3)
    clients = [scene.client() for _ in range(count)]
    for _ in range(20):
        assert scene.echo(clients[0], b"busy") == b"busy"
    assert [len(work.calls) for work in scene.made] == [21] + [1] * (count - 1)


def test_a_finished_work_is_shut_down_and_removed(scene: Scene) -> None:
    scene.client().close()
    scene.run(lambda: not scene.executor.works)
    assert scene.made[0].calls[-1] == "shutdown"


def test_an_error_in_shutdown_affects_only_its_work(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = scene.client(), scene.client()
    scene.flags.fails_at = "shutdown"
    first.close()
    scene.run(lambda: len(scene.executor.works) == 1)
    scene.flags.fails_at = ""
    assert scene.echo(second, b"alive") == b"alive"
    assert "did not end cleanly" in caplog.text


def test_a_work_with_an_error_in_initialize_is_shut_down(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.flags.fails_at = "initialize"
    scene.client()
    assert scene.made[0].calls == ["initialize", "shutdown"]
    assert not scene.executor.works


def test_a_work_gets_its_timeout(scene: Scene) -> None:
    scene.client()
    scene.made[0].inactive = True
    scene.run(lambda: not scene.executor.works, SWEEP_S + 5)
    assert scene.made[0].calls[-2:] == ["time_out", "shutdown"]


def test_without_works_no_sweep_runs(scene: Scene) -> None:
    assert scene.executor._sweeper is None
    scene.client().close()
    scene.run(lambda: scene.executor._sweeper is None, SWEEP_S + 5)


def test_end_idle_finishes_only_idle_works(scene: Scene) -> None:
    scene.client(), scene.client()
    scene.made[0].is_idle = False
    scene.executor.end_idle()
    assert [work.calls[-1] for work in scene.made] == ["initialize", "shutdown"]


def test_wait_until_empty_ends_with_the_last_work(scene: Scene) -> None:
    client = scene.client()
    waiting = scene.loop.create_task(scene.executor.wait_until_empty())
    scene.echo(client, b"x")
    assert not waiting.done()
    client.close()
    scene.loop.run_until_complete(asyncio.wait_for(waiting, 20))


def test_close_shuts_down_all_works(scene: Scene) -> None:
    scene.client(), scene.client()
    scene.executor.close()
    assert [work.calls[-1] for work in scene.made] == ["shutdown", "shutdown"]


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
        scene.executor.add_listener(listener)
        yield listener
        scene.executor.stop_accepting()


def test_connections_are_accepted(scene: Scene, listener: Crowded) -> None:
    with socket.create_connection(listener.getsockname()) as client:
        scene.run(lambda: len(scene.executor.works) == 1)
        assert scene.echo(client, b"x") == b"x"


def test_an_error_in_create_affects_only_its_connection(
    scene: Scene,
    listener: Crowded,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*args: Any) -> socket.socket:
        raise RuntimeError("a mistake of ours")

    with monkeypatch.context() as patch:
        patch.setattr(EchoWork, "create", fail)
        with socket.create_connection(listener.getsockname()) as client:
            scene.run(lambda: bool(caplog.messages))
            assert client.recv(1) == b""
    assert caplog.messages == ["a connection could not be served"]
    with socket.create_connection(listener.getsockname()) as client:
        scene.run(lambda: len(scene.executor.works) == 1)
        assert scene.echo(client, b"x") == b"x"


def test_stop_accepting(scene: Scene, listener: Crowded) -> None:
    scene.executor.stop_accepting()
    with socket.create_connection(listener.getsockname()):
        scene.loop.run_until_complete(asyncio.sleep(0.01))
    assert not scene.executor.works


@pytest.mark.parametrize("trouble", [errno.EMFILE, errno.ENOMEM, errno.EPERM])
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


def test_a_pause_lasts_until_registering_succeeds(
    scene: Scene, listener: Crowded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it is out of when it cannot accept may be missing still when the pause is over."""
    monkeypatch.setattr("trayproxy.engine.server.executor.ACCEPT_PAUSE_S", 0.05)
    watch, failures = scene.descriptors.register, []

    def fail(descriptor: int, mask: int, handler: ReadyHandler) -> None:
        if mask:
            failures.append(descriptor)
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        watch(descriptor, mask, handler)

    listener.trouble = errno.ENOMEM
    with socket.create_connection(listener.getsockname()) as client:
        scene.run(lambda: listener.refusals == 1)
        listener.trouble = None
        with monkeypatch.context() as patch:
            patch.setattr(scene.descriptors, "register", fail)
            scene.run(lambda: len(failures) == 2)
        scene.run(lambda: len(scene.executor.works) == 1)
        assert scene.echo(client, b"x") == b"x"


def test_stopping_during_a_pause_ends_the_pause(scene: Scene, listener: Crowded) -> None:
    listener.trouble = errno.EMFILE
    with socket.create_connection(listener.getsockname()):
        scene.run(lambda: listener.refusals == 1)
    scene.executor.stop_accepting()
    assert scene.executor._pause_timer is None


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
def test_a_client_that_disconnects_before_accept_is_skipped(scene: Scene, error: OSError) -> None:
    """The next ones are accepted in the same turn, and nothing pauses."""

    class Passing(Crowded):
        def accept(self) -> tuple[socket.socket, Any]:
            if self.refusals < 3:
                self.refusals += 1
                raise error
            return super().accept()

    with Passing() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        listener.setblocking(False)
        scene.executor.add_listener(listener)
        with socket.create_connection(listener.getsockname()) as client:
            scene.executor._accept(listener.fileno(), READ)
            assert len(scene.executor.works) == 1
            assert scene.executor._pause_timer is None
            assert scene.echo(client, b"x") == b"x"
        scene.executor.stop_accepting()
