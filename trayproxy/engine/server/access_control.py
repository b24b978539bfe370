"""Who may connect: this user, and whom the settings name (security.md, T1).

On a computer that people share, anyone can connect to a loopback port, and would act under the
login of whoever runs TrayProxy. So the owner of every accepted connection is looked up before an
octet of it is read.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from trayproxy.desktop.socket_owner.base import (
    Endpoint,
    OwnerLookup,
    SocketOwner,
    require_peer,
)
from trayproxy.desktop.socket_owner.factory import open_owner_lookup
from trayproxy.desktop.users import User, own_user

Inquiry = asyncio.Future[None]
"""Is done when it is known which program was refused."""
OnRefused = Callable[[socket.SocketType, User | None], Inquiry | None]
"""Is told of a connection that is refused and of its user, None if unknown, before the connection
is answered. Returns what to wait for before that: a program that has its answer may end, and then
nobody can tell any more which one it was. None: nothing."""


def admits(owner: SocketOwner | None, own: User, allowed: frozenset[User]) -> bool:
    """Whether a connection of this owner is served.

    One that no process holds any more is not: whose it was cannot be told, only that nobody waits
    for the answer.

    Args:
        owner: Who is at the other end, None if the system does not know.
        own: The user that we run as.
        allowed: Other users that may connect.
    """
    if owner is None or not owner.is_open:
        return False
    return owner.user == own or owner.user in allowed


class AccessControl:
    """Stands at the door of the engine.

    Attributes:
        allowed: Users other than the own that may connect.
        open_to_all: Whether nobody is asked who it is.
        refused_count: How many connections were turned away. One that ended before it was looked at
            and has sent nothing is none: programs do this to see whether somebody listens.
        inquiry: What to wait for before the connection that was refused last is answered.
    """

    def __init__(
        self,
        owners: OwnerLookup,
        own: User,
        *,
        allowed: frozenset[User] = frozenset(),
        open_to_all: bool = False,
        on_refused: OnRefused = lambda connection, user: None,
    ) -> None:
        """Take the place.

        Args:
            owners: Tells who is there.
            own: The user that we run as.
            allowed: See `AccessControl`.
            open_to_all: See `AccessControl`.
            on_refused: Is told of each that is turned away. Called in the loop: be quick.
        """
        self.allowed = allowed
        self.open_to_all = open_to_all
        self.refused_count = 0
        self.inquiry: Inquiry | None = None
        self._owners = owners
        self._own = own
        self._on_refused = on_refused

    def admits(
        self, connection: socket.SocketType, peer: tuple[Any, ...], local: Endpoint | None = None
    ) -> bool:
        """Whether to serve a connection that was just accepted; it costs microseconds on Linux.

        Args:
            connection: The connection.
            peer: The address of its other end, as the socket module has it.
            local: That of ours; None: the socket is asked.
        """
        if self.open_to_all:
            return True
        try:
            local = local or connection.getsockname()[:2]
            family = socket.AF_INET6 if ":" in peer[0] else socket.AF_INET
            owner = self._owners.owner_of(local, peer[:2], family)
            # Not before the look-up: see `trayproxy.desktop.socket_owner.base`.
            require_peer(connection)
        except OSError:
            # Gone already, or the system has become unable to tell.
            owner = None
        if admits(owner, self._own, self.allowed):
            return True
        user = owner.user if owner is not None and owner.is_open else None
        self.inquiry = None
        if user is not None or has_unread_octets(connection):
            self.refused_count += 1
            self.inquiry = self._on_refused(connection, user)
        return False

    def is_held(self, connection: socket.SocketType) -> bool | None:
        """Whether a process still holds the other end of a connection; None: this system does not
        tell. One that has only ended its sending is held."""
        try:
            local, peer = connection.getsockname()[:2], connection.getpeername()[:2]
        except OSError:
            return False
        try:
            owner = self._owners.owner_of(local, peer, connection.family)
        except OSError:
            return None
        try:
            require_peer(connection)
        except OSError:
            return False
        return owner is not None and owner.is_open

    def close(self) -> None:
        """Leave the place."""
        self._owners.close()


def has_unread_octets(connection: socket.SocketType) -> bool:
    """Whether octets wait to be read. None is taken."""
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except OSError:
        # Nothing yet, or a reset.
        return False


def own_user_only() -> AccessControl:
    """Return a guard that lets in this user only.

    Raises:
        OSError: This system does not tell whose a connection is.
    """
    return AccessControl(open_owner_lookup(), own_user())
