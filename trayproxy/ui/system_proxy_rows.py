"""The section of the menu that makes programs use TrayProxy (ux §3.2, §3.7)."""

from PySide6.QtCore import QCoreApplication, QObject, Slot
from PySide6.QtGui import QAction

from trayproxy.control.messages import (
    ListenerState,
    Status,
    SystemProxyState,
    SystemProxyStatus,
    UseSystemProxy,
)
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.copy_settings import CopySettingsMenu
from trayproxy.ui.menu_rows import MenuRows
from trayproxy.ui.text_sanitizer import clean, elide, isolate
from trayproxy.ui.widgets import named

translate = QCoreApplication.translate

PROGRAM_WIDTH = 30
"""Characters of the name of a program in the menu."""


class SystemProxyRows(QObject):
    """The check *Use as system proxy*, a submenu for a change by another program, and the submenu
    *Copy settings for*.

    The check shows the state as read from the system, not the user's wish: it does not change by a
    click, but with the next status.
    """

    def __init__(self, rows: MenuRows, actions: ActionSignals) -> None:
        """Add the rows; the rows are also the Qt parent."""
        super().__init__(rows)
        self._rows = rows
        self._actions = actions
        self._state = SystemProxyState.OFF
        self._check = rows.add("system_proxy", self._on_check)
        self._check.setCheckable(True)
        self._changed = rows.add_menu("system_proxy_changed", "")
        for name, slot, text in (
            ("system_proxy_take_back", self._on_take_back, translate("Tray", "Take it back")),
            (
                "system_proxy_leave",
                self._on_leave,
                translate("Tray", "Leave it to the other program"),
            ),
        ):
            action = named(QAction(self), name)
            self._changed.addAction(action)
            action.triggered.connect(slot)
            rows.set_fixed_text(action, text)
        self._copy_settings = CopySettingsMenu(rows, actions)
        self._separator = rows.menu.addSeparator()

    def show_status(self, status: Status | None) -> None:
        """Show the state; without a service or a profile, there is nothing to choose.

        Where the system has no system proxy, a click makes the window show the reason.
        """
        system_proxy = status.system_proxy if status is not None else SystemProxyStatus()
        self._state = system_proxy.state
        is_visible = status is not None and (bool(status.profiles) or status.direct)
        is_on = self._state is SystemProxyState.ON
        is_up = status is not None and status.listener is ListenerState.UP
        is_changed = is_visible and self._state is SystemProxyState.CHANGED
        self._check.setVisible(is_visible)
        self._changed.menuAction().setVisible(is_changed)
        self._rows.set_text(self._changed.menuAction(), _changed_text(system_proxy.program))
        self._copy_settings.set_visible(is_up)
        self._separator.setVisible(is_visible or is_up)
        self._check.setChecked(is_on)
        self._check.setEnabled(
            self._state is not SystemProxyState.MANAGED and (is_up or is_on or is_changed)
        )
        self._rows.set_text(self._check, _check_text(self._state))

    @Slot()
    def _on_check(self) -> None:
        # Qt has toggled the check before the system proxy has changed.
        is_on = self._state is SystemProxyState.ON
        self._check.setChecked(is_on)
        self._actions.use_system_proxy.emit(UseSystemProxy(not is_on))

    @Slot()
    def _on_take_back(self) -> None:
        self._actions.use_system_proxy.emit(UseSystemProxy(True))

    @Slot()
    def _on_leave(self) -> None:
        self._actions.use_system_proxy.emit(UseSystemProxy(False))


def _check_text(state: SystemProxyState) -> str:
    if state is SystemProxyState.MANAGED:
        return translate("Tray", "System proxy: managed by your organisation")
    if state is SystemProxyState.UNAVAILABLE:
        return translate("Tray", "System proxy: not available…")
    return translate("Tray", "Use as system proxy")


def _changed_text(program: str) -> str:
    if name := elide(clean(program), PROGRAM_WIDTH):
        return translate("Tray", "Changed by {program}").format(program=isolate(name))
    return translate("Tray", "Changed by another program")
