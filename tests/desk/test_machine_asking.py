"""Tests for trayproxy.desk.machine.machine: parked requests, and when prompts open (ux §3.4)."""

from math import inf

import pytest

from tests.desk.machine_driver import (
    BASIC_METHOD,
    LAB_SPACE,
    OFFICE,
    SPACE,
    MachineDriver,
    sign_in_state,
)
from tests.support.values import GNOME, LAB, RIGHT, WRONG
from trayproxy.desk.machine import events
from trayproxy.desk.protection_space import ProtectionSpace
from trayproxy.domain.signin import Program, PromptReason, SignInState, Snooze

# --- Parking and prompting -----------------------------------------------------------------------


def test_the_keyring_is_read_only_after_a_407(driver: MachineDriver) -> None:
    driver.handle(events.ProfileSwitched(OFFICE))
    assert driver.effects_of(events.LookUpLogin) == []
    driver.challenge()
    assert [(look.profile.id, look.user) for look in driver.effects_of(events.LookUpLogin)] == [
        ("office", "jdoe")
    ]


def test_a_prompt_opens_after_a_delay_for_further_requests(driver: MachineDriver) -> None:
    driver.challenge()
    driver.finish_lookup(None)
    driver.advance(0.1)
    driver.challenge()
    assert not driver.is_prompting
    driver.advance(0.05)
    assert driver.prompt.waiting == 2


def test_500_requests_cost_one_keyring_lookup_and_one_prompt(driver: MachineDriver) -> None:
    driver.open_prompt(500)
    assert len(driver.effects_of(events.LookUpLogin)) == 1
    assert driver.prompt.number == 1
    assert driver.prompt.waiting == 500
    assert len(driver.prompt.programs) == 20


def test_a_prompt_describes_upstream_programs_and_reason(driver: MachineDriver) -> None:
    git = Program("git", 4312, "github.com:443")
    driver.challenge(target="github.com:443", program=git)
    driver.challenge(target="pip.example:443")
    driver.finish_lookup(None)
    driver.advance(0.15)
    prompt = driver.prompt
    assert (prompt.profile, prompt.upstream) == ("Office", "http://proxy.example:8080")
    assert (prompt.realm, prompt.method, prompt.user) == ("Corp", "Basic", "jdoe")
    assert prompt.programs == (git, Program("", 0, "pip.example:443"))
    assert (prompt.reason, prompt.keyring) == (PromptReason.NEEDED, GNOME)
    assert (prompt.waiting, prompt.rejections, prompt.before) == (2, 0, "")


def test_a_program_identified_later_is_named_in_the_prompt(driver: MachineDriver) -> None:
    (request,) = driver.open_prompt()
    assert driver.machine.unidentified_requests(1) == (request,)
    driver.handle(events.ProgramIdentified(request, Program("git", 1, "x:443")))
    assert driver.prompt.programs == (Program("git", 1, "x:443"),)
    assert driver.machine.unidentified_requests(1) == ()


def test_the_513th_request_is_refused(driver: MachineDriver) -> None:
    driver.open_prompt(512)
    late = driver.challenge()
    assert driver.refused() == {late: "CROWDED"}


def test_a_parked_request_is_refused_after_five_minutes(driver: MachineDriver) -> None:
    first, second = driver.open_prompt(2)
    driver.advance(299.8)
    assert driver.refused() == {}
    driver.advance(0.2)
    assert driver.refused() == {first: "TIMED_OUT", second: "TIMED_OUT"}


def test_untouched_prompt_without_requests_closes_but_the_login_is_still_needed(
    driver: MachineDriver,
) -> None:
    (request,) = driver.open_prompt()
    driver.disconnect(request)
    assert driver.endings() == ["ABANDONED"]
    assert sign_in_state(driver) is SignInState.NEEDED


def test_the_next_request_opens_an_abandoned_prompt_again(driver: MachineDriver) -> None:
    (request,) = driver.open_prompt()
    driver.disconnect(request)
    driver.advance(60)
    driver.open_prompt()
    assert driver.prompt.number == 2


def test_clients_that_disconnect_at_once_open_no_prompt(driver: MachineDriver) -> None:
    request = driver.challenge()
    driver.finish_lookup(None)
    driver.disconnect(request)
    driver.advance(1)
    assert not driver.is_prompting
    assert driver.endings() == []


def test_a_prompt_of_a_second_protection_space_waits_for_the_open_prompt(
    driver: MachineDriver,
) -> None:
    (request,) = driver.open_prompt()
    other = driver.challenge(LAB_SPACE, LAB)
    driver.finish_lookup(None)
    driver.advance(10)
    assert driver.prompt.profile == "Office"
    driver.answer_prompt(RIGHT)
    driver.accept(request)
    assert driver.prompt.profile == "Lab"
    assert other not in driver.refused()


def test_the_prompt_with_the_longest_parked_request_opens_first(driver: MachineDriver) -> None:
    third = ProtectionSpace(SPACE.upstream_id, "Third", "basic")
    (request,) = driver.open_prompt()
    driver.challenge(third)
    driver.finish_lookup(None)
    driver.advance(1)
    driver.challenge(LAB_SPACE, LAB)
    driver.finish_lookup(None)
    driver.advance(1)
    driver.answer_prompt(RIGHT)
    driver.accept(request)
    assert driver.prompt.realm == "Third"


# --- Declining -----------------------------------------------------------------------------------


def test_cancel_refuses_all_requests_and_snoozes_for_a_minute(driver: MachineDriver) -> None:
    requests = driver.open_prompt(3)
    driver.decline_prompt()
    assert driver.refused() == dict.fromkeys(requests, "DECLINED")
    assert driver.endings() == ["DECLINED"]
    assert sign_in_state(driver) is SignInState.SNOOZED
    driver.advance(59)
    late = driver.challenge()
    assert driver.refused()[late] == "DECLINED"
    driver.advance(1)
    assert sign_in_state(driver) is SignInState.NEEDED
    driver.open_prompt()
    assert driver.is_prompting


@pytest.mark.parametrize(
    ("snooze", "seconds"),
    [(Snooze.A_MINUTE, 60), (Snooze.A_WHILE, 900), (Snooze.UNTIL_CHOSEN, inf)],
)
def test_facts_contain_the_end_of_the_snooze(
    driver: MachineDriver, snooze: Snooze, seconds: float
) -> None:
    driver.open_prompt()
    driver.decline_prompt(snooze)
    assert driver.machine.facts("office").snoozed_until == driver.now + seconds


def test_snooze_until_chosen_does_not_end_automatically(driver: MachineDriver) -> None:
    driver.open_prompt()
    driver.decline_prompt(Snooze.UNTIL_CHOSEN)
    driver.advance(1_000_000)
    late = driver.challenge()
    assert driver.refused()[late] == "DECLINED"


@pytest.mark.parametrize(
    "event",
    [
        events.ProfileSwitched(LAB),
        events.NetworkChanged(),
        events.SignInRequested(OFFICE, BASIC_METHOD),
    ],
)
def test_not_now_ends_with_a_network_or_profile_change_or_sign_in(
    driver: MachineDriver,
    event: events.ProfileSwitched | events.NetworkChanged | events.SignInRequested,
) -> None:
    driver.open_prompt()
    driver.decline_prompt(Snooze.UNTIL_CHOSEN)
    driver.handle(event)
    request = driver.challenge()
    assert request not in driver.refused()


def test_cancel_snooze_outlasts_a_network_change(driver: MachineDriver) -> None:
    driver.open_prompt()
    driver.decline_prompt(Snooze.A_MINUTE)
    driver.handle(events.NetworkChanged())
    late = driver.challenge()
    assert driver.refused()[late] == "DECLINED"


def test_cancel_during_the_check_discards_the_login(driver: MachineDriver) -> None:
    first, _ = driver.open_prompt(2)
    driver.answer_prompt(RIGHT)
    driver.decline_prompt()
    driver.accept(first)
    assert driver.effects_of(events.SaveLoginToKeyring) == []
    assert sign_in_state(driver) is SignInState.SNOOZED


def test_snooze_applies_to_its_protection_space_only(driver: MachineDriver) -> None:
    driver.open_prompt()
    driver.decline_prompt()
    driver.challenge(LAB_SPACE, LAB)
    driver.finish_lookup(None)
    driver.advance(0.15)
    assert driver.prompt.profile == "Lab"


# --- The user types while clients disconnect -----------------------------------------------------


def test_a_touched_prompt_stays_open_after_its_clients_disconnect(driver: MachineDriver) -> None:
    (request,) = driver.open_prompt()
    driver.touch_prompt()
    driver.disconnect(request)
    driver.advance(1000)
    assert driver.prompt.waiting == 0


def test_typed_login_without_a_request_is_kept_for_the_next_request(driver: MachineDriver) -> None:
    (request,) = driver.open_prompt()
    driver.touch_prompt()
    driver.disconnect(request)
    driver.answer_prompt(RIGHT)
    assert driver.effects_of(events.SaveLoginToKeyring) == []
    assert not driver.is_prompting
    retry = driver.challenge()
    assert driver.released() == [retry]
    driver.accept(retry)
    assert driver.effects_of(events.SaveLoginToKeyring) == [
        events.SaveLoginToKeyring(OFFICE, RIGHT)
    ]


def test_typed_login_kept_for_later_is_sent_on_one_request_only(driver: MachineDriver) -> None:
    (request,) = driver.open_prompt()
    driver.touch_prompt()
    driver.disconnect(request)
    driver.answer_prompt(WRONG)
    first, _ = driver.challenge(), driver.challenge()
    assert driver.released() == [first]


def test_a_touched_but_abandoned_prompt_stops_blocking_other_prompts(driver: MachineDriver) -> None:
    (request,) = driver.open_prompt()
    driver.touch_prompt()
    driver.disconnect(request)
    driver.advance(150)
    driver.challenge(LAB_SPACE, LAB)
    driver.finish_lookup(None)
    driver.advance(149)
    assert len(driver.machine.prompt_numbers()) == 1
    driver.advance(1)
    assert len(driver.machine.prompt_numbers()) == 2


# --- No front end --------------------------------------------------------------------------------


def test_without_a_front_end_the_keyring_is_read_before_the_refusal(driver: MachineDriver) -> None:
    driver.handle(events.FrontEndsChanged(0))
    driver.advance(31)
    request = driver.challenge()
    assert driver.refused() == {}
    driver.finish_lookup(None)
    assert driver.refused() == {request: "UNATTENDED"}
    assert sign_in_state(driver) is SignInState.NEEDED


def test_without_a_front_end_a_saved_login_is_used(driver: MachineDriver) -> None:
    driver.handle(events.FrontEndsChanged(0))
    driver.advance(31)
    request = driver.challenge()
    driver.finish_lookup(RIGHT)
    driver.accept(request)
    assert driver.refused() == {}


def test_without_a_front_end_a_rejected_login_refuses_all_requests(driver: MachineDriver) -> None:
    driver.handle(events.FrontEndsChanged(0))
    driver.advance(31)
    first, second = driver.challenge(), driver.challenge()
    driver.finish_lookup(WRONG)
    again = driver.reject(first)
    assert driver.refused() == {second: "UNATTENDED", again: "UNATTENDED"}


def test_a_restarted_tray_finds_the_same_prompt(driver: MachineDriver) -> None:
    driver.open_prompt(2)
    before = driver.prompt
    driver.handle(events.FrontEndsChanged(0))
    driver.advance(20)
    driver.handle(events.FrontEndsChanged(1))
    assert driver.prompt == before
    assert driver.refused() == {}


def test_requests_are_refused_if_the_tray_does_not_restart(driver: MachineDriver) -> None:
    requests = driver.open_prompt(2)
    driver.handle(events.FrontEndsChanged(0))
    driver.advance(30)
    assert driver.refused() == dict.fromkeys(requests, "UNATTENDED")
    assert not driver.is_prompting


def test_a_prompt_opened_by_the_user_stays_if_the_tray_does_not_restart(
    driver: MachineDriver,
) -> None:
    driver.sign_in()
    driver.handle(events.SignInRequested(OFFICE, BASIC_METHOD))
    driver.handle(events.FrontEndsChanged(0))
    driver.advance(60)
    assert driver.prompt.reason is PromptReason.ASKED_FOR


def test_grace_starts_when_the_last_front_end_disconnects(driver: MachineDriver) -> None:
    driver.advance(3600)
    driver.handle(events.FrontEndsChanged(0))
    request = driver.challenge()
    driver.finish_lookup(None)
    driver.advance(29)
    assert driver.refused() == {}
    driver.advance(2)
    assert driver.refused() == {request: "UNATTENDED"}
