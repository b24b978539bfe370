"""A reserved file descriptor.

When accept fails with EMFILE, the reserved descriptor is closed, so that one client can be accepted
and answered with 503. Without the answer the client would hang: its connection is established by
the kernel, and the client sends its request and waits.
"""

import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from trayproxy.desktop.socket_owner.base import Endpoint
from trayproxy.engine.error_pages import BUSY, ErrorPage, write_page
from trayproxy.engine.net.resource_shortage import NO_DESCRIPTORS
from trayproxy.engine.server.executor import is_client_gone
from trayproxy.engine.server.listener_use import ListenerUse

logger = logging.getLogger(__name__)

_MOST_READ = 65_536
_LOG_EVERY_S = 60.0


class DescriptorReserve:
    """Reserves a descriptor, and uses it to answer a client when no other descriptor is left."""

    def __init__(
        self,
        refuse: Callable[[socket.SocketType, ErrorPage], None],
        address: Callable[[], str],
        end_idle: Callable[[], None] = lambda: None,
    ) -> None:
        """Open the reserved descriptor.

        Args:
            refuse: Answers an unserved connection; raises OSError if the client has disconnected.
            address: Returns the local address of TrayProxy, for the error page.
            end_idle: Closes an idle client connection, if there is one, to free its descriptor.
        """
        self._refuse = refuse
        self._address = address
        self._end_idle = end_idle
        self._descriptor: int | None = None
        self._logged = -_LOG_EVERY_S
        self._open()

    def refuse_client(
        self, error: OSError, listener: socket.socket, local: Endpoint | None, use: ListenerUse
    ) -> bool:
        """Accept the next connection, answer it with 503 and close it. Return False if the client
        could not be answered, so that accepting must pause."""
        if error.errno not in NO_DESCRIPTORS:
            return False
        if self._descriptor is None:
            self._open()
        if self._descriptor is None:
            # Something else, such as the resolver in its thread, has taken the descriptor between
            # `close` and `_open`. Without a reserve, no client would be answered until one leaves.
            self._end_idle()
            self._open()
        if self._descriptor is None:
            return False
        self.close()
        try:
            connection, peer = listener.accept()
        except BlockingIOError:
            return True  # No connection is pending: the system checks for a free descriptor first.
        except OSError as failure:
            return is_client_gone(failure)
        else:
            # Access control reads without blocking.
            connection.setblocking(False)
            try:
                is_admitted = use.access_control.admits(connection, peer, local)
                if use.target is not None:
                    pass  # The client of a fixed forward does not speak HTTP.
                elif is_admitted:
                    self._send_busy_page(connection, error)
                else:
                    with suppress(OSError):
                        self._refuse(connection, use.access_control.refusal)
                        # Unread data would reset the connection when it is closed immediately.
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
            logger.warning("out of descriptors, clients are answered with 503: %s", error.strerror)
        page = write_page(BUSY, address=self._address(), host="", keep_alive=False, with_body=True)
        with suppress(OSError):
            # Unread data at close causes a reset, which destroys the response (RFC 9112, 9.6).
            connection.recv(_MOST_READ)
        with suppress(OSError):
            connection.send(page)
            connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the reserved descriptor."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> None:
        """Open the reserved descriptor, unless the system has no descriptor left."""
        with suppress(OSError):
            self._descriptor = os.open(os.devnull, os.O_RDONLY)
