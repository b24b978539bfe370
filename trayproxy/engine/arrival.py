"""Waiting for a network that has changed: it takes its time to be there (security.md, F12).

After a wake-up programs ask at once, before there is an address, a route or a name server. For a
few seconds that is no reason to tell them that the proxy cannot be reached: the attempt is made
again until the network is there. What was begun before a change is begun anew after it, since the
address that it came from may be gone, and nobody would say so.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace

from trayproxy.desk.desk import Desk
from trayproxy.engine.dial import Call, Dialler, UnreachableError
from trayproxy.engine.limits import Limits
from trayproxy.engine.strand import DONE, Wait
from trayproxy.engine.upstream import Address, Pause

LOOK_AGAIN_S = 0.25
"""How often to try again while the network is on its way."""


class Arrival:
    """Whether a network may still be on its way."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit_s: float) -> None:
        """Begin with one that is there.

        Args:
            loop: Its clock counts.
            limit_s: How long a network may take.
        """
        self._loop = loop
        self._limit_s = limit_s
        self._until = 0.0
        self._change: asyncio.Future[None] = loop.create_future()

    def begin(self) -> None:
        """Take note that the network has changed, or that the computer has slept."""
        self._until = self._loop.time() + self._limit_s
        self._change.set_result(None)
        self._change = self._loop.create_future()

    @property
    def is_due(self) -> bool:
        """Whether what fails now may succeed in a moment."""
        return self._loop.time() < self._until

    @property
    def change(self) -> "asyncio.Future[None]":
        """Done as soon as the network changes the next time."""
        return self._change


class _MovedError(Exception):
    """The network has changed while a connection was being made."""


class PatientDialler(Dialler):
    """A dialler that waits for the network after it has changed.

    Only the bare connection is waited for: once anything was said on it, a login may have been, and
    that is never said twice by itself. A port that refuses is an answer, and proves that the
    network is there.

    Attributes:
        arrival: Is told of changes.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        desk: Desk,
        is_own: Callable[[tuple[Address, ...]], bool],
    ) -> None:
        """Make one, as `Dialler` does."""
        super().__init__(loop, limits, desk, is_own)
        self.arrival = Arrival(loop, limits.arrival_s)

    async def connect(self, call: Call) -> socket.socket:
        """Return a new connection to the next hop on which nothing is agreed on yet.

        Raises:
            UnreachableError: There is none to be had, and the network has had its time.
            RefusedError: It would be one to ourselves.
        """
        arrival = self.arrival
        end = self._loop.time() + self._limits.connect_total_s
        while self._loop.time() < end:
            watched = replace(call, pause=_until_change(call.pause, arrival))
            try:
                return await super().connect(watched)
            except _MovedError:
                continue
            except UnreachableError as error:
                if not arrival.is_due or isinstance(error.__cause__, ConnectionRefusedError):
                    raise
            await call.pause(Wait({}, arrival.change, LOOK_AGAIN_S))
        # The network comes and goes all the time: what there is to tell shall be told.
        return await super().connect(call)


def _until_change(pause: Pause, arrival: Arrival) -> Pause:
    """Return a pause that ends with `_MovedError` when the network changes.

    One that waits for a future already is for the look-up of a name, which is asked anew soon
    enough.
    """
    change = arrival.change

    async def watching(wait: Wait) -> int:
        if wait.future is not None:
            return await pause(wait)
        woken = await pause(Wait(wait.events, change, wait.timeout))
        if woken == DONE:
            raise _MovedError
        return woken

    return watching
