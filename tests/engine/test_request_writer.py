import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from trayproxy.engine.net.socket_stream import CHUNK, SocketStream
from trayproxy.engine.transfer.replay_buffer import MAX_IN_MEMORY, ReplayBuffer
from trayproxy.engine.transfer.request_writer import (
    PARTS_PER_TURN,
    ClientGoneError,
    RequestWriter,
)
from trayproxy.http.errors import MessageError
from trayproxy.http.framing import Chunked, Framing, Length, NoBody

HEAD = b"POST / HTTP/1.1\r\n\r\n"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class Scene:
    """A sender between a client's far end and an upstream's.

    Attributes:
        client: What the client writes to.
        upstream: Where the request arrives.
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
        self.sender = RequestWriter(self.stream, framing, self.kept)
        self.aim()

    def aim(self) -> None:
        """Begin on a new upstream connection."""
        near, self.upstream = self.pair()
        self.sender.start(SocketStream(near), HEAD)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        near, far = socket.socketpair()
        far.setblocking(False)
        return self._stack.enter_context(near), self._stack.enter_context(far)

    def arrived(self) -> bytes:
        """Push until nothing moves, and return what has arrived."""
        got = bytearray()
        while True:
            self.sender.push()
            try:
                got += self.upstream.recv(1 << 20)
            except BlockingIOError:
                if not self.sender.waits_for_upstream:
                    return bytes(got)


def test_a_request_that_has_not_begun_is_not_done(stack: ExitStack) -> None:
    client, _ = (stack.enter_context(one) for one in socket.socketpair())
    sender = RequestWriter(SocketStream(client), NoBody(), ReplayBuffer(enabled=False))
    assert (sender.done, sender.waits_for_upstream) == (False, False)
    assert (sender.started, sender.body_started, sender.is_without_content) == (False, False, False)


# --- what is sent ---


def test_a_request_without_content_is_its_head(stack: ExitStack) -> None:
    scene = Scene(stack, NoBody())
    assert scene.arrived() == HEAD
    assert scene.sender.done
    assert scene.sender.body_done


def test_counted_content_is_sent_as_it_comes(stack: ExitStack) -> None:
    scene = Scene(stack, Length(6))
    scene.client.send(b"one")
    assert scene.arrived() == HEAD + b"one"
    assert scene.sender.waits_for_client
    scene.client.send(b"two")
    assert scene.arrived() == b"two"
    assert scene.sender.done


def test_chunks_are_written_anew(stack: ExitStack) -> None:
    scene = Scene(stack, Chunked())
    scene.client.send(b"3;ext=1\r\none\r\n03\r\ntwo\r\n0\r\nX-T: 1\r\nHost: no\r\n\r\n")
    assert scene.arrived() == HEAD + b"3\r\none\r\n3\r\ntwo\r\n0\r\nX-T: 1\r\n\r\n"
    assert scene.sender.done


@pytest.mark.parametrize("framing", [Length(6), Chunked()], ids=["counted", "chunked"])
def test_octets_behind_the_content_are_left_for_the_next_request(
    stack: ExitStack, framing: Framing
) -> None:
    scene = Scene(stack, framing)
    content = b"onetwo" if isinstance(framing, Length) else b"6\r\nonetwo\r\n0\r\n\r\n"
    scene.client.send(content + b"GET /next")
    scene.arrived()
    assert scene.sender.done
    assert scene.stream.inbox == b"GET /next"


@pytest.mark.parametrize("framing", [Length(6), Chunked()], ids=["counted", "chunked"])
def test_beginning_again_sends_what_was_sent_and_then_the_rest(
    stack: ExitStack, framing: Framing
) -> None:
    is_chunked = isinstance(framing, Chunked)
    scene = Scene(stack, framing)
    scene.client.send(b"3\r\none\r\n" if is_chunked else b"one")
    scene.arrived()
    scene.aim()
    scene.client.send(b"3\r\ntwo\r\n0\r\n\r\n" if is_chunked else b"two")
    expected = b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n" if is_chunked else b"onetwo"
    assert scene.arrived() == HEAD + expected
    assert scene.sender.done


def test_holding_sends_the_head_and_waits(stack: ExitStack) -> None:
    scene = Scene(stack, Length(3))
    scene.sender.holds_content = True
    scene.client.send(b"one")
    assert scene.arrived() == HEAD
    assert not scene.sender.waits_for_client
    scene.sender.holds_content = False
    assert scene.arrived() == b"one"


def test_a_slow_upstream_is_waited_for(stack: ExitStack) -> None:
    length = 4 << 20
    scene = Scene(stack, Length(length), wanted=False)
    scene.client.setblocking(False)
    sent = 0
    while not scene.sender.waits_for_upstream:
        sent += scene.client.send(bytes(CHUNK))
        scene.sender.push()
    # The client is not read while octets wait for the upstream.
    assert not scene.sender.waits_for_client
    assert len(scene.stream.inbox) == 0


def test_an_upstream_that_closed_may_still_have_answered(stack: ExitStack) -> None:
    scene = Scene(stack, Length(6))
    scene.upstream.close()
    scene.sender.push()
    assert scene.sender.is_broken
    assert not scene.sender.waits_for_client
    assert not scene.sender.started


def test_a_client_that_ends_in_the_middle_is_gone(stack: ExitStack) -> None:
    scene = Scene(stack, Length(6))
    scene.client.send(b"one")
    scene.client.shutdown(socket.SHUT_WR)
    with pytest.raises(ClientGoneError):
        scene.arrived()


def test_malformed_content_is_told(stack: ExitStack) -> None:
    scene = Scene(stack, Chunked())
    scene.client.send(b"-5\r\n")
    with pytest.raises(MessageError):
        scene.arrived()


class Ready(SocketStream):
    """A client that has always sent something."""

    def receive(self, limit: int = CHUNK) -> bytes:
        return b"x"


def test_an_upload_that_never_has_to_wait_gives_others_their_turn(stack: ExitStack) -> None:
    """It says so as if the next hop were full: that is asked again at once."""
    size = 2 * PARTS_PER_TURN
    scene = Scene(stack, Length(size), wanted=False, stream=Ready)
    scene.sender.push()
    assert scene.sender.waits_for_upstream
    assert not scene.sender.body_done
    assert scene.arrived() == HEAD + b"x" * size
    assert scene.sender.done


# --- what goes ahead of it ---


def test_a_knock_is_a_head_and_the_request_follows_whole(stack: ExitStack) -> None:
    scene = Scene(stack, Length(7))
    scene.client.send(b"content")
    assert scene.arrived() == HEAD + b"content"
    near, scene.upstream = scene.pair()
    scene.sender.start_without_content(SocketStream(near), b"KNOCK")
    assert scene.arrived() == b"KNOCK"
    assert (scene.sender.done, scene.sender.is_without_content) == (True, True)
    scene.aim()
    assert scene.arrived() == HEAD + b"content"
    assert not scene.sender.is_without_content


def test_content_is_at_hand_when_all_of_it_is_here(stack: ExitStack) -> None:
    scene = Scene(stack, Length(7))
    scene.client.send(b"cont")
    scene.arrived()
    assert scene.sender.whole_content() is None
    scene.client.send(b"ent")
    scene.arrived()
    assert scene.sender.whole_content() == b"content"


def test_no_content_is_at_hand_at_once(stack: ExitStack) -> None:
    assert Scene(stack, NoBody()).sender.whole_content() == b""


@pytest.mark.parametrize("octets", [MAX_IN_MEMORY, MAX_IN_MEMORY + 1])
@pytest.mark.parametrize("wanted", [True, False])
def test_what_is_not_kept_or_is_much_cannot_be_known(
    stack: ExitStack, octets: int, wanted: bool
) -> None:
    scene = Scene(stack, Length(octets + 1), wanted=wanted)
    assert scene.sender.may_have_whole_content is wanted
    scene.kept.append(b"x" * octets)
    assert scene.sender.may_have_whole_content is (wanted and octets == MAX_IN_MEMORY)
