"""Tests for trayproxy.ui.prompts: prompts of the service, and the answers of the user."""

from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from tests.ui.fake_service import PROMPT, FakeService, RecordingChannel
from tests.ui.named_widgets import child, press
from trayproxy.auth.login import Login
from trayproxy.control.messages import AnswerPrompt, DeclinePrompt, Failed, KeepPromptOpen
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import Ending, PromptReason, Snooze
from trayproxy.ui.notifications import Notification, Notifier
from trayproxy.ui.password_field import PasswordField
from trayproxy.ui.prompts import NOT_NOW, SIGN_IN, PromptDialogs, notification_for
from trayproxy.ui.service_client import ServiceClient
from trayproxy.ui.sign_in_dialog import SignInDialog


class PromptFixture:
    """A `PromptDialogs` with a fake service and a recording channel."""

    def __init__(self, service: FakeService, qtbot: QtBot) -> None:
        self.service = service
        self.qtbot = qtbot
        self.channel = RecordingChannel()
        self.client = ServiceClient(service.connect)
        self.client.open()
        self.prompts = PromptDialogs(self.client, Notifier(self.channel))

    def open_dialog(self) -> SignInDialog:
        """Open the prompt `PROMPT`; return its dialog."""
        self.service.open_prompt(PROMPT)
        return self.dialog()

    def dialog(self, number: int = 1) -> SignInDialog:
        """Return the dialog of a prompt, as soon as the dialog is open."""

        def is_open() -> bool:
            dialog = self.prompts.dialog
            return dialog is not None and dialog.prompt.number == number

        self.qtbot.waitUntil(is_open)
        assert self.prompts.dialog
        return self.prompts.dialog


@pytest.fixture
def ui(service: FakeService, qtbot: QtBot) -> Iterator[PromptFixture]:
    fixture = PromptFixture(service, qtbot)
    yield fixture
    fixture.prompts.close()
    fixture.client.close()


def test_a_prompt_opens_a_dialog(ui: PromptFixture) -> None:
    assert ui.open_dialog().isVisible()
    assert ui.prompts.pending == PROMPT


def test_a_changed_prompt_updates_the_dialog(ui: PromptFixture) -> None:
    dialog = ui.open_dialog()
    ui.service.open_prompt(replace(PROMPT, waiting=9))
    ui.qtbot.waitUntil(lambda: dialog.prompt.waiting == 9)
    assert ui.prompts.dialog is dialog


def test_an_answer_is_sent_to_the_service(ui: PromptFixture) -> None:
    dialog = ui.open_dialog()
    ui.qtbot.keyClicks(child(dialog, PasswordField, "password"), "secret")
    press(dialog, "accept")
    assert ui.service.requests == [
        KeepPromptOpen(1),
        AnswerPrompt(1, Login("CORP\\jdoe", "secret"), remember=True),
    ]


def test_an_accepted_answer_closes_the_dialog(ui: PromptFixture) -> None:
    press(ui.open_dialog(), "accept")
    ui.service.close_prompt(1, Ending.ACCEPTED)
    ui.qtbot.waitUntil(lambda: ui.prompts.dialog is None)
    assert not ui.service.requests_of(DeclinePrompt)


def test_a_failed_answer_enables_the_dialog(ui: PromptFixture) -> None:
    problem = Problem("TP-302", "No", "It has a colon.")
    ui.service.replies[AnswerPrompt] = lambda _: Failed(problem)
    dialog = ui.open_dialog()
    press(dialog, "accept")
    ui.qtbot.waitUntil(child(dialog, QPushButton, "accept").isEnabled)


def test_cancel_declines_for_a_minute(ui: PromptFixture) -> None:
    press(ui.open_dialog(), "cancel")
    assert ui.service.requests == [DeclinePrompt(1, Snooze.A_MINUTE)]
    assert ui.prompts.dialog is None
    assert ui.prompts.pending is None


def test_a_closed_prompt_closes_the_dialog_without_a_request(ui: PromptFixture) -> None:
    ui.open_dialog()
    ui.service.close_prompt(1, Ending.ABANDONED)
    ui.qtbot.waitUntil(lambda: ui.prompts.dialog is None)
    assert not ui.service.requests


def test_prompts_are_shown_in_turn(ui: PromptFixture) -> None:
    ui.service.open_prompt(PROMPT)
    ui.service.open_prompt(replace(PROMPT, number=2, profile="Lab"))
    first = ui.dialog()
    press(first, "cancel")
    assert ui.dialog(number=2).isVisible()


def test_the_dialog_closes_when_the_service_is_lost(ui: PromptFixture) -> None:
    ui.open_dialog()
    ui.service.crash()
    ui.qtbot.waitUntil(lambda: ui.prompts.dialog is None)
    assert ui.prompts.pending is None


def test_a_dialog_in_the_background_has_a_notification_until_it_closes(ui: PromptFixture) -> None:
    dialog = ui.open_dialog()
    dialog.hide()
    dialog.not_activated.emit()
    assert ui.channel.shown == notification_for(PROMPT)
    ui.service.close_prompt(1, Ending.ABANDONED)
    ui.qtbot.waitUntil(lambda: ui.channel.shown is None)


def test_the_same_prompt_has_one_notification(ui: PromptFixture) -> None:
    dialog = ui.open_dialog()
    dialog.hide()
    dialog.not_activated.emit()
    dialog.not_activated.emit()
    assert ui.channel.posts == 1


def test_no_notification_is_shown_while_a_window_is_active(ui: PromptFixture) -> None:
    dialog = ui.open_dialog()
    dialog.activateWindow()
    ui.qtbot.waitUntil(dialog.isActiveWindow)
    dialog.not_activated.emit()
    assert ui.channel.shown is None


@pytest.mark.parametrize(
    ("action", "requests"), [(SIGN_IN, []), (NOT_NOW, [DeclinePrompt(1, Snooze.A_WHILE)])]
)
def test_the_actions_of_the_notification(
    action: str, requests: list[object], ui: PromptFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_ACTIVATION_TOKEN", "")
    ui.open_dialog()
    ui.channel.chosen.emit(action, "token")
    assert ui.service.requests == requests


def test_the_notification_is_n1() -> None:
    assert notification_for(PROMPT) == Notification(
        "Sign-in needed for Office",
        "git (4312) and 3 others are waiting.",
        ((SIGN_IN, "Sign in…"), (NOT_NOW, "Not now")),
    )


def test_a_saved_password_that_failed_is_n2() -> None:
    notification = notification_for(replace(PROMPT, reason=PromptReason.SAVED_REJECTED))
    assert notification.title == "Password not accepted for Office"


def test_a_title_has_at_most_60_characters() -> None:
    for reason in PromptReason:
        notification = notification_for(replace(PROMPT, profile="x" * 500, reason=reason))
        assert len(notification.title) <= 70
