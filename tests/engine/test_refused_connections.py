"""Tests for trayproxy.engine.server.refused_connections: the response to refused connections."""

import asyncio
import socket
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tests.engine.conftest import Start
from tests.engine.fakes import RefusalRecorder, office
from tests.engine.running import NewLoop, Running
from tests.engine.wire import connect, get, post
from tests.support.process_output import PATIENCE
from trayproxy.desktop.socket_owner.base import Endpoint, SocketOwner
from trayproxy.engine.error_pages import ErrorPage, write_page
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.server.access_control import AccessControl
from trayproxy.engine.server.refused_connections import RefusedConnections

OWN, OTHER = 1000, 1001
GET = get(b"http://origin.test/")
ADDRESS = "127.0.0.1:3128"


class OtherUserLookup:
    """An owner look-up that reports another user for every connection."""

    def owner_of(self, local: Endpoint, peer: Endpoint, family: int) -> SocketOwner:
        return SocketOwner(OTHER, is_open=True)

    def close(self) -> None: ...


@pytest.fixture
def refusals() -> RefusalRecorder:
    return RefusalRecorder()


@pytest.fixture
def engine(start: Start, refusals: RefusalRecorder) -> Running:
    """An engine that refuses every client, and closes refused connections late."""
    limits = replace(EngineLimits(), linger_s=600.0)
    access_control = AccessControl(OtherUserLookup(), OWN, on_refused=refusals)
    return start(office(1), limits=limits, access_control=access_control)


@pytest.mark.parametrize(
    "octets",
    [b"", GET, connect(b"origin.test:443"), post(b"http://origin.test/", bytes(100_000)), b"\x16"],
    ids=["nothing", "GET", "CONNECT", "POST", "not HTTP"],
)
def test_the_403_gives_the_reason_and_advice(
    engine: Running, refusals: RefusalRecorder, octets: bytes
) -> None:
    with engine.connect() as client:
        client.try_to_send(octets)
        reply = client.reply()
        assert reply.status == 403
        assert reply.reason.startswith(b"TrayProxy serves only its own user; allow_users adds")
        assert b"allow_users = [&quot;name&quot;] below [listen]" in reply.body
        assert ADDRESS.partition(":")[0].encode() in reply.body
        assert reply.closes
        assert client.take_all() == b""
        assert not client.was_reset
    assert engine.call(lambda: len(refusals.users)) == 1
    assert engine.holdings().connections == 0


def test_a_request_after_the_response_causes_no_reset(engine: Running) -> None:
    with engine.connect() as client:
        assert client.more()  # The response has arrived.
        client.send(GET, GET)
        assert client.reply().status == 403
        assert client.take_all() == b""
        assert not client.was_reset


def test_no_octet_is_read(new_loop: NewLoop) -> None:
    """The octets of the client stay in the receive buffer."""
    loop = new_loop()
    with ExitStack() as stack:
        stack.callback(loop.close)
        refused_connections = stack.enter_context(
            closing(RefusedConnections(loop, EngineLimits(), lambda _: ADDRESS))
        )
        theirs, ours = (stack.enter_context(end) for end in pair())
        theirs.sendall(GET)
        copy = stack.enter_context(ours.dup())
        refused_connections.answer_then_close(ours)
        assert theirs.recv(1 << 16).startswith(b"HTTP/1.1 403 ")
        assert copy.recv(1 << 16) == GET


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two sockets of a connection, that of the client first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), 20)
        accepted, _ = listener.accept()
        accepted.setblocking(False)
        return client, accepted


@pytest.fixture
def refused_connections(loop: AbstractEventLoop) -> Iterator[RefusedConnections]:
    """Return an instance; the test runs its event loop."""
    limits = replace(EngineLimits(), linger_s=0.05, max_clients=64)
    with closing(RefusedConnections(loop, limits, lambda _: ADDRESS)) as made:
        yield made


def test_a_connection_is_closed_after_a_moment(
    loop: AbstractEventLoop, refused_connections: RefusedConnections
) -> None:
    client, accepted = pair()
    with client:
        refused_connections.answer_then_close(accepted)
        assert accepted.fileno() == -1
        assert len(refused_connections) == 1
        run_until_empty(loop, refused_connections)
        client.sendall(GET)
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 403 ")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            client.sendall(bytes(1 << 24))


def test_the_response_waits_for_the_inquiry(
    loop: AbstractEventLoop, refused_connections: RefusedConnections
) -> None:
    """The program might exit after the response, and could then not be identified."""
    inquiry = loop.create_future()
    client, accepted = pair()
    with client:
        refused_connections.answer_then_close(accepted, inquiry)
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)
        inquiry.set_result(None)
        loop.run_until_complete(asyncio.sleep(0))
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 403 ")


def test_the_response_is_sent_if_the_inquiry_takes_too_long(
    loop: AbstractEventLoop, refused_connections: RefusedConnections
) -> None:
    inquiry = loop.create_future()
    client, accepted = pair()
    with client:
        refused_connections.answer_then_close(accepted, inquiry)
        run_until_empty(loop, refused_connections)
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 403 ")
        assert client.recv(1) == b""


def run_until_empty(loop: AbstractEventLoop, refused_connections: RefusedConnections) -> None:
    """Run the loop until all connections are closed."""
    deadline = loop.time() + PATIENCE
    while len(refused_connections):
        assert loop.time() < deadline
        loop.run_until_complete(asyncio.sleep(0.001))


def test_above_the_limit_the_oldest_connection_is_closed(
    refused_connections: RefusedConnections,
) -> None:
    """Many connections occupy neither descriptors nor memory for unread octets."""
    with ExitStack() as stack:
        clients = []
        for _ in range(20):
            client, accepted = pair()
            clients.append(stack.enter_context(client))
            refused_connections.answer_then_close(accepted)
        assert len(refused_connections) == 4
        for client in clients:
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 403 ")


def test_each_connection_is_closed_at_its_own_time() -> None:
    timers: list[tuple[float, Callable[[], None]]] = []
    clock = SimpleNamespace(now=100.0)
    cancelled: list[bool] = []

    def call_at(when: float, callback: Callable[[], None]) -> SimpleNamespace:
        timers.append((when, callback))
        return SimpleNamespace(cancel=lambda: cancelled.append(True))

    loop: Any = SimpleNamespace(
        time=lambda: clock.now,
        call_at=call_at,
        call_later=lambda delay, callback: call_at(clock.now + delay, callback),
    )
    refused_connections = RefusedConnections(loop, EngineLimits(), lambda _: ADDRESS)
    with refuse_client(refused_connections):
        clock.now += 0.5
        with refuse_client(refused_connections):
            for when, left in ((102.0, 1), (102.5, 0)):
                clock.now, (due, close_old) = when, timers.pop()
                assert (due, timers) == (when, [])
                close_old()
                assert len(refused_connections) == left
            assert timers == []
            with refuse_client(refused_connections):
                assert [due for due, _ in timers] == [104.5]
                refused_connections.close()
                assert cancelled == [True]


def test_a_disconnected_client_is_not_kept(refused_connections: RefusedConnections) -> None:
    client, accepted = pair()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    with accepted:
        refused_connections.answer_then_close(accepted)
        assert len(refused_connections) == 0
        assert accepted.fileno() >= 0


def test_close_closes_all_connections(refused_connections: RefusedConnections) -> None:
    client, accepted = pair()
    with client:
        refused_connections.answer_then_close(accepted)
        refused_connections.close()
        assert len(refused_connections) == 0


@pytest.mark.parametrize(
    ("clients", "kept"), [(1, 1), (16, 1), (31, 1), (32, 2), (1023, 63), (1024, 64), (8192, 64)]
)
def test_the_limit_depends_on_the_maximum_number_of_clients(clients: int, kept: int) -> None:
    loop = asyncio.new_event_loop()
    limits = replace(EngineLimits(), linger_s=600.0, max_clients=clients)
    with ExitStack() as stack:
        stack.callback(loop.close)
        refused_connections = stack.enter_context(
            closing(RefusedConnections(loop, limits, lambda _: ADDRESS))
        )
        for _ in range(kept + 2):
            theirs, ours = (stack.enter_context(end) for end in socket.socketpair())
            refused_connections.answer_then_close(ours)
            assert theirs.recv(1 << 16).startswith(b"HTTP/1.1 403 ")
        assert len(refused_connections) == kept


def test_the_page_shows_the_current_address_and_is_written_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[str] = []

    def counted(page: ErrorPage, *, address: str, **others: Any) -> bytes:
        written.append(address)
        return write_page(page, address=address, **others)

    monkeypatch.setattr("trayproxy.engine.server.refused_connections.write_page", counted)
    loop, addresses = asyncio.new_event_loop(), ["127.0.0.1:3128", "127.0.0.1:3129"]
    with ExitStack() as stack:
        stack.callback(loop.close)
        refused_connections = stack.enter_context(
            closing(RefusedConnections(loop, EngineLimits(), lambda _: addresses[0]))
        )
        for _ in range(2):
            for _ in range(2):
                theirs, ours = (stack.enter_context(end) for end in socket.socketpair())
                refused_connections.answer_then_close(ours)
                page = theirs.recv(1 << 16)
                assert addresses[0].encode() in page
                assert theirs.recv(1) == b""  # No further octets are written.
            addresses.append(addresses.pop(0))
    assert written == addresses


def test_a_connection_after_the_first_timer_is_closed_too(
    loop: AbstractEventLoop, refused_connections: RefusedConnections
) -> None:
    for _ in range(2):
        with refuse_client(refused_connections) as client:
            run_until_empty(loop, refused_connections)
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 403 ")
            assert client.recv(1) == b""


def refuse_client(refused_connections: RefusedConnections) -> socket.socket:
    """Refuse a connection, and return the socket of its client."""
    client, accepted = pair()
    refused_connections.answer_then_close(accepted)
    return client


def test_close_answers_connections_with_a_pending_inquiry(
    loop: AbstractEventLoop, refused_connections: RefusedConnections
) -> None:
    inquiry = loop.create_future()
    client, accepted = pair()
    with client:
        refused_connections.answer_then_close(accepted, inquiry)
        refused_connections.close()
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 403 ")
        assert client.recv(1) == b""
        # The late result of the inquiry is ignored.
        inquiry.set_result(None)
        loop.run_until_complete(asyncio.sleep(0))
