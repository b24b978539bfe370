"""The objects shared by all authentication exchanges of an engine."""

from asyncio import Future
from dataclasses import dataclass
from typing import Protocol

from trayproxy.auth.scheme import Handshake, Verdict, VerdictKind
from trayproxy.desk.credentials import Credentials
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.proxy_auth.challenge_detection import ChallengeDetector
from trayproxy.engine.proxy_auth.exempt_sites import ExemptSites
from trayproxy.engine.proxy_auth.handshake_threads import HandshakeThreads
from trayproxy.engine.proxy_auth.preconnect_policy import PreconnectOrder
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.upstream.pool import PoolKey, UpstreamConnection
from trayproxy.engine.upstream.route import Route
from trayproxy.http.challenges import Challenge


@dataclass(frozen=True, slots=True)
class UnansweredRequest:
    """A request with a login still without a response, although its client has disconnected.

    Attributes:
        connection: The connection on which the response is expected.
        cached_request: The request.
        route: The route of the request.
        credentials: The credentials in the request.
        is_on_trial: True if no upstream has ever accepted the login.
        handshake: The handshake that classifies a refusal; None if every refusal rejects the login.
        is_other_connection: True if the credentials left on another connection than their
            challenge.
    """

    connection: UpstreamConnection
    cached_request: CachedRequest
    route: Route
    credentials: Credentials
    is_on_trial: bool
    handshake: Handshake | None = None
    is_other_connection: bool = False

    def verdict(self, challenges: tuple[Challenge, ...]) -> Verdict | None:
        """Return the verdict on the login after a refusal with these challenges; None if only the
        nonce was refused."""
        if self.handshake is None:
            return Verdict(VerdictKind.REJECTED)
        step = self.handshake.step(challenges)
        return (
            verdict_for_connection(step, is_other_connection=self.is_other_connection)
            if isinstance(step, Verdict)
            else None
        )


@dataclass(frozen=True, slots=True)
class UnansweredSocksLogin:
    """A login that was sent to a SOCKS server for a client. The client has disconnected before the
    reply.

    Attributes:
        stream: The connection on which the reply of two octets is expected (RFC 1929, section 2).
        route: The route through the SOCKS server.
        credentials: The credentials sent to the server.
        target: The target of the client, such as ``github.com:443``.
        is_on_trial: True if no upstream has ever accepted the login.
    """

    stream: SocketStream
    route: Route
    credentials: Credentials
    target: str
    is_on_trial: bool


class UnansweredReader(Protocol):
    """Reads the responses to logins after their clients have disconnected."""

    def read_response(self, unanswered: UnansweredRequest) -> bool:
        """Start to read the response to a request. Return False if it cannot be read any more."""

    def read_socks_reply(self, unanswered: UnansweredSocksLogin) -> bool:
        """Start to read the reply of a SOCKS server to a login. Return False if it cannot be read
        any more."""


def verdict_for_connection(verdict: Verdict, *, is_other_connection: bool) -> Verdict:
    """Return the verdict on credentials. It may become unclear if the credentials left on another
    connection than their challenge (see `Verdict.on_other_connection`)."""
    return verdict.on_other_connection() if is_other_connection else verdict


class PreconnectDemand(Protocol):
    """Receives the events of requests by which a preconnect is decided.

    Each key is the pool key of authenticated connections.
    """

    def demand_started(self, key: PoolKey) -> None:
        """Register a request in need of an authenticated connection."""

    def demand_ended(self, key: PoolKey) -> None:
        """Deregister a request's demand for an authenticated connection."""

    def handshake_done(self, key: PoolKey, order: PreconnectOrder) -> None:
        """Record that a request needed several messages to authenticate its own connection."""

    def preconnect_used(self, key: PoolKey) -> None:
        """Record that a request has taken a ready connection from the pool."""

    def in_progress(self, key: PoolKey) -> "tuple[Future[None], float] | None":
        """Return a future for the end of the preconnect in progress, and the seconds to wait for
        it; None if there is no preconnect to wait for."""


class NoDemand:
    """The demand of preconnects themselves: none. See `PreconnectDemand`."""

    def demand_started(self, key: PoolKey) -> None:
        """Do nothing."""

    def demand_ended(self, key: PoolKey) -> None:
        """Do nothing."""

    def handshake_done(self, key: PoolKey, order: PreconnectOrder) -> None:
        """Do nothing."""

    def preconnect_used(self, key: PoolKey) -> None:
        """Do nothing."""

    def in_progress(self, key: PoolKey) -> "tuple[Future[None], float] | None":
        """Return None."""
        return None


@dataclass(frozen=True, slots=True)
class AuthContext:
    """The objects shared by all authentication exchanges of an engine.

    Attributes:
        challenge_detector: Decides which responses demand a login.
        exempt_sites: Sites to which requests go without a login first.
        handshake_threads: Runs blocking steps of a handshake.
        unanswered: Reads responses to requests of disconnected clients.
        preconnects: Receives the demand for authenticated connections.
    """

    challenge_detector: ChallengeDetector
    exempt_sites: ExemptSites
    handshake_threads: HandshakeThreads
    unanswered: UnansweredReader
    preconnects: PreconnectDemand
