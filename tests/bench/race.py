"""The measurement: rounds in which all contestants run each workload one after another.

All contestants run at once, and one contestant at a time is loaded. Consecutive samples are
compared, so that changes of the load of the machine affect all contestants. Start-up, memory and
idleness are measured with new processes.
"""

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from subprocess import CalledProcessError, TimeoutExpired
from time import monotonic, sleep

from tests.bench.contestants import Contestant, Entrant, entered
from tests.bench.costs import (
    ResourceUse,
    cpu_seconds,
    family,
    machine_busy_s,
    use_of,
    wait_until_calm,
)
from tests.bench.tools import IdleTunnels, Result, Tools
from tests.bench.workloads import BESIDE, CROWD, IDLE, LIFE, NEIGHBOURS, TIMED, Scale, Workload

GIB = 1 << 30
MIB = 1 << 20
KIB = 1 << 10
CALM = 0.1
"""The share of the machine used by other processes above which a sample is repeated."""
LONGER = 4
"""The factor for the duration of a repeated sample without any operation."""
LONGEST_S = 10.0
"""The time without activity after which a process counts as idle."""
LEFTOVER_S = 5.0
"""The longest wait for the work of a proxy after a load."""
ERRORS = (AssertionError, OSError, CalledProcessError, TimeoutExpired)
"""The exceptions for a contestant that has ended."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The measurement of one contestant in one round.

    Attributes:
        workload: The id of the workload; for W6, W8 and W9 followed by the number of tunnels.
        round: The round, from 0.
        figures: The figures by name; the name contains the unit.
        noise: The share of the machine used by other processes.
        trouble: The failure of the whole sample; empty if there was none.
    """

    contestant: str
    workload: str
    round: int
    figures: Mapping[str, float]
    failures: int = 0
    noise: float = 0.0
    trouble: str = ""


Say = Callable[[str], None]


class Race:
    """Measures contestants."""

    def __init__(self, tools: Tools, scale: Scale, say: Say) -> None:
        """Prepare a measurement; `say` is called with a line about each sample."""
        self.samples: list[Sample] = []
        self._tools = tools
        self._scale = scale
        self._say = say

    def run(self, contestants: Sequence[Contestant], wanted: Sequence[str]) -> None:
        """Run all rounds of the workloads with these ids."""
        for number in range(self._scale.rounds):
            # The first contestant changes.
            turn = number % len(contestants)
            order = (*contestants[turn:], *contestants[:turn])
            self._run_loaded(number, order, wanted)
            if IDLE in wanted or LIFE in wanted:
                for contestant in order:
                    self._live(number, contestant, wanted)

    # --- W1 to W5, W8, W9

    def _run_loaded(
        self, number: int, contestants: Sequence[Contestant], wanted: Sequence[str]
    ) -> None:
        with ExitStack() as stack:
            entrants = []
            for contestant in contestants:
                with self._telling(number, contestant, "start"):
                    entrants.append(stack.enter_context(entered(contestant, self._tools)))
            for workload in TIMED:
                if workload.id in wanted:
                    for entrant in entrants:
                        with self._telling(number, entrant.contestant, workload.id):
                            self._add(self._calmest(number, entrant, workload))
            for kind, numbers in ((BESIDE, self._scale.beside), (CROWD, self._scale.crowd)):
                for tunnels in numbers if kind in wanted else ():
                    for entrant in entrants:
                        with self._telling(number, entrant.contestant, f"{kind}-{tunnels}"):
                            self._add(self._beside(number, entrant, kind, tunnels))

    def _calmest(self, number: int, entrant: Entrant, workload: Workload) -> Sample:
        """Take a sample, repeatedly while other processes use the machine; return the best."""
        best = self._sample(number, entrant, workload)
        for _ in range(self._scale.retries):
            if best.noise <= CALM:
                break
            again = self._sample(number, entrant, workload)
            best = min(best, again, key=lambda sample: sample.noise)
        return best

    def _sample(self, number: int, entrant: Entrant, workload: Workload) -> Sample:
        scale, seconds = self._scale, self._scale.seconds
        while True:
            meter = _Meter(entrant)
            result = self._tools.run(
                workload, entrant.port, scale.warm_up, seconds, *entrant.credentials
            )
            # On a busy machine, no operation may be completed in such a short time.
            if result.octets or result.done or result.failures or seconds > LONGEST_S:
                break
            seconds *= LONGER
        noise, cpu_s = meter.read(result.cpu_s)
        figures = _figures(workload, result, cpu_s)
        return Sample(entrant.contestant.name, workload.id, number, figures, result.failures, noise)

    def _beside(self, number: int, entrant: Entrant, kind: str, tunnels: int) -> Sample:
        """Measure used and new tunnels beside idle tunnels."""
        name, workload = entrant.contestant.name, f"{kind}-{tunnels}"
        with ExitStack() as stack:
            if tunnels:
                held = self._tools.hold(entrant.port, tunnels, *entrant.credentials)
                opened = stack.enter_context(held).opened
                if opened.all < tunnels:
                    trouble = f"opened {opened.all} tunnels of {tunnels}"
                    return Sample(name, workload, number, {}, trouble=trouble)
            samples = {
                what: self._calmest(number, entrant, one) for what, one in NEIGHBOURS[kind].items()
            }
        figures = {
            f"{what}_{figure}": sample.figures[figure]
            for what, sample in samples.items()
            for figure in ("p50_us", "p99_us")
            if figure in sample.figures
        }
        failures = sum(sample.failures for sample in samples.values())
        noise = max(sample.noise for sample in samples.values())
        return Sample(name, workload, number, figures, failures, noise)

    # --- W6, W7

    def _live(self, number: int, contestant: Contestant, wanted: Sequence[str]) -> None:
        if contestant.is_direct:
            return
        with self._telling(number, contestant, LIFE), entered(contestant, self._tools) as entrant:
            life = self._life(number, entrant)
            if LIFE in wanted:
                self._add(life)
            if IDLE in wanted and entrant.pid is not None:
                fresh = use_of(entrant.pid)
                for tunnels in self._scale.tunnels:
                    with self._telling(number, contestant, f"{IDLE}-{tunnels}"):
                        self._add(self._idle(number, entrant, tunnels, fresh))

    def _life(self, number: int, entrant: Entrant) -> Sample:
        """Measure a start up to the first response, and the idle time after it."""
        assert entrant.pid is not None
        began = monotonic()
        _get(entrant.port)
        first_s = entrant.started_s + monotonic() - began
        wait_until_calm([entrant.pid], LEFTOVER_S)
        cpu, wakeups, use = self._watch(entrant.pid)
        figures = {
            "start_ms": 1000 * entrant.started_s,
            "first_ms": 1000 * first_s,
            "pss_mib": use.pss / MIB,
            "cpu_percent": cpu,
            "wakeups_per_s": wakeups,
        }
        return Sample(entrant.contestant.name, LIFE, number, figures)

    def _idle(self, number: int, entrant: Entrant, tunnels: int, fresh: ResourceUse) -> Sample:
        """Hold many idle tunnels; their memory is the difference to a new process."""
        assert entrant.pid is not None
        with self._tools.hold(entrant.port, tunnels, *entrant.credentials) as held:
            wait_until_calm([entrant.pid], LEFTOVER_S)
            cpu, _, use = self._watch(entrant.pid)
            figures = _held_figures(held, fresh, use) | {"cpu_percent": cpu}
        wait_until_calm([entrant.pid], LEFTOVER_S)
        failures = held.opened.failures
        return Sample(entrant.contestant.name, f"{IDLE}-{tunnels}", number, figures, failures)

    def _watch(self, pid: int) -> tuple[float, float, ResourceUse]:
        """Observe for a time; return the percentage of a core, wake-ups a second and resources."""
        before, began = use_of(pid), monotonic()
        sleep(self._scale.idle_s)
        after, seconds = use_of(pid), monotonic() - began
        cpu = 100 * (after.cpu_s - before.cpu_s) / seconds
        return cpu, (after.wakeups - before.wakeups) / seconds, after

    # --- reporting

    def _add(self, sample: Sample) -> None:
        self.samples.append(sample)
        figures = ", ".join(f"{name} {value:,.4g}" for name, value in sample.figures.items())
        more = f", {sample.failures} failed" if sample.failures else ""
        more += f", noise {sample.noise:.0%}" if sample.noise > CALM else ""
        told = figures or sample.trouble
        self._say(f"[{sample.round}] {sample.workload} {sample.contestant}: {told}{more}")

    @contextmanager
    def _telling(self, number: int, contestant: Contestant, workload: str) -> Iterator[None]:
        """Record the failure of a contestant, and continue with the others."""
        try:
            yield
        except ERRORS as error:
            trouble = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            self._add(Sample(contestant.name, workload, number, {}, trouble=trouble))


class _Meter:
    """Measures the processor time of a sample and of other processes from its creation on."""

    def __init__(self, entrant: Entrant) -> None:
        self._proxy = entrant.pid
        self._upstream = entrant.upstream_pid
        self._began = monotonic()
        self._before = self._read()

    def _read(self) -> tuple[float, float, float, float]:
        proxy = cpu_seconds(family(self._proxy)) if self._proxy is not None else 0.0
        upstream = cpu_seconds(family(self._upstream))
        times = os.times()
        return proxy, upstream, times.user + times.system, machine_busy_s()

    def read(self, load_s: float) -> tuple[float, float]:
        """Return the share of the machine used by others, and the processor time of the proxy."""
        if self._proxy is not None:
            wait_until_calm([self._proxy], LEFTOVER_S)
        after = self._read()
        proxy, upstream, ours, busy = (b - a for a, b in zip(self._before, after, strict=True))
        others = busy - proxy - upstream - ours - load_s
        room = (monotonic() - self._began) * (os.cpu_count() or 1)
        return max(0.0, others / room), proxy


def _figures(workload: Workload, result: Result, cpu_s: float) -> dict[str, float]:
    """Return the figures of a timed workload."""
    if workload.is_bulk:
        figures = {"rate": result.octets / MIB / result.seconds}
        if result.all_octets:
            figures["cpu_s"] = cpu_s / result.all_octets * GIB
        return figures
    figures = {"rate": result.done / result.seconds}
    if result.done:
        figures |= {"p50_us": result.p50_us, "p99_us": result.p99_us}
        figures["cpu_s"] = cpu_s / result.all * 10_000
    return figures


def _held_figures(held: IdleTunnels, fresh: ResourceUse, use: ResourceUse) -> dict[str, float]:
    """Return the figures of idle tunnels, and close the tunnels."""
    opened = held.opened
    alive = held.release()
    return {
        "opened": opened.all,
        "opened_per_s": opened.all / opened.seconds,
        "alive": alive.all,
        "kib": (use.pss - fresh.pss) / KIB / max(1, opened.all),
    }


def _get(port: int) -> None:
    """Get a response with status 200 from a proxy."""
    request = b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        head = connection.recv(4096)
    assert head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.0 200 ")), head[:80]
