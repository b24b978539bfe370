"""An executor for the works of proxy.py on an event loop, without polling and without threads.

The `Threadless` executor of proxy.py sleeps 25 ms at a time and asks every work for its events in
each iteration, which takes 12 % of a core with 1,000 idle tunnels. This executor keeps the life
cycle of a work (`create`, `initialize`, `is_inactive`, `shutdown`). A work registers its
descriptors itself (`trayproxy.engine.net.poller`), so an event costs time only for its own work.
"""

import argparse
import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Protocol

from trayproxy.desktop.socket_owner.base import Endpoint
from trayproxy.engine.net.fd_task import READ
from trayproxy.engine.net.poller import Poller
from trayproxy.engine.proxy_py import (
    LocalFdExecutor,
    NonBlockingQueue,
    without_upstream_connections,
)

logger = logging.getLogger(__name__)

MAX_ACCEPTS_PER_EVENT = 64
"""Maximum number of connections accepted per event of a listener."""
SWEEP_S = 1.0
"""Interval of the check for passed deadlines, in seconds. It runs only while there are works."""
ACCEPT_PAUSE_S = 1.0
"""How long accepting pauses when the system is out of descriptors or memory, in seconds."""


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
    """Return whether accept has failed because the client has already disconnected. The next
    connection can then be accepted.

    Linux returns pending errors of the connection (accept(2)); Windows returns WSAECONNRESET for a
    connection that was reset (accept in the Winsock documentation), and wine returns WSAENOTCONN.
    """
    return isinstance(error, ConnectionError) or error.errno in _CLIENT_LEFT


OnAcceptError = Callable[[OSError, socket.socket, Endpoint | None, Any], bool]


class LoopWork(Protocol):
    """A work of this executor: the methods of proxy.py's `Work`, and further methods. Its `uid`
    identifies the work in the log."""

    uid: str

    def initialize(self) -> None:
        """Start the work. It registers with the poller, and calls `LoopExecutor.finish` at its
        end."""

    def is_inactive(self) -> bool:
        """Return whether the deadline of the work has passed."""

    def time_out(self) -> None:
        """Close the work, or let it answer its client, because its deadline has passed."""

    @property
    def is_idle(self) -> bool:
        """True if the work is between two requests."""

    def shutdown(self) -> None:
        """Release all resources of the work."""


class LoopExecutor(LocalFdExecutor):
    """An executor on an asyncio or uvloop event loop.

    The id of a work is the descriptor of its client socket.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        flags: argparse.Namespace,
        poller: Poller,
        on_sweep: Callable[[], None] = lambda: None,
        on_accept_error: OnAcceptError = lambda error, listener, local, use: False,
    ) -> None:
        """Create an executor without listeners.

        Args:
            on_sweep: Called once a second while there are works.
            on_accept_error: Called with the error, the listener, its address and its `use` when
                accept fails. Returns True if the client was answered; otherwise accepting pauses.
        """
        with without_upstream_connections():
            super().__init__(iid="trayproxy", work_queue=NonBlockingQueue(), flags=flags)
        self._on_sweep = on_sweep
        self._on_accept_error = on_accept_error
        self._loop = loop  # Returned by the `loop` property of proxy.py.
        self._event_loop = loop
        self._poller = poller
        self._is_empty: asyncio.Event | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._listeners: dict[int, tuple[socket.socket, Endpoint | None, Any]] = {}
        self._pause_timer: asyncio.TimerHandle | None = None

    # --- accepting ---

    def add_listener(self, listener: socket.socket, use: Any = None) -> None:
        """Start to accept connections from a listening, non-blocking socket.

        `use` is the last argument of the works' `create` for these connections.
        """
        host, port = listener.getsockname()[:2]
        # A listener on all addresses does not know the local address of a connection.
        local = None if ip_address(host).is_unspecified else (host, port)
        self._listeners[listener.fileno()] = listener, local, use
        self._poller.register(listener.fileno(), READ, self._accept)

    def remove_listener(self, listener: socket.socket) -> None:
        """Stop accepting from one socket. Open connections are not affected."""
        self._poller.unregister(listener.fileno())
        del self._listeners[listener.fileno()]

    def stop_accepting(self) -> None:
        """Stop accepting from all sockets. Open connections are not affected."""
        if self._pause_timer is not None:
            self._pause_timer.cancel()
            self._pause_timer = None
        for descriptor in self._listeners:
            self._poller.unregister(descriptor)
        self._listeners.clear()

    def _accept(self, descriptor: int, mask: int) -> None:
        listener, local, use = self._listeners[descriptor]
        for _ in range(MAX_ACCEPTS_PER_EVENT):
            try:
                connection, address = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if is_client_gone(error):
                    continue
                # The system is out of descriptors or memory, or has another persistent error:
                # do not retry immediately.
                if not self._on_accept_error(error, listener, local, use):
                    self._pause_accepting(error)
                return
            try:
                self.work(connection.fileno(), address, connection, local, use)
            except Exception:
                logger.exception("an accepted connection could not be served")
                connection.close()

    def _pause_accepting(self, error: OSError) -> None:
        """Stop accepting for `ACCEPT_PAUSE_S`. New connections stay in the backlog meanwhile."""
        logger.warning("accepting connections paused: %s", error.strerror)
        for descriptor in self._listeners:
            self._poller.register(descriptor, 0, self._accept)
        self._pause_timer = self._event_loop.call_later(ACCEPT_PAUSE_S, self._resume_accepting)

    def _resume_accepting(self) -> None:
        self._pause_timer = None
        try:
            for descriptor in self._listeners:
                self._poller.register(descriptor, READ, self._accept)
        except OSError as error:
            self._pause_accepting(error)  # The system is still out of memory.

    # --- working ---

    def _work(self, work_id: int) -> LoopWork:
        work: LoopWork = self.works[work_id]  # type: ignore[assignment]  # flags.work_klass is ours
        return work

    def work(self, *args: Any) -> None:
        """Create and initialize a work from a descriptor, an address and a connection, as in
        proxy.py, followed by further arguments of the work's `create`."""
        work_id, address, connection, *more = args
        kind = self.flags.work_klass
        work = kind(kind.create(connection, address, *more), self.flags, uid=str(self._total))
        self.works[work_id] = work
        self._total += 1
        try:
            work.initialize()
        except Exception:
            logger.exception("connection %s could not be initialized", work.uid)
            self.finish(work_id)
        if self._sweeper is None and self.works:
            self._sweeper = self._event_loop.call_later(SWEEP_S, self._sweep)

    # --- ending ---

    def finish(self, work_id: int) -> None:
        """Remove a work, and shut it down."""
        work = self.works.pop(work_id)
        try:
            work.shutdown()
        except Exception:
            logger.exception("connection %s failed to shut down", work.uid)
        if self._is_empty is not None and not self.works:
            self._is_empty.set()

    def _sweep(self) -> None:
        self._sweeper = self._event_loop.call_later(SWEEP_S, self._sweep) if self.works else None
        self._on_sweep()
        late = [work_id for work_id, work in self.works.items() if work.is_inactive()]
        for work_id in late:
            if work_id in self.works:  # The timeout of another work may have finished this work.
                self._work(work_id).time_out()

    def end_idle(self) -> None:
        """Finish all idle works."""
        for work_id in list(self.works):
            if self._work(work_id).is_idle:
                self.finish(work_id)

    def end_oldest_idle(self) -> None:
        """Finish the idle work that was accepted first, if there is one."""
        for work_id in self.works:
            if self._work(work_id).is_idle:
                self.finish(work_id)
                return

    async def wait_until_empty(self) -> None:
        """Wait until the last work is finished."""
        self._is_empty = asyncio.Event()
        if self.works:
            await self._is_empty.wait()

    def close(self) -> None:
        """Stop accepting, and finish every work."""
        self.stop_accepting()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for work_id in list(self.works):
            self.finish(work_id)
