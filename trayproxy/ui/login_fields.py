"""The lower part of the sign-in dialog: the fields of the login, and the buttons."""

from PySide6.QtCore import QCoreApplication, Qt, Signal, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QCheckBox,
    QDialogButtonBox,
    QFormLayout,
    QLineEdit,
    QMenu,
    QPushButton,
    QWidget,
)

from trayproxy.auth.login import Login
from trayproxy.domain.signin import KeyringStatus, Snooze
from trayproxy.ui import texts
from trayproxy.ui.icons import action_icon
from trayproxy.ui.password_field import PasswordField
from trayproxy.ui.widgets import (
    announce,
    named,
    picture_label,
    plain_label,
    row,
    show_or_hide,
    without_margins,
)

translate = QCoreApplication.translate


class LoginFields(QWidget):
    """The fields for the user name, the password, and whether to save them.

    Signals:
        edited: The user has changed the user name or the password.
        resized: A row was shown or hidden.
    """

    edited = Signal()
    resized = Signal()

    def __init__(self, user: str, keyring: KeyringStatus) -> None:
        super().__init__()
        self._user = named(QLineEdit(user), "user")
        self._user.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        self._user.setInputMethodHints(
            Qt.InputMethodHint.ImhNoAutoUppercase | Qt.InputMethodHint.ImhNoPredictiveText
        )
        self._user.textEdited.connect(self.edited)
        self._password = named(PasswordField(), "password")
        self._password.textEdited.connect(self.edited)
        self._password.caps_lock_changed.connect(self._on_caps_lock_changed)
        self._caps_lock_row = named(QWidget(), "caps_lock")
        self._caps_lock_text = plain_label("caps_lock_text", translate("SignIn", "Caps Lock is on"))
        arrow = action_icon("caps-lock", self.palette()).pixmap(self.fontMetrics().height())
        picture = picture_label("caps_lock_icon", arrow)
        row(self._caps_lock_row, picture, self._caps_lock_text, grows=self._caps_lock_text)
        self._caps_lock_row.setVisible(False)
        self._remember = named(QCheckBox(), "remember")
        self._remember.setChecked(texts.can_remember(keyring))
        self._no_remember = plain_label("no_remember")
        form = without_margins(QFormLayout(self))
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow(translate("SignIn", "&User name:"), self._user)
        form.addRow(translate("SignIn", "&Password:"), self._password)
        form.addRow("", self._caps_lock_row)
        form.addRow("", self._remember)
        form.addRow("", self._no_remember)

    @property
    def login(self) -> Login:
        """The login that the user has entered in the fields."""
        return Login(self._user.text().strip(), self._password.text())

    @property
    def typed(self) -> str:
        """The user name and the password as typed, in one text."""
        return self._user.text() + self._password.text()

    @property
    def has_user(self) -> bool:
        """True if there is a user name."""
        return bool(self._user.text().strip())

    @property
    def remember(self) -> bool:
        """True if the user wants to save the login, and this is possible."""
        return self._remember.isChecked() and self._remember.isEnabled()

    def show_keyring(self, keyring: KeyringStatus) -> None:
        """Show the password store, or why the login cannot be saved."""
        self._remember.setText(texts.remember_text(keyring))
        show_or_hide(self._no_remember, texts.no_remember_reason(keyring))

    def update_enabled(self, keyring: KeyringStatus, *, is_asking: bool) -> None:
        """Enable the fields while the user can enter a login (`is_asking`)."""
        can_remember = texts.can_remember(keyring)
        self._user.setEnabled(is_asking)
        self._password.setEnabled(is_asking)
        self._remember.setEnabled(can_remember and is_asking)
        if not can_remember:
            self._remember.setChecked(False)

    def focus_first(self) -> None:
        """Move the focus to the first field to fill in."""
        field = self._password if self._user.text() else self._user
        field.setFocus(Qt.FocusReason.OtherFocusReason)

    def select_password(self) -> None:
        """Select the password, to be replaced."""
        self._password.selectAll()
        self._password.setFocus(Qt.FocusReason.OtherFocusReason)

    def wipe(self) -> None:
        """Overwrite and clear the password; see `PasswordField.wipe`."""
        self._password.wipe()

    @Slot(bool)
    def _on_caps_lock_changed(self, on: bool) -> None:
        self._caps_lock_row.setVisible(on)
        if on:
            announce(self.window(), self._caps_lock_text.text())
        self.resized.emit()


class SignInButtons(QWidget):
    """The buttons of the dialog.

    Signals:
        accepted: Send the login.
        rejected: Decline the prompt.
        snoozed(Snooze): Decline the prompt for this time.
    """

    accepted = Signal()
    rejected = Signal()
    snoozed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._not_now = named(QPushButton(translate("SignIn", "Not now")), "not_now")
        self._not_now.setAutoDefault(False)
        menu = QMenu(self._not_now)
        for text, snooze in (
            (translate("SignIn", "15 minutes"), Snooze.A_WHILE),
            (translate("SignIn", "Until I choose"), Snooze.UNTIL_CHOSEN),
        ):
            menu.addAction(text).setData(snooze)
        menu.triggered.connect(self._on_triggered)
        self._not_now.setMenu(menu)
        box = named(QDialogButtonBox(), "buttons")
        role = QDialogButtonBox.ButtonRole
        accept = box.addButton(translate("SignIn", "Sign in"), role.AcceptRole)
        self._accept = named(accept, "accept")
        cancel = box.addButton(translate("SignIn", "Cancel"), role.RejectRole)
        self._cancel = named(cancel, "cancel")
        box.accepted.connect(self.accepted)
        box.rejected.connect(self.rejected)
        row(self, self._not_now, None, box)
        self.setTabOrder(self._not_now, self._cancel)
        self.setTabOrder(self._cancel, self._accept)

    def make_default(self) -> None:
        """Make *Sign in* the default button of the dialog; the buttons are in the dialog."""
        self._accept.setDefault(True)

    def show_state(self, text: str, *, can_accept: bool, can_decline: bool) -> None:
        """Show the text of the first button, and enable the buttons."""
        self._accept.setText(text)
        self._accept.setEnabled(can_accept)
        self._not_now.setEnabled(can_decline)
        self._cancel.setEnabled(can_decline)

    @Slot(QAction)
    def _on_triggered(self, action: QAction) -> None:
        self.snoozed.emit(Snooze(action.data()))
