"""Finds the program at the other end of a connection.

The look-up scans all processes, so it runs in a thread of its own.
"""

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trayproxy.desk.credentials import PendingRequest
from trayproxy.desktop.socket_owner.base import Endpoint
from trayproxy.desktop.socket_owner.factory import user_listening
from trayproxy.desktop.users import User, name_of
from trayproxy.domain.signin import Program

if TYPE_CHECKING:
    from trayproxy.desktop.process_lookup.base import RunningProgram


Connection = tuple[Endpoint, Endpoint]
"""TrayProxy's and the program's socket address."""


@dataclass(frozen=True, slots=True)
class ListeningProgram:
    """The program that listens at an address and its user; each value is empty if not known."""

    user: str = ""
    program: str = ""
    pid: int = 0


class ProcessNames:
    """Looks up the names of programs and users."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = ThreadPoolExecutor(1, "names")
        self._queue: list[tuple[Connection, asyncio.Future[RunningProgram | None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def program_of(self, pending: PendingRequest) -> Program | None:
        """Return the client program of a request, None if its `Connection` is not known."""
        if not isinstance(pending.connection, tuple):
            return None
        program = await self._program_at(pending.connection)
        return Program(program.name, program.pid, pending.target) if program else None

    async def name_at(self, connection: Connection) -> str:
        """Return the name of the program at the other end of a connection; empty if it is not
        known."""
        program = await self._program_at(connection)
        return program.name if program is not None else ""

    async def _program_at(self, connection: Connection) -> "RunningProgram | None":
        queued: asyncio.Future[RunningProgram | None] = self._loop.create_future()
        self._queue.append((connection, queued))
        if self._task is None:
            self._task = self._loop.create_task(self._run_lookups())
        return await queued

    async def _run_lookups(self) -> None:
        """Look up all queued connections in a single scan, and repeat while connections are queued.

        A changed password makes hundreds of requests wait at once. A scan for each request would
        keep a core busy for a minute, long after the requests have ended.
        """
        while self._queue:
            queued = [(ends, future) for ends, future in self._queue if not future.done()]
            self._queue.clear()
            connections = [ends for ends, _ in queued]
            try:
                programs = await self._loop.run_in_executor(self._thread, _programs, connections)
            except asyncio.CancelledError:
                for _, future in queued:
                    future.cancel()
                raise
            for (_, future), owner in zip(queued, programs, strict=True):
                if not future.done():
                    future.set_result(owner)
        self._task = None

    async def names_of_refused(self, connection: socket.SocketType, user: User) -> tuple[str, str]:
        """Return the names of a user and of the program at the other end of a connection.

        The program's name is empty if it is not known. The connection must stay open meanwhile: a
        program may exit once its connection is closed.
        """
        return await self._loop.run_in_executor(self._thread, _names_of_refused, connection, user)

    def listener_at(self, address: str) -> ListeningProgram:
        """Return the program that listens at an address of this computer, ``127.0.0.1:3128``."""
        from trayproxy.desktop.process_lookup.programs import listener_at

        host, _, port = address.rpartition(":")
        end = host.strip("[]"), int(port)
        user, program = user_listening(end), listener_at(end)
        return ListeningProgram(
            "" if user is None else name_of(user),
            program.name if program is not None else "",
            program.pid if program is not None else 0,
        )

    async def find_listener(self, address: str) -> ListeningProgram:
        """Return the same as `listener_at`, without blocking the event loop."""
        return await self._loop.run_in_executor(self._thread, self.listener_at, address)

    def close(self) -> None:
        """Cancel all look-ups."""
        if self._task is not None:
            self._task.cancel()
        for _, future in self._queue:
            future.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)


def _programs(connections: Sequence[Connection]) -> "list[RunningProgram | None]":
    # Imported in the thread: with psutil this takes 30 ms, and is rarely needed.
    from trayproxy.desktop.process_lookup.programs import programs_of

    return programs_of(connections)


def _names_of_refused(connection: socket.SocketType, user: User) -> tuple[str, str]:
    name = name_of(user)
    try:
        local, peer = connection.getsockname()[:2], connection.getpeername()[:2]
    except OSError:
        return name, ""
    [program] = _programs([(local, peer)])
    return name, program.name if program is not None else ""
