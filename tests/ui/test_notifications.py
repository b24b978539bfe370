"""Tests for trayproxy.ui.notifications with a notification service on a real session bus."""

from collections.abc import Iterator

import pytest
from pytestqt.qtbot import QtBot

from tests.support.bus import session_bus
from tests.support.processes import Home
from tests.support.tray_host import NotificationService, ShownNotification
from tests.ui.fake_service import PROMPT
from trayproxy.ui.notifications import DesktopNotifications, Notification, Notifier
from trayproxy.ui.prompts import notification_for

NOTIFICATION = notification_for(PROMPT)


@pytest.fixture
def bus(place: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with session_bus(place) as address:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
        yield address


@pytest.fixture
def server(bus: str) -> Iterator[NotificationService]:
    with NotificationService(bus, ("actions", "body")) as service:
        yield service


@pytest.fixture
def channel(bus: str, qtbot: QtBot) -> Iterator[DesktopNotifications]:
    channel = DesktopNotifications()
    yield channel
    channel.close()


def shown(server: NotificationService, qtbot: QtBot) -> ShownNotification:
    qtbot.waitUntil(lambda: bool(server.open))
    return server.open[-1]


def test_a_notification_is_sent_with_its_content_and_hints(
    server: NotificationService, channel: DesktopNotifications, qtbot: QtBot
) -> None:
    channel.post(NOTIFICATION)
    shown_notification = shown(server, qtbot)
    assert shown_notification.title == "Sign-in needed for Office"
    assert shown_notification.body == "git (4312) and 3 others are waiting."
    assert shown_notification.actions == (
        "default", "Sign in…", "sign-in", "Sign in…", "not-now", "Not now",
    )  # fmt: skip
    assert shown_notification.hints == {
        "desktop-entry": "io.github.trayproxy.TrayProxy",
        "urgency": 1,
        "resident": True,
        "suppress-sound": True,
    }
    assert shown_notification.expires == 0


def test_a_second_notification_replaces_the_first(
    server: NotificationService, channel: DesktopNotifications, qtbot: QtBot
) -> None:
    channel.post(NOTIFICATION)
    first = shown(server, qtbot)
    qtbot.waitUntil(lambda: channel.is_shown)
    channel.post(Notification("Other", "Text.", NOTIFICATION.actions))
    qtbot.waitUntil(lambda: len(server.all) == 2)
    assert server.all[1].replaces == first.number


def test_a_notification_is_withdrawn(
    server: NotificationService, channel: DesktopNotifications, qtbot: QtBot
) -> None:
    channel.post(NOTIFICATION)
    shown(server, qtbot)
    channel.withdraw()
    qtbot.waitUntil(lambda: not server.open)


def test_a_notification_withdrawn_before_it_has_an_id_is_removed(
    server: NotificationService, channel: DesktopNotifications, qtbot: QtBot
) -> None:
    channel.post(NOTIFICATION)
    channel.withdraw()
    channel.post(NOTIFICATION)
    qtbot.waitUntil(lambda: channel.is_shown)
    channel.post(NOTIFICATION)
    channel.withdraw()
    qtbot.waitUntil(lambda: not server.open)


@pytest.mark.parametrize(
    ("clicked", "expected"),
    [("default", "sign-in"), ("sign-in", "sign-in"), ("not-now", "not-now")],
)
def test_an_action_is_emitted_with_its_token(
    clicked: str,
    expected: str,
    server: NotificationService,
    channel: DesktopNotifications,
    qtbot: QtBot,
) -> None:
    channel.post(NOTIFICATION)
    shown_notification = shown(server, qtbot)
    qtbot.waitUntil(lambda: channel.is_shown)
    with qtbot.waitSignal(channel.chosen) as chosen:
        server.choose(shown_notification, clicked, token="wayland-token")
    assert chosen.args == [expected, "wayland-token"]


def test_a_server_without_actions_gets_no_actions(
    bus: str, channel: DesktopNotifications, qtbot: QtBot
) -> None:
    with NotificationService(bus, ("body",)) as server:
        channel.post(NOTIFICATION)
        assert shown(server, qtbot).actions == ()


def test_markup_is_escaped_for_a_server_with_body_markup(
    bus: str, channel: DesktopNotifications, qtbot: QtBot
) -> None:
    with NotificationService(bus, ("body", "body-markup")) as server:
        channel.post(Notification("<b>", "<b>git</b> & co", ()))
        shown_notification = shown(server, qtbot)
        assert shown_notification.body == "&lt;b&gt;git&lt;/b&gt; &amp; co"
        assert shown_notification.title == "<b>"


def test_a_desktop_without_a_notification_service_raises_no_error(
    channel: DesktopNotifications,
) -> None:
    channel.post(NOTIFICATION)
    channel.withdraw()


def test_a_session_without_a_bus_raises_no_error(
    channel: DesktopNotifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    channel.post(NOTIFICATION)


def test_a_closed_bus_raises_no_error(place: Home, qtbot: QtBot, bus: str) -> None:
    channel = DesktopNotifications()
    with NotificationService(bus, ("body",)) as server:
        channel.post(NOTIFICATION)
        shown(server, qtbot)
    channel.close()
    channel.post(NOTIFICATION)
    channel.close()


def test_a_notification_waits_for_the_interval(
    server: NotificationService, channel: DesktopNotifications, qtbot: QtBot
) -> None:
    now = [0.0]
    notifier = Notifier(channel, clock=lambda: now[0])
    notifier.notify(NOTIFICATION)
    shown(server, qtbot)
    notifier.withdraw()
    qtbot.waitUntil(lambda: not server.open)
    now[0] = 59.95
    notifier.notify(Notification("Other", "Text.", NOTIFICATION.actions))
    assert len(server.all) == 1
    now[0] = 60.1
    qtbot.waitUntil(lambda: len(server.all) == 2)
