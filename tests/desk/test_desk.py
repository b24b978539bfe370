"""Tests for trayproxy.desk.desk: the machine on a real loop with a clock of its own."""

import asyncio
import logging
import selectors
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future as ThreadFuture
from dataclasses import dataclass, field, replace

import pytest

from tests.desk.play import GNOME, LAB, LOCKED, OFFICE, RIGHT, WRONG
from trayproxy.auth.basic import Basic
from trayproxy.auth.login import Login
from trayproxy.auth.scheme import Verdict, VerdictKind
from trayproxy.auth.socks import socks_challenge
from trayproxy.control.messages import (
    Ending,
    KeyringState,
    KeyringStatus,
    Problem,
    Program,
    Prompt,
    PromptReason,
    SignInState,
    Snooze,
    Transport,
)
from trayproxy.desk.credential_store import LookupResult
from trayproxy.desk.credentials import Credentials, Outcome, PendingRequest
from trayproxy.desk.desk import Desk
from trayproxy.desk.problems import Refusal
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.http.challenges import Challenge, parse_challenges
from trayproxy.profiles.profile import Profile, ProxyScheme, SignIn, Upstream

BASIC = parse_challenges([b'Basic realm="Corp"'])
SPACE = UpstreamId.of(OFFICE)
SECRET = Login("jdoe", "Zx9-hidden")


class Skipping(selectors.DefaultSelector):
    """Does not wait but lets the clock of the loop skip, so that hours are milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.skips = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
            self.skips += 1
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """A loop in which waiting takes no time."""

    def __init__(self) -> None:
        self._skipping = Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now

    @property
    def skips(self) -> int:
        """How often the loop would have slept."""
        return self._skipping.skips


@dataclass
class Shelf:
    """A store that answers when the test says so, or at once."""

    login: Login | None = None
    keyring: KeyringStatus = GNOME
    hangs: bool = False
    problem: Problem | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    saved: list[Login] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    entries: list[str] = field(default_factory=list)
    """For which upstreams it was asked."""
    pending: list[Callable[[], None]] = field(default_factory=list)
    tell: Callable[[KeyringStatus], None] | None = None

    def find(self, profile: Profile, user: str = "") -> ThreadFuture[LookupResult]:
        self.asked.append((profile.id, user))
        self.entries.append(str(profile.upstream))
        future: ThreadFuture[LookupResult] = ThreadFuture()
        self._later(lambda: future.set_result(LookupResult(self.login, self.keyring)))
        return future

    def save(self, profile: Profile, login: Login) -> ThreadFuture[Problem | None]:
        self.saved.append(login)
        return self._written()

    def forget(self, profile: Profile) -> ThreadFuture[Problem | None]:
        self.forgotten.append(profile.id)
        return self._written()

    def survey(self) -> ThreadFuture[KeyringStatus]:
        future: ThreadFuture[KeyringStatus] = ThreadFuture()
        self._later(lambda: future.set_result(self.keyring))
        return future

    def watch(self, tell: Callable[[KeyringStatus], None]) -> None:
        self.tell = tell

    def go_on(self) -> None:
        """Answer all that is pending."""
        self.hangs = False
        for answer in self.pending:
            answer()
        self.pending.clear()

    def _written(self) -> ThreadFuture[Problem | None]:
        future: ThreadFuture[Problem | None] = ThreadFuture()
        self._later(lambda: future.set_result(self.problem))
        return future

    def _later(self, answer: Callable[[], None]) -> None:
        if self.hangs:
            self.pending.append(answer)
        else:
            answer()


@dataclass
class Face:
    """Hears of everything."""

    questions: list[Prompt] = field(default_factory=list)
    closed: list[tuple[int, Ending]] = field(default_factory=list)
    facts: int = 0

    def prompt_changed(self, question: Prompt) -> None:
        self.questions.append(question)

    def prompt_closed(self, number: int, ending: Ending) -> None:
        self.closed.append((number, ending))

    def facts_changed(self) -> None:
        self.facts += 1

    @property
    def question(self) -> Prompt:
        return self.questions[-1]


Seated = asyncio.Future[Outcome]


@dataclass
class Office:
    """A desk with a store and a face, on a loop in which waiting takes no time."""

    loop: SkippingLoop
    shelf: Shelf = field(default_factory=Shelf)
    face: Face = field(default_factory=Face)

    def __post_init__(self) -> None:
        self.desk = Desk(store=self.shelf, listener=self.face, loop=self.loop)
        self.desk.set_front_end_count(1)

    def challenge(
        self,
        tried: Credentials | None = None,
        target: str = "github.com:443",
        profile: Profile = OFFICE,
        challenges: object = None,
    ) -> Seated:
        offered = BASIC if challenges is None else parse_challenges([str(challenges).encode()])
        return self.desk.challenged(
            UpstreamId.of(profile), profile, offered, PendingRequest(target), tried
        )

    def wait(self, seconds: float = 0.3) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def ask(self, requests: int = 1) -> list[Seated]:
        seats = [self.challenge() for _ in range(requests)]
        self.wait()
        return seats

    def enter(self, login: Login = RIGHT, remember: bool = True) -> None:
        assert self.desk.answer_prompt(self.face.question.number, login, remember) is None

    def trust(self) -> Credentials:
        (seat,) = self.ask()
        self.enter()
        answer = answered(seat)
        self.desk.accepted(answer)
        self.wait()
        return answer


def answered(seat: Seated) -> Credentials:
    result = seat.result()
    assert isinstance(result, Credentials)
    return result


def is_same(one: Credentials | None, other: Credentials) -> bool:
    """Return whether two answers are the same but for the request that each was let go for."""
    return one is not None and (one.login_id, one.signer) == (other.login_id, other.signer)


def refused(seat: Seated) -> Refusal:
    result = seat.result()
    assert isinstance(result, Refusal)
    return result


@pytest.fixture
def office() -> Iterator[Office]:
    loop = SkippingLoop()
    office = Office(loop)
    yield office
    office.desk.close()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


# --- A request's way ------------------------------------------------------------------------------


def test_a_request_waits_for_the_person_and_goes_on(office: Office) -> None:
    (seat,) = office.ask()
    assert not seat.done()
    office.enter()
    answer = answered(seat)
    assert answer.header_value(b"CONNECT", b"github.com:443") == b"Basic amRvZTpyaWdodA=="
    assert (answer.upstream_id, answer.scheme, answer.generation) == (SPACE, Basic(), 1)


def test_an_accepted_login_is_known_saved_and_closes_the_question(office: Office) -> None:
    answer = office.trust()
    assert is_same(office.desk.known(SPACE), answer)
    assert office.shelf.saved == [RIGHT]
    assert office.face.closed == [(1, Ending.ACCEPTED)]
    facts = office.desk.facts("office")
    assert (facts.sign_in, facts.user, facts.waiting) == (SignInState.OK, "jdoe", 0)


def test_an_answer_is_not_known_before_it_was_accepted(office: Office) -> None:
    (seat,) = office.ask()
    office.enter()
    assert seat.done()
    assert office.desk.known(SPACE) is None


def test_requests_share_one_answer(office: Office) -> None:
    seats = office.ask(50)
    office.enter()
    office.desk.accepted(answered(seats[0]))
    first, *others = map(answered, seats)
    assert set(others) == {office.desk.known(SPACE)}
    assert is_same(first, others[0])


def test_fifty_requests_with_a_wrong_password_cost_one_log_on(office: Office) -> None:
    seats = office.ask(50)
    office.enter(WRONG)
    done = [seat for seat in seats if seat.done()]
    assert len(done) == 1
    again = office.challenge(answered(done[0]))
    office.wait()
    assert sum(seat.done() for seat in [*seats, again]) == 1
    assert office.face.question.reason is PromptReason.TYPED_REJECTED
    assert office.face.question.waiting == 50
    office.enter(RIGHT)
    canary = next(seat for seat in seats[1:] if seat.done())
    office.desk.accepted(answered(canary))
    assert all(seat.done() for seat in [*seats, again])


def test_a_client_that_left_is_not_the_canary(office: Office) -> None:
    first, second = office.ask(2)
    first.cancel()
    office.enter()
    assert answered(second)


def test_the_last_client_that_leaves_closes_the_question(office: Office) -> None:
    (seat,) = office.ask()
    seat.cancel()
    office.wait()
    assert office.face.closed == [(1, Ending.ABANDONED)]


def test_a_seat_can_be_awaited_by_a_task_that_is_cancelled(office: Office) -> None:
    async def request() -> Outcome:
        return await office.challenge()

    async def client() -> None:
        task = asyncio.ensure_future(request())
        await asyncio.sleep(0.3)
        assert office.desk.facts("office").waiting == 1
        task.cancel()
        await asyncio.sleep(0.3)

    office.loop.run_until_complete(client())
    assert office.desk.facts("office").waiting == 0


# --- Refusals -------------------------------------------------------------------------------------


def test_a_scheme_we_do_not_have_is_told(office: Office) -> None:
    refusal = refused(office.challenge(challenges='Negotiate, NTLM, Digest realm="x"'))
    assert (refusal.problem.id, refusal.retry_after) == ("TP-303", None)
    assert "Negotiate" in refusal.problem.body
    assert "TrayProxy can use Basic" in refusal.problem.body


def test_a_407_without_a_challenge_is_told_r_080(office: Office) -> None:
    seat = office.desk.challenged(SPACE, OFFICE, (), PendingRequest("a"), None)
    assert "offers nothing. " in refused(seat).problem.body


def test_a_profile_without_sign_in_asks_nobody(office: Office) -> None:
    refusal = refused(office.challenge(profile=replace(OFFICE, sign_in=SignIn.NONE)))
    assert refusal.problem.id == "TP-303"
    office.wait()
    assert office.face.questions == []


def test_cancel_is_told_with_a_time_to_try_again(office: Office) -> None:
    (seat,) = office.ask()
    office.desk.decline_prompt(1, Snooze.A_MINUTE)
    refusal = refused(seat)
    assert (refusal.problem.id, refusal.retry_after) == ("TP-301", 5)
    assert refusal.problem.title == "Sign-in was cancelled"
    assert refusal.details == "sign-in cancelled"


def test_a_forbidden_address_is_not_blamed_on_the_password(office: Office) -> None:
    answer = office.trust()
    refusal = refused(office.challenge(answer))
    assert (refusal.problem.id, refusal.retry_after) == ("TP-306", None)
    assert "password is not the reason" in refusal.problem.body


def test_a_request_waits_five_minutes(office: Office) -> None:
    (seat,) = office.ask()
    office.wait(299)
    assert not seat.done()
    office.wait(1)
    assert refused(seat).details == "sign-in timed out"


def test_without_a_face_requests_are_refused_once_the_keyring_has_nothing(office: Office) -> None:
    office.desk.set_front_end_count(0)
    office.wait(31)
    seat = office.challenge()
    office.wait()
    assert refused(seat).problem.title == "Sign-in needed for Office"
    assert office.shelf.asked == [("office", "jdoe")]


def test_titles_stay_short_for_long_profile_names(office: Office) -> None:
    office.desk.set_front_end_count(0)
    office.wait(31)
    long = replace(OFFICE, id="long", name="x" * 100)
    seat = office.challenge(profile=long)
    office.wait()
    assert len(refused(seat).problem.title) == 60


def test_closing_the_desk_refuses_who_waits_and_withdraws_questions(office: Office) -> None:
    (seat,) = office.ask()
    office.desk.close()
    assert refused(seat).retry_after == 5
    assert office.face.closed == [(1, Ending.WITHDRAWN)]


def test_a_closed_desk_tells_nothing_more(office: Office) -> None:
    office.desk.close()
    facts = office.face.facts
    office.challenge()
    office.wait()
    assert (office.face.questions, office.face.facts) == ([], facts)


# --- Confirmations --------------------------------------------------------------------------------


def test_an_acceptance_is_news_again_after_a_while(office: Office) -> None:
    answer = office.trust()
    verified = [answer.is_recently_accepted]
    office.wait(16)
    verified.append(answer.is_recently_accepted)
    office.desk.accepted(answer)
    verified.append(answer.is_recently_accepted)
    assert verified == [True, False, True]


def test_traffic_that_goes_well_keeps_a_407_from_being_a_rejection(office: Office) -> None:
    answer = office.trust()
    for _ in range(60):
        office.wait(14)
        if not answer.is_recently_accepted:
            office.desk.accepted(answer)
    assert refused(office.challenge(answer)).problem.id == "TP-306"


def test_a_login_in_doubt_is_not_known(office: Office) -> None:
    answer = office.trust()
    office.challenge(answer)
    assert office.desk.known(SPACE) is None
    assert not answer.is_recently_accepted
    office.desk.accepted(answer)  # By a request that had left before the refusal was read.
    assert office.desk.known(SPACE) is None
    office.desk.accepted(answered(office.challenge(target="other.example:443")))
    assert is_same(office.desk.known(SPACE), answer)


def test_a_canary_without_a_verdict_lets_the_next_one_try(office: Office) -> None:
    first, second = office.ask(2)
    office.enter()
    office.desk.inconclusive(answered(first), "connection reset")
    assert is_same(answered(second), answered(first))
    office.wait()
    assert office.face.question.reason is PromptReason.UNCHECKED


# --- Faces ----------------------------------------------------------------------------------------


def test_faces_hear_of_500_requests_as_of_one_change(office: Office) -> None:
    async def arrive() -> list[Seated]:
        seats = []
        for _ in range(500):
            seats.append(office.challenge())
            await asyncio.sleep(0)
        await asyncio.sleep(1)
        return seats

    office.loop.run_until_complete(arrive())
    assert len(office.face.questions) == 1
    assert office.face.question.waiting == 500


def test_a_question_says_how_the_password_travels(office: Office) -> None:
    office.ask()
    office.desk.decline_prompt(1, Snooze.A_MINUTE)
    office.challenge(profile=replace(LAB, upstream=Upstream("lab-px", 3129, ProxyScheme.HTTPS)))
    office.wait()
    transports = {question.profile_id: question.transport for question in office.face.questions}
    assert transports == {"office": Transport.READABLE, "lab": Transport.ENCRYPTED}


def test_a_login_that_the_scheme_cannot_carry_is_told_and_not_sent_r_090(office: Office) -> None:
    (seat,) = office.ask()
    problem = office.desk.answer_prompt(1, Login("CORP:jdoe", "x"), remember=True)
    assert problem
    assert "colon" in problem.body
    assert not seat.done()
    assert office.desk.prompts()[0].number == 1


def test_an_answer_to_a_closed_question_is_told(office: Office) -> None:
    problem = office.desk.answer_prompt(7, RIGHT, remember=True)
    assert problem
    assert problem.title == "This question is closed"


def test_a_touched_question_outlives_its_clients(office: Office) -> None:
    (seat,) = office.ask()
    office.desk.keep_prompt_open(1)
    seat.cancel()
    office.wait(600)
    assert [question.number for question in office.desk.prompts()] == [1]


def test_signing_in_from_the_menu_names_the_keyring(office: Office) -> None:
    assert office.desk.sign_in_now(OFFICE) is None
    office.wait()
    question = office.face.question
    assert (question.reason, question.keyring, question.method) == (
        PromptReason.ASKED_FOR,
        GNOME,
        "Basic",
    )
    assert office.shelf.asked == []


def test_signing_in_from_the_menu_needs_a_face(office: Office) -> None:
    office.desk.set_front_end_count(0)
    problem = office.desk.sign_in_now(OFFICE)
    assert problem
    assert problem.id == "TP-301"


def test_the_end_of_a_quiet_time_is_a_time_of_day_that_stays(office: Office) -> None:
    office.ask()
    office.desk.decline_prompt(1, Snooze.A_WHILE)
    until = office.desk.facts("office").snoozed_until
    office.wait(10)
    assert until
    assert office.desk.facts("office").snoozed_until == until


def test_until_chosen_has_no_time_of_day(office: Office) -> None:
    office.ask()
    office.desk.decline_prompt(1, Snooze.UNTIL_CHOSEN)
    facts = office.desk.facts("office")
    assert (facts.sign_in, facts.snoozed_until) == (SignInState.SNOOZED, None)


def test_the_program_that_waits_is_found_and_named(office: Office) -> None:
    asked: list[PendingRequest] = []

    async def identify(waiter: PendingRequest) -> Program | None:
        asked.append(waiter)
        await asyncio.sleep(1)
        return Program("git", 4312, waiter.target)

    office.desk.identify_program = identify
    office.ask()
    office.wait(2)
    assert office.face.question.programs == (Program("git", 4312, "github.com:443"),)
    assert [waiter.target for waiter in asked] == ["github.com:443"]


@pytest.mark.parametrize("found", [None, OSError("gone")])
def test_a_program_that_cannot_be_found_is_looked_for_once(
    office: Office, found: OSError | None
) -> None:
    calls = [0]

    def identify(waiter: PendingRequest) -> Awaitable[Program | None]:
        calls[0] += 1
        future: asyncio.Future[Program | None] = office.loop.create_future()
        if found:
            future.set_exception(found)
        else:
            future.set_result(None)
        return future

    office.desk.identify_program = identify
    office.ask()
    office.challenge()
    office.wait(2)
    assert calls == [2]


def test_closing_the_desk_ends_the_search_for_programs_without_an_error(office: Office) -> None:
    errors: list[dict[str, object]] = []
    office.loop.set_exception_handler(lambda loop, context: errors.append(context))
    searches: list[asyncio.Future[Program | None]] = []

    def identify(waiter: PendingRequest) -> Awaitable[Program | None]:
        searches.append(office.loop.create_future())
        return searches[-1]

    office.desk.identify_program = identify
    office.ask()
    office.desk.close()
    office.wait()
    assert [search.cancelled() for search in searches] == [True]
    assert errors == []


def test_only_programs_that_a_question_names_are_looked_for(office: Office) -> None:
    calls = [0]

    async def identify(waiter: PendingRequest) -> Program | None:
        calls[0] += 1
        return None

    office.desk.identify_program = identify
    office.ask(200)
    office.wait(2)
    assert calls == [20]


# --- The store ------------------------------------------------------------------------------------


def test_a_saved_login_is_used_without_a_question(office: Office) -> None:
    office.shelf.login = RIGHT
    (seat,) = office.ask()
    office.desk.accepted(answered(seat))
    assert office.face.questions == []
    assert office.shelf.saved == []


def test_a_store_that_hangs_does_not_hold_up_the_question(office: Office) -> None:
    office.shelf.hangs = True
    seat = office.challenge()
    office.wait(9)
    assert office.face.question.reason is PromptReason.KEYRING_SILENT
    office.shelf.login = RIGHT
    office.shelf.go_on()
    office.wait()
    assert answered(seat).login == RIGHT


def test_a_store_that_waits_to_be_unlocked_is_told_as_locked(office: Office) -> None:
    office.shelf.hangs = True
    office.challenge()
    assert office.shelf.tell
    office.shelf.tell(LOCKED)
    office.wait(9)
    assert (office.face.question.reason, office.face.question.keyring) == (
        PromptReason.KEYRING_LOCKED,
        LOCKED,
    )


def test_a_saved_login_that_the_scheme_cannot_carry_is_not_tried(office: Office) -> None:
    office.shelf.login = Login("CORP:jdoe", "x")
    (seat,) = office.ask()
    assert not seat.done()
    assert office.face.question.reason is PromptReason.NEEDED


def test_a_login_that_could_not_be_saved_works_and_is_a_notice(office: Office) -> None:
    office.shelf.problem = Problem("TP-404", "The password could not be saved", "It is full.")
    answer = office.trust()
    assert is_same(office.desk.known(SPACE), answer)
    [notice] = office.desk.notices
    assert notice.id == "TP-404"
    assert notice.body == "It is full. The password stays in memory until TrayProxy quits."


def test_a_notice_ends_with_the_next_login_that_could_be_saved(office: Office) -> None:
    office.shelf.problem = Problem("TP-404", "The password could not be saved", "")
    office.trust()
    office.shelf.problem = None
    office.loop.run_until_complete(office.desk.save_login(OFFICE, RIGHT))
    assert office.desk.notices == ()


def test_a_store_that_hangs_while_saving_is_a_notice_until_it_goes_on(office: Office) -> None:
    (seat,) = office.ask()
    office.enter()
    office.shelf.hangs = True
    office.desk.accepted(answered(seat))
    office.wait(9)
    assert [notice.id for notice in office.desk.notices] == ["TP-403"]
    office.shelf.go_on()
    office.wait()
    assert office.desk.notices == ()


def test_a_login_from_the_command_line_is_saved_and_used_next(office: Office) -> None:
    saving = office.desk.save_login(OFFICE, RIGHT)
    assert office.loop.run_until_complete(saving) is None
    assert office.shelf.saved == [RIGHT]
    assert answered(office.challenge()).login == RIGHT
    assert office.shelf.asked == []


def test_a_login_from_the_command_line_that_cannot_be_used_is_not_saved(office: Office) -> None:
    saving = office.desk.save_login(OFFICE, Login("a:b", "x"))
    problem = office.loop.run_until_complete(saving)
    assert problem
    assert "colon" in problem.body
    assert office.shelf.saved == []


def test_a_preloaded_login_is_used_and_never_saved(office: Office) -> None:
    assert office.desk.preload(OFFICE, RIGHT) is None
    seat = office.challenge()
    office.desk.accepted(answered(seat))
    assert office.shelf.saved == []
    assert office.desk.known(SPACE)


def test_forgetting_forgets_memory_and_store(office: Office) -> None:
    office.trust()
    forgetting = office.desk.forget(OFFICE)
    assert office.loop.run_until_complete(forgetting) is None
    assert office.shelf.forgotten == ["office"]
    assert office.desk.known(SPACE) is None


def test_a_result_after_the_loop_was_closed_is_nobodys_problem() -> None:
    loop = SkippingLoop()
    office = Office(loop)
    office.shelf.hangs = True
    office.challenge()
    office.desk.close()
    loop.close()
    office.shelf.go_on()


# --- Profiles -------------------------------------------------------------------------------------


def test_a_profile_switched_while_the_question_is_open_keeps_who_waits(office: Office) -> None:
    (seat,) = office.ask()
    office.desk.profile_switched(LAB)
    office.enter()
    assert answered(seat).upstream_id == SPACE


def test_an_edited_upstream_withdraws_question_and_requests(office: Office) -> None:
    (seat,) = office.ask()
    office.desk.profile_changed(replace(OFFICE, upstream=Upstream("other", 1)))
    office.wait()
    assert office.face.closed == [(1, Ending.WITHDRAWN)]
    assert refused(seat).details == "the profile was changed"


def test_an_edited_upstream_does_not_get_the_login_of_the_old_one(office: Office) -> None:
    office.trust()
    edited = replace(OFFICE, upstream=Upstream("other", 1))
    office.desk.profile_changed(edited)
    assert office.desk.known(UpstreamId.of(edited)) is None
    assert office.desk.known(SPACE) is None


def test_a_deleted_profile_is_forgotten(office: Office) -> None:
    office.trust()
    office.desk.profile_deleted("office")
    assert office.desk.known(SPACE) is None


def test_not_now_ends_when_the_network_changes(office: Office) -> None:
    office.ask()
    office.desk.decline_prompt(1, Snooze.UNTIL_CHOSEN)
    office.desk.network_changed()
    seat = office.challenge()
    assert not seat.done()


# --- Secrets --------------------------------------------------------------------------------------


def test_no_secret_is_shown_or_logged(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    (seat,) = office.ask()
    office.enter(SECRET)
    office.desk.inconclusive(answered(seat), "reset")
    office.desk.accepted(answered(seat))
    office.desk.accepted(answered(office.challenge()))
    office.challenge(answered(seat))
    office.wait()
    shown = [caplog.text, repr(answered(seat)), repr(office.face), repr(office.desk.rejected)]
    shown += [repr(vars(office.desk)), repr(office.desk.facts("office"))]
    assert "profile office: sign-in ok" in caplog.text
    assert "hidden" not in "".join(shown)
    assert "WngtLWhpZGRlbg" not in "".join(shown)


def test_an_idle_desk_sets_no_alarm(office: Office) -> None:
    office.trust()
    office.wait(1000)
    before = office.loop.skips
    office.wait(10_000)
    assert office.loop.skips == before + 1  # The one of this very wait.


def test_the_keyring_is_unknown_until_needed(office: Office) -> None:
    assert office.desk.keyring == KeyringStatus(KeyringState.UNKNOWN)


# --- Several upstreams, and SOCKS -----------------------------------------------------------------

STAND_IN = Upstream("lab-px", 3130)
SEVERAL = replace(OFFICE, fallbacks=(STAND_IN,))
SOCKS = Profile("socks", "Socks", Upstream("socks-px", 1080, ProxyScheme.SOCKS5))


def challenged_at(
    office: Office, profile: Profile, upstream: Upstream, challenges: Sequence[Challenge] = BASIC
) -> Seated:
    space = UpstreamId(profile.id, str(upstream))
    return office.desk.challenged(
        space, profile, challenges, PendingRequest("github.com:443"), None
    )


def test_a_stand_in_is_asked_about_by_its_own_name(office: Office) -> None:
    first = challenged_at(office, SEVERAL, SEVERAL.upstream)
    office.wait()
    office.enter()
    office.desk.accepted(answered(first))
    second = challenged_at(office, SEVERAL, STAND_IN)
    office.wait()
    assert not second.done()
    assert office.face.question.upstream == str(STAND_IN)
    assert office.face.question.reason is PromptReason.NEEDED
    assert office.desk.known(UpstreamId(SEVERAL.id, str(STAND_IN))) is None


def test_each_upstream_has_an_entry_of_its_own_in_the_keyring(office: Office) -> None:
    """The keyring finds entries by the profile's upstream: it is given each alone."""
    challenged_at(office, SEVERAL, STAND_IN)
    office.wait()
    office.enter()
    assert office.shelf.entries == [str(STAND_IN)]


def test_all_logins_of_a_profile_are_forgotten_together(office: Office) -> None:
    done = office.desk.forget(SEVERAL)
    office.wait()
    assert done.result() is None
    assert office.shelf.forgotten == [SEVERAL.id] * 2


def test_a_stand_in_that_was_taken_out_of_the_profile_is_a_stranger(office: Office) -> None:
    seat = challenged_at(office, SEVERAL, STAND_IN)
    office.wait()
    office.desk.profile_changed(OFFICE)
    assert "profile was changed" in refused(seat).details


def test_a_socks_proxy_is_signed_in_to_in_its_own_way(office: Office) -> None:
    seat = challenged_at(office, SOCKS, SOCKS.upstream, (socks_challenge(),))
    office.wait()
    question = office.face.question
    assert (question.method, question.transport) == ("SOCKS5", Transport.READABLE)
    office.enter(Login("CORP:jdoe", "pass"))  # A colon means nothing there.
    assert answered(seat).header_value(b"", b"") == b"\x01\x09CORP:jdoe\x04pass"


def test_a_login_that_socks_cannot_carry_is_told(office: Office) -> None:
    challenged_at(office, SOCKS, SOCKS.upstream, (socks_challenge(),))
    office.wait()
    number = office.face.question.number
    problem = office.desk.answer_prompt(number, Login("jdoe", "x" * 256), remember=True)
    assert problem is not None
    assert problem.id == "TP-302"


def test_no_http_proxy_gets_a_login_in_the_form_of_socks(office: Office) -> None:
    seat = challenged_at(office, OFFICE, OFFICE.upstream, (socks_challenge(),))
    assert refused(seat).problem.id == "TP-303"


def test_no_socks_proxy_gets_one_in_the_form_of_http(office: Office) -> None:
    seat = challenged_at(office, SOCKS, SOCKS.upstream, BASIC)
    assert refused(seat).problem.id == "TP-303"


def test_a_socks_proxy_that_refuses_a_login_is_not_asked_once_more(office: Office) -> None:
    """It has not heard of any address that it could forbid."""
    tries: list[str] = []

    async def try_own(profile: Profile, target: str) -> bool:
        tries.append(target)
        return True

    office.desk.send_own_request = try_own
    seat = challenged_at(office, SOCKS, SOCKS.upstream, (socks_challenge(),))
    office.wait()
    office.enter()
    answer = answered(seat)
    office.desk.accepted(answer)
    space = UpstreamId.of(SOCKS)
    office.desk.challenged(
        space, SOCKS, (socks_challenge(),), PendingRequest("blocked.example:443"), answer
    )
    office.wait()
    assert tries == []
    assert office.desk.known(space) is None
    assert office.face.question.reason is PromptReason.SAVED_REJECTED


def test_a_site_that_refuses_a_login_it_accepted_is_cleared_up_elsewhere(office: Office) -> None:
    """Its quota may be used up: the password is not to blame."""
    tries: list[str] = []

    async def try_own(profile: Profile, target: str) -> bool:
        tries.append(target)
        return True

    office.desk.send_own_request = try_own
    (seat,) = office.ask()
    office.enter()
    answer = answered(seat)
    office.desk.accepted(answer, "github.com:443")
    office.desk.accepted(answer, "site.example:80")
    office.desk.challenged(SPACE, OFFICE, BASIC, PendingRequest("site.example:443"), answer)
    office.wait()
    assert tries[0] == "github.com:443"


# --- Requests that nobody waits for ---------------------------------------------------------------


def test_a_login_that_was_accepted_moments_ago_may_be_sent_without_need(office: Office) -> None:
    answer = office.trust()
    assert office.desk.is_sure_of(answer)
    office.wait(16)
    assert not office.desk.is_sure_of(answer)
    office.desk.accepted(answer)
    assert office.desk.is_sure_of(answer)


def test_each_acceptance_makes_it_recent_anew(office: Office) -> None:
    answer = office.trust()
    for _ in range(3):
        office.wait(14)
        office.desk.accepted(answer)
    office.wait(14)
    assert answer.is_recently_accepted
    office.wait(2)
    assert not answer.is_recently_accepted


def doubt(office: Office, answer: Credentials) -> None:
    office.challenge(answer)


def lock(office: Office, answer: Credentials) -> None:
    office.desk.screen_locked(True)


def see_another_realm(office: Office, answer: Credentials) -> None:
    office.challenge(challenges='Basic realm="Other"')


def forget(office: Office, answer: Credentials) -> None:
    office.desk.forget(OFFICE)


def delete(office: Office, answer: Credentials) -> None:
    office.desk.profile_deleted(OFFICE.id)


def give_another(office: Office, answer: Credentials) -> None:
    assert office.desk.preload(OFFICE, SECRET) is None


@pytest.mark.parametrize("happens", [doubt, lock, see_another_realm, forget, delete, give_another])
def test_a_login_is_not_sent_without_need(
    office: Office, happens: Callable[[Office, Credentials], None]
) -> None:
    answer = office.trust()
    happens(office, answer)
    assert not office.desk.is_sure_of(answer)


def test_nor_while_the_person_does_not_want_to_be_asked_about_its_upstream(office: Office) -> None:
    answer = office.trust()
    see_another_realm(office, answer)
    office.wait()
    office.desk.decline_prompt(office.face.question.number, Snooze.A_WHILE)
    office.wait(601)  # That realm was not seen lately: the login is known again.
    office.desk.accepted(answer)
    assert is_same(office.desk.known(SPACE), answer)
    assert answer.is_recently_accepted
    assert not office.desk.is_sure_of(answer)


def test_a_screen_that_is_unlocked_again_changes_that(office: Office) -> None:
    answer = office.trust()
    office.desk.screen_locked(True)
    office.desk.screen_locked(False)
    assert office.desk.is_sure_of(answer)


def test_a_refusal_of_a_request_that_has_left_holds_back_the_others(office: Office) -> None:
    """As when a connection was signed in ahead: nobody else sends that login before it is clear."""
    answer = office.trust()
    targets: list[str] = []

    async def on_try(profile: Profile, target: str) -> bool:
        targets.append(target)
        return True

    office.desk.send_own_request = on_try
    office.challenge(answer).cancel()
    assert office.desk.known(SPACE) is None
    seat = office.challenge()
    assert not seat.done()
    office.loop.run_until_complete(asyncio.sleep(0))
    # The only host that accepted the login is the one that refuses it.
    assert set(targets) == {""}
    assert len(office.desk.prompts()) == 0


# --- An upstream that answers nothing -------------------------------------------------------------


def test_a_login_is_not_proved_any_more_while_its_upstream_answers_nothing(office: Office) -> None:
    """What counts are the requests that share the proved login, not the one that tries it."""
    tried = office.trust()
    shared = office.desk.known(SPACE)
    assert tried.permit
    assert shared is not None
    office.desk.overdue(tried, 2)
    assert office.desk.is_sure_of(shared)
    office.desk.overdue(shared, 2)
    assert not office.desk.is_sure_of(shared)
    assert not shared.is_recently_accepted


# --- A request that strays between realms ---------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "strayed"),
    [(None, [True]), (Verdict(VerdictKind.UNUSABLE), [False, False, False, True])],
    ids=["a log-on each", "for free"],
)
def test_a_request_goes_on_in_another_realm_once_or_four_times_if_that_is_free(
    office: Office, verdict: Verdict | None, strayed: list[bool]
) -> None:
    corp = office.trust()
    seat = office.challenge(challenges='Basic realm="Other"')
    office.wait()
    office.enter(WRONG)
    office.desk.accepted(answered(seat))
    realms = [BASIC, parse_challenges([b'Basic realm="Other"'])]
    waiter, carried, seen = PendingRequest("github.com:443"), corp, list[bool]()
    while True:
        realms.reverse()
        seat = office.desk.challenged(SPACE, OFFICE, realms[0], waiter, carried, verdict)
        office.wait()
        if isinstance(seat.result(), Refusal):
            break
        carried = answered(seat)
        seen.append(carried.has_changed_realm)
    assert seen == strayed
