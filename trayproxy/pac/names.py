"""Looks up the names that PAC scripts ask for, with limits of time and number, and caches them.

`NameResolver` is the interface to the operating system, see `trayproxy.pac.system_resolver`.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from trayproxy.domain.problem import single_line
from trayproxy.pac.evaluation import ResolvedName

LOOK_UP_S = 3.0
"""The time limit for a round of look-ups, in seconds; a name without an answer counts as not
resolvable."""
CACHE_S = 60.0
"""How long the addresses of a name are cached, in seconds."""
FAILURE_CACHE_S = 10.0
"""How long a name without addresses is cached, in seconds."""
MAX_CACHED = 1024
_MAX_LENGTH = 253


class NameResolver(Protocol):
    """Looks up names."""

    async def resolve(self, name: str) -> tuple[str, ...]:
        """Return the IP addresses of a name, IPv4 and IPv6, in the preferred order.

        Args:
            name: A DNS name in its ASCII form.

        Raises:
            OSError: The name has no addresses.
        """
        ...

    def own_addresses(self) -> tuple[str, ...]:
        """Return the IP addresses of this computer, the preferred address first."""
        ...


@dataclass(frozen=True, slots=True)
class _CachedName:
    addresses: tuple[str, ...]
    expires_at: float


class NameTable:
    """The addresses of names, for all scripts.

    Concurrent look-ups of a name share one query, which continues after the time limit.
    """

    def __init__(self, resolver: NameResolver, clock: Callable[[], float] = monotonic) -> None:
        """Create an empty table.

        Args:
            resolver: The resolver.
            clock: A monotonic clock, in seconds.
        """
        self._resolver = resolver
        self._clock = clock
        self._entries: dict[str, _CachedName] = {}
        self._queries: dict[str, asyncio.Task[tuple[str, ...]]] = {}
        self._tasks: set[asyncio.Task[tuple[str, ...]]] = set()
        self._own: tuple[str, ...] | None = None

    def own_addresses(self) -> tuple[str, ...]:
        """Return the IP addresses of this computer, cached until the network changes."""
        if self._own is None:
            self._own = self._resolver.own_addresses()
        return self._own

    async def resolve(
        self, names: Iterable[str], limit_s: float = LOOK_UP_S
    ) -> tuple[ResolvedName, ...]:
        """Return the addresses of names, which are looked up at the same time.

        Args:
            names: Names as a script wrote them, international names included.
            limit_s: The time limit, in seconds.
        """
        keys = {name: _ascii(name) for name in names}
        found = {key: self._known(key) for key in keys.values() if key}
        queries = {key: self._query(key) for key, addresses in found.items() if addresses is None}
        if queries:
            done, _ = await asyncio.wait(queries.values(), timeout=limit_s)
            found |= {key: query.result() for key, query in queries.items() if query in done}
        return tuple(_resolved(name, found[key] if key else ()) for name, key in keys.items())

    def forget(self) -> None:
        """Drop all names and the addresses of this computer, after a network change."""
        self._entries.clear()
        self._queries.clear()
        self._own = None

    def close(self) -> None:
        """Cancel the pending look-ups."""
        self.forget()
        for query in tuple(self._tasks):
            query.cancel()

    def _known(self, key: str) -> tuple[str, ...] | None:
        entry = self._entries.get(key)
        return entry.addresses if entry and entry.expires_at > self._clock() else None

    def _query(self, key: str) -> "asyncio.Task[tuple[str, ...]]":
        query = self._queries.get(key)
        if query is None:
            query = self._queries[key] = asyncio.ensure_future(self._look_up(key))
            self._tasks.add(query)
            query.add_done_callback(self._tasks.discard)
        return query

    async def _look_up(self, key: str) -> tuple[str, ...]:
        own = asyncio.current_task()
        try:
            addresses = await self._resolver.resolve(key)
        except OSError:
            addresses = ()
        # After a network change, the result of an older query is out of date.
        if self._queries.get(key) is own:
            del self._queries[key]
            if len(self._entries) >= MAX_CACHED:
                self._entries.clear()
            lifetime_s = CACHE_S if addresses else FAILURE_CACHE_S
            self._entries[key] = _CachedName(addresses, self._clock() + lifetime_s)
        return addresses


def _resolved(name: str, addresses: tuple[str, ...] | None) -> ResolvedName:
    return ResolvedName(single_line(name), addresses or (), addresses is None)


def _ascii(name: str) -> str:
    """Return the ASCII form of a name in lower case; an empty text if the name is invalid."""
    try:
        ascii_name = name.encode("idna").decode("ascii") if not name.isascii() else name
    except UnicodeError:
        return ""
    key = ascii_name.lower()
    is_valid = 0 < len(key) <= _MAX_LENGTH and key.isprintable() and " " not in key
    return key if is_valid else ""
