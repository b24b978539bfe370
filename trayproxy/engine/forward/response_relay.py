"""Relay the final response of the next hop to the client: its head, then its content."""

from trayproxy.engine.context import EngineContext
from trayproxy.engine.downstream import ClientDownstream
from trayproxy.engine.error_pages import CONNECTION_CLOSED, RequestRefusedError, tunnel_refused
from trayproxy.engine.net.fd_task import READ, WRITE, IoWait
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.proxy_auth.challenge_detection import (
    NETWORK_AUTHENTICATION_REQUIRED,
    Evidence,
    evidence,
)
from trayproxy.engine.transfer.head_cache import CachedResponse
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

PARTS_PER_TURN = 8
"""The number of parts of a response relayed before other connections get their turn, if neither
side blocks."""


class ResponseRelay(ResponseReader):
    """Reads the responses to one request of a client, and relays the final response."""

    _context: EngineContext
    _downstream: ClientDownstream

    async def relay(self, writer: RequestWriter, response: Response) -> bool | Tunnel:
        """Relay the final response. Return True if the client's connection is kept alive; the
        tunnel it becomes after a response that opens a tunnel.

        Raises:
            RequestRefusedError: The response is malformed or was cut short, or cannot be sent to a
                client without HTTP; nothing was sent to the client.
            OSError: The client's connection broke.
        """
        downstream, request = self._downstream, self._request
        upstream = downstream.upstream
        assert upstream is not None
        stream = upstream.stream
        if response.status == 101 and not switches_protocols(request, response):
            raise self.reject_response(MessageError(502, "a 101 without a request for an upgrade"))
        if response.status == 101 or response.opens_tunnel:
            head = self._head_for_client(close=False)
            if self._cached.opens_tunnel:
                self._context.caches.tunnel_replies.store(self._raw_head, head, len(head))
            await downstream.confirm_tunnel(head)
            return self.open_tunnel(stream)
        if not downstream.speaks_http:
            downstream.drop_upstream()
            raise RequestRefusedError(tunnel_refused(response.status))
        framing = client_framing(response, request.minor)
        keep_alive = request.keep_alive and writer.body_done and not isinstance(framing, UntilClose)
        head = self._head_for_client(close=not keep_alive)
        has_date = b"date" in response.fields
        if self._cached.is_simple and keep_alive and response.keep_alive:
            self._cache_response(response, head, has_date=has_date)
        if not has_date:
            head = self._context.caches.date_field.add_to(head)
        body = response_body_reader(response.framing)
        is_chunked = isinstance(framing, Chunked)
        try:
            first_octets = self._next_part(stream, body, is_chunked)
        except ResponseBrokenError:
            downstream.drop_upstream()
            raise RequestRefusedError(CONNECTION_CLOSED) from None
        except MessageError as error:
            raise self.reject_response(error) from error
        try:
            await self._relay_body(writer, stream, body, b"".join((head, first_octets)), is_chunked)
        except (ResponseBrokenError, MessageError, TimeoutError):
            # The client must be able to detect the incomplete response (RFC 9112, section 8).
            downstream.drop_upstream()
            downstream.client.reset_on_close()
            return False
        is_reusable = response.keep_alive and body.is_unambiguous
        if not (is_reusable and writer.done) or stream.inbox or stream.ended:
            downstream.drop_upstream()
        if not keep_alive:
            await downstream.linger()
        return keep_alive

    def _head_for_client(self, *, close: bool) -> bytes:
        """Return the head of the final response for the client, from the cache or written now."""
        assert self._parsed is not None
        minor = self._request.minor
        head = self._parsed.client_heads.get((minor, close))
        if head is None:
            response = self._parsed.response
            head = write_response(
                response, via=self._context.own_address.via, client_minor=minor, close=close
            )
            self._parsed.client_heads[minor, close] = head
        return head

    def open_tunnel(self, upstream: SocketStream) -> Tunnel:
        """Return a new tunnel between the client and the next hop."""
        return Tunnel(self._client, upstream, self._context.pipe_pool)

    def _cache_response(self, response: Response, head: bytes, *, has_date: bool) -> None:
        """Cache this response head for the next simple request.

        A 401 is not cached: the same octets may be the refusal of a proxy (see
        `trayproxy.engine.proxy_auth.challenge_detection`). Nor is a 511, which is reported to the
        user each time.
        """
        match response.framing:
            case Length(octets) if response.status not in (401, NETWORK_AUTHENTICATION_REQUIRED):
                confirms_login = evidence(response, self._request) is not Evidence.NONE
                entry = CachedResponse(head, octets, has_date, confirms_login)
                self._context.caches.responses.store(self._raw_head, entry, len(self._raw_head))

    async def _relay_body(
        self,
        writer: RequestWriter,
        stream: SocketStream,
        body: Body,
        first_octets: bytes,
        chunked: bool,
    ) -> None:
        """Send the head with the content received already, and then the rest of the content, no
        faster than the client reads. The writer may still be sending content of the request.

        Raises:
            ResponseBrokenError: The connection to the next hop broke.
            MessageError: The content of the response or of the request is malformed.
            TimeoutError: No octets moved in time.
        """
        client = self._client
        unsent = memoryview(first_octets)
        parts_left = PARTS_PER_TURN
        while True:
            unsent = unsent[client.send(unsent) :]
            if not unsent:
                if body.done:
                    return
                unsent = memoryview(self._next_part(stream, body, chunked))
                parts_left -= 1
                if unsent and parts_left:
                    continue
            parts_left = PARTS_PER_TURN
            if not writer.done:
                writer.push()
            self._downstream.set_deadline(self._context.limits.response_body_s)
            upload = WRITE if writer.waits_for_upstream else 0
            if unsent:
                download = WRITE | (READ if writer.waits_for_client else 0)
                await IoWait(self._downstream.events(download, stream, upload))
                continue
            events = self._downstream.events(self._client_mask(writer), stream, READ | upload)
            if await IoWait(events) == client.descriptor and not writer.waits_for_client:
                client.fill()

    def _next_part(self, stream: SocketStream, body: Body, chunked: bool) -> Octets:
        """Return the next part of the content, framed for the client; empty if none has arrived."""
        while not body.done:
            if not stream.inbox and not stream.ended:
                try:
                    stream.fill()
                except OSError as error:
                    raise ResponseBrokenError from error
            if stream.ended and not stream.inbox:
                if stream.truncated:
                    raise ResponseBrokenError  # No close_notify (RFC 9112, section 9.8).
                body.eof()
                break
            if not stream.inbox:
                return b""
            data = stream.take_inbox()
            pieces, used = body.feed(data)
            if used < len(data):
                stream.inbox += data[used:]
            if pieces:
                self._context.counters.received += sum(map(len, pieces))
                return self._framed(pieces, body, chunked)
        return write_last_chunk(body.trailers) if chunked else b""

    @staticmethod
    def _framed(pieces: list[Octets], body: Body, chunked: bool) -> Octets:
        if not chunked:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        end = [write_last_chunk(body.trailers)] if body.done else []
        return b"".join([*map(write_chunk, pieces), *end])
