"""The context menu of the tray icon (ux §3.2).

The menu is built once. Later only texts, visibility and check marks change; the rows of profiles
are added and removed in their own section. Some desktops draw the menu from D-Bus and show it empty
or without function if it is cleared and rebuilt, or if a submenu is filled when it opens (ux §2a).
For the same reason the menu has no widgets and no section titles, and bold type carries no meaning.
"""

from PySide6.QtCore import QCoreApplication, QObject, Signal, Slot
from PySide6.QtWidgets import QMenu

from trayproxy.control.icon_state import IconState, needs_sign_in
from trayproxy.control.messages import Status
from trayproxy.ui import texts
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.menu_rows import MenuAddressRow, MenuRows, NotNowMenu, ProfileRows
from trayproxy.ui.system_proxy_rows import SystemProxyRows
from trayproxy.ui.widgets import named

translate = QCoreApplication.translate


class TrayMenu(QObject):
    """The context menu.

    Signals:
        opening: The menu is about to open.
    """

    opening = Signal()

    def __init__(self, actions: ActionSignals, parent: QObject | None = None) -> None:
        """Build the menu for a service that is not connected yet."""
        super().__init__(parent)
        self.menu = named(QMenu(), "tray_menu")
        self.menu.aboutToShow.connect(self.opening)
        self._actions = actions
        self._rows = rows = MenuRows(self.menu, self)
        self._heading = rows.add("heading", enabled=False)
        self._address = MenuAddressRow(rows, actions)
        self._warning = rows.add("warning", actions.show_window.emit)
        self._direct_for_now = rows.add(
            "direct_for_now", actions.connect_directly_for_now.emit, texts.direct_offer()
        )
        self._use_port = rows.add("use_port", self._on_use_port)
        self._try_again = rows.add("try_again", actions.retry.emit, translate("Tray", "Try again"))
        self._sign_in = rows.add("sign_in", actions.sign_in.emit)
        self._not_now = NotNowMenu(rows, actions)
        self.menu.addSeparator()
        self._profiles = ProfileRows(rows, actions)
        self._profiles_window = rows.add(
            "profiles", actions.show_window.emit, translate("Tray", "Profiles…")
        )
        self.menu.addSeparator()
        self._system_proxy = SystemProxyRows(rows, actions)
        rows.add("quit", actions.quit.emit, translate("Tray", "Quit TrayProxy"))
        self.update(IconState.STARTING, None)

    def set_over_dbus(self, *, over_dbus: bool) -> None:
        """Set whether the desktop draws the menu from D-Bus, before the menu is first shown."""
        self._rows.set_over_dbus(over_dbus=over_dbus)

    def update(
        self,
        state: IconState,
        status: Status | None,
        *,
        has_prompt: bool = False,
        received_per_s: float | None = None,
    ) -> None:
        """Update the rows; without a service the status is None.

        `received_per_s` are the octets per second from upstreams and targets, None if unknown.
        """
        self._rows.set_text(self._heading, texts.heading(state, status))
        self._try_again.setVisible(status is None and state is IconState.STOPPED)
        self._show_port(texts.port_offer(status))
        warning = texts.warning_row(status)
        self._warning.setVisible(bool(warning))
        self._rows.set_text(self._warning, warning)
        self._direct_for_now.setVisible(texts.offers_direct(status))
        profile = status.profile if status is not None else None
        needs_login = status is not None and (needs_sign_in(status) or has_prompt)
        self._sign_in.setVisible(needs_login and profile is not None)
        self._address.show_status(status, received_per_s, is_needed=not needs_login)
        if profile is not None:
            self._rows.set_text(self._sign_in, texts.sign_in_row(profile.name))
        self._not_now.set_visible(has_prompt)
        self.menu.setDefaultAction(
            self._sign_in if self._sign_in.isVisible() else self._profiles_window
        )
        self._profiles.show_profiles(
            status.profiles if status is not None else (),
            profile,
            is_direct=status is not None and status.direct,
        )
        self._system_proxy.show_status(status)
        self._keep_on_screen()

    def _show_port(self, offer: tuple[str, int] | None) -> None:
        self._use_port.setVisible(offer is not None)
        if offer is not None:
            text, port = offer
            self._use_port.setData(port)
            self._rows.set_text(self._use_port, text)

    def _keep_on_screen(self) -> None:
        """Move an open menu up if it has grown below the screen; Qt does not do this."""
        if not self.menu.isVisible():
            return
        available = self.menu.screen().availableGeometry()
        excess = self.menu.geometry().bottom() - available.bottom()
        if excess > 0:
            self.menu.move(self.menu.x(), max(available.top(), self.menu.y() - excess))

    @Slot()
    def _on_use_port(self) -> None:
        self._actions.use_port.emit(self._use_port.data())
