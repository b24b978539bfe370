"""Tests for trayproxy.ui.service_client and trayproxy.ui.service_supervisor."""

from collections.abc import Iterator

import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QSocketNotifier
from pytestqt.qtbot import QtBot

from tests.ui.fake_service import PROMPT, STATUS, BlockedConnect, FakeService
from trayproxy.control.client import ThreadedConnector
from trayproxy.control.messages import (
    Done,
    Failed,
    GetStatus,
    PromptClosed,
    Quitting,
    Reply,
    ShowRequested,
)
from trayproxy.domain.signin import Ending
from trayproxy.ui.service_client import SERVICE_LOST, ServiceClient
from trayproxy.ui.service_supervisor import START_TIMEOUT_S, ServiceSupervisor


@pytest.fixture
def client(service: FakeService, qtbot: QtBot) -> Iterator[ServiceClient]:
    client = ServiceClient(service.connect)
    yield client
    client.close()


def test_opening_emits_the_status(client: ServiceClient, qtbot: QtBot) -> None:
    with qtbot.waitSignal(client.status_changed) as changed:
        assert client.open()
    assert changed.args == [STATUS]


def test_messages_are_read_in_the_slot_of_the_socket_notifier(
    client: ServiceClient, service: FakeService
) -> None:
    # Qt's dispatcher on Windows delivers no queued call before the socket was read.
    assert client.open()
    events: list[str] = []
    client.show_requested.connect(events.append)
    service.send(ShowRequested("token"))
    (notifier,) = client.findChildren(QSocketNotifier)
    QCoreApplication.sendEvent(notifier, QEvent(QEvent.Type.SockAct))
    assert events == ["token"]


def test_open_returns_false_without_a_service(service: FakeService, client: ServiceClient) -> None:
    service.is_running = False
    assert not client.open()
    assert not client.is_open


def test_events_become_signals(service: FakeService, client: ServiceClient, qtbot: QtBot) -> None:
    client.open()
    with qtbot.waitSignals(
        [client.prompt_changed, client.prompt_closed, client.show_requested, client.quitting]
    ):
        service.open_prompt(PROMPT)
        service.send(PromptClosed(1, Ending.DECLINED))
        service.send(ShowRequested("token"))
        service.send(Quitting())


def test_a_reply_is_passed_to_its_callback(
    service: FakeService, client: ServiceClient, qtbot: QtBot
) -> None:
    client.open()
    replies: list[Reply] = []
    client.request(GetStatus(), replies.append)
    qtbot.waitUntil(lambda: bool(replies))
    assert replies == [Done()]


def test_requests_fail_when_the_connection_is_lost(
    service: FakeService, client: ServiceClient, qtbot: QtBot
) -> None:
    client.open()
    service.replies[GetStatus] = lambda _: None
    replies: list[Reply] = []
    client.request(GetStatus(), replies.append)
    with qtbot.waitSignal(client.lost):
        service.crash()
    assert replies == [Failed(SERVICE_LOST)]
    assert not client.is_open


def test_a_request_without_a_connection_fails_asynchronously(
    client: ServiceClient, qtbot: QtBot
) -> None:
    replies: list[Reply] = []
    client.request(GetStatus(), replies.append)
    assert not replies
    qtbot.waitUntil(lambda: bool(replies))
    assert replies == [Failed(SERVICE_LOST)]


@pytest.fixture
def connect(service: FakeService) -> BlockedConnect:
    return BlockedConnect(service)


@pytest.fixture
def slow_client(connect: BlockedConnect, qtbot: QtBot) -> Iterator[ServiceClient]:
    client = ServiceClient(ThreadedConnector(connect))
    yield client
    client.close()


def supervised(client: ServiceClient, service: FakeService) -> ServiceSupervisor:
    """Return the supervisor of a client after its first attempt to connect."""
    supervisor = ServiceSupervisor(client, service.start, parent=client)
    supervisor.ensure_running()
    return supervisor


def test_a_slow_connection_attempt_does_not_block(
    connect: BlockedConnect, slow_client: ServiceClient, qtbot: QtBot
) -> None:
    with qtbot.waitSignals([slow_client.status_changed, slow_client.opened]):
        assert not slow_client.open()
        assert not slow_client.open()
        connect.is_released.set()
    assert slow_client.is_open
    assert not slow_client.is_opening


def test_the_service_is_started_after_a_slow_attempt_fails(
    service: FakeService, connect: BlockedConnect, slow_client: ServiceClient, qtbot: QtBot
) -> None:
    service.is_running = False
    supervised(slow_client, service).ensure_running()
    assert slow_client.is_opening
    assert service.starts == 0
    with qtbot.waitSignal(slow_client.opened):
        connect.is_released.set()
    assert service.starts == 1


def test_a_stopped_supervisor_does_not_start_the_service(
    service: FakeService, connect: BlockedConnect, slow_client: ServiceClient, qtbot: QtBot
) -> None:
    service.is_running = False
    supervised(slow_client, service).stop()
    with qtbot.waitSignal(slow_client.unreachable):
        connect.is_released.set()
    assert service.starts == 0


def test_after_stop_starting_a_failed_attempt_gives_up(
    service: FakeService, connect: BlockedConnect, slow_client: ServiceClient, qtbot: QtBot
) -> None:
    service.is_running = False
    supervisor = supervised(slow_client, service)
    assert supervisor.stop_starting()
    with qtbot.waitSignal(supervisor.gave_up):
        connect.is_released.set()
    assert service.starts == 0


# --- ServiceSupervisor ---------------------------------------------------------------------------


def test_the_service_is_started_if_it_is_not_running(
    service: FakeService, client: ServiceClient, qtbot: QtBot
) -> None:
    service.is_running = False
    with qtbot.waitSignal(client.opened):
        supervised(client, service)


def test_a_running_service_is_not_started(service: FakeService, client: ServiceClient) -> None:
    supervised(client, service)
    assert client.is_open
    assert service.starts == 0


def test_a_crashed_service_is_restarted(
    service: FakeService, client: ServiceClient, qtbot: QtBot
) -> None:
    with qtbot.waitSignal(supervised(client, service).restarted):
        service.crash()
    assert client.is_open


def test_a_reconnection_without_a_start_is_no_restart(
    service: FakeService, client: ServiceClient, qtbot: QtBot
) -> None:
    supervisor = supervised(client, service)
    with qtbot.assertNotEmitted(supervisor.restarted), qtbot.waitSignal(client.opened):
        service.crash()
        service.is_running = True


def test_a_failed_start_is_retried(
    service: FakeService, client: ServiceClient, qtbot: QtBot
) -> None:
    service.is_running = False

    def start() -> None:
        service.start()
        if service.starts == 1:
            service.is_running = False
            raise OSError("no such program")

    with qtbot.waitSignal(client.opened):
        ServiceSupervisor(client, start, parent=client).ensure_running()
    assert service.starts == 2


@pytest.mark.parametrize("moment", ["before the start", "while it starts", "later"])
def test_a_service_that_was_told_to_quit_is_not_started_again(
    service: FakeService, client: ServiceClient, qtbot: QtBot, moment: str
) -> None:
    """Another front end has told it to; no event has reached this one."""
    service.is_running, service.can_start = moment == "later", False
    has_quit = moment == "before the start"
    supervisor = ServiceSupervisor(client, service.start, lambda: has_quit, parent=client)
    with qtbot.waitSignal(supervisor.quit):
        supervisor.ensure_running()
        has_quit = True
        if moment == "later":
            service.crash()
    assert service.starts == (1 if moment == "while it starts" else 0)
    supervisor.ensure_running()
    assert not client.is_open


def test_a_stopped_supervisor_does_not_restart_the_service(
    service: FakeService, client: ServiceClient, qtbot: QtBot
) -> None:
    supervised(client, service).stop()
    with qtbot.waitSignal(client.lost):
        service.crash()
    assert service.starts == 0


def test_after_stop_starting_the_started_service_is_connected(
    service: FakeService, client: ServiceClient, qtbot: QtBot
) -> None:
    service.is_running = service.can_start = False
    assert supervised(client, service).stop_starting()
    with qtbot.waitSignal(client.opened):
        service.is_running = True


def test_after_stop_starting_a_start_that_times_out_gives_up(
    service: FakeService, client: ServiceClient, qtbot: QtBot
) -> None:
    service.is_running = service.can_start = False
    now = 0.0
    supervisor = ServiceSupervisor(client, service.start, clock=lambda: now, parent=client)
    supervisor.ensure_running()
    assert supervisor.stop_starting()
    with qtbot.waitSignal(supervisor.gave_up):
        now = START_TIMEOUT_S + 1
    assert not supervisor.stop_starting()


def test_stop_starting_returns_false_during_the_back_off(
    service: FakeService, client: ServiceClient, qtbot: QtBot
) -> None:
    supervisor = supervised(client, service)
    with qtbot.waitSignal(client.lost):
        service.crash()
    assert not supervisor.stop_starting()
    assert service.starts == 0
