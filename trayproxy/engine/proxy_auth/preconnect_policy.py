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
FAILURES_AT_MOST = 3
"""So many in a row, and there is no other try."""
PAUSE_S = 0.06
"""Seconds between two requests from which on they do not come back to back. So long a connection is
not signed in ahead either, because the last request may be the first of many."""
SHORT_AT_MOST = 4
"""So many shorter pauses in a row, and no connection is signed in ahead until a request has come
after a longer one."""
LONG_AT_LEAST = 2
"""So many pauses in a row that are not shorter, and a connection is signed in ahead at once: the
next request will come after a pause, too."""
KINDS_KEPT = 64
"""Kinds of connections of which anything is known; old logins leave some behind."""


class PreconnectOrder:
    """What to sign in a connection with.

    Attributes:
        way: Where to.
        answer: The login.
        target: Where a request of a program went for which the next hop wanted a login.
    """

    __slots__ = ("answer", "target", "way")

    def __init__(self, way: Route, answer: Credentials, target: Authority) -> None:
        self.way = way
        self.answer = answer
        self.target = target


class PreconnectResult(Enum):
    """What has become of a connection that was to be signed in ahead."""

    KEPT = auto()
    """It waits in the pool."""
    FAILED = auto()
    """Nothing; another one may come to more, some time later."""
    USELESS = auto()
    """Nothing, and no other one will come to more."""


class _Kind:
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
        "clients",
        "failures",
        "is_under_way",
        "is_useless",
        "is_wanted",
        "not_before",
        "order",
    )

    def __init__(self) -> None:
        self.clients = 0
        self.order: PreconnectOrder | None = None
        self.is_wanted = False
        self.is_under_way = False
        self.failures = 0
        self.not_before = -inf
        self.is_useless = False

    @property
    def is_at_rest(self) -> bool:
        """Whether nobody waits and nothing is under way."""
        return not self.clients and not self.is_under_way


class BurstDetector:
    """Tells requests that come back to back from requests with pauses between them.

    A key is always that of a connection that is signed in.
    """

    def __init__(self) -> None:
        self._ended: dict[PoolKey, float] = {}
        self._short: dict[PoolKey, int] = {}
        self._long: dict[PoolKey, int] = {}

    def ended(self, key: PoolKey, now: float) -> None:
        """Note that a request needs no connection any more.

        Args:
            key: Of which kind.
            now: Seconds on a monotonic clock.
        """
        if len(self._ended) >= KINDS_KEPT:
            self.forget()
        self._ended[key] = now

    def arrived(self, key: PoolKey, now: float) -> None:
        """Note that the next request needs one.

        Args:
            key: Of which kind.
            now: Seconds on a monotonic clock.
        """
        ended = self._ended.pop(key, None)
        if ended is None:
            return  # The first one, or beside another one.
        if now - ended >= PAUSE_S:
            self._short.pop(key, None)
            self._long[key] = self._long.get(key, 0) + 1
        else:
            self._long.pop(key, None)
            self._short[key] = self._short.get(key, 0) + 1

    def delay_s(self, key: PoolKey) -> float | None:
        """Return how many seconds without a request must pass before a connection is signed in
        ahead; None: the last requests came back to back, and no connection is signed in ahead
        before a request has come after a pause."""
        if self._short.get(key, 0) >= SHORT_AT_MOST:
            return None
        return 0.0 if self._long.get(key, 0) >= LONG_AT_LEAST else PAUSE_S

    def forget(self) -> None:
        """Know nothing any more."""
        self._ended.clear()
        self._short.clear()
        self._long.clear()


class PreconnectPolicy:
    """Decides; is told what happens.

    A key is always that of a connection that is signed in.
    """

    def __init__(self) -> None:
        self._kinds: dict[PoolKey, _Kind] = {}

    # --- what programs do ---

    def arrives(self, key: PoolKey) -> None:
        """Take note that a request of a program needs such a connection."""
        self._kind(key).clients += 1

    def leaves(self, key: PoolKey) -> None:
        """Take note that it has one, or needs none any more."""
        kind = self._kinds.get(key)
        if kind is None:
            return  # From before a change.
        kind.clients = max(0, kind.clients - 1)
        if kind.order is None and kind.is_at_rest:
            del self._kinds[key]

    def pays(self, key: PoolKey, order: PreconnectOrder) -> None:
        """Take note that it had to sign one in, by more than one message."""
        kind = self._kind(key)
        kind.order = order
        kind.is_wanted = True

    def takes(self, key: PoolKey) -> None:
        """Take note that it has taken one that was ready."""
        kind = self._kinds.get(key)
        if kind is not None and kind.order is not None:
            kind.is_wanted = True

    # --- what follows ---

    def is_wanted(self, key: PoolKey) -> bool:
        """Whether to look if one may be begun."""
        kind = self._kinds.get(key)
        return kind is not None and kind.is_wanted

    def begin(
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
        kind = self._kinds.get(key)
        if kind is None or not kind.is_wanted or not kind.is_at_rest:
            return None
        kind.is_wanted = False
        is_left_alone = kind.is_useless or now < kind.not_before
        if kind.order is None or is_left_alone or is_ready or not may_carry(kind.order.answer):
            return None
        kind.is_under_way = True
        return kind.order

    def ended(self, key: PoolKey, fate: PreconnectResult, now: float) -> None:
        """Take note of what has become of the one that was under way."""
        kind = self._kinds.get(key)
        if kind is None:
            return  # From before a change.
        kind.is_under_way = False
        if fate is PreconnectResult.KEPT:
            kind.failures = 0
            return
        kind.failures += 1
        kind.not_before = now + BACK_OFF_S
        kind.is_useless = fate is PreconnectResult.USELESS or kind.failures >= FAILURES_AT_MOST

    def lost(self, key: PoolKey, now: float) -> None:
        """Take note that one that was ready was closed by its next hop before anybody took it."""
        self._kind(key).not_before = now + BACK_OFF_S

    def forget(self) -> None:
        """Know nothing any more: the profile, a login or the network has changed."""
        self._kinds.clear()

    def _kind(self, key: PoolKey) -> _Kind:
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= KINDS_KEPT:
                self._kinds = {k: v for k, v in self._kinds.items() if not v.is_at_rest}
            kind = self._kinds[key] = _Kind()
        return kind
