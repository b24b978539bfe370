"""Tests for trayproxy.routing.networks: tables of networks and decisions."""

from dataclasses import replace
from fnmatch import translate
from re import IGNORECASE, fullmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.values import LAB, OFFICE, upstream_of
from trayproxy.desktop.network_identity.base import Gateway, NetworkIdentity
from trayproxy.profiles.profile import DIRECT_ID, Profile
from trayproxy.profiles.use_on import parse_condition
from trayproxy.routing.networks import (
    NetworkDecision,
    PresentChoice,
    decide,
    fulfilled,
    is_any_fulfilled,
    matches,
    profiles_to_probe,
)

BRANCH = NetworkIdentity(
    wifi=("Branch-Wi-Fi",),
    gateways=(Gateway("10.1.0.1", "02:00:5e:10:00:01"), Gateway("fe80::1")),
    dns_suffixes=("emea.corp.example", "lab.example"),
    vpns=("Company VPN", "tun0"),
)
HOME = NetworkIdentity(wifi=("home",), gateways=(Gateway("192.168.1.1"),))


@pytest.mark.parametrize(
    ("condition", "fact"),
    [
        ("wifi:Branch-*", "Branch-Wi-Fi"),
        ("wifi:branch-wi-fi", "Branch-Wi-Fi"),
        ("wifi:Branch", None),
        ("wifi:Branch?Wi-Fi", "Branch-Wi-Fi"),
        ("gateway:10.1.0.1", "10.1.0.1"),
        ("gateway:10.1.0.0/16", "10.1.0.1"),
        ("gateway:10.2.0.0/16", None),
        ("gateway:fe80::/10", "fe80::1"),
        ("gateway:02:00:5e:10:00:01", "10.1.0.1"),
        ("gateway:02:00:5e:10:00:02", None),
        ("dns:corp.example", "emea.corp.example"),
        ("dns:emea.corp.example", "emea.corp.example"),
        ("dns:p.example", None),
        ("dns:apac.corp.example", None),
        ("dns:*.example", "emea.corp.example"),
        ("vpn:tun*", "tun0"),
        ("vpn:company*", "Company VPN"),
        ("vpn:wg*", None),
    ],
)
def test_a_condition_is_fulfilled_by_a_fact_of_the_network(
    condition: str, fact: str | None
) -> None:
    profile = replace(OFFICE, use_on=("wifi:elsewhere", condition))
    expected = None if fact is None else (parse_condition(condition), fact)
    assert fulfilled(BRANCH, profile, is_answering=False) == expected
    assert fulfilled(NetworkIdentity(), profile, is_answering=False) is None


def test_a_proxy_that_answers_fulfils_its_condition_alone() -> None:
    profile = replace(OFFICE, use_on=("answers",))
    found = fulfilled(HOME, profile, is_answering=True)
    assert found == (parse_condition("answers"), upstream_of(OFFICE).host)
    assert fulfilled(HOME, profile, is_answering=False) is None
    assert fulfilled(HOME, OFFICE, is_answering=True) is None


OFFICE_ON = replace(OFFICE, use_on=("wifi:Branch-*",), else_direct=True)
STRICT = replace(OFFICE, use_on=("wifi:Branch-*",))
LAB_ON = replace(LAB, use_on=("answers",))
TO_OFFICE = NetworkDecision(OFFICE.id, parse_condition("wifi:Branch-*"), "Branch-Wi-Fi")
TO_LAB = NetworkDecision(LAB.id, parse_condition("answers"), upstream_of(LAB).host)
TO_DIRECT = NetworkDecision(DIRECT_ID)
AT_OFFICE, AT_LAB = PresentChoice(OFFICE.id), PresentChoice(LAB.id)
DIRECT = PresentChoice(OFFICE.id, is_direct=True)


@pytest.mark.parametrize(
    ("network", "profiles", "present", "answering", "decision"),
    [
        # The first profile in menu order that is for this network.
        (BRANCH, (OFFICE_ON, LAB_ON), AT_LAB, {LAB.id}, TO_OFFICE),
        (BRANCH, (LAB_ON, OFFICE_ON), AT_OFFICE, {LAB.id}, TO_LAB),
        (BRANCH, (LAB_ON, OFFICE_ON), AT_OFFICE, set(), None),
        (HOME, (OFFICE_ON, LAB_ON), AT_OFFICE, {LAB.id}, TO_LAB),
        # No profile is for this network.
        (HOME, (OFFICE_ON, LAB_ON), AT_OFFICE, set(), TO_DIRECT),
        (HOME, (STRICT, LAB_ON), AT_OFFICE, set(), None),
        (HOME, (OFFICE_ON, LAB), AT_LAB, set(), None),
        (HOME, (OFFICE_ON, LAB), DIRECT, set(), None),
        (HOME, (OFFICE_ON, LAB), PresentChoice(""), set(), None),
        (HOME, (OFFICE_ON, LAB), PresentChoice("deleted"), set(), None),
        # The profile is in use already; it ends direct connections.
        (BRANCH, (OFFICE_ON, LAB), AT_OFFICE, set(), None),
        (BRANCH, (OFFICE_ON, LAB), DIRECT, set(), TO_OFFICE),
        (BRANCH, (OFFICE_ON, LAB), PresentChoice(""), set(), TO_OFFICE),
        # Profiles without conditions are chosen by hand only.
        (BRANCH, (OFFICE, LAB), AT_LAB, {OFFICE.id}, None),
        (HOME, (replace(OFFICE, else_direct=True), LAB), AT_OFFICE, set(), None),
        (HOME, (), PresentChoice(""), set(), None),
        # There is no network, or one that leads nowhere.
        (NetworkIdentity(), (OFFICE_ON, LAB_ON), AT_OFFICE, set(), None),
        (NetworkIdentity(dns_suffixes=("x",)), (OFFICE_ON, LAB_ON), AT_OFFICE, set(), None),
        (NetworkIdentity(), (OFFICE_ON, LAB_ON), AT_OFFICE, {LAB.id}, TO_LAB),
    ],
)
def test_decisions(
    network: NetworkIdentity,
    profiles: tuple[Profile, ...],
    present: PresentChoice,
    answering: set[str],
    decision: NetworkDecision | None,
) -> None:
    assert decide(network, profiles, present, answering) == decision
    by_hand = replace(present, is_by_hand=True)
    assert decide(network, profiles, by_hand, answering) is None
    is_used = decision is not None and decision.profile_id != DIRECT_ID
    assert is_any_fulfilled(network, profiles, answering) >= is_used


def test_a_decision_is_stable() -> None:
    """The same network requires no second switch, so nothing flaps."""
    profiles = (OFFICE_ON, LAB_ON)
    for network in (BRANCH, HOME):
        for present in (AT_OFFICE, AT_LAB, DIRECT, PresentChoice("")):
            for answering in (set[str](), {LAB.id}):
                decision = decide(network, profiles, present, answering)
                if decision is None:
                    continue
                is_direct = decision.profile_id == DIRECT_ID
                behind = present.profile_id if is_direct else decision.profile_id
                after = PresentChoice(behind, is_direct=is_direct)
                assert decide(network, profiles, after, answering) is None


def test_only_proxies_that_matter_are_tried() -> None:
    assert list(profiles_to_probe(BRANCH, (LAB_ON, OFFICE_ON))) == [LAB_ON]
    assert list(profiles_to_probe(BRANCH, (OFFICE_ON, LAB_ON))) == []
    assert list(profiles_to_probe(HOME, (OFFICE_ON, LAB_ON))) == [LAB_ON]
    assert list(profiles_to_probe(HOME, (OFFICE, LAB))) == []


PATTERNS = st.text("ab*?", max_size=12)


@given(PATTERNS, st.text("abA", max_size=12))
def test_wildcards_match_like_those_of_file_names(pattern: str, text: str) -> None:
    assert matches(pattern, text) is bool(fullmatch(translate(pattern), text, IGNORECASE))


def test_a_hostile_name_costs_little_time() -> None:
    assert not matches("a*" * 120 + "b", "a" * 255)
