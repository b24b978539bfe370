"""What a connection does, as one coroutine that waits in the words of proxy.py's `Work` contract.

proxy.py's `Work.get_events` says which descriptors a work waits for, its `handle_events` is called
when one is ready. Written as callbacks that is a state machine whose states are hard to see;
written as a coroutine it reads from top to bottom. The coroutine awaits a `IoWait`, which names
descriptors and masks as `get_events` does; the strand keeps it until an event resumes it, at once
and without a detour over tasks and futures: an event costs one `send`.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE

FUTURE_DONE = -1
"""What a `IoWait` returns when its future is done."""
TIMED_OUT = -2
"""What a `IoWait` returns when its time is over."""


class IoWait:
    """What a strand waits for: any of these, whichever comes first.

    Awaiting it returns the descriptor that is ready, `FUTURE_DONE` or `TIMED_OUT`.

    Attributes:
        events: Descriptors and masks as in proxy.py's ``SelectableEvents``.
        future: Also wakes when it is done.
        timeout: Seconds, for short and exact times; long ones are `ClientWork.deadline`.
    """

    __slots__ = ("events", "future", "timeout")

    def __init__(
        self,
        events: dict[int, int],
        future: "asyncio.Future[Any] | None" = None,
        timeout: float | None = None,
    ) -> None:
        self.events = events
        self.future = future
        self.timeout = timeout

    def __await__(self) -> Generator["IoWait", int, int]:
        return (yield self)


Pause = Callable[[IoWait], Coroutine[IoWait, int, int]]
"""Waits, and meanwhile looks after whatever else the caller is responsible for."""

NO_EVENTS: dict[int, int] = {}


async def wait_in_task(wait: IoWait) -> int:
    """Wait inside an asyncio task as a strand does: whoever dials need not be a connection."""
    loop = asyncio.get_running_loop()
    woken: asyncio.Future[int] = loop.create_future()

    def wake(by: int) -> None:
        if not woken.done():
            woken.set_result(by)

    def on_done(_: "asyncio.Future[Any]") -> None:
        wake(FUTURE_DONE)

    for descriptor, mask in wait.events.items():
        if mask & READ:
            loop.add_reader(descriptor, wake, descriptor)
        if mask & WRITE:
            loop.add_writer(descriptor, wake, descriptor)
    if wait.future is not None:
        wait.future.add_done_callback(on_done)
    timer = None if wait.timeout is None else loop.call_later(wait.timeout, wake, TIMED_OUT)
    try:
        return await woken
    finally:
        for descriptor in wait.events:
            loop.remove_reader(descriptor)
            loop.remove_writer(descriptor)
        if wait.future is not None:
            wait.future.remove_done_callback(on_done)
        if timer is not None:
            timer.cancel()


async def run_in_task(coroutine: Coroutine[IoWait, int, T]) -> T:
    """Run inside an asyncio task what awaits nothing but `IoWait`, and return its result."""
    try:
        wait = coroutine.send(None)  # type: ignore[arg-type]  # as PEP 342 says
        while True:
            try:
                woken = await wait_in_task(wait)
            except asyncio.CancelledError as error:
                wait = coroutine.throw(error)
            else:
                wait = coroutine.send(woken)
    except StopIteration as stop:
        result: T = stop.value
        return result


class FdTask:
    """Runs one coroutine that awaits nothing but `IoWait`.

    Attributes:
        events: What it waits for now.
    """

    __slots__ = ("_coroutine", "_loop", "_resume", "_timer", "_wait", "events")

    def __init__(
        self,
        coroutine: Coroutine[IoWait, int, None],
        loop: asyncio.AbstractEventLoop,
        resume: Callable[[int], None],
    ) -> None:
        """Make a strand that has not started.

        Args:
            coroutine: Its story.
            loop: Keeps the short times.
            resume: Called with `FUTURE_DONE` or `TIMED_OUT` when the future of the wait is done or
                its timeout is over. It must call `step` with that value.
        """
        self._coroutine = coroutine
        self._loop = loop
        self._resume = resume
        self._wait: IoWait | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.events = NO_EVENTS

    def start(self) -> bool:
        """Run until the first wait. Return True if the story has ended already."""
        try:
            self._start_wait(self._coroutine.send(None))  # type: ignore[arg-type]  # as PEP 342 says
        except StopIteration:
            return True
        return False

    def step(self, woken_by: int) -> bool:
        """Go on with the story. Return True if it has ended."""
        wait = self._wait
        if wait is None:
            return True
        if wait.future is not None or self._timer is not None:
            if woken_by == FUTURE_DONE and (wait.future is None or not wait.future.done()):
                return False  # A call that was already under way when something else woke us.
            self._end_wait(wait)
        try:
            self._start_wait(self._coroutine.send(woken_by))
        except StopIteration:
            self._wait = None
            return True
        return False

    def time_out(self) -> bool:
        """Throw `TimeoutError` into the story. Return True if it has ended."""
        return self.throw(TimeoutError())

    def throw(self, error: BaseException) -> bool:
        """Throw an error into the story where it waits. Return True if it has ended."""
        wait = self._wait
        if wait is None:
            return True
        self._end_wait(wait)
        try:
            self._start_wait(self._coroutine.throw(error))
        except StopIteration:
            self._wait = None
            return True
        return False

    def close(self) -> None:
        """End the story where it waits; its `finally` blocks run."""
        if self._wait is not None:
            self._end_wait(self._wait)
            self._wait = None
        self._coroutine.close()
        self.events = NO_EVENTS

    def _start_wait(self, wait: IoWait) -> None:
        if wait is self._wait:
            return
        self._wait = wait
        self.events = wait.events
        if wait.future is not None:
            wait.future.add_done_callback(self._on_future_done)
        if wait.timeout is not None:
            self._timer = self._loop.call_later(wait.timeout, self._on_timeout)

    def _end_wait(self, wait: IoWait) -> None:
        if wait.future is not None:
            wait.future.remove_done_callback(self._on_future_done)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wait = IoWait(NO_EVENTS)

    def _on_future_done(self, _: "asyncio.Future[Any]") -> None:
        self._resume(FUTURE_DONE)

    def _on_timeout(self) -> None:
        self._resume(TIMED_OUT)
