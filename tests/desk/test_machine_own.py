"""Tests for trayproxy.desk.machine.machine: own requests, forbidden hosts and several profiles."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.desk.machine_driver import (
    BASIC,
    BASIC_METHOD,
    LAB_SPACE,
    OFFICE,
    SPACE,
    MachineDriver,
    sign_in_state,
)
from tests.support.values import GNOME, LAB, RIGHT, WRONG
from trayproxy.auth.login import Login
from trayproxy.desk.history import HistoryRecord
from trayproxy.desk.machine import events
from trayproxy.desk.machine.current_login import LoginSource
from trayproxy.desk.machine.prompt_state import PromptState
from trayproxy.desk.machine.prompts import Prompts
from trayproxy.desk.machine.queries import TrialState
from trayproxy.desk.machine.space_state import Lookup, SpaceState
from trayproxy.desk.machine.verification import CHECK_PAGES, OwnRequests
from trayproxy.desk.protection_space import LoginId, ProtectionSpace, UpstreamId
from trayproxy.domain.signin import Program, PromptReason, SignInState, Snooze
from trayproxy.profiles.profile import Upstream

UPSTREAM_ID = UpstreamId.of(OFFICE)


@pytest.fixture
def driver() -> MachineDriver:
    driver = MachineDriver()
    driver.machine.state.can_send_own = True
    return driver


def challenge_own_request(driver: MachineDriver) -> int:
    """Challenge the last own request with its first 407."""
    tries = driver.effects_of(events.SendOwnRequest)
    return driver.challenge(target=tries[-1].target or "example.com:80", is_own=True)


def end_own_request(driver: MachineDriver, *, was_challenged: bool = True) -> None:
    driver.handle(
        events.OwnRequestEnded(driver.effects_of(events.SendOwnRequest)[-1].number, was_challenged)
    )


def disconnect_while_typing(driver: MachineDriver, login: Login = RIGHT) -> None:
    (request,) = driver.open_prompt()
    driver.touch_prompt()
    driver.disconnect(request)
    driver.answer_prompt(login)


# --- The clients disconnect, the user answers ----------------------------------------------------


def test_a_typed_login_is_verified_by_an_own_request_after_its_client_disconnected(
    driver: MachineDriver,
) -> None:
    disconnect_while_typing(driver)
    assert driver.effects_of(events.SendOwnRequest) == [
        events.SendOwnRequest(1, OFFICE, "host1.example:443")
    ]
    assert driver.prompt.checking
    own_request = challenge_own_request(driver)
    assert driver.login_id_of(own_request)
    driver.accept(own_request)
    end_own_request(driver)
    assert driver.effects_of(events.SaveLoginToKeyring) == [
        events.SaveLoginToKeyring(OFFICE, RIGHT)
    ]
    assert driver.endings() == ["ACCEPTED"]


def test_the_retry_of_the_client_gets_the_login_at_once(driver: MachineDriver) -> None:
    disconnect_while_typing(driver)
    driver.accept(challenge_own_request(driver))
    retry = driver.challenge()
    assert retry in driver.released()


def test_a_rejection_is_shown_although_the_client_disconnected(driver: MachineDriver) -> None:
    disconnect_while_typing(driver, WRONG)
    own_request = challenge_own_request(driver)
    back = driver.challenge(tried=driver.login_id_of(own_request), is_own=True)
    end_own_request(driver)
    assert driver.refused() == {back: "WITHDRAWN"}
    assert (driver.prompt.reason, driver.prompt.checking) == (PromptReason.TYPED_REJECTED, False)
    assert driver.prompt.waiting == 0


def test_an_own_request_replaces_a_client_that_disconnects_during_the_check(
    driver: MachineDriver,
) -> None:
    (request,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    driver.end_without_response(request, was_sent=True)
    assert len(driver.effects_of(events.SendOwnRequest)) == 1
    driver.accept(challenge_own_request(driver))
    assert driver.endings() == ["ACCEPTED"]


def test_the_prompt_stays_open_and_says_why_if_the_upstream_is_unreachable(
    driver: MachineDriver,
) -> None:
    disconnect_while_typing(driver)
    end_own_request(driver)
    assert (driver.prompt.reason, driver.prompt.checking) == (PromptReason.UNCHECKED, False)
    assert len(driver.effects_of(events.SendOwnRequest)) == 1
    retry = driver.challenge()
    driver.accept(retry)
    assert driver.endings() == ["ACCEPTED"]


def test_an_own_request_without_a_407_closes_the_prompt_and_keeps_the_login(
    driver: MachineDriver,
) -> None:
    disconnect_while_typing(driver)
    end_own_request(driver, was_challenged=False)
    assert not driver.is_prompting
    assert driver.login_id_of(driver.challenge())


def test_typing_the_login_again_sends_another_own_request(driver: MachineDriver) -> None:
    disconnect_while_typing(driver)
    end_own_request(driver)
    driver.answer_prompt(RIGHT)
    assert len(driver.effects_of(events.SendOwnRequest)) == 2


def test_a_new_client_request_may_be_the_canary_instead_of_the_own_request(
    driver: MachineDriver,
) -> None:
    disconnect_while_typing(driver)
    client = driver.challenge()
    assert driver.released() == [client]
    own_request = challenge_own_request(driver)
    assert driver.released() == [client]
    driver.accept(client)
    assert driver.released() == [client, own_request]


def test_no_prompt_names_an_own_request(driver: MachineDriver) -> None:
    disconnect_while_typing(driver)
    driver.challenge(target="canary.example:443")
    driver.challenge(target="github.com:443")
    challenge_own_request(driver)
    assert driver.machine.facts("office").waiting == 1
    assert [program.target for program in driver.prompt.programs] == ["github.com:443"]
    assert len(driver.machine.unidentified_requests(driver.prompt.number)) == 1


def test_an_own_request_opens_no_prompt(driver: MachineDriver) -> None:
    disconnect_while_typing(driver)
    own_request = driver.challenge(replace(SPACE, realm="Other"), is_own=True)
    driver.advance(1)
    assert driver.refused() == {own_request: "WITHDRAWN"}
    assert len(driver.machine.prompt_numbers()) == 1


def test_signing_in_from_the_menu_is_checked_at_once(driver: MachineDriver) -> None:
    driver.handle(events.SignInRequested(OFFICE, BASIC_METHOD))
    driver.answer_prompt(RIGHT)
    assert driver.effects_of(events.SendOwnRequest)[-1].target == ""
    driver.accept(challenge_own_request(driver))
    assert driver.endings() == ["ACCEPTED"]
    assert driver.effects_of(events.SaveLoginToKeyring) == [
        events.SaveLoginToKeyring(OFFICE, RIGHT)
    ]


def test_an_untouched_prompt_closes_with_its_last_client_and_sends_nothing(
    driver: MachineDriver,
) -> None:
    (request,) = driver.open_prompt()
    driver.disconnect(request)
    assert driver.endings() == ["ABANDONED"]
    assert driver.effects_of(events.SendOwnRequest) == []
    driver.open_prompt()
    assert driver.is_prompting


# --- A login from the command line ---------------------------------------------------------------


def provide_login(driver: MachineDriver, login: Login) -> int:
    driver.handle(events.LoginProvided(OFFICE, BASIC_METHOD, login, remember=True))
    return driver.machine.generation(UPSTREAM_ID)


@pytest.mark.parametrize("is_touched", [False, True])
def test_a_typed_login_without_clients_is_verified_once_the_user_acts_on_the_prompt(
    driver: MachineDriver, is_touched: bool
) -> None:
    state, prompt = driver.machine.state, PromptState(BASIC_METHOD).opened(1)
    space = SpaceState(
        SPACE, OFFICE, 1000.0, prompt.touched(1000.0) if is_touched else prompt, Lookup(1000.0)
    )
    space.renew(RIGHT, LoginSource.TYPED)
    OwnRequests(state, Prompts(state)).verify_without_clients(space)
    own_requests = [effect for effect in state.effects if isinstance(effect, events.SendOwnRequest)]
    assert own_requests == [events.SendOwnRequest(1, OFFICE, "")] * is_touched


def test_a_login_to_be_saved_is_verified_first(driver: MachineDriver) -> None:
    generation = provide_login(driver, RIGHT)
    assert driver.effects_of(events.SaveLoginToKeyring) == []
    assert driver.machine.trial_state(UPSTREAM_ID, generation) is TrialState.UNDER_WAY
    driver.accept(challenge_own_request(driver))
    assert driver.effects_of(events.SaveLoginToKeyring) == [
        events.SaveLoginToKeyring(OFFICE, RIGHT)
    ]


def test_a_wrong_login_to_be_saved_is_not_saved(driver: MachineDriver) -> None:
    driver.sign_in(RIGHT)
    generation = provide_login(driver, WRONG)
    driver.challenge(tried=driver.login_id_of(challenge_own_request(driver)), is_own=True)
    end_own_request(driver)
    assert driver.machine.trial_state(UPSTREAM_ID, generation) is TrialState.REJECTED
    assert driver.effects_of(events.SaveLoginToKeyring) == [
        events.SaveLoginToKeyring(OFFICE, RIGHT)
    ]


def test_an_unchecked_login_is_saved_once_it_is_accepted(driver: MachineDriver) -> None:
    generation = provide_login(driver, RIGHT)
    end_own_request(driver)
    assert driver.machine.trial_state(UPSTREAM_ID, generation) is TrialState.UNKNOWN
    driver.accept(driver.challenge())
    assert driver.effects_of(events.SaveLoginToKeyring) == [
        events.SaveLoginToKeyring(OFFICE, RIGHT)
    ]


def test_a_command_line_login_is_not_under_way_before_a_request_needs_it(
    driver: MachineDriver,
) -> None:
    driver.handle(events.LoginProvided(OFFICE, BASIC_METHOD, RIGHT))
    assert (
        driver.machine.trial_state(UPSTREAM_ID, driver.machine.generation(UPSTREAM_ID))
        is TrialState.UNKNOWN
    )


def test_a_rejected_login_is_not_under_way_until_the_own_request_has_ended(
    driver: MachineDriver,
) -> None:
    generation = provide_login(driver, WRONG)
    driver.challenge(tried=driver.login_id_of(challenge_own_request(driver)), is_own=True)
    assert driver.machine.trial_state(UPSTREAM_ID, generation) is TrialState.REJECTED


@pytest.mark.parametrize(
    ("record", "trial"),
    [
        (HistoryRecord(is_rejected=True), TrialState.UNSENT),
        (HistoryRecord(hold_s=600.0), TrialState.UNKNOWN),
    ],
)
def test_a_login_to_be_saved_on_trial_since_an_earlier_run_is_sent_only_if_typed(
    driver: MachineDriver, record: HistoryRecord, trial: TrialState
) -> None:
    """The record may be under the address that the upstream shares with another host name."""
    driver.history[WRONG] = record
    generation = provide_login(driver, WRONG)
    challenge_own_request(driver)
    assert driver.released() == []
    end_own_request(driver)
    assert driver.machine.trial_state(UPSTREAM_ID, generation) is trial
    driver.handle(
        events.LoginProvided(OFFICE, BASIC_METHOD, WRONG, remember=True, retry_rejected=True)
    )
    again = challenge_own_request(driver)
    assert driver.released() == [again]


# --- Forbidden hosts and a right password --------------------------------------------------------


def trusted(driver: MachineDriver) -> str:
    """Sign in; return the target for which the login was accepted."""
    login_id = driver.sign_in()
    assert driver.machine.is_trusted(login_id)
    (good,) = driver.machine.state.spaces[SPACE].current.accepted_targets
    return good


def test_a_refusal_is_resolved_by_an_own_request_to_an_accepted_target(
    driver: MachineDriver,
) -> None:
    good = trusted(driver)
    login_id = driver.login_id_of(1)
    blocked = driver.challenge(tried=login_id, target="blocked.example:443")
    assert driver.effects_of(events.SendOwnRequest)[-1].target == good
    assert blocked not in driver.refused()
    driver.accept(challenge_own_request(driver))
    assert driver.refused() == {blocked: "FORBIDDEN"}
    assert driver.machine.is_trusted(login_id)
    assert not driver.is_prompting
    assert driver.effects_of(events.RecordRejection) == []


@pytest.mark.parametrize("was_challenged", [True, False])
def test_the_prompt_from_the_menu_survives_an_own_request_without_a_verdict_on_an_accepted_login(
    driver: MachineDriver, was_challenged: bool
) -> None:
    trusted(driver)
    blocked = driver.challenge(tried=driver.login_id_of(1), target="blocked.example:443")
    driver.disconnect(blocked)
    driver.handle(events.SignInRequested(OFFICE, BASIC_METHOD))
    end_own_request(driver, was_challenged=was_challenged)
    assert driver.prompt.reason is PromptReason.ASKED_FOR


def test_a_refusal_long_after_the_acceptance_is_resolved_by_an_own_request(
    driver: MachineDriver,
) -> None:
    trusted(driver)
    driver.advance(8 * 3600)
    driver.challenge(tried=driver.login_id_of(1), target="blocked.example:443")
    driver.accept(challenge_own_request(driver))
    assert list(driver.refused().values()) == ["FORBIDDEN"]


def test_a_changed_password_costs_two_log_ons_at_most(driver: MachineDriver) -> None:
    trusted(driver)
    login_id = driver.login_id_of(1)
    requests = [driver.challenge(tried=login_id) for _ in range(20)]
    own_request = challenge_own_request(driver)
    driver.challenge(
        tried=login_id, target=driver.effects_of(events.SendOwnRequest)[-1].target, is_own=True
    )
    end_own_request(driver)
    assert [request for request in driver.released() if request in requests] == []
    assert driver.released()[-1] == own_request
    prompt = driver.due_prompt
    assert (prompt.reason, prompt.waiting) == (PromptReason.SAVED_REJECTED, 20)
    assert driver.effects_of(events.RecordRejection) == [events.RecordRejection(UPSTREAM_ID, RIGHT)]


def test_a_refusal_by_an_accepting_host_is_resolved_at_another_host(driver: MachineDriver) -> None:
    """The quota of the host may be used up, so an earlier acceptance there proves nothing."""
    login_id = driver.sign_in()
    driver.handle(events.LoginAccepted(login_id, "basic", "basic", "github.com:443"))
    driver.handle(events.LoginAccepted(login_id, "basic", "basic", "site.example:443"))
    blocked = driver.challenge(tried=login_id, target="site.example:80")
    assert driver.effects_of(events.SendOwnRequest)[-1].target == "github.com:443"
    driver.accept(challenge_own_request(driver))
    assert driver.refused() == {blocked: "FORBIDDEN"}
    assert driver.effects_of(events.RecordRejection) == []


def test_a_login_refused_at_its_only_accepted_host_is_verified_without_a_target(
    driver: MachineDriver,
) -> None:
    good = trusted(driver)
    login_id = driver.login_id_of(1)
    driver.challenge(tried=login_id, target=good)
    assert driver.effects_of(events.SendOwnRequest)[-1].target == ""
    driver.accept(challenge_own_request(driver))
    again = driver.challenge(tried=login_id, target=good)
    assert driver.refused()[again] == "FORBIDDEN"
    assert driver.machine.is_trusted(login_id)
    assert len(driver.effects_of(events.SendOwnRequest)) == 1


@pytest.mark.parametrize("requests", [1, 50])
def test_a_changed_password_costs_two_log_ons_whichever_hosts_accepted_it_before(
    driver: MachineDriver, requests: int
) -> None:
    good = trusted(driver)
    login_id = driver.login_id_of(1)
    for _ in range(requests):
        driver.challenge(tried=login_id, target=good)
    own_request = challenge_own_request(driver)
    before = len(driver.released())
    driver.challenge(tried=driver.login_id_of(own_request), target="example.com:80", is_own=True)
    end_own_request(driver)
    assert driver.due_prompt.reason is PromptReason.SAVED_REJECTED
    assert driver.effects_of(events.RecordRejection) == [events.RecordRejection(UPSTREAM_ID, RIGHT)]
    assert len(driver.released()) == before


def test_a_second_refusal_of_a_request_sent_before_the_first_is_no_rejection(
    driver: MachineDriver,
) -> None:
    """Both hosts have accepted the login, but both refusals may have one cause."""
    login_id = driver.sign_in()
    hosts = ("a.example:443", "b.example:443")
    for host in hosts:
        driver.handle(events.LoginAccepted(login_id, "basic", "basic", host))
    for host in hosts:
        driver.challenge(tried=login_id, target=host)
    assert driver.effects_of(events.RecordRejection) == []
    assert not driver.is_prompting


def test_a_refusal_by_an_unknown_host_is_no_rejection(driver: MachineDriver) -> None:
    """Two hosts of a block list do not make a password wrong."""
    trusted(driver)
    login_id = driver.login_id_of(1)
    driver.challenge(tried=login_id, target="ad1.example:443")
    end_own_request(driver)
    end_own_request(driver)
    second = driver.challenge(target="ad2.example:443")
    driver.challenge(tried=driver.login_id_of(second), target="ad2.example:443")
    assert driver.effects_of(events.RecordRejection) == []


def test_a_host_stays_forbidden_for_the_next_login(driver: MachineDriver) -> None:
    """Otherwise the trial of a right password would end at a host that refuses all users."""
    trusted(driver)
    login_id = driver.login_id_of(1)
    driver.challenge(tried=login_id, target="blocked.example:443")
    driver.accept(challenge_own_request(driver))
    end_own_request(driver)
    driver.handle(events.SignInRequested(OFFICE, BASIC_METHOD))
    driver.answer_prompt(Login("jdoe", "new"))
    assert driver.effects_of(events.SendOwnRequest)[-1].target == ""
    waiting = driver.challenge(target="blocked.example:80")
    assert waiting not in driver.released()
    driver.accept(challenge_own_request(driver))
    assert driver.endings()[-1] == "ACCEPTED"


def test_a_refusal_by_a_forbidden_host_is_no_verdict_on_the_next_login(
    driver: MachineDriver,
) -> None:
    """The login is sent there only because the own request got no response in time."""
    trusted(driver)
    driver.challenge(tried=driver.login_id_of(1), target="blocked.example:443")
    driver.accept(challenge_own_request(driver))
    end_own_request(driver)
    driver.handle(events.SignInRequested(OFFICE, BASIC_METHOD))
    new = Login("jdoe", "new")
    driver.answer_prompt(new)
    waiting = driver.challenge(target="blocked.example:80")
    driver.advance(driver.limits.canary_overdue)
    assert driver.released()[-1] == waiting
    back = driver.reject(waiting, target="blocked.example:80")
    assert driver.refused()[back] == "FORBIDDEN"
    assert events.RecordRejection(UPSTREAM_ID, new) not in driver.effects_of(events.RecordRejection)
    assert driver.prompt.reason is PromptReason.UNCHECKED


# --- Inconclusive responses ----------------------------------------------------------------------


def test_an_inconclusive_response_saves_and_releases_nothing(driver: MachineDriver) -> None:
    first, second = (
        driver.challenge(target="a.example:80"),
        driver.challenge(target="a.example:443"),
    )
    driver.finish_lookup(None)
    driver.advance(0.15)
    driver.answer_prompt(RIGHT)
    driver.respond_unproved(first)
    assert driver.released() == [first]
    assert (driver.effects_of(events.SaveLoginToKeyring), driver.endings()) == ([], [])
    assert driver.machine.trusted_logins() == {}
    assert driver.effects_of(events.SendOwnRequest)[-1].target == ""
    driver.accept(challenge_own_request(driver))
    assert second in driver.released()
    assert driver.effects_of(events.SaveLoginToKeyring) == [
        events.SaveLoginToKeyring(OFFICE, RIGHT)
    ]
    assert driver.endings() == ["ACCEPTED"]


def test_the_prompt_reports_an_unchecked_login_until_it_is_proved(driver: MachineDriver) -> None:
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    driver.respond_unproved(first)
    end_own_request(driver)
    assert (driver.prompt.reason, driver.prompt.checking) == (PromptReason.UNCHECKED, False)
    assert sign_in_state(driver) is not SignInState.OK


def test_a_parked_request_to_another_host_may_be_the_canary(driver: MachineDriver) -> None:
    first, second = driver.open_prompt(2)
    driver.answer_prompt(RIGHT)
    driver.respond_unproved(first)
    assert driver.released() == [first, second]
    assert driver.effects_of(events.SendOwnRequest) == []


def test_a_wrong_password_is_sent_three_times_to_a_proxy_that_always_responds_500(
    driver: MachineDriver,
) -> None:
    requests = driver.open_prompt(20)
    driver.answer_prompt(WRONG)
    for _ in range(2):
        driver.respond_unproved(driver.released()[-1])
    own_request = challenge_own_request(driver)
    driver.respond_unproved(own_request)
    end_own_request(driver)
    assert driver.released() == [*requests[:2], own_request]
    assert (driver.prompt.reason, driver.prompt.waiting) == (PromptReason.UNCHECKED, 18)
    assert driver.effects_of(events.SaveLoginToKeyring) == []


def test_the_first_own_request_goes_to_the_target_of_a_program(driver: MachineDriver) -> None:
    """An unrelated page is only requested in the last attempt."""
    first, _ = driver.challenge(target="a.example:80"), driver.challenge(target="a.example:443")
    left = driver.challenge(target="b.example:443")
    driver.finish_lookup(RIGHT)
    driver.disconnect(left)
    driver.respond_unproved(first)
    assert [effect.target for effect in driver.effects_of(events.SendOwnRequest)] == [
        "b.example:443"
    ]


def test_the_last_attempt_before_the_prompt_goes_to_no_particular_target(
    driver: MachineDriver,
) -> None:
    """A browser contacts several hosts in the background, and a company may block each of them."""
    requests = driver.open_prompt(5)
    driver.answer_prompt(RIGHT)
    for _ in range(2):
        driver.respond_unproved(driver.released()[-1])
    assert driver.effects_of(events.SendOwnRequest)[-1].target == ""
    driver.accept(challenge_own_request(driver))
    assert set(driver.released()) >= set(requests)
    assert driver.endings() == ["ACCEPTED"]


def test_responses_given_only_by_sites_open_no_prompt(driver: MachineDriver) -> None:
    requests = driver.open_prompt(20)
    driver.answer_prompt(RIGHT)
    for _ in requests:
        driver.respond_unproved(driver.released()[-1], is_doubtful=False)
    assert driver.released() == requests
    assert driver.effects_of(events.SaveLoginToKeyring) == []


def test_an_inconclusive_own_request_goes_to_each_target_once(driver: MachineDriver) -> None:
    generation = provide_login(driver, RIGHT)
    for _ in range(driver.limits.unproved_max):
        assert driver.machine.trial_state(UPSTREAM_ID, generation) is TrialState.UNDER_WAY
        driver.respond_unproved(challenge_own_request(driver))
        end_own_request(driver)
    assert [attempt.target for attempt in driver.effects_of(events.SendOwnRequest)] == [
        "",
        *CHECK_PAGES,
    ]
    assert driver.machine.trial_state(UPSTREAM_ID, generation) is TrialState.UNKNOWN
    assert driver.effects_of(events.SaveLoginToKeyring) == []


def test_a_login_typed_without_clients_is_verified_at_another_target(driver: MachineDriver) -> None:
    disconnect_while_typing(driver)
    driver.respond_unproved(challenge_own_request(driver))
    end_own_request(driver)
    assert [attempt.target for attempt in driver.effects_of(events.SendOwnRequest)] == [
        "host1.example:443",
        "",
    ]
    driver.accept(challenge_own_request(driver))
    assert driver.endings() == ["ACCEPTED"]


def test_without_own_requests_the_next_request_verifies_the_login() -> None:
    driver = MachineDriver()
    first, second = (driver.challenge(target="a.example:80") for _ in range(2))
    driver.finish_lookup(RIGHT)
    driver.respond_unproved(first)
    assert driver.released() == [first, second]
    driver.accept(second)
    assert driver.machine.is_trusted(driver.login_id_of(first))


def test_an_accepted_login_stays_accepted_after_inconclusive_responses(
    driver: MachineDriver,
) -> None:
    good = trusted(driver)
    login_id = driver.login_id_of(1)
    driver.handle(events.LoginUnproved(login_id, good))
    assert driver.machine.is_trusted(login_id)


def test_many_simultaneous_refusals_are_resolved_by_one_own_request(driver: MachineDriver) -> None:
    trusted(driver)
    login_id = driver.login_id_of(1)
    blocked = [driver.challenge(tried=login_id, target=f"ad{n}.example:443") for n in range(50)]
    assert len(driver.effects_of(events.SendOwnRequest)) == 1
    driver.accept(challenge_own_request(driver))
    assert driver.refused() == dict.fromkeys(blocked, "FORBIDDEN")
    assert driver.machine.facts("office").sign_in is SignInState.OK


def test_a_forbidden_host_is_found_out_once(driver: MachineDriver) -> None:
    trusted(driver)
    login_id = driver.login_id_of(1)
    driver.challenge(tried=login_id, target="blocked.example:443")
    driver.accept(challenge_own_request(driver))
    end_own_request(driver)
    again = driver.challenge(tried=login_id, target="blocked.example:443")
    assert driver.refused()[again] == "FORBIDDEN"
    assert driver.machine.is_trusted(login_id)
    assert len(driver.effects_of(events.SendOwnRequest)) == 1
    driver.advance(601)
    driver.challenge(tried=login_id, target="blocked.example:443")
    assert len(driver.effects_of(events.SendOwnRequest)) == 2


def test_a_host_that_accepts_the_login_is_no_longer_forbidden(driver: MachineDriver) -> None:
    trusted(driver)
    login_id = driver.login_id_of(1)
    driver.challenge(tried=login_id, target="blocked.example:443")
    driver.accept(challenge_own_request(driver))
    end_own_request(driver)
    driver.accept(driver.challenge(target="blocked.example:80"))
    back = driver.challenge(tried=login_id, target="blocked.example:443")
    assert back not in driver.refused()
    assert len(driver.effects_of(events.SendOwnRequest)) == 2


def test_without_a_response_to_the_own_request_the_hosts_count_as_forbidden(
    driver: MachineDriver,
) -> None:
    trusted(driver)
    blocked = driver.challenge(tried=driver.login_id_of(1), target="blocked.example:443")
    end_own_request(driver)
    assert driver.effects_of(events.SendOwnRequest)[-1].target == ""
    assert driver.refused() == {}
    end_own_request(driver)
    assert driver.refused() == {blocked: "FORBIDDEN"}


def test_a_forbidden_first_request_is_resolved_when_the_user_retries(driver: MachineDriver) -> None:
    first = driver.challenge(target="blocked.example:443")
    driver.finish_lookup(RIGHT)
    back = driver.reject(first, target="blocked.example:443")
    assert driver.due_prompt.reason is PromptReason.SAVED_REJECTED
    driver.answer_prompt(RIGHT)
    assert driver.prompt.confirm_retry
    driver.answer_prompt(RIGHT)
    assert driver.effects_of(events.SendOwnRequest)[-1].target == ""
    assert driver.prompt.checking
    driver.accept(challenge_own_request(driver))
    assert back in driver.released()
    reported = driver.challenge(tried=driver.login_id_of(back), target="blocked.example:443")
    driver.accept(challenge_own_request(driver))
    assert driver.refused() == {reported: "FORBIDDEN"}
    assert driver.endings() == ["ACCEPTED"]


def test_a_retried_login_is_sent_on_one_own_request(driver: MachineDriver) -> None:
    first = driver.challenge(target="blocked.example:443")
    driver.finish_lookup(RIGHT)
    driver.reject(first, target="blocked.example:443")
    driver.advance(0.15)
    driver.answer_prompt(RIGHT)
    driver.answer_prompt(RIGHT)
    assert len(driver.effects_of(events.SendOwnRequest)) == 1
    driver.challenge(target="blocked.example:443")  # An event before the own request is challenged.
    assert driver.released() == [first]
    own_request = challenge_own_request(driver)
    driver.end_without_response(own_request, was_sent=True)
    end_own_request(driver)
    driver.advance(30)
    assert len(driver.effects_of(events.SendOwnRequest)) == 1


def test_a_login_with_an_outstanding_own_request_is_under_way(driver: MachineDriver) -> None:
    disconnect_while_typing(driver)
    generation = driver.machine.generation(UPSTREAM_ID)
    assert driver.machine.trial_state(UPSTREAM_ID, generation) is TrialState.UNDER_WAY
    end_own_request(driver)
    assert driver.machine.trial_state(UPSTREAM_ID, generation) is TrialState.UNKNOWN


def test_a_login_on_trial_in_another_realm_is_under_way(driver: MachineDriver) -> None:
    other = ProtectionSpace(UPSTREAM_ID, "Other", SPACE.family)
    driver.open_prompt()
    first = driver.challenge(other)
    driver.finish_lookup(RIGHT)
    assert driver.released() == [first]
    driver.answer_prompt(RIGHT)
    assert driver.released() == [first]
    generation = driver.machine.generation(UPSTREAM_ID)
    assert driver.machine.trial_state(UPSTREAM_ID, generation) is TrialState.UNDER_WAY


# --- Late events of a deleted profile ------------------------------------------------------------


@pytest.mark.parametrize(
    "late",
    [
        lambda login_id: events.NoResponse(login_id, was_sent=True),
        lambda login_id: events.LoginAccepted(login_id, "basic", "basic", "github.com:443"),
        lambda login_id: events.LoginUnproved(login_id, "github.com:443"),
        lambda login_id: events.OwnRequestEnded(1, was_challenged=True),
        lambda login_id: events.OwnRequestEnded(1, was_challenged=False),
    ],
    ids=["inconclusive", "accepted", "unproved", "own, asked", "own, not asked"],
)
@pytest.mark.parametrize("is_own", [True, False], ids=["own", "client"])
def test_an_outcome_after_the_profile_was_deleted_changes_nothing(
    driver: MachineDriver, late: Callable[[LoginId], events.Event], is_own: bool
) -> None:
    if is_own:
        disconnect_while_typing(driver)
        login_id = driver.login_id_of(challenge_own_request(driver))
    else:
        first = driver.challenge()
        driver.finish_lookup(RIGHT)
        login_id = driver.login_id_of(first)
    driver.handle(events.ProfileDeleted("office"))
    before = len(driver.effects)
    driver.handle(late(login_id))
    assert driver.effects[before:] == []
    assert driver.machine.state.spaces == {}
    assert not driver.is_prompting


@pytest.mark.parametrize(
    "late",
    [
        events.PromptAnswered(1, RIGHT, remember=True),
        events.PromptDeclined(1, Snooze.A_WHILE),
        events.PromptTouched(1),
        events.ProgramIdentified(1, Program("git", 4312, "github.com:443")),
        events.LookupFinished(1, RIGHT, GNOME),
        events.ClientLeft(1),
    ],
    ids=lambda event: type(event).__name__,
)
def test_an_action_on_the_prompt_of_a_deleted_profile_changes_nothing(
    driver: MachineDriver, late: events.Event
) -> None:
    driver.open_prompt()
    driver.handle(events.ProfileDeleted("office"))
    assert driver.handle(late) == []
    assert driver.machine.state.spaces == {}


def test_a_refused_request_of_a_deleted_profile_learns_of_the_deletion(
    driver: MachineDriver,
) -> None:
    first = driver.challenge()
    driver.finish_lookup(RIGHT)
    login_id = driver.login_id_of(first)
    driver.handle(events.ProfileDeleted("office"))
    late = driver.challenge(tried=login_id)
    assert driver.refused() == {late: "WITHDRAWN"}
    assert driver.effects_of(events.RecordRejection) == []
    assert driver.machine.state.spaces == {}


def test_a_retried_login_is_sent_to_another_target_first(driver: MachineDriver) -> None:
    first = driver.challenge(target="blocked.example:443")
    driver.finish_lookup(RIGHT)
    driver.reject(first, target="blocked.example:443")
    driver.advance(0.15)
    other = driver.challenge(target="github.com:443")
    driver.answer_prompt(RIGHT)
    driver.answer_prompt(RIGHT)
    assert driver.released()[-1] == other
    assert driver.effects_of(events.SendOwnRequest) == []


def test_an_unreachable_site_does_not_stop_other_requests_while_a_login_is_in_doubt(
    driver: MachineDriver,
) -> None:
    trusted(driver)
    blocked = driver.challenge(tried=driver.login_id_of(1), target="blocked.example:443")
    other, third = driver.challenge(), driver.challenge()
    challenge_own_request(driver)
    assert other not in driver.released()
    driver.advance(10)
    assert driver.released()[-1] == other
    assert third not in driver.released()
    driver.accept(other)
    assert third in driver.released()
    assert driver.refused() == {blocked: "FORBIDDEN"}


def test_another_login_can_be_typed_while_a_login_is_in_doubt(driver: MachineDriver) -> None:
    trusted(driver)
    driver.handle(events.SignInRequested(OFFICE, BASIC_METHOD))
    driver.challenge(tried=driver.login_id_of(1), target="blocked.example:443")
    challenge_own_request(driver)
    assert not driver.prompt.checking
    driver.answer_prompt(Login("jdoe", "new"))
    assert driver.machine.state.spaces[SPACE].login == Login("jdoe", "new")


# --- One log-on per password ---------------------------------------------------------------------


def test_a_login_typed_again_while_in_flight_is_not_sent_twice(driver: MachineDriver) -> None:
    never, other = WRONG, Login("jdoe", "other")
    first, second, third = driver.open_prompt(3)
    driver.answer_prompt(never)
    driver.advance(10)
    driver.answer_prompt(other)
    driver.advance(10)
    driver.answer_prompt(never)
    assert driver.released() == [first, second]
    assert driver.prompt.checking
    driver.reject(first)
    assert driver.released() == [first, second]
    assert driver.prompt.reason is PromptReason.TYPED_REJECTED
    assert third not in driver.released()


def test_the_login_in_flight_typed_again_is_reported_as_rejected_and_not_as_repeated(
    driver: MachineDriver,
) -> None:
    (request,) = driver.open_prompt()
    driver.answer_prompt(WRONG)
    driver.advance(driver.limits.canary_overdue)
    driver.answer_prompt(WRONG)
    assert driver.prompt.checking
    driver.reject(request)
    assert driver.prompt.reason is PromptReason.TYPED_REJECTED
    assert not driver.prompt.confirm_retry


def test_a_saved_login_typed_while_in_flight_is_not_sent_twice_and_counts_as_typed(
    driver: MachineDriver,
) -> None:
    request = driver.challenge()
    driver.finish_lookup(WRONG)
    driver.handle(events.SignInRequested(OFFICE, BASIC_METHOD))
    driver.advance(driver.limits.canary_overdue)
    driver.answer_prompt(WRONG)
    assert driver.prompt.checking
    driver.reject(request)
    assert driver.released() == [request]
    assert driver.prompt.reason is PromptReason.REPEATED


def test_after_cancel_a_typed_login_without_a_verdict_is_not_sent(driver: MachineDriver) -> None:
    disconnect_while_typing(driver, WRONG)
    end_own_request(driver)
    assert driver.prompt.reason is PromptReason.UNCHECKED
    driver.decline_prompt()
    request = driver.challenge()
    assert driver.refused() == {request: "DECLINED"}
    assert driver.released() == []


def test_a_login_typed_again_is_right_when_its_first_canary_is_accepted(
    driver: MachineDriver,
) -> None:
    first, second, third = driver.open_prompt(3)
    driver.answer_prompt(RIGHT)
    driver.advance(10)
    driver.answer_prompt(WRONG)
    driver.advance(10)
    driver.answer_prompt(RIGHT)
    driver.accept(first)
    assert driver.endings() == ["ACCEPTED"]
    assert driver.machine.login(driver.login_id_of(third)) == RIGHT
    assert driver.released() == [first, second, third]


def test_a_rejection_is_recorded_and_an_acceptance_clears_it(driver: MachineDriver) -> None:
    (request,) = driver.open_prompt()
    driver.answer_prompt(WRONG)
    again = driver.reject(request)
    assert driver.effects_of(events.RecordRejection) == [events.RecordRejection(UPSTREAM_ID, WRONG)]
    driver.answer_prompt(RIGHT)
    driver.accept(again)
    assert driver.effects_of(events.ClearRejection) == [events.ClearRejection(UPSTREAM_ID, RIGHT)]


def test_a_saved_login_rejected_in_an_earlier_run_is_not_sent(driver: MachineDriver) -> None:
    request = driver.challenge()
    driver.history[WRONG] = HistoryRecord(is_rejected=True)
    driver.finish_lookup(WRONG)
    driver.advance(0.15)
    assert driver.released() == []
    assert (driver.prompt.reason, driver.prompt.user) == (PromptReason.SAVED_REJECTED, "jdoe")
    driver.answer_prompt(WRONG)
    assert driver.released() == []
    assert (driver.prompt.rejections, driver.prompt.confirm_retry) == (0, True)
    driver.answer_prompt(WRONG)
    assert driver.released() == [request]


# --- The screen ----------------------------------------------------------------------------------


def test_no_prompt_opens_while_the_screen_is_locked(driver: MachineDriver) -> None:
    driver.handle(events.ScreenLocked(True))
    request = driver.challenge()
    driver.finish_lookup(None)
    driver.advance(60)
    assert not driver.is_prompting
    assert request not in driver.refused()
    driver.handle(events.ScreenLocked(False))
    assert driver.prompt.waiting == 1


def test_no_prompt_opens_after_unlocking_if_no_request_is_parked(driver: MachineDriver) -> None:
    driver.handle(events.ScreenLocked(True))
    request = driver.challenge()
    driver.finish_lookup(None)
    driver.disconnect(request)
    driver.handle(events.ScreenLocked(False))
    assert not driver.is_prompting


def test_a_saved_login_is_used_while_the_screen_is_locked(driver: MachineDriver) -> None:
    driver.handle(events.ScreenLocked(True))
    request = driver.challenge()
    driver.finish_lookup(RIGHT)
    assert driver.released() == [request]


# --- Several profiles, upstreams and realms ------------------------------------------------------


def test_two_profiles_with_one_upstream_have_separate_users(driver: MachineDriver) -> None:
    twin = replace(OFFICE, id="twin", name="Twin", user="admin")
    space = replace(SPACE, upstream_id=UpstreamId.of(twin))
    first = driver.challenge()
    driver.finish_lookup(RIGHT)
    driver.accept(first)
    driver.handle(events.ProfileSwitched(twin))
    second = driver.challenge(space, twin)
    driver.finish_lookup(Login("admin", "other"))
    driver.accept(second)
    logins = {
        driver.machine.login(login_id) for login_id in driver.machine.trusted_logins().values()
    }
    assert logins == {RIGHT, Login("admin", "other")}
    assert driver.machine.facts("office").user == "jdoe"
    assert driver.machine.facts("twin").user == "admin"


def test_a_login_rejected_for_one_profile_is_not_sent_for_another_with_its_upstream(
    driver: MachineDriver,
) -> None:
    """The account is the same: the profiles share the rejection, but never the login."""
    twin = replace(OFFICE, id="twin", name="Twin")
    first = driver.challenge()
    driver.finish_lookup(WRONG)
    driver.disconnect(driver.reject(first))
    driver.handle(events.ProfileSwitched(twin))
    driver.challenge(replace(SPACE, upstream_id=UpstreamId.of(twin)), twin)
    driver.finish_lookup(WRONG)
    assert driver.released() == [first]
    assert driver.due_prompt.reason is PromptReason.SAVED_REJECTED


@pytest.mark.parametrize("get_ticket", [True, False])
def test_a_password_for_a_kerberos_ticket_is_rejected_for_all_upstreams(
    driver: MachineDriver, get_ticket: bool
) -> None:
    """The Kerberos server has rejected the password, whichever upstream the ticket was for."""
    here = replace(OFFICE, get_ticket=get_ticket)
    there = replace(here, id="lab", upstream=Upstream("proxy.lab.example", 8080))
    driver.handle(events.ProfileSwitched(here))
    first = driver.challenge(profile=here)
    driver.finish_lookup(WRONG)
    driver.disconnect(driver.reject(first))
    driver.handle(events.ProfileSwitched(there))
    second = driver.challenge(replace(SPACE, upstream_id=UpstreamId.of(there)), there)
    driver.finish_lookup(WRONG)
    assert driver.released() == ([first] if get_ticket else [first, second])


def test_each_upstream_of_a_profile_has_its_own_prompt(driver: MachineDriver) -> None:
    spare = Upstream("spare.corp.example", 8080)
    both = replace(OFFICE, fallbacks=(spare,))
    driver.handle(events.ProfileSwitched(both))
    other = replace(SPACE, upstream_id=UpstreamId("office", str(spare)))
    first = driver.challenge(profile=both)
    driver.finish_lookup(RIGHT)
    driver.accept(first)
    second = driver.challenge(other, both)
    assert driver.effects_of(events.LookUpLogin)[-1].profile == replace(OFFICE, upstream=spare)
    driver.finish_lookup(None)
    driver.advance(0.15)
    assert driver.prompt.upstream == str(spare)
    driver.answer_prompt(WRONG)
    assert driver.machine.login(driver.login_id_of(first)) == RIGHT
    assert driver.machine.login(driver.login_id_of(second)) == WRONG


def test_editing_a_profile_keeps_its_prompt_if_the_upstream_stays(driver: MachineDriver) -> None:
    (request,) = driver.open_prompt()
    number = driver.prompt.number
    renamed = replace(OFFICE, name="Headquarters", user="admin")
    driver.handle(events.ProfileEdited(renamed))
    assert (driver.prompt.number, driver.prompt.profile) == (number, "Headquarters")
    driver.answer_prompt(RIGHT)
    assert driver.released() == [request]


def test_a_login_typed_after_its_upstream_was_removed_is_discarded(driver: MachineDriver) -> None:
    (request,) = driver.open_prompt()
    number = driver.prompt.number
    driver.handle(events.ProfileEdited(replace(OFFICE, upstream=Upstream("else.example", 8080))))
    assert driver.refused() == {request: "WITHDRAWN"}
    assert driver.endings() == ["WITHDRAWN"]
    driver.machine.prompt(number)
    assert driver.released() == []


def test_a_handshake_continues_after_the_profile_is_switched(driver: MachineDriver) -> None:
    first = driver.challenge()
    driver.finish_lookup(RIGHT)
    driver.handle(events.ProfileSwitched(LAB))
    second = driver.challenge(LAB_SPACE, LAB)
    driver.accept(first)
    assert driver.machine.is_trusted(driver.login_id_of(first))
    assert second not in driver.released()


def test_a_profile_deleted_during_a_handshake_gets_no_verdict(driver: MachineDriver) -> None:
    first = driver.challenge()
    driver.finish_lookup(WRONG)
    login_id = driver.login_id_of(first)
    driver.handle(events.ProfileDeleted("office"))
    late = driver.challenge(tried=login_id)
    assert driver.refused() == {late: "WITHDRAWN"}
    assert not driver.is_prompting


def test_500_requests_cost_one_prompt_and_one_log_on(driver: MachineDriver) -> None:
    requests = driver.open_prompt(500)
    assert driver.prompt.waiting == 500
    driver.answer_prompt(WRONG)
    driver.reject(requests[0])
    assert driver.released() == requests[:1]
    assert len(driver.machine.prompt_numbers()) == 1
    driver.answer_prompt(RIGHT)
    driver.accept(driver.released()[-1])
    assert len(driver.released()) == 501
    assert BASIC.scheme == driver.scheme_of(requests[1])


def test_a_refused_request_waits_for_the_last_own_request_after_its_deadline() -> None:
    driver = MachineDriver()
    driver.machine.state.can_send_own = True
    login_id = driver.sign_in()
    refused = driver.challenge(tried=login_id, target="blocked.example:443")
    (first,) = driver.effects_of(events.SendOwnRequest)
    driver.handle(events.OwnRequestEnded(first.number, was_challenged=True))
    last = driver.effects_of(events.SendOwnRequest)[-1]
    assert last.number != first.number
    driver.advance(driver.limits.canary_overdue + 1)
    assert driver.refused() == {}
    driver.handle(events.OwnRequestEnded(last.number, was_challenged=True))
    assert driver.refused() == {refused: "FORBIDDEN"}


def test_after_two_own_requests_without_a_verdict_a_program_verifies_an_accepted_login() -> None:
    driver = MachineDriver()
    driver.machine.state.can_send_own = True
    login_id = driver.sign_in()
    driver.advance(driver.limits.proof_ttl + 1)
    for number in (50, 51):
        driver.handle(events.PermitRequested(number, login_id, "a.example:443"))
        driver.advance(driver.limits.send_interval)
    for number in (50, 51):
        driver.handle(events.NoResponse(login_id, permit=number))
    waiting = driver.challenge(target="a.example:443")
    for _ in range(driver.limits.own_requests_max):
        own = driver.effects_of(events.SendOwnRequest)[-1]
        driver.end_without_response(driver.challenge(target="page.example:80", is_own=True))
        driver.handle(events.OwnRequestEnded(own.number, was_challenged=True))
    assert len(driver.effects_of(events.SendOwnRequest)) == driver.limits.own_requests_max
    assert driver.released()[-1] == waiting
