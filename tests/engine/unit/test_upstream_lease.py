"""The choice of the connection of a request, without sockets."""

from collections.abc import Coroutine, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest

from tests.engine.fakes import LOGIN, FakeBroker
from tests.engine.schemes import ntlm_like_scheme
from tests.engine.wire import connect, get
from trayproxy.auth.basic import Basic
from trayproxy.auth.scheme import Offer, Scheme
from trayproxy.desk.credentials import Credentials
from trayproxy.engine.downstream import CLIENT_CHECK_INTERVAL_S
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.fd_task import READ, TIMED_OUT, IoWait
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.proxy_auth.auth_port import Reuse
from trayproxy.engine.proxy_auth.upstream_lease import UpstreamLease
from trayproxy.engine.transfer.request_writer import ClientGoneError
from trayproxy.engine.upstream.pool import PoolKey, UpstreamConnection
from trayproxy.engine.upstream.route import Route
from trayproxy.http.challenges import Challenge
from trayproxy.http.request import parse_request
from trayproxy.profiles.profile import Profile, ProxyScheme, Upstream

T = TypeVar("T")

FIRST, SECOND = Upstream("first.test", 3128), Upstream("second.test", 3128)
HTTP = Route.via_profile(Profile("office", "Office", FIRST, fallbacks=(SECOND,)))
SINGLE = Route.via_profile(Profile("office", "Office", FIRST))
SOCKS = Route.via_profile(
    Profile("office", "Office", Upstream("socks.test", 1080, ProxyScheme.SOCKS5))
)
DIRECT = Route.direct()
GET, CONNECT = get(b"http://origin.test/"), connect(b"origin.test:443")


class FakeLeaseStream:
    """A stream to the next hop, quiet or closed by the next hop."""

    descriptor = 7

    def __init__(self, *, is_quiet: bool = True) -> None:
        self._is_quiet = is_quiet
        self.is_closed = False

    def is_quiet(self) -> bool:
        return self._is_quiet

    def close(self) -> None:
        self.is_closed = True


def connection(key: PoolKey, *, is_quiet: bool = True) -> UpstreamConnection:
    return UpstreamConnection(cast(SocketStream, FakeLeaseStream(is_quiet=is_quiet)), key)


class FakeClient:
    """The stream of a client: octets arrive with each read, or the connection fails."""

    descriptor = 5

    def __init__(self) -> None:
        self.inbox = bytearray()
        self.ended = self.is_broken = False

    def fill(self) -> bool:
        if self.is_broken:
            raise ConnectionResetError
        self.inbox += b"early"
        return True


class FakeDownstream:
    """The client side of a request."""

    connecting = None
    is_remote = False

    def __init__(self, context: object) -> None:
        self.context = context
        self.upstream: UpstreamConnection | None = None
        self.client = FakeClient()
        self.is_held: bool | None = None

    def is_client_held(self) -> bool | None:
        return self.is_held

    def release(self, descriptor: int) -> None: ...

    def drop_connecting(self) -> None: ...

    forget_connecting = drop_connecting

    def use_upstream(self, upstream: UpstreamConnection) -> None:
        self.upstream = upstream

    def take_upstream(self) -> UpstreamConnection | None:
        taken, self.upstream = self.upstream, None
        return taken


def result_of(coroutine: Coroutine[IoWait, int, T]) -> T:
    """Return the result of a coroutine that does not wait."""
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)  # type: ignore[arg-type]  # as PEP 342 says
    result: T = stop.value.value
    return result


class LeaseScenario:
    """A lease, and everything it uses.

    Attributes:
        lease: The lease.
        downstream: The client side, with the connection in use.
        pooled: The idle connections of the pool, by their keys.
        events: The calls of the failover and of the preconnector.
        connects: The number of new connections.
    """

    def __init__(
        self, route: Route = HTTP, octets: bytes = GET, preferred: Route | None = None
    ) -> None:
        self.pooled: dict[PoolKey, UpstreamConnection] = {}
        self.events: list[tuple[str, object]] = []
        self.connects = 0

        async def open_stream(request: object) -> FakeLeaseStream:
            self.connects += 1
            return FakeLeaseStream()

        def recording(name: str) -> Any:
            return lambda *arguments: self.events.append((name, arguments[0]))

        pool = SimpleNamespace(
            epoch=3,
            check_for_suspend=lambda: None,
            take=lambda key: self.pooled.pop(key, None),
            put=lambda put: self.pooled.__setitem__(put.key, put),
        )
        self.now = 100.0
        context = SimpleNamespace(
            limits=EngineLimits(max_early_octets=10),
            loop=SimpleNamespace(time=lambda: self.now),
            pool=pool,
            connector=SimpleNamespace(open=open_stream, network_grace=SimpleNamespace(changes=0)),
            failover=SimpleNamespace(
                mark_alive=recording("alive"), mark_silent=recording("silent")
            ),
            observer=SimpleNamespace(reached=recording("reached")),
        )
        downstream: Any = FakeDownstream(context)
        self.downstream = downstream
        preconnects = SimpleNamespace(
            demand_started=recording("started"),
            demand_ended=recording("ended"),
            preconnect_used=recording("used"),
            in_progress=lambda key: None,
        )
        auth: Any = SimpleNamespace(preconnects=preconnects)
        request = parse_request(octets)
        self.lease = UpstreamLease(downstream, auth, request, preferred or route, route)
        name = route.connection_name(request.target.authority)
        self.bare = PoolKey(name, epoch=3)

    def key(self, credentials: Credentials, *, is_authenticated: bool = False) -> PoolKey:
        """Return the key of the connections for a request with these credentials."""
        key = PoolKey(self.bare.url, "office", credentials.generation, 3)
        return key._replace(authenticated_as=credentials.login_id) if is_authenticated else key

    def obtain(self, credentials: Credentials | None, reuse: Reuse = "idle") -> UpstreamConnection:
        """Return the connection for a request with these credentials."""
        return result_of(self.lease.obtain_connection(credentials, reuse, lambda: None))


def credentials_of(scheme: Scheme, route: Route = HTTP) -> Credentials:
    """Return credentials for a scheme."""
    assert route.upstream_id is not None
    offer = Offer(scheme, Challenge(scheme.name))
    return FakeBroker(LOGIN).answer_with(route.upstream_id, offer, LOGIN)


BASIC, NTLM = credentials_of(Basic()), credentials_of(ntlm_like_scheme())
KEYS = ["bare", "login", "authenticated", "other"]


def key_of(kind: str, scenario: LeaseScenario, credentials: Credentials | None) -> PoolKey:
    """Return the key of a kind of connection."""
    if kind == "other" or (credentials is None and kind != "bare"):
        return PoolKey("http://other.test:1", epoch=3)
    if kind == "bare" or credentials is None:
        return scenario.bare
    return scenario.key(credentials, is_authenticated=kind == "authenticated")


@pytest.mark.parametrize(
    ("route", "credentials", "reused"),
    [
        (HTTP, None, {"bare"}),
        (HTTP, BASIC, {"bare", "login", "authenticated"}),
        (HTTP, NTLM, {"bare", "login", "authenticated"}),
        (SOCKS, credentials_of(Basic(), SOCKS), {"login"}),
    ],
    ids=["no login", "basic", "ntlm", "socks"],
)
@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("state", ["quiet", "closed", "fresh"])
def test_the_connection_in_use_carries_the_next_message_if_its_key_allows(
    route: Route, credentials: Credentials | None, reused: set[str], kind: str, state: str
) -> None:
    scenario = LeaseScenario(route)
    key = key_of(kind, scenario, credentials)
    current = scenario.downstream.upstream = connection(key, is_quiet=state != "closed")
    found = scenario.obtain(credentials, "none" if state == "fresh" else "idle")
    is_reused = kind in reused and state == "quiet"
    assert (found is current, scenario.connects) == ((True, 0) if is_reused else (False, 1))
    if not is_reused:
        # The connection in use goes back to the pool unless it is closed.
        assert (current in scenario.pooled.values()) is (state != "closed")


@pytest.mark.parametrize("octets", [GET, CONNECT], ids=["get", "connect"])
@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize(
    ("credentials", "for_get", "for_connect"),
    [
        (None, {"bare"}, set[str]()),
        (BASIC, {"bare", "login"}, set[str]()),
        (NTLM, {"bare", "login", "authenticated"}, {"authenticated"}),
    ],
    ids=["no login", "basic", "ntlm"],
)
@pytest.mark.parametrize("reuse", ["idle", "none", "current", "idle for challenge"])
def test_an_idle_connection_is_taken_if_its_key_and_the_attempt_allow(
    octets: bytes,
    kind: str,
    credentials: Credentials | None,
    for_get: set[str],
    for_connect: set[str],
    reuse: Reuse,
) -> None:
    """A tunnel would consume an idle connection, unless the tunnel needs its authentication."""
    scenario = LeaseScenario(octets=octets)
    key = key_of(kind, scenario, credentials)
    idle = scenario.pooled[key] = connection(key)
    found = scenario.obtain(credentials, reuse)
    is_allowed = reuse in ("idle", "idle for challenge")
    suitable = for_get if octets is GET or reuse == "idle for challenge" else for_connect
    is_taken = is_allowed and kind in suitable
    assert (found is idle, scenario.connects) == ((True, 0) if is_taken else (False, 1))
    scenario.lease.end_authentication()
    is_used = is_taken and credentials is NTLM and kind == "authenticated"
    assert scenario.events == ([("used", key)] if is_used else [])


@pytest.mark.parametrize(
    ("route", "credentials", "kind", "kept"),
    [
        (HTTP, None, "bare", None),
        (HTTP, BASIC, "login", BASIC),
        (HTTP, NTLM, "bare", None),
        (HTTP, NTLM, "authenticated", NTLM),
    ],
)
def test_a_connection_in_use_has_the_route_and_the_reusable_credentials_of_its_request(
    route: Route, credentials: Credentials | None, kind: str, kept: Credentials | None
) -> None:
    scenario = LeaseScenario(route)
    key = key_of(kind, scenario, credentials)
    scenario.pooled[key] = connection(key)
    route.activity.responses += 5
    found = scenario.obtain(credentials)
    assert (found.route, found.credentials) == (route, kept)
    is_bare = credentials is None or kind == "authenticated"
    assert found.key == (key if is_bare or credentials is None else scenario.key(credentials))
    assert found.is_upstream_silent
    # Responses to other messages of the same request do not count as silence.
    route.activity.responses += 1
    assert not scenario.obtain(credentials).is_upstream_silent


@pytest.mark.parametrize("responses", [0, 1])
@pytest.mark.parametrize(
    ("route", "preferred", "is_marked"),
    [
        (HTTP, HTTP, True),
        (HTTP.fallbacks[0], HTTP, True),
        (SINGLE, SINGLE, False),
        (DIRECT, HTTP, False),
    ],
    ids=["first", "fallback", "without a fallback", "direct"],
)
def test_only_the_first_response_of_a_connection_marks_its_upstream_as_alive(
    route: Route, preferred: Route, is_marked: bool, responses: int
) -> None:
    """An upstream may be dead to new connections, and answer on old connections."""
    scenario = LeaseScenario(route, preferred=preferred)
    upstream = connection(scenario.bare)
    upstream.response_count = responses
    before = route.activity.responses
    scenario.lease.record_response(upstream)
    alive = [("alive", route.upstream)] if is_marked and not responses else []
    assert scenario.events == [*alive, ("reached", route)]
    assert (upstream.response_count, route.activity.responses) == (responses + 1, before + 1)
    scenario.events.clear()
    scenario.lease.record_silence()
    assert scenario.events == ([("silent", route.upstream)] if is_marked else [])


@pytest.mark.parametrize("current", [None, "login", "authenticated"])
def test_the_demand_for_an_authenticated_connection_is_registered_once(current: str | None) -> None:
    scenario = LeaseScenario()
    key = scenario.key(NTLM, is_authenticated=True)
    if current is not None:
        scenario.downstream.upstream = connection(key_of(current, scenario, NTLM))
    events: Sequence[tuple[str, object]] = []
    if current != "authenticated":
        events = [("started", key), ("ended", key)]
    for _ in range(2):
        assert not result_of(scenario.lease.await_preconnect(NTLM))
    for _ in range(2):
        scenario.lease.end_authentication()
    assert scenario.events == events


# --- waiting ---


def waiting(
    scenario: LeaseScenario, wait: IoWait, *, is_parked: bool = False
) -> Coroutine[Any, Any, int]:
    """Return the coroutine of a wait."""
    return scenario.lease.wait(wait, is_parked=is_parked)


@pytest.mark.parametrize("is_parked", [False, True])
@pytest.mark.parametrize(
    ("octets", "ended", "is_read"),
    [(0, False, True), (9, False, True), (10, False, False), (0, True, False)],
)
def test_a_waiting_request_reads_its_client_up_to_a_limit(
    is_parked: bool, octets: int, ended: bool, is_read: bool
) -> None:
    scenario = LeaseScenario()
    client = scenario.downstream.client
    client.inbox += b"x" * octets
    client.ended = ended
    scenario.downstream.is_held = True
    task = waiting(scenario, IoWait({7: READ}, timeout=2.0), is_parked=is_parked)
    wait = task.send(None)
    assert wait.events == ({7: READ, 5: READ} if is_read else {7: READ})
    # The presence of a client that is not read is checked from time to time.
    checks = is_parked and not is_read
    assert wait.timeout == (CLIENT_CHECK_INTERVAL_S if checks else 2.0)
    if is_read:
        scenario.now += 0.5
        is_full = octets + len(b"early") >= 10
        assert task.send(5).timeout == (CLIENT_CHECK_INTERVAL_S if is_parked and is_full else 1.5)
        assert bytes(client.inbox).endswith(b"early")
    with pytest.raises(StopIteration) as result:
        task.send(7)
    assert result.value.value == 7


@pytest.mark.parametrize("timeout", [None, 2.0])
def test_a_check_of_the_client_is_not_the_end_of_the_wait(timeout: float | None) -> None:
    scenario = LeaseScenario()
    scenario.downstream.client.ended = scenario.downstream.is_held = True
    task = waiting(scenario, IoWait({}, timeout=timeout), is_parked=True)
    waits: list[float | None] = []
    for pause_s in (0.0, 0.5, 1.25):
        scenario.now += pause_s
        waits.append(task.send(None if not waits else TIMED_OUT).timeout)
    assert waits == [0.5, 0.5, 0.5 if timeout is None else 0.25]
    scenario.now += 0.25
    if timeout is None:
        assert task.send(TIMED_OUT).timeout == 0.5
        task.close()
    else:
        with pytest.raises(StopIteration) as result:
            task.send(TIMED_OUT)
        assert result.value.value == TIMED_OUT


@pytest.mark.parametrize(
    ("is_held", "ended", "is_gone"),
    [(True, True, False), (None, True, True), (None, False, False), (False, False, True)],
)
def test_a_parked_client_that_is_not_read_is_gone_if_no_process_holds_it(
    is_held: bool | None, ended: bool, is_gone: bool
) -> None:
    scenario = LeaseScenario()
    client = scenario.downstream.client
    client.ended, scenario.downstream.is_held = ended, is_held
    client.inbox += b"x" * 10
    task = waiting(scenario, IoWait({7: READ}), is_parked=True)
    if is_gone:
        with pytest.raises(ClientGoneError):
            task.send(None)
    else:
        task.send(None)
        task.close()


def test_a_failing_client_connection_ends_the_wait() -> None:
    scenario = LeaseScenario()
    scenario.downstream.client.is_broken = True
    task = waiting(scenario, IoWait({7: READ}))
    task.send(None)
    with pytest.raises(ClientGoneError):
        task.send(5)
