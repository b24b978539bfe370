"""Tests for trayproxy.desk.machine.machine: realms and profiles, and late 407s."""

from dataclasses import replace

import pytest

from tests.desk.machine_driver import (
    BASIC,
    BASIC_METHOD,
    DIGEST,
    LAB_SPACE,
    OFFICE,
    SPACE,
    MachineDriver,
    sign_in_state,
)
from tests.support.values import GNOME, LAB, RIGHT, WRONG
from trayproxy.auth.login import Login
from trayproxy.auth.scheme import Verdict, VerdictKind
from trayproxy.desk.machine import events
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.protection_space import (
    MAX_REALM_LENGTH,
    ProtectionSpace,
    UpstreamFingerprint,
    UpstreamId,
    bounded_realm,
)
from trayproxy.domain.signin import PromptReason, SignInState
from trayproxy.profiles.profile import Method, Profile, SignIn, Upstream

# --- Late refusals and forbidden targets ---------------------------------------------------------


def test_a_late_refusal_of_an_old_login_gets_the_current_login_without_a_prompt(
    driver: MachineDriver,
) -> None:
    (first,) = driver.open_prompt()
    late = driver.challenge()
    driver.answer_prompt(WRONG)
    driver.reject(first)
    driver.answer_prompt(RIGHT)
    driver.accept(late)
    loser = driver.challenge(tried=driver.login_id_of(first))
    assert driver.login_id_of(loser).generation == 2
    assert driver.machine.prompt_numbers() == ()


def test_a_request_without_a_login_gets_the_login_found_in_the_meantime(
    driver: MachineDriver,
) -> None:
    driver.sign_in()
    request = driver.challenge()
    assert request in driver.released()


def test_a_407_shortly_after_an_acceptance_elsewhere_means_forbidden(driver: MachineDriver) -> None:
    login_id = driver.sign_in()
    driver.advance(30)
    request = driver.challenge(tried=login_id, target="blocked.example:443")
    assert driver.refused() == {request: "FORBIDDEN"}
    assert sign_in_state(driver) is SignInState.OK
    driver.advance(1)
    assert not driver.is_prompting


def test_a_login_in_doubt_is_sent_on_one_request_at_a_time(driver: MachineDriver) -> None:
    login_id = driver.sign_in()
    driver.challenge(tried=login_id)
    assert driver.machine.trusted_logins() == {}
    second, third = driver.challenge(), driver.challenge()
    assert driver.released()[1:] == [second]
    driver.accept(second)
    assert driver.released()[1:] == [second, third]
    assert driver.machine.trusted_logins() == {SPACE.upstream_id: login_id}


def test_refusals_of_requests_sent_before_the_login_came_into_doubt_do_not_reject_it(
    driver: MachineDriver,
) -> None:
    login_id = driver.sign_in()
    driver.challenge(tried=login_id, permit=0)
    canary = driver.challenge()
    for _ in range(driver.limits.refusals_max):
        driver.challenge(tried=login_id, permit=0)
    assert driver.effects_of(events.RecordRejection) == []
    assert sign_in_state(driver) is SignInState.OK
    driver.accept(canary)
    assert driver.machine.is_trusted(login_id)


def test_the_same_forbidden_target_is_not_tried_again_at_once(driver: MachineDriver) -> None:
    login_id = driver.sign_in()
    for _ in range(5):
        driver.challenge(tried=login_id, target="blocked.example:443")
        login_id = driver.login_id_of(driver.released()[0])
        again = driver.challenge(target="blocked.example:443")
        assert driver.refused()[again] == "FORBIDDEN"
        driver.accept(driver.challenge())
    assert not driver.is_prompting


def test_a_password_changed_during_traffic_costs_three_log_ons_at_most(
    driver: MachineDriver,
) -> None:
    login_id = driver.sign_in()
    driver.challenge(tried=login_id)
    before = len(driver.released())
    for _ in range(20):
        request = driver.challenge()
        if request in driver.released():
            driver.reject(request)
    driver.advance(6)
    assert len(driver.released()) - before == 2
    assert driver.prompt.reason is PromptReason.SAVED_REJECTED


def test_a_407_long_after_an_acceptance_is_a_rejection(driver: MachineDriver) -> None:
    login_id = driver.sign_in()
    driver.advance(61)
    driver.challenge(tried=login_id)
    driver.finish_lookup(RIGHT)
    driver.advance(0.15)
    assert driver.prompt.reason is PromptReason.SAVED_REJECTED
    assert driver.machine.trusted_logins() == {}


def test_a_login_right_until_now_may_be_sent_again_at_once(driver: MachineDriver) -> None:
    login_id = driver.sign_in()
    driver.advance(61)
    driver.challenge(tried=login_id)
    driver.finish_lookup(RIGHT)
    driver.advance(0.15)
    driver.answer_prompt(RIGHT)
    assert len(driver.released()) == 2


def test_only_the_login_right_until_now_may_be_sent_again(driver: MachineDriver) -> None:
    (request,) = driver.open_prompt()
    driver.answer_prompt(WRONG)
    driver.reject(request)
    driver.answer_prompt(RIGHT)
    request = driver.released()[-1]
    driver.accept(request)
    driver.advance(61)
    driver.challenge(tried=driver.login_id_of(request))
    driver.finish_lookup(RIGHT)
    driver.advance(0.15)
    driver.answer_prompt(WRONG)
    assert driver.released()[-1] == request


# --- Realms --------------------------------------------------------------------------------------

OTHER = ProtectionSpace(SPACE.upstream_id, "Other", "basic")


def test_another_realm_of_the_upstream_does_not_get_the_saved_login_automatically(
    driver: MachineDriver,
) -> None:
    # Threat T4: the login is pinned to the realm of its first use.
    driver.challenge()
    driver.finish_lookup(RIGHT)
    driver.accept(driver.released()[-1])
    driver.challenge(OTHER, tried=driver.login_id_of(1))
    driver.advance(0.15)
    assert len(driver.effects_of(events.LookUpLogin)) == 1
    assert driver.prompt.realm == "Other"


def test_the_realm_where_a_saved_login_was_accepted_last_is_pinned_first() -> None:
    """If a fingerprint has too many realms, the last realms are dropped."""
    driver = MachineDriver(
        fingerprints={SPACE.upstream_id: UpstreamFingerprint("basic", ("Other", "Corp"))}
    )
    request = driver.challenge()
    driver.finish_lookup(RIGHT)
    driver.accept(request)
    assert driver.machine.state.fingerprints[SPACE.upstream_id].realms == ("Corp", "Other")


def test_an_unsaved_login_does_not_change_the_pinned_realms() -> None:
    driver = MachineDriver(
        fingerprints={SPACE.upstream_id: UpstreamFingerprint("basic", ("Other",))}
    )
    request = driver.challenge()
    assert driver.due_prompt.realm == "Corp"
    driver.answer_prompt(RIGHT, remember=False)
    driver.accept(request)
    assert driver.machine.state.fingerprints[SPACE.upstream_id].realms == ("Other",)


def test_after_a_rejection_the_keyring_is_not_read_for_another_realm(driver: MachineDriver) -> None:
    """The keyring has a single login for the upstream, which has just rejected it."""
    request = driver.challenge()
    driver.finish_lookup(WRONG)
    driver.disconnect(driver.reject(request))
    driver.advance(driver.limits.lookup_ttl + 1)
    before = len(driver.effects_of(events.LookUpLogin))
    driver.challenge(OTHER)
    assert len(driver.effects_of(events.LookUpLogin)) == before


def test_an_upstream_with_two_realms_gets_no_login_without_a_407(driver: MachineDriver) -> None:
    login_id = driver.sign_in()
    driver.challenge(OTHER)
    assert driver.machine.trusted_logins() == {}
    driver.advance(601)
    driver.accept(driver.challenge())
    assert driver.machine.trusted_logins() == {SPACE.upstream_id: login_id}


def test_a_refusal_by_another_realm_is_no_verdict_on_the_login(driver: MachineDriver) -> None:
    """RFC 9110, section 11.5. The refusal may have cost a log-on all the same, so the login is not
    sent automatically."""
    (first,) = driver.open_prompt()
    driver.answer_prompt(WRONG)
    other = driver.challenge(OTHER, tried=driver.login_id_of(first))
    assert sign_in_state(driver) is SignInState.NEEDED
    assert driver.effects_of(events.RecordRejection) == []
    driver.finish_lookup(None)
    assert driver.due_prompt.realm == "Other"
    driver.disconnect(other)
    driver.challenge()
    driver.advance(0.15)
    assert driver.prompt.reason is PromptReason.UNCHECKED
    assert len(driver.released()) == 1


def test_a_login_not_sent_to_another_realm_is_kept_for_its_own(driver: MachineDriver) -> None:
    """The proxies behind a load balancer may have different realms."""
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    other = driver.challenge(
        OTHER,
        tried=driver.login_id_of(first),
        verdict=Verdict(VerdictKind.UNUSABLE),
        offers=(DIGEST,),
    )
    driver.finish_lookup(None)
    assert driver.due_prompt.realm == "Other"
    driver.disconnect(other)
    again = driver.challenge()
    assert driver.login_id_of(again) == driver.login_id_of(first)
    driver.accept(again)
    assert driver.endings()[-1] != "DECLINED"
    assert driver.machine.is_trusted(driver.login_id_of(first))


@pytest.mark.parametrize(
    ("offer", "goes"), [(DIGEST, True), (BASIC, False)], ids=["digest", "basic"]
)
def test_without_a_front_end_a_command_line_login_is_used_in_another_realm(
    offer: events.OfferedScheme, goes: bool
) -> None:
    """Proxies behind one address may each have their own realm. A password that would be readable
    is not sent to another realm (threat T4)."""
    driver = MachineDriver(offers=(offer,))
    driver.handle(events.FrontEndsChanged(0))
    driver.advance(60)
    driver.handle(events.LoginProvided(OFFICE, offer.method, RIGHT))
    first = driver.challenge()
    driver.accept(first)
    other = driver.challenge(OTHER)
    assert (other in driver.released()) is goes
    assert (other in driver.refused()) is not goes


def test_with_a_front_end_another_realm_of_a_command_line_login_opens_a_prompt() -> None:
    driver = MachineDriver(offers=(DIGEST,))
    driver.handle(events.LoginProvided(OFFICE, DIGEST.method, RIGHT))
    driver.accept(driver.challenge())
    other = driver.challenge(OTHER)
    assert other not in driver.released()
    assert driver.due_prompt.realm == "Other"


def test_without_a_front_end_a_login_refused_by_another_realm_is_sent_three_times() -> None:
    driver = MachineDriver()
    driver.handle(events.FrontEndsChanged(0))
    driver.advance(60)
    driver.handle(events.LoginProvided(OFFICE, BASIC_METHOD, WRONG))
    for _ in range(10):
        sent = driver.challenge()
        if sent in driver.released():
            driver.disconnect(driver.challenge(OTHER, tried=driver.login_id_of(sent)))
    assert len(driver.released()) == 3


def test_a_login_on_trial_in_one_realm_is_not_sent_in_another(driver: MachineDriver) -> None:
    other = driver.challenge(OTHER)
    driver.open_prompt()
    driver.handle(events.LookupFinished(1, WRONG, GNOME))
    driver.answer_prompt(WRONG)
    assert driver.released() == [other]
    driver.challenge(OTHER, tried=driver.login_id_of(other))
    driver.advance(1)
    assert driver.released() == [other]
    assert driver.prompt.reason is PromptReason.TYPED_REJECTED


def test_a_login_accepted_in_one_realm_is_sent_in_another(driver: MachineDriver) -> None:
    other = driver.challenge(OTHER)
    (request,) = driver.open_prompt()
    driver.handle(events.LookupFinished(1, RIGHT, GNOME))
    driver.answer_prompt(RIGHT)
    driver.accept(other)
    assert driver.released() == [other, request]


def test_costless_refusals_by_another_realm_do_not_reject_a_login_in_doubt(
    driver: MachineDriver,
) -> None:
    login_id = driver.sign_in()
    driver.challenge(tried=login_id)
    for _ in range(driver.limits.refusals_max):
        canary = driver.challenge()
        assert canary in driver.released()
        verdict = Verdict(VerdictKind.UNUSABLE)
        other = driver.challenge(OTHER, tried=login_id, permit=canary, verdict=verdict)
        driver.disconnect(other)
    driver.reject(driver.challenge())
    assert driver.effects_of(events.RecordRejection) == []
    driver.accept(driver.challenge())
    assert driver.machine.is_trusted(login_id)


@pytest.mark.parametrize("front_ends", [1, 0])
def test_refusals_by_another_realm_reject_a_login_in_doubt(
    driver: MachineDriver, front_ends: int
) -> None:
    """A front end makes no difference: each refusal may have been a failed log-on."""
    login_id = driver.sign_in()
    driver.handle(events.FrontEndsChanged(front_ends))
    driver.advance(driver.limits.front_end_grace)
    driver.challenge(tried=login_id)
    first, second = driver.challenge(), driver.challenge()
    driver.challenge(OTHER, tried=login_id)
    assert driver.released()[1:] == [first, second]
    driver.challenge(OTHER, tried=login_id)
    assert sign_in_state(driver) is SignInState.NEEDED
    assert driver.effects_of(events.RecordRejection) == []
    before = len(driver.released())
    driver.challenge()
    assert len(driver.released()) == before


def test_a_request_to_an_upstream_with_alternating_realms_is_refused_in_the_end(
    driver: MachineDriver,
) -> None:
    first = driver.sign_in()
    request = driver.challenge(OTHER)
    driver.advance(0.15)
    driver.answer_prompt(Login("other", "other"))
    driver.accept(request)
    second = driver.login_id_of(request)
    once = driver.challenge(OTHER, tried=first)
    assert driver.login_id_of(once) == second
    twice = driver.challenge(SPACE, tried=second, has_changed_realm=True)
    assert driver.refused() == {twice: "FORBIDDEN"}


def test_the_number_of_realms_of_an_upstream_is_bounded() -> None:
    driver = MachineDriver(DeskLimits(spaces_max=8))
    for number in range(100):
        request = driver.challenge(ProtectionSpace(SPACE.upstream_id, f"realm {number}", "basic"))
        driver.disconnect(request)
    assert len(driver.machine.state.spaces) <= 8


def test_invented_realms_do_not_evict_an_accepted_login() -> None:
    driver = MachineDriver(DeskLimits(spaces_max=4))
    driver.sign_in()
    for number in range(10):
        driver.disconnect(
            driver.challenge(ProtectionSpace(SPACE.upstream_id, f"realm {number}", "basic"))
        )
    assert driver.challenge() in driver.released()


def test_invented_realms_do_not_evict_an_open_prompt() -> None:
    driver = MachineDriver(DeskLimits(spaces_max=4))
    (request,) = driver.open_prompt()
    driver.touch_prompt()
    driver.disconnect(request)
    number = driver.prompt.number
    for count in range(10):
        invented = driver.challenge(ProtectionSpace(SPACE.upstream_id, f"realm {count}", "basic"))
        assert invented not in driver.refused()
        driver.disconnect(invented)
    assert driver.machine.prompt(number)


def test_a_new_realm_evicts_an_idle_realm() -> None:
    driver = MachineDriver(DeskLimits(spaces_max=3))
    waits = driver.challenge()
    for count in range(5):
        driver.disconnect(
            driver.challenge(ProtectionSpace(SPACE.upstream_id, f"realm {count}", "basic"))
        )
    new = driver.challenge(ProtectionSpace(SPACE.upstream_id, "new", "basic"))
    assert driver.refused() == {}
    assert all(map(driver.machine.state.space_of_request, (waits, new)))


def lab_space(realm: str) -> ProtectionSpace:
    """Return a protection space of the profile "lab" with another realm."""
    return ProtectionSpace(LAB_SPACE.upstream_id, realm, LAB_SPACE.family)


def challenge_new_realms(driver: MachineDriver, count: int = 3) -> None:
    """Challenge requests with new realms of the profile "lab", and disconnect every client."""
    for number in range(count):
        driver.disconnect(driver.challenge(lab_space(f"invented {number}"), LAB))
        driver.advance(1)


def test_the_realm_seen_longest_ago_is_evicted_first() -> None:
    driver = MachineDriver(DeskLimits(spaces_max=2))
    challenge_new_realms(driver, 3)
    assert [space.realm for space in driver.machine.state.spaces] == ["invented 1", "invented 2"]


def test_invented_realms_do_not_evict_a_login_in_flight() -> None:
    """Without its protection space, the verdict on the login would be lost."""
    driver = MachineDriver(DeskLimits(spaces_max=2))
    request = driver.challenge()
    driver.finish_lookup(WRONG)
    assert driver.released() == [request]
    driver.advance(1)
    challenge_new_realms(driver)
    driver.reject(request)
    assert driver.effects_of(events.RecordRejection) == [
        events.RecordRejection(SPACE.upstream_id, WRONG)
    ]


def test_invented_realms_do_not_evict_a_login_with_an_own_request() -> None:
    driver = MachineDriver(DeskLimits(spaces_max=2))
    driver.machine.state.can_send_own = True
    driver.handle(events.LoginProvided(OFFICE, BASIC_METHOD, RIGHT, remember=True))
    assert len(driver.effects_of(events.SendOwnRequest)) == 1
    driver.advance(1)
    challenge_new_realms(driver)
    assert driver.challenge(is_own=True) in driver.released()


def test_invented_realms_do_not_evict_queued_requests() -> None:
    """The login of the queued requests was accepted longest ago; the other realm is evicted."""
    driver = MachineDriver(DeskLimits(spaces_max=2))
    login_id = driver.sign_in()
    driver.advance(driver.limits.proof_ttl + 1)
    driver.handle(events.LoginProvided(LAB, BASIC_METHOD, RIGHT))
    driver.accept(driver.challenge(LAB_SPACE, LAB))
    for number in (901, 902):
        driver.handle(events.PermitRequested(number, login_id, "github.com:443"))
    assert driver.effects_of(events.GrantPermit) == [events.GrantPermit(901, 901)]
    driver.advance(1)
    driver.disconnect(driver.challenge(lab_space("invented"), LAB))
    driver.advance(driver.limits.send_interval)
    assert driver.effects_of(events.GrantPermit)[1:] == [events.GrantPermit(902, 902)]


def test_a_refusal_in_another_realm_after_the_first_realm_was_removed_rejects_nothing(
    driver: MachineDriver,
) -> None:
    (request,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    login_id = driver.login_id_of(request)
    driver.handle(events.ProfileEdited(replace(OFFICE, sign_in=SignIn.NONE)))
    driver.handle(events.ProfileEdited(OFFICE))
    other = driver.challenge(OTHER, tried=login_id)
    assert driver.effects_of(events.RecordRejection) == []
    driver.finish_lookup(None)
    assert (driver.due_prompt.realm, driver.prompt.reason) == ("Other", PromptReason.NEEDED)
    assert [r for s in driver.machine.state.spaces.values() for r in s.parked] == [other]


def test_sign_in_from_the_menu_shows_the_open_prompt(driver: MachineDriver) -> None:
    """Another realm was challenged later, but its prompt is not open."""
    driver.open_prompt()
    driver.advance(1)
    driver.challenge(OTHER)
    driver.advance(1)
    number = driver.prompt.number
    driver.handle(events.SignInRequested(OFFICE, BASIC_METHOD))
    assert driver.machine.prompt_numbers() == (number,)


def test_a_realm_of_128_characters_is_kept_and_a_longer_realm_is_cut() -> None:
    assert MAX_REALM_LENGTH == 128
    assert bounded_realm("x" * 128) == "x" * 128
    one, other = bounded_realm("x" * 129), bounded_realm("x" * 130)
    assert len(one) == len(other) == 128
    assert one != other


def test_a_long_realm_with_half_of_a_surrogate_pair_is_cut() -> None:
    assert len(bounded_realm("\ud800" * 129)) == 128


def test_requests_of_too_many_realms_in_use_are_refused() -> None:
    driver = MachineDriver(DeskLimits(spaces_max=2))
    requests = [
        driver.challenge(ProtectionSpace(SPACE.upstream_id, f"realm {n}", "basic"))
        for n in range(3)
    ]
    assert driver.refused() == {requests[2]: "CROWDED"}


# --- Profiles ------------------------------------------------------------------------------------


def test_deleting_a_profile_closes_its_prompt(driver: MachineDriver) -> None:
    requests = driver.open_prompt(2)
    driver.handle(events.ProfileDeleted("office"))
    assert driver.endings() == ["WITHDRAWN"]
    assert driver.refused() == dict.fromkeys(requests, "WITHDRAWN")


def test_a_request_of_a_deleted_profile_opens_no_prompt(driver: MachineDriver) -> None:
    driver.open_prompt()
    driver.handle(events.ProfileDeleted("office"))
    request = driver.challenge()
    assert driver.refused()[request] == "WITHDRAWN"


@pytest.mark.parametrize(
    "edited",
    [
        replace(OFFICE, upstream=Upstream("other.corp.example", 8080)),
        replace(OFFICE, sign_in=SignIn.NONE),
    ],
)
def test_typed_login_is_not_sent_to_an_upstream_other_than_shown(
    driver: MachineDriver, edited: Profile
) -> None:
    driver.open_prompt()
    driver.handle(events.ProfileEdited(edited))
    assert driver.endings() == ["WITHDRAWN"]


def test_a_renamed_profile_keeps_its_prompt_and_its_login(driver: MachineDriver) -> None:
    login_id = driver.sign_in()
    driver.handle(events.ProfileEdited(replace(OFFICE, name="Head office")))
    assert driver.machine.trusted_logins() == {SPACE.upstream_id: login_id}


def test_a_profile_is_known_as_configured_until_it_is_deleted(driver: MachineDriver) -> None:
    assert driver.machine.profile(OFFICE) is OFFICE
    renamed = replace(OFFICE, name="Head office")
    driver.handle(events.ProfileEdited(renamed))
    assert driver.machine.profile(OFFICE) is renamed
    driver.handle(events.ProfileDeleted("office"))
    assert driver.machine.profile(OFFICE) is OFFICE


def test_the_user_name_of_an_accepted_login_may_be_saved_in_the_profile(
    driver: MachineDriver,
) -> None:
    login_id = driver.sign_in(Login("CORP\\jdoe", "right"))
    driver.handle(events.ProfileEdited(replace(OFFICE, user="CORP\\jdoe")))
    assert driver.machine.trusted_logins() == {SPACE.upstream_id: login_id}


def test_another_user_name_in_the_profile_needs_another_login(driver: MachineDriver) -> None:
    driver.sign_in()
    driver.handle(events.ProfileEdited(replace(OFFICE, user="bob")))
    assert driver.machine.trusted_logins() == {}
    driver.challenge(profile=replace(OFFICE, user="bob"))
    assert driver.effects_of(events.LookUpLogin)[-1].user == "bob"


def test_profiles_with_the_same_upstream_do_not_share_a_login(driver: MachineDriver) -> None:
    driver.sign_in()
    twin = replace(OFFICE, id="twin", name="Twin")
    request = driver.challenge(ProtectionSpace(UpstreamId.of(twin), "Corp", "basic"), twin)
    assert request not in driver.released()


def test_forgetting_logins_clears_the_protection_space(driver: MachineDriver) -> None:
    driver.sign_in()
    driver.handle(events.LoginsForgotten("office"))
    assert driver.machine.trusted_logins() == {}
    assert sign_in_state(driver) is SignInState.UNTESTED
    assert driver.machine.login(driver.login_id_of(1)) is None


def test_a_refusal_in_the_same_realm_after_a_change_of_the_realm_is_a_rejection() -> None:
    driver = MachineDriver()
    (request,) = driver.open_prompt()
    driver.answer_prompt(WRONG)
    driver.challenge(tried=driver.login_id_of(request), has_changed_realm=True, permit=request)
    assert driver.prompt.reason is PromptReason.TYPED_REJECTED
    assert driver.refused() == {}


def test_an_accepted_login_without_responses_needs_the_user() -> None:
    driver = MachineDriver()
    driver.sign_in()
    driver.handle(events.ProfileEdited(replace(OFFICE, method=Method.BASIC)))
    for _ in range(driver.limits.unanswered_max + 1):
        driver.end_without_response(driver.challenge(), was_sent=True)
    driver.challenge()
    assert driver.due_prompt.reason is PromptReason.UNCHECKED
    assert driver.machine.facts("office").sign_in is SignInState.NEEDED
