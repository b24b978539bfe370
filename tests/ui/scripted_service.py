"""The tray as a program of its own, in front of a service that does what the test says.

The service is the real control server with a scripted handler, in a thread.
"""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from msgspec.structs import replace

from tests.support.display import Desktop
from tests.support.lines import PATIENCE
from tests.support.processes import SOURCES, Process, running
from tests.ui.fake_service import STATUS
from trayproxy.control.messages import (
    Done,
    Event,
    Failed,
    GetStatus,
    Problem,
    Prompt,
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
from trayproxy.paths import Paths, locate

Message = TypeVar("Message")


class ScriptedHandler:
    """The handler: keeps a status and a question, and remembers what it was asked."""

    def __init__(self, status: Status) -> None:
        self.status = status
        self.prompt: Prompt | None = None
        self.requests: list[Request] = []
        self.sessions: set[Session] = set()
        self.changed = threading.Condition()

    async def handle(self, session: Session, request: Request) -> Reply:
        """Do what is asked."""
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

    def broadcast(self, event: Event) -> None:
        """Tell all faces; on the loop's thread."""
        for session in self.sessions:
            session.send_event(event)

    def attached(self, session: Session) -> None:
        """A face has come."""
        with self.changed:
            self.sessions.add(session)
            self.changed.notify_all()

    def detached(self, session: Session) -> None:
        """A face has gone."""
        with self.changed:
            self.sessions.discard(session)
            self.changed.notify_all()


class ScriptedService:
    """The service, told from the test's thread what to be."""

    def __init__(self, paths: Paths, status: Status = STATUS) -> None:
        """Listen."""
        self.paths = paths
        self._is_running = True
        self.handler = ScriptedHandler(status)
        self._loop = asyncio.new_event_loop()
        self._server = Server(paths, self.handler)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._run(self._server.start())

    def set_status(self, status: Status) -> None:
        """Change the facts."""
        self.handler.status = status
        self._call(lambda: self.handler.broadcast(StatusChanged(status)))

    def open_prompt(self, prompt: Prompt) -> None:
        """Open a question, or change it."""
        self.handler.prompt = prompt
        self._call(lambda: self.handler.broadcast(PromptChanged(prompt)))

    def send(self, event: Event) -> None:
        """Tell the faces something."""
        self._call(lambda: self.handler.broadcast(event))

    def wait_for(self, kind: type[Message], timeout: float = PATIENCE) -> Message:
        """Wait for a request of a kind; return the first one."""

        def found() -> list[Message]:
            return [request for request in self.handler.requests if isinstance(request, kind)]

        with self.handler.changed:
            assert self.handler.changed.wait_for(found, timeout), f"no {kind.__name__}"
            return found()[0]

    def wait_for_tray(self, present: bool = True) -> None:
        """Wait until a tray is attached, or gone."""
        with self.handler.changed:
            assert self.handler.changed.wait_for(
                lambda: any(s.front_end == "tray" for s in self.handler.sessions) is present,
                PATIENCE,
            )

    def stop(self) -> None:
        """End without a word, as a service that was killed does; harmless when done before."""
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
    """Return where TrayProxy lives on a desktop."""
    return locate({"TRAYPROXY_HOME": str(desktop.place.root / "tp")})


@contextmanager
def scripted_service(desktop: Desktop, status: Status = STATUS) -> Iterator[ScriptedService]:
    """Run a service for a desktop's tray."""
    service = ScriptedService(paths_of(desktop), status)
    try:
        yield service
    finally:
        service.stop()


@contextmanager
def tray(desktop: Desktop, *arguments: str, **more: str) -> Iterator[Process]:
    """Run the tray. It starts no service of its own."""
    home = str(desktop.place.root / "tp")
    env = desktop.environment(TRAYPROXY_HOME=home, PYTHONPATH=str(SOURCES), **more)
    argv = [sys.executable, "-X", "faulthandler", "-m", "tests.ui.tray_program", *arguments]
    with running(argv, env=env, cwd=SOURCES) as process:
        yield process
