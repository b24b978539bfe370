"""The service's end of the control socket, on asyncio or uvloop.

It knows the protocol and not what it means: a `Handler` does. One connection is one `Session`; its
requests run side by side, because a test of a profile takes seconds while the tray must stay quick.
"""

import asyncio
import contextlib
import logging
import socket
from typing import Any, Protocol

from trayproxy.control.address import control_address
from trayproxy.control.codec import LineSplitter, ProtocolError, decode_request, encode
from trayproxy.control.lock import InstanceLock
from trayproxy.control.messages import (
    SCHEMA,
    Done,
    Envelope,
    Event,
    Failed,
    Hello,
    Problem,
    Reply,
    Request,
    Subscribe,
)
from trayproxy.control.transport import ControlAddress, PeerCheck, UntrustedPeerError
from trayproxy.paths import Paths, make_private

MAX_SESSIONS = 64
"""A face or two are usual; every `trayproxy status` is one for a moment."""

_HELLO_TIMEOUT_S = 10.0
"""How long a connection may stay without having said who it is."""
_MAX_WRITE_BUFFER = 4 * 1024 * 1024
"""Octets that may wait for a face that does not read; then it is dropped and may come back."""
_MAX_REQUESTS = 64
"""Requests of one session at work at a time; then nothing more is read from it."""
_FLUSH_TIMEOUT_S = 1.0
"""How long `Server.close` lets last replies leave."""

logger = logging.getLogger(__name__)

_VERSION_MISMATCH = Problem(
    "TP-902",
    "The running TrayProxy is another version",
    "Quit TrayProxy and start it again.",
)
_INTERNAL_ERROR = Problem(
    "TP-903",
    "TrayProxy could not do this",
    "Something went wrong inside TrayProxy; its log file has the details.",
)


class Handler(Protocol):
    """What the requests mean. All methods are called on the event loop."""

    async def handle(self, session: "Session", request: Request) -> Reply:
        """Do what is asked; never called with `Hello`.

        While it handles `Subscribe`, events sent to the session follow the reply.
        """
        ...

    def attached(self, session: "Session") -> None:
        """A face has introduced itself."""
        ...

    def detached(self, session: "Session") -> None:
        """A face that had introduced itself has gone; its requests may still be at work."""
        ...


class Session(asyncio.Protocol):
    """One face's connection.

    Attributes:
        front_end: What the face calls itself (`messages.Hello`); empty before it did.
        can_prompt: Whether it can put questions to a person.
        pid: Its process id as it says, 0 if it did not.
        subscribed: Whether it wants events.
    """

    def __init__(self, server: "Server") -> None:
        """Wait for the connection.

        Args:
            server: Whose session this is.
        """
        self.front_end = ""
        self.can_prompt = False
        self.pid = 0
        self.subscribed = False
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._peer_check: PeerCheck | None = None
        self._lines = LineSplitter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._deferred_events: list[Event] | None = None
        self._hello_timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Session {self.front_end or 'unnamed'} pid={self.pid}>"

    def send_event(self, event: Event) -> None:
        """Send an event, if the face wants events and is still there."""
        if not self.subscribed:
            return
        if self._deferred_events is not None:
            self._deferred_events.append(event)
        else:
            self._send(Envelope(event))

    def close(self) -> None:
        """Hang up once everything sent has left."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: Any) -> None:
        """Check whose the connection is before an octet is read.

        Args:
            transport: An `asyncio.Transport`, or uvloop's, which is one without saying so.
        """
        self._transport = transport
        try:
            self._peer_check = self._server.admit(self, transport.get_extra_info("socket"))
        except UntrustedPeerError as error:
            logger.warning("refused a control connection: %s", error)
            transport.abort()
            return
        loop = asyncio.get_running_loop()
        self._hello_timer = loop.call_later(_HELLO_TIMEOUT_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Handle each complete request."""
        try:
            for line in self._lines.feed(self._complete_peer_check(data)):
                self._dispatch(*decode_request(line))
        except UntrustedPeerError as error:
            logger.warning("refused a control connection: %s", error)
            self.abort()
        except ProtocolError as error:
            logger.warning("%r: %s; closing", self, error)
            if error.number:
                self._send(Envelope(Failed(_VERSION_MISMATCH), error.number))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the face. What it has asked for is still done."""
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        self._transport = None
        self._server.remove(self)

    # The rest is ours.

    def _complete_peer_check(self, octets: bytes) -> bytes:
        if self._peer_check is None:
            return octets
        reply, rest = self._peer_check.receive(octets)
        if self._transport is not None and reply:
            self._transport.write(reply)
        if rest is None:
            return b""
        self._peer_check = None
        return rest

    def _dispatch(self, request: Request, number: int) -> None:
        # Closing takes a turn of the loop, in which more may have come.
        if self._transport is None or self._transport.is_closing():
            return
        if isinstance(request, Hello) and not self.front_end:
            self._accept_hello(request, number)
        elif isinstance(request, Hello) or not self.front_end or number < 1:
            raise ProtocolError("not what comes next", number)
        else:
            self._start_task(request, number)

    def _accept_hello(self, hello: Hello, number: int) -> None:
        if hello.schema != SCHEMA or not hello.front_end:
            raise ProtocolError("a face of another version", number)
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        self.front_end, self.can_prompt, self.pid = (
            hello.front_end[:32],
            hello.can_prompt,
            hello.pid,
        )
        self._send(Envelope(Done(), number))
        self._server.handler.attached(self)

    def _start_task(self, request: Request, number: int) -> None:
        task = asyncio.get_running_loop().create_task(self._handle(request, number))
        self._tasks.add(task)
        self._server.keep(task)
        task.add_done_callback(self._on_task_done)
        if len(self._tasks) >= _MAX_REQUESTS and self._transport is not None:
            self._transport.pause_reading()

    async def _handle(self, request: Request, number: int) -> None:
        subscribes = isinstance(request, Subscribe)
        if subscribes:
            self.subscribed, self._deferred_events = True, []
        try:
            reply = await self._server.handler.handle(self, request)
        except Exception:
            logger.exception("%s could not be handled", type(request).__name__)
            reply = Failed(_INTERNAL_ERROR)
        self._send(Envelope(reply, number))
        if subscribes:
            deferred, self._deferred_events = self._deferred_events or [], None
            for event in deferred:
                self.send_event(event)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if len(self._tasks) < _MAX_REQUESTS and self._transport is not None:
            self._transport.resume_reading()

    def _send(self, envelope: Envelope) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        try:
            line = encode(envelope)
        except ProtocolError:
            logger.exception("a %s could not be sent", type(envelope.message).__name__)
            if not envelope.number:
                return
            line = encode(Envelope(Failed(_INTERNAL_ERROR), envelope.number))
        transport.write(line)
        if transport.get_write_buffer_size() > _MAX_WRITE_BUFFER:
            logger.warning("%r does not read; dropped", self)
            transport.abort()

    def cancel(self) -> None:
        """Give up the requests at work."""
        for task in self._tasks:
            task.cancel()


class Server:
    """The control socket, and this user's only one: it is also the single-instance lock."""

    def __init__(
        self, paths: Paths, handler: Handler, address: ControlAddress | None = None
    ) -> None:
        """Name the place; nothing is opened.

        Args:
            paths: Where the socket and the lock are.
            handler: What the requests mean.
            at: The kind of address; None: what this system offers.
        """
        self.handler = handler
        self._paths = paths
        self._address = address or control_address(paths)
        self._lock = InstanceLock(paths.lock)
        self._server: asyncio.Server | None = None
        self._maintenance_timer: asyncio.TimerHandle | None = None
        self._sessions: set[Session] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._all_closed = asyncio.Event()

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The faces that have introduced themselves."""
        return tuple(session for session in self._sessions if session.front_end)

    async def start(self) -> None:
        """Take the lock and accept connections.

        Raises:
            AlreadyRunningError: Another service of this user runs.
            PathError: The runtime folder is not ours.
            OSError: The socket cannot be made.
        """
        make_private(self._paths.runtime)
        self._lock.acquire()
        try:
            self._server = await self._serve(self._address.listen())
        except BaseException:
            self._lock.release()
            raise
        self._maintain_address()

    async def close(self) -> None:
        """Stop accepting, let what was sent leave, give up the lock; harmless when not started."""
        if self._server is not None:
            self._server.close()
            self._server = None
            if self._maintenance_timer is not None:
                self._maintenance_timer.cancel()
            self._address.remove()
        for session in tuple(self._sessions):
            session.cancel()
            session.close()
        if self._sessions:
            self._all_closed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_closed.wait(), _FLUSH_TIMEOUT_S)
        for session in tuple(self._sessions):
            session.abort()
        await self._end_requests()
        self._lock.release()

    async def _end_requests(self) -> None:
        """Cancel the requests that are at work, those of faces that have left among them."""
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_FLUSH_TIMEOUT_S)

    # What the sessions call.

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold a request that is at work, also when its face has left: asyncio does not."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def admit(self, session: Session, connection: socket.socket) -> PeerCheck | None:
        """Let a connection in, or not.

        Returns:
            What it has to prove yet.

        Raises:
            UntrustedPeerError: It is not this user's, or there are too many.
        """
        if len(self._sessions) >= MAX_SESSIONS:
            raise UntrustedPeerError("too many connections")
        peer_check = self._address.check_peer(connection)
        self._sessions.add(session)
        return peer_check

    def remove(self, session: Session) -> None:
        """A connection has ended, admitted or not."""
        if session in self._sessions:
            self._sessions.discard(session)
            if session.front_end:
                self.handler.detached(session)
        if not self._sessions:
            self._all_closed.set()

    def _maintain_address(self) -> None:
        interval_s = self._address.maintain()
        if interval_s is not None:
            loop = asyncio.get_running_loop()
            self._maintenance_timer = loop.call_later(interval_s, self._maintain_address)

    async def _serve(self, listener: socket.socket) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        if listener.family == getattr(socket, "AF_UNIX", None):
            return await loop.create_unix_server(self._new_session, sock=listener)
        return await loop.create_server(self._new_session, sock=listener)

    def _new_session(self) -> Session:
        return Session(self)
