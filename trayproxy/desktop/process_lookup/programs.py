"""Find the programs at the other ends of connections, and the program listening at an address.

Each function inspects all processes, which takes milliseconds: call it in a worker thread, and only
when a name is needed.
"""

import contextlib
from collections.abc import Sequence

import psutil

from trayproxy.desktop.process_lookup.base import ConnectionEnds, RunningProgram, as_ipv4
from trayproxy.desktop.process_lookup.factory import pid_lookups
from trayproxy.desktop.process_lookup.names import program_name
from trayproxy.desktop.socket_owner.base import Endpoint

_WILDCARD_ADDRESSES = ("0.0.0.0", "::")


def programs_of(connections: Sequence[tuple[Endpoint, Endpoint]]) -> list[RunningProgram | None]:
    """Return the programs at the other ends of connections to this process.

    A search for many connections takes little longer than a search for a single connection.

    Args:
        connections: The two ends of each connection: the first two items of the results of
            `socket.getsockname` and of `socket.getpeername`.

    Returns:
        A program for each connection, in the same order; None if the connection is closed or the
        system does not report its process.
    """
    try:
        wanted = [_peer_view(local, peer) for local, peer in connections]
        pids = _find_pids({ends for ends in wanted if ends is not None})
    except (psutil.Error, OSError, ValueError):
        # psutil passes on the errors of the system's tables: the programs are unknown then.
        return [None] * len(connections)
    return [_program_with_pid(pids[ends]) if ends in pids else None for ends in wanted]


def _peer_view(local: Endpoint, peer: Endpoint) -> ConnectionEnds | None:
    with contextlib.suppress(ValueError):
        return as_ipv4(peer), as_ipv4(local)
    return None


def _program_with_pid(pid: int) -> RunningProgram | None:
    with contextlib.suppress(psutil.Error, OSError):
        return RunningProgram(program_name(psutil.Process(pid)), pid)
    return None


def listener_at(address: Endpoint) -> RunningProgram | None:
    """Return the program listening at an address of this computer.

    None if no program listens there, or the system does not report it.
    """
    try:
        wanted = as_ipv4(address)
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.pid:
                host, port = as_ipv4(connection.laddr)
                if port == wanted[1] and (host == wanted[0] or host in _WILDCARD_ADDRESSES):
                    name = program_name(psutil.Process(connection.pid))
                    return RunningProgram(name, connection.pid)
    except (psutil.Error, OSError, ValueError):
        pass  # As in `programs_of`: the program is unknown.
    return None


def _find_pids(wanted: set[ConnectionEnds]) -> dict[ConnectionEnds, int]:
    for pids_of in pid_lookups():
        with contextlib.suppress(OSError):
            return pids_of(wanted)
    return {}
