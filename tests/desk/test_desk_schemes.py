"""Tests for trayproxy.desk.desk: several schemes, own requests and the history."""

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import Future as ThreadFuture
from dataclasses import dataclass, field, replace

import pytest

from tests.desk.machine_driver import OFFICE
from tests.desk.test_desk import (
    DeskHarness,
    OutcomeFuture,
    SkippingLoop,
    credentials_in,
    refusal_in,
)
from tests.support.stub_scheme import StubScheme
from tests.support.values import RIGHT, WRONG
from trayproxy.auth.basic import Basic, basic_credentials
from trayproxy.auth.login import Login, LoginError
from trayproxy.auth.scheme import Authenticator, ConstantAuthenticator, Scheme, Verdict, VerdictKind
from trayproxy.desk.broker import Accepted, SilentUpstream
from trayproxy.desk.credentials import Credentials, PendingRequest, Refusal
from trayproxy.desk.desk import Desk
from trayproxy.desk.history import HistoryChange, HistoryRecord
from trayproxy.desk.machine.events import (
    CancelTrial,
    ClearHistory,
    ClearRejection,
    RecordFingerprint,
    RecordRejection,
)
from trayproxy.desk.protection_space import UpstreamFingerprint, UpstreamId
from trayproxy.desk.rejected_logins import RejectedLogins
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import Ending, PromptReason, SignInState
from trayproxy.http.challenges import Challenge, parse_challenges
from trayproxy.profiles.profile import Encoding, Method, Profile, SignIn, Upstream

SPACE = UpstreamId.of(OFFICE)
SSO = replace(OFFICE, sign_in=SignIn.SSO, user="")
GET_TICKET = replace(SSO, get_ticket=True)
ALL = 'Negotiate, NTLM, Basic realm="Corp"'
UNUSABLE = Verdict(VerdictKind.UNUSABLE, "Install the extra “kerberos”.")
NO_TICKET = Verdict(VerdictKind.NO_TICKET)


@dataclass
class Ticket(StubScheme):
    """A scheme like NTLM or Negotiate, without their handshakes."""

    broken: bool = False

    def check(self, login: Login) -> None:
        if "@" in login.user:
            raise LoginError("No @ here.")

    def authenticator(self, challenge: Challenge, login: Login | None, host: str) -> Authenticator:
        if self.broken:
            raise LoginError("It needs a login.")
        return ConstantAuthenticator(
            f"{self.title} {login.user if login else 'me'} {host}".encode()
        )


NEGOTIATE = Ticket(name="negotiate", title="Negotiate", family="negotiate")
NTLM = Ticket(name="ntlm", title="NTLM", family="ntlm")
WRAPPED = Ticket(name="negotiate", title="NTLM in Negotiate", family="ntlm")


@dataclass
class FakeHistory:
    """A history without a file."""

    fingerprints: Mapping[UpstreamId, UpstreamFingerprint] = field(default_factory=dict)
    rejected: RejectedLogins = field(default_factory=lambda: RejectedLogins(bytes(16)))
    rejected_before: set[Login] = field(default_factory=set)
    """The logins rejected in earlier runs."""
    calls: list[tuple[str, object]] = field(default_factory=list)
    closed: bool = False
    hangs: bool = False
    """The folder of the state does not answer."""

    def rejecting_profile(self, space: UpstreamId, login: Login) -> ThreadFuture[str | None]:
        known: ThreadFuture[str | None] = ThreadFuture()
        known.set_result(space.profile_id if login in self.rejected_before else None)
        return known

    def set_addresses(self, space: UpstreamId, addresses: tuple[str, ...]) -> None:
        self.calls.append(("found at", addresses))

    def begin_trial(
        self, space: UpstreamId, login: Login, *, retry_rejected: bool, is_automatic: bool = False
    ) -> ThreadFuture[HistoryRecord]:
        found: ThreadFuture[HistoryRecord] = ThreadFuture()
        if self.hangs:
            return found
        found.set_result(
            HistoryRecord(is_rejected=login in self.rejected_before and not retry_rejected)
        )
        return found

    def update(self, change: HistoryChange) -> None:
        match change:
            case CancelTrial(_, login):
                self.calls.append(("spare", login))
            case RecordRejection(_, login):
                self.calls.append(("rejected", login))
            case ClearRejection(_, login):
                self.calls.append(("accepted", login))
            case RecordFingerprint(_, fingerprint):
                self.calls.append(("pin", fingerprint))
            case ClearHistory(profile_id):
                self.calls.append(("forget", profile_id))

    def close(self) -> None:
        self.closed = True


@dataclass
class SchemesHarness(DeskHarness):
    """A desk whose upstream offers more than Basic."""

    schemes: tuple[Scheme, ...] = (NEGOTIATE, NTLM, WRAPPED, Basic())
    history: FakeHistory = field(default_factory=FakeHistory)
    installed: frozenset[str] = frozenset({"negotiate", "ntlm", "basic"})
    password: str = RIGHT.password
    reaches: bool = True
    own_targets: list[str] = field(default_factory=list)
    own_offers: str = ALL
    """The challenges in a 407 to an own request."""

    def __post_init__(self) -> None:
        self.desk = Desk(
            store=self.store,
            listener=self.listener,
            loop=self.loop,
            schemes=self.schemes,
            history=self.history,
            is_installed=self.installed.__contains__,
        )
        self.desk.set_front_end_count(1)

    def back(
        self,
        credentials: Credentials,
        verdict: Verdict,
        challenges: str = "",
        profile: Profile = OFFICE,
    ) -> OutcomeFuture:
        """Report a refused request with a verdict to the desk."""
        offered = parse_challenges([challenges.encode()] if challenges else [])
        pending = PendingRequest("github.com:443")
        return self.desk.broker.challenged(SPACE, profile, offered, pending, credentials, verdict)

    async def try_own(self, profile: Profile, target: str) -> bool:
        """Act as an own request to a proxy that accepts a single password."""
        self.own_targets.append(target)
        if not self.reaches:
            raise ConnectionError
        offered, tried = parse_challenges([self.own_offers.encode()]), None
        while True:
            pending = PendingRequest(target or "example.com:80", is_own=True)
            outcome = await self.desk.broker.challenged(
                UpstreamId.of(profile), profile, offered, pending, tried
            )
            if isinstance(outcome, Refusal):
                return True
            assert outcome
            if outcome.login is None or outcome.login.password == self.password:
                self.desk.broker.report(outcome, Accepted())
                return True
            tried = outcome

    def close(self) -> None:
        self.desk.close()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()
        assert self.loop.errors == []

    def save(self, login: Login) -> Problem | None:
        async def saved() -> Problem | None:
            return await self.desk.save_login(OFFICE, login)

        return self.loop.run_until_complete(saved())


@pytest.fixture
def harness() -> Iterator[SchemesHarness]:
    loop = SkippingLoop()
    harness = SchemesHarness(loop)
    yield harness
    harness.close()


# --- Choice of the scheme -------------------------------------------------------------------------


def send_request(harness: SchemesHarness, offered: str = ALL) -> OutcomeFuture:
    future = harness.challenge(challenges=offered)
    harness.wait()
    return future


def test_the_strongest_scheme_uses_the_name_of_the_upstream_r_127(harness: SchemesHarness) -> None:
    future = send_request(harness)
    assert harness.listener.prompt.method == "Negotiate"
    harness.type_login()
    credentials = credentials_in(future)
    assert credentials.scheme is NEGOTIATE
    assert credentials.label == "negotiate"
    assert credentials.header_value(b"GET", b"/") == b"Negotiate jdoe proxy.example"


def test_the_second_of_two_schemes_with_the_same_name_is_tried_next(
    harness: SchemesHarness,
) -> None:
    future = send_request(harness, "Negotiate")
    harness.type_login()
    again = harness.back(credentials_in(future), UNUSABLE, "Negotiate")
    assert credentials_in(again).scheme is WRAPPED


def test_the_scheme_does_not_change_the_protection_space(harness: SchemesHarness) -> None:
    future = send_request(harness)
    assert harness.listener.prompt.realm == "Corp"
    harness.type_login()
    first = credentials_in(future)
    second = credentials_in(harness.back(first, UNUSABLE, ALL))
    assert (second.scheme, second.login_id) == (NTLM, first.login_id)


def test_a_verdict_without_challenges_causes_a_request_without_a_login(
    harness: SchemesHarness,
) -> None:
    future = send_request(harness)
    harness.type_login()
    assert harness.back(credentials_in(future), UNUSABLE).result() is None
    assert credentials_in(harness.challenge(challenges=ALL)).scheme is NTLM


def test_a_rejection_without_challenges_rejects_the_tried_login(harness: SchemesHarness) -> None:
    future = send_request(harness, 'Basic realm="Corp"')
    harness.type_login(WRONG)
    again = harness.back(credentials_in(future), Verdict(VerdictKind.REJECTED))
    harness.wait()
    assert harness.listener.prompt.reason is PromptReason.TYPED_REJECTED
    harness.type_login(RIGHT)
    assert credentials_in(again).login == RIGHT


def test_a_scheme_without_a_authenticator_is_skipped() -> None:
    loop = SkippingLoop()
    harness = SchemesHarness(loop, schemes=(replace(NEGOTIATE, broken=True), NTLM))
    future = send_request(harness)
    harness.type_login()
    harness.wait()
    assert credentials_in(future).scheme is NTLM
    harness.close()


def test_a_client_disconnecting_before_its_release_costs_nothing() -> None:
    loop = SkippingLoop()
    harness = SchemesHarness(loop, schemes=(replace(NEGOTIATE, broken=True), NTLM))
    future = send_request(harness)
    harness.type_login()
    future.cancel()
    harness.wait()
    future = harness.challenge(challenges=ALL)
    harness.wait()
    assert credentials_in(future).scheme is NTLM
    harness.close()


def test_only_the_method_of_the_profile_is_used(harness: SchemesHarness) -> None:
    basic = replace(OFFICE, method=Method.BASIC)
    future = harness.challenge(profile=basic, challenges=ALL)
    harness.wait()
    assert harness.listener.prompt.method == "Basic"
    harness.type_login()
    assert credentials_in(future).scheme == Basic()
    only = replace(OFFICE, id="other", method=Method.DIGEST)
    assert refusal_in(harness.challenge(profile=only, challenges=ALL)).problem.id == "TP-303"


def test_an_uninstalled_scheme_is_skipped_if_another_is_offered() -> None:
    loop = SkippingLoop()
    harness = SchemesHarness(loop, installed=frozenset({"ntlm", "basic"}))
    send_request(harness)
    assert harness.listener.prompt.method == "NTLM"
    alone = send_request(harness, 'Negotiate realm="x"')
    assert not alone.done()
    harness.close()


def test_an_unusable_scheme_is_reported_with_advice(harness: SchemesHarness) -> None:
    future = send_request(harness, "NTLM")
    harness.type_login()
    assert harness.back(credentials_in(future), UNUSABLE).result() is None
    problem = refusal_in(harness.challenge(challenges="NTLM")).problem
    assert problem.id == "TP-303"
    assert problem.body.startswith("Install the extra “kerberos”.")


def test_a_user_name_invalid_for_a_scheme_may_fit_another_scheme(harness: SchemesHarness) -> None:
    future = send_request(harness)
    assert harness.desk.answer_prompt(1, Login("jdoe@corp", "x"), remember=False) is not None
    assert not future.done()
    loop_login = Login("a:b", "x")
    assert harness.desk.answer_prompt(1, loop_login, remember=False) is None


def test_alternating_challenges_end_with_a_refusal(harness: SchemesHarness) -> None:
    """No login was sent, so nothing is known about it; but the proxy could continue forever."""
    pending = PendingRequest("github.com:443")

    def challenged(offered: str, tried: Credentials | None = None) -> OutcomeFuture:
        challenges = parse_challenges([offered.encode()])
        verdict = UNUSABLE if tried else None
        future = harness.desk.broker.challenged(SPACE, OFFICE, challenges, pending, tried, verdict)
        harness.wait()
        return future

    future = challenged("NTLM")
    harness.type_login()
    first = credentials_in(future)
    second = credentials_in(challenged("Negotiate", first))
    assert (first.scheme, second.scheme) == (NTLM, NEGOTIATE)
    third = challenged("NTLM", second)
    assert not third.done() or isinstance(third.result(), Refusal)


# --- The own sign-in ------------------------------------------------------------------------------


def test_the_own_sign_in_is_used_without_a_prompt(harness: SchemesHarness) -> None:
    credentials = credentials_in(harness.challenge(profile=SSO, challenges=ALL))
    assert (credentials.login, credentials.scheme) == (None, NEGOTIATE)
    assert credentials.header_value(b"GET", b"/") == b"Negotiate me proxy.example"
    harness.desk.broker.report(credentials, Accepted())
    known = harness.desk.broker.known(SPACE)
    assert known is not None
    assert (known.login_id, known.authenticator) == (
        credentials.login_id,
        credentials.authenticator,
    )
    harness.wait()
    assert harness.listener.prompts == []
    assert harness.store.lookups == []
    assert harness.desk.facts("office").sign_in is SignInState.OK


def test_the_own_sign_in_is_not_doubted_while_its_upstream_is_silent(
    harness: SchemesHarness,
) -> None:
    """The own sign-in has no password that could be wrong."""
    harness.desk.broker.report(
        credentials_in(harness.challenge(profile=SSO, challenges=ALL)), Accepted()
    )
    known = harness.desk.broker.known(SPACE)
    assert known is not None
    harness.desk.broker.report(known, SilentUpstream(2))
    assert known.is_recently_accepted


def test_the_own_sign_in_is_never_basic(harness: SchemesHarness) -> None:
    told = refusal_in(harness.challenge(profile=SSO, challenges='Basic realm="Corp"'))
    assert told.problem.id == "TP-303"


def test_a_missing_ticket_causes_a_notice_until_it_is_there(harness: SchemesHarness) -> None:
    credentials = credentials_in(harness.challenge(profile=SSO, challenges="Negotiate"))
    for scheme in (NEGOTIATE, WRAPPED):
        assert credentials.scheme is scheme
        outcome = harness.back(credentials, NO_TICKET, "Negotiate", SSO).result()
        credentials = outcome if isinstance(outcome, Credentials) else credentials
    assert outcome is None
    told = refusal_in(harness.challenge(profile=SSO, challenges="Negotiate"))
    assert (told.problem.id, told.retry_after) == ("TP-305", 5)
    assert [problem.id for problem in harness.desk.notices] == ["TP-305"]
    assert harness.desk.sign_in_now(SSO) is None
    harness.desk.broker.report(
        credentials_in(harness.challenge(profile=SSO, challenges="Negotiate")), Accepted()
    )
    assert harness.desk.notices == ()


def test_without_a_ticket_a_password_gets_one_for_all_waiting_requests(
    harness: SchemesHarness,
) -> None:
    own = credentials_in(harness.challenge(profile=GET_TICKET, challenges=ALL))
    assert (own.login, own.scheme.title) == (None, "Kerberos")
    others = [harness.challenge(profile=GET_TICKET, challenges=ALL) for _ in range(3)]
    first = harness.back(own, NO_TICKET, ALL, GET_TICKET)
    harness.wait()
    assert [prompt.method for prompt in harness.listener.prompts][-1:] == ["Kerberos"]
    harness.desk.answer_prompt(1, RIGHT, remember=True)
    harness.wait()
    (canary,) = (future for future in (first, *others) if future.done())
    sent = credentials_in(canary)
    assert (sent.login, sent.scheme.title) == (RIGHT, "Kerberos")
    harness.desk.broker.report(sent, Accepted())
    assert {credentials_in(future).login for future in (first, *others)} == {RIGHT}
    assert harness.store.saved == [RIGHT]


def test_a_ticket_that_ends_is_replaced_by_one_for_the_saved_password(
    harness: SchemesHarness,
) -> None:
    harness.store.login = RIGHT
    own = credentials_in(harness.challenge(profile=GET_TICKET, challenges="Negotiate"))
    harness.desk.broker.report(own, Accepted())
    ended = Verdict(VerdictKind.TICKET_EXPIRED)
    assert harness.back(own, ended, "", GET_TICKET).result() is None
    again = harness.challenge(profile=GET_TICKET, challenges="Negotiate")
    harness.wait()
    assert credentials_in(again).login == RIGHT
    assert harness.listener.prompts == []
    assert harness.desk.notices == ()


def test_a_rejected_password_gets_no_second_ticket_but_a_new_ticket_of_the_user_is_used(
    harness: SchemesHarness,
) -> None:
    harness.desk.set_front_end_count(0)
    harness.wait(60)  # A front end may come back for some time.
    harness.store.login = WRONG
    own = credentials_in(harness.challenge(profile=GET_TICKET, challenges="Negotiate"))
    future = harness.back(own, NO_TICKET, "Negotiate", GET_TICKET)
    harness.wait()
    wrong = credentials_in(future)
    assert wrong.login == WRONG
    rejected = harness.back(wrong, Verdict(VerdictKind.REJECTED), "", GET_TICKET)
    harness.wait()
    assert refusal_in(rejected).problem.id in ("TP-301", "TP-302")
    for _ in range(2):
        harness.wait(60)
        own = credentials_in(harness.challenge(profile=GET_TICKET, challenges="Negotiate"))
        assert own.login is None
        again = harness.back(own, NO_TICKET, "Negotiate", GET_TICKET)
        harness.wait()
        assert refusal_in(again).problem.id in ("TP-301", "TP-302")
    harness.wait(60)
    own = credentials_in(harness.challenge(profile=GET_TICKET, challenges="Negotiate"))
    harness.desk.broker.report(own, Accepted())
    assert harness.desk.broker.known(SPACE) is not None


def test_a_profile_that_gets_a_ticket_takes_a_password_unless_there_is_a_ticket(
    harness: SchemesHarness,
) -> None:
    own = credentials_in(harness.challenge(profile=GET_TICKET, challenges="Negotiate"))
    harness.desk.broker.report(own, Accepted())
    assert harness.desk.preload(GET_TICKET, RIGHT) is None
    again = credentials_in(harness.challenge(profile=GET_TICKET, challenges="Negotiate"))
    assert again.login is None
    ended = harness.back(again, Verdict(VerdictKind.TICKET_EXPIRED), "Negotiate", GET_TICKET)
    harness.wait()
    assert credentials_in(ended).login == RIGHT
    assert harness.store.lookups == []


def test_an_upstream_without_a_common_scheme_causes_a_notice_until_it_offers_a_common_scheme(
    harness: SchemesHarness,
) -> None:
    told = refusal_in(harness.challenge(challenges="Unheard-of"))
    assert told.problem.id == "TP-303"
    assert harness.desk.facts("office").sign_in is SignInState.UNUSABLE
    assert list(harness.desk.notices) == [told.problem]
    harness.challenge(challenges='Basic realm="Corp"')
    assert harness.desk.facts("office").sign_in is not SignInState.UNUSABLE
    assert list(harness.desk.notices) == []


@pytest.mark.parametrize(
    ("kind", "problem_id", "title"),
    [
        (VerdictKind.NO_TICKET, "TP-305", "You have no Kerberos ticket"),
        (VerdictKind.TICKET_EXPIRED, "TP-305", "Your Kerberos ticket has expired"),
        (VerdictKind.SERVER_UNREACHABLE, "TP-303", "The sign-in server cannot be reached"),
        (VerdictKind.UNKNOWN_PROXY, "TP-303", "The sign-in server does not know this proxy"),
        (VerdictKind.UNKNOWN_USER, "TP-303", "The sign-in server does not know this user"),
        (VerdictKind.UNUSABLE, "TP-303", "No common way to sign in"),
    ],
)
def test_each_reason_why_kerberos_gives_no_token_has_its_own_title(
    harness: SchemesHarness, kind: VerdictKind, problem_id: str, title: str
) -> None:
    credentials = credentials_in(harness.challenge(profile=SSO, challenges="Negotiate"))
    for _ in range(2):  # The ticket alone, and inside Negotiate.
        outcome = harness.back(credentials, Verdict(kind), "Negotiate", SSO).result()
        credentials = outcome if isinstance(outcome, Credentials) else credentials
    told = refusal_in(harness.challenge(profile=SSO, challenges="Negotiate")).problem
    assert (told.id, told.title) == (problem_id, title)
    assert [notice.title for notice in harness.desk.notices] == [title]


def test_an_expired_ticket_is_reported_even_if_ntlm_is_offered(harness: SchemesHarness) -> None:
    credentials = credentials_in(harness.challenge(profile=SSO, challenges="Negotiate"))
    harness.desk.broker.report(credentials, Accepted())
    told = refusal_in(harness.back(credentials, NO_TICKET, "Negotiate", SSO))
    assert told.problem.id == "TP-305"
    assert [problem.id for problem in harness.desk.notices] == ["TP-305"]


def test_a_profile_with_the_own_sign_in_takes_no_password(harness: SchemesHarness) -> None:
    problem = harness.desk.preload(SSO, RIGHT)
    assert problem
    assert problem.title == "This profile uses no password"


# --- Own requests ---------------------------------------------------------------------------------


def test_a_password_is_saved_once_it_was_accepted(harness: SchemesHarness) -> None:
    harness.desk.send_own_request = harness.try_own
    assert harness.save(RIGHT) is None
    assert harness.store.saved == [RIGHT]
    assert harness.desk.broker.known(SPACE) is not None


def test_a_wrong_password_is_not_saved_and_reported(harness: SchemesHarness) -> None:
    harness.desk.send_own_request = harness.try_own
    problem = harness.save(WRONG)
    assert problem
    assert problem.id == "TP-302"
    assert harness.store.saved == []
    assert harness.history.calls == [("rejected", WRONG)]


def test_a_wrong_password_does_not_replace_a_working_password_in_the_keyring(
    harness: SchemesHarness,
) -> None:
    harness.desk.send_own_request = harness.try_own
    assert harness.save(RIGHT) is None
    assert harness.save(WRONG) is not None
    assert harness.store.saved == [RIGHT]


def test_an_unverified_password_is_reported(harness: SchemesHarness) -> None:
    harness.desk.send_own_request, harness.reaches = harness.try_own, False
    problem = harness.save(RIGHT)
    assert problem
    assert problem.id == "TP-307"
    assert harness.store.saved == []
    harness.desk.broker.report(credentials_in(harness.challenge(challenges=ALL)), Accepted())
    assert harness.store.saved == [RIGHT]


def test_a_password_refused_by_the_keyring_is_reported_and_works(harness: SchemesHarness) -> None:
    harness.desk.send_own_request = harness.try_own
    harness.store.problem = Problem("TP-404", "The password could not be saved", "It said no.")
    problem = harness.save(RIGHT)
    assert problem
    assert problem.id == "TP-404"
    assert harness.desk.broker.known(SPACE) is not None


def test_a_second_password_to_be_saved_replaces_the_first(harness: SchemesHarness) -> None:
    harness.desk.send_own_request = harness.try_own
    first = harness.desk.save_login(OFFICE, WRONG)
    second = harness.desk.save_login(OFFICE, RIGHT)
    harness.wait()
    assert first.done()
    assert second.result() is None
    assert harness.store.saved == [RIGHT]


def test_a_front_end_that_leaves_does_not_keep_its_password_from_being_saved(
    harness: SchemesHarness,
) -> None:
    harness.desk.send_own_request = harness.try_own
    harness.store.hangs = True
    saved = harness.desk.save_login(OFFICE, RIGHT)
    harness.wait()
    saved.cancel()
    harness.store.answer_pending()
    harness.wait()
    assert harness.store.saved == [RIGHT]
    assert harness.loop.errors == []


def test_a_login_without_a_client_is_verified_at_the_clients_target(
    harness: SchemesHarness,
) -> None:
    harness.desk.send_own_request = harness.try_own
    future = send_request(harness)
    harness.desk.keep_prompt_open(1)
    future.cancel()
    harness.type_login()
    harness.wait()
    assert harness.own_targets == ["github.com:443"]
    assert harness.listener.closed == [(1, Ending.ACCEPTED)]
    assert harness.store.saved == [RIGHT]


def test_closing_the_desk_cancels_own_requests(harness: SchemesHarness) -> None:
    async def forever(profile: Profile, target: str) -> bool:
        await asyncio.get_running_loop().create_future()
        return True

    harness.desk.send_own_request = forever
    saving = harness.desk.save_login(OFFICE, RIGHT)
    harness.wait()
    harness.desk.close()
    harness.wait()
    assert harness.loop.errors == []
    assert saving.done()
    assert harness.history.closed


# --- History --------------------------------------------------------------------------------------


def test_rejections_trials_and_fingerprints_are_recorded(harness: SchemesHarness) -> None:
    future = send_request(harness)
    harness.type_login(WRONG)
    again = harness.back(credentials_in(future), Verdict(VerdictKind.REJECTED), ALL)
    harness.type_login(RIGHT)
    harness.desk.broker.report(credentials_in(again), Accepted())
    pin = UpstreamFingerprint("negotiate", ("Corp",))
    calls = [("rejected", WRONG), ("accepted", RIGHT), ("pin", pin)]
    assert harness.history.calls == calls
    harness.desk.forget(OFFICE)
    assert harness.history.calls[-1] == ("forget", "office")


def test_a_saved_password_rejected_in_an_earlier_run_is_not_sent(harness: SchemesHarness) -> None:
    harness.store.login = WRONG
    harness.history.rejected_before = {WRONG}
    future = send_request(harness)
    assert not future.done()
    assert harness.listener.prompt.reason is PromptReason.SAVED_REJECTED


def test_closing_the_desk_keeps_the_history(harness: SchemesHarness) -> None:
    future = send_request(harness)
    harness.type_login()
    harness.desk.broker.report(credentials_in(future), Accepted())
    harness.desk.close()
    assert ("forget", "office") not in harness.history.calls


def test_a_proxy_weaker_than_in_an_earlier_run_causes_a_prompt() -> None:
    loop = SkippingLoop()
    memory = FakeHistory(fingerprints={SPACE: UpstreamFingerprint("ntlm", ("Corp",))})
    harness = SchemesHarness(loop, history=memory)
    harness.store.login = RIGHT
    future = send_request(harness, 'Basic realm="Corp"')
    assert not future.done()
    prompt = harness.listener.prompt
    assert (prompt.reason, prompt.before, prompt.method) == (
        PromptReason.DOWNGRADE,
        "NTLM",
        "Basic",
    )
    assert harness.store.lookups == []
    harness.close()


def test_a_login_that_is_not_sent_to_a_weaker_proxy_is_not_saved_and_the_reason_is_told() -> None:
    loop = SkippingLoop()
    memory = FakeHistory(fingerprints={SPACE: UpstreamFingerprint("ntlm", ("Corp",))})
    harness = SchemesHarness(loop, history=memory, own_offers='Basic realm="Corp"')
    harness.desk.send_own_request = harness.try_own
    problem = harness.save(RIGHT)
    assert problem is not None
    assert problem.id == "TP-309"
    assert harness.store.saved == []
    harness.close()


# --- The screen -----------------------------------------------------------------------------------


def test_a_prompt_waits_until_the_screen_is_unlocked(harness: SchemesHarness) -> None:
    harness.desk.screen_locked(True)
    send_request(harness)
    harness.wait(100)
    assert harness.listener.prompts == []
    harness.desk.screen_locked(False)
    harness.wait()
    assert harness.listener.prompt.number == 1


def test_a_profile_with_a_changed_upstream_gets_no_verdict_of_the_old_trial(
    harness: SchemesHarness,
) -> None:
    future = send_request(harness)
    harness.type_login()
    credentials = credentials_in(future)
    harness.desk.profile_changed(replace(OFFICE, upstream=Upstream("else.example", 1)))
    harness.desk.broker.report(credentials, Accepted())
    assert harness.desk.broker.known(SPACE) is None
    assert harness.store.saved == []


# --- Encoding of a login --------------------------------------------------------------------------


def credentials_of(credentials: Credentials) -> bytes:
    return credentials.header_value(b"GET", b"http://a.example/")


def test_a_login_is_encoded_only_as_the_profile_says_r_092(harness: SchemesHarness) -> None:
    """Another encoding would cost a failed log-on, too: the user must choose the encoding."""
    login = Login("jörg", "ü")
    future = send_request(harness, 'Basic realm="Corp"')
    harness.desk.answer_prompt(1, login, remember=True)
    first = credentials_in(future)
    assert credentials_of(first) == basic_credentials(login)
    again = harness.challenge(tried=first, challenges='Basic realm="Corp"')
    harness.wait()
    assert not again.done()
    harness.desk.profile_changed(replace(OFFICE, encoding=Encoding.LATIN_1))
    harness.wait()
    assert not again.done()
    harness.desk.answer_prompt(1, login, remember=True)
    harness.wait()
    harness.desk.answer_prompt(1, login, remember=True)
    assert credentials_of(credentials_in(again)) == basic_credentials(login, "latin-1")


def test_a_working_login_is_encoded_again_after_the_profile_was_edited_r_092(
    harness: SchemesHarness,
) -> None:
    login = Login("jörg", "ü")
    future = send_request(harness, 'Basic realm="Corp"')
    harness.desk.answer_prompt(1, login, remember=True)
    harness.desk.broker.report(credentials_in(future), Accepted())
    assert harness.desk.broker.known(SPACE)
    harness.desk.profile_changed(replace(OFFICE, user=login.user, encoding=Encoding.LATIN_1))
    assert harness.desk.broker.known(SPACE) is None
    later = credentials_in(harness.challenge(challenges='Basic realm="Corp"'))
    assert credentials_of(later) == basic_credentials(login, "latin-1")


def test_a_login_with_an_unrecordable_trial_is_reported(harness: SchemesHarness) -> None:
    harness.history.hangs = True
    harness.desk.send_own_request = harness.try_own
    problem = harness.save(RIGHT)
    assert problem is not None
    assert problem.id == "TP-311"
    assert [notice.id for notice in harness.desk.notices] == ["TP-311"]
    assert harness.store.saved == []
