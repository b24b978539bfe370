"""The workloads, by the ids used in all tables."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Workload:
    """A repeated operation of programs through the proxy.

    Attributes:
        id: ``W1-50``; the hyphen precedes the number of connections.
        mode: The name in ``load.c``.
        connections: The number of concurrent connections; each repeats the operation.
    """

    id: str
    what: str
    mode: str
    connections: int

    @property
    def is_bulk(self) -> bool:
        """True if the rate counts octets, not operations."""
        return self.mode in ("down", "up")


TIMED = (
    Workload("W1-1", "GET of 1 KiB, keep-alive", "get", 1),
    Workload("W1-50", "GET of 1 KiB, keep-alive", "get", 50),
    Workload("W1-200", "GET of 1 KiB, keep-alive", "get", 200),
    Workload("W2-1", "GET of 1 KiB, new connection", "new", 1),
    Workload("W2-50", "GET of 1 KiB, new connection", "new", 50),
    Workload("W3-1", "CONNECT, 1 octet echoed, close", "tunnel", 1),
    Workload("W3-50", "CONNECT, 1 octet echoed, close", "tunnel", 50),
    Workload("W4-d1", "bulk out of 1 tunnel", "down", 1),
    Workload("W4-u1", "bulk into 1 tunnel", "up", 1),
    Workload("W4-d8", "bulk out of 8 tunnels", "down", 8),
    Workload("W4-u8", "bulk into 8 tunnels", "up", 8),
    Workload("W5", "64 octets there and back in a tunnel", "ping", 1),
    Workload("W5-split", "the same, sent as 32 + 0.3 ms + 32", "split", 1),
)
"""W1 to W5: the rate and the duration of an operation."""

IDLE = "W6"
"""W6, many idle tunnels: the rate of opening, working tunnels, memory and processor time."""
LIFE = "W7"
"""W7: start-up and idle time."""
BESIDE = "W8"
"""W8: a ping (W5) and a CONNECT (W3-1) beside idle tunnels."""
CROWD = "W9"
"""W9: 50 used tunnels beside idle tunnels (security.md, F24)."""

ALL = (*(workload.id for workload in TIMED), IDLE, LIFE, BESIDE, CROWD)


def timed(name: str) -> Workload:
    """Return the workload with this id."""
    return next(workload for workload in TIMED if workload.id == name)


NEIGHBOURS = {
    BESIDE: {"ping": timed("W5"), "connect": timed("W3-1")},
    CROWD: {"ping": Workload("W9", "64 octets there and back in each tunnel", "ping", 50)},
}
"""The operations beside idle tunnels, by the prefix of their figures."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale of a measurement.

    Attributes:
        rounds: The number of rounds; the results are medians.
        seconds: The duration of each timed workload.
        warm_up: The preceding seconds, which are not measured.
        idle_s: The duration of the observation of idleness.
        tunnels: The numbers of idle tunnels in W6.
        beside: The numbers of idle tunnels in W8.
        crowd: The numbers of idle tunnels in W9.
        retries: The maximum number of repetitions of a sample on a busy machine.
    """

    rounds: int = 5
    seconds: float = 1.5
    warm_up: float = 0.3
    idle_s: float = 5.0
    tunnels: tuple[int, ...] = (1_000, 5_000)
    beside: tuple[int, ...] = (0, 50, 200, 1_000)
    crowd: tuple[int, ...] = (0, 5_000)
    retries: int = 1
