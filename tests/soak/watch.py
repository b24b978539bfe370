"""Samples of the resources of the idle service, which must not grow."""

import os
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression

from tests.support.memory import MIB, memory_of

GROWTH = 4 * MIB
"""The permitted growth of memory after the warm-up, at the end of which the head caches are full.
In runs of some minutes, memory grew by up to 2 MiB: it depends on the sizes and the number of the
last requests. In ten minutes, this limit is 50 octets per operation, less than the size of any
object that each operation could leak."""
PIPES = 2 * 16
"""The maximum number of descriptors of pipes that the engine keeps for the next tunnels."""
SPIN = 0.2
"""The share of a core above which the idle service counts as busy, for example in a loop."""


@dataclass(frozen=True, slots=True)
class IdleSample:
    """The resources of the service at a moment without requests.

    Attributes:
        at_s: Seconds from the beginning.
        pss: Octets of memory.
        sockets: Number of open sockets.
        pipes: Number of open ends of pipes.
        others: Number of other open descriptors.
        threads: Number of threads.
        active: Number of open client connections, as the service reports it.
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


def take_sample(pid: int, at_s: float, active: int) -> IdleSample:
    """Return a sample of a process."""
    kinds = _descriptors(pid)
    sockets, pipes = kinds.count("socket"), kinds.count("pipe")
    others = len(kinds) - sockets - pipes
    threads = len(os.listdir(f"/proc/{pid}/task"))
    return IdleSample(at_s, memory_of(pid).proportional, sockets, pipes, others, threads, active)


def _descriptors(pid: int) -> list[str]:
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(str(link.readlink()).partition(":")[0])
        except FileNotFoundError:
            continue  # It was closed meanwhile.
    return found


def cpu_seconds(pid: int) -> float:
    """Return the processor time of all threads of a process."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def growth(samples: list[IdleSample]) -> list[str]:
    """Return a description of each resource that grew from the first to the last sample.

    The first sample is taken after the warm-up.
    """
    first, last = samples[0], samples[-1]
    found = []
    slope = linear_regression([s.at_s for s in samples], [s.pss for s in samples]).slope
    if (grown := slope * (last.at_s - first.at_s)) > GROWTH:
        found.append(f"memory grew by {grown / MIB:.2f} MiB")
    if last.sockets > first.sockets:
        found.append(f"{last.sockets} sockets are open, not {first.sockets}")
    if last.pipes > first.pipes + PIPES:
        found.append(f"{last.pipes} ends of pipes are open, not {first.pipes}")
    if last.others > first.others:
        found.append(f"{last.others} other descriptors are open, not {first.others}")
    if last.active:
        found.append(f"{last.active} client connections are reported as open")
    return found
