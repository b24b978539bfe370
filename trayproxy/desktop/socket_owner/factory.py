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
    """Return the first of this system's ways that knows a connection of our own when it sees one.

    Raises:
        OwnerUnknownError: None does.
    """
    for lookup in _lookups():
        if _finds_own_user(lookup):
            return lookup
        lookup.close()
    raise OwnerUnknownError("this system does not tell whose connections it makes")


def user_listening(address: Endpoint) -> User | None:
    """Return whose program listens at an address of this computer; None if none does, or this
    system does not tell."""
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
    """Return what there is on this system, the best first. None of them raises when made."""
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
    """Whether it tells the truth about a connection that this very process makes."""
    with (
        contextlib.suppress(OSError),
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket() as ours,
    ):
        ours.connect(listener.getsockname())
        accepted, peer = listener.accept()
        with accepted:
            found = lookup.owner_of(accepted.getsockname(), peer, accepted.family)
        return found == SocketOwner(own_user(), is_open=True)
    return False
