"""Tests for trayproxy.desktop.socket_owner.windows and windows_token."""

import ctypes
import socket
import struct
from typing import Any

import pytest

from tests.desktop.endpoints import ENDS
from trayproxy.desktop.socket_owner.base import Endpoint, SocketOwner
from trayproxy.desktop.socket_owner.windows import UNKNOWN_USER as UNKNOWN
from trayproxy.desktop.socket_owner.windows import WindowsOwnerLookup, find_process
from trayproxy.desktop.windows_token import ProcessTokens, TokenLibraries


def row(local: Endpoint, peer: Endpoint, family: int, process: int, state: int = 5) -> bytes:
    local_address, peer_address = (socket.inet_pton(family, end[0]) for end in (local, peer))
    ports = [end[1].to_bytes(2, "big") + bytes(2) for end in (local, peer)]
    if family == socket.AF_INET6:
        ends = local_address + bytes(4) + ports[0] + peer_address + bytes(4) + ports[1]
        return ends + struct.pack("<II", state, process)
    ends = local_address + ports[0] + peer_address + ports[1]
    return struct.pack("<I", state) + ends + struct.pack("<I", process)


LOCAL, PEER, FAMILY = ENDS["IPv4"]


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
    fake = FakeWindows([row(PEER, LOCAL, FAMILY, 22)], {22: "S-1-5-21-2"})
    fake.needs = 100_000
    assert fake.lookup().owner_of(*ENDS["IPv4"]) is not None


def test_a_process_that_cannot_be_opened_on_windows_has_the_unknown_user() -> None:
    fake = FakeWindows([row(PEER, LOCAL, FAMILY, 22)], {})
    assert fake.lookup().owner_of(*ENDS["IPv4"]) == SocketOwner(UNKNOWN, is_open=True)


def test_a_connection_without_a_process_is_not_open_on_windows() -> None:
    fake = FakeWindows([row(PEER, LOCAL, FAMILY, 0, state=7)], {})
    assert fake.lookup().owner_of(*ENDS["IPv4"]) == SocketOwner(UNKNOWN, is_open=False)


@pytest.mark.parametrize("state", range(1, 13))
def test_only_a_connected_socket_has_a_process_on_windows(state: int) -> None:
    """The states are those of MIB_TCPROW_OWNER_PID; a listener is not an end of a connection."""
    table = struct.pack("<I", 1) + row(PEER, LOCAL, FAMILY, 22, state)
    process = 22 if state in (5, 6, 7, 8) else None if state == 2 else 0
    assert find_process(table, *ENDS["IPv4"]) == process


def test_a_reused_process_id_on_windows_has_no_owner() -> None:
    """The process ends after the first query, and a program of this user gets its process id."""
    fake = FakeWindows([row(PEER, LOCAL, FAMILY, 22)], {22: "S-1-5-21-1"})
    fake.then = [row(PEER, LOCAL, FAMILY, 0, state=7)]
    assert fake.lookup().owner_of(*ENDS["IPv4"]) is None
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
