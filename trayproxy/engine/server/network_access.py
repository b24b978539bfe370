"""Access control for listeners that other devices reach (security.md, T3).

The owner of a connection is known only on this computer. So the address of another device decides;
programs of this computer are subject to the same access control as at the local address.
"""

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from trayproxy.desktop.socket_owner.base import Endpoint
from trayproxy.engine.error_pages import DEVICE_NOT_ALLOWED, NOT_ALLOWED
from trayproxy.engine.server.access_control import ConnectionAccess, Inquiry

IpNetwork = IPv4Network | IPv6Network
IpAddress = IPv4Address | IPv6Address


class NetworkAccess:
    """Decides by the address of the other device whether a connection is served.

    Attributes:
        networks: The addresses of the devices that may connect. They may change.
        inquiry: See `ConnectionAccess`.
        refusal: See `ConnectionAccess`.
    """

    def __init__(
        self,
        networks: tuple[IpNetwork, ...],
        own: ConnectionAccess,
        on_refused: Callable[[str], None],
        is_own_address: "Callable[[IpAddress], bool] | None" = None,
    ) -> None:
        """Create the access control.

        Args:
            networks: See `NetworkAccess`.
            own: The access control for programs of this computer.
            on_refused: Called with the address of each refused device, in the event loop: must be
                fast.
            is_own_address: Returns whether an address is one of this computer; by default, the
                system is asked.
        """
        self.networks = networks
        self.inquiry: Inquiry | None = None
        self.refusal = DEVICE_NOT_ALLOWED
        self._own = own
        self._on_refused = on_refused
        self._is_own_address = is_own_address or can_bind

    def admits(
        self, connection: socket.SocketType, peer: tuple[Any, ...], local: Endpoint | None = None
    ) -> bool:
        """Return whether to serve a newly accepted connection; see `ConnectionAccess`."""
        address = device_address(peer[0])
        # The addresses of this computer may be in the networks, too. Without this check, every user
        # of this computer could connect by such an address.
        if self._is_own_address(address):
            is_admitted = self._own.admits(connection, peer, local)
            self.inquiry, self.refusal = self._own.inquiry, NOT_ALLOWED
            return is_admitted
        self.inquiry, self.refusal = None, DEVICE_NOT_ALLOWED
        if self._is_listed(address):
            return True
        self._on_refused(str(address))
        return False

    def keeps(self, peer: tuple[Any, ...]) -> bool:
        """Return whether the connection of a client, given by its address, may stay open."""
        address = device_address(peer[0])
        return self._is_listed(address) or self._is_own_address(address)

    def _is_listed(self, address: IpAddress) -> bool:
        return any(address in network for network in self.networks)

    def is_held(self, connection: socket.SocketType) -> bool | None:
        """Return None: the state of a socket of another device is unknown."""
        try:
            address = device_address(connection.getpeername()[0])
        except OSError:
            return False
        return self._own.is_held(connection) if self._is_own_address(address) else None

    def is_local(self, peer: tuple[Any, ...]) -> bool:
        """Return whether the address of a client is one of this computer."""
        return self._is_own_address(device_address(peer[0]))


def device_address(host: str) -> IpAddress:
    """Return the address of a peer without its zone; IPv4-mapped addresses as IPv4."""
    address = ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def can_bind(address: IpAddress) -> bool:
    """Return whether a socket can be bound to an address: only the addresses of this computer can
    be, unless the system is set up to bind others (``net.ipv4.ip_nonlocal_bind``)."""
    if address.is_loopback:
        return True
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as trial:
            trial.bind((str(address), 0))
    except OSError:
        return False
    return True
