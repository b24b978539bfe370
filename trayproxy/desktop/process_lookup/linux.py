"""Linux: which process holds the other end of a connection.

The system's table of connections is not read: after many short ones it has 28,000 rows, which take
a second of a core, and memory that does not come back (measured: 11 MiB). The kernel is asked for
the inodes of the few sockets that matter (sock_diag(7)), and then it is only to be found who holds
these (proc_pid_fd(5)).
"""

import contextlib
import os
import socket
from collections.abc import Iterator

from trayproxy.desktop.process_lookup.base import ConnectionEnds
from trayproxy.desktop.socket_owner.linux import SockDiagLookup


def pids_of(wanted: set[ConnectionEnds]) -> dict[ConnectionEnds, int]:
    """Return the processes that hold these connections, as far as we may know.

    Raises:
        OSError: The kernel does not tell.
    """
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
    """Return which connection a link in ``/proc`` stands for."""
    inodes = {}
    with contextlib.closing(SockDiagLookup()) as kernel:
        for program_end, own_end in wanted:
            family = socket.AF_INET6 if ":" in program_end[0] else socket.AF_INET
            if inode := kernel.inode_of(own_end, program_end, family):
                inodes[f"socket:[{inode}]"] = program_end, own_end
    return inodes


def _open_descriptors() -> Iterator[tuple[int, str]]:
    """Return the processes that we may look into, with each thing that they hold."""
    for process in filter(str.isdigit, os.listdir("/proc")):
        folder = f"/proc/{process}/fd"
        # Another user's, or one that ends meanwhile.
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(folder):
                with contextlib.suppress(OSError):
                    yield int(process), os.readlink(f"{folder}/{descriptor}")
