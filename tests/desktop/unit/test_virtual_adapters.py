"""The addresses on adapters, with the answers of fake systems."""

import socket
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from trayproxy.desktop.virtual_adapters import linux, macos, windows
from trayproxy.desktop.virtual_adapters.base import AdapterAddress, adapter_addresses


def entry(address: str, netmask: str | None) -> SimpleNamespace:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return SimpleNamespace(family=family, address=address, netmask=netmask)


def test_addresses_of_adapters_have_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {
        "lo": [entry("127.0.0.1", "255.0.0.0"), entry("::1", "ffff:" * 7 + "ffff")],
        "eth0": [
            entry("192.168.1.5", "255.255.255.0"),
            entry("fe80::1%eth0", "ffff:ffff:ffff:ffff::"),
            entry("2001:db8::5", "ffff:ffff:ffff:ffff::"),
            SimpleNamespace(family=17, address="02:00:00:00:00:01", netmask=None),
        ],
        "docker0": [entry("172.17.0.1", "255.255.0.0")],
        "tun0": [entry("10.8.0.2", None), entry("169.254.3.4", "255.255.0.0")],
        "odd": [entry("0.0.0.0", "255.0.0.0"), entry("10.0.0.1", "mask")],
    }
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: answer)
    assert adapter_addresses() == tuple(
        AdapterAddress(adapter, ip_address(address), ip_network(network))
        for adapter, address, network in (
            ("eth0", "192.168.1.5", "192.168.1.0/24"),
            ("eth0", "2001:db8::5", "2001:db8::/64"),
            ("docker0", "172.17.0.1", "172.17.0.0/16"),
        )
    )


@pytest.mark.parametrize(
    ("adapter", "is_bridge", "expected"),
    [
        ("docker0", True, True),
        ("docker0", False, False),
        ("br-0123456789ab", True, True),
        ("br-lan", True, False),
        ("br0", True, False),
        ("podman1", True, True),
        ("cni-podman0", True, True),
        ("lxdbr0", True, True),
        ("virbr0", True, False),
        ("eth0", False, False),
    ],
)
def test_bridges_of_container_engines_on_linux(
    tmp_path: Path, adapter: str, is_bridge: bool, expected: bool
) -> None:
    (tmp_path / adapter).mkdir()
    if is_bridge:
        (tmp_path / adapter / "bridge").mkdir()
    assert linux.is_container_adapter(adapter, tmp_path) is expected


@pytest.mark.parametrize(
    ("folders", "expected"), [((), True), (("device",), False), (("lower_eth0",), False)]
)
def test_a_bridge_to_a_network_of_the_computer_is_none_of_containers(
    tmp_path: Path, folders: tuple[str, ...], expected: bool
) -> None:
    for folder in ("lxdbr0/bridge", "lxdbr0/brif/veth1", "lxdbr0/brif/port2", "veth1", "port2"):
        (tmp_path / folder).mkdir(parents=True)
    for name in folders:
        (tmp_path / "port2" / name).mkdir()
    assert linux.is_container_adapter("lxdbr0", tmp_path) is expected


@pytest.mark.parametrize(
    ("adapter", "expected"),
    [
        ("vEthernet (WSL)", True),
        ("vEthernet (WSL (Hyper-V firewall))", True),
        ("vEthernet (nat)", True),
        ("vEthernet (Default Switch)", False),
        ("vEthernet (External)", False),
        ("Ethernet", False),
        ("WSL", False),
    ],
)
def test_switches_of_windows(adapter: str, expected: bool) -> None:
    assert windows.is_container_adapter(adapter) is expected


@pytest.mark.parametrize(
    ("adapter", "expected"), [("bridge100", True), ("bridge0", False), ("en0", False)]
)
def test_bridges_of_macos(adapter: str, expected: bool) -> None:
    assert macos.is_container_adapter(adapter) is expected
