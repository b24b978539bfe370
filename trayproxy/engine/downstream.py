"""Whom a request comes from, as those see it who bring it to its next hop.

That is a client connection, or nobody at all: see `warming`.
"""

import socket
from typing import TYPE_CHECKING, Protocol

from trayproxy.desk.credentials import Credentials
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.upstream.pool import UpstreamConnection

if TYPE_CHECKING:
    from trayproxy.engine.engine import Engine


class Downstream(Protocol):
    """A client, and the connection to the next hop that it has.

    Attributes:
        engine: What all share.
        client: The client's socket.
        upstream: The connection to the next hop, if there is one.
        connecting: One that was begun and takes its time.
        deadline: Loop time after which it has waited for too long; None for no limit.
        pending_credentials: The login that a request carries which has no answer yet.
        has_timed_out: An answer that was waited for elsewhere has not come in time.
    """

    engine: "Engine"
    client: SocketStream
    upstream: UpstreamConnection | None
    connecting: socket.SocketType | None
    deadline: float | None
    has_timed_out: bool
    pending_credentials: Credentials | None

    def set_deadline(self, seconds: float) -> None:
        """Limit how long it may wait from now on."""

    def events(
        self, client_mask: int, upstream: SocketStream | None, upstream_mask: int
    ) -> dict[int, int]:
        """Return what to wait for."""

    def release(self, descriptor: int) -> None:
        """Say that a descriptor is about to be closed or given away."""

    def drop_upstream(self) -> None:
        """Close the connection to the next hop."""

    def drop_connecting(self) -> None:
        """Close the connection that was begun and nobody took."""

    async def deliver(self, data: bytes) -> None:
        """Send octets to the client, as quickly as it takes them.

        Raises:
            OSError: It has gone.
            TimeoutError: It takes nothing for too long.
        """
