"""Properties that trayproxy.desk.machine.machine guarantees in any order of events (Hypothesis)."""

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

from tests.desk.machine_driver import BASIC, BASIC_METHOD, NTLM, OFFICE, MachineDriver
from tests.support.examples import examples
from tests.support.values import GNOME, LAB, LOCKED
from trayproxy.auth.login import Login
from trayproxy.auth.scheme import Verdict, VerdictKind
from trayproxy.desk.machine import events
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.machine.space_state import SpacePhase
from trayproxy.desk.protection_space import (
    BY_LOGIN,
    LoginId,
    ProtectionSpace,
    UpstreamFingerprint,
    UpstreamId,
)
from trayproxy.domain.signin import PromptReason, Snooze
from trayproxy.profiles.profile import Profile

RIGHT, NEVER_RIGHT, RIGHT_LATER = (Login("jdoe", p) for p in ("right", "never", "later"))
LOGINS = (RIGHT, NEVER_RIGHT, RIGHT_LATER)
PROFILES = (OFFICE, LAB)


@dataclass
class SentRequest:
    """A request in flight to the upstream."""

    profile: Profile
    login_id: LoginId | None
    login: Login | None
    is_canary: bool
    scheme: str = "basic"
    own_number: int = 0
    permit: int = 0


class UpstreamModel(RuleBasedStateMachine):
    """A model of one upstream with one right login, its clients, a keyring and a user."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = MachineDriver(DeskLimits(parked_max=6))
        self.driver.machine.state.can_send_own = True
        self.right = RIGHT
        self.accepted_logins = {RIGHT}
        self.sent: list[SentRequest] = []
        self.lookups: list[int] = []
        self.parked: dict[int, Profile] = {}
        self.own_requests: list[events.SendOwnRequest] = []
        self.own_number_of: dict[int, int] = {}
        self.confirmed: set[tuple[Login, str]] = set()
        self.failed: Counter[tuple[str, Login]] = Counter()
        self.retries: Counter[tuple[str, Login]] = Counter()
        self.may_retry: set[str] = set()
        self.user_prompts: set[int] = set()
        self.touched_prompts: set[int] = set()
        self.ended_own: list[int] = []
        self.seen_prompts: set[int] = set()

    # --- Events ----------------------------------------------------------------------------------

    @initialize(login=st.none() | st.sampled_from(LOGINS))
    def start_with_an_open_prompt(self, login: Login | None) -> None:
        """Start at the prompt, which random events would seldom reach."""
        self.requests_are_sent_and_answered(2)
        self.the_keyring_answers(login)
        self.answer_all()
        self.the_prompt_delay_passes()

    @rule(count=st.integers(1, 3))
    def requests_are_sent_and_answered(self, count: int) -> None:
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
        self.challenge(sent, sent.login_id.space.realm if sent.login_id else "Corp", where)

    @precondition(lambda self: self.right == RIGHT)
    @rule()
    def the_password_is_changed(self) -> None:
        self.right = RIGHT_LATER
        self.accepted_logins.add(RIGHT_LATER)

    @precondition(lambda self: any(s.login_id for s in self.sent))
    @rule()
    def the_network_fails(self) -> None:
        sent = next(s for s in self.sent if s.login_id)
        self.sent.remove(sent)
        if sent.login_id:
            self.handle(events.NoResponse(sent.login_id, permit=sent.permit))
        if sent.own_number:
            self.handle(events.OwnRequestEnded(sent.own_number, was_challenged=True))

    @precondition(lambda self: self.own_requests)
    @rule(reached=st.booleans())
    def an_own_request_is_sent(self, reached: bool) -> None:
        attempt = self.own_requests.pop(0)
        if not reached:
            self.handle(events.OwnRequestEnded(attempt.number, was_challenged=True))
            return
        nothing = SentRequest(
            attempt.profile, None, None, is_canary=False, own_number=attempt.number
        )
        self.challenge(nothing, "Corp", attempt.target)

    @precondition(lambda self: bool(set(self.parked) - set(self.own_number_of)))
    @rule(all_of_them=st.booleans())
    def clients_disconnect(self, all_of_them: bool) -> None:
        for _ in range(len(self.parked) if all_of_them else 1):
            if clients := set(self.parked) - set(self.own_number_of):
                del self.parked[min(clients)]
                self.handle(events.ClientLeft(min(clients)))

    @precondition(lambda self: self.lookups)
    @rule(login=st.none() | st.sampled_from(LOGINS))
    def the_keyring_answers(self, login: Login | None) -> None:
        self.handle(events.LookupFinished(self.lookups.pop(0), login, GNOME))

    @rule()
    def the_prompt_delay_passes(self) -> None:
        self.take(self.driver.advance(0.15))

    @rule(seconds=st.sampled_from((9.0, 61.0, 301.0)))
    def time_passes(self, seconds: float) -> None:
        while seconds > 60 and any(sent.login_id for sent in self.sent):
            self.the_network_fails()  # The engine has timed out.
        self.take(self.driver.advance(seconds))

    # --- Actions of the user ---------------------------------------------------------------------

    @precondition(lambda self: self.driver.is_prompting)
    @rule(login=st.sampled_from(LOGINS), remember=st.booleans(), at_once=st.booleans())
    def the_user_answers(self, login: Login, remember: bool, at_once: bool) -> None:
        number = self.driver.machine.prompt_numbers()[0]
        prompt = self.driver.machine.prompt(number)
        assert prompt
        is_unknown = prompt.reason is PromptReason.UNCHECKED
        if prompt.confirm_retry or is_unknown or prompt.profile_id in self.may_retry:
            self.retries[prompt.profile_id, login] += 1
        self.touched_prompts.add(number)
        self.confirmed.add((login, prompt.method.lower()))
        self.handle(events.PromptAnswered(number, login, remember))
        if at_once:
            self.answer_all()

    @precondition(lambda self: self.driver.is_prompting)
    @rule(snooze=st.sampled_from(Snooze))
    def the_user_declines(self, snooze: Snooze) -> None:
        self.handle(events.PromptDeclined(self.driver.machine.prompt_numbers()[0], snooze))

    @precondition(lambda self: self.driver.is_prompting)
    @rule()
    def the_user_touches_the_prompt(self) -> None:
        number = self.driver.machine.prompt_numbers()[0]
        self.touched_prompts.add(number)
        self.handle(events.PromptTouched(number))

    # --- Effects ---------------------------------------------------------------------------------

    def challenge(
        self, sent: SentRequest, realm: str, target: str = "", verdict: Verdict | None = None
    ) -> None:
        space = ProtectionSpace(UpstreamId.of(sent.profile), realm, BY_LOGIN)
        at = len(self.driver.effects)
        request = self.driver.last_request_id + 1
        self.parked[request] = sent.profile
        if sent.own_number:
            self.own_number_of[request] = sent.own_number
        self.driver.challenge(
            space,
            sent.profile,
            target,
            sent.login_id,
            verdict=verdict,
            scheme=sent.scheme,
            is_own=sent.own_number > 0,
            permit=sent.permit,
        )
        self.take(self.driver.effects[at:])

    def handle(self, event: events.Event) -> None:
        self.take(self.driver.handle(event))

    def take(self, effects: list[events.Effect]) -> None:
        for effect in effects:
            match effect:
                case events.ReleaseRequest(request, login_id, scheme):
                    profile = self.parked.pop(request)
                    self.release(
                        profile, login_id, scheme, self.own_number_of.pop(request, 0), request
                    )
                case events.SendWithoutLogin(request):
                    profile = self.parked.pop(request)
                    own_request = self.own_number_of.pop(request, 0)
                    self.sent.append(
                        SentRequest(profile, None, None, is_canary=False, own_number=own_request)
                    )
                case events.RefuseRequest(request, _):
                    del self.parked[request]
                    if number := self.own_number_of.pop(request, 0):
                        self.ended_own.append(number)
                case events.SendOwnRequest():
                    self.own_requests.append(effect)
                case events.LookUpLogin(lookup, _, _):
                    self.lookups.append(lookup)
                case events.SaveLoginToKeyring(_, login):
                    assert login in self.accepted_logins
                case events.NotifyPromptChanged(number):
                    self.seen_prompts.add(number)
                case events.NotifyPromptClosed(number, _):
                    assert number in self.seen_prompts
        while self.ended_own:
            self.handle(events.OwnRequestEnded(self.ended_own.pop(), was_challenged=True))

    def send(self, profile: Profile) -> None:
        login_id = self.driver.machine.trusted_logins().get(UpstreamId.of(profile))
        login = self.driver.machine.login(login_id) if login_id else None
        # A login sent without a 407 is used with its accepted scheme.
        scheme = self.driver.machine.login_scheme(login_id)[0] if login_id else ""
        self.sent.append(SentRequest(profile, login_id, login, is_canary=False, scheme=scheme))

    def answer_all(self) -> None:
        for _ in range(len(self.sent)):
            self.answer(self.sent.pop(0), "Corp")

    def answer(self, sent: SentRequest, realm: str) -> None:
        """Respond to a request as the upstream does."""
        if sent.login == self.right and sent.login_id:
            self.handle(
                events.LoginAccepted(sent.login_id, sent.scheme, sent.scheme, permit=sent.permit)
            )
            if sent.own_number:
                self.handle(events.OwnRequestEnded(sent.own_number, was_challenged=True))
            return
        if sent.login:
            self.failed[sent.profile.id, sent.login] += 1
        self.challenge(sent, realm)

    def release(
        self, profile: Profile, login_id: LoginId, scheme: str, own_request: int, flight: int
    ) -> None:
        login = self.driver.machine.login(login_id)
        assert login, "a login was released that there is no more"
        trusted = self.driver.machine.is_trusted(login_id)
        self.sent.append(
            SentRequest(profile, login_id, login, not trusted, scheme, own_request, flight)
        )

    # --- Invariants ------------------------------------------------------------------------------

    @invariant()
    def a_wrong_login_costs_one_log_on_and_one_for_each_retry(self) -> None:
        for (profile_id, login), failures in self.failed.items():
            if login not in self.accepted_logins:
                assert failures <= 1 + self.retries[profile_id, login], login

    @invariant()
    def an_unverified_login_is_on_one_request_at_a_time(self) -> None:
        unverified = Counter(
            sent.login_id
            for sent in self.sent
            if sent.is_canary and sent.login_id and sent.login == NEVER_RIGHT
        )
        assert all(count <= 1 for count in unverified.values())

    @invariant()
    def every_parked_request_ends_in_time(self) -> None:
        spaces = self.driver.machine.state.spaces.values()
        waiting = {request: p.parked_at for space in spaces for request, p in space.parked.items()}
        assert waiting.keys() == self.parked.keys()
        assert all(self.driver.now < since + 300 for since in waiting.values())
        assert self.driver.machine.deadline() > self.driver.now

    @invariant()
    def an_untouched_prompt_without_requests_is_closed(self) -> None:
        for number in self.driver.machine.prompt_numbers():
            prompt = self.driver.machine.prompt(number)
            assert prompt
            assert (
                prompt.waiting
                or prompt.checking
                or number in self.touched_prompts
                or (self.phase(number) is SpacePhase.CHECKING)
            )

    @invariant()
    def prompts_open_one_at_a_time_unless_the_user_requests_more(self) -> None:
        own_request = (
            set(self.driver.machine.prompt_numbers()) - self.user_prompts - self.touched_prompts
        )
        assert len(own_request) <= 1

    @invariant()
    def no_request_waits_for_a_prompt_without_a_front_end(self) -> None:
        if self.driver.has_front_end:
            return
        for space in self.driver.machine.state.spaces.values():
            assert not (space.phase is SpacePhase.PROMPTING and space.parked)

    @invariant()
    def logins_sent_without_a_407_were_accepted(self) -> None:
        for login_id in self.driver.machine.trusted_logins().values():
            assert self.driver.machine.login(login_id) in self.accepted_logins

    def phase(self, number: int) -> SpacePhase:
        spaces = self.driver.machine.state.spaces.values()
        return next(c.phase for c in spaces if c.prompt.open and c.prompt.open.number == number)


class InconclusiveUpstream(UpstreamModel):
    """An upstream, or a site, that often gives inconclusive responses.

    The inherited properties still hold: only a right login is saved or sent without a 407, however
    many inconclusive responses there were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.proved: set[Login] = set()
        self.is_vague = self.is_doubtful = True

    @rule(is_vague=st.booleans(), is_doubtful=st.booleans())
    def the_upstream_changes_its_responses(self, is_vague: bool, is_doubtful: bool) -> None:
        self.is_vague, self.is_doubtful = is_vague, is_doubtful

    def answer(self, sent: SentRequest, realm: str) -> None:
        if not self.is_vague or sent.login_id is None:
            super().answer(sent, realm)
            return
        where = f"host{len(self.driver.effects) % 5}.example:443"
        self.handle(events.LoginUnproved(sent.login_id, where, self.is_doubtful, sent.permit))
        if sent.own_number:
            self.handle(events.OwnRequestEnded(sent.own_number, was_challenged=True))

    def handle(self, event: events.Event) -> None:
        if isinstance(event, events.LoginAccepted) and (
            login := self.driver.machine.login(event.login_id)
        ):
            self.proved.add(login)
        super().handle(event)

    def take(self, effects: list[events.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, events.SaveLoginToKeyring):
                assert effect.login in self.proved
        super().take(effects)

    @invariant()
    def every_trusted_login_was_proved(self) -> None:
        for login_id in self.driver.machine.trusted_logins().values():
            assert self.driver.machine.login(login_id) in self.proved


class ChangingSchemes(UpstreamModel):
    """An upstream that changes its offered schemes, some of which fail."""

    def __init__(self) -> None:
        super().__init__()
        self.driver.offers = (NTLM, BASIC)
        self.strongest: dict[UpstreamId, str] = {}

    @rule(offers=st.sampled_from(((NTLM, BASIC), (NTLM,), (BASIC,))))
    def the_upstream_offers(self, offers: tuple[events.OfferedScheme, ...]) -> None:
        self.driver.offers = offers

    @precondition(lambda self: any(sent.scheme == "ntlm" for sent in self.sent))
    @rule(kind=st.sampled_from((VerdictKind.UNUSABLE, VerdictKind.EXPIRED, VerdictKind.LOCKED)))
    def a_handshake_ends(self, kind: VerdictKind) -> None:
        sent = next(sent for sent in self.sent if sent.scheme == "ntlm")
        self.sent.remove(sent)
        if kind is not VerdictKind.UNUSABLE and sent.login:
            self.failed[sent.profile.id, sent.login] += 1
        self.challenge(
            sent, sent.login_id.space.realm if sent.login_id else "Corp", "", Verdict(kind)
        )

    def take(self, effects: list[events.Effect]) -> None:
        for effect in effects:
            match effect:
                case events.RecordFingerprint(upstream_id, UpstreamFingerprint(label, _)):
                    self.strongest[upstream_id] = label
                case events.ReleaseRequest(_, login_id, "basic") if (
                    self.strongest.get(login_id.space.upstream_id) == "ntlm"
                ):
                    login = self.driver.machine.login(login_id)
                    assert login
                    assert (login, "basic") in self.confirmed
        super().take(effects)


class TwoProfiles(UpstreamModel):
    """Two protection spaces that compete for the prompt."""

    @rule()
    def a_request_of_the_other_profile_is_sent(self) -> None:
        self.send(LAB)

    @rule(profile=st.sampled_from((*PROFILES, None)))
    def the_profile_is_switched(self, profile: Profile | None) -> None:
        self.handle(events.ProfileSwitched(profile))


class TwoRealms(UpstreamModel):
    """An upstream with two realms, and a keyring that may be locked."""

    @precondition(lambda self: self.sent)
    @rule()
    def the_upstream_answers_with_another_realm(self) -> None:
        self.answer(self.sent.pop(0), "Other")

    @precondition(lambda self: self.lookups)
    @rule()
    def the_keyring_is_locked(self) -> None:
        self.handle(events.LookupFinished(self.lookups.pop(0), None, LOCKED))


class WithoutFrontEnds(UpstreamModel):
    """Front ends connect and disconnect; there is none at first."""

    def __init__(self) -> None:
        super().__init__()
        self.driver.handle(events.FrontEndsChanged(0))
        self.driver.advance(60.0)

    @rule(count=st.sampled_from((0, 1)))
    def front_ends_connect_and_disconnect(self, count: int) -> None:
        self.handle(events.FrontEndsChanged(count))


class WithUserCommands(UpstreamModel):
    """The user also uses the menu and the command line."""

    @rule()
    def the_user_requests_a_sign_in(self) -> None:
        self.may_retry.add("office")
        before = set(self.driver.machine.prompt_numbers())
        self.handle(events.SignInRequested(OFFICE, BASIC_METHOD))
        self.user_prompts |= set(self.driver.machine.prompt_numbers()) - before
        self.touched_prompts |= set(self.driver.machine.prompt_numbers())

    @rule(login=st.sampled_from(LOGINS))
    def the_command_line_gives_a_login(self, login: Login) -> None:
        self.retries["office", login] += 1
        self.handle(events.LoginProvided(OFFICE, BASIC_METHOD, login))

    @rule()
    def the_login_is_forgotten(self) -> None:
        self.retries.update(("office", login) for login in LOGINS)
        self.handle(events.LoginsForgotten("office"))

    @rule()
    def the_network_changes(self) -> None:
        self.handle(events.NetworkChanged())


@pytest.mark.parametrize(
    "model",
    [
        UpstreamModel,
        InconclusiveUpstream,
        ChangingSchemes,
        TwoProfiles,
        TwoRealms,
        WithoutFrontEnds,
        WithUserCommands,
    ],
)
def test_any_order_of_events(model: type[UpstreamModel]) -> None:
    run_state_machine_as_test(
        model,
        settings=settings(
            examples(60), stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
