"""Tests for trayproxy.service.other_loopback: the program at the other address of ``localhost``."""

from collections.abc import Iterator

import pytest

from tests.service.fake_process_names import FakeProcessNames
from tests.service.manual_clock_loop import ManualClockLoop
from trayproxy.domain.problem import Problem
from trayproxy.service.other_loopback import (
    LOOKUP_INTERVAL_S,
    RETRY_INTERVAL_S,
    OtherLoopback,
    taken_by,
)
from trayproxy.service.process_names import ListeningProgram

TAKEN, ADDRESS = "[::1]:3128", "127.0.0.1:3128"
NC = ListeningProgram("nobody", "nc", 4711)


class FakeLoopbackListener:
    """A listener for which the other address is taken or free."""

    address = ADDRESS

    def __init__(self) -> None:
        self.taken = TAKEN
        self.tries = 0

    def listen_on_other_loopback(self) -> str:
        self.tries += 1
        return self.taken


class LoopbackHarness:
    """An `OtherLoopback` with fakes, and the problems that it has reported."""

    def __init__(self) -> None:
        self.loop = ManualClockLoop()
        self.names = FakeProcessNames()
        self.names.listener = NC
        self.listener = FakeLoopbackListener()
        self.problems: list[Problem | None] = []
        self.other_loopback = OtherLoopback(
            self.loop, self.listener, self.names, self.problems.append
        )

    def wait(self, seconds: float) -> None:
        self.loop.now += seconds
        self.loop.run_ready()


@pytest.fixture
def harness() -> Iterator[LoopbackHarness]:
    harness = LoopbackHarness()
    yield harness
    harness.other_loopback.close()
    harness.loop.run_ready()
    harness.loop.close()


def test_the_holder_is_reported_until_trayproxy_listens(harness: LoopbackHarness) -> None:
    harness.other_loopback.try_now()
    harness.loop.run_ready()
    [problem] = harness.problems
    assert problem is not None
    assert (problem.id, problem.title) == ("TP-110", "nc of user nobody listens on [::1]:3128")
    assert "4711" in problem.body
    harness.wait(RETRY_INTERVAL_S)
    assert harness.listener.tries == 2
    assert len(harness.problems) == 1
    harness.listener.taken = ""
    harness.wait(RETRY_INTERVAL_S)
    assert harness.problems[1:] == [None]
    harness.wait(RETRY_INTERVAL_S)
    assert harness.listener.tries == 3, "it has the address, and there is nothing to try"


def test_a_free_address_causes_no_report_and_no_retry(harness: LoopbackHarness) -> None:
    harness.listener.taken = ""
    harness.other_loopback.try_now()
    harness.wait(10 * RETRY_INTERVAL_S)
    assert (harness.problems, harness.listener.tries) == ([], 1)


def test_the_holder_is_looked_up_again_after_a_minute(harness: LoopbackHarness) -> None:
    harness.other_loopback.try_now()
    harness.loop.run_ready()
    harness.names.listener = ListeningProgram("jdoe", "ssh", 12)
    for _ in range(int(LOOKUP_INTERVAL_S / RETRY_INTERVAL_S) - 1):
        harness.wait(RETRY_INTERVAL_S)
    assert harness.names.asked == [TAKEN]
    harness.wait(RETRY_INTERVAL_S)
    assert harness.names.asked == [TAKEN, TAKEN]
    assert harness.problems[-1] is not None
    assert harness.problems[-1].title == "ssh of user jdoe listens on [::1]:3128"


def test_a_holder_found_too_late_is_not_reported(harness: LoopbackHarness) -> None:
    harness.other_loopback.try_now()
    harness.listener.taken = ""
    harness.other_loopback.try_now()
    harness.loop.run_ready()
    assert harness.problems == []


def test_closing_ends_the_retries(harness: LoopbackHarness) -> None:
    harness.other_loopback.try_now()
    harness.loop.run_ready()
    harness.other_loopback.close()
    harness.wait(RETRY_INTERVAL_S)
    assert harness.listener.tries == 1


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
def test_the_title_names_the_holder_as_far_as_known(owner: ListeningProgram, title: str) -> None:
    problem = taken_by(owner, TAKEN, ADDRESS)
    assert problem.title == title
    assert "set your programs to 127.0.0.1:3128" in problem.body
