"""The open questions: which dialog is on the screen, and how a person is told of it.

One dialog at a time, the oldest question first; the others wait behind it (ux §3.4).
"""

import os

from PySide6.QtCore import QCoreApplication, QObject, Signal, Slot

from trayproxy.auth.login import Login
from trayproxy.control.messages import (
    AnswerPrompt,
    DeclinePrompt,
    Ending,
    Failed,
    KeepPromptOpen,
    Prompt,
    PromptReason,
    Reply,
    Snooze,
)
from trayproxy.ui import texts
from trayproxy.ui.notifications import Notification, Notifier
from trayproxy.ui.service_client import GONE, ServiceClient
from trayproxy.ui.sign_in_dialog import SignInDialog
from trayproxy.ui.text_sanitizer import clean, elide, isolate

translate = QCoreApplication.translate

SIGN_IN = "sign-in"
NOT_NOW = "not-now"
_TITLE_WIDTH = 30


class PromptDialogs(QObject):
    """Shows the service's questions and brings it the answers.

    Signals:
        changed: `pending` may be another one.
    """

    changed = Signal()

    def __init__(
        self, link: ServiceClient, notifier: Notifier, parent: QObject | None = None
    ) -> None:
        """Create it; questions come from the link.

        Args:
            link: The service.
            notifier: Tells a person who looks elsewhere.
            parent: Its owner.
        """
        super().__init__(parent)
        self._link = link
        self._notifier = notifier
        self._open: dict[int, Prompt] = {}
        self._dialog: SignInDialog | None = None
        link.question_changed.connect(self._on_changed)
        link.question_closed.connect(self._on_closed)
        link.lost.connect(self.close)
        notifier.chosen.connect(self._on_notice_chosen)

    @property
    def pending(self) -> Prompt | None:
        """The question that a person should answer next."""
        return self._open[min(self._open)] if self._open else None

    @property
    def dialog(self) -> SignInDialog | None:
        """The dialog on the screen."""
        return self._dialog

    def present(self, token: str = "") -> bool:
        """Bring the dialog to the front; tell whether there is one.

        Args:
            token: An XDG activation token, for a compositor that asks why.
        """
        if self._dialog is None:
            return False
        # Qt takes it from the environment for the next activation (QTBUG-95714).
        if token:
            os.environ["XDG_ACTIVATION_TOKEN"] = token
        self._dialog.present()
        return True

    def decline(self, quiet: Snooze) -> None:
        """Close the question for a while, as its own *Not now* does."""
        if self._dialog is not None:
            self._dialog.decline(quiet)

    @Slot()
    def close(self) -> None:
        """Take the dialog off the screen; the questions stay with the service, if it lives."""
        self._open.clear()
        if self._dialog is not None:
            self._dialog.dismiss()
        self.changed.emit()

    @Slot(object)
    def _on_changed(self, question: Prompt) -> None:
        self._open[question.number] = question
        if self._dialog is not None and self._dialog.question.number == question.number:
            self._dialog.show_question(question)
        self._show_next()
        self.changed.emit()

    @Slot(int, object)
    def _on_closed(self, number: int, ending: Ending) -> None:
        self._open.pop(number, None)
        dialog = self._dialog
        if dialog is not None and dialog.question.number == number:
            self._notifier.withdraw()
            if ending is Ending.ACCEPTED:
                dialog.show_accepted()
            else:
                dialog.dismiss()
        self.changed.emit()

    def _show_next(self) -> None:
        question = self.pending
        if question is None or self._dialog is not None:
            return
        dialog = SignInDialog(question)
        dialog.answered.connect(self._on_answered)
        dialog.declined.connect(self._on_declined)
        dialog.typed.connect(self._on_typed)
        dialog.unnoticed.connect(self._on_unnoticed)
        dialog.noticed.connect(self._notifier.withdraw)
        dialog.closed.connect(self._on_dialog_closed)
        self._dialog = dialog
        dialog.present()

    @Slot(object, bool)
    def _on_answered(self, login: Login, remember: bool) -> None:
        dialog = self._dialog
        if dialog is None:
            return
        number = dialog.question.number
        self._link.request(
            AnswerPrompt(number, login, remember), lambda reply: self._on_reply(number, reply)
        )

    def _on_reply(self, number: int, reply: Reply) -> None:
        dialog = self._dialog
        if not isinstance(reply, Failed) or reply.problem == GONE:
            return
        if dialog is not None and dialog.question.number == number:
            dialog.show_problem(reply.problem)

    @Slot(object)
    def _on_declined(self, quiet: Snooze) -> None:
        if self._dialog is not None:
            number = self._dialog.question.number
            self._open.pop(number, None)
            self._link.request(DeclinePrompt(number, quiet))

    @Slot()
    def _on_typed(self) -> None:
        if self._dialog is not None:
            self._link.request(KeepPromptOpen(self._dialog.question.number))

    @Slot()
    def _on_dialog_closed(self) -> None:
        dialog, self._dialog = self._dialog, None
        self._notifier.withdraw()
        if dialog is not None:
            dialog.deleteLater()
        self._show_next()
        self.changed.emit()

    @Slot()
    def _on_unnoticed(self) -> None:
        if self._dialog is not None:
            self._notifier.say(notice(self._dialog.question))

    @Slot(str, str)
    def _on_notice_chosen(self, action: str, token: str) -> None:
        if action == NOT_NOW:
            self.decline(Snooze.A_WHILE)
        elif action == SIGN_IN:
            self.present(token)


def notice(question: Prompt) -> Notification:
    """Return what a notification says about a question: N1, or N2 for a saved password."""
    profile = isolate(elide(clean(question.profile), _TITLE_WIDTH))
    actions = (
        (SIGN_IN, translate("Notification", "Sign in…")),
        (NOT_NOW, translate("Notification", "Not now")),
    )
    if question.reason is PromptReason.SAVED_REJECTED:
        title = translate("Notification", "Password not accepted for {profile}")
        body = translate("Notification", "The saved password did not work. Did you change it?")
    else:
        title = translate("Notification", "Sign-in needed for {profile}")
        body = texts.waiting_text(question)
    return Notification(title.format(profile=profile), body, actions)
