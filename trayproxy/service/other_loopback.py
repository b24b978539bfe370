"""Reports which program holds the other loopback address, and retries to listen there.

Programs configured with ``localhost`` try ``::1`` and ``127.0.0.1`` in turn and use the first that
answers. If another program listens on one of these addresses, it receives requests for TrayProxy,
and no request fails, so the user would not notice.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from trayproxy.domain.problem import Problem
from trayproxy.service.process_names import ListeningProgram, ProcessNames

logger = logging.getLogger(__name__)

RETRY_INTERVAL_S = 5.0
"""Seconds between attempts to listen while another program holds the address."""
LOOKUP_INTERVAL_S = 60.0
"""Seconds between look-ups of the program that holds the address; the program may change."""
MAX_NAME_LENGTH = 20
"""Maximum length of a user or program name in the title, which the menu shows."""


class LoopbackListener(Protocol):
    """The part of `trayproxy.engine.engine.Engine` that listens on both loopback addresses."""

    @property
    def address(self) -> str:
        """The address of the main listener."""

    def listen_on_other_loopback(self) -> str:
        """Listen on the other address, too; return that address if another program holds it."""


class OtherLoopback:
    """Reports which program holds the other address, until TrayProxy listens there itself."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: LoopbackListener,
        names: ProcessNames,
        report: Callable[[Problem | None], None],
    ) -> None:
        """Create an instance; `try_now` starts it.

        `report` is called with the problem, and with None once the problem is over.
        """
        self._loop = loop
        self._listener = listener
        self._names = names
        self._report = report
        self._problem: Problem | None = None
        self._last_lookup = -LOOKUP_INTERVAL_S
        self._timer: asyncio.TimerHandle | None = None
        self._lookup: asyncio.Task[None] | None = None

    def try_now(self) -> None:
        """Try to listen on the other address; retry later while another program holds it."""
        self._cancel_timer()
        taken = self._listener.listen_on_other_loopback()
        if not taken:
            self._set_problem(None)
            return
        now = self._loop.time()
        if self._lookup is None and now - self._last_lookup >= LOOKUP_INTERVAL_S:
            self._last_lookup = now
            self._lookup = self._loop.create_task(self._look_up(taken))
        self._timer = self._loop.call_later(RETRY_INTERVAL_S, self.try_now)

    async def _look_up(self, taken: str) -> None:
        try:
            owner = await self._names.find_listener(taken)
        finally:
            self._lookup = None
        if self._timer is not None:  # TrayProxy has not got the address meanwhile.
            self._set_problem(taken_by(owner, taken, self._listener.address))

    def _set_problem(self, problem: Problem | None) -> None:
        if problem is None:
            self._last_lookup = -LOOKUP_INTERVAL_S
        if problem != self._problem:
            if problem is not None:
                logger.warning("%s", problem.title)
            self._problem = problem
            self._report(problem)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Stop retrying."""
        self._cancel_timer()
        if self._lookup is not None:
            self._lookup.cancel()


def taken_by(owner: ListeningProgram, taken: str, address: str) -> Problem:
    """Return the problem of a program at the other address (TP-110).

    Args:
        owner: The program.
        taken: The other address, with its port.
        address: The address on which TrayProxy listens, with its port.
    """
    user, program = owner.user[:MAX_NAME_LENGTH], owner.program[:MAX_NAME_LENGTH]
    who = f"{program} of user {user}" if user and program else program
    who = who or (f"A program of user {user}" if user else "Another program")
    process = f" Its process id is {owner.pid}." if owner.pid else ""
    host, _, port = address.rpartition(":")
    return Problem(
        "TP-110",
        f"{who} listens on {taken}",
        f"It gets the requests of programs that are set to “localhost:{port}” and choose that "
        f"address.{process} End it, or set your programs to {host}:{port}. TrayProxy listens "
        "there, too, as soon as it can.",
    )
