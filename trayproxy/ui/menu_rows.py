"""The groups of rows of the tray menu."""

from collections.abc import Callable

from PySide6.QtCore import QCoreApplication, QObject, QTimer, Slot
from PySide6.QtGui import QAction, QActionGroup, QIcon
from PySide6.QtWidgets import QMenu

from trayproxy.control.messages import Status
from trayproxy.domain.signin import Snooze
from trayproxy.profiles.profile import DIRECT_ID, Profile
from trayproxy.ui import texts
from trayproxy.ui.action_signals import ActionSignals
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


class MenuRows(QObject):
    """Adds rows to a menu, and escapes their texts for the desktop."""

    def __init__(self, menu: QMenu, parent: QObject) -> None:
        super().__init__(parent)
        self.menu = menu
        self._over_dbus = False
        self._fixed_texts: list[tuple[QAction, str]] = []

    def add(
        self,
        name: str,
        slot: Callable[[], object] | None = None,
        text: str = "",
        *,
        enabled: bool = True,
    ) -> QAction:
        """Add a row; choosing the row calls the slot. `text` is for a text that does not change."""
        action = named(QAction(self), name)
        action.setEnabled(enabled)
        if slot is not None:
            action.triggered.connect(slot)
        self.menu.addAction(action)
        self.set_fixed_text(action, text)
        return action

    def add_menu(self, name: str, text: str) -> QMenu:
        """Add a submenu with a fixed text."""
        menu = named(self.menu.addMenu(""), name)
        self.set_fixed_text(menu.menuAction(), text)
        return menu

    def set_fixed_text(self, action: QAction, text: str) -> None:
        """Set a constant text, which `set_over_dbus` escapes again. Ignore an empty text."""
        if text:
            self._fixed_texts.append((action, text))
            self.set_text(action, text)

    def set_text(self, action: QAction, text: str) -> None:
        """Set the text of a row."""
        escaped = menu_text(text, over_dbus=self._over_dbus)
        # Each call of setText() is a D-Bus message to the desktop, even if the text is the same.
        if action.text() != escaped:
            action.setText(escaped)

    def set_over_dbus(self, *, over_dbus: bool) -> None:
        """Set whether the desktop draws the menu from D-Bus, and escape the fixed texts again."""
        self._over_dbus = over_dbus
        for action, text in self._fixed_texts:
            self.set_text(action, text)


class MenuAddressRow(QObject):
    """The row with the local address and the traffic."""

    def __init__(self, rows: MenuRows, actions: ActionSignals) -> None:
        super().__init__(rows)
        self._rows = rows
        self._actions = actions
        self._action = rows.add("address", self._on_chosen)
        self._text = ""
        self._copied_icon_timer = QTimer(self, singleShot=True, interval=COPIED_ICON_MS)
        self._copied_icon_timer.timeout.connect(self._remove_copied_icon)
        self._text_timer = QTimer(self, singleShot=True, interval=ADDRESS_INTERVAL_MS)
        self._text_timer.timeout.connect(self._show_text)

    def show_status(
        self, status: Status | None, received_per_s: float | None, *, is_needed: bool
    ) -> None:
        """Show the address; see `trayproxy.ui.menu.TrayMenu.update`.

        `is_needed` is False while the rows for a sign-in take the place of this row.
        """
        self._action.setVisible(is_needed and texts.has_address(status))
        if status is not None:
            self._text = texts.address_row(status, received_per_s)
            if not self._text_timer.isActive():
                self._show_text()

    @Slot()
    def _show_text(self) -> None:
        # The row is also filled while the menu is open if it is still empty.
        if not self._rows.menu.isVisible() or not self._action.text():
            self._rows.set_text(self._action, self._text)
        self._text_timer.start()

    @Slot()
    def _on_chosen(self) -> None:
        self._action.setIcon(action_icon("done", self._rows.menu.palette()))
        self._copied_icon_timer.start()
        self._actions.copy_address.emit()

    @Slot()
    def _remove_copied_icon(self) -> None:
        self._action.setIcon(QIcon())


class NotNowMenu(QObject):
    """The submenu *Not now*."""

    def __init__(self, rows: MenuRows, actions: ActionSignals) -> None:
        super().__init__(rows)
        self._actions = actions
        self._menu = rows.add_menu("not_now", translate("Tray", "Not now"))
        for name, text, snooze in (
            ("not_now_a_while", translate("Tray", "15 minutes"), Snooze.A_WHILE),
            ("not_now_until_chosen", translate("Tray", "Until I choose"), Snooze.UNTIL_CHOSEN),
        ):
            action = named(self._menu.addAction(""), name)
            action.setData(snooze)
            rows.set_fixed_text(action, text)
        self._menu.triggered.connect(self._on_triggered)

    def set_visible(self, visible: bool) -> None:
        """Show or hide the submenu."""
        self._menu.menuAction().setVisible(visible)

    @Slot(QAction)
    def _on_triggered(self, action: QAction) -> None:
        self._actions.decline.emit(Snooze(action.data()))


class ProfileRows(QObject):
    """The section with the profiles and *Connect directly*; at most one row is checked."""

    def __init__(self, rows: MenuRows, actions: ActionSignals) -> None:
        super().__init__(rows)
        self._rows = rows
        self._actions = actions
        self._profiles: dict[str, QAction] = {}
        self._group = QActionGroup(self)
        self._group.triggered.connect(self._on_triggered)
        self._heading = rows.add(
            "profile_heading", text=translate("Tray", "Profile"), enabled=False
        )
        # *Connect directly* is in the group of the profiles and is not a profile.
        self._direct = rows.add("connect_directly", text=translate("Tray", "Connect directly"))
        self._add_to_group(self._direct, DIRECT_ID)
        self._more_profiles = rows.add_menu("more_profiles", translate("Tray", "More profiles"))
        self._end = rows.menu.addSeparator()

    def show_profiles(
        self, profiles: tuple[Profile, ...], active: Profile | None, *, is_direct: bool
    ) -> None:
        """Show all profiles, and check the active profile or *Connect directly*."""
        if tuple(self._profiles) != tuple(profile.id for profile in profiles):
            self._replace_rows(profiles)
        for profile in profiles:
            self._rows.set_text(self._profiles[profile.id], texts.profile_row(profile))
        self._more_profiles.menuAction().setVisible(len(profiles) > PROFILES_SHOWN)
        for row in (self._heading, self._direct, self._end):
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

    def _replace_rows(self, profiles: tuple[Profile, ...]) -> None:
        for action in self._profiles.values():
            self._group.removeAction(action)
            self._rows.menu.removeAction(action)
            self._more_profiles.removeAction(action)
            action.deleteLater()
        self._profiles.clear()
        for index, profile in enumerate(profiles):
            action = named(QAction(self), f"profile_{profile.id}")
            self._add_to_group(action, profile.id)
            self._profiles[profile.id] = action
            if index < PROFILES_SHOWN:
                self._rows.menu.insertAction(self._direct, action)
            else:
                self._more_profiles.addAction(action)

    def _add_to_group(self, action: QAction, profile_id: str) -> None:
        action.setCheckable(True)
        action.setData(profile_id)
        self._group.addAction(action)

    @Slot(QAction)
    def _on_triggered(self, action: QAction) -> None:
        self._actions.use_profile.emit(str(action.data()))
