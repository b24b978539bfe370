"""macOS: the present network, by the commands of the system.

Sources: scutil(8) (``--dns``, ``--nwi``, ``--nc list``), route(8), arp(8), networksetup(8). The
name of the Wi-Fi network is location data: since macOS 14, CoreWLAN and the commands return it only
to programs that the user allows to use the location, which a program without a window cannot ask
for. Without it, `wifi` is empty, and profiles recognise the network by its gateway or DNS suffix.
macOS has no documented query for captive portals: it opens their page in a window of its own.

Written from these manual pages and tested with their output; it was not run on macOS.
"""

import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from trayproxy.desktop.commands import Run
from trayproxy.desktop.network_identity.base import (
    Gateway,
    NetworkIdentity,
    clean_mac,
    clean_suffix,
)
from trayproxy.system_settings.entries import TargetError

COMMAND_LIMIT_S = 0.4
"""Seconds after which a command counts as failed; each takes some 10 ms."""

_VPN_INTERFACE = re.compile(r"(utun|ppp|ipsec|tun|tap)[0-9]+", re.ASCII)
_NWI_INTERFACES = re.compile(r"^Network interfaces:(.*)$", re.MULTILINE)
_DOMAIN = re.compile(r"^\s*(?:search domain\[[0-9]+\]|domain)\s*:\s*(\S+)", re.MULTILINE)
_GATEWAY = re.compile(r"^\s*gateway:\s*(\S+)", re.MULTILINE)
_ARP_ENTRY = re.compile(r"\) at (\S+) on ")
_CONNECTED_VPN = re.compile(r'^\*\s+\(Connected\).*?"([^"\n]+)"', re.MULTILINE)
_WIFI_NAME = re.compile(r"^Current Wi-Fi Network: (.+)$", re.MULTILINE)
_WIFI_PORT = re.compile(r"^Hardware Port: (?:Wi-Fi|AirPort)\nDevice: (\S+)$", re.MULTILINE)


def read_network(run: Run) -> NetworkIdentity:
    """Read the present network. Facts that cannot be read are empty.

    Args:
        run: Runs a command of the system.
    """
    found = _NWI_INTERFACES.search(_output(run, "/usr/sbin/scutil", "--nwi"))
    interfaces = found[1].split() if found else []
    vpns = {name for name in interfaces if _VPN_INTERFACE.fullmatch(name)}
    vpns.update(_CONNECTED_VPN.findall(_output(run, "/usr/sbin/scutil", "--nc", "list")))
    domains = _DOMAIN.findall(_output(run, "/usr/sbin/scutil", "--dns"))
    return NetworkIdentity(
        wifi=tuple(sorted(_wifi_names(run, interfaces))),
        gateways=tuple(sorted(_gateways(run))),
        dns_suffixes=tuple(sorted(set(filter(None, map(clean_suffix, domains))))),
        vpns=tuple(sorted(vpns)),
    )


def _output(run: Run, *argv: str) -> str:
    try:
        result = run(argv)
    except TargetError:
        return ""
    return result.out if result.code == 0 else ""


def _gateways(run: Run) -> Iterator[Gateway]:
    for family in ("-inet", "-inet6"):
        found = _GATEWAY.search(_output(run, "/sbin/route", "-n", "get", family, "default"))
        if found is None:
            continue
        address = found[1].partition("%")[0]
        try:
            is_ipv4 = ip_address(address).version == 4
        except ValueError:
            continue  # An interface, as on a point-to-point link.
        entry = _ARP_ENTRY.search(_output(run, "/usr/sbin/arp", "-n", address) if is_ipv4 else "")
        yield Gateway(address, clean_mac(entry[1]) if entry else "")


def _wifi_names(run: Run, interfaces: Sequence[str]) -> Iterator[str]:
    ports = _output(run, "/usr/sbin/networksetup", "-listallhardwareports")
    for interface in set(_WIFI_PORT.findall(ports)) & set(interfaces):
        answer = _output(run, "/usr/sbin/networksetup", "-getairportnetwork", interface)
        yield from _WIFI_NAME.findall(answer)
