"""Tests for trayproxy.desktop.network_change."""

import asyncio
import ctypes
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from tests.desktop import network_program
from tests.support.namespaces import ALONE, skip_without_namespaces
from trayproxy.desktop.network_change import factory, linux, macos, windows
from trayproxy.desktop.network_change.base import (
    SETTLE_S,
    Debounce,
    NullNetworkWatch,
    identifies_network,
)
from trayproxy.desktop.network_change.factory import watch_network

SOURCES = Path(__file__).parents[2]
OFFICE = ip_address("192.0.2.7").packed
OFFICE6 = ip_address("2001:db8::7").packed
HERE = ip_address("127.0.0.1").packed
CABLE = ip_address("169.254.1.1").packed
CABLE6 = ip_address("fe80::1").packed


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


class Timers:
    """A loop of which only the timers are used."""

    def __init__(self) -> None:
        self.pending: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay: float, call: Callable[[], None]) -> Any:
        self.pending.append((delay, call))
        return self

    def cancel(self) -> None:
        self.pending.clear()

    def call_soon_threadsafe(self, call: Callable[[], None]) -> None:
        call()

    def ring(self) -> None:
        (_, call), *self.pending = self.pending
        call()


def calm_with(timers: Timers, told: list[str]) -> Debounce:
    return Debounce(timers, lambda: told.append("changed"))  # type: ignore[arg-type]  # a part of one


# --- everywhere ----------------------------------------------------------------------------------


def test_changes_that_come_together_are_told_once() -> None:
    timers, told = Timers(), list[str]()
    calm = calm_with(timers, told)
    for _ in range(100):
        calm.trigger()
    assert [delay for delay, _ in timers.pending] == [SETTLE_S]
    timers.ring()
    assert told == ["changed"]
    calm.trigger()
    timers.ring()
    assert told == ["changed"] * 2


def test_nothing_is_told_after_the_end() -> None:
    timers, told = Timers(), list[str]()
    calm = calm_with(timers, told)
    calm.trigger()
    calm.close()
    assert not timers.pending


@pytest.mark.parametrize(
    ("address", "counts"),
    [(OFFICE, True), (OFFICE6, True), (HERE, False), (CABLE, False), (CABLE6, False)],
)
def test_addresses_of_one_link_or_of_none_say_nothing(address: bytes, counts: bool) -> None:
    assert identifies_network(address) is counts


def test_a_system_that_does_not_tell_is_no_error(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("a sandbox")

    monkeypatch.setattr(factory, "_system_watch", refuse)
    watch = watch_network(loop, lambda: None)
    assert isinstance(watch, NullNetworkWatch)
    watch.close()


# --- Linux ---------------------------------------------------------------------------------------


def test_this_system_tells(loop: asyncio.AbstractEventLoop) -> None:
    watch = watch_network(loop, lambda: None)
    assert isinstance(watch, linux.LinuxNetworkWatch)
    watch.close()


def test_watching_leaves_nothing_behind(loop: asyncio.AbstractEventLoop) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        watch_network(loop, lambda: None).close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """What a program says that changes the network of its own namespace, which nobody else uses."""
    skip_without_namespaces()
    # Its /sys has to be mounted anew to show its own interfaces.
    alone = [*ALONE, "sh", "-c", 'mount -t sysfs none /sys && exec "$@"', "sh"]
    program = [sys.executable, "-m", "tests.desktop.network_program"]
    run = subprocess.run([*alone, *program], cwd=SOURCES, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


@pytest.mark.parametrize(
    "command",
    [one for one in network_program.TOLD if one != network_program.NOTHING_BY_ITSELF],
)
def test_the_kernel_tells_of_another_network(lines: list[str], command: str) -> None:
    assert f"noticed: {command}" in lines


@pytest.mark.parametrize("command", network_program.SILENT)
def test_loopback_one_link_and_containers_are_no_other_network(
    lines: list[str], command: str
) -> None:
    assert f"the same: {command}" in lines


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


@pytest.mark.parametrize(
    ("octets", "matters"),
    [
        # An address of lo, and one of another interface.
        (message(20, struct.pack("=BBBBI", 2, 32, 0, 0, 1)), False),
        (message(20, struct.pack("=BBBBI", 2, 24, 0, 0, 2)), True),
        (message(21, struct.pack("=BBBBI", 10, 64, 0, 0, 2)), True),
        # A route to a network, and the default route.
        (message(24, struct.pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 2, 0, 1, 0)), False),
        (message(25, struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 2, 0, 1, 0)), True),
        # A radio that searches; a link that goes up; one that is taken away.
        (message(16, struct.pack("=BxHiII", 0, 1, 2, 0x1003, 0)), False),
        (message(16, struct.pack("=BxHiII", 0, 1, 2, 0x1003, 1)), True),
        (message(17, struct.pack("=BxHiII", 0, 1, 2, 0x1002, 0)), True),
        (message(16, struct.pack("=BxHiII", 0, 772, 1, 0x49, 1)), False),
    ],
)
def test_looking_is_for_what_may_matter(octets: bytes, matters: bool) -> None:
    ((kind, body),) = linux.parse_messages(octets)
    assert linux.is_relevant(kind, body) is matters


def test_messages_that_make_no_sense_end_the_reading() -> None:
    good = message(20, bytes(8))
    assert len(list(linux.parse_messages(good + bytes(16)))) == 1


# --- macOS ---------------------------------------------------------------------------------------


def sockaddr(address: bytes) -> bytes:
    """Return an address as macOS has it."""
    if len(address) == 4:
        return bytes([16, socket.AF_INET, 0, 0]) + address + bytes(8)
    return bytes([28, 30, 0, 0]) + bytes(4) + address + bytes(4)


def mac_message(kind: int, address: bytes) -> bytes:
    """Return a message of route(4): netmask, interface and address, as macOS sends them."""
    netmask = bytes([7, 0, 0, 0, 255, 255, 255, 0])
    interface = bytes([20, 18]) + bytes(18)
    body = netmask + interface + sockaddr(address)
    header = struct.pack("=HBBiiH2xi", 20 + len(body), 5, kind, 0x4 | 0x10 | 0x20, 0, 4, 0)
    return header + body


@pytest.mark.parametrize("kind", [0xC, 0xD])
@pytest.mark.parametrize(
    ("address", "matters"), [(OFFICE, True), (OFFICE6, True), (HERE, False), (CABLE6, False)]
)
def test_macos_tells_which_address_came_or_went(kind: int, address: bytes, matters: bool) -> None:
    assert macos.is_relevant(mac_message(kind, address)) is matters


def test_other_messages_of_macos_say_nothing() -> None:
    assert not macos.is_relevant(mac_message(0x1, OFFICE))


@pytest.mark.parametrize("length", range(0, 76))
def test_a_short_message_of_macos_says_nothing_wrong(length: int) -> None:
    macos.is_relevant(mac_message(0xC, OFFICE6)[:length])


# --- Windows -------------------------------------------------------------------------------------


class Iphlpapi:
    """The functions of iphlpapi.dll that are called."""

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
        """Call back as Windows does."""
        family, gap = (2, 2) if len(address) == 4 else (23, 6)
        row = struct.pack("<H", family) + bytes(gap) + address
        buffer = ctypes.create_string_buffer(row.ljust(80, b"\0"))
        self.callback(None, ctypes.addressof(buffer), kind)


@pytest.mark.parametrize(
    ("kind", "address", "told"),
    [
        (1, OFFICE, ["changed"]),
        (2, OFFICE6, ["changed"]),
        (0, OFFICE, []),
        (1, HERE, []),
        (1, CABLE6, []),
    ],
    ids=["added", "deleted", "renewed", "loopback", "of one link"],
)
def test_windows_tells_which_address_came_or_went(
    kind: int, address: bytes, told: list[str]
) -> None:
    library, timers, heard = Iphlpapi(), Timers(), list[str]()
    watch = windows.WindowsNetworkWatch(
        timers,  # type: ignore[arg-type]  # what is used of a loop
        lambda: heard.append("changed"),
        library,
    )
    library.call(kind, address)
    while timers.pending:
        timers.ring()
    assert heard == told
    watch.close()
    assert library.cancelled


def test_a_windows_that_refuses_is_said(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(OSError, match="error 5"):
        windows.WindowsNetworkWatch(loop, lambda: None, Iphlpapi(code=5))
