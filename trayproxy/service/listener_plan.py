"""Decides at which further addresses TrayProxy listens, and for whom."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from trayproxy.control.messages import ListenerKind
from trayproxy.desktop.virtual_adapters.base import AdapterAddress
from trayproxy.engine.server.network_access import IpNetwork
from trayproxy.profiles.config import Config, ListenAddress


@dataclass(frozen=True, slots=True)
class PlannedListener:
    """A listener beside the local address.

    Two are equal if an open listener can become the other one: `to` and `networks` may differ.

    Attributes:
        kind: The clients of the listener.
        host: The IP literal to listen on, without brackets.
        port: The port to listen on.
        to: See `trayproxy.control.messages.FurtherListener`.
        networks: The addresses of the devices that may connect; empty for a listener that only
            programs of this computer can reach.
        target: The host and port of a forward; None otherwise.
        needs_password: True if the clients must send the password for other devices.
    """

    kind: ListenerKind
    host: str
    port: int
    to: str = field(compare=False)
    networks: tuple[IpNetwork, ...] = field(default=(), compare=False)
    target: tuple[str, int] | None = None
    needs_password: bool = False

    @property
    def address(self) -> str:
        """The address and the port, ``192.168.1.5:3128``; IPv6 literals get brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def plan_listeners(
    config: Config,
    port: int,
    addresses: tuple[AdapterAddress, ...],
    of_containers: tuple[AdapterAddress, ...],
) -> tuple[PlannedListener, ...]:
    """Return the listeners of the settings, with different addresses.

    Args:
        config: The settings.
        port: The port at which TrayProxy listens for programs of this computer.
        addresses: The addresses of this computer.
        of_containers: Those of them on the virtual adapters of containers.
    """
    listen = config.listen
    planned = [*_forwards(config)]
    if listen.containers:
        # A program in a container gets a single address, whichever network the container has.
        networks = tuple(found.network for found in of_containers)
        planned += [
            PlannedListener(
                ListenerKind.CONTAINERS,
                str(found.address),
                port,
                found.adapter,
                networks,
            )
            for found in of_containers
        ]
    if listen.devices:
        allowed = tuple(map(ip_network, listen.devices))
        planned += [
            PlannedListener(
                ListenerKind.DEVICES,
                host,
                port,
                ", ".join(listen.devices),
                allowed,
                needs_password=listen.devices_password,
            )
            for host in _device_hosts(listen, {one.version for one in allowed}, addresses)
        ]
    # Containers come before other devices: their adapters have an access control of their own.
    return tuple({(one.host, one.port): one for one in reversed(planned)}.values())[::-1]


def _forwards(config: Config) -> Iterable[PlannedListener]:
    networks = tuple(map(ip_network, config.listen.devices))
    for forward in config.forwards:
        is_local = ip_address(forward.host).is_loopback
        yield PlannedListener(
            ListenerKind.FORWARD,
            forward.host,
            forward.port,
            forward.target,
            () if is_local else networks,
            forward.target_address,
        )


def _device_hosts(
    listen: ListenAddress, versions: set[int], addresses: tuple[AdapterAddress, ...]
) -> list[str]:
    """Return the addresses for other devices: a single one, or all of this computer with one of the
    IP versions of the devices.

    TrayProxy does not listen on 0.0.0.0 itself: it already listens on 127.0.0.1, and no system
    allows both with the same port.
    """
    host = ip_address(listen.host)
    if not (host.is_loopback or host.is_unspecified):
        return [listen.host]
    if host.is_unspecified and host.version == 4:
        versions = versions & {4}
    found = [one.address for one in addresses if one.address.version in versions]
    return [str(address) for address in dict.fromkeys(found)]
