"""The context menu of the tray icon (ux §3.2).

The menu is built once. Later only texts, visibility and check marks change; the rows of profiles
are added and removed in their own section. Some desktops draw the menu from D-Bus and show it empty
or without function if it is cleared and rebuilt, or if a submenu is filled when it opens (ux §2a).
For the same reason the menu has no widgets and no section titles, and bold type carries no meaning.
"""

from collections.abc import Callable

from PySide6.QtCore import QCoreApplication, QObject, QTimer, Signal, Slot
from PySide6.QtGui import QAction, QActionGroup, QIcon
from PySide6.QtWidgets import QMenu

from trayproxy.control.icon_state import IconState, needs_sign_in
from trayproxy.control.messages import Status
from trayproxy.domain.signin import Snooze
from trayproxy.profiles.profile import DIRECT_ID, Profile
from trayproxy.ui import texts
from trayproxy.ui.icons import action_icon
from trayproxy.ui.text_sanitizer import menu_text
from trayproxy.ui.widgets import named

translate = QCoreApplication.translate

PROFILES_SHOWN = 7
"""The number of profiles in the menu itself; further profiles are in a submenu. The menu has at
most 14 rows.
"""
ADDRESS_INTERVAL_MS = 2000
"""Minimum milliseconds between two changes of the row with the traffic rate. The row does not
change while the menu is open.
"""
COPIED_ICON_MS = 2000
"""Milliseconds for which the address row shows a check mark after the address was copied."""


class TrayMenu(QObject):
    """The context menu, with a signal for each action.

    Signals:
        opening: The menu is about to open.
        address_chosen: Copy the local address.
        sign_in_chosen: Open the sign-in dialog.
        not_now_chosen(Snooze): Close the prompt and show none for this time.
        profile_chosen(str): Activate the profile with this id.
        profiles_chosen: Open the window.
        direct_for_now_chosen: Connect directly for a limited time.
        port_chosen(int): Listen on this port, because the configured port is taken; 0: return to
            the configured port.
        retry_chosen: Start the service now.
        quit_chosen: Quit TrayProxy.
    """

    opening = Signal()
    address_chosen = Signal()
    sign_in_chosen = Signal()
    not_now_chosen = Signal(object)
    profile_chosen = Signal(str)
    profiles_chosen = Signal()
    direct_for_now_chosen = Signal()
    port_chosen = Signal(int)
    retry_chosen = Signal()
    quit_chosen = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        """Build the menu for a service that is not connected yet."""
        super().__init__(parent)
        self.menu = named(QMenu(), "tray_menu")
        self.menu.aboutToShow.connect(self.opening)
        self._over_dbus = False
        self._profiles: dict[str, QAction] = {}
        self._group = QActionGroup(self)
        self._group.triggered.connect(self._on_profile)
        self._heading = self._add_row("heading", enabled=False)
        self._address = self._add_row("address", self._on_address)
        self._warning = self._add_row("warning", self.profiles_chosen.emit)
        self._direct_for_now = self._add_row("direct_for_now", self.direct_for_now_chosen.emit)
        self._use_port = self._add_row("use_port", self._on_use_port)
        self._try_again = self._add_row("try_again", self.retry_chosen.emit)
        self._sign_in = self._add_row("sign_in", self.sign_in_chosen.emit)
        self._not_now = self._add_not_now_menu()
        self.menu.addSeparator()
        self._profile_heading = self._add_row("profile_heading", enabled=False)
        self._direct = self._add_direct_row()
        self._more_profiles = named(self.menu.addMenu(""), "more_profiles")
        self._end_of_profiles = self.menu.addSeparator()
        self._profiles_window = self._add_row("profiles", self.profiles_chosen.emit)
        self.menu.addSeparator()
        self._quit = self._add_row("quit", self.quit_chosen.emit)
        self._copied_icon_timer = QTimer(self, singleShot=True, interval=COPIED_ICON_MS)
        self._copied_icon_timer.timeout.connect(self._remove_copied_icon)
        self._address_timer = QTimer(self, singleShot=True, interval=ADDRESS_INTERVAL_MS)
        self._address_timer.timeout.connect(self._show_address)
        self._address_text = ""
        self._port = 0
        self._set_fixed_texts()
        self.update(IconState.STARTING, None)

    def set_over_dbus(self, *, over_dbus: bool) -> None:
        """Set whether the desktop draws the menu from D-Bus. Call this before the menu is first
        shown.
        """
        self._over_dbus = over_dbus
        self._set_fixed_texts()

    def update(
        self,
        state: IconState,
        status: Status | None,
        *,
        has_prompt: bool = False,
        received_per_s: float | None = None,
    ) -> None:
        """Update the rows.

        Args:
            state: The state of the icon.
            status: The status of the service; None while the service is not connected.
            has_prompt: True if a prompt is open.
            received_per_s: Octets per second received from upstreams and targets, None if unknown.
        """
        self._set_text(self._heading, texts.heading(state, status))
        self._try_again.setVisible(status is None and state is IconState.STOPPED)
        self._show_port(texts.port_offer(status))
        self._address.setVisible(texts.has_address(status))
        warning = texts.warning_row(status)
        self._warning.setVisible(bool(warning))
        self._set_text(self._warning, warning)
        self._direct_for_now.setVisible(texts.offers_direct(status))
        if status is not None:
            self._address_text = texts.address_row(status, received_per_s)
            if not self._address_timer.isActive():
                self._show_address()
        profile = status.profile if status is not None else None
        needs_login = status is not None and (needs_sign_in(status) or has_prompt)
        self._sign_in.setVisible(needs_login and profile is not None)
        if profile is not None:
            self._set_text(self._sign_in, texts.sign_in_row(profile.name))
        self._not_now.menuAction().setVisible(has_prompt)
        self.menu.setDefaultAction(
            self._sign_in if self._sign_in.isVisible() else self._profiles_window
        )
        self._show_profiles(
            status.profiles if status is not None else (),
            profile,
            is_direct=status is not None and status.direct,
        )
        self._keep_on_screen()

    def _show_port(self, offer: tuple[str, int] | None) -> None:
        self._use_port.setVisible(offer is not None)
        if offer is not None:
            text, self._port = offer
            self._set_text(self._use_port, text)

    def _keep_on_screen(self) -> None:
        """Move an open menu up if it has grown below the screen; Qt does not do this."""
        if not self.menu.isVisible():
            return
        available = self.menu.screen().availableGeometry()
        excess = self.menu.geometry().bottom() - available.bottom()
        if excess > 0:
            self.menu.move(self.menu.x(), max(available.top(), self.menu.y() - excess))

    # --- Profiles --------------------------------------------------------------------------------

    def _show_profiles(
        self, profiles: tuple[Profile, ...], active: Profile | None, *, is_direct: bool
    ) -> None:
        if tuple(self._profiles) != tuple(profile.id for profile in profiles):
            self._replace_profile_rows(profiles)
        for profile in profiles:
            action = self._profiles[profile.id]
            self._set_text(action, texts.profile_row(profile))
        self._more_profiles.menuAction().setVisible(len(profiles) > PROFILES_SHOWN)
        for row in (self._profile_heading, self._direct, self._end_of_profiles):
            row.setVisible(bool(profiles) or is_direct)
        chosen = self._profiles.get(active.id) if active is not None else None
        self._check_row(self._direct if is_direct else chosen)

    def _check_row(self, chosen: QAction | None) -> None:
        """Check a row, or uncheck all rows if the row is None."""
        if chosen is not None:
            chosen.setChecked(True)
        elif (checked := self._group.checkedAction()) is not None:
            self._group.setExclusive(False)
            checked.setChecked(False)
            self._group.setExclusive(True)

    def _replace_profile_rows(self, profiles: tuple[Profile, ...]) -> None:
        for action in self._profiles.values():
            self._group.removeAction(action)
            self.menu.removeAction(action)
            self._more_profiles.removeAction(action)
            action.deleteLater()
        self._profiles.clear()
        for index, profile in enumerate(profiles):
            action = named(QAction(self, checkable=True), f"profile_{profile.id}")
            action.setData(profile.id)
            self._group.addAction(action)
            self._profiles[profile.id] = action
            if index < PROFILES_SHOWN:
                self.menu.insertAction(self._direct, action)
            else:
                self._more_profiles.addAction(action)

    def _add_direct_row(self) -> QAction:
        """Add the row *Connect directly*, which is in the group of the profiles and is not a
        profile.
        """
        action = named(QAction(self, checkable=True), "connect_directly")
        action.setData(DIRECT_ID)
        self._group.addAction(action)
        self.menu.addAction(action)
        return action

    @Slot(QAction)
    def _on_profile(self, action: QAction) -> None:
        self.profile_chosen.emit(str(action.data()))

    # --- Rows ------------------------------------------------------------------------------------

    def _add_row(
        self, name: str, slot: Callable[[], object] | None = None, *, enabled: bool = True
    ) -> QAction:
        action = named(QAction(self), name)
        action.setEnabled(enabled)
        if slot is not None:
            action.triggered.connect(slot)
        self.menu.addAction(action)
        return action

    def _add_not_now_menu(self) -> QMenu:
        menu = named(self.menu.addMenu(""), "not_now")
        self._snooze_a_while = named(menu.addAction(""), "not_now_a_while")
        self._snooze_a_while.triggered.connect(self._on_a_while)
        self._snooze_until_chosen = named(menu.addAction(""), "not_now_until_chosen")
        self._snooze_until_chosen.triggered.connect(self._on_until_chosen)
        return menu

    def _set_fixed_texts(self) -> None:
        self._set_text(self._try_again, translate("Tray", "Try again"))
        self._set_text(self._not_now.menuAction(), translate("Tray", "Not now"))
        self._set_text(self._direct_for_now, texts.direct_offer())
        self._set_text(self._snooze_a_while, translate("Tray", "15 minutes"))
        self._set_text(self._snooze_until_chosen, translate("Tray", "Until I choose"))
        self._set_text(self._profile_heading, translate("Tray", "Profile"))
        self._set_text(self._direct, translate("Tray", "Connect directly"))
        self._set_text(self._more_profiles.menuAction(), translate("Tray", "More profiles"))
        self._set_text(self._profiles_window, translate("Tray", "Profiles…"))
        self._set_text(self._quit, translate("Tray", "Quit TrayProxy"))

    def _set_text(self, action: QAction, text: str) -> None:
        escaped = menu_text(text, over_dbus=self._over_dbus)
        # Each call of setText() is a D-Bus message to the desktop, even if the text is the same.
        if action.text() != escaped:
            action.setText(escaped)

    @Slot()
    def _show_address(self) -> None:
        # The row is also filled while the menu is open if it is still empty.
        if not self.menu.isVisible() or not self._address.text():
            self._set_text(self._address, self._address_text)
        self._address_timer.start()

    @Slot()
    def _on_address(self) -> None:
        self._address.setIcon(action_icon("done", self.menu.palette()))
        self._copied_icon_timer.start()
        self.address_chosen.emit()

    @Slot()
    def _on_use_port(self) -> None:
        self.port_chosen.emit(self._port)

    @Slot()
    def _remove_copied_icon(self) -> None:
        self._address.setIcon(QIcon())

    @Slot()
    def _on_a_while(self) -> None:
        self.not_now_chosen.emit(Snooze.A_WHILE)

    @Slot()
    def _on_until_chosen(self) -> None:
        self.not_now_chosen.emit(Snooze.UNTIL_CHOSEN)
