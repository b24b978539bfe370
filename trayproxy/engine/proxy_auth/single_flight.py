"""Who is first to do something that others wait for, and for how long they wait.

The connections that are signed in ahead use it (`warming`). Which request may carry a login that
was not proved lately is the desk's decision (`trayproxy.desk.machine.pacing`).
"""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

WAIT_S = 2.0
"""Seconds for which the others wait."""


@dataclass(frozen=True, slots=True)
class _Flight:
    done: "asyncio.Future[None]"
    wait_until: float


class SingleFlight(Generic[K]):
    """Who goes first, by login or by whatever else names what one goes first with."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._flights: dict[K, _Flight] = {}

    def claim(self, key: K) -> bool:
        """Go first with a login. Return False if somebody else does; then see `wait_for`."""
        if key in self._flights:
            return False
        wait_until = self._loop.time() + WAIT_S
        self._flights[key] = _Flight(self._loop.create_future(), wait_until)
        return True

    def release(self, key: K) -> None:
        """Say that the desk knows what has become of the request that went first."""
        flight = self._flights.pop(key, None)
        if flight is not None and not flight.done.done():
            flight.done.set_result(None)

    def wait_for(self, key: K) -> "tuple[asyncio.Future[None], float] | None":
        """Return the end of the request that went first, and for how many seconds to wait for it;
        None: there is nothing to wait for."""
        flight = self._flights.get(key)
        wait_s = flight.wait_until - self._loop.time() if flight is not None else 0.0
        return (flight.done, wait_s) if flight is not None and wait_s > 0 else None
