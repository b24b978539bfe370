"""The frozen parts of a protection space's state, as values."""

from dataclasses import MISSING, asdict, fields, replace
from math import inf
from typing import Any, get_args

import pytest

from tests.desk.machine_driver import BASIC, BASIC_METHOD, DIGEST, NTLM, OFFICE, SPACE, space_state
from tests.support.values import RIGHT, WRONG
from trayproxy.auth.login import Login
from trayproxy.desk.machine.current_login import CurrentLogin, Doubt, LoginSource, Trial
from trayproxy.desk.machine.events import (
    Effect,
    Event,
    LoginUnproved,
    NoResponse,
    OfferedScheme,
    ProfileDeleted,
    TriedLogin,
    UpstreamSilent,
)
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.machine.prompt_state import OpenPrompt, PromptState
from trayproxy.desk.machine.queries import ProfileFacts
from trayproxy.desk.machine.space_state import (
    Lookup,
    ParkedRequest,
    SchemeBackoff,
    SpacePhase,
    SpaceState,
)
from trayproxy.domain.signin import PromptReason, SignInState

LIMITS = DeskLimits()
TARGET = "github.com:443"
PROMPT = PromptState(BASIC_METHOD)


# --- Defaults ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part",
    [
        CurrentLogin,
        Doubt,
        Lookup,
        OpenPrompt,
        ParkedRequest,
        ProfileFacts,
        PromptState,
        SchemeBackoff,
        Trial,
    ],
)
def test_a_new_part_states_nothing(part: type) -> None:
    nothing = {False, "", None, (), frozenset(), inf, -inf}
    first = {LoginSource.SAVED, PromptReason.NEEDED, SignInState.UNTESTED}
    assert {field.default for field in fields(part)} - {MISSING} <= nothing | first


def test_the_defaults_of_events_and_effects() -> None:
    kinds: tuple[Any, ...] = (TriedLogin, *get_args(Event), *get_args(Effect))
    defaults = {kind: [each for each in kind.__struct_defaults__ if each] for kind in kinds}
    assert {kind: found for kind, found in defaults.items() if found} == {
        TriedLogin: [True],
        LoginUnproved: [True],
        NoResponse: [True],
        UpstreamSilent: [1],
        ProfileDeleted: [True],
    }


def test_the_limits_of_the_specification() -> None:
    assert asdict(LIMITS) == {
        "prompt_delay": 0.15,
        "canary_overdue": 10,
        "canary_timeout": 300,
        "send_interval": 2,
        "own_requests_max": 2,
        "lookup_timeout": 8,
        "parked_timeout": 300,
        "cancel_snooze": 60,
        "not_now_snooze": 900,
        "rejection_window": 600,
        "refusal_window": 60,
        "forbidden_ttl": 600,
        "proof_ttl": 15,
        "front_end_grace": 30,
        "prompt_attention": 300,
        "lookup_ttl": 5,
        "locked_lookup_ttl": 900,
        "survey_interval": 1,
        "realm_ttl": 600,
        "scheme_backoff": (60, 300, 900),
        "ticket_interval": 5,
        "kdc_interval": 3,
        "scheme_failures_max": 3,
        "record_timeout": 8,
        "unanswered_max": 2,
        "unproved_max": 3,
        "accepted_targets_max": 8,
        "saved_login_holds": (3600, 14400, 57600),
        "login_holds": (30, 900, 3600, 14400, 57600),
        "rejections_max": 3,
        "refusals_max": 3,
        "parked_max": 512,
        "programs_max": 20,
        "spaces_max": 64,
        "forbidden_max": 256,
    }


# --- The protection space ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "trial", "accepted_at", "reason", "expected"),
    [
        (SpacePhase.CHECKING, Trial(), -inf, PromptReason.NEEDED, True),
        (SpacePhase.CHECKING, Trial(), -inf, PromptReason.UNCHECKED, False),
        (SpacePhase.CHECKING, Trial(), -inf, PromptReason.UNRECORDED, False),
        (SpacePhase.CHECKING, Trial(), 1000.0, PromptReason.NEEDED, False),
        (SpacePhase.UNVERIFIED, Trial(), -inf, PromptReason.NEEDED, False),
        (SpacePhase.UNVERIFIED, Trial(own_request=1), -inf, PromptReason.NEEDED, True),
        (SpacePhase.UNVERIFIED, Trial(is_blocked=True), -inf, PromptReason.NEEDED, True),
        (SpacePhase.UNVERIFIED, Trial(record_number=1), -inf, PromptReason.NEEDED, True),
        (SpacePhase.PROMPTING, Trial(own_request=1), -inf, PromptReason.NEEDED, False),
    ],
)
def test_the_user_waits_for_the_verdict_on_a_new_login(
    phase: SpacePhase, trial: Trial, accepted_at: float, reason: PromptReason, expected: bool
) -> None:
    current = CurrentLogin(RIGHT, accepted_at=accepted_at)
    prompt = replace(PROMPT, reason=reason)
    space = space_state(phase, trial=trial, current=current, prompt=prompt)
    assert space.is_user_waiting is expected


@pytest.mark.parametrize(
    ("phase", "doubt", "age", "expected"),
    [
        (SpacePhase.TRUSTED, Doubt(), LIMITS.proof_ttl - 0.1, True),
        (SpacePhase.TRUSTED, Doubt(), LIMITS.proof_ttl, False),
        (SpacePhase.TRUSTED, Doubt(unanswered=1), 0.0, False),
        (SpacePhase.CHECKING, Doubt(), 0.0, False),
    ],
)
def test_an_acceptance_proves_a_login_for_15_seconds(
    phase: SpacePhase, doubt: Doubt, age: float, expected: bool
) -> None:
    space = space_state(phase, current=CurrentLogin(RIGHT, accepted_at=1000.0), doubt=doubt)
    assert space.is_proved(1000.0 + age, LIMITS) is expected


@pytest.mark.parametrize(
    ("accepted_at", "doubt", "expected"),
    [
        (1000.0, Doubt(refusals=1), True),
        (1000.0, Doubt(unanswered=1), True),
        (1000.0, Doubt(), False),
        (-inf, Doubt(refusals=1), False),
    ],
)
def test_only_an_accepted_login_is_in_doubt(
    accepted_at: float, doubt: Doubt, expected: bool
) -> None:
    current = CurrentLogin(RIGHT, accepted_at=accepted_at)
    space = space_state(SpacePhase.UNVERIFIED, current=current, doubt=doubt)
    assert space.is_in_doubt() is expected
    assert (space.sign_in is SignInState.OK) is (expected and doubt.refusals > 0)


def test_a_forbidden_host_is_remembered_for_ten_minutes() -> None:
    space = space_state(forbidden_hosts={"github.com": 1000.0})
    assert space.is_forbidden(TARGET, 1600.0, LIMITS)
    assert space.is_inconclusive("github.com:80", 1600.0, LIMITS)
    assert not space.is_forbidden(TARGET, 1600.1, LIMITS)
    assert not space.is_forbidden("b.example:443", 1000.0, LIMITS)
    assert space_state(doubt=Doubt().inconclusive(TARGET)).is_inconclusive(TARGET, 1000.0, LIMITS)


@pytest.mark.parametrize(
    "changes", [{"was_refused": True}, {"objection": PromptReason.DOWNGRADE}, {}]
)
def test_a_new_login_may_be_sent_on_every_parked_request(changes: dict[str, Any]) -> None:
    request = ParkedRequest(4, 1000.0, TARGET, None)
    space = space_state(parked={4: replace(request, **changes)})
    space.renew(RIGHT)
    assert space.parked == {4: request}
    assert space.current == CurrentLogin(RIGHT, generation=2)


# --- The current login ---------------------------------------------------------------------------


def test_a_new_login_starts_without_the_state_of_the_replaced_login() -> None:
    space = SpaceState(SPACE, OFFICE, 1000.0, PROMPT, Lookup(1000.0).started(7, 1008.0))
    space.renew(WRONG, LoginSource.TYPED)
    space.current = space.current.accepted(1001.0, "basic", "basic", TARGET, LIMITS)
    space.current = replace(space.current, consent=BASIC, remember=True, weaker_snoozed_until=inf)
    space.doubt = space.doubt.refused(TARGET, 1002.0).lost(TARGET).sent(3, TARGET)
    space.trial = space.trial.recording(1, 1010.0).canary_sent(TARGET, "basic", 1003.0, LIMITS)
    space.parked[4] = ParkedRequest(
        4, 1004.0, TARGET, None, was_refused=True, objection=PromptReason.DOWNGRADE
    )
    space.renew(RIGHT, LoginSource.SAVED, retry_rejected=True)
    assert space.current == CurrentLogin(RIGHT, LoginSource.SAVED, 2, retry_rejected=True)
    assert (space.doubt, space.trial, space.lookup) == (Doubt(), Trial(), Lookup(1000.0))
    assert space.parked == {4: ParkedRequest(4, 1004.0, TARGET, None)}


@pytest.mark.parametrize(
    ("phase", "was_accepted", "pending"),
    [
        (SpacePhase.CHECKING, False, {1: WRONG}),
        (SpacePhase.CHECKING, True, {}),
        (SpacePhase.UNVERIFIED, False, {}),
    ],
)
def test_a_login_replaced_while_its_canary_is_in_flight_has_a_pending_verdict(
    phase: SpacePhase, was_accepted: bool, pending: dict[int, Login]
) -> None:
    space = SpaceState(SPACE, OFFICE, 1000.0, PROMPT, Lookup(1000.0), phase=phase)
    space.renew(WRONG, LoginSource.TYPED)
    if was_accepted:
        space.current = space.current.accepted(1001.0, "basic", "basic", "", LIMITS)
    space.renew(RIGHT, LoginSource.TYPED)
    assert space.current.pending_verdicts == pending
    assert space.current.without_pending(1).pending_verdicts == {}
    assert space.current.without_pending(2) is space.current


def test_the_oldest_of_33_pending_verdicts_is_forgotten() -> None:
    current = CurrentLogin()
    for number in range(34):
        current = current.replaced(Login("jdoe", str(number)), LoginSource.TYPED, is_in_flight=True)
    assert sorted(current.pending_verdicts) == list(range(2, 34))


@pytest.mark.parametrize(
    ("offers", "scheme", "label"),
    [
        ((BASIC,), "basic", "basic"),
        ((BASIC, NTLM), "ntlm", "ntlm"),
        ((NTLM, BASIC), "ntlm", "ntlm"),
        ((DIGEST, NTLM, BASIC), "ntlm", "ntlm"),
    ],
)
def test_the_scheme_is_the_strongest_scheme_that_accepted_the_login(
    offers: tuple[OfferedScheme, ...], scheme: str, label: str
) -> None:
    current = CurrentLogin(RIGHT)
    assert (current.scheme, current.label, current.was_accepted) == ("", "", False)
    for offer in offers:
        current = current.accepted(1000.0, offer.scheme, offer.label, "", LIMITS)
    assert (current.scheme, current.label, current.was_accepted) == (scheme, label, True)


def test_the_scheme_of_an_acceptance_replaces_a_failed_scheme() -> None:
    current = CurrentLogin(RIGHT).accepted(1000.0, "ntlm", "ntlm", "", LIMITS)
    current = replace(current, scheme="").accepted(1001.0, "basic", "basic", "", LIMITS)
    assert (current.scheme, current.label) == ("basic", "basic")


def test_the_targets_of_the_last_acceptances_are_known() -> None:
    current, limits = CurrentLogin(RIGHT), DeskLimits(accepted_targets_max=2)
    for target in ("a.example:80", "b.example:80", "a.example:80", "c.example:443", ""):
        current = current.accepted(1000.0, "basic", "basic", target, limits)
    assert current.accepted_targets == ("a.example:80", "c.example:443")
    assert current.was_accepted_for("a.example:443")
    assert not current.was_accepted_for("b.example:80")


# --- Doubt ---------------------------------------------------------------------------------------


def test_a_lost_request_makes_its_host_inconclusive_and_ends_the_wait_for_its_response() -> None:
    silent = Doubt().silent(1, 1000.0, LIMITS)
    assert silent == Doubt(unanswered=1, is_overdue=True)
    assert silent.lost(None) == Doubt(unanswered=2)
    assert silent.lost(TARGET) == Doubt(unanswered=2, inconclusive_hosts=frozenset({"github.com"}))


def test_a_silent_upstream_delays_the_next_send_permit_once_the_limit_is_reached() -> None:
    assert Doubt().silent(5, 1000.0, LIMITS) == Doubt(
        unanswered=LIMITS.unanswered_max, is_overdue=True, last_permit_at=1000.0
    )


def test_only_requests_in_flight_return() -> None:
    doubt = Doubt().silent(1, 1000.0, LIMITS).permitted(3, TARGET, 1001.0).sent(4, "b.example:80")
    assert not doubt.is_overdue
    assert doubt.last_permit_at == 1001.0
    assert doubt.returned(3).in_flight == {4: "b.example:80"}
    assert doubt.returned(5) is doubt


def test_after_silence_the_hosts_of_all_requests_in_flight_are_inconclusive() -> None:
    doubt = Doubt(unanswered=1, is_overdue=True).sent(3, TARGET).sent(4, "b.example:80")
    doubt = doubt.after_silence(LIMITS)
    assert doubt.inconclusive_hosts == {"github.com", "b.example"}
    assert (doubt.unanswered, doubt.is_overdue) == (LIMITS.unanswered_max, False)
    assert Doubt(unanswered=9).after_silence(LIMITS).unanswered == 9


def test_a_login_is_doubted_less_once_an_own_request_got_no_407() -> None:
    doubt = Doubt(unanswered=3, own_requests_sent=2, refusals=1)
    assert doubt.without_silence() == Doubt(unanswered=1, refusals=1)


def test_a_refusal_counts_for_its_host_for_a_limited_time() -> None:
    doubt = Doubt().refused(TARGET, 1000.0)
    end = 1000.0 + LIMITS.refusal_window
    assert doubt.was_refused_lately("github.com:80", end, LIMITS)
    assert not doubt.was_refused_lately(TARGET, end + 0.1, LIMITS)
    assert not doubt.was_refused_lately("b.example:443", end, LIMITS)


def test_a_doubt_exists_after_a_refusal_or_a_missing_response() -> None:
    assert not Doubt(scheme_failures=1).refused(TARGET, 1000.0).exists
    assert Doubt(refusals=1).exists
    assert Doubt(unanswered=1).exists
    assert not Doubt(refusals=2).refused(TARGET, 1000.0).sent(3, TARGET).rejected().exists


# --- The trial -----------------------------------------------------------------------------------


def test_an_own_request_continues_with_a_new_login() -> None:
    trial = Trial().challenged(TARGET, is_own=False).own_request_sent(5, 1010.0)
    trial = replace(trial, is_blocked=True).challenged("", is_own=True).rejected(TARGET)
    assert trial.renewed() == Trial(
        own_request=5,
        own_deadline=1010.0,
        own_challenged=True,
        last_target=TARGET,
        rejecting_target=TARGET,
    )


def test_other_requests_wait_for_an_own_request_until_its_deadline() -> None:
    trial = Trial().own_request_sent(5, 1010.0)
    assert (trial.awaits_own_request, trial.is_pending, trial.deadline) == (True, True, 1010.0)
    overdue = trial.own_request_overdue()
    assert (overdue.awaits_own_request, overdue.is_pending, overdue.deadline) == (False, True, inf)
    assert trial.own_request_ended() == Trial(was_own_sent=True)
    assert not trial.own_request_ended().is_pending


def test_a_record_is_overdue_until_it_is_written() -> None:
    trial = Trial().recording(5, 1008.0)
    assert (trial.is_record_overdue, trial.deadline) == (False, 1008.0)
    overdue = trial.with_overdue_record()
    assert (overdue.is_record_overdue, overdue.deadline, overdue.is_pending) == (True, inf, True)
    assert overdue.recorded(may_send=True) == Trial(is_recorded=True)
    assert not Trial().is_record_overdue


@pytest.mark.parametrize(("is_overdue", "was_own_sent"), [(True, False), (False, True)])
def test_an_own_request_refused_for_an_overdue_record_is_sent_again(
    is_overdue: bool, was_own_sent: bool
) -> None:
    trial = Trial().own_request_sent(5, 1010.0).own_request_ended().recording(5, 1008.0)
    trial = trial.with_overdue_record() if is_overdue else trial
    assert trial.recorded(may_send=True).was_own_sent is was_own_sent


def test_the_canary_is_first_overdue_and_then_lost() -> None:
    trial = Trial(is_recorded=True).canary_sent(TARGET, "basic", 1000.0, LIMITS)
    assert (trial.canary_target, trial.canary_scheme, trial.is_recorded) == (TARGET, "basic", False)
    assert trial.deadline == 1000.0 + LIMITS.canary_overdue
    assert trial.canary_overdue().deadline == 1000.0 + LIMITS.canary_timeout
    assert trial.canary_ended().deadline == inf
    accepted = replace(trial, is_blocked=True, rejecting_target=TARGET).accepted()
    assert accepted == trial.canary_ended()


# --- The prompt ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (PromptReason.UNCHECKED, PromptReason.NEEDED),
        (PromptReason.UNRECORDED, PromptReason.NEEDED),
        (PromptReason.DOWNGRADE, PromptReason.NEEDED),
        (PromptReason.TYPED_REJECTED, PromptReason.TYPED_REJECTED),
        (PromptReason.KEYRING_LOCKED, PromptReason.KEYRING_LOCKED),
    ],
)
def test_a_new_login_ends_some_reasons_for_the_prompt(
    before: PromptReason, after: PromptReason
) -> None:
    prompt = replace(PROMPT, reason=before, user="other", is_account_locked=True)
    assert prompt.with_new_login(RIGHT) == replace(PROMPT, reason=after, user="jdoe")
    assert prompt.with_new_login(None).user == "other"


@pytest.mark.parametrize(
    ("reason", "is_waiting", "expected"),
    [
        (PromptReason.NEEDED, False, PromptReason.ASKED_FOR),
        (PromptReason.NEEDED, True, PromptReason.NEEDED),
        (PromptReason.REPEATED, False, PromptReason.REPEATED),
    ],
)
def test_a_requested_prompt_reports_a_rejection_or_waiting_requests_first(
    reason: PromptReason, is_waiting: bool, expected: PromptReason
) -> None:
    requested = replace(PROMPT, reason=reason).requested(is_waiting=is_waiting)
    assert requested == replace(PROMPT, reason=expected, may_retry_rejected=True)


def test_only_an_open_prompt_is_touched() -> None:
    assert PROMPT.touched(1000.0) == PROMPT
    assert PROMPT.opened(3).touched(1000.0).open == OpenPrompt(3, 1000.0, is_touched=True)


def test_three_rejections_in_ten_minutes_need_a_confirmation() -> None:
    prompt = replace(PROMPT, may_retry_rejected=True, is_repeated=True)
    for now in (1000.0, 1300.0, 1600.0):
        assert not prompt.may_lock_account(now, LIMITS)
        prompt = prompt.rejected("jdoe", now, is_account_locked=False)
    assert not prompt.may_retry_rejected
    assert prompt.needs_confirmation(1600.0, LIMITS)
    assert not prompt.needs_confirmation(1600.1, LIMITS)
    assert prompt.without_rejections() == replace(PROMPT, user="jdoe")


def test_a_locked_account_and_a_repeated_login_need_a_confirmation() -> None:
    locked = PROMPT.rejected("jdoe", 1000.0, is_account_locked=True)
    assert locked.needs_confirmation(1000.0, LIMITS)
    repeated = PROMPT.rejected_before("jdoe", PromptReason.REPEATED)
    assert repeated.needs_confirmation(1000.0, LIMITS)
    saved = PROMPT.rejected_before("jdoe", PromptReason.SAVED_REJECTED)
    assert not saved.needs_confirmation(1000.0, LIMITS)


@pytest.mark.parametrize("reason", PromptReason)
def test_a_prompt_waits_for_a_locked_or_silent_keyring_while_it_is_open(
    reason: PromptReason,
) -> None:
    prompt = replace(PROMPT, reason=reason)
    is_blocked = reason in (PromptReason.KEYRING_LOCKED, PromptReason.KEYRING_SILENT)
    assert prompt.opened(3).waits_for_keyring is is_blocked
    assert not prompt.waits_for_keyring


# --- The look-up ---------------------------------------------------------------------------------


def test_the_late_result_of_a_keyring_lookup_is_used_unless_the_lookup_was_cancelled() -> None:
    started = Lookup(1000.0).started(7, 1008.0)
    assert started.timed_out(1908.0) == Lookup(1908.0, number=7)
    assert started.finished(1005.0) == Lookup(1005.0)
    assert started.cancelled() == Lookup(1000.0)
