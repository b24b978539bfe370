"""``python -m tests.bench``: compares TrayProxy with other proxies; the output is Markdown.

The tables go to standard output, the progress to standard error. Other proxies take part if their
programs are in PATH. A C compiler is needed, and for 5,000 tunnels a hard limit of about 11,000
open files.
"""

import argparse
import os
import platform
import re
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.contestants import CONTESTANTS, Contestant
from tests.bench.race import Race
from tests.bench.results import Results
from tests.bench.table import render
from tests.bench.tools import build, compiler
from tests.bench.workloads import ALL, Scale

SPARE_DESCRIPTORS = 500
"""The descriptors of a proxy in addition to two for each tunnel."""


def main() -> int:
    """Measure the contestants and workloads of the command line, and print the tables."""
    options = _options()
    if compiler() is None:
        print("no C compiler (cc) found", file=sys.stderr)
        return 1
    contestants = _contestants(options.only)
    scale = _affordable(Scale(rounds=options.rounds, seconds=options.seconds))
    load = os.getloadavg()[0]
    with TemporaryDirectory(prefix="bench-") as directory:
        race = Race(build(Path(directory)), scale, _tell)
        try:
            race.run(contestants, options.workloads)
        except KeyboardInterrupt:
            _tell("interrupted: this is what was measured")
    print(render(Results(race.samples), caption(scale, load)))
    return 0


def _options() -> argparse.Namespace:
    names = [contestant.name for contestant in CONTESTANTS]
    usual = Scale()
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measures TrayProxy and its peers side by side; prints Markdown.",
    )
    parser.add_argument("--only", type=_some_of(names), help=f"of {','.join(names)}")
    parser.add_argument("--rounds", type=int, default=usual.rounds)
    parser.add_argument("--workloads", type=_some_of(ALL), default=ALL, help=f"of {','.join(ALL)}")
    parser.add_argument("--seconds", type=float, default=usual.seconds, help="each of W1 to W5")
    return parser.parse_args()


def _some_of(names: Sequence[str]) -> Callable[[str], list[str]]:
    """Return a parser of a list of these names, separated by commas."""

    def read(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(names):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
        return chosen

    return read


def _contestants(only: Sequence[str] | None) -> list[Contestant]:
    """Return the requested and installed contestants; print the names of the others."""
    wanted = [one for one in CONTESTANTS if only is None or one.name in only]
    here = [one for one in wanted if one.is_here]
    if missing := [one.name for one in wanted if one not in here]:
        _tell(f"not on this machine: {', '.join(missing)}")
    return here


def _affordable(scale: Scale) -> Scale:
    """Raise the limit of open files to the hard limit; limit the tunnels accordingly."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = (hard - SPARE_DESCRIPTORS) // 2
    if most < max(*scale.tunnels, *scale.crowd):
        _tell(f"the hard limit of open files, {hard:,}, allows for {most:,} tunnels")
    tunnels, crowd = (
        tuple(sorted({min(number, most) for number in numbers}))
        for numbers in (scale.tunnels, scale.crowd)
    )
    return replace(scale, tunnels=tunnels, crowd=crowd)


def caption(scale: Scale, load: float) -> str:
    """Return the time, the machine, and the load average (1 minute) before a measurement."""
    today = datetime.now().astimezone().date().isoformat()
    return (
        f"Measured {today} on {_machine()}; load before {load:.1f}. Medians of {scale.rounds} "
        f"interleaved rounds, {scale.seconds:g} s each. Ratios are medians of those of each round."
    )


def _machine() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text("utf-8"), re.M)
    model = found[1] if found else platform.machine()
    cores, python = os.cpu_count(), platform.python_version()
    return f"{cores} cores of {model}, Linux {platform.release()}, Python {python}"


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
