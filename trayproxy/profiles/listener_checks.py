"""Checks of the settings for further listeners: fixed forwards, and other devices."""

import ipaddress
from collections.abc import Iterable
from dataclasses import replace

from trayproxy.profiles.config import MAX_DEVICES, MAX_FORWARDS, Config, Forward, ListenAddress
from trayproxy.profiles.profile import ProfileError
from trayproxy.profiles.validate import check_host, check_port, parse_listen, split_port


def check_device(text: str) -> str:
    """Return an address or a network of other devices in its shortest form, ``192.168.1.0/24``.

    Raises:
        ProfileError: The text is neither, or the network contains every address.
    """
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ProfileError(
            "Write the address of a device or a network, such as 10.0.0.7 or 192.168.1.0/24."
        ) from None
    if network.prefixlen == 0:
        raise ProfileError(
            f"{network} is every address in the world. Write the addresses of your devices."
        )
    if network.num_addresses == 1:
        return str(network.network_address)
    return str(network)


def check_devices(texts: Iterable[str]) -> tuple[str, ...]:
    """Return a list of addresses and networks without repetitions; see `check_device`."""
    devices = tuple(dict.fromkeys(map(check_device, texts)))
    if _contains_everything(devices):
        raise ProfileError(
            "Together, these networks are every address in the world. Write the addresses of your "
            "devices."
        )
    if len(devices) > MAX_DEVICES:
        raise ProfileError(f"List at most {MAX_DEVICES} devices; a network counts as one.")
    return devices


def _contains_everything(devices: Iterable[str]) -> bool:
    """Return whether networks contain every address of a version of IP, alone or together."""
    networks = [ipaddress.ip_network(device) for device in devices]
    four = [network for network in networks if isinstance(network, ipaddress.IPv4Network)]
    six = [network for network in networks if isinstance(network, ipaddress.IPv6Network)]
    lengths = [network.prefixlen for network in ipaddress.collapse_addresses(four)]
    lengths += [network.prefixlen for network in ipaddress.collapse_addresses(six)]
    return 0 in lengths


def check_reachable_host(text: str, devices: tuple[str, ...]) -> str:
    """Return an address for a listener that other devices reach, without brackets.

    Raises:
        ProfileError: The text is no IP address, or no device is allowed to connect.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ProfileError("Listen on an address of this computer, such as 127.0.0.1.") from None
    if not devices:
        raise ProfileError(
            f"Everyone who can reach {address} could use your sign-in. List the devices that may "
            'connect, such as devices = ["192.168.1.0/24"], or listen on 127.0.0.1.'
        )
    return str(address)


def parse_forward(listen: str, to: str, devices: tuple[str, ...] = ()) -> Forward:
    """Return a fixed forward.

    Args:
        listen: The address and port to listen on; without an address, 127.0.0.1.
        to: The host and port of the target.
        devices: The devices that may connect; with devices, the address may be one that they reach.

    Raises:
        ProfileError: An address is invalid.
    """
    return Forward(*parse_forward_listen(listen, devices), *parse_forward_target(to))


def parse_forward_listen(text: str, devices: tuple[str, ...] = ()) -> tuple[str, int]:
    """Return the address and port of a fixed forward; see `parse_forward`."""
    try:
        host, port = parse_listen(text)
    except ProfileError:
        host, digits = split_port(text.strip())
        if not host or digits is None:
            raise
        host, port = check_reachable_host(host, devices), check_port(digits)
    return host, check_port(port)


def parse_forward_target(text: str) -> tuple[str, int]:
    """Return the host and port of the target of a fixed forward; see `parse_forward`."""
    host, port = split_port(text.strip())
    if not host or port is None:
        raise ProfileError("Write the host and the port of the target, such as git.example:22.")
    return check_host(host), check_port(port)


def check_forwards(forwards: Iterable[Forward], listen: ListenAddress) -> tuple[Forward, ...]:
    """Return the forwards.

    Raises:
        ProfileError: Two listeners have the same address, or there are too many forwards.
    """
    found = tuple(forwards)
    if len(found) > MAX_FORWARDS:
        raise ProfileError(f"There are at most {MAX_FORWARDS} forwards.")
    taken = {(listen.local_host, listen.port)}
    for forward in found:
        address = (forward.host, forward.port)
        if address in taken:
            raise ProfileError(f"{forward.address} is used twice. Choose another port.")
        taken.add(address)
    return found


def with_devices(config: Config, devices: Iterable[str]) -> Config:
    """Return the settings with other devices that may connect.

    Without devices, TrayProxy listens on loopback addresses only, and no password is needed.

    Raises:
        ProfileError: A device is invalid, or a forward listens on an address for other devices.
    """
    checked = check_devices(devices)
    listen = replace(config.listen, devices=checked)
    if not checked:
        listen = replace(listen, host=listen.local_host, devices_password=False)
        for forward in config.forwards:
            try:
                parse_forward_listen(forward.address)
            except ProfileError:
                raise ProfileError(
                    f"The forward at {forward.address} is for other devices. Remove it first."
                ) from None
    return replace(config, listen=listen)


def with_forwards(config: Config, forwards: Iterable[Forward]) -> Config:
    """Return the settings with other fixed forwards.

    Raises:
        ProfileError: A forward is invalid, or two listeners have the same address.
    """
    checked = tuple(
        parse_forward(forward.address, forward.target, config.listen.devices)
        for forward in forwards
    )
    return replace(config, forwards=check_forwards(checked, config.listen))


def changed_listeners(
    config: Config,
    forwards: Iterable[Forward] | None,
    devices: Iterable[str] | None,
    *,
    devices_password: bool | None,
    containers: bool | None,
) -> Config:
    """Return the settings with other listeners; a value of None is not changed.

    Raises:
        ProfileError: A value is invalid.
    """
    if devices is not None:
        config = with_devices(config, devices)
    if forwards is not None:
        config = with_forwards(config, forwards)
    listen = config.listen
    if devices_password is not None:
        listen = replace(listen, devices_password=devices_password)
    if containers is not None:
        listen = replace(listen, containers=containers)
    return replace(config, listen=listen)
