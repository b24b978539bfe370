"""Which program a loopback connection belongs to (ux §3.3, *Needed by*).

The answer is for a person to read and may be missing: other users' programs, and on macOS all but
our own, are closed to us. It is not for deciding who may connect. Every function looks through all
processes, which takes milliseconds: call it in a worker thread, and only when asking.
"""

import contextlib
import ipaddress
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil

NAME_LENGTH = 60
"""Characters of a name that are shown."""

_SEARCH_S = 2.0
"""How long to ask one process after the other, where there is no table of all."""

_INTERPRETER = re.compile(r"(python|pypy|perl|ruby|node|nodejs|bash|sh|dash|zsh)[0-9.]*(\.exe)?")
_HELPERS = {"git-remote-http": "git", "git-remote-https": "git"}
"""Programs that people have not started themselves, by those they have."""

_EVERYWHERE = ("0.0.0.0", "::")

End = tuple[str, int]
"""An IP address and a port."""
_Ends = tuple[End, End]


@dataclass(frozen=True, slots=True)
class RunningProgram:
    """A program that runs.

    Attributes:
        name: As people know it: ``git``; of a script, the script's name. Printable, not empty.
        pid: Its process id.
    """

    name: str
    pid: int


def programs_of(connections: Sequence[tuple[End, End]]) -> list[RunningProgram | None]:
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
        wanted = [_ends_as_theirs(local, peer) for local, peer in connections]
        pids = _pids_of({ends for ends in wanted if ends is not None})
    except (psutil.Error, OSError, ValueError):
        # psutil raises what the system's tables raise; whatever it is, we do not know.
        return [None] * len(connections)
    return [_owner(pids[ends]) if ends in pids else None for ends in wanted]


def _ends_as_theirs(local: End, peer: End) -> _Ends | None:
    with contextlib.suppress(ValueError):
        return _as_ipv4(peer), _as_ipv4(local)
    return None


def _owner(pid: int) -> RunningProgram | None:
    with contextlib.suppress(psutil.Error, OSError):
        return RunningProgram(_name(psutil.Process(pid)), pid)
    return None


def listener_at(address: tuple[str, int]) -> RunningProgram | None:
    """Return the program that listens at an address of this computer.

    Args:
        address: An IP address and a port.

    Returns:
        None if nothing does, or the system does not tell.
    """
    try:
        wanted = _as_ipv4(address)
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.pid:
                host, port = _as_ipv4(connection.laddr)
                if port == wanted[1] and (host == wanted[0] or host in _EVERYWHERE):
                    return RunningProgram(_name(psutil.Process(connection.pid)), connection.pid)
    except (psutil.Error, OSError, ValueError):
        # As in `programs_of`: whatever it is, we do not know.
        return None
    return None


def _pids_of(wanted: set[_Ends]) -> dict[_Ends, int]:
    if sys.platform == "linux":
        from trayproxy.desktop.process_lookup.linux import pids_of

        with contextlib.suppress(OSError):
            return pids_of(wanted)
    return _pids_in_table(wanted)


def _pids_in_table(wanted: set[_Ends]) -> dict[_Ends, int]:
    try:
        # Most rows may be of connections that have ended and are nobody's.
        rows = (row for row in psutil.net_connections("tcp") if row.pid)
        return {ends: row.pid for row in rows if (ends := _ends(row)) in wanted and ends}
    except psutil.AccessDenied:
        # macOS shows the table of all to root only; each process of ours may be asked.
        return _pids_among_ours(wanted)


def _pids_among_ours(wanted: set[_Ends]) -> dict[_Ends, int]:
    deadline = time.monotonic() + _SEARCH_S
    found: dict[_Ends, int] = {}
    for process in psutil.process_iter():
        if time.monotonic() > deadline or len(found) == len(wanted):
            break
        with contextlib.suppress(psutil.Error, OSError):
            for row in process.net_connections("tcp"):
                if (ends := _ends(row)) in wanted and ends:
                    found[ends] = int(process.pid)
    return found


def _ends(connection: Any) -> _Ends | None:
    if not connection.laddr or not connection.raddr:
        return None
    return _as_ipv4(connection.laddr), _as_ipv4(connection.raddr)


def _as_ipv4(end: tuple[str, int]) -> tuple[str, int]:
    """Return an end as IPv4 where a socket for both versions gives it as IPv6 (RFC 4291, 2.5.5)."""
    address = ipaddress.ip_address(end[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address), end[1]


def _name(process: psutil.Process) -> str:
    name = str(process.name())
    if _INTERPRETER.fullmatch(name.lower()):
        with contextlib.suppress(psutil.Error):
            name = script_name(process.cmdline()) or name
    name = _HELPERS.get(name.removesuffix(".exe"), name)
    shown = "".join(char if char.isprintable() else "?" for char in name)
    return shown[:NAME_LENGTH] or "?"


def script_name(command: Sequence[str]) -> str:
    """Return what an interpreter runs, from its command line; empty if that has no name.

    Only the script's own name is taken: the rest of a command line may hold passwords.
    """
    arguments = iter(command[1:])
    for argument in arguments:
        if argument == "-m":
            return next(arguments, "")
        if argument in ("-c", "-e", "-"):
            return ""
        if not argument.startswith("-"):
            # On any system: a path of Windows has both.
            return re.split(r"[\\/]", argument)[-1]
    return ""
