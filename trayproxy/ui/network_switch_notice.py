"""The notification about a switch because of the network (ux §4.2, N9)."""

import time
from collections.abc import Callable

from PySide6.QtCore import QCoreApplication, QObject, QTimer

from trayproxy.control.messages import NetworkSwitch, Status
from trayproxy.ui import texts
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.delayed_notice import DelayedNotice
from trayproxy.ui.notifications import Notification, Notifier

translate = QCoreApplication.translate

UNDO = "undo"
SHOWN_MS = 5000
"""Milliseconds after which the notification is removed; the window keeps the text and *Undo*."""
RECENT_S = 600.0
"""Seconds after which a switch is not news any more: the tray has started later, or the screen was
locked."""


class NetworkSwitchNotice(DelayedNotice):
    """Tells each switch once, after the screen is unlocked."""

    def __init__(
        self,
        notifier: Notifier,
        actions: ActionSignals,
        parent: QObject | None = None,
        shown_ms: int = SHOWN_MS,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Create the notice; `now` returns the time in seconds since the epoch."""
        super().__init__(notifier, actions, parent, delay_ms=0)
        self._now = now
        self._status: Status | None = None
        self._told: NetworkSwitch | None = None
        self._close_timer = QTimer(self, singleShot=True, interval=shown_ms)
        self._close_timer.timeout.connect(self.withdraw)
        notifier.posted.connect(self._close_timer.start)

    def update(self, status: Status | None) -> None:
        """Process a new status, None if the service has disconnected."""
        switch = status.network_switch if status is not None else None
        if switch is None:
            self.withdraw()
        elif status is not None and switch != self._told and not status.screen_locked:
            self._status, self._told = status, switch
            if self._now() - switch.at < RECENT_S:
                self.show_later()

    def notification(self) -> Notification:
        """Return the notification; see `DelayedNotice`."""
        status, switch = self._status, self._told
        assert status is not None  # `update` shows the notification.
        assert switch is not None
        action = ((UNDO, translate("Notification", "Undo")),) if texts.may_undo(switch) else ()
        title = texts.network_switch_title(status, switch)
        return Notification(title, texts.network_switch_reason(switch), action)

    def choose(self, action: str) -> None:
        """Return to the choice before the switch; see `DelayedNotice`."""
        if action == UNDO:
            self.actions.undo_network_switch.emit()
