"""What the service holds at moments when nobody uses it: that must not grow."""

import os
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression

from tests.support.memory import MIB, memory_of

GROWTH = 4 * MIB
"""How much more memory the service may have at the end than after the warm-up, when it remembers as
many heads as it ever does. Runs of minutes grew by up to 2 MiB: what is held depends on which
sizes came last, and on how many at once. In ten minutes this is 50 octets an operation, less than
any object that could be left behind by each."""
PIPES = 2 * 16
"""Descriptors of pipes that the engine keeps for the next tunnels."""
SPIN = 0.2
"""Share of a core that means that something goes round in circles."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """What the service holds at one such moment.

    Attributes:
        at_s: Seconds from the beginning.
        pss: Octets of memory.
        sockets: Open ones.
        pipes: Their open ends.
        others: Other descriptors.
        threads: How many.
        active: Client connections that it thinks are open.
    """

    at_s: float
    pss: int
    sockets: int
    pipes: int
    others: int
    threads: int
    active: int

    def __str__(self) -> str:
        return (
            f"{self.at_s:6.1f} s: {self.pss / MIB:.2f} MiB, {self.sockets} sockets, "
            f"{self.pipes} ends of pipes, {self.others} other descriptors, {self.threads} threads, "
            f"{self.active} connections"
        )


def look(pid: int, at_s: float, active: int) -> Quiet:
    """Look at a process."""
    kinds = _descriptors(pid)
    sockets, pipes = kinds.count("socket"), kinds.count("pipe")
    others = len(kinds) - sockets - pipes
    threads = len(os.listdir(f"/proc/{pid}/task"))
    return Quiet(at_s, memory_of(pid).proportional, sockets, pipes, others, threads, active)


def _descriptors(pid: int) -> list[str]:
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(str(link.readlink()).partition(":")[0])
        except FileNotFoundError:
            continue  # It was closed while we looked.
    return found


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process up to now, of all its threads."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def growth(moments: list[Quiet]) -> list[str]:
    """Return what has grown from the first of these moments, which is after the warm-up."""
    first, last = moments[0], moments[-1]
    found = []
    slope = linear_regression([m.at_s for m in moments], [m.pss for m in moments]).slope
    if (grown := slope * (last.at_s - first.at_s)) > GROWTH:
        found.append(f"memory grew by {grown / MIB:.2f} MiB")
    if last.sockets > first.sockets:
        found.append(f"{last.sockets} sockets are open, not {first.sockets}")
    if last.pipes > first.pipes + PIPES:
        found.append(f"{last.pipes} ends of pipes are open, not {first.pipes}")
    if last.others > first.others:
        found.append(f"{last.others} other descriptors are open, not {first.others}")
    if last.active:
        found.append(f"{last.active} client connections are thought to be open")
    return found
