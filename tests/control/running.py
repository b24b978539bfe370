"""A real server on its own thread and event loop, for blocking clients."""

import asyncio
import threading
from collections.abc import Callable

from tests.support.closeable import Closeable
from tests.support.session_handler import SessionHandler
from tests.support.values import PROMPT
from trayproxy.control.client import Client
from trayproxy.control.messages import (
    CheckProfile,
    CheckResult,
    Done,
    GetStatus,
    ListenerState,
    PromptChanged,
    Reply,
    Request,
    Status,
    Subscribe,
    UseProfile,
)
from trayproxy.control.server import Handler, Server, Session
from trayproxy.control.transport import ControlAddress
from trayproxy.paths import Paths

STATUS = Status("0.1.0", 4711, ListenerState.UP, "127.0.0.1:3128")


class RecordingHandler(SessionHandler):
    """A handler that records requests and replies like a service."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.attached_front_ends: list[str] = []
        self.front_end_detached = threading.Event()
        self.finish_checks = asyncio.Event()

    async def handle(self, session: Session, request: Request) -> Reply:
        self.requests.append(request)
        match request:
            case GetStatus():
                return STATUS
            case Subscribe():
                session.send_event(PromptChanged(PROMPT))
                return STATUS
            case CheckProfile():
                await self.finish_checks.wait()
                return CheckResult(())
            case UseProfile("broken"):
                raise RuntimeError("a mistake in the handler")
        return Done()

    def attached(self, session: Session) -> None:
        super().attached(session)
        self.attached_front_ends.append(session.front_end)

    def detached(self, session: Session) -> None:
        super().detached(session)
        self.front_end_detached.set()


class RunningServer(Closeable):
    """A running server."""

    def __init__(
        self,
        address: ControlAddress,
        paths: Paths,
        new_loop: Callable[[], asyncio.AbstractEventLoop],
        handler: Handler | None = None,
    ) -> None:
        self.address = address
        self.paths = paths
        self.handler = RecordingHandler()
        self.server = Server(paths, handler or self.handler, address)
        self.loop = new_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.call(self.server.start)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, function: Callable[[], object]) -> object:
        """Call a function on the event loop; return its result, or the result of its coroutine."""

        async def call() -> object:
            result = function()
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(10)

    def client(self, front_end: str = "cli", *, can_prompt: bool = False) -> Client:
        client = Client(self.address.connect(5))
        client.hello(front_end, can_prompt=can_prompt)
        return client

    def close(self) -> None:
        self.call(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()
