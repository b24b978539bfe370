"""Tests for trayproxy.desktop.socket_owner on Linux, and for users."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from struct import pack

import pytest

from tests.desktop.endpoints import ENDS
from tests.support.client_programs import (
    NOBODY,
    AfterSending,
    client_program,
    has_ipv6,
    needs_ipv6,
    needs_root,
)
from trayproxy.desktop.socket_owner import linux
from trayproxy.desktop.socket_owner.base import (
    Endpoint,
    NullOwnerLookup,
    OwnerLookup,
    OwnerUnknownError,
    SocketOwner,
)
from trayproxy.desktop.socket_owner.factory import open_owner_lookup, user_listening
from trayproxy.desktop.socket_owner.linux import ProcNetLookup, SockDiagLookup
from trayproxy.desktop.users import find_user, name_of, own_user

SYN_SENT = 2
"""The state of a connecting socket: the first octet of its `tcp_info`."""
OWN_SOCKET = SocketOwner(os.geteuid(), is_open=True)
IPV6 = ["::1", "::"] if has_ipv6() else []


@pytest.fixture(params=[SockDiagLookup, ProcNetLookup])
def lookup(request: pytest.FixtureRequest) -> Iterator[OwnerLookup]:
    made: OwnerLookup = request.param()
    yield made
    made.close()


def owner_of_next(lookup: OwnerLookup, listener: socket.socket) -> SocketOwner | None:
    """Accept a connection, and return the owner of its other end."""
    connection, peer = listener.accept()
    with connection:
        return lookup.owner_of(connection.getsockname(), peer, socket.AF_INET)


def test_a_program_of_this_user_has_this_user(lookup: OwnerLookup, listener: socket.socket) -> None:
    with client_program(listener.getsockname()):
        assert owner_of_next(lookup, listener) == OWN_SOCKET


@needs_root
@pytest.mark.parametrize("after", [AfterSending.STAYS, AfterSending.HALF_CLOSES])
def test_an_open_or_half_closed_program_of_another_user_has_the_other_user(
    lookup: OwnerLookup, listener: socket.socket, after: AfterSending
) -> None:
    with client_program(listener.getsockname(), after, user=NOBODY):
        assert owner_of_next(lookup, listener) == SocketOwner(NOBODY, is_open=True)


@needs_root
def test_a_connection_without_a_process_is_not_open(
    lookup: OwnerLookup, listener: socket.socket
) -> None:
    """For a connection without a process, the kernel reports user 0."""
    address = listener.getsockname()
    with client_program(address, AfterSending.CLOSES, user=NOBODY, octets=b"GET"):
        connection, peer = listener.accept()
        with connection:
            found = lookup.owner_of(connection.getsockname(), peer, socket.AF_INET)
            assert connection.recv(3, socket.MSG_PEEK) == b"GET"
    assert found is None or not found.is_open


def test_a_reset_connection_is_unknown(lookup: OwnerLookup, listener: socket.socket) -> None:
    with client_program(listener.getsockname(), AfterSending.RESETS, octets=b"GET"):
        assert owner_of_next(lookup, listener) is None


def test_a_listener_at_the_port_of_the_peer_is_not_the_peer(lookup: OwnerLookup) -> None:
    """The kernel returns a listener if there is no such connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = listener.getsockname()
        assert lookup.owner_of(("127.0.0.1", 1), peer, socket.AF_INET) is None


def test_a_connecting_socket_is_not_open(lookup: OwnerLookup) -> None:
    """The connecting socket has the ends of the accepted connection, but is not its peer."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        at = listener.getsockname()
        for _ in range(20):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(at)
            if client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == SYN_SENT:
                found = lookup.owner_of(at, client.getsockname(), socket.AF_INET)
                assert found == SocketOwner(os.geteuid(), is_open=False)
                return
        raise AssertionError("the queue of the listener did not fill")


def owner_in_table(folder: Path, *sockets: tuple[int, int]) -> SocketOwner | None:
    """Return the owner of a connection in a table with sockets of these users and states."""
    table = "  sl  local_address\n"
    for user, state in sockets:
        ends = f"0100007F:C350 0100007F:0C38 {state:02X}"
        rest = f"00000000:00000000 00:00000000 00000000  {user}        0 4711 1"
        table += f"   0: {ends} {rest}\n"
    (folder / "tcp").write_text(table)
    return ProcNetLookup(folder).owner_of(*ENDS["IPv4"])


@pytest.mark.parametrize("state", range(1, 13))
def test_only_a_connected_socket_is_open(tmp_path: Path, state: int) -> None:
    """The states are those of include/net/tcp_states.h."""
    found = owner_in_table(tmp_path, (1000, state))
    assert found == SocketOwner(1000, is_open=state in (1, 4, 5, 8))


def test_sockets_with_the_same_ends_and_different_owners_are_unknown(tmp_path: Path) -> None:
    assert owner_in_table(tmp_path, (1000, 1), (1001, 1)) is None


@needs_ipv6
def test_an_ipv6_connection_has_an_owner(lookup: OwnerLookup) -> None:
    with (
        socket.create_server(("::1", 0), family=socket.AF_INET6) as listener,
        socket.socket(socket.AF_INET6) as client,
    ):
        client.connect(listener.getsockname())
        connection, peer = listener.accept()
        with connection:
            local = connection.getsockname()[:2]
            assert lookup.owner_of(local, peer[:2], socket.AF_INET6) == OWN_SOCKET


@needs_ipv6
def test_an_ipv4_connection_of_a_dual_stack_socket_has_an_owner(
    lookup: OwnerLookup, listener: socket.socket
) -> None:
    with socket.socket(socket.AF_INET6) as client:
        client.connect(("::ffff:127.0.0.1", listener.getsockname()[1]))
        assert owner_of_next(lookup, listener) == OWN_SOCKET


def test_a_connection_that_does_not_exist_is_unknown(lookup: OwnerLookup) -> None:
    assert lookup.owner_of(("127.0.0.1", 1), ("127.0.0.1", 2), socket.AF_INET) is None


def test_a_closed_look_up_opens_a_new_socket(listener: socket.socket) -> None:
    lookup = SockDiagLookup()
    for _ in range(2):
        with client_program(listener.getsockname()):
            assert owner_of_next(lookup, listener) == OWN_SOCKET
        lookup.close()


class SendTwiceSocket(socket.socket):
    """A netlink socket that sends a request for an unknown connection before each request."""

    def send(self, request: bytes, *flags: int) -> int:  # type: ignore[override]
        # The sequence number of struct nlmsghdr, and the source port of struct inet_diag_req_v2.
        super().send(request[:8] + pack("=I", 4711) + request[12:24] + pack("!H", 1) + request[26:])
        return super().send(request, *flags)


def test_a_response_to_an_earlier_request_is_skipped(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup = SockDiagLookup()
    with client_program(listener.getsockname()):
        connection, peer = listener.accept()
        monkeypatch.setattr(socket, "socket", SendTwiceSocket)
        with connection:
            for _ in range(2):
                found = lookup.owner_of(connection.getsockname(), peer, socket.AF_INET)
                assert found == OWN_SOCKET
    lookup.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", *IPV6])
def test_the_user_of_a_listener_is_found(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listener:
        port = listener.getsockname()[1]
        wanted = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        assert user_listening((wanted, port)) == os.geteuid()
        elsewhere = os.geteuid() if address == "0.0.0.0" else None
        assert user_listening(("127.0.0.2", port)) == elsewhere
    assert user_listening((wanted, port)) is None


def test_this_system_uses_sock_diag() -> None:
    lookup = open_owner_lookup()
    assert isinstance(lookup, SockDiagLookup)
    lookup.close()


class WrongOwnerLookup:
    """A look-up that reports this user for every connection, and no process."""

    def owner_of(self, local: Endpoint, peer: Endpoint, family: int) -> SocketOwner | None:
        return SocketOwner(own_user(), is_open=False)

    def close(self) -> None: ...


@pytest.mark.parametrize("faulty", [NullOwnerLookup, WrongOwnerLookup])
def test_a_look_up_that_fails_the_test_connection_is_skipped(
    monkeypatch: pytest.MonkeyPatch, faulty: type[OwnerLookup]
) -> None:
    monkeypatch.setattr(linux, "SockDiagLookup", faulty)
    assert isinstance(open_owner_lookup(), ProcNetLookup)


def test_without_a_working_look_up_opening_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux, "SockDiagLookup", NullOwnerLookup)
    monkeypatch.setattr(linux, "ProcNetLookup", WrongOwnerLookup)
    with pytest.raises(OwnerUnknownError):
        open_owner_lookup()


def test_users_are_found_by_name_and_by_number() -> None:
    assert find_user("root") == find_user("0") == 0
    assert find_user("no-such-user-here") is None
    assert (name_of(0), name_of(4_000_000_000)) == ("root", "4000000000")
