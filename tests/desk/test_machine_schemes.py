"""Tests for trayproxy.desk.machine.machine: several schemes at one upstream, and prompts about
them."""

from dataclasses import replace

import pytest

from tests.desk.machine_driver import (
    BASIC,
    DIGEST,
    LAB_SPACE,
    NEGOTIATE,
    NTLM,
    OFFICE,
    SPACE,
    MachineDriver,
)
from tests.support.values import LAB, RIGHT
from trayproxy.auth.scheme import PASSWORD_NOT_CHECKED, Verdict, VerdictKind
from trayproxy.desk.machine import events
from trayproxy.desk.machine.queries import SignInTrouble
from trayproxy.desk.protection_space import (
    BY_SSO,
    LoginId,
    ProtectionSpace,
    UpstreamFingerprint,
    UpstreamId,
)
from trayproxy.domain.signin import PromptReason, RefusalReason, SignInState, Transport
from trayproxy.profiles.profile import Method, SignIn

UPSTREAM_ID = UpstreamId.of(OFFICE)
UNUSABLE = Verdict(VerdictKind.UNUSABLE, "The library is missing.")
TOO_LARGE = Verdict(VerdictKind.UNUSABLE, "Too large to be signed.", lacks_content=True)
NO_TICKET = Verdict(VerdictKind.NO_TICKET)
ALL = (NEGOTIATE, NTLM, DIGEST, BASIC)
SSO = replace(OFFICE, sign_in=SignIn.SSO, user="")
SSO_SPACE = ProtectionSpace(UPSTREAM_ID, "Corp", BY_SSO)


def new_driver(
    *offers: events.OfferedScheme, fingerprint: UpstreamFingerprint | None = None
) -> MachineDriver:
    return MachineDriver(
        offers=offers or ALL, fingerprints={UPSTREAM_ID: fingerprint} if fingerprint else {}
    )


def fail_scheme(
    driver: MachineDriver, request: int, verdict: Verdict = UNUSABLE, space: ProtectionSpace = SPACE
) -> int:
    """Challenge a released request again because its scheme failed."""
    return driver.challenge(
        space,
        SSO if space is SSO_SPACE else OFFICE,
        tried=driver.login_id_of(request),
        scheme=driver.scheme_of(request),
        verdict=verdict,
    )


# --- The strongest usable scheme -----------------------------------------------------------------


def test_the_strongest_offered_scheme_is_used() -> None:
    driver = new_driver()
    (first,) = driver.open_prompt()
    assert (driver.prompt.method, driver.prompt.transport) == ("Negotiate", Transport.SCRAMBLED)
    driver.answer_prompt(RIGHT)
    assert driver.scheme_of(first) == "negotiate"


def test_the_next_scheme_is_used_with_the_same_login_after_a_failure() -> None:
    driver = new_driver()
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    again = fail_scheme(driver, first)
    assert driver.scheme_of(again) == "ntlm"
    assert driver.machine.login(driver.login_id_of(again)) == RIGHT
    driver.accept(again)
    assert driver.endings() == ["ACCEPTED"]
    assert driver.machine.facts("office").sign_in is SignInState.OK


def test_a_failed_scheme_is_no_rejection() -> None:
    driver = new_driver()
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    again = fail_scheme(driver, first)
    assert driver.prompt.rejections == 0
    assert driver.login_id_of(again) == driver.login_id_of(first)


def test_a_prompt_after_a_failure_of_the_accepted_method_does_not_claim_it_is_gone() -> None:
    driver = new_driver(NEGOTIATE, NTLM, fingerprint=UpstreamFingerprint("negotiate", ("Corp",)))
    first = driver.challenge()
    driver.finish_lookup(RIGHT)
    fail_scheme(driver, first)
    prompt = driver.due_prompt
    assert (prompt.reason, prompt.before, prompt.method) == (
        PromptReason.FALLBACK,
        "Kerberos",
        "NTLM",
    )


def test_a_prompt_closes_when_the_accepted_method_works_again() -> None:
    driver = new_driver(NEGOTIATE, NTLM)
    login_id = driver.sign_in()
    for _ in range(3):
        driver.challenge(tried=login_id, scheme="negotiate", verdict=UNUSABLE)
    assert driver.due_prompt.reason is PromptReason.FALLBACK
    driver.advance(60)
    again = driver.challenge()
    waiting = driver.released()[-1]
    assert driver.scheme_of(waiting) == "negotiate"
    driver.accept(waiting)
    assert again in driver.released()
    assert driver.endings()[-1] == "ACCEPTED"


def test_the_accepted_scheme_is_preferred() -> None:
    driver = new_driver()
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    again = fail_scheme(driver, first)
    driver.accept(again)
    driver.advance(3600)
    assert driver.scheme_of(driver.challenge()) == "ntlm"


def test_a_password_shown_as_hidden_is_not_sent_readable_without_a_prompt() -> None:
    driver = new_driver(NTLM, BASIC)
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    fail_scheme(driver, first)
    assert driver.released() == [first]
    prompt = driver.prompt
    assert (prompt.reason, prompt.method, prompt.before) == (PromptReason.FALLBACK, "Basic", "NTLM")
    driver.answer_prompt(RIGHT)
    assert driver.scheme_of(driver.released()[-1]) == "basic"


def test_a_saved_login_may_use_basic_at_a_new_upstream() -> None:
    driver = new_driver(NTLM, BASIC)
    first = driver.challenge()
    driver.finish_lookup(RIGHT)
    assert driver.scheme_of(fail_scheme(driver, first)) == "basic"


def test_without_a_usable_scheme_the_request_is_refused_and_the_login_is_kept() -> None:
    driver = new_driver(NTLM)
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    again = fail_scheme(driver, first)
    assert driver.effects_of(events.SendWithoutLogin) == [events.SendWithoutLogin(again)]
    bare = driver.challenge()
    (refused,) = driver.effects_of(events.RefuseRequest)
    assert (refused.request_id, refused.reason.name) == (bare, "UNUSABLE")
    assert refused.text == "The library is missing."
    driver.advance(60)
    assert driver.scheme_of(driver.challenge()) == "ntlm"


def test_back_off_of_a_failed_scheme_grows_to_a_quarter_of_an_hour() -> None:
    driver = new_driver(NTLM)
    first = driver.challenge()
    driver.finish_lookup(RIGHT)
    pauses = []
    for _ in range(4):
        fail_scheme(driver, driver.released()[-1])
        began = driver.now
        while driver.challenge() not in driver.released():
            driver.advance(30)
        pauses.append(driver.now - began)
    assert pauses == [60, 300, 900, 900]
    assert first == driver.released()[0]


def test_network_change_ends_the_back_off_of_a_scheme() -> None:
    driver = new_driver(NTLM)
    first = driver.challenge()
    driver.finish_lookup(RIGHT)
    fail_scheme(driver, first)
    driver.handle(events.NetworkChanged())
    assert driver.scheme_of(driver.challenge()) == "ntlm"


def test_request_is_sent_without_a_login_after_an_aborted_handshake() -> None:
    driver = new_driver(NTLM, DIGEST)
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    driver.challenge(tried=driver.login_id_of(first), scheme="ntlm", verdict=UNUSABLE, offers=())
    assert len(driver.effects_of(events.SendWithoutLogin)) == 1
    assert driver.scheme_of(driver.challenge()) == "digest"


def test_a_request_uses_only_schemes_offered_by_its_407() -> None:
    driver = new_driver(NTLM, BASIC)
    driver.sign_in()
    request = driver.challenge(offers=(BASIC,))
    assert request not in driver.released()
    assert driver.due_prompt.reason is PromptReason.DOWNGRADE


def test_single_failure_of_an_accepted_scheme_costs_one_request() -> None:
    driver = new_driver(NTLM)
    login_id = driver.sign_in()
    request = driver.challenge(tried=login_id, scheme="ntlm", verdict=UNUSABLE)
    assert driver.refused()[request] == "UNUSABLE"
    assert driver.machine.is_trusted(login_id)
    driver.challenge(tried=login_id, scheme="ntlm", verdict=UNUSABLE)
    driver.challenge(tried=login_id, scheme="ntlm", verdict=UNUSABLE)
    assert not driver.machine.is_trusted(login_id)


def test_uploads_too_large_to_be_signed_cause_no_back_off() -> None:
    driver = new_driver(DIGEST)
    login_id = driver.sign_in()
    for _ in range(10):
        request = driver.challenge(tried=login_id, scheme=DIGEST.scheme, verdict=TOO_LARGE)
        assert driver.refused()[request] == "UNUSABLE"
    assert driver.machine.is_trusted(login_id)


# --- Verdicts with a reason ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "reason", "needs_confirmation"),
    [
        (VerdictKind.EXPIRED, PromptReason.EXPIRED, False),
        (VerdictKind.LOCKED, PromptReason.LOCKED, True),
    ],
)
def test_prompt_shows_the_upstreams_verdict_on_the_account(
    kind: VerdictKind, reason: PromptReason, needs_confirmation: bool
) -> None:
    driver = new_driver(NEGOTIATE)
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    driver.challenge(tried=driver.login_id_of(first), scheme="negotiate", verdict=Verdict(kind))
    assert (driver.prompt.reason, driver.prompt.confirm_retry) == (reason, needs_confirmation)
    assert driver.machine.facts("office").sign_in is SignInState.REJECTED


def test_a_final_verdict_on_an_accepted_login_is_a_rejection() -> None:
    driver = new_driver(NEGOTIATE)
    login_id = driver.sign_in()
    rejected = Verdict(VerdictKind.REJECTED)
    driver.challenge(tried=login_id, scheme="negotiate", verdict=rejected, is_final=True)
    assert driver.due_prompt.reason is PromptReason.SAVED_REJECTED


# --- Weaker schemes than before (threats T4, T5) -------------------------------------------------


def test_basic_instead_of_ntlm_opens_a_prompt() -> None:
    driver = new_driver(BASIC, fingerprint=UpstreamFingerprint("ntlm", ("Corp",)))
    driver.challenge()
    driver.advance(0.15)
    assert driver.effects_of(events.LookUpLogin) == []
    prompt = driver.prompt
    assert (prompt.reason, prompt.before, prompt.method) == (
        PromptReason.DOWNGRADE,
        "NTLM",
        "Basic",
    )
    assert prompt.transport is Transport.READABLE


def test_a_weaker_digest_opens_a_prompt() -> None:
    driver = new_driver(DIGEST, fingerprint=UpstreamFingerprint("digest-sha-256", ("Corp",)))
    driver.challenge()
    driver.advance(0.15)
    assert (driver.prompt.reason, driver.prompt.before) == (
        PromptReason.DOWNGRADE,
        "Digest (SHA-256)",
    )


def test_same_strength_as_before_needs_no_prompt() -> None:
    driver = new_driver(NTLM, BASIC, fingerprint=UpstreamFingerprint("ntlm", ("Corp",)))
    first = driver.challenge()
    driver.finish_lookup(RIGHT)
    assert driver.scheme_of(first) == "ntlm"


def test_stronger_scheme_than_before_is_used_and_recorded() -> None:
    driver = new_driver(NTLM, BASIC, fingerprint=UpstreamFingerprint("basic", ("Corp",)))
    first = driver.challenge()
    driver.finish_lookup(RIGHT)
    driver.accept(first)
    assert driver.effects_of(events.RecordFingerprint) == [
        events.RecordFingerprint(UPSTREAM_ID, UpstreamFingerprint("ntlm", ("Corp",)))
    ]


def test_consent_to_a_weaker_scheme_is_asked_for_once() -> None:
    driver = new_driver(BASIC, fingerprint=UpstreamFingerprint("ntlm", ("Corp",)))
    first = driver.challenge()
    driver.advance(0.15)
    driver.answer_prompt(RIGHT)
    driver.accept(first)
    assert driver.machine.state.fingerprints[UPSTREAM_ID] == UpstreamFingerprint("basic", ("Corp",))


def test_a_method_chosen_in_the_profile_needs_no_consent() -> None:
    driver = new_driver(BASIC, fingerprint=UpstreamFingerprint("ntlm", ("Corp",)))
    driver.challenge(profile=replace(OFFICE, method=Method.BASIC))
    assert len(driver.effects_of(events.LookUpLogin)) == 1


def test_request_with_a_weaker_scheme_does_not_stop_other_requests() -> None:
    driver = new_driver(NTLM, BASIC)
    login_id = driver.sign_in()
    weak = driver.challenge(offers=(BASIC,))
    driver.advance(0.15)
    assert driver.prompt.reason is PromptReason.DOWNGRADE
    assert driver.machine.is_trusted(login_id)
    good = driver.challenge()
    assert (driver.scheme_of(good), driver.login_id_of(good)) == ("ntlm", login_id)
    assert driver.prompt.waiting == 1
    assert driver.refused() == {}
    driver.disconnect(weak)
    assert not driver.is_prompting


# --- Different schemes for different requests ----------------------------------------------------


PAIRS = [(one, other) for one in ALL for other in ALL if one is not other]


def challenge_with_other_scheme(
    driver: MachineDriver,
    login_id: LoginId,
    first: events.OfferedScheme,
    second: events.OfferedScheme,
) -> int:
    """Challenge a request sent with one scheme with a 407 that offers only another scheme."""
    return driver.challenge(
        tried=login_id,
        scheme=first.scheme,
        offers=(second,),
        offers_other_scheme=True,
        refused_with=((login_id, first.name),),
    )


@pytest.mark.parametrize(
    ("first", "second"), [(one, other) for one, other in PAIRS if other.strength > one.strength]
)
@pytest.mark.parametrize("front_ends", [0, 1])
def test_a_stronger_scheme_is_used_without_a_prompt(
    first: events.OfferedScheme, second: events.OfferedScheme, front_ends: int
) -> None:
    driver = new_driver(first)
    login_id = driver.sign_in()
    driver.handle(events.FrontEndsChanged(front_ends))
    back = challenge_with_other_scheme(driver, login_id, first, second)
    assert (driver.scheme_of(back), driver.login_id_of(back)) == (second.scheme, login_id)
    driver.accept(back)
    again = challenge_with_other_scheme(driver, login_id, second, first)
    assert driver.scheme_of(again) == first.scheme
    assert (driver.refused(), driver.is_prompting) == ({}, False)


@pytest.mark.parametrize(
    ("first", "second"), [(one, other) for one, other in PAIRS if other.strength < one.strength]
)
class TestAWeakerScheme:
    def test_opens_one_prompt_and_then_neither_scheme_is_refused(
        self, first: events.OfferedScheme, second: events.OfferedScheme
    ) -> None:
        driver = new_driver(first)
        login_id = driver.sign_in()
        weak = challenge_with_other_scheme(driver, login_id, first, second)
        driver.advance(0.15)
        assert (driver.prompt.reason, driver.prompt.method) == (
            PromptReason.DOWNGRADE,
            second.method.title,
        )
        assert driver.machine.is_trusted(login_id)
        driver.answer_prompt(RIGHT)
        assert driver.scheme_of(weak) == second.scheme
        driver.accept(weak)
        new = driver.login_id_of(weak)
        strong = challenge_with_other_scheme(driver, new, second, first)
        assert driver.scheme_of(strong) == first.scheme
        driver.accept(strong)
        again = challenge_with_other_scheme(driver, new, first, second)
        assert driver.scheme_of(again) == second.scheme
        assert (driver.refused(), driver.is_prompting) == ({}, False)

    def test_is_refused_with_a_reason_without_a_front_end(
        self, first: events.OfferedScheme, second: events.OfferedScheme
    ) -> None:
        driver = new_driver(first)
        login_id = driver.sign_in()
        driver.handle(events.FrontEndsChanged(0))
        driver.advance(60)
        weak = challenge_with_other_scheme(driver, login_id, first, second)
        (refused,) = driver.effects_of(events.RefuseRequest)
        assert (refused.request_id, refused.reason.name) == (weak, "WEAKER")
        assert f"by {second.method.title} " in refused.text
        assert driver.machine.is_trusted(login_id)

    def test_is_reported_without_a_front_end_until_a_login_is_accepted(
        self, first: events.OfferedScheme, second: events.OfferedScheme
    ) -> None:
        driver = new_driver(first)
        login_id = driver.sign_in()
        driver.handle(events.FrontEndsChanged(0))
        driver.advance(60)
        challenge_with_other_scheme(driver, login_id, first, second)
        (refused,) = driver.effects_of(events.RefuseRequest)
        (trouble,) = driver.machine.troubles()
        assert (trouble.reason.name, trouble.text) == ("WEAKER", refused.text)
        assert driver.machine.facts("office").sign_in is SignInState.NEEDED
        driver.accept(driver.challenge(offers=(first,)))
        assert driver.machine.troubles() == ()
        assert driver.machine.facts("office").sign_in is SignInState.OK

    def test_opens_no_prompt_for_a_while_after_a_decline(
        self, first: events.OfferedScheme, second: events.OfferedScheme
    ) -> None:
        driver = new_driver(first)
        login_id = driver.sign_in()
        weak = challenge_with_other_scheme(driver, login_id, first, second)
        driver.advance(0.15)
        driver.decline_prompt()
        later = challenge_with_other_scheme(driver, login_id, first, second)
        assert driver.refused() == {weak: "DECLINED", later: "WEAKER"}
        assert driver.machine.troubles() == ()
        assert driver.machine.is_trusted(login_id)
        assert driver.login_id_of(driver.challenge()) == login_id
        driver.advance(60)
        challenge_with_other_scheme(driver, login_id, first, second)
        assert driver.due_prompt.reason is PromptReason.DOWNGRADE

    def test_opens_no_prompt_while_the_login_is_in_doubt(
        self, first: events.OfferedScheme, second: events.OfferedScheme
    ) -> None:
        driver = new_driver(first)
        driver.machine.state.can_send_own = True
        login_id = driver.sign_in()
        challenge_with_other_scheme(driver, login_id, first, second)
        driver.challenge(tried=login_id, scheme=first.scheme)
        driver.advance(1)
        assert not driver.is_prompting
        own = driver.challenge(
            target=driver.effects_of(events.SendOwnRequest)[-1].target, is_own=True
        )
        driver.accept(own)
        assert driver.due_prompt.reason is PromptReason.DOWNGRADE

    def test_is_refused_after_the_last_front_end_disconnected(
        self, first: events.OfferedScheme, second: events.OfferedScheme
    ) -> None:
        driver = new_driver(first)
        login_id = driver.sign_in()
        weak = challenge_with_other_scheme(driver, login_id, first, second)
        driver.advance(0.15)
        driver.handle(events.FrontEndsChanged(0))
        driver.advance(30)
        assert driver.refused() == {weak: "WEAKER"}
        assert not driver.is_prompting


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_407_for_another_scheme_is_no_verdict_on_a_login_on_trial(
    first: events.OfferedScheme, second: events.OfferedScheme
) -> None:
    driver = new_driver(first)
    request = driver.challenge()
    driver.finish_lookup(RIGHT)
    back = challenge_with_other_scheme(driver, driver.login_id_of(request), first, second)
    assert driver.scheme_of(back) == second.scheme
    assert driver.effects_of(events.RecordRejection) == []
    driver.accept(back)
    assert driver.machine.facts("office").sign_in is SignInState.OK


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_request_refused_with_the_offered_scheme_is_forbidden(
    first: events.OfferedScheme, second: events.OfferedScheme
) -> None:
    driver = new_driver(first, second)
    login_id = driver.sign_in()
    both = ((login_id, first.name), (login_id, second.name))
    reported = driver.challenge(
        tried=login_id,
        scheme=second.scheme,
        offers=(first,),
        offers_other_scheme=True,
        refused_with=both,
    )
    assert driver.refused() == {reported: "FORBIDDEN"}
    assert driver.machine.is_trusted(login_id)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_login_on_trial_is_sent_once_with_each_scheme(
    first: events.OfferedScheme, second: events.OfferedScheme
) -> None:
    driver = new_driver(first)
    request = driver.challenge()
    driver.finish_lookup(RIGHT)
    login_id = driver.login_id_of(request)
    challenge_with_other_scheme(driver, login_id, first, second)
    both = ((login_id, first.name), (login_id, second.name))
    driver.challenge(
        tried=login_id,
        scheme=second.scheme,
        offers=(first,),
        offers_other_scheme=True,
        refused_with=both,
    )
    assert len(driver.released()) == 2
    assert driver.due_prompt.reason is PromptReason.SAVED_REJECTED


def test_a_login_on_trial_is_sent_with_three_schemes_at_most() -> None:
    driver = new_driver(NTLM)
    for _ in range(10):
        driver.challenge()
    driver.finish_lookup(RIGHT)
    for _ in range(3):
        login_id = driver.login_id_of(driver.released()[-1])
        driver.challenge(
            tried=login_id, scheme="ntlm", offers=(BASIC,), offers_other_scheme=True, is_own=True
        )
        driver.machine.state.spaces[SPACE].parked.popitem()
    assert len(driver.released()) == 3


def test_the_strongest_accepted_scheme_is_used_without_a_407() -> None:
    driver = new_driver(BASIC)
    login_id = driver.sign_in()
    driver.accept(challenge_with_other_scheme(driver, login_id, BASIC, NTLM))
    driver.accept(challenge_with_other_scheme(driver, login_id, NTLM, BASIC))
    assert driver.machine.login_scheme(login_id) == ("ntlm", "ntlm")


def test_a_407_without_a_realm_belongs_to_the_known_realm() -> None:
    driver = new_driver(BASIC)
    login_id = driver.sign_in()
    request = driver.challenge(replace(SPACE, realm=""), offers=(NTLM,))
    assert (driver.scheme_of(request), driver.login_id_of(request)) == ("ntlm", login_id)
    assert len(driver.machine.state.spaces) == 1


def test_a_login_from_the_menu_is_not_sent_with_a_weaker_scheme() -> None:
    driver = new_driver(BASIC, fingerprint=UpstreamFingerprint("ntlm", ("Corp",)))
    driver.handle(events.SignInRequested(OFFICE, BASIC.method))
    driver.answer_prompt(RIGHT)
    driver.challenge()
    assert driver.released() == []
    assert driver.due_prompt.reason is PromptReason.DOWNGRADE


# --- Another realm -------------------------------------------------------------------------------


def test_another_realm_than_in_an_earlier_run_opens_a_prompt() -> None:
    driver = new_driver(BASIC, fingerprint=UpstreamFingerprint("basic", ("Headquarters",)))
    first = driver.challenge()
    driver.advance(0.15)
    assert driver.effects_of(events.LookUpLogin) == []
    assert (driver.prompt.reason, driver.prompt.before) == (
        PromptReason.REALM_CHANGED,
        "Headquarters",
    )
    driver.answer_prompt(RIGHT)
    driver.accept(first)
    assert driver.machine.state.fingerprints[UPSTREAM_ID].realms[0] == "Corp"


def test_without_a_front_end_a_changed_realm_is_not_reported_as_a_weaker_scheme() -> None:
    driver = new_driver(BASIC, fingerprint=UpstreamFingerprint("basic", ("Headquarters",)))
    driver.handle(events.FrontEndsChanged(0))
    driver.advance(31)
    request = driver.challenge()
    assert driver.refused() == {request: "WEAKER"}
    (trouble,) = driver.machine.troubles(is_unattended=True)
    assert (trouble.reason.name, trouble.text) == ("WEAKER", "")
    assert driver.machine.troubles() == ()


def test_the_first_realm_is_trusted_and_recorded() -> None:
    driver = new_driver(BASIC)
    driver.sign_in()
    assert driver.effects_of(events.RecordFingerprint) == [
        events.RecordFingerprint(UPSTREAM_ID, UpstreamFingerprint("basic", ("Corp",)))
    ]


@pytest.mark.parametrize("front_ends", [0, 1])
def test_another_realm_with_a_stronger_scheme_gets_the_accepted_login(front_ends: int) -> None:
    """The upstream has already received the password itself."""
    driver = new_driver(BASIC)
    driver.sign_in()
    driver.handle(events.FrontEndsChanged(front_ends))
    request = driver.challenge(replace(SPACE, realm="Other"), offers=(DIGEST,))
    assert (driver.scheme_of(request), driver.machine.login(driver.login_id_of(request))) == (
        "digest",
        RIGHT,
    )
    driver.accept(request)
    weaker = driver.challenge(replace(SPACE, realm="Third"), offers=(BASIC,))
    assert weaker not in driver.released()


def test_two_realms_with_the_same_login_are_both_pinned() -> None:
    other = replace(SPACE, realm="Other")
    driver = new_driver(BASIC)
    driver.sign_in()
    driver.challenge(other)
    driver.advance(0.15)
    assert driver.prompt.reason is PromptReason.REALM_CHANGED
    driver.answer_prompt(RIGHT)
    driver.accept(driver.released()[-1])
    assert driver.machine.state.fingerprints[UPSTREAM_ID] == UpstreamFingerprint(
        "basic", ("Other", "Corp")
    )
    later = new_driver(BASIC, fingerprint=UpstreamFingerprint("basic", ("Other", "Corp")))
    for space in (SPACE, other):
        request = later.challenge(space)
        later.finish_lookup(RIGHT)
        later.accept(request)
    assert not later.is_prompting


def test_a_realm_with_another_login_replaces_the_pinned_realm() -> None:
    driver = new_driver(BASIC)
    driver.sign_in()
    driver.challenge(replace(SPACE, realm="Other"))
    driver.advance(0.15)
    driver.answer_prompt(replace(RIGHT, user="somebody else"))
    driver.accept(driver.released()[-1])
    assert driver.machine.state.fingerprints[UPSTREAM_ID].realms == ("Other",)


def test_forgetting_the_login_clears_the_fingerprint() -> None:
    driver = new_driver(BASIC, fingerprint=UpstreamFingerprint("ntlm", ("Corp",)))
    driver.handle(events.LoginsForgotten("office"))
    assert driver.effects_of(events.ClearHistory) == [events.ClearHistory("office")]
    driver.challenge()
    assert len(driver.effects_of(events.LookUpLogin)) == 1


# --- Own sign-in ---------------------------------------------------------------------------------


def sso(*offers: events.OfferedScheme) -> MachineDriver:
    return MachineDriver(offers=offers or (NEGOTIATE, NTLM))


def test_own_sign_in_needs_neither_keyring_nor_prompt() -> None:
    driver = sso()
    first, second = (driver.challenge(SSO_SPACE, SSO) for _ in range(2))
    assert driver.released() == [first]
    assert driver.machine.login(driver.login_id_of(first)) is None
    driver.accept(first)
    assert driver.released() == [first, second]
    assert driver.effects_of(events.LookUpLogin) == []
    assert driver.machine.facts("office").sign_in is SignInState.OK


def test_own_sign_in_is_used_although_a_login_was_rejected() -> None:
    driver = sso()
    request = driver.challenge(LAB_SPACE, LAB)
    driver.finish_lookup(RIGHT)
    driver.challenge(LAB_SPACE, LAB, tried=driver.login_id_of(request), permit=request)
    assert driver.due_prompt.reason is PromptReason.SAVED_REJECTED
    request = driver.challenge(SSO_SPACE, SSO)
    assert driver.released()[-1] == request


def test_own_sign_in_without_responses_needs_no_user() -> None:
    driver = sso()
    for _ in range(driver.limits.unanswered_max + 2):
        driver.end_without_response(driver.challenge(SSO_SPACE, SSO), was_sent=True)
        assert driver.machine.facts("office").sign_in is SignInState.UNTESTED
    assert len(driver.released()) == driver.limits.unanswered_max + 2


def test_a_missing_ticket_is_reported_and_retried_every_few_seconds() -> None:
    driver = sso(NEGOTIATE)
    first = driver.challenge(SSO_SPACE, SSO)
    fail_scheme(driver, first, NO_TICKET, SSO_SPACE)
    reported = driver.challenge(SSO_SPACE, SSO)
    assert driver.refused()[reported] == "NO_TICKET"
    assert driver.machine.facts("office").sign_in is SignInState.NEEDED
    assert [trouble.reason.name for trouble in driver.machine.troubles()] == ["NO_TICKET"]
    assert not driver.is_prompting
    driver.advance(5)
    later = driver.challenge(SSO_SPACE, SSO)
    driver.accept(later)
    assert driver.machine.facts("office").sign_in is SignInState.OK
    assert driver.machine.troubles() == ()


UNREACHABLE = Verdict(VerdictKind.SERVER_UNREACHABLE)
SILENT = Verdict(VerdictKind.UNUSABLE, "It does not answer.", is_transient=True)


@pytest.mark.parametrize("verdict", [UNREACHABLE, SILENT])
def test_an_unreachable_sign_in_server_is_retried_every_few_seconds(verdict: Verdict) -> None:
    """The server is used within 5 s after it is reachable again, however long it was
    unreachable."""
    driver = sso(NEGOTIATE)
    first = driver.challenge(SSO_SPACE, SSO)
    fail_scheme(driver, first, verdict, SSO_SPACE)
    for _ in range(100):
        reported = driver.challenge(SSO_SPACE, SSO)
        assert reported in driver.refused()
        driver.advance(3)
        request = driver.challenge(SSO_SPACE, SSO)
        assert request in driver.released()
        fail_scheme(driver, request, verdict, SSO_SPACE)
    driver.advance(3)
    driver.accept(driver.challenge(SSO_SPACE, SSO))
    assert driver.machine.troubles() == ()


def test_a_password_login_waits_for_the_sign_in_server_without_a_prompt() -> None:
    driver = new_driver(NEGOTIATE)
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    fail_scheme(driver, first, UNREACHABLE)
    reported = driver.challenge()
    assert driver.refused()[reported] == "SERVER_UNREACHABLE"
    driver.advance(3)
    driver.accept(driver.challenge())
    assert not driver.is_prompting
    assert not driver.effects_of(events.RecordRejection)


def test_an_unreachable_sign_in_server_does_not_forbid_a_request() -> None:
    driver = new_driver(NEGOTIATE)
    login_id = driver.sign_in()
    driver.challenge(tried=login_id, scheme=NEGOTIATE.scheme, verdict=UNREACHABLE)
    reported = driver.challenge()
    assert driver.refused()[reported] == "SERVER_UNREACHABLE"
    driver.advance(3)
    driver.accept(driver.challenge())
    assert driver.machine.is_trusted(login_id)


def test_an_expired_ticket_is_reported_and_a_new_ticket_is_used() -> None:
    driver = sso(NEGOTIATE)
    first = driver.challenge(SSO_SPACE, SSO)
    driver.accept(first)
    fail_scheme(driver, first, NO_TICKET, SSO_SPACE)
    reported = driver.challenge(SSO_SPACE, SSO)
    assert driver.refused()[reported] == "NO_TICKET"
    driver.advance(5)
    assert driver.scheme_of(driver.challenge(SSO_SPACE, SSO)) == "negotiate"


@pytest.mark.parametrize(
    "kind", [None, *(kind for kind in VerdictKind if kind not in PASSWORD_NOT_CHECKED)]
)
def test_rejected_own_sign_in_is_backed_off(kind: VerdictKind | None) -> None:
    driver = sso(NEGOTIATE)
    first = driver.challenge(SSO_SPACE, SSO)
    verdict = Verdict(kind, "The proxy refuses.") if kind else None
    back = driver.challenge(
        SSO_SPACE, SSO, tried=driver.login_id_of(first), scheme="negotiate", verdict=verdict
    )
    reported = driver.challenge(SSO_SPACE, SSO)
    text = "The proxy refuses." if kind else ""
    assert driver.effects_of(events.RefuseRequest) == [
        events.RefuseRequest(request, RefusalReason.NOT_ACCEPTED, text)
        for request in (back, reported)
    ]
    assert driver.machine.troubles() == (SignInTrouble(SSO, RefusalReason.NOT_ACCEPTED, text),)
    driver.advance(60)
    assert len(driver.released()) == 1
    driver.challenge(SSO_SPACE, SSO)
    assert len(driver.released()) == 2


def test_own_sign_in_is_not_used_with_a_weaker_scheme() -> None:
    driver = MachineDriver(
        offers=(NTLM,), fingerprints={UPSTREAM_ID: UpstreamFingerprint("negotiate", ("Corp",))}
    )
    request = driver.challenge(SSO_SPACE, SSO)
    assert driver.refused() == {request: "WEAKER"}
    assert driver.released() == []


def test_own_sign_in_does_not_depend_on_the_realm() -> None:
    driver = MachineDriver(
        offers=(NEGOTIATE,),
        fingerprints={UPSTREAM_ID: UpstreamFingerprint("negotiate", ("Headquarters",))},
    )
    assert driver.scheme_of(driver.challenge(SSO_SPACE, SSO)) == "negotiate"


def test_missing_usable_scheme_is_reported_for_a_password_login() -> None:
    driver = new_driver(NTLM)
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    fail_scheme(driver, first)
    driver.challenge()
    (trouble,) = driver.machine.troubles()
    assert (trouble.reason.name, trouble.text) == ("UNUSABLE", "The library is missing.")
    driver.advance(60)
    driver.accept(driver.challenge())
    assert driver.machine.troubles() == ()


def test_try_again_retries_the_ticket_at_once() -> None:
    driver = sso(NEGOTIATE)
    first = driver.challenge(SSO_SPACE, SSO)
    fail_scheme(driver, first, NO_TICKET, SSO_SPACE)
    driver.handle(events.SignInRequested(SSO, NEGOTIATE.method))
    assert driver.scheme_of(driver.challenge(SSO_SPACE, SSO)) == "negotiate"
    assert not driver.is_prompting


def test_try_again_verifies_only_an_own_sign_in_that_is_not_accepted() -> None:
    driver = sso(NEGOTIATE)
    driver.machine.state.can_send_own = True
    first = driver.challenge(SSO_SPACE, SSO)
    fail_scheme(driver, first, NO_TICKET, SSO_SPACE)
    driver.handle(events.SignInRequested(SSO, NEGOTIATE.method))
    assert [effect.number for effect in driver.effects_of(events.SendOwnRequest)] == [1]
    driver.handle(events.OwnRequestEnded(1, was_challenged=False))
    driver.accept(driver.challenge(SSO_SPACE, SSO))
    driver.handle(events.SignInRequested(SSO, NEGOTIATE.method))
    assert len(driver.effects_of(events.SendOwnRequest)) == 1


def test_a_profile_changed_to_the_own_sign_in_forgets_the_login() -> None:
    driver = new_driver(NEGOTIATE)
    login_id = driver.sign_in()
    driver.handle(events.ProfileEdited(SSO))
    assert driver.machine.login(login_id) is None
    assert driver.login_id_of(driver.challenge(SSO_SPACE, SSO)).space == SSO_SPACE


def test_another_method_in_the_profile_is_used_for_the_next_request() -> None:
    driver = new_driver(NTLM, BASIC)
    login_id = driver.sign_in()
    driver.handle(events.ProfileEdited(replace(OFFICE, method=Method.BASIC)))
    assert driver.machine.trusted_logins() == {}
    request = driver.challenge(profile=replace(OFFICE, method=Method.BASIC), offers=(BASIC,))
    assert (driver.scheme_of(request), driver.login_id_of(request)) == ("basic", login_id)


def test_a_scheme_no_longer_offered_is_backed_off_at_once() -> None:
    driver = new_driver(NTLM, BASIC)
    login_id = driver.sign_in()
    driver.challenge(tried=login_id, scheme="ntlm", verdict=UNUSABLE, offers=(BASIC,))
    assert driver.due_prompt.reason is PromptReason.DOWNGRADE
    assert driver.refused() == {}
