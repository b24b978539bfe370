"""A socket that never blocks, and the octets that were read from it but not used yet."""

import contextlib
import socket
import struct
from ipaddress import ip_address

CHUNK = 65_536
"""The most that is read at once, in octets: also the most that waits in one direction."""

KEEPALIVE_OPTIONS = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""When a connection is quiet: seconds before the first probe, between two, and how many are in
vain."""

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_UNACKED = struct.Struct("24xI")
"""The member ``tcpi_unacked`` of Linux's ``struct tcp_info``: segments without acknowledgement."""


def disable_pacing(connection: socket.SocketType) -> None:
    """Let octets that do not leave this computer go as fast as they are taken.

    A system may spread what it sends over time, so as not to fill the queues of a network (BBR,
    tcp(7) under TCP_CONGESTION). Between two programs there is no such queue, and it costs half of
    the rate and twice the processor time (measured on Linux 6.18).
    """
    option = getattr(socket, "TCP_CONGESTION", None)
    if option is not None:
        with contextlib.suppress(OSError):  # Not TCP, or broken already.
            # The one that every Linux has, and lets everybody use.
            connection.setsockopt(socket.IPPROTO_TCP, option, b"reno")


class SocketStream:
    """One connection's socket.

    Attributes:
        socket: Non-blocking, with Nagle's algorithm off: it makes a message that is written in two
            pieces wait 40 ms for the peer's delayed acknowledgement. Of the type that
            `socket.socket` wraps: two of them are made for each new client.
        descriptor: Its number.
        inbox: Octets that were received and not used yet.
        ended: The peer will send no more.
        has_keepalive: The kernel finds out whether a peer that says nothing is still there.
        truncated: It ended without saying so inside the encryption: octets may be missing, cut off
            by whoever is in the way. Never of a plain connection, which cannot tell.
        plain: What is sent is what travels, so that the kernel may move it.
    """

    __slots__ = ("descriptor", "ended", "has_keepalive", "inbox", "socket", "truncated")

    plain = True

    def __init__(self, connection: socket.SocketType, *, has_no_delay: bool = False) -> None:
        """Take a connection.

        Args:
            connection: The connection.
            is_prompt: It has inherited from its listener that Nagle's algorithm is off.
        """
        if connection.gettimeout() != 0:
            connection.setblocking(False)
        if not has_no_delay:
            try:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:
                pass  # Not TCP, or broken already, which its first use will tell.
        self.socket = connection
        self.descriptor = connection.fileno()
        self.inbox = bytearray()
        self.ended = False
        self.truncated = False
        self.has_keepalive = False

    @property
    def end_point(self) -> bytes:
        """What stands for the other side in a sign-in that is bound to this connection; empty where
        nothing does, as on a plain connection."""
        return b""

    def receive(self, limit: int = CHUNK) -> bytes | None:
        """Return what has come, at most `limit` octets; None: nothing yet; empty: the peer has
        ended.

        Raises:
            OSError: The connection was reset.
        """
        try:
            data = self.socket.recv(limit)
        except (BlockingIOError, InterruptedError):
            return None
        if not data:
            self.ended = True
        return data

    def fill(self, limit: int = CHUNK) -> bool:
        """Move what has come into the inbox. Return False if nothing has.

        Raises:
            OSError: The connection was reset.
        """
        data = self.receive(limit)
        if not data:
            return False
        self.inbox += data
        return True

    def send(self, data: bytes | memoryview) -> int:
        """Send what the kernel takes now; return how many octets that was.

        Raises:
            OSError: The connection is gone.
        """
        try:
            return self.socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0

    def is_quiet(self) -> bool:
        """Whether it is open and nothing unasked has come (RFC 9112, section 9.2)."""
        if self.inbox or self.ended:
            return False
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return False  # Ended, or an answer that nobody asked for.

    @property
    def last_data_was_unread(self) -> bool:
        """Whether the peer had closed the connection before what we sent last could be read.

        To be asked after the connection ended. A peer that closes answers octets that come later,
        or that lie unread, with a reset (RFC 9293, section 3.10.7.1; RFC 2525, section 2.17). One
        whose end has arrived without an acknowledgement of our octets had not got them by then.
        False where the system does not tell: the octets may have been read.
        """
        try:
            if self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                return True
            option = getattr(socket, "TCP_INFO", None)
            if option is None:
                return False
            info = self.socket.getsockopt(socket.IPPROTO_TCP, option, _UNACKED.size)
        except OSError:
            return False
        return len(info) == _UNACKED.size and _UNACKED.unpack(info)[0] > 0

    def take_inbox(self) -> bytes:
        """Return the inbox and empty it."""
        data = bytes(self.inbox)
        self.inbox.clear()
        return data

    def shutdown_write(self) -> None:
        """Say that nothing more will be sent; reading goes on."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # The peer was quicker.

    def prepare_for_bulk(self) -> None:
        """Prepare for a lot to be sent."""
        with contextlib.suppress(OSError):
            peer = self.socket.getpeername()
            if isinstance(peer, tuple) and ip_address(peer[0]).is_loopback:
                disable_pacing(self.socket)

    def enable_keepalive(self) -> None:
        """Make the kernel ask a quiet peer from time to time whether it is still there.

        Not done at the beginning of a connection: most are over before it matters.
        """
        self.has_keepalive = True
        with contextlib.suppress(OSError):  # Gone just now, as macOS says; its event is due.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in KEEPALIVE_OPTIONS.items():
                option = getattr(socket, name, None)
                if option is not None:
                    self.socket.setsockopt(socket.IPPROTO_TCP, option, value)

    def close(self) -> None:
        """Close the socket; what the kernel has taken is still delivered."""
        self.socket.close()

    def reset_on_close(self) -> None:
        """Let the peer see a reset when the socket is closed: what it got is not the whole."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
