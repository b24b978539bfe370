"""Tests for trayproxy.desk.machine.machine: what is typed is tried on one request, and never
twice."""

import itertools

from tests.desk.play import OFFICE, RIGHT, WAY, WRONG, Play, fact
from trayproxy.auth.login import Login
from trayproxy.control.messages import PromptReason, SignInState
from trayproxy.desk.machine.events import (
    FrontEndsChanged,
    LookUpLogin,
    NetworkChanged,
    SaveLoginToKeyring,
    SignInRequested,
)


def why(play: Play) -> PromptReason:
    """Return why the question is open, looked at anew: mypy would take it for what it was."""
    return play.question.reason


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
    assert play.all(SaveLoginToKeyring) == []
    play.enter(RIGHT)
    play.accept(play.released()[-1])
    assert play.all(SaveLoginToKeyring) == [SaveLoginToKeyring(OFFICE, RIGHT)]


def test_what_is_not_to_be_remembered_is_not_saved(play: Play) -> None:
    (waiter,) = play.ask()
    play.enter(RIGHT, remember=False)
    play.accept(waiter)
    assert play.all(SaveLoginToKeyring) == []


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
    assert (question.reason, question.rejections, question.checking) == (
        PromptReason.TYPED_REJECTED,
        1,
        False,
    )
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
        assert not play.question.confirm_retry
        play.enter(Login("jdoe", f"wrong{attempt}"))
        play.reject(play.released()[-1])
        play.wait(60)
    assert (play.question.rejections, play.question.confirm_retry) == (3, True)


def test_three_rejections_over_a_longer_time_do_not(play: Play) -> None:
    play.ask()
    for attempt in range(3):
        play.touch()
        play.enter(Login("jdoe", f"wrong{attempt}"))
        play.reject(play.released()[-1])
        play.wait(290)
        play.challenge()
        play.wait(290)
    assert (play.question.rejections, play.question.confirm_retry) == (3, False)


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
    assert (question.reason, question.rejections) == (PromptReason.REPEATED, 1)
    assert question.confirm_retry
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
    play.do(SignInRequested(OFFICE, WAY))
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
    assert (play.question.reason, play.question.waiting) == (PromptReason.SAVED_REJECTED, 50)
    assert play.question.user == "jdoe"


def test_a_saved_login_that_works_asks_nobody_and_is_not_saved_again(play: Play) -> None:
    waiters = [play.challenge() for _ in range(5)]
    play.found(RIGHT)
    play.accept(waiters[0])
    play.wait(1)
    assert play.released() == waiters
    assert play.all(SaveLoginToKeyring) == []
    assert play.machine.prompt_numbers() == ()
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
    assert play.question.reason is PromptReason.SAVED_REJECTED


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
    assert len(play.all(LookUpLogin)) == 1


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
    assert play.question.confirm_retry


# --- Verdicts that are none -----------------------------------------------------------------------


def test_a_network_error_is_not_a_rejection(play: Play) -> None:
    (first,) = play.ask()
    play.enter(RIGHT)
    play.fail(first)
    question = play.question
    assert (question.reason, question.rejections, question.checking) == (
        PromptReason.UNCHECKED,
        0,
        False,
    )
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
    assert (play.question.reason, play.question.checking) == (PromptReason.UNCHECKED, False)
    play.accept(first)
    assert play.released() == [first, second, third]
    assert play.endings() == ["ACCEPTED"]


def test_a_slow_canary_that_succeeds_in_the_end_counts(play: Play) -> None:
    (first,) = play.ask()
    play.enter(RIGHT)
    play.wait(30)
    play.accept(first)
    assert play.endings() == ["ACCEPTED"]
    assert play.all(SaveLoginToKeyring) == [SaveLoginToKeyring(OFFICE, RIGHT)]


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
    assert (play.question.reason, play.question.checking) == (PromptReason.UNCHECKED, False)
    play.enter(RIGHT)
    assert play.released() == [first, second]


def test_a_login_that_gets_no_answer_twice_is_left_to_the_person(play: Play) -> None:
    first, second, *_ = play.ask(4)
    play.enter(RIGHT)
    play.fail(first, sent=True)
    play.fail(second, sent=True)
    assert play.released() == [first, second]
    assert (play.question.reason, play.question.waiting) == (PromptReason.UNCHECKED, 2)
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
    assert len(play.all(LookUpLogin)) == 1
    play.wait(900)
    play.challenge()
    assert len(play.all(LookUpLogin)) == 2


def test_a_saved_login_that_never_gets_an_answer_is_sent_seldom(play: Play) -> None:
    """Whoever leaves instead of saying no may have counted a failed log-on each time."""
    play.do(FrontEndsChanged(0))
    play.challenge()
    play.found(RIGHT)
    sent: list[int] = []
    for minute in range(24 * 60):
        while len(sent) < len(play.released()):
            sent.append(minute)
            play.fail(play.released()[-1], sent=True)
        lookups = len(play.all(LookUpLogin))
        play.challenge()
        if len(play.all(LookUpLogin)) > lookups:
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


def test_a_rejection_that_comes_after_all_is_remembered(play: Play) -> None:
    first, second = play.ask(2)
    play.enter(WRONG)
    play.fail(first, sent=True)
    play.wait(300)
    assert why(play) is PromptReason.UNCHECKED
    play.reject(second)
    play.enter(WRONG)
    assert play.released() == [first, second]
    assert why(play) is PromptReason.REPEATED


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


def test_a_login_typed_again_before_its_verdict_is_not_tried_twice(play: Play) -> None:
    play.ask(3)
    play.enter(WRONG)
    [canary] = play.released()
    play.fail(canary)
    assert len(play.released()) == 2
    play.enter(WRONG)
    assert len(play.released()) == 2
    assert play.question.checking
