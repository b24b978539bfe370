"""Relay the final response of the next hop to the client: its head, then its content."""

from typing import TYPE_CHECKING

from trayproxy.engine.error_pages import CONNECTION_CLOSED, RequestRefusedError
from trayproxy.engine.net.fd_task import READ, WRITE, IoWait
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.proxy_auth.challenge_detection import (
    NETWORK_AUTHENTICATION_REQUIRED,
    Evidence,
    evidence,
)
from trayproxy.engine.transfer.head_cache import CachedRequest, CachedResponse
from trayproxy.engine.transfer.request_writer import RequestWriter
from trayproxy.engine.transfer.response_reader import ResponseBrokenError, ResponseReader
from trayproxy.engine.transfer.tunnel import Tunnel
from trayproxy.http.body import Body, Octets, response_body_reader, write_chunk, write_last_chunk
from trayproxy.http.errors import MessageError
from trayproxy.http.framing import Chunked, Length, UntilClose
from trayproxy.http.response import (
    Response,
    client_framing,
    switches_protocols,
    write_response,
)

if TYPE_CHECKING:
    from trayproxy.engine.server.client_connection import ClientConnection

PARTS_PER_TURN = 8
"""How many parts of an answer are passed on before the others get their turn, if neither side has
to be waited for."""


class ResponseRelay(ResponseReader):
    """Takes answers to one request of a client, and passes the last one on."""

    __slots__ = ()

    _downstream: "ClientConnection"

    def __init__(self, connection: "ClientConnection", cached: CachedRequest) -> None:
        """Begin with nothing.

        Args:
            link: The client of the request.
            plan: The request's head, and what follows from it.
        """
        super().__init__(connection, cached)

    async def relay(self, writer: RequestWriter, response: Response) -> bool:
        """Relay the answer. Return whether the client's connection goes on."""
        connection, request = self._downstream, self._request
        upstream = connection.upstream
        assert upstream is not None
        stream = upstream.stream
        if response.status == 101 and not switches_protocols(request, response):
            raise self.reject_response(MessageError(502, "nobody asked for a 101"))
        if response.status == 101 or response.opens_tunnel:
            head = self._head_for_client(close=False)
            if self._cached.opens_tunnel:
                self._engine.tunnel_replies.store(self._raw_head, head, len(head))
            await connection.deliver(head)
            return self.open_tunnel(stream)
        framing = client_framing(response, request.minor)
        keep_alive = request.keep_alive and writer.body_done and not isinstance(framing, UntilClose)
        head = self._head_for_client(close=not keep_alive)
        has_date = b"date" in response.fields
        if self._cached.is_simple and keep_alive and response.keep_alive:
            self._cache_response(response, head, has_date=has_date)
        if not has_date:
            head = self._engine.date_field.add_to(head)
        body = response_body_reader(response.framing)
        is_chunked = isinstance(framing, Chunked)
        try:
            first = self._next_part(stream, body, is_chunked)
        except ResponseBrokenError:
            connection.drop_upstream()
            raise RequestRefusedError(CONNECTION_CLOSED) from None
        except MessageError as error:
            raise self.reject_response(error) from error
        try:
            await self._relay_body(writer, stream, body, b"".join((head, first)), is_chunked)
        except (ResponseBrokenError, MessageError, TimeoutError):
            # The client must see that this is not the whole (RFC 9112, section 8).
            connection.drop_upstream()
            connection.reset_on_close()
            return False
        is_sure = response.keep_alive and body.is_unambiguous
        if not (is_sure and writer.done) or stream.inbox or stream.ended:
            connection.drop_upstream()
        if not keep_alive:
            await connection.linger()
        return keep_alive

    def _head_for_client(self, *, close: bool) -> bytes:
        """Write the head of the last answer for the client, or remember it."""
        assert self._parsed is not None
        minor = self._request.minor
        head = self._parsed.client_heads.get((minor, close))
        if head is None:
            response = self._parsed.response
            head = write_response(response, via=self._engine.via, client_minor=minor, close=close)
            self._parsed.client_heads[minor, close] = head
        return head

    def open_tunnel(self, upstream: SocketStream) -> bool:
        """Let octets pass both ways from now on. Return that no request follows."""
        self._downstream.deadline = None
        self._downstream.tunnel = Tunnel(self._client, upstream, self._engine.pipe_pool)
        return False

    def _cache_response(self, response: Response, head: bytes, *, has_date: bool) -> None:
        """Remember what became of this answer's head, for the next simple request.

        Not of a 401: one octet for octet the same may be a proxy's refusal (see `refusals`). Nor of
        a 511, which people are told of each time.
        """
        match response.framing:
            case Length(octets) if response.status not in (401, NETWORK_AUTHENTICATION_REQUIRED):
                confirms_login = evidence(response, self._request) is not Evidence.NONE
                entry = CachedResponse(
                    head, octets, has_date=has_date, confirms_login=confirms_login
                )
                self._engine.cached_responses.store(self._raw_head, entry, len(self._raw_head))

    async def _relay_body(
        self, writer: RequestWriter, stream: SocketStream, body: Body, first: bytes, chunked: bool
    ) -> None:
        """Deliver what is here already, and the rest of the body, no faster than it is taken.

        Raises:
            ResponseBrokenError: The connection to the next hop broke.
            MessageError: The body is malformed or ended early, or the rest of the request is.
            TimeoutError: Nothing moves any more.
        """
        client = self._client
        rest = memoryview(first)
        left = PARTS_PER_TURN
        while True:
            rest = rest[client.send(rest) :]
            if not rest:
                if body.done:
                    return
                rest = memoryview(self._next_part(stream, body, chunked))
                left -= 1
                if rest and left:
                    continue
            left = PARTS_PER_TURN
            if not writer.done:
                writer.push()
            self._downstream.set_deadline(self._engine.limits.response_body_s)
            upload = WRITE if writer.waits_for_upstream else 0
            if rest:
                download = WRITE | (READ if writer.waits_for_client else 0)
                await IoWait(self._downstream.events(download, stream, upload))
                continue
            events = self._downstream.events(self._client_mask(writer), stream, READ | upload)
            if await IoWait(events) == client.descriptor and not writer.waits_for_client:
                client.fill()

    def _next_part(self, stream: SocketStream, body: Body, chunked: bool) -> Octets:
        """Return the next part of the answer's body as the client gets it; empty: nothing has come
        yet."""
        while not body.done:
            if not stream.inbox and not stream.ended:
                try:
                    stream.fill()
                except OSError as error:
                    raise ResponseBrokenError from error
            if stream.ended and not stream.inbox:
                if stream.truncated:
                    raise ResponseBrokenError  # Truncated on the way (RFC 9112, section 9.8).
                body.eof()
                break
            if not stream.inbox:
                return b""
            data = stream.take_inbox()
            pieces, used = body.feed(data)
            if used < len(data):
                stream.inbox += data[used:]
            if pieces:
                self._engine.counters.received += sum(map(len, pieces))
                return self._framed(pieces, body, chunked)
        return write_last_chunk(body.trailers) if chunked else b""

    @staticmethod
    def _framed(pieces: list[Octets], body: Body, chunked: bool) -> Octets:
        if not chunked:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        end = [write_last_chunk(body.trailers)] if body.done else []
        return b"".join([*map(write_chunk, pieces), *end])
