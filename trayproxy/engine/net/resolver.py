"""Resolves host names to socket addresses."""

import asyncio
import socket
from itertools import chain, zip_longest
from typing import Any

from trayproxy.engine.net.fd_task import TIMED_OUT, IoWait, Pause

Address = tuple[socket.AddressFamily, tuple[Any, ...]]
"""An address family and a socket address of it."""

CACHE_S = 10.0
MAX_CACHED_NAMES = 256


def literal_address(host: str, port: int) -> tuple[Address, ...]:
    """Return the address that an IP literal is; nothing for a name.

    An address of IPv6 may have a zone (RFC 4007, section 11). Not every resolver passes it on
    (uvloop's drops it), so it is looked up here. One that there is not becomes an interface that
    there is not: connecting says so.
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
"""The number of an interface that there is not."""


def _zone_index(zone: str) -> int:
    """Return the number of a network interface, which may be given by its name or number."""
    if zone.isascii() and zone.isdigit():
        return min(int(zone), _NO_INTERFACE)
    try:
        return socket.if_nametoindex(zone)
    except (OSError, ValueError):
        return _NO_INTERFACE


class _LookUp:
    """One that is under way.

    Attributes:
        answer: What the system will say.
        waiting: How many requests wait for that.
    """

    __slots__ = ("answer", "waiting")

    def __init__(self, answer: "asyncio.Future[list[Any]]") -> None:
        self.answer = answer
        self.waiting = 0


class Resolver:
    """Finds the addresses of names, off the loop; remembers them for a few seconds.

    However many requests wait for a name, the system is query once: it asks in few threads, and
    while a name server is silent each of them is one that other names do without.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._cache: dict[tuple[str, int], tuple[float, tuple[Address, ...]]] = {}
        self._pending: dict[tuple[str, int], _LookUp] = {}

    def known(self, host: str, port: int) -> tuple[Address, ...] | None:
        """Return the addresses that need no look-up: of an IP literal, or of a name query
        before."""
        found = self._cache.get((host, port))
        if found is not None and found[0] > self._loop.time():
            return found[1]
        literal = literal_address(host, port)
        return self._store(host, port, literal) if literal else None

    async def look_up(
        self, host: str, port: int, pause: Pause, limit_s: float
    ) -> tuple[Address, ...]:
        """Return the addresses of a name, IPv6 and IPv4 in turn (RFC 8305, section 4).

        Raises:
            socket.gaierror: It has none, or no name server has answered in time.
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
                    # Whoever comes next asks anew: the name server may be back by then.
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
        """Return the look-up of a name that is under way, or begin one."""
        pending = self._pending.get((host, port))
        if pending is not None and not pending.answer.done():
            return pending
        # As octets: Python's IDNA codec, which text goes through, raises UnicodeError at names that
        # no name server would know either.
        query = self._loop.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
        look_up = self._pending[host, port] = _LookUp(asyncio.ensure_future(query, loop=self._loop))
        return look_up

    def _forget_look_up(self, name: tuple[str, int], look_up: _LookUp) -> None:
        """Let nobody else wait for a look-up."""
        if self._pending.get(name) is look_up:
            del self._pending[name]

    def _store(self, host: str, port: int, addresses: tuple[Address, ...]) -> tuple[Address, ...]:
        if len(self._cache) >= MAX_CACHED_NAMES:
            self._cache.clear()
        self._cache[host, port] = (self._loop.time() + CACHE_S, addresses)
        return addresses

    def forget(self) -> None:
        """Forget all names: the network has changed. Who waits for one goes on waiting."""
        self._cache.clear()
        self._pending.clear()
