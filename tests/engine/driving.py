"""Runs a coroutine that waits for descriptors as an executor does, without an engine."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from trayproxy.engine.net.fd_task import WRITE, FdTask, IoWait

T = TypeVar("T")


async def pause(wait: IoWait) -> int:
    return await wait


def drive(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[IoWait, int, T]) -> T:
    """Do for a coroutine what the executor and a client connection do for theirs.

    Raises:
        OSError: What the coroutine raises.
    """
    outcome: asyncio.Future[T] = loop.create_future()

    async def story() -> None:
        try:
            outcome.set_result(await coroutine)
        except OSError as error:
            outcome.set_exception(error)

    watched: set[int] = set()

    def watch() -> None:
        for descriptor in watched:
            loop.remove_writer(descriptor)
        watched.clear()
        for descriptor, mask in strand.events.items():
            assert mask == WRITE
            loop.add_writer(descriptor, step, descriptor)
            watched.add(descriptor)

    def step(woken_by: int) -> None:
        if not strand.step(woken_by):
            watch()
        else:
            watched_now = list(watched)
            watched.clear()
            for descriptor in watched_now:
                loop.remove_writer(descriptor)

    strand = FdTask(story(), loop, step)
    if not strand.start():
        watch()
    return loop.run_until_complete(asyncio.wait_for(outcome, 20))
