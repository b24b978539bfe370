"""A request on a reused connection that turns out to be dead is sent once more, on a new one."""

from functools import partial

import pytest

from tests.engine.conftest import Serve
from tests.engine.fakes import desk_for
from tests.engine.wire import connect, get
from tests.support.scripted_upstream import (
    ESTABLISHED,
    OK,
    Script,
    ScriptedConnection,
    answering,
    challenge,
    closing_early,
)
from trayproxy.engine.net import socket_stream

FIRST, SECOND = get(b"http://first.test/"), get(b"http://second.test/")
TUNNEL = connect(b"second.test:443")
POST = b"POST http://second.test/ HTTP/1.1\r\nHost: second.test\r\nContent-Length: 2\r\n\r\nhi"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up a dead connection after the first retransmission."""
    monkeypatch.setattr(socket_stream, "STALLED_MS", 150)
    monkeypatch.setattr(socket_stream, "STALLED_RETRANSMITS", 1)


def vanishing(peer: ScriptedConnection) -> None:
    """Answer once; then neither read nor acknowledge anything."""
    peer.read_head()
    peer.vanish()
    peer.send(OK)
    peer.hang()


def closing_on_reuse(peer: ScriptedConnection) -> None:
    """Answer once; close the connection instead of a second response."""
    peer.read_head()
    peer.send(OK)
    peer.read_head()


def resetting_on_reuse(peer: ScriptedConnection) -> None:
    """Answer once; reset the connection instead of a second response."""
    peer.read_head()
    peer.send(OK)
    peer.read_head()
    peer.reset()


def signing_in(peer: ScriptedConnection, *, vanishes: bool) -> None:
    """Require an NTLM-like handshake, and answer one request."""
    while b"NTLM dGhyZWU=" not in (head := peer.read_head()):
        peer.send(challenge("NTLM dHdv" if b"NTLM b25l" in head else "NTLM"))
    if vanishes:
        peer.vanish()
    peer.send(ESTABLISHED if head.startswith(b"CONNECT") else OK)
    peer.hang()


@pytest.mark.parametrize("ending", [vanishing, closing_on_reuse, resetting_on_reuse])
@pytest.mark.parametrize("request_", [SECOND, FIRST], ids=["slow path", "fast path"])
def test_a_request_on_a_dead_connection_is_sent_once_more(
    serve: Serve, ending: Script, request_: bytes
) -> None:
    client, upstream = serve(ending, answering(OK))
    assert client.ask(FIRST).status == 200
    assert client.ask(request_).status == 200
    assert len(upstream.peers) == 2
    assert upstream.peer(2).received.count(b"GET ") == 1


def test_a_request_is_repeated_only_once(serve: Serve) -> None:
    client, upstream = serve(closing_on_reuse, closing_early, answering(OK))
    assert client.ask(FIRST).status == 200
    assert client.ask(SECOND).status == 502
    assert len(upstream.peers) == 2


def test_a_post_that_may_have_had_an_effect_is_not_repeated(serve: Serve) -> None:
    client, upstream = serve(closing_on_reuse, answering(OK))
    assert client.ask(FIRST).status == 200
    assert client.ask(POST).status == 502
    assert len(upstream.peers) == 1


@pytest.mark.parametrize("octets", [SECOND, TUNNEL], ids=["GET", "CONNECT"])
def test_a_dead_authenticated_connection_is_replaced_after_a_new_handshake(
    serve: Serve, octets: bytes
) -> None:
    scripts = (partial(signing_in, vanishes=True), partial(signing_in, vanishes=False))
    client, upstream = serve(*scripts, desk=desk_for())
    assert client.ask(FIRST).status == 200
    assert client.ask(octets, octets.partition(b" ")[0]).status == 200
    assert upstream.peer(1).received.count(b"NTLM dGhyZWU=") == 1
    assert upstream.peer(2).received.count(b"NTLM dGhyZWU=") == 1
