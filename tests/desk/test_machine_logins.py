"""Tests for trayproxy.desk.machine.machine: where logins come from, and that none is shown."""

from dataclasses import replace

import pytest

from tests.desk.play import GNOME, KEY, LAB, LOCKED, OFFICE, RIGHT, WAY, WRONG, Play, fact
from trayproxy.auth.login import Login
from trayproxy.control.messages import KeyringState, KeyringStatus, PromptReason, SignInState
from trayproxy.desk.machine.events import (
    FrontEndsChanged,
    KeyringSurveyed,
    LoginProvided,
    LoginsForgotten,
    LookUpLogin,
    ProfileSwitched,
    SaveLoginToKeyring,
    SaveUserName,
    SignInRequested,
    SurveyKeyring,
)
from trayproxy.desk.machine.space_state import SpaceState
from trayproxy.desk.protection_space import ProtectionSpace, UpstreamFingerprint, UpstreamId
from trayproxy.profiles.profile import Upstream

OTHER = Login("asmith", "another")
SPARE = Upstream("spare.corp.example", 8080)
REALM = ProtectionSpace(KEY.upstream_id, "Other", KEY.family)

# --- The keyring ----------------------------------------------------------------------------------


def test_a_keyring_that_takes_eight_seconds_is_not_waited_for(play: Play) -> None:
    play.challenge()
    play.wait(7.9)
    assert not play.is_asking
    play.wait(0.3)
    assert play.question.reason is PromptReason.KEYRING_SILENT
    assert play.question.keyring.state is KeyringState.SILENT


def test_a_locked_keyring_is_told_as_such(play: Play) -> None:
    play.challenge()
    play.found(None, LOCKED)
    play.wait(0.15)
    assert (play.question.reason, play.question.keyring) == (PromptReason.KEYRING_LOCKED, LOCKED)


def test_a_late_answer_of_the_keyring_is_used(play: Play) -> None:
    waiter = play.challenge()
    play.wait(20)
    play.found(RIGHT)
    assert play.released() == [waiter]
    assert play.question.checking
    play.accept(waiter)
    assert play.endings() == ["ACCEPTED"]


def test_a_late_answer_of_the_keyring_is_too_late_once_something_was_typed(play: Play) -> None:
    waiter = play.challenge()
    play.wait(20)
    play.enter(RIGHT)
    play.found(WRONG)
    play.accept(waiter)
    assert play.machine.login(play.mark(waiter)) == RIGHT


def test_a_late_answer_of_the_keyring_is_too_late_after_cancel(play: Play) -> None:
    play.challenge()
    play.wait(20)
    play.decline()
    play.found(RIGHT)
    assert play.released() == []


def test_a_locked_keyring_is_not_bothered_at_every_request(play: Play) -> None:
    for _ in range(10):
        waiter = play.challenge()
        if len(play.all(LookUpLogin)) == 1 and play.machine.keyring.state is KeyringState.UNKNOWN:
            play.found(None, LOCKED)
        play.leave(waiter)
        play.wait(30)
    assert len(play.all(LookUpLogin)) == 1


def test_what_the_keyring_gives_after_all_clients_have_left_is_kept(play: Play) -> None:
    play.leave(play.challenge())
    play.found(RIGHT)
    waiter = play.challenge()
    assert play.released() == [waiter]


def test_only_the_active_profiles_login_is_read(play: Play) -> None:
    play.do(ProfileSwitched(LAB))
    play.challenge()
    play.wait(0.15)
    assert play.all(LookUpLogin) == []
    assert play.question.profile == "Office"


def test_a_new_keyring_state_reaches_the_open_question(play: Play) -> None:
    play.ask()
    play.do(SignInRequested(OFFICE, WAY))
    missing = KeyringStatus(KeyringState.MISSING)
    play.found(None, missing)
    assert play.question.keyring == missing


# --- Sign in from the menu, logins from the command line ------------------------------------------


def test_sign_in_from_the_menu_opens_a_question_that_nobody_waits_for(play: Play) -> None:
    play.do(SignInRequested(OFFICE, WAY))
    assert play.question.reason is PromptReason.ASKED_FOR
    assert play.all(SurveyKeyring) == [SurveyKeyring()]
    play.wait(1000)
    assert play.is_asking


def test_the_first_challenge_fills_in_what_the_menu_could_not_know(play: Play) -> None:
    play.do(SignInRequested(OFFICE, WAY))
    play.challenge()
    assert (play.question.realm, play.question.reason) == ("Corp", PromptReason.NEEDED)


def test_an_answer_before_any_challenge_is_used_at_the_first(play: Play) -> None:
    play.do(SignInRequested(OFFICE, WAY))
    play.enter(RIGHT)
    waiter = play.challenge()
    play.accept(waiter)
    assert play.all(LookUpLogin) == []
    assert play.all(SaveLoginToKeyring) == [SaveLoginToKeyring(OFFICE, RIGHT)]


def test_sign_in_from_the_menu_changes_a_password_that_works(play: Play) -> None:
    play.trust()
    play.do(SignInRequested(OFFICE, WAY))
    assert play.question.reason is PromptReason.ASKED_FOR
    play.wait(61)
    play.enter(Login("jdoe", "newer"))
    waiter = play.challenge()
    play.accept(waiter)
    assert play.all(SaveLoginToKeyring)[-1] == SaveLoginToKeyring(OFFICE, Login("jdoe", "newer"))


def test_a_login_given_after_a_question_was_cancelled_is_known_to_be_needed(play: Play) -> None:
    """Also if the keyring had not answered yet when the question was cancelled."""
    play.challenge()
    play.do(SignInRequested(OFFICE, WAY))
    play.decline()
    assert fact(play) is SignInState.SNOOZED
    play.do(LoginProvided(OFFICE, WAY, RIGHT))
    assert fact(play) is SignInState.NEEDED


def test_cancelling_a_change_leaves_the_login_that_works(play: Play) -> None:
    mark = play.trust()
    play.do(SignInRequested(OFFICE, WAY))
    play.decline()
    assert play.machine.trusted_logins() == {KEY.upstream_id: mark}


def test_a_given_login_is_used_at_the_first_407_and_not_kept(play: Play) -> None:
    play.do(LoginProvided(OFFICE, WAY, RIGHT))
    first, second = play.challenge(), play.challenge()
    assert play.released() == [first]
    play.accept(first)
    assert play.released() == [first, second]
    assert play.all(LookUpLogin) == []
    assert play.all(SaveLoginToKeyring) == []


def test_a_given_login_that_is_rejected_is_not_tried_again(play: Play) -> None:
    play.do(FrontEndsChanged(0))
    play.wait(31)
    play.do(LoginProvided(OFFICE, WAY, WRONG))
    first = play.challenge()
    play.reject(first)
    play.found(None)
    for _ in range(3):
        play.wait(10)
        play.challenge()
        play.found(None)
    assert play.released() == [first]


def test_a_keyring_that_another_program_unlocks_is_noticed_while_a_question_is_open(
    play: Play,
) -> None:
    waiter = play.challenge()
    play.found(None, LOCKED)
    assert play.question_due.reason is PromptReason.KEYRING_LOCKED
    before = len(play.all(SurveyKeyring))
    play.wait(2)
    assert len(play.all(SurveyKeyring)) - before == 2
    play.do(KeyringSurveyed(LOCKED))
    assert len(play.all(LookUpLogin)) == 1
    play.do(KeyringSurveyed(GNOME))
    assert len(play.all(LookUpLogin)) == 2
    play.found(RIGHT)
    play.accept(waiter)
    assert play.endings() == ["ACCEPTED"]


def locked_question(play: Play) -> SpaceState:
    """Let a question be open because the keyring is locked."""
    play.challenge()
    play.found(None, LOCKED)
    assert play.question_due.reason is PromptReason.KEYRING_LOCKED
    return play.machine.state.spaces[KEY]


def locked_question_after_another_realm(play: Play, *, login: Login, is_right: bool) -> None:
    """Let a question be open because the keyring is locked, after a login was typed for another
    realm of the upstream."""
    play.challenge(REALM)
    play.found(None, LOCKED)
    play.wait(play.rules.prompt_delay)
    play.challenge()
    play.found(None, LOCKED)
    play.enter(login, remember=False)
    if is_right:
        play.accept(play.released()[-1])
    else:
        play.reject(play.released()[-1], REALM)
        play.decline()
    play.wait(play.rules.prompt_delay)
    assert (play.question.realm, play.question.reason) == (KEY.realm, PromptReason.KEYRING_LOCKED)


def reads_when_unlocked(play: Play) -> bool:
    """Unlock the keyring; return whether it is read for the open question."""
    before = len(play.all(LookUpLogin))
    play.do(KeyringSurveyed(GNOME))
    return len(play.all(LookUpLogin)) > before


def test_an_unlocked_keyring_is_not_read_for_a_profile_that_is_no_longer_active(
    play: Play,
) -> None:
    case = locked_question(play)
    play.do(ProfileSwitched(LAB))
    assert case.prompt is not None
    assert not reads_when_unlocked(play)


def test_an_unlocked_keyring_is_not_read_after_three_rejections(play: Play) -> None:
    case = locked_question(play)
    case.rejection_times = [play.now] * play.rules.rejections_max
    assert not reads_when_unlocked(play)


def test_an_unlocked_keyring_is_not_read_after_a_rejection_in_another_realm(play: Play) -> None:
    """It holds one login for the upstream. That one may have been rejected."""
    locked_question_after_another_realm(play, login=WRONG, is_right=False)
    assert not reads_when_unlocked(play)


@pytest.mark.parametrize(
    ("pins", "is_read"),
    [({}, False), ({KEY.upstream_id: UpstreamFingerprint("basic", ("Other", "Corp"))}, True)],
)
def test_an_unlocked_keyring_is_read_for_a_pinned_realm_once_a_login_is_right_in_another(
    pins: dict[UpstreamId, UpstreamFingerprint], is_read: bool
) -> None:
    """Threat T4: the password belongs to the realms where it was right."""
    play = Play(pins=pins)
    locked_question_after_another_realm(play, login=RIGHT, is_right=True)
    assert reads_when_unlocked(play) is is_read


def test_without_an_open_question_nobody_looks_at_a_locked_keyring(play: Play) -> None:
    waiter = play.challenge()
    play.found(None, LOCKED)
    play.leave(waiter)
    play.wait(60)
    assert play.all(SurveyKeyring) == []


def test_a_login_given_while_a_question_is_open_answers_it(play: Play) -> None:
    first, second = play.ask(2)
    play.do(LoginProvided(OFFICE, WAY, RIGHT))
    play.accept(first)
    assert play.released() == [first, second]
    assert play.endings() == ["ACCEPTED"]


def test_a_login_that_was_replaced_is_trusted_no_more(play: Play) -> None:
    before = play.trust(RIGHT)
    play.do(LoginProvided(OFFICE, WAY, OTHER))
    waiter = play.challenge()
    play.accept(waiter)
    now = play.mark(waiter)
    assert play.machine.is_trusted(now)
    assert not play.machine.is_trusted(before)


# --- Secrets --------------------------------------------------------------------------------------


def test_no_repr_shows_a_password(play: Play) -> None:
    secret = Login("jdoe", "Zx9-hidden")
    (waiter,) = play.ask()
    shown = [repr(play.enter(secret))]
    shown += [repr(play.effects), repr(play.machine.state.spaces), repr(play.question)]
    play.accept(waiter)
    shown += [
        repr(play.effects),
        repr(play.machine.state.spaces),
        repr(play.machine.facts("office")),
    ]
    assert "hidden" not in "".join(shown)


# --- The user name --------------------------------------------------------------------------------


def test_the_accepted_user_name_is_kept_in_the_profile_and_suggested(play: Play) -> None:
    nameless = replace(OFFICE, user="")
    play.do(ProfileSwitched(nameless))
    waiter = play.challenge(profile=nameless)
    play.found(None)
    assert play.question_due.user == ""
    play.enter(RIGHT)
    assert play.all(SaveUserName) == []
    play.accept(waiter)
    assert play.all(SaveUserName) == [SaveUserName("office", RIGHT.user)]
    play.do(LoginsForgotten("office"))
    play.challenge(profile=nameless)
    play.found(None)
    assert play.question_due.user == RIGHT.user


def test_a_user_name_that_the_profile_has_is_not_kept_again(play: Play) -> None:
    play.trust(RIGHT)
    assert play.all(SaveUserName) == []


def test_another_user_name_that_a_person_typed_replaces_that_of_the_profile(play: Play) -> None:
    mark = play.trust(OTHER)
    assert play.all(SaveUserName) == [SaveUserName("office", OTHER.user)]
    # The keyring is told of the profile as it was: it removes the entry under the old name.
    (saved,) = play.all(SaveLoginToKeyring)
    assert (saved.profile.user, saved.login) == (OFFICE.user, OTHER)
    # The login stays in use, and the keyring is asked for the new name from now on.
    assert play.machine.is_trusted(mark)
    play.do(LoginsForgotten("office"))
    play.challenge()
    assert [one.user for one in play.all(LookUpLogin)][-1] == OTHER.user


def test_a_rejected_user_name_does_not_replace_that_of_the_profile(play: Play) -> None:
    (waiter,) = play.ask()
    play.enter(OTHER)
    play.reject(waiter)
    assert play.all(SaveUserName) == []


def test_a_user_name_that_no_person_typed_does_not_replace_that_of_the_profile(play: Play) -> None:
    play.do(LoginProvided(OFFICE, WAY, OTHER))
    play.accept(play.challenge())
    assert play.all(SaveUserName) == []


def test_a_login_that_was_accepted_elsewhere_replaces_the_user_name_at_once(play: Play) -> None:
    play.do(LoginProvided(OFFICE, WAY, OTHER, is_proved=True))
    assert play.all(SaveUserName) == [SaveUserName("office", OTHER.user)]


def test_the_user_name_stays_while_another_upstream_accepts_it(play: Play) -> None:
    spare = replace(OFFICE, fallbacks=(SPARE,))
    play.do(ProfileSwitched(spare))
    play.trust(RIGHT)
    elsewhere = ProtectionSpace(UpstreamId("office", str(SPARE)), KEY.realm, KEY.family)
    waiter = play.challenge(profile=spare, key=elsewhere)
    play.found(None)
    play.wait(1)
    play.enter(OTHER)
    play.accept(waiter)
    assert play.all(SaveUserName) == []
