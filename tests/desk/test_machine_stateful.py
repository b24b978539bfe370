"""Any order of events: what trayproxy.desk.machine.machine guarantees whatever happens."""

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.desk.play import BASIC, GNOME, LAB, LOCKED, NTLM, OFFICE, WAY, Play
from trayproxy.auth.login import Login
from trayproxy.auth.scheme import Verdict, VerdictKind
from trayproxy.control.messages import PromptReason, Snooze
from trayproxy.desk.machine.events import (
    ClientLeft,
    Effect,
    Event,
    FrontEndsChanged,
    LoginAccepted,
    LoginProvided,
    LoginsForgotten,
    LoginUnproved,
    LookupFinished,
    LookUpLogin,
    NetworkChanged,
    NoResponse,
    NotifyPromptChanged,
    NotifyPromptClosed,
    OfferedScheme,
    OwnRequestEnded,
    ProfileSwitched,
    PromptAnswered,
    PromptDeclined,
    PromptTouched,
    RecordFingerprint,
    RefuseRequest,
    ReleaseRequest,
    SaveLoginToKeyring,
    SendOwnRequest,
    SendWithoutLogin,
    SignInRequested,
)
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.machine.space_state import SpacePhase
from trayproxy.desk.protection_space import (
    BY_LOGIN,
    LoginId,
    ProtectionSpace,
    UpstreamFingerprint,
    UpstreamId,
)
from trayproxy.profiles.profile import Profile

RIGHT, NEVER_RIGHT, RIGHT_LATER = (Login("jdoe", p) for p in ("right", "never", "later"))
LOGINS = (RIGHT, NEVER_RIGHT, RIGHT_LATER)
PROFILES = (OFFICE, LAB)


@dataclass
class Sent:
    """A request between us and the upstream."""

    profile: Profile
    mark: LoginId | None
    login: Login | None
    is_canary: bool
    scheme: str = "basic"
    own: int = 0
    flight: int = 0


class Office(RuleBasedStateMachine):
    """One upstream with one right login, its clients, a keyring and a person."""

    def __init__(self) -> None:
        super().__init__()
        self.play = Play(DeskLimits(parked_max=6))
        self.play.machine.state.can_send_own = True
        self.right = RIGHT
        self.were_right = {RIGHT}
        self.sent: list[Sent] = []
        self.lookups: list[int] = []
        self.parked: dict[int, Profile] = {}
        self.tries: list[SendOwnRequest] = []
        self.ours: dict[int, int] = {}
        self.agreed: set[tuple[Login, str]] = set()
        self.failed: Counter[tuple[str, Login]] = Counter()
        self.insisted: Counter[tuple[str, Login]] = Counter()
        self.lifted: set[str] = set()
        self.wanted: set[int] = set()
        self.touched: set[int] = set()
        self.ended: list[int] = []
        self.numbers: set[int] = set()

    # --- What happens --------------------------------------------------------------------------

    @initialize(login=st.none() | st.sampled_from(LOGINS))
    def begin_where_it_matters(self, login: Login | None) -> None:
        """Chance alone would seldom get as far as a question."""
        self.requests_are_refused(2)
        self.the_keyring_answers(login)
        self.answer_all()
        self.a_moment_passes()

    @rule(count=st.integers(1, 3))
    def requests_are_refused(self, count: int) -> None:
        self.requests_are_sent(count)
        self.answer_all()

    @rule(count=st.integers(1, 3))
    def requests_are_sent(self, count: int) -> None:
        for _ in range(count):
            self.send(OFFICE)

    @precondition(lambda self: self.sent)
    @rule()
    def the_upstream_answers(self) -> None:
        self.answer(self.sent.pop(0), "Corp")

    @precondition(lambda self: any(s.login == self.right for s in self.sent))
    @rule(where=st.sampled_from(("a.example:443", "b.example:443")))
    def the_upstream_forbids(self, where: str) -> None:
        sent = next(s for s in self.sent if s.login == self.right)
        self.sent.remove(sent)
        self.challenge(sent, sent.mark.space.realm if sent.mark else "Corp", where)

    @precondition(lambda self: self.right == RIGHT)
    @rule()
    def the_password_is_changed(self) -> None:
        self.right = RIGHT_LATER
        self.were_right.add(RIGHT_LATER)

    @precondition(lambda self: any(s.mark for s in self.sent))
    @rule()
    def the_network_fails(self) -> None:
        sent = next(s for s in self.sent if s.mark)
        self.sent.remove(sent)
        if sent.mark:
            self.do(NoResponse(sent.mark, permit=sent.flight))
        if sent.own:
            self.do(OwnRequestEnded(sent.own, was_challenged=True))

    @precondition(lambda self: self.tries)
    @rule(reached=st.booleans())
    def our_own_request_is_sent(self, reached: bool) -> None:
        attempt = self.tries.pop(0)
        if not reached:
            self.do(OwnRequestEnded(attempt.number, was_challenged=True))
            return
        nothing = Sent(attempt.profile, None, None, is_canary=False, own=attempt.number)
        self.challenge(nothing, "Corp", attempt.target)

    @precondition(lambda self: bool(set(self.parked) - set(self.ours)))
    @rule(all_of_them=st.booleans())
    def clients_leave(self, all_of_them: bool) -> None:
        for _ in range(len(self.parked) if all_of_them else 1):
            if clients := set(self.parked) - set(self.ours):
                del self.parked[min(clients)]
                self.do(ClientLeft(min(clients)))

    @precondition(lambda self: self.lookups)
    @rule(login=st.none() | st.sampled_from(LOGINS))
    def the_keyring_answers(self, login: Login | None) -> None:
        self.do(LookupFinished(self.lookups.pop(0), login, GNOME))

    @rule()
    def a_moment_passes(self) -> None:
        self.take(self.play.wait(0.15))

    @rule(seconds=st.sampled_from((9.0, 61.0, 301.0)))
    def time_passes(self, seconds: float) -> None:
        while seconds > 60 and any(sent.mark for sent in self.sent):
            self.the_network_fails()  # The engine waits for no answer any longer.
        self.take(self.play.wait(seconds))

    # --- What the person does ------------------------------------------------------------------

    @precondition(lambda self: self.play.is_asking)
    @rule(login=st.sampled_from(LOGINS), remember=st.booleans(), at_once=st.booleans())
    def the_person_answers(self, login: Login, remember: bool, at_once: bool) -> None:
        number = self.play.machine.prompt_numbers()[0]
        question = self.play.machine.prompt(number)
        assert question
        is_unknown = question.reason is PromptReason.UNCHECKED
        if question.confirm_retry or is_unknown or question.profile_id in self.lifted:
            self.insisted[question.profile_id, login] += 1
        self.touched.add(number)
        self.agreed.add((login, question.method.lower()))
        self.do(PromptAnswered(number, login, remember))
        if at_once:
            self.answer_all()

    @precondition(lambda self: self.play.is_asking)
    @rule(quiet=st.sampled_from(Snooze))
    def the_person_declines(self, quiet: Snooze) -> None:
        self.do(PromptDeclined(self.play.machine.prompt_numbers()[0], quiet))

    @precondition(lambda self: self.play.is_asking)
    @rule()
    def the_person_types(self) -> None:
        number = self.play.machine.prompt_numbers()[0]
        self.touched.add(number)
        self.do(PromptTouched(number))

    # --- What comes of it ----------------------------------------------------------------------

    def challenge(
        self,
        sent: Sent,
        realm: str,
        target: str = "",
        verdict: Verdict | None = None,
    ) -> None:
        key = ProtectionSpace(UpstreamId.of(sent.profile), realm, BY_LOGIN)
        at = len(self.play.effects)
        waiter = self.play.waiters + 1
        self.parked[waiter] = sent.profile
        if sent.own:
            self.ours[waiter] = sent.own
        self.play.challenge(
            key,
            sent.profile,
            target,
            sent.mark,
            verdict=verdict,
            scheme=sent.scheme,
            own=sent.own > 0,
            flight=sent.flight,
        )
        self.take(self.play.effects[at:])

    def do(self, event: Event) -> None:
        self.take(self.play.do(event))

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case ReleaseRequest(waiter, mark, scheme):
                    profile = self.parked.pop(waiter)
                    self.release(profile, mark, scheme, self.ours.pop(waiter, 0), waiter)
                case SendWithoutLogin(waiter):
                    profile = self.parked.pop(waiter)
                    own = self.ours.pop(waiter, 0)
                    self.sent.append(Sent(profile, None, None, is_canary=False, own=own))
                case RefuseRequest(waiter, _):
                    del self.parked[waiter]
                    if number := self.ours.pop(waiter, 0):
                        self.ended.append(number)
                case SendOwnRequest():
                    self.tries.append(effect)
                case LookUpLogin(lookup, _, _):
                    self.lookups.append(lookup)
                case SaveLoginToKeyring(_, login):
                    assert login in self.were_right
                case NotifyPromptChanged(number):
                    self.numbers.add(number)
                case NotifyPromptClosed(number, _):
                    assert number in self.numbers
        while self.ended:
            self.do(OwnRequestEnded(self.ended.pop(), was_challenged=True))

    def send(self, profile: Profile) -> None:
        mark = self.play.machine.trusted_logins().get(UpstreamId.of(profile))
        login = self.play.machine.login(mark) if mark else None
        # A login that is sent unasked is used with the scheme that it was accepted with.
        scheme = self.play.machine.state.spaces[mark.space].scheme if mark else ""
        self.sent.append(Sent(profile, mark, login, is_canary=False, scheme=scheme))

    def answer_all(self) -> None:
        for _ in range(len(self.sent)):
            self.answer(self.sent.pop(0), "Corp")

    def answer(self, sent: Sent, realm: str) -> None:
        """Let the upstream say what it thinks of a request."""
        if sent.login == self.right and sent.mark:
            self.do(LoginAccepted(sent.mark, sent.scheme, sent.scheme, permit=sent.flight))
            if sent.own:
                self.do(OwnRequestEnded(sent.own, was_challenged=True))
            return
        if sent.login:
            self.failed[sent.profile.id, sent.login] += 1
        self.challenge(sent, realm)

    def release(self, profile: Profile, mark: LoginId, scheme: str, own: int, flight: int) -> None:
        login = self.play.machine.login(mark)
        assert login, "a login was released that there is no more"
        trusted = self.play.machine.is_trusted(mark)
        self.sent.append(Sent(profile, mark, login, not trusted, scheme, own, flight))

    # --- What must hold ------------------------------------------------------------------------

    @invariant()
    def a_wrong_login_costs_one_log_on_and_one_for_each_insistence(self) -> None:
        for (profile_id, login), failures in self.failed.items():
            if login not in self.were_right:
                assert failures <= 1 + self.insisted[profile_id, login], login

    @invariant()
    def a_login_not_verified_is_on_one_request_at_a_time(self) -> None:
        unverified = Counter(
            sent.mark
            for sent in self.sent
            if sent.is_canary and sent.mark and sent.login == NEVER_RIGHT
        )
        assert all(count <= 1 for count in unverified.values())

    @invariant()
    def every_request_that_waits_is_served_in_time(self) -> None:
        cases = self.play.machine.state.spaces.values()
        waiting = {waiter: p.parked_at for case in cases for waiter, p in case.parked.items()}
        assert waiting.keys() == self.parked.keys()
        assert all(self.play.now < since + 300 for since in waiting.values())
        assert self.play.machine.deadline() > self.play.now

    @invariant()
    def a_question_nobody_waits_for_and_nobody_touched_is_closed(self) -> None:
        for number in self.play.machine.prompt_numbers():
            question = self.play.machine.prompt(number)
            assert question
            assert (
                question.waiting
                or question.checking
                or number in self.touched
                or (self.phase(number) is SpacePhase.CHECKING)
            )

    @invariant()
    def questions_come_one_at_a_time_unless_the_person_wants_more(self) -> None:
        ours = set(self.play.machine.prompt_numbers()) - self.wanted - self.touched
        assert len(ours) <= 1

    @invariant()
    def nobody_waits_for_a_person_who_cannot_be_asked(self) -> None:
        if self.play.machine._prompts.can_ask:
            return
        for case in self.play.machine.state.spaces.values():
            assert not (case.phase is SpacePhase.PROMPTING and case.parked)

    @invariant()
    def what_is_sent_unasked_was_accepted(self) -> None:
        for mark in self.play.machine.trusted_logins().values():
            assert self.play.machine.login(mark) in self.were_right

    def phase(self, number: int) -> SpacePhase:
        cases = self.play.machine.state.spaces.values()
        return next(c.phase for c in cases if c.prompt and c.prompt.number == number)


class Vague(Office):
    """The upstream, or a site, often gives an answer that tells nothing about the login.

    What is saved, and what is sent unasked, is what the inherited properties allow: only a login
    that was right, however many other answers came to it and to wrong ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self.proved: set[Login] = set()
        self.is_vague = self.is_doubtful = True

    @rule(is_vague=st.booleans(), is_doubtful=st.booleans())
    def the_upstream_changes_its_manner(self, is_vague: bool, is_doubtful: bool) -> None:
        self.is_vague, self.is_doubtful = is_vague, is_doubtful

    def answer(self, sent: Sent, realm: str) -> None:
        if not self.is_vague or sent.mark is None:
            super().answer(sent, realm)
            return
        where = f"host{len(self.play.effects) % 5}.example:443"
        self.do(LoginUnproved(sent.mark, where, self.is_doubtful, sent.flight))
        if sent.own:
            self.do(OwnRequestEnded(sent.own, was_challenged=True))

    def do(self, event: Event) -> None:
        if isinstance(event, LoginAccepted) and (login := self.play.machine.login(event.login_id)):
            self.proved.add(login)
        super().do(event)

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, SaveLoginToKeyring):
                assert effect.login in self.proved
        super().take(effects)

    @invariant()
    def nothing_is_trusted_that_was_not_proved(self) -> None:
        for mark in self.play.machine.trusted_logins().values():
            assert self.play.machine.login(mark) in self.proved


class Schemes(Office):
    """The upstream offers now this and now that, and not all of it works."""

    def __init__(self) -> None:
        super().__init__()
        self.play.offers = (NTLM, BASIC)
        self.strongest: dict[UpstreamId, str] = {}

    @rule(offers=st.sampled_from(((NTLM, BASIC), (NTLM,), (BASIC,))))
    def the_upstream_offers(self, offers: tuple[OfferedScheme, ...]) -> None:
        self.play.offers = offers

    @precondition(lambda self: any(sent.scheme == "ntlm" for sent in self.sent))
    @rule(kind=st.sampled_from((VerdictKind.UNUSABLE, VerdictKind.EXPIRED, VerdictKind.LOCKED)))
    def a_handshake_ends(self, kind: VerdictKind) -> None:
        sent = next(sent for sent in self.sent if sent.scheme == "ntlm")
        self.sent.remove(sent)
        if kind is not VerdictKind.UNUSABLE and sent.login:
            self.failed[sent.profile.id, sent.login] += 1
        self.challenge(sent, sent.mark.space.realm if sent.mark else "Corp", "", Verdict(kind))

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case RecordFingerprint(space, UpstreamFingerprint(label, _)):
                    self.strongest[space] = label
                case ReleaseRequest(_, mark, "basic") if (
                    self.strongest.get(mark.space.upstream_id) == "ntlm"
                ):
                    login = self.play.machine.login(mark)
                    assert login
                    assert (login, "basic") in self.agreed
        super().take(effects)


class TwoProfiles(Office):
    """Two protection spaces that compete for the person."""

    @rule()
    def a_request_of_the_other_is_sent(self) -> None:
        self.send(LAB)

    @rule(profile=st.sampled_from((*PROFILES, None)))
    def the_profile_is_switched(self, profile: Profile | None) -> None:
        self.do(ProfileSwitched(profile))


class TwoRealms(Office):
    """An upstream that goes by two names, and a keyring that may be locked."""

    @precondition(lambda self: self.sent)
    @rule()
    def the_upstream_answers_in_another_name(self) -> None:
        self.answer(self.sent.pop(0), "Other")

    @precondition(lambda self: self.lookups)
    @rule()
    def the_keyring_is_locked(self) -> None:
        self.do(LookupFinished(self.lookups.pop(0), None, LOCKED))


class Faceless(Office):
    """Faces come and go; at first there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.play.do(FrontEndsChanged(0))
        self.play.wait(60.0)

    @rule(count=st.sampled_from((0, 1)))
    def faces_come_and_go(self, count: int) -> None:
        self.do(FrontEndsChanged(count))


class Commands(Office):
    """The menu and the command line are used as well."""

    @rule()
    def the_person_wants_to_sign_in(self) -> None:
        self.lifted.add("office")
        before = set(self.play.machine.prompt_numbers())
        self.do(SignInRequested(OFFICE, WAY))
        self.wanted |= set(self.play.machine.prompt_numbers()) - before
        self.touched |= set(self.play.machine.prompt_numbers())

    @rule(login=st.sampled_from(LOGINS))
    def the_command_line_gives_a_login(self, login: Login) -> None:
        self.insisted["office", login] += 1
        self.do(LoginProvided(OFFICE, WAY, login))

    @rule()
    def the_login_is_forgotten(self) -> None:
        self.insisted.update(("office", login) for login in LOGINS)
        self.do(LoginsForgotten("office"))

    @rule()
    def the_network_changes(self) -> None:
        self.do(NetworkChanged())


@pytest.mark.parametrize(
    "world", [Office, Vague, Schemes, TwoProfiles, TwoRealms, Faceless, Commands]
)
def test_any_order_of_events(world: type[Office]) -> None:
    run_state_machine_as_test(
        world,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
