"""Linux: the present network, from the kernel, resolv.conf and the system bus.

The kernel knows the gateways, the VPN interfaces and the wireless networks on every distribution
(rtnetlink(7), nl80211). DNS suffixes come from the ``search`` line of resolv.conf(5), which
systemd-resolved, systemd-networkd, NetworkManager and dhcpcd write. NetworkManager and
systemd-resolved, if they run, add the facts that only they have: the names of VPN connections, the
domains of a VPN with its own name servers, and captive portals.
"""

import contextlib
import logging
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path

from trayproxy.desktop.network_identity.base import (
    Gateway,
    NetworkIdentity,
    clean_mac,
    clean_suffix,
    ssid_text,
)
from trayproxy.desktop.rtnetlink import (
    GET_LINK,
    GET_NEIGHBOUR,
    GET_ROUTE,
    IFF_UP,
    LINK,
    NEIGHBOUR,
    NEW_LINK,
    NEW_NEIGHBOUR,
    NEW_ROUTE,
    attributes,
    default_gateway,
    dump,
    open_netlink,
)

logger = logging.getLogger(__name__)

RESOLV_CONF = Path("/etc/resolv.conf")
_MAX_RESOLV_CONF = 1 << 16

_IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO = 3, 10, 18
_IFLA_INFO_KIND = 1
_NDA_DST, _NDA_LLADDR = 1, 2
_ARPHRD_PPP = 512
_VPN_KINDS = frozenset(
    {b"tun", b"wireguard", b"ppp", b"ovpn", b"ovpn-dco", b"xfrm", b"vti", b"vti6"}
)
"""The kinds of interfaces that VPN programs create (``ip link help``). ``tun`` includes TAP."""

_NETLINK_GENERIC = 16
_GENERIC_CONTROL = 16
"""GENL_ID_CTRL, the family that knows the numbers of the other families."""
_GENERIC = struct.Struct("=BBxx")
# struct genlmsghdr: command, version.
_CTRL_GET_FAMILY = 3
_CTRL_FAMILY_ID, _CTRL_FAMILY_NAME = 1, 2
_NL80211_GET_INTERFACE = 5
_NL80211_SSID = 52


def read_network(bus: str = "SYSTEM", resolv_conf: Path = RESOLV_CONF) -> NetworkIdentity:
    """Read the present network. Facts that cannot be read are empty.

    Args:
        bus: The address of the system bus; ``SYSTEM``: the one of the environment, or the standard
            address.
        resolv_conf: The configuration of the resolver.
    """
    # Here, because jeepney is needed only for this.
    from trayproxy.desktop.network_identity.system_bus import BusFacts, read_system_bus

    gateways: tuple[Gateway, ...] = ()
    vpns: set[str] = set()
    wifi: set[str] = set()
    with _reported("the gateways and interfaces"), open_netlink() as connection:
        gateways = _gateways(connection)
        vpns.update(_vpn_interfaces(dump(connection, GET_LINK)))
    with _reported("the wireless networks"):
        wifi.update(_wireless_networks())
    suffixes = set(_search_list(resolv_conf))
    facts = BusFacts()
    with _reported("the services of the system bus"):
        facts = read_system_bus(bus)
    return NetworkIdentity(
        tuple(sorted(wifi | set(facts.wifi))),
        gateways,
        tuple(sorted(suffixes | set(facts.dns_suffixes))),
        tuple(sorted(vpns | set(facts.vpns))),
        facts.portal,
        facts.portal_url,
    )


@contextlib.contextmanager
def _reported(subject: str) -> Iterator[None]:
    """Log an error of the system instead of raising it."""
    try:
        yield
    except (OSError, ValueError, KeyError, struct.error) as error:
        logger.info("%s cannot be read: %r", subject, error)


def _gateways(connection: socket.socket) -> tuple[Gateway, ...]:
    found: set[tuple[int, bytes]] = set()
    for kind, body in dump(connection, GET_ROUTE):
        if kind == NEW_ROUTE:
            found.update(default_gateway(body))
    macs = dict(_neighbours(dump(connection, GET_NEIGHBOUR)))
    return tuple(
        sorted(
            Gateway(str(ip_address(address)), macs.get((interface, address), ""))
            for interface, address in found
            if address
        )
    )


def _neighbours(messages: Iterable[tuple[int, bytes]]) -> Iterator[tuple[tuple[int, bytes], str]]:
    """Return the hardware address of each neighbour, by its interface and its IP address."""
    for kind, body in messages:
        if kind != NEW_NEIGHBOUR:
            continue
        _, interface, *_ = NEIGHBOUR.unpack_from(body)
        found = attributes(body[NEIGHBOUR.size :])
        mac = clean_mac(found.get(_NDA_LLADDR, b"").hex(":"))
        if mac:
            yield (interface, found.get(_NDA_DST, b"")), mac


def _vpn_interfaces(messages: Iterable[tuple[int, bytes]]) -> Iterator[str]:
    for kind, body in messages:
        if kind != NEW_LINK:
            continue
        _, link_type, _, flags, _ = LINK.unpack_from(body)
        found = attributes(body[LINK.size :])
        info = attributes(found.get(_IFLA_LINKINFO, b""))
        link_kind = info.get(_IFLA_INFO_KIND, b"").rstrip(b"\0")
        # An interface of a bridge belongs to a virtual machine.
        is_usable = flags & IFF_UP and _IFLA_MASTER not in found
        if is_usable and (link_kind in _VPN_KINDS or link_type == _ARPHRD_PPP):
            yield found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode("utf-8", "replace")


def _wireless_networks() -> Iterator[str]:
    """Return the SSIDs of all connected wireless interfaces (linux/nl80211.h).

    Without a wireless interface, the kernel usually does not know the family ``nl80211``.
    """
    with open_netlink(protocol=_NETLINK_GENERIC) as connection:
        family = _generic_family(connection, b"nl80211\0")
        request = _GENERIC.pack(_NL80211_GET_INTERFACE, 0)
        for kind, body in dump(connection, family, request) if family else ():
            ssid = attributes(body[_GENERIC.size :]).get(_NL80211_SSID, b"")
            if kind == family and ssid:
                yield ssid_text(ssid)


def _generic_family(connection: socket.socket, name: bytes) -> int:
    """Return the number of a family of generic netlink; 0 if the kernel does not know it."""
    for _, body in dump(connection, _GENERIC_CONTROL, _GENERIC.pack(_CTRL_GET_FAMILY, 1)):
        found = attributes(body[_GENERIC.size :])
        if found.get(_CTRL_FAMILY_NAME) == name:
            return int.from_bytes(found.get(_CTRL_FAMILY_ID, b"")[:2], sys.byteorder)
    return 0


def _search_list(resolv_conf: Path) -> Iterator[str]:
    """Return the search list of resolv.conf(5); the last ``search`` or ``domain`` line counts."""
    suffixes: list[str] = []
    with _reported("resolv.conf"), resolv_conf.open("rb") as file:
        for line in file.read(_MAX_RESOLV_CONF).decode("utf-8", "replace").splitlines():
            key, *values = line.split() or [""]
            if key in ("search", "domain"):
                suffixes = values
    return filter(None, map(clean_suffix, suffixes))
