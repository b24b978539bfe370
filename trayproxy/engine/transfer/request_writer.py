"""Send a request to the next hop: its head, then its content as the client sends it."""

from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.transfer.replay_buffer import ReplayBuffer
from trayproxy.http.body import Octets, request_body_reader, write_chunk, write_last_chunk
from trayproxy.http.framing import Chunked, Framing, NoBody

PARTS_PER_TURN = 8
"""The number of parts sent before other connections get their turn, if neither side blocks."""


class ClientGoneError(Exception):
    """The client has closed its connection and reads no response."""


class RequestWriter:
    """Sends one request: head, content of the replay buffer, then content of the client.

    Attributes:
        replay_buffer: The content sent so far.
        holds_content: True if the content waits for a 100 response of the next hop.
        needs_sign_in_first: True if held content must not be sent: it can be sent only once, and
            the next hop may read all of it before asking for a login.
        is_broken: True if the next hop accepts no more octets; it may have sent a response before.
        started: True if octets were sent on the current connection.
        octets_read: The number of octets read from the client, including the chunked framing.
    """

    def __init__(self, client: SocketStream, framing: Framing, replay_buffer: ReplayBuffer) -> None:
        self._client = client
        self._body = request_body_reader(framing)
        self._chunked = isinstance(framing, Chunked)
        self._unsent: memoryview | None = None
        self._is_replaying = False
        self._is_finished = False
        self._upstream: SocketStream | None = None
        self.replay_buffer = replay_buffer
        self.holds_content = False
        self.needs_sign_in_first = False
        self.is_broken = False
        self.started = False
        self.octets_read = 0

    def start(self, upstream: SocketStream, head: bytes) -> None:
        """Start sending the request on a connection, from its first octet."""
        self._upstream = upstream
        self._unsent = memoryview(head)
        self.replay_buffer.rewind()
        self._is_replaying = True
        self._is_finished = False
        self.is_broken = False
        self.started = False

    def start_without_content(self, upstream: SocketStream, head: bytes) -> None:
        """Start sending a head on a connection, as a request without content."""
        self.start(upstream, head)
        self.holds_content = False
        self._is_replaying = False
        self._is_finished = True

    def adopt_sent_request(self, upstream: SocketStream) -> None:
        """Take over a request without content after it was sent on a connection."""
        self._upstream = upstream
        self._is_finished = True
        self.started = True

    def whole_content(self) -> bytes | None:
        """Return the whole content; None if it was not read completely, or is not in memory."""
        return (
            self.replay_buffer.read_all()
            if self._body.done and self.replay_buffer.is_complete
            else None
        )

    @property
    def may_have_whole_content(self) -> bool:
        """True if `whole_content` can still return the content after all of it was read."""
        return self.replay_buffer.is_complete and self.replay_buffer.fits_in_memory

    @property
    def body_started(self) -> bool:
        """True if octets of the content were read from the client."""
        return self.octets_read > 0

    @property
    def body_done(self) -> bool:
        """True if the client has sent the whole request."""
        return self._body.done

    @property
    def done(self) -> bool:
        """True if the kernel has accepted the whole request."""
        return self._is_finished and self._unsent is None

    @property
    def waits_for_upstream(self) -> bool:
        """True if unsent octets wait until the next hop accepts them."""
        return self._unsent is not None and not self.is_broken

    @property
    def waits_for_client(self) -> bool:
        """True if sending continues only after the client has sent more content."""
        return not (
            self._is_finished or self.waits_for_upstream or self.holds_content or self.is_broken
        )

    def push(self) -> None:
        """Send as much as possible without blocking.

        Raises:
            ClientGoneError: The client closed its connection in the middle of the content.
            MessageError: The content is malformed.
            OSError: The client's connection was reset.
        """
        assert self._upstream is not None
        parts_left = PARTS_PER_TURN
        while not self.is_broken:
            if self._unsent is not None:
                parts_left -= 1
                # Other connections get their turn; the caller is woken immediately afterwards.
                if not parts_left or not self._flush(self._upstream):
                    return
            elif self._is_finished or self.holds_content:
                return
            elif self._is_replaying:
                self._send_next([self.replay_buffer.read()])
                self._is_replaying = self._unsent is not None
            elif self._body.done:
                self._is_finished = True
                if self._chunked:
                    self._unsent = memoryview(write_last_chunk(self._body.trailers))
            elif not self._read_client():
                return

    def read_ahead(self) -> bool:
        """Read content of the client into the replay buffer without sending it; see `push` for the
        errors. Return True if octets were read."""
        was_read = self._read_client()
        self._unsent = None  # `start` sends this content from the replay buffer.
        return was_read

    def _flush(self, upstream: SocketStream) -> bool:
        assert self._unsent is not None
        try:
            sent = upstream.send(self._unsent)
        except OSError:
            # The next hop closed during the upload, as proxies do to refuse an upload. Its response
            # may already be in the receive buffer.
            self.is_broken = True
            return False
        self.started = self.started or sent > 0
        self._unsent = self._unsent[sent:] if sent < len(self._unsent) else None
        return self._unsent is None

    def _read_client(self) -> bool:
        client = self._client
        data = client.take_inbox() if client.inbox else client.receive()
        if not data:
            if client.ended:
                raise ClientGoneError
            return False
        self.octets_read += len(data)
        pieces, used = self._body.feed(data)
        if used < len(data):
            client.inbox += data[used:]
        for piece in pieces:
            self.replay_buffer.append(piece)
        self._send_next(pieces)
        return True

    def _send_next(self, pieces: list[Octets]) -> None:
        """Frame the pieces of content and set them as the next octets to send."""
        framed = [write_chunk(piece) for piece in pieces] if self._chunked else pieces
        octets = framed[0] if len(framed) == 1 else b"".join(framed)
        if octets:
            self._unsent = memoryview(octets)


def writer_without_content(client: SocketStream) -> RequestWriter:
    """Return a writer for a request without content, which needs no replay buffer."""
    return RequestWriter(client, NoBody(), ReplayBuffer(enabled=False))
