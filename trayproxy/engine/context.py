"""The objects shared by all requests of an engine."""

import asyncio
import os
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol

from trayproxy.desk.broker import CredentialBroker
from trayproxy.desktop.socket_owner.base import Endpoint
from trayproxy.engine.error_pages import Document, ErrorPage
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.poller import Poller
from trayproxy.engine.net.resolver import Address, literal_address
from trayproxy.engine.transfer.head_cache import HeadCaches
from trayproxy.engine.transfer.tunnel import PipePool, Tunnel
from trayproxy.engine.upstream.connector import Connector
from trayproxy.engine.upstream.failover import Failover
from trayproxy.engine.upstream.pool import Pool
from trayproxy.engine.upstream.route import Route
from trayproxy.http.hop_by_hop import is_loop
from trayproxy.http.request import Request


class UpstreamObserver(Protocol):
    """Receives the state of the next hops."""

    def reached(self, route: Route) -> None:
        """Record a response of the next hop. Called for every response: must be fast."""

    def failed(self, route: Route, page: ErrorPage) -> None:
        """Record a failure of the next hop, with its error page."""

    def captive_portal_found(self, route: Route, url: str) -> None:
        """Record a captive portal of the network at `url`. The URL is untrusted."""

    def sign_in_not_set(self, route: Route, page: ErrorPage) -> None:
        """Record a demand for a login by the next hop of a profile without sign-in."""


@dataclass(eq=False, slots=True)
class Counters:
    """Traffic counters since the engine was created.

    Attributes:
        active: Number of open client connections.
        remote: Number of those from other computers.
        received: Octets of content and of tunnels sent to clients.
        sent: Octets of content and of tunnels sent to next hops.
    """

    active: int = 0
    remote: int = 0
    received: int = 0
    sent: int = 0

    def is_full(self, limits: EngineLimits, *, is_remote: bool) -> bool:
        """Return whether there are too many clients for another one, which is counted already."""
        is_remote_full = is_remote and self.remote > limits.max_remote_clients
        return is_remote_full or self.active > limits.max_clients

    def count_tunnel(self, tunnel: Tunnel) -> None:
        """Add the octets of an ended tunnel."""
        self.received += tunnel.down.moved
        self.sent += tunnel.up.moved


class OwnAddress:
    """The address of the engine's main listener, those of further listeners, and the pseudonym in
    Via.

    Attributes:
        host: The IP address of the listener.
        port: The port of the listener; 0 while any free port is wanted.
        others: The addresses of the further listeners.
        via: The pseudonym of TrayProxy in Via, to detect loops. It is random and created at each
            start, to identify no user.
        documents: The documents served at the address, by the path and query of their URLs.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.others: set[Endpoint] = set()
        self.via = b"trayproxy-" + os.urandom(4).hex().encode()
        self.documents: dict[bytes, Document] = {}

    def __str__(self) -> str:
        """Return the address as text: ``127.0.0.1:3128`` or ``[::1]:3128``."""
        return format_address(self.host, self.port)

    def as_seen_by(self, client: socket.SocketType) -> str:
        """Return the address at which a client has connected, for a device the one that it knows:
        ``192.168.1.5:3128``."""
        if self.others:
            with suppress(OSError):  # The client has left.
                host, port = client.getsockname()[:2]
                if not is_local(ip_address(host.partition("%")[0])):
                    return format_address(host, port)
        return str(self)

    def is_among(self, addresses: tuple[Address, ...]) -> bool:
        """Return whether one of these addresses is an address of the engine's listeners."""
        for _, (host, port, *_) in addresses:
            if (host, port) in self.others:
                return True
            is_own_port = port == self.port or any(port == other for _, other in self.others)
            if is_own_port and is_local(ip_address(host)):
                return True
        return False

    def is_loop(self, request: Request) -> bool:
        """Return whether a request has passed TrayProxy before, or is addressed to TrayProxy."""
        if is_loop(request.fields, self.via):
            return True
        target = request.target.authority
        if target is None or (target.port != self.port and not self.others):
            return False
        own = self.is_among(literal_address(target.host, target.port))
        return own or (target.port == self.port and target.host.rstrip(".") == "localhost")


@dataclass(eq=False, slots=True)
class EngineContext:
    """The objects shared by all requests of an engine.

    Attributes:
        own_address: The address of the engine's main listener.
        closing: True once the engine is closing: connections end after their current response.
    """

    loop: asyncio.AbstractEventLoop
    limits: EngineLimits
    broker: CredentialBroker
    observer: UpstreamObserver
    own_address: OwnAddress
    poller: Poller
    pool: Pool
    failover: Failover
    connector: Connector
    caches: HeadCaches = field(default_factory=HeadCaches)
    pipe_pool: PipePool = field(default_factory=PipePool)
    counters: Counters = field(default_factory=Counters)
    closing: bool = False

    @property
    def via(self) -> bytes:
        """The pseudonym of TrayProxy in Via."""
        return self.own_address.via

    def close(self) -> None:
        """Close the idle connections, the poller and the pipes."""
        self.pool.clear()
        self.poller.close()
        self.pipe_pool.close()


def format_address(host: str, port: int) -> str:
    """Return a host and port as text: ``127.0.0.1:3128`` or ``[::1]:3128``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_local(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address is a loopback address or the unspecified address."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_unspecified
