"""Any system: which process holds the other end of a connection, by psutil."""

import contextlib
import time
from typing import Any

import psutil

from trayproxy.desktop.process_lookup.base import ConnectionEnds, as_ipv4

_SEARCH_TIMEOUT_S = 2.0
"""How long to ask one process after the other, where there is no table of all."""


def pids_of(wanted: set[ConnectionEnds]) -> dict[ConnectionEnds, int]:
    """Return the processes that hold these connections, by the table of all connections.

    Raises:
        psutil.Error: The system does not report its connections.
        OSError: Likewise.
    """
    try:
        # Most rows may be of connections that have ended and are nobody's.
        rows = (row for row in psutil.net_connections("tcp") if row.pid)
        return {ends: row.pid for row in rows if (ends := _ends(row)) in wanted and ends}
    except psutil.AccessDenied:
        # macOS shows the table of all to root only; each process of ours may be asked.
        return _pids_of_own_processes(wanted)


def _pids_of_own_processes(wanted: set[ConnectionEnds]) -> dict[ConnectionEnds, int]:
    deadline = time.monotonic() + _SEARCH_TIMEOUT_S
    found: dict[ConnectionEnds, int] = {}
    for process in psutil.process_iter():
        if time.monotonic() > deadline or len(found) == len(wanted):
            break
        with contextlib.suppress(psutil.Error, OSError):
            for row in process.net_connections("tcp"):
                if (ends := _ends(row)) in wanted and ends:
                    found[ends] = int(process.pid)
    return found


def _ends(connection: Any) -> ConnectionEnds | None:
    if not connection.laddr or not connection.raddr:
        return None
    return as_ipv4(connection.laddr), as_ipv4(connection.raddr)
