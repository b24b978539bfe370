"""The sign-in dialog (ux §3.3).

The dialog shows a prompt and emits a signal for each user action; it takes no decisions. All text
from the network is plain text, sanitized and truncated by `trayproxy.ui.texts`. Rows without
content are hidden, to draw attention to the others.
"""

from enum import Enum, auto

from PySide6.QtCore import QCoreApplication, QEvent, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QCloseEvent, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QApplication, QDialog, QVBoxLayout

from trayproxy.desktop.window import exclude_from_capture
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import Prompt, PromptReason, Snooze
from trayproxy.ui import texts
from trayproxy.ui.login_fields import LoginFields, SignInButtons
from trayproxy.ui.prompt_rows import ErrorRows, FactRows, TransportRows
from trayproxy.ui.text_sanitizer import breakable
from trayproxy.ui.widgets import add_parts, announce, bring_to_front, plain_label

translate = QCoreApplication.translate

WIDTH_IN_CHARACTERS = 72
"""The width of the dialog in average characters of its font, so that the dialog grows with the
font.
"""
CLOSE_AFTER_MS = 300
"""Milliseconds for which *Signed in* is shown."""
ACTIVATION_TIMEOUT_MS = 400
"""Milliseconds after which an inactive dialog counts as being in the background (ux §3.6)."""


class DialogPhase(Enum):
    """The phases of the dialog."""

    ASKING = auto()
    """The user can enter a login."""
    CHECKING = auto()
    """A login is being verified."""
    CLOSED = auto()
    """The prompt is closed."""


class SignInDialog(QDialog):
    """Dialog for a prompt.

    Attributes:
        prompt: The shown prompt.

    Signals:
        answered(Login, bool): The entered login, and True to save it.
        declined(Snooze): The user has declined the prompt for this time.
        typed: The user has edited a field for the first time.
        not_activated: The dialog was shown and has not become the active window.
        activated: The dialog has become the active window.
        closed: The dialog was closed, for any reason.
    """

    answered = Signal(object, bool)
    declined = Signal(object)
    typed = Signal()
    not_activated = Signal()
    activated = Signal()
    closed = Signal()

    def __init__(self, prompt: Prompt) -> None:
        """Create the dialog, hidden; `present` shows it."""
        super().__init__(None, Qt.WindowType.Dialog)
        self.setObjectName("sign_in")
        self.setWindowTitle(translate("SignIn", "Sign in to proxy — TrayProxy"))
        self._phase = DialogPhase.ASKING
        self.prompt = prompt
        self._has_checked = False
        self._has_edited = False
        self._heading = plain_label("heading")
        font = self._heading.font()
        font.setBold(True)
        font.setPointSizeF(font.pointSizeF() * 1.15)
        self._heading.setFont(font)
        self._facts = FactRows()
        self._transport = TransportRows()
        self._errors = ErrorRows()
        self._fields = LoginFields(prompt.user, prompt.keyring)
        self._buttons = SignInButtons()
        self._lay_out()
        self._connect()
        self.show_prompt(prompt)

    def _lay_out(self) -> None:
        rows = (self._heading, self._facts, self._transport, self._errors, self._fields)
        add_parts(QVBoxLayout(self), *rows, None, self._buttons)
        # Set after the button is in the dialog: otherwise Qt makes the first button in tab order
        # the default.
        self._buttons.make_default()

    def _connect(self) -> None:
        self._transport.resized.connect(self._resize_to_fit)
        self._fields.resized.connect(self._resize_to_fit)
        self._fields.edited.connect(self._on_edited)
        self._buttons.accepted.connect(self._submit)
        self._buttons.rejected.connect(self.reject)
        self._buttons.snoozed.connect(self.decline)

    # --- Display ---------------------------------------------------------------------------------

    def show_prompt(self, prompt: Prompt) -> None:
        """Show a new version of the prompt.

        If the new version shows a rejection of the login, the fields are enabled again.
        """
        before, self.prompt = self.prompt, prompt
        if self._phase is DialogPhase.CHECKING:
            self._has_checked = self._has_checked or prompt.checking
            is_checked = self._has_checked and not prompt.checking
            is_repeated = prompt.reason is PromptReason.REPEATED and not prompt.checking
            if is_checked or is_repeated or prompt.rejections > before.rejections:
                self._return_to_asking()
        elif prompt.checking and self._phase is DialogPhase.ASKING:
            self._has_checked = True
            self._enter(DialogPhase.CHECKING)
        self._show_facts()

    def show_problem(self, problem: Problem) -> None:
        """Show why a login was not sent, and let the user enter another login."""
        self._return_to_asking()
        self._show_error(texts.problem_text(problem))
        self._resize_to_fit()

    def show_accepted(self) -> None:
        """Show *Signed in*, then close the dialog."""
        self._enter(DialogPhase.CLOSED)
        self._fields.wipe()
        self._show_button(translate("SignIn", "Signed in"))
        announce(self, translate("SignIn", "Signed in"))
        QTimer.singleShot(CLOSE_AFTER_MS, self, self.close)

    def dismiss(self) -> None:
        """Close the dialog without an answer, because the prompt was closed."""
        self._enter(DialogPhase.CLOSED)
        self.close()

    def present(self) -> None:
        """Show the dialog and request attention, without forcing the focus (ux §3.6)."""
        bring_to_front(self)
        QApplication.alert(self)
        QTimer.singleShot(ACTIVATION_TIMEOUT_MS, self, self._check_activation)

    # --- User actions ----------------------------------------------------------------------------

    def reject(self) -> None:
        """Decline the prompt for a minute; called by *Cancel*, Escape and the close button."""
        self.decline(Snooze.A_MINUTE)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Decline the prompt if it is open, and wipe the password."""
        if self._phase is not DialogPhase.CLOSED:
            self.decline(Snooze.A_MINUTE)
        self._fields.wipe()
        # QDialog.closeEvent() would call reject() and leave the dialog open.
        event.accept()
        self.closed.emit()

    def showEvent(self, event: QShowEvent) -> None:
        """Exclude the dialog from screen capture and focus the first field to fill in."""
        super().showEvent(event)
        exclude_from_capture(int(self.winId()))
        self._resize_to_fit()
        if not event.spontaneous():
            self._fields.focus_first()

    def changeEvent(self, event: QEvent) -> None:
        """Emit `activated` when the dialog becomes the active window."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ActivationChange and self.isActiveWindow():
            self.activated.emit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Set the minimum height for the new width, to show all lines completely."""
        super().resizeEvent(event)
        self.setMinimumHeight(self._height_for(event.size().width()))

    @Slot(object)
    def decline(self, snooze: Snooze) -> None:
        """Decline the prompt for the time of the snooze and close the dialog."""
        if self._phase is DialogPhase.CLOSED:
            return
        self._enter(DialogPhase.CLOSED)
        self.declined.emit(snooze)
        self.close()

    @Slot()
    def _submit(self) -> None:
        if self._phase is not DialogPhase.ASKING or not self._fields.has_user:
            return
        self._has_checked = False
        login, remember = self._fields.login, self._fields.remember
        self._enter(DialogPhase.CHECKING)
        self.answered.emit(login, remember)

    @Slot()
    def _on_edited(self) -> None:
        self._update_button()
        if not self._has_edited:
            self._has_edited = True
            self.typed.emit()

    @Slot()
    def _check_activation(self) -> None:
        if self.isVisible() and self._phase is DialogPhase.ASKING and not self.isActiveWindow():
            self.not_activated.emit()

    # --- Phases ----------------------------------------------------------------------------------

    def _enter(self, phase: DialogPhase) -> None:
        self._phase = phase
        self._update_fields()
        self._update_button()

    def _return_to_asking(self) -> None:
        self._enter(DialogPhase.ASKING)
        self._fields.select_password()

    def _update_fields(self) -> None:
        is_asking = self._phase is DialogPhase.ASKING
        self._fields.update_enabled(self.prompt.keyring, is_asking=is_asking)

    def _update_button(self) -> None:
        if self._phase is DialogPhase.CHECKING:
            self._show_button(translate("SignIn", "Signing in…"))
        elif self.prompt.confirm_retry:
            self._show_button(translate("SignIn", "Try anyway"))
        else:
            self._show_button(translate("SignIn", "Sign in"))

    def _show_button(self, text: str) -> None:
        self._buttons.show_state(
            text,
            can_accept=self._phase is DialogPhase.ASKING and self._fields.has_user,
            can_decline=self._phase is not DialogPhase.CLOSED,
        )

    # --- Facts of the prompt ---------------------------------------------------------------------

    def _show_facts(self) -> None:
        prompt = self.prompt
        self._heading.setText(breakable(texts.prompt_heading(prompt)))
        self._facts.show_prompt(prompt)
        self._transport.show_prompt(prompt)
        lines = (texts.rejection_line(prompt), texts.encoding_line(prompt, self._fields.typed))
        self._show_error("" if prompt.checking else " ".join(filter(None, lines)))
        self._errors.show_lock_out(texts.lock_out_line(prompt))
        self._fields.show_keyring(prompt.keyring)
        self._update_fields()
        self._update_button()
        self._update_accessible_description()
        self._resize_to_fit()

    def _show_error(self, text: str) -> None:
        is_new = bool(text) and text != self._errors.error
        self._errors.show_error(text)
        if is_new and self.prompt.reason is not PromptReason.NEEDED:
            announce(self, text, assertive=True)

    def _update_accessible_description(self) -> None:
        """Set the description for screen readers, which is read when the dialog opens."""
        lines = [*self._facts.summary, *self._transport.summary, *self._errors.summary]
        self.setAccessibleDescription(" ".join(filter(None, lines)).replace("\u200b", ""))

    @Slot()
    def _resize_to_fit(self) -> None:
        width = self.fontMetrics().averageCharWidth() * WIDTH_IN_CHARACTERS
        width = max(self.width(), width) if self.isVisible() else width
        height = self._height_for(width)
        self.setMinimumHeight(height)
        self.resize(width, height)

    def _height_for(self, width: int) -> int:
        layout = self.layout()
        assert layout is not None
        # Qt reports a change inside a row to the layout of the dialog only at the next event.
        for row in (self._facts, self._transport, self._errors, self._fields):
            row.updateGeometry()
        layout.activate()
        return layout.totalHeightForWidth(max(width, layout.totalMinimumSize().width()))
