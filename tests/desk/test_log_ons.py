"""The rules that keep a wrong password at one failed log-on, in any order of events.

The numbers are those of the rules as the project states them: (3) unanswered sends of a trusted
login, (5) the record of a trial, (6) rejections by place. Rules 1, 2 and 4 are in `test_turns`,
`test_machine_stateful` and the tests of the engine.
"""

from collections import deque
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.desk.play import KEY, OFFICE, RIGHT, WRONG, Play
from trayproxy.auth.login import Login
from trayproxy.control.messages import Why
from trayproxy.desk.case import Phase
from trayproxy.desk.events import (
    Accepted,
    Challenged,
    Depart,
    Departing,
    Effect,
    Event,
    Found,
    Inconclusive,
    Left,
    LookUp,
    OnTrial,
    Overdue,
    OwnEnded,
    PutOnTrial,
    Reason,
    Release,
    Spared,
    Switched,
    Tick,
    Tried,
    TryOwn,
)
from trayproxy.desk.space import Key, Mark, Space
from trayproxy.profiles.profile import Upstream

LONG = settings(max_examples=200, deadline=None)


# --- Rule 3: unanswered sends of a trusted login -----------------------------------------------


class Mute(Play):
    """An upstream that says nothing to requests with the login, and asks all others for one.

    Attributes:
        sent: How many requests have carried the login since it was accepted last.
    """

    def __post_init__(self) -> None:
        self.sent = 0
        self.away: list[int] = []
        self.tries: list[TryOwn] = []
        super().__post_init__()
        self.machine.board.tries_itself = True
        self.carried = self.trust()

    def do(self, event: Event) -> list[Effect]:
        effects = super().do(event)
        for effect in effects:
            match effect:
                case Depart(number, flight):
                    self.sent += 1
                    assert flight == number, "only a login that was proved goes on all requests"
                    self.away.append(flight)
                case Release(waiter, mark, _) if self.machine.is_trusted(mark):
                    # It needs a turn like all others.
                    self.do(Departing(waiter, mark, "late.example:443"))
                case Release(waiter, _, _):
                    self.sent += 1
                    self.away.append(waiter)
                case TryOwn():
                    self.tries.append(effect)
        return effects

    def happen(self, event: str) -> None:
        match event:
            case "depart":
                self.waiters += 1
                self.do(Departing(self.waiters, self.carried, f"host{self.waiters}.example:443"))
            case "challenge":
                self.challenge()
            case "lose" if self.away:
                self.do(Inconclusive(self.carried, sent=True, flight=self.away.pop(0)))
            case "lose an old one":
                self.do(Inconclusive(self.carried, sent=True))
            case "ours" if self.tries:
                attempt = self.tries.pop(0)
                waiter = self.challenge(target=attempt.target, own=True)
                if waiter in self.away:
                    self.away.remove(waiter)
                    self.do(Inconclusive(self.carried, sent=True, flight=waiter))
                self.do(OwnEnded(attempt.number, asked=True))
            case "wait":
                self.wait(1)


MUTE = st.sampled_from(("depart", "challenge", "lose", "lose an old one", "ours", "wait"))


@LONG
@given(st.integers(0, 50), st.booleans(), st.lists(MUTE, max_size=25))
def test_an_unanswered_login_is_sent_twice_and_once_by_ourselves(
    waiting: int, is_stale: bool, events: list[str]
) -> None:
    """Whatever is on its way when the upstream falls silent; then the person is asked."""
    play = Mute()
    play.wait(play.rules.fresh + 1 if is_stale else 1)
    play.sent = 0
    play.away.clear()
    if waiting:
        play.do(Overdue(play.carried, waiting))
    elif not is_stale:
        play.do(Inconclusive(play.carried, sent=True))
    before = min(play.rules.unanswered, waiting or not is_stale)
    for event in events:
        play.happen(event)
        assert play.sent + before <= play.rules.unanswered + 1


# --- Rule 5: the record of a trial -------------------------------------------------------------


class Recorded(Play):
    """A machine whose orders to write down a trial wait until the disk is done.

    Attributes:
        orders: Those that wait.
        agreed: The logins whose trial is on record.
    """

    def __post_init__(self) -> None:
        self.orders: deque[PutOnTrial] = deque()
        self.lookups: deque[int] = deque()
        self.agreed: list[Login] = []
        self.proved: set[Login] = set()
        super().__post_init__()

    def do(self, event: Event) -> list[Effect]:
        effects = self.machine.handle(self.now, event)
        self.effects += effects
        for effect in effects:
            match effect:
                case PutOnTrial():
                    self.orders.append(effect)
                case LookUp(lookup, _, _):
                    self.lookups.append(lookup)
                case Spared(_, spared):
                    if spared in self.agreed:
                        self.agreed.remove(spared)
                case Release(_, mark, _):
                    login = self.machine.login(mark)
                    assert login in self.proved or login in self.agreed
        return effects

    def record(self, *, hold_s: float = 0.0, is_rejected: bool = False) -> bool:
        """Let the oldest order be done; return whether there was one."""
        if not self.orders:
            return False
        order = self.orders.popleft()
        if order.insists:
            hold_s, is_rejected = 0.0, False
        if not hold_s and not is_rejected:
            self.agreed.append(order.login)
        self.do(OnTrial(order.number, order.space, order.login, is_rejected, hold_s))
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
        case = play.machine.board.cases.get(KEY)
        away = [r.waiter for r in play.all(Release)]
        match event:
            case "request":
                waiting.append(play.challenge())
            case "found" if play.lookups:
                play.do(Found(play.lookups.popleft(), RIGHT, play.machine.keyring))
            case "leave" if waiting:
                play.do(Left(waiting.pop(0)))
            case "wait":
                play.wait(0.2)
            case "long wait":
                play.wait(11)
            case "record":
                play.record()
            case "type" if play.is_asking:
                play.enter(WRONG)
            case "accept" if case and case.phase is Phase.CHECKING and away and case.login:
                play.proved.add(case.login)
                play.accept(away[-1])
            case "lose" if case and case.phase is Phase.CHECKING and away:
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
    play.do(Found(play.lookups.popleft(), RIGHT, play.machine.keyring))
    assert play.record(hold_s=0.0 if is_rejected else hold_s, is_rejected=is_rejected)
    for event in events:
        if event == "request":
            play.challenge()
        elif event == "wait":
            play.wait(0.5)
        else:
            play.do(Tick())
        assert play.released() == []
    assert play.question_due
    play.enter(RIGHT)
    while play.record():
        pass
    hurried = is_rejected and play.released() == []
    assert len(play.released()) == 1 or (hurried and play.question.hurried)


def test_a_login_that_cannot_be_put_on_record_is_not_sent_and_its_requests_hear_why() -> None:
    play = Recorded()
    first = play.challenge()
    play.do(Found(play.lookups.popleft(), RIGHT, play.machine.keyring))
    play.wait(play.rules.record - 0.1)
    assert play.refused() == {}
    play.wait(0.2)
    assert play.refused() == {first: "UNRECORDED"}
    second = play.challenge()
    assert play.refused()[second] == "UNRECORDED"  # At once.
    assert play.released() == []
    assert [trouble.reason for trouble in play.machine.troubles()] == [Reason.UNRECORDED]

    play.record()  # The folder answers after all.
    third = play.challenge()
    assert play.released() == [third]
    assert play.machine.troubles() == ()


def test_a_person_whose_login_cannot_be_put_on_record_is_told_and_it_is_sent_later() -> None:
    play = Recorded()
    play.machine.board.tries_itself = True
    play.challenge()
    play.do(Found(play.lookups.popleft(), None, play.machine.keyring))
    play.wait(play.rules.gather)
    play.enter(RIGHT)
    assert play.question.checking
    play.wait(play.rules.record)
    assert (play.question.why, play.question.checking) == (Why.UNRECORDED, False)
    assert play.all(TryOwn) == []  # It would be refused as well.

    play.record()
    assert play.question.why is not Why.UNRECORDED
    (own,) = play.all(TryOwn)  # The request that waited was refused.
    play.challenge(own=True, target=own.target)
    assert len(play.released()) == 1


def test_another_login_typed_meanwhile_is_put_on_record_anew() -> None:
    play = Recorded()
    play.challenge()
    play.do(Found(play.lookups.popleft(), None, play.machine.keyring))
    play.wait(play.rules.gather)
    play.enter(WRONG)
    play.wait(play.rules.record)
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
    play.do(Found(play.lookups.popleft(), RIGHT, play.machine.keyring))
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
            st.sampled_from(sorted(PLACES)), st.sampled_from((WRONG, RIGHT)), st.integers(0, 2)
        ),
        max_size=10,
    )
)
def test_a_login_is_rejected_once_at_each_place_whatever_its_profile(
    steps: list[tuple[str, Login, int]],
) -> None:
    play = Play()
    blamed: set[tuple[str, Login]] = set()
    waiter = 10_000
    for name, login, more in steps:
        host, address = PLACES[name]
        profile = replace(OFFICE, id=name, name=name, upstream=Upstream(host, 8080))
        key = Key(Space.of(profile), "Corp", KEY.family)
        play.do(Switched(profile))
        for _ in range(1 + more):
            waiter += 1
            at, where = len(play.effects), f"host{waiter}.example:80"
            play.do(Challenged(waiter, key, profile, play.offers, where, addresses=(address,)))
            for effect in list(play.effects[at:]):
                if isinstance(effect, LookUp):
                    play.do(Found(effect.lookup, login, play.machine.keyring))
            sent = [one for one in play.effects[at:] if isinstance(one, Release)]
            for one in sent:
                carried = play.machine.login(one.mark)
                assert carried is not None
                assert (address, carried) not in blamed
                answer(play, one, key, carried)
                if carried == WRONG:
                    blamed.add((address, carried))
        play.wait(10)


def answer(play: Play, sent: Release, key: Key, login: Login) -> None:
    """Let the upstream accept the right login, and refuse the other one."""
    if login == RIGHT:
        play.do(Accepted(sent.mark, "basic", "basic", "a.example:80", sent.waiter))
        return
    tried = Tried(Mark(key, sent.mark.generation), "basic", flight=sent.waiter)
    profile = play.machine.board.profiles[key.space.profile_id]
    assert profile is not None
    play.waiters += 1
    play.do(Challenged(play.waiters, key, profile, play.offers, "a.example:80", tried))
