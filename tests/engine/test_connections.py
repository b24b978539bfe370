"""Connections to next hops: pooling, reuse, and requests which must not share a connection."""

import asyncio
import os
import socket
from contextlib import ExitStack
from threading import Event

import pytest

from tests.engine.conftest import MakeUpstream, Serve, Start, StartScripted
from tests.engine.fakes import LOGIN, FakeBroker, office
from tests.engine.recorder import ANSWER, Recorder
from tests.engine.running import NewLoop, Running
from tests.engine.wire import ProxyClient, connect, get, post
from tests.support.scripted_upstream import OK, ScriptedConnection, answering, resetting
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.fd_task import READ
from trayproxy.engine.server.client_connection import ClientConnection

URL = b"http://origin.test/"
GET = get(URL)


@pytest.fixture
def engines_loop(new_loop: NewLoop) -> NewLoop:
    return new_loop


def test_requests_of_one_client_share_an_upstream_connection(
    client: ProxyClient, recorder: Recorder
) -> None:
    for _ in range(3):
        assert client.ask(GET).status == 200
    assert [request.connection for request in recorder.requests] == [1, 1, 1]


def test_every_acceptance_wanted_by_the_desk_is_reported(
    client: ProxyClient, engine: Running
) -> None:
    """A later 407 is not about the password."""
    engine.desk.wants_all_reports = True
    for count in range(1, 6):
        client.ask(GET)
        assert len(engine.desk.accepted) == count


def test_a_connection_is_pooled_for_the_next_client(engine: Running, recorder: Recorder) -> None:
    for _ in range(2):
        with engine.connect() as client:
            assert client.ask(GET).status == 200
        engine.until_clients_left()
    assert [request.connection for request in recorder.requests] == [1, 1]


def test_a_tunnel_leaves_the_idle_connection_to_the_next_request(
    engine: Running, recorder: Recorder
) -> None:
    """Otherwise the next request would have to connect."""
    for octets in (GET, connect(b"origin.test:443"), GET):
        with engine.connect() as client:
            assert client.ask(octets, octets.split(b" ")[0]).status == 200
        engine.until_clients_left()
    assert [request.connection for request in recorder.requests] == [1, 2, 1]


def test_direct_requests_to_two_hosts_reach_their_hosts(start: Start, stack: ExitStack) -> None:
    first, second = stack.enter_context(Recorder()), stack.enter_context(Recorder())
    engine = start(office(1))
    engine.routes.direct.add("*")
    with engine.connect() as client:
        for _ in range(2):
            for recorder in (first, second):
                client.ask(get(b"http://127.0.0.1:%d/" % recorder.port))
    assert [request.values(b"host") for request in first.requests] == [
        [b"127.0.0.1:%d" % first.port]
    ] * 2
    assert [request.values(b"host") for request in second.requests] == [
        [b"127.0.0.1:%d" % second.port]
    ] * 2


@pytest.mark.parametrize("when", ["before the answer", "in its body"])
def test_the_connection_of_a_request_with_a_departed_client_is_not_reused(
    start_scripted: StartScripted, when: str
) -> None:
    read, late = Event(), Event()

    def slow(peer: ScriptedConnection) -> None:
        peer.read_head()
        if when == "in its body":
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        read.set()
        assert late.wait(20)
        peer.send(OK.replace(b"ok\n", b"no\n") if when == "before the answer" else b"theirs")
        peer.read_all()

    engine, upstream = start_scripted(slow, answering(OK))
    client = engine.connect()
    client.send(GET)
    if when == "in its body":
        while b"\r\n\r\n" not in client.octets:
            client.more()
    assert read.wait(20)
    client.reset()
    engine.until_clients_left()
    with engine.connect() as other:
        other.send(GET)
        upstream.peer(2)
        late.set()
        assert other.reply().body == b"ok\n"


def test_unsolicited_octets_are_no_response_r_049(start_scripted: StartScripted) -> None:
    """Both sockets become ready in the same turn of the loop, the client first (RFC 9112, section
    9.2)."""
    asked, said = Event(), Event()

    def talk(peer: ScriptedConnection) -> None:
        for _ in range(2):
            peer.read_head()
            peer.send(OK)
        assert asked.wait(20)
        peer.send(OK.replace(b"ok\n", b"no\n"))
        said.set()
        peer.read_all()

    engine, upstream = start_scripted(talk, answering(OK))
    with engine.connect() as client:
        for _ in range(2):
            assert client.ask(GET).body == b"ok\n"

        def both_at_once() -> None:
            client.send(GET)
            asked.set()
            assert said.wait(20)

        engine.call(both_at_once)
        assert client.reply().body == b"ok\n"
    assert len(upstream.peers) == 2


@pytest.mark.parametrize("answers", [1, 2, 3])
@pytest.mark.parametrize("end", ["closed", "reset"])
def test_a_get_on_a_connection_that_just_ended_is_sent_again(
    serve: Serve, answers: int, end: str
) -> None:
    def leave(peer: ScriptedConnection) -> None:
        for _ in range(answers):
            peer.read_head()
            peer.send(OK)
        peer.read_head()
        if end == "reset":
            peer.reset()

    client, upstream = serve(leave, answering(OK))
    for _ in range(answers + 1):
        assert client.ask(GET).status == 200
    assert len(upstream.peers) == 2


def test_a_retry_that_fails_is_not_retried_r_073(serve: Serve) -> None:
    def leave(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(OK)
        peer.read_head()

    client, upstream = serve(leave, resetting)
    assert client.ask(GET).status == 200
    assert client.ask(GET).status == 502
    assert len(upstream.peers) == 2


def test_a_post_on_a_connection_that_just_ended_is_not_sent_again_r_073(serve: Serve) -> None:
    def leave(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(OK)
        peer.read_head()

    client, upstream = serve(leave, answering(OK))
    assert client.ask(GET).status == 200
    assert client.ask(post(URL, b"once")).status == 502
    assert len(upstream.peers) == 1


def test_quitting_answers_the_running_but_no_pipelined_request(
    start_scripted: StartScripted,
) -> None:
    goes_on = Event()

    def wait(peer: ScriptedConnection) -> None:
        peer.read_head()
        assert goes_on.wait(20)
        peer.send(OK)
        peer.read_all()

    engine, upstream = start_scripted(wait)
    with engine.connect() as client:
        client.send(GET)
        upstream.peer(1).wait_for(b"\r\n\r\n")
        client.send(GET)
        quitting = asyncio.run_coroutine_threadsafe(engine.engine.close(), engine.loop)
        engine.until(lambda: engine.engine.context.closing, "the quitting")
        goes_on.set()
        assert client.reply().body == b"ok\n"
        assert client.take_all() == b""
        quitting.result(20)
    assert b"".join(peer.received for peer in upstream.peers).count(b"GET ") == 1


@pytest.mark.parametrize("requests", [1, 2, 3])
def test_a_silent_upstream_is_a_504(serve: Serve, requests: int) -> None:
    def go_quiet(peer: ScriptedConnection) -> None:
        for _ in range(requests - 1):
            peer.read_head()
            peer.send(OK)
        peer.hang()

    client, _ = serve(go_quiet, limits=EngineLimits(response_head_s=0.2))
    for _ in range(requests - 1):
        assert client.ask(GET).status == 200
    assert client.ask(GET).status == 504


def test_an_unsolicited_response_closes_an_idle_connection_r_049(
    engine: Running, start_scripted: StartScripted
) -> None:
    more = Event()

    def talk(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(OK)
        assert more.wait(20)
        peer.send(OK.replace(b"ok\n", b"no\n"))
        peer.read_all()

    engine, _ = start_scripted(talk, answering(OK))
    with engine.connect() as client:
        client.ask(GET)
    engine.until_clients_left()
    assert len(engine.idle_connections()) == 1
    more.set()
    engine.until_pool_is_empty()
    with engine.connect() as client:
        assert client.ask(GET).body == b"ok\n"


def test_surplus_octets_close_their_connection_r_049(serve: Serve) -> None:
    client, upstream = serve(answering(OK + OK.replace(b"ok\n", b"no\n")), answering(OK))
    assert client.ask(GET).body == b"ok\n"
    assert client.ask(GET).body == b"ok\n"
    assert len(upstream.peers) == 2


@pytest.mark.parametrize("who", ["the same client", "the next client"])
def test_idle_connections_are_closed_after_a_network_change(
    engine: Running, recorder: Recorder, who: str
) -> None:
    with ExitStack() as stack:
        client = stack.enter_context(engine.connect())
        for _ in range(2):
            assert client.ask(GET).status == 200
        if who == "the next client":
            client.close()
            engine.until_clients_left()
            client = stack.enter_context(engine.connect())
        engine.call(engine.engine.forget_connections)
        for _ in range(2):
            assert client.ask(GET).status == 200
    assert [request.connection for request in recorder.requests] == [1, 1, 2, 2]


def test_a_connection_that_fails_when_taken_is_unregistered(
    engine: Running, stack: ExitStack
) -> None:
    """A stale registration would suppress the registration of the next socket with this
    descriptor."""
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    engine.until_clients_left()

    near, far = (stack.enter_context(end) for end in socket.socketpair())
    ready: list[tuple[int, int]] = []

    def take_and_drop() -> int:
        inner = engine.engine
        (link,) = inner.executor.works.values()
        assert isinstance(link, ClientConnection)
        (idle,) = inner.context.pool.idle_connections()
        descriptor = idle.stream.descriptor
        assert inner.context.pool.take(idle.key) is idle
        link.downstream.use_upstream(idle)
        link.downstream.drop_upstream()
        # Another socket with the number of the dropped connection.
        os.dup2(near.fileno(), descriptor)
        inner.context.poller.register(descriptor, READ, lambda *event: ready.append(event))
        return descriptor

    def close(descriptor: int) -> None:
        engine.engine.context.poller.unregister(descriptor)
        os.close(descriptor)

    with engine.connect() as client:
        engine.until(lambda: bool(engine.engine.executor.works), "the next client")
        descriptor = engine.call(take_and_drop)
        far.send(b"x")
        engine.until(lambda: (descriptor, READ) in ready, "the event of the next socket")
        engine.call(lambda: close(descriptor))
        assert client.ask(GET).status == 200


def test_a_running_request_survives_a_network_change(start_scripted: StartScripted) -> None:
    go_on = Event()

    def slow(peer: ScriptedConnection) -> None:
        peer.read_head()
        assert go_on.wait(20)
        peer.send(OK)

    engine, upstream = start_scripted(slow)
    with engine.connect() as client:
        client.send(GET)
        upstream.peer(1).wait_for(b"\r\n\r\n")
        engine.call(engine.engine.forget_connections)
        go_on.set()
        assert client.reply().status == 200


def test_a_login_is_not_sent_on_a_connection_of_another_profile(
    start: Start, stack: ExitStack
) -> None:
    recorder = stack.enter_context(Recorder())
    engine = start(office(recorder.port), FakeBroker(LOGIN, is_known=True))
    with engine.connect() as client:
        client.ask(GET)
        other = office(recorder.port, host="127.0.0.1")
        engine.routes.profile = type(other)("other", "Other", other.upstream)
        client.ask(GET)
    first, second = recorder.requests
    assert first.connection != second.connection


def test_the_next_request_uses_the_switched_profile(start: Start, stack: ExitStack) -> None:
    old, new = stack.enter_context(Recorder()), stack.enter_context(Recorder())
    engine = start(office(old.port), FakeBroker(LOGIN, is_known=True))
    with engine.connect() as client:
        for _ in range(3):
            client.ask(GET)
        engine.routes.profile = office(new.port)
        for _ in range(3):
            client.ask(GET)
    assert (len(old.requests), len(new.requests)) == (3, 3)
    for request in (*old.requests, *new.requests):
        assert len(request.values(b"proxy-authorization")) == 1


def test_a_connect_on_a_direct_route_opens_a_tunnel(start: Start, script: MakeUpstream) -> None:
    def echo(peer: ScriptedConnection) -> None:
        peer.send(peer.read(5))
        peer.read_all()

    origin = script(echo)
    engine = start(office(1))
    engine.routes.direct.add("127.0.0.1")
    with engine.connect() as client:
        reply = client.ask(connect(b"127.0.0.1:%d" % origin.port), b"CONNECT")
        assert (reply.status, reply.values(b"content-length")) == (200, [])
        client.send(b"hello")
        assert client.take(5) == b"hello"
    assert origin.peer(1).received == b"hello"


def test_a_connect_on_a_direct_route_opens_a_new_connection(
    start: Start, script: MakeUpstream
) -> None:
    origin = script(answering(OK), lambda peer: peer.send(peer.read(5)))
    engine = start(office(1))
    engine.routes.direct.add("127.0.0.1")
    authority = b"127.0.0.1:%d" % origin.port
    with engine.connect() as client:
        assert client.ask(get(b"http://%b/" % authority)).body == b"ok\n"
        assert client.ask(connect(authority), b"CONNECT").status == 200
        client.send(b"hello")
        assert client.take(5) == b"hello"


def test_octets_sent_with_a_connect_on_a_direct_route_reach_the_host(
    start: Start, script: MakeUpstream
) -> None:
    origin = script(lambda peer: peer.send(peer.read(5)))
    engine = start(office(1))
    engine.routes.direct.add("127.0.0.1")
    with engine.connect() as client:
        client.send(connect(b"127.0.0.1:%d" % origin.port) + b"early")
        assert client.reply(b"CONNECT").status == 200
        assert client.take(5) == b"early"


def test_a_connect_on_a_direct_route_sends_the_host_no_head(
    start: Start, script: MakeUpstream
) -> None:
    origin = script(lambda peer: peer.send(ANSWER + peer.read_all()))
    engine = start(office(1), FakeBroker(LOGIN, is_known=True))
    engine.routes.direct.add("127.0.0.1")
    with engine.connect() as client:
        client.ask(connect(b"127.0.0.1:%d" % origin.port), b"CONNECT")
        client.finish()
        assert client.take_all() == ANSWER


def test_responses_to_local_clients_are_not_paced(start: Start, recorder: Recorder) -> None:
    engine = start(office(recorder.port))
    with engine.connect() as client:
        assert client.ask(GET).status == 200

        def way_of_sending() -> bytes:
            [work] = engine.engine.executor.works.values()
            assert isinstance(work, ClientConnection)
            option = socket.IPPROTO_TCP, socket.TCP_CONGESTION
            return work.downstream.client.socket.getsockopt(*option, 16).rstrip(b"\0")

        assert engine.call(way_of_sending) == b"reno"


def test_connections_are_non_blocking_and_not_inheritable(start: Start, recorder: Recorder) -> None:
    """They are created without Python's own wrapper, which would ensure both (PEP 446)."""
    engine = start(office(recorder.port), FakeBroker(LOGIN, is_known=True))
    # The request loop opens the first connection, the fast path the second.
    with engine.connect() as first, engine.connect() as second:
        for client in (first, second):
            assert client.ask(GET).status == 200

        def sides() -> list[int]:
            works = engine.engine.executor.works.values()
            clients = [work for work in works if isinstance(work, ClientConnection)]
            return [
                stream.descriptor
                for work in clients
                for stream in (
                    work.downstream.client,
                    work.downstream.upstream.stream
                    if work.downstream.upstream
                    else work.downstream.client,
                )
            ]

        found = engine.call(sides)
        assert len(set(found)) == 4
        assert not any(map(os.get_inheritable, found))
        assert not any(map(os.get_blocking, found))


def test_nagles_algorithm_is_off_on_both_sides(start: Start, recorder: Recorder) -> None:
    """It would delay a message written in two pieces by 40 ms, until an acknowledgement."""
    engine = start(office(recorder.port), FakeBroker(LOGIN, is_known=True))
    with engine.connect() as client:
        assert client.ask(GET).status == 200

        def sides() -> list[int]:
            work = next(iter(engine.engine.executor.works.values()))
            assert isinstance(work, ClientConnection)
            assert work.downstream.upstream is not None
            streams = (work.downstream.client, work.downstream.upstream.stream)
            option = socket.IPPROTO_TCP, socket.TCP_NODELAY
            return [stream.socket.getsockopt(*option) for stream in streams]

        assert all(engine.call(sides))
