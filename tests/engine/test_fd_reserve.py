"""Tests for trayproxy.engine.server.fd_reserve: responses without free descriptors (F23)."""

import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from threading import Thread
from typing import Any, cast

import pytest

from tests.engine.fakes import FakeRoutes
from tests.engine.wire import ProxyClient, get
from trayproxy.desktop.socket_owner.base import Endpoint, NullOwnerLookup
from trayproxy.desktop.users import own_user
from trayproxy.engine.error_pages import NOT_ALLOWED, ErrorPage
from trayproxy.engine.server import fd_reserve
from trayproxy.engine.server.access_control import AccessControl
from trayproxy.engine.server.fd_reserve import DescriptorReserve
from trayproxy.engine.server.listener_use import ListenerUse

NO_MORE = OSError(errno.EMFILE, "Too many open files")
REFUSED = b"HTTP/1.1 403 \r\n\r\n"
LOCAL = ("127.0.0.1", 3128)


class FakeAccessControl:
    """Admits all connections, or none."""

    is_open = True
    refusal = NOT_ALLOWED

    def admits(
        self, connection: socket.SocketType, peer: tuple[Any, ...], local: Endpoint | None
    ) -> bool:
        assert peer[0] == "127.0.0.1"
        assert local == LOCAL
        return self.is_open


def refuse(connection: socket.SocketType, page: ErrorPage) -> None:
    connection.send(REFUSED)


@pytest.fixture
def access_control() -> FakeAccessControl:
    return FakeAccessControl()


@pytest.fixture
def use(access_control: FakeAccessControl) -> ListenerUse:
    return ListenerUse(FakeRoutes(None), cast(AccessControl, access_control))


@pytest.fixture
def reserve() -> Iterator[DescriptorReserve]:
    reserve = DescriptorReserve(refuse, lambda: "127.0.0.1:3128")
    yield reserve
    reserve.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


def connect(listener: socket.socket) -> ProxyClient:
    return ProxyClient(listener.getsockname()[1])


def test_without_descriptors_a_client_is_answered_with_503(
    reserve: DescriptorReserve, listener: socket.socket, use: ListenerUse
) -> None:
    for _ in range(3):
        with connect(listener) as client:
            client.send(get(b"http://origin.test/"))
            assert reserve.refuse_client(NO_MORE, listener, LOCAL, use)
            reply = client.reply()
            assert (reply.status, reply.values(b"retry-after")) == (503, [b"5"])
            assert reply.closes
            assert b"(127.0.0.1:3128). " not in reply.body
            assert b"on this computer (127.0.0.1:3128)." in reply.body
            assert not client.take_all()


def test_a_client_that_has_sent_nothing_is_answered_too(
    reserve: DescriptorReserve, listener: socket.socket, use: ListenerUse
) -> None:
    with connect(listener) as client:
        assert reserve.refuse_client(NO_MORE, listener, LOCAL, use)
        assert client.take_all().startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("octets", [b"", get(b"http://origin.test/")], ids=["silent", "asks"])
def test_a_client_of_another_user_is_refused_as_usual(
    reserve: DescriptorReserve,
    access_control: FakeAccessControl,
    listener: socket.socket,
    octets: bytes,
    use: ListenerUse,
) -> None:
    access_control.is_open = False
    with connect(listener) as client:
        client.send(octets)
        assert reserve.refuse_client(NO_MORE, listener, LOCAL, use)
        assert client.take_all() == REFUSED


def test_a_client_that_sends_later_reads_the_response(
    reserve: DescriptorReserve, listener: socket.socket, use: ListenerUse
) -> None:
    """Octets for a closed connection cause a reset, which must not destroy the response."""
    with connect(listener) as client:
        assert reserve.refuse_client(NO_MORE, listener, LOCAL, use)
        client.send(get(b"http://origin.test/"))
        assert client.reply().status == 503


def test_a_silent_unknown_client_does_not_block(listener: socket.socket) -> None:
    """The check for received octets does not wait for octets."""
    nobody_knows = AccessControl(NullOwnerLookup(), own_user())
    reserve = DescriptorReserve(refuse, lambda: "127.0.0.1:3128")
    with closing(reserve), connect(listener) as client:
        refused_client = Thread(
            target=reserve.refuse_client,
            args=(NO_MORE, listener, LOCAL, ListenerUse(FakeRoutes(None), nobody_knows)),
            daemon=True,
        )
        refused_client.start()
        refused_client.join(5)
        assert not refused_client.is_alive()
        assert client.take_all() == REFUSED


def test_without_a_pending_connection_nothing_is_done(
    reserve: DescriptorReserve, listener: socket.socket, use: ListenerUse
) -> None:
    assert reserve.refuse_client(NO_MORE, listener, LOCAL, use)


def test_a_disconnected_client_does_not_pause_accepting(
    reserve: DescriptorReserve, use: ListenerUse
) -> None:
    class ResetListener(socket.socket):
        def accept(self) -> tuple[socket.socket, Any]:
            raise ConnectionResetError(errno.ECONNRESET, "WSAECONNRESET")

    with ResetListener() as listener:
        assert reserve.refuse_client(NO_MORE, listener, LOCAL, use)


def test_another_error_pauses_accepting(
    reserve: DescriptorReserve, listener: socket.socket, use: ListenerUse
) -> None:
    with connect(listener):
        assert not reserve.refuse_client(OSError(errno.ENOMEM, "no memory"), listener, LOCAL, use)
        accepted, _ = listener.accept()
        accepted.close()


def test_without_a_reserve_accepting_pauses_until_it_can_be_opened(
    reserve: DescriptorReserve,
    listener: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    use: ListenerUse,
) -> None:
    def nothing(path: str, flags: int) -> int:
        raise NO_MORE

    reserve.close()
    with connect(listener) as client:
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", nothing)
            assert not reserve.refuse_client(NO_MORE, listener, LOCAL, use)
        assert reserve.refuse_client(NO_MORE, listener, LOCAL, use)
        assert client.take_all().startswith(b"HTTP/1.1 503 ")


def test_a_lost_reserve_is_opened_again_by_closing_an_idle_connection(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, use: ListenerUse
) -> None:
    """Another thread may take the descriptor while the reserve is closed."""
    free = 0
    open_file = os.open

    def open_if_free(path: str, flags: int) -> int:
        nonlocal free
        if not free:
            raise NO_MORE
        free -= 1
        return open_file(path, flags)

    def end_idle() -> None:
        nonlocal free
        free += 1

    monkeypatch.setattr(os, "open", open_if_free)
    reserve = DescriptorReserve(refuse, lambda: "127.0.0.1:3128", end_idle)
    with closing(reserve), connect(listener) as client:
        assert reserve.refuse_client(NO_MORE, listener, LOCAL, use)
        assert client.take_all().startswith(b"HTTP/1.1 503 ")


def test_the_shortage_is_logged_once_a_minute(
    reserve: DescriptorReserve,
    listener: socket.socket,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    use: ListenerUse,
) -> None:
    message = "out of descriptors, clients are answered with 503: Too many open files"
    with caplog.at_level(logging.WARNING):
        for now, count in ((0.0, 1), (59.5, 1), (60.0, 2), (119.5, 2), (120.0, 3)):
            monkeypatch.setattr(fd_reserve, "monotonic", lambda now=now: now)
            with connect(listener):
                reserve.refuse_client(NO_MORE, listener, LOCAL, use)
            assert caplog.messages == [message] * count
