"""All systems: the process at the other end of a connection, by psutil."""

import contextlib
import time
from typing import Any

import psutil

from trayproxy.desktop.process_lookup.base import ConnectionEnds, as_ipv4

_SEARCH_TIMEOUT_S = 2.0
"""Seconds to inspect single processes, on a system without a readable table of all connections."""


def pids_of(wanted: set[ConnectionEnds]) -> dict[ConnectionEnds, int]:
    """Return the process id of each connection in the system's table; see `PidLookup`.

    Raises:
        psutil.Error: The system does not report its connections.
        OSError: The table cannot be read.
    """
    try:
        # Rows of closed connections, often most of the table, have no process.
        rows = (row for row in psutil.net_connections("tcp") if row.pid)
        return {ends: row.pid for row in rows if (ends := _ends(row)) in wanted and ends}
    except psutil.AccessDenied:
        # macOS shows the whole table only to root, but the connections of this user's processes.
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
