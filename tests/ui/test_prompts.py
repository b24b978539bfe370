"""Tests for trayproxy.ui.prompts: what the person does reaches the service, and the reverse."""

from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from tests.ui.service import QUESTION, ActingService
from trayproxy.auth.login import Login
from trayproxy.control.messages import (
    AnswerPrompt,
    DeclinePrompt,
    Ending,
    Failed,
    KeepPromptOpen,
    Problem,
    PromptReason,
    Snooze,
)
from trayproxy.ui.notifications import Notification, Notifier
from trayproxy.ui.password_field import PasswordField
from trayproxy.ui.prompts import NOT_NOW, SIGN_IN, PromptDialogs, notice
from trayproxy.ui.service_client import ServiceClient
from trayproxy.ui.sign_in_dialog import SignInDialog


class SilentChannel(QObject):
    """Remembers what it should have shown."""

    chosen = Signal(str, str)

    def __init__(self) -> None:
        super().__init__()
        self.shown: Notification | None = None
        self.posts = 0

    def post(self, notice: Notification) -> None:
        self.shown = notice
        self.posts += 1

    def withdraw(self) -> None:
        self.shown = None


@pytest.fixture
def channel(qapp: object) -> SilentChannel:
    return SilentChannel()


@pytest.fixture
def questions(
    service: ActingService, channel: SilentChannel, qtbot: QtBot
) -> Iterator[PromptDialogs]:
    link = ServiceClient(service.connect)
    link.open()
    notifier = Notifier(channel)
    made = PromptDialogs(link, notifier)
    yield made
    made.close()
    link.close()


def dialog_for(questions: PromptDialogs, qtbot: QtBot, number: int = 1) -> SignInDialog:
    def is_open() -> bool:
        return questions.dialog is not None and questions.dialog.question.number == number

    qtbot.waitUntil(is_open)
    assert questions.dialog
    return questions.dialog


def press(dialog: SignInDialog, name: str) -> None:
    button = dialog.findChild(QPushButton, name)
    assert isinstance(button, QPushButton)
    button.click()


def test_a_question_opens_a_dialog(
    questions: PromptDialogs, service: ActingService, qtbot: QtBot
) -> None:
    service.ask(QUESTION)
    assert dialog_for(questions, qtbot).isVisible()
    assert questions.pending == QUESTION


def test_a_changed_question_changes_the_dialog(
    questions: PromptDialogs, service: ActingService, qtbot: QtBot
) -> None:
    service.ask(QUESTION)
    dialog = dialog_for(questions, qtbot)
    service.ask(replace(QUESTION, waiting=9))
    qtbot.waitUntil(lambda: dialog.question.waiting == 9)
    assert questions.dialog is dialog


def test_an_answer_goes_to_the_service(
    questions: PromptDialogs, service: ActingService, qtbot: QtBot
) -> None:
    service.ask(QUESTION)
    dialog = dialog_for(questions, qtbot)
    field = dialog.findChild(PasswordField)
    assert isinstance(field, PasswordField)
    qtbot.keyClicks(field, "secret")
    press(dialog, "accept")
    assert service.requests == [
        KeepPromptOpen(1),
        AnswerPrompt(1, Login("CORP\\jdoe", "secret"), remember=True),
    ]


def test_an_accepted_answer_closes_the_dialog(
    questions: PromptDialogs, service: ActingService, qtbot: QtBot
) -> None:
    service.ask(QUESTION)
    press(dialog_for(questions, qtbot), "accept")
    service.end_question(1, Ending.ACCEPTED)
    qtbot.waitUntil(lambda: questions.dialog is None)
    assert not service.asked(DeclinePrompt)


def test_a_refused_answer_is_explained(
    questions: PromptDialogs, service: ActingService, qtbot: QtBot
) -> None:
    problem = Problem("TP-302", "No", "It has a colon.")
    service.answers[AnswerPrompt] = lambda _: Failed(problem)
    service.ask(QUESTION)
    dialog = dialog_for(questions, qtbot)
    press(dialog, "accept")
    button = dialog.findChild(QPushButton, "accept")
    assert isinstance(button, QPushButton)
    qtbot.waitUntil(button.isEnabled)


def test_cancel_declines_for_a_minute(
    questions: PromptDialogs, service: ActingService, qtbot: QtBot
) -> None:
    service.ask(QUESTION)
    press(dialog_for(questions, qtbot), "cancel")
    assert service.requests == [DeclinePrompt(1, Snooze.A_MINUTE)]
    assert questions.dialog is None
    assert questions.pending is None


def test_a_question_that_is_gone_closes_silently(
    questions: PromptDialogs, service: ActingService, qtbot: QtBot
) -> None:
    service.ask(QUESTION)
    dialog_for(questions, qtbot)
    service.end_question(1, Ending.ABANDONED)
    qtbot.waitUntil(lambda: questions.dialog is None)
    assert not service.requests


def test_questions_come_one_at_a_time(
    questions: PromptDialogs, service: ActingService, qtbot: QtBot
) -> None:
    service.ask(QUESTION)
    service.ask(replace(QUESTION, number=2, profile="Lab"))
    first = dialog_for(questions, qtbot)
    press(first, "cancel")
    assert dialog_for(questions, qtbot, number=2).isVisible()


def test_the_dialog_goes_with_the_service(
    questions: PromptDialogs, service: ActingService, qtbot: QtBot
) -> None:
    service.ask(QUESTION)
    dialog_for(questions, qtbot)
    service.die()
    qtbot.waitUntil(lambda: questions.dialog is None)
    assert questions.pending is None


def test_an_unnoticed_dialog_is_notified_and_taken_back_when_it_ends(
    questions: PromptDialogs, service: ActingService, channel: SilentChannel, qtbot: QtBot
) -> None:
    service.ask(QUESTION)
    dialog = dialog_for(questions, qtbot)
    dialog.hide()
    dialog.unnoticed.emit()
    assert channel.shown == notice(QUESTION)
    service.end_question(1, Ending.ABANDONED)
    qtbot.waitUntil(lambda: channel.shown is None)


def test_the_same_is_not_notified_twice(
    questions: PromptDialogs, service: ActingService, channel: SilentChannel, qtbot: QtBot
) -> None:
    service.ask(QUESTION)
    dialog = dialog_for(questions, qtbot)
    dialog.hide()
    dialog.unnoticed.emit()
    dialog.unnoticed.emit()
    assert channel.posts == 1


def test_nothing_is_notified_while_one_of_our_windows_is_active(
    questions: PromptDialogs, service: ActingService, channel: SilentChannel, qtbot: QtBot
) -> None:
    service.ask(QUESTION)
    dialog = dialog_for(questions, qtbot)
    dialog.activateWindow()
    qtbot.waitUntil(dialog.isActiveWindow)
    dialog.unnoticed.emit()
    assert channel.shown is None


@pytest.mark.parametrize(
    ("action", "requests"), [(SIGN_IN, []), (NOT_NOW, [DeclinePrompt(1, Snooze.A_WHILE)])]
)
def test_the_notification_can_do_what_the_dialog_can(
    action: str,
    requests: list[object],
    questions: PromptDialogs,
    service: ActingService,
    channel: SilentChannel,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_ACTIVATION_TOKEN", "")
    service.ask(QUESTION)
    dialog_for(questions, qtbot)
    channel.chosen.emit(action, "token")
    assert service.requests == requests


def test_the_notification_is_n1() -> None:
    assert notice(QUESTION) == Notification(
        "Sign-in needed for Office",
        "git (4312) and 3 others are waiting.",
        ((SIGN_IN, "Sign in…"), (NOT_NOW, "Not now")),
    )


def test_a_saved_password_that_failed_is_n2() -> None:
    said = notice(replace(QUESTION, reason=PromptReason.SAVED_REJECTED))
    assert said.title == "Password not accepted for Office"


def test_a_title_has_at_most_60_characters() -> None:
    for why in PromptReason:
        said = notice(replace(QUESTION, profile="x" * 500, reason=why))
        assert len(said.title) <= 70
