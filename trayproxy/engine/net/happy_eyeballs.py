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
    """Whether a connection that was connecting is established already, as on loopback it is at once."""
    try:
        connection.getpeername()
    except OSError:
        return False
    return True


def _timed_out() -> OSError:
    return OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


def _more_informative(one: OSError | None, other: OSError) -> OSError:
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
    connecting: socket.SocketType | None = None,
) -> socket.SocketType:
    """Return a connection to the first address that answers (RFC 8305, section 5).

    Args:
        addresses: In the order of preference.
        pause: Waits.
        release: Called with each descriptor that was waited for, before it is closed or returned.
        limits: The times.
        now: The loop's clock.
        connecting: A connection to the first address that somebody has connecting already.

    Raises:
        OSError: No address answered; the error that says most, `TimeoutError` if there is none.
    """
    queue = deque(addresses)
    attempts: dict[int, tuple[socket.SocketType, float]] = {}
    failure: OSError | None = None
    end = now() + limits.connect_total_s
    next_start = 0.0
    if connecting is not None and connecting.fileno() >= 0:
        queue.popleft()
        attempts[connecting.fileno()] = (connecting, now() + limits.connect_s)
        next_start = now() + limits.connection_attempt_delay_s

    def close_attempt(descriptor: int) -> None:
        release(descriptor)
        attempts.pop(descriptor)[0].close()

    try:
        while queue or attempts:
            if queue and (not attempts or now() >= next_start):
                try:
                    attempt = start_connect(queue.popleft())
                except OSError as error:
                    failure = _more_informative(failure, error)
                    continue
                if is_connected(attempt):
                    return attempt
                attempts[attempt.fileno()] = (attempt, now() + limits.connect_s)
                next_start = now() + limits.connection_attempt_delay_s
                continue
            soonest = min(limit for _, limit in attempts.values())
            wake = min(end, soonest, next_start if queue else end)
            events = dict.fromkeys(attempts, WRITE)
            ready = await pause(IoWait(events, timeout=max(0.0, wake - now())))
            if ready == TIMED_OUT:
                if now() >= end:
                    failure = _more_informative(failure, _timed_out())
                    break
                for descriptor, (_, limit) in list(attempts.items()):
                    if now() >= limit:
                        close_attempt(descriptor)
                        failure = _more_informative(failure, _timed_out())
            elif ready in attempts:
                code = attempts[ready][0].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == 0:
                    release(ready)
                    return attempts.pop(ready)[0]
                close_attempt(ready)
                failure = _more_informative(failure, OSError(code, os.strerror(code)))
        raise failure or _timed_out()
    finally:
        for descriptor in list(attempts):
            close_attempt(descriptor)
