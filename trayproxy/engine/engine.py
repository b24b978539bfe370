"""The engine: its life cycle, and the objects shared by all connections."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from trayproxy.desk.broker import CredentialBroker
from trayproxy.desk.credentials import Credentials
from trayproxy.desktop.socket_owner.base import Endpoint
from trayproxy.desktop.suspend_clock import sleep_clock
from trayproxy.engine.context import EngineContext, OwnAddress, UpstreamObserver
from trayproxy.engine.limits import LIMITS, EngineLimits
from trayproxy.engine.net.poller import open_poller
from trayproxy.engine.net.resource_shortage import NO_DESCRIPTORS
from trayproxy.engine.net.suspend_detector import SuspendDetector
from trayproxy.engine.proxy_auth.auth_context import AuthContext
from trayproxy.engine.proxy_auth.challenge_detection import ChallengeDetector
from trayproxy.engine.proxy_auth.exempt_sites import ExemptSites
from trayproxy.engine.proxy_auth.handshake_threads import HandshakeThreads
from trayproxy.engine.proxy_auth.late_verdicts import LateVerdicts
from trayproxy.engine.proxy_auth.preconnect import Preconnector
from trayproxy.engine.proxy_py import work_flags
from trayproxy.engine.server.access_control import AccessControl, own_user_only
from trayproxy.engine.server.client_connection import ClientConnection, ConnectionServices
from trayproxy.engine.server.executor import LoopExecutor
from trayproxy.engine.server.fd_reserve import DescriptorReserve
from trayproxy.engine.server.listener import Listeners
from trayproxy.engine.server.listener_use import ListenerUse
from trayproxy.engine.server.refused_connections import RefusedConnections
from trayproxy.engine.upstream.connector import Connector
from trayproxy.engine.upstream.failover import Failover
from trayproxy.engine.upstream.pool import Pool
from trayproxy.engine.upstream.route import RouteSource


@dataclass(frozen=True, slots=True)
class EngineParts:
    """The collaborators and settings of an engine.

    Attributes:
        routes: The routes of the requests at the engine's own address.
        sleep_clock: Returns how long the computer has been suspended in total, in seconds.
        access_control: Decides which connections are served; closed with the engine.
        on_network_changed: Called after a network change or a suspend.
    """

    broker: CredentialBroker
    routes: RouteSource
    observer: UpstreamObserver
    limits: EngineLimits = LIMITS
    sleep_clock: Callable[[], float] = field(default_factory=sleep_clock)
    access_control: AccessControl = field(default_factory=own_user_only)
    on_network_changed: Callable[[], None] = lambda: None


class Engine:
    """The forwarding proxy: its listeners, its client connections, and their shared objects.

    Attributes:
        routes: The routes of the requests at the engine's own address.
        listeners: The listeners, for listeners beside the engine's own address.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, parts: EngineParts, host: str, port: int
    ) -> None:
        """Create an engine without listeners, for an IP address and a port; 0 for any free port."""
        limits, broker = parts.limits, parts.broker
        poller, own_address = open_poller(loop), OwnAddress(host, port)
        self.context = context = EngineContext(
            loop,
            limits,
            broker,
            parts.observer,
            own_address,
            poller,
            Pool(loop, limits, poller, self.check_for_suspend),
            Failover(loop.time, limits),
            Connector(loop, limits, broker, own_address.is_among),
        )
        detector = ChallengeDetector()
        self._late_verdicts = LateVerdicts(context, detector, self._count_unanswered)
        threads = HandshakeThreads(loop)
        auth = AuthContext(detector, ExemptSites(), threads, self._late_verdicts)
        self.preconnector = Preconnector(context, auth)
        self.auth = replace(auth, preconnects=self.preconnector)
        self.access_control = parts.access_control
        self.routes = parts.routes
        self._on_network_changed = parts.on_network_changed
        self._stale_timer: asyncio.TimerHandle | None = None
        self._suspend_detector = SuspendDetector(parts.sleep_clock, limits.min_suspend_s)
        self._refused_connections = RefusedConnections(loop, limits, own_address.as_seen_by)
        self._fd_reserve = DescriptorReserve(
            self._refused_connections.answer,
            lambda: self.address,
            lambda: self.executor.end_oldest_idle(),
        )
        flags = work_flags(ClientConnection, host, port)
        self.executor = LoopExecutor(
            loop, flags, poller, self.check_for_suspend, self._refuse_client
        )
        flags.services = ConnectionServices(
            context,
            self.auth,
            self._refused_connections,
            self.executor.finish,
            self._count_unanswered,
        )
        use = ListenerUse(parts.routes, self.access_control)
        self.listeners = Listeners(self.executor, flags, context.own_address, use)

    @property
    def address(self) -> str:
        """The address of the main listener, ``127.0.0.1:3128``; see `OTHER_LOOPBACK` for the other
        one."""
        return str(self.context.own_address)

    def _refuse_client(
        self, error: OSError, listener: socket.socket, local: Endpoint | None, use: ListenerUse
    ) -> bool:
        """Answer a client that cannot be served; see `DescriptorReserve.refuse_client`."""
        if error.errno in NO_DESCRIPTORS:
            self.context.connector.shortages += 1
        return self._fd_reserve.refuse_client(error, listener, local, use)

    def listen(self, port: int | None = None) -> None:
        """Start to accept connections; see `Listeners.listen`."""
        self.listeners.listen(port)
        self.context.connector.forget()  # The own addresses depend on the port.

    def move(self, port: int) -> None:
        """Listen on another port instead; see `Listeners.move`."""
        self.listeners.move(port)
        self.context.connector.forget()

    def listen_on_other_loopback(self) -> str:
        """Listen on the other loopback address, too, if it is available (`OTHER_LOOPBACK`)."""
        return self.listeners.listen_on_other_loopback()

    def _client_connections(self) -> Iterator[ClientConnection]:
        return (work for work in self.executor.works.values() if isinstance(work, ClientConnection))

    def _count_unanswered(self, credentials: Credentials) -> int:
        """Return the number of requests with this login that wait at a silent next hop, at least 1.

        A request does not count if the next hop has answered another request since it was sent: in
        that case the site is slow.
        """
        count = self._late_verdicts.count_silent(credentials.login_id)
        for connection in self._client_connections():
            upstream, carried = connection.downstream.upstream, connection.unanswered_credentials
            if upstream is not None and carried is not None:
                is_same = carried.login_id == credentials.login_id
                count += is_same and upstream.is_upstream_silent
        return max(1, count)

    async def close(self) -> None:
        """Stop listening, wait for running transfers up to the limit `shutdown_s`, and release
        everything."""
        context = self.context
        context.closing = True
        if self._stale_timer is not None:
            self._stale_timer.cancel()
        self.listeners.close()
        context.pool.clear()
        await self.preconnector.close()
        await self._late_verdicts.close()
        self.executor.end_idle()
        with suppress(TimeoutError):
            async with asyncio.timeout(context.limits.shutdown_s):
                await self.executor.wait_until_empty()
        self.executor.close()
        context.close()
        self._fd_reserve.close()
        self._refused_connections.close()
        self.access_control.close()

    def close_clients(self, use: ListenerUse, keeps: Callable[[tuple[Any, ...]], bool]) -> None:
        """Close the client connections of a listener, except those whose peer address is kept."""
        for connection in list(self._client_connections()):
            if connection.work.use is use and not keeps(connection.work.peer):
                self.executor.finish(connection.downstream.client.descriptor)

    def forget_connections(self) -> None:
        """Do not reuse present upstream connections for further requests, because the profile or a
        login has changed."""
        self.context.pool.clear()
        self.preconnector.forget()
        self.auth.exempt_sites.forget()
        self.context.connector.forget()
        for connection in self._client_connections():
            # An upstream connection reserved for the next request of its client is idle,
            # too. After a network change it would be dead without an error.
            connection.drop_idle_upstream()

    def network_changed(self) -> None:
        """Discard all knowledge about the old network, after a network change or a suspend."""
        context = self.context
        self.forget_connections()
        context.failover.forget()
        context.connector.network_grace.start()
        self._on_network_changed()
        if self._stale_timer is not None:
            self._stale_timer.cancel()
        self._stale_timer = context.loop.call_later(
            context.limits.network_grace_s, self._close_stale_connections
        )

    def _close_stale_connections(self) -> None:
        """Close the upstream connections of the old network."""
        from trayproxy.engine.upstream.stale_connections import close_stale_connections  # Rare.

        self._stale_timer = None
        upstreams = [connection.downstream.upstream for connection in self._client_connections()]
        close_stale_connections(
            [upstream.stream.socket for upstream in upstreams if upstream is not None]
        )

    def check_for_suspend(self) -> None:
        """Call `network_changed` if the computer was suspended since the last check.

        Called before idle connections and other earlier state are used.
        """
        if self._suspend_detector.has_slept():
            self.network_changed()
