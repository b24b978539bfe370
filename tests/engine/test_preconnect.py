"""Preconnects: their requests, their time, and their results."""

from collections.abc import Callable
from contextlib import ExitStack
from threading import Event

import pytest

from tests.engine.conftest import StartNtlm, StartScripted
from tests.engine.fakes import LOGIN, FakeBroker
from tests.engine.ntlm_upstream import NtlmUpstream
from tests.engine.running import LOOPS, NewLoop, Running
from tests.engine.schemes import REJECTED, ScriptedScheme, TicketScheme, ntlm_like_scheme
from tests.engine.wire import connect, get
from tests.support.exchange import ReceivedHead
from tests.support.scripted_upstream import (
    ESTABLISHED,
    ScriptedConnection,
    challenge,
    closing_early,
)
from trayproxy.desk.credentials import Credentials
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.engine.downstream import NullDownstream
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.fd_task import run_in_task
from trayproxy.engine.proxy_auth.preconnect import PreconnectLease, preconnect_request
from trayproxy.engine.proxy_auth.upstream_lease import UpstreamLease
from trayproxy.http.target import Authority

GET = get(b"http://origin.test/")
CONNECT = connect(b"origin.test:443")
HANDSHAKE = [("CONNECT", "type 1"), ("CONNECT", "type 3")]
PRECONNECT = [("HEAD", "type 1"), ("HEAD", "type 3")]
REUSE = [("CONNECT", "none")]


@pytest.fixture(params=list(LOOPS.values()), ids=list(LOOPS))
def engines_loop(request: pytest.FixtureRequest) -> NewLoop:
    found: NewLoop = request.param
    return found


def proving_desk(*schemes: ScriptedScheme | TicketScheme) -> FakeBroker:
    """Return a desk that knows a login and permits preconnects with it after its acceptance."""
    desk = FakeBroker(LOGIN, schemes=schemes or (ntlm_like_scheme(),), is_known=True)
    desk.allows_preconnects = True
    return desk


def is_ready(engine: Running) -> bool:
    """Return True if an authenticated connection is idle in the pool."""
    pool = engine.engine.context.pool
    return any(connection.is_authenticated for connection in pool.idle_connections())


def is_idle(engine: Running) -> bool:
    """Return True if no preconnect is in progress or scheduled."""
    return engine.engine.preconnector.is_idle


def wait_until_ready(engine: Running) -> None:
    """Wait until no preconnect is in progress and an authenticated connection is ready."""
    engine.until(lambda: is_idle(engine) and is_ready(engine), "a connection that is ready")


def settle(engine: Running) -> None:
    """Wait until everything triggered by the last response is done."""
    for _ in range(3):
        engine.call(lambda: None)
    engine.until(lambda: is_idle(engine), "the end of all preconnects")


def waiting(engine: Running, count: int = 1) -> bool:
    """Return True if this number of requests wait for a connection."""
    return engine.engine.preconnector.waiting == count


def open_tunnels(engine: Running, tunnels: int) -> None:
    """Open tunnels in sequence, without pauses."""
    for _ in range(tunnels):
        with engine.connect() as client:
            client.open_tunnel(CONNECT)


def open_ready_tunnels(engine: Running, tunnels: int) -> None:
    """Open tunnels in sequence, each after the preconnect for the next tunnel has ended."""
    for _ in range(tunnels):
        open_tunnels(engine, 1)
        wait_until_ready(engine)


def open_tunnels_slowly(engine: Running, *, tunnels: int) -> None:
    """Open tunnels in sequence, each after everything triggered by the last tunnel is done."""
    for _ in range(tunnels):
        with engine.connect() as client:
            client.open_tunnel(CONNECT)
        settle(engine)


def messages_from(upstream: NtlmUpstream, start: int = 0) -> list[tuple[str, str]]:
    """Return the method and the message of each request, from the given index on."""
    return [(method, message) for _, method, message in upstream.messages[start:]]


class HeldResponse:
    """Holds back the responses to requests with this method and message until `release` is called.

    Attributes:
        received: Set when the first such request arrives.
    """

    def __init__(
        self, stack: ExitStack, upstream: NtlmUpstream, method: str, message: str = "type 3"
    ) -> None:
        self.received = Event()
        self._may_respond = Event()
        self._message = (method, message)
        upstream.behaviour.before_response = self
        # Callbacks run in reverse order: this callback before the upstream is closed.
        stack.callback(self._may_respond.set)

    def __call__(self, head: ReceivedHead, message: str) -> None:
        if (head.method, message) == self._message:
            self.received.set()
            self._may_respond.wait()

    def release(self) -> None:
        """Send the responses."""
        self._may_respond.set()


# --- bursts ---


SetBurstPause = Callable[[float], None]
ALL_SHORT, ALL_LONG = 60.0, 0.0


@pytest.fixture
def set_burst_pause(monkeypatch: pytest.MonkeyPatch) -> SetBurstPause:
    """Set the longest pause within a burst, so all later pauses of a test count as short or as
    long, whatever the speed of the machine."""
    name = "trayproxy.engine.proxy_auth.preconnect_policy.BURST_PAUSE_S"
    return lambda seconds: monkeypatch.setattr(name, seconds)


def test_back_to_back_tunnels_cost_two_messages_each(
    start_ntlm: StartNtlm, set_burst_pause: SetBurstPause
) -> None:
    """With a preconnect, each tunnel would cost three messages and wait for them."""
    engine, upstream = start_ntlm(proving_desk())
    set_burst_pause(ALL_SHORT)
    open_tunnels(engine, 60)
    settle(engine)
    assert messages_from(upstream) == HANDSHAKE * 60


def test_back_to_back_tunnels_consume_the_ready_connection(
    start_ntlm: StartNtlm, set_burst_pause: SetBurstPause
) -> None:
    engine, upstream = start_ntlm(proving_desk())
    open_ready_tunnels(engine, 1)
    before = len(upstream.messages)
    set_burst_pause(ALL_SHORT)
    open_tunnels(engine, 10)
    settle(engine)
    assert messages_from(upstream, before) == [*REUSE, *HANDSHAKE * 9]
    assert not is_ready(engine)


def test_the_first_tunnel_after_a_burst_starts_a_preconnect(
    start_ntlm: StartNtlm, set_burst_pause: SetBurstPause
) -> None:
    engine, upstream = start_ntlm(proving_desk())
    set_burst_pause(ALL_SHORT)
    open_tunnels(engine, 10)
    settle(engine)
    before = len(upstream.messages)
    set_burst_pause(ALL_LONG)
    open_ready_tunnels(engine, 3)
    assert messages_from(upstream, before) == [*HANDSHAKE, *PRECONNECT, *(REUSE + PRECONNECT) * 2]


def test_a_request_waiting_for_a_preconnect_counts_as_back_to_back(
    start_ntlm: StartNtlm, stack: ExitStack, set_burst_pause: SetBurstPause
) -> None:
    engine, upstream = start_ntlm(proving_desk())
    held = HeldResponse(stack, upstream, "HEAD")
    open_tunnels(engine, 1)
    assert held.received.wait(10)
    set_burst_pause(ALL_SHORT)
    with engine.connect() as client:
        client.send(CONNECT)
        engine.until(lambda: waiting(engine), "a waiting client")
        held.release()
        assert client.reply(b"CONNECT").status == 200
    open_tunnels(engine, 3)
    settle(engine)
    assert messages_from(upstream) == [*HANDSHAKE, *PRECONNECT, *REUSE, *HANDSHAKE * 3]


def test_a_scheduled_preconnect_is_cancelled_after_a_change(
    start_ntlm: StartNtlm, set_burst_pause: SetBurstPause
) -> None:
    set_burst_pause(ALL_SHORT)
    engine, _ = start_ntlm(proving_desk())
    open_tunnels(engine, 1)
    # The pause before the preconnect is longer than the test, so it is scheduled.
    engine.until(lambda: not is_idle(engine), "a scheduled preconnect")
    engine.call(engine.engine.forget_connections)
    assert engine.call(lambda: is_idle(engine))


# --- round trips saved ---


def test_the_next_tunnel_takes_one_round_trip(start_ntlm: StartNtlm) -> None:
    engine, upstream = start_ntlm(proving_desk())
    open_ready_tunnels(engine, 3)
    assert messages_from(upstream) == [*HANDSHAKE, *PRECONNECT, *(REUSE + PRECONNECT) * 2]


def test_the_tunnel_uses_the_connection_of_the_preconnect(start_ntlm: StartNtlm) -> None:
    engine, upstream = start_ntlm(proving_desk())
    with engine.connect() as first, engine.connect() as second:
        first.open_tunnel(CONNECT)
        wait_until_ready(engine)
        second.open_tunnel(CONNECT)
        numbers = [number for number, _, _ in upstream.messages]
        assert numbers[:5] == [1, 1, 2, 2, 2]


def test_a_request_uses_a_connection_preconnected_for_tunnels(start_ntlm: StartNtlm) -> None:
    engine, upstream = start_ntlm(proving_desk())
    open_ready_tunnels(engine, 1)
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    assert messages_from(upstream)[:5] == [*HANDSHAKE, *PRECONNECT, ("GET", "none")]


def test_a_preconnect_contains_no_data_of_the_client(start_scripted: StartScripted) -> None:
    scheme = ntlm_like_scheme()
    heads: list[bytes] = []

    def play(peer: ScriptedConnection) -> None:
        while True:
            head = peer.read_head()
            heads.append(head)
            final = ESTABLISHED if head.startswith(b"CONNECT") else b"HTTP/1.1 504 No\r\n\r\n"
            peer.send(final if b"dGhyZWU=" in head else challenge("NTLM dHdv"))

    engine, _ = start_scripted(play, desk=proving_desk(scheme))
    with engine.connect() as client:
        client.send(connect(b"origin.test:443", b"Cookie: secret", b"User-Agent: program"))
        assert client.reply(b"CONNECT").status == 200
    wait_until_ready(engine)
    last = heads[-1]
    assert last.startswith(b"HEAD http://origin.test:443/ HTTP/1.1\r\nHost: origin.test:443\r\n")
    assert b"\r\nCache-Control: only-if-cached\r\n" in last
    assert b"secret" not in last
    assert b"program" not in last


# --- when a preconnect starts ---


def test_without_new_demand_there_is_no_preconnect(start_ntlm: StartNtlm) -> None:
    engine, upstream = start_ntlm(proving_desk(), limits=EngineLimits(idle_upstream_s=0.1))
    open_ready_tunnels(engine, 1)
    engine.until(lambda: not is_ready(engine), "the end of the unused connection")
    settle(engine)
    assert messages_from(upstream) == [*HANDSHAKE, *PRECONNECT]


def test_there_is_no_preconnect_while_a_connection_is_ready(start_ntlm: StartNtlm) -> None:
    engine, upstream = start_ntlm(proving_desk())
    with engine.connect() as client:
        client.open_tunnel(CONNECT)
        wait_until_ready(engine)
        with engine.connect() as other:
            assert other.ask(GET).status == 200
            wait_until_ready(engine)
        engine.until(lambda: len(engine.engine.executor.works) == 1, "the end of the other")
        count = len(upstream.requests)
        with engine.connect() as third:
            third.open_tunnel(CONNECT)
        settle(engine)
    assert messages_from(upstream, count) == REUSE


def test_there_is_no_preconnect_for_a_handshake_of_one_message(
    start_scripted: StartScripted,
) -> None:
    """Kerberos sends its token with the first request of a connection."""

    def play(peer: ScriptedConnection) -> None:
        peer.send(ESTABLISHED if b"dGlja2V0" in peer.read_head() else challenge("Negotiate"))
        peer.read_all()

    engine, upstream = start_scripted(play, desk=proving_desk(TicketScheme()))
    for _ in range(3):
        with engine.connect() as client:
            client.send(CONNECT)
            assert client.reply(b"CONNECT").status == 200
        settle(engine)
    assert [peer.received.count(b"\r\n\r\n") for peer in upstream.peers] == [1, 1, 1]
    assert b"HEAD" not in b"".join(peer.received for peer in upstream.peers)


def test_an_unproved_login_is_not_preconnected(start_ntlm: StartNtlm) -> None:
    desk = proving_desk()
    desk.allows_preconnects = False
    engine, upstream = start_ntlm(desk)
    open_tunnels_slowly(engine, tunnels=2)
    assert messages_from(upstream) == [*HANDSHAKE, *HANDSHAKE]


def test_waiting_requests_go_before_a_preconnect(start_ntlm: StartNtlm, stack: ExitStack) -> None:
    engine, upstream = start_ntlm(proving_desk())
    with engine.connect() as client:
        assert client.ask(GET).status == 200  # The login is proved now.
        wait_until_ready(engine)
        engine.call(engine.engine.forget_connections)
        count = len(upstream.requests)
        held = HeldResponse(stack, upstream, "GET")
        with engine.connect() as waiting, engine.connect() as other:
            waiting.send(GET)
            assert held.received.wait(10)
            other.open_tunnel(CONNECT)
            settle(engine)
            assert messages_from(upstream, count) == [
                ("GET", "type 1"),
                ("GET", "type 3"),
                *HANDSHAKE,
            ]
            held.release()
            assert waiting.reply().status == 200
            wait_until_ready(engine)
    assert messages_from(upstream, count)[4:] == PRECONNECT


def test_a_request_waits_for_the_preconnect_in_progress(
    start_ntlm: StartNtlm, stack: ExitStack
) -> None:
    engine, upstream = start_ntlm(proving_desk())
    held = HeldResponse(stack, upstream, "HEAD")
    with engine.connect() as first, engine.connect() as second:
        first.open_tunnel(CONNECT)
        assert held.received.wait(10)
        second.send(CONNECT)
        engine.until(lambda: len(engine.engine.executor.works) == 2, "the second client")
        held.release()
        assert second.reply(b"CONNECT").status == 200
        assert upstream.messages[4] == (2, "CONNECT", "none")


def test_a_client_may_disconnect_while_waiting_for_a_preconnect(
    start_ntlm: StartNtlm, stack: ExitStack
) -> None:
    engine, upstream = start_ntlm(proving_desk())
    held = HeldResponse(stack, upstream, "HEAD")
    with engine.connect() as first:
        first.open_tunnel(CONNECT)
        assert held.received.wait(10)
        with engine.connect() as second:
            second.send(CONNECT)
            engine.until(lambda: waiting(engine), "the second client")
        engine.until(lambda: len(engine.engine.executor.works) == 1, "the end of the second client")
        held.release()
        wait_until_ready(engine)
    assert messages_from(upstream) == [*HANDSHAKE, *PRECONNECT]


# --- refused logins ---


def is_head(head: ReceivedHead) -> bool:
    """Return True for a HEAD request, as a preconnect sends."""
    return head.method == "HEAD"


def test_a_refused_preconnect_is_one_failed_log_on_and_is_reported(start_ntlm: StartNtlm) -> None:
    engine, upstream = start_ntlm(proving_desk(), rejects_request=is_head)
    open_tunnels(engine, 1)
    engine.desk.wait_for_challenged(1)
    settle(engine)
    assert messages_from(upstream) == [*HANDSHAKE, *PRECONNECT]
    (request,) = engine.desk.challenged_requests
    (accepted,) = engine.desk.accepted
    assert request.refused is not None
    assert (request.verdict, request.refused.login_id, request.pending.target) == (
        REJECTED,
        accepted.login_id,
        "",  # Without the host, which does not cause a refusal of HEAD.
    )
    assert not is_ready(engine)


def test_a_refused_preconnect_does_not_wait_at_the_desk(start_ntlm: StartNtlm) -> None:
    desk = proving_desk()
    engine, _ = start_ntlm(desk, rejects_request=is_head)
    with engine.connect() as client:
        client.send(CONNECT)
        assert client.reply(b"CONNECT").status == 200
    desk.wait_for_challenged(1)
    settle(engine)
    assert not any(request.is_waiting for request in desk.challenged_requests)


def test_there_is_no_preconnect_with_a_refused_login(start_ntlm: StartNtlm) -> None:
    engine, upstream = start_ntlm(proving_desk(), rejects_request=is_head)
    open_tunnels_slowly(engine, tunnels=3)
    assert messages_from(upstream) == [*HANDSHAKE, *PRECONNECT, *HANDSHAKE, *HANDSHAKE]


def test_requests_waiting_for_a_refused_preconnect_do_not_resend_the_login(
    start_ntlm: StartNtlm, stack: ExitStack
) -> None:
    count = 20
    engine, upstream = start_ntlm(proving_desk(), rejects_request=is_head)
    held = HeldResponse(stack, upstream, "HEAD")
    with engine.connect() as first:
        first.open_tunnel(CONNECT)
        assert held.received.wait(10)
        clients = [stack.enter_context(engine.connect()) for _ in range(count)]
        for client in clients:
            client.send(CONNECT)
        engine.until(lambda: waiting(engine, count), "the clients")
        engine.call(engine.desk.forget_login)
        held.release()
        engine.desk.wait_for_challenged(count + 1)
        engine.call(engine.desk.refuse_all)
        assert [client.reply(b"CONNECT").status for client in clients] == [503] * count
    messages = [message for _, message in messages_from(upstream)]
    assert messages.count("type 1") == messages.count("type 3") == 2


def test_a_login_refused_during_a_handshake_is_not_sent(
    start_ntlm: StartNtlm, stack: ExitStack
) -> None:
    engine, upstream = start_ntlm(proving_desk())
    with engine.connect() as first, engine.connect() as second:
        first.open_tunnel(CONNECT)
        wait_until_ready(engine)
        engine.call(engine.engine.forget_connections)
        count = len(upstream.requests)
        held = HeldResponse(stack, upstream, "GET", "type 1")
        second.send(GET)
        assert held.received.wait(10)
        engine.call(engine.desk.forget_login)
        held.release()
        engine.desk.wait_for_challenged(1)
        engine.call(engine.desk.refuse_all)
        assert second.reply().status == 503
    assert messages_from(upstream, count) == [("GET", "type 1"), ("GET", "none")]


def test_other_credentials_for_a_preconnect_are_returned_to_the_desk(start_ntlm: StartNtlm) -> None:

    class OfferingDesk(FakeBroker):
        def challenged(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
            future = super().challenged(*args, **kwargs)  # type: ignore[arg-type]
            given = self.known(self.challenged_requests[-1].upstream_id)
            if not future.done() or not isinstance(future.result(), Credentials):
                other: object = type(future)(loop=future.get_loop())
                other.set_result(given)  # type: ignore[attr-defined]
                return other
            return future

    desk = OfferingDesk(LOGIN, schemes=(ntlm_like_scheme(),), is_known=True)
    desk.allows_preconnects = True
    engine, _ = start_ntlm(desk, rejects_request=is_head)
    open_tunnels(engine, 1)
    desk.wait_for_challenged(1)
    settle(engine)
    assert desk.login_was_sent == [False]


# --- upstreams that refuse preconnects ---


@pytest.mark.parametrize("status", [200, 301, 400, 403, 404, 405, 501, 502, 503, 504])
def test_any_status_after_the_handshake_completes_a_preconnect(
    start_ntlm: StartNtlm, status: int
) -> None:
    engine, upstream = start_ntlm(proving_desk(), head_status=status)
    open_ready_tunnels(engine, 2)
    assert messages_from(upstream) == [*HANDSHAKE, *PRECONNECT, *REUSE, *PRECONNECT]


def test_a_preconnect_without_a_407_authenticates_nothing(start_ntlm: StartNtlm) -> None:
    engine, upstream = start_ntlm(proving_desk(), needs_no_login=is_head)
    for _ in range(3):
        open_tunnels_slowly(engine, tunnels=1)
        assert not is_ready(engine)
    assert messages_from(upstream) == [*HANDSHAKE, ("HEAD", "type 1"), *HANDSHAKE, *HANDSHAKE]


def test_there_is_no_further_preconnect_if_the_connection_closes(start_ntlm: StartNtlm) -> None:
    engine, upstream = start_ntlm(proving_desk(), head_fields=(("Connection", "close"),))
    open_tunnels_slowly(engine, tunnels=3)
    assert messages_from(upstream) == [*HANDSHAKE, *PRECONNECT, *HANDSHAKE, *HANDSHAKE]


def test_a_silent_preconnect_times_out_and_is_not_retried(
    start_ntlm: StartNtlm, stack: ExitStack
) -> None:
    engine, upstream = start_ntlm(proving_desk(), limits=EngineLimits(preconnect_s=0.2))
    HeldResponse(stack, upstream, "HEAD", "type 1")
    open_tunnels_slowly(engine, tunnels=3)
    assert messages_from(upstream) == [*HANDSHAKE, ("HEAD", "type 1"), *HANDSHAKE, *HANDSHAKE]
    assert engine.observer.failures == []


def test_requests_wait_for_a_silent_preconnect_only_briefly(
    start_ntlm: StartNtlm, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trayproxy.engine.proxy_auth.preconnect.MAX_WAIT_S", 0.2)
    engine, upstream = start_ntlm(proving_desk())
    held = HeldResponse(stack, upstream, "HEAD", "type 1")
    with engine.connect() as first, engine.connect() as second:
        first.open_tunnel(CONNECT)
        assert held.received.wait(10)
        second.open_tunnel(CONNECT)


def test_a_failed_preconnect_backs_off_and_is_not_reported(start_ntlm: StartNtlm) -> None:
    engine, upstream = start_ntlm(proving_desk())

    def reset_heads(head: ReceivedHead, message: str) -> None:
        if head.method == "HEAD":
            raise ConnectionResetError

    upstream.behaviour.before_response = reset_heads
    open_tunnels_slowly(engine, tunnels=2)
    assert messages_from(upstream) == [*HANDSHAKE, ("HEAD", "type 1"), *HANDSHAKE]
    assert engine.observer.failures == []


def test_no_request_fails_after_a_ready_connection_was_closed(start_ntlm: StartNtlm) -> None:
    engine, upstream = start_ntlm(proving_desk())
    open_ready_tunnels(engine, 1)
    upstream.cut()
    engine.until(lambda: not is_ready(engine), "the end of the connection")
    open_tunnels(engine, 1)
    settle(engine)
    # No preconnect follows at once.
    assert messages_from(upstream) == [*HANDSHAKE, *PRECONNECT, *HANDSHAKE]


def test_no_request_fails_if_a_ready_connection_closes_on_use(
    start_scripted: StartScripted,
) -> None:
    def sign_in(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(challenge("NTLM dHdv"))
        head = peer.read_head()
        peer.send(ESTABLISHED if head.startswith(b"CONNECT") else b"HTTP/1.1 504 No\r\n\r\n")
        if head.startswith(b"HEAD"):
            closing_early(peer)  # The next request gets no response.
        else:
            peer.read_all()

    engine, upstream = start_scripted(sign_in, desk=proving_desk())
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
def test_a_preconnect_in_progress_is_cancelled_after_a_change(
    start_ntlm: StartNtlm, stack: ExitStack, message: str
) -> None:
    engine, upstream = start_ntlm(proving_desk(), limits=EngineLimits(preconnect_s=1000.0))
    held = HeldResponse(stack, upstream, "HEAD", message)
    with engine.connect() as client:
        client.open_tunnel(CONNECT)
        assert held.received.wait(10)
        engine.call(engine.engine.forget_connections)
        settle(engine)
        held.release()
        assert not is_ready(engine)
        assert engine.desk.challenged_requests == []


def test_a_preconnect_cancelled_before_its_start_blocks_no_request(
    start_ntlm: StartNtlm, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, upstream = start_ntlm(proving_desk(), limits=EngineLimits(preconnect_s=1000.0))
    may_preconnect = engine.desk.may_preconnect
    checked: list[bool] = []

    def forget_soon(credentials: Credentials) -> bool:
        checked.append(may_preconnect(credentials))
        # Before the first step of the task, which is created after this call.
        engine.loop.call_soon(engine.engine.forget_connections)
        return checked[-1]

    with monkeypatch.context() as patch:
        patch.setattr(engine.desk, "may_preconnect", forget_soon)
        open_tunnels(engine, 1)
        settle(engine)
    assert checked == [True]
    assert messages_from(upstream) == HANDSHAKE
    open_tunnels(engine, 1)
    assert messages_from(upstream)[: 2 * len(HANDSHAKE)] == HANDSHAKE * 2


def test_a_refused_preconnect_blocks_no_later_request(start_ntlm: StartNtlm) -> None:
    """The preconnect was sent although the login was no longer proved."""
    desk = proving_desk()

    desk.wants_all_reports = True
    desk.may_preconnect = lambda credentials: True  # type: ignore[method-assign]
    engine, _ = start_ntlm(desk, rejects_request=is_head)
    open_tunnels(engine, 1)
    desk.wait_for_challenged(1)
    settle(engine)
    assert not engine.desk.is_permit_used


def test_a_ready_connection_is_not_used_after_a_change(start_ntlm: StartNtlm) -> None:
    engine, upstream = start_ntlm(proving_desk())
    open_ready_tunnels(engine, 1)
    engine.call(engine.engine.forget_connections)
    open_tunnels(engine, 1)
    assert messages_from(upstream)[:6] == [*HANDSHAKE, *PRECONNECT, *HANDSHAKE]


def test_preconnects_are_tried_again_after_a_change(start_ntlm: StartNtlm) -> None:
    engine, upstream = start_ntlm(proving_desk(), head_fields=(("Connection", "close"),))
    open_tunnels(engine, 1)
    settle(engine)
    upstream.behaviour.head_fields = ()
    engine.call(engine.engine.forget_connections)
    open_ready_tunnels(engine, 1)


def test_closing_the_engine_cancels_a_preconnect(start_ntlm: StartNtlm, stack: ExitStack) -> None:
    engine, upstream = start_ntlm(proving_desk())
    held = HeldResponse(stack, upstream, "HEAD")
    open_tunnels(engine, 1)
    assert held.received.wait(10)
    engine.until_clients_left()
    engine.wait(engine.engine.close(), timeout=2.0)
    assert is_idle(engine)


# --- no client, no traffic ---


def test_a_preconnect_counts_neither_as_a_client_nor_as_traffic(
    start_ntlm: StartNtlm, stack: ExitStack
) -> None:
    engine, upstream = start_ntlm(proving_desk())
    held = HeldResponse(stack, upstream, "HEAD")
    open_tunnels(engine, 1)
    assert held.received.wait(10)
    engine.until_clients_left()
    counters = engine.engine.context.counters
    moved = (counters.received, counters.sent)
    assert counters.active == 0
    held.release()
    wait_until_ready(engine)
    assert (counters.received, counters.sent) == moved == (8, 8)


def test_preconnects_leave_no_resources(start_ntlm: StartNtlm) -> None:
    engine, _ = start_ntlm(proving_desk())
    base = engine.holdings()
    open_ready_tunnels(engine, 3)
    engine.settle()
    engine.until_it_holds(base)


def test_a_preconnect_takes_no_idle_connection(start_ntlm: StartNtlm) -> None:
    """The pool still watches the idle connection, so two tasks would wait on it."""
    engine, _ = start_ntlm(proving_desk(), needs_no_login=lambda head: True)
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    engine.until_clients_left()

    [idle] = engine.idle_connections()
    credentials = engine.desk.known(UpstreamId(idle.key.profile_id, idle.key.url))

    async def takes_idle_connection(kind: type[UpstreamLease]) -> bool:
        downstream = NullDownstream(engine.engine.context)
        request = preconnect_request(Authority("origin.test", 443))
        route = engine.routes.to(Authority("origin.test", 443))
        assert route is not None
        lease = kind(downstream, engine.engine.auth, request, route, route)
        obtaining = lease.obtain_connection(credentials, "idle", lambda: None)
        taken = await run_in_task(obtaining)
        downstream.drop_upstream()
        return taken.response_count > 0

    assert not engine.wait(takes_idle_connection(PreconnectLease))
    assert engine.wait(takes_idle_connection(UpstreamLease))
