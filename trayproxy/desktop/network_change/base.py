"""Hearing that this computer has moved to another network (security.md, F12).

Each system tells the moment it happens, and nothing is done until then: no timer, no thread. What
counts is where we can be reached and how we reach others: addresses that are valid beyond one
cable, and default routes where the system tells of them. Loopback is of no interest, and neither
are addresses of one link (RFC 3927, RFC 4291 section 2.5.6), which come and go with containers and
with the radio beside a Mac.
"""

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Protocol

SETTLE_S = 0.5
"""How long to wait for more: a network comes up in many steps, and counts once."""


_RECEIVE_SIZE = 1 << 16
"""Octets that are taken from the kernel at once."""


class NetworkWatch(Protocol):
    """Hears of changes until it is closed."""

    def close(self) -> None:
        """Hear no more."""
        ...


class NullNetworkWatch:
    """The watch of a system that does not tell."""

    def close(self) -> None:
        """Nothing is held."""


class Debounce:
    """Waits until changes that come together are over, then tells of them once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_settled: Callable[[], None]) -> None:
        """Wait for the first.

        Args:
            loop: Its clock counts.
            on_settled: Called once for all.
        """
        self._loop = loop
        self._on_settled = on_settled
        self._timer: asyncio.TimerHandle | None = None

    def trigger(self) -> None:
        """Take note of one."""
        if self._timer is None:
            self._timer = self._loop.call_later(SETTLE_S, self._settle)

    def _settle(self) -> None:
        self._timer = None
        self._on_settled()

    def close(self) -> None:
        """Tell nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class SocketWatch:
    """Listens to the kernel on a socket on which it tells of changes."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        notifications: socket.socket,
        is_relevant: Callable[[bytes], bool],
        debounce: Debounce,
    ) -> None:
        """Begin.

        Args:
            loop: Wakes up when the kernel tells something.
            notifications: Never blocks; it is closed with this.
            is_relevant: Whether what was told may mean another network.
            debounce: Is disturbed then; it is closed with this.
        """
        self._loop = loop
        self._socket = notifications
        self._is_relevant = is_relevant
        self._debounce = debounce
        loop.add_reader(notifications.fileno(), self._on_readable)

    def close(self) -> None:
        """Hear no more."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self._debounce.close()

    def _on_readable(self) -> None:
        try:
            message = self._socket.recv(_RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError:
            # ENOBUFS: there was more than the socket could hold (netlink(7), route(4)).
            self._debounce.trigger()
            return
        if self._is_relevant(message):
            self._debounce.trigger()


def identifies_network(address: bytes) -> bool:
    """Whether an address of ours says something about the network that we are in.

    Args:
        address: In 4 or 16 octets.
    """
    found = ip_address(address)
    return not (found.is_loopback or found.is_link_local or found.is_unspecified)
