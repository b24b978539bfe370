"""The other address of ``localhost``: who has it while we have not, and trying again to get it.

Programs that are set to ``localhost`` try ``::1`` and ``127.0.0.1`` in turn, and take whoever
answers. Where another program listens at one of them it gets what was meant for TrayProxy, and no
request fails that would tell a person so.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from trayproxy.control.messages import Problem
from trayproxy.service.names import Listener, Names

logger = logging.getLogger(__name__)

TRY_EVERY_S = 5.0
"""How often to try while another program has the address."""
LOOK_EVERY_S = 60.0
"""How often to find out which program that is: another one may have it by then."""
NAME_WIDTH = 20
"""Characters of a name in a title, which a menu shows."""


class Door(Protocol):
    """Listens at both addresses: `trayproxy.engine.engine.Engine`."""

    address: str

    def listen_beside(self) -> str:
        """Listen at the other address, too; return it if another program has it."""


class Beside:
    """Tells who has the other address, until we have it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        door: Door,
        names: Names,
        tell: Callable[[Problem | None], None],
    ) -> None:
        """Do nothing yet.

        Args:
            loop: Keeps the time.
            door: Tries to listen.
            names: Finds out who listens.
            tell: Called with the problem, and with None when it is over.
        """
        self._loop = loop
        self._door = door
        self._names = names
        self._tell = tell
        self._problem: Problem | None = None
        self._looked_at = -LOOK_EVERY_S
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None

    def try_now(self) -> None:
        """Try to listen, and go on trying while another program has the address."""
        self._cancel_timer()
        taken = self._door.listen_beside()
        if not taken:
            self._set(None)
            return
        now = self._loop.time()
        if self._looking is None and now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self._looking = self._loop.create_task(self._look(taken))
        self._timer = self._loop.call_later(TRY_EVERY_S, self.try_now)

    async def _look(self, taken: str) -> None:
        try:
            owner = await self._names.of_listener(taken)
        finally:
            self._looking = None
        if self._timer is not None:  # It has not become ours meanwhile.
            self._set(taken_by(owner, taken, self._door.address))

    def _set(self, problem: Problem | None) -> None:
        if problem is None:
            self._looked_at = -LOOK_EVERY_S
        if problem != self._problem:
            if problem is not None:
                logger.warning("%s", problem.title)
            self._problem = problem
            self._tell(problem)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Try no more."""
        self._cancel_timer()
        if self._looking is not None:
            self._looking.cancel()


def taken_by(owner: Listener, taken: str, address: str) -> Problem:
    """Return what to tell a person.

    Args:
        owner: Who listens at the other address.
        taken: That address, with its port.
        address: Our own.
    """
    user, program = owner.user[:NAME_WIDTH], owner.program[:NAME_WIDTH]
    who = f"{program} of user {user}" if user and program else program
    who = who or (f"A program of user {user}" if user else "Another program")
    process = f" Its process id is {owner.pid}." if owner.pid else ""
    host, port = address.rpartition(":")[0], address.rpartition(":")[2]
    return Problem(
        "TP-110",
        f"{who} listens on {taken}",
        f"It gets the requests of programs that are set to “localhost:{port}” and choose that "
        f"address.{process} End it, or set your programs to {host}:{port}. TrayProxy listens "
        "there, too, as soon as it can.",
    )
