"""Choose the control address that this system supports.

Where the system has Unix sockets, the address is one in the private runtime folder, and the kernel
names the user at the other end. Elsewhere (Windows) it is a loopback connection: a private file
contains the port and a random key, and both sides prove that they know the key without sending it.
"""

import socket

from trayproxy.control.transport import ControlAddress
from trayproxy.control.unix_socket import UnixAddress
from trayproxy.paths import Paths


def control_address(paths: Paths) -> ControlAddress:
    """Return the address of this user's service, by what this system offers."""
    if hasattr(socket, "AF_UNIX"):
        return UnixAddress(paths.socket)
    # Not at the top: its cryptography takes a tenth of the time of `trayproxy status`.
    from trayproxy.control.loopback import LoopbackAddress

    return LoopbackAddress(paths.socket)
