"""Results as Markdown tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.goals import GOALS
from tests.bench.results import Results
from tests.bench.workloads import BESIDE, CROWD, IDLE, LIFE

NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, with a number of decimal places."""

    title: str
    workload: str
    figure: str
    digits: int = 0

    def cell(self, results: Results, contestant: str) -> str:
        """Return the cell of a contestant."""
        value = results.median(contestant, self.workload, self.figure)
        return NOTHING if value is None else f"{value:,.{self.digits}f}"


REQUESTS = (
    Column("W1-1 p50 µs", "W1-1", "p50_us"),
    Column("W1-50 /s", "W1-50", "rate"),
    Column("W1-50 CPU s/10k", "W1-50", "cpu_s", 2),
    Column("W1-200 /s", "W1-200", "rate"),
    Column("W2-1 p50 µs", "W2-1", "p50_us"),
    Column("W2-50 /s", "W2-50", "rate"),
    Column("W2-50 CPU s/10k", "W2-50", "cpu_s", 2),
    Column("W3-1 p50 µs", "W3-1", "p50_us"),
    Column("W3-50 /s", "W3-50", "rate"),
    Column("W3-50 CPU s/10k", "W3-50", "cpu_s", 2),
)
TUNNELS = (
    Column("W4-d1 MiB/s", "W4-d1", "rate"),
    Column("W4-d1 CPU s/GiB", "W4-d1", "cpu_s", 2),
    Column("W4-u1 MiB/s", "W4-u1", "rate"),
    Column("W4-u1 CPU s/GiB", "W4-u1", "cpu_s", 2),
    Column("W4-d8 MiB/s", "W4-d8", "rate"),
    Column("W4-d8 CPU s/GiB", "W4-d8", "cpu_s", 2),
    Column("W4-u8 MiB/s", "W4-u8", "rate"),
    Column("W4-u8 CPU s/GiB", "W4-u8", "cpu_s", 2),
    Column("W5 p50 µs", "W5", "p50_us"),
    Column("W5 p99 µs", "W5", "p99_us"),
    Column("W5-split p50 µs", "W5-split", "p50_us"),
)
REST = (
    Column("W7: listens after ms", LIFE, "start_ms"),
    Column("first answer ms", LIFE, "first_ms"),
    Column("idle MiB (PSS)", LIFE, "pss_mib", 1),
    Column("idle CPU %", LIFE, "cpu_percent", 2),
    Column("wake-ups/s", LIFE, "wakeups_per_s", 1),
)


def held(workload: str) -> tuple[Column, ...]:
    """Return the columns of this number of idle tunnels."""
    number = f"{int(workload.rpartition('-')[2]):,}"
    return (
        Column(f"W6: of {number} opened", workload, "opened"),
        Column(f"{number}: per s", workload, "opened_per_s"),
        Column(f"{number}: alive", workload, "alive"),
        Column(f"{number}: KiB each", workload, "kib", 1),
        Column(f"{number}: CPU %", workload, "cpu_percent", 2),
    )


def beside(workloads: Sequence[str], kind: str, figure: str) -> tuple[Column, ...]:
    """Return the columns of a figure beside idle tunnels."""
    return tuple(
        Column(f"{name}: {kind} µs beside {int(number):,}", workload, figure)
        for workload in workloads
        for name, _, number in [workload.partition("-")]
    )


def render(results: Results, caption: str) -> str:
    """Return all tables with measurements."""
    idle = [name for name in results.workloads if name.startswith(f"{IDLE}-")]
    next_to = [name for name in results.workloads if name.startswith(f"{BESIDE}-")]
    crowded = [name for name in results.workloads if name.startswith(f"{CROWD}-")]
    columns = (
        *beside(next_to, "ping p50", "ping_p50_us"),
        *beside(next_to, "CONNECT p50", "connect_p50_us"),
        *beside(crowded, "50 pings p50", "ping_p50_us"),
        *beside(crowded, "50 pings p99", "ping_p99_us"),
    )
    parts = [
        caption,
        _table("Requests", REQUESTS, results),
        _table("Tunnels", TUNNELS, results),
        _table("Start and rest", REST, results),
        _table("Idle tunnels", [column for name in idle for column in held(name)], results),
        _table("Beside idle tunnels", columns, results),
        _goals(results),
        _trouble(results),
        _noise(results),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _table(title: str, columns: Sequence[Column], results: Results) -> str:
    shown = [column for column in columns if column.workload in results.workloads]
    if not shown:
        return ""
    rows = [[name, *(c.cell(results, name) for c in shown)] for name in results.contestants]
    filled = [row for row in rows if set(row[1:]) != {NOTHING}]
    return f"### {title}\n\n" + _markdown(["", *(column.title for column in shown)], filled)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def _goals(results: Results) -> str:
    rows = []
    for goal in GOALS:
        value = goal.value(results)
        if value is not None:
            bound = f"{'≥' if goal.at_least else '≤'} {goal.bound:,g}"
            reached = f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
            rows.append([goal.what, bound, reached, "yes" if goal.is_met(value) else "no"])
    if not rows:
        return ""
    return "### Goals\n\n" + _markdown(["", "goal", "measured", "met"], rows)


def _trouble(results: Results) -> str:
    lines = [
        f"- {sample.contestant}, {sample.workload}, round {sample.round}: {told}"
        for sample in results.samples
        if (told := sample.trouble or (f"{sample.failures} failed" if sample.failures else ""))
    ]
    return "### What failed\n\n" + "\n".join(lines) if lines else ""


def _noise(results: Results) -> str:
    noise = [sample.noise for sample in results.samples if sample.noise]
    if not noise:
        return ""
    return (
        f"Share of the machine that other programs took during a sample: median "
        f"{median(noise):.0%}, worst {max(noise):.0%}."
    )
