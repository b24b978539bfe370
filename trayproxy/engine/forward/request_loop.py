"""The slow path of a client connection: a coroutine serving requests.

It starts when the fast path cannot handle an event, and ends when the connection is idle, has
become a tunnel, or is to be closed.
"""

from typing import TYPE_CHECKING

from trayproxy.engine.error_pages import (
    BUSY,
    LOOP,
    MAX_FORWARDS_REACHED,
    NOT_A_PROXY_REQUEST,
    ErrorPage,
    refused_request,
)
from trayproxy.engine.forward.forwarder import Forwarder
from trayproxy.engine.net.fd_task import READ, WRITE, IoWait
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.transfer.request_writer import ClientGoneError
from trayproxy.http.errors import MessageError
from trayproxy.http.heads import find_head
from trayproxy.http.request import Request, parse_request
from trayproxy.http.target import Form

if TYPE_CHECKING:
    from trayproxy.engine.server.client_connection import ClientConnection

REQUESTS_PER_TURN = 64
"""The number of pipelined requests answered before other connections get their turn: error pages
are sent without waiting."""


class RequestLoop:
    """Serves the requests of a client until the client has sent no further octets.

    Attributes:
        is_idle: True if `run` has ended with an idle connection; False if the connection is to be
            closed or has become a tunnel.
    """

    __slots__ = ("_client", "_connection", "_context", "_head_started", "is_idle")

    def __init__(self, connection: "ClientConnection") -> None:
        self._connection = connection
        self._context = connection.context
        self._client = connection.client
        self._head_started = False
        self.is_idle = False

    async def run(self) -> None:
        """Serve the requests of the client."""
        connection, context = self._connection, self._context
        try:
            if connection.is_over_limit:
                await connection.send_page(BUSY, None, keep_alive=False)
                return
            await self._deliver_undelivered()
            left = REQUESTS_PER_TURN
            while not self._has_no_work():
                if not left:
                    left = REQUESTS_PER_TURN
                    await IoWait(connection.events(WRITE, None, 0))
                left -= 1
                goes_on = await self._serve_request()
                # The connection attempt was for this request: the next may have another target.
                connection.drop_connecting()
                if not goes_on or context.closing:
                    return
                connection.set_deadline(context.limits.idle_s)
            connection.is_between_requests = True
            self.is_idle = not context.closing
        except (ClientGoneError, OSError):
            # The client has left or is too slow. TimeoutError is an OSError.
            pass

    def _has_no_work(self) -> bool:
        """Return True if there is nothing to do before the client sends octets."""
        return (
            self._connection.cached_request is None
            and not self._client.inbox
            and not self._client.ended
        )

    async def _deliver_undelivered(self) -> None:
        """Deliver the rest of a response which the fast path could not send completely."""
        connection = self._connection
        if connection.undelivered:
            rest, connection.undelivered = connection.undelivered, b""
            await connection.deliver(rest)
            connection.set_deadline(self._context.limits.idle_s)

    async def _serve_request(self) -> bool:
        """Serve one request. Return whether another request may follow."""
        connection = self._connection
        try:
            cached, is_sent = connection.cached_request, connection.cached_request is not None
            connection.cached_request = None
            if cached is None:
                cached = await self._next_request()
        except MessageError as error:
            page = refused_request(error.status, str(error))
            return await connection.send_page(page, None, keep_alive=False)
        except TimeoutError:
            if not self._head_started:
                return False
            page = refused_request(408, "it was not complete in time")
            return await connection.send_page(page, None, keep_alive=False)
        if cached is None:
            return False
        connection.deadline = None
        connection.is_between_requests = False
        if cached.page is not None:
            return await connection.send_page(cached.page, cached.request, keep_alive=False)
        # If the fast path has sent the request, the forwarder continues with reading the response.
        return await Forwarder(
            connection, cached, sent=connection.upstream if is_sent else None
        ).forward()

    async def _next_request(self) -> CachedRequest | None:
        """Return the next request; None if the client has closed its connection.

        Raises:
            MessageError: The head is malformed, too long, or incomplete at the end of the stream.
            TimeoutError: The head did not arrive in time.
        """
        connection, client = self._connection, self._client
        self._head_started = False
        connection.is_between_requests = True
        seen = 0
        while True:
            if client.inbox:
                end = find_head(client.inbox, seen=seen)
                if end is not None:
                    head = bytes(client.inbox[:end])
                    del client.inbox[:end]
                    return self._context.caches.requests.get(head) or self._parse_request(head)
                seen = len(client.inbox)
                if not self._head_started:
                    self._head_started = True
                    connection.set_deadline(self._context.limits.head_s)
            if client.ended:
                if client.inbox:
                    raise MessageError(400, "it ends in the middle of its head")
                return None
            if not client.fill() and not client.ended:
                await self._wait_for_client()

    def _parse_request(self, head: bytes) -> CachedRequest:
        """Parse a request head and cache it.

        Raises:
            MessageError: The head is not a valid head of a request to a proxy.
        """
        request = parse_request(head)
        cached = CachedRequest(request, self._error_page(request))
        self._context.caches.requests.store(head, cached, len(head))
        return cached

    async def _wait_for_client(self) -> None:
        """Wait for octets of the client. Drop the upstream connection if it sends unsolicited
        octets."""
        connection = self._connection
        upstream = connection.upstream
        events = connection.events(READ, upstream.stream if upstream else None, READ)
        woken = await IoWait(events)
        if woken != self._client.descriptor and upstream and not upstream.is_quiet():
            connection.drop_upstream()

    def _error_page(self, request: Request) -> ErrorPage | None:
        """Return the error page for a request which is not forwarded; None if it is forwarded."""
        if request.target.form is Form.ORIGIN or request.target.form is Form.ASTERISK:
            return NOT_A_PROXY_REQUEST
        if request.method == b"TRACE":
            # The final recipient may send the credentials back (RFC 9110, section 9.3.8).
            return ErrorPage(
                405, "TRACE is not passed on", "It could reveal your sign-in.", allow="GET"
            )
        if self._context.own_address.is_loop(request):
            return LOOP
        if request.has_max_forwards_zero:
            return MAX_FORWARDS_REACHED
        return None
