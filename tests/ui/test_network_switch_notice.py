"""Tests for trayproxy.ui.network_switch_notice, and for the switch in the window."""

import pytest
from msgspec import structs
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QLabel, QPushButton
from pytestqt.qtbot import QtBot

from tests.ui.fake_service import LAB, OFFICE, STATUS, FakeService, RecordingChannel
from tests.ui.named_widgets import child
from trayproxy.control.messages import NetworkSwitch, Status, SwitchCause, UndoNetworkSwitch
from trayproxy.profiles.profile import DIRECT_ID
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.app import App
from trayproxy.ui.network_switch_notice import RECENT_S, UNDO, NetworkSwitchNotice
from trayproxy.ui.notifications import Notifier
from trayproxy.ui.status_rows import NoticeRows

NOW = 1_796_000_000.0


def switched(cause: SwitchCause, fact: str, to: str = LAB.id, previous: str = OFFICE.id) -> Status:
    return structs.replace(STATUS, network_switch=NetworkSwitch(to, previous, cause, fact, NOW))


JOINED = switched(SwitchCause.WIFI, "Branch\u202e-Wi-Fi")
LEFT = switched(SwitchCause.ELSEWHERE, "Office", DIRECT_ID)
LOCKED = structs.replace(JOINED, screen_locked=True)


class SwitchNoticeFixture:
    """A `NetworkSwitchNotice` with a recording channel."""

    def __init__(self, shown_ms: int = 60_000, seconds_later: float = 1.0) -> None:
        self.channel = RecordingChannel()
        self.actions = ActionSignals()
        self.notice = NetworkSwitchNotice(
            Notifier(self.channel), self.actions, shown_ms=shown_ms, now=lambda: NOW + seconds_later
        )

    def update(self, status: Status | None, qtbot: QtBot) -> None:
        self.notice.update(status)
        # Qt runs timers without delay in the order of their start.
        after = QTimer(singleShot=True, interval=0)
        with qtbot.waitSignal(after.timeout):
            after.start()


@pytest.mark.parametrize(
    ("status", "title", "body"),
    [
        (JOINED, "Switched to Lab", "Because you joined “Branch-Wi-Fi”."),
        (LEFT, "Connecting directly", "Because “Office” is not for this network."),
    ],
)
def test_a_switch_is_told_with_its_reason_and_undo(
    status: Status, title: str, body: str, qtbot: QtBot
) -> None:
    screen = SwitchNoticeFixture()
    screen.update(status, qtbot)
    shown = screen.channel.shown
    assert shown is not None
    assert (shown.title, shown.body, shown.actions) == (title, body, ((UNDO, "Undo"),))
    with qtbot.waitSignal(screen.actions.undo_network_switch):
        screen.channel.chosen.emit(UNDO, "")


def test_a_switch_is_told_once_and_withdrawn_after_a_choice_by_hand(qtbot: QtBot) -> None:
    screen = SwitchNoticeFixture()
    screen.update(STATUS, qtbot)
    assert screen.channel.posts == 0
    screen.update(JOINED, qtbot)
    screen.update(structs.replace(JOINED, received=1), qtbot)
    assert screen.channel.posts == 1
    screen.update(STATUS, qtbot)
    assert screen.channel.shown is None


def test_the_notification_closes_by_itself(qtbot: QtBot) -> None:
    screen = SwitchNoticeFixture(shown_ms=0)
    screen.notice.update(JOINED)
    qtbot.waitUntil(lambda: screen.channel.posts == 1 and screen.channel.shown is None)


def test_a_switch_is_told_after_the_screen_is_unlocked(qtbot: QtBot) -> None:
    screen = SwitchNoticeFixture()
    screen.update(LOCKED, qtbot)
    assert screen.channel.posts == 0
    screen.update(JOINED, qtbot)
    assert screen.channel.posts == 1


def test_an_old_switch_is_not_told(qtbot: QtBot) -> None:
    screen = SwitchNoticeFixture(seconds_later=RECENT_S + 1)
    screen.update(JOINED, qtbot)
    assert screen.channel.posts == 0


def test_nothing_can_be_undone_without_an_earlier_choice(qtbot: QtBot) -> None:
    screen = SwitchNoticeFixture()
    screen.update(switched(SwitchCause.VPN, "tun0", previous=""), qtbot)
    assert screen.channel.shown is not None
    assert screen.channel.shown.actions == ()


def test_the_window_keeps_the_reason_and_undo(qtbot: QtBot) -> None:
    actions = ActionSignals()
    rows = NoticeRows(actions)
    qtbot.addWidget(rows)
    button = child(rows, QPushButton, "undo_network_switch")
    rows.show_status(STATUS)
    assert button.isHidden()
    rows.show_status(JOINED)
    assert "Because you joined “Branch-Wi-Fi”." in child(rows, QLabel, "notices").text()
    with qtbot.waitSignal(actions.undo_network_switch):
        button.click()


def test_undo_is_requested_from_the_service(service: FakeService, qtbot: QtBot) -> None:
    channel = RecordingChannel()
    app = App(service.connect, lambda: None, channel=RecordingChannel(), network_channel=channel)
    app.start()
    qtbot.waitUntil(lambda: app.client.is_open)
    channel.chosen.emit(UNDO, "")
    qtbot.waitUntil(lambda: UndoNetworkSwitch() in service.requests)
    app.close()
