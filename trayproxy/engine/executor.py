"""proxy.py's executor on a real event loop: O(ready), no polling, no thread.

The stock `Threadless` executor sleeps 25 ms at a time and asks every work for its events on every
turn: 12 % of a core beside 1,000 idle tunnels. This one keeps the contract (`create`, `initialize`,
`get_events`, `handle_events`, `is_inactive`, `shutdown`) and registers the descriptors with the
loop, so that a work is asked again only after one of its own events.
"""

import argparse
import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from proxy.common.backports import NonBlockingQueue
from proxy.core.work.fd import LocalFdExecutor

from trayproxy.engine.strand import NOTHING, READ, WRITE

logger = logging.getLogger(__name__)

T = TypeVar("T")

ACCEPTS_A_TURN = 64
"""How many connections are accepted before the others get their turn."""
SWEEP_S = 1.0
"""How often works are asked whether they have waited for too long; never while there are none."""
ACCEPT_PAUSE_S = 1.0
"""How long not to accept when the system is out of descriptors or memory."""
OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that does not wait, as the `Work` contract's never do
    here."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("a work must wait through get_events, not inside handle_events")


class LoopWork(Protocol):
    """A `Work` with what this executor uses beyond proxy.py's contract.

    Attributes:
        uid: Its name in the log.
    """

    uid: str

    @property
    def wanted(self) -> dict[int, int]:
        """The same dictionary as `get_events` returns, and the same object while nothing
        changes."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is lost if it ends now."""

    def is_inactive(self) -> bool:
        """Whether it has waited for too long."""

    def time_out(self) -> bool:
        """Tell it so. Return True if it has ended."""

    async def handle_events(self, readables: list[int], writables: list[int]) -> bool:
        """Go on after descriptors have become ready. Return True if it has ended."""


class LoopExecutor(LocalFdExecutor):
    """Runs works on an asyncio or uvloop event loop.

    A work's id is the descriptor of its client socket. A work that closes another descriptor of its
    own calls `release` first: the number may come back at once for another socket.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        flags: argparse.Namespace,
        on_sweep: Callable[[], None] = lambda: None,
    ) -> None:
        """Make one that accepts nothing yet.

        Args:
            loop: Runs the works.
            flags: proxy.py's.
            on_sweep: Called once a second while there are works.
        """
        super().__init__(iid="trayproxy", work_queue=NonBlockingQueue(), flags=flags)
        self._on_sweep = on_sweep
        self._loop = loop  # What proxy.py's `loop` property returns.
        self._on = loop
        self._empty: asyncio.Event | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._listeners: list[socket.socket] = []
        self._paused: asyncio.TimerHandle | None = None

    # --- accepting ---

    def serve(self, listener: socket.socket) -> None:
        """Accept connections from a listening, non-blocking socket until `stop_accepting`."""
        self._listeners.append(listener)
        self._on.add_reader(listener.fileno(), self._accept, listener)

    def stop_accepting(self) -> None:
        """Accept no more; connections that are open go on."""
        if self._paused is not None:
            self._paused.cancel()
            self._paused = None
        for listener in self._listeners:
            self._on.remove_reader(listener.fileno())
        self._listeners.clear()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS_A_TURN):
            try:
                connection, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in OUT_OF_RESOURCES:
                    raise
                self._pause_accepting(error)
                return
            self.work(connection.fileno(), address, connection)

    def _pause_accepting(self, error: OSError) -> None:
        """Leave new connections in the backlog for a while: retrying at once would spin."""
        if self._paused is not None:
            return  # The other listener has noticed in the same turn.
        logger.warning("cannot accept connections for now: %s", error.strerror)
        for listener in self._listeners:
            self._on.remove_reader(listener.fileno())
        self._paused = self._on.call_later(ACCEPT_PAUSE_S, self._resume_accepting)

    def _resume_accepting(self) -> None:
        self._paused = None
        for listener in self._listeners:
            self._on.add_reader(listener.fileno(), self._accept, listener)

    # --- working ---

    def _work(self, work_id: int) -> "LoopWork":
        work: LoopWork = self.works[work_id]  # type: ignore[assignment]  # flags.work_klass is ours
        return work

    def work(self, *args: Any) -> None:
        """Create and start a work, as proxy.py does, then wait for what it waits for."""
        super().work(*args)
        work_id: int = args[0]
        if work_id in self.works:
            self.registered_events_by_work_ids[work_id] = NOTHING
            # proxy.py's executors ask for events first; ours is ready for data that has come
            # already.
            self._handle(work_id, [], [])
            if self._sweeper is None:
                self._sweeper = self._on.call_later(SWEEP_S, self._sweep)

    def resume(self, work_id: int, step: Callable[[], bool]) -> None:
        """Let a work go on for a reason of its own (a future, a time): `step` returns True at its
        end."""
        if work_id in self.works:
            self._settle(work_id, self._guarded(work_id, step))

    def release(self, work_id: int, descriptor: int) -> None:
        """Stop watching a descriptor that is about to be closed or handed on."""
        registered = self.registered_events_by_work_ids.get(work_id)
        if registered and descriptor in registered:
            rest = dict(registered)
            self._watch(work_id, descriptor, rest.pop(descriptor), 0)
            self.registered_events_by_work_ids[work_id] = rest

    def _on_readable(self, work_id: int, descriptor: int) -> None:
        self._handle(work_id, [descriptor], [])

    def _on_writable(self, work_id: int, descriptor: int) -> None:
        self._handle(work_id, [], [descriptor])

    def _handle(self, work_id: int, readables: list[int], writables: list[int]) -> None:
        """Let a work handle its event. This is where all traffic passes: nothing is done twice."""
        work = self._work(work_id)
        try:
            ended = run_now(work.handle_events(readables, writables))
        except Exception:
            logger.exception("connection %s failed", work.uid)
            ended = True
        if ended or work.wanted is not self.registered_events_by_work_ids[work_id]:
            self._settle(work_id, ended)

    def _guarded(self, work_id: int, step: Callable[[], bool]) -> bool:
        """Run a step; a work that fails ends alone."""
        try:
            return step()
        except Exception:
            logger.exception("connection %s failed", self.works[work_id].uid)
            return True

    def _settle(self, work_id: int, ended: bool) -> None:
        """Wait for what the work waits for now, or end it."""
        if ended:
            self._cleanup(work_id)
            return
        wanted: dict[int, int] = run_now(self.works[work_id].get_events())
        registered = self.registered_events_by_work_ids[work_id]
        if wanted is registered:
            return
        for descriptor, mask in registered.items():
            self._watch(work_id, descriptor, mask, wanted.get(descriptor, 0))
        for descriptor, mask in wanted.items():
            if descriptor not in registered:
                self._watch(work_id, descriptor, 0, mask)
        self.registered_events_by_work_ids[work_id] = wanted

    def _watch(self, work_id: int, descriptor: int, before: int, after: int) -> None:
        gone, new = before & ~after, after & ~before
        if gone & READ:
            self._on.remove_reader(descriptor)
        if gone & WRITE:
            self._on.remove_writer(descriptor)
        if new & READ:
            self._on.add_reader(descriptor, self._on_readable, work_id, descriptor)
        if new & WRITE:
            self._on.add_writer(descriptor, self._on_writable, work_id, descriptor)

    # --- ending ---

    def _cleanup(self, work_id: int) -> None:
        for descriptor, mask in self.registered_events_by_work_ids.pop(work_id, NOTHING).items():
            self._watch(work_id, descriptor, mask, 0)
        work = self.works.pop(work_id)
        try:
            work.shutdown()
        except Exception:
            logger.exception("connection %s did not end cleanly", work.uid)
        if self._empty is not None and not self.works:
            self._empty.set()

    def _sweep(self) -> None:
        self._sweeper = self._on.call_later(SWEEP_S, self._sweep) if self.works else None
        self._on_sweep()
        for work_id in list(self.works):
            work = self._work(work_id)
            if work.is_inactive():
                self._settle(work_id, self._guarded(work_id, work.time_out))

    def end_idle(self) -> None:
        """End the works that are between two requests."""
        for work_id in list(self.works):
            if self._work(work_id).is_idle:
                self._cleanup(work_id)

    async def until_empty(self) -> None:
        """Wait until the last work has ended."""
        self._empty = asyncio.Event()
        if self.works:
            await self._empty.wait()

    def close(self) -> None:
        """End every work at once."""
        self.stop_accepting()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for work_id in list(self.works):
            self._cleanup(work_id)
