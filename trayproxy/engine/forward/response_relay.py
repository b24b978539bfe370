"""The answer of the next hop on its way to the client: its head, then its body."""

from dataclasses import replace
from typing import TYPE_CHECKING

from trayproxy.engine.error_pages import CUT_SHORT, RequestRefusedError, refused_answer
from trayproxy.engine.net.fd_task import READ, TIMED_OUT, WRITE, IoWait
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.proxy_auth.challenge_detection import (
    NETWORK_WANTS_SIGN_IN,
    Evidence,
    evidence,
)
from trayproxy.engine.transfer.head_cache import CachedRequest, CachedResponse, ParsedResponse
from trayproxy.engine.transfer.request_writer import RequestWriter
from trayproxy.engine.transfer.tunnel import Tunnel
from trayproxy.engine.upstream.pool import UpstreamConnection
from trayproxy.http.body import Body, Octets, response_body_reader, write_chunk, write_last_chunk
from trayproxy.http.errors import MessageError
from trayproxy.http.framing import Chunked, Length, UntilClose
from trayproxy.http.heads import find_response_head
from trayproxy.http.response import (
    Response,
    client_framing,
    parse_response,
    switches_protocols,
    write_interim,
    write_response,
)

if TYPE_CHECKING:
    from trayproxy.engine.downstream import Downstream
    from trayproxy.engine.server.client_connection import ClientConnection

INTERIM_AT_MOST = 100
"""Interim answers to one request: each may take as long as the final one, and none has to be."""

PARTS_A_TURN = 8
"""How many parts of an answer are passed on before the others get their turn, if neither side has
to be waited for."""


class ResponseBrokenError(Exception):
    """The next hop closed or broke the connection before its answer was complete.

    Attributes:
        was_closed_first: It had done so before it could read the request, as far as can be told.
    """

    def __init__(self, *, was_closed_first: bool = False) -> None:
        super().__init__("the connection to the next hop ended")
        self.was_closed_first = was_closed_first


class RequestBodyError(MessageError):
    """The client's body is malformed, or does not come."""


class AskFirstError(Exception):
    """Content that can be sent only once would go now, and nobody knows whether a login is wanted.

    Nothing of the content has been sent.
    """


class ResponseReader:
    """Takes the heads of the answers to one request from the next hop."""

    __slots__ = ("_client", "_due_at", "_engine", "_link", "_plan", "_raw", "_reply", "_request")

    def __init__(self, link: "Downstream", plan: CachedRequest) -> None:
        """Begin with nothing.

        Args:
            link: The client of the request.
            plan: The request's head, and what follows from it.
        """
        self._link = link
        self._engine = link.engine
        self._client = link.client
        self._plan = plan
        self._request = plan.request
        self._due_at = 0
        self._raw = b""
        self._reply: ParsedResponse | None = None

    def misunderstood(self, error: MessageError) -> RequestRefusedError:
        """Close the connection to a next hop whose answer is not passed on; return what to raise.

        Args:
            error: Why the answer is not passed on.
        """
        self._link.drop_upstream()
        return RequestRefusedError(refused_answer(error))

    async def await_head(self, sender: RequestWriter, upstream: UpstreamConnection) -> Response:
        """Send the request and return the head of its final answer; relay interim ones.

        Raises:
            ResponseBrokenError: The connection ended before the answer.
            MessageError: The answer, or the client's body, is malformed.
            TimeoutError: The answer does not come.
            ClientGoneError: The client left in the middle of its body.
        """
        engine, client, stream = self._engine, self._client, upstream.stream
        seen = interim = 0
        is_ready, persists = False, True
        while True:
            try:
                sender.push()
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
                response = self._read(head)
                persists = persists and response.keep_alive
                if not response.is_interim:
                    is_same = persists or not response.keep_alive
                    return response if is_same else replace(response, keep_alive=False)
                interim += 1
                if interim > INTERIM_AT_MOST:
                    raise MessageError(502, "it only announces an answer, again and again")
                await self._pass_interim(sender, response)
                continue
            seen = len(stream.inbox)
            if stream.ended:
                is_reset = sender.broken or stream.was_closed_first
                raise ResponseBrokenError(was_closed_first=is_reset and not stream.inbox)
            try:
                # A plain socket is read when it is said to be ready: looking before costs as much
                # as reading. What TLS has decrypted ahead nobody says.
                if (is_ready or not stream.plain) and (stream.fill() or stream.ended):
                    is_ready = False
                    continue
            except OSError as error:
                raise ResponseBrokenError(was_closed_first=not stream.inbox) from error
            limits = engine.limits
            if not sender.hungry:
                answer_s = limits.answer_s(self._request.method)
                self._link.deadline_in(answer_s if sender.done else limits.body_s)
            elif sender.taken >= self._due_at or self._link.deadline is None:
                # A client that sends an octet now and then makes no progress.
                self._due_at = sender.taken + limits.body_least
                self._link.deadline_in(limits.body_s)
            events = self._link.events(
                self._reading_client(sender), stream, READ | (WRITE if sender.blocked else 0)
            )
            woken = await IoWait(events, timeout=limits.own_expect_s if sender.holding else None)
            is_ready = woken == stream.descriptor
            if woken == TIMED_OUT:
                self._let_go(sender)
            elif woken == client.descriptor and not sender.hungry:
                client.fill()

    def _read(self, head: bytes) -> Response:
        """Read the head of an answer, or remember what it says.

        Raises:
            MessageError: It is malformed.
        """
        method = self._request.method
        reply = self._engine.replies.get((head, method))
        if reply is None:
            reply = ParsedResponse(parse_response(head, method))
            if reply.response.status != 407:  # No two of these are the same.
                self._engine.replies.keep((head, method), reply, len(head))
        self._raw, self._reply = head, reply
        return reply.response

    def _reading_client(self, sender: RequestWriter) -> int:
        """Return `READ` if the client is to be read: for its body, or, behind that, to take what it
        sends ahead and to see whether it leaves."""
        client = self._client
        room = len(client.inbox) < self._engine.limits.early_octets
        is_over = sender.body_done or sender.done
        is_read = sender.hungry or (is_over and not client.ended and room)
        return READ if is_read else 0

    @staticmethod
    def _let_go(sender: RequestWriter) -> None:
        """Hold content back no longer.

        Raises:
            AskFirstError: It must not go before the next hop was asked in another way.
        """
        if sender.asks_first:
            raise AskFirstError
        sender.holding = False

    async def _pass_interim(self, sender: RequestWriter, response: Response) -> None:
        """Pass a 1xx answer on (RFC 9110, section 15.2), unless it answers a question of our
        own."""
        if sender.holding and response.status == 100:
            self._let_go(sender)
            return
        minor = self._request.minor
        octets = write_interim(response, via=self._engine.via, client_minor=minor)
        if octets:
            await self._link.deliver(octets)


class ResponseRelay(ResponseReader):
    """Takes answers to one request of a client, and passes the last one on."""

    __slots__ = ()

    _link: "ClientConnection"

    def __init__(self, link: "ClientConnection", plan: CachedRequest) -> None:
        """Begin with nothing.

        Args:
            link: The client of the request.
            plan: The request's head, and what follows from it.
        """
        super().__init__(link, plan)

    async def pass_on(self, sender: RequestWriter, response: Response) -> bool:
        """Relay the answer. Return whether the client's connection goes on."""
        link, request = self._link, self._request
        upstream = link.upstream
        assert upstream is not None
        stream = upstream.stream
        if response.status == 101 and not switches_protocols(request, response):
            raise self.misunderstood(MessageError(502, "nobody asked for a 101"))
        if response.status == 101 or response.opens_tunnel:
            head = self._head_for_client(close=False)
            if self._plan.opens:
                self._engine.openings.keep(self._raw, head, len(head))
            await link.deliver(head)
            return self.become_tunnel(stream)
        framing = client_framing(response, request.minor)
        keep_alive = request.keep_alive and sender.body_done and not isinstance(framing, UntilClose)
        head = self._head_for_client(close=not keep_alive)
        dated = b"date" in response.fields
        if self._plan.simple and keep_alive and response.keep_alive:
            self._remember(response, head, dated=dated)
        if not dated:
            head = self._engine.date.add(head)
        body = response_body_reader(response.framing)
        is_chunked = isinstance(framing, Chunked)
        try:
            first = self._next_part(stream, body, is_chunked)
        except ResponseBrokenError:
            link.drop_upstream()
            raise RequestRefusedError(CUT_SHORT) from None
        except MessageError as error:
            raise self.misunderstood(error) from error
        try:
            await self._relay_body(sender, stream, body, b"".join((head, first)), is_chunked)
        except (ResponseBrokenError, MessageError, TimeoutError):
            # The client must see that this is not the whole (RFC 9112, section 8).
            link.drop_upstream()
            link.cut()
            return False
        is_sure = response.keep_alive and body.is_unambiguous
        if not (is_sure and sender.done) or stream.inbox or stream.ended:
            link.drop_upstream()
        if not keep_alive:
            await link.linger()
        return keep_alive

    def _head_for_client(self, *, close: bool) -> bytes:
        """Write the head of the last answer for the client, or remember it."""
        assert self._reply is not None
        minor = self._request.minor
        head = self._reply.heads.get((minor, close))
        if head is None:
            response = self._reply.response
            head = write_response(response, via=self._engine.via, client_minor=minor, close=close)
            self._reply.heads[minor, close] = head
        return head

    def become_tunnel(self, upstream: SocketStream) -> bool:
        """Let octets pass both ways from now on. Return that no request follows."""
        self._link.deadline = None
        self._link.tunnel = Tunnel(self._client, upstream, self._engine.pipes)
        return False

    def _remember(self, response: Response, head: bytes, *, dated: bool) -> None:
        """Remember what became of this answer's head, for the next simple request.

        Not of a 401: one octet for octet the same may be a proxy's refusal (see `refusals`). Nor of
        a 511, which people are told of each time.
        """
        match response.framing:
            case Length(octets) if response.status not in (401, NETWORK_WANTS_SIGN_IN):
                confirms = evidence(response, self._request) is not Evidence.NONE
                answer_plan = CachedResponse(head, octets, dated=dated, confirms=confirms)
                self._engine.answers.keep(self._raw, answer_plan, len(self._raw))

    async def _relay_body(
        self, sender: RequestWriter, stream: SocketStream, body: Body, first: bytes, chunked: bool
    ) -> None:
        """Deliver what is here already, and the rest of the body, no faster than it is taken.

        Raises:
            ResponseBrokenError: The connection to the next hop broke.
            MessageError: The body is malformed or ended early, or the rest of the request is.
            TimeoutError: Nothing moves any more.
        """
        client = self._client
        rest = memoryview(first)
        left = PARTS_A_TURN
        while True:
            rest = rest[client.send(rest) :]
            if not rest:
                if body.done:
                    return
                rest = memoryview(self._next_part(stream, body, chunked))
                left -= 1
                if rest and left:
                    continue
            left = PARTS_A_TURN
            if not sender.done:
                sender.push()
            self._link.deadline_in(self._engine.limits.answer_body_s)
            upload = WRITE if sender.blocked else 0
            if rest:
                download = WRITE | (READ if sender.hungry else 0)
                await IoWait(self._link.events(download, stream, upload))
                continue
            events = self._link.events(self._reading_client(sender), stream, READ | upload)
            if await IoWait(events) == client.descriptor and not sender.hungry:
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
            data = stream.take()
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
