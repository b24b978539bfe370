"""Tests for trayproxy.desk.machine.machine: the origin of logins, and their secrecy."""

from dataclasses import replace

import pytest

from tests.desk.machine_driver import BASIC_METHOD, OFFICE, SPACE, MachineDriver, sign_in_state
from tests.support.values import GNOME, LAB, LOCKED, RIGHT, WRONG
from trayproxy.auth.login import Login
from trayproxy.desk.machine import events
from trayproxy.desk.machine.space_state import SpaceState
from trayproxy.desk.protection_space import ProtectionSpace, UpstreamFingerprint, UpstreamId
from trayproxy.domain.signin import KeyringState, KeyringStatus, PromptReason, SignInState
from trayproxy.profiles.profile import Upstream

OTHER = Login("asmith", "another")
SPARE = Upstream("spare.corp.example", 8080)
REALM = ProtectionSpace(SPACE.upstream_id, "Other", SPACE.family)

# --- The keyring ---------------------------------------------------------------------------------


def test_a_keyring_lookup_times_out_after_eight_seconds(driver: MachineDriver) -> None:
    driver.challenge()
    driver.advance(7.9)
    assert not driver.is_prompting
    driver.advance(0.3)
    assert driver.prompt.reason is PromptReason.KEYRING_SILENT
    assert driver.prompt.keyring.state is KeyringState.SILENT


def test_a_prompt_reports_a_locked_keyring(driver: MachineDriver) -> None:
    driver.challenge()
    driver.finish_lookup(None, LOCKED)
    driver.advance(0.15)
    assert (driver.prompt.reason, driver.prompt.keyring) == (PromptReason.KEYRING_LOCKED, LOCKED)


def test_a_late_lookup_result_is_used(driver: MachineDriver) -> None:
    request = driver.challenge()
    driver.advance(20)
    driver.finish_lookup(RIGHT)
    assert driver.released() == [request]
    assert driver.prompt.checking
    driver.accept(request)
    assert driver.endings() == ["ACCEPTED"]


def test_a_late_lookup_result_is_ignored_after_a_login_was_typed(driver: MachineDriver) -> None:
    request = driver.challenge()
    driver.advance(20)
    driver.answer_prompt(RIGHT)
    driver.finish_lookup(WRONG)
    driver.accept(request)
    assert driver.machine.login(driver.login_id_of(request)) == RIGHT


def test_a_late_lookup_result_is_ignored_after_cancel(driver: MachineDriver) -> None:
    driver.challenge()
    driver.advance(20)
    driver.decline_prompt()
    driver.finish_lookup(RIGHT)
    assert driver.released() == []


def test_a_locked_keyring_is_not_read_for_every_request(driver: MachineDriver) -> None:
    for _ in range(10):
        request = driver.challenge()
        if (
            len(driver.effects_of(events.LookUpLogin)) == 1
            and driver.machine.keyring.state is KeyringState.UNKNOWN
        ):
            driver.finish_lookup(None, LOCKED)
        driver.disconnect(request)
        driver.advance(30)
    assert len(driver.effects_of(events.LookUpLogin)) == 1


def test_lookup_result_is_kept_after_all_clients_disconnected(driver: MachineDriver) -> None:
    driver.disconnect(driver.challenge())
    driver.finish_lookup(RIGHT)
    request = driver.challenge()
    assert driver.released() == [request]


def test_only_the_active_profiles_login_is_read(driver: MachineDriver) -> None:
    driver.handle(events.ProfileSwitched(LAB))
    driver.challenge()
    driver.advance(0.15)
    assert driver.effects_of(events.LookUpLogin) == []
    assert driver.prompt.profile == "Office"


def test_an_open_prompt_shows_a_new_keyring_state(driver: MachineDriver) -> None:
    driver.open_prompt()
    driver.handle(events.SignInRequested(OFFICE, BASIC_METHOD))
    missing = KeyringStatus(KeyringState.MISSING)
    driver.finish_lookup(None, missing)
    assert driver.prompt.keyring == missing


# --- Sign in from the menu, logins from the command line -----------------------------------------


def test_sign_in_from_the_menu_opens_a_prompt_without_requests(driver: MachineDriver) -> None:
    driver.handle(events.SignInRequested(OFFICE, BASIC_METHOD))
    assert driver.prompt.reason is PromptReason.ASKED_FOR
    assert driver.effects_of(events.SurveyKeyring) == [events.SurveyKeyring()]
    driver.advance(1000)
    assert driver.is_prompting


def test_the_first_challenge_completes_a_prompt_opened_from_the_menu(driver: MachineDriver) -> None:
    driver.handle(events.SignInRequested(OFFICE, BASIC_METHOD))
    driver.challenge()
    assert (driver.prompt.realm, driver.prompt.reason) == ("Corp", PromptReason.NEEDED)


def test_login_typed_before_any_challenge_is_used_at_the_first_challenge(
    driver: MachineDriver,
) -> None:
    driver.handle(events.SignInRequested(OFFICE, BASIC_METHOD))
    driver.answer_prompt(RIGHT)
    request = driver.challenge()
    driver.accept(request)
    assert driver.effects_of(events.LookUpLogin) == []
    assert driver.effects_of(events.SaveLoginToKeyring) == [
        events.SaveLoginToKeyring(OFFICE, RIGHT)
    ]


def test_sign_in_from_the_menu_replaces_an_accepted_login(driver: MachineDriver) -> None:
    driver.sign_in()
    driver.handle(events.SignInRequested(OFFICE, BASIC_METHOD))
    assert driver.prompt.reason is PromptReason.ASKED_FOR
    driver.advance(61)
    driver.answer_prompt(Login("jdoe", "newer"))
    request = driver.challenge()
    driver.accept(request)
    assert driver.effects_of(events.SaveLoginToKeyring)[-1] == events.SaveLoginToKeyring(
        OFFICE, Login("jdoe", "newer")
    )


def test_a_login_from_the_command_line_is_needed_after_a_cancelled_prompt(
    driver: MachineDriver,
) -> None:
    """The keyring may not have responded yet when the prompt was cancelled."""
    driver.challenge()
    driver.handle(events.SignInRequested(OFFICE, BASIC_METHOD))
    driver.decline_prompt()
    assert sign_in_state(driver) is SignInState.SNOOZED
    driver.handle(events.LoginProvided(OFFICE, BASIC_METHOD, RIGHT))
    assert sign_in_state(driver) is SignInState.NEEDED


def test_cancelling_a_change_keeps_the_accepted_login(driver: MachineDriver) -> None:
    login_id = driver.sign_in()
    driver.handle(events.SignInRequested(OFFICE, BASIC_METHOD))
    driver.decline_prompt()
    assert driver.machine.trusted_logins() == {SPACE.upstream_id: login_id}


def test_a_login_from_the_command_line_is_used_at_the_first_407_and_not_saved(
    driver: MachineDriver,
) -> None:
    driver.handle(events.LoginProvided(OFFICE, BASIC_METHOD, RIGHT))
    first, second = driver.challenge(), driver.challenge()
    assert driver.released() == [first]
    driver.accept(first)
    assert driver.released() == [first, second]
    assert driver.effects_of(events.LookUpLogin) == []
    assert driver.effects_of(events.SaveLoginToKeyring) == []


def test_a_rejected_login_from_the_command_line_is_not_sent_again(driver: MachineDriver) -> None:
    driver.handle(events.FrontEndsChanged(0))
    driver.advance(31)
    driver.handle(events.LoginProvided(OFFICE, BASIC_METHOD, WRONG))
    first = driver.challenge()
    driver.reject(first)
    driver.finish_lookup(None)
    for _ in range(3):
        driver.advance(10)
        driver.challenge()
        driver.finish_lookup(None)
    assert driver.released() == [first]


def test_a_keyring_unlocked_by_another_program_is_detected_while_a_prompt_is_open(
    driver: MachineDriver,
) -> None:
    request = driver.challenge()
    driver.finish_lookup(None, LOCKED)
    assert driver.due_prompt.reason is PromptReason.KEYRING_LOCKED
    before = len(driver.effects_of(events.SurveyKeyring))
    driver.advance(2)
    assert len(driver.effects_of(events.SurveyKeyring)) - before == 2
    driver.handle(events.KeyringSurveyed(LOCKED))
    assert len(driver.effects_of(events.LookUpLogin)) == 1
    driver.handle(events.KeyringSurveyed(GNOME))
    assert len(driver.effects_of(events.LookUpLogin)) == 2
    driver.finish_lookup(RIGHT)
    driver.accept(request)
    assert driver.endings() == ["ACCEPTED"]


def open_locked_prompt(driver: MachineDriver) -> SpaceState:
    """Open a prompt because the keyring is locked."""
    driver.challenge()
    driver.finish_lookup(None, LOCKED)
    assert driver.due_prompt.reason is PromptReason.KEYRING_LOCKED
    return driver.machine.state.spaces[SPACE]


def open_locked_prompt_after_another_realm(
    driver: MachineDriver, *, login: Login, is_right: bool
) -> None:
    """Open a prompt because the keyring is locked, after a login was typed for another realm."""
    driver.challenge(REALM)
    driver.finish_lookup(None, LOCKED)
    driver.advance(driver.limits.prompt_delay)
    driver.challenge()
    driver.finish_lookup(None, LOCKED)
    driver.answer_prompt(login, remember=False)
    if is_right:
        driver.accept(driver.released()[-1])
    else:
        driver.reject(driver.released()[-1], REALM)
        driver.decline_prompt()
    driver.advance(driver.limits.prompt_delay)
    assert (driver.prompt.realm, driver.prompt.reason) == (SPACE.realm, PromptReason.KEYRING_LOCKED)


def reads_when_unlocked(driver: MachineDriver) -> bool:
    """Unlock the keyring; return whether it is read for the open prompt."""
    before = len(driver.effects_of(events.LookUpLogin))
    driver.handle(events.KeyringSurveyed(GNOME))
    return len(driver.effects_of(events.LookUpLogin)) > before


def test_an_unlocked_keyring_is_not_read_for_an_inactive_profile(driver: MachineDriver) -> None:
    open_locked_prompt(driver)
    driver.handle(events.ProfileSwitched(LAB))
    assert driver.is_prompting
    assert not reads_when_unlocked(driver)


def test_an_unlocked_keyring_is_read_for_an_inactive_profile_that_a_program_uses(
    driver: MachineDriver,
) -> None:
    open_locked_prompt(driver)
    driver.handle(events.ProfileSwitched(LAB))
    driver.handle(events.ProfileLent(OFFICE))
    assert reads_when_unlocked(driver)


def test_an_unlocked_keyring_is_not_read_after_three_rejections(driver: MachineDriver) -> None:
    space = open_locked_prompt(driver)
    for _ in range(driver.limits.rejections_max):
        space.prompt = space.prompt.rejected("jdoe", driver.now, is_account_locked=False)
    assert not reads_when_unlocked(driver)


def test_an_unlocked_keyring_is_not_read_after_a_rejection_in_another_realm(
    driver: MachineDriver,
) -> None:
    """The keyring has a single login for the upstream, which may be the rejected login."""
    open_locked_prompt_after_another_realm(driver, login=WRONG, is_right=False)
    assert not reads_when_unlocked(driver)


@pytest.mark.parametrize(
    ("pins", "is_read"),
    [({}, False), ({SPACE.upstream_id: UpstreamFingerprint("basic", ("Other", "Corp"))}, True)],
)
def test_an_unlocked_keyring_is_read_for_a_pinned_realm_after_an_acceptance_in_another(
    pins: dict[UpstreamId, UpstreamFingerprint], is_read: bool
) -> None:
    """Threat T4: the password is pinned to the realms where it was accepted."""
    driver = MachineDriver(fingerprints=pins)
    open_locked_prompt_after_another_realm(driver, login=RIGHT, is_right=True)
    assert reads_when_unlocked(driver) is is_read


def test_locked_keyring_is_not_polled_without_an_open_prompt(driver: MachineDriver) -> None:
    request = driver.challenge()
    driver.finish_lookup(None, LOCKED)
    driver.disconnect(request)
    driver.advance(60)
    assert driver.effects_of(events.SurveyKeyring) == []


def test_a_late_result_of_the_keyring_does_not_replace_a_login_accepted_in_the_meantime(
    driver: MachineDriver,
) -> None:
    first = driver.challenge()
    driver.finish_lookup(RIGHT)
    driver.advance(driver.limits.canary_timeout + driver.limits.locked_lookup_ttl)
    driver.challenge()
    driver.advance(driver.limits.lookup_timeout)
    driver.accept(first)
    driver.finish_lookup(OTHER)
    assert len(driver.effects_of(events.LookUpLogin)) == 2
    assert driver.machine.is_trusted(driver.login_id_of(first))


def hold_saved_login(driver: MachineDriver) -> None:
    """Find a login in the keyring, and lose requests with it until it is held."""
    driver.challenge()
    driver.finish_lookup(RIGHT)
    for _ in range(driver.limits.unanswered_max):
        driver.end_without_response(driver.released()[-1], was_sent=True)
        driver.challenge()
    assert driver.due_prompt.reason is PromptReason.UNCHECKED


def test_a_held_login_found_again_is_not_sent(driver: MachineDriver) -> None:
    hold_saved_login(driver)
    driver.disconnect(driver.last_request_id)
    driver.advance(driver.limits.locked_lookup_ttl)
    before = driver.released()
    driver.challenge()
    driver.finish_lookup(RIGHT)
    assert driver.released() == before
    assert driver.due_prompt.reason is PromptReason.UNCHECKED


def test_missing_responses_to_a_saved_login_do_not_count_for_the_same_login_typed(
    driver: MachineDriver,
) -> None:
    hold_saved_login(driver)
    driver.answer_prompt(RIGHT)
    driver.end_without_response(driver.released()[-1], was_sent=True)
    before = driver.released()
    request = driver.challenge()
    assert driver.released() == [*before, request]


def test_missing_responses_to_a_saved_login_do_not_count_for_another_saved_login(
    driver: MachineDriver,
) -> None:
    hold_saved_login(driver)
    driver.disconnect(driver.last_request_id)
    driver.advance(driver.limits.locked_lookup_ttl)
    driver.challenge()
    driver.finish_lookup(OTHER)
    driver.end_without_response(driver.released()[-1], was_sent=True)
    before = driver.released()
    request = driver.challenge()
    assert driver.released() == [*before, request]


def test_missing_responses_to_a_saved_login_count_when_it_is_found_again(
    driver: MachineDriver,
) -> None:
    hold_saved_login(driver)
    driver.disconnect(driver.last_request_id)
    for hold in driver.limits.saved_login_holds[:2]:
        driver.advance(hold)
        before = driver.released()
        request = driver.challenge()
        driver.finish_lookup(RIGHT)
        assert driver.released() == [*before, request]
        driver.end_without_response(request, was_sent=True)
        later = driver.challenge()
        assert driver.released() == [*before, request]
        driver.disconnect(later)


def test_forgetting_the_login_keeps_requests_waiting_for_a_prompt(driver: MachineDriver) -> None:
    request = driver.challenge()
    driver.finish_lookup(None)
    driver.handle(events.LoginsForgotten("office"))
    assert driver.due_prompt.waiting == 1
    driver.answer_prompt(RIGHT)
    assert driver.released() == [request]


def test_forgetting_the_login_keeps_a_prompt_opened_by_the_user(driver: MachineDriver) -> None:
    driver.handle(events.SignInRequested(OFFICE, BASIC_METHOD))
    driver.handle(events.LoginsForgotten("office"))
    assert driver.prompt.reason is PromptReason.NEEDED
    assert driver.machine.facts("office").sign_in is SignInState.NEEDED


def test_a_login_from_the_command_line_answers_the_open_prompt(driver: MachineDriver) -> None:
    first, second = driver.open_prompt(2)
    driver.handle(events.LoginProvided(OFFICE, BASIC_METHOD, RIGHT))
    driver.accept(first)
    assert driver.released() == [first, second]
    assert driver.endings() == ["ACCEPTED"]


def test_a_replaced_login_is_not_trusted(driver: MachineDriver) -> None:
    before = driver.sign_in(RIGHT)
    driver.handle(events.LoginProvided(OFFICE, BASIC_METHOD, OTHER))
    request = driver.challenge()
    driver.accept(request)
    now = driver.login_id_of(request)
    assert driver.machine.is_trusted(now)
    assert not driver.machine.is_trusted(before)


# --- Secrets -------------------------------------------------------------------------------------


def test_no_repr_shows_a_password(driver: MachineDriver) -> None:
    secret = Login("jdoe", "Zx9-hidden")
    (request,) = driver.open_prompt()
    shown = [repr(driver.answer_prompt(secret))]
    shown += [repr(driver.effects), repr(driver.machine.state.spaces), repr(driver.prompt)]
    driver.accept(request)
    shown += [
        repr(driver.effects),
        repr(driver.machine.state.spaces),
        repr(driver.machine.facts("office")),
    ]
    assert "hidden" not in "".join(shown)


# --- The user name -------------------------------------------------------------------------------


def test_the_accepted_user_name_is_saved_in_the_profile_and_suggested(
    driver: MachineDriver,
) -> None:
    nameless = replace(OFFICE, user="")
    driver.handle(events.ProfileSwitched(nameless))
    request = driver.challenge(profile=nameless)
    driver.finish_lookup(None)
    assert driver.due_prompt.user == ""
    driver.answer_prompt(RIGHT)
    assert driver.effects_of(events.SaveUserName) == []
    driver.accept(request)
    assert driver.effects_of(events.SaveUserName) == [events.SaveUserName("office", RIGHT.user)]
    driver.handle(events.LoginsForgotten("office"))
    driver.challenge(profile=nameless)
    driver.finish_lookup(None)
    assert driver.due_prompt.user == RIGHT.user


def test_a_user_name_of_the_profile_is_not_saved_again(driver: MachineDriver) -> None:
    driver.sign_in(RIGHT)
    assert driver.effects_of(events.SaveUserName) == []


def test_typed_user_name_replaces_the_user_name_of_the_profile(driver: MachineDriver) -> None:
    login_id = driver.sign_in(OTHER)
    assert driver.effects_of(events.SaveUserName) == [events.SaveUserName("office", OTHER.user)]
    # The keyring gets the old profile, so that it can remove the entry of the old name.
    (saved,) = driver.effects_of(events.SaveLoginToKeyring)
    assert (saved.profile.user, saved.login) == (OFFICE.user, OTHER)
    # The login stays in use; further look-ups use the new name.
    assert driver.machine.is_trusted(login_id)
    driver.handle(events.LoginsForgotten("office"))
    driver.challenge()
    assert [one.user for one in driver.effects_of(events.LookUpLogin)][-1] == OTHER.user


def test_a_rejected_user_name_does_not_replace_the_user_name_of_the_profile(
    driver: MachineDriver,
) -> None:
    (request,) = driver.open_prompt()
    driver.answer_prompt(OTHER)
    driver.reject(request)
    assert driver.effects_of(events.SaveUserName) == []


def test_a_user_name_that_was_not_typed_does_not_replace_the_user_name_of_the_profile(
    driver: MachineDriver,
) -> None:
    driver.handle(events.LoginProvided(OFFICE, BASIC_METHOD, OTHER))
    driver.accept(driver.challenge())
    assert driver.effects_of(events.SaveUserName) == []


def test_a_login_accepted_by_another_desk_replaces_the_user_name_at_once(
    driver: MachineDriver,
) -> None:
    driver.handle(events.LoginProvided(OFFICE, BASIC_METHOD, OTHER, is_proved=True))
    assert driver.effects_of(events.SaveUserName) == [events.SaveUserName("office", OTHER.user)]


def test_the_user_name_is_kept_while_another_upstream_accepts_it(driver: MachineDriver) -> None:
    spare = replace(OFFICE, fallbacks=(SPARE,))
    driver.handle(events.ProfileSwitched(spare))
    driver.sign_in(RIGHT)
    elsewhere = ProtectionSpace(UpstreamId("office", str(SPARE)), SPACE.realm, SPACE.family)
    request = driver.challenge(profile=spare, space=elsewhere)
    driver.finish_lookup(None)
    driver.advance(1)
    driver.answer_prompt(OTHER)
    driver.accept(request)
    assert driver.effects_of(events.SaveUserName) == []
