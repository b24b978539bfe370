"""What is measured, by the names that every table of ours uses."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Workload:
    """Something that programs do through the proxy, again and again.

    Attributes:
        id: ``W1-50``; the number behind the dash is that of the connections.
        what: For people.
        mode: What ``load.c`` calls it.
        connections: How many do it at once, each one thing after the other.
    """

    id: str
    what: str
    mode: str
    connections: int

    @property
    def is_bulk(self) -> bool:
        """Whether octets count, and not operations."""
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
"""W1 to W5: a rate and how long one operation takes."""

IDLE = "W6"
"""Many idle tunnels: how fast they open, whether they live, their memory and processor time."""
LIFE = "W7"
"""Start-up, and nothing to do."""
BESIDE = "W8"
"""A ping (W5) and a CONNECT (W3-1) beside idle tunnels."""
CROWD = "W9"
"""50 tunnels that are all used beside idle ones (security.md, F24)."""

ALL = (*(workload.id for workload in TIMED), IDLE, LIFE, BESIDE, CROWD)


def timed(name: str) -> Workload:
    """Return the one with this id."""
    return next(workload for workload in TIMED if workload.id == name)


NEIGHBOURS = {
    BESIDE: {"ping": timed("W5"), "connect": timed("W3-1")},
    CROWD: {"ping": Workload("W9", "64 octets there and back in each tunnel", "ping", 50)},
}
"""What is done beside idle tunnels, by what its figures begin with."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How long and how much.

    Attributes:
        rounds: How often all is measured; the medians count.
        seconds: How long each timed workload runs.
        warm_up: Seconds before that which do not count.
        idle_s: How long idleness is watched.
        tunnels: W6, how many are held.
        beside: W8, beside how many.
        crowd: The same for W9.
        retries: How often a sample is taken again while others keep the machine busy.
    """

    rounds: int = 5
    seconds: float = 1.5
    warm_up: float = 0.3
    idle_s: float = 5.0
    tunnels: tuple[int, ...] = (1_000, 5_000)
    beside: tuple[int, ...] = (0, 50, 200, 1_000)
    crowd: tuple[int, ...] = (0, 5_000)
    retries: int = 1
