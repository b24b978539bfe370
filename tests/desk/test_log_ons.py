"""The rules that limit a wrong password to one failed log-on, in any order of events.

There is a property for each rule, with the numbers of the project:

1. An event about a request that never carried the login changes no trial.
2. An unproved login is on one request at a time.
3. Unanswered requests with a trusted login count, too.
4. An outstanding verdict counts although clients have disconnected.
5. A login that was never accepted is sent only after its trial is recorded.
6. Rejections are kept by upstream and login, across profiles and host names.
"""

from collections import deque
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.desk.machine_driver import BASIC_METHOD, OFFICE, SPACE, MachineDriver
from tests.support.examples import examples
from tests.support.values import RIGHT, WRONG
from trayproxy.auth.login import Login
from trayproxy.desk.machine import events
from trayproxy.desk.machine.queries import TrialState
from trayproxy.desk.machine.space_state import SpacePhase, SpaceState
from trayproxy.desk.protection_space import LoginId, ProtectionSpace, UpstreamId
from trayproxy.domain.signin import PromptReason, RefusalReason
from trayproxy.profiles.profile import Upstream

MANY_EXAMPLES = examples(200)


# --- Rule 1: events about requests that never carried the login ----------------------------------


def driver_on_trial(kind: str) -> tuple[MachineDriver, int]:
    """Return a driver during a trial, and the number of the canary.

    Args:
        kind: "first" for a login just typed; "in doubt" for an accepted login refused at one host,
            with an own request as the canary; "old" for an accepted login without recent proof.
    """
    driver = MachineDriver()
    driver.machine.state.can_send_own = True
    if kind == "first":
        canary, *_ = driver.open_prompt(3)
        driver.answer_prompt(WRONG)
        return driver, canary
    login_id = driver.sign_in()
    if kind == "old":
        driver.advance(driver.limits.proof_ttl + 1)
        driver.handle(events.PermitRequested(50, login_id, "host50.example:443"))
        assert driver.effects_of(events.GrantPermit) == [events.GrantPermit(50, 50)]
        return driver, 50
    driver.challenge(tried=login_id, target="blocked.example:443", permit=driver.released()[-1])
    canary = driver.challenge(
        target=driver.effects_of(events.SendOwnRequest)[-1].target, is_own=True
    )
    driver.challenge(target="waiting.example:443")
    return driver, canary


def trial_state(space: SpaceState) -> tuple[object, ...]:
    """Return all state that a verdict on the current login would change."""
    counts = (space.current.accepted_at, space.doubt.refusals, space.doubt.unanswered)
    return (
        space.phase,
        space.login_id,
        space.login,
        counts,
        space.trial.own_request,
        set(space.doubt.in_flight),
        set(space.doubt.inconclusive_hosts),
    )


def test_a_late_refusal_of_a_request_released_before_the_doubt_changes_no_trial() -> None:
    driver, canary = driver_on_trial("in doubt")
    space = driver.machine.state.spaces[SPACE]
    before = trial_state(space)
    driver.challenge(tried=space.login_id, target="late.example:443", permit=driver.released()[0])
    assert trial_state(space) == before
    assert space.trial.deadline < inf
    driver.accept(canary)
    assert space.phase is SpacePhase.TRUSTED


UNRELATED_EVENTS = st.sampled_from(
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


@MANY_EXAMPLES
@given(
    st.sampled_from(("first", "in doubt", "old")),
    st.lists(UNRELATED_EVENTS, max_size=15),
    st.booleans(),
)
def test_a_request_that_never_carried_the_login_changes_no_trial(
    kind: str, steps: list[str], is_right: bool
) -> None:
    driver, canary = driver_on_trial(kind)
    space = driver.machine.state.spaces[SPACE]
    login_id, before = space.login_id, trial_state(space)
    released = driver.released()
    for event in steps:
        waiting = [number for number in space.parked if number != canary]
        match event:
            case "lost" if kind != "old":
                driver.handle(events.NoResponse(login_id, was_sent=True, permit=canary + 1000))
            case "lost unsent":
                driver.handle(events.NoResponse(login_id, was_sent=False))
            case "vague":
                driver.handle(
                    events.LoginUnproved(login_id, "vague.example:443", permit=canary + 1000)
                )
            case "an old login":
                old = replace(login_id, generation=login_id.generation - 1)
                driver.handle(
                    events.LoginAccepted(old, "basic", "basic", "old.example:443", canary + 1000)
                )
                driver.handle(events.LoginUnproved(old, "old.example:443", permit=canary + 1000))
                driver.handle(events.NoResponse(old, was_sent=True, permit=canary + 1000))
                driver.challenge(tried=old, target="old.example:443", permit=canary + 1000)
                released = driver.released() if kind == "old" else released
            case "accepted before" if kind == "in doubt":
                driver.handle(
                    events.LoginAccepted(
                        login_id, "basic", "basic", "early.example:443", canary + 1000
                    )
                )
            case "leaves" if waiting:
                driver.disconnect(waiting[0])
            case "comes" if kind != "old":
                driver.challenge()
            case "no such own":
                driver.handle(events.OwnRequestEnded(1000, was_challenged=True))
            case "waits":
                driver.advance(0.1)
        assert trial_state(space) == before
        assert driver.released() == released
    if is_right:
        driver.handle(events.LoginAccepted(login_id, "basic", "basic", "a.example:443", canary))
        assert driver.machine.is_trusted(login_id)
    else:
        driver.challenge(tried=login_id, is_own=kind == "in doubt", permit=canary)
        assert space.phase is (SpacePhase.UNVERIFIED if kind == "old" else SpacePhase.PROMPTING)
        assert driver.released() == released


# --- Rule 2: one request at a time ---------------------------------------------------------------


class PacingModel(MachineDriver):
    """A driver with an accepted login that checks each send permit.

    Attributes:
        in_flight: The requests that carry the login while it is not proved.
        last_permit_at: Time of the last send permit.
        proved_at: Time of the last acceptance.
        refused_by: The hosts that have refused the login since then.
    """

    HOSTS = ("a.example:443", "b.example:443", "c.example:443")

    def __post_init__(self) -> None:
        self.in_flight: list[int] = []
        self.own_requests: list[events.SendOwnRequest] = []
        self.last_permit_at = self.proved_at = 0.0
        self.refused_by: set[str] = set()
        super().__post_init__()
        self.machine.state.can_send_own = True
        self.login_id = self.sign_in()
        for host in self.HOSTS:
            self.handle(events.LoginAccepted(self.login_id, "basic", "basic", host))
        self.record_proof()

    def record_proof(self) -> None:
        self.proved_at = self.now
        self.in_flight.clear()
        self.refused_by.clear()

    def handle(self, event: events.Event) -> list[events.Effect]:
        effects = super().handle(event)
        for effect in effects:
            match effect:
                case events.GrantPermit(_, 0):
                    assert self.now < self.proved_at + self.limits.proof_ttl
                    assert not self.refused_by
                case events.GrantPermit(number, flight):
                    assert number == flight
                    assert not self.refused_by, "none goes after a refusal"
                    assert (
                        not self.in_flight
                        or self.now >= self.last_permit_at + self.limits.send_interval
                    )
                    self.in_flight.append(flight)
                    self.last_permit_at = self.now
                case events.SendOwnRequest(_, _, target):
                    assert target not in self.refused_by
                    self.own_requests.append(effect)
        return effects

    def play_event(self, event: str, host: str) -> None:
        match event:
            case "depart":
                self.last_request_id += 1
                self.targets[self.last_request_id] = host
                self.handle(events.PermitRequested(self.last_request_id, self.login_id, host))
            case "a moment":
                self.advance(0.5)
            case "the pace":
                self.advance(self.limits.send_interval)
            case "long":
                self.advance(self.limits.proof_ttl + 1)
            case _ if self.in_flight:
                number = self.in_flight.pop(0)
                self.play_outcome(event, number, self.targets[number])

    def play_outcome(self, event: str, number: int, target: str) -> None:
        match event:
            case "accepted":
                self.record_proof()
                self.handle(events.LoginAccepted(self.login_id, "basic", "basic", target, number))
            case "refused":
                self.refused_by.add(target)
                self.challenge(tried=self.login_id, target=target, permit=number)
            case "lost":
                self.handle(events.NoResponse(self.login_id, was_sent=True, permit=number))


PACING_EVENTS = st.tuples(
    st.sampled_from(
        ("depart", "depart", "a moment", "the pace", "long", "accepted", "refused", "lost")
    ),
    st.sampled_from(PacingModel.HOSTS),
)


@MANY_EXAMPLES
@given(st.lists(PACING_EVENTS, max_size=40))
def test_an_unproved_login_is_sent_on_one_request_at_a_time(steps: list[tuple[str, str]]) -> None:
    """Another permit is granted every two seconds, but none after a refusal. The own request does
    not go to the refusing host."""
    driver = PacingModel()
    for event, host in steps:
        driver.play_event(event, host)
        if driver.machine.state.spaces[SPACE].phase is not SpacePhase.TRUSTED:
            break
    else:
        return
    # In doubt: no request of a program carries the login before the own request is accepted.
    in_flight, released = list(driver.in_flight), driver.released()
    for _ in range(3):
        driver.play_event("depart", driver.HOSTS[0])
        driver.advance(driver.limits.send_interval)
    assert driver.in_flight == in_flight
    assert driver.released() == released


@MANY_EXAMPLES
@given(
    st.integers(1, 20),
    st.lists(st.sampled_from(("comes", "leaves", "waits", "lost", "vague")), max_size=20),
)
def test_an_unverified_login_is_sent_on_one_request_at_a_time(
    waiting: int, steps: list[str]
) -> None:
    """After two missing responses, or three inconclusive responses, the prompt opens."""
    driver = MachineDriver()
    driver.machine.state.can_send_own = True
    driver.open_prompt(waiting)
    driver.answer_prompt(WRONG)
    back: list[int] = []
    lost = 0
    for event in steps:
        in_flight = [number for number in driver.released() if number not in back]
        parked = driver.machine.state.spaces[SPACE].parked
        match event:
            case "comes":
                driver.challenge()
            case "leaves" if parked:
                driver.disconnect(next(iter(parked)))
            case "waits":
                driver.advance(3)
            case "lost" | "vague" if in_flight:
                back.append(in_flight[0])
                lost += event == "lost"
                driver.end_without_response(
                    in_flight[0], was_sent=True
                ) if event == "lost" else driver.respond_unproved(in_flight[0])
        assert len(driver.released()) <= len(back) + 1
        assert len(driver.released()) <= driver.limits.unproved_max
        assert lost < driver.limits.unanswered_max or len(driver.released()) == len(back)


# --- Rule 3: unanswered sends of a trusted login -------------------------------------------------


class SilentUpstreamDriver(MachineDriver):
    """An upstream that responds with a 407 to requests without the login, and not at all to others.

    Attributes:
        sent: The number of requests with the login since its last acceptance.
    """

    def __post_init__(self) -> None:
        self.sent = 0
        self.in_flight: list[int] = []
        self.own_requests: list[events.SendOwnRequest] = []
        super().__post_init__()
        self.machine.state.can_send_own = True
        self.login_id = self.sign_in()

    def handle(self, event: events.Event) -> list[events.Effect]:
        effects = super().handle(event)
        for effect in effects:
            match effect:
                case events.GrantPermit(number, flight):
                    self.sent += 1
                    assert flight == number, "only a login that was proved goes on all requests"
                    self.in_flight.append(flight)
                case events.ReleaseRequest(request, login_id, _) if self.machine.is_trusted(
                    login_id
                ):
                    # The request needs a send permit like all others.
                    self.handle(events.PermitRequested(request, login_id, "late.example:443"))
                case events.ReleaseRequest(request, _, _):
                    self.sent += 1
                    self.in_flight.append(request)
                case events.SendOwnRequest():
                    self.own_requests.append(effect)
        return effects

    def play_event(self, event: str) -> None:
        match event:
            case "depart":
                self.last_request_id += 1
                self.handle(
                    events.PermitRequested(
                        self.last_request_id,
                        self.login_id,
                        f"host{self.last_request_id}.example:443",
                    )
                )
            case "challenge":
                self.challenge()
            case "lose" if self.in_flight:
                self.handle(
                    events.NoResponse(self.login_id, was_sent=True, permit=self.in_flight.pop(0))
                )
            case "lose an old one":
                self.handle(events.NoResponse(self.login_id, was_sent=True))
            case "ours" if self.own_requests:
                attempt = self.own_requests.pop(0)
                request = self.challenge(target=attempt.target, is_own=True)
                if request in self.in_flight:
                    self.in_flight.remove(request)
                    self.handle(events.NoResponse(self.login_id, was_sent=True, permit=request))
                self.handle(events.OwnRequestEnded(attempt.number, was_challenged=True))
            case "wait":
                self.advance(1)


SILENT_EVENTS = st.sampled_from(
    ("depart", "depart", "challenge", "lose", "lose", "lose an old one", "ours", "wait")
)


@MANY_EXAMPLES
@given(st.sampled_from((0, 1, 2, 50)), st.booleans(), st.lists(SILENT_EVENTS, max_size=25))
def test_an_unanswered_login_is_sent_twice_and_on_one_own_request(
    waiting: int, is_stale: bool, steps: list[str]
) -> None:
    """The number of requests in flight when the upstream stops responding does not matter."""
    driver = SilentUpstreamDriver()
    driver.advance(driver.limits.proof_ttl + 1 if is_stale else 1)
    driver.sent = 0
    driver.in_flight.clear()
    if waiting:
        driver.handle(events.UpstreamSilent(driver.login_id, waiting))
    elif not is_stale:
        driver.handle(events.NoResponse(driver.login_id, was_sent=True))
    before = min(driver.limits.unanswered_max, waiting or not is_stale)
    for event in steps:
        driver.play_event(event)
        assert driver.sent + before <= driver.limits.unanswered_max + 1


# --- Rule 4: outstanding verdicts count ----------------------------------------------------------

EVENTS_DURING_CHECK = st.sampled_from(
    ("all leave", "comes", "another is typed", "it is typed again", "declines", "waits", "network")
)


@MANY_EXAMPLES
@given(st.integers(1, 5), st.lists(EVENTS_DURING_CHECK, max_size=12), st.booleans())
def test_the_verdict_counts_after_disconnects_and_newly_typed_logins(
    waiting: int, steps: list[str], is_right: bool
) -> None:
    driver = MachineDriver()
    driver.machine.state.can_send_own = True
    canary, *_ = driver.open_prompt(waiting)
    driver.answer_prompt(RIGHT)
    login_id = driver.login_id_of(canary)
    space = driver.machine.state.spaces[SPACE]

    def sends() -> int:
        return sum(one.login_id in login_ids for one in driver.effects_of(events.ReleaseRequest))

    login_ids = {login_id}
    for event in steps:
        match event:
            case "all leave":
                driver.disconnect(canary)
                for number in list(space.parked):
                    driver.disconnect(number)
            case "comes":
                driver.challenge()
            case "another is typed" if driver.is_prompting:
                driver.advance(11)  # Until then the prompt waits for the verdict.
                driver.answer_prompt(Login("jdoe", "another"))
            case "it is typed again" if driver.is_prompting:
                driver.advance(11)
                driver.answer_prompt(RIGHT)
            case "declines" if driver.is_prompting:
                driver.decline_prompt()
            case "waits":
                driver.advance(11)
            case "network":
                driver.handle(events.NetworkChanged())
        if space.login == RIGHT:
            login_ids.add(space.login_id)
        assert sends() == 1, "it is on its way, and nothing is known of it"
    is_present = space.login == RIGHT
    if is_right:
        driver.accept(canary)
        assert space.current.was_accepted or not is_present
        assert not driver.machine.state.is_rejected(SPACE.upstream_id, RIGHT)
    else:
        driver.challenge(tried=login_id, permit=canary)
        assert driver.machine.state.is_rejected(SPACE.upstream_id, RIGHT)
        assert driver.effects_of(events.RecordRejection) == [
            events.RecordRejection(SPACE.upstream_id, RIGHT)
        ]
        driver.advance(driver.limits.not_now_snooze)
        driver.challenge()
        assert sends() == 1


# --- Rule 5: the record of a trial ---------------------------------------------------------------


class DelayedRecords(MachineDriver):
    """A driver that records trials only when the test says so.

    Attributes:
        pending_records: The outstanding `RecordTrial` effects.
        recorded: The logins with a recorded trial.
    """

    def __post_init__(self) -> None:
        self.pending_records: deque[events.RecordTrial] = deque()
        self.lookups: deque[int] = deque()
        self.recorded: list[Login] = []
        self.proved: set[Login] = set()
        super().__post_init__()

    def handle(self, event: events.Event) -> list[events.Effect]:
        effects = self.machine.handle(self.now, event)
        self.effects += effects
        for effect in effects:
            match effect:
                case events.RecordTrial():
                    self.pending_records.append(effect)
                case events.LookUpLogin(lookup, _, _):
                    self.lookups.append(lookup)
                case events.CancelTrial(_, spared):
                    if spared in self.recorded:
                        self.recorded.remove(spared)
                case events.ReleaseRequest(_, login_id, _):
                    login = self.machine.login(login_id)
                    assert login in self.proved or login in self.recorded
        return effects

    def finish_record(self, *, hold_s: float = 0.0, is_rejected: bool = False) -> bool:
        """Record the oldest pending trial; return False if there is none."""
        if not self.pending_records:
            return False
        order = self.pending_records.popleft()
        if order.retry_rejected:
            hold_s, is_rejected = 0.0, False
        if not hold_s and not is_rejected:
            self.recorded.append(order.login)
        self.handle(
            events.TrialRecorded(order.number, order.upstream_id, order.login, is_rejected, hold_s)
        )
        return True


RECORD_EVENTS = st.sampled_from(
    ("request", "found", "leave", "wait", "long wait", "record", "type", "accept", "lose")
)


@MANY_EXAMPLES
@given(st.lists(RECORD_EVENTS, max_size=30))
def test_no_login_is_sent_before_its_trial_is_recorded(steps: list[str]) -> None:
    driver = DelayedRecords()
    waiting: list[int] = []
    for event in steps:
        space = driver.machine.state.spaces.get(SPACE)
        in_flight = [r.request_id for r in driver.effects_of(events.ReleaseRequest)]
        match event:
            case "request":
                waiting.append(driver.challenge())
            case "found" if driver.lookups:
                driver.handle(
                    events.LookupFinished(driver.lookups.popleft(), RIGHT, driver.machine.keyring)
                )
            case "leave" if waiting:
                driver.handle(events.ClientLeft(waiting.pop(0)))
            case "wait":
                driver.advance(0.2)
            case "long wait":
                driver.advance(11)
            case "record":
                driver.finish_record()
            case "type" if driver.is_prompting:
                driver.answer_prompt(WRONG)
            case "accept" if (
                space and space.phase is SpacePhase.CHECKING and in_flight and space.login
            ):
                driver.proved.add(space.login)
                driver.accept(in_flight[-1])
            case "lose" if space and space.phase is SpacePhase.CHECKING and in_flight:
                driver.end_without_response(in_flight[-1], was_sent=True)


def test_an_untouched_prompt_closes_if_its_clients_leave_before_the_trial_is_recorded() -> None:
    driver = DelayedRecords()
    request = driver.challenge()
    driver.handle(events.LookupFinished(driver.lookups.popleft(), None, driver.machine.keyring))
    assert driver.due_prompt.waiting == 1
    driver.handle(events.LoginProvided(OFFICE, BASIC_METHOD, RIGHT))
    assert driver.is_prompting
    driver.disconnect(request)
    assert driver.endings() == ["ABANDONED"]


@given(
    st.floats(1.0, 86400.0),
    st.booleans(),
    st.lists(st.sampled_from(("request", "tick", "wait", "network")), max_size=12),
)
def test_a_login_tried_in_an_earlier_run_opens_a_prompt_and_is_not_sent(
    hold_s: float, is_rejected: bool, steps: list[str]
) -> None:
    driver = DelayedRecords()
    driver.challenge()
    driver.handle(events.LookupFinished(driver.lookups.popleft(), RIGHT, driver.machine.keyring))
    assert driver.finish_record(hold_s=0.0 if is_rejected else hold_s, is_rejected=is_rejected)
    for event in steps:
        if event == "request":
            driver.challenge()
        elif event == "wait":
            driver.advance(0.5)
        else:
            driver.handle(events.TimePassed())
        assert driver.released() == []
    assert driver.due_prompt
    driver.answer_prompt(RIGHT)
    while driver.finish_record():
        pass
    needs_confirmation = is_rejected and driver.released() == []
    assert len(driver.released()) == 1 or (needs_confirmation and driver.prompt.confirm_retry)


@pytest.mark.parametrize("is_saved", [True, False], ids=["saved", "typed"])
def test_a_saved_login_is_recorded_as_automatic_and_a_typed_login_is_not(is_saved: bool) -> None:
    driver = DelayedRecords()
    driver.challenge()
    driver.handle(
        events.LookupFinished(
            driver.lookups.popleft(), RIGHT if is_saved else None, driver.machine.keyring
        )
    )
    if not is_saved:
        driver.advance(driver.limits.prompt_delay)
        driver.answer_prompt(RIGHT)
    assert [order.is_automatic for order in driver.pending_records] == [is_saved]


def test_a_login_of_the_command_line_is_recorded_as_automatic() -> None:
    driver = DelayedRecords()
    driver.handle(events.LoginProvided(OFFICE, BASIC_METHOD, RIGHT))
    driver.challenge()
    assert [order.is_automatic for order in driver.pending_records] == [True]


def test_a_login_is_under_way_while_its_trial_is_being_recorded() -> None:
    driver = DelayedRecords()
    driver.challenge()
    driver.handle(events.LookupFinished(driver.lookups.popleft(), RIGHT, driver.machine.keyring))
    generation = driver.machine.generation(SPACE.upstream_id)
    assert driver.machine.trial_state(SPACE.upstream_id, generation) is TrialState.UNDER_WAY
    driver.finish_record()
    driver.end_without_response(driver.released()[0], was_sent=True)
    assert driver.machine.trial_state(SPACE.upstream_id, generation) is TrialState.UNKNOWN


def test_requests_are_refused_if_the_trial_of_the_login_cannot_be_recorded() -> None:
    driver = DelayedRecords()
    first = driver.challenge()
    driver.handle(events.LookupFinished(driver.lookups.popleft(), RIGHT, driver.machine.keyring))
    driver.advance(driver.limits.record_timeout - 0.1)
    assert driver.refused() == {}
    driver.advance(0.2)
    assert driver.refused() == {first: "UNRECORDED"}
    second = driver.challenge()
    assert driver.refused()[second] == "UNRECORDED"  # At once.
    assert driver.released() == []
    reported = [(trouble.reason, trouble.text) for trouble in driver.machine.troubles()]
    assert reported == [(RefusalReason.UNRECORDED, "")]

    driver.finish_record()  # The state folder responds late.
    third = driver.challenge()
    assert driver.released() == [third]
    assert driver.machine.troubles() == ()


def test_the_prompt_reports_an_unrecorded_login_and_the_login_is_sent_later() -> None:
    driver = DelayedRecords()
    driver.machine.state.can_send_own = True
    driver.challenge()
    driver.handle(events.LookupFinished(driver.lookups.popleft(), None, driver.machine.keyring))
    driver.advance(driver.limits.prompt_delay)
    driver.answer_prompt(RIGHT)
    assert driver.prompt.checking
    driver.advance(driver.limits.record_timeout)
    assert (driver.prompt.reason, driver.prompt.checking) == (PromptReason.UNRECORDED, False)
    assert driver.effects_of(events.SendOwnRequest) == []  # An own request would be refused, too.

    driver.finish_record()
    assert driver.prompt.reason is not PromptReason.UNRECORDED
    (own_request,) = driver.effects_of(events.SendOwnRequest)  # The parked request was refused.
    driver.challenge(is_own=True, target=own_request.target)
    assert len(driver.released()) == 1


def test_another_login_typed_in_the_meantime_is_recorded_separately() -> None:
    driver = DelayedRecords()
    driver.challenge()
    driver.handle(events.LookupFinished(driver.lookups.popleft(), None, driver.machine.keyring))
    driver.advance(driver.limits.prompt_delay)
    driver.answer_prompt(WRONG)
    driver.advance(driver.limits.record_timeout)
    driver.answer_prompt(RIGHT)
    request = driver.challenge()
    assert request not in driver.refused()
    driver.finish_record()  # The record of the first login, which is not sent any more.
    assert driver.released() == []
    driver.finish_record()
    assert driver.released() == [request]
    assert driver.recorded == [RIGHT]


def test_an_accepted_login_does_not_wait_for_the_state_folder() -> None:
    driver = DelayedRecords()
    driver.challenge()
    driver.handle(events.LookupFinished(driver.lookups.popleft(), RIGHT, driver.machine.keyring))
    driver.finish_record()
    driver.proved.add(RIGHT)
    driver.accept(driver.released()[0])
    driver.advance(1000)
    request = driver.challenge()
    assert driver.pending_records == deque()
    assert driver.released()[-1] == request


# --- Rule 6: rejections by upstream --------------------------------------------------------------

UPSTREAMS = {
    "office": ("proxy.example", "192.0.2.1:8080"),
    "same URL": ("proxy.example", "192.0.2.1:8080"),
    "alias": ("alias.corp.example", "192.0.2.1:8080"),
    "elsewhere": ("other.corp.example", "192.0.2.9:8080"),
}
"""The host name and the address of the upstream of each profile."""


@MANY_EXAMPLES
@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(UPSTREAMS)),
            st.sampled_from((WRONG, RIGHT)),
            st.integers(0, 2),
            st.booleans(),
        ),
        max_size=10,
    )
)
def test_a_login_is_rejected_once_per_upstream_in_any_profile(
    steps: list[tuple[str, Login, int, bool]],
) -> None:
    """An upstream is known by its URL, and by its address once the address is known."""
    driver = MachineDriver()
    rejected: set[tuple[str, Login]] = set()
    known: dict[str, set[str]] = {}
    request = 10_000
    for name, login, more, is_resolved in steps:
        host, address = UPSTREAMS[name]
        addresses = (address,) if is_resolved else ()
        profile = replace(OFFICE, id=name, name=name, upstream=Upstream(host, 8080))
        space = ProtectionSpace(UpstreamId.of(profile), "Corp", SPACE.family)
        places = known.setdefault(name, {space.upstream_id.upstream})
        places.update(addresses)
        driver.handle(events.ProfileSwitched(profile))
        for _ in range(1 + more):
            request += 1
            at, where = len(driver.effects), f"host{request}.example:80"
            driver.handle(
                events.RequestChallenged(
                    request, space, profile, driver.offers, where, addresses=addresses
                )
            )
            for effect in list(driver.effects[at:]):
                if isinstance(effect, events.LookUpLogin):
                    driver.handle(
                        events.LookupFinished(effect.lookup, login, driver.machine.keyring)
                    )
            sent = [one for one in driver.effects[at:] if isinstance(one, events.ReleaseRequest)]
            for one in sent:
                carried = driver.machine.login(one.login_id)
                assert carried is not None
                assert not any((place, carried) in rejected for place in places)
                respond(driver, one, space, carried)
                if carried == WRONG:
                    rejected.update((place, carried) for place in places)
        driver.advance(10)


def respond(
    driver: MachineDriver, sent: events.ReleaseRequest, space: ProtectionSpace, login: Login
) -> None:
    """Accept the right login, and refuse the wrong one."""
    if login == RIGHT:
        driver.handle(
            events.LoginAccepted(sent.login_id, "basic", "basic", "a.example:80", sent.request_id)
        )
        return
    tried = events.TriedLogin(
        LoginId(space, sent.login_id.generation), "basic", permit=sent.request_id
    )
    profile = driver.machine.state.profiles[space.upstream_id.profile_id]
    assert profile is not None
    driver.last_request_id += 1
    driver.handle(
        events.RequestChallenged(
            driver.last_request_id, space, profile, driver.offers, "a.example:80", tried
        )
    )
