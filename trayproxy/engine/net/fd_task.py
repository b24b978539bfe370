"""Run coroutines waiting for file descriptors, without an asyncio task per connection.

proxy.py's `Work.get_events` returns the descriptors a work waits for, and `handle_events` is called
when one of them is ready. Written with callbacks, a connection would be a state machine, hard to
read; here it is a coroutine. The coroutine awaits an `IoWait`, which holds descriptors and masks in
the form of `get_events`. An `FdTask` keeps the `IoWait` until an event resumes the coroutine
directly, without asyncio tasks or futures: an event costs one `send`.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE

FUTURE_DONE = -1
"""The result of awaiting an `IoWait` when its future is done."""
TIMED_OUT = -2
"""The result of awaiting an `IoWait` when its timeout has passed."""


@dataclass(eq=False, slots=True)
class IoWait:
    """The events a coroutine waits for; the first event resumes the coroutine.

    Awaiting an `IoWait` returns the ready descriptor, `FUTURE_DONE` or `TIMED_OUT`.

    Attributes:
        events: Descriptors and masks, as in proxy.py's ``SelectableEvents``.
        future: A future; the coroutine is also resumed when the future is done. None for no future.
        timeout: Seconds after which the coroutine is resumed, exact and meant for short times; None
            for no timeout. Long timeouts use `ClientDownstream.deadline`.
    """

    events: dict[int, int]
    future: "asyncio.Future[Any] | None" = None
    timeout: float | None = None

    def __await__(self) -> Generator["IoWait", int, int]:
        return (yield self)


Pause = Callable[[IoWait], Coroutine[IoWait, int, int]]
"""Waits for an `IoWait` and returns its result. Meanwhile it may also watch the client, or raise an
exception to end the wait."""

NO_EVENTS: dict[int, int] = {}


async def wait_in_task(wait: IoWait) -> int:
    """Wait for the events of an `IoWait` inside an asyncio task; return its result.

    Connections are also opened by asyncio tasks, not only by `FdTask`.
    """
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
    """Run a coroutine awaiting only `IoWait` inside an asyncio task, and return its result."""
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
    """Runs one coroutine awaiting only `IoWait`. `events` are the descriptors and masks the
    coroutine waits for now."""

    __slots__ = ("_coroutine", "_loop", "_resume", "_timer", "_wait", "events")

    def __init__(
        self,
        coroutine: Coroutine[IoWait, int, None],
        loop: asyncio.AbstractEventLoop,
        resume: Callable[[int], None],
    ) -> None:
        """Prepare a coroutine; `start` starts it. `resume` is called with `FUTURE_DONE` or
        `TIMED_OUT` when the future of the wait is done or its timeout has passed. It must call
        `step` with this value."""
        self._coroutine = coroutine
        self._loop = loop
        self._resume = resume
        self._wait: IoWait | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.events = NO_EVENTS

    def start(self) -> bool:
        """Run the coroutine to its first wait. Return True if the coroutine has ended already."""
        return self._advance(self._coroutine.send, None)

    def step(self, woken_by: int) -> bool:
        """Resume the coroutine with the ready descriptor, `FUTURE_DONE` or `TIMED_OUT`. Return True
        if the coroutine has ended."""
        wait = self._wait
        if wait is None:
            return True
        if wait.future is not None or self._timer is not None:
            if woken_by == FUTURE_DONE and (wait.future is None or not wait.future.done()):
                return False  # A stale callback: another event had already ended that wait.
            self._end_wait(wait)
        return self._advance(self._coroutine.send, woken_by)

    def time_out(self) -> bool:
        """Raise `TimeoutError` in the coroutine. Return True if the coroutine has ended."""
        if self._wait is None:
            return True
        self._end_wait(self._wait)
        return self._advance(self._coroutine.throw, TimeoutError())

    def close(self) -> None:
        """Close the coroutine at its current wait; its `finally` blocks run."""
        if self._wait is not None:
            self._end_wait(self._wait)
            self._wait = None
        self._coroutine.close()
        self.events = NO_EVENTS

    def _advance(self, resume: Callable[[Any], IoWait], value: object) -> bool:
        """Resume the coroutine with this value to its next wait. Return True if it has ended."""
        try:
            wait = resume(value)
        except StopIteration:
            self._wait = None
            return True
        if wait is not self._wait:
            self._wait = wait
            self.events = wait.events
            if wait.future is not None:
                wait.future.add_done_callback(self._on_future_done)
            if wait.timeout is not None:
                self._timer = self._loop.call_later(wait.timeout, self._on_timeout)
        return False

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
