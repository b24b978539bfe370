"""Tests for the notifications and the question about the system proxy."""

import signal
from collections.abc import Iterator

import pytest
from msgspec import structs
from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QApplication, QMessageBox, QPushButton
from pytestqt.qtbot import QtBot

from tests.ui.fake_service import STATUS, FakeService, RecordingChannel
from tests.ui.named_widgets import child
from trayproxy.control.messages import (
    Failed,
    GetStatus,
    LeftoverChoice,
    Quit,
    Status,
    SystemProxyState,
    SystemProxyStatus,
    UseSystemProxy,
)
from trayproxy.domain.problem import Problem
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.app import App
from trayproxy.ui.notifications import Notifier
from trayproxy.ui.system_proxy_notice import DETAILS, LEAVE, TAKE_BACK, SystemProxyNotice

LEFTOVER = Problem("TP-605", "The present system proxy does not work", "127.0.0.1:8888. Forget it.")


def with_system_proxy(state: SystemProxyState, value: str = "", **changes: bool) -> Status:
    return structs.replace(
        STATUS, system_proxy=SystemProxyStatus(state, value=value, was_repaired=bool(changes))
    )


ON = with_system_proxy(SystemProxyState.ON)
CHANGED = with_system_proxy(SystemProxyState.CHANGED, "other:8888")
BY_MITMDUMP = structs.replace(
    STATUS,
    system_proxy=SystemProxyStatus(
        SystemProxyState.CHANGED, value="127.0.0.1:8888", program="mitm\u202edump"
    ),
)
OFF_BY_OTHER = with_system_proxy(SystemProxyState.CHANGED)
REPAIRED = with_system_proxy(SystemProxyState.OFF, was_repaired=True)


class NoticeFixture:
    """A `SystemProxyNotice` with a recording channel."""

    def __init__(self, qtbot: QtBot) -> None:
        self.qtbot = qtbot
        self.channel = RecordingChannel()
        self.actions = ActionSignals()
        self.notice = SystemProxyNotice(Notifier(self.channel), self.actions, delay_ms=0)

    def update(self, *statuses: Status | None) -> None:
        for status in statuses:
            self.notice.update(status)
        # Qt runs timers without delay in the order of their start.
        after = QTimer(singleShot=True, interval=0)
        with self.qtbot.waitSignal(after.timeout):
            after.start()

    @property
    def shown(self) -> tuple[str, str]:
        found = self.channel.shown
        return (found.title, found.body) if found is not None else ("", "")


@pytest.fixture
def app(service: FakeService, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    monkeypatch.setattr("trayproxy.ui.shutdown.QCoreApplication.exit", lambda code: None)
    app = App(
        service.connect,
        lambda: None,
        channel=RecordingChannel(),
        page_channel=RecordingChannel(),
        system_proxy_channel=RecordingChannel(),
    )
    app.window.has_tray = True
    with qtbot.waitSignal(app.client.status_changed):
        app.start()
    yield app
    app.close()


@pytest.fixture
def screen(qtbot: QtBot) -> NoticeFixture:
    return NoticeFixture(qtbot)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (CHANGED, "Another program set it to other:8888."),
        (BY_MITMDUMP, "mitmdump set it to 127.0.0.1:8888."),
        (OFF_BY_OTHER, "Another program turned it off."),
    ],
)
def test_a_change_by_another_program_is_told_once(
    screen: NoticeFixture, status: Status, body: str
) -> None:
    screen.update(ON, status)
    assert screen.shown == ("System proxy was changed", body)
    screen.update(status, structs.replace(status, active=7))
    assert screen.channel.posts == 1


def test_the_notification_disappears_with_its_cause(screen: NoticeFixture) -> None:
    screen.update(ON, CHANGED)
    screen.update(ON)
    assert screen.channel.shown is None


def test_a_change_that_is_over_at_once_is_not_reported(screen: NoticeFixture) -> None:
    screen.update(ON, CHANGED, ON)
    assert screen.channel.posts == 0


@pytest.mark.parametrize(("action", "use"), [(TAKE_BACK, True), (LEAVE, False)])
def test_the_notification_offers_both_answers(
    screen: NoticeFixture, action: str, use: bool
) -> None:
    screen.update(ON, CHANGED)
    with screen.qtbot.waitSignal(screen.actions.use_system_proxy) as blocker:
        screen.channel.chosen.emit(action, "")
    assert blocker.args == [UseSystemProxy(use)]


def test_a_repair_at_the_start_is_told_once(screen: NoticeFixture) -> None:
    screen.update(STATUS, REPAIRED, REPAIRED)
    assert screen.shown == (
        "Your network settings were restored",
        "TrayProxy had ended unexpectedly.",
    )
    assert screen.channel.posts == 1
    with screen.qtbot.waitSignal(screen.actions.show_window):
        screen.channel.chosen.emit(DETAILS, "")


@pytest.mark.parametrize(
    ("button", "choice"),
    [("Forget it", LeftoverChoice.FORGET), ("Keep it", LeftoverChoice.KEEP), ("Cancel", None)],
)
def test_a_proxy_that_does_not_work_is_asked_about(
    app: App, service: FakeService, qtbot: QtBot, button: str, choice: LeftoverChoice | None
) -> None:
    service.replies[UseSystemProxy] = lambda _: Failed(LEFTOVER)
    app.actions.use_system_proxy.emit(UseSystemProxy(True))
    qtbot.waitUntil(lambda: bool(app.window.findChildren(QMessageBox)))
    box = child(app.window, QMessageBox, "question")
    assert "127.0.0.1:8888" in box.informativeText()
    service.replies.clear()
    [found] = [found for found in box.buttons() if found.text() == button]
    found.click()
    expected = [UseSystemProxy(True)]
    if choice is not None:
        expected.append(UseSystemProxy(True, leftover=choice))
    qtbot.waitUntil(lambda: service.requests_of(UseSystemProxy) == expected)
    app.window.hide()


# --- The question before TrayProxy quits ---------------------------------------------------------

BUSY = structs.replace(ON, active=3)


def ask_to_quit(app: App, service: FakeService, status: Status) -> None:
    service.replies[GetStatus] = lambda request: status
    service.requests.clear()
    child(app.menu, QAction, "quit").trigger()


@pytest.fixture
def question(app: App, service: FakeService, qtbot: QtBot) -> QMessageBox:
    """The question, asked from the menu."""
    ask_to_quit(app, service, BUSY)
    return wait_for_question(qtbot)


def wait_for_question(qtbot: QtBot) -> QMessageBox:
    found: list[QMessageBox] = []

    def is_active() -> bool:
        window = QApplication.activeWindow()
        found[:] = [window] if isinstance(window, QMessageBox) else []
        return bool(found)

    qtbot.waitUntil(is_active)
    return found[0]


def test_quit_asks_before_it_cuts_connections(question: QMessageBox, service: FakeService) -> None:
    assert question.text() == "Quit TrayProxy?"
    assert question.informativeText() == (
        "3 connections will be cut. Your previous system proxy settings come back."
    )
    assert [button.text() for button in question.buttons()] == ["Quit", "Keep running"]
    assert not service.requests_of(Quit)


def test_a_setting_that_stays_is_named(app: App, service: FakeService, qtbot: QtBot) -> None:
    kept = structs.replace(BUSY.system_proxy, restore_on_quit=False)
    ask_to_quit(app, service, structs.replace(BUSY, active=1, system_proxy=kept))
    assert wait_for_question(qtbot).informativeText() == (
        "1 connection will be cut. The system proxy stays as it is: programs that use it cannot "
        "connect until TrayProxy runs again."
    )


@pytest.mark.parametrize("key", [Qt.Key.Key_Return, Qt.Key.Key_Escape])
def test_the_keys_for_the_usual_answer_keep_trayproxy_running(
    question: QMessageBox, service: FakeService, qtbot: QtBot, key: Qt.Key
) -> None:
    qtbot.keyClick(question, key)
    qtbot.waitUntil(lambda: not question.isVisible())
    assert not service.requests_of(Quit)


def test_the_keyboard_reaches_quit(
    question: QMessageBox, service: FakeService, qtbot: QtBot
) -> None:
    qtbot.keyClick(question, Qt.Key.Key_Tab)
    focused = QApplication.focusWidget()
    assert isinstance(focused, QPushButton)
    assert focused.text() == "Quit"
    qtbot.keyClick(focused, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: bool(service.requests_of(Quit)))


def test_a_second_quit_shows_the_same_question(
    app: App, question: QMessageBox, service: FakeService
) -> None:
    ask_to_quit(app, service, BUSY)
    assert question.isVisible()
    assert not service.requests


@pytest.mark.parametrize(
    "status", [structs.replace(ON, active=0), structs.replace(STATUS, active=3)]
)
def test_quit_asks_only_before_it_cuts_connections_of_the_system_proxy(
    app: App, service: FakeService, qtbot: QtBot, status: Status
) -> None:
    ask_to_quit(app, service, status)
    qtbot.waitUntil(lambda: bool(service.requests_of(Quit)))


def test_quit_does_not_wait_for_a_service_that_does_not_answer(
    app: App, service: FakeService, qtbot: QtBot
) -> None:
    service.replies[GetStatus] = lambda request: None
    child(app.menu, QAction, "quit").trigger()
    qtbot.waitUntil(lambda: bool(service.requests_of(Quit)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_trayproxy_without_a_question(
    app: App, service: FakeService, qtbot: QtBot, number: signal.Signals
) -> None:
    service.replies[GetStatus] = lambda request: BUSY
    app.shutdown.handle_signal(number)
    qtbot.waitUntil(lambda: not app.client.is_open)
    assert not service.requests_of(GetStatus)
