"""The client side of a request, as the forwarding code sees it.

The client side is a client connection, or, for preconnects, a stand-in without a client.
"""

import socket
from typing import Protocol

from trayproxy.desk.credentials import Credentials
from trayproxy.engine.context import EngineContext
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.upstream.pool import UpstreamConnection


class Downstream(Protocol):
    """The client side of a request, and its upstream connection.

    Attributes:
        context: The objects shared by all requests.
        client: The stream to the client.
        upstream: The upstream connection in use; None without one.
        connecting: A socket still connecting to the next hop; None
            without one.
        deadline: When the current wait times out, in the event loop's time; None for no limit.
        has_timed_out: True if the fast path waited for a response until its deadline.
        pending_credentials: The credentials in the current request while it has no response; None
            if there is no such request.
    """

    context: EngineContext
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

    def is_client_held(self) -> bool | None:
        """Return whether a process still holds the client's end of its connection; None if the
        operating system does not report it."""

    async def deliver(self, data: bytes) -> None:
        """Send octets to the client, and wait until all of them are sent.

        Raises:
            OSError: The client has disconnected.
            TimeoutError: The client has read nothing for too long.
        """


class NullStream(SocketStream):
    """The client stream of a preconnect: no data, and closed for sending."""

    __slots__ = ()

    def __init__(self) -> None:
        self.descriptor = -1
        self.inbox = bytearray()
        self.ended = True
        self.truncated = False


class NullDownstream:
    """The downstream without a client, for preconnects and late responses; see `Downstream`."""

    def __init__(self, context: EngineContext) -> None:
        self.context = context
        self.client: SocketStream = NullStream()
        self.upstream: UpstreamConnection | None = None
        self.connecting: socket.SocketType | None = None
        self.deadline: float | None = None
        self.has_timed_out = False
        self.pending_credentials: Credentials | None = None

    def set_deadline(self, seconds: float) -> None:
        """Ignore the deadline: the whole preconnect has a timeout."""

    def events(
        self, client_mask: int, upstream: SocketStream | None, upstream_mask: int
    ) -> dict[int, int]:
        """Return the events to wait for: those of the next hop only."""
        return {upstream.descriptor: upstream_mask} if upstream is not None else {}

    def release(self, descriptor: int) -> None:
        """Deregister a descriptor. The registrations of the pool are not affected."""
        self.context.poller.unregister(descriptor)

    def drop_upstream(self) -> None:
        """Close the connection to the next hop."""
        if self.upstream is not None:
            self.context.pool.drop(self.upstream)
            self.upstream = None

    def drop_connecting(self) -> None:
        """Do nothing: only the fast path starts connections, and only for clients."""

    def is_client_held(self) -> bool | None:
        """Return True: nothing waits for a client to disconnect."""
        return True

    async def deliver(self, data: bytes) -> None:
        """Discard an interim response: there is no client."""
