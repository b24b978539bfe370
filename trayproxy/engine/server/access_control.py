"""Access control: which users' programs may connect (security.md, T1).

On a shared computer every user can connect to a loopback port, and would use the login of the user
who runs TrayProxy. So the owner of every accepted connection is looked up before an octet of the
connection is read.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Protocol

from trayproxy.desktop.socket_owner.base import (
    Endpoint,
    OwnerLookup,
    SocketOwner,
    require_peer,
)
from trayproxy.desktop.socket_owner.factory import open_owner_lookup
from trayproxy.desktop.users import User, own_user
from trayproxy.engine.error_pages import NOT_ALLOWED, ErrorPage

Inquiry = asyncio.Future[None]
"""Completes when the refused program is identified."""
OnRefused = Callable[[socket.SocketType, User | None], Inquiry | None]
"""Called with a refused connection and its user (None if unknown) before the connection is
answered. Returns an inquiry to wait for before answering, because a program may exit after the
response and can then not be identified any more; None to answer immediately."""


def admits(owner: SocketOwner | None, own: User, allowed: frozenset[User]) -> bool:
    """Return whether a connection with this owner, None if the system does not know it, is served.

    A socket without a process is not served: its user cannot be verified, and no process waits for
    the response.

    Args:
        own: The user that TrayProxy runs as.
        allowed: Other users with access.
    """
    if owner is None or not owner.is_open:
        return False
    return owner.user == own or owner.user in allowed


class ConnectionAccess(Protocol):
    """Decides for each accepted connection of a listener whether it is served.

    Attributes:
        inquiry: The inquiry to wait for before the last refused connection is answered; None to
            answer immediately.
    """

    inquiry: Inquiry | None

    @property
    def refusal(self) -> ErrorPage:
        """The page for the connection refused last."""

    def admits(
        self, connection: socket.SocketType, peer: tuple[Any, ...], local: Endpoint | None = None
    ) -> bool:
        """Return whether to serve a newly accepted connection.

        Args:
            peer: The address of the client, in the form of the socket module.
            local: The local address; None to ask the socket.
        """

    def is_held(self, connection: socket.SocketType) -> bool | None:
        """Return whether the client's end of a connection is still held; None if unknown."""

    def is_local(self, peer: tuple[Any, ...]) -> bool:
        """Return whether a client, given by its address, is a program of this computer."""


class AccessControl:
    """Decides for each accepted connection whether it is served.

    Attributes:
        allowed: Users with access, besides the own user.
        open_to_all: True if every user may connect, without a look-up.
        inquiry: The inquiry to wait for before the last refused connection is answered; None to
            answer immediately.
        refusal: The page for refused connections.
    """

    refusal = NOT_ALLOWED

    def __init__(
        self,
        owners: OwnerLookup,
        own: User,
        *,
        allowed: frozenset[User] = frozenset(),
        open_to_all: bool = False,
        on_refused: OnRefused = lambda connection, user: None,
    ) -> None:
        """Create the access control.

        Args:
            owners: Looks up the owner of a socket.
            own: The user that TrayProxy runs as.
            allowed, open_to_all: See `AccessControl`.
            on_refused: Called with each refused connection, in the event loop: must be fast. Not
                called for a connection that was closed before its look-up and has sent nothing:
                programs probe in this way whether a port is open.
        """
        self.allowed = allowed
        self.open_to_all = open_to_all
        self.inquiry: Inquiry | None = None
        self._owners = owners
        self._own = own
        self._on_refused = on_refused

    def admits(
        self, connection: socket.SocketType, peer: tuple[Any, ...], local: Endpoint | None = None
    ) -> bool:
        """Return whether to serve a newly accepted connection. Takes microseconds on Linux.

        Args:
            peer: The address of the client, in the form of the socket module.
            local: The local address; None to ask the socket.
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
            # The client has disconnected, or the look-up has failed.
            owner = None
        if admits(owner, self._own, self.allowed):
            return True
        user = owner.user if owner is not None and owner.is_open else None
        self.inquiry = None
        if user is not None or has_unread_octets(connection):
            self.inquiry = self._on_refused(connection, user)
        return False

    def is_held(self, connection: socket.SocketType) -> bool | None:
        """Return whether a process still holds the client's end of a connection, as after a
        half-close; None if the operating system does not report it."""
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

    def is_local(self, peer: tuple[Any, ...]) -> bool:
        """Return True: only programs of this computer reach its loopback addresses."""
        return True

    def close(self) -> None:
        """Close the owner look-up."""
        self._owners.close()


def has_unread_octets(connection: socket.SocketType) -> bool:
    """Return whether a connection has unread octets. The octets stay unread."""
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except OSError:
        # There is no data yet, or the connection was reset.
        return False


def own_user_only() -> AccessControl:
    """Return an access control for the own user only. Raise `OSError` if the owner look-up is not
    available on this system."""
    return AccessControl(open_owner_lookup(), own_user())
