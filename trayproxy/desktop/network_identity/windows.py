"""Windows: the present network, by documented functions of three libraries.

- ``GetAdaptersAddresses`` and ``GetIpNetEntry2`` (iphlpapi.h, netioapi.h): gateways, DNS suffixes
  and VPN adapters.
- ``WlanEnumInterfaces`` and ``WlanQueryInterface`` (wlanapi.h): the name of the Wi-Fi network.
  Since Windows 11 24H2, it is location data: without the permission of the user, the function
  fails, and `wifi` is empty. Profiles then recognise the network by its gateway or DNS suffix.
- The Network List Manager (`trayproxy.desktop.network_identity.network_list`): captive portals.

Written from this documentation and tested with replacements of the functions; it was not run on
Windows.
"""

import ctypes
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from ctypes import POINTER, Structure, c_char, c_ubyte, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from trayproxy.desktop.network_identity.base import (
    Gateway,
    NetworkIdentity,
    Portal,
    clean_mac,
    clean_suffix,
    ssid_text,
)
from trayproxy.desktop.windows_library import load_library

logger = logging.getLogger(__name__)

_AF_UNSPEC = 0
_ADDRESS_SLICES = {2: slice(4, 8), 23: slice(8, 24)}
"""The octets of the IP address in a socket address, by family (AF_INET, AF_INET6)."""
_SOCKADDR_INET_SIZE = 28
_SKIPPED_LISTS = 0x1 | 0x2 | 0x4 | 0x8
"""The lists that Windows leaves out: GAA_FLAG_SKIP_UNICAST, _ANYCAST, _MULTICAST, _DNS_SERVER."""
_INCLUDE_GATEWAYS = 0x80
_ERROR_BUFFER_OVERFLOW = 111
_FIRST_SIZE = 15_000
"""The initial size of the buffer that Microsoft recommends for GetAdaptersAddresses."""
_MAX_ATTEMPTS = 3
_UP = 1
"""The state IfOperStatusUp of an adapter that is up."""
_VPN_TYPES = frozenset({23, 53, 131})
"""IF_TYPE_PPP (VPNs of Windows), IF_TYPE_PROP_VIRTUAL (WireGuard, Wintun), IF_TYPE_TUNNEL."""
_VPN_WORDS = ("VPN", "TAP-Windows", "WireGuard", "AnyConnect", "PANGP", "Wintun", "Fortinet")
"""Words in the descriptions of the Ethernet adapters of VPN programs."""

_WLAN_CLIENT_VERSION = 2
_WLAN_CURRENT_CONNECTION = 7
"""The query for the present connection: wlan_intf_opcode_current_connection."""
_WLAN_INFO_SIZE, _WLAN_INFO_START = 532, 8
"""The size of WLAN_INTERFACE_INFO, and the offset of the first one in WLAN_INTERFACE_INFO_LIST."""
_GUID_SIZE = 16
_SSID_OFFSET = 8 + 512
"""The offset of DOT11_SSID in WLAN_CONNECTION_ATTRIBUTES, after two numbers and 256 UTF-16
units."""


class SocketAddress(Structure):
    """The structure SOCKET_ADDRESS: the place and the length of a socket address."""

    _fields_ = (("sockaddr", c_void_p), ("length", ctypes.c_int))


class GatewayEntry(Structure):
    """The structure IP_ADAPTER_GATEWAY_ADDRESS_LH: a gateway in the list of an adapter."""


GatewayEntry._fields_ = (
    ("length", c_uint32),
    ("reserved", c_uint32),
    ("next", POINTER(GatewayEntry)),
    ("address", SocketAddress),
)


class SuffixEntry(Structure):
    """The structure IP_ADAPTER_DNS_SUFFIX: a DNS suffix in the list of an adapter."""


SuffixEntry._fields_ = (("next", POINTER(SuffixEntry)), ("text", ctypes.c_wchar * 256))


class Adapter(Structure):
    """The structure IP_ADAPTER_ADDRESSES_LH: an adapter in the list of all adapters."""


Adapter._fields_ = (
    ("length", c_uint32),
    ("index", c_uint32),
    ("next", POINTER(Adapter)),
    ("adapter_name", ctypes.c_char_p),
    ("unicast", c_void_p),
    ("anycast", c_void_p),
    ("multicast", c_void_p),
    ("dns_servers", c_void_p),
    ("dns_suffix", ctypes.c_wchar_p),
    ("description", ctypes.c_wchar_p),
    ("friendly_name", ctypes.c_wchar_p),
    ("physical_address", c_ubyte * 8),
    ("physical_address_length", c_uint32),
    ("flags", c_uint32),
    ("mtu", c_uint32),
    ("type", c_uint32),
    ("status", ctypes.c_int),
    ("ipv6_index", c_uint32),
    ("zone_indices", c_uint32 * 16),
    ("prefixes", c_void_p),
    ("transmit_speed", c_uint64),
    ("receive_speed", c_uint64),
    ("wins_servers", c_void_p),
    ("gateways", POINTER(GatewayEntry)),
    ("ipv4_metric", c_uint32),
    ("ipv6_metric", c_uint32),
    ("luid", c_uint64),
    ("dhcpv4_server", SocketAddress),
    ("compartment", c_uint32),
    ("network_guid", c_ubyte * 16),
    ("connection_type", ctypes.c_int),
    ("tunnel_type", ctypes.c_int),
    ("dhcpv6_server", SocketAddress),
    ("dhcpv6_duid", c_ubyte * 130),
    ("dhcpv6_duid_length", c_uint32),
    ("dhcpv6_iaid", c_uint32),
    ("suffixes", POINTER(SuffixEntry)),
)


class NeighbourRow(Structure):
    """The structure MIB_IPNET_ROW2: the hardware address of a neighbour."""

    _fields_ = (
        ("address", c_char * _SOCKADDR_INET_SIZE),
        ("index", c_uint32),
        ("luid", c_uint64),
        ("physical_address", c_ubyte * 32),
        ("physical_address_length", c_uint32),
        ("state", ctypes.c_int),
        ("flags", c_ubyte),
        ("reachability", c_uint32),
    )


@dataclass(frozen=True, slots=True)
class WindowsLibraries:
    """The libraries with the functions. Attributes are None if this Windows lacks a library.

    Attributes:
        iphlpapi: Network adapters.
        wlanapi: Wi-Fi; editions for servers may lack it.
        read_portal: Returns whether there is a captive portal.
    """

    iphlpapi: Any
    wlanapi: Any
    read_portal: Callable[[], Portal]


def system_libraries() -> WindowsLibraries:
    """Return the libraries of this Windows."""
    from trayproxy.desktop.network_identity.network_list import read_portal

    found: dict[str, Any] = {"iphlpapi": None, "wlanapi": None}
    for name in found:
        with suppress(OSError):
            found[name] = load_library(name)
    return WindowsLibraries(found["iphlpapi"], found["wlanapi"], read_portal)


def read_network(libraries: WindowsLibraries | None = None) -> NetworkIdentity:
    """Read the present network. Facts that cannot be read are empty."""
    libraries = libraries or system_libraries()
    gateways: set[Gateway] = set()
    suffixes: set[str] = set()
    vpns: set[str] = set()
    if libraries.iphlpapi is not None:
        with AdapterList(libraries.iphlpapi) as adapters:
            for adapter in adapters:
                gateways.update(_gateways(libraries.iphlpapi, adapter))
                suffixes.update(_suffixes(adapter))
                if _is_vpn(adapter):
                    vpns.add(adapter.friendly_name or "")
    wifi = set(_wifi_names(libraries.wlanapi)) if libraries.wlanapi is not None else set()
    return NetworkIdentity(
        tuple(sorted(wifi)),
        tuple(sorted(gateways)),
        tuple(sorted(filter(None, suffixes))),
        tuple(sorted(filter(None, vpns))),
        libraries.read_portal(),
    )


class AdapterList:
    """Holds the memory of the list of all adapters that are up, while it is read."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._buffer: Any = None

    def __enter__(self) -> Iterator[Adapter]:
        size = c_uint32(_FIRST_SIZE)
        for _ in range(_MAX_ATTEMPTS):
            self._buffer = ctypes.create_string_buffer(size.value)
            code = self._library.GetAdaptersAddresses(
                _AF_UNSPEC,
                _SKIPPED_LISTS | _INCLUDE_GATEWAYS,
                None,
                self._buffer,
                ctypes.byref(size),
            )
            if code == 0:
                return self._up()
            if code != _ERROR_BUFFER_OVERFLOW:
                break
        logger.info("the network adapters cannot be read: error %s", code)
        return iter(())

    def _up(self) -> Iterator[Adapter]:
        entry = ctypes.cast(self._buffer, POINTER(Adapter))
        while entry:
            adapter = entry.contents
            if adapter.status == _UP:
                yield adapter
            entry = adapter.next

    def __exit__(self, *_: object) -> None:
        self._buffer = None


def _gateways(library: Any, adapter: Adapter) -> Iterator[Gateway]:
    entry = adapter.gateways
    while entry:
        length = min(entry.contents.address.length, _SOCKADDR_INET_SIZE)
        sockaddr = ctypes.string_at(entry.contents.address.sockaddr, length)
        where = _ADDRESS_SLICES.get(int.from_bytes(sockaddr[:2], "little"))
        octets = sockaddr[where] if where is not None else b""
        if len(octets) in (4, 16):
            yield Gateway(str(ip_address(octets)), _mac(library, adapter, sockaddr))
        entry = entry.contents.next


def _mac(library: Any, adapter: Adapter, sockaddr: bytes) -> str:
    """Return the known hardware address of a neighbour, without a request on the network."""
    row = NeighbourRow(luid=adapter.luid)
    ctypes.memmove(ctypes.byref(row), sockaddr, len(sockaddr))
    if library.GetIpNetEntry2(ctypes.byref(row)) != 0:
        return ""
    return clean_mac(bytes(row.physical_address[: row.physical_address_length]).hex(":"))


def _suffixes(adapter: Adapter) -> Iterator[str]:
    yield clean_suffix(adapter.dns_suffix or "")
    entry = adapter.suffixes
    while entry:
        yield clean_suffix(entry.contents.text)
        entry = entry.contents.next


def _is_vpn(adapter: Adapter) -> bool:
    description = adapter.description or ""
    return adapter.type in _VPN_TYPES or any(word in description for word in _VPN_WORDS)


def _wifi_names(library: Any) -> Iterator[str]:
    handle, version, interfaces = c_void_p(), c_uint32(), c_void_p()
    if library.WlanOpenHandle(
        _WLAN_CLIENT_VERSION, None, ctypes.byref(version), ctypes.byref(handle)
    ):
        return
    try:
        if library.WlanEnumInterfaces(handle, None, ctypes.byref(interfaces)) or not interfaces:
            return
        start = interfaces.value or 0
        count = c_uint32.from_address(start).value
        for number in range(count):
            guid = start + _WLAN_INFO_START + number * _WLAN_INFO_SIZE
            yield from _ssid(library, handle, guid)
        library.WlanFreeMemory(interfaces)
    finally:
        library.WlanCloseHandle(handle, None)


def _ssid(library: Any, handle: c_void_p, guid: int) -> Iterator[str]:
    size, data = c_uint32(), c_void_p()
    identifier = (c_ubyte * _GUID_SIZE).from_address(guid)
    code = library.WlanQueryInterface(
        handle,
        ctypes.byref(identifier),
        _WLAN_CURRENT_CONNECTION,
        None,
        ctypes.byref(size),
        ctypes.byref(data),
        None,
    )
    if code or not data or size.value < _SSID_OFFSET + 36:
        return  # Not connected, or the user does not allow the location.
    start = (data.value or 0) + _SSID_OFFSET
    length = c_uint32.from_address(start).value
    ssid = ctypes.string_at(start + 4, min(length, 32))
    library.WlanFreeMemory(data)
    if ssid:
        yield ssid_text(ssid)
