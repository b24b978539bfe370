"""What processes cost, as the kernel counts it, with all their children."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import psutil


@dataclass(frozen=True, slots=True)
class Use:
    """What a family of processes has used up to now, and holds now.

    Attributes:
        cpu_s: Seconds of processor time of its threads, to the nanosecond; unlike `cpu_seconds` it
            forgets threads that have ended, which idle programs do not have.
        wakeups: How often its threads went to sleep by themselves.
        pss: Octets of memory, shared pages divided among those who share them.
        descriptors: Open ones.
    """

    cpu_s: float
    wakeups: int
    pss: int
    descriptors: int


def family(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants."""
    try:
        head = psutil.Process(pid)
        return [head, *head.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """Return their processor time, with that of children that have ended."""
    total = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


def use_of(pid: int) -> Use:
    """Return what a process and its descendants use."""
    cpu_s, wakeups, pss, descriptors = 0.0, 0, 0, 0
    for process in family(pid):
        with suppress(psutil.NoSuchProcess, FileNotFoundError):
            for thread in Path(f"/proc/{process.pid}/task").iterdir():
                cpu_s += int((thread / "schedstat").read_text().split()[0]) / 1e9
                status = (thread / "status").read_text()
                wakeups += int(status.rpartition("\nvoluntary_ctxt_switches:")[2].split()[0])
            pss += process.memory_full_info().pss
            descriptors += process.num_fds()
    return Use(cpu_s, wakeups, pss, descriptors)


def machine_busy_s() -> float:
    """Return the seconds for which processors were busy since boot, stolen time included."""
    times = psutil.cpu_times()
    return float(sum(times[:8]) - times.idle - times.iowait)


def wait_until_calm(pids: Iterable[int], limit: float) -> None:
    """Wait until processes have finished what a load left behind, so that it is counted, too.

    Args:
        pids: Whose.
        limit: Seconds; some never rest.
    """
    end = monotonic() + limit
    processes = [process for pid in pids for process in family(pid)]
    before = cpu_seconds(processes)
    while monotonic() < end:
        sleep(0.05)
        after = cpu_seconds(processes)
        if after - before < 0.01:
            return
        before = after
