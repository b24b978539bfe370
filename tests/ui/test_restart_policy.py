"""Tests for trayproxy.ui.restart_policy."""

from hypothesis import given
from hypothesis import strategies as st

from trayproxy.ui.restart_policy import LONGEST_DELAY_S, STARTS, STEADY_S, WINDOW_S, RestartPolicy


def test_the_delay_doubles() -> None:
    backoff = RestartPolicy()
    assert [backoff.died(0, 0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_service_that_lived_for_long_is_brought_back_soon() -> None:
    backoff = RestartPolicy()
    for _ in range(5):
        backoff.died(0, 0)
    assert backoff.died(0, STEADY_S) == 1


def test_a_person_need_not_wait() -> None:
    backoff = RestartPolicy()
    for _ in range(STARTS):
        backoff.started(0)
        backoff.died(0, 0)
    backoff.reset()
    assert backoff.died(0, 0) == 1


@given(st.lists(st.floats(0, 30), min_size=10, max_size=30))
def test_there_are_at_most_five_starts_in_five_minutes(lives: list[float]) -> None:
    backoff = RestartPolicy()
    now = 0.0
    starts = []
    for lived in lives:
        starts.append(now)
        backoff.started(now)
        now += lived
        now += backoff.died(now, lived)
    for first, sixth in zip(starts, starts[STARTS:], strict=False):
        assert sixth - first >= WINDOW_S - 1e-6


@given(st.lists(st.floats(0, 100), max_size=20))
def test_a_delay_is_bounded(lives: list[float]) -> None:
    backoff = RestartPolicy()
    assert all(1 <= backoff.died(0, lived) <= LONGEST_DELAY_S for lived in lives)
