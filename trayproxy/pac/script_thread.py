"""Runs functions in the thread for PAC scripts, one after the other.

All scripts of the service share one thread. The thread is started on first use.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import monotonic, process_time
from typing import Any, TypeVar, cast

from trayproxy.pac.script_context import TIME_LIMIT_S

T = TypeVar("T")

MAX_PENDING = 256
"""The maximum number of functions that wait for the thread."""
MAX_STUCK = 2
"""The maximum number of threads that are given up. Each occupies a processor until TrayProxy is
restarted."""
STACK_SIZE = 1 << 20
"""The stack of the thread, in bytes. The default of musl is smaller than a script may need."""

OVERTIME_S = 1.0
"""The CPU time after the time limit of a script after which its thread counts as stuck."""
_POLL_S = 0.5


class BusyError(Exception):
    """Too many functions wait for the thread, or the thread cannot be started."""


class StuckError(Exception):
    """The function does not end, or scripts are switched off because of earlier such functions."""


@dataclass(eq=False, slots=True)
class _ScriptJob:
    function: Callable[[], object]
    result: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop
    queued_at: float = field(default_factory=monotonic)

    def deliver(self, result: object, error: BaseException | None) -> None:
        """Set the result in the event loop of the caller."""
        with suppress(RuntimeError):
            # Raised if the event loop has been closed.
            self.loop.call_soon_threadsafe(self._set, result, error)

    def _set(self, result: object, error: BaseException | None) -> None:
        if self.result.done():
            return
        if error is not None:
            self.result.set_exception(error)
        else:
            self.result.set_result(result)


class ScriptThread:
    """The thread for scripts, and the functions that wait for it.

    A script can call a built-in function that does not end and that the engine cannot interrupt.
    Its thread is then given up, and a new thread runs the other functions.
    """

    def __init__(self, limit_s: float = TIME_LIMIT_S + OVERTIME_S) -> None:
        """Create the thread without starting it.

        Args:
            limit_s: The CPU time of a function after which the thread counts as stuck, in seconds.
        """
        self._limit_s = limit_s
        self._worker: _ScriptWorker | None = None
        self._stuck = 0
        self._is_closed = False

    @property
    def is_off(self) -> bool:
        """True if scripts are switched off, because `MAX_STUCK` threads have been given up."""
        return self._stuck >= MAX_STUCK

    async def run(self, function: Callable[[], T]) -> T:
        """Run a function in the thread and return its result.

        A cancelled call is not started. If the function is running already, its result is dropped.

        Raises:
            BusyError: `MAX_PENDING` functions wait already, or the thread cannot be started.
            StuckError: The function does not end, or `MAX_STUCK` threads have been given up.
        """
        if self._is_closed or self.is_off:
            raise StuckError
        try:
            worker = self._worker = self._worker or _ScriptWorker()
        except RuntimeError:
            # The operating system has no thread left.
            raise BusyError from None
        if worker.pending >= MAX_PENDING:
            raise BusyError
        loop = asyncio.get_running_loop()
        job = _ScriptJob(function, loop.create_future(), loop)
        worker.add(job)
        try:
            while not job.result.done():
                await asyncio.wait({job.result}, timeout=_POLL_S)
                self._check()
        except asyncio.CancelledError:
            job.result.cancel()
            raise
        return cast(T, job.result.result())

    def close(self) -> None:
        """End the thread after the functions that wait; further functions raise `StuckError`."""
        self._is_closed = True
        if self._worker is not None:
            self._worker.end()
            self._worker = None

    def _check(self) -> None:
        """Give the thread up if it is stuck."""
        worker = self._worker
        if worker is None or worker.running_s() <= self._limit_s:
            return
        self._stuck += 1
        waiting = worker.give_up()
        self._worker = None if self.is_off else _ScriptWorker()
        for job in waiting:
            if self._worker is not None:
                self._worker.add(job)
            else:
                job.deliver(None, StuckError())


class _ScriptWorker:
    """A thread, its queue, and the running function."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[_ScriptJob | None] = SimpleQueue()
        self._running: tuple[_ScriptJob, float] | None = None
        # A daemon: a function that does not end must not keep TrayProxy from ending.
        thread = threading.Thread(target=self._work, name="pac-scripts", daemon=True)
        size = threading.stack_size(STACK_SIZE)
        try:
            thread.start()
        finally:
            threading.stack_size(size)

    @property
    def pending(self) -> int:
        """The number of functions that have not started."""
        return self._queue.qsize()

    def add(self, job: _ScriptJob) -> None:
        """Run a job after the jobs that wait."""
        self._queue.put(job)

    def end(self) -> None:
        """End the thread after the jobs that wait."""
        self._queue.put(None)

    def running_s(self) -> float:
        """Return the CPU time since the start of the running function, in seconds; 0 if idle."""
        running = self._running
        return process_time() - running[1] if running is not None else 0.0

    def give_up(self) -> list[_ScriptJob]:
        """Report the running function as stuck, and return the jobs that wait."""
        if self._running is not None:
            self._running[0].deliver(None, StuckError())
        waiting = []
        with suppress(Empty):
            while True:
                job = self._queue.get_nowait()
                if job is not None:
                    waiting.append(job)
        self.end()
        return waiting

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            if job.result.cancelled():
                continue
            self._running = (job, process_time())
            try:
                job.deliver(job.function(), None)
            except BaseException as error:  # noqa: BLE001
                # Raised to the caller.
                job.deliver(None, error)
            self._running = None
            del job
