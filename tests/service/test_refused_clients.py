"""Tests for trayproxy.service.refused_clients."""

import asyncio
import logging
import socket
from collections.abc import Iterator

import pytest

from tests.support.strangers import NOBODY
from trayproxy.control.messages import RefusedClients as Known
from trayproxy.desktop.users import User
from trayproxy.service.process_names import ProcessNames
from trayproxy.service.refused_clients import LOG_INTERVAL_S, MAX_USERS, RefusedClientReporter


class FakeNames(ProcessNames):
    """Knows names at once."""

    def __init__(self) -> None:
        self.asked: list[User] = []
        self.held: list[socket.SocketType] = []

    async def names_of_refused(self, connection: socket.SocketType, user: User) -> tuple[str, str]:
        assert connection.fileno() >= 0
        self.asked.append(user)
        self.held.append(connection)
        return f"user{user}", "nc"


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time stands still until it is moved."""

    now = 1000.0

    def time(self) -> float:
        return self.now


class Stage:
    """Strangers that are refused, and what is heard of them."""

    def __init__(self) -> None:
        self.loop = Clock()
        self.names = FakeNames()
        self.told: list[Known] = []
        self.reporter = RefusedClientReporter(self.loop, self.names, self.told.append)
        self.connection = socket.socket()

    def refuse(self, user: User | None, times: int = 1) -> Known:
        for _ in range(times):
            self.reporter.record(self.connection, user)
        # What was begun comes to its end: a few turns of the loop.
        for _ in range(3):
            self.loop.run_until_complete(asyncio.sleep(0))
        return self.told[-1]

    def close(self) -> None:
        self.reporter.close()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()
        self.connection.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


def test_each_one_is_counted_and_the_last_is_named(stage: Stage) -> None:
    assert stage.refuse(NOBODY, 3).count == 3
    known = stage.refuse(1001)
    assert (known.count, known.user, known.program) == (4, "user1001", "nc")
    assert known.last > 0
    known = stage.refuse(NOBODY)
    assert (known.count, known.user) == (5, f"user{NOBODY}")


def test_names_and_lines_are_made_once_a_minute_for_each_user(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        stage.refuse(1)
        stage.refuse(1, 40)
        stage.refuse(2)
        assert stage.names.asked == [1, 2]
        stage.loop.now += LOG_INTERVAL_S
        stage.refuse(1)
    assert stage.names.asked == [1, 2, 1]
    assert caplog.messages == [
        "refused a connection of user user1, program nc",
        "refused a connection of user user2, program nc",
        "refused a connection of user user1, program nc, and 40 more before it",
    ]


def test_one_that_had_gone_has_no_name(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    known = stage.refuse(None, 2)
    assert (known.count, known.user, known.program) == (2, "", "")
    assert caplog.messages == ["refused a connection of a program that had gone already"]
    assert stage.names.asked == []


def test_the_connection_is_held_until_its_program_is_found_and_no_longer(stage: Stage) -> None:
    stage.refuse(1)
    assert [held.fileno() for held in stage.names.held] == [-1]
    assert stage.connection.fileno() >= 0


def test_many_users_take_no_more_room_than_some(stage: Stage) -> None:
    for user in range(3 * MAX_USERS):
        stage.refuse(user)
    assert stage.told[-1].count == 3 * MAX_USERS
    assert len(stage.reporter._reports) <= MAX_USERS


def test_without_a_descriptor_to_spare_the_number_has_to_do(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.connection.close()  # It cannot be duplicated any more, either.
    known = stage.refuse(7)
    assert (known.count, known.user) == (1, "7")
    assert caplog.messages == ["refused a connection of user 7"]
