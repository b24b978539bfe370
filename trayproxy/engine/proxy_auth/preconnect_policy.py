"""Decides when to authenticate a connection ahead of need; without I/O and without a clock.

A preconnect is made only where it saves round trips, and only after recent demand: a request has
needed a handshake of several messages, or has used a ready connection. At most one connection is
ready per key. A preconnect starts only while no request waits for a connection, and without new
demand nothing happens: an idle service opens no connection.

A request on a preconnected connection costs three messages: two for the handshake and one for the
request. A request with its own handshake costs two. Back-to-back requests leave no time for a
preconnect: each request would wait for it and cost three messages instead of two. So there is no
preconnect during a burst, and none after its last request, because the next request may start
another burst, and the connection would cost an extra message. The first request after a pause
authenticates its own connection; the next connection is authenticated ahead after it. In this way,
back-to-back requests cost at most two messages each, preconnects included.

After a permanent failure, no preconnect is tried again for the same key. Another login, profile or
network has another key.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from typing import NamedTuple

from trayproxy.desk.credentials import Credentials
from trayproxy.engine.upstream.pool import PoolKey
from trayproxy.engine.upstream.route import Route
from trayproxy.http.target import Authority

BACK_OFF_S = 60.0
"""Seconds without another try after a failed preconnect."""
MAX_FAILURES = 3
"""The most failures in a row; after them, no preconnect is tried again for the key."""
BURST_PAUSE_S = 0.06
"""The shortest pause, in seconds, between two requests of different bursts. A preconnect is delayed
by the same time, because the last request may be the first of a burst."""
MAX_SHORT_PAUSES = 4
"""The number of shorter pauses in a row from which no connection is preconnected, until a request
follows a longer pause."""
MIN_LONG_PAUSES = 2
"""The number of longer pauses in a row from which a connection is preconnected without delay,
because the next request will also follow a pause."""
MAX_KEYS = 64
"""The most pool keys to remember. Keys of old logins are never used again."""


class PreconnectOrder(NamedTuple):
    """The parameters of a preconnect. The upstream has recently required a login for the target."""

    route: Route
    credentials: Credentials
    target: Authority


class PreconnectResult(Enum):
    """The result of a preconnect."""

    POOLED = auto()
    """The connection is in the pool."""
    FAILED = auto()
    """The preconnect failed. A later preconnect may succeed."""
    FAILED_FOR_GOOD = auto()
    """The preconnect failed for a permanent reason; do not retry for this key."""


@dataclass(slots=True)
class _KeyState:
    """The state of a pool key.

    Attributes:
        waiting: The number of requests waiting for a connection.
        order: The order of the next preconnect; None while no request has needed several messages
            to authenticate its connection.
        is_wanted: True if a request has needed a connection since the last preconnect started.
        failures: The number of failures since the last success.
        not_before: The time before which no preconnect starts, in seconds on a monotonic clock.
        is_given_up: True if no preconnect is to be started any more.
    """

    waiting: int = 0
    order: PreconnectOrder | None = None
    is_wanted: bool = False
    is_in_progress: bool = False
    failures: int = 0
    not_before: float = -inf
    is_given_up: bool = False

    @property
    def is_idle(self) -> bool:
        """True if no request is waiting and no preconnect is in progress."""
        return not self.waiting and not self.is_in_progress


class BurstDetector:
    """Distinguishes back-to-back requests from requests with pauses between them.

    Each key is the pool key of authenticated connections; each time is in seconds on a monotonic
    clock.
    """

    def __init__(self) -> None:
        self._ended_at: dict[PoolKey, float] = {}
        self._short_pauses: dict[PoolKey, int] = {}
        self._long_pauses: dict[PoolKey, int] = {}

    def request_ended(self, key: PoolKey, now: float) -> None:
        """Record the end of a request's need for a connection."""
        if len(self._ended_at) >= MAX_KEYS:
            self.forget()
        self._ended_at[key] = now

    def request_arrived(self, key: PoolKey, now: float) -> None:
        """Record a request in need of a connection."""
        ended_at = self._ended_at.pop(key, None)
        if ended_at is None:
            return  # The first request, or a request concurrent with another.
        if now - ended_at >= BURST_PAUSE_S:
            self._short_pauses.pop(key, None)
            self._long_pauses[key] = self._long_pauses.get(key, 0) + 1
        else:
            self._long_pauses.pop(key, None)
            self._short_pauses[key] = self._short_pauses.get(key, 0) + 1

    def delay_s(self, key: PoolKey) -> float | None:
        """Return the seconds without a request before a preconnect starts; None during a burst,
        which lasts until a request follows a pause."""
        if self._short_pauses.get(key, 0) >= MAX_SHORT_PAUSES:
            return None
        return 0.0 if self._long_pauses.get(key, 0) >= MIN_LONG_PAUSES else BURST_PAUSE_S

    def forget(self) -> None:
        """Drop the records of all keys."""
        self._ended_at.clear()
        self._short_pauses.clear()
        self._long_pauses.clear()


class PreconnectPolicy:
    """Decides when to preconnect, from the events reported to it; for keys and times see
    `BurstDetector`."""

    def __init__(self) -> None:
        self._states: dict[PoolKey, _KeyState] = {}

    @property
    def waiting(self) -> int:
        """The number of requests in need of an authenticated connection."""
        return sum(state.waiting for state in self._states.values())

    def demand_started(self, key: PoolKey) -> None:
        """Register a request in need of an authenticated connection; see `PreconnectDemand`."""
        self._state(key).waiting += 1

    def demand_ended(self, key: PoolKey) -> None:
        """Deregister a request's demand for an authenticated connection; see `PreconnectDemand`."""
        state = self._states.get(key)
        if state is None:
            return  # The key is from before a call of `forget`.
        state.waiting = max(0, state.waiting - 1)
        if state.order is None and state.is_idle:
            del self._states[key]

    def handshake_done(self, key: PoolKey, order: PreconnectOrder) -> None:
        """Record that a request needed several messages to authenticate its own connection."""
        state = self._state(key)
        state.order = order
        state.is_wanted = True

    def preconnect_used(self, key: PoolKey) -> None:
        """Record that a request has taken a ready connection from the pool."""
        state = self._states.get(key)
        if state is not None and state.order is not None:
            state.is_wanted = True

    def is_wanted(self, key: PoolKey) -> bool:
        """Return True if `next_order` may return an order for the key."""
        state = self._states.get(key)
        return state is not None and state.is_wanted

    def next_order(
        self, key: PoolKey, now: float, *, is_ready: bool, may_carry: Callable[[Credentials], bool]
    ) -> PreconnectOrder | None:
        """Return the order of a preconnect to start now; None to start none.

        While requests wait, the decision is postponed. Otherwise it is made once per demand. For
        `may_carry` see `CredentialBroker.may_preconnect`.
        """
        state = self._states.get(key)
        if state is None or not state.is_wanted or not state.is_idle:
            return None
        state.is_wanted = False
        is_backing_off = state.is_given_up or now < state.not_before
        assert state.order is not None  # A connection is wanted only with an order.
        if is_backing_off or is_ready or not may_carry(state.order.credentials):
            return None
        state.is_in_progress = True
        return state.order

    def preconnect_ended(self, key: PoolKey, result: PreconnectResult, now: float) -> None:
        """Record the result of the preconnect in progress."""
        state = self._states.get(key)
        if state is None:
            return  # The key is from before a call of `forget`.
        state.is_in_progress = False
        if result is PreconnectResult.POOLED:
            state.failures = 0
            return
        state.failures += 1
        state.not_before = now + BACK_OFF_S
        state.is_given_up = (
            result is PreconnectResult.FAILED_FOR_GOOD or state.failures >= MAX_FAILURES
        )

    def preconnect_lost(self, key: PoolKey, now: float) -> None:
        """Record the loss of a ready connection, closed by the upstream before its first use."""
        self._state(key).not_before = now + BACK_OFF_S

    def forget(self) -> None:
        """Drop all states, because the profile, a login or the network has changed."""
        self._states.clear()

    def _state(self, key: PoolKey) -> _KeyState:
        """Return the state of a key; create the state if it is missing."""
        state = self._states.get(key)
        if state is None:
            if len(self._states) >= MAX_KEYS:
                self._states = {k: v for k, v in self._states.items() if not v.is_idle}
            state = self._states[key] = _KeyState()
        return state
