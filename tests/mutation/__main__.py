"""``python -m tests.mutation``: mutates the program, and lists the undetected mutants.

Each mutant is tried in a copy of the sources: first with the tests of its package that execute its
lines, then, with ``--whole``, with all other tests of the package. A first run of the tests records
the executed lines; ``--map`` keeps the record. ``--tests`` names the tests instead. A run that
exceeds its time limit counts as detection. Equivalent mutants are not recognized: the reader of the
list decides about them.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory

from tests.mutation.mutants import Mutant, draw, mutants_of
from tests.mutation.trial import PROGRAM, Copy, Coverage, Outcome

LIMIT_S = 300.0
"""The time limit for a mutant with tests named on the command line."""
SOURCES = Path(__file__).parents[2]


def main() -> int:
    """Try a sample of mutants; return 1 if a mutant is not detected."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument(
        "--packages", default="http,auth,desk,engine", help="with commas; a part of %(default)s"
    )
    parser.add_argument("--count", type=int, default=50, help="how many of each package")
    parser.add_argument("--seed", type=int, default=1, help="draws another sample")
    parser.add_argument(
        "--at",
        action="append",
        default=[],
        metavar="FILE[:LINE]",
        help="all mutants of this module or line instead of a sample",
    )
    parser.add_argument("--whole", action="store_true", help="run all tests before giving up")
    parser.add_argument(
        "--map", type=Path, metavar="FILE", help="what tests execute: read, or written if missing"
    )
    parser.add_argument(
        "--tests", action="append", metavar="TEST", help="try with this one, as pytest names it"
    )
    parser.add_argument("--jobs", type=int, default=1, help="mutants that are tried at a time")
    parser.add_argument("--list", action="store_true", help="only print the mutants")
    options = parser.parse_args()
    left: list[Outcome] = []
    for package in options.packages.split(","):
        mutants = _chosen(package, options.at, options.count, options.seed)
        if options.list:
            for mutant in mutants:
                print(mutant.describe((SOURCES / mutant.path).read_bytes()))
        elif mutants:
            outcomes = list(_tried(package, mutants, options))
            left += _reported(package, outcomes)
    return 1 if left else 0


def _chosen(package: str, at: Sequence[str], count: int, seed: int) -> list[Mutant]:
    found = [
        mutant
        for path in sorted((SOURCES / PROGRAM / package).rglob("*.py"))
        for mutant in mutants_of(path.relative_to(SOURCES).as_posix(), path.read_bytes())
    ]
    if at:
        return [one for one in found if one.path in at or f"{one.path}:{one.line}" in at]
    return draw(found, count, seed)


def _tried(
    package: str, mutants: Sequence[Mutant], options: argparse.Namespace
) -> Iterator[Outcome]:
    """Try mutants, each in a separate copy of the sources."""
    with TemporaryDirectory(prefix="mutation-") as folder:
        free: SimpleQueue[Copy] = SimpleQueue()
        copies = [Copy(SOURCES, Path(folder) / str(number)) for number in range(options.jobs)]
        for copy in copies:
            free.put(copy)
        coverage = None if options.tests else _coverage(copies[0], package, options.map)

        def outcome(mutant: Mutant) -> Outcome:
            copy = free.get()
            try:
                if coverage is None:
                    return copy.outcome_by(mutant, options.tests, LIMIT_S)
                return copy.outcome_of(mutant, coverage, whole=options.whole)
            finally:
                free.put(copy)

        with ThreadPoolExecutor(options.jobs) as pool:
            for number, found in enumerate(pool.map(outcome, mutants), 1):
                print(f"{number}/{len(mutants)} {_line(found)}", flush=True)
                yield found


def _coverage(copy: Copy, package: str, kept: Path | None) -> Coverage:
    """Return the lines executed by the tests of a package."""
    if kept is not None and kept.exists():
        return Coverage.read(kept)
    print(f"{package}: recording what its tests execute", flush=True)
    coverage = copy.coverage(package)
    for test in sorted(coverage.failing):
        print(f"  fails without a mutant, left out: {test}", flush=True)
    if kept is not None:
        coverage.write(kept)
    return coverage


def _line(outcome: Outcome) -> str:
    mutant = outcome.mutant
    detected = outcome.detected_by or "NOT DETECTED"
    return (
        f"{mutant.path}:{mutant.line} {mutant.kind.value}: {detected} "
        f"({outcome.tests}, {outcome.seconds:.0f} s)"
    )


def _reported(package: str, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Print a summary; return the undetected mutants."""
    left = [one for one in outcomes if not one.detected_by]
    for one in left:
        print(one.change)
    tried = Counter(one.mutant.kind for one in outcomes)
    missed = Counter(one.mutant.kind for one in left)
    kinds = ", ".join(f"{kind.value} {n - missed[kind]}/{n}" for kind, n in tried.items())
    print(f"{package}: {len(outcomes) - len(left)} of {len(outcomes)} detected ({kinds})")
    return left


if __name__ == "__main__":
    sys.exit(main())
