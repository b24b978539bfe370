"""Tests for trayproxy.desk.machine.pacing, and for the rules of one failed log-on for each
password."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.desk.play import KEY, OFFICE, RIGHT, WRONG, Play
from trayproxy.auth.login import Login
from trayproxy.control.messages import PromptReason
from trayproxy.desk.history import HistoryRecord
from trayproxy.desk.machine.events import (
    CancelTrial,
    DenyPermit,
    FrontEndsChanged,
    GrantPermit,
    LoginAccepted,
    LoginProvided,
    NoResponse,
    OwnRequestEnded,
    PermitRequested,
    ProfileDeleted,
    ProfileSwitched,
    ReleaseRequest,
    RequestChallenged,
    SendOwnRequest,
    UpstreamSilent,
)
from trayproxy.desk.machine.space_state import SpacePhase
from trayproxy.desk.protection_space import LoginId, ProtectionSpace, UpstreamId
from trayproxy.profiles.profile import Upstream


class Stale(Play):
    """A login that was right, and was not proved for some seconds."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.machine.state.can_send_own = True
        self.carried = self.trust()
        self.wait(self.rules.proof_ttl + 1)

    def depart(self, count: int = 1) -> list[int]:
        """Let requests be about to carry the login; return their numbers."""
        numbers = []
        for _ in range(count):
            self.waiters += 1
            numbers.append(self.waiters)
            target = f"host{self.waiters}.example:443"
            self.targets[self.waiters] = target
            self.do(PermitRequested(self.waiters, self.carried, target))
        return numbers

    @property
    def gone(self) -> list[int]:
        return [effect.request_id for effect in self.all(GrantPermit)]

    @property
    def recalled(self) -> list[int]:
        return [effect.request_id for effect in self.all(DenyPermit)]

    def prove(self, number: int) -> None:
        self.do(LoginAccepted(self.carried, "basic", "basic", self.targets[number], number))

    def refuse(self, number: int) -> int:
        return self.challenge(tried=self.carried, target=self.targets[number], flight=number)

    def lose(self, number: int = 0) -> None:
        self.do(NoResponse(self.carried, was_sent=True, permit=number))

    @property
    def phase(self) -> SpacePhase:
        return self.machine.state.spaces[KEY].phase

    def own(self) -> int:
        """Let the upstream ask our own request for a login; return what it is released as."""
        waiter = self.challenge(target=self.all(SendOwnRequest)[-1].target, own=True)
        assert self.released()[-1] == waiter
        return waiter


# --- One at a time -----------------------------------------------------------------------------


def test_one_goes_and_the_others_follow_when_it_is_accepted() -> None:
    play = Stale()
    first, *others = play.depart(50)
    assert play.gone == [first]
    play.prove(first)
    assert play.gone == [first, *others]
    assert {effect.permit for effect in play.all(GrantPermit)[1:]} == {0}


def test_without_a_verdict_one_more_goes_after_two_seconds_and_then_our_own() -> None:
    play = Stale()
    first, second, *_ = play.depart(50)
    play.wait(1.9)
    assert play.gone == [first]
    play.wait(0.1)
    assert play.gone == [first, second]
    play.wait(2)
    assert play.gone == [first, second]
    assert len(play.all(SendOwnRequest)) == 1


def test_without_requests_of_our_own_one_more_goes_each_two_seconds() -> None:
    play = Stale()
    play.machine.state.can_send_own = False
    numbers = play.depart(5)
    play.wait(6)
    assert play.gone == numbers[:4]


def test_after_a_refusal_none_goes() -> None:
    play = Stale()
    first, *others = play.depart(50)
    play.refuse(first)
    assert play.recalled == others
    play.wait(9)
    assert play.gone == [first]
    assert play.depart() == play.recalled[-1:]


def test_our_own_request_does_not_go_to_the_address_that_has_just_refused() -> None:
    play = Stale()
    (first,) = play.depart()
    play.prove(first)
    play.wait(play.rules.proof_ttl + 1)
    (again,) = play.depart()
    play.targets[again] = play.targets[first]
    play.refuse(again)
    assert play.all(SendOwnRequest)[-1].target != play.targets[first]


def test_a_changed_password_costs_two_log_ons_however_many_wait() -> None:
    play = Stale()
    first, *others = play.depart(50)
    play.refuse(first)
    ours = play.own()
    for _ in others:
        play.challenge()
    play.challenge(tried=play.mark(ours), own=True, flight=ours)
    assert play.phase is SpacePhase.PROMPTING
    assert play.refused().get(first) is None
    assert "FORBIDDEN" not in play.refused().values()


def test_a_client_that_leaves_is_not_let_go() -> None:
    play = Stale()
    first, second, third = play.depart(3)
    play.leave(second)
    play.wait(2)
    assert play.gone == [first, third]


def test_a_client_that_leaves_does_not_take_back_the_login_that_its_request_carries() -> None:
    play = Stale()
    first, second = play.depart(2)
    play.leave(first)
    assert play.gone == [first]
    play.wait(play.rules.send_interval)
    assert play.gone == [first, second]


def test_after_its_profile_was_deleted_a_login_is_on_no_request() -> None:
    play = Stale()
    play.do(ProfileDeleted("office"))
    before = len(play.effects)
    play.do(UpstreamSilent(play.carried, 2))
    assert play.effects[before:] == []
    assert play.depart() == play.recalled


# --- Whose verdict counts ----------------------------------------------------------------------


def test_an_acceptance_of_what_left_before_a_refusal_does_not_count() -> None:
    """It may have been let in before the password was changed."""
    play = Stale()
    first, _ = play.depart(2)
    play.wait(2)
    play.refuse(first)
    play.do(LoginAccepted(play.carried, "basic", "basic"))
    assert play.phase is SpacePhase.UNVERIFIED


@given(st.lists(st.sampled_from(("lost", "unsent", "accepted", "left")), max_size=12))
def test_what_never_carried_the_login_changes_no_trial(events: list[str]) -> None:
    play = Stale()
    first, second, *_ = play.depart(4)
    play.refuse(first)
    ours = play.own()
    assert play.phase is SpacePhase.CHECKING
    for event in events:
        match event:
            case "lost":
                play.do(NoResponse(play.carried, was_sent=True, permit=second))
            case "unsent":
                play.do(NoResponse(play.carried, was_sent=False))
            case "accepted":
                play.do(LoginAccepted(play.carried, "basic", "basic"))
            case "left":
                play.leave(second)
        assert play.phase is SpacePhase.CHECKING
    play.challenge(tried=play.mark(ours), own=True, flight=ours)
    assert play.phase.name == "PROMPTING"


@given(st.lists(st.sampled_from(("depart", "wait", "prove", "refuse", "lose")), max_size=40))
def test_never_more_are_on_their_way_than_may_go_unanswered(events: list[str]) -> None:
    play = Stale()
    away: list[int] = []
    for event in events:
        known = len(play.all(GrantPermit))
        if event == "depart":
            play.depart(3)
        elif event == "wait":
            play.wait(2.5)
        elif away:
            number = away.pop(0)
            if event == "prove":
                play.prove(number)
            elif event == "refuse":
                play.refuse(number)
            else:
                play.lose(number)
        away += [effect.permit for effect in play.all(GrantPermit)[known:] if effect.permit]
        case = play.machine.state.spaces[KEY]
        assert len(case.in_flight) <= play.rules.unanswered_max
        assert not case.permit_queue or case.phase is SpacePhase.TRUSTED
        if case.refusals:
            assert not case.permit_queue


# --- Without an answer -------------------------------------------------------------------------


def test_after_two_without_an_answer_ours_asks_and_then_the_person_is_asked() -> None:
    play = Stale()
    play.challenge()
    for _ in range(2):
        (number,) = play.depart()
        play.lose(number)
    assert play.phase is SpacePhase.UNVERIFIED
    ours = play.own()
    play.challenge()
    play.do(NoResponse(play.mark(ours), was_sent=True, permit=ours))
    play.do(OwnRequestEnded(play.all(SendOwnRequest)[-1].number, was_challenged=True))
    assert play.question_due.reason is PromptReason.UNCHECKED
    assert len(play.gone) + 1 == 3


def test_an_upstream_that_does_not_even_ask_is_not_the_logins_fault() -> None:
    play = Stale()
    for _ in range(2):
        (number,) = play.depart()
        play.lose(number)
    play.do(OwnRequestEnded(play.all(SendOwnRequest)[-1].number, was_challenged=True))
    assert play.phase is SpacePhase.TRUSTED
    assert not play.is_asking


def test_without_requests_of_our_own_the_next_request_goes_all_the_same() -> None:
    play = Stale()
    play.machine.state.can_send_own = False
    for _ in range(3):
        (number,) = play.depart()
        play.wait(play.rules.send_interval)
        assert play.gone[-1] == number
        play.lose(number)
    assert play.phase is SpacePhase.TRUSTED
    assert not play.is_asking


def test_an_upstream_that_accepts_ours_is_well() -> None:
    play = Stale()
    for _ in range(2):
        (number,) = play.depart()
        play.lose(number)
    play.accept(play.own())
    (number,) = play.depart()
    assert play.all(GrantPermit)[-1] == GrantPermit(number, 0)


def test_connections_that_are_lost_together_count_as_one() -> None:
    """An upstream that was started anew has closed all of them."""
    play = Stale()
    (first,) = play.depart()
    play.prove(first)
    for _ in range(20):
        play.lose()
    assert play.phase is SpacePhase.TRUSTED
    assert play.all(SendOwnRequest) == []
    (number,) = play.depart()
    assert play.gone[-1] == number


# --- Without any answer to anybody -------------------------------------------------------------


class Fresh(Stale):
    """A login that was proved moments ago."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.do(LoginAccepted(self.carried, "basic", "basic", "a.example:443"))

    def fall_silent(self, count: int) -> None:
        """Let the upstream answer nothing while so many requests wait that carry the login."""
        self.do(UpstreamSilent(self.carried, count))

    @property
    def sent_ours(self) -> bool:
        return bool(self.all(SendOwnRequest))


def test_one_without_an_answer_is_followed_by_one_more_and_then_by_ours() -> None:
    play = Fresh()
    play.fall_silent(1)
    first, _ = play.depart(2)
    assert play.gone == [first]
    play.wait(2)
    assert play.gone == [first]
    assert play.sent_ours


@pytest.mark.parametrize("count", [2, 50])
def test_several_without_an_answer_are_followed_by_ours_alone(count: int) -> None:
    play = Fresh()
    play.fall_silent(count)
    play.depart(3)
    play.wait(1.9)
    assert not play.sent_ours  # A slow site may answer still.
    play.wait(0.1)
    assert play.gone == []
    play.challenge()
    ours = play.own()
    play.do(NoResponse(play.mark(ours), was_sent=True, permit=ours))
    play.do(OwnRequestEnded(play.all(SendOwnRequest)[-1].number, was_challenged=True))
    assert play.question_due.reason is PromptReason.UNCHECKED


def test_silence_says_nothing_new_of_a_login_that_goes_on_one_request_at_a_time() -> None:
    """The requests that wait for their turn do not carry it."""
    play = Stale()
    first, second, _ = play.depart(3)
    play.do(UpstreamSilent(play.carried, 50))
    play.wait(play.rules.send_interval)
    assert play.gone == [first, second]


def test_a_late_answer_of_a_slow_site_lets_the_others_go() -> None:
    play = Fresh()
    play.fall_silent(3)
    numbers = play.depart(3)
    play.do(LoginAccepted(play.carried, "basic", "basic", "slow.example:443"))
    assert play.gone == numbers
    assert not play.sent_ours


def test_nothing_is_sent_while_nobody_wants_anything_from_a_silent_upstream() -> None:
    play = Fresh()
    play.fall_silent(3)
    play.wait(60)
    assert not play.sent_ours
    assert not play.is_asking


def test_a_login_given_for_this_run_is_sent_again_after_a_while() -> None:
    """Without a person nobody else would ever end it, and no keyring holds it."""
    play = Play()

    play.do(FrontEndsChanged(0))
    play.wait(60)
    play.do(LoginProvided(OFFICE, play.offers[0].method, RIGHT))
    for _ in range(2):
        play.fail(play.challenge(), sent=True)
    for seconds in play.rules.login_holds[:3]:
        play.wait(seconds - 1)
        assert play.challenge() not in play.released()
        play.wait(2)
        again = play.challenge()
        assert play.released()[-1] == again
        play.fail(again, sent=True)


# --- On record ---------------------------------------------------------------------------------


def test_a_login_that_an_earlier_run_left_on_trial_is_asked_about() -> None:
    play = Play(records={RIGHT: HistoryRecord(hold_s=3600)})
    play.challenge()
    play.found(RIGHT)
    assert play.released() == []
    assert play.question_due.reason is PromptReason.UNCHECKED
    play.enter(RIGHT)
    assert len(play.released()) == 1


def test_a_login_that_was_not_sent_is_not_left_on_record() -> None:
    play = Play()
    waiter = play.challenge()
    play.found(RIGHT)
    play.fail(waiter, sent=False)
    assert play.all(CancelTrial) == [CancelTrial(KEY.upstream_id, RIGHT)]


@pytest.mark.parametrize("login", [RIGHT, WRONG])
def test_what_is_rejected_at_an_address_is_known_under_another_name(login: Login) -> None:
    """Only the rejection is shared; the login is not."""

    play = Play()
    alias = replace(OFFICE, id="alias", upstream=Upstream("alias.corp.example", 8080))
    there = ("192.0.2.1:8080",)
    play.do(RequestChallenged(901, KEY, OFFICE, play.offers, "a:80", addresses=there))
    play.found(WRONG)
    play.do(ProfileSwitched(alias))
    key = ProtectionSpace(UpstreamId.of(alias), "Corp", KEY.family)
    play.challenge(tried=LoginId(KEY, 1), flight=901)
    play.do(RequestChallenged(902, key, alias, play.offers, "b:80", addresses=there))
    play.found(login)
    sent = [effect.request_id for effect in play.all(ReleaseRequest)]
    assert (902 in sent) is (login == RIGHT)
