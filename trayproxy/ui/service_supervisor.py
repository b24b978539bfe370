"""Keeps the tray connected: starts the service if it is not running, and restarts it."""

import time
from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from trayproxy.ui.restart_policy import RestartPolicy
from trayproxy.ui.service_client import ServiceClient

POLL_INTERVAL_MS = 100
"""Milliseconds between two connection attempts to a starting service. A start takes about
300 ms.
"""
START_TIMEOUT_S = 10.0
"""Seconds after which a start counts as failed; the restart policy then sets the next delay."""


class ServiceSupervisor(QObject):
    """Keeps a `ServiceClient` connected from `ensure_running` until `stop` or `stop_starting`.

    Its `start_service` function starts the service and returns, or raises `OSError`. Its `has_quit`
    function returns True if a service was told to quit since the tray was started; it need not have
    been connected to that service. Its clock is monotonic, in seconds.

    Signals:
        restarted: The service is connected again after it had ended (TP-901).
        gave_up: Emitted after `stop_starting` if the connection attempt in progress has failed.
        quit: The service was told to quit: no other is started.
    """

    restarted = Signal()
    gave_up = Signal()
    quit = Signal()

    def __init__(
        self,
        client: ServiceClient,
        start_service: Callable[[], object],
        has_quit: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._client = client
        self._start_service = start_service
        self._has_quit = has_quit
        self._clock = clock
        self._policy = RestartPolicy()
        self._connected_at: float | None = None
        self._start_deadline = 0.0
        self._was_connected = False
        self._is_stopped = False
        self._is_restart = False
        self._is_first_attempt = False
        self._poll_timer = QTimer(self, interval=POLL_INTERVAL_MS)
        self._poll_timer.timeout.connect(self._poll_service)
        self._restart_timer = QTimer(self, singleShot=True)
        self._restart_timer.timeout.connect(self.ensure_running)
        client.opened.connect(self._on_opened)
        client.unreachable.connect(self._on_unreachable)
        client.lost.connect(self._on_lost)

    @Slot()
    def ensure_running(self) -> None:
        """Connect to the service; start the service if it is not running."""
        self._restart_timer.stop()
        if self._is_stopped:
            return
        if self._poll_timer.isActive() or self._client.open():
            return
        self._is_first_attempt = self._client.is_opening
        if not self._is_first_attempt:
            self._start_and_poll()

    def _start_and_poll(self) -> None:
        if self._quits():
            return
        self._is_restart = self._was_connected
        self._policy.record_start(self._clock())
        self._start_deadline = self._clock() + START_TIMEOUT_S
        try:
            self._start_service()
        except OSError:
            self._schedule_restart()
        else:
            self._poll_timer.start()

    @Slot()
    def retry_now(self) -> None:
        """Connect or start the service without waiting for the back-off: the user has asked."""
        self._policy.reset()
        self.ensure_running()

    def stop(self) -> None:
        """Stop all connection attempts and starts; the service itself is not affected."""
        self._is_stopped = True
        self._is_first_attempt = False
        self._poll_timer.stop()
        self._restart_timer.stop()

    def stop_starting(self) -> bool:
        """Start no service from now on; finish a connection attempt in progress.

        Return True if there is an attempt. `ServiceClient.opened` or `gave_up` follows.
        """
        self._is_stopped = True
        self._restart_timer.stop()
        return self._is_first_attempt or self._poll_timer.isActive()

    @Slot()
    def _on_unreachable(self) -> None:
        if not self._is_first_attempt:
            return
        self._is_first_attempt = False
        if self._is_stopped:
            self.gave_up.emit()
        else:
            self._start_and_poll()

    @Slot()
    def _poll_service(self) -> None:
        if self._client.is_opening or self._client.open() or self._quits():
            return
        if self._clock() <= self._start_deadline:
            return
        if self._is_stopped:
            self._poll_timer.stop()
            self.gave_up.emit()
        else:
            self._schedule_restart()

    @Slot()
    def _on_opened(self) -> None:
        self._poll_timer.stop()
        self._is_first_attempt = False
        self._connected_at = self._clock()
        self._was_connected = True
        if self._is_restart:
            self._is_restart = False
            self.restarted.emit()

    @Slot()
    def _on_lost(self) -> None:
        if not self._is_stopped and not self._quits():
            self._schedule_restart()

    def _quits(self) -> bool:
        """Return True, and stop, if the service was told to quit."""
        if self._is_stopped or not self._has_quit():
            return False
        self.stop()
        self.quit.emit()
        return True

    def _schedule_restart(self) -> None:
        self._poll_timer.stop()
        now = self._clock()
        uptime = 0.0 if self._connected_at is None else now - self._connected_at
        self._connected_at = None
        self._restart_timer.start(int(1000 * self._policy.next_delay_s(now, uptime)))
