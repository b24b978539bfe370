"""Tests for trayproxy.desktop.network_identity with fakes of macOS and Windows."""

import ctypes
import struct
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from trayproxy.desktop.commands import CommandResult
from trayproxy.desktop.network_identity import macos, network_list, windows
from trayproxy.desktop.network_identity.base import (
    Gateway,
    NetworkIdentity,
    Portal,
    clean_mac,
    clean_suffix,
    ssid_text,
    web_url,
)
from trayproxy.system_settings.entries import TargetError

# --- everywhere ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ("Corp.Example.", "corp.example"),
        ("~corp.example", "corp.example"),
        (" corp.example ", "corp.example"),
        ("~.", ""),
        (".", ""),
        ("local", ""),
        ("printers.local", ""),
        ("2.0.192.in-addr.arpa", ""),
        ("8.b.d.0.1.0.0.2.ip6.arpa", ""),
        ("x" * 300, ""),
        ("two words", ""),
    ],
)
def test_a_dns_suffix_is_written_in_one_way(text: str, suffix: str) -> None:
    assert clean_suffix(text) == suffix


@pytest.mark.parametrize("text", ["2:0:5e:10:0:1", "02-00-5E-10-00-01", "02:00:5e:10:00:01"])
def test_a_hardware_address_is_written_in_one_way(text: str) -> None:
    assert clean_mac(text) == "02:00:5e:10:00:01"


@pytest.mark.parametrize("text", ["", "(incomplete)", "02:00:5e", "02:00:5e:10:00:01:02", "g" * 17])
def test_other_texts_are_no_hardware_address(text: str) -> None:
    assert clean_mac(text) == ""


def test_an_ssid_need_not_be_utf_8() -> None:
    assert ssid_text(b"Caf\xe9") == "Caf\ufffd"


@pytest.mark.parametrize(
    "url", ["ftp://x/", "http://u:p@x/", "http://x/\x1b", "http://x/" + "y" * 2048]
)
def test_only_a_plain_web_address_is_opened(url: str) -> None:
    assert web_url(url) == ""
    assert web_url("https://x/") == "https://x/"


HOME = NetworkIdentity(gateways=(Gateway("192.168.1.1", "02:00:5e:10:00:01"),))


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        (HOME, True),
        (NetworkIdentity(gateways=(Gateway("192.168.1.1"),)), True),
        (NetworkIdentity(gateways=(*HOME.gateways, Gateway("fe80::1"))), True),
        (NetworkIdentity(gateways=(Gateway("192.168.1.1", "02:00:5e:10:00:02"),)), False),
        (NetworkIdentity(gateways=(Gateway("192.168.2.1"),)), False),
        (NetworkIdentity(wifi=("home",), gateways=HOME.gateways), False),
        (NetworkIdentity(gateways=HOME.gateways, vpns=("tun0",)), False),
        (NetworkIdentity(), False),
    ],
)
def test_two_readings_of_the_same_network_are_recognised(
    other: NetworkIdentity, is_same: bool
) -> None:
    assert HOME.is_same_network(other) is is_same
    assert other.is_same_network(HOME) is is_same


# --- macOS ---------------------------------------------------------------------------------------

NWI = """\
Network information

IPv4 network interface information
     en0 : flags      : 0x5 (IPv4,DNS)
   utun4 : flags      : 0x5 (IPv4,DNS)

Network interfaces: en0 utun4
"""
NC_LIST = """\
Available network connection services in the current set (*=enabled):
* (Disconnected)   11111111-0000 IPSec   "Old VPN"   [IPSec]
* (Connected)      22222222-0000 VPN (com.example.vpn) "Company VPN" [VPN:com.example.vpn]
"""
DNS = """\
DNS configuration

resolver #1
  search domain[0] : corp.example
  nameserver[0] : 192.0.2.1

resolver #2
  domain   : lab.example
  options  : supplemental

resolver #3
  domain   : local
  options  : mdns

resolver #4
  domain   : 254.169.in-addr.arpa
"""
ROUTE = """\
   route to: default
destination: default
    gateway: {}
  interface: en0
"""
PORTS = """\

Hardware Port: Ethernet
Device: en5

Hardware Port: Wi-Fi
Device: en0
Ethernet Address: 02:00:5e:10:00:09
"""
OUTPUTS = {
    "/usr/sbin/scutil --nwi": NWI,
    "/usr/sbin/scutil --nc list": NC_LIST,
    "/usr/sbin/scutil --dns": DNS,
    "/sbin/route -n get -inet default": ROUTE.format("192.0.2.1"),
    "/sbin/route -n get -inet6 default": ROUTE.format("fe80::1%en0"),
    "/usr/sbin/arp -n 192.0.2.1": "? (192.0.2.1) at 2:0:5e:10:0:1 on en0 ifscope [ethernet]\n",
    "/usr/sbin/networksetup -listallhardwareports": PORTS,
    "/usr/sbin/networksetup -getairportnetwork en0": "Current Wi-Fi Network: Branch Office\n",
}


def mac_runner(outputs: dict[str, str]) -> Callable[[Sequence[str]], CommandResult]:
    def run(argv: Sequence[str]) -> CommandResult:
        output = outputs.get(" ".join(argv))
        if output is None:
            raise TargetError("it does not end")
        return CommandResult(0, output)

    return run


def test_macos_reads_the_output_of_its_commands() -> None:
    assert macos.read_network(mac_runner(OUTPUTS)) == NetworkIdentity(
        wifi=("Branch Office",),
        gateways=(Gateway("192.0.2.1", "02:00:5e:10:00:01"), Gateway("fe80::1")),
        dns_suffixes=("corp.example", "lab.example"),
        vpns=("Company VPN", "utun4"),
    )


@pytest.mark.parametrize("missing", OUTPUTS)
def test_macos_does_without_any_of_its_commands(missing: str) -> None:
    outputs = {command: output for command, output in OUTPUTS.items() if command != missing}
    assert macos.read_network(mac_runner(outputs)) != macos.read_network(mac_runner(OUTPUTS))


def test_macos_has_no_wifi_name_without_the_permission_for_the_location() -> None:
    denied = {
        "/usr/sbin/networksetup -getairportnetwork en0": "You are not associated with a network.\n"
    }
    network = macos.read_network(mac_runner(OUTPUTS | denied))
    assert (network.wifi, network.dns_suffixes) == ((), ("corp.example", "lab.example"))


# --- Windows -------------------------------------------------------------------------------------


def sockaddr(*octets: int) -> bytes:
    return struct.pack("<HH", 2, 0) + bytes(octets) + bytes(8)


class FakeAdapters:
    """iphlpapi with a physical adapter, a VPN adapter and an adapter that is down."""

    def __init__(self, *, first_error: int = 111) -> None:
        self._errors = [first_error] if first_error else []
        self._gateway_octets = ctypes.create_string_buffer(sockaddr(192, 0, 2, 1))
        self._gateway = windows.GatewayEntry()
        self._gateway.address.sockaddr = ctypes.addressof(self._gateway_octets)
        self._gateway.address.length = 16
        self._suffix = windows.SuffixEntry(text="Lab.Example")
        self._down = windows.Adapter(status=2, type=53, friendly_name="Old VPN")
        self._vpn = windows.Adapter(
            status=1, type=53, friendly_name="wg0", next=ctypes.pointer(self._down)
        )
        self._ethernet = windows.Adapter(
            status=1,
            type=6,
            luid=7,
            friendly_name="Ethernet",
            description="Example GbE",
            dns_suffix="corp.example",
            gateways=ctypes.pointer(self._gateway),
            suffixes=ctypes.pointer(self._suffix),
            next=ctypes.pointer(self._vpn),
        )

    def GetAdaptersAddresses(  # noqa: N802  # its own name
        self, family: int, flags: int, reserved: None, buffer: Any, size: Any
    ) -> int:
        assert (family, flags) == (0, 0x8F)
        if self._errors:
            return self._errors.pop()
        ctypes.memmove(buffer, ctypes.byref(self._ethernet), ctypes.sizeof(self._ethernet))
        return 0

    def GetIpNetEntry2(self, row: Any) -> int:  # noqa: N802
        found = ctypes.cast(row, ctypes.POINTER(windows.NeighbourRow)).contents
        octets = ctypes.string_at(ctypes.addressof(found), 16)
        assert (octets, found.luid) == (sockaddr(192, 0, 2, 1), 7)
        for index, octet in enumerate(bytes.fromhex("02005e100001")):
            found.physical_address[index] = octet
        found.physical_address_length = 6
        return 0


class FakeWlan:
    """wlanapi with one interface."""

    def __init__(self, ssid: bytes, *, error: int = 0) -> None:
        self._error = error
        self._interfaces = ctypes.create_string_buffer(struct.pack("<II", 1, 0) + bytes(532))
        attributes = bytes(520) + struct.pack("<I", len(ssid)) + ssid.ljust(64, b"\0")
        self._attributes = ctypes.create_string_buffer(attributes)
        self.open_handles = 0
        self.freed = 0

    def WlanOpenHandle(self, version: int, _: None, __: Any, handle: Any) -> int:  # noqa: N802
        self.open_handles += 1
        return 0

    def WlanEnumInterfaces(self, handle: Any, _: None, found: Any) -> int:  # noqa: N802
        target = ctypes.cast(found, ctypes.POINTER(ctypes.c_void_p))
        target.contents.value = ctypes.addressof(self._interfaces)
        return 0

    def WlanQueryInterface(  # noqa: N802
        self, handle: Any, guid: Any, code: int, _: None, size: Any, data: Any, __: None
    ) -> int:
        assert code == 7
        if self._error:
            return self._error
        ctypes.cast(size, ctypes.POINTER(ctypes.c_uint32)).contents.value = 588
        target = ctypes.cast(data, ctypes.POINTER(ctypes.c_void_p))
        target.contents.value = ctypes.addressof(self._attributes)
        return 0

    def WlanFreeMemory(self, memory: Any) -> None:  # noqa: N802
        self.freed += 1

    def WlanCloseHandle(self, handle: Any, _: None) -> int:  # noqa: N802
        self.open_handles -= 1
        return 0


def windows_with(adapters: Any = None, wlan: Any = None) -> windows.WindowsLibraries:
    return windows.WindowsLibraries(adapters, wlan, lambda: Portal.PRESENT)


def test_windows_reads_adapters_and_the_wifi() -> None:
    wlan = FakeWlan(b"Branch Office")
    assert windows.read_network(windows_with(FakeAdapters(), wlan)) == NetworkIdentity(
        wifi=("Branch Office",),
        gateways=(Gateway("192.0.2.1", "02:00:5e:10:00:01"),),
        dns_suffixes=("corp.example", "lab.example"),
        vpns=("wg0",),
        portal=Portal.PRESENT,
    )
    assert (wlan.open_handles, wlan.freed) == (0, 2)


def test_windows_has_no_wifi_name_without_the_permission_for_the_location() -> None:
    wlan = FakeWlan(b"Branch Office", error=5)
    assert windows.read_network(windows_with(wlan=wlan)).wifi == ()
    assert wlan.open_handles == 0


def test_windows_without_the_adapters_has_an_empty_network() -> None:
    network = windows.read_network(windows_with(FakeAdapters(first_error=5)))
    assert network == NetworkIdentity(portal=Portal.PRESENT)


class FakeNetworkList:
    """ole32 and the objects of the Network List Manager; each object is a number."""

    def __init__(self, *values: int, error: int = 0) -> None:
        self._values = values
        self._error = error
        self._left = 1
        self.held = 0

    def CoInitializeEx(self, _: None, mode: int) -> int:  # noqa: N802  # its own name
        return 0

    def CoUninitialize(self) -> None: ...  # noqa: N802

    def CoCreateInstance(  # noqa: N802
        self, identifier: Any, _: None, context: int, interface: Any, found: Any
    ) -> int:
        assert identifier.raw.hex() == "010cb0dc0f579b4a8d69199fdba5723b"
        return self._error or self._give(found, 1)

    def call(self, com_object: Any, position: int, *arguments: Any) -> int:
        match (com_object.value, position):
            case (1, 7):
                return self._give(arguments[1], 2)
            case (2, 8):
                if not self._left:
                    return 1
                self._left -= 1
                arguments[2].contents.value = 1
                return self._give(arguments[1], 3)
            case (3, 0):
                return self._give(arguments[1], 4)
            case (4, 3):
                index = network_list.PROPERTY_NAMES.index(arguments[0].value)
                if index >= len(self._values):
                    return -1
                arguments[1].contents.kind = 3
                arguments[1].contents.number = self._values[index]
                return 0
            case (_, 2):
                self.held -= 1
                return 0
        raise AssertionError((com_object, position))

    def _give(self, target: Any, number: int) -> int:
        self.held += 1
        ctypes.cast(target, ctypes.POINTER(ctypes.c_void_p)).contents.value = number
        return 0


@pytest.mark.parametrize(
    ("values", "portal"),
    [
        ((1,), Portal.PRESENT),
        ((0, 1), Portal.PRESENT),
        ((0, 0), Portal.ABSENT),
        ((4,), Portal.ABSENT),
        ((), Portal.UNKNOWN),
    ],
)
def test_windows_knows_captive_portals(values: tuple[int, ...], portal: Portal) -> None:
    fake = FakeNetworkList(*values)
    assert network_list.read_portal(fake, fake.call) is portal
    assert fake.held == 0


def test_a_missing_network_list_manager_is_no_error() -> None:
    fake = FakeNetworkList(error=-2147221164)
    assert network_list.read_portal(fake, fake.call) is Portal.UNKNOWN
