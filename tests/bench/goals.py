"""The goals of TrayProxy, compared with the measurements."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.results import Results

US = "trayproxy"


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and its bound.

    Attributes:
        value: Returns the figure from results; None if it was not measured.
        bound: The minimum or maximum of the figure.
        at_least: True if the bound is a minimum.
    """

    what: str
    value: Callable[[Results], float | None]
    bound: float
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        """Return True if a value meets the goal."""
        return value >= self.bound if self.at_least else value <= self.bound


def _figure(what: str, workload: str, figure: str, bound: float, *, at_least: bool = False) -> Goal:
    return Goal(what, lambda results: results.median(US, workload, figure), bound, at_least)


def _rate(workload: str, other: str, bound: float) -> Goal:
    title = f"{workload}: rate, relative to {other}"
    return Goal(title, lambda found: found.ratio(US, other, workload, "rate"), bound, at_least=True)


def _p50(workload: str, other: str, bound: float) -> Goal:
    title = f"{workload}: p50, relative to {other}"
    return Goal(title, lambda found: found.ratio(US, other, workload, "p50_us"), bound)


def _beside(workload: str, tunnels: int, what: str, figure: str, bound: float) -> Goal:
    """Return a goal for a figure beside idle tunnels, relative to the figure beside none."""
    ours, alone = f"{workload}-{tunnels}", f"{workload}-0"
    title = f"{workload}: {what} beside {tunnels:,} idle tunnels, relative to beside none"
    return Goal(title, lambda found: found.ratio_between(US, ours, alone, figure), bound)


BULK = ("W4-d1", "W4-u1", "W4-d8", "W4-u8")

GOALS = (
    _rate("W1-50", "haproxy", 0.8),
    _rate("W1-50", "squid", 3.0),
    _rate("W1-50", "px", 20.0),
    _rate("W2-50", "relay-uvloop", 1.0),
    _rate("W3-50", "relay-uvloop", 1.0),
    _rate("W3-50", "haproxy", 0.7),
    *(_rate("W3-50", other, 1.0) for other in ("squid", "pproxy", "px")),
    Goal(
        "W1-50: rate with a PAC script, relative to without",
        lambda found: found.ratio("trayproxy-pac", US, "W1-50", "rate"),
        0.9,
        at_least=True,
    ),
    *(_rate(workload, "relay-uvloop", 1.0) for workload in BULK),
    *(_figure(f"{workload}: CPU s per GiB", workload, "cpu_s", 0.12) for workload in BULK),
    _p50("W5", "haproxy", 1.05),
    _figure("W5-split: p50 in µs, 0.3 ms of it the sender's", "W5-split", "p50_us", 1000.0),
    _p50("W1-1", "haproxy", 1.3),
    _p50("W3-1", "haproxy", 1.3),
    _beside("W8", 1000, "ping p50", "ping_p50_us", 1.2),
    _beside("W8", 1000, "CONNECT p50", "connect_p50_us", 1.2),
    _beside("W9", 5000, "p50 of 50 pings", "ping_p50_us", 1.2),
    _beside("W9", 5000, "p99 of 50 pings", "ping_p99_us", 1.5),
    _figure("W9: p99 of 50 pings beside 5,000 idle, µs", "W9-5000", "ping_p99_us", 20_000.0),
    _figure("W6: of 5,000 tunnels opened", "W6-5000", "opened", 5000.0, at_least=True),
    _figure("W6: opened per second", "W6-5000", "opened_per_s", 1000.0, at_least=True),
    _figure("W6: of 5,000 tunnels alive", "W6-5000", "alive", 5000.0, at_least=True),
    _figure("W6: KiB for each of 5,000", "W6-5000", "kib", 8.0),
    _figure("W6: % of a core with 5,000 idle", "W6-5000", "cpu_percent", 1.0),
    _figure("W7: MiB of PSS when idle", "W7", "pss_mib", 30.0),
    _figure("W7: % of a core when idle", "W7", "cpu_percent", 0.1),
    _figure("W7: wake-ups per second when idle", "W7", "wakeups_per_s", 1.0),
    _figure("W7: ms until it listens", "W7", "start_ms", 350.0),
)
"""The goals: high rates and short times."""
