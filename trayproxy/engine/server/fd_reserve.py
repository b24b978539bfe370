"""A descriptor kept for the moment when there are no more: to say so, instead of nothing.

A program whose connection is not accepted sees it open all the same, sends its request and waits.
With the reserve given up for a moment it is accepted, told to come again, and let go.
"""

import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from trayproxy.desktop.socket_owner.base import Endpoint
from trayproxy.engine.error_pages import BUSY, write_page
from trayproxy.engine.net.resource_shortage import NO_DESCRIPTORS
from trayproxy.engine.server.executor import is_client_gone

logger = logging.getLogger(__name__)

_MOST_READ = 65_536
_LOG_EVERY_S = 60.0

Admits = Callable[[socket.SocketType, tuple[Any, ...], Endpoint | None], bool]
"""Whether to talk to a connection at all: `AccessControl.admits`."""


class DescriptorReserve:
    """One descriptor that stands for nothing."""

    def __init__(
        self,
        admits: Admits,
        refuse: Callable[[socket.SocketType], None],
        address: Callable[[], str],
    ) -> None:
        """Keep one.

        Args:
            admits: Decides who is told to come again.
            refuse: Answers those who are not let in; raises OSError if they have left.
            address: Returns our own, for the page that says it.
        """
        self._admits = admits
        self._refuse = refuse
        self._address = address
        self._descriptor: int | None = None
        self._logged = -_LOG_EVERY_S
        self._open()

    def refuse_client(
        self, error: OSError, listener: socket.socket, local: Endpoint | None
    ) -> bool:
        """Accept the next connection only to tell its program to come again.

        Args:
            error: Why it cannot be served.
            listener: Where it waits.
            local: Our end of it, if the listener has just this one.

        Returns:
            False if nothing can be done but wait.
        """
        if error.errno not in NO_DESCRIPTORS:
            return False
        if self._descriptor is None:
            self._open()
            if self._descriptor is None:
                return False
        self.close()
        try:
            connection, peer = listener.accept()
        except BlockingIOError:
            return True  # Nobody is there: the system misses the descriptor before it looks.
        except OSError as failure:
            return is_client_gone(failure)
        else:
            # Before anybody looks whether something has come.
            connection.setblocking(False)
            try:
                if self._admits(connection, peer, local):
                    self._send_busy_page(connection, error)
                else:
                    with suppress(OSError):
                        self._refuse(connection)
                        # There is no descriptor to keep: what is unread would reset it at once.
                        connection.recv(_MOST_READ)
            finally:
                connection.close()
            return True
        finally:
            self._open()

    def _send_busy_page(self, connection: socket.SocketType, error: OSError) -> None:
        now = monotonic()
        if now - self._logged >= _LOG_EVERY_S:
            self._logged = now
            logger.warning("programs are told to come again: %s", error.strerror)
        page = write_page(BUSY, address=self._address(), host="", keep_alive=False, with_body=True)
        with suppress(OSError):
            # What is unread when a connection closes takes the answer with it (RFC 9112, 9.6).
            connection.recv(_MOST_READ)
        with suppress(OSError):
            connection.send(page)
            connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Give it up."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> None:
        """Keep one, if there is one."""
        with suppress(OSError):
            self._descriptor = os.open(os.devnull, os.O_RDONLY)
