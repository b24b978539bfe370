"""The dialog with the other devices that may connect (ux §3.3, §5.3)."""

import re

from PySide6.QtCore import QCoreApplication, Qt, Signal, Slot
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QCheckBox, QLabel, QLineEdit, QMessageBox, QVBoxLayout, QWidget

from trayproxy.control.messages import ChangeListeners, Status
from trayproxy.control.texts import DEVICES_RISK_TEXT
from trayproxy.domain.problem import Problem
from trayproxy.profiles.listener_checks import check_devices
from trayproxy.profiles.profile import ProfileError
from trayproxy.ui import texts
from trayproxy.ui.text_sanitizer import clean
from trayproxy.ui.widgets import (
    add_parts,
    announce,
    bring_to_front,
    named,
    plain_label,
    push_button,
    row,
    show_or_hide,
)

translate = QCoreApplication.translate

_Role = QMessageBox.ButtonRole


class DevicesDialog(QWidget):
    """The list of allowed devices, and the switch for containers.

    Signals:
        confirmed(ChangeListeners): The user has entered these settings, and confirmed the risk.
    """

    confirmed = Signal(object)

    def __init__(self) -> None:
        """Build the dialog, hidden and empty."""
        super().__init__()
        self._devices: tuple[str, ...] = ()
        self._question: QMessageBox | None = None
        self.setObjectName("devices_dialog")
        self.setWindowTitle(translate("Devices", "Other devices"))
        self._list = named(QLineEdit(), "allowed_devices")
        self._list.setPlaceholderText(translate("Devices", "for example 192.168.1.20, 10.8.0.0/24"))
        self._list.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        label = QLabel(translate("Devices", "Devices that may connect, by their &addresses:"))
        label.setBuddy(self._list)
        self._containers = named(
            QCheckBox(translate("Devices", "Containers and WSL on this computer may connect")),
            "containers",
        )
        self._addresses = plain_label("device_addresses")
        self._message = plain_label("devices_message")
        self._save = push_button("save_devices", translate("Devices", "Save"), self._on_save)
        cancel = push_button("cancel_devices", translate("Devices", "Cancel"), self.close)
        buttons = row(None, None, self._save, cancel)
        parts = (label, self._list, self._containers, self._addresses, self._message, buttons)
        add_parts(QVBoxLayout(self), *parts)
        self._message.hide()
        self._list.returnPressed.connect(self._on_save)
        QShortcut(QKeySequence(Qt.Key.Key_Escape), self).activated.connect(self.close)
        self.resize(self.fontMetrics().averageCharWidth() * 70, self.sizeHint().height())

    def present(self, status: Status) -> None:
        """Show the settings of the running service."""
        if not self.isVisible():
            self._list.setText(", ".join(status.devices))
            self._containers.setChecked(status.containers)
            self.show_message("")
        self.show_status(status)
        bring_to_front(self)
        self._list.setFocus()

    def show_status(self, status: Status) -> None:
        """Show at which addresses the devices connect; the input of the user is kept."""
        self._devices = status.devices
        lines = [
            texts.problem_text(one.problem) if one.problem is not None else one.address
            for one in status.listeners
            if one.kind != "forward"
        ]
        heading = translate("Devices", "Addresses of this computer for them:")
        show_or_hide(self._addresses, "\n".join([heading, *map(clean, lines)]) if lines else "")

    def show_problem(self, problem: Problem) -> None:
        """Show why the settings were not saved."""
        self.show_message(texts.problem_text(problem))

    def show_message(self, text: str) -> None:
        """Show a text until it is replaced; an empty text hides it."""
        show_or_hide(self._message, text)
        if text:
            announce(self, text, assertive=True)

    @Slot()
    def _on_save(self) -> None:
        try:
            devices = check_devices(filter(None, re.split(r"[,;\s]+", self._list.text())))
        except ProfileError as error:
            self.show_message(str(error))
            self._list.setFocus()
            return
        self.show_message("")
        change = ChangeListeners(devices=devices, containers=self._containers.isChecked())
        added = [device for device in devices if device not in self._devices]
        if added:
            self._ask(change, added)
        else:
            self.confirmed.emit(change)

    def _ask(self, change: ChangeListeners, added: list[str]) -> None:
        """Show the risk of the added devices, and save them if the user allows them."""
        if self._question is not None:
            self._question.deleteLater()
        box = self._question = named(QMessageBox(self), "devices_question")
        box.setIcon(QMessageBox.Icon.Warning)
        box.setTextFormat(Qt.TextFormat.PlainText)
        box.setText(translate("Devices", "Let other devices use TrayProxy?"))
        risk = translate("Devices", DEVICES_RISK_TEXT)
        box.setInformativeText(risk.format(addresses=", ".join(added)))
        allow = box.addButton(translate("Devices", "Allow these"), _Role.AcceptRole)
        keep = box.addButton(translate("Devices", "Keep it private"), _Role.RejectRole)
        box.setDefaultButton(keep)
        box.setEscapeButton(keep)
        allow.clicked.connect(lambda: self.confirmed.emit(change))
        box.open()
