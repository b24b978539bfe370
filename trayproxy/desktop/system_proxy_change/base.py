"""The protocol of a watch for changes of the system proxy, and the code shared by its
implementations.

A watch only says *when* to read the system proxy again: it may report changes of other settings,
too. The operating system notifies the watch; there is no polling.
"""

import asyncio
import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from trayproxy.desktop.network_change.base import Debounce as Debounce


class SystemProxyWatch(Protocol):
    """A watch for changes of the system proxy. It reports changes until `close`."""

    def close(self) -> None:
        """Stop the watch; its callback is not called after this."""


class NullSystemProxyWatch:
    """The watch for a system that does not report changes of its settings."""

    def close(self) -> None:
        """Do nothing: this watch holds no resources."""


class ThreadedSystemProxyWatch(ABC):
    """A watch in a thread of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_change: Callable[[], None]) -> None:
        """Create the thread; the subclass starts it.

        Args:
            loop: The running event loop; it calls `on_change`.
            on_change: Called after changes, at most twice a second.
        """
        self._loop = loop
        self._debounce = Debounce(loop, on_change)
        self._thread = threading.Thread(target=self._run, name="system proxy", daemon=True)

    def close(self) -> None:
        """Stop the watch, and wait until its thread has ended."""
        self._interrupt()
        self._thread.join()
        self._release()
        self._debounce.close()

    def _report(self) -> None:
        """Trigger the debounce in the event loop. Called in the thread."""
        with contextlib.suppress(RuntimeError):  # The loop is closed.
            self._loop.call_soon_threadsafe(self._debounce.trigger)

    @abstractmethod
    def _run(self) -> None:
        """Wait for changes and report them, until `_interrupt` is called."""

    @abstractmethod
    def _interrupt(self) -> None:
        """Let `_run` return, whether it waits already or not."""

    @abstractmethod
    def _release(self) -> None:
        """Release what the system has allocated, after the thread has ended."""
