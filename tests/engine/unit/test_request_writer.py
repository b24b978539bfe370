import socket
from contextlib import ExitStack

import pytest

from trayproxy.engine.net.socket_stream import CHUNK, SocketStream
from trayproxy.engine.transfer.replay_buffer import MAX_IN_MEMORY, ReplayBuffer
from trayproxy.engine.transfer.request_writer import PARTS_PER_TURN, ClientGoneError, RequestWriter
from trayproxy.http.errors import MessageError
from trayproxy.http.framing import Chunked, Framing, Length, NoBody

HEAD = b"POST / HTTP/1.1\r\n\r\n"


class WriterSetup:
    """A `RequestWriter` between a client socket and an upstream socket.

    Attributes:
        client: The client's end of the client connection.
        upstream: The next hop's end of the upstream connection.
    """

    def __init__(
        self,
        stack: ExitStack,
        framing: Framing,
        *,
        wanted: bool = True,
        stream: type[SocketStream] = SocketStream,
    ) -> None:
        self._stack = stack
        client_side, self.client = self.pair()
        self.kept = ReplayBuffer(wanted)
        stack.callback(self.kept.close)
        self.stream = stream(client_side)
        self.writer = RequestWriter(self.stream, framing, self.kept)
        self.start()

    def start(self) -> None:
        """Start the request on a new upstream connection."""
        near, self.upstream = self.pair()
        self.writer.start(SocketStream(near), HEAD)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        near, far = socket.socketpair()
        far.setblocking(False)
        return self._stack.enter_context(near), self._stack.enter_context(far)

    def received(self) -> bytes:
        """Push until no octets move, and return the octets received by the next hop."""
        got = bytearray()
        while True:
            self.writer.push()
            try:
                got += self.upstream.recv(1 << 20)
            except BlockingIOError:
                if not self.writer.waits_for_upstream:
                    return bytes(got)


def test_a_writer_that_has_not_started_is_not_done(stack: ExitStack) -> None:
    client, _ = (stack.enter_context(one) for one in socket.socketpair())
    writer = RequestWriter(SocketStream(client), NoBody(), ReplayBuffer(enabled=False))
    assert (writer.done, writer.waits_for_upstream) == (False, False)
    assert (writer.started, writer.body_started) == (False, False)


# --- sending ---


def test_a_request_without_content_is_its_head(stack: ExitStack) -> None:
    setup = WriterSetup(stack, NoBody())
    assert setup.received() == HEAD
    assert setup.writer.done
    assert setup.writer.body_done


def test_content_with_a_length_is_sent_as_it_arrives(stack: ExitStack) -> None:
    setup = WriterSetup(stack, Length(6))
    setup.client.send(b"one")
    assert setup.received() == HEAD + b"one"
    assert setup.writer.waits_for_client
    setup.client.send(b"two")
    assert setup.received() == b"two"
    assert setup.writer.done


def test_chunks_are_reframed(stack: ExitStack) -> None:
    setup = WriterSetup(stack, Chunked())
    setup.client.send(b"3;ext=1\r\none\r\n03\r\ntwo\r\n0\r\nX-T: 1\r\nHost: no\r\n\r\n")
    assert setup.received() == HEAD + b"3\r\none\r\n3\r\ntwo\r\n0\r\nX-T: 1\r\n\r\n"
    assert setup.writer.done


@pytest.mark.parametrize("framing", [Length(6), Chunked()], ids=["counted", "chunked"])
def test_octets_after_the_content_stay_in_the_inbox_for_the_next_request(
    stack: ExitStack, framing: Framing
) -> None:
    setup = WriterSetup(stack, framing)
    content = b"onetwo" if isinstance(framing, Length) else b"6\r\nonetwo\r\n0\r\n\r\n"
    setup.client.send(content + b"GET /next")
    setup.received()
    assert setup.writer.done
    assert setup.stream.inbox == b"GET /next"


@pytest.mark.parametrize("framing", [Length(6), Chunked()], ids=["counted", "chunked"])
def test_a_restart_sends_the_replay_buffer_and_then_the_rest(
    stack: ExitStack, framing: Framing
) -> None:
    is_chunked = isinstance(framing, Chunked)
    setup = WriterSetup(stack, framing)
    setup.client.send(b"3\r\none\r\n" if is_chunked else b"one")
    setup.received()
    setup.start()
    setup.client.send(b"3\r\ntwo\r\n0\r\n\r\n" if is_chunked else b"two")
    expected = b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n" if is_chunked else b"onetwo"
    assert setup.received() == HEAD + expected
    assert setup.writer.done


def test_held_content_waits_after_the_head(stack: ExitStack) -> None:
    setup = WriterSetup(stack, Length(3))
    setup.writer.holds_content = True
    setup.client.send(b"one")
    assert setup.received() == HEAD
    assert not setup.writer.waits_for_client
    setup.writer.holds_content = False
    assert setup.received() == b"one"


def test_a_blocked_upstream_stops_reading_of_the_client(stack: ExitStack) -> None:
    length = 4 << 20
    setup = WriterSetup(stack, Length(length), wanted=False)
    setup.client.setblocking(False)
    sent = 0
    while not setup.writer.waits_for_upstream:
        sent += setup.client.send(bytes(CHUNK))
        setup.writer.push()
    # The client is not read while octets wait for the upstream.
    assert not setup.writer.waits_for_client
    assert len(setup.stream.inbox) == 0


@pytest.mark.unix
def test_a_closed_upstream_breaks_the_writer_without_an_error(stack: ExitStack) -> None:
    setup = WriterSetup(stack, Length(6))
    setup.upstream.close()
    setup.writer.push()
    assert setup.writer.is_broken
    assert not setup.writer.waits_for_client
    assert not setup.writer.started


def test_a_client_that_ends_in_the_middle_of_its_content_raises(stack: ExitStack) -> None:
    setup = WriterSetup(stack, Length(6))
    setup.client.send(b"one")
    setup.client.shutdown(socket.SHUT_WR)
    with pytest.raises(ClientGoneError):
        setup.received()


def test_malformed_content_raises(stack: ExitStack) -> None:
    setup = WriterSetup(stack, Chunked())
    setup.client.send(b"-5\r\n")
    with pytest.raises(MessageError):
        setup.received()


class AlwaysReadyClient(SocketStream):
    """A client stream with an endless supply of octets."""

    def receive(self, limit: int = CHUNK) -> bytes:
        return b"x"


def test_an_upload_that_never_blocks_yields_to_other_connections(stack: ExitStack) -> None:
    """The writer reports a blocked upstream, so the event loop calls it again immediately."""
    size = 2 * PARTS_PER_TURN
    setup = WriterSetup(stack, Length(size), wanted=False, stream=AlwaysReadyClient)
    setup.writer.push()
    assert setup.writer.waits_for_upstream
    assert not setup.writer.body_done
    assert setup.received() == HEAD + b"x" * size
    assert setup.writer.done


# --- sending a head without content first ---


def test_a_head_without_content_is_followed_by_the_whole_request(stack: ExitStack) -> None:
    setup = WriterSetup(stack, Length(7))
    setup.client.send(b"content")
    assert setup.received() == HEAD + b"content"
    near, setup.upstream = setup.pair()
    setup.writer.start_without_content(SocketStream(near), b"KNOCK")
    assert setup.received() == b"KNOCK"
    assert setup.writer.done
    setup.start()
    assert setup.received() == HEAD + b"content"


@pytest.mark.parametrize("wanted", [True, False])
def test_whole_content_is_returned_once_it_was_read_completely(
    stack: ExitStack, wanted: bool
) -> None:
    setup = WriterSetup(stack, Length(7), wanted=wanted)
    setup.client.send(b"cont")
    setup.received()
    assert setup.writer.whole_content() is None
    setup.client.send(b"ent")
    setup.received()
    assert setup.writer.whole_content() == (b"content" if wanted else None)


def test_whole_content_of_a_request_without_content_is_empty(stack: ExitStack) -> None:
    assert WriterSetup(stack, NoBody()).writer.whole_content() == b""


@pytest.mark.parametrize("octets", [MAX_IN_MEMORY, MAX_IN_MEMORY + 1])
@pytest.mark.parametrize("wanted", [True, False])
def test_whole_content_is_not_available_without_a_buffer_or_above_the_memory_limit(
    stack: ExitStack, octets: int, wanted: bool
) -> None:
    setup = WriterSetup(stack, Length(octets + 1), wanted=wanted)
    assert setup.writer.may_have_whole_content is wanted
    setup.kept.append(b"x" * octets)
    assert setup.writer.may_have_whole_content is (wanted and octets == MAX_IN_MEMORY)
