"""The upper part of the window: the state, the local address and the notices."""

from PySide6.QtCore import QCoreApplication, Qt, Slot
from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import QLabel, QWidget

from trayproxy.control.icon_state import IconState, needs_sign_in
from trayproxy.control.messages import Status
from trayproxy.ui import texts
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.icons import render
from trayproxy.ui.text_sanitizer import breakable
from trayproxy.ui.widgets import (
    column,
    hide_if_empty,
    named,
    picture_label,
    plain_label,
    plain_tooltip,
    push_button,
    row,
    show_or_hide,
)

translate = QCoreApplication.translate


class StateRow(QWidget):
    """The row with the state and the buttons for the user's next step."""

    def __init__(self, actions: ActionSignals) -> None:
        super().__init__()
        self._actions = actions
        self._port = 0
        self._icon = picture_label("state_icon", QPixmap())
        self._state = plain_label("state")
        font = self._state.font()
        font.setBold(True)
        self._state.setFont(font)
        self._sign_in = push_button("sign_in_now", translate("Window", "Sign in…"), actions.sign_in)
        self._use_port = push_button("use_port_now", "", self._on_use_port)
        self._try_again = push_button(
            "try_again_now", translate("Window", "Try again"), actions.retry
        )
        buttons = (self._sign_in, self._use_port, self._try_again)
        line = row(self, self._icon, self._state, *buttons, grows=self._state)
        for label in (self._icon, self._state):
            line.setAlignment(label, Qt.AlignmentFlag.AlignVCenter)

    def show_state(self, state: IconState, status: Status | None, *, has_prompt: bool) -> None:
        """Show the state; see `trayproxy.ui.profiles_window.ProfilesWindow.show_state`."""
        self._icon.setPixmap(self._state_pixmap(state))
        self._state.setText(breakable(texts.status_line(state, status)))
        needs_login = status is not None and (needs_sign_in(status) or has_prompt)
        self._sign_in.setVisible(needs_login)
        self._try_again.setVisible(status is None and state is IconState.STOPPED)
        offer = texts.port_offer(status)
        self._use_port.setVisible(offer is not None)
        if offer is not None:
            text, self._port = offer
            self._use_port.setText(text)

    def _state_pixmap(self, state: IconState) -> QPixmap:
        size = round(self.fontMetrics().height() * 1.5)
        ratio = self.devicePixelRatioF()
        image = render(f"icons/tray/{state}.svg", round(size * ratio))
        image.setDevicePixelRatio(ratio)
        return QPixmap.fromImage(image)

    @Slot()
    def _on_use_port(self) -> None:
        self._actions.use_port.emit(self._port)


class LocalAddressRow(QWidget):
    """The row with the local address, the button to copy it, and the button for other devices."""

    def __init__(self, actions: ActionSignals) -> None:
        super().__init__()
        self.setObjectName("address_row")
        self._address = named(QLabel(), "local_address")
        self._address.setTextFormat(Qt.TextFormat.PlainText)
        self._address.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        self._address.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        copy = push_button("copy_address", translate("Window", "Copy"), actions.copy_address)
        copy.setAccessibleDescription(translate("Window", "Copies the local address"))
        devices = push_button(
            "show_devices", translate("Window", "Other devices…"), actions.show_devices
        )
        devices.setAccessibleDescription(
            translate("Window", "Shows which other devices may connect")
        )
        label = QLabel(translate("Window", "Local address"))
        row(self, label, self._address, copy, devices, None)

    def show_status(self, status: Status | None) -> None:
        """Show the address; hide the row while programs cannot connect."""
        self.setVisible(texts.has_address(status))
        if status is not None:
            self._address.setText(status.address)


class NoticeRows(QWidget):
    """The rows with the problem, the notices, the actions for a sign-in page, and a note.

    Rows without content are hidden.
    """

    def __init__(self, actions: ActionSignals) -> None:
        super().__init__()
        self._actions = actions
        self._page_url = ""
        self._notices = plain_label("notices")
        self._note = plain_label("note")
        self._open_page = push_button(
            "open_page_now", translate("Window", "Open sign-in page…"), self._on_open_page
        )
        self._direct_for_now = push_button(
            "direct_for_now", texts.direct_offer(), actions.connect_directly_for_now
        )
        self._undo = push_button(
            "undo_network_switch", translate("Window", "Undo"), actions.undo_network_switch
        )
        buttons = (self._open_page, self._direct_for_now, self._undo)
        column(self, self._notices, row(None, *buttons, None), self._note)
        for widget in (self._notices, *buttons, self._note):
            widget.hide()
        hide_if_empty(self)

    def show_status(self, status: Status) -> None:
        """Show the problem, the notices and the notes about the system proxy of a status."""
        problems = (status.problem, *status.notices)
        lines = [texts.problem_text(problem) for problem in problems if problem is not None]
        lines += texts.system_proxy_notes(status.system_proxy)
        switch = status.network_switch
        if switch is not None:
            title = texts.network_switch_title(status, switch)
            lines.append(f"{title}. {texts.network_switch_reason(switch)}")
        self._undo.setVisible(texts.may_undo(switch))
        show_or_hide(self._notices, "\n".join(lines))
        self._page_url = texts.sign_in_page(status)
        self._open_page.setVisible(bool(self._page_url))
        self._open_page.setToolTip(plain_tooltip(self._page_url))
        self._direct_for_now.setVisible(texts.offers_direct(status))
        hide_if_empty(self)

    def show_note(self, text: str) -> None:
        """Show a note until it is replaced; an empty text hides the note."""
        show_or_hide(self._note, text)
        hide_if_empty(self)

    @Slot()
    def _on_open_page(self) -> None:
        self._actions.open_page.emit(self._page_url)
