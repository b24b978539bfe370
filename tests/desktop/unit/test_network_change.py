"""Tests for trayproxy.desktop.network_change."""

import asyncio
import ctypes
import socket
import struct
from ipaddress import ip_address
from typing import Any

import pytest

from tests.desktop.timer_loops import FakeTimerLoop
from trayproxy.desktop import rtnetlink
from trayproxy.desktop.network_change import linux, macos, windows
from trayproxy.desktop.network_change.base import (
    SETTLE_S,
    Debounce,
    NullNetworkWatch,
    identifies_network,
)
from trayproxy.desktop.network_change.factory import watch_network

OFFICE = ip_address("192.0.2.7").packed
OFFICE6 = ip_address("2001:db8::7").packed
LOOPBACK = ip_address("127.0.0.1").packed
LINK_LOCAL = ip_address("169.254.1.1").packed
LINK_LOCAL6 = ip_address("fe80::1").packed


def debounce_with(loop: FakeTimerLoop, reports: list[str]) -> Debounce:
    return Debounce(loop, lambda: reports.append("changed"))  # type: ignore[arg-type]  # only timers are used


# --- everywhere ----------------------------------------------------------------------------------


def test_simultaneous_changes_are_reported_once() -> None:
    loop, reports = FakeTimerLoop(), list[str]()
    debounce = debounce_with(loop, reports)
    for _ in range(100):
        debounce.trigger()
    assert [delay for delay, _ in loop.timers] == [SETTLE_S]
    loop.run_timer()
    assert reports == ["changed"]
    debounce.trigger()
    loop.run_timer()
    assert reports == ["changed"] * 2


def test_a_closed_debounce_reports_nothing() -> None:
    loop, reports = FakeTimerLoop(), list[str]()
    debounce = debounce_with(loop, reports)
    debounce.trigger()
    debounce.close()
    assert not loop.timers
    debounce.trigger()
    assert not loop.timers


@pytest.mark.parametrize(
    ("address", "is_identifying"),
    [(OFFICE, True), (OFFICE6, True), (LOOPBACK, False), (LINK_LOCAL, False), (LINK_LOCAL6, False)],
)
def test_loopback_and_link_local_addresses_identify_no_network(
    address: bytes, is_identifying: bool
) -> None:
    assert identifies_network(address) is is_identifying


def test_a_system_without_reports_gets_the_null_watch(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("a sandbox")

    monkeypatch.setattr(linux, "LinuxNetworkWatch", refuse)
    monkeypatch.setattr(windows, "WindowsNetworkWatch", refuse)
    watch = watch_network(loop, lambda: None)
    assert isinstance(watch, NullNetworkWatch)
    watch.close()


# --- Linux ---------------------------------------------------------------------------------------


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


@pytest.mark.parametrize(
    ("octets", "is_relevant"),
    [
        # An address of lo; addresses of another interface.
        (message(20, struct.pack("=BBBBI", 2, 32, 0, 0, 1)), False),
        (message(20, struct.pack("=BBBBI", 2, 24, 0, 0, 2)), True),
        (message(21, struct.pack("=BBBBI", 10, 64, 0, 0, 2)), True),
        # A route to a network; the default route.
        (message(24, struct.pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 2, 0, 1, 0)), False),
        (message(25, struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 2, 0, 1, 0)), True),
        # A wireless scan; a link that goes up; a removed link.
        (message(16, struct.pack("=BxHiII", 0, 1, 2, 0x1003, 0)), False),
        (message(16, struct.pack("=BxHiII", 0, 1, 2, 0x1003, 1)), True),
        (message(17, struct.pack("=BxHiII", 0, 1, 2, 0x1002, 0)), True),
        (message(16, struct.pack("=BxHiII", 0, 772, 1, 0x49, 1)), False),
    ],
)
def test_only_relevant_notifications_lead_to_a_comparison(octets: bytes, is_relevant: bool) -> None:
    ((kind, body),) = rtnetlink.parse_messages(octets)
    assert linux.is_relevant(kind, body) is is_relevant


def test_parsing_stops_at_a_malformed_message() -> None:
    good = message(20, bytes(8))
    assert len(list(rtnetlink.parse_messages(good + bytes(16)))) == 1


# --- macOS ---------------------------------------------------------------------------------------


def sockaddr(address: bytes) -> bytes:
    """Return an IP address as a socket address of macOS."""
    if len(address) == 4:
        return bytes([16, socket.AF_INET, 0, 0]) + address + bytes(8)
    return bytes([28, 30, 0, 0]) + bytes(4) + address + bytes(4)


def mac_message(kind: int, address: bytes) -> bytes:
    """Return a message of route(4) of macOS with a netmask, an interface and an address."""
    netmask = bytes([7, 0, 0, 0, 255, 255, 255, 0])
    interface = bytes([20, 18]) + bytes(18)
    body = netmask + interface + sockaddr(address)
    header = struct.pack("=HBBiiH2xi", 20 + len(body), 5, kind, 0x4 | 0x10 | 0x20, 0, 4, 0)
    return header + body


@pytest.mark.parametrize("kind", [0xC, 0xD])
@pytest.mark.parametrize(
    ("address", "is_relevant"),
    [(OFFICE, True), (OFFICE6, True), (LOOPBACK, False), (LINK_LOCAL6, False)],
)
def test_macos_reports_added_and_removed_addresses(
    kind: int, address: bytes, is_relevant: bool
) -> None:
    assert macos.is_relevant(mac_message(kind, address)) is is_relevant


def test_other_messages_of_macos_are_ignored() -> None:
    assert not macos.is_relevant(mac_message(0x1, OFFICE))


def test_a_truncated_message_of_macos_raises_no_error() -> None:
    for length in range(76):
        macos.is_relevant(mac_message(0xC, OFFICE6)[:length])


# --- Windows -------------------------------------------------------------------------------------


class FakeIphlpapi:
    """The functions of iphlpapi.dll for notifications of address changes."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.callback: Any = None
        self.cancelled = False

    def NotifyUnicastIpAddressChange(  # noqa: N802  # its own name
        self, family: int, callback: Any, context: None, initial: bool, handle: Any
    ) -> int:
        self.callback = callback
        return self.code

    def CancelMibChangeNotify2(self, handle: Any) -> int:  # noqa: N802  # its own name
        self.cancelled = True
        return 0

    def call(self, kind: int, address: bytes) -> None:
        """Call the registered callback, as Windows does."""
        family, gap = (2, 2) if len(address) == 4 else (23, 6)
        row = struct.pack("<H", family) + bytes(gap) + address
        buffer = ctypes.create_string_buffer(row.ljust(80, b"\0"))
        self.callback(None, ctypes.addressof(buffer), kind)


@pytest.mark.parametrize(
    ("kind", "address", "expected"),
    [
        (1, OFFICE, ["changed"]),
        (2, OFFICE6, ["changed"]),
        (0, OFFICE, []),
        (1, LOOPBACK, []),
        (1, LINK_LOCAL6, []),
    ],
    ids=["added", "deleted", "renewed", "loopback", "link-local"],
)
def test_windows_reports_added_and_removed_addresses(
    kind: int, address: bytes, expected: list[str]
) -> None:
    library, loop, reports = FakeIphlpapi(), FakeTimerLoop(), list[str]()
    watch = windows.WindowsNetworkWatch(
        loop,  # type: ignore[arg-type]  # only timers are used
        lambda: reports.append("changed"),
        library,
    )
    library.call(kind, address)
    while loop.timers:
        loop.run_timer()
    assert reports == expected
    watch.close()
    assert library.cancelled


def test_a_failed_registration_on_windows_is_an_error(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(OSError, match="error 5"):
        windows.WindowsNetworkWatch(loop, lambda: None, FakeIphlpapi(code=5))
