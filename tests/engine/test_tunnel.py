import errno
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from select import select

import pytest

from trayproxy.engine.net.fd_task import READ, WRITE
from trayproxy.engine.net.socket_stream import CHUNK, SocketStream
from trayproxy.engine.transfer.tunnel import MAX_IDLE_PIPES, PipePool, Tunnel, TunnelDirection

BULK = bytes(range(256)) * 8192
"""2 MiB: more than the kernel buffers for a connection without a reader."""


@dataclass
class TunnelEnds:
    """A tunnel and the far ends of its two connections."""

    client: socket.socket
    upstream: socket.socket
    tunnel: Tunnel
    pipes: PipePool
    streams: tuple[SocketStream, SocketStream]

    def run(self, *, until: Callable[[], bool]) -> bool:
        """Handle events like a client connection until a condition holds. Return True if the tunnel
        ended."""
        while not until():
            events = self.tunnel.events
            readable = [d for d, mask in events.items() if mask & READ]
            writable = [d for d, mask in events.items() if mask & WRITE]
            ready_to_read, ready_to_write, _ = select(readable, writable, [], 0.01)
            ready = [(each, READ) for each in ready_to_read]
            for descriptor, mask in ready + [(each, WRITE) for each in ready_to_write]:
                self.tunnel.handle_event(descriptor, mask)
                if self.tunnel.is_over:
                    return True
        return False

    def settle(self) -> None:
        """Handle events until no octets move."""
        while True:
            moved = self.tunnel.up.moved, self.tunnel.down.moved
            turns = iter((False, False, False, True))
            self.run(until=lambda turns=turns: next(turns))  # type: ignore[misc]
            if moved == (self.tunnel.up.moved, self.tunnel.down.moved):
                return


def tcp_pair(stack: ExitStack, *, narrow: bool = False) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a TCP connection; a narrow first end has a small receive buffer."""
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    ours = stack.enter_context(socket.socket())
    if narrow:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 15)
    ours.connect(listener.getsockname())
    theirs, _ = listener.accept()
    ours.settimeout(20)
    return ours, stack.enter_context(theirs)


def has_undelivered(direction: TunnelDirection) -> bool:
    """Return whether octets wait until the sink accepts them."""
    return direction.pending is not None or direction.octets_in_pipe > 0


@pytest.fixture(params=["splice", "copy"])
def ends(stack: ExitStack, request: pytest.FixtureRequest) -> TunnelEnds:
    return open_ends(stack, spliced=request.param == "splice")


class NoPipes(PipePool):
    """The pipe pool of a system without splice."""

    def acquire(self) -> None:
        return None


class CountingPipes(PipePool):
    """A pipe pool that counts the pipes in use."""

    def __init__(self) -> None:
        super().__init__()
        self.in_use = self.max_in_use = 0

    def acquire(self) -> tuple[int, int] | None:
        self.in_use += 1
        self.max_in_use = max(self.in_use, self.max_in_use)
        return super().acquire()

    def release(self, pipe: tuple[int, int]) -> None:
        self.in_use -= 1
        super().release(pipe)


def is_open(pipe: tuple[int, int] | None) -> bool:
    """Return True if the read end of a pipe is open."""
    assert pipe is not None
    try:
        os.fstat(pipe[0])
    except OSError:
        return False
    return True


def open_ends(
    stack: ExitStack,
    *,
    spliced: bool = True,
    narrow: bool = False,
    narrow_upstream: bool = False,
    pipes: PipePool | None = None,
) -> TunnelEnds:
    client, client_side = tcp_pair(stack, narrow=narrow)
    upstream, upstream_side = tcp_pair(stack, narrow=narrow_upstream)
    pipes = pipes or (PipePool() if spliced else NoPipes())
    stack.callback(pipes.close)
    streams = SocketStream(client_side), SocketStream(upstream_side)
    tunnel = Tunnel(*streams, pipes)
    stack.callback(tunnel.close)
    return TunnelEnds(client, upstream, tunnel, pipes, streams)


def receive_all(ends: TunnelEnds, receiver: socket.socket, length: int) -> bytes:
    """Read from one end while the tunnel handles events."""
    receiver.setblocking(False)
    got = bytearray()

    def enough() -> bool:
        with suppress(BlockingIOError):
            got.extend(receiver.recv(1 << 20))
        return len(got) >= length

    ends.run(until=enough)
    while not enough():
        assert select([receiver], [], [], 20)[0]
    return bytes(got)


@pytest.mark.parametrize("length", [1, CHUNK - 1, CHUNK, CHUNK + 1, len(BULK)])
def test_octets_arrive_unchanged(ends: TunnelEnds, length: int) -> None:
    sent = BULK[:length]
    ends.upstream.setblocking(False)
    out = memoryview(sent)
    got = bytearray()
    ends.client.setblocking(False)

    def step() -> bool:
        nonlocal out
        with suppress(BlockingIOError):
            out = out[ends.upstream.send(out) :] if out else out
        with suppress(BlockingIOError):
            got.extend(ends.client.recv(1 << 20))
        return len(got) == length

    ends.run(until=step)
    assert got == sent
    assert ends.tunnel.down.moved == length


def congestion_control(connection: socket.SocketType) -> bytes:
    """Return the name of a socket's congestion control."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


def test_bulk_data_within_this_computer_is_not_paced(stack: ExitStack) -> None:
    ends = open_ends(stack)
    client, upstream = (stream.socket for stream in ends.streams)
    usual = congestion_control(client)
    ends.client.sendall(b"hello")
    receive_all(ends, ends.upstream, 5)
    assert congestion_control(upstream) == usual
    ends.client.sendall(BULK[: 3 * CHUNK])
    receive_all(ends, ends.upstream, 3 * CHUNK)
    assert [congestion_control(client), congestion_control(upstream)] == [usual, b"reno"]


def test_an_idle_tunnel_releases_its_empty_pipe(stack: ExitStack) -> None:
    pipes = CountingPipes()
    ends = open_ends(stack, pipes=pipes)
    for _ in range(10):
        ends.upstream.sendall(BULK[: 3 * CHUNK])
        receive_all(ends, ends.client, 3 * CHUNK)
        ends.settle()
        assert pipes.in_use == 0
    assert pipes.max_in_use > 0


def test_the_pipe_pool_is_shared_and_limited() -> None:
    pipes = PipePool()
    taken = [pipes.acquire() for _ in range(MAX_IDLE_PIPES + 4)]
    for pipe in taken:
        assert pipe is not None
        pipes.release(pipe)
    assert sum(map(is_open, taken)) == MAX_IDLE_PIPES
    assert pipes.acquire() in taken
    pipes.close()
    assert sum(map(is_open, taken)) == 1  # The pipe in use.


@pytest.mark.parametrize("missing", ["splice", "pipe2"])
def test_octets_are_copied_without_splice_or_descriptors(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def fail(flags: int) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    if missing == "splice":
        monkeypatch.delattr(os, "splice")
    else:
        monkeypatch.setattr(os, "pipe2", fail)
    assert PipePool().acquire() is None
    ends = open_ends(stack)
    ends.client.sendall(BULK[: 3 * CHUNK])
    assert receive_all(ends, ends.upstream, 3 * CHUNK) == BULK[: 3 * CHUNK]


class EncryptedStream(SocketStream):
    """A stream whose octets the kernel cannot move."""

    plain = False


@pytest.mark.parametrize("side", [0, 1], ids=["client", "upstream"])
@pytest.mark.parametrize(
    ("state", "expected"), [("quiet", False), ("octets", True), ("end", True), ("tls", True)]
)
def test_a_tunnel_may_have_data_if_a_side_has_octets_or_an_end_without_an_event(
    stack: ExitStack, side: int, state: str, expected: bool
) -> None:
    kinds = [EncryptedStream if state == "tls" and n == side else SocketStream for n in range(2)]
    streams = [kind(tcp_pair(stack)[1]) for kind in kinds]
    if state == "octets":
        streams[side].inbox += b"early"
    elif state == "end":
        streams[side].ended = True
    assert Tunnel(streams[0], streams[1], PipePool()).may_have_data is expected


def test_has_moved_compares_with_the_previous_call(ends: TunnelEnds) -> None:
    assert not ends.tunnel.has_moved()
    for senders in ([ends.client], [ends.upstream], [ends.client, ends.upstream]):
        for sender in senders:
            sender.sendall(b"x")
        ends.settle()
        assert ends.tunnel.has_moved()
        assert not ends.tunnel.has_moved()


def test_a_full_pipe_of_a_closed_tunnel_is_not_reused(stack: ExitStack) -> None:
    ends = open_ends(stack, narrow=True)
    ends.upstream.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            ends.upstream.send(BULK)
            ends.settle()
    assert has_undelivered(ends.tunnel.down)
    ends.tunnel.close()
    fresh = ends.pipes.acquire()
    assert fresh is not None
    assert not select([fresh[0]], [], [], 0)[0]
    ends.pipes.release(fresh)


@pytest.mark.parametrize("slow", ["client", "upstream"])
def test_a_slow_side_blocks_the_other_side(stack: ExitStack, slow: str) -> None:
    is_client = slow == "client"
    ends = open_ends(stack, narrow=is_client, narrow_upstream=not is_client)
    sender, receiver = ends.upstream, ends.client
    if not is_client:
        sender, receiver = receiver, sender
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CHUNK)
    sender.setblocking(False)
    sent = bytearray()
    with suppress(BlockingIOError):
        while True:
            sent += BULK[: sender.send(BULK)]
            ends.settle()
    assert ends.tunnel.events == {ends.streams[0 if is_client else 1].descriptor: READ | WRITE}
    assert receive_all(ends, receiver, len(sent)) == sent


def test_a_half_close_leaves_the_other_direction_open(ends: TunnelEnds) -> None:
    ends.client.sendall(b"question")
    ends.client.shutdown(socket.SHUT_WR)
    ends.settle()
    assert ends.upstream.recv(100) == b"question"
    assert ends.upstream.recv(100) == b""
    assert (ends.tunnel.up.is_over, ends.tunnel.down.is_over) == (True, False)
    ends.upstream.sendall(b"answer")
    ends.settle()
    assert ends.client.recv(100) == b"answer"
    ends.upstream.shutdown(socket.SHUT_WR)
    # The tunnel has ended: its owner closes both sides, and the client sees the end.
    assert ends.run(until=lambda: False)


def test_octets_received_before_the_tunnel_are_delivered_first(stack: ExitStack) -> None:
    client, client_side = tcp_pair(stack)
    upstream, upstream_side = tcp_pair(stack)
    client_stream, upstream_stream = SocketStream(client_side), SocketStream(upstream_side)
    client_stream.inbox += b"early "
    upstream_stream.inbox += b"banner "
    client.sendall(b"late")
    tunnel = Tunnel(client_stream, upstream_stream, PipePool())
    ends = TunnelEnds(client, upstream, tunnel, PipePool(), (client_stream, upstream_stream))
    tunnel.start()
    ends.settle()
    assert upstream.recv(100) == b"early late"
    assert client.recv(100) == b"banner "


def test_octets_sent_before_a_close_are_delivered_to_a_peer_that_still_sends(
    stack: ExitStack,
) -> None:
    """Sending to the closed peer fails, but the octets it had sent have arrived."""
    ends = open_ends(stack, narrow=True)
    sent = BULK[: 5 * CHUNK]
    ends.streams[0].socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
    ends.upstream.sendall(sent)
    while undelivered(ends.upstream):
        ends.settle()
    assert has_undelivered(ends.tunnel.down)
    ends.upstream.close()
    while not ends.tunnel.up.is_over:
        ends.client.sendall(b"talk")
        ends.settle()
    assert receive_all(ends, ends.client, len(sent)) == sent
    ends.client.setblocking(True)
    assert ends.client.recv(1) == b""


def test_a_side_that_accepts_no_more_octets_is_noticed_immediately(stack: ExitStack) -> None:
    """`handle_event` returns False with the first octets which cannot be delivered."""
    ends = open_ends(stack)
    ends.upstream.shutdown(socket.SHUT_WR)
    ends.settle()
    assert ends.tunnel.down.is_over
    ends.streams[1].socket.shutdown(socket.SHUT_WR)  # Sending to this side fails from now on.
    ends.client.sendall(b"talk")
    assert select([ends.streams[0].socket], [], [], 20)[0]
    assert not ends.tunnel.handle_event(ends.streams[0].descriptor, READ)
    assert ends.tunnel.is_over
    ends.client.sendall(b"more")
    assert select([ends.streams[0].socket], [], [], 20)[0]
    assert not ends.tunnel.up.move()
    assert ends.streams[0].socket.recv(100) == b"more"  # It was not read.


def test_a_reset_of_the_source_raises(ends: TunnelEnds) -> None:
    reset(ends.client)
    with pytest.raises(ConnectionResetError):
        ends.run(until=lambda: False)


def test_a_reset_noticed_by_sending_raises(ends: TunnelEnds) -> None:
    reset(ends.upstream)
    ends.client.sendall(b"talk")
    with pytest.raises(ConnectionResetError):
        ends.tunnel.handle_event(ends.streams[0].descriptor, READ)


def reset(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def undelivered(end: socket.socket) -> int:
    """Return the number of octets not yet accepted by the kernel of the peer."""
    answer = fcntl.ioctl(end, termios.TIOCOUTQ, struct.pack("i", 0))
    count: int = struct.unpack("i", answer)[0]
    return count


def test_keep_alive_is_enabled_on_both_sides(ends: TunnelEnds) -> None:
    ends.streams[1].enable_keepalive()  # After a slow response of the next hop.
    before = ends.tunnel.has_keepalive
    ends.tunnel.enable_keepalive()
    assert (before, ends.tunnel.has_keepalive) == (False, True)
    for stream in ends.streams:
        assert stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
        assert stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 10


def test_a_prefix_is_delivered_first_and_not_counted(stack: ExitStack) -> None:
    client, client_side = tcp_pair(stack)
    _, upstream_side = tcp_pair(stack)
    streams = SocketStream(client_side), SocketStream(upstream_side)
    streams[1].inbox += b"banner"
    tunnel = Tunnel(*streams, PipePool(), b"HTTP/1.1 200 OK, ")
    assert tunnel.may_have_data
    tunnel.start()
    assert client.recv(100) == b"HTTP/1.1 200 OK, banner"
    assert tunnel.down.moved == len(b"banner")


STATES = ["idle", "pending", "in a pipe", "over", "ended"]


@pytest.mark.parametrize("up", STATES)
@pytest.mark.parametrize("down", STATES)
def test_a_side_is_read_while_nothing_waits_for_the_other_and_written_while_octets_wait(
    ends: TunnelEnds, up: str, down: str
) -> None:
    tunnel = ends.tunnel
    for direction, state in ((tunnel.up, up), (tunnel.down, down)):
        direction.pending = memoryview(b"x") if state == "pending" else None
        direction.octets_in_pipe = 1 if state == "in a pipe" else 0
        direction.is_over, direction.source.ended = state == "over", state == "ended"
    waits = {"pending", "in a pipe"}
    masks = [
        (READ if read == "idle" else 0) | (WRITE if written in waits else 0)
        for read, written in ((up, down), (down, up))
    ]
    descriptors = [stream.descriptor for stream in ends.streams]
    expected = dict(zip(descriptors, masks, strict=True))
    assert tunnel.events == {key: mask for key, mask in expected.items() if mask}
    assert tunnel.is_over is (up == down == "over")
    for direction in (tunnel.up, tunnel.down):
        direction.octets_in_pipe = 0


@pytest.mark.parametrize("side", [0, 1], ids=["client", "upstream"])
@pytest.mark.parametrize("mask", [READ, WRITE, READ | WRITE])
def test_a_side_that_is_ready_both_ways_is_read_and_written(
    ends: TunnelEnds, side: int, mask: int
) -> None:
    tunnel = ends.tunnel
    into, out_of = (tunnel.down, tunnel.up) if side == 0 else (tunnel.up, tunnel.down)
    (ends.client, ends.upstream)[side].sendall(b"in")
    assert select([ends.streams[side].socket], [], [], 20)[0]
    into.pending = memoryview(b"waiting")
    assert tunnel.handle_event(ends.streams[side].descriptor, mask) is (mask == READ)
    assert out_of.moved == (2 if mask & READ else 0)
    assert into.moved == (7 if mask & WRITE else 0)


def test_handle_event_returns_whether_the_events_are_unchanged(ends: TunnelEnds) -> None:
    before = ends.tunnel.events
    ends.client.sendall(b"x")
    select([ends.streams[0].socket], [], [], 20)
    assert ends.tunnel.handle_event(ends.streams[0].descriptor, READ)
    assert ends.tunnel.events == before
    ends.client.shutdown(socket.SHUT_WR)
    select([ends.streams[0].socket], [], [], 20)
    assert not ends.tunnel.handle_event(ends.streams[0].descriptor, READ)
    assert ends.tunnel.events == {ends.streams[1].descriptor: READ}
