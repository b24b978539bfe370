"""The rules that keep a wrong password at one failed log-on, in any order of events.

There is a property for each of the rules as the project numbers them:

1. An event about a request that never carried the login changes no trial.
2. A login that is unproved, or was proved too long ago, is on one request at a time.
3. Unanswered sends of a trusted login count, too.
4. A verdict on its way is taken whoever has left.
5. A login that was never accepted is sent only after its trial is on record.
6. Rejections are remembered by place and login, across profiles and names.
"""

from collections import deque
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.desk.play import KEY, OFFICE, RIGHT, WRONG, Play
from trayproxy.auth.login import Login
from trayproxy.control.messages import PromptReason
from trayproxy.desk.machine.events import (
    CancelTrial,
    ClientLeft,
    Effect,
    Event,
    GrantPermit,
    LoginAccepted,
    LoginUnproved,
    LookupFinished,
    LookUpLogin,
    NetworkChanged,
    NoResponse,
    OwnRequestEnded,
    PermitRequested,
    ProfileSwitched,
    RecordRejection,
    RecordTrial,
    RefusalReason,
    ReleaseRequest,
    RequestChallenged,
    SendOwnRequest,
    TimePassed,
    TrialRecorded,
    TriedLogin,
    UpstreamSilent,
)
from trayproxy.desk.machine.queries import TrialState
from trayproxy.desk.machine.space_state import SpacePhase, SpaceState
from trayproxy.desk.protection_space import LoginId, ProtectionSpace, UpstreamId
from trayproxy.profiles.profile import Upstream

LONG = settings(max_examples=200, deadline=None)


# --- Rule 1: events about requests that never carried the login ---------------------------------


def on_trial(kind: str) -> tuple[Play, int]:
    """Return a machine in the middle of a trial, and the number of the request that is the canary.

    Args:
        kind: "first" for a login that was just typed, "in doubt" for one that was accepted before
            and then refused at one host, so that a request of our own is the canary, "old" for one
            that is in use and was not proved lately.
    """
    play = Play()
    play.machine.state.can_send_own = True
    if kind == "first":
        canary, *_ = play.ask(3)
        play.enter(WRONG)
        return play, canary
    mark = play.trust()
    if kind == "old":
        play.wait(play.rules.proof_ttl + 1)
        play.do(PermitRequested(50, mark, "host50.example:443"))
        assert play.all(GrantPermit) == [GrantPermit(50, 50)]
        return play, 50
    play.challenge(tried=mark, target="blocked.example:443", flight=play.released()[-1])
    canary = play.challenge(target=play.all(SendOwnRequest)[-1].target, own=True)
    play.challenge(target="waiting.example:443")
    return play, canary


def state_of_trial(case: SpaceState) -> tuple[object, ...]:
    """Return all that a verdict on the present login would change."""
    counts = (case.accepted_at, case.refusals, case.unanswered)
    return (
        case.phase,
        case.login_id,
        case.login,
        counts,
        case.own_request,
        set(case.in_flight),
        set(case.inconclusive_hosts),
    )


OTHERS = st.sampled_from(
    (
        "lost",
        "lost unsent",
        "vague",
        "accepted before",
        "an old login",
        "leaves",
        "comes",
        "no such own",
        "waits",
    )
)


@LONG
@given(st.sampled_from(("first", "in doubt", "old")), st.lists(OTHERS, max_size=15), st.booleans())
def test_a_request_that_never_carried_the_login_changes_no_trial(
    kind: str, events: list[str], is_right: bool
) -> None:
    play, canary = on_trial(kind)
    case = play.machine.state.spaces[KEY]
    mark, before = case.login_id, state_of_trial(case)
    released = play.released()
    for event in events:
        waiting = [number for number in case.parked if number != canary]
        match event:
            case "lost" if kind != "old":
                play.do(NoResponse(mark, was_sent=True, permit=canary + 1000))
            case "lost unsent":
                play.do(NoResponse(mark, was_sent=False))
            case "vague":
                play.do(LoginUnproved(mark, "vague.example:443", permit=canary + 1000))
            case "an old login":
                old = replace(mark, generation=mark.generation - 1)
                play.do(LoginAccepted(old, "basic", "basic", "old.example:443", canary + 1000))
                play.do(LoginUnproved(old, "old.example:443", permit=canary + 1000))
                play.do(NoResponse(old, was_sent=True, permit=canary + 1000))
                play.challenge(tried=old, target="old.example:443", flight=canary + 1000)
                released = play.released() if kind == "old" else released
            case "accepted before" if kind == "in doubt":
                play.do(LoginAccepted(mark, "basic", "basic", "early.example:443", canary + 1000))
            case "leaves" if waiting:
                play.leave(waiting[0])
            case "comes" if kind != "old":
                play.challenge()
            case "no such own":
                play.do(OwnRequestEnded(1000, was_challenged=True))
            case "waits":
                play.wait(0.1)
        assert state_of_trial(case) == before
        assert play.released() == released
    if is_right:
        play.do(LoginAccepted(mark, "basic", "basic", "a.example:443", canary))
        assert play.machine.is_trusted(mark)
    else:
        play.challenge(tried=mark, own=kind == "in doubt", flight=canary)
        assert case.phase is (SpacePhase.UNVERIFIED if kind == "old" else SpacePhase.PROMPTING)
        assert play.released() == released


# --- Rule 2: one request at a time ---------------------------------------------------------------


class OneAtATime(Play):
    """A login that was right once, and an account of who carries it and why.

    Attributes:
        away: The requests that carry it while it is not proved.
        left_at: When the last of them left.
        proved_at: When it was accepted last.
        refused_by: The hosts that have refused it since then.
    """

    HOSTS = ("a.example:443", "b.example:443", "c.example:443")

    def __post_init__(self) -> None:
        self.away: list[int] = []
        self.ours: list[SendOwnRequest] = []
        self.left_at = self.proved_at = 0.0
        self.refused_by: set[str] = set()
        super().__post_init__()
        self.machine.state.can_send_own = True
        self.carried = self.trust()
        for host in self.HOSTS:
            self.do(LoginAccepted(self.carried, "basic", "basic", host))
        self.proved()

    def proved(self) -> None:
        self.proved_at = self.now
        self.away.clear()
        self.refused_by.clear()

    def do(self, event: Event) -> list[Effect]:
        effects = super().do(event)
        for effect in effects:
            match effect:
                case GrantPermit(_, 0):
                    assert self.now < self.proved_at + self.rules.proof_ttl
                    assert not self.refused_by
                case GrantPermit(number, flight):
                    assert number == flight
                    assert not self.refused_by, "none goes after a refusal"
                    assert not self.away or self.now >= self.left_at + self.rules.send_interval
                    self.away.append(flight)
                    self.left_at = self.now
                case SendOwnRequest(_, _, target):
                    assert target not in self.refused_by
                    self.ours.append(effect)
        return effects

    def happen(self, event: str, host: str) -> None:
        match event:
            case "depart":
                self.waiters += 1
                self.targets[self.waiters] = host
                self.do(PermitRequested(self.waiters, self.carried, host))
            case "a moment":
                self.wait(0.5)
            case "the pace":
                self.wait(self.rules.send_interval)
            case "long":
                self.wait(self.rules.proof_ttl + 1)
            case _ if self.away:
                number = self.away.pop(0)
                self.come_back(event, number, self.targets[number])

    def come_back(self, event: str, number: int, target: str) -> None:
        match event:
            case "accepted":
                self.proved()
                self.do(LoginAccepted(self.carried, "basic", "basic", target, number))
            case "refused":
                self.refused_by.add(target)
                self.challenge(tried=self.carried, target=target, flight=number)
            case "lost":
                self.do(NoResponse(self.carried, was_sent=True, permit=number))


TURNS = st.tuples(
    st.sampled_from(
        ("depart", "depart", "a moment", "the pace", "long", "accepted", "refused", "lost")
    ),
    st.sampled_from(OneAtATime.HOSTS),
)


@LONG
@given(st.lists(TURNS, max_size=40))
def test_a_login_not_proved_lately_is_on_one_request_at_a_time(
    events: list[tuple[str, str]],
) -> None:
    """One more may go each two seconds; none after a refusal, and ours not to who refused."""
    play = OneAtATime()
    for event, host in events:
        play.happen(event, host)
        if play.machine.state.spaces[KEY].phase is not SpacePhase.TRUSTED:
            break
    else:
        return
    # In doubt: nothing of a program carries it until our own request is accepted elsewhere.
    away, released = list(play.away), play.released()
    for _ in range(3):
        play.happen("depart", play.HOSTS[0])
        play.wait(play.rules.send_interval)
    assert play.away == away
    assert play.released() == released


@LONG
@given(
    st.integers(1, 20),
    st.lists(st.sampled_from(("comes", "leaves", "waits", "lost", "vague")), max_size=20),
)
def test_a_login_never_accepted_is_on_one_request_at_a_time(
    waiting: int, events: list[str]
) -> None:
    """Two that get no answer, or three whose answers prove nothing; then the person is asked."""
    play = Play()
    play.machine.state.can_send_own = True
    play.ask(waiting)
    play.enter(WRONG)
    back: list[int] = []
    lost = 0
    for event in events:
        away = [number for number in play.released() if number not in back]
        parked = play.machine.state.spaces[KEY].parked
        match event:
            case "comes":
                play.challenge()
            case "leaves" if parked:
                play.leave(next(iter(parked)))
            case "waits":
                play.wait(3)
            case "lost" | "vague" if away:
                back.append(away[0])
                lost += event == "lost"
                play.fail(away[0], sent=True) if event == "lost" else play.answer(away[0])
        assert len(play.released()) <= len(back) + 1
        assert len(play.released()) <= play.rules.unproved_max
        assert lost < play.rules.unanswered_max or len(play.released()) == len(back)


# --- Rule 3: unanswered sends of a trusted login -----------------------------------------------


class Mute(Play):
    """An upstream that says nothing to requests with the login, and asks all others for one.

    Attributes:
        sent: How many requests have carried the login since it was accepted last.
    """

    def __post_init__(self) -> None:
        self.sent = 0
        self.away: list[int] = []
        self.tries: list[SendOwnRequest] = []
        super().__post_init__()
        self.machine.state.can_send_own = True
        self.carried = self.trust()

    def do(self, event: Event) -> list[Effect]:
        effects = super().do(event)
        for effect in effects:
            match effect:
                case GrantPermit(number, flight):
                    self.sent += 1
                    assert flight == number, "only a login that was proved goes on all requests"
                    self.away.append(flight)
                case ReleaseRequest(waiter, mark, _) if self.machine.is_trusted(mark):
                    # It needs a turn like all others.
                    self.do(PermitRequested(waiter, mark, "late.example:443"))
                case ReleaseRequest(waiter, _, _):
                    self.sent += 1
                    self.away.append(waiter)
                case SendOwnRequest():
                    self.tries.append(effect)
        return effects

    def happen(self, event: str) -> None:
        match event:
            case "depart":
                self.waiters += 1
                self.do(
                    PermitRequested(self.waiters, self.carried, f"host{self.waiters}.example:443")
                )
            case "challenge":
                self.challenge()
            case "lose" if self.away:
                self.do(NoResponse(self.carried, was_sent=True, permit=self.away.pop(0)))
            case "lose an old one":
                self.do(NoResponse(self.carried, was_sent=True))
            case "ours" if self.tries:
                attempt = self.tries.pop(0)
                waiter = self.challenge(target=attempt.target, own=True)
                if waiter in self.away:
                    self.away.remove(waiter)
                    self.do(NoResponse(self.carried, was_sent=True, permit=waiter))
                self.do(OwnRequestEnded(attempt.number, was_challenged=True))
            case "wait":
                self.wait(1)


MUTE = st.sampled_from(
    ("depart", "depart", "challenge", "lose", "lose", "lose an old one", "ours", "wait")
)


@LONG
@given(st.sampled_from((0, 1, 2, 50)), st.booleans(), st.lists(MUTE, max_size=25))
def test_an_unanswered_login_is_sent_twice_and_once_by_ourselves(
    waiting: int, is_stale: bool, events: list[str]
) -> None:
    """Whatever is on its way when the upstream falls silent; then the person is asked."""
    play = Mute()
    play.wait(play.rules.proof_ttl + 1 if is_stale else 1)
    play.sent = 0
    play.away.clear()
    if waiting:
        play.do(UpstreamSilent(play.carried, waiting))
    elif not is_stale:
        play.do(NoResponse(play.carried, was_sent=True))
    before = min(play.rules.unanswered_max, waiting or not is_stale)
    for event in events:
        play.happen(event)
        assert play.sent + before <= play.rules.unanswered_max + 1


# --- Rule 4: a verdict on its way is taken whoever has left -------------------------------------

AWAY = st.sampled_from(
    ("all leave", "comes", "another is typed", "it is typed again", "declines", "waits", "network")
)


@LONG
@given(st.integers(1, 5), st.lists(AWAY, max_size=12), st.booleans())
def test_the_verdict_counts_whoever_has_left_and_whatever_was_typed_since(
    waiting: int, events: list[str], is_right: bool
) -> None:
    play = Play()
    play.machine.state.can_send_own = True
    canary, *_ = play.ask(waiting)
    play.enter(RIGHT)
    mark = play.mark(canary)
    case = play.machine.state.spaces[KEY]

    def sends() -> int:
        return sum(one.login_id in marks for one in play.all(ReleaseRequest))

    marks = {mark}
    for event in events:
        match event:
            case "all leave":
                play.leave(canary)
                for number in list(case.parked):
                    play.leave(number)
            case "comes":
                play.challenge()
            case "another is typed" if play.is_asking:
                play.wait(11)  # Before that, the dialog waits for the verdict.
                play.enter(Login("jdoe", "another"))
            case "it is typed again" if play.is_asking:
                play.wait(11)
                play.enter(RIGHT)
            case "declines" if play.is_asking:
                play.decline()
            case "waits":
                play.wait(11)
            case "network":
                play.do(NetworkChanged())
        if case.login == RIGHT:
            marks.add(case.login_id)
        assert sends() == 1, "it is on its way, and nothing is known of it"
    is_present = case.login == RIGHT
    if is_right:
        play.accept(canary)
        assert case.accepted_at is not None or not is_present
        assert not play.machine.state.is_rejected(KEY.upstream_id, RIGHT)
    else:
        play.challenge(tried=mark, flight=canary)
        assert play.machine.state.is_rejected(KEY.upstream_id, RIGHT)
        assert play.all(RecordRejection) == [RecordRejection(KEY.upstream_id, RIGHT)]
        play.wait(play.rules.not_now_snooze)
        play.challenge()
        assert sends() == 1


# --- Rule 5: the record of a trial -------------------------------------------------------------


class Recorded(Play):
    """A machine whose orders to write down a trial wait until the disk is done.

    Attributes:
        orders: Those that wait.
        agreed: The logins whose trial is on record.
    """

    def __post_init__(self) -> None:
        self.orders: deque[RecordTrial] = deque()
        self.lookups: deque[int] = deque()
        self.agreed: list[Login] = []
        self.proved: set[Login] = set()
        super().__post_init__()

    def do(self, event: Event) -> list[Effect]:
        effects = self.machine.handle(self.now, event)
        self.effects += effects
        for effect in effects:
            match effect:
                case RecordTrial():
                    self.orders.append(effect)
                case LookUpLogin(lookup, _, _):
                    self.lookups.append(lookup)
                case CancelTrial(_, spared):
                    if spared in self.agreed:
                        self.agreed.remove(spared)
                case ReleaseRequest(_, mark, _):
                    login = self.machine.login(mark)
                    assert login in self.proved or login in self.agreed
        return effects

    def record(self, *, hold_s: float = 0.0, is_rejected: bool = False) -> bool:
        """Let the oldest order be done; return whether there was one."""
        if not self.orders:
            return False
        order = self.orders.popleft()
        if order.retry_rejected:
            hold_s, is_rejected = 0.0, False
        if not hold_s and not is_rejected:
            self.agreed.append(order.login)
        self.do(TrialRecorded(order.number, order.upstream_id, order.login, is_rejected, hold_s))
        return True


RECORD = st.sampled_from(
    ("request", "found", "leave", "wait", "long wait", "record", "type", "accept", "lose")
)


@LONG
@given(st.lists(RECORD, max_size=30))
def test_no_login_leaves_before_its_trial_is_on_record(events: list[str]) -> None:
    play = Recorded()
    waiting: list[int] = []
    for event in events:
        case = play.machine.state.spaces.get(KEY)
        away = [r.request_id for r in play.all(ReleaseRequest)]
        match event:
            case "request":
                waiting.append(play.challenge())
            case "found" if play.lookups:
                play.do(LookupFinished(play.lookups.popleft(), RIGHT, play.machine.keyring))
            case "leave" if waiting:
                play.do(ClientLeft(waiting.pop(0)))
            case "wait":
                play.wait(0.2)
            case "long wait":
                play.wait(11)
            case "record":
                play.record()
            case "type" if play.is_asking:
                play.enter(WRONG)
            case "accept" if case and case.phase is SpacePhase.CHECKING and away and case.login:
                play.proved.add(case.login)
                play.accept(away[-1])
            case "lose" if case and case.phase is SpacePhase.CHECKING and away:
                play.fail(away[-1], sent=True)


@given(
    st.floats(1.0, 86400.0),
    st.booleans(),
    st.lists(st.sampled_from(("request", "tick", "wait", "network")), max_size=12),
)
def test_a_login_that_an_earlier_run_tried_is_asked_about_and_not_sent(
    hold_s: float, is_rejected: bool, events: list[str]
) -> None:
    play = Recorded()
    play.challenge()
    play.do(LookupFinished(play.lookups.popleft(), RIGHT, play.machine.keyring))
    assert play.record(hold_s=0.0 if is_rejected else hold_s, is_rejected=is_rejected)
    for event in events:
        if event == "request":
            play.challenge()
        elif event == "wait":
            play.wait(0.5)
        else:
            play.do(TimePassed())
        assert play.released() == []
    assert play.question_due
    play.enter(RIGHT)
    while play.record():
        pass
    hurried = is_rejected and play.released() == []
    assert len(play.released()) == 1 or (hurried and play.question.confirm_retry)


@pytest.mark.parametrize("is_saved", [True, False], ids=["saved", "typed"])
def test_only_a_saved_login_may_be_put_on_record_without_its_name(is_saved: bool) -> None:
    play = Recorded()
    play.challenge()
    play.do(
        LookupFinished(play.lookups.popleft(), RIGHT if is_saved else None, play.machine.keyring)
    )
    if not is_saved:
        play.wait(play.rules.prompt_delay)
        play.enter(RIGHT)
    assert [order.is_saved for order in play.orders] == [is_saved]


def test_a_login_whose_trial_is_being_put_on_record_is_under_way() -> None:
    play = Recorded()
    play.challenge()
    play.do(LookupFinished(play.lookups.popleft(), RIGHT, play.machine.keyring))
    generation = play.machine.generation(KEY.upstream_id)
    assert play.machine.trial_state(KEY.upstream_id, generation) is TrialState.UNDER_WAY
    play.record()
    play.fail(play.released()[0], sent=True)
    assert play.machine.trial_state(KEY.upstream_id, generation) is TrialState.UNKNOWN


def test_a_login_that_cannot_be_put_on_record_is_not_sent_and_its_requests_hear_why() -> None:
    play = Recorded()
    first = play.challenge()
    play.do(LookupFinished(play.lookups.popleft(), RIGHT, play.machine.keyring))
    play.wait(play.rules.record_timeout - 0.1)
    assert play.refused() == {}
    play.wait(0.2)
    assert play.refused() == {first: "UNRECORDED"}
    second = play.challenge()
    assert play.refused()[second] == "UNRECORDED"  # At once.
    assert play.released() == []
    told = [(trouble.reason, trouble.text) for trouble in play.machine.troubles()]
    assert told == [(RefusalReason.UNRECORDED, "")]

    play.record()  # The folder answers after all.
    third = play.challenge()
    assert play.released() == [third]
    assert play.machine.troubles() == ()


def test_a_person_whose_login_cannot_be_put_on_record_is_told_and_it_is_sent_later() -> None:
    play = Recorded()
    play.machine.state.can_send_own = True
    play.challenge()
    play.do(LookupFinished(play.lookups.popleft(), None, play.machine.keyring))
    play.wait(play.rules.prompt_delay)
    play.enter(RIGHT)
    assert play.question.checking
    play.wait(play.rules.record_timeout)
    assert (play.question.reason, play.question.checking) == (PromptReason.UNRECORDED, False)
    assert play.all(SendOwnRequest) == []  # It would be refused as well.

    play.record()
    assert play.question.reason is not PromptReason.UNRECORDED
    (own,) = play.all(SendOwnRequest)  # The request that waited was refused.
    play.challenge(own=True, target=own.target)
    assert len(play.released()) == 1


def test_another_login_typed_meanwhile_is_put_on_record_anew() -> None:
    play = Recorded()
    play.challenge()
    play.do(LookupFinished(play.lookups.popleft(), None, play.machine.keyring))
    play.wait(play.rules.prompt_delay)
    play.enter(WRONG)
    play.wait(play.rules.record_timeout)
    play.enter(RIGHT)
    waiter = play.challenge()
    assert waiter not in play.refused()
    play.record()  # Of the one that was typed first: it is not sent any more.
    assert play.released() == []
    play.record()
    assert play.released() == [waiter]
    assert play.agreed == [RIGHT]


def test_an_accepted_login_is_not_held_up_by_a_folder_that_does_not_answer() -> None:
    play = Recorded()
    play.challenge()
    play.do(LookupFinished(play.lookups.popleft(), RIGHT, play.machine.keyring))
    play.record()
    play.proved.add(RIGHT)
    play.accept(play.released()[0])
    play.wait(1000)
    waiter = play.challenge()
    assert play.orders == deque()
    assert play.released()[-1] == waiter


# --- Rule 6: rejections by place ---------------------------------------------------------------

PLACES = {
    "office": ("proxy.corp.example", "192.0.2.1:8080"),
    "same URL": ("proxy.corp.example", "192.0.2.1:8080"),
    "alias": ("alias.corp.example", "192.0.2.1:8080"),
    "elsewhere": ("other.corp.example", "192.0.2.9:8080"),
}
"""The name and the address of the upstream of each profile."""


@LONG
@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(PLACES)),
            st.sampled_from((WRONG, RIGHT)),
            st.integers(0, 2),
            st.booleans(),
        ),
        max_size=10,
    )
)
def test_a_login_is_rejected_once_at_each_place_whatever_its_profile(
    steps: list[tuple[str, Login, int, bool]],
) -> None:
    """A place is a URL, or an address as soon as that is known: the resolver may not answer."""
    play = Play()
    blamed: set[tuple[str, Login]] = set()
    known: dict[str, set[str]] = {}
    waiter = 10_000
    for name, login, more, is_resolved in steps:
        host, address = PLACES[name]
        addresses = (address,) if is_resolved else ()
        profile = replace(OFFICE, id=name, name=name, upstream=Upstream(host, 8080))
        key = ProtectionSpace(UpstreamId.of(profile), "Corp", KEY.family)
        places = known.setdefault(name, {key.upstream_id.upstream})
        places.update(addresses)
        play.do(ProfileSwitched(profile))
        for _ in range(1 + more):
            waiter += 1
            at, where = len(play.effects), f"host{waiter}.example:80"
            play.do(
                RequestChallenged(waiter, key, profile, play.offers, where, addresses=addresses)
            )
            for effect in list(play.effects[at:]):
                if isinstance(effect, LookUpLogin):
                    play.do(LookupFinished(effect.lookup, login, play.machine.keyring))
            sent = [one for one in play.effects[at:] if isinstance(one, ReleaseRequest)]
            for one in sent:
                carried = play.machine.login(one.login_id)
                assert carried is not None
                assert not any((place, carried) in blamed for place in places)
                answer(play, one, key, carried)
                if carried == WRONG:
                    blamed.update((place, carried) for place in places)
        play.wait(10)


def answer(play: Play, sent: ReleaseRequest, key: ProtectionSpace, login: Login) -> None:
    """Let the upstream accept the right login, and refuse the other one."""
    if login == RIGHT:
        play.do(LoginAccepted(sent.login_id, "basic", "basic", "a.example:80", sent.request_id))
        return
    tried = TriedLogin(LoginId(key, sent.login_id.generation), "basic", permit=sent.request_id)
    profile = play.machine.state.profiles[key.upstream_id.profile_id]
    assert profile is not None
    play.waiters += 1
    play.do(RequestChallenged(play.waiters, key, profile, play.offers, "a.example:80", tried))
