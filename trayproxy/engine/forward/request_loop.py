"""What a client connection does when it is not as usual, from top to bottom.

A story begins when something has come that the shortcut does not take, and ends when the connection
is at rest again, becomes a tunnel, or is over.
"""

from typing import TYPE_CHECKING

from trayproxy.engine.error_pages import (
    BUSY,
    LAST_STOP,
    LOOP,
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

ANSWERS_A_TURN = 64
"""How many requests that have come together are answered before the others get their turn: our own
answers wait for nobody."""


class RequestLoop:
    """Answers the requests of a client until nothing of another one has come.

    Attributes:
        goes_on: The connection is at rest again.
    """

    __slots__ = ("_client", "_engine", "_head_started", "_link", "goes_on")

    def __init__(self, link: "ClientConnection") -> None:
        self._link = link
        self._engine = link.engine
        self._client = link.client
        self._head_started = False
        self.goes_on = False

    async def run(self) -> None:
        """Answer request after request."""
        link, engine = self._link, self._engine
        try:
            if link.is_one_too_many:
                await link.answer(BUSY, None, keep_alive=False)
                return
            await self._deliver_the_rest()
            left = ANSWERS_A_TURN
            while not self._is_at_rest():
                if not left:
                    left = ANSWERS_A_TURN
                    await IoWait(link.events(WRITE, None, 0))
                left -= 1
                goes_on = await self._serve_one()
                # What was begun was for this request: the next one may go elsewhere.
                link.drop_begun()
                if not goes_on or engine.closing:
                    return
                link.deadline_in(engine.limits.idle_s)
            link.between = True
            self.goes_on = not engine.closing
        except (ClientGoneError, OSError):
            # Gone, or too slow: there is nobody to tell. (TimeoutError is an OSError.)
            pass

    def _is_at_rest(self) -> bool:
        """Whether nothing is to be done before the client says something."""
        return self._link.plan is None and not self._client.inbox and not self._client.ended

    async def _deliver_the_rest(self) -> None:
        """Deliver what the client has not taken of an answer that came on the short way."""
        link = self._link
        if link.undelivered:
            rest, link.undelivered = link.undelivered, b""
            await link.deliver(rest)
            link.deadline_in(self._engine.limits.idle_s)

    async def _serve_one(self) -> bool:
        """Answer one request. Return whether another one may follow."""
        link = self._link
        try:
            plan, is_sent = link.plan, link.plan is not None
            link.plan = None
            if plan is None:
                plan = await self._next_plan()
        except MessageError as error:
            page = refused_request(error.status, str(error))
            return await link.answer(page, None, keep_alive=False)
        except TimeoutError:
            if not self._head_started:
                return False
            page = refused_request(408, "it did not come to an end in time")
            return await link.answer(page, None, keep_alive=False)
        if plan is None:
            return False
        link.deadline = None
        link.between = False
        if plan.page is not None:
            return await link.answer(plan.page, plan.request, keep_alive=False)
        # What was sent on the short way is waited for from where the shortcut left off.
        return await Forwarder(link, plan, sent=link.upstream if is_sent else None).forward()

    async def _next_plan(self) -> CachedRequest | None:
        """Return the next request; None if the client sends no more.

        Raises:
            MessageError: It is not HTTP, too long, or ends in the middle.
            TimeoutError: It did not come in time.
        """
        link, client = self._link, self._client
        self._head_started = False
        link.between = True
        seen = 0
        while True:
            if client.inbox:
                end = find_head(client.inbox, seen=seen)
                if end is not None:
                    head = bytes(client.inbox[:end])
                    del client.inbox[:end]
                    return self._engine.plans.get(head) or self._plan(head)
                seen = len(client.inbox)
                if not self._head_started:
                    self._head_started = True
                    link.deadline_in(self._engine.limits.head_s)
            if client.ended:
                if client.inbox:
                    raise MessageError(400, "it ends in the middle of its head")
                return None
            if not client.fill() and not client.ended:
                await self._wait_for_client()

    def _plan(self, head: bytes) -> CachedRequest:
        """Read a head.

        Raises:
            MessageError: It is not one of a request that a proxy is sent.
        """
        request = parse_request(head)
        plan = CachedRequest(request, self._own_answer(request))
        self._engine.plans.keep(head, plan, len(head))
        return plan

    async def _wait_for_client(self) -> None:
        """Wait until the client sends; an upstream that says something unasked is dropped
        meanwhile."""
        link = self._link
        upstream = link.upstream
        events = link.events(READ, upstream.stream if upstream else None, READ)
        woken = await IoWait(events)
        if woken != self._client.descriptor and upstream and not upstream.is_quiet():
            link.drop_upstream()

    def _own_answer(self, request: Request) -> ErrorPage | None:
        """Return the answer to a request that is not passed on; None if it is."""
        if request.target.form is Form.ORIGIN or request.target.form is Form.ASTERISK:
            return NOT_A_PROXY_REQUEST
        if request.method == b"TRACE":
            # The last stop may send it back with our credentials (RFC 9110, section 9.3.8).
            return ErrorPage(
                405, "TRACE is not passed on", "It could reveal your sign-in.", allow="GET"
            )
        if self._engine.is_loop(request):
            return LOOP
        if request.has_max_forwards_zero:
            return LAST_STOP
        return None
