"""Tells clients apart: of this or another computer, of HTTP, SOCKS5 or a fixed forward."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trayproxy.engine.downstream import ClientDownstream
from trayproxy.engine.proxy_auth.auth_context import AuthContext
from trayproxy.engine.server.listener_use import ListenerUse

if TYPE_CHECKING:
    from trayproxy.engine.forward.tunnel_session import TunnelSession

_SOCKS5 = 5
"""The first octet of a SOCKS5 client (RFC 1928, section 3). No HTTP request begins with it."""


def count_if_remote(downstream: ClientDownstream, use: ListenerUse, peer: tuple[Any, ...]) -> bool:
    """Return whether a client, given by its address, is a program of another computer; if so, count
    it, and restrict it to targets outside this computer."""
    if use.access_control.is_local(peer):
        return False
    downstream.context.counters.remote += 1
    # The target of a fixed forward was chosen by the user of this computer.
    downstream.is_remote = use.target is None
    return True


def speaks_socks(downstream: ClientDownstream) -> bool:
    """Return whether a client whose first octets were received is a client of SOCKS5."""
    inbox = downstream.client.inbox
    return bool(inbox) and inbox[0] == _SOCKS5


def tunnel_session(
    downstream: ClientDownstream,
    auth: AuthContext,
    use: ListenerUse,
    peer: tuple[Any, ...],
    resume: Callable[[int], None],
) -> "TunnelSession":
    """Return the coroutine for a client of SOCKS5, or of the fixed forward of its listener.

    Args:
        downstream: The client's side.
        auth: See `TunnelSession`.
        use: How the connections of the listener are served.
        peer: The address of the client.
        resume: See `TunnelSession`.
    """
    # Here, since most clients speak HTTP.
    from trayproxy.engine.forward.tunnel_session import TunnelSession

    return TunnelSession(downstream, auth, resume, use.target, use.verify_for(peer))
