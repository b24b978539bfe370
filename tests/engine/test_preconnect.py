"""Connections that are signed in ahead: what goes out, when, and what becomes of it."""

from collections.abc import Callable
from contextlib import ExitStack
from threading import Event

import pytest

from tests.engine.ntlm_upstream import NtlmUpstream, NtlmBehaviour
from tests.engine.conftest import Start
from tests.engine.fakes import LOGIN, FakeDesk, office
from tests.engine.running import LOOPS, NewLoop, Running
from tests.engine.schemes import REJECTED, ScriptedScheme, TicketScheme, ntlm_like_scheme
from tests.engine.wire import Client, connect, get
from tests.support.exchange import Head
from tests.support.scripted import (
    ESTABLISHED,
    Peer,
    Scripted,
    challenge,
    closing_early,
)
from trayproxy.desk.credentials import Credentials
from trayproxy.engine.downstream import Downstream
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.proxy_auth.preconnect import (
    NullDownstream,
    PreconnectLease,
    Preconnector,
    preconnect_request,
)
from trayproxy.engine.proxy_auth.upstream_lease import UpstreamLease
from trayproxy.engine.upstream.pool import PoolKey
from trayproxy.http.target import Authority

GET = get(b"http://origin.test/")
CONNECT = connect(b"origin.test:443")
PAYS = [("CONNECT", "type 1"), ("CONNECT", "type 3")]
WARMS = [("HEAD", "type 1"), ("HEAD", "type 3")]
TAKES = [("CONNECT", "none")]

Bind = Callable[..., NtlmUpstream]
Scripts = Callable[..., Scripted]


@pytest.fixture(params=list(LOOPS.values()), ids=list(LOOPS))
def engines_loop(request: pytest.FixtureRequest) -> NewLoop:
    found: NewLoop = request.param
    return found


@pytest.fixture
def bind(stack: ExitStack) -> Bind:
    """Starts upstreams that sign in connections."""

    def bind(**manner: object) -> NtlmUpstream:
        return stack.enter_context(NtlmUpstream(NtlmBehaviour(**manner)))  # type: ignore[arg-type]  # by name

    return bind


def calm_desk(*schemes: ScriptedScheme | TicketScheme) -> FakeDesk:
    """Return a desk that knows its login, and lets it be sent ahead once it was accepted."""
    desk = FakeDesk(LOGIN, schemes=schemes or (ntlm_like_scheme(),), knows_it=True)
    desk.is_calm = True
    return desk


def is_ready(engine: Running) -> bool:
    """Whether a connection that is signed in waits in the pool."""
    idle = engine.engine.pool._idle
    return any(key.signed_in is not None and idle[key] for key in idle)


def is_at_rest(engine: Running) -> bool:
    """Whether nothing is being signed in, and will not be by itself."""
    return not engine.engine.preconnector._tasks and not engine.engine.preconnector._timers


def wait_until_ready(engine: Running) -> None:
    engine.until(lambda: is_at_rest(engine) and is_ready(engine), "a connection that is ready")


def settle(engine: Running) -> None:
    """Wait until what follows from the last answer has been done."""
    for _ in range(3):
        engine.call(lambda: None)
    engine.until(lambda: is_at_rest(engine), "rest")


def waits(engine: Running, count: int = 1) -> bool:
    """Whether so many requests need a connection, and have none yet."""
    return (
        sum(state.waiting for state in engine.engine.preconnector._policy._states.values()) == count
    )


def tunnel(client: Client) -> None:
    """Open a tunnel and send something through it."""
    client.send(CONNECT)
    assert client.reply(b"CONNECT").status == 200
    client.send(b"through?")
    assert client.take(8) == b"through?"


def burst(engine: Running, tunnels: int) -> None:
    """Open tunnels one after the other, without a pause."""
    for _ in range(tunnels):
        with engine.connect() as client:
            tunnel(client)


def use(engine: Running, *, tunnels: int) -> None:
    """Open tunnels one after the other, each when all that the last one led to is done."""
    for _ in range(tunnels):
        with engine.connect() as client:
            tunnel(client)
        settle(engine)


def said(upstream: NtlmUpstream, start: int = 0) -> list[tuple[str, str]]:
    """Return method and message of each request, from one on."""
    return [(method, message) for _, method, message in upstream.messages[start:]]


class Held:
    """Holds answers back until it is told to give them."""

    def __init__(
        self, stack: ExitStack, upstream: NtlmUpstream, method: str, message: str = "type 3"
    ) -> None:
        self.came = Event()
        self._may_go = Event()
        self._what = (method, message)
        upstream.behaviour.before_response = self
        # Before the upstream ends, which was begun before.
        stack.callback(self._may_go.set)

    def __call__(self, head: Head, message: str) -> None:
        if (head.method, message) == self._what:
            self.came.set()
            self._may_go.wait()

    def release(self) -> None:
        self._may_go.set()


# --- when requests leave no time for it ---


class Pace:
    """Says how requests come, however slow the machine is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def back_to_back(self) -> None:
        """Take each pause that follows for a short one."""
        self._monkeypatch.setattr(
            "trayproxy.engine.proxy_auth.preconnect_policy.BURST_PAUSE_S", 60.0
        )

    def with_pauses(self) -> None:
        """Take each pause that follows for a long one."""
        self._monkeypatch.setattr(
            "trayproxy.engine.proxy_auth.preconnect_policy.BURST_PAUSE_S", 0.0
        )


@pytest.fixture
def pace(monkeypatch: pytest.MonkeyPatch) -> Pace:
    return Pace(monkeypatch)


def test_tunnels_back_to_back_take_two_messages_each(start: Start, bind: Bind, pace: Pace) -> None:
    """One that is signed in ahead would make it three, and keep each client waiting for them."""
    upstream = bind()
    engine = start(office(upstream.port), calm_desk())
    pace.back_to_back()
    burst(engine, 60)
    settle(engine)
    assert said(upstream) == PAYS * 60


def test_they_use_up_what_is_ready_and_leave_nothing(start: Start, bind: Bind, pace: Pace) -> None:
    upstream = bind()
    engine = start(office(upstream.port), calm_desk())
    burst(engine, 1)
    wait_until_ready(engine)
    before = len(upstream.messages)
    pace.back_to_back()
    burst(engine, 10)
    settle(engine)
    assert said(upstream, before) == [*TAKES, *PAYS * 9]
    assert not is_ready(engine)


def test_the_first_tunnel_after_them_signs_in_its_own_and_has_one_made_ready(
    start: Start, bind: Bind, pace: Pace
) -> None:
    upstream = bind()
    engine = start(office(upstream.port), calm_desk())
    pace.back_to_back()
    burst(engine, 10)
    settle(engine)
    before = len(upstream.messages)
    pace.with_pauses()
    for _ in range(3):
        burst(engine, 1)
        wait_until_ready(engine)
    assert said(upstream, before) == [*PAYS, *WARMS, *TAKES, *WARMS, *TAKES, *WARMS]


def test_who_had_to_wait_has_come_back_to_back(
    start: Start, bind: Bind, stack: ExitStack, pace: Pace
) -> None:
    upstream = bind()
    held = Held(stack, upstream, "HEAD")
    engine = start(office(upstream.port), calm_desk())
    burst(engine, 1)
    assert held.came.wait(10)
    pace.back_to_back()
    with engine.connect() as client:
        client.send(CONNECT)
        engine.until(lambda: waits(engine), "a client that waits")
        held.release()
        assert client.reply(b"CONNECT").status == 200
    burst(engine, 3)
    settle(engine)
    assert said(upstream) == [*PAYS, *WARMS, *TAKES, *PAYS * 3]


def test_what_would_have_been_begun_is_not_begun_after_a_change(
    start: Start, bind: Bind, pace: Pace
) -> None:
    pace.back_to_back()
    upstream = bind()
    engine = start(office(upstream.port), calm_desk())
    burst(engine, 1)
    engine.until(lambda: bool(engine.engine.preconnector._timers), "one that will be begun")
    engine.call(engine.engine.forget_connections)
    assert not engine.call(lambda: dict(engine.engine.preconnector._timers))


# --- what it is for ---


def test_the_next_tunnel_takes_one_round_trip(start: Start, bind: Bind) -> None:
    upstream = bind()
    engine = start(office(upstream.port), calm_desk())
    for _ in range(3):
        with engine.connect() as client:
            tunnel(client)
        wait_until_ready(engine)
    assert said(upstream) == [*PAYS, *WARMS, *TAKES, *WARMS, *TAKES, *WARMS]


def test_all_messages_of_it_go_on_the_connection_that_the_tunnel_takes(
    start: Start, bind: Bind
) -> None:
    upstream = bind()
    engine = start(office(upstream.port), calm_desk())
    with engine.connect() as first, engine.connect() as second:
        tunnel(first)
        wait_until_ready(engine)
        tunnel(second)
        numbers = [number for number, _, _ in upstream.messages]
        assert numbers[:5] == [1, 1, 2, 2, 2]


def test_a_tunnel_signed_in_is_ready_for_requests_too(start: Start, bind: Bind) -> None:
    upstream = bind()
    engine = start(office(upstream.port), calm_desk())
    burst(engine, 1)
    wait_until_ready(engine)
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    assert said(upstream)[:5] == [*PAYS, *WARMS, ("GET", "none")]


def test_what_is_asked_for_leads_nowhere_and_tells_nothing(start: Start, script: Scripts) -> None:
    scheme = ntlm_like_scheme()
    heads: list[bytes] = []

    def play(peer: Peer) -> None:
        while True:
            head = peer.read_head()
            heads.append(head)
            final = ESTABLISHED if head.startswith(b"CONNECT") else b"HTTP/1.1 504 No\r\n\r\n"
            peer.send(final if b"dGhyZWU=" in head else challenge("NTLM dHdv"))

    upstream = script(play)
    engine = start(office(upstream.port), calm_desk(scheme))
    with engine.connect() as client:
        client.send(connect(b"origin.test:443", b"Cookie: secret", b"User-Agent: program"))
        assert client.reply(b"CONNECT").status == 200
    wait_until_ready(engine)
    last = heads[-1]
    assert last.startswith(b"HEAD http://origin.test:443/ HTTP/1.1\r\nHost: origin.test:443\r\n")
    assert b"\r\nCache-Control: only-if-cached\r\n" in last
    assert b"secret" not in last
    assert b"program" not in last


# --- when ---


def test_without_new_demand_none_is_made_ready_again(start: Start, bind: Bind) -> None:
    upstream = bind()
    engine = start(office(upstream.port), calm_desk(), EngineLimits(idle_upstream_s=0.1))
    burst(engine, 1)
    wait_until_ready(engine)
    engine.until(lambda: not is_ready(engine), "the end of what nobody took")
    settle(engine)
    assert said(upstream) == [*PAYS, *WARMS]


def test_none_is_made_ready_while_one_is(start: Start, bind: Bind) -> None:
    upstream = bind()
    engine = start(office(upstream.port), calm_desk())
    with engine.connect() as client:
        tunnel(client)
        wait_until_ready(engine)
        with engine.connect() as other:
            assert other.ask(GET).status == 200
            wait_until_ready(engine)
        engine.until(lambda: len(engine.engine.executor.works) == 1, "the end of the other")
        count = len(upstream.requests)
        with engine.connect() as third:
            tunnel(third)
        settle(engine)
    assert said(upstream, count) == TAKES


def test_where_one_message_signs_in_nothing_is_sent_ahead(start: Start, script: Scripts) -> None:
    """Kerberos sends its token with the first request of a connection."""

    def play(peer: Peer) -> None:
        peer.send(ESTABLISHED if b"dGlja2V0" in peer.read_head() else challenge("Negotiate"))
        peer.read_all()

    upstream = script(play)
    engine = start(office(upstream.port), calm_desk(TicketScheme()))
    for _ in range(3):
        with engine.connect() as client:
            client.send(CONNECT)
            assert client.reply(b"CONNECT").status == 200
        settle(engine)
    assert [peer.received.count(b"\r\n\r\n") for peer in upstream.peers] == [1, 1, 1]
    assert b"HEAD" not in b"".join(peer.received for peer in upstream.peers)


def test_a_login_that_the_desk_is_not_sure_of_is_not_sent_ahead(start: Start, bind: Bind) -> None:
    upstream = bind()
    desk = calm_desk()
    desk.is_calm = False
    engine = start(office(upstream.port), desk)
    use(engine, tunnels=2)
    assert said(upstream) == [*PAYS, *PAYS]


def test_who_waits_goes_first(start: Start, bind: Bind, stack: ExitStack) -> None:
    upstream = bind()
    engine = start(office(upstream.port), calm_desk())
    with engine.connect() as client:
        assert client.ask(GET).status == 200  # The login was accepted: nobody goes alone any more.
        wait_until_ready(engine)
        engine.call(engine.engine.forget_connections)
        count = len(upstream.requests)
        held = Held(stack, upstream, "GET")
        with engine.connect() as waiting, engine.connect() as other:
            waiting.send(GET)
            assert held.came.wait(10)
            tunnel(other)
            settle(engine)
            assert said(upstream, count) == [("GET", "type 1"), ("GET", "type 3"), *PAYS]
            held.release()
            assert waiting.reply().status == 200
            wait_until_ready(engine)
    assert said(upstream, count)[4:] == WARMS


def test_who_comes_meanwhile_takes_it(start: Start, bind: Bind, stack: ExitStack) -> None:
    upstream = bind()
    held = Held(stack, upstream, "HEAD")
    engine = start(office(upstream.port), calm_desk())
    with engine.connect() as first, engine.connect() as second:
        tunnel(first)
        assert held.came.wait(10)
        second.send(CONNECT)
        engine.until(lambda: len(engine.engine.executor.works) == 2, "the second client")
        held.release()
        assert second.reply(b"CONNECT").status == 200
        assert upstream.messages[4] == (2, "CONNECT", "none")


def test_who_comes_meanwhile_and_leaves_changes_nothing(
    start: Start, bind: Bind, stack: ExitStack
) -> None:
    upstream = bind()
    held = Held(stack, upstream, "HEAD")
    engine = start(office(upstream.port), calm_desk())
    with engine.connect() as first:
        tunnel(first)
        assert held.came.wait(10)
        with engine.connect() as second:
            second.send(CONNECT)
            engine.until(lambda: waits(engine), "the second client")
        engine.until(lambda: len(engine.engine.executor.works) == 1, "its end")
        held.release()
        wait_until_ready(engine)
    assert said(upstream) == [*PAYS, *WARMS]


# --- a login that is refused ---


def refuses_heads(head: Head) -> bool:
    return head.method == "HEAD"


def test_a_refusal_is_one_failed_log_on_and_the_desk_hears_of_it(start: Start, bind: Bind) -> None:
    upstream = bind(rejects_to=refuses_heads)
    engine = start(office(upstream.port), calm_desk())
    burst(engine, 1)
    engine.desk.wait_for_turns(1)
    settle(engine)
    assert said(upstream) == [*PAYS, *WARMS]
    (turn,) = engine.desk.turns
    (accepted,) = engine.desk.acceptances
    assert turn.tried is not None
    assert (turn.verdict, turn.tried.login_id, turn.waiter.target) == (
        REJECTED,
        accepted.login_id,
        "",  # The host is not to blame for the method HEAD.
    )
    assert not is_ready(engine)


def test_nobody_is_left_waiting_at_the_desk(start: Start, bind: Bind) -> None:
    upstream = bind(rejects_to=refuses_heads)
    desk = calm_desk()
    engine = start(office(upstream.port), desk)
    with engine.connect() as client:
        client.send(CONNECT)
        assert client.reply(b"CONNECT").status == 200
    desk.wait_for_turns(1)
    settle(engine)
    assert not any(turn.waits for turn in desk.turns)


def test_after_a_refusal_none_is_sent_ahead_with_that_login(start: Start, bind: Bind) -> None:
    upstream = bind(rejects_to=refuses_heads)
    engine = start(office(upstream.port), calm_desk())
    use(engine, tunnels=3)
    assert said(upstream) == [*PAYS, *WARMS, *PAYS, *PAYS]


def test_who_comes_meanwhile_does_not_send_a_refused_login_again(
    start: Start, bind: Bind, stack: ExitStack
) -> None:
    count = 20
    upstream = bind(rejects_to=refuses_heads)
    held = Held(stack, upstream, "HEAD")
    engine = start(office(upstream.port), calm_desk())
    with engine.connect() as first:
        tunnel(first)
        assert held.came.wait(10)
        clients = [stack.enter_context(engine.connect()) for _ in range(count)]
        for client in clients:
            client.send(CONNECT)
        engine.until(lambda: waits(engine, count), "the clients")
        engine.call(engine.desk.forget_login)
        held.release()
        engine.desk.wait_for_turns(count + 1)
        engine.call(engine.desk.refuse_all)
        assert [client.reply(b"CONNECT").status for client in clients] == [503] * count
    messages = [message for _, message in said(upstream)]
    assert messages.count("type 1") == messages.count("type 3") == 2


def test_a_login_that_is_refused_between_the_messages_of_another_is_not_sent_by_that(
    start: Start, bind: Bind, stack: ExitStack
) -> None:
    upstream = bind()
    engine = start(office(upstream.port), calm_desk())
    with engine.connect() as first, engine.connect() as second:
        tunnel(first)
        wait_until_ready(engine)
        engine.call(engine.engine.forget_connections)
        count = len(upstream.requests)
        held = Held(stack, upstream, "GET", "type 1")
        second.send(GET)
        assert held.came.wait(10)
        engine.call(engine.desk.forget_login)
        held.release()
        engine.desk.wait_for_turns(1)
        engine.call(engine.desk.refuse_all)
        assert second.reply().status == 503
    assert said(upstream, count) == [("GET", "type 1"), ("GET", "none")]


def test_a_desk_that_has_another_answer_is_told_that_nobody_needs_it(
    start: Start, bind: Bind
) -> None:
    upstream = bind(rejects_to=refuses_heads)

    class Generous(FakeDesk):
        def challenged(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
            future = super().challenged(*args, **kwargs)  # type: ignore[arg-type]
            given = self.known(self.turns[-1].space)
            if not future.done() or not isinstance(future.result(), Credentials):
                other: object = type(future)(loop=future.get_loop())
                other.set_result(given)  # type: ignore[attr-defined]
                return other
            return future

    desk = Generous(LOGIN, schemes=(ntlm_like_scheme(),), knows_it=True)
    desk.is_calm = True
    engine = start(office(upstream.port), desk)
    burst(engine, 1)
    desk.wait_for_turns(1)
    settle(engine)
    assert desk.spent == [False]


# --- upstreams that do not take it ---


@pytest.mark.parametrize("status", [200, 301, 400, 403, 404, 405, 501, 502, 503, 504])
def test_whatever_it_answers_once_it_lets_through_is_a_sign_in(
    start: Start, bind: Bind, status: int
) -> None:
    upstream = bind(status=status)
    engine = start(office(upstream.port), calm_desk())
    for _ in range(2):
        with engine.connect() as client:
            tunnel(client)
        wait_until_ready(engine)
    assert said(upstream) == [*PAYS, *WARMS, *TAKES, *WARMS]


def test_one_that_does_not_ask_is_not_taken_for_one_that_has_signed_in(
    start: Start, bind: Bind
) -> None:
    upstream = bind(lets_through=refuses_heads)
    engine = start(office(upstream.port), calm_desk())
    for _ in range(3):
        use(engine, tunnels=1)
        assert not is_ready(engine)
    assert said(upstream) == [*PAYS, ("HEAD", "type 1"), *PAYS, *PAYS]


def test_one_that_closes_after_each_answer_is_not_asked_again(start: Start, bind: Bind) -> None:
    upstream = bind(last_words=(("Connection", "close"),))
    engine = start(office(upstream.port), calm_desk())
    use(engine, tunnels=3)
    assert said(upstream) == [*PAYS, *WARMS, *PAYS, *PAYS]


def test_one_that_says_nothing_is_waited_for_a_short_time_and_once(
    start: Start, bind: Bind, stack: ExitStack
) -> None:
    upstream = bind()
    Held(stack, upstream, "HEAD", "type 1")
    engine = start(office(upstream.port), calm_desk(), EngineLimits(preconnect_s=0.2))
    use(engine, tunnels=3)
    assert said(upstream) == [*PAYS, ("HEAD", "type 1"), *PAYS, *PAYS]
    assert engine.observer.failures == []


def test_nobody_waits_for_long_behind_one_that_says_nothing(
    start: Start, bind: Bind, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trayproxy.engine.proxy_auth.single_flight.WAIT_S", 0.2)
    upstream = bind()
    held = Held(stack, upstream, "HEAD", "type 1")
    engine = start(office(upstream.port), calm_desk())
    with engine.connect() as first, engine.connect() as second:
        tunnel(first)
        assert held.came.wait(10)
        tunnel(second)


def test_one_that_breaks_is_left_alone_for_a_while_and_that_is_no_problem_of_the_upstream(
    start: Start, bind: Bind
) -> None:
    upstream = bind()

    def cut_heads(head: Head, message: str) -> None:
        if head.method == "HEAD":
            raise ConnectionResetError

    upstream.behaviour.before_response = cut_heads
    engine = start(office(upstream.port), calm_desk())
    use(engine, tunnels=2)
    assert said(upstream) == [*PAYS, ("HEAD", "type 1"), *PAYS]
    assert engine.observer.failures == []


def test_one_that_closes_what_is_ready_costs_nobody_a_request(start: Start, bind: Bind) -> None:
    upstream = bind()
    engine = start(office(upstream.port), calm_desk())
    burst(engine, 1)
    wait_until_ready(engine)
    upstream.cut()
    engine.until(lambda: not is_ready(engine), "the end of the connection")
    burst(engine, 1)
    settle(engine)
    # And it is not made to close another one at once.
    assert said(upstream) == [*PAYS, *WARMS, *PAYS]


def test_one_that_closes_at_the_very_moment_costs_nobody_a_request(
    start: Start, script: Scripts
) -> None:
    def sign_in(peer: Peer) -> None:
        peer.read_head()
        peer.send(challenge("NTLM dHdv"))
        head = peer.read_head()
        peer.send(ESTABLISHED if head.startswith(b"CONNECT") else b"HTTP/1.1 504 No\r\n\r\n")
        if head.startswith(b"HEAD"):
            closing_early(peer)  # The next request has come, and gets no answer.
        else:
            peer.read_all()

    upstream = script(sign_in)
    engine = start(office(upstream.port), calm_desk())
    for _ in range(2):
        with engine.connect() as client:
            client.send(CONNECT)
            assert client.reply(b"CONNECT").status == 200
        if not len(upstream.peers) > 2:
            wait_until_ready(engine)
    assert [peer.received.split(b" ")[0] for peer in upstream.peers[:3]] == [
        b"CONNECT",
        b"HEAD",
        b"CONNECT",
    ]


# --- changes ---


@pytest.mark.parametrize("message", ["type 1", "type 3"])
def test_what_is_under_way_ends_when_something_changes(
    start: Start, bind: Bind, stack: ExitStack, message: str
) -> None:
    upstream = bind()
    held = Held(stack, upstream, "HEAD", message)
    engine = start(office(upstream.port), calm_desk(), EngineLimits(preconnect_s=1000.0))
    with engine.connect() as client:
        tunnel(client)
        assert held.came.wait(10)
        engine.call(engine.engine.forget_connections)
        settle(engine)
        held.release()
        assert not is_ready(engine)
        assert engine.desk.turns == []


def test_what_was_not_even_begun_when_something_changed_holds_nobody_up(
    start: Start, bind: Bind, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = bind()
    engine = start(office(upstream.port), calm_desk())
    warming, look = engine.engine.preconnector, Preconnector._check

    def change_at_once(self: Preconnector, key: PoolKey) -> None:
        look(self, key)
        engine.engine.forget_connections()

    monkeypatch.setattr(Preconnector, "_check", change_at_once)
    burst(engine, 1)
    settle(engine)
    assert said(upstream) == PAYS
    assert not warming._in_progress._flights


def test_a_refusal_leaves_nobody_in_front_of_those_that_come_later(
    start: Start, bind: Bind
) -> None:
    """Its login was not accepted lately any more when it went out."""
    upstream = bind(rejects_to=refuses_heads)
    desk = calm_desk()

    desk.doubts_all = True
    desk.is_sure_of = lambda answer: True  # type: ignore[method-assign]  # as it was then
    engine = start(office(upstream.port), desk)
    burst(engine, 1)
    desk.wait_for_turns(1)
    settle(engine)
    assert not engine.desk.is_under_way


def test_what_is_ready_is_not_used_after_a_change(start: Start, bind: Bind) -> None:
    upstream = bind()
    engine = start(office(upstream.port), calm_desk())
    burst(engine, 1)
    wait_until_ready(engine)
    engine.call(engine.engine.forget_connections)
    burst(engine, 1)
    assert said(upstream)[:6] == [*PAYS, *WARMS, *PAYS]


def test_what_was_useless_before_a_change_may_be_of_use_after_it(start: Start, bind: Bind) -> None:
    upstream = bind(last_words=(("Connection", "close"),))
    engine = start(office(upstream.port), calm_desk())
    burst(engine, 1)
    settle(engine)
    upstream.behaviour.head_fields = ()
    engine.call(engine.engine.forget_connections)
    burst(engine, 1)
    wait_until_ready(engine)


def test_quitting_waits_for_none_of_them(start: Start, bind: Bind, stack: ExitStack) -> None:
    upstream = bind()
    held = Held(stack, upstream, "HEAD")
    engine = start(office(upstream.port), calm_desk())
    burst(engine, 1)
    assert held.came.wait(10)
    engine.until(lambda: not engine.engine.executor.works, "the end of the client")
    engine.wait(engine.engine.close(), timeout=2.0)
    assert is_at_rest(engine)


# --- what it is not ---


def test_it_is_no_client_and_no_traffic(start: Start, bind: Bind, stack: ExitStack) -> None:
    upstream = bind()
    held = Held(stack, upstream, "HEAD")
    engine = start(office(upstream.port), calm_desk())
    burst(engine, 1)
    assert held.came.wait(10)
    engine.until(lambda: not engine.engine.executor.works, "the end of the client")
    counters = engine.engine.counters
    moved = (counters.received, counters.sent)
    assert counters.active == 0
    held.release()
    wait_until_ready(engine)
    assert (counters.received, counters.sent) == moved == (8, 8)


def test_nothing_is_left_of_them(start: Start, bind: Bind) -> None:
    upstream = bind()
    engine = start(office(upstream.port), calm_desk())
    base = engine.holdings()
    for _ in range(3):
        with engine.connect() as client:
            tunnel(client)
        wait_until_ready(engine)
    engine.settle()
    engine.until_it_holds(base)


def test_what_waits_for_programs_is_left_to_them(start: Start, bind: Bind) -> None:
    """It is watched for the pool still, and would be waited for by two."""
    upstream = bind(lets_through=lambda head: True)
    engine = start(office(upstream.port), calm_desk())
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    engine.until(lambda: not engine.engine.executor.works, "the end of the client")

    def takes_it(kind: type[UpstreamLease], link: Downstream) -> bool:
        request = preconnect_request(Authority("origin.test", 443))
        way = engine.signs(Authority("origin.test", 443))
        assert way is not None
        [key] = engine.engine.pool._idle
        taken = kind(link, request, way, way)._take_from_pool(key, None)
        if taken is not None:
            engine.engine.pool.drop(taken)
        return taken is not None

    assert not engine.call(lambda: takes_it(PreconnectLease, NullDownstream(engine.engine)))
    assert engine.call(lambda: takes_it(UpstreamLease, NullDownstream(engine.engine)))
