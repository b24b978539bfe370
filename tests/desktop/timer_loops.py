"""Event loops with timers and callbacks, which a test runs by hand."""

import queue
import select
import threading
from collections.abc import Callable
from typing import Any

from tests.support.process_output import PATIENCE


class FakeTimerLoop:
    """An event loop with timers, which a test runs by hand."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay: float, call: Callable[[], None]) -> Any:
        self.timers.append((delay, call))
        return self

    def cancel(self) -> None:
        self.timers.clear()

    def call_soon_threadsafe(self, call: Callable[[], None]) -> None:
        call()

    def run_timer(self) -> None:
        (_, call), *self.timers = self.timers
        call()


class ThreadsafeTimerLoop(FakeTimerLoop):
    """A loop for a watch with a thread: the calls of other threads wait in a queue."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: queue.Queue[Callable[[], None]] = queue.Queue()
        self.is_closed = False
        self._refused = threading.Event()

    def call_soon_threadsafe(self, call: Callable[[], None]) -> None:
        if self.is_closed:
            self._refused.set()
            raise RuntimeError("Event loop is closed")
        self._calls.put(call)

    def run_call(self) -> None:
        """Wait for the call of another thread, and run it."""
        self._calls.get(timeout=PATIENCE)()

    def wait_for_refusal(self) -> None:
        """Wait until a call of another thread was refused, because the loop is closed."""
        assert self._refused.wait(PATIENCE)

    @property
    def has_calls(self) -> bool:
        return not self._calls.empty()


class ReaderTimerLoop(FakeTimerLoop):
    """A loop for a watch with a file descriptor."""

    def __init__(self) -> None:
        super().__init__()
        self._readers: dict[int, Callable[[], None]] = {}

    def add_reader(self, descriptor: int, call: Callable[[], None]) -> None:
        self._readers[descriptor] = call

    def remove_reader(self, descriptor: int) -> None:
        del self._readers[descriptor]

    def run_readers(self) -> int:
        """Call the readers of all readable descriptors; return their number."""
        readable, _, _ = select.select(list(self._readers), [], [], 0)
        for descriptor in readable:
            self._readers[descriptor]()
        return len(readable)
