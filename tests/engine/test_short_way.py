"""The short way does what the story would do, also where something else happens at the same time."""

import socket
from collections.abc import Callable
from contextlib import ExitStack
from threading import Event

import pytest

from tests.engine.conftest import Start
from tests.engine.fakes import LOGIN, FakeDesk, office
from tests.engine.running import NewLoop, Running
from tests.engine.wire import chunked, connect, get, post
from tests.support.scripted import ESTABLISHED, OK, Peer, Scripted, answering

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
    client = engine.connect()
    client.send(CONNECT)
    assert asked.wait(20)

    def both_at_once() -> None:
        # The answer first: `epoll` tells in the order in which descriptors became ready.
        go_on.set()
        work = next(iter(engine.engine.executor.works.values()))
        work.upstream.stream.socket.setblocking(True)
        work.upstream.stream.socket.recv(1, socket.MSG_PEEK)
        work.upstream.stream.socket.setblocking(False)
        client.reset()

    engine.call(both_at_once)
    engine.until(lambda: not engine.engine.executor.works, "the end of the client")
    assert not any(engine.call(lambda: list(engine.engine.pool._idle.values())))
    with engine.connect() as other:
        assert other.ask(GET).status == 200
    assert b"GET" not in upstream.peers[1].received
