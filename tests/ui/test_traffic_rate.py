"""Tests for trayproxy.ui.traffic_rate."""

import pytest

from trayproxy.ui.traffic_rate import MAX_SAMPLE_AGE_S, TrafficRate


def test_the_rate_is_unknown_after_one_total() -> None:
    meter = TrafficRate()
    meter.update(1000, 0)
    assert meter.rate(0) is None


def test_the_rate_is_the_average_of_the_last_seconds() -> None:
    meter = TrafficRate()
    for second in range(10):
        meter.update(second * 500, second)
    assert meter.rate(9) == pytest.approx(500)


def test_the_rate_is_unknown_after_old_totals() -> None:
    meter = TrafficRate()
    meter.update(0, 0)
    meter.update(1000, 1)
    assert meter.rate(1 + MAX_SAMPLE_AGE_S + 0.1) is None


def test_a_smaller_total_resets_the_rate() -> None:
    meter = TrafficRate()
    meter.update(10**9, 0)
    meter.update(0, 1)
    assert meter.rate(1) is None
