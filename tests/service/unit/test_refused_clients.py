"""Tests for trayproxy.service.refused_clients."""

import logging
import socket
from collections.abc import Iterator

import pytest

from tests.service.fake_process_names import FakeProcessNames
from tests.service.manual_clock_loop import ManualClockLoop
from tests.support.client_programs import NOBODY
from trayproxy.control.messages import RefusedClients
from trayproxy.desktop.users import User
from trayproxy.service.refused_clients import LOG_INTERVAL_S, MAX_USERS, RefusedClientReporter


class ReporterHarness:
    """A `RefusedClientReporter` with fakes, and the totals that it has reported."""

    def __init__(self) -> None:
        self.loop = ManualClockLoop()
        self.names = FakeProcessNames()
        self.totals: list[RefusedClients] = []
        self.reporter = RefusedClientReporter(self.loop, self.names, self.totals.append)
        self.connection = socket.socket()

    def refuse(self, user: User | None, times: int = 1) -> RefusedClients:
        for _ in range(times):
            self.reporter.record(self.connection, user)
        self.loop.run_ready()
        return self.totals[-1]

    def close(self) -> None:
        self.reporter.close()
        self.loop.run_ready()
        self.loop.close()
        self.connection.close()


@pytest.fixture
def harness() -> Iterator[ReporterHarness]:
    harness = ReporterHarness()
    yield harness
    harness.close()


@pytest.mark.unix
def test_each_refused_connection_is_counted_and_the_last_is_named(harness: ReporterHarness) -> None:
    assert harness.refuse(NOBODY, 3).count == 3
    known = harness.refuse(1001)
    assert (known.count, known.user, known.program) == (4, "user1001", "nc")
    assert known.last > 0
    known = harness.refuse(NOBODY)
    assert (known.count, known.user) == (5, f"user{NOBODY}")


@pytest.mark.unix
def test_each_user_is_looked_up_and_logged_once_a_minute(
    harness: ReporterHarness, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        harness.refuse(1)
        harness.refuse(1, 40)
        harness.refuse(2)
        assert harness.names.asked == [1, 2]
        harness.loop.now += LOG_INTERVAL_S
        harness.refuse(1)
    assert harness.names.asked == [1, 2, 1]
    assert caplog.messages == [
        "refused a connection of user user1, program nc",
        "refused a connection of user user2, program nc",
        "refused a connection of user user1, program nc, and 40 more before it",
    ]


def test_an_exited_program_has_no_name(
    harness: ReporterHarness, caplog: pytest.LogCaptureFixture
) -> None:
    known = harness.refuse(None, 2)
    assert (known.count, known.user, known.program) == (2, "", "")
    assert caplog.messages == ["refused a connection of a program that had already ended"]
    assert harness.names.asked == []


@pytest.mark.unix
def test_the_connection_stays_open_until_its_program_is_found(harness: ReporterHarness) -> None:
    harness.refuse(1)
    assert [held.fileno() for held in harness.names.held] == [-1]
    assert harness.connection.fileno() >= 0


def test_the_number_of_user_reports_is_limited(harness: ReporterHarness) -> None:
    users = range(3 * MAX_USERS)
    for user in users:
        harness.refuse(user)
    assert harness.totals[-1].count == 3 * MAX_USERS
    for user in reversed(users):
        harness.refuse(user)
    # The name of a user without a report is looked up again.
    asked_once = [user for user in users if harness.names.asked.count(user) == 1]
    assert len(asked_once) <= MAX_USERS


def test_without_a_free_descriptor_the_users_number_is_logged(
    harness: ReporterHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.connection.close()  # A closed connection cannot be duplicated.
    known = harness.refuse(7)
    assert (known.count, known.user) == (1, "7")
    assert caplog.messages == ["refused a connection of user 7"]
