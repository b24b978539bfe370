"""The further listeners that follow from the settings and the addresses of the computer."""

from ipaddress import ip_address, ip_network

import pytest

from trayproxy.control.messages import ListenerKind
from trayproxy.desktop.virtual_adapters.base import AdapterAddress
from trayproxy.profiles.config import Config, Forward, ListenAddress
from trayproxy.service.listener_plan import plan_listeners


def on(adapter: str, address: str, network: str) -> AdapterAddress:
    return AdapterAddress(adapter, ip_address(address), ip_network(network))


LAN = on("eth0", "192.168.1.5", "192.168.1.0/24")
LAN6 = on("eth0", "fd00::5", "fd00::/64")
DOCKER = on("docker0", "172.17.0.1", "172.17.0.0/16")
ADDRESSES = (LAN, LAN6, DOCKER)
DEVICES = ("192.168.1.0/24", "10.0.0.7")


def planned(config: Config) -> list[tuple[str, str, list[str]]]:
    """Return kind, address and allowed networks of each listener."""
    return [
        (one.kind, one.address, list(map(str, one.networks)))
        for one in plan_listeners(config, 3128, ADDRESSES, (DOCKER,))
    ]


def test_without_settings_there_are_no_further_listeners() -> None:
    assert planned(Config()) == []


@pytest.mark.parametrize(
    ("host", "hosts"),
    [
        ("127.0.0.1", ["192.168.1.5", "[fd00::5]", "172.17.0.1"]),
        ("::1", ["192.168.1.5", "[fd00::5]", "172.17.0.1"]),
        ("::", ["192.168.1.5", "[fd00::5]", "172.17.0.1"]),
        ("0.0.0.0", ["192.168.1.5", "172.17.0.1"]),
        ("192.168.1.5", ["192.168.1.5"]),
        ("192.0.2.9", ["192.0.2.9"]),
    ],
)
def test_devices_connect_at_the_address_of_the_settings(host: str, hosts: list[str]) -> None:
    config = Config(ListenAddress(host, devices=("10.0.0.7", "fd00::/64")))
    assert planned(config) == [
        ("devices", f"{one}:3128", ["10.0.0.7/32", "fd00::/64"]) for one in hosts
    ]


def test_without_devices_of_ipv6_its_addresses_are_not_used() -> None:
    config = Config(ListenAddress(devices=("10.0.0.7",)))
    hosts = [address for _, address, _ in planned(config)]
    assert hosts == ["192.168.1.5:3128", "172.17.0.1:3128"]


def test_containers_connect_at_their_adapter_only_from_its_network() -> None:
    config = Config(ListenAddress(containers=True))
    assert planned(config) == [("containers", "172.17.0.1:3128", ["172.17.0.0/16"])]
    (listener,) = plan_listeners(config, 3128, ADDRESSES, (DOCKER,))
    assert listener.to == "docker0"


def test_each_network_of_containers_reaches_each_address() -> None:
    compose = on("br-0123456789ab", "172.18.0.1", "172.18.0.0/16")
    config = Config(ListenAddress(containers=True))
    found = plan_listeners(config, 3128, (DOCKER, compose), (DOCKER, compose))
    assert [(one.address, one.networks) for one in found] == [
        ("172.17.0.1:3128", (DOCKER.network, compose.network)),
        ("172.18.0.1:3128", (DOCKER.network, compose.network)),
    ]


def test_an_address_of_containers_is_not_for_other_devices() -> None:
    config = Config(ListenAddress("0.0.0.0", devices=DEVICES, containers=True))
    assert [address for kind, address, _ in planned(config) if kind == "devices"] == [
        "192.168.1.5:3128"
    ]
    assert [address for kind, address, _ in planned(config) if kind == "containers"] == [
        "172.17.0.1:3128"
    ]


def test_only_devices_need_the_password() -> None:
    listen = ListenAddress(devices=DEVICES, devices_password=True, containers=True)
    config = Config(listen, forwards=(Forward("192.168.1.5", 2222, "git.example", 22),))
    found = plan_listeners(config, 3128, ADDRESSES, (DOCKER,))
    assert {one.kind for one in found if one.needs_password} == {ListenerKind.DEVICES}


def test_a_forward_is_for_devices_only_at_an_address_that_they_reach() -> None:
    config = Config(
        ListenAddress("192.168.1.5", devices=("10.0.0.7",)),
        forwards=(
            Forward("127.0.0.1", 2222, "git.example", 22),
            Forward("192.168.1.5", 2222, "git.example", 22),
        ),
    )
    assert planned(config)[:2] == [
        ("forward", "127.0.0.1:2222", []),
        ("forward", "192.168.1.5:2222", ["10.0.0.7/32"]),
    ]
    local, _, _ = plan_listeners(config, 3128, ADDRESSES, ())
    assert (local.to, local.target) == ("git.example:22", ("git.example", 22))
