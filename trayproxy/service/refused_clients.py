"""Other users' programs that wanted to connect: counted, named, and told without a flood.

Each one is counted. Finding out the name of a user and of a program takes milliseconds and a
thread, and a line in the log takes disk: both are done at most once a minute for each user.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from time import time

from msgspec import structs

from trayproxy.control.messages import RefusedClients as Known
from trayproxy.desktop.users import User
from trayproxy.service.process_names import ProcessNames

logger = logging.getLogger(__name__)

SAY_EVERY_S = 60.0
"""How often the log hears of one user."""
USERS = 100
"""Users that are told apart; what more there are share the place of the first."""


@dataclass(slots=True)
class _Said:
    """What was said about one user.

    Attributes:
        at: When, in the loop's time.
        name: Its name, empty while not known.
        program: The program that was named.
        unsaid: Connections that were refused since.
    """

    at: float
    name: str = ""
    program: str = ""
    unsaid: int = 0


class RefusedClientReporter:
    """Takes note of connections that the guard refuses
    (`trayproxy.engine.server.access_control`)."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, names: ProcessNames, tell: Callable[[Known], None]
    ) -> None:
        """Begin with nobody.

        Args:
            loop: Keeps the time.
            names: Finds names.
            tell: Called with what is known after each connection that was refused.
        """
        self._loop = loop
        self._names = names
        self._tell = tell
        self._known = Known()
        self._said: dict[User | None, _Said] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def refused(
        self, connection: socket.SocketType, user: User | None
    ) -> asyncio.Task[None] | None:
        """Take note of a connection that is refused; it is answered and closed by who calls.

        Returns:
            What finds out which program it is; None if that is not wanted.
        """
        said = self._said.get(user)
        now = self._loop.time()
        inquiry = None
        if said is None or now - said.at >= SAY_EVERY_S:
            said, inquiry = self._begin(connection, user, now)
        else:
            said.unsaid += 1
        self._known = structs.replace(
            self._known,
            count=self._known.count + 1,
            user=said.name or ("" if user is None else str(user)),
            program=said.program,
            last=time(),
        )
        self._tell(self._known)
        return inquiry

    def close(self) -> None:
        """Find out nothing more."""
        for task in self._tasks:
            task.cancel()

    def _begin(
        self, connection: socket.SocketType, user: User | None, now: float
    ) -> tuple[_Said, asyncio.Task[None] | None]:
        """Find out who that is and say it, while the connection is held for a moment."""
        if user not in self._said and len(self._said) >= USERS:
            self._said.clear()
        before = self._said.get(user)
        said = self._said[user] = _Said(now) if before is None else replace(before, at=now)
        if user is not None:
            # Without a descriptor to spare there is no time for names, either.
            with suppress(OSError):
                held = socket.socket(fileno=socket.dup(connection.fileno()))
                task = self._loop.create_task(self._find_out(held, said, user))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                task.add_done_callback(lambda _: held.close())
                return said, task
        self._say(said, user)
        return said, None

    async def _find_out(self, held: socket.SocketType, said: _Said, user: User) -> None:
        said.name, said.program = await self._names.of_stranger(held, user)
        self._say(said, user)
        if self._known.user in (said.name, str(user)):
            self._known = structs.replace(self._known, user=said.name, program=said.program)
            self._tell(self._known)

    def _say(self, said: _Said, user: User | None) -> None:
        who = "a program that had gone already" if user is None else f"user {said.name or user}"
        program = f", program {said.program}" if said.program else ""
        more = f", and {said.unsaid} more before it" if said.unsaid else ""
        said.unsaid = 0
        logger.warning("refused a connection of %s%s%s", who, program, more)
