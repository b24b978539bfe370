"""Shows desktop notifications such as *Sign-in needed* (ux §4, N1 and N2).

On Linux the module calls ``org.freedesktop.Notifications`` over D-Bus with jeepney. Qt's
`showMessage` opens a new notification each time there, can be clicked only if it is *critical*, and
replaces the tooltip; PySide6's QtDBus cannot send the signature ``susssasa{sv}i``. On Windows and
macOS the module uses `showMessage`.
"""

import html
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from PySide6.QtCore import QObject, QSocketNotifier, QTimer, Signal, SignalInstance, Slot
from PySide6.QtWidgets import QApplication, QSystemTrayIcon

from trayproxy.identity import APP_ID, APP_NAME
from trayproxy.ui.icons import resource_path
from trayproxy.ui.notification_policy import NotificationPolicy

if TYPE_CHECKING:
    from jeepney import Message
    from jeepney.io.blocking import DBusConnection

DEFAULT_ACTION = "default"
"""The key of the action for a click on the body (Desktop Notifications Specification)."""

_URGENCY_NORMAL = 1
_NEVER_EXPIRES = 0
_SERVICE = "org.freedesktop.Notifications"
_OBJECT = "/org/freedesktop/Notifications"


@dataclass(frozen=True, slots=True)
class Notification:
    """The content of a notification.

    Attributes:
        title: At most 60 characters.
        body: One or two sentences of plain text without markup.
        actions: Key and text of each action; a click on the body triggers the first action.
    """

    title: str
    body: str
    actions: tuple[tuple[str, str], ...]

    @property
    def first_action(self) -> str:
        """The key of the first action, `DEFAULT_ACTION` if there is no action."""
        return self.actions[0][0] if self.actions else DEFAULT_ACTION


class NotificationChannel(Protocol):
    """Shows a notification on the screen; a new notification replaces the previous one."""

    @property
    def chosen(self) -> SignalInstance:
        """A signal (str, str): the key of the chosen action, and an XDG activation token or ""."""

    def post(self, notification: Notification) -> None:
        """Show a notification in place of the previous one."""

    def withdraw(self) -> None:
        """Remove the notification from the screen."""


class Notifier(QObject):
    """Shows notifications within the limits of `NotificationPolicy`.

    No notification is shown while a window of TrayProxy is active. The clock is monotonic, in
    seconds.

    Signals:
        chosen(str, str): The key of the chosen action, and an XDG activation token or "".
        posted: A notification is shown now.
    """

    chosen = Signal(str, str)
    posted = Signal()

    def __init__(
        self,
        channel: NotificationChannel,
        clock: Callable[[], float] = time.monotonic,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._channel = channel
        self._clock = clock
        self._policy = NotificationPolicy()
        self._pending: Notification | None = None
        self._timer = QTimer(self, singleShot=True)
        self._timer.timeout.connect(self._post_pending)
        channel.chosen.connect(self.chosen)

    def notify(self, notification: Notification) -> None:
        """Show a notification now, or later if the policy requires a delay."""
        self._pending = notification
        self._post_pending()

    def withdraw(self) -> None:
        """Remove the notification and cancel a delayed notification; the cause has ended."""
        self._pending = None
        self._timer.stop()
        self._policy.mark_withdrawn()
        self._channel.withdraw()

    @Slot()
    def _post_pending(self) -> None:
        notification = self._pending
        if notification is None or QApplication.activeWindow() is not None:
            return
        now = self._clock()
        delay = self._policy.delay_s(notification, now)
        if delay:
            self._timer.start(int(1000 * delay) + 1)
            return
        self._pending = None
        if delay is not None:
            self._policy.mark_shown(notification, now)
            self._channel.post(notification)
            self.posted.emit()


class TrayMessages(QObject):
    """Notification channel for Windows and macOS: the messages of the tray icon."""

    chosen = Signal(str, str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._icon: QSystemTrayIcon | None = None
        self._first_action = DEFAULT_ACTION

    def set_icon(self, icon: QSystemTrayIcon) -> None:
        """Set the tray icon for the messages."""
        self._icon = icon
        icon.messageClicked.connect(self._on_clicked)

    def post(self, notification: Notification) -> None:
        """Show a notification, if the tray icon exists."""
        self._first_action = notification.first_action
        if self._icon is not None:
            # Windows keeps at most 63 and 255 characters.
            kind = QSystemTrayIcon.MessageIcon.NoIcon
            self._icon.showMessage(notification.title[:63], notification.body[:255], kind)

    def withdraw(self) -> None:
        """Do nothing: these messages disappear by themselves, and Qt cannot remove them."""

    @Slot()
    def _on_clicked(self) -> None:
        self.chosen.emit(self._first_action, "")


class DesktopNotifications(QObject):
    """Notification channel for Linux: the notification service of the desktop, over D-Bus.

    Without a session bus or a notification service, nothing is shown and no error is raised.
    """

    chosen = Signal(str, str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._connection: DBusConnection | None = None
        self._notifier: QSocketNotifier | None = None
        self._replies: dict[int, Callable[[Message], None]] = {}
        self._capabilities: frozenset[str] | None = None
        self._requested: Notification | None = None
        self._sent: Notification | None = None
        self._is_call_pending = False
        self._shown_id = 0
        self._first_action = DEFAULT_ACTION
        self._activation_token = ""

    @property
    def is_shown(self) -> bool:
        """True if a notification is on the screen, as far as the service has reported."""
        return self._shown_id != 0

    def post(self, notification: Notification) -> None:
        """Show a notification in place of the previous one."""
        self._requested = notification
        if self._connection is None and not self._connect():
            return
        if not self._is_call_pending:
            self._send_next_call()

    def withdraw(self) -> None:
        """Remove the notification, even if the service has not returned its id yet."""
        self._requested, self._sent = None, None
        if self._shown_id and self._connection is not None:
            self._call("CloseNotification", "u", (self._shown_id,), None)
        self._shown_id = 0

    def close(self) -> None:
        """Disconnect from the session bus."""
        if self._notifier is not None:
            self._notifier.setEnabled(False)
            self._notifier.deleteLater()
        if self._connection is not None:
            self._connection.close()
        self._connection, self._notifier = None, None
        self._replies.clear()
        self._capabilities, self._shown_id, self._sent = None, 0, None
        self._is_call_pending = False

    def _connect(self) -> bool:
        from jeepney import MatchRule, message_bus
        from jeepney.io.blocking import open_dbus_connection

        try:
            self._connection = open_dbus_connection("SESSION")
        except (OSError, KeyError, ValueError):
            # There is no session bus, or jeepney does not support its address.
            return False
        descriptor = self._connection.sock.fileno()
        self._notifier = QSocketNotifier(descriptor, QSocketNotifier.Type.Read, self)
        self._notifier.activated.connect(self._receive)
        rule = MatchRule(type="signal", interface=_SERVICE, path=_OBJECT)
        return self._send(message_bus.AddMatch(rule), None)

    def _call(
        self,
        method: str,
        signature: str | None,
        body: tuple[object, ...],
        on_reply: "Callable[[Message], None] | None",
    ) -> None:
        from jeepney import DBusAddress, new_method_call

        address = DBusAddress(_OBJECT, bus_name=_SERVICE, interface=_SERVICE)
        self._send(new_method_call(address, method, signature, body), on_reply)

    def _send(self, message: "Message", on_reply: "Callable[[Message], None] | None") -> bool:
        connection = self._connection
        if connection is None:
            return False
        serial = next(connection.outgoing_serial)
        if on_reply is not None:
            self._replies[serial] = on_reply
        try:
            connection.send(message, serial=serial)
        except OSError:
            self.close()
            return False
        return True

    @Slot()
    def _receive(self) -> None:
        while self._connection is not None:
            try:
                message = self._connection.receive(timeout=0)
            except TimeoutError:
                return
            except OSError:
                self.close()
                return
            self._on_message(message)

    def _on_message(self, message: "Message") -> None:
        from jeepney import HeaderFields, MessageType

        fields = message.header.fields
        if message.header.message_type is MessageType.signal:
            self._on_signal(fields.get(HeaderFields.member, ""), message.body)
            return
        on_reply = self._replies.pop(fields.get(HeaderFields.reply_serial, 0), None)
        if on_reply is not None:
            # One call at a time: a second `Notify` before the first one has returned an id would
            # open a second notification.
            self._is_call_pending = False
            if message.header.message_type is MessageType.method_return:
                on_reply(message)
                self._send_next_call()

    def _send_next_call(self) -> None:
        """Send the next D-Bus call needed to show the requested notification."""
        if self._requested is None or self._requested is self._sent:
            return
        self._is_call_pending = True
        if self._capabilities is None:
            self._call("GetCapabilities", None, (), self._on_capabilities)
        else:
            self._notify(self._requested, self._capabilities)

    def _on_capabilities(self, reply: "Message") -> None:
        self._capabilities = frozenset(reply.body[0])

    def _notify(self, notification: Notification, capabilities: frozenset[str]) -> None:
        self._sent = notification
        self._first_action = notification.first_action
        self._activation_token = ""
        icon = str(resource_path("icons/trayproxy.svg"))
        has_markup = "body-markup" in capabilities
        body = html.escape(notification.body, quote=False) if has_markup else notification.body
        hints = {
            "desktop-entry": ("s", APP_ID),
            "urgency": ("y", _URGENCY_NORMAL),
            "resident": ("b", True),
            "suppress-sound": ("b", True),
        }
        actions = _actions(notification, capabilities)
        content = (icon, notification.title, body, actions, hints, _NEVER_EXPIRES)
        self._call("Notify", "susssasa{sv}i", (APP_NAME, self._shown_id, *content), self._on_shown)

    def _on_shown(self, reply: "Message") -> None:
        self._shown_id = int(reply.body[0])
        if self._requested is None:
            self.withdraw()

    def _on_signal(self, member: str, body: tuple[object, ...]) -> None:
        if len(body) != 2 or not self._shown_id or body[0] != self._shown_id:
            return
        match member, body[1]:
            case "ActivationToken", str(token):
                self._activation_token = token
            case "ActionInvoked", str(key):
                token, self._activation_token = self._activation_token, ""
                self.chosen.emit(self._first_action if key == DEFAULT_ACTION else key, token)
            case "NotificationClosed", _:
                self._shown_id = 0


def _actions(notification: Notification, capabilities: frozenset[str]) -> list[str]:
    if "actions" not in capabilities or not notification.actions:
        return []
    # The default action has no button, so the same action is added as a button.
    pairs = [(DEFAULT_ACTION, notification.actions[0][1]), *notification.actions]
    return [part for pair in pairs for part in pair]
