"""Several schemes at one upstream: which one is used, and when the person is asked instead."""

from dataclasses import replace

import pytest

from tests.desk.machine_driver import (
    BASIC,
    DIGEST,
    NEGOTIATE,
    NTLM,
    OFFICE,
    RIGHT,
    SPACE,
    MachineDriver,
)
from trayproxy.auth.scheme import Verdict, VerdictKind
from trayproxy.control.messages import PromptReason, SignInState, Transport
from trayproxy.desk.machine.events import (
    ClearHistory,
    FrontEndsChanged,
    LoginsForgotten,
    LookUpLogin,
    NetworkChanged,
    OfferedScheme,
    ProfileEdited,
    RecordFingerprint,
    RecordRejection,
    RefuseRequest,
    SendWithoutLogin,
    SignInRequested,
)
from trayproxy.desk.protection_space import (
    BY_SSO,
    LoginId,
    ProtectionSpace,
    UpstreamFingerprint,
    UpstreamId,
)
from trayproxy.profiles.profile import Method, SignIn

UPSTREAM_ID = UpstreamId.of(OFFICE)
UNUSABLE = Verdict(VerdictKind.UNUSABLE, "The library is missing.")
TOO_LARGE = Verdict(VerdictKind.UNUSABLE, "Too large to be signed.", lacks_content=True)
NO_TICKET = Verdict(VerdictKind.NO_TICKET)
ALL = (NEGOTIATE, NTLM, DIGEST, BASIC)
SSO = replace(OFFICE, sign_in=SignIn.SSO, user="")
SSO_KEY = ProtectionSpace(UPSTREAM_ID, "Corp", BY_SSO)


def new_driver(*offers: OfferedScheme, pin: UpstreamFingerprint | None = None) -> MachineDriver:
    return MachineDriver(offers=offers or ALL, fingerprints={UPSTREAM_ID: pin} if pin else {})


def unusable(
    driver: MachineDriver, request: int, verdict: Verdict = UNUSABLE, space: ProtectionSpace = SPACE
) -> int:
    """Let the request that was released come back because its scheme came to nothing."""
    return driver.challenge(
        space,
        SSO if space is SSO_KEY else OFFICE,
        tried=driver.login_id_of(request),
        scheme=driver.scheme_of(request),
        verdict=verdict,
    )


# --- The strongest that works ---------------------------------------------------------------------


def test_the_strongest_scheme_on_offer_is_used() -> None:
    driver = new_driver()
    (first,) = driver.open_prompt()
    assert (driver.prompt.method, driver.prompt.transport) == ("Negotiate", Transport.SCRAMBLED)
    driver.answer_prompt(RIGHT)
    assert driver.scheme_of(first) == "negotiate"


def test_a_scheme_that_cannot_be_used_gives_way_to_the_next_with_the_same_login() -> None:
    driver = new_driver()
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    again = unusable(driver, first)
    assert driver.scheme_of(again) == "ntlm"
    assert driver.machine.login(driver.login_id_of(again)) == RIGHT
    driver.accept(again)
    assert driver.endings() == ["ACCEPTED"]
    assert driver.machine.facts("office").sign_in is SignInState.OK


def test_a_scheme_that_cannot_be_used_is_no_rejection() -> None:
    driver = new_driver()
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    again = unusable(driver, first)
    assert driver.prompt.rejections == 0
    assert driver.login_id_of(again) == driver.login_id_of(first)


def test_a_method_accepted_before_that_fails_today_is_not_said_to_be_gone() -> None:
    driver = new_driver(NEGOTIATE, NTLM, pin=UpstreamFingerprint("negotiate", ("Corp",)))
    first = driver.challenge()
    driver.finish_lookup(RIGHT)
    unusable(driver, first)
    prompt = driver.due_prompt
    assert (prompt.reason, prompt.before, prompt.method) == (
        PromptReason.FALLBACK,
        "Kerberos",
        "NTLM",
    )


def test_a_method_that_works_again_asks_nobody_any_more() -> None:
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


def test_the_scheme_that_was_accepted_is_kept_to() -> None:
    driver = new_driver()
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    again = unusable(driver, first)
    driver.accept(again)
    driver.advance(3600)
    assert driver.scheme_of(driver.challenge()) == "ntlm"


def test_a_password_promised_to_be_hidden_is_not_sent_readable_without_asking() -> None:
    driver = new_driver(NTLM, BASIC)
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    unusable(driver, first)
    assert driver.released() == [first]
    prompt = driver.prompt
    assert (prompt.reason, prompt.method, prompt.before) == (
        PromptReason.FALLBACK,
        "Basic",
        "NTLM",
    )
    driver.answer_prompt(RIGHT)
    assert driver.scheme_of(driver.released()[-1]) == "basic"


def test_a_saved_login_may_go_on_with_basic_at_an_upstream_seen_for_the_first_time() -> None:
    driver = new_driver(NTLM, BASIC)
    first = driver.challenge()
    driver.finish_lookup(RIGHT)
    assert driver.scheme_of(unusable(driver, first)) == "basic"


def test_when_nothing_can_be_used_the_request_is_told_and_the_login_is_kept() -> None:
    driver = new_driver(NTLM)
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    again = unusable(driver, first)
    assert driver.effects_of(SendWithoutLogin) == [SendWithoutLogin(again)]
    bare = driver.challenge()
    (refused,) = driver.effects_of(RefuseRequest)
    assert (refused.request_id, refused.reason.name) == (bare, "UNUSABLE")
    assert refused.text == "The library is missing."
    driver.advance(60)
    assert driver.scheme_of(driver.challenge()) == "ntlm"


def test_the_pauses_of_a_scheme_that_cannot_be_used_grow_to_a_quarter_of_an_hour() -> None:
    driver = new_driver(NTLM)
    first = driver.challenge()
    driver.finish_lookup(RIGHT)
    pauses = []
    for _ in range(4):
        unusable(driver, driver.released()[-1])
        began = driver.now
        while driver.challenge() not in driver.released():
            driver.advance(30)
        pauses.append(driver.now - began)
    assert pauses == [60, 300, 900, 900]
    assert first == driver.released()[0]


def test_another_network_ends_the_pause_of_a_scheme() -> None:
    driver = new_driver(NTLM)
    first = driver.challenge()
    driver.finish_lookup(RIGHT)
    unusable(driver, first)
    driver.handle(NetworkChanged())
    assert driver.scheme_of(driver.challenge()) == "ntlm"


def test_what_is_offered_is_heard_again_when_a_handshake_ends_in_the_middle() -> None:
    driver = new_driver(NTLM, DIGEST)
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    driver.challenge(tried=driver.login_id_of(first), scheme="ntlm", verdict=UNUSABLE, offers=())
    assert len(driver.effects_of(SendWithoutLogin)) == 1
    assert driver.scheme_of(driver.challenge()) == "digest"


def test_a_request_whose_407_does_not_offer_the_accepted_scheme_gets_none_of_it() -> None:
    driver = new_driver(NTLM, BASIC)
    driver.sign_in()
    request = driver.challenge(offers=(BASIC,))
    assert request not in driver.released()
    assert driver.due_prompt.reason is PromptReason.DOWNGRADE


def test_one_stumble_of_a_scheme_that_works_costs_one_request() -> None:
    driver = new_driver(NTLM)
    login_id = driver.sign_in()
    request = driver.challenge(tried=login_id, scheme="ntlm", verdict=UNUSABLE)
    assert driver.refused()[request] == "UNUSABLE"
    assert driver.machine.is_trusted(login_id)
    driver.challenge(tried=login_id, scheme="ntlm", verdict=UNUSABLE)
    driver.challenge(tried=login_id, scheme="ntlm", verdict=UNUSABLE)
    assert not driver.machine.is_trusted(login_id)


def test_uploads_too_large_to_be_signed_cost_only_themselves() -> None:
    driver = new_driver(DIGEST)
    login_id = driver.sign_in()
    for _ in range(10):
        request = driver.challenge(tried=login_id, scheme=DIGEST.scheme, verdict=TOO_LARGE)
        assert driver.refused()[request] == "UNUSABLE"
    assert driver.machine.is_trusted(login_id)


# --- Verdicts that say more -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "why", "hurried"),
    [
        (VerdictKind.EXPIRED, PromptReason.EXPIRED, False),
        (VerdictKind.LOCKED, PromptReason.LOCKED, True),
    ],
)
def test_what_the_upstream_says_about_the_account_is_told(
    kind: VerdictKind, why: PromptReason, hurried: bool
) -> None:
    driver = new_driver(NEGOTIATE)
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    driver.challenge(tried=driver.login_id_of(first), scheme="negotiate", verdict=Verdict(kind))
    assert (driver.prompt.reason, driver.prompt.confirm_retry) == (why, hurried)
    assert driver.machine.facts("office").sign_in is SignInState.REJECTED


def test_a_final_verdict_on_a_login_that_worked_is_not_taken_for_a_forbidden_address() -> None:
    driver = new_driver(NEGOTIATE)
    login_id = driver.sign_in()
    rejected = Verdict(VerdictKind.REJECTED)
    driver.challenge(tried=login_id, scheme="negotiate", verdict=rejected, is_final=True)
    assert driver.due_prompt.reason is PromptReason.SAVED_REJECTED


# --- Less than before (threats T4, T5) ------------------------------------------------------------


def test_basic_in_clear_to_a_proxy_that_took_ntlm_before_is_asked_about() -> None:
    driver = new_driver(BASIC, pin=UpstreamFingerprint("ntlm", ("Corp",)))
    driver.challenge()
    driver.advance(0.15)
    assert driver.effects_of(LookUpLogin) == []
    prompt = driver.prompt
    assert (prompt.reason, prompt.before, prompt.method) == (
        PromptReason.DOWNGRADE,
        "NTLM",
        "Basic",
    )
    assert prompt.transport is Transport.READABLE


def test_a_weaker_digest_is_less_than_before() -> None:
    driver = new_driver(DIGEST, pin=UpstreamFingerprint("digest-sha-256", ("Corp",)))
    driver.challenge()
    driver.advance(0.15)
    assert (driver.prompt.reason, driver.prompt.before) == (
        PromptReason.DOWNGRADE,
        "Digest (SHA-256)",
    )


def test_as_much_as_before_asks_nobody() -> None:
    driver = new_driver(NTLM, BASIC, pin=UpstreamFingerprint("ntlm", ("Corp",)))
    first = driver.challenge()
    driver.finish_lookup(RIGHT)
    assert driver.scheme_of(first) == "ntlm"


def test_more_than_before_is_used_and_remembered() -> None:
    driver = new_driver(NTLM, BASIC, pin=UpstreamFingerprint("basic", ("Corp",)))
    first = driver.challenge()
    driver.finish_lookup(RIGHT)
    driver.accept(first)
    assert driver.effects_of(RecordFingerprint) == [
        RecordFingerprint(UPSTREAM_ID, UpstreamFingerprint("ntlm", ("Corp",)))
    ]


def test_a_person_who_agrees_to_less_is_not_asked_again() -> None:
    driver = new_driver(BASIC, pin=UpstreamFingerprint("ntlm", ("Corp",)))
    first = driver.challenge()
    driver.advance(0.15)
    driver.answer_prompt(RIGHT)
    driver.accept(first)
    assert driver.machine.state.fingerprints[UPSTREAM_ID] == UpstreamFingerprint("basic", ("Corp",))


def test_a_method_chosen_in_the_profile_is_agreed_to() -> None:
    driver = new_driver(BASIC, pin=UpstreamFingerprint("ntlm", ("Corp",)))
    driver.challenge(profile=replace(OFFICE, method=Method.BASIC))
    assert len(driver.effects_of(LookUpLogin)) == 1


def test_one_request_that_wants_less_does_not_stop_the_others() -> None:
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


# --- Another way for another request --------------------------------------------------------------


PAIRS = [(one, other) for one in ALL for other in ALL if one is not other]


def sent_and_asked_for(
    driver: MachineDriver, login_id: LoginId, first: OfferedScheme, second: OfferedScheme
) -> int:
    """Let a request that was sent by one scheme come back with a 407 that offers only another."""
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
@pytest.mark.parametrize("faces", [0, 1])
def test_a_stronger_way_is_taken_silently(
    first: OfferedScheme, second: OfferedScheme, faces: int
) -> None:
    driver = new_driver(first)
    login_id = driver.sign_in()
    driver.handle(FrontEndsChanged(faces))
    back = sent_and_asked_for(driver, login_id, first, second)
    assert (driver.scheme_of(back), driver.login_id_of(back)) == (second.scheme, login_id)
    driver.accept(back)
    again = sent_and_asked_for(driver, login_id, second, first)
    assert driver.scheme_of(again) == first.scheme
    assert (driver.refused(), driver.is_prompting) == ({}, False)


@pytest.mark.parametrize(
    ("first", "second"), [(one, other) for one, other in PAIRS if other.strength < one.strength]
)
class TestAWeakerWay:
    def test_is_asked_about_once_and_then_neither_is_refused(
        self, first: OfferedScheme, second: OfferedScheme
    ) -> None:
        driver = new_driver(first)
        login_id = driver.sign_in()
        weak = sent_and_asked_for(driver, login_id, first, second)
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
        strong = sent_and_asked_for(driver, new, second, first)
        assert driver.scheme_of(strong) == first.scheme
        driver.accept(strong)
        again = sent_and_asked_for(driver, new, first, second)
        assert driver.scheme_of(again) == second.scheme
        assert (driver.refused(), driver.is_prompting) == ({}, False)

    def test_is_refused_without_a_person_and_that_says_why(
        self, first: OfferedScheme, second: OfferedScheme
    ) -> None:
        driver = new_driver(first)
        login_id = driver.sign_in()
        driver.handle(FrontEndsChanged(0))
        driver.advance(60)
        weak = sent_and_asked_for(driver, login_id, first, second)
        (refused,) = driver.effects_of(RefuseRequest)
        assert (refused.request_id, refused.reason.name) == (weak, "WEAKER")
        assert f"by {second.method.title} " in refused.text
        assert driver.machine.is_trusted(login_id)

    def test_is_left_alone_for_a_while_when_the_person_declines(
        self, first: OfferedScheme, second: OfferedScheme
    ) -> None:
        driver = new_driver(first)
        login_id = driver.sign_in()
        weak = sent_and_asked_for(driver, login_id, first, second)
        driver.advance(0.15)
        driver.decline_prompt()
        later = sent_and_asked_for(driver, login_id, first, second)
        assert driver.refused() == {weak: "DECLINED", later: "WEAKER"}
        assert driver.machine.is_trusted(login_id)
        assert driver.login_id_of(driver.challenge()) == login_id
        driver.advance(60)
        sent_and_asked_for(driver, login_id, first, second)
        assert driver.due_prompt.reason is PromptReason.DOWNGRADE

    def test_is_not_waited_for_when_the_last_face_goes(
        self, first: OfferedScheme, second: OfferedScheme
    ) -> None:
        driver = new_driver(first)
        login_id = driver.sign_in()
        weak = sent_and_asked_for(driver, login_id, first, second)
        driver.advance(0.15)
        driver.handle(FrontEndsChanged(0))
        driver.advance(30)
        assert driver.refused() == {weak: "WEAKER"}
        assert not driver.is_prompting


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_way_that_is_not_offered_again_is_no_verdict_on_a_login_on_trial(
    first: OfferedScheme, second: OfferedScheme
) -> None:
    driver = new_driver(first)
    request = driver.challenge()
    driver.finish_lookup(RIGHT)
    back = sent_and_asked_for(driver, driver.login_id_of(request), first, second)
    assert driver.scheme_of(back) == second.scheme
    assert driver.effects_of(RecordRejection) == []
    driver.accept(back)
    assert driver.machine.facts("office").sign_in is SignInState.OK


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_what_was_sent_and_is_offered_again_is_forbidden(
    first: OfferedScheme, second: OfferedScheme
) -> None:
    driver = new_driver(first, second)
    login_id = driver.sign_in()
    both = ((login_id, first.name), (login_id, second.name))
    told = driver.challenge(
        tried=login_id,
        scheme=second.scheme,
        offers=(first,),
        offers_other_scheme=True,
        refused_with=both,
    )
    assert driver.refused() == {told: "FORBIDDEN"}
    assert driver.machine.is_trusted(login_id)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_login_on_trial_is_sent_once_by_each_way(
    first: OfferedScheme, second: OfferedScheme
) -> None:
    driver = new_driver(first)
    request = driver.challenge()
    driver.finish_lookup(RIGHT)
    login_id = driver.login_id_of(request)
    sent_and_asked_for(driver, login_id, first, second)
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


def test_a_login_on_trial_is_asked_for_otherwise_three_times_at_most() -> None:
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


def test_the_strongest_way_that_was_accepted_is_sent_unasked() -> None:
    driver = new_driver(BASIC)
    login_id = driver.sign_in()
    driver.accept(sent_and_asked_for(driver, login_id, BASIC, NTLM))
    driver.accept(sent_and_asked_for(driver, login_id, NTLM, BASIC))
    assert driver.machine.login_scheme(login_id) == ("ntlm", "ntlm")


def test_a_407_without_a_realm_is_about_the_realm_that_is_known() -> None:
    driver = new_driver(BASIC)
    login_id = driver.sign_in()
    request = driver.challenge(replace(SPACE, realm=""), offers=(NTLM,))
    assert (driver.scheme_of(request), driver.login_id_of(request)) == ("ntlm", login_id)
    assert len(driver.machine.state.spaces) == 1


def test_a_login_from_the_menu_does_not_go_to_an_upstream_that_offers_less() -> None:
    driver = new_driver(BASIC, pin=UpstreamFingerprint("ntlm", ("Corp",)))
    driver.handle(SignInRequested(OFFICE, BASIC.method))
    driver.answer_prompt(RIGHT)
    driver.challenge()
    assert driver.released() == []
    assert driver.due_prompt.reason is PromptReason.DOWNGRADE


# --- Another realm --------------------------------------------------------------------------------


def test_another_realm_than_in_an_earlier_run_is_asked_about() -> None:
    driver = new_driver(BASIC, pin=UpstreamFingerprint("basic", ("Headquarters",)))
    first = driver.challenge()
    driver.advance(0.15)
    assert driver.effects_of(LookUpLogin) == []
    assert (driver.prompt.reason, driver.prompt.before) == (
        PromptReason.REALM_CHANGED,
        "Headquarters",
    )
    driver.answer_prompt(RIGHT)
    driver.accept(first)
    assert driver.machine.state.fingerprints[UPSTREAM_ID].realms[0] == "Corp"


def test_with_nobody_to_ask_the_refusal_names_the_realm_that_changed() -> None:
    driver = new_driver(BASIC, pin=UpstreamFingerprint("basic", ("Headquarters",)))
    driver.handle(FrontEndsChanged(0))
    driver.advance(31)
    request = driver.challenge()
    assert driver.refused() == {request: "WEAKER"}


def test_the_first_realm_is_believed_and_remembered() -> None:
    driver = new_driver(BASIC)
    driver.sign_in()
    assert driver.effects_of(RecordFingerprint) == [
        RecordFingerprint(UPSTREAM_ID, UpstreamFingerprint("basic", ("Corp",)))
    ]


@pytest.mark.parametrize("faces", [0, 1])
def test_another_realm_that_asks_in_a_stronger_way_gets_the_accepted_login(faces: int) -> None:
    """The upstream has had the password itself already."""
    driver = new_driver(BASIC)
    driver.sign_in()
    driver.handle(FrontEndsChanged(faces))
    request = driver.challenge(replace(SPACE, realm="Other"), offers=(DIGEST,))
    assert (driver.scheme_of(request), driver.machine.login(driver.login_id_of(request))) == (
        "digest",
        RIGHT,
    )
    driver.accept(request)
    weaker = driver.challenge(replace(SPACE, realm="Third"), offers=(BASIC,))
    assert weaker not in driver.released()


def test_two_realms_with_the_same_login_are_both_known_from_then_on() -> None:
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
    later = new_driver(BASIC, pin=UpstreamFingerprint("basic", ("Other", "Corp")))
    for space in (SPACE, other):
        request = later.challenge(space)
        later.finish_lookup(RIGHT)
        later.accept(request)
    assert not later.is_prompting


def test_a_realm_with_another_login_takes_the_place_of_the_first() -> None:
    driver = new_driver(BASIC)
    driver.sign_in()
    driver.challenge(replace(SPACE, realm="Other"))
    driver.advance(0.15)
    driver.answer_prompt(replace(RIGHT, user="somebody else"))
    driver.accept(driver.released()[-1])
    assert driver.machine.state.fingerprints[UPSTREAM_ID].realms == ("Other",)


def test_forgetting_the_login_forgets_who_the_upstream_was() -> None:
    driver = new_driver(BASIC, pin=UpstreamFingerprint("ntlm", ("Corp",)))
    driver.handle(LoginsForgotten("office"))
    assert driver.effects_of(ClearHistory) == [ClearHistory("office")]
    driver.challenge()
    assert len(driver.effects_of(LookUpLogin)) == 1


# --- One's own sign-in ----------------------------------------------------------------------------


def sso(*offers: OfferedScheme) -> MachineDriver:
    return MachineDriver(offers=offers or (NEGOTIATE, NTLM))


def test_ones_own_sign_in_asks_neither_keyring_nor_person() -> None:
    driver = sso()
    first, second = (driver.challenge(SSO_KEY, SSO) for _ in range(2))
    assert driver.released() == [first]
    assert driver.machine.login(driver.login_id_of(first)) is None
    driver.accept(first)
    assert driver.released() == [first, second]
    assert driver.effects_of(LookUpLogin) == []
    assert driver.machine.facts("office").sign_in is SignInState.OK


def test_a_missing_ticket_is_told_and_looked_for_every_few_seconds() -> None:
    driver = sso(NEGOTIATE)
    first = driver.challenge(SSO_KEY, SSO)
    unusable(driver, first, NO_TICKET, SSO_KEY)
    told = driver.challenge(SSO_KEY, SSO)
    assert driver.refused()[told] == "NO_TICKET"
    assert driver.machine.facts("office").sign_in is SignInState.NEEDED
    assert [trouble.reason.name for trouble in driver.machine.troubles()] == ["NO_TICKET"]
    assert not driver.is_prompting
    driver.advance(5)
    later = driver.challenge(SSO_KEY, SSO)
    driver.accept(later)
    assert driver.machine.facts("office").sign_in is SignInState.OK
    assert driver.machine.troubles() == ()


UNREACHABLE = Verdict(VerdictKind.SERVER_UNREACHABLE)
SILENT = Verdict(VerdictKind.UNUSABLE, "It does not answer.", is_transient=True)


@pytest.mark.parametrize("verdict", [UNREACHABLE, SILENT])
def test_a_sign_in_server_that_cannot_be_reached_is_tried_again_every_few_seconds(
    verdict: Verdict,
) -> None:
    """However long it has been away: it is used within 5 s when it is back."""
    driver = sso(NEGOTIATE)
    first = driver.challenge(SSO_KEY, SSO)
    unusable(driver, first, verdict, SSO_KEY)
    for _ in range(100):
        told = driver.challenge(SSO_KEY, SSO)
        assert told in driver.refused()
        driver.advance(3)
        request = driver.challenge(SSO_KEY, SSO)
        assert request in driver.released()
        unusable(driver, request, verdict, SSO_KEY)
    driver.advance(3)
    driver.accept(driver.challenge(SSO_KEY, SSO))
    assert driver.machine.troubles() == ()


def test_a_password_waits_for_a_sign_in_server_and_nobody_is_asked() -> None:
    driver = new_driver(NEGOTIATE)
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    unusable(driver, first, UNREACHABLE)
    told = driver.challenge()
    assert driver.refused()[told] == "SERVER_UNREACHABLE"
    driver.advance(3)
    driver.accept(driver.challenge())
    assert not driver.is_prompting
    assert not driver.effects_of(RecordRejection)


def test_a_sign_in_server_that_goes_away_is_not_blamed_on_a_request() -> None:
    driver = new_driver(NEGOTIATE)
    login_id = driver.sign_in()
    driver.challenge(tried=login_id, scheme=NEGOTIATE.scheme, verdict=UNREACHABLE)
    told = driver.challenge()
    assert driver.refused()[told] == "SERVER_UNREACHABLE"
    driver.advance(3)
    driver.accept(driver.challenge())
    assert driver.machine.is_trusted(login_id)


def test_a_ticket_that_expires_is_told_and_recovers() -> None:
    driver = sso(NEGOTIATE)
    first = driver.challenge(SSO_KEY, SSO)
    driver.accept(first)
    unusable(driver, first, NO_TICKET, SSO_KEY)
    told = driver.challenge(SSO_KEY, SSO)
    assert driver.refused()[told] == "NO_TICKET"
    driver.advance(5)
    assert driver.scheme_of(driver.challenge(SSO_KEY, SSO)) == "negotiate"


def test_ones_own_sign_in_that_is_rejected_is_left_alone_for_a_while() -> None:
    driver = sso(NEGOTIATE)
    first = driver.challenge(SSO_KEY, SSO)
    back = driver.challenge(SSO_KEY, SSO, tried=driver.login_id_of(first), scheme="negotiate")
    assert driver.refused()[back] == "NOT_ACCEPTED"
    told = driver.challenge(SSO_KEY, SSO)
    assert driver.refused()[told] == "NOT_ACCEPTED"
    driver.advance(60)
    assert len(driver.released()) == 1
    driver.challenge(SSO_KEY, SSO)
    assert len(driver.released()) == 2


def test_ones_own_sign_in_is_not_sent_where_less_is_offered_than_before() -> None:
    driver = MachineDriver(
        offers=(NTLM,), fingerprints={UPSTREAM_ID: UpstreamFingerprint("negotiate", ("Corp",))}
    )
    request = driver.challenge(SSO_KEY, SSO)
    assert driver.refused() == {request: "WEAKER"}
    assert driver.released() == []


def test_another_realm_does_not_keep_ones_own_sign_in_from_its_host() -> None:
    driver = MachineDriver(
        offers=(NEGOTIATE,),
        fingerprints={UPSTREAM_ID: UpstreamFingerprint("negotiate", ("Headquarters",))},
    )
    assert driver.scheme_of(driver.challenge(SSO_KEY, SSO)) == "negotiate"


def test_why_no_scheme_can_be_used_is_told_for_a_password_too() -> None:
    driver = new_driver(NTLM)
    (first,) = driver.open_prompt()
    driver.answer_prompt(RIGHT)
    unusable(driver, first)
    driver.challenge()
    (trouble,) = driver.machine.troubles()
    assert (trouble.reason.name, trouble.text) == ("UNUSABLE", "The library is missing.")
    driver.advance(60)
    driver.accept(driver.challenge())
    assert driver.machine.troubles() == ()


def test_try_again_looks_for_a_ticket_at_once() -> None:
    driver = sso(NEGOTIATE)
    first = driver.challenge(SSO_KEY, SSO)
    unusable(driver, first, NO_TICKET, SSO_KEY)
    driver.handle(SignInRequested(SSO, NEGOTIATE.method))
    assert driver.scheme_of(driver.challenge(SSO_KEY, SSO)) == "negotiate"
    assert not driver.is_prompting


def test_a_profile_that_changes_to_its_own_sign_in_forgets_the_login() -> None:
    driver = new_driver(NEGOTIATE)
    login_id = driver.sign_in()
    driver.handle(ProfileEdited(SSO))
    assert driver.machine.login(login_id) is None
    assert driver.login_id_of(driver.challenge(SSO_KEY, SSO)).space == SSO_KEY


def test_another_method_in_the_profile_is_used_for_the_next_request() -> None:
    driver = new_driver(NTLM, BASIC)
    login_id = driver.sign_in()
    driver.handle(ProfileEdited(replace(OFFICE, method=Method.BASIC)))
    assert driver.machine.trusted_logins() == {}
    request = driver.challenge(profile=replace(OFFICE, method=Method.BASIC), offers=(BASIC,))
    assert (driver.scheme_of(request), driver.login_id_of(request)) == ("basic", login_id)


def test_a_scheme_that_is_not_offered_any_more_is_no_stumble() -> None:
    driver = new_driver(NTLM, BASIC)
    login_id = driver.sign_in()
    driver.challenge(tried=login_id, scheme="ntlm", verdict=UNUSABLE, offers=(BASIC,))
    assert driver.due_prompt.reason is PromptReason.DOWNGRADE
    assert driver.refused() == {}
