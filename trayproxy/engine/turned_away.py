"""Telling the programs that the guard refuses why they are refused.

The answer is written before an octet of the connection is read, and nothing of it is read later: it
is the same for everybody. A connection that is closed while octets of its client are unread is
reset, and the reset may take the answer with it (RFC 9112, section 9.6). So our end is kept for a
moment after the answer; a client that has its answer leaves by itself.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from trayproxy.engine.guard import Inquiry
from trayproxy.engine.limits import Limits
from trayproxy.engine.pages import NOT_ALLOWED, write_page

CLIENTS_A_PLACE = 16
"""Of so many clients that may be connected, one that was refused may be waited for."""


@dataclass(slots=True)
class _Kept:
    """A connection that is kept.

    Attributes:
        connection: The connection.
        until: When to close it, in the loop's time.
        is_answered: Whether its answer was written.
    """

    connection: socket.SocketType
    until: float
    is_answered: bool


class TurnedAway:
    """Answers connections that are refused, and closes them a little later."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limits: Limits, address: Callable[[], str]
    ) -> None:
        """Begin without connections.

        Args:
            loop: Keeps the time.
            limits: How long to keep a connection, and by the number of clients how many.
            address: Returns our own address, for the page.
        """
        self._loop = loop
        self._wait_s = limits.linger_s
        self._most = min(64, max(1, limits.clients // CLIENTS_A_PLACE))
        self._address = address
        self._page = "", b""
        self._kept: deque[_Kept] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return how many connections are kept now."""
        return len(self._kept)

    def answer(self, connection: socket.SocketType) -> None:
        """Write the answer to a connection, without reading from it or waiting.

        Raises:
            OSError: Its client has left.
        """
        address = self._address()
        if self._page[0] != address:
            page = write_page(
                NOT_ALLOWED, address=address, host="", keep_alive=False, with_body=True
            )
            self._page = address, page
        connection.send(self._page[1])  # Into a buffer that is empty: it takes all.
        connection.shutdown(socket.SHUT_WR)

    def take(self, connection: socket.SocketType, inquiry: Inquiry | None = None) -> None:
        """Answer a connection, and take it from its socket object unless its client has left.

        Args:
            connection: Non-blocking. What the object holds afterwards is to be closed as usual.
            inquiry: What to wait for before it is answered, if it does not take too long.
        """
        is_answered = inquiry is None or inquiry.done()
        if is_answered:
            try:
                self.answer(connection)
            except OSError:
                return
        if len(self._kept) >= self._most:
            self._close(self._kept.popleft())
        held = socket.SocketType(
            connection.family, connection.type, connection.proto, connection.detach()
        )
        kept = _Kept(held, self._loop.time() + self._wait_s, is_answered)
        self._kept.append(kept)
        if inquiry is not None and not is_answered:
            inquiry.add_done_callback(lambda _: self._answer_late(kept))
        if self._timer is None:
            self._timer = self._loop.call_later(self._wait_s, self._close_old)

    def _answer_late(self, kept: _Kept) -> None:
        if not kept.is_answered:
            kept.is_answered = True
            with suppress(OSError):  # Its client has left.
                self.answer(kept.connection)

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
        """Close all connections that are kept."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._kept:
            self._close(self._kept.popleft())
