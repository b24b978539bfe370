"""Clients that speak SOCKS5 at the local address."""

import logging

import pytest

from tests.engine.conftest import MakeUpstream, Start, StartScripted
from tests.engine.fakes import LOGIN, FakeBroker, office
from tests.engine.recorder import Recorder
from tests.engine.running import LOOPS, Running
from tests.engine.wire import ProxyClient, get
from tests.support.scripted_upstream import ESTABLISHED, ScriptedConnection, answering, challenge
from trayproxy.engine.limits import EngineLimits

GREETING = b"\x05\x01\x00"
REQUEST = b"\x05\x01\x00\x03\x08www.test\x01\xbb"
SUCCEEDED = b"\x05\x00\x00\x01" + bytes(6)


def refused(reply: int) -> bytes:
    return b"\x05\x00" + bytes((5, reply, 0, 1)) + bytes(6)


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def opening(peer: ScriptedConnection) -> None:
    """Open a tunnel, send first, and then send back what the client has sent."""
    peer.read_head()
    peer.send(ESTABLISHED + b"banner")
    peer.send(peer.read_all())


@pytest.mark.parametrize("engines_loop", list(LOOPS.values()), ids=list(LOOPS))
@pytest.mark.parametrize("is_slow", [False, True])
def test_a_request_becomes_a_tunnel(start_scripted: StartScripted, is_slow: bool) -> None:
    engine, upstream = start_scripted(opening)
    with engine.connect() as client:
        octets = GREETING + REQUEST + b"ahead"
        client.send(*(octets[n : n + 1] for n in range(len(octets))) if is_slow else (octets,))
        assert client.take(2 + 10 + 6) == b"\x05\x00" + SUCCEEDED + b"banner"
        client.send(b" and later")
        client.finish()
        assert client.take_all() == b"ahead and later"
    head = upstream.peer(1).received.partition(b"ahead")[0]
    assert head.startswith(b"CONNECT www.test:443 HTTP/1.1\r\nHost: www.test:443\r\nVia: ")
    assert not engine.desk.challenged_requests


def test_a_client_waits_while_the_user_signs_in(start_scripted: StartScripted) -> None:
    desk = FakeBroker()
    sign_in = challenge('Basic realm="c"')
    engine, upstream = start_scripted(answering(sign_in), opening, desk=desk)
    with engine.connect() as client:
        client.send(GREETING + REQUEST)
        desk.wait_for_challenged(1)
        assert client.take(2) == b"\x05\x00"
        assert not client.unread
        engine.call(lambda: desk.release_all(LOGIN))
        assert client.take(16) == SUCCEEDED + b"banner"
    assert b"Proxy-Authorization: Basic " in upstream.peer(2).received


def test_a_declined_sign_in_is_a_general_failure(start_scripted: StartScripted) -> None:
    desk = FakeBroker()
    engine, _ = start_scripted(answering(challenge('Basic realm="c"')), desk=desk)
    with engine.connect() as client:
        client.send(GREETING + REQUEST)
        desk.wait_for_challenged(1)
        engine.call(desk.refuse_all)
        assert client.take_all() == refused(1)
    assert any("got reply 1: Sign-in was cancelled (TP-301)" in line for line in lines(engine))


@pytest.mark.parametrize(
    ("status", "reply"),
    [
        (b"403 Forbidden", 2),
        (b"404 Not Found", 4),
        (b"503 Service Unavailable", 4),
        (b"500 Error", 1),
        (b"302 Found", 1),
    ],
)
def test_a_refusal_of_the_proxy_is_a_reply(
    start_scripted: StartScripted, status: bytes, reply: int
) -> None:
    page = b"HTTP/1.1 %b\r\nContent-Length: 8\r\nLocation: /\r\n\r\n<secret>" % status
    engine, _ = start_scripted(answering(page))
    with engine.connect() as client:
        client.send(GREETING + REQUEST)
        assert client.take_all() == refused(reply)
    engine.settle()
    assert not engine.idle_connections()


@pytest.mark.parametrize(
    ("octets", "reply", "words"),
    [
        (b"\x05\x01\x02", b"\x05\xff", "it does not offer no authentication (TP-112)"),
        (GREETING + REQUEST.replace(b"\x05\x01", b"\x05\x03", 1), refused(7), "BIND or UDP"),
        (GREETING + b"GET / HTTP/1.1\r\n\r\n", refused(1), "not one of SOCKS5"),
        (GREETING + b"\x05\x01\x00\x09", refused(8), "unknown type"),
        (b"\x05", b"", "disconnected in the middle of its request"),
        (GREETING + REQUEST[:7], b"\x05\x00", "disconnected in the middle of its request"),
    ],
)
def test_other_clients_get_a_reply_and_the_log_the_reason(
    start_scripted: StartScripted, octets: bytes, reply: bytes, words: str
) -> None:
    engine, upstream = start_scripted(answering())
    with engine.connect() as client:
        client.send(octets)
        client.finish()
        assert client.take_all() == reply
    engine.settle()
    assert any(words in line for line in lines(engine))
    assert not upstream.peers


def test_a_slow_client_has_a_deadline(start: Start, recorder: Recorder) -> None:
    engine = start(office(recorder.port), limits=EngineLimits(head_s=0.01))
    with engine.connect() as client:
        client.send(GREETING)
        assert client.take_all() == b"\x05\x00"
    assert any("sent no complete request in time (TP-112)" in line for line in lines(engine))


def test_a_request_for_trayproxy_itself_is_a_loop(start: Start, recorder: Recorder) -> None:
    engine = start(office(recorder.port))
    with engine.connect() as client:
        client.send(GREETING + b"\x05\x01\x00\x01\x7f\x00\x00\x01" + engine.port.to_bytes(2, "big"))
        assert client.take_all() == refused(2)


def test_without_a_profile_no_tunnel_opens(start: Start) -> None:
    with start(None).connect() as client:
        client.send(GREETING + REQUEST)
        assert client.take_all() == refused(1)


def test_a_direct_tunnel_reaches_the_site(start: Start, script: MakeUpstream) -> None:
    origin = script(lambda peer: peer.send(peer.read(4).upper()))
    engine = start(office(1))
    engine.routes.direct.add("127.0.0.1")
    target = b"\x05\x01\x00\x01\x7f\x00\x00\x01" + origin.port.to_bytes(2, "big")
    with engine.connect() as client:
        client.send(GREETING + target + b"abcd")
        assert client.take(16) == b"\x05\x00" + SUCCEEDED + b"ABCD"
    origin.close()
    with engine.connect() as client:
        client.send(GREETING + target)
        assert client.take_all() == refused(5)


def test_only_the_first_octet_of_a_connection_selects_socks(
    engine: Running, client: ProxyClient, recorder: Recorder
) -> None:
    # The second request takes the fast path.
    for _ in range(2):
        assert client.ask(get(b"http://www.test/")).status == 200
    client.send(GREETING)
    assert client.ask(b"", b"GET").status == 400


def lines(engine: Running) -> list[str]:
    return engine.complaints.lines
