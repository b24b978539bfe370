"""Runs coroutines that await `IoWait`, without an engine."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from trayproxy.engine.net.fd_task import WRITE, FdTask, IoWait

T = TypeVar("T")


async def pause(wait: IoWait) -> int:
    return await wait


def drive(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[IoWait, int, T]) -> T:
    """Run a coroutine on an event loop by an `FdTask`, and return its result.

    Raises:
        OSError: The error of the coroutine.
    """
    outcome: asyncio.Future[T] = loop.create_future()

    async def run() -> None:
        try:
            outcome.set_result(await coroutine)
        except OSError as error:
            outcome.set_exception(error)

    watched: set[int] = set()

    def watch() -> None:
        for descriptor in watched:
            loop.remove_writer(descriptor)
        watched.clear()
        for descriptor, mask in fd_task.events.items():
            assert mask == WRITE
            loop.add_writer(descriptor, step, descriptor)
            watched.add(descriptor)

    def step(woken_by: int) -> None:
        if not fd_task.step(woken_by):
            watch()
        else:
            watched_now = list(watched)
            watched.clear()
            for descriptor in watched_now:
                loop.remove_writer(descriptor)

    fd_task = FdTask(run(), loop, step)
    if not fd_task.start():
        watch()
    return loop.run_until_complete(asyncio.wait_for(outcome, 20))
