"""proxy.py's executor on a real event loop: O(ready), no polling, no thread.

The stock `Threadless` executor sleeps 25 ms at a time and asks every work for its events on every
turn: 12 % of a core beside 1,000 idle tunnels. This one keeps the life of a work (`create`,
`initialize`, `is_inactive`, `shutdown`) and asks nobody for events: a work says itself which
descriptors it waits for, and hears of those alone (`trayproxy.engine.net.poller`).
"""

import argparse
import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Protocol

from proxy.common.backports import NonBlockingQueue
from proxy.core.work.fd import LocalFdExecutor

from trayproxy.desktop.socket_owner.base import Endpoint
from trayproxy.engine.net.fd_task import READ
from trayproxy.engine.net.poller import Poller
from trayproxy.engine.proxy_py import without_upstream_connections

logger = logging.getLogger(__name__)

MAX_ACCEPTS_PER_EVENT = 64
"""How many connections are accepted before the others get their turn."""
SWEEP_S = 1.0
"""How often works are asked whether they have waited for too long; never while there are none."""
ACCEPT_PAUSE_S = 1.0
"""How long not to accept when that fails: the system is out of descriptors or memory."""


_CLIENT_LEFT = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNABORTED",
        "ECONNRESET",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETUNREACH",
        "ENONET",
        "ENOPROTOOPT",
        "ENOTCONN",
        "EPROTO",
        "ETIMEDOUT",
    )
    if hasattr(errno, name)
)


def is_client_gone(error: OSError) -> bool:
    """Return whether accepting has failed because the connection has ended already.

    It is gone from the queue, and the next one can be accepted. Linux passes on the errors of the
    connection (accept(2)); Windows says WSAECONNRESET of one that was reset (accept in the Winsock
    documentation), and wine WSAENOTCONN.
    """
    return isinstance(error, ConnectionError) or error.errno in _CLIENT_LEFT


OnAcceptError = Callable[[OSError, socket.socket, Endpoint | None], bool]


class LoopWork(Protocol):
    """A `Work` with what this executor uses beyond proxy.py's contract.

    Attributes:
        uid: Its name in the log.
    """

    uid: str

    def initialize(self) -> None:
        """Begin. What it waits for it says to the descriptors, and when it is over to `finish`."""

    def is_inactive(self) -> bool:
        """Whether it has waited for too long."""

    def time_out(self) -> None:
        """Do something about that."""

    @property
    def is_idle(self) -> bool:
        """Whether it is between two requests."""

    def shutdown(self) -> None:
        """Close what it holds."""


class LoopExecutor(LocalFdExecutor):
    """Runs works on an asyncio or uvloop event loop.

    A work's id is the descriptor of its client socket.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        flags: argparse.Namespace,
        poller: Poller,
        on_sweep: Callable[[], None] = lambda: None,
        on_accept_error: OnAcceptError = lambda error, listener, local: False,
    ) -> None:
        """Make one that accepts nothing yet.

        Args:
            loop: Keeps its times.
            flags: proxy.py's.
            poller: Tells when there is something to accept.
            on_sweep: Called once a second while there are works.
            on_accept_error: Called when a connection cannot be accepted, with the error, the listener and
                its address; returns whether its program was told so. If not, accepting pauses.
        """
        with without_upstream_connections():
            super().__init__(iid="trayproxy", work_queue=NonBlockingQueue(), flags=flags)
        self._on_sweep = on_sweep
        self._on_accept_error = on_accept_error
        self._loop = loop  # What proxy.py's `loop` property returns.
        self._event_loop = loop
        self._poller = poller
        self._is_empty: asyncio.Event | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._listeners: dict[int, tuple[socket.socket, Endpoint | None]] = {}
        self._pause_timer: asyncio.TimerHandle | None = None

    # --- accepting ---

    def add_listener(self, listener: socket.socket) -> None:
        """Accept connections from a listening, non-blocking socket until `stop_accepting`."""
        host, port = listener.getsockname()[:2]
        # One that listens at every address does not know at which it was found.
        local = None if ip_address(host).is_unspecified else (host, port)
        self._listeners[listener.fileno()] = listener, local
        self._poller.register(listener.fileno(), READ, self._accept)

    def remove_listener(self, listener: socket.socket) -> None:
        """Accept no more from this socket; connections that are open go on."""
        self._poller.unregister(listener.fileno())
        del self._listeners[listener.fileno()]

    def stop_accepting(self) -> None:
        """Accept no more; connections that are open go on."""
        if self._pause_timer is not None:
            self._pause_timer.cancel()
            self._pause_timer = None
        for descriptor in self._listeners:
            self._poller.unregister(descriptor)
        self._listeners.clear()

    def _accept(self, descriptor: int, mask: int) -> None:
        listener, local = self._listeners[descriptor]
        for _ in range(MAX_ACCEPTS_PER_EVENT):
            try:
                connection, address = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if is_client_gone(error):
                    continue
                # Out of descriptors or memory, or whatever else there is: it does not help to ask
                # again at once, and the other connections go on.
                if not self._on_accept_error(error, listener, local):
                    self._pause_accepting(error)
                return
            try:
                self.work(connection.fileno(), address, connection, local)
            except Exception:
                logger.exception("a connection could not be served")
                connection.close()

    def _pause_accepting(self, error: OSError) -> None:
        """Leave new connections in the backlog for a while: retrying at once would spin."""
        if self._pause_timer is not None:
            return  # The other listener has noticed in the same turn.
        logger.warning("cannot accept connections for now: %s", error.strerror)
        for descriptor in self._listeners:
            self._poller.register(descriptor, 0, self._accept)
        self._pause_timer = self._event_loop.call_later(ACCEPT_PAUSE_S, self._resume_accepting)

    def _resume_accepting(self) -> None:
        self._pause_timer = None
        try:
            for descriptor in self._listeners:
                self._poller.register(descriptor, READ, self._accept)
        except OSError as error:
            self._pause_accepting(error)  # What was too little to accept is too little to watch.

    # --- working ---

    def _work(self, work_id: int) -> LoopWork:
        work: LoopWork = self.works[work_id]  # type: ignore[assignment]  # flags.work_klass is ours
        return work

    def work(self, *args: Any) -> None:
        """Create and start a work from a descriptor, an address and a connection, as proxy.py
        does, and what else `create` of the work takes."""
        work_id, address, connection, *more = args
        kind = self.flags.work_klass
        work = kind(kind.create(connection, address, *more), self.flags, uid=str(self._total))
        self.works[work_id] = work
        self._total += 1
        try:
            work.initialize()
        except Exception:
            logger.exception("connection %s did not begin", work.uid)
            self.finish(work_id)
        if self._sweeper is None and self.works:
            self._sweeper = self._event_loop.call_later(SWEEP_S, self._sweep)

    # --- ending ---

    def finish(self, work_id: int) -> None:
        """End a work."""
        work = self.works.pop(work_id)
        try:
            work.shutdown()
        except Exception:
            logger.exception("connection %s did not end cleanly", work.uid)
        if self._is_empty is not None and not self.works:
            self._is_empty.set()

    def _sweep(self) -> None:
        self._sweeper = self._event_loop.call_later(SWEEP_S, self._sweep) if self.works else None
        self._on_sweep()
        late = [work_id for work_id, work in self.works.items() if work.is_inactive()]
        for work_id in late:
            if work_id in self.works:  # Another one's end may have been its end, too.
                self._work(work_id).time_out()

    def end_idle(self) -> None:
        """End the works that are between two requests."""
        for work_id in list(self.works):
            if self._work(work_id).is_idle:
                self.finish(work_id)

    async def wait_until_empty(self) -> None:
        """Wait until the last work has ended."""
        self._is_empty = asyncio.Event()
        if self.works:
            await self._is_empty.wait()

    def close(self) -> None:
        """End every work at once."""
        self.stop_accepting()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for work_id in list(self.works):
            self.finish(work_id)
