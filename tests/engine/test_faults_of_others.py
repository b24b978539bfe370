"""Deliberate attacks (security.md, section 1.3), unless another module tests them.

T1 is in test_access_control, T5 belongs to the schemes, T9 and T12 are in test_http_checklist, T10
in test_connections, T11 in test_faults and the corpus, T13 in test_connections and
test_error_pages.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from threading import Event, Thread
from time import monotonic

import pytest

from tests.engine.conftest import MakeUpstream, Serve, Start, StartScripted
from tests.engine.fakes import LOGIN, FakeBroker, office
from tests.engine.recorder import Recorder
from tests.engine.running import Running
from tests.engine.wire import CutError, ProxyClient, connect, get
from tests.support.scripted_upstream import OK, ScriptedConnection, answering, challenge
from trayproxy.auth.basic import basic_credentials
from trayproxy.auth.digest import Digest
from trayproxy.auth.login import Login
from trayproxy.desktop.hardening import raise_descriptor_limit
from trayproxy.engine.limits import EngineLimits

URL = b"http://origin.test/"
GET = get(URL)
CONNECT = connect(b"origin.test:443")


# --- T2: web pages ---


REBOUND = b"POST /%b HTTP/1.1\r\nHost: attacker.test:%d\r\nContent-Length: %d\r\n\r\n%b"
PAGES = {"a form": b"a=b", "a request inside its body": GET, "a tunnel inside its body": CONNECT}


@pytest.mark.parametrize("inside", PAGES)
def test_requests_of_a_web_page_to_trayproxy_are_not_forwarded(
    engine: Running, client: ProxyClient, recorder: Recorder, inside: str
) -> None:
    body = PAGES[inside]
    # A browser sends the rebound name in Host; the attacker chooses only the path and the content.
    client.send(REBOUND % (b"PxQuit", engine.port, len(body), body))
    reply = client.reply(b"POST")
    assert (reply.status, reply.closes) == (400, True)
    # The octets after it are not parsed as another request.
    assert client.take_all() == b""
    assert not recorder.requests


@pytest.mark.parametrize(
    "lines",
    [
        (b"Origin: http://attacker.test", b"Access-Control-Request-Method: CONNECT"),
        (b"Origin: http://attacker.test", b"Access-Control-Request-Private-Network: true"),
        (b"Origin: http://attacker.test", b"Connection: Upgrade", b"Upgrade: websocket"),
    ],
    ids=["preflight", "private network", "websocket"],
)
def test_web_pages_get_no_cors_permission_and_no_upgrade(
    client: ProxyClient, recorder: Recorder, lines: tuple[bytes, ...]
) -> None:
    method = b"GET" if b"Upgrade: websocket" in lines else b"OPTIONS"
    head = b"\r\n".join((method + b" / HTTP/1.1", b"Host: 127.0.0.1", *lines, b"", b""))
    reply = client.ask(head, method)
    assert reply.status == 400
    assert not [name for name, _ in reply.fields if name.startswith(b"access-control")]
    assert not recorder.requests


# --- T3: exclusive use of the port ---


@pytest.mark.parametrize("option", ["SO_REUSEADDR", "SO_REUSEPORT"])
def test_no_other_socket_can_bind_the_port(engine: Running, option: str) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, getattr(socket, option), 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", engine.port))


# --- T6: redirection ---


@pytest.mark.parametrize("status", [b"302 Found", b"305 Use Proxy", b"308 Permanent Redirect"])
@pytest.mark.parametrize("request_", [GET, CONNECT], ids=["GET", "CONNECT"])
def test_redirections_are_not_followed(
    start: Start, script: MakeUpstream, status: bytes, request_: bytes
) -> None:
    elsewhere = script(answering(OK))
    location = b"Location: http://127.0.0.1:%d/\r\n" % elsewhere.port
    upstream = script(answering(b"HTTP/1.1 %b\r\n%bContent-Length: 0\r\n\r\n" % (status, location)))
    with start(office(upstream.port), FakeBroker(LOGIN, is_known=True)).connect() as client:
        client.send(request_)
        reply = client.reply(request_.partition(b" ")[0])
        assert reply.status == int(status[:3])
    assert not elsewhere.peers


def test_a_redirection_in_a_407_is_not_followed(start: Start, script: MakeUpstream) -> None:
    elsewhere = script(answering(OK))
    location = f"Location: http://127.0.0.1:{elsewhere.port}/"
    refusal = challenge("Basic realm=a").replace(b"\r\n", b"\r\n" + location.encode() + b"\r\n", 1)
    upstream = script(answering(refusal, OK))
    with start(office(upstream.port), FakeBroker(LOGIN)).connect() as client:
        assert client.ask(GET).status == 200
    assert not elsewhere.peers


# --- T8: a 407 from another server than the upstream ---


def test_a_site_that_asks_for_a_proxy_login_gets_none(start: Start, script: MakeUpstream) -> None:
    site = script(answering(challenge("Basic realm=office")))
    engine = start(office(1), FakeBroker(LOGIN, is_known=True))
    engine.routes.direct.add("127.0.0.1")
    with engine.connect() as client:
        reply = client.ask(get(b"http://127.0.0.1:%d/" % site.port))
        assert reply.status == 502
        assert not reply.values(b"proxy-authenticate")
    assert not engine.desk.challenged_requests
    assert b"authorization" not in site.peer(1).received.lower()


def test_a_407_inside_a_tunnel_is_relayed_unchanged(start_scripted: StartScripted) -> None:
    refusal = challenge("Basic realm=office")

    def site(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        peer.read_head()
        peer.send(refusal)
        peer.read_all()

    engine, upstream = start_scripted(site, desk=FakeBroker(LOGIN, is_known=True))
    with engine.connect() as client:
        assert client.ask(CONNECT, b"CONNECT").status == 200
        client.send(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        assert client.take(len(refusal)) == refusal
    assert not engine.desk.challenged_requests
    # Once, for the CONNECT.
    assert upstream.peer(1).received.lower().count(b"proxy-authorization") == 1


# --- T17 and F08: slow clients ---


def test_a_thousand_slow_heads_time_out_and_others_are_served(
    engine: Running, start: Start, stack: ExitStack
) -> None:
    if raise_descriptor_limit() < 4 * SLOW:
        pytest.skip("this computer allows too few descriptors")
    engine = start(engine.routes.profile, engine.desk, EngineLimits(head_s=1.0, linger_s=0.1))
    quick = stack.enter_context(engine.connect())
    slow = [stack.enter_context(engine.connect()) for _ in range(SLOW)]
    for client in slow:
        client.send(b"GET http://origin.test/ HTTP/1.1\r\nX: ")
    with slow_senders(slow):
        delays = [seconds_of_a_get(quick) for _ in range(20)]
        engine.until(lambda: len(engine.engine.executor.works) == 1, "the end of the slow")
        delays += [seconds_of_a_get(quick) for _ in range(20)]
    assert sorted(delays)[20] < 0.05
    for client in slow[::100]:
        with suppress(CutError):
            assert client.reply().status == 408


def test_slow_content_does_not_delay_others(
    start_scripted: StartScripted, stack: ExitStack
) -> None:
    engine, upstream = start_scripted(answering_gets, desk=FakeBroker(LOGIN, is_known=True))
    quick = stack.enter_context(engine.connect())
    seconds_of_a_get(quick)  # The login is proved: from now on requests do not take turns with it.
    slow = [stack.enter_context(engine.connect()) for _ in range(SLOW // 10)]
    for client in slow:
        client.send(get(URL, b"Content-Length: 100000", method=b"POST"))
    engine.until(lambda: len(engine.engine.executor.works) == len(slow) + 1, "the slow")
    delays: list[float] = []
    with slow_senders(slow):
        while len(delays) < 40 or not any(peer.received.endswith(b"X") for peer in upstream.peers):
            delays.append(seconds_of_a_get(quick))
    assert sorted(delays)[len(delays) // 2] < 0.05


@pytest.mark.parametrize("is_signed", [False, True], ids=["sent on", "to be signed first"])
def test_content_sent_octet_by_octet_times_out(serve: Serve, is_signed: bool) -> None:
    wanted = challenge('Digest realm="r", nonce="n", qop="auth-int"')

    def play(peer: ScriptedConnection) -> None:
        if is_signed:
            head = peer.read_head()
            peer.send(wanted)
            if head.startswith(b"HEAD"):  # The own request of TrayProxy, which is sent twice.
                peer.read_head()
                peer.send(wanted)
        peer.read_all()

    desk = FakeBroker(LOGIN, schemes=(Digest(os.urandom),))
    client, _ = serve(play, desk=desk, limits=replace(EngineLimits(), body_s=0.5))
    client.send(get(URL, b"Content-Length: 100000", method=b"POST"))
    with slow_senders([client]):
        reply = client.reply(b"POST")
    assert reply.status == 408
    assert reply.closes


def wait_in_loop(engine: Running, seconds: float) -> None:
    """Wait until the engine's clock has advanced by this number of seconds."""
    end = engine.call(engine.loop.time) + seconds
    engine.until(lambda: engine.loop.time() > end, "the time")


def test_steady_slow_content_does_not_time_out(start_scripted: StartScripted) -> None:
    """Each part arrives within the limit, and all parts together do not."""
    pieces, least = 4, EngineLimits().min_body_octets

    def play(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.read(pieces * least)
        peer.send(OK)

    engine, _ = start_scripted(play, limits=replace(EngineLimits(), body_s=1.2))
    with engine.connect() as client:
        client.send(get(URL, b"Content-Length: %d" % (pieces * least), method=b"POST"))
        for _ in range(pieces):
            wait_in_loop(engine, 0.8)
            client.send(b"x" * least)
        assert client.reply(b"POST").status == 200


NEVER_ENDING = b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n"
"""A negative chunk size, which blocked proxy.py for ever."""


def test_a_negative_chunk_size_of_a_client_does_not_block_the_engine(
    engine: Running, client: ProxyClient
) -> None:
    head = get(URL, method=b"POST").removesuffix(b"\r\n")
    assert client.ask(head + NEVER_ENDING, b"POST").status == 400
    with engine.connect() as other:
        assert seconds_of_a_get(other) < 1


def test_a_negative_chunk_size_of_an_upstream_does_not_block_the_engine(serve: Serve) -> None:
    client, _ = serve(
        answering(b"HTTP/1.1 200 OK\r\n" + NEVER_ENDING),
        answering(OK),
        desk=FakeBroker(LOGIN, is_known=True),
    )
    assert client.ask(GET).status == 502
    assert seconds_of_a_get(client) < 1


SLOW = 1_000


def seconds_of_a_get(client: ProxyClient) -> float:
    before = monotonic()
    assert client.ask(GET).status == 200
    return monotonic() - before


@contextmanager
def slow_senders(clients: Sequence[ProxyClient]) -> Iterator[None]:
    """Clients which send one octet from time to time."""
    stop = Event()

    def send_slowly() -> None:
        while not stop.wait(0.25):
            for client in clients:
                with suppress(OSError):
                    client.socket.send(b"X")

    thread = Thread(target=send_slowly)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def answering_gets(peer: ScriptedConnection) -> None:
    """Answer requests without content, and read requests with content for ever."""
    while b"POST" not in peer.read_head():
        peer.send(OK)
    peer.read_all()


# --- F25: a switch in the middle ---


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
def test_a_request_running_at_a_profile_switch_ends_at_its_old_upstream(
    start: Start, script: MakeUpstream, stack: ExitStack, method: str
) -> None:
    go_on = Event()

    def slow(peer: ScriptedConnection) -> None:
        peer.read_head()
        is_get = method == "GET"
        peer.send(b"HTTP/1.1 200 OK\r\n" + (b"Content-Length: 8\r\n\r\n" if is_get else b"\r\n"))
        assert go_on.wait(20)
        peer.send(b"complete")
        peer.read_all()

    old, new = script(slow), stack.enter_context(Recorder())
    engine = start(office(old.port), FakeBroker(LOGIN, is_known=True))
    client = stack.enter_context(engine.connect())
    client.send(GET if method == "GET" else CONNECT)
    while b"\r\n\r\n" not in client.octets:
        assert client.more()

    def switch() -> None:
        engine.desk.begin(Login("other", "word"))
        engine.routes.profile = office(new.port)
        engine.engine.forget_connections()

    engine.call(switch)
    with engine.connect() as other:
        assert other.ask(GET).status == 200
    go_on.set()
    assert client.take(len(client.octets) + 8).endswith(b"complete")
    (request,) = new.requests
    assert request.values(b"proxy-authorization") == [basic_credentials(Login("other", "word"))]
    assert basic_credentials(LOGIN) in old.peer(1).received
