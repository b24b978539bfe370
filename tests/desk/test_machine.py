"""Tests for trayproxy.desk.machine: the flow of ux §3.4, played."""

import itertools
from dataclasses import replace
from math import inf

import pytest

from tests.desk.play import (
    GNOME,
    KEY,
    LAB,
    LAB_KEY,
    LOCKED,
    OFFICE,
    RIGHT,
    WAY,
    WRONG,
    Play,
)
from trayproxy.auth.login import Login
from trayproxy.control.messages import (
    Keyring,
    KeyringState,
    Program,
    Quiet,
    SignInState,
    Why,
)
from trayproxy.desk.events import (
    AskersChanged,
    Deleted,
    Edited,
    Forgotten,
    Found,
    Given,
    Identified,
    LookUp,
    NetworkChanged,
    Save,
    Survey,
    Switched,
    Wanted,
)
from trayproxy.desk.rules import Rules
from trayproxy.desk.space import Key, Space
from trayproxy.profiles.profile import Profile, SignIn, Upstream


@pytest.fixture
def play() -> Play:
    return Play()


def fact(play: Play) -> SignInState:
    return play.machine.facts("office").sign_in


# --- Parking and asking ---------------------------------------------------------------------------


def test_the_keyring_is_read_only_when_a_407_has_asked(play: Play) -> None:
    play.do(Switched(OFFICE))
    assert play.all(LookUp) == []
    play.challenge()
    assert [(look.profile.id, look.user) for look in play.all(LookUp)] == [("office", "jdoe")]


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
    assert len(play.all(LookUp)) == 1
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
    assert (question.why, question.keyring) == (Why.NEEDED, GNOME)


def test_a_program_found_later_is_named(play: Play) -> None:
    (waiter,) = play.ask()
    assert play.machine.strangers(1) == (waiter,)
    play.do(Identified(waiter, Program("git", 1, "x:443")))
    assert play.question.programs == (Program("git", 1, "x:443"),)
    assert play.machine.strangers(1) == ()


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
    third = Key(KEY.space, "Third", "basic")
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


# --- The canary -----------------------------------------------------------------------------------


def test_what_is_typed_is_tried_on_the_oldest_request_only(play: Play) -> None:
    first, _, _ = play.ask(3)
    play.enter(WRONG)
    assert play.released() == [first]
    assert play.question.checking


def test_the_canary_is_the_oldest_request_whose_client_is_still_there(play: Play) -> None:
    first, second, _ = play.ask(3)
    play.leave(first)
    play.enter(WRONG)
    assert play.released() == [second]


def test_success_releases_the_rest_in_order_and_closes_the_question(play: Play) -> None:
    waiters = play.ask(4)
    play.enter(RIGHT)
    play.accept(waiters[0])
    assert play.released() == waiters
    assert play.endings() == ["ACCEPTED"]
    assert fact(play) is SignInState.OK
    assert play.machine.facts("office").user == "jdoe"


def test_only_success_saves(play: Play) -> None:
    first, _ = play.ask(2)
    play.enter(WRONG)
    play.reject(first)
    assert play.all(Save) == []
    play.enter(RIGHT)
    play.accept(play.released()[-1])
    assert play.all(Save) == [Save(OFFICE, RIGHT)]


def test_what_is_not_to_be_remembered_is_not_saved(play: Play) -> None:
    (waiter,) = play.ask()
    play.enter(RIGHT, remember=False)
    play.accept(waiter)
    assert play.all(Save) == []


def test_a_request_that_comes_during_the_check_waits_for_the_verdict(play: Play) -> None:
    (first,) = play.ask()
    play.enter(RIGHT)
    late = play.challenge()
    assert play.released() == [first]
    play.accept(first)
    assert play.released() == [first, late]


def test_a_rejection_is_counted_and_told_and_the_others_stay(play: Play) -> None:
    first, second = play.ask(2)
    play.enter(WRONG)
    again = play.reject(first)
    question = play.question
    assert (question.why, question.rejections, question.checking) == (Why.TYPED_REJECTED, 1, False)
    assert question.waiting == 2
    assert play.refused() == {}
    assert fact(play) is SignInState.REJECTED
    play.enter(RIGHT)
    assert play.released() == [first, second]
    play.accept(second)
    assert play.released() == [first, second, again]


def test_a_second_answer_while_one_is_checked_is_not_sent(play: Play) -> None:
    play.ask(2)
    play.enter(WRONG)
    play.enter(RIGHT)
    assert len(play.released()) == 1


def test_three_rejections_within_ten_minutes_need_insistence(play: Play) -> None:
    play.ask()
    for attempt in range(3):
        assert not play.question.hurried
        play.enter(Login("jdoe", f"wrong{attempt}"))
        play.reject(play.released()[-1])
        play.wait(60)
    assert (play.question.rejections, play.question.hurried) == (3, True)


def test_three_rejections_over_a_longer_time_do_not(play: Play) -> None:
    play.ask()
    for attempt in range(3):
        play.touch()
        play.enter(Login("jdoe", f"wrong{attempt}"))
        play.reject(play.released()[-1])
        play.wait(290)
        play.challenge()
        play.wait(290)
    assert (play.question.rejections, play.question.hurried) == (3, False)


def test_success_clears_the_count(play: Play) -> None:
    (first,) = play.ask()
    play.enter(WRONG)
    play.reject(first)
    play.enter(RIGHT)
    play.accept(play.released()[-1])
    play.wait(61)
    play.reject(play.released()[-1])
    play.found(None)
    play.wait(0.15)
    assert play.question.rejections == 1


# --- Never again by itself ------------------------------------------------------------------------


def test_a_rejected_login_typed_again_costs_no_log_on(play: Play) -> None:
    play.ask(2)
    play.enter(WRONG)
    play.reject(play.released()[-1])
    play.enter(WRONG)
    question = play.question
    assert len(play.released()) == 1
    assert (question.why, question.rejections) == (Why.TYPED_REJECTED, 2)
    assert question.hurried
    assert not question.checking


def test_a_person_who_insists_is_obeyed_once(play: Play) -> None:
    play.ask(2)
    play.enter(WRONG)
    play.reject(play.released()[-1])
    play.enter(WRONG)
    play.enter(WRONG)
    assert len(play.released()) == 2
    play.reject(play.released()[-1])
    play.wait(601)
    play.ask()
    play.enter(WRONG)
    assert len(play.released()) == 2


def test_sign_in_from_the_menu_lifts_a_rejection_once(play: Play) -> None:
    play.ask()
    play.enter(WRONG)
    play.reject(play.released()[-1])
    play.do(Wanted(OFFICE, WAY))
    play.enter(WRONG)
    assert len(play.released()) == 2
    play.reject(play.released()[-1])
    play.enter(WRONG)
    assert len(play.released()) == 2


def test_a_saved_login_is_tried_on_one_request_whatever_the_number(play: Play) -> None:
    first, *_ = (play.challenge() for _ in range(50))
    play.found(WRONG)
    assert play.released() == [first]
    play.reject(first)
    play.wait(0.15)
    assert play.released() == [first]
    assert (play.question.why, play.question.waiting) == (Why.SAVED_REJECTED, 50)
    assert play.question.user == "jdoe"


def test_a_saved_login_that_works_asks_nobody_and_is_not_saved_again(play: Play) -> None:
    waiters = [play.challenge() for _ in range(5)]
    play.found(RIGHT)
    play.accept(waiters[0])
    play.wait(1)
    assert play.released() == waiters
    assert play.all(Save) == []
    assert play.machine.numbers() == ()
    assert fact(play) is SignInState.OK


def test_a_saved_login_once_rejected_is_not_tried_for_the_next_request(play: Play) -> None:
    first = play.challenge()
    play.found(WRONG)
    play.leave(play.reject(first))
    play.wait(60)
    play.challenge()
    play.found(WRONG)
    play.wait(0.15)
    assert play.released() == [first]
    assert play.question.why is Why.SAVED_REJECTED


def test_a_saved_login_that_was_changed_meanwhile_is_tried(play: Play) -> None:
    first = play.challenge()
    play.found(WRONG)
    play.leave(play.reject(first))
    play.wait(60)
    second = play.challenge()
    play.found(RIGHT)
    assert play.released() == [first, second]


def test_after_three_rejections_not_even_a_changed_saved_login_is_tried_by_itself(
    play: Play,
) -> None:
    play.ask()
    for attempt in range(3):
        play.enter(Login("jdoe", f"wrong{attempt}"))
        last = play.reject(play.released()[-1])
    play.decline()
    play.wait(61)
    play.challenge()
    assert last in play.refused()
    assert len(play.all(LookUp)) == 1


def test_the_saved_login_typed_by_hand_is_known_to_be_wrong(play: Play) -> None:
    first = play.challenge()
    play.found(WRONG)
    play.reject(first)
    play.wait(0.15)
    play.enter(WRONG)
    assert play.released() == [first]


def test_a_login_given_up_before_its_rejection_came_is_not_sent_again(play: Play) -> None:
    first, _ = play.ask(2)
    play.enter(WRONG)
    play.decline()
    play.reject(first)
    play.wait(60)
    play.ask()
    play.enter(WRONG)
    assert play.released() == [first]
    assert play.question.hurried


# --- Verdicts that are none -----------------------------------------------------------------------


def test_a_network_error_is_not_a_rejection(play: Play) -> None:
    (first,) = play.ask()
    play.enter(RIGHT)
    play.fail(first)
    question = play.question
    assert (question.why, question.rejections, question.checking) == (Why.UNCHECKED, 0, False)
    second = play.challenge()
    play.accept(second)
    assert play.endings() == ["ACCEPTED"]


def test_after_a_network_error_the_rest_is_tried_one_by_one(play: Play) -> None:
    first, second, third = play.ask(3)
    play.enter(RIGHT)
    play.fail(first)
    assert play.released() == [first, second]
    play.fail(second)
    assert play.released() == [first, second, third]


def test_a_canary_that_takes_ten_seconds_is_told_but_not_overtaken(play: Play) -> None:
    first, second, third = play.ask(3)
    play.enter(RIGHT)
    play.wait(9.9)
    assert play.question.checking
    play.wait(250)
    assert play.released() == [first]
    assert (play.question.why, play.question.checking) == (Why.UNCHECKED, False)
    play.accept(first)
    assert play.released() == [first, second, third]
    assert play.endings() == ["ACCEPTED"]


def test_a_slow_canary_that_succeeds_in_the_end_counts(play: Play) -> None:
    (first,) = play.ask()
    play.enter(RIGHT)
    play.wait(30)
    play.accept(first)
    assert play.endings() == ["ACCEPTED"]
    assert play.all(Save) == [Save(OFFICE, RIGHT)]


def test_a_slow_canary_that_is_rejected_in_the_end_costs_one_log_on(play: Play) -> None:
    first, _, _ = play.ask(3)
    play.enter(WRONG)
    play.wait(30)
    play.reject(first)
    assert play.question.rejections == 1
    assert play.released() == [first]


def test_a_canary_that_is_never_heard_of_again_leaves_the_rest_to_the_person(play: Play) -> None:
    first, *_ = play.ask()
    play.enter(RIGHT)
    play.wait(299)
    second = play.challenge()
    play.wait(1)
    assert play.released() == [first]
    assert (why(play), play.question.checking) == (Why.UNCHECKED, False)
    play.enter(RIGHT)
    assert play.released() == [first, second]


def test_a_login_that_gets_no_answer_twice_is_left_to_the_person(play: Play) -> None:
    first, second, *_ = play.ask(4)
    play.enter(RIGHT)
    play.fail(first, sent=True)
    play.fail(second, sent=True)
    assert play.released() == [first, second]
    assert (play.question.why, play.question.waiting) == (Why.UNCHECKED, 2)
    play.enter(RIGHT)
    assert len(play.released()) == 3


def test_a_saved_login_that_gets_no_answer_twice_is_not_tried_for_a_while(play: Play) -> None:
    first, second, third = (play.challenge() for _ in range(3))
    play.found(RIGHT)
    play.fail(first, sent=True)
    play.fail(second, sent=True)
    play.leave(third)
    play.wait(60)
    play.challenge()
    assert len(play.all(LookUp)) == 1
    play.wait(900)
    play.challenge()
    assert len(play.all(LookUp)) == 2


def test_a_saved_login_that_never_gets_an_answer_is_sent_seldom(play: Play) -> None:
    """Whoever leaves instead of saying no may have counted a failed log-on each time."""
    play.do(AskersChanged(0))
    play.challenge()
    play.found(RIGHT)
    sent: list[int] = []
    for minute in range(24 * 60):
        while len(sent) < len(play.released()):
            sent.append(minute)
            play.fail(play.released()[-1], sent=True)
        lookups = len(play.all(LookUp))
        play.challenge()
        if len(play.all(LookUp)) > lookups:
            play.found(RIGHT)
        play.wait(60)
    assert len(sent) == 5
    assert all(later - before >= 60 for before, later in itertools.pairwise(sent[1:]))


def test_a_saved_login_that_was_changed_meanwhile_is_sent_although_the_other_got_no_answer(
    play: Play,
) -> None:
    first, second = play.challenge(), play.challenge()
    play.found(WRONG)
    play.fail(first, sent=True)
    play.fail(second, sent=True)
    play.wait(901)
    third = play.challenge()
    play.found(RIGHT)
    assert play.released()[-1] == third


def test_another_network_lets_a_login_without_an_answer_be_tried_again(play: Play) -> None:
    first, second, third = (play.challenge() for _ in range(3))
    play.found(RIGHT)
    play.fail(first, sent=True)
    play.do(NetworkChanged())
    play.fail(second, sent=True)
    assert play.released() == [first, second, third]


def why(play: Play) -> Why:
    return play.question.why


def test_a_rejection_that_comes_after_all_is_remembered(play: Play) -> None:
    first, second = play.ask(2)
    play.enter(WRONG)
    play.fail(first, sent=True)
    play.wait(300)
    assert why(play) is Why.UNCHECKED
    play.reject(second)
    play.enter(WRONG)
    assert play.released() == [first, second]
    assert why(play) is Why.TYPED_REJECTED


def test_an_unchecked_answer_can_be_corrected(play: Play) -> None:
    play.ask(3)
    play.enter(WRONG)
    play.wait(10)
    play.enter(RIGHT)
    late = play.challenge()
    assert play.question.checking
    play.accept(play.released()[0])  # The old login: its verdict is void.
    assert play.endings() == []
    assert late not in play.released()


def test_an_answer_at_the_moment_the_canary_is_overdue_is_tried_instead_of_the_old_one(
    play: Play,
) -> None:
    first, second = play.ask(2)
    play.enter(WRONG)
    play.now += 10  # No tick has come yet.
    play.enter(RIGHT)
    assert play.released() == [first, second]
    assert play.machine.login(play.mark(second)) == RIGHT


# --- Late losers and forbidden addresses ----------------------------------------------------------


def test_a_late_loser_gets_the_present_login_and_never_asks(play: Play) -> None:
    (first,) = play.ask()
    late = play.challenge()
    play.enter(WRONG)
    play.reject(first)
    play.enter(RIGHT)
    play.accept(late)
    loser = play.challenge(tried=play.mark(first))
    assert play.mark(loser).generation == 2
    assert play.machine.numbers() == ()


def test_a_request_without_a_login_gets_the_one_found_meanwhile(play: Play) -> None:
    play.trust()
    waiter = play.challenge()
    assert waiter in play.released()


def test_a_407_moments_after_success_elsewhere_is_forbidden_not_wrong(play: Play) -> None:
    mark = play.trust()
    play.wait(30)
    waiter = play.challenge(tried=mark, target="blocked.example:443")
    assert play.refused() == {waiter: "FORBIDDEN"}
    assert fact(play) is SignInState.OK
    play.wait(1)
    assert not play.is_asking


def test_a_login_in_doubt_is_tried_on_one_request_at_a_time(play: Play) -> None:
    mark = play.trust()
    play.challenge(tried=mark)
    assert play.machine.trusted() == {}
    second, third = play.challenge(), play.challenge()
    assert play.released()[1:] == [second]
    play.accept(second)
    assert play.released()[1:] == [second, third]
    assert play.machine.trusted() == {KEY.space: mark}


def test_the_same_forbidden_address_is_not_tried_again_at_once(play: Play) -> None:
    mark = play.trust()
    for _ in range(5):
        play.challenge(tried=mark, target="blocked.example:443")
        mark = play.mark(play.released()[0])
        again = play.challenge(target="blocked.example:443")
        assert play.refused()[again] == "FORBIDDEN"
        play.accept(play.challenge())
    assert not play.is_asking


def test_a_password_changed_in_mid_traffic_costs_three_log_ons_at_most(play: Play) -> None:
    mark = play.trust()
    play.challenge(tried=mark)
    before = len(play.released())
    for _ in range(20):
        waiter = play.challenge()
        if waiter in play.released():
            play.reject(waiter)
    play.wait(6)
    assert len(play.released()) - before == 2
    assert play.question.why is Why.SAVED_REJECTED


def test_a_407_long_after_success_is_a_rejection(play: Play) -> None:
    mark = play.trust()
    play.wait(61)
    play.challenge(tried=mark)
    play.found(RIGHT)
    play.wait(0.15)
    assert play.question.why is Why.SAVED_REJECTED
    assert play.machine.trusted() == {}


def test_a_login_that_was_right_until_now_may_be_insisted_on_at_once(play: Play) -> None:
    mark = play.trust()
    play.wait(61)
    play.challenge(tried=mark)
    play.found(RIGHT)
    play.wait(0.15)
    play.enter(RIGHT)
    assert len(play.released()) == 2


def test_only_the_login_that_was_right_until_now_may_be_insisted_on(play: Play) -> None:
    (waiter,) = play.ask()
    play.enter(WRONG)
    play.reject(waiter)
    play.enter(RIGHT)
    waiter = play.released()[-1]
    play.accept(waiter)
    play.wait(61)
    play.challenge(tried=play.mark(waiter))
    play.found(RIGHT)
    play.wait(0.15)
    play.enter(WRONG)
    assert play.released()[-1] == waiter


# --- Realms ---------------------------------------------------------------------------------------

OTHER = Key(KEY.space, "Other", "basic")


def test_another_realm_of_the_upstream_does_not_get_the_saved_login_by_itself(play: Play) -> None:
    # Threat T4: the login is pinned to the realm of its first use.
    play.challenge()
    play.found(RIGHT)
    play.accept(play.released()[-1])
    play.challenge(OTHER, tried=play.mark(1))
    play.wait(0.15)
    assert len(play.all(LookUp)) == 1
    assert play.question.realm == "Other"


def test_an_upstream_with_two_realms_is_not_sent_a_login_unasked(play: Play) -> None:
    mark = play.trust()
    play.challenge(OTHER)
    assert play.machine.trusted() == {}
    play.wait(601)
    play.accept(play.challenge())
    assert play.machine.trusted() == {KEY.space: mark}


def test_a_rejection_in_the_name_of_another_realm_is_one(play: Play) -> None:
    (first,) = play.ask()
    play.enter(WRONG)
    play.challenge(OTHER, tried=play.mark(first))
    assert fact(play) is SignInState.REJECTED
    play.challenge()
    play.wait(0.15)
    assert len(play.released()) == 1


def test_a_login_on_trial_in_one_realm_is_not_tried_in_another(play: Play) -> None:
    other = play.challenge(OTHER)
    play.ask()
    play.do(Found(1, WRONG, GNOME))
    play.enter(WRONG)
    assert play.released() == [other]
    play.challenge(OTHER, tried=play.mark(other))
    play.wait(1)
    assert play.released() == [other]
    assert play.question.why is Why.TYPED_REJECTED


def test_a_login_right_in_one_realm_is_tried_in_another_then(play: Play) -> None:
    other = play.challenge(OTHER)
    (waiter,) = play.ask()
    play.do(Found(1, RIGHT, GNOME))
    play.enter(RIGHT)
    play.accept(other)
    assert play.released() == [other, waiter]


def test_refusals_in_the_name_of_another_realm_set_a_login_in_doubt_aside(play: Play) -> None:
    mark = play.trust()
    play.challenge(tried=mark)
    first, second = play.challenge(), play.challenge()
    play.challenge(OTHER, tried=mark)
    assert play.released()[1:] == [first, second]
    play.challenge(OTHER, tried=mark)
    assert fact(play) is SignInState.REJECTED


def test_an_upstream_that_alternates_realms_does_not_send_a_request_round_for_ever(
    play: Play,
) -> None:
    first = play.trust()
    waiter = play.challenge(OTHER)
    play.wait(0.15)
    play.enter(Login("other", "other"))
    play.accept(waiter)
    second = play.mark(waiter)
    once = play.challenge(OTHER, tried=first)
    assert play.mark(once) == second
    twice = play.challenge(KEY, tried=second, strayed=True)
    assert play.refused() == {twice: "FORBIDDEN"}


def test_an_upstream_that_invents_realms_costs_bounded_memory() -> None:
    play = Play(Rules(cases_most=8))
    for number in range(100):
        waiter = play.challenge(Key(KEY.space, f"realm {number}", "basic"))
        play.leave(waiter)
    assert len(play.machine.board.cases) <= 8


def test_realms_that_are_invented_do_not_push_out_a_login_that_works() -> None:
    play = Play(Rules(cases_most=4))
    play.trust()
    for number in range(10):
        play.leave(play.challenge(Key(KEY.space, f"realm {number}", "basic")))
    assert play.challenge() in play.released()


def test_too_many_realms_that_all_wait_are_refused() -> None:
    play = Play(Rules(cases_most=2))
    waiters = [play.challenge(Key(KEY.space, f"realm {n}", "basic")) for n in range(3)]
    assert play.refused() == {waiters[2]: "CROWDED"}


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
    ("quiet", "seconds"), [(Quiet.A_MINUTE, 60), (Quiet.A_WHILE, 900), (Quiet.UNTIL_CHOSEN, inf)]
)
def test_the_quiet_time_is_told(play: Play, quiet: Quiet, seconds: float) -> None:
    play.ask()
    play.decline(quiet)
    assert play.machine.facts("office").snoozed_until == play.now + seconds


def test_until_chosen_never_ends_by_itself(play: Play) -> None:
    play.ask()
    play.decline(Quiet.UNTIL_CHOSEN)
    play.wait(1_000_000)
    late = play.challenge()
    assert play.refused()[late] == "DECLINED"


@pytest.mark.parametrize("event", [Switched(LAB), NetworkChanged(), Wanted(OFFICE, WAY)])
def test_not_now_ends_with_what_changes_the_situation(
    play: Play, event: Switched | NetworkChanged | Wanted
) -> None:
    play.ask()
    play.decline(Quiet.UNTIL_CHOSEN)
    play.do(event)
    waiter = play.challenge()
    assert waiter not in play.refused()


def test_cancel_outlasts_a_network_change(play: Play) -> None:
    play.ask()
    play.decline(Quiet.A_MINUTE)
    play.do(NetworkChanged())
    late = play.challenge()
    assert play.refused()[late] == "DECLINED"


def test_cancel_during_the_check_voids_the_login(play: Play) -> None:
    first, _ = play.ask(2)
    play.enter(RIGHT)
    play.decline()
    play.accept(first)
    assert play.all(Save) == []
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
    assert play.all(Save) == []
    assert not play.is_asking
    retry = play.challenge()
    assert play.released() == [retry]
    play.accept(retry)
    assert play.all(Save) == [Save(OFFICE, RIGHT)]


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
    assert len(play.machine.numbers()) == 1
    play.wait(1)
    assert len(play.machine.numbers()) == 2


# --- The keyring ----------------------------------------------------------------------------------


def test_a_keyring_that_takes_eight_seconds_is_not_waited_for(play: Play) -> None:
    play.challenge()
    play.wait(7.9)
    assert not play.is_asking
    play.wait(0.3)
    assert play.question.why is Why.KEYRING_SILENT
    assert play.question.keyring.state is KeyringState.SILENT


def test_a_locked_keyring_is_told_as_such(play: Play) -> None:
    play.challenge()
    play.found(None, LOCKED)
    play.wait(0.15)
    assert (play.question.why, play.question.keyring) == (Why.KEYRING_LOCKED, LOCKED)


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
        if len(play.all(LookUp)) == 1 and play.machine.keyring.state is KeyringState.UNKNOWN:
            play.found(None, LOCKED)
        play.leave(waiter)
        play.wait(30)
    assert len(play.all(LookUp)) == 1


def test_what_the_keyring_gives_after_all_clients_have_left_is_kept(play: Play) -> None:
    play.leave(play.challenge())
    play.found(RIGHT)
    waiter = play.challenge()
    assert play.released() == [waiter]


def test_only_the_active_profiles_login_is_read(play: Play) -> None:
    play.do(Switched(LAB))
    play.challenge()
    play.wait(0.15)
    assert play.all(LookUp) == []
    assert play.question.profile == "Office"


# --- Nobody to ask --------------------------------------------------------------------------------


def test_without_a_face_the_keyring_is_tried_before_the_refusal(play: Play) -> None:
    play.do(AskersChanged(0))
    play.wait(31)
    waiter = play.challenge()
    assert play.refused() == {}
    play.found(None)
    assert play.refused() == {waiter: "UNATTENDED"}
    assert fact(play) is SignInState.NEEDED


def test_without_a_face_a_saved_login_works(play: Play) -> None:
    play.do(AskersChanged(0))
    play.wait(31)
    waiter = play.challenge()
    play.found(RIGHT)
    play.accept(waiter)
    assert play.refused() == {}


def test_without_a_face_a_rejected_login_refuses_all(play: Play) -> None:
    play.do(AskersChanged(0))
    play.wait(31)
    first, second = play.challenge(), play.challenge()
    play.found(WRONG)
    again = play.reject(first)
    assert play.refused() == {second: "UNATTENDED", again: "UNATTENDED"}


def test_a_tray_that_restarts_finds_the_same_question(play: Play) -> None:
    play.ask(2)
    before = play.question
    play.do(AskersChanged(0))
    play.wait(20)
    play.do(AskersChanged(1))
    assert play.question == before
    assert play.refused() == {}


def test_a_tray_that_does_not_come_back_refuses_who_waits(play: Play) -> None:
    waiters = play.ask(2)
    play.do(AskersChanged(0))
    play.wait(30)
    assert play.refused() == dict.fromkeys(waiters, "UNATTENDED")
    assert not play.is_asking


# --- Sign in from the menu, logins from the command line ------------------------------------------


def test_sign_in_from_the_menu_opens_a_question_that_nobody_waits_for(play: Play) -> None:
    play.do(Wanted(OFFICE, WAY))
    assert play.question.why is Why.ASKED_FOR
    assert play.all(Survey) == [Survey()]
    play.wait(1000)
    assert play.is_asking


def test_the_first_challenge_fills_in_what_the_menu_could_not_know(play: Play) -> None:
    play.do(Wanted(OFFICE, WAY))
    play.challenge()
    assert (play.question.realm, play.question.why) == ("Corp", Why.NEEDED)


def test_an_answer_before_any_challenge_is_used_at_the_first(play: Play) -> None:
    play.do(Wanted(OFFICE, WAY))
    play.enter(RIGHT)
    waiter = play.challenge()
    play.accept(waiter)
    assert play.all(LookUp) == []
    assert play.all(Save) == [Save(OFFICE, RIGHT)]


def test_sign_in_from_the_menu_changes_a_password_that_works(play: Play) -> None:
    play.trust()
    play.do(Wanted(OFFICE, WAY))
    assert play.question.why is Why.ASKED_FOR
    play.wait(61)
    play.enter(Login("jdoe", "newer"))
    waiter = play.challenge()
    play.accept(waiter)
    assert play.all(Save)[-1] == Save(OFFICE, Login("jdoe", "newer"))


def test_cancelling_a_change_leaves_the_login_that_works(play: Play) -> None:
    mark = play.trust()
    play.do(Wanted(OFFICE, WAY))
    play.decline()
    assert play.machine.trusted() == {KEY.space: mark}


def test_a_given_login_is_used_at_the_first_407_and_not_kept(play: Play) -> None:
    play.do(Given(OFFICE, WAY, RIGHT))
    first, second = play.challenge(), play.challenge()
    assert play.released() == [first]
    play.accept(first)
    assert play.released() == [first, second]
    assert play.all(LookUp) == []
    assert play.all(Save) == []


def test_a_given_login_that_is_rejected_is_not_tried_again(play: Play) -> None:
    play.do(AskersChanged(0))
    play.wait(31)
    play.do(Given(OFFICE, WAY, WRONG))
    first = play.challenge()
    play.reject(first)
    play.found(None)
    for _ in range(3):
        play.wait(10)
        play.challenge()
        play.found(None)
    assert play.released() == [first]


def test_a_login_given_while_a_question_is_open_answers_it(play: Play) -> None:
    first, second = play.ask(2)
    play.do(Given(OFFICE, WAY, RIGHT))
    play.accept(first)
    assert play.released() == [first, second]
    assert play.endings() == ["ACCEPTED"]


# --- Profiles -------------------------------------------------------------------------------------


def test_a_deleted_profile_withdraws_its_question(play: Play) -> None:
    waiters = play.ask(2)
    play.do(Deleted("office"))
    assert play.endings() == ["WITHDRAWN"]
    assert play.refused() == dict.fromkeys(waiters, "WITHDRAWN")


def test_a_request_that_outlived_its_profile_asks_nobody(play: Play) -> None:
    play.ask()
    play.do(Deleted("office"))
    waiter = play.challenge()
    assert play.refused()[waiter] == "WITHDRAWN"


@pytest.mark.parametrize(
    "edited",
    [
        replace(OFFICE, upstream=Upstream("other.corp.example", 8080)),
        replace(OFFICE, sign_in=SignIn.NONE),
    ],
)
def test_an_answer_is_not_sent_to_another_upstream_than_asked(play: Play, edited: Profile) -> None:
    play.ask()
    play.do(Edited(edited))
    assert play.endings() == ["WITHDRAWN"]


def test_a_renamed_profile_keeps_its_question_and_its_login(play: Play) -> None:
    mark = play.trust()
    play.do(Edited(replace(OFFICE, name="Head office")))
    assert play.machine.trusted() == {KEY.space: mark}


def test_the_user_name_of_an_accepted_login_may_be_noted_in_the_profile(play: Play) -> None:
    mark = play.trust(Login("CORP\\jdoe", "right"))
    play.do(Edited(replace(OFFICE, user="CORP\\jdoe")))
    assert play.machine.trusted() == {KEY.space: mark}


def test_another_user_name_in_the_profile_needs_another_login(play: Play) -> None:
    play.trust()
    play.do(Edited(replace(OFFICE, user="bob")))
    assert play.machine.trusted() == {}
    play.challenge(profile=replace(OFFICE, user="bob"))
    assert play.all(LookUp)[-1].user == "bob"


def test_profiles_with_the_same_upstream_do_not_share_a_login(play: Play) -> None:
    play.trust()
    twin = replace(OFFICE, id="twin", name="Twin")
    waiter = play.challenge(Key(Space.of(twin), "Corp", "basic"), twin)
    assert waiter not in play.released()


def test_forget_forgets(play: Play) -> None:
    play.trust()
    play.do(Forgotten("office"))
    assert play.machine.trusted() == {}
    assert fact(play) is SignInState.UNTESTED
    assert play.machine.login(play.mark(1)) is None


def test_a_new_keyring_state_reaches_the_open_question(play: Play) -> None:
    play.ask()
    play.do(Wanted(OFFICE, WAY))
    missing = Keyring(KeyringState.MISSING)
    play.found(None, missing)
    assert play.question.keyring == missing


# --- Secrets --------------------------------------------------------------------------------------


def test_no_repr_shows_a_password(play: Play) -> None:
    secret = Login("jdoe", "Zx9-hidden")
    (waiter,) = play.ask()
    shown = [repr(play.enter(secret))]
    shown += [repr(play.effects), repr(play.machine.board.cases), repr(play.question)]
    play.accept(waiter)
    shown += [
        repr(play.effects),
        repr(play.machine.board.cases),
        repr(play.machine.facts("office")),
    ]
    assert "hidden" not in "".join(shown)


def test_a_login_typed_again_before_its_verdict_is_not_tried_twice() -> None:
    play = Play()
    play.ask(3)
    play.enter(WRONG)
    [canary] = play.released()
    play.fail(canary)
    assert len(play.released()) == 2
    play.enter(WRONG)
    assert len(play.released()) == 2
    assert play.question.checking
