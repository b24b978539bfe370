"""The fast path: forward a request with a cached head and relay a response with a cached head.

Programs repeat themselves: most request heads were seen before, and so were most response heads. A
request is then sent in one piece, and its response is relayed in one piece or opens a tunnel, with
no decision left to make. In all other cases the octets received are put back for the request loop
(`trayproxy.engine.forward.request_loop`), which makes all decisions.
"""

from enum import Enum, auto
from errno import ENOTCONN
from typing import TYPE_CHECKING, Final

from trayproxy.desk.broker import Accepted
from trayproxy.engine.net.happy_eyeballs import start_connect
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.transfer.tunnel import Tunnel
from trayproxy.engine.upstream.pool import UpstreamConnection

if TYPE_CHECKING:
    from trayproxy.engine.server.client_connection import ClientConnection


class FastPathResult(Enum):
    """The state of a client connection after an event."""

    WAIT = auto()
    """The connection waits for the next event."""
    SLOW_PATH = auto()
    """The request loop takes over."""
    TUNNEL = auto()
    """The connection has become a tunnel."""
    END = auto()
    """The client has closed the connection."""


# In Python 3.11, looking up an enum member takes as long as a function call.
WAIT: Final = FastPathResult.WAIT
SLOW_PATH: Final = FastPathResult.SLOW_PATH
TUNNEL: Final = FastPathResult.TUNNEL
END: Final = FastPathResult.END


def on_client_ready(connection: "ClientConnection") -> FastPathResult:
    """Handle octets of the client, while the connection is idle or a request is on its way.

    Raises:
        OSError: The client's connection broke.
    """
    if connection.cached_request is not None:
        return SLOW_PATH  # The client sends another request ahead, or closes the connection.
    client = connection.client
    data = client.receive()
    if not data:
        return WAIT if data is None else END
    cached = connection.context.caches.requests.get(data)
    if cached is not None and _is_still_valid(connection, cached):
        upstream = _find_connection(connection, cached)
        if upstream is not None and _send(connection, cached, upstream):
            return WAIT
    client.inbox += data
    return SLOW_PATH


def _is_still_valid(connection: "ClientConnection", cached: CachedRequest) -> bool:
    """Return whether the request would be sent with the route and login of last time."""
    context, route = connection.context, cached.route
    if (
        route is None
        or route.is_direct
        or context.closing
        or not (cached.is_simple or cached.opens_tunnel)
    ):
        return False
    authority = cached.request.target.authority
    if authority is None or context.route_for(authority) is not route:
        return False
    if route.fallbacks and context.failover.is_dead(route):
        return False  # The forwarder chooses the fallback, once per request.
    known_credentials = (
        context.desk.known(route.upstream_id)
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
    connection: "ClientConnection", cached: CachedRequest
) -> UpstreamConnection | None:
    """Return a connection for the request; None if the request loop has to find or open one."""
    own_upstream, context = connection.upstream, connection.context
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
    try:
        return UpstreamConnection(SocketStream(start_connect(address)), cached.pool_key)
    except OSError:
        return None


def _send(
    connection: "ClientConnection", cached: CachedRequest, upstream: UpstreamConnection
) -> bool:
    """Send the request. Return False if it was not sent completely at once."""
    stream, wire = upstream.stream, cached.wire
    try:
        sent = stream.send(wire)
    except OSError as error:
        # ENOTCONN: still connecting. Linux reports EAGAIN in this state, other systems ENOTCONN.
        sent = 0 if error.errno == ENOTCONN else -1
    if sent != len(wire):
        if sent == 0 and connection.upstream is None and not upstream.response_count:
            connection.connecting = stream.socket  # Still connecting.
        elif connection.upstream is not None:
            connection.drop_upstream()
        else:
            connection.context.pool.drop(upstream)
        return False
    upstream.route, upstream.credentials = cached.route, cached.credentials
    connection.upstream = upstream
    connection.cached_request = cached
    connection.is_between_requests = False
    upstream.responses_before = cached.route.activity.responses if cached.route is not None else 0
    limits = connection.context.limits
    connection.set_deadline(
        limits.connect_response_head_s if cached.opens_tunnel else limits.response_head_s
    )
    return True


def on_upstream_ready(connection: "ClientConnection") -> FastPathResult:
    """Handle octets of the next hop: the response, or unsolicited octets.

    Raises:
        OSError: The client's connection broke.
    """
    upstream, cached = connection.upstream, connection.cached_request
    assert upstream is not None
    if cached is None:
        if not upstream.is_quiet():
            connection.drop_upstream()
        return WAIT
    stream = upstream.stream
    try:
        data = stream.receive()
    except OSError:
        stream.ended = True  # The request loop decides whether to try another connection.
        return SLOW_PATH
    if not data:
        return WAIT if data is None else SLOW_PATH
    result = (
        _open_tunnel(connection, upstream, data)
        if cached.opens_tunnel
        else _relay_response(connection, upstream, data)
    )
    if result is SLOW_PATH and not connection.undelivered:
        stream.inbox += data
    return result


def _relay_response(
    connection: "ClientConnection", upstream: UpstreamConnection, data: bytes
) -> FastPathResult:
    """Send the response to the client if it has arrived completely and its head is cached."""
    context = connection.context
    head_end = data.find(b"\r\n\r\n") + 4
    cached_response = context.caches.responses.get(data[:head_end])
    if cached_response is None or len(data) - head_end != cached_response.length or context.closing:
        return SLOW_PATH
    _record_response(connection, upstream, confirms=cached_response.confirms_login)
    connection.cached_request = None
    context.counters.received += cached_response.length
    head = (
        cached_response.head
        if cached_response.has_date
        else context.caches.date_field.add_to(cached_response.head)
    )
    octets = head + data[head_end:]
    sent = connection.client.send(octets)
    connection.set_deadline(context.limits.idle_s)
    if sent < len(octets):
        connection.undelivered = octets[sent:]
        return SLOW_PATH
    connection.is_between_requests = True
    return WAIT


def _open_tunnel(
    connection: "ClientConnection", upstream: UpstreamConnection, data: bytes
) -> FastPathResult:
    """Open the tunnel if the response is a cached tunnel reply."""
    head = connection.context.caches.tunnel_replies.get(data)
    if head is None:
        return SLOW_PATH
    _record_response(connection, upstream, confirms=True)
    # If the client has closed its connection, this raises while `cached_request` is still set. The
    # upstream connection leads to the site now, and must not be reused for other requests.
    sent = connection.client.send(head)
    connection.tunnel = Tunnel(
        connection.client, upstream.stream, connection.context.pipe_pool, head[sent:]
    )
    connection.cached_request = None
    return TUNNEL


def _record_response(
    connection: "ClientConnection", upstream: UpstreamConnection, *, confirms: bool
) -> None:
    """Record the response to a request.

    Args:
        connection: The client connection.
        upstream: The connection of the response.
        confirms: True if the response confirms the login of the request.
    """
    context, route, credentials = connection.context, upstream.route, upstream.credentials
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
        context.desk.report(credentials, Accepted())
