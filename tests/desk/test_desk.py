"""Tests for trayproxy.desk.desk: the state machine on an event loop with a fake clock."""

import asyncio
import logging
import selectors
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future as ThreadFuture
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.desk.machine_driver import OFFICE
from tests.support.values import GNOME, LAB, LOCKED, RIGHT, WRONG, upstream_of
from trayproxy.auth.basic import Basic
from trayproxy.auth.login import Login
from trayproxy.auth.scheme import Verdict, VerdictKind
from trayproxy.auth.socks import socks_challenge
from trayproxy.desk.broker import Accepted, NoVerdict, SilentUpstream
from trayproxy.desk.credential_store import LookupResult
from trayproxy.desk.credentials import Credentials, Outcome, PendingRequest, Refusal
from trayproxy.desk.desk import Desk
from trayproxy.desk.history import History, NullHistory
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import (
    Ending,
    KeyringState,
    KeyringStatus,
    Program,
    Prompt,
    PromptReason,
    SignInState,
    Snooze,
    Transport,
)
from trayproxy.http.challenges import Challenge, parse_challenges
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import Profile, ProxyScheme, SignIn, Upstream

BASIC = parse_challenges([b'Basic realm="Corp"'])
SPACE = UpstreamId.of(OFFICE)
SECRET = Login("jdoe", "Zx9-hidden")


class SkippingSelector(selectors.DefaultSelector):
    """Advances the clock instead of waiting, so hours take milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.sleeps = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
            self.sleeps += 1
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time."""

    def __init__(self) -> None:
        self._fake_selector = SkippingSelector()
        super().__init__(self._fake_selector)
        self.errors: list[dict[str, Any]] = []
        """The exceptions of callbacks and tasks, which no test expects."""

    def time(self) -> float:
        return self._fake_selector.now

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)

    @property
    def sleeps(self) -> int:
        """The number of times the loop would have slept."""
        return self._fake_selector.sleeps


@dataclass
class FakeCredentialStore:
    """A credential store that completes its futures at once, or when the test says so."""

    login: Login | None = None
    keyring: KeyringStatus = GNOME
    hangs: bool = False
    problem: Problem | None = None
    lookups: list[tuple[str, str]] = field(default_factory=list)
    saved: list[Login] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    looked_up: list[str] = field(default_factory=list)
    """For which upstreams it was asked."""
    pending: list[Callable[[], None]] = field(default_factory=list)
    on_change: Callable[[KeyringStatus], None] | None = None

    def find(self, profile: Profile, user: str = "") -> ThreadFuture[LookupResult]:
        self.lookups.append((profile.id, user))
        self.looked_up.append(str(profile.upstream))
        future: ThreadFuture[LookupResult] = ThreadFuture()
        self._complete(lambda: future.set_result(LookupResult(self.login, self.keyring)))
        return future

    def save(self, profile: Profile, login: Login) -> ThreadFuture[Problem | None]:
        self.saved.append(login)
        return self._write()

    def forget(self, profile: Profile) -> ThreadFuture[Problem | None]:
        self.forgotten.append(profile.id)
        return self._write()

    def survey(self) -> ThreadFuture[KeyringStatus]:
        future: ThreadFuture[KeyringStatus] = ThreadFuture()
        self._complete(lambda: future.set_result(self.keyring))
        return future

    def watch(self, tell: Callable[[KeyringStatus], None]) -> None:
        self.on_change = tell

    def answer_pending(self) -> None:
        """Complete all pending futures."""
        self.hangs = False
        for callback in self.pending:
            callback()
        self.pending.clear()

    def _write(self) -> ThreadFuture[Problem | None]:
        future: ThreadFuture[Problem | None] = ThreadFuture()
        self._complete(lambda: future.set_result(self.problem))
        return future

    def _complete(self, callback: Callable[[], None]) -> None:
        if self.hangs:
            self.pending.append(callback)
        else:
            callback()


@dataclass
class RecordingListener:
    """A listener that records all changes."""

    prompts: list[Prompt] = field(default_factory=list)
    closed: list[tuple[int, Ending]] = field(default_factory=list)
    fact_changes: int = 0

    def prompt_changed(self, prompt: Prompt) -> None:
        self.prompts.append(prompt)

    def prompt_closed(self, number: int, ending: Ending) -> None:
        self.closed.append((number, ending))

    def facts_changed(self) -> None:
        self.fact_changes += 1

    @property
    def prompt(self) -> Prompt:
        return self.prompts[-1]


OutcomeFuture = asyncio.Future[Outcome]


@dataclass
class DeskHarness:
    """A desk with a fake store and a recording listener, on a loop that skips waiting."""

    loop: SkippingLoop
    store: FakeCredentialStore = field(default_factory=FakeCredentialStore)
    listener: RecordingListener = field(default_factory=RecordingListener)
    history: History = field(default_factory=NullHistory)

    def __post_init__(self) -> None:
        self.desk = Desk(
            store=self.store, listener=self.listener, loop=self.loop, history=self.history
        )
        self.desk.set_front_end_count(1)

    def challenge(
        self,
        tried: Credentials | None = None,
        target: str = "github.com:443",
        profile: Profile = OFFICE,
        challenges: object = None,
    ) -> OutcomeFuture:
        offered = BASIC if challenges is None else parse_challenges([str(challenges).encode()])
        return self.desk.broker.challenged(
            UpstreamId.of(profile), profile, offered, PendingRequest(target), tried
        )

    def wait(self, seconds: float = 0.3) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def send_requests(self, requests: int = 1) -> list[OutcomeFuture]:
        futures = [self.challenge() for _ in range(requests)]
        self.wait()
        return futures

    def type_login(self, login: Login = RIGHT, remember: bool = True) -> None:
        assert self.desk.answer_prompt(self.listener.prompt.number, login, remember) is None

    def sign_in(self) -> Credentials:
        (future,) = self.send_requests()
        self.type_login()
        credentials = credentials_in(future)
        self.desk.broker.report(credentials, Accepted())
        self.wait()
        return credentials


def credentials_in(future: OutcomeFuture) -> Credentials:
    result = future.result()
    assert isinstance(result, Credentials)
    return result


def is_same(first: Credentials | None, other: Credentials) -> bool:
    """Return whether two credentials are the same except for their send permit."""
    return first is not None and (first.login_id, first.authenticator) == (
        other.login_id,
        other.authenticator,
    )


def refusal_in(future: OutcomeFuture) -> Refusal:
    result = future.result()
    assert isinstance(result, Refusal)
    return result


@pytest.fixture
def harness() -> Iterator[DeskHarness]:
    loop = SkippingLoop()
    harness = DeskHarness(loop)
    yield harness
    harness.desk.close()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert loop.errors == []


# --- From the challenge to the acceptance ---------------------------------------------------------


def test_a_parked_request_continues_with_the_typed_login(harness: DeskHarness) -> None:
    (future,) = harness.send_requests()
    assert not future.done()
    harness.type_login()
    credentials = credentials_in(future)
    assert credentials.header_value(b"CONNECT", b"github.com:443") == b"Basic amRvZTpyaWdodA=="
    assert (credentials.upstream_id, credentials.scheme, credentials.generation) == (
        SPACE,
        Basic(),
        1,
    )


def test_an_accepted_login_is_known_saved_and_closes_the_prompt(harness: DeskHarness) -> None:
    credentials = harness.sign_in()
    assert is_same(harness.desk.broker.known(SPACE), credentials)
    assert harness.store.saved == [RIGHT]
    assert harness.listener.closed == [(1, Ending.ACCEPTED)]
    facts = harness.desk.facts("office")
    assert (facts.sign_in, facts.user, facts.waiting) == (SignInState.OK, "jdoe", 0)


def test_credentials_are_not_known_before_they_were_accepted(harness: DeskHarness) -> None:
    (future,) = harness.send_requests()
    harness.type_login()
    assert future.done()
    assert harness.desk.broker.known(SPACE) is None


def test_requests_share_their_credentials(harness: DeskHarness) -> None:
    futures = harness.send_requests(50)
    harness.type_login()
    harness.desk.broker.report(credentials_in(futures[0]), Accepted())
    first, *others = map(credentials_in, futures)
    assert set(others) == {harness.desk.broker.known(SPACE)}
    assert is_same(first, others[0])


def test_fifty_requests_with_a_wrong_password_cost_one_log_on(harness: DeskHarness) -> None:
    futures = harness.send_requests(50)
    harness.type_login(WRONG)
    done = [future for future in futures if future.done()]
    assert len(done) == 1
    again = harness.challenge(credentials_in(done[0]))
    harness.wait()
    assert sum(future.done() for future in [*futures, again]) == 1
    assert harness.listener.prompt.reason is PromptReason.TYPED_REJECTED
    assert harness.listener.prompt.waiting == 50
    harness.type_login(RIGHT)
    canary = next(future for future in futures[1:] if future.done())
    harness.desk.broker.report(credentials_in(canary), Accepted())
    assert all(future.done() for future in [*futures, again])


def test_a_disconnected_client_is_not_the_canary(harness: DeskHarness) -> None:
    first, second = harness.send_requests(2)
    first.cancel()
    harness.type_login()
    assert credentials_in(second)


def test_the_prompt_closes_with_its_last_client(harness: DeskHarness) -> None:
    (future,) = harness.send_requests()
    future.cancel()
    harness.wait()
    assert harness.listener.closed == [(1, Ending.ABANDONED)]


def test_a_cancelled_task_can_await_a_credentials_future(harness: DeskHarness) -> None:
    async def request() -> Outcome:
        return await harness.challenge()

    async def client() -> None:
        task = asyncio.ensure_future(request())
        await asyncio.sleep(0.3)
        assert harness.desk.facts("office").waiting == 1
        task.cancel()
        await asyncio.sleep(0.3)

    harness.loop.run_until_complete(client())
    assert harness.desk.facts("office").waiting == 0


# --- Refusals -------------------------------------------------------------------------------------


def test_an_unsupported_scheme_is_reported(harness: DeskHarness) -> None:
    refusal = refusal_in(harness.challenge(challenges='Negotiate, NTLM, Digest realm="x"'))
    assert (refusal.problem.id, refusal.retry_after) == ("TP-303", None)
    assert "Negotiate" in refusal.problem.body
    assert "TrayProxy can use Basic" in refusal.problem.body


def test_a_407_without_a_challenge_is_reported_r_080(harness: DeskHarness) -> None:
    future = harness.desk.broker.challenged(SPACE, OFFICE, (), PendingRequest("a"), None)
    assert "offers nothing. " in refusal_in(future).problem.body


def test_a_profile_without_sign_in_opens_no_prompt(harness: DeskHarness) -> None:
    refusal = refusal_in(harness.challenge(profile=replace(OFFICE, sign_in=SignIn.NONE)))
    assert refusal.problem.id == "TP-303"
    harness.wait()
    assert harness.listener.prompts == []


def test_a_cancelled_sign_in_is_refused_with_retry_after(harness: DeskHarness) -> None:
    (future,) = harness.send_requests()
    harness.desk.decline_prompt(1, Snooze.A_MINUTE)
    refusal = refusal_in(future)
    assert (refusal.problem.id, refusal.retry_after) == ("TP-301", 5)
    assert refusal.problem.title == "Sign-in was cancelled"
    assert refusal.details == "sign-in cancelled"


def test_a_forbidden_address_does_not_count_against_the_password(harness: DeskHarness) -> None:
    credentials = harness.sign_in()
    refusal = refusal_in(harness.challenge(credentials))
    assert (refusal.problem.id, refusal.retry_after) == ("TP-306", None)
    assert "password is not the reason" in refusal.problem.body


def test_a_request_waits_five_minutes(harness: DeskHarness) -> None:
    (future,) = harness.send_requests()
    harness.wait(299)
    assert not future.done()
    harness.wait(1)
    assert refusal_in(future).details == "sign-in timed out"


def test_without_a_front_end_requests_are_refused_after_an_empty_keyring_lookup(
    harness: DeskHarness,
) -> None:
    harness.desk.set_front_end_count(0)
    harness.wait(31)
    future = harness.challenge()
    harness.wait()
    assert refusal_in(future).problem.title == "Sign-in needed for Office"
    assert harness.store.lookups == [("office", "jdoe")]


def test_titles_stay_short_for_long_profile_names(harness: DeskHarness) -> None:
    harness.desk.set_front_end_count(0)
    harness.wait(31)
    long = replace(OFFICE, id="long", name="x" * 100)
    future = harness.challenge(profile=long)
    harness.wait()
    assert len(refusal_in(future).problem.title) == 60


def test_closing_the_desk_refuses_parked_requests_and_withdraws_prompts(
    harness: DeskHarness,
) -> None:
    (future,) = harness.send_requests()
    harness.desk.close()
    assert refusal_in(future).retry_after == 5
    assert harness.listener.closed == [(1, Ending.WITHDRAWN)]


def test_a_closed_desk_publishes_no_changes(harness: DeskHarness) -> None:
    harness.desk.close()
    facts = harness.listener.fact_changes
    harness.challenge()
    harness.wait()
    assert (harness.listener.prompts, harness.listener.fact_changes) == ([], facts)


# --- Acceptances ----------------------------------------------------------------------------------


def test_an_acceptance_must_be_reported_again_after_some_seconds(harness: DeskHarness) -> None:
    credentials = harness.sign_in()
    verified = [credentials.is_recently_accepted]
    harness.wait(16)
    verified.append(credentials.is_recently_accepted)
    harness.desk.broker.report(credentials, Accepted())
    verified.append(credentials.is_recently_accepted)
    assert verified == [True, False, True]


def test_a_407_during_accepted_traffic_is_not_a_rejection(harness: DeskHarness) -> None:
    credentials = harness.sign_in()
    for _ in range(60):
        harness.wait(14)
        if not credentials.is_recently_accepted:
            harness.desk.broker.report(credentials, Accepted())
    assert refusal_in(harness.challenge(credentials)).problem.id == "TP-306"


def test_a_doubted_login_is_not_known(harness: DeskHarness) -> None:
    credentials = harness.sign_in()
    harness.challenge(credentials)
    assert harness.desk.broker.known(SPACE) is None
    assert not credentials.is_recently_accepted
    harness.desk.broker.report(
        credentials, Accepted()
    )  # By a request sent before the refusal was read.
    assert harness.desk.broker.known(SPACE) is None
    harness.desk.broker.report(
        credentials_in(harness.challenge(target="other.example:443")), Accepted()
    )
    assert is_same(harness.desk.broker.known(SPACE), credentials)


def test_after_a_canary_without_a_verdict_the_next_request_is_released(
    harness: DeskHarness,
) -> None:
    first, second = harness.send_requests(2)
    harness.type_login()
    harness.desk.broker.report(credentials_in(first), NoVerdict("connection reset"))
    assert is_same(credentials_in(second), credentials_in(first))
    harness.wait()
    assert harness.listener.prompt.reason is PromptReason.UNCHECKED


# --- Front ends -----------------------------------------------------------------------------------


def test_500_requests_are_published_as_a_single_change(harness: DeskHarness) -> None:
    async def arrive() -> list[OutcomeFuture]:
        futures = []
        for _ in range(500):
            futures.append(harness.challenge())
            await asyncio.sleep(0)
        await asyncio.sleep(1)
        return futures

    harness.loop.run_until_complete(arrive())
    assert len(harness.listener.prompts) == 1
    assert harness.listener.prompt.waiting == 500


def test_a_prompt_shows_the_transport_of_the_password(harness: DeskHarness) -> None:
    harness.send_requests()
    harness.desk.decline_prompt(1, Snooze.A_MINUTE)
    harness.challenge(profile=replace(LAB, upstream=Upstream("lab-px", 3129, ProxyScheme.HTTPS)))
    harness.wait()
    transports = {prompt.profile_id: prompt.transport for prompt in harness.listener.prompts}
    assert transports == {"office": Transport.READABLE, "lab": Transport.ENCRYPTED}


def test_a_login_the_scheme_cannot_encode_is_reported_and_not_sent_r_090(
    harness: DeskHarness,
) -> None:
    (future,) = harness.send_requests()
    problem = harness.desk.answer_prompt(1, Login("CORP:jdoe", "x"), remember=True)
    assert problem
    assert "colon" in problem.body
    assert not future.done()
    assert harness.desk.prompts()[0].number == 1


def test_an_answer_to_a_closed_prompt_is_reported(harness: DeskHarness) -> None:
    problem = harness.desk.answer_prompt(7, RIGHT, remember=True)
    assert problem
    assert problem.title == "This question is closed"


def test_a_prompt_stays_open_without_clients_while_the_user_types(harness: DeskHarness) -> None:
    (future,) = harness.send_requests()
    harness.desk.keep_prompt_open(1)
    future.cancel()
    harness.wait(600)
    assert [prompt.number for prompt in harness.desk.prompts()] == [1]


def test_signing_in_from_the_menu_names_the_keyring(harness: DeskHarness) -> None:
    assert harness.desk.sign_in_now(OFFICE) is None
    harness.wait()
    prompt = harness.listener.prompt
    assert (prompt.reason, prompt.keyring, prompt.method) == (
        PromptReason.ASKED_FOR,
        GNOME,
        "Basic",
    )
    assert harness.store.lookups == []


def test_signing_in_from_the_menu_needs_a_front_end(harness: DeskHarness) -> None:
    harness.desk.set_front_end_count(0)
    problem = harness.desk.sign_in_now(OFFICE)
    assert problem
    assert problem.id == "TP-301"


def test_signing_in_from_the_menu_needs_a_profile_with_a_sign_in(harness: DeskHarness) -> None:
    problem = harness.desk.sign_in_now(replace(OFFICE, sign_in=SignIn.NONE))
    assert problem
    assert (problem.id, problem.title) == ("TP-303", "No common way to sign in")
    assert harness.desk.prompts() == ()


def test_the_end_of_a_snooze_is_a_constant_time_of_day(harness: DeskHarness) -> None:
    harness.send_requests()
    harness.desk.decline_prompt(1, Snooze.A_WHILE)
    until = harness.desk.facts("office").snoozed_until
    harness.wait(10)
    assert until
    assert harness.desk.facts("office").snoozed_until == until


def test_a_snooze_until_the_user_acts_has_no_end_time(harness: DeskHarness) -> None:
    harness.send_requests()
    harness.desk.decline_prompt(1, Snooze.UNTIL_CHOSEN)
    facts = harness.desk.facts("office")
    assert (facts.sign_in, facts.snoozed_until) == (SignInState.SNOOZED, None)


def test_the_waiting_program_is_identified_and_named(harness: DeskHarness) -> None:
    asked: list[PendingRequest] = []

    async def identify(pending: PendingRequest) -> Program | None:
        asked.append(pending)
        await asyncio.sleep(1)
        return Program("git", 4312, pending.target)

    harness.desk.broker.identify_program = identify
    harness.send_requests()
    harness.wait(2)
    assert harness.listener.prompt.programs == (Program("git", 4312, "github.com:443"),)
    assert [pending.target for pending in asked] == ["github.com:443"]


@pytest.mark.parametrize("found", [None, OSError("gone")])
def test_an_unknown_program_is_looked_up_once(harness: DeskHarness, found: OSError | None) -> None:
    calls = [0]

    def identify(pending: PendingRequest) -> Awaitable[Program | None]:
        calls[0] += 1
        future: asyncio.Future[Program | None] = harness.loop.create_future()
        if found:
            future.set_exception(found)
        else:
            future.set_result(None)
        return future

    harness.desk.broker.identify_program = identify
    harness.send_requests()
    harness.challenge()
    harness.wait(2)
    assert calls == [2]


def test_closing_the_desk_cancels_program_lookups_without_an_error(harness: DeskHarness) -> None:
    searches: list[asyncio.Future[Program | None]] = []

    def identify(pending: PendingRequest) -> Awaitable[Program | None]:
        searches.append(harness.loop.create_future())
        return searches[-1]

    harness.desk.broker.identify_program = identify
    harness.send_requests()
    harness.desk.close()
    harness.wait()
    assert [search.cancelled() for search in searches] == [True]
    assert harness.loop.errors == []


def test_only_programs_named_in_a_prompt_are_looked_up(harness: DeskHarness) -> None:
    calls = [0]

    async def identify(pending: PendingRequest) -> Program | None:
        calls[0] += 1
        return None

    harness.desk.broker.identify_program = identify
    harness.send_requests(200)
    harness.wait(2)
    assert calls == [20]


# --- The store ------------------------------------------------------------------------------------


def test_a_saved_login_is_used_without_a_prompt(harness: DeskHarness) -> None:
    harness.store.login = RIGHT
    (future,) = harness.send_requests()
    harness.desk.broker.report(credentials_in(future), Accepted())
    assert harness.listener.prompts == []
    assert harness.store.saved == []


def test_a_hanging_store_does_not_delay_the_prompt(harness: DeskHarness) -> None:
    harness.store.hangs = True
    future = harness.challenge()
    harness.wait(9)
    assert harness.listener.prompt.reason is PromptReason.KEYRING_SILENT
    harness.store.login = RIGHT
    harness.store.answer_pending()
    harness.wait()
    assert credentials_in(future).login == RIGHT


def test_a_store_waiting_to_be_unlocked_is_reported_as_locked(harness: DeskHarness) -> None:
    harness.store.hangs = True
    harness.challenge()
    assert harness.store.on_change
    harness.store.on_change(LOCKED)
    harness.wait(9)
    assert (harness.listener.prompt.reason, harness.listener.prompt.keyring) == (
        PromptReason.KEYRING_LOCKED,
        LOCKED,
    )


def test_a_saved_login_the_scheme_cannot_encode_is_not_tried(harness: DeskHarness) -> None:
    harness.store.login = Login("CORP:jdoe", "x")
    (future,) = harness.send_requests()
    assert not future.done()
    assert harness.listener.prompt.reason is PromptReason.NEEDED


def test_an_unsaved_login_works_and_causes_a_notice(harness: DeskHarness) -> None:
    harness.store.problem = Problem("TP-404", "The password could not be saved", "It is full.")
    credentials = harness.sign_in()
    assert is_same(harness.desk.broker.known(SPACE), credentials)
    [notice] = harness.desk.notices
    assert notice.id == "TP-404"
    assert notice.body == "It is full. The password stays in memory until TrayProxy quits."


def test_the_notice_ends_with_the_next_saved_login(harness: DeskHarness) -> None:
    harness.store.problem = Problem("TP-404", "The password could not be saved", "")
    harness.sign_in()
    harness.store.problem = None
    harness.loop.run_until_complete(harness.desk.save_login(OFFICE, RIGHT))
    assert harness.desk.notices == ()


def test_a_store_hanging_while_saving_causes_a_notice_until_it_continues(
    harness: DeskHarness,
) -> None:
    (future,) = harness.send_requests()
    harness.type_login()
    harness.store.hangs = True
    harness.desk.broker.report(credentials_in(future), Accepted())
    harness.wait(9)
    assert [notice.id for notice in harness.desk.notices] == ["TP-403"]
    harness.store.answer_pending()
    harness.wait()
    assert harness.desk.notices == ()


def test_a_login_from_the_command_line_is_saved_and_used_next(harness: DeskHarness) -> None:
    saving = harness.desk.save_login(OFFICE, RIGHT)
    assert harness.loop.run_until_complete(saving) is None
    assert harness.store.saved == [RIGHT]
    assert credentials_in(harness.challenge()).login == RIGHT
    assert harness.store.lookups == []


def test_an_unusable_login_from_the_command_line_is_not_saved(harness: DeskHarness) -> None:
    saving = harness.desk.save_login(OFFICE, Login("a:b", "x"))
    problem = harness.loop.run_until_complete(saving)
    assert problem
    assert "colon" in problem.body
    assert harness.store.saved == []


def test_a_preloaded_login_is_used_and_never_saved(harness: DeskHarness) -> None:
    assert harness.desk.preload(OFFICE, RIGHT) is None
    future = harness.challenge()
    harness.desk.broker.report(credentials_in(future), Accepted())
    assert harness.store.saved == []
    assert harness.desk.broker.known(SPACE)


def test_forgetting_a_login_clears_memory_and_store(harness: DeskHarness) -> None:
    harness.sign_in()
    forgetting = harness.desk.forget(OFFICE)
    assert harness.loop.run_until_complete(forgetting) is None
    assert harness.store.forgotten == ["office"]
    assert harness.desk.broker.known(SPACE) is None


def test_a_result_after_the_loop_was_closed_is_ignored() -> None:
    loop = SkippingLoop()
    harness = DeskHarness(loop)
    harness.store.hangs = True
    harness.challenge()
    harness.desk.close()
    loop.close()
    harness.store.answer_pending()


# --- Profiles -------------------------------------------------------------------------------------


def test_parked_requests_survive_a_profile_switch(harness: DeskHarness) -> None:
    (future,) = harness.send_requests()
    harness.desk.profile_switched(LAB)
    harness.type_login()
    assert credentials_in(future).upstream_id == SPACE


def test_an_edited_upstream_withdraws_its_prompt_and_requests(harness: DeskHarness) -> None:
    (future,) = harness.send_requests()
    harness.desk.profile_changed(replace(OFFICE, upstream=Upstream("other", 1)))
    harness.wait()
    assert harness.listener.closed == [(1, Ending.WITHDRAWN)]
    assert refusal_in(future).details == "the profile was changed"


def test_an_edited_upstream_does_not_get_the_old_login(harness: DeskHarness) -> None:
    harness.sign_in()
    edited = replace(OFFICE, upstream=Upstream("other", 1))
    harness.desk.profile_changed(edited)
    assert harness.desk.broker.known(UpstreamId.of(edited)) is None
    assert harness.desk.broker.known(SPACE) is None


def test_a_deleted_profile_is_forgotten(harness: DeskHarness) -> None:
    harness.sign_in()
    harness.desk.profile_deleted("office")
    assert harness.desk.broker.known(SPACE) is None


def test_not_now_ends_when_the_network_changes(harness: DeskHarness) -> None:
    harness.send_requests()
    harness.desk.decline_prompt(1, Snooze.UNTIL_CHOSEN)
    harness.desk.network_changed()
    future = harness.challenge()
    assert not future.done()


# --- Secrets --------------------------------------------------------------------------------------


def test_no_secret_is_shown_or_logged(
    harness: DeskHarness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    (future,) = harness.send_requests()
    harness.type_login(SECRET)
    harness.desk.broker.report(credentials_in(future), NoVerdict("reset"))
    harness.desk.broker.report(credentials_in(future), Accepted())
    harness.desk.broker.report(credentials_in(harness.challenge()), Accepted())
    harness.challenge(credentials_in(future))
    harness.wait()
    shown = [
        caplog.text,
        repr(credentials_in(future)),
        repr(harness.listener),
        repr(vars(harness.history.rejected)),
    ]
    shown += [repr(vars(harness.desk)), repr(harness.desk.facts("office"))]
    assert "profile office: sign-in ok" in caplog.text
    assert "hidden" not in "".join(shown)
    assert "WngtLWhpZGRlbg" not in "".join(shown)


def test_an_idle_desk_sets_no_timer(harness: DeskHarness) -> None:
    harness.sign_in()
    harness.wait(1000)
    before = harness.loop.sleeps
    harness.wait(10_000)
    assert harness.loop.sleeps == before + 1  # The timer of this wait.


def test_the_keyring_is_unknown_until_needed(harness: DeskHarness) -> None:
    assert harness.desk.keyring == KeyringStatus(KeyringState.UNKNOWN)


# --- Several upstreams, and SOCKS -----------------------------------------------------------------

STAND_IN = Upstream("lab-px", 3130)
SEVERAL = replace(OFFICE, fallbacks=(STAND_IN,))
SOCKS = Profile("socks", "Socks", Upstream("socks-px", 1080, ProxyScheme.SOCKS5))


def challenged_at(
    harness: DeskHarness,
    profile: Profile,
    upstream: Upstream,
    challenges: Sequence[Challenge] = BASIC,
) -> OutcomeFuture:
    space = UpstreamId(profile.id, str(upstream))
    return harness.desk.broker.challenged(
        space, profile, challenges, PendingRequest("github.com:443"), None
    )


def test_a_fallback_has_a_prompt_with_its_own_name(harness: DeskHarness) -> None:
    first = challenged_at(harness, SEVERAL, upstream_of(SEVERAL))
    harness.wait()
    harness.type_login()
    harness.desk.broker.report(credentials_in(first), Accepted())
    second = challenged_at(harness, SEVERAL, STAND_IN)
    harness.wait()
    assert not second.done()
    assert harness.listener.prompt.upstream == str(STAND_IN)
    assert harness.listener.prompt.reason is PromptReason.NEEDED
    assert harness.desk.broker.known(UpstreamId(SEVERAL.id, str(STAND_IN))) is None


def test_each_upstream_has_an_entry_of_its_own_in_the_keyring(harness: DeskHarness) -> None:
    """The keyring finds entries by the profile's upstream, so each upstream is passed alone."""
    challenged_at(harness, SEVERAL, STAND_IN)
    harness.wait()
    harness.type_login()
    assert harness.store.looked_up == [str(STAND_IN)]


def test_all_logins_of_a_profile_are_removed_together(harness: DeskHarness) -> None:
    done = harness.desk.forget(SEVERAL)
    harness.wait()
    assert done.result() is None
    assert harness.store.forgotten == [SEVERAL.id] * 2


def test_an_automatic_profile_without_a_login_has_nothing_to_remove(harness: DeskHarness) -> None:
    done = harness.desk.forget(replace(OFFICE, upstream=None, pac=PacSource(PacKind.SYSTEM)))
    harness.wait()
    assert done.result() is None
    assert harness.desk.notices == ()


def test_a_fallback_removed_from_the_profile_has_no_login(harness: DeskHarness) -> None:
    future = challenged_at(harness, SEVERAL, STAND_IN)
    harness.wait()
    harness.desk.profile_changed(OFFICE)
    assert "profile was changed" in refusal_in(future).details


def test_a_socks_proxy_uses_the_scheme_of_socks(harness: DeskHarness) -> None:
    future = challenged_at(harness, SOCKS, upstream_of(SOCKS), (socks_challenge(),))
    harness.wait()
    prompt = harness.listener.prompt
    assert (prompt.method, prompt.transport) == ("SOCKS5", Transport.READABLE)
    harness.type_login(Login("CORP:jdoe", "pass"))  # A colon has no meaning in SOCKS.
    assert credentials_in(future).header_value(b"", b"") == b"\x01\x09CORP:jdoe\x04pass"


def test_a_login_socks_cannot_encode_is_reported(harness: DeskHarness) -> None:
    challenged_at(harness, SOCKS, upstream_of(SOCKS), (socks_challenge(),))
    harness.wait()
    number = harness.listener.prompt.number
    problem = harness.desk.answer_prompt(number, Login("jdoe", "x" * 256), remember=True)
    assert problem is not None
    assert problem.id == "TP-302"


def test_http_proxies_never_get_a_socks_login(harness: DeskHarness) -> None:
    future = challenged_at(harness, OFFICE, upstream_of(OFFICE), (socks_challenge(),))
    assert refusal_in(future).problem.id == "TP-303"


def test_socks_proxies_never_get_an_http_login(harness: DeskHarness) -> None:
    future = challenged_at(harness, SOCKS, upstream_of(SOCKS), BASIC)
    assert refusal_in(future).problem.id == "TP-303"


def test_a_socks_proxy_is_not_asked_again_after_a_refusal(harness: DeskHarness) -> None:
    """The proxy has received no target yet, so it cannot have refused because of the target."""
    tries: list[str] = []

    async def try_own(profile: Profile, target: str) -> bool:
        tries.append(target)
        return True

    harness.desk.send_own_request = try_own
    future = challenged_at(harness, SOCKS, upstream_of(SOCKS), (socks_challenge(),))
    harness.wait()
    harness.type_login()
    credentials = credentials_in(future)
    harness.desk.broker.report(credentials, Accepted())
    space = UpstreamId.of(SOCKS)
    harness.desk.broker.challenged(
        space, SOCKS, (socks_challenge(),), PendingRequest("blocked.example:443"), credentials
    )
    harness.wait()
    assert tries == []
    assert harness.desk.broker.known(space) is None
    assert harness.listener.prompt.reason is PromptReason.SAVED_REJECTED


def test_a_login_refused_by_a_site_is_verified_at_another_site(harness: DeskHarness) -> None:
    """The refusal may be due to a used-up quota and not to the password."""
    tries: list[str] = []

    async def try_own(profile: Profile, target: str) -> bool:
        tries.append(target)
        return True

    harness.desk.send_own_request = try_own
    (future,) = harness.send_requests()
    harness.type_login()
    credentials = credentials_in(future)
    harness.desk.broker.report(credentials, Accepted("github.com:443"))
    harness.desk.broker.report(credentials, Accepted("site.example:80"))
    harness.desk.broker.challenged(
        SPACE, OFFICE, BASIC, PendingRequest("site.example:443"), credentials
    )
    harness.wait()
    assert tries[0] == "github.com:443"


def test_a_login_of_several_proxies_is_known_by_the_address_of_the_proxy_that_refuses_it(
    harness: DeskHarness,
) -> None:
    asked: list[str] = []

    def addresses_of(url: str) -> tuple[str, ...]:
        asked.append(url)
        return ("192.0.2.1:8080",)

    harness.desk.broker.addresses_of = addresses_of
    shared = ("*.corp.example:8080",)
    automatic = replace(OFFICE, upstream=None, pac=PacSource(PacKind.SYSTEM), shared_sign_in=shared)
    harness.challenge(profile=automatic.via(Upstream("a.corp.example", 8080)))
    assert asked == ["http://a.corp.example:8080"]


# --- Preconnects ----------------------------------------------------------------------------------


def test_a_recently_accepted_login_may_be_used_for_preconnects(harness: DeskHarness) -> None:
    credentials = harness.sign_in()
    assert harness.desk.broker.may_preconnect(credentials)
    harness.wait(16)
    assert not harness.desk.broker.may_preconnect(credentials)
    harness.desk.broker.report(credentials, Accepted())
    assert harness.desk.broker.may_preconnect(credentials)


def test_each_acceptance_restarts_the_recent_period(harness: DeskHarness) -> None:
    credentials = harness.sign_in()
    for _ in range(3):
        harness.wait(14)
        harness.desk.broker.report(credentials, Accepted())
    harness.wait(14)
    assert credentials.is_recently_accepted
    harness.wait(2)
    assert not credentials.is_recently_accepted


def doubt(harness: DeskHarness, credentials: Credentials) -> None:
    harness.challenge(credentials)


def lock(harness: DeskHarness, credentials: Credentials) -> None:
    harness.desk.screen_locked(True)


def see_another_realm(harness: DeskHarness, credentials: Credentials) -> None:
    harness.challenge(challenges='Basic realm="Other"')


def forget(harness: DeskHarness, credentials: Credentials) -> None:
    harness.desk.forget(OFFICE)


def delete(harness: DeskHarness, credentials: Credentials) -> None:
    harness.desk.profile_deleted(OFFICE.id)


def give_another(harness: DeskHarness, credentials: Credentials) -> None:
    assert harness.desk.preload(OFFICE, SECRET) is None


@pytest.mark.parametrize("happens", [doubt, lock, see_another_realm, forget, delete, give_another])
def test_a_login_in_this_state_is_not_used_for_preconnects(
    harness: DeskHarness, happens: Callable[[DeskHarness, Credentials], None]
) -> None:
    credentials = harness.sign_in()
    happens(harness, credentials)
    assert not harness.desk.broker.may_preconnect(credentials)


def test_a_snoozed_login_is_not_used_for_preconnects(harness: DeskHarness) -> None:
    credentials = harness.sign_in()
    see_another_realm(harness, credentials)
    harness.wait()
    harness.desk.decline_prompt(harness.listener.prompt.number, Snooze.A_WHILE)
    harness.wait(601)  # The other realm was not seen recently: the login is known again.
    harness.desk.broker.report(credentials, Accepted())
    assert is_same(harness.desk.broker.known(SPACE), credentials)
    assert credentials.is_recently_accepted
    assert not harness.desk.broker.may_preconnect(credentials)


def test_preconnects_resume_when_the_screen_is_unlocked(harness: DeskHarness) -> None:
    credentials = harness.sign_in()
    harness.desk.screen_locked(True)
    harness.desk.screen_locked(False)
    assert harness.desk.broker.may_preconnect(credentials)


def test_a_refusal_without_a_client_holds_back_other_requests(harness: DeskHarness) -> None:
    """The refusal of a preconnect: no other request sends the login until it is verified."""
    credentials = harness.sign_in()
    targets: list[str] = []

    async def on_try(profile: Profile, target: str) -> bool:
        targets.append(target)
        return True

    harness.desk.send_own_request = on_try
    harness.challenge(credentials).cancel()
    assert harness.desk.broker.known(SPACE) is None
    future = harness.challenge()
    assert not future.done()
    harness.loop.run_until_complete(asyncio.sleep(0))
    # The host that refuses the login is the only host that has accepted it.
    assert set(targets) == {""}
    assert len(harness.desk.prompts()) == 0


@pytest.mark.parametrize("was_sent", [True, False])
def test_a_recently_accepted_login_is_not_proved_after_a_lost_response(
    harness: DeskHarness, was_sent: bool
) -> None:
    credentials = harness.sign_in()
    harness.desk.broker.report(credentials, NoVerdict("reset", was_sent=was_sent))
    assert harness.desk.broker.may_preconnect(credentials) is not was_sent


def test_only_prompts_with_changes_are_published(harness: DeskHarness) -> None:
    harness.send_requests()
    published = list(harness.listener.prompts)
    # Reported as changed, but the same as before.
    harness.desk.profile_changed(OFFICE)
    harness.wait()
    assert harness.listener.prompts == published
    # Changed and closed before the next publication.
    harness.challenge()
    harness.desk.decline_prompt(published[-1].number, Snooze.A_MINUTE)
    harness.wait()
    assert harness.listener.prompts == published
    assert harness.listener.closed == [(published[-1].number, Ending.DECLINED)]


# --- A silent upstream ----------------------------------------------------------------------------


def test_a_login_is_not_proved_while_its_upstream_is_silent(harness: DeskHarness) -> None:
    """Only requests that share the proved login count, not the request that tries it."""
    tried = harness.sign_in()
    shared = harness.desk.broker.known(SPACE)
    assert tried.permit
    assert shared is not None
    harness.desk.broker.report(tried, SilentUpstream(2))
    assert harness.desk.broker.may_preconnect(shared)
    harness.desk.broker.report(shared, SilentUpstream(2))
    assert not harness.desk.broker.may_preconnect(shared)
    assert not shared.is_recently_accepted


def test_a_send_permit_has_a_number_unless_the_login_is_proved(harness: DeskHarness) -> None:
    harness.sign_in()
    broker = harness.desk.broker
    shared = broker.known(SPACE)
    assert shared is not None
    assert broker.request_permit(shared, "a.example:443").result() is shared
    broker.report(shared, SilentUpstream(1))
    first = credentials_in(broker.request_permit(shared, "b.example:443"))
    assert first.permit > shared.permit == 0
    assert is_same(first, shared)
    second = broker.request_permit(shared, "c.example:443")
    assert not second.done()
    harness.desk.profile_deleted(SPACE.profile_id)
    assert second.result() is None


# --- Alternating realms ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "strayed"),
    [(None, [True]), (Verdict(VerdictKind.UNUSABLE), [False, False, False, True])],
    ids=["a log-on each", "for free"],
)
def test_a_request_changes_realm_at_once_or_after_four_costless_407s(
    harness: DeskHarness, verdict: Verdict | None, strayed: list[bool]
) -> None:
    corp = harness.sign_in()
    future = harness.challenge(challenges='Basic realm="Other"')
    harness.wait()
    harness.type_login(WRONG)
    harness.desk.broker.report(credentials_in(future), Accepted())
    realms = [BASIC, parse_challenges([b'Basic realm="Other"'])]
    pending, carried, seen = PendingRequest("github.com:443"), corp, list[bool]()
    while True:
        realms.reverse()
        future = harness.desk.broker.challenged(SPACE, OFFICE, realms[0], pending, carried, verdict)
        harness.wait()
        if isinstance(future.result(), Refusal):
            break
        carried = credentials_in(future)
        seen.append(carried.has_changed_realm)
    assert seen == strayed


def test_a_refusal_in_the_realm_of_the_login_changes_no_realm(harness: DeskHarness) -> None:
    (future,) = harness.send_requests()
    harness.type_login(WRONG)
    again = harness.challenge(credentials_in(future))
    harness.wait()
    harness.type_login(RIGHT)
    assert not credentials_in(again).has_changed_realm
