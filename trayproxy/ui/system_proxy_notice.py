"""The notifications about the system proxy (ux §4.2, N5 and N8)."""

from PySide6.QtCore import QCoreApplication, QObject, QTimer, Slot

from trayproxy.control.messages import (
    Status,
    SystemProxyState,
    SystemProxyStatus,
    UseSystemProxy,
)
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.notifications import Notification, Notifier
from trayproxy.ui.text_sanitizer import clean, elide

translate = QCoreApplication.translate

TAKE_BACK = "take-back"
LEAVE = "leave"
DETAILS = "details"
SHOW_DELAY_MS = 5000
"""Milliseconds of delay. There is no notification if TrayProxy is the system proxy again by then
(ux §4.1, 4).
"""
VALUE_WIDTH = 60
"""Characters of an address that another program has set."""


class SystemProxyNotice(QObject):
    """Tells once that another program has changed the system proxy, or that it was restored."""

    def __init__(
        self,
        notifier: Notifier,
        actions: ActionSignals,
        parent: QObject | None = None,
        delay_ms: int = SHOW_DELAY_MS,
    ) -> None:
        super().__init__(parent)
        self._notifier = notifier
        self._actions = actions
        self._system_proxy = SystemProxyStatus()
        self._is_shown = False
        self._delay_timer = QTimer(self, singleShot=True, interval=delay_ms)
        self._delay_timer.timeout.connect(self._show_change)
        notifier.chosen.connect(self._on_chosen)

    def update(self, status: Status | None) -> None:
        """Process a new status, None if the service has disconnected."""
        before = self._system_proxy
        self._system_proxy = status.system_proxy if status is not None else SystemProxyStatus()
        if self._system_proxy.was_repaired and not before.was_repaired:
            self._notifier.notify(_repaired_notification())
        is_changed = self._system_proxy.state is SystemProxyState.CHANGED
        if not is_changed:
            self._withdraw()
        elif before.state is not SystemProxyState.CHANGED:
            self._delay_timer.start()

    @Slot()
    def _show_change(self) -> None:
        self._is_shown = True
        self._notifier.notify(_changed_notification(self._system_proxy.value))

    def _withdraw(self) -> None:
        self._delay_timer.stop()
        if self._is_shown:
            self._is_shown = False
            self._notifier.withdraw()

    @Slot(str, str)
    def _on_chosen(self, action: str, token: str) -> None:
        if action in (TAKE_BACK, LEAVE):
            self._actions.use_system_proxy.emit(UseSystemProxy(action == TAKE_BACK))
        elif action == DETAILS:
            self._actions.show_window.emit()


def _changed_notification(value: str) -> Notification:
    body = translate("Notification", "Another program turned it off.")
    if value:
        template = translate("Notification", "Another program set it to {address}.")
        body = template.format(address=elide(clean(value), VALUE_WIDTH))
    return Notification(
        translate("Notification", "System proxy was changed"),
        body,
        (
            (TAKE_BACK, translate("Notification", "Take back")),
            (LEAVE, translate("Notification", "Leave it")),
        ),
    )


def _repaired_notification() -> Notification:
    return Notification(
        translate("Notification", "Your network settings were restored"),
        translate("Notification", "TrayProxy had ended unexpectedly."),
        ((DETAILS, translate("Notification", "Details")),),
    )
