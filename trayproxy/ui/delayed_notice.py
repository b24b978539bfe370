"""A notification that is shown while its cause lasts, and not if the cause is over at once."""

from PySide6.QtCore import QObject, QTimer, Slot

from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.notifications import Notification, Notifier

SHOW_DELAY_MS = 5000
"""Milliseconds for which the cause must last before the notification is shown (ux §4.1, 4)."""


class DelayedNotice(QObject):
    """Shows and withdraws a notification. A subclass defines the text and the buttons' actions."""

    def __init__(
        self,
        notifier: Notifier,
        actions: ActionSignals,
        parent: QObject | None = None,
        delay_ms: int = SHOW_DELAY_MS,
    ) -> None:
        super().__init__(parent)
        self.notifier = notifier
        self.actions = actions
        self._is_shown = False
        self._delay_timer = QTimer(self, singleShot=True, interval=delay_ms)
        self._delay_timer.timeout.connect(self._show)
        notifier.chosen.connect(self._on_chosen)

    @property
    def is_shown_or_due(self) -> bool:
        """True if the notification is shown, or will be."""
        return self._is_shown or self._delay_timer.isActive()

    def notification(self) -> Notification:
        """Return the notification for the present cause."""
        raise NotImplementedError

    def choose(self, action: str) -> None:
        """Carry out the action of a button of the notification."""
        raise NotImplementedError

    def show_later(self) -> None:
        """Show the notification, or show it again, after the delay."""
        self._delay_timer.start()

    def postpone(self) -> None:
        """Do not show a notification that is due; `show_later` makes it due again."""
        self._delay_timer.stop()

    def withdraw(self) -> None:
        """Remove the notification: its cause is over."""
        self._delay_timer.stop()
        if self._is_shown:
            self._is_shown = False
            self.notifier.withdraw()

    @Slot()
    def _show(self) -> None:
        self._is_shown = True
        self.notifier.notify(self.notification())

    @Slot(str, str)
    def _on_chosen(self, action: str, token: str) -> None:
        self.choose(action)
