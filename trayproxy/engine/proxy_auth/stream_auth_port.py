"""The driver of authentication exchanges on streams: for the requests of clients and for
preconnects."""

from trayproxy.auth.scheme import Handshake, Leg, Verdict
from trayproxy.desk.credentials import Credentials
from trayproxy.engine import error_pages
from trayproxy.engine.downstream import Downstream
from trayproxy.engine.error_pages import RequestRefusedError
from trayproxy.engine.net.fd_task import READ, TIMED_OUT, IoWait
from trayproxy.engine.proxy_auth.auth_exchange import AuthExchange
from trayproxy.engine.proxy_auth.auth_port import (
    SERVER_SILENT,
    ConnectionFacts,
    ConnectionLostError,
    ContentNotRepeatableError,
    Message,
    Progress,
    Reuse,
)
from trayproxy.engine.proxy_auth.challenge_detection import has_reached_site
from trayproxy.engine.proxy_auth.repeat_rules import may_be_replaced
from trayproxy.engine.proxy_auth.request_broker import StreamRequestBroker
from trayproxy.engine.proxy_auth.upstream_lease import UpstreamLease
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.transfer.request_writer import RequestWriter, writer_without_content
from trayproxy.engine.transfer.response_reader import (
    RequestBodyError,
    ResponseBrokenError,
    ResponseReader,
)
from trayproxy.engine.upstream.connector import late_handshake_failure
from trayproxy.engine.upstream.pool import PoolKey, UpstreamConnection
from trayproxy.engine.upstream.route import Route
from trayproxy.http.challenges import Challenge
from trayproxy.http.errors import MessageError
from trayproxy.http.response import Response

CONTENT_TOO_SLOW = "its content did not come in time"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""The interim response to ask a client for content to be covered by the credentials (RFC 9110,
section 10.1.1)."""


class StreamAuthPort:
    """The connections and messages of one request; see `AuthPort`."""

    def __init__(
        self,
        downstream: Downstream,
        cached: CachedRequest,
        lease: UpstreamLease,
        reader: ResponseReader,
        writer: RequestWriter,
        sent_on: UpstreamConnection | None,
    ) -> None:
        """Create the port for one request; see `stream_exchange`."""
        self.login_was_sent = False
        self.is_sent = sent_on is not None
        self.detector = lease.auth.challenge_detector
        self._context = downstream.context
        self._downstream = downstream
        self._cached = cached
        self._lease = lease
        self._reader = reader
        self._writer = writer
        self._acquired = sent_on
        self._number = 0

    @property
    def route(self) -> Route:
        """The route of the request; see `AuthPort`."""
        return self._lease.route

    @property
    def progress(self) -> Progress:
        """How much of the request was read and sent; see `AuthPort`."""
        writer = self._writer
        return Progress(
            writer.started,
            writer.done,
            writer.body_started,
            writer.body_done,
            writer.replay_buffer.is_complete,
        )

    @property
    def content(self) -> bytes | None:
        """The whole content of the request; see `AuthPort`."""
        return self._writer.whole_content()

    @property
    def end_point(self) -> bytes:
        """The channel binding ``tls-server-end-point`` of the connection obtained last."""
        return self._acquired.stream.end_point if self._acquired is not None else b""

    async def acquire(self, credentials: Credentials | None, reuse: Reuse) -> ConnectionFacts:
        """Return the connection for a message with these credentials; see `AuthPort`."""
        upstream = self._acquired
        if upstream is None or not self.is_sent:
            before = self._downstream.upstream
            upstream = await self._lease.obtain_connection(
                credentials, reuse, self._note_login_sent
            )
            self._number += upstream is not before  # It may have been closed while idle.
            self._acquired = upstream
        if upstream.is_authenticated:
            self._lease.deregister_demand()
        return self._facts(upstream)

    def _note_login_sent(self) -> None:
        self.login_was_sent = True

    def _facts(self, upstream: UpstreamConnection) -> ConnectionFacts:
        was_used = upstream.response_count > 0
        return ConnectionFacts(self._number, upstream.is_authenticated, was_used)

    def open_connection(self) -> ConnectionFacts | None:
        """Return the connection in use; see `AuthPort`."""
        upstream = self._downstream.upstream
        if upstream is None:
            return None
        if upstream.is_quiet():
            return self._facts(upstream)
        self._downstream.drop_upstream()
        return None

    def drop(self) -> None:
        """Close the connection in use; see `AuthPort`."""
        self._downstream.drop_upstream()

    def mark_authenticated(self, credentials: Credentials) -> None:
        """Mark the connection in use as authenticated with these credentials; see `AuthPort`."""
        upstream = self._downstream.upstream
        assert upstream is not None
        upstream.key = upstream.key._replace(authenticated_as=credentials.login_id)
        upstream.credentials = credentials

    def report_closed(self, *, was_unused: bool) -> RequestRefusedError:
        """Report that the next hop closed the connection without a response; see `AuthPort`."""
        if was_unused:
            self._lease.record_silence()
        self._lease.report_failure(error_pages.CONNECTION_CLOSED)
        return RequestRefusedError(error_pages.CONNECTION_CLOSED)

    async def send(self, message: Message) -> Response:
        """Send a message on the connection in use and return the head of its final response."""
        writer, downstream, upstream = self._writer, self._downstream, self._downstream.upstream
        assert upstream is not None
        reader = self._start(message, upstream)
        downstream.pending_credentials = message.carried
        upstream.may_be_replaced = may_be_replaced(message)
        refused: RequestRefusedError | None = None
        try:
            response = await reader.read_head(writer, upstream)
        except ResponseBrokenError as error:
            refused = self._certificate_refusal(error)
            raise refused or ConnectionLostError(
                self._facts(upstream), request_was_unread=error.request_was_unread
            ) from error
        except RequestBodyError:
            raise
        except MessageError as error:
            raise reader.reject_response(error) from error
        except TimeoutError as error:
            if writer.waits_for_client:
                raise RequestBodyError(408, CONTENT_TOO_SLOW) from error
            raise self._timed_out() from error
        finally:
            downstream.pending_credentials = None
            upstream.may_be_replaced = False
            # Without an accepted certificate, the next hop reads no request.
            if message.carried is not None and writer.started and refused is None:
                self.login_was_sent = True
        self._lease.record_response(upstream)
        return response

    def _certificate_refusal(self, error: ResponseBrokenError) -> RequestRefusedError | None:
        """Report a next hop that has refused the client certificate only now, and return the error
        to raise; None if the connection was lost for another reason."""
        upstream = self._lease.route.upstream
        refused = late_handshake_failure(upstream.host if upstream else "", error.__cause__)
        if refused is not None:
            self._downstream.drop_upstream()
            self._lease.report_failure(refused.page)
        return refused

    def _timed_out(self) -> RequestRefusedError:
        """Close the connection to a silent next hop, and return the error to raise.

        An upstream with another response since the start of the request is alive, and the site is
        slow. Otherwise either the upstream or the site may be slow. A site needs longer to respond
        to a GET than a proxy needs to open a tunnel.
        """
        lease, request, connection = self._lease, self._cached.request, self._downstream.upstream
        route, target = lease.route, request.target.authority
        self._downstream.drop_upstream()
        assert target is not None
        assert connection is not None  # The connection of the request.
        limit = self._context.limits.response_head_limit_s(request.method)
        if route.upstream is None or route.is_socks:
            page = error_pages.no_response(target.host, limit, through_upstream=False)
            if route.upstream is None:
                lease.report_failure(page)
            return RequestRefusedError(page)
        if route.activity.responses > connection.responses_before:
            return RequestRefusedError(error_pages.slow_site(target.host, limit))
        lease.record_silence()
        if request.method != b"CONNECT":
            page = error_pages.slow_site_or_proxy(target.host, route.upstream.host, limit)
            return RequestRefusedError(page)
        page = error_pages.no_response(route.upstream.host, limit, through_upstream=True)
        lease.report_failure(page)
        return RequestRefusedError(page)

    def _start(self, message: Message, upstream: UpstreamConnection) -> ResponseReader:
        """Start sending a message, and return the reader of its responses."""
        writer, downstream, reader = self._writer, self._downstream, self._reader
        if self.is_sent:
            self.is_sent = False
            writer.adopt_sent_request(upstream.stream)
            if downstream.take_timeout():
                raise self._timed_out()
            return reader
        head = self._write_head(message, upstream.key)
        if not message.has_content:
            writer.start_without_content(upstream.stream, head)
            if message.is_own:
                return ResponseReader(downstream, CachedRequest(message.request, None))
            return reader
        writer.holds_content = message.holds_content
        if writer.body_started and not writer.replay_buffer.is_complete:
            raise ContentNotRepeatableError
        writer.start(upstream.stream, head)
        return reader

    def _write_head(self, message: Message, key: PoolKey) -> bytes:
        """Return the head of a message; it is the same each time for the same credentials."""
        cached, route, withheld = self._cached, self._lease.route, message.withheld
        is_unchanged = message.request is cached.request and not message.holds_content
        is_cacheable = is_unchanged and message.leg is None
        if is_cacheable and cached.was_sent_with(route, message.credentials, key, withheld):
            return cached.wire
        wire = message.write_head(self._context.own_address.via, direct=route.is_direct)
        if is_cacheable:
            cached.store_sent(wire, route, message.credentials, key, withheld)
        return wire

    def challenges_in(
        self, response: Response, method: bytes, carried: Credentials | None
    ) -> tuple[Challenge, ...] | None:
        """Return the challenges of a refusal, and record the site as one that requires a login."""
        lease, site = self._lease, self._cached.request.target.authority
        upstream_id = lease.route.upstream_id
        if response.status == 407 and lease.route.is_direct:
            self._downstream.drop_upstream()
            raise RequestRefusedError(error_pages.SITE_WANTS_SIGN_IN)
        challenges = self.detector.challenges_in(response, method, upstream_id, carried)
        if challenges is not None and lease.auth.exempt_sites.note_challenged(upstream_id, site):
            # Drop the cached requests without a login, so the fast path does not repeat them.
            self._context.caches.requests.clear()
        return challenges

    def note_served(self, response: Response) -> None:
        """Record the site as exempt if a request without a login has reached it."""
        lease, request, upstream = self._lease, self._cached.request, self._downstream.upstream
        if (
            upstream is not None
            and lease.route.authenticates_requests
            and upstream.key.epoch == self._context.pool.epoch
            and has_reached_site(response, request)
        ):
            sites = lease.auth.exempt_sites
            sites.note_served(lease.route.upstream_id, request.target.authority)

    async def drain(self, response: Response, method: bytes, *, in_handshake: bool) -> bool:
        """Read and discard the content of a response, if this is quick; see `AuthPort`."""
        upstream, context = self._downstream.upstream, self._context
        assert upstream is not None
        limits = context.limits
        self._downstream.clear_deadline()
        return await upstream.drain(
            response,
            method,
            self._lease.wait,
            context.loop.time,
            limits.max_drain_octets,
            limits.drain_407_s,
            in_handshake=in_handshake,
        )

    async def send_continue(self) -> None:
        """Send the client a 100 response to ask for its content; see `AuthPort`."""
        await self._downstream.deliver(CONTINUE)

    async def read_content(self) -> None:
        """Read the content of the request; see `AuthPort`.

        A client also times out if it sends only single octets now and then.
        """
        writer, downstream = self._writer, self._downstream
        limits, due_at = self._context.limits, 0
        while not writer.body_done and writer.may_have_whole_content:
            try:
                if writer.read_ahead():
                    continue
            except MessageError as error:
                raise RequestBodyError(error.status, str(error)) from None
            if writer.octets_read >= due_at:
                due_at = writer.octets_read + limits.min_body_octets
                downstream.set_deadline(limits.body_s)
            try:
                await IoWait(downstream.events(READ, None, 0))
            except TimeoutError as error:
                raise RequestBodyError(408, CONTENT_TOO_SLOW) from error
        downstream.clear_deadline()
        self.open_connection()

    async def run_step(
        self, credentials: Credentials, handshake: Handshake, challenges: tuple[Challenge, ...]
    ) -> Leg | Verdict:
        """Return the next step of a handshake. A blocking step runs in a thread; see `AuthPort`."""
        if not (credentials.scheme.blocks and credentials.authenticator.blocks):
            return handshake.step(challenges)
        future = self._lease.auth.handshake_threads.run(handshake, challenges)
        self._downstream.clear_deadline()
        wait = IoWait({}, future=future, timeout=self._context.limits.auth_step_s)
        try:
            woken = await self._lease.wait(wait, is_parked=True)
        finally:
            future.cancel()
        return SERVER_SILENT if woken == TIMED_OUT else future.result()


def stream_exchange(
    downstream: Downstream,
    cached: CachedRequest,
    lease: UpstreamLease,
    reader: ResponseReader | None = None,
    writer: RequestWriter | None = None,
    sent_on: UpstreamConnection | None = None,
) -> AuthExchange:
    """Return the authentication exchange of one request.

    Args:
        reader: Reads the responses; None for a reader whose responses are not relayed.
        writer: Sends the request; None for a request without content.
        sent_on: The connection on which the fast path has already sent the request; None if it
            was not sent.
    """
    reader = reader or ResponseReader(downstream, cached)
    writer = writer or writer_without_content(downstream.client)
    port = StreamAuthPort(downstream, cached, lease, reader, writer, sent_on)
    broker = StreamRequestBroker(downstream, cached, lease)
    return AuthExchange(port, broker, cached.request)
