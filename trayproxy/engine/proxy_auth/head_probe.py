"""HEAD requests of TrayProxy's own, by which a challenge or a login is obtained before a request
that can be sent only once (R-074)."""

from trayproxy.engine.proxy_auth.auth_messages import AttemptBrokenError, AuthMessages
from trayproxy.engine.proxy_auth.auth_port import AuthPort, ConnectionFacts, Message
from trayproxy.http.request import Request, parse_request
from trayproxy.http.target import Authority


def head_request_to(target: Authority, field: str = "Content-Length: 0") -> Request:
    """Return a HEAD request of TrayProxy's own, with this last field line. HEAD changes nothing at
    the target (RFC 9110, section 9.2.1). Raise `MessageError` if the target is invalid."""
    head = (
        f"HEAD http://{target}/ HTTP/1.1\r\nHost: {target}\r\n"
        f"User-Agent: TrayProxy\r\n{field}\r\n\r\n"
    )
    return parse_request(head.encode("ascii"))


async def probe_by_head(
    port: AuthPort, messages: AuthMessages, connection: ConnectionFacts
) -> bool:
    """Obtain a challenge on a connection with a HEAD request. Return True if the next hop requires
    a login.

    Some proxies announce an open connection after a 407, and close it. A request to be sent only
    once would be lost there. So HEAD is sent twice to an upstream for the first time: the second
    407 proves the connection to be open.

    Raises:
        AttemptBrokenError: The connection was closed before the response.
        RequestRefusedError: There is no response.
    """
    upstream_id = port.route.upstream_id
    is_refused, is_open = await _send_head(port, messages, connection)
    if not is_open or port.detector.was_kept_open(upstream_id):
        return is_refused
    try:
        _, is_open = await _send_head(port, messages, connection)
        if is_open:
            port.detector.note_kept_open(upstream_id)
    except AttemptBrokenError:
        port.drop()
    return True


async def _send_head(
    port: AuthPort, messages: AuthMessages, connection: ConnectionFacts
) -> tuple[bool, bool]:
    """Send a HEAD request. Return whether the next hop requires a login for the request, and
    whether the connection can carry another message. Without a challenge, the connection is
    closed."""
    authority = messages.request.target.authority
    assert authority is not None  # A request to an upstream always names a target.
    head_request = head_request_to(authority)
    response = await messages.send(Message(head_request, has_content=False, is_own=True))
    if not messages.is_challenge(connection, response, None):
        port.drop()
        return False, False
    is_open = await messages.discard(response, was_whole=False, method=head_request.method)
    return True, is_open
