"""Tests for trayproxy.service.network_profiles: when the network is read, and what follows."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from tests.service.manual_clock_loop import ManualClockLoop
from tests.support.values import LAB, OFFICE, upstream_of
from trayproxy.control.messages import SwitchCause
from trayproxy.desktop.network_identity.base import Gateway, NetworkIdentity, Portal
from trayproxy.profiles.profile import DIRECT_ID, Profile
from trayproxy.service.network_profiles import (
    PORTAL_INTERVAL_S,
    PORTAL_PAGE,
    PORTAL_REPEATS,
    REPEATS_S,
    SETTLE_S,
    NetworkProfiles,
)

OFFICE_ON = replace(OFFICE, use_on=("dns:corp.example",), else_direct=True)
LAB_ON = replace(LAB, use_on=("answers",))
AT_OFFICE = NetworkIdentity(gateways=(Gateway("10.1.0.1"),), dns_suffixes=("corp.example",))
AT_HOME = NetworkIdentity(gateways=(Gateway("192.168.1.1"),), dns_suffixes=("home.example",))
AT_A_CAFE = NetworkIdentity(wifi=("Cafe",), gateways=(Gateway("192.168.1.1"),))
UNPLUGGED = NetworkIdentity()
TO_OFFICE = (OFFICE.id, SwitchCause.DNS, "corp.example")
TO_DIRECT = (DIRECT_ID, SwitchCause.ELSEWHERE, "Office")


class FakeChanges:
    """The profiles, and the switches because of the network."""

    def __init__(self, *profiles: Profile) -> None:
        self.for_networks = profiles
        self.present_id = OFFICE.id
        self.is_direct = False
        self.switches: list[tuple[str, SwitchCause, str]] = []

    def switch_by_network(self, profile_id: str, cause: SwitchCause, fact: str) -> None:
        self.switches.append((profile_id, cause, fact))
        self.is_direct = profile_id == DIRECT_ID
        if not self.is_direct:
            self.present_id = profile_id


class NetworkBench:
    """A `NetworkProfiles` on a loop with a manual clock; the test moves to other networks."""

    def __init__(self, loop: ManualClockLoop, *profiles: Profile) -> None:
        self.loop = loop
        self.changes = FakeChanges(*profiles)
        self.network = AT_OFFICE
        self.reads = 0
        self.answering: set[str] = set()
        self.probes: list[str] = []
        self.portals: list[str] = []
        changes: Any = self.changes
        self.rules = NetworkProfiles(loop, changes, self.can_reach, self.portals.append, self.read)

    async def read(self) -> NetworkIdentity:
        self.reads += 1
        return self.network

    async def can_reach(self, profile: Profile) -> bool:
        self.probes.append(profile.id)
        return profile.id in self.answering

    def wait(self, seconds: float) -> None:
        self.loop.now += seconds
        self.loop.run_ready()

    def move(self, network: NetworkIdentity) -> None:
        """Move to another network, and wait for the decision."""
        self.network = network
        self.rules.network_changed()
        self.wait(SETTLE_S)


@pytest.fixture
def loop() -> Iterator[ManualClockLoop]:
    with closing(ManualClockLoop()) as made:
        yield made


@pytest.fixture
def bench(loop: ManualClockLoop) -> Iterator[NetworkBench]:
    bench = NetworkBench(loop, OFFICE_ON, LAB_ON)
    yield bench
    bench.rules.close()


def test_leaving_the_office_connects_directly_and_coming_back_uses_the_profile(
    bench: NetworkBench,
) -> None:
    bench.rules.start(is_by_hand=False)
    bench.wait(0)
    assert (bench.reads, bench.changes.switches) == (1, [])
    bench.move(AT_HOME)
    bench.move(AT_OFFICE)
    assert bench.changes.switches == [TO_DIRECT, TO_OFFICE]


def test_several_changes_within_a_second_are_one_change(bench: NetworkBench) -> None:
    for _ in range(3):
        bench.network = AT_HOME
        bench.rules.network_changed()
        bench.wait(SETTLE_S - 0.1)
    bench.network = AT_OFFICE
    bench.rules.network_changed()
    bench.wait(SETTLE_S)
    assert (bench.reads, bench.changes.switches) == (1, [])


def test_a_choice_by_hand_holds_until_the_network_changes(bench: NetworkBench) -> None:
    bench.move(AT_HOME)
    bench.changes.is_direct = False  # The person uses the profile although it is not for here.
    bench.rules.chosen_by_hand()
    bench.wait(sum(REPEATS_S))
    assert bench.changes.switches == [TO_DIRECT]
    # A suspend, or another address of the same network; it comes up slowly.
    bench.move(UNPLUGGED)
    bench.network = AT_HOME
    bench.wait(REPEATS_S[0])
    assert bench.changes.switches == [TO_DIRECT]
    bench.move(AT_A_CAFE)
    assert bench.changes.switches == [TO_DIRECT, TO_DIRECT]


def test_a_choice_by_hand_during_a_look_is_kept(bench: NetworkBench) -> None:
    reachable: asyncio.Future[bool] = bench.loop.create_future()

    async def can_reach(profile: Profile) -> bool:
        return await reachable

    changes: Any = bench.changes
    rules = NetworkProfiles(bench.loop, changes, can_reach, bench.portals.append, bench.read)
    bench.network = AT_HOME
    rules.network_changed()
    bench.wait(SETTLE_S)
    rules.chosen_by_hand()
    reachable.set_result(True)
    bench.wait(0)
    assert bench.changes.switches == []
    rules.close()


def test_a_profile_for_any_network_with_its_proxy_is_tried(bench: NetworkBench) -> None:
    bench.answering = {LAB.id}
    bench.move(AT_OFFICE)
    assert bench.probes == []  # The first profile is for this network already.
    bench.move(AT_HOME)
    assert bench.changes.switches == [(LAB.id, SwitchCause.ANSWERS, upstream_of(LAB).host)]


def test_a_network_that_comes_up_slowly_is_found_a_little_later(bench: NetworkBench) -> None:
    bench.move(replace(AT_OFFICE, dns_suffixes=()))
    assert bench.changes.switches == [TO_DIRECT]
    bench.network = AT_OFFICE
    bench.wait(REPEATS_S[0])
    assert bench.changes.switches == [TO_DIRECT, TO_OFFICE]


def test_an_unplugged_cable_changes_nothing(bench: NetworkBench) -> None:
    bench.move(UNPLUGGED)
    bench.move(AT_OFFICE)
    assert bench.changes.switches == []


def test_looks_end_after_a_few_repetitions(bench: NetworkBench) -> None:
    bench.move(AT_HOME)
    for seconds in (*REPEATS_S, 3600, 3600):
        bench.wait(seconds)
    assert bench.reads == 1 + len(REPEATS_S)
    bench.move(AT_OFFICE)
    bench.wait(3600)
    assert bench.reads == 2 + len(REPEATS_S)


def test_the_start_reads_no_network_without_rules_and_keeps_a_choice_for_this_run(
    loop: ManualClockLoop,
) -> None:
    without = NetworkBench(loop, OFFICE, LAB)
    without.rules.start(is_by_hand=False)
    chosen = NetworkBench(loop, OFFICE_ON)
    chosen.network = AT_HOME
    chosen.rules.start(is_by_hand=True)
    without.wait(60)
    assert (without.reads, chosen.changes.switches) == (0, [])
    chosen.move(AT_A_CAFE)
    assert chosen.changes.switches == [TO_DIRECT]
    chosen.rules.close()


def test_new_rules_apply_immediately_and_other_changes_of_profiles_do_not_override(
    loop: ManualClockLoop,
) -> None:
    bench = NetworkBench(loop, OFFICE, LAB)
    bench.network = AT_HOME
    bench.rules.chosen_by_hand()
    bench.changes.for_networks = (OFFICE_ON, LAB)
    bench.rules.profiles_changed()
    bench.wait(0)
    assert bench.changes.switches == [TO_DIRECT]
    bench.changes.is_direct = False
    bench.rules.chosen_by_hand()
    bench.changes.for_networks = (replace(OFFICE_ON, user="jdoe"), LAB)
    bench.rules.profiles_changed()
    bench.wait(0)
    assert bench.changes.switches == [TO_DIRECT]
    bench.rules.close()


def test_a_captive_portal_of_the_system_is_reported_until_it_is_gone(bench: NetworkBench) -> None:
    bench.move(replace(AT_OFFICE, portal=Portal.PRESENT, portal_url="http://check.example/"))
    assert bench.portals == ["", "http://check.example/"]
    bench.network = replace(AT_OFFICE, portal=Portal.ABSENT)
    bench.wait(REPEATS_S[0])
    assert bench.portals[-1] == ""
    bench.move(replace(AT_OFFICE, portal=Portal.PRESENT))
    assert bench.portals[-1] == PORTAL_PAGE
    bench.move(AT_OFFICE)
    assert bench.portals[-1] == ""


def test_a_sign_in_at_a_captive_portal_may_take_minutes(bench: NetworkBench) -> None:
    bench.move(replace(AT_OFFICE, portal=Portal.PRESENT))
    for seconds in REPEATS_S:
        bench.wait(seconds)
    for _ in range(20):
        bench.wait(PORTAL_REPEATS[0])
    assert bench.portals[-1] == PORTAL_PAGE
    bench.network = replace(AT_OFFICE, portal=Portal.ABSENT)
    bench.wait(PORTAL_REPEATS[0])
    assert bench.portals[-1] == ""
    reads = bench.reads
    for _ in range(5):
        bench.wait(3600)
    assert bench.reads == reads


def test_an_unreachable_upstream_leads_to_a_search_for_a_portal_once_a_minute(
    bench: NetworkBench,
) -> None:
    bench.network = AT_HOME
    for _ in range(3):
        bench.rules.upstream_unreachable()
        bench.wait(10)
    assert (bench.reads, bench.portals) == (1, [])
    assert bench.changes.switches == []  # The upstream may be back soon.
    bench.network = replace(AT_OFFICE, portal=Portal.PRESENT)
    bench.wait(PORTAL_INTERVAL_S)
    bench.rules.upstream_unreachable()
    bench.wait(0)
    assert bench.portals == [PORTAL_PAGE]
    bench.network = replace(AT_OFFICE, portal=Portal.ABSENT)
    bench.wait(REPEATS_S[0])
    assert bench.portals[-1] == ""


def test_a_closed_instance_looks_no_more(bench: NetworkBench) -> None:
    bench.rules.network_changed()
    bench.rules.close()
    bench.wait(60)
    assert bench.reads == 0
