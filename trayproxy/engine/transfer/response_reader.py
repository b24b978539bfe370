"""Read the heads of the responses to a request from the next hop."""

from dataclasses import replace
from typing import Protocol

from trayproxy.engine.error_pages import RequestRefusedError, invalid_response
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.fd_task import READ, TIMED_OUT, WRITE, IoWait
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.transfer.head_cache import CachedRequest, HeadCaches, ParsedResponse
from trayproxy.engine.transfer.request_writer import RequestWriter
from trayproxy.engine.upstream.pool import UpstreamConnection
from trayproxy.http.errors import MessageError
from trayproxy.http.heads import find_response_head
from trayproxy.http.response import Response, parse_response, write_interim

MAX_INTERIM = 100
"""The number of interim (1xx) responses accepted for one request: each may take as long as the
final response, and a hostile server could send them for ever."""


class ResponseBrokenError(Exception):
    """The next hop closed or reset the connection before the response was complete.

    Attributes:
        request_was_unread: True if the next hop had closed the connection before reading the
            request, as far as the system exposes this.
    """

    def __init__(self, *, request_was_unread: bool = False) -> None:
        super().__init__("the connection to the next hop ended")
        self.request_was_unread = request_was_unread


class RequestBodyError(MessageError):
    """The client's content is malformed, or did not arrive in time."""


class SignInFirstError(Exception):
    """The next hop may still ask for a login, and the content can be sent only once.

    No content has been sent.
    """


class ReaderContext(Protocol):
    """The part of `trayproxy.engine.context.EngineContext` needed to read responses."""

    limits: EngineLimits
    caches: HeadCaches

    @property
    def via(self) -> bytes:
        """The pseudonym of TrayProxy in Via."""


class ReaderDownstream(Protocol):
    """The part of `trayproxy.engine.downstream.Downstream` needed to read responses."""

    client: SocketStream
    deadline: float | None

    @property
    def context(self) -> ReaderContext:
        """The objects shared by all requests."""

    def set_deadline(self, seconds: float) -> None:
        """Set the time, in seconds from now, after which the wait for the next hop ends."""

    def events(
        self, client_mask: int, upstream: SocketStream | None, upstream_mask: int
    ) -> dict[int, int]:
        """Return the descriptors and event masks to wait for."""

    def drop_upstream(self) -> None:
        """Close the upstream connection."""

    async def deliver(self, data: bytes) -> None:
        """Send octets to the client."""


class ResponseReader:
    """Reads the heads of the responses to one request."""

    def __init__(self, downstream: ReaderDownstream, cached: CachedRequest) -> None:
        self._downstream = downstream
        self._context = downstream.context
        self._client = downstream.client
        self._cached = cached
        self._request = cached.request
        self._progress_mark = 0
        self._raw_head = b""
        self._parsed: ParsedResponse | None = None

    def reject_response(self, error: MessageError) -> RequestRefusedError:
        """Close the connection to the next hop. Return the error to raise for its response."""
        self._downstream.drop_upstream()
        return RequestRefusedError(invalid_response(error))

    async def read_head(self, writer: RequestWriter, upstream: UpstreamConnection) -> Response:
        """Send the request, relay interim responses, and return the head of the final response.

        Raises:
            ResponseBrokenError: The connection ended before the response head.
            MessageError: The response is malformed, or there were too many interim responses.
            RequestBodyError: The client's content is malformed.
            SignInFirstError: The client's content must not be sent yet.
            TimeoutError: The response did not arrive in time.
            ClientGoneError: The client closed its connection in the middle of its content.
        """
        stream = upstream.stream
        seen = interim_count = 0
        is_ready, persists = False, True
        while True:
            try:
                writer.push()
            except MessageError as error:
                raise RequestBodyError(error.status, str(error)) from None
            if upstream.leftover is not None:
                upstream.skip_leftover()
            end = find_response_head(stream.inbox, seen=seen) if stream.inbox else None
            if end is not None:
                head = bytes(stream.inbox[:end])
                del stream.inbox[:end]
                seen = 0
                upstream.leftover = None
                response = self._parse(head)
                persists = persists and response.keep_alive
                if not response.is_interim:
                    is_same = persists == response.keep_alive
                    return response if is_same else replace(response, keep_alive=False)
                interim_count += 1
                if interim_count > MAX_INTERIM:
                    raise MessageError(502, "it sent too many interim responses")
                await self._relay_interim(writer, response)
                continue
            seen = len(stream.inbox)
            if stream.ended:
                is_reset = writer.is_broken or stream.last_data_was_unread
                raise ResponseBrokenError(request_was_unread=is_reset and not stream.inbox)
            # A plain socket is read only after an event: polling costs as much as reading. For
            # octets already decrypted by TLS there is no event.
            if (is_ready or not stream.plain) and _fill(stream):
                is_ready = False
                continue
            woken_by = await self._next_wait(writer, stream)
            is_ready = woken_by == stream.descriptor
            if woken_by == TIMED_OUT:
                self._release_content(writer)
            elif woken_by == self._client.descriptor and not writer.waits_for_client:
                self._client.fill()

    def _next_wait(self, writer: RequestWriter, stream: SocketStream) -> IoWait:
        """Set the deadline, and return the wait for the next hop and the client."""
        limits, downstream = self._context.limits, self._downstream
        if not writer.waits_for_client:
            response_head_s = limits.response_head_limit_s(self._request.method)
            downstream.set_deadline(response_head_s if writer.done else limits.body_s)
        elif writer.octets_read >= self._progress_mark or downstream.deadline is None:
            # The deadline moves only with real progress, not with single octets.
            self._progress_mark = writer.octets_read + limits.min_body_octets
            downstream.set_deadline(limits.body_s)
        upstream_mask = READ | (WRITE if writer.waits_for_upstream else 0)
        events = downstream.events(self._client_mask(writer), stream, upstream_mask)
        timeout = limits.expect_continue_s if writer.holds_content else None
        return IoWait(events, timeout=timeout)

    def _parse(self, head: bytes) -> Response:
        """Return the parsed response head, from the cache or parsed now."""
        method = self._request.method
        parsed = self._context.caches.parsed_responses.get((head, method))
        if parsed is None:
            parsed = ParsedResponse(parse_response(head, method))
            if parsed.response.status != 407:  # Each 407 differs: challenges contain nonces.
                self._context.caches.parsed_responses.store((head, method), parsed, len(head))
        self._raw_head, self._parsed = head, parsed
        return parsed.response

    def _client_mask(self, writer: RequestWriter) -> int:
        """Return `READ` if the client's socket is to be read, else 0: for the content and, up to a
        limit, after it, to receive further requests and to detect the client's disconnection."""
        client = self._client
        room = len(client.inbox) < self._context.limits.max_early_octets
        is_over = writer.body_done or writer.done
        is_read = writer.waits_for_client or (is_over and not client.ended and room)
        return READ if is_read else 0

    @staticmethod
    def _release_content(writer: RequestWriter) -> None:
        """Stop holding the content: the writer sends it from now on."""
        if writer.needs_sign_in_first:
            raise SignInFirstError
        writer.holds_content = False

    async def _relay_interim(self, writer: RequestWriter, response: Response) -> None:
        """Relay a 1xx response (RFC 9110, section 15.2).

        A 100 is not relayed if it answers the Expect field added by TrayProxy itself.
        """
        if writer.holds_content and response.status == 100:
            self._release_content(writer)
            return
        minor = self._request.minor
        octets = write_interim(response, via=self._context.via, client_minor=minor)
        if octets:
            await self._downstream.deliver(octets)


def _fill(stream: SocketStream) -> bool:
    """Receive octets into the inbox; return True if there were any, or the stream has ended.

    Raises:
        ResponseBrokenError: The connection was reset, or has timed out.
    """
    try:
        return stream.fill() or stream.ended
    except OSError as error:
        # After ETIMEDOUT the request may have been read: only the replies are missing.
        is_reset = not isinstance(error, TimeoutError)
        raise ResponseBrokenError(request_was_unread=is_reset and not stream.inbox) from error
