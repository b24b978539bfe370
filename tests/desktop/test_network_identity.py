"""Tests for trayproxy.desktop.network_identity on Linux: a real network, a fake NetworkManager."""

import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest
from jeepney import message_bus
from jeepney.io.blocking import open_dbus_connection

from tests.support.bus import session_bus
from tests.support.dbusmock import mocked_network_manager
from tests.support.namespaces import ALONE, skip_without_namespaces
from tests.support.network_manager import BEHIND_PORTAL, NetworkManager, Resolved
from tests.support.process_output import PATIENCE
from tests.support.processes import Home
from trayproxy.desktop.network_identity.base import LIMIT_S, NetworkIdentity, Portal
from trayproxy.desktop.network_identity.factory import network_reader
from trayproxy.desktop.network_identity.linux import read_network
from trayproxy.desktop.network_identity.wireless import NETLINK_GENERIC, family_number, ssids
from trayproxy.desktop.rtnetlink import open_netlink

NO_BUS = "unix:path=/no-such-folder/bus"
SOURCES = Path(__file__).parents[2]
MAC = "02:00:5e:10:00:01"


@pytest.fixture
def bus(place: Home) -> Iterator[str]:
    with session_bus(place) as address:
        yield address


def test_gateways_and_vpn_interfaces_come_from_the_kernel() -> None:
    skip_without_namespaces()
    set_up = f"""
        ip link add far type veth peer near && ip link set far up && ip link set near up
        ip address add 192.0.2.7/24 dev far
        ip route add default via 192.0.2.1
        ip neighbour add 192.0.2.1 lladdr {MAC} dev far
        ip tuntap add dev tun7 mode tun && ip link set tun7 up
        ip tuntap add dev tun8 mode tun
        ip link add inside type bridge
        ip tuntap add dev tap9 mode tap && ip link set tap9 master inside up
    """
    program = (
        "from trayproxy.desktop.network_identity.linux import read_network\n"
        f"network = read_network({NO_BUS!r})\nprint(network.gateways, network.vpns)"
    )
    argv = [*ALONE, "sh", "-c", f'{set_up}\nexec "$0" -c "$1"', sys.executable, program]
    run = subprocess.run(argv, cwd=SOURCES, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    # tun8 is down; tap9 belongs to a virtual machine.
    assert run.stdout == f"(Gateway(address='192.0.2.1', mac='{MAC}'),) ('tun7',)\n"


def test_the_last_search_line_of_resolv_conf_counts(tmp_path: Path) -> None:
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text(
        "# search comment.example\nnameserver 192.0.2.1\nsearch old.example\n"
        "search Corp.Example. lab.example 2.0.192.in-addr.arpa .\noptions edns0\n"
    )
    network = read_network(NO_BUS, resolv_conf)
    assert network.dns_suffixes == ("corp.example", "lab.example")
    assert network.portal is Portal.UNKNOWN
    resolv_conf.unlink()
    assert read_network(NO_BUS, resolv_conf).dns_suffixes == ()


def test_network_manager_knows_wifi_vpn_connections_domains_and_portals(
    bus: str, tmp_path: Path
) -> None:
    missing = tmp_path / "resolv.conf"
    with NetworkManager(bus) as manager:
        network = read_network(bus, missing)
        assert (network.wifi, network.dns_suffixes, network.portal) == ((), (), Portal.ABSENT)
        manager.move(ssid=b"Caf\xc3\xa9 \xff", connectivity=BEHIND_PORTAL)
        network = read_network(bus, missing)
        assert network.wifi == ("Café \ufffd",)
        assert (network.portal, network.portal_url) == (Portal.PRESENT, "http://check.example/")
        manager.move(vpn="Company VPN", domains=("~corp.example", "lab.example"))
        network = read_network(bus, missing)
        assert "Company VPN" in network.vpns
        assert network.dns_suffixes == ("corp.example", "lab.example")


def test_the_network_manager_of_dbusmock_is_understood(
    bus: str, place: Home, tmp_path: Path
) -> None:
    with mocked_network_manager(place, bus) as manager:
        network = read_network(bus, tmp_path / "resolv.conf")
        assert (network.wifi, network.portal) == ((), Portal.ABSENT)
        manager.join("Branch Office")
        manager.set_connectivity(BEHIND_PORTAL)
        network = read_network(bus, tmp_path / "resolv.conf")
        assert (network.wifi, network.portal) == (("Branch Office",), Portal.PRESENT)


def test_a_hostile_address_of_the_check_page_is_not_opened(bus: str) -> None:
    with NetworkManager(bus) as manager:
        for uri in ("file:///etc/passwd", "http://a b/", "javascript:alert(1)", "http://u@x/"):
            manager.move(connectivity=BEHIND_PORTAL, check_uri=uri)
            network = read_network(bus)
            assert (network.portal, network.portal_url) == (Portal.PRESENT, "")


def test_values_of_other_types_are_ignored(bus: str) -> None:
    with NetworkManager(bus) as manager:
        manager.objects["/org/freedesktop/NetworkManager"] = {
            "ActiveConnections": ("s", "x"),
            "Connectivity": ("s", "portal"),
        }
        manager.objects["/org/freedesktop/NetworkManager/DnsManager"] = {
            "Configuration": ("aa{sv}", [{"domains": ("u", 7)}, {}])
        }
        assert read_network(bus).portal is Portal.UNKNOWN


def test_a_service_that_hangs_delays_the_reader_once(bus: str, tmp_path: Path) -> None:
    """The bus has no other service; a name without replies is like NetworkManager that hangs."""
    with Resolved(bus, "corp.example"), closing(open_dbus_connection(bus=bus)) as silent:
        request = message_bus.RequestName("org.freedesktop.NetworkManager")
        silent.send_and_get_reply(request, timeout=PATIENCE)
        before = monotonic()
        network = read_network(bus, tmp_path / "resolv.conf")
        assert network.dns_suffixes == ("corp.example",)
        assert monotonic() - before < 2 * LIMIT_S


def test_routing_domains_come_from_resolved(bus: str, tmp_path: Path) -> None:
    with Resolved(bus, "~corp.example", "lab.example", "~."):
        network = read_network(bus, tmp_path / "resolv.conf")
    assert network.dns_suffixes == ("corp.example", "lab.example")


def test_this_system_has_a_reader() -> None:
    assert isinstance(network_reader()(), NetworkIdentity)


def test_the_kernel_knows_the_families_of_generic_netlink() -> None:
    with open_netlink(protocol=NETLINK_GENERIC) as connection:
        assert family_number(connection, "nlctrl") == 16
        assert family_number(connection, "no-such-family") == 0


def test_only_connected_wireless_interfaces_have_a_name() -> None:
    """The messages have a header, an index (3), a name (4) and an SSID (52)."""

    def attribute(kind: int, value: bytes) -> bytes:
        octets = struct.pack("=HH", 4 + len(value), kind) + value
        return octets.ljust((len(octets) + 3) & ~3, b"\0")

    header = bytes([7, 1, 0, 0])
    idle = header + attribute(3, bytes(4)) + attribute(4, b"wlan1\0")
    messages = [(28, idle), (28, idle + attribute(52, b"Branch Office")), (29, idle + b"\x01")]
    assert list(ssids(28, messages)) == ["Branch Office"]
