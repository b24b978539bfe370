"""Tests for tests.support.scripted_upstream, with curl and bare sockets."""

import socket

import pytest

from tests.support.clients import Clients
from tests.support.scripted_upstream import (
    ESTABLISHED,
    OK,
    ScriptedConnection,
    ScriptedUpstream,
    answering,
    challenge,
    closing_early,
    echoing,
    hanging,
    resetting,
    silent,
)

GET = b"GET http://www.test.lan/ HTTP/1.1\r\nHost: www.test.lan\r\n\r\n"


def connect(upstream: ScriptedUpstream) -> socket.socket:
    return socket.create_connection((upstream.host, upstream.port), timeout=20)


def test_each_connection_has_its_script(clients: Clients) -> None:
    basic = challenge('Basic realm="x"')
    with ScriptedUpstream(answering(basic), answering(OK)) as upstream:
        proxy = ("-x", upstream.url, "-o", "/dev/null", "-w", "%{http_code}")
        codes = [clients.curl(*proxy, "http://www.test.lan/").result().out for _ in range(3)]
        assert codes == ["407", "200", "200"]
        assert upstream.peer(3).received.startswith(b"GET http://www.test.lan/ HTTP/1.1\r\n")


def test_a_connection_gets_several_responses() -> None:
    with (
        ScriptedUpstream(answering(challenge("Basic"), OK)) as upstream,
        connect(upstream) as client,
    ):
        client.sendall(GET)
        assert client.recv(4096).startswith(b"HTTP/1.1 407 ")
        client.sendall(GET)
        assert client.recv(4096) == OK


@pytest.mark.parametrize("script", [silent, hanging])
def test_an_upstream_may_send_no_response(clients: Clients, script: object) -> None:
    assert callable(script)
    with ScriptedUpstream(script) as upstream:
        got = clients.curl("-x", upstream.url, "-m", "0.5", "http://www.test.lan/").result()
        assert got.code == 28


def test_a_client_receives_a_reset() -> None:
    with ScriptedUpstream(resetting) as upstream, connect(upstream) as client:
        client.sendall(GET)
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_client_receives_an_early_end() -> None:
    with ScriptedUpstream(closing_early) as upstream, connect(upstream) as client:
        client.sendall(GET)
        assert client.recv(1) == b""


def test_a_half_close_leaves_the_other_direction_open() -> None:
    def play(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(ESTABLISHED)
        peer.half_close()
        peer.read_all()

    with ScriptedUpstream(play) as upstream, connect(upstream) as client:
        client.sendall(b"CONNECT www.test.lan:443 HTTP/1.1\r\nHost: www.test.lan:443\r\n\r\n")
        stream = client.makefile("rb")
        assert stream.read() == ESTABLISHED
        client.sendall(b"late")
        assert upstream.peer(1).wait_for(b"late").endswith(b"late")
        stream.close()


def test_a_tunnel_echoes() -> None:
    with ScriptedUpstream(echoing) as upstream, connect(upstream) as client:
        client.sendall(b"CONNECT a:1 HTTP/1.1\r\n\r\nearly")
        client.shutdown(socket.SHUT_WR)
        stream = client.makefile("rb")
        assert stream.read() == ESTABLISHED + b"early"
        stream.close()
