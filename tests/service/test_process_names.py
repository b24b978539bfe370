"""Tests for trayproxy.service.process_names."""

import asyncio
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest

from trayproxy.desk.credentials import PendingRequest
from trayproxy.desktop.process_lookup import programs
from trayproxy.desktop.process_lookup.base import RunningProgram
from trayproxy.domain.signin import Program
from trayproxy.service.process_names import Connection, ProcessNames


@pytest.fixture
def pending() -> Iterator[PendingRequest]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
        with theirs, ours:
            yield PendingRequest(
                "site.test:443", connection=(ours.getsockname(), ours.getpeername())
            )


def test_hundreds_of_requests_share_a_lookup(
    pending: PendingRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up takes some hundredths of a second: three hundred would take seconds."""
    looks: list[int] = []
    find = programs.programs_of

    def look(connections: Sequence[Connection]) -> list[RunningProgram | None]:
        looks.append(len(connections))
        return find(connections)

    monkeypatch.setattr(programs, "programs_of", look)

    async def ask() -> list[Program | None]:
        with closing(ProcessNames(asyncio.get_running_loop())) as names:
            return await asyncio.gather(*(names.program_of(pending) for _ in range(300)))

    found = asyncio.run(ask())
    assert {program.pid for program in found if program} == {os.getpid()}
    assert len(found) == 300
    assert sum(looks) == 300
    assert len(looks) <= 2  # Requests during the first look-up share the second look-up.


def test_a_cancelled_request_does_not_delay_the_others(pending: PendingRequest) -> None:
    async def ask() -> Program | None:
        with closing(ProcessNames(asyncio.get_running_loop())) as names:
            *cancelled, kept = [asyncio.ensure_future(names.program_of(pending)) for _ in range(4)]
            await asyncio.sleep(0)
            for lookup in cancelled:
                lookup.cancel()
            return await kept

    program = asyncio.run(ask())
    assert program is not None
    assert (program.pid, program.target) == (os.getpid(), "site.test:443")


async def test_closing_cancels_all_lookups(pending: PendingRequest) -> None:
    names = ProcessNames(asyncio.get_running_loop())
    waiting = asyncio.ensure_future(names.program_of(pending))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    names.close()
    await asyncio.wait([waiting], timeout=10)
    assert waiting.done()
