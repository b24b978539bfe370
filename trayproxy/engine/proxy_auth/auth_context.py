"""The objects shared by all authentication exchanges of an engine."""

from asyncio import Future
from dataclasses import dataclass, field

from trayproxy.engine.proxy_auth.challenge_detection import ChallengeDetector
from trayproxy.engine.proxy_auth.exempt_sites import ExemptSites
from trayproxy.engine.proxy_auth.handshake_threads import HandshakeThreads
from trayproxy.engine.proxy_auth.late_verdicts import LateVerdicts
from trayproxy.engine.proxy_auth.preconnect_policy import PreconnectOrder
from trayproxy.engine.upstream.pool import PoolKey


class PreconnectDemand:
    """Receives the events of requests by which a preconnect is decided.

    This base class ignores the events: the requests of preconnects use it. Each key is the pool key
    of authenticated connections.
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
        return None


@dataclass(frozen=True, slots=True)
class AuthContext:
    """The objects shared by all authentication exchanges of an engine."""

    challenge_detector: ChallengeDetector
    exempt_sites: ExemptSites
    handshake_threads: HandshakeThreads
    late_verdicts: LateVerdicts
    preconnects: PreconnectDemand = field(default_factory=PreconnectDemand)
