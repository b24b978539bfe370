"""Tests for trayproxy.desk.machine.machine: a typed login is sent on one request, and never
twice."""

import itertools

from tests.desk.machine_driver import BASIC_METHOD, OFFICE, MachineDriver, sign_in_state
from tests.support.values import RIGHT, WRONG
from trayproxy.auth.login import Login
from trayproxy.desk.machine.events import (
    FrontEndsChanged,
    LookUpLogin,
    NetworkChanged,
    SaveLoginToKeyring,
    SignInRequested,
)
from trayproxy.domain.signin import PromptReason, SignInState


def prompt_reason(driver: MachineDriver) -> PromptReason:
    """Return the current reason of the prompt; a call, because mypy would narrow the attribute."""
    return driver.prompt.reason


# --- The canary ----------------------------------------------------------------------------------


def test_typed_login_is_sent_on_the_oldest_request_only(driver: MachineDriver) -> None:
    first, _, _ = driver.open_prompt(3)
    driver.answer_prompt(WRONG)
    assert driver.released() == [first]
    assert driver.prompt.checking


def test_the_canary_is_the_oldest_request_with_a_connected_client(driver: MachineDriver) -> None:
    first, second, _ = driver.open_prompt(3)
    driver.disconnect(first)
    driver.answer_prompt(WRONG)
    assert driver.released() == [second]


def test_acceptance_releases_the_rest_in_order_and_closes_the_prompt(driver: MachineDriver) -> None:
    requests = driver.open_prompt(4)
    driver.answer_prompt(RIGHT)
    driver.accept(requests[0])
    assert driver.released() == requests
    assert driver.endings() == ["ACCEPTED"]
    assert sign_in_state(driver) is SignInState.OK
    assert driver.machine.facts("office").user == "jdoe"


def test_login_is_saved_only_after_an_acceptance(driver: MachineDriver) -> None:
    first, _ = driver.open_prompt(2)
    driver.answer_prompt(WRONG)
    driver.reject(first)
    assert driver.effects_of(SaveLoginToKeyring) == []
    driver.answer_prompt(RIGHT)
    driver.accept(driver.released()[-1])
    assert driver.effects_of(SaveLoginToKeyring) == [SaveLoginToKeyring(OFFICE, RIGHT)]


def test_login_not_to_be_remembered_is_not_saved(driver: MachineDriver) -> None:
    (request,) = driver.open_prompt()
    driver.answer_prompt(RIGHT, remember=False)
    driver.accept(request)
    assert driver.effects_of(SaveLoginToKeyring) == []


def test_a_request_during_the_check_waits_for_the_verdict(driver: MachineDriver) -> None:
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    late = driver.challenge()
    assert driver.released() == [first]
    driver.accept(first)
    assert driver.released() == [first, late]


def test_a_rejection_is_counted_and_shown_and_the_other_requests_stay_parked(
    driver: MachineDriver,
) -> None:
    first, second = driver.open_prompt(2)
    driver.answer_prompt(WRONG)
    again = driver.reject(first)
    prompt = driver.prompt
    assert (prompt.reason, prompt.rejections, prompt.checking) == (
        PromptReason.TYPED_REJECTED,
        1,
        False,
    )
    assert prompt.waiting == 2
    assert driver.refused() == {}
    assert sign_in_state(driver) is SignInState.REJECTED
    driver.answer_prompt(RIGHT)
    assert driver.released() == [first, second]
    driver.accept(second)
    assert driver.released() == [first, second, again]


def test_a_second_typed_login_during_the_check_is_not_sent(driver: MachineDriver) -> None:
    driver.open_prompt(2)
    driver.answer_prompt(WRONG)
    driver.answer_prompt(RIGHT)
    assert len(driver.released()) == 1


def test_three_rejections_within_ten_minutes_need_a_confirmation(driver: MachineDriver) -> None:
    driver.open_prompt()
    for attempt in range(3):
        assert not driver.prompt.confirm_retry
        driver.answer_prompt(Login("jdoe", f"wrong{attempt}"))
        driver.reject(driver.released()[-1])
        driver.advance(60)
    assert (driver.prompt.rejections, driver.prompt.confirm_retry) == (3, True)


def test_three_rejections_over_a_longer_time_need_no_confirmation(driver: MachineDriver) -> None:
    driver.open_prompt()
    for attempt in range(3):
        driver.touch_prompt()
        driver.answer_prompt(Login("jdoe", f"wrong{attempt}"))
        driver.reject(driver.released()[-1])
        driver.advance(290)
        driver.challenge()
        driver.advance(290)
    assert (driver.prompt.rejections, driver.prompt.confirm_retry) == (3, False)


def test_acceptance_clears_the_rejection_count(driver: MachineDriver) -> None:
    (first,) = driver.open_prompt()
    driver.answer_prompt(WRONG)
    driver.reject(first)
    driver.answer_prompt(RIGHT)
    driver.accept(driver.released()[-1])
    driver.advance(61)
    driver.reject(driver.released()[-1])
    driver.finish_lookup(None)
    driver.advance(0.15)
    assert driver.prompt.rejections == 1


# --- Rejected logins -----------------------------------------------------------------------------


def test_a_rejected_login_typed_again_costs_no_log_on(driver: MachineDriver) -> None:
    driver.open_prompt(2)
    driver.answer_prompt(WRONG)
    driver.reject(driver.released()[-1])
    driver.answer_prompt(WRONG)
    prompt = driver.prompt
    assert len(driver.released()) == 1
    assert (prompt.reason, prompt.rejections) == (PromptReason.REPEATED, 1)
    assert prompt.confirm_retry
    assert not prompt.checking


def test_a_confirmed_login_is_sent_once(driver: MachineDriver) -> None:
    driver.open_prompt(2)
    driver.answer_prompt(WRONG)
    driver.reject(driver.released()[-1])
    driver.answer_prompt(WRONG)
    driver.answer_prompt(WRONG)
    assert len(driver.released()) == 2
    driver.reject(driver.released()[-1])
    driver.advance(601)
    driver.open_prompt()
    driver.answer_prompt(WRONG)
    assert len(driver.released()) == 2


def test_sign_in_from_the_menu_permits_a_rejected_login_once(driver: MachineDriver) -> None:
    driver.open_prompt()
    driver.answer_prompt(WRONG)
    driver.reject(driver.released()[-1])
    driver.handle(SignInRequested(OFFICE, BASIC_METHOD))
    driver.answer_prompt(WRONG)
    assert len(driver.released()) == 2
    driver.reject(driver.released()[-1])
    driver.answer_prompt(WRONG)
    assert len(driver.released()) == 2


def test_a_saved_login_is_sent_on_one_of_many_requests(driver: MachineDriver) -> None:
    first, *_ = (driver.challenge() for _ in range(50))
    driver.finish_lookup(WRONG)
    assert driver.released() == [first]
    driver.reject(first)
    driver.advance(0.15)
    assert driver.released() == [first]
    assert (driver.prompt.reason, driver.prompt.waiting) == (PromptReason.SAVED_REJECTED, 50)
    assert driver.prompt.user == "jdoe"


def test_an_accepted_saved_login_needs_no_prompt_and_is_not_saved_again(
    driver: MachineDriver,
) -> None:
    requests = [driver.challenge() for _ in range(5)]
    driver.finish_lookup(RIGHT)
    driver.accept(requests[0])
    driver.advance(1)
    assert driver.released() == requests
    assert driver.effects_of(SaveLoginToKeyring) == []
    assert driver.machine.prompt_numbers() == ()
    assert sign_in_state(driver) is SignInState.OK


def test_a_rejected_saved_login_is_not_sent_on_the_next_request(driver: MachineDriver) -> None:
    first = driver.challenge()
    driver.finish_lookup(WRONG)
    driver.disconnect(driver.reject(first))
    driver.advance(60)
    driver.challenge()
    driver.finish_lookup(WRONG)
    driver.advance(0.15)
    assert driver.released() == [first]
    assert driver.prompt.reason is PromptReason.SAVED_REJECTED


def test_a_changed_saved_login_is_sent(driver: MachineDriver) -> None:
    first = driver.challenge()
    driver.finish_lookup(WRONG)
    driver.disconnect(driver.reject(first))
    driver.advance(60)
    second = driver.challenge()
    driver.finish_lookup(RIGHT)
    assert driver.released() == [first, second]


def test_after_three_rejections_a_changed_saved_login_is_not_sent_automatically(
    driver: MachineDriver,
) -> None:
    driver.open_prompt()
    for attempt in range(3):
        driver.answer_prompt(Login("jdoe", f"wrong{attempt}"))
        last = driver.reject(driver.released()[-1])
    driver.decline_prompt()
    driver.advance(61)
    driver.challenge()
    assert last in driver.refused()
    assert len(driver.effects_of(LookUpLogin)) == 1


def test_the_rejected_saved_login_typed_by_hand_is_not_sent(driver: MachineDriver) -> None:
    first = driver.challenge()
    driver.finish_lookup(WRONG)
    driver.reject(first)
    driver.advance(0.15)
    driver.answer_prompt(WRONG)
    assert driver.released() == [first]


def test_a_login_replaced_before_its_rejection_is_not_sent_again(driver: MachineDriver) -> None:
    first, _ = driver.open_prompt(2)
    driver.answer_prompt(WRONG)
    driver.decline_prompt()
    driver.reject(first)
    driver.advance(60)
    driver.open_prompt()
    driver.answer_prompt(WRONG)
    assert driver.released() == [first]
    assert driver.prompt.confirm_retry


# --- No verdict ----------------------------------------------------------------------------------


def test_a_network_error_is_not_a_rejection(driver: MachineDriver) -> None:
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    driver.end_without_response(first)
    prompt = driver.prompt
    assert (prompt.reason, prompt.rejections, prompt.checking) == (PromptReason.UNCHECKED, 0, False)
    second = driver.challenge()
    driver.accept(second)
    assert driver.endings() == ["ACCEPTED"]


def test_after_a_network_error_the_next_request_is_the_canary(driver: MachineDriver) -> None:
    first, second, third = driver.open_prompt(3)
    driver.answer_prompt(RIGHT)
    driver.end_without_response(first)
    assert driver.released() == [first, second]
    driver.end_without_response(second)
    assert driver.released() == [first, second, third]


def test_a_canary_without_a_verdict_for_ten_seconds_is_reported_and_no_other_is_sent(
    driver: MachineDriver,
) -> None:
    first, second, third = driver.open_prompt(3)
    driver.answer_prompt(RIGHT)
    driver.advance(9.9)
    assert driver.prompt.checking
    driver.advance(250)
    assert driver.released() == [first]
    assert (driver.prompt.reason, driver.prompt.checking) == (PromptReason.UNCHECKED, False)
    driver.accept(first)
    assert driver.released() == [first, second, third]
    assert driver.endings() == ["ACCEPTED"]


def test_a_late_acceptance_of_a_slow_canary_counts(driver: MachineDriver) -> None:
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    driver.advance(30)
    driver.accept(first)
    assert driver.endings() == ["ACCEPTED"]
    assert driver.effects_of(SaveLoginToKeyring) == [SaveLoginToKeyring(OFFICE, RIGHT)]


def test_a_late_rejection_of_a_slow_canary_costs_one_log_on(driver: MachineDriver) -> None:
    first, _, _ = driver.open_prompt(3)
    driver.answer_prompt(WRONG)
    driver.advance(30)
    driver.reject(first)
    assert driver.prompt.rejections == 1
    assert driver.released() == [first]


def test_a_lost_canary_is_given_up_and_the_user_is_prompted(driver: MachineDriver) -> None:
    first, *_ = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    driver.advance(299)
    second = driver.challenge()
    driver.advance(1)
    assert driver.released() == [first]
    assert (driver.prompt.reason, driver.prompt.checking) == (PromptReason.UNCHECKED, False)
    driver.answer_prompt(RIGHT)
    assert driver.released() == [first, second]


def test_a_login_without_a_response_twice_opens_the_prompt(driver: MachineDriver) -> None:
    first, second, *_ = driver.open_prompt(4)
    driver.answer_prompt(RIGHT)
    driver.end_without_response(first, was_sent=True)
    driver.end_without_response(second, was_sent=True)
    assert driver.released() == [first, second]
    assert (driver.prompt.reason, driver.prompt.waiting) == (PromptReason.UNCHECKED, 2)
    driver.answer_prompt(RIGHT)
    assert len(driver.released()) == 3


def test_a_saved_login_without_a_response_twice_is_put_on_hold(driver: MachineDriver) -> None:
    first, second, third = (driver.challenge() for _ in range(3))
    driver.finish_lookup(RIGHT)
    driver.end_without_response(first, was_sent=True)
    driver.end_without_response(second, was_sent=True)
    driver.disconnect(third)
    driver.advance(60)
    driver.challenge()
    assert len(driver.effects_of(LookUpLogin)) == 1
    driver.advance(900)
    driver.challenge()
    assert len(driver.effects_of(LookUpLogin)) == 2


def test_a_saved_login_without_responses_is_sent_ever_less_often(driver: MachineDriver) -> None:
    """An upstream that drops connections may have counted a failed log-on each time."""
    driver.handle(FrontEndsChanged(0))
    driver.challenge()
    driver.finish_lookup(RIGHT)
    sent: list[int] = []
    for minute in range(24 * 60):
        ended = 0
        while ended < len(driver.released()):
            sent.append(minute)
            driver.end_without_response(driver.released()[-1], was_sent=True)
            ended += 1
        driver.effects.clear()
        driver.challenge()
        if driver.effects_of(LookUpLogin):
            driver.finish_lookup(RIGHT)
        driver.advance(60)
    assert len(sent) == 5
    assert all(later - before >= 60 for before, later in itertools.pairwise(sent[1:]))


def test_a_changed_saved_login_is_sent_although_the_old_login_is_on_hold(
    driver: MachineDriver,
) -> None:
    first, second = driver.challenge(), driver.challenge()
    driver.finish_lookup(WRONG)
    driver.end_without_response(first, was_sent=True)
    driver.end_without_response(second, was_sent=True)
    driver.advance(901)
    third = driver.challenge()
    driver.finish_lookup(RIGHT)
    assert driver.released()[-1] == third


def test_network_change_ends_the_hold_of_a_login(driver: MachineDriver) -> None:
    first, second, third = (driver.challenge() for _ in range(3))
    driver.finish_lookup(RIGHT)
    driver.end_without_response(first, was_sent=True)
    driver.handle(NetworkChanged())
    driver.end_without_response(second, was_sent=True)
    assert driver.released() == [first, second, third]


def test_a_late_rejection_is_remembered(driver: MachineDriver) -> None:
    first, second = driver.open_prompt(2)
    driver.answer_prompt(WRONG)
    driver.end_without_response(first, was_sent=True)
    driver.advance(300)
    assert prompt_reason(driver) is PromptReason.UNCHECKED
    driver.reject(second)
    driver.answer_prompt(WRONG)
    assert driver.released() == [first, second]
    assert prompt_reason(driver) is PromptReason.REPEATED


def test_an_unchecked_login_can_be_corrected(driver: MachineDriver) -> None:
    driver.open_prompt(3)
    driver.answer_prompt(WRONG)
    driver.advance(10)
    driver.answer_prompt(RIGHT)
    late = driver.challenge()
    assert driver.prompt.checking
    driver.accept(driver.released()[0])  # The acceptance is about the old login.
    assert driver.endings() == []
    assert late not in driver.released()


def test_login_typed_when_the_canary_becomes_overdue_replaces_the_old_login(
    driver: MachineDriver,
) -> None:
    first, second = driver.open_prompt(2)
    driver.answer_prompt(WRONG)
    driver.now += 10  # No TimePassed yet.
    driver.answer_prompt(RIGHT)
    assert driver.released() == [first, second]
    assert driver.machine.login(driver.login_id_of(second)) == RIGHT


def test_a_login_typed_again_before_its_verdict_is_not_sent_twice(driver: MachineDriver) -> None:
    driver.open_prompt(3)
    driver.answer_prompt(WRONG)
    [canary] = driver.released()
    driver.end_without_response(canary)
    assert len(driver.released()) == 2
    driver.answer_prompt(WRONG)
    assert len(driver.released()) == 2
    assert driver.prompt.checking
