"""One client connection, as proxy.py's `Work`: request after request, until a tunnel or the end."""

import argparse
import socket
from typing import TYPE_CHECKING, Any

from proxy.core.work import Work

from trayproxy.engine.exchange import Exchange
from trayproxy.engine.memory import Plan
from trayproxy.engine.pages import (
    BUSY,
    LAST_STOP,
    LOOP,
    NOT_A_PROXY_REQUEST,
    Page,
    refused_request,
    write_page,
)
from trayproxy.engine.sender import ClientGoneError
from trayproxy.engine.shortcut import Shortcut
from trayproxy.engine.strand import READ, WRITE, Strand, Wait
from trayproxy.engine.stream import Stream
from trayproxy.engine.tunnel import Tunnel
from trayproxy.engine.upstream import Connection
from trayproxy.http.errors import MessageError
from trayproxy.http.heads import find_head
from trayproxy.http.request import Request, parse_request
from trayproxy.http.target import Form

if TYPE_CHECKING:
    from trayproxy.engine.engine import Engine


class ClientWork(Work[socket.socket]):
    """A client connection.

    Attributes:
        client: The client's socket.
        upstream: The connection that answered its last request, kept as its own while both live;
            connection-bound schemes need that.
        tunnel: The tunnel that this connection has become, if it has.
        shortcut: Takes events while the story waits for the next request.
        is_resting: The story waits for that, and nothing of it has come.
        is_late: The answer to what was sent on the short way has not come in time.
        undelivered: What the client has not taken yet of an answer from the shortcut.
    """

    def __init__(self, work: socket.socket, flags: argparse.Namespace, **kwargs: Any) -> None:
        super().__init__(work, flags, **kwargs)
        self.engine: Engine = flags.engine
        self.client = Stream(work)
        self.upstream: Connection | None = None
        self.tunnel: Tunnel | None = None
        self.strand = Strand(self._serve(), self.engine.loop, self._resume)
        self._started = False
        self._work_id = self.client.descriptor
        self._events: dict[tuple[int, int, int], dict[int, int]] = {}
        self._pair_wait: Wait | None = None
        self._paired: Connection | None = None
        self._served = False
        self.head_started = False
        self.between = True
        self.is_resting = False
        self.is_late = False
        self.undelivered = b""
        self.shortcut = Shortcut(self)

    @staticmethod
    def create(*args: Any) -> socket.socket:
        """Return the work of proxy.py's contract: the accepted socket."""
        connection: socket.socket = args[0]
        return connection

    def initialize(self) -> None:
        """Count the connection; the story starts with the first `handle_events`."""
        self.engine.counters.active += 1

    @property
    def wanted(self) -> dict[int, int]:
        """What this connection waits for now."""
        return self.tunnel.events if self.tunnel is not None else self.strand.events

    async def get_events(self) -> dict[int, int]:
        """Return what this connection waits for now."""
        return self.wanted

    async def handle_events(self, readables: list[int], writables: list[int]) -> bool:
        """Go on after descriptors have become ready. Return True when the connection has ended."""
        if self.tunnel is not None:
            return self._relay(self.tunnel, readables, writables)
        if not self._started:
            self._started = True
            if not self.engine.guard.lets_in(self.client.socket):
                self.cut()
                return True
            return self._ended(self.strand.start())
        descriptor = readables[0] if readables else writables[0]
        try:
            if self.shortcut.handle(descriptor):
                return False
        except OSError:
            return True  # The client has gone.
        return self.strand.step(descriptor) and self._ended(True)

    def _relay(self, tunnel: Tunnel, readables: list[int], writables: list[int]) -> bool:
        try:
            ended = False
            for descriptor in readables:
                ended = tunnel.ready(descriptor, READ)
            for descriptor in writables:
                ended = tunnel.ready(descriptor, WRITE)
        except OSError:
            self._abort()
            return True
        if tunnel.up.over is not tunnel.down.over:  # One side has ended its sending.
            self.deadline_in(self.engine.limits.half_closed_s)
        return ended

    def _ended(self, story_over: bool) -> bool:
        """Whether the connection has ended: when its story is over and it has not become a
        tunnel."""
        if not story_over:
            return False
        self.strand.deadline = None
        if self.tunnel is None:
            return True
        if not self.tunnel.has_something:
            return False
        return self._relay(self.tunnel, [self.client.descriptor], [self.client.descriptor])

    def _resume(self, woken_by: int) -> None:
        self.engine.executor.resume(self._work_id, lambda: self._ended(self.strand.step(woken_by)))

    def is_inactive(self) -> bool:
        """Whether it has waited for too long. The executor's sweep asks once a second."""
        if self.tunnel is not None:
            self.tunnel.probe()
        deadline = self.strand.deadline
        return deadline is not None and self.engine.loop.time() >= deadline

    def time_out(self) -> bool:
        """Tell the story that it has waited for too long. Return True if the connection has
        ended."""
        if self.tunnel is not None:
            return True
        if self.shortcut.plan is not None:
            # The story takes over at the end of its patience with the next hop.
            self.is_late = True
            return self._ended(self.strand.step(self.client.descriptor))
        return self._ended(self.strand.time_out())

    def deadline_in(self, seconds: float) -> None:
        """Limit how long the story may wait from now on."""
        self.strand.deadline = self.engine.loop.time() + seconds

    def shutdown(self) -> None:
        """Close what this connection holds; an idle upstream connection is kept for others."""
        self.strand.close()
        if self.tunnel is not None:
            self.engine.counters.count_tunnel(self.tunnel)
            self.tunnel.close()
        if self.upstream is not None:
            upstream, self.upstream = self.upstream, None
            # What is still to come on it may answer a request of this client.
            is_free = self.tunnel is None and self.shortcut.plan is None
            if is_free and upstream.is_quiet():
                self.engine.pool.keep(upstream)
            else:
                upstream.stream.close()
        self.client.close()
        self.engine.counters.active -= 1
        super().shutdown()

    def _abort(self) -> None:
        """Let both sides see that the tunnel was cut, not ended."""
        self.client.reset_on_close()
        if self.upstream is not None:
            self.upstream.stream.reset_on_close()

    @property
    def is_idle(self) -> bool:
        """Whether it is between two requests."""
        return self.between and not self.client.inbox

    def cut(self) -> None:
        """Let the client see a reset when the connection closes."""
        self.client.reset_on_close()

    # --- what exchanges use ---

    def events(
        self, client_mask: int, upstream: Stream | None, upstream_mask: int
    ) -> dict[int, int]:
        """Return what to wait for, the same dictionary for the same wishes."""
        key = (client_mask, upstream.descriptor if upstream else -1, upstream_mask)
        found = self._events.get(key)
        if found is None:
            if len(self._events) > 16:
                self._events.clear()
            wanted = {self.client.descriptor: client_mask}
            if upstream is not None:
                wanted[upstream.descriptor] = upstream_mask
            found = {descriptor: mask for descriptor, mask in wanted.items() if mask}
            self._events[key] = found
        return found

    def pair_wait(self) -> Wait:
        """Return the wait for either side to say something, the same one as long as both stay."""
        upstream = self.upstream
        if self._pair_wait is None or self._paired is not upstream:
            self._paired = upstream
            events = self.events(READ, upstream.stream if upstream else None, READ)
            self._pair_wait = Wait(events)
        return self._pair_wait

    def release(self, descriptor: int) -> None:
        """Say that a descriptor is about to be closed or given away."""
        self.engine.executor.release(self._work_id, descriptor)

    def drop_upstream(self) -> None:
        """Close the upstream connection."""
        if self.upstream is not None:
            self.release(self.upstream.stream.descriptor)
            self.upstream.stream.close()
            self.upstream = None

    async def deliver(self, data: bytes) -> None:
        """Send octets to the client, as quickly as it takes them.

        Raises:
            OSError: It has gone.
            TimeoutError: It takes nothing for too long.
        """
        rest = memoryview(data)
        while True:
            rest = rest[self.client.send(rest) :]
            if not rest:
                return
            self.deadline_in(self.engine.limits.body_s)
            await Wait(self.events(WRITE, None, 0))

    async def answer(self, page: Page, request: Request | None, *, keep_alive: bool) -> bool:
        """Answer with a page of ours. Return whether the connection goes on."""
        target = request.target.authority if request is not None else None
        octets = write_page(
            page,
            address=self.engine.address,
            host=target.host if target else "",
            keep_alive=keep_alive,
            with_body=request is None or request.method != b"HEAD",
        )
        await self.deliver(octets)
        if not keep_alive:
            await self.linger()
        return keep_alive

    async def linger(self) -> None:
        """Read what the client still sends, so that our answer is not lost to a reset (9112,
        9.6)."""
        self.client.finish()
        self.client.inbox.clear()
        end = self.engine.loop.time() + self.engine.limits.linger_s
        left = self.engine.limits.drain_octets
        while left > 0 and not self.client.ended:
            data = self.client.receive()
            if data is None:
                rest = end - self.engine.loop.time()
                if rest <= 0:
                    return
                await Wait(self.events(READ, None, 0), timeout=rest)
            else:
                left -= len(data)

    # --- the story ---

    async def _serve(self) -> None:
        """Answer request after request."""
        self.deadline_in(self.engine.limits.first_octet_s)
        try:
            if self.engine.counters.active > self.engine.limits.clients:
                await self.answer(BUSY, None, keep_alive=False)
                return
            while await self._serve_one() and not self.engine.closing:
                self.deadline_in(self.engine.limits.idle_s)
        except (ClientGoneError, OSError):
            # Gone, or too slow: there is nobody to tell. (TimeoutError is an OSError.)
            pass

    async def _serve_one(self) -> bool:
        """Answer one request. Return whether another one may follow."""
        try:
            plan = await self._next_plan()
        except MessageError as error:
            page = refused_request(error.status, str(error))
            return await self.answer(page, None, keep_alive=False)
        except TimeoutError:
            if not self.head_started:
                return False
            page = refused_request(408, "it did not come to an end in time")
            return await self.answer(page, None, keep_alive=False)
        if plan is None:
            return False
        self.strand.deadline = None
        self.between = False
        if plan is self.shortcut.plan:
            return await self._go_on_from_shortcut(plan)
        if plan.page is not None:
            return await self.answer(plan.page, plan.request, keep_alive=False)
        return await Exchange(self, plan).run()

    async def _go_on_from_shortcut(self, plan: Plan) -> bool:
        """Take over a request that was sent on the short way and is not answered yet."""
        self.shortcut.plan = None
        return await Exchange(self, plan, sent=self.upstream).run()

    async def _next_plan(self) -> Plan | None:
        """Return the next request; None if the client sends no more.

        Raises:
            MessageError: It is not HTTP, too long, or ends in the middle.
            TimeoutError: It did not come in time.
        """
        client = self.client
        self.head_started = False
        self.between = True
        seen = 0
        if self._served and not client.inbox:
            # Looking before something is said to be there costs as much as reading it. A new
            # connection is another matter: its first request has mostly come with it.
            await self._wait_for_client()
        self._served = True
        while True:
            if self.undelivered:
                rest, self.undelivered = self.undelivered, b""
                await self.deliver(rest)
                self.deadline_in(self.engine.limits.idle_s)
            if self.shortcut.plan is not None:
                return self.shortcut.plan
            if client.inbox:
                end = find_head(client.inbox, seen=seen)
                if end is not None:
                    head = bytes(client.inbox[:end])
                    del client.inbox[:end]
                    return self._plan(head)
                seen = len(client.inbox)
                if not self.head_started:
                    self.head_started = True
                    self.deadline_in(self.engine.limits.head_s)
            if client.ended:
                if client.inbox:
                    raise MessageError(400, "it ends in the middle of its head")
                return None
            data = client.receive()
            if data is None:
                await self._wait_for_client()
            elif data:
                plan = None if client.inbox else self.engine.plans.get(data)
                if plan is not None:
                    return plan
                client.inbox += data

    def _plan(self, head: bytes) -> Plan:
        """Read a head.

        Raises:
            MessageError: It is not one of a request that a proxy is sent.
        """
        request = parse_request(head)
        plan = Plan(request, self._own_answer(request))
        self.engine.plans.keep(head, plan, len(head))
        return plan

    async def _wait_for_client(self) -> None:
        """Wait until the client sends; an upstream that says something unasked is dropped
        meanwhile."""
        self.is_resting = not self.client.inbox
        try:
            woken = await self.pair_wait()
        finally:
            self.is_resting = False
        if self.shortcut.plan is not None:
            return
        if woken != self.client.descriptor and self.upstream and not self.upstream.is_quiet():
            self.drop_upstream()

    def _own_answer(self, request: Request) -> Page | None:
        """Return the answer to a request that is not passed on; None if it is."""
        if request.target.form is Form.ORIGIN or request.target.form is Form.ASTERISK:
            return NOT_A_PROXY_REQUEST
        if request.method == b"TRACE":
            # The last stop may send it back with our credentials (RFC 9110, section 9.3.8).
            return Page(405, "TRACE is not passed on", "It could reveal your sign-in.", allow="GET")
        if self.engine.is_loop(request):
            return LOOP
        if request.ends_here:
            return LAST_STOP
        return None
