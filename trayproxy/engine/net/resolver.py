"""Resolves host names to socket addresses."""

import asyncio
import socket
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

from trayproxy.engine.net.fd_task import TIMED_OUT, IoWait, Pause

Address = tuple[socket.AddressFamily, tuple[Any, ...]]
"""An address family and a socket address of this family."""

CACHE_S = 10.0
"""How long a result is cached, in seconds."""
MAX_CACHED_NAMES = 256
"""Maximum number of cached results."""


def literal_address(host: str, port: int) -> tuple[Address, ...]:
    """Return the address of an IP literal; an empty tuple for a name.

    An IPv6 literal may contain a zone (RFC 4007, section 11). It is resolved here, because the
    resolver of uvloop drops it. An unknown zone becomes a nonexistent interface index, and
    connecting fails.
    """
    plain, mark, zone = host.partition("%")
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, plain)
        except (OSError, ValueError):
            continue
        if family == socket.AF_INET6:
            return ((family, (plain, port, 0, _zone_index(zone) if mark else 0)),)
        return () if mark else ((family, (plain, port)),)
    return ()


_NO_INTERFACE = (1 << 31) - 1
"""The index of no network interface, for a zone that this computer does not know."""


def _zone_index(zone: str) -> int:
    """Return the index of a network interface, given by name or by index."""
    if zone.isascii() and zone.isdigit():
        return min(int(zone), _NO_INTERFACE)
    try:
        return socket.if_nametoindex(zone)
    except (OSError, ValueError):
        return _NO_INTERFACE


@dataclass(eq=False, slots=True)
class _LookUp:
    """A pending look-up: the result of ``getaddrinfo``, and the number of waiting callers."""

    answer: "asyncio.Future[list[Any]]"
    waiting: int = 0


class Resolver:
    """Resolves host names in the threads of the event loop, and caches the results for `CACHE_S`.

    Concurrent look-ups of a name share one call of ``getaddrinfo``. The event loop has few threads,
    and a call to a silent name server occupies one of them.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._cache: dict[tuple[str, int], tuple[float, tuple[Address, ...]]] = {}
        self._pending: dict[tuple[str, int], _LookUp] = {}

    def known(self, host: str, port: int) -> tuple[Address, ...] | None:
        """Return the addresses of an IP literal or a cached name; None if a look-up is needed."""
        found = self._cache.get((host, port))
        if found is not None and found[0] > self._loop.time():
            return found[1]
        literal = literal_address(host, port)
        return self._store(host, port, literal) if literal else None

    async def look_up(
        self, host: str, port: int, pause: Pause, limit_s: float
    ) -> tuple[Address, ...]:
        """Return the addresses of a host name or an IP literal, with this port and with the address
        families interleaved (RFC 8305, section 4).

        Raises:
            socket.gaierror: The name has no address, or no name server has answered in time.
        """
        known = self.known(host, port)
        if known is not None:
            return known
        look_up = self._start_look_up(host, port)
        answer = look_up.answer
        look_up.waiting += 1
        try:
            while not answer.done():
                if await pause(IoWait({}, future=answer, timeout=limit_s)) == TIMED_OUT:
                    # The next caller starts a new look-up: the name server may be back by then.
                    self._forget_look_up((host, port), look_up)
                    raise socket.gaierror(socket.EAI_AGAIN, "the name server does not answer")
        finally:
            look_up.waiting -= 1
            if not look_up.waiting:
                self._forget_look_up((host, port), look_up)
                answer.cancel()
        found: dict[int, list[Address]] = {}
        for family, _, _, _, address in answer.result():
            found.setdefault(family, []).append((family, address))
        turns = chain.from_iterable(zip_longest(*found.values()))
        return self._store(host, port, tuple(address for address in turns if address))

    def _start_look_up(self, host: str, port: int) -> _LookUp:
        """Return the pending look-up of a name, or start a look-up."""
        pending = self._pending.get((host, port))
        if pending is not None and not pending.answer.done():
            return pending
        # Bytes, because Python's IDNA codec, which is applied to text, raises UnicodeError for some
        # names that do not exist.
        query = self._loop.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
        look_up = self._pending[host, port] = _LookUp(asyncio.ensure_future(query, loop=self._loop))
        return look_up

    def _forget_look_up(self, name: tuple[str, int], look_up: _LookUp) -> None:
        """Remove a look-up from the pending look-ups, so further callers start a new look-up."""
        if self._pending.get(name) is look_up:
            del self._pending[name]

    def _store(self, host: str, port: int, addresses: tuple[Address, ...]) -> tuple[Address, ...]:
        if len(self._cache) >= MAX_CACHED_NAMES:
            self._cache.clear()
        self._cache[host, port] = (self._loop.time() + CACHE_S, addresses)
        return addresses

    def forget(self) -> None:
        """Discard all cached and pending results, after a network change. Callers of a pending
        look-up keep waiting."""
        self._cache.clear()
        self._pending.clear()
