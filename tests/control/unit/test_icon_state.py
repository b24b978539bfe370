"""Tests for trayproxy.control.icon_state: the precedence of ux §3.1."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from tests.support.values import LAB, OFFICE
from trayproxy.control.icon_state import (
    STARTING_TIMEOUT_S,
    TROUBLE_AFTER_S,
    IconFacts,
    IconState,
    icon_state,
)
from trayproxy.control.messages import ListenerState, Status, UpstreamState
from trayproxy.domain.signin import SignInState

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


@given(FACTS, st.floats(0, 10))
def test_longer_unreachability_never_improves_the_state(facts: IconFacts, more: float) -> None:
    later = replace(facts, unreachable_s=facts.unreachable_s + more)
    order = list(IconState)
    assert order.index(icon_state(later)) <= order.index(icon_state(facts))
