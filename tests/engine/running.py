"""An engine running on its own thread and event loop, for blocking clients."""

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from tests.engine.fakes import FakeBroker, FakeRoutes, Observer
from tests.engine.wire import ProxyClient
from tests.support.closeable import Closeable
from tests.support.process_output import PATIENCE
from trayproxy.engine.engine import Engine, EngineParts
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.server.access_control import AccessControl, own_user_only
from trayproxy.engine.upstream.pool import UpstreamConnection
from trayproxy.profiles.profile import Profile

T = TypeVar("T")

NewLoop = Callable[[], asyncio.AbstractEventLoop]

LOOPS: dict[str, NewLoop] = {"asyncio": asyncio.SelectorEventLoop}
"""The event loops that the engine runs on, by name. uvloop has no wheel for Windows."""
if sys.platform != "win32":
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop
FASTEST_LOOP = list(LOOPS.values())[-1]

_LOOK_AGAIN_S = 0.005


@dataclass(frozen=True, slots=True)
class ProcessResources:
    """The resources of a process: invariant I6 of the corpus (http.md)."""

    descriptors: int
    tasks: int
    connections: int

    def __le__(self, other: "ProcessResources") -> bool:
        return (
            self.descriptors <= other.descriptors
            and self.tasks <= other.tasks
            and self.connections <= other.connections
        )


class LogRecorder(logging.Handler):
    """Records the log of the engine: all lines, and separately the errors."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = logging.Formatter().format(record)
        self.lines.append(text)
        if record.levelno >= logging.ERROR:
            self.errors.append(text)


class Running(Closeable):
    """A running engine, listening on a free port.

    Attributes:
        engine: The engine. It belongs to its event loop and is accessed only in `call`.
        desk: The desk of the engine.
        routes: The routes of the engine.
        observer: The observer of the engine.
        complaints: The log of the engine.
    """

    def __init__(
        self,
        profile: Profile | None,
        *,
        desk: FakeBroker | None = None,
        limits: EngineLimits | None = None,
        new_loop: NewLoop = FASTEST_LOOP,
        sleep_clock: Callable[[], float] | None = None,
        access_control: AccessControl | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.desk = desk or FakeBroker()
        self.routes = FakeRoutes(profile)
        self.observer = Observer()
        self.complaints = LogRecorder()
        self.loop = new_loop()
        self.loop.set_exception_handler(self._complain)
        logging.getLogger().addHandler(self.complaints)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()
        parts = EngineParts(
            self.desk,
            self.routes,
            self.observer,
            limits or EngineLimits(),
            access_control=access_control or own_user_only(),
            on_network_changed=self.desk.network_changed,
        )
        if sleep_clock is not None:
            parts = replace(parts, sleep_clock=sleep_clock)
        self.engine = self.call(lambda: self._listen(parts, host, port))
        self.host, self.port = host, int(self.engine.address.rpartition(":")[2])

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        if error[0] is None:
            assert not self.complaints.errors, self.complaints.errors

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def _listen(self, parts: EngineParts, host: str, port: int) -> Engine:
        engine = Engine(self.loop, parts, host, port)
        engine.listen()
        return engine

    def _complain(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.complaints.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    def close(self) -> None:
        """Stop the engine immediately."""
        if self._thread.is_alive():
            self.call(self.engine.executor.close)
            self.wait(self.engine.close())
            self.wait(self.loop.shutdown_default_executor())
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(PATIENCE)
            self.loop.close()
            logging.getLogger().removeHandler(self.complaints)

    # --- in the loop ---

    def wait(self, coroutine: Coroutine[Any, Any, T], timeout: float = PATIENCE) -> T:
        """Run a coroutine in the event loop and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in the event loop and return its result."""

        async def run() -> T:
            return function()

        return self.wait(run())

    def until(self, holds: Callable[[], bool], what: str, timeout: float = PATIENCE) -> None:
        """Wait until a condition holds; the condition is evaluated in the event loop."""

        async def look() -> bool:
            end = self.loop.time() + timeout
            while not holds():
                if self.loop.time() > end:
                    return False
                await asyncio.sleep(_LOOK_AGAIN_S)
            return True

        assert self.wait(look(), timeout + PATIENCE), f"{what} did not come true in {timeout} s"

    # --- the pool ---

    def idle_connections(self) -> list[UpstreamConnection]:
        """Return the idle connections of the pool."""
        return self.call(self.engine.context.pool.idle_connections)

    def until_pool_is_filled(self) -> None:
        """Wait for an idle connection in the pool."""
        self.until(lambda: bool(self.engine.context.pool.idle_connections()), "an idle connection")

    def until_pool_is_empty(self) -> None:
        """Wait until the pool has no idle connection."""
        pool = self.engine.context.pool
        self.until(lambda: not pool.idle_connections(), "the end of the idle connections")

    # --- clients ---

    def until_clients_left(self) -> None:
        """Wait until no client is connected."""
        self.until(lambda: not self.engine.executor.works, "the end of all connections")

    def until_withdrawn(self) -> None:
        """Wait until the first request at the desk is withdrawn."""
        requests = self.desk.challenged_requests
        self.until(lambda: requests[0].future.cancelled(), "the end of the turn")

    # --- resources ---

    def connect(self) -> ProxyClient:
        """Connect a client."""
        return ProxyClient(self.port)

    def settle(self) -> None:
        """Wait until no client is connected, then close idle connections."""
        self.until_clients_left()
        self.call(self._let_go)

    def _let_go(self) -> None:
        self.engine.context.pool.clear()
        self.engine.context.pipe_pool.close()

    def holdings(self) -> ProcessResources:
        """Return the current resources of this process."""
        return self.call(self._count)

    def until_it_holds(self, base: ProcessResources) -> None:
        """Wait until the process holds no more resources than these."""
        self.until(lambda: self._count() <= base, f"{self.holdings()} going back to {base}")

    def _count(self) -> ProcessResources:
        # The task of this call is not counted.
        tasks = len(asyncio.all_tasks(self.loop)) - 1
        return ProcessResources(
            len(os.listdir("/proc/self/fd")), tasks, self.engine.context.counters.active
        )

    def seconds_worked(self) -> float:
        """Return the processor time used by the thread of the event loop, in seconds."""
        assert self._thread.ident is not None
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident))
