"""The engine: its life cycle, its listeners, and the objects shared by all connections."""

import argparse
import asyncio
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Protocol

from proxy.common.flag import flags as proxy_flags
from proxy.core.listener.tcp import TcpSocketListener

from trayproxy.desk.broker import CredentialBroker
from trayproxy.desk.credentials import Credentials
from trayproxy.desktop.ports import is_taken
from trayproxy.desktop.suspend_clock import sleep_clock
from trayproxy.engine.error_pages import ErrorPage
from trayproxy.engine.limits import LIMITS, EngineLimits
from trayproxy.engine.net.poller import open_poller
from trayproxy.engine.net.resolver import Address, literal_address
from trayproxy.engine.net.socket_stream import disable_pacing
from trayproxy.engine.net.suspend_detector import SuspendDetector
from trayproxy.engine.proxy_auth.challenge_detection import ChallengeDetector
from trayproxy.engine.proxy_auth.exempt_sites import ExemptSites
from trayproxy.engine.proxy_auth.handshake_threads import HandshakeThreads
from trayproxy.engine.proxy_auth.late_verdicts import LateVerdicts
from trayproxy.engine.proxy_auth.preconnect import Preconnector
from trayproxy.engine.server.access_control import AccessControl, own_user_only
from trayproxy.engine.server.client_connection import ClientConnection
from trayproxy.engine.server.executor import LoopExecutor
from trayproxy.engine.server.fd_reserve import DescriptorReserve
from trayproxy.engine.server.refused_connections import RefusedConnections
from trayproxy.engine.transfer.date_field import DateField
from trayproxy.engine.transfer.head_cache import (
    CachedRequest,
    CachedResponse,
    HeadCache,
    ParsedResponse,
)
from trayproxy.engine.transfer.tunnel import PipePool, Tunnel
from trayproxy.engine.upstream.connector import Connector
from trayproxy.engine.upstream.failover import Failover
from trayproxy.engine.upstream.pool import Pool
from trayproxy.engine.upstream.route import Route, RouteFor
from trayproxy.engine.upstream.stale_connections import close_stale_connections
from trayproxy.http.hop_by_hop import is_loop
from trayproxy.http.request import Request

logger = logging.getLogger(__name__)

OTHER_LOOPBACK = {"127.0.0.1": "::1", "::1": "127.0.0.1"}
"""Also listen on ``::1`` when listening on ``127.0.0.1``, and vice versa: clients may resolve
``localhost`` to either address, and no other program should receive their connections."""


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


class Counters:
    """Traffic counters since the engine was created.

    Attributes:
        active: Number of open client connections.
        received: Octets of content and of tunnels sent to clients.
        sent: Octets of content and of tunnels sent to next hops.
    """

    def __init__(self) -> None:
        self.active = 0
        self.received = 0
        self.sent = 0

    def count_tunnel(self, tunnel: Tunnel) -> None:
        """Add the octets of an ended tunnel."""
        self.received += tunnel.down.moved
        self.sent += tunnel.up.moved


@dataclass(frozen=True, slots=True)
class EngineParts:
    """The collaborators and settings of an engine.

    Attributes:
        desk: Provides credentials.
        route_for: Returns the route to a target.
        observer: Receives the state of the next hops.
        limits: The limits.
        sleep_clock: Returns how long the computer has been suspended in total, in seconds.
        access_control: Decides which connections are served; closed with the engine.
    """

    desk: CredentialBroker
    route_for: RouteFor
    observer: UpstreamObserver
    limits: EngineLimits = LIMITS
    sleep_clock: Callable[[], float] = field(default_factory=sleep_clock)
    access_control: AccessControl = field(default_factory=own_user_only)


def work_flags(work_klass: type[ClientConnection], host: str, port: int) -> argparse.Namespace:
    """Return the flags of proxy.py for the class `work_klass`.

    The flags are parsed from an argument list, because proxy.py ignores some of them as keywords,
    and the parsed values are checked. `FlagParser.initialize` is not used: it creates folders in
    the home directory, configures logging, and loads plug-ins with HTTP code.

    Raises:
        RuntimeError: proxy.py has parsed a flag differently.
    """
    arguments = ["--hostname", host, "--port", str(port), "--backlog", "1024", "--threadless"]
    flags = proxy_flags.parse_args(arguments)
    flags.work_klass = work_klass
    # The executor reads this flag; the module of proxy.py with its definition is not loaded.
    flags.enable_conn_pool = False
    checks = {
        "hostname": host,
        "port": port,
        "backlog": 1024,
        "enable_events": False,
        "unix_socket_path": None,
    }
    for name, value in checks.items():
        if getattr(flags, name) != value:
            raise RuntimeError(f"proxy.py understood {name} as {getattr(flags, name)!r}")
    return flags


class ListeningSocket(socket.socket):
    """A listening socket; accepted sockets get its family and type.

    `socket.socket.accept` determines family and type for each connection, which takes as long as
    the accept call itself.
    """

    def __init__(self, family: socket.AddressFamily) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._kind = family, socket.SOCK_STREAM

    def accept(self) -> tuple[socket.SocketType, Any]:  # type: ignore[override]
        """Return an accepted connection and the address of its peer.

        Raises:
            OSError: No connection is pending, or a resource of the system is exhausted.
        """
        descriptor, address = self._accept()  # type: ignore[attr-defined]  # as its super does
        return socket.SocketType(*self._kind, 0, descriptor), address


class Listener(TcpSocketListener):
    """The listener of proxy.py, bound exclusively: no other program can bind the same port."""

    def listen(self) -> socket.socket:
        """Return a listening, non-blocking socket.

        On Windows, SO_REUSEADDR, which proxy.py sets on every system, lets a second program bind
        the same port and receive our clients; SO_EXCLUSIVEADDRUSE prevents this (Winsock
        documentation). On other systems SO_REUSEADDR only allows binding a port with connections in
        TIME_WAIT.

        Raises:
            OSError: The address is in use or does not belong to this computer.
        """
        family = socket.AF_INET6 if self.hostname.version == 6 else socket.AF_INET
        listening = ListeningSocket(family)
        # The method of proxy.py leaves its socket open when an option or bind fails.
        try:
            exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
            listening.setsockopt(socket.SOL_SOCKET, exclusive, 1)
            # Accepted connections inherit these options (tcp(7), accept in the Winsock
            # documentation), which saves a call for each connection.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.hostname.is_loopback:
                disable_pacing(listening)
            listening.bind((str(self.hostname), self.port))
            listening.listen(self.flags.backlog)
            listening.setblocking(False)
        except OSError:
            listening.close()
            raise
        return listening


class Engine:
    """The forwarding proxy: its listeners, its client connections, and their shared objects.

    Attributes:
        loop: The event loop of the engine.
        desk: Provides credentials.
        route_for: Returns the route to a target.
        observer: Receives the state of the next hops.
        limits: The limits.
        access_control: Decides which connections are served.
        counters: The traffic counters.
        closing: True once `close` was called: connections end after their current response.
        pipe_pool: Pipes for tunnels.
        poller: Registers descriptors for events.
        pool: Idle upstream connections.
        failover: Chooses among the upstreams of a profile.
        connector: Connects to next hops.
        via: Pseudonym of TrayProxy in Via, to detect loops. It is random and created at each start,
            to identify no user.
        cached_requests: Request heads seen before.
        date_field: The Date field for responses without a Date.
        parsed_responses: Response heads parsed before.
        cached_responses: Responses of the fast path.
        tunnel_replies: Heads of 2xx responses to CONNECT seen before.
        challenge_detector: Decides which responses demand a login.
        exempt_sites: Sites to which requests go without a login first.
        handshake_threads: Runs blocking steps of a handshake.
        preconnector: Opens and authenticates connections ahead.
        late_verdicts: Reads responses to requests of disconnected clients.
        address: The address of the main listener, ``127.0.0.1:3128``; see `OTHER_LOOPBACK` for the
            other one.
        refused_connections: Answers connections refused by access control.
        executor: Runs the client connections.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, parts: EngineParts, host: str, port: int
    ) -> None:
        """Create an engine without listeners.

        Args:
            loop: The event loop.
            parts: The collaborators and settings.
            host: The IP address to listen on.
            port: The port to listen on; 0 for any free port.
        """
        self.loop = loop
        self.desk = parts.desk
        self.route_for = parts.route_for
        self.observer = parts.observer
        self.limits = parts.limits
        self.access_control = parts.access_control
        self.counters = Counters()
        self.closing = False
        self.pipe_pool = PipePool()
        self.poller = open_poller(loop)
        self.pool = Pool(loop, parts.limits, self.poller, self.check_for_suspend)
        self.failover = Failover(loop.time, parts.limits)
        self.connector = Connector(loop, parts.limits, parts.desk, self.is_own_address)
        self.via = b"trayproxy-" + os.urandom(4).hex().encode()
        self.cached_requests: HeadCache[bytes, CachedRequest] = HeadCache()
        self.date_field = DateField()
        self.parsed_responses: HeadCache[tuple[bytes, bytes], ParsedResponse] = HeadCache()
        self.cached_responses: HeadCache[bytes, CachedResponse] = HeadCache()
        self.tunnel_replies: HeadCache[bytes, bytes] = HeadCache()
        self.challenge_detector = ChallengeDetector()
        self.exempt_sites = ExemptSites()
        self.handshake_threads = HandshakeThreads(loop)
        self.preconnector = Preconnector(self)
        self.late_verdicts = LateVerdicts(self)
        self._port = port
        self._stale_timer: asyncio.TimerHandle | None = None
        self._suspend_detector = SuspendDetector(parts.sleep_clock, parts.limits.min_suspend_s)
        flags = work_flags(ClientConnection, host, port)
        flags.engine = self
        self._flags = flags
        self._host = host
        self.address = self._format_address()
        self._listeners: list[Listener] = []
        self._has_other_loopback = False
        self.refused_connections = RefusedConnections(loop, parts.limits, lambda: self.address)
        self._fd_reserve = DescriptorReserve(
            self.access_control.admits, self.refused_connections.answer, lambda: self.address
        )
        self.executor = LoopExecutor(
            loop, flags, self.poller, self.check_for_suspend, self._fd_reserve.refuse_client
        )

    def listen(self, port: int | None = None) -> None:
        """Start to accept connections.

        Args:
            port: The port to listen on; None for the port given to the constructor.

        Raises:
            OSError: The address is in use or does not belong to this computer.
        """
        if port is not None:
            self._port = port
            self.address = self._format_address()
        self._port = self._listen_on(self._host, self._port)
        self.address = self._format_address()
        self.connector.forget()  # The result of `is_own_address` depends on the port.
        if taken := self.listen_on_other_loopback():
            logger.warning("not listening on %s: another program has this address", taken)

    def move(self, port: int) -> None:
        """Listen on another port instead. Open client connections are not affected.

        Args:
            port: The new port.

        Raises:
            OSError: The address is in use. The engine still listens on the old port.
        """
        before = self._listeners, self._has_other_loopback, self._port, self.address
        self._listeners, self._has_other_loopback = [], False
        try:
            self.listen(port)
        except OSError:
            self._listeners, self._has_other_loopback, self._port, self.address = before
            raise
        for listener in before[0]:
            assert listener._socket is not None
            self.executor.remove_listener(listener._socket)
            listener.shutdown()

    def listen_on_other_loopback(self) -> str:
        """Listen on the other loopback address, too, if it is available (`OTHER_LOOPBACK`).

        Returns:
            That address, ``[::1]:3128``, if another program uses it; otherwise an empty string.
        """
        beside = OTHER_LOOPBACK.get(self._host)
        if beside is None or self._has_other_loopback or self.closing or not self._listeners:
            return ""
        try:
            self._listen_on(beside, self._port)
        except OSError as error:
            taken = format_address(beside, self._port)
            if is_taken(error):
                return taken
            logger.debug("not listening on %s: %s", taken, error.strerror)
        else:
            self._has_other_loopback = True
        return ""

    def _format_address(self) -> str:
        return format_address(self._host, self._port)

    def _listen_on(self, host: str, port: int) -> int:
        """Listen on an IP address, and return the port."""
        listener = Listener(ip_address(host), port, flags=self._flags)
        listener.setup()
        listening = listener._socket
        assert listening is not None
        self._listeners.append(listener)
        self.executor.add_listener(listening)
        found: int = listening.getsockname()[1]
        return found

    def count_unanswered(self, credentials: Credentials) -> int:
        """Return the number of requests with this login that wait at a silent next hop, at least 1.

        A request does not count if the next hop has answered another request since it was sent: in
        that case the site is slow.
        """
        count = self.late_verdicts.count_silent(credentials.login_id)
        for work in self.executor.works.values():
            if isinstance(work, ClientConnection) and work.upstream is not None:
                carried = work.unanswered_credentials
                is_same = carried is not None and carried.login_id == credentials.login_id
                count += is_same and work.upstream.is_upstream_silent
        return max(1, count)

    async def close(self) -> None:
        """Stop listening, wait for running transfers up to the limit `shutdown_s`, and release
        everything."""
        self.closing = True
        if self._stale_timer is not None:
            self._stale_timer.cancel()
        self.executor.stop_accepting()
        for listener in self._listeners:
            listener.shutdown()
        self._listeners.clear()
        self.pool.clear()
        await self.preconnector.close()
        await self.late_verdicts.close()
        self.executor.end_idle()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.limits.shutdown_s):
                await self.executor.wait_until_empty()
        self.executor.close()
        self.pool.clear()
        self.poller.close()
        self.pipe_pool.close()
        self._fd_reserve.close()
        self.refused_connections.close()
        self.access_control.close()

    def forget_connections(self) -> None:
        """Do not reuse present upstream connections for further requests, because the profile or a
        login has changed."""
        self.pool.clear()
        self.preconnector.forget()
        self.exempt_sites.forget()
        self.connector.forget()
        for work in self.executor.works.values():
            # An upstream connection reserved for the next request of its client is idle,
            # too. After a network change it would be dead without an error.
            if isinstance(work, ClientConnection) and work.is_idle:
                work.drop_upstream()

    def network_changed(self) -> None:
        """Discard all knowledge about the old network, after a network change or a suspend."""
        self.forget_connections()
        self.failover.forget()
        self.connector.network_grace.start()
        self.desk.network_changed()
        if self._stale_timer is not None:
            self._stale_timer.cancel()
        self._stale_timer = self.loop.call_later(
            self.limits.network_grace_s, self._close_stale_connections
        )

    def _close_stale_connections(self) -> None:
        """Close the upstream connections of the old network."""
        self._stale_timer = None
        works = (
            work for work in self.executor.works.values() if isinstance(work, ClientConnection)
        )
        close_stale_connections(
            [work.upstream.stream.socket for work in works if work.upstream is not None]
        )

    def check_for_suspend(self) -> None:
        """Call `network_changed` if the computer was suspended since the last check.

        Called before idle connections and other earlier state are used.
        """
        if self._suspend_detector.has_slept():
            self.network_changed()

    def is_loop(self, request: Request) -> bool:
        """Return whether a request has passed TrayProxy before, or is addressed to TrayProxy."""
        if is_loop(request.fields, self.via):
            return True
        target = request.target.authority
        if target is None or target.port != self._port:
            return False
        own = self.is_own_address(literal_address(target.host, target.port))
        return own or target.host.rstrip(".") == "localhost"

    def is_own_address(self, addresses: tuple[Address, ...]) -> bool:
        """Return whether one of these addresses is an address of the engine's listeners."""
        for _, (host, port, *_) in addresses:
            if port == self._port and is_local(ip_address(host.partition("%")[0])):
                return True
        return False


def format_address(host: str, port: int) -> str:
    """Return a host and port as text: ``127.0.0.1:3128`` or ``[::1]:3128``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_local(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address is a loopback address or the unspecified address."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_unspecified
