"""Tests for trayproxy.desk.machine.pacing, and for the limit of one failed log-on per password."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.desk.machine_driver import OFFICE, SPACE, MachineDriver
from tests.support.values import RIGHT, WRONG
from trayproxy.auth.login import Login
from trayproxy.desk.history import HistoryRecord
from trayproxy.desk.machine import events
from trayproxy.desk.machine.space_state import SpacePhase
from trayproxy.desk.protection_space import LoginId, ProtectionSpace, UpstreamId
from trayproxy.domain.signin import PromptReason
from trayproxy.profiles.profile import Upstream


class UnprovedLogin(MachineDriver):
    """A driver with an accepted login that is no longer proved."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.machine.state.can_send_own = True
        self.login_id = self.sign_in()
        self.advance(self.limits.proof_ttl + 1)

    def request_permits(self, count: int = 1) -> list[int]:
        """Request send permits for new requests; return the numbers of the requests."""
        numbers = []
        for _ in range(count):
            self.last_request_id += 1
            numbers.append(self.last_request_id)
            target = f"host{self.last_request_id}.example:443"
            self.targets[self.last_request_id] = target
            self.handle(events.PermitRequested(self.last_request_id, self.login_id, target))
        return numbers

    @property
    def granted(self) -> list[int]:
        return [effect.request_id for effect in self.effects_of(events.GrantPermit)]

    @property
    def denied(self) -> list[int]:
        return [effect.request_id for effect in self.effects_of(events.DenyPermit)]

    def accept_login(self, number: int) -> None:
        self.handle(
            events.LoginAccepted(self.login_id, "basic", "basic", self.targets[number], number)
        )

    def refuse_login(self, number: int) -> int:
        return self.challenge(tried=self.login_id, target=self.targets[number], permit=number)

    def lose_response(self, number: int = 0) -> None:
        self.handle(events.NoResponse(self.login_id, was_sent=True, permit=number))

    @property
    def phase(self) -> SpacePhase:
        return self.machine.state.spaces[SPACE].phase

    def release_own_request(self) -> int:
        """Challenge the last own request; return its number after its release."""
        request = self.challenge(
            target=self.effects_of(events.SendOwnRequest)[-1].target, is_own=True
        )
        assert self.released()[-1] == request
        return request


# --- One request at a time -----------------------------------------------------------------------


def test_a_single_permit_is_granted_and_the_others_follow_an_acceptance() -> None:
    driver = UnprovedLogin()
    first, *others = driver.request_permits(50)
    assert driver.granted == [first]
    driver.accept_login(first)
    assert driver.granted == [first, *others]
    assert {effect.permit for effect in driver.effects_of(events.GrantPermit)[1:]} == {0}


def test_without_a_verdict_a_second_permit_and_then_an_own_request_follow() -> None:
    driver = UnprovedLogin()
    first, second, *_ = driver.request_permits(50)
    driver.advance(1.9)
    assert driver.granted == [first]
    driver.advance(0.1)
    assert driver.granted == [first, second]
    driver.advance(2)
    assert driver.granted == [first, second]
    assert len(driver.effects_of(events.SendOwnRequest)) == 1


def test_without_own_requests_a_permit_is_granted_every_two_seconds() -> None:
    driver = UnprovedLogin()
    driver.machine.state.can_send_own = False
    numbers = driver.request_permits(5)
    driver.advance(6)
    assert driver.granted == numbers[:4]


def test_after_a_refusal_no_permit_is_granted() -> None:
    driver = UnprovedLogin()
    first, *others = driver.request_permits(50)
    driver.refuse_login(first)
    assert driver.denied == others
    driver.advance(9)
    assert driver.granted == [first]
    assert driver.request_permits() == driver.denied[-1:]


def test_the_own_request_does_not_go_to_the_refusing_target() -> None:
    driver = UnprovedLogin()
    (first,) = driver.request_permits()
    driver.accept_login(first)
    driver.advance(driver.limits.proof_ttl + 1)
    (again,) = driver.request_permits()
    driver.targets[again] = driver.targets[first]
    driver.refuse_login(again)
    assert driver.effects_of(events.SendOwnRequest)[-1].target != driver.targets[first]


def test_a_changed_password_costs_two_log_ons_however_many_requests_are_parked() -> None:
    driver = UnprovedLogin()
    first, *others = driver.request_permits(50)
    driver.refuse_login(first)
    own_request = driver.release_own_request()
    for _ in others:
        driver.challenge()
    driver.challenge(tried=driver.login_id_of(own_request), is_own=True, permit=own_request)
    assert driver.phase is SpacePhase.PROMPTING
    assert driver.refused().get(first) is None
    assert "FORBIDDEN" not in driver.refused().values()


def test_a_disconnected_client_gets_no_permit() -> None:
    driver = UnprovedLogin()
    first, second, third = driver.request_permits(3)
    driver.disconnect(second)
    driver.advance(2)
    assert driver.granted == [first, third]


def test_a_granted_permit_counts_after_its_client_disconnected() -> None:
    driver = UnprovedLogin()
    first, second = driver.request_permits(2)
    driver.disconnect(first)
    assert driver.granted == [first]
    driver.advance(driver.limits.send_interval)
    assert driver.granted == [first, second]


def test_permits_are_denied_after_the_profile_was_deleted() -> None:
    driver = UnprovedLogin()
    driver.handle(events.ProfileDeleted("office"))
    before = len(driver.effects)
    driver.handle(events.UpstreamSilent(driver.login_id, 2))
    assert driver.effects[before:] == []
    assert driver.request_permits() == driver.denied


# --- Verdicts that count -------------------------------------------------------------------------


def test_an_acceptance_of_a_request_sent_before_a_refusal_does_not_count() -> None:
    """The request may have been accepted before the password was changed."""
    driver = UnprovedLogin()
    first, _ = driver.request_permits(2)
    driver.advance(2)
    driver.refuse_login(first)
    driver.handle(events.LoginAccepted(driver.login_id, "basic", "basic"))
    assert driver.phase is SpacePhase.UNVERIFIED


@given(st.lists(st.sampled_from(("lost", "unsent", "accepted", "left")), max_size=12))
def test_requests_that_never_carried_the_login_change_no_trial(steps: list[str]) -> None:
    driver = UnprovedLogin()
    first, second, *_ = driver.request_permits(4)
    driver.refuse_login(first)
    own_request = driver.release_own_request()
    assert driver.phase is SpacePhase.CHECKING
    for event in steps:
        match event:
            case "lost":
                driver.handle(events.NoResponse(driver.login_id, was_sent=True, permit=second))
            case "unsent":
                driver.handle(events.NoResponse(driver.login_id, was_sent=False))
            case "accepted":
                driver.handle(events.LoginAccepted(driver.login_id, "basic", "basic"))
            case "left":
                driver.disconnect(second)
        assert driver.phase is SpacePhase.CHECKING
    driver.challenge(tried=driver.login_id_of(own_request), is_own=True, permit=own_request)
    assert driver.phase.name == "PROMPTING"


@given(st.lists(st.sampled_from(("depart", "wait", "prove", "refuse", "lose")), max_size=40))
def test_never_more_permits_are_outstanding_than_may_go_unanswered(steps: list[str]) -> None:
    driver = UnprovedLogin()
    in_flight: list[int] = []
    for event in steps:
        known = len(driver.effects_of(events.GrantPermit))
        if event == "depart":
            driver.request_permits(3)
        elif event == "wait":
            driver.advance(2.5)
        elif in_flight:
            number = in_flight.pop(0)
            if event == "prove":
                driver.accept_login(number)
            elif event == "refuse":
                driver.refuse_login(number)
            else:
                driver.lose_response(number)
        in_flight += [
            effect.permit
            for effect in driver.effects_of(events.GrantPermit)[known:]
            if effect.permit
        ]
        space = driver.machine.state.spaces[SPACE]
        assert len(space.doubt.in_flight) <= driver.limits.unanswered_max
        assert not space.permit_queue or space.phase is SpacePhase.TRUSTED
        if space.doubt.refusals:
            assert not space.permit_queue


# --- Missing responses ---------------------------------------------------------------------------


def test_after_two_missing_responses_an_own_request_is_sent_and_then_a_prompt_opens() -> None:
    driver = UnprovedLogin()
    driver.challenge()
    for _ in range(2):
        (number,) = driver.request_permits()
        driver.lose_response(number)
    assert driver.phase is SpacePhase.UNVERIFIED
    own_request = driver.release_own_request()
    driver.challenge()
    driver.handle(
        events.NoResponse(driver.login_id_of(own_request), was_sent=True, permit=own_request)
    )
    driver.handle(
        events.OwnRequestEnded(
            driver.effects_of(events.SendOwnRequest)[-1].number, was_challenged=True
        )
    )
    assert driver.due_prompt.reason is PromptReason.UNCHECKED
    assert len(driver.granted) + 1 == 3


def test_an_own_request_without_a_407_clears_the_login() -> None:
    driver = UnprovedLogin()
    for _ in range(2):
        (number,) = driver.request_permits()
        driver.lose_response(number)
    driver.handle(
        events.OwnRequestEnded(
            driver.effects_of(events.SendOwnRequest)[-1].number, was_challenged=True
        )
    )
    assert driver.phase is SpacePhase.TRUSTED
    assert not driver.is_prompting


def test_without_own_requests_the_next_permit_is_granted_all_the_same() -> None:
    driver = UnprovedLogin()
    driver.machine.state.can_send_own = False
    for _ in range(3):
        (number,) = driver.request_permits()
        driver.advance(driver.limits.send_interval)
        assert driver.granted[-1] == number
        driver.lose_response(number)
    assert driver.phase is SpacePhase.TRUSTED
    assert not driver.is_prompting


def test_an_accepted_own_request_proves_the_login() -> None:
    driver = UnprovedLogin()
    for _ in range(2):
        (number,) = driver.request_permits()
        driver.lose_response(number)
    driver.accept(driver.release_own_request())
    (number,) = driver.request_permits()
    assert driver.effects_of(events.GrantPermit)[-1] == events.GrantPermit(number, 0)


def test_connections_lost_at_the_same_time_count_as_one() -> None:
    """A restarted upstream has closed all connections."""
    driver = UnprovedLogin()
    (first,) = driver.request_permits()
    driver.accept_login(first)
    for _ in range(20):
        driver.lose_response()
    assert driver.phase is SpacePhase.TRUSTED
    assert driver.effects_of(events.SendOwnRequest) == []
    (number,) = driver.request_permits()
    assert driver.granted[-1] == number


def test_a_lost_response_makes_an_accepted_login_unproved() -> None:
    driver = ProvedLogin()
    assert driver.machine.is_proved(driver.login_id)
    driver.lose_response()
    assert not driver.machine.is_proved(driver.login_id)


# --- A silent upstream ---------------------------------------------------------------------------


class ProvedLogin(UnprovedLogin):
    """A driver with a login proved moments ago."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.handle(events.LoginAccepted(self.login_id, "basic", "basic", "a.example:443"))

    def report_silence(self, count: int) -> None:
        """Report that the upstream has responded to none of so many requests with the login."""
        self.handle(events.UpstreamSilent(self.login_id, count))

    @property
    def has_sent_own_request(self) -> bool:
        return bool(self.effects_of(events.SendOwnRequest))


def test_one_missing_response_is_followed_by_one_permit_and_then_an_own_request() -> None:
    driver = ProvedLogin()
    driver.report_silence(1)
    first, _ = driver.request_permits(2)
    assert driver.granted == [first]
    driver.advance(2)
    assert driver.granted == [first]
    assert driver.has_sent_own_request


@pytest.mark.parametrize("count", [2, 50])
def test_several_missing_responses_are_followed_by_an_own_request_alone(count: int) -> None:
    driver = ProvedLogin()
    driver.report_silence(count)
    driver.request_permits(3)
    driver.advance(1.9)
    assert not driver.has_sent_own_request  # A slow site may still respond.
    driver.advance(0.1)
    assert driver.granted == []
    driver.challenge()
    own_request = driver.release_own_request()
    driver.handle(
        events.NoResponse(driver.login_id_of(own_request), was_sent=True, permit=own_request)
    )
    driver.handle(
        events.OwnRequestEnded(
            driver.effects_of(events.SendOwnRequest)[-1].number, was_challenged=True
        )
    )
    assert driver.due_prompt.reason is PromptReason.UNCHECKED


def test_silence_does_not_count_for_an_unproved_login() -> None:
    """The queued requests do not carry the login."""
    driver = UnprovedLogin()
    first, second, _ = driver.request_permits(3)
    driver.handle(events.UpstreamSilent(driver.login_id, 50))
    driver.advance(driver.limits.send_interval)
    assert driver.granted == [first, second]


def test_a_late_response_of_a_slow_site_grants_all_permits() -> None:
    driver = ProvedLogin()
    driver.report_silence(3)
    numbers = driver.request_permits(3)
    driver.handle(events.LoginAccepted(driver.login_id, "basic", "basic", "slow.example:443"))
    assert driver.granted == numbers
    assert not driver.has_sent_own_request


def test_nothing_is_sent_to_a_silent_upstream_without_requests() -> None:
    driver = ProvedLogin()
    driver.report_silence(3)
    driver.advance(60)
    assert not driver.has_sent_own_request
    assert not driver.is_prompting


def test_a_command_line_login_on_hold_is_sent_again_later() -> None:
    """Without a front end the hold must end automatically; the login is in no keyring."""
    driver = MachineDriver()

    driver.handle(events.FrontEndsChanged(0))
    driver.advance(60)
    driver.handle(events.LoginProvided(OFFICE, driver.offers[0].method, RIGHT))
    for _ in range(2):
        driver.end_without_response(driver.challenge(), was_sent=True)
    for seconds in driver.limits.login_holds[:3]:
        driver.advance(seconds - 1)
        assert driver.challenge() not in driver.released()
        driver.advance(2)
        again = driver.challenge()
        assert driver.released()[-1] == again
        driver.end_without_response(again, was_sent=True)


# --- Records of trials ---------------------------------------------------------------------------


def test_a_login_on_trial_since_an_earlier_run_opens_a_prompt() -> None:
    driver = MachineDriver(history={RIGHT: HistoryRecord(hold_s=3600)})
    driver.challenge()
    driver.finish_lookup(RIGHT)
    assert driver.released() == []
    assert driver.due_prompt.reason is PromptReason.UNCHECKED
    driver.answer_prompt(RIGHT)
    assert len(driver.released()) == 1


def test_the_record_of_a_login_that_was_not_sent_is_removed() -> None:
    driver = MachineDriver()
    request = driver.challenge()
    driver.finish_lookup(RIGHT)
    driver.end_without_response(request, was_sent=False)
    assert driver.effects_of(events.CancelTrial) == [events.CancelTrial(SPACE.upstream_id, RIGHT)]


@pytest.mark.parametrize("login", [RIGHT, WRONG])
def test_a_rejection_at_an_address_applies_to_its_other_names(login: Login) -> None:
    """The profiles share the rejection, but not the login."""

    driver = MachineDriver()
    alias = replace(OFFICE, id="alias", upstream=Upstream("alias.corp.example", 8080))
    there = ("192.0.2.1:8080",)
    driver.handle(
        events.RequestChallenged(901, SPACE, OFFICE, driver.offers, "a:80", addresses=there)
    )
    driver.finish_lookup(WRONG)
    driver.handle(events.ProfileSwitched(alias))
    space = ProtectionSpace(UpstreamId.of(alias), "Corp", SPACE.family)
    driver.challenge(tried=LoginId(SPACE, 1), permit=901)
    driver.handle(
        events.RequestChallenged(902, space, alias, driver.offers, "b:80", addresses=there)
    )
    driver.finish_lookup(login)
    sent = [effect.request_id for effect in driver.effects_of(events.ReleaseRequest)]
    assert (902 in sent) is (login == RIGHT)
