"""Tests for trayproxy.desk.machine.verification: own requests and missing verdicts, for each state
of a protection space."""

from dataclasses import replace
from typing import Any

import pytest

from tests.desk.machine_driver import BASIC, OFFICE, SPACE, desk_state, space_state
from tests.support.values import RIGHT
from trayproxy.desk.machine.current_login import CurrentLogin, Doubt, LoginSource, Trial
from trayproxy.desk.machine.events import (
    CancelTrial,
    Effect,
    LoginUnproved,
    NoResponse,
    NotifyPromptChanged,
    NotifyPromptClosed,
    OwnRequestEnded,
    RecordTrial,
    ReleaseRequest,
    SendOwnRequest,
    TrialRecorded,
)
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.machine.outcomes import Outcomes
from trayproxy.desk.machine.prompt_state import OpenPrompt, PromptState
from trayproxy.desk.machine.prompts import Prompts
from trayproxy.desk.machine.space_state import ParkedRequest, SpacePhase, SpaceState
from trayproxy.desk.machine.state import DeskState
from trayproxy.desk.machine.verification import OwnRequests, Verification
from trayproxy.desk.protection_space import LoginId
from trayproxy.domain.signin import Ending, PromptReason

NOW = 1000.0
LIMITS = DeskLimits()
LOGIN_ID = LoginId(SPACE, 1)
CURRENT = CurrentLogin(RIGHT, LoginSource.TYPED, generation=1)
ACCEPTED = replace(CURRENT, accepted_at=900.0)
SSO = CurrentLogin(None, LoginSource.SSO, 1, accepted_at=900.0)
TARGET = "github.com:443"
PROMPT = space_state().prompt
OPEN = replace(PROMPT, open=OpenPrompt(7, NOW, is_touched=True))
UNTOUCHED = replace(PROMPT, open=OpenPrompt(7))
INCONCLUSIVE = Doubt(inconclusive_hosts=frozenset({"github.com"}))
CHECK_PAGES = ("detectportal.firefox.com:80", "www.msftconnecttest.com:80")
P = SpacePhase


def parked(*targets: str, is_own: bool = False) -> dict[int, ParkedRequest]:
    return {
        number: ParkedRequest(number, NOW, target, None, is_own=is_own)
        for number, target in enumerate(targets, 11)
    }


def own_requests(state: DeskState) -> OwnRequests:
    return OwnRequests(state, Prompts(state))


def verification(state: DeskState) -> Verification:
    prompts = Prompts(state)
    prompts.set_front_ends(1)
    return Verification(state, prompts, Outcomes(state, prompts), OwnRequests(state, prompts))


# --- Sending own requests ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("doubt", "trial", "current", "target"),
    [
        (Doubt(), Trial(), CURRENT, ""),
        (Doubt(), Trial(last_target=TARGET), CURRENT, TARGET),
        (Doubt(), Trial(last_target=TARGET), ACCEPTED, ""),
        (Doubt(), Trial(), replace(ACCEPTED, accepted_targets=("a:1", TARGET)), TARGET),
        (Doubt(own_targets=frozenset({""})), Trial(), CURRENT, CHECK_PAGES[0]),
        (Doubt(own_targets=frozenset({"", CHECK_PAGES[0]})), Trial(), CURRENT, CHECK_PAGES[1]),
        (Doubt(own_targets=frozenset({"", *CHECK_PAGES})), Trial(), CURRENT, ""),
        (INCONCLUSIVE, Trial(last_target=TARGET), CURRENT, ""),
        (Doubt(own_targets=frozenset({TARGET})), Trial(last_target=TARGET), CURRENT, ""),
        (
            Doubt(own_targets=frozenset({TARGET}), own_requests_sent=1),
            Trial(),
            replace(ACCEPTED, accepted_targets=(TARGET,)),
            "",
        ),
        (
            Doubt(own_targets=frozenset({TARGET})),
            Trial(),
            replace(ACCEPTED, accepted_targets=(TARGET,)),
            TARGET,
        ),
        (
            Doubt(own_targets=frozenset({"", TARGET}), own_requests_sent=1),
            Trial(),
            replace(ACCEPTED, accepted_targets=(TARGET,)),
            "",
        ),
        (
            Doubt(refused_hosts={"github.com": NOW}),
            Trial(),
            replace(ACCEPTED, accepted_targets=("a.example:1", TARGET)),
            "a.example:1",
        ),
    ],
)
def test_the_target_of_an_own_request(
    doubt: Doubt, trial: Trial, current: CurrentLogin, target: str
) -> None:
    space = space_state(P.UNVERIFIED, current=current, doubt=doubt, trial=trial, prompt=OPEN)
    state = desk_state(space)
    own = own_requests(state)
    own.send(space)
    own.send(space)
    assert state.effects == [SendOwnRequest(1, OFFICE, target), NotifyPromptChanged(7)]
    assert space.trial == trial.own_request_sent(1, NOW + LIMITS.canary_overdue)
    assert space.doubt == doubt.own_request_sent(target)


@pytest.mark.parametrize(
    ("sent", "can_send_own", "expected"),
    [(0, True, True), (1, True, True), (2, True, False), (0, False, False)],
)
def test_two_own_requests_in_a_row_may_be_sent(
    sent: int, can_send_own: bool, expected: bool
) -> None:
    space = space_state(doubt=Doubt(own_requests_sent=sent))
    assert own_requests(desk_state(can_send_own=can_send_own)).may_send(space) is expected


@pytest.mark.parametrize(
    ("targets", "trial", "can_send_own", "expected"),
    [
        ((TARGET,), Trial(rejecting_target=TARGET), True, True),
        ((TARGET, TARGET), Trial(rejecting_target=TARGET), True, True),
        ((TARGET, "a:1"), Trial(rejecting_target=TARGET), True, False),
        ((TARGET,), Trial(rejecting_target=TARGET), False, False),
        ((TARGET,), Trial(rejecting_target=TARGET, was_own_sent=True), True, False),
        ((TARGET,), Trial(rejecting_target=TARGET, was_own_sent=True, own_request=1), True, True),
        ((TARGET,), Trial(rejecting_target=TARGET, own_request=1), True, True),
        (("",), Trial(), True, False),
        ((), Trial(), True, False),
    ],
)
def test_an_own_request_goes_elsewhere_if_all_requests_go_to_the_rejecting_target(
    targets: tuple[str, ...], trial: Trial, can_send_own: bool, expected: bool
) -> None:
    space = space_state(P.UNVERIFIED, trial=trial, parked=parked(*targets))
    own = own_requests(desk_state(space, can_send_own=can_send_own))
    assert own.needs_other_target(space) is expected


LAST = replace(INCONCLUSIVE, unanswered=LIMITS.unproved_max - 1)
FORBIDDEN = {"github.com": NOW}


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({"doubt": INCONCLUSIVE}, ""),
        ({"forbidden_hosts": FORBIDDEN}, ""),
        ({}, None),
        ({"doubt": INCONCLUSIVE, "current": ACCEPTED}, None),
        ({"doubt": INCONCLUSIVE, "parked": parked(TARGET, "a:1")}, None),
        ({"doubt": LAST, "parked": parked(TARGET, "a:1")}, ""),
        ({"doubt": replace(LAST, unanswered=1), "parked": parked(TARGET, "a:1")}, None),
        (
            {
                "doubt": Doubt(unanswered=9),
                "forbidden_hosts": FORBIDDEN,
                "parked": parked(TARGET, "a:1"),
            },
            None,
        ),
        ({"doubt": INCONCLUSIVE, "parked": parked(TARGET, is_own=True)}, None),
        ({"doubt": INCONCLUSIVE, "trial": Trial(last_target="a:1")}, "a:1"),
        ({"doubt": LAST, "trial": Trial(last_target="a:1")}, ""),
        ({"doubt": replace(LAST, own_targets=frozenset({""}))}, CHECK_PAGES[0]),
        ({"doubt": replace(INCONCLUSIVE, own_targets=frozenset({"", *CHECK_PAGES}))}, None),
    ],
)
def test_an_own_request_verifies_a_login_if_no_parked_request_can(
    changes: dict[str, Any], target: str | None
) -> None:
    parts = {"parked": parked(TARGET), "current": CURRENT, **changes}
    space = space_state(P.UNVERIFIED, **parts)
    state = desk_state(space)
    assert own_requests(state).verifies(space) is (target is not None)
    sent = [] if target is None else [SendOwnRequest(1, OFFICE, target)]
    assert state.effects == sent


TO_BE_SAVED = replace(CURRENT, source=LoginSource.COMMAND_LINE, remember=True)


@pytest.mark.parametrize(
    ("changes", "is_sent"),
    [
        ({"prompt": OPEN}, True),
        ({"prompt": UNTOUCHED}, False),
        ({}, False),
        ({"prompt": OPEN, "current": replace(CURRENT, source=LoginSource.SAVED)}, False),
        ({"prompt": OPEN, "trial": Trial(was_own_sent=True)}, False),
        ({"current": TO_BE_SAVED}, True),
        ({"current": replace(TO_BE_SAVED, remember=False)}, False),
        ({"current": replace(TO_BE_SAVED, source=LoginSource.SAVED)}, False),
        ({"doubt": INCONCLUSIVE}, True),
        ({"doubt": INCONCLUSIVE, "trial": Trial(was_own_sent=True), "prompt": OPEN}, True),
        ({"doubt": INCONCLUSIVE, "current": ACCEPTED}, False),
        ({"doubt": replace(INCONCLUSIVE, own_targets=frozenset({"", *CHECK_PAGES}))}, False),
    ],
)
def test_a_login_is_verified_without_a_client_if_the_user_waits_or_a_client_could_not_verify_it(
    changes: dict[str, Any], is_sent: bool
) -> None:
    space = space_state(P.UNVERIFIED, **{"current": CURRENT, **changes})
    state = desk_state(space)
    verification(state).sweep()
    sent = [effect for effect in state.effects if isinstance(effect, SendOwnRequest)]
    assert sent == ([SendOwnRequest(1, OFFICE, "")] if is_sent else [])


def test_no_second_own_request_is_sent_for_an_inconclusive_login() -> None:
    space = space_state(P.UNVERIFIED, doubt=INCONCLUSIVE, trial=Trial(own_request=5))
    state = desk_state(space)
    verification(state).sweep()
    assert state.effects == []
    assert space.trial == Trial(own_request=5)


# --- The end of an own request -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "current", "doubt", "is_challenged", "expected"),
    [
        (P.UNVERIFIED, ACCEPTED, Doubt(unanswered=2, own_requests_sent=1), False, P.TRUSTED),
        (P.UNVERIFIED, ACCEPTED, Doubt(unanswered=2), True, P.UNVERIFIED),
        (P.UNVERIFIED, ACCEPTED, Doubt(unanswered=2, refusals=1), False, P.UNVERIFIED),
        (P.UNVERIFIED, ACCEPTED, Doubt(), False, P.UNVERIFIED),
        (P.UNVERIFIED, ACCEPTED, Doubt(refusals=1), False, P.UNVERIFIED),
        (P.UNVERIFIED, CURRENT, Doubt(unanswered=2), False, P.UNVERIFIED),
        (P.CHECKING, ACCEPTED, Doubt(unanswered=2), False, P.CHECKING),
    ],
)
@pytest.mark.parametrize("is_overdue", [False, True])
def test_a_login_is_trusted_again_if_the_own_request_got_no_407(
    phase: SpacePhase,
    current: CurrentLogin,
    doubt: Doubt,
    is_challenged: bool,
    expected: SpacePhase,
    is_overdue: bool,
) -> None:
    trial = Trial(own_request=5, own_deadline=NOW, own_challenged=is_challenged)
    space = space_state(phase, current=current, doubt=doubt, trial=trial)
    own = own_requests(desk_state(space))
    if is_overdue:
        own.expire(space)
        assert space.trial == trial.own_request_overdue()
    else:
        own.handle_ended(OwnRequestEnded(4, was_challenged=True))
        assert space.trial == trial
        own.handle_ended(OwnRequestEnded(5, was_challenged=True))
        assert space.trial == trial.own_request_ended()
    assert space.phase is expected
    assert space.doubt == (Doubt(unanswered=1) if expected is P.TRUSTED else doubt)


def test_an_own_request_is_overdue_from_its_deadline() -> None:
    trial = Trial(own_request=5, own_deadline=NOW + 0.1)
    space = space_state(P.UNVERIFIED, current=ACCEPTED, doubt=Doubt(unanswered=2), trial=trial)
    own_requests(desk_state(space)).expire(space)
    assert (space.trial, space.phase) == (trial, P.UNVERIFIED)


CLOSED: list[Effect] = [NotifyPromptClosed(7, Ending.ABANDONED)]
CHANGED: list[Effect] = [NotifyPromptChanged(7)]


@pytest.mark.parametrize(
    ("changes", "was_challenged", "effects", "reason"),
    [
        ({}, False, CLOSED, PromptReason.NEEDED),
        ({}, True, CHANGED, PromptReason.UNCHECKED),
        ({"parked": parked(TARGET)}, True, CHANGED, PromptReason.NEEDED),
        ({"parked": parked(TARGET)}, False, CHANGED, PromptReason.NEEDED),
        ({"current": ACCEPTED}, True, CHANGED, PromptReason.NEEDED),
        ({"phase": P.PROMPTING}, True, CHANGED, PromptReason.NEEDED),
        ({"trial": Trial(own_request=5, record_number=1)}, True, CHANGED, PromptReason.NEEDED),
        ({"trial": Trial(own_request=5, record_number=1)}, False, CHANGED, PromptReason.NEEDED),
    ],
)
def test_the_prompt_after_an_own_request_without_a_verdict(
    changes: dict[str, Any], was_challenged: bool, effects: list[Effect], reason: PromptReason
) -> None:
    parts = {"current": CURRENT, "trial": Trial(own_request=5), "prompt": OPEN, **changes}
    space = space_state(**{"phase": P.UNVERIFIED, **parts})
    state = desk_state(space)
    own_requests(state).handle_ended(OwnRequestEnded(5, was_challenged))
    assert state.effects == effects
    assert space.prompt.reason is reason


@pytest.mark.parametrize(
    ("current", "can_send_own", "is_sent"),
    [(ACCEPTED, True, True), (ACCEPTED, False, False), (SSO, True, False)],
)
def test_an_own_request_finds_out_whether_the_login_is_the_reason_for_silence(
    current: CurrentLogin, can_send_own: bool, is_sent: bool
) -> None:
    doubt = Doubt(unanswered=1, is_overdue=True, in_flight={3: TARGET})
    space = space_state(P.TRUSTED, current=current, doubt=doubt)
    state = desk_state(space, can_send_own=can_send_own)
    own_requests(state).verify_after_silence(space)
    assert state.effects == ([SendOwnRequest(1, OFFICE, "")] if is_sent else [])
    assert space.phase is (P.UNVERIFIED if is_sent else P.TRUSTED)
    sent = doubt.after_silence(LIMITS).own_request_sent("")
    assert space.doubt == (sent if is_sent else doubt)


# --- No response and inconclusive responses ------------------------------------------------------


def no_response(space: SpaceState, event: NoResponse, **state: Any) -> DeskState:
    found = desk_state(space, **state)
    verification(found).handle_no_response(event)
    return found


IN_FLIGHT = Doubt(in_flight={3: TARGET})
LOST = Doubt(unanswered=1, inconclusive_hosts=frozenset({"github.com"}))


@pytest.mark.parametrize(
    ("changes", "event", "phase", "doubt", "is_cancelled"),
    [
        # A canary.
        ({}, NoResponse(LOGIN_ID, False, 3), P.UNVERIFIED, Doubt(), True),
        ({}, NoResponse(LOGIN_ID, True, 3), P.UNVERIFIED, Doubt(unanswered=1), False),
        ({}, NoResponse(LOGIN_ID, True, 4), P.CHECKING, IN_FLIGHT, False),
        ({}, NoResponse(LOGIN_ID, False, 4), P.CHECKING, IN_FLIGHT, False),
        ({}, NoResponse(LoginId(SPACE, 0), False, 3), P.CHECKING, IN_FLIGHT, False),
        ({"current": ACCEPTED}, NoResponse(LOGIN_ID, False, 3), P.UNVERIFIED, Doubt(), False),
        ({"current": SSO}, NoResponse(LOGIN_ID, False, 3), P.UNVERIFIED, Doubt(), False),
        (
            {"current": replace(SSO, accepted_at=CURRENT.accepted_at)},
            NoResponse(LOGIN_ID, False, 3),
            P.UNVERIFIED,
            Doubt(),
            False,
        ),
        # A request with a trusted login.
        ({"phase": P.TRUSTED}, NoResponse(LOGIN_ID, True, 3), P.TRUSTED, LOST, False),
        ({"phase": P.TRUSTED}, NoResponse(LOGIN_ID, False, 3), P.TRUSTED, Doubt(), False),
        (
            {"phase": P.TRUSTED},
            NoResponse(LOGIN_ID, True, 0),
            P.TRUSTED,
            replace(IN_FLIGHT, unanswered=1),
            False,
        ),
        (
            {"phase": P.TRUSTED, "doubt": Doubt(unanswered=1)},
            NoResponse(LOGIN_ID, True, 0),
            P.TRUSTED,
            Doubt(unanswered=1),
            False,
        ),
        ({"phase": P.UNVERIFIED}, NoResponse(LOGIN_ID, True, 3), P.UNVERIFIED, Doubt(), False),
    ],
)
def test_a_request_without_a_response(
    changes: dict[str, Any], event: NoResponse, phase: SpacePhase, doubt: Doubt, is_cancelled: bool
) -> None:
    is_trusted = changes.get("phase") is P.TRUSTED
    current = ACCEPTED if is_trusted else CURRENT
    parts = {"phase": P.CHECKING, "current": current, "doubt": IN_FLIGHT, **changes}
    space = space_state(**parts)
    state = no_response(space, event)
    assert (space.phase, space.doubt) == (phase, doubt)
    assert state.effects == ([CancelTrial(SPACE.upstream_id, RIGHT)] if is_cancelled else [])


@pytest.mark.parametrize(("unanswered", "is_sent"), [(0, False), (1, True)])
def test_an_own_request_follows_the_second_missing_response(unanswered: int, is_sent: bool) -> None:
    doubt = replace(IN_FLIGHT, unanswered=unanswered)
    space = space_state(P.TRUSTED, current=ACCEPTED, doubt=doubt)
    state = no_response(space, NoResponse(LOGIN_ID, True, 3))
    assert state.effects == ([SendOwnRequest(1, OFFICE, "")] if is_sent else [])


def test_the_end_of_a_request_with_a_replaced_login_ends_its_pending_verdict() -> None:
    current = replace(CURRENT, generation=2, pending_verdicts={1: RIGHT})
    for handle in ("handle_no_response", "handle_unproved"):
        space = space_state(P.CHECKING, current=current, doubt=IN_FLIGHT)
        event = (
            NoResponse(LOGIN_ID, True, 9)
            if handle == "handle_no_response"
            else LoginUnproved(LOGIN_ID, TARGET, True, 9)
        )
        state = desk_state(space)
        getattr(verification(state), handle)(event)
        assert space.current == replace(current, pending_verdicts={})
        assert (space.phase, space.doubt, state.effects) == (P.CHECKING, IN_FLIGHT, [])


@pytest.mark.parametrize(
    ("changes", "is_doubtful", "permit", "phase", "doubt"),
    [
        ({}, True, 3, P.UNVERIFIED, LOST),
        ({}, False, 3, P.UNVERIFIED, replace(LOST, unanswered=0)),
        ({}, True, 4, P.CHECKING, IN_FLIGHT),
        ({"phase": P.UNVERIFIED}, True, 3, P.UNVERIFIED, Doubt()),
        ({"current": ACCEPTED}, True, 3, P.TRUSTED, Doubt()),
        (
            {"current": ACCEPTED, "doubt": replace(IN_FLIGHT, unanswered=2)},
            True,
            3,
            P.TRUSTED,
            Doubt(unanswered=1),
        ),
        (
            {"current": ACCEPTED, "doubt": replace(IN_FLIGHT, refusals=1)},
            True,
            3,
            P.UNVERIFIED,
            Doubt(refusals=1),
        ),
    ],
)
def test_an_inconclusive_response(
    changes: dict[str, Any], is_doubtful: bool, permit: int, phase: SpacePhase, doubt: Doubt
) -> None:
    space = space_state(**{"phase": P.CHECKING, "current": CURRENT, "doubt": IN_FLIGHT, **changes})
    state = desk_state(space)
    verification(state).handle_unproved(LoginUnproved(LOGIN_ID, TARGET, is_doubtful, permit))
    assert (space.phase, space.doubt, state.effects) == (phase, doubt, [])


@pytest.mark.parametrize(("unanswered", "phase"), [(1, P.UNVERIFIED), (2, P.PROMPTING)])
def test_the_third_inconclusive_response_in_a_row_opens_a_prompt(
    unanswered: int, phase: SpacePhase
) -> None:
    doubt = replace(IN_FLIGHT, unanswered=unanswered)
    space = space_state(P.CHECKING, current=CURRENT, doubt=doubt)
    verification(desk_state(space)).handle_unproved(LoginUnproved(LOGIN_ID, TARGET, True, 3))
    assert (space.phase, space.doubt.unanswered) == (phase, unanswered + 1)


# --- Deadlines -----------------------------------------------------------------------------------


CANARY = Trial().canary_sent(TARGET, "basic", NOW, LIMITS)
OVERDUE_AT, LOST_AT = NOW + LIMITS.canary_overdue, NOW + LIMITS.canary_timeout


@pytest.mark.parametrize(
    ("now", "current", "phase", "trial", "reason"),
    [
        (OVERDUE_AT - 0.1, CURRENT, P.CHECKING, CANARY, PromptReason.NEEDED),
        (OVERDUE_AT, CURRENT, P.CHECKING, CANARY.canary_overdue(), PromptReason.UNCHECKED),
        (OVERDUE_AT, ACCEPTED, P.UNVERIFIED, CANARY.canary_ended(), PromptReason.NEEDED),
        (LOST_AT, CURRENT, P.PROMPTING, CANARY.canary_ended(), PromptReason.UNCHECKED),
    ],
)
def test_an_overdue_canary_is_reported_and_a_lost_canary_is_given_up(
    now: float, current: CurrentLogin, phase: SpacePhase, trial: Trial, reason: PromptReason
) -> None:
    space = space_state(P.CHECKING, current=current, trial=CANARY, prompt=OPEN)
    state = desk_state(space)
    state.now = now
    verification(state).expire(space)
    assert (space.phase, space.trial, space.prompt.reason) == (phase, trial, reason)
    if phase is P.PROMPTING:
        assert space.doubt.unanswered == LIMITS.unanswered_max
        assert space.lookup.hold_until == now + LIMITS.login_holds[0]


@pytest.mark.parametrize("is_overdue", [False, True])
def test_a_record_is_overdue_from_its_deadline(is_overdue: bool) -> None:
    trial = Trial().recording(1, NOW if is_overdue else NOW + 0.1)
    space = space_state(P.UNVERIFIED, trial=trial, prompt=OPEN)
    state = desk_state(space)
    verification(state).expire(space)
    assert space.trial.is_record_overdue is is_overdue
    reason = PromptReason.UNRECORDED if is_overdue else PromptReason.NEEDED
    assert space.prompt == PromptState(OPEN.method, open=OPEN.open, reason=reason)
    assert state.effects == (CHANGED if is_overdue else [])


@pytest.mark.parametrize(
    ("source", "retry_rejected", "is_automatic"),
    [
        (LoginSource.TYPED, True, False),
        (LoginSource.SAVED, False, True),
        (LoginSource.COMMAND_LINE, False, True),
    ],
)
def test_a_new_login_is_recorded_before_it_is_sent(
    source: LoginSource, retry_rejected: bool, is_automatic: bool
) -> None:
    current = replace(CURRENT, source=source, retry_rejected=retry_rejected)
    space = space_state(P.UNVERIFIED, current=current, parked=parked(TARGET))
    space.parked[11] = replace(space.parked[11], offers=(BASIC,))
    state = desk_state(space)
    verifies = verification(state)
    verifies.sweep()
    verifies.sweep()
    record = RecordTrial(1, SPACE.upstream_id, RIGHT, retry_rejected, is_automatic)
    assert state.effects == [record]
    assert space.trial == Trial().recording(1, NOW + LIMITS.record_timeout)
    verifies.handle_recorded(TrialRecorded(1, SPACE.upstream_id, RIGHT))
    verifies.sweep()
    assert state.effects == [record, ReleaseRequest(11, LOGIN_ID, "basic")]
    assert (space.phase, space.parked) == (P.CHECKING, {})
    assert space.doubt == Doubt(in_flight={11: TARGET})


@pytest.mark.parametrize(
    ("is_rejected", "hold_s", "is_cancelled"),
    [(False, 0.0, True), (True, 0.0, False), (False, 0.1, False)],
)
def test_the_record_of_a_replaced_login_is_removed(
    is_rejected: bool, hold_s: float, is_cancelled: bool
) -> None:
    state = desk_state(space_state(P.UNVERIFIED, trial=Trial(record_number=2)))
    event = TrialRecorded(1, SPACE.upstream_id, RIGHT, is_rejected, hold_s)
    verification(state).handle_recorded(event)
    assert state.effects == ([CancelTrial(SPACE.upstream_id, RIGHT)] if is_cancelled else [])
