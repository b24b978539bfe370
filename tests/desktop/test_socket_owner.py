"""Tests for trayproxy.desktop.socket_owner, users and windows_token."""

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from struct import pack
from typing import Any

import pytest

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
from trayproxy.desktop.socket_owner.linux import (
    ProcNetLookup,
    SockDiagLookup,
)
from trayproxy.desktop.socket_owner.macos import MacOwnerLookup, find_owner
from trayproxy.desktop.socket_owner.windows import UNKNOWN_USER as UNKNOWN
from trayproxy.desktop.socket_owner.windows import WindowsOwnerLookup, find_process
from trayproxy.desktop.users import find_user, name_of, own_user
from trayproxy.desktop.windows_token import ProcessTokens, TokenLibraries

SYN_SENT = 2
"""The state of a connecting socket: the first octet of its `tcp_info`."""
OWN_SOCKET = SocketOwner(os.geteuid(), is_open=True)
IPV6 = ["::1", "::"] if has_ipv6() else []
ENDS: dict[str, tuple[Endpoint, Endpoint, int]] = {
    "IPv4": (("127.0.0.1", 3128), ("127.0.0.1", 50_000), socket.AF_INET),
    "IPv6": (("::1", 3128), ("::1", 50_000), socket.AF_INET6),
}


@pytest.fixture(params=[SockDiagLookup, ProcNetLookup])
def lookup(request: pytest.FixtureRequest) -> Iterator[OwnerLookup]:
    made: OwnerLookup = request.param()
    yield made
    made.close()


@pytest.fixture
def accept() -> Iterator[Callable[[], tuple[socket.socket, Endpoint]]]:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def accept() -> tuple[socket.socket, Endpoint]:
            connection, peer = listener.accept()
            return stack.enter_context(connection), peer

        accept.address = listener.getsockname()  # type: ignore[attr-defined]  # a test's own name
        yield accept


Accept = Any
"""A function that accepts a connection; its attribute `address` is the address of the listener."""


# --- Linux ---------------------------------------------------------------------------------------


def test_a_program_of_this_user_has_this_user(lookup: OwnerLookup, accept: Accept) -> None:
    with client_program(accept.address):
        connection, peer = accept()
        assert lookup.owner_of(connection.getsockname(), peer, socket.AF_INET) == OWN_SOCKET


@needs_root
def test_a_program_of_another_user_has_that_user(lookup: OwnerLookup, accept: Accept) -> None:
    with client_program(accept.address, user=NOBODY):
        connection, peer = accept()
        found = lookup.owner_of(connection.getsockname(), peer, socket.AF_INET)
    assert found == SocketOwner(NOBODY, is_open=True)


@needs_root
def test_a_half_closed_connection_still_has_its_user(lookup: OwnerLookup, accept: Accept) -> None:
    with client_program(accept.address, AfterSending.HALF_CLOSES, user=NOBODY):
        connection, peer = accept()
        found = lookup.owner_of(connection.getsockname(), peer, socket.AF_INET)
    assert found == SocketOwner(NOBODY, is_open=True)


@needs_root
def test_a_connection_without_a_process_is_not_open(lookup: OwnerLookup, accept: Accept) -> None:
    """For a connection without a process, the kernel reports user 0."""
    with client_program(accept.address, AfterSending.CLOSES, user=NOBODY, octets=b"GET"):
        connection, peer = accept()
        found = lookup.owner_of(connection.getsockname(), peer, socket.AF_INET)
        assert connection.recv(3, socket.MSG_PEEK) == b"GET"
    assert found is None or not found.is_open


def test_a_reset_connection_is_unknown(lookup: OwnerLookup, accept: Accept) -> None:
    with client_program(accept.address, AfterSending.RESETS, octets=b"GET"):
        connection, peer = accept()
        assert lookup.owner_of(connection.getsockname(), peer, socket.AF_INET) is None


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


@pytest.mark.parametrize("state", range(1, 13))
def test_only_a_connected_socket_is_open(tmp_path: Path, state: int) -> None:
    """The states are those of include/net/tcp_states.h."""
    ends = "0100007F:C350 0100007F:0C38"
    line = (
        f"   0: {ends} {state:02X} 00000000:00000000 00:00000000 00000000  1000        0 4711 1\n"
    )
    (tmp_path / "tcp").write_text("  sl  local_address\n" + line)
    found = ProcNetLookup(tmp_path).owner_of(*ENDS["IPv4"])
    assert found == SocketOwner(1000, is_open=state in (1, 4, 5, 8))


def test_sockets_with_the_same_ends_and_different_owners_are_unknown(tmp_path: Path) -> None:
    ends = "0100007F:C350 0100007F:0C38"
    rest = "00000000:00000000 00:00000000 00000000"
    lines = [f"   {user}: {ends} 01 {rest}  {user}        0 4711 1\n" for user in (1000, 1001)]
    (tmp_path / "tcp").write_text("  sl  local_address\n" + "".join(lines))
    assert ProcNetLookup(tmp_path).owner_of(*ENDS["IPv4"]) is None


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
    lookup: OwnerLookup, accept: Accept
) -> None:
    with socket.socket(socket.AF_INET6) as client:
        client.connect((f"::ffff:{accept.address[0]}", accept.address[1]))
        connection, peer = accept()
        assert peer[0] == "127.0.0.1"
        assert lookup.owner_of(connection.getsockname(), peer, socket.AF_INET) == OWN_SOCKET


def test_a_connection_that_does_not_exist_is_unknown(lookup: OwnerLookup) -> None:
    assert lookup.owner_of(("127.0.0.1", 1), ("127.0.0.1", 2), socket.AF_INET) is None


def test_a_closed_look_up_opens_a_new_socket(accept: Accept) -> None:
    lookup = SockDiagLookup()
    with client_program(accept.address):
        connection, peer = accept()
        for _ in range(2):
            assert lookup.owner_of(connection.getsockname(), peer, socket.AF_INET) == OWN_SOCKET
            lookup.close()


class SendTwiceSocket(socket.socket):
    """A netlink socket that precedes each request by one for a connection that does not exist."""

    def send(self, request: bytes, *flags: int) -> int:  # type: ignore[override]
        # The sequence number of struct nlmsghdr, and the source port of struct inet_diag_req_v2.
        super().send(request[:8] + pack("=I", 4711) + request[12:24] + pack("!H", 1) + request[26:])
        return super().send(request, *flags)


def test_a_response_to_an_earlier_request_is_skipped(
    accept: Accept, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup = SockDiagLookup()
    with client_program(accept.address):
        connection, peer = accept()
        monkeypatch.setattr(socket, "socket", SendTwiceSocket)
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


# --- macOS ---------------------------------------------------------------------------------------


def pcb(
    local: Endpoint,
    peer: Endpoint,
    family: int,
    user: int,
    *,
    handle: int = 7,
    flags: int = 2,
    state: int = 4,
    more: int = 0,
) -> list[bytes]:
    """Return the records of a connection, seen from its local end (xnu, pcblist_n)."""
    is_v4 = family == socket.AF_INET
    foreign, own = (socket.inet_pton(family, end[0]).rjust(16, b"\0") for end in (peer, local))
    inpcb = struct.pack("=8x8x") + struct.pack("!HH", peer[1], local[1]) + bytes(24)
    inpcb = inpcb[8:] + bytes([1 if is_v4 else 2, 64, 6, 0]) + foreign + own + bytes(24 + more)
    sock = struct.pack("=Q10xH", handle, flags) + bytes(36) + struct.pack("=I", user)
    sock += bytes(36 + more)
    tcpcb = bytes(28) + struct.pack("=i", state) + bytes(164 + more)
    kinds = [(0x10, inpcb), (1, sock), (2, bytes(24)), (4, bytes(24)), (8, bytes(128))]
    return [record(kind, body) for kind, body in [*kinds, (0x20, tcpcb)]]


def record(kind: int, body: bytes) -> bytes:
    whole = struct.pack("=II", len(body) + 8, kind) + body
    return whole + bytes(-len(whole) % 8)


def pcblist(*connections: list[bytes]) -> bytes:
    frame = struct.pack("=IIQQ", 24, len(connections), 1, 1)
    return frame + b"".join(b"".join(records) for records in connections) + frame


class FakeLibc:
    """The C library of macOS, with the table of connections."""

    def __init__(self, table: bytes, *, growth: int = 0, failure: int = 0) -> None:
        self.table = table
        self._growth = growth
        self._failure = failure
        self.names: list[bytes] = []

    def sysctlbyname(self, name: bytes, buffer: Any, length: Any, new: None, size: int) -> int:
        self.names.append(name)
        if self._failure:
            ctypes.set_errno(self._failure)
            return -1
        if buffer is None:
            length._obj.value = len(self.table)
            # Other programs connect in the meantime.
            self.table += bytes(self._growth)
            self._growth = 0
            return 0
        if length._obj.value < len(self.table):
            ctypes.set_errno(errno.ENOMEM)
            return -1
        ctypes.memmove(buffer, self.table, len(self.table))
        length._obj.value = len(self.table)
        return 0


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("more", [0, 4, 24], ids="grown by {}".format)
def test_macos_finds_the_owner_in_the_table(
    ends: tuple[Endpoint, Endpoint, int], more: int
) -> None:
    local, peer, family = ends
    # The record of the accepting end has another user.
    table = pcblist(
        pcb(local, peer, family, 501, more=more), pcb(peer, local, family, 502, more=more)
    )
    libc = FakeLibc(table)
    assert MacOwnerLookup(libc).owner_of(local, peer, family) == SocketOwner(502, is_open=True)
    assert set(libc.names) == {b"net.inet.tcp.pcblist_n"}


def test_a_connection_without_a_socket_is_not_open_on_macos() -> None:
    local, peer, family = ENDS["IPv4"]
    table = pcblist(pcb(peer, local, family, 0, handle=0))
    assert find_owner(table, local, peer, family) == SocketOwner(0, is_open=False)


def test_a_connection_without_a_process_is_not_open_on_macos() -> None:
    """The socket and its user stay until the kernel has delivered the remaining octets."""
    local, peer, family = ENDS["IPv4"]
    table = pcblist(pcb(peer, local, family, 501, flags=0x0001, state=9))
    assert find_owner(table, local, peer, family) == SocketOwner(501, is_open=False)


@pytest.mark.parametrize("state", range(11))
def test_only_a_connected_socket_is_open_on_macos(state: int) -> None:
    """The states are those of bsd/netinet/tcp_fsm.h."""
    local, peer, family = ENDS["IPv4"]
    table = pcblist(pcb(peer, local, family, 501, state=state))
    assert find_owner(table, local, peer, family) == SocketOwner(501, is_open=state in (4, 5, 6, 9))


def test_macos_ignores_other_connections() -> None:
    local, peer, family = ENDS["IPv4"]
    table = pcblist(pcb(peer, (local[0], 1), family, 501), pcb(("127.0.0.2", peer[1]), local, 2, 1))
    assert find_owner(table, local, peer, family) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_macos_finds_the_user_of_a_listener(address: str) -> None:
    listener = pcb((address, 3128), ("0.0.0.0", 0), socket.AF_INET, 502, state=1)
    libc = FakeLibc(pcblist(pcb(*ENDS["IPv4"], 501), listener))
    assert MacOwnerLookup(libc).user_listening(("127.0.0.1", 3128), socket.AF_INET) == 502
    assert MacOwnerLookup(libc).user_listening(("127.0.0.1", 3129), socket.AF_INET) is None


def test_macos_reads_again_if_the_table_has_grown() -> None:
    local, peer, family = ENDS["IPv4"]
    libc = FakeLibc(pcblist(pcb(peer, local, family, 501)), growth=20_000)
    assert MacOwnerLookup(libc).owner_of(local, peer, family) == SocketOwner(501, is_open=True)
    assert len(libc.names) == 4


def test_a_refused_table_of_macos_is_an_error() -> None:
    with pytest.raises(PermissionError):
        MacOwnerLookup(FakeLibc(b"", failure=errno.EPERM)).owner_of(*ENDS["IPv4"])


@pytest.mark.parametrize("cut", [b"", b"\0" * 3, struct.pack("=II", 24, 0) + bytes(24)])
def test_a_malformed_table_of_macos_is_an_error(cut: bytes) -> None:
    with pytest.raises(OSError, match="pcblist_n"):
        find_owner(cut, *ENDS["IPv4"])


# --- Windows -------------------------------------------------------------------------------------


def row(local: Endpoint, peer: Endpoint, family: int, process: int, state: int = 5) -> bytes:
    local_address, peer_address = (socket.inet_pton(family, end[0]) for end in (local, peer))
    ports = [end[1].to_bytes(2, "big") + bytes(2) for end in (local, peer)]
    if family == socket.AF_INET6:
        ends = local_address + bytes(4) + ports[0] + peer_address + bytes(4) + ports[1]
        return ends + struct.pack("<II", state, process)
    ends = local_address + ports[0] + peer_address + ports[1]
    return struct.pack("<I", state) + ends + struct.pack("<I", process)


class FakeWindows:
    """The called functions of iphlpapi, kernel32 and advapi32."""

    def __init__(self, rows: list[bytes], users: dict[int, str]) -> None:
        self.table = struct.pack("<I", len(rows)) + b"".join(rows)
        self.needs = len(self.table)
        self.table_class = 4
        self.then: list[bytes] | None = None
        self.users = users
        self.open: set[int] = set()
        self._texts: list[Any] = []

    def lookup(self) -> WindowsOwnerLookup:
        return WindowsOwnerLookup(self, ProcessTokens(TokenLibraries(self, self)))

    def GetExtendedTcpTable(  # noqa: N802  # its name
        self, buffer: Any, size: Any, order: bool, family: int, table_class: int, reserved: int
    ) -> int:
        assert (order, table_class, reserved) == (False, self.table_class, 0)
        assert family in (2, 23)
        if size._obj.value < self.needs:
            size._obj.value = self.needs
            return 122
        ctypes.memmove(buffer, self.table, len(self.table))
        return 0

    def OpenProcess(self, access: int, inherit: bool, process: int) -> int:  # noqa: N802  # its name
        assert access == 0x1000
        if self.then is not None:
            self.table = struct.pack("<I", len(self.then)) + b"".join(self.then)
        if process not in self.users:
            return 0
        self.open.add(process)
        return process

    def OpenProcessToken(self, process: int, access: int, token: Any) -> int:  # noqa: N802
        assert access == 8
        token._obj.value = process + 1000
        self.open.add(process + 1000)
        return 1

    def GetTokenInformation(  # noqa: N802
        self, token: Any, kind: int, buffer: Any, size: Any, needed: Any
    ) -> int:
        assert kind == 1
        needed._obj.value = 44
        if buffer is None:
            return 0
        # The "SID" is the process id.
        ctypes.memmove(buffer, struct.pack("=Q", token.value - 1000), 8)
        return 1

    def ConvertSidToStringSidW(self, sid: Any, text: Any) -> int:  # noqa: N802
        self._texts.append(ctypes.create_unicode_buffer(self.users[sid.value]))
        text._obj.value = self.users[sid.value]
        return 1

    def CloseHandle(self, handle: Any) -> int:  # noqa: N802
        self.open.remove(getattr(handle, "value", handle))
        return 1

    def LocalFree(self, text: Any) -> None:  # noqa: N802
        assert text.value


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
def test_windows_finds_the_user_of_the_process(ends: tuple[Endpoint, Endpoint, int]) -> None:
    local, peer, family = ends
    rows = [row(local, peer, family, 11), row(peer, local, family, 22)]
    fake = FakeWindows(rows, {11: "S-1-5-21-1", 22: "S-1-5-21-2"})
    found = fake.lookup().owner_of(local, peer, family)
    assert found == SocketOwner("S-1-5-21-2", is_open=True)
    assert fake.open == set(), "a handle was not closed"


def test_windows_reads_again_with_a_larger_buffer() -> None:
    local, peer, family = ENDS["IPv4"]
    fake = FakeWindows([row(peer, local, family, 22)], {22: "S-1-5-21-2"})
    fake.needs = 100_000
    assert fake.lookup().owner_of(local, peer, family) is not None


def test_a_process_that_cannot_be_opened_on_windows_has_the_unknown_user() -> None:
    local, peer, family = ENDS["IPv4"]
    fake = FakeWindows([row(peer, local, family, 22)], {})
    assert fake.lookup().owner_of(local, peer, family) == SocketOwner(UNKNOWN, is_open=True)


def test_a_connection_without_a_process_is_not_open_on_windows() -> None:
    local, peer, family = ENDS["IPv4"]
    fake = FakeWindows([row(peer, local, family, 0, state=7)], {})
    assert fake.lookup().owner_of(local, peer, family) == SocketOwner(UNKNOWN, is_open=False)


@pytest.mark.parametrize("state", range(1, 13))
def test_only_a_connected_socket_has_a_process_on_windows(state: int) -> None:
    """The states are those of MIB_TCPROW_OWNER_PID; a listener is not an end of a connection."""
    local, peer, family = ENDS["IPv4"]
    table = struct.pack("<I", 1) + row(peer, local, family, 22, state)
    process = 22 if state in (5, 6, 7, 8) else None if state == 2 else 0
    assert find_process(table, local, peer, family) == process


def test_a_reused_process_id_on_windows_has_no_owner() -> None:
    """The process ends after the first query, and a program of this user gets its process id."""
    local, peer, family = ENDS["IPv4"]
    fake = FakeWindows([row(peer, local, family, 22)], {22: "S-1-5-21-1"})
    fake.then = [row(peer, local, family, 0, state=7)]
    assert fake.lookup().owner_of(local, peer, family) is None
    assert fake.open == set(), "a handle was not closed"


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_windows_finds_the_user_of_a_listener(address: str) -> None:
    listener = row((address, 3128), ("0.0.0.0", 0), socket.AF_INET, 33, 2)
    fake = FakeWindows([row(*ENDS["IPv4"], 22), listener], {22: "S-1", 33: "S-2"})
    fake.table_class = 3
    windows = fake.lookup()
    assert windows.user_listening(("127.0.0.1", 3128), socket.AF_INET) == "S-2"
    assert windows.user_listening(("127.0.0.1", 3129), socket.AF_INET) is None


def test_a_refused_table_of_windows_is_an_error() -> None:
    fake = FakeWindows([], {})
    fake.needs = 1 << 30
    fake.GetExtendedTcpTable = lambda *_: 5  # type: ignore[method-assign]  # access denied
    with pytest.raises(OSError, match="returned 5"):
        fake.lookup().owner_of(*ENDS["IPv4"])
