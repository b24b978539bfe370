"""The error page after a timeout names the slow site, not a proxy which answers other requests."""

import socket

import pytest

from tests.engine.conftest import Serve, Start, StartScripted
from tests.engine.fakes import LOGIN, FakeBroker, office
from tests.engine.running import Running
from tests.engine.wire import Reply, connect, get
from tests.support.scripted_upstream import (
    OK,
    ScriptedConnection,
    ScriptedUpstream,
    answering,
    challenge,
    echoing,
    hanging,
)
from trayproxy.engine.limits import LIMITS, EngineLimits
from trayproxy.engine.server.client_connection import ClientConnection

QUICK = get(b"http://quick.test/")
SLOW = get(b"http://slow.test/")
TUNNEL = connect(b"slow.test:443")
SOON = EngineLimits(response_head_s=0.3, connect_response_head_s=0.3)


def slow_sites(peer: ScriptedConnection) -> None:
    """A proxy which responds for quick.test and never for slow.test."""
    while True:
        head = peer.read_head()
        if b"slow.test" in head:
            peer.hang()
        peer.send(OK)


def ask_while_another_is_answered(engine: Running, octets: bytes) -> Reply:
    """Request a slow site, and a quick site while the slow request is waiting."""
    with engine.connect() as slow, engine.connect() as quick:
        slow.send(octets)
        engine.until(lambda: has_waiting_request(engine), "the request on its way")
        assert quick.ask(QUICK).status == 200
        return slow.reply(octets.split(b" ")[0])


def has_waiting_request(engine: Running) -> bool:
    works = [
        work for work in engine.engine.executor.works.values() if isinstance(work, ClientConnection)
    ]
    return any(
        work.downstream.upstream is not None and not work.is_between_requests for work in works
    )


@pytest.mark.parametrize("octets", [SLOW, TUNNEL], ids=["GET", "CONNECT"])
def test_a_slow_site_is_named_if_the_proxy_answers_other_requests(
    start_scripted: StartScripted, octets: bytes
) -> None:
    engine, _ = start_scripted(slow_sites, limits=SOON)
    reply = ask_while_another_is_answered(engine, octets)
    assert reply.status == 504
    assert b"<h1>slow.test does not answer</h1>" in reply.body
    assert b"The proxy answers" in reply.body
    assert b"TP-203" not in reply.body
    assert b"error=http_response_timeout;" in reply.values(b"proxy-status")[0]
    assert not engine.observer.failures


def test_a_slow_site_is_named_if_the_proxy_has_just_sent_a_407(
    start_scripted: StartScripted,
) -> None:
    def ask_and_wait(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(challenge('Basic realm="r"'))
        peer.read_head()
        peer.hang()

    engine, _ = start_scripted(ask_and_wait, desk=FakeBroker(LOGIN), limits=SOON)
    with engine.connect() as client:
        assert b"<h1>slow.test does not answer</h1>" in client.ask(SLOW).body
    assert not engine.observer.failures


def test_a_get_has_a_longer_limit_than_a_connect() -> None:
    assert LIMITS.response_head_limit_s(b"GET") == LIMITS.response_head_limit_s(b"POST") == 900
    assert LIMITS.response_head_limit_s(b"CONNECT") == 60


@pytest.mark.parametrize("octets", [SLOW, TUNNEL], ids=["GET", "CONNECT"])
@pytest.mark.parametrize("others", [True, False], ids=["others are answered", "nobody is"])
def test_the_fast_path_names_the_same_party(
    start_scripted: StartScripted, octets: bytes, others: bool
) -> None:
    opened = b"HTTP/1.1 200 OK\r\n\r\n"

    def first(peer: ScriptedConnection) -> None:
        head = peer.read_head()
        peer.send(opened if head.startswith(b"CONNECT") else OK)

    method = octets.split(b" ")[0]
    # The limit of the other method is never reached.
    get_s, tunnel_s = (1000.0, 0.3) if method == b"CONNECT" else (0.3, 1000.0)
    limits = EngineLimits(response_head_s=get_s, connect_response_head_s=tunnel_s)
    engine, _ = start_scripted(first, slow_sites, limits=limits)
    with engine.connect() as client:
        assert client.ask(octets, method).status == 200
    engine.until_clients_left()
    engine.until_pool_is_empty()
    if others:
        reply = ask_while_another_is_answered(engine, octets)
        assert b"<h1>slow.test does not answer</h1>" in reply.body
    else:
        with engine.connect() as client:
            reply = client.ask(octets, method)
        named = [b"No answer came from slow.test", b"The proxy 127.0.0.1 took the request"]
        if method == b"CONNECT":
            named = [b"<h1>127.0.0.1 does not answer</h1>"]
        assert all(name in reply.body for name in named)
        assert [page.code for page in engine.observer.failures] == ["TP-203"] * (len(named) == 1)
    assert reply.status == 504


def test_a_silent_site_on_a_direct_route_is_named(start: Start) -> None:
    with ScriptedUpstream(hanging) as site:
        engine = start(office(1), limits=SOON)
        engine.routes.direct.add("*")
        with engine.connect() as client:
            reply = client.ask(get(b"http://127.0.0.1:%d/" % site.port))
        assert reply.status == 504
        assert b"<h1>127.0.0.1 does not answer</h1>" in reply.body


def test_keep_alive_is_enabled_while_a_response_is_awaited(start_scripted: StartScripted) -> None:
    engine, _ = start_scripted(hanging)
    with engine.connect() as client:
        client.send(SLOW)
        engine.until(lambda: has_keepalive(engine), "the kernel's probing")


def test_keep_alive_is_enabled_in_a_tunnel(start_scripted: StartScripted) -> None:
    engine, _ = start_scripted(echoing)
    with engine.connect() as client:
        assert client.ask(TUNNEL, b"CONNECT").status == 200
        engine.until(lambda: has_keepalive(engine), "the kernel's probing")


def has_keepalive(engine: Running) -> bool:
    works = [
        work for work in engine.engine.executor.works.values() if isinstance(work, ClientConnection)
    ]
    connections = [
        work.downstream.upstream for work in works if work.downstream.upstream is not None
    ]
    return any(
        one.stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) for one in connections
    )


def test_a_response_before_the_request_is_no_evidence(serve: Serve) -> None:
    # What the proxy answered before the request says nothing about the time since.
    def one_answer(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(OK)
        peer.read_head()
        peer.hang()

    client, _ = serve(one_answer, limits=SOON)
    assert client.ask(QUICK).status == 200
    assert b"<h1>No answer came from slow.test</h1>" in client.ask(SLOW).body


def test_the_client_connection_is_kept_after_a_504(serve: Serve) -> None:
    client, _ = serve(hanging, answering(OK), limits=SOON)
    assert client.ask(SLOW).status == 504
    assert client.ask(QUICK).body == b"ok\n"
