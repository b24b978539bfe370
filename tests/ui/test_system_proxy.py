"""Tests for the notifications and the question about the system proxy."""

from collections.abc import Iterator

import pytest
from msgspec import structs
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QMessageBox
from pytestqt.qtbot import QtBot

from tests.ui.fake_service import STATUS, FakeService, RecordingChannel
from tests.ui.named_widgets import child
from trayproxy.control.messages import (
    Failed,
    LeftoverChoice,
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
def app(service: FakeService, qtbot: QtBot) -> Iterator[App]:
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


def test_a_change_that_is_over_at_once_is_not_told(screen: NoticeFixture) -> None:
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
