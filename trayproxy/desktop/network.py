"""Hearing that this computer has moved to another network (security.md, F12).

Each system tells the moment it happens, and nothing is done until then: no timer, no thread. What
counts is where we can be reached and how we reach others: addresses that are valid beyond one
cable, and default routes where the system tells of them. Loopback is of no interest, and neither
are addresses of one link (RFC 3927, RFC 4291 section 2.5.6), which come and go with containers and
with the radio beside a Mac.
"""

import asyncio
import logging
import sys
from collections.abc import Callable
from ipaddress import ip_address
from typing import Protocol

logger = logging.getLogger(__name__)

SETTLE_S = 0.5
"""How long to wait for more: a network comes up in many steps, and counts once."""


class Watch(Protocol):
    """Hears of changes until it is closed."""

    def close(self) -> None:
        """Hear no more."""
        ...


class Deaf:
    """The watch of a system that does not tell."""

    def close(self) -> None:
        """Nothing is held."""


def watch_network(loop: asyncio.AbstractEventLoop, changed: Callable[[], None]) -> Watch:
    """Call back after each change of networks, once for all that happens together.

    Sleeping and waking up is no change if the network is the same afterwards (`sleep`).

    Args:
        loop: Whose thread this is called in, and `changed` too.
        changed: What to do.

    Returns:
        To be closed before the loop is. A system that does not tell is no error: a sandbox may
        forbid it, and what follows is what followed before anybody told.
    """
    try:
        return _watch(loop, changed)
    except (OSError, NotImplementedError) as error:
        logger.info("changes of the network are not told: %s", error)
        return Deaf()


def _watch(loop: asyncio.AbstractEventLoop, changed: Callable[[], None]) -> Watch:
    if sys.platform == "win32":
        from trayproxy.desktop.network_windows import Windows

        return Windows(loop, changed)
    elif sys.platform == "darwin":
        from trayproxy.desktop.network_macos import MacOS

        return MacOS(loop, changed)
    elif sys.platform == "linux":
        from trayproxy.desktop.network_linux import Linux

        return Linux(loop, changed)
    else:
        raise NotImplementedError(sys.platform)


class Calm:
    """Waits until changes that come together are over, then tells of them once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tell: Callable[[], None]) -> None:
        """Wait for the first.

        Args:
            loop: Its clock counts.
            tell: Called once for all.
        """
        self._loop = loop
        self._tell = tell
        self._timer: asyncio.TimerHandle | None = None

    def disturb(self) -> None:
        """Take note of one."""
        if self._timer is None:
            self._timer = self._loop.call_later(SETTLE_S, self._settle)

    def _settle(self) -> None:
        self._timer = None
        self._tell()

    def close(self) -> None:
        """Tell nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def is_of_interest(address: bytes) -> bool:
    """Whether an address of ours says something about the network that we are in.

    Args:
        address: In 4 or 16 octets.
    """
    found = ip_address(address)
    return not (found.is_loopback or found.is_link_local or found.is_unspecified)
