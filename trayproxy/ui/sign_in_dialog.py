"""The sign-in dialog (ux §3.3).

The dialog shows a prompt and emits a signal for each user action; it takes no decisions. All text
from the network is plain text, sanitized and truncated by `trayproxy.ui.texts`. Rows without
content are hidden, to draw attention to the others.
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
from trayproxy.desktop.window import exclude_from_capture
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import Prompt, PromptReason, Snooze, Transport
from trayproxy.ui import texts
from trayproxy.ui.accessibility import announce
from trayproxy.ui.icons import action_icon
from trayproxy.ui.password_field import PasswordField
from trayproxy.ui.text_sanitizer import breakable, clean, shorten
from trayproxy.ui.widgets import named, picture_label, plain_label, plain_tooltip, standard_pixmap

translate = QCoreApplication.translate

WIDTH_IN_CHARACTERS = 72
"""The width of the dialog in average characters of its font, so that the dialog grows with the
font.
"""
CLOSE_AFTER_MS = 300
"""Milliseconds for which *Signed in* is shown."""
ACTIVATION_TIMEOUT_MS = 400
"""Milliseconds after which an inactive dialog counts as being in the background (ux §3.6)."""
_SELECTABLE_LENGTH = 60


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

    def __init__(self, prompt: Prompt, parent: QWidget | None = None) -> None:
        """Create the dialog, hidden; `present` shows it.

        Args:
            prompt: The prompt to show.
            parent: The parent widget; None for a separate window.
        """
        super().__init__(parent, Qt.WindowType.Dialog)
        self.setObjectName("sign_in")
        self.setWindowTitle(translate("SignIn", "Sign in to proxy — TrayProxy"))
        self._phase = DialogPhase.ASKING
        self._prompt = prompt
        self._has_checked = False
        self._has_edited = False
        self._build()
        self._user_field.setText(prompt.user)
        self._remember_box.setChecked(texts.can_remember(prompt.keyring))
        self.show_prompt(prompt)

    # --- Display ---------------------------------------------------------------------------------

    @property
    def prompt(self) -> Prompt:
        """The last version of the prompt."""
        return self._prompt

    def show_prompt(self, prompt: Prompt) -> None:
        """Show a new version of the prompt.

        If the new version shows a rejection of the login, the fields are enabled again.
        """
        before, self._prompt = self._prompt, prompt
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
        self._set_error(texts.problem_text(problem))
        self._resize_to_fit()

    def show_accepted(self) -> None:
        """Show *Signed in*, then close the dialog."""
        self._enter(DialogPhase.CLOSED)
        self._password_field.wipe()
        self._sign_in_button.setText(translate("SignIn", "Signed in"))
        announce(self, translate("SignIn", "Signed in"))
        QTimer.singleShot(CLOSE_AFTER_MS, self, self.close)

    def dismiss(self) -> None:
        """Close the dialog without an answer, because the prompt was closed."""
        self._enter(DialogPhase.CLOSED)
        self.close()

    def present(self) -> None:
        """Show the dialog and request attention, without forcing the focus (ux §3.6)."""
        self.show()
        self.setWindowState(self.windowState() & ~Qt.WindowState.WindowMinimized)
        self.raise_()
        self.activateWindow()
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
        self._password_field.wipe()
        # QDialog.closeEvent() would call reject() and leave the dialog open.
        event.accept()
        self.closed.emit()

    def showEvent(self, event: QShowEvent) -> None:
        """Exclude the dialog from screen capture and focus the first field to fill in."""
        super().showEvent(event)
        exclude_from_capture(int(self.winId()))
        self._resize_to_fit()
        if not event.spontaneous():
            self._first_field().setFocus(Qt.FocusReason.OtherFocusReason)

    def changeEvent(self, event: QEvent) -> None:
        """Emit `activated` when the dialog becomes the active window."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ActivationChange and self.isActiveWindow():
            self.activated.emit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Set the minimum height for the new width, to show all lines completely."""
        super().resizeEvent(event)
        self.setMinimumHeight(self._height_for(event.size().width()))

    def decline(self, snooze: Snooze) -> None:
        """Decline the prompt for the time of the snooze and close the dialog."""
        if self._phase is DialogPhase.CLOSED:
            return
        self._enter(DialogPhase.CLOSED)
        self.declined.emit(snooze)
        self.close()

    @Slot()
    def _submit(self) -> None:
        if self._phase is not DialogPhase.ASKING or not self._user_field.text().strip():
            return
        self._has_checked = False
        login = Login(self._user_field.text().strip(), self._password_field.text())
        remember = self._remember_box.isChecked() and self._remember_box.isEnabled()
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
        if not self._has_edited:
            self._has_edited = True
            self.typed.emit()

    @Slot(bool)
    def _on_caps_lock_changed(self, on: bool) -> None:
        self._caps_lock_row.setVisible(on)
        if on:
            announce(self, self._caps_lock_text.text())
        self._resize_to_fit()

    @Slot(bool)
    def _on_why_toggled(self, shown: bool) -> None:
        self._transport_details.setVisible(shown)
        self._resize_to_fit()

    @Slot()
    def _check_activation(self) -> None:
        if self.isVisible() and self._phase is DialogPhase.ASKING and not self.isActiveWindow():
            self.not_activated.emit()

    # --- Phases ----------------------------------------------------------------------------------

    def _enter(self, phase: DialogPhase) -> None:
        self._phase = phase
        for widget in (self._user_field, self._password_field):
            widget.setEnabled(phase is DialogPhase.ASKING)
        self._update_remember()
        self._not_now_button.setEnabled(phase is not DialogPhase.CLOSED)
        self._cancel_button.setEnabled(phase is not DialogPhase.CLOSED)
        self._update_button()

    def _return_to_asking(self) -> None:
        self._enter(DialogPhase.ASKING)
        self._password_field.selectAll()
        self._password_field.setFocus(Qt.FocusReason.OtherFocusReason)

    def _update_button(self) -> None:
        if self._phase is DialogPhase.CHECKING:
            self._sign_in_button.setText(translate("SignIn", "Signing in…"))
        elif self._prompt.confirm_retry:
            self._sign_in_button.setText(translate("SignIn", "Try anyway"))
        else:
            self._sign_in_button.setText(translate("SignIn", "Sign in"))
        ready = self._phase is DialogPhase.ASKING and bool(self._user_field.text().strip())
        self._sign_in_button.setEnabled(ready)

    def _update_remember(self) -> None:
        can = texts.can_remember(self._prompt.keyring)
        self._remember_box.setEnabled(can and self._phase is DialogPhase.ASKING)
        if not can:
            self._remember_box.setChecked(False)

    def _first_field(self) -> QWidget:
        return self._password_field if self._user_field.text() else self._user_field

    # --- Facts of the prompt ---------------------------------------------------------------------

    def _show_facts(self) -> None:
        prompt = self._prompt
        self._heading_label.setText(breakable(texts.prompt_heading(prompt)))
        upstream = texts.upstream_text(prompt.upstream)
        is_short = len(upstream) <= _SELECTABLE_LENGTH
        self._proxy_label.setText(upstream if is_short else breakable(upstream))
        flag = Qt.TextInteractionFlag
        self._proxy_label.setTextInteractionFlags(
            # A long name contains zero-width spaces, which would be copied as well.
            flag.TextSelectableByMouse if is_short else flag.NoTextInteraction
        )
        self._method_label.setText(breakable(shorten(clean(prompt.method), 40)))
        self._set_row(self._realm_label, texts.realm_text(prompt))
        self._realm_label.setToolTip(plain_tooltip(texts.realm_tooltip(prompt)))
        self._set_row(self._needed_by_label, texts.needed_by_text(prompt))
        self._transport_text.setText(texts.transport_line(prompt))
        self._transport_icon.setPixmap(standard_pixmap(self, _transport_icon(prompt.transport)))
        self._transport_details.setText(breakable(texts.transport_explanation(prompt)))
        self._set_error("" if prompt.checking else self._error_text_for_prompt())
        self._lock_out_label.setText(texts.lock_out_line(prompt))
        self._lock_out_label.setVisible(bool(self._lock_out_label.text()))
        self._remember_box.setText(texts.remember_text(prompt.keyring))
        self._no_remember_label.setText(texts.no_remember_reason(prompt.keyring))
        self._no_remember_label.setVisible(bool(self._no_remember_label.text()))
        self._update_remember()
        self._update_button()
        self._update_accessible_description()
        self._resize_to_fit()

    def _error_text_for_prompt(self) -> str:
        typed = self._user_field.text() + self._password_field.text()
        lines = texts.rejection_line(self._prompt), texts.encoding_line(self._prompt, typed)
        return " ".join(filter(None, lines))

    def _set_row(self, label: QLabel, text: str) -> None:
        label.setText(breakable(text))
        self._facts.setRowVisible(label, bool(text))

    def _set_error(self, text: str) -> None:
        is_new = bool(text) and text != self._error_text.text()
        self._error_text.setText(breakable(text))
        self._error.setVisible(bool(text))
        if is_new and self._prompt.reason is not PromptReason.NEEDED:
            announce(self, text, assertive=True)

    def _update_accessible_description(self) -> None:
        """Set the description for screen readers, which is read when the dialog opens."""
        labels = (
            self._proxy_label,
            self._realm_label,
            self._transport_text,
            self._error_text,
            self._lock_out_label,
        )
        lines = [label.text().replace("\u200b", "") for label in labels if label.text()]
        self.setAccessibleDescription(" ".join(lines))

    def _resize_to_fit(self) -> None:
        width = self.fontMetrics().averageCharWidth() * WIDTH_IN_CHARACTERS
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
        self._heading_label = plain_label("heading")
        font = self._heading_label.font()
        font.setBold(True)
        font.setPointSizeF(font.pointSizeF() * 1.15)
        self._heading_label.setFont(font)
        layout.addWidget(self._heading_label)
        layout.addLayout(self._build_facts())
        self._build_transport(layout)
        self._build_error(layout)
        layout.addLayout(self._build_fields())
        layout.addStretch()
        layout.addLayout(self._build_buttons())
        # Set after the button is in the dialog: otherwise Qt makes the first button in tab order
        # the default.
        self._sign_in_button.setDefault(True)
        self._set_tab_order()

    def _build_facts(self) -> QFormLayout:
        self._facts = QFormLayout()
        self._facts.setContentsMargins(self._indent(), 0, 0, 0)
        self._facts.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        self._proxy_label = plain_label("proxy")
        self._proxy_label.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        self._realm_label = plain_label("realm")
        self._method_label = plain_label("method")
        self._needed_by_label = plain_label("needed_by")
        self._facts.addRow(translate("SignIn", "Proxy:"), self._proxy_label)
        self._facts.addRow(translate("SignIn", "It says:"), self._realm_label)
        self._facts.addRow(translate("SignIn", "Method:"), self._method_label)
        self._facts.addRow(translate("SignIn", "Needed by:"), self._needed_by_label)
        return self._facts

    def _build_transport(self, layout: QVBoxLayout) -> None:
        self._transport_icon = picture_label("transport_icon", QPixmap())
        self._transport_text = plain_label("transport")
        self._why_button = named(QPushButton(translate("SignIn", "Why?")), "why")
        self._why_button.setCheckable(True)
        self._why_button.setAutoDefault(False)
        self._why_button.setAccessibleDescription(
            translate("SignIn", "Explains how the password travels to the proxy")
        )
        self._why_button.toggled.connect(self._on_why_toggled)
        row = QHBoxLayout()
        row.addWidget(self._transport_icon, 0, Qt.AlignmentFlag.AlignVCenter)
        row.addWidget(self._transport_text, 1)
        row.addWidget(self._why_button)
        layout.addLayout(row)
        self._transport_details = plain_label("transport_why")
        self._transport_details.setContentsMargins(self._indent(), 0, 0, 0)
        self._transport_details.setVisible(False)
        layout.addWidget(self._transport_details)

    def _build_error(self, layout: QVBoxLayout) -> None:
        self._error = named(QWidget(), "error")
        critical = standard_pixmap(self, QStyle.StandardPixmap.SP_MessageBoxCritical)
        icon = picture_label("error_icon", critical)
        self._error_text = plain_label("error_text")
        row = QHBoxLayout(self._error)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(icon)
        row.addWidget(self._error_text, 1)
        self._error.setVisible(False)
        layout.addWidget(self._error)
        self._lock_out_label = plain_label("lock_out")
        self._lock_out_label.setContentsMargins(self._indent(), 0, 0, 0)
        layout.addWidget(self._lock_out_label)

    def _build_fields(self) -> QFormLayout:
        self._user_field = named(QLineEdit(), "user")
        self._user_field.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        self._user_field.setInputMethodHints(
            Qt.InputMethodHint.ImhNoAutoUppercase | Qt.InputMethodHint.ImhNoPredictiveText
        )
        self._user_field.textEdited.connect(self._on_edited)
        self._password_field = PasswordField()
        self._password_field.setObjectName("password")
        self._password_field.textEdited.connect(self._on_edited)
        self._password_field.caps_lock_changed.connect(self._on_caps_lock_changed)
        self._remember_box = named(QCheckBox(), "remember")
        self._no_remember_label = plain_label("no_remember")
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow(translate("SignIn", "&User name:"), self._user_field)
        form.addRow(translate("SignIn", "&Password:"), self._password_field)
        form.addRow("", self._build_caps_lock_row())
        form.addRow("", self._remember_box)
        form.addRow("", self._no_remember_label)
        return form

    def _build_caps_lock_row(self) -> QWidget:
        self._caps_lock_row = named(QWidget(), "caps_lock")
        arrow = action_icon("caps-lock", self.palette()).pixmap(self._icon_size())
        icon = picture_label("caps_lock_icon", arrow)
        self._caps_lock_text = plain_label("caps_lock_text")
        self._caps_lock_text.setText(translate("SignIn", "Caps Lock is on"))
        row = QHBoxLayout(self._caps_lock_row)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(icon)
        row.addWidget(self._caps_lock_text, 1)
        self._caps_lock_row.setVisible(False)
        return self._caps_lock_row

    def _build_buttons(self) -> QHBoxLayout:
        self._not_now_button = named(QPushButton(translate("SignIn", "Not now")), "not_now")
        self._not_now_button.setAutoDefault(False)
        menu = QMenu(self._not_now_button)
        for text, slot in (
            (translate("SignIn", "15 minutes"), self._decline_for_a_while),
            (translate("SignIn", "Until I choose"), self._decline_until_chosen),
        ):
            action = QAction(text, menu)
            action.triggered.connect(slot)
            menu.addAction(action)
        self._not_now_button.setMenu(menu)
        box = named(QDialogButtonBox(), "buttons")
        role = QDialogButtonBox.ButtonRole
        self._sign_in_button = box.addButton(translate("SignIn", "Sign in"), role.AcceptRole)
        self._sign_in_button.setObjectName("accept")
        self._cancel_button = box.addButton(translate("SignIn", "Cancel"), role.RejectRole)
        self._cancel_button.setObjectName("cancel")
        box.accepted.connect(self._submit)
        box.rejected.connect(self.reject)
        row = QHBoxLayout()
        row.addWidget(self._not_now_button)
        row.addStretch()
        row.addWidget(box)
        return row

    def _set_tab_order(self) -> None:
        order = (
            self._why_button,
            self._user_field,
            self._password_field,
            self._remember_box,
            self._not_now_button,
            self._cancel_button,
            self._sign_in_button,
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
