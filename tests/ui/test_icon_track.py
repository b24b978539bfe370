"""Tests for trayproxy.ui.icon_track: the time limits of ux §3.1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from tests.control.unit.test_icon_state import READY, STATUSES, UNREACHABLE, WORKS
from tests.support.values import LAB
from trayproxy.control.icon_state import STARTING_TIMEOUT_S, IconState, icon_state
from trayproxy.control.messages import Status
from trayproxy.domain.signin import SignInState
from trayproxy.ui.icon_track import MIN_STATE_S, MIN_SWAP_INTERVAL_S, IconTrack


@pytest.fixture
def track() -> IconTrack:
    return IconTrack(0)


def shown(track: IconTrack, now: float) -> IconState:
    track.update_shown(now)
    return track.shown


def test_trouble_is_shown_after_exactly_five_seconds(track: IconTrack) -> None:
    track.update(WORKS, 1, wall=1000)
    assert track.update_shown(1) is None
    track.update(structs.replace(UNREACHABLE, upstream_since=1001), 2, wall=1001)
    assert track.update_shown(2) == pytest.approx(5)
    assert shown(track, 6.9) is IconState.OK
    assert shown(track, 7) is IconState.TROUBLE


def test_trouble_older_than_the_tray_is_shown_at_once(track: IconTrack) -> None:
    track.update(structs.replace(UNREACHABLE, upstream_since=900), 1, wall=1000)
    assert shown(track, 1) is IconState.TROUBLE


def test_a_clock_set_back_hides_no_trouble(track: IconTrack) -> None:
    status = structs.replace(UNREACHABLE, upstream_since=1000)
    track.update(status, 1, wall=1000)
    track.update(structs.replace(status, active=1), 7, wall=10)
    assert shown(track, 7) is IconState.TROUBLE


def test_trouble_and_ok_stay_for_a_second_each(track: IconTrack) -> None:
    track.update(structs.replace(UNREACHABLE, upstream_since=0), 10, wall=1000)
    track.update_shown(10)
    track.update(structs.replace(WORKS, upstream_since=1000), 10.5, wall=1000)
    assert track.update_shown(10.5) == pytest.approx(MIN_STATE_S - 0.5)
    assert shown(track, 10.5) is IconState.TROUBLE
    assert shown(track, 11) is IconState.OK


def test_a_needed_sign_in_is_shown_at_once(track: IconTrack) -> None:
    track.update(WORKS, 1, wall=0)
    track.update_shown(1)
    track.update(structs.replace(WORKS, sign_in=SignInState.NEEDED), 2, wall=0)
    assert shown(track, 2) is IconState.SIGNIN


def test_a_start_that_takes_too_long_shows_stopped(track: IconTrack) -> None:
    assert track.update_shown(0) == pytest.approx(STARTING_TIMEOUT_S, abs=0.01)
    track.update_shown(STARTING_TIMEOUT_S + 0.01)
    assert track.shown is IconState.STOPPED


def test_a_switch_shows_until_it_has_happened(track: IconTrack) -> None:
    track.update(WORKS, 1, wall=0)
    track.update_shown(1)
    track.start_switch(2)
    assert shown(track, 2) is IconState.STARTING
    track.update(structs.replace(READY, profile=LAB), 2.5, wall=0)
    assert shown(track, 2.5) is IconState.READY


@given(st.lists(st.tuples(st.none() | STATUSES, st.floats(0, 2)), max_size=20))
def test_swaps_are_at_least_200_ms_apart_and_end_in_the_right_state(
    events: list[tuple[Status | None, float]],
) -> None:
    now = 0.0
    track = IconTrack(now)
    swaps = [now]
    for status, pause in events:
        now += pause
        track.update(status, now, wall=now)
        before = track.shown
        track.update_shown(now)
        if track.shown is not before:
            assert now - swaps[-1] >= MIN_SWAP_INTERVAL_S - 0.002
            swaps.append(now)
    for _ in range(5):
        wait = track.update_shown(now)
        if wait is None:
            break
        now += wait
    assert track.update_shown(now) is None
    assert track.shown is icon_state(track.facts(now))
