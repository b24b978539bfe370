"""Tests for trayproxy.service.other_loopback: who has the other address of ``localhost``."""

import asyncio
from collections.abc import Iterator

import pytest

from trayproxy.control.messages import Problem
from trayproxy.service.other_loopback import (
    LOOKUP_INTERVAL_S,
    RETRY_INTERVAL_S,
    OtherLoopback,
    taken_by,
)
from trayproxy.service.process_names import ListeningProgram, ProcessNames

TAKEN, ADDRESS = "[::1]:3128", "127.0.0.1:3128"
NC = ListeningProgram("nobody", "nc", 4711)


class FakeNames(ProcessNames):
    """Knows who listens at once."""

    def __init__(self) -> None:
        self.listener = NC
        self.asked: list[str] = []

    async def find_listener(self, address: str) -> ListeningProgram:
        self.asked.append(address)
        return self.listener


class Door:
    """Has the other address, or somebody else has."""

    address = ADDRESS

    def __init__(self) -> None:
        self.taken = TAKEN
        self.tries = 0

    def listen_on_other_loopback(self) -> str:
        self.tries += 1
        return self.taken


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time stands still until it is moved."""

    now = 1000.0

    def time(self) -> float:
        return self.now


class Stage:
    """A door, and what a person is told of it."""

    def __init__(self) -> None:
        self.loop = Clock()
        self.names = FakeNames()
        self.door = Door()
        self.told: list[Problem | None] = []
        self.other_loopback = OtherLoopback(self.loop, self.door, self.names, self.told.append)

    def turn(self) -> None:
        for _ in range(4):
            self.loop.run_until_complete(asyncio.sleep(0))

    def wait(self, seconds: float) -> None:
        self.loop.now += seconds
        self.turn()


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.other_loopback.close()
    stage.turn()
    stage.loop.close()


def test_who_has_it_is_told_until_it_is_ours(stage: Stage) -> None:
    stage.other_loopback.try_now()
    stage.turn()
    [problem] = stage.told
    assert problem is not None
    assert (problem.id, problem.title) == ("TP-110", "nc of user nobody listens on [::1]:3128")
    assert "4711" in problem.body
    stage.wait(RETRY_INTERVAL_S)
    assert stage.door.tries == 2
    assert len(stage.told) == 1
    stage.door.taken = ""
    stage.wait(RETRY_INTERVAL_S)
    assert stage.told[1:] == [None]
    stage.wait(RETRY_INTERVAL_S)
    assert stage.door.tries == 3, "it has the address, and there is nothing to try"


def test_nothing_is_told_or_tried_where_nobody_has_it(stage: Stage) -> None:
    stage.door.taken = ""
    stage.other_loopback.try_now()
    stage.wait(10 * RETRY_INTERVAL_S)
    assert (stage.told, stage.door.tries) == ([], 1)


def test_another_owner_is_found_out_after_a_minute_and_not_before(stage: Stage) -> None:
    stage.other_loopback.try_now()
    stage.turn()
    stage.names.listener = ListeningProgram("jdoe", "ssh", 12)
    for _ in range(int(LOOKUP_INTERVAL_S / RETRY_INTERVAL_S) - 1):
        stage.wait(RETRY_INTERVAL_S)
    assert stage.names.asked == [TAKEN]
    stage.wait(RETRY_INTERVAL_S)
    assert stage.names.asked == [TAKEN, TAKEN]
    assert stage.told[-1] is not None
    assert stage.told[-1].title == "ssh of user jdoe listens on [::1]:3128"


def test_an_owner_that_is_found_out_too_late_is_not_told(stage: Stage) -> None:
    stage.other_loopback.try_now()
    stage.door.taken = ""
    stage.other_loopback.try_now()
    stage.turn()
    assert stage.told == []


def test_closing_ends_the_tries(stage: Stage) -> None:
    stage.other_loopback.try_now()
    stage.turn()
    stage.other_loopback.close()
    stage.wait(RETRY_INTERVAL_S)
    assert stage.door.tries == 1


@pytest.mark.parametrize(
    ("owner", "title"),
    [
        (ListeningProgram("nobody", "nc", 1), "nc of user nobody listens on [::1]:3128"),
        (ListeningProgram("nobody"), "A program of user nobody listens on [::1]:3128"),
        (ListeningProgram(program="nc", pid=1), "nc listens on [::1]:3128"),
        (ListeningProgram(), "Another program listens on [::1]:3128"),
        (
            ListeningProgram("u" * 99, "p" * 99),
            f"{'p' * 20} of user {'u' * 20} listens on [::1]:3128",
        ),
    ],
)
def test_the_title_names_the_owner_as_far_as_it_is_known(
    owner: ListeningProgram, title: str
) -> None:
    problem = taken_by(owner, TAKEN, ADDRESS)
    assert problem.title == title
    assert "set your programs to 127.0.0.1:3128" in problem.body
