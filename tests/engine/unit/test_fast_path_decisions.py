"""The decisions of the fast path, without sockets. Its races are in test_fast_path."""

from collections.abc import Callable
from errno import ECONNRESET, ENOTCONN
from types import SimpleNamespace
from typing import Any

import pytest

from trayproxy.desk.broker import Accepted
from trayproxy.engine.forward import fast_path
from trayproxy.engine.forward.fast_path import (
    FastPathResult,
    PartlyRelayed,
    StillConnecting,
    on_client_ready,
    on_upstream_ready,
)
from trayproxy.engine.transfer.tunnel import Tunnel
from trayproxy.engine.upstream.pool import PoolKey

WIRE = b"GET http://origin.test/ HTTP/1.1\r\n\r\n"
DATA = b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n"
KEY = PoolKey("http://proxy.test:3128")
AUTHENTICATED: Any = KEY._replace(authenticated_as=object())  # type: ignore[arg-type]


class FakeStream:
    """A stream that accepts a number of octets, or fails."""

    def __init__(self, data: bytes | None = b"", accepts: int | OSError = 1 << 20) -> None:
        self.data = data
        self.accepts = accepts
        self.sent = b""
        self.inbox = bytearray()
        self.plain, self.ended = True, False
        self.socket = SimpleNamespace(recv=None, send=None)

    def receive(self) -> bytes | None:
        return self.data

    def send(self, data: bytes) -> int:
        if isinstance(self.accepts, OSError):
            raise self.accepts
        self.sent += data[: self.accepts]
        return min(self.accepts, len(data))

    def take_inbox(self) -> bytes:
        return b""


def login(*, is_recent: bool = True) -> Any:
    return SimpleNamespace(acceptance=SimpleNamespace(is_recent=is_recent))


class FastPathScenario:
    """A repeated request of a client, and everything around it.

    Attributes:
        cached: The cached request.
        context: The objects shared by all requests.
        client: The stream to the client.
        own: The upstream connection reserved for the client.
        dropped: The connections closed.
        reports: The reports to the desk.
    """

    def __init__(self) -> None:
        self.route: Any = SimpleNamespace(
            is_direct=False,
            fallbacks=(),
            upstream="first",
            upstream_id="office",
            may_sign_in=True,
            activity=SimpleNamespace(responses=5),
        )
        self.known: Any = login()
        authority = SimpleNamespace(host="origin.test", port=80)
        self.cached: Any = SimpleNamespace(
            route=self.route,
            is_simple=True,
            opens_tunnel=False,
            request=SimpleNamespace(target=SimpleNamespace(authority=authority)),
            known_credentials=self.known,
            credentials=self.known,
            pool_key=KEY,
            wire=WIRE,
        )
        self.dropped: list[object] = []
        self.reports: list[tuple[object, object]] = []
        self.alive: list[object] = []
        self.idle: Any = None
        self.is_dead = self.is_stale = False
        self.address: Any = None
        self.is_quiet = True
        response = SimpleNamespace(
            length=2, confirms_login=True, head=b"HTTP/1.1 200 Via\r\n\r\n", has_date=True
        )
        self.responses: dict[bytes, Any] = {b"HTTP/1.1 200 OK\r\n\r\n": response}
        self.context: Any = SimpleNamespace(
            closing=False,
            caches=SimpleNamespace(
                requests={DATA: self.cached},
                responses=self.responses,
                tunnel_replies={b"HTTP/1.1 200 Open\r\n\r\n": b"HTTP/1.1 200 Via\r\n\r\n"},
                date_field=SimpleNamespace(add_to=lambda head: head[:-2] + b"Date: now\r\n\r\n"),
            ),
            failover=SimpleNamespace(
                is_dead=lambda route: self.is_dead, mark_alive=self.alive.append
            ),
            broker=SimpleNamespace(
                known=lambda upstream_id: self.known,
                report=lambda *report: self.reports.append(report),
            ),
            pool=SimpleNamespace(
                is_current=lambda key: not self.is_stale,
                is_quiet=lambda connection: self.is_quiet,
                take=lambda key: self.idle,
                drop=self.dropped.append,
            ),
            connector=SimpleNamespace(
                sole_address=lambda route: self.address, network_grace=SimpleNamespace(changes=0)
            ),
            counters=SimpleNamespace(received=0),
            observer=SimpleNamespace(reached=lambda route: None),
            pipe_pool=None,
        )
        self.routes: Any = SimpleNamespace(known=lambda target, client: self.route)
        self.client: Any = FakeStream(DATA)
        self.own: Any = None

    def connection(
        self, *, responses: int = 1, accepts: int | OSError = 1 << 20, **others: object
    ) -> Any:
        """Return an upstream connection."""
        values = {"key": KEY, "route": self.route, "credentials": None, "is_authenticated": False}
        return SimpleNamespace(
            stream=FakeStream(accepts=accepts), response_count=responses, **{**values, **others}
        )

    def send(self) -> object:
        """Return the result for the octets of the client."""
        downstream: Any = SimpleNamespace(
            context=self.context, client=self.client, upstream=self.own, routes=self.routes
        )
        return on_client_ready(downstream)


@pytest.fixture
def scenario() -> FastPathScenario:
    return FastPathScenario()


def change(attribute: str, value: object) -> Callable[[FastPathScenario], None]:
    """Return a change of an attribute, such as ``cached.route``."""

    def apply(scenario: FastPathScenario) -> None:
        *path, name = attribute.split(".")
        owner: Any = scenario
        for step in path:
            owner = getattr(owner, step)
        setattr(owner, name, value)

    return apply


@pytest.mark.parametrize("is_own", [False, True], ids=["idle", "reserved"])
def test_a_repeated_request_is_sent_on_a_ready_connection(
    scenario: FastPathScenario, is_own: bool
) -> None:
    ready = scenario.connection()
    if is_own:
        scenario.own = ready
    else:
        scenario.idle = ready
    assert scenario.send() == (scenario.cached, ready)
    assert ready.stream.sent == WIRE
    assert (ready.route, ready.credentials, ready.responses_before) == (
        scenario.route,
        scenario.known,
        5,
    )
    assert not scenario.client.inbox


@pytest.mark.parametrize(
    "applied",
    [
        change("cached.route", None),
        change("route.is_direct", True),
        change("context.closing", True),
        change("cached.is_simple", False),
        change("routes.known", lambda target, client: None),
        change("known", None),
        change("route.may_sign_in", False),
        change("route.upstream_id", None),
        change("known.acceptance.is_recent", False),
        change("is_stale", True),
        change("context.caches.requests", {}),
        change("idle", None),
    ],
)
def test_a_request_that_would_be_sent_differently_starts_the_request_loop(
    scenario: FastPathScenario, applied: Callable[[FastPathScenario], None]
) -> None:
    scenario.idle = scenario.connection()
    applied(scenario)
    assert scenario.send() is FastPathResult.SLOW_PATH
    assert scenario.client.inbox == DATA


@pytest.mark.parametrize(("has_fallbacks", "is_dead"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_dead_upstream_matters_only_with_fallbacks(
    scenario: FastPathScenario, has_fallbacks: bool, is_dead: bool
) -> None:
    scenario.idle = scenario.connection()
    scenario.route.fallbacks = ("second",) * has_fallbacks
    scenario.is_dead = is_dead
    is_slow = has_fallbacks and is_dead
    assert (scenario.send() is FastPathResult.SLOW_PATH) is bool(is_slow)


@pytest.mark.parametrize("credentials", ["none", "authenticated connection"])
def test_a_request_without_a_login_in_its_head_needs_no_recent_acceptance(
    scenario: FastPathScenario, credentials: str
) -> None:
    scenario.known.acceptance.is_recent = False
    scenario.idle = scenario.connection()
    if credentials == "none":
        scenario.cached.credentials = None
    else:
        scenario.cached.pool_key = AUTHENTICATED
    assert scenario.send() == (scenario.cached, scenario.idle)


@pytest.mark.parametrize(
    "applied",
    [
        change("own.key", PoolKey("http://other.test:1")),
        change("is_quiet", False),
        change("cached.is_simple", False),
    ],
    ids=["another key", "not quiet", "a tunnel"],
)
def test_an_unsuitable_reserved_connection_starts_the_request_loop(
    scenario: FastPathScenario, applied: Callable[[FastPathScenario], None]
) -> None:
    scenario.own, scenario.idle = scenario.connection(), scenario.connection()
    scenario.cached.opens_tunnel = True
    applied(scenario)
    assert scenario.send() is FastPathResult.SLOW_PATH


@pytest.mark.parametrize(
    ("key", "address", "failure", "is_connected"),
    [
        (KEY, "address", None, True),
        (KEY, None, None, False),
        (AUTHENTICATED, "address", None, False),
        (KEY, "address", OSError(ECONNRESET, "no"), False),
    ],
    ids=["known", "unknown", "authenticated", "failing"],
)
@pytest.mark.parametrize("is_tunnel", [False, True], ids=["get", "connect"])
def test_without_a_ready_connection_the_sole_address_is_connected(
    scenario: FastPathScenario,
    monkeypatch: pytest.MonkeyPatch,
    key: PoolKey,
    address: str | None,
    failure: OSError | None,
    is_connected: bool,
    is_tunnel: bool,
) -> None:
    def start_connect(address: object) -> FakeStream:
        if failure is not None:
            raise failure
        return FakeStream()

    monkeypatch.setattr(fast_path, "start_connect", start_connect)
    monkeypatch.setattr(fast_path, "SocketStream", lambda stream: stream)
    scenario.address, scenario.cached.pool_key = address, key
    if is_tunnel:
        scenario.cached.is_simple, scenario.cached.opens_tunnel = False, True
        scenario.idle = scenario.connection()  # It is left to other requests.
    result = scenario.send()
    assert isinstance(result, tuple) is is_connected
    if isinstance(result, tuple):
        assert result[1] is not scenario.idle
        assert result[1].stream.sent == WIRE
    else:
        assert result is FastPathResult.SLOW_PATH


@pytest.mark.parametrize(
    ("accepts", "responses", "is_connecting"),
    [
        (0, 0, True),
        (OSError(ENOTCONN, "still connecting"), 0, True),
        (0, 1, False),
        (5, 0, False),
        (OSError(ECONNRESET, "reset"), 0, False),
    ],
)
@pytest.mark.parametrize("is_own", [False, True], ids=["idle", "reserved"])
def test_a_partly_sent_request_closes_its_connection_unless_it_is_still_connecting(
    scenario: FastPathScenario,
    accepts: int | OSError,
    responses: int,
    is_connecting: bool,
    is_own: bool,
) -> None:
    upstream = scenario.connection(responses=responses, accepts=accepts)
    if is_own:
        scenario.own = upstream
        assert scenario.send() is FastPathResult.UPSTREAM_BROKEN
        assert scenario.dropped == []
    else:
        scenario.idle = upstream
        expected = StillConnecting(upstream.stream) if is_connecting else FastPathResult.SLOW_PATH
        assert scenario.send() == expected
        assert scenario.dropped == ([] if is_connecting else [upstream])
    assert scenario.client.inbox == DATA


@pytest.mark.parametrize(
    ("data", "expected"), [(None, FastPathResult.WAIT), (b"", FastPathResult.END)]
)
def test_no_octets_of_the_client_are_waited_for_and_its_end_ends_the_connection(
    scenario: FastPathScenario, data: bytes | None, expected: FastPathResult
) -> None:
    scenario.client.data = data
    assert scenario.send() is expected


# --- responses ---

OK = b"HTTP/1.1 200 OK\r\n\r\nok"


def respond(scenario: FastPathScenario, data: bytes | None, **others: Any) -> tuple[object, Any]:
    """Return the result for octets of the next hop, and its connection."""
    upstream = scenario.connection(**others)
    upstream.stream.data = data
    request = (scenario.cached, upstream)
    return on_upstream_ready(scenario.context, scenario.client, request), upstream


def test_a_complete_response_with_a_cached_head_is_relayed(scenario: FastPathScenario) -> None:
    result, upstream = respond(scenario, OK)
    assert result is FastPathResult.DONE
    assert scenario.client.sent == b"HTTP/1.1 200 Via\r\n\r\nok"
    assert (scenario.context.counters.received, upstream.response_count) == (2, 2)
    assert scenario.route.activity.responses == 6


def test_a_response_without_a_date_gets_a_date(scenario: FastPathScenario) -> None:
    next(iter(scenario.responses.values())).has_date = False
    respond(scenario, OK)
    assert scenario.client.sent == b"HTTP/1.1 200 Via\r\nDate: now\r\n\r\nok"


@pytest.mark.parametrize("accepts", [5, OSError(ECONNRESET, "reset")])
def test_a_partly_relayed_response_is_continued_and_a_disconnected_client_ends_it(
    scenario: FastPathScenario, accepts: int | OSError
) -> None:
    scenario.client.accepts = accepts
    result, _ = respond(scenario, OK)
    rest = PartlyRelayed(b"HTTP/1.1 200 Via\r\n\r\nok"[5:])
    assert result == (rest if accepts == 5 else FastPathResult.END)


@pytest.mark.parametrize("data", [OK[:-1], OK + b"x", b"HTTP/1.1 404 No\r\n\r\nok", OK[:10]])
def test_another_response_starts_the_request_loop(scenario: FastPathScenario, data: bytes) -> None:
    result, upstream = respond(scenario, data)
    assert result is FastPathResult.SLOW_PATH
    assert upstream.stream.inbox == data
    assert (scenario.client.sent, scenario.context.counters.received) == (b"", 0)


def test_a_response_while_quitting_starts_the_request_loop(scenario: FastPathScenario) -> None:
    scenario.context.closing = True
    assert respond(scenario, OK)[0] is FastPathResult.SLOW_PATH


@pytest.mark.parametrize(
    ("data", "expected"), [(None, FastPathResult.WAIT), (b"", FastPathResult.SLOW_PATH)]
)
def test_no_octets_of_the_next_hop_are_waited_for_and_its_end_starts_the_request_loop(
    scenario: FastPathScenario, data: bytes | None, expected: FastPathResult
) -> None:
    assert respond(scenario, data)[0] is expected


def test_a_cached_reply_opens_a_tunnel(scenario: FastPathScenario) -> None:
    scenario.cached.opens_tunnel = True
    scenario.client.accepts = 5
    result, _ = respond(scenario, b"HTTP/1.1 200 Open\r\n\r\n", credentials=login(is_recent=False))
    assert isinstance(result, Tunnel)
    assert bytes(result.down.pending or b"") == b"HTTP/1.1 200 Via\r\n\r\n"[5:]
    assert len(scenario.reports) == 1
    assert respond(scenario, OK)[0] is FastPathResult.SLOW_PATH


@pytest.mark.parametrize("is_recent", [False, True])
@pytest.mark.parametrize("confirms", [False, True])
@pytest.mark.parametrize("is_authenticated", [False, True])
@pytest.mark.parametrize("has_login", [False, True])
def test_only_a_confirming_response_reports_a_login_not_accepted_recently(
    scenario: FastPathScenario,
    is_recent: bool,
    confirms: bool,
    is_authenticated: bool,
    has_login: bool,
) -> None:
    next(iter(scenario.responses.values())).confirms_login = confirms
    credentials = login(is_recent=is_recent) if has_login else None
    respond(scenario, OK, credentials=credentials, is_authenticated=is_authenticated)
    is_reported = has_login and confirms and not is_recent and not is_authenticated
    assert scenario.reports == ([(credentials, Accepted())] if is_reported else [])


@pytest.mark.parametrize("responses", [0, 1])
@pytest.mark.parametrize("fallbacks", [(), ("second",)])
@pytest.mark.parametrize("upstream", [None, "first"])
def test_only_the_first_response_of_a_connection_marks_its_upstream_as_alive(
    scenario: FastPathScenario, responses: int, fallbacks: tuple[str, ...], upstream: str | None
) -> None:
    scenario.route.fallbacks, scenario.route.upstream = fallbacks, upstream
    respond(scenario, OK, responses=responses)
    is_marked = not responses and fallbacks and upstream
    assert scenario.alive == ([upstream] if is_marked else [])
