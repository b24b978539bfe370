"""Waiting for a network that has changed: it takes its time to be there (security.md, F12).

After a wake-up programs ask at once, before there is an address, a route or a name server. For a
few seconds that is no reason to tell them that the proxy cannot be reached: the attempt is made
again until the network is there. What was begun before a change is begun anew after it, since the
address that it came from may be gone, and nobody would say so.
"""

import asyncio

from trayproxy.engine.net.fd_task import FUTURE_DONE, IoWait, Pause

RETRY_S = 0.25
"""How often to try again while the network is on its way."""


class NetworkGrace:
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

    def start(self) -> None:
        """Take note that the network has changed, or that the computer has slept."""
        self._until = self._loop.time() + self._limit_s
        self._change.set_result(None)
        self._change = self._loop.create_future()

    @property
    def is_active(self) -> bool:
        """Whether what fails now may succeed in a moment."""
        return self._loop.time() < self._until

    @property
    def change(self) -> "asyncio.Future[None]":
        """Done as soon as the network changes the next time."""
        return self._change


class NetworkChangedError(Exception):
    """The network has changed while a connection was being made."""


def until_network_change(pause: Pause, grace: NetworkGrace) -> Pause:
    """Return a pause that raises `NetworkChangedError` when the network changes.

    One that waits for a future already is for the look-up of a name, which is asked anew soon
    enough.
    """
    change = grace.change

    async def watching(wait: IoWait) -> int:
        if wait.future is not None:
            return await pause(wait)
        woken = await pause(IoWait(wait.events, change, wait.timeout))
        if woken == FUTURE_DONE:
            raise NetworkChangedError
        return woken

    return watching
