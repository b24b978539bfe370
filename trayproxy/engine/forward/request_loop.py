"""The slow path of a client connection: a coroutine serving requests.

It starts when the fast path cannot handle an event, and ends when the connection is idle, has
become a tunnel, or is to be closed.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from trayproxy.engine import error_pages
from trayproxy.engine.context import EngineContext
from trayproxy.engine.downstream import ClientDownstream
from trayproxy.engine.error_pages import Document, ErrorPage
from trayproxy.engine.forward.fast_path import SentRequest
from trayproxy.engine.forward.forwarder import Forwarder
from trayproxy.engine.net.fd_task import READ, WRITE, FdTask, IoWait
from trayproxy.engine.proxy_auth.auth_context import AuthContext
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.transfer.request_writer import ClientGoneError
from trayproxy.engine.transfer.tunnel import Tunnel
from trayproxy.http.errors import MessageError
from trayproxy.http.framing import NoBody
from trayproxy.http.heads import find_head
from trayproxy.http.request import Request, parse_request
from trayproxy.http.target import Form

if TYPE_CHECKING:
    from trayproxy.engine.forward.client_password import VerifyLogin

logger = logging.getLogger(__name__)

REQUESTS_PER_TURN = 64
"""The number of pipelined requests answered before other connections get their turn: error pages
are sent without waiting."""


class RequestLoop:
    """Serves the requests of a client until the client has sent no further octets.

    Attributes:
        is_idle: True if the loop has ended with an idle connection; False if the connection is to
            be closed or has become a tunnel.
        tunnel: The tunnel the connection has become; None if it has not become a tunnel.
        is_between_requests: True while no request is being served.
    """

    def __init__(
        self,
        downstream: ClientDownstream,
        auth: AuthContext,
        resume: Callable[[int], None],
        sent: SentRequest | None = None,
        undelivered: bytes = b"",
        *,
        is_refused: bool = False,
        verify: "VerifyLogin | None" = None,
    ) -> None:
        """Prepare to serve the requests of a client.

        Args:
            resume: Called when the wait of `task` has ended without an event; see `FdTask`.
            sent: The request sent by the fast path, without a response yet; None without one.
            undelivered: The unsent octets of a response of the fast path.
            is_refused: True if the client is above the maximum number of clients.
            verify: Verifies the password that each request must carry; None if requests need none.
        """
        self._downstream = downstream
        self._auth = auth
        self._verify = verify
        self._sent = sent
        self._undelivered = undelivered
        self._context = downstream.context
        self._client = downstream.client
        self._head_started = False
        self.is_between_requests = sent is None and not undelivered
        self.is_idle = False
        self.tunnel: Tunnel | None = None
        self.task = FdTask(
            self._refuse() if is_refused else self._run(), downstream.context.loop, resume
        )

    async def _refuse(self) -> None:
        with suppress(OSError):  # The client has left or is too slow.
            await self._downstream.send_page(error_pages.BUSY, None, keep_alive=False)

    async def _run(self) -> None:
        """Serve the requests of the client, after the rest of a response of the fast path."""
        downstream, context, client = self._downstream, self._context, self._client
        try:
            if self._undelivered:
                await downstream.deliver(self._undelivered)
                downstream.set_deadline(context.limits.idle_s)
            left = REQUESTS_PER_TURN
            while self._sent is not None or client.inbox or client.ended:
                if not left:
                    left = REQUESTS_PER_TURN
                    await IoWait(downstream.events(WRITE, None, 0))
                left -= 1
                goes_on = await self._serve_request()
                # The connection attempt was for this request: the next may have another target.
                downstream.drop_connecting()
                if isinstance(goes_on, Tunnel):
                    self.tunnel = goes_on
                    return
                if not goes_on or context.closing:
                    return
                downstream.set_deadline(context.limits.idle_s)
            self.is_between_requests = True
            self.is_idle = not context.closing
        except (ClientGoneError, OSError):
            # The client has left or is too slow. TimeoutError is an OSError.
            pass

    async def _serve_request(self) -> bool | Tunnel:
        """Serve one request. Return True if another request may follow; the tunnel the connection
        has become, if any."""
        downstream = self._downstream
        # If the fast path has sent the request, the forwarder continues with reading the response.
        (cached, upstream), self._sent = self._sent or (None, None), None
        try:
            if cached is None:
                cached = await self._next_request()
        except MessageError as error:
            page = error_pages.refused_request(error.status, str(error))
            return await downstream.send_page(page, None, keep_alive=False)
        except TimeoutError:
            if not self._head_started:
                return False
            page = error_pages.refused_request(408, "it was not complete in time")
            return await downstream.send_page(page, None, keep_alive=False)
        if cached is None:
            return False
        downstream.clear_deadline()
        self.is_between_requests = False
        if self._verify is not None and not await self._has_password(cached.request, self._verify):
            return await self._ask_for_password(cached.request)
        if cached.page is not None:
            document = self._document(cached.request)
            if document is not None:
                return await downstream.send_document(document, cached.request)
            return await downstream.send_page(cached.page, cached.request, keep_alive=False)
        return await Forwarder(downstream, self._auth, cached, upstream).forward()

    async def _has_password(self, request: Request, verify: "VerifyLogin") -> bool:
        """Return whether a request has the password. The answer to a wrong one takes a moment."""
        # Here, since programs on this computer need no password.
        from trayproxy.engine.forward.client_password import PasswordCheck, check_password

        result = check_password(request.fields, verify)
        if result is PasswordCheck.WRONG:
            logger.info("a device sent a wrong password (TP-116)")
            await IoWait({}, timeout=self._context.limits.wrong_password_s)
        return result is PasswordCheck.RIGHT

    async def _ask_for_password(self, request: Request) -> bool:
        keep_alive = request.keep_alive and request.framing == NoBody()
        page = error_pages.PASSWORD_NEEDED
        return await self._downstream.send_page(page, request, keep_alive=keep_alive)

    async def _next_request(self) -> CachedRequest | None:
        """Return the next request; None if the client has closed its connection.

        Raises:
            MessageError: The head is malformed, too long, or incomplete at the end of the stream.
            TimeoutError: The head did not arrive in time.
        """
        downstream, client = self._downstream, self._client
        self._head_started = False
        self.is_between_requests = True
        seen = 0
        while True:
            if client.inbox:
                end = find_head(client.inbox, seen=seen)
                if end is not None:
                    head = bytes(client.inbox[:end])
                    del client.inbox[:end]
                    return received_request(self._context, head)
                seen = len(client.inbox)
                if not self._head_started:
                    self._head_started = True
                    downstream.set_deadline(self._context.limits.head_s)
            if client.ended:
                if client.inbox:
                    raise MessageError(400, "it ends in the middle of its head")
                return None
            if not client.fill() and not client.ended:
                upstream = downstream.upstream
                events = downstream.events(READ, upstream.stream if upstream else None, READ)
                if await IoWait(events) != client.descriptor:
                    downstream.check_upstream()

    def _document(self, request: Request) -> Document | None:
        """Return the document of TrayProxy's own that is requested; None if none is."""
        if request.target.form is not Form.ORIGIN or request.method not in (b"GET", b"HEAD"):
            return None
        return self._context.own_address.documents.get(request.target.path)


def received_request(context: EngineContext, head: bytes) -> CachedRequest:
    """Return the request with this head, from the cache or parsed now. Raise `MessageError` if the
    head is malformed or too long."""
    cached = context.caches.requests.get(head)
    if cached is None:
        request = parse_request(head)
        cached = CachedRequest(request, _error_page(context, request))
        context.caches.requests.store(head, cached, len(head))
    return cached


def _error_page(context: EngineContext, request: Request) -> ErrorPage | None:
    """Return the error page for a request which is not forwarded; None if it is forwarded."""
    if request.target.form in (Form.ORIGIN, Form.ASTERISK):
        return error_pages.NOT_A_PROXY_REQUEST
    if request.method == b"TRACE":
        # The final recipient may send the credentials back (RFC 9110, section 9.3.8).
        return ErrorPage(
            405, "TRACE is not passed on", "It could reveal your sign-in.", allow="GET"
        )
    if context.own_address.is_loop(request):
        return error_pages.LOOP
    if request.has_max_forwards_zero:
        return error_pages.MAX_FORWARDS_REACHED
    return None
