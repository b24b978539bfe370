"""Tests for trayproxy.ui.app: user actions and events, with a fake service."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from msgspec import structs
from PySide6.QtGui import QAction, QGuiApplication
from PySide6.QtWidgets import QLineEdit
from pytestqt.qtbot import QtBot

from tests.ui.fake_service import (
    NEEDED,
    OFFICE,
    PROMPT,
    STATUS,
    BlockedConnect,
    FakeService,
    RecordingChannel,
)
from tests.ui.named_widgets import child, label, press
from trayproxy.control.client import ThreadedConnector
from trayproxy.control.messages import (
    CheckProfile,
    CheckResult,
    DeleteProfile,
    Failed,
    ForgetLogin,
    GetStatus,
    Quit,
    Quitting,
    SaveProfile,
    ShowRequested,
    SignInNow,
    UseProfile,
)
from trayproxy.domain.problem import Problem
from trayproxy.profiles.profile import DIRECT_ID, SignIn
from trayproxy.ui.app import App

REFUSED = Failed(Problem("TP-805", "There is no such profile any more", "Choose another one."))


@pytest.fixture
def app(service: FakeService, qtbot: QtBot) -> Iterator[App]:
    app = App(service.connect, service.start, channel=RecordingChannel())
    app.window.has_tray = True
    app.start()
    qtbot.waitUntil(lambda: label(app.window, "local_address") == "127.0.0.1:3128")
    yield app
    app.close()


@pytest.fixture
def exit_codes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the codes with which the program has exited."""
    codes: list[int] = []
    monkeypatch.setattr("trayproxy.ui.shutdown.QCoreApplication.exit", codes.append)
    return codes


def row(app: App, name: str) -> QAction:
    return child(app.menu, QAction, name)


def heading(app: App) -> str:
    return row(app, "heading").text()


def test_the_state_is_shown_in_menu_and_window(app: App, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: heading(app) == "Office — connected as CORP\\jdoe")
    assert label(app.window, "state").startswith("Office — connected as CORP\\jdoe")


def test_the_address_row_copies_the_address(app: App) -> None:
    row(app, "address").trigger()
    assert QGuiApplication.clipboard().text() == "127.0.0.1:3128"


def test_a_profile_row_activates_the_profile(app: App, service: FakeService) -> None:
    row(app, "profile_lab").trigger()
    assert service.requests == [UseProfile("lab")]


def test_a_middle_click_toggles_the_direct_connection(
    app: App, service: FakeService, qtbot: QtBot
) -> None:
    app.actions.toggle_direct.emit()
    assert service.requests == [UseProfile(DIRECT_ID)]
    service.set_status(structs.replace(NEEDED, profile=None, direct=True))
    qtbot.waitUntil(lambda: "irectly" in heading(app))
    app.actions.toggle_direct.emit()
    assert service.requests[-1] == UseProfile("office")


def test_a_failed_request_shows_its_problem(app: App, service: FakeService, qtbot: QtBot) -> None:
    service.replies[UseProfile] = lambda _: REFUSED
    row(app, "profile_lab").trigger()
    qtbot.waitUntil(lambda: "TP-805" in label(app.window, "message"))
    assert app.window.isVisible()
    office = row(app, "profile_office")
    assert office.isChecked()


def test_the_row_about_the_other_address_of_localhost_opens_the_window(
    app: App, service: FakeService, qtbot: QtBot
) -> None:
    taken = Problem("TP-110", "nc of user nobody listens on [::1]:3128", "End it.")
    service.set_status(structs.replace(STATUS, notices=(taken,)))
    qtbot.waitUntil(lambda: "TP-110" in label(app.window, "notices"))
    assert not app.window.isVisible()
    row(app, "warning").trigger()
    assert app.window.isVisible()
    app.window.close()


def test_sign_in_row_sends_sign_in_now(app: App, service: FakeService, qtbot: QtBot) -> None:
    service.set_status(NEEDED)
    qtbot.waitUntil(lambda: "needed" in heading(app))
    row(app, "sign_in").trigger()
    assert service.requests == [SignInNow("office")]


def test_sign_in_with_sso_shows_the_window_with_the_problem(
    app: App, service: FakeService, qtbot: QtBot
) -> None:
    expired = Problem("TP-305", "Your Kerberos ticket has expired", "Sign in again.")
    own = replace(OFFICE, sign_in=SignIn.SSO)
    service.set_status(structs.replace(NEEDED, profile=own, profiles=(own,), notices=(expired,)))
    qtbot.waitUntil(lambda: "needed" in heading(app))
    row(app, "sign_in").trigger()
    assert service.requests == [SignInNow("office")]
    assert app.window.isVisible()
    app.window.close()


def test_sign_in_row_presents_the_open_prompt(app: App, service: FakeService, qtbot: QtBot) -> None:
    service.open_prompt(PROMPT)
    qtbot.waitUntil(lambda: app.prompts.dialog is not None)
    row(app, "sign_in").trigger()
    assert not service.requests


def test_a_click_presents_the_open_prompt_instead_of_the_window(
    app: App, service: FakeService, qtbot: QtBot
) -> None:
    service.open_prompt(PROMPT)
    qtbot.waitUntil(lambda: app.prompts.dialog is not None)
    app.tray.primary_activated.emit()
    assert not app.window.isVisible()


def test_a_click_shows_and_hides_the_window(app: App, qtbot: QtBot) -> None:
    app.tray.primary_activated.emit()
    qtbot.waitUntil(app.window.isActiveWindow)
    app.tray.primary_activated.emit()
    assert not app.window.isVisible()


def test_the_first_saved_profile_is_activated(service: FakeService, qtbot: QtBot) -> None:
    service.status = structs.replace(STATUS, profile=None, profiles=())
    app = App(service.connect, lambda: None, channel=RecordingChannel())
    app.window.has_tray = True
    app.start()
    qtbot.waitUntil(app.window.isVisible)
    host = child(app.window, QLineEdit, "host")
    qtbot.keyClicks(host, "proxy.corp.example:8080")
    press(app.window, "save")
    qtbot.waitUntil(lambda: bool(service.requests_of(UseProfile)))
    [saved] = service.requests_of(SaveProfile)
    assert service.requests_of(UseProfile) == [UseProfile(saved.profile.id)]
    app.close()


def test_a_profile_that_cannot_be_saved_keeps_the_input(
    app: App, service: FakeService, qtbot: QtBot
) -> None:
    service.replies[SaveProfile] = lambda _: REFUSED
    app.show_window()
    name = child(app.window, QLineEdit, "name")
    name.selectAll()
    qtbot.keyClicks(name, "Head office")
    press(app.window, "save")
    qtbot.waitUntil(lambda: "TP-805" in label(app.window, "message"))
    assert name.text() == "Head office"


def test_a_profile_is_deleted_with_its_password(app: App, service: FakeService) -> None:
    app.actions.delete_profile.emit(DeleteProfile("lab", forget=True))
    assert service.requests == [DeleteProfile("lab", forget=True)]


def test_the_test_button_sends_a_check_request(
    app: App, service: FakeService, qtbot: QtBot
) -> None:
    service.replies[CheckProfile] = lambda _: CheckResult(())
    app.show_window()
    press(app.window, "test")
    assert service.requests == [CheckProfile(OFFICE)]
    qtbot.waitUntil(lambda: label(app.window, "verdict") == "All good.")


def test_forget_password_sends_forget_login(app: App, service: FakeService, qtbot: QtBot) -> None:
    app.show_window()
    press(app.window, "forget_password")
    qtbot.waitUntil(lambda: label(app.window, "message") == "The saved password was removed.")
    assert service.requests == [ForgetLogin("office")]


def test_show_requested_shows_the_window(app: App, service: FakeService, qtbot: QtBot) -> None:
    service.send(ShowRequested())
    qtbot.waitUntil(app.window.isVisible)


def test_a_crashed_service_is_shown_and_restarted(
    app: App, service: FakeService, qtbot: QtBot
) -> None:
    service.crash()
    qtbot.waitUntil(lambda: heading(app) == "Starting…")
    qtbot.waitUntil(lambda: heading(app).startswith("Office"))
    assert "TP-901" in label(app.window, "note")


@pytest.mark.parametrize("how", ["quit", "quitting"])
def test_quit_exits_the_tray(
    how: str, app: App, service: FakeService, exit_codes: list[int], qtbot: QtBot
) -> None:
    if how == "quit":
        row(app, "quit").trigger()
        qtbot.waitUntil(lambda: service.requests == [GetStatus(), Quit()])
    else:
        service.send(Quitting())
    qtbot.waitUntil(lambda: exit_codes == [0])
    assert not app.client.is_open


@pytest.mark.parametrize("is_running", [True, False])
def test_quit_while_connecting_also_quits_the_service(
    is_running: bool, service: FakeService, exit_codes: list[int], qtbot: QtBot
) -> None:
    service.is_running = is_running
    connect = BlockedConnect(service)
    app = App(ThreadedConnector(connect), lambda: None, channel=RecordingChannel())
    app.start()
    row(app, "quit").trigger()
    assert exit_codes == []
    connect.is_released.set()
    qtbot.waitUntil(lambda: exit_codes == [0])
    assert service.requests == ([Quit()] if is_running else [])
    app.close()


def test_quit_while_the_service_starts_also_quits_the_service(
    service: FakeService, exit_codes: list[int], qtbot: QtBot
) -> None:
    service.is_running = False
    app = App(service.connect, lambda: None, channel=RecordingChannel())
    app.start()
    row(app, "quit").trigger()
    assert exit_codes == []
    service.is_running = True
    qtbot.waitUntil(lambda: exit_codes == [0])
    assert service.requests == [Quit()]
    app.close()
