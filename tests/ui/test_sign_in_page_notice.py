"""Tests for trayproxy.ui.sign_in_page_notice: the notification is shown once, and withdrawn."""

import pytest
from msgspec import structs
from PySide6.QtCore import QTimer
from PySide6.QtGui import QAction
from pytestqt.qtbot import QtBot

from tests.ui.fake_service import STATUS, FakeService, RecordingChannel
from tests.ui.named_widgets import child
from trayproxy.control.icon_state import IconState
from trayproxy.control.messages import NetworkSwitch, Status, SwitchCause, UseProfile
from trayproxy.domain.problem import Problem
from trayproxy.profiles.profile import DIRECT_ID
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.app import App
from trayproxy.ui.menu import TrayMenu
from trayproxy.ui.notifications import Notifier
from trayproxy.ui.sign_in_page_notice import CONNECT_DIRECTLY, OPEN_PAGE, SignInPageNotice
from trayproxy.ui.texts import first_line

URL = "https://portal.example/login?<b>=1"
PAGE = Problem("TP-310", "This network wants you to sign in on its own page", "Open it.", URL)
PAGE_REQUIRED = structs.replace(STATUS, notices=(PAGE,))
TITLE = "This network wants you to sign in on its own page"


class PageNoticeFixture:
    """A `SignInPageNotice` with a recording channel."""

    def __init__(self, delay_ms: int = 0) -> None:
        self.channel = RecordingChannel()
        self.actions = ActionSignals()
        self.notices = SignInPageNotice(Notifier(self.channel), self.actions, delay_ms=delay_ms)

    def update(self, status: Status | None, qtbot: QtBot) -> None:
        self.notices.update(status)
        # Qt runs timers without delay in the order of their start.
        after = QTimer(singleShot=True, interval=0)
        with qtbot.waitSignal(after.timeout):
            after.start()


@pytest.fixture
def screen(qapp: object) -> PageNoticeFixture:
    return PageNoticeFixture()


def test_the_notification_offers_the_page_and_a_direct_connection(
    screen: PageNoticeFixture, qtbot: QtBot
) -> None:
    screen.update(PAGE_REQUIRED, qtbot)
    shown = screen.channel.shown
    assert shown is not None
    assert (shown.title, [key for key, _ in shown.actions]) == (
        TITLE,
        [OPEN_PAGE, CONNECT_DIRECTLY],
    )
    assert [text for _, text in shown.actions] == [
        "Open sign-in page…",
        "Connect directly for 5 minutes",
    ]
    assert "portal" not in shown.title + shown.body  # No text from the network.
    with qtbot.waitSignal(screen.actions.open_page) as opened:
        screen.channel.chosen.emit(OPEN_PAGE, "")
    assert opened.args == [URL]
    with qtbot.waitSignal(screen.actions.connect_directly_for_now):
        screen.channel.chosen.emit(CONNECT_DIRECTLY, "")


def test_the_notification_is_shown_once_and_withdrawn_with_the_page(
    screen: PageNoticeFixture, qtbot: QtBot
) -> None:
    screen.update(PAGE_REQUIRED, qtbot)
    screen.update(structs.replace(PAGE_REQUIRED, received=1), qtbot)
    assert screen.channel.posts == 1
    screen.update(STATUS, qtbot)
    assert screen.channel.shown is None


@pytest.mark.parametrize(
    "status", [STATUS, None, structs.replace(PAGE_REQUIRED, profile=None, direct=True)]
)
def test_a_page_that_disappears_within_the_delay_has_no_notification(
    status: Status | None, qtbot: QtBot
) -> None:
    screen = PageNoticeFixture(delay_ms=60_000)
    screen.notices.update(PAGE_REQUIRED)
    screen.update(status, qtbot)
    assert screen.channel.posts == 0


def test_the_notification_is_shown_while_the_network_causes_direct_connections(
    screen: PageNoticeFixture, qtbot: QtBot
) -> None:
    left = NetworkSwitch(DIRECT_ID, "office", SwitchCause.ELSEWHERE, "Office")
    status = structs.replace(PAGE_REQUIRED, profile=None, direct=True, network_switch=left)
    screen.update(status, qtbot)
    shown = screen.channel.shown
    assert shown is not None
    assert [key for key, _ in shown.actions] == [OPEN_PAGE]


def test_the_notification_is_shown_after_the_screen_is_unlocked(
    screen: PageNoticeFixture, qtbot: QtBot
) -> None:
    screen.update(structs.replace(PAGE_REQUIRED, screen_locked=True), qtbot)
    assert screen.channel.posts == 0
    screen.update(PAGE_REQUIRED, qtbot)
    assert screen.channel.posts == 1


def test_the_menu_offers_to_connect_directly(qtbot: QtBot) -> None:
    actions = ActionSignals()
    menu = TrayMenu(actions)
    row = child(menu, QAction, "direct_for_now")
    menu.update(IconState.OK, STATUS)
    assert not row.isVisible()
    menu.update(IconState.OK, PAGE_REQUIRED)
    assert row.isVisible()
    assert row.text().replace("&", "") == "Connect directly for 5 minutes"
    with qtbot.waitSignal(actions.connect_directly_for_now):
        row.trigger()


def test_the_heading_shows_the_end_of_a_temporary_direct_connection() -> None:
    direct = structs.replace(STATUS, profile=None, direct=True)
    assert first_line(IconState.DIRECT, direct) == "Connecting directly"
    for_now = structs.replace(direct, direct_until=1_796_009_015.0)
    assert first_line(IconState.DIRECT, for_now).startswith("Connecting directly until ")


def test_the_direct_action_requests_five_minutes(service: FakeService, qtbot: QtBot) -> None:
    channel = RecordingChannel()
    app = App(service.connect, lambda: None, channel=RecordingChannel(), page_channel=channel)
    app.start()
    qtbot.waitUntil(lambda: app.client.is_open)
    channel.chosen.emit(CONNECT_DIRECTLY, "")
    qtbot.waitUntil(lambda: UseProfile(DIRECT_ID, 300) in service.requests)
    app.close()
