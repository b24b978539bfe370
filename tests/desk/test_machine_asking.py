"""Tests for trayproxy.desk.machine.machine: who waits, and when a person is asked (ux §3.4)."""

from math import inf

import pytest

from tests.desk.machine_driver import (
    BASIC_METHOD,
    GNOME,
    LAB,
    LAB_SPACE,
    OFFICE,
    RIGHT,
    SPACE,
    WRONG,
    MachineDriver,
    sign_in_state,
)
from trayproxy.control.messages import Program, PromptReason, SignInState, Snooze
from trayproxy.desk.machine.events import (
    FrontEndsChanged,
    LookUpLogin,
    NetworkChanged,
    ProfileSwitched,
    ProgramIdentified,
    SaveLoginToKeyring,
    SignInRequested,
)
from trayproxy.desk.protection_space import ProtectionSpace

# --- Parking and asking ---------------------------------------------------------------------------


def test_the_keyring_is_read_only_when_a_407_has_asked(driver: MachineDriver) -> None:
    driver.handle(ProfileSwitched(OFFICE))
    assert driver.effects_of(LookUpLogin) == []
    driver.challenge()
    assert [(look.profile.id, look.user) for look in driver.effects_of(LookUpLogin)] == [
        ("office", "jdoe")
    ]


def test_a_question_gathers_requests_before_it_opens(driver: MachineDriver) -> None:
    driver.challenge()
    driver.finish_lookup(None)
    driver.advance(0.1)
    driver.challenge()
    assert not driver.is_prompting
    driver.advance(0.05)
    assert driver.prompt.waiting == 2


def test_500_requests_cost_one_look_into_the_keyring_and_one_question(
    driver: MachineDriver,
) -> None:
    driver.open_prompt(500)
    assert len(driver.effects_of(LookUpLogin)) == 1
    assert driver.prompt.number == 1
    assert driver.prompt.waiting == 500
    assert len(driver.prompt.programs) == 20


def test_a_question_says_all_that_a_person_needs(driver: MachineDriver) -> None:
    git = Program("git", 4312, "github.com:443")
    driver.challenge(target="github.com:443", program=git)
    driver.challenge(target="pip.example:443")
    driver.finish_lookup(None)
    driver.advance(0.15)
    prompt = driver.prompt
    assert (prompt.profile, prompt.upstream) == ("Office", "http://proxy.corp.example:8080")
    assert (prompt.realm, prompt.method, prompt.user) == ("Corp", "Basic", "jdoe")
    assert prompt.programs == (git, Program("", 0, "pip.example:443"))
    assert (prompt.reason, prompt.keyring) == (PromptReason.NEEDED, GNOME)
    assert (prompt.waiting, prompt.rejections, prompt.before) == (2, 0, "")


def test_a_program_found_later_is_named(driver: MachineDriver) -> None:
    (request,) = driver.open_prompt()
    assert driver.machine.unidentified_requests(1) == (request,)
    driver.handle(ProgramIdentified(request, Program("git", 1, "x:443")))
    assert driver.prompt.programs == (Program("git", 1, "x:443"),)
    assert driver.machine.unidentified_requests(1) == ()


def test_the_513th_request_is_refused(driver: MachineDriver) -> None:
    driver.open_prompt(512)
    late = driver.challenge()
    assert driver.refused() == {late: "CROWDED"}


def test_a_request_waits_five_minutes_and_no_longer(driver: MachineDriver) -> None:
    first, second = driver.open_prompt(2)
    driver.advance(299.8)
    assert driver.refused() == {}
    driver.advance(0.2)
    assert driver.refused() == {first: "TIMED_OUT", second: "TIMED_OUT"}


def test_nobody_waits_and_nothing_typed_closes_the_question_but_not_the_need(
    driver: MachineDriver,
) -> None:
    (request,) = driver.open_prompt()
    driver.disconnect(request)
    assert driver.endings() == ["ABANDONED"]
    assert sign_in_state(driver) is SignInState.NEEDED


def test_the_next_request_opens_an_abandoned_question_again(driver: MachineDriver) -> None:
    (request,) = driver.open_prompt()
    driver.disconnect(request)
    driver.advance(60)
    driver.open_prompt()
    assert driver.prompt.number == 2


def test_clients_that_leave_at_once_are_never_asked_about(driver: MachineDriver) -> None:
    request = driver.challenge()
    driver.finish_lookup(None)
    driver.disconnect(request)
    driver.advance(1)
    assert not driver.is_prompting
    assert driver.endings() == []


def test_a_second_protection_space_queues_behind_the_open_question(driver: MachineDriver) -> None:
    (request,) = driver.open_prompt()
    other = driver.challenge(LAB_SPACE, LAB)
    driver.finish_lookup(None)
    driver.advance(10)
    assert driver.prompt.profile == "Office"
    driver.answer_prompt(RIGHT)
    driver.accept(request)
    assert driver.prompt.profile == "Lab"
    assert other not in driver.refused()


def test_the_question_whose_request_waited_longest_opens_first(driver: MachineDriver) -> None:
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


# --- Declining ------------------------------------------------------------------------------------


def test_cancel_refuses_all_and_is_quiet_for_a_minute(driver: MachineDriver) -> None:
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
def test_the_quiet_time_is_told(driver: MachineDriver, snooze: Snooze, seconds: float) -> None:
    driver.open_prompt()
    driver.decline_prompt(snooze)
    assert driver.machine.facts("office").snoozed_until == driver.now + seconds


def test_until_chosen_never_ends_by_itself(driver: MachineDriver) -> None:
    driver.open_prompt()
    driver.decline_prompt(Snooze.UNTIL_CHOSEN)
    driver.advance(1_000_000)
    late = driver.challenge()
    assert driver.refused()[late] == "DECLINED"


@pytest.mark.parametrize(
    "event", [ProfileSwitched(LAB), NetworkChanged(), SignInRequested(OFFICE, BASIC_METHOD)]
)
def test_not_now_ends_with_what_changes_the_situation(
    driver: MachineDriver, event: ProfileSwitched | NetworkChanged | SignInRequested
) -> None:
    driver.open_prompt()
    driver.decline_prompt(Snooze.UNTIL_CHOSEN)
    driver.handle(event)
    request = driver.challenge()
    assert request not in driver.refused()


def test_cancel_outlasts_a_network_change(driver: MachineDriver) -> None:
    driver.open_prompt()
    driver.decline_prompt(Snooze.A_MINUTE)
    driver.handle(NetworkChanged())
    late = driver.challenge()
    assert driver.refused()[late] == "DECLINED"


def test_cancel_during_the_check_voids_the_login(driver: MachineDriver) -> None:
    first, _ = driver.open_prompt(2)
    driver.answer_prompt(RIGHT)
    driver.decline_prompt()
    driver.accept(first)
    assert driver.effects_of(SaveLoginToKeyring) == []
    assert sign_in_state(driver) is SignInState.SNOOZED


def test_quiet_holds_for_its_own_protection_space_only(driver: MachineDriver) -> None:
    driver.open_prompt()
    driver.decline_prompt()
    driver.challenge(LAB_SPACE, LAB)
    driver.finish_lookup(None)
    driver.advance(0.15)
    assert driver.prompt.profile == "Lab"


# --- A person types while clients leave -----------------------------------------------------------


def test_a_touched_question_stays_open_when_its_clients_have_gone(driver: MachineDriver) -> None:
    (request,) = driver.open_prompt()
    driver.touch_prompt()
    driver.disconnect(request)
    driver.advance(1000)
    assert driver.prompt.waiting == 0


def test_an_answer_without_a_request_is_kept_for_the_next_one(driver: MachineDriver) -> None:
    (request,) = driver.open_prompt()
    driver.touch_prompt()
    driver.disconnect(request)
    driver.answer_prompt(RIGHT)
    assert driver.effects_of(SaveLoginToKeyring) == []
    assert not driver.is_prompting
    retry = driver.challenge()
    assert driver.released() == [retry]
    driver.accept(retry)
    assert driver.effects_of(SaveLoginToKeyring) == [SaveLoginToKeyring(OFFICE, RIGHT)]


def test_an_answer_kept_for_later_is_tried_on_one_request_only(driver: MachineDriver) -> None:
    (request,) = driver.open_prompt()
    driver.touch_prompt()
    driver.disconnect(request)
    driver.answer_prompt(WRONG)
    first, _ = driver.challenge(), driver.challenge()
    assert driver.released() == [first]


def test_a_forsaken_half_typed_question_does_not_block_others_for_ever(
    driver: MachineDriver,
) -> None:
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


# --- Nobody to ask --------------------------------------------------------------------------------


def test_without_a_face_the_keyring_is_tried_before_the_refusal(driver: MachineDriver) -> None:
    driver.handle(FrontEndsChanged(0))
    driver.advance(31)
    request = driver.challenge()
    assert driver.refused() == {}
    driver.finish_lookup(None)
    assert driver.refused() == {request: "UNATTENDED"}
    assert sign_in_state(driver) is SignInState.NEEDED


def test_without_a_face_a_saved_login_works(driver: MachineDriver) -> None:
    driver.handle(FrontEndsChanged(0))
    driver.advance(31)
    request = driver.challenge()
    driver.finish_lookup(RIGHT)
    driver.accept(request)
    assert driver.refused() == {}


def test_without_a_face_a_rejected_login_refuses_all(driver: MachineDriver) -> None:
    driver.handle(FrontEndsChanged(0))
    driver.advance(31)
    first, second = driver.challenge(), driver.challenge()
    driver.finish_lookup(WRONG)
    again = driver.reject(first)
    assert driver.refused() == {second: "UNATTENDED", again: "UNATTENDED"}


def test_a_tray_that_restarts_finds_the_same_question(driver: MachineDriver) -> None:
    driver.open_prompt(2)
    before = driver.prompt
    driver.handle(FrontEndsChanged(0))
    driver.advance(20)
    driver.handle(FrontEndsChanged(1))
    assert driver.prompt == before
    assert driver.refused() == {}


def test_a_tray_that_does_not_come_back_refuses_who_waits(driver: MachineDriver) -> None:
    requests = driver.open_prompt(2)
    driver.handle(FrontEndsChanged(0))
    driver.advance(30)
    assert driver.refused() == dict.fromkeys(requests, "UNATTENDED")
    assert not driver.is_prompting


def test_the_grace_begins_when_the_last_face_goes_however_long_it_was_there(
    driver: MachineDriver,
) -> None:
    driver.advance(3600)
    driver.handle(FrontEndsChanged(0))
    request = driver.challenge()
    driver.finish_lookup(None)
    driver.advance(29)
    assert driver.refused() == {}
    driver.advance(2)
    assert driver.refused() == {request: "UNATTENDED"}
