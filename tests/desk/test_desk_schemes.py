"""Tests for trayproxy.desk.desk: several schemes, requests of our own, and what is remembered."""

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import Future as ThreadFuture
from dataclasses import dataclass, field, replace

import pytest

from tests.desk.play import OFFICE, RIGHT, WRONG
from tests.desk.test_desk import Office, Seated, SkippingLoop, answered, refused
from trayproxy.auth.basic import Basic, basic_credentials
from trayproxy.auth.login import Login, LoginError
from trayproxy.auth.scheme import ConstantSigner, Scheme, Signer, Verdict, VerdictKind
from trayproxy.control.messages import Ending, Problem, PromptReason, SignInState
from trayproxy.desk.credentials import Credentials, PendingRequest
from trayproxy.desk.desk import Desk
from trayproxy.desk.history import HistoryRecord
from trayproxy.desk.problems import Refusal
from trayproxy.desk.protection_space import UpstreamFingerprint, UpstreamId
from trayproxy.http.challenges import Challenge, parse_challenges
from trayproxy.profiles.profile import Encoding, Method, Profile, SignIn, Upstream

SPACE = UpstreamId.of(OFFICE)
SSO = replace(OFFICE, sign_in=SignIn.SSO, user="")
ALL = 'Negotiate, NTLM, Basic realm="Corp"'
UNUSABLE = Verdict(VerdictKind.UNUSABLE, "Install the extra “kerberos”.")
NO_TICKET = Verdict(VerdictKind.NO_TICKET)


@dataclass(frozen=True)
class Ticket:
    """A scheme like NTLM or Negotiate, without what makes them hard."""

    name: str
    title: str
    family: str
    sends_password: bool = False
    needs_login: bool = False
    binds_connection: bool = True
    blocks: bool = False
    broken: bool = False

    def check(self, login: Login) -> None:
        if "@" in login.user:
            raise LoginError("No @ here.")

    def understands(self, challenge: Challenge) -> bool:
        return True

    def signer(self, challenge: Challenge, login: Login | None, host: str) -> Signer:
        if self.broken:
            raise LoginError("It needs a login.")
        return ConstantSigner(f"{self.title} {login.user if login else 'me'} {host}".encode())


NEGOTIATE = Ticket("negotiate", "Negotiate", "negotiate")
NTLM = Ticket("ntlm", "NTLM", "ntlm")
WRAPPED = Ticket("negotiate", "NTLM in Negotiate", "ntlm")


@dataclass
class Notes:
    """A memory that keeps no file."""

    fingerprints: Mapping[UpstreamId, UpstreamFingerprint] = field(default_factory=dict)
    wrong: set[Login] = field(default_factory=set)
    heard: list[tuple[str, object]] = field(default_factory=list)
    closed: bool = False
    hangs: bool = False
    """The folder of the state does not answer."""

    def rejecting_profile(self, space: UpstreamId, login: Login) -> ThreadFuture[str | None]:
        known: ThreadFuture[str | None] = ThreadFuture()
        known.set_result(space.profile_id if login in self.wrong else None)
        return known

    def set_addresses(self, space: UpstreamId, addresses: tuple[str, ...]) -> None:
        self.heard.append(("found at", addresses))

    def begin_trial(
        self, space: UpstreamId, login: Login, *, insists: bool, is_saved: bool = False
    ) -> ThreadFuture[HistoryRecord]:
        found: ThreadFuture[HistoryRecord] = ThreadFuture()
        if self.hangs:
            return found
        found.set_result(HistoryRecord(is_rejected=login in self.wrong and not insists))
        return found

    def cancel_trial(self, space: UpstreamId, login: Login) -> None:
        self.heard.append(("spare", login))

    def record_rejection(self, space: UpstreamId, login: Login) -> None:
        self.heard.append(("rejected", login))

    def record_acceptance(self, space: UpstreamId, login: Login) -> None:
        self.heard.append(("accepted", login))

    def set_fingerprint(self, space: UpstreamId, pin: UpstreamFingerprint | None) -> None:
        self.heard.append(("pin", pin))

    def forget_profile(self, profile_id: str) -> None:
        self.heard.append(("forget", profile_id))

    def close(self) -> None:
        self.closed = True


@dataclass
class Branch(Office):
    """An office whose proxy offers more than Basic."""

    schemes: tuple[Scheme, ...] = (NEGOTIATE, NTLM, WRAPPED, Basic())
    memory: Notes = field(default_factory=Notes)
    installed: frozenset[str] = frozenset({"negotiate", "ntlm", "basic"})
    password: str = RIGHT.password
    reaches: bool = True
    tries: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.desk = Desk(
            store=self.shelf,
            listener=self.face,
            loop=self.loop,
            schemes=self.schemes,
            history=self.memory,
            is_installed=self.installed.__contains__,
        )
        self.desk.set_front_end_count(1)

    def back(
        self, answer: Credentials, verdict: Verdict, challenges: str = "", profile: Profile = OFFICE
    ) -> Seated:
        """Let a request come back with a verdict."""
        offered = parse_challenges([challenges.encode()] if challenges else [])
        waiter = PendingRequest("github.com:443")
        return self.desk.challenged(SPACE, profile, offered, waiter, answer, verdict)

    async def try_own(self, profile: Profile, target: str) -> bool:
        """Be a request of our own at a proxy that knows one password."""
        self.tries.append(target)
        if not self.reaches:
            raise ConnectionError
        offered, tried = parse_challenges([ALL.encode()]), None
        while True:
            waiter = PendingRequest(target or "example.com:80", is_own=True)
            outcome = await self.desk.challenged(
                UpstreamId.of(profile), profile, offered, waiter, tried
            )
            if isinstance(outcome, Refusal):
                return True
            assert outcome
            if outcome.login is None or outcome.login.password == self.password:
                self.desk.accepted(outcome)
                return True
            tried = outcome

    def save(self, login: Login) -> Problem | None:
        async def saved() -> Problem | None:
            return await self.desk.save_login(OFFICE, login)

        return self.loop.run_until_complete(saved())


@pytest.fixture
def branch() -> Iterator[Branch]:
    loop = SkippingLoop()
    branch = Branch(loop)
    yield branch
    branch.desk.close()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


# --- Which scheme ---------------------------------------------------------------------------------


def ask(branch: Branch, offered: str = ALL) -> Seated:
    seat = branch.challenge(challenges=offered)
    branch.wait()
    return seat


def test_the_strongest_scheme_signs_with_the_name_of_the_upstream_r_127(branch: Branch) -> None:
    seat = ask(branch)
    assert branch.face.question.method == "Negotiate"
    branch.enter()
    answer = answered(seat)
    assert answer.scheme is NEGOTIATE
    assert answer.label == "negotiate"
    assert answer.header_value(b"GET", b"/") == b"Negotiate jdoe proxy.corp.example"


def test_of_two_schemes_of_one_name_the_second_takes_over(branch: Branch) -> None:
    seat = ask(branch, "Negotiate")
    branch.enter()
    again = branch.back(answered(seat), UNUSABLE, "Negotiate")
    assert answered(again).scheme is WRAPPED


def test_which_scheme_is_used_does_not_change_whom_the_login_is_for(branch: Branch) -> None:
    seat = ask(branch)
    assert branch.face.question.realm == "Corp"
    branch.enter()
    first = answered(seat)
    second = answered(branch.back(first, UNUSABLE, ALL))
    assert (second.scheme, second.login_id) == (NTLM, first.login_id)


def test_a_verdict_without_challenges_makes_us_listen_again(branch: Branch) -> None:
    seat = ask(branch)
    branch.enter()
    assert branch.back(answered(seat), UNUSABLE).result() is None
    assert answered(branch.challenge(challenges=ALL)).scheme is NTLM


def test_a_rejection_without_challenges_is_one_of_what_was_tried(branch: Branch) -> None:
    seat = ask(branch, 'Basic realm="Corp"')
    branch.enter(WRONG)
    again = branch.back(answered(seat), Verdict(VerdictKind.REJECTED))
    branch.wait()
    assert branch.face.question.reason is PromptReason.TYPED_REJECTED
    branch.enter(RIGHT)
    assert answered(again).login == RIGHT


def test_a_scheme_that_can_make_no_signer_gives_way_to_the_next() -> None:
    loop = SkippingLoop()
    branch = Branch(loop, schemes=(replace(NEGOTIATE, broken=True), NTLM))
    seat = ask(branch)
    branch.enter()
    branch.wait()
    assert answered(seat).scheme is NTLM
    branch.desk.close()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_a_client_that_leaves_in_between_costs_nothing() -> None:
    loop = SkippingLoop()
    branch = Branch(loop, schemes=(replace(NEGOTIATE, broken=True), NTLM))
    seat = ask(branch)
    branch.enter()
    seat.cancel()
    branch.wait()
    seat = branch.challenge(challenges=ALL)
    branch.wait()
    assert answered(seat).scheme is NTLM
    branch.desk.close()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_only_the_method_of_the_profile_is_used(branch: Branch) -> None:
    basic = replace(OFFICE, method=Method.BASIC)
    seat = branch.challenge(profile=basic, challenges=ALL)
    branch.wait()
    assert branch.face.question.method == "Basic"
    branch.enter()
    assert answered(seat).scheme == Basic()
    only = replace(OFFICE, id="other", method=Method.DIGEST)
    assert refused(branch.challenge(profile=only, challenges=ALL)).problem.id == "TP-303"


def test_a_scheme_that_is_not_installed_is_left_out_if_there_is_another() -> None:
    loop = SkippingLoop()
    branch = Branch(loop, installed=frozenset({"ntlm", "basic"}))
    ask(branch)
    assert branch.face.question.method == "NTLM"
    alone = ask(branch, 'Negotiate realm="x"')
    assert not alone.done()
    branch.desk.close()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_nothing_usable_is_told_with_what_helps(branch: Branch) -> None:
    seat = ask(branch, "NTLM")
    branch.enter()
    assert branch.back(answered(seat), UNUSABLE).result() is None
    problem = refused(branch.challenge(challenges="NTLM")).problem
    assert problem.id == "TP-303"
    assert problem.body.startswith("Install the extra “kerberos”.")


def test_a_user_name_that_one_scheme_cannot_carry_may_fit_another(branch: Branch) -> None:
    seat = ask(branch)
    assert branch.desk.answer_prompt(1, Login("jdoe@corp", "x"), remember=False) is not None
    assert not seat.done()
    loop_login = Login("a:b", "x")
    assert branch.desk.answer_prompt(1, loop_login, remember=False) is None


def test_a_request_that_is_wanted_now_in_this_way_now_in_that_comes_to_an_end(
    branch: Branch,
) -> None:
    """No login was sent, so that nothing is known of it; but the proxy could go on for ever."""
    waiter = PendingRequest("github.com:443")

    def challenged(offered: str, tried: Credentials | None = None) -> Seated:
        challenges = parse_challenges([offered.encode()])
        verdict = UNUSABLE if tried else None
        seat = branch.desk.challenged(SPACE, OFFICE, challenges, waiter, tried, verdict)
        branch.wait()
        return seat

    seat = challenged("NTLM")
    branch.enter()
    first = answered(seat)
    second = answered(challenged("Negotiate", first))
    assert (first.scheme, second.scheme) == (NTLM, NEGOTIATE)
    third = challenged("NTLM", second)
    assert not third.done() or isinstance(third.result(), Refusal)


# --- One's own sign-in ----------------------------------------------------------------------------


def test_ones_own_sign_in_is_used_without_a_question(branch: Branch) -> None:
    answer = answered(branch.challenge(profile=SSO, challenges=ALL))
    assert (answer.login, answer.scheme) == (None, NEGOTIATE)
    assert answer.header_value(b"GET", b"/") == b"Negotiate me proxy.corp.example"
    branch.desk.accepted(answer)
    known = branch.desk.known(SPACE)
    assert known is not None
    assert (known.login_id, known.signer) == (answer.login_id, answer.signer)
    branch.wait()
    assert branch.face.questions == []
    assert branch.shelf.asked == []
    assert branch.desk.facts("office").sign_in is SignInState.OK


def test_ones_own_sign_in_is_not_in_doubt_while_its_upstream_answers_nothing(
    branch: Branch,
) -> None:
    """There is no password in it that could be wrong."""
    branch.desk.accepted(answered(branch.challenge(profile=SSO, challenges=ALL)))
    known = branch.desk.known(SPACE)
    assert known is not None
    branch.desk.overdue(known, 2)
    assert known.is_recently_accepted


def test_ones_own_sign_in_is_never_basic(branch: Branch) -> None:
    told = refused(branch.challenge(profile=SSO, challenges='Basic realm="Corp"'))
    assert told.problem.id == "TP-303"


def test_a_missing_ticket_is_a_notice_until_there_is_one(branch: Branch) -> None:
    answer = answered(branch.challenge(profile=SSO, challenges="Negotiate"))
    for scheme in (NEGOTIATE, WRAPPED):
        assert answer.scheme is scheme
        outcome = branch.back(answer, NO_TICKET, "Negotiate", SSO).result()
        answer = outcome if isinstance(outcome, Credentials) else answer
    assert outcome is None
    told = refused(branch.challenge(profile=SSO, challenges="Negotiate"))
    assert (told.problem.id, told.retry_after) == ("TP-305", 5)
    assert [problem.id for problem in branch.desk.notices] == ["TP-305"]
    assert branch.desk.sign_in_now(SSO) is None
    branch.desk.accepted(answered(branch.challenge(profile=SSO, challenges="Negotiate")))
    assert branch.desk.notices == ()


def test_an_upstream_without_a_common_scheme_is_told_until_it_offers_one(branch: Branch) -> None:
    told = refused(branch.challenge(challenges="Unheard-of"))
    assert told.problem.id == "TP-303"
    assert branch.desk.facts("office").sign_in is SignInState.UNUSABLE
    assert list(branch.desk.notices) == [told.problem]
    branch.challenge(challenges='Basic realm="Corp"')
    assert branch.desk.facts("office").sign_in is not SignInState.UNUSABLE
    assert list(branch.desk.notices) == []


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
    branch: Branch, kind: VerdictKind, problem_id: str, title: str
) -> None:
    answer = answered(branch.challenge(profile=SSO, challenges="Negotiate"))
    for _ in range(2):  # The ticket alone, and inside Negotiate.
        outcome = branch.back(answer, Verdict(kind), "Negotiate", SSO).result()
        answer = outcome if isinstance(outcome, Credentials) else answer
    told = refused(branch.challenge(profile=SSO, challenges="Negotiate")).problem
    assert (told.id, told.title) == (problem_id, title)
    assert [notice.title for notice in branch.desk.notices] == [title]


def test_a_ticket_that_expires_is_told_although_ntlm_is_offered_too(branch: Branch) -> None:
    answer = answered(branch.challenge(profile=SSO, challenges="Negotiate"))
    branch.desk.accepted(answer)
    told = refused(branch.back(answer, NO_TICKET, "Negotiate", SSO))
    assert told.problem.id == "TP-305"
    assert [problem.id for problem in branch.desk.notices] == ["TP-305"]


def test_a_profile_that_signs_in_itself_takes_no_password(branch: Branch) -> None:
    problem = branch.desk.preload(SSO, RIGHT)
    assert problem
    assert problem.title == "This profile uses no password"


# --- Requests of our own --------------------------------------------------------------------------


def test_a_password_is_saved_once_it_was_accepted(branch: Branch) -> None:
    branch.desk.send_own_request = branch.try_own
    assert branch.save(RIGHT) is None
    assert branch.shelf.saved == [RIGHT]
    assert branch.desk.known(SPACE) is not None


def test_a_wrong_password_is_not_saved_and_that_is_told(branch: Branch) -> None:
    branch.desk.send_own_request = branch.try_own
    problem = branch.save(WRONG)
    assert problem
    assert problem.id == "TP-302"
    assert branch.shelf.saved == []
    assert branch.memory.heard == [("rejected", WRONG)]


def test_a_working_password_outlives_a_wrong_one_in_the_keyring(branch: Branch) -> None:
    branch.desk.send_own_request = branch.try_own
    assert branch.save(RIGHT) is None
    assert branch.save(WRONG) is not None
    assert branch.shelf.saved == [RIGHT]


def test_a_password_that_cannot_be_checked_is_told_as_such(branch: Branch) -> None:
    branch.desk.send_own_request, branch.reaches = branch.try_own, False
    problem = branch.save(RIGHT)
    assert problem
    assert problem.id == "TP-307"
    assert branch.shelf.saved == []
    branch.desk.accepted(answered(branch.challenge(challenges=ALL)))
    assert branch.shelf.saved == [RIGHT]


def test_a_password_that_the_keyring_refuses_is_told_and_works(branch: Branch) -> None:
    branch.desk.send_own_request = branch.try_own
    branch.shelf.problem = Problem("TP-404", "The password could not be saved", "It said no.")
    problem = branch.save(RIGHT)
    assert problem
    assert problem.id == "TP-404"
    assert branch.desk.known(SPACE) is not None


def test_whether_a_password_is_saved_is_known(branch: Branch) -> None:
    branch.desk.send_own_request = branch.try_own
    assert not branch.desk.facts("office").is_saved
    branch.save(RIGHT)
    branch.wait()
    assert branch.desk.facts("office").is_saved
    branch.loop.run_until_complete(branch.desk.forget(OFFICE))
    assert not branch.desk.facts("office").is_saved


def test_a_second_password_to_be_saved_takes_the_place_of_the_first(branch: Branch) -> None:
    branch.desk.send_own_request = branch.try_own
    first = branch.desk.save_login(OFFICE, WRONG)
    second = branch.desk.save_login(OFFICE, RIGHT)
    branch.wait()
    assert first.done()
    assert second.result() is None
    assert branch.shelf.saved == [RIGHT]


def test_an_answer_whose_client_has_gone_is_tried_where_that_wanted_to_go(
    branch: Branch,
) -> None:
    branch.desk.send_own_request = branch.try_own
    seat = ask(branch)
    branch.desk.keep_prompt_open(1)
    seat.cancel()
    branch.enter()
    branch.wait()
    assert branch.tries == ["github.com:443"]
    assert branch.face.closed == [(1, Ending.ACCEPTED)]
    assert branch.shelf.saved == [RIGHT]


def test_closing_ends_a_request_of_our_own(branch: Branch) -> None:
    async def forever(profile: Profile, target: str) -> bool:
        await asyncio.get_running_loop().create_future()
        return True

    errors: list[dict[str, object]] = []
    branch.loop.set_exception_handler(lambda loop, context: errors.append(context))
    branch.desk.send_own_request = forever
    saving = branch.desk.save_login(OFFICE, RIGHT)
    branch.wait()
    branch.desk.close()
    branch.wait()
    assert errors == []
    assert saving.done()
    assert branch.memory.closed


# --- What is remembered ---------------------------------------------------------------------------


def test_what_happens_is_remembered(branch: Branch) -> None:
    seat = ask(branch)
    branch.enter(WRONG)
    again = branch.back(answered(seat), Verdict(VerdictKind.REJECTED), ALL)
    branch.enter(RIGHT)
    branch.desk.accepted(answered(again))
    pin = UpstreamFingerprint("negotiate", ("Corp",))
    heard = [("rejected", WRONG), ("accepted", RIGHT), ("pin", pin)]
    assert branch.memory.heard == heard
    branch.desk.forget(OFFICE)
    assert branch.memory.heard[-1] == ("forget", "office")


def test_a_saved_password_rejected_in_an_earlier_run_is_not_sent(branch: Branch) -> None:
    branch.shelf.login = WRONG
    branch.memory.wrong = {WRONG}
    seat = ask(branch)
    assert not seat.done()
    assert branch.face.question.reason is PromptReason.SAVED_REJECTED


def test_quitting_forgets_nothing(branch: Branch) -> None:
    seat = ask(branch)
    branch.enter()
    branch.desk.accepted(answered(seat))
    branch.desk.close()
    assert ("forget", "office") not in branch.memory.heard


def test_a_proxy_weaker_than_in_an_earlier_run_is_asked_about() -> None:
    loop = SkippingLoop()
    memory = Notes(fingerprints={SPACE: UpstreamFingerprint("ntlm", ("Corp",))})
    branch = Branch(loop, memory=memory)
    branch.shelf.login = RIGHT
    seat = ask(branch, 'Basic realm="Corp"')
    assert not seat.done()
    question = branch.face.question
    assert (question.reason, question.before, question.method) == (
        PromptReason.DOWNGRADE,
        "NTLM",
        "Basic",
    )
    assert branch.shelf.asked == []
    branch.desk.close()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


# --- The screen -----------------------------------------------------------------------------------


def test_a_question_waits_for_the_screen_to_be_unlocked(branch: Branch) -> None:
    branch.desk.screen_locked(True)
    ask(branch)
    branch.wait(100)
    assert branch.face.questions == []
    branch.desk.screen_locked(False)
    branch.wait()
    assert branch.face.question.number == 1


def test_a_profile_moved_elsewhere_in_mid_trial_gets_no_verdict(branch: Branch) -> None:
    seat = ask(branch)
    branch.enter()
    answer = answered(seat)
    branch.desk.profile_changed(replace(OFFICE, upstream=Upstream("else.example", 1)))
    branch.desk.accepted(answer)
    assert branch.desk.known(SPACE) is None
    assert branch.shelf.saved == []


# --- How a login is written -----------------------------------------------------------------------


def credentials_of(answer: Credentials) -> bytes:
    return answer.header_value(b"GET", b"http://a.example/")


def test_a_login_is_written_as_the_profile_says_and_in_no_second_way_r_092(branch: Branch) -> None:
    """What it is in another encoding costs a failed log-on, too: that is for the person to say."""
    login = Login("jörg", "ü")
    seat = ask(branch, 'Basic realm="Corp"')
    branch.desk.answer_prompt(1, login, remember=True)
    first = answered(seat)
    assert credentials_of(first) == basic_credentials(login)
    again = branch.challenge(tried=first, challenges='Basic realm="Corp"')
    branch.wait()
    assert not again.done()
    branch.desk.profile_changed(replace(OFFICE, encoding=Encoding.LATIN_1))
    branch.wait()
    assert not again.done()
    branch.desk.answer_prompt(1, login, remember=True)
    branch.wait()
    branch.desk.answer_prompt(1, login, remember=True)
    assert credentials_of(answered(again)) == basic_credentials(login, "latin-1")


def test_a_login_that_works_is_written_anew_when_the_profile_says_so_r_092(branch: Branch) -> None:
    login = Login("jörg", "ü")
    seat = ask(branch, 'Basic realm="Corp"')
    branch.desk.answer_prompt(1, login, remember=True)
    branch.desk.accepted(answered(seat))
    assert branch.desk.known(SPACE)
    branch.desk.profile_changed(replace(OFFICE, user=login.user, encoding=Encoding.LATIN_1))
    assert branch.desk.known(SPACE) is None
    later = answered(branch.challenge(challenges='Basic realm="Corp"'))
    assert credentials_of(later) == basic_credentials(login, "latin-1")


def test_a_login_to_save_that_cannot_be_put_on_record_is_told_as_such(branch: Branch) -> None:
    branch.memory.hangs = True
    branch.desk.send_own_request = branch.try_own
    problem = branch.save(RIGHT)
    assert problem is not None
    assert problem.id == "TP-311"
    assert [notice.id for notice in branch.desk.notices] == ["TP-311"]
    assert branch.shelf.saved == []
