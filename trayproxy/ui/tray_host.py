"""Whether the desktop has a place for tray icons, and whether a person can see it.

At log-in the panel often comes after us, some desktops have none, and some programs own the name
``org.kde.StatusNotifierWatcher`` before they draw anything. An icon made before its host is there
never shows (measured with Qt 6.12), so the host is waited for, for as long as it takes.
"""

from typing import Any

from PySide6.QtCore import SLOT, QObject, QTimer, Signal, Slot
from PySide6.QtDBus import (
    QDBusConnection,
    QDBusMessage,
    QDBusPendingCallWatcher,
    QDBusServiceWatcher,
)
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QSystemTrayIcon

WATCHER_NAME = "org.kde.StatusNotifierWatcher"
POLL_INTERVAL_MS = 1000
"""An XEmbed host is found by asking only; and only until there is one."""

_WATCHER_PATH = "/StatusNotifierWatcher"
_PLATFORMS_WITHOUT_DBUS = ("windows", "cocoa")


class TrayHost(QObject):
    """Watches for a tray.

    Signals:
        appeared: There is a place for an icon now; emitted once.
        visibility_changed: `is_visible` may be different.
    """

    appeared = Signal()
    visibility_changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        """Create it; `watch` begins."""
        super().__init__(parent)
        self._has_appeared = False
        self._has_host = False
        self._poll = QTimer(self, interval=POLL_INTERVAL_MS)
        self._poll.timeout.connect(self._check_for_tray)
        self._service_watcher: QDBusServiceWatcher | None = None

    @property
    def is_over_dbus(self) -> bool:
        """Whether the desktop draws icon and menu from what we export, not Qt itself."""
        if QGuiApplication.platformName() in _PLATFORMS_WITHOUT_DBUS:
            return False
        bus = QDBusConnection.sessionBus()
        return bus.isConnected() and bool(bus.interface().isServiceRegistered(WATCHER_NAME).value())

    @property
    def is_visible(self) -> bool:
        """Whether a person can see an icon, as far as anybody can tell."""
        if not QSystemTrayIcon.isSystemTrayAvailable():
            return False
        return self._has_host or not self.is_over_dbus

    def watch(self) -> None:
        """Look now, and from now on."""
        bus = QDBusConnection.sessionBus()
        if QGuiApplication.platformName() not in _PLATFORMS_WITHOUT_DBUS and bus.isConnected():
            mode = QDBusServiceWatcher.WatchModeFlag.WatchForOwnerChange
            self._service_watcher = QDBusServiceWatcher(WATCHER_NAME, bus, mode, self)
            self._service_watcher.serviceRegistered.connect(self._check_for_tray)
            self._service_watcher.serviceUnregistered.connect(self._on_watcher_gone)
            # The stubs want octets here, PySide6 itself only takes text (6.11).
            slot: Any = SLOT("_query_host()")
            for name in ("StatusNotifierHostRegistered", "StatusNotifierHostUnregistered"):
                bus.connect(WATCHER_NAME, _WATCHER_PATH, WATCHER_NAME, name, self, slot)
        self._check_for_tray()

    @Slot()
    def _check_for_tray(self) -> None:
        self._query_host()
        if self._has_appeared:
            return
        if QSystemTrayIcon.isSystemTrayAvailable():
            self._has_appeared = True
            self._poll.stop()
            self.appeared.emit()
        else:
            self._poll.start()

    @Slot()
    def _on_watcher_gone(self) -> None:
        self._has_host = False
        self.visibility_changed.emit()

    @Slot()
    def _query_host(self) -> None:
        if not self.is_over_dbus:
            return
        properties = "org.freedesktop.DBus.Properties"
        message = QDBusMessage.createMethodCall(WATCHER_NAME, _WATCHER_PATH, properties, "Get")
        message.setArguments([WATCHER_NAME, "IsStatusNotifierHostRegistered"])
        call = QDBusConnection.sessionBus().asyncCall(message)
        QDBusPendingCallWatcher(call, self).finished.connect(self._on_host_reply)

    @Slot(QDBusPendingCallWatcher)
    def _on_host_reply(self, call: QDBusPendingCallWatcher) -> None:
        arguments = call.reply().arguments()
        call.deleteLater()
        before, self._has_host = self._has_host, _bool_value(arguments)
        if before != self._has_host:
            self.visibility_changed.emit()


def _bool_value(arguments: list[object]) -> bool:
    """Unpack the variant of a property's value."""
    value = arguments[0] if arguments else False
    variant = getattr(value, "variant", None)
    return bool(variant() if callable(variant) else value) and value is not None
