"""Requests of our own, and what cannot be lost: the person's answer, the account, the truth."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.desk.play import BASIC, GNOME, KEY, LAB, LAB_KEY, OFFICE, RIGHT, WAY, WRONG, Play, fact
from trayproxy.auth.login import Login
from trayproxy.control.messages import Program, PromptReason, SignInState, Snooze
from trayproxy.desk.history import HistoryRecord
from trayproxy.desk.machine.events import (
    ClearRejection,
    ClientLeft,
    Event,
    LoginAccepted,
    LoginProvided,
    LoginUnproved,
    LookupFinished,
    LookUpLogin,
    NoResponse,
    OwnRequestEnded,
    ProfileDeleted,
    ProfileEdited,
    ProfileSwitched,
    ProgramIdentified,
    PromptAnswered,
    PromptDeclined,
    PromptTouched,
    RecordRejection,
    SaveLoginToKeyring,
    ScreenLocked,
    SendOwnRequest,
    SignInRequested,
)
from trayproxy.desk.machine.queries import TrialState
from trayproxy.desk.machine.verification import CHECK_PAGES
from trayproxy.desk.protection_space import LoginId, ProtectionSpace, UpstreamId
from trayproxy.profiles.profile import Upstream

SPACE = UpstreamId.of(OFFICE)


@pytest.fixture
def play() -> Play:
    play = Play()
    play.machine.state.can_send_own = True
    return play


def own(play: Play) -> int:
    """Let the request of our own get its first 407."""
    tries = play.all(SendOwnRequest)
    return play.challenge(target=tries[-1].target or "example.com:80", own=True)


def end(play: Play, *, asked: bool = True) -> None:
    play.do(OwnRequestEnded(play.all(SendOwnRequest)[-1].number, asked))


def give_up_while_typing(play: Play, login: Login = RIGHT) -> None:
    (waiter,) = play.ask()
    play.touch()
    play.leave(waiter)
    play.enter(login)


# --- The client gave up, the person did not -------------------------------------------------------


def test_an_answer_is_tried_by_ourselves_when_its_client_has_gone(play: Play) -> None:
    give_up_while_typing(play)
    assert play.all(SendOwnRequest) == [SendOwnRequest(1, OFFICE, "host1.example:443")]
    assert play.question.checking
    ours = own(play)
    assert play.mark(ours)
    play.accept(ours)
    end(play)
    assert play.all(SaveLoginToKeyring) == [SaveLoginToKeyring(OFFICE, RIGHT)]
    assert play.endings() == ["ACCEPTED"]


def test_the_retry_of_the_client_gets_the_login_at_once(play: Play) -> None:
    give_up_while_typing(play)
    play.accept(own(play))
    retry = play.challenge()
    assert retry in play.released()


def test_a_wrong_answer_is_told_although_its_client_has_gone(play: Play) -> None:
    give_up_while_typing(play, WRONG)
    ours = own(play)
    back = play.challenge(tried=play.mark(ours), own=True)
    end(play)
    assert play.refused() == {back: "WITHDRAWN"}
    assert (play.question.reason, play.question.checking) == (PromptReason.TYPED_REJECTED, False)
    assert play.question.waiting == 0


def test_a_client_that_leaves_during_the_check_is_replaced_by_ourselves(play: Play) -> None:
    (waiter,) = play.ask()
    play.enter(RIGHT)
    play.fail(waiter, sent=True)
    assert len(play.all(SendOwnRequest)) == 1
    play.accept(own(play))
    assert play.endings() == ["ACCEPTED"]


def test_an_upstream_out_of_reach_leaves_the_question_open_and_says_why(play: Play) -> None:
    give_up_while_typing(play)
    end(play)
    assert (play.question.reason, play.question.checking) == (PromptReason.UNCHECKED, False)
    assert len(play.all(SendOwnRequest)) == 1
    retry = play.challenge()
    play.accept(retry)
    assert play.endings() == ["ACCEPTED"]


def test_an_upstream_that_does_not_ask_closes_the_question_and_keeps_the_answer(
    play: Play,
) -> None:
    give_up_while_typing(play)
    end(play, asked=False)
    assert not play.is_asking
    assert play.mark(play.challenge())


def test_typing_it_again_tries_again_by_ourselves(play: Play) -> None:
    give_up_while_typing(play)
    end(play)
    play.enter(RIGHT)
    assert len(play.all(SendOwnRequest)) == 2


def test_a_client_that_comes_meanwhile_is_as_good_as_ours(play: Play) -> None:
    give_up_while_typing(play)
    client = play.challenge()
    assert play.released() == [client]
    ours = own(play)
    assert play.released() == [client]
    play.accept(client)
    assert play.released() == [client, ours]


def test_no_question_names_a_request_of_our_own(play: Play) -> None:
    give_up_while_typing(play)
    play.challenge(target="canary.example:443")
    play.challenge(target="github.com:443")
    own(play)
    assert play.machine.facts("office").waiting == 1
    assert [program.target for program in play.question.programs] == ["github.com:443"]
    assert len(play.machine.unidentified_requests(play.question.number)) == 1


def test_our_own_request_asks_no_person(play: Play) -> None:
    give_up_while_typing(play)
    ours = play.challenge(replace(KEY, realm="Other"), own=True)
    play.wait(1)
    assert play.refused() == {ours: "WITHDRAWN"}
    assert len(play.machine.prompt_numbers()) == 1


def test_signing_in_from_the_menu_is_checked_at_once(play: Play) -> None:
    play.do(SignInRequested(OFFICE, WAY))
    play.enter(RIGHT)
    assert play.all(SendOwnRequest)[-1].target == ""
    play.accept(own(play))
    assert play.endings() == ["ACCEPTED"]
    assert play.all(SaveLoginToKeyring) == [SaveLoginToKeyring(OFFICE, RIGHT)]


def test_an_untouched_question_closes_with_its_last_client_and_tries_nothing(play: Play) -> None:
    (waiter,) = play.ask()
    play.leave(waiter)
    assert play.endings() == ["ABANDONED"]
    assert play.all(SendOwnRequest) == []
    play.ask()
    assert play.is_asking


# --- A password from the command line -------------------------------------------------------------


def give(play: Play, login: Login) -> int:
    play.do(LoginProvided(OFFICE, WAY, login, remember=True))
    return play.machine.generation(SPACE)


def test_a_login_to_be_saved_is_tried_first(play: Play) -> None:
    generation = give(play, RIGHT)
    assert play.all(SaveLoginToKeyring) == []
    assert play.machine.trial_state(SPACE, generation) is TrialState.UNDER_WAY
    play.accept(own(play))
    assert play.all(SaveLoginToKeyring) == [SaveLoginToKeyring(OFFICE, RIGHT)]


def test_a_login_to_be_saved_that_is_wrong_is_not_saved(play: Play) -> None:
    play.trust(RIGHT)
    generation = give(play, WRONG)
    play.challenge(tried=play.mark(own(play)), own=True)
    end(play)
    assert play.machine.trial_state(SPACE, generation) is TrialState.REJECTED
    assert play.all(SaveLoginToKeyring) == [SaveLoginToKeyring(OFFICE, RIGHT)]


def test_a_login_that_could_not_be_checked_is_saved_once_it_is_accepted(play: Play) -> None:
    generation = give(play, RIGHT)
    end(play)
    assert play.machine.trial_state(SPACE, generation) is TrialState.UNKNOWN
    play.accept(play.challenge())
    assert play.all(SaveLoginToKeyring) == [SaveLoginToKeyring(OFFICE, RIGHT)]


def test_a_login_given_for_this_run_is_not_under_way_before_a_request_needs_it(play: Play) -> None:
    play.do(LoginProvided(OFFICE, WAY, RIGHT))
    assert play.machine.trial_state(SPACE, play.machine.generation(SPACE)) is TrialState.UNKNOWN


def test_a_wrong_login_is_not_under_way_until_our_own_request_has_ended(play: Play) -> None:
    generation = give(play, WRONG)
    play.challenge(tried=play.mark(own(play)), own=True)
    assert play.machine.trial_state(SPACE, generation) is TrialState.REJECTED


@pytest.mark.parametrize(
    ("record", "trial"),
    [
        (HistoryRecord(is_rejected=True), TrialState.UNSENT),
        (HistoryRecord(hold_s=600.0), TrialState.UNKNOWN),
    ],
)
def test_a_login_to_be_saved_that_an_earlier_run_sent_is_sent_only_if_it_was_typed(
    play: Play, record: HistoryRecord, trial: TrialState
) -> None:
    """The record may be found only now, by the address that another name leads to."""
    play.records[WRONG] = record
    generation = give(play, WRONG)
    own(play)
    assert play.released() == []
    end(play)
    assert play.machine.trial_state(SPACE, generation) is trial
    play.do(LoginProvided(OFFICE, WAY, WRONG, remember=True, retry_rejected=True))
    again = own(play)
    assert play.released() == [again]


# --- The address is forbidden, the password is right ----------------------------------------------


def trusted(play: Play) -> str:
    """Return where the login was accepted."""
    mark = play.trust()
    assert play.machine.is_trusted(mark)
    (good,) = play.machine.state.spaces[KEY].accepted_targets
    return good


def test_a_refused_address_is_cleared_up_where_the_login_was_right(play: Play) -> None:
    good = trusted(play)
    mark = play.mark(1)
    blocked = play.challenge(tried=mark, target="blocked.example:443")
    assert play.all(SendOwnRequest)[-1].target == good
    assert blocked not in play.refused()
    play.accept(own(play))
    assert play.refused() == {blocked: "FORBIDDEN"}
    assert play.machine.is_trusted(mark)
    assert not play.is_asking
    assert play.all(RecordRejection) == []


def test_that_holds_however_long_ago_the_login_was_used(play: Play) -> None:
    trusted(play)
    play.wait(8 * 3600)
    play.challenge(tried=play.mark(1), target="blocked.example:443")
    play.accept(own(play))
    assert list(play.refused().values()) == ["FORBIDDEN"]


def test_a_changed_password_costs_two_log_ons_at_most(play: Play) -> None:
    trusted(play)
    mark = play.mark(1)
    waiters = [play.challenge(tried=mark) for _ in range(20)]
    ours = own(play)
    play.challenge(tried=mark, target=play.all(SendOwnRequest)[-1].target, own=True)
    end(play)
    assert [waiter for waiter in play.released() if waiter in waiters] == []
    assert play.released()[-1] == ours
    question = play.question_due
    assert (question.reason, question.waiting) == (PromptReason.SAVED_REJECTED, 20)
    assert play.all(RecordRejection) == [RecordRejection(SPACE, RIGHT)]


def test_a_host_that_accepted_a_login_and_refuses_it_is_cleared_up_elsewhere(play: Play) -> None:
    """Its quota may be used up, or its hours over: that the login was right there does not tell."""
    mark = play.trust()
    play.do(LoginAccepted(mark, "basic", "basic", "github.com:443"))
    play.do(LoginAccepted(mark, "basic", "basic", "site.example:443"))
    blocked = play.challenge(tried=mark, target="site.example:80")
    assert play.all(SendOwnRequest)[-1].target == "github.com:443"
    play.accept(own(play))
    assert play.refused() == {blocked: "FORBIDDEN"}
    assert play.all(RecordRejection) == []


def test_a_login_refused_at_the_only_host_that_accepted_it_is_tried_anywhere(play: Play) -> None:
    good = trusted(play)
    mark = play.mark(1)
    play.challenge(tried=mark, target=good)
    assert play.all(SendOwnRequest)[-1].target == ""
    play.accept(own(play))
    again = play.challenge(tried=mark, target=good)
    assert play.refused()[again] == "FORBIDDEN"
    assert play.machine.is_trusted(mark)
    assert len(play.all(SendOwnRequest)) == 1


@pytest.mark.parametrize("requests", [1, 50])
def test_a_changed_password_costs_two_log_ons_whatever_its_hosts_accepted_before(
    play: Play, requests: int
) -> None:
    good = trusted(play)
    mark = play.mark(1)
    for _ in range(requests):
        play.challenge(tried=mark, target=good)
    ours = own(play)
    before = len(play.released())
    play.challenge(tried=play.mark(ours), target="example.com:80", own=True)
    end(play)
    assert play.question_due.reason is PromptReason.SAVED_REJECTED
    assert play.all(RecordRejection) == [RecordRejection(SPACE, RIGHT)]
    assert len(play.released()) == before


def test_a_second_refusal_of_what_had_left_before_the_first_is_no_rejection(play: Play) -> None:
    """Although the login was accepted at both hosts: both refusals may be of one moment."""
    mark = play.trust()
    hosts = ("a.example:443", "b.example:443")
    for host in hosts:
        play.do(LoginAccepted(mark, "basic", "basic", host))
    for host in hosts:
        play.challenge(tried=mark, target=host)
    assert play.all(RecordRejection) == []
    assert not play.is_asking


def test_a_refusal_of_a_client_does_not_tell_where_a_host_is_unknown(play: Play) -> None:
    """Two hosts of a block list are not a wrong password."""
    trusted(play)
    mark = play.mark(1)
    play.challenge(tried=mark, target="ad1.example:443")
    end(play)
    end(play)
    second = play.challenge(target="ad2.example:443")
    play.challenge(tried=play.mark(second), target="ad2.example:443")
    assert play.all(RecordRejection) == []


def test_a_host_stays_forbidden_for_the_next_login_of_the_user(play: Play) -> None:
    """Otherwise the trial of a right password ends at a host that refuses everybody."""
    trusted(play)
    mark = play.mark(1)
    play.challenge(tried=mark, target="blocked.example:443")
    play.accept(own(play))
    end(play)
    play.do(SignInRequested(OFFICE, WAY))
    play.enter(Login("jdoe", "new"))
    assert play.all(SendOwnRequest)[-1].target == ""
    waiting = play.challenge(target="blocked.example:80")
    assert waiting not in play.released()
    play.accept(own(play))
    assert play.endings()[-1] == "ACCEPTED"


def test_a_refusal_by_a_forbidden_host_says_nothing_about_the_next_login_of_the_user(
    play: Play,
) -> None:
    """It goes there only because our own request was not answered in time."""
    trusted(play)
    play.challenge(tried=play.mark(1), target="blocked.example:443")
    play.accept(own(play))
    end(play)
    play.do(SignInRequested(OFFICE, WAY))
    new = Login("jdoe", "new")
    play.enter(new)
    waiting = play.challenge(target="blocked.example:80")
    play.wait(play.rules.canary_overdue)
    assert play.released()[-1] == waiting
    back = play.reject(waiting, target="blocked.example:80")
    assert play.refused()[back] == "FORBIDDEN"
    assert RecordRejection(SPACE, new) not in play.all(RecordRejection)
    assert play.question.reason is PromptReason.UNCHECKED


# --- Answers that prove nothing -------------------------------------------------------------------


def test_an_answer_that_proves_nothing_saves_and_releases_nothing(play: Play) -> None:
    first, second = play.challenge(target="a.example:80"), play.challenge(target="a.example:443")
    play.found(None)
    play.wait(0.15)
    play.enter(RIGHT)
    play.answer(first)
    assert play.released() == [first]
    assert (play.all(SaveLoginToKeyring), play.endings()) == ([], [])
    assert play.machine.trusted_logins() == {}
    assert play.all(SendOwnRequest)[-1].target == ""
    play.accept(own(play))
    assert second in play.released()
    assert play.all(SaveLoginToKeyring) == [SaveLoginToKeyring(OFFICE, RIGHT)]
    assert play.endings() == ["ACCEPTED"]


def test_until_it_is_proved_it_could_not_be_checked_yet(play: Play) -> None:
    (first,) = play.ask()
    play.enter(RIGHT)
    play.answer(first)
    end(play)
    assert (play.question.reason, play.question.checking) == (PromptReason.UNCHECKED, False)
    assert fact(play) is not SignInState.OK


def test_a_waiting_request_to_another_host_is_as_good_as_ours(play: Play) -> None:
    first, second = play.ask(2)
    play.enter(RIGHT)
    play.answer(first)
    assert play.released() == [first, second]
    assert play.all(SendOwnRequest) == []


def test_a_wrong_password_to_a_proxy_that_always_says_500_is_sent_three_times(play: Play) -> None:
    waiters = play.ask(20)
    play.enter(WRONG)
    for _ in range(2):
        play.answer(play.released()[-1])
    ours = own(play)
    play.answer(ours)
    end(play)
    assert play.released() == [*waiters[:2], ours]
    assert (play.question.reason, play.question.waiting) == (PromptReason.UNCHECKED, 18)
    assert play.all(SaveLoginToKeyring) == []


def test_a_first_try_of_our_own_goes_where_a_program_wanted_to_go(play: Play) -> None:
    """Not to a page that has nothing to do with it, as long as there is another try."""
    first, _ = play.challenge(target="a.example:80"), play.challenge(target="a.example:443")
    left = play.challenge(target="b.example:443")
    play.found(RIGHT)
    play.leave(left)
    play.answer(first)
    assert [effect.target for effect in play.all(SendOwnRequest)] == ["b.example:443"]


def test_the_last_try_before_the_person_is_asked_goes_to_a_page_that_is_always_there(
    play: Play,
) -> None:
    """A browser calls several hosts by itself, and a company may block each of them."""
    waiters = play.ask(5)
    play.enter(RIGHT)
    for _ in range(2):
        play.answer(play.released()[-1])
    assert play.all(SendOwnRequest)[-1].target == ""
    play.accept(own(play))
    assert set(play.released()) >= set(waiters)
    assert play.endings() == ["ACCEPTED"]


def test_answers_that_only_sites_give_stop_nobody(play: Play) -> None:
    waiters = play.ask(20)
    play.enter(RIGHT)
    for _ in waiters:
        play.answer(play.released()[-1], is_doubtful=False)
    assert play.released() == waiters
    assert play.all(SaveLoginToKeyring) == []


def test_our_own_request_that_proves_nothing_either_goes_to_each_place_once(play: Play) -> None:
    generation = give(play, RIGHT)
    for _ in range(play.rules.unproved_max):
        assert play.machine.trial_state(SPACE, generation) is TrialState.UNDER_WAY
        play.answer(own(play))
        end(play)
    assert [attempt.target for attempt in play.all(SendOwnRequest)] == ["", *CHECK_PAGES]
    assert play.machine.trial_state(SPACE, generation) is TrialState.UNKNOWN
    assert play.all(SaveLoginToKeyring) == []


def test_an_answer_typed_without_clients_is_proved_elsewhere(play: Play) -> None:
    give_up_while_typing(play)
    play.answer(own(play))
    end(play)
    assert [attempt.target for attempt in play.all(SendOwnRequest)] == ["host1.example:443", ""]
    play.accept(own(play))
    assert play.endings() == ["ACCEPTED"]


def test_without_requests_of_our_own_the_next_request_tells() -> None:
    play = Play()
    first, second = (play.challenge(target="a.example:80") for _ in range(2))
    play.found(RIGHT)
    play.answer(first)
    assert play.released() == [first, second]
    play.accept(second)
    assert play.machine.is_trusted(play.mark(first))


def test_a_login_accepted_before_stays_accepted_whatever_is_answered(play: Play) -> None:
    good = trusted(play)
    mark = play.mark(1)
    play.do(LoginUnproved(mark, good))
    assert play.machine.is_trusted(mark)


def test_many_forbidden_addresses_at_once_are_cleared_up_by_one_request(play: Play) -> None:
    trusted(play)
    mark = play.mark(1)
    blocked = [play.challenge(tried=mark, target=f"ad{n}.example:443") for n in range(50)]
    assert len(play.all(SendOwnRequest)) == 1
    play.accept(own(play))
    assert play.refused() == dict.fromkeys(blocked, "FORBIDDEN")
    assert play.machine.facts("office").sign_in is SignInState.OK


def test_a_forbidden_address_is_found_out_once(play: Play) -> None:
    trusted(play)
    mark = play.mark(1)
    play.challenge(tried=mark, target="blocked.example:443")
    play.accept(own(play))
    end(play)
    again = play.challenge(tried=mark, target="blocked.example:443")
    assert play.refused()[again] == "FORBIDDEN"
    assert play.machine.is_trusted(mark)
    assert len(play.all(SendOwnRequest)) == 1
    play.wait(601)
    play.challenge(tried=mark, target="blocked.example:443")
    assert len(play.all(SendOwnRequest)) == 2


def test_without_an_answer_to_ours_the_addresses_are_taken_for_forbidden(play: Play) -> None:
    trusted(play)
    blocked = play.challenge(tried=play.mark(1), target="blocked.example:443")
    end(play)
    assert play.all(SendOwnRequest)[-1].target == ""
    assert play.refused() == {}
    end(play)
    assert play.refused() == {blocked: "FORBIDDEN"}


def test_a_first_request_that_was_forbidden_is_cleared_up_when_the_person_insists(
    play: Play,
) -> None:
    first = play.challenge(target="blocked.example:443")
    play.found(RIGHT)
    back = play.reject(first, target="blocked.example:443")
    assert play.question_due.reason is PromptReason.SAVED_REJECTED
    play.enter(RIGHT)
    assert play.question.confirm_retry
    play.enter(RIGHT)
    assert play.all(SendOwnRequest)[-1].target == ""
    assert play.question.checking
    play.accept(own(play))
    assert back in play.released()
    told = play.challenge(tried=play.mark(back), target="blocked.example:443")
    play.accept(own(play))
    assert play.refused() == {told: "FORBIDDEN"}
    assert play.endings() == ["ACCEPTED"]


def test_a_login_that_is_insisted_on_is_on_one_request_of_our_own(play: Play) -> None:
    first = play.challenge(target="blocked.example:443")
    play.found(RIGHT)
    play.reject(first, target="blocked.example:443")
    play.wait(0.15)
    play.enter(RIGHT)
    play.enter(RIGHT)
    assert len(play.all(SendOwnRequest)) == 1
    play.challenge(target="blocked.example:443")  # Something happens before ours is asked.
    assert play.released() == [first]
    ours = own(play)
    play.fail(ours, sent=True)
    end(play)
    play.wait(30)
    assert len(play.all(SendOwnRequest)) == 1


def test_a_login_that_our_own_request_is_about_to_try_is_under_way(play: Play) -> None:
    give_up_while_typing(play)
    generation = play.machine.generation(SPACE)
    assert play.machine.trial_state(SPACE, generation) is TrialState.UNDER_WAY
    end(play)
    assert play.machine.trial_state(SPACE, generation) is TrialState.UNKNOWN


def test_a_login_that_is_tried_in_another_realm_already_is_under_way(play: Play) -> None:
    other = ProtectionSpace(SPACE, "Other", KEY.family)
    play.ask()
    first = play.challenge(other)
    play.found(RIGHT)
    assert play.released() == [first]
    play.enter(RIGHT)
    assert play.released() == [first]
    generation = play.machine.generation(SPACE)
    assert play.machine.trial_state(SPACE, generation) is TrialState.UNDER_WAY


# --- Late, after the profile is gone --------------------------------------------------------------


@pytest.mark.parametrize(
    "late",
    [
        lambda mark: NoResponse(mark, was_sent=True),
        lambda mark: LoginAccepted(mark, "basic", "basic", "github.com:443"),
        lambda mark: LoginUnproved(mark, "github.com:443"),
        lambda mark: OwnRequestEnded(1, was_challenged=True),
        lambda mark: OwnRequestEnded(1, was_challenged=False),
    ],
    ids=["inconclusive", "accepted", "unproved", "own, asked", "own, not asked"],
)
@pytest.mark.parametrize("is_own", [True, False], ids=["own", "client"])
def test_what_comes_back_after_its_profile_was_deleted_changes_nothing(
    play: Play, late: Callable[[LoginId], Event], is_own: bool
) -> None:
    if is_own:
        give_up_while_typing(play)
        mark = play.mark(own(play))
    else:
        first = play.challenge()
        play.found(RIGHT)
        mark = play.mark(first)
    play.do(ProfileDeleted("office"))
    before = len(play.effects)
    play.do(late(mark))
    assert play.effects[before:] == []
    assert play.machine.state.spaces == {}
    assert not play.is_asking


@pytest.mark.parametrize(
    "late",
    [
        PromptAnswered(1, RIGHT, remember=True),
        PromptDeclined(1, Snooze.A_WHILE),
        PromptTouched(1),
        ProgramIdentified(1, Program("git", 4312, "github.com:443")),
        LookupFinished(1, RIGHT, GNOME),
        ClientLeft(1),
    ],
    ids=lambda event: type(event).__name__,
)
def test_what_is_done_about_the_question_of_a_deleted_profile_changes_nothing(
    play: Play, late: Event
) -> None:
    play.ask()
    play.do(ProfileDeleted("office"))
    assert play.do(late) == []
    assert play.machine.state.spaces == {}


def test_a_refusal_after_its_profile_was_deleted_is_told_that(play: Play) -> None:
    first = play.challenge()
    play.found(RIGHT)
    mark = play.mark(first)
    play.do(ProfileDeleted("office"))
    late = play.challenge(tried=mark)
    assert play.refused() == {late: "WITHDRAWN"}
    assert play.all(RecordRejection) == []
    assert play.machine.state.spaces == {}


def test_who_insists_is_obeyed_on_another_address_first(play: Play) -> None:
    first = play.challenge(target="blocked.example:443")
    play.found(RIGHT)
    play.reject(first, target="blocked.example:443")
    play.wait(0.15)
    other = play.challenge(target="github.com:443")
    play.enter(RIGHT)
    play.enter(RIGHT)
    assert play.released()[-1] == other
    assert play.all(SendOwnRequest) == []


def test_a_site_that_is_down_does_not_stop_the_others_while_a_login_is_in_doubt(
    play: Play,
) -> None:
    trusted(play)
    blocked = play.challenge(tried=play.mark(1), target="blocked.example:443")
    other, third = play.challenge(), play.challenge()
    own(play)
    assert other not in play.released()
    play.wait(10)
    assert play.released()[-1] == other
    assert third not in play.released()
    play.accept(other)
    assert third in play.released()
    assert play.refused() == {blocked: "FORBIDDEN"}


def test_a_login_in_doubt_does_not_keep_the_person_from_typing_another(play: Play) -> None:
    trusted(play)
    play.do(SignInRequested(OFFICE, WAY))
    play.challenge(tried=play.mark(1), target="blocked.example:443")
    own(play)
    assert not play.question.checking
    play.enter(Login("jdoe", "new"))
    assert play.machine.state.spaces[KEY].login == Login("jdoe", "new")


# --- One log-on per password ----------------------------------------------------------------------


def test_a_login_typed_a_second_time_while_it_is_on_its_way_is_not_sent_twice(
    play: Play,
) -> None:
    never, other = WRONG, Login("jdoe", "other")
    first, second, third = play.ask(3)
    play.enter(never)
    play.wait(10)
    play.enter(other)
    play.wait(10)
    play.enter(never)
    assert play.released() == [first, second]
    assert play.question.checking
    play.reject(first)
    assert play.released() == [first, second]
    assert play.question.reason is PromptReason.TYPED_REJECTED
    assert third not in play.released()


def test_a_login_typed_again_is_right_when_its_first_try_is_accepted(play: Play) -> None:
    first, second, third = play.ask(3)
    play.enter(RIGHT)
    play.wait(10)
    play.enter(WRONG)
    play.wait(10)
    play.enter(RIGHT)
    play.accept(first)
    assert play.endings() == ["ACCEPTED"]
    assert play.machine.login(play.mark(third)) == RIGHT
    assert play.released() == [first, second, third]


def test_a_rejection_is_to_be_remembered_and_an_acceptance_lifts_it(play: Play) -> None:
    (waiter,) = play.ask()
    play.enter(WRONG)
    again = play.reject(waiter)
    assert play.all(RecordRejection) == [RecordRejection(SPACE, WRONG)]
    play.enter(RIGHT)
    play.accept(again)
    assert play.all(ClearRejection) == [ClearRejection(SPACE, RIGHT)]


def test_a_saved_login_that_an_earlier_run_saw_rejected_is_not_sent(play: Play) -> None:
    waiter = play.challenge()
    play.records[WRONG] = HistoryRecord(is_rejected=True)
    play.found(WRONG)
    play.wait(0.15)
    assert play.released() == []
    assert (play.question.reason, play.question.user) == (PromptReason.SAVED_REJECTED, "jdoe")
    play.enter(WRONG)
    assert play.released() == []
    assert (play.question.rejections, play.question.confirm_retry) == (0, True)
    play.enter(WRONG)
    assert play.released() == [waiter]


# --- The screen -----------------------------------------------------------------------------------


def test_no_question_opens_while_the_screen_is_locked(play: Play) -> None:
    play.do(ScreenLocked(True))
    waiter = play.challenge()
    play.found(None)
    play.wait(60)
    assert not play.is_asking
    assert waiter not in play.refused()
    play.do(ScreenLocked(False))
    assert play.question.waiting == 1


def test_after_unlocking_nothing_opens_if_nobody_waits_any_more(play: Play) -> None:
    play.do(ScreenLocked(True))
    waiter = play.challenge()
    play.found(None)
    play.leave(waiter)
    play.do(ScreenLocked(False))
    assert not play.is_asking


def test_a_saved_login_works_behind_the_lock(play: Play) -> None:
    play.do(ScreenLocked(True))
    waiter = play.challenge()
    play.found(RIGHT)
    assert play.released() == [waiter]


# --- Several profiles, upstreams and realms -------------------------------------------------------


def test_two_profiles_on_one_proxy_have_each_their_user(play: Play) -> None:
    twin = replace(OFFICE, id="twin", name="Twin", user="admin")
    key = replace(KEY, upstream_id=UpstreamId.of(twin))
    first = play.challenge()
    play.found(RIGHT)
    play.accept(first)
    play.do(ProfileSwitched(twin))
    second = play.challenge(key, twin)
    play.found(Login("admin", "other"))
    play.accept(second)
    logins = {play.machine.login(mark) for mark in play.machine.trusted_logins().values()}
    assert logins == {RIGHT, Login("admin", "other")}
    assert play.machine.facts("office").user == "jdoe"
    assert play.machine.facts("twin").user == "admin"


def test_a_login_rejected_for_one_profile_is_not_sent_for_another_with_its_upstream(
    play: Play,
) -> None:
    """It is the same account: only the rejection is shared, never the login."""
    twin = replace(OFFICE, id="twin", name="Twin")
    first = play.challenge()
    play.found(WRONG)
    play.leave(play.reject(first))
    play.do(ProfileSwitched(twin))
    play.challenge(replace(KEY, upstream_id=UpstreamId.of(twin)), twin)
    play.found(WRONG)
    assert play.released() == [first]
    assert play.question_due.reason is PromptReason.SAVED_REJECTED


def test_each_upstream_of_a_profile_is_asked_about_for_itself(play: Play) -> None:
    spare = Upstream("spare.corp.example", 8080)
    both = replace(OFFICE, fallbacks=(spare,))
    play.do(ProfileSwitched(both))
    other = replace(KEY, upstream_id=UpstreamId("office", str(spare)))
    first = play.challenge(profile=both)
    play.found(RIGHT)
    play.accept(first)
    second = play.challenge(other, both)
    assert play.all(LookUpLogin)[-1].profile == replace(OFFICE, upstream=spare)
    play.found(None)
    play.wait(0.15)
    assert play.question.upstream == str(spare)
    play.enter(WRONG)
    assert play.machine.login(play.mark(first)) == RIGHT
    assert play.machine.login(play.mark(second)) == WRONG


def test_an_edit_while_the_question_is_open_keeps_it_if_the_upstream_stays(play: Play) -> None:
    (waiter,) = play.ask()
    number = play.question.number
    renamed = replace(OFFICE, name="Headquarters", user="admin")
    play.do(ProfileEdited(renamed))
    assert (play.question.number, play.question.profile) == (number, "Headquarters")
    play.enter(RIGHT)
    assert play.released() == [waiter]


def test_an_edit_that_takes_the_upstream_away_voids_what_is_typed_then(play: Play) -> None:
    (waiter,) = play.ask()
    number = play.question.number
    play.do(ProfileEdited(replace(OFFICE, upstream=Upstream("else.example", 8080))))
    assert play.refused() == {waiter: "WITHDRAWN"}
    assert play.endings() == ["WITHDRAWN"]
    play.machine.prompt(number)
    assert play.released() == []


def test_a_switch_in_mid_handshake_lets_it_end_where_it_began(play: Play) -> None:
    first = play.challenge()
    play.found(RIGHT)
    play.do(ProfileSwitched(LAB))
    second = play.challenge(LAB_KEY, LAB)
    play.accept(first)
    assert play.machine.is_trusted(play.mark(first))
    assert second not in play.released()


def test_a_profile_deleted_in_mid_handshake_gets_no_verdict(play: Play) -> None:
    first = play.challenge()
    play.found(WRONG)
    mark = play.mark(first)
    play.do(ProfileDeleted("office"))
    late = play.challenge(tried=mark)
    assert play.refused() == {late: "WITHDRAWN"}
    assert not play.is_asking


def test_500_requests_cost_one_question_and_one_log_on(play: Play) -> None:
    waiters = play.ask(500)
    assert play.question.waiting == 500
    play.enter(WRONG)
    play.reject(waiters[0])
    assert play.released() == waiters[:1]
    assert len(play.machine.prompt_numbers()) == 1
    play.enter(RIGHT)
    play.accept(play.released()[-1])
    assert len(play.released()) == 501
    assert BASIC.scheme == play.scheme(waiters[1])
