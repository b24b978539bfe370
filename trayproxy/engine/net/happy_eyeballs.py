"""Connects to the first responding address of several (RFC 8305)."""

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
"""Socket type flag for a non-blocking socket; 0 on systems without the flag."""


def start_connect(address: Address) -> socket.SocketType:
    """Return a non-blocking socket, connecting or already connected to an address.

    Raises:
        OSError: Connecting has failed immediately: the system has no IPv6, no free descriptor or no
            route.
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
    """Return whether a socket is already connected, as usual immediately on loopback."""
    try:
        connection.getpeername()
    except OSError:
        return False
    return True


def _timed_out() -> OSError:
    return OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


def _more_informative(one: OSError | None, other: OSError) -> OSError:
    """Return the more informative one of two connection errors.

    A shortage of resources ranks above a refused connection, then a timeout, then every other
    error. A missing route ranks lowest, because the names of most proxies have IPv6 addresses, and
    many computers have no route for them.
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
    """Return a connection to the first responding address (RFC 8305, section 5).

    Args:
        addresses: The addresses in order of preference.
        pause: Waits for an `IoWait`.
        release: Called with each registered descriptor before the descriptor is closed or
            returned.
        limits: The time limits.
        now: The clock of the event loop.
        connecting: A socket already connecting to the first address.

    Raises:
        OSError: No address has answered. The most informative error; `TimeoutError` if there were
            no errors.
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
