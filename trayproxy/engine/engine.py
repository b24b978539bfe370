"""The engine: what all connections share, and the listener in front of them."""

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

from trayproxy.desk.credentials import Credentials
from trayproxy.desk.desk import Desk
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
"""Where we listen, too, if that can be had: ``localhost`` may mean the one or the other, and nobody
else shall get our clients."""


class UpstreamObserver(Protocol):
    """Is told what the engine finds out about the next hops."""

    def reached(self, way: Route) -> None:
        """The next hop answered. Called for every answer: be quick."""

    def failed(self, way: Route, page: ErrorPage) -> None:
        """The next hop did not answer; the page says why."""

    def wants_page(self, way: Route, url: str) -> None:
        """The network wants people to sign in on a page of its own. The URL is untrusted."""

    def sign_in_not_set(self, way: Route, page: ErrorPage) -> None:
        """The next hop demands a sign-in, and the profile is set to connect without one."""


class Counters:
    """What the engine has done since it started.

    Attributes:
        active: Client connections that are open.
        received: Octets of bodies and tunnels delivered to clients.
        sent: Octets of bodies and tunnels delivered to next hops.
    """

    def __init__(self) -> None:
        self.active = 0
        self.received = 0
        self.sent = 0

    def count_tunnel(self, tunnel: Tunnel) -> None:
        """Add a tunnel that has ended."""
        self.received += tunnel.down.moved
        self.sent += tunnel.up.moved


@dataclass(frozen=True, slots=True)
class EngineParts:
    """What the engine is given.

    Attributes:
        desk: Signs in.
        route_for: Returns the way to a target.
        observer: Is told about the next hops.
        limits: The figures.
        sleep_clock: Goes on only while the computer sleeps, in seconds.
        access_control: Decides who may connect; closed with the engine.
    """

    desk: Desk
    route_for: RouteFor
    observer: UpstreamObserver
    limits: EngineLimits = LIMITS
    sleep_clock: Callable[[], float] = field(default_factory=sleep_clock)
    access_control: AccessControl = field(default_factory=own_user_only)


def work_flags(work_klass: type[ClientConnection], host: str, port: int) -> argparse.Namespace:
    """Return proxy.py's flags for our work.

    They are parsed from an argument list, since proxy.py ignores some of them as keywords, and what
    came out is checked. `FlagParser.initialize` is not used: it creates folders in the home
    directory, sets up logging, and loads the plugins whose HTTP code must never see an octet of
    ours.
    """
    arguments = ["--hostname", host, "--port", str(port), "--backlog", "1024", "--threadless"]
    flags = proxy_flags.parse_args(arguments)
    flags.work_klass = work_klass
    # Of a part of proxy.py that is not loaded; its executor asks for it.
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
    """A socket that accepts connections like itself.

    The socket module finds out for each connection what kind of socket it was accepted on, which
    costs as much as accepting it.
    """

    def __init__(self, family: socket.AddressFamily) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._kind = family, socket.SOCK_STREAM

    def accept(self) -> tuple[socket.SocketType, Any]:  # type: ignore[override]
        """Return a connection and the address of its other end.

        Raises:
            OSError: There is none now, or the system is out of something.
        """
        descriptor, address = self._accept()  # type: ignore[attr-defined]  # as its super does
        return socket.SocketType(*self._kind, 0, descriptor), address


class Listener(TcpSocketListener):
    """proxy.py's listener, bound so that no other program can take connections meant for us."""

    def listen(self) -> socket.socket:
        """Return a listening, non-blocking socket.

        On Windows SO_REUSEADDR, which proxy.py sets everywhere, lets a second program bind the same
        port and get our clients; SO_EXCLUSIVEADDRUSE forbids it (Winsock documentation). Elsewhere
        it only allows binding while old connections linger.

        Raises:
            OSError: The address is taken or is not ours.
        """
        family = socket.AF_INET6 if self.hostname.version == 6 else socket.AF_INET
        listening = ListeningSocket(family)
        # proxy.py's own leaves its socket open when this fails.
        try:
            exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
            listening.setsockopt(socket.SOL_SOCKET, exclusive, 1)
            # Connections inherit what is set here (tcp(7), accept in the Winsock documentation):
            # one call for all, not one for each.
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
    """What all connections share.

    Attributes:
        address: Where it listens, ``127.0.0.1:3128``; it may listen elsewhere, too
            (`OTHER_LOOPBACK`).
        closing: It accepts no more, and connections end with the answer that is on its way.
        via: Our pseudonym in Via, made anew at each start: it tells nobody anything, and finds
            loops.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, parts: EngineParts, host: str, port: int
    ) -> None:
        """Make an engine that does not listen yet.

        Args:
            loop: Runs it.
            parts: What it works with.
            host: The IP address to listen on.
            port: The port; 0 for a free one.
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
        """Accept connections from now on.

        Args:
            port: Instead of the one that the engine was made for; None: that one.

        Raises:
            OSError: The address is taken or is not ours.
        """
        if port is not None:
            self._port = port
            self.address = self._format_address()
        self._port = self._listen_on(self._host, self._port)
        self.address = self._format_address()
        self.connector.forget()  # Whether an address is our own is another question now.
        if taken := self.listen_on_other_loopback():
            logger.warning("not listening on %s: another program has this address", taken)

    def move(self, port: int) -> None:
        """Accept connections at another port instead; those that are open go on.

        Args:
            port: Which.

        Raises:
            OSError: The address is taken or is not ours. The engine listens where it did.
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
        """Accept connections at the other address of ``localhost``, too, if that can be had.

        Returns:
            That address, ``[::1]:3128``, if another program has it; else it is empty.
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
        """Accept connections at this literal address; return the port."""
        listener = Listener(ip_address(host), port, flags=self._flags)
        listener.setup()
        listening = listener._socket
        assert listening is not None
        self._listeners.append(listener)
        self.executor.add_listener(listening)
        found: int = listening.getsockname()[1]
        return found

    def count_unanswered(self, answer: Credentials) -> int:
        """Return how many requests with this login wait at a next hop that says nothing, at least
        one. A request does not count if others were answered since it began: its site is slow."""
        count = self.late_verdicts.count_silent(answer.login_id)
        for work in self.executor.works.values():
            if isinstance(work, ClientConnection) and work.upstream is not None:
                carried = work.unanswered_credentials
                is_same = carried is not None and carried.login_id == answer.login_id
                count += is_same and work.upstream.is_upstream_silent
        return max(1, count)

    async def close(self) -> None:
        """Stop accepting, let transfers that run come to an end for a while, then end them."""
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
        """Use no present upstream connection for another request: a profile or a login has
        changed."""
        self.pool.clear()
        self.preconnector.forget()
        self.exempt_sites.forget()
        self.connector.forget()
        for work in self.executor.works.values():
            # A connection that a client keeps for its next request is idle, too; after a change of
            # networks nobody would answer on it, and nobody would say so.
            if isinstance(work, ClientConnection) and work.is_idle:
                work.drop_upstream()

    def network_changed(self) -> None:
        """Take nothing for granted that was found out before: this is another network, or the
        computer has slept."""
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
        """End what still waits for a network that has gone."""
        self._stale_timer = None
        works = (
            work for work in self.executor.works.values() if isinstance(work, ClientConnection)
        )
        close_stale_connections(
            [work.upstream.stream.socket for work in works if work.upstream is not None]
        )

    def check_for_suspend(self) -> None:
        """Notice that the computer has slept; asked before anything from earlier is relied on."""
        if self._suspend_detector.has_slept():
            self.network_changed()

    def is_loop(self, request: Request) -> bool:
        """Whether a request has passed here before, or wants to come here."""
        if is_loop(request.fields, self.via):
            return True
        target = request.target.authority
        if target is None or target.port != self._port:
            return False
        own = self.is_own_address(literal_address(target.host, target.port))
        return own or target.host.rstrip(".") == "localhost"

    def is_own_address(self, addresses: tuple[Address, ...]) -> bool:
        """Whether one of these addresses is our own listener's."""
        for _, (host, port, *_) in addresses:
            if port == self._port and is_local(ip_address(host.partition("%")[0])):
                return True
        return False


def format_address(host: str, port: int) -> str:
    """Return ``127.0.0.1:3128`` or ``[::1]:3128``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_local(address: IPv4Address | IPv6Address) -> bool:
    """Whether connecting to this address stays on this computer without leaving it for sure."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_unspecified
