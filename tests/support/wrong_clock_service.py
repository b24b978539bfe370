"""Runs TrayProxy with a wall clock that the test sets.

    python -m tests.support.wrong_clock_service FILE ARGUMENTS-OF-TRAYPROXY…

The file contains the error of the clock in seconds; the test may change it at any time.
"""

import sys
import time
from pathlib import Path


def main() -> int:
    file, real_time = Path(sys.argv[1]), time.time

    def wrong_time() -> float:
        return real_time() + float(file.read_text() or 0)

    # Before a module of TrayProxy imports the function by name.
    time.time = wrong_time
    from trayproxy.cli.main import main as trayproxy

    sys.argv[:] = ["trayproxy", *sys.argv[2:]]
    return trayproxy()


if __name__ == "__main__":
    sys.exit(main())
