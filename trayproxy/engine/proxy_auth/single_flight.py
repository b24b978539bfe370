"""Claims on keys: one task per key holds the claim, and other tasks wait for its release for a
limited time.

Preconnects use it (see `preconnect`). The desk decides which request may carry an unproved login
(`trayproxy.desk.machine.pacing`).
"""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

WAIT_S = 2.0
"""The most seconds to wait for another task."""


@dataclass(frozen=True, slots=True)
class _Flight:
    """A claim: the future for its release, and the loop time until which tasks wait for it."""

    done: "asyncio.Future[None]"
    wait_until: float


class SingleFlight(Generic[K]):
    """The current claims, at most one per key."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._flights: dict[K, _Flight] = {}

    def claim(self, key: K) -> bool:
        """Claim the key. Return False if another task holds the key; call `wait_for` then."""
        if key in self._flights:
            return False
        wait_until = self._loop.time() + WAIT_S
        self._flights[key] = _Flight(self._loop.create_future(), wait_until)
        return True

    def release(self, key: K) -> None:
        """Release the key and wake the waiting tasks."""
        flight = self._flights.pop(key, None)
        if flight is not None and not flight.done.done():
            flight.done.set_result(None)

    def wait_for(self, key: K) -> "tuple[asyncio.Future[None], float] | None":
        """Return a future for the release of the key, and the seconds to wait for it; None if no
        other task holds the key or the time to wait is over."""
        flight = self._flights.get(key)
        wait_s = flight.wait_until - self._loop.time() if flight is not None else 0.0
        return (flight.done, wait_s) if flight is not None and wait_s > 0 else None
