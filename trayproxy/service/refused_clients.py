"""Reports refused connections of other users' programs: counts, names and log lines.

Each connection is counted. Looking up the names of a user and a program takes milliseconds and a
thread, and a log line takes disk space: both happen at most once a minute for each user.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from time import time

from msgspec import structs

from trayproxy.control.messages import RefusedClients
from trayproxy.desktop.users import User
from trayproxy.service.process_names import ProcessNames

logger = logging.getLogger(__name__)

LOG_INTERVAL_S = 60.0
"""Minimum number of seconds between two log lines about one user."""
MAX_USERS = 100
"""Maximum number of users with a report; the reports are discarded when there are more."""


@dataclass(slots=True)
class _UserReport:
    """The last report about a user.

    Attributes:
        logged_at: The time of the log line, by the loop's clock.
        name: The user's name, empty while it is not known.
        program: The program in the log line.
        unreported: The number of connections refused since.
    """

    logged_at: float
    name: str = ""
    program: str = ""
    unreported: int = 0


class RefusedClientReporter:
    """Reports the connections refused by `trayproxy.engine.server.access_control`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        names: ProcessNames,
        on_change: Callable[[RefusedClients], None],
    ) -> None:
        """Create a reporter; `on_change` receives the totals after each refused connection."""
        self._loop = loop
        self._names = names
        self._on_change = on_change
        self._known = RefusedClients()
        self._reports: dict[User | None, _UserReport] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def record(self, connection: socket.SocketType, user: User | None) -> asyncio.Task[None] | None:
        """Record a refused connection, which the caller closes; return the look-up, if any."""
        report = self._reports.get(user)
        now = self._loop.time()
        task = None
        if report is None or now - report.logged_at >= LOG_INTERVAL_S:
            report, task = self._start_report(connection, user, now)
        else:
            report.unreported += 1
        self._known = structs.replace(
            self._known,
            count=self._known.count + 1,
            user=report.name or ("" if user is None else str(user)),
            program=report.program,
            last=time(),
        )
        self._on_change(self._known)
        return task

    def close(self) -> None:
        """Cancel all look-ups."""
        for task in self._tasks:
            task.cancel()

    def _start_report(
        self, connection: socket.SocketType, user: User | None, now: float
    ) -> tuple[_UserReport, asyncio.Task[None] | None]:
        """Look up and log the client, on a duplicate of the connection."""
        if user not in self._reports and len(self._reports) >= MAX_USERS:
            self._reports.clear()
        previous = self._reports.get(user)
        report = self._reports[user] = (
            _UserReport(now) if previous is None else replace(previous, logged_at=now)
        )
        if user is not None:
            # Without a free descriptor, the user's number is logged instead of names.
            with suppress(OSError):
                duplicate = socket.socket(fileno=socket.dup(connection.fileno()))
                task = self._loop.create_task(self._look_up(duplicate, report, user))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                task.add_done_callback(lambda _: duplicate.close())
                return report, task
        self._log(report, user)
        return report, None

    async def _look_up(self, duplicate: socket.SocketType, report: _UserReport, user: User) -> None:
        report.name, report.program = await self._names.names_of_refused(duplicate, user)
        self._log(report, user)
        if self._known.user in (report.name, str(user)):
            self._known = structs.replace(self._known, user=report.name, program=report.program)
            self._on_change(self._known)

    def _log(self, report: _UserReport, user: User | None) -> None:
        client = (
            "a program that had already ended" if user is None else f"user {report.name or user}"
        )
        program = f", program {report.program}" if report.program else ""
        more = f", and {report.unreported} more before it" if report.unreported else ""
        report.unreported = 0
        logger.warning("refused a connection of %s%s%s", client, program, more)
