"""Runs the state machine of the desk on an event loop."""

from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from concurrent.futures import Future as ThreadFuture
from contextlib import suppress
from math import inf
from time import time
from typing import TypeVar

from trayproxy.desk.machine.events import Effect, Event, TimePassed
from trayproxy.desk.machine.machine import Machine

T = TypeVar("T")


class MachineLoop:
    """Hands events to the machine one after the other, and sets a timer for its deadlines.

    Attributes:
        machine: The state machine; all its events must pass `handle`.
    """

    def __init__(
        self,
        machine: Machine,
        loop: AbstractEventLoop,
        clock: Callable[[], float],
        carry_out: Callable[[Effect], None],
        on_handled: Callable[[], None],
    ) -> None:
        """Create the loop without an event.

        Args:
            machine: The state machine.
            loop: The event loop.
            clock: Returns seconds on a monotonic clock.
            carry_out: Carries out an effect of the machine; may call `handle`.
            on_handled: Called after an event, and the events caused by its effects, were handled.
        """
        self.machine = machine
        self._loop = loop
        self._clock = clock
        self._carry_out = carry_out
        self._on_handled = on_handled
        self._events: list[Event] = []
        self._alarm: TimerHandle | None = None
        self._alarm_at = inf
        self._epoch_of = (0.0, 0.0)

    def handle(self, event: Event) -> None:
        """Hand an event to the machine, and carry out the effects."""
        self._events.append(event)
        if len(self._events) > 1:
            return  # An effect that is being carried out has caused the event: finish it first.
        while self._events:
            for effect in self.machine.handle(self._clock(), self._events[0]):
                self._carry_out(effect)
            del self._events[0]
        self._on_handled()
        self._set_alarm()

    def to_epoch(self, moment: float) -> float:
        """Convert a time of the machine's clock to seconds since the epoch.

        The last conversion is remembered: the clocks drift, and another conversion of the same time
        would look like a change.
        """
        if self._epoch_of[0] != moment:
            self._epoch_of = (moment, time() + moment - self._clock())
        return self._epoch_of[1]

    def deliver(self, result: ThreadFuture[T], callback: Callable[[T], None]) -> None:
        """Call a function in the event loop with the result of another thread."""
        in_loop = self.threadsafe(callback)
        result.add_done_callback(lambda done: in_loop(done.result()))

    def threadsafe(self, callback: Callable[[T], None]) -> Callable[[T], None]:
        """Return a function that any thread may call to call a function in the event loop."""

        def from_any_thread(value: T) -> None:
            with suppress(RuntimeError):  # The loop is closed: the result is not needed.
                self._loop.call_soon_threadsafe(callback, value)

        return from_any_thread

    def close(self) -> None:
        """Cancel the timer."""
        if self._alarm:
            self._alarm.cancel()

    def _set_alarm(self) -> None:
        """Set a timer for the machine's deadline; firing too early costs a single tick."""
        deadline = self.machine.deadline()
        if deadline >= self._alarm_at:
            return
        if self._alarm:
            self._alarm.cancel()
        self._alarm_at = deadline
        self._alarm = self._loop.call_later(max(0.0, deadline - self._clock()), self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm, self._alarm_at = None, inf
        self.handle(TimePassed())
