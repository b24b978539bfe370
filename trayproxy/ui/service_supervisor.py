"""Keeps the tray connected: starts the service when there is none, again when it dies."""

import time
from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from trayproxy.ui.restart_policy import RestartPolicy
from trayproxy.ui.service_client import ServiceClient

POLL_MS = 100
"""How often a started service is tried: it answers after a third of a second or so."""
START_LIMIT_S = 10.0
"""A service that does not answer by then is given up; the back-off decides on the next."""


class ServiceSupervisor(QObject):
    """Opens the link and keeps it open, until told that the end is wanted.

    Signals:
        restarted: The service is back after it had died (TP-901).
        gave_up: After `start_no_more`: the connection that was being made will not be made.
    """

    restarted = Signal()
    gave_up = Signal()

    def __init__(
        self,
        link: ServiceClient,
        start_service: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
        parent: QObject | None = None,
    ) -> None:
        """Create a keeper that does nothing yet.

        Args:
            link: What to keep open.
            start_service: Starts a service and returns; raises `OSError` if it cannot.
            clock: Seconds, never going back.
            parent: Its owner.
        """
        super().__init__(parent)
        self._link = link
        self._start_service = start_service
        self._clock = clock
        self._backoff = RestartPolicy()
        self._opened_at: float | None = None
        self._give_up_at = 0.0
        self._was_open = False
        self._is_over = False
        self._has_died = False
        self._is_looking = False
        self._poll = QTimer(self, interval=POLL_MS)
        self._poll.timeout.connect(self._try_to_open)
        self._pause = QTimer(self, singleShot=True)
        self._pause.timeout.connect(self.ensure)
        link.opened.connect(self._on_opened)
        link.unreachable.connect(self._on_unreachable)
        link.lost.connect(self._on_lost)

    @Slot()
    def ensure(self) -> None:
        """Connect; start the service if nobody answers."""
        self._pause.stop()
        if self._is_over:
            return
        if self._poll.isActive() or self._link.open():
            return
        self._is_looking = self._link.is_opening
        if not self._is_looking:
            self._start()

    def _start(self) -> None:
        self._has_died = self._was_open
        self._backoff.started(self._clock())
        self._give_up_at = self._clock() + START_LIMIT_S
        try:
            self._start_service()
        except OSError:
            self._wait()
        else:
            self._poll.start()

    @Slot()
    def try_again(self) -> None:
        """Do not wait any longer: a person asked."""
        self._backoff.reset()
        self.ensure()

    def stop(self) -> None:
        """Leave the service as it is from now on."""
        self._is_over = True
        self._is_looking = False
        self._poll.stop()
        self._pause.stop()

    def start_no_more(self) -> bool:
        """Start no service from now on, and finish connecting to a running or just started one.

        Returns:
            Whether a connection is being made. `ServiceClient.opened` or `gave_up` follows.
        """
        self._is_over = True
        self._pause.stop()
        return self._is_looking or self._poll.isActive()

    @Slot()
    def _on_unreachable(self) -> None:
        if not self._is_looking:
            return
        self._is_looking = False
        if self._is_over:
            self.gave_up.emit()
        else:
            self._start()

    @Slot()
    def _try_to_open(self) -> None:
        if self._link.is_opening or self._link.open() or self._clock() <= self._give_up_at:
            return
        if self._is_over:
            self._poll.stop()
            self.gave_up.emit()
        else:
            self._wait()

    @Slot()
    def _on_opened(self) -> None:
        self._poll.stop()
        self._is_looking = False
        self._opened_at = self._clock()
        self._was_open = True
        if self._has_died:
            self._has_died = False
            self.restarted.emit()

    @Slot()
    def _on_lost(self) -> None:
        if not self._is_over:
            self._wait()

    def _wait(self) -> None:
        self._poll.stop()
        now = self._clock()
        lived = 0.0 if self._opened_at is None else now - self._opened_at
        self._opened_at = None
        self._pause.start(int(1000 * self._backoff.died(now, lived)))
