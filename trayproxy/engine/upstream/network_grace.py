"""The grace period after a network change or a suspend (security.md, F12).

After a resume, programs send requests before there is an address, a route or a name server. During
the grace period a failed connection attempt is retried instead of being reported to the program. An
attempt in progress is restarted after a network change, because its local address may no
longer exist, which causes no error.
"""

import asyncio

from trayproxy.engine.net.fd_task import FUTURE_DONE, IoWait, Pause

RETRY_S = 0.25
"""Interval of the retries during the grace period, in seconds."""


class NetworkGrace:
    """The grace period after the last network change.

    Attributes:
        changes: The number of network changes so far.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limit_s: float) -> None:
        self._loop = loop
        self._limit_s = limit_s
        self.changes = 0
        self._until = 0.0
        self._change: asyncio.Future[None] = loop.create_future()

    def start(self) -> None:
        """Start the grace period, after a network change or a suspend."""
        self.changes += 1
        self._until = self._loop.time() + self._limit_s
        self._change.set_result(None)
        self._change = self._loop.create_future()

    @property
    def is_active(self) -> bool:
        """True during the grace period."""
        return self._loop.time() < self._until

    @property
    def change(self) -> "asyncio.Future[None]":
        """A future, completed at the next network change."""
        return self._change


class NetworkChangedError(Exception):
    """The network has changed during a connection attempt."""


def until_network_change(pause: Pause, grace: NetworkGrace) -> Pause:
    """Return a `Pause` which raises `NetworkChangedError` when the network changes.

    An `IoWait` with a future is passed on unchanged: it belongs to the look-up of a name, which has
    its own timeout.
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
