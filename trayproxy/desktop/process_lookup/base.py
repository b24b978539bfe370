"""Which program a loopback connection belongs to (ux §3.3, *Needed by*).

The answer is for a person to read and may be missing: other users' programs, and on macOS all but
our own, are closed to us. It is not for deciding who may connect. Every function looks through all
processes, which takes milliseconds: call it in a worker thread, and only when asking.
"""

import ipaddress
from dataclasses import dataclass
from typing import Protocol

from trayproxy.desktop.socket_owner.base import Endpoint

ConnectionEnds = tuple[Endpoint, Endpoint]
"""The two ends of a connection as its program sees them: the program's end, then ours."""


@dataclass(frozen=True, slots=True)
class RunningProgram:
    """A program that runs.

    Attributes:
        name: As people know it: ``git``; of a script, the script's name. Printable, not empty.
        pid: Its process id.
    """

    name: str
    pid: int


class PidLookup(Protocol):
    """A function that finds the processes that hold connections."""

    def __call__(self, wanted: set[ConnectionEnds]) -> dict[ConnectionEnds, int]:
        """Return the process ids of the programs that hold these connections, as far as known.

        Raises:
            OSError: The system does not report them.
        """
        ...


def as_ipv4(end: Endpoint) -> Endpoint:
    """Return an end as IPv4 where a socket for both versions gives it as IPv6 (RFC 4291, 2.5.5)."""
    address = ipaddress.ip_address(end[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address), end[1]
