"""Requests of TrayProxy's own, by which the desk verifies a login."""

from asyncio import AbstractEventLoop, Future, ensure_future
from collections.abc import Callable, Coroutine
from functools import partial
from logging import getLogger

from trayproxy.desk.machine.events import Event, OwnRequestEnded, SendOwnRequest
from trayproxy.profiles.profile import Profile

_log = getLogger(__name__)

SendOwnRequestFunction = Callable[[Profile, str], Coroutine[None, None, bool]]
"""Sends a request of TrayProxy's own to the only upstream of a profile, to verify a login.

The request is sent like a program's, first without a login, to the named target
(``github.com:443``), or to a target of the function's choice if the name is empty.
`PendingRequest.is_own` is True. Returns False if the upstream forwarded the request without asking
for a login.
"""


class OwnRequestTasks:
    """The running own requests, each in a task.

    Attributes:
        send: Sends an own request; None if this is not possible.
    """

    def __init__(self, loop: AbstractEventLoop, handle: Callable[[Event], None]) -> None:
        """Create the set without a request; `handle` passes events to the machine."""
        self.send: SendOwnRequestFunction | None = None
        self._loop = loop
        self._handle = handle
        self._tasks: set[Future[bool]] = set()

    def start(self, effect: SendOwnRequest) -> None:
        """Start a request; the machine learns of its end."""
        assert self.send is not None
        task = ensure_future(self.send(effect.profile, effect.target), loop=self._loop)
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, effect))

    def close(self) -> None:
        """Cancel all requests."""
        for task in self._tasks:
            task.cancel()

    def _ended(self, effect: SendOwnRequest, task: Future[bool]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error:
            _log.info(
                "profile %s: an own request failed: %s", effect.profile.id, type(error).__name__
            )
        self._handle(
            OwnRequestEnded(effect.number, was_challenged=error is not None or task.result())
        )
