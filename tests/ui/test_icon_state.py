"""Tests for trayproxy.ui.icon_state: the precedence of ux §3.1, and its time limits."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from trayproxy.control.messages import ListenerState, Status, UpstreamState
from trayproxy.domain.signin import SignInState
from trayproxy.profiles.profile import Profile, Upstream
from trayproxy.ui.icon_state import (
    MIN_STATE_S,
    MIN_SWAP_INTERVAL_S,
    STARTING_TIMEOUT_S,
    TROUBLE_AFTER_S,
    IconFacts,
    IconState,
    IconTrack,
    icon_state,
)

OFFICE = Profile("office", "Office", Upstream("proxy.corp", 8080))
LAB = Profile("lab", "Lab", Upstream("lab-px", 3128))
READY = Status("0.1.0", 1, ListenerState.UP, "127.0.0.1:3128", OFFICE, (OFFICE,))
WORKS = structs.replace(READY, upstream=UpstreamState.OK, sign_in=SignInState.OK)
DIRECT = structs.replace(READY, profile=None, direct=True)
UNREACHABLE = structs.replace(READY, upstream=UpstreamState.UNREACHABLE)

STATUSES = st.builds(
    Status,
    version=st.just("0.1.0"),
    pid=st.just(1),
    listener=st.sampled_from(ListenerState),
    address=st.just("127.0.0.1:3128"),
    profile=st.sampled_from([None, OFFICE, LAB]),
    sign_in=st.sampled_from(SignInState),
    upstream=st.sampled_from(UpstreamState),
    upstream_since=st.floats(0, 2e9),
    direct=st.booleans(),
)
FACTS = st.builds(
    IconFacts,
    status=st.none() | STATUSES,
    waited_s=st.floats(0, 10),
    unreachable_s=st.floats(0, 10),
    responded_before=st.booleans(),
    switching=st.booleans(),
)


@given(FACTS)
def test_every_input_has_a_state(facts: IconFacts) -> None:
    assert icon_state(facts) in IconState


TABLE = [
    (IconFacts(None, waited_s=1), IconState.STARTING),
    (IconFacts(None, waited_s=STARTING_TIMEOUT_S + 1), IconState.STOPPED),
    (IconFacts(structs.replace(READY, listener=ListenerState.STARTING)), IconState.STARTING),
    (IconFacts(structs.replace(READY, listener=ListenerState.FAILED)), IconState.STOPPED),
    (IconFacts(structs.replace(READY, profile=None, profiles=())), IconState.STARTING),
    (IconFacts(structs.replace(READY, profile=None)), IconState.STOPPED),
    (IconFacts(structs.replace(READY, profile=None), switching=True), IconState.STARTING),
    (IconFacts(structs.replace(WORKS, sign_in=SignInState.UNUSABLE)), IconState.TROUBLE),
    (IconFacts(DIRECT), IconState.DIRECT),
    (IconFacts(DIRECT, switching=True), IconState.STARTING),
    (IconFacts(structs.replace(DIRECT, listener=ListenerState.FAILED)), IconState.STOPPED),
    (IconFacts(READY), IconState.READY),
    (IconFacts(READY, switching=True), IconState.STARTING),
    (IconFacts(READY, waited_s=STARTING_TIMEOUT_S + 1, switching=True), IconState.READY),
    (IconFacts(WORKS), IconState.OK),
    (IconFacts(structs.replace(WORKS, sign_in=SignInState.NONE)), IconState.OK),
    (IconFacts(structs.replace(WORKS, sign_in=SignInState.REJECTED)), IconState.SIGNIN),
    (IconFacts(structs.replace(WORKS, sign_in=SignInState.SNOOZED)), IconState.SIGNIN),
    (IconFacts(UNREACHABLE, unreachable_s=1), IconState.READY),
    (IconFacts(UNREACHABLE, unreachable_s=1, responded_before=True), IconState.OK),
    (IconFacts(UNREACHABLE, unreachable_s=TROUBLE_AFTER_S), IconState.TROUBLE),
]


@pytest.mark.parametrize(("facts", "state"), TABLE)
def test_the_precedence_table(facts: IconFacts, state: IconState) -> None:
    assert icon_state(facts) is state


def test_the_precedence_table_reaches_every_state() -> None:
    assert {state for _, state in TABLE} == set(IconState)


@given(FACTS)
def test_a_failed_listener_always_shows_stopped(facts: IconFacts) -> None:
    if facts.status is not None:
        failed = structs.replace(facts.status, listener=ListenerState.FAILED)
        assert icon_state(replace(facts, status=failed)) is IconState.STOPPED


@given(FACTS, st.sampled_from([SignInState.NEEDED, SignInState.REJECTED, SignInState.SNOOZED]))
def test_a_needed_sign_in_has_precedence_while_the_listener_is_up(
    facts: IconFacts, sign_in: SignInState
) -> None:
    if facts.status is not None:
        status = structs.replace(
            facts.status, listener=ListenerState.UP, profile=OFFICE, sign_in=sign_in
        )
        assert icon_state(replace(facts, status=status)) is IconState.SIGNIN


ORDER = list(IconState)


@given(FACTS, st.floats(0, 10))
def test_longer_unreachability_never_improves_the_state(facts: IconFacts, more: float) -> None:
    later = replace(facts, unreachable_s=facts.unreachable_s + more)
    assert ORDER.index(icon_state(later)) <= ORDER.index(icon_state(facts))


def shown(track: IconTrack, now: float) -> IconState:
    track.update_shown(now)
    return track.shown


def test_trouble_is_shown_after_exactly_five_seconds() -> None:
    track = IconTrack(0)
    track.update(WORKS, 1, wall=1000)
    assert track.update_shown(1) is None
    track.update(structs.replace(UNREACHABLE, upstream_since=1001), 2, wall=1001)
    assert track.update_shown(2) == pytest.approx(5)
    assert shown(track, 6.9) is IconState.OK
    assert shown(track, 7) is IconState.TROUBLE


def test_trouble_older_than_the_tray_is_shown_at_once() -> None:
    track = IconTrack(0)
    track.update(structs.replace(UNREACHABLE, upstream_since=900), 1, wall=1000)
    track.update_shown(1)
    assert track.shown is IconState.TROUBLE


def test_a_clock_set_back_hides_no_trouble() -> None:
    track = IconTrack(0)
    status = structs.replace(UNREACHABLE, upstream_since=1000)
    track.update(status, 1, wall=1000)
    track.update(structs.replace(status, active=1), 7, wall=10)
    track.update_shown(7)
    assert track.shown is IconState.TROUBLE


def test_trouble_and_ok_stay_for_a_second_each() -> None:
    track = IconTrack(0)
    track.update(structs.replace(UNREACHABLE, upstream_since=0), 10, wall=1000)
    track.update_shown(10)
    track.update(structs.replace(WORKS, upstream_since=1000), 10.5, wall=1000)
    assert track.update_shown(10.5) == pytest.approx(MIN_STATE_S - 0.5)
    assert shown(track, 10.5) is IconState.TROUBLE
    assert shown(track, 11) is IconState.OK


def test_a_needed_sign_in_is_shown_at_once() -> None:
    track = IconTrack(0)
    track.update(WORKS, 1, wall=0)
    track.update_shown(1)
    track.update(structs.replace(WORKS, sign_in=SignInState.NEEDED), 2, wall=0)
    track.update_shown(2)
    assert track.shown is IconState.SIGNIN


def test_a_start_that_takes_too_long_shows_stopped() -> None:
    track = IconTrack(0)
    assert track.update_shown(0) == pytest.approx(STARTING_TIMEOUT_S, abs=0.01)
    track.update_shown(STARTING_TIMEOUT_S + 0.01)
    assert track.shown is IconState.STOPPED


def test_a_switch_shows_until_it_has_happened() -> None:
    track = IconTrack(0)
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
