import asyncio
import socket
from asyncio import AbstractEventLoop
from contextlib import suppress

import pytest

from trayproxy.engine.net.fd_task import (
    FUTURE_DONE,
    NO_EVENTS,
    READ,
    TIMED_OUT,
    WRITE,
    FdTask,
    IoWait,
    run_in_task,
)


class RecordedTask:
    """An `FdTask` with given waits, which records the result of each wait.

    Attributes:
        woken: The results of the waits.
        has_ended: True if `FdTask.step` or `FdTask.throw` has returned True.
        closed: True if the ``finally`` block of the coroutine has run.
    """

    def __init__(self, loop: AbstractEventLoop, *waits: IoWait) -> None:
        self.woken: list[int] = []
        self.closed = False
        self.has_ended = False
        self.resumed = asyncio.Event()
        self.task = FdTask(self._run(waits), loop, self._resume)

    async def _run(self, waits: tuple[IoWait, ...]) -> None:
        try:
            for wait in waits:
                self.woken.append(await wait)
        finally:
            self.closed = True

    def _resume(self, woken_by: int) -> None:
        self.has_ended = self.task.step(woken_by)
        self.resumed.set()

    async def wait_until_resumed(self) -> None:
        await asyncio.wait_for(self.resumed.wait(), 20)
        self.resumed.clear()


def test_start_runs_the_coroutine_to_its_first_wait(loop: AbstractEventLoop) -> None:
    wait = IoWait({5: READ})
    recorded = RecordedTask(loop, wait)
    assert not recorded.task.start()
    assert recorded.task.events is wait.events


def test_start_returns_true_for_a_coroutine_without_a_wait(loop: AbstractEventLoop) -> None:
    assert RecordedTask(loop).task.start()


def test_a_wait_returns_the_ready_descriptor(loop: AbstractEventLoop) -> None:
    recorded = RecordedTask(loop, IoWait({5: READ, 6: WRITE}), IoWait({5: READ}))
    recorded.task.start()
    assert not recorded.task.step(6)
    assert recorded.task.step(5)
    assert recorded.woken == [6, 5]


def test_the_same_wait_again_keeps_the_same_events(loop: AbstractEventLoop) -> None:
    wait = IoWait({5: READ})
    recorded = RecordedTask(loop, wait, wait)
    recorded.task.start()
    recorded.task.step(5)
    assert recorded.task.events is wait.events


def test_a_future_resumes_the_coroutine(loop: AbstractEventLoop) -> None:
    future: asyncio.Future[None] = loop.create_future()
    recorded = RecordedTask(loop, IoWait({}, future=future))
    recorded.task.start()
    future.set_result(None)
    loop.run_until_complete(recorded.wait_until_resumed())
    assert (recorded.woken, recorded.has_ended) == ([FUTURE_DONE], True)


def test_a_timeout_resumes_the_coroutine(loop: AbstractEventLoop) -> None:
    recorded = RecordedTask(loop, IoWait({}, timeout=0.01))
    recorded.task.start()
    loop.run_until_complete(recorded.wait_until_resumed())
    assert (recorded.woken, recorded.has_ended) == ([TIMED_OUT], True)


def test_the_first_event_cancels_the_others(loop: AbstractEventLoop) -> None:
    future: asyncio.Future[None] = loop.create_future()
    recorded = RecordedTask(
        loop, IoWait({5: READ}, future=future, timeout=0.01), IoWait({}, timeout=0.05)
    )
    recorded.task.start()
    recorded.task.step(5)
    future.set_result(None)
    loop.run_until_complete(recorded.wait_until_resumed())
    assert recorded.woken == [5, TIMED_OUT]


def test_a_stale_callback_of_a_future_does_not_resume_a_later_wait(loop: AbstractEventLoop) -> None:
    """The callback of the future was scheduled already when a descriptor resumed the coroutine."""
    first: asyncio.Future[None] = loop.create_future()
    second: asyncio.Future[None] = loop.create_future()
    recorded = RecordedTask(loop, IoWait({5: READ}, future=first), IoWait({}, future=second))
    recorded.task.start()
    first.set_result(None)
    recorded.task.step(5)
    loop.run_until_complete(recorded.wait_until_resumed())
    assert recorded.woken == [5]
    assert not recorded.has_ended


def test_time_out_raises_in_the_coroutine(loop: AbstractEventLoop) -> None:
    recorded = RecordedTask(loop, IoWait({5: READ}))
    recorded.task.start()
    with pytest.raises(TimeoutError):
        recorded.task.time_out()
    assert recorded.closed


def test_a_coroutine_that_catches_the_timeout_continues(loop: AbstractEventLoop) -> None:
    async def catch_timeout() -> None:
        with pytest.raises(TimeoutError):
            await IoWait({5: READ})
        await IoWait({6: READ})

    task = FdTask(catch_timeout(), loop, lambda _: None)
    task.start()
    assert not task.time_out()
    assert task.events == {6: READ}
    assert task.step(6)


def test_close_runs_finally_blocks(loop: AbstractEventLoop) -> None:
    future: asyncio.Future[None] = loop.create_future()
    recorded = RecordedTask(loop, IoWait({5: READ}, future=future, timeout=0.01))
    recorded.task.start()
    recorded.task.close()
    assert recorded.closed
    assert recorded.task.events is NO_EVENTS


def test_a_closed_task_is_not_resumed(loop: AbstractEventLoop) -> None:
    future: asyncio.Future[None] = loop.create_future()
    recorded = RecordedTask(loop, IoWait({5: READ}, future=future, timeout=0.01))
    recorded.task.start()
    recorded.task.close()
    future.set_result(None)
    other = RecordedTask(loop, IoWait({}, timeout=0.05))
    other.task.start()
    loop.run_until_complete(other.wait_until_resumed())
    assert not recorded.resumed.is_set()
    assert recorded.task.step(5)
    assert recorded.woken == []


def test_a_task_can_be_closed_before_its_start_and_after_its_end(loop: AbstractEventLoop) -> None:
    begun = RecordedTask(loop, IoWait({5: READ}))
    begun.task.start()
    assert begun.task.step(5)
    for recorded in (RecordedTask(loop, IoWait({5: READ})), begun):
        recorded.task.close()
        assert recorded.task.events is NO_EVENTS


def test_an_ended_task_is_not_resumed(loop: AbstractEventLoop) -> None:
    recorded = RecordedTask(loop, IoWait({5: READ}))
    recorded.task.start()
    assert recorded.task.step(5)
    assert recorded.task.step(5)
    assert recorded.task.time_out()


# --- in a task ---


def test_run_in_task_runs_a_coroutine_of_waits(loop: AbstractEventLoop) -> None:
    near, far = socket.socketpair()
    near.setblocking(False)

    async def tell() -> list[int]:
        first = await IoWait({near.fileno(): READ}, timeout=0.01)
        far.send(b"x")
        second = await IoWait({near.fileno(): READ}, timeout=20)
        with suppress(BlockingIOError):
            while near.send(bytes(1 << 16)):
                pass
        # It is readable, but not writable.
        return [first, second, await IoWait({near.fileno(): WRITE}, timeout=0.01)]

    with near, far:
        woken = loop.run_until_complete(run_in_task(tell()))
        assert woken == [TIMED_OUT, near.fileno(), TIMED_OUT]


def test_cancelling_the_asyncio_task_raises_at_the_current_wait(loop: AbstractEventLoop) -> None:
    ended: list[str] = []

    async def tell() -> None:
        try:
            await IoWait(NO_EVENTS)
        finally:
            ended.append("first")
            await IoWait(NO_EVENTS, timeout=0.0)
            ended.append("then")

    async def cancel() -> None:
        task = asyncio.ensure_future(run_in_task(tell()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    loop.run_until_complete(cancel())
    assert ended == ["first", "then"]


def test_the_timeout_of_an_ended_wait_does_not_resume_a_later_wait(loop: AbstractEventLoop) -> None:
    """A descriptor ends the first wait; the next wait has no timeout."""
    has_ended = loop.create_future()
    recorded = RecordedTask(loop, IoWait({5: READ}, timeout=0.02), IoWait({}, future=has_ended))
    later_story = RecordedTask(loop, IoWait({}, timeout=0.05))
    recorded.task.start()
    recorded.task.step(5)
    later_story.task.start()

    async def later() -> None:
        await later_story.wait_until_resumed()
        assert recorded.woken == [5]
        has_ended.set_result(None)
        await recorded.wait_until_resumed()

    loop.run_until_complete(later())
    assert recorded.woken == [5, FUTURE_DONE]
    assert recorded.has_ended
