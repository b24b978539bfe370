"""The fast path: forward a request with a cached head and relay a response with a cached head.

Programs repeat themselves: most request heads were seen before, and so were most response heads. A
request is then sent in one piece, and its response is relayed in one piece or opens a tunnel, with
no decision left to make. In all other cases the octets received are put back for the request loop
(`trayproxy.engine.forward.request_loop`), which makes all decisions.

The functions return the next step of the connection, and the connection takes this step. They write
only the upstream connection, the traffic counters and the octets received.
"""

from dataclasses import dataclass
from enum import Enum, auto
from errno import ENOTCONN
from typing import Final

from trayproxy.desk.broker import Accepted
from trayproxy.engine.context import EngineContext
from trayproxy.engine.downstream import ClientDownstream
from trayproxy.engine.net.happy_eyeballs import start_connect
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.transfer.tunnel import Tunnel
from trayproxy.engine.upstream.pool import UpstreamConnection


class FastPathResult(Enum):
    """The next step of a client connection after an event."""

    WAIT = auto()
    """Wait for the next event: nothing has changed."""
    DONE = auto()
    """Wait for the next request: the response was relayed."""
    SLOW_PATH = auto()
    """Start the request loop, which handles the event."""
    UPSTREAM_BROKEN = auto()
    """Close the upstream connection, and start the request loop."""
    END = auto()
    """Close the connection: the client has closed it, and no response is pending."""


# In Python 3.11, looking up an enum member takes as long as a function call.
WAIT: Final = FastPathResult.WAIT
DONE: Final = FastPathResult.DONE
SLOW_PATH: Final = FastPathResult.SLOW_PATH
UPSTREAM_BROKEN: Final = FastPathResult.UPSTREAM_BROKEN
END: Final = FastPathResult.END


SentRequest = tuple[CachedRequest, UpstreamConnection]
"""Wait for the response to this request, which was sent on this connection. A plain tuple: creating
a named tuple for each request takes 1 % of the time of a request."""


@dataclass(frozen=True, slots=True)
class StillConnecting:
    """Start the request loop with a socket still connecting to the next hop."""

    stream: SocketStream


@dataclass(frozen=True, slots=True)
class PartlyRelayed:
    """Start the request loop to deliver the rest of a response."""

    rest: bytes


def on_client_ready(
    downstream: ClientDownstream,
) -> FastPathResult | SentRequest | StillConnecting:
    """Handle octets of the client while the connection is idle. Raise `OSError` if the client's
    connection broke."""
    context, client = downstream.context, downstream.client
    data = client.receive()
    if not data:
        return WAIT if data is None else END
    result: FastPathResult | SentRequest | StillConnecting = SLOW_PATH
    cached = context.caches.requests.get(data)
    if cached is not None and _is_still_valid(downstream, context, cached):
        own_upstream = downstream.upstream
        upstream = _find_connection(context, cached, own_upstream)
        if upstream is not None:
            result = _send(context, cached, upstream, own_upstream)
            if isinstance(result, tuple):
                return result
    client.inbox += data
    return result


def _is_still_valid(
    downstream: ClientDownstream, context: EngineContext, cached: CachedRequest
) -> bool:
    """Return whether the request would be sent with the route and login of last time."""
    route = cached.route
    if (
        route is None
        or route.is_direct
        or context.closing
        or not (cached.is_simple or cached.opens_tunnel)
    ):
        return False
    if downstream.routes.known(cached.request.target, downstream) is not route:
        return False
    if route.fallbacks and context.failover.is_dead(route):
        return False  # The forwarder chooses the fallback, once per request.
    known_credentials = (
        context.broker.known(route.upstream_id)
        if route.upstream_id is not None and route.may_sign_in
        else None
    )
    if cached.known_credentials is not known_credentials:
        return False
    # A login not accepted recently is sent on one request at a time: see
    # `trayproxy.desk.machine.pacing`. `acceptance.is_recent` is `Credentials.is_recently_accepted`
    # without a call.
    credentials = cached.credentials
    may_carry_login = (
        credentials is None
        or credentials.acceptance.is_recent
        or cached.pool_key.authenticated_as is not None
    )
    return may_carry_login and context.pool.is_current(cached.pool_key)


def _find_connection(
    context: EngineContext, cached: CachedRequest, own_upstream: UpstreamConnection | None
) -> UpstreamConnection | None:
    """Return a connection for the request; None if the request loop has to find or open one."""
    if own_upstream is not None:
        # A tunnel needs a connection of its own.
        is_free = cached.is_simple and own_upstream.key == cached.pool_key
        return own_upstream if is_free and context.pool.is_quiet(own_upstream) else None
    idle = context.pool.take(cached.pool_key) if cached.is_simple else None
    if idle is not None:
        return idle
    if cached.pool_key.authenticated_as is not None:
        return None
    assert cached.route is not None
    address = context.connector.sole_address(cached.route)
    if address is None:
        return None
    network = context.connector.network_grace.changes
    try:
        return UpstreamConnection(SocketStream(start_connect(address)), cached.pool_key, network)
    except OSError:
        return None


def _send(
    context: EngineContext,
    cached: CachedRequest,
    upstream: UpstreamConnection,
    own_upstream: UpstreamConnection | None,
) -> FastPathResult | SentRequest | StillConnecting:
    """Send the request. Only the result `SentRequest` says that it was sent completely."""
    stream, wire = upstream.stream, cached.wire
    try:
        sent = stream.send(wire)
    except OSError as error:
        # ENOTCONN: still connecting. Linux reports EAGAIN in this state, other systems ENOTCONN.
        sent = 0 if error.errno == ENOTCONN else -1
    if sent != len(wire):
        if own_upstream is not None:
            return UPSTREAM_BROKEN
        if sent == 0 and not upstream.response_count:
            return StillConnecting(stream)
        context.pool.drop(upstream)
        return SLOW_PATH
    route = cached.route
    upstream.route, upstream.credentials = route, cached.credentials
    upstream.responses_before = route.activity.responses if route is not None else 0
    return cached, upstream


def on_upstream_ready(
    context: EngineContext, client: SocketStream, request: SentRequest
) -> FastPathResult | PartlyRelayed | Tunnel:
    """Handle octets of the next hop: the response to a request. Return the next step; the tunnel
    that the connection becomes, if any. Raise `OSError` if the client's connection broke before the
    response was relayed."""
    cached, upstream = request
    stream = upstream.stream
    try:
        data = stream.receive()
    except OSError:
        stream.ended = True  # The request loop decides whether to try another connection.
        return SLOW_PATH
    if not data:
        return WAIT if data is None else SLOW_PATH
    result = (
        _open_tunnel(context, client, upstream, data)
        if cached.opens_tunnel
        else _relay_response(context, client, upstream, data)
    )
    if result is SLOW_PATH:
        stream.inbox += data
    return result


def _relay_response(
    context: EngineContext, client: SocketStream, upstream: UpstreamConnection, data: bytes
) -> FastPathResult | PartlyRelayed:
    """Send the response to the client if it has arrived completely and its head is cached."""
    head_end = data.find(b"\r\n\r\n") + 4
    cached_response = context.caches.responses.get(data[:head_end])
    if cached_response is None or len(data) - head_end != cached_response.length or context.closing:
        return SLOW_PATH
    _record_response(context, upstream, confirms=cached_response.confirms_login)
    context.counters.received += cached_response.length
    head = (
        cached_response.head
        if cached_response.has_date
        else context.caches.date_field.add_to(cached_response.head)
    )
    octets = head + data[head_end:]
    try:
        sent = client.send(octets)
    except OSError:
        return END
    return DONE if sent == len(octets) else PartlyRelayed(octets[sent:])


def _open_tunnel(
    context: EngineContext, client: SocketStream, upstream: UpstreamConnection, data: bytes
) -> FastPathResult | Tunnel:
    """Return a tunnel if the response is a cached tunnel reply."""
    head = context.caches.tunnel_replies.get(data)
    if head is None:
        return SLOW_PATH
    _record_response(context, upstream, confirms=True)
    # If the client has closed its connection, this raises, and the response counts as pending. The
    # upstream connection leads to the site now, and must not be reused for other requests.
    sent = client.send(head)
    return Tunnel(client, upstream.stream, context.pipe_pool, head[sent:])


def _record_response(
    context: EngineContext, upstream: UpstreamConnection, *, confirms: bool
) -> None:
    """Record the response to a request, and whether it confirms the login of the request."""
    route, credentials = upstream.route, upstream.credentials
    assert route is not None
    if not upstream.response_count and route.fallbacks and route.upstream is not None:
        context.failover.mark_alive(route.upstream)
    upstream.response_count += 1
    route.activity.responses += 1
    context.observer.reached(route)
    # A response on an authenticated connection (NTLM) says nothing about the login.
    if (
        credentials is not None
        and not credentials.acceptance.is_recent
        and confirms
        and not upstream.is_authenticated
    ):
        context.broker.report(credentials, Accepted())
