"""The client side of a request, as the forwarding code sees it.

The client side is a client connection, or, for preconnects, a stand-in without a client
(`trayproxy.engine.proxy_auth.preconnect`).
"""

import socket
from typing import TYPE_CHECKING, Protocol

from trayproxy.desk.credentials import Credentials
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.upstream.pool import UpstreamConnection

if TYPE_CHECKING:
    from trayproxy.engine.engine import Engine


class Downstream(Protocol):
    """The client side of a request, and its upstream connection.

    Attributes:
        engine: The engine.
        client: The stream to the client.
        upstream: The upstream connection in use; None without one.
        connecting: A socket still connecting to the next hop; None
            without one.
        deadline: When the current wait times out, in the event loop's time; None for no limit.
        has_timed_out: True if the fast path waited for a response until its deadline.
        pending_credentials: The credentials in the current request while it has no response; None
            if there is no such request.
    """

    engine: "Engine"
    client: SocketStream
    upstream: UpstreamConnection | None
    connecting: socket.SocketType | None
    deadline: float | None
    has_timed_out: bool
    pending_credentials: Credentials | None

    def set_deadline(self, seconds: float) -> None:
        """Set the deadline to `seconds` from now."""

    def events(
        self, client_mask: int, upstream: SocketStream | None, upstream_mask: int
    ) -> dict[int, int]:
        """Return the descriptors and event masks to wait for.

        Args:
            client_mask: The events of the client to wait for; 0 for none.
            upstream: The stream to the next hop, if any.
            upstream_mask: The events of `upstream` to wait for; 0 for none.
        """

    def release(self, descriptor: int) -> None:
        """Deregister a descriptor before it is closed or handed over."""

    def drop_upstream(self) -> None:
        """Close the connection to the next hop."""

    def drop_connecting(self) -> None:
        """Close the socket `connecting`, if there is one."""

    async def deliver(self, data: bytes) -> None:
        """Send octets to the client, and wait until all of them are sent.

        Raises:
            OSError: The client has disconnected.
            TimeoutError: The client has read nothing for too long.
        """
