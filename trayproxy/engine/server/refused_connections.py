"""Answers connections refused by access control with a 403 and its reason.

The response is fixed. It is written before any octet of the connection is read, and nothing is read
afterwards. Closing a connection that has unread octets resets it, and the reset may discard the
response before the client has read it (RFC 9112, section 9.6). So the connection stays open for a
moment after the response; a client closes the connection itself after reading the response.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from trayproxy.engine.error_pages import NOT_ALLOWED, ErrorPage, write_page
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.server.access_control import Inquiry

CLIENTS_PER_REFUSED_CONNECTION = 16
"""One refused connection is kept open per this number of permitted clients."""


@dataclass(slots=True)
class _Kept:
    """A refused connection, kept open for a moment.

    Attributes:
        page: The response.
        until: When to close the connection, in the event loop's time.
        is_answered: Whether the response was written.
    """

    connection: socket.SocketType
    page: ErrorPage
    until: float
    is_answered: bool


class RefusedConnections:
    """Answers refused connections, and closes each of them a moment later."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: EngineLimits,
        address: Callable[[socket.SocketType], str],
    ) -> None:
        """Create an instance without connections.

        Args:
            limits: How long a connection is kept; the number of clients determines how many are.
            address: Returns the address of TrayProxy for a connection, for the error page.
        """
        self._loop = loop
        self._wait_s = limits.linger_s
        self._most = min(64, max(1, limits.max_clients // CLIENTS_PER_REFUSED_CONNECTION))
        self._address = address
        self._written: tuple[str, ErrorPage | None, bytes] = "", None, b""
        self._kept: deque[_Kept] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return how many connections are kept open now."""
        return len(self._kept)

    def answer(self, connection: socket.SocketType, page: ErrorPage = NOT_ALLOWED) -> None:
        """Write the response to a connection without reading from it and without blocking. Raise
        `OSError` if the client has disconnected."""
        address = self._address(connection)
        if self._written[:2] != (address, page):
            octets = write_page(page, address=address, host="", keep_alive=False, with_body=True)
            self._written = address, page, octets
        connection.send(self._written[2])  # The send buffer is empty, so the whole page fits.
        connection.shutdown(socket.SHUT_WR)

    def answer_then_close(
        self,
        connection: socket.SocketType,
        inquiry: Inquiry | None = None,
        page: ErrorPage = NOT_ALLOWED,
    ) -> None:
        """Answer a connection and take its descriptor over, unless its client has disconnected.

        Args:
            connection: A non-blocking socket. The caller closes the socket object as usual.
            inquiry: Finds out which program the client is. The response is written when the
                inquiry is done, or when the connection is closed if that comes first.
            page: The response.
        """
        pending = None if inquiry is None or inquiry.done() else inquiry
        if pending is None:
            try:
                self.answer(connection, page)
            except OSError:
                return
        if len(self._kept) >= self._most:
            self._close(self._kept.popleft())
        held = socket.SocketType(
            connection.family, connection.type, connection.proto, connection.detach()
        )
        kept = _Kept(held, page, self._loop.time() + self._wait_s, pending is None)
        self._kept.append(kept)
        if pending is not None:
            pending.add_done_callback(lambda _: self._answer_late(kept))
        if self._timer is None:
            self._timer = self._loop.call_later(self._wait_s, self._close_old)

    def _answer_late(self, kept: _Kept) -> None:
        if not kept.is_answered:
            kept.is_answered = True
            with suppress(OSError):  # The client has disconnected.
                self.answer(kept.connection, kept.page)

    def _close(self, kept: _Kept) -> None:
        self._answer_late(kept)
        kept.connection.close()

    def _close_old(self) -> None:
        now = self._loop.time()
        while self._kept and self._kept[0].until <= now:
            self._close(self._kept.popleft())
        self._timer = (
            self._loop.call_at(self._kept[0].until, self._close_old) if self._kept else None
        )

    def close(self) -> None:
        """Close all refused connections."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._kept:
            self._close(self._kept.popleft())
