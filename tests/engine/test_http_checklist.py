"""The lines of the protocol checklist (R-001 to R-085) which the engine decides.

Parsing and writing are tested in tests/http; the reuse of connections in test_connections;
authentication schemes with several legs in unit.test_auth_plays and test_auth_exchange.
"""

from threading import Event

import pytest

from tests.engine.conftest import MakeUpstream, Serve, Start, StartScripted
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
from trayproxy.auth.basic import basic_credentials
from trayproxy.engine.error_pages import Document
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.server.client_connection import ClientConnection
from trayproxy.profiles.profile import SignIn

URL = b"http://origin.test/"
GET = get(URL)
CONNECT = connect(b"origin.test:443")
CHALLENGE = challenge('Basic realm="corp"')
CREDENTIALS = b"Proxy-Authorization: " + basic_credentials(LOGIN)


@pytest.fixture
def engines_loop(new_loop: NewLoop) -> NewLoop:
    return new_loop


def body(length: int) -> bytes:
    return bytes(range(256)) * (length // 256) + bytes(length % 256)


# --- parsing, 9112 section 2 ---


@pytest.mark.parametrize("octets", [b"\x16\x03\x01\x02\x00", b"\x04\x01\x00P", b"SSH-2.0-x\r\n"])
def test_octets_that_are_not_http_are_refused_before_the_head_times_out(
    engine: Running, octets: bytes
) -> None:
    with engine.connect() as client:
        assert client.ask(octets).status == 400
        assert client.take_all() == b""


@pytest.mark.parametrize(("octets", "status"), [(GET[:-2], b"400"), (b"", b"")])
def test_a_request_that_ends_in_its_head_is_refused(
    client: ProxyClient, octets: bytes, status: bytes
) -> None:
    client.send(octets)
    client.finish()
    assert client.take_all().partition(b"HTTP/1.1 ")[2][:3] == status


def test_empty_lines_between_requests_are_ignored(client: ProxyClient) -> None:
    client.send(post(URL, b"x") + b"\r\n\r\n" + GET)
    assert [client.reply().status, client.reply().status] == [200, 200]


def test_no_request_after_a_malformed_request_is_read_r_006(
    client: ProxyClient, recorder: Recorder
) -> None:
    client.send(b"GET http://origin.test/ HTTP/1.1\r\nHost : a\r\n\r\n" + GET)
    assert client.reply().status == 400
    assert client.take_all() == b""
    assert not recorder.requests


# --- targets ---


@pytest.mark.parametrize("target", [b"/", b"/commands/pac", b"/PxQuit", b"*"])
def test_origin_form_requests_to_trayproxy_have_no_effect(
    client: ProxyClient, recorder: Recorder, target: bytes
) -> None:
    method = b"OPTIONS" if target == b"*" else b"GET"
    reply = client.ask(b"%b %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % (method, target))
    assert reply.status == 400
    assert not reply.values(b"access-control-allow-origin")
    assert not recorder.requests


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_document_is_served_at_its_path_only(
    engine: Running, recorder: Recorder, method: str
) -> None:
    document = Document("application/x-ns-proxy-autoconfig", b"function FindProxyForURL() {}")
    engine.engine.context.own_address.documents[b"/4f1c.pac"] = document
    request = b"%b %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    for path, status in ((b"/4f1c.pac", 200), (b"/4f1c.pac?x", 400), (b"/4f1d.pac", 400)):
        with engine.connect() as client:
            reply = client.ask(request % (method.encode(), path), method.encode())
            assert reply.status == (status if method != "POST" else 400)
            if reply.status == 200:
                assert reply.values(b"content-type") == [b"application/x-ns-proxy-autoconfig"]
                assert reply.values(b"cache-control") == [b"no-cache"]
                assert not reply.values(b"access-control-allow-origin")
                expected = document.content if method == "GET" else b""
                assert reply.body == expected
    assert not recorder.requests


OWN_SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "127.0.0.2",
    "0.0.0.0",
    "0",
    "2130706433",
    "0x7f.1",
    "localhost",
    "localhost.",
    "LOCALHOST",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
]


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
@pytest.mark.parametrize("host", OWN_SPELLINGS)
def test_a_direct_request_for_trayproxys_own_address_is_a_loop(
    start: Start, host: str, method: str
) -> None:
    engine = start(office(1))
    engine.routes.direct.add("*")
    authority = f"{host}:{engine.port}".encode()
    with engine.connect() as client:
        asked = connect(authority) if method == "CONNECT" else get(b"http://%b/" % authority)
        assert client.ask(asked, method.encode()).status == 508


def test_a_profile_with_trayproxy_as_its_upstream_is_a_loop(start: Start) -> None:
    engine = start(None)
    engine.routes.profile = office(engine.port, host="localhost")
    with engine.connect() as client:
        assert client.ask(GET).status == 508


def test_a_request_with_trayproxys_own_via_is_a_loop_r_055(
    client: ProxyClient, engine: Running
) -> None:
    via = b"Via: 1.1 elsewhere, 1.1 " + engine.engine.context.own_address.via
    assert client.ask(get(URL, via)).status == 508


def test_without_a_profile_a_503_gives_advice(start: Start) -> None:
    with start(None).connect() as client:
        reply = client.ask(GET)
        assert (reply.status, reply.closes) == (503, False)
        assert b"profile" in reply.body


# --- CONNECT ---


def test_octets_after_the_200_reach_the_client_r_033(serve: Serve) -> None:
    client, _ = serve(lambda peer: (peer.read_head(), peer.send(ESTABLISHED + b"banner")))
    assert client.ask(CONNECT, b"CONNECT").status == 200
    assert client.take(6) == b"banner"


@pytest.mark.parametrize("length", [5, 60_000, 300_000])
def test_octets_sent_with_connect_wait_for_the_200_r_034(serve: Serve, length: int) -> None:
    early, answer = body(length), Event()

    def delay(peer: ScriptedConnection) -> None:
        peer.read_head()
        assert answer.wait(20)
        assert peer.received.endswith(b"\r\n\r\n"), "octets of the tunnel came before it was open"
        peer.send(ESTABLISHED)
        peer.read(length)

    client, upstream = serve(delay)
    client.socket.setblocking(False)
    sent = client.socket.send(CONNECT + early)
    client.socket.settimeout(20)
    upstream.peer(1).wait_for(b"\r\n\r\n")
    answer.set()
    client.send((CONNECT + early)[sent:])
    assert client.reply(b"CONNECT").status == 200
    assert upstream.peer(1).wait_for(early[-16:]).endswith(b"\r\n\r\n" + early)


def test_octets_sent_with_a_refused_connect_are_not_forwarded_r_034(serve: Serve) -> None:
    client, upstream = serve(answering(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"))
    client.send(CONNECT + b"\x16\x03\x01 hello")
    assert client.reply(b"CONNECT").status == 403
    client.take_all()
    assert b"hello" not in upstream.peer(1).received


def test_a_refused_connect_opens_no_tunnel_and_keeps_the_connection_r_036(serve: Serve) -> None:
    refusal = b"HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\nnever"
    client, _ = serve(answering(refusal, OK))
    assert client.ask(CONNECT, b"CONNECT").body == b"never"
    assert client.ask(GET).body == b"ok\n"


def test_a_200_to_connect_has_no_length_and_no_close_r_032(serve: Serve) -> None:
    client, _ = serve(
        answering(b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
    )
    reply = client.ask(CONNECT, b"CONNECT")
    for name in (b"connection", b"transfer-encoding", b"content-length"):
        assert not reply.values(name)


@pytest.mark.parametrize("octets", [b"all", b""])
@pytest.mark.parametrize("is_early", [False, True], ids=["in the tunnel", "before the tunnel"])
def test_a_client_still_receives_after_its_half_close_r_035(
    start_scripted: StartScripted, octets: bytes, is_early: bool
) -> None:
    has_ended = Event()

    def reply_after_the_end(peer: ScriptedConnection) -> None:
        peer.read_head()
        assert has_ended.wait(20)
        peer.send(ESTABLISHED)
        peer.send(b"got " + peer.read_all())

    engine, _ = start_scripted(reply_after_the_end)
    with engine.connect() as client:
        client.send(CONNECT)
        if is_early:
            client.send(octets)
            client.finish()
            (work,) = engine.call(lambda: list(engine.engine.executor.works.values()))
            assert isinstance(work, ClientConnection)
            stream = work.downstream.client
            engine.until(lambda: stream.ended, "the end of the client")
        has_ended.set()
        assert client.reply(b"CONNECT").status == 200
        if not is_early:
            client.send(octets)
            client.finish()
        assert client.take_all() == b"got " + octets


def test_an_upstream_still_receives_after_its_half_close_r_035(serve: Serve) -> None:
    def end_first(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(ESTABLISHED + b"bye")
        peer.half_close()
        peer.read_all()

    client, upstream = serve(end_first)
    client.ask(CONNECT, b"CONNECT")
    assert client.take_all() == b"bye"
    client.send(b"last words")
    client.finish()
    assert upstream.peer(1).wait_for(b"last words")


def test_a_client_that_still_sends_to_a_closed_upstream_is_not_reset(serve: Serve) -> None:
    sent = body(200_000)

    def send_and_go(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(ESTABLISHED + sent)

    client, _ = serve(send_and_go)
    client.ask(CONNECT, b"CONNECT")
    assert client.take_all() == sent
    for _ in range(3):
        client.try_to_send(b"goodbye")
    client.finish()
    assert client.take_all() == b""
    assert not client.was_reset


# --- framing ---


@pytest.mark.parametrize(
    "octets", [post(URL, b"hello")[:-2], chunked(URL, b"hello")[:-5]], ids=["counted", "chunked"]
)
def test_an_incomplete_request_does_not_look_complete_r_044(serve: Serve, octets: bytes) -> None:
    client, upstream = serve(lambda peer: peer.read_all())
    client.send(octets)
    upstream.peer(1).wait_for(b"hel")
    client.finish()
    client.take_all()
    received = upstream.peer(1).received
    assert not received.endswith((b"hello", b"0\r\n\r\n"))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxx\r\n",
    ],
    ids=["counted", "chunked", "malformed"],
)
def test_an_incomplete_response_does_not_look_complete_r_044(serve: Serve, answer: bytes) -> None:
    go_on = Event()

    def cut(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(answer[:-1])
        assert go_on.wait(20)
        peer.send(answer[-1:])

    client, _ = serve(cut)
    client.send(GET)
    while b"hell" not in client.octets:
        assert client.more()
    go_on.set()
    client.take_all()
    assert client.was_reset
    assert not client.octets.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("method", "head"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n"),
    ],
)
def test_responses_without_content_do_not_delay_the_next_response_r_045(
    serve: Serve, method: bytes, head: bytes
) -> None:
    client, upstream = serve(answering(head, OK))
    assert client.ask(get(URL, method=method), method).body == b""
    assert client.ask(GET).body == b"ok\n"
    assert len(upstream.peers) == 1


def test_trailers_stay_trailers_both_ways_r_047(serve: Serve) -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"
        b"0\r\nX-Sum: 9\r\nSet-Cookie: no=1\r\n\r\n"
    )
    client, upstream = serve(answering(answer))
    client.send(chunked(URL, b"hello")[:-2] + b"X-Check: 7\r\nHost: no\r\n\r\n")
    reply = client.reply(b"POST")
    assert reply.body == b"ok"
    assert client.octets.endswith(b"0\r\nX-Sum: 9\r\n\r\n")
    assert upstream.peer(1).wait_for(b"X-Check: 7").endswith(b"\r\n0\r\nX-Check: 7\r\n\r\n")


def test_content_streams_before_it_is_complete(serve: Serve) -> None:
    def answer_in_parts(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        peer.send(peer.read(3))
        peer.send(peer.read(3))

    client, _ = serve(answer_in_parts)
    client.send(post(URL, b"onetwo")[:-3])
    while not client.octets.endswith(b"\r\n\r\none"):
        assert client.more()
    client.send(b"two")
    assert client.reply(b"POST").body == b"onetwo"


def test_an_early_response_closes_the_connection_r_048(serve: Serve) -> None:
    client, _ = serve(answering(b"HTTP/1.1 413 Too large\r\nContent-Length: 2\r\n\r\nno"))
    client.send(post(URL, body(100_000))[:-1])
    reply = client.reply(b"POST")
    assert (reply.status, reply.body, reply.closes) == (413, b"no", True)
    assert client.take_all() == b""
    assert not client.was_reset


def test_the_response_of_an_upstream_that_reads_no_more_is_not_lost_r_075(serve: Serve) -> None:
    """Squid does so above 200 kB; other proxies reset the connection (RFC 9112, section 9.6)."""

    def refuse(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 413 Too large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")

    client, _ = serve(refuse)
    client.try_to_send(post(URL, body(3_000_000)))
    assert client.reply(b"POST").status == 413


# --- Max-Forwards, TRACE ---


def test_options_with_max_forwards_zero_is_answered_by_trayproxy_r_054(
    client: ProxyClient, recorder: Recorder
) -> None:
    assert client.ask(get(URL, b"Max-Forwards: 0", method=b"OPTIONS")).status == 200
    assert not recorder.requests


@pytest.mark.parametrize("hops", [b"0", b"1", b"2"])
def test_trace_is_refused_and_no_login_is_sent_r_056(
    client: ProxyClient, recorder: Recorder, hops: bytes
) -> None:
    assert client.ask(get(URL, b"Max-Forwards: " + hops, method=b"TRACE")).status == 405
    assert not recorder.requests


# --- Upgrade ---

UPGRADE = get(URL, b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: x")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def test_a_websocket_passes_both_ways_r_061(serve: Serve) -> None:
    def echo(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(SWITCHED + b"first")
        peer.send(peer.read(4))

    client, upstream = serve(echo)
    client.send(UPGRADE)
    assert client.reply(upgrade=True).status == 101
    assert client.take(5) == b"first"
    client.send(b"ping")
    assert client.take(4) == b"ping"
    head = upstream.peer(1).received.lower()
    assert b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n" in head


def test_a_declined_upgrade_is_an_ordinary_response(serve: Serve) -> None:
    client, _ = serve(answering(OK))
    assert client.ask(UPGRADE).status == 200
    assert client.ask(GET).status == 200


def test_an_upgrade_not_named_in_connection_is_removed_r_060(
    client: ProxyClient, recorder: Recorder
) -> None:
    client.ask(get(URL, b"Upgrade: websocket"))
    assert not recorder.requests[0].values(b"upgrade")


# --- Expect and 1xx ---


def test_a_head_with_expect_continue_is_forwarded_before_its_content_r_062(serve: Serve) -> None:
    def expect(peer: ScriptedConnection) -> None:
        assert b"Expect: 100-continue" in peer.read_head()
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert peer.read(5) == b"hello"
        peer.send(OK)

    client, _ = serve(expect)
    client.send(get(URL, b"Content-Length: 5", b"Expect: 100-continue", method=b"PUT"))
    while b" 100 Continue" not in client.octets:
        assert client.more()
    client.send(b"hello")
    reply = client.reply(b"PUT")
    assert (reply.interim, reply.status) == ((100,), 200)


def test_a_final_response_instead_of_a_100_is_relayed(serve: Serve) -> None:
    client, _ = serve(answering(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"))
    client.send(get(URL, b"Content-Length: 5", b"Expect: 100-continue", method=b"PUT"))
    reply = client.reply(b"PUT")
    # The content may or may not follow, so no other request can follow.
    assert (reply.status, reply.closes) == (403, True)


def test_a_100_is_relayed_only_from_the_authenticated_upstream_r_064(serve: Serve) -> None:
    def sign_in(peer: ScriptedConnection) -> None:
        if CREDENTIALS not in peer.read_head():
            peer.send(CHALLENGE)
            peer.read_all()
            return
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        peer.read(5)
        peer.send(OK)

    client, upstream = serve(sign_in, desk=FakeBroker(LOGIN))
    client.send(get(URL, b"Content-Length: 5", b"Expect: 100-continue", method=b"PUT"))
    while b" 100 Continue" not in client.octets:
        assert client.more()
    assert len(upstream.peers) == 2
    client.send(b"hello")
    assert client.reply(b"PUT").status == 200
    assert upstream.peer(1).received.endswith(b"\r\n\r\n")


def test_interim_responses_are_relayed_in_order(serve: Serve) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    client, _ = serve(answering(b"HTTP/1.1 102 Processing\r\n\r\n" + hints + OK))
    reply = client.ask(GET)
    assert (reply.interim, reply.status) == ((102, 103), 200)


@pytest.mark.parametrize(("interim", "status"), [(100, 200), (101, 502)])
def test_a_hundred_interim_responses_are_accepted(serve: Serve, interim: int, status: int) -> None:
    client, _ = serve(answering(b"HTTP/1.1 102 Processing\r\n\r\n" * interim + OK))
    assert client.ask(GET).status == status


def test_interim_responses_are_not_relayed_to_an_http_1_0_client_r_063(serve: Serve) -> None:
    client, _ = serve(answering(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK))
    assert client.ask(get(URL, version=b"1.0")).interim == ()


# --- HTTP/1.0 ---


@pytest.mark.parametrize(
    "line", [b"X: y", b"Connection: keep-alive", b"Proxy-Connection: keep-alive"]
)
def test_the_connection_of_an_http_1_0_client_closes_after_the_response_r_070(
    client: ProxyClient, line: bytes
) -> None:
    reply = client.ask(get(URL, line, version=b"1.0"))
    assert (reply.status, reply.closes) == (200, True)
    assert client.take_all() == b""


def test_an_http_1_0_client_gets_no_chunks(serve: Serve) -> None:
    client, _ = serve(
        answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    )
    reply = client.ask(get(URL, version=b"1.0"))
    assert (reply.body, reply.values(b"transfer-encoding")) == (b"ok", [])


def test_an_http_1_0_connect_without_fields_opens_a_tunnel(client: ProxyClient) -> None:
    client.send(b"CONNECT origin.test:443 HTTP/1.0\r\n\r\n")
    assert client.reply(b"CONNECT").status == 200
    client.send(b"hello")
    assert client.take(5) == b"hello"


def test_the_response_of_an_http_1_0_upstream_ends_with_its_connection(serve: Serve) -> None:
    def old(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")

    client, _ = serve(old)
    reply = client.ask(GET)
    assert (reply.body, reply.closes) == (b"until the end", True)


def test_a_response_with_a_length_of_an_http_1_0_upstream_keeps_the_client_connection(
    serve: Serve,
) -> None:
    client, upstream = serve(answering(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"))
    for _ in range(2):
        assert client.ask(GET).body == b"ok"
    assert len(upstream.peers) == 2


# --- persistence and order ---


def test_pipelined_responses_arrive_in_the_order_of_the_requests_r_072(
    client: ProxyClient, recorder: Recorder
) -> None:
    targets = [b"http://%b.test/%d" % (name, n) for n, name in enumerate((b"a", b"b", b"a", b"c"))]
    client.send(b"".join(map(get, targets)))
    for _ in targets:
        assert client.reply().status == 200
    assert [request.target for request in recorder.requests] == targets


def test_pipelined_octets_beyond_the_limit_wait_in_the_kernel(serve: Serve) -> None:
    client, _ = serve(answering(OK))
    many = 300
    client.send(get(URL, b"X: " + b"x" * 1000) * many)
    assert [client.reply().body for _ in range(many)] == [b"ok\n"] * many


def test_a_pipelined_post_after_a_get_is_read_from_its_start(
    client: ProxyClient, recorder: Recorder
) -> None:
    client.send(GET + post(URL, b"content") + GET)
    assert [client.reply().status for _ in range(3)] == [200] * 3
    assert recorder.requests[1].body == b"content"


def test_connection_close_of_the_client_is_honoured_r_071(
    client: ProxyClient, recorder: Recorder
) -> None:
    client.send(get(URL, b"Connection: close") + GET)
    assert client.reply().closes
    assert client.take_all() == b""
    assert len(recorder.requests) == 1


def test_connection_close_of_the_upstream_does_not_close_the_client_connection(
    serve: Serve,
) -> None:
    client, upstream = serve(
        answering(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    )
    for _ in range(2):
        reply = client.ask(GET)
        assert (reply.body, reply.closes) == (b"ok", False)
    assert len(upstream.peers) == 2


@pytest.mark.parametrize("length", [0, 10_000, 200_000])
def test_an_error_page_is_not_lost_to_a_reset_r_075(engine: Running, length: int) -> None:
    with engine.connect() as client:
        bad = b"POST http://origin.test/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"
        client.try_to_send(bad + body(length))
        assert client.reply(b"POST").status == 400
        assert client.take_all() == b""
        assert not client.was_reset


def test_a_request_followed_by_a_half_close_is_answered(
    client: ProxyClient, recorder: Recorder
) -> None:
    client.send(GET)
    client.finish()
    assert client.reply().status == 200


# --- 407 ---


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"Proxy-Authenticate:\r\n",
        b"Proxy-Authenticate: Bearer realm=x\r\n",
        b"WWW-Authenticate: Basic realm=x\r\n",
        b'Proxy-Authenticate: Bearer realm="Basic realm=x"\r\n',
        b"Proxy-Authenticate: Digest realm=x\r\nProxy-Authenticate: NTLM TlRM\r\n",
    ],
)
@pytest.mark.parametrize("request_octets", [GET, CONNECT], ids=["get", "connect"])
def test_a_407_without_a_supported_scheme_gets_no_credentials_r_080(
    serve: Serve, request_octets: bytes, lines: bytes
) -> None:
    refusal = b"HTTP/1.1 407 x\r\n%bContent-Length: 0\r\n\r\n" % lines
    client, upstream = serve(answering(refusal), desk=FakeBroker(LOGIN))
    client.send(request_octets)
    assert client.reply(request_octets.split(b" ")[0]).status == 503
    assert all(b"Proxy-Authorization" not in peer.received for peer in upstream.peers)


def test_no_octet_of_a_407_reaches_the_client_r_057_r_083(serve: Serve) -> None:
    refusal = (
        b"HTTP/1.1 407 Secret Reason\r\nProxy-Authenticate: Basic realm=secret\r\n"
        b"Set-Cookie: secret=1\r\nContent-Length: 11\r\n\r\nsecret page"
    )
    client, _ = serve(answering(refusal, OK), desk=FakeBroker(LOGIN))
    assert client.ask(GET).status == 200
    assert b"secret" not in client.octets.lower()


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
def test_a_declined_sign_in_is_a_503_r_083(start_scripted: StartScripted, method: str) -> None:
    engine, upstream = start_scripted(answering(CHALLENGE))
    with engine.connect() as client:
        client.send(GET if method == "GET" else CONNECT)
        engine.desk.wait_for_challenged(1)
        engine.call(engine.desk.refuse_all)
        reply = client.reply(method.encode())
        assert (reply.status, reply.closes, reply.values(b"retry-after")) == (503, False, [b"5"])
        assert not reply.values(b"proxy-authenticate")
    assert b"Proxy-Authorization" not in upstream.peer(1).received


def test_a_407_in_a_profile_without_sign_in_is_a_502_r_083(
    start: Start, script: MakeUpstream
) -> None:
    upstream = script(answering(CHALLENGE))
    engine = start(office(upstream.port, sign_in=SignIn.NONE), FakeBroker(LOGIN, is_known=True))
    with engine.connect() as client:
        assert client.ask(GET).status in (502, 503)
    assert not engine.desk.challenged_requests
    assert b"Proxy-Authorization" not in upstream.peer(1).received


def test_every_request_of_a_connection_contains_the_login_once(serve: Serve) -> None:
    client, upstream = serve(answering(CHALLENGE, OK), desk=FakeBroker(LOGIN))
    foreign = b"Proxy-Authorization: Basic Zm9vOmJhcg=="
    for octets in (GET, get(URL, foreign), get(b"http://other.test/")):
        assert client.ask(octets).status == 200
    client.send(GET + get(URL, foreign))
    assert [client.reply().status for _ in range(2)] == [200, 200]
    received = upstream.peer(1).received
    assert received.count(CREDENTIALS) == received.count(b"Proxy-Authorization") == 5


def test_a_407_on_an_accepted_connection_asks_the_desk_again(start_scripted: StartScripted) -> None:
    engine, _ = start_scripted(answering(CHALLENGE, OK, OK, CHALLENGE), desk=FakeBroker(LOGIN))
    with engine.connect() as client:
        assert [client.ask(GET).status for _ in range(3)] == [200, 200, 503]
    assert [request.refused is not None for request in engine.desk.challenged_requests] == [
        False,
        True,
    ]


BASIC_LINE = b'Proxy-Authenticate: Basic realm="corp"\r\n'


@pytest.mark.parametrize(
    ("refusal", "ends"),
    [
        (CHALLENGE[:-2] + b"Connection: close\r\n\r\n", False),
        (CHALLENGE[:-2] + b"Proxy-Connection: close\r\n\r\n", False),
        (b"HTTP/1.0 407 x\r\n" + BASIC_LINE + b"Content-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 407 x\r\n" + BASIC_LINE + b"\r\nno", True),
        (b"HTTP/1.1 407 x\r\n" + BASIC_LINE + b"\r\nno", True),
    ],
    ids=["close", "proxy-close", "1.0", "1.0 until its end", "1.1 until its end"],
)
def test_a_407_that_closes_is_answered_on_a_new_connection_r_085(
    serve: Serve, refusal: bytes, ends: bool
) -> None:
    def refuse(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(refusal)
        if ends:
            peer.half_close()
        peer.read_all()

    client, upstream = serve(refuse, answering(OK), desk=FakeBroker(LOGIN))
    assert client.ask(GET).status == 200
    assert CREDENTIALS not in upstream.peer(1).received
    assert CREDENTIALS in upstream.peer(2).received


def test_a_parked_request_continues_after_the_prompt_was_answered(
    start_scripted: StartScripted,
) -> None:
    engine, _ = start_scripted(answering(CHALLENGE), answering(OK))
    with engine.connect() as client:
        client.send(GET)
        engine.desk.wait_for_challenged(1)
        engine.call(engine.desk.release_all)
        assert client.reply().body == b"ok\n"
    assert [answer.login for answer in engine.desk.accepted] == [LOGIN]


@pytest.mark.parametrize("end", ["closes", "resets", "says nothing", "speaks gibberish"])
def test_an_attempt_without_a_response_is_no_rejection(
    start_scripted: StartScripted, end: str
) -> None:
    def fail(peer: ScriptedConnection) -> None:
        # After a reset, the proxy may not have read the login, which is then sent again.
        if b"proxy-authorization" not in peer.read_head().lower():
            peer.send(CHALLENGE)
            peer.read_head()
        if end == "resets":
            peer.reset()
        elif end == "says nothing":
            peer.hang()
        elif end == "speaks gibberish":
            peer.send(b"gibberish\r\n\r\n")

    engine, _ = start_scripted(
        fail, desk=FakeBroker(LOGIN), limits=EngineLimits(response_head_s=0.2)
    )
    with engine.connect() as client:
        # 503: the request went back to the desk, which has no login for it.
        assert client.ask(GET).status in (502, 503, 504)
    assert len(engine.desk.without_verdict) == 1
    assert not engine.desk.accepted
