"""Opens connections to next hops: name resolution, TCP, and the TLS or SOCKS5 handshake.

The result is a `SocketStream`, ready for HTTP or for the octets of a tunnel. With TLS, the
certificate is trusted; with SOCKS5, the target is connected.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from trayproxy.auth.socks import socks_challenge
from trayproxy.desk.broker import Accepted, CredentialBroker, NoVerdict
from trayproxy.desk.credentials import Credentials
from trayproxy.engine import error_pages
from trayproxy.engine.error_pages import ErrorPage, RequestRefusedError
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.fd_task import FUTURE_DONE, READ, TIMED_OUT, WRITE, IoWait, Pause
from trayproxy.engine.net.handshake_error import (
    ClientCertificateError,
    ClientCertificateRefusedError,
    HandshakeError,
    HandshakeTimeoutError,
)
from trayproxy.engine.net.happy_eyeballs import connect
from trayproxy.engine.net.resolver import Address, Resolver
from trayproxy.engine.net.resource_shortage import is_shortage, lacks_descriptors
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.upstream.network_grace import (
    RETRY_S,
    NetworkChangedError,
    NetworkGrace,
    until_network_change,
)
from trayproxy.engine.upstream.route import Route
from trayproxy.http.challenges import Challenge
from trayproxy.http.target import Authority
from trayproxy.profiles.profile import Profile, ProxyScheme, Upstream

if TYPE_CHECKING:
    import ssl

    from trayproxy.engine.net.socks5 import SocksDialogue
    from trayproxy.engine.net.tls import TlsStream, TrustStore

T = TypeVar("T")

Release = Callable[[int], None]
"""Deregisters a descriptor before the descriptor is closed or handed over."""


class UnreachableError(RequestRefusedError):
    """The next hop cannot be reached. A fallback may be used."""


class UnusableError(RequestRefusedError):
    """The next hop and its fallbacks must not be used: the problem is reported to the user."""


class TargetRefusedError(RequestRefusedError):
    """The next hop works, but does not connect to the target."""


class RouteOutdatedError(Exception):
    """The network has changed since the route was chosen: it must be chosen again."""


class AuthRequiredError(Exception):
    """The next hop demands a login, or has rejected the login, with challenges or an equivalent for
    SOCKS5."""

    def __init__(self, challenges: tuple[Challenge, ...]) -> None:
        super().__init__("a sign-in is wanted")
        self.challenges = challenges


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """The parameters of a connection to a next hop.

    Attributes:
        credentials: The credentials to use, None if there are none.
        release: Called with each registered descriptor before the descriptor is closed or
            returned.
        connecting: A socket already connecting to the only address of the next hop.
        before_login: Called before a login is sent.
        network: `NetworkGrace.changes` at the time when the route was chosen; None if the route may
            be used in any network.
        is_for_other_computer: True if the client is a program of another computer: it is not
            connected directly to a service of this computer.
        hand_over: Called with the connection if `pause` raises while the response to a login is
            pending. If it returns True, it reads the response and closes the connection.
    """

    route: Route
    target: Authority
    credentials: Credentials | None
    pause: Pause
    release: Release
    connecting: socket.SocketType | None = None
    before_login: Callable[[], None] = lambda: None
    hand_over: Callable[[SocketStream], bool] = lambda stream: False
    network: int | None = None
    is_for_other_computer: bool = False

    @property
    def next_hop(self) -> Upstream | Authority:
        """The host and port to connect to."""
        return self.route.upstream or self.target


class Connector:
    """Opens connections to next hops. There is no trust store until the first https upstream is
    used.

    Attributes:
        shortages: How often a lack of descriptors was noticed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: EngineLimits,
        broker: CredentialBroker,
        is_own_address: Callable[[tuple[Address, ...]], bool],
    ) -> None:
        """Create a connector.

        Args:
            broker: Receives the result of a login at a SOCKS server.
            is_own_address: Returns whether the engine itself listens on one of these addresses.
        """
        self.resolver = Resolver(loop)
        self.trust_store: TrustStore | None = None
        self.certificate_password: Callable[[Profile], str] = lambda profile: ""
        self.network_grace = NetworkGrace(loop, limits.network_grace_s)
        self.shortages = 0
        self._loop = loop
        self._limits = limits
        self._broker = broker
        self._is_own_address = is_own_address
        self._sole_addresses: tuple[Address, ...] = ()

    def forget(self) -> None:
        """Discard resolved names and loaded certificates."""
        self.resolver.forget()
        self._forget_trust()
        self._sole_addresses = ()

    def addresses_of(self, upstream: str) -> tuple[str, ...]:
        """Return the cached addresses of an upstream, ``192.0.2.1:8080``, given by its URL."""
        if "*" in upstream:  # The pattern of several upstreams (`Profile.login_key`).
            return ()
        parts = urlsplit(upstream)
        if parts.hostname is None or parts.port is None:
            return ()
        known = self.resolver.known(parts.hostname, parts.port) or ()
        return tuple(sorted(f"{address[0]}:{address[1]}" for _, address in known))

    def sole_address(self, route: Route) -> Address | None:
        """Return the address of an http upstream with exactly one address, without a look-up; None
        if the upstream needs a handshake, has several addresses, is TrayProxy itself, or its name
        is not cached."""
        upstream = route.upstream
        if upstream is None or upstream.scheme is not ProxyScheme.HTTP:
            return None
        known = self.resolver.known(upstream.host, upstream.port)
        if known is not self._sole_addresses:
            if known is None or len(known) != 1 or self._is_own_address(known):
                return None
            self._sole_addresses = known
        return known[0]

    async def open(self, request: ConnectRequest) -> SocketStream:
        """Return a new connection to the next hop, ready for a request or a tunnel.

        Raises:
            UnreachableError: The next hop cannot be reached.
            AuthRequiredError: The next hop demands a login, or has rejected this login.
            UnusableError: The next hop has failed the TLS handshake, or offers no common way to
                authenticate.
            TargetRefusedError: The next hop does not connect to the target.
            RouteOutdatedError: The network has changed; see `ConnectRequest.network`.
            RequestRefusedError: The next hop is TrayProxy itself, or this computer is out of
                resources.
        """
        connection = await self.connect(request)
        upstream = request.route.upstream
        if upstream is None or upstream.scheme is ProxyScheme.HTTP:
            return SocketStream(connection)
        if upstream.scheme is ProxyScheme.HTTPS:
            return await self._start_tls(request, upstream, connection)
        return await self._start_socks(request, upstream, SocketStream(connection))

    async def connect(self, request: ConnectRequest) -> socket.SocketType:
        """Return a new TCP connection to the next hop, without any handshake.

        During the grace period after a network change, a failed attempt is repeated. Only this step
        is repeated, not a handshake, because a handshake may contain a login, which is never sent
        twice automatically. A refused connection is not retried, because it proves that the network
        works.

        Raises:
            UnreachableError: The next hop cannot be reached, and the grace period is over.
            RouteOutdatedError: The network has changed; see `ConnectRequest.network`.
            RequestRefusedError: The next hop is TrayProxy itself, or this computer is out of
                resources.
        """
        grace = self.network_grace
        end = self._loop.time() + self._limits.connect_total_s
        while self._loop.time() < end:
            if request.network not in (None, grace.changes):
                raise RouteOutdatedError
            try:
                return await self._connect_once(
                    replace(request, pause=until_network_change(request.pause, grace))
                )
            except NetworkChangedError:
                continue
            except UnreachableError as error:
                if not grace.is_active or isinstance(error.__cause__, ConnectionRefusedError):
                    raise
            await request.pause(IoWait({}, grace.change, RETRY_S))
        # The network keeps changing: report the result of one last attempt.
        return await self._connect_once(request)

    async def _connect_once(self, request: ConnectRequest) -> socket.SocketType:
        """Make one attempt to connect; see `connect`."""
        limits, next_hop, shortages = self._limits, request.next_hop, self.shortages
        try:
            addresses = await self.resolver.look_up(
                next_hop.host, next_hop.port, request.pause, limits.resolve_s
            )
            if self._is_own_address(addresses):
                raise RequestRefusedError(error_pages.LOOP)
            if request.is_for_other_computer and request.route.upstream is None:
                require_other_computer(addresses)
            return await connect(
                addresses,
                request.pause,
                request.release,
                limits,
                self._loop.time,
                request.connecting,
            )
        except socket.gaierror as error:
            # The resolver may have been short of descriptors that are free again.
            if self.shortages != shortages or lacks_descriptors():
                self.shortages += 1  # For the other requests that wait for the same look-up.
                raise RequestRefusedError(error_pages.BUSY) from error
            page = error_pages.not_found(
                next_hop.host, through_upstream=request.route.upstream is not None
            )
            raise UnreachableError(page) from error
        except OSError as error:
            if is_shortage(error):
                raise RequestRefusedError(error_pages.BUSY) from error
            raise UnreachableError(self._connect_error_page(error, request)) from error

    def _connect_error_page(self, error: OSError, request: ConnectRequest) -> ErrorPage:
        next_hop, through_upstream = request.next_hop, request.route.upstream is not None
        if isinstance(error, ConnectionRefusedError):
            return error_pages.refused_connection(next_hop.host, next_hop.port)
        if isinstance(error, TimeoutError):
            return error_pages.no_response(
                next_hop.host, self._limits.connect_s, through_upstream=through_upstream
            )
        reason = error.strerror or str(error)
        return error_pages.no_route(next_hop.host, reason, through_upstream=through_upstream)

    # --- TLS ---

    async def _start_tls(
        self, request: ConnectRequest, upstream: Upstream, connection: socket.SocketType
    ) -> "TlsStream":
        descriptor = connection.fileno()
        try:
            # Imported here, because it loads OpenSSL, which only https upstreams need.
            from trayproxy.engine.net.tls import TlsStream, TrustStore

            if self.trust_store is None:
                self.trust_store = TrustStore(self._loop)
            context = await self._context(request, self.trust_store)
            # Certificates contain no IPv6 zone, which is local to this computer.
            stream = TlsStream.start(connection, context, upstream.host.partition("%")[0])
            end = self._loop.time() + self._limits.handshake_s
            while True:
                events = {descriptor: READ | (WRITE if stream.is_blocked else 0)}
                await self._wait(request.pause, events, end)
                if stream.do_handshake():
                    request.release(descriptor)
                    return stream
        except BaseException as error:
            request.release(descriptor)
            connection.close()
            if is_shortage(error) or (
                isinstance(error, (HandshakeError, ImportError)) and lacks_descriptors()
            ):
                # Certificates could not be loaded, for lack of descriptors.
                self._forget_trust()
                raise RequestRefusedError(error_pages.BUSY) from error
            if isinstance(error, HandshakeError):
                self._forget_trust()
                raise handshake_failure(upstream.host, error) from error
            if isinstance(error, HandshakeTimeoutError):
                raise self._handshake_timeout(upstream) from error
            raise

    def _forget_trust(self) -> None:
        if self.trust_store is not None:
            self.trust_store.expire()

    async def _context(self, request: ConnectRequest, trust: "TrustStore") -> "ssl.SSLContext":
        from trayproxy.engine.net.tls import TlsFiles  # Loaded by `_start_tls`.

        profile = request.route.profile
        assert profile is not None  # An upstream belongs to a profile.
        upstream, certificate, key = request.route.upstream, "", ""
        if profile.client_certificate and upstream in profile.upstreams:
            certificate, key = profile.client_certificate, profile.client_key
        files = TlsFiles(profile.ca_file, certificate, key)
        known = trust.loaded_context(files)
        if known is not None:
            return known
        loading = trust.load(files, partial(self.certificate_password, profile))
        while not loading.done():
            await request.pause(IoWait({}, future=loading))
        return loading.result()

    # --- SOCKS ---

    async def _start_socks(
        self, request: ConnectRequest, upstream: Upstream, stream: SocketStream
    ) -> SocketStream:
        try:
            # Here, because most upstreams are no SOCKS servers.
            from trayproxy.engine.net.socks5 import connect_to, negotiate
            from trayproxy.engine.net.socks_client import ResponsePendingError, run_dialogue
        except (ImportError, OSError) as error:
            # For lack of descriptors: the modules could not be read.
            stream.close()
            raise RequestRefusedError(error_pages.BUSY) from error

        credentials, limits = request.credentials, self._limits

        async def run(dialogue: "SocksDialogue[T]", limit_s: float) -> T:
            wait = partial(self._wait, request.pause, end=self._loop.time() + limit_s)
            return await run_dialogue(dialogue, stream, wait, request.before_login)

        try:
            message = credentials.header_value(b"", b"") if credentials is not None else None
            greeting = negotiate(message, may_sign_in=request.route.may_sign_in)
            signed_in = await run(greeting, limits.handshake_s)
            if credentials is not None and not credentials.is_recently_accepted:
                unused = NoVerdict("the proxy did not ask for it", was_sent=False)
                self._broker.report(credentials, Accepted() if signed_in else unused)
            await run(connect_to(request.target.host, request.target.port), limits.socks_connect_s)
        except ResponsePendingError as left:
            request.release(stream.descriptor)
            if not request.hand_over(stream):
                stream.close()
            raise left.reason from None
        except BaseException as error:
            request.release(stream.descriptor)
            stream.close()
            if isinstance(error, HandshakeTimeoutError):
                raise self._handshake_timeout(upstream) from error
            failure = socks_failure(upstream.host, request, error)
            if failure is None:
                raise
            raise failure from error
        request.release(stream.descriptor)
        return stream

    async def _wait(self, pause: Pause, events: dict[int, int], end: float) -> None:
        """Wait until one of the events occurs. Raise `HandshakeTimeoutError` if the time `end` has
        passed."""
        woken = FUTURE_DONE
        while woken not in events:
            left = end - self._loop.time()
            woken = await pause(IoWait(events, timeout=max(0.0, left)))
            if woken == TIMED_OUT:
                raise HandshakeTimeoutError

    def _handshake_timeout(self, upstream: Upstream) -> UnreachableError:
        limit_s = self._limits.handshake_s
        return UnreachableError(
            error_pages.no_response(upstream.host, limit_s, through_upstream=True)
        )


def require_other_computer(addresses: tuple[Address, ...]) -> None:
    """Raise `RequestRefusedError` if one of the addresses is an address of this computer: its
    services often trust every program of the computer (security.md T3)."""
    # Here, because few clients are on other computers.
    from trayproxy.engine.upstream.stale_connections import is_local_address

    for family, address in addresses:
        if is_local_address(family, address):
            raise RequestRefusedError(error_pages.NOT_FOR_OTHER_COMPUTERS)


def handshake_failure(host: str, error: HandshakeError) -> RequestRefusedError:
    """Return the exception for a failed TLS handshake.

    Only a lost connection permits a fallback (`UnreachableError`). Every other failure may be
    caused by an attacker: nothing is sent, and the problem is reported to the user
    (`UnusableError`).
    """
    if isinstance(error, ClientCertificateError):
        return UnusableError(
            error_pages.client_certificate(host, error.reason, is_refused=error.is_refused)
        )
    page = error_pages.untrusted if error.is_certificate_error else error_pages.no_secure_connection
    kind = UnreachableError if error.is_connection_lost else UnusableError
    return kind(page(host, error.reason))


def late_handshake_failure(host: str, error: BaseException | None) -> UnusableError | None:
    """Return the exception for an upstream that has refused the client certificate after the
    handshake (TLS 1.3); None if the error is another one."""
    if not isinstance(error, ClientCertificateRefusedError):
        return None
    return UnusableError(error_pages.client_certificate(host, str(error), is_refused=True))


def socks_failure(host: str, request: ConnectRequest, error: BaseException) -> Exception | None:
    """Return the exception for a failed SOCKS dialogue; None to raise `error` unchanged."""
    from trayproxy.engine.net.socks5 import (
        ConnectFailedError,
        NoAcceptableMethodError,
        NotSocksError,
        SocksAuthRejectedError,
        SocksAuthRequiredError,
    )
    from trayproxy.engine.net.socks_client import SocksConnectionLostError

    match error:
        case SocksAuthRequiredError() | SocksAuthRejectedError():
            return AuthRequiredError((socks_challenge(),))
        case NoAcceptableMethodError() if request.route.profile and not request.route.may_sign_in:
            return UnusableError(error_pages.sign_in_not_set(request.route.profile.name))
        case NoAcceptableMethodError():
            return UnusableError(error_pages.NO_COMMON_METHOD)
        case SocksConnectionLostError():
            return UnreachableError(error_pages.CONNECTION_CLOSED)
        case NotSocksError():
            return UnreachableError(error_pages.not_socks(host))
        case ConnectFailedError(code=code):
            return TargetRefusedError(error_pages.socks_refused(request.target.host, code))
    return None
