"""Connects to the first responding address of several (RFC 8305)."""

import errno
import os
import socket
from collections import deque
from collections.abc import Callable
from math import inf

from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.fd_task import TIMED_OUT, WRITE, IoWait, Pause
from trayproxy.engine.net.resolver import Address
from trayproxy.engine.net.resource_shortage import is_shortage

NEVER_BLOCKS = getattr(socket, "SOCK_NONBLOCK", 0)
"""Socket type flag for a non-blocking socket; 0 on systems without the flag."""


def start_connect(address: Address) -> socket.SocketType:
    """Return a non-blocking socket, connecting or already connected to an address. Raise `OSError`
    if connecting has failed immediately: the system has no IPv6, no free descriptor or no route."""
    family, sockaddr = address
    attempt = socket.SocketType(family, socket.SOCK_STREAM | NEVER_BLOCKS)
    if not NEVER_BLOCKS:
        attempt.setblocking(False)
    code = attempt.connect_ex(sockaddr)
    if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
        attempt.close()
        raise _error(code)
    return attempt


def is_connected(connection: socket.SocketType) -> bool:
    """Return whether a socket is already connected, as usual immediately on loopback."""
    try:
        connection.getpeername()
    except OSError:
        return False
    return True


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


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


class _Attempts:
    """The connection attempts in progress.

    Attributes:
        sockets: The connecting sockets by descriptor, each with the time when its attempt fails.
        failure: The most informative error so far; None without an error.
    """

    def __init__(self, release: Callable[[int], None]) -> None:
        self.sockets: dict[int, tuple[socket.SocketType, float]] = {}
        self.failure: OSError | None = None
        self._release = release

    def take(self, descriptor: int) -> socket.SocketType:
        """Return the socket of an attempt, which ends here."""
        self._release(descriptor)
        return self.sockets.pop(descriptor)[0]

    def fail(self, descriptors: list[int], error: OSError) -> None:
        """Close the sockets of failed attempts."""
        for descriptor in descriptors:
            self.take(descriptor).close()
            self.failure = _more_informative(self.failure, error)


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
        release: Called with each registered descriptor before it is closed or returned.
        connecting: A socket already connecting to the first address.

    Raises:
        OSError: No address has answered. The most informative error; `TimeoutError` if there were
            no errors.
    """
    queue, attempts = deque(addresses), _Attempts(release)
    sockets, end, next_start = attempts.sockets, now() + limits.connect_total_s, 0.0
    if connecting is not None and connecting.fileno() >= 0:
        queue.popleft()
        sockets[connecting.fileno()] = (connecting, now() + limits.connect_s)
        next_start = now() + limits.connection_attempt_delay_s
    try:
        while queue or sockets:
            if queue and (not sockets or now() >= next_start):
                try:
                    attempt = start_connect(queue.popleft())
                except OSError as error:
                    attempts.failure = _more_informative(attempts.failure, error)
                    continue
                if is_connected(attempt):
                    return attempt
                sockets[attempt.fileno()] = (attempt, now() + limits.connect_s)
                next_start = now() + limits.connection_attempt_delay_s
                continue
            soonest = min(limit for _, limit in sockets.values())
            wake = min(end, soonest, next_start if queue else end)
            wait = IoWait(dict.fromkeys(sockets, WRITE), timeout=max(0.0, wake - now()))
            ready = await pause(wait)
            if ready == TIMED_OUT:
                moment = inf if now() >= end else now()
                late = [number for number, (_, limit) in sockets.items() if moment >= limit]
                attempts.fail(late, _error(errno.ETIMEDOUT))
                if moment == inf:
                    break
            elif ready in sockets:
                code = sockets[ready][0].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == 0:
                    return attempts.take(ready)
                attempts.fail([ready], _error(code))
        raise attempts.failure or _error(errno.ETIMEDOUT)
    finally:
        for descriptor in list(sockets):
            attempts.take(descriptor).close()
