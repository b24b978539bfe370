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
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path

from trayproxy.desktop.network_identity.base import (
    Gateway,
    NetworkIdentity,
    clean_mac,
    clean_suffix,
)
from trayproxy.desktop.network_identity.wireless import wireless_networks
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
        wifi.update(wireless_networks())
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


def _search_list(resolv_conf: Path) -> Iterator[str]:
    """Return the search list of resolv.conf(5); the last ``search`` or ``domain`` line counts."""
    suffixes: list[str] = []
    with _reported("resolv.conf"), resolv_conf.open("rb") as file:
        for line in file.read(_MAX_RESOLV_CONF).decode("utf-8", "replace").splitlines():
            key, *values = line.split() or [""]
            if key in ("search", "domain"):
                suffixes = values
    return filter(None, map(clean_suffix, suffixes))
