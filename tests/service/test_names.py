"""Tests for trayproxy.service.names."""

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest

from trayproxy.control.messages import Program
from trayproxy.desk.answer import Waiter
from trayproxy.service.names import Names


@pytest.fixture
def waiter() -> Iterator[Waiter]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
        with theirs, ours:
            yield Waiter("site.test:443", connection=(ours.getsockname(), ours.getpeername()))


def test_hundreds_who_wait_at_once_are_looked_for_at_once(waiter: Waiter) -> None:
    """One look takes some hundredths of a second: three hundred would take many."""

    async def ask() -> tuple[list[Program | None], float]:
        loop = asyncio.get_running_loop()
        names = Names(loop)
        try:
            began = loop.time()
            await names.of_waiter(waiter)
            one = loop.time() - began
            found = await asyncio.gather(*(names.of_waiter(waiter) for _ in range(300)))
            return found, (loop.time() - began) / one
        finally:
            names.close()

    found, looks = asyncio.run(ask())
    assert {program.pid for program in found if program} == {os.getpid()}
    assert len(found) == 300
    assert looks < 100


def test_whoever_leaves_meanwhile_holds_nobody_up(waiter: Waiter) -> None:
    async def ask() -> Program | None:
        names = Names(asyncio.get_running_loop())
        leaving = [asyncio.ensure_future(names.of_waiter(waiter)) for _ in range(3)]
        staying = asyncio.ensure_future(names.of_waiter(waiter))
        await asyncio.sleep(0)
        for one in leaving:
            one.cancel()
        try:
            return await staying
        finally:
            names.close()

    program = asyncio.run(ask())
    assert program is not None
    assert (program.pid, program.target) == (os.getpid(), "site.test:443")


def test_nobody_is_left_waiting_at_the_end(waiter: Waiter) -> None:
    async def ask() -> bool:
        names = Names(asyncio.get_running_loop())
        waiting = asyncio.ensure_future(names.of_waiter(waiter))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        names.close()
        await asyncio.wait([waiting], timeout=10)
        return waiting.done()

    assert asyncio.run(ask())
