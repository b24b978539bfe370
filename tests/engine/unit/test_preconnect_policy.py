"""The decision when to preconnect, tested without I/O."""

from collections.abc import Callable
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest

from tests.engine.schemes import ntlm_like_scheme
from trayproxy.auth.login import Login
from trayproxy.desk.credentials import AcceptanceRecord, Credentials
from trayproxy.desk.protection_space import LoginId, ProtectionSpace, UpstreamId
from trayproxy.engine.proxy_auth.preconnect import ReadyConnection
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

UPSTREAM = UpstreamId("office", "http://proxy.test:8080")
TARGET = Authority("site.test", 443)


def key(generation: int = 1, epoch: int = 0) -> PoolKey:
    """Return a pool key of authenticated connections."""
    login_id = LoginId(ProtectionSpace(UPSTREAM, "", "login"), generation)
    return PoolKey(UPSTREAM.upstream, UPSTREAM.profile_id, generation, epoch, login_id)


def order(target: Authority = TARGET) -> PreconnectOrder:
    """Return the order of a preconnect."""
    scheme, challenge = ntlm_like_scheme(), Challenge("ntlm")
    login_id = key().authenticated_as
    assert login_id is not None
    login = Login("user", "pass")
    credentials = Credentials(
        login_id,
        login,
        scheme,
        challenge,
        scheme.authenticator(challenge, login, ""),
        AcceptanceRecord(),
    )
    return PreconnectOrder(Route.direct(), credentials, target)


KEY, ORDER = key(), order()


class PolicyScenario:
    """Sends events to a policy at a simulated time."""

    def __init__(self) -> None:
        self.policy = PreconnectPolicy()
        self.now = 1000.0

    def record_handshake(self, pool_key: PoolKey = KEY) -> None:
        """Record a request that authenticates its own connection."""
        self.policy.demand_started(pool_key)
        self.policy.handshake_done(pool_key, ORDER)
        self.policy.demand_ended(pool_key)

    def next_order(
        self, *, is_ready: bool = False, is_sure: bool = True, pool_key: PoolKey = KEY
    ) -> PreconnectOrder | None:
        """Return the policy's order at the current time."""
        return self.policy.next_order(
            pool_key, self.now, is_ready=is_ready, may_carry=lambda credentials: is_sure
        )

    def end(self, result: PreconnectResult) -> None:
        """Record the result of the preconnect in progress."""
        self.policy.preconnect_ended(KEY, result, self.now)


@pytest.fixture
def scenario() -> PolicyScenario:
    return PolicyScenario()


class Traffic:
    """Sends sequential requests, each taking some time, to a burst detector."""

    def __init__(self) -> None:
        self.bursts = BurstDetector()
        self.now = 1000.0

    def request(self, pause_s: float) -> float | None:
        """Record a request after a pause. Return the delay of a preconnect after it."""
        self.now += pause_s
        self.bursts.request_arrived(KEY, self.now)
        self.now += 5.0  # The duration of a request is no pause.
        self.bursts.request_ended(KEY, self.now)
        return self.bursts.delay_s(KEY)

    def message_counts(self, pauses_s: list[float]) -> list[int]:
        """Return the number of messages of each request, including its preconnect.

        Args:
            pauses_s: The pause before each request, in seconds; the last pause has no end. Before
                the first request no connection is ready, and a handshake takes no time.
        """
        counts, is_ready = [], False
        for pause_s, next_s in zip(pauses_s, [*pauses_s[1:], inf], strict=True):
            delay_s = self.request(pause_s)
            count, is_ready = 1 if is_ready else 2, False
            if delay_s is not None and delay_s <= next_s:
                count, is_ready = count + 2, True
            counts.append(count)
        return counts


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


AT_ONCE, PAUSE = BURST_PAUSE_S / 60, 1.5 * BURST_PAUSE_S


def test_after_the_first_request_a_preconnect_is_delayed(traffic: Traffic) -> None:
    """An immediate preconnect would make the second request of a burst wait."""
    assert traffic.request(0.0) == BURST_PAUSE_S


def test_after_some_long_pauses_a_preconnect_is_not_delayed(traffic: Traffic) -> None:
    delays = [traffic.request(PAUSE) for _ in range(MIN_LONG_PAUSES + 3)]
    assert delays == [BURST_PAUSE_S] * MIN_LONG_PAUSES + [0.0] * 3
    assert traffic.request(AT_ONCE) == BURST_PAUSE_S


def test_after_some_short_pauses_there_is_no_preconnect_until_a_longer_pause(
    traffic: Traffic,
) -> None:
    delays = [traffic.request(0.99 * BURST_PAUSE_S) for _ in range(MAX_SHORT_PAUSES + 2)]
    assert delays == [BURST_PAUSE_S] * MAX_SHORT_PAUSES + [None] * 2
    assert traffic.request(1.01 * BURST_PAUSE_S) == BURST_PAUSE_S


@pytest.mark.parametrize(("pause_s", "delay_s"), [(0.25, None), (0.5, 0.0)])
def test_a_pause_as_long_as_the_limit_is_a_long_pause(
    traffic: Traffic, monkeypatch: pytest.MonkeyPatch, pause_s: float, delay_s: float | None
) -> None:
    monkeypatch.setattr("trayproxy.engine.proxy_auth.preconnect_policy.BURST_PAUSE_S", 0.5)
    delays = [traffic.request(pause_s) for _ in range(2 * MAX_SHORT_PAUSES)]
    assert delays[-1] == delay_s


def test_above_the_limit_of_keys_all_bursts_are_forgotten() -> None:
    bursts = BurstDetector()
    for generation in range(MAX_KEYS):
        bursts.request_ended(key(generation), 1000.0)
    for _ in range(MAX_SHORT_PAUSES):
        bursts.request_arrived(KEY, 1000.0)
        bursts.request_ended(KEY, 1000.0)
    assert bursts.delay_s(KEY) is None
    bursts.request_ended(key(MAX_KEYS), 1000.0)
    assert bursts.delay_s(KEY) == BURST_PAUSE_S


def test_short_pauses_with_a_long_pause_between_are_no_burst(traffic: Traffic) -> None:
    for _ in range(3):
        assert traffic.request(PAUSE) == BURST_PAUSE_S
        for _ in range(MAX_SHORT_PAUSES - 1):
            assert traffic.request(AT_ONCE) == BURST_PAUSE_S


def test_concurrent_requests_are_no_burst() -> None:
    bursts = BurstDetector()
    for _ in range(2 * MAX_SHORT_PAUSES):
        bursts.request_arrived(KEY, 1000.0)
    bursts.request_ended(KEY, 1000.0)
    assert bursts.delay_s(KEY) == BURST_PAUSE_S


@pytest.mark.parametrize("tunnels", [MAX_SHORT_PAUSES + 1, 60, 600])
def test_a_burst_costs_two_messages_per_request(traffic: Traffic, tunnels: int) -> None:
    for _ in range(10):
        assert traffic.message_counts([PAUSE] + [AT_ONCE] * (tunnels - 1)) == [2] * tunnels


def test_a_burst_with_some_longer_pauses_costs_no_more(traffic: Traffic) -> None:
    part = [AT_ONCE] * (2 * MAX_SHORT_PAUSES)
    pauses_s = [*part, PAUSE, *part, PAUSE, *part]
    assert traffic.message_counts(pauses_s) == [2] * len(pauses_s)


@pytest.mark.parametrize("pauses", range(1, 6))
def test_a_burst_after_requests_with_pauses_costs_no_more(traffic: Traffic, pauses: int) -> None:
    """The burst uses the connection that was ready before."""
    counts = traffic.message_counts([PAUSE] * pauses + [PAUSE] + [AT_ONCE] * 59)
    assert sum(counts[pauses:]) <= 2 * 60


def test_with_pauses_every_later_request_uses_a_ready_connection(traffic: Traffic) -> None:
    traffic.message_counts([AT_ONCE] * 60)
    assert traffic.message_counts([PAUSE] * 30) == [4] + [3] * 29


def test_bursts_are_detected_per_key_and_forgotten(traffic: Traffic) -> None:
    other = KEY._replace(generation=KEY.generation + 1)
    for pause_s, delay_s in ((AT_ONCE, None), (PAUSE, 0.0)):
        traffic.message_counts([pause_s] * 10)
        assert (traffic.bursts.delay_s(KEY), traffic.bursts.delay_s(other)) == (
            delay_s,
            BURST_PAUSE_S,
        )
        traffic.bursts.forget()
        assert traffic.bursts.delay_s(KEY) == BURST_PAUSE_S


def test_a_handshake_creates_demand(scenario: PolicyScenario) -> None:
    scenario.record_handshake()
    assert scenario.next_order() is ORDER


def test_using_a_ready_connection_creates_demand(scenario: PolicyScenario) -> None:
    scenario.record_handshake()
    scenario.next_order()
    scenario.end(PreconnectResult.POOLED)
    scenario.policy.preconnect_used(KEY)
    assert scenario.next_order() is ORDER


def test_without_new_demand_there_is_no_order(scenario: PolicyScenario) -> None:
    assert scenario.next_order() is None
    scenario.record_handshake()
    scenario.next_order()
    scenario.end(PreconnectResult.POOLED)
    assert not scenario.policy.is_wanted(KEY)
    assert scenario.next_order() is None


def test_a_handshake_of_one_message_creates_no_demand(scenario: PolicyScenario) -> None:
    """Kerberos needs no handshake of several messages."""
    scenario.policy.demand_started(KEY)
    scenario.policy.preconnect_used(KEY)
    scenario.policy.demand_ended(KEY)
    assert scenario.next_order() is None


def test_there_is_no_order_while_a_request_waits(scenario: PolicyScenario) -> None:
    scenario.policy.demand_started(KEY)
    scenario.record_handshake()
    assert scenario.next_order() is None
    scenario.policy.demand_ended(KEY)
    assert scenario.next_order() is ORDER


def test_there_is_one_preconnect_at_a_time(scenario: PolicyScenario) -> None:
    scenario.record_handshake()
    scenario.next_order()
    scenario.record_handshake()
    assert scenario.next_order() is None
    scenario.end(PreconnectResult.POOLED)
    assert scenario.next_order() is ORDER


def test_there_is_no_order_while_a_connection_is_ready(scenario: PolicyScenario) -> None:
    scenario.record_handshake()
    assert scenario.next_order(is_ready=True) is None
    # The demand is used up, even if the ready connection is closed unused.
    assert scenario.next_order() is None


def test_an_unproved_login_uses_up_the_demand(scenario: PolicyScenario) -> None:
    scenario.record_handshake()
    assert scenario.next_order(is_sure=False) is None
    assert scenario.next_order() is None


def test_a_failure_is_followed_by_a_back_off(scenario: PolicyScenario) -> None:
    scenario.record_handshake()
    scenario.next_order()
    scenario.end(PreconnectResult.FAILED)
    scenario.now += BACK_OFF_S - 1
    scenario.record_handshake()
    assert scenario.next_order() is None
    scenario.now += 1
    scenario.record_handshake()
    assert scenario.next_order() is ORDER


def test_the_loss_of_a_ready_connection_is_followed_by_a_back_off(scenario: PolicyScenario) -> None:
    scenario.record_handshake()
    scenario.next_order()
    scenario.end(PreconnectResult.POOLED)
    scenario.policy.preconnect_lost(KEY, scenario.now)
    scenario.record_handshake()
    assert scenario.next_order() is None


def fail(scenario: PolicyScenario, times: int) -> None:
    """Record this number of failed preconnects."""
    for _ in range(times):
        scenario.record_handshake()
        assert scenario.next_order() is ORDER
        scenario.end(PreconnectResult.FAILED)
        scenario.now += BACK_OFF_S


def test_repeated_failures_end_all_preconnects(scenario: PolicyScenario) -> None:
    fail(scenario, MAX_FAILURES)
    scenario.now += 1_000_000
    scenario.record_handshake()
    assert scenario.next_order() is None


def test_a_success_resets_the_failures(scenario: PolicyScenario) -> None:
    for _ in range(3):
        fail(scenario, MAX_FAILURES - 1)
        scenario.record_handshake()
        assert scenario.next_order() is ORDER
        scenario.end(PreconnectResult.POOLED)


@pytest.mark.parametrize(
    "change",
    [
        lambda scenario: key(generation=2),
        lambda scenario: key(epoch=1),
        lambda scenario: scenario.policy.forget(),
    ],
    ids=["another login", "another network", "forgotten"],
)
def test_a_permanent_failure_ends_all_preconnects_until_a_change(
    scenario: PolicyScenario, change: Callable[[PolicyScenario], PoolKey | None]
) -> None:
    scenario.record_handshake()
    scenario.next_order()
    scenario.end(PreconnectResult.FAILED_FOR_GOOD)
    scenario.now += 1_000_000
    scenario.record_handshake()
    assert scenario.next_order() is None
    other = change(scenario) or KEY
    scenario.record_handshake(other)
    assert scenario.next_order(pool_key=other) is ORDER


def test_results_from_before_forget_are_ignored(scenario: PolicyScenario) -> None:
    scenario.policy.demand_started(KEY)
    scenario.record_handshake()
    scenario.policy.demand_ended(KEY)
    scenario.next_order()
    scenario.policy.demand_started(KEY)
    scenario.policy.forget()
    scenario.end(PreconnectResult.FAILED_FOR_GOOD)
    scenario.policy.demand_ended(KEY)
    scenario.record_handshake()
    assert scenario.next_order() is ORDER


def test_an_order_has_the_target_of_the_last_handshake(scenario: PolicyScenario) -> None:
    scenario.record_handshake()
    last = order(Authority("other.test", 443))
    scenario.policy.handshake_done(KEY, last)
    assert scenario.next_order() is last


def test_idle_keys_are_dropped_and_keys_in_progress_are_kept(scenario: PolicyScenario) -> None:
    scenario.record_handshake()
    scenario.next_order()
    for generation in range(2, 2 * MAX_KEYS):
        scenario.record_handshake(key(generation))
    # The keys in progress are kept: no second preconnect may start.
    scenario.record_handshake()
    assert scenario.next_order() is None
    assert scenario.next_order(pool_key=key(2)) is None


@pytest.mark.parametrize("is_closed", [False, True])
@pytest.mark.parametrize("is_used", [False, True])
@pytest.mark.parametrize("age_s", [29.9, 30.0])
def test_a_ready_connection_was_lost_if_it_was_closed_unused_before_its_time(
    is_closed: bool, is_used: bool, age_s: float
) -> None:
    stream = SimpleNamespace(socket=SimpleNamespace(fileno=lambda: -1 if is_closed else 0))
    connection: Any = SimpleNamespace(stream=stream, response_count=3 + is_used)
    ready = ReadyConnection(connection, use_count=3, pooled_at=100.0)
    was_lost = ready.was_lost(100.0 + age_s, 30.0)
    assert was_lost is (is_closed and not is_used and age_s < 30.0)
