"""The values of the look-up of programs, and the protocol of its implementations.

The look-up names the program at the other end of a loopback connection, for a person to read (ux
§3.3, *Needed by*). The name may be missing: the processes of other users, and on macOS also system
processes, are not accessible. Access control uses `trayproxy.desktop.socket_owner` instead.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from trayproxy.desktop.socket_owner.base import Endpoint

ConnectionEnds = tuple[Endpoint, Endpoint]
"""The two ends of a connection: the end of the program, then the end of this process."""


@dataclass(frozen=True, slots=True)
class RunningProgram:
    """A running program.

    Attributes:
        name: The name as people know it, such as ``git``; for a script, the name of the script.
            Printable, not empty.
        pid: The process id.
    """

    name: str
    pid: int


PidLookup = Callable[[set[ConnectionEnds]], dict[ConnectionEnds, int]]
"""Returns the ids of the processes at the other ends of connections, without the connections whose
process is unknown. Raises OSError if the system does not report the processes."""


def as_ipv4(end: Endpoint) -> Endpoint:
    """Return an IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2) as IPv4; others unchanged.

    A dual-stack socket has such addresses.

    Raises:
        ValueError: The address is not an IP address.
    """
    address = ipaddress.ip_address(end[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address), end[1]
