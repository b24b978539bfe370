"""Tests for trayproxy.desk.machine.outcomes: acceptances, refusals and missing verdicts, for each
state of a protection space."""

from dataclasses import replace
from typing import Any

import pytest

from tests.desk.machine_driver import BASIC, NTLM, OFFICE, SPACE, desk_state, space_state
from tests.support.values import RIGHT, WRONG
from trayproxy.auth.scheme import Verdict, VerdictKind
from trayproxy.desk.machine.current_login import CurrentLogin, Doubt, LoginSource, Trial
from trayproxy.desk.machine.events import (
    ClearRejection,
    Effect,
    LoginAccepted,
    NotifyPromptChanged,
    NotifyPromptClosed,
    RecordFingerprint,
    RecordRejection,
    RefuseRequest,
    ReleaseRequest,
    SaveLoginToKeyring,
    TriedLogin,
)
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.machine.outcomes import Acceptances, Outcomes
from trayproxy.desk.machine.prompt_state import OpenPrompt
from trayproxy.desk.machine.prompts import Prompts
from trayproxy.desk.machine.space_state import Lookup, ParkedRequest, SpacePhase
from trayproxy.desk.machine.state import DeskState
from trayproxy.desk.protection_space import LoginId, UpstreamFingerprint
from trayproxy.domain.signin import Ending, PromptReason, RefusalReason

NOW = 1000.0
LIMITS = DeskLimits()
UPSTREAM_ID = SPACE.upstream_id
OTHER_REALM = replace(SPACE, realm="Lab")
LOGIN_ID = LoginId(SPACE, 1)
CURRENT = CurrentLogin(RIGHT, LoginSource.TYPED, generation=1)
ACCEPTED = replace(CURRENT, accepted_at=900.0)
SSO = CurrentLogin(None, LoginSource.SSO, generation=1)
TARGET = "github.com:443"
PROMPT = space_state().prompt
OPEN = replace(PROMPT, open=OpenPrompt(7))
CHANGED = replace(PROMPT, reason=PromptReason.DOWNGRADE)
IN_FLIGHT = Doubt(in_flight={3: TARGET})
P = SpacePhase
CLEARED: list[Effect] = [
    ClearRejection(UPSTREAM_ID, RIGHT),
    RecordFingerprint(UPSTREAM_ID, UpstreamFingerprint("basic", ("Corp",))),
]


# --- Acceptances ---------------------------------------------------------------------------------


def accept(state: DeskState, target: str = TARGET, permit: int = 3) -> list[Effect]:
    """Accept the first login of `SPACE` and return the effects."""
    accepted = LoginAccepted(LOGIN_ID, "basic", "basic", target, permit)
    Acceptances(state, Prompts(state)).record(accepted)
    return state.effects


SECOND = replace(CURRENT, generation=2)


@pytest.mark.parametrize(
    ("changes", "phase"),
    [
        ({}, P.TRUSTED),
        ({"phase": P.UNVERIFIED}, P.TRUSTED),
        ({"phase": P.PROMPTING}, P.TRUSTED),
        ({"phase": P.NO_LOGIN}, None),
        ({"phase": P.LOOKING_UP}, None),
        ({"phase": P.SNOOZED}, None),
        ({"current": CurrentLogin(generation=1)}, None),
        # Another login.
        ({"current": SECOND}, None),
        ({"current": replace(SECOND, pending_verdicts={1: RIGHT})}, P.TRUSTED),
        ({"current": replace(SECOND, pending_verdicts={1: WRONG})}, None),
        ({"current": replace(SSO, generation=2)}, None),
        # A login accepted before.
        ({"current": ACCEPTED}, P.TRUSTED),
        ({"current": ACCEPTED, "doubt": Doubt()}, None),
        ({"current": ACCEPTED, "doubt": Doubt(), "phase": P.TRUSTED}, P.TRUSTED),
        ({"current": ACCEPTED, "doubt": Doubt(unanswered=1), "phase": P.TRUSTED}, None),
        (
            {
                "current": ACCEPTED,
                "doubt": Doubt(unanswered=1, is_overdue=True),
                "phase": P.TRUSTED,
            },
            P.TRUSTED,
        ),
        # The upstream has changed.
        ({"phase": P.PROMPTING, "prompt": CHANGED}, P.PROMPTING),
        ({"prompt": CHANGED}, P.TRUSTED),
    ],
)
def test_an_acceptance_counts_for_the_current_login(
    changes: dict[str, Any], phase: SpacePhase | None
) -> None:
    parts = {"phase": P.CHECKING, "current": CURRENT, "doubt": IN_FLIGHT, **changes}
    space = space_state(**parts, seen_at=0.0)
    effects = accept(desk_state(space))
    is_new = phase is P.TRUSTED and parts["phase"] is not P.TRUSTED
    assert effects == (CLEARED if is_new else [])
    if phase is None:
        assert (space.phase, space.doubt, space.seen_at) == (parts["phase"], parts["doubt"], 0.0)
    else:
        assert (space.phase, space.doubt, space.seen_at) == (phase, Doubt(), NOW)
        assert space.current.accepted_at == NOW
        assert space.current.scheme == "basic"
    assert 1 not in space.current.pending_verdicts


@pytest.mark.parametrize(
    ("changes", "target", "expected"),
    [
        ({}, TARGET, (TARGET,)),
        ({}, "", ("canary.example:1",)),
        ({"phase": P.UNVERIFIED}, "", ()),
        ({"current": replace(SECOND, pending_verdicts={1: RIGHT})}, TARGET, ()),
    ],
)
def test_the_target_of_an_accepted_request(
    changes: dict[str, Any], target: str, expected: tuple[str, ...]
) -> None:
    hosts = {"github.com": NOW, "canary.example": NOW, "b.example": NOW}
    space = space_state(
        **{"phase": P.CHECKING, "current": CURRENT, **changes},
        trial=Trial(canary_target="canary.example:1", rejecting_target=TARGET, is_blocked=True),
        forbidden_hosts=dict(hosts),
    )
    accept(desk_state(space), target)
    assert space.current.accepted_targets == expected
    forgotten = {each.rpartition(":")[0] for each in expected}
    assert set(space.forbidden_hosts) == hosts.keys() - forgotten
    assert space.trial == Trial(canary_target="canary.example:1")


@pytest.mark.parametrize("remember", [True, False])
def test_a_login_to_be_remembered_is_saved_once_it_is_accepted(remember: bool) -> None:
    current = replace(CURRENT, remember=remember)
    prompt = replace(OPEN, reason=PromptReason.TYPED_REJECTED, weaker_refusal="Weaker.")
    prompt = replace(prompt, rejection_times=(NOW,), is_repeated=True, may_retry_rejected=True)
    space = space_state(P.CHECKING, current=current, prompt=prompt)
    saved: list[Effect] = [SaveLoginToKeyring(OFFICE, RIGHT)] if remember else []
    closed = NotifyPromptClosed(7, Ending.ACCEPTED)
    assert accept(desk_state(space)) == [*CLEARED, *saved, closed]
    assert space.current.source is (LoginSource.SAVED if remember else LoginSource.TYPED)
    assert not space.current.remember
    assert space.prompt == replace(PROMPT, user="jdoe")


def test_an_acceptance_releases_requests_with_the_accepted_scheme() -> None:
    requests = {
        5: ParkedRequest(5, NOW, "a.example:1", None, (NTLM, BASIC)),
        6: ParkedRequest(6, NOW, "b.example:1", None, (BASIC,), was_refused=True),
        7: ParkedRequest(7, NOW, "c.example:1", None, (NTLM,)),
        8: ParkedRequest(
            8, NOW, "d.example:1", None, (BASIC,), refused_with=frozenset({(LOGIN_ID, BASIC.name)})
        ),
    }
    space = space_state(P.CHECKING, current=CURRENT, parked=requests)
    space.forbidden_hosts = {f"{number}.example": 0.0 for number in range(LIMITS.forbidden_max)}
    assert accept(desk_state(space)) == [
        *CLEARED,
        ReleaseRequest(5, LOGIN_ID, "basic"),
        RefuseRequest(6, RefusalReason.FORBIDDEN),
    ]
    assert list(space.parked) == [7, 8]
    assert len(space.forbidden_hosts) == LIMITS.forbidden_max
    assert "0.example" not in space.forbidden_hosts
    assert space.forbidden_hosts["b.example"] == NOW


@pytest.mark.parametrize(
    ("changes", "realms", "expected"),
    [
        ({}, None, ("Corp",)),
        ({}, ("Old", "Corp"), ("Old", "Corp")),
        ({}, ("Old",), ("Old",)),
        ({"source": LoginSource.SAVED}, ("Old", "Corp"), ("Corp", "Old")),
        ({"source": LoginSource.SAVED}, tuple("abcdefgh"), ("Corp", *"abcdefg")),
        ({"remember": True}, ("Old",), ("Corp", "Lab")),
        ({"remember": True}, None, ("Corp", "Lab")),
    ],
)
def test_the_fingerprint_of_an_upstream_names_the_realms_of_the_saved_login(
    changes: dict[str, Any], realms: tuple[str, ...] | None, expected: tuple[str, ...]
) -> None:
    space = space_state(P.CHECKING, current=replace(CURRENT, **changes))
    others = [
        space_state(phase, key=replace(SPACE, realm=realm), current=CurrentLogin(login))
        for realm, phase, login in (
            ("Lab", P.TRUSTED, RIGHT),
            ("Untrusted", P.CHECKING, RIGHT),
            ("Other", P.TRUSTED, WRONG),
        )
    ]
    state = desk_state(space, *others)
    if realms is not None:
        state.fingerprints[UPSTREAM_ID] = UpstreamFingerprint("ntlm", realms)
    accept(state)
    assert state.fingerprints == {UPSTREAM_ID: UpstreamFingerprint("basic", expected)}


def test_an_unchanged_fingerprint_is_not_recorded_again() -> None:
    state = desk_state(space_state(P.CHECKING, current=CURRENT), fingerprint="basic")
    assert accept(state) == CLEARED[:1]


# --- Refusals ------------------------------------------------------------------------------------


def outcomes(state: DeskState, front_ends: int = 1) -> Outcomes:
    prompts = Prompts(state)
    prompts.set_front_ends(front_ends)
    return Outcomes(state, prompts)


UNUSABLE = Verdict(VerdictKind.UNUSABLE)


@pytest.mark.parametrize(
    ("pending", "verdict", "is_recorded"),
    [
        ({1: WRONG}, None, True),
        ({1: WRONG}, Verdict(VerdictKind.REJECTED), True),
        ({1: WRONG}, UNUSABLE, False),
        ({2: WRONG}, None, False),
    ],
)
def test_a_late_rejection_is_recorded_once(
    pending: dict[int, Any], verdict: Verdict | None, is_recorded: bool
) -> None:
    space = space_state(P.UNVERIFIED, current=replace(CURRENT, pending_verdicts=pending))
    state = desk_state(space)
    for _ in range(2):
        outcomes(state).record_late_rejection(TriedLogin(LOGIN_ID, "basic", verdict))
    assert state.effects == ([RecordRejection(UPSTREAM_ID, WRONG)] if is_recorded else [])
    assert state.is_rejected(UPSTREAM_ID, WRONG) is is_recorded
    assert 1 not in space.current.pending_verdicts


TRIED = TriedLogin(LOGIN_ID, "basic", permit=3)
LATE = TriedLogin(LOGIN_ID, "basic", permit=9)
UNCHECKED = TriedLogin(LOGIN_ID, "basic", UNUSABLE, permit=3)
PARKED = {5: ParkedRequest(5, NOW, TARGET, None)}
ABANDONED = NotifyPromptClosed(7, Ending.ABANDONED)


@pytest.mark.parametrize(
    ("changes", "tried", "front_ends", "phase", "doubt", "effects"),
    [
        ({}, TRIED, 1, P.PROMPTING, IN_FLIGHT, [ABANDONED]),
        ({"parked": PARKED}, TRIED, 1, P.PROMPTING, IN_FLIGHT, [NotifyPromptChanged(7)]),
        ({}, LATE, 1, P.PROMPTING, IN_FLIGHT, [ABANDONED]),
        ({"phase": P.UNVERIFIED}, TRIED, 1, P.PROMPTING, IN_FLIGHT, [ABANDONED]),
        ({"phase": P.TRUSTED}, TRIED, 1, P.TRUSTED, IN_FLIGHT, []),
        ({"phase": P.PROMPTING}, TRIED, 1, P.PROMPTING, IN_FLIGHT, []),
        ({}, UNCHECKED, 1, P.UNVERIFIED, IN_FLIGHT, [NotifyPromptChanged(7), ABANDONED]),
        ({"parked": PARKED}, UNCHECKED, 1, P.UNVERIFIED, IN_FLIGHT, [NotifyPromptChanged(7)]),
        ({"phase": P.UNVERIFIED}, UNCHECKED, 1, P.UNVERIFIED, IN_FLIGHT, [ABANDONED]),
        ({"phase": P.UNVERIFIED, "parked": PARKED}, UNCHECKED, 1, P.UNVERIFIED, IN_FLIGHT, []),
        # Without a front end.
        ({}, TRIED, 0, P.UNVERIFIED, replace(IN_FLIGHT, unanswered=1), [NotifyPromptChanged(7)]),
        ({"phase": P.UNVERIFIED}, TRIED, 0, P.UNVERIFIED, IN_FLIGHT, []),
        # The own sign-in.
        (
            {"current": SSO},
            TRIED,
            1,
            P.UNVERIFIED,
            replace(IN_FLIGHT, unanswered=1),
            [NotifyPromptChanged(7)],
        ),
        # An accepted login.
        (
            {"current": ACCEPTED},
            TRIED,
            1,
            P.UNVERIFIED,
            replace(IN_FLIGHT, refusals=1),
            [NotifyPromptChanged(7)],
        ),
        ({"current": ACCEPTED}, LATE, 1, P.CHECKING, IN_FLIGHT, []),
        ({"current": ACCEPTED}, UNCHECKED, 1, P.UNVERIFIED, IN_FLIGHT, [NotifyPromptChanged(7)]),
        (
            {"current": ACCEPTED, "doubt": replace(IN_FLIGHT, refusals=1)},
            TRIED,
            1,
            P.UNVERIFIED,
            replace(IN_FLIGHT, refusals=2),
            [NotifyPromptChanged(7)],
        ),
        (
            {"current": ACCEPTED, "doubt": replace(IN_FLIGHT, refusals=2)},
            TRIED,
            0,
            P.PROMPTING,
            IN_FLIGHT,
            [ABANDONED],
        ),
    ],
)
def test_a_refusal_by_another_realm(
    changes: dict[str, Any],
    tried: TriedLogin,
    front_ends: int,
    phase: SpacePhase,
    doubt: Doubt,
    effects: list[Effect],
) -> None:
    parts = {"phase": P.CHECKING, "current": CURRENT, "doubt": IN_FLIGHT, **changes}
    space = space_state(**parts, prompt=OPEN)
    state = desk_state(space)
    outcomes(state, front_ends).handle_other_realm(tried, OTHER_REALM)
    assert (space.phase, space.doubt, state.effects) == (phase, doubt, effects)


def test_a_refusal_by_another_upstream_or_with_a_replaced_login_changes_nothing() -> None:
    other_upstream = replace(SPACE, upstream_id=UPSTREAM_ID._replace(upstream="http://b:1"))
    for tried, key in (
        (TRIED, other_upstream),
        (TriedLogin(LoginId(SPACE, 2), "basic", permit=3), OTHER_REALM),
    ):
        space = space_state(P.CHECKING, current=CURRENT, doubt=IN_FLIGHT)
        outcomes(desk_state(space)).handle_other_realm(tried, key)
        assert (space.phase, space.doubt) == (P.CHECKING, IN_FLIGHT)


@pytest.mark.parametrize(
    ("phase", "current", "verdict", "is_trial", "unanswered"),
    [
        (P.CHECKING, CURRENT, None, True, 1),
        (P.CHECKING, CURRENT, UNUSABLE, True, 0),
        (P.CHECKING, ACCEPTED, None, True, 0),
        (P.CHECKING, CURRENT, None, False, None),
        (P.UNVERIFIED, CURRENT, None, True, None),
    ],
)
def test_a_challenge_for_another_scheme_is_no_verdict(
    phase: SpacePhase,
    current: CurrentLogin,
    verdict: Verdict | None,
    is_trial: bool,
    unanswered: int | None,
) -> None:
    space = space_state(phase, current=current)
    tried = TriedLogin(LOGIN_ID, "basic", verdict)
    outcomes(desk_state(space)).handle_other_scheme(space, tried, is_trial=is_trial)
    assert space.phase is (phase if unanswered is None else P.UNVERIFIED)
    assert space.doubt == Doubt(unanswered=unanswered or 0)


@pytest.mark.parametrize(
    ("source", "kind", "reason"),
    [
        (LoginSource.SAVED, None, PromptReason.SAVED_REJECTED),
        (LoginSource.SAVED, VerdictKind.REJECTED, PromptReason.SAVED_REJECTED),
        (LoginSource.TYPED, None, PromptReason.TYPED_REJECTED),
        (LoginSource.COMMAND_LINE, None, PromptReason.TYPED_REJECTED),
        (LoginSource.TYPED, VerdictKind.UNCLEAR, PromptReason.UNCLEAR),
        (LoginSource.TYPED, VerdictKind.EXPIRED, PromptReason.EXPIRED),
        (LoginSource.SAVED, VerdictKind.LOCKED, PromptReason.LOCKED),
    ],
)
def test_the_prompt_after_a_rejection(
    source: LoginSource, kind: VerdictKind | None, reason: PromptReason
) -> None:
    doubt = Doubt(refusals=2, refused_hosts={"a": NOW}, in_flight={3: TARGET}, unanswered=1)
    prompt = replace(OPEN, is_repeated=True, may_retry_rejected=True)
    space = space_state(
        P.CHECKING, current=replace(CURRENT, source=source), doubt=doubt, prompt=prompt
    )
    state = desk_state(space)
    outcomes(state).reject(space, Verdict(kind) if kind else None)
    assert state.effects == [RecordRejection(UPSTREAM_ID, RIGHT), NotifyPromptChanged(7)]
    assert state.is_rejected(UPSTREAM_ID, RIGHT)
    assert (space.phase, space.doubt) == (P.PROMPTING, Doubt(unanswered=1))
    assert space.prompt == replace(
        OPEN,
        reason=reason,
        user="jdoe",
        rejection_times=(NOW,),
        is_account_locked=kind is VerdictKind.LOCKED,
        due_at=NOW + LIMITS.prompt_delay,
        needs_user=True,
    )


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (LoginSource.SAVED, PromptReason.SAVED_REJECTED),
        (LoginSource.TYPED, PromptReason.REPEATED),
        (LoginSource.COMMAND_LINE, PromptReason.TYPED_REJECTED),
    ],
)
def test_the_prompt_instead_of_a_login_rejected_before(
    source: LoginSource, reason: PromptReason
) -> None:
    space = space_state(P.UNVERIFIED, current=replace(CURRENT, source=source))
    outcomes(desk_state(space)).ask_for_another_login(space)
    assert (space.phase, space.prompt.reason, space.prompt.user) == (P.PROMPTING, reason, "jdoe")
    assert space.current.is_unsent
    assert space.prompt.is_repeated is (reason is PromptReason.REPEATED)


@pytest.mark.parametrize("phase", [P.TRUSTED, P.CHECKING, P.UNVERIFIED])
@pytest.mark.parametrize(("canary_scheme", "backed_off"), [("ntlm", "ntlm"), ("", "basic")])
def test_a_rejected_own_sign_in_has_no_prompt(
    phase: SpacePhase, canary_scheme: str, backed_off: str
) -> None:
    trial = Trial(canary_scheme=canary_scheme, canary_overdue_at=NOW, canary_lost_at=NOW)
    space = space_state(phase, current=replace(SSO, scheme="basic"), doubt=Doubt(refusals=2))
    space.trial = trial
    state = desk_state(space)
    outcomes(state).reject(space)
    assert (space.phase, space.doubt, state.effects) == (P.UNVERIFIED, Doubt(), [])
    assert (space.current.scheme, space.trial) == ("", Trial(canary_scheme=canary_scheme))
    (backoff,) = space.backoffs.items()
    assert backoff[0] == backed_off
    assert (backoff[1].until, backoff[1].failures) == (NOW + 60, 1)
    assert backoff[1].reason is RefusalReason.NOT_ACCEPTED


TOO_LARGE = Verdict(VerdictKind.UNUSABLE, "Too large.", lacks_content=True)
NO_TICKET = Verdict(VerdictKind.NO_TICKET)


@pytest.mark.parametrize(
    ("phase", "failures", "verdict", "is_offered", "is_trial", "expected"),
    [
        (P.TRUSTED, 0, UNUSABLE, True, False, (False, P.TRUSTED, 1)),
        (P.TRUSTED, 1, UNUSABLE, True, False, (False, P.TRUSTED, 2)),
        (P.TRUSTED, 2, UNUSABLE, True, False, (True, P.UNVERIFIED, 3)),
        (P.TRUSTED, 0, TOO_LARGE, True, False, (False, P.TRUSTED, 0)),
        (P.TRUSTED, 0, UNUSABLE, False, False, (True, P.UNVERIFIED, 0)),
        (P.TRUSTED, 0, NO_TICKET, True, False, (True, P.UNVERIFIED, 0)),
        (P.CHECKING, 0, UNUSABLE, True, True, (True, P.UNVERIFIED, 0)),
        (P.CHECKING, 0, UNUSABLE, True, False, (True, P.CHECKING, 0)),
        (P.PROMPTING, 0, UNUSABLE, True, True, (True, P.PROMPTING, 0)),
    ],
)
@pytest.mark.parametrize("current_scheme", ["basic", "ntlm"])
def test_an_unusable_scheme_is_backed_off(
    phase: SpacePhase,
    failures: int,
    verdict: Verdict,
    is_offered: bool,
    is_trial: bool,
    expected: tuple[bool, SpacePhase, int],
    current_scheme: str,
) -> None:
    doubt = Doubt(scheme_failures=failures)
    space = space_state(phase, doubt=doubt, current=replace(ACCEPTED, scheme=current_scheme))
    space.prompt = OPEN
    state = desk_state(space)
    is_backed_off = outcomes(state).handle_unusable_scheme(
        space, TriedLogin(LOGIN_ID, "basic"), verdict, is_offered=is_offered, is_trial=is_trial
    )
    assert (is_backed_off, space.phase, space.doubt.scheme_failures) == expected
    assert list(space.backoffs) == (["basic"] if is_backed_off else [])
    is_dropped = is_backed_off and current_scheme == "basic"
    assert space.current.scheme == ("" if is_dropped else current_scheme)
    assert state.effects == ([NotifyPromptChanged(7)] if space.phase is not phase else [])


# --- No verdict ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("current", "unanswered", "sent", "limit", "hold"),
    [
        (CURRENT, 0, True, None, None),
        (CURRENT, 1, False, None, None),
        (CURRENT, 1, True, None, 30),
        (CURRENT, 2, False, None, 30),
        (CURRENT, 1, True, 3, None),
        (CURRENT, 2, True, 3, 30),
        (CURRENT, 2, True, None, 900),
        (CURRENT, 9, True, None, 57600),
        (replace(CURRENT, source=LoginSource.SAVED), 1, True, None, 3600),
        (replace(CURRENT, source=LoginSource.SAVED), 3, True, None, 57600),
        (replace(CURRENT, source=LoginSource.SAVED), 9, True, None, 57600),
        (ACCEPTED, 1, True, None, None),
        (ACCEPTED, 2, True, None, 30),
        (replace(ACCEPTED, source=LoginSource.SAVED), 2, True, 9, 30),
        (SSO, 9, True, None, None),
    ],
)
def test_a_login_without_a_verdict_is_held_after_some_requests(
    current: CurrentLogin, unanswered: int, sent: bool, limit: int | None, hold: float | None
) -> None:
    trial = Trial(canary_overdue_at=NOW, canary_lost_at=NOW)
    space = space_state(P.CHECKING, current=current, trial=trial, prompt=OPEN)
    space.doubt = Doubt(unanswered=unanswered)
    state = desk_state(space)
    outcomes(state).keep_unverified(space, sent=sent, limit=limit)
    assert (space.trial, space.doubt) == (Trial(), Doubt(unanswered=unanswered + sent))
    assert state.effects == [NotifyPromptChanged(7)]
    if hold is None:
        assert (space.phase, space.lookup) == (P.UNVERIFIED, Lookup(NOW))
        reason = PromptReason.NEEDED if current.was_accepted else PromptReason.UNCHECKED
        assert space.prompt == replace(OPEN, reason=reason)
    else:
        assert space.phase is P.PROMPTING
        assert space.lookup == Lookup(NOW + LIMITS.locked_lookup_ttl, hold_until=NOW + hold)
        assert space.prompt.reason is PromptReason.UNCHECKED
