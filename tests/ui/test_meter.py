"""Tests for trayproxy.ui.meter."""

import pytest

from trayproxy.ui.meter import STALE_S, Meter


def test_one_total_is_no_rate() -> None:
    meter = Meter()
    meter.see(1000, 0)
    assert meter.rate(0) is None


def test_the_rate_is_the_average_of_the_last_seconds() -> None:
    meter = Meter()
    for second in range(10):
        meter.see(second * 500, second)
    assert meter.rate(9) == pytest.approx(500)


def test_old_totals_tell_nothing() -> None:
    meter = Meter()
    meter.see(0, 0)
    meter.see(1000, 1)
    assert meter.rate(1 + STALE_S + 0.1) is None


def test_a_restarted_service_begins_anew() -> None:
    meter = Meter()
    meter.see(10**9, 0)
    meter.see(0, 1)
    assert meter.rate(1) is None
