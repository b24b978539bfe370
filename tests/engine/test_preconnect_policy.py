"""When a connection is signed in ahead: the decision, played."""

from collections.abc import Callable
from math import inf

import pytest

from tests.engine.schemes import ntlm_like_scheme
from trayproxy.auth.login import Login
from trayproxy.desk.credentials import AcceptanceRecord, Credentials
from trayproxy.desk.protection_space import LoginId, UpstreamId
from trayproxy.desk.protection_space import ProtectionSpace as DeskKey
from trayproxy.engine.proxy_auth.preconnect_policy import (
    BACK_OFF_S,
    BURST_PAUSE_S,
    MAX_FAILURES,
    MAX_KEYS,
    MAX_SHORT_PAUSES,
    MIN_LONG_PAUSES,
    BurstDetector,
    PreconnectOrder,
    PreconnectPolicy,
    PreconnectResult,
)
from trayproxy.engine.upstream.pool import PoolKey
from trayproxy.engine.upstream.route import Route
from trayproxy.http.challenges import Challenge
from trayproxy.http.target import Authority

SPACE = UpstreamId("office", "http://proxy.test:8080")
TARGET = Authority("site.test", 443)


def key(generation: int = 1, epoch: int = 0) -> PoolKey:
    mark = LoginId(DeskKey(SPACE, "", "login"), generation)
    return PoolKey(SPACE.upstream, SPACE.profile_id, generation, epoch, mark)


def order(target: Authority = TARGET) -> PreconnectOrder:
    scheme, challenge = ntlm_like_scheme(), Challenge("ntlm")
    mark = key().signed_in
    assert mark is not None
    login = Login("user", "pass")
    answer = Credentials(
        mark, login, scheme, challenge, scheme.signer(challenge, login, ""), AcceptanceRecord()
    )
    return PreconnectOrder(Route.direct(), answer, target)


KEY, ORDER = key(), order()


class Play:
    """What happens, one after the other, at a time that passes when it is told to."""

    def __init__(self) -> None:
        self.spares = PreconnectPolicy()
        self.now = 1000.0

    def pays(self, which: PoolKey = KEY) -> None:
        """A request of a program needs a connection, and has to sign one in."""
        self.spares.demand_started(which)
        self.spares.handshake_done(which, ORDER)
        self.spares.demand_ended(which)

    def begins(
        self, *, is_ready: bool = False, is_sure: bool = True, which: PoolKey = KEY
    ) -> PreconnectOrder | None:
        return self.spares.next_order(
            which, self.now, is_ready=is_ready, may_carry=lambda answer: is_sure
        )

    def ends(self, fate: PreconnectResult) -> None:
        self.spares.preconnect_ended(KEY, fate, self.now)


@pytest.fixture
def play() -> Play:
    return Play()


class Demand:
    """Requests that come one after the other, each of which takes some time."""

    def __init__(self) -> None:
        self.bursts = BurstDetector()
        self.now = 1000.0

    def comes(self, pause_s: float) -> float | None:
        """A request comes after a pause. Return the delay behind it."""
        self.now += pause_s
        self.bursts.request_arrived(KEY, self.now)
        self.now += 5.0  # How long a request takes is no pause.
        self.bursts.request_ended(KEY, self.now)
        return self.bursts.delay_s(KEY)

    def costs(self, pauses_s: list[float]) -> list[int]:
        """Return how many messages each request costs, with those of what is signed in behind it.

        A request comes after each pause; a pause without an end follows. Before them no connection
        is ready, and a sign-in takes no time.
        """
        counts, is_ready = [], False
        for pause_s, next_s in zip(pauses_s, [*pauses_s[1:], inf], strict=True):
            delay_s = self.comes(pause_s)
            count, is_ready = 1 if is_ready else 2, False
            if delay_s is not None and delay_s <= next_s:
                count, is_ready = count + 2, True
            counts.append(count)
        return counts


@pytest.fixture
def demand() -> Demand:
    return Demand()


AT_ONCE, PAUSE = BURST_PAUSE_S / 60, 1.5 * BURST_PAUSE_S


def test_behind_the_first_request_the_second_is_given_a_moment_to_come(demand: Demand) -> None:
    """A connection that is begun behind the first of a burst keeps the second one waiting."""
    assert demand.comes(0.0) == BURST_PAUSE_S


def test_where_requests_come_with_pauses_a_connection_is_signed_in_at_once(demand: Demand) -> None:
    delays = [demand.comes(PAUSE) for _ in range(MIN_LONG_PAUSES + 3)]
    assert delays == [BURST_PAUSE_S] * MIN_LONG_PAUSES + [0.0] * 3
    assert demand.comes(AT_ONCE) == BURST_PAUSE_S


def test_behind_some_short_pauses_in_a_row_none_is_signed_in_until_a_longer_one(
    demand: Demand,
) -> None:
    delays = [demand.comes(0.99 * BURST_PAUSE_S) for _ in range(MAX_SHORT_PAUSES + 2)]
    assert delays == [BURST_PAUSE_S] * MAX_SHORT_PAUSES + [None] * 2
    assert demand.comes(1.01 * BURST_PAUSE_S) == BURST_PAUSE_S


def test_short_pauses_that_are_not_in_a_row_are_no_burst(demand: Demand) -> None:
    for _ in range(3):
        assert demand.comes(PAUSE) == BURST_PAUSE_S
        for _ in range(MAX_SHORT_PAUSES - 1):
            assert demand.comes(AT_ONCE) == BURST_PAUSE_S


def test_requests_beside_each_other_are_no_burst() -> None:
    bursts = BurstDetector()
    for _ in range(2 * MAX_SHORT_PAUSES):
        bursts.request_arrived(KEY, 1000.0)
    bursts.request_ended(KEY, 1000.0)
    assert bursts.delay_s(KEY) == BURST_PAUSE_S


@pytest.mark.parametrize("tunnels", [MAX_SHORT_PAUSES + 1, 60, 600])
def test_a_burst_costs_two_messages_a_request_and_leaves_nothing(
    demand: Demand, tunnels: int
) -> None:
    for _ in range(10):
        assert demand.costs([PAUSE] + [AT_ONCE] * (tunnels - 1)) == [2] * tunnels


def test_a_burst_with_some_longer_pauses_in_it_costs_no_more(demand: Demand) -> None:
    part = [AT_ONCE] * (2 * MAX_SHORT_PAUSES)
    pauses_s = [*part, PAUSE, *part, PAUSE, *part]
    assert demand.costs(pauses_s) == [2] * len(pauses_s)


@pytest.mark.parametrize("pauses", range(1, 6))
def test_a_burst_behind_requests_with_pauses_costs_no_more(demand: Demand, pauses: int) -> None:
    """What is ready before it is used up by it."""
    counts = demand.costs([PAUSE] * pauses + [PAUSE] + [AT_ONCE] * 59)
    assert sum(counts[pauses:]) <= 2 * 60


def test_with_pauses_each_request_but_the_first_takes_what_is_ready(demand: Demand) -> None:
    demand.costs([AT_ONCE] * 60)
    assert demand.costs([PAUSE] * 30) == [4] + [3] * 29


def test_bursts_are_told_by_kind_and_forgotten(demand: Demand) -> None:
    other = KEY._replace(generation=KEY.generation + 1)
    for pause_s, delay_s in ((AT_ONCE, None), (PAUSE, 0.0)):
        demand.costs([pause_s] * 10)
        assert (demand.bursts.delay_s(KEY), demand.bursts.delay_s(other)) == (
            delay_s,
            BURST_PAUSE_S,
        )
        demand.bursts.forget()
        assert demand.bursts.delay_s(KEY) == BURST_PAUSE_S


def test_who_had_to_pay_makes_it_ready_for_the_next(play: Play) -> None:
    play.pays()
    assert play.begins() is ORDER


def test_who_took_what_was_ready_makes_it_ready_for_the_next(play: Play) -> None:
    play.pays()
    play.begins()
    play.ends(PreconnectResult.POOLED)
    play.spares.preconnect_used(KEY)
    assert play.begins() is ORDER


def test_without_new_demand_nothing_happens(play: Play) -> None:
    assert play.begins() is None
    play.pays()
    play.begins()
    play.ends(PreconnectResult.POOLED)
    assert not play.spares.is_wanted(KEY)
    assert play.begins() is None


def test_where_one_message_signs_in_nothing_is_saved(play: Play) -> None:
    """Kerberos: nobody ever had to pay."""
    play.spares.demand_started(KEY)
    play.spares.preconnect_used(KEY)
    play.spares.demand_ended(KEY)
    assert play.begins() is None


def test_programs_that_wait_go_first(play: Play) -> None:
    play.spares.demand_started(KEY)
    play.pays()
    assert play.begins() is None
    play.spares.demand_ended(KEY)
    assert play.begins() is ORDER


def test_there_is_one_at_a_time(play: Play) -> None:
    play.pays()
    play.begins()
    play.pays()
    assert play.begins() is None
    play.ends(PreconnectResult.POOLED)
    assert play.begins() is ORDER


def test_there_is_one_at_most(play: Play) -> None:
    play.pays()
    assert play.begins(is_ready=True) is None
    # That was the decision: what was ready may go without anybody having needed it.
    assert play.begins() is None


def test_a_login_that_is_not_sure_is_not_sent_and_not_later_either(play: Play) -> None:
    play.pays()
    assert play.begins(is_sure=False) is None
    assert play.begins() is None


def test_after_a_failure_it_is_left_alone_for_a_while(play: Play) -> None:
    play.pays()
    play.begins()
    play.ends(PreconnectResult.FAILED)
    play.now += BACK_OFF_S - 1
    play.pays()
    assert play.begins() is None
    play.now += 1
    play.pays()
    assert play.begins() is ORDER


def test_one_that_was_lost_unused_is_a_failure_too(play: Play) -> None:
    play.pays()
    play.begins()
    play.ends(PreconnectResult.POOLED)
    play.spares.preconnect_lost(KEY, play.now)
    play.pays()
    assert play.begins() is None


def fail(play: Play, times: int) -> None:
    for _ in range(times):
        play.pays()
        assert play.begins() is ORDER
        play.ends(PreconnectResult.FAILED)
        play.now += BACK_OFF_S


def test_what_fails_again_and_again_is_given_up(play: Play) -> None:
    fail(play, MAX_FAILURES)
    play.now += 1_000_000
    play.pays()
    assert play.begins() is None


def test_failures_do_not_add_up_over_successes(play: Play) -> None:
    for _ in range(3):
        fail(play, MAX_FAILURES - 1)
        play.pays()
        assert play.begins() is ORDER
        play.ends(PreconnectResult.POOLED)


@pytest.mark.parametrize(
    "change",
    [lambda play: key(generation=2), lambda play: key(epoch=1), lambda play: play.spares.forget()],
    ids=["another login", "another network", "forgotten"],
)
def test_what_is_useless_is_not_tried_again_before_something_has_changed(
    play: Play, change: Callable[[Play], PoolKey | None]
) -> None:
    play.pays()
    play.begins()
    play.ends(PreconnectResult.FAILED_FOR_GOOD)
    play.now += 1_000_000
    play.pays()
    assert play.begins() is None
    other = change(play) or KEY
    play.pays(other)
    assert play.begins(which=other) is ORDER


def test_what_was_under_way_when_all_was_forgotten_changes_nothing(play: Play) -> None:
    play.spares.demand_started(KEY)
    play.pays()
    play.spares.demand_ended(KEY)
    play.begins()
    play.spares.demand_started(KEY)
    play.spares.forget()
    play.ends(PreconnectResult.FAILED_FOR_GOOD)
    play.spares.demand_ended(KEY)
    play.pays()
    assert play.begins() is ORDER


def test_it_goes_where_the_last_one_had_to_sign_in(play: Play) -> None:
    play.pays()
    last = order(Authority("other.test", 443))
    play.spares.handshake_done(KEY, last)
    assert play.begins() is last


def test_what_nobody_asks_for_any_more_is_forgotten(play: Play) -> None:
    play.pays()
    play.begins()
    for generation in range(2, 2 * MAX_KEYS):
        play.pays(key(generation))
    # But what is under way is remembered: there must not be a second one.
    play.pays()
    assert play.begins() is None
    assert play.begins(which=key(2)) is None
