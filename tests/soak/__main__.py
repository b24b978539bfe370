"""Run the soak test: ``python -m tests.soak``."""

import argparse
import os
import sys

from tests.soak.soak import soak
from tests.support.processes import home


def main() -> int:
    """Run the soak test and print its report; return 1 if there were errors."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description="Uses all features of the service, also with faults of the upstream, and "
        "checks that the service neither fails nor grows.",
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1, help="the seed of the random operations")
    options = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f}", flush=True)
    with home() as place:
        report = soak(place, options.minutes * 60, options.seed, print)
    print(report)
    return 1 if report.errors else 0


if __name__ == "__main__":
    sys.exit(main())
