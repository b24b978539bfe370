"""The programs at the other ends of connections, and behind listening addresses."""

import contextlib
from collections.abc import Sequence

import psutil

from trayproxy.desktop.process_lookup.base import ConnectionEnds, RunningProgram, as_ipv4
from trayproxy.desktop.process_lookup.factory import pid_lookups
from trayproxy.desktop.process_lookup.names import program_name
from trayproxy.desktop.socket_owner.base import Endpoint

_WILDCARD_ADDRESSES = ("0.0.0.0", "::")


def programs_of(connections: Sequence[tuple[Endpoint, Endpoint]]) -> list[RunningProgram | None]:
    """Return the programs at the other ends of connections to us.

    They are looked for together, as that costs little more than looking for one.

    Args:
        connections: Our end of each, the first two items of what `socket.getsockname` gives, and
            the other, likewise from `socket.getpeername`.

    Returns:
        One for each connection, in the same order; None if it has gone, or the system does not
        tell.
    """
    try:
        wanted = [_peer_view(local, peer) for local, peer in connections]
        pids = _find_pids({ends for ends in wanted if ends is not None})
    except (psutil.Error, OSError, ValueError):
        # psutil raises what the system's tables raise; whatever it is, we do not know.
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
    """Return the program that listens at an address of this computer.

    Args:
        address: An IP address and a port.

    Returns:
        None if nothing does, or the system does not tell.
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
        # As in `programs_of`: whatever it is, we do not know.
        return None
    return None


def _find_pids(wanted: set[ConnectionEnds]) -> dict[ConnectionEnds, int]:
    for pids_of in pid_lookups():
        with contextlib.suppress(OSError):
            return pids_of(wanted)
    return {}
