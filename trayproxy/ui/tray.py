"""Creates the tray icon when a tray is available, and handles clicks on it (ux §2a, §3.2)."""

from enum import Enum, auto

from PySide6.QtCore import QObject, QTimer, Signal, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QSystemTrayIcon

from trayproxy.control.icon_state import IconState
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.icons import tray_icon
from trayproxy.ui.menu import TrayMenu
from trayproxy.ui.tray_host import TrayHost

DOUBLE_CLICK_TIMEOUT_MS = 150
"""Milliseconds within which a click may become a double click on Windows; Qt does not report the
second release.
"""

_Reason = QSystemTrayIcon.ActivationReason


class Gesture(Enum):
    """The action of a click on the icon."""

    NOTHING = auto()
    """No action; the desktop may show the menu itself."""
    PRIMARY = auto()
    """Show the sign-in dialog if a prompt is open, otherwise show or hide the window."""
    PRIMARY_UNLESS_DOUBLE = auto()
    """The same action as `PRIMARY`, once no second click has followed."""
    WINDOW = auto()
    """Show the window."""
    TOGGLE_DIRECT = auto()
    """Connect directly, or return to the profile."""


def gesture_of(reason: QSystemTrayIcon.ActivationReason, platform: str) -> Gesture:
    """Return the action of a click with a Qt platform plugin (the table of ux §3.2).

    GNOME shows the menu at the first click and reports a second click as an ordinary activation, so
    GNOME needs no case of its own.
    """
    match platform, reason:
        case "cocoa", _:
            return Gesture.NOTHING
        case _, _Reason.MiddleClick:
            return Gesture.TOGGLE_DIRECT
        case "windows", _Reason.Trigger:
            return Gesture.PRIMARY_UNLESS_DOUBLE
        case "windows", _Reason.DoubleClick:
            return Gesture.WINDOW
        case _, _Reason.Trigger:
            return Gesture.PRIMARY
    return Gesture.NOTHING


class Tray(QObject):
    """The tray icon, created as soon as a tray is available.

    Signals:
        primary_activated: The user requests the sign-in dialog or the window (`Gesture.PRIMARY`).
        created(QSystemTrayIcon): The icon was created.
    """

    primary_activated = Signal()
    created = Signal(object)

    def __init__(
        self,
        tray_host: TrayHost,
        menu: TrayMenu,
        actions: ActionSignals,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._actions = actions
        self._tray_host = tray_host
        self._menu = menu
        self._icon: QSystemTrayIcon | None = None
        self._state = IconState.STARTING
        self._tooltip = ""
        self._double_click_timer = QTimer(self, singleShot=True, interval=DOUBLE_CLICK_TIMEOUT_MS)
        self._double_click_timer.timeout.connect(self.primary_activated)
        tray_host.appeared.connect(self._create)

    @property
    def is_visible(self) -> bool:
        """True if the user can see the icon."""
        return self._icon is not None and self._tray_host.is_visible

    def show_state(self, state: IconState, tooltip: str) -> None:
        """Set the icon and the tooltip."""
        if self._icon is not None and state is not self._state:
            self._icon.setIcon(tray_icon(state))
        if self._icon is not None and tooltip != self._tooltip:
            self._icon.setToolTip(tooltip)
        self._state, self._tooltip = state, tooltip

    def hide(self) -> None:
        """Hide the icon."""
        if self._icon is not None:
            self._icon.hide()

    @Slot()
    def _create(self) -> None:
        self._menu.set_over_dbus(over_dbus=self._tray_host.is_over_dbus)
        icon = QSystemTrayIcon(tray_icon(self._state), self)
        icon.setToolTip(self._tooltip)
        # GNOME does not draw an icon without a context menu.
        icon.setContextMenu(self._menu.menu)
        icon.activated.connect(self._on_activated)
        icon.show()
        self._icon = icon
        self.created.emit(icon)

    @Slot(QSystemTrayIcon.ActivationReason)
    def _on_activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        match gesture_of(reason, QGuiApplication.platformName()):
            case Gesture.PRIMARY:
                # Without delay: on Wayland the activation token is valid only for a moment.
                self.primary_activated.emit()
            case Gesture.PRIMARY_UNLESS_DOUBLE:
                self._double_click_timer.start()
            case Gesture.WINDOW:
                self._double_click_timer.stop()
                self._actions.show_window.emit()
            case Gesture.TOGGLE_DIRECT:
                self._actions.toggle_direct.emit()
