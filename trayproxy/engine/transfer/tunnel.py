"""Relay octets in both directions after CONNECT or an upgrade (RFC 9110, section 9.3.6).

Small amounts are copied through a buffer. When a read fills the whole buffer, the direction has
bulk data: on Linux it then takes a pipe from a shared pool and moves octets with `splice`, at the
rate of the best copying loop with 40 % of its processor time. An empty pipe is released again.
"""

import contextlib
import os

from trayproxy.engine.net.fd_task import READ, WRITE
from trayproxy.engine.net.socket_stream import CHUNK, SocketStream

PIPE_SIZE = 1 << 20
"""The capacity of a pipe, in octets; the kernel may grant less to a user with many pipes."""
F_SETPIPE_SZ = 1031
SPLICE_FLAGS = 1 | 2  # SPLICE_F_MOVE | SPLICE_F_NONBLOCK (splice(2))
MAX_IDLE_PIPES = 16
SPLICES_PER_TURN = 8
"""How often a pipe is filled and emptied before other connections get their turn."""


class PipePool:
    """Idle, empty pipes shared by all tunnels: a pipe costs two descriptors and kernel memory."""

    def __init__(self) -> None:
        self._free: list[tuple[int, int]] = []

    def acquire(self) -> tuple[int, int] | None:
        """Return the read end and the write end of an empty pipe; None to copy instead."""
        if not hasattr(os, "splice"):
            return None
        if self._free:
            return self._free.pop()
        try:
            pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None  # Out of descriptors: copying needs no pipe.
        _enlarge(pipe[1])
        return pipe

    def release(self, pipe: tuple[int, int]) -> None:
        """Return an empty pipe to the pool, or close it if the pool is full."""
        if len(self._free) < MAX_IDLE_PIPES:
            self._free.append(pipe)
        else:
            close_pipe(pipe)

    def close(self) -> None:
        """Close all idle pipes."""
        while self._free:
            close_pipe(self._free.pop())


def _enlarge(pipe: int) -> None:
    """Enlarge a pipe, unless the user has reached the soft limit for pipe memory."""
    import fcntl  # Available wherever splice is; Windows has neither.

    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe, F_SETPIPE_SZ, PIPE_SIZE)


def close_pipe(pipe: tuple[int, int]) -> None:
    """Close both ends of a pipe."""
    os.close(pipe[0])
    os.close(pipe[1])


class TunnelDirection:
    """One direction of a tunnel.

    Attributes:
        moved: The number of octets delivered so far.
        is_over: True if the source has ended and everything was delivered, or the sink is closed.
        pending: Octets waiting until the sink accepts them; None if there are none.
        octets_in_pipe: The number of octets waiting in the pipe; 0 while `pending` is not None.
    """

    __slots__ = (
        "_is_prepared_for_bulk",
        "_pipe",
        "_pipes",
        "_receive",
        "_send",
        "is_over",
        "moved",
        "octets_in_pipe",
        "pending",
        "sink",
        "source",
    )

    def __init__(
        self, source: SocketStream, sink: SocketStream, pipes: PipePool, prefix: bytes = b""
    ) -> None:
        """Create a direction. The octets of `prefix` go first, and do not count in `moved`."""
        self.source = source
        self.sink = sink
        self.moved = 0
        self.is_over = False
        self.pending: memoryview | None = None
        self.octets_in_pipe = 0
        self._pipe: tuple[int, int] | None = None
        self._is_prepared_for_bulk = False
        # The kernel cannot move octets to encrypt or decrypt.
        self._pipes = pipes if source.plain and sink.plain else None
        # The methods of plain sockets are called directly: SocketStream adds only overhead here.
        self._receive = source.socket.recv if source.plain else source.receive
        self._send = sink.socket.send if sink.plain else sink.send
        if prefix or source.inbox:
            self.moved = -len(prefix)
            self.pending = memoryview(prefix + source.take_inbox())

    def move(self) -> bool:
        """Move available octets. Return True if the direction waits only for its source. Raise
        `OSError` if a side was reset."""
        if self.pending is not None:
            self._flush(self.pending)
            if self.pending is not None:
                return False
        if self.is_over:
            return False
        source = self.source
        if self._pipe is not None:
            self._splice(self._pipe)
        elif not source.ended:
            try:
                data = self._receive(CHUNK)
            except BlockingIOError:
                return True
            if data:
                self._flush(data)
                if len(data) == CHUNK and self._pipes is not None and not self.is_over:
                    self._start_splicing(self._pipes)
            elif data is not None:
                source.ended = True
        if not source.ended:
            return self.pending is None and not (self.octets_in_pipe or self.is_over)
        if self.pending is None and not (self.octets_in_pipe or self.is_over):
            self.is_over = True
            if not self.sink.ended:
                self.sink.shutdown_write()  # Otherwise both sides are about to be closed anyway.
        return False

    def _flush(self, data: bytes | memoryview) -> None:
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        except BrokenPipeError:
            self._abandon()
            return
        self.moved += sent
        self.pending = memoryview(data)[sent:] if sent < len(data) else None

    def _start_splicing(self, pipes: PipePool) -> None:
        """Take a pipe, so the kernel moves the next octets."""
        if not self._is_prepared_for_bulk:
            self._is_prepared_for_bulk = True
            self.sink.prepare_for_bulk()
        self._pipe = pipes.acquire()

    def _splice(self, pipe: tuple[int, int]) -> None:
        """Move octets through the pipe; return to copying when the source has no more bulk data."""
        for _ in range(SPLICES_PER_TURN):
            if not self.octets_in_pipe and not self._fill(pipe):
                break
            try:
                moved = os.splice(
                    pipe[0], self.sink.descriptor, self.octets_in_pipe, flags=SPLICE_FLAGS
                )
            except BlockingIOError:
                return
            except BrokenPipeError:
                self._abandon()
                return
            self.octets_in_pipe -= moved
            self.moved += moved
            if self.octets_in_pipe:
                return
        self._release_pipe(pipe)

    def _fill(self, pipe: tuple[int, int]) -> bool:
        """Move available octets of the source into the pipe. Return False if there are none."""
        try:
            self.octets_in_pipe = os.splice(
                self.source.descriptor, pipe[1], PIPE_SIZE, flags=SPLICE_FLAGS
            )
        except BlockingIOError:
            return False
        self.source.ended = not self.octets_in_pipe
        return self.octets_in_pipe > 0

    def _abandon(self) -> None:
        """End this direction because its sink accepts no more octets.

        All octets sent by the sink before its close have arrived, and the other direction delivers
        them. A reset before the peer's end raises `ConnectionResetError` instead: octets are
        missing, and both sides must see a reset.
        """
        self.close()
        self.pending = None
        self.is_over = True

    def close(self) -> None:
        """Discard undelivered octets and release the pipe."""
        if self._pipe is not None:
            if self.octets_in_pipe:
                close_pipe(self._pipe)
                self._pipe = None
                self.octets_in_pipe = 0
            else:
                self._release_pipe(self._pipe)

    def _release_pipe(self, pipe: tuple[int, int]) -> None:
        assert self._pipes is not None
        self._pipes.release(pipe)
        self._pipe = None


class Tunnel:
    """Both directions between a client and its next hop.

    When a side ends its stream (half-close), the other direction continues: RFC 9110, section 9.3.6
    does not forbid it, and ssh and rsync need it.

    Attributes:
        up: The direction from the client.
        down: The direction to the client.
        has_keepalive: True if TCP keep-alive is on for both sides.
        may_have_data: True if octets or an end may be buffered when the tunnel starts, for which
            there will be no event.
    """

    __slots__ = ("_client", "_moved", "_upstream", "down", "has_keepalive", "may_have_data", "up")

    def __init__(
        self, client: SocketStream, upstream: SocketStream, pipes: PipePool, prefix: bytes = b""
    ) -> None:
        """Create a tunnel. The client gets the octets of `prefix` before those of the next hop."""
        self._client = client
        self._upstream = upstream
        self.up = TunnelDirection(client, upstream, pipes)
        self.down = TunnelDirection(upstream, client, pipes, prefix)
        self.may_have_data = (
            self.up.pending is not None
            or self.down.pending is not None
            or client.ended
            or upstream.ended
            or not (client.plain and upstream.plain)
        )
        self.has_keepalive = False
        self._moved = 0

    def enable_keepalive(self) -> None:
        """Enable TCP keep-alive on both sides, to detect vanished peers of an idle tunnel.

        It is not enabled at the start of a tunnel: most tunnels end before it matters.
        """
        self.has_keepalive = True
        for side in (self._client, self._upstream):
            if not side.has_keepalive:  # It may be on after a slow response of the next hop.
                side.enable_keepalive()

    def has_moved(self) -> bool:
        """Return True if octets were delivered since the previous call."""
        before, self._moved = self._moved, self.up.moved + self.down.moved
        return self._moved != before

    def start(self) -> None:
        """Move the octets buffered already. Raise `OSError` if a side was reset, which ends the
        tunnel."""
        self.up.move()
        self.down.move()

    def handle_event(self, descriptor: int, mask: int) -> bool:
        """Move octets after an event. Return True if `events` has not changed. Raise `OSError` if a
        side was reset, which ends the tunnel."""
        is_client = descriptor == self._client.descriptor
        if mask == READ:
            return self.up.move() if is_client else self.down.move()
        if mask & READ:
            (self.up if is_client else self.down).move()
        (self.down if is_client else self.up).move()
        return False

    @property
    def is_over(self) -> bool:
        """True if both directions have ended."""
        return self.up.is_over and self.down.is_over

    @property
    def events(self) -> dict[int, int]:
        """The descriptors and masks to wait for."""
        up, down = self.up, self.down
        # The source of a direction is the sink of the other direction.
        up_waits = up.pending is not None or up.octets_in_pipe
        down_waits = down.pending is not None or down.octets_in_pipe
        client = WRITE if down_waits else 0
        if not (up_waits or up.is_over or up.source.ended):
            client |= READ
        upstream = WRITE if up_waits else 0
        if not (down_waits or down.is_over or down.source.ended):
            upstream |= READ
        events = {}
        if client:
            events[self._client.descriptor] = client
        if upstream:
            events[self._upstream.descriptor] = upstream
        return events

    def close(self) -> None:
        """Close both directions. The owners of the streams close the streams."""
        self.up.close()
        self.down.close()
