"""Tests for the dialog with the other devices that may connect."""

from collections.abc import Callable, Iterator
from typing import cast

import pytest
from msgspec.structs import replace
from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QApplication, QCheckBox, QLineEdit, QMessageBox, QPushButton
from pytestqt.qtbot import QtBot

from tests.ui.named_widgets import child, label
from trayproxy.control.messages import (
    ChangeListeners,
    Done,
    Failed,
    FurtherListener,
    ListenerKind,
    ListenerState,
    Reply,
    Request,
    Status,
)
from trayproxy.domain.problem import Problem
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.device_actions import DeviceActions
from trayproxy.ui.devices_dialog import DevicesDialog
from trayproxy.ui.service_client import ServiceClient

STATUS = Status("0.1.0", 1, ListenerState.UP, "127.0.0.1:3128", devices=("192.168.1.0/24",))


class DialogUser:
    """A user of the dialog, and the settings that the user has confirmed."""

    def __init__(self, dialog: DevicesDialog) -> None:
        self.dialog = dialog
        self.confirmed: list[ChangeListeners] = []
        dialog.confirmed.connect(self.confirmed.append)

    def save(self, devices: str) -> None:
        child(self.dialog, QLineEdit, "allowed_devices").setText(devices)
        child(self.dialog, QPushButton, "save_devices").click()

    @property
    def message(self) -> str:
        return label(self.dialog, "devices_message")

    def answer(self, text: str) -> str:
        """Choose a button of the question, and return the text of the question."""
        box = child(self.dialog, QMessageBox, "devices_question")
        (button,) = [one for one in box.buttons() if one.text() == text]
        risk = box.informativeText()
        button.click()
        return risk


@pytest.fixture
def user(qtbot: QtBot) -> Iterator[DialogUser]:
    dialog = DevicesDialog()
    qtbot.addWidget(dialog)
    dialog.present(STATUS)
    yield DialogUser(dialog)
    dialog.hide()


def test_new_devices_are_saved_after_the_risk_is_confirmed(user: DialogUser) -> None:
    assert child(user.dialog, QLineEdit, "allowed_devices").text() == "192.168.1.0/24"
    user.save("192.168.1.0/24, 10.0.0.7 10.8.0.1/24")
    assert not user.confirmed
    assert user.answer("Keep it private").startswith("Everyone who can reach this computer")
    assert not user.confirmed
    user.save("192.168.1.0/24, 10.0.0.7 10.8.0.1/24")
    assert user.answer("Allow these").endswith("addresses: 10.0.0.7, 10.8.0.0/24")
    assert user.confirmed == [
        ChangeListeners(devices=("192.168.1.0/24", "10.0.0.7", "10.8.0.0/24"), containers=False)
    ]


def test_removed_devices_and_containers_are_saved_without_a_question(user: DialogUser) -> None:
    child(user.dialog, QCheckBox, "containers").setChecked(True)
    user.save("")
    assert user.confirmed == [ChangeListeners(devices=(), containers=True)]


@pytest.mark.parametrize(
    ("typed", "reason"), [("printer", "such as 10.0.0.7"), ("0.0.0.0/0", "every address")]
)
def test_a_mistake_is_explained_below_the_input(user: DialogUser, typed: str, reason: str) -> None:
    user.save(typed)
    assert reason in user.message
    assert not user.confirmed
    user.save("")
    assert user.message == ""


def test_the_addresses_and_problems_of_the_service_are_shown(user: DialogUser) -> None:
    problem = Problem("TP-113", "Port 3128 is taken", "nc uses it.")
    status = replace(
        STATUS,
        listeners=(
            FurtherListener(ListenerKind.DEVICES, "192.168.1.5:3128", "192.168.1.0/24"),
            FurtherListener(ListenerKind.DEVICES, "10.0.0.1:3128", "192.168.1.0/24", problem),
            FurtherListener(ListenerKind.FORWARD, "127.0.0.1:2222", "git.example:22"),
        ),
    )
    child(user.dialog, QLineEdit, "allowed_devices").setText("10.0.0.7")
    user.dialog.show_status(status)
    shown = label(user.dialog, "device_addresses").splitlines()
    assert shown[1] == "192.168.1.5:3128"
    assert "Port 3128 is taken" in shown[2]
    assert len(shown) == 3
    assert child(user.dialog, QLineEdit, "allowed_devices").text() == "10.0.0.7"
    user.dialog.show_problem(problem)
    assert "nc uses it. (TP-113)" in user.message


class FakeServiceClient(QObject):
    """Collects the requests to the service, and answers them with a reply."""

    status_changed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.reply: Reply = Done()

    def request(self, request: Request, on_reply: Callable[[Reply], None]) -> None:
        self.requests.append(request)
        on_reply(self.reply)


def test_the_settings_are_saved_through_the_service(qtbot: QtBot) -> None:
    service, actions = FakeServiceClient(), ActionSignals()
    devices = DeviceActions(cast(ServiceClient, service), actions)
    actions.show_devices.emit()
    assert opened() is None
    service.status_changed.emit(STATUS)
    actions.show_devices.emit()
    dialog = opened()
    assert dialog is not None
    service.reply = Failed(Problem("TP-802", "The settings could not be saved", "Full."))
    child(dialog, QLineEdit, "allowed_devices").clear()
    child(dialog, QPushButton, "save_devices").click()
    assert "Full. (TP-802)" in label(dialog, "devices_message")
    service.reply = Done()
    child(dialog, QPushButton, "save_devices").click()
    assert service.requests[-1] == ChangeListeners(devices=(), containers=False)
    assert opened() is None
    devices.close()


def opened() -> DevicesDialog | None:
    """Return the dialog that is shown; None without one."""
    widgets = QApplication.topLevelWidgets()
    shown = (one for one in widgets if isinstance(one, DevicesDialog) and one.isVisible())
    return next(shown, None)
