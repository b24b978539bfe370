"""The notifications about the system proxy (ux §4.2, N5 and N8)."""

from PySide6.QtCore import QCoreApplication, QObject

from trayproxy.control.messages import Status, SystemProxyState, SystemProxyStatus, UseSystemProxy
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.delayed_notice import SHOW_DELAY_MS, DelayedNotice
from trayproxy.ui.notifications import Notification, Notifier
from trayproxy.ui.text_sanitizer import NAME_WIDTH, clean, elide, isolate

translate = QCoreApplication.translate

TAKE_BACK = "take-back"
LEAVE = "leave"
DETAILS = "details"
VALUE_WIDTH = 60
"""Characters of an address that another program has set."""


class SystemProxyNotice(DelayedNotice):
    """Tells once that another program has changed the system proxy, or that it was restored."""

    def __init__(
        self,
        notifier: Notifier,
        actions: ActionSignals,
        parent: QObject | None = None,
        delay_ms: int = SHOW_DELAY_MS,
    ) -> None:
        super().__init__(notifier, actions, parent, delay_ms)
        self._system_proxy = SystemProxyStatus()

    def update(self, status: Status | None) -> None:
        """Process a new status, None if the service has disconnected."""
        before = self._system_proxy
        self._system_proxy = status.system_proxy if status is not None else SystemProxyStatus()
        if self._system_proxy.was_repaired and not before.was_repaired:
            self.notifier.notify(_repaired_notification())
        if self._system_proxy.state is not SystemProxyState.CHANGED:
            self.withdraw()
        elif before.state is not SystemProxyState.CHANGED:
            self.show_later()

    def notification(self) -> Notification:
        """Return the notification; see `DelayedNotice`."""
        return _changed_notification(self._system_proxy)

    def choose(self, action: str) -> None:
        """Take the system proxy back, leave it, or show the window; see `DelayedNotice`."""
        if action in (TAKE_BACK, LEAVE):
            self.actions.use_system_proxy.emit(UseSystemProxy(action == TAKE_BACK))
        elif action == DETAILS:
            self.actions.show_window.emit()


def _changed_notification(status: SystemProxyStatus) -> Notification:
    address = elide(clean(status.value), VALUE_WIDTH)
    if program := elide(clean(status.program), NAME_WIDTH):
        template = translate("Notification", "{program} set it to {address}.")
        body = template.format(program=isolate(program), address=address)
    elif address:
        body = translate("Notification", "Another program set it to {address}.")
        body = body.format(address=address)
    else:
        body = translate("Notification", "Another program turned it off.")
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
