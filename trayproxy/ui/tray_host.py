"""Detects whether the desktop has a system tray and whether the user can see it.

At log-in the panel often starts after TrayProxy, some desktops have no tray, and some programs own
the D-Bus name ``org.kde.StatusNotifierWatcher`` before they draw icons. An icon created
before its host exists is never shown (measured with Qt 6.12), so the icon is created only after the
host has appeared, without a time limit.
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
"""Milliseconds between two checks. An XEmbed host can only be detected by polling; polling ends
when a tray is found.
"""

_WATCHER_PATH = "/StatusNotifierWatcher"
_PLATFORMS_WITHOUT_DBUS = ("windows", "cocoa")


class TrayHost(QObject):
    """Watches for a system tray.

    Signals:
        appeared: A tray is available; emitted once.
        visibility_changed: `is_visible` may have changed.
    """

    appeared = Signal()
    visibility_changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._has_appeared = False
        self._has_host = False
        self._poll_timer = QTimer(self, interval=POLL_INTERVAL_MS)
        self._poll_timer.timeout.connect(self._check_for_tray)
        self._service_watcher: QDBusServiceWatcher | None = None

    @property
    def is_over_dbus(self) -> bool:
        """True if the desktop draws the icon and the menu from D-Bus instead of Qt."""
        if QGuiApplication.platformName() in _PLATFORMS_WITHOUT_DBUS:
            return False
        bus = QDBusConnection.sessionBus()
        return bus.isConnected() and bool(bus.interface().isServiceRegistered(WATCHER_NAME).value())

    @property
    def is_visible(self) -> bool:
        """True if the user can see a tray icon, as far as this can be detected."""
        if not QSystemTrayIcon.isSystemTrayAvailable():
            return False
        return self._has_host or not self.is_over_dbus

    def watch(self) -> None:
        """Check for a tray now, and watch for changes."""
        bus = QDBusConnection.sessionBus()
        if QGuiApplication.platformName() not in _PLATFORMS_WITHOUT_DBUS and bus.isConnected():
            mode = QDBusServiceWatcher.WatchModeFlag.WatchForOwnerChange
            self._service_watcher = QDBusServiceWatcher(WATCHER_NAME, bus, mode, self)
            self._service_watcher.serviceRegistered.connect(self._check_for_tray)
            self._service_watcher.serviceUnregistered.connect(self._on_watcher_gone)
            # The type stubs require bytes here; PySide6 accepts only str (6.11).
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
            self._poll_timer.stop()
            self.appeared.emit()
        else:
            self._poll_timer.start()

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
    """Return the boolean in a D-Bus variant, False if there is no value."""
    value = arguments[0] if arguments else False
    variant = getattr(value, "variant", None)
    return bool(variant() if callable(variant) else value) and value is not None
