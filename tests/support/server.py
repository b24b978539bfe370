"""A loopback server with one thread for each connection."""

import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from threading import Lock, Thread

from tests.support.closeable import Closeable
from tests.support.process_output import PATIENCE


class LoopbackServer(Closeable):
    """Listens on a free port of 127.0.0.1 from its creation until `close`."""

    host = "127.0.0.1"

    def __init__(
        self, serve: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None
    ) -> None:
        """Start listening.

        Args:
            serve: Serves one connection and returns at its end. It may raise `OSError` when the
                peer has closed the connection.
            tls: The context for TLS; None for plain TCP.
        """
        self._serve = serve
        self._tls = tls
        self._lock = Lock()
        self._connections: set[socket.socket] = set()
        self._threads: list[Thread] = []
        self._closed = False
        self._listener = socket.create_server((self.host, 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = Thread(target=self._accept, name=f"server {self.port}", daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """Stop listening, cut all connections, and wait for their threads."""
        with self._lock:
            self._closed = True
            with suppress(OSError):
                # On Linux this wakes up `accept`; closing alone does not.
                self._listener.shutdown(socket.SHUT_RDWR)
            self._cut_all()
        self._acceptor.join(PATIENCE)
        self._listener.close()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), f"{thread.name} hangs"

    def cut(self) -> None:
        """Cut all connections, and continue listening."""
        with self._lock:
            self._cut_all()

    def _cut_all(self) -> None:
        for connection in self._connections:
            with suppress(OSError):
                # The method of SSLSocket would change the state of the reading thread.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            name = f"server {self.port}"
            thread = Thread(target=self._handle, args=(connection,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _handle(self, raw: socket.socket) -> None:
        try:
            connection = self._encrypted(raw)
        except OSError:
            raw.close()
            return
        with connection:
            with self._lock:
                if self._closed:
                    return
                self._connections.add(connection)
            try:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._serve(connection)
            except OSError:
                pass  # The peer has closed the connection, or `close` has cut it.
            finally:
                with self._lock:
                    self._connections.discard(connection)

    def _encrypted(self, raw: socket.socket) -> socket.socket:
        if self._tls is None:
            return raw
        raw.settimeout(PATIENCE)
        connection = self._tls.wrap_socket(raw, server_side=True)
        connection.settimeout(None)
        return connection


def relay(client: socket.socket, onward: socket.socket) -> None:
    """Relay octets in both directions until both sides have ended their sending."""
    onward.settimeout(None)
    back = Thread(target=_copy, args=(onward, client), daemon=True)
    back.start()
    _copy(client, onward)
    back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while octets := source.recv(1 << 16):
            sink.sendall(octets)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def reset_on_close(connection: socket.socket) -> None:
    """Make closing reset the connection (RFC 9293, section 3.5.2); octets in flight may be lost."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
