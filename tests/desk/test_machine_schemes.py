"""Several schemes at one upstream: which one is used, and when the person is asked instead."""

from dataclasses import replace

import pytest

from tests.desk.play import BASIC, DIGEST, KEY, NEGOTIATE, NTLM, OFFICE, RIGHT, Play
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

SPACE = UpstreamId.of(OFFICE)
UNUSABLE = Verdict(VerdictKind.UNUSABLE, "The library is missing.")
TOO_LARGE = Verdict(VerdictKind.UNUSABLE, "Too large to be signed.", lacks_content=True)
NO_TICKET = Verdict(VerdictKind.NO_TICKET)
ALL = (NEGOTIATE, NTLM, DIGEST, BASIC)
SSO = replace(OFFICE, sign_in=SignIn.SSO, user="")
SSO_KEY = ProtectionSpace(SPACE, "Corp", BY_SSO)


def play(*offers: OfferedScheme, pin: UpstreamFingerprint | None = None) -> Play:
    return Play(offers=offers or ALL, pins={SPACE: pin} if pin else {})


def unusable(at: Play, waiter: int, verdict: Verdict = UNUSABLE, key: ProtectionSpace = KEY) -> int:
    """Let the request that was released come back because its scheme came to nothing."""
    return at.challenge(
        key,
        SSO if key is SSO_KEY else OFFICE,
        tried=at.mark(waiter),
        scheme=at.scheme(waiter),
        verdict=verdict,
    )


# --- The strongest that works ---------------------------------------------------------------------


def test_the_strongest_scheme_on_offer_is_used() -> None:
    at = play()
    (first,) = at.ask()
    assert (at.question.method, at.question.transport) == ("Negotiate", Transport.SCRAMBLED)
    at.enter(RIGHT)
    assert at.scheme(first) == "negotiate"


def test_a_scheme_that_cannot_be_used_gives_way_to_the_next_with_the_same_login() -> None:
    at = play()
    (first,) = at.ask()
    at.enter(RIGHT)
    again = unusable(at, first)
    assert at.scheme(again) == "ntlm"
    assert at.machine.login(at.mark(again)) == RIGHT
    at.accept(again)
    assert at.endings() == ["ACCEPTED"]
    assert at.machine.facts("office").sign_in is SignInState.OK


def test_a_scheme_that_cannot_be_used_is_no_rejection() -> None:
    at = play()
    (first,) = at.ask()
    at.enter(RIGHT)
    again = unusable(at, first)
    assert at.question.rejections == 0
    assert at.mark(again) == at.mark(first)


def test_a_method_accepted_before_that_fails_today_is_not_said_to_be_gone() -> None:
    at = play(NEGOTIATE, NTLM, pin=UpstreamFingerprint("negotiate", ("Corp",)))
    first = at.challenge()
    at.found(RIGHT)
    unusable(at, first)
    question = at.question_due
    assert (question.reason, question.before, question.method) == (
        PromptReason.FALLBACK,
        "Kerberos",
        "NTLM",
    )


def test_a_method_that_works_again_asks_nobody_any_more() -> None:
    at = play(NEGOTIATE, NTLM)
    mark = at.trust()
    for _ in range(3):
        at.challenge(tried=mark, scheme="negotiate", verdict=UNUSABLE)
    assert at.question_due.reason is PromptReason.FALLBACK
    at.wait(60)
    again = at.challenge()
    waiting = at.released()[-1]
    assert at.scheme(waiting) == "negotiate"
    at.accept(waiting)
    assert again in at.released()
    assert at.endings()[-1] == "ACCEPTED"


def test_the_scheme_that_was_accepted_is_kept_to() -> None:
    at = play()
    (first,) = at.ask()
    at.enter(RIGHT)
    again = unusable(at, first)
    at.accept(again)
    at.wait(3600)
    assert at.scheme(at.challenge()) == "ntlm"


def test_a_password_promised_to_be_hidden_is_not_sent_readable_without_asking() -> None:
    at = play(NTLM, BASIC)
    (first,) = at.ask()
    at.enter(RIGHT)
    unusable(at, first)
    assert at.released() == [first]
    question = at.question
    assert (question.reason, question.method, question.before) == (
        PromptReason.FALLBACK,
        "Basic",
        "NTLM",
    )
    at.enter(RIGHT)
    assert at.scheme(at.released()[-1]) == "basic"


def test_a_saved_login_may_go_on_with_basic_at_an_upstream_seen_for_the_first_time() -> None:
    at = play(NTLM, BASIC)
    first = at.challenge()
    at.found(RIGHT)
    assert at.scheme(unusable(at, first)) == "basic"


def test_when_nothing_can_be_used_the_request_is_told_and_the_login_is_kept() -> None:
    at = play(NTLM)
    (first,) = at.ask()
    at.enter(RIGHT)
    again = unusable(at, first)
    assert at.all(SendWithoutLogin) == [SendWithoutLogin(again)]
    bare = at.challenge()
    (refused,) = at.all(RefuseRequest)
    assert (refused.request_id, refused.reason.name) == (bare, "UNUSABLE")
    assert refused.text == "The library is missing."
    at.wait(60)
    assert at.scheme(at.challenge()) == "ntlm"


def test_the_pauses_of_a_scheme_that_cannot_be_used_grow_to_a_quarter_of_an_hour() -> None:
    at = play(NTLM)
    first = at.challenge()
    at.found(RIGHT)
    pauses = []
    for _ in range(4):
        unusable(at, at.released()[-1])
        began = at.now
        while at.challenge() not in at.released():
            at.wait(30)
        pauses.append(at.now - began)
    assert pauses == [60, 300, 900, 900]
    assert first == at.released()[0]


def test_another_network_ends_the_pause_of_a_scheme() -> None:
    at = play(NTLM)
    first = at.challenge()
    at.found(RIGHT)
    unusable(at, first)
    at.do(NetworkChanged())
    assert at.scheme(at.challenge()) == "ntlm"


def test_what_is_offered_is_heard_again_when_a_handshake_ends_in_the_middle() -> None:
    at = play(NTLM, DIGEST)
    (first,) = at.ask()
    at.enter(RIGHT)
    at.challenge(tried=at.mark(first), scheme="ntlm", verdict=UNUSABLE, offers=())
    assert len(at.all(SendWithoutLogin)) == 1
    assert at.scheme(at.challenge()) == "digest"


def test_a_request_whose_407_does_not_offer_the_accepted_scheme_gets_none_of_it() -> None:
    at = play(NTLM, BASIC)
    at.trust()
    waiter = at.challenge(offers=(BASIC,))
    assert waiter not in at.released()
    assert at.question_due.reason is PromptReason.DOWNGRADE


def test_one_stumble_of_a_scheme_that_works_costs_one_request() -> None:
    at = play(NTLM)
    mark = at.trust()
    waiter = at.challenge(tried=mark, scheme="ntlm", verdict=UNUSABLE)
    assert at.refused()[waiter] == "UNUSABLE"
    assert at.machine.is_trusted(mark)
    at.challenge(tried=mark, scheme="ntlm", verdict=UNUSABLE)
    at.challenge(tried=mark, scheme="ntlm", verdict=UNUSABLE)
    assert not at.machine.is_trusted(mark)


def test_uploads_too_large_to_be_signed_cost_only_themselves() -> None:
    at = play(DIGEST)
    mark = at.trust()
    for _ in range(10):
        waiter = at.challenge(tried=mark, scheme=DIGEST.scheme, verdict=TOO_LARGE)
        assert at.refused()[waiter] == "UNUSABLE"
    assert at.machine.is_trusted(mark)


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
    at = play(NEGOTIATE)
    (first,) = at.ask()
    at.enter(RIGHT)
    at.challenge(tried=at.mark(first), scheme="negotiate", verdict=Verdict(kind))
    assert (at.question.reason, at.question.confirm_retry) == (why, hurried)
    assert at.machine.facts("office").sign_in is SignInState.REJECTED


def test_a_final_verdict_on_a_login_that_worked_is_not_taken_for_a_forbidden_address() -> None:
    at = play(NEGOTIATE)
    mark = at.trust()
    rejected = Verdict(VerdictKind.REJECTED)
    at.challenge(tried=mark, scheme="negotiate", verdict=rejected, is_final=True)
    assert at.question_due.reason is PromptReason.SAVED_REJECTED


# --- Less than before (threats T4, T5) ------------------------------------------------------------


def test_basic_in_clear_to_a_proxy_that_took_ntlm_before_is_asked_about() -> None:
    at = play(BASIC, pin=UpstreamFingerprint("ntlm", ("Corp",)))
    at.challenge()
    at.wait(0.15)
    assert at.all(LookUpLogin) == []
    question = at.question
    assert (question.reason, question.before, question.method) == (
        PromptReason.DOWNGRADE,
        "NTLM",
        "Basic",
    )
    assert question.transport is Transport.READABLE


def test_a_weaker_digest_is_less_than_before() -> None:
    at = play(DIGEST, pin=UpstreamFingerprint("digest-sha-256", ("Corp",)))
    at.challenge()
    at.wait(0.15)
    assert (at.question.reason, at.question.before) == (PromptReason.DOWNGRADE, "Digest (SHA-256)")


def test_as_much_as_before_asks_nobody() -> None:
    at = play(NTLM, BASIC, pin=UpstreamFingerprint("ntlm", ("Corp",)))
    first = at.challenge()
    at.found(RIGHT)
    assert at.scheme(first) == "ntlm"


def test_more_than_before_is_used_and_remembered() -> None:
    at = play(NTLM, BASIC, pin=UpstreamFingerprint("basic", ("Corp",)))
    first = at.challenge()
    at.found(RIGHT)
    at.accept(first)
    assert at.all(RecordFingerprint) == [
        RecordFingerprint(SPACE, UpstreamFingerprint("ntlm", ("Corp",)))
    ]


def test_a_person_who_agrees_to_less_is_not_asked_again() -> None:
    at = play(BASIC, pin=UpstreamFingerprint("ntlm", ("Corp",)))
    first = at.challenge()
    at.wait(0.15)
    at.enter(RIGHT)
    at.accept(first)
    assert at.machine.state.fingerprints[SPACE] == UpstreamFingerprint("basic", ("Corp",))


def test_a_method_chosen_in_the_profile_is_agreed_to() -> None:
    at = play(BASIC, pin=UpstreamFingerprint("ntlm", ("Corp",)))
    at.challenge(profile=replace(OFFICE, method=Method.BASIC))
    assert len(at.all(LookUpLogin)) == 1


def test_one_request_that_wants_less_does_not_stop_the_others() -> None:
    at = play(NTLM, BASIC)
    mark = at.trust()
    weak = at.challenge(offers=(BASIC,))
    at.wait(0.15)
    assert at.question.reason is PromptReason.DOWNGRADE
    assert at.machine.is_trusted(mark)
    good = at.challenge()
    assert (at.scheme(good), at.mark(good)) == ("ntlm", mark)
    assert at.question.waiting == 1
    assert at.refused() == {}
    at.leave(weak)
    assert not at.is_asking


# --- Another way for another request --------------------------------------------------------------


PAIRS = [(one, other) for one in ALL for other in ALL if one is not other]


def sent_and_asked_for(at: Play, mark: LoginId, first: OfferedScheme, second: OfferedScheme) -> int:
    """Let a request that was sent by one scheme come back with a 407 that offers only another."""
    return at.challenge(
        tried=mark,
        scheme=first.scheme,
        offers=(second,),
        otherwise=True,
        spent=((mark, first.name),),
    )


@pytest.mark.parametrize(
    ("first", "second"), [(one, other) for one, other in PAIRS if other.strength > one.strength]
)
@pytest.mark.parametrize("faces", [0, 1])
def test_a_stronger_way_is_taken_silently(
    first: OfferedScheme, second: OfferedScheme, faces: int
) -> None:
    at = play(first)
    mark = at.trust()
    at.do(FrontEndsChanged(faces))
    back = sent_and_asked_for(at, mark, first, second)
    assert (at.scheme(back), at.mark(back)) == (second.scheme, mark)
    at.accept(back)
    again = sent_and_asked_for(at, mark, second, first)
    assert at.scheme(again) == first.scheme
    assert (at.refused(), at.is_asking) == ({}, False)


@pytest.mark.parametrize(
    ("first", "second"), [(one, other) for one, other in PAIRS if other.strength < one.strength]
)
class TestAWeakerWay:
    def test_is_asked_about_once_and_then_neither_is_refused(
        self, first: OfferedScheme, second: OfferedScheme
    ) -> None:
        at = play(first)
        mark = at.trust()
        weak = sent_and_asked_for(at, mark, first, second)
        at.wait(0.15)
        assert (at.question.reason, at.question.method) == (
            PromptReason.DOWNGRADE,
            second.method.title,
        )
        assert at.machine.is_trusted(mark)
        at.enter(RIGHT)
        assert at.scheme(weak) == second.scheme
        at.accept(weak)
        new = at.mark(weak)
        strong = sent_and_asked_for(at, new, second, first)
        assert at.scheme(strong) == first.scheme
        at.accept(strong)
        again = sent_and_asked_for(at, new, first, second)
        assert at.scheme(again) == second.scheme
        assert (at.refused(), at.is_asking) == ({}, False)

    def test_is_refused_without_a_person_and_that_says_why(
        self, first: OfferedScheme, second: OfferedScheme
    ) -> None:
        at = play(first)
        mark = at.trust()
        at.do(FrontEndsChanged(0))
        at.wait(60)
        weak = sent_and_asked_for(at, mark, first, second)
        (refused,) = at.all(RefuseRequest)
        assert (refused.request_id, refused.reason.name) == (weak, "WEAKER")
        assert f"by {second.method.title} " in refused.text
        assert at.machine.is_trusted(mark)

    def test_is_left_alone_for_a_while_when_the_person_declines(
        self, first: OfferedScheme, second: OfferedScheme
    ) -> None:
        at = play(first)
        mark = at.trust()
        weak = sent_and_asked_for(at, mark, first, second)
        at.wait(0.15)
        at.decline()
        later = sent_and_asked_for(at, mark, first, second)
        assert at.refused() == {weak: "DECLINED", later: "WEAKER"}
        assert at.machine.is_trusted(mark)
        assert at.mark(at.challenge()) == mark
        at.wait(60)
        sent_and_asked_for(at, mark, first, second)
        assert at.question_due.reason is PromptReason.DOWNGRADE

    def test_is_not_waited_for_when_the_last_face_goes(
        self, first: OfferedScheme, second: OfferedScheme
    ) -> None:
        at = play(first)
        mark = at.trust()
        weak = sent_and_asked_for(at, mark, first, second)
        at.wait(0.15)
        at.do(FrontEndsChanged(0))
        at.wait(30)
        assert at.refused() == {weak: "WEAKER"}
        assert not at.is_asking


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_way_that_is_not_offered_again_is_no_verdict_on_a_login_on_trial(
    first: OfferedScheme, second: OfferedScheme
) -> None:
    at = play(first)
    waiter = at.challenge()
    at.found(RIGHT)
    back = sent_and_asked_for(at, at.mark(waiter), first, second)
    assert at.scheme(back) == second.scheme
    assert at.all(RecordRejection) == []
    at.accept(back)
    assert at.machine.facts("office").sign_in is SignInState.OK


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_what_was_sent_and_is_offered_again_is_forbidden(
    first: OfferedScheme, second: OfferedScheme
) -> None:
    at = play(first, second)
    mark = at.trust()
    both = ((mark, first.name), (mark, second.name))
    told = at.challenge(
        tried=mark, scheme=second.scheme, offers=(first,), otherwise=True, spent=both
    )
    assert at.refused() == {told: "FORBIDDEN"}
    assert at.machine.is_trusted(mark)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_login_on_trial_is_sent_once_by_each_way(
    first: OfferedScheme, second: OfferedScheme
) -> None:
    at = play(first)
    waiter = at.challenge()
    at.found(RIGHT)
    mark = at.mark(waiter)
    sent_and_asked_for(at, mark, first, second)
    both = ((mark, first.name), (mark, second.name))
    at.challenge(tried=mark, scheme=second.scheme, offers=(first,), otherwise=True, spent=both)
    assert len(at.released()) == 2
    assert at.question_due.reason is PromptReason.SAVED_REJECTED


def test_a_login_on_trial_is_asked_for_otherwise_three_times_at_most() -> None:
    at = play(NTLM)
    for _ in range(10):
        at.challenge()
    at.found(RIGHT)
    for _ in range(3):
        mark = at.mark(at.released()[-1])
        at.challenge(tried=mark, scheme="ntlm", offers=(BASIC,), otherwise=True, own=True)
        at.machine.state.spaces[KEY].parked.popitem()
    assert len(at.released()) == 3


def test_the_strongest_way_that_was_accepted_is_sent_unasked() -> None:
    at = play(BASIC)
    mark = at.trust()
    at.accept(sent_and_asked_for(at, mark, BASIC, NTLM))
    at.accept(sent_and_asked_for(at, mark, NTLM, BASIC))
    assert at.machine.login_scheme(mark) == ("ntlm", "ntlm")


def test_a_407_without_a_realm_is_about_the_realm_that_is_known() -> None:
    at = play(BASIC)
    mark = at.trust()
    waiter = at.challenge(replace(KEY, realm=""), offers=(NTLM,))
    assert (at.scheme(waiter), at.mark(waiter)) == ("ntlm", mark)
    assert len(at.machine.state.spaces) == 1


def test_a_login_from_the_menu_does_not_go_to_an_upstream_that_offers_less() -> None:
    at = play(BASIC, pin=UpstreamFingerprint("ntlm", ("Corp",)))
    at.do(SignInRequested(OFFICE, BASIC.method))
    at.enter(RIGHT)
    at.challenge()
    assert at.released() == []
    assert at.question_due.reason is PromptReason.DOWNGRADE


# --- Another realm --------------------------------------------------------------------------------


def test_another_realm_than_in_an_earlier_run_is_asked_about() -> None:
    at = play(BASIC, pin=UpstreamFingerprint("basic", ("Headquarters",)))
    first = at.challenge()
    at.wait(0.15)
    assert at.all(LookUpLogin) == []
    assert (at.question.reason, at.question.before) == (PromptReason.REALM_CHANGED, "Headquarters")
    at.enter(RIGHT)
    at.accept(first)
    assert at.machine.state.fingerprints[SPACE].realms[0] == "Corp"


def test_with_nobody_to_ask_the_refusal_names_the_realm_that_changed() -> None:
    at = play(BASIC, pin=UpstreamFingerprint("basic", ("Headquarters",)))
    at.do(FrontEndsChanged(0))
    at.wait(31)
    waiter = at.challenge()
    assert at.refused() == {waiter: "WEAKER"}


def test_the_first_realm_is_believed_and_remembered() -> None:
    at = play(BASIC)
    at.trust()
    assert at.all(RecordFingerprint) == [
        RecordFingerprint(SPACE, UpstreamFingerprint("basic", ("Corp",)))
    ]


@pytest.mark.parametrize("faces", [0, 1])
def test_another_realm_that_asks_in_a_stronger_way_gets_the_accepted_login(faces: int) -> None:
    """The upstream has had the password itself already."""
    at = play(BASIC)
    at.trust()
    at.do(FrontEndsChanged(faces))
    waiter = at.challenge(replace(KEY, realm="Other"), offers=(DIGEST,))
    assert (at.scheme(waiter), at.machine.login(at.mark(waiter))) == ("digest", RIGHT)
    at.accept(waiter)
    weaker = at.challenge(replace(KEY, realm="Third"), offers=(BASIC,))
    assert weaker not in at.released()


def test_two_realms_with_the_same_login_are_both_known_from_then_on() -> None:
    other = replace(KEY, realm="Other")
    at = play(BASIC)
    at.trust()
    at.challenge(other)
    at.wait(0.15)
    assert at.question.reason is PromptReason.REALM_CHANGED
    at.enter(RIGHT)
    at.accept(at.released()[-1])
    assert at.machine.state.fingerprints[SPACE] == UpstreamFingerprint("basic", ("Other", "Corp"))
    later = play(BASIC, pin=UpstreamFingerprint("basic", ("Other", "Corp")))
    for key in (KEY, other):
        waiter = later.challenge(key)
        later.found(RIGHT)
        later.accept(waiter)
    assert not later.is_asking


def test_a_realm_with_another_login_takes_the_place_of_the_first() -> None:
    at = play(BASIC)
    at.trust()
    at.challenge(replace(KEY, realm="Other"))
    at.wait(0.15)
    at.enter(replace(RIGHT, user="somebody else"))
    at.accept(at.released()[-1])
    assert at.machine.state.fingerprints[SPACE].realms == ("Other",)


def test_forgetting_the_login_forgets_who_the_upstream_was() -> None:
    at = play(BASIC, pin=UpstreamFingerprint("ntlm", ("Corp",)))
    at.do(LoginsForgotten("office"))
    assert at.all(ClearHistory) == [ClearHistory("office")]
    at.challenge()
    assert len(at.all(LookUpLogin)) == 1


# --- One's own sign-in ----------------------------------------------------------------------------


def sso(*offers: OfferedScheme) -> Play:
    return Play(offers=offers or (NEGOTIATE, NTLM))


def test_ones_own_sign_in_asks_neither_keyring_nor_person() -> None:
    at = sso()
    first, second = (at.challenge(SSO_KEY, SSO) for _ in range(2))
    assert at.released() == [first]
    assert at.machine.login(at.mark(first)) is None
    at.accept(first)
    assert at.released() == [first, second]
    assert at.all(LookUpLogin) == []
    assert at.machine.facts("office").sign_in is SignInState.OK


def test_a_missing_ticket_is_told_and_looked_for_every_few_seconds() -> None:
    at = sso(NEGOTIATE)
    first = at.challenge(SSO_KEY, SSO)
    unusable(at, first, NO_TICKET, SSO_KEY)
    told = at.challenge(SSO_KEY, SSO)
    assert at.refused()[told] == "NO_TICKET"
    assert at.machine.facts("office").sign_in is SignInState.NEEDED
    assert [trouble.reason.name for trouble in at.machine.troubles()] == ["NO_TICKET"]
    assert not at.is_asking
    at.wait(5)
    later = at.challenge(SSO_KEY, SSO)
    at.accept(later)
    assert at.machine.facts("office").sign_in is SignInState.OK
    assert at.machine.troubles() == ()


UNREACHABLE = Verdict(VerdictKind.SERVER_UNREACHABLE)
SILENT = Verdict(VerdictKind.UNUSABLE, "It does not answer.", is_transient=True)


@pytest.mark.parametrize("verdict", [UNREACHABLE, SILENT])
def test_a_sign_in_server_that_cannot_be_reached_is_tried_again_every_few_seconds(
    verdict: Verdict,
) -> None:
    """However long it has been away: it is used within 5 s when it is back."""
    at = sso(NEGOTIATE)
    first = at.challenge(SSO_KEY, SSO)
    unusable(at, first, verdict, SSO_KEY)
    for _ in range(100):
        told = at.challenge(SSO_KEY, SSO)
        assert told in at.refused()
        at.wait(3)
        waiter = at.challenge(SSO_KEY, SSO)
        assert waiter in at.released()
        unusable(at, waiter, verdict, SSO_KEY)
    at.wait(3)
    at.accept(at.challenge(SSO_KEY, SSO))
    assert at.machine.troubles() == ()


def test_a_password_waits_for_a_sign_in_server_and_nobody_is_asked() -> None:
    at = play(NEGOTIATE)
    (first,) = at.ask()
    at.enter(RIGHT)
    unusable(at, first, UNREACHABLE)
    told = at.challenge()
    assert at.refused()[told] == "SERVER_UNREACHABLE"
    at.wait(3)
    at.accept(at.challenge())
    assert not at.is_asking
    assert not at.all(RecordRejection)


def test_a_sign_in_server_that_goes_away_is_not_blamed_on_a_request() -> None:
    at = play(NEGOTIATE)
    mark = at.trust()
    at.challenge(tried=mark, scheme=NEGOTIATE.scheme, verdict=UNREACHABLE)
    told = at.challenge()
    assert at.refused()[told] == "SERVER_UNREACHABLE"
    at.wait(3)
    at.accept(at.challenge())
    assert at.machine.is_trusted(mark)


def test_a_ticket_that_expires_is_told_and_recovers() -> None:
    at = sso(NEGOTIATE)
    first = at.challenge(SSO_KEY, SSO)
    at.accept(first)
    unusable(at, first, NO_TICKET, SSO_KEY)
    told = at.challenge(SSO_KEY, SSO)
    assert at.refused()[told] == "NO_TICKET"
    at.wait(5)
    assert at.scheme(at.challenge(SSO_KEY, SSO)) == "negotiate"


def test_ones_own_sign_in_that_is_rejected_is_left_alone_for_a_while() -> None:
    at = sso(NEGOTIATE)
    first = at.challenge(SSO_KEY, SSO)
    back = at.challenge(SSO_KEY, SSO, tried=at.mark(first), scheme="negotiate")
    assert at.refused()[back] == "NOT_ACCEPTED"
    told = at.challenge(SSO_KEY, SSO)
    assert at.refused()[told] == "NOT_ACCEPTED"
    at.wait(60)
    assert len(at.released()) == 1
    at.challenge(SSO_KEY, SSO)
    assert len(at.released()) == 2


def test_ones_own_sign_in_is_not_sent_where_less_is_offered_than_before() -> None:
    at = Play(offers=(NTLM,), pins={SPACE: UpstreamFingerprint("negotiate", ("Corp",))})
    waiter = at.challenge(SSO_KEY, SSO)
    assert at.refused() == {waiter: "WEAKER"}
    assert at.released() == []


def test_another_realm_does_not_keep_ones_own_sign_in_from_its_host() -> None:
    at = Play(
        offers=(NEGOTIATE,), pins={SPACE: UpstreamFingerprint("negotiate", ("Headquarters",))}
    )
    assert at.scheme(at.challenge(SSO_KEY, SSO)) == "negotiate"


def test_why_no_scheme_can_be_used_is_told_for_a_password_too() -> None:
    at = play(NTLM)
    (first,) = at.ask()
    at.enter(RIGHT)
    unusable(at, first)
    at.challenge()
    (trouble,) = at.machine.troubles()
    assert (trouble.reason.name, trouble.text) == ("UNUSABLE", "The library is missing.")
    at.wait(60)
    at.accept(at.challenge())
    assert at.machine.troubles() == ()


def test_try_again_looks_for_a_ticket_at_once() -> None:
    at = sso(NEGOTIATE)
    first = at.challenge(SSO_KEY, SSO)
    unusable(at, first, NO_TICKET, SSO_KEY)
    at.do(SignInRequested(SSO, NEGOTIATE.method))
    assert at.scheme(at.challenge(SSO_KEY, SSO)) == "negotiate"
    assert not at.is_asking


def test_a_profile_that_changes_to_its_own_sign_in_forgets_the_login() -> None:
    at = play(NEGOTIATE)
    mark = at.trust()
    at.do(ProfileEdited(SSO))
    assert at.machine.login(mark) is None
    assert at.mark(at.challenge(SSO_KEY, SSO)).space == SSO_KEY


def test_another_method_in_the_profile_is_used_for_the_next_request() -> None:
    at = play(NTLM, BASIC)
    mark = at.trust()
    at.do(ProfileEdited(replace(OFFICE, method=Method.BASIC)))
    assert at.machine.trusted_logins() == {}
    waiter = at.challenge(profile=replace(OFFICE, method=Method.BASIC), offers=(BASIC,))
    assert (at.scheme(waiter), at.mark(waiter)) == ("basic", mark)


def test_a_scheme_that_is_not_offered_any_more_is_no_stumble() -> None:
    at = play(NTLM, BASIC)
    mark = at.trust()
    at.challenge(tried=mark, scheme="ntlm", verdict=UNUSABLE, offers=(BASIC,))
    assert at.question_due.reason is PromptReason.DOWNGRADE
    assert at.refused() == {}
