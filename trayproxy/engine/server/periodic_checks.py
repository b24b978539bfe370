"""The checks of a client connection for its peers: those that the executor makes once a second, and
the limit of a half-closed tunnel."""

import logging
from collections.abc import Callable
from math import inf

from trayproxy.desk.broker import SilentUpstream
from trayproxy.desk.credentials import Credentials
from trayproxy.engine.context import EngineContext
from trayproxy.engine.downstream import ClientDownstream
from trayproxy.engine.transfer.tunnel import Tunnel
from trayproxy.engine.upstream.pool import UpstreamConnection

logger = logging.getLogger(__name__)

Silence = tuple[int, float]
"""The number of responses of a next hop, and the time since there are no more, in the event loop's
time."""


def keep_tunnel_alive(tunnel: Tunnel, downstream: ClientDownstream) -> None:
    """Send keep-alive probes on both connections of a tunnel from now on, and prolong the deadline
    of a half-closed tunnel that still moves octets."""
    if not tunnel.has_keepalive:
        tunnel.enable_keepalive()
    if downstream.deadline is not None and tunnel.has_moved():
        downstream.set_deadline(downstream.context.limits.half_closed_s)


def limit_half_closed(tunnel: Tunnel, downstream: ClientDownstream) -> None:
    """Set a deadline once one side of a tunnel has finished sending: it limits how long the other
    side may be silent."""
    if downstream.deadline is None and (tunnel.up.is_over or tunnel.down.is_over):
        downstream.set_deadline(downstream.context.limits.half_closed_s)


def keep_connections_alive(downstream: ClientDownstream, upstream: UpstreamConnection) -> None:
    """Send keep-alive probes from now on: a response may take minutes."""
    for stream in (downstream.client, upstream.stream):
        if not stream.has_keepalive:
            stream.enable_keepalive()


def disconnect_if_stalled(upstream: UpstreamConnection, uid: str, *, may_be_replaced: bool) -> None:
    """End a reused connection if the next hop has not even received the request; the request is
    then sent again on a new connection (`trayproxy.engine.proxy_auth.repeat_rules`).

    A gateway may forget a connection without a word. TCP alone gives up after a quarter of an hour.

    Args:
        upstream: The connection with a request.
        uid: The client connection, for the log.
        may_be_replaced: True if the request may be sent again.
    """
    if upstream.response_count and may_be_replaced and upstream.stream.is_stalled:
        logger.info("connection %s: the upstream connection is dead", uid)
        upstream.stream.disconnect()


def report_overdue_response(
    context: EngineContext,
    upstream: UpstreamConnection,
    credentials: Credentials | None,
    silence: Silence | None,
    count_unanswered: Callable[[Credentials], int],
) -> Silence | None:
    """Report to the desk if a login is pending and the next hop sends no responses at all.

    Args:
        context: The objects of the engine.
        upstream: The connection with the request.
        credentials: The login of the request, None without one.
        silence: The result of the last call, None before.
        count_unanswered: See `ConnectionServices`.

    Returns:
        The silence of the next hop until now; None if no login is pending.
    """
    route = upstream.route
    if credentials is None or route is None:
        return None
    now, responses = context.loop.time(), route.activity.responses
    if silence is None or silence[0] != responses:
        return responses, now
    if now - silence[1] < context.limits.silent_upstream_s:
        return silence
    context.broker.report(credentials, SilentUpstream(count_unanswered(credentials)))
    return responses, inf  # Report once, until there is a response.
