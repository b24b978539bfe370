"""When to sign in a connection ahead of need: the decision, without I/O and without a clock.

A connection is signed in ahead only where that saves something, and only when somebody has just
needed one: a request had to pay for a handshake, or took what was ready. There is one at most, it
is begun when nobody waits for one of his own, and without new demand nothing happens: an idle
service opens nothing.

A request on a connection that is signed in ahead costs three messages: two for the sign-in, and its
own. A request that signs in its own connection costs two. Requests that come back to back leave no
time for a sign-in ahead: each request would wait for it, and cost three messages instead of two. So
no connection is signed in ahead among them, and none behind the last of them: the next request may
be the first of many again, and the connection would cost one message more than without. The first
request after a pause signs in its own connection; behind it the next connection is signed in ahead.
So requests that come back to back cost at most two messages each, all that is sent ahead included.

Where it came to nothing once for a reason that stays, it is not tried again until connections of
another kind are wanted: another login, another profile, another network.
"""

from collections.abc import Callable
from enum import Enum, auto
from math import inf

from trayproxy.desk.credentials import Credentials
from trayproxy.engine.upstream.pool import PoolKey
from trayproxy.engine.upstream.route import Route
from trayproxy.http.target import Authority

BACK_OFF_S = 60.0
"""Seconds without another try after one that has come to nothing."""
MAX_FAILURES = 3
"""So many in a row, and there is no other try."""
BURST_PAUSE_S = 0.06
"""Seconds between two requests from which on they do not come back to back. So long a connection is
not signed in ahead either, because the last request may be the first of many."""
MAX_SHORT_PAUSES = 4
"""So many shorter pauses in a row, and no connection is signed in ahead until a request has come
after a longer one."""
MIN_LONG_PAUSES = 2
"""So many pauses in a row that are not shorter, and a connection is signed in ahead at once: the
next request will come after a pause, too."""
MAX_KEYS = 64
"""Kinds of connections of which anything is known; old logins leave some behind."""


class PreconnectOrder:
    """What to sign in a connection with.

    Attributes:
        route: Where to.
        credentials: The login.
        target: Where a request of a program went for which the next hop wanted a login.
    """

    __slots__ = ("credentials", "route", "target")

    def __init__(self, route: Route, credentials: Credentials, target: Authority) -> None:
        self.route = route
        self.credentials = credentials
        self.target = target


class PreconnectResult(Enum):
    """What has become of a connection that was to be signed in ahead."""

    POOLED = auto()
    """It waits in the pool."""
    FAILED = auto()
    """Nothing; another one may come to more, some time later."""
    FAILED_FOR_GOOD = auto()
    """Nothing, and no other one will come to more."""


class _KeyState:
    """What is known of connections that stand for each other.

    Attributes:
        clients: How many requests of programs are on their way to one.
        order: How to sign one in; None: that costs no round trip of its own, as far as is known.
        is_wanted: Somebody has needed one since the last was begun.
        is_under_way: One is being signed in.
        failures: How many have come to nothing since one was kept.
        not_before: When the next one may be begun.
        is_useless: None shall be.
    """

    __slots__ = (
        "failures",
        "is_given_up",
        "is_in_progress",
        "is_wanted",
        "not_before",
        "order",
        "waiting",
    )

    def __init__(self) -> None:
        self.waiting = 0
        self.order: PreconnectOrder | None = None
        self.is_wanted = False
        self.is_in_progress = False
        self.failures = 0
        self.not_before = -inf
        self.is_given_up = False

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits and nothing is under way."""
        return not self.waiting and not self.is_in_progress


class BurstDetector:
    """Tells requests that come back to back from requests with pauses between them.

    A key is always that of a connection that is signed in.
    """

    def __init__(self) -> None:
        self._ended_at: dict[PoolKey, float] = {}
        self._short_pauses: dict[PoolKey, int] = {}
        self._long_pauses: dict[PoolKey, int] = {}

    def request_ended(self, key: PoolKey, now: float) -> None:
        """Note that a request needs no connection any more.

        Args:
            key: Of which kind.
            now: Seconds on a monotonic clock.
        """
        if len(self._ended_at) >= MAX_KEYS:
            self.forget()
        self._ended_at[key] = now

    def request_arrived(self, key: PoolKey, now: float) -> None:
        """Note that the next request needs one.

        Args:
            key: Of which kind.
            now: Seconds on a monotonic clock.
        """
        ended_at = self._ended_at.pop(key, None)
        if ended_at is None:
            return  # The first one, or beside another one.
        if now - ended_at >= BURST_PAUSE_S:
            self._short_pauses.pop(key, None)
            self._long_pauses[key] = self._long_pauses.get(key, 0) + 1
        else:
            self._long_pauses.pop(key, None)
            self._short_pauses[key] = self._short_pauses.get(key, 0) + 1

    def delay_s(self, key: PoolKey) -> float | None:
        """Return how many seconds without a request must pass before a connection is signed in
        ahead; None: the last requests came back to back, and no connection is signed in ahead
        before a request has come after a pause."""
        if self._short_pauses.get(key, 0) >= MAX_SHORT_PAUSES:
            return None
        return 0.0 if self._long_pauses.get(key, 0) >= MIN_LONG_PAUSES else BURST_PAUSE_S

    def forget(self) -> None:
        """Know nothing any more."""
        self._ended_at.clear()
        self._short_pauses.clear()
        self._long_pauses.clear()


class PreconnectPolicy:
    """Decides; is told what happens.

    A key is always that of a connection that is signed in.
    """

    def __init__(self) -> None:
        self._states: dict[PoolKey, _KeyState] = {}

    # --- what programs do ---

    def demand_started(self, key: PoolKey) -> None:
        """Take note that a request of a program needs such a connection."""
        self._state(key).waiting += 1

    def demand_ended(self, key: PoolKey) -> None:
        """Take note that it has one, or needs none any more."""
        state = self._states.get(key)
        if state is None:
            return  # From before a change.
        state.waiting = max(0, state.waiting - 1)
        if state.order is None and state.is_idle:
            del self._states[key]

    def handshake_done(self, key: PoolKey, order: PreconnectOrder) -> None:
        """Take note that it had to sign one in, by more than one message."""
        state = self._state(key)
        state.order = order
        state.is_wanted = True

    def preconnect_used(self, key: PoolKey) -> None:
        """Take note that it has taken one that was ready."""
        state = self._states.get(key)
        if state is not None and state.order is not None:
            state.is_wanted = True

    # --- what follows ---

    def is_wanted(self, key: PoolKey) -> bool:
        """Whether to look if one may be begun."""
        state = self._states.get(key)
        return state is not None and state.is_wanted

    def next_order(
        self, key: PoolKey, now: float, *, is_ready: bool, may_carry: Callable[[Credentials], bool]
    ) -> PreconnectOrder | None:
        """Return what to begin now; None: nothing.

        While programs wait the decision waits, too. After that it is made once.

        Args:
            key: Of which kind.
            now: Seconds on a monotonic clock.
            is_ready: There is one in the pool.
            may_carry: Whether a login may be sent that nobody waits for.
        """
        state = self._states.get(key)
        if state is None or not state.is_wanted or not state.is_idle:
            return None
        state.is_wanted = False
        is_backing_off = state.is_given_up or now < state.not_before
        if (
            state.order is None
            or is_backing_off
            or is_ready
            or not may_carry(state.order.credentials)
        ):
            return None
        state.is_in_progress = True
        return state.order

    def preconnect_ended(self, key: PoolKey, result: PreconnectResult, now: float) -> None:
        """Take note of what has become of the one that was under way."""
        state = self._states.get(key)
        if state is None:
            return  # From before a change.
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
        """Take note that one that was ready was closed by its next hop before anybody took it."""
        self._state(key).not_before = now + BACK_OFF_S

    def forget(self) -> None:
        """Know nothing any more: the profile, a login or the network has changed."""
        self._states.clear()

    def _state(self, key: PoolKey) -> _KeyState:
        state = self._states.get(key)
        if state is None:
            if len(self._states) >= MAX_KEYS:
                self._states = {k: v for k, v in self._states.items() if not v.is_idle}
            state = self._states[key] = _KeyState()
        return state
