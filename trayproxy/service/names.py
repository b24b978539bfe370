"""Which program is at the other end, found out in a thread of its own: it looks through all
processes."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from trayproxy.control.messages import Program
from trayproxy.desk.answer import Waiter
from trayproxy.desktop.owner import End
from trayproxy.desktop.users import User, name_of

if TYPE_CHECKING:
    from trayproxy.desktop.peers import Owner


class Names:
    """Finds the names of programs."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = ThreadPoolExecutor(1, "names")

    async def of_waiter(self, waiter: Waiter) -> Program | None:
        """Return the program that waits, None if it cannot be told.

        Args:
            waiter: Its `connection` is the pair of our and the program's socket address.
        """
        if not isinstance(waiter.connection, tuple):
            return None
        ours, theirs = waiter.connection
        found = await self._loop.run_in_executor(self._thread, _program, ours, theirs)
        return Program(found.name, found.pid, waiter.target) if found else None

    async def of_stranger(self, connection: socket.socket, user: User) -> tuple[str, str]:
        """Return the names of a user and of the program at the other end, which is empty if it
        cannot be told.

        Args:
            connection: Is open until then: a program that was told of its end might go.
            user: Whose it is.
        """
        return await self._loop.run_in_executor(self._thread, _stranger, connection, user)

    def listener_at(self, address: str) -> Program | None:
        """Return the program that listens at an address of this computer, None if it cannot be
        told.

        Args:
            address: ``127.0.0.1:3128``.
        """
        from trayproxy.desktop.peers import listener_at

        host, _, port = address.rpartition(":")
        found = listener_at((host.strip("[]"), int(port)))
        return Program(found.name, found.pid, address) if found else None

    def close(self) -> None:
        """Look for nothing any more."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _program(local: End, peer: End) -> "Owner | None":
    # Here, in the thread: with psutil it takes 30 ms to load, and is needed when somebody waits.
    from trayproxy.desktop.peers import program_of

    return program_of(local, peer)


def _stranger(connection: socket.socket, user: User) -> tuple[str, str]:
    name = name_of(user)
    try:
        local, peer = connection.getsockname()[:2], connection.getpeername()[:2]
    except OSError:
        return name, ""
    program = _program(local, peer)
    return name, program.name if program is not None else ""
