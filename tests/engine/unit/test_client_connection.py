"""The time and the end of a client connection, with a fake clock and without an event loop."""

import socket
from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from trayproxy.desk.broker import SilentUpstream
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.server.client_connection import AcceptedConnection, ClientConnection
from trayproxy.engine.upstream.pool import PoolKey, UpstreamConnection

LIMITS = EngineLimits(silent_upstream_s=1.0, half_closed_s=60.0)


class FakeTunnel:
    """A tunnel, of which a test decides what has happened."""

    def __init__(self, *, is_over: bool = False) -> None:
        self.has_keepalive = False
        self.moves = False
        self.is_over = is_over
        self.up, self.down = SimpleNamespace(is_over=is_over), SimpleNamespace(is_over=is_over)
        self.events: dict[int, int] = {}
        self.calls: list[str] = []

    def handle_event(self, descriptor: int, mask: int) -> bool:
        return False

    def enable_keepalive(self) -> None:
        self.has_keepalive = True
        self.calls.append("keepalive")

    def has_moved(self) -> bool:
        return self.moves

    def close(self) -> None:
        self.calls.append("close")


class ConnectionScenario:
    """A client connection, and everything around it.

    Attributes:
        connection: The client connection.
        now: The time.
        calls: The calls of the connection.
    """

    def __init__(self, stack: ExitStack) -> None:
        self.now = 100.0
        self.calls: list[tuple[Any, ...]] = []
        self.handlers: list[Callable[[int, int], None]] = []
        self._stack = stack
        counters = SimpleNamespace(
            remote=0,
            active=1,
            count_tunnel=lambda tunnel: None,
            is_full=lambda limits, is_remote: False,
        )
        context = SimpleNamespace(
            limits=LIMITS,
            counters=counters,
            loop=SimpleNamespace(time=lambda: self.now),
            broker=SimpleNamespace(report=lambda *report: self.calls.append(report)),
            poller=SimpleNamespace(
                discard=lambda descriptor: None,
                unregister=lambda descriptor: None,
                register=lambda descriptor, mask, handler: self.handlers.append(handler),
            ),
            pool=SimpleNamespace(
                put=lambda upstream: self.calls.append(("put", upstream)),
                drop=lambda upstream: self.calls.append(("drop", upstream)),
            ),
        )
        services = SimpleNamespace(
            context=context,
            auth=None,
            finish=lambda descriptor: self.calls.append(("finish", descriptor)),
            count_unanswered=lambda credentials: 3,
        )
        flags: Any = SimpleNamespace(services=services)
        use: Any = SimpleNamespace(
            routes=None,
            target=None,
            access_control=SimpleNamespace(
                is_held=lambda connection: None,
                admits=lambda *accepted: True,
                is_local=lambda peer: True,
            ),
        )
        self.connection: Any = ClientConnection(
            AcceptedConnection(self.socket(), ("127.0.0.1", 1), None, use), flags
        )

    def socket(self) -> socket.socket:
        near, _ = (self._stack.enter_context(end) for end in socket.socketpair())
        return near

    def add_upstream(self, *, is_sent: bool = True, **key: Any) -> UpstreamConnection:
        """Add an upstream connection, which carries a request of the fast path if `is_sent`."""
        upstream = UpstreamConnection(SocketStream(self.socket()), PoolKey("http://a:1", **key))
        upstream.route = SimpleNamespace(activity=SimpleNamespace(responses=5))  # type: ignore[assignment]
        self.connection.downstream.use_upstream(upstream)
        if is_sent:
            self.connection.sent = None, upstream
        return upstream


@pytest.fixture
def scenario(stack: ExitStack) -> ConnectionScenario:
    return ConnectionScenario(stack)


@pytest.mark.parametrize(
    ("deadline", "is_over"), [(None, False), (99.5, True), (100.0, True), (100.5, False)]
)
def test_a_connection_is_inactive_from_its_deadline_on(
    scenario: ConnectionScenario, deadline: float | None, is_over: bool
) -> None:
    scenario.connection.downstream.deadline = deadline
    assert scenario.connection.is_inactive() is is_over
    scenario.connection.time_out()
    assert scenario.connection.downstream.deadline is None
    assert scenario.calls == [("finish", scenario.connection.downstream.client.descriptor)]


@pytest.mark.parametrize("deadline", [None, 99.5])
@pytest.mark.parametrize("moves", [False, True])
def test_only_moving_octets_extend_the_deadline_of_a_half_closed_tunnel(
    scenario: ConnectionScenario, deadline: float | None, moves: bool
) -> None:
    connection, tunnel = scenario.connection, FakeTunnel()
    connection.tunnel, tunnel.moves, connection.downstream.deadline = tunnel, moves, deadline
    results = [connection.is_inactive() for _ in range(2)]
    assert results == [deadline is not None and not moves] * 2
    extended = 160.0 if moves and deadline else deadline
    assert (connection.downstream.deadline, tunnel.calls) == (extended, ["keepalive"])


@pytest.mark.parametrize("deadline", [None, 130.0])
@pytest.mark.parametrize(
    ("up", "down"), [(False, False), (True, False), (False, True), (True, True)]
)
def test_a_tunnel_has_a_deadline_from_its_half_close_on(
    scenario: ConnectionScenario, up: bool, down: bool, deadline: float | None
) -> None:
    connection = scenario.connection
    connection.initialize()
    assert connection.downstream.deadline == 160.0  # Of the first octet.
    tunnel = connection.tunnel = FakeTunnel()
    tunnel.up.is_over, tunnel.down.is_over, tunnel.is_over = up, down, up and down
    connection.downstream.deadline = deadline
    (handler,) = scenario.handlers
    handler(connection.downstream.client.descriptor, 1)
    is_over = ("finish", connection.downstream.client.descriptor) in scenario.calls
    assert is_over is (up and down)
    if not is_over:
        assert connection.downstream.deadline == (deadline or (160.0 if up or down else None))


@pytest.mark.parametrize("is_sent", [False, True])
def test_keep_alive_is_enabled_once_on_both_sides_of_a_request(
    scenario: ConnectionScenario, monkeypatch: pytest.MonkeyPatch, is_sent: bool
) -> None:
    enabled: list[SocketStream] = []

    def enable(stream: SocketStream) -> None:
        enabled.append(stream)
        stream.has_keepalive = True

    monkeypatch.setattr(SocketStream, "enable_keepalive", enable)
    upstream = scenario.add_upstream(is_sent=is_sent)
    for _ in range(2):
        scenario.connection.is_inactive()
    assert enabled == [scenario.connection.downstream.client, upstream.stream]


@pytest.mark.parametrize(
    ("is_sent", "may_be_replaced", "responses", "is_stalled", "is_ended"),
    [
        (True, False, 1, True, True),
        (True, False, 0, True, False),
        (True, False, 1, False, False),
        (False, True, 1, True, False),
    ],
    ids=["dead", "new", "alive", "between requests"],
)
def test_only_a_dead_reused_connection_is_ended_for_the_retry(
    scenario: ConnectionScenario,
    monkeypatch: pytest.MonkeyPatch,
    is_sent: bool,
    may_be_replaced: bool,
    responses: int,
    is_stalled: bool,
    is_ended: bool,
) -> None:
    ended: list[SocketStream] = []
    monkeypatch.setattr(SocketStream, "is_stalled", is_stalled)
    monkeypatch.setattr(SocketStream, "disconnect", lambda self: ended.append(self))
    upstream = scenario.add_upstream(is_sent=is_sent)
    upstream.response_count, upstream.may_be_replaced = responses, may_be_replaced
    scenario.connection.is_inactive()
    assert ended == [upstream.stream] * is_ended


@pytest.mark.parametrize(
    ("looks", "reports"),
    [
        ([(5, 0.0), (5, 0.5), (5, 1.0), (5, 9.0)], [0, 0, 1, 1]),
        ([(5, 0.0), (6, 1.0), (6, 1.5), (6, 2.0), (6, 9.0)], [0, 0, 0, 1, 1]),
        ([(5, 0.0), (5, 1.0), (6, 2.0), (6, 3.0)], [0, 1, 1, 2]),
    ],
    ids=["silent", "after a response", "again"],
)
def test_a_silent_next_hop_is_reported_once_until_its_next_response(
    scenario: ConnectionScenario, looks: list[tuple[int, float]], reports: list[int]
) -> None:
    upstream, login = scenario.add_upstream(), object()
    upstream.credentials = login  # type: ignore[assignment]
    counts = []
    for responses, now in looks:
        assert upstream.route is not None
        upstream.route.activity.responses, scenario.now = responses, 100.0 + now
        scenario.connection.is_inactive()
        counts.append(len(scenario.calls))
    assert counts == reports
    assert set(scenario.calls) == {(login, SilentUpstream(3))}


def test_a_request_without_a_login_reports_no_silent_next_hop(scenario: ConnectionScenario) -> None:
    upstream = scenario.add_upstream()
    for upstream.credentials, now in ((object(), 0.0), (None, 5.0), (object(), 9.0)):  # type: ignore[assignment]
        scenario.now = 100.0 + now
        scenario.connection.is_inactive()
    assert scenario.calls == []


@pytest.mark.parametrize("is_pending", [False, True], ids=["", "request loop"])
@pytest.mark.parametrize("is_sent", [False, True], ids=["", "fast path"])
@pytest.mark.parametrize("is_authenticated", [False, True], ids=["", "authenticated"])
def test_the_unanswered_login_belongs_to_the_current_request(
    scenario: ConnectionScenario, is_pending: bool, is_sent: bool, is_authenticated: bool
) -> None:
    own, other = object(), object()
    upstream = scenario.add_upstream(
        is_sent=is_sent, authenticated_as=object() if is_authenticated else None
    )
    upstream.credentials = own  # type: ignore[assignment]
    if is_pending:
        scenario.connection.downstream.pending_credentials = other
    carried = own if is_sent and not is_authenticated else None
    assert scenario.connection.unanswered_credentials is (other if is_pending else carried)


@pytest.mark.parametrize(
    ("state", "is_between", "is_idle"),
    [
        ("new", True, True),
        ("octets", True, False),
        ("sent", False, False),
        ("tunnel", False, False),
    ],
)
def test_a_connection_is_idle_between_requests_and_without_octets(
    scenario: ConnectionScenario, state: str, is_between: bool, is_idle: bool
) -> None:
    connection = scenario.connection
    upstream = scenario.add_upstream(is_sent=state == "sent")
    if state == "octets":
        connection.downstream.client.inbox += b"GET"
    elif state == "tunnel":
        connection.tunnel = FakeTunnel()
    assert (connection.is_between_requests, connection.is_idle) == (is_between, is_idle)
    scenario.connection.downstream.context.poller.unregister = lambda descriptor: None
    connection.drop_idle_upstream()
    assert (upstream.stream.socket.fileno() < 0) is is_idle


@pytest.mark.parametrize(
    ("state", "end", "is_reset"),
    [
        ("idle", "put", False),
        ("sent", "drop", False),
        ("tunnel", "drop", True),
        ("ended tunnel", "drop", False),
    ],
)
def test_only_an_idle_upstream_connection_is_pooled_at_the_end(
    scenario: ConnectionScenario,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    end: str,
    is_reset: bool,
) -> None:
    resets: list[SocketStream] = []
    monkeypatch.setattr(SocketStream, "reset_on_close", lambda stream: resets.append(stream))
    upstream = scenario.add_upstream(is_sent=state == "sent")
    if "tunnel" in state:
        scenario.connection.tunnel = FakeTunnel(is_over=state == "ended tunnel")
    scenario.connection.shutdown()
    assert scenario.calls == [(end, upstream)]
    assert bool(resets) is is_reset
    assert scenario.connection.downstream.context.counters.active == 0
    assert scenario.connection.tunnel is None or scenario.connection.tunnel.calls == ["close"]
