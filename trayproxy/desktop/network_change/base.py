"""The protocol of a watch for network changes, and the code shared by its implementations.

A watch reports moves of this computer to another network (security.md, F12). The operating
system notifies the watch: there is no polling, no timer and no thread in between. A change counts
if it concerns an address valid beyond its link, or, where the system reports routes, a
default route. Loopback addresses and link-local addresses (RFC 3927, RFC 4291 section 2.5.6) are
ignored: link-local addresses come and go with containers and with the wireless interfaces of Macs.
"""

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Protocol

SETTLE_S = 0.5
"""Seconds between the first notification of a change and its report.

A network comes up in many steps; the steps within this time are reported as a single change."""

_RECEIVE_SIZE = 1 << 16
"""The largest number of octets received from the kernel in one call."""


class NetworkWatch(Protocol):
    """A watch for network changes. It reports changes from its creation until `close`."""

    def close(self) -> None:
        """Stop the watch; its callback is not called after this."""


class NullNetworkWatch:
    """The watch for a system that does not report network changes."""

    def close(self) -> None:
        """Do nothing."""


class Debounce:
    """Combines the notifications within `SETTLE_S` seconds into one call of a callback."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_settled: Callable[[], None]) -> None:
        self._loop = loop
        self._on_settled = on_settled
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def trigger(self) -> None:
        """Start the timer, unless it is running already.

        After `close`, this does nothing: a call by another thread may still be in the queue of the
        event loop then (`call_soon_threadsafe`).
        """
        if self._timer is None and not self._is_closed:
            self._timer = self._loop.call_later(SETTLE_S, self._settle)

    def _settle(self) -> None:
        self._timer = None
        self._on_settled()

    def close(self) -> None:
        """Cancel the timer; the callback is not called after this."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class SocketWatch:
    """A watch that receives notifications from the kernel on a socket."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        notifications: socket.socket,
        is_relevant: Callable[[bytes], bool],
        debounce: Debounce,
    ) -> None:
        """Register a non-blocking socket with the event loop.

        `debounce` is triggered if `is_relevant` returns True for the received octets.
        """
        self._loop = loop
        self._socket = notifications
        self._is_relevant = is_relevant
        self._debounce = debounce
        loop.add_reader(notifications.fileno(), self._on_readable)

    def close(self) -> None:
        """Stop the watch, and close the socket and the debounce."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self._debounce.close()

    def _on_readable(self) -> None:
        try:
            message = self._socket.recv(_RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError:
            # ENOBUFS: the socket's buffer has overflowed (netlink(7), route(4)).
            self._debounce.trigger()
            return
        if self._is_relevant(message):
            self._debounce.trigger()


def identifies_network(address: bytes) -> bool:
    """Return True if an address shows to which network this computer is connected.

    Loopback, link-local and unspecified addresses do not. The address has 4 or 16 octets.
    """
    found = ip_address(address)
    return not (found.is_loopback or found.is_link_local or found.is_unspecified)
