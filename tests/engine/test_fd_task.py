import asyncio
import socket
from collections.abc import Iterator

import pytest

from tests.engine.running import NewLoop
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


@pytest.fixture
def loop(new_loop: NewLoop) -> Iterator[asyncio.AbstractEventLoop]:
    loop = new_loop()
    yield loop
    loop.close()


class Story:
    """A strand whose waits are given, and what woke it from each.

    Attributes:
        woken: What its waits returned.
        over: `FdTask.step` or `FdTask.throw` has said that the story has ended.
        closed: Its ``finally`` block has run.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *waits: IoWait) -> None:
        self.woken: list[int] = []
        self.closed = False
        self.over = False
        self.resumed = asyncio.Event()
        self.strand = FdTask(self._tell(waits), loop, self._resume)

    async def _tell(self, waits: tuple[IoWait, ...]) -> None:
        try:
            for wait in waits:
                self.woken.append(await wait)
        finally:
            self.closed = True

    def _resume(self, woken_by: int) -> None:
        self.over = self.strand.step(woken_by)
        self.resumed.set()

    async def until_resumed(self) -> None:
        await asyncio.wait_for(self.resumed.wait(), 20)
        self.resumed.clear()


def test_a_story_runs_to_its_first_wait_at_once(loop: asyncio.AbstractEventLoop) -> None:
    wait = IoWait({5: READ})
    story = Story(loop, wait)
    assert not story.strand.start()
    assert story.strand.events is wait.events


def test_a_story_without_a_wait_ends_where_it_begins(loop: asyncio.AbstractEventLoop) -> None:
    assert Story(loop).strand.start()


def test_a_wait_returns_the_descriptor_that_is_ready(loop: asyncio.AbstractEventLoop) -> None:
    story = Story(loop, IoWait({5: READ, 6: WRITE}), IoWait({5: READ}))
    story.strand.start()
    assert not story.strand.step(6)
    assert story.strand.step(5)
    assert story.woken == [6, 5]


def test_the_same_wait_again_keeps_the_same_events(loop: asyncio.AbstractEventLoop) -> None:
    wait = IoWait({5: READ})
    story = Story(loop, wait, wait)
    story.strand.start()
    story.strand.step(5)
    assert story.strand.events is wait.events


def test_a_future_wakes_it(loop: asyncio.AbstractEventLoop) -> None:
    future: asyncio.Future[None] = loop.create_future()
    story = Story(loop, IoWait({}, future=future))
    story.strand.start()
    future.set_result(None)
    loop.run_until_complete(story.until_resumed())
    assert (story.woken, story.over) == ([FUTURE_DONE], True)


def test_a_time_wakes_it(loop: asyncio.AbstractEventLoop) -> None:
    story = Story(loop, IoWait({}, timeout=0.01))
    story.strand.start()
    loop.run_until_complete(story.until_resumed())
    assert (story.woken, story.over) == ([TIMED_OUT], True)


def test_what_comes_first_silences_the_others(loop: asyncio.AbstractEventLoop) -> None:
    future: asyncio.Future[None] = loop.create_future()
    story = Story(loop, IoWait({5: READ}, future=future, timeout=0.01), IoWait({}, timeout=0.05))
    story.strand.start()
    story.strand.step(5)
    future.set_result(None)
    loop.run_until_complete(story.until_resumed())
    assert story.woken == [5, TIMED_OUT]


def test_a_future_that_was_overtaken_does_not_wake_a_later_wait(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Its call was on its way already when a descriptor was quicker."""
    first: asyncio.Future[None] = loop.create_future()
    second: asyncio.Future[None] = loop.create_future()
    story = Story(loop, IoWait({5: READ}, future=first), IoWait({}, future=second))
    story.strand.start()
    first.set_result(None)
    story.strand.step(5)
    loop.run_until_complete(story.until_resumed())
    assert story.woken == [5]
    assert not story.over


def test_the_end_of_its_time_is_thrown_into_the_story(loop: asyncio.AbstractEventLoop) -> None:
    story = Story(loop, IoWait({5: READ}))
    story.strand.start()
    with pytest.raises(TimeoutError):
        story.strand.time_out()
    assert story.closed


def test_a_story_that_takes_the_end_of_its_time_calmly_goes_on(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def patient() -> None:
        with pytest.raises(TimeoutError):
            await IoWait({5: READ})
        await IoWait({6: READ})

    strand = FdTask(patient(), loop, lambda _: None)
    strand.start()
    assert not strand.time_out()
    assert strand.events == {6: READ}
    assert strand.step(6)


def test_closing_runs_what_must_run(loop: asyncio.AbstractEventLoop) -> None:
    future: asyncio.Future[None] = loop.create_future()
    story = Story(loop, IoWait({5: READ}, future=future, timeout=0.01))
    story.strand.start()
    story.strand.close()
    assert story.closed
    assert story.strand.events is NO_EVENTS


def test_nothing_wakes_a_story_that_was_closed(loop: asyncio.AbstractEventLoop) -> None:
    future: asyncio.Future[None] = loop.create_future()
    story = Story(loop, IoWait({5: READ}, future=future, timeout=0.01))
    story.strand.start()
    story.strand.close()
    future.set_result(None)
    other = Story(loop, IoWait({}, timeout=0.05))
    other.strand.start()
    loop.run_until_complete(other.until_resumed())
    assert not story.resumed.is_set()
    assert story.strand.step(5)
    assert story.woken == []


def test_a_story_is_closed_before_it_begins_and_after_its_end(
    loop: asyncio.AbstractEventLoop,
) -> None:
    begun = Story(loop, IoWait({5: READ}))
    begun.strand.start()
    assert begun.strand.step(5)
    for story in (Story(loop, IoWait({5: READ})), begun):
        story.strand.close()
        assert story.strand.events is NO_EVENTS


def test_an_ended_story_is_not_told_on(loop: asyncio.AbstractEventLoop) -> None:
    story = Story(loop, IoWait({5: READ}))
    story.strand.start()
    assert story.strand.step(5)
    assert story.strand.step(5)
    assert story.strand.time_out()


# --- in a task ---


def test_what_awaits_waits_runs_in_a_task_too(loop: asyncio.AbstractEventLoop) -> None:
    near, far = socket.socketpair()
    near.setblocking(False)

    async def tell() -> list[int]:
        first = await IoWait({near.fileno(): READ}, timeout=0.01)
        far.send(b"x")
        return [first, await IoWait({near.fileno(): READ}, timeout=20)]

    with near, far:
        woken = loop.run_until_complete(run_in_task(tell()))
        assert woken == [TIMED_OUT, near.fileno()]


def test_who_cancels_the_task_ends_it_where_it_waits(loop: asyncio.AbstractEventLoop) -> None:
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


def test_a_time_that_is_not_waited_for_any_more_wakes_nobody(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """What woke the story first is a descriptor; the next wait has no time."""
    over = loop.create_future()
    story = Story(loop, IoWait({5: READ}, timeout=0.02), IoWait({}, future=over))
    later_story = Story(loop, IoWait({}, timeout=0.05))
    story.strand.start()
    story.strand.step(5)
    later_story.strand.start()

    async def later() -> None:
        await later_story.until_resumed()
        assert story.woken == [5]
        over.set_result(None)
        await story.until_resumed()

    loop.run_until_complete(later())
    assert story.woken == [5, FUTURE_DONE]
    assert story.over
