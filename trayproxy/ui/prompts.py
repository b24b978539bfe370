"""Shows the open prompts of the service as dialogs and notifications.

One dialog is shown at a time, for the oldest prompt; the other prompts wait (ux §3.4).
"""

import os

from PySide6.QtCore import QCoreApplication, QObject, Signal, Slot

from trayproxy.auth.login import Login
from trayproxy.control.messages import AnswerPrompt, DeclinePrompt, Failed, KeepPromptOpen, Reply
from trayproxy.domain.signin import Ending, Prompt, PromptReason, Snooze
from trayproxy.ui import texts
from trayproxy.ui.notifications import Notification, Notifier
from trayproxy.ui.service_client import SERVICE_LOST, ServiceClient
from trayproxy.ui.sign_in_dialog import SignInDialog
from trayproxy.ui.text_sanitizer import clean, elide, isolate

translate = QCoreApplication.translate

SIGN_IN = "sign-in"
NOT_NOW = "not-now"
_PROFILE_LENGTH = 30


class PromptDialogs(QObject):
    """Shows a dialog for each prompt and sends the user's input to the service.

    Attributes:
        dialog: The dialog on the screen, None if there is no dialog.

    Signals:
        changed: `pending` may have changed.
    """

    changed = Signal()

    def __init__(
        self, client: ServiceClient, notifier: Notifier, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._client = client
        self._notifier = notifier
        self._prompts: dict[int, Prompt] = {}
        self.dialog: SignInDialog | None = None
        client.prompt_changed.connect(self._on_prompt_changed)
        client.prompt_closed.connect(self._on_prompt_closed)
        client.lost.connect(self.close)
        notifier.chosen.connect(self._on_notification_action)

    @property
    def pending(self) -> Prompt | None:
        """The oldest open prompt, None if there is no prompt."""
        return self._prompts[min(self._prompts)] if self._prompts else None

    def present(self, token: str = "") -> bool:
        """Activate the dialog, with an XDG activation token; return whether there is a dialog."""
        if self.dialog is None:
            return False
        # Qt reads the token from the environment at the next activation (QTBUG-95714).
        if token:
            os.environ["XDG_ACTIVATION_TOKEN"] = token
        self.dialog.present()
        return True

    @Slot(object)
    def decline(self, snooze: Snooze) -> None:
        """Decline the prompt of the dialog for the time of the snooze."""
        if self.dialog is not None:
            self.dialog.decline(snooze)

    @Slot()
    def close(self) -> None:
        """Close the dialog. The prompts stay open in the service if it is still running."""
        self._prompts.clear()
        if self.dialog is not None:
            self.dialog.dismiss()
        self.changed.emit()

    @Slot(object)
    def _on_prompt_changed(self, prompt: Prompt) -> None:
        self._prompts[prompt.number] = prompt
        if self.dialog is not None and self.dialog.prompt.number == prompt.number:
            self.dialog.show_prompt(prompt)
        self._show_next()
        self.changed.emit()

    @Slot(int, object)
    def _on_prompt_closed(self, number: int, ending: Ending) -> None:
        self._prompts.pop(number, None)
        dialog = self.dialog
        if dialog is not None and dialog.prompt.number == number:
            self._notifier.withdraw()
            if ending is Ending.ACCEPTED:
                dialog.show_accepted()
            else:
                dialog.dismiss()
        self.changed.emit()

    def _show_next(self) -> None:
        prompt = self.pending
        if prompt is None or self.dialog is not None:
            return
        dialog = SignInDialog(prompt)
        dialog.answered.connect(self._on_answered)
        dialog.declined.connect(self._on_declined)
        dialog.typed.connect(self._on_typed)
        dialog.not_activated.connect(self._on_not_activated)
        dialog.activated.connect(self._notifier.withdraw)
        dialog.closed.connect(self._on_dialog_closed)
        self.dialog = dialog
        dialog.present()

    @Slot(object, bool)
    def _on_answered(self, login: Login, remember: bool) -> None:
        if self.dialog is not None:
            number = self.dialog.prompt.number
            self._client.request(
                AnswerPrompt(number, login, remember), lambda reply: self._on_reply(number, reply)
            )

    def _on_reply(self, number: int, reply: Reply) -> None:
        dialog = self.dialog
        if not isinstance(reply, Failed) or reply.problem == SERVICE_LOST:
            return
        if dialog is not None and dialog.prompt.number == number:
            dialog.show_problem(reply.problem)

    @Slot(object)
    def _on_declined(self, snooze: Snooze) -> None:
        if self.dialog is not None:
            number = self.dialog.prompt.number
            self._prompts.pop(number, None)
            self._client.request(DeclinePrompt(number, snooze))

    @Slot()
    def _on_typed(self) -> None:
        if self.dialog is not None:
            self._client.request(KeepPromptOpen(self.dialog.prompt.number))

    @Slot()
    def _on_dialog_closed(self) -> None:
        dialog, self.dialog = self.dialog, None
        self._notifier.withdraw()
        if dialog is not None:
            dialog.deleteLater()
        self._show_next()
        self.changed.emit()

    @Slot()
    def _on_not_activated(self) -> None:
        if self.dialog is not None:
            self._notifier.notify(notification_for(self.dialog.prompt))

    @Slot(str, str)
    def _on_notification_action(self, action: str, token: str) -> None:
        if action == NOT_NOW:
            self.decline(Snooze.A_WHILE)
        elif action == SIGN_IN:
            self.present(token)


def notification_for(prompt: Prompt) -> Notification:
    """Return the notification about a prompt: N1, or N2 for a rejected saved password."""
    profile = isolate(elide(clean(prompt.profile), _PROFILE_LENGTH))
    actions = (
        (SIGN_IN, translate("Notification", "Sign in…")),
        (NOT_NOW, translate("Notification", "Not now")),
    )
    if prompt.reason is PromptReason.SAVED_REJECTED:
        title = translate("Notification", "Password not accepted for {profile}")
        body = translate("Notification", "The saved password did not work. Did you change it?")
    else:
        title = translate("Notification", "Sign-in needed for {profile}")
        body = texts.waiting_text(prompt)
    return Notification(title.format(profile=profile), body, actions)
