"""The fast path has the same results as the request loop, including races with other events."""

import socket
from contextlib import ExitStack, suppress
from dataclasses import replace
from threading import Event, Thread
from time import monotonic

import pytest

from tests.engine.conftest import MakeUpstream, Start, StartScripted
from tests.engine.fakes import LOGIN, FakeBroker, office
from tests.engine.recorder import Recorder
from tests.engine.running import NewLoop, Running
from tests.engine.wire import ProxyClient, chunked, connect, get, post
from tests.support.scripted_upstream import (
    ESTABLISHED,
    OK,
    ScriptedConnection,
    answering,
    challenge,
)
from trayproxy.auth.login import Login
from trayproxy.engine.forward.request_loop import RequestLoop
from trayproxy.engine.limits import LIMITS
from trayproxy.engine.net.fd_task import Pause
from trayproxy.engine.net.happy_eyeballs import start_connect
from trayproxy.engine.net.resolver import Address, Resolver
from trayproxy.engine.server.client_connection import ClientConnection
from trayproxy.engine.upstream.pool import PoolKey
from trayproxy.profiles.profile import Profile, Upstream

URL = b"http://origin.test/"
GET = get(URL)
CONNECT = connect(b"origin.test:443")


@pytest.fixture
def engines_loop(new_loop: NewLoop) -> NewLoop:
    return new_loop


def leave_idle_connection(engine: Running) -> None:
    """Send a request of one client, which leaves an idle upstream connection."""
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    engine.until_pool_is_filled()


def only_connection(engine: Running) -> ClientConnection:
    """Return the only client connection."""
    [work] = engine.engine.executor.works.values()
    assert isinstance(work, ClientConnection)
    return work


@pytest.mark.parametrize("octets", [GET, CONNECT], ids=["GET", "CONNECT"])
@pytest.mark.parametrize("login", [None, LOGIN], ids=["without a login", "with one"])
def test_a_repeated_request_takes_the_fast_path(
    start_scripted: StartScripted,
    request_loops: list[RequestLoop],
    octets: bytes,
    login: Login | None,
) -> None:
    def answer(peer: ScriptedConnection) -> None:
        while True:
            head = peer.read_head()
            if login is not None and b"Proxy-Authorization" not in head:
                peer.send(challenge('Basic realm="r"'))
            else:
                peer.send(ESTABLISHED if head.startswith(b"CONNECT") else OK)

    method = octets.split(b" ")[0]
    engine, _ = start_scripted(answer, desk=FakeBroker(login))
    for expected in (1, 1, 1):
        with engine.connect() as client:
            assert client.ask(octets, method).status == 200
        engine.until_clients_left()
        assert len(request_loops) == expected


@pytest.mark.parametrize(
    ("octets", "head", "is_cached"),
    [
        (GET, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", True),
        (GET, b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\n", True),
        (GET, b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\n", False),
        (GET, b"HTTP/1.1 511 No\r\nContent-Length: 2\r\n\r\n", False),
        (GET, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n", False),
        (GET, b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", False),
        (GET, b"HTTP/1.1 200 OK\r\n\r\n", False),
        (get(URL, b"Connection: close"), b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", False),
        (post(URL, b"x"), b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", False),
    ],
)
def test_only_the_head_of_a_response_that_keeps_both_connections_open_is_cached(
    start_scripted: StartScripted, octets: bytes, head: bytes, is_cached: bool
) -> None:
    def answer(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(head + b"ok")
        if b"Content-Length" in head:
            peer.read_all()

    engine, _ = start_scripted(answer)
    with engine.connect() as client:
        assert client.ask(octets, octets.split(b" ")[0]).body == b"ok"
    responses = engine.engine.context.caches.responses
    assert engine.call(lambda: responses.get(head) is not None) is is_cached


# --- reused descriptors ---


@pytest.mark.parametrize(
    "octets",
    [
        chunked(URL, b"x").replace(b"\r\n1\r\n", b"\r\nnonsense\r\n"),
        post(URL, b"only a part of it")[:-4],
    ],
    ids=["malformed", "cut off"],
)
def test_a_pooled_connection_closed_immediately_frees_its_descriptor_for_others(
    engine: Running, stack: ExitStack, octets: bytes
) -> None:
    """The connection is taken and closed in the same turn, and the next connection gets its
    descriptor."""
    others = [stack.enter_context(engine.connect()) for _ in range(4)]
    leave_idle_connection(engine)
    bad = stack.enter_context(engine.connect())
    bad.send(octets)
    bad.finish()
    bad.take_all()
    for other in others:
        other.socket.settimeout(3)
        assert other.ask(GET).status == 200


# --- tunnels of clients that have left ---


def test_a_tunnel_opened_after_its_client_left_is_not_pooled(start_scripted: StartScripted) -> None:
    """A request on this connection would reach the site, with the login."""
    asked, go_on = Event(), Event()

    def open_late(peer: ScriptedConnection) -> None:
        peer.read_head()
        asked.set()
        assert go_on.wait(20)
        peer.send(ESTABLISHED)
        peer.read_all()

    def open_at_once(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(ESTABLISHED)
        peer.read_all()

    engine, upstream = start_scripted(
        open_at_once, open_late, answering(OK), desk=FakeBroker(LOGIN, is_known=True)
    )
    with engine.connect() as client:
        assert client.ask(CONNECT, b"CONNECT").status == 200
    engine.until_clients_left()
    client = engine.connect()
    client.send(CONNECT)
    assert asked.wait(20)

    def both_at_once() -> None:
        # The response comes first: `epoll` reports descriptors in the order they became ready.
        go_on.set()
        upstream = only_connection(engine).downstream.upstream
        assert upstream is not None
        upstream.stream.socket.setblocking(True)
        upstream.stream.socket.recv(1, socket.MSG_PEEK)
        upstream.stream.socket.setblocking(False)
        client.reset()

    engine.call(both_at_once)
    engine.until_clients_left()
    assert not engine.idle_connections()
    with engine.connect() as other:
        assert other.ask(GET).status == 200
    assert b"GET" not in upstream.peers[1].received


# --- tunnels ---


def open_tunnel(engine: Running) -> None:
    with engine.connect() as client:
        assert client.ask(CONNECT, b"CONNECT").status == 200
        client.send(b"ping")
        assert client.take(4) == b"ping"


def test_a_tunnel_is_opened_after_the_cached_name_of_the_proxy_expired(
    start: Start,
    recorder: Recorder,
    request_loops: list[RequestLoop],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The request loop resolves the name again; the fast path does not."""
    resolve(monkeypatch, (socket.AF_INET, ("127.0.0.1", recorder.port)))
    engine = start(office(recorder.port, host="proxy.test"), FakeBroker(LOGIN, is_known=True))
    for _ in range(3):
        open_tunnel(engine)
    count = len(request_loops)
    engine.call(engine.engine.context.connector.forget)
    open_tunnel(engine)
    assert len(request_loops) == count + 1
    open_tunnel(engine)
    assert len(request_loops) == count + 1


def test_a_request_uses_the_second_address_of_a_proxy_if_the_first_has_no_route(
    start: Start, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = socket.AF_INET, ("127.0.0.1", recorder.port)
    resolve(monkeypatch, (socket.AF_INET, ("255.255.255.255", recorder.port)), good)
    engine = start(office(recorder.port, host="proxy.test"), FakeBroker(LOGIN, is_known=True))
    with engine.connect() as client:
        assert client.ask(GET).status == 200


def resolve(monkeypatch: pytest.MonkeyPatch, *addresses: Address) -> None:
    """Make every name resolve to these addresses, with the usual cache."""

    async def look_up(
        self: Resolver, host: str, port: int, pause: Pause, limit_s: float
    ) -> tuple[Address, ...]:
        return self._store(host, port, addresses)

    monkeypatch.setattr(Resolver, "look_up", look_up)


# --- connecting sockets ---


class FullQueueUpstream:
    """An upstream which answers one request, and whose full accept queue then blocks new
    connections.

    Attributes:
        received: The octets of the answered request.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._listener = stack.enter_context(socket.socket())
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        self._listener.settimeout(20)
        self.port: int = self._listener.getsockname()[1]
        self.received = b""

    def answer_one(self) -> socket.socket:
        connection, _ = self._listener.accept()
        self._stack.enter_context(connection)
        self.received = connection.recv(1 << 16)
        connection.sendall(OK)
        return connection

    def fill_queue(self) -> None:
        """Fill the accept queue, so the kernel ignores further connection attempts."""
        for _ in range(3):
            waiting = self._stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(self._listener.getsockname())

    def accept_all(self, octets: bytes) -> int:
        """Accept connections until one sends these octets, and respond. Return the number of
        connections which sent them."""
        asked = 0
        while not asked:
            connection, _ = self._listener.accept()
            self._stack.enter_context(connection)
            connection.settimeout(0.2)
            with suppress(TimeoutError):
                asked += connection.recv(1 << 16) == octets
        connection.sendall(OK)
        return asked


def answer_once(peer: ScriptedConnection) -> None:
    """Answer one request and close the connection."""
    peer.read_head()
    peer.send(OK)


@pytest.mark.parametrize("octets", [GET, CONNECT], ids=["GET", "CONNECT"])
def test_a_slow_connection_is_waited_for_and_no_second_connection_is_opened(
    start: Start, stack: ExitStack, monkeypatch: pytest.MonkeyPatch, octets: bytes
) -> None:
    upstream = FullQueueUpstream(stack)
    engine = start(office(upstream.port))
    method = octets.split(b" ")[0]
    with engine.connect() as client:
        client.send(octets)
        upstream.answer_one().close()
        assert client.reply(method).status == 200
    engine.until_clients_left()
    engine.until_pool_is_empty()
    begun: list[object] = []

    def counted(address: Address) -> socket.SocketType:
        begun.append(address)
        return start_connect(address)

    monkeypatch.setattr("trayproxy.engine.forward.fast_path.start_connect", counted)
    monkeypatch.setattr("trayproxy.engine.net.happy_eyeballs.start_connect", counted)
    upstream.fill_queue()
    with engine.connect() as client:
        client.send(octets)
        engine.until(
            lambda: only_connection(engine).downstream.connecting is not None, "the slow connection"
        )
        upstream.accept_all(upstream.received)
        assert client.reply(method).status == 200
    assert len(begun) == 1


def test_a_connecting_socket_of_an_upstream_is_not_used_for_its_fallback(
    start: Start, script: MakeUpstream, stack: ExitStack
) -> None:
    """The first upstream is tried again after its pause, and does not accept the connection."""
    first, second = FullQueueUpstream(stack), script(answer_once)
    upstreams = [Upstream("127.0.0.1", port) for port in (first.port, second.port)]
    profile = Profile("office", "Office", upstreams[0], fallbacks=(upstreams[1],))
    limits = replace(LIMITS, connect_s=0.5, connect_total_s=0.5, dead_upstream_s=0.0)
    engine = start(profile, FakeBroker(LOGIN, is_known=True), limits)
    with engine.connect() as client:
        client.send(GET)
        first.answer_one().close()
        assert client.reply().status == 200
        first.fill_queue()
        # Another request marks the upstream as dead while the first connection is still open.
        assert client.ask(get(b"http://other.test/")).status == 200
    with engine.connect() as client:
        assert client.ask(GET).status == 200


def test_a_connecting_socket_is_not_used_for_the_next_request(
    start: Start, script: MakeUpstream, stack: ExitStack
) -> None:
    """Its request was sent on another connection meanwhile, and the next request has another
    route."""
    upstream, origin = FullQueueUpstream(stack), script(answering(OK))
    engine = start(office(upstream.port), FakeBroker(LOGIN, is_known=True))
    engine.routes.direct.add("127.0.0.1")
    pool = engine.engine.context.pool
    with engine.connect() as client:
        client.send(GET)
        kept = upstream.answer_one()
        assert client.reply().status == 200
    engine.until_pool_is_filled()
    upstream.fill_queue()

    def remove_login_from_key() -> None:
        [idle] = pool.idle_connections()
        assert pool.take(idle.key) is idle
        idle.key = PoolKey(idle.key.url, epoch=idle.key.epoch)
        pool.put(idle)

    engine.call(remove_login_from_key)
    with engine.connect() as client:
        client.send(GET)
        kept.recv(1 << 16)
        client.send(get(b"http://127.0.0.1:%d/" % origin.port))
        work = only_connection(engine)
        engine.until(lambda: bool(work.downstream.client.inbox), "the next request")
        kept.sendall(OK)
        assert client.reply().status == 200
        client.socket.settimeout(3)
        assert client.reply().status == 200
    assert origin.peers[0].received.startswith(b"GET / ")


def send_until_blocked(engine: Running, client: ProxyClient) -> int:
    """Send requests of a client that reads nothing, until a response could be sent only partly.
    Return the number of the requests."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    work = only_connection(engine)
    work.downstream.client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    engine.until(lambda: not work.is_on_slow_path, "the end of the request loop")
    asked = 0
    while not work.is_on_slow_path and asked < 1000:
        client.send(GET)
        asked += 1
        engine.until(lambda: work.is_on_slow_path or work.is_between_requests, "an answer")
    assert asked
    return asked


def test_a_slow_client_gets_the_whole_response(start_scripted: StartScripted) -> None:
    """The response arrived completely on the fast path, and only a part of it could be sent."""
    body = bytes(range(256)) * 100
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    engine, _ = start_scripted(answering(answer))
    with engine.connect() as client:
        assert client.ask(GET).body == body
        asked = send_until_blocked(engine, client)
        for _ in range(asked):
            assert client.reply().body == body
        assert client.ask(GET).body == body


# --- quitting ---


def test_quitting_waits_until_a_slow_client_has_the_whole_response(
    start_scripted: StartScripted,
) -> None:
    """The response arrived completely on the fast path, and only a part of it could be sent."""
    body = b"x" * 30_000
    engine, _ = start_scripted(
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n" + body)
    )
    with engine.connect() as client:
        assert client.ask(GET).body == body
        asked = send_until_blocked(engine, client)
        quitting = Thread(target=engine.wait, args=(engine.engine.close(),))
        quitting.start()
        engine.until(lambda: engine.engine.context.closing, "the beginning of the end")
        for _ in range(asked):
            assert client.reply().body == body
        before = monotonic()
        assert client.take_all() == b""
        quitting.join()
        assert monotonic() - before < 2  # Afterwards the engine waits for nothing else.


# --- fairness ---


def test_a_client_with_many_pipelined_requests_does_not_block_others(start: Start) -> None:
    """Error pages are sent without waiting, so the loop would serve this client until its last
    request."""
    engine = start(None)
    asked = engine.routes.asked
    often = get(b"http://often.test/", method=b"HEAD") * 1000
    with engine.connect() as greedy, engine.connect() as other:

        def both_at_once() -> None:
            greedy.send(often)
            other.send(GET)

        reader = Thread(target=greedy.take_all)
        reader.start()
        engine.call(both_at_once)
        assert other.reply().status == 503
        greedy.finish()
        reader.join()
    assert asked.count("often.test") == 1000
    assert asked.index("origin.test") < 500
