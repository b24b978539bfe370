"""``python -m tests.soak``: the soak for as long as wanted; prints what came of it."""

import argparse
import os
import sys

from tests.soak.soak import soak
from tests.support.processes import home


def main() -> int:
    """Run it; return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description="Uses the service in every way, faults included, and checks that it is none "
        "the worse for it.",
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1, help="draws another mix")
    options = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f}", flush=True)
    with home() as place:
        report = soak(place, options.minutes * 60, options.seed, print)
    print(report)
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
