"""A non-blocking socket with a buffer of octets received and not used yet."""

import contextlib
import socket
import struct
from ipaddress import ip_address

CHUNK = 65_536
"""The largest read, in octets, which is also the largest amount buffered in one direction."""

KEEPALIVE_OPTIONS = {
    "TCP_KEEPIDLE": 10,
    "TCP_KEEPALIVE": 10,
    "TCP_KEEPINTVL": 10,
    "TCP_KEEPCNT": 11,
}
"""TCP keep-alive options: seconds before the first probe (macOS calls it TCP_KEEPALIVE), seconds
between probes, and the number of unanswered probes after which the connection is dropped.

Some gateways forget connections that are quiet for 15 seconds. A connection survives a loss of the
network of two minutes."""

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
STALLED_MS = 3000
"""Milliseconds without an acknowledgement after which a connection counts as stalled."""
STALLED_RETRANSMITS = 4
"""The number of retransmissions of a segment from which a connection counts as stalled. The fourth
follows at least three seconds after the segment (RFC 6298, section 5; 0.2 s on Linux)."""
_TCP_INFO = struct.Struct("BxB21xI28xI")
"""The members ``tcpi_state``, ``tcpi_retransmits``, ``tcpi_unacked`` (segments) and
``tcpi_last_ack_recv`` (milliseconds ago) of Linux's ``struct tcp_info``."""
_ENDED_BY_PEER = frozenset({7, 8, 9, 11})
"""The states of Linux (net/tcp_states.h) after the end of the peer's stream: TCP_CLOSE,
TCP_CLOSE_WAIT, TCP_LAST_ACK and TCP_CLOSING."""


def disable_pacing(connection: socket.SocketType) -> None:
    """Switch a connection within this computer to a congestion control without pacing.

    A system may pace its segments to avoid filling the queues of a network (BBR, TCP_CONGESTION in
    tcp(7)). Between two local programs there is no such queue, and pacing halves the rate and
    doubles the processor time (measured on Linux 6.18).
    """
    option = getattr(socket, "TCP_CONGESTION", None)
    if option is not None:
        with contextlib.suppress(OSError):  # Not TCP, or already broken.
            # Every Linux has "reno", and unprivileged processes may select it.
            connection.setsockopt(socket.IPPROTO_TCP, option, b"reno")


class SocketStream:
    """A connected, non-blocking socket and its receive buffer.

    Attributes:
        socket: The socket. Nagle's algorithm is off: it delays a message written in two pieces by
            40 ms, until the delayed acknowledgement of the peer. The type is the base type of
            `socket.socket`, since two sockets are created for each new client.
        inbox: Octets received and not used yet.
        ended: True if the peer will send no more octets.
        has_keepalive: True if TCP keep-alive is on.
        truncated: True if a TLS connection ended without close_notify: octets may have been cut off
            by an attacker. Always False for a plain connection, which cannot detect it.
        plain: True if octets travel as they are sent, so the kernel may move them (splice).
    """

    __slots__ = ("descriptor", "ended", "has_keepalive", "inbox", "socket", "truncated")

    plain = True

    def __init__(self, connection: socket.SocketType, *, has_no_delay: bool = False) -> None:
        """Wrap a connected socket, which may have inherited TCP_NODELAY from its listener."""
        if connection.gettimeout() != 0:
            connection.setblocking(False)
        if not has_no_delay:
            try:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:
                pass  # Not TCP, or already broken: then the first use raises the error.
        self.socket = connection
        self.descriptor = connection.fileno()
        self.inbox = bytearray()
        self.ended = False
        self.truncated = False
        self.has_keepalive = False

    @property
    def end_point(self) -> bytes:
        """The channel binding ``tls-server-end-point``; empty on a plain connection."""
        return b""

    def receive(self, limit: int = CHUNK) -> bytes | None:
        """Return received octets; None if there are none yet, empty if the peer has ended. Raise
        `OSError` if the connection was reset."""
        try:
            data = self.socket.recv(limit)
        except (BlockingIOError, InterruptedError):
            return None
        if not data:
            self.ended = True
        return data

    def fill(self) -> bool:
        """Receive octets into the inbox. Return False if there were none. Raise `OSError` if the
        connection was reset."""
        data = self.receive()
        if not data:
            return False
        self.inbox += data
        return True

    def send(self, data: bytes | memoryview) -> int:
        """Send the octets that the kernel accepts now; return their number. Raise `OSError` if the
        connection is closed or was reset."""
        try:
            return self.socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0

    def is_quiet(self) -> bool:
        """Return True if the connection is open without unread octets (RFC 9112, section 9.2)."""
        if self.inbox or self.ended:
            return False
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return False  # Ended, or an unsolicited response.

    @property
    def last_data_was_unread(self) -> bool:
        """True if the peer had closed the connection before it could read the octets sent last.

        To be read after the connection ended. A peer answers octets with a reset if they arrive
        after its close, or are unread then (RFC 9293, section 3.10.7.1; RFC 2525, section 2.17). If
        the end of the stream arrives without an acknowledgement of the octets, the peer had not
        received them. False if the system does not expose this state: the octets may have been
        read.
        """
        try:
            if self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                return True
            state, _, unacked, _ = self._tcp_info()
        except OSError:
            return False
        # A connection shut down by TrayProxy itself has not ended here: the peer may have read the
        # octets, and only its acknowledgement was lost.
        return unacked > 0 and state in _ENDED_BY_PEER

    @property
    def is_stalled(self) -> bool:
        """True if the peer has acknowledged nothing for `STALLED_MS`, although octets were sent
        again and again: a gateway or the peer has forgotten the connection, or the network is down.

        False if the system does not expose this state.
        """
        try:
            _, retransmits, unacked, last_ack_ms = self._tcp_info()
        except OSError:
            return False
        return unacked > 0 and retransmits >= STALLED_RETRANSMITS and last_ack_ms >= STALLED_MS

    def _tcp_info(self) -> tuple[int, int, int, int]:
        """Return the members of `_TCP_INFO`; zeros if the system does not expose them. Raise
        `OSError` if the connection is broken."""
        option = getattr(socket, "TCP_INFO", None)
        if option is None:
            return 0, 0, 0, 0
        info = self.socket.getsockopt(socket.IPPROTO_TCP, option, _TCP_INFO.size)
        return _TCP_INFO.unpack(info) if len(info) == _TCP_INFO.size else (0, 0, 0, 0)

    def take_inbox(self) -> bytes:
        """Return the inbox and empty it."""
        data = bytes(self.inbox)
        self.inbox.clear()
        return data

    def shutdown_write(self) -> None:
        """Send the end of the stream; receiving continues."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # The peer has closed the connection already.

    def prepare_for_bulk(self) -> None:
        """Prepare the connection for sending a large amount of data."""
        with contextlib.suppress(OSError):
            peer = self.socket.getpeername()
            if isinstance(peer, tuple) and ip_address(peer[0]).is_loopback:
                disable_pacing(self.socket)

    def enable_keepalive(self) -> None:
        """Enable TCP keep-alive: gateways then remember a quiet connection, and the kernel detects
        a vanished peer.

        It is not enabled when a connection is opened: most connections end before it matters.
        """
        self.has_keepalive = True
        with contextlib.suppress(OSError):  # macOS reports a peer that has just closed.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in KEEPALIVE_OPTIONS.items():
                option = getattr(socket, name, None)
                if option is not None:
                    self.socket.setsockopt(socket.IPPROTO_TCP, option, value)

    def disconnect(self) -> None:
        """End both directions without closing the socket: its user reads the end of the stream."""
        with contextlib.suppress(OSError):  # It is broken already.
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket; the kernel still delivers the octets it has accepted."""
        self.socket.close()

    def reset_on_close(self) -> None:
        """Make `close` send a reset, which shows the peer an incomplete stream."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
