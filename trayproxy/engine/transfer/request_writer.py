"""Send a request to the next hop: its head, then its content as the client sends it."""

from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.transfer.replay_buffer import ReplayBuffer
from trayproxy.http.body import Octets, request_body_reader, write_chunk, write_last_chunk
from trayproxy.http.framing import Chunked, Framing

PARTS_PER_TURN = 8
"""How many parts are sent before the other connections get their turn, if neither side has to be
waited for."""


class ClientGoneError(Exception):
    """The client has closed its connection; nobody waits for an answer."""


class RequestWriter:
    """Sends one request: its head, what was kept of its body, then the body as the client sends it.

    Attributes:
        replay_buffer: The part of the body that was sent.
        holds_content: The body waits until the next hop says that it wants it.
        needs_sign_in_first: True if content that was held must not be sent: it can be sent only
            once, and the next hop may read all of it before it asks for a login.
        is_broken: The next hop takes no more; it may still have said why.
        started: Octets were sent on the present connection.
        body_started: Octets of the body were taken from the client.
        is_without_content: Only a head was sent on it, which is not the client's.
        octets_read: How many octets were read from the client for the body, its framing included.
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
        self.body_started = False
        self.is_without_content = False
        self.octets_read = 0

    def start(self, upstream: SocketStream, head: bytes) -> None:
        """Begin (again) on this connection."""
        self._upstream = upstream
        self._unsent = memoryview(head)
        self.replay_buffer.rewind()
        self._is_replaying = True
        self._is_finished = False
        self.is_broken = False
        self.started = False
        self.is_without_content = False

    def start_without_content(self, upstream: SocketStream, head: bytes) -> None:
        """Send this head alone, as if the request had no content."""
        self.start(upstream, head)
        self.holds_content = False
        self._is_replaying = False
        self._is_finished = True
        self.is_without_content = True

    def adopt_sent_request(self, upstream: SocketStream) -> None:
        """Take over a request without content that has been sent already."""
        self._upstream = upstream
        self._is_finished = True
        self.started = True

    def whole_content(self) -> bytes | None:
        """Return the whole content, None if it is not all here or is much."""
        return (
            self.replay_buffer.read_all()
            if self._body.done and self.replay_buffer.is_complete
            else None
        )

    @property
    def may_have_whole_content(self) -> bool:
        """Whether `whole_content` can still become the whole content."""
        return self.replay_buffer.is_complete and self.replay_buffer.fits_in_memory

    @property
    def body_done(self) -> bool:
        """Whether the client has sent the whole request."""
        return self._body.done

    @property
    def done(self) -> bool:
        """Whether the whole request is on its way."""
        return self._is_finished and self._unsent is None

    @property
    def waits_for_upstream(self) -> bool:
        """Whether octets wait for the next hop to take them."""
        return self._unsent is not None and not self.is_broken

    @property
    def waits_for_client(self) -> bool:
        """Whether only the client can make it go on."""
        return not (
            self._is_finished or self.waits_for_upstream or self.holds_content or self.is_broken
        )

    def push(self) -> None:
        """Send what can be sent now.

        Raises:
            ClientGoneError: The client ended in the middle of its body.
            MessageError: The client's body is malformed.
            OSError: The client's connection was reset.
        """
        assert self._upstream is not None
        left = PARTS_PER_TURN
        while not self.is_broken:
            if self._unsent is not None:
                left -= 1
                # The others get their turn, and then it is asked to go on at once.
                if not left or not self._flush(self._upstream):
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
        """Take and keep what the client has sent of its content, before it goes anywhere.

        Returns:
            Whether anything had come.

        Raises:
            ClientGoneError: The client ended in the middle of its body.
            MessageError: The client's body is malformed.
            OSError: The client's connection was reset.
        """
        has_come = self._read_client()
        self._unsent = None  # It goes out from what was kept, behind the next head.
        return has_come

    def _flush(self, upstream: SocketStream) -> bool:
        assert self._unsent is not None
        try:
            sent = upstream.send(self._unsent)
        except OSError:
            # It closed while we were sending, as proxies do that refuse an upload: its answer may
            # lie in our receive buffer.
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
        self.body_started = True
        self.octets_read += len(data)
        pieces, used = self._body.feed(data)
        if used < len(data):
            client.inbox += data[used:]
        for piece in pieces:
            self.replay_buffer.append(piece)
        self._send_next(pieces)
        return True

    def _send_next(self, pieces: list[Octets]) -> None:
        """Send these next, framed."""
        framed = [write_chunk(piece) for piece in pieces] if self._chunked else pieces
        octets = framed[0] if len(framed) == 1 else b"".join(framed)
        if octets:
            self._unsent = memoryview(octets)
