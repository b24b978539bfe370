"""Octets in both directions, unread, after CONNECT or an upgrade (RFC 9110, section 9.3.6).

Small messages are copied through one buffer. When a whole buffer comes at once the direction has
bulk to move, and on Linux it takes a pipe from a shared pool and lets the kernel move the octets
with `splice`: the rate of the best copying loop at 40 % of its processor time. A pipe goes back as
soon as it is empty.
"""

import contextlib
import os

from trayproxy.engine.net.fd_task import READ, WRITE
from trayproxy.engine.net.socket_stream import CHUNK, SocketStream

PIPE_SIZE = 1 << 20
"""Octets a pipe should hold; the kernel may give less to someone who has many."""
F_SETPIPE_SZ = 1031
SPLICE_FLAGS = 1 | 2  # SPLICE_F_MOVE | SPLICE_F_NONBLOCK (splice(2))
MAX_IDLE_PIPES = 16
SPLICES_PER_TURN = 8
"""How often a direction is filled and emptied before the other connections get their turn."""


class PipePool:
    """Empty pipes, shared by all tunnels: a pipe costs two descriptors and pages of the kernel."""

    def __init__(self) -> None:
        self._free: list[tuple[int, int]] = []

    def acquire(self) -> tuple[int, int] | None:
        """Return the reading and the writing end of an empty pipe; None: use the copying loop."""
        if not hasattr(os, "splice"):
            return None
        if self._free:
            return self._free.pop()
        try:
            pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None  # Out of descriptors: copying needs none.
        _enlarge(pipe[1])
        return pipe

    def release(self, pipe: tuple[int, int]) -> None:
        """Keep an empty pipe for the next one."""
        if len(self._free) < MAX_IDLE_PIPES:
            self._free.append(pipe)
        else:
            close_pipe(pipe)

    def close(self) -> None:
        """Close the pipes that nobody uses."""
        while self._free:
            close_pipe(self._free.pop())


def _enlarge(pipe: int) -> None:
    """Make a pipe hold more; past the user's soft limit for pipes the default size works too."""
    import fcntl  # Where splice is, it is too; Windows has neither.

    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe, F_SETPIPE_SZ, PIPE_SIZE)


def close_pipe(pipe: tuple[int, int]) -> None:
    """Close both ends."""
    os.close(pipe[0])
    os.close(pipe[1])


class TunnelDirection:
    """One direction of a tunnel.

    Attributes:
        moved: Octets delivered so far.
        is_over: The source has ended and everything was delivered, or the sink is gone.
        pending: Octets that wait for the sink to take them; None: none do.
        octets_in_pipe: How many wait for it in a pipe; never beside others.
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
        """Make one.

        Args:
            source: Where octets come from.
            sink: Where they go.
            pipes: To move them with.
            ahead: What goes before all of them, and is not counted.
        """
        self.source = source
        self.sink = sink
        self.moved = 0
        self.is_over = False
        self.pending: memoryview | None = None
        self.octets_in_pipe = 0
        self._pipe: tuple[int, int] | None = None
        self._is_prepared_for_bulk = False
        # The kernel cannot move what is to be encrypted.
        self._pipes = pipes if source.plain and sink.plain else None
        # Without the streams between, which have little to add where nothing is encrypted.
        self._receive = source.socket.recv if source.plain else source.receive
        self._send = sink.socket.send if sink.plain else sink.send
        if prefix or source.inbox:
            self.moved = -len(prefix)
            self.pending = memoryview(prefix + source.take_inbox())

    def move(self) -> bool:
        """Move what can be moved now. Return whether there may be more to come, and nothing waits.

        Raises:
            OSError: A side was reset.
        """
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
                self.sink.shutdown_write()  # Else both are about to be closed, which says the same.
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
        """Let the kernel move what comes next."""
        if not self._is_prepared_for_bulk:
            self._is_prepared_for_bulk = True
            self.sink.prepare_for_bulk()
        self._pipe = pipes.acquire()

    def _splice(self, pipe: tuple[int, int]) -> None:
        """Move by the kernel; go back to copying when the source has no more bulk."""
        for _ in range(SPLICES_PER_TURN):
            if not self.octets_in_pipe and not self._fill(pipe):
                break
            try:
                went = os.splice(
                    pipe[0], self.sink.descriptor, self.octets_in_pipe, flags=SPLICE_FLAGS
                )
            except BlockingIOError:
                return
            except BrokenPipeError:
                self._abandon()
                return
            self.octets_in_pipe -= went
            self.moved += went
            if self.octets_in_pipe:
                return
        self._release_pipe(pipe)

    def _fill(self, pipe: tuple[int, int]) -> bool:
        """Move what has come into the pipe. Return False if nothing has."""
        try:
            self.octets_in_pipe = os.splice(
                self.source.descriptor, pipe[1], PIPE_SIZE, flags=SPLICE_FLAGS
            )
        except BlockingIOError:
            return False
        self.source.ended = not self.octets_in_pipe
        return self.octets_in_pipe > 0

    def _abandon(self) -> None:
        """End this direction: its sink takes no more, but all that it had sent is here.

        The other direction delivers that still. A reset that came before the peer's end is another
        matter, and `ConnectionResetError`: octets are missing, and both sides must see that.
        """
        self.close()
        self.pending = None
        self.is_over = True

    def close(self) -> None:
        """Give up what was not delivered."""
        if self._pipe is not None:
            if self.octets_in_pipe:
                close_pipe(self._pipe)
                self._pipe = None
                self.octets_in_pipe = 0
            else:
                self._release_pipe(self._pipe)

    def _release_pipe(self, pipe: tuple[int, int]) -> None:
        """Let others use our pipe, which is empty."""
        assert self._pipes is not None
        self._pipes.release(pipe)
        self._pipe = None


class Tunnel:
    """Both directions between a client and its upstream.

    A side that ends its sending is a half-close: the other direction goes on (RFC 9110, 9.3.6
    leaves it open; ssh and rsync need it).

    Attributes:
        up: From the client.
        down: To the client.
        has_keepalive: The kernel looks after quiet sides.
        may_have_data: Octets may be waiting at its beginning of which no descriptor tells: sent
            ahead, or decrypted; or an end.
    """

    __slots__ = ("_client", "_moved", "_upstream", "down", "has_keepalive", "may_have_data", "up")

    def __init__(
        self, client: SocketStream, upstream: SocketStream, pipes: PipePool, prefix: bytes = b""
    ) -> None:
        """Make one.

        Args:
            client: Who asked for it.
            upstream: The next hop.
            pipes: To move octets with.
            ahead: What the client is to get before anything that the next hop says.
        """
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
        """Let the kernel find out about peers that have vanished: a tunnel may be quiet for ever.

        Not done at its beginning: most tunnels are over before it matters.
        """
        self.has_keepalive = True
        for side in (self._client, self._upstream):
            if not side.has_keepalive:  # As the upstream is whose answer took its time.
                side.enable_keepalive()

    def has_moved(self) -> bool:
        """Whether octets were delivered since this was asked last."""
        before, self._moved = self._moved, self.up.moved + self.down.moved
        return self._moved != before

    def start(self) -> None:
        """Move what waits already.

        Raises:
            OSError: A side was reset; so is the tunnel.
        """
        self.up.move()
        self.down.move()

    def handle_event(self, descriptor: int, mask: int) -> bool:
        """Move octets after an event. Return whether the tunnel goes on to wait for the same.

        Raises:
            OSError: A side was reset; so is the tunnel.
        """
        is_client = descriptor == self._client.descriptor
        if mask == READ:
            return self.up.move() if is_client else self.down.move()
        if mask & READ:
            (self.up if is_client else self.down).move()
        (self.down if is_client else self.up).move()
        return False

    @property
    def is_over(self) -> bool:
        """Whether both directions have ended."""
        return self.up.is_over and self.down.is_over

    @property
    def events(self) -> dict[int, int]:
        """What the tunnel waits for."""
        up, down = self.up, self.down
        # Who is the source of one direction is the sink of the other.
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
        """Close both directions; the streams are closed by their owners."""
        self.up.close()
        self.down.close()
