"""Tests for trayproxy.ui.service_client and trayproxy.ui.service_supervisor."""

import threading
from collections.abc import Iterator
from typing import cast

import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QSocketNotifier
from pytestqt.qtbot import QtBot

from tests.support.lines import PATIENCE
from tests.ui.service import QUESTION, STATUS, ActingService
from trayproxy.control.client import Client, ThreadedConnector
from trayproxy.control.messages import (
    Done,
    Ending,
    Failed,
    GetStatus,
    PromptClosed,
    Quitting,
    Reply,
    ShowRequested,
)
from trayproxy.ui.service_client import GONE, ServiceClient
from trayproxy.ui.service_supervisor import START_LIMIT_S, ServiceSupervisor


@pytest.fixture
def link(service: ActingService, qtbot: QtBot) -> Iterator[ServiceClient]:
    link = ServiceClient(service.connect)
    yield link
    link.close()


def test_opening_brings_the_status(link: ServiceClient, qtbot: QtBot) -> None:
    with qtbot.waitSignal(link.status_changed) as changed:
        assert link.open()
    assert changed.args == [STATUS]


def test_what_came_is_read_before_qt_reports_the_socket_again(
    link: ServiceClient, service: ActingService, qtbot: QtBot
) -> None:
    # Qt's dispatcher on Windows delivers no queued call before the socket was read.
    assert link.open()
    events: list[str] = []
    link.show_requested.connect(events.append)
    service.send(ShowRequested("token"))
    (notifier,) = link.findChildren(QSocketNotifier)
    QCoreApplication.sendEvent(notifier, QEvent(QEvent.Type.SockAct))
    assert events == ["token"]


def test_there_may_be_no_service(service: ActingService, link: ServiceClient) -> None:
    service.is_running = False
    assert not link.open()
    assert not link.is_open


def test_events_become_signals(service: ActingService, link: ServiceClient, qtbot: QtBot) -> None:
    link.open()
    with qtbot.waitSignals(
        [link.question_changed, link.question_closed, link.show_requested, link.quitting]
    ):
        service.ask(QUESTION)
        service.send(PromptClosed(1, Ending.DECLINED))
        service.send(ShowRequested("token"))
        service.send(Quitting())


def test_a_reply_finds_its_request(
    service: ActingService, link: ServiceClient, qtbot: QtBot
) -> None:
    link.open()
    replies: list[Reply] = []
    link.request(GetStatus(), replies.append)
    qtbot.waitUntil(lambda: bool(replies))
    assert replies == [Done()]


def test_requests_fail_when_the_service_dies(
    service: ActingService, link: ServiceClient, qtbot: QtBot
) -> None:
    link.open()
    service.answers[GetStatus] = lambda _: None
    replies: list[Reply] = []
    link.request(GetStatus(), replies.append)
    with qtbot.waitSignal(link.lost):
        service.die()
    assert replies == [Failed(GONE)]
    assert not link.is_open


def test_a_request_without_a_service_fails_later(link: ServiceClient, qtbot: QtBot) -> None:
    replies: list[Reply] = []
    link.request(GetStatus(), replies.append)
    assert not replies
    qtbot.waitUntil(lambda: bool(replies))
    assert replies == [Failed(GONE)]


class SlowConnect:
    """Connects when the test lets it, as to a port at which nobody listens any more."""

    def __init__(self, service: ActingService) -> None:
        self.may_go_on = threading.Event()
        self._service = service

    def __call__(self) -> Client:
        assert self.may_go_on.wait(PATIENCE)
        # What a window needs of a client, an ActingClient has.
        return cast("Client", self._service.connect())


def test_a_connection_that_takes_time_does_not_stop_the_window(
    service: ActingService, qtbot: QtBot
) -> None:
    connect = SlowConnect(service)
    link = ServiceClient(ThreadedConnector(connect))
    with qtbot.waitSignal(link.status_changed), qtbot.waitSignal(link.opened):
        assert not link.open()
        assert not link.open()
        connect.may_go_on.set()
    assert link.is_open
    assert not link.is_opening
    link.close()


def test_a_service_that_proves_to_be_gone_is_started(service: ActingService, qtbot: QtBot) -> None:
    service.is_running = False
    connect = SlowConnect(service)
    link = ServiceClient(ThreadedConnector(connect))
    starts: list[None] = []

    def start() -> None:
        starts.append(None)
        service.is_running = True

    keeper = ServiceSupervisor(link, start, parent=link)
    keeper.ensure()
    keeper.ensure()
    assert link.is_opening
    assert not starts
    with qtbot.waitSignal(link.opened):
        connect.may_go_on.set()
    assert len(starts) == 1
    link.close()


def test_a_stopped_keeper_starts_nothing_when_the_connection_fails(
    service: ActingService, qtbot: QtBot
) -> None:
    service.is_running = False
    connect = SlowConnect(service)
    link = ServiceClient(ThreadedConnector(connect))
    starts: list[None] = []
    keeper = ServiceSupervisor(link, lambda: starts.append(None), parent=link)
    keeper.ensure()
    keeper.stop()
    with qtbot.waitSignal(link.unreachable):
        connect.may_go_on.set()
    assert not starts


def test_a_keeper_that_may_start_no_more_gives_up_when_the_connection_fails(
    service: ActingService, qtbot: QtBot
) -> None:
    service.is_running = False
    connect = SlowConnect(service)
    link = ServiceClient(ThreadedConnector(connect))
    starts: list[None] = []
    keeper = ServiceSupervisor(link, lambda: starts.append(None), parent=link)
    keeper.ensure()
    assert keeper.start_no_more()
    with qtbot.waitSignal(keeper.gave_up):
        connect.may_go_on.set()
    assert not starts


# --- The keeper ----------------------------------------------------------------------------------


def test_a_service_is_started_when_there_is_none(
    service: ActingService, link: ServiceClient, qtbot: QtBot
) -> None:
    service.is_running = False

    def start() -> None:
        service.is_running = True

    with qtbot.waitSignal(link.opened):
        ServiceSupervisor(link, start, parent=link).ensure()


def test_a_running_service_is_not_started(link: ServiceClient, qtbot: QtBot) -> None:
    starts: list[None] = []
    ServiceSupervisor(link, lambda: starts.append(None), parent=link).ensure()
    assert link.is_open
    assert not starts


def test_a_service_that_died_is_brought_back(
    service: ActingService, link: ServiceClient, qtbot: QtBot
) -> None:
    def start() -> None:
        service.is_running = True

    keeper = ServiceSupervisor(link, start, parent=link)
    keeper.ensure()
    with qtbot.waitSignal(keeper.restarted):
        service.die()
    assert link.is_open


def test_a_connection_lost_without_a_death_is_not_called_a_restart(
    service: ActingService, link: ServiceClient, qtbot: QtBot
) -> None:
    keeper = ServiceSupervisor(link, lambda: None, parent=link)
    keeper.ensure()
    with qtbot.assertNotEmitted(keeper.restarted), qtbot.waitSignal(link.opened):
        service.die()
        service.is_running = True


def test_a_service_that_cannot_be_started_is_tried_again(
    service: ActingService, link: ServiceClient, qtbot: QtBot
) -> None:
    service.is_running = False
    starts: list[None] = []

    def start() -> None:
        starts.append(None)
        if len(starts) == 1:
            raise OSError("no such program")
        service.is_running = True

    with qtbot.waitSignal(link.opened):
        ServiceSupervisor(link, start, parent=link).ensure()
    assert len(starts) == 2


def test_a_stopped_keeper_leaves_the_service_as_it_is(
    service: ActingService, link: ServiceClient, qtbot: QtBot
) -> None:
    starts: list[None] = []
    keeper = ServiceSupervisor(link, lambda: starts.append(None), parent=link)
    keeper.ensure()
    keeper.stop()
    with qtbot.waitSignal(link.lost):
        service.die()
    assert not starts


def test_a_keeper_that_may_start_no_more_connects_to_the_service_that_it_has_started(
    service: ActingService, link: ServiceClient, qtbot: QtBot
) -> None:
    service.is_running = False
    keeper = ServiceSupervisor(link, lambda: None, parent=link)
    keeper.ensure()
    assert keeper.start_no_more()
    with qtbot.waitSignal(link.opened):
        service.is_running = True


def test_a_keeper_that_may_start_no_more_gives_up_a_service_that_does_not_come(
    service: ActingService, link: ServiceClient, qtbot: QtBot
) -> None:
    service.is_running = False
    now = 0.0
    keeper = ServiceSupervisor(link, lambda: None, clock=lambda: now, parent=link)
    keeper.ensure()
    assert keeper.start_no_more()
    with qtbot.waitSignal(keeper.gave_up):
        now = START_LIMIT_S + 1
    assert not keeper.start_no_more()


def test_a_keeper_that_waits_to_start_again_makes_no_connection(
    service: ActingService, link: ServiceClient, qtbot: QtBot
) -> None:
    starts: list[None] = []
    keeper = ServiceSupervisor(link, lambda: starts.append(None), parent=link)
    keeper.ensure()
    with qtbot.waitSignal(link.lost):
        service.die()
    assert not keeper.start_no_more()
    assert not starts
