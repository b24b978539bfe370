"""Faults around the engine (security.md, section 3), and faults known from other proxies.

Elsewhere are: F03 in test_tls; F05 in test_connections; F07 in test_auth_exchange; F08 and F25 in
test_faults_of_others; F10 in test_http_checklist; F12 in test_suspend_detector, test_network_grace
and end2end/test_network; F19, F29 to F31 with real processes in end2end/test_security, F21, F22 in
end2end/test_tray; F24 in the benchmarks (W6, W9), since it is about measured values.
"""

import asyncio
import errno
import random
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any

import psutil
import pytest

from tests.engine.conftest import Serve, Start, StartScripted
from tests.engine.fakes import LOGIN, FakeBroker, office, scaled_limits
from tests.engine.recorder import Recorder
from tests.engine.running import Running
from tests.engine.wire import CutError, ProxyClient, connect, get, post
from tests.support.scripted_upstream import (
    ESTABLISHED,
    OK,
    ScriptedConnection,
    answering,
    challenge,
    closing_early,
    echoing,
    resetting,
)
from trayproxy.auth.basic import Basic
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.resolver import Resolver
from trayproxy.engine.transfer.tunnel import Tunnel
from trayproxy.profiles.profile import SignIn

URL = b"http://origin.test/"
GET = get(URL)
CONNECT = connect(b"origin.test:443")
TRIGGERS = {"GET": GET, "CONNECT": CONNECT}

UNRESOLVABLE = "a" * 64 + ".test"
"""No label is that long (RFC 1035, section 2.3.4), so nobody is asked."""


def closed_port() -> int:
    """Return a port which refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def typical_delay(tunnel: ProxyClient) -> float:
    """Return the median round-trip time of an octet to an echo server, in seconds.

    The median, since other load of the machine does not come from the engine.
    """
    delays = []
    for _ in range(50):
        before = monotonic()
        tunnel.send(b"?")
        tunnel.take(1)
        delays.append(monotonic() - before)
    return sorted(delays)[25]


# --- reaching the upstream: F01, F02 ---


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
@pytest.mark.parametrize("way", ["upstream", "direct"])
def test_an_unresolvable_name_is_a_502_with_dns_error(start: Start, method: str, way: str) -> None:
    engine = start(office(3128, host=UNRESOLVABLE))
    trigger = TRIGGERS[method]
    if way == "direct":
        engine.routes.direct.add("*")
        trigger = trigger.replace(b"origin.test", UNRESOLVABLE.encode())
    with engine.connect() as client:
        before = monotonic()
        reply = client.ask(trigger, method.encode())
        assert monotonic() - before < 5
    assert reply.status == 502
    assert b"error=dns_error" in reply.values(b"proxy-status")[0]


class SilentNameServerLoop:
    """An event loop with a name server which never answers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.asked = 0

    def time(self) -> float:
        return self._loop.time()

    def create_task(self, coroutine: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        return self._loop.create_task(coroutine)

    async def getaddrinfo(self, host: bytes, port: int, *, type: int) -> list[Any]:
        self.asked += 1
        return await self._loop.create_future()  # type: ignore[no-any-return]  # never


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
def test_a_silent_name_server_is_a_502_and_does_not_delay_others(
    start_scripted: StartScripted, method: str
) -> None:
    engine, _ = start_scripted(echoing, limits=EngineLimits(resolve_s=0.5))
    with engine.connect() as tunnel, engine.connect() as client:
        tunnel.ask(CONNECT, b"CONNECT")
        names = SilentNameServerLoop(engine.loop)
        engine.engine.context.connector.resolver = Resolver(names)  # type: ignore[arg-type]  # all it uses
        engine.routes.profile = office(3128, host="proxy.test")
        client.send(TRIGGERS[method])
        engine.until(lambda: names.asked == 1, "the look-up")
        assert typical_delay(tunnel) < 0.05
        reply = client.reply(method.encode())
    assert reply.status == 502
    assert b"(TP-201)" in reply.reason
    assert b"error=dns_error" in reply.values(b"proxy-status")[0]


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
def test_a_refused_connection_is_an_immediate_502(start: Start, method: str) -> None:
    engine = start(office(closed_port()))
    seconds = []
    for _ in range(5):
        with engine.connect() as client:
            before = monotonic()
            reply = client.ask(TRIGGERS[method], method.encode())
            seconds.append(monotonic() - before)
        assert reply.status == 502
        assert b"error=connection_refused" in reply.values(b"proxy-status")[0]
    # The typical delay, since other load of the machine does not come from the engine.
    assert sorted(seconds)[2] < 0.1
    assert len(engine.observer.failures) == 5


def test_an_address_without_a_route_is_a_502(start: Start) -> None:
    engine = start(office(3128, host="255.255.255.255"))
    with engine.connect() as client:
        assert client.ask(GET).status == 502


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
def test_a_connection_timeout_is_a_504(start: Start, nowhere: int, method: str) -> None:
    engine = start(office(nowhere), limits=EngineLimits(connect_s=0.3, connect_total_s=0.6))
    with engine.connect() as client:
        assert client.ask(TRIGGERS[method], method.encode()).status == 504


def test_a_hanging_upstream_does_not_delay_others(
    start_scripted: StartScripted, nowhere: int
) -> None:
    engine, _ = start_scripted(echoing)
    with ExitStack() as stack:
        tunnel = stack.enter_context(engine.connect())
        tunnel.ask(CONNECT, b"CONNECT")
        engine.routes.profile = office(nowhere)
        for _ in range(20):
            stack.enter_context(engine.connect()).send(GET)
        engine.until(lambda: len(engine.engine.executor.works) == 21, "the hanging requests")
        assert typical_delay(tunnel) < 0.05


@pytest.mark.parametrize("end", ["closes", "resets"])
def test_a_client_that_leaves_during_a_connection_attempt_leaks_nothing(
    start: Start, nowhere: int, end: str
) -> None:
    engine = start(office(nowhere), limits=EngineLimits(connect_s=0.3, connect_total_s=0.6))
    base = engine.holdings()
    for _ in range(5):
        client = engine.connect()
        client.send(CONNECT)
        engine.until(lambda: bool(engine.engine.executor.works), "the request")
        client.reset() if end == "resets" else client.close()
    engine.until_it_holds(base)


# --- faults of the upstream: F04, F05, F06 ---


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
@pytest.mark.parametrize("script_", [closing_early, resetting], ids=["closes", "resets"])
def test_an_upstream_that_closes_before_its_response_is_a_502(
    serve: Serve, script_: Callable[[ScriptedConnection], None], method: str
) -> None:
    client, _ = serve(script_)
    reply = client.ask(TRIGGERS[method], method.encode())
    assert reply.status == 502
    assert b"error=connection_terminated" in reply.values(b"proxy-status")[0]


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200"])
def test_an_incomplete_response_head_is_a_502(serve: Serve, head: bytes) -> None:
    def cut(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(head)

    client, _ = serve(cut)
    assert client.ask(GET).status == 502


@pytest.mark.parametrize(
    "octets",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: ",
    ],
    ids=["body", "chunk", "trailer"],
)
@pytest.mark.parametrize("end", ["closes", "resets", "hangs"])
def test_a_stalled_response_is_reset(serve: Serve, octets: bytes, end: str) -> None:
    go_on = Event()

    def cut(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(octets)
        assert go_on.wait(20)
        if end == "resets":
            peer.reset()
        elif end == "hangs":
            peer.hang()

    client, _ = serve(cut, limits=EngineLimits(response_body_s=0.2))
    client.send(GET)
    while b"hello" not in client.octets:
        assert client.more()
    go_on.set()
    client.take_all()
    assert client.was_reset


# --- slow clients: F09; F08 is in test_faults_of_others ---


def test_stalled_content_is_a_408(start_scripted: StartScripted) -> None:
    engine, upstream = start_scripted(lambda peer: peer.read_all(), limits=EngineLimits(body_s=0.2))
    with engine.connect() as client:
        client.send(post(URL, b"hello")[:-1])
        assert client.reply(b"POST").status == 408
    assert not upstream.peer(1).received.endswith(b"hello")
    assert not engine.observer.failures


def test_the_connection_of_a_silent_client_is_closed(start: Start) -> None:
    engine = start(None, limits=EngineLimits(first_octet_s=0.1))
    with engine.connect() as client:
        assert client.take_all() == b""


def test_an_idle_client_connection_is_closed(serve: Serve) -> None:
    client, _ = serve(answering(OK), limits=EngineLimits(idle_s=0.1))
    assert client.ask(GET).status == 200
    assert client.take_all() == b""


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
def test_clients_that_do_not_read_use_little_memory(
    start_scripted: StartScripted, method: str
) -> None:
    block = bytes(1 << 20)
    clients = 16

    def flood(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(OSError):
            for _ in range(1024):
                peer.send(block)

    engine, upstream = start_scripted(flood)
    memory = psutil.Process().memory_info
    with ExitStack() as stack:
        for _ in range(clients):
            client = stack.enter_context(engine.connect())
            client.send(TRIGGERS[method])
            client.reply(b"CONNECT")
        stalled = NoProgress(engine)
        before = memory().rss
        engine.until(stalled.look, "the upstreams having to wait")
        assert memory().rss - before < clients * (256 << 10) + (4 << 20)
        upstream.cut()


class NoProgress:
    """A condition: the number of octets was the same twice within a tenth of a second."""

    def __init__(self, engine: Running) -> None:
        self._engine = engine
        self._moved = -1
        self._since = monotonic()

    def look(self) -> bool:
        counters = self._engine.engine.context.counters
        works = self._engine.engine.executor.works.values()
        tunnels = [work.tunnel for work in works if work.tunnel]  # type: ignore[attr-defined]
        moved = counters.received + sum(tunnel.down.moved for tunnel in tunnels)
        if moved != self._moved:
            self._moved, self._since = moved, monotonic()
        return monotonic() - self._since > 0.1


# --- vanished clients: F11 ---


def test_a_request_is_withdrawn_from_the_desk_when_its_client_leaves(
    start_scripted: StartScripted,
) -> None:
    engine, _ = start_scripted(answering(challenge("Basic realm=a")))
    with engine.connect() as client:
        client.send(GET)
        engine.desk.wait_for_challenged(1)
    engine.until_withdrawn()
    engine.until_clients_left()


@pytest.mark.parametrize("end", ["closes", "resets"])
def test_the_upstream_connection_of_an_upload_closes_when_its_client_leaves(
    serve: Serve, end: str
) -> None:
    ended = Event()

    def read(peer: ScriptedConnection) -> None:
        with suppress(OSError):
            peer.read_all()
        ended.set()

    client, upstream = serve(read)
    client.send(post(URL, b"hello")[:-1])
    upstream.peer(1).wait_for(b"hell")
    client.reset() if end == "resets" else client.close()
    assert ended.wait(20)


@pytest.mark.parametrize("octets", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nquiet"])
def test_the_upstream_connection_of_a_download_closes_when_its_client_resets(
    serve: Serve, octets: bytes
) -> None:
    ended = Event()

    def be_quiet(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(octets)
        with suppress(OSError):
            peer.read_all()
        ended.set()

    client, upstream = serve(be_quiet)
    client.send(GET)
    upstream.peer(1).wait_for(b"\r\n\r\n")
    while octets[-5:] not in client.octets:
        client.more()
    client.reset()
    assert ended.wait(20)


def test_the_upstream_connection_of_a_download_closes_with_the_next_octets_after_its_client_closed(
    serve: Serve,
) -> None:
    ended = Event()

    def flood(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(OSError):
            while True:
                peer.send(bytes(1 << 16))
        ended.set()

    client, _ = serve(flood)
    client.send(GET)
    client.take(1 << 16)
    client.close()
    assert ended.wait(20)


# --- descriptors: F23 ---


def test_a_connection_with_a_rejected_registration_ends_and_others_continue(
    start: Start, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of registrations per user is limited (epoll_ctl(2))."""

    def watch(descriptor: int, mask: int, handler: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    engine = start(office(recorder.port), FakeBroker(LOGIN, is_known=True))
    with engine.connect() as before:
        assert before.ask(GET).status == 200
        with monkeypatch.context() as patch:
            engine.call(lambda: patch.setattr(engine.engine.context.poller, "register", watch))
            for octets in (b"", GET, GET[:10]):
                with engine.connect() as client:
                    client.try_to_send(octets)
                    client.seconds_until_end()
            engine.call(patch.undo)
        assert before.ask(GET).status == 200
        with engine.connect() as after:
            assert after.ask(GET).status == 200
    assert (
        sum("its descriptors cannot be registered" in line for line in engine.complaints.lines) == 3
    )


def test_a_tunnel_with_an_internal_error_is_reset_and_others_continue(
    start_scripted: StartScripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the tunnel stayed registered, the error would recur in every turn and delay other
    connections."""

    def fail(tunnel: Tunnel, descriptor: int, mask: int) -> bool:
        raise RuntimeError("a mistake of ours")

    engine, _ = start_scripted(echoing)
    with engine.connect() as client, engine.connect() as other:
        client.ask(CONNECT, b"CONNECT")
        other.ask(CONNECT, b"CONNECT")
        with monkeypatch.context() as patch:
            patch.setattr(Tunnel, "handle_event", fail)
            client.send(b"?")
            client.take_all()
            assert client.was_reset
        other.send(b"?")
        assert other.take(1) == b"?"
    [error] = engine.complaints.errors
    assert "a mistake of ours" in error
    engine.complaints.errors.clear()


@contextmanager
def engine_with_few_descriptors(
    upstream: Recorder, descriptors: int, host: str = "127.0.0.1"
) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """Run an engine in a process with a limit of descriptors; yield the process and the port."""
    arguments = (str(upstream.port), str(descriptors), host)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.engine.few_descriptors", *arguments],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        yield process, int(process.stdout.readline())


def test_an_engine_without_descriptors_recovers_when_they_return(recorder: Recorder) -> None:
    descriptors = 48
    with engine_with_few_descriptors(recorder, descriptors) as (process, port):
        with ExitStack() as stack:
            crowd = [stack.enter_context(ProxyClient(port)) for _ in range(2 * descriptors)]
            assert crowd[0].ask(GET).status in (200, 503)
            # Clients without a descriptor get an error page and do not wait.
            assert crowd[-1].take_all().startswith(b"HTTP/1.1 503 ")
            used = psutil.Process(process.pid).cpu_times()
            before = used.user + used.system
            assert not Event().wait(0.5)
            used = psutil.Process(process.pid).cpu_times()
            assert used.user + used.system - before < 0.25, "it spins"
        with ProxyClient(port) as client:
            assert client.ask(GET).status == 200
        _, errors = process.communicate(b"")
        assert process.returncode == 0, errors


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_lack_of_descriptors_is_not_reported_as_a_fault_of_the_next_hop(
    recorder: Recorder, host: str
) -> None:
    """Each client uses one descriptor, and none is left to connect or to resolve a name."""
    descriptors = 64
    with engine_with_few_descriptors(recorder, descriptors, host) as (process, port):
        with ExitStack() as stack:
            crowd = [stack.enter_context(ProxyClient(port)) for _ in range(descriptors)]
            for client in crowd:
                client.try_to_send(CONNECT)
            statuses = [client.reply(b"CONNECT").status for client in crowd]
            assert 503 in statuses
            assert set(statuses) <= {200, 503}
        out, errors = process.communicate(b"")
        assert process.returncode == 0, errors
        assert out == b"\n", "the upstream was told as dead"


def test_clients_above_the_limit_get_an_error_page(start_scripted: StartScripted) -> None:
    engine, _ = start_scripted(answering(OK), limits=EngineLimits(max_clients=2))
    with ExitStack() as stack:
        for _ in range(2):
            client = stack.enter_context(engine.connect())
            assert client.ask(GET).status == 200
        extra = stack.enter_context(engine.connect())
        reply = extra.ask(GET)
        assert (reply.status, reply.values(b"retry-after")) == (503, [b"5"])
        assert client.ask(GET).status == 200


# --- quitting: F29 ---


def test_quitting_waits_for_running_requests_only(start_scripted: StartScripted) -> None:
    go_on = Event()

    def slow(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        assert go_on.wait(20)
        peer.send(b"complete")

    engine, _ = start_scripted(answering(OK), slow)
    idle, busy = engine.connect(), engine.connect()
    with idle, busy:
        idle.ask(GET)
        engine.call(engine.engine.context.pool.clear)
        busy.send(GET)
        while b"\r\n\r\n" not in busy.octets:
            busy.more()
        quitting = Thread(target=engine.wait, args=(engine.engine.close(),))
        quitting.start()
        assert idle.take_all() == b""
        with pytest.raises(ConnectionRefusedError):
            engine.connect()
        go_on.set()
        assert busy.reply().body == b"complete"
        quitting.join()


def test_quitting_resets_connections_after_its_limit(start_scripted: StartScripted) -> None:
    engine, _ = start_scripted(echoing, limits=EngineLimits(shutdown_s=0.2))
    with engine.connect() as client:
        client.ask(CONNECT, b"CONNECT")
        before = monotonic()
        engine.wait(engine.engine.close())
        assert monotonic() - before < 2
        assert client.take_all() == b""
        assert client.was_reset
    assert engine.holdings().connections == 0


def test_a_response_aborted_by_quitting_does_not_look_complete(
    start_scripted: StartScripted,
) -> None:
    """R-044: the response to an HTTP/1.0 client ends with its connection."""

    def stop_in_the_middle(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        peer.read_all()

    engine, _ = start_scripted(stop_in_the_middle, limits=EngineLimits(shutdown_s=0.2))
    with engine.connect() as client:
        client.send(get(URL, version=b"1.0"))
        while b"half" not in client.octets:
            client.more()
        engine.wait(engine.engine.close())
        client.take_all()
        assert client.was_reset


# --- random octets: F32 ---


def noise(seed: int) -> bytes:
    return random.Random(seed).randbytes(1 << 20)


def test_random_octets_of_clients_leak_nothing(engine: Running) -> None:
    base = engine.holdings()
    for seed in range(40):
        with engine.connect() as client:
            client.try_to_send(noise(seed))
            client.finish()
            client.take_all()
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    engine.settle()
    engine.until_it_holds(base)


def test_random_octets_after_a_head_leak_nothing(engine: Running) -> None:
    for seed in range(20):
        with engine.connect() as client:
            head = get(URL, b"Transfer-Encoding: chunked", method=b"POST")
            client.try_to_send(head + noise(seed))
            with suppress(CutError):
                assert client.reply(b"POST").status == 400
    with engine.connect() as client:
        assert client.ask(GET).status == 200


def test_random_octets_of_upstreams_are_a_502(start_scripted: StartScripted) -> None:
    count = iter(range(1000))

    def rave(peer: ScriptedConnection) -> None:
        peer.read_head()
        with suppress(OSError):
            peer.send(noise(next(count)))

    engine, _ = start_scripted(rave)
    for method in ("GET", "CONNECT") * 15:
        with engine.connect() as client:
            assert client.ask(TRIGGERS[method], method.encode()).status == 502


# --- faults known from other proxies ---


def test_a_clients_own_credentials_are_not_forwarded(start: Start, stack: ExitStack) -> None:
    recorder = stack.enter_context(Recorder())
    engine = start(office(recorder.port, sign_in=SignIn.NONE))
    line = b"Proxy-Authorization: Basic Zm9vOmJhcg=="
    with engine.connect() as client:
        client.ask(get(URL, line))
        client.ask(get(URL, line))
        client.ask(connect(b"origin.test:443", line), b"CONNECT")
    assert b"uthorization" not in recorder.octets


def test_content_is_forwarded_as_it_arrives(serve: Serve) -> None:
    half = bytes(range(256)) * 16_000

    def read_half(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.read(len(half))
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        peer.read_all()

    client, _ = serve(read_half)
    client.send(get(URL, b"Content-Length: %d" % (2 * len(half)), method=b"POST"), half)
    while b" 100 Continue" not in client.octets:
        assert client.more()


def test_a_407_that_closes_without_a_login_does_not_loop(serve: Serve) -> None:
    def refuse(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(challenge("Basic realm=a")[:-2] + b"Connection: close\r\n\r\n")

    client, upstream = serve(refuse, desk=FakeBroker(LOGIN))
    assert client.ask(GET).status == 503
    assert len(upstream.peers) == 2


@pytest.mark.parametrize(
    "value", [b"", b"Bearer realm=x", b"NTLM", b"Negotiate, NTLM", b'Digest realm="a, Basic"']
)
def test_an_unsupported_challenge_gets_no_login(serve: Serve, value: bytes) -> None:
    head = b"HTTP/1.1 407 No\r\nProxy-Authenticate: %b\r\nContent-Length: 0\r\n\r\n" % value
    desk = FakeBroker(LOGIN, schemes=(Basic(),))
    client, upstream = serve(answering(head), desk=desk)
    assert client.ask(GET).status == 503
    assert b"Proxy-Authorization" not in upstream.peer(1).received


def test_a_long_host_name_is_forwarded(
    engine: Running, client: ProxyClient, recorder: Recorder
) -> None:
    host = b".".join([b"a" * 49] * 5)
    assert client.ask(connect(host + b":443"), b"CONNECT").status == 200
    assert recorder.requests[0].target == host + b":443"


def test_field_values_are_forwarded_as_octets(client: ProxyClient, recorder: Recorder) -> None:
    client.ask(get(URL, "X-Name: Jörg".encode(), b"X-Old: J\xf6rg"))
    assert recorder.requests[0].values(b"x-name") == ["Jörg".encode()]
    assert recorder.requests[0].values(b"x-old") == [b"J\xf6rg"]


def test_a_quiet_tunnel_has_no_time_limit(serve: Serve) -> None:
    limits = scaled_limits(1 / 1000)
    client, _ = serve(echoing, limits=limits)
    client.ask(CONNECT, b"CONNECT")
    # Two of the executor's sweeps.
    assert not Event().wait(2.2)
    client.send(b"?")
    assert client.take(1) == b"?"


def test_a_half_closed_tunnel_has_a_time_limit(serve: Serve) -> None:
    def stay(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(ESTABLISHED)
        peer.read_all()
        peer.hang()

    client, _ = serve(stay, limits=EngineLimits(half_closed_s=0.1))
    client.ask(CONNECT, b"CONNECT")
    client.finish()
    assert client.take_all() == b""
    assert client.was_reset  # The upstream has not sent its end of the stream.


def test_a_half_closed_tunnel_continues_while_octets_move(serve: Serve) -> None:
    """R-035: the limit is for silence, not for a long download after a short request."""

    def talk_on(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(ESTABLISHED)
        peer.read_all()
        # Three of the executor's sweeps.
        for _ in range(35):
            assert not Event().wait(0.1)
            peer.send(b"more")

    client, _ = serve(talk_on, limits=EngineLimits(half_closed_s=1.2))
    client.ask(CONNECT, b"CONNECT")
    client.finish()
    assert client.take_all() == b"more" * 35
    assert not client.was_reset


def test_a_socket_reset_before_its_first_octet_leaks_nothing(engine: Running) -> None:
    base = engine.holdings()
    for _ in range(200):
        engine.connect().reset()
    engine.until_it_holds(base)
