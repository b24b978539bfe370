"""Choose the look-ups of process ids of this operating system."""

import sys
from collections.abc import Sequence

from trayproxy.desktop.process_lookup import psutil_lookup
from trayproxy.desktop.process_lookup.base import PidLookup


def pid_lookups() -> Sequence[PidLookup]:
    """Return the look-ups of this system, the fastest first."""
    if sys.platform == "linux":
        from trayproxy.desktop.process_lookup import linux

        return [linux.pids_of, psutil_lookup.pids_of]
    else:
        return [psutil_lookup.pids_of]
