"""Tests for trayproxy.ui.prompts: prompts of the service, and the answers of the user."""

from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from tests.ui.fake_service import PROMPT, FakeService
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


class RecordingChannel(QObject):
    """Notification channel for tests: records the posted notification."""

    chosen = Signal(str, str)

    def __init__(self) -> None:
        super().__init__()
        self.shown: Notification | None = None
        self.posts = 0

    def post(self, notification: Notification) -> None:
        self.shown = notification
        self.posts += 1

    def withdraw(self) -> None:
        self.shown = None


@pytest.fixture
def channel(qapp: object) -> RecordingChannel:
    return RecordingChannel()


@pytest.fixture
def prompts(
    service: FakeService, channel: RecordingChannel, qtbot: QtBot
) -> Iterator[PromptDialogs]:
    client = ServiceClient(service.connect)
    client.open()
    notifier = Notifier(channel)
    dialogs = PromptDialogs(client, notifier)
    yield dialogs
    dialogs.close()
    client.close()


def dialog_for(prompts: PromptDialogs, qtbot: QtBot, number: int = 1) -> SignInDialog:
    def is_open() -> bool:
        return prompts.dialog is not None and prompts.dialog.prompt.number == number

    qtbot.waitUntil(is_open)
    assert prompts.dialog
    return prompts.dialog


def test_a_prompt_opens_a_dialog(
    prompts: PromptDialogs, service: FakeService, qtbot: QtBot
) -> None:
    service.open_prompt(PROMPT)
    assert dialog_for(prompts, qtbot).isVisible()
    assert prompts.pending == PROMPT


def test_a_changed_prompt_updates_the_dialog(
    prompts: PromptDialogs, service: FakeService, qtbot: QtBot
) -> None:
    service.open_prompt(PROMPT)
    dialog = dialog_for(prompts, qtbot)
    service.open_prompt(replace(PROMPT, waiting=9))
    qtbot.waitUntil(lambda: dialog.prompt.waiting == 9)
    assert prompts.dialog is dialog


def test_an_answer_is_sent_to_the_service(
    prompts: PromptDialogs, service: FakeService, qtbot: QtBot
) -> None:
    service.open_prompt(PROMPT)
    dialog = dialog_for(prompts, qtbot)
    qtbot.keyClicks(child(dialog, PasswordField, "password"), "secret")
    press(dialog, "accept")
    assert service.requests == [
        KeepPromptOpen(1),
        AnswerPrompt(1, Login("CORP\\jdoe", "secret"), remember=True),
    ]


def test_an_accepted_answer_closes_the_dialog(
    prompts: PromptDialogs, service: FakeService, qtbot: QtBot
) -> None:
    service.open_prompt(PROMPT)
    press(dialog_for(prompts, qtbot), "accept")
    service.close_prompt(1, Ending.ACCEPTED)
    qtbot.waitUntil(lambda: prompts.dialog is None)
    assert not service.requests_of(DeclinePrompt)


def test_a_failed_answer_enables_the_dialog(
    prompts: PromptDialogs, service: FakeService, qtbot: QtBot
) -> None:
    problem = Problem("TP-302", "No", "It has a colon.")
    service.replies[AnswerPrompt] = lambda _: Failed(problem)
    service.open_prompt(PROMPT)
    dialog = dialog_for(prompts, qtbot)
    press(dialog, "accept")
    qtbot.waitUntil(child(dialog, QPushButton, "accept").isEnabled)


def test_cancel_declines_for_a_minute(
    prompts: PromptDialogs, service: FakeService, qtbot: QtBot
) -> None:
    service.open_prompt(PROMPT)
    press(dialog_for(prompts, qtbot), "cancel")
    assert service.requests == [DeclinePrompt(1, Snooze.A_MINUTE)]
    assert prompts.dialog is None
    assert prompts.pending is None


def test_a_closed_prompt_closes_the_dialog_without_a_request(
    prompts: PromptDialogs, service: FakeService, qtbot: QtBot
) -> None:
    service.open_prompt(PROMPT)
    dialog_for(prompts, qtbot)
    service.close_prompt(1, Ending.ABANDONED)
    qtbot.waitUntil(lambda: prompts.dialog is None)
    assert not service.requests


def test_prompts_are_shown_one_after_another(
    prompts: PromptDialogs, service: FakeService, qtbot: QtBot
) -> None:
    service.open_prompt(PROMPT)
    service.open_prompt(replace(PROMPT, number=2, profile="Lab"))
    first = dialog_for(prompts, qtbot)
    press(first, "cancel")
    assert dialog_for(prompts, qtbot, number=2).isVisible()


def test_the_dialog_closes_when_the_service_is_lost(
    prompts: PromptDialogs, service: FakeService, qtbot: QtBot
) -> None:
    service.open_prompt(PROMPT)
    dialog_for(prompts, qtbot)
    service.crash()
    qtbot.waitUntil(lambda: prompts.dialog is None)
    assert prompts.pending is None


def test_a_dialog_in_the_background_has_a_notification_until_its_prompt_closes(
    prompts: PromptDialogs, service: FakeService, channel: RecordingChannel, qtbot: QtBot
) -> None:
    service.open_prompt(PROMPT)
    dialog = dialog_for(prompts, qtbot)
    dialog.hide()
    dialog.not_activated.emit()
    assert channel.shown == notification_for(PROMPT)
    service.close_prompt(1, Ending.ABANDONED)
    qtbot.waitUntil(lambda: channel.shown is None)


def test_the_same_prompt_has_one_notification(
    prompts: PromptDialogs, service: FakeService, channel: RecordingChannel, qtbot: QtBot
) -> None:
    service.open_prompt(PROMPT)
    dialog = dialog_for(prompts, qtbot)
    dialog.hide()
    dialog.not_activated.emit()
    dialog.not_activated.emit()
    assert channel.posts == 1


def test_no_notification_is_shown_while_a_window_is_active(
    prompts: PromptDialogs, service: FakeService, channel: RecordingChannel, qtbot: QtBot
) -> None:
    service.open_prompt(PROMPT)
    dialog = dialog_for(prompts, qtbot)
    dialog.activateWindow()
    qtbot.waitUntil(dialog.isActiveWindow)
    dialog.not_activated.emit()
    assert channel.shown is None


@pytest.mark.parametrize(
    ("action", "requests"), [(SIGN_IN, []), (NOT_NOW, [DeclinePrompt(1, Snooze.A_WHILE)])]
)
def test_the_actions_of_the_notification(
    action: str,
    requests: list[object],
    prompts: PromptDialogs,
    service: FakeService,
    channel: RecordingChannel,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_ACTIVATION_TOKEN", "")
    service.open_prompt(PROMPT)
    dialog_for(prompts, qtbot)
    channel.chosen.emit(action, "token")
    assert service.requests == requests


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
