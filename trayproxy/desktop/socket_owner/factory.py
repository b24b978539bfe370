"""Choose the look-up of socket owners for this operating system."""

import contextlib
import socket
import sys
from collections.abc import Sequence

from trayproxy.desktop.socket_owner.base import (
    Endpoint,
    OwnerLookup,
    OwnerUnknownError,
    SocketOwner,
)
from trayproxy.desktop.users import User, own_user


def open_owner_lookup() -> OwnerLookup:
    """Return the first working look-up of this system, checked with a test connection.

    Raises:
        OwnerUnknownError: No look-up has reported the true owner of the test connection.
    """
    for lookup in _lookups():
        if _finds_own_user(lookup):
            return lookup
        lookup.close()
    raise OwnerUnknownError("this system does not report the owners of connections")


def user_listening(address: Endpoint) -> User | None:
    """Return the user of the program listening at an address of this computer.

    None if no program listens there, or the system does not report the user.
    """
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            from trayproxy.desktop.socket_owner.windows import WindowsOwnerLookup

            return WindowsOwnerLookup().user_listening(address, family)
        elif sys.platform == "darwin":
            from trayproxy.desktop.socket_owner.macos import MacOwnerLookup

            return MacOwnerLookup().user_listening(address, family)
        else:
            from trayproxy.desktop.socket_owner.linux import SockDiagLookup

            with contextlib.closing(SockDiagLookup()) as kernel:
                return kernel.user_listening(address, family)
    return None


def _lookups() -> Sequence[OwnerLookup]:
    """Return the look-ups of this system, the best first. Their constructors raise no errors."""
    if sys.platform == "win32":
        from trayproxy.desktop.socket_owner.windows import WindowsOwnerLookup

        return [WindowsOwnerLookup()]
    elif sys.platform == "darwin":
        from trayproxy.desktop.socket_owner.macos import MacOwnerLookup

        return [MacOwnerLookup()]
    else:
        from trayproxy.desktop.socket_owner.linux import ProcNetLookup, SockDiagLookup

        return [SockDiagLookup(), ProcNetLookup()]


def _finds_own_user(lookup: OwnerLookup) -> bool:
    """Return True if a look-up reports this user as the owner of a connection of this process."""
    with (
        contextlib.suppress(OSError),
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket() as client,
    ):
        client.connect(listener.getsockname())
        accepted, peer = listener.accept()
        with accepted:
            found = lookup.owner_of(accepted.getsockname(), peer, accepted.family)
        return found == SocketOwner(own_user(), is_open=True)
    return False
