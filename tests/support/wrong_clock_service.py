"""TrayProxy on a computer whose wall clock is set while it runs: a program of its own.

    python -m tests.support.wrong_clock_service FILE ARGUMENTS-OF-TRAYPROXY…

The file holds by how many seconds the clock is wrong; it may change at any time.
"""

import sys
import time
from pathlib import Path


def main() -> int:
    file, right = Path(sys.argv[1]), time.time

    def wrong() -> float:
        return right() + float(file.read_text() or 0)

    # Before anything of ours takes it by name.
    time.time = wrong
    from trayproxy.cli.main import main as trayproxy

    sys.argv[:] = ["trayproxy", *sys.argv[2:]]
    return trayproxy()


if __name__ == "__main__":
    sys.exit(main())
