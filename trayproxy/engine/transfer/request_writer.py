"""Send a request to the next hop: its head, then its content as the client sends it."""

from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.transfer.replay_buffer import ReplayBuffer
from trayproxy.http.body import Octets, request_body_reader, write_chunk, write_last_chunk
from trayproxy.http.framing import Chunked, Framing

PARTS_A_TURN = 8
"""How many parts are sent before the other connections get their turn, if neither side has to be
waited for."""


class ClientGoneError(Exception):
    """The client has closed its connection; nobody waits for an answer."""


class RequestWriter:
    """Sends one request: its head, what was kept of its body, then the body as the client sends it.

    Attributes:
        kept: The part of the body that was sent.
        holding: The body waits until the next hop says that it wants it.
        asks_first: A body that has waited must not go, since it can be sent only once and the next
            hop may read all of it before it asks for a login.
        broken: The next hop takes no more; it may still have said why.
        started: Octets were sent on the present connection.
        body_started: Octets of the body were taken from the client.
        is_knocking: Only a head was sent on it, which is not the client's.
        taken: How many octets were read from the client for the body, its framing included.
    """

    def __init__(self, client: SocketStream, framing: Framing, kept: ReplayBuffer) -> None:
        self._client = client
        self._body = request_body_reader(framing)
        self._chunked = isinstance(framing, Chunked)
        self._out: memoryview | None = None
        self._replaying = False
        self._finished = False
        self._upstream: SocketStream | None = None
        self.kept = kept
        self.holding = False
        self.asks_first = False
        self.broken = False
        self.started = False
        self.body_started = False
        self.is_knocking = False
        self.taken = 0

    def aim(self, upstream: SocketStream, head: bytes) -> None:
        """Begin (again) on this connection."""
        self._upstream = upstream
        self._out = memoryview(head)
        self.kept.rewind()
        self._replaying = True
        self._finished = False
        self.broken = False
        self.started = False
        self.is_knocking = False

    def knock(self, upstream: SocketStream, head: bytes) -> None:
        """Send this head alone, as if the request had no content."""
        self.aim(upstream, head)
        self.holding = False
        self._replaying = False
        self._finished = True
        self.is_knocking = True

    def go_on(self, upstream: SocketStream) -> None:
        """Take over a request without content that has been sent already."""
        self._upstream = upstream
        self._finished = True
        self.started = True

    def content(self) -> bytes | None:
        """Return the whole content, None if it is not all here or is much."""
        return self.kept.all() if self._body.done and self.kept.whole else None

    @property
    def may_be_known(self) -> bool:
        """Whether `content` can still become the whole content."""
        return self.kept.whole and self.kept.fits_into_memory

    @property
    def body_done(self) -> bool:
        """Whether the client has sent the whole request."""
        return self._body.done

    @property
    def done(self) -> bool:
        """Whether the whole request is on its way."""
        return self._finished and self._out is None

    @property
    def blocked(self) -> bool:
        """Whether octets wait for the next hop to take them."""
        return self._out is not None and not self.broken

    @property
    def hungry(self) -> bool:
        """Whether only the client can make it go on."""
        return not (self._finished or self.blocked or self.holding or self.broken)

    def push(self) -> None:
        """Send what can be sent now.

        Raises:
            ClientGoneError: The client ended in the middle of its body.
            MessageError: The client's body is malformed.
            OSError: The client's connection was reset.
        """
        assert self._upstream is not None
        left = PARTS_A_TURN
        while not self.broken:
            if self._out is not None:
                left -= 1
                # The others get their turn, and then it is asked to go on at once.
                if not left or not self._flush(self._upstream):
                    return
            elif self._finished or self.holding:
                return
            elif self._replaying:
                self._next([self.kept.read()])
                self._replaying = self._out is not None
            elif self._body.done:
                self._finished = True
                if self._chunked:
                    self._out = memoryview(write_last_chunk(self._body.trailers))
            elif not self._read_client():
                return

    def take_ahead(self) -> bool:
        """Take and keep what the client has sent of its content, before it goes anywhere.

        Returns:
            Whether anything had come.

        Raises:
            ClientGoneError: The client ended in the middle of its body.
            MessageError: The client's body is malformed.
            OSError: The client's connection was reset.
        """
        has_come = self._read_client()
        self._out = None  # It goes out from what was kept, behind the next head.
        return has_come

    def _flush(self, upstream: SocketStream) -> bool:
        assert self._out is not None
        try:
            sent = upstream.send(self._out)
        except OSError:
            # It closed while we were sending, as proxies do that refuse an upload: its answer may
            # lie in our receive buffer.
            self.broken = True
            return False
        self.started = self.started or sent > 0
        self._out = self._out[sent:] if sent < len(self._out) else None
        return self._out is None

    def _read_client(self) -> bool:
        client = self._client
        data = client.take() if client.inbox else client.receive()
        if not data:
            if client.ended:
                raise ClientGoneError
            return False
        self.body_started = True
        self.taken += len(data)
        pieces, used = self._body.feed(data)
        if used < len(data):
            client.inbox += data[used:]
        for piece in pieces:
            self.kept.add(piece)
        self._next(pieces)
        return True

    def _next(self, pieces: list[Octets]) -> None:
        """Send these next, framed."""
        framed = [write_chunk(piece) for piece in pieces] if self._chunked else pieces
        octets = framed[0] if len(framed) == 1 else b"".join(framed)
        if octets:
            self._out = memoryview(octets)
