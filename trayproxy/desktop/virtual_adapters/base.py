"""The addresses of this computer's network adapters."""

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network


@dataclass(frozen=True, slots=True)
class AdapterAddress:
    """An address of a network adapter.

    Attributes:
        adapter: The name of the adapter, ``docker0``.
        address: The address of this computer.
        network: The addresses that are reached through the adapter without a router.
    """

    adapter: str
    address: IPv4Address | IPv6Address
    network: IPv4Network | IPv6Network


def adapter_addresses() -> tuple[AdapterAddress, ...]:
    """Return the addresses of all adapters, except those that other devices cannot use without
    naming an adapter: loopback, link-local and unspecified addresses.

    Addresses without a network mask are left out. Raise `OSError` if the system does not report
    its addresses.
    """
    import psutil  # Here, since plans of listeners without addresses of adapters need no psutil.

    found = []
    for adapter, entries in psutil.net_if_addrs().items():
        for entry in entries:
            if entry.family in (socket.AF_INET, socket.AF_INET6) and entry.netmask:
                address = _adapter_address(adapter, entry.address, entry.netmask)
                if address is not None:
                    found.append(address)
    return tuple(found)


def _adapter_address(adapter: str, text: str, mask: str) -> AdapterAddress | None:
    try:
        address = ip_address(text.partition("%")[0])
        prefix = int(ip_address(mask)).bit_count()
        network = ip_network((address, prefix), strict=False)
    except ValueError:
        return None
    if address.is_loopback or address.is_link_local or address.is_unspecified:
        return None
    return AdapterAddress(adapter, address, network)
