"""The sign-in dialog (ux §3.3).

It shows one question and says what the person did about it; it decides nothing. Everything in it
that came from the network is plain text, cleaned and bounded by `trayproxy.ui.texts`. Rows are
shown only where they are true, so that the few there are get read.
"""

from enum import Enum, auto
from itertools import pairwise

from PySide6.QtCore import QCoreApplication, QEvent, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QAction, QCloseEvent, QPixmap, QResizeEvent, QShowEvent
from PySide6.QtWidgets import (
    QApplication,
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QPushButton,
    QStyle,
    QVBoxLayout,
    QWidget,
)

from trayproxy.auth.login import Login
from trayproxy.control.messages import Problem, Prompt, PromptReason, Snooze, Transport
from trayproxy.desktop.window import exclude_from_capture
from trayproxy.ui import texts
from trayproxy.ui.accessibility import announce
from trayproxy.ui.icons import action_icon
from trayproxy.ui.password_field import PasswordField
from trayproxy.ui.text_sanitizer import breakable, clean, shorten
from trayproxy.ui.widgets import named, picture, plain_label, plain_tooltip, standard_pixmap

translate = QCoreApplication.translate

WIDTH_IN_LETTERS = 72
"""The width of the dialog in average letters of its font: it grows with larger text."""
CLOSE_AFTER_MS = 300
"""How long *Signed in* is seen."""
NOTICE_AFTER_MS = 400
"""A dialog that has not become active by then is in the background (ux §3.6)."""
_SELECTABLE_LENGTH = 60


class DialogPhase(Enum):
    """Where the conversation with the person is."""

    ASKING = auto()
    CHECKING = auto()
    """An answer is being tried."""
    OVER = auto()


class SignInDialog(QDialog):
    """Asks one question.

    Signals:
        answered(Login, bool): What was typed, and whether to remember it.
        declined(Quiet): The person does not answer now.
        typed: The fields were touched for the first time.
        unnoticed: It is open and has not become the active window.
        noticed: It became the active window.
        closed: It is no longer on the screen, for whatever reason.
    """

    answered = Signal(object, bool)
    declined = Signal(object)
    typed = Signal()
    unnoticed = Signal()
    noticed = Signal()
    closed = Signal()

    def __init__(self, question: Prompt, parent: QWidget | None = None) -> None:
        """Create the dialog, hidden; `present` shows it.

        Args:
            question: What to ask.
            parent: Usually none: it is a window of its own.
        """
        super().__init__(parent, Qt.WindowType.Dialog)
        self.setObjectName("sign_in")
        self.setWindowTitle(translate("SignIn", "Sign in to proxy — TrayProxy"))
        self._phase = DialogPhase.ASKING
        self._question = question
        self._was_tried = False
        self._has_typed = False
        self._build()
        self._user.setText(question.user)
        self._remember.setChecked(texts.can_remember(question.keyring))
        self.show_question(question)

    # --- What is shown ---------------------------------------------------------------------------

    @property
    def question(self) -> Prompt:
        """The question as last seen."""
        return self._question

    def show_question(self, question: Prompt) -> None:
        """Take in a change of the question, a verdict among them."""
        before, self._question = self._question, question
        if self._phase is DialogPhase.CHECKING:
            self._was_tried = self._was_tried or question.checking
            is_judged = self._was_tried and not question.checking
            is_known = question.reason is PromptReason.REPEATED and not question.checking
            if is_judged or is_known or question.rejections > before.rejections:
                self._ask_again()
        elif question.checking and self._phase is DialogPhase.ASKING:
            self._was_tried = True
            self._enter(DialogPhase.CHECKING)
        self._fill()

    def show_problem(self, problem: Problem) -> None:
        """Say why an answer could not even be tried, and ask again."""
        self._ask_again()
        self._set_error(texts.problem_text(problem))
        self._fit()

    def show_accepted(self) -> None:
        """Say that it worked, and close."""
        self._enter(DialogPhase.OVER)
        self._password.wipe()
        self._sign_in.setText(translate("SignIn", "Signed in"))
        announce(self, translate("SignIn", "Signed in"))
        QTimer.singleShot(CLOSE_AFTER_MS, self, self.close)

    def dismiss(self) -> None:
        """Close without an answer: the question is gone."""
        self._enter(DialogPhase.OVER)
        self.close()

    def present(self) -> None:
        """Show it and ask for attention, without taking the focus by force (ux §3.6)."""
        self.show()
        self.setWindowState(self.windowState() & ~Qt.WindowState.WindowMinimized)
        self.raise_()
        self.activateWindow()
        QApplication.alert(self)
        QTimer.singleShot(NOTICE_AFTER_MS, self, self._check_noticed)

    # --- What the person does --------------------------------------------------------------------

    def reject(self) -> None:
        """Decline for a minute: *Cancel*, Escape and the close button."""
        self.decline(Snooze.A_MINUTE)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Leave no password behind, whoever closes the window."""
        if self._phase is not DialogPhase.OVER:
            self.decline(Snooze.A_MINUTE)
        self._password.wipe()
        # QDialog's own handler would call reject() and stay open.
        event.accept()
        self.closed.emit()

    def showEvent(self, event: QShowEvent) -> None:
        """Put the focus on what is to be filled in first."""
        super().showEvent(event)
        exclude_from_capture(int(self.winId()))
        self._fit()
        if not event.spontaneous():
            self._first_field().setFocus(Qt.FocusReason.OtherFocusReason)

    def changeEvent(self, event: QEvent) -> None:
        """Notice that the person has come to it."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ActivationChange and self.isActiveWindow():
            self.noticed.emit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Keep every line whole: narrower is higher."""
        super().resizeEvent(event)
        self.setMinimumHeight(self._height_for(event.size().width()))

    def decline(self, quiet: Snooze) -> None:
        """Say that the person does not answer now, and close."""
        if self._phase is DialogPhase.OVER:
            return
        self._enter(DialogPhase.OVER)
        self.declined.emit(quiet)
        self.close()

    @Slot()
    def _answer(self) -> None:
        if self._phase is not DialogPhase.ASKING or not self._user.text().strip():
            return
        self._was_tried = False
        login = Login(self._user.text().strip(), self._password.text())
        remember = self._remember.isChecked() and self._remember.isEnabled()
        self._enter(DialogPhase.CHECKING)
        self.answered.emit(login, remember)

    @Slot()
    def _decline_for_a_while(self) -> None:
        self.decline(Snooze.A_WHILE)

    @Slot()
    def _decline_until_chosen(self) -> None:
        self.decline(Snooze.UNTIL_CHOSEN)

    @Slot()
    def _on_edited(self) -> None:
        self._update_button()
        if not self._has_typed:
            self._has_typed = True
            self.typed.emit()

    @Slot(bool)
    def _on_caps_lock(self, on: bool) -> None:
        self._caps.setVisible(on)
        if on:
            announce(self, self._caps_text.text())
        self._fit()

    @Slot(bool)
    def _on_why(self, shown: bool) -> None:
        self._transport_why.setVisible(shown)
        self._fit()

    @Slot()
    def _check_noticed(self) -> None:
        if self.isVisible() and self._phase is DialogPhase.ASKING and not self.isActiveWindow():
            self.unnoticed.emit()

    # --- Phases ----------------------------------------------------------------------------------

    def _enter(self, phase: DialogPhase) -> None:
        self._phase = phase
        for widget in (self._user, self._password):
            widget.setEnabled(phase is DialogPhase.ASKING)
        self._enable_remember()
        self._not_now.setEnabled(phase is not DialogPhase.OVER)
        self._cancel.setEnabled(phase is not DialogPhase.OVER)
        self._update_button()

    def _ask_again(self) -> None:
        self._enter(DialogPhase.ASKING)
        self._password.selectAll()
        self._password.setFocus(Qt.FocusReason.OtherFocusReason)

    def _update_button(self) -> None:
        if self._phase is DialogPhase.CHECKING:
            self._sign_in.setText(translate("SignIn", "Signing in…"))
        elif self._question.hurried:
            self._sign_in.setText(translate("SignIn", "Try anyway"))
        else:
            self._sign_in.setText(translate("SignIn", "Sign in"))
        ready = self._phase is DialogPhase.ASKING and bool(self._user.text().strip())
        self._sign_in.setEnabled(ready)

    def _enable_remember(self) -> None:
        can = texts.can_remember(self._question.keyring)
        self._remember.setEnabled(can and self._phase is DialogPhase.ASKING)
        if not can:
            self._remember.setChecked(False)

    def _first_field(self) -> QWidget:
        return self._password if self._user.text() else self._user

    # --- Filling ---------------------------------------------------------------------------------

    def _fill(self) -> None:
        question = self._question
        self._heading.setText(breakable(texts.question_heading(question)))
        upstream = texts.upstream_text(question.upstream)
        is_short = len(upstream) <= _SELECTABLE_LENGTH
        self._proxy.setText(upstream if is_short else breakable(upstream))
        flag = Qt.TextInteractionFlag
        self._proxy.setTextInteractionFlags(
            # Copied, the invisible breaks of a long name would go along.
            flag.TextSelectableByMouse if is_short else flag.NoTextInteraction
        )
        self._method.setText(breakable(shorten(clean(question.method), 40)))
        self._set_row(self._realm, texts.realm(question))
        self._realm.setToolTip(plain_tooltip(texts.realm_tooltip(question)))
        self._set_row(self._needed_by, texts.needed_by(question))
        self._transport_text.setText(texts.transport_line(question))
        self._transport_icon.setPixmap(standard_pixmap(self, _transport_icon(question.transport)))
        self._transport_why.setText(breakable(texts.transport_why(question)))
        self._set_error("" if question.checking else self._reason())
        self._lock_out.setText(texts.lock_out_line(question))
        self._lock_out.setVisible(bool(self._lock_out.text()))
        self._remember.setText(texts.remember_text(question.keyring))
        self._no_remember.setText(texts.no_remember_reason(question.keyring))
        self._no_remember.setVisible(bool(self._no_remember.text()))
        self._enable_remember()
        self._update_button()
        self._describe()
        self._fit()

    def _reason(self) -> str:
        typed = self._user.text() + self._password.text()
        lines = texts.rejection_line(self._question), texts.encoding_line(self._question, typed)
        return " ".join(filter(None, lines))

    def _set_row(self, label: QLabel, text: str) -> None:
        label.setText(breakable(text))
        self._facts.setRowVisible(label, bool(text))

    def _set_error(self, text: str) -> None:
        is_new = bool(text) and text != self._error_text.text()
        self._error_text.setText(breakable(text))
        self._error.setVisible(bool(text))
        if is_new and self._question.reason is not PromptReason.NEEDED:
            announce(self, text, assertive=True)

    def _describe(self) -> None:
        """Have a screen reader say what the eye sees, when the dialog opens."""
        labels = (self._proxy, self._realm, self._transport_text, self._error_text, self._lock_out)
        lines = [label.text().replace("\u200b", "") for label in labels if label.text()]
        self.setAccessibleDescription(" ".join(lines))

    def _fit(self) -> None:
        width = self.fontMetrics().averageCharWidth() * WIDTH_IN_LETTERS
        width = max(self.width(), width) if self.isVisible() else width
        height = self._height_for(width)
        self.setMinimumHeight(height)
        self.resize(width, height)

    def _height_for(self, width: int) -> int:
        layout = self.layout()
        assert layout is not None
        layout.activate()
        return layout.totalHeightForWidth(max(width, layout.totalMinimumSize().width()))

    # --- Building --------------------------------------------------------------------------------

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        self._heading = plain_label("heading")
        font = self._heading.font()
        font.setBold(True)
        font.setPointSizeF(font.pointSizeF() * 1.15)
        self._heading.setFont(font)
        layout.addWidget(self._heading)
        layout.addLayout(self._build_facts())
        self._build_transport(layout)
        self._build_error(layout)
        layout.addLayout(self._build_fields())
        layout.addStretch()
        layout.addLayout(self._build_buttons())
        # Only within the dialog: earlier Qt makes the first button in tab order the default.
        self._sign_in.setDefault(True)
        self._order_tabs()

    def _build_facts(self) -> QFormLayout:
        self._facts = QFormLayout()
        self._facts.setContentsMargins(self._indent(), 0, 0, 0)
        self._facts.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        self._proxy = plain_label("proxy")
        self._proxy.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        self._realm = plain_label("realm")
        self._method = plain_label("method")
        self._needed_by = plain_label("needed_by")
        self._facts.addRow(translate("SignIn", "Proxy:"), self._proxy)
        self._facts.addRow(translate("SignIn", "It says:"), self._realm)
        self._facts.addRow(translate("SignIn", "Method:"), self._method)
        self._facts.addRow(translate("SignIn", "Needed by:"), self._needed_by)
        return self._facts

    def _build_transport(self, layout: QVBoxLayout) -> None:
        self._transport_icon = picture("transport_icon", QPixmap())
        self._transport_text = plain_label("transport")
        self._why = named(QPushButton(translate("SignIn", "Why?")), "why")
        self._why.setCheckable(True)
        self._why.setAutoDefault(False)
        self._why.setAccessibleDescription(
            translate("SignIn", "Explains how the password travels to the proxy")
        )
        self._why.toggled.connect(self._on_why)
        row = QHBoxLayout()
        row.addWidget(self._transport_icon, 0, Qt.AlignmentFlag.AlignVCenter)
        row.addWidget(self._transport_text, 1)
        row.addWidget(self._why)
        layout.addLayout(row)
        self._transport_why = plain_label("transport_why")
        self._transport_why.setContentsMargins(self._indent(), 0, 0, 0)
        self._transport_why.setVisible(False)
        layout.addWidget(self._transport_why)

    def _build_error(self, layout: QVBoxLayout) -> None:
        self._error = named(QWidget(), "error")
        critical = standard_pixmap(self, QStyle.StandardPixmap.SP_MessageBoxCritical)
        icon = picture("error_icon", critical)
        self._error_text = plain_label("error_text")
        row = QHBoxLayout(self._error)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(icon)
        row.addWidget(self._error_text, 1)
        self._error.setVisible(False)
        layout.addWidget(self._error)
        self._lock_out = plain_label("lock_out")
        self._lock_out.setContentsMargins(self._indent(), 0, 0, 0)
        layout.addWidget(self._lock_out)

    def _build_fields(self) -> QFormLayout:
        self._user = named(QLineEdit(), "user")
        self._user.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        self._user.setInputMethodHints(
            Qt.InputMethodHint.ImhNoAutoUppercase | Qt.InputMethodHint.ImhNoPredictiveText
        )
        self._user.textEdited.connect(self._on_edited)
        self._password = PasswordField()
        self._password.setObjectName("password")
        self._password.textEdited.connect(self._on_edited)
        self._password.caps_lock_changed.connect(self._on_caps_lock)
        self._remember = named(QCheckBox(), "remember")
        self._no_remember = plain_label("no_remember")
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow(translate("SignIn", "&User name:"), self._user)
        form.addRow(translate("SignIn", "&Password:"), self._password)
        form.addRow("", self._build_caps())
        form.addRow("", self._remember)
        form.addRow("", self._no_remember)
        return form

    def _build_caps(self) -> QWidget:
        self._caps = named(QWidget(), "caps_lock")
        arrow = action_icon("caps-lock", self.palette()).pixmap(self._icon_size())
        icon = picture("caps_lock_icon", arrow)
        self._caps_text = plain_label("caps_lock_text")
        self._caps_text.setText(translate("SignIn", "Caps Lock is on"))
        row = QHBoxLayout(self._caps)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(icon)
        row.addWidget(self._caps_text, 1)
        self._caps.setVisible(False)
        return self._caps

    def _build_buttons(self) -> QHBoxLayout:
        self._not_now = named(QPushButton(translate("SignIn", "Not now")), "not_now")
        self._not_now.setAutoDefault(False)
        menu = QMenu(self._not_now)
        for text, slot in (
            (translate("SignIn", "15 minutes"), self._decline_for_a_while),
            (translate("SignIn", "Until I choose"), self._decline_until_chosen),
        ):
            action = QAction(text, menu)
            action.triggered.connect(slot)
            menu.addAction(action)
        self._not_now.setMenu(menu)
        box = named(QDialogButtonBox(), "buttons")
        role = QDialogButtonBox.ButtonRole
        self._sign_in = box.addButton(translate("SignIn", "Sign in"), role.AcceptRole)
        self._sign_in.setObjectName("accept")
        self._cancel = box.addButton(translate("SignIn", "Cancel"), role.RejectRole)
        self._cancel.setObjectName("cancel")
        box.accepted.connect(self._answer)
        box.rejected.connect(self.reject)
        row = QHBoxLayout()
        row.addWidget(self._not_now)
        row.addStretch()
        row.addWidget(box)
        return row

    def _order_tabs(self) -> None:
        order = (
            self._why,
            self._user,
            self._password,
            self._remember,
            self._not_now,
            self._cancel,
            self._sign_in,
        )
        for first, second in pairwise(order):
            self.setTabOrder(first, second)

    def _icon_size(self) -> int:
        return self.fontMetrics().height()

    def _indent(self) -> int:
        return self._icon_size() + self.style().pixelMetric(
            QStyle.PixelMetric.PM_LayoutHorizontalSpacing
        )


def _transport_icon(transport: Transport) -> QStyle.StandardPixmap:
    if transport is Transport.READABLE:
        return QStyle.StandardPixmap.SP_MessageBoxWarning
    return QStyle.StandardPixmap.SP_MessageBoxInformation
