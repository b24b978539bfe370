"""The tray icon: made when there is a place for it, and what a click on it means (ux §2a, §3.2)."""

from enum import Enum, auto

from PySide6.QtCore import QObject, QTimer, Signal, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QSystemTrayIcon

from trayproxy.ui.icon_state import IconState
from trayproxy.ui.icons import tray_icon
from trayproxy.ui.menu import TrayMenu
from trayproxy.ui.tray_host import TrayHost

DOUBLE_CLICK_TIMEOUT_MS = 150
"""How long a click may become a double click on Windows; Qt withholds the second release."""

_Reason = QSystemTrayIcon.ActivationReason


class Gesture(Enum):
    """What a click asks for."""

    NOTHING = auto()
    """The desktop shows the menu itself, or nothing is meant."""
    PRIMARY = auto()
    """The sign-in dialog if one is pending, else the window, shown or hidden."""
    PRIMARY_UNLESS_DOUBLE = auto()
    """The same, once it is clear that no second click follows."""
    WINDOW = auto()
    """The window, shown."""
    TOGGLE_DIRECT = auto()
    """*Connect directly*, or back to the profile."""


def gesture_of(reason: QSystemTrayIcon.ActivationReason, platform: str) -> Gesture:
    """Return what a click means on a platform (the table of ux §3.2).

    GNOME shows the menu at the first click and sends the second one as an ordinary activation, so
    it needs no line of its own.

    Args:
        reason: Which click.
        platform: Qt's name of the window system.
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
    """Shows a state in the tray, from the moment that there is one.

    Signals:
        primary: A person wants what matters now.
        window_wanted: A person wants the window.
        turned_direct: A person wants to connect directly, or no longer.
        created(QSystemTrayIcon): The icon exists now.
    """

    primary = Signal()
    window_requested = Signal()
    direct_toggled = Signal()
    created = Signal(object)

    def __init__(self, tray_host: TrayHost, menu: TrayMenu, parent: QObject | None = None) -> None:
        """Create it, without an icon.

        Args:
            host: Says when there is a place for the icon.
            menu: What the icon offers.
            parent: Its owner.
        """
        super().__init__(parent)
        self._tray_host = tray_host
        self._menu = menu
        self._icon: QSystemTrayIcon | None = None
        self._state = IconState.STARTING
        self._tooltip = ""
        self._double_click_timer = QTimer(self, singleShot=True, interval=DOUBLE_CLICK_TIMEOUT_MS)
        self._double_click_timer.timeout.connect(self.primary)
        tray_host.appeared.connect(self._create)

    @property
    def is_visible(self) -> bool:
        """Whether a person can reach us by the icon."""
        return self._icon is not None and self._tray_host.is_visible

    def show_state(self, state: IconState, tooltip: str) -> None:
        """Say this from now on."""
        if self._icon is not None and state is not self._state:
            self._icon.setIcon(tray_icon(state))
        if self._icon is not None and tooltip != self._tooltip:
            self._icon.setToolTip(tooltip)
        self._state, self._tooltip = state, tooltip

    def hide(self) -> None:
        """Leave the tray."""
        if self._icon is not None:
            self._icon.hide()

    @Slot()
    def _create(self) -> None:
        self._menu.set_over_dbus(over_dbus=self._tray_host.is_over_dbus)
        icon = QSystemTrayIcon(tray_icon(self._state), self)
        icon.setToolTip(self._tooltip)
        # GNOME does not draw an icon that comes without a menu.
        icon.setContextMenu(self._menu.menu)
        icon.activated.connect(self._on_activated)
        icon.show()
        self._icon = icon
        self.created.emit(icon)

    @Slot(QSystemTrayIcon.ActivationReason)
    def _on_activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        match gesture_of(reason, QGuiApplication.platformName()):
            case Gesture.PRIMARY:
                # At once: on Wayland the activation token is good for this moment only.
                self.primary.emit()
            case Gesture.PRIMARY_UNLESS_DOUBLE:
                self._double_click_timer.start()
            case Gesture.WINDOW:
                self._double_click_timer.stop()
                self.window_requested.emit()
            case Gesture.TOGGLE_DIRECT:
                self.direct_toggled.emit()
