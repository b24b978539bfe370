"""Connects to the first of several addresses that answers (RFC 8305)."""

import errno
import os
import socket
from collections import deque
from collections.abc import Callable

from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.fd_task import TIMED_OUT, WRITE, IoWait, Pause
from trayproxy.engine.net.resolver import Address
from trayproxy.engine.net.resource_shortage import is_shortage

NEVER_BLOCKS = getattr(socket, "SOCK_NONBLOCK", 0)
"""Makes a socket that does not block from the start, where that is possible."""


def start_connect(address: Address) -> socket.SocketType:
    """Return a connection to this address that is being established, or is already.

    Raises:
        OSError: It cannot be: the system has no IPv6 or no descriptors, or knows no route.
    """
    family, sockaddr = address
    attempt = socket.SocketType(family, socket.SOCK_STREAM | NEVER_BLOCKS)
    if not NEVER_BLOCKS:
        attempt.setblocking(False)
    code = attempt.connect_ex(sockaddr)
    if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
        attempt.close()
        raise OSError(code, os.strerror(code))
    return attempt


def is_connected(connection: socket.SocketType) -> bool:
    """Whether a connection that was begun is established already, as on loopback it is at once."""
    try:
        connection.getpeername()
    except OSError:
        return False
    return True


def _timed_out() -> OSError:
    return OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


def _telling_more(one: OSError | None, other: OSError) -> OSError:
    """Return the error that says more about why none of several addresses answers.

    A family that this computer has no route for says least: the names of most proxies have an
    address of each.
    """

    def rank(error: OSError) -> int:
        if is_shortage(error):
            return 3
        if isinstance(error, ConnectionRefusedError):
            return 2
        return isinstance(error, TimeoutError)

    return other if one is None or rank(other) >= rank(one) else one


async def connect(
    addresses: tuple[Address, ...],
    pause: Pause,
    release: Callable[[int], None],
    limits: EngineLimits,
    now: Callable[[], float],
    begun: socket.SocketType | None = None,
) -> socket.SocketType:
    """Return a connection to the first address that answers (RFC 8305, section 5).

    Args:
        addresses: In the order of preference.
        pause: Waits.
        release: Called with each descriptor that was waited for, before it is closed or returned.
        limits: The times.
        now: The loop's clock.
        begun: A connection to the first address that somebody has begun already.

    Raises:
        OSError: No address answered; the error that says most, `TimeoutError` if there is none.
    """
    queue = deque(addresses)
    trying: dict[int, tuple[socket.SocketType, float]] = {}
    failure: OSError | None = None
    end = now() + limits.connect_total_s
    next_start = 0.0
    if begun is not None and begun.fileno() >= 0:
        queue.popleft()
        trying[begun.fileno()] = (begun, now() + limits.connect_s)
        next_start = now() + limits.connection_attempt_delay_s

    def give_up(descriptor: int) -> None:
        release(descriptor)
        trying.pop(descriptor)[0].close()

    try:
        while queue or trying:
            if queue and (not trying or now() >= next_start):
                try:
                    attempt = start_connect(queue.popleft())
                except OSError as error:
                    failure = _telling_more(failure, error)
                    continue
                if is_connected(attempt):
                    return attempt
                trying[attempt.fileno()] = (attempt, now() + limits.connect_s)
                next_start = now() + limits.connection_attempt_delay_s
                continue
            soonest = min(limit for _, limit in trying.values())
            wake = min(end, soonest, next_start if queue else end)
            events = dict.fromkeys(trying, WRITE)
            woken = await pause(IoWait(events, timeout=max(0.0, wake - now())))
            if woken == TIMED_OUT:
                if now() >= end:
                    failure = _telling_more(failure, _timed_out())
                    break
                for descriptor, (_, limit) in list(trying.items()):
                    if now() >= limit:
                        give_up(descriptor)
                        failure = _telling_more(failure, _timed_out())
            elif woken in trying:
                code = trying[woken][0].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == 0:
                    release(woken)
                    return trying.pop(woken)[0]
                give_up(woken)
                failure = _telling_more(failure, OSError(code, os.strerror(code)))
        raise failure or _timed_out()
    finally:
        for descriptor in list(trying):
            give_up(descriptor)
