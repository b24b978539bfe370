"""Which descriptors are ready: an `epoll` of our own below the event loop, or the loop itself.

What a loop's `add_reader` costs is of no account for most programs. For a proxy it is half of what
a new connection costs: uvloop asks the kernel five times before it watches a descriptor, makes an
object for each direction, and calls back through a context each time. Here a descriptor costs one
system call to begin, none to end, and one look into a dictionary for each event. The loop sees one
descriptor, that of the `epoll`, and goes on with everything else as usual.
"""

import asyncio
import logging
import select
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from trayproxy.engine.net.fd_task import READ, WRITE

logger = logging.getLogger(__name__)

ReadyHandler = Callable[[int, int], None]
"""Is called with the descriptor and what it is ready for: `READ`, `WRITE` or both. A connection
that has ended or failed is ready for all that was asked for."""

EVENTS_PER_TURN = 256
"""How many events are handled before the loop gets its turn."""


class Poller(Protocol):
    """Watches descriptors."""

    def register(self, descriptor: int, mask: int, handler: ReadyHandler) -> None:
        """Call this handler from now on, whenever the descriptor is ready.

        Args:
            descriptor: Of a socket. Whoever watched it before does so no more.
            mask: What for; 0: not for now.
            handler: Called in the loop. It raises nothing.

        Raises:
            OSError: The system cannot: it is out of memory, or of what it grants a user. What was
                watched before is watched as before.
        """

    def unregister(self, descriptor: int) -> None:
        """Watch it no more: it goes on elsewhere."""

    def discard(self, descriptor: int) -> None:
        """Watch it no more: it is closed next, and its number may come back at once."""

    def may_be_ready(self, descriptor: int) -> bool:
        """Whether the descriptor may be ready without its handler having heard of it yet."""

    def close(self) -> None:
        """Watch nothing any more."""


def open_poller(loop: asyncio.AbstractEventLoop) -> Poller:
    """Return what watches descriptors best on this system."""
    return EpollPoller(loop) if hasattr(select, "epoll") else LoopPoller(loop)


class LoopPoller:
    """Asks the loop, where there is no `epoll`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._masks: dict[int, int] = {}

    def register(self, descriptor: int, mask: int, handler: ReadyHandler) -> None:
        """See `Poller`."""
        before = self._masks.get(descriptor, 0)
        if mask & READ:
            self._loop.add_reader(descriptor, handler, descriptor, READ)
        elif before & READ:
            self._loop.remove_reader(descriptor)
        if mask & WRITE:
            self._loop.add_writer(descriptor, handler, descriptor, WRITE)
        elif before & WRITE:
            self._loop.remove_writer(descriptor)
        self._masks[descriptor] = mask

    def unregister(self, descriptor: int) -> None:
        """See `Poller`."""
        before = self._masks.pop(descriptor, 0)
        if before & READ:
            self._loop.remove_reader(descriptor)
        if before & WRITE:
            self._loop.remove_writer(descriptor)

    def discard(self, descriptor: int) -> None:
        """See `Poller`."""
        self.unregister(descriptor)

    def may_be_ready(self, descriptor: int) -> bool:
        """Return True: the loop does not say what it has in hand."""
        return True

    def close(self) -> None:
        """See `Poller`."""
        for descriptor in list(self._masks):
            self.unregister(descriptor)


if hasattr(select, "epoll"):
    _EPOLL_EVENTS = (0, select.EPOLLIN, select.EPOLLOUT, select.EPOLLIN | select.EPOLLOUT)
    """What to ask for, by mask."""
    _MASKS = {events: mask for mask, events in enumerate(_EPOLL_EVENTS)}
    _CLOSED = select.EPOLLHUP | select.EPOLLERR

    class EpollPoller:
        """Asks the kernel (epoll(7)), level-triggered."""

        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self._loop = loop
            self._epoll = select.epoll()
            self._registered: dict[int, tuple[int, ReadyHandler]] = {}
            self._ready: dict[int, int] = {}
            loop.add_reader(self._epoll.fileno(), self._dispatch)

        def register(self, descriptor: int, mask: int, handler: ReadyHandler) -> None:
            """See `Poller`."""
            before = self._registered.get(descriptor, _UNREGISTERED)[0]
            if mask == before:
                pass
            elif not before:
                self._epoll.register(descriptor, _EPOLL_EVENTS[mask])
            elif mask:
                self._epoll.modify(descriptor, _EPOLL_EVENTS[mask])
            else:
                # Asked for nothing, the kernel would still tell of an end, again and again.
                self._epoll.unregister(descriptor)
            # Not before the kernel has agreed: what it does not watch must not be taken for watched
            # by whoever comes next.
            self._registered[descriptor] = mask, handler

        def unregister(self, descriptor: int) -> None:
            """See `Poller`."""
            if self._registered.get(descriptor, _UNREGISTERED)[0]:
                self._epoll.unregister(descriptor)
            self.discard(descriptor)

        def discard(self, descriptor: int) -> None:
            """See `Poller`. The kernel forgets a descriptor when it is closed."""
            self._registered.pop(descriptor, None)
            # What was said of it in this turn is not about the next socket of this number.
            self._ready.pop(descriptor, None)

        def may_be_ready(self, descriptor: int) -> bool:
            """See `Poller`."""
            return descriptor in self._ready

        def close(self) -> None:
            """See `Poller`."""
            if not self._epoll.closed:
                self._loop.remove_reader(self._epoll.fileno())
                self._epoll.close()
            self._registered.clear()
            self._ready.clear()

        def _dispatch(self) -> None:
            """Tell the handlers of all that is ready. All traffic passes here."""
            events = self._epoll.poll(0, EVENTS_PER_TURN)
            watched = self._registered
            ready = self._ready = dict(events)
            for descriptor, event in events:
                if descriptor not in ready:
                    continue  # Dropped by a handler before it.
                mask, handler = watched[descriptor]
                if mask == _BOTH and not event & _CLOSED:
                    mask = _MASKS[event]
                if not mask:
                    continue
                try:
                    handler(descriptor, mask)
                except Exception:
                    # A mistake of ours. It would come back with every turn, before the others had
                    # theirs; so it costs the one whom it is about, who is timed out.
                    logger.exception("what was ready could not be handled")
                    with suppress(OSError):  # It may be closed already.
                        self.unregister(descriptor)
                    self.discard(descriptor)
            ready.clear()

    _BOTH = READ | WRITE
    _UNREGISTERED: tuple[int, ReadyHandler] = (0, lambda descriptor, mask: None)
