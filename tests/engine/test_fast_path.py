"""The short way does what the story would do, whatever else happens at the same time."""

import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from errno import ECONNREFUSED, ENOTCONN
from threading import Event, Thread
from time import monotonic

import pytest

from tests.engine.conftest import Start
from tests.engine.fakes import LOGIN, FakeDesk, office
from tests.engine.recorder import Recorder
from tests.engine.running import NewLoop, Running
from tests.engine.wire import chunked, connect, get, post
from tests.support.scripted import ESTABLISHED, OK, Peer, Scripted, answering, challenge
from trayproxy.auth.login import Login
from trayproxy.engine.forward.request_loop import RequestLoop
from trayproxy.engine.forward.response_relay import ResponseRelay
from trayproxy.engine.limits import LIMITS
from trayproxy.engine.net.fd_task import Pause
from trayproxy.engine.net.happy_eyeballs import start_connect
from trayproxy.engine.net.resolver import Address, Resolver
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.server import client_connection as client_module
from trayproxy.engine.server.client_connection import ClientConnection
from trayproxy.engine.upstream.pool import PoolKey
from trayproxy.engine.upstream.route import Route
from trayproxy.http.body import Body
from trayproxy.http.target import Authority
from trayproxy.profiles.profile import Profile, Upstream

URL = b"http://origin.test/"
GET = get(URL)
CONNECT = connect(b"origin.test:443")

Play = Callable[..., Scripted]


@pytest.fixture
def engines_loop(new_loop: NewLoop) -> NewLoop:
    return new_loop


def leave_one_idle(engine: Running) -> None:
    """Let a client come and go, so that an upstream connection is kept."""
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    engine.until(lambda: any(engine.engine.pool._idle.values()), "a connection that is kept")


def only_work(engine: Running) -> ClientConnection:
    """Return the only client connection."""
    [work] = engine.engine.executor.works.values()
    assert isinstance(work, ClientConnection)
    return work


@pytest.mark.parametrize("octets", [GET, CONNECT], ids=["GET", "CONNECT"])
@pytest.mark.parametrize("login", [None, LOGIN], ids=["without a login", "with one"])
def test_what_was_asked_before_takes_the_short_way(
    start: Start,
    script: Play,
    monkeypatch: pytest.MonkeyPatch,
    octets: bytes,
    login: Login | None,
) -> None:
    def answer(peer: Peer) -> None:
        while True:
            head = peer.read_head()
            if login is not None and b"Proxy-Authorization" not in head:
                peer.send(challenge('Basic realm="r"'))
            else:
                peer.send(ESTABLISHED if head.startswith(b"CONNECT") else OK)

    method, stories = octets.split(b" ")[0], list[object]()

    class Counted(RequestLoop):
        def __init__(self, link: ClientConnection) -> None:
            stories.append(link)
            super().__init__(link)

    monkeypatch.setattr("trayproxy.engine.server.client_connection.RequestLoop", Counted)
    engine = start(office(script(answer).port), FakeDesk(login))
    for expected in (1, 1, 1):
        with engine.connect() as client:
            assert client.ask(octets, method).status == 200
        engine.until(lambda: not engine.engine.executor.works, "the end of the client")
        assert len(stories) == expected


# --- numbers of descriptors that come back ---


@pytest.mark.parametrize(
    "octets",
    [
        chunked(URL, b"x").replace(b"\r\n1\r\n", b"\r\nnonsense\r\n"),
        post(URL, b"only a part of it")[:-4],
    ],
    ids=["malformed", "cut off"],
)
def test_a_kept_connection_that_is_closed_at_once_leaves_its_number_to_others(
    engine: Running, stack: ExitStack, octets: bytes
) -> None:
    """It is taken and closed in one go, and the next connection gets its number."""
    others = [stack.enter_context(engine.connect()) for _ in range(4)]
    leave_one_idle(engine)
    bad = stack.enter_context(engine.connect())
    bad.send(octets)
    bad.finish()
    bad.take_all()
    for other in others:
        other.socket.settimeout(3)
        assert other.ask(GET).status == 200


# --- tunnels whose client has gone ---


def test_a_tunnel_that_nobody_waits_for_is_not_kept_as_a_connection(
    start: Start, script: Play
) -> None:
    """What comes next on it would reach the site, and with the login."""
    asked, go_on = Event(), Event()

    def open_late(peer: Peer) -> None:
        peer.read_head()
        asked.set()
        assert go_on.wait(20)
        peer.send(ESTABLISHED)
        peer.read_all()

    def open_at_once(peer: Peer) -> None:
        peer.read_head()
        peer.send(ESTABLISHED)
        peer.read_all()

    upstream = script(open_at_once, open_late, answering(OK))
    engine = start(office(upstream.port), FakeDesk(LOGIN, knows_it=True))
    with engine.connect() as client:
        assert client.ask(CONNECT, b"CONNECT").status == 200
    engine.until(lambda: not engine.engine.executor.works, "the end of the client")
    client = engine.connect()
    client.send(CONNECT)
    assert asked.wait(20)

    def both_at_once() -> None:
        # The answer first: `epoll` tells in the order in which descriptors became ready.
        go_on.set()
        upstream = only_work(engine).upstream
        assert upstream is not None
        upstream.stream.socket.setblocking(True)
        upstream.stream.socket.recv(1, socket.MSG_PEEK)
        upstream.stream.socket.setblocking(False)
        client.reset()

    engine.call(both_at_once)
    engine.until(lambda: not engine.engine.executor.works, "the end of the client")
    assert not any(engine.call(lambda: list(engine.engine.pool._idle.values())))
    with engine.connect() as other:
        assert other.ask(GET).status == 200
    assert b"GET" not in upstream.peers[1].received


# --- tunnels ---


@pytest.fixture
def stories(monkeypatch: pytest.MonkeyPatch) -> list[RequestLoop]:
    """Every story that is told from now on."""
    told: list[RequestLoop] = []

    class Counted(RequestLoop):
        def __init__(self, link: ClientConnection) -> None:
            super().__init__(link)
            told.append(self)

    monkeypatch.setattr(client_module, "RequestLoop", Counted)
    return told


def open_tunnel(engine: Running) -> None:
    with engine.connect() as client:
        assert client.ask(CONNECT, b"CONNECT").status == 200
        client.send(b"ping")
        assert client.take(4) == b"ping"


def test_a_tunnel_that_was_opened_before_takes_the_short_way(
    start: Start, recorder: Recorder, stories: list[RequestLoop]
) -> None:
    engine = start(office(recorder.port), FakeDesk(LOGIN, knows_it=True))
    for _ in range(2):
        open_tunnel(engine)  # What is known by now of the login and of the answer is enough.
    told = len(stories)
    for _ in range(3):
        open_tunnel(engine)
    assert len(stories) == told


def test_a_tunnel_to_a_proxy_whose_name_was_forgotten_is_opened(
    start: Start, recorder: Recorder, stories: list[RequestLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address is looked up anew, which is not for the short way."""
    resolve(monkeypatch, (socket.AF_INET, ("127.0.0.1", recorder.port)))
    engine = start(office(recorder.port, host="proxy.test"), FakeDesk(LOGIN, knows_it=True))
    for _ in range(3):
        open_tunnel(engine)
    told = len(stories)
    engine.call(engine.engine.connector.forget)
    open_tunnel(engine)
    assert len(stories) == told + 1
    open_tunnel(engine)
    assert len(stories) == told + 1


def test_a_request_goes_by_the_second_address_of_a_proxy_if_the_first_has_no_route(
    start: Start, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = socket.AF_INET, ("127.0.0.1", recorder.port)
    resolve(monkeypatch, (socket.AF_INET, ("255.255.255.255", recorder.port)), good)
    engine = start(office(recorder.port, host="proxy.test"), FakeDesk(LOGIN, knows_it=True))
    with engine.connect() as client:
        assert client.ask(GET).status == 200


def test_the_short_way_is_taken_also_where_there_are_other_upstreams(
    start: Start, recorder: Recorder, stories: list[RequestLoop]
) -> None:
    first, other = (Upstream("127.0.0.1", port) for port in (recorder.port, 1))
    engine = start(Profile("office", "Office", first, fallbacks=(other,)))
    for _ in range(2):
        leave_one_idle(engine)
    told = len(stories)
    leave_one_idle(engine)
    assert len(stories) == told


def resolve(monkeypatch: pytest.MonkeyPatch, *addresses: Address) -> None:
    """Let every name have these addresses, and be remembered as usual."""

    async def look_up(
        self: Resolver, host: str, port: int, pause: Pause, limit_s: float
    ) -> tuple[Address, ...]:
        return self._remember(host, port, addresses)

    monkeypatch.setattr(Resolver, "look_up", look_up)


# --- connections that were begun ---


class Reluctant:
    """An upstream that answers once, and establishes no connection any more after that."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._listener = stack.enter_context(socket.socket())
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        self._listener.settimeout(20)
        self.port: int = self._listener.getsockname()[1]

    def answer_one(self) -> socket.socket:
        connection, _ = self._listener.accept()
        self._stack.enter_context(connection)
        connection.recv(1 << 16)
        connection.sendall(OK)
        return connection

    def fill(self) -> None:
        """Let the queue be full, so that the kernel ignores who else would connect."""
        for _ in range(3):
            waiting = self._stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(self._listener.getsockname())

    def take_all(self, octets: bytes) -> int:
        """Accept whoever waits, and answer these octets; return how many connections said them."""
        asked = 0
        while not asked:
            connection, _ = self._listener.accept()
            self._stack.enter_context(connection)
            connection.settimeout(0.2)
            with suppress(TimeoutError):
                asked += connection.recv(1 << 16) == octets
        connection.sendall(OK)
        return asked


def once(peer: Peer) -> None:
    """Answer one request and close."""
    peer.read_head()
    peer.send(OK)


@pytest.mark.parametrize("octets", [GET, CONNECT], ids=["GET", "CONNECT"])
def test_a_connection_that_takes_its_time_is_waited_for_and_no_second_one_begun(
    start: Start, stack: ExitStack, monkeypatch: pytest.MonkeyPatch, octets: bytes
) -> None:
    upstream = Reluctant(stack)
    engine = start(office(upstream.port))
    method = octets.split(b" ")[0]
    with engine.connect() as client:
        client.send(octets)
        upstream.answer_one().close()
        assert client.reply(method).status == 200
    engine.until(lambda: not engine.engine.executor.works, "the end of the client")
    engine.until(lambda: not any(engine.engine.pool._idle.values()), "the connection's end")
    begun: list[object] = []

    def counted(address: Address) -> socket.SocketType:
        begun.append(address)
        return start_connect(address)

    monkeypatch.setattr("trayproxy.engine.forward.fast_path.start_connect", counted)
    monkeypatch.setattr("trayproxy.engine.net.happy_eyeballs.start_connect", counted)
    upstream.fill()
    with engine.connect() as client:
        client.send(octets)
        engine.until(lambda: only_work(engine).connecting is not None, "the slow connection")
        [wire] = {plan.wire for plan in engine.engine.cached_requests._found.values() if plan.wire}
        upstream.take_all(wire)
        assert client.reply(method).status == 200
    assert len(begun) == 1


@pytest.mark.parametrize(("error", "begun"), [(ENOTCONN, 1), (ECONNREFUSED, 2)])
def test_a_connection_is_given_up_for_every_error_but_that_it_is_not_established(
    start: Start, script: Play, monkeypatch: pytest.MonkeyPatch, error: int, begun: int
) -> None:
    """Linux takes the octets or says that they would block; other systems say ENOTCONN."""
    engine = start(office(script(once).port))
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    engine.until(lambda: not engine.engine.executor.works, "the end of the client")
    engine.until(lambda: not any(engine.engine.pool._idle.values()), "the connection's end")
    made: list[object] = []
    send = SocketStream.send

    def counted(address: Address) -> socket.SocketType:
        made.append(address)
        return start_connect(address)

    def fail_once(self: SocketStream, data: bytes) -> int:
        monkeypatch.setattr(SocketStream, "send", send)
        raise OSError(error, "so says the system")

    monkeypatch.setattr("trayproxy.engine.forward.fast_path.start_connect", counted)
    monkeypatch.setattr("trayproxy.engine.net.happy_eyeballs.start_connect", counted)
    monkeypatch.setattr(SocketStream, "send", fail_once)
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    assert SocketStream.send is send
    assert len(made) == begun


def test_a_connection_begun_to_one_upstream_is_not_used_for_another(
    start: Start, script: Play, stack: ExitStack
) -> None:
    """The first one is tried again after its pause, and takes its time."""
    first, second = Reluctant(stack), script(once)
    upstreams = [Upstream("127.0.0.1", port) for port in (first.port, second.port)]
    profile = Profile("office", "Office", upstreams[0], fallbacks=(upstreams[1],))
    limits = replace(LIMITS, connect_s=0.5, connect_total_s=0.5)
    engine = start(profile, FakeDesk(LOGIN, knows_it=True), limits)
    with engine.connect() as client:
        client.send(GET)
        first.answer_one().close()
        assert client.reply().status == 200
        first.fill()
        # Another request finds out that it is dead, and the first one does not know yet.
        assert client.ask(get(b"http://other.test/")).status == 200
        engine.call(lambda: setattr(engine.engine.failover._dead[upstreams[0]], "until", 0.0))
    with engine.connect() as client:
        assert client.ask(GET).status == 200


def test_a_begun_connection_is_not_used_for_the_next_request(
    start: Start, script: Play, stack: ExitStack
) -> None:
    """Its own request has found another one meanwhile, and the next one goes elsewhere."""
    upstream, origin = Reluctant(stack), script(answering(OK))
    engine = start(office(upstream.port), FakeDesk(LOGIN, knows_it=True))
    engine.signs.direct.add("127.0.0.1")
    pool = engine.engine.pool
    with engine.connect() as client:
        client.send(GET)
        kept = upstream.answer_one()
        assert client.reply().status == 200
    engine.until(lambda: any(pool._idle.values()), "a connection that is kept")
    upstream.fill()

    def let_it_be_nobodys() -> None:
        [(key, idle)] = pool._idle.items()
        idle[0][0].key = PoolKey(key.url, epoch=key.epoch)
        pool._idle = {idle[0][0].key: idle}

    engine.call(let_it_be_nobodys)
    with engine.connect() as client:
        client.send(GET)
        kept.recv(1 << 16)
        client.send(get(b"http://127.0.0.1:%d/" % origin.port))
        work = only_work(engine)
        engine.until(lambda: bool(work.client.inbox), "the next request")
        kept.sendall(OK)
        assert client.reply().status == 200
        client.socket.settimeout(3)
        assert client.reply().status == 200
    assert origin.peers[0].received.startswith(b"GET / ")


def test_an_answer_that_a_client_takes_slowly_arrives_whole(start: Start, script: Play) -> None:
    """One that came whole on the short way, and went out in part."""
    body = bytes(range(256)) * 100
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    engine = start(office(script(answering(answer)).port))
    with engine.connect() as client:
        assert client.ask(GET).body == body
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        work = only_work(engine)
        work.client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        engine.until(lambda: not work._request_loop, "the end of the first story")
        asked = 0
        while not work._request_loop and asked < 1000:
            client.send(GET)
            asked += 1
            engine.until(lambda: bool(work._request_loop) or work.is_between_requests, "an answer")
        assert asked
        for _ in range(asked):
            assert client.reply().body == body
        assert client.ask(GET).body == body


# --- quitting ---


def test_quitting_waits_for_what_a_slow_client_is_owed(start: Start, script: Play) -> None:
    """The rest of an answer that came whole on the short way, and went out in part."""
    body = b"x" * 30_000
    upstream = script(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n" + body))
    engine = start(office(upstream.port))
    with engine.connect() as client:
        assert client.ask(GET).body == body
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        work = only_work(engine)
        work.client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        engine.until(lambda: not work._request_loop, "the end of the first story")
        asked = 0
        while not work._request_loop and asked < 1000:
            client.send(GET)
            asked += 1
            engine.until(lambda: bool(work._request_loop) or work.is_between_requests, "an answer")
        quitting = Thread(target=engine.wait, args=(engine.engine.close(),))
        quitting.start()
        engine.until(lambda: engine.engine.closing, "the beginning of the end")
        assert asked
        for _ in range(asked):
            assert client.reply().body == body
        before = monotonic()
        assert client.take_all() == b""
        quitting.join()
        assert monotonic() - before < 2  # Nothing is waited for after that.


# --- turns ---


def test_a_client_that_asks_very_often_does_not_hold_up_the_others(start: Start) -> None:
    """Our own answers wait for nobody, so that there would be no end before the client's."""
    asked: list[str] = []

    def nowhere(target: Authority) -> Route | None:
        asked.append(target.host)
        return None

    engine = start(None)
    engine.engine.route_for = nowhere
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


def test_a_download_that_never_has_to_wait_does_not_hold_up_the_others(
    start: Start, script: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither for the next hop nor for the client: as if both were faster than we are."""
    size, passed_on = 5000, 0
    seen: list[int] = []
    go_on = Event()

    def another_part(
        relay: ResponseRelay, stream: SocketStream, body: Body, chunked: bool
    ) -> bytes:
        nonlocal passed_on
        if not passed_on:
            stream.fill()
        passed_on += 1
        body.feed(b"x")
        return b"x"

    def long(peer: Peer) -> None:
        peer.read_head()
        assert go_on.wait(20)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        peer.read_all()

    upstream = script(long)
    engine = start(office(upstream.port))
    ways = engine.engine.route_for

    def look(target: Authority) -> Route | None:
        if target.host == "other.test":
            seen.append(passed_on)
            return None
        return ways(target)

    engine.engine.route_for = look
    monkeypatch.setattr(ResponseRelay, "_next_part", another_part)
    with engine.connect() as client, engine.connect() as other:

        def both_at_once() -> None:
            [connection] = [
                work.upstream.stream.socket
                for work in engine.engine.executor.works.values()
                if isinstance(work, ClientConnection) and work.upstream is not None
            ]
            go_on.set()
            connection.setblocking(True)
            connection.recv(1, socket.MSG_PEEK)
            connection.setblocking(False)
            other.send(get(b"http://other.test/"))

        client.send(GET)
        upstream.peer(1).wait_for(b"\r\n\r\n")
        engine.call(both_at_once)
        assert other.reply().status == 503
        assert client.reply().body == b"x" * size
    assert seen[0] < size
