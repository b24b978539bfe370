"""Tests for trayproxy.desktop.socket_owner.macos."""

import ctypes
import errno
import socket
import struct
from typing import Any

import pytest

from tests.desktop.endpoints import ENDS
from trayproxy.desktop.socket_owner.base import Endpoint, SocketOwner
from trayproxy.desktop.socket_owner.macos import MacOwnerLookup, find_owner


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


LOCAL, PEER, FAMILY = ENDS["IPv4"]


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


@pytest.mark.parametrize(
    ("user", "more"),
    [
        pytest.param(0, {"handle": 0}, id="no socket"),
        # The socket and its user stay until the kernel has delivered the remaining octets.
        pytest.param(501, {"flags": 0x0001, "state": 9}, id="no process"),
    ],
)
def test_a_connection_without_a_socket_or_a_process_is_not_open_on_macos(
    user: int, more: dict[str, int]
) -> None:
    table = pcblist(pcb(PEER, LOCAL, FAMILY, user, **more))
    assert find_owner(table, *ENDS["IPv4"]) == SocketOwner(user, is_open=False)


@pytest.mark.parametrize("state", range(11))
def test_only_a_connected_socket_is_open_on_macos(state: int) -> None:
    """The states are those of bsd/netinet/tcp_fsm.h."""
    table = pcblist(pcb(PEER, LOCAL, FAMILY, 501, state=state))
    assert find_owner(table, *ENDS["IPv4"]) == SocketOwner(501, is_open=state in (4, 5, 6, 9))


def test_macos_ignores_other_connections() -> None:
    table = pcblist(pcb(PEER, (LOCAL[0], 1), FAMILY, 501), pcb(("127.0.0.2", PEER[1]), LOCAL, 2, 1))
    assert find_owner(table, *ENDS["IPv4"]) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_macos_finds_the_user_of_a_listener(address: str) -> None:
    listener = pcb((address, 3128), ("0.0.0.0", 0), socket.AF_INET, 502, state=1)
    libc = FakeLibc(pcblist(pcb(*ENDS["IPv4"], 501), listener))
    assert MacOwnerLookup(libc).user_listening(("127.0.0.1", 3128), socket.AF_INET) == 502
    assert MacOwnerLookup(libc).user_listening(("127.0.0.1", 3129), socket.AF_INET) is None


def test_macos_reads_again_if_the_table_has_grown() -> None:
    libc = FakeLibc(pcblist(pcb(PEER, LOCAL, FAMILY, 501)), growth=20_000)
    assert MacOwnerLookup(libc).owner_of(*ENDS["IPv4"]) == SocketOwner(501, is_open=True)
    assert len(libc.names) == 4


def test_a_refused_table_of_macos_is_an_error() -> None:
    with pytest.raises(PermissionError):
        MacOwnerLookup(FakeLibc(b"", failure=errno.EPERM)).owner_of(*ENDS["IPv4"])


@pytest.mark.parametrize("cut", [b"", b"\0" * 3, struct.pack("=II", 24, 0) + bytes(24)])
def test_a_malformed_table_of_macos_is_an_error(cut: bytes) -> None:
    with pytest.raises(OSError, match="pcblist_n"):
        find_owner(cut, *ENDS["IPv4"])
