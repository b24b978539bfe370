"""Tests for trayproxy.desk.machine.machine: who waits, and when a person is asked (ux §3.4)."""

from math import inf

import pytest

from tests.desk.play import GNOME, KEY, LAB, LAB_KEY, OFFICE, RIGHT, WAY, WRONG, Play, fact
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


def test_the_keyring_is_read_only_when_a_407_has_asked(play: Play) -> None:
    play.do(ProfileSwitched(OFFICE))
    assert play.all(LookUpLogin) == []
    play.challenge()
    assert [(look.profile.id, look.user) for look in play.all(LookUpLogin)] == [("office", "jdoe")]


def test_a_question_gathers_requests_before_it_opens(play: Play) -> None:
    play.challenge()
    play.found(None)
    play.wait(0.1)
    play.challenge()
    assert not play.is_asking
    play.wait(0.05)
    assert play.question.waiting == 2


def test_500_requests_cost_one_look_into_the_keyring_and_one_question(play: Play) -> None:
    play.ask(500)
    assert len(play.all(LookUpLogin)) == 1
    assert play.question.number == 1
    assert play.question.waiting == 500
    assert len(play.question.programs) == 20


def test_a_question_says_all_that_a_person_needs(play: Play) -> None:
    git = Program("git", 4312, "github.com:443")
    play.challenge(target="github.com:443", program=git)
    play.challenge(target="pip.example:443")
    play.found(None)
    play.wait(0.15)
    question = play.question
    assert (question.profile, question.upstream) == ("Office", "http://proxy.corp.example:8080")
    assert (question.realm, question.method, question.user) == ("Corp", "Basic", "jdoe")
    assert question.programs == (git, Program("", 0, "pip.example:443"))
    assert (question.reason, question.keyring) == (PromptReason.NEEDED, GNOME)
    assert (question.waiting, question.rejections, question.before) == (2, 0, "")


def test_a_program_found_later_is_named(play: Play) -> None:
    (waiter,) = play.ask()
    assert play.machine.unidentified_requests(1) == (waiter,)
    play.do(ProgramIdentified(waiter, Program("git", 1, "x:443")))
    assert play.question.programs == (Program("git", 1, "x:443"),)
    assert play.machine.unidentified_requests(1) == ()


def test_the_513th_request_is_refused(play: Play) -> None:
    play.ask(512)
    late = play.challenge()
    assert play.refused() == {late: "CROWDED"}


def test_a_request_waits_five_minutes_and_no_longer(play: Play) -> None:
    first, second = play.ask(2)
    play.wait(299.8)
    assert play.refused() == {}
    play.wait(0.2)
    assert play.refused() == {first: "TIMED_OUT", second: "TIMED_OUT"}


def test_nobody_waits_and_nothing_typed_closes_the_question_but_not_the_need(play: Play) -> None:
    (waiter,) = play.ask()
    play.leave(waiter)
    assert play.endings() == ["ABANDONED"]
    assert fact(play) is SignInState.NEEDED


def test_the_next_request_opens_an_abandoned_question_again(play: Play) -> None:
    (waiter,) = play.ask()
    play.leave(waiter)
    play.wait(60)
    play.ask()
    assert play.question.number == 2


def test_clients_that_leave_at_once_are_never_asked_about(play: Play) -> None:
    waiter = play.challenge()
    play.found(None)
    play.leave(waiter)
    play.wait(1)
    assert not play.is_asking
    assert play.endings() == []


def test_a_second_protection_space_queues_behind_the_open_question(play: Play) -> None:
    (waiter,) = play.ask()
    other = play.challenge(LAB_KEY, LAB)
    play.found(None)
    play.wait(10)
    assert play.question.profile == "Office"
    play.enter(RIGHT)
    play.accept(waiter)
    assert play.question.profile == "Lab"
    assert other not in play.refused()


def test_the_question_whose_request_waited_longest_opens_first(play: Play) -> None:
    third = ProtectionSpace(KEY.upstream_id, "Third", "basic")
    (waiter,) = play.ask()
    play.challenge(third)
    play.found(None)
    play.wait(1)
    play.challenge(LAB_KEY, LAB)
    play.found(None)
    play.wait(1)
    play.enter(RIGHT)
    play.accept(waiter)
    assert play.question.realm == "Third"


# --- Declining ------------------------------------------------------------------------------------


def test_cancel_refuses_all_and_is_quiet_for_a_minute(play: Play) -> None:
    waiters = play.ask(3)
    play.decline()
    assert play.refused() == dict.fromkeys(waiters, "DECLINED")
    assert play.endings() == ["DECLINED"]
    assert fact(play) is SignInState.SNOOZED
    play.wait(59)
    late = play.challenge()
    assert play.refused()[late] == "DECLINED"
    play.wait(1)
    assert fact(play) is SignInState.NEEDED
    play.ask()
    assert play.is_asking


@pytest.mark.parametrize(
    ("quiet", "seconds"), [(Snooze.A_MINUTE, 60), (Snooze.A_WHILE, 900), (Snooze.UNTIL_CHOSEN, inf)]
)
def test_the_quiet_time_is_told(play: Play, quiet: Snooze, seconds: float) -> None:
    play.ask()
    play.decline(quiet)
    assert play.machine.facts("office").snoozed_until == play.now + seconds


def test_until_chosen_never_ends_by_itself(play: Play) -> None:
    play.ask()
    play.decline(Snooze.UNTIL_CHOSEN)
    play.wait(1_000_000)
    late = play.challenge()
    assert play.refused()[late] == "DECLINED"


@pytest.mark.parametrize(
    "event", [ProfileSwitched(LAB), NetworkChanged(), SignInRequested(OFFICE, WAY)]
)
def test_not_now_ends_with_what_changes_the_situation(
    play: Play, event: ProfileSwitched | NetworkChanged | SignInRequested
) -> None:
    play.ask()
    play.decline(Snooze.UNTIL_CHOSEN)
    play.do(event)
    waiter = play.challenge()
    assert waiter not in play.refused()


def test_cancel_outlasts_a_network_change(play: Play) -> None:
    play.ask()
    play.decline(Snooze.A_MINUTE)
    play.do(NetworkChanged())
    late = play.challenge()
    assert play.refused()[late] == "DECLINED"


def test_cancel_during_the_check_voids_the_login(play: Play) -> None:
    first, _ = play.ask(2)
    play.enter(RIGHT)
    play.decline()
    play.accept(first)
    assert play.all(SaveLoginToKeyring) == []
    assert fact(play) is SignInState.SNOOZED


def test_quiet_holds_for_its_own_protection_space_only(play: Play) -> None:
    play.ask()
    play.decline()
    play.challenge(LAB_KEY, LAB)
    play.found(None)
    play.wait(0.15)
    assert play.question.profile == "Lab"


# --- A person types while clients leave -----------------------------------------------------------


def test_a_touched_question_stays_open_when_its_clients_have_gone(play: Play) -> None:
    (waiter,) = play.ask()
    play.touch()
    play.leave(waiter)
    play.wait(1000)
    assert play.question.waiting == 0


def test_an_answer_without_a_request_is_kept_for_the_next_one(play: Play) -> None:
    (waiter,) = play.ask()
    play.touch()
    play.leave(waiter)
    play.enter(RIGHT)
    assert play.all(SaveLoginToKeyring) == []
    assert not play.is_asking
    retry = play.challenge()
    assert play.released() == [retry]
    play.accept(retry)
    assert play.all(SaveLoginToKeyring) == [SaveLoginToKeyring(OFFICE, RIGHT)]


def test_an_answer_kept_for_later_is_tried_on_one_request_only(play: Play) -> None:
    (waiter,) = play.ask()
    play.touch()
    play.leave(waiter)
    play.enter(WRONG)
    first, _ = play.challenge(), play.challenge()
    assert play.released() == [first]


def test_a_forsaken_half_typed_question_does_not_block_others_for_ever(play: Play) -> None:
    (waiter,) = play.ask()
    play.touch()
    play.leave(waiter)
    play.wait(150)
    play.challenge(LAB_KEY, LAB)
    play.found(None)
    play.wait(149)
    assert len(play.machine.prompt_numbers()) == 1
    play.wait(1)
    assert len(play.machine.prompt_numbers()) == 2


# --- Nobody to ask --------------------------------------------------------------------------------


def test_without_a_face_the_keyring_is_tried_before_the_refusal(play: Play) -> None:
    play.do(FrontEndsChanged(0))
    play.wait(31)
    waiter = play.challenge()
    assert play.refused() == {}
    play.found(None)
    assert play.refused() == {waiter: "UNATTENDED"}
    assert fact(play) is SignInState.NEEDED


def test_without_a_face_a_saved_login_works(play: Play) -> None:
    play.do(FrontEndsChanged(0))
    play.wait(31)
    waiter = play.challenge()
    play.found(RIGHT)
    play.accept(waiter)
    assert play.refused() == {}


def test_without_a_face_a_rejected_login_refuses_all(play: Play) -> None:
    play.do(FrontEndsChanged(0))
    play.wait(31)
    first, second = play.challenge(), play.challenge()
    play.found(WRONG)
    again = play.reject(first)
    assert play.refused() == {second: "UNATTENDED", again: "UNATTENDED"}


def test_a_tray_that_restarts_finds_the_same_question(play: Play) -> None:
    play.ask(2)
    before = play.question
    play.do(FrontEndsChanged(0))
    play.wait(20)
    play.do(FrontEndsChanged(1))
    assert play.question == before
    assert play.refused() == {}


def test_a_tray_that_does_not_come_back_refuses_who_waits(play: Play) -> None:
    waiters = play.ask(2)
    play.do(FrontEndsChanged(0))
    play.wait(30)
    assert play.refused() == dict.fromkeys(waiters, "UNATTENDED")
    assert not play.is_asking


def test_the_grace_begins_when_the_last_face_goes_however_long_it_was_there(play: Play) -> None:
    play.wait(3600)
    play.do(FrontEndsChanged(0))
    waiter = play.challenge()
    play.found(None)
    play.wait(29)
    assert play.refused() == {}
    play.wait(2)
    assert play.refused() == {waiter: "UNATTENDED"}
