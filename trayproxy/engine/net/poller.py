"""Register file descriptors for readiness events, with `epoll` or with the event loop.

For a proxy, a loop's `add_reader` is half of the cost of a new connection: uvloop makes five system
calls before a descriptor is registered, creates an object for each direction, and calls back
through a context each time. `EpollPoller` needs one system call to register a descriptor, none to
remove it when it is closed, and one dictionary look-up per event. The event loop has only the
descriptor of the `epoll` registered, and runs everything else as usual.
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
"""The type of a callback, called with the descriptor and its ready events: `READ`, `WRITE` or both.
A connection that has ended or failed is ready for all events that it is registered for."""

EVENTS_PER_TURN = 256
"""The number of events handled before control returns to the event loop."""


class Poller(Protocol):
    """Reports readiness events of registered descriptors."""

    def register(self, descriptor: int, mask: int, handler: ReadyHandler) -> None:
        """Register a handler, or change the registration of a descriptor.

        Args:
            descriptor: The descriptor of a socket. This call replaces an earlier registration.
            mask: `READ`, `WRITE` or both; 0 suspends the registration.
            handler: Called in the event loop whenever the descriptor is ready. It must not raise.

        Raises:
            OSError: The system refused, for lack of memory or because of a limit per user. The
                earlier registration is unchanged.
        """

    def unregister(self, descriptor: int) -> None:
        """Remove the registration of a descriptor. The descriptor stays open."""

    def discard(self, descriptor: int) -> None:
        """Remove the registration of a descriptor about to be closed.

        The number of the descriptor may be reused immediately afterwards.
        """

    def may_be_ready(self, descriptor: int) -> bool:
        """Return True if the descriptor may be ready and its handler was not called yet."""

    def close(self) -> None:
        """Remove all registrations."""


def open_poller(loop: asyncio.AbstractEventLoop) -> Poller:
    """Return the most efficient poller of this system."""
    return EpollPoller(loop) if hasattr(select, "epoll") else LoopPoller(loop)


class LoopPoller:
    """Registers descriptors with the event loop, on systems without `epoll`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._masks: dict[int, int] = {}

    def register(self, descriptor: int, mask: int, handler: ReadyHandler) -> None:
        """Register a handler, or change the registration of a descriptor; see `Poller`."""
        previous_mask = self._masks.get(descriptor, 0)
        if mask & READ:
            self._loop.add_reader(descriptor, handler, descriptor, READ)
        elif previous_mask & READ:
            self._loop.remove_reader(descriptor)
        if mask & WRITE:
            self._loop.add_writer(descriptor, handler, descriptor, WRITE)
        elif previous_mask & WRITE:
            self._loop.remove_writer(descriptor)
        self._masks[descriptor] = mask

    def unregister(self, descriptor: int) -> None:
        """Remove the registration of a descriptor. The descriptor stays open; see `Poller`."""
        previous_mask = self._masks.pop(descriptor, 0)
        if previous_mask & READ:
            self._loop.remove_reader(descriptor)
        if previous_mask & WRITE:
            self._loop.remove_writer(descriptor)

    discard = unregister

    def may_be_ready(self, descriptor: int) -> bool:
        """Return True: the event loop does not expose its pending events."""
        return True

    def close(self) -> None:
        """Remove all registrations; see `Poller`."""
        for descriptor in list(self._masks):
            self.unregister(descriptor)


if hasattr(select, "epoll"):
    _EPOLL_EVENTS = (0, select.EPOLLIN, select.EPOLLOUT, select.EPOLLIN | select.EPOLLOUT)
    """The epoll events to register, by mask."""
    _MASKS = {events: mask for mask, events in enumerate(_EPOLL_EVENTS)}
    _CLOSED = select.EPOLLHUP | select.EPOLLERR

    class EpollPoller:
        """Registers descriptors with an own epoll(7) instance, level-triggered."""

        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self._loop = loop
            self._epoll = select.epoll()
            self._registered: dict[int, tuple[int, ReadyHandler]] = {}
            self._ready: dict[int, int] = {}
            loop.add_reader(self._epoll.fileno(), self._dispatch)

        def register(self, descriptor: int, mask: int, handler: ReadyHandler) -> None:
            """Register a handler, or change the registration of a descriptor; see `Poller`."""
            previous_mask = self._registered.get(descriptor, _UNREGISTERED)[0]
            if mask == previous_mask:
                pass
            elif not previous_mask:
                self._epoll.register(descriptor, _EPOLL_EVENTS[mask])
            elif mask:
                self._epoll.modify(descriptor, _EPOLL_EVENTS[mask])
            else:
                # A descriptor registered for no event would still report EPOLLHUP, repeatedly.
                self._epoll.unregister(descriptor)
            # Recorded after epoll_ctl succeeded: a rejected registration must not be recorded.
            self._registered[descriptor] = mask, handler

        def unregister(self, descriptor: int) -> None:
            """Remove the registration of a descriptor. The descriptor stays open; see `Poller`."""
            if self._registered.get(descriptor, _UNREGISTERED)[0]:
                self._epoll.unregister(descriptor)
            self.discard(descriptor)

        def discard(self, descriptor: int) -> None:
            """Forget a descriptor about to be closed: the kernel then removes its registration."""
            self._registered.pop(descriptor, None)
            # An event of this turn must not be reported to the next socket with this number.
            self._ready.pop(descriptor, None)

        def may_be_ready(self, descriptor: int) -> bool:
            """Return True if the descriptor may be ready and its handler was not called yet."""
            return descriptor in self._ready

        def close(self) -> None:
            """Remove all registrations; see `Poller`."""
            if not self._epoll.closed:
                self._loop.remove_reader(self._epoll.fileno())
                self._epoll.close()
            self._registered.clear()
            self._ready.clear()

        def _dispatch(self) -> None:
            """Call the handlers of all ready descriptors. This is the hot path of all traffic."""
            events = self._epoll.poll(0, EVENTS_PER_TURN)
            watched = self._registered
            ready = self._ready = dict(events)
            for descriptor, event in events:
                if descriptor not in ready:
                    continue  # Discarded by a handler called earlier in this turn.
                mask, handler = watched[descriptor]
                if mask == _BOTH and not event & _CLOSED:
                    mask = _MASKS[event]
                if not mask:
                    continue
                try:
                    handler(descriptor, mask)
                except Exception:
                    # A bug. The event would be reported again in every turn, before those of other
                    # connections. So this connection is unregistered, and its deadline ends it.
                    logger.exception("the handler of a ready descriptor failed")
                    with suppress(OSError):  # It may be closed already.
                        self.unregister(descriptor)
                    self.discard(descriptor)
            ready.clear()

    _BOTH = READ | WRITE
    _UNREGISTERED: tuple[int, ReadyHandler] = (0, lambda descriptor, mask: None)
