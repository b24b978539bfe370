"""The tray as a separate program, connected to a service with scripted replies.

The service is the real control server with a scripted handler, in a thread.
"""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from msgspec.structs import replace

from tests.support.closeable import Closeable
from tests.support.display import Desktop
from tests.support.process_output import PATIENCE
from tests.support.processes import SOURCES, Process, running
from tests.support.session_handler import SessionHandler
from tests.ui.fake_service import STATUS
from trayproxy.control.messages import (
    Done,
    Event,
    Failed,
    GetStatus,
    PromptChanged,
    Quit,
    Quitting,
    Reply,
    Request,
    ShowRequested,
    ShowWindow,
    Status,
    StatusChanged,
    Subscribe,
    UseProfile,
)
from trayproxy.control.server import Server, Session
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import Prompt
from trayproxy.paths import Paths, locate

Message = TypeVar("Message")


class ScriptedHandler(SessionHandler):
    """Request handler with a status and a prompt set by the test; records the requests."""

    def __init__(self, status: Status) -> None:
        super().__init__()
        self.status = status
        self.prompt: Prompt | None = None
        self.requests: list[Request] = []
        self.changed = threading.Condition()

    async def handle(self, session: Session, request: Request) -> Reply:
        reply = self._reply(session, request)
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()
        return reply

    def _reply(self, session: Session, request: Request) -> Reply:
        match request:
            case Subscribe():
                if self.prompt is not None:
                    session.send_event(PromptChanged(self.prompt))
                return self.status
            case GetStatus():
                return self.status
            case UseProfile(profile_id):
                wanted = next(p for p in self.status.profiles if p.id == profile_id)
                self.status = replace(self.status, profile=wanted)
                self.broadcast(StatusChanged(self.status))
            case ShowWindow(token):
                if not any(session.front_end == "tray" for session in self.sessions):
                    return Failed(Problem("TP-703", "No window", "None."))
                self.broadcast(ShowRequested(token))
            case Quit():
                self.broadcast(Quitting())
        return Done()

    def attached(self, session: Session) -> None:
        with self.changed:
            super().attached(session)
            self.changed.notify_all()

    def detached(self, session: Session) -> None:
        with self.changed:
            super().detached(session)
            self.changed.notify_all()


class ScriptedService(Closeable):
    """A control server in a thread, controlled from the thread of the test."""

    def __init__(self, paths: Paths, status: Status = STATUS) -> None:
        self.paths = paths
        self._is_running = True
        self.handler = ScriptedHandler(status)
        self._loop = asyncio.new_event_loop()
        self._server = Server(paths, self.handler)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._run(self._server.start())

    def set_status(self, status: Status) -> None:
        self.handler.status = status
        self._call(lambda: self.handler.broadcast(StatusChanged(status)))

    def open_prompt(self, prompt: Prompt) -> None:
        """Open a prompt, or replace the open prompt."""
        self.handler.prompt = prompt
        self._call(lambda: self.handler.broadcast(PromptChanged(prompt)))

    def send(self, event: Event) -> None:
        self._call(lambda: self.handler.broadcast(event))

    def wait_for(self, kind: type[Message], timeout: float = PATIENCE) -> Message:
        """Wait for a request of a type; return the first such request."""

        def found() -> list[Message]:
            return [request for request in self.handler.requests if isinstance(request, kind)]

        with self.handler.changed:
            assert self.handler.changed.wait_for(found, timeout), f"no {kind.__name__}"
            return found()[0]

    def wait_for_tray(self, present: bool = True) -> None:
        """Wait until a tray is connected or, with `present` False, disconnected."""
        with self.handler.changed:
            assert self.handler.changed.wait_for(
                lambda: any(s.front_end == "tray" for s in self.handler.sessions) is present,
                PATIENCE,
            )

    def close(self) -> None:
        """Close the server without a `Quitting` event, like a crash; do nothing if it is closed."""
        if not self._is_running:
            return
        self._is_running = False
        self._run(self._server.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def _run(self, work: object) -> None:
        assert asyncio.iscoroutine(work)
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def _call(self, work: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(work)


def paths_of(desktop: Desktop) -> Paths:
    return locate({"TRAYPROXY_HOME": str(desktop.place.root / "tp")})


@contextmanager
def scripted_service(desktop: Desktop, status: Status = STATUS) -> Iterator[ScriptedService]:
    with ScriptedService(paths_of(desktop), status) as service:
        yield service


@contextmanager
def tray(desktop: Desktop, *arguments: str, **more: str) -> Iterator[Process]:
    """Run the tray. It starts no service."""
    home = str(desktop.place.root / "tp")
    env = desktop.environment(TRAYPROXY_HOME=home, PYTHONPATH=str(SOURCES), **more)
    argv = [sys.executable, "-X", "faulthandler", "-m", "tests.ui.tray_program", *arguments]
    with running(argv, env=env, cwd=SOURCES) as process:
        yield process
