"""Tests for trayproxy.engine.upstream.failover, with a fake clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayproxy.engine.limits import LIMITS
from trayproxy.engine.upstream.failover import MAX_SILENT_CONNECTIONS, Failover
from trayproxy.engine.upstream.route import Route
from trayproxy.profiles.profile import Profile, Upstream

FIRST, SECOND, THIRD = (Upstream(name, 8080) for name in ("first", "second", "third"))


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def failover(clock: FakeClock) -> Failover:
    return Failover(clock, LIMITS)


@pytest.fixture
def route() -> Route:
    return Route.via_profile(Profile("office", "Office", FIRST, fallbacks=(SECOND, THIRD)))


def chosen(failover: Failover, route: Route, *tried: Route) -> Upstream | None:
    found = failover.choose(route, tried)
    return found.upstream if found else None


def test_the_preferred_upstream_is_chosen_while_it_is_alive(
    failover: Failover, route: Route
) -> None:
    assert failover.choose(route) is route
    failover.mark_dead(SECOND)
    assert failover.choose(route) is route


def test_a_dead_upstream_is_not_chosen_for_a_while(
    failover: Failover, route: Route, clock: FakeClock
) -> None:
    failover.mark_dead(FIRST)
    assert failover.is_dead(route)
    assert not failover.is_dead(route.fallbacks[0])
    assert chosen(failover, route) == SECOND
    clock.now += 29.5
    assert chosen(failover, route) == SECOND
    failover.mark_dead(SECOND)
    assert chosen(failover, route) == THIRD
    clock.now += 0.5
    assert chosen(failover, route) == FIRST
    assert failover.is_dead(route)


def test_a_single_request_tries_a_dead_upstream_again(
    failover: Failover, route: Route, clock: FakeClock
) -> None:
    failover.mark_dead(FIRST)
    clock.now += 31
    assert chosen(failover, route) == FIRST
    assert [chosen(failover, route) for _ in range(3)] == [SECOND] * 3
    failover.mark_alive(FIRST)
    assert chosen(failover, route) == FIRST


def test_after_an_unfinished_try_another_request_tries(
    failover: Failover, route: Route, clock: FakeClock
) -> None:
    failover.mark_dead(FIRST)
    clock.now += 31
    assert chosen(failover, route) == FIRST
    clock.now += LIMITS.connect_total_s - 0.5
    assert chosen(failover, route) == SECOND
    clock.now += 0.5
    assert chosen(failover, route) == FIRST


def test_the_pause_doubles_up_to_five_minutes(
    failover: Failover, route: Route, clock: FakeClock
) -> None:
    pauses = []
    failover.mark_dead(FIRST)
    for _ in range(6):
        start = clock.now
        while chosen(failover, route) != FIRST:
            clock.now += 1
        pauses.append(clock.now - start)
        failover.mark_dead(FIRST)
    assert pauses == [30, 60, 120, 240, 300, 300]


def test_simultaneous_failures_count_once(
    failover: Failover, route: Route, clock: FakeClock
) -> None:
    for _ in range(50):
        failover.mark_dead(FIRST)
    clock.now += 31
    assert chosen(failover, route) == FIRST


@pytest.mark.parametrize(("seconds", "pause"), [(29.5, 30), (30.0, 90)])
def test_a_failure_counts_again_after_the_pause_of_the_last_failure(
    failover: Failover, route: Route, clock: FakeClock, seconds: float, pause: float
) -> None:
    """A request may have been waiting for the upstream since before the pause."""
    begin = clock.now
    failover.mark_dead(FIRST)
    clock.now += seconds
    failover.mark_dead(FIRST)
    clock.now = begin + pause - 0.5
    assert chosen(failover, route) == SECOND
    clock.now = begin + pause
    assert chosen(failover, route) == FIRST


def test_a_response_resets_the_pause(failover: Failover, route: Route, clock: FakeClock) -> None:
    for _ in range(3):
        failover.mark_dead(FIRST)
        clock.now += 301
        failover.choose(route)
    failover.mark_alive(FIRST)
    failover.mark_dead(FIRST)
    clock.now += 31
    assert chosen(failover, route) == FIRST


def test_if_all_upstreams_are_dead_each_is_tried_in_order(failover: Failover, route: Route) -> None:
    for upstream in (FIRST, SECOND, THIRD):
        failover.mark_dead(upstream)
    second, third = route.fallbacks
    assert chosen(failover, route) == FIRST
    assert chosen(failover, route, route) == SECOND
    assert chosen(failover, route, route, second) == THIRD
    assert chosen(failover, route, route, second, third) is None


def test_a_request_does_not_return_to_a_failed_upstream(failover: Failover, route: Route) -> None:
    assert chosen(failover, route, route) == SECOND


def test_two_consecutive_silent_connections_make_an_upstream_dead(
    failover: Failover, route: Route
) -> None:
    failover.mark_silent(FIRST)
    failover.mark_alive(FIRST)
    for _ in range(MAX_SILENT_CONNECTIONS - 1):
        failover.mark_silent(FIRST)
    assert chosen(failover, route) == FIRST
    failover.mark_silent(FIRST)
    assert chosen(failover, route) == SECOND


def test_forget_discards_all_failures(failover: Failover, route: Route) -> None:
    failover.mark_dead(FIRST)
    failover.mark_silent(SECOND)
    failover.forget()
    assert chosen(failover, route) == FIRST
    failover.mark_silent(SECOND)
    failover.mark_dead(FIRST)
    assert chosen(failover, route) == SECOND


def test_each_upstream_has_its_own_upstream_id(route: Route) -> None:
    spaces = {one.upstream_id for one in (route, *route.fallbacks)}
    assert len(spaces) == 3
    assert {space.profile_id for space in spaces if space} == {"office"}


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["mark_dead", "mark_alive", "mark_silent", "choose", "wait"]),
        st.sampled_from([FIRST, SECOND, THIRD]),
        st.floats(0, 400),
    ),
    max_size=40,
)


@given(MOVES)
def test_choose_returns_a_route_until_all_were_tried(
    moves: list[tuple[str, Upstream, float]],
) -> None:
    clock = FakeClock()
    failover = Failover(clock, LIMITS)
    route = Route.via_profile(Profile("office", "Office", FIRST, fallbacks=(SECOND, THIRD)))
    for verb, upstream, seconds in moves:
        if verb == "wait":
            clock.now += seconds
        elif verb == "choose":
            failover.choose(route)
        else:
            getattr(failover, verb)(upstream)
    tried: list[Route] = []
    while (found := failover.choose(route, tried)) is not None:
        assert found not in tried
        tried.append(found)
    assert {one.upstream for one in tried} == {FIRST, SECOND, THIRD}
    clock.now += LIMITS.dead_upstream_max_s + LIMITS.connect_total_s
    assert chosen(failover, route) == FIRST
