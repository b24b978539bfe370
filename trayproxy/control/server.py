"""The server side of the control protocol, on asyncio or uvloop.

The server implements the protocol; a `Handler` carries out the requests. Each connection is a
`Session`, and the requests of a session run concurrently: a profile test takes seconds, during
which the tray must stay responsive.
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
    Reply,
    Request,
    Subscribe,
)
from trayproxy.control.transport import ControlAddress, PeerCheck, UntrustedPeerError
from trayproxy.domain.problem import Problem
from trayproxy.paths import Paths, make_private

MAX_SESSIONS = 64
"""The maximum number of sessions. One or two are usual; each `trayproxy status` briefly adds
one."""

HELLO_TIMEOUT_S = 10.0
"""The time within which a new connection must send `Hello`."""
_MAX_WRITE_BUFFER = 4 * 1024 * 1024
"""The maximum buffered octets for a front end that does not read; above, the connection is
aborted, and the front end may reconnect."""
_MAX_REQUESTS = 64
"""The concurrent requests of one session; above, the session stops reading."""
_FLUSH_TIMEOUT_S = 1.0
"""The time for which `Server.close` waits until the last replies are sent."""

logger = logging.getLogger(__name__)

_VERSION_MISMATCH = Problem(
    "TP-902", "The running TrayProxy is another version", "Quit TrayProxy and start it again."
)
_INTERNAL_ERROR = Problem(
    "TP-903",
    "TrayProxy could not do this",
    "Something went wrong inside TrayProxy; its log file has the details.",
)


class Handler(Protocol):
    """Carries out requests for the server. All methods are called on the event loop."""

    async def handle(self, session: "Session", request: Request) -> Reply:
        """Carry out a request other than `Hello`, and return its reply.

        Events sent to the session are held back until the reply to `Subscribe` is sent.
        """

    def attached(self, session: "Session") -> None:
        """Handle the connection of a front end after its `Hello`."""

    def detached(self, session: "Session") -> None:
        """Handle the disconnection of a front end; its requests may still run."""


class Session(asyncio.Protocol):
    """The connection of one front end.

    Attributes:
        front_end: The kind of front end (`messages.Hello`); empty before `Hello` has arrived.
        can_prompt: True if the front end can show prompts to a person.
        pid: The process id sent by the front end, 0 if none.
        subscribed: True after `Subscribe`: events are sent to the front end.
    """

    def __init__(self, server: "Server") -> None:
        """Create a session; the event loop then calls `connection_made`."""
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
        """Send an event if the front end has subscribed and is still connected."""
        if not self.subscribed:
            return
        if self._deferred_events is not None:
            self._deferred_events.append(event)
        else:
            self._send(Envelope(event))

    def close(self) -> None:
        """Close the connection after all buffered data has been sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection immediately."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        """Check the owner of the connection before reading any octet.

        uvloop's transport does not declare the type `asyncio.Transport`.
        """
        self._transport = transport
        try:
            self._peer_check = self._server.admit(self, transport.get_extra_info("socket"))
        except UntrustedPeerError as error:
            logger.warning("refused a control connection: %s", error)
            transport.abort()
            return
        loop = asyncio.get_running_loop()
        self._hello_timer = loop.call_later(HELLO_TIMEOUT_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Store received octets, and carry out each complete request in them."""
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
        """Remove the session from the server; its requests still run to their end."""
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        self._transport = None
        self._server.remove(self)

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
        # Between close() and connection_lost(), more requests may arrive.
        if self._transport is None or self._transport.is_closing():
            return
        if isinstance(request, Hello) and not self.front_end:
            self._accept_hello(request, number)
        elif isinstance(request, Hello) or not self.front_end or number < 1:
            raise ProtocolError("an unexpected message", number)
        else:
            self._start_task(request, number)

    def _accept_hello(self, hello: Hello, number: int) -> None:
        if hello.schema != SCHEMA or not hello.front_end:
            raise ProtocolError("a front end of another version", number)
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        self.front_end, self.can_prompt = hello.front_end[:32], hello.can_prompt
        self.pid = hello.pid
        self._send(Envelope(Done(), number))
        self._server.handler.attached(self)

    def _start_task(self, request: Request, number: int) -> None:
        task = asyncio.get_running_loop().create_task(self._handle(request, number))
        self._tasks.add(task)
        self._server.track(task)
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
            logger.warning("%r does not read; aborted its connection", self)
            transport.abort()

    def cancel(self) -> None:
        """Cancel the running requests of this session."""
        for task in self._tasks:
            task.cancel()


class Server:
    """The server of the control socket. It also holds the single-instance lock of this user."""

    def __init__(
        self, paths: Paths, handler: Handler, address: ControlAddress | None = None
    ) -> None:
        """Set the paths, the handler and the address, by default this system's; open no socket."""
        self.handler = handler
        self._paths = paths
        self._address = address or control_address(paths)
        self._lock = InstanceLock(paths.lock)
        self._server: asyncio.Server | None = None
        self._maintenance_timer: asyncio.TimerHandle | None = None
        self._sessions: set[Session] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._all_closed = asyncio.Event()

    async def start(self) -> None:
        """Acquire the instance lock and accept connections.

        Raises:
            AlreadyRunningError: Another service of this user is running.
            PathError: The runtime folder belongs to another user.
            OSError: The socket cannot be created.
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
        """Close the listener and the sessions, and release the lock; harmless before `start`."""
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
        """Cancel the running requests, including requests of disconnected front ends."""
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_FLUSH_TIMEOUT_S)

    # Called by the sessions.

    def track(self, task: asyncio.Task[None]) -> None:
        """Hold a reference to a running request until its end: asyncio holds none, and its session
        may end earlier."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def admit(self, session: Session, connection: socket.socket) -> PeerCheck | None:
        """Register a session, and return the remaining check of its connection, None if none.

        Raises:
            UntrustedPeerError: The connection belongs to another user, or there are too many
                sessions.
        """
        if len(self._sessions) >= MAX_SESSIONS:
            raise UntrustedPeerError("too many connections")
        peer_check = self._address.check_peer(connection)
        self._sessions.add(session)
        return peer_check

    def remove(self, session: Session) -> None:
        """Remove a session after its connection has closed, admitted or not."""
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
            return await loop.create_unix_server(lambda: Session(self), sock=listener)
        return await loop.create_server(lambda: Session(self), sock=listener)
