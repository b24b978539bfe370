"""Runs TrayProxy on a computer that the test suspends.

    python -m tests.support.suspended_service FILE ARGUMENTS-OF-TRAYPROXY…

The file contains the seconds for which the computer has been suspended in total; the test stops the
process (SIGSTOP), changes the file, and continues the process.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from trayproxy.desktop import suspend_clock


def main() -> int:
    file = Path(sys.argv[1])

    def sleep_clock() -> Callable[[], float]:
        return lambda: float(file.read_text())

    # Before the engine imports the function by name.
    suspend_clock.sleep_clock = sleep_clock
    from trayproxy.cli.main import main as trayproxy

    sys.argv[:] = ["trayproxy", *sys.argv[2:]]
    return trayproxy()


if __name__ == "__main__":
    sys.exit(main())
