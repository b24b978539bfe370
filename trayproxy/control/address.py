"""Choose the control address for this system.

A system with Unix sockets uses a Unix socket in the private runtime folder, and the kernel reports
the user id of each peer. Other systems (Windows) use a loopback connection: a private file contains
the port and a random key, and both sides prove that they know the key without sending it. A process
of another user that has taken the port of a dead service therefore learns no secret, and the front
end rejects it.
"""

import socket

from trayproxy.control.transport import ControlAddress
from trayproxy.control.unix_socket import UnixAddress
from trayproxy.paths import Paths


def control_address(paths: Paths) -> ControlAddress:
    """Return the address of this user's service, a Unix socket where the system supports one."""
    if hasattr(socket, "AF_UNIX"):
        return UnixAddress(paths.socket)
    # Imported here: the cryptography modules take a tenth of the time of `trayproxy status`.
    from trayproxy.control.loopback import LoopbackAddress

    return LoopbackAddress(paths.socket)
