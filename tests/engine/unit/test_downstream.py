"""The client side of requests: registrations, deadlines, and the end of a connection."""

import socket
from collections.abc import Coroutine
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.engine.fakes import FakeRoutes
from trayproxy.engine.downstream import ClientDownstream, NullDownstream
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.fd_task import READ, WRITE, IoWait
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.upstream.pool import PoolKey, UpstreamConnection

LIMITS = EngineLimits(linger_s=2.0, max_drain_octets=10)


class DownstreamScenario:
    """A client connection with a fake poller, pool and clock.

    Attributes:
        downstream: The downstream.
        far: The client's end of its connection.
        calls: The calls of the poller and of the pool.
        now: The time.
    """

    def __init__(self, stack: ExitStack) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.now = 100.0
        self._stack = stack
        context: Any = SimpleNamespace(
            limits=LIMITS,
            loop=SimpleNamespace(time=lambda: self.now),
            poller=SimpleNamespace(
                register=lambda descriptor, mask, _: self.calls.append(("on", descriptor, mask)),
                unregister=lambda descriptor: self.calls.append(("off", descriptor)),
                discard=lambda descriptor: self.calls.append(("gone", descriptor)),
            ),
            pool=SimpleNamespace(
                put=lambda upstream: self.calls.append(("put", upstream)),
                drop=lambda upstream: self.calls.append(("drop", upstream)),
            ),
        )
        stream, self.far = self.stream()
        self.downstream = ClientDownstream(
            context, stream, lambda connection: None, FakeRoutes(None)
        )
        self.null = NullDownstream(context)

    def stream(self) -> tuple[SocketStream, socket.socket]:
        """Return a stream and the socket of its peer."""
        near, far = (self._stack.enter_context(end) for end in socket.socketpair())
        return SocketStream(near), far

    def add_upstream(self) -> tuple[UpstreamConnection, socket.socket]:
        """Set an upstream connection; return it and the socket of its peer."""
        stream, far = self.stream()
        upstream = UpstreamConnection(stream, PoolKey("http://proxy.test:3128"))
        self.downstream.use_upstream(upstream)
        return upstream, far

    def registered(self, events: dict[int, int]) -> list[tuple[Any, ...]]:
        """Register for these events; return the calls of the poller."""
        self.calls.clear()
        self.downstream.register(events, lambda descriptor, mask: None)
        return self.calls


@pytest.fixture
def scenario(stack: ExitStack) -> DownstreamScenario:
    return DownstreamScenario(stack)


def is_closed(stream: SocketStream) -> bool:
    return stream.socket.fileno() < 0


def test_only_changed_registrations_reach_the_poller(scenario: DownstreamScenario) -> None:
    assert scenario.registered({4: READ, 5: READ}) == [("on", 4, READ), ("on", 5, READ)]
    assert scenario.registered({4: READ, 5: READ | WRITE}) == [("on", 5, READ | WRITE)]
    assert scenario.registered({5: READ | WRITE, 6: WRITE}) == [("off", 4), ("on", 6, WRITE)]


def test_an_idle_connection_is_registered_with_its_upstream_connection(
    scenario: DownstreamScenario,
) -> None:
    downstream, client = scenario.downstream, scenario.downstream.client.descriptor
    downstream.register_idle(lambda descriptor, mask: None)
    assert scenario.calls == [("on", client, READ)]
    scenario.calls.clear()
    upstream, _ = scenario.add_upstream()
    descriptor = upstream.stream.descriptor
    downstream.register_idle(lambda descriptor, mask: None)
    assert (scenario.calls, downstream.idle_upstream) == ([("on", descriptor, READ)], upstream)
    # A released descriptor is registered again.
    downstream.release(4711)
    before = downstream.idle_upstream
    downstream.release(descriptor)
    assert scenario.calls[-2:] == [("off", 4711), ("off", descriptor)]
    assert (before, downstream.idle_upstream) == (upstream, None)
    assert scenario.registered({client: READ, descriptor: READ}) == [("on", descriptor, READ)]


@pytest.mark.parametrize("client_mask", [0, READ])
@pytest.mark.parametrize("upstream_mask", [0, WRITE])
@pytest.mark.parametrize("has_upstream", [False, True])
def test_events_contain_only_descriptors_with_a_mask(
    scenario: DownstreamScenario, client_mask: int, upstream_mask: int, has_upstream: bool
) -> None:
    stream, _ = scenario.stream()
    upstream = stream if has_upstream else None
    client = scenario.downstream.client.descriptor
    expected = {client: client_mask} if client_mask else {}
    if has_upstream and upstream_mask:
        expected[stream.descriptor] = upstream_mask
    assert scenario.downstream.events(client_mask, upstream, upstream_mask) == expected
    own = {stream.descriptor: upstream_mask} if has_upstream else {}
    assert scenario.null.events(client_mask, upstream, upstream_mask) == own


def test_a_timeout_is_taken_once(scenario: DownstreamScenario) -> None:
    downstream = scenario.downstream
    assert not downstream.take_timeout()
    downstream.note_timeout()
    assert [downstream.take_timeout() for _ in range(2)] == [True, False]
    assert not scenario.null.take_timeout()


@pytest.mark.parametrize(
    ("opens_tunnel", "limit_s"),
    [(False, LIMITS.response_head_s), (True, LIMITS.connect_response_head_s)],
)
def test_the_response_of_the_fast_path_has_a_deadline(
    scenario: DownstreamScenario, opens_tunnel: bool, limit_s: float
) -> None:
    upstream, _ = scenario.add_upstream()
    scenario.downstream.expect_response(upstream, opens_tunnel=opens_tunnel)
    assert scenario.downstream.deadline == 100.0 + limit_s
    scenario.downstream.clear_deadline()
    assert scenario.downstream.deadline is None


@pytest.mark.parametrize("is_quiet", [True, False])
def test_an_upstream_connection_with_unsolicited_octets_is_closed(
    scenario: DownstreamScenario, is_quiet: bool
) -> None:
    scenario.downstream.check_upstream()  # There is none.
    upstream, far = scenario.add_upstream()
    if not is_quiet:
        far.send(b"unasked")
    scenario.downstream.check_upstream()
    assert scenario.downstream.upstream is (upstream if is_quiet else None)
    assert is_closed(upstream.stream) is not is_quiet


@pytest.mark.parametrize("keeps_upstream", [True, False])
def test_close_leaves_the_registration_of_the_upstream_connection_to_the_pool(
    scenario: DownstreamScenario, keeps_upstream: bool
) -> None:
    downstream, client = scenario.downstream, scenario.downstream.client
    upstream, _ = scenario.add_upstream()
    downstream.register_idle(lambda descriptor, mask: None)
    scenario.calls.clear()
    downstream.close(keeps_upstream=keeps_upstream)
    expected = "put" if keeps_upstream else "drop"
    assert scenario.calls == [("gone", client.descriptor), (expected, upstream)]
    assert is_closed(client)


def test_a_reset_closes_both_connections_without_an_end(scenario: DownstreamScenario) -> None:
    upstream, _ = scenario.add_upstream()
    scenario.downstream.reset_on_close()
    for stream in (scenario.downstream.client, upstream.stream):
        # `struct linger`, on for zero seconds: two ints, on Windows two shorts.
        linger = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
        assert linger.rstrip(b"\0") == b"\1"


def test_a_connecting_socket_is_closed_unless_it_became_a_connection(
    scenario: DownstreamScenario,
) -> None:
    for is_kept in (True, False):
        stream, _ = scenario.stream()
        scenario.downstream.keep_connecting(stream.socket)
        if is_kept:
            scenario.downstream.forget_connecting()
        scenario.downstream.drop_connecting()
        assert scenario.downstream.connecting is None
        assert is_closed(stream) is not is_kept


# --- reading the rest of the client's octets ---


def lingering(scenario: DownstreamScenario) -> Coroutine[IoWait, Any, None]:
    """Return the running coroutine of `linger`."""
    return cast("Coroutine[IoWait, Any, None]", scenario.downstream.linger())


@pytest.mark.parametrize(
    ("octets", "is_enough"), [(b"", False), (b"x" * 9, False), (b"x" * 10, True)]
)
def test_the_rest_of_a_client_is_read_up_to_a_number_of_octets(
    scenario: DownstreamScenario, octets: bytes, is_enough: bool
) -> None:
    scenario.downstream.client.inbox += b"the rest of the request"
    scenario.far.send(octets)
    task = lingering(scenario)
    if is_enough:
        with pytest.raises(StopIteration):
            task.send(None)
    else:
        wait = task.send(None)
        assert (wait.events, wait.timeout) == ({scenario.downstream.client.descriptor: READ}, 2.0)
        task.close()
    assert scenario.far.recv(10) == b""  # The end is sent first.
    assert not scenario.downstream.client.inbox


def test_the_rest_of_a_client_is_read_for_a_limited_time(scenario: DownstreamScenario) -> None:
    task = lingering(scenario)
    task.send(None)
    scenario.now += 1.5
    scenario.far.send(b"x")
    assert task.send(READ).timeout == 0.5
    scenario.now += 0.5
    with pytest.raises(StopIteration):
        task.send(READ)


def test_the_end_of_a_client_ends_the_reading(scenario: DownstreamScenario) -> None:
    scenario.far.close()
    with pytest.raises(StopIteration):
        lingering(scenario).send(None)
