"""Tests for trayproxy.desk.machine.queries: the answers for each state of a protection space."""

from dataclasses import replace
from math import inf
from typing import Any

import pytest

from tests.desk.machine_driver import (
    BASIC,
    BASIC_METHOD,
    LAB_SPACE,
    NTLM,
    OFFICE,
    SPACE,
    desk_state,
    space_state,
)
from tests.support.values import LAB, RIGHT, WRONG
from trayproxy.desk.machine.current_login import CurrentLogin, Doubt, LoginSource, Trial
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.machine.prompt_state import PromptState
from trayproxy.desk.machine.queries import ProfileFacts, Queries, SignInTrouble, TrialState
from trayproxy.desk.machine.space_state import ParkedRequest, SchemeBackoff, SpacePhase, SpaceState
from trayproxy.desk.protection_space import LoginId, UpstreamId
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import Program, PromptReason, RefusalReason, SignInState

LIMITS = DeskLimits()
NOW = 1000.0
UPSTREAM_ID = SPACE.upstream_id
OTHER_REALM = replace(SPACE, realm="Lab")
PROMPT = PromptState(BASIC_METHOD)
CURRENT = CurrentLogin(RIGHT, generation=1)
PROBLEM = Problem("TP-303", "No common way to sign in", "")
OVERDUE = Trial(record_number=1)
FAILED = {"ntlm": SchemeBackoff(NOW + 1, 1, RefusalReason.UNUSABLE, "The library is missing.")}
UNUSABLE = (RefusalReason.UNUSABLE, "The library is missing.")
P = SpacePhase


def queries(*spaces: SpaceState, fingerprint: str = "") -> Queries:
    """Return the queries of a machine with these protection spaces."""
    return Queries(desk_state(*spaces, fingerprint=fingerprint))


def opened(reason: PromptReason = PromptReason.NEEDED) -> PromptState:
    return replace(PROMPT.opened(3), reason=reason)


# --- Logins --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "doubt", "is_trusted", "is_proved"),
    [
        (P.TRUSTED, Doubt(), True, True),
        (P.TRUSTED, Doubt(refusals=1), True, True),
        (P.TRUSTED, Doubt(unanswered=1), True, False),
        (P.CHECKING, Doubt(), False, False),
        (P.UNVERIFIED, Doubt(unanswered=1), False, False),
    ],
)
def test_a_trusted_login_is_proved_unless_requests_got_no_response(
    phase: SpacePhase, doubt: Doubt, is_trusted: bool, is_proved: bool
) -> None:
    found, login_id = queries(space_state(phase, doubt=doubt)), LoginId(SPACE, 1)
    assert (found.is_trusted(login_id), found.is_proved(login_id)) == (is_trusted, is_proved)
    assert (found.is_current(login_id), found.login(login_id)) == (True, RIGHT)


@pytest.mark.parametrize("login_id", [LoginId(SPACE, 2), LoginId(LAB_SPACE, 1)])
def test_nothing_is_known_about_a_replaced_login(login_id: LoginId) -> None:
    accepted = CURRENT.accepted(NOW, "ntlm", "ntlm", "", LIMITS)
    found = queries(space_state(P.TRUSTED, current=accepted))
    assert not found.is_current(login_id)
    assert not found.is_trusted(login_id)
    assert not found.is_proved(login_id)
    assert found.login(login_id) is None
    assert found.login_scheme(login_id) == ("", "")
    assert found.login_scheme(LoginId(SPACE, 1)) == ("ntlm", "ntlm")


@pytest.mark.parametrize(
    ("changes", "is_settled"),
    [
        ({}, True),
        ({"phase": P.TRUSTED}, True),
        ({"phase": P.SNOOZED}, False),
        ({"prompt": opened()}, False),
        ({"doubt": Doubt(refusals=1)}, False),
        ({"doubt": Doubt(unanswered=1)}, False),
    ],
)
def test_an_upstream_is_settled_without_prompt_snooze_and_doubt(
    changes: dict[str, Any], is_settled: bool
) -> None:
    found = queries(
        space_state(**changes), space_state(key=LAB_SPACE, profile=LAB, phase=P.SNOOZED)
    )
    assert found.is_settled(UPSTREAM_ID) is is_settled
    assert not found.is_settled(LAB_SPACE.upstream_id)
    found.state.screen_locked = True
    assert not found.is_settled(UPSTREAM_ID)


REPEATED = replace(PROMPT, reason=PromptReason.REPEATED, needs_user=True)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"phase": P.TRUSTED, "trial": OVERDUE}, TrialState.ACCEPTED),
        ({"phase": P.UNVERIFIED, "trial": OVERDUE}, TrialState.UNRECORDED),
        ({"phase": P.CHECKING}, TrialState.UNDER_WAY),
        ({"phase": P.UNVERIFIED, "trial": Trial(own_request=1)}, TrialState.UNDER_WAY),
        ({"phase": P.UNVERIFIED}, TrialState.UNKNOWN),
        ({"phase": P.PROMPTING, "trial": Trial(own_request=1)}, TrialState.UNKNOWN),
        ({"phase": P.PROMPTING, "prompt": REPEATED}, TrialState.REJECTED),
        (
            {"phase": P.PROMPTING, "prompt": REPEATED, "current": replace(CURRENT, is_unsent=True)},
            TrialState.UNSENT,
        ),
    ],
)
def test_the_result_of_a_trial(changes: dict[str, Any], expected: TrialState) -> None:
    other = space_state(P.SNOOZED, key=OTHER_REALM, current=replace(CURRENT, generation=2))
    found = queries(other, space_state(**changes))
    assert found.trial_state(UPSTREAM_ID, 1) is expected
    assert found.trial_state(UPSTREAM_ID, 3) is TrialState.UNKNOWN
    assert found.trial_state(LAB_SPACE.upstream_id, 1) is TrialState.UNKNOWN


def test_the_generation_of_the_login_of_the_most_likely_protection_space() -> None:
    prompted = space_state(P.PROMPTING, key=OTHER_REALM, prompt=opened(), seen_at=1.0)
    prompted.current = replace(CURRENT, generation=5)
    assert queries(space_state(), prompted).generation(UPSTREAM_ID) == 5
    assert queries(space_state()).generation(UPSTREAM_ID) == 1
    assert queries(space_state()).generation(LAB_SPACE.upstream_id) == 0


@pytest.mark.parametrize(
    ("seen_at", "other_seen_at", "generation"),
    [
        (NOW - LIMITS.realm_ttl - 0.1, None, 1),
        (NOW, NOW - LIMITS.realm_ttl - 0.1, 1),
        (NOW, NOW - LIMITS.realm_ttl, None),
        (NOW - LIMITS.realm_ttl - 0.1, NOW - LIMITS.realm_ttl, 2),
        (NOW - LIMITS.realm_ttl - 0.1, NOW - LIMITS.realm_ttl - 0.1, None),
    ],
)
def test_a_login_is_sent_without_a_407_only_to_an_upstream_with_a_single_realm_in_use(
    seen_at: float, other_seen_at: float | None, generation: int | None
) -> None:
    other = replace(CURRENT, generation=2)
    spaces = [space_state(P.TRUSTED, seen_at=seen_at)]
    if other_seen_at is not None:
        spaces.append(space_state(P.TRUSTED, key=OTHER_REALM, seen_at=other_seen_at, current=other))
    realms = {1: SPACE, 2: OTHER_REALM}
    expected = {UPSTREAM_ID: LoginId(realms[generation], generation)} if generation else {}
    assert queries(*spaces).trusted_logins() == expected
    for each in spaces:
        each.phase = P.UNVERIFIED
    assert queries(*spaces).trusted_logins() == {}


# --- Prompts and facts ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suggested", "of_profile", "expected"),
    [("typed", "jdoe", "typed"), ("", "jdoe", "jdoe"), ("", "", "")],
)
def test_the_user_name_of_the_last_login_comes_before_the_name_in_the_profile(
    suggested: str, of_profile: str, expected: str
) -> None:
    found = queries(
        space_state(
            P.PROMPTING,
            prompt=replace(opened(), user=suggested),
            profile=replace(OFFICE, user=of_profile),
        )
    )
    prompt = found.prompt(3)
    assert prompt is not None
    assert prompt.user == expected
    assert (found.prompt(4), found.prompt_numbers()) == (None, (3,))


@pytest.mark.parametrize(
    ("reason", "before"), [(PromptReason.DOWNGRADE, "N" * 1024), (PromptReason.NEEDED, "")]
)
def test_a_prompt_names_the_earlier_scheme_of_a_changed_upstream(
    reason: PromptReason, before: str
) -> None:
    prompted = space_state(P.PROMPTING, prompt=replace(opened(reason), previous_name="N" * 1025))
    prompted.key = replace(SPACE, realm="R" * 1025)
    prompt = queries(prompted).prompt(3)
    assert prompt is not None
    assert (prompt.before, prompt.realm) == (before, "R" * 1024)


def test_the_unknown_programs_named_in_a_prompt() -> None:
    prompted = space_state(P.PROMPTING, prompt=opened())
    for number in range(LIMITS.programs_max + 2):
        program = Program("git", 1, "") if number == 2 else None
        prompted.parked[number] = ParkedRequest(number, NOW, "", program, is_own=number == 0)
    found = queries(prompted)
    numbers = tuple(each for each in range(1, LIMITS.programs_max + 1) if each != 2)
    assert found.unidentified_requests(3) == numbers
    assert found.unidentified_requests(4) == ()
    assert found.facts("office").waiting == LIMITS.programs_max + 1


def test_the_facts_of_a_profile_without_a_protection_space() -> None:
    assert queries().facts("office") == ProfileFacts(SignInState.UNTESTED, "", None, 0)
    assert queries(space_state(P.TRUSTED)).facts("lab") == ProfileFacts()


@pytest.mark.parametrize(
    ("phase", "current", "user", "user_of_both"),
    [
        (P.TRUSTED, CURRENT, "jdoe", "jdoe"),
        (P.UNVERIFIED, CURRENT, "", "other"),
        (P.TRUSTED, CurrentLogin(None, LoginSource.SSO), "", "other"),
    ],
)
def test_the_facts_name_the_user_of_the_trusted_login_seen_last(
    phase: SpacePhase, current: CurrentLogin, user: str, user_of_both: str
) -> None:
    found = space_state(phase, current=current)
    other = CurrentLogin(replace(WRONG, user="other"))
    earlier = space_state(P.TRUSTED, key=OTHER_REALM, current=other, seen_at=NOW - 1)
    assert queries(found).facts("office").user == user
    assert queries(found, earlier).facts("office").user == user_of_both


@pytest.mark.parametrize(
    ("snoozes", "until"), [((), None), ((1060.0,), 1060.0), ((1060.0, inf), inf)]
)
def test_the_facts_contain_the_end_of_the_longest_snooze(
    snoozes: tuple[float, ...], until: float | None
) -> None:
    spaces = [
        space_state(
            P.SNOOZED, key=replace(SPACE, realm=str(end)), prompt=replace(PROMPT, snoozed_until=end)
        )
        for end in snoozes
    ]
    past = space_state(P.PROMPTING, prompt=replace(PROMPT, snoozed_until=2000.0))
    assert queries(past, *spaces).facts("office").snoozed_until == until


# --- Problems ------------------------------------------------------------------------------------


def test_a_missing_usable_scheme_is_a_problem_of_its_profile_only() -> None:
    found = queries(space_state(P.TRUSTED))
    found.state.no_common_scheme[UpstreamId.of(LAB)] = PROBLEM
    assert found.profile_ids() == {"office", "lab"}
    assert found.no_common_scheme() == found.no_common_scheme("lab") == (PROBLEM,)
    assert found.no_common_scheme("office") == ()
    assert found.facts("office").sign_in is SignInState.OK
    assert found.facts("lab") == ProfileFacts(SignInState.UNUSABLE)


NEEDS_USER = replace(PROMPT, needs_user=True)
WEAKER = replace(PROMPT, weaker_refusal="It is weaker.")


@pytest.mark.parametrize(
    ("changes", "fingerprint", "expected"),
    [
        ({"phase": P.UNVERIFIED, "trial": OVERDUE}, "", (RefusalReason.UNRECORDED, "")),
        ({"phase": P.TRUSTED, "prompt": WEAKER}, "", (RefusalReason.WEAKER, "It is weaker.")),
        ({"phase": P.TRUSTED}, "", None),
        ({"phase": P.PROMPTING, "prompt": WEAKER}, "", None),
        ({"phase": P.UNVERIFIED, "prompt": NEEDS_USER, "offers": (NTLM,)}, "", UNUSABLE),
        ({"phase": P.UNVERIFIED, "offers": (NTLM,)}, "", None),
        ({"phase": P.PROMPTING, "prompt": NEEDS_USER, "offers": (NTLM,)}, "", None),
        ({"phase": P.UNVERIFIED, "prompt": NEEDS_USER, "offers": ()}, "", None),
        ({"phase": P.UNVERIFIED, "prompt": NEEDS_USER}, "", None),
        ({"phase": P.UNVERIFIED, "prompt": NEEDS_USER}, "ntlm", UNUSABLE),
        ({"phase": P.UNVERIFIED, "prompt": NEEDS_USER, "backoffs": {}}, "ntlm", None),
    ],
)
def test_the_reason_why_no_login_can_be_sent(
    changes: dict[str, Any], fingerprint: str, expected: tuple[RefusalReason, str] | None
) -> None:
    """NTLM is backed off in each protection space that does not state otherwise."""
    found = queries(space_state(**{"backoffs": FAILED, **changes}), fingerprint=fingerprint)
    troubles = (SignInTrouble(OFFICE, *expected),) if expected else ()
    assert found.troubles() == troubles
    assert found.troubles(is_unattended=True) == troubles


BASIC_INSTEAD_OF_NTLM = (
    "The proxy wants a sign-in by Basic for this address and has accepted NTLM before, which "
    "protects your password better."
)


@pytest.mark.parametrize(
    ("phase", "reason", "offers", "text"),
    [
        (P.PROMPTING, PromptReason.DOWNGRADE, (BASIC,), BASIC_INSTEAD_OF_NTLM),
        (P.PROMPTING, PromptReason.DOWNGRADE, (NTLM,), ""),
        (P.PROMPTING, PromptReason.REALM_CHANGED, (BASIC,), ""),
        (P.PROMPTING, PromptReason.NEEDED, (BASIC,), None),
        (P.UNVERIFIED, PromptReason.DOWNGRADE, (BASIC,), None),
    ],
)
def test_a_changed_upstream_is_a_problem_while_no_prompt_can_report_it(
    phase: SpacePhase, reason: PromptReason, offers: tuple[Any, ...], text: str | None
) -> None:
    prompt = replace(PROMPT, reason=reason)
    found = queries(
        space_state(phase, prompt=prompt, offers=offers, backoffs=FAILED), fingerprint="ntlm"
    )
    trouble = None if text is None else SignInTrouble(OFFICE, RefusalReason.WEAKER, text)
    assert found.changed_upstream(UPSTREAM_ID) == trouble
    assert found.changed_upstream(LAB_SPACE.upstream_id) is None
    assert found.troubles() == ()
    assert found.troubles(is_unattended=True) == ((trouble,) if trouble else ())
