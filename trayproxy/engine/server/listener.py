"""The listening sockets of the engine."""

import argparse
import logging
import socket
from ipaddress import ip_address
from typing import Any

from trayproxy.desktop.socket_owner.base import Endpoint
from trayproxy.engine.context import OwnAddress, format_address
from trayproxy.engine.net.socket_stream import disable_pacing
from trayproxy.engine.proxy_py import TcpSocketListener
from trayproxy.engine.server.executor import LoopExecutor
from trayproxy.engine.server.listener_use import ListenerUse

logger = logging.getLogger(__name__)

OTHER_LOOPBACK = {"127.0.0.1": "::1", "::1": "127.0.0.1"}
"""Also listen on ``::1`` when listening on ``127.0.0.1``, and vice versa: clients may resolve
``localhost`` to either address, and no other program should receive their connections."""


class ListeningSocket(socket.socket):
    """A listening socket; accepted sockets get its family and type.

    `socket.socket.accept` determines family and type for each connection, which takes as long as
    the accept call itself.
    """

    def __init__(self, family: socket.AddressFamily) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._kind = family, socket.SOCK_STREAM

    def accept(self) -> tuple[socket.SocketType, Any]:  # type: ignore[override]
        """Return an accepted connection and the address of its peer. Raise `OSError` if no
        connection is pending, or a resource of the system is exhausted."""
        descriptor, address = self._accept()  # type: ignore[attr-defined]  # as its super does
        return socket.SocketType(*self._kind, 0, descriptor), address


class Listener(TcpSocketListener):
    """The listener of proxy.py, bound exclusively: no other program can bind the same port."""

    def listen(self) -> socket.socket:
        """Return a listening, non-blocking socket.

        On Windows, SO_REUSEADDR, which proxy.py sets on every system, lets a second program bind
        the same port and accept TrayProxy's clients; SO_EXCLUSIVEADDRUSE prevents this (Winsock
        documentation). On other systems SO_REUSEADDR only allows binding a port with connections in
        TIME_WAIT.

        Raises:
            OSError: The address is in use or does not belong to this computer.
        """
        family = socket.AF_INET6 if self.hostname.version == 6 else socket.AF_INET
        listening = ListeningSocket(family)
        # The method of proxy.py leaves its socket open when an option or bind fails.
        try:
            exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
            listening.setsockopt(socket.SOL_SOCKET, exclusive, 1)
            # Accepted connections inherit these options (tcp(7), accept in the Winsock
            # documentation), which saves a call for each connection.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.hostname.is_loopback:
                disable_pacing(listening)
            listening.bind((str(self.hostname), self.port))
            listening.listen(self.flags.backlog)
            listening.setblocking(False)
        except OSError:
            listening.close()
            raise
        return listening


class Listeners:
    """The main listener of the engine, its listener on the other loopback address, and further
    listeners.

    The port of the engine's own address is updated when the port changes.
    """

    def __init__(
        self,
        executor: LoopExecutor,
        flags: argparse.Namespace,
        own_address: OwnAddress,
        use: ListenerUse,
    ) -> None:
        """Create an instance without listeners; `use` is for the own address."""
        self._executor = executor
        self._flags = flags
        self._own_address = own_address
        self._use = use
        self._listeners: list[Listener] = []
        self._others: dict[Endpoint, Listener] = {}
        self._has_other_loopback = False

    def listen(self, port: int | None = None) -> None:
        """Start to accept connections on this port; None for the port of the own address. Raise
        `OSError` if the address is in use or does not belong to this computer."""
        own = self._own_address
        if port is not None:
            own.port = port
        own.port = self._listen_on_own(own.host, own.port)
        if taken := self.listen_on_other_loopback():
            logger.warning("not listening on %s: another program has this address", taken)

    def move(self, port: int) -> None:
        """Listen on another port instead. Open client connections are not affected.

        Raises:
            OSError: The address is in use. The old port is still listened on.
        """
        before = self._listeners, self._has_other_loopback, self._own_address.port
        self._listeners, self._has_other_loopback = [], False
        try:
            self.listen(port)
        except OSError:
            self._listeners, self._has_other_loopback, self._own_address.port = before
            raise
        for listener in before[0]:
            self._close(listener)

    def listen_on_other_loopback(self) -> str:
        """Listen on the other loopback address, too, if it is available (`OTHER_LOOPBACK`). Return
        that address, ``[::1]:3128``, if another program uses it; otherwise an empty string."""
        own = self._own_address
        beside = OTHER_LOOPBACK.get(own.host)
        if beside is None or self._has_other_loopback or not self._listeners:
            return ""
        try:
            self._listen_on_own(beside, own.port)
        except OSError as error:
            taken = format_address(beside, own.port)
            from trayproxy.desktop.ports import is_taken  # Rare.

            if is_taken(error):
                return taken
            logger.debug("not listening on %s: %s", taken, error.strerror)
        else:
            self._has_other_loopback = True
        return ""

    def _listen_on_own(self, host: str, port: int) -> int:
        """Listen on an IP address for the use of the own address, and return the port."""
        listener, (_, found) = self._listen_on(host, port, self._use)
        self._listeners.append(listener)
        return found

    def add(self, host: str, port: int, use: ListenerUse) -> Endpoint:
        """Listen on a further IP address and port, 0 for any free port. Return the address.

        Raises:
            OSError: The address is in use or does not belong to this computer.
        """
        listener, address = self._listen_on(host, port, use)
        self._others[address] = listener
        self._own_address.others.add(address)
        return address

    def remove(self, address: Endpoint) -> None:
        """Close a listener of `add`. Open client connections are not affected."""
        self._close(self._others.pop(address))
        self._own_address.others.discard(address)

    def _listen_on(self, host: str, port: int, use: ListenerUse) -> tuple[Listener, Endpoint]:
        listener = Listener(ip_address(host), port, flags=self._flags)
        listener.setup()
        listening = listener._socket
        assert listening is not None
        self._executor.add_listener(listening, use)
        host, port = listening.getsockname()[:2]
        return listener, (host, port)

    def _close(self, listener: Listener) -> None:
        assert listener._socket is not None
        self._executor.remove_listener(listener._socket)
        listener.shutdown()

    def close(self) -> None:
        """Stop accepting connections, and close all listeners."""
        self._executor.stop_accepting()
        for listener in (*self._listeners, *self._others.values()):
            listener.shutdown()
        self._listeners.clear()
        self._others.clear()
