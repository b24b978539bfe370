"""Records the reports of a screen lock watch."""

import queue
from collections.abc import Callable

from tests.support.process_output import PATIENCE
from trayproxy.desktop.screen_lock.base import ScreenLockWatch

Start = Callable[[ScreenLockWatch], None]


class LockReports:
    """The lock states that a watch has reported."""

    def __init__(self) -> None:
        self._states: queue.Queue[bool] = queue.Queue()
        self.add: Callable[[bool], None] = self._states.put

    def next(self) -> bool:
        return self._states.get(timeout=PATIENCE)

    @property
    def is_empty(self) -> bool:
        return self._states.empty()
