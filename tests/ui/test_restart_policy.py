"""Tests for trayproxy.ui.restart_policy."""

from hypothesis import given
from hypothesis import strategies as st

from trayproxy.ui.restart_policy import (
    MAX_DELAY_S,
    MAX_STARTS,
    STABLE_UPTIME_S,
    WINDOW_S,
    RestartPolicy,
)


def test_the_delay_doubles() -> None:
    policy = RestartPolicy()
    assert [policy.next_delay_s(0, 0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_long_uptime_resets_the_delay() -> None:
    policy = RestartPolicy()
    for _ in range(5):
        policy.next_delay_s(0, 0)
    assert policy.next_delay_s(0, STABLE_UPTIME_S) == 1


def test_a_reset_restores_the_first_delay() -> None:
    policy = RestartPolicy()
    for _ in range(MAX_STARTS):
        policy.record_start(0)
        policy.next_delay_s(0, 0)
    policy.reset()
    assert policy.next_delay_s(0, 0) == 1


@given(st.lists(st.floats(0, 30), min_size=10, max_size=30))
def test_there_are_at_most_five_starts_in_five_minutes(lives: list[float]) -> None:
    policy = RestartPolicy()
    now = 0.0
    starts = []
    for uptime in lives:
        starts.append(now)
        policy.record_start(now)
        now += uptime
        now += policy.next_delay_s(now, uptime)
    for first, sixth in zip(starts, starts[MAX_STARTS:], strict=False):
        assert sixth - first >= WINDOW_S - 1e-6


@given(st.lists(st.floats(0, 100), max_size=20))
def test_a_delay_is_bounded(lives: list[float]) -> None:
    policy = RestartPolicy()
    assert all(1 <= policy.next_delay_s(0, uptime) <= MAX_DELAY_S for uptime in lives)
