"""The resources used by processes and their descendants, as reported by the kernel."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import psutil


@dataclass(frozen=True, slots=True)
class ResourceUse:
    """The resources of a process and its descendants.

    Attributes:
        cpu_s: Processor time of the threads in seconds, to the nanosecond. Unlike `cpu_seconds`, it
            leaves out ended threads, which idle programs do not have.
        wakeups: The number of voluntary context switches of the threads.
        pss: Octets of memory, with each shared page divided by its number of users.
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
    """Return the processor time of processes, including ended children."""
    total = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


def use_of(pid: int) -> ResourceUse:
    """Return the resources of a process and its descendants."""
    cpu_s, wakeups, pss, descriptors = 0.0, 0, 0, 0
    for process in family(pid):
        with suppress(psutil.NoSuchProcess, FileNotFoundError):
            for thread in Path(f"/proc/{process.pid}/task").iterdir():
                cpu_s += int((thread / "schedstat").read_text().split()[0]) / 1e9
                status = (thread / "status").read_text()
                wakeups += int(status.rpartition("\nvoluntary_ctxt_switches:")[2].split()[0])
            pss += process.memory_full_info().pss
            descriptors += process.num_fds()
    return ResourceUse(cpu_s, wakeups, pss, descriptors)


def machine_busy_s() -> float:
    """Return the busy time of the processors since boot in seconds, including stolen time."""
    times = psutil.cpu_times()
    return float(sum(times[:8]) - times.idle - times.iowait)


def wait_until_calm(pids: Iterable[int], limit: float) -> None:
    """Wait until processes have finished the work after a load, so that it is counted.

    The wait ends after `limit` seconds; some processes are never idle.
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
