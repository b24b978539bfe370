"""Tests for trayproxy.desk.machine: actions of the user and look-ups, for each state of a
protection space."""

from dataclasses import replace
from math import inf
from typing import Any

import pytest

from tests.desk.machine_driver import (
    BASIC,
    BASIC_METHOD,
    NTLM,
    OFFICE,
    SPACE,
    desk_state,
    space_state,
)
from tests.support.values import LAB, RIGHT, WRONG
from trayproxy.auth.login import Login
from trayproxy.desk.machine import events
from trayproxy.desk.machine.credential_lookup import CredentialLookup
from trayproxy.desk.machine.current_login import CurrentLogin, Doubt, LoginSource, Trial
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.machine.prompt_state import OpenPrompt
from trayproxy.desk.machine.prompts import Prompts
from trayproxy.desk.machine.space_state import Lookup, ParkedRequest, SchemeBackoff, SpacePhase
from trayproxy.desk.machine.state import DeskState
from trayproxy.desk.machine.user_actions import UserActions
from trayproxy.desk.machine.verification import OwnRequests
from trayproxy.domain.signin import (
    Ending,
    KeyringState,
    KeyringStatus,
    PromptReason,
    RefusalReason,
    Snooze,
)
from trayproxy.profiles.profile import Encoding, Method, SignIn

NOW = 1000.0
LIMITS = DeskLimits()
UPSTREAM_ID = SPACE.upstream_id
OTHER_REALM = replace(SPACE, realm="Lab")
CURRENT = CurrentLogin(RIGHT, LoginSource.TYPED, generation=1)
ACCEPTED = replace(CURRENT, accepted_at=900.0)
SSO = CurrentLogin(None, LoginSource.SSO, generation=1)
PROMPT = space_state().prompt
OPEN = replace(PROMPT, open=OpenPrompt(7))
PARKED = {5: ParkedRequest(5, NOW, "github.com:443", None, (BASIC,))}
CHANGED = events.NotifyPromptChanged(7)
FAILED = {"ntlm": SchemeBackoff(NOW + 1, 1, RefusalReason.UNUSABLE)}
P = SpacePhase


def lookup(state: DeskState, front_ends: int = 1) -> CredentialLookup:
    prompts = Prompts(state)
    prompts.set_front_ends(front_ends)
    if not front_ends:
        state.now += LIMITS.front_end_grace
    return CredentialLookup(state, prompts)


def actions(state: DeskState) -> UserActions:
    prompts = Prompts(state)
    return UserActions(
        state, prompts, CredentialLookup(state, prompts), OwnRequests(state, prompts)
    )


# --- Prompts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "login", "generation", "reason"),
    [
        ({"phase": P.PROMPTING}, WRONG, 2, PromptReason.NEEDED),
        ({"phase": P.PROMPTING}, RIGHT, 2, PromptReason.NEEDED),
        ({"phase": P.CHECKING}, WRONG, 1, PromptReason.NEEDED),
        ({"phase": P.UNVERIFIED}, RIGHT, 1, PromptReason.NEEDED),
        ({"phase": P.UNVERIFIED}, WRONG, 2, PromptReason.NEEDED),
        ({"phase": P.UNVERIFIED, "current": ACCEPTED}, RIGHT, 2, PromptReason.NEEDED),
        (
            {"phase": P.UNVERIFIED, "current": CurrentLogin(RIGHT, generation=1)},
            RIGHT,
            2,
            PromptReason.NEEDED,
        ),
        ({"phase": P.PROMPTING, "rejected": WRONG}, WRONG, 1, PromptReason.REPEATED),
        (
            {"phase": P.PROMPTING, "rejected": RIGHT, "current": ACCEPTED},
            RIGHT,
            2,
            PromptReason.NEEDED,
        ),
        (
            {
                "phase": P.PROMPTING,
                "rejected": WRONG,
                "prompt": replace(OPEN, may_retry_rejected=True),
            },
            WRONG,
            2,
            PromptReason.NEEDED,
        ),
        (
            {"phase": P.PROMPTING, "rejected": WRONG, "prompt": replace(OPEN, is_repeated=True)},
            WRONG,
            2,
            PromptReason.NEEDED,
        ),
    ],
)
def test_an_answered_prompt(
    changes: dict[str, Any], login: Login, generation: int, reason: PromptReason
) -> None:
    parts = {"current": CURRENT, "prompt": OPEN, "parked": PARKED, **changes}
    rejected = parts.pop("rejected", None)
    space = space_state(**{**parts, "parked": dict(PARKED)})
    state = desk_state(space)
    if rejected:
        state.rejected.add(state.rejection_scopes(UPSTREAM_ID), rejected)
    actions(state).handle_answer(events.PromptAnswered(7, login, remember=True))
    assert (space.current.generation, space.prompt.reason) == (generation, reason)
    is_used = reason is PromptReason.NEEDED and parts["phase"] is not P.CHECKING
    assert space.current.remember is is_used
    assert (space.prompt.open != OpenPrompt(7)) is (parts["phase"] is not P.CHECKING)


@pytest.mark.parametrize(
    ("phase", "overdue_at"), [(P.CHECKING, NOW + LIMITS.canary_overdue), (P.UNVERIFIED, inf)]
)
def test_a_login_typed_again_continues_its_trial(phase: SpacePhase, overdue_at: float) -> None:
    trial = Trial(was_own_sent=True, canary_lost_at=NOW + 1)
    prompt = replace(OPEN, reason=PromptReason.UNCHECKED)
    space = space_state(phase, current=CURRENT, trial=trial, prompt=prompt, parked=dict(PARKED))
    state = desk_state(space)
    actions(state).handle_answer(events.PromptAnswered(7, RIGHT, remember=False))
    assert space.trial == Trial(canary_lost_at=NOW + 1, canary_overdue_at=overdue_at)
    assert space.prompt == replace(PROMPT, open=OpenPrompt(7, NOW, is_touched=True))
    assert state.effects == [CHANGED]


@pytest.mark.parametrize(
    ("phase", "source", "expected"),
    [
        (P.PROMPTING, LoginSource.TYPED, P.SNOOZED),
        (P.CHECKING, LoginSource.TYPED, P.SNOOZED),
        (P.CHECKING, LoginSource.SAVED, P.SNOOZED),
        (P.UNVERIFIED, LoginSource.TYPED, P.SNOOZED),
        (P.UNVERIFIED, LoginSource.SAVED, P.UNVERIFIED),
        (P.TRUSTED, LoginSource.TYPED, P.TRUSTED),
    ],
)
@pytest.mark.parametrize(
    ("snooze", "seconds"),
    [(Snooze.A_MINUTE, 60), (Snooze.A_WHILE, 900), (Snooze.UNTIL_CHOSEN, inf)],
)
def test_a_declined_prompt(
    phase: SpacePhase, source: LoginSource, expected: SpacePhase, snooze: Snooze, seconds: float
) -> None:
    current = replace(CURRENT, source=source)
    space = space_state(phase, current=current, prompt=OPEN, parked=dict(PARKED))
    state = desk_state(space)
    actions(state).handle_decline(7, snooze)
    closed = events.NotifyPromptClosed(7, Ending.DECLINED)
    if expected is P.SNOOZED:
        assert state.effects == [closed, events.RefuseRequest(5, RefusalReason.DECLINED)]
        assert space.prompt.snoozed_until == NOW + seconds
        assert space.prompt.snooze_ends_with_network is (snooze is not Snooze.A_MINUTE)
        assert (space.current.generation, space.login) == (2, None)
    else:
        assert (state.effects, space.current) == ([closed], current)
    assert space.phase is expected


@pytest.mark.parametrize("is_own_possible", [True, False])
@pytest.mark.parametrize("phase", [P.NO_LOGIN, P.UNVERIFIED, P.CHECKING, P.TRUSTED])
def test_the_own_sign_in_is_tried_again(phase: SpacePhase, is_own_possible: bool) -> None:
    profile = replace(OFFICE, sign_in=SignIn.SSO)
    space = space_state(phase, profile=profile, current=SSO, backoffs=dict(FAILED))
    state = desk_state(space, can_send_own=is_own_possible)
    actions(state).open_prompt(profile, BASIC_METHOD)
    is_sent = is_own_possible and phase in (P.NO_LOGIN, P.UNVERIFIED)
    assert state.effects == ([events.SendOwnRequest(1, profile, "")] if is_sent else [])
    assert space.phase is (P.UNVERIFIED if phase is P.NO_LOGIN else phase)
    assert space.backoffs == {}


def test_no_protection_space_is_added_to_a_full_desk() -> None:
    state = desk_state(space_state(P.CHECKING))
    state.limits = DeskLimits(spaces_max=1)
    actions(state).open_prompt(LAB, BASIC_METHOD)
    actions(state).use_login(events.LoginProvided(LAB, BASIC_METHOD, RIGHT))
    assert (list(state.spaces), state.effects) == ([SPACE], [])


OWN = {5: ParkedRequest(5, NOW, "", None, is_own=True)}
TOUCHED = replace(PROMPT, open=OpenPrompt(7, NOW, is_touched=True))
ABANDONED: events.Effect = events.NotifyPromptClosed(7, Ending.ABANDONED)
UNATTENDED: events.Effect = events.RefuseRequest(5, RefusalReason.UNATTENDED)


@pytest.mark.parametrize(
    ("phase", "parked", "prompt", "effects"),
    [
        (P.PROMPTING, {}, OPEN, [ABANDONED]),
        (P.PROMPTING, {}, TOUCHED, []),
        (P.PROMPTING, PARKED, OPEN, []),
        (P.PROMPTING, OWN, OPEN, [ABANDONED, UNATTENDED]),
        (P.PROMPTING, OWN, TOUCHED, []),
        (P.PROMPTING, OWN, PROMPT, [UNATTENDED]),
        (P.UNVERIFIED, {}, OPEN, [ABANDONED]),
        (P.UNVERIFIED, OWN, OPEN, []),
        (P.UNVERIFIED, OWN, PROMPT, []),
        (P.TRUSTED, {}, OPEN, [ABANDONED]),
        (P.TRUSTED, {}, TOUCHED, []),
        (P.CHECKING, {}, OPEN, []),
    ],
)
def test_an_untouched_prompt_closes_without_a_waiting_client(
    phase: SpacePhase, parked: Any, prompt: Any, effects: list[events.Effect]
) -> None:
    prompt = replace(prompt, reason=PromptReason.DOWNGRADE)
    space = space_state(phase, parked=dict(parked), prompt=prompt)
    state = desk_state(space)
    prompts = Prompts(state)
    prompts.set_front_ends(1)
    prompts.sweep()
    assert state.effects == effects
    is_settled = phase is P.TRUSTED and effects
    assert space.prompt.reason is (PromptReason.NEEDED if is_settled else PromptReason.DOWNGRADE)


@pytest.mark.parametrize(
    ("prompt", "objection", "due_at"),
    [
        (PROMPT, None, NOW + LIMITS.prompt_delay),
        (OPEN, None, 0.0),
        (PROMPT, PromptReason.FALLBACK, 0.0),
    ],
)
def test_a_prompt_about_a_single_request(
    prompt: Any, objection: PromptReason | None, due_at: float
) -> None:
    request = replace(PARKED[5], objection=objection)
    space = space_state(P.TRUSTED, parked={5: request}, prompt=prompt)
    state = desk_state(space, fingerprint="ntlm")
    Prompts(state).ask_for_request(space, request, PromptReason.DOWNGRADE, BASIC_METHOD)
    assert space.parked == {5: replace(request, objection=PromptReason.DOWNGRADE)}
    expected = replace(prompt, reason=PromptReason.DOWNGRADE, previous_name="NTLM", due_at=due_at)
    assert space.prompt == expected
    assert state.effects == ([CHANGED] if prompt is OPEN else [])


@pytest.mark.parametrize(
    ("other", "is_opened"),
    [
        ({"prompt": PROMPT}, True),
        ({"prompt": TOUCHED}, False),
        ({"prompt": replace(TOUCHED, open=OpenPrompt(7, NOW - 299.9, True))}, False),
        ({"prompt": replace(TOUCHED, open=OpenPrompt(7, NOW - 300, True))}, True),
        ({"prompt": OPEN, "parked": dict(PARKED)}, False),
        ({"prompt": OPEN, "phase": P.CHECKING}, False),
        ({"is_locked": True}, False),
        ({"due_at": NOW + 0.1}, False),
        ({"due_at": NOW}, True),
        ({"without_client": True}, False),
    ],
)
def test_a_due_prompt_opens_while_the_user_is_not_busy_with_another_prompt(
    other: dict[str, Any], is_opened: bool
) -> None:
    parts = {"phase": P.PROMPTING, "key": OTHER_REALM, **other}
    is_locked, due_at = parts.pop("is_locked", False), parts.pop("due_at", NOW)
    parked = {} if parts.pop("without_client", False) else {6: replace(PARKED[5], request_id=6)}
    space = space_state(P.PROMPTING, parked=parked, prompt=replace(PROMPT, due_at=due_at))
    state = desk_state(space, space_state(**parts))
    state.screen_locked = is_locked
    prompts = Prompts(state)
    prompts.set_front_ends(1)
    prompts.sweep()
    assert (space.prompt.open == OpenPrompt(1)) is is_opened
    assert (events.NotifyPromptChanged(1) in state.effects) is is_opened


# --- Profiles ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "phase"),
    [
        ({}, P.NO_LOGIN),
        ({"phase": P.SNOOZED}, P.SNOOZED),
        ({"parked": dict(PARKED)}, P.PROMPTING),
        ({"prompt": OPEN}, P.PROMPTING),
        ({"phase": P.NO_LOGIN}, P.NO_LOGIN),
    ],
)
@pytest.mark.parametrize("login", [RIGHT, None])
def test_forgotten_logins(changes: dict[str, Any], phase: SpacePhase, login: Login | None) -> None:
    current = replace(CURRENT, login=login)
    parts = {"phase": P.TRUSTED, "prompt": PROMPT, "current": current, **changes}
    parts["prompt"] = replace(parts["prompt"], user="jdoe", rejection_times=(NOW,))
    hosts = {"github.com": NOW}
    space = space_state(
        **parts, backoffs=dict(FAILED), forbidden_hosts=hosts, lookup=Lookup(2000.0)
    )
    state = desk_state(space, fingerprint="ntlm")
    state.rejected.add(state.rejection_scopes(UPSTREAM_ID), RIGHT)
    actions(state).forget_logins("office")
    assert (space.phase, space.current.generation, space.login) == (phase, 2, None)
    assert (space.prompt.user, space.prompt.rejection_times) == ("", ())
    assert (space.backoffs, space.forbidden_hosts, space.lookup) == ({}, {}, Lookup(NOW))
    assert state.is_rejected(UPSTREAM_ID, RIGHT) is (login is None)
    assert state.fingerprints == {}
    assert state.effects[-1] == events.ClearHistory("office")


USER = replace(OFFICE, user="other")


@pytest.mark.parametrize(
    ("profile", "current", "phase", "generation", "is_method_changed"),
    [
        (OFFICE, ACCEPTED, P.TRUSTED, 1, False),
        (replace(OFFICE, user=""), ACCEPTED, P.TRUSTED, 1, False),
        (USER, ACCEPTED, P.NO_LOGIN, 2, False),
        (USER, replace(ACCEPTED, login=Login("other", "right")), P.TRUSTED, 1, False),
        (USER, replace(ACCEPTED, login=None), P.NO_LOGIN, 2, False),
        (OFFICE, replace(ACCEPTED, login=Login("other", "right")), P.TRUSTED, 1, False),
        (replace(OFFICE, method=Method.BASIC), ACCEPTED, P.UNVERIFIED, 1, True),
        (replace(OFFICE, encoding=Encoding.LATIN_1), ACCEPTED, P.UNVERIFIED, 1, True),
        (replace(OFFICE, spn="HTTP/p.example"), ACCEPTED, P.UNVERIFIED, 1, True),
        (replace(OFFICE, canonical_name=True), ACCEPTED, P.UNVERIFIED, 1, True),
    ],
)
def test_an_edited_profile(
    profile: Any, current: CurrentLogin, phase: SpacePhase, generation: int, is_method_changed: bool
) -> None:
    current = replace(current, scheme="basic", consent=BASIC)
    space = space_state(P.TRUSTED, current=current, backoffs=dict(FAILED))
    state = desk_state(space)
    actions(state).edit_profile(profile)
    assert (space.phase, space.current.generation, space.profile) == (phase, generation, profile)
    if generation == 1:
        expected = replace(current, scheme="", consent=None) if is_method_changed else current
        assert space.current == expected
        assert space.backoffs == ({} if is_method_changed else FAILED)


def test_a_switched_profile_ends_every_snooze() -> None:
    space = space_state(P.SNOOZED)
    state = desk_state(space, space_state(P.TRUSTED, key=OTHER_REALM))
    acts = actions(state)
    acts.switch_profile(LAB)
    assert (state.active, state.profiles, space.phase) == (LAB, {"lab": LAB}, P.PROMPTING)
    acts.switch_profile(None)
    assert (state.active, state.profiles) == (None, {"lab": LAB})


@pytest.mark.parametrize("for_good", [True, False])
def test_a_deleted_profile(for_good: bool) -> None:
    space = space_state(P.TRUSTED, prompt=OPEN, parked=dict(PARKED), permit_queue={6: ""})
    state = desk_state(space, fingerprint="ntlm")
    actions(state).delete_profile("office", for_good=for_good)
    assert (state.spaces, state.profiles) == ({}, {"office": None})
    cleared: list[events.Effect] = [events.ClearHistory("office")] if for_good else []
    assert state.effects == [
        events.NotifyPromptClosed(7, Ending.WITHDRAWN),
        events.RefuseRequest(5, RefusalReason.WITHDRAWN),
        events.DenyPermit(6),
        *cleared,
    ]


# --- Look-ups ------------------------------------------------------------------------------------

GIVEN = CurrentLogin(WRONG, LoginSource.COMMAND_LINE, 1, accepted_at=900.0)
LABELS = {"basic": "basic"}


@pytest.mark.parametrize(
    ("phase", "current", "offers", "front_ends", "is_reused"),
    [
        (P.TRUSTED, replace(ACCEPTED, accepted_labels=LABELS), (NTLM,), 1, True),
        (P.TRUSTED, replace(ACCEPTED, accepted_labels=LABELS), (BASIC,), 1, False),
        (P.TRUSTED, replace(ACCEPTED, accepted_labels=LABELS), (), 1, False),
        (P.CHECKING, replace(ACCEPTED, accepted_labels=LABELS), (NTLM,), 1, False),
        (P.TRUSTED, replace(SSO, accepted_labels=LABELS), (NTLM,), 1, False),
        (P.TRUSTED, replace(ACCEPTED, accepted_labels={"ntlm": "ntlm"}), (NTLM,), 0, False),
        (P.TRUSTED, replace(GIVEN, accepted_labels={"ntlm": "ntlm"}), (NTLM,), 0, True),
        (P.TRUSTED, replace(GIVEN, accepted_labels={"ntlm": "ntlm"}), (NTLM,), 1, False),
        (P.TRUSTED, replace(GIVEN, accepted_labels=LABELS), (BASIC,), 0, False),
        (P.TRUSTED, replace(GIVEN, accepted_labels={"negotiate": ""}), (NTLM,), 0, False),
    ],
)
def test_the_login_of_another_realm_is_used_if_nothing_new_is_revealed(
    phase: SpacePhase, current: CurrentLogin, offers: Any, front_ends: int, is_reused: bool
) -> None:
    other = space_state(phase, key=OTHER_REALM, current=current)
    space = space_state(offers=offers)
    lookup(desk_state(space, other), front_ends).start(space)
    assert (space.current.source is current.source and space.phase is P.UNVERIFIED) is is_reused
    if is_reused:
        assert space.login == current.login
        assert space.current.accepted_labels == current.accepted_labels


@pytest.mark.parametrize(
    ("changes", "phase", "reason"),
    [
        ({}, P.LOOKING_UP, PromptReason.NEEDED),
        ({"lookup": Lookup(NOW + 0.1)}, P.PROMPTING, PromptReason.NEEDED),
        (
            {"lookup": Lookup(NOW + 0.1), "prompt": replace(PROMPT, reason=PromptReason.UNCLEAR)},
            P.PROMPTING,
            PromptReason.UNCLEAR,
        ),
        (
            {"prompt": replace(PROMPT, rejection_times=(NOW, NOW, NOW))},
            P.PROMPTING,
            PromptReason.NEEDED,
        ),
        (
            {"prompt": replace(PROMPT, rejection_times=(NOW, NOW))},
            P.LOOKING_UP,
            PromptReason.NEEDED,
        ),
        ({"fingerprint": "ntlm"}, P.PROMPTING, PromptReason.DOWNGRADE),
        ({"fingerprint": "ntlm", "offers": (NTLM,)}, P.LOOKING_UP, PromptReason.NEEDED),
        ({"active": LAB}, P.PROMPTING, PromptReason.NEEDED),
        ({"active": OFFICE}, P.LOOKING_UP, PromptReason.NEEDED),
        (
            {"other": {"prompt": replace(PROMPT, rejection_times=(NOW,))}},
            P.PROMPTING,
            PromptReason.NEEDED,
        ),
        ({"other": {"current": ACCEPTED}}, P.PROMPTING, PromptReason.NEEDED),
        (
            {"other": {"current": ACCEPTED}, "fingerprint": "basic"},
            P.LOOKING_UP,
            PromptReason.NEEDED,
        ),
        ({"other": {"current": CURRENT}}, P.LOOKING_UP, PromptReason.NEEDED),
        ({"unchecked": NOW + 0.1, "current": GIVEN}, P.PROMPTING, PromptReason.UNCHECKED),
        ({"unchecked": NOW, "current": GIVEN}, P.UNVERIFIED, PromptReason.UNCHECKED),
        ({"unchecked": NOW, "current": CURRENT}, P.LOOKING_UP, PromptReason.UNCHECKED),
    ],
)
def test_the_start_of_a_look_up(
    changes: dict[str, Any], phase: SpacePhase, reason: PromptReason
) -> None:
    parts = dict(changes)
    fingerprint, active, other = (
        parts.pop(key, None) for key in ("fingerprint", "active", "other")
    )
    if hold_until := parts.pop("unchecked", None):
        parts["lookup"] = Lookup(NOW, hold_until=hold_until)
        parts["prompt"] = replace(PROMPT, reason=PromptReason.UNCHECKED)
    space = space_state(**parts)
    others = [space_state(P.PROMPTING, key=OTHER_REALM, **other)] if other else []
    state = desk_state(space, *others, fingerprint=fingerprint or "")
    state.active = active
    lookup(state).start(space)
    assert (space.phase, space.prompt.reason) == (phase, reason)
    is_started = phase is P.LOOKING_UP
    assert state.effects == ([events.LookUpLogin(1, OFFICE, "jdoe")] if is_started else [])
    if is_started:
        assert (space.lookup.number, space.lookup.deadline) == (1, NOW + LIMITS.lookup_timeout)


HELD = Lookup(NOW, number=1, hold_until=NOW + 0.1)
SILENT = replace(PROMPT, rejection_times=(NOW,))


@pytest.mark.parametrize(
    ("changes", "login", "keyring", "phase", "reason"),
    [
        ({}, RIGHT, KeyringState.OK, P.UNVERIFIED, PromptReason.NEEDED),
        ({"phase": P.PROMPTING}, RIGHT, KeyringState.OK, P.UNVERIFIED, PromptReason.NEEDED),
        ({"phase": P.SNOOZED}, RIGHT, KeyringState.OK, P.SNOOZED, PromptReason.NEEDED),
        ({}, WRONG, KeyringState.OK, P.PROMPTING, PromptReason.SAVED_REJECTED),
        ({}, None, KeyringState.OK, P.PROMPTING, PromptReason.NEEDED),
        ({"prompt": SILENT}, None, KeyringState.OK, P.PROMPTING, PromptReason.TYPED_REJECTED),
        ({}, None, KeyringState.LOCKED, P.PROMPTING, PromptReason.KEYRING_LOCKED),
        ({}, None, KeyringState.SILENT, P.PROMPTING, PromptReason.KEYRING_SILENT),
        (
            {"lookup": HELD, "doubt": Doubt(unanswered=2)},
            RIGHT,
            KeyringState.OK,
            P.PROMPTING,
            PromptReason.UNCHECKED,
        ),
        (
            {"lookup": HELD, "doubt": Doubt(unanswered=1)},
            RIGHT,
            KeyringState.OK,
            P.UNVERIFIED,
            PromptReason.NEEDED,
        ),
        (
            {"lookup": replace(HELD, hold_until=NOW), "doubt": Doubt(unanswered=2)},
            RIGHT,
            KeyringState.OK,
            P.UNVERIFIED,
            PromptReason.NEEDED,
        ),
        (
            {"lookup": HELD, "doubt": Doubt(unanswered=2)},
            Login("a", "b"),
            KeyringState.OK,
            P.UNVERIFIED,
            PromptReason.NEEDED,
        ),
    ],
)
def test_the_result_of_a_look_up(
    changes: dict[str, Any],
    login: Login | None,
    keyring: KeyringState,
    phase: SpacePhase,
    reason: PromptReason,
) -> None:
    parts = {"phase": P.LOOKING_UP, "lookup": Lookup(NOW, number=1), **changes}
    space = space_state(**parts)
    state = desk_state(space)
    state.rejected.add(state.rejection_scopes(UPSTREAM_ID), WRONG)
    looks = lookup(state)
    status = KeyringStatus(keyring, "GNOME Keyring")
    looks.handle_found(events.LookupFinished(2, RIGHT, status))
    assert (space.phase, state.keyring) == (parts["phase"], status)
    looks.handle_found(events.LookupFinished(1, login, status))
    assert (space.phase, space.prompt.reason, space.lookup.number) == (phase, reason, None)
    is_blocked = keyring is not KeyringState.OK
    assert space.lookup.next_at == NOW + (
        LIMITS.locked_lookup_ttl if is_blocked else LIMITS.lookup_ttl
    )


@pytest.mark.parametrize(
    ("source", "login", "reason", "unanswered", "is_kept"),
    [
        (LoginSource.SAVED, RIGHT, PromptReason.NEEDED, 2, True),
        (LoginSource.SAVED, WRONG, PromptReason.NEEDED, 0, True),
        (LoginSource.TYPED, RIGHT, PromptReason.NEEDED, 0, False),
        (LoginSource.TYPED, RIGHT, PromptReason.FALLBACK, 0, True),
        (LoginSource.SSO, None, PromptReason.NEEDED, 0, False),
    ],
)
def test_a_new_current_login(
    source: LoginSource, login: Login | None, reason: PromptReason, unanswered: int, is_kept: bool
) -> None:
    prompt = replace(OPEN, reason=reason)
    space = space_state(P.PROMPTING, current=CURRENT, prompt=prompt, backoffs=dict(FAILED))
    space.doubt, space.trial = Doubt(unanswered=2, refusals=1), Trial(is_recorded=True)
    state = desk_state(space)
    state.rejected.add(state.rejection_scopes(UPSTREAM_ID), WRONG)
    lookup(state).set_login(space, login, source)
    assert space.current == CurrentLogin(login, source, 2, retry_rejected=login == WRONG)
    assert (space.phase, space.doubt) == (P.UNVERIFIED, Doubt(unanswered=unanswered))
    assert space.backoffs == (FAILED if is_kept else {})
    assert state.effects == [events.CancelTrial(UPSTREAM_ID, RIGHT), CHANGED]
