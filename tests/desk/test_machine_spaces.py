"""Tests for trayproxy.desk.machine.machine: to whom a login may go, and what a late 407 says of
it."""

from dataclasses import replace

import pytest

from tests.desk.play import (
    BASIC,
    DIGEST,
    GNOME,
    KEY,
    LAB,
    LAB_KEY,
    OFFICE,
    RIGHT,
    WAY,
    WRONG,
    Play,
    fact,
)
from trayproxy.auth.login import Login
from trayproxy.auth.scheme import Verdict, VerdictKind
from trayproxy.control.messages import PromptReason, SignInState
from trayproxy.desk.machine.events import (
    FrontEndsChanged,
    GrantPermit,
    LoginProvided,
    LoginsForgotten,
    LookupFinished,
    LookUpLogin,
    OfferedScheme,
    PermitRequested,
    ProfileDeleted,
    ProfileEdited,
    RecordRejection,
    SendOwnRequest,
    SignInRequested,
)
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.protection_space import (
    MAX_REALM_LENGTH,
    ProtectionSpace,
    UpstreamFingerprint,
    UpstreamId,
    bounded_realm,
)
from trayproxy.profiles.profile import Profile, SignIn, Upstream

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
    assert play.machine.prompt_numbers() == ()


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
    assert play.machine.trusted_logins() == {}
    second, third = play.challenge(), play.challenge()
    assert play.released()[1:] == [second]
    play.accept(second)
    assert play.released()[1:] == [second, third]
    assert play.machine.trusted_logins() == {KEY.upstream_id: mark}


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
    assert play.question.reason is PromptReason.SAVED_REJECTED


def test_a_407_long_after_success_is_a_rejection(play: Play) -> None:
    mark = play.trust()
    play.wait(61)
    play.challenge(tried=mark)
    play.found(RIGHT)
    play.wait(0.15)
    assert play.question.reason is PromptReason.SAVED_REJECTED
    assert play.machine.trusted_logins() == {}


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

OTHER = ProtectionSpace(KEY.upstream_id, "Other", "basic")


def test_another_realm_of_the_upstream_does_not_get_the_saved_login_by_itself(play: Play) -> None:
    # Threat T4: the login is pinned to the realm of its first use.
    play.challenge()
    play.found(RIGHT)
    play.accept(play.released()[-1])
    play.challenge(OTHER, tried=play.mark(1))
    play.wait(0.15)
    assert len(play.all(LookUpLogin)) == 1
    assert play.question.realm == "Other"


def test_the_realm_where_a_saved_login_was_accepted_last_is_pinned_first() -> None:
    """The realms that a pin has too many of are dropped from its end."""
    play = Play(pins={KEY.upstream_id: UpstreamFingerprint("basic", ("Other", "Corp"))})
    waiter = play.challenge()
    play.found(RIGHT)
    play.accept(waiter)
    assert play.machine.state.fingerprints[KEY.upstream_id].realms == ("Corp", "Other")


def test_a_login_that_is_not_saved_does_not_change_where_the_saved_one_is_right() -> None:
    play = Play(pins={KEY.upstream_id: UpstreamFingerprint("basic", ("Other",))})
    waiter = play.challenge()
    assert play.question_due.realm == "Corp"
    play.enter(RIGHT, remember=False)
    play.accept(waiter)
    assert play.machine.state.fingerprints[KEY.upstream_id].realms == ("Other",)


def test_after_a_rejection_the_keyring_is_not_read_for_another_realm(play: Play) -> None:
    """It holds one login for the upstream, which has just rejected it."""
    waiter = play.challenge()
    play.found(WRONG)
    play.leave(play.reject(waiter))
    play.wait(play.rules.lookup_ttl + 1)
    before = len(play.all(LookUpLogin))
    play.challenge(OTHER)
    assert len(play.all(LookUpLogin)) == before


def test_an_upstream_with_two_realms_is_not_sent_a_login_unasked(play: Play) -> None:
    mark = play.trust()
    play.challenge(OTHER)
    assert play.machine.trusted_logins() == {}
    play.wait(601)
    play.accept(play.challenge())
    assert play.machine.trusted_logins() == {KEY.upstream_id: mark}


def test_a_refusal_in_the_name_of_another_realm_says_nothing_about_the_login(play: Play) -> None:
    """RFC 9110, section 11.5. It may have cost a log-on all the same: it is not sent by itself."""
    (first,) = play.ask()
    play.enter(WRONG)
    other = play.challenge(OTHER, tried=play.mark(first))
    assert fact(play) is SignInState.NEEDED
    assert play.all(RecordRejection) == []
    play.found(None)
    assert play.question_due.realm == "Other"
    play.leave(other)
    play.challenge()
    play.wait(0.15)
    assert play.question.reason is PromptReason.UNCHECKED
    assert len(play.released()) == 1


def test_a_login_that_was_not_sent_to_another_realm_is_kept_for_its_own(play: Play) -> None:
    """As behind a balancer whose proxies call themselves different names."""
    (first,) = play.ask()
    play.enter(RIGHT)
    other = play.challenge(
        OTHER, tried=play.mark(first), verdict=Verdict(VerdictKind.UNUSABLE), offers=(DIGEST,)
    )
    play.found(None)
    assert play.question_due.realm == "Other"
    play.leave(other)
    again = play.challenge()
    assert play.mark(again) == play.mark(first)
    play.accept(again)
    assert play.endings()[-1] != "DECLINED"
    assert play.machine.is_trusted(play.mark(first))


@pytest.mark.parametrize(
    ("offer", "goes"), [(DIGEST, True), (BASIC, False)], ids=["digest", "basic"]
)
def test_without_anybody_to_ask_a_login_given_for_this_run_follows_a_proxy_to_another_realm(
    offer: OfferedScheme, goes: bool
) -> None:
    """Proxies behind one address may each call themselves by their own name. Where the password
    would be readable it stays in its realm (threat T4)."""
    play = Play(offers=(offer,))
    play.do(FrontEndsChanged(0))
    play.wait(60)
    play.do(LoginProvided(OFFICE, offer.method, RIGHT))
    first = play.challenge()
    play.accept(first)
    other = play.challenge(OTHER)
    assert (other in play.released()) is goes
    assert (other in play.refused()) is not goes


def test_a_person_who_can_be_asked_is_asked_about_another_realm_of_a_login_given() -> None:
    play = Play(offers=(DIGEST,))
    play.do(LoginProvided(OFFICE, DIGEST.method, RIGHT))
    play.accept(play.challenge())
    other = play.challenge(OTHER)
    assert other not in play.released()
    assert play.question_due.realm == "Other"


def test_without_anybody_to_ask_a_login_refused_by_another_realm_is_tried_three_times() -> None:
    play = Play()
    play.do(FrontEndsChanged(0))
    play.wait(60)
    play.do(LoginProvided(OFFICE, WAY, WRONG))
    for _ in range(10):
        sent = play.challenge()
        if sent in play.released():
            play.leave(play.challenge(OTHER, tried=play.mark(sent)))
    assert len(play.released()) == 3


def test_a_login_on_trial_in_one_realm_is_not_tried_in_another(play: Play) -> None:
    other = play.challenge(OTHER)
    play.ask()
    play.do(LookupFinished(1, WRONG, GNOME))
    play.enter(WRONG)
    assert play.released() == [other]
    play.challenge(OTHER, tried=play.mark(other))
    play.wait(1)
    assert play.released() == [other]
    assert play.question.reason is PromptReason.TYPED_REJECTED


def test_a_login_right_in_one_realm_is_tried_in_another_then(play: Play) -> None:
    other = play.challenge(OTHER)
    (waiter,) = play.ask()
    play.do(LookupFinished(1, RIGHT, GNOME))
    play.enter(RIGHT)
    play.accept(other)
    assert play.released() == [other, waiter]


@pytest.mark.parametrize("faces", [1, 0])
def test_refusals_in_the_name_of_another_realm_set_a_login_in_doubt_aside(
    play: Play, faces: int
) -> None:
    """Whether or not a person can be asked: each refusal may have been a failed log-on."""
    mark = play.trust()
    play.do(FrontEndsChanged(faces))
    play.wait(play.rules.front_end_grace)
    play.challenge(tried=mark)
    first, second = play.challenge(), play.challenge()
    play.challenge(OTHER, tried=mark)
    assert play.released()[1:] == [first, second]
    play.challenge(OTHER, tried=mark)
    assert fact(play) is SignInState.NEEDED
    assert play.all(RecordRejection) == []
    before = len(play.released())
    play.challenge()
    assert len(play.released()) == before


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
    play = Play(DeskLimits(spaces_max=8))
    for number in range(100):
        waiter = play.challenge(ProtectionSpace(KEY.upstream_id, f"realm {number}", "basic"))
        play.leave(waiter)
    assert len(play.machine.state.spaces) <= 8


def test_realms_that_are_invented_do_not_push_out_a_login_that_works() -> None:
    play = Play(DeskLimits(spaces_max=4))
    play.trust()
    for number in range(10):
        play.leave(play.challenge(ProtectionSpace(KEY.upstream_id, f"realm {number}", "basic")))
    assert play.challenge() in play.released()


def test_an_open_question_outlives_realms_that_are_invented() -> None:
    play = Play(DeskLimits(spaces_max=4))
    (waiter,) = play.ask()
    play.touch()
    play.leave(waiter)
    number = play.question.number
    for count in range(10):
        invented = play.challenge(ProtectionSpace(KEY.upstream_id, f"realm {count}", "basic"))
        assert invented not in play.refused()
        play.leave(invented)
    assert play.machine.prompt(number)


def test_a_new_realm_beside_idle_ones_is_not_crowded_out() -> None:
    play = Play(DeskLimits(spaces_max=3))
    waits = play.challenge()
    for count in range(5):
        play.leave(play.challenge(ProtectionSpace(KEY.upstream_id, f"realm {count}", "basic")))
    new = play.challenge(ProtectionSpace(KEY.upstream_id, "new", "basic"))
    assert play.refused() == {}
    assert {waits, new} <= play.machine.state.space_of_request.keys()


def lab_key(realm: str) -> ProtectionSpace:
    """Return another realm of the laboratory."""
    return ProtectionSpace(LAB_KEY.upstream_id, realm, LAB_KEY.family)


def crowd(play: Play, count: int = 3) -> None:
    """Let the laboratory invent realms, and every client leave again."""
    for number in range(count):
        play.leave(play.challenge(lab_key(f"invented {number}"), LAB))
        play.wait(1)


def test_the_realm_that_was_seen_longest_ago_is_forgotten_first() -> None:
    play = Play(DeskLimits(spaces_max=2))
    crowd(play, 3)
    assert [key.realm for key in play.machine.state.spaces] == ["invented 1", "invented 2"]


def test_a_login_on_its_way_outlives_realms_that_are_invented() -> None:
    """Without its case, the verdict on the login would be lost."""
    play = Play(DeskLimits(spaces_max=2))
    waiter = play.challenge()
    play.found(WRONG)
    assert play.released() == [waiter]
    play.wait(1)
    crowd(play)
    play.reject(waiter)
    assert play.all(RecordRejection) == [RecordRejection(KEY.upstream_id, WRONG)]


def test_a_login_that_our_own_request_is_about_to_try_outlives_realms_that_are_invented() -> None:
    play = Play(DeskLimits(spaces_max=2))
    play.machine.state.can_send_own = True
    play.do(LoginProvided(OFFICE, WAY, RIGHT, remember=True))
    assert len(play.all(SendOwnRequest)) == 1
    play.wait(1)
    crowd(play)
    assert play.challenge(own=True) in play.released()


def test_requests_that_wait_for_their_turn_outlive_realms_that_are_invented() -> None:
    """The login of their case was accepted longest ago; that of the other is forgotten."""
    play = Play(DeskLimits(spaces_max=2))
    mark = play.trust()
    play.wait(play.rules.proof_ttl + 1)
    play.do(LoginProvided(LAB, WAY, RIGHT))
    play.accept(play.challenge(LAB_KEY, LAB))
    for number in (901, 902):
        play.do(PermitRequested(number, mark, "github.com:443"))
    assert play.all(GrantPermit) == [GrantPermit(901, 901)]
    play.wait(1)
    play.leave(play.challenge(lab_key("invented"), LAB))
    play.wait(play.rules.send_interval)
    assert play.all(GrantPermit)[1:] == [GrantPermit(902, 902)]


def test_a_refusal_in_another_realm_after_the_first_realm_was_withdrawn_blames_nothing(
    play: Play,
) -> None:
    (waiter,) = play.ask()
    play.enter(RIGHT)
    mark = play.mark(waiter)
    play.do(ProfileEdited(replace(OFFICE, sign_in=SignIn.NONE)))
    play.do(ProfileEdited(OFFICE))
    other = play.challenge(OTHER, tried=mark)
    assert play.all(RecordRejection) == []
    play.found(None)
    assert (play.question_due.realm, play.question.reason) == ("Other", PromptReason.NEEDED)
    assert play.machine.state.space_of_request.keys() == {other}


def test_who_wants_to_sign_in_gets_the_question_that_is_open(play: Play) -> None:
    """Although another realm, which waits for its turn, has asked later."""
    play.ask()
    play.wait(1)
    play.challenge(OTHER)
    play.wait(1)
    number = play.question.number
    play.do(SignInRequested(OFFICE, WAY))
    assert play.machine.prompt_numbers() == (number,)


def test_a_realm_of_128_characters_is_kept_as_it_is_and_a_longer_one_is_cut() -> None:
    assert MAX_REALM_LENGTH == 128
    assert bounded_realm("x" * 128) == "x" * 128
    one, other = bounded_realm("x" * 129), bounded_realm("x" * 130)
    assert len(one) == len(other) == 128
    assert one != other


def test_too_many_realms_that_all_wait_are_refused() -> None:
    play = Play(DeskLimits(spaces_max=2))
    waiters = [
        play.challenge(ProtectionSpace(KEY.upstream_id, f"realm {n}", "basic")) for n in range(3)
    ]
    assert play.refused() == {waiters[2]: "CROWDED"}


# --- Profiles -------------------------------------------------------------------------------------


def test_a_deleted_profile_withdraws_its_question(play: Play) -> None:
    waiters = play.ask(2)
    play.do(ProfileDeleted("office"))
    assert play.endings() == ["WITHDRAWN"]
    assert play.refused() == dict.fromkeys(waiters, "WITHDRAWN")


def test_a_request_that_outlived_its_profile_asks_nobody(play: Play) -> None:
    play.ask()
    play.do(ProfileDeleted("office"))
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
    play.do(ProfileEdited(edited))
    assert play.endings() == ["WITHDRAWN"]


def test_a_renamed_profile_keeps_its_question_and_its_login(play: Play) -> None:
    mark = play.trust()
    play.do(ProfileEdited(replace(OFFICE, name="Head office")))
    assert play.machine.trusted_logins() == {KEY.upstream_id: mark}


def test_the_user_name_of_an_accepted_login_may_be_noted_in_the_profile(play: Play) -> None:
    mark = play.trust(Login("CORP\\jdoe", "right"))
    play.do(ProfileEdited(replace(OFFICE, user="CORP\\jdoe")))
    assert play.machine.trusted_logins() == {KEY.upstream_id: mark}


def test_another_user_name_in_the_profile_needs_another_login(play: Play) -> None:
    play.trust()
    play.do(ProfileEdited(replace(OFFICE, user="bob")))
    assert play.machine.trusted_logins() == {}
    play.challenge(profile=replace(OFFICE, user="bob"))
    assert play.all(LookUpLogin)[-1].user == "bob"


def test_profiles_with_the_same_upstream_do_not_share_a_login(play: Play) -> None:
    play.trust()
    twin = replace(OFFICE, id="twin", name="Twin")
    waiter = play.challenge(ProtectionSpace(UpstreamId.of(twin), "Corp", "basic"), twin)
    assert waiter not in play.released()


def test_forget_forgets(play: Play) -> None:
    play.trust()
    play.do(LoginsForgotten("office"))
    assert play.machine.trusted_logins() == {}
    assert fact(play) is SignInState.UNTESTED
    assert play.machine.login(play.mark(1)) is None
