"""One request and its answer: dial, send, sign in when asked, relay."""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from trayproxy.desk.answer import Answer, Waiter
from trayproxy.desk.problems import Refusal
from trayproxy.engine.dial import Call, SignInWantedError, UnreachableError, UnusableError
from trayproxy.engine.memory import AnswerPlan, Plan, Reply
from trayproxy.engine.pages import (
    BAD_ANSWER,
    CUT_SHORT,
    NO_PROFILE,
    SITE_WANTS_SIGN_IN,
    TOO_LARGE_TO_REPEAT,
    Page,
    RefusedError,
    refused_request,
    sign_in_not_set,
    silent,
)
from trayproxy.engine.sender import KEPT_AT_MOST, ClientGoneError, Kept, Sender
from trayproxy.engine.strand import READ, TIMED_OUT, WRITE, Wait
from trayproxy.engine.stream import Stream
from trayproxy.engine.tunnel import Tunnel
from trayproxy.engine.upstream import Connection, Key
from trayproxy.engine.way import Way
from trayproxy.http.body import Body, Octets, body_reader, last_chunk, write_chunk
from trayproxy.http.challenges import Challenge, parse_challenges
from trayproxy.http.errors import MessageError
from trayproxy.http.framing import Chunked, Length, NoBody, UntilClose
from trayproxy.http.heads import find_response_head
from trayproxy.http.request import Request, request_target, write_request
from trayproxy.http.response import (
    Response,
    client_framing,
    parse_response,
    switches_protocols,
    write_interim,
    write_response,
)
from trayproxy.profiles.profile import Profile

if TYPE_CHECKING:
    from trayproxy.engine.client import ClientWork

logger = logging.getLogger(__name__)

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
"""Methods that may be sent again after a reused connection failed (RFC 9110, section 9.2.2)."""
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
"""What opens a tunnel that needs no upstream (RFC 9110, section 9.3.6)."""
INTERIM_AT_MOST = 100
"""Interim answers to one request: each may take as long as the final one, and none has to be."""


class BrokenError(Exception):
    """The next hop closed or broke the connection before its answer was complete."""


class BadBodyError(MessageError):
    """The client's body is malformed, or does not come."""


def refusal_page(refusal: Refusal) -> Page:
    """Return the page for a request that is not signed in: 503, never the 407 itself."""
    problem = refusal.problem
    return Page(
        503,
        problem.title,
        problem.body,
        "proxy_configuration_error",
        problem.id,
        refusal.retry_after,
        details=refusal.details,
    )


class Exchange:
    """One request on its way.

    Everything that it depends on is taken once, at its start: a profile that is switched meanwhile
    changes nothing for it.
    """

    __slots__ = (
        "_client",
        "_dead",
        "_engine",
        "_failure",
        "_link",
        "_parked",
        "_plan",
        "_preferred",
        "_raw",
        "_reply",
        "_request",
        "_sent",
        "_waiter",
        "_way",
    )

    def __init__(self, link: "ClientWork", plan: Plan, sent: Connection | None = None) -> None:
        """Begin with a request.

        Args:
            link: Its client.
            plan: Its head, and what follows from it.
            sent: Where it has been sent already, on the short way.
        """
        self._link = link
        self._engine = link.engine
        self._client = link.client
        self._plan = plan
        self._request = plan.request
        self._parked = False
        self._waiter: Waiter | None = None
        self._sent = sent
        self._raw = b""
        self._reply: Reply | None = None
        self._dead: tuple[Way, ...] = ()
        self._failure: UnreachableError | None = None

    async def run(self) -> bool:
        """Bring the request to its end. Return whether the client's connection goes on.

        Raises:
            ClientGoneError: The client left.
            OSError: The client's connection broke.
        """
        authority = self._request.target.authority
        assert authority is not None  # The forms without one are answered before they come here.
        way = self._sent.way if self._sent is not None else self._engine.signpost(authority)
        if way is None:
            return await self._refuse(NO_PROFILE)
        self._preferred = way
        if way.others and self._sent is None:
            way = self._engine.failover.choose(way) or way
        self._way = way
        kept: Kept | None = None
        try:
            framing = self._request.framing
            too_large = isinstance(framing, Length) and framing.octets > KEPT_AT_MOST
            comes_back = any(one.signs_requests for one in (way, *self._preferred.others))
            kept = Kept(comes_back and not too_large)
            return await self._converse(Sender(self._client, framing, kept))
        except RefusedError as refused:
            return await self._refuse(refused.page)
        except BadBodyError as error:
            self._link.drop_upstream()
            page = refused_request(error.status, str(error))
            return await self._link.answer(page, self._request, keep_alive=False)
        except BaseException:
            # The client left, or nothing moved any more. What may still come on the upstream
            # connection answers this request: nobody else may get it.
            self._link.drop_upstream()
            raise
        finally:
            if kept is not None:
                kept.close()

    async def _refuse(self, page: Page) -> bool:
        keep_alive = self._request.keep_alive and self._request.framing == NoBody()
        return await self._link.answer(page, self._request, keep_alive=keep_alive)

    # --- the conversation with the next hop ---

    async def _converse(self, sender: Sender) -> bool:
        """Send the request, with a login when one is asked for, until there is an answer to
        relay. Return whether the client's connection goes on."""
        answer = self._known() if self._sent is None else self._sent.answer
        while True:
            try:
                outcome = await self._try(sender, answer)
            except UnreachableError as error:
                self._take_another_way(error, sender)
                answer = self._known()
                continue
            if outcome is None:
                return await self._open_directly()
            if isinstance(outcome, Response):
                return await self._relay(sender, outcome)
            if not self._way.signs_in:
                raise RefusedError(sign_in_not_set(self._profile.name))
            answer = await self._ask(outcome, answer)
            if sender.body_started and not sender.kept.whole:
                self._engine.desk.inconclusive(answer, "the request could not be repeated")
                raise RefusedError(TOO_LARGE_TO_REPEAT)

    def _known(self) -> Answer | None:
        """Return the login to send before anybody asks for it."""
        way = self._way
        return self._engine.desk.known(way.space) if way.signs_in and way.space else None

    @property
    def _profile(self) -> Profile:
        assert self._way.profile is not None  # A next hop with a login belongs to one.
        return self._way.profile

    async def _try(
        self, sender: Sender, answer: Answer | None
    ) -> Response | tuple[Challenge, ...] | None:
        """Send the request with this login.

        Returns:
            The answer to relay; the challenges of a next hop that wants a login, or another one;
            None if the target itself is connected and was asked for a tunnel.

        Raises:
            UnreachableError: The next hop of this way is dead.
            RefusedError: There is no answer.
        """
        desk, way = self._engine.desk, self._way
        try:
            if way.ends_at_target and self._request.method == b"CONNECT":
                await self._connected(answer, fresh=True)
                return None
            response = await self._attempt(sender, answer)
        except SignInWantedError as wanted:
            return wanted.challenges
        except BaseException as error:
            if answer is not None:
                desk.inconclusive(answer, type(error).__name__)
            raise
        if response.status != 407:
            if answer is not None and way.signs_requests and not answer.verified:
                desk.accepted(answer)
            return response
        self._link.drop_upstream()
        if way.ends_at_target:
            raise RefusedError(SITE_WANTS_SIGN_IN)
        return parse_challenges(response.fields.get_all(b"proxy-authenticate"))

    def _take_another_way(self, error: UnreachableError, sender: Sender) -> None:
        """Go on by another upstream of the profile, since this one cannot be reached.

        Raises:
            UnreachableError: There is no other; that of the preferred one, if it was tried.
        """
        way, preferred, failover = self._way, self._preferred, self._engine.failover
        self._failure = self._failure or error
        other = None
        if preferred.others and way.upstream is not None:
            failover.died(way.upstream)
            self._dead = (*self._dead, way)
            other = failover.choose(preferred, self._dead)
        if other is None or (sender.body_started and not sender.kept.whole):
            self._engine.observer.failed(way, self._failure.page)
            raise self._failure
        logger.info("%s: going on by %s", error.page.title, other.upstream)
        self._way = other

    async def _open_directly(self) -> bool:
        """Let a tunnel to the target itself begin. It is connected, and is sent no CONNECT."""
        upstream = self._link.upstream
        assert upstream is not None
        self._engine.observer.reached(self._way)
        await self._link.deliver(ESTABLISHED)
        return self._become_tunnel(upstream.stream)

    async def _ask(self, challenges: tuple[Challenge, ...], tried: Answer | None) -> Answer:
        """Wait at the sign-in desk.

        Raises:
            RefusedError: The person declined, or there is no common way to sign in.
            ClientGoneError: The client did not wait.
        """
        assert self._way.space is not None
        if self._waiter is None:
            client = self._client.socket
            ends = (client.getsockname()[:2], client.getpeername()[:2])
            self._waiter = Waiter(str(self._request.target.authority), connection=ends)
        future = self._engine.desk.challenged(
            self._way.space, self._profile, challenges, self._waiter, tried
        )
        self._parked = True
        self._link.deadline = None
        try:
            while not future.done():
                await self._pause(Wait({}, future=future))
        finally:
            self._parked = False
            future.cancel()
        result = future.result()
        if isinstance(result, Refusal):
            raise RefusedError(refusal_page(result))
        return result

    async def _attempt(self, sender: Sender, answer: Answer | None) -> Response:
        """Send the request once and return the head of its final answer.

        A connection that was kept may have been closed by the other side just now; then the request
        is sent once more, on a new one, if that can do no harm (RFC 9112, section 9.3.1).

        Raises:
            RefusedError: There is no answer.
        """
        fresh = False
        while True:
            if self._sent is not None:
                upstream, self._sent = self._sent, None
                sender.go_on(upstream.stream)
                if self._link.is_late:
                    self._link.is_late = False
                    raise self._gave_up()
            else:
                upstream = await self._connected(answer, fresh=fresh)
                sender.aim(upstream.stream, self._write_head(sender, answer))
            try:
                response = await self._await_answer(sender, upstream)
            except BrokenError as error:
                reused = upstream.used > 0
                self._link.drop_upstream()
                if reused and self._may_repeat(sender):
                    fresh = True
                    continue
                if not reused:
                    self._note_silence()
                self._engine.observer.failed(self._way, CUT_SHORT)
                raise RefusedError(CUT_SHORT) from error
            except BadBodyError:
                raise
            except MessageError as error:
                raise self._misunderstood(str(error)) from error
            except TimeoutError as error:
                if sender.hungry:
                    raise BadBodyError(408, "its content did not come in time") from error
                raise self._gave_up() from error
            if not upstream.used and self._preferred.others and self._way.upstream is not None:
                self._engine.failover.lives(self._way.upstream)
            upstream.used += 1
            self._engine.observer.reached(self._way)
            return response

    def _write_head(self, sender: Sender, answer: Answer | None) -> bytes:
        """Return the head that goes to the next hop."""
        request = self._request
        sender.holding = (
            self._way.signs_requests
            and answer is None
            and not sender.kept.whole
            and not request.expects_continue
        )
        if sender.holding:
            # Too large to be kept: learn of a 407 before the body, as RFC 9110, 10.1.1 provides.
            request = replace(request, expects_continue=True)
        return self._wire(request, answer)

    def _wire(self, request: Request, answer: Answer | None) -> bytes:
        plan = self._plan
        upstream = self._link.upstream
        if (
            request is plan.request
            and plan.way is self._way
            and plan.answer is answer
            and upstream is not None
            and plan.key == upstream.key
        ):
            return plan.wire
        credentials = None
        if answer is not None and self._way.signs_requests:
            credentials = answer.credentials(request.method, request_target(request))
        direct = self._way.ends_at_target
        wire = write_request(request, via=self._engine.via, credentials=credentials, direct=direct)
        if request is plan.request and upstream is not None:
            plan.was_written(wire, self._way, answer, upstream.key)
        return wire

    def _may_repeat(self, sender: Sender) -> bool:
        """Whether the request may be sent again after a kept connection failed."""
        if sender.body_started and not sender.kept.whole:
            return False
        return self._request.method in IDEMPOTENT or not sender.started

    # --- connections ---

    async def _connected(self, answer: Answer | None, *, fresh: bool) -> Connection:
        """Return a connection to the next hop that may carry this answer.

        Raises:
            RefusedError: There is none to be had.
        """
        link, way = self._link, self._way
        pool = self._engine.pool
        pool.look_for_sleep()
        key = (
            Key(self._hop(), answer.space.profile_id, answer.generation, pool.epoch)
            if answer
            else Key(self._hop(), epoch=pool.epoch)
        )
        own = link.upstream
        if own is not None and own.key == key and not fresh and own.is_quiet():
            own.way, own.answer = way, answer
            return own
        if own is not None:
            link.release(own.stream.descriptor)
            link.upstream = None
            if own.is_quiet():
                pool.keep(own)
            else:
                own.stream.close()
        kept = None if fresh or self._request.method == b"CONNECT" else pool.take(key)
        link.upstream = kept or Connection(await self._dial(answer), key)
        link.upstream.way, link.upstream.answer = way, answer
        return link.upstream

    def _hop(self) -> str:
        """Return what connections must have in common that stand for each other."""
        hop = str(self._way.upstream or "direct:")
        return f"{hop} {self._request.target.authority}" if self._way.ends_at_target else hop

    async def _dial(self, answer: Answer | None) -> Stream:
        """Return a new connection to the next hop.

        Raises:
            UnreachableError: It is dead.
            SignInWantedError: It wants a login, or another one, at once.
            RefusedError: There is none to be had.
        """
        target = self._request.target.authority
        assert target is not None
        link = self._link
        call = Call(self._way, target, answer, self._pause, link.release, link.begun)
        try:
            stream = await self._engine.dialler.dial(call)
        except BaseException as error:
            link.drop_begun()
            if isinstance(error, UnusableError):
                self._engine.observer.failed(self._way, error.page)
            raise
        link.begun = None
        return stream

    def _note_silence(self) -> None:
        """Let the next requests take another way, if this next hop stays without answers."""
        if self._preferred.others and self._way.upstream is not None:
            self._engine.failover.was_silent(self._way.upstream)

    def _misunderstood(self, reason: str) -> RefusedError:
        """Close the connection to a next hop that does not speak HTTP; return what to raise."""
        self._link.drop_upstream()
        return RefusedError(replace(BAD_ANSWER, body=BAD_ANSWER.body.format(reason=reason)))

    def _gave_up(self) -> RefusedError:
        """Close the connection to a next hop that does not answer; return what to raise."""
        self._link.drop_upstream()
        hop = self._way.upstream or self._request.target.authority
        assert hop is not None
        limit = self._engine.limits.upstream_head_s
        page = silent(hop.host, limit, through_upstream=self._way.upstream is not None)
        self._note_silence()
        self._engine.observer.failed(self._way, page)
        return RefusedError(page)

    async def _pause(self, wait: Wait) -> int:
        """Wait, and meanwhile read what the client sends ahead and see whether it leaves.

        Raises:
            ClientGoneError: It left, and nobody else needs the request.
        """
        client, loop = self._client, self._engine.loop
        end = None if wait.timeout is None else loop.time() + wait.timeout
        while True:
            events = wait.events
            if not client.ended and len(client.inbox) < self._engine.limits.early_octets:
                events = {**events, client.descriptor: READ}
            left = None if end is None else max(0.0, end - loop.time())
            woken = await Wait(events, wait.future, left)
            if woken != client.descriptor:
                return woken
            try:
                client.fill()
            except OSError:
                raise ClientGoneError from None
            if client.ended and self._parked:
                raise ClientGoneError

    # --- the answer's head ---

    async def _await_answer(self, sender: Sender, upstream: Connection) -> Response:
        """Send the request and return the head of its final answer; relay interim ones.

        Raises:
            BrokenError: The connection ended before the answer.
            MessageError: The answer, or the client's body, is malformed.
            TimeoutError: The answer does not come.
            ClientGoneError: The client left in the middle of its body.
        """
        engine, client, stream = self._engine, self._client, upstream.stream
        seen = interim = 0
        is_ready = False
        while True:
            try:
                sender.push()
            except MessageError as error:
                raise BadBodyError(error.status, str(error)) from None
            end = find_response_head(stream.inbox, seen=seen) if stream.inbox else None
            if end is not None:
                head = bytes(stream.inbox[:end])
                del stream.inbox[:end]
                seen = 0
                response = self._read(head)
                if not response.is_interim:
                    return response
                interim += 1
                if interim > INTERIM_AT_MOST:
                    raise MessageError(502, "it only announces an answer, again and again")
                await self._pass_interim(sender, response)
                continue
            seen = len(stream.inbox)
            if stream.ended:
                raise BrokenError
            try:
                # A plain socket is read when it is said to be ready: looking before costs as much
                # as reading. What TLS has decrypted ahead nobody says.
                if (is_ready or not stream.plain) and (stream.fill() or stream.ended):
                    is_ready = False
                    continue
            except OSError as error:
                raise BrokenError from error
            limits = engine.limits
            self._link.deadline_in(limits.upstream_head_s if sender.done else limits.body_s)
            events = self._link.events(
                self._reading_client(sender), stream, READ | (WRITE if sender.blocked else 0)
            )
            woken = await Wait(events, timeout=limits.own_expect_s if sender.holding else None)
            is_ready = woken == stream.descriptor
            if woken == TIMED_OUT:
                sender.holding = False
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
            reply = Reply(parse_response(head, method))
            self._engine.replies.keep((head, method), reply, len(head))
        self._raw, self._reply = head, reply
        return reply.response

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

    def _reading_client(self, sender: Sender) -> int:
        """Return `READ` if the client is to be read: for its body, or, behind that, to take what it
        sends ahead and to see whether it leaves."""
        client = self._client
        room = len(client.inbox) < self._engine.limits.early_octets
        is_read = sender.hungry or (sender.body_done and not client.ended and room)
        return READ if is_read else 0

    async def _pass_interim(self, sender: Sender, response: Response) -> None:
        """Pass a 1xx answer on (RFC 9110, section 15.2), unless it answers a question of our
        own."""
        if sender.holding and response.status == 100:
            sender.holding = False
            return
        minor = self._request.minor
        octets = write_interim(response, via=self._engine.via, client_minor=minor)
        if octets:
            await self._link.deliver(octets)

    # --- the answer's body ---

    async def _relay(self, sender: Sender, response: Response) -> bool:
        """Relay the answer. Return whether the client's connection goes on."""
        link, request = self._link, self._request
        upstream = link.upstream
        assert upstream is not None
        stream = upstream.stream
        if response.status == 101 and not switches_protocols(request, response):
            raise self._misunderstood("nobody asked for a 101")
        if response.status == 101 or response.opens_tunnel:
            head = self._head_for_client(close=False)
            if self._plan.opens:
                self._engine.openings.keep(self._raw, head, len(head))
            await link.deliver(head)
            return self._become_tunnel(stream)
        framing = client_framing(response, request.minor)
        keep_alive = request.keep_alive and sender.body_done and not isinstance(framing, UntilClose)
        head = self._head_for_client(close=not keep_alive)
        dated = b"date" in response.fields
        if self._plan.simple and keep_alive and response.keep_alive:
            self._remember(response, head, dated=dated)
        if not dated:
            head = self._engine.date.add(head)
        body = body_reader(response.framing, status=502)
        is_chunked = isinstance(framing, Chunked)
        try:
            first = self._next_part(stream, body, is_chunked)
        except BrokenError:
            link.drop_upstream()
            raise RefusedError(CUT_SHORT) from None
        except MessageError as error:
            raise self._misunderstood(str(error)) from error
        try:
            await self._relay_body(sender, stream, body, b"".join((head, first)), is_chunked)
        except (BrokenError, MessageError, TimeoutError):
            # The client must see that this is not the whole (RFC 9112, section 8).
            link.drop_upstream()
            link.cut()
            return False
        if not (response.keep_alive and sender.done) or stream.inbox or stream.ended:
            link.drop_upstream()
        if not keep_alive:
            await link.linger()
        return keep_alive

    def _become_tunnel(self, upstream: Stream) -> bool:
        """Let octets pass both ways from now on. Return that no request follows."""
        self._link.deadline = None
        self._link.tunnel = Tunnel(self._client, upstream, self._engine.pipes)
        return False

    def _remember(self, response: Response, head: bytes, *, dated: bool) -> None:
        """Remember what became of this answer's head, for the next simple request."""
        match response.framing:
            case Length(octets):
                answer_plan = AnswerPlan(head, octets, dated=dated)
                self._engine.answers.keep(self._raw, answer_plan, len(self._raw))

    async def _relay_body(
        self, sender: Sender, stream: Stream, body: Body, first: bytes, chunked: bool
    ) -> None:
        """Deliver what is here already, and the rest of the body, no faster than it is taken.

        Raises:
            BrokenError: The connection to the next hop broke.
            MessageError: The body is malformed or ended early, or the rest of the request is.
            TimeoutError: Nothing moves any more.
        """
        client = self._client
        rest = memoryview(first)
        while True:
            rest = rest[client.send(rest) :]
            if not rest:
                if body.done:
                    return
                rest = memoryview(self._next_part(stream, body, chunked))
                if rest:
                    continue
            if not sender.done:
                sender.push()
            self._link.deadline_in(self._engine.limits.answer_body_s)
            upload = WRITE if sender.blocked else 0
            if rest:
                download = WRITE | (READ if sender.hungry else 0)
                await Wait(self._link.events(download, stream, upload))
                continue
            events = self._link.events(self._reading_client(sender), stream, READ | upload)
            if await Wait(events) == client.descriptor and not sender.hungry:
                client.fill()

    def _next_part(self, stream: Stream, body: Body, chunked: bool) -> Octets:
        """Return the next part of the answer's body as the client gets it; empty: nothing has come
        yet."""
        while not body.done:
            if not stream.inbox and not stream.ended:
                try:
                    stream.fill()
                except OSError as error:
                    raise BrokenError from error
            if stream.ended and not stream.inbox:
                if stream.truncated:
                    raise BrokenError  # Cut by whoever is in the way (RFC 9112, section 9.8).
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
        return last_chunk(body.trailers) if chunked else b""

    @staticmethod
    def _framed(pieces: list[Octets], body: Body, chunked: bool) -> Octets:
        if not chunked:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        end = [last_chunk(body.trailers)] if body.done else []
        return b"".join([*map(write_chunk, pieces), *end])
