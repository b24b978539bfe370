"""Tests for trayproxy.desk.machine.challenges: a 407 in each state of a protection space."""

from dataclasses import replace
from typing import Any

import pytest

from tests.desk.machine_driver import (
    BASIC,
    DIGEST,
    NTLM,
    OFFICE,
    SPACE,
    MachineDriver,
    desk_state,
    space_state,
)
from tests.support.values import RIGHT
from trayproxy.auth.scheme import Verdict, VerdictKind
from trayproxy.desk.machine.challenges import Challenges
from trayproxy.desk.machine.credential_lookup import CredentialLookup
from trayproxy.desk.machine.current_login import CurrentLogin, Doubt, LoginSource
from trayproxy.desk.machine.events import (
    Effect,
    LookUpLogin,
    NoCommonScheme,
    OfferedScheme,
    RecordRejection,
    RefuseRequest,
    RequestChallenged,
    SendOwnRequest,
    SendWithoutLogin,
    TriedLogin,
)
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.machine.outcomes import Outcomes
from trayproxy.desk.machine.prompts import Prompts
from trayproxy.desk.machine.space_state import ParkedRequest, SchemeBackoff, SpacePhase
from trayproxy.desk.machine.state import DeskState
from trayproxy.desk.machine.verification import OwnRequests
from trayproxy.desk.protection_space import LoginId, ProtectionSpace
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import PromptReason, RefusalReason, SignInState

NOW = 1000.0
LIMITS = DeskLimits()
TARGET = "github.com:443"
LOGIN_ID = LoginId(SPACE, 1)
CURRENT = CurrentLogin(RIGHT, LoginSource.TYPED, generation=1)
ACCEPTED = replace(
    CURRENT,
    accepted_at=900.0,
    scheme="basic",
    accepted_labels={"ntlm": "ntlm"},
    accepted_targets=(TARGET,),
)
IN_FLIGHT = Doubt(in_flight={3: TARGET})
BLANK_REALM = replace(SPACE, realm="")
OTHER_REALM = replace(SPACE, realm="Lab")
FAILURE = Verdict(VerdictKind.UNUSABLE, "It is too large.")
LOOKED_UP: list[Effect] = [LookUpLogin(1, OFFICE, "jdoe")]
REJECTED = [RecordRejection(SPACE.upstream_id, RIGHT), *LOOKED_UP]
OWN_REQUEST = SendOwnRequest(1, OFFICE, "")
P = SpacePhase


def refused(reason: RefusalReason, text: str = "") -> RefuseRequest:
    return RefuseRequest(5, reason, text)


def challenge(
    state: DeskState,
    tried: TriedLogin | None = None,
    offers: tuple[OfferedScheme, ...] = (BASIC,),
    key: ProtectionSpace = SPACE,
    is_own: bool = False,
) -> list[Effect]:
    """Challenge request 5 and return the effects."""
    prompts = Prompts(state)
    prompts.set_front_ends(1)
    outcomes, own = Outcomes(state, prompts), OwnRequests(state, prompts)
    challenges = Challenges(state, CredentialLookup(state, prompts), outcomes, own)
    challenges.handle(RequestChallenged(5, key, OFFICE, offers, TARGET, tried=tried, is_own=is_own))
    return state.effects


TRIED = TriedLogin(LOGIN_ID, "basic", permit=3)
LATE = TriedLogin(LOGIN_ID, "basic", permit=9)


@pytest.mark.parametrize(
    ("changes", "tried", "arguments", "phase", "effects"),
    [
        # The canary.
        ({}, TRIED, {}, P.LOOKING_UP, REJECTED),
        ({}, LATE, {}, P.LOOKING_UP, REJECTED),
        (
            {},
            TriedLogin(LOGIN_ID, "basic", is_offered_again=False, permit=9),
            {"offers": (NTLM,)},
            P.UNVERIFIED,
            [],
        ),
        (
            {},
            TriedLogin(LOGIN_ID, "basic", is_offered_again=False, permit=3),
            {"offers": ()},
            P.LOOKING_UP,
            REJECTED,
        ),
        (
            {},
            TriedLogin(LOGIN_ID, "basic", is_final=True, is_offered_again=False, permit=3),
            {"offers": (NTLM,)},
            P.LOOKING_UP,
            REJECTED,
        ),
        # A login in doubt.
        (
            {"current": ACCEPTED},
            LATE,
            {"is_own": True},
            P.PROMPTING,
            [REJECTED[0], refused(RefusalReason.WITHDRAWN)],
        ),
        ({"current": ACCEPTED}, LATE, {}, P.CHECKING, [OWN_REQUEST]),
        ({"current": ACCEPTED}, TRIED, {}, P.UNVERIFIED, [OWN_REQUEST]),
        (
            {"current": ACCEPTED, "phase": P.UNVERIFIED},
            LATE,
            {"is_own": True},
            P.UNVERIFIED,
            [refused(RefusalReason.FORBIDDEN)],
        ),
        ({"current": ACCEPTED, "phase": P.UNVERIFIED}, LATE, {}, P.UNVERIFIED, [OWN_REQUEST]),
        ({"current": ACCEPTED, "phase": P.TRUSTED}, LATE, {}, P.UNVERIFIED, [OWN_REQUEST]),
        (
            {"current": ACCEPTED, "phase": P.TRUSTED, "forbidden_hosts": {"github.com": NOW}},
            LATE,
            {},
            P.TRUSTED,
            [refused(RefusalReason.FORBIDDEN)],
        ),
        # The scheme has failed.
        (
            {"current": ACCEPTED, "phase": P.TRUSTED},
            TriedLogin(LOGIN_ID, "basic", FAILURE, permit=9),
            {"offers": ()},
            P.TRUSTED,
            [refused(RefusalReason.UNUSABLE, "It is too large.")],
        ),
        (
            {"current": ACCEPTED, "phase": P.TRUSTED},
            TriedLogin(LOGIN_ID, "ntlm", FAILURE, permit=9),
            {"offers": (NTLM, BASIC)},
            P.TRUSTED,
            [refused(RefusalReason.UNUSABLE, "It is too large.")],
        ),
        (
            {"current": ACCEPTED, "phase": P.TRUSTED},
            TriedLogin(LOGIN_ID, "ntlm", FAILURE, permit=9),
            {},
            P.UNVERIFIED,
            [],
        ),
        (
            {},
            TriedLogin(LOGIN_ID, "basic", FAILURE, permit=3),
            {},
            P.UNVERIFIED,
            [SendWithoutLogin(5)],
        ),
        ({}, TriedLogin(LOGIN_ID, "ntlm", FAILURE, permit=3), {}, P.UNVERIFIED, []),
    ],
)
def test_a_request_refused_with_the_current_login(
    changes: dict[str, Any],
    tried: TriedLogin,
    arguments: dict[str, Any],
    phase: SpacePhase,
    effects: list[Effect],
) -> None:
    space = space_state(**{"phase": P.CHECKING, "current": CURRENT, "doubt": IN_FLIGHT, **changes})
    assert challenge(desk_state(space), tried, **arguments) == effects
    assert space.phase is phase
    is_parked = not any(isinstance(each, RefuseRequest | SendWithoutLogin) for each in effects)
    assert list(space.parked) == ([5] if is_parked else [])
    if OWN_REQUEST in effects:
        assert space.parked[5].was_refused


@pytest.mark.parametrize(("has_changed_realm", "is_refused"), [(True, True), (False, False)])
def test_a_request_sent_to_a_second_realm_is_refused_in_a_third(
    has_changed_realm: bool, is_refused: bool
) -> None:
    space, other = (
        space_state(P.TRUSTED, current=ACCEPTED),
        space_state(P.PROMPTING, key=OTHER_REALM),
    )
    tried = TriedLogin(LOGIN_ID, "basic", has_changed_realm=has_changed_realm)
    effects = challenge(desk_state(space, other), tried, key=OTHER_REALM)
    assert (effects == [refused(RefusalReason.FORBIDDEN)]) is is_refused
    assert list(other.parked) == ([] if is_refused else [5])


def test_a_second_refusal_in_the_same_realm_is_about_the_login() -> None:
    space = space_state(P.CHECKING, current=CURRENT, doubt=IN_FLIGHT)
    tried = TriedLogin(LOGIN_ID, "basic", has_changed_realm=True, permit=3)
    assert challenge(desk_state(space), tried) == REJECTED
    assert list(space.parked) == [5]


# --- The protection space ------------------------------------------------------------------------


def test_a_407_without_an_offer_in_an_unknown_realm_is_sent_again_for_the_offers() -> None:
    state = desk_state(space_state(P.TRUSTED, key=OTHER_REALM))
    assert challenge(state, offers=()) == [SendWithoutLogin(5)]
    assert list(state.spaces) == [OTHER_REALM]
    assert challenge(state, offers=(), key=OTHER_REALM) == [SendWithoutLogin(5)]
    assert list(state.spaces[OTHER_REALM].parked) == [5]


@pytest.mark.parametrize(("offers", "is_cleared"), [((BASIC,), True), ((), False)])
def test_an_offered_scheme_ends_the_problem_of_missing_schemes(
    offers: tuple[OfferedScheme, ...], is_cleared: bool
) -> None:
    driver = MachineDriver()
    driver.challenge()
    driver.handle(NoCommonScheme(SPACE.upstream_id, Problem("TP-303", "", "")))
    assert driver.machine.facts("office").sign_in is SignInState.UNUSABLE
    driver.challenge(offers=offers)
    assert (driver.machine.facts("office").sign_in is not SignInState.UNUSABLE) is is_cleared


@pytest.mark.parametrize(
    ("spaces", "expected"),
    [
        ([(SPACE, P.PROMPTING, 1.0)], SPACE),
        ([(SPACE, P.PROMPTING, 1.0), (BLANK_REALM, P.PROMPTING, 0.0)], BLANK_REALM),
        ([(SPACE, P.PROMPTING, 1.0), (OTHER_REALM, P.PROMPTING, 2.0)], OTHER_REALM),
        ([(SPACE, P.TRUSTED, 1.0), (OTHER_REALM, P.PROMPTING, 2.0)], SPACE),
        ([(SPACE, P.TRUSTED, 1.0), (OTHER_REALM, P.TRUSTED, 2.0)], OTHER_REALM),
        ([(replace(SPACE, family="socks"), P.PROMPTING, 1.0)], BLANK_REALM),
    ],
)
def test_a_407_without_a_realm_belongs_to_the_trusted_realm_seen_last(
    spaces: list[tuple[ProtectionSpace, SpacePhase, float]], expected: ProtectionSpace
) -> None:
    state = desk_state(
        *(space_state(phase, key=key, seen_at=seen_at) for key, phase, seen_at in spaces)
    )
    challenge(state, key=BLANK_REALM)
    assert [key for key, space in state.spaces.items() if space.parked] == [expected]


def test_the_first_challenge_fills_in_the_protection_space_of_a_login_given_before() -> None:
    blank = space_state(P.UNVERIFIED, key=ProtectionSpace.blank(SPACE.upstream_id))
    state = desk_state(blank)
    challenge(state)
    assert state.spaces == {SPACE: blank}
    assert blank.key == SPACE


@pytest.mark.parametrize(
    ("offers", "backoffs", "current", "expected"),
    [
        ((NTLM, BASIC), {}, CURRENT, NTLM),
        ((NTLM, BASIC), {"ntlm": 1000.1}, CURRENT, BASIC),
        ((NTLM, BASIC), {"ntlm": 1000.0}, CURRENT, NTLM),
        ((NTLM, BASIC), {"ntlm": 1000.1, "basic": 1000.1}, CURRENT, NTLM),
        ((NTLM, BASIC), {}, ACCEPTED, BASIC),
        ((), {}, CURRENT, DIGEST),
    ],
)
def test_the_prompt_names_the_usable_scheme(
    offers: tuple[OfferedScheme, ...],
    backoffs: dict[str, float],
    current: CurrentLogin,
    expected: OfferedScheme,
) -> None:
    space = space_state(P.PROMPTING, offers=(DIGEST,), current=current)
    space.prompt = replace(space.prompt, method=DIGEST.method)
    space.backoffs = {
        scheme: SchemeBackoff(until, 1, RefusalReason.UNUSABLE)
        for scheme, until in backoffs.items()
    }
    challenge(desk_state(space), offers=offers)
    assert space.prompt.method == expected.method
    assert space.offers == (offers or (DIGEST,))


# --- Parking -------------------------------------------------------------------------------------

CROWD = {number: ParkedRequest(number, NOW, TARGET, None) for number in range(100, 612)}
WEAKER = replace(space_state().prompt, reason=PromptReason.DOWNGRADE)


@pytest.mark.parametrize(
    ("changes", "arguments", "effects", "phase"),
    [
        ({}, {}, LOOKED_UP, P.LOOKING_UP),
        ({"phase": P.SNOOZED}, {}, [refused(RefusalReason.DECLINED)], P.SNOOZED),
        (
            {"phase": P.PROMPTING, "parked": CROWD},
            {},
            [refused(RefusalReason.CROWDED)],
            P.PROMPTING,
        ),
        ({"phase": P.TRUSTED, "parked": CROWD}, {}, [], P.TRUSTED),
        ({"is_own": True}, {}, [refused(RefusalReason.WITHDRAWN)], P.NO_LOGIN),
        ({"phase": P.UNVERIFIED, "is_own": True}, {}, [], P.UNVERIFIED),
        ({"phase": P.CHECKING, "is_own": True}, {}, [], P.CHECKING),
        ({"phase": P.TRUSTED, "is_own": True}, {}, [], P.TRUSTED),
        ({"phase": P.PROMPTING}, {}, LOOKED_UP, P.LOOKING_UP),
        # A changed upstream.
        ({"phase": P.PROMPTING, "prompt": WEAKER, "current": ACCEPTED}, {}, [], P.UNVERIFIED),
        ({"phase": P.PROMPTING, "prompt": WEAKER, "current": CURRENT}, {}, LOOKED_UP, P.LOOKING_UP),
        ({"phase": P.PROMPTING, "current": ACCEPTED}, {}, LOOKED_UP, P.LOOKING_UP),
        (
            {"phase": P.PROMPTING, "prompt": WEAKER, "current": ACCEPTED},
            {"fingerprint": "ntlm"},
            [],
            P.PROMPTING,
        ),
    ],
)
def test_a_challenged_request_is_parked_or_refused(
    changes: dict[str, Any], arguments: dict[str, Any], effects: list[Effect], phase: SpacePhase
) -> None:
    changes = dict(changes)
    is_own = changes.pop("is_own", False)
    changes["parked"] = dict(changes.get("parked", {}))
    space = space_state(**changes)
    assert challenge(desk_state(space, **arguments), is_own=is_own) == effects
    assert space.phase is phase
    assert (5 in space.parked) is (effects in ([], LOOKED_UP))


def test_another_request_of_an_open_prompt_starts_no_look_up() -> None:
    prompt = space_state().prompt.opened(7)
    for changes in ({"prompt": prompt}, {"parked": {4: ParkedRequest(4, NOW, TARGET, None)}}):
        parts: dict[str, Any] = changes
        space = space_state(P.PROMPTING, **parts)
        effects = challenge(desk_state(space))
        assert not any(isinstance(effect, LookUpLogin) for effect in effects)
        assert space.phase is P.PROMPTING


def test_a_restored_upstream_serves_only_requests_with_a_matching_407() -> None:
    weaker = ParkedRequest(4, NOW, TARGET, None, offers=(BASIC,))
    space = space_state(P.PROMPTING, current=ACCEPTED, prompt=WEAKER, parked={4: weaker})
    effects = challenge(desk_state(space, fingerprint="ntlm"), offers=(NTLM,))
    assert effects == [RefuseRequest(4, RefusalReason.WEAKER)]
    assert (space.phase, list(space.parked)) == (P.UNVERIFIED, [5])
