"""Linux: the process at the other end of a connection, by sock_diag(7) and ``/proc``.

The kernel is asked for the inodes of the sockets (sock_diag(7)); then the open descriptors of the
processes are searched for these inodes (proc_pid_fd(5)). The table of all connections is not read:
after many short connections it has 28,000 rows, and reading them takes a second of CPU time and
11 MiB of memory, which are not freed (measured).
"""

import contextlib
import os
import socket
from collections.abc import Iterator

from trayproxy.desktop.process_lookup.base import ConnectionEnds
from trayproxy.desktop.socket_owner.linux import SockDiagLookup


def pids_of(wanted: set[ConnectionEnds]) -> dict[ConnectionEnds, int]:
    """Return the process ids of connections; see `PidLookup`. This user may not inspect the
    processes of other users."""
    inodes = _connections_by_inode(wanted)
    found: dict[ConnectionEnds, int] = {}
    if inodes:
        for pid, link in _open_descriptors():
            if link in inodes:
                found[inodes.pop(link)] = pid
                if not inodes:
                    break
    return found


def _connections_by_inode(wanted: set[ConnectionEnds]) -> dict[str, ConnectionEnds]:
    """Return the connections by their link in ``/proc``, such as ``socket:[4711]``."""
    inodes = {}
    with contextlib.closing(SockDiagLookup()) as kernel:
        for program_end, own_end in wanted:
            family = socket.AF_INET6 if ":" in program_end[0] else socket.AF_INET
            if inode := kernel.inode_of(own_end, program_end, family):
                inodes[f"socket:[{inode}]"] = program_end, own_end
    return inodes


def _open_descriptors() -> Iterator[tuple[int, str]]:
    """Return the process id and the link of each open descriptor, where this user may read it."""
    for process in filter(str.isdigit, os.listdir("/proc")):
        folder = f"/proc/{process}/fd"
        # The process belongs to another user, or has ended in the meantime.
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(folder):
                with contextlib.suppress(OSError):
                    yield int(process), os.readlink(f"{folder}/{descriptor}")
