"""Reads and discards the content of a refusal, so that the connection can carry the next message
(R-084)."""

from collections.abc import Callable

from trayproxy.engine.net.fd_task import READ, TIMED_OUT, IoWait, Pause
from trayproxy.engine.upstream.leftover_content import LeftoverContent
from trayproxy.engine.upstream.pool import UpstreamConnection
from trayproxy.http.body import response_body_reader
from trayproxy.http.errors import MessageError
from trayproxy.http.response import Response


async def drain_content(
    upstream: UpstreamConnection,
    response: Response,
    method: bytes,
    pause: Pause,
    clock: Callable[[], float],
    max_octets: int,
    max_s: float,
    *,
    in_handshake: bool,
) -> bool:
    """Read and discard the content of a response.

    Args:
        upstream: The connection.
        response: The head of the response.
        method: The method of the answered request.
        pause: Waits for the connection.
        clock: Returns the time in seconds.
        max_octets: The most octets to read.
        max_s: The longest time to read, in seconds.
        in_handshake: True if the next leg must go over the same connection, so that it is kept even
            if another reader may see another end of the content.

    Returns:
        True if the content was complete and no octets followed it.
    """
    stream = upstream.stream
    upstream.leftover = LeftoverContent.of(response, method, max_octets)
    body, octets_left = response_body_reader(response.framing), max_octets
    deadline = clock() + max_s
    try:
        while not body.done:
            if stream.inbox or stream.fill():
                data = stream.take_inbox()
                octets_left -= len(data)
                _, used = body.feed(data)
                if used < len(data):
                    return False
                if octets_left < 0:
                    return body.done
            elif stream.ended:
                return False
            else:
                remaining_s = deadline - clock()
                wait = IoWait({stream.descriptor: READ}, timeout=max(0.0, remaining_s))
                if remaining_s <= 0 or await pause(wait) == TIMED_OUT:
                    return False
    except (OSError, MessageError):
        return False
    upstream.skip_leftover()
    return not stream.inbox and not stream.ended and (body.is_unambiguous or in_handshake)
